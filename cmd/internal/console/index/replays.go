package index

import (
	"cmp"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

const (
	// maxReplays is how many replays are kept; those that ended longest ago go.
	maxReplays = 50
	// unheardAfter is when a replay that says nothing is taken to have ended:
	// it tells of itself every few seconds.
	unheardAfter = 30 * time.Second
)

// SetReplay takes what a replay tells of itself. Somebody else's replay of the
// same id is not changed.
func (x *Index) SetReplay(r admin.Replaying, now time.Time) {
	r.Seen = now
	x.mu.Lock()
	defer x.mu.Unlock()
	at := slices.IndexFunc(x.replays, func(o admin.Replaying) bool { return o.ID == r.ID })
	switch {
	case at >= 0 && (x.replays[at].By != r.By || x.replays[at].Over()):
		return
	case at >= 0:
		r.Started = x.replays[at].Started
		x.replays[at] = r
	default:
		r.Started = now
		x.replays = append(x.replays, r)
	}
	if len(x.replays) > maxReplays {
		// What is over goes before what runs, and what was heard of longest ago
		// before the rest.
		lists.Sort(x.replays, func(a, b admin.Replaying) int {
			if a.Over() != b.Over() {
				if a.Over() {
					return -1
				}
				return 1
			}
			return cmp.Or(a.Seen.Compare(b.Seen), cmp.Compare(a.ID, b.ID))
		})
		x.replays = slices.Delete(x.replays, 0, len(x.replays)-maxReplays)
	}
	x.seq[Replays]++
	close(x.changed)
	x.changed = make(chan struct{})
}

// Replays lists the replays that told of themselves since this process began:
// those that run first, then the newest.
func (x *Index) Replays(now time.Time) []admin.Replaying {
	x.mu.RLock()
	out := slices.Clone(x.replays)
	x.mu.RUnlock()
	for i := range out {
		if r := &out[i]; !r.Over() && now.Sub(r.Seen) > unheardAfter {
			r.State = admin.ReplayUnheard
		}
	}
	lists.Sort(out, func(a, b admin.Replaying) int {
		if a.Over() != b.Over() {
			if a.Over() {
				return 1
			}
			return -1
		}
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID))
	})
	if out == nil {
		out = []admin.Replaying{}
	}
	return out
}
