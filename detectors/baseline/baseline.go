package baseline

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Detector implements detectors.Detector.
type Detector struct {
	cfg    Config
	table  *window.Table[state]
	floor  int64  // identities last seen before it are dropped
	places uint64 // places dropped for lack of room

	touched byte // see Warm
}

// state is one identity.
type state struct {
	places      []place // in the order they were first kept
	values      []value // in kind value: the value of each place
	seen        uint64  // observations
	first, last uint32  // seconds since 1970
	oldest      uint32  // no place was last seen before it
	dropped     uint32  // places dropped for lack of room
}

// value is one value of an identity. The tag is a hash of the text, so that
// looking for one does not mean to fetch the texts of all.
type value struct {
	text string
	tag  uint64
}

func valueOf(text string) value { return value{text: text, tag: window.Hash(text)} }

// The estimated sizes of a place without its text, and of an identity besides
// what the table counts.
const (
	placeCost = 40
	valueCost = 24
	stateCost = 60
)

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c}
	if c.Phrase == "" {
		d.cfg.Phrase = "first " + c.Noun + " from"
		if c.Kind == KindValue {
			d.cfg.Phrase = "first " + c.Noun + " with"
		}
	}
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor, d.places = math.MinInt64, 0
}

// seconds is an event time as it is kept.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	c := &d.cfg
	var s sight
	if !c.see(&s, o.Value) {
		return out
	}
	at := seconds(o.Time)
	if int64(at) < d.floor {
		return out
	}
	// An attempt is judged but teaches nothing: one refused call must not make
	// an intruder's network usual for the successful ones that follow, nor an
	// identity known.
	attempt := o.Event != nil && o.Event.Outcome == event.Attempt
	if attempt {
		if e := d.table.Get(window.Bound(o.Key)); e == nil || int64(e.State.last) < d.floor {
			return out
		}
	}
	e, changed := d.table.TouchHint(window.Bound(o.Key), o.Hint)
	st := &e.State
	if int64(st.last) < d.floor {
		*st, changed = state{}, true
	}
	if st.seen == 0 {
		st.first, st.last = at, at
	}
	changed = d.forget(st) || changed
	i := st.find(c, &s)
	if level := d.novelty(st, &s, i); level != "" && d.learned(st, at) && (level == LevelCountry || !d.roams(st, at)) {
		out = append(out, d.verdict(e, &s, level, &o))
	}
	if !attempt {
		d.teach(st, &s, i, at)
		changed = changed || i < 0
	}
	if changed {
		d.table.Resize(e, st.size(c), nil)
	}
	return out
}

// Fetch implements detectors.Fetcher.
func (d *Detector) Fetch(key string) uint32 { return d.table.Fetch(key) }

// Warm implements detectors.Fetcher.
func (d *Detector) Warm(hint uint32) {
	if e := d.table.At(hint); e != nil {
		if st := &e.State; len(st.values) > 0 {
			d.touched += byte(st.values[0].tag) + byte(st.places[0].count)
		} else if len(st.places) > 0 {
			d.touched += byte(st.places[0].count)
		}
	}
}

// find returns the place of a sight, or -1.
func (st *state) find(c *Config, s *sight) int {
	if c.Kind == KindValue {
		for i := range st.values {
			if v := &st.values[i]; v.tag == s.value.tag && v.text == s.value.text {
				return i
			}
		}
		return -1
	}
	for i := range st.places {
		if st.places[i].net == s.unit {
			return i
		}
	}
	return -1
}

// name is a place in words: the network or value, without labels.
func (st *state) name(c *Config, i int) string {
	if c.Kind == KindValue {
		return window.Show(st.values[i].text)
	}
	return st.places[i].net.String()
}

// remove drops a place.
func (st *state) remove(i int) {
	st.places = slices.Delete(st.places, i, i+1)
	if st.values != nil {
		st.values = slices.Delete(st.values, i, i+1)
	}
}

