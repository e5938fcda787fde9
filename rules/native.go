package rules

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Most conditions are comparisons of fields with constants. Those are
// compiled into Go functions, which cost a few nanoseconds instead of the
// expression machine's hundred, and need no environment. What has no native
// form runs on the machine; a test and a fuzz target hold the two to the same
// answers.

// test is a native condition on the session's event, which is not nil.
type test func(s *session) bool

// textOf reads a text of the session's event.
type textOf func(s *session) string

// native is the native form of a condition: of all parts of a conjunction that
// have one.
type native struct {
	parts []nativePart
	whole bool // all parts have one; else the machine has the last word
}

// nativePart is a part of a conjunction, and what the index knows of it.
type nativePart struct {
	holds test
	cond  detectors.Cond
	late  late
}

// late is what a part reads that is known only when events are in order.
type late uint8

const (
	readsPolicy late = 1 << iota // nothing of it is set where the event is not judged
	readsLineage
)

func lateOf(n ast.Node) (l late) {
	ast.Walk(&n, visitor(func(x ast.Node) {
		if id, ok := x.(*ast.IdentifierNode); ok {
			switch id.Value {
			case "policy", "trust":
				l |= readsPolicy
			case "lineage":
				l |= readsLineage
			}
		}
	}))
	return l
}

// ofKind says whether a text depends on nothing but what an event is about, which
// detectors.Kinder tells apart, and whether it reads or writes.
func ofKind(n ast.Node) bool {
	bases, fields, other := 0, 0, false
	ast.Walk(&n, visitor(func(x ast.Node) {
		switch x := x.(type) {
		case *ast.IdentifierNode:
			if x.Value == "event" {
				bases++
			} else {
				other = other || x.Value != "action"
			}
		case *ast.MemberNode:
			if name, ok := path(x); ok && (name == "event.name" || name == "event.service" || name == "event.rw") {
				fields++
			}
		}
	}))
	return !other && bases == fields
}

// compileNative finds the native form of an analysed condition. Tables are
// those of the set.
func compileNative(n ast.Node) native {
	c := nativeCompiler{}
	out := native{whole: true}
	for _, n := range chain(n, "all of") {
		if t, ok := c.cond(n); ok {
			out.parts = append(out.parts, nativePart{t, derive(n), lateOf(n)})
		} else {
			out.whole = false
		}
	}
	return out
}

// left is what has to be evaluated when the index has let an event through: all of
// it, and what of it is no late matter, by whether the event is judged.
func (n *native) left(exists func(list string) bool) (all []test, early [2][]test) {
	for _, p := range n.parts {
		if p.cond.Settle(exists).Single() {
			continue
		}
		all = append(all, p.holds)
		if p.late&readsLineage == 0 {
			if early[0] = append(early[0], p.holds); p.late == 0 {
				early[1] = append(early[1], p.holds)
			}
		}
	}
	return all, early
}

// nativeCompiler finds native forms; nothing is found where it says false.
type nativeCompiler struct {
	element *ast.StringNode // what # stands for, if anything
}

// cond compiles a condition.
func (c nativeCompiler) cond(n ast.Node) (test, bool) {
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.cond(n.Node)
	case *ast.BoolNode:
		v := n.Value
		return func(*session) bool { return v }, true
	case *ast.UnaryNode:
		if n.Operator != "!" && n.Operator != "not" {
			return nil, false
		}
		t, ok := c.cond(n.Node)
		if !ok {
			return nil, false
		}
		return func(s *session) bool { return !t(s) }, true
	case *ast.ConditionalNode:
		cond, ok1 := c.cond(n.Cond)
		a, ok2 := c.cond(n.Exp1)
		b, ok3 := c.cond(n.Exp2)
		if !ok1 || !ok2 || !ok3 {
			return nil, false
		}
		return func(s *session) bool {
			if cond(s) {
				return a(s)
			}
			return b(s)
		}, true
	case *ast.MemberNode:
		name, _ := path(n)
		return truthOf(name)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.BuiltinNode:
		return c.quantifier(n)
	}
	return nil, false
}

