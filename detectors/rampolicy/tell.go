package rampolicy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// teller turns groups of an analysis into findings.
type teller struct {
	a        *analysis
	old, new *Document
	opts     Options
	accounts []string // that the documents speak of
	paths    []Path   // completed by the change
}

func (t *teller) load(combos []combo) {
	t.accounts = accountsOf(t.opts.Account, t.old, t.new)
	if t.opts.Kind == Identity && !t.opts.removed {
		t.paths = t.a.completed(t.accounts, t.opts.Own, combos)
	}
}

// accountsOf returns the accounts that resources are looked for in: the given
// one, else those that the documents name.
func accountsOf(account string, docs ...*Document) []string {
	if account != "" {
		return []string{account}
	}
	var out []string
	for _, d := range docs {
		for i := range d.Statements {
			for _, r := range d.Statements[i].Resources {
				parts := strings.SplitN(r, ":", 5)
				if len(parts) == 5 && parts[3] != "" && parts[3] != "system" && !strings.ContainsAny(parts[3], "*?") && !slices.Contains(out, parts[3]) && len(out) < 4 {
					out = append(out, parts[3])
				}
			}
		}
	}
	if len(out) == 0 {
		out = append(out, arbitrary)
	}
	return out
}

// can says whether one side allows an action on a resource, in some context.
func (a *analysis) can(isNew bool, action, resource string, with map[string]string) bool {
	acts := a.matchesText(dimAction, action)
	if !a.grants(acts, isNew) {
		return false
	}
	m := acts.and(a.matchesText(dimResource, resource)).and(a.matchesText(dimPrincipal, ""))
	return a.allowsIn(m, isNew, with)
}

// mayCan says whether one side can allow an action on anything at all.
func (a *analysis) mayCan(isNew bool, action string) bool {
	return a.grants(a.matchesText(dimAction, action), isNew)
}

// grants says whether an Allow of one side is among the statements.
func (a *analysis) grants(match bitset, isNew bool) bool {
	for i := range a.stmts {
		if s := &a.stmts[i]; s.isNew == isNew && !s.Deny && match.has(i) {
			return true
		}
	}
	return false
}

// has says whether one side covers an atom.
func (a *analysis) has(isNew bool, n *Atom, accounts []string, own Own) bool {
	for _, action := range n.Actions {
		if !a.mayCan(isNew, action) {
			continue
		}
		for _, account := range accounts {
			for _, res := range resourceProbes(n.On, action, account, own) {
				if a.can(isNew, action, res, n.With) {
					return true
				}
			}
		}
	}
	return false
}

// completed returns the paths that new can walk and old cannot. Given the
// combinations that expand, it looks only at paths that need one of their
// actions: what is newly allowed is among these, unless they are not all.
func (a *analysis) completed(accounts []string, own Own, combos []combo) []Path {
	var gained bitset // of the known actions
	if len(combos) > 0 && a.unknown == "" {
		d := a.dims[dimAction]
		classes := newBitset(len(d.classes))
		for _, c := range combos {
			classes.set(c.class[dimAction])
		}
		gained = newBitset(len(known))
		for i, n := range d.knownCells() {
			if n < 0 || classes.has(d.classOf[n]) {
				gained.set(i)
			}
		}
	}
	var out []Path
	for i := range paths {
		p := &paths[i]
		if gained != nil && !slices.ContainsFunc(pathActions[i], gained.has) {
			continue
		}
		newly := false
		walk := true
		for i := range p.Needs {
			if !a.has(true, &p.Needs[i], accounts, own) {
				walk = false
				break
			}
			newly = newly || !a.has(false, &p.Needs[i], accounts, own)
		}
		if walk && newly {
			out = append(out, *p)
		}
	}
	return out
}

