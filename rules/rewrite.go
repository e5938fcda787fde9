package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// rewriter changes an expression that the analyser has passed into the form
// that runs: fields worked out on demand become calls, comparisons without
// letter case compare lowered values with lowered constants, and constant
// networks and lists become numbers of tables.
type rewriter struct {
	tables *tables
	key    bool
}

// folded names the lowered twin of a field that is compared without letter
// case.
func folded(name string) (ast.Node, bool) {
	switch name {
	case "event.name":
		return member("event", "__name"), true
	case "event.service":
		return member("event", "__service"), true
	case "event.error_code":
		return call("__error_code"), true
	case "action":
		return &ast.IdentifierNode{Value: "action"}, true // lower case already
	case "event.region":
		return member("event", "region"), true
	}
	return nil, false
}

func member(base, name string) ast.Node {
	return &ast.MemberNode{Node: &ast.IdentifierNode{Value: base}, Property: &ast.StringNode{Value: name}}
}

func call(name string, args ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args}
}

// Visit implements ast.Visitor; children come before their parents.
func (r *rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.ChainNode, *ast.MemberNode:
		name, _ := path(n)
		switch name {
		case "source.ip":
			ast.Patch(node, call("__ip"))
		case "source.network":
			ast.Patch(node, call("__network"))
		case "source.country":
			ast.Patch(node, call("__country"))
		case "source.asn":
			ast.Patch(node, call("__asn"))
		case "source.org":
			ast.Patch(node, call("__org"))
		case "source.place":
			ast.Patch(node, call("__place"))
		default:
			if f, ok := folded(name); ok && r.key {
				ast.Patch(node, f)
			}
		}
	case *ast.BinaryNode:
		if !r.among(node, n) {
			r.binary(n)
		}
	case *ast.CallNode:
		r.call(node, n)
	case *ast.BuiltinNode:
		r.anyOf(node, n)
	}
}

// anyOf turns any([constants], lower(x) contains #) into a look-up of the
// constants in x: the usual way to look for words, and slow as a loop.
func (r *rewriter) anyOf(node *ast.Node, n *ast.BuiltinNode) {
	if text, words, ok := wordSearch(n); ok {
		r.words(node, text, words)
	}
}

// wordSearch recognises any([constants], lower(x) contains #).
func wordSearch(n *ast.BuiltinNode) (text ast.Node, words []string, ok bool) {
	if n.Name != "any" || len(n.Arguments) != 2 {
		return nil, nil, false
	}
	list, ok1 := n.Arguments[0].(*ast.ArrayNode)
	p, ok2 := n.Arguments[1].(*ast.PredicateNode)
	if !ok1 || !ok2 {
		return nil, nil, false
	}
	lits, ok1 := literals(list)
	b, ok2 := p.Node.(*ast.BinaryNode)
	if !ok1 || !ok2 || b.Operator != "contains" {
		return nil, nil, false
	}
	element, ok1 := b.Right.(*ast.PointerNode)
	low, ok2 := b.Left.(*ast.BuiltinNode)
	if !ok1 || !ok2 || element.Name != "" || low.Name != "lower" || len(low.Arguments) != 1 {
		return nil, nil, false
	}
	if _, simple := path(low.Arguments[0]); !simple {
		return nil, nil, false
	}
	for _, l := range lits {
		if l.Value != strings.ToLower(l.Value) || l.Value == "" {
			return nil, nil, false // a capital is never in a lowered text
		}
		words = append(words, l.Value)
	}
	return low.Arguments[0], words, true
}

func (r *rewriter) words(node *ast.Node, text ast.Node, words []string) {
	r.tables.words = append(r.tables.words, newWordList(words))
	ast.Patch(node, &ast.BinaryNode{
		Operator: "==",
		Left:     located(call("__words", text, &ast.IntegerNode{Value: len(r.tables.words) - 1}), *node),
		Right:    &ast.IntegerNode{Value: 1},
	})
}

