package rampolicy

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// covers returns the cells of a dimension that a pattern matches.
func (a *analysis) covers(dim, pat int) bitset {
	d := a.dims[dim]
	if d.covered == nil {
		s := slab{words: len(newBitset(len(d.cells)))}
		d.covered = make([]bitset, len(d.patterns))
		for p := range d.covered {
			d.covered[p] = s.set()
		}
		for n, c := range d.cells {
			c.match.each(func(p int) { d.covered[p].set(n) })
		}
	}
	return d.covered[pat]
}

func (b bitset) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
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

// take removes the members of o.
func (b bitset) take(o bitset) {
	for i := range b {
		b[i] &^= o[i]
	}
}

// keep removes all that o does not have.
func (b bitset) keep(o bitset) {
	for i := range b {
		b[i] &= o[i]
	}
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

	namesZH []string
	restZH  string
	// What rest leaves out, and what of it was there before.
	exceptZH, beforeZH string

	all   bool // every text there can be
	whole bool // names and rest say exactly what the cells are
}

// name puts cells into words, with the patterns of the documents. Patterns of
// prefer come first. allowed says, for cells outside, whether a document allows
// them; render writes a pattern.
func (a *analysis) name(dim int, cells bitset, prefer []int, allowed func(cell int, isNew bool) bool, render func(string) (en, zh string)) region {
	r := region{cells: cells, whole: true, all: cells.count() == len(a.dims[dim].cells)}
	total := newBitset(len(a.dims[dim].cells))
	for n := range a.dims[dim].cells {
		total.set(n)
	}
	type cand struct {
		pat   int
		cells bitset
		n     int
		pref  bool
	}
	pats := make([]cand, len(a.dims[dim].patterns))
	for p := range pats {
		c := a.covers(dim, p)
		pats[p] = cand{pat: p, cells: c, n: c.count()}
	}
	for _, p := range prefer {
		pats[p].pref = true
	}
	// Wider patterns first; of equal ones those of the statement itself.
	widest := func(fits func(*cand) bool) []*cand {
		var list []*cand
		for i := range pats {
			if c := &pats[i]; c.n > 0 && fits(c) {
				list = append(list, c)
			}
		}
		slices.SortFunc(list, func(x, y *cand) int {
			return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(bit(y.pref), bit(x.pref)), strings.Compare(a.dims[dim].patterns[x.pat].text, a.dims[dim].patterns[y.pat].text), cmp.Compare(x.pat, y.pat))
		})
		return list
	}
	left := slices.Clone(cells)
	var full []*cand
	for _, c := range widest(func(c *cand) bool { return c.cells.within(cells) }) {
		if c.cells.meets(left) {
			full = append(full, c)
			left.take(c.cells)
		}
	}
	slices.SortFunc(full, func(x, y *cand) int { return cmp.Compare(x.pat, y.pat) })
	for _, c := range full {
		en, zh := render(a.dims[dim].patterns[c.pat].text)
		r.names, r.namesZH = append(r.names, en), append(r.namesZH, zh)
	}
	if left.empty() {
		return r
	}
	// What is left is told as the narrowest pattern around it and what of
	// that is not meant.
	around, box := "*", total
	n := len(a.dims[dim].cells) + 1
	for i := range pats {
		c := &pats[i]
		if left.within(c.cells) && (c.n < n || c.n == n && c.pref) {
			around, box, n = a.dims[dim].patterns[c.pat].text, c.cells, c.n
		}
	}
	var except, exceptZH, before, beforeZH []string
	excluded := newBitset(len(a.dims[dim].cells))
	var outside []*cand
	for _, c := range widest(func(c *cand) bool { return c.cells.within(box) && !c.cells.meets(cells) }) {
		if !c.cells.within(excluded) {
			outside = append(outside, c)
			excluded = excluded.or(c.cells)
		}
	}
	slices.SortFunc(outside, func(x, y *cand) int { return cmp.Compare(x.pat, y.pat) })
	for _, c := range outside {
		had, all := false, true
		c.cells.each(func(n int) {
			now := allowed(n, true)
			had, all = had || now && allowed(n, false), all && now
		})
		switch en, zh := render(a.dims[dim].patterns[c.pat].text); {
		case had:
			before, beforeZH = append(before, en), append(beforeZH, zh)
		case !all: // else it is gained as well, and another finding tells it
			except, exceptZH = append(except, en), append(exceptZH, zh)
		}
	}
	r.whole = box.minus(excluded).minus(cells).empty()
	if !r.whole {
		// Several patterns of which the rest was there before say it better than a
		// part of one around them all.
		over := slices.Clone(left)
		var parts []*cand
		for _, c := range widest(func(c *cand) bool {
			known := true
			c.cells.minus(cells).each(func(n int) { known = known && allowed(n, true) })
			return known
		}) {
			if c.cells.meets(over) {
				parts = append(parts, c)
				over.take(c.cells)
			}
		}
		if over.empty() {
			slices.SortFunc(parts, func(x, y *cand) int { return cmp.Compare(x.pat, y.pat) })
			for _, c := range parts {
				en, zh := render(a.dims[dim].patterns[c.pat].text)
				var had, hadZH []string
				for _, o := range outside {
					old := false
					o.cells.each(func(n int) { old = old || allowed(n, false) })
					if old && o.cells.within(c.cells) {
						en, zh := render(a.dims[dim].patterns[o.pat].text)
						had, hadZH = append(had, en), append(hadZH, zh)
					}
				}
				if len(had) > 0 {
					en, zh = en+a.already(had), zh+a.alreadyZH(hadZH)
				}
				r.names, r.namesZH = append(r.names, en), append(r.namesZH, zh)
			}
			r.whole = true
			return r
		}
	}
	if r.rest, r.restZH = render(around); dim == dimPrincipal && n > len(a.dims[dim].cells) {
		r.rest, r.restZH = "everybody", "所有人"
	}
	if !r.whole {
		r.rest, r.restZH = "a part of "+r.rest, r.restZH+" 的一部分"
	}
	if len(except) > 0 {
		r.rest += " except " + listOf(except, 6)
		r.exceptZH = listZH(exceptZH, 6)
		r.restZH += "(除 " + r.exceptZH + " 外)"
	}
	if len(before) > 0 {
		r.rest += a.already(before)
		r.beforeZH = a.alreadyZH(beforeZH)
		r.restZH += r.beforeZH
	}
	return r
}

