package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// Delivery is one message that a Reader hands out.
type Delivery struct {
	Message
	// Pending is how many more messages match the reader's filter.
	Pending uint64
}

// Reader reads a stream in order from a sequence, over reconnects and leader
// changes, without acknowledgements. For one goroutine.
type Reader struct {
	b       *Bus
	stream  string
	filter  []string
	next    uint64
	batch   int
	made    time.Time     // when the stream was, that is read
	look    time.Duration // how long nothing comes until it is looked for
	iter    jetstream.MessagesContext
	waiting time.Duration
}

// NewReader reads messages with a sequence of at least from that match one of
// the subject filters. batch bounds how many are in flight towards us.
func (b *Bus) NewReader(stream string, from uint64, batch int, filter ...string) *Reader {
	return &Reader{b: b, stream: stream, filter: filter, next: max(from, 1), batch: max(batch, 1), look: 10 * time.Second}
}

// Next waits for the next message until ctx ends. Lost connections, deleted
// consumers and leader changes are waited out; the sequence goes on where it
// was. Errors other than ctx's mean that reading cannot go on (ErrClosed,
// ErrDamaged: the stream is gone, ErrGone, or was made again, so that the
// sequence means nothing any more).
func (r *Reader) Next(ctx context.Context) (Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Delivery{}, err
		}
		if r.b.closed.Load() {
			return Delivery{}, ErrClosed
		}
		if r.iter == nil {
			if err := r.open(ctx); err != nil {
				return Delivery{}, err
			}
		}
		within, cancel := context.WithTimeout(ctx, r.look)
		m, err := r.iter.Next(jetstream.NextContext(within))
		idle := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && idle {
			// The library sets reading up again by itself, also on a stream that
			// was deleted and made again, where nothing comes for long.
			if err := r.b.retry(ctx, func(ctx context.Context) error { _, err := r.find(ctx); return err }); errors.Is(err, ErrDamaged) || errors.Is(err, jetstream.ErrStreamNotFound) {
				return Delivery{}, wrap("bus: reading "+r.stream, err)
			}
			continue
		}
		if err == nil {
			var meta *jetstream.MsgMetadata
			if meta, err = m.Metadata(); err == nil {
				r.waiting = 0
				if meta.Sequence.Stream < r.next {
					continue // an old consumer's message; ours go up
				}
				r.next = meta.Sequence.Stream + 1
				return Delivery{
					Message: Message{Subject: m.Subject(), Seq: meta.Sequence.Stream, ID: m.Headers().Get(jetstream.MsgIDHeader), Time: meta.Timestamp, Data: m.Data(), Trace: m.Headers().Get(trace.Header)},
					Pending: meta.NumPending,
				}, nil
			}
		}
		if ctx.Err() != nil {
			return Delivery{}, ctx.Err()
		}
		if r.b.closed.Load() {
			return Delivery{}, ErrClosed
		}
		r.Stop()
		r.waiting = min(max(r.waiting*2, 50*time.Millisecond), 2*time.Second)
		r.b.log.Debug("reading is set up again", "stream", r.stream, "from", r.next, "error", err)
		if err := pause.For(ctx, r.waiting); err != nil {
			return Delivery{}, err
		}
	}
}

// find looks the stream up, and whether it is the one that was read before.
func (r *Reader) find(ctx context.Context) (jetstream.Stream, error) {
	s, err := r.b.rjs.Stream(ctx, r.stream)
	if err != nil {
		return nil, err
	}
	if made := s.CachedInfo().Created; r.made.IsZero() {
		r.made = made
	} else if !made.Equal(r.made) {
		return nil, fmt.Errorf("%w: the stream was deleted and made again", ErrDamaged)
	}
	return s, nil
}

func (r *Reader) open(ctx context.Context) error {
	err := r.b.retry(ctx, func(ctx context.Context) error {
		// A new consumer at our own position instead of the library's
		// resets: these give up in some states, and this loop does not.
		s, err := r.find(ctx)
		if err != nil {
			return err
		}
		c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			FilterSubjects:    r.filter,
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       r.next,
			InactiveThreshold: time.Minute,
			MaxResetAttempts:  3,
		})
		if err != nil {
			return err
		}
		// A consumer lives on one server. When that one is gone without a
		// word, two missing heartbeats tell, and reading is set up elsewhere.
		r.iter, err = c.Messages(jetstream.PullMaxMessages(r.batch), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(2*time.Second))
		return err
	})
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return wrap(fmt.Sprintf("bus: reading %s from %d", r.stream, r.next), err)
	}
	return nil
}

// Stop ends the reader; Next would set it up again.
func (r *Reader) Stop() {
	if r.iter != nil {
		r.iter.Stop()
		r.iter = nil
	}
}
