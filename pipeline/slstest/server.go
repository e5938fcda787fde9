package slstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a Server. The zero value is a project "trailwarden" with
// a logstore "actiontrail_main" of one shard that accepts unsigned requests
// of any key.
type Options struct {
	// Project and Logstore are the first pair; [Server.AddLogstore] adds more.
	// Project is also used for requests whose Host names none.
	Project, Logstore string
	Shards            int // default 1
	// Credentials are accepted; when there are none, signatures are not
	// verified at all.
	Credentials []Credential
	// Region, when set, must be the region of a version 4 signature.
	Region string
	// MaxSkew is how far a request's time may be from the server's, default
	// 15 minutes as documented.
	MaxSkew time.Duration
	// CorrectSpelling selects ConsumerNotExist and ShardNotExist as error
	// codes; otherwise the misspelt ConsumerNotExsit and ShardNotExsit that
	// the Go SDK matches.
	CorrectSpelling bool
	// RefuseStale answers ConsumerNotMatch to a checkpoint from a consumer
	// that does not hold the shard even when it is forced. How the real
	// server treats that is not documented; the default accepts it.
	RefuseStale bool

	// Topic and Field are how Append stores a record, default
	// "actiontrail_audit_event" and "event"; LogsPerGroup how many records go
	// into one log group, default 1.
	Topic, Field string
	LogsPerGroup int

	// RetainGroups and RetainBytes bound each shard; what is older is dropped
	// and its cursors answer InvalidCursor. 0 keeps everything.
	RetainGroups int
	RetainBytes  int64
	// MaxPageGroups and MaxPageBytes bound one pull, default 1000 groups (the
	// documented limit) and 8 MiB uncompressed.
	MaxPageGroups, MaxPageBytes int
	// Quotas of each shard; 0 is none. Beyond them the answer is 403
	// ShardReadQuotaExceed or ShardWriteQuotaExceed.
	ReadsPerSecond, ReadBytesPerSecond, WritesPerSecond int

	// Now is the clock, default time.Now.
	Now func() time.Time
	// Journal is called once for every request after its answer, from the
	// goroutine of the request.
	Journal func(Entry)
}

