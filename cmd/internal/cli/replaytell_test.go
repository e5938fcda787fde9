package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// listener is a running program that replays tell of themselves.
type listener struct {
	admin.Backend
	mu      sync.Mutex
	replays []admin.Replaying
	noted   []admin.Replayed
	work    admin.RuleWork
}

func (l *listener) RuleWork(context.Context) (admin.RuleWork, error) { return l.work, nil }

// listen serves one; the folder's path is short because a socket's is limited.
func listen(t *testing.T, l admin.Backend) string {
	t.Helper()
	state, err := os.MkdirTemp("", "tw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	s, err := admin.Serve(state, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return state
}

// What a process counted in some of the partitions is told as that, and
// promotes no rule.
func TestPartOfThePartitions(t *testing.T) {
	now := time.Now()
	l := &listener{work: admin.RuleWork{Shadow: map[string]alert.Noise{"c.quiet": {Since: now.AddDate(0, 0, -30), Until: now}}, Excepted: map[string]uint64{}, Partitions: 3, Of: 16}}
	state := listen(t, l)
	file := filepath.Join(t.TempDir(), "c.quiet.yaml")
	if err := os.WriteFile(file, []byte("id: c.quiet\nversion: 1\ntitle: t\ndescription: d\nseverity: low\nstatus: shadow\nmatch: event.name == \"CreateUser\"\nreason: r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shadow := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := Main(append([]string{"rules", "shadow", "--no-pack", "--rules", file, "--state", state}, args...), strings.NewReader(""), &out, &out, []string{})
		return code, out.String()
	}
	if code, say := shadow(); code != 0 || !strings.Contains(say, "counted in 3 of 16 partitions") || !strings.Contains(say, "ready") {
		t.Errorf("%d: %s", code, say)
	}
	if code, say := shadow("--promote"); code != exitRefused || !strings.Contains(say, "--history") {
		t.Errorf("%d: %s", code, say)
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte("status: shadow")) {
		t.Errorf("%s %v", b, err)
	}
	l.work.Partitions = 16
	if code, say := shadow("--promote"); code != 0 || strings.Contains(say, "partitions") || !strings.Contains(say, "status: on") {
		t.Errorf("%d: %s", code, say)
	}
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
	l := &listener{}
	state := listen(t, l)
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

// stopping is input in which the run is interrupted, and which does not end.
type stopping struct{ stop, until context.CancelFunc }

func (s stopping) Read([]byte) (int, error) {
	s.stop()
	s.until()
	return 0, io.EOF
}

// A replay that is interrupted is noted in the audit log, too, and says that it was.
func TestInterruptedReplayIsNoted(t *testing.T) {
	l := &listener{}
	state := listen(t, l)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	var said bytes.Buffer
	code := Run(ctx, []string{"replay", "-q", "-o", "jsonl", "--state", state, "-"}, &env{in: stopping{stop, func() { <-over }}, out: io.Discard, err: &said})
	close(over)
	l.mu.Lock()
	defer l.mu.Unlock()
	if code != exitInterrupted || !strings.Contains(said.String(), "interrupted: what is above") || len(l.noted) != 1 {
		t.Errorf("exit code %d, noted %+v: %s", code, l.noted, said.String())
	}
	if last := l.replays[len(l.replays)-1]; last.State != admin.ReplayInterrupted {
		t.Errorf("%+v", last)
	}
}
