package window

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"unicode/utf8"
)

// MaxKey is the longest key that is kept as it is, in bytes.
const MaxKey = 256

// Bound returns the key itself, or, when it is longer than MaxKey, its
// beginning and a digest of the whole: keys are chosen by attackers.
func Bound(key string) string { return shorten(key, MaxKey) }

func shorten(s string, max int) string {
	if len(s) <= max {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	n := max - 33
	for i := 0; i < utf8.UTFMax && n > 0 && !utf8.RuneStart(s[n]); i++ {
		n--
	}
	return s[:n] + "#" + hex.EncodeToString(sum[:16])
}

// MaxValue is the longest value that is kept as it is, in bytes.
const MaxValue = 128

// BoundValue is Bound for what is counted or remembered.
func BoundValue(v string) string { return shorten(v, MaxValue) }

// Limits bounds a table.
type Limits struct {
	Keys  int // most entries
	Bytes int // most bytes of all entries, by estimate
}

// Entry is one entity of a table.
type Entry[T any] struct {
	Key   string
	State T
	size  int
	at    int32 // in order
}

// Table remembers entities and forgets the least recently used ones when it
// is full. Use is the order of Touch, so a table's content depends on the
// order of its calls alone. The zero value is not usable.
type Table[T any] struct {
	limits  Limits
	entries map[string]*Entry[T]
	// The order of use is a ring of small links side by side: to move an
	// entity to its end touches two others, which must not mean to fetch
	// their whole entries from memory.
	order   []link[T]
	free    int32 // the first free link, 0 for none
	bytes   int
	evicted uint64
}

// link is an entity's place in the order of use. That of number 0 is the
// ring's beginning: next is the oldest, prev the newest.
type link[T any] struct {
	prev, next int32 // prev is less recently used; of a free link, next is the next free one
	entry      *Entry[T]
}

// EntryCost is the estimated size of an entry without its key's bytes and
// what its state points to: list links, map slot, string header, state.
const EntryCost = 136

// NewTable returns an empty table.
func NewTable[T any](l Limits) *Table[T] {
	return &Table[T]{limits: l, entries: make(map[string]*Entry[T]), order: make([]link[T], 1)}
}

// Get returns an entity without touching it, or nil.
func (t *Table[T]) Get(key string) *Entry[T] { return t.entries[key] }

// Touch returns the entity and makes it the most recently used one; it is
// made when it is new.
func (t *Table[T]) Touch(key string) (e *Entry[T], isNew bool) {
	if e = t.entries[key]; e != nil {
		if t.order[0].prev == e.at {
			return e, false
		}
		t.unlink(e.at)
	} else {
		e = &Entry[T]{Key: key, size: EntryCost + len(key), at: t.free}
		if e.at == 0 {
			e.at = int32(len(t.order))
			t.order = append(t.order, link[T]{})
		}
		t.free = t.order[e.at].next
		t.order[e.at].entry = e
		t.entries[key] = e
		t.bytes += e.size
		isNew = true
	}
	last := t.order[0].prev
	l := &t.order[e.at]
	l.prev, l.next = last, 0
	t.order[last].next, t.order[0].prev = e.at, e.at
	return e, isNew
}

func (t *Table[T]) unlink(at int32) {
	l := t.order[at]
	t.order[l.prev].next, t.order[l.next].prev = l.next, l.prev
}

// Resize notes how many bytes the entity's state holds besides EntryCost, and
// evicts the least recently used other entities until the table is within its
// limits. evict, when not nil, is told of each.
func (t *Table[T]) Resize(e *Entry[T], stateBytes int, evict func(*Entry[T])) {
	size := EntryCost + len(e.Key) + stateBytes
	t.bytes += size - e.size
	e.size = size
	for len(t.entries) > t.limits.Keys || t.bytes > t.limits.Bytes {
		at := t.order[0].next
		if at == e.at {
			at = t.order[at].next
		}
		if at == 0 {
			return // one entity alone: its own bounds hold
		}
		old := t.order[at].entry
		if evict != nil {
			evict(old)
		}
		t.Remove(old)
		t.evicted++
	}
}

// Remove drops an entity without counting it as evicted.
func (t *Table[T]) Remove(e *Entry[T]) {
	t.unlink(e.at)
	t.order[e.at] = link[T]{next: t.free}
	t.free = e.at
	delete(t.entries, e.Key)
	t.bytes -= e.size
}

// All yields the entities, least recently used first. The entity yielded may
// be removed.
func (t *Table[T]) All() iter.Seq[*Entry[T]] {
	return func(yield func(*Entry[T]) bool) {
		for at := t.order[0].next; at != 0; {
			next := t.order[at].next
			if !yield(t.order[at].entry) {
				return
			}
			at = next
		}
	}
}

// Oldest returns the least recently used entity, or nil.
func (t *Table[T]) Oldest() *Entry[T] {
	return t.order[t.order[0].next].entry // nil at the beginning
}

// Len, Bytes and Evicted describe the table: entities, estimated bytes, and
// entities dropped for lack of room.
func (t *Table[T]) Len() int { return len(t.entries) }

// Bytes is the estimated size of the table.
func (t *Table[T]) Bytes() int { return t.bytes }

// Evicted is how many entities were dropped to stay within the limits.
func (t *Table[T]) Evicted() uint64 { return t.evicted }

// SetEvicted continues a count from a snapshot.
func (t *Table[T]) SetEvicted(n uint64) { t.evicted = n }
