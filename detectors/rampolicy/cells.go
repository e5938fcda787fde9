package rampolicy

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
	"unicode"

	"github.com/trailwarden/trailwarden/pipeline/lists"
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

// slab makes many small sets of one size in few allocations.
type slab struct {
	words int
	made  int // how many sets the last allocation was for
	free  []uint64
}

func (s *slab) set() bitset {
	if len(s.free) < s.words {
		// Most documents need a handful.
		s.made = min(max(8, 2*s.made), 64)
		s.free = make([]uint64, s.made*s.words)
	}
	out := s.free[:s.words:s.words]
	s.free = s.free[s.words:]
	return out
}

func (s *slab) clone(b bitset) bitset {
	out := s.set()
	copy(out, b)
	return out
}

// setIndex numbers sets of one size: equal sets have one number.
type setIndex struct {
	sets  []bitset
	first map[uint64]int32 // by hash, when there are many
	next  []int32          // by number: the one before with the same hash, or -1
}

// fewSets are looked through one by one.
const fewSets = 12

func (b bitset) hash() uint64 {
	h := uint64(len(b))
	for _, w := range b {
		h = (h ^ w) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// find returns the number of a set, or -1.
func (x *setIndex) find(b bitset) int {
	if len(x.sets) <= fewSets {
		return slices.IndexFunc(x.sets, func(o bitset) bool { return slices.Equal(o, b) })
	}
	n, ok := x.first[b.hash()]
	if !ok {
		return -1
	}
	for n >= 0 && !slices.Equal(x.sets[n], b) {
		n = x.next[n]
	}
	return int(n)
}

// add numbers a set that is not there yet, and keeps it.
func (x *setIndex) add(b bitset) int {
	x.sets = append(x.sets, b)
	if len(x.sets) > fewSets {
		if x.first == nil {
			x.first = make(map[uint64]int32, 4*fewSets)
		}
		for n := len(x.next); n < len(x.sets); n++ {
			h := x.sets[n].hash()
			before, ok := x.first[h]
			if !ok {
				before = -1
			}
			x.next = append(x.next, before)
			x.first[h] = int32(n)
		}
	}
	return len(x.sets) - 1
}

// other is a character that stands for all that no glob names. Letters are
// preferred, so that witnesses can be read.
func other(globs []glob) rune {
	var ascii [128]bool
	var used map[rune]bool
	use := func(r rune) {
		if r < 128 {
			ascii[r] = true
			return
		}
		if used == nil {
			used = map[rune]bool{}
		}
		used[r] = true
	}
	for i := range globs {
		for _, r := range globs[i].lead {
			use(r)
		}
		for _, t := range globs[i].toks {
			if use(t.r); t.kind == 'f' {
				for o := unicode.SimpleFold(t.r); o != t.r; o = unicode.SimpleFold(o) {
					use(o)
				}
			}
		}
	}
	for _, r := range "xzqjkwvy0123456789ghbdfmnoprstuliace~" {
		if !ascii[r] {
			return r
		}
	}
	r := rune(0x4e00)
	for used[r] {
		r++
	}
	return r
}

// splitter splits all texts into cells.
type splitter struct {
	globs   []glob
	actions bool
	rest    rune
	limit   int // states that may still be made
	work    *budget

	slab  slab
	index setIndex
	cells []cell
	every bitset // the globs that match every text
}

// globCells splits all texts into cells: for every set of globs that match
// some text there is one cell with such a text. ok is false when that takes
// more than limit states, or more than is left of the budget.
//
// Most globs of real documents are literals and prefixes. A literal is a cell
// of its own. Prefixes lie inside of each other or apart, and what a prefix
// matches and no longer one does is a cell, since no finite list of longer
// ones covers it. Only where a glob of another form begins, the globs that
// begin with the same letters are walked together (walk).
//
// With actions set, the texts are those that an action of a request can be,
// <ram-code>:<name>, which have one colon. That is the vendor's form, and it
// matters: of texts with more colons "*:Get*", "*:List*" and so on could match
// in any combination.
func globCells(globs []glob, actions bool, limit int, work *budget) (out []cell, ok bool) {
	s := &splitter{globs: globs, actions: actions, rest: other(globs), limit: limit, work: work}
	s.slab.words = len(newBitset(len(globs)))
	s.every = s.slab.set()
	order := make([]int, 0, len(globs))
	for i := range globs {
		switch globs[i].form {
		case formAll:
			s.every.set(i)
		case formNone:
		default:
			order = append(order, i)
		}
	}
	lists.Sort(order, func(x, y int) int {
		g, h := &globs[x], &globs[y]
		// Of one lead: prefixes, then what is walked, then the literal.
		rank := [...]int{formLiteral: 2, formPrefix: 0, formOther: 1}
		return cmp.Or(strings.Compare(g.lead, h.lead), cmp.Compare(rank[g.form], rank[h.form]), cmp.Compare(x, y))
	})
	again := map[int]int{} // the same glob once more → the first of them
	once := order[:0]
	for _, i := range order {
		if n := len(once); n > 0 && globs[i].form != formOther && globs[once[n-1]].form == globs[i].form && globs[once[n-1]].lead == globs[i].lead {
			again[i] = once[n-1]
		} else {
			once = append(once, i)
		}
	}
	order = once
	if len(order) == 0 || globs[order[0]].lead != "" || globs[order[0]].form != formOther {
		s.put(s.every, s.beyond(""))
	}
	var open []int        // the globs whose lead the present one begins with
	walked, root := 0, "" // the end of what was walked, and where that began
	m := s.slab.set()
	for at := 0; at < len(order); at++ {
		i := order[at]
		g := &globs[i]
		for len(open) > 0 && !strings.HasPrefix(g.lead, globs[open[len(open)-1]].lead) {
			open = open[:len(open)-1]
		}
		if !work.spend(len(open) + 2) {
			return nil, false
		}
		switch {
		case g.form == formOther && at >= walked:
			copy(m, s.every)
			for _, o := range open {
				m.set(o)
			}
			root = g.lead
			for walked = at + 1; walked < len(order) && strings.HasPrefix(globs[order[walked]].lead, root); walked++ {
			}
			if !s.walk(root, m, order[at:walked]) {
				return nil, false
			}
		case g.form == formPrefix && at >= walked:
			copy(m, s.every)
			for _, o := range open {
				m.set(o)
			}
			m.set(i)
			if at+1 < len(order) && globs[order[at+1]].form == formOther && globs[order[at+1]].lead == g.lead {
				// That one is walked from here on.
			} else if w := s.beyond(g.lead); w != "" {
				s.put(m, w)
			}
		case g.form == formLiteral:
			if actions && strings.Count(g.lead, ":") != 1 {
				continue
			}
			copy(m, s.every)
			m.set(i)
			for _, o := range open {
				if globs[o].match(g.lead) {
					m.set(o)
				}
			}
			s.put(m, g.lead)
		}
		if g.form != formLiteral {
			open = append(open, i)
		}
	}
	for i, first := range again {
		for _, c := range s.cells {
			if c.match.has(first) {
				c.match.set(i)
			}
		}
	}
	return s.cells, true
}

// put adds a cell unless it is there.
func (s *splitter) put(match bitset, witness string) {
	if s.index.find(match) < 0 {
		m := s.slab.clone(match)
		s.index.add(m)
		s.cells = append(s.cells, cell{match: m, witness: witness})
	}
}

// beyond returns a text that begins with a lead, and that no glob matches but
// those that match everything that begins with it; "" when there is none. The
// character that no glob names makes it so.
func (s *splitter) beyond(lead string) string {
	r := string(s.rest)
	if !s.actions {
		return lead + r
	}
	switch strings.Count(lead, ":") {
	case 0:
		return lead + r + ":" + r
	case 1:
		return lead + r
	}
	return ""
}

// withoutStars makes a pattern of a condition a value that it matches.
var withoutStars = strings.NewReplacer("*", "", "?", "x")

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
		var globs []glob
		for _, c := range conds {
			for _, v := range c.Values {
				globs = append(globs, newGlob(v, !strings.HasSuffix(c.Operator, "Like"), strings.Contains(c.Operator, "IgnoreCase")))
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
					v = withoutStars.Replace(v)
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
