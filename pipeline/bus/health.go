package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Usage is how full one stream is.
type Usage struct {
	Stream string
	Msgs   uint64
	Bytes  uint64
	Max    uint64 // bytes; 0 when the stream has no limit
	Last   uint64 // last sequence
	// Refusing is set when a message was refused for the limit within the
	// last 30 s.
	Refusing bool
}

// Fraction is Bytes of Max, 0 when there is no limit.
func (u Usage) Fraction() float64 {
	if u.Max == 0 {
		return 0
	}
	return float64(u.Bytes) / float64(u.Max)
}

// Levels of Usage.Fraction at which Health speaks up.
const (
	WarnAt = 0.80
	FullAt = 0.95
)

// Health is the store's condition.
type Health struct {
	// OK means that messages can be stored now.
	OK bool
	// Frozen means that the embedded server stopped writing after a disk
	// error, or has answered nothing for stuckAfter. Nothing but a restart of
	// the process helps: exit.
	Frozen    bool
	Connected bool
	Streams   []Usage
	// Free is what may still be written on the disk of the embedded store, where
	// that is less than a tenth of its budget; else 0. It is not the store that
	// took the rest: at its limits it leaves more.
	Free int64
	// Missing are streams that do not exist any more.
	Missing []string
	// Problems are sentences for people, most serious first.
	Problems []string
}

// stuckAfter is how long the embedded server may take to say how it is before it
// is taken to be stuck. It says so under the locks under which it writes: a disk
// that hangs delays it, and where it waits for itself the answer never comes.
const stuckAfter = time.Minute

// question is one look at the embedded server's health. What it found counts once
// done is closed.
type question struct {
	asked time.Time
	done  chan struct{}
	ok    bool
	text  string
}

// ask asks the embedded server how it is and waits for the answer until ctx ends.
// One question is asked at a time: whoever comes while it is open waits for the same.
func (b *Bus) ask(ctx context.Context) (q *question, answered bool) {
	b.asking.Lock()
	if b.question == nil {
		b.question = &question{asked: time.Now(), done: make(chan struct{})}
		go func(q *question) {
			q.ok, q.text = b.healthz()
			b.asking.Lock()
			b.question = nil
			b.asking.Unlock()
			close(q.done)
		}(b.question)
	}
	q = b.question
	b.asking.Unlock()
	select {
	case <-q.done:
		return q, true
	case <-ctx.Done():
		return q, false
	}
}

// Short says what it means that the disk is nearly full.
func (h *Health) Short() string {
	return fmt.Sprintf("the disk of state_dir has room for %d MiB, others fill it: once it is full nothing is stored and the program ends; free space", h.Free>>20)
}

// Audited says that StreamAudit is there: Health looks at it from then on.
func (b *Bus) Audited() { b.audited.Store(true) }

// Health asks the server for its own opinion and compares streams with their
// limits. It takes as long as the server takes, at most until ctx ends.
func (b *Bus) Health(ctx context.Context) Health {
	if b.closed.Load() {
		return Health{Problems: []string{"the store is closed"}}
	}
	h := Health{OK: true, Connected: b.nc.Status() == nats.CONNECTED}
	problem := func(fatal bool, format string, args ...any) {
		h.OK = h.OK && !fatal
		h.Problems = append(h.Problems, fmt.Sprintf(format, args...))
	}
	if b.srv != nil {
		q, answered := b.ask(ctx)
		switch waited := time.Since(q.asked); {
		case !answered:
			h.Frozen = waited >= stuckAfter
			problem(true, "the embedded server has not said for %s how it is: it waits for the disk, or for itself; check the disk", waited.Truncate(time.Second))
			return h // nor would it answer anything else
		case !q.ok:
			h.Frozen = true
			problem(true, "the embedded server reports %q: it stores nothing until this process restarts; check the disk first", q.text)
		}
		if free := freeBytes(b.cfg.Dir); free >= 0 && free < b.budget/10 {
			h.Free = max(free, 1)
			h.Problems = append(h.Problems, h.Short())
		}
	}
	if !h.Connected {
		problem(true, "no connection to the server (%v)", b.nc.Status())
	}
	if n := b.silent.Load(); n >= 3 {
		problem(true, "the last %d attempts to store a message got no answer", n)
	}
	if text := b.denied.Load(); text != nil {
		problem(true, "the server refuses us something: %s", *text)
	}
	if !h.Connected {
		return h
	}
	now := time.Now()
	names := streamOrder
	if b.audited.Load() {
		names = append(slices.Clone(names), StreamAudit)
	}
	for _, name := range names {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				problem(true, "stream %s does not exist any more: somebody deleted it", name)
				if b.gone(name, now) {
					h.Missing = append(h.Missing, name)
				}
				continue
			}
			problem(true, "stream %s: %v", name, wrap("lookup", err))
			if _, again := classify(err); again {
				break // the others would not answer either
			}
			continue
		}
		b.absent.Delete(name)
		info := s.CachedInfo()
		u := Usage{Stream: name, Msgs: info.State.Msgs, Bytes: info.State.Bytes, Max: uint64(max(info.Config.MaxBytes, 0)), Last: info.State.LastSeq}
		if v, ok := b.full.Load(name); ok {
			u.Refusing = now.Sub(time.Unix(0, v.(int64))) < 30*time.Second
		}
		h.Streams = append(h.Streams, u)
		f := u.Fraction()
		switch {
		case name == StreamQuar && f >= WarnAt:
			problem(false, "QUAR is %.0f %% full: when it is full the oldest parked records are dropped; look at them and clear them", f*100)
		case u.Refusing || f >= FullAt:
			problem(name != StreamQuar && name != StreamAudit, "%s is full (%.0f %% of %d MiB): %s", name, f*100, u.Max>>20, whenFull[name])
		case f >= WarnAt:
			problem(false, "%s is %.0f %% full (of %d MiB): %s", name, f*100, u.Max>>20, whenFull[name])
		}
	}
	return h
}

// Whole says whether all streams exist that the store is made of.
func (b *Bus) Whole(ctx context.Context) (bool, error) {
	have, err := b.lookUp(ctx)
	return len(have) == len(streamOrder), err
}

// absentFor is how long a cluster must say that a stream is not there before
// that is taken for true. While several processes make the streams of a new
// store at once, it says so for a moment of one that it has just made.
const absentFor = 5 * time.Second

// gone says, of a stream that a look did not find, that it does not exist any
// more.
func (b *Bus) gone(stream string, now time.Time) bool {
	since, _ := b.absent.LoadOrStore(stream, now)
	return b.srv != nil || now.Sub(since.(time.Time)) >= absentFor
}

// WhenFull says what it means that a stream is full.
func WhenFull(stream string) string { return whenFull[stream] }

var whenFull = map[string]string{
	StreamEvents:  "reading from the source stops until detection has caught up; the source keeps the rest",
	StreamCommits: "detection stops until the responders have caught up",
	StreamActions: "notices and containment cannot be journalled and stop; raise nats.max_bytes",
	StreamSnap:    "snapshots fail, so starts take longer and EVENTS is not cleared; raise nats.max_bytes",
	StreamQuar:    "the oldest parked records are dropped",
	StreamAudit:   "nothing more is written into the audit log; raise nats.max_bytes",
}
