package index

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Share is one value and how often it occurred.
type Share struct {
	Value string    `json:"value"`
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// add counts what was counted of the same value elsewhere.
func (s *Share) add(o *Share) {
	s.Count += o.Count
	if o.First.Before(s.First) {
		s.First = o.First
	}
	if o.Last.After(s.Last) {
		s.Last = o.Last
	}
}

// Bucket counts events of one stretch of time.
type Bucket struct {
	At      time.Time `json:"at"`
	OK      int       `json:"ok"`
	Refused int       `json:"refused"`
}

// Made is something that an entity created, or that created it.
type Made struct {
	At     time.Time `json:"at"`
	Action string    `json:"action"`
	By     string    `json:"by"`
	ByKey  string    `json:"by_key,omitempty"`
	Target string    `json:"target,omitempty"`
	Key    string    `json:"key,omitempty"`
	Event  string    `json:"event"`
}

// Entity is what is known of one identity, key or address.
type Entity struct {
	Kind     string     `json:"kind"`
	ID       string     `json:"id"`
	First    time.Time  `json:"first,omitzero"`
	Last     time.Time  `json:"last,omitzero"`
	From     time.Time  `json:"from,omitzero"` // what was asked for
	To       time.Time  `json:"to,omitzero"`
	Total    int        `json:"total"`    // all events held that it did
	Count    int        `json:"count"`    // of those, in the range
	Refused  int        `json:"refused"`  // of Count
	Suffered int        `json:"suffered"` // events in the range that were done to it
	Step     int64      `json:"step_seconds"`
	Buckets  []Bucket   `json:"buckets"`
	Heat     [7][24]int `json:"heat"` // Monday first, UTC
	Networks []Share    `json:"networks"`
	Services []Share    `json:"services"`
	Names    []Share    `json:"names"`
	Keys     []Share    `json:"keys"`
	Actors   []Share    `json:"actors"`
	Errors   []Share    `json:"errors"`
	Created  []Made     `json:"created"`
	Origin   []Made     `json:"origin"` // what created or changed it
	Events   []Event    `json:"events"` // newest first, one page
}

const (
	maxBuckets = 240
	maxShares  = 20
	maxMade    = 50
)

// steps are the widths that a bucket may have, in seconds.
var steps = []int64{1, 5, 10, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400}

// Entity tells what is held about one entity from a time on and before another
// (zero: no bound), with a page of its events.
func (x *Index) Entity(kind, id string, from, to time.Time, offset, limit int) Entity {
	e := Entity{Kind: kind, ID: id, From: from, To: to, Buckets: []Bucket{}, Created: []Made{}, Origin: []Made{}, Events: []Event{}}
	id = Bounded(id)
	s := newScan(&e)
	a := &x.ev
	a.mu.RLock()
	defer a.mu.RUnlock()
	if id != "" {
		for _, c := range a.chunks {
			if n, ok := c.number[id]; ok {
				s.chunk(c, n)
			}
		}
	}
	for k, out := range map[int]*[]Share{cIP: &e.Networks, cService: &e.Services, cName: &e.Names, cKey: &e.Keys, cActor: &e.Actors, cError: &e.Errors} {
		*out = top(s.shares[k])
	}
	lists.Sort(s.hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.c.id[a.i], b.c.id[b.i])) })
	lists.Sort(e.Created, byTime)
	lists.Sort(e.Origin, byTime)
	s.buckets()
	for _, h := range s.hits[min(max(offset, 0), len(s.hits)):] {
		if len(e.Events) == limit {
			break
		}
		e.Events = append(e.Events, h.c.event(h.i))
	}
	return e
}

// hit is an event of the entity in the range that was asked for.
type hit struct {
	at int64
	c  *chunk
	i  int
}

// scan looks through chunks for the events of one entity.
type scan struct {
	e           *Entity
	main, other int   // the columns of what it did, and of what was done to it (-1: none)
	lo, hi      int64 // the range in milliseconds, hi not in it
	hits        []hit
	shares      [columns]map[string]*Share // of the columns that are counted
}

func newScan(e *Entity) *scan {
	s := &scan{e: e, main: cActor, other: cTarget, lo: -1 << 62, hi: 1 << 62}
	switch e.Kind {
	case KindKey:
		s.main, s.other = cKey, cTargetKey
	case KindIP:
		s.main, s.other = cIP, -1
	}
	if !e.From.IsZero() {
		s.lo = e.From.UnixMilli()
	}
	if !e.To.IsZero() {
		s.hi = e.To.UnixMilli()
	}
	for _, k := range []int{cIP, cService, cName, cKey, cActor, cError} {
		s.shares[k] = map[string]*Share{}
	}
	return s
}