// forget drops the places that the identity was active long enough without, and
// says whether there were any.
func (d *Detector) forget(st *state) (some bool) {
	keep := int64(st.last) - int64(d.cfg.ForgetAfter/time.Second)
	if int64(st.oldest) >= keep {
		return false // as nearly always: their times are not looked at
	}
	st.oldest = math.MaxUint32
	for i := len(st.places) - 1; i >= 0; i-- {
		if int64(st.places[i].last) < keep {
			st.remove(i)
			some = true
		} else {
			st.oldest = min(st.oldest, st.places[i].last)
		}
	}
	return some
}

// learned says whether the identity has learned enough before this time.
func (d *Detector) learned(st *state, at uint32) bool {
	days := int64(at)-int64(st.first) >= int64(d.cfg.LearnFor/time.Second)
	count := st.seen >= uint64(d.cfg.LearnCount)
	if d.cfg.Learn == "any" {
		return st.seen > 0 && (days || count)
	}
	return st.seen > 0 && days && count
}

// roamFor is how far back networks count as new for an identity that roams.
const roamFor = 14 * 86_400

// roams says whether so many of the identity's networks are new, and go on coming,
// that one more says nothing: people in hotels, a role that many share, a vendor's
// pool. Somebody who has many networks and was seen in all of them at first does not
// roam: a third of the new ones are of the later half of the time.
func (d *Detector) roams(st *state, at uint32) bool {
	if d.cfg.Roaming == 0 {
		return false
	}
	from := max(int64(at)-roamFor, int64(st.first))
	fresh, late := 0, 0
	for i := range st.places {
		first := int64(st.places[i].first)
		if first >= from {
			fresh++
		}
		if 2*first >= from+int64(at) {
			late++
		}
	}
	return fresh >= d.cfg.Roaming && 3*late >= d.cfg.Roaming
}

// novelty returns the widest level on which a sight is new, when it is new on
// the level that the settings ask for.
func (d *Detector) novelty(st *state, s *sight, known int) string {
	support := uint32(d.cfg.Support)
	if known >= 0 && st.places[known].count >= support {
		return ""
	}
	if d.cfg.Kind == KindValue {
		return LevelValue
	}
	network, asn, country := true, s.asn != 0, s.country != [2]byte{}
	asnKnown, countryKnown := false, false
	for i := range st.places {
		p := &st.places[i]
		if p.count < support {
			continue
		}
		network = network && !s.network.prefix().Contains(p.net.prefix().Addr())
		asnKnown = asnKnown || p.asn != 0
		countryKnown = countryKnown || p.country != [2]byte{}
		asn = asn && p.asn != s.asn
		country = country && p.country != s.country
	}
	// A label is judged only where both sides have one.
	asnKnown = asnKnown && s.asn != 0
	countryKnown = countryKnown && s.country != [2]byte{}
	newASN, newCountry := asnKnown && asn, countryKnown && country

	fires := network
	switch d.cfg.Novelty {
	case LevelAddress:
		fires = true
	case LevelASN:
		fires = network && (!asnKnown || newASN)
	case LevelCountry:
		if countryKnown {
			fires = network && newCountry
		} else {
			fires = network && (!asnKnown || newASN)
		}
	}
	switch {
	case !fires:
		return ""
	case network && newCountry:
		return LevelCountry
	case network && newASN:
		return LevelASN
	case network:
		return LevelNetwork
	}
	return LevelAddress
}

// teach adds an observation to what is known.
func (d *Detector) teach(st *state, s *sight, i int, at uint32) {
	st.seen++
	st.first, st.last = min(st.first, at), max(st.last, at)
	if i < 0 {
		if len(st.places) >= d.cfg.MaxValues {
			old := 0
			for j := range st.places {
				if st.places[j].last < st.places[old].last {
					old = j
				}
			}
			st.remove(old)
			d.places++
			if st.dropped < math.MaxUint32 {
				st.dropped++
			}
		}
		if len(st.places) == cap(st.places) {
			// Grow by one: most identities have few networks for ever.
			st.places = append(make([]place, 0, len(st.places)+1), st.places...)
		}
		st.places = append(st.places, place{net: s.unit, first: at, last: at})
		st.oldest = min(st.oldest, at)
		if d.cfg.Kind == KindValue {
			st.values = append(st.values, value{text: strings.Clone(s.value.text), tag: s.value.tag})
		}
		i = len(st.places) - 1
	}
	p := &st.places[i]
	if p.count < math.MaxUint32 {
		p.count++
	}
	p.first, p.last = min(p.first, at), max(p.last, at)
	// Labels follow the newest geo data; an unknown one changes nothing.
	if s.asn != 0 {
		p.asn = s.asn
	}
	if s.country != [2]byte{} {
		p.country = s.country
	}
}

