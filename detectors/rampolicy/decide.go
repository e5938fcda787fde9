package rampolicy

import (
	"cmp"
	"slices"
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
	isNew   bool // of the new document
	suspect bool // an Allow that only new has, or a Deny that only old has
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
// old refuses?
type analysis struct {
	read     Reading
	stmts    []statement
	patterns [dimensions][]pattern
	cells    [dimensions][]cell
	classes  [dimensions][]class
	keys     map[string][]string // condition key → values that stand for all
	opaque   map[*Condition]bool
	memo     map[string]*outcome
	texts    [dimensions]map[string]bitset // matchesText, remembered
	covered  [dimensions][]bitset          // covers, remembered
	users    [dimensions][]bitset          // by pattern: the statements that have it
	work     *budget
	found    bool   // something expands
	unknown  string // why the analysis could not be finished
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

func newAnalysis(old, new *Document, kind Kind, read Reading, work *budget) *analysis {
	a := &analysis{read: read, work: work, memo: map[string]*outcome{}, keys: map[string][]string{}, opaque: map[*Condition]bool{}}
	numbers := [dimensions]map[string]int{{}, {}, {}}
	number := func(dim int, text, glob string) int {
		if dim != dimAction && read.FoldResource {
			glob = strings.ToLower(glob)
		}
		i, ok := numbers[dim][glob]
		if !ok {
			i = len(a.patterns[dim])
			numbers[dim][glob] = i
			a.patterns[dim] = append(a.patterns[dim], pattern{text: text, glob: glob})
		}
		return i
	}
	add := func(s *Statement, isNew bool) {
		st := statement{Statement: s, isNew: isNew}
		for _, p := range s.Actions {
			if read.ColonApart && spansColon(p) {
				continue
			}
			st.pats[dimAction] = append(st.pats[dimAction], number(dimAction, p, strings.ToLower(p)))
		}
		for _, p := range s.Resources {
			st.pats[dimResource] = append(st.pats[dimResource], number(dimResource, p, p))
		}
		for _, p := range s.Principals {
			st.pats[dimPrincipal] = append(st.pats[dimPrincipal], number(dimPrincipal, p.Value, CanonicalPrincipal(p)))
		}
		st.not = [dimensions]bool{s.NotAction, s.NotResrc, s.NotPrinc}
		st.any = [dimensions]bool{false, s.AnyResrc, s.AnyPrinc}
		a.stmts = append(a.stmts, st)
	}
	for i, d := range []*Document{old, new} {
		if kind == Control {
			add(&fullAllow, i == 1)
		}
		for j := range d.Statements {
			add(&d.Statements[j], i == 1)
		}
	}
	a.suspects()
	return a
}

// suspects marks the statements through which something can become allowed:
// if a request is newly allowed by an Allow that old has too, then old must
// have refused it by a Deny, and new cannot have that one.
func (a *analysis) suspects() {
	have := [2]map[string]bool{{}, {}}
	keys := make([]string, len(a.stmts))
	for i := range a.stmts {
		keys[i] = a.stmts[i].normal()
		have[bit(a.stmts[i].isNew)][keys[i]] = true
	}
	for i := range a.stmts {
		s := &a.stmts[i]
		s.suspect = s.isNew != s.Deny && !have[bit(!s.isNew)][keys[i]]
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// normal is a text that is equal for statements that are equal but for order,
// repetition and spelling.
func (s *statement) normal() string {
	var b strings.Builder
	b.WriteByte("AD"[bit(s.Deny)])
	for dim := range dimensions {
		list := slices.Clone(s.pats[dim])
		slices.Sort(list)
		b.WriteString(" |")
		b.WriteByte("+-"[bit(s.not[dim])])
		b.WriteByte(".*"[bit(s.any[dim])])
		for _, n := range slices.Compact(list) {
			b.WriteByte(' ')
			b.WriteString(itoa(n))
		}
	}
	var conds []string
	for i := range s.Conditions {
		conds = append(conds, s.Conditions[i].id())
	}
	slices.Sort(conds)
	return b.String() + " |" + strings.Join(slices.Compact(conds), "\x00")
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// anySuspect says whether there is anything that could expand at all.
func (a *analysis) anySuspect() bool {
	return slices.ContainsFunc(a.stmts, func(s statement) bool { return s.suspect })
}

// prepare builds cells and classes. It reports false when a bound was hit.
func (a *analysis) prepare() bool {
	for dim := range dimensions {
		globs := make([][]token, len(a.patterns[dim]))
		for i, p := range a.patterns[dim] {
			globs[i] = tokens(p.glob, false, false)
		}
		cells, ok := globCells(globs, dim == dimAction, maxStates, a.work)
		if !ok {
			a.unknown = "the patterns overlap in more ways than can be looked at"
			return false
		}
		a.cells[dim] = cells
		byMatch := map[string]int{}
		for n, c := range cells {
			m := a.matchesSet(dim, c.match)
			k := m.key()
			i, ok := byMatch[k]
			if !ok {
				i = len(a.classes[dim])
				byMatch[k] = i
				a.classes[dim] = append(a.classes[dim], class{match: m})
			}
			a.classes[dim][i].cells = append(a.classes[dim][i].cells, n)
		}
	}
	return true
}

// matches returns the statements whose part of a dimension matches, given the
// patterns that do.
func (a *analysis) matches(dim int, has func(pattern int) bool) bitset {
	out := newBitset(len(a.stmts))
	for i := range a.stmts {
		s := &a.stmts[i]
		if s.any[dim] || slices.ContainsFunc(s.pats[dim], has) != s.not[dim] {
			out.set(i)
		}
	}
	return out
}

// matchesSet is matches for the patterns of a cell: it looks at those alone
// that match, of what may be thousands.
func (a *analysis) matchesSet(dim int, match bitset) bitset {
	if a.users[dim] == nil {
		a.users[dim] = make([]bitset, len(a.patterns[dim]))
		for p := range a.users[dim] {
			a.users[dim][p] = newBitset(len(a.stmts))
		}
		for i := range a.stmts {
			for _, p := range a.stmts[i].pats[dim] {
				a.users[dim][p].set(i)
			}
		}
	}
	out := newBitset(len(a.stmts))
	match.each(func(p int) {
		if p >= len(a.users[dim]) {
			return // a pattern of no statement
		}
		for i, w := range a.users[dim][p] {
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
	return out
}

// matchesText is matches for one text. The same few texts are asked for many
// times.
func (a *analysis) matchesText(dim int, text string) bitset {
	if b, ok := a.texts[dim][text]; ok {
		return b
	}
	folded := text
	if dim == dimAction || a.read.FoldResource {
		folded = strings.ToLower(text)
	}
	has := newBitset(len(a.patterns[dim]))
	for p := range a.patterns[dim] {
		if Match(a.patterns[dim][p].glob, folded) {
			has.set(p)
		}
	}
	b := a.matches(dim, has.has)
	if a.texts[dim] == nil {
		a.texts[dim] = make(map[string]bitset)
	}
	a.texts[dim][text] = b
	return b
}

// at returns what is known of the requests that exactly these statements
// match, conditions aside.
func (a *analysis) at(match bitset) *outcome {
	k := match.key()
	o := a.memo[k]
	if o == nil {
		o = &outcome{}
		a.memo[k] = o
	}
	return o
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
			if !s.Conditions[j].holds(q, a.read) {
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
			if c.opaque() {
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
				if c := &a.stmts[i].Conditions[j]; !c.opaque() && strings.EqualFold(c.Key, key) {
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

// expanding returns all combinations of classes that expand, in a fixed
// order.
func (a *analysis) expanding() []combo { return a.search(false) }

// search is expanding, or only as far as the first combination; found says
// whether there is one.
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
	for i, x := range a.classes[dimAction] {
		if !x.match.meets(suspects) {
			continue
		}
		for j, y := range a.classes[dimResource] {
			if combos++; combos > maxCombos || !a.work.spend(4) {
				a.unknown = "the statements combine in more ways than can be looked at"
				return out
			}
			if xy.setAnd(x.match, y.match); !xy.meets(suspects) {
				continue
			}
			for k, z := range a.classes[dimPrincipal] {
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
	slices.SortStableFunc(out, func(x, y combo) int {
		return cmp.Or(cmp.Compare(x.class[0], y.class[0]), cmp.Compare(x.class[1], y.class[1]), cmp.Compare(x.class[2], y.class[2]))
	})
	return out
}
