package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/rules"
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
		set, err := ruleSide(side, "", app.Rules{Pack: true, AllowFewTests: true})
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

// hearer calls f once, with the first of its lines that has some words.
type hearer struct {
	bytes.Buffer
	says string
	f    func()
}

func (w *hearer) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.f != nil && strings.Contains(w.String(), w.says) {
		w.f()
		w.f = nil
	}
	return n, err
}

// TestDiffInterrupted: a comparison that is interrupted ends with a report that is
// whole in its form, says that it is not whole, and names what was not read.
func TestDiffInterrupted(t *testing.T) {
	dir := t.TempDir()
	path, mine := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "mine")
	const one = `{"eventId":"E-EXAMPLE-1","eventName":"StopLogging","serviceName":"Actiontrail","eventTime":"2026-11-20T08:00:00Z","recipientAccountId":"1000000000000001"}` + "\n"
	const rule = `{id: my.rule, version: 1, title: Made, description: An example., severity: low, attack: [T1098.001], match: 'event.name == "CreateUser"', reason: made,
tests: [{name: made, events: [{event: "Ram:CreateUser"}], expect: {alerts: 1}}]}`
	if err := errors.Join(os.WriteFile(path, []byte(one), 0o600), os.Mkdir(mine, 0o700), os.WriteFile(filepath.Join(mine, "my.rule.yaml"), []byte(rule), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{"old", "new"} {
		for out, want := range map[string]string{"table": "no difference known; interrupted", "json": "[]\n", "junit": `<failure message="interrupted`, "github": "::error title=rules diff::interrupted"} {
			// What is damaged there is told when the side begins.
			way := filepath.Join(dir, side+out)
			if err := errors.Join(os.MkdirAll(filepath.Join(way, side), 0o700), os.WriteFile(filepath.Join(way, side, "trailwarden.resume"), []byte("no state\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			errs := hearer{says: filepath.Join(way, side) + ": everything is evaluated again", f: cancel}
			var o bytes.Buffer
			code := Run(ctx, []string{"rules", "diff", "--no-pack", "--resume", way, "-o", out, mine, mine, path}, &env{in: strings.NewReader(""), out: &o, err: &errs})
			cancel()
			if code != exitInterrupted || !strings.Contains(o.String(), want) || strings.Contains(o.String(), `name="no difference"`) {
				t.Errorf("%s, %s: %d: %s%s", side, out, code, o.String(), errs.String())
			}
			for _, want := range []string{"the run was stopped before it was read", "what was not read is named above", "the same command goes on from there"} {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("%s, %s: %q is not said: %s", side, out, want, errs.String())
				}
			}
			// It goes on.
			o.Reset()
			code = Run(t.Context(), []string{"rules", "diff", "--no-pack", "--resume", way, mine, mine, path}, &env{in: strings.NewReader(""), out: &o, err: io.Discard})
			if code != exitOK || o.String() != "no difference\n" {
				t.Errorf("%s, %s, gone on: %d: %s", side, out, code, o.String())
			}
		}
	}
}

// TestMutateInterrupted: what looks at every part of every rule ends when it is asked to.
func TestMutateInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "my.rule.yaml")
	const rule = `{id: my.rule, version: 1, title: Made, description: An example., severity: low, match: 'event.name == "CreateUser" && actor.name != "bob"', reason: made,
tests: [{name: made, events: [{event: "Ram:CreateUser"}], expect: {alerts: 1}}]}`
	if err := os.WriteFile(path, []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mutate"}, {"mutate", "-o", "json"}, {"mutate", "--suggest"}, {"test", "--mutate"}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var o bytes.Buffer
		code := Run(ctx, append([]string{"rules", args[0], "--no-pack", "--file", path}, args[1:]...), &env{in: strings.NewReader(""), out: &o, err: io.Discard})
		if code != exitInterrupted || strings.Contains(o.String(), "actor.name") {
			t.Errorf("%v: %d: %s", args, code, o.String())
		}
	}
}

// TestTogether: of a comparison that was interrupted is shown what a comparison of
// all that was read by then shows, but for what was not over.
func TestTogether(t *testing.T) {
	const files, each, bad = 60, 100, 25 // of events a minute
	start := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	for i := range files {
		var lines strings.Builder
		for k := range each {
			n := i*each + k
			name := []string{"CreateUser", "StopLogging", "DeleteUser"}[n*n%7%3]
			fmt.Fprintf(&lines, `{"eventId":"E-%d","eventName":%q,"serviceName":"Example","eventTime":%q,"recipientAccountId":"1000000000000001","sourceIpAddress":"203.0.113.%d"}`+"\n",
				n, name, start.Add(time.Duration(n)*time.Minute).Format(time.RFC3339), n%3)
		}
		if i == bad {
			lines.WriteString("no event\n")
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.jsonl", i)), []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rule = `{version: 1, title: Made, description: An example., severity: %[3]s, attack: [T1098.001], match: 'event.name == "%[1]s"%[2]s',
dedup: {by: [source.text], window: 90m}, reason: "{event.name} %[3]s", runbook: {en: Look., zh: Look.}, tests: [{name: made, events: [{event: "Example:%[1]s"}], expect: {alerts: 1}}], id: my.%[4]s}`
	side := func(files ...string) *rules.Set {
		t.Helper()
		at := t.TempDir()
		for _, body := range files {
			_, id, _ := strings.Cut(body, "id: ")
			if err := os.WriteFile(filepath.Join(at, strings.TrimSuffix(id, "}")+".yaml"), []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		set, err := ruleSide(at, "", app.Rules{AllowFewTests: true})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	sets := [2]*rules.Set{
		side(fmt.Sprintf(rule, "CreateUser", "", "low", "c"), fmt.Sprintf(rule, "DeleteUser", "", "low", "d")),
		side(fmt.Sprintf(rule, "CreateUser", ` && source.text != "203.0.113.1"`, "low", "c"), fmt.Sprintf(rule, "DeleteUser", "", "high", "d"), fmt.Sprintf(rule, "StopLogging", "", "low", "s")),
	}
	run := func(ctx context.Context, side int, cfg replay.RunConfig) ([]alert.Alert, replay.Stats) {
		t.Helper()
		cfg.Rules, cfg.Engine.Grace = sets[side], 15*time.Minute
		res, err := replay.Run(ctx, []string{dir}, cfg)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		defer res.Close()
		alerts, err := res.AllAlerts()
		if err != nil {
			t.Fatal(err)
		}
		return alerts, res.Stats
	}
	var got, want [2][]alert.Alert
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got[0], _ = run(t.Context(), 0, replay.RunConfig{})
	var st replay.Stats
	got[1], st = run(ctx, 1, replay.RunConfig{OnParked: func(replay.Parked) { cancel() }})
	if st.Events < bad*each || st.Events == files*each {
		t.Fatalf("stopped after %d events", st.Events)
	}
	unsure := together(&got, 1, &st, 15*time.Minute)
	until := st.LastEvent.Add(-15 * time.Minute)
	if !strings.Contains(unsure, stamp(until)) {
		t.Error(unsure)
	}
	for i := range want {
		want[i], _ = run(t.Context(), i, replay.RunConfig{To: st.LastEvent.Add(time.Second)})
	}
	tell := func(changes []change, to time.Time) string {
		var b strings.Builder
		for i := range changes {
			if changes[i].of().FirstAt.Before(to) {
				b.WriteString(changes[i].Kind + " " + changes[i].line() + "\n")
			}
		}
		return b.String()
	}
	all, some := compareAlerts(want[0], want[1]), compareAlerts(got[0], got[1])
	sure := until.Add(-90 * time.Minute) // what begins before is over
	if a, b := tell(all, sure), tell(some, sure); a != b || strings.Count(a, "added") < 10 || strings.Count(a, "removed") < 10 || strings.Count(a, "changed") < 10 {
		t.Errorf("until %s: %s\nwant %s", sure, b, a)
	}
	for line := range strings.Lines(tell(some, *st.LastEvent)) {
		if !strings.Contains(tell(all, *st.LastEvent), line) {
			t.Errorf("not so: %s", line)
		}
	}
}

// TestManyChanges: where there are more changes than GitHub shows of a step, each
// rule has one annotation; the summary counts by rule.
func TestManyChanges(t *testing.T) {
	var changes []change
	for i := range 30 {
		changes = append(changes, change{Kind: "added", New: &alert.Alert{Rule: "a.loud", ID: fmt.Sprint(i)}})
	}
	changes = append(changes, change{Kind: "removed", Old: &alert.Alert{Rule: "a.quiet", ID: "q"}})
	kinds := like(changes)
	var out, errs strings.Builder
	if err := changesGitHub(&out, changes, ""); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 2 || !strings.HasPrefix(got[0], "::warning title=added a.loud::30 alerts, the first: ") || !strings.HasPrefix(got[1], "::warning title=removed a.quiet::1 alerts") {
		t.Errorf("%q", got)
	}
	(&comparison{kinds: kinds}).summarize(&env{err: &errs}, changes)
	if said := errs.String(); !strings.Contains(said, "\n  a.loud: 30 added\n  a.quiet: 1 removed\n") {
		t.Errorf("%s", said)
	}
	out.Reset()
	if err := changesGitHub(&out, changes[:10], ""); err != nil || strings.Count(out.String(), "\n") != 10 || strings.Contains(out.String(), "the first") {
		t.Errorf("%v %s", err, out.String())
	}
}

// TestRevisionIsNamed: what is wrong with the rules of a revision is not told of a
// folder that is gone by then.
func TestRevisionIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("id: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ruleSide(dir, "HEAD:my-rules", app.Rules{})
	if err == nil || strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "\nHEAD:my-rules/a.yaml:1:") {
		t.Error(err)
	}
}
