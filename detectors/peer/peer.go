package peer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a peer detector in a rule file.
type Config struct {
	// MinPeers is how many peers there must be for a comparison.
	MinPeers int `yaml:"min_peers"`
	// Overlap is how alike peers are, from 0 (the group is enough) to 1.
	Overlap float64 `yaml:"overlap"`
	// Rare is how many peers may have done the same.
	Rare int `yaml:"rare"`
	// LearnFor and LearnCount say when a member is established.
	LearnFor   time.Duration `yaml:"learn_for"`
	LearnCount int           `yaml:"learn_count"`
	// ForgetAfter is how long what was done counts.
	ForgetAfter time.Duration `yaml:"forget_after"`
	// WordsZH are parts of values in Chinese.
	WordsZH window.Words `yaml:"words_zh"`
	// MaxMembers and MaxValues bound a group.
	MaxMembers int `yaml:"max_members"`
	MaxValues  int `yaml:"max_values"`
	// MaxKeys and MaxBytes bound the groups remembered.
	MaxKeys  int `yaml:"max_keys"`
	MaxBytes int `yaml:"max_bytes"`
}

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{MinPeers: 5, Overlap: 0.5, LearnFor: 7 * 24 * time.Hour, LearnCount: 20, ForgetAfter: 90 * 24 * time.Hour,
		MaxMembers: 512, MaxValues: 128, MaxKeys: 10_000, MaxBytes: 64 << 20}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := c.WordsZH.Validate(); err != nil {
		return err
	}
	if err := window.CheckRange("min_peers", c.MinPeers, 3, 1000); err != nil {
		return err
	}
	if !(c.Overlap >= 0 && c.Overlap <= 1) {
		return window.Bad("overlap", "%v is not between 0 and 1", c.Overlap)
	}
	if err := window.CheckRange("rare", c.Rare, 0, c.MinPeers-1); err != nil {
		return err
	}
	if err := window.CheckRange("learn_count", c.LearnCount, 1, 1_000_000); err != nil {
		return err
	}
	if err := window.CheckWindow("forget_after", c.ForgetAfter, window.MaxWindow); err != nil {
		return err
	}
	if c.LearnFor < 0 || c.LearnFor >= c.ForgetAfter {
		return window.Bad("learn_for", "%s is not between 0 and forget_after, %s", c.LearnFor, c.ForgetAfter)
	}
	if err := window.CheckRange("max_members", c.MaxMembers, c.MinPeers+1, 10_000); err != nil {
		return err
	}
	if err := window.CheckRange("max_values", c.MaxValues, 2, 4096); err != nil {
		return err
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg     Config
	table   *window.Table[group]
	floor   int64
	dropped uint64 // members that made room
}

type group struct {
	members map[string]*member
	words   map[string]*word // of the things done, one copy for all members
	bytes   int
	newest  int64
}

type word struct {
	text string
	refs int
}

// deed is a thing that a member does, and when it last did.
type deed struct {
	*word
	last int64
}

type member struct {
	name        string
	first, last int64
	seen        uint64
	deeds       []deed // by text
}

// The estimated sizes without texts.
const (
	memberCost = 150
	deedCost   = 20
	wordCost   = 80
	groupCost  = 160
)

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[group](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor, d.dropped = window.Nanos(time.Time{}), 0
}

func (g *group) init() {
	if g.members == nil {
		g.members, g.words = make(map[string]*member), make(map[string]*word)
		g.bytes = groupCost
		g.newest = window.Nanos(time.Time{})
	}
}

func (g *group) word(text string) *word {
	w := g.words[text]
	if w == nil {
		w = &word{text: strings.Clone(text)}
		g.words[w.text] = w
		g.bytes += wordCost + len(text)
	}
	w.refs++
	return w
}

func (g *group) letGo(w *word) {
	if w.refs--; w.refs == 0 {
		delete(g.words, w.text)
		g.bytes -= wordCost + len(w.text)
	}
}

// find returns where a member has a thing done, or -1: words are compared by
// what they are, not by their texts, of which each would have to be fetched.
func (m *member) find(w *word) int {
	return slices.IndexFunc(m.deeds, func(x deed) bool { return x.word == w })
}

// remove forgets a member.
func (g *group) remove(m *member) {
	for _, x := range m.deeds {
		g.letGo(x.word)
	}
	g.bytes -= memberCost + len(m.name) + deedCost*len(m.deeds)
	delete(g.members, m.name)
}

// drop forgets one thing that a member does.
func (g *group) drop(m *member, i int) {
	g.letGo(m.deeds[i].word)
	m.deeds = slices.Delete(m.deeds, i, i+1)
	g.bytes -= deedCost
}