// truthOf reads a field that is true or false.
func truthOf(name string) (test, bool) {
	switch name {
	case "event.sensitive":
		return func(s *session) bool { return s.ev.Sensitive }, true
	case "event.global":
		return func(s *session) bool { return s.ev.Global }, true
	case "actor.root":
		return func(s *session) bool { return s.ev.Actor.Type == event.RootAccount }, true
	case "actor.service_linked":
		return func(s *session) bool { return s.ev.Actor.ServiceLinked }, true
	case "target.self":
		return func(s *session) bool { return detectors.TargetsSelf(s.ev) }, true
	}
	if of := policyTruth(name); of != nil {
		return func(s *session) bool { return s.judged && of(&s.policy) }, true
	}
	return nil, false
}

// policyTruth reads a policy fact that is true or false; nil for anything else.
func policyTruth(name string) func(*detectors.PolicyFacts) bool {
	switch name {
	case "policy.known":
		return func(f *detectors.PolicyFacts) bool { return f.Known }
	case "policy.expands":
		return func(f *detectors.PolicyFacts) bool { return f.Expands }
	case "policy.admin_equivalent":
		return func(f *detectors.PolicyFacts) bool { return f.AdminEquivalent }
	case "policy.privileged":
		return func(f *detectors.PolicyFacts) bool { return f.Privileged }
	case "policy.staged":
		return func(f *detectors.PolicyFacts) bool { return f.Staged }
	case "policy.external_trust", "trust.external":
		return func(f *detectors.PolicyFacts) bool { return f.ExternalTrust }
	case "policy.public_trust", "trust.public":
		return func(f *detectors.PolicyFacts) bool { return f.PublicTrust }
	case "trust.federated":
		return func(f *detectors.PolicyFacts) bool { return f.FederatedTrust }
	case "policy.deny_removed":
		return func(f *detectors.PolicyFacts) bool { return f.DenyRemoved }
	case "policy.self":
		return func(f *detectors.PolicyFacts) bool { return f.Self }
	case "policy.trail":
		return func(f *detectors.PolicyFacts) bool { return f.Trail }
	}
	return nil
}

