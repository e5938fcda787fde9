package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// fake is a backend that answers what it is told and remembers who asked.
type fake struct {
	mu    sync.Mutex
	calls []string
	err   error
	hold  chan struct{} // when set, Undo waits for it
	begun chan struct{}
}

func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) == 0 {
		return ""
	}
	return f.calls[len(f.calls)-1]
}

func (f *fake) Status(context.Context) (Status, error) {
	return Status{Version: "v", Ready: true, Sources: []SourceStatus{{Name: "s", Records: 7}}}, f.note("status")
}

func (f *fake) Alerts(_ context.Context, limit int) ([]alert.Alert, error) {
	return nil, f.note("alerts %d", limit)
}

func (f *fake) Alert(_ context.Context, id string) (alert.Alert, []responders.ActionDetail, error) {
	return alert.Alert{ID: id, Severity: alert.High}, nil, f.note("alert %s", id)
}

func (f *fake) RuleWork(context.Context) (RuleWork, error) {
	return RuleWork{Pack: "p", Excepted: map[string]uint64{"exception x": 7}, Partitions: 1, Of: 8}, f.note("rules")
}

func (f *fake) Actions(context.Context) ([]responders.ActionDetail, error) {
	return nil, f.note("actions")
}

func (f *fake) Action(_ context.Context, id string) (responders.ActionDetail, error) {
	return responders.ActionDetail{Hash: "h-" + id}, f.note("action %s", id)
}

func (f *fake) Approve(_ context.Context, id, by, hash string) (responders.ActionDetail, error) {
	return responders.ActionDetail{}, f.note("approve %s by %s hash %s", id, by, hash)
}

func (f *fake) Deny(_ context.Context, id, by, reason string) (responders.ActionDetail, error) {
	return responders.ActionDetail{}, f.note("deny %s by %s because %s", id, by, reason)
}

func (f *fake) Undo(_ context.Context, id, by string) (responders.ActionDetail, error) {
	if f.hold != nil {
		close(f.begun)
		<-f.hold
	}
	return responders.ActionDetail{}, f.note("undo %s by %s", id, by)
}

func (f *fake) Freeze(_ context.Context, on bool, by, reason string) (responders.Freeze, error) {
	return responders.Freeze{Frozen: on, By: by, Reason: reason}, f.note("freeze %v by %s because %s", on, by, reason)
}

func (f *fake) Parked(_ context.Context, limit int) ([]Parked, error) {
	return nil, f.note("parked %d", limit)
}

func (f *fake) Tap(ctx context.Context, frames int, follow bool, fn func(Tapped) error) error {
	for i := range frames {
		if err := fn(Tapped{Partition: i, Source: "s", Record: fmt.Sprintf(`{"n":%d}`, i)}); err != nil {
			return err
		}
	}
	if follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *fake) Redrive(_ context.Context, reason string) (Redriven, error) {
	return Redriven{}, f.note("redrive %s", reason)
}

func (f *fake) Undelivered(context.Context) ([]responders.Undelivered, error) {
	return nil, f.note("undelivered")
}

func (f *fake) Requeue(_ context.Context, destination string) (int, error) {
	return 1, f.note("requeue %s", destination)
}

func (f *fake) Silences(context.Context) ([]responders.Silence, error) {
	return nil, f.note("silences")
}

func (f *fake) Mute(_ context.Context, by string, matchers []string, lasts time.Duration, comment string) (responders.Silence, error) {
	return responders.Silence{}, f.note("mute %v for %s by %s because %s", matchers, lasts, by, comment)
}

func (f *fake) Unmute(_ context.Context, id, by string) (responders.Silence, error) {
	return responders.Silence{}, f.note("unmute %s by %s", id, by)
}

func (f *fake) Ask(_ context.Context, alertID, person, by string) (responders.Question, error) {
	return responders.Question{ID: "q1"}, f.note("ask about %s person %s by %s", alertID, person, by)
}