func (t *teller) finding(g *group) Finding {
	a := t.a
	sets := [dimensions]bitset{}
	for dim := range dimensions {
		sets[dim] = newBitset(len(a.dims[dim].cells))
	}
	for _, c := range g.actions {
		for _, n := range a.dims[dimAction].classes[c].cells {
			sets[dimAction].set(n)
		}
	}
	for _, p := range g.pairs {
		for _, dim := range []int{dimResource, dimPrincipal} {
			for _, n := range a.dims[dim].classes[p.class[dim]].cells {
				sets[dim].set(n)
			}
		}
	}
	source := g.reasons
	if g.cause == causeDeny {
		source = g.before
	}
	var regions [dimensions]region
	for dim := range dimensions {
		var prefer []int
		for _, s := range source {
			prefer = append(prefer, a.stmts[s].pats[dim]...)
		}
		render := func(text string) (en, zh string) { return text, text }
		if dim == dimPrincipal {
			render = t.principalWords
		}
		regions[dim] = a.name(dim, sets[dim], prefer, func(n int, isNew bool) bool { return t.allowed(dim, n, isNew, g) }, render)
	}
	acts := t.actionsIn(sets[dimAction])
	f := Finding{}
	f.Actions = regions[dimAction].words()
	examples := examples(acts, &regions[dimAction])
	f.Actions = append(append(f.Actions, t.families(g, &regions[dimAction], acts, examples)...), examples...)
	f.Resources = regions[dimResource].words()
	if t.opts.Kind == Trust {
		f.Resources = []string{}
	}
	var principalsZH []string
	if t.opts.Kind == Trust || t.opts.Kind == Resource {
		f.Principals, principalsZH = t.principals(&regions[dimPrincipal])
	}
	var conditionsZH []string
	f.Conditions, conditionsZH = t.conditions(g)
	t.witness(&f, g, acts)
	f.Paths = t.pathsOf(sets[dimAction])
	if !t.opts.removed {
		f.Severity = t.severity(&f, g, &regions, acts)
	}
	t.sentence(&f, g, &regions, examples, conditionsZH, principalsZH)
	return f
}

// allowed says whether a document allows a cell's requests, in the group's first
// combination otherwise.
func (t *teller) allowed(dim, n int, isNew bool, g *group) bool {
	m := newBitset(len(t.a.stmts))
	for i := range m {
		m[i] = ^uint64(0)
	}
	first := g.pairs[0].class
	first[dimAction] = g.actions[0]
	for d := range dimensions {
		if d == dim {
			m = m.and(t.a.dims[d].classes[t.a.dims[d].classOf[n]].match)
		} else {
			m = m.and(t.a.dims[d].classes[first[d]].match)
		}
	}
	return t.a.allowsIn(m, isNew, nil)
}

// actionsIn returns the numbers of the catalogue's actions that lie in the
// cells.
func (t *teller) actionsIn(cells bitset) []int {
	var out []int
	for i, n := range t.a.dims[dimAction].knownCells()[:len(catalogue)] {
		if n >= 0 && cells.has(int(n)) {
			out = append(out, i)
		}
	}
	return out
}

// examples returns catalogue actions that say more than the names do: the
// worst of each class, then those with other verbs, then the rest.
func examples(acts []int, r *region) []string {
	const most = 10
	spelled := newBitset(len(known))
	for _, n := range r.names {
		if i, ok := byLower[strings.ToLower(n)]; ok {
			spelled.set(i)
		}
	}
	var out, others, later []string
	var shown [classCount]bool
	verbs := newBitset(len(known))
	for _, i := range acts {
		act, verb := &catalogue[i], known[i].first
		switch {
		case spelled.has(i) || act.Class == ClassNone && r.rest == "":
			continue
		case act.Class != ClassNone && !shown[act.Class]:
			out = append(out, act.Name)
		case !verbs.has(verb):
			others = append(others, act.Name)
		default:
			later = append(later, act.Name)
		}
		shown[act.Class] = true
		verbs.set(verb)
	}
	out = append(append(out, others...), later...)
	if len(out) > most {
		return append(out[:most:most], "+"+strconv.Itoa(len(out)-most)+" more known actions")
	}
	return out
}

