package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// ErrStopping is returned by Store when the pipeline is being shut down.
var ErrStopping = errors.New("ingest is stopping")

// IngesterConfig is how an Ingester works. Bus is needed.
type IngesterConfig struct {
	Bus *bus.Bus
	// TickAfter is how long a partition must have been quiet before a tick
	// is written that lets waiting work go on (default 5 s; at least the
	// engine's IdleAfter, or the tick comes too early to have an effect).
	TickAfter time.Duration
	// IdleTick is how often a partition that receives nothing is ticked all
	// the same, so that absences are noticed (default 5 min; negative never).
	IdleTick time.Duration
	// Behind says, of a source, which shards have more to give; nil says that
	// none has.
	Behind func(source string) []int
	// Settled is the time up to which everything that the sources held is
	// stored (source.Origin, the least of all); nil says that it is now.
	Settled func() time.Time
	// Tracer begins a trace with every page; nil traces nothing.
	Tracer *trace.Tracer
	Logger *slog.Logger
}

// unsettledFor is how long a source that is silent, or still at work on a page,
// keeps waiting work waiting.
const unsettledFor = 2 * time.Minute

// Ingester makes pages durable: it implements source.Sink.
type Ingester struct {
	cfg IngesterConfig
	b   *bus.Bus
	log *slog.Logger
	n   int

	born time.Time

	gate   sync.RWMutex // Store holds it for reading, Close for writing
	closed bool
	hold   atomic.Bool // EVENTS is nearly full

	mu     sync.Mutex
	shards map[string]*shardState
	parts  []partClock
	// sure is the clock when the sources last answered (see Tick), noted that as the
	// monotonic clock had it.
	sure, noted time.Time

	stats ingestCounters
}

var _ source.Sink = (*Ingester)(nil)

// partClock says when a partition needs a tick, whichever shard feeds it.
type partClock struct {
	fed     bool      // any frame ever
	waiting bool      // records since the last tick
	records time.Time // stamp of the last records
	last    time.Time // stamp of the last frame of any kind
}

type ingestCounters struct {
	pages, records, repeated, parked, frames, ticks, bytes, skips, refused atomic.Uint64
}

// IngestStats are totals since the start of the process.
type IngestStats struct {
	Pages    uint64 // stored
	Records  uint64 // stored in frames
	Repeated uint64 // left out because they were stored already
	Parked   uint64 // put into quarantine
	Frames   uint64
	Ticks    uint64
	Bytes    uint64 // of records
	Skips    uint64 // pages that began after the last position: the source left something out
	Refused  uint64 // pages refused for lack of room
}

// shardState is what is known of one source shard. Its lock is held for a
// whole Store: a shard has one page at a time.
type shardState struct {
	mu     sync.Mutex
	source string
	shard  int
	token  string
	// known is false until the state was read from the stream, and after
	// any failure: what is stored then is for the stream to say.
	known    bool
	position string
	page     uint64
	parts    []partState
	ahead    *aheadSet

	parser event.Parser
	ev     event.Event
}

type partState struct {
	counter uint64 // of frames of this shard
	seq     uint64 // stream sequence of the last one
	reach   string // furthest To of any
}

// NewIngester returns an ingester on a bus.
func NewIngester(cfg IngesterConfig) *Ingester {
	if cfg.TickAfter <= 0 {
		cfg.TickAfter = 5 * time.Second
	}
	if cfg.IdleTick == 0 {
		cfg.IdleTick = 5 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = cfg.Bus.Logger()
	}
	n, now := cfg.Bus.Partitions(), time.Now()
	return &Ingester{cfg: cfg, b: cfg.Bus, log: cfg.Logger, n: n, born: now, sure: now.Round(0), noted: now, shards: map[string]*shardState{}, parts: make([]partClock, n)}
}

func (in *Ingester) shard(src string, shard int) *shardState {
	token := bus.ShardToken(src, shard)
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.shards[token]
	if s == nil {
		s = &shardState{source: strings.Clone(src), shard: shard, token: token}
		in.shards[token] = s
	}
	return s
}

