package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account  = "1000000000000001"
	aliceKey = "LTAI5tEXAMPLEalice00001"
	patience = time.Minute // for a slow machine
)

// world is a console before the real journal, action machine and dispatcher,
// with a cloud of one user.
type world struct {
	t       testing.TB
	journal *journal.Memory
	machine *responders.Machine
	disp    *responders.Dispatcher
	cloud   *cloud
	index   *index.Index
	server  *Server

	opts    Options
	base    string
	stop    func()
	seq     uint64
	commits uint64

	mu      sync.Mutex
	records map[index.Pos]json.RawMessage
	status  admin.Status
	rules   []Rule
	audit   []journal.AuditEntry
	kept    map[string][][]byte // by alert

	partitions int // evaluated here
}

// cloud holds the state of keys.
type cloud struct {
	mu    sync.Mutex
	keys  map[string]string
	calls []string
}

func (c *cloud) Kind() string          { return responders.KindDisableAccessKey }
func (c *cloud) Permissions() []string { return nil }
func (c *cloud) Describe(a responders.Action) string {
	return "UpdateAccessKey " + a.Target.AccessKeyID + " → Inactive"
}
func (c *cloud) DescribeUndo(a responders.Action, _ json.RawMessage) string {
	return "UpdateAccessKey " + a.Target.AccessKeyID + " → Active"
}

func (c *cloud) state(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[key]
}

func (c *cloud) count(call string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, x := range c.calls {
		if x == call {
			n++
		}
	}
	return n
}

func (c *cloud) Read(_ context.Context, a responders.Action) (json.RawMessage, error) {
	return json.Marshal(map[string]string{"status": c.state(a.Target.AccessKeyID)})
}

func (c *cloud) set(call, key, status string) responders.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	c.keys[key] = status
	after, _ := json.Marshal(map[string]string{"status": status})
	return responders.Result{Changed: true, After: after}
}

func (c *cloud) Execute(_ context.Context, a responders.Action, prior json.RawMessage) (responders.Result, error) {
	r := c.set("execute", a.Target.AccessKeyID, "Inactive")
	r.Prior = prior
	return r, nil
}

func (c *cloud) Verify(_ context.Context, a responders.Action) (bool, json.RawMessage, error) {
	return c.state(a.Target.AccessKeyID) == "Inactive", nil, nil
}

func (c *cloud) Undo(_ context.Context, a responders.Action, _ json.RawMessage) (responders.Result, error) {
	return c.set("undo", a.Target.AccessKeyID, "Active"), nil
}

// newWorld starts everything. edit changes the console's options.
func newWorld(t testing.TB, edit ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, journal: journal.NewMemory(), cloud: &cloud{keys: map[string]string{}}, records: map[index.Pos]json.RawMessage{},
		status: admin.Status{Version: "test", Ready: true, Rules: 2, Sources: []admin.SourceStatus{{Name: "audit/actiontrail", Records: 10, LastPull: time.Now()}}, Partitions: []admin.PartitionStatus{}},
		rules: []Rule{{ID: "ak.created", Version: 1, Title: "AccessKey created", Severity: "medium", Status: "on", Match: `action == "iam.accesskey.create"`, Tests: 4, Attack: []string{"T1098.001"}},
			{ID: "quiet.rule", Version: 2, Title: "Never seen", Severity: "high", Status: "on", Tests: 3, Errors: 2, LastError: "boom"}}}
	w.audit = []journal.AuditEntry{{N: 2, At: t0, Kind: "note", ID: "replay", By: "cli:carol", What: "replay of 10 events, 1 alerts"}, {N: 1, At: t0, Kind: "note", ID: "config", What: "start"}}
	w.partitions = 16
	var err error
	w.machine, err = responders.NewMachine(responders.MachineOptions{Journal: w.journal, Executors: []responders.Executor{w.cloud}, MaxMode: responders.Auto,
		Self: func(context.Context) ([]responders.Identity, error) {
			return []responders.Identity{{AccountID: account, UserName: "trailwarden"}}, nil
		},
		Approvers: []responders.Approver{{Name: "carol", IDs: []string{"web:carol", "cli:carol"}}, {Name: "dave", IDs: []string{"web:dave"}}}})
	if err != nil {
		t.Fatal(err)
	}
	// No digests: they come when they come, and would stand among the alerts.
	told := responders.Destination{Notifier: mute{}, CatchUpAge: -1, StormAt: -1}
	if w.disp, err = responders.NewDispatcher(responders.DispatcherOptions{Journal: w.journal, Machine: w.machine, Destinations: []responders.Destination{told},
		Ask: responders.AskPolicy{Owners: []responders.Owner{{Identity: "*", People: []string{"slack:U0EXAMPLE1"}}}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.disp.Run(ctx) })
	w.opts = Options{Backend: w, Listen: "127.0.0.1:0", Mode: Local, Key: bytes.Repeat([]byte{7}, 32), Accounts: map[string]string{account: "prod"}, Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))}
	for _, f := range edit {
		f(&w.opts)
	}
	w.start()
	t.Cleanup(func() {
		w.stop()
		cancel()
		wg.Wait()
	})
	return w
}