func (f *fake) Answer(_ context.Context, alertID, question, by string, yes bool) (responders.Question, error) {
	return responders.Question{ID: question}, f.note("answer %s %s by %s: %v", alertID, question, by, yes)
}

func (f *fake) Triage(_ context.Context, alertID string, q responders.TriageRequest) (responders.Triage, error) {
	return responders.Triage{}, f.note("triage %s by %s: %s %s", alertID, q.By, q.Do, q.Verdict)
}

func (f *fake) TriageOf(context.Context, string) (responders.Triage, error) {
	return responders.Triage{State: responders.TriageOpen}, nil
}

func (f *fake) Questions(context.Context, string) ([]responders.Question, error) { return nil, nil }

func (f *fake) AuditLines(_ context.Context, after uint64, limit int) ([]journal.AuditLine, error) {
	return []journal.AuditLine{{Entry: json.RawMessage(`{"n":8}`), Hash: "h"}}, f.note("audit %d %d", after, limit)
}

func (f *fake) AuditVerify(_ context.Context, head string) (journal.AuditReport, error) {
	return journal.AuditReport{Entries: 8, Head: "h"}, f.note("verify %s", head)
}

func (f *fake) AuditReplay(_ context.Context, by string, r Replayed) error {
	return f.note("replayed by %s: %d", by, r.Events)
}

func (f *fake) Replaying(_ context.Context, r Replaying) error {
	return f.note("%s %s of %s: %d of %d", r.ID, r.State, r.By, r.BytesRead, r.BytesTotal)
}

func (f *fake) ConsoleLink(_ context.Context, by string) (Link, error) {
	return Link{URL: "http://x"}, f.note("link for %s", by)
}

func (f *fake) Card(context.Context, string) (responders.KeyCard, bool, error) {
	return responders.KeyCard{Status: "Active"}, true, nil
}

func (f *fake) Contain(_ context.Context, alertID, kind, by string, params map[string]string) (responders.ActionDetail, error) {
	return responders.ActionDetail{}, f.note("contain %s %s by %s %v", alertID, kind, by, params)
}

// short is a folder whose path fits into a socket's address.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serve(t *testing.T, f *fake) (dir string, c *Client) {
	t.Helper()
	dir = short(t)
	s, err := Serve(dir, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return dir, Dial(dir)
}