// fieldText reads a field that is a text. With folded, comparisons ignore
// letter case and the text is in lower case.
func fieldText(name string) (get textOf, fold bool, ok bool) {
	switch name {
	case "action":
		return func(s *session) string { return string(s.ev.Action) }, true, true
	case "event.name":
		return func(s *session) string { return s.ev.NameFold }, true, true
	case "event.service":
		return func(s *session) string { return s.ev.ServiceFold }, true, true
	case "event.error_code":
		return func(s *session) string { return s.errCode() }, true, true
	case "event.region":
		return func(s *session) string { return strings.ToLower(s.ev.Region) }, true, true
	case "outcome":
		get = func(s *session) string { return s.ev.Outcome.String() }
	case "mfa":
		get = func(s *session) string { return s.ev.MFA.String() }
	case "event.id":
		get = func(s *session) string { return s.ev.ID }
	case "event.type":
		get = func(s *session) string { return canonical(s.ev.Type, eventTypes) }
	case "event.category":
		get = func(s *session) string { return s.ev.Category }
	case "event.rw":
		get = func(s *session) string { return s.ev.RW.String() }
	case "event.source":
		get = func(s *session) string { return s.ev.Source }
	case "event.error_message":
		get = func(s *session) string { return s.ev.ErrorMessage }
	case "event.user_agent":
		get = func(s *session) string { return s.ev.UserAgent }
	case "event.request_id":
		get = func(s *session) string { return s.ev.RequestID }
	case "event.account":
		get = func(s *session) string { return s.ev.Recipient }
	case "event.vpc":
		get = func(s *session) string { return s.ev.VPCID }
	case "event.api_version":
		get = func(s *session) string { return s.ev.APIVersion }
	case "event.insight_type":
		get = func(s *session) string { return s.ev.InsightType }
	case "actor.type":
		get = func(s *session) string { return s.ev.Actor.Type.String() }
	case "actor.kind":
		get = func(s *session) string { return s.ev.Actor.Kind.String() }
	case "actor.id":
		get = func(s *session) string { return s.ev.Actor.ID }
	case "actor.name":
		get = func(s *session) string { return s.ev.Actor.Name }
	case "actor.display":
		get = func(s *session) string { return s.ev.Actor.Display }
	case "actor.account":
		get = func(s *session) string { return s.ev.Actor.Account }
	case "actor.principal":
		get = func(s *session) string { return s.ev.Actor.Principal }
	case "actor.key":
		get = func(s *session) string { return s.ev.Actor.Key }
	case "actor.key_kind":
		get = func(s *session) string { return s.ev.Actor.KeyKind.String() }
	case "actor.role":
		get = func(s *session) string { return s.ev.Actor.Role }
	case "actor.session":
		get = func(s *session) string { return s.ev.Actor.Session }
	case "actor.caller_account":
		get = func(s *session) string { return s.ev.Actor.CallerAccount }
	case "actor.owner":
		get = func(s *session) string { return s.set.owners.actor(s.ev).Owner }
	case "actor.team":
		get = func(s *session) string { return s.set.owners.actor(s.ev).Team }
	case "actor.production":
		get = func(s *session) string { return s.set.owners.actor(s.ev).Production.String() }
	case "target.owner":
		get = func(s *session) string { return s.set.owners.target(s.ev).Owner }
	case "target.team":
		get = func(s *session) string { return s.set.owners.target(s.ev).Team }
	case "target.production":
		get = func(s *session) string { return s.set.owners.target(s.ev).Production.String() }
	case "actor.session_mfa":
		get = func(s *session) string { return s.ev.Actor.SessionMFA.String() }
	case "source.ip":
		get = func(s *session) string { return s.ip() }
	case "source.text":
		get = func(s *session) string { return s.ev.Address.Text }
	case "source.kind":
		get = func(s *session) string { return s.ev.Address.Kind.String() }
	case "source.network":
		get = func(s *session) string { return s.network() }
	case "source.place":
		get = func(s *session) string { return s.place() }
	case "source.country":
		get = func(s *session) string { s.locate(); return s.lazy.country }
	case "source.org":
		get = func(s *session) string { s.locate(); return s.lazy.org }
	case "lineage.root":
		get = func(s *session) string { return s.kin.Root }
	case "lineage.by":
		get = func(s *session) string { return s.kin.By }
	case "lineage.action":
		get = func(s *session) string { return string(s.kin.Action) }
	case "lineage.sentence":
		get = func(s *session) string { return s.kin.Sentence }
	case "lineage.by_key":
		get = func(s *session) string { return s.kin.ByKey }
	case "target.type":
		get = func(s *session) string { return s.ev.Target.Type }
	case "target.id":
		get = func(s *session) string { return s.ev.Target.ID }
	case "target.name":
		get = func(s *session) string { return s.ev.Target.Name }
	case "target.key":
		get = func(s *session) string { return s.ev.Target.Key }
	}
	return get, false, get != nil
}

// plainText compiles an expression that gives a text: a field, a look-up, a
// constant, or these joined by + and chosen by ?:. In a key, fields without
// letter case are lowered; in a shown text they are as written. It returns
// nil where there is no native form.
func plainText(n ast.Node, key bool) textOf {
	c := nativeCompiler{}
	switch n := n.(type) {
	case *ast.StringNode:
		v := n.Value
		return func(*session) string { return v }
	case *ast.BinaryNode:
		if n.Operator != "+" {
			return nil
		}
		a, b := plainText(n.Left, key), plainText(n.Right, key)
		if a == nil || b == nil {
			return nil
		}
		return func(s *session) string { return a(s) + b(s) }
	case *ast.ConditionalNode:
		cond, ok := c.cond(n.Cond)
		a, b := plainText(n.Exp1, key), plainText(n.Exp2, key)
		if !ok || a == nil || b == nil {
			return nil
		}
		return func(s *session) string {
			if cond(s) {
				return a(s)
			}
			return b(s)
		}
	case *ast.BuiltinNode:
		if n.Name == "string" && len(n.Arguments) == 1 {
			if get, ok := c.number(n.Arguments[0]); ok {
				if _, field := path(n.Arguments[0]); field { // a whole number
					return func(s *session) string { return strconv.Itoa(int(get(s))) }
				}
			}
		}
	}
	if !key {
		if get := found(n); get != nil {
			return get
		}
	}
	get, folded, field, ok := c.text(n)
	if !ok {
		return nil
	}
	if folded && !key {
		switch field {
		case "event.name":
			return func(s *session) string { return s.ev.Name }
		case "event.service":
			return func(s *session) string { return s.ev.Service }
		case "event.error_code":
			return func(s *session) string { return s.ev.ErrorCode }
		}
	}
	return get
}