// Position returns the To of the last page of a shard that is durable whole, ""
// when there is none. It always asks the stream: who asks has yet to read the
// shard, or has it back, and another process may have stored pages of it since.
// Part of source.Sink.
func (in *Ingester) Position(ctx context.Context, src string, shard int) (string, error) {
	s := in.shard(src, shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = false
	if err := in.recoverShard(ctx, s); err != nil {
		return "", fmt.Errorf("position of %s shard %d: %w", src, shard, err)
	}
	return s.position, nil
}

// Store makes a page durable. It returns nil only when every record is in a
// frame or in quarantine on the disk. After an error (bus.ErrBackpressure: no
// room; bus.ErrFenced: another process reads this shard; bus.ErrUnknown: no
// answer) the same page, or one that covers it, is to be stored again; what
// was stored of it is not stored twice. Part of source.Sink.
func (in *Ingester) Store(ctx context.Context, p source.Page) error {
	in.gate.RLock()
	defer in.gate.RUnlock()
	if in.closed {
		return ErrStopping
	}
	if in.hold.Load() {
		in.stats.refused.Add(1)
		return fmt.Errorf("store page of %s shard %d: EVENTS is nearly full: %w", p.Source, p.Shard, bus.ErrBackpressure)
	}
	s := in.shard(p.Source, p.Shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, span := in.cfg.Tracer.Start(ctx, "store page", trace.Str("trailwarden.source", p.Source), trace.Int("trailwarden.shard", p.Shard),
		trace.Str("trailwarden.from", p.From), trace.Str("trailwarden.to", p.To))
	_, err := in.storeLocked(ctx, s, p, nil)
	span.End(err)
	if err != nil {
		s.known = false
		if errors.Is(err, bus.ErrBackpressure) {
			in.stats.refused.Add(1)
		}
		return fmt.Errorf("store page of %s shard %d: %w", p.Source, p.Shard, err)
	}
	in.stats.pages.Add(1)
	return nil
}

// bad is a record that goes into quarantine instead of a frame.
type bad struct {
	raw         []byte
	time        int64 // of its log; 0 is not known, or counted already
	reason, msg string
	stack       string
}

// part is what of a page goes to one partition.
type part struct {
	records [][]byte
	times   []int64 // nil when the source does not say
}

// count adds a log to a tally.
func count(tally map[int64]uint64, at int64) {
	if at > 0 {
		tally[at/bus.TallySpan]++
	}
}

// tallied is a tally as a frame carries it.
func tallied(m map[int64]uint64) []bus.Tally {
	var out []bus.Tally
	for _, span := range slices.Sorted(maps.Keys(m)) {
		if len(out) == bus.MaxTally {
			break // more than a week in one page: no clock says that
		}
		out = append(out, bus.Tally{Span: span, Count: m[span]})
	}
	return out
}

// repair says of a page that it is read for the second time.
type repair struct {
	origin    string // source and shard of the records
	partition int    // that lost them
	gap       string // of which this is the last page
}

// storeLocked is Store with the shard's lock held; it says how many records it put
// into frames.
func (in *Ingester) storeLocked(ctx context.Context, s *shardState, p source.Page, rep *repair) (stored int, err error) {
	if !s.known {
		if err := in.recoverShard(ctx, s); err != nil {
			return 0, err
		}
	}
	if p.Received.IsZero() {
		p.Received = time.Now()
	}
	p.Received = p.Received.UTC()
	if err := in.prepareAhead(ctx, s, p); err != nil {
		return 0, err
	}
	failpoint.Hit(failpoint.IngestPulled)
	groups, poison, repeated := in.split(s, p)
	if rep != nil {
		poison = nil // parked before the frames that were lost
	}
	tally := map[int64]uint64{} // of parked logs: they are in no frame
	for _, b := range poison {
		fresh, err := in.b.Park(ctx, bus.Parked{
			Reason: b.reason, Partition: -1, Source: s.source, Shard: s.shard, From: p.From, To: p.To,
			Received: p.Received, Message: b.msg, Stack: b.stack, Raw: b.raw,
		})
		if err != nil {
			return 0, err
		}
		count(tally, b.time)
		if fresh {
			in.stats.parked.Add(1)
			in.log.Warn("record parked", "reason", b.reason, "source", s.source, "shard", s.shard, "bytes", len(b.raw), "why", b.msg)
		}
	}
	if stored, err = in.publishPage(ctx, s, p, groups, tally, rep); err != nil {
		return 0, err
	}
	failpoint.Hit(failpoint.IngestStored)
	in.stats.repeated.Add(uint64(repeated))
	s.ahead.passed(p.To)
	if s.ahead.done() {
		s.ahead = nil
	}
	return stored, nil
}

// split parses records for their account and groups them by partition; what
// cannot be parsed, or does not fit a message, comes back apart.
func (in *Ingester) split(s *shardState, page source.Page) (groups []part, poison []bad, repeated int) {
	groups = make([]part, in.n)
	var at int64 // of the log, until its first record has counted it
	counted := func() int64 {
		t := at
		at = 0
		return t
	}
	one := func(rec []byte) bool {
		if reason, msg, stack := s.parse(rec); reason != "" {
			poison = append(poison, bad{rec, counted(), reason, msg, stack})
			return true
		}
		if s.ahead.take(rec) {
			repeated++
			return true
		}
		if len(rec) > bus.MaxBody && !bus.Fits(rec) {
			poison = append(poison, bad{raw: rec, time: counted(), reason: string(event.ReasonTooLarge), msg: "does not fit a message even compressed"})
			return true
		}
		g := &groups[event.Partition(s.ev.Recipient, in.n)]
		g.records = append(g.records, rec)
		if page.Times != nil {
			g.times = append(g.times, counted())
		}
		return true
	}
	for i, rec := range page.Records {
		if at = 0; i < len(page.Times) {
			at = page.Times[i]
		}
		if err := event.Unwrap(rec, one); err != nil {
			reason, msg := reasonOf(err)
			poison = append(poison, bad{raw: rec, time: counted(), reason: reason, msg: msg})
		}
	}
	return groups, poison, repeated
}

func reasonOf(err error) (reason, msg string) {
	var pe *event.ParseError
	if errors.As(err, &pe) {
		return string(pe.Reason), pe.Error()
	}
	return "unreadable", err.Error()
}

// parse fills s.ev, or says why it cannot. The parser is not known to panic;
// if it does, that is one record's misfortune and not the shard's.
func (s *shardState) parse(rec []byte) (reason, msg, stack string) {
	defer func() {
		if r := recover(); r != nil {
			reason, msg, stack = "panic", fmt.Sprint(r), string(debug.Stack())
		}
	}()
	if err := s.parser.Parse(rec, &s.ev); err != nil {
		reason, msg = reasonOf(err)
	}
	return reason, msg, ""
}

// publishPage writes the page's frames, or a Mark where there is none, and
// moves the shard's state when all are durable. It returns the number of records in
// the frames.
func (in *Ingester) publishPage(ctx context.Context, s *shardState, p source.Page, groups []part, parked map[int64]uint64, rep *repair) (int, error) {
	frames := make([][]*bus.Frame, in.n)
	touched, bytes, records := 0, 0, 0
	for part, g := range groups {
		if rep != nil && part != rep.partition {
			continue // the others have theirs
		}
		recs, times := g.records, g.times
		for len(recs) > 0 {
			k, size := 0, 0
			for k < len(recs) && k < bus.MaxRecords && (k == 0 || size+len(recs[k]) <= bus.MaxBody) {
				size += len(recs[k])
				k++
			}
			f := &bus.Frame{Kind: bus.Data, Records: recs[:k]}
			if times != nil {
				m := map[int64]uint64{}
				for _, at := range times[:k] {
					count(m, at)
				}
				f.Tally, times = tallied(m), times[k:]
			}
			frames[part] = append(frames[part], f)
			recs = recs[k:]
			bytes += size
			records += k
		}
		if len(frames[part]) > 0 {
			touched++
		}
	}
	if touched == 0 {
		// Nothing for us in it. The position moves all the same, unless the
		// page lies before what is stored.
		if p.To == s.position || before(p.To, s.position) {
			return 0, nil
		}
		part := int(s.token[0]) % in.n
		if rep != nil {
			part = rep.partition
		}
		frames[part] = []*bus.Frame{{Kind: bus.Mark}}
	}
	if rep != nil {
		for _, f := range frames[rep.partition] {
			f.Origin = rep.origin
		}
		frames[rep.partition][len(frames[rep.partition])-1].Repairs = rep.gap
	}
	if len(parked) > 0 {
		for _, fs := range frames {
			if len(fs) > 0 {
				for _, t := range fs[0].Tally {
					parked[t.Span] += t.Count
				}
				fs[0].Tally = tallied(parked)
				break
			}
		}
	}
	if s.position != "" && later(p.From, s.position) {
		in.stats.skips.Add(1)
		in.log.Error("the source skipped records: a page begins after the last stored position", "source", s.source, "shard", s.shard, "position", s.position, "from", p.From)
	}
	if err := in.publishFrames(ctx, s, p.From, p.To, p.Received, frames); err != nil {
		return 0, err
	}
	in.stats.bytes.Add(uint64(bytes))
	in.stats.records.Add(uint64(records))
	if s.position == "" || !before(p.To, s.position) {
		s.position = strings.Clone(p.To)
	}
	return records, nil
}

// publishFrames writes frames as one page: partitions side by side, the frames
// of one partition one after the other, each after the last.
func (in *Ingester) publishFrames(ctx context.Context, s *shardState, from, to string, stamp time.Time, frames [][]*bus.Frame) error {
	page := s.page + 1
	var behind []int
	if in.cfg.Behind != nil {
		behind = in.cfg.Behind(s.source)
		behind = behind[:min(len(behind), bus.MaxShards)]
	}
	var counts []bus.PartitionCount
	for part := range frames {
		k := uint64(len(frames[part]))
		if after := s.parts[part].counter + k; after > 0 {
			counts = append(counts, bus.PartitionCount{Partition: part, After: after, InPage: k})
		}
	}
	next := append([]partState(nil), s.parts...)
	one := func(part int) error {
		for _, f := range frames[part] {
			ps := &next[part]
			f.Source, f.Shard, f.From, f.To, f.PrevTo = s.source, s.shard, from, to, s.position
			f.Partition, f.Counter, f.Page, f.PrevSeq = part, ps.counter+1, page, ps.seq
			f.Counts, f.Received, f.Behind = counts, stamp, behind
			if f.Reach = to; later(ps.reach, to) {
				f.Reach = ps.reach
			}
			data, err := bus.EncodeFrame(f)
			if err != nil {
				return err
			}
			seq, err := in.b.Publish(ctx, bus.Publish{
				Stream: bus.StreamEvents, Subject: bus.EventsSubject(part, s.token),
				ID: f.ID(data), Data: data, Fenced: true, Expect: ps.seq,
			})
			if err != nil {
				return err
			}
			failpoint.Hit(failpoint.IngestFrame)
			ps.counter, ps.seq, ps.reach = f.Counter, seq, f.Reach
			in.stats.frames.Add(1)
		}
		return nil
	}
	var todo []int
	for part := range frames {
		if len(frames[part]) > 0 {
			todo = append(todo, part)
		}
	}
	errs := make([]error, len(todo))
	var wg sync.WaitGroup
	for i, part := range todo[1:] {
		wg.Go(func() { errs[i+1] = one(part) })
	}
	errs[0] = one(todo[0])
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.parts, s.page = next, page
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, part := range todo {
		c := &in.parts[part]
		c.fed = true
		switch frames[part][0].Kind {
		case bus.Data:
			c.waiting, c.records = true, stamp
		case bus.Tick:
			// What waits for a shard that is behind needs another one later.
			c.waiting = c.waiting && len(behind) > 0
		}
		if stamp.After(c.last) {
			c.last = stamp
		}
	}
	return nil
}

// Tick lets the partitions fed by a shard go on when traffic has paused: it
// writes a frame without records to each partition that has received records
// since its last tick and has been quiet for TickAfter, and, rarely, to those
// that receive nothing at all. now is the ingest clock. It does nothing while
// the shard is storing a page, or has one that is not complete. While any source
// may hold records that are not stored, the clock stands still, for unsettledFor
// at most: a tick decides what waits, and what came late would be late. Then it goes
// on from what it was: where it was set, nobody has confirmed it (a service refuses
// requests of a wrong time), and what comes after a tick of next year is late for a year.
func (in *Ingester) Tick(ctx context.Context, src string, shard int, now time.Time) error {
	in.gate.RLock()
	defer in.gate.RUnlock()
	if in.closed || in.hold.Load() {
		return nil
	}
	s := in.shard(src, shard)
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	if !s.known || s.ahead != nil {
		return nil
	}
	if in.cfg.Settled != nil {
		at := in.cfg.Settled()
		since := at
		if since.Before(in.born) {
			since = in.born
		}
		in.mu.Lock()
		if now.Sub(since) < unsettledFor {
			in.sure, in.noted = now.Round(0), time.Now() // to be compared by the wall clock
			if at.Before(now) {
				now = at
			}
		} else if on := in.sure.Add(time.Since(in.noted)); on.Before(now) {
			now = on
		}
		in.mu.Unlock()
	}
	now = now.UTC()
	for part := range s.parts {
		if s.parts[part].counter == 0 || !in.due(part, now) {
			continue
		}
		frames := make([][]*bus.Frame, in.n)
		frames[part] = []*bus.Frame{{Kind: bus.Tick}}
		if err := in.publishFrames(ctx, s, s.position, s.position, now, frames); err != nil {
			s.known = false
			return fmt.Errorf("tick for %s shard %d: %w", src, shard, err)
		}
		in.stats.ticks.Add(1)
	}
	return nil
}

func (in *Ingester) due(part int, now time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.parts[part]
	if c.waiting && now.Sub(c.records) >= in.cfg.TickAfter && now.Sub(c.last) >= in.cfg.TickAfter {
		return true
	}
	return c.fed && in.cfg.IdleTick > 0 && now.Sub(c.last) >= in.cfg.IdleTick
}

// TickAll ticks every shard that this process has stored pages of.
func (in *Ingester) TickAll(ctx context.Context, now time.Time) error {
	in.mu.Lock()
	list := make([]*shardState, 0, len(in.shards))
	for _, s := range in.shards {
		list = append(list, s)
	}
	in.mu.Unlock()
	var errs []error
	for _, s := range list {
		errs = append(errs, in.Tick(ctx, s.source, s.shard, now))
	}
	return errors.Join(errs...)
}

// Close refuses further pages and waits for those in work.
func (in *Ingester) Close() {
	in.gate.Lock()
	defer in.gate.Unlock()
	in.closed = true
}

// Stats returns totals.
func (in *Ingester) Stats() IngestStats {
	c := &in.stats
	return IngestStats{
		Pages: c.pages.Load(), Records: c.records.Load(), Repeated: c.repeated.Load(), Parked: c.parked.Load(),
		Frames: c.frames.Load(), Ticks: c.ticks.Load(), Bytes: c.bytes.Load(), Skips: c.skips.Load(), Refused: c.refused.Load(),
	}
}

// digest identifies a record's bytes. Attackers choose them, so it is a
// cryptographic hash.
func digest(rec []byte) (d [16]byte) {
	sum := sha256.Sum256(rec)
	copy(d[:], sum[:])
	return d
}
