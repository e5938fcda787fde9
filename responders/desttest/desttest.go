// Package desttest holds every destination to the same contract: the same
// hostile corpus, the same kinds of failure, golden files of the same notices.
// It is for tests.
package desttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/message"
)

var update = flag.Bool("update", false, "rewrite golden files")

// At is when the events of every notice here happened.
var At = time.Date(2026, 11, 20, 6, 2, 11, 0, time.UTC)

// Evil is s with everything that some chat, terminal, mail program or log
// viewer would act on.
func Evil(s string) string {
	return s + " <!channel> <@U0EXAMPLE1> <http://evil.example|console> [click](https://evil.example) ![i](http://evil.example/i.png) www.evil.example @here @all @所有人 <at id=all></at> &lt;b&gt; <b>x</b> `*_~ **bold** :ram: \u202egnp.exe\u2066 a\u200bb \x1b[31m\x00 =1+1 \"]\\ \r\nBcc: x@evil.example\r\n.\r\n# q | r\n> q"
}

// Hostile has Evil in every field.
func Hostile() responders.Notice {
	n := message.Sample(At)
	a := &n.Alert
	a.Rule, a.Title, a.Reason, a.Outcome, a.AccountID, a.SourceIP, a.TargetKey = Evil("rule"), Evil("title"), Evil("reason"), Evil("attempt"), Evil("1"), Evil("ip"), Evil("LTAJ")
	a.TitleZH, a.ReasonZH = Evil("标题"), Evil("原因")
	a.Actor = alert.Actor{Type: Evil("type"), ID: Evil("id"), Name: Evil("name"), AccessKeyID: Evil("LTAI"), Role: Evil("role"), Session: Evil("session")}
	a.Target = &alert.Target{Type: Evil("t"), ID: Evil("tid"), Name: Evil("tname")}
	a.Attack, a.EventIDs = []string{Evil("T1")}, []string{Evil("e")}
	a.Details = map[string]any{"event": Evil("event"), "region": Evil("region"), "country": Evil("NL"), "asn": Evil("1"), "as_org": Evil("org"), "mfa": Evil("no"), "key_age_days": Evil("2")}
	a.Runbook = alert.Runbook{EN: Evil("runbook"), ZH: Evil("手册")}
	n.Account = Evil("acct")
	n.Actions = []responders.ActionView{
		{ID: Evil("a"), Kind: Evil("kind"), Describe: Evil("describe"), State: responders.State(Evil("state")), Reason: Evil("why"), By: Evil("by"), At: At},
		{ID: Evil("a"), Describe: Evil("d"), State: responders.Failed, Reason: "cap: not by itself: nothing here can do " + Evil("what") + "; next: page a person: it is not contained; do it by hand: " + Evil("call")},
		{ID: Evil("a"), Describe: Evil("d"), State: responders.Done, Undoable: true},
		{ID: Evil("a"), Describe: Evil("d"), State: responders.Proposed},
	}
	n.Thread = append(responders.Said(Evil("line")), responders.Line{Say: responders.SayStepWhy, Args: []any{responders.State(Evil("state")), Evil("by"), Evil("what"), Evil("why")}, More: responders.Said(Evil("more"))})
	n.Triage = responders.Triage{State: responders.TriageAcknowledged, Owner: Evil("owner"), By: Evil("by"), At: At}
	return n
}

// Huge is far beyond every limit.
func Huge() responders.Notice {
	n := Hostile()
	n.Alert.Title, n.Alert.Reason = strings.Repeat("很长的标题 ", 1_000), strings.Repeat("🦊 reason ", 1_000)
	n.Alert.TitleZH, n.Alert.ReasonZH = n.Alert.Title, strings.Repeat("🦊 原因 ", 1_000)
	for range 60 {
		n.Actions = append(n.Actions, responders.ActionView{ID: "x", Describe: strings.Repeat("d", 1_000), State: responders.Failed, Reason: strings.Repeat("r", 1_000)})
		n.Thread = append(n.Thread, responders.Said(strings.Repeat("动作 ", 200))...)
	}
	return n
}

// Bare has nothing but what every alert has.
func Bare() responders.Notice {
	return responders.Notice{Alert: alert.Alert{Schema: alert.Schema, ID: "00ff", Rule: "r", RuleVersion: 1, Title: "Root login", Severity: alert.Critical, EventIDs: []string{"e"}, Count: 1, Revision: 1}}
}