// found reads what was found out about the event, for shown texts; nil for what
// is anything else.
func found(n ast.Node) textOf {
	switch name, _ := path(n); name {
	case "verdict.reason":
		return func(s *session) string { return s.env.Verdict.Reason }
	case "verdict.count":
		return func(s *session) string { return strconv.Itoa(s.env.Verdict.Count) }
	case "policy.sentence":
		return func(s *session) string {
			if !s.filled {
				s.fill() // what is there is of an event before
			}
			return s.env.Policy.Sentence
		}
	}
	return nil
}

// keyPart is one of the texts that a key is joined from.
type keyPart struct {
	get textOf
	low textOf // it is to be lowered; this is it with ASCII letters lowered
}

// partsOf splits a + b + c whose parts are fields, look-ups and constants; nil
// when n is anything else.
func partsOf(n ast.Node, key bool) []keyPart {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "+" {
		return nil
	}
	var out []keyPart
	for _, side := range []ast.Node{b.Left, b.Right} {
		if more := partsOf(side, key); more != nil {
			out = append(out, more...)
			continue
		}
		p := keyPart{}
		if l, ok := side.(*ast.BuiltinNode); ok && l.Name == "lower" && len(l.Arguments) == 1 {
			if name, ok := path(l.Arguments[0]); ok {
				switch name {
				case "event.name":
					p = keyPart{get: func(s *session) string { return s.ev.Name }, low: func(s *session) string { return s.ev.NameFold }}
				case "event.service":
					p = keyPart{get: func(s *session) string { return s.ev.Service }, low: func(s *session) string { return s.ev.ServiceFold }}
				}
			}
		}
		if p.get == nil {
			p.get = plainText(side, key)
		}
		if p.get == nil {
			return nil
		}
		out = append(out, p)
	}
	return out
}

// append writes the part.
func (p *keyPart) append(buf []byte, s *session) []byte {
	if p.low == nil {
		return append(buf, p.get(s)...)
	}
	if text := p.low(s); isASCII(text) {
		return append(buf, text...)
	}
	return append(buf, strings.ToLower(p.get(s))...)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// text compiles what gives a text: a field, a look-up by constant key, #, or
// lower() of one of these.
func (c nativeCompiler) text(n ast.Node) (get textOf, fold bool, name string, ok bool) {
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.text(n.Node)
	case *ast.IdentifierNode, *ast.MemberNode:
		name, _ = path(n)
		get, fold, ok = fieldText(name)
		return get, fold, name, ok
	case *ast.CallNode:
		id, isName := n.Callee.(*ast.IdentifierNode)
		if !isName || len(n.Arguments) != 1 {
			return nil, false, "", false
		}
		key, isConst := c.constant(n.Arguments[0])
		if !isConst {
			return nil, false, "", false
		}
		switch id.Value {
		case "param":
			return func(s *session) string { return s.param(key) }, false, "", true
		case "resp":
			return func(s *session) string { return s.resp(key) }, false, "", true
		case "extra":
			return func(s *session) string { return s.extra(key) }, false, "", true
		case "field":
			return func(s *session) string { return s.field(key) }, false, "", true
		case "resource":
			return func(s *session) string { return s.resource(key) }, false, "", true
		}
	case *ast.BuiltinNode:
		if n.Name != "lower" || len(n.Arguments) != 1 {
			break
		}
		inner, folded, field, ok := c.text(n.Arguments[0])
		if !ok {
			break
		}
		if folded {
			// lower() is about the field as written.
			switch field {
			case "event.name":
				inner = func(s *session) string { return s.ev.Name }
			case "event.service":
				inner = func(s *session) string { return s.ev.Service }
			case "event.error_code":
				inner = func(s *session) string { return s.ev.ErrorCode }
			}
		}
		return func(s *session) string { return strings.ToLower(inner(s)) }, false, "", true
	}
	return nil, false, "", false
}

// constant is a constant text, or what # stands for.
func (c nativeCompiler) constant(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.PointerNode:
		if c.element != nil && n.Name == "" {
			return c.element.Value, true
		}
	}
	return "", false
}

