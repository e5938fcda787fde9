package lineage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Config bounds a store. The zero value of a field is its default.
type Config struct {
	// Fresh is how old a birth may be for the way back to Root to go by it
	// (default 72 h).
	Fresh time.Duration
	// SessionFor is how long the key of a role session is remembered (default
	// 24 h; a session lasts 12 at most).
	SessionFor time.Duration
	// MaxKeys and MaxBytes bound each of the three tables (default 50,000 and
	// 16 MiB).
	MaxKeys, MaxBytes int
}

func (c *Config) defaults() {
	if c.Fresh <= 0 {
		c.Fresh = 72 * time.Hour
	}
	if c.SessionFor <= 0 {
		c.SessionFor = 24 * time.Hour
	}
	if c.MaxKeys <= 0 {
		c.MaxKeys = 50_000
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 16 << 20
	}
}

// The bounds of one answer.
const (
	maxDepth    = 8
	maxChildren = 16
)

// Store implements detectors.Lineage.
type Store struct {
	cfg      Config
	lasting  *window.Table[birth]
	sessions *window.Table[birth]
	makers   *window.Table[children] // by maker's key, or the maker
	floor    int64                   // sessions born before it are forgotten
}

// birth is a detectors.Birth of the child that is its key in the table.
type birth struct {
	of, maker, key, action, event string
	at                            int64
}

// child is a child as its maker remembers it.
type child struct {
	name, of, action, event string
	at                      int64
}

type children struct {
	newest []child // in order of time, then event
	total  uint64
}

// The estimated sizes besides the texts and what the table counts.
const (
	birthCost = 96
	childCost = 112
)

// New returns an empty store.
func New(c Config) *Store {
	c.defaults()
	s := &Store{cfg: c}
	s.reset()
	return s
}

func (s *Store) reset() {
	l := window.Limits{Keys: s.cfg.MaxKeys, Bytes: s.cfg.MaxBytes}
	s.lasting, s.sessions, s.makers = window.NewTable[birth](l), window.NewTable[birth](l), window.NewTable[children](l)
	s.floor = window.Nanos(time.Time{})
}

func (b *birth) size() int {
	return birthCost + len(b.of) + len(b.maker) + len(b.key) + len(b.action) + len(b.event)
}

func (c *child) size() int {
	return childCost + len(c.name) + len(c.of) + len(c.action) + len(c.event)
}

// Learn implements detectors.Lineage.
func (s *Store) Learn(b *detectors.Birth) {
	x := birth{of: window.Bound(b.Of), maker: window.Bound(b.Maker), key: window.BoundValue(b.Key), action: window.BoundValue(string(b.Action)),
		event: window.BoundID(b.Event), at: window.Nanos(b.At)}
	name := window.Bound(b.Child)
	table := s.lasting
	if b.Session {
		if x.at < s.floor {
			return
		}
		table = s.sessions
	}
	e, isNew := table.Touch(name)
	if isNew || e.State.at < x.at || e.State.at == x.at && x.event < e.State.event {
		e.State = x
	}
	table.Resize(e, e.State.size(), nil)
	if b.Session {
		return // there are too many, and each says what its maker says
	}
	m, _ := s.makers.Touch(makerOf(x.maker, x.key))
	m.State.add(child{name: name, of: x.of, action: x.action, event: x.event, at: x.at})
	size := 0
	for i := range m.State.newest {
		size += m.State.newest[i].size()
	}
	s.makers.Resize(m, size, nil)
}

// add takes a child; one that two services tell of is one.
func (c *children) add(x child) {
	for i := range c.newest {
		if o := &c.newest[i]; o.name == x.name && o.action == x.action && (o.at == x.at || o.event == x.event) {
			if x.event < o.event {
				o.event = x.event
			}
			return
		}
	}
	c.total++
	i, _ := slices.BinarySearchFunc(c.newest, x, func(a, b child) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.event, b.event), strings.Compare(a.name, b.name))
	})
	if len(c.newest) >= maxChildren {
		if i == 0 {
			return // older than all that are kept
		}
		c.newest = slices.Delete(c.newest, 0, 1)
		i--
	}
	c.newest = slices.Insert(c.newest, i, x)
}

// makerOf is where the children of a maker are.
func makerOf(id, key string) string {
	if key != "" {
		return detectors.KeyChild(key)
	}
	return id
}

// born finds the birth of a child at or before a time.
func (s *Store) born(name string, at int64) *birth {
	name = window.Bound(name)
	e := s.lasting.Get(name)
	if e == nil {
		e = s.sessions.Get(name)
	}
	if e == nil || e.State.at > at {
		return nil
	}
	return &e.State
}

// step is one step of the way back.
type step struct {
	child string
	*birth
}

// back finds how an identity that acts with a key, or without, came to be: by
// the key, else the login, else the identity itself.
func (s *Store) back(id, key string, at int64) (step, bool) {
	names := [2]string{detectors.KeyChild(key), id}
	if key == "" {
		names[0] = detectors.LoginChild(id)
	}
	for _, n := range names {
		if b := s.born(n, at); b != nil {
			return step{n, b}, true
		}
	}
	return step{}, false
}

