package rampolicy

import (
	"slices"
	"strconv"
	"strings"
)

// The bounds of one analysis; beyond them the verdict is unknown.
const (
	maxStates   = 60_000    // of one dimension's subset construction
	maxCombos   = 400_000   // combinations of classes
	maxContexts = 1 << 17   // contexts tried for one combination
	maxWork     = 1_500_000 // steps in one direction, all readings together
)

// pattern is a glob of one dimension.
type pattern struct {
	text string // as written
	glob string // as compared
}

// statement is a Statement with its patterns by number. In the analysis of a
// pair, the statements of the old document come first.
type statement struct {
	*Statement
	isNew   bool   // of the new document
	suspect bool   // an Allow that only new has, or a Deny that only old has
	normal  string // normalText
	pats    [dimensions][]int
	not     [dimensions]bool
	any     [dimensions]bool
}

// The dimensions that are split into cells; context is handled by key.
const (
	dimAction = iota
	dimResource
	dimPrincipal
	dimensions
)

// class is a set of cells that the same statements match.
type class struct {
	match bitset // over statements
	cells []int
}

// analysis compares two documents under one reading: what does new allow that
// old refuses? turn exchanges the two.
type analysis struct {
	read    Reading
	stmts   []statement
	dims    [dimensions]*dimension // shared by readings that do not differ in them
	keys    map[string][]string    // condition key → values that stand for all
	sets    setIndex               // sets of statements, numbering outcomes
	memo    []*outcome
	slab    slab // of sets of statements
	holes   bool // placeholders may stand for anything
	turned  bool // new is the older document: what is found was taken away
	work    *budget
	found   bool   // something expands
	unknown string // why the analysis could not be finished
}

// dimension is what is known of one dimension of a pair of documents.
type dimension struct {
	fold     bool // texts are compared in lower case
	numbers  map[string]int
	patterns []pattern
	globs    []glob   // patterns, made ready
	several  []int    // the patterns that match more than one text
	free     []int    // the patterns with placeholders, in an analysis of holes
	users    []bitset // by pattern: the statements that have it
	ready    bool
	stuck    bool // the cells are more than can be worked out
	cells    []cell
	rest     rune     // a character that no pattern names; 0 when not looked for
	index    setIndex // of the cells' patterns
	classes  []class
	classOf  []int          // by cell
	places   map[string]int // cellOf, remembered
	known    []int32        // the cells of the known actions
	covered  []bitset       // covers, remembered
	has      bitset         // patternsOf, for the text at hand
}

// outcome is what is known of one set of matching statements.
type outcome struct {
	expands bool
	tried   bool
	context map[string]string
	assumed map[string]bool
	allows  [2]int8 // old, new: 0 not tried, 1 never, 2 in some context
}

// fullAllow is FullAliyunAccess, which is attached to every account beside
// control policies and cannot be detached.
var fullAllow = Statement{Actions: []string{"*"}, Resources: []string{"*"}, AnyPrinc: true}

// analyses returns one analysis for every reading that can differ for these
// documents.
func analyses(old, new *Document, kind Kind) []*analysis {
	var out []*analysis
	for _, read := range readings(old, new, kind) {
		out = append(out, newAnalysis(old, new, kind, read, out))
	}
	return out
}

// newHoles is newAnalysis where a pattern or condition with a placeholder may
// match or not, whatever else does: the same one alike in both documents.
func newHoles(old, new *Document, kind Kind, read Reading) *analysis {
	a := newAnalysis(old, new, kind, read, nil)
	a.holes = true
	for _, d := range a.dims {
		for i := range d.globs {
			if strings.Contains(d.patterns[i].glob, "${") {
				d.globs[i] = glob{form: formNone}
				d.free = append(d.free, i)
			}
		}
	}
	return a
}

// maxFree bounds the placeholders that are tried both ways.
const maxFree = 6

// split tries the patterns with placeholders both ways in every cell.
func (d *dimension) split(work *budget) bool {
	if len(d.free) > maxFree || !work.spend(len(d.cells)<<len(d.free)) {
		return false
	}
	for _, p := range d.free {
		for _, c := range slices.Clone(d.cells) {
			m := slices.Clone(c.match)
			m.set(p)
			d.cells = append(d.cells, cell{match: m, witness: c.witness})
		}
	}
	return true
}

