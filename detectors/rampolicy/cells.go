package rampolicy

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode"
)

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b bitset) and(o bitset) bitset {
	out := make(bitset, len(b))
	for i := range b {
		out[i] = b[i] & o[i]
	}
	return out
}

func (b bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// each calls f for every member in order.
func (b bitset) each(f func(int)) {
	for i, w := range b {
		for w != 0 {
			f(i*64 + bits.TrailingZeros64(w))
			w &= w - 1
		}
	}
}

func (b bitset) key() string {
	out := make([]byte, 0, len(b)*8)
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return string(out)
}

// cell is a set of texts that all globs treat alike: which of them match, and
// one text that shows it.
type cell struct {
	match   bitset
	witness string
}

// other is a character that stands for all that no glob names. Letters are
// preferred, so that witnesses can be read.
func other(globs [][]token) rune {
	used := map[rune]bool{}
	for _, g := range globs {
		for _, t := range g {
			used[t.r] = true
			for o := unicode.SimpleFold(t.r); o != t.r; o = unicode.SimpleFold(o) {
				used[o] = true
			}
		}
	}
	for _, r := range "xzqjkwvy0123456789ghbdfmnoprstuliace~" {
		if !used[r] {
			return r
		}
	}
	r := rune(0x4e00)
	for used[r] {
		r++
	}
	return r
}

// globCells splits all texts into cells by one walk through the subset
// construction of all globs together. It branches only on characters that a
// live position can read, and on one that stands for the rest. Walking
// breadth first, the witness of a cell is a shortest one. ok is false when
// there are more than limit states.
//
// A position behind a star covers every earlier position of its glob: what
// "*b*c" matches, "*c" does too. Only the ones from the last star on are kept.
func globCells(globs [][]token, limit int) (out []cell, ok bool) {
	rest := other(globs)
	type state struct {
		live   []uint32 // glob<<16 | position
		parent int32
		char   rune
	}
	var scratch []uint32
	// close adds what follows stars, drops what stars cover, and sorts.
	closed := func(in []uint32) []uint32 {
		scratch = scratch[:0]
		for i := 0; i < len(in); {
			g := in[i] >> 16
			from := len(scratch)
			star := -1
			for ; i < len(in) && in[i]>>16 == g; i++ {
				pos := int(in[i] & 0xffff)
				scratch = append(scratch, in[i])
				if t := globs[g]; pos < len(t) && t[pos].kind == '*' {
					star = max(star, pos)
					scratch = append(scratch, in[i]+1)
				}
			}
			kept := from
			for _, s := range scratch[from:] {
				if int(s&0xffff) >= star {
					scratch[kept] = s
					kept++
				}
			}
			slices.Sort(scratch[from:kept])
			scratch = append(scratch[:from], slices.Compact(scratch[from:kept])...)
		}
		return slices.Clone(scratch)
	}
	key := func(live []uint32) string {
		b := make([]byte, 0, 4*len(live))
		for _, v := range live {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return string(b)
	}
	start := make([]uint32, len(globs))
	for i := range globs {
		start[i] = uint32(i) << 16
	}
	states := []state{{live: closed(start), parent: -1}}
	seen := map[string]bool{key(states[0].live): true}
	cells := map[string]bool{}
	work := 0
	for n := 0; n < len(states); n++ {
		live := states[n].live
		match := newBitset(len(globs))
		var chars []rune
		for _, v := range live {
			g, pos := v>>16, int(v&0xffff)
			if pos == len(globs[g]) {
				match.set(int(g))
				continue
			}
			switch t := globs[g][pos]; t.kind {
			case 'l':
				chars = append(chars, t.r)
			case 'f':
				chars = append(chars, t.r)
				for o := unicode.SimpleFold(t.r); o != t.r; o = unicode.SimpleFold(o) {
					chars = append(chars, o)
				}
			}
		}
		if k := match.key(); !cells[k] {
			cells[k] = true
			var text []rune
			for i := n; states[i].parent >= 0; i = int(states[i].parent) {
				text = append(text, states[i].char)
			}
			slices.Reverse(text)
			out = append(out, cell{match: match, witness: string(text)})
		}
		slices.Sort(chars)
		chars = append(slices.Compact(chars), rest)
		for _, c := range chars {
			var next []uint32
			for _, v := range live {
				g, pos := v>>16, int(v&0xffff)
				if pos == len(globs[g]) {
					continue
				}
				if t := globs[g][pos]; t.kind == '*' {
					next = append(next, v)
				} else if t.accepts(c) {
					next = append(next, v+1)
				}
			}
			// Work is bounded too: a thousand live globs at each of many
			// states are as bad as many states.
			if work += len(live); work > 100*limit {
				return nil, false
			}
			next = closed(next)
			k := key(next)
			if seen[k] {
				continue
			}
			if len(states) >= limit {
				return nil, false
			}
			seen[k] = true
			states = append(states, state{live: next, parent: int32(n), char: c})
		}
	}
	return out, true
}

// valueCells returns values of a condition key that stand for all values: for
// every possible outcome of the conditions together one value is there.
// Absence is not among them. ok is false when the conditions are of more than
// one family, or too many.
func valueCells(conds []*Condition, limit int) (values []string, ok bool) {
	fam := family(conds[0].Operator)
	for _, c := range conds {
		if family(c.Operator) != fam {
			return nil, false
		}
	}
	add := func(v string) {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	switch fam {
	case famString:
		var globs [][]token
		for _, c := range conds {
			for _, v := range c.Values {
				globs = append(globs, tokens(v, !strings.HasSuffix(c.Operator, "Like"), strings.Contains(c.Operator, "IgnoreCase")))
			}
		}
		cells, ok := globCells(globs, limit)
		if !ok {
			return nil, false
		}
		// Values that read well first.
		add("example")
		for _, c := range conds {
			for _, v := range c.Values {
				if strings.HasSuffix(c.Operator, "Like") {
					v = strings.NewReplacer("*", "", "?", "x").Replace(v)
				}
				if len(values) < 200 {
					add(v)
				}
			}
		}
		for _, c := range cells {
			values = append(values, c.witness)
		}
	case famBool:
		values = []string{"true", "false"}
	case famNumeric:
		values = numericCells(conds)
	case famDate:
		values = dateCells(conds)
	case famIP:
		values = ipCells(conds)
	default:
		return nil, false
	}
	return values, true
}