// Notices are all of them by name, for golden files.
func Notices() map[string]responders.Notice {
	full := message.Sample(At)
	full.Link = "https://console.example/incidents/" + full.Alert.ID
	return map[string]responders.Notice{"full": full, "bare": Bare(), "hostile": Hostile(), "huge": Huge()}
}

// Golden compares got with testdata/name; -update rewrites it.
func Golden(t testing.TB, name string, got []byte) {
	t.Helper()
	if strings.HasSuffix(name, ".json") && strings.Contains(name, ".zh.") && !strings.Contains(name, "hostile") && !strings.Contains(name, "huge") && !strings.Contains(name, "bare") {
		Chinese(t, string(got))
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to make it)", err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs\n got: %s\nwant: %s", path, got, want)
	}
}

var (
	sentence = regexp.MustCompile(`[A-Za-z]+(?:[ ,]+[a-z]{2,})+`)
	typed    = regexp.MustCompile(`trailwarden [a-z]+(?: [a-z-]+)*|aliyun [a-z]+ `)
)

// Chinese fails when words of an English sentence are left in s. Commands may
// stand in it as they are typed.
func Chinese(t testing.TB, s string) {
	t.Helper()
	for _, left := range sentence.FindAllString(typed.ReplaceAllString(s, "·"), -1) {
		t.Errorf("%q is left in a message in Chinese:\n%s", left, s)
	}
}

var live = regexp.MustCompile(`(?i)[a-z]://|www\.|\]\(|<[!@#a-z/]|@(here|all|channel|所有人)\b|mailto:[^ ]`)

// Inert fails when s could mention, link, format or hide. breaks says that
// line breaks may stand in it; ok are texts of our own that are taken out first.
func Inert(t testing.TB, s string, breaks bool, ok ...string) {
	t.Helper()
	for _, o := range ok {
		s = strings.ReplaceAll(s, o, "")
	}
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	if m := live.FindString(s); m != "" {
		t.Errorf("live %q in %.300q", m, s)
	}
	for _, r := range s {
		if r == '\n' && breaks {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			t.Errorf("%U in %.300q", r, s)
			return
		}
	}
}

// Outcome says what an error asks the dispatcher to do: "ok", "doubt" (look
// before sending again), "later" (the whole destination pauses), "retry" or
// "final".
func Outcome(err error) string {
	var after *responders.RetryAfterError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, responders.ErrInDoubt):
		return "doubt"
	case errors.As(err, &after):
		return "later"
	case errors.Is(err, responders.ErrRetry):
		return "retry"
	}
	return "final"
}

// Failures makes a platform fail in every way a network has and checks what
// the notifier says of it. doubt is what a lost answer is: "doubt", or "retry"
// where the platform recognises a repeat. The secrets must be in no error.
func Failures(t *testing.T, s *chattest.Server, method, doubt string, n func(t *testing.T) responders.Notifier, secrets ...string) {
	for _, c := range []struct {
		name  string
		fault chattest.Fault
		want  string
	}{
		{"fine", chattest.Fault{}, "ok"},
		{"429", chattest.TooMany(7 * time.Second), "later"},
		{"429 without a time", chattest.TooMany(-1), "later"},
		{"500", chattest.Status(500), doubt},
		{"503 after the work", chattest.Status(503).After(), doubt},
		{"401", chattest.Status(401), "final"},
		{"redirect", chattest.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, "final"},
		{"cut", chattest.Cut(), doubt},
		{"answer dropped after the work", chattest.DropAnswer(), doubt},
		{"hangs", chattest.Hang(), doubt},
		{"hangs after the work", chattest.Hang().After(), doubt},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Script(method, c.fault)
			_, err := n(t).Post(t.Context(), message.Sample(At))
			if got := Outcome(err); got != c.want {
				t.Errorf("%s: %v, want %s", got, err, c.want)
			}
			for _, secret := range secrets {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("a secret is in %v", err)
				}
			}
		})
	}
}

// Gone is an address where nobody listens.
func Gone(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Indent writes JSON for people and golden files.
func Indent(t testing.TB, data []byte) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Strings are all strings in a JSON text.
func Strings(t testing.TB, data []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	var out []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(v)
	return out
}
