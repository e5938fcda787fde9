package event

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"strings"
)

// DedupKey identifies the act itself, whichever trail delivered the record:
// a 128-bit hash of the recipient account and the event id. A record without
// an event id is identified by its bytes. The value is stable across
// machines and versions.
func (e *Event) DedupKey() [16]byte {
	if e.ID == "" {
		return begun("").add(view(e.raw)).sum()
	}
	return begun(e.Recipient).add(e.ID).sum()
}

// Keyer makes the keys of many events: nearly all are of few accounts, which
// need not be hashed again and again. The zero value is ready; for one goroutine.
type Keyer struct {
	// Passing makes keys that tell events apart within this process only, from one
	// Keyer to the next, which is several times as fast.
	Passing bool
	near    [64]struct {
		account string // not in the memory of a record
		begun   fnv128 // by it
	}
}

// DedupKey is the event's DedupKey, or a passing key in its place.
func (k *Keyer) DedupKey(e *Event) [16]byte {
	if e.ID == "" || len(e.Recipient) > maxMemo {
		return e.DedupKey()
	}
	m := &k.near[Bucket(e.Recipient)%uint64(len(k.near))]
	if m.account != e.Recipient || m.begun == (fnv128{}) {
		m.account, m.begun = strings.Clone(e.Recipient), begun(e.Recipient)
	}
	if k.Passing {
		// Both are drawn at random: nobody can foresee which ids meet.
		return fnv128{m.begun.hi ^ maphash.String(passing[0], e.ID), m.begun.lo ^ maphash.String(passing[1], e.ID)}.sum()
	}
	return m.begun.add(e.ID).sum()
}

// passing makes the keys of this process.
var passing = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// fnv128 is FNV-1a of 128 bits.
type fnv128 struct{ hi, lo uint64 }

// begun is the hash of an account and a separator that no account id contains.
func begun(account string) fnv128 {
	h := fnv128{0x6c62272e07bb0142, 0x62b821756295c58d}.add(account)
	return h.add("\x00")
}

func (h fnv128) add(s string) fnv128 {
	const (
		primeLow   = 0x13b
		primeShift = 24
	)
	hi, lo := h.hi, h.lo
	for i := 0; i < len(s); i++ {
		lo ^= uint64(s[i])
		h, l := bits.Mul64(primeLow, lo)
		h += lo<<primeShift + primeLow*hi
		hi, lo = h, l
	}
	return fnv128{hi, lo}
}

func (h fnv128) sum() (k [16]byte) {
	binary.BigEndian.PutUint64(k[:8], h.hi)
	binary.BigEndian.PutUint64(k[8:], h.lo)
	return k
}

// Partition returns which of n partitions an account's events belong to:
// FNV-1a of 32 bits, modulo n. It is 0 when n is less than 2.
func Partition(account string, n int) int {
	if n < 2 {
		return 0
	}
	h := uint32(2166136261)
	for i := 0; i < len(account); i++ {
		h = (h ^ uint32(account[i])) * 16777619
	}
	return int(h % uint32(n))
}
