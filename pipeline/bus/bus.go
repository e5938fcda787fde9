package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// Bus is an open store. Safe for concurrent use.
type Bus struct {
	cfg        Config
	log        *slog.Logger
	partitions int
	budget     int64

	srv     *server.Server // nil on a cluster
	release func()
	nc      *nats.Conn // publishes and requests
	rc      *nats.Conn // deliveries, so that acknowledgements do not queue behind frames
	js      jetstream.JetStream
	rjs     jetstream.JetStream

	streams sync.Map // name to jetstream.Stream

	closed  atomic.Bool
	audited atomic.Bool // see Audited
	once    sync.Once

	// Of the embedded server: how it is asked for its health and made to end,
	// which a test replaces, since both may take for ever.
	healthz     func() (ok bool, text string)
	endServer   func()
	closeWithin time.Duration
	asking      sync.Mutex // over question, nil when nothing is asked
	question    *question

	// full holds, per stream, when it last refused a message for its limits
	// (unix nanoseconds).
	full    sync.Map
	absent  sync.Map // stream: time.Time since which the server says that it is not there
	stepped sync.Map // stream: time.Time of the last request that its leader gives way
	// silent counts publishes that ran out of time since the last answer.
	silent atomic.Int64
	// denied is what the server last said about a missing permission.
	denied atomic.Pointer[string]
}

func (b *Bus) noteDenied(err error) {
	text := err.Error()
	b.denied.Store(&text)
}

// forbidden says whether the server has refused this subject to us.
func (b *Bus) forbidden(subject string) error {
	if text := b.denied.Load(); text != nil && strings.Contains(*text, `"`+subject+`"`) {
		return fmt.Errorf("%w: %s", ErrDenied, *text)
	}
	return nil
}

// Open starts the embedded server on cfg.Dir, or connects to cfg.URL, and makes
// or verifies the streams. It refuses, with an error that says what to do: a
// directory that another process holds (ErrLocked), a store of which streams
// are missing (ErrDamaged), streams with other settings or another partition
// count (ErrDrift).
func Open(ctx context.Context, cfg Config) (_ *Bus, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg, log: cfg.Logger, closeWithin: closeWithin}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	var mark *marker
	if cfg.URL == "" {
		if mark, err = b.openEmbedded(); err != nil {
			return nil, err
		}
	} else if err = b.connectExternal(ctx); err != nil {
		return nil, err
	}
	// On a slow disk a stream is made in seconds.
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(startWithin)); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	if b.rjs, err = jetstream.New(b.rc); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	if b.partitions, err = b.awaitStreams(ctx, mark); err != nil {
		return nil, err
	}
	if cfg.URL == "" && mark == nil {
		if err = writeMarker(cfg.Dir, marker{Layout: layout, Partitions: b.partitions, Streams: streamOrder, Made: time.Now().UTC()}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Bus) openEmbedded() (*marker, error) {
	release, err := lockDir(b.cfg.Dir)
	if err != nil {
		return nil, err
	}
	b.release = release
	mark, err := readMarker(b.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := healSums(b.cfg.Dir, b.log); err != nil {
		return nil, err
	}
	if err := sweepProbes(b.cfg.Dir, b.log); err != nil {
		return nil, err
	}
	room := freeBytes(b.cfg.Dir)
	if room >= 0 {
		room += diskUse(b.cfg.Dir)
	}
	if b.budget, err = b.cfg.budget(room); err != nil {
		return nil, err
	}
	if b.srv, err = startServer(b.cfg.Dir, max(room, b.budget), b.log); err != nil {
		return nil, err
	}
	b.healthz = func() (bool, string) { return serverHealth(b.srv) }
	b.endServer = func() { b.srv.Shutdown(); b.srv.WaitForShutdown() }
	for _, c := range []**nats.Conn{&b.nc, &b.rc} {
		*c, err = nats.Connect("", b.cfg.inProcessOptions(b.srv, b.noteDenied)...)
		if err != nil {
			return nil, fmt.Errorf("bus: connecting in process: %w", err)
		}
	}
	return mark, nil
}

// sayAfter is how long a start waits for a server before it says so.
const sayAfter = 5 * time.Second

// connect reaches a server of nats.url. One that does not answer is tried again
// until connectWithin has passed, which is said. What is refused for what we are
// stays refused.
func (b *Bus) connect(ctx context.Context, opts []nats.Option) (*nats.Conn, error) {
	end := time.Now().Add(b.cfg.connectWithin)
	for try := 0; ; try++ {
		nc, err := nats.Connect(b.cfg.URL, opts...)
		if err == nil || errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), "tls: ") {
			return nc, wrap("bus: connecting to nats.url", err)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("bus: no server of nats.url (%s) could be reached within %s: %w: start it, or correct nats.url", b.cfg.URL, b.cfg.connectWithin, err)
		}
		if try%15 == 0 {
			b.log.Warn("waiting for a server of nats.url, for "+b.cfg.connectWithin.String()+" at most", "url", b.cfg.URL, "error", err)
		}
		if err := pause.For(ctx, min(time.Second, b.cfg.connectWithin/4)); err != nil {
			return nil, err
		}
	}
}

