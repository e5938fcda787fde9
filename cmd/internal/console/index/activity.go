package index

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// The kinds of entity that can be asked for.
const (
	KindActor = "actor" // an identity: event.Actor.ID or event.Target.ID
	KindKey   = "key"   // an AccessKey id
	KindIP    = "ip"    // a source address as written
)

// Pos is where a record lies in the event stream.
type Pos struct {
	Seq   uint64
	Index int
}

// activity is the newest events, by columns. Events are kept in chunks of a
// tenth, each with its own table of strings, so that dropping the oldest chunk
// gives back all its memory.
type activity struct {
	mu     sync.RWMutex
	max    int
	chunks []*chunk
	total  uint64
}

type chunk struct {
	words  []string
	number map[string]uint32
	seen   map[uint64]struct{} // hashes of event ids
	at     []int64             // unix milliseconds
	id     []string
	pos    []Pos
	col    [columns][]uint32
	flags  []uint8
}

// The columns.
const (
	cActor = iota
	cKey
	cIP
	cService
	cName
	cAction
	cTarget
	cTargetKey
	cError
	cRegion
	columns
)

const (
	flagAttempt = 1 << iota
	flagWrite
)

func newChunk(size int) *chunk {
	c := &chunk{number: map[string]uint32{"": 0}, words: []string{""}, seen: make(map[uint64]struct{}, size)}
	return c
}

// word interns a string; strings of events share memory with their record, so
// it is copied.
func (c *chunk) word(s string) uint32 {
	if n, ok := c.number[s]; ok {
		return n
	}
	if s = Bounded(s); len(s) == maxWord {
		if n, ok := c.number[s]; ok {
			return n
		}
	}
	s = strings.Clone(s)
	n := uint32(len(c.words))
	c.words = append(c.words, s)
	c.number[s] = n
	return n
}

// maxWord bounds what is kept of a string, in bytes.
const maxWord = 512

// Bounded is what the index keeps of a string.
func Bounded(s string) string { return s[:min(len(s), maxWord)] }

// AddEvent takes one event. An event id met before lately is left out, since
// overlapping trails repeat records.
func (x *Index) AddEvent(ev *event.Event, pos Pos) {
	if ev.Time.IsZero() {
		return
	}
	a := &x.ev
	size := max(a.max/10, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	h := xxhash.Sum64String(ev.ID)
	for i := len(a.chunks) - 1; i >= 0 && i >= len(a.chunks)-2; i-- {
		if _, ok := a.chunks[i].seen[h]; ok && ev.ID != "" {
			return
		}
	}
	if len(a.chunks) == 0 || len(a.chunks[len(a.chunks)-1].at) >= size {
		a.chunks = append(a.chunks, newChunk(size))
		if len(a.chunks) > 10 {
			a.chunks = slices.Delete(a.chunks, 0, 1)
		}
	}
	c := a.chunks[len(a.chunks)-1]
	c.seen[h] = struct{}{}
	a.total++
	c.at = append(c.at, ev.Time.UnixMilli())
	c.id = append(c.id, strings.Clone(ev.ID))
	c.pos = append(c.pos, pos)
	for k, s := range [columns]string{cActor: ev.Actor.ID, cKey: ev.Actor.Key, cIP: ev.Address.Text, cService: ev.Service, cName: ev.Name,
		cAction: string(ev.Action), cTarget: ev.Target.ID, cTargetKey: ev.Target.Key, cError: ev.ErrorCode, cRegion: ev.Region} {
		c.col[k] = append(c.col[k], c.word(s))
	}
	var f uint8
	if ev.Outcome == event.Attempt {
		f |= flagAttempt
	}
	if ev.RW == event.Write {
		f |= flagWrite
	}
	c.flags = append(c.flags, f)
}

// Event is one event of an entity.
type Event struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor,omitempty"`
	Key       string    `json:"access_key_id,omitempty"`
	IP        string    `json:"source_ip,omitempty"`
	Service   string    `json:"service"`
	Name      string    `json:"name"`
	Action    string    `json:"action,omitempty"`
	Target    string    `json:"target,omitempty"`
	TargetKey string    `json:"target_key,omitempty"`
	Error     string    `json:"error,omitempty"`
	Region    string    `json:"region,omitempty"`
	Attempt   bool      `json:"attempt,omitempty"`
	Write     bool      `json:"write,omitempty"`
	Pos       Pos       `json:"-"`
}

func (c *chunk) event(i int) Event {
	w := func(k int) string { return c.words[c.col[k][i]] }
	return Event{ID: c.id[i], At: time.UnixMilli(c.at[i]).UTC(), Actor: w(cActor), Key: w(cKey), IP: w(cIP), Service: w(cService), Name: w(cName),
		Action: w(cAction), Target: w(cTarget), TargetKey: w(cTargetKey), Error: w(cError), Region: w(cRegion),
		Attempt: c.flags[i]&flagAttempt != 0, Write: c.flags[i]&flagWrite != 0, Pos: c.pos[i]}
}

