package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// TestSameHistory: a source that changes between the two runs of a comparison
// shows, and the same source with other rules does not.
func TestSameHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	run := func(body, side string) *replay.Stats {
		t.Helper()
		if body != "" {
			if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		set, err := ruleSide(side, app.Rules{Pack: true, AllowFewTests: true})
		if err != nil {
			t.Fatal(err)
		}
		res, err := replay.Run(t.Context(), []string{path}, replay.RunConfig{Rules: set})
		if err != nil {
			t.Fatal(err)
		}
		res.Close()
		return &res.Stats
	}
	const one = `{"eventId":"E-EXAMPLE-1","eventName":"CreateUser","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","recipientAccountId":"1000000000000001"}` + "\n"
	const two = `{"eventId":"E-EXAMPLE-2","eventName":"StopLogging","serviceName":"Actiontrail","eventTime":"2026-11-20T08:00:01Z","recipientAccountId":"1000000000000001"}` + "\n"
	before := run(one, "pack")
	if after := run("", t.TempDir()); !sameHistory(before, after) {
		t.Errorf("the same file:\n%+v\n%+v", before, after)
	}
	for name, body := range map[string]string{"grown": one + two, "doubled": one + one, "no event more": one + "x\n", "another": "x\n"} {
		if after := run(body, "pack"); sameHistory(before, after) {
			t.Errorf("%s:\n%+v\n%+v", name, before, after)
		}
	}
}

// TestStamps: a file that somebody wrote to while rules were compared shows, also
// where as much was read of it as before.
func TestStamps(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")
	then := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	put := func(path, body string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(body), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func()
		want   string
	}{
		"nothing":  {func() {}, ""},
		"one more": {func() { put(filepath.Join(dir, "c.jsonl"), "{}", then) }, ""}, // it shows in what was read, if it was
		"time":     {func() { put(b, "{}", then.Add(time.Nanosecond*1000)) }, b},
		"size":     {func() { put(a, "{ }", then) }, a},
		"gone":     {func() { _ = os.Remove(b) }, b},
	} {
		put(a, "{}", then)
		put(b, "{}", then)
		before := stampsOf([]string{dir}, &replay.Options{})
		c.change()
		if got := before.changed(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestDiffStopped: who waits for standard input can be stopped, and nothing of it
// is left.
func TestDiffStopped(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"rules", "diff", "pack", "pack", "-"}, &env{in: in, out: io.Discard, err: &errs})
	}()
	if _, err := out.Write([]byte("{}\n")); err != nil { // it is being read
		t.Fatal(err)
	}
	cancel()
	if got := <-code; got != exitInterrupted || !strings.Contains(errs.String(), "interrupted while reading standard input") {
		t.Errorf("%d: %s", got, errs.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
