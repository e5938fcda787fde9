package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
)

// listener is a running program that replays tell of themselves.
type listener struct {
	admin.Backend
	mu      sync.Mutex
	replays []admin.Replaying
	noted   []admin.Replayed
}

func (l *listener) Replaying(_ context.Context, r admin.Replaying) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replays = append(l.replays, r)
	return nil
}

func (l *listener) AuditReplay(_ context.Context, _ string, r admin.Replayed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted = append(l.noted, r)
	return nil
}

func TestReplayTellsOfItself(t *testing.T) {
	state, err := os.MkdirTemp("", "tw") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	l := &listener{}
	s, err := admin.Serve(state, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	source := filepath.Join(root(t), "testdata", "scenarios", "leaked-key", "events.jsonl")
	replay := func(args ...string) (int, string) {
		var errw bytes.Buffer
		code := Main(append([]string{"replay", "-q", "-o", "jsonl", "--out", os.DevNull}, args...), strings.NewReader(""), &errw, &errw, []string{})
		l.mu.Lock()
		defer l.mu.Unlock()
		return code, errw.String()
	}
	if code, say := replay("--state", state, source); code != 0 {
		t.Fatalf("%d: %s", code, say)
	}
	first, last := l.replays[0], l.replays[len(l.replays)-1]
	if first.State != admin.ReplayReading || !slices.Equal(first.Inputs, []string{source}) || first.Rules == "" {
		t.Errorf("first: %+v", first)
	}
	if last.State != admin.ReplayDone || last.ID != first.ID || last.Events != 63 || last.Alerts == 0 || last.Records != 63 || last.EventTime.IsZero() {
		t.Errorf("last: %+v", last)
	}
	if len(l.noted) != 1 || l.noted[0].Events != 63 {
		t.Errorf("noted: %+v", l.noted)
	}
	// One that fails says so, and why.
	l.replays = nil
	if code, _ := replay("--state", state, filepath.Join(state, "nothing")); code == 0 {
		t.Error("a source that is not there was read")
	}
	if last := l.replays[len(l.replays)-1]; last.State != admin.ReplayFailed || !strings.Contains(last.Error, "nothing") {
		t.Errorf("failed: %+v", last)
	}
	// That nobody listens is said before anything is read.
	l.replays = nil
	if code, say := replay("--state", filepath.Join(state, "none"), filepath.Join(state, "nothing")); code != exitUnreachable || !strings.Contains(say, "not running") {
		t.Errorf("%d: %s", code, say)
	}
	// Who does not ask for it tells nobody.
	if code, _ := replay(source); code != 0 || len(l.replays) != 0 {
		t.Errorf("%d, %d notes", code, len(l.replays))
	}
}