func (st *state) size(c *Config) int {
	n := stateCost + cap(st.places)*placeCost
	if c.Kind == KindValue {
		n += cap(st.values) * valueCost
		for i := range st.values {
			n += len(st.values[i].text)
		}
	}
	return n
}

// subject says what a key is, in words.
func subject(key string) string {
	kind, _, ok := strings.Cut(key, "/")
	if ok {
		switch kind {
		case "user", "sso", "saml":
			return "this user"
		case "role":
			return "this role"
		case "root":
			return "the root account"
		}
	}
	if strings.HasPrefix(key, "LTAI") {
		return "this key"
	}
	return "this identity"
}

// Usual is one network or value that an identity uses.
type Usual struct {
	Name     string    `json:"name"`  // "192.0.2.0/24"
	Share    float64   `json:"share"` // of the observations kept, 0 to 1
	Count    uint32    `json:"count"`
	First    time.Time `json:"first_seen"`
	LastSeen time.Time `json:"last_seen"`
	ASN      uint32    `json:"asn,omitempty"`
	Country  string    `json:"country,omitempty"`
}

// usual lists the usual places, most used first.
func (d *Detector) usual(st *state) []Usual {
	var sum uint64
	out := make([]Usual, 0, len(st.places))
	for i := range st.places {
		p := &st.places[i]
		if p.count < uint32(d.cfg.Support) {
			continue
		}
		sum += uint64(p.count)
		u := Usual{
			Name: st.name(&d.cfg, i), Count: p.count, ASN: p.asn,
			First: time.Unix(int64(p.first), 0).UTC(), LastSeen: time.Unix(int64(p.last), 0).UTC(),
		}
		if p.country != [2]byte{} {
			u.Country = string(p.country[:])
		}
		out = append(out, u)
	}
	lists.Sort(out, func(a, b Usual) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.LastSeen.Compare(a.LastSeen), strings.Compare(a.Name, b.Name))
	})
	for i := range out {
		out[i].Share = window.Ratio(uint64(out[i].Count), sum)
	}
	return out
}

// shown is how many usual places a verdict lists.
const shown = 5

