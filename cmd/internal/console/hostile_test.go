package console

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is what strangers write into names.
var hostile = []string{
	`<img src=x onerror=alert(1)>`, `"><script>alert(1)</script>`, `' onmouseover='alert(1)`, `</title></textarea><script>alert(1)</script>`, `</svg><script>alert(1)</script>`,
	`{{.}} {{template "act" .}}`, `javascript:alert(1)`, `" hx-get="http://evil.example/" hx-trigger="load`, `hx-on:click=alert(1)`, "a\r\nSet-Cookie: x=1\r\n\r\n<b>", "alice\u202egnp.exe", "zero\u200bwidth\ufeff",
	"\x1b[31mred\x07", "\x00\x01\x7f\u0085", "family 👩‍👩‍👧 ❤️", "e" + strings.Repeat("\u0301", 500), strings.Repeat("A", 10_000), strings.Repeat("長", 10_000), "\xff\xfe broken \xc3",
	"//evil.example/", "/../../etc/passwd", "?a=b&c=d#e", "%2e%2e%2f", "&lt;b&gt; &amp;", "<!-- c -->", "]]>", "مرحبا", "\U000e0041tag", "%s %d %!", "\u2028line\u2029sep", "../login?token=x",
}

func hostileAlert(s string, at time.Time) alert.Alert {
	a := sample(1, at)
	a.Rule, a.Title, a.Reason, a.AccountID, a.SourceIP, a.TargetKey = s, s, s, s, s, s
	a.Actor = alert.Actor{Type: s, ID: s, Name: s, AccessKeyID: s, Role: s, Session: s}
	a.Target = &alert.Target{Type: s, ID: s, Name: s}
	a.Attack, a.EventIDs = []string{s}, []string{s}
	a.Details = map[string]any{s: s, "list": []any{s}}
	a.Runbook = alert.Runbook{EN: s, ZH: s}
	return a
}

// pages renders every page about one name.
func hostilePages(t *testing.T, s string) map[string]string {
	t.Helper()
	s = strings.ToValidUTF8(s, "\ufffd") // as JSON has it
	w := newWorld(t)
	a := hostileAlert(s, t0)
	w.raise(a)
	w.index.AddEvent(mustParse(t, call("E1", "CreateUser", "x", aliceKey, "203.0.113.7", t0)), index.Pos{Seq: 1})
	rec, err := json.Marshal(map[string]any{"eventId": s, "eventName": s, "serviceName": s, "eventType": "ApiCall", "eventRW": "Write", "eventTime": t0.Format(time.RFC3339), "sourceIpAddress": s, "userAgent": s,
		"requestId": s, "recipientAccountId": account, "errorCode": s, "errorMessage": s, "acsRegion": s,
		"userIdentity": map[string]any{"type": "ram-user", "accountId": account, "principalId": s, "userName": s, "accessKeyId": s}, "requestParameters": map[string]any{"UserName": s}})
	if err != nil {
		t.Fatal(err)
	}
	w.event(string(rec))
	w.mu.Lock()
	w.status.Problems = []string{s}
	w.status.Sources[0].Name = s
	w.status.Frozen = responders.Freeze{Frozen: true, By: s, Reason: s}
	w.audit[0].Kind, w.audit[0].ID, w.audit[0].By, w.audit[0].What = s, s, s, s
	w.rules = append(w.rules, Rule{ID: s, Title: s, Description: s, Severity: s, Status: "on", Detector: s, Match: s, Attack: []string{s}, Errors: 1, LastError: s})
	w.rules[0].Exceptions = []RuleException{{ID: s, Owner: s, Reason: s, Expires: t0}}
	w.mu.Unlock()
	tr, err := w.disp.Triage(t.Context(), a.ID, responders.TriageRequest{By: s, Do: responders.DoAssign, Owner: "owner " + s})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.disp.Triage(t.Context(), a.ID, responders.TriageRequest{By: s, Do: responders.DoNote, Note: "note " + s}); err != nil {
		t.Fatal(err)
	}
	d := w.propose(a.ID, s, aliceKey, time.Hour)
	b := w.as("carol")
	out := map[string]string{}
	for name, path := range map[string]string{"now": "/?lang=en", "alert": "/alerts/" + a.ID, "actor": string("/entities/actor?id=") + escape(s), "key": "/entities/key?id=" + escape(s), "ip": "/entities/ip?id=" + escape(s), "rules": "/rules",
		"actions": "/actions", "action": "/actions/" + d.ID, "strip": "/strip", "search": "/?q=" + escape(s), "owner": "/?owner=" + escape(tr.Owner), "norule": "/rules/" + escapePath("no"+s), "rule": "/rules/ak.created"} {
		r := b.get(path, "text/html")
		if r.status != 200 && name != "norule" && len(s) < 1000 {
			t.Errorf("%q: %s: %d", cutTo(s), name, r.status)
		}
		out[name] = r.body
	}
	return out
}

