package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// maxWalk bounds the frames that are read back to recognise what is stored,
// per partition; maxOpaque where positions cannot be compared. Beyond it,
// records may be stored twice and the engine drops them by event id.
const (
	maxWalk   = 2048
	maxOpaque = 128
)

// aheadSet holds the records that are stored beyond the position from which
// the source is read again. Its methods work on nil: nothing is stored ahead.
type aheadSet struct {
	count map[[16]byte]int
	next  string // where the next page of this pass begins
	to    string // how far stored frames reach
	pages int    // pages passed since it was loaded
}

// take says whether the record is stored already, and forgets one of it.
func (a *aheadSet) take(rec []byte) bool {
	if a == nil || len(a.count) == 0 {
		return false
	}
	d := digest(rec)
	n := a.count[d]
	if n == 0 {
		return false
	}
	if n == 1 {
		delete(a.count, d)
	} else {
		a.count[d] = n - 1
	}
	return true
}

func (a *aheadSet) passed(to string) {
	if a != nil {
		a.next = to
		a.pages++
	}
}

// done says that the source has caught up with what is stored. Opaque
// positions cannot tell, so they are given some pages.
func (a *aheadSet) done() bool {
	if a == nil {
		return true
	}
	if len(a.count) == 0 {
		return true
	}
	rel, known := order(a.next, a.to)
	if known {
		return rel >= 0
	}
	return a.pages >= 64
}

// covers says that the set is right for a page that begins at from: this pass
// has not been there yet.
func (a *aheadSet) covers(from string) bool {
	return a != nil && (from == a.next || later(from, a.next))
}

// prepareAhead makes sure that records of the page which are stored already
// will be recognised.
func (in *Ingester) prepareAhead(ctx context.Context, s *shardState, p source.Page) error {
	if s.ahead.covers(p.From) {
		return nil
	}
	if s.ahead == nil {
		if s.position == "" || p.From == s.position || later(p.From, s.position) {
			return nil
		}
	}
	in.log.Info("a page begins before what is stored; its records are compared", "source", s.source, "shard", s.shard, "from", p.From, "position", s.position)
	return in.loadAhead(ctx, s, p.From)
}

// loadAhead reads back the frames that reach beyond from.
func (in *Ingester) loadAhead(ctx context.Context, s *shardState, from string) error {
	a := &aheadSet{count: map[[16]byte]int{}, next: from, to: from}
	_, ordered := ordinal(from)
	met := ordered
	for part := range s.parts {
		here := false
		walked := 0
		for seq := s.parts[part].seq; seq != 0; {
			if walked++; walked > maxWalk || !ordered && walked > maxOpaque {
				in.log.Warn("too many stored frames to compare with; repeated records are left to the engine", "source", s.source, "shard", s.shard, "frames", walked-1)
				break
			}
			m, err := in.b.Kept(ctx, bus.StreamEvents, bus.EventsSubject(part, s.token), seq)
			if errors.Is(err, bus.ErrNotFound) {
				break // purged: evaluated and in two snapshots
			}
			if err != nil {
				return err
			}
			f, err := bus.DecodeFrame(m.Data)
			if err != nil {
				in.log.Error("a stored frame cannot be read", "seq", seq, "error", err)
				break
			}
			if ordered && !later(f.Reach, from) {
				break
			}
			if !ordered {
				// Opaque: the pages that begin at from, and later ones.
				if here && f.From != from || f.To == from {
					break
				}
				here = here || f.From == from
				met = met || here
			}
			for _, r := range f.Records {
				a.count[digest(r)]++
			}
			if later(f.Reach, a.to) || a.to == from {
				a.to = f.Reach
			}
			seq = f.PrevSeq
		}
	}
	s.ahead = a
	if len(a.count) == 0 || !met {
		s.ahead = nil
	}
	return nil
}

// ends is what the ends of a shard's subjects say.
type ends struct {
	last   []*bus.Frame // of each partition; nil where there is none
	newest *bus.Frame   // the one of the last page; nil when nothing is stored
	// complete says that its page is stored whole, intact that all pages
	// before it are.
	complete, intact bool
}

// readEnds reads the last frame of a shard in each partition, and fills s.parts.
func (in *Ingester) readEnds(ctx context.Context, s *shardState) (ends, error) {
	s.parts = make([]partState, in.n)
	e := ends{last: make([]*bus.Frame, in.n), complete: true, intact: true}
	for part := range e.last {
		f, seq, lost, err := in.lastFrame(ctx, s, part)
		if err != nil {
			return ends{}, err
		}
		s.parts[part].seq = seq
		if f == nil {
			s.parts[part].counter = lost
			continue
		}
		e.last[part], s.parts[part].counter, s.parts[part].reach = f, f.Counter+lost, f.Reach
		if e.newest == nil || f.Page > e.newest.Page {
			e.newest = f
		}
	}
	if e.newest == nil {
		return e, nil
	}
	for _, c := range e.newest.Counts {
		if c.Partition >= in.n {
			return ends{}, fmt.Errorf("frame %d of %s shard %d names partition %d of %d: %w", e.newest.Counter, s.source, s.shard, c.Partition, in.n, bus.ErrDamaged)
		}
		have := s.parts[c.Partition].counter
		e.complete = e.complete && have >= c.After
		e.intact = e.intact && have >= c.After-min(c.InPage, c.After)
	}
	return e, nil
}