// oldest is the member seen longest ago, other than one.
func (g *group) oldest(but *member) *member {
	var out *member
	for _, m := range g.members {
		if m != but && (out == nil || m.last < out.last || m.last == out.last && m.name < out.name) {
			out = m
		}
	}
	return out
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	name, what, ok := strings.Cut(o.Value, "|")
	if !ok {
		name, what = "", o.Value
	}
	at := window.Nanos(o.Time)
	if what == "" || at < d.floor {
		return out
	}
	// A group may have no name; an entity must.
	e, _ := d.table.Touch("=" + window.Bound(name))
	g := &e.State
	g.init()
	g.newest = max(g.newest, at)
	key := window.Bound(o.Key)
	m := g.members[key]
	if m == nil {
		m = &member{name: strings.Clone(key), first: at, last: at}
		g.members[m.name] = m
		g.bytes += memberCost + len(m.name)
		for len(g.members) > d.cfg.MaxMembers {
			g.remove(g.oldest(m))
			d.dropped++
		}
	}
	text := window.BoundValue(what)
	since := at - int64(d.cfg.ForgetAfter)
	w := g.words[text] // nil when nobody does it
	i := m.find(w)
	if i < 0 || m.deeds[i].last < since {
		if v, unusual := d.judge(name, g, m, text, w, at, &o); unusual {
			out = append(out, v)
		}
	}
	m.first, m.last = min(m.first, at), max(m.last, at)
	m.seen++
	switch {
	case i >= 0:
		m.deeds[i].last = max(m.deeds[i].last, at)
	default:
		i, _ = slices.BinarySearchFunc(m.deeds, text, func(x deed, t string) int { return strings.Compare(x.text, t) })
		m.deeds = slices.Insert(m.deeds, i, deed{g.word(text), at})
		g.bytes += deedCost
		for len(m.deeds) > d.cfg.MaxValues {
			oldest := -1
			for j := range m.deeds {
				if m.deeds[j].text != text && (oldest < 0 || m.deeds[j].last < m.deeds[oldest].last) {
					oldest = j
				}
			}
			g.drop(m, oldest)
		}
	}
	d.table.Resize(e, g.bytes, func(old *window.Entry[group]) { d.dropped += uint64(len(old.State.members)) })
	return out
}

// established says whether enough was seen of a member by a time.
func (d *Detector) established(m *member, at int64) bool {
	return m.seen >= uint64(d.cfg.LearnCount) && at-m.first >= int64(d.cfg.LearnFor)
}

// judge compares what a member does now with what its peers did.
func (d *Detector) judge(name string, g *group, m *member, text string, w *word, at int64, o *detectors.Observation) (v detectors.Verdict, unusual bool) {
	if d.cfg.Overlap > 0 && !d.established(m, at) || len(g.members) <= d.cfg.MinPeers {
		return v, false
	}
	since := at - int64(d.cfg.ForgetAfter)
	var peers []string
	others := 0
	for _, p := range g.members {
		if p == m || !d.established(p, at) || !d.alike(m, p, since) {
			continue
		}
		if i := p.find(w); i >= 0 && p.deeds[i].last >= since {
			if others++; others > d.cfg.Rare {
				return v, false
			}
		}
		peers = append(peers, p.name)
	}
	if len(peers) < d.cfg.MinPeers {
		return v, false
	}
	slices.Sort(peers)
	return d.verdict(name, g, m, text, peers, others, since, o), true
}

// alike says whether two members do much the same. Both lists are in order.
func (d *Detector) alike(a, b *member, since int64) bool {
	if d.cfg.Overlap <= 0 {
		return true
	}
	both, all := 0, 0
	x, y := a.deeds, b.deeds
	for len(x) > 0 || len(y) > 0 {
		c := 0
		switch {
		case len(x) == 0:
			c = 1
		case len(y) == 0:
			c = -1
		default:
			c = cmp.Compare(x[0].text, y[0].text)
		}
		inA, inB := c <= 0 && x[0].last >= since, c >= 0 && y[0].last >= since
		if inA || inB {
			all++
		}
		if inA && inB {
			both++
		}
		if c <= 0 {
			x = x[1:]
		}
		if c >= 0 {
			y = y[1:]
		}
	}
	return both > 0 && float64(both) >= d.cfg.Overlap*float64(all)
}

const (
	shownPeers = 3
	toldPeers  = 20
)