// newAnalysis reads two documents. What is the same as in one of others, of
// the same documents, is taken from there. It has nothing to spend yet.
func newAnalysis(old, new *Document, kind Kind, read Reading, others []*analysis) *analysis {
	a := &analysis{read: read, keys: map[string][]string{}, work: &budget{}}
	for dim := range dimensions {
		for _, o := range others {
			if o.read.AllowList != read.AllowList {
				continue // other statements
			}
			if o.read.ColonApart == read.ColonApart && dim == dimAction || o.read.FoldResource == read.FoldResource && dim != dimAction {
				a.dims[dim] = o.dims[dim]
			}
		}
		if a.dims[dim] == nil {
			a.dims[dim] = &dimension{fold: dim == dimAction || read.FoldResource, numbers: map[string]int{}, places: map[string]int{}}
		}
	}
	number := func(dim int, text, glob string) int {
		d := a.dims[dim]
		if d.fold && dim != dimAction {
			glob = strings.ToLower(glob)
		}
		i, ok := d.numbers[glob]
		if !ok {
			i = len(d.patterns)
			d.numbers[glob] = i
			d.patterns = append(d.patterns, pattern{text: text, glob: glob})
			d.globs = append(d.globs, newGlob(glob, false, false))
			if d.globs[i].form != formLiteral {
				d.several = append(d.several, i)
			}
		}
		return i
	}
	a.stmts = make([]statement, 0, len(old.Statements)+len(new.Statements)+2)
	add := func(s *Statement, isNew bool) {
		st := statement{Statement: s, isNew: isNew}
		room := make([]int, 0, len(s.Actions)+len(s.Resources)+len(s.Principals))
		for j, lower := range s.lowered() {
			if read.ColonApart && spansColon(lower) {
				continue
			}
			room = append(room, number(dimAction, s.Actions[j], lower))
		}
		n := len(room)
		for _, p := range s.Resources {
			room = append(room, number(dimResource, p, p))
		}
		m := len(room)
		for _, p := range s.Principals {
			room = append(room, number(dimPrincipal, p.Value, CanonicalPrincipal(p)))
		}
		st.pats = [dimensions][]int{room[:n:n], room[n:m:m], room[m:]}
		st.not = [dimensions]bool{s.NotAction, s.NotResrc, s.NotPrinc}
		st.any = [dimensions]bool{false, s.AnyResrc, s.AnyPrinc}
		a.stmts = append(a.stmts, st)
	}
	for i, d := range []*Document{old, new} {
		if kind == Control && !(read.AllowList && d.HasAllow()) {
			add(&fullAllow, i == 1)
		}
		for j := range d.Statements {
			add(&d.Statements[j], i == 1)
		}
	}
	a.slab.words = len(newBitset(len(a.stmts)))
	for i := range a.stmts {
		a.stmts[i].normal = a.stmts[i].normalText()
	}
	a.suspects()
	return a
}

// turn makes the analysis that of the other direction.
func (a *analysis) turn() {
	for i := range a.stmts {
		a.stmts[i].isNew = !a.stmts[i].isNew
	}
	a.turned = !a.turned
	a.sets, a.memo = setIndex{}, nil
	a.found, a.unknown = false, ""
	a.suspects()
}

