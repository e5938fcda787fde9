package chattest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Example credentials and places, used where Options leaves them empty.
const (
	DefaultBotToken = "xoxb-EXAMPLE-bot"
	DefaultAppToken = "xapp-EXAMPLE-app"
	DefaultChannel  = "C0EXAMPLE01"
	defaultAck      = 3 * time.Second
	webhookPath     = "/services/T0EXAMPLE01/B0EXAMPLE01/EXAMPLEwebhook"
	botUser         = "U0EXAMPLEBOT"
	botID           = "B0EXAMPLE01"
	appID           = "A0EXAMPLE01"
	teamID          = "T0EXAMPLE01"
)

// Options sets up a Server. The zero value is a workspace with one channel
// (#alerts, DefaultChannel) and Slack's rates.
type Options struct {
	BotToken, AppToken string
	// Channels maps channel ids to names.
	Channels map[string]string
	// Scopes of the bot token; what they do not allow is refused with
	// missing_scope. The default allows everything the emulator has.
	Scopes []string
	// Users are the people who can be written to alone (conversations.open);
	// nil is everybody.
	Users []string
	// Rate is chat.postMessage and webhook messages per second and channel
	// (1 when zero), with a burst of Burst (5 when zero).
	Rate  float64
	Burst int
	// Unlimited switches all rate limits off.
	Unlimited bool
	// PingInterval is the pause between WebSocket pings (10 s when zero).
	PingInterval time.Duration
	// AckTimeout is how long Click waits for the acknowledgement (3 s when zero; 2 s
	// of DingTalk).
	AckTimeout time.Duration
	// Clock is the time source of message stamps and rates (time.Now when nil).
	Clock func() time.Time
	// Journal, when set, is called once for every request before its answer
	// is written, one call at a time. It must not call the Server.
	Journal func(Entry)
	// RobotSecrets are the signing secrets of the robots by platform
	// ("dingtalk", "feishu"); empty means unsigned.
	RobotSecrets map[string]string
	// RobotKeyword is the word that DingTalk's and Feishu's robots want in
	// every message; empty for none.
	RobotKeyword string
}

// Entry is one received request.
type Entry struct {
	Time    time.Time `json:"time"`
	Method  string    `json:"method"` // "chat.postMessage", "webhook", "click", "dingtalk", …
	Channel string    `json:"channel,omitempty"`
	TS      string    `json:"ts,omitempty"`
	Text    string    `json:"text,omitempty"` // first line
	OK      bool      `json:"ok"`
	Error   string    `json:"error,omitempty"`
	// Fault says that the answer was scripted; "dropped" when the work was
	// done and the client got no answer.
	Fault string `json:"fault,omitempty"`
}

// Server is the emulator.
type Server struct {
	opt Options

	mu        sync.Mutex
	channels  map[string]*channel
	names     map[string]string // name → id
	lastSec   int64
	lastMicro int64
	buckets   map[string]*bucket
	faults    map[string][]Fault
	requests  map[string]int
	ephemeral []Ephemeral
	views     []json.RawMessage
	triggers  map[string]bool
	robots    map[string][]RobotMessage
	apps      map[string]http.HandlerFunc // by path
	socks     sockets
	fs        feishu
	dt        dingtalkApp

	journalMu sync.Mutex

	listen sync.Once
	base   string
	srv    *http.Server

	closing chan struct{}
	close   sync.Once
	wg      sync.WaitGroup
}