// families returns the services, or else the verbs of a service, that lie
// inside of the group's actions whole, where its own names do not say so; those
// of the first actions come first. The patterns of the documents are joined by
// the families, which splits the cells further and leaves what the statements
// match as it is.
func (t *teller) families(g *group, r *region, acts []int, first []string) []string {
	if r.rest == "" && !slices.ContainsFunc(r.names, func(n string) bool { return strings.ContainsAny(n, "*?") }) {
		return nil
	}
	a := t.a
	var names []string
	// A family with a known action outside is not in there whole.
	placed := a.dims[dimAction].knownCells()
	outside := func(lead string) bool {
		from, _ := slices.BinarySearchFunc(byName, lead, func(i int, lead string) int { return strings.Compare(known[i].lower, lead) })
		for _, i := range byName[from:] {
			if !strings.HasPrefix(known[i].lower, lead) {
				return false
			}
			if n := placed[i]; n >= 0 && !r.cells.has(int(n)) {
				return true
			}
		}
		return false
	}
	tried := map[string]bool{}
	add := func(n string) {
		if len(names) < 40 && !tried[n] {
			if tried[n] = true; !outside(strings.ToLower(strings.TrimSuffix(n, "*"))) {
				names = append(names, n)
			}
		}
	}
	for _, n := range first {
		if service, _, ok := strings.Cut(n, ":"); ok {
			add(service + ":*")
		}
	}
	for _, i := range acts {
		service, _, _ := strings.Cut(known[i].name, ":")
		add(service + ":*")
	}
	for _, i := range acts {
		if catalogue[i].Class != ClassNone {
			add(known[i].verb + "*")
		}
	}
	if len(names) == 0 {
		return nil
	}
	whole := make([]bool, len(names))
	var hard []int
	for i, n := range names {
		inside, easy := t.prefixInside(strings.ToLower(strings.TrimSuffix(n, "*")), r.cells)
		if whole[i] = inside; !easy {
			hard = append(hard, i)
		}
	}
	if len(hard) > 0 {
		t.splitInside(g, names, hard, whole)
	}
	var out []string
	for i, n := range names {
		covers := func(o string) bool { return Match(strings.ToLower(o), strings.ToLower(n)) }
		if whole[i] && !slices.ContainsFunc(out, covers) && !slices.ContainsFunc(r.names, covers) {
			out = append(out, n)
		}
	}
	return out[:min(len(out), 16)]
}

// prefixInside says whether all actions that begin with a lead lie in the
// cells, going by texts that stand for all of them. It is not easy where a
// pattern other than a literal or a prefix can match some of them.
func (t *teller) prefixInside(lead string, cells bitset) (inside, easy bool) {
	d := t.a.dims[dimAction]
	for _, p := range d.several {
		if g := &d.globs[p]; g.form == formOther && (strings.HasPrefix(g.lead, lead) || strings.HasPrefix(lead, g.lead)) {
			return false, false
		}
	}
	if d.rest == 0 {
		d.rest = other(d.globs)
	}
	// The cell of what no longer pattern matches, and those of the longer ones.
	if n := d.cellOf(lead + string(d.rest)); n < 0 || !cells.has(n) {
		return false, true
	}
	for n := range d.cells {
		if strings.HasPrefix(d.cells[n].witness, lead) && !cells.has(n) {
			return false, true
		}
	}
	return true, true
}

// splitInside answers the same by splitting the cells further, by the names.
func (t *teller) splitInside(g *group, names []string, hard []int, whole []bool) {
	a := t.a
	globs := slices.Clone(a.dims[dimAction].globs)
	for _, i := range hard {
		globs = append(globs, newGlob(strings.ToLower(names[i]), false, false))
	}
	cells, ok := globCells(globs, true, 20_000, a.work)
	if !ok {
		return
	}
	var inside setIndex
	for _, c := range g.actions {
		inside.add(a.dims[dimAction].classes[c].match)
	}
	for _, i := range hard {
		whole[i] = true
	}
	m := newBitset(len(a.stmts))
	for _, c := range cells {
		a.matchesSet(m, dimAction, c.match)
		if inside.find(m) >= 0 {
			continue
		}
		for j, i := range hard {
			if c.match.has(len(a.dims[dimAction].patterns) + j) {
				whole[i] = false
			}
		}
	}
}

// verbOf is an action's service and first word: "ram:Create".
func verbOf(action string) string {
	service, name, _ := strings.Cut(action, ":")
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			return service + ":" + name[:i]
		}
	}
	return action
}

// principals puts principals into words, in both languages.
func (t *teller) principals(r *region) (en, zh []string) {
	if r.all && len(r.names) == 0 {
		return []string{"everybody"}, []string{"所有人"}
	}
	return r.words(), r.wordsZH()
}