// suspects marks the statements through which something can become allowed:
// if a request is newly allowed by an Allow that old has too, then old must
// have refused it by a Deny, and new cannot have that one.
func (a *analysis) suspects() {
	var have [2]map[string]bool
	have[0], have[1] = make(map[string]bool, len(a.stmts)), make(map[string]bool, len(a.stmts))
	for i := range a.stmts {
		have[bit(a.stmts[i].isNew)][a.stmts[i].normal] = true
	}
	for i := range a.stmts {
		s := &a.stmts[i]
		s.suspect = s.isNew != s.Deny && !have[bit(!s.isNew)][s.normal]
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// normalText is equal for statements that are equal but for order, repetition
// and spelling.
func (s *statement) normalText() string {
	b := make([]byte, 0, 64)
	b = append(b, "AD"[bit(s.Deny)])
	var list []int
	for dim := range dimensions {
		b = append(b, ' ', '|', "+-"[bit(s.not[dim])], ".*"[bit(s.any[dim])])
		list = append(list[:0], s.pats[dim]...)
		slices.Sort(list)
		for _, n := range slices.Compact(list) {
			b = strconv.AppendInt(append(b, ' '), int64(n), 10)
		}
	}
	b = append(b, ' ', '|')
	if len(s.Conditions) > 0 {
		var conds []string
		for i := range s.Conditions {
			conds = append(conds, s.Conditions[i].id())
		}
		slices.Sort(conds)
		b = append(b, strings.Join(slices.Compact(conds), "\x00")...)
	}
	return string(b)
}

// anySuspect says whether there is anything that could expand at all.
func (a *analysis) anySuspect() bool {
	return slices.ContainsFunc(a.stmts, func(s statement) bool { return s.suspect })
}

// prepare builds cells and classes. It reports false when a bound was hit.
func (a *analysis) prepare() bool {
	for dim := range dimensions {
		d := a.dims[dim]
		if !d.ready {
			d.ready = true
			cells, ok := globCells(d.globs, dim == dimAction, maxStates, a.work)
			d.cells = cells
			if d.stuck = !ok || !d.split(a.work); !d.stuck {
				a.classify(dim)
			}
		}
		if d.stuck {
			a.unknown = "the patterns overlap in more ways than can be looked at"
			return false
		}
	}
	return true
}

// classify puts the cells of a dimension into classes.
func (a *analysis) classify(dim int) {
	d := a.dims[dim]
	d.classOf = make([]int, len(d.cells))
	m := newBitset(len(a.stmts))
	var numbers setIndex
	for n, c := range d.cells {
		d.index.add(c.match)
		a.matchesSet(m, dim, c.match)
		i := numbers.find(m)
		if i < 0 {
			set := a.slab.clone(m)
			i = numbers.add(set)
			d.classes = append(d.classes, class{match: set})
		}
		d.classes[i].cells = append(d.classes[i].cells, n)
		d.classOf[n] = i
	}
}

// matchesSet puts into out the statements whose part of a dimension matches,
// given the patterns that do.
func (a *analysis) matchesSet(out bitset, dim int, match bitset) {
	d := a.dims[dim]
	if d.users == nil {
		d.users = make([]bitset, len(d.patterns))
		for p := range d.users {
			d.users[p] = a.slab.set()
		}
		for i := range a.stmts {
			for _, p := range a.stmts[i].pats[dim] {
				d.users[p].set(i)
			}
		}
	}
	clear(out)
	match.each(func(p int) {
		if p >= len(d.users) {
			return // a pattern of no statement
		}
		for i, w := range d.users[p] {
			out[i] |= w
		}
	})
	for i := range a.stmts {
		s := &a.stmts[i]
		if s.any[dim] || out.has(i) != s.not[dim] {
			out.set(i)
		} else {
			out[i/64] &^= 1 << (i % 64)
		}
	}
}

// patternsOf returns the patterns that match a text, until it is asked again.
func (d *dimension) patternsOf(text string) bitset {
	if d.fold {
		text = lower(text)
	}
	if len(d.has)*64 < len(d.patterns) {
		d.has = newBitset(len(d.patterns))
	}
	has := d.has
	clear(has)
	if p, ok := d.numbers[text]; ok && d.globs[p].form == formLiteral {
		has.set(p)
	}
	for _, p := range d.several {
		if d.globs[p].match(text) {
			has.set(p)
		}
	}
	return has
}

// cellOf returns the cell that a text lies in, or -1. The same few texts are
// asked for many times.
func (d *dimension) cellOf(text string) int {
	n, ok := d.places[text]
	if !ok {
		n = d.index.find(d.patternsOf(text))
		d.places[text] = n
	}
	return n
}

// matchesText returns the statements whose part of a dimension matches a text.
func (a *analysis) matchesText(dim int, text string) bitset {
	d := a.dims[dim]
	if len(d.cells) > 0 {
		if n := d.cellOf(text); n >= 0 {
			return d.classes[d.classOf[n]].match
		}
	}
	out := a.slab.set()
	a.matchesSet(out, dim, d.patternsOf(text))
	return out
}

// at returns what is known of the requests that exactly these statements
// match, conditions aside.
func (a *analysis) at(match bitset) *outcome {
	n := a.sets.find(match)
	if n < 0 {
		n = a.sets.add(a.slab.clone(match))
		a.memo = append(a.memo, &outcome{})
	}
	return a.memo[n]
}

// expandsAt decides for one set of matching statements whether there is a
// context in which new allows and old refuses.
func (a *analysis) expandsAt(match bitset) *outcome {
	o := a.at(match)
	if o.tried {
		return o
	}
	o.tried = true
	suspect := false
	match.each(func(i int) { suspect = suspect || a.stmts[i].suspect })
	if !suspect {
		return o
	}
	done := a.contexts(match, nil, func(q *Request) bool {
		if !a.allows(match, q, true) || a.allows(match, q, false) {
			return false
		}
		o.expands, o.context, o.assumed = true, q.Context, q.Assumed
		return true
	})
	if !done {
		// Too many contexts: it may expand, and is taken to.
		o.expands = true
		a.unknown = "the conditions combine in more ways than can be looked at"
	}
	return o
}

// allowsIn says whether one side allows the requests that these statements
// match in some context, with some keys fixed.
func (a *analysis) allowsIn(match bitset, isNew bool, fixed map[string]string) bool {
	o := a.at(match)
	side := bit(isNew)
	if len(fixed) == 0 && o.allows[side] != 0 {
		return o.allows[side] == 2
	}
	yes := false
	if !a.contexts(match, fixed, func(q *Request) bool {
		yes = a.allows(match, q, isNew)
		return yes
	}) {
		yes = isNew // unknown: the wider answer for new, the narrower for old
	}
	if len(fixed) == 0 {
		o.allows[side] = int8(1 + bit(yes))
	}
	return yes
}

// allows evaluates one side for the statements that match, in one context.
func (a *analysis) allows(match bitset, q *Request, isNew bool) bool {
	allow, deny := false, false
	match.each(func(i int) {
		s := &a.stmts[i]
		if s.isNew != isNew || deny || allow && !s.Deny {
			return
		}
		for j := range s.Conditions {
			if !a.holds(&s.Conditions[j], q) {
				return
			}
		}
		if s.Deny {
			deny = true
		} else {
			allow = true
		}
	})
	return allow && !deny
}

// opaque says whether a condition is tried both ways.
func (a *analysis) opaque(c *Condition) bool { return c.opaque() || a.holes && c.templated() }

func (a *analysis) holds(c *Condition, q *Request) bool {
	if a.opaque(c) {
		return q.Assumed[c.id()]
	}
	return c.holds(q, a.read)
}

// alwaysThere are keys that every request has. Only what cannot be otherwise
// is listed: of a key that is missing here its absence is tried too, which can
// only find more.
var alwaysThere = map[string]bool{"acs:currenttime": true}

// axis is one key or opaque condition with the values that are tried.
type axis struct {
	key    string // "" for an opaque condition
	opaque string
	values []*string // nil is absent; for opaque ones nil is false
}

// contexts calls try with one context of every kind that the conditions of
// the matching statements can tell apart, until it returns true. It reports
// false when there were too many.
func (a *analysis) contexts(match bitset, fixed map[string]string, try func(*Request) bool) bool {
	byKey := map[string][]*Condition{}
	var opaque []string
	match.each(func(i int) {
		for j := range a.stmts[i].Conditions {
			c := &a.stmts[i].Conditions[j]
			if a.opaque(c) {
				if t := c.id(); !slices.Contains(opaque, t) {
					opaque = append(opaque, t)
				}
				continue
			}
			k := strings.ToLower(c.Key)
			byKey[k] = append(byKey[k], c)
		}
	})
	keys := make([]string, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	slices.Sort(opaque)
	var axes []axis
	for _, k := range keys {
		if v, ok := fixed[k]; ok {
			axes = append(axes, axis{key: k, values: []*string{&v}})
			continue
		}
		x, ok := a.axis(k, byKey[k])
		if !ok {
			return false
		}
		axes = append(axes, x)
	}
	t := "true"
	for _, text := range opaque {
		axes = append(axes, axis{opaque: text, values: []*string{&t, nil}})
	}
	total := 1
	for i := range axes {
		if total *= len(axes[i].values); total > maxContexts {
			return false
		}
	}
	at := make([]int, len(axes))
	for {
		// Making a context and trying it takes about this long.
		if !a.work.spend(20 + 10*len(axes)) {
			return false
		}
		q := &Request{Context: make(map[string]string, len(axes)), Assumed: map[string]bool{}}
		for i, x := range axes {
			v := x.values[at[i]]
			switch {
			case x.key == "":
				q.Assumed[x.opaque] = v != nil
			case v != nil:
				q.Context[x.key] = *v
			}
		}
		if try(q) {
			return true
		}
		i := 0
		for ; i < len(axes); i++ {
			if at[i]++; at[i] < len(axes[i].values) {
				break
			}
			at[i] = 0
		}
		if i == len(axes) {
			return true
		}
	}
}

// axis returns values of a key, one for every joint outcome of conditions.
func (a *analysis) axis(key string, conds []*Condition) (axis, bool) {
	values, ok := a.keys[key]
	if !ok {
		// The values serve every subset of the conditions on this key.
		var all []*Condition
		for i := range a.stmts {
			for j := range a.stmts[i].Conditions {
				if c := &a.stmts[i].Conditions[j]; !a.opaque(c) && strings.EqualFold(c.Key, key) {
					all = append(all, c)
				}
			}
		}
		if values, ok = valueCells(all, 20_000, a.work); !ok {
			// A truth value may also be tested as a text. Other mixtures are
			// not worked out.
			text := slices.DeleteFunc(slices.Clone(all), func(c *Condition) bool { return family(c.Operator) == famBool })
			if len(text) == 0 || len(text) == len(all) {
				return axis{}, false
			}
			if values, ok = valueCells(text, 20_000, a.work); !ok || family(text[0].Operator) != famString {
				return axis{}, false
			}
			values = append(append(values, caseVariants("true")...), caseVariants("false")...)
		}
		a.keys[key] = values
	}
	x := axis{key: key}
	seen := map[string]bool{}
	tests := 4
	for _, c := range conds {
		tests += len(c.Values)
	}
	if !a.work.spend(tests * len(values) / 8) {
		return axis{}, false
	}
	put := func(v *string) {
		outcome := make([]byte, len(conds))
		for i, c := range conds {
			text := ""
			if v != nil {
				text = *v
			}
			outcome[i] = "01"[bit(c.test(text, v != nil, a.read))]
		}
		if !seen[string(outcome)] {
			seen[string(outcome)] = true
			x.values = append(x.values, v)
		}
	}
	for i := range values {
		put(&values[i])
	}
	if !alwaysThere[key] {
		put(nil)
	}
	return x, true
}

// caseVariants returns a word in every mixture of letter case.
func caseVariants(word string) []string {
	out := make([]string, 0, 1<<len(word))
	for n := range 1 << len(word) {
		b := []byte(word)
		for i := range b {
			if n>>i&1 == 1 {
				b[i] -= 'a' - 'A'
			}
		}
		out = append(out, string(b))
	}
	return out
}

// combo is one combination of classes that expands.
type combo struct {
	class [dimensions]int
	match bitset
	out   *outcome
}

// search returns all combinations of classes that expand, in a fixed order, or
// goes only as far as the first one. Then found says whether there is one.
func (a *analysis) search(first bool) []combo {
	if !a.anySuspect() || !a.prepare() {
		return nil
	}
	// Only what a suspect matches can expand.
	suspects := newBitset(len(a.stmts))
	for i := range a.stmts {
		if a.stmts[i].suspect {
			suspects.set(i)
		}
	}
	var out []combo
	xy, m := newBitset(len(a.stmts)), newBitset(len(a.stmts))
	combos := 0
	for i, x := range a.dims[dimAction].classes {
		if !x.match.meets(suspects) {
			continue
		}
		for j, y := range a.dims[dimResource].classes {
			if combos++; combos > maxCombos || !a.work.spend(4) {
				a.unknown = "the statements combine in more ways than can be looked at"
				return out
			}
			if xy.setAnd(x.match, y.match); !xy.meets(suspects) {
				continue
			}
			for k, z := range a.dims[dimPrincipal].classes {
				if combos++; combos > maxCombos || !a.work.spend(12) {
					a.unknown = "the statements combine in more ways than can be looked at"
					return out
				}
				if m.setAnd(xy, z.match); !m.meets(suspects) {
					continue
				}
				if o := a.expandsAt(m); o.expands {
					a.found = a.found || o.context != nil
					if first && a.found {
						return nil
					}
					out = append(out, combo{class: [dimensions]int{i, j, k}, match: slices.Clone(m), out: o})
				}
			}
		}
	}
	return out // in the order of their classes
}
