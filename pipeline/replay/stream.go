package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// stream is one input being read: a reader goroutine cuts it into batches,
// which workers evaluate in any order and which come out of ready in order.
type stream struct {
	in    input
	index int       // among the inputs by their paths
	start time.Time // of its events, as far as its first block tells

	ready chan *batch // nil until it is started

	stop  func()     // ends its reader
	lines bool       // as far as its first block tells, its lines are its records
	plain *plainFile // where its records are left; nil: nowhere, or nothing is read yet

	cur     *batch    // being applied
	next    int       // in cur.results
	behind  []*batch  // the next ones, fetched already
	last    time.Time // of the last event fetched
	high    time.Time // newest time of a result judged that is not ahead
	over    int64     // what it unpacked to beyond MaxRatio
	records int64
	turn    bool // it is written newest first
	begun   bool
	loaded  []result // of a file that was turned around
	err     error    // why it was not read, or not to its end
	opened  bool     // something was read of it
	ended   bool     // all of it was
	sum     [32]byte // its SHA-256, where asked for,
	size    int64    // and how long it is, as stored
	refused bool     // the rest of it is not read
}

// maxReversed is how many events of a file that is written newest first are
// held to turn it around.
var maxReversed = 100_000 // a variable for its test

// pump reads the input and hands batches to workers and, in order, to ready.
func (r *run) pump(ctx context.Context, st *stream) {
	defer close(st.ready)
	end := func(err error, over int64, raw *counting) {
		b := r.pool.get()
		b.end, b.over = err, over
		if raw != nil && raw.sum != nil && errors.Is(err, io.EOF) {
			raw.sum.Sum(b.sum[:0])
			b.size = raw.n
		}
		select {
		case st.ready <- b:
		case <-ctx.Done():
		}
	}
	f, err := st.in.open(ctx, &r.opts, &r.bytes)
	if err != nil {
		end(err, 0, nil)
		return
	}
	s := newSplitter(f, &r.opts)
	if r.leaves(st, f) {
		s.plain = f.plain
		f.close = f.plain.release
	}
	shut := sync.OnceFunc(f.close)
	defer shut()
	for {
		b := r.pool.get()
		if err := s.next(&b.chunk); err != nil {
			r.pool.put(b)
			if errors.Is(err, io.EOF) {
				err = cmp.Or(st.in.short(f), err)
			}
			shut() // its memory is another's as soon as the end is known
			end(err, f.bound.over(), f.raw)
			return
		}
		b.over = f.bound.over()
		select {
		case st.ready <- b:
		case <-ctx.Done():
			return
		}
		select {
		case r.jobs <- b:
		case <-ctx.Done():
			return
		}
	}
}

// leaves says that the file's records are left in it. Where all of its bytes
// are needed anyway, or much is kept of every event, they are not.
func (r *run) leaves(st *stream, f *file) bool {
	if f.plain == nil || !st.lines || st.turn || r.opts.Hash || r.trail != nil || r.resume != nil || st.in.size < leastPlain*int64(r.opts.BlockSize) {
		return false
	}
	return r.left.open(f.plain, r.opts.MaxOpen)
}

// load makes the next result of the stream current and returns its time; ok
// is false when the stream has ended.
func (r *run) load(ctx context.Context, st *stream) (at time.Time, ok bool, err error) {
	for {
		if len(st.loaded) > 0 {
			return st.loaded[0].at, true, nil
		}
		if st.cur != nil {
			if st.next < len(st.cur.results) {
				if err := r.judge(ctx, st); err != nil {
					return time.Time{}, false, err
				}
				return st.cur.results[st.next].at, true, nil
			}
			r.put(st.cur)
			st.cur = nil
		}
		b, err := r.batch(ctx, st)
		if b == nil || err != nil {
			return time.Time{}, false, err
		}
		first := !st.begun
		st.cur, st.next, st.begun = b, 0, true
		if !first || !st.turn && (st.in.path != "-" || !descends(b.results)) {
			continue
		}
		if err := r.reverse(ctx, st); err != nil {
			return time.Time{}, false, err
		}
	}
}