// among turns a comparison of param("X") with constants into one call.
func (r *rewriter) among(node *ast.Node, n *ast.BinaryNode) bool {
	if n.Operator != "==" && n.Operator != "!=" && n.Operator != "in" {
		return false
	}
	c, ok := n.Left.(*ast.CallNode)
	lits, ok2 := literals(n.Right)
	if !ok || !ok2 || len(c.Arguments) != 1 {
		return false
	}
	if _, list := n.Right.(*ast.ArrayNode); list != (n.Operator == "in") {
		return false // the type checker says what is wrong
	}
	id, ok := c.Callee.(*ast.IdentifierNode)
	name, ok2 := c.Arguments[0].(*ast.StringNode)
	if !ok || !ok2 {
		return false
	}
	switch id.Value {
	case "param", "resp", "extra", "field":
	default:
		return false
	}
	t := lookupTest{what: id.Value, name: name.Value}
	for _, l := range lits {
		t.values = append(t.values, l.Value)
	}
	r.tables.tests = append(r.tables.tests, t)
	test := call("__among", &ast.IntegerNode{Value: len(r.tables.tests) - 1})
	if n.Operator == "!=" {
		test = &ast.UnaryNode{Operator: "not", Node: located(test, n)}
	}
	ast.Patch(node, test)
	return true
}

func (r *rewriter) binary(n *ast.BinaryNode) {
	if n.Operator == "matches" {
		if name, ok := path(n.Left); ok {
			if f, ok := folded(name); ok {
				ast.Patch(&n.Left, f)
				s := n.Right.(*ast.StringNode)
				n.Right = located(&ast.StringNode{Value: "(?i:" + s.Value + ")"}, s)
			}
		}
		return
	}
	if !slices.Contains([]string{"==", "!=", "in", "contains", "startsWith", "endsWith"}, n.Operator) {
		return
	}
	if !r.fold(&n.Left, &n.Right) && (n.Operator == "==" || n.Operator == "!=") {
		r.fold(&n.Right, &n.Left)
	}
}

func located(n, like ast.Node) ast.Node {
	n.SetLocation(like.Location())
	return n
}

// fold makes a comparison of the field with the other side ignore letter
// case, or gives constants the field's own spelling.
func (r *rewriter) fold(field, other *ast.Node) bool {
	name, ok := path(*field)
	if !ok {
		return false
	}
	if f, ok := folded(name); ok {
		ast.Patch(field, f)
		lower(other)
		return true
	}
	var words []string
	switch name {
	case "event.type":
		words = eventTypes
	case "event.category":
		words = eventCategories
	default:
		c, ok := detectors.ClosedField(name)
		if !ok || c.Words[0] == "false" {
			return false
		}
		words = c.Words
	}
	if lits, ok := literals(*other); ok {
		for _, l := range lits {
			l.Value = canonical(l.Value, words)
		}
	}
	return true
}

// lower lowers constants, and wraps what is not constant.
func lower(n *ast.Node) {
	switch x := (*n).(type) {
	case *ast.StringNode:
		x.Value = strings.ToLower(x.Value)
	case *ast.ArrayNode:
		for i := range x.Nodes {
			lower(&x.Nodes[i])
		}
	case *ast.BuiltinNode:
		if x.Name == "lower" {
			return
		}
		wrapLower(n)
	default:
		if name, ok := path(x); ok {
			if f, ok := folded(name); ok {
				ast.Patch(n, f)
				return
			}
		}
		wrapLower(n)
	}
}

func wrapLower(n *ast.Node) {
	ast.Patch(n, &ast.BuiltinNode{Name: "lower", Arguments: []ast.Node{*n}})
}

