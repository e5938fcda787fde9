package detectors

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// keySet is a set of keys of 16 bytes. They lie one after the other as they came;
// where a key is, a small table says that is more often in the processor's cache
// than the keys are. Its order depends on a number drawn at random, and does not
// show from outside: keys are hashes of what others write, and nobody shall be
// able to choose many that meet.
type keySet struct {
	keys   [][16]byte
	slots  []uint32 // 0, or a key's number from 1 on, below bits of its hash; a power of two of them
	secret [2]uint64
}

// newKeySet returns an empty set with room for so many keys, and a few more.
func newKeySet(room int) *keySet {
	seed := maphash.MakeSeed()
	s := &keySet{keys: make([][16]byte, 0, room+room/16), secret: [2]uint64{maphash.String(seed, "a"), maphash.String(seed, "b")}}
	size := 16
	for size/8*7 < room {
		size *= 2
	}
	s.slots = make([]uint32, size)
	return s
}

// find returns the slot of a key, or the one where it belongs, and whether it is
// there; and what its slot has above the number.
func (s *keySet) find(key *[16]byte) (slot *uint32, tag uint32, found bool) {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(key[:8])^s.secret[0], binary.LittleEndian.Uint64(key[8:])^s.secret[1])
	hash := hi ^ lo
	mask := uint32(len(s.slots) - 1)
	tag = uint32(hash>>32) &^ mask
	for i := uint32(hash); ; i++ {
		slot = &s.slots[i&mask]
		if *slot == 0 {
			return slot, tag, false
		}
		if *slot&^mask == tag && s.keys[*slot&mask-1] == *key {
			return slot, tag, true
		}
	}
}

// add puts a key into the set and says whether it was not there.
func (s *keySet) add(key [16]byte) bool {
	slot, tag, found := s.find(&key)
	if found {
		return false
	}
	s.keys = append(s.keys, key)
	*slot = tag | uint32(len(s.keys))
	if len(s.keys) > len(s.slots)/8*7 {
		s.slots = make([]uint32, 2*len(s.slots))
		for i := range s.keys {
			slot, tag, _ = s.find(&s.keys[i])
			*slot = tag | uint32(i+1)
		}
	}
	return true
}

func (s *keySet) has(key [16]byte) (found bool) {
	if s != nil {
		_, _, found = s.find(&key)
	}
	return found
}

func (s *keySet) len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}
