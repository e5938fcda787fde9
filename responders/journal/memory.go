package journal

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/responders"
)

// Memory is a Journal that lives and ends with the process. The zero value is
// ready; it may be used from several goroutines.
type Memory struct {
	// Now stamps records; time.Now when nil. Set it before first use.
	Now func() time.Time

	mu   sync.Mutex
	seq  uint64
	all  []memRecord      // in order of sequence
	last map[memKey]int   // index of the newest record in all
	hist map[memKey][]int // indexes in all
	more chan struct{}    // closed at the next Append; nil when nobody waits
}

type memKey struct{ kind, id string }

type memRecord struct {
	memKey
	entry     responders.Entry
	prev, sum sum
}

var (
	_ responders.Journal    = (*Memory)(nil)
	_ responders.LastReader = (*Memory)(nil)
	_ responders.Scanner    = (*Memory)(nil)
	_ responders.Follower   = (*Memory)(nil)
)

// NewMemory returns an empty journal.
func NewMemory() *Memory { return &Memory{} }

// Append implements responders.Journal.
func (m *Memory) Append(ctx context.Context, kind, id string, data []byte, expect uint64) (uint64, error) {
	if err := check(kind, id, data); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last, m.hist = map[memKey]int{}, map[memKey][]int{}
	}
	k := memKey{kind, id}
	var before memRecord
	if i, ok := m.last[k]; ok {
		before = m.all[i]
	}
	if before.entry.Seq != expect {
		return 0, responders.ErrConflict
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	m.seq++
	r := memRecord{memKey: k, prev: before.sum, sum: link(before.sum, kind, id, data)}
	r.entry = responders.Entry{Seq: m.seq, Time: now().UTC(), Data: slices.Clone(data)}
	m.last[k] = len(m.all)
	m.hist[k] = append(m.hist[k], len(m.all))
	m.all = append(m.all, r)
	if m.more != nil {
		close(m.more)
		m.more = nil
	}
	return m.seq, nil
}

// History implements responders.Journal.
func (m *Memory) History(ctx context.Context, kind, id string) ([]responders.Entry, error) {
	if err := check(kind, id, nil); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []responders.Entry
	for _, i := range m.hist[memKey{kind, id}] {
		out = append(out, m.all[i].copy())
	}
	return out, nil
}

// Last implements responders.LastReader.
func (m *Memory) Last(ctx context.Context, kind, id string) (responders.Entry, bool, error) {
	if err := check(kind, id, nil); err != nil {
		return responders.Entry{}, false, err
	}
	if err := ctx.Err(); err != nil {
		return responders.Entry{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.last[memKey{kind, id}]
	if !ok {
		return responders.Entry{}, false, nil
	}
	return m.all[i].copy(), true, nil
}

// IDs implements responders.Journal.
func (m *Memory) IDs(ctx context.Context, kind string) ([]string, error) {
	if err := check(kind, "x", nil); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for k := range m.last {
		if k.kind == kind {
			ids = append(ids, k.id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// EachLast implements responders.Scanner.
func (m *Memory) EachLast(ctx context.Context, kind string, yield func(id string, e responders.Entry) error) error {
	ids, err := m.IDs(ctx, kind)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, ok, err := m.Last(ctx, kind, id)
		if err != nil {
			return err
		}
		if ok {
			if err := yield(id, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Follow implements responders.Follower.
func (m *Memory) Follow(ctx context.Context, kinds []string, yield func(kind, id string, e responders.Entry) error, caughtUp func()) error {
	next := 0
	for first := true; ; first = false {
		var due []memRecord
		m.mu.Lock()
		for i := next; i < len(m.all); i++ {
			r := m.all[i]
			if slices.Contains(kinds, r.kind) && (!first || m.last[r.memKey] == i) {
				r.entry = r.copy()
				due = append(due, r)
			}
		}
		next = len(m.all)
		if m.more == nil {
			m.more = make(chan struct{})
		}
		more := m.more
		m.mu.Unlock()
		for _, r := range due {
			if err := yield(r.kind, r.id, r.entry); err != nil {
				return err
			}
		}
		if first {
			caughtUp()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}

// Verify checks the hash chains of every history.
func (m *Memory) Verify(ctx context.Context) (Report, error) {
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var v verifier
	for _, r := range m.all {
		v.add(r.kind, r.id, r.entry.Seq, r.entry.Data, r.prev.String(), r.sum.String())
	}
	return v.report, nil
}

func (r memRecord) copy() responders.Entry {
	e := r.entry
	e.Data = slices.Clone(e.Data)
	return e
}
