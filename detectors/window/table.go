package window

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
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
	size  uint32 // no state comes near 4 GB
	at    uint32 // in order
}

// Table remembers entities and forgets the least recently used ones when it
// is full. Use is the order of Touch, so a table's content depends on the
// order of its calls alone. The zero value is not usable.
type Table[T any] struct {
	limits Limits
	// Where an entity is: its place in order, below 32 bits of its key's hash.
	// 0 is nothing. There is a power of two of them, and some are nothing.
	slots []uint64
	n     int // entities
	// The order of use is a ring of small links side by side: to move an
	// entity to its end touches two others, which must not mean to fetch
	// their whole entries from memory.
	order   []link[T]
	free    uint32 // the first free link, 0 for none
	bytes   int
	evicted uint64
}

// link is an entity's place in the order of use. That of number 0 is the
// ring's beginning: next is the oldest, prev the newest.
type link[T any] struct {
	prev, next uint32 // prev is less recently used; of a free link, next is the next free one
	entry      *Entry[T]
}

// EntryCost is the estimated size of an entry without its key's bytes and
// what its state points to: list links, slots, string header, state.
const EntryCost = 136

// NewTable returns an empty table.
func NewTable[T any](l Limits) *Table[T] {
	return &Table[T]{limits: l, slots: make([]uint64, 8), order: make([]link[T], 1)}
}

var seed = maphash.MakeSeed()

// Hash is a hash of a text that differs from process to process: texts are
// chosen by attackers. So it must not leave the process, and nothing that is
// told or kept may depend on it.
func Hash(text string) uint64 { return maphash.String(seed, text) }

func hash(key string) uint64 { return Hash(key) >> 32 }

// find returns the place of an entity in order, or 0, and the slot that says
// so, or the one where it belongs.
func (t *Table[T]) find(key string, hash uint64) (at uint32, slot uint64) {
	mask := uint64(len(t.slots) - 1)
	for slot = hash & mask; ; slot = (slot + 1) & mask {
		v := t.slots[slot]
		if v == 0 {
			return 0, slot
		}
		if v>>32 == hash && t.order[uint32(v)].entry.Key == key {
			return uint32(v), slot
		}
	}
}

// grow makes room for more entities.
func (t *Table[T]) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	mask := uint64(len(t.slots) - 1)
	for _, v := range old {
		if v == 0 {
			continue
		}
		slot := v >> 32 & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = v
	}
}

// clear empties a slot, and moves those behind it that would not be found any
// more.
func (t *Table[T]) clear(slot uint64) {
	mask := uint64(len(t.slots) - 1)
	for next := slot; ; {
		next = (next + 1) & mask
		v := t.slots[next]
		if v == 0 {
			t.slots[slot] = 0
			return
		}
		if home := v >> 32 & mask; (next-home)&mask >= (next-slot)&mask {
			t.slots[slot] = v
			slot = next
		}
	}
}

// Get returns an entity without touching it, or nil.
func (t *Table[T]) Get(key string) *Entry[T] {
	at, _ := t.find(key, hash(key))
	return t.order[at].entry // nil at the beginning
}

// Fetch returns a hint for TouchHint, good for as long as it is true; 0 where
// there is no such entity. Once in four billion times it is another's than the
// key's: not to look at keys is to have one thing less to wait for.
func (t *Table[T]) Fetch(key string) (hint uint32) {
	mask, hash := uint64(len(t.slots)-1), hash(key)
	for slot := hash & mask; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if v := t.slots[slot]; v>>32 == hash {
			return uint32(v)
		}
	}
	return 0
}

// At returns the entity that a hint means which Fetch has just returned; nil for 0.
func (t *Table[T]) At(hint uint32) *Entry[T] { return t.order[hint].entry }

// Touch returns the entity and makes it the most recently used one; it is
// made when it is new.
func (t *Table[T]) Touch(key string) (e *Entry[T], isNew bool) { return t.TouchHint(key, 0) }

// TouchHint is Touch with what Fetch may have said before, or 0.
func (t *Table[T]) TouchHint(key string, hint uint32) (e *Entry[T], isNew bool) {
	at := hint
	if at == 0 {
		at = t.order[0].prev // it is often the same again
	}
	if at == 0 || int(at) >= len(t.order) || t.order[at].entry == nil || t.order[at].entry.Key != key {
		h := hash(key)
		var slot uint64
		if at, slot = t.find(key, h); at == 0 {
			return t.add(key, h, slot), true
		}
	}
	if t.order[0].prev != at {
		t.unlink(at)
		t.link(at)
	}
	return t.order[at].entry, false
}

// add makes an entity, the most recently used one.
func (t *Table[T]) add(key string, hash, slot uint64) *Entry[T] {
	e := &Entry[T]{Key: key, size: uint32(EntryCost + len(key)), at: t.free}
	if e.at == 0 {
		e.at = uint32(len(t.order))
		t.order = append(t.order, link[T]{})
	}
	t.free = t.order[e.at].next
	t.order[e.at].entry = e
	t.link(e.at)
	t.slots[slot] = hash<<32 | uint64(e.at)
	t.bytes += int(e.size)
	if t.n++; t.n > len(t.slots)/4*3 {
		t.grow()
	}
	return e
}

// link puts a link at the end of the order of use.
func (t *Table[T]) link(at uint32) {
	last := t.order[0].prev
	l := &t.order[at]
	l.prev, l.next = last, 0
	t.order[last].next, t.order[0].prev = at, at
}

func (t *Table[T]) unlink(at uint32) {
	l := &t.order[at]
	t.order[l.prev].next, t.order[l.next].prev = l.next, l.prev
}

// Resize notes how many bytes the entity's state holds besides EntryCost, and
// evicts the least recently used other entities until the table is within its
// limits. evict, when not nil, is told of each.
func (t *Table[T]) Resize(e *Entry[T], stateBytes int, evict func(*Entry[T])) {
	size := EntryCost + len(e.Key) + stateBytes
	t.bytes += size - int(e.size)
	e.size = uint32(size)
	for t.n > t.limits.Keys || t.bytes > t.limits.Bytes {
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
	_, slot := t.find(e.Key, hash(e.Key))
	t.clear(slot)
	t.n--
	t.order[e.at] = link[T]{next: t.free}
	t.free = e.at
	t.bytes -= int(e.size)
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
func (t *Table[T]) Len() int { return t.n }

// Bytes is the estimated size of the table.
func (t *Table[T]) Bytes() int { return t.bytes }

// Evicted is how many entities were dropped to stay within the limits.
func (t *Table[T]) Evicted() uint64 { return t.evicted }

// SetEvicted continues a count from a snapshot.
func (t *Table[T]) SetEvicted(n uint64) { t.evicted = n }