func (t *teller) principalWords(v string) (en, zh string) {
	if v == "*" {
		if t.opts.Kind == Trust {
			return "any Alibaba Cloud account", "任意阿里云账号"
		}
		return "anybody (also anonymous)", "任何人(包括匿名访问)"
	}
	if account, name, ok := ramARN(v); ok && name == "root" {
		if strings.Trim(account, "*") == "" {
			return "any Alibaba Cloud account (" + v + ")", "任意阿里云账号(" + v + ")"
		}
		return "every user and role of account " + account + " (if granted sts:AssumeRole)", "账号 " + account + " 的所有用户和角色(需具备 sts:AssumeRole 权限)"
	}
	return v, v
}

// demands returns the conditions of the new statements behind a group: several
// lists when different ones are enough, none when one statement has none.
func (t *teller) demands(g *group) [][]*Condition {
	var out [][]*Condition
	seen := map[string]bool{}
	for _, i := range g.reasons {
		var list []*Condition
		var ids []string
		for j := range t.a.stmts[i].Conditions {
			c := &t.a.stmts[i].Conditions[j]
			list, ids = append(list, c), append(ids, c.id())
		}
		if len(list) == 0 {
			return nil
		}
		slices.Sort(ids)
		if k := strings.Join(ids, "\x00"); !seen[k] {
			seen[k] = true
			out = append(out, list)
		}
	}
	return out
}

// conditions compares what the new statements demand with what the old ones
// did, in both languages. Of what is taken away it says what is demanded now
// and what was before.
func (t *teller) conditions(g *group) (out, zh []string) {
	say := func(en, cn string) { out, zh = append(out, en), append(zh, cn) }
	ways := t.demands(g)
	// What every way demands of a key.
	have := map[string][]*Condition{}
	for n, way := range ways {
		of := map[string][]*Condition{}
		for _, c := range way {
			k := strings.ToLower(c.Key)
			of[k] = append(of[k], c)
		}
		if n == 0 {
			have = of
			continue
		}
		for k := range have {
			if len(of[k]) == 0 {
				delete(have, k)
			}
		}
	}
	told := map[string]bool{}
	for _, i := range g.before {
		s := &t.a.stmts[i]
		for j := range s.Conditions {
			c := &s.Conditions[j]
			k := strings.ToLower(c.Key)
			kept := slices.ContainsFunc(have[k], func(now *Condition) bool { return now.id() == c.id() })
			switch {
			case told[k] && !s.Deny:
			case t.opts.removed && s.Deny:
				say("now denied when "+c.words(), "当 "+c.wordsZH()+" 时现予拒绝")
			case t.opts.removed:
				if !kept {
					say("now only when "+c.words(), "现仅当 "+c.wordsZH())
				}
			case s.Deny:
				say("no longer denied when "+c.words(), "当 "+c.wordsZH()+" 时不再拒绝")
			case len(have[k]) == 0 && isMFA(c):
				say("MFA no longer required (condition "+c.Key+" dropped)", "不再要求 MFA(条件 "+c.Key+" 已移除)")
			case len(have[k]) == 0 && k == "acs:sourceip":
				say("source IP restriction removed (condition "+c.Key+" dropped)", "来源 IP 限制已移除(条件 "+c.Key+")")
			case len(have[k]) == 0:
				say("condition "+c.Key+" removed (was "+c.words()+")", "条件 "+c.Key+" 已移除(原为 "+c.wordsZH()+")")
			case !kept:
				say("condition "+c.Key+" changed (was "+c.words()+")", "条件 "+c.Key+" 已更改(原为 "+c.wordsZH()+")")
			}
			told[k] = true
		}
	}
	only, onlyZH := "only ", "仅限:"
	if t.opts.removed {
		only, onlyZH = "before only ", "此前仅限:"
	}
	if len(ways) == 1 && !t.opts.removed {
		added := map[string]bool{}
		for _, c := range ways[0] {
			k := strings.ToLower(c.Key)
			if len(g.before) > 0 && !told[k] && !added[k] {
				say("condition "+c.Key+" added: only when "+c.words(), "新增条件 "+c.Key+":仅当 "+c.wordsZH())
				added[k] = true
				continue
			}
			say("only when "+c.words(), "仅当 "+c.wordsZH())
		}
	} else if len(ways) > 1 || len(ways) == 1 && len(ways[0]) > 0 {
		var en, cn []string
		for _, way := range ways[:min(len(ways), 4)] {
			var a, b []string
			for _, c := range way {
				a, b = append(a, c.words()), append(b, c.wordsZH())
			}
			en, cn = append(en, "when "+strings.Join(a, " and ")), append(cn, "当 "+strings.Join(b, " 且 "))
		}
		if len(ways) > 4 {
			en, cn = append(en, "in "+strconv.Itoa(len(ways)-4)+" more cases"), append(cn, "其他 "+strconv.Itoa(len(ways)-4)+" 种情况")
		}
		say(only+strings.Join(en, ", or "), onlyZH+strings.Join(cn, ",或 "))
	}
	if t.opts.removed {
		return out, zh
	}
	for _, c := range t.stillRefused(g) {
		say("not when "+c.words(), "当 "+c.wordsZH()+" 时除外")
	}
	return out, zh
}