func (r *rewriter) call(node *ast.Node, n *ast.CallNode) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return
	}
	switch id.Value {
	case "in_cidr":
		if len(n.Arguments) < 2 {
			return
		}
		var set netset
		for _, a := range n.Arguments[1:] {
			s, ok := a.(*ast.StringNode)
			if !ok {
				return
			}
			p, ok := parseNetwork(s.Value)
			if !ok {
				return
			}
			set.add(p)
		}
		r.tables.nets = append(r.tables.nets, set)
		ast.Patch(node, &ast.BinaryNode{
			Operator: "==",
			Left:     located(call("__nets", n.Arguments[0], &ast.IntegerNode{Value: len(r.tables.nets) - 1}), n),
			Right:    &ast.IntegerNode{Value: 1},
		})
	case "contains_any":
		if len(n.Arguments) != 2 {
			return
		}
		lits, ok := literals(n.Arguments[1])
		if _, list := n.Arguments[1].(*ast.ArrayNode); !ok || !list {
			return
		}
		var words []string
		for _, l := range lits {
			words = append(words, strings.ToLower(l.Value))
		}
		r.words(node, n.Arguments[0], words)
	case "param_any":
		if len(n.Arguments) != 3 {
			return
		}
		prefix, ok1 := n.Arguments[0].(*ast.StringNode)
		suffix, ok2 := n.Arguments[1].(*ast.StringNode)
		lits, ok3 := literals(n.Arguments[2])
		if _, list := n.Arguments[2].(*ast.ArrayNode); !ok1 || !ok2 || !ok3 || !list {
			return
		}
		a := anyParam{prefix: prefix.Value, suffix: suffix.Value}
		for _, l := range lits {
			a.values = append(a.values, l.Value)
		}
		r.tables.anys = append(r.tables.anys, a)
		ast.Patch(node, call("__any", &ast.IntegerNode{Value: len(r.tables.anys) - 1}))
	case "param_num":
		if len(n.Arguments) != 2 {
			return
		}
		name, ok1 := n.Arguments[0].(*ast.StringNode)
		def, ok2 := number(n.Arguments[1])
		if !ok1 || !ok2 {
			return
		}
		r.tables.nums = append(r.tables.nums, numParam{name: name.Value, def: def})
		ast.Patch(node, call("__num", &ast.IntegerNode{Value: len(r.tables.nums) - 1}))
	}
}

// derive reads out of a condition what the index can use.
func derive(n ast.Node) detectors.Cond {
	switch n := n.(type) {
	case *ast.ChainNode:
		return derive(n.Node)
	case *ast.BoolNode:
		return detectors.Const(n.Value)
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			return detectors.Not(derive(n.Node))
		}
	case *ast.ConditionalNode:
		c := derive(n.Cond)
		return detectors.Or(detectors.And(c, derive(n.Exp1)), detectors.And(detectors.Not(c), derive(n.Exp2)))
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok && (id.Value == "one_of_list" || id.Value == "has_list") && len(n.Arguments) > 0 {
			if name, ok := n.Arguments[0].(*ast.StringNode); ok {
				return detectors.List(name.Value)
			}
		}
	case *ast.IdentifierNode, *ast.MemberNode:
		name, ok := path(n)
		if !ok {
			break
		}
		if name == "actor.root" {
			f, _ := detectors.ClosedField("actor.type")
			return detectors.OneOf(f, "root-account")
		}
		if strings.HasPrefix(name, "policy.") && isBool(name) {
			// Facts are known of changes of permissions alone.
			return detectors.And(detectors.Named(detectors.ByAction, policyActions...), detectors.Any())
		}
		if f, ok := detectors.ClosedField(name); ok && isBool(name) {
			return detectors.OneOf(f, "true")
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&":
			return detectors.And(derive(n.Left), derive(n.Right))
		case "or", "||":
			return detectors.Or(derive(n.Left), derive(n.Right))
		case "==", "!=":
			c, ok := compared(n.Left, n.Right)
			if !ok {
				c, ok = compared(n.Right, n.Left)
			}
			if !ok {
				break
			}
			if n.Operator == "!=" {
				return detectors.Not(c)
			}
			return c
		case "in":
			if c, ok := compared(n.Left, n.Right); ok {
				return c
			}
		case "startsWith", "endsWith", "contains", "matches":
			if c, ok := resembles(n); ok {
				return c
			}
		}
	}
	return detectors.Any()
}

// policyActions are the actions that the policy judge sees.
var policyActions = func() []string {
	var out []string
	for _, a := range actions {
		if detectors.PolicyAction(event.Action(a)) {
			out = append(out, a)
		}
	}
	return out
}()

