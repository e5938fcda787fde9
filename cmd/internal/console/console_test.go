package console

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

var t0 = time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Second)

func TestPagesAndFacts(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		w.event(call("E"+itoa(i), "CreateAccessKey", "user-1", aliceKey, "203.0.113.7", t0.Add(time.Duration(i)*time.Second)))
	}
	for i := range 120 {
		w.raise(sample(i, t0.Add(time.Duration(i)*time.Second)))
	}
	b := w.as("carol")
	var now NowFacts
	b.json("/", &now)
	if now.Total != 120 || len(now.Alerts) != PerPage || now.Pages != 3 || !now.Complete || now.Alerts[0].Title != "AccessKey created for user-119" {
		t.Errorf("now: total %d, %d listed, %d pages, first %q", now.Total, len(now.Alerts), now.Pages, now.Alerts[0].Title)
	}
	if now.Unclosed["critical"] != 30 || !now.Status.Ready {
		t.Errorf("counts %v, status %+v", now.Unclosed, now.Status)
	}
	b.json("/?page=3", &now)
	if len(now.Alerts) != 20 {
		t.Errorf("third page: %d", len(now.Alerts))
	}
	for query, want := range map[string]int{"severity=high": 60, "severity=critical": 30, "q=USER-7+": 11, "q=user-119": 1, "state=closed": 0, "state=all": 120, "rule=nosuch": 0, "owner=x": 0, "account=" + account: 120} {
		b.json("/?"+query, &now)
		if now.Total != want {
			t.Errorf("%s: %d, want %d", query, now.Total, want)
		}
	}
	var al AlertFacts
	b.json("/alerts/"+sample(7, t0).ID, &al)
	if al.Alert.Actor.Name != "user-7" || len(al.Evidence) != 1 || len(al.Evidence[0].Raw) == 0 || len(al.Why) == 0 || !strings.Contains(al.Exception, "rules: [ak.created]") || al.SimilarTotal != 119 || al.Triage.State != responders.TriageOpen {
		t.Errorf("alert: %+v", al)
	}
	var en EntityFacts
	page := b.get("/entities/key?lang=en&id="+aliceKey, "text/html").body
	if n := strings.Count(page, "data-row"); n != entityRows || !strings.Contains(page, `href="/?q=`+aliceKey+`&amp;state=all"`) {
		t.Errorf("%d alerts on the page of the key, want %d and a way to the others", n, entityRows)
	}
	b.json("/entities/key?id="+aliceKey, &en)
	if e := en.Entity; e.Total != 250 || e.Count != 250 || len(e.Events) != PerPage || len(e.Networks) != 1 || e.Networks[0].Count != 250 || len(e.Created) == 0 || len(en.Alerts) != 100 {
		t.Errorf("entity: %d %d %d", e.Total, e.Count, len(e.Events))
	}
	b.json("/entities/key?id="+aliceKey+"&from="+t0.Add(10*time.Second).Format(time.RFC3339)+"&to="+t0.Add(20*time.Second).Format(time.RFC3339), &en)
	if en.Entity.Count != 10 || en.Entity.Total != 250 {
		t.Errorf("ten seconds: %d of %d", en.Entity.Count, en.Entity.Total)
	}
	var ru RulesFacts
	b.json("/rules", &ru)
	if len(ru.Rules) != 2 || ru.Rules[0].Count.Day != 120 || len(ru.Silent) != 1 || ru.Silent[0] != "quiet.rule" {
		t.Errorf("rules: %+v", ru)
	}
	// Each page says the same to people, in both languages.
	for path, want := range map[string][2]string{
		"/":                               {"AccessKey created for user-119", "条告警"},
		"/alerts/" + sample(7, t0).ID:     {"Why it fired", "触发原因"},
		"/entities/key?id=" + aliceKey:    {"What it created", "它创建的"},
		"/entities/ip?id=203.0.113.7":     {"Activity", "活动"},
		"/entities/actor?id=nobody":       {"No event of it is held here.", "此处没有它的事件"},
		"/rules":                          {"Try a condition", "试用条件"},
		"/rules/ak.created":               {"Condition", "条件"},
		"/rules/quiet.rule":               {"boom", "评估失败"},
		"/actions":                        {"Nothing waits.", "没有等待项"},
		"/entities/actor?id=%3Cscript%3E": {"&lt;script&gt;", "&lt;script&gt;"},
	} {
		for i, l := range []string{"en", "zh"} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			a := b.get(path+sep+"lang="+l, "text/html")
			if a.status != 200 || !strings.Contains(a.body, want[i]) {
				t.Errorf("%s in %s: %d, without %q", path, l, a.status, want[i])
			}
			if strings.Contains(a.body, "ZgotmplZ") || strings.Contains(a.body, "%!") {
				t.Errorf("%s in %s: the template or a format is broken", path, l)
			}
		}
	}
}