func TestCalls(t *testing.T) {
	ctx := context.Background()
	f := &fake{}
	_, c := serve(t, f)
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	// Who asks is what the kernel says, not what the caller says.
	me := "cli:" + u.Username
	if runtime.GOOS != "linux" {
		me = "cli:unknown"
	}
	for _, tc := range []struct {
		want string
		call func() error
	}{
		{"status", func() error { _, err := c.Status(ctx); return err }},
		{"alerts 50", func() error { _, err := c.Alerts(ctx, 50); return err }},
		{"alert a/b c", func() error { _, err := c.Alert(ctx, "a/b c"); return err }},
		{"actions", func() error { _, err := c.Actions(ctx); return err }},
		{"action ../x", func() error { _, err := c.Action(ctx, "../x"); return err }},
		{"approve id by " + me + " hash h", func() error { _, err := c.Approve(ctx, "id", "h"); return err }},
		{"deny id by " + me + " because no", func() error { _, err := c.Deny(ctx, "id", "no"); return err }},
		{"undo id by " + me, func() error { _, err := c.Undo(ctx, "id"); return err }},
		{"freeze true by " + me + " because x", func() error { _, err := c.Freeze(ctx, true, "x"); return err }},
		{"freeze false by " + me + " because ", func() error { _, err := c.Freeze(ctx, false, ""); return err }},
		{"undelivered", func() error { _, err := c.Undelivered(ctx); return err }},
		{"requeue a/b", func() error { _, err := c.Requeue(ctx, "a/b"); return err }},
		{"silences", func() error { _, err := c.Silences(ctx); return err }},
		{"mute [rule=x actor=y] for 2h0m0s by " + me + " because c", func() error { _, err := c.Mute(ctx, []string{"rule=x", "actor=y"}, 2*time.Hour, "c"); return err }},
		{"unmute id by " + me, func() error { _, err := c.Unmute(ctx, "id"); return err }},
		{"ask about a person slack:U1 by " + me, func() error { _, err := c.Ask(ctx, "a", "slack:U1"); return err }},
		{"answer a q1 by " + me + ": false", func() error { _, err := c.Answer(ctx, "a", "q1", false); return err }},
		{"triage a by " + me + ": close benign", func() error {
			_, err := c.Triage(ctx, "a", responders.TriageRequest{By: "cli:somebody else", Do: responders.DoClose, Verdict: responders.Benign})
			return err
		}},
		{"redrive truncated", func() error { _, err := c.Redrive(ctx, "truncated"); return err }},
		{"contain a k by " + me + " map[x:y]", func() error { _, err := c.Contain(ctx, "a", "k", map[string]string{"x": "y"}); return err }},
		{"audit 7 5", func() error { _, err := c.AuditLines(ctx, 7, 5); return err }},
		{"verify abc", func() error { _, err := c.AuditVerify(ctx, "abc"); return err }},
		{"link for " + me, func() error { _, err := c.ConsoleLink(ctx); return err }},
		{strings.Repeat("0a", 16) + " running of " + me + ": 7 of 9", func() error {
			return c.Replaying(ctx, Replaying{ID: strings.Repeat("0a", 16), State: ReplayRunning, By: "cli:somebody", BytesRead: 7, BytesTotal: 9})
		}},
		{"parked 9", func() error { _, err := c.Parked(ctx, 9); return err }},
	} {
		if err := tc.call(); err != nil {
			t.Errorf("%s: %v", tc.want, err)
		} else if got := f.last(); got != tc.want {
			t.Errorf("the backend was asked %q, want %q", got, tc.want)
		}
	}
	s, err := c.Status(ctx)
	if err != nil || !s.Ready || len(s.Sources) != 1 || s.Sources[0].Records != 7 {
		t.Errorf("status came back as %+v, %v", s, err)
	}
	d, err := c.Action(ctx, "q")
	if err != nil || d.Hash != "h-q" {
		t.Errorf("an action came back as %+v, %v", d, err)
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	f := &fake{}
	_, c := serve(t, f)
	for _, tc := range []struct {
		err  error
		want error
		text string
	}{
		{fmt.Errorf("undo x: %w: it is not done", responders.ErrNotAllowed), ErrNotAllowed, "undo x: not allowed: it is not done"},
		{fmt.Errorf("%w: %q", responders.ErrNoAction, "x"), ErrNotFound, `no such action: "x"`},
		{fmt.Errorf("alert %q: %w", "x", ErrNotFound), ErrNotFound, `alert "x": not found`},
		{fmt.Errorf("%w: want a verdict", responders.ErrBadTriage), ErrBadRequest, "cannot do this: want a verdict"},
		{fmt.Errorf("%w: for how long?", responders.ErrBadSilence), ErrBadRequest, "cannot silence: for how long?"},
		{fmt.Errorf("%w: whom?", responders.ErrBadAsk), ErrBadRequest, "cannot ask: whom?"},
		{fmt.Errorf("%w: %q", responders.ErrNoAlert, "x"), ErrNotFound, `no such alert: "x"`},
		{fmt.Errorf("%w: %q", responders.ErrNoDestination, "x"), ErrNotFound, `no such destination: "x"`},
		{errors.New("the store is full"), nil, "the store is full"},
	} {
		f.err = tc.err
		_, err := c.Undo(ctx, "x")
		if err == nil || err.Error() != tc.text {
			t.Errorf("%v came back as %v, want %q", tc.err, err, tc.text)
		}
		for _, kind := range []error{ErrNotAllowed, ErrNotFound, ErrBadRequest, ErrNotRunning} {
			if errors.Is(err, kind) != (kind == tc.want) {
				t.Errorf("%v: is %v: %v", err, kind, errors.Is(err, kind))
			}
		}
	}
	f.err = nil
	for _, n := range []int{0, -1, 10_001} {
		if _, err := c.Alerts(ctx, n); !errors.Is(err, ErrBadRequest) {
			t.Errorf("limit %d: %v", n, err)
		}
		if _, err := c.Parked(ctx, n); !errors.Is(err, ErrBadRequest) {
			t.Errorf("limit %d: %v", n, err)
		}
	}
}

// What a replay says of itself is bounded.
func TestReplayingIsBounded(t *testing.T) {
	ctx := context.Background()
	_, c := serve(t, &fake{})
	id := strings.Repeat("0a", 16)
	for _, r := range []Replaying{{ID: "", State: ReplayRunning}, {ID: "../x", State: ReplayRunning}, {ID: id, State: ReplayUnheard}, {ID: id}, {ID: strings.Repeat("a", 65), State: ReplayDone}} {
		if err := c.Replaying(ctx, r); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	long := Replaying{ID: id, State: ReplayFailed, Inputs: make([]string, 150), Error: strings.Repeat("é", 10_000)}
	long.Inputs[0] = strings.Repeat("x", 10_000)
	if err := long.check(); err != nil || len(long.Inputs) != 100 || len([]rune(long.Inputs[0])) > 500 || len([]rune(long.Error)) > 500 {
		t.Errorf("%v: %d inputs, the first of %d, an error of %d", err, len(long.Inputs), len(long.Inputs[0]), len(long.Error))
	}
	for _, r := range []Replaying{{BytesRead: 5, BytesTotal: -1}, {BytesRead: 5}, {BytesRead: 20, BytesTotal: 10}, {BytesRead: -5, BytesTotal: 10}} {
		part, known := r.Part()
		if part < 0 || part > 1 || known != (r.BytesTotal > 0) {
			t.Errorf("%+v: %v %v", r, part, known)
		}
	}
}

func TestNotRunning(t *testing.T) {
	dir := short(t)
	c := Dial(dir)
	_, err := c.Status(context.Background())
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), filepath.Join(dir, SocketName)) {
		t.Errorf("no socket: %v", err)
	}
	// A socket that a killed process left behind: nobody listens, and the next
	// start takes its place.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket left behind: %v", err)
	}
	s, err := Serve(dir, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}
	s.Close()
	if _, err := c.Status(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// Only the owner may connect; that is all the protection there is.
func TestSocketIsPrivate(t *testing.T) {
	dir, _ := serve(t, &fake{})
	st, err := os.Stat(filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode()&os.ModeSocket == 0 || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want a socket of mode 0600", st.Mode())
	}
}

func TestServeRefuses(t *testing.T) {
	long := filepath.Join(short(t), strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(long, &fake{}); err == nil || !strings.Contains(err.Error(), "shorter state_dir") {
		t.Errorf("a path that is too long: %v", err)
	}
	if _, err := Serve(filepath.Join(short(t), "nowhere"), &fake{}); err == nil {
		t.Error("a folder that is not there was accepted")
	}
}

// A request under way when the program ends gets its answer.
func TestCloseLetsFinish(t *testing.T) {
	f := &fake{hold: make(chan struct{}), begun: make(chan struct{})}
	dir := short(t)
	s, err := Serve(dir, f)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { _, err := Dial(dir).Undo(context.Background(), "x"); got <- err }()
	<-f.begun
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	close(f.hold)
	if err := <-got; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("Close does not return")
	}
}

// What does not speak our protocol changes nothing.
func TestStrangers(t *testing.T) {
	f := &fake{}
	dir, c := serve(t, f)
	raw := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://trailwarden"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/actions/x/undo", "not json", 400},
		{"POST", "/v1/actions/x/approve", `{"hash":` + strings.Repeat(" ", 100<<10) + `"h"}`, 400},
		{"GET", "/v1/actions/x/undo", "", 405},
		{"POST", "/v1/status", "{}", 405},
		{"GET", "/v1/nosuch", "", 404},
		{"GET", "/v1/alerts?limit=x", "", 400},
	} {
		if status, body := raw(tc.method, tc.path, tc.body); status != tc.status {
			t.Errorf("%s %s: %d %s, want %d", tc.method, tc.path, status, body, tc.status)
		}
	}
	if got := f.last(); got != "" {
		t.Errorf("the backend was asked: %s", got)
	}
	// Lists are lists, never null.
	for _, path := range []string{"/v1/alerts", "/v1/actions", "/v1/parked"} {
		if _, body := raw("GET", path, ""); strings.TrimSpace(body) != "[]" {
			t.Errorf("%s: %s, want []", path, body)
		}
	}
	// No HTTP at all: the connection ends, the server lives.
	conn, err := net.Dial("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(bytes.Repeat([]byte{0, 0xff}, 64)); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}
}

// A server of another version, or something else on the socket: an error that
// says what came, never a panic or an empty success.
func TestStrangeServer(t *testing.T) {
	dir := short(t)
	ln, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	var status int
	var body string
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close(); <-done }()
	c := Dial(dir)
	for _, tc := range []struct {
		status int
		body   string
		want   string
	}{
		{500, "<html>", "500 Internal Server Error"},
		{502, `{"error":""}`, "502 Bad Gateway"},
		{403, `{"error":"no","kind":"something new"}`, "no"},
		{200, "<html>", "invalid character"},
		{200, "", "unexpected end"},
	} {
		status, body = tc.status, tc.body
		if _, err := c.Status(context.Background()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%d %q: %v, want %q", tc.status, tc.body, err, tc.want)
		}
	}
}