// fetch takes the next evaluated batch of a stream and books its records; nil
// at the stream's end.
func (r *run) fetch(ctx context.Context, st *stream) (*batch, error) {
	var b *batch
	select {
	case b = <-st.ready:
	case <-ctx.Done():
	}
	if b == nil {
		return nil, ctx.Err()
	}
	if b.over > st.over && !st.refused {
		// Booked here and not where it is read, so that which file is
		// refused does not depend on who reads faster.
		r.over += b.over - st.over
		st.over = b.over
		if r.over > r.opts.RatioFloor {
			st.opened = true
			st.fail(errRatio(&r.opts))
			st.stop()
			st.refused = true
		}
	}
	if st.refused {
		st.ended = true
		return nil, ctx.Err()
	}
	if b.end != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err() // the run is stopped: how this file ended says nothing
		}
		if err := b.end; !errors.Is(err, io.EOF) {
			st.fail(err)
		} else {
			st.opened = true
			st.sum, st.size = b.sum, b.size
		}
		st.ended = true
		r.pool.put(b)
		if st.err == nil && st.in.want >= 0 && int64(st.in.want) != st.records {
			st.fail(fmt.Errorf("file %w: %d events by name, %d inside", ErrCount, st.in.want, st.records))
		}
		return nil, ctx.Err()
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	st.opened = true
	if p, ok := b.left.File.(*plainFile); ok {
		st.plain = p
		if err := p.trouble(); err != nil {
			st.fail(err)
		}
	}
	for i := range b.parked {
		p := &b.parked[i]
		r.park(Parked{Path: st.in.path, Record: st.records + p.index, Reason: p.err.Reason, Offset: p.err.Offset, Raw: p.raw, Err: p.err})
	}
	if r.trail != nil {
		for i := range b.notes {
			if !r.warming(b.notes[i].at) {
				r.trail.add(&b.notes[i])
			}
		}
		for _, birth := range b.births {
			r.trail.born(birth)
		}
		for _, turn := range b.turns {
			r.trail.turned(turn)
		}
	}
	st.records += b.records
	r.stats.Records += b.records
	r.stats.filter(b.filtered, b.outside[0], b.outside[1])
	return b, nil
}

func (st *stream) fail(err error) {
	if st.err == nil {
		st.err = err
	}
	if !errors.Is(err, ErrNotRegular) && st.records > 0 {
		st.opened = true
	}
}

// descends reports a sequence written newest first.
func descends(rs []result) bool {
	if len(rs) < 2 || !rs[0].at.After(rs[len(rs)-1].at) {
		return false
	}
	down, up := 0, 0
	for i := 1; i < len(rs); i++ {
		switch rs[i].at.Compare(rs[i-1].at) {
		case -1:
			down++
		case 1:
			up++
		}
	}
	return down > 2*up
}

// reverse reads the rest of a stream that is written newest first, up to a
// bound, and puts it in order of time.
func (r *run) reverse(ctx context.Context, st *stream) error {
	for b := st.cur; ; {
		// All of its events are held: the batch's memory is theirs.
		for i := range b.results {
			b.results[i].v.Hold = nil // it is not given back
		}
		st.loaded = append(st.loaded, b.results...)
		if len(st.loaded) >= maxReversed {
			st.fail(fmt.Errorf("written newest first, and only the first %d events could be put in order: sort it by eventTime", len(st.loaded)))
			break
		}
		var err error
		if b, err = r.batch(ctx, st); err != nil {
			return err
		} else if b == nil {
			break
		}
	}
	st.cur = nil
	slices.Reverse(st.loaded)
	var times []time.Time
	for i := range st.loaded {
		res := &st.loaded[i]
		times = times[:0]
		if st.jumps(res.at) {
			for _, f := range st.loaded[i+1 : min(len(st.loaded), i+1+lookAhead)] {
				times = append(times, f.at)
			}
		}
		st.settle(res, times)
	}
	lists.Sort(st.loaded, func(a, b result) int { // which reversed are in order, or nearly
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.v.ID(), b.v.ID()))
	})
	return nil
}