// awaitStreams is ensureStreams, which on a cluster goes on asking while nobody
// answers: no longer than connectWithin, and not without a word.
func (b *Bus) awaitStreams(ctx context.Context, mark *marker) (int, error) {
	if b.srv != nil {
		return b.ensureStreams(ctx, mark, b.budget)
	}
	say := time.AfterFunc(min(sayAfter, b.cfg.connectWithin/2), func() {
		b.log.Warn("waiting for JetStream: a server of nats.url is there, but does not say yet which streams it has")
	})
	defer say.Stop()
	within, cancel := context.WithTimeout(ctx, b.cfg.connectWithin)
	defer cancel()
	n, err := b.ensureStreams(within, mark, b.budget)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return 0, fmt.Errorf("bus: JetStream of nats.url has not answered within %s: %w: switch it on for this account (jetstream in the server's configuration); of its servers most must be up", b.cfg.connectWithin, err)
	}
	return n, err
}

func (b *Bus) connectExternal(ctx context.Context) error {
	b.budget = b.cfg.MaxBytes
	if b.budget == 0 {
		b.budget = defaultBudget
	}
	opts, err := b.cfg.externalOptions(b.noteDenied)
	if err != nil {
		return err
	}
	for _, c := range []**nats.Conn{&b.nc, &b.rc} {
		if *c, err = b.connect(ctx, opts); err != nil {
			return err
		}
	}
	if p := b.nc.MaxPayload(); p < maxPayload {
		return fmt.Errorf("bus: %w: max_payload of %s is %d bytes, frames need %d: raise max_payload on every server of the cluster", ErrTooLarge, b.nc.ConnectedServerName(), p, maxPayload)
	}
	return nil
}

// Partitions is the count fixed when the streams were made.
func (b *Bus) Partitions() int { return b.partitions }

// Embedded says whether the server runs in this process.
func (b *Bus) Embedded() bool { return b.srv != nil }

// JetStream is for packages that keep records of their own in a stream made
// here (the journal in ACTIONS). Use Publish for what must be fenced.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Logger is the one given in Config.
func (b *Bus) Logger() *slog.Logger { return b.log }

// closeWithin is how long the embedded server may take to end: less than
// supervisors wait (deploy has 30 s), and much more than it needs.
const closeWithin = 15 * time.Second

// Close ends connections and the embedded server, and gives the directory
// free. Everything acknowledged is already on the disk; callers stop first.
// A server that does not end is left alone after closeWithin, and the directory
// stays locked until the process ends, which it can then: on a full disk the
// server was seen to wait for a lock that it holds itself, for ever.
func (b *Bus) Close() {
	b.once.Do(func() {
		b.closed.Store(true)
		for _, c := range []*nats.Conn{b.rc, b.nc} {
			if c != nil {
				c.Close()
			}
		}
		if b.srv != nil {
			ended := make(chan struct{})
			go func() { b.endServer(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(b.closeWithin):
				b.log.Error("the embedded server does not end; what it acknowledged is on the disk, and the directory stays locked until this process ends", "dir", b.cfg.Dir, "waited", b.closeWithin.String())
				return
			}
		}
		if b.release != nil {
			b.release()
		}
	})
}

// Message is one stored message.
type Message struct {
	Subject string
	Seq     uint64
	ID      string // Nats-Msg-Id
	Time    time.Time
	Data    []byte
	Trace   string // what it was stored for, see pipeline/trace; usually empty
}

func fromRaw(m *jetstream.RawStreamMsg) Message {
	return Message{Subject: m.Subject, Seq: m.Sequence, ID: m.Header.Get(nats.MsgIdHdr), Time: m.Time, Data: m.Data, Trace: m.Header.Get(trace.Header)}
}

// Last returns the last message on a subject, or ErrNotFound.
func (b *Bus) Last(ctx context.Context, stream, subject string) (Message, error) {
	return b.get(ctx, stream, subject, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, subject)
	})
}

