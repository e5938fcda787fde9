package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// Publish is one message to be stored.
type Publish struct {
	Stream, Subject string
	// ID makes a resend recognisable: a function of the content, never
	// random.
	ID   string
	Data []byte
	// Expect is the last sequence that the writer knows on Subject; 0 means
	// that there is none. Fenced makes the server check it.
	Expect uint64
	Fenced bool
	// Rollup replaces all earlier messages of the subject.
	Rollup bool
}

// maxTries bounds the resends of one Publish. With a publish time-out of 5 s it
// is over half a minute, longer than an election in a cluster.
const maxTries = 7

// Publish stores a message and returns its stream sequence. It resends the same
// message while the outcome is unknown. A fenced message is stored at most once
// ever: when the server says that the place is taken, the last message of the
// subject is read back, and if it is this one, an earlier attempt had succeeded.
// If it is still the expected one the place is not taken, and the message is sent
// again.
//
// The message carries the trace of ctx, if it is sampled.
//
// Errors: ErrFenced, ErrBackpressure, ErrTooLarge, ErrDamaged, ErrDenied, ErrUnknown after
// all resends, or ctx's own.
func (b *Bus) Publish(ctx context.Context, p Publish) (uint64, error) {
	msg := &nats.Msg{Subject: p.Subject, Data: p.Data, Header: nats.Header{}}
	opts := make([]jetstream.PublishOpt, 0, 4)
	opts = append(opts, jetstream.WithExpectStream(p.Stream), jetstream.WithRetryAttempts(0))
	if p.ID != "" {
		opts = append(opts, jetstream.WithMsgID(p.ID))
	}
	if p.Fenced {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(p.Expect))
	}
	if p.Rollup {
		msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	}
	if t := trace.Of(ctx); t != "" {
		msg.Header.Set(trace.Header, t)
	}
	var last error
	wait := 20 * time.Millisecond
	for try := range maxTries {
		if try > 0 {
			if err := pause.For(ctx, wait); err != nil {
				return 0, fmt.Errorf("bus: publishing to %s: %w: %w: %w", p.Stream, ErrUnknown, err, last)
			}
			wait = min(wait*3, 2*time.Second)
		}
		attempt, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
		ack, err := b.js.PublishMsg(attempt, msg, opts...)
		cancel()
		if err == nil {
			b.silent.Store(0)
			return ack.Sequence, nil
		}
		if b.closed.Load() {
			return 0, fmt.Errorf("bus: publishing to %s: %w", p.Stream, ErrClosed)
		}
		kind, again := classify(err)
		switch {
		case errors.Is(kind, ErrFenced):
			b.silent.Store(0)
			seq, mine, rerr := b.readBack(ctx, p)
			if rerr != nil {
				return 0, fmt.Errorf("bus: publishing to %s: %w: reading back: %w", p.Stream, ErrUnknown, rerr)
			}
			if mine {
				return seq, nil
			}
			if seq == 0 && p.Expect != 0 || seq > p.Expect {
				return 0, fmt.Errorf("bus: publishing to %s after %d: %w (the last one is %d)", p.Subject, p.Expect, ErrFenced, seq)
			}
			// Nobody has written after Expect. The servers of a cluster also
			// refuse while an earlier attempt of ours waits for the others
			// to agree to it, and a leader that has just been elected while
			// it has yet to catch up with what was agreed before.
			last = err
			continue
		case errors.Is(kind, ErrBackpressure):
			b.full.Store(p.Stream, time.Now().UnixNano())
			return 0, wrap("bus: publishing to "+p.Stream, err)
		case !again:
			return 0, wrap("bus: publishing to "+p.Stream, err)
		}
		if err := b.forbidden(p.Subject); err != nil {
			return 0, fmt.Errorf("bus: publishing to %s: %w", p.Stream, err)
		}
		b.silent.Add(1)
		if try >= 2 {
			b.stepDown(ctx, p.Stream)
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("bus: publishing to %s: %w: %w", p.Stream, ErrUnknown, ctx.Err())
	}
	return 0, fmt.Errorf("bus: publishing to %s: %w after %d attempts: %w", p.Stream, ErrUnknown, maxTries, last)
}

// readBack says which sequence the subject ends with, and whether that
// message is p.
func (b *Bus) readBack(ctx context.Context, p Publish) (seq uint64, mine bool, err error) {
	m, err := b.Last(ctx, p.Stream, p.Subject)
	if errors.Is(err, ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return m.Seq, m.ID == p.ID && bytes.Equal(m.Data, p.Data), nil
}

// stepDownEvery bounds how often a stream's leader is asked to give way.
const stepDownEvery = 20 * time.Second

// stepDown asks the leader of a stream to give way, after several messages in a
// row got no answer though the connection holds: a server whose disk is full or
// fails keeps the lead and stores nothing. Where the leader was only slow, an
// election costs a second and loses nothing. It asks each stream's leader at most
// once in stepDownEvery.
func (b *Bus) stepDown(ctx context.Context, stream string) {
	if b.srv != nil || b.cfg.Replicas < 2 || b.nc.Status() != nats.CONNECTED {
		return
	}
	now := time.Now()
	if old, ok := b.stepped.Load(stream); ok && now.Sub(old.(time.Time)) < stepDownEvery {
		return
	}
	b.stepped.Store(stream, now)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	b.log.Warn("a stream's leader stores nothing and was asked to give way; look at its disk", "stream", stream, "error", err)
}