// New returns a Server. Call Close when done.
func New(opt Options) *Server {
	if opt.BotToken == "" {
		opt.BotToken = DefaultBotToken
	}
	if opt.AppToken == "" {
		opt.AppToken = DefaultAppToken
	}
	if opt.Channels == nil {
		opt.Channels = map[string]string{DefaultChannel: "alerts"}
	}
	if opt.Scopes == nil {
		opt.Scopes = []string{"chat:write", "channels:history", "groups:history", "im:write", "im:history"}
	}
	if opt.Rate == 0 {
		opt.Rate = 1
	}
	if opt.Burst == 0 {
		opt.Burst = 5
	}
	if opt.PingInterval == 0 {
		opt.PingInterval = 10 * time.Second
	}
	if opt.AckTimeout == 0 {
		opt.AckTimeout = defaultAck
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	s := &Server{
		opt: opt, channels: map[string]*channel{}, names: map[string]string{}, buckets: map[string]*bucket{},
		faults: map[string][]Fault{}, requests: map[string]int{}, triggers: map[string]bool{},
		robots: map[string][]RobotMessage{}, apps: map[string]http.HandlerFunc{}, closing: make(chan struct{}),
	}
	s.socks.init()
	s.fs = feishu{uuids: map[string]feishuDone{}, tickets: map[string]bool{}, changed: make(chan struct{}), waiting: map[string]chan []byte{}}
	s.dt = dingtalkApp{tickets: map[string]time.Time{}, changed: make(chan struct{}), waiting: map[string]chan []byte{}}
	for id, name := range opt.Channels {
		s.channels[id] = &channel{id: id, name: name}
		s.names[name], s.names["#"+name] = id, id
	}
	return s
}

// URL is the server's base address without a trailing slash. The first call
// starts listening on loopback; a Server mounted as a handler need not call it.
func (s *Server) URL() string {
	s.listen.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("chattest: no loopback port to listen on: %v", err))
		}
		s.base = "http://" + l.Addr().String()
		s.srv = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
		s.wg.Go(func() { _ = s.srv.Serve(l) })
	})
	return s.base
}

// APIURL is what slack.OptionAPIURL wants.
func (s *Server) APIURL() string { return s.URL() + APIPath }

// WebhookURL is the address of the incoming webhook.
func (s *Server) WebhookURL() string { return s.URL() + webhookPath }

// Paths for those who mount the Server on a listener of their own.
const (
	APIPath     = "/api/"
	WebhookPath = webhookPath
)

// Close ends all connections and waits for the server's goroutines.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.closing)
		s.listen.Do(func() {}) // from now on URL does not listen
		if s.srv != nil {
			_ = s.srv.Close()
		}
		s.socks.change(func() { s.socks.closed = true })
		s.dropAll()
	})
	s.wg.Wait()
}

// Fault is one scripted answer. The zero Fault is a normal answer, to let
// requests pass before a failing one.
type Fault struct {
	// Code answers {"ok":false,"error":Code}.
	Code string
	// Status answers with this HTTP status, Header and Body.
	Status int
	Header http.Header
	Body   string
	// Hang answers nothing until the client gives up or the server closes.
	Hang bool
	// Drop cuts the connection instead of answering.
	Drop bool
	// Worked does the work before the fault: the client cannot know.
	Worked bool
	// Delay passes before anything else.
	Delay time.Duration
}

// Refuse is Slack's ok:false with code.
func Refuse(code string) Fault { return Fault{Code: code} }