func (c nativeCompiler) constants(n ast.Node) ([]string, bool) {
	if a, ok := n.(*ast.ArrayNode); ok {
		out := make([]string, 0, len(a.Nodes))
		for _, x := range a.Nodes {
			v, ok := c.constant(x)
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	}
	v, ok := c.constant(n)
	return []string{v}, ok
}

// spell gives constants the spelling of the field that they are compared
// with, as the rewriter does.
func spell(name string, fold bool, values []string) []string {
	values = slices.Clone(values)
	var words []string
	switch name {
	case "event.type":
		words = eventTypes
	case "event.category":
		words = eventCategories
	default:
		if f, ok := detectors.ClosedField(name); ok && f.Words[0] != "false" {
			words = f.Words
		}
	}
	for i := range values {
		if fold {
			values[i] = strings.ToLower(values[i])
		} else if words != nil {
			values[i] = canonical(values[i], words)
		}
	}
	return values
}

func (c nativeCompiler) binary(n *ast.BinaryNode) (test, bool) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		a, ok1 := c.cond(n.Left)
		b, ok2 := c.cond(n.Right)
		if !ok1 || !ok2 {
			return nil, false
		}
		if n.Operator == "and" || n.Operator == "&&" {
			return func(s *session) bool { return a(s) && b(s) }, true
		}
		return func(s *session) bool { return a(s) || b(s) }, true
	case "==", "!=":
		t, ok := c.equal(n.Left, n.Right)
		if !ok {
			if t, ok = c.equal(n.Right, n.Left); !ok {
				return nil, false
			}
		}
		if n.Operator == "!=" {
			return func(s *session) bool { return !t(s) }, true
		}
		return t, true
	case "in":
		list, ok := n.Right.(*ast.ArrayNode)
		if !ok {
			return nil, false
		}
		if t, ok := c.oneOfNumbers(n.Left, list); ok {
			return t, true
		}
		return c.among(n.Left, n.Right)
	case "contains", "startsWith", "endsWith":
		get, fold, name, ok := c.text(n.Left)
		v, ok2 := c.constant(n.Right)
		if !ok || !ok2 {
			return nil, false
		}
		v = spell(name, fold, []string{v})[0]
		switch n.Operator {
		case "contains":
			return func(s *session) bool { return strings.Contains(get(s), v) }, true
		case "startsWith":
			return func(s *session) bool { return strings.HasPrefix(get(s), v) }, true
		default:
			return func(s *session) bool { return strings.HasSuffix(get(s), v) }, true
		}
	case "matches":
		get, fold, _, ok := c.text(n.Left)
		lit, ok2 := n.Right.(*ast.StringNode)
		if !ok || !ok2 {
			return nil, false
		}
		pattern := lit.Value
		if fold {
			pattern = "(?i:" + pattern + ")"
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, false
		}
		return func(s *session) bool { return re.MatchString(get(s)) }, true
	case "<", "<=", ">", ">=":
		get, ok := c.number(n.Left)
		v, ok2 := number(n.Right)
		if !ok || !ok2 {
			return nil, false
		}
		switch n.Operator {
		case "<":
			return func(s *session) bool { return get(s) < v }, true
		case "<=":
			return func(s *session) bool { return get(s) <= v }, true
		case ">":
			return func(s *session) bool { return get(s) > v }, true
		default:
			return func(s *session) bool { return get(s) >= v }, true
		}
	}
	return nil, false
}

// oneOfNumbers compiles a field that is a whole number, in a list of whole numbers.
func (c nativeCompiler) oneOfNumbers(left ast.Node, list *ast.ArrayNode) (test, bool) {
	get, ok := c.number(left)
	if _, field := path(left); !ok || !field {
		return nil, false
	}
	values := make([]float64, len(list.Nodes))
	for i, n := range list.Nodes {
		v, ok := n.(*ast.IntegerNode)
		if !ok {
			return nil, false
		}
		values[i] = float64(v.Value)
	}
	return func(s *session) bool { return slices.Contains(values, get(s)) }, true
}