// recoverShard reads from the stream how far a shard is stored.
func (in *Ingester) recoverShard(ctx context.Context, s *shardState) error {
	s.position, s.page, s.ahead = "", 0, nil
	var e ends
	if err := in.b.Sure(ctx, func(ctx context.Context) (missing bool, err error) {
		e, err = in.readEnds(ctx, s)
		return !e.intact, err
	}); err != nil {
		return err
	}
	newest := e.newest
	if newest == nil {
		s.known = true
		return nil
	}
	for part, f := range e.last {
		if f != nil {
			in.noteRecovered(part, f)
		}
	}
	s.page = newest.Page
	var again bool // frames beyond the position may exist
	switch {
	case e.complete:
		s.position = newest.To
		if newest.PrevTo != "" && before(newest.To, newest.PrevTo) {
			// A page from before, stored again: the position was further.
			s.position = newest.PrevTo
		}
		for _, f := range e.last {
			again = again || f != nil && later(f.Reach, s.position)
		}
	case e.intact:
		s.position, again = newest.From, true
		if newest.PrevTo != "" && before(newest.PrevTo, newest.From) {
			s.position = newest.PrevTo
		}
	default:
		if err := in.recoverDamaged(ctx, s, newest); err != nil {
			return err
		}
		again = true
	}
	if again {
		if err := in.loadAhead(ctx, s, s.position); err != nil {
			return err
		}
	}
	s.known = true
	return nil
}

func (in *Ingester) noteRecovered(part int, f *bus.Frame) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := &in.parts[part]
	c.fed = true
	if f.Received.After(c.last) {
		c.last = f.Received
	}
	if f.Kind == bus.Data && f.Received.After(c.records) {
		c.waiting, c.records = true, f.Received
	}
}

// lastFrame finds the last readable frame of a shard in a partition; lost says
// how many unreadable ones lie after it.
func (in *Ingester) lastFrame(ctx context.Context, s *shardState, part int) (f *bus.Frame, seq, lost uint64, err error) {
	subject := bus.EventsSubject(part, s.token)
	m, err := in.b.Last(ctx, bus.StreamEvents, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, 0, 0, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	f, err = bus.DecodeFrameHead(m.Data)
	if err == nil {
		if f.Source != s.source || f.Shard != s.shard || f.Partition != part {
			return nil, 0, 0, fmt.Errorf("frame %d on %s belongs to %s shard %d: %w", m.Seq, subject, f.Source, f.Shard, bus.ErrDamaged)
		}
		return f, m.Seq, 0, nil
	}
	if errors.Is(err, bus.ErrVersion) {
		return nil, 0, 0, fmt.Errorf("frame %d: %w: start the newer version again", m.Seq, err)
	}
	in.log.Error("the last frame cannot be read; looking further back", "subject", subject, "seq", m.Seq, "error", err)
	r := in.b.NewReader(bus.StreamEvents, 1, 16, subject)
	defer r.Stop()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return nil, 0, 0, err
		}
		if g, err := bus.DecodeFrameHead(d.Data); err == nil {
			f, lost = g, 0
		} else {
			lost++
		}
		if d.Seq >= m.Seq {
			return f, m.Seq, lost, nil
		}
	}
}

// recoverDamaged finds where to read again when frames that were stored are
// missing at the end of a subject: at the beginning of the oldest page that
// had one of them. Numbers of lost frames are not used again, so the workers
// see the gap too.
func (in *Ingester) recoverDamaged(ctx context.Context, s *shardState, newest *bus.Frame) error {
	type span struct{ from, to uint64 } // counters (from, to]
	missing := make([]span, in.n)
	for _, c := range newest.Counts {
		if have := s.parts[c.Partition].counter; have < c.After {
			missing[c.Partition] = span{have, c.After}
		}
	}
	s.position = newest.From
	oldest := newest.Page
	// The end is asked of the leader: what is pending for a reader is the
	// opinion of a server that may lag behind.
	filter := "ev.*." + s.token
	last, err := in.b.Last(ctx, bus.StreamEvents, filter)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if err == nil {
		r := in.b.NewReader(bus.StreamEvents, 1, 16, filter)
		defer r.Stop()
		for {
			d, err := r.Next(ctx)
			if err != nil {
				return err
			}
			if f, err := bus.DecodeFrameHead(d.Data); err == nil && f.Page < oldest {
				for _, c := range f.Counts {
					m := missing[c.Partition%in.n]
					if c.InPage > 0 && c.After > m.from && c.After-c.InPage < m.to {
						oldest, s.position = f.Page, f.From
						break
					}
				}
			}
			if d.Seq >= last.Seq {
				break
			}
		}
	}
	for part, m := range missing {
		if m.to > m.from {
			s.parts[part].counter = m.to
			in.log.Error("frames are missing from the store; their records are read again from the source", "partition", part,
				"source", s.source, "shard", s.shard, "frames", m.to-m.from, "from", s.position)
		}
	}
	return nil
}