func (d *Detector) verdict(e *window.Entry[state], s *sight, level string, o *detectors.Observation) detectors.Verdict {
	st := &e.State
	c := &d.cfg
	what := window.Show(s.value.text)
	if c.Kind == KindNetwork {
		if what = s.network.String(); level == LevelAddress {
			what = s.addr.String()
		}
	}
	usual := d.usual(st)
	days := int64(max(seconds(o.Time), st.first)-st.first) / 86_400
	when := since(days) + " and " + window.Plural(st.seen, c.Noun)
	names := make([]string, len(usual))
	for i := range usual {
		names[i] = usual[i].Name
	}
	reason := c.Phrase + " " + what + labels(s.asn, s.country)
	zh := c.phraseZH() + " " + c.WordsZH.In(what) + strings.NewReplacer(" (", "（", ")", "）").Replace(labels(s.asn, s.country))
	namesZH, whenZH := c.WordsZH.All(names), subjectZH(e.Key)+"此前 "+sinceZH(days)+"、"+window.Count(st.seen)+" "+c.NounZH+"中"
	switch {
	case len(names) == 0:
		zh += "；" + whenZH + "没有形成惯用项"
	case len(names) <= 4:
		zh += "；" + whenZH + "仅有 " + window.ListZH(namesZH, 0)
	default:
		zh += "；" + whenZH + "常见的是 " + window.ListZH(namesZH, 3)
	}
	switch {
	case len(names) == 0:
		reason += fmt.Sprintf("; in %s %s used none often enough to be usual", when, subject(e.Key))
	case len(names) <= 4:
		reason += fmt.Sprintf("; in %s %s used only %s", when, subject(e.Key), window.List(names, 0))
	default:
		reason += fmt.Sprintf("; in %s %s used %s", when, subject(e.Key), window.List(names, 3))
	}
	list := make([]any, 0, shown)
	for _, u := range usual[:min(len(usual), shown)] {
		key := "network"
		if c.Kind == KindValue {
			key = "value"
		}
		m := map[string]any{key: u.Name, "share": u.Share, "count": u.Count, "last_seen": u.LastSeen.Format(time.RFC3339)}
		if u.ASN != 0 {
			m["asn"] = "AS" + strconv.FormatUint(uint64(u.ASN), 10)
		}
		if u.Country != "" {
			m["country"] = u.Country
		}
		list = append(list, m)
	}
	details := map[string]any{
		"usual": list, "usual_total": len(usual), "learned_days": days, "observations": st.seen,
		"new": what, "novelty": level,
	}
	if st.dropped > 0 {
		details["forgotten_for_room"] = st.dropped
	}
	if c.Kind == KindNetwork {
		details["address"] = s.addr.String()
		if s.asn != 0 {
			details["asn"] = "AS" + strconv.FormatUint(uint64(s.asn), 10)
		}
		if s.country != [2]byte{} {
			details["country"] = string(s.country[:])
		}
	}
	v := detectors.Verdict{
		Reason: reason, ReasonZH: zh, First: o.Time, Last: o.Time, Count: 1,
		Details: map[string]any{"baseline": details}, Event: o.Event,
	}
	if id := window.ID(o); id != "" {
		v.EventIDs = []string{id}
	}
	return v
}

// since counts days, from less than one on.
func since(days int64) string {
	if days < 1 {
		return "less than a day"
	}
	return window.Plural(days, "day")
}

func sinceZH(days int64) string {
	if days < 1 {
		return "不到 1 天"
	}
	return window.Count(days) + " 天"
}

// phraseZH begins the Chinese reason.
func (c *Config) phraseZH() string {
	switch {
	case c.PhraseZH != "":
		return c.PhraseZH
	case c.Kind == KindValue:
		return "首次出现"
	}
	return "首次来自"
}

// subjectZH is subject in Chinese.
func subjectZH(key string) string {
	switch subject(key) {
	case "this user":
		return "该用户"
	case "this role":
		return "该角色"
	case "the root account":
		return "主账号"
	case "this key":
		return "该密钥"
	}
	return "该身份"
}

// Advance implements detectors.Detector: identities silent for long are
// dropped.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	d.floor = max(d.floor, watermark.Unix()-int64(d.cfg.DropAfter/time.Second))
	for e := d.table.Oldest(); e != nil && int64(e.State.last) < d.floor; e = d.table.Oldest() {
		d.table.Remove(e)
	}
	return out
}

// Patient implements detectors.Patient.
func (d *Detector) Patient() {}

// Stats implements detectors.Detector. Trimmed counts places.
func (d *Detector) Stats() detectors.Stats {
	return detectors.Stats{Keys: d.table.Len(), Bytes: d.table.Bytes(), Evicted: d.table.Evicted(), Trimmed: d.places}
}

// Profile is what is known of one identity.
type Profile struct {
	Key          string    `json:"key"`
	FirstSeen    time.Time `json:"first_seen"`
	LastSeen     time.Time `json:"last_seen"`
	Observations uint64    `json:"observations"`
	Learned      bool      `json:"learned"` // as of LastSeen
	Usual        []Usual   `json:"usual"`
}

// Profiles yields all identities, least recently seen first.
func (d *Detector) Profiles() iter.Seq[Profile] {
	return func(yield func(Profile) bool) {
		for e := range d.table.All() {
			if !yield(d.profile(e)) {
				return
			}
		}
	}
}