// number compiles what gives a number.
func (c nativeCompiler) number(n ast.Node) (func(*session) float64, bool) {
	if name, ok := path(n); ok {
		switch name {
		case "event.hour":
			return func(s *session) float64 { return float64(hourOf(s.ev)) }, true
		case "event.weekday":
			return func(s *session) float64 { return float64(weekdayOf(s.ev)) }, true
		case "source.asn":
			return func(s *session) float64 { s.locate(); return float64(s.lazy.asn) }, true
		}
	}
	if get, ok := c.pieces(n); ok {
		return get, true
	}
	if call, ok := n.(*ast.CallNode); ok && len(call.Arguments) == 2 {
		id, ok1 := call.Callee.(*ast.IdentifierNode)
		name, ok2 := call.Arguments[0].(*ast.StringNode)
		def, ok3 := number(call.Arguments[1])
		if ok1 && ok2 && ok3 && id.Value == "param_num" {
			key := name.Value
			return func(s *session) float64 { return s.paramNum(key, def) }, true
		}
	}
	return nil, false
}

// pieces compiles len(split(text, separator)).
func (c nativeCompiler) pieces(n ast.Node) (func(*session) float64, bool) {
	size, ok := n.(*ast.BuiltinNode)
	if !ok || size.Name != "len" || len(size.Arguments) != 1 {
		return nil, false
	}
	split, ok := size.Arguments[0].(*ast.BuiltinNode)
	if !ok || split.Name != "split" || len(split.Arguments) != 2 {
		return nil, false
	}
	get, folded, _, ok := nativeCompiler{}.text(split.Arguments[0])
	sep, ok2 := split.Arguments[1].(*ast.StringNode)
	if !ok || !ok2 || folded || sep.Value == "" { // as it is written, it is split
		return nil, false
	}
	return func(s *session) float64 { return float64(strings.Count(get(s), sep.Value) + 1) }, true
}

// equal compiles left == right where right is constant.
func (c nativeCompiler) equal(left, right ast.Node) (test, bool) {
	if b, ok := right.(*ast.BoolNode); ok {
		t, ok := c.cond(left)
		if !ok || b.Value {
			return t, ok
		}
		return func(s *session) bool { return !t(s) }, true
	}
	if v, ok := number(right); ok {
		get, ok := c.number(left)
		if !ok {
			return nil, false
		}
		return func(s *session) bool { return get(s) == v }, true
	}
	if _, list := right.(*ast.ArrayNode); list {
		return nil, false
	}
	return c.among(left, right)
}

// among compiles a text compared with constants.
func (c nativeCompiler) among(left, right ast.Node) (test, bool) {
	get, fold, name, ok := c.text(left)
	values, ok2 := c.constants(right)
	if !ok || !ok2 {
		return nil, false
	}
	values = spell(name, fold, values)
	if t := amongWords(name, values); t != nil {
		return t, true
	}
	switch {
	case len(values) == 1:
		v := values[0]
		return func(s *session) bool { return get(s) == v }, true
	case len(values) <= 8:
		return func(s *session) bool { return slices.Contains(values, get(s)) }, true
	}
	set := make(map[string]bool, len(values))
	for _, v := range values {
		set[v] = true
	}
	return func(s *session) bool { return set[get(s)] }, true
}

// amongWords compiles a closed field of few words, which an event has as a number,
// compared with some of them; nil for any other field.
func amongWords(name string, values []string) test {
	f, ok := detectors.ClosedField(name)
	if !ok || len(f.Words) > 32 {
		return nil
	}
	var in uint32 // a bit for each word, in the order of the numbers
	for i, w := range f.Words {
		if slices.Contains(values, w) {
			in |= 1 << i
		}
	}
	switch name {
	case "outcome":
		return func(s *session) bool { return in>>(s.ev.Outcome&31)&1 != 0 }
	case "mfa":
		return func(s *session) bool { return in>>(s.ev.MFA&31)&1 != 0 }
	case "event.rw":
		return func(s *session) bool { return in>>(s.ev.RW&31)&1 != 0 }
	case "actor.type":
		return func(s *session) bool { return in>>(s.ev.Actor.Type&31)&1 != 0 }
	case "actor.kind":
		return func(s *session) bool { return in>>(s.ev.Actor.Kind&31)&1 != 0 }
	case "actor.key_kind":
		return func(s *session) bool { return in>>(s.ev.Actor.KeyKind&31)&1 != 0 }
	case "actor.session_mfa":
		return func(s *session) bool { return in>>(s.ev.Actor.SessionMFA&31)&1 != 0 }
	case "source.kind":
		return func(s *session) bool { return in>>(s.ev.Address.Kind&31)&1 != 0 }
	}
	return nil
}