// Events returns the events with these ids that are still held, by id.
func (x *Index) Events(ids []string) map[string]Event {
	want := make(map[string]bool, len(ids))
	for _, id := range ids {
		want[id] = true
	}
	out := map[string]Event{}
	a := &x.ev
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.chunks {
		for i, id := range c.id {
			if want[id] {
				out[id] = c.event(i)
			}
		}
	}
	return out
}

// Newest returns the newest n events as they were stored, the newest first.
func (x *Index) Newest(n int) []Event {
	a := &x.ev
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []Event
	for k := len(a.chunks) - 1; k >= 0; k-- {
		for i := len(a.chunks[k].at) - 1; i >= 0 && len(out) < n; i-- {
			out = append(out, a.chunks[k].event(i))
		}
	}
	return out
}

// EventsHeld says how many events are held, how many were ever added, and the
// time of the oldest and newest that is held.
func (x *Index) EventsHeld() (held int, total uint64, oldest, newest time.Time) {
	a := &x.ev
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.chunks {
		held += len(c.at)
		for _, ms := range c.at {
			t := time.UnixMilli(ms).UTC()
			if oldest.IsZero() || t.Before(oldest) {
				oldest = t
			}
			if t.After(newest) {
				newest = t
			}
		}
	}
	return held, a.total, oldest, newest
}

// Share is one value and how often it occurred.
type Share struct {
	Value string    `json:"value"`
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
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
	main, other := cActor, cTarget
	id = Bounded(id)
	switch kind {
	case KindKey:
		main, other = cKey, cTargetKey
	case KindIP:
		main, other = cIP, -1
	}
	lo, hi := int64(-1<<62), int64(1<<62)
	if !from.IsZero() {
		lo = from.UnixMilli()
	}
	if !to.IsZero() {
		hi = to.UnixMilli()
	}
	type hit struct {
		at int64
		c  *chunk
		i  int
	}
	var hits []hit
	shares := [columns]map[string]*Share{}
	for _, k := range []int{cIP, cService, cName, cKey, cActor, cError} {
		shares[k] = map[string]*Share{}
	}
	a := &x.ev
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.chunks {
		n, ok := c.number[id]
		if !ok || id == "" {
			continue
		}
		// Counted by number first: a map of strings for each event is what
		// would cost.
		counts := [columns]map[uint32]*Share{}
		for k := range shares {
			if shares[k] != nil {
				counts[k] = map[uint32]*Share{}
			}
		}
		for i, v := range c.col[main] {
			if other >= 0 && c.col[other][i] == n && v != n {
				if at := c.at[i]; at >= lo && at < hi {
					e.Suffered++
					if len(e.Origin) < maxMade && c.flags[i]&flagAttempt == 0 && c.flags[i]&flagWrite != 0 {
						e.Origin = append(e.Origin, c.made(i))
					}
				}
			}
			if v != n {
				continue
			}
			at := c.at[i]
			t := time.UnixMilli(at).UTC()
			e.Total++
			if e.First.IsZero() || t.Before(e.First) {
				e.First = t
			}
			if t.After(e.Last) {
				e.Last = t
			}
			if at < lo || at >= hi {
				continue
			}
			e.Count++
			if c.flags[i]&flagAttempt != 0 {
				e.Refused++
			} else if act := c.words[c.col[cAction][i]]; strings.HasSuffix(act, ".create") && len(e.Created) < maxMade {
				e.Created = append(e.Created, c.made(i))
			}
			e.Heat[(int(t.Weekday())+6)%7][t.Hour()]++
			for k := range counts {
				if counts[k] == nil || c.col[k][i] == 0 {
					continue
				}
				s := counts[k][c.col[k][i]]
				if s == nil {
					s = &Share{First: t, Last: t}
					counts[k][c.col[k][i]] = s
				}
				s.Count++
				if t.Before(s.First) {
					s.First = t
				}
				if t.After(s.Last) {
					s.Last = t
				}
			}
			hits = append(hits, hit{at, c, i})
		}
		for k := range counts {
			for w, s := range counts[k] {
				word := c.words[w]
				m := shares[k][word]
				if m == nil {
					s.Value = word
					shares[k][word] = s
					continue
				}
				m.Count += s.Count
				if s.First.Before(m.First) {
					m.First = s.First
				}
				if s.Last.After(m.Last) {
					m.Last = s.Last
				}
			}
		}
	}
	for k, out := range map[int]*[]Share{cIP: &e.Networks, cService: &e.Services, cName: &e.Names, cKey: &e.Keys, cActor: &e.Actors, cError: &e.Errors} {
		*out = top(shares[k])
	}
	lists.Sort(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.c.id[a.i], b.c.id[b.i])) })
	lists.Sort(e.Created, byTime)
	lists.Sort(e.Origin, byTime)
	if len(hits) > 0 {
		first, last := hits[len(hits)-1].at, hits[0].at
		if !from.IsZero() && !to.IsZero() {
			first, last = lo, max(hi-1, lo)
		}
		step := steps[len(steps)-1]
		for _, s := range steps {
			if (last-first)/1000/s < maxBuckets {
				step = s
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
		for _, h := range hits {
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
		for _, h := range hits[min(max(offset, 0), len(hits)):] {
			if len(e.Events) == limit {
				break
			}
			e.Events = append(e.Events, h.c.event(h.i))
		}
	}
	return e
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