// take returns the current result, which is there until load is called, and
// moves on. from owns the event's memory; nil when the event does.
func (st *stream) take() (res *result, from *batch) {
	if len(st.loaded) > 0 {
		if res, st.loaded = &st.loaded[0], st.loaded[1:]; len(st.loaded) == 0 {
			st.loaded = nil // and not the last one's memory
		}
		return res, nil
	}
	res = &st.cur.results[st.next]
	st.next++
	return res, st.cur
}

// lookAhead is how many of the next events of a file tell whether one event's
// time is a bad clock's; maxAhead how far it may be ahead of them; maxUntimed
// how many events at the beginning of a file wait for one that has a time.
const (
	lookAhead  = 32
	maxAhead   = 24 * time.Hour
	maxUntimed = 256
)

// batch returns the next batch of a stream, with times for all its events;
// nil at the stream's end.
func (r *run) batch(ctx context.Context, st *stream) (*batch, error) {
	if len(st.behind) == 0 {
		if err := r.pull(ctx, st); err != nil || len(st.behind) == 0 {
			return nil, err
		}
	}
	b := st.behind[0]
	st.behind[0] = nil // streams outlive their batches
	st.behind = st.behind[1:]
	return b, nil
}

// pull fetches the next batch of a stream, and more where its first events
// have no time and none before them has.
func (r *run) pull(ctx context.Context, st *stream) error {
	var got []*batch
	at, lead := st.last, 0
	for {
		b, err := r.fetch(ctx, st)
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		got = append(got, b)
		lead += b.lead
		if at.IsZero() {
			at = b.earliest
		}
		if lead == 0 || !at.IsZero() || lead > maxUntimed {
			break
		}
	}
	if lead > 0 && (at.IsZero() || st.last.IsZero() && lead > maxUntimed) {
		at = time.Unix(0, 0).UTC() // nothing in the file tells
	}
	for _, b := range got {
		r.date(b, at)
		st.behind = append(st.behind, b)
		if !b.latest.IsZero() {
			st.last = b.latest
		} else if b.lead > 0 {
			st.last = at
		}
	}
	return nil
}

// date gives a batch's first events the time that they lack.
func (r *run) date(b *batch, at time.Time) {
	if b.lead == 0 {
		return
	}
	kept := b.results[:0]
	for i := range b.results {
		res := b.results[i]
		if i < b.lead {
			ev := res.v.Event
			ev.Time = at
			if !r.own.filter.wants(ev) {
				r.stats.filter(1, at, at)
				continue
			}
			r.own.cover.add(ev)
			if r.trail != nil && r.own.filter.entity.concerns(ev) {
				if n := noteOf(ev, r.own.filter.entity); !r.warming(at) {
					r.trail.add(&n)
				}
			}
			res = result{at: at, v: r.own.eval.Evaluate(ev)}
			if res.v.Keeps() {
				res.v.Hold = b
			}
		}
		kept = append(kept, res)
	}
	clear(b.results[len(kept):])
	b.results = kept
}

// jumps says that a time is so far from what came before in the file that
// what follows must confirm it.
func (st *stream) jumps(at time.Time) bool {
	return st.high.IsZero() || at.After(st.high.Add(maxAhead))
}

// judge decides whether the time of the stream's current result is a bad
// clock's.
func (r *run) judge(ctx context.Context, st *stream) error {
	res := &st.cur.results[st.next]
	if res.judged {
		return nil
	}
	if st.jumps(res.at) {
		return r.confirm(ctx, st, res)
	}
	st.believe(res)
	return nil
}