func (d *Detector) verdict(name string, g *group, m *member, text string, peers []string, others int, since int64, o *detectors.Observation) detectors.Verdict {
	reason := "first " + window.Show(text) + ", which "
	zh := "首次 " + d.cfg.WordsZH.In(window.Show(text)) + "，" + window.SpanZH(d.cfg.ForgetAfter) + "内其 " + window.Count(len(peers)) + " 个同类身份"
	if others == 0 {
		zh += "均未做过"
	} else {
		zh += "中仅 " + window.Count(others) + " 个做过"
	}
	if others == 0 {
		reason += "none of its " + window.Plural(len(peers), "peer") + " has done"
	} else {
		reason += fmt.Sprintf("only %s of its %s did", window.Count(others), window.Plural(len(peers), "peer"))
	}
	reason += " in " + window.Span(d.cfg.ForgetAfter)
	short := make([]string, len(peers))
	for i, p := range peers {
		short[i] = window.Show(p[strings.LastIndexByte(p, '/')+1:])
	}
	reason += " (" + window.List(short, shownPeers) + ")"
	zh += "（" + window.ListZH(short, shownPeers) + "）"
	var usual []any
	for _, x := range m.deeds {
		if x.last >= since && len(usual) < toldPeers {
			usual = append(usual, window.Show(x.text))
		}
	}
	told := make([]any, 0, toldPeers)
	for _, p := range peers[:min(len(peers), toldPeers)] {
		told = append(told, window.Show(p))
	}
	details := map[string]any{"value": window.Show(text), "peers": len(peers), "peer_ids": told, "members": len(g.members), "done_by": others}
	if name != "" {
		details["group"] = window.Show(name)
	}
	if len(usual) > 0 {
		details["usual"] = usual
	}
	v := detectors.Verdict{Reason: reason, ReasonZH: zh, First: o.Time, Last: o.Time, Count: 1, Details: map[string]any{"peer": details}, Event: o.Event}
	if id := window.ID(o); id != "" {
		v.EventIDs = []string{id}
	}
	return v
}

// Advance implements detectors.Detector: groups of which nothing counts any
// more are forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.floor = max(d.floor, window.Nanos(watermark)-int64(d.cfg.ForgetAfter))
	for e := d.table.Oldest(); e != nil && e.State.newest < d.floor; e = d.table.Oldest() {
		d.table.Remove(e)
	}
	return out
}

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector. Keys are groups, Evicted members.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.dropped}
}

const magic = "TWPEER1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.dropped)
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		g := &e.State
		enc.String(e.Key)
		enc.Int(g.newest)
		enc.Uint(uint64(len(g.members)))
		for _, name := range slices.Sorted(maps.Keys(g.members)) {
			m := g.members[name]
			enc.String(name)
			enc.Int(m.first)
			enc.Int(m.last)
			enc.Uint(m.seen)
			enc.Uint(uint64(len(m.deeds)))
			for _, x := range m.deeds {
				enc.String(x.text)
				enc.Int(x.last)
			}
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("peer: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	d.floor = dec.Int()
	d.dropped = dec.Uint()
	for range dec.Count(3) {
		e, isNew := d.table.Touch(dec.String())
		g := &e.State
		g.init()
		g.newest = dec.Int()
		n := dec.Count(5)
		if dec.Err() == nil && (!isNew || n == 0 || n > d.cfg.MaxMembers || len(e.Key) > window.MaxKey+1) {
			dec.Fail("a group that cannot be, or is there twice")
		}
		before := ""
		for i := range n {
			m := &member{name: dec.String(), first: dec.Int(), last: dec.Int(), seen: dec.Uint()}
			k := dec.Count(2)
			if dec.Err() == nil && (k == 0 || k > d.cfg.MaxValues || m.first > m.last || i > 0 && m.name <= before || len(m.name) > window.MaxKey) {
				dec.Fail("a member that cannot be, or is there twice")
			}
			if dec.Err() != nil {
				return dec.Err()
			}
			before = m.name
			g.members[m.name] = m
			g.bytes += memberCost + len(m.name) + deedCost*k
			for j := range k {
				text, last := dec.String(), dec.Int()
				if dec.Err() == nil && (text == "" || len(text) > window.MaxValue || j > 0 && text <= m.deeds[j-1].text) {
					dec.Fail("things done out of order")
				}
				if dec.Err() != nil {
					return dec.Err()
				}
				m.deeds = append(m.deeds, deed{g.word(text), last})
			}
		}
		if dec.Err() != nil {
			return dec.Err()
		}
		d.table.Resize(e, g.bytes, nil)
	}
	return dec.End()
}
