package rampolicy

import (
	"cmp"
	"slices"
	"strings"
)

// covers returns the cells of a dimension that a pattern matches.
func (a *analysis) covers(dim, pat int) bitset {
	if a.covered[dim] == nil {
		a.covered[dim] = make([]bitset, len(a.patterns[dim]))
	}
	if b := a.covered[dim][pat]; b != nil {
		return b
	}
	out := newBitset(len(a.cells[dim]))
	a.covered[dim][pat] = out
	for n, c := range a.cells[dim] {
		if c.match.has(pat) {
			out.set(n)
		}
	}
	return out
}

func (b bitset) count() int {
	n := 0
	b.each(func(int) { n++ })
	return n
}

// within says whether every member is in o.
func (b bitset) within(o bitset) bool {
	for i := range b {
		if b[i]&^o[i] != 0 {
			return false
		}
	}
	return true
}

func (b bitset) minus(o bitset) bitset {
	out := make(bitset, len(b))
	for i := range b {
		out[i] = b[i] &^ o[i]
	}
	return out
}

func (b bitset) or(o bitset) bitset {
	out := make(bitset, len(b))
	for i := range b {
		out[i] = b[i] | o[i]
	}
	return out
}

// region is a set of cells of one dimension in words.
type region struct {
	cells bitset
	names []string // patterns of the documents that lie inside whole
	rest  string   // what is left, in words; "" when nothing is
	all   bool     // every text there can be
	whole bool     // names and rest say exactly what the cells are
}

// name puts cells into words, with the patterns of the documents. Patterns of
// prefer come first. allowed says, for cells outside, that new allows them, so
// that they were allowed before; render writes a pattern.
func (a *analysis) name(dim int, cells bitset, prefer []int, allowed func(cell int) bool, render func(string) string) region {
	r := region{cells: cells, whole: true, all: cells.count() == len(a.cells[dim])}
	total := newBitset(len(a.cells[dim]))
	for n := range a.cells[dim] {
		total.set(n)
	}
	type cand struct {
		pat   int
		cells bitset
		n     int
		pref  bool
	}
	pats := make([]cand, len(a.patterns[dim]))
	for p := range a.patterns[dim] {
		c := a.covers(dim, p)
		pats[p] = cand{pat: p, cells: c, n: c.count(), pref: slices.Contains(prefer, p)}
	}
	// Wider patterns first; of equal ones those of the statement itself.
	order := slices.Clone(pats)
	slices.SortStableFunc(order, func(x, y cand) int {
		return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(bit(y.pref), bit(x.pref)), strings.Compare(a.patterns[dim][x.pat].text, a.patterns[dim][y.pat].text))
	})
	left := cells
	var full []cand
	for _, c := range order {
		if c.n == 0 || !c.cells.within(cells) || c.cells.and(left).empty() {
			continue
		}
		full = append(full, c)
		left = left.minus(c.cells)
	}
	slices.SortStableFunc(full, func(x, y cand) int { return cmp.Compare(x.pat, y.pat) })
	for _, c := range full {
		r.names = append(r.names, render(a.patterns[dim][c.pat].text))
	}
	if left.empty() {
		return r
	}
	// What is left is told as the narrowest pattern around it and what of
	// that is not meant.
	around, box := "*", total
	n := len(a.cells[dim]) + 1
	for _, c := range pats {
		if left.within(c.cells) && (c.n < n || c.n == n && c.pref) {
			around, box, n = a.patterns[dim][c.pat].text, c.cells, c.n
		}
	}
	var except, before []string
	excluded := newBitset(len(a.cells[dim]))
	var outside []cand
	for _, c := range order {
		if c.n > 0 && c.cells.within(box) && !c.cells.within(excluded) && c.cells.and(cells).empty() {
			outside = append(outside, c)
			excluded = excluded.or(c.cells)
		}
	}
	slices.SortStableFunc(outside, func(x, y cand) int { return cmp.Compare(x.pat, y.pat) })
	for _, c := range outside {
		any := false
		c.cells.each(func(n int) { any = any || allowed(n) })
		if text := render(a.patterns[dim][c.pat].text); any {
			before = append(before, text)
		} else {
			except = append(except, text)
		}
	}
	r.whole = box.minus(excluded).minus(cells).empty()
	r.rest = render(around)
	if !r.whole {
		r.rest = "a part of " + r.rest
	}
	if len(except) > 0 {
		r.rest += " except " + listOf(except, 6)
	}
	if len(before) > 0 {
		r.rest += " (before: " + listOf(before, 6) + ")"
	}
	return r
}

// words returns the region as a list.
func (r *region) words() []string {
	out := slices.Clone(r.names)
	if r.rest != "" {
		out = append(out, r.rest)
	}
	return out
}

// listOf joins words with commas and "and", at most max of them.
func listOf(words []string, max int) string {
	if len(words) > max {
		return strings.Join(words[:max], ", ") + " and " + itoa(len(words)-max) + " more"
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func listZH(words []string, max int) string {
	if len(words) > max {
		return strings.Join(words[:max], "、") + " 等 " + itoa(len(words)) + " 项"
	}
	return strings.Join(words, "、")
}