// TooMany is 429; a negative after leaves the Retry-After header out.
func TooMany(after time.Duration) Fault {
	f := Fault{Status: http.StatusTooManyRequests, Header: http.Header{}, Body: `{"ok":false,"error":"ratelimited"}`}
	if after >= 0 {
		f.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	return f
}

// Status is an HTTP status with an HTML page, as load balancers answer.
func Status(code int) Fault {
	return Fault{Status: code, Header: http.Header{"Content-Type": {"text/html"}},
		Body: "<html><body><h1>" + http.StatusText(code) + "</h1></body></html>"}
}

// Hang never answers.
func Hang() Fault { return Fault{Hang: true} }

// Cut closes the connection without doing the work.
func Cut() Fault { return Fault{Drop: true} }

// DropAnswer does the work and closes the connection instead of answering.
func DropAnswer() Fault { return Fault{Drop: true, Worked: true} }

// Garbage answers 200 with body instead of JSON.
func Garbage(body string) Fault { return Fault{Status: http.StatusOK, Body: body} }

// HTML answers 200 with an HTML page, as a captive portal does.
func HTML() Fault {
	return Fault{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<!doctype html><html><body>Sign in</body></html>"}
}

// After is f with the work done before: the answer lies.
func (f Fault) After() Fault { f.Worked = true; return f }

func (f Fault) name() string {
	switch {
	case f.Drop && f.Worked:
		return "dropped"
	case f.Drop:
		return "cut"
	case f.Hang:
		return "hang"
	case f.Status != 0:
		return "status " + strconv.Itoa(f.Status)
	case f.Code != "":
		return f.Code
	}
	return ""
}

// Script queues faults for a method ("chat.postMessage", "webhook",
// "dingtalk", …). Each answers one request; when none is left the method
// works again.
func (s *Server) Script(method string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[method] = append(s.faults[method], faults...)
}

// Requests counts the requests of a method so far, faulted ones included.
func (s *Server) Requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[method]
}

// reply is what a method answers.
type reply struct {
	status int // 200 when zero
	header http.Header
	body   any // JSON, or a string sent as it is
	entry  Entry
}

func refuse(code string, messages ...string) reply {
	body := map[string]any{"ok": false, "error": code}
	if len(messages) > 0 {
		body["response_metadata"] = map[string]any{"messages": messages}
	}
	return reply{body: body, entry: Entry{Error: code}}
}

func tooMany(after time.Duration) reply {
	secs := max(1, int(math.Ceil(after.Seconds())))
	return reply{
		status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {strconv.Itoa(secs)}},
		body: map[string]any{"ok": false, "error": "ratelimited"}, entry: Entry{Error: "ratelimited"},
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, APIPath):
		method := strings.TrimPrefix(path, APIPath)
		do, ok := methods[method]
		if !ok {
			do = func(*Server, *request) reply { return refuse("unknown_method") }
		}
		s.serve(w, r, method, s.scoped(method, do))
	case path == webhookPath:
		s.serve(w, r, "webhook", (*Server).webhook)
	case strings.HasPrefix(path, "/services/"):
		s.serve(w, r, "webhook", func(*Server, *request) reply {
			return reply{status: http.StatusNotFound, body: "no_service", entry: Entry{Error: "no_service"}}
		})
	case strings.HasPrefix(path, RobotPath):
		platform := strings.TrimPrefix(path, RobotPath)
		do, ok := robotHandlers[platform]
		if !ok {
			http.NotFound(w, r)
			return
		}
		s.serve(w, r, platform, do)
	case path == linkPath:
		s.serveSocket(w, r)
	case path == MessagesPath:
		s.showMessages(w, r)
	case path == ClickPath:
		s.takeClick(w, r)
	case path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "trailwarden chat emulator\n")
	default:
		s.mu.Lock()
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		app := s.apps["/"+name]
		s.mu.Unlock()
		if app == nil {
			http.NotFound(w, r)
			return
		}
		app(w, r)
	}
}

// app has an app's platform served below a path, from when somebody asks where it
// is: what a program never asks for is not linked into it.
func (s *Server) app(path string, serve http.HandlerFunc) string {
	s.mu.Lock()
	s.apps[path] = serve
	s.mu.Unlock()
	return s.URL() + path
}

// request is a decoded request: the form, or the JSON body.
type request struct {
	values url.Values
	json   map[string]json.RawMessage
	raw    []byte
	token  string
	host   string
	tls    bool
	query  url.Values
	header http.Header
}

// What people and programs outside this process use in place of a screen and
// a mouse. Neither exists in Slack.
const (
	// MessagesPath answers GET ?channel=ID-or-name with the messages as JSON.
	MessagesPath = "/fake/messages"
	// ClickPath takes a POST of {"user","channel","ts","action_id"} as JSON
	// and answers {"ok":true} once the click was acknowledged.
	ClickPath = "/fake/click"
)

func (s *Server) showMessages(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("channel")
	if name == "" {
		name = s.firstChannel()
	}
	list := s.Messages(name)
	if list == nil {
		list = []Message{}
	}
	write(w, reply{body: list})
}

func (s *Server) takeClick(w http.ResponseWriter, r *http.Request) {
	var spec struct {
		User, Channel, TS string
		ActionID          string `json:"action_id"`
	}
	ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost || ct != "application/json": // a web page cannot send this unasked
		write(w, reply{status: http.StatusUnsupportedMediaType, body: map[string]any{"ok": false, "error": "want a POST of application/json"}})
		return
	case json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&spec) != nil:
		write(w, reply{status: http.StatusBadRequest, body: map[string]any{"ok": false, "error": "want user, channel, ts and action_id"}})
		return
	}
	if _, err := s.Click(r.Context(), ClickSpec{User: spec.User, Channel: spec.Channel, TS: spec.TS, ActionID: spec.ActionID}); err != nil {
		write(w, reply{status: http.StatusConflict, body: map[string]any{"ok": false, "error": err.Error()}})
		return
	}
	write(w, reply{body: map[string]any{"ok": true}})
}