func cutTo(s string) string { return s[:min(len(s), 60)] }

// skeleton is the elements and the names of attributes of a page, and its text.
func skeleton(t *testing.T, page string) (tags []string, words string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	var b strings.Builder
	for {
		switch z.Next() {
		case html.ErrorToken:
			return tags, b.String()
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			s := tok.Data
			for _, a := range tok.Attr {
				s += " " + a.Key
				switch a.Key {
				case "href", "action", "src", "hx-get", "hx-post", "hx-sse:connect", "data-whole":
					if !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") || strings.HasPrefix(a.Val, "//") {
						t.Errorf("<%s %s=%q> leads elsewhere", tok.Data, a.Key, a.Val)
					}
				}
			}
			tags = append(tags, s)
		case html.TextToken:
			b.WriteString(string(z.Text()))
		case html.CommentToken:
			tags = append(tags, "comment")
		}
	}
}

// Whatever a name is, a page has the elements and attributes that it has for a
// harmless name, and nothing in its text is invisible.
func TestHostileText(t *testing.T) {
	plain := hostilePages(t, "harmless name")
	want := map[string][]string{}
	for name, p := range plain {
		want[name], _ = skeleton(t, p)
	}
	corpus := hostile
	if testing.Short() {
		corpus = corpus[:5]
	}
	for _, s := range corpus {
		for name, p := range hostilePages(t, s) {
			if len(s) > 1000 && (name == "actor" || name == "key" || name == "ip") {
				continue // no such address: it is refused
			}
			if !utf8.ValidString(p) {
				t.Errorf("%q: %s is not UTF-8", cutTo(s), name)
			}
			got, words := skeleton(t, p)
			for _, r := range words {
				if r != '\n' && r != utf8.RuneError && text.Hidden(r) {
					t.Errorf("%q: %s shows U+%04X", cutTo(s), name, r)
					break
				}
			}
			if len(p) > 400_000 {
				t.Errorf("%q: %s has %d bytes", cutTo(s), name, len(p))
			}
			if !equalTags(got, want[name]) {
				for i := range got {
					if i >= len(want[name]) || got[i] != want[name][i] {
						t.Errorf("%q: %s: element %d is <%s>, for a harmless name <%s>", cutTo(s), name, i, got[i], at(want[name], i))
						break
					}
				}
			}
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// equalTags leaves out what depends on whether a command line can be shown.
func equalTags(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

// The rows of the list for the whole corpus, as a file that is read when it changes.
func TestHostileGolden(t *testing.T) {
	s := &Server{}
	if err := s.loadAssets(); err != nil {
		t.Fatal(err)
	}
	v, err := loadViews(s.assets)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	p := &page{Now: now, CSRF: "token", Self: "/", CanTriage: true, User: user{Role: Analyst}}
	x := index.New(index.Limits{})
	for i, h := range hostile {
		a := hostileAlert(h, now.Add(-time.Duration(i)*time.Minute))
		a.ID = sample(i, now).ID
		x.Apply(responders.Change{Seq: uint64(i + 1), AlertID: a.ID, Alert: &a})
	}
	var rows []row
	for _, a := range x.List(index.Query{}).Alerts {
		rows = append(rows, row{a, a.AccountID, p})
	}
	for _, l := range []lang{english, chinese} {
		var b bytes.Buffer
		if err := v.byLang[l]["now"].ExecuteTemplate(&b, "rows", rows); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "hostile.rows."+l.code()+".html")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s differs; go test -run HostileGolden -update ./cmd/internal/console writes it anew, and the difference is to be read", file)
		}
	}
}