// confirm decides it of a result whose time jumps. Looking at what follows it may
// fetch more of the stream.
func (r *run) confirm(ctx context.Context, st *stream, res *result) error {
	var room [lookAhead]time.Time
	times := room[:0]
	rs := st.cur.results[st.next+1:]
	for i := 0; len(times) < lookAhead; i++ {
		for _, f := range rs[:min(len(rs), lookAhead-len(times))] {
			times = append(times, f.at)
		}
		if len(times) == lookAhead {
			break
		}
		if i == len(st.behind) {
			if err := r.pull(ctx, st); err != nil {
				return err
			}
			if i == len(st.behind) {
				break // the end
			}
		}
		rs = st.behind[i].results
	}
	st.settle(res, times)
	return nil
}

// settle marks a result whose time lies far ahead of nearly all that follow
// it, and puts it where the file is by then. Two of them may be as far ahead:
// bad clocks do not come alone.
func (st *stream) settle(res *result, times []time.Time) {
	if st.jumps(res.at) && len(times) > 0 {
		near := 0
		var older time.Time // the first that is
		for _, t := range times {
			if !res.at.After(t.Add(maxAhead)) {
				near++
			} else if older.IsZero() {
				older = t
			}
		}
		if near <= min(2, (len(times)-1)/2) {
			res.judged, res.ahead = true, true
			if res.at = st.high; res.at.IsZero() {
				res.at = older
			}
			return
		}
	}
	st.believe(res)
}

// believe takes a result's time for what it says.
func (st *stream) believe(res *result) {
	if res.judged = true; res.at.After(st.high) {
		st.high = res.at
	}
}

// peeking is what peek uses again for the next file.
type peeking struct {
	chunk  chunk
	parser event.Parser
	ev     event.Event
	times  []result
}

// peek finds when a file's events begin, and whether it is written newest
// first, from its first block, or from those up to the first that has two events,
// where a record over the cap stands before them. Files of which that cannot be
// told begin at once.
func (st *stream) peek(ctx context.Context, o Options, m *peeking) {
	if st.in.path == "-" {
		return
	}
	o.Hash = false
	f, err := st.in.open(ctx, &o, nil)
	if err != nil {
		return
	}
	defer f.close()
	o.BlockSize = 64 << 10
	s := newSplitter(f, &o)
	c, ev, times := &m.chunk, &m.ev, m.times[:0]
	var start time.Time
	for most := 2*o.MaxRecord/o.BlockSize + 2; most > 0 && len(times) < 2 && s.next(c) == nil; most-- {
		for raw := range c.records() {
			line := c.lines
			// What is wrong with a record shows when it is read in earnest.
			_ = event.Unwrap(raw, func(rec []byte) bool {
				if m.parser.Parse(rec, ev) == nil && !ev.Time.IsZero() {
					if len(times) == 0 {
						st.lines = line && len(ev.Raw()) == len(raw)
					}
					times = append(times, result{at: ev.Time})
					if start.IsZero() || ev.Time.Before(start) {
						start = ev.Time
					}
				}
				return true
			})
		}
	}
	m.times = times
	if st.turn = descends(times); !st.turn || s.err != nil {
		st.start = start // otherwise the beginning is further down
	}
}

// room is a budget that those who use it wait for.
type room struct {
	mu   sync.Mutex
	more *sync.Cond
	left int64
}

func newRoom(n int64) *room {
	r := &room{left: n}
	r.more = sync.NewCond(&r.mu)
	return r
}

// take waits for n, no more than there is in all, or gives back -n.
func (r *room) take(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n > r.left {
		r.more.Wait()
	}
	r.left -= n
	if n < 0 {
		r.more.Broadcast()
	}
}

// peekAll peeks into all streams, several at a time.
func peekAll(ctx context.Context, streams []*stream, o Options, parallel int) {
	var wg sync.WaitGroup
	room := newRoom(o.MaxDecoders)
	next := make(chan *stream)
	for range min(parallel, len(streams)) {
		wg.Go(func() {
			m := new(peeking)
			for st := range next {
				st.in.measure(&o)
				n := min(st.in.window, o.MaxDecoders)
				room.take(n)
				st.peek(ctx, o, m)
				room.take(-n)
			}
		})
	}
	for _, st := range streams {
		next <- st
	}
	close(next)
	wg.Wait()
}