// way is the whole way back from an event's actor, as far as it is fresh; the
// first step may be older.
func (s *Store) way(ev *event.Event) (steps []step, root string) {
	if ev.Actor.ID == "" {
		return nil, ""
	}
	// What is told goes into alerts and outlives the event's memory.
	root = strings.Clone(ev.Actor.ID)
	id, key, at := root, ev.Actor.Key, window.Nanos(ev.Time)
	for len(steps) < maxDepth {
		st, ok := s.back(id, key, at)
		// Nobody is older than what made them: without this a circle of
		// keys that make each other's users would go round.
		if !ok || slices.ContainsFunc(steps, func(o step) bool { return o.child == st.child }) {
			break
		}
		old := window.Nanos(ev.Time)-st.at > int64(s.cfg.Fresh)
		if old && len(steps) > 0 {
			break
		}
		steps = append(steps, st)
		if old {
			break
		}
		root = st.maker
		id, key, at = st.maker, st.key, st.at
	}
	return steps, root
}

// Of implements detectors.Lineage.
func (s *Store) Of(ev *event.Event) detectors.Kin {
	k := detectors.StrangerKin(ev)
	steps, root := s.way(ev)
	k.Root = root
	if len(steps) > 0 {
		first := steps[0]
		k.Known, k.Child, k.By, k.ByKey, k.Action = true, first.child, first.maker, first.key, event.Action(first.action)
		k.Age = time.Duration(window.Nanos(ev.Time) - first.at)
		k.Depth = len(steps)
		if int64(k.Age) > int64(s.cfg.Fresh) {
			k.Depth = 0
		}
		k.Sentence = sentence(first, window.Nanos(ev.Time))
	}
	if m := s.makers.Get(makerOf(window.Bound(ev.Actor.ID), window.BoundValue(ev.Actor.Key))); m != nil {
		k.Made = int(m.State.total)
	}
	return k
}

// Tell implements detectors.Lineage.
func (s *Store) Tell(ev *event.Event) map[string]any {
	steps, root := s.way(ev)
	var made *children
	if m := s.makers.Get(makerOf(window.Bound(ev.Actor.ID), window.BoundValue(ev.Actor.Key))); m != nil {
		made = &m.State
	}
	if len(steps) == 0 && made == nil {
		return nil
	}
	out := map[string]any{"root": root}
	if len(steps) > 0 {
		chain := make([]any, len(steps))
		for i, st := range steps {
			chain[i] = told(child{name: st.child, of: st.of, action: st.action, event: st.event, at: st.at}, st.maker, st.key)
		}
		out["chain"] = chain
		out["sentence"] = sentence(steps[0], window.Nanos(ev.Time))
	}
	if made != nil {
		list := make([]any, len(made.newest))
		for i, c := range made.newest {
			list[i] = told(c, "", "")
		}
		out["made"], out["made_total"] = list, int(made.total)
	}
	return out
}

// sentence says a step in words: "the key was made by user alice with
// AccessKey LTAI… 12 minutes before".
func sentence(st step, now int64) string {
	act := "the identity was created by "
	switch {
	case strings.HasPrefix(st.action, "sts."):
		act = "the session was opened by "
	case st.action == string(event.ActIAMAccessKeyRestore):
		act = "the key was restored by "
	case strings.HasPrefix(st.child, "key/"):
		act = "the key was made by "
	case strings.HasPrefix(st.child, "login/"):
		act = "the password was set by "
	}
	out := act + who(st.maker)
	if st.key != "" {
		out += " with AccessKey " + window.Show(st.key)
	}
	if now == st.at {
		return out + " at the same moment"
	}
	return out + " " + window.Span(time.Duration(now-st.at)) + " before"
}

// who shortens an identity: its account is the event's as a rule.
func who(id string) string {
	kind, rest, _ := strings.Cut(id, "/")
	_, name, ok := strings.Cut(rest, "/")
	switch {
	case kind == "root":
		return "the root account"
	case ok && name != "":
		return kind + " " + window.Show(name)
	}
	return window.Show(id)
}

func told(c child, maker, key string) map[string]any {
	m := map[string]any{"child": window.Show(c.name), "action": c.action, "at": window.RFC3339(c.at), "event_id": window.Show(c.event)}
	for k, v := range map[string]string{"of": c.of, "by": maker, "with_key": key} {
		if v != "" {
			m[k] = window.Show(v)
		}
	}
	return m
}

// Advance implements detectors.Lineage.
func (s *Store) Advance(watermark time.Time) {
	s.floor = max(s.floor, window.Nanos(watermark)-int64(s.cfg.SessionFor))
	for e := s.sessions.Oldest(); e != nil && e.State.at < s.floor; e = s.sessions.Oldest() {
		s.sessions.Remove(e)
	}
}

// Stats implements detectors.Lineage.
func (s *Store) Stats() (st detectors.Stats) {
	st.Keys = s.lasting.Len() + s.sessions.Len()
	st.Bytes = s.lasting.Bytes() + s.sessions.Bytes() + s.makers.Bytes()
	st.Evicted = s.lasting.Evicted() + s.sessions.Evicted() + s.makers.Evicted()
	return st
}