// At returns the message with a sequence, or ErrNotFound. Who acts on an absence
// asks Kept.
func (b *Bus) At(ctx context.Context, stream string, seq uint64) (Message, error) {
	return b.get(ctx, stream, strconv.FormatUint(seq, 10), func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, seq)
	})
}

// Kept is At for a message on a subject (a filter) that loses messages only at
// its beginning. It returns ErrNotFound when the subject begins later, or when
// the absence is Sure.
func (b *Bus) Kept(ctx context.Context, stream, subject string, seq uint64) (Message, error) {
	var m Message
	var absent error
	err := b.Sure(ctx, func(ctx context.Context) (bool, error) {
		if m, absent = b.At(ctx, stream, seq); !errors.Is(absent, ErrNotFound) {
			return false, absent
		}
		first, err := b.get(ctx, stream, subject, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
			return s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
		})
		if errors.Is(err, ErrNotFound) {
			return true, nil
		}
		return first.Seq <= seq, err // a server that is behind knows no later beginning
	})
	if err == nil {
		err = absent
	}
	return m, err
}

// doubtFor is how long an absence is in doubt. A leader that is cut off from the
// others goes on answering from what it had: nats-server's raft looks every 10 s
// whether it has heard of them within 10 s, and only then gives up the lead. Joined
// again before that, it answers beside the new leader until it hears of it.
const doubtFor = 25 * time.Second

// Sure looks for something that should be stored, once where one server has the
// stream. In a cluster it looks again while that is missing, until it is longer
// since the first such answer than a server without the lead can give one. The
// last look is what is sure.
func (b *Bus) Sure(ctx context.Context, look func(context.Context) (missing bool, err error)) error {
	var end time.Time // counted from an answer: none may come for as long as it likes
	for wait := 50 * time.Millisecond; ; wait = min(wait*2, 2*time.Second) {
		missing, err := look(ctx)
		if err != nil || !missing || b.cfg.Replicas < 2 {
			return err
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(doubtFor)
		}
		if now.After(end) {
			return nil
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

// get asks the leader; a lost answer is asked for again until ctx ends. what says
// what is looked for.
func (b *Bus) get(ctx context.Context, stream, what string, ask func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)) (Message, error) {
	var m *jetstream.RawStreamMsg
	err := b.retry(ctx, func(ctx context.Context) error {
		s, err := b.handle(ctx, stream)
		if err != nil {
			return err
		}
		m, err = ask(ctx, s)
		return err
	})
	if err != nil {
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return Message{}, fmt.Errorf("%s %s: %w", stream, what, ErrNotFound)
		}
		return Message{}, wrap("bus: reading "+stream, err)
	}
	return fromRaw(m), nil
}

// handle returns the handle of a stream, looked up once.
func (b *Bus) handle(ctx context.Context, stream string) (jetstream.Stream, error) {
	if v, ok := b.streams.Load(stream); ok {
		return v.(jetstream.Stream), nil
	}
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	b.streams.Store(stream, s)
	return s, nil
}

// State is what a stream holds.
type State struct {
	Msgs, Bytes, MaxBytes, First, Last uint64
}

// State asks the server for a stream's state.
func (b *Bus) State(ctx context.Context, stream string) (State, error) {
	var info *jetstream.StreamInfo
	err := b.retry(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, stream)
		if err == nil {
			info = s.CachedInfo()
		}
		return err
	})
	if err != nil {
		return State{}, wrap("bus: state of "+stream, err)
	}
	return State{
		Msgs: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: uint64(max(info.Config.MaxBytes, 0)),
		First: info.State.FirstSeq, Last: info.State.LastSeq,
	}, nil
}

// PurgeSubject removes the messages of one subject below seq.
func (b *Bus) PurgeSubject(ctx context.Context, stream, subject string, seq uint64) error {
	if seq <= 1 {
		return nil
	}
	err := b.retry(ctx, func(ctx context.Context) error {
		s, err := b.handle(ctx, stream)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(seq))
	})
	return wrap("bus: purging "+stream, err)
}

// retry repeats a request whose answer was lost. The request must be safe to
// repeat.
func (b *Bus) retry(ctx context.Context, do func(context.Context) error) error {
	wait := 50 * time.Millisecond
	for {
		try, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
		err := do(try)
		cancel()
		if err == nil {
			return nil
		}
		if b.closed.Load() {
			return ErrClosed
		}
		if _, again := classify(err); !again {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(wait*2, 2*time.Second)
	}
}