// stillRefused returns the conditions of Deny statements of new that stand
// against everything in a group, where they hold. Of a Deny with several
// conditions nothing is said: it takes all of them to hold.
func (t *teller) stillRefused(g *group) []*Condition {
	all := slices.Clone(g.pairs[0].match)
	for _, p := range g.pairs[1:] {
		all.keep(p.match)
	}
	var out []*Condition
	seen := map[string]bool{}
	all.each(func(i int) {
		s := &t.a.stmts[i]
		if s.isNew && s.Deny && len(s.Conditions) == 1 && !seen[s.Conditions[0].id()] && len(out) < 3 {
			seen[s.Conditions[0].id()] = true
			out = append(out, &s.Conditions[0])
		}
	})
	return out
}

func isMFA(c *Condition) bool {
	return strings.EqualFold(c.Key, "acs:MFAPresent") && (c.Operator == "Bool" || c.Operator == "StringEquals") &&
		!slices.ContainsFunc(c.Values, func(v string) bool { return !strings.EqualFold(v, "true") })
}

var operatorWords = map[string]string{
	"StringEquals": "is", "StringNotEquals": "is not", "StringEqualsIgnoreCase": "is", "StringNotEqualsIgnoreCase": "is not",
	"StringLike": "is like", "StringNotLike": "is not like", "NumericEquals": "is", "NumericNotEquals": "is not",
	"NumericLessThan": "is below", "NumericLessThanEquals": "is at most", "NumericGreaterThan": "is above", "NumericGreaterThanEquals": "is at least",
	"DateEquals": "is", "DateNotEquals": "is not", "DateLessThan": "is before", "DateLessThanEquals": "is not after",
	"DateGreaterThan": "is after", "DateGreaterThanEquals": "is not before", "Bool": "is", "IpAddress": "is in", "NotIpAddress": "is not in",
}

var operatorWordsZH = map[string]string{
	"StringEquals": "为", "StringNotEquals": "不为", "StringEqualsIgnoreCase": "为", "StringNotEqualsIgnoreCase": "不为",
	"StringLike": "匹配", "StringNotLike": "不匹配", "NumericEquals": "等于", "NumericNotEquals": "不等于",
	"NumericLessThan": "小于", "NumericLessThanEquals": "不大于", "NumericGreaterThan": "大于", "NumericGreaterThanEquals": "不小于",
	"DateEquals": "为", "DateNotEquals": "不为", "DateLessThan": "早于", "DateLessThanEquals": "不晚于",
	"DateGreaterThan": "晚于", "DateGreaterThanEquals": "不早于", "Bool": "为", "IpAddress": "属于", "NotIpAddress": "不属于",
}

// wordsZH says the same in Chinese.
func (c *Condition) wordsZH() string {
	op := operatorWordsZH[c.Operator]
	if op == "" || c.Set != "" {
		op = strings.TrimSpace(c.Set + " " + c.Operator)
	}
	values := slices.Clone(c.Values)
	more := ""
	if len(values) > 6 {
		values, more = values[:6], " 等 "+strconv.Itoa(len(c.Values))+" 项"
	}
	return c.Key + " " + op + " " + strings.Join(values, " 或 ") + more
}

