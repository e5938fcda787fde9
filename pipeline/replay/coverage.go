package replay

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Cover is what a run read of one account's region: which hours have events.
type Cover struct {
	Account string    `json:"account"`
	Region  string    `json:"region"`
	Events  int64     `json:"events"` // records, repeated ones too
	First   time.Time `json:"first_event"`
	Last    time.Time `json:"last_event"`
	Gaps    []Gap     `json:"gaps,omitempty"`
	// Sparse says that the account has events in so few hours that those which
	// are missing cannot be told from those in which nothing was done.
	Sparse bool `json:"sparse,omitempty"`
	// Apart says that a few events of the account lie so far from the others, as
	// those of a bad clock do, that nothing is said of the time between.
	Apart bool `json:"apart,omitempty"`
}

// Gap is a stretch of whole hours without a single event, between the first and the
// last one of the account's region; of a whole account also before and after them,
// as far as was asked for or other accounts have events; of a region that was never
// still for long also after them, as far as its account has events. To is exclusive.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Usual says that on other days, too, there are seldom events at these hours.
	Usual bool `json:"usual,omitempty"`
}

// coverKey is one account's region.
type coverKey struct{ account, region string }

// maxCovers bounds the accounts and regions told apart: both are words of
// records, which strangers can write. What is over goes into one.
const maxCovers = 4096

// maxHours bounds the hours remembered of each: ten years.
const maxHours = 10 * 366 * 24

// coverage counts events by account, region and hour. One worker fills one;
// they are added up in the end, so that the result does not depend on who
// counted what.
type coverage struct {
	all  map[coverKey]*hours
	near [256]struct {
		key coverKey
		h   *hours
	}
}

type hours struct {
	key         coverKey // as in coverage.all
	events      int64
	first, last time.Time
	seen        map[int64]int64 // events by hours since 1970
	hour, some  int64           // the last hour, and events of it that are not in seen yet
	clipped     bool
}

// add counts an event. It returns the event's account, in memory that lasts.
func (c *coverage) add(ev *event.Event) (account string) {
	n := &c.near[(event.Bucket(ev.Region)+7*event.Bucket(ev.Recipient))%uint64(len(c.near))]
	if n.h == nil || n.key.region != ev.Region || n.key.account != ev.Recipient {
		n.key, n.h = c.find(coverKey{ev.Recipient, ev.Region})
	}
	n.h.add(ev.Time)
	return n.key.account
}

func (c *coverage) find(k coverKey) (coverKey, *hours) {
	if h := c.all[k]; h != nil {
		return h.key, h
	}
	if c.all == nil {
		c.all = map[coverKey]*hours{}
	}
	k = coverKey{strings.Clone(k.account), strings.Clone(k.region)}
	into := k
	if len(c.all) >= maxCovers {
		into = coverKey{"(more)", "(more)"}
	}
	h := c.all[into]
	if h == nil {
		h = &hours{key: into, seen: map[int64]int64{}}
		c.all[into] = h
	}
	return k, h
}

func (h *hours) add(at time.Time) {
	h.events++
	if h.first.IsZero() || at.Before(h.first) {
		h.first = at
	}
	if at.After(h.last) {
		h.last = at
	}
	if n := at.Unix() / 3600; n != h.hour {
		h.count()
		h.hour = n
	}
	h.some++
}

// count puts the events of the last hour into seen.
func (h *hours) count() {
	if h.some == 0 {
		return
	}
	if _, ok := h.seen[h.hour]; ok || len(h.seen) < maxHours {
		h.seen[h.hour] += h.some
	} else {
		h.clipped = true
	}
	h.some = 0
}

// merge adds another's counts.
func (c *coverage) merge(o *coverage) {
	for k, h := range o.all {
		_, into := c.find(k)
		into.join(h)
	}
}

func (h *hours) join(o *hours) {
	h.events += o.events
	if h.first.IsZero() || !o.first.IsZero() && o.first.Before(h.first) {
		h.first = o.first
	}
	if o.last.After(h.last) {
		h.last = o.last
	}
	h.count()
	o.count()
	for n, events := range o.seen {
		h.seen[n] += events
	}
	h.clipped = h.clipped || o.clipped
}

// regular is the share of its hours, between first and last, that must have an
// event before the others count as missing: a region that is used twice a day
// has no gaps. steady is how many hours a stretch must have to be more than a
// few events of a bad clock, and many how many events a shorter one must have beside
// a steady one. busy is how many hours, or a tenth of all, an account must have events
// in for the time before and after them to be missing.
const (
	regular = 0.5
	steady  = 3
	many    = 20
	busy    = 24
)

