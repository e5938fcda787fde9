package gunzip

import "math/bits"

// Bits of the code looked up at once. Longer codes, which are rare, take a
// second look.
const (
	symbolBits   = 10
	distanceBits = 8
	maxCode      = 15 // bits of the longest code
)

// entry is what the next bits of the input mean, in one word, so that one load
// tells it:
//
//	bits  0-7   how many bits it takes, those of its number included
//	bits  8-11  how many of them are the code
//	bit  13     no code at all
//	bit  14     the end of the block
//	bit  15     one of the two above, or a second table
//	bits 16-30  the byte, the least length or distance, or where the second table is
//	bit  31     a byte
//
// Of a second table bits 0-7 are what the first look takes, and bits 8-11 the
// bits that the second one takes.
type entry uint32

const (
	invalid entry = 1<<13 | special
	final   entry = 1<<14 | special
	special entry = 1 << 15
	kinds         = special | final | invalid
	literal entry = 1 << 31
)

// The tables have room for every set of codes. A second table for k bits more has
// 1<<k entries and, as the set is complete, k+1 codes at least; so 288 codes need
// 288*32/6 entries beside the first 1,024 at most, and 32 codes 32*128/8 beside 256.
// They are powers of two, so that an index that is cut to their size needs no
// check.
type (
	symbolTable   [1 << 12]entry
	distanceTable [1 << 10]entry
)

// Lengths and distances by symbol, RFC 1951 section 3.2.5: the least, and the
// bits of the number added to it.
var (
	lengths = [29]struct {
		least uint16
		extra uint8
	}{
		{3, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}, {8, 0}, {9, 0}, {10, 0}, {11, 1}, {13, 1}, {15, 1}, {17, 1},
		{19, 2}, {23, 2}, {27, 2}, {31, 2}, {35, 3}, {43, 3}, {51, 3}, {59, 3}, {67, 4}, {83, 4}, {99, 4}, {115, 4},
		{131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0},
	}
	distances = [30]struct {
		least uint16
		extra uint8
	}{
		{1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 1}, {7, 1}, {9, 2}, {13, 2}, {17, 3}, {25, 3}, {33, 4}, {49, 4}, {65, 5}, {97, 5},
		{129, 6}, {193, 6}, {257, 7}, {385, 7}, {513, 8}, {769, 8}, {1025, 9}, {1537, 9}, {2049, 10}, {3073, 10},
		{4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13},
	}
)

// symbol is the entry of a byte, a length or the end, without its code.
func symbol(s int) entry {
	switch {
	case s < 256:
		return literal | entry(s)<<16
	case s == 256:
		return final
	case s-257 < len(lengths):
		l := lengths[s-257]
		return entry(l.least)<<16 | entry(l.extra)
	}
	return invalid
}

// distance is the entry of a distance, without its code.
func distance(s int) entry {
	if s >= len(distances) {
		return invalid
	}
	d := distances[s]
	return entry(d.least)<<16 | entry(d.extra)
}

// build fills a table for codes of the lengths given by symbol, zero for none
// (RFC 1951 section 3.2.2), and tells whether they are a set of codes: complete,
// or one code of one bit, or none.
func build(table []entry, first uint, code []uint8, of func(int) entry) bool {
	var count, next [maxCode + 1]int
	for _, n := range code {
		count[n]++
	}
	count[0] = 0
	left := 1 // codes of this length that are not taken
	longest := uint(0)
	for n := 1; n <= maxCode; n++ {
		next[n] = (next[n-1] + count[n-1]) << 1
		left = left<<1 - count[n]
		if left < 0 {
			return false
		}
		if count[n] > 0 {
			longest = uint(n)
		}
	}
	one := longest == 1 && count[1] == 1
	if left > 0 && longest > 0 && !one {
		return false
	}
	if left > 0 {
		for i := range table[:1<<first] {
			table[i] = invalid
		}
	}
	// Codes longer than the first look, by what that sees: how long the longest is.
	var deep [1 << symbolBits]uint8
	if longest > first {
		at := next
		for _, n := range code {
			if uint(n) > first {
				low := reverse(at[n], uint(n)) & (1<<first - 1)
				deep[low] = max(deep[low], n)
			}
			at[n]++
		}
	}
	end := 1 << first
	for s, n := range code {
		if n == 0 {
			continue
		}
		c := reverse(next[n], uint(n))
		next[n]++
		e, room, step, take := of(s), table[:1<<first], 1<<n, entry(n)
		if uint(n) > first {
			low := c & (1<<first - 1)
			more := entry(deep[low])
			if more != 0 { // the first of them: make room
				table[low] = special | entry(end)<<16 | (more-entry(first))<<8 | entry(first)
				end += 1 << (more - entry(first))
				deep[low] = 0
			}
			head := table[low]
			start := int(head >> 16)
			room, c, step, take = table[start:start+1<<(head>>8&15)], c>>first, 1<<(uint(n)-first), entry(n)-entry(first)
		}
		e += take
		e |= take << 8
		for i := c; i < len(room); i += step {
			room[i] = e
		}
	}
	return true
}

// reverse is the code of n bits as the input has it, its first bit lowest.
func reverse(code int, n uint) int {
	return int(bits.Reverse16(uint16(code)) >> (16 - n))
}