// words says a condition: "acs:SourceIp is in 10.0.0.0/8 or 192.0.2.0/24".
func (c *Condition) words() string {
	op := operatorWords[c.Operator]
	if op == "" || c.Set != "" {
		op = strings.TrimSpace(c.Set + " " + c.Operator)
	}
	values := slices.Clone(c.Values)
	if len(values) > 6 {
		values = append(values[:6:6], strconv.Itoa(len(c.Values)-6)+" more")
	}
	return c.Key + " " + op + " " + strings.Join(values, " or ")
}

// pathsOf returns the completed paths that have to do with these actions.
func (t *teller) pathsOf(cells bitset) []string {
	var out []string
	for _, p := range t.paths {
		for i := range p.Needs {
			if slices.ContainsFunc(p.Needs[i].Actions, func(act string) bool {
				n := t.a.dims[dimAction].cellOf(act)
				return n >= 0 && cells.has(n)
			}) && t.gained(&p.Needs[i]) {
				out = append(out, p.ID)
				break
			}
		}
	}
	return out
}

func (t *teller) gained(n *Atom) bool {
	return !t.a.has(false, n, t.accounts, t.opts.Own)
}

// witness finds a request that shows the finding: an action of the catalogue
// and a resource that reads like one, where they lie inside.
func (t *teller) witness(f *Finding, g *group, acts []int) {
	a := t.a
	first := g.pairs[0]
	cellText := func(dim, class int) string { return a.dims[dim].cells[a.dims[dim].classes[class].cells[0]].witness }
	principal := cellText(dimPrincipal, first.class[dimPrincipal])
	noPrincipal := t.opts.Kind == Identity || t.opts.Kind == Control
	if noPrincipal {
		principal = ""
	} else if p := t.examplePrincipal(g, first.class[dimPrincipal]); p != "" {
		principal = p
	}
	actions := []string{}
	for i := 0; i < len(acts) && i < 3; i++ {
		actions = append(actions, known[acts[i]].name)
	}
	for _, c := range g.actions {
		actions = append(actions, cellText(dimAction, c))
	}
	try := func(action, resource string, o *outcome) bool {
		w := Witness{Action: a.spell(action), Resource: resource, Principal: principal, Context: o.context}
		if t.opts.Kind == Trust {
			w.Resource = ""
		}
		q := &Request{Action: w.Action, Resource: resource, Principal: principal, Context: o.context, Assumed: o.assumed}
		if t.decide(t.new, q) != Allowed || t.decide(t.old, q) == Allowed {
			return false
		}
		q.Assumed = nil
		f.Confirmed = t.decide(t.new, q) == Allowed && t.decide(t.old, q) != Allowed
		if !f.Confirmed {
			// It hangs on conditions that cannot be evaluated.
			w.Context = maps.Clone(o.context)
			for _, k := range slices.Sorted(maps.Keys(o.assumed)) {
				if w.Context == nil {
					w.Context = map[string]string{}
				}
				w.Context["assumed: "+a.opaqueText(k)] = fmt.Sprint(o.assumed[k])
			}
		}
		if len(w.Context) == 0 {
			w.Context = nil
		}
		f.Witness = w
		return true
	}
	for _, action := range actions {
		for _, account := range t.accounts {
			if account == arbitrary {
				account = "1000000000000001"
			}
			for _, res := range append(examplesOf(action, account), t.spelledOut(g, account)...) {
				m := a.matchesText(dimAction, action).and(a.matchesText(dimResource, res)).and(a.dims[dimPrincipal].classes[first.class[dimPrincipal]].match)
				if o := a.expandsAt(m); o.expands && o.context != nil && t.inside(g, res) && try(action, res, o) {
					return
				}
			}
		}
		if try(action, cellText(dimResource, first.class[dimResource]), first.out) {
			return
		}
	}
	// The classes' own witnesses always fit; an analyser at odds with the
	// evaluator says so by an unconfirmed finding.
	f.Witness = Witness{Action: a.spell(cellText(dimAction, g.actions[0])), Resource: cellText(dimResource, first.class[dimResource]), Principal: principal, Context: first.out.context}
}

// What wildcards are filled in with in examples.
var (
	exampleFor = strings.NewReplacer("*", "example", "?", "x")
	zerosFor   = strings.NewReplacer("*", "0", "?", "0")
)

