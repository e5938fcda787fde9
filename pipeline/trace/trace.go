// Package trace follows a page of records through the program: reading,
// evaluation, commit, alert, notice and action, across the messages of the
// store. What it makes are OpenTelemetry spans, sent by OTLP over HTTP.
//
// A trace is carried by the header traceparent of W3C Trace Context: in messages
// of the store, and in the journal's records of notices and actions, so that an
// approval an hour later still belongs to it. Only what is sampled is carried.
//
// A nil *Tracer traces nothing and costs a comparison. Spans are dropped, never
// waited for: tracing does not delay what it looks at.
//
// OpenTelemetry's own SDK does the same and more, for 1.5 MB of the program; this
// is the part that is used, and a test reads it with OpenTelemetry's own types.
package trace

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// Header is the name under which a message carries its trace.
const Header = "traceparent"

const (
	maxAttrs = 32
	maxLinks = 32
	maxError = 1024 // bytes of a failed span's reason
)

// Attr is one fact of a span.
type Attr struct {
	Key  string
	Text string
	Num  int64
	num  bool
}

// Str is an attribute of text.
func Str(key, value string) Attr { return Attr{Key: key, Text: value} }

// Int is an attribute of a number.
func Int(key string, value int) Attr { return Attr{Key: key, Num: int64(value), num: true} }

// place is where a span is: in which trace, and which span.
type place struct {
	trace [16]byte
	span  [8]byte
}

func (p place) valid() bool { return p.trace != [16]byte{} && p.span != [8]byte{} }

func (p place) String() string {
	return "00-" + hex.EncodeToString(p.trace[:]) + "-" + hex.EncodeToString(p.span[:]) + "-01"
}

// parse reads a traceparent. What is not sampled is nothing to us.
func parse(s string) (p place, ok bool) {
	f := strings.Split(s, "-")
	if len(s) > 256 || len(f) < 4 || len(f[0]) != 2 || len(f[1]) != 32 || len(f[2]) != 16 || len(f[3]) != 2 || f[0] == "ff" || f[0] == "00" && len(f) > 4 {
		return place{}, false
	}
	var version, flags [1]byte
	for _, x := range []struct {
		to   []byte
		from string
	}{{version[:], f[0]}, {p.trace[:], f[1]}, {p.span[:], f[2]}, {flags[:], f[3]}} {
		if x.from != strings.ToLower(x.from) {
			return place{}, false
		}
		if _, err := hex.Decode(x.to, []byte(x.from)); err != nil {
			return place{}, false
		}
	}
	return p, p.valid() && flags[0]&1 == 1
}

type key struct{}

func placeOf(ctx context.Context) (place, bool) {
	p, ok := ctx.Value(key{}).(place)
	return p, ok
}

// Tracer begins spans and hands those that have ended to a sink. Safe from any
// goroutine; nil begins none.
type Tracer struct {
	bound uint64
	sink  func(*Ended)
}

// New returns a tracer that follows share (0 to 1) of all traces. sink is called
// from the goroutine that ends a span and must not wait.
func New(share float64, sink func(*Ended)) *Tracer {
	t := &Tracer{sink: sink}
	if share >= 1 {
		t.bound = 1 << 63
	} else if share > 0 {
		t.bound = uint64(share * (1 << 63))
	}
	return t
}

// Ended is a span that has ended.
type Ended struct {
	at, parent place
	Name       string
	Begin, End time.Time
	Attrs      []Attr
	links      []place
	Err        string // empty when it went well
}

// Span is one piece of work. The zero Span records nothing. Safe from any
// goroutine.
type Span struct{ s *span }

type span struct {
	t    *Tracer
	mu   sync.Mutex
	e    Ended
	over bool
}

// Start begins a span, of the trace of ctx or of a new one.
func (t *Tracer) Start(ctx context.Context, name string, attrs ...Attr) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	parent, ok := placeOf(ctx)
	at := parent
	if !ok {
		_, _ = rand.Read(at.trace[:]) // never fails
		if binary.BigEndian.Uint64(at.trace[8:])>>1 >= t.bound {
			return ctx, Span{}
		}
	}
	_, _ = rand.Read(at.span[:])
	if !at.valid() {
		return ctx, Span{} // eight zero bytes: once in the life of a galaxy
	}
	s := &span{t: t, e: Ended{at: at, parent: parent, Name: name, Begin: time.Now(), Attrs: attrs}}
	return context.WithValue(ctx, key{}, at), Span{s}
}

// Resume begins a span that goes on with a trace carried by a message or a
// record. Without one (parent is empty or unreadable) there is no span, and what
// is done with the context it returns is not traced.
func (t *Tracer) Resume(ctx context.Context, parent, name string, attrs ...Attr) (context.Context, Span) {
	p, ok := parse(parent)
	if t == nil || !ok {
		return ctx, Span{}
	}
	return t.Start(context.WithValue(ctx, key{}, p), name, attrs...)
}

// Continue makes parent, which may be empty, the trace of a context.
func Continue(ctx context.Context, parent string) context.Context {
	if p, ok := parse(parent); ok {
		return context.WithValue(ctx, key{}, p)
	}
	return ctx
}

// Of is the trace of ctx as a message carries it; empty when there is none.
func Of(ctx context.Context) string {
	if p, ok := placeOf(ctx); ok {
		return p.String()
	}
	return ""
}

func (s Span) do(fn func(e *Ended)) {
	if s.s == nil {
		return
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if !s.s.over {
		fn(&s.s.e)
	}
}

// Link says that the span also works on another trace, which a message carried.
func (s Span) Link(parent string) {
	s.do(func(e *Ended) {
		if p, ok := parse(parent); ok && len(e.links) < maxLinks {
			e.links = append(e.links, p)
		}
	})
}

// Set adds to what the span says.
func (s Span) Set(attrs ...Attr) {
	s.do(func(e *Ended) { e.Attrs = append(e.Attrs, attrs[:min(len(attrs), max(maxAttrs-len(e.Attrs), 0))]...) })
}

// End ends the span; err, which may be nil, makes it a failed one. Only the
// first call counts.
func (s Span) End(err error) {
	over := false
	s.do(func(e *Ended) {
		e.End = time.Now()
		if err != nil {
			e.Err = err.Error()
			e.Err = e.Err[:min(len(e.Err), maxError)]
		}
		s.s.over, over = true, true
	})
	if over {
		s.s.t.sink(&s.s.e)
	}
}
