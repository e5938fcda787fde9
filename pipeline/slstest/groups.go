package slstest

import (
	"cmp"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// group is a consumer group: live consumers, who should hold which shard and
// the saved checkpoints.
type group struct {
	name        string
	timeout     time.Duration
	order       bool
	consumers   map[string]*member
	owner       map[int]string // shard → consumer that should hold it
	checkpoints map[int]checkpoint
}

type member struct {
	name     string
	seen     time.Time
	reported []int // shards it said it holds at its last heartbeat
	told     []int // shards the last answer told it to hold
}

type checkpoint struct {
	cursor   string
	updated  time.Time
	consumer string
}

func newGroup(name string, timeout time.Duration, order bool) *group {
	return &group{
		name: name, timeout: timeout, order: order,
		consumers: map[string]*member{}, owner: map[int]string{}, checkpoints: map[int]checkpoint{},
	}
}

// evict removes a consumer; its shards are free for others at once.
func (g *group) evict(name string) {
	delete(g.consumers, name)
	for s, o := range g.owner {
		if o == name {
			delete(g.owner, s)
		}
	}
}

func (g *group) evictSilent(now time.Time) {
	for name, m := range g.consumers {
		if now.Sub(m.seen) > g.timeout {
			g.evict(name)
		}
	}
}

// heartbeat records what a consumer holds and answers what it should hold.
// ok is false for a consumer that the group does not know but which says it
// holds shards: it was evicted.
func (g *group) heartbeat(ls *logstore, name string, holds []int, now time.Time) (shards []int, ok bool) {
	g.evictSilent(now)
	m := g.consumers[name]
	if m == nil {
		if len(holds) > 0 {
			return nil, false
		}
		m = &member{name: name}
		g.consumers[name] = m
	}
	m.seen, m.reported = now, slices.Clone(holds)
	g.rebalance(ls)
	shards = []int{}
	for id := range ls.shards {
		if g.owner[id] == name && !g.heldByOther(id, name) {
			shards = append(shards, id)
		}
	}
	m.told = shards
	return shards, true
}

// heldByOther: a shard is not handed to its new owner while the old one still
// reports it, or was just told to hold it and has not spoken since. The vendor does not document this; the client's design (it goes
// on reporting a shard until it has drained it) only makes sense that way.
func (g *group) heldByOther(id int, name string) bool {
	for other, m := range g.consumers {
		if other != name && (slices.Contains(m.reported, id) || slices.Contains(m.told, id)) {
			return true
		}
	}
	return false
}

// rebalance gives every live consumer its even share and moves as few shards
// as it can. With order, a shard that a split or a merge made waits until those
// before it are consumed.
func (g *group) rebalance(ls *logstore) {
	if len(g.consumers) == 0 {
		return
	}
	names := make([]string, 0, len(g.consumers))
	for n := range g.consumers {
		names = append(names, n)
	}
	slices.Sort(names)
	held := map[string][]int{}
	var ready []int
	for _, s := range ls.shards {
		if g.order && slices.ContainsFunc(s.parents, func(id int) bool { return !g.consumed(ls.shards[id]) }) {
			delete(g.owner, s.id)
			continue
		}
		ready = append(ready, s.id)
		if o := g.owner[s.id]; o != "" {
			held[o] = append(held[o], s.id)
		}
	}
	// The consumers that hold most keep the larger shares.
	byLoad := slices.Clone(names)
	lists.Sort(byLoad, func(a, b string) int { return cmp.Compare(len(held[b]), len(held[a])) })
	share, extra := len(ready)/len(names), len(ready)%len(names)
	for i, n := range byLoad {
		limit := share
		if i < extra {
			limit++
		}
		for len(held[n]) > limit {
			last := held[n][len(held[n])-1]
			held[n] = held[n][:len(held[n])-1]
			delete(g.owner, last)
		}
	}
	for _, id := range ready {
		if g.owner[id] != "" {
			continue
		}
		least := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(len(held[a]), len(held[b])) })
		g.owner[id] = least
		held[least] = append(held[least], id)
	}
}

func (g *group) consumed(s *shard) bool {
	c, err := parseCursor(g.checkpoints[s.id].cursor)
	return s.readonly && err == nil && c >= s.next()
}
