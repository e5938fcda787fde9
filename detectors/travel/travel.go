package travel

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config is the settings of a travel detector in a rule file.
type Config struct {
	// MaxSpeed is the fastest plausible travel in km/h, from door to door.
	MaxSpeed int `yaml:"max_speed"`
	// MinDistance is the shortest way in km that is judged.
	MinDistance int `yaml:"min_distance"`
	// Within is how long a place is remembered after its last observation.
	Within time.Duration `yaml:"within"`
	// MinObservations is how often each of the two places must have been
	// observed.
	MinObservations int `yaml:"min_observations"`
	// RepeatAfter is how long two countries must not have met until they are
	// told again.
	RepeatAfter time.Duration `yaml:"repeat_after"`
	// IgnoreASNs and IgnoreNetworks are egresses that say nothing about where
	// somebody is: "AS64500" or "64500", and "203.0.113.0/24".
	IgnoreASNs     []string `yaml:"ignore_asns"`
	IgnoreNetworks []string `yaml:"ignore_networks"`
	// Together are groups of countries that count as one, "CN HK SG".
	Together []string `yaml:"together"`
	// SameASN is "tolerate" (one network in two countries is one place) or
	// "judge".
	SameASN string `yaml:"same_asn"`
	// Phrase begins the reason, for example "signed in".
	Phrase string `yaml:"phrase"`
	// PhraseZH is what was done in Chinese: "登录".
	PhraseZH string `yaml:"phrase_zh"`
	// MaxPlaces bounds the places of an identity, MaxKeys and MaxBytes the
	// identities remembered.
	MaxPlaces int `yaml:"max_places"`
	MaxKeys   int `yaml:"max_keys"`
	MaxBytes  int `yaml:"max_bytes"`
}

// The words of Config.SameASN.
const (
	Tolerate = "tolerate"
	Judge    = "judge"
)

// Defaults are the settings that a rule does not give.
func Defaults() Config {
	return Config{
		MaxSpeed: 900, MinDistance: 500, Within: 24 * time.Hour, MinObservations: 1, RepeatAfter: 7 * 24 * time.Hour,
		SameASN: Tolerate, Phrase: "signed in", PhraseZH: "登录", MaxPlaces: 8, MaxKeys: 100_000, MaxBytes: 128 << 20,
	}
}

// Validate returns a *window.FieldError for the first unusable setting.
func (c Config) Validate() error {
	if err := window.CheckRange("max_speed", c.MaxSpeed, 100, 100_000); err != nil {
		return err
	}
	if err := window.CheckRange("min_distance", c.MinDistance, 0, 20_000); err != nil {
		return err
	}
	if err := window.CheckWindow("within", c.Within, 31*24*time.Hour); err != nil {
		return err
	}
	if err := window.CheckRange("min_observations", c.MinObservations, 1, 1000); err != nil {
		return err
	}
	if c.RepeatAfter < 0 || c.RepeatAfter > window.MaxWindow {
		return window.Bad("repeat_after", "%s is not between 0 and %s", c.RepeatAfter, window.MaxWindow)
	}
	for i, a := range c.IgnoreASNs {
		if n := parseASN(a); n == 0 {
			return window.Bad("ignore_asns."+strconv.Itoa(i), "%q is not the number of a network: AS64500 or 64500", window.Show(a))
		}
	}
	for i, n := range c.IgnoreNetworks {
		if _, err := parseNetwork(n); err != nil {
			return window.Bad("ignore_networks."+strconv.Itoa(i), "%q is neither a network nor an address: 203.0.113.0/24", window.Show(n))
		}
	}
	if i, _, err := groups(c.Together); err != nil {
		return window.Bad("together."+strconv.Itoa(i), "%s", err)
	}
	if c.SameASN != Tolerate && c.SameASN != Judge {
		return window.Bad("same_asn", "%q: want %s or %s", window.Show(c.SameASN), Tolerate, Judge)
	}
	if c.Phrase == "" {
		return window.Bad("phrase", "must not be empty")
	}
	if err := window.CheckRange("max_places", c.MaxPlaces, 2, 64); err != nil {
		return err
	}
	return window.CheckBounds(c.MaxKeys, c.MaxBytes)
}