// start makes a server with an index of its own, as a new process does.
func (w *world) start() {
	w.t.Helper()
	w.index = index.New(index.Limits{})
	o := w.opts
	o.Index = w.index
	var err error
	if w.server, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for { // the port of the server before may still be in use for a moment
		if err = w.server.Start(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if base := w.server.URL(); base != w.base { // after a restart the same, and tabs read it
		w.base = base
	}
	w.opts.Listen = w.server.o.Listen
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.disp.Follow(ctx, w.index.Apply, w.index.CaughtUp) }()
	srv := w.server
	w.stop = func() { srv.Close(); cancel(); <-done }
	w.await("the index", w.index.Ready)
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	end := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Backend.

func (w *world) Status(context.Context) (admin.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, nil
}
func (w *world) Alert(ctx context.Context, id string) (alert.Alert, error) {
	return w.disp.Stored(ctx, id)
}
func (w *world) TriageOf(ctx context.Context, id string) (responders.Triage, error) {
	return w.disp.TriageOf(ctx, id)
}
func (w *world) Triage(ctx context.Context, id string, q responders.TriageRequest) (responders.Triage, error) {
	return w.disp.Triage(ctx, id, q)
}
func (w *world) Questions(ctx context.Context, id string) ([]responders.Question, error) {
	return w.disp.Questions(ctx, id)
}
func (w *world) Ask(ctx context.Context, id, person, by string) (responders.Question, error) {
	return w.disp.Ask(ctx, id, responders.AskRequest{By: by, Person: person})
}
func (w *world) Answer(ctx context.Context, id, question, by string, yes bool) (responders.Question, error) {
	return w.disp.Answer(ctx, id, question, by, yes)
}
func (w *world) Offers(ctx context.Context, id string) ([]responders.Offer, error) {
	return w.disp.Offers(ctx, id)
}
func (w *world) Request(ctx context.Context, id, action, by string) (responders.ActionDetail, error) {
	return w.disp.Request(ctx, id, action, by)
}
func (w *world) Action(ctx context.Context, id string) (responders.ActionDetail, error) {
	return w.machine.Show(ctx, id)
}
func (w *world) Approve(ctx context.Context, id, by, hash string) (responders.ActionDetail, error) {
	return w.machine.Approve(ctx, id, by, hash)
}
func (w *world) Deny(ctx context.Context, id, by, reason string) (responders.ActionDetail, error) {
	return w.machine.Deny(ctx, id, by, reason)
}
func (w *world) Undo(ctx context.Context, id, by string) (responders.ActionDetail, error) {
	return w.machine.Undo(ctx, id, by)
}
func (w *world) AuditTail(_ context.Context, n int) ([]journal.AuditEntry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.audit[:min(n, len(w.audit))], nil
}
func (w *world) DraftException(a alert.Alert) string { return string(rules.DraftException(&a, t0)) }

func (w *world) Measured(context.Context) (partitions, of int) { return w.partitions, 16 }
func (w *world) Rules(context.Context) []Rule                  { return w.rules }
func (w *world) Record(_ context.Context, pos index.Pos) (json.RawMessage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r, ok := w.records[pos]; ok {
		return r, nil
	}
	return nil, ErrGone
}
func (w *world) Kept(alertID string) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept[alertID], nil
}
func (w *world) Explain(rule string, record []byte) ([]string, error) {
	ev, err := event.Parse(record)
	if err != nil {
		return nil, err
	}
	return []string{"✓ all of", "  ✓ event.name is " + ev.Name}, nil
}
func (w *world) Try(_ context.Context, condition string, records [][]byte) ([]int, error) {
	if condition == "" {
		return nil, errors.New("unknown name evnt (did you mean event?)")
	}
	var hits []int
	for i, r := range records {
		if bytes.Contains(r, []byte(condition)) {
			hits = append(hits, i)
		}
	}
	return hits, nil
}

// sample is an alert about user n.
func sample(n int, at time.Time) alert.Alert {
	return alert.Alert{Schema: alert.Schema, ID: fmt.Sprintf("%032x", n+1), Rule: "ak.created", RuleVersion: 1, Title: fmt.Sprintf("AccessKey created for user-%d", n),
		Reason: fmt.Sprintf("root created a key for user-%d from 203.0.113.7", n), Severity: alert.Severity(2 + n%4), Outcome: "success", Time: at, FirstAt: at, LastAt: at, Count: 1 + n%3, AccountID: account,
		Actor:    alert.Actor{Type: "ram-user", ID: fmt.Sprintf("user/%s/user-%d", account, n), Name: fmt.Sprintf("user-%d", n), AccessKeyID: aliceKey},
		SourceIP: "203.0.113.7", Target: &alert.Target{Type: "user", ID: "user/" + account + "/alice", Name: "alice"}, EventIDs: []string{fmt.Sprintf("E%03d", n)},
		Details: map[string]any{"note": "sample"}, Runbook: alert.Runbook{EN: "Ask the owner.\nThen disable the key.", ZH: "询问负责人。"}, Revision: 1}
}

// raise hands alerts to the dispatcher as the pipeline does.
func (w *world) raise(as ...alert.Alert) {
	w.t.Helper()
	w.commits++
	if err := w.disp.Handle(w.t.Context(), 0, w.commits, as); err != nil {
		w.t.Fatal(err)
	}
	last := as[len(as)-1]
	w.await("the alert in the index", func() bool { a, ok := w.index.Alert(last.ID); return ok && a.Count == last.Count })
}

// event adds an event to the index and its record to the store.
func (w *world) event(record string) {
	w.t.Helper()
	ev, err := event.Parse([]byte(record))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.seq++
	pos := index.Pos{Seq: w.seq}
	w.records[pos] = json.RawMessage(record)
	w.mu.Unlock()
	w.index.AddEvent(ev, pos)
}

// call is one audit record.
func call(id, name, user, key, ip string, at time.Time) string {
	b, err := json.Marshal(map[string]any{"eventId": id, "eventVersion": "1", "eventName": name, "serviceName": "Ram", "eventType": "ApiCall", "eventRW": "Write", "eventSource": "ram.aliyuncs.com",
		"eventTime": at.UTC().Format(time.RFC3339), "acsRegion": "cn-hangzhou", "sourceIpAddress": ip, "userAgent": "test", "requestId": "r" + id, "recipientAccountId": account,
		"userIdentity":      map[string]any{"type": "ram-user", "accountId": account, "principalId": "2" + account, "userName": user, "accessKeyId": key},
		"requestParameters": map[string]any{"UserName": "alice"}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// propose asks for an action that waits for approval.
func (w *world) propose(alertID, requester, key string, expires time.Duration) responders.ActionDetail {
	w.t.Helper()
	w.cloud.mu.Lock()
	if w.cloud.keys[key] == "" {
		w.cloud.keys[key] = "Active"
	}
	w.cloud.mu.Unlock()
	a := responders.Action{Kind: responders.KindDisableAccessKey, AlertID: alertID, Rule: "ak.created", Mode: responders.Approve, Requester: requester,
		Target:   responders.ActionTarget{AccountID: account, PrincipalType: "ram-user", UserName: "alice", AccessKeyID: key},
		Evidence: responders.Evidence{EventIDs: []string{"E1"}, Time: time.Now().Add(-time.Minute), Outcome: "success"}}
	a.ID = responders.ActionID(a)
	d, err := w.machine.Propose(w.t.Context(), responders.Proposal{Action: a, Origin: responders.Live, Expires: expires})
	if err != nil {
		w.t.Fatal(err)
	}
	w.await("the action in the index", func() bool {
		for _, x := range w.index.Actions() {
			if x.ID == d.ID {
				return true
			}
		}
		return false
	})
	return d
}

// browser is a client with a memory for cookies.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	tr := &http.Transport{}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &browser{w, &http.Client{Jar: jar, Transport: tr, Timeout: patience}}
}

// as signs in by a link.
func (w *world) as(name string) *browser {
	w.t.Helper()
	b := w.browser()
	link, err := w.server.LoginURL("cli:" + name)
	if err != nil {
		w.t.Fatal(err)
	}
	if r := b.get(strings.TrimPrefix(link, w.base), ""); r.status != 200 {
		w.t.Fatalf("sign-in: %d %s", r.status, r.body)
	}
	return b
}

type answer struct {
	status int
	body   string
	header http.Header
	path   string
}

func (b *browser) do(req *http.Request) answer {
	b.w.t.Helper()
	resp, err := b.c.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Header, resp.Request.URL.RequestURI()}
}

func (b *browser) get(path, accept string, header ...string) answer {
	b.w.t.Helper()
	req, err := http.NewRequest("GET", b.w.base+path, nil)
	if err != nil {
		b.w.t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func (b *browser) json(path string, into any) answer {
	b.w.t.Helper()
	a := b.get(path, "application/json")
	if into != nil && a.status == 200 {
		if err := json.Unmarshal([]byte(a.body), into); err != nil {
			b.w.t.Fatalf("%s: %v: %s", path, err, a.body)
		}
	}
	return a
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf takes the token of a form of a page.
func (b *browser) csrf() string {
	b.w.t.Helper()
	var s SessionFacts
	b.json("/session", &s)
	return s.CSRF
}

func (b *browser) post(path string, form url.Values, header ...string) answer {
	b.w.t.Helper()
	req, err := http.NewRequest("POST", b.w.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func escape(s string) string     { return url.QueryEscape(s) }
func escapePath(s string) string { return url.PathEscape(s) }

func mustParse(t testing.TB, record string) *event.Event {
	t.Helper()
	ev, err := event.Parse([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// mute is a chat that takes everything and shows nothing.
type mute struct{}

func (mute) Name() string { return "mute" }
func (mute) Post(context.Context, responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: "1"}, nil
}
func (mute) Update(context.Context, responders.MessageRef, responders.Notice) error { return nil }
func (mute) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, nil
}
func (mute) Reaches(person string) bool { return strings.HasPrefix(person, "slack:") }
func (m mute) Ask(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	return m.Post(ctx, n)
}
func (mute) UpdateQuestion(context.Context, responders.MessageRef, responders.Notice) error {
	return nil
}
func (m mute) FindQuestion(ctx context.Context, _ responders.Notice, since time.Time) (responders.MessageRef, bool, error) {
	return m.Find(ctx, "", since)
}
