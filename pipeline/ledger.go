package pipeline

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// behindOf names the shards of a frame's source that had more to give.
func behindOf(f *bus.Frame) []string {
	var out []string
	for _, n := range f.Behind {
		out = append(out, shardName(f.Source, n))
	}
	return out
}

// giving names the shard whose records a frame carries. Records that are read
// for the second time say nothing of how far their shard is.
func giving(f *bus.Frame) string {
	if f.Kind != bus.Data || f.Origin != "" || f.Source == redriveSource {
		return ""
	}
	return shardName(f.Source, f.Shard)
}

func spanOf(t time.Time) int64 { return t.Unix() / bus.TallySpan }

// book enters a frame in the ledger: what it stands for is done with. It keeps
// what it counts bounded: a source's clock that runs ahead by more than six hours is
// not believed.
func (w *Worker) book(f *bus.Frame) {
	if f.Repairs != "" {
		n := len(w.missing)
		w.missing = lists.Keep(w.missing, func(g *bus.Gap) bool { return g.ID != f.Repairs })
		w.base.Repaired += uint64(n - len(w.missing))
	}
	src := f.Source
	if f.Origin != "" {
		src = f.Origin[:max(0, strings.LastIndexByte(f.Origin, '/'))]
	}
	l := w.ledger[src]
	if l == nil {
		if len(f.Tally) == 0 {
			return
		}
		l = &bus.Ledger{Source: src, Since: spanOf(f.Received), Counts: map[int64]uint64{}}
		w.ledger[src] = l
	}
	now := spanOf(w.stamp)
	for _, t := range f.Tally {
		if t.Span > now-bus.LedgerSpans && t.Span < now+bus.LedgerSpans {
			l.Counts[t.Span] += t.Count
		}
	}
	maps.DeleteFunc(l.Counts, func(span int64, _ uint64) bool { return span <= now-bus.LedgerSpans })
}

// ledgers is a copy, by source.
func (w *Worker) ledgers() []bus.Ledger {
	var out []bus.Ledger
	for _, l := range w.ledger {
		out = append(out, bus.Ledger{Source: l.Source, Since: l.Since, Counts: maps.Clone(l.Counts)})
	}
	lists.Sort(out, func(a, b bus.Ledger) int { return cmp.Compare(a.Source, b.Source) })
	return out
}

// miss notes lost frames. Commit records stay small: when there are many, the
// last one of the same shard grows, and what is read twice is dropped by event
// id.
func (w *Worker) miss(g bus.Gap) {
	if len(w.missing) < bus.MaxGaps {
		w.missing = append(w.missing, g)
		return
	}
	for i := len(w.missing) - 1; i >= 0; i-- {
		if m := &w.missing[i]; m.Source == g.Source && m.Shard == g.Shard {
			m.To, m.Frames = g.To, m.Frames+g.Frames
			return
		}
	}
	w.missing[len(w.missing)-1] = g // of another shard: the ledger still shows the deficit
}

// MaxAccounts bounds the accounts whose freshness a partition remembers.
const MaxAccounts = 4096

// fresh notes how far each account's events have come.
func (w *Worker) fresh(newest map[string]time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for account, at := range newest {
		old, known := w.stats.Accounts[account]
		switch {
		case known && !at.After(old):
		case known:
			w.stats.Accounts[account] = at
		case len(w.stats.Accounts) < MaxAccounts:
			if w.stats.Accounts == nil {
				w.stats.Accounts = map[string]time.Time{}
			}
			w.stats.Accounts[strings.Clone(account)] = at
		}
	}
}
