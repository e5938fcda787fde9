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

// setAnd makes b what x and y have in common.
func (b bitset) setAnd(x, y bitset) {
	for i := range b {
		b[i] = x[i] & y[i]
	}
}

// meets says whether the two have anything in common.
func (b bitset) meets(o bitset) bool {
	for i := range b {
		if b[i]&o[i] != 0 {
			return true
		}
	}
	return false
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

func (b bitset) key() string { return string(b.appendKey(make([]byte, 0, len(b)*8))) }

func (b bitset) appendKey(out []byte) []byte {
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

// budget is what is left to be done, in steps of some ten nanoseconds.
type budget struct{ left int }

// spend takes from the budget and reports false when there is not enough.
func (b *budget) spend(n int) bool {
	b.left -= n
	return b.left >= 0
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

// globCells splits all texts into cells: for every set of globs that match
// some text there is one cell with such a text. ok is false when that takes
// more than limit states, or more than is left of the budget.
//
// Most globs of real documents are literals, and a literal is a cell of its
// own, whose other matches are found by trying. So only the others are walked
// (walkCells). What a walk must not do is give a text as the witness of a cell
// that a literal takes out of it. It looks for another; where it finds none,
// the literals in question are walked too.
//
// With actions set, the texts are those that an action of a request can be,
// <ram-code>:<name>, which have one colon. That is the vendor's form, and it
// matters: of texts with more colons "*:Get*", "*:List*" and so on could match
// in any combination.
func globCells(globs [][]token, actions bool, limit int, work *budget) (out []cell, ok bool) {
	literals := map[string]int{}
	walked := make([]bool, len(globs))
	for i, g := range globs {
		text, plain := literalText(g)
		if _, twice := literals[text]; plain && !twice {
			literals[text] = i
		} else {
			walked[i] = true
		}
	}
	rest := other(globs)
	for round := 0; ; round++ {
		if round == 3 {
			clear(literals)
			for i := range walked {
				walked[i] = true
			}
		}
		var taken []string
		out, taken, ok = walkCells(globs, actions, walked, literals, rest, limit, work)
		if !ok {
			return nil, false
		}
		if len(taken) == 0 {
			break
		}
		for _, text := range taken {
			walked[literals[text]] = true
			delete(literals, text)
		}
	}
	others := 0
	for i := range walked {
		others += bit(walked[i])
	}
	for i, g := range globs {
		if walked[i] {
			continue
		}
		text, _ := literalText(g)
		if actions && strings.Count(text, ":") != 1 {
			continue
		}
		c := cell{match: newBitset(len(globs)), witness: text}
		c.match.set(i)
		if !work.spend(others + 1) {
			return nil, false
		}
		for j, o := range globs {
			if walked[j] && matchTokens(o, text) {
				c.match.set(j)
			}
		}
		out = append(out, c)
	}
	return out, true
}

// literalText returns the only text that a glob matches, if there is only one.
func literalText(g []token) (string, bool) {
	for _, t := range g {
		if t.kind != 'l' {
			return "", false
		}
	}
	text := make([]rune, len(g))
	for i, t := range g {
		text[i] = t.r
	}
	return string(text), true
}

// walkCells walks the subset construction of some of the globs together. It
// branches only on characters that a live position can read, and on one that
// stands for the rest. Walking breadth first, the witness of a cell is a
// shortest one that is not in avoid. taken lists those texts of avoid that
// alone were found for a cell.
//
// A position behind a star covers every earlier position of its glob: what
// "*b*c" matches, "*c" does too. Only the ones from the last star on are kept.
func walkCells(globs [][]token, actions bool, walked []bool, avoid map[string]int, rest rune, limit int, work *budget) (out []cell, taken []string, ok bool) {
	type state struct {
		live   []uint32 // glob<<16 | position
		parent int32
		char   rune
		cell   int32 // -1 when the texts that end here are none
		colons byte
	}
	var states []state
	path := func(n int, last ...rune) string {
		var text []rune
		for i := n; states[i].parent >= 0; i = int(states[i].parent) {
			text = append(text, states[i].char)
		}
		slices.Reverse(text)
		return string(append(text, last...))
	}
	// closed adds what follows stars and drops what stars cover. Positions
	// come glob by glob and rising, and leave so.
	var scratch []uint32
	closed := func(in []uint32) []uint32 {
		scratch = scratch[:0]
		for i := 0; i < len(in); {
			g := in[i] >> 16
			t := globs[g]
			from := len(scratch)
			for ; i < len(in) && in[i]>>16 == g; i++ {
				pos := int(in[i] & 0xffff)
				if n := len(scratch); n > from && scratch[n-1] == in[i] {
					// it followed a star already
				} else if pos < len(t) && t[pos].kind == '*' {
					scratch = append(scratch[:from], in[i])
				} else {
					scratch = append(scratch, in[i])
					continue
				}
				if pos < len(t) && t[pos].kind == '*' {
					scratch = append(scratch, in[i]+1)
				}
			}
		}
		return scratch
	}
	var buf []byte
	key := func(live []uint32, colons byte) []byte {
		buf = append(buf[:0], colons)
		for _, v := range live {
			buf = binary.LittleEndian.AppendUint32(buf, v)
		}
		return buf
	}
	seen := map[string]int32{}
	cells := map[string]int32{}
	match := newBitset(len(globs))
	var open []bool // by cell: its witness is to be avoided
	add := func(live []uint32, colons byte, parent int32, char rune) {
		seen[string(key(live, colons))] = int32(len(states))
		states = append(states, state{live: slices.Clone(live), parent: parent, char: char, cell: -1, colons: colons})
		if actions && colons != 1 {
			return
		}
		clear(match)
		for _, v := range live {
			if g := v >> 16; int(v&0xffff) == len(globs[g]) {
				match.set(int(g))
			}
		}
		buf = match.appendKey(buf[:0])
		n, known := cells[string(buf)]
		if !known {
			n = int32(len(out))
			cells[string(buf)] = n
		}
		states[len(states)-1].cell = n
		if !known || open[n] {
			w := path(len(states) - 1)
			_, bad := avoid[w]
			if !known {
				out = append(out, cell{match: slices.Clone(match), witness: w})
				open = append(open, bad)
			} else if !bad {
				out[n].witness, open[n] = w, false
			}
		}
	}
	var start, next []uint32
	for i := range globs {
		if walked[i] {
			start = append(start, uint32(i)<<16)
		}
	}
	add(closed(start), 0, -1, 0)
	var chars []rune
	for n := 0; n < len(states); n++ {
		live := states[n].live
		chars = chars[:0]
		for _, v := range live {
			g, pos := v>>16, int(v&0xffff)
			if pos == len(globs[g]) {
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
		if actions {
			chars = append(chars, ':')
		}
		slices.Sort(chars)
		chars = append(slices.Compact(chars), rest)
		for _, c := range chars {
			colons := states[n].colons
			if actions && c == ':' {
				if colons++; colons > 1 {
					continue
				}
			}
			next = next[:0]
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
			// A thousand live globs at each of many states are as bad as
			// many states.
			if !work.spend(len(live) + 8) {
				return nil, nil, false
			}
			to := closed(next)
			if m, ok := seen[string(key(to, colons))]; ok {
				if i := states[m].cell; i >= 0 && open[i] {
					w := path(n, c)
					if _, bad := avoid[w]; !bad {
						out[i].witness, open[i] = w, false
					}
				}
				continue
			}
			if len(states) >= limit {
				return nil, nil, false
			}
			add(to, colons, int32(n), c)
		}
	}
	for i := range open {
		if open[i] {
			taken = append(taken, out[i].witness)
		}
	}
	return out, taken, true
}

// valueCells returns values of a condition key that stand for all values: for
// every possible outcome of the conditions together one value is there.
// Absence is not among them. ok is false when the conditions are of more than
// one family, or too many.
func valueCells(conds []*Condition, limit int, work *budget) (values []string, ok bool) {
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
		cells, ok := globCells(globs, false, limit, work)
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
