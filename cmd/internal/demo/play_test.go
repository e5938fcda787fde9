package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/console"
)

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
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out locked
	dir := t.TempDir()
	asked, held, reported := "", "", 0
	var seen []string
	got, err := Play(ctx, Options{Out: &out, Dir: dir, Beat: 10 * time.Millisecond, Now: time.Now(), Width: 80,
		Report: func(_ context.Context, records io.Reader) (string, error) {
			b, err := io.ReadAll(records)
			reported = strings.Count(string(b), "\n")
			return "r.html", err
		},
		Ask: func(q string) bool { asked = q; return false }, Console: true, Hold: func(say string) { seen, held = lookAround(t, &out), say }})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "trailwarden.log"))
		t.Fatalf("%v\n%s\n%s", err, out.String(), log)
	}
	if !got.Contained || !got.Approved || !got.Restarted || got.Entries == 0 || got.Undone || got.Events < 18_000 || got.FirstAlert == 0 || got.Took < got.FirstAlert {
		t.Errorf("it came to %+v", got)
	}
	// The intruder's last try is no part of the story's events.
	if reported != got.Events+1 || !strings.Contains(out.String(), "opens offline: r.html\n") {
		t.Errorf("the report is of %d records, want %d, and it is told", reported, got.Events+1)
	}
	if !strings.Contains(asked, "undo it") {
		t.Errorf("asked %q", asked)
	}
	if !strings.Contains(held, "http://127.0.0.1:") {
		t.Errorf("at the end it says %q", held)
	}
	rules := map[string]int{}
	for _, a := range got.Alerts {
		rules[a.Rule]++
	}
	want := []string{"signin.spray", "root.console_login", "root.login_no_mfa", "mfa.removed", "ak.created_for_other", "trail.stopped", "ak.new_source_ip"}
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
	// A key is made before it is used.
	if m := regexp.MustCompile(`created (\S+)Z\n.*last used services: \w+ \((\S+) (\S+)Z\)`).FindStringSubmatch(out.String()); m == nil {
		t.Error("the thread does not say when the key was made and used")
	} else if made, used := m[1], m[2]+"T"+m[3]; made > used {
		t.Errorf("the key was made at %s and last used at %s", made, used)
	}
	// The console shows the same story, in order.
	order := []string{"signin.spray", "root.console_login", "mfa.removed", "ak.created_for_other", "policy.admin_attached", "trail.stopped", "ak.new_source_ip"}
	at := -1
	for _, r := range order {
		i := slices.Index(seen, r)
		if i <= at {
			t.Errorf("in the console %s is number %d, after number %d: %v", r, i, at, seen)
		}
		at = i
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
	var start time.Time
	out := &watcher{until: "events of ordinary work", then: func() { start = time.Now(); cancel() }}
	_, err := Play(ctx, Options{Out: out, Beat: time.Minute, Now: time.Now()})
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

// lookAround signs in to the console by the link that was shown and returns the
// rules of the alerts there, oldest first.
func lookAround(t *testing.T, out *locked) []string {
	t.Helper()
	link := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/login\?token=[A-Z0-9]+`).FindString(out.String())
	base, _, _ := strings.Cut(link, "/login")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Jar: jar, Transport: tr, Timeout: time.Minute}
	get := func(path string, into any) {
		t.Helper()
		req, err := http.NewRequest("GET", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if into != nil {
			req.Header.Set("Accept", "application/json")
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		if into != nil {
			if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
	}
	get(link, nil)
	var now console.NowFacts
	get(base+"/?state=all", &now)
	var rules []string
	for i := len(now.Alerts) - 1; i >= 0; i-- {
		rules = append(rules, now.Alerts[i].Rule)
	}
	// The evidence is there as it was recorded, with the reason why.
	for _, a := range now.Alerts {
		if a.Rule != "mfa.removed" {
			continue
		}
		var f console.AlertFacts
		get(base+"/alerts/"+a.ID, &f)
		if len(f.Evidence) == 0 || !strings.Contains(string(f.Evidence[0].Raw), "UnbindMFADevice") || len(f.Why) == 0 {
			t.Errorf("the evidence of %s: %+v, why %q", a.ID, f.Evidence, f.Why)
		}
	}
	// What the stolen key did, and where it comes from.
	var e console.EntityFacts
	get(base+"/entities/key?id="+BackdoorKey, &e)
	if e.Entity.Total == 0 || len(e.Entity.Origin) == 0 || len(e.Alerts) == 0 {
		t.Errorf("the key: %d events, origin %+v, %d alerts", e.Entity.Total, e.Entity.Origin, len(e.Alerts))
	}
	var ru console.RulesFacts
	get(base+"/rules", &ru)
	if len(ru.Rules) < 100 || ru.Events == 0 {
		t.Errorf("%d rules, %d events", len(ru.Rules), ru.Events)
	}
	var acts console.ActionsFacts
	get(base+"/actions", &acts)
	if acts.Total == 0 {
		t.Error("no action is shown")
	}
	return rules
}

// locked is a buffer that can be read while the show goes on.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What did not happen is told by what ended it: the interruption, also where the
// program has ended by it already; the program; or that it took too long.
func TestFails(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		ctx   context.Context
		ended []error
		want  string
		is    error
	}{
		"interrupted":            {over, nil, "context canceled", context.Canceled},
		"interrupted, and ended": {over, []error{nil}, "context canceled", context.Canceled},
		"ended":                  {t.Context(), []error{broken}, "the pipeline stopped: broken", broken},
	} {
		s := &show{log: log, ended: make(chan error, 1)}
		for _, e := range c.ended {
			s.ended <- e
		}
		if err := s.fails(c.ctx, "it"); err == nil || err.Error() != c.want || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := &show{log: log, ended: make(chan error, 1)}
	for range 2 { // also where the program has ended and does not say why
		if err := s.fails(t.Context(), "it"); err == nil || !strings.HasPrefix(err.Error(), "it did not happen within") {
			t.Error(err)
		}
		s.ended <- nil
	}
}

// Whoever interrupts the question about the undo ends the show: nothing is
// undone, and what ran has ended.
func TestPlayIsInterruptedAtTheQuestion(t *testing.T) {
	ready(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out locked
	got, err := Play(ctx, Options{Out: &out, Beat: 10 * time.Millisecond, Now: time.Now(), Width: 80,
		Ask: func(string) bool { cancel(); return true }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v:\n%s", err, out.String())
	}
	if !got.Contained || got.Undone || strings.Contains(out.String(), "action undo") {
		t.Errorf("it came to %+v:\n%s", got, out.String())
	}
}
