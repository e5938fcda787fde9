package distinct

import (
	"math"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// sketch estimates how many different values were observed since a time: a
// HyperLogLog whose registers remember, for each rank, when it was met last, as
// far as no higher rank was met since. So a register answers for any window that
// ends now, and what it holds does not depend on the order of observations.
//
// Hash and arithmetic are the same on every machine: the hash has no seed, and
// products are rounded before they are added, since a compiler may otherwise
// keep more digits on some processors. Somebody who chooses values so that they
// hash alike can make the estimate too small, which is why it never counts for
// less than the values that are held exactly.
type sketch struct {
	regs  [registers][]mark
	marks int
}

// mark is a rank and when it was met last. A register's marks are in order of
// falling time and rising rank.
type mark struct {
	at   int64
	rank uint8
}

const (
	precision = 12
	registers = 1 << precision
	maxRank   = 64 - precision + 1
)

// size is an estimate of the bytes held.
func (s *sketch) size() int { return registers*24 + s.marks*24 }

// add takes an observation of a value.
func (s *sketch) add(value string, at int64) {
	h := xxhash.Sum64String(value)
	s.put(int(h>>(64-precision)), mark{at, uint8(min(bits.LeadingZeros64(h<<precision)+1, maxRank))})
}

func (s *sketch) put(reg int, m mark) {
	list := s.regs[reg]
	i := 0
	for i < len(list) && list[i].at > m.at {
		if list[i].rank >= m.rank {
			return // met later, and higher
		}
		i++
	}
	j := i
	for j < len(list) && (list[j].at <= m.at && list[j].rank <= m.rank) {
		j++
	}
	if j == i && i < len(list) && list[i].at == m.at {
		return // at the same time, and higher
	}
	s.marks += 1 - (j - i)
	s.regs[reg] = slices.Replace(list, i, j, m)
}

// since is the estimate of how many values were observed at or after a time.
// What is older is forgotten.
func (s *sketch) since(from int64) int {
	var counts [maxRank + 1]int
	for i, list := range s.regs {
		n := len(list)
		for n > 0 && list[n-1].at < from {
			n--
		}
		s.marks -= len(list) - n
		s.regs[i] = list[:n]
		if n > 0 {
			counts[list[n-1].rank]++
		} else {
			counts[0]++
		}
	}
	return estimate(&counts)
}

// estimate is the estimator of Ertl (2017), which needs no tables of bias: from
// how many registers have which rank to the number of values.
func estimate(counts *[maxRank + 1]int) int {
	const m = registers
	z := m * tau(1-float64(counts[maxRank])/m)
	for k := maxRank - 1; k >= 1; k-- {
		z = 0.5 * (z + float64(counts[k]))
	}
	z += float64(m * sigma(float64(counts[0])/m))
	return int(math.Round(m * m / (2 * math.Ln2) / z))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += float64(x * y)
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		d := 1 - x
		z -= float64(float64(d*d) * y)
		if z == before {
			return z / 3
		}
	}
}

func (s *sketch) encode(enc *snapshot.Encoder) {
	used := 0
	for _, list := range s.regs {
		if len(list) > 0 {
			used++
		}
	}
	enc.Uint(uint64(used))
	for i, list := range s.regs {
		if len(list) == 0 {
			continue
		}
		enc.Uint(uint64(i))
		enc.Uint(uint64(len(list)))
		for _, m := range list {
			enc.Int(m.at)
			enc.Uint(uint64(m.rank))
		}
	}
}

func decodeSketch(dec *snapshot.Decoder) *sketch {
	s := &sketch{}
	last := -1
	for range dec.Count(4) {
		reg, n := dec.Uint(), dec.Count(2)
		if dec.Err() == nil && (reg >= registers || int(reg) <= last || n == 0 || n > maxRank) {
			dec.Fail("a register that cannot be, or is there twice")
		}
		if dec.Err() != nil {
			return s
		}
		last = int(reg)
		list := make([]mark, n)
		for i := range list {
			at, rank := dec.Int(), dec.Uint()
			if dec.Err() == nil && (rank == 0 || rank > maxRank || i > 0 && (at >= list[i-1].at || uint8(rank) <= list[i-1].rank)) {
				dec.Fail("the marks of a register are out of order")
			}
			if dec.Err() != nil {
				return s
			}
			list[i] = mark{at, uint8(rank)}
		}
		s.regs[reg] = list
		s.marks += n
	}
	return s
}