func (s *scan) within(at int64) bool { return s.lo <= at && at < s.hi }

// chunk counts the events of one chunk, in which the entity has the number n.
func (s *scan) chunk(c *chunk, n uint32) {
	// Counted by number first: a map of strings for each event is what
	// would cost.
	counts := [columns]map[uint32]*Share{}
	for k := range s.shares {
		if s.shares[k] != nil {
			counts[k] = map[uint32]*Share{}
		}
	}
	for i, v := range c.col[s.main] {
		switch {
		case v == n:
			s.did(c, i, &counts)
		case s.other >= 0 && c.col[s.other][i] == n:
			s.suffered(c, i)
		}
	}
	for k := range counts {
		for w, share := range counts[k] {
			share.Value = c.words[w]
			if m := s.shares[k][share.Value]; m != nil {
				m.add(share)
			} else {
				s.shares[k][share.Value] = share
			}
		}
	}
}

// suffered counts an event that was done to the entity.
func (s *scan) suffered(c *chunk, i int) {
	if !s.within(c.at[i]) {
		return
	}
	s.e.Suffered++
	if len(s.e.Origin) < maxMade && c.flags[i]&flagAttempt == 0 && c.flags[i]&flagWrite != 0 {
		s.e.Origin = append(s.e.Origin, c.made(i))
	}
}

// did counts an event of the entity, and what it has in the counted columns.
func (s *scan) did(c *chunk, i int, counts *[columns]map[uint32]*Share) {
	e, at := s.e, c.at[i]
	t := time.UnixMilli(at).UTC()
	e.Total++
	if e.First.IsZero() || t.Before(e.First) {
		e.First = t
	}
	if t.After(e.Last) {
		e.Last = t
	}
	if !s.within(at) {
		return
	}
	e.Count++
	if c.flags[i]&flagAttempt != 0 {
		e.Refused++
	} else if act := c.words[c.col[cAction][i]]; strings.HasSuffix(act, ".create") && len(e.Created) < maxMade {
		e.Created = append(e.Created, c.made(i))
	}
	e.Heat[(int(t.Weekday())+6)%7][t.Hour()]++
	for k := range counts {
		w := c.col[k][i]
		if counts[k] == nil || w == 0 {
			continue
		}
		if share := counts[k][w]; share != nil {
			share.add(&Share{Count: 1, First: t, Last: t})
		} else {
			counts[k][w] = &Share{Count: 1, First: t, Last: t}
		}
	}
	s.hits = append(s.hits, hit{at, c, i})
}

// buckets counts the hits, newest first, by stretches of time.
func (s *scan) buckets() {
	if len(s.hits) == 0 {
		return
	}
	e := s.e
	first, last := s.hits[len(s.hits)-1].at, s.hits[0].at
	if !e.From.IsZero() && !e.To.IsZero() {
		first, last = s.lo, max(s.hi-1, s.lo)
	}
	step := steps[len(steps)-1]
	for _, w := range steps {
		if (last-first)/1000/w < maxBuckets {
			step = w
			break
		}
	}
	base := floor(first/1000, step)
	n := min((last/1000-base)/step+1, 2*maxBuckets)
	e.Step = step
	e.Buckets = make([]Bucket, n)
	for i := range e.Buckets {
		e.Buckets[i].At = time.Unix(base+int64(i)*step, 0).UTC()
	}
	for _, h := range s.hits {
		i := (h.at/1000 - base) / step
		if i < 0 || i >= n {
			continue
		}
		if h.c.flags[h.i]&flagAttempt != 0 {
			e.Buckets[i].Refused++
		} else {
			e.Buckets[i].OK++
		}
	}
}

func floor(x, step int64) int64 {
	m := x % step
	if m < 0 {
		m += step
	}
	return x - m
}

func byTime(a, b Made) int {
	return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event))
}

func (c *chunk) made(i int) Made {
	e := c.event(i)
	m := Made{At: e.At, Action: e.Action, By: e.Actor, ByKey: e.Key, Target: e.Target, Key: e.TargetKey, Event: e.ID}
	if m.Action == "" {
		m.Action = e.Name
	}
	return m
}

func top(m map[string]*Share) []Share {
	out := make([]Share, 0, len(m))
	for _, s := range m {
		out = append(out, *s)
	}
	lists.Sort(out, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value)) })
	if len(out) > maxShares {
		out = slices.Clone(out[:maxShares])
	}
	return out
}