// The shape of status is used by people's scripts.
func TestStatusShape(t *testing.T) {
	b, err := json.Marshal(Status{Version: "v", Sources: []SourceStatus{{Name: "s"}}, Partitions: []PartitionStatus{{}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":"v","started":"0001-01-01T00:00:00Z","ready":false,"sources":[{"name":"s","records":0}],` +
		`"partitions":[{"partition":0,"evaluated":0,"duplicates":0,"late":0,"lag":0}],"rules":0,"store":{"embedded":false,"bytes":0,"fraction":0}}`
	if string(b) != want {
		t.Errorf("\n got %s\nwant %s", b, want)
	}
}

func TestTapStreams(t *testing.T) {
	f := &fake{}
	_, c := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	// Following ends when the reader has had enough.
	err := c.Tap(ctx, 3, true, func(x Tapped) error {
		if got = append(got, x.Record); len(got) == 3 {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) || len(got) != 3 || got[2] != `{"n":2}` {
		t.Errorf("%v %v", got, err)
	}
	// What fails in the middle is said, not taken for the end.
	f.err = errors.New("the store is gone")
	if err := c.Tap(ctx, 1, false, func(Tapped) error { return nil }); err == nil || err.Error() != "the store is gone" {
		t.Errorf("got %v", err)
	}
	if err := Dial(t.TempDir()).Tap(ctx, 1, false, func(Tapped) error { return nil }); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// A program of a version before does not say when it last saw its source.
func TestSourceSeen(t *testing.T) {
	pull := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	if got := (SourceStatus{LastPull: pull}).Seen(); !got.Equal(pull) {
		t.Error(got)
	}
	if got := (SourceStatus{LastPull: pull, LastSight: pull.Add(time.Hour)}).Seen(); !got.Equal(pull.Add(time.Hour)) {
		t.Error(got)
	}
}
