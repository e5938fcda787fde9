package responders_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

func triageWorld(t *testing.T) (*world, *Dispatcher, *Machine) {
	t.Helper()
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) { o.Journal = w.mem })
	d, err := NewDispatcher(DispatcherOptions{Journal: w.mem, Machine: m, Playbooks: autoPlaybooks(), Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return w, d, m
}

func TestTriage(t *testing.T) {
	w, d, _ := triageWorld(t)
	ctx := t.Context()
	if err := d.Handle(ctx, 0, 1, []alert.Alert{leakedAlert("a1", aliceAK, "alice", w.clock.Now())}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		q     TriageRequest
		err   error
		state TriageState
		owner string
		steps int
	}{
		{"nobody", TriageRequest{Do: DoAcknowledge}, ErrNotAllowed, TriageOpen, "", 0},
		{"the machine", TriageRequest{By: "playbook", Do: DoClose, Verdict: Benign}, ErrNotAllowed, TriageOpen, "", 0},
		{"nonsense", TriageRequest{By: "cli:dave", Do: "delete"}, ErrBadTriage, TriageOpen, "", 0},
		{"acknowledge", TriageRequest{By: "cli:dave", Do: DoAcknowledge}, nil, TriageAcknowledged, "cli:dave", 1},
		{"twice is once", TriageRequest{By: "cli:dave", Do: DoAcknowledge}, nil, TriageAcknowledged, "cli:dave", 1},
		{"somebody else keeps the owner", TriageRequest{By: "slack:UCAROL", Do: DoAcknowledge}, nil, TriageAcknowledged, "cli:dave", 1},
		{"assign", TriageRequest{By: "cli:dave", Do: DoAssign, Owner: "carol\n\u202e"}, nil, TriageAcknowledged, "carol", 2},
		{"empty note", TriageRequest{By: "cli:dave", Do: DoNote, Note: " \x1b "}, ErrBadTriage, TriageAcknowledged, "carol", 2},
		{"note", TriageRequest{By: "cli:dave", Do: DoNote, Note: "asked alice"}, nil, TriageAcknowledged, "carol", 3},
		{"the same note again", TriageRequest{By: "cli:dave", Do: DoNote, Note: "asked alice"}, nil, TriageAcknowledged, "carol", 3},
		{"close without a verdict", TriageRequest{By: "cli:dave", Do: DoClose}, ErrBadTriage, TriageAcknowledged, "carol", 3},
		{"close", TriageRequest{By: "cli:dave", Do: DoClose, Verdict: TruePositive}, nil, TriageClosed, "carol", 4},
		{"acknowledge what is closed", TriageRequest{By: "cli:dave", Do: DoAcknowledge}, ErrBadTriage, TriageClosed, "carol", 4},
		{"assign what is closed", TriageRequest{By: "cli:dave", Do: DoAssign, Owner: "x"}, ErrBadTriage, TriageClosed, "carol", 4},
		{"reopen", TriageRequest{By: "cli:dave", Do: DoReopen}, nil, TriageOpen, "carol", 5},
	} {
		_, err := d.Triage(ctx, "a1", tc.q)
		if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.err)
		}
		got, err := d.TriageOf(ctx, "a1")
		if err != nil {
			t.Fatal(err)
		}
		if got.State != tc.state || got.Owner != tc.owner || len(got.Steps) != tc.steps {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
	if _, err := d.Triage(ctx, "nosuch", TriageRequest{By: "cli:dave", Do: DoAcknowledge}); !errors.Is(err, ErrNoAlert) {
		t.Errorf("an alert that is not there: %v", err)
	}
	long, err := d.Triage(ctx, "a1", TriageRequest{By: "cli:dave", Do: DoNote, Note: strings.Repeat("长", 5000)})
	if err != nil || len([]rune(long.Steps[len(long.Steps)-1].Note)) != 2000 {
		t.Errorf("a long note: %v", err)
	}
}

// Whoever comes at the same time, no step is lost.
func TestTriageAtOnce(t *testing.T) {
	w, d, _ := triageWorld(t)
	if err := d.Handle(t.Context(), 0, 1, []alert.Alert{leakedAlert("a1", aliceAK, "alice", w.clock.Now())}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := d.Triage(t.Context(), "a1", TriageRequest{By: "cli:p" + string(rune('0'+i)), Do: DoNote, Note: "n"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := d.TriageOf(t.Context(), "a1"); err != nil || len(got.Steps) != 8 {
		t.Errorf("%d steps, %v", len(got.Steps), err)
	}
}

func TestDispatcherFollow(t *testing.T) {
	w, d, m := triageWorld(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := d.Handle(ctx, 0, 1, []alert.Alert{leakedAlert("a1", aliceAK, "alice", w.clock.Now())}); err != nil {
		t.Fatal(err)
	}
	got := make(chan Change, 100)
	fctx, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = d.Follow(fctx, func(c Change) { got <- c }, func() {}) }()
	await := func(what string, is func(Change) bool) {
		t.Helper()
		for {
			select {
			case c := <-got:
				if is(c) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("%s was not reported", what)
			}
		}
	}
	await("the alert", func(c Change) bool {
		return c.Alert != nil && c.AlertID == "a1" && c.Alert.Rule == "ak.leaked_in_use" && c.Seq > 0
	})
	await("its action", func(c Change) bool {
		return c.Action != nil && c.AlertID == "a1" && c.Action.Action.Target.AccessKeyID == aliceAK
	})
	if _, err := d.Triage(ctx, "a1", TriageRequest{By: "cli:dave", Do: DoAcknowledge}); err != nil {
		t.Fatal(err)
	}
	await("the triage", func(c Change) bool { return c.Triage != nil && c.AlertID == "a1" && c.Triage.Owner == "cli:dave" })
	w.drive(m, time.Hour)
	await("the outcome", func(c Change) bool { return c.Action != nil && c.Action.State == Done })
	end()
	<-ended
}
