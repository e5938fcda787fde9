package event

import "math/bits"

// DedupKey identifies the act itself, whichever trail delivered the record:
// a 128-bit hash of the recipient account and the event id. A record without
// an event id is identified by its bytes. The value is stable across
// machines and versions.
func (e *Event) DedupKey() [16]byte {
	if e.ID == "" {
		return fnv128("", view(e.raw))
	}
	return fnv128(e.Recipient, e.ID)
}

// fnv128 is FNV-1a over a, a separator that no account id contains, and b.
func fnv128(a, b string) [16]byte {
	const (
		primeLow   = 0x13b
		primeShift = 24
	)
	hi, lo := uint64(0x6c62272e07bb0142), uint64(0x62b821756295c58d)
	add := func(c byte) {
		lo ^= uint64(c)
		h, l := bits.Mul64(primeLow, lo)
		h += lo<<primeShift + primeLow*hi
		hi, lo = h, l
	}
	for i := 0; i < len(a); i++ {
		add(a[i])
	}
	add(0)
	for i := 0; i < len(b); i++ {
		add(b[i])
	}
	var k [16]byte
	for i := range 8 {
		k[i], k[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
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