// parseNetwork reads a network, or an address as the network of it alone.
func parseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// parseASN reads "64500" or "AS64500"; 0 is no number.
func parseASN(text string) uint32 {
	text = strings.TrimSpace(text)
	if len(text) > 2 && (text[0]|0x20) == 'a' && (text[1]|0x20) == 's' {
		text = text[2:]
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// groups gives each country of a group the number of the group, from 1; on an
// error it returns the place of the group too.
func groups(together []string) (int, map[code]int, error) {
	out := map[code]int{}
	for i, g := range together {
		words := strings.FieldsFunc(g, func(r rune) bool { return r == ' ' || r == ',' || r == '/' })
		if len(words) < 2 {
			return i, nil, fmt.Errorf("%q: want at least two countries, for example CN HK SG", window.Show(g))
		}
		for _, w := range words {
			c, ok := parseCode(w)
			if !ok || places[c] == (spot{}) {
				return i, nil, fmt.Errorf("%q is not the two-letter code of a country", window.Show(w))
			}
			if out[c] != 0 {
				return i, nil, fmt.Errorf("%s is there twice", c)
			}
			out[c] = i + 1
		}
	}
	return 0, out, nil
}

// Factory makes the detector from a rule's settings.
var Factory = window.Factory(Defaults, func(c Config) detectors.Detector { return New(c) })

// Detector implements detectors.Detector.
type Detector struct {
	cfg    Config
	width  int64
	repeat int64
	asns   map[uint32]bool
	nets   []netip.Prefix
	group  map[code]int
	table  *window.Table[state]
	floor  int64  // what is older is passed over
	places uint64 // places dropped for lack of room
}

// sight is one observation at a place.
type sight struct {
	window.Mark
	asn  uint32
	addr netip.Addr
}

// place is a country and what was seen there since it was last forgotten.
type place struct {
	country     code
	count       uint32
	first, last sight
}

// meeting is two countries that met, in the order of their codes.
type meeting struct {
	a, b code
	last int64
}

type state struct {
	newest   int64
	places   []place   // by country
	meetings []meeting // by a, then b
}

// The estimated sizes of a place without its ids, of a meeting, and of an
// identity besides what the table counts.
const (
	placeCost   = 136
	meetingCost = 16
	stateCost   = 40
)

// maxMeetings is how many pairs of countries an identity's tellings are
// remembered of.
const maxMeetings = 16

// New returns an empty detector; the configuration must be valid.
func New(c Config) *Detector {
	d := &Detector{cfg: c, width: int64(c.Within), repeat: int64(c.RepeatAfter), asns: make(map[uint32]bool)}
	for _, a := range c.IgnoreASNs {
		d.asns[parseASN(a)] = true
	}
	for _, n := range c.IgnoreNetworks {
		if p, err := parseNetwork(n); err == nil {
			d.nets = append(d.nets, p)
		}
	}
	_, d.group, _ = groups(c.Together)
	d.reset()
	return d
}

func (d *Detector) reset() {
	d.table = window.NewTable[state](window.Limits{Keys: d.cfg.MaxKeys, Bytes: d.cfg.MaxBytes})
	d.floor, d.places = window.Nanos(time.Time{}), 0
}

// see reads a value; ok is false when it says nothing.
func (d *Detector) see(value string) (c code, s sight, ok bool) {
	ip, rest, _ := strings.Cut(value, "|")
	asn, country, _ := strings.Cut(rest, "|")
	c, ok = parseCode(strings.TrimSpace(country))
	if !ok || places[c] == (spot{}) {
		return c, s, false
	}
	s.asn = parseASN(asn)
	if s.asn != 0 && d.asns[s.asn] {
		return c, s, false
	}
	if a, err := netip.ParseAddr(strings.TrimSpace(ip)); err == nil {
		s.addr = a.Unmap().WithZone("")
		for _, n := range d.nets {
			if n.Contains(s.addr) {
				return c, s, false
			}
		}
	}
	return c, s, true
}

// Observe implements detectors.Detector.
func (d *Detector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	at := window.Nanos(o.Time)
	if at < d.floor {
		return out
	}
	country, s, ok := d.see(o.Value)
	if !ok {
		return out
	}
	s.Mark = window.Mark{At: at, ID: window.ID(&o)}
	e, isNew := d.table.Touch(window.Bound(o.Key))
	st := &e.State
	if isNew {
		st.newest = at
	}
	if at < st.newest-d.width {
		return out // late, and older than what is remembered
	}
	st.newest = max(st.newest, at)
	// The watermark counts too, so that it makes no difference whether an
	// identity was dropped by Advance.
	now := max(st.newest, d.floor+d.width)
	st.forget(now-d.width, now-max(d.repeat, d.width))
	here := d.visit(st, country, &s)
	if here.count >= uint32(d.cfg.MinObservations) {
		if p, ok := d.worst(st, here, &s); ok && st.meet(p.there.country, country, at) {
			out = append(out, d.verdict(st, here, p, &o))
		}
	}
	d.table.Resize(e, st.size(), nil)
	return out
}

// forget drops the places last seen before one time, and the meetings before
// another.
func (st *state) forget(place0, meeting0 int64) {
	st.places = slices.DeleteFunc(st.places, func(p place) bool { return p.last.At < place0 })
	st.meetings = slices.DeleteFunc(st.meetings, func(m meeting) bool { return m.last < meeting0 })
}

// visit adds an observation to its place.
func (d *Detector) visit(st *state, c code, s *sight) *place {
	i, known := slices.BinarySearchFunc(st.places, c, func(p place, c code) int { return p.country.compare(c) })
	if !known {
		if len(st.places) >= d.cfg.MaxPlaces {
			old := 0
			for j := range st.places {
				if st.places[j].last.Before(st.places[old].last.Mark) {
					old = j
				}
			}
			st.places = slices.Delete(st.places, old, old+1)
			d.places++
			if old < i {
				i--
			}
		}
		if len(st.places) == cap(st.places) {
			// Grow by one: most identities are in one country for ever.
			st.places = append(make([]place, 0, len(st.places)+1), st.places...)
		}
		st.places = slices.Insert(st.places, i, place{country: c, first: *s, last: *s})
	}
	p := &st.places[i]
	if p.count < math.MaxUint32 {
		p.count++
	}
	if s.Before(p.first.Mark) {
		p.first = *s
	}
	if !s.Before(p.last.Mark) {
		p.last = *s
	}
	return p
}

// pair is two observations at two places, the nearest ones in time.
type pair struct {
	there      *place
	from, to   sight // in time order
	fromPlace  code
	toPlace    code
	km, way    int // between the middles; of these, less both radii
	took       int64
	impossible float64 // km/h; +Inf at the same moment
}

// worst returns the impossible pair of an observation's place and another
// that asks for the highest speed.
func (d *Detector) worst(st *state, here *place, now *sight) (best pair, found bool) {
	for i := range st.places {
		there := &st.places[i]
		if there == here || there.count < uint32(d.cfg.MinObservations) {
			continue
		}
		if g := d.group[here.country]; g != 0 && g == d.group[there.country] {
			continue
		}
		km, way := distance(here.country.String(), there.country.String())
		if way <= d.cfg.MinDistance {
			continue
		}
		p, ok := d.nearest(here, there, now)
		if !ok {
			continue
		}
		p.km, p.way = km, way
		p.impossible = math.Inf(1)
		if p.took > 0 {
			p.impossible = float64(way) / time.Duration(p.took).Hours()
		}
		if p.impossible > float64(d.cfg.MaxSpeed) && (!found || p.impossible > best.impossible) {
			best, found = p, true
		}
	}
	return best, found
}

// nearest returns the observations at two places that are nearest in time, of
// the first and last ones known and the one made now; ok is false when there
// is no pair to judge because all are of one network.
func (d *Detector) nearest(here, there *place, now *sight) (best pair, ok bool) {
	for _, h := range [...]*sight{now, &here.first, &here.last} {
		for _, t := range [...]*sight{&there.last, &there.first} {
			if h.asn != 0 && h.asn == t.asn && d.cfg.SameASN == Tolerate {
				continue
			}
			p := pair{there: there, from: *t, to: *h, fromPlace: there.country, toPlace: here.country}
			if h.Before(t.Mark) {
				p.from, p.to, p.fromPlace, p.toPlace = *h, *t, here.country, there.country
			}
			p.took = p.to.At - p.from.At
			if !ok || p.took < best.took {
				best, ok = p, true
			}
		}
	}
	return best, ok
}

// meet notes that two countries met; it reports whether that is news.
func (st *state) meet(a, b code, at int64) bool {
	if b.compare(a) < 0 {
		a, b = b, a
	}
	i, known := slices.BinarySearchFunc(st.meetings, meeting{a: a, b: b}, func(x, y meeting) int {
		return cmp.Or(x.a.compare(y.a), x.b.compare(y.b))
	})
	if known {
		st.meetings[i].last = max(st.meetings[i].last, at)
		return false
	}
	if len(st.meetings) >= maxMeetings {
		old := 0
		for j := range st.meetings {
			if st.meetings[j].last < st.meetings[old].last {
				old = j
			}
		}
		st.meetings = slices.Delete(st.meetings, old, old+1)
		if old < i {
			i--
		}
	}
	st.meetings = slices.Insert(st.meetings, i, meeting{a: a, b: b, last: at})
	return true
}

func (st *state) size() int {
	n := stateCost + cap(st.places)*placeCost + cap(st.meetings)*meetingCost
	for i := range st.places {
		n += len(st.places[i].first.ID)
		if st.places[i].count > 1 {
			n += len(st.places[i].last.ID)
		}
	}
	return n
}

// round makes a distance as coarse as it is known: to two figures.
func round(km int) int {
	step := 10
	for km/step >= 100 {
		step *= 10
	}
	return (km + step/2) / step * step
}

func (d *Detector) verdict(st *state, here *place, p pair, o *detectors.Observation) detectors.Verdict {
	took := time.Duration(p.took)
	when := window.Span(took) + " after"
	whenZH := "在 " + p.fromPlace.String() + " " + d.cfg.PhraseZH + "后仅 " + window.SpanZH(took) + "，又"
	if p.took == 0 {
		when = "at the same moment as from"
		whenZH = "在 " + p.fromPlace.String() + " " + d.cfg.PhraseZH + "的同一时刻，又"
	}
	zh := fmt.Sprintf("%s在 %s %s，两地相距约 %s 公里", whenZH, p.toPlace, d.cfg.PhraseZH, window.Count(round(p.km)))
	reason := fmt.Sprintf("%s from %s %s %s, about %s km", d.cfg.Phrase, p.toPlace, when, p.fromPlace, window.Count(round(p.km)))
	side := func(c code, s *sight) map[string]any {
		m := map[string]any{"country": c.String(), "time": window.RFC3339(s.At)}
		if s.addr.IsValid() {
			m["address"] = s.addr.String()
		}
		if s.asn != 0 {
			m["asn"] = "AS" + strconv.FormatUint(uint64(s.asn), 10)
		}
		if s.ID != "" {
			m["event_id"] = s.ID
		}
		return m
	}
	details := map[string]any{
		"from": side(p.fromPlace, &p.from), "to": side(p.toPlace, &p.to), "distance_km": round(p.km), "least_way_km": round(p.way),
		"seconds": p.took / int64(time.Second), "max_speed_kmh": d.cfg.MaxSpeed,
	}
	if !math.IsInf(p.impossible, 0) {
		details["least_speed_kmh"] = round(int(min(p.impossible, 1e9)))
	}
	return detectors.Verdict{
		Reason: reason, ReasonZH: zh, First: window.Time(p.from.At), Last: window.Time(p.to.At), Count: 2,
		EventIDs: window.IDs([]window.Mark{p.from.Mark, p.to.Mark}), Event: o.Event, Details: map[string]any{"travel": details},
	}
}

// Advance implements detectors.Detector: what can no longer be met is
// forgotten.
func (d *Detector) Advance(watermark time.Time, out []detectors.Verdict) []detectors.Verdict {
	mark := window.Nanos(watermark)
	d.floor = max(d.floor, mark-d.width)
	drop := mark - max(d.repeat, d.width)
	for e := d.table.Oldest(); e != nil; e = d.table.Oldest() {
		// Without a meeting to remember, a window is enough.
		if e.State.newest >= d.floor || len(e.State.meetings) > 0 && e.State.newest >= drop {
			break
		}
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

const magic = "TWTRAVEL1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Uint(d.places)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	put := func(s *sight) {
		enc.Int(s.At)
		enc.String(s.ID)
		enc.Uint(uint64(s.asn))
		if !s.addr.IsValid() {
			enc.String("")
			return
		}
		enc.String(string(s.addr.AsSlice()))
	}
	for e := range d.table.All() {
		st := &e.State
		enc.String(e.Key)
		enc.Int(st.newest)
		enc.Uint(uint64(len(st.places)))
		for i := range st.places {
			p := &st.places[i]
			enc.Raw(p.country[:])
			enc.Uint(uint64(p.count))
			put(&p.first)
			put(&p.last)
		}
		enc.Uint(uint64(len(st.meetings)))
		for _, m := range st.meetings {
			enc.Raw(m.a[:])
			enc.Raw(m.b[:])
			enc.Int(m.last)
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("travel: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	d.floor, d.places = dec.Int(), dec.Uint()
	evicted := dec.Uint()
	low, high := window.Nanos(time.Time{}), window.Nanos(time.Unix(1<<40, 0))
	country := func() (c code) {
		copy(c[:], dec.Raw(2))
		if places[c] == (spot{}) {
			dec.Fail("a country that is not known")
		}
		return c
	}
	get := func() (s sight) {
		s.At, s.ID = dec.Int(), dec.String()
		asn := dec.Uint()
		addr := dec.String()
		if asn > math.MaxUint32 || len(s.ID) > window.MaxID || s.At < low || s.At > high {
			dec.Fail("an observation that cannot be")
			return s
		}
		s.asn = uint32(asn)
		if addr != "" {
			a, ok := netip.AddrFromSlice([]byte(addr))
			if !ok || a.Is4In6() {
				dec.Fail("an address that cannot be")
			}
			s.addr = a
		}
		return s
	}
	for range dec.Count(4) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		st := &e.State
		st.newest = dec.Int()
		n := dec.Count(11)
		if n > d.cfg.MaxPlaces || st.newest < low || st.newest > high {
			dec.Fail("an identity that cannot be")
		}
		for range n {
			p := place{country: country()}
			count := dec.Uint()
			p.first, p.last = get(), get()
			if count == 0 || count > math.MaxUint32 || p.last.Before(p.first.Mark) || len(st.places) > 0 && p.country.compare(st.places[len(st.places)-1].country) <= 0 {
				dec.Fail("a place that cannot be")
			}
			if dec.Err() != nil {
				return dec.Err()
			}
			p.count = uint32(count)
			st.places = append(st.places, p)
		}
		n = dec.Count(5)
		if n > maxMeetings {
			dec.Fail("more meetings than are remembered")
			n = 0
		}
		for range n {
			m := meeting{a: country(), b: country(), last: dec.Int()}
			ordered := m.a.compare(m.b) < 0
			if k := len(st.meetings); k > 0 {
				prev := st.meetings[k-1]
				ordered = ordered && cmp.Or(prev.a.compare(m.a), prev.b.compare(m.b)) < 0
			}
			if !ordered || m.last < low || m.last > high {
				dec.Fail("a meeting that cannot be")
			}
			if dec.Err() != nil {
				return dec.Err()
			}
			st.meetings = append(st.meetings, m)
		}
		if dec.Err() != nil {
			break
		}
		d.table.Resize(e, st.size(), nil)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
