package index

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/trailwarden/trailwarden/pipeline/event"
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

// EventOf is what the index would keep of an event, without a place in the stream.
func EventOf(ev *event.Event) Event {
	e := Event{ID: strings.Clone(ev.ID), At: time.UnixMilli(ev.Time.UnixMilli()).UTC(), Actor: ev.Actor.ID, Key: ev.Actor.Key, IP: ev.Address.Text,
		Service: ev.Service, Name: ev.Name, Action: string(ev.Action), Target: ev.Target.ID, TargetKey: ev.Target.Key, Error: ev.ErrorCode,
		Region: ev.Region, Attempt: ev.Outcome == event.Attempt, Write: ev.RW == event.Write}
	for _, s := range []*string{&e.Actor, &e.Key, &e.IP, &e.Service, &e.Name, &e.Action, &e.Target, &e.TargetKey, &e.Error, &e.Region} {
		*s = strings.Clone(Bounded(*s))
	}
	return e
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