func (c nativeCompiler) call(n *ast.CallNode) (test, bool) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil, false
	}
	args := n.Arguments
	key := func(i int) (string, bool) {
		if i >= len(args) {
			return "", false
		}
		return c.constant(args[i])
	}
	switch id.Value {
	case "has_param":
		if k, ok := key(0); ok && len(args) == 1 {
			return func(s *session) bool { return s.hasParam(k) }, true
		}
	case "param_is":
		k, ok1 := key(0)
		v, ok2 := key(1)
		if ok1 && ok2 && len(args) == 2 {
			truth := event.ParseTruth(v)
			return func(s *session) bool { return sameWord(s.param(k), v, truth) }, true
		}
	case "params_contain":
		if v, ok := key(0); ok && len(args) == 1 {
			return func(s *session) bool { return s.paramsContain(v) }, true
		}
	case "param_any":
		p, ok1 := key(0)
		x, ok2 := key(1)
		if !ok1 || !ok2 || len(args) != 3 {
			return nil, false
		}
		values, ok := c.constants(args[2])
		if _, list := args[2].(*ast.ArrayNode); ok && list {
			a := anyParam{prefix: p, suffix: x, values: values}
			return func(s *session) bool { return s.paramAny(&a) }, true
		}
	case "contains_any":
		if len(args) != 2 {
			return nil, false
		}
		words, ok := c.constants(args[1])
		if _, list := args[1].(*ast.ArrayNode); !ok || !list {
			return nil, false
		}
		for i := range words {
			words[i] = strings.ToLower(words[i])
		}
		return c.words(args[0], words)
	case "has_list":
		if k, ok := key(0); ok && len(args) == 1 {
			return func(s *session) bool { return s.set.lists[k] != nil }, true
		}
	case "one_of_list":
		if len(args) != 2 {
			return nil, false
		}
		k, ok1 := key(0)
		get, _, name, ok2 := c.text(args[1])
		if !ok1 || !ok2 {
			return nil, false
		}
		if name == "source.ip" {
			return func(s *session) bool { return s.set.lists[k].has(s.ip(), s.ev.Address.IP) }, true
		}
		return func(s *session) bool { v := get(s); return s.set.lists[k].has(v, s.address(v)) }, true
	case "in_cidr":
		if len(args) < 2 {
			return nil, false
		}
		get, _, name, ok := c.text(args[0])
		if !ok {
			return nil, false
		}
		var set netset
		for _, a := range args[1:] {
			v, ok := nativeCompiler{}.constant(a)
			if !ok {
				return nil, false
			}
			p, ok := parseNetwork(v)
			if !ok {
				return nil, false
			}
			set.add(p)
		}
		if name == "source.ip" {
			return func(s *session) bool { a := s.ev.Address.IP; return a.IsValid() && set.contains(a) }, true
		}
		return func(s *session) bool { a := s.address(get(s)); return a.IsValid() && set.contains(a) }, true
	}
	return nil, false
}

// words compiles a search for words without letter case.
func (c nativeCompiler) words(text ast.Node, words []string) (test, bool) {
	get, _, _, ok := nativeCompiler{}.text(text)
	if !ok {
		return nil, false
	}
	list := newWordList(words)
	return func(s *session) bool { return s.hasWords(get(s), list) }, true
}

// quantifier unrolls any, all and none over constant texts.
func (c nativeCompiler) quantifier(n *ast.BuiltinNode) (test, bool) {
	if c.element != nil || len(n.Arguments) != 2 || n.Name != "any" && n.Name != "all" && n.Name != "none" {
		return nil, false
	}
	lits, ok := literals(n.Arguments[0])
	p, ok2 := n.Arguments[1].(*ast.PredicateNode)
	if _, list := n.Arguments[0].(*ast.ArrayNode); !ok || !ok2 || !list {
		return nil, false
	}
	if text, words, ok := wordSearch(n); ok {
		return c.words(text, words)
	}
	tests := make([]test, len(lits))
	for i, l := range lits {
		of := nativeCompiler{element: l}
		if tests[i], ok = of.cond(p.Node); !ok {
			return nil, false
		}
	}
	stopAt, result := n.Name != "all", n.Name == "any"
	return func(s *session) bool {
		for _, t := range tests {
			if t(s) == stopAt {
				return result
			}
		}
		return !result
	}, true
}
