package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/responders"
)

// Stream and subjects of the journal.
const (
	Stream   = "ACTIONS"
	Subjects = "act.>"
	prefix   = "act."
)

// Headers of a record. The id is repeated in clear beside the encoded subject
// so that a person reading the stream with other tools sees it.
const (
	headerPrev  = "Tw-Prev"  // hash of the record before it, zeros for the first
	headerSum   = "Tw-Sum"   // hash of this record
	headerNonce = "Tw-Nonce" // recognises our own record after a lost answer
)

// Options of OpenJetStream. The zero value is an embedded single server.
type Options struct {
	Replicas int   // copies of the stream; default 1
	MaxBytes int64 // disk budget in bytes; default 1 GiB
	// MaxAge is how long records are kept for audit; default 400 days.
	MaxAge time.Duration
	// PerHistory is how many records of one history are kept, the newest;
	// every record holds the whole state, so older ones are only audit.
	// Default 256.
	PerHistory int64
	// Timeout bounds one call to the server; default 5 s.
	Timeout time.Duration
}

// streamConfig is the configuration of the stream as OpenJetStream makes it.
//
// Direct gets are off: a follower may answer those with an older state, and
// the machine decides by what it reads. A full journal refuses new records
// (and so every new action) instead of forgetting old ones.
func streamConfig(o Options) jetstream.StreamConfig {
	o = o.defaults()
	return jetstream.StreamConfig{
		Name:              Stream,
		Description:       "what trailwarden asked for, decided, did and showed",
		Subjects:          []string{Subjects},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          o.MaxBytes,
		MaxAge:            o.MaxAge,
		MaxMsgsPerSubject: o.PerHistory,
		MaxMsgSize:        1 << 20,
		Replicas:          o.Replicas,
		DenyDelete:        true,
	}
}

func (o Options) defaults() Options {
	if o.Replicas <= 0 {
		o.Replicas = 1
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 400 * 24 * time.Hour
	}
	if o.PerHistory <= 0 {
		o.PerHistory = 256
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	return o
}

// JetStream is a Journal in a stream: a record is durable (as far as the
// stream is: fsync under sync always, a quorum in a cluster) when Append
// returns. It may be used from several goroutines and several processes.
type JetStream struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	timeout time.Duration
	publish func(ctx context.Context, msg *nats.Msg, expect uint64) (uint64, error)

	mu   sync.Mutex
	sums map[string]known // newest record of histories lately written, by subject
}

type known struct {
	seq uint64
	sum sum
}

// maxKnown bounds the cache of hashes; beyond it the record is read again.
const maxKnown = 4096

var (
	_ responders.Journal    = (*JetStream)(nil)
	_ responders.LastReader = (*JetStream)(nil)
	_ responders.Scanner    = (*JetStream)(nil)
	_ responders.Follower   = (*JetStream)(nil)
)

// OpenJetStream opens the stream ACTIONS, creating it when it is not there.
// A stream that is there keeps its settings, except that it must carry the
// journal's subjects.
func OpenJetStream(ctx context.Context, js jetstream.JetStream, o Options) (*JetStream, error) {
	o = o.defaults()
	s, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, streamConfig(o))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was first
			s, err = js.Stream(ctx, Stream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("journal: open stream %s: %w", Stream, err)
	}
	if cfg := s.CachedInfo().Config; !slices.Contains(cfg.Subjects, Subjects) {
		return nil, fmt.Errorf("journal: stream %s carries %q, not %s: it is not a journal of ours", Stream, cfg.Subjects, Subjects)
	}
	j := &JetStream{js: js, stream: s, timeout: o.Timeout, sums: map[string]known{}}
	j.publish = j.publishMsg
	return j, nil
}

func subject(kind, id string) string { return prefix + kind + "." + encodeID(id) }

func parseSubject(s string) (kind, id string, ok bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", "", false
	}
	kind, token, ok := strings.Cut(rest, ".")
	if !ok {
		return "", "", false
	}
	id, ok = decodeID(token)
	return kind, id, ok
}