// maxBody bounds what is read of a request.
const maxBody = 2 << 20

func decode(r *http.Request) (*request, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	q := &request{values: url.Values{}, raw: raw, host: r.Host, tls: r.TLS != nil, query: r.URL.Query(), header: r.Header}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		q.token = bearer
	}
	switch ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case r.Method == http.MethodGet:
		q.values = r.URL.Query()
	case ct == "application/json":
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &q.json); err != nil {
				return nil, errors.New("invalid_json")
			}
		}
	default:
		v, err := url.ParseQuery(string(raw))
		if err != nil {
			return nil, errors.New("invalid_form_data")
		}
		q.values = v
	}
	if t := q.values.Get("token"); t != "" {
		q.token = t
	}
	return q, nil
}

func (q *request) get(name string) string { return q.values.Get(name) }

func (q *request) flag(name string) bool {
	v := q.get(name)
	return v == "1" || v == "true"
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, method string, do func(*Server, *request) reply) {
	q, decodeErr := decode(r)

	s.mu.Lock()
	s.requests[method]++
	var fault Fault
	if queue := s.faults[method]; len(queue) > 0 {
		fault, s.faults[method] = queue[0], queue[1:]
	}
	s.mu.Unlock()

	if fault.Delay > 0 && !s.wait(r.Context(), fault.Delay) {
		return
	}
	var out reply
	switch scripted := fault.name(); {
	case scripted != "" && !fault.Worked:
		out = faulted(fault)
		if q != nil {
			out.entry.Channel, out.entry.Text = q.get("channel"), firstLine(q.get("text"))
		}
	case decodeErr != nil:
		out = refuse(decodeErr.Error())
	default:
		s.mu.Lock()
		out = do(s, q)
		s.mu.Unlock()
		if out.entry.Error == "" {
			out.entry.OK = true
		}
		if scripted != "" {
			entry := out.entry
			out = faulted(fault)
			out.entry = entry
			out.entry.Fault = scripted
		}
	}
	out.entry.Time, out.entry.Method = s.opt.Clock().UTC(), method
	s.journal(out.entry)

	switch {
	case fault.Hang:
		select {
		case <-r.Context().Done():
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	case fault.Drop:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	write(w, out)
}

func faulted(f Fault) reply {
	out := reply{status: f.Status, header: f.Header, body: f.Body, entry: Entry{Error: f.name(), Fault: f.name()}}
	if f.Code != "" {
		out.body = map[string]any{"ok": false, "error": f.Code}
	}
	return out
}

func write(w http.ResponseWriter, out reply) {
	for k, v := range out.header {
		w.Header()[k] = v
	}
	status := out.status
	if status == 0 {
		status = http.StatusOK
	}
	if text, ok := out.body.(string); ok {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out.body)
}

func (s *Server) journal(e Entry) {
	if s.opt.Journal != nil {
		s.journalMu.Lock()
		defer s.journalMu.Unlock()
		s.opt.Journal(e)
	}
}

// wait sleeps d and reports false when the client or the server went away.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.closing:
	}
	return false
}

// bucket is a token bucket on the Server's clock.
type bucket struct {
	tokens float64
	last   time.Time
}

// take uses one token of key, or says how long until there is one. s.mu is held.
func (s *Server) take(key string, perSecond float64, burst int) (wait time.Duration, ok bool) {
	if s.opt.Unlimited {
		return 0, true
	}
	now := s.opt.Clock()
	b := s.buckets[key]
	if b == nil {
		b = &bucket{tokens: float64(burst), last: now}
		s.buckets[key] = b
	}
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(float64(burst), b.tokens+d.Seconds()*perSecond)
		b.last = now
	}
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / perSecond * float64(time.Second)), false
	}
	b.tokens--
	return 0, true
}

// Tiers of Slack's per-method limits, per minute.
const (
	tier3 = 50
	tier4 = 100
)

func (s *Server) tier(method string, perMinute int) (reply, bool) {
	if wait, ok := s.take("method/"+method, float64(perMinute)/60, perMinute); !ok {
		return tooMany(wait), false
	}
	return reply{}, true
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