// covers lists what was read, by account and region; and gaps where there are
// events in most hours. A gap of a whole account is told once, under the
// region "", and so is that an account is sparse. from and to are what was asked
// for, zero where it was not.
func (c *coverage) covers(from, to time.Time) []Cover {
	byAccount := map[string]*hours{}
	regions := map[string]int{}
	for k, h := range c.all {
		a := byAccount[k.account]
		if a == nil {
			a = &hours{seen: map[int64]int64{}}
			byAccount[k.account] = a
		}
		a.join(h)
		regions[k.account]++
	}
	// Hours in which an account could have events: those asked for, else those
	// between the first and the last of any account, which are themselves not whole.
	var could bounds
	ends := map[string]int64{} // the last hour of an account
	for account, h := range byAccount {
		for _, p := range h.parts() {
			if p.real {
				could.include(p.first()+1, p.last())
				ends[account] = p.last()
			}
		}
	}
	if !from.IsZero() {
		could.from = (from.Unix() + 3599) / 3600
	}
	if !to.IsZero() {
		could.to = to.Unix() / 3600
	}
	var out []Cover
	whole, sparse, apart := map[string][]Gap{}, map[string]bool{}, map[string]bool{}
	for account, h := range byAccount {
		if whole[account], sparse[account] = h.gaps(nil, &could); len(whole[account]) == 0 && sparse[account] {
			whole[account] = h.unusual()
		}
		apart[account] = h.apart(&could)
		if regions[account] > 1 && (len(whole[account]) > 0 || sparse[account] || apart[account]) {
			out = append(out, Cover{account, "", h.events, h.first, h.last, whole[account], sparse[account], apart[account]})
		}
	}
	for k, h := range c.all {
		c := Cover{k.account, k.region, h.events, h.first, h.last, nil, false, false}
		if regions[k.account] > 1 {
			c.Gaps, _ = h.gaps(whole[k.account], nil)
			if g, ok := h.silence(ends[k.account]); ok {
				c.Gaps = append(c.Gaps, g)
			}
		} else {
			c.Gaps, c.Sparse, c.Apart = whole[k.account], sparse[k.account], apart[k.account]
		}
		h.judge(c.Gaps)
		out = append(out, c)
	}
	for account, h := range byAccount {
		h.judge(whole[account])
	}
	lists.Sort(out, func(a, b Cover) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region))
	})
	return out
}

// bounds are hours since 1970, without to; unknown where to is not above from.
type bounds struct{ from, to int64 }

func (b *bounds) include(from, to int64) {
	if *b == (bounds{}) {
		*b = bounds{from, to}
	}
	b.from, b.to = min(b.from, from), max(b.to, to)
}

func (b *bounds) known() bool { return b != nil && b.from < b.to }

// A region is expected to go on only when it had events around the clock, and for
// so long that no job of a few days is taken for that.
const (
	clockwork = 0.9
	week      = 7 * 24
)

// silence is the time from when a region fell silent until the last hour of its
// account. That it begins late is not told: to go into a region is what happens,
// to leave one at once is what a trail does that is narrowed. It must have been
// regular for longer than it has been silent, and never half as silent before; a few
// events since then show that it goes on.
func (h *hours) silence(until int64) (g Gap, ok bool) {
	parts := h.parts()
	if h.clipped || len(parts) == 0 {
		return g, false
	}
	p := &parts[len(parts)-1]
	n := int64(len(p.hours))
	long, from := until-p.last()-1, p.last()+1
	if !p.real || n < week || float64(n) < clockwork*float64(p.last()-p.first()+1) || long < 24 || long > n {
		return g, false
	}
	for i := 1; i < len(p.hours); i++ {
		if 2*(p.hours[i]-p.hours[i-1]-1) > long {
			return g, false
		}
	}
	return Gap{From: time.Unix(from*3600, 0).UTC(), To: time.Unix(until*3600, 0).UTC()}, true
}

// part is hours with events that lie together.
type part struct {
	hours []int64 // in order
	dense bool    // most of the hours between them are among them
	real  bool    // it is dense, and more than a few events of a bad clock
}

func (p *part) first() int64 { return p.hours[0] }
func (p *part) last() int64  { return p.hours[len(p.hours)-1] }

// parts takes apart what lies further apart than all hours that have events: one
// event of a bad clock must not make everything look thin.
func (h *hours) parts() []part {
	list := slices.Sorted(maps.Keys(h.seen))
	n, long := int64(len(list)), false
	var out []part
	for len(list) > 0 {
		end := 1
		for end < len(list) && list[end]-list[end-1]-1 <= n {
			end++
		}
		p := part{hours: list[:end]}
		p.dense = float64(end) >= regular*float64(p.last()-p.first()+1)
		p.real = p.dense && end >= steady
		long = long || p.real
		out, list = append(out, p), list[end:]
	}
	for i := range out {
		if p := &out[i]; long && p.dense && !p.real {
			events := int64(0)
			for _, hour := range p.hours {
				events += h.seen[hour]
			}
			p.real = events >= many
		}
	}
	return out
}

// apart says that events lie outside of could, beside others that are real.
func (h *hours) apart(could *bounds) bool {
	real, out := false, false
	for _, p := range h.parts() {
		real = real || p.real
		out = out || !p.real && (p.first() < could.from || p.last() >= could.to)
	}
	return real && out && !h.clipped
}

