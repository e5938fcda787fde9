package rampolicy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// teller turns groups of an analysis into findings.
type teller struct {
	a        *analysis
	old, new *Document
	opts     Options
	accounts []string          // that the documents speak of
	known    []bitset          // by catalogue number: the patterns that match
	cellOf   [3]map[string]int // pattern match → cell
	paths    []Path            // completed by the change
}

func (t *teller) load() {
	for dim := range dimensions {
		t.cellOf[dim] = make(map[string]int, len(t.a.cells[dim]))
		for n, c := range t.a.cells[dim] {
			t.cellOf[dim][c.match.key()] = n
		}
	}
	t.accounts = accountsOf(t.opts.Account, t.old, t.new)
	if t.opts.Kind == Identity {
		t.paths = t.a.completed(t.accounts, t.opts.Own)
	}
}

// cell returns the cell that a text lies in.
func (t *teller) cell(dim int, text string) int {
	if dim == dimAction || t.a.read.FoldResource {
		text = strings.ToLower(text)
	}
	m := newBitset(len(t.a.patterns[dim]))
	for i, p := range t.a.patterns[dim] {
		if Match(p.glob, text) {
			m.set(i)
		}
	}
	if n, ok := t.cellOf[dim][m.key()]; ok {
		return n
	}
	return -1
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
	m := a.matchesText(dimAction, action).and(a.matchesText(dimResource, resource)).and(a.matchesText(dimPrincipal, ""))
	return a.allowsIn(m, isNew, with)
}

