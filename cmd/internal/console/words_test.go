package console

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
	"github.com/trailwarden/trailwarden/responders"
)

var (
	inTemplate = regexp.MustCompile(`\(?\bt "((?:[^"\\]|\\.)*)"`)
	inSource   = regexp.MustCompile(`\b(?:l|q\.lang)\.t\("((?:[^"\\]|\\.)*)"`)
	verbs      = regexp.MustCompile(`%(?:\[\d\])?[sd]|%02d`)
)

// Every phrase of every page is there in Chinese, takes the same arguments,
// and none is there that is not used.
func TestWordsAreComplete(t *testing.T) {
	used := map[string]bool{}
	add := func(s string) { used[strings.ReplaceAll(s, `\"`, `"`)] = true }
	templates, _ := filepath.Glob("templates/*.html")
	for _, f := range templates {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inTemplate.FindAllStringSubmatch(string(b), -1) {
			add(m[1])
		}
	}
	sources, _ := filepath.Glob("*.go")
	for _, f := range sources {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inSource.FindAllStringSubmatch(string(b), -1) {
			add(m[1])
		}
	}
	delete(used, "action ") // the beginning of a key
	if len(used) < 120 {
		t.Fatalf("only %d phrases were found: the patterns are wrong", len(used))
	}
	// Titles of pages, ranges, weekdays and words of closed sets are said by variables.
	for _, w := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "last hour", "last 24 h", "last 7 d", "Now", "Entity", "Rules", "Actions", "Action", "Sign in", "Signed in", "Error", "on", "shadow", "off",
		"open", "acknowledged", "closed", "all", "true_positive", "false_positive", "benign", "nobody", "viewer", "analyst", "approver", "observe", "approve", "auto", "playbook", "machine",
		"did acknowledge", "did assign", "did close", "did reopen", "did note", "said asked", "said silent", "said unasked", "said withdrawn", "tried to approve", "tried to deny", "tried to undo", "kind actor", "kind key", "kind ip"} {
		used[w] = true
	}
	for s := alert.Info; s <= alert.Critical; s++ {
		used[s.String()] = true
	}
	for _, s := range []responders.State{responders.Proposed, responders.Approved, responders.Executing, responders.Done, responders.Failed, responders.InDoubt, responders.Refused, responders.Observed,
		responders.Denied, responders.Expired, responders.Undoing, responders.Undone} {
		used["action "+string(s)] = true
		if en["action "+string(s)] == "" {
			t.Errorf("the state %s has no words in English", s)
		}
	}
	for _, s := range []string{admin.ReplayReading, admin.ReplayRunning, admin.ReplayDone, admin.ReplayFailed, admin.ReplayInterrupted, admin.ReplayUnheard} {
		used["replay "+s] = true
		if en["replay "+s] == "" {
			t.Errorf("the state %s has no words in English", s)
		}
	}
	for _, k := range []string{"action", "alert", "ask", "click", "freeze", "handson", "note", "silence", "triage", "gap"} { // what the audit log tells, but notices and cards
		used["audit "+k] = true
	}
	for _, k := range []string{"not_found", "forbidden", "bad_request", "internal"} {
		for _, s := range []string{"failed " + k, "after " + k} {
			if used[s] = true; en[s] == "" {
				t.Errorf("%q has no words in English", s)
			}
		}
	}
	for phrase := range used {
		z, ok := zh[phrase]
		if !ok {
			t.Errorf("not in Chinese: %q", phrase)
			continue
		}
		if a, b := verbs.FindAllString(phrase, -1), verbs.FindAllString(z, -1); len(a) != len(b) {
			t.Errorf("%q has %d arguments, its translation %q %d", phrase, len(a), z, len(b))
		}
	}
	for phrase := range zh {
		if !used[phrase] && !strings.Contains(phrase, "printf") {
			t.Errorf("not used: %q", phrase)
		}
	}
}

func TestAbout(t *testing.T) {
	for title, want := range map[string]string{"AccessKey created for {target.name}": "AccessKey created for …", "Monitoring rules were removed ({event.name})": "Monitoring rules were removed",
		"The keys of {actor.name} do something they never did ({event.service}, {event.rw})": "The keys of … do something they never did", "plain (as it is)": "plain (as it is)", "{": "{", "": ""} {
		if got := about(title); got != want {
			t.Errorf("%q: %q, want %q", title, got, want)
		}
	}
}

func TestTemplatesArePacked(t *testing.T) {
	packedtest.Check(t, "templates.tar.zst", "templates/*", *update)
}
