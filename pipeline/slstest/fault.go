package slstest

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Call names an operation of the API, as in the vendor's documentation.
type Call string

// The calls the emulator answers.
const (
	ListConsumerGroup   Call = "ListConsumerGroup"
	CreateConsumerGroup Call = "CreateConsumerGroup"
	UpdateConsumerGroup Call = "UpdateConsumerGroup"
	DeleteConsumerGroup Call = "DeleteConsumerGroup"
	HeartBeat           Call = "HeartBeat"
	GetCheckpoint       Call = "GetCheckpoint"
	UpdateCheckpoint    Call = "UpdateCheckpoint"
	GetCursor           Call = "GetCursor"
	GetCursorTime       Call = "GetCursorTime"
	PullLogs            Call = "PullLogs"
	ListShards          Call = "ListShards"
	SplitShard          Call = "SplitShard"
	MergeShards         Call = "MergeShards"
	PutLogs             Call = "PutLogs"
	GetLogs             Call = "GetLogs"
	GetHistograms       Call = "GetHistograms"
	GetProject          Call = "GetProject"
	CreateProject       Call = "CreateProject"
	ListLogStores       Call = "ListLogStores"
	GetLogStore         Call = "GetLogStore"
	CreateLogStore      Call = "CreateLogStore"
	DeleteLogStore      Call = "DeleteLogStore"
	UnknownCall         Call = "Unknown"
)

// Fault is one scripted misbehaviour. The zero value of each part does
// nothing, so that a test writes only what it wants.
type Fault struct {
	// What it applies to: an empty Call is any call, an empty Consumer any
	// consumer, and Shards, when given, only those shards.
	Call     Call
	Consumer string
	Shards   []int
	// Skip lets the first matches through; Times is how many are then hit:
	// 0 is one, -1 all until removed.
	Skip, Times int

	// Delay holds the answer back (and the work, unless AfterWork).
	Delay time.Duration
	// Refuse closes the connection without doing the work.
	Refuse bool
	// Status with Code and Message answers an error of the usual JSON shape;
	// with Body it answers that body as ContentType ("text/html" by default).
	Status        int
	Code, Message string
	Body          string
	ContentType   string
	// AfterWork does the work first and then delays or answers as told: the
	// client sees a failure that was a success.
	AfterWork bool
	// DropAnswer does the work and closes the connection.
	DropAnswer bool

	// Changes to a good answer.
	Truncate     bool   // announce the whole body, send half, close
	Garbage      bool   // replace the body by bytes that mean nothing
	ExtraBody    string // append to the body, as where it should be empty
	RawSizeDelta int    // added to x-log-bodyrawsize
	DropHeaders  []string
	SetHeaders   map[string]string
}

// FaultHandle controls an injected fault.
type FaultHandle struct {
	fault         Fault
	seen, hits    int // under Server.mu
	hitsPublished atomic.Int64
	server        *Server
}

// Hits is how often the fault struck.
func (h *FaultHandle) Hits() int { return int(h.hitsPublished.Load()) }

// Remove ends the fault.
func (h *FaultHandle) Remove() {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	for i, f := range h.server.faults {
		if f == h {
			h.server.faults = append(h.server.faults[:i:i], h.server.faults[i+1:]...)
			return
		}
	}
}

// Inject adds a fault. Faults are tried in the order they were added; the
// first that matches a request is the only one to strike it.
func (s *Server) Inject(f Fault) *FaultHandle {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &FaultHandle{fault: f, server: s}
	s.faults = append(s.faults, h)
	return h
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) strike(q *query) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.faults {
		f := &h.fault
		if f.Call != "" && f.Call != q.call || f.Consumer != "" && f.Consumer != q.consumer {
			continue
		}
		if len(f.Shards) > 0 {
			hit := false
			for _, id := range f.Shards {
				hit = hit || q.hasShard && id == q.shard
			}
			if !hit {
				continue
			}
		}
		h.seen++
		times := f.Times
		if times == 0 {
			times = 1
		}
		if h.seen <= f.Skip || times > 0 && h.hits >= times {
			continue
		}
		h.hits++
		h.hitsPublished.Store(int64(h.hits))
		return f
	}
	return nil
}

// answer is the error a fault gives in place of, or after, the work.
func (f *Fault) answer() reply {
	if f.Body != "" {
		ct := f.ContentType
		if ct == "" {
			ct = "text/html"
		}
		return reply{status: f.Status, body: []byte(f.Body), header: map[string]string{"Content-Type": ct}}
	}
	code, msg := f.Code, f.Message
	if code == "" {
		code = "InternalServerError"
	}
	if msg == "" {
		msg = "scripted fault"
	}
	return errf(f.Status, code, "%s", msg).reply()
}

// spoil changes a good answer.
func (f *Fault) spoil(r reply) reply {
	h := make(map[string]string, len(r.header))
	for k, v := range r.header {
		h[k] = v
	}
	r.header = h
	if f.Garbage {
		g := make([]byte, max(len(r.body), 16))
		for i := range g {
			g[i] = byte(0xFF - i*7)
		}
		r.body = g
	}
	if f.ExtraBody != "" {
		r.body = append(r.body[:len(r.body):len(r.body)], f.ExtraBody...)
	}
	if f.RawSizeDelta != 0 {
		if n, err := strconv.Atoi(h[http.CanonicalHeaderKey("x-log-bodyrawsize")]); err == nil {
			h[http.CanonicalHeaderKey("x-log-bodyrawsize")] = strconv.Itoa(n + f.RawSizeDelta)
		}
	}
	for _, k := range f.DropHeaders {
		delete(h, http.CanonicalHeaderKey(k))
	}
	for k, v := range f.SetHeaders {
		h[http.CanonicalHeaderKey(k)] = v
	}
	return r
}