// has says whether one side covers an atom.
func (a *analysis) has(isNew bool, n *Atom, accounts []string, own Own) bool {
	for _, action := range n.Actions {
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

// completed returns the paths that new can walk and old cannot.
func (a *analysis) completed(accounts []string, own Own) []Path {
	var out []Path
	for _, p := range paths {
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
			out = append(out, p)
		}
	}
	return out
}

func (t *teller) finding(g *group) Finding {
	a := t.a
	sets := [dimensions]bitset{}
	for dim := range dimensions {
		sets[dim] = newBitset(len(a.cells[dim]))
	}
	for _, c := range g.actions {
		for _, n := range a.classes[dimAction][c].cells {
			sets[dimAction].set(n)
		}
	}
	for _, p := range g.pairs {
		for _, dim := range []int{dimResource, dimPrincipal} {
			for _, n := range a.classes[dim][p.class[dim]].cells {
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
		render := func(text string) string { return text }
		if dim == dimPrincipal {
			render = t.principalWords
		}
		regions[dim] = a.name(dim, sets[dim], prefer, func(n int) bool { return t.allowed(dim, n, g) }, render)
	}
	acts := t.actionsIn(sets[dimAction])
	f := Finding{}
	f.Actions = regions[dimAction].words()
	examples := f.examples(acts, &regions[dimAction])
	f.Actions = append(append(f.Actions, t.families(g, &regions[dimAction], acts, examples)...), examples...)
	f.Resources = regions[dimResource].words()
	if t.opts.Kind == Trust {
		f.Resources = []string{}
	}
	if t.opts.Kind == Trust || t.opts.Kind == Resource {
		f.Principals = t.principals(&regions[dimPrincipal])
	}
	var conditionsZH []string
	f.Conditions, conditionsZH = t.conditions(g)
	t.witness(&f, g, acts)
	f.Paths = t.pathsOf(sets[dimAction])
	f.Severity = t.severity(&f, g, &regions, acts)
	t.sentence(&f, g, &regions, acts, examples, conditionsZH)
	return f
}

// allowed says whether new allows a cell's requests, in the group's first
// combination otherwise.
func (t *teller) allowed(dim, n int, g *group) bool {
	m := newBitset(len(t.a.stmts))
	for i := range m {
		m[i] = ^uint64(0)
	}
	first := g.pairs[0].class
	first[dimAction] = g.actions[0]
	for d := range dimensions {
		if d == dim {
			m = m.and(t.a.matchesSet(d, t.a.cells[d][n].match))
		} else {
			m = m.and(t.a.classes[d][first[d]].match)
		}
	}
	return t.a.allowsIn(m, true, nil)
}

// actionsIn returns the catalogue's actions that lie in the cells.
func (t *teller) actionsIn(cells bitset) []Action {
	if t.known == nil {
		t.known = make([]bitset, len(catalogue))
		for i := range catalogue {
			b := newBitset(len(t.a.cells[dimAction]))
			if n := t.cell(dimAction, catalogue[i].Name); n >= 0 {
				b.set(n)
			}
			t.known[i] = b
		}
	}
	var out []Action
	for i := range catalogue {
		if !t.known[i].and(cells).empty() {
			out = append(out, catalogue[i])
		}
	}
	return out
}

// examples returns catalogue actions that say more than the names do: the
// worst of each class, then those with other verbs, then the rest.
func (f *Finding) examples(acts []Action, r *region) []string {
	const most = 10
	spelled := map[string]bool{}
	for _, n := range r.names {
		spelled[strings.ToLower(n)] = true
	}
	var out, others, later []string
	classes, verbs := map[Class]bool{}, map[string]bool{}
	for _, act := range acts {
		k := verbOf(act.Name)
		switch {
		case spelled[strings.ToLower(act.Name)] || act.Class == ClassNone && r.rest == "":
			continue
		case act.Class != ClassNone && !classes[act.Class]:
			out = append(out, act.Name)
		case !verbs[k]:
			others = append(others, act.Name)
		default:
			later = append(later, act.Name)
		}
		classes[act.Class], verbs[k] = true, true
	}
	out = append(append(out, others...), later...)
	if len(out) > most {
		return append(out[:most:most], "+"+itoa(len(out)-most)+" more known actions")
	}
	return out
}

// families returns the services, or else the verbs of a service, that lie
// inside of the group's actions whole, where its own names do not say so; those
// of the first actions come first. The patterns of the documents are joined by
// the families, which splits the cells further and leaves what the statements
// match as it is.
func (t *teller) families(g *group, r *region, acts []Action, first []string) []string {
	if r.rest == "" && !slices.ContainsFunc(r.names, func(n string) bool { return strings.ContainsAny(n, "*?") }) {
		return nil
	}
	a := t.a
	var names []string
	add := func(n string) {
		if len(names) < 40 && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, n := range first {
		if service, _, ok := strings.Cut(n, ":"); ok {
			add(service + ":*")
		}
	}
	for _, act := range acts {
		service, _, _ := strings.Cut(act.Name, ":")
		add(service + ":*")
	}
	for _, act := range acts {
		if act.Class != ClassNone {
			add(verbOf(act.Name) + "*")
		}
	}
	globs := make([][]token, 0, len(a.patterns[dimAction])+len(names))
	for _, p := range a.patterns[dimAction] {
		globs = append(globs, tokens(p.glob, false, false))
	}
	for _, n := range names {
		globs = append(globs, tokens(strings.ToLower(n), false, false))
	}
	cells, ok := globCells(globs, true, 20_000, a.work)
	if !ok {
		return nil
	}
	inside := map[string]bool{}
	for _, c := range g.actions {
		inside[a.classes[dimAction][c].match.key()] = true
	}
	whole := make([]bool, len(names))
	for i := range whole {
		whole[i] = true
	}
	for _, c := range cells {
		in := inside[a.matchesSet(dimAction, c.match).key()]
		for i := range names {
			if !in && c.match.has(len(a.patterns[dimAction])+i) {
				whole[i] = false
			}
		}
	}
	var out []string
	for i, n := range names {
		covered := slices.ContainsFunc(append(slices.Clone(out), r.names...), func(o string) bool { return Match(strings.ToLower(o), strings.ToLower(n)) })
		if whole[i] && !covered {
			out = append(out, n)
		}
	}
	return out[:min(len(out), 16)]
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

// principals puts principals into words.
func (t *teller) principals(r *region) []string {
	if r.all && len(r.names) == 0 {
		return []string{"everybody"}
	}
	return r.words()
}

func (t *teller) principalWords(v string) string {
	if v == "*" {
		if t.opts.Kind == Trust {
			return "any Alibaba Cloud account"
		}
		return "anybody, also anonymous"
	}
	if account, name, ok := ramARN(v); ok && name == "root" {
		if strings.Trim(account, "*") == "" {
			return "any Alibaba Cloud account (" + v + ")"
		}
		return "every user and role of account " + account + " (if granted sts:AssumeRole)"
	}
	return v
}

// conditions compares what the new statements demand with what the old ones
// did, in both languages.
func (t *teller) conditions(g *group) (out, zh []string) {
	say := func(en, cn string) { out, zh = append(out, en), append(zh, cn) }
	have := map[string]*Condition{}
	var order []string
	for _, i := range g.reasons {
		for j := range t.a.stmts[i].Conditions {
			c := &t.a.stmts[i].Conditions[j]
			k := strings.ToLower(c.Key)
			if have[k] == nil {
				have[k] = c
				order = append(order, k)
			}
		}
	}
	told := map[string]bool{}
	for _, i := range g.before {
		s := &t.a.stmts[i]
		for j := range s.Conditions {
			c := &s.Conditions[j]
			k := strings.ToLower(c.Key)
			switch now := have[k]; {
			case told[k]:
			case s.Deny:
				say("no longer denied when "+c.words(), "当 "+c.words()+" 时不再拒绝")
			case now == nil && isMFA(c):
				say("MFA no longer required (condition "+c.Key+" dropped)", "不再要求 MFA(条件 "+c.Key+" 已移除)")
			case now == nil && k == "acs:sourceip":
				say("source IP restriction removed (condition "+c.Key+" dropped)", "来源 IP 限制已移除(条件 "+c.Key+")")
			case now == nil:
				say("condition "+c.Key+" removed (was "+c.words()+")", "条件 "+c.Key+" 已移除(原为 "+c.words()+")")
			case now.Text() != c.Text():
				say("condition "+c.Key+" changed (was "+c.words()+")", "条件 "+c.Key+" 已更改(原为 "+c.words()+")")
			}
			told[k] = true
		}
	}
	for _, k := range order {
		w := have[k].words()
		if len(g.before) > 0 && !told[k] {
			say("condition "+have[k].Key+" added: only when "+w, "新增条件 "+have[k].Key+":仅当 "+w)
			continue
		}
		say("only when "+w, "仅当 "+w)
	}
	return out, zh
}

func isMFA(c *Condition) bool {
	return strings.EqualFold(c.Key, "acs:MFAPresent") && (c.Operator == "Bool" || c.Operator == "StringEquals")
}

var operatorWords = map[string]string{
	"StringEquals": "is", "StringNotEquals": "is not", "StringEqualsIgnoreCase": "is", "StringNotEqualsIgnoreCase": "is not",
	"StringLike": "is like", "StringNotLike": "is not like", "NumericEquals": "is", "NumericNotEquals": "is not",
	"NumericLessThan": "is below", "NumericLessThanEquals": "is at most", "NumericGreaterThan": "is above", "NumericGreaterThanEquals": "is at least",
	"DateEquals": "is", "DateNotEquals": "is not", "DateLessThan": "is before", "DateLessThanEquals": "is not after",
	"DateGreaterThan": "is after", "DateGreaterThanEquals": "is not before", "Bool": "is", "IpAddress": "is in", "NotIpAddress": "is not in",
}

// words says a condition: "acs:SourceIp is in 10.0.0.0/8 or 192.0.2.0/24".
func (c *Condition) words() string {
	op := operatorWords[c.Operator]
	if op == "" || c.Set != "" {
		op = strings.TrimSpace(c.Set + " " + c.Operator)
	}
	values := slices.Clone(c.Values)
	if len(values) > 6 {
		values = append(values[:6:6], itoa(len(c.Values)-6)+" more")
	}
	return c.Key + " " + op + " " + strings.Join(values, " or ")
}

// pathsOf returns the completed paths that have to do with these actions.
func (t *teller) pathsOf(cells bitset) []string {
	var out []string
	for _, p := range t.paths {
		for i := range p.Needs {
			if slices.ContainsFunc(p.Needs[i].Actions, func(act string) bool {
				n := t.cell(dimAction, act)
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
func (t *teller) witness(f *Finding, g *group, acts []Action) {
	a := t.a
	first := g.pairs[0]
	cellText := func(dim, class int) string { return a.cells[dim][a.classes[dim][class].cells[0]].witness }
	principal := cellText(dimPrincipal, first.class[dimPrincipal])
	noPrincipal := t.opts.Kind == Identity || t.opts.Kind == Control
	if noPrincipal {
		principal = ""
	} else if p := t.examplePrincipal(g, first.class[dimPrincipal]); p != "" {
		principal = p
	}
	actions := []string{}
	for i := 0; i < len(acts) && i < 3; i++ {
		actions = append(actions, acts[i].Name)
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
				m := a.matchesText(dimAction, action).and(a.matchesText(dimResource, res)).and(a.classes[dimPrincipal][first.class[dimPrincipal]].match)
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
				name = "ram:" + strings.NewReplacer("*", "0", "?", "0").Replace(account) + ":" + strings.NewReplacer("*", "example", "?", "x").Replace(who)
			default:
				name = strings.NewReplacer("*", "example", "?", "x").Replace(name)
			}
			if slices.Contains(t.a.classes[dimPrincipal][class].cells, t.cell(dimPrincipal, name)) {
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
			out = append(out, strings.NewReplacer("*", "example", "?", "x").Replace(strings.Join(parts, ":")))
			if len(out) == 8 {
				return out
			}
		}
	}
	return out
}

// inside says whether a resource lies in one of the group's classes.
func (t *teller) inside(g *group, res string) bool {
	n := t.cell(dimResource, res)
	return slices.ContainsFunc(g.pairs, func(c combo) bool { return slices.Contains(t.a.classes[dimResource][c.class[dimResource]].cells, n) })
}

// decide evaluates one side with the matcher that knows nothing of cells.
func (t *teller) decide(d *Document, q *Request) Effect {
	if t.opts.Kind == Control {
		if d.Decide(q, t.a.read) == Refused {
			return Refused
		}
		return Allowed
	}
	return d.Decide(q, t.a.read)
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
	for _, p := range a.patterns[dimAction] {
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
