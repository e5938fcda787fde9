package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
)

var now = time.Date(2026, 11, 25, 3, 2, 0, 0, time.UTC)

// ready skips where a rule that the story needs is not shipped.
func ready(t *testing.T) {
	t.Helper()
	set, err := app.Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.List() {
		if r.ID == "ak.new_source_ip" {
			return
		}
	}
	t.Skip("the rule ak.new_source_ip is not shipped")
}

// The whole story, quickly: each act is seen, and the key goes. A no to the
// undo is a no. (With the undo it is played by the tests of the command.)
func TestPlay(t *testing.T) {
	ready(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	dir := t.TempDir()
	asked := ""
	got, err := Play(ctx, Options{Out: &out, Dir: dir, Beat: 10 * time.Millisecond, Now: now, Width: 80,
		Ask: func(q string) bool { asked = q; return false }})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "trailwarden.log"))
		t.Fatalf("%v\n%s\n%s", err, out.String(), log)
	}
	if !got.Contained || got.Undone || got.Events < 18_000 || got.FirstAlert == 0 || got.Took < got.FirstAlert {
		t.Errorf("it came to %+v", got)
	}
	if !strings.Contains(asked, "undo it") {
		t.Errorf("asked %q", asked)
	}
	rules := map[string]int{}
	for _, a := range got.Alerts {
		rules[a.Rule]++
	}
	want := []string{"signin.spray", "root.console_login", "root.login_no_mfa", "mfa.removed", "ak.created", "trail.stopped", "ak.new_source_ip"}
	if app.NewJudge() != nil {
		want = append(want, "policy.admin_attached")
	}
	for _, r := range want {
		if rules[r] == 0 {
			t.Errorf("no alert of %s; there are %v", r, rules)
		}
		if !regexp.MustCompile(`(?m)^ +` + regexp.QuoteMeta(r) + ` · `).MatchString(out.String()) {
			t.Errorf("%s is not shown", r)
		}
	}
	// Nobody is disturbed by three ordinary days.
	quiet, _, ok := strings.Cut(out.String(), "all quiet")
	if !ok || regexp.MustCompile(`(?m)^ +[0-9:]+Z +(LOW|MEDIUM|HIGH|CRITICAL)`).MatchString(quiet) {
		t.Errorf("alerts in the ordinary days:\n%s", quiet)
	}
	if strings.Contains(out.String(), "UNDONE") || !strings.Contains(out.String(), "1 key contained") {
		t.Errorf("the summary:\n%s", out.String())
	}
	if got.Messages == 0 {
		t.Error("the chat was told nothing")
	}
	for _, l := range strings.Split(out.String(), "\n") {
		if n := len([]rune(l)); n > 80 && strings.HasPrefix(l, strings.Repeat(" ", 25)) {
			t.Errorf("a line of %d columns: %s", n, l)
		}
	}
	for _, f := range []string{"trailwarden.log", "cloud-journal.jsonl"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", f, len(b), err)
		}
		for _, secret := range []string{"EXAMPLEsecret", "xoxb-", "xapp-"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("a secret is in %s", f)
			}
		}
	}
}

// Ctrl-C ends it at once and leaves nothing behind.
func TestPlayInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &watcher{until: "events of ordinary work", then: cancel}
	start := time.Now()
	_, err := Play(ctx, Options{Out: out, Beat: time.Minute, Now: now})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %s to end", d)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// watcher calls then when until is written.
type watcher struct {
	until string
	then  func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.until) {
		w.then()
	}
	return len(p), nil
}