// How loud a rule is, against what it is worth, and what is excepted from it.
// The records that an alert rests on are shown when the event stream and the
// index have long forgotten them, and why the rule fired with them.
func TestKeptEvidence(t *testing.T) {
	w := newWorld(t)
	a := sample(7, t0)
	a.EventIDs = []string{"E007", "E008"}
	raw := call("E007", "CreateAccessKey", "user-7", aliceKey, "203.0.113.7", t0)
	w.event(raw)
	w.raise(a)
	b := w.as("carol")
	var before, after AlertFacts
	b.json("/alerts/"+a.ID, &before)

	w.mu.Lock()
	clear(w.records)
	w.kept = map[string][][]byte{a.ID: {[]byte(raw), []byte("damaged")}}
	w.mu.Unlock()
	w.stop()
	w.start()
	b = w.as("carol")
	b.json("/alerts/"+a.ID, &after)
	if diff := cmp.Diff(before.Evidence, after.Evidence, cmpopts.IgnoreFields(index.Event{}, "Pos")); diff != "" || len(after.Evidence) != 2 || after.Evidence[0].Raw == nil {
		t.Errorf("the evidence while the stream has it (-) and after (+):\n%s", diff)
	}
	if diff := cmp.Diff(before.Why, after.Why); diff != "" || len(after.Why) == 0 {
		t.Errorf("why it fired:\n%s", diff)
	}
	page := b.get("/alerts/"+a.ID+"?lang=en", "text/html").body
	if n := strings.Count(page, "no longer held here"); n != 1 || !strings.Contains(page, "CreateAccessKey") {
		t.Errorf("%d events are not held, want the second one", n)
	}
	w.mu.Lock()
	w.kept = nil
	w.mu.Unlock()
	if page = b.get("/alerts/"+a.ID+"?lang=en", "text/html").body; strings.Count(page, "no longer held here") != 2 {
		t.Error("what is kept nowhere is shown")
	}
}

func TestRuleNoise(t *testing.T) {
	w := newWorld(t)
	for n := range 15 {
		w.raise(sample(n, t0))
	}
	w.mu.Lock()
	w.rules[0].Budget = 3 // 15 in a week are 2.14 a day
	w.rules[0].Exceptions = []RuleException{{ID: "ci_keys", Owner: "platform", Reason: "the pipeline rotates", Expires: t0.AddDate(99, 0, 0), Withheld: 41}}
	w.rules = append(w.rules, Rule{ID: "new.rule", Title: "New", Severity: "low", Status: "shadow", Budget: 1, Exceptions: []RuleException{{ID: "old", Expires: t0.AddDate(-9, 0, 0)}},
		Shadow: &alert.Noise{Since: t0, Until: t0.AddDate(0, 0, 4), Alerts: 10}})
	w.mu.Unlock()
	b := w.as("carol")
	var f RulesFacts
	b.json("/rules", &f)
	if n := f.Rules[0].Noise; n.Over || n.Days != 7 || math.Abs(n.PerDay-15.0/7) > 1e-9 {
		t.Errorf("ak.created: %+v", n)
	}
	if n := f.Rules[2].Noise; !n.Over || n.Days != 4 || n.PerDay != 2.5 {
		t.Errorf("new.rule: %+v", n)
	}
	if list := b.get("/rules?lang=en", "text/html").body; strings.Count(list, "tag loud") != 1 {
		t.Errorf("%d rules are loud in the list", strings.Count(list, "tag loud"))
	}
	for path, want := range map[string][]string{
		"/rules/ak.created?lang=en": {"2.14 alerts a day in 7 days; worth at most 3 a day", "ci_keys", "the pipeline rotates", "platform", "41 withheld", "until "},
		"/rules/new.rule?lang=en":   {"in shadow 2.50 alerts a day in 4.0 days; worth at most 1 a day", "expired on "},
		"/rules/ak.created?lang=zh": {"7 天内每天 2.14 条告警", "已抑制 41 次"},
	} {
		body := b.get(path, "text/html").body
		for _, s := range want {
			if !strings.Contains(body, s) {
				t.Errorf("%s: without %q", path, s)
			}
		}
	}
}

// Counts of a part say so.
func TestRulesOfSomePartitions(t *testing.T) {
	w := newWorld(t)
	b := w.as("carol")
	for here, want := range map[int][]string{16: {"", ""}, 3: {"counted here for 3 of 16 partitions", "3 个分区(共 16 个)"}, 0: {"This process evaluates nothing", "此进程不评估事件"}} {
		w.partitions = here
		for i, l := range []string{"en", "zh"} {
			for _, path := range []string{"/rules", "/rules/ak.created"} {
				body := b.get(path+"?lang="+l, "text/html").body
				if has := strings.Contains(body, `<p class="note">`); has != (want[i] != "") || !strings.Contains(body, want[i]) {
					t.Errorf("%d partitions, %s in %s: %s", here, path, l, body)
				}
			}
		}
		var f RulesFacts
		b.json("/rules", &f)
		if f.Partitions != here || f.Of != 16 {
			t.Errorf("%d of %d", f.Partitions, f.Of)
		}
	}
}