func isBool(name string) bool {
	k, ok := fieldTypes[name]
	return ok && k.String() == "bool"
}

// kinds are the fields that say what sort of event it is.
func kindField(name string) (detectors.NameField, bool) {
	switch name {
	case "event.name":
		return detectors.ByName, true
	case "action":
		return detectors.ByAction, true
	case "event.service":
		return detectors.ByService, true
	}
	return 0, false
}

// compared derives field == value, or field in values.
func compared(left, right ast.Node) (detectors.Cond, bool) {
	if b, ok := left.(*ast.BuiltinNode); ok && b.Name == "lower" && len(b.Arguments) == 1 {
		// lower(event.name) == "x": the constant must be lower already, so
		// that comparing without letter case is the same.
		lits, ok := literals(right)
		if name, isField := path(b.Arguments[0]); ok && isField {
			if _, ok := kindField(name); ok && !slices.ContainsFunc(lits, func(s *ast.StringNode) bool { return s.Value != strings.ToLower(s.Value) }) {
				left = b.Arguments[0]
			}
		}
	}
	name, ok := path(left)
	if !ok {
		return detectors.Cond{}, false
	}
	if b, ok := right.(*ast.BoolNode); ok {
		c := derive(left)
		if !isBool(name) {
			return detectors.Cond{}, false
		}
		if !b.Value {
			c = detectors.Not(c)
		}
		return c, true
	}
	lits, ok := literals(right)
	if !ok {
		return detectors.Cond{}, false
	}
	values := make([]string, len(lits))
	empty := false
	for i, l := range lits {
		values[i] = l.Value
		empty = empty || l.Value == ""
	}
	if f, ok := kindField(name); ok {
		for i := range values {
			values[i] = strings.ToLower(values[i])
		}
		return detectors.Named(f, values...), true
	}
	f, ok := detectors.ClosedField(name)
	if !ok || isBool(name) {
		return detectors.Cond{}, false
	}
	if f.Words[0] != "false" { // an enumeration
		for i := range values {
			values[i] = canonical(values[i], f.Words)
		}
		return detectors.OneOf(f, values...), true
	}
	// Only whether the text is there is known.
	switch {
	case empty && len(values) == 1:
		return detectors.OneOf(f, "false"), true
	case !empty:
		return detectors.And(detectors.OneOf(f, "true"), detectors.Any()), true
	}
	return detectors.Cond{}, false
}

// resembles derives startsWith, endsWith, contains and matches on the fields
// that say what sort of event it is.
func resembles(n *ast.BinaryNode) (detectors.Cond, bool) {
	name, ok := path(n.Left)
	lit, ok2 := n.Right.(*ast.StringNode)
	if !ok || !ok2 {
		return detectors.Cond{}, false
	}
	f, ok := kindField(name)
	if !ok {
		if f, ok := detectors.ClosedField(name); ok && f.Words[0] == "false" && lit.Value != "" && n.Operator != "matches" {
			// A text that is not there holds no other.
			return detectors.And(detectors.OneOf(f, "true"), detectors.Any()), true
		}
		return detectors.Cond{}, false
	}
	low := strings.ToLower(lit.Value)
	var test func(string) bool
	switch n.Operator {
	case "startsWith":
		test = func(s string) bool { return strings.HasPrefix(s, low) }
	case "endsWith":
		test = func(s string) bool { return strings.HasSuffix(s, low) }
	case "contains":
		test = func(s string) bool { return strings.Contains(s, low) }
	default:
		re, err := regexp.Compile("(?i:" + lit.Value + ")")
		if err != nil {
			return detectors.Cond{}, false
		}
		test = re.MatchString
	}
	if f == detectors.ByAction {
		// A closed set: the values can be listed, which the index prefers.
		var values []string
		for _, a := range append([]string{""}, actions...) {
			if test(a) {
				values = append(values, a)
			}
		}
		return detectors.Named(f, values...), true
	}
	return detectors.NamedLike(f, test), true
}