// Profile returns what is known of one identity.
func (d *Detector) Profile(key string) (Profile, bool) {
	e := d.table.Get(window.Bound(key))
	if e == nil {
		return Profile{}, false
	}
	return d.profile(e), true
}

func (d *Detector) profile(e *window.Entry[state]) Profile {
	st := &e.State
	return Profile{
		Key: e.Key, FirstSeen: time.Unix(int64(st.first), 0).UTC(), LastSeen: time.Unix(int64(st.last), 0).UTC(),
		Observations: st.seen, Learned: d.learned(st, st.last), Usual: d.usual(st),
	}
}

const magic = "TWBASELINE1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Bool(d.cfg.Kind == KindValue)
	enc.Bool(d.cfg.Novelty == LevelAddress)
	enc.Int(d.floor)
	enc.Uint(d.places)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		st := &e.State
		enc.String(e.Key)
		enc.Uint(st.seen)
		enc.Uint(uint64(st.first))
		enc.Uint(uint64(st.last))
		enc.Uint(uint64(st.dropped))
		enc.Uint(uint64(len(st.places)))
		for i := range st.places {
			p := &st.places[i]
			if d.cfg.Kind == KindValue {
				enc.String(st.values[i].text)
			} else {
				enc.Bool(p.net.v4)
				enc.Raw(p.net.addr[:])
				enc.Uint(uint64(p.asn))
				enc.Raw(p.country[:])
			}
			enc.Uint(uint64(p.count))
			enc.Uint(uint64(p.first))
			enc.Uint(uint64(p.last))
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("baseline: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	if dec.Bool() != (d.cfg.Kind == KindValue) || dec.Bool() != (d.cfg.Novelty == LevelAddress) {
		dec.Fail("it remembers another kind of thing than the settings ask for")
	}
	d.floor = dec.Int()
	places := dec.Uint()
	evicted := dec.Uint()
	for range dec.Count(6) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		st := &e.State
		*st = state{seen: dec.Uint(), first: dec.Uint32(), last: dec.Uint32(), dropped: dec.Uint32()}
		n := dec.Count(4)
		if st.seen == 0 || st.first > st.last || n > d.cfg.MaxValues {
			dec.Fail("an identity that cannot be")
		}
		if dec.Err() != nil {
			break
		}
		st.places = make([]place, n)
		for i := range st.places {
			p := &st.places[i]
			if d.cfg.Kind == KindValue {
				v := valueOf(dec.String())
				if slices.Contains(st.values, v) || v.text == "" || len(v.text) > window.MaxValue {
					dec.Fail("a value that cannot be, or is there twice")
				}
				st.values = append(st.values, v)
			} else {
				p.net.v4 = dec.Bool()
				copy(p.net.addr[:], dec.Raw(16))
				p.asn = dec.Uint32()
				copy(p.country[:], dec.Raw(2))
				p.net = d.cfg.rebuild(p.net)
				if p.net == (netIP{}) || slices.ContainsFunc(st.places[:i], func(q place) bool { return q.net == p.net }) || p.country != [2]byte{} && !(letter(p.country[0]) && letter(p.country[1])) {
					dec.Fail("a network that cannot be, or is there twice")
				}
			}
			p.count, p.first, p.last = dec.Uint32(), dec.Uint32(), dec.Uint32()
			if p.count == 0 || p.first > p.last {
				dec.Fail("a place that cannot be")
			}
			if dec.Err() != nil {
				break
			}
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, st.size(&d.cfg), nil)
	}
	d.places = places
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}

// rebuild gives a stored network its length back, and refuses one that has
// address bits beyond it.
func (c *Config) rebuild(n netIP) netIP {
	n.bits = 0
	p := n.prefix().Addr()
	if n.v4 != p.Is4() {
		return netIP{}
	}
	m := mask(p, c.Novelty == LevelAddress)
	if m.addr != n.addr {
		return netIP{}
	}
	return m
}