// Entry is what the journal says about one request. It holds no secrets.
type Entry struct {
	Time     time.Time `json:"time"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Action   Call      `json:"action"`
	Project  string    `json:"project,omitempty"`
	Logstore string    `json:"logstore,omitempty"`
	Shard    *int      `json:"shard,omitempty"`
	Group    string    `json:"group,omitempty"`
	Consumer string    `json:"consumer,omitempty"`
	// Detail is the part of the request that matters: shards of a heartbeat,
	// cursor of a pull or a checkpoint.
	Detail string `json:"detail,omitempty"`
	// AccessKeyID is who signed, when the signature was verified.
	AccessKeyID string `json:"access_key_id,omitempty"`
	// Status is the status sent, 0 when the connection was closed instead;
	// Code the errorCode of an error.
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
	// Groups is the number of log groups in the answer of a pull.
	Groups int `json:"groups,omitempty"`
	// Bytes is the size of the answer's body.
	Bytes int `json:"bytes"`
}

// Server is the emulator. It is an http.Handler; [Server.URL] also serves it
// on a loopback port of its own. All methods are safe for concurrent use.
type Server struct {
	opts Options

	mu          sync.Mutex
	logstores   map[string]*logstore // project/name
	credentials map[string]Credential
	faults      []*FaultHandle
	nextBase    int64
	down        bool

	requestID atomic.Int64
	calls     sync.Map // Call → *atomic.Int64
	newConns  atomic.Int64
	openConns atomic.Int64

	stop     chan struct{}
	stopOnce sync.Once
	listen   sync.Once
	ln       net.Listener
	srv      *http.Server
	served   chan struct{}
}

// New makes an emulator. It listens only when URL is called.
func New(o Options) *Server {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	defInt := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&o.Project, "trailwarden")
	def(&o.Logstore, "actiontrail_main")
	def(&o.Topic, "actiontrail_audit_event")
	def(&o.Field, "event")
	defInt(&o.Shards, 1)
	defInt(&o.LogsPerGroup, 1)
	defInt(&o.MaxPageGroups, 1000)
	defInt(&o.MaxPageBytes, 8<<20)
	if o.MaxSkew <= 0 {
		o.MaxSkew = 15 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		opts:        o,
		logstores:   map[string]*logstore{},
		credentials: map[string]Credential{},
		nextBase:    1_700_000_000_000_000, // documented cursors look like microseconds
		stop:        make(chan struct{}),
	}
	for _, c := range o.Credentials {
		s.credentials[c.AccessKeyID] = c
	}
	s.AddLogstore(o.Project, o.Logstore, o.Shards)
	return s
}

// URL is the base address "http://127.0.0.1:PORT" of the emulator's own
// listener, which the first call opens. It panics when loopback cannot be
// listened on: nothing that uses the emulator can go on then.
func (s *Server) URL() string {
	s.listen.Do(func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("slstest: cannot listen on loopback: %v", err))
		}
		s.ln = ln
		s.served = make(chan struct{})
		s.srv = &http.Server{
			Handler:           s,
			ReadHeaderTimeout: 10 * time.Second,
			ConnState: func(_ net.Conn, st http.ConnState) {
				switch st {
				case http.StateNew:
					s.newConns.Add(1)
					s.openConns.Add(1)
				case http.StateClosed, http.StateHijacked:
					s.openConns.Add(-1)
				}
			},
		}
		go func() {
			defer close(s.served)
			_ = s.srv.Serve(ln) // returns ErrServerClosed after Close
		}()
	})
	return "http://" + s.ln.Addr().String()
}

// Close ends delayed answers and the emulator's own listener, if it was opened.
func (s *Server) Close() {
	s.stopOnce.Do(func() {
		close(s.stop)
		s.listen.Do(func() {}) // no listener after Close
		if s.srv != nil {
			_ = s.srv.Close()
			<-s.served
		}
	})
}

// Connections says how many connections the own listener accepted in all and
// how many are open.
func (s *Server) Connections() (accepted, open int) {
	return int(s.newConns.Load()), int(s.openConns.Load())
}

// Calls is how many requests of a kind were received.
func (s *Server) Calls(c Call) int {
	if n, ok := s.calls.Load(c); ok {
		return int(n.(*atomic.Int64).Load())
	}
	return 0
}

// SetDown makes the emulator unreachable (every connection is closed before
// any answer) or reachable again.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// SetCredentials replaces the accepted credentials.
func (s *Server) SetCredentials(cs ...Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credentials = map[string]Credential{}
	for _, c := range cs {
		s.credentials[c.AccessKeyID] = c
	}
	s.opts.Credentials = cs
}

// apiError is an error of the API.
type apiError struct {
	status    int
	code, msg string
}

// errf stands in 69 places: not inlined (DESIGN D23).
//
//go:noinline
func errf(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, msg: fmt.Sprintf(format, args...)}
}

func (e *apiError) reply() reply {
	b, err := json.Marshal(map[string]string{"errorCode": e.code, "errorMessage": e.msg})
	if err != nil {
		panic(err) // two strings always encode
	}
	return reply{status: e.status, code: e.code, body: b, header: map[string]string{"Content-Type": "application/json"}}
}

// reply is an answer before it is sent; header names are canonical.
type reply struct {
	status int
	code   string
	header map[string]string
	body   []byte
	groups int
}

func empty() reply { return reply{status: http.StatusOK} }

func jsonReply(v any) reply {
	b, err := json.Marshal(v)
	if err != nil {
		return errf(http.StatusInternalServerError, "InternalServerError", "cannot encode the answer: %v", err).reply()
	}
	return reply{status: http.StatusOK, body: b, header: map[string]string{"Content-Type": "application/json"}}
}

// query is a routed request.
type query struct {
	call     Call
	project  string
	logstore string
	group    string
	consumer string
	shard    int
	hasShard bool
	v        url.Values
	body     []byte
	detail   string
	header   http.Header
}

// projectOf takes the project from the first label of the Host, as the real
// service does; an address, a bare name or none is the default project.
func (s *Server) projectOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return s.opts.Project
	}
	if label, rest, ok := strings.Cut(host, "."); ok && label != "" && rest != "" {
		return label
	}
	return s.opts.Project
}

// route says which call a request is. It reads nothing but method, path and
// query.
func route(method, path string, v url.Values) (q query, ok bool) {
	q.v = v
	seg := strings.Split(strings.Trim(path, "/"), "/")
	if seg[0] == "" {
		switch method {
		case http.MethodGet:
			q.call = GetProject
		case http.MethodPost:
			q.call = CreateProject
		}
		return q, q.call != ""
	}
	if seg[0] != "logstores" {
		return q, false
	}
	at := func(m string, n int, c Call) {
		if method == m && len(seg) == n && q.call == "" {
			q.call = c
		}
	}
	switch len(seg) {
	case 1:
		at(http.MethodGet, 1, ListLogStores)
		at(http.MethodPost, 1, CreateLogStore)
		return q, q.call != ""
	case 2:
		q.logstore = seg[1]
		if method == http.MethodGet && v.Get("type") == "histogram" {
			q.call = GetHistograms
		}
		at(http.MethodGet, 2, GetLogStore)
		at(http.MethodPost, 2, PutLogs)
		at(http.MethodDelete, 2, DeleteLogStore)
		return q, q.call != ""
	}
	q.logstore = seg[1]
	switch seg[2] {
	case "logs":
		at(http.MethodPost, 3, GetLogs)
	case "consumergroups":
		at(http.MethodGet, 3, ListConsumerGroup)
		at(http.MethodPost, 3, CreateConsumerGroup)
		if len(seg) == 4 {
			q.group, q.consumer = seg[3], v.Get("consumer")
			switch {
			case method == http.MethodPost && v.Get("type") == "heartbeat":
				q.call = HeartBeat
			case method == http.MethodPost && v.Get("type") == "checkpoint":
				q.call = UpdateCheckpoint
			}
			at(http.MethodGet, 4, GetCheckpoint)
			at(http.MethodPut, 4, UpdateConsumerGroup)
			at(http.MethodDelete, 4, DeleteConsumerGroup)
		}
	case "shards":
		at(http.MethodGet, 3, ListShards)
		if len(seg) == 4 && seg[3] == "route" {
			at(http.MethodPost, 4, PutLogs)
			break
		}
		if len(seg) == 4 {
			id, err := strconv.Atoi(seg[3])
			if err != nil {
				return q, false
			}
			q.shard, q.hasShard = id, true
			switch {
			case method == http.MethodGet && v.Get("type") == "cursor":
				q.call = GetCursor
			case method == http.MethodGet && v.Get("type") == "cursor_time":
				q.call = GetCursorTime
			case method == http.MethodGet && (v.Get("type") == "logs" || v.Get("type") == "log"):
				// Both spellings of the type stand in the vendor's pages.
				q.call = PullLogs
				q.detail = v.Get("cursor")
			case method == http.MethodPost && v.Get("action") == "split":
				q.call = SplitShard
			case method == http.MethodPost && v.Get("action") == "merge":
				q.call = MergeShards
			}
		}
	}
	return q, q.call != ""
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.opts.Now()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRawSize+1))
	v, qerr := url.ParseQuery(r.URL.RawQuery)
	q, known := route(r.Method, r.URL.Path, v)
	q.project, q.body, q.header = s.projectOf(r.Host), body, r.Header
	if !known {
		q.call = UnknownCall
	}
	n, _ := s.calls.LoadOrStore(q.call, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)

	entry := Entry{Time: now.UTC(), Method: r.Method, Path: r.URL.Path, Action: q.call, Project: q.project,
		Logstore: q.logstore, Group: q.group, Consumer: q.consumer}
	defer func() {
		if q.hasShard {
			entry.Shard = &q.shard
		}
		entry.Detail = clip(q.detail, 256)
		if s.opts.Journal != nil {
			s.opts.Journal(entry)
		}
	}()

	s.mu.Lock()
	down, verify := s.down, len(s.opts.Credentials) > 0
	s.mu.Unlock()
	if down {
		hangUp(w)
		return
	}
	fault := s.strike(&q)
	if fault != nil && !fault.AfterWork {
		s.sleep(r.Context(), fault.Delay)
	}
	switch {
	case fault != nil && fault.Refuse:
		hangUp(w)
		return
	case fault != nil && fault.Status != 0 && !fault.AfterWork:
		rep := fault.answer()
		entry.Status, entry.Code, entry.Bytes = rep.status, fault.Code, len(rep.body)
		s.send(w, rep)
		return
	}

	rep := func() reply {
		switch {
		case err != nil:
			return errf(http.StatusBadRequest, "PostBodyInvalid", "the body could not be read").reply()
		case len(body) > maxRawSize:
			return errf(http.StatusBadRequest, "PostBodyTooLarge", "the body is larger than %d bytes", maxRawSize).reply()
		case qerr != nil:
			return errf(http.StatusBadRequest, "ParameterInvalid", "the query string cannot be parsed").reply()
		}
		if verify {
			id, e := s.authenticate(r, body, now)
			if e != nil {
				return e.reply()
			}
			entry.AccessKeyID = id
		}
		if !known {
			return errf(http.StatusNotFound, "NotSupported", "this emulator has no %s %s", r.Method, clip(r.URL.Path, 128)).reply()
		}
		return s.answer(&q, now)
	}()
	entry.Code, entry.Groups = rep.code, rep.groups

	if fault != nil {
		if fault.AfterWork {
			s.sleep(r.Context(), fault.Delay)
			if fault.Status != 0 {
				rep = fault.answer()
				entry.Code = fault.Code
			}
		}
		if fault.DropAnswer {
			hangUp(w)
			return
		}
		rep = fault.spoil(rep)
		if fault.Truncate {
			truncate(w, rep)
			return
		}
	}
	entry.Status, entry.Bytes = rep.status, len(rep.body)
	s.send(w, rep)
}

func (s *Server) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-s.stop:
	}
}

func (s *Server) send(w http.ResponseWriter, rep reply) {
	h := w.Header()
	h.Set("Server", "slstest")
	h.Set("X-Log-Requestid", fmt.Sprintf("%024X", s.requestID.Add(1)))
	for k, v := range rep.header {
		h.Set(k, v)
	}
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body) // the client going away is its own business
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if errors.Is(err, http.ErrNotSupported) {
			panic(http.ErrAbortHandler) // HTTP/2: resets the stream
		}
		return
	}
	_ = conn.Close()
}

// truncate announces the whole body, sends half of it and closes.
func truncate(w http.ResponseWriter, rep reply) {
	for k, v := range rep.header {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(rep.body)))
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body[:len(rep.body)/2])
	_ = http.NewResponseController(w).Flush() // or nothing at all would be sent
	panic(http.ErrAbortHandler)               // the documented way to cut an answer short
}
