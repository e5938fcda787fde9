package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/console"
	"github.com/trailwarden/trailwarden/cmd/internal/console/evidence"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/responders"
)

// keeper copies the records that alerts rest on out of the event stream, while
// they are there. What it cannot find is only not kept.
type keeper struct {
	store  *evidence.Store
	index  *index.Index
	record func(context.Context, index.Pos) ([]byte, error)
	log    *slog.Logger

	mu      sync.Mutex
	wishes  map[string]*wish    // by alert
	order   []string            // of those, the longest waiting first
	done    map[string][]string // by alert, the events of which nothing was missing
	wake    chan struct{}
	failing bool
}

// wish is an alert whose records are still looked for.
type wish struct {
	ids   []string
	since time.Time
}

const (
	maxWishes  = 10_000
	keepEvery  = time.Second      // between two looks at what is wished for
	keepTrying = 60 * time.Second // the index reads its events beside the alerts
)

func newKeeper(store *evidence.Store, x *index.Index, record func(context.Context, index.Pos) ([]byte, error), log *slog.Logger) *keeper {
	return &keeper{store: store, index: x, record: record, log: log, wishes: map[string]*wish{}, done: map[string][]string{}, wake: make(chan struct{}, 1)}
}

// note takes one change of the journal.
func (k *keeper) note(c responders.Change) {
	if c.Alert == nil || len(c.Alert.EventIDs) == 0 || responders.OnlyMessage(c.Alert.Rule) {
		return
	}
	ids := slices.Clone(c.Alert.EventIDs[:min(len(c.Alert.EventIDs), evidence.MaxRecords)])
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.wishes[c.Alert.ID]; w != nil {
		if !slices.Equal(w.ids, ids) { // an earlier event may come late, in the place of another
			w.ids, w.since = ids, time.Now()
		}
		return
	}
	if slices.Equal(k.done[c.Alert.ID], ids) {
		return
	}
	if len(k.order) == maxWishes {
		delete(k.wishes, k.order[0])
		k.order = k.order[1:]
	}
	k.wishes[c.Alert.ID] = &wish{ids, time.Now()}
	k.order = append(k.order, c.Alert.ID)
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run keeps what is wished for until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-k.wake:
		case <-ctx.Done():
			return
		}
		for k.keep(ctx, time.Now()) {
			select {
			case <-time.After(keepEvery):
			case <-ctx.Done():
				return
			}
		}
	}
}

// keep looks once for everything that is wished for, and says whether something
// still is.
func (k *keeper) keep(ctx context.Context, now time.Time) (more bool) {
	k.mu.Lock()
	todo := make(map[string]wish, len(k.wishes))
	var ids []string
	for id, w := range k.wishes {
		todo[id] = *w
		ids = append(ids, w.ids...)
	}
	k.mu.Unlock()
	held := k.index.Events(ids)
	for id, w := range todo {
		whole, err := k.keepOne(ctx, id, w.ids, held, now)
		if ctx.Err() != nil {
			return false
		}
		if err != nil != k.failing {
			if k.failing = err != nil; k.failing {
				k.log.Warn("evidence of alerts is not kept for the console", "alert", id, "error", err)
			}
		}
		k.mu.Lock()
		if cur := k.wishes[id]; cur == nil || !slices.Equal(cur.ids, w.ids) {
			// It had to make room, or rests on others, meanwhile.
		} else if whole || now.Sub(w.since) >= keepTrying {
			delete(k.wishes, id)
			if whole {
				if len(k.done) >= maxWishes {
					clear(k.done)
				}
				k.done[id] = w.ids
			}
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.order = lists.Keep(k.order, func(id *string) bool { return k.wishes[*id] != nil })
	return len(k.wishes) > 0
}

// keepOne adds what the event stream has of an alert's records to what is kept of
// it. whole says that nothing is missing.
func (k *keeper) keepOne(ctx context.Context, id string, ids []string, held map[string]index.Event, now time.Time) (whole bool, err error) {
	if !slices.ContainsFunc(ids, func(id string) bool { _, ok := held[id]; return ok }) {
		return false, nil
	}
	before, _ := k.store.Records(id) // a damaged file is written anew
	have := map[string][]byte{}
	for _, r := range before {
		if ev, err := event.Parse(r); err == nil {
			have[ev.ID] = r
		}
	}
	whole = true
	var records [][]byte
	for _, id := range ids {
		r, ok := have[id]
		if ev, is := held[id]; !ok && is {
			switch raw, err := k.record(ctx, ev.Pos); {
			case err == nil:
				r, ok = bytes.Clone(raw), true
			case !errors.Is(err, console.ErrGone):
				return false, err
			}
		}
		if ok && len(r) <= evidence.MaxRecord {
			records = append(records, r)
		}
		delete(have, id)
		whole = whole && ok
	}
	for _, r := range before { // what had to make room for one that cannot be found stays
		if ev, err := event.Parse(r); err == nil && have[ev.ID] != nil && len(records) < evidence.MaxRecords {
			records = append(records, r)
		}
	}
	if slices.EqualFunc(records, before, bytes.Equal) {
		return whole, nil
	}
	return whole, k.store.Keep(id, records, now)
}
