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

// Assigning whom it is assigned to already, with a note, takes it from nobody.
func TestAssignAgainIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		soc := w.chat("soc")
		p := w.start([]Destination{{Notifier: soc}})
		defer p.stop()
		p.give(t, 1, w.plain("a1", "x.y", alert.High))
		after(time.Minute)
		for _, q := range []TriageRequest{{Owner: "carol"}, {Owner: "carol", Note: "the bastion first"}, {Note: "on leave"}} {
			q.By, q.Do = "cli:bob", DoAssign
			if _, err := p.Triage(ctxb, "a1", q); err != nil {
				t.Fatal(err)
			}
			after(time.Minute)
		}
		got := strings.Join(soc.of("a1")[0].thread, "\n")
		want := "assigned to carol by cli:bob\nassigned to carol by cli:bob; the bastion first\nassigned to nobody by cli:bob; on leave"
		if got != want {
			t.Errorf("the thread says %q", got)
		}
	})
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

// A person may ask for what can be done about an alert; somebody else decides.
func TestRequest(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) { o.Journal = w.mem })
	d, err := NewDispatcher(DispatcherOptions{Journal: w.mem, Machine: m, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	a := leakedAlert("a1", aliceAK, "alice", w.clock.Now())
	a.Outcome = "success"
	if err := d.Handle(ctx, 0, 1, []alert.Alert{a}); err != nil {
		t.Fatal(err)
	}
	offers, err := d.Offers(ctx, "a1")
	if err != nil || len(offers) != 1 || offers[0].Kind != KindDisableAccessKey || !strings.Contains(offers[0].Describe, aliceAK) {
		t.Fatalf("offers %+v %v", offers, err)
	}
	if _, err := d.Request(ctx, "a1", "nosuch", "slack:UCAROL"); !errors.Is(err, ErrNoAction) {
		t.Errorf("what is not offered: %v", err)
	}
	if _, err := d.Request(ctx, "a1", offers[0].ID, ""); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("by nobody: %v", err)
	}
	if _, err := d.Request(ctx, "nosuch", offers[0].ID, "slack:UCAROL"); !errors.Is(err, ErrNoAlert) {
		t.Errorf("about nothing: %v", err)
	}
	got, err := d.Request(ctx, "a1", offers[0].ID, "slack:UCAROL")
	if err != nil || got.State != Proposed || got.Action.Requester != "slack:UCAROL" || got.Action.Mode != Approve {
		t.Fatalf("%+v %v", got, err)
	}
	if again, err := d.Offers(ctx, "a1"); err != nil || len(again) != 0 {
		t.Errorf("offered again: %+v %v", again, err)
	}
	if _, err := m.Approve(ctx, got.ID, "ram:"+account+"/carol", got.Hash); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("by the one who asked, under another name: %v", err)
	}
	if w.cloud.status(aliceAK) != "Active" {
		t.Fatal("done without a yes")
	}
	if _, err := m.Approve(ctx, got.ID, "cli:dave", got.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Hour)
	if w.cloud.status(aliceAK) != "Inactive" {
		t.Errorf("the key is %s", w.cloud.status(aliceAK))
	}
	// Where nothing may be changed nothing is offered.
	m = w.machine(func(o *MachineOptions) { o.Journal, o.MaxMode = w.mem, Observe })
	if d, err = NewDispatcher(DispatcherOptions{Journal: w.mem, Machine: m, Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	if offers, err := d.Offers(ctx, "a1"); err != nil || len(offers) != 0 {
		t.Errorf("offered in mode observe: %+v %v", offers, err)
	}
}