// already says what of a pattern was there before. Told backwards, for what is taken
// away, it is what stays.
func (a *analysis) already(words []string) string {
	if a.turned {
		return " (still allowed: " + listOf(words, 6) + ")"
	}
	return " (before: " + listOf(words, 6) + ")"
}

func (a *analysis) alreadyZH(words []string) string {
	if a.turned {
		return "(仍允许:" + listZH(words, 6) + ")"
	}
	return "(此前:" + listZH(words, 6) + ")"
}

// words returns the region as a list.
func (r *region) words() []string {
	out := slices.Clone(r.names)
	if r.rest != "" {
		out = append(out, r.rest)
	}
	return out
}

func (r *region) wordsZH() []string {
	out := slices.Clone(r.namesZH)
	if r.restZH != "" {
		out = append(out, r.restZH)
	}
	return out
}

// listOf joins words with commas and "and", at most max of them.
func listOf(words []string, max int) string {
	if len(words) > max {
		return strings.Join(words[:max], ", ") + " and " + strconv.Itoa(len(words)-max) + " more"
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func listZH(words []string, max int) string {
	if len(words) > max {
		return strings.Join(words[:max], "、") + " 等 " + strconv.Itoa(len(words)) + " 项"
	}
	return strings.Join(words, "、")
}