// examplePrincipal returns somebody of a class who reads like a real
// principal, or nothing.
func (t *teller) examplePrincipal(g *group, class int) string {
	for _, i := range g.reasons {
		for _, p := range t.a.stmts[i].Principals {
			name := CanonicalPrincipal(p)
			switch kind, rest, _ := strings.Cut(name, ":"); {
			case name == "*":
				name = "anonymous"
			case kind == "ram":
				account, who, ok := strings.Cut(rest, ":")
				if strings.Trim(account, "*") == "" {
					account = "2000000000000002"
				}
				if !ok || who == "*" {
					who = "user/example"
				}
				name = "ram:" + zerosFor.Replace(account) + ":" + exampleFor.Replace(who)
			default:
				name = exampleFor.Replace(name)
			}
			if slices.Contains(t.a.dims[dimPrincipal].classes[class].cells, t.a.dims[dimPrincipal].cellOf(name)) {
				return name
			}
		}
	}
	return ""
}

// spelledOut returns the resources of the statements behind a group, with
// their wildcards filled in.
func (t *teller) spelledOut(g *group, account string) []string {
	var out []string
	for _, i := range append(slices.Clone(g.reasons), g.before...) {
		for _, r := range t.a.stmts[i].Resources {
			parts := strings.SplitN(r, ":", 5)
			if len(parts) != 5 {
				continue
			}
			if parts[2] == "*" {
				parts[2] = "cn-hangzhou"
			}
			if parts[3] == "*" {
				parts[3] = account
			}
			out = append(out, exampleFor.Replace(strings.Join(parts, ":")))
			if len(out) == 8 {
				return out
			}
		}
	}
	return out
}

// inside says whether a resource lies in one of the group's classes.
func (t *teller) inside(g *group, res string) bool {
	n := t.a.dims[dimResource].cellOf(res)
	return slices.ContainsFunc(g.pairs, func(c combo) bool {
		return slices.Contains(t.a.dims[dimResource].classes[c.class[dimResource]].cells, n)
	})
}

// decide evaluates one side with the matcher that knows nothing of cells.
func (t *teller) decide(d *Document, q *Request) Effect {
	return d.DecideAs(t.opts.Kind, q, t.a.read)
}

// opaqueText says a condition that cannot be evaluated, by its id.
func (a *analysis) opaqueText(id string) string {
	for i := range a.stmts {
		for j := range a.stmts[i].Conditions {
			if c := &a.stmts[i].Conditions[j]; c.id() == id {
				return c.Text()
			}
		}
	}
	return id
}

// spell gives an action the spelling of the document that names it, or of the
// catalogue.
func (a *analysis) spell(action string) string {
	for _, p := range a.dims[dimAction].patterns {
		if strings.EqualFold(p.text, action) {
			return p.text
		}
	}
	for _, c := range catalogue {
		if strings.EqualFold(c.Name, action) {
			return c.Name
		}
	}
	return action
}

// examplesOf returns resources of an action that read like real ones.
func examplesOf(action, account string) []string {
	service, name, _ := strings.Cut(strings.ToLower(action), ":")
	base := "acs:" + service + ":*:" + account + ":"
	switch service {
	case "ram":
		switch {
		case strings.Contains(name, "role"):
			return []string{base + "role/example", base + "policy/example"}
		case strings.Contains(name, "user"), strings.Contains(name, "accesskey"), strings.Contains(name, "login"), strings.Contains(name, "mfa"):
			return []string{base + "user/example", base + "policy/example"}
		case strings.Contains(name, "group"):
			return []string{base + "group/example", base + "user/example"}
		}
		return []string{base + "policy/example", base + "user/example"}
	case "sts":
		return []string{"acs:ram::" + account + ":role/example", "acs:ram:*:" + account + ":role/example"}
	case "oss":
		if strings.Contains(name, "object") {
			return []string{base + "example-bucket/example-object", base + "example-bucket"}
		}
		return []string{base + "example-bucket"}
	case "ecs":
		return []string{"acs:ecs:cn-hangzhou:" + account + ":instance/i-example", base + "instance/i-example"}
	case "":
		return nil
	}
	return []string{base + "example/example"}
}