// gaps lists the hours without an event, but for those told already. Of a whole
// account, for which could is not nil, these are also the long stretches between
// parts, and between them and the ends of could. sparse says that there are hours
// without events of which nothing can be said.
func (h *hours) gaps(told []Gap, could *bounds) (out []Gap, sparse bool) {
	if len(h.seen) == 0 {
		return nil, false
	}
	if h.clipped {
		return nil, true
	}
	add := func(from, to int64) { // there is something in both
		if to <= from+1 {
			return
		}
		if g := (Gap{From: time.Unix((from+1)*3600, 0).UTC(), To: time.Unix(to*3600, 0).UTC()}); !slices.Contains(told, g) {
			out = append(out, g)
		}
	}
	// Between real parts, the few events of a short one are a sign of life; where
	// something is thin, nothing is said across it.
	parts := h.parts()
	last, known := int64(0), false // the last hour that a stretch can begin behind
	var signs []*part              // since then
	across := func(to int64) {
		if known {
			for _, p := range signs {
				add(last, p.first())
				last = p.last()
			}
			add(last, to)
		}
		signs = nil
	}
	// Who is busy for an hour or two in a month is not missing in the rest of it.
	ends := could.known() && (len(h.seen) >= busy || int64(len(h.seen)*10) >= could.to-could.from)
	if ends {
		last, known = could.from-1, true
	}
	thin, good := false, false
	for i := range parts {
		p := &parts[i]
		if !p.dense {
			thin = thin || len(p.hours) >= steady || len(parts) == 1
			known, signs = false, nil
			continue
		}
		for i := 1; i < len(p.hours); i++ {
			add(p.hours[i-1], p.hours[i])
		}
		switch {
		case p.real && could != nil:
			across(p.first())
			last, known = p.last(), true
		case !could.known() || p.first() >= could.from && p.last() < could.to:
			signs = append(signs, p)
		}
		good = good || p.real
	}
	sparse = thin || len(parts) > 1 && !good
	switch {
	case ends && good && known:
		across(could.to)
	case could.known():
		sparse = sparse || parts[0].first() > could.from || parts[len(parts)-1].last() < could.to-1
	}
	lists.Sort(out, func(a, b Gap) int { return a.From.Compare(b.From) })
	return out, sparse
}

// A gap is usual when, going by the same hours of other days, of which there must be
// so many, one such as this one comes in a hundred.
const (
	otherDays = 2
	seldom    = 0.01
)

// judge marks the gaps that are usual: most accounts are still at night, and what is
// not read hides among their nights.
func (h *hours) judge(gaps []Gap) {
	var b bounds
	for _, p := range h.parts() {
		if p.real {
			b.include(p.first(), p.last()+1)
		}
	}
	h.compare(gaps, b)
}

// unusual lists the gaps of an account that has events in few hours, as one has where
// people work by day, that other days do not have.
func (h *hours) unusual() (out []Gap) {
	var most part
	for _, p := range h.parts() {
		if len(p.hours) > len(most.hours) {
			most = p
		}
	}
	if len(most.hours) < busy || h.clipped {
		return nil
	}
	for i, hour := range most.hours[1:] {
		if before := most.hours[i]; hour > before+1 {
			out = append(out, Gap{time.Unix((before+1)*3600, 0).UTC(), time.Unix(hour*3600, 0).UTC(), true})
		}
	}
	h.compare(out, bounds{most.first(), most.last() + 1})
	n := 0
	for _, g := range out {
		if !g.Usual {
			out[n] = g
			n++
		}
	}
	return out[:n]
}

// compare says which gaps are usual, by the hours within b. Working days are compared
// with working days.
func (h *hours) compare(gaps []Gap, b bounds) {
	if len(gaps) == 0 || b.to-b.from > maxHours {
		return
	}
	var days, still dayHours
	count := func(b bounds, n float64) {
		for at := b.from; at < b.to; at++ {
			*days.at(at) += n
			if h.seen[at] == 0 {
				*still.at(at) += n
			}
		}
	}
	count(b, 1)
	often := max(0, 1-float64(len(h.seen))/float64(b.to-b.from))
	for i := range gaps {
		from, to := gaps[i].From.Unix()/3600, gaps[i].To.Unix()/3600
		own := bounds{max(from, b.from), min(to, b.to)}
		count(own, -1)
		chance, known := 1.0, true
		for at := from; at < to && chance >= seldom; at++ {
			n := *days.at(at)
			chance *= (*still.at(at) + often) / (n + 1)
			known = known && n >= otherDays
		}
		if known {
			gaps[i].Usual = chance >= seldom
		}
		count(own, 1)
	}
}

// dayHours counts by the hour of the day, of working days and of Saturdays and Sundays.
type dayHours [2][24]float64

func (d *dayHours) at(hour int64) *float64 {
	n := ((hour-2*24)%week + week) % week // since Saturday; 1 January 1970 was a Thursday
	weekend := 0
	if n < 2*24 {
		weekend = 1
	}
	return &d[weekend][n%24]
}
