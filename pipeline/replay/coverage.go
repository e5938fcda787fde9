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
}

// Gap is a stretch of whole hours, between the first and the last event,
// without a single one. To is exclusive.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
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
	seen        map[int64]struct{} // hours since 1970
	hour        int64              // the last one counted
	counted     bool
	clipped     bool
}

func (c *coverage) add(ev *event.Event) {
	n := &c.near[(event.Bucket(ev.Region)+7*event.Bucket(ev.Recipient))%uint64(len(c.near))]
	if n.h == nil || n.key.region != ev.Region || n.key.account != ev.Recipient {
		n.key, n.h = c.find(coverKey{ev.Recipient, ev.Region})
	}
	n.h.add(ev.Time)
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
		h = &hours{key: into, seen: map[int64]struct{}{}}
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
	if n := at.Unix() / 3600; n != h.hour || !h.counted {
		h.hour, h.counted = n, true
		if len(h.seen) < maxHours {
			h.seen[n] = struct{}{}
		} else if _, ok := h.seen[n]; !ok {
			h.clipped = true
		}
	}
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
	maps.Copy(h.seen, o.seen)
	h.clipped = h.clipped || o.clipped
}

// regular is the share of its hours, between first and last, that must have an
// event before the others count as missing: a region that is used twice a day
// has no gaps.
const regular = 0.5

// covers lists what was read, by account and region; and gaps where there are
// events in most hours. A gap of a whole account is told once, under the
// region "".
func (c *coverage) covers() []Cover {
	byAccount := map[string]*hours{}
	regions := map[string]int{}
	for k, h := range c.all {
		a := byAccount[k.account]
		if a == nil {
			a = &hours{seen: map[int64]struct{}{}}
			byAccount[k.account] = a
		}
		a.join(h)
		regions[k.account]++
	}
	var out []Cover
	whole := map[string][]Gap{}
	for account, h := range byAccount {
		if whole[account] = h.gaps(nil); regions[account] > 1 && len(whole[account]) > 0 {
			out = append(out, Cover{Account: account, Events: h.events, First: h.first, Last: h.last, Gaps: whole[account]})
		}
	}
	for k, h := range c.all {
		var told []Gap
		if regions[k.account] > 1 {
			told = whole[k.account]
		}
		out = append(out, Cover{Account: k.account, Region: k.region, Events: h.events, First: h.first, Last: h.last, Gaps: h.gaps(told)})
	}
	lists.Sort(out, func(a, b Cover) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region))
	})
	return out
}

// gaps lists the hours without an event, but for those told already.
func (h *hours) gaps(told []Gap) []Gap {
	if len(h.seen) == 0 || h.clipped {
		return nil
	}
	list := slices.Sorted(maps.Keys(h.seen))
	if span := list[len(list)-1] - list[0] + 1; float64(len(list)) < regular*float64(span) {
		return nil
	}
	var out []Gap
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1]+1 {
			continue
		}
		g := Gap{time.Unix((list[i-1]+1)*3600, 0).UTC(), time.Unix(list[i]*3600, 0).UTC()}
		if !slices.Contains(told, g) {
			out = append(out, g)
		}
	}
	return out
}
