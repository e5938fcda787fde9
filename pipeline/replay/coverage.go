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
// has no gaps. steady is how many hours a stretch must have to be more than a
// few events of a bad clock.
const (
	regular = 0.5
	steady  = 3
)

// covers lists what was read, by account and region; and gaps where there are
// events in most hours. A gap of a whole account is told once, under the
// region "", and so is that an account is sparse.
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
		gaps, sparse := h.gaps(nil, true)
		if whole[account] = gaps; regions[account] > 1 && (len(gaps) > 0 || sparse) {
			out = append(out, Cover{account, "", h.events, h.first, h.last, gaps, sparse})
		}
	}
	for k, h := range c.all {
		c := Cover{k.account, k.region, h.events, h.first, h.last, nil, false}
		if regions[k.account] > 1 {
			c.Gaps, _ = h.gaps(whole[k.account], false)
		} else {
			c.Gaps, c.Sparse = h.gaps(nil, true)
		}
		out = append(out, c)
	}
	lists.Sort(out, func(a, b Cover) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region))
	})
	return out
}

// gaps lists the hours without an event, but for those told already; of a whole
// account also the long stretches between those in which most hours have events.
// sparse says that there are hours without events of which nothing can be said.
func (h *hours) gaps(told []Gap, whole bool) (out []Gap, sparse bool) {
	if len(h.seen) == 0 {
		return nil, false
	}
	if h.clipped {
		return nil, true
	}
	list := slices.Sorted(maps.Keys(h.seen))
	add := func(from, to int64) { // both have events
		if to == from+1 {
			return
		}
		if g := (Gap{time.Unix((from+1)*3600, 0).UTC(), time.Unix(to*3600, 0).UTC()}); !slices.Contains(told, g) {
			out = append(out, g)
		}
	}
	// What lies further apart than all hours that have events is looked at by
	// itself: one event of a bad clock must not make everything look thin.
	n := int64(len(list))
	var behind []int64 // the ends of stretches since the last steady one
	parts, thin, good := 0, false, false
	for len(list) > 0 {
		end := 1
		for end < len(list) && list[end]-list[end-1]-1 <= n {
			end++
		}
		part := list[:end]
		list = list[end:]
		parts++
		dense := float64(len(part)) >= regular*float64(part[len(part)-1]-part[0]+1)
		if !dense {
			thin, behind = thin || len(part) >= steady || parts == 1 && len(list) == 0, nil
			continue
		}
		if whole && len(part) >= steady {
			for i := 0; i+1 < len(behind); i += 2 {
				to := part[0]
				if i+2 < len(behind) {
					to = behind[i+2]
				}
				add(behind[i+1], to)
			}
			behind = nil
		}
		for i := 1; i < len(part); i++ {
			add(part[i-1], part[i])
		}
		if len(part) >= steady || behind != nil {
			behind = append(behind, part[0], part[len(part)-1])
		}
		good = good || len(part) >= steady
	}
	return out, thin || parts > 1 && !good
}