func (j *JetStream) publishMsg(ctx context.Context, msg *nats.Msg, expect uint64) (uint64, error) {
	ack, err := j.js.PublishMsg(ctx, msg,
		jetstream.WithExpectStream(Stream),
		jetstream.WithExpectLastSequencePerSubject(expect))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Append implements responders.Journal. An answer that is lost is looked for:
// the same record is offered again, and when the server says that something
// came first, it is read to see whether that was ours. The error of an append
// whose fate stayed unknown (the server did not answer until ctx ended or
// several tries passed) is neither nil nor ErrConflict; the caller reads the
// history before it goes on.
func (j *JetStream) Append(ctx context.Context, kind, id string, data []byte, expect uint64) (uint64, error) {
	if err := check(kind, id, data); err != nil {
		return 0, err
	}
	subj := subject(kind, id)
	prev, err := j.sumAt(ctx, subj, expect)
	if err != nil {
		return 0, err
	}
	var nonce [12]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return 0, fmt.Errorf("journal: no randomness: %w", err)
	}
	own := link(prev, kind, id, data)
	msg := nats.NewMsg(subj)
	msg.Data = data
	msg.Header.Set(headerPrev, prev.String())
	msg.Header.Set(headerSum, own.String())
	msg.Header.Set(headerNonce, hex.EncodeToString(nonce[:]))

	const tries = 3
	for try := 1; ; try++ {
		tctx, cancel := context.WithTimeout(ctx, j.timeout)
		seq, err := j.publish(tctx, msg, expect)
		cancel()
		if err == nil {
			j.remember(subj, seq, own)
			return seq, nil
		}
		if conflict(err) {
			if try == 1 {
				return 0, responders.ErrConflict
			}
			// One of our earlier tries may be what came first.
			last, ok, rerr := j.lastMsg(ctx, subj)
			if rerr != nil {
				return 0, fmt.Errorf("journal: append to %s: outcome unknown: %w", subj, rerr)
			}
			if ok && last.Header.Get(headerNonce) == msg.Header.Get(headerNonce) {
				j.remember(subj, last.Sequence, own)
				return last.Sequence, nil
			}
			// Also when our record was stored and somebody has already built
			// on it: what the caller knows is not the newest either way.
			return 0, responders.ErrConflict
		}
		var api *jetstream.APIError
		if errors.As(err, &api) { // the server answered: nothing was stored
			return 0, fmt.Errorf("journal: append to %s: %w", subj, err)
		}
		if try == tries || ctx.Err() != nil {
			return 0, fmt.Errorf("journal: append to %s: outcome unknown: %w", subj, err)
		}
	}
}

func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
			api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// sumAt returns the hash of the record that the next one follows.
func (j *JetStream) sumAt(ctx context.Context, subj string, seq uint64) (sum, error) {
	if seq == 0 {
		return sum{}, nil
	}
	j.mu.Lock()
	k, ok := j.sums[subj]
	j.mu.Unlock()
	if ok && k.seq == seq {
		return k.sum, nil
	}
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	m, err := j.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject != subj {
		// The newest record of a history is never trimmed by count; what is
		// not there is not the newest.
		return sum{}, responders.ErrConflict
	}
	if err != nil {
		return sum{}, fmt.Errorf("journal: read %s at %d: %w", subj, seq, err)
	}
	s, err := parseSum(m.Header.Get(headerSum))
	if err != nil {
		return sum{}, fmt.Errorf("journal: %s at %d carries no hash: the journal was changed from outside; run audit verify", subj, seq)
	}
	return s, nil
}

func (j *JetStream) remember(subj string, seq uint64, s sum) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.sums[subj]; !ok && len(j.sums) >= maxKnown {
		for k := range j.sums { // any: it is only a cache
			delete(j.sums, k)
			break
		}
	}
	j.sums[subj] = known{seq, s}
}

func (j *JetStream) lastMsg(ctx context.Context, subj string) (*jetstream.RawStreamMsg, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	m, err := j.stream.GetLastMsgForSubject(ctx, subj)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("journal: read %s: %w", subj, err)
	}
	return m, true, nil
}

// next returns the first record of a history at or after seq, nil when none.
func (j *JetStream) next(ctx context.Context, subj string, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	m, err := j.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subj))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

// History implements responders.Journal.
func (j *JetStream) History(ctx context.Context, kind, id string) ([]responders.Entry, error) {
	if err := check(kind, id, nil); err != nil {
		return nil, err
	}
	subj := subject(kind, id)
	var out []responders.Entry
	for seq := uint64(1); ; {
		m, err := j.next(ctx, subj, seq)
		if err != nil {
			return nil, fmt.Errorf("journal: read %s from %d: %w", subj, seq, err)
		}
		if m == nil {
			return out, nil
		}
		out = append(out, responders.Entry{Seq: m.Sequence, Time: m.Time.UTC(), Data: m.Data})
		seq = m.Sequence + 1
	}
}

// Last implements responders.LastReader.
func (j *JetStream) Last(ctx context.Context, kind, id string) (responders.Entry, bool, error) {
	if err := check(kind, id, nil); err != nil {
		return responders.Entry{}, false, err
	}
	subj := subject(kind, id)
	m, ok, err := j.lastMsg(ctx, subj)
	if err != nil || !ok {
		return responders.Entry{}, false, err
	}
	if s, err := parseSum(m.Header.Get(headerSum)); err == nil {
		j.remember(subj, m.Sequence, s)
	}
	return responders.Entry{Seq: m.Sequence, Time: m.Time.UTC(), Data: m.Data}, true, nil
}