// What rules take: the share in the list, the dearest first when asked for, the
// rest on the rule's page.
func TestRuleTime(t *testing.T) {
	w := newWorld(t)
	w.rules[1].Time = &admin.RuleTime{Rule: "quiet.rule", Match: admin.Took{Times: 4, Seconds: 6e-6, Worst: 3e-6}, Order: admin.Took{Times: 2, Seconds: 9e-6, Worst: 7e-6}, Share: 0.625}
	b := w.as("carol")
	var f RulesFacts
	b.json("/rules", &f)
	if f.Rules[0].Time != nil || f.Rules[1].Time == nil || f.Rules[1].Time.Share != 0.625 {
		t.Errorf("%+v", f.Rules)
	}
	for path, first := range map[string]string{"/rules?lang=en": "ak.created", "/rules?sort=time&lang=en": "quiet.rule", "/rules?sort=odd&lang=zh": "ak.created"} {
		body := b.get(path, "text/html").body
		_, body, _ = strings.Cut(body, `<table class="rules">`)
		if _, row, _ := strings.Cut(body, "<tbody>"); !strings.Contains(row[:strings.Index(row, "</tr>")], first) || !strings.Contains(row, ">62%<") {
			t.Errorf("%s: %s", path, row)
		}
	}
	for lang, want := range map[string]string{"en": "1.50 µs an event, and 4.50 in event-time order, at worst 7.00; 62.5% of the time of all rules", "zh": "每个事件 1.50 µs"} {
		if body := b.get("/rules/quiet.rule?lang="+lang, "text/html").body; !strings.Contains(body, want) {
			t.Errorf("without %q: %s", want, body)
		}
	}
	if body := b.get("/rules/ak.created?lang=en", "text/html").body; strings.Contains(body, "µs") {
		t.Error("a rule that was not measured has a time")
	}
}