// IDs implements responders.Journal. It lists subjects and reads no record.
func (j *JetStream) IDs(ctx context.Context, kind string) ([]string, error) {
	if err := check(kind, "x", nil); err != nil {
		return nil, err
	}
	info, err := j.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+kind+".*"))
	if err != nil {
		return nil, fmt.Errorf("journal: list %s: %w", kind, err)
	}
	ids := make([]string, 0, len(info.State.Subjects))
	for s := range info.State.Subjects {
		if _, id, ok := parseSubject(s); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// EachLast implements responders.Scanner.
func (j *JetStream) EachLast(ctx context.Context, kind string, yield func(id string, e responders.Entry) error) error {
	if err := check(kind, "x", nil); err != nil {
		return err
	}
	return j.each(ctx, prefix+kind+".*", jetstream.DeliverLastPerSubjectPolicy, func(m jetstream.Msg, md *jetstream.MsgMetadata) error {
		_, id, ok := parseSubject(m.Subject())
		if !ok {
			return nil
		}
		return yield(id, responders.Entry{Seq: md.Sequence.Stream, Time: md.Timestamp.UTC(), Data: m.Data()})
	})
}

// Verify checks the hash chains of every history. It reads the whole stream.
func (j *JetStream) Verify(ctx context.Context) (Report, error) {
	var v verifier
	err := j.each(ctx, Subjects, jetstream.DeliverAllPolicy, func(m jetstream.Msg, md *jetstream.MsgMetadata) error {
		kind, id, ok := parseSubject(m.Subject())
		if !ok {
			v.report.Records++
			v.fail("", m.Subject(), md.Sequence.Stream, "a subject that the journal never writes")
			return nil
		}
		h := m.Headers()
		v.add(kind, id, md.Sequence.Stream, m.Data(), h.Get(headerPrev), h.Get(headerSum))
		return nil
	})
	return v.report, err
}

// each reads what the stream holds now under filter, in order. After a reset
// of the consumer a history may be seen again at a higher sequence.
func (j *JetStream) each(ctx context.Context, filter string, policy jetstream.DeliverPolicy, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	cons, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: policy})
	if err != nil {
		return fmt.Errorf("journal: read %s: %w", filter, err)
	}
	// The server would keep it for minutes, and a program that lists often
	// would have thousands.
	defer func() {
		if info := cons.CachedInfo(); info != nil {
			dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.timeout)
			defer cancel()
			_ = j.stream.DeleteConsumer(dctx, info.Name) // it ends by itself otherwise
		}
	}()
	info, err := cons.Info(ctx)
	if err != nil {
		return fmt.Errorf("journal: read %s: %w", filter, err)
	}
	if info.NumPending == 0 {
		return nil
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(512))
	if err != nil {
		return fmt.Errorf("journal: read %s: %w", filter, err)
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("journal: read %s: %w", filter, err)
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("journal: read %s: %w", filter, err)
		}
		if err := fn(m, md); err != nil {
			return err
		}
		if md.NumPending == 0 {
			return nil
		}
	}
}

// Follow implements responders.Follower. A lost connection or consumer is set
// up again; the newest record of every history is then met once more.
func (j *JetStream) Follow(ctx context.Context, kinds []string, yield func(kind, id string, e responders.Entry) error, caughtUp func()) error {
	filter := make([]string, len(kinds))
	for i, k := range kinds {
		if err := check(k, "x", nil); err != nil {
			return err
		}
		filter[i] = prefix + k + ".*"
	}
	said := false
	say := func() {
		if !said {
			said = true
			caughtUp()
		}
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		var mine error
		err := j.follow(ctx, filter, func(kind, id string, e responders.Entry) error {
			wait = 50 * time.Millisecond
			mine = yield(kind, id, e)
			return mine
		}, say)
		switch {
		case mine != nil:
			return mine
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrConnectionClosed):
			return fmt.Errorf("journal: follow: %w", err)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

func (j *JetStream) follow(ctx context.Context, filter []string, yield func(kind, id string, e responders.Entry) error, caughtUp func()) error {
	cons, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: filter,
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: time.Minute, MaxResetAttempts: 3})
	if err != nil {
		return err
	}
	info, err := cons.Info(ctx)
	if err != nil {
		return err
	}
	if info.NumPending == 0 {
		caughtUp()
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(256), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return err
		}
		if kind, id, ok := parseSubject(m.Subject()); ok {
			if err := yield(kind, id, responders.Entry{Seq: md.Sequence.Stream, Time: md.Timestamp.UTC(), Data: m.Data()}); err != nil {
				return err
			}
		}
		if md.NumPending == 0 {
			caughtUp()
		}
	}
}