// Replays in other processes, as JSON and without scripts.
func TestReplays(t *testing.T) {
	w := newWorld(t)
	b := w.as("carol")
	var f ActionsFacts
	b.json("/actions", &f)
	if f.Replays == nil || len(f.Replays) != 0 {
		t.Errorf("%+v", f.Replays)
	}
	w.index.SetReplay(running(620), time.Now())
	old := running(10)
	old.ID, old.State = strings.Repeat("ef", 16), admin.ReplayReading
	w.index.SetReplay(old, time.Now().Add(-time.Hour))
	b.json("/actions", &f)
	if len(f.Replays) != 2 || f.Replays[0].ID != running(0).ID || f.Replays[0].BytesRead != 620 || f.Replays[1].State != admin.ReplayUnheard {
		t.Errorf("%+v", f.Replays)
	}
	for l, want := range map[string][]string{"en": {`value="62"`, "765,080 records, 620 detections", "no longer heard of", "cli:alice"}, "zh": {"运行中", "失去联系", "765,080 条记录,620 次命中"}} {
		body := b.get("/actions?lang="+l, "text/html").body
		for _, s := range want {
			if !strings.Contains(body, s) {
				t.Errorf("%s: without %q", l, s)
			}
		}
		if strings.Contains(body, "<b>more") {
			t.Error("a name is markup")
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	b := w.as("carol")
	for path, want := range map[string]int{"/nosuch": 404, "/alerts/nosuch": 404, "/actions/nosuch": 404, "/rules/nosuch": 404, "/entities/moon?id=x": 404, "/entities/key": 400,
		"/entities/key?id=x&from=yesterday": 400, "/?severity=purple": 400, "/?state=odd": 400, "/assets/nosuch": 404, "/assets/..%2fserver.go": 404} {
		if a := b.get(path, "text/html"); a.status != want || !strings.Contains(a.body, "</html>") {
			t.Errorf("%s: %d, want %d as a page", path, a.status, want)
		}
		if a := b.get(path, "application/json"); a.status != want || !strings.HasPrefix(a.body, `{"error":`) {
			t.Errorf("%s as JSON: %d %s", path, a.status, a.body)
		}
	}
}

// What is a mistake of who asks is told as such, as on the socket.
func TestFailures(t *testing.T) {
	s := &Server{o: Options{Log: slog.New(slog.DiscardHandler)}}
	for _, c := range []struct {
		err    error
		status int
		kind   string
	}{
		{responders.ErrBadTriage, 400, "bad_request"}, {responders.ErrBadSilence, 400, "bad_request"}, {responders.ErrBadAsk, 400, "bad_request"},
		{responders.ErrNoAction, 404, "not_found"}, {responders.ErrNoAlert, 404, "not_found"}, {responders.ErrNoDestination, 404, "not_found"}, {admin.ErrNotFound, 404, "not_found"},
		{responders.ErrNotAllowed, 403, "forbidden"}, {errForbidden, 403, "forbidden"}, {errSignIn, 401, "sign_in"},
		{errBadRequest, 400, "bad_request"}, {&http.MaxBytesError{Limit: 1}, 400, "bad_request"}, {errors.New("the store is full"), 500, "internal"},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", "application/json")
		s.fail(&ask{s: s, w: w, r: r}, fmt.Errorf("it says: %w", c.err))
		if w.Code != c.status || !strings.Contains(w.Body.String(), `"kind":"`+c.kind+`"`) {
			t.Errorf("%v: %d %s, want %d %s", c.err, w.Code, w.Body, c.status, c.kind)
		}
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	a := w.as("carol").get("/", "text/html")
	for k, want := range map[string]string{"Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := a.header.Get(k); got != want {
			t.Errorf("%s: %q", k, got)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(a.body, "<style") || strings.Contains(a.body, " style=") || strings.Contains(a.body, "<script>") || strings.Contains(a.body, " onclick") {
		t.Error("something inline")
	}
	asset := w.as("carol").get("/assets/console.js", "")
	if asset.status != 200 || asset.header.Get("ETag") == "" || !strings.HasPrefix(asset.header.Get("Content-Type"), "text/javascript") {
		t.Errorf("asset: %d %v", asset.status, asset.header)
	}
	if again := w.as("carol").get("/assets/console.js", "", "If-None-Match", asset.header.Get("ETag")); again.status != 304 {
		t.Errorf("the same asset again: %d", again.status)
	}
}

// Only those who signed in see anything, and links work once.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	nobody := w.browser()
	for _, p := range []string{"/", "/alerts/x", "/rules", "/actions", "/entities/key?id=x", "/live", "/session", "/openapi.json", "/strip"} {
		if a := nobody.get(p, "text/html"); a.status != 401 {
			t.Errorf("%s without signing in: %d", p, a.status)
		}
	}
	if a := nobody.get("/login?token=guess", "text/html"); a.status != 403 {
		t.Errorf("a guessed link: %d", a.status)
	}
	link, err := w.server.LoginURL("cli:carol")
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(link, w.base)
	first, second := w.browser(), w.browser()
	if a := first.get(path, "text/html"); a.status != 200 {
		t.Fatalf("the link: %d", a.status)
	}
	if a := second.get(path, "text/html"); a.status != 403 {
		t.Errorf("the link again: %d", a.status)
	}
	if a := first.get("/session", "application/json"); !strings.Contains(a.body, `"by":"cli:carol"`) || !strings.Contains(a.body, `"role":"approver"`) {
		t.Errorf("who: %s", a.body)
	}
	// A cookie that was changed is none.
	u, _ := url.Parse(w.base)
	c := first.c.Jar.Cookies(u)[0]
	req, _ := http.NewRequest("GET", w.base+"/", nil)
	req.AddCookie(&http.Cookie{Name: c.Name, Value: "A" + c.Value[1:]})
	if a := w.browser().do(req); a.status != 401 {
		t.Errorf("a changed cookie: %d", a.status)
	}
	// It survives a restart with the same key, and ends by signing out.
	w.stop()
	w.start()
	if a := first.get("/", "text/html"); a.status != 200 {
		t.Errorf("after a restart: %d", a.status)
	}
	first.post("/logout", url.Values{})
	if a := first.get("/", "text/html"); a.status != 401 {
		t.Errorf("after signing out: %d", a.status)
	}
}

func TestSessionEnds(t *testing.T) {
	var mu sync.Mutex
	ahead := time.Duration(0)
	w := newWorld(t, func(o *Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
	})
	b := w.as("carol")
	mu.Lock()
	ahead = sessionFor + time.Minute
	mu.Unlock()
	if a := b.get("/", "text/html"); a.status != 401 {
		t.Errorf("a session of yesterday: %d", a.status)
	}
	link, _ := w.server.LoginURL("cli:carol")
	mu.Lock()
	ahead += linkFor + time.Second
	mu.Unlock()
	if a := w.browser().get(strings.TrimPrefix(link, w.base), "text/html"); a.status != 403 {
		t.Errorf("an old link: %d", a.status)
	}
}

// Strangers' pages cannot ask in our name, and strangers' names do not lead here.
func TestForgery(t *testing.T) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	id := sample(1, t0).ID
	b := w.as("carol")
	form := url.Values{"do": {"acknowledge"}}
	state := func() responders.TriageState {
		tr, err := w.disp.TriageOf(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return tr.State
	}
	if a := b.post("/alerts/"+id+"/triage", form); a.status != 403 || state() != responders.TriageOpen {
		t.Errorf("without a token: %d %s", a.status, state())
	}
	form.Set("csrf", "x")
	if a := b.post("/alerts/"+id+"/triage", form); a.status != 403 || state() != responders.TriageOpen {
		t.Errorf("with a wrong token: %d", a.status)
	}
	form.Set("csrf", w.as("dave").csrf())
	if a := b.post("/alerts/"+id+"/triage", form); a.status != 403 || state() != responders.TriageOpen {
		t.Errorf("with somebody else's token: %d", a.status)
	}
	form.Set("csrf", b.csrf())
	for _, h := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		if a := b.post("/alerts/"+id+"/triage", form, h...); a.status != 403 || state() != responders.TriageOpen {
			t.Errorf("%v: %d", h, a.status)
		}
	}
	req, _ := http.NewRequest("GET", w.base+"/", nil)
	req.Host = "evil.example"
	if a := b.do(req); a.status != 421 {
		t.Errorf("another host: %d", a.status)
	}
	form.Set("back", "//evil.example/")
	if a := b.post("/alerts/"+id+"/triage", form); a.status != 200 || a.path != "/alerts/"+id || state() != responders.TriageAcknowledged {
		t.Errorf("with everything right: %d at %s", a.status, a.path)
	}
	form.Set("note", strings.Repeat("x", maxForm))
	if a := b.post("/alerts/"+id+"/triage", form); a.status != 400 && a.status != 403 {
		t.Errorf("a huge form: %d", a.status)
	}
}

// Which names lead here.
func TestNames(t *testing.T) {
	for _, tc := range []struct {
		listen, base, cert string
		want               string
	}{
		{"127.0.0.1:8687", "", "", "http://127.0.0.1:8687 127.0.0.1:8687 localhost:8687 127.0.0.1:8687 [::1]:8687"},
		{"127.0.0.1:8687", "https://c.example.com", "", "https://c.example.com c.example.com"},
		{"0.0.0.0:8443", "https://c.example.com:443/", "x", "https://c.example.com:443 c.example.com:443 c.example.com"},
		{"0.0.0.0:8443", "https://c.example.com/console", "x", "want https://host without a path"},
		{"8687", "", "", "not host:port"},
	} {
		s := &Server{o: Options{Listen: tc.listen, CertFile: tc.cert}}
		if err := s.setBase(tc.base); err != nil {
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		if got := s.URL() + " " + strings.Join(s.names.Load().hosts, " "); got != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.listen, tc.base, got, tc.want)
		}
	}
}

func TestOwnPath(t *testing.T) {
	for in, want := range map[string]string{"/": "/", "/?q=1": "/?q=1", "": "/f", "//x": "/f", "http://x/": "/f", `/\x`: "/f", "/a\r\nb": "/f", "javascript:alert(1)": "/f", "x": "/f", "/alerts/1#a": "/alerts/1#a"} {
		if got := ownPath(in, "/f"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTriageByForm(t *testing.T) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	id := sample(1, t0).ID
	b := w.as("carol")
	send := func(kv ...string) answer {
		f := url.Values{"csrf": {b.csrf()}}
		for i := 0; i+1 < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		return b.post("/alerts/"+id+"/triage", f, "Accept", "text/html")
	}
	if a := send("do", "acknowledge", "back", "/?state=acknowledged"); a.status != 200 || !strings.Contains(a.body, "cli:carol") || a.path != "/?state=acknowledged" {
		t.Errorf("acknowledge: %d at %s", a.status, a.path)
	}
	// The owner is asked, and what they say on the telephone is written down.
	about := func(path string, kv ...string) answer {
		f := url.Values{"csrf": {b.csrf()}}
		for i := 0; i+1 < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		return b.post("/alerts/"+id+path, f, "Accept", "text/html")
	}
	if a := about("/ask"); a.status != 200 || !strings.Contains(a.body, "slack:U0EXAMPLE1") || !strings.Contains(a.body, "was asked") {
		t.Errorf("ask: %d %s", a.status, a.body)
	}
	if a := about("/ask", "person", "pigeon:1"); a.status != 400 {
		t.Errorf("ask nobody: %d", a.status)
	}
	qs, err := w.disp.Questions(t.Context(), id)
	if err != nil || len(qs) != 1 || qs[0].By != "cli:carol" {
		t.Fatalf("%+v, %v", qs, err)
	}
	if a := about("/answer", "question", qs[0].ID, "answer", "perhaps"); a.status != 400 {
		t.Errorf("no answer: %d", a.status)
	}
	if a := about("/answer", "question", qs[0].ID, "answer", "no"); a.status != 200 || !strings.Contains(a.body, "said no") || !strings.Contains(a.body, "written down by") {
		t.Errorf("answer: %d %s", a.status, a.body)
	}
	if a := send("do", "close", "verdict", "wrong"); a.status != 400 {
		t.Errorf("a wrong verdict: %d", a.status)
	}
	if a := send("do", "close", "verdict", "true_positive", "note", "it was <b>her</b>"); a.status != 200 || !strings.Contains(a.body, "it was &lt;b&gt;her&lt;/b&gt;") {
		t.Errorf("close: %d", a.status)
	}
	var ru RulesFacts
	b.json("/rules", &ru)
	if ru.Rules[0].Count.True != 1 {
		t.Errorf("the verdict does not count: %+v", ru.Rules[0].Count)
	}
	// The same by a program.
	req, _ := http.NewRequest("POST", w.base+"/alerts/"+id+"/triage", strings.NewReader(`{"do":"reopen"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-CSRF-Token", b.csrf())
	if a := b.do(req); a.status != 200 || !strings.Contains(a.body, `"state":"open"`) {
		t.Errorf("reopen as JSON: %d %s", a.status, a.body)
	}
}

// The page of a group's message, to which chats link, leads to its incidents.
func TestGroupPage(t *testing.T) {
	w := newWorld(t)
	a, b, g := sample(1, t0), sample(2, t0), sample(3, t0)
	g.Rule, g.Details = responders.RuleGroup, map[string]any{"members": []string{a.ID, b.ID, "gone"}}
	w.raise(g, a, b)
	carol := w.as("carol")
	page := carol.get("/alerts/"+g.ID, "text/html")
	for _, want := range []string{`href="/alerts/` + a.ID, `href="/alerts/` + b.ID, "Incidents in this message"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("%d: no %s", page.status, want)
		}
	}
	if got := carol.post("/alerts/"+g.ID+"/triage", url.Values{"csrf": {carol.csrf()}, "do": {"acknowledge"}}, "Accept", "text/html"); got.status != 200 {
		t.Error(got.status)
	}
	w.await("its incidents to be acknowledged", func() bool {
		x, _ := w.index.Alert(a.ID)
		y, _ := w.index.Alert(b.ID)
		return x.State == responders.TriageAcknowledged && y.State == x.State
	})
}

// Approvals go the same way as everywhere: the machine decides.
func TestApproveAndUndo(t *testing.T) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	d := w.propose(sample(1, t0).ID, "playbook", aliceKey, time.Hour)
	carol, eve := w.as("carol"), w.as("eve")
	form := func(b *browser, kv ...string) url.Values {
		f := url.Values{"csrf": {b.csrf()}, "hash": {d.Hash}}
		for i := 0; i+1 < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		return f
	}
	if a := eve.post("/actions/"+d.ID+"/approve", form(eve)); a.status != 403 || !strings.Contains(a.body, "not among respond.approvers") {
		t.Errorf("somebody who is no approver: %d", a.status)
	}
	if a := carol.post("/actions/"+d.ID+"/approve", form(carol, "hash", "0000")); a.status != 403 || !strings.Contains(a.body, "not the one that was shown") {
		t.Errorf("another action than was shown: %d", a.status)
	}
	// At the same time, many times: one act.
	var wg sync.WaitGroup
	var mu sync.Mutex
	yes := 0
	for range 6 {
		wg.Go(func() {
			a := carol.post("/actions/"+d.ID+"/approve", form(carol), "Accept", "application/json")
			mu.Lock()
			defer mu.Unlock()
			if a.status == 200 {
				yes++
			} else if a.status != 403 {
				t.Errorf("approve: %d %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	if yes != 1 {
		t.Errorf("%d approvals went through, want 1", yes)
	}
	w.await("the key", func() bool { return w.cloud.state(aliceKey) == "Inactive" })
	w.await("the outcome", func() bool {
		x, _ := w.machine.Show(t.Context(), d.ID)
		return x.State == responders.Done && x.Undoable
	})
	if n := w.cloud.count("execute"); n != 1 {
		t.Errorf("executed %d times", n)
	}
	if a := carol.get("/actions/"+d.ID, "text/html"); !strings.Contains(a.body, "/undo") || !strings.Contains(a.body, "tried to approve") {
		t.Error("the page shows neither the undo nor the refused requests")
	}
	if a := eve.post("/actions/"+d.ID+"/undo", form(eve)); a.status != 403 {
		t.Errorf("undo by somebody who is no approver: %d", a.status)
	}
	if a := carol.post("/actions/"+d.ID+"/undo", form(carol)); a.status != 200 || w.cloud.state(aliceKey) != "Active" {
		t.Errorf("undo: %d, the key is %s", a.status, w.cloud.state(aliceKey))
	}
	if a := carol.post("/actions/"+d.ID+"/undo", form(carol)); a.status != 403 || w.cloud.count("undo") != 1 {
		t.Errorf("undo again: %d", a.status)
	}
	// Who asks cannot approve.
	own := w.propose(sample(1, t0).ID, "cli:carol", "LTAI5tEXAMPLEother00001", time.Hour)
	if a := carol.post("/actions/"+own.ID+"/approve", form(carol, "hash", own.Hash)); a.status != 403 || !strings.Contains(a.body, "cannot approve it") {
		t.Errorf("the one who asked: %d", a.status)
	}
	// A no is a no.
	if a := carol.post("/actions/"+own.ID+"/deny", form(carol, "reason", "not needed")); a.status != 200 || !strings.Contains(a.body, "not needed") {
		t.Errorf("deny: %d", a.status)
	}
	if w.cloud.state("LTAI5tEXAMPLEother00001") != "Active" {
		t.Error("it was done all the same")
	}
}

// An analyst asks for containment; the one who asked cannot approve it.
func TestAskForContainment(t *testing.T) {
	w := newWorld(t)
	w.cloud.keys[aliceKey] = "Active"
	a := sample(1, time.Now().UTC().Add(-time.Minute))
	w.raise(a)
	carol := w.as("carol")
	var f AlertFacts
	carol.json("/alerts/"+a.ID, &f)
	if len(f.Offers) == 0 || !strings.Contains(f.Offers[0].Describe, aliceKey) {
		t.Fatalf("offers: %+v", f.Offers)
	}
	form := url.Values{"csrf": {carol.csrf()}, "action": {f.Offers[0].ID}, "back": {"/alerts/" + a.ID}}
	if r := carol.post("/alerts/"+a.ID+"/request", form, "Accept", "text/html"); r.status != 200 || !strings.Contains(r.body, "cannot approve it") {
		t.Fatalf("asking: %d, %+v", r.status, w.index.Actions())
	}
	if r := carol.post("/alerts/"+a.ID+"/request", form, "Accept", "application/json"); r.status != 404 {
		t.Errorf("asking again: %d", r.status)
	}
	d := w.index.Actions()[0]
	if d.State != responders.Proposed || d.Action.Requester != "cli:carol" {
		t.Fatalf("%+v", d)
	}
	if r := carol.post("/actions/"+d.ID+"/approve", url.Values{"csrf": {carol.csrf()}, "hash": {d.Hash}}); r.status != 403 {
		t.Errorf("approving what one asked for: %d", r.status)
	}
	if _, err := w.machine.Approve(t.Context(), d.ID, "web:dave", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.await("the key", func() bool { return w.cloud.state(aliceKey) == "Inactive" })
}

func TestRoles(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Mode = Proxy
		o.Proxy = ProxyAuth{UserHeader: "X-User", GroupsHeader: "X-Groups", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
		o.Roles = RoleMap{Viewer: []string{"*"}, Analyst: []string{"group:soc"}, Approver: []string{"user:carol", "group:leads"}}
	})
	w.raise(sample(1, t0))
	id := sample(1, t0).ID
	b := w.browser()
	d := w.propose(id, "playbook", aliceKey, time.Hour)
	who := func(user, groups string) []string {
		return []string{"X-User", user, "X-Groups", groups, "Accept", "application/json"}
	}
	token := func(h []string) string {
		a := b.get("/session", "application/json", h...)
		_, rest, _ := strings.Cut(a.body, `"csrf":"`)
		tok, _, _ := strings.Cut(rest, `"`)
		return tok
	}
	for _, tc := range []struct {
		user, groups          string
		look, triage, approve int
	}{
		{"vera", "", 200, 403, 403},
		{"anna", "other, soc", 200, 200, 403},
		{"carol", "", 200, 200, 200},
		{"mallory", "leads", 200, 200, 403}, // the role lets her ask; the machine says no
	} {
		h := who(tc.user, tc.groups)
		if a := b.get("/", "application/json", h...); a.status != tc.look {
			t.Errorf("%s looks: %d", tc.user, a.status)
		}
		f := url.Values{"csrf": {token(h)}, "do": {"note"}, "note": {"by " + tc.user}, "hash": {d.Hash}}
		if a := b.post("/alerts/"+id+"/triage", f, h...); a.status != tc.triage {
			t.Errorf("%s triages: %d %s", tc.user, a.status, a.body)
		}
		if a := b.post("/actions/"+d.ID+"/approve", f, h...); a.status != tc.approve {
			t.Errorf("%s approves: %d %s", tc.user, a.status, a.body)
		}
	}
	for _, h := range [][]string{{}, {"X-User", ""}, {"X-User", "a\tb"}, {"X-User", strings.Repeat("x", 300)}} {
		if a := b.get("/", "application/json", h...); a.status != 401 {
			t.Errorf("%q: %d", h, a.status)
		}
	}
	req, _ := http.NewRequest("GET", w.base+"/", nil)
	req.Header["X-User"] = []string{"vera", "carol"}
	if a := b.do(req); a.status != 401 {
		t.Errorf("two names: %d", a.status)
	}
	// Not from the proxy: whatever it says.
	w.stop()
	w.opts.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	w.start()
	if a := b.get("/", "application/json", who("carol", "")...); a.status != 403 {
		t.Errorf("around the proxy: %d", a.status)
	}
	if _, err := w.server.LoginURL("cli:x"); err == nil {
		t.Error("a link although a proxy signs people in")
	}
}

func TestRoleMap(t *testing.T) {
	m := RoleMap{Viewer: []string{"group:all"}, Approver: []string{"user:a"}}
	for _, tc := range []struct {
		user   string
		groups []string
		want   Role
	}{{"a", nil, Approver}, {"b", []string{"all"}, Viewer}, {"b", nil, Nobody}, {"group:all", nil, Nobody}, {"*", nil, Nobody}} {
		if got := m.of(tc.user, tc.groups); got != tc.want {
			t.Errorf("%s %v: %s, want %s", tc.user, tc.groups, got, tc.want)
		}
	}
}

func TestTry(t *testing.T) {
	w := newWorld(t)
	w.event(call("E1", "CreateAccessKey", "alice", aliceKey, "203.0.113.7", t0))
	w.event(call("E2", "DeleteUser", "alice", aliceKey, "203.0.113.7", t0))
	b := w.as("carol")
	a := b.post("/rules/try", url.Values{"csrf": {b.csrf()}, "condition": {"DeleteUser"}}, "Accept", "text/html")
	if a.status != 200 || !strings.Contains(a.body, "1 of 2 events match") {
		t.Errorf("try: %d", a.status)
	}
	a = b.post("/rules/try", url.Values{"csrf": {b.csrf()}, "condition": {""}}, "Accept", "text/html")
	if !strings.Contains(a.body, "did you mean event?") {
		t.Error("the fault is not shown")
	}
}

// A live page is told of each change once, and after a cut of what it missed.
func TestLive(t *testing.T) {
	w := newWorld(t)
	b := w.as("carol")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	open := func(last string) (*bufio.Scanner, func()) {
		req, _ := http.NewRequestWithContext(ctx, "GET", w.base+"/live", nil)
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		c := *b.c
		c.Timeout = 0
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
			t.Fatalf("%s", ct)
		}
		return bufio.NewScanner(resp.Body), func() { _ = resp.Body.Close() }
	}
	next := func(s *bufio.Scanner) (id, event string) {
		t.Helper()
		for s.Scan() {
			line := s.Text()
			if v, ok := strings.CutPrefix(line, "id: "); ok {
				id = v
			}
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				return id, v
			}
		}
		t.Fatalf("the stream ended: %v", s.Err())
		return "", ""
	}
	s, end := open("")
	w.raise(sample(1, t0))
	id, event := next(s)
	if event != "alerts" || id == "" {
		t.Fatalf("%q %q", id, event)
	}
	end()
	// While nobody looks, and over a restart.
	w.raise(sample(2, t0))
	w.propose(sample(2, t0).ID, "playbook", aliceKey, time.Hour)
	w.stop()
	w.start()
	s, end = open(id)
	defer end()
	got := map[string]int{}
	for range 2 {
		_, e := next(s)
		got[e]++
	}
	if got["alerts"] != 1 || got["actions"] != 1 {
		t.Errorf("after the cut: %v", got)
	}
}

// The files of others are those that were taken over, with their licences.
func TestVendoredFiles(t *testing.T) {
	sums, err := os.ReadFile("assets/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := os.ReadFile("assets/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			if b, err = os.ReadFile("assets/" + name + ".gz"); err == nil {
				b, err = (&asset{body: b}).unpack()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want {
			t.Errorf("%s is not the file that was taken over", name)
		}
		n++
	}
	for name, mark := range map[string]string{"LICENSE.htmx": "Zero-Clause BSD", "LICENSE.uplot": "MIT License"} {
		if b, err := os.ReadFile("assets/" + name); err != nil || !strings.Contains(string(b), mark) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n != 4 {
		t.Errorf("%d files", n)
	}
}

// A packed file comes as it is to those who take gzip, unpacked to others, and
// the two are not taken for each other.
func TestPackedAssets(t *testing.T) {
	w := newWorld(t)
	get := func(accept, match string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, w.base+"/assets/htmx.min.js", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", accept) // set, so that the client unpacks nothing by itself
		if match != "" {
			req.Header.Set("If-None-Match", match)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	read := func(r io.Reader) string {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	plain := get("identity", "")
	text := read(plain.Body)
	if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Encoding") != "" || !strings.Contains(text, "htmx") || plain.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("plain: %s %v", plain.Status, plain.Header)
	}
	packed := get("br, gzip;q=0.5", "")
	z, err := gzip.NewReader(packed.Body)
	if err != nil || packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Content-Type") != plain.Header.Get("Content-Type") || read(z) != text {
		t.Errorf("packed: %s %v %v", packed.Status, packed.Header, err)
	}
	for accept, etag := range map[string]string{"identity": plain.Header.Get("ETag"), "gzip": packed.Header.Get("ETag")} {
		if got := get(accept, etag).StatusCode; got != http.StatusNotModified {
			t.Errorf("%s: %d", accept, got)
		}
	}
	if got := get("gzip", plain.Header.Get("ETag")); got.StatusCode != http.StatusOK || plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Errorf("one is taken for the other: %s", got.Status)
	}
	for accept, want := range map[string]bool{"": false, "gzip": true, "GZIP": true, "gzip;q=0": false, "gzip; q=0.0": false, "x-gzip": false, "deflate, gzip;q=1.0": true} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {accept}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func itoa(n int) string {
	return string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

// Commands of a runbook stand apart from its words, so that they can be copied.
func TestRunbookPassages(t *testing.T) {
	if none := passages(""); none != nil {
		t.Errorf("of no steps: %+v", none)
	}
	got := passages("Ask first.\nThen:\n  aliyun ram ListUsers\n  aliyun ram ListRoles\n\nDone.\n")
	want := []passage{{false, "Ask first.\nThen:"}, {true, "aliyun ram ListUsers\naliyun ram ListRoles"}, {false, "Done."}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// The key is made once, and again where the making was cut off. What is no key is not
// written over.
func TestKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "console.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := Key(dir)
	if err != nil || len(key) != 32 {
		t.Fatalf("an empty file: %d bytes, %v", len(key), err)
	}
	if again, err := Key(dir); err != nil || !bytes.Equal(again, key) {
		t.Errorf("another key after a restart, %v", err)
	}
	if err := os.WriteFile(path, key[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(dir); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a short key: %v", err)
	}
}
