package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	machine "github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	exprfile "github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// maxOfKind is how many texts are remembered for each kind of event. What there is
// of kinds is up to strangers.
const maxOfKind = 16

// The limits of one expression.
const (
	maxExpr  = 4096
	maxNodes = 200
)

// use is what an expression is for.
type use uint8

const (
	useMatch use = iota // a condition; its Cond is derived
	useKey              // a key: fields without letter case are lowered in it
	useText             // part of a text, or a severity
	useShown            // what an explanation shows, which may be a list
)

// allowed says which namespaces an expression may read.
type allowed struct {
	policy, verdict bool
	late            bool // it is evaluated with a detector's verdict: nothing is judged then
}

// program is a compiled expression.
type program struct {
	src     string
	code    *vm.Program
	cond    detectors.Cond
	native  native
	text    textOf    // of a key or text that is one field or look-up
	parts   []keyPart // of a text that is joined by +, else nil
	slot    int       // where a session remembers the text of the event at hand
	kinds   int       // 1 and up: where it remembers the text for events of one kind; see ofKind
	policy  bool      // reads policy facts
	lineage bool      // reads where the actor comes from
	verdict bool
	kind    reflect.Kind
	consts  []string // texts it can give, when it gives nothing else
	isConst bool
	blank   bool     // says itself that there may be nothing to show
	names   []string // of fields and functions in it
}

// tables are the constants that rewritten calls refer to by number.
type tables struct {
	nets  []netset
	anys  []anyParam
	nums  []numParam
	words []*wordList
	tests []lookupTest
}

// compiler compiles the expressions of a set.
type compiler struct {
	tables *tables
	cache  map[string]*program
	slots  int // programs that sessions remember the text of
	// How the machine reads texts, and conditions; made when it does the first time.
	texts, conds *conf.Config
	kinds        int // of these, those whose text depends on the event's kind alone
	warns        []warning
}

// warning is what lint says about a place; it does not refuse the rule.
type warning struct {
	err *Error
}

// builtins that cost at most what their input is long.
var builtins = []string{
	"all", "none", "any", "one", "filter", "count", "len", "abs", "ceil", "floor", "round", "int", "float", "string",
	"trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
	"max", "min", "first", "last",
}

// fault is an error at a character of the expression.
type fault struct {
	at   int
	msg  string
	hint string
	warn bool
}

// expression compiles one expression that starts at character offset of the
// value of t. Faults go to f; the result is nil when there are any.
func (c *compiler) expression(f *file, t text, src string, offset int, u use, may allowed) *program {
	key := fmt.Sprint(u, may, "\x00", src)
	if p, ok := c.cache[key]; ok {
		return p
	}
	warned := false
	p, faults := c.compile(src, u, may)
	var where []place
	failed := false
	for _, x := range faults {
		if where == nil {
			where = f.places(t.node)
		}
		at := where[min(offset+x.at, len(where)-1)]
		if x.warn {
			warned = true
			c.warns = append(c.warns, warning{f.fault(at.line, at.column, x.hint, "%s", x.msg)})
		} else {
			failed = true
			f.at(at.line, at.column, x.hint, "%s", x.msg)
		}
	}
	if failed {
		return nil
	}
	p.slot = c.slots
	c.slots++
	if p.kinds > 0 {
		c.kinds++
		if p.kinds = c.kinds; p.kinds > maxOfKind {
			p.kinds = 0
		}
	}
	if !warned {
		c.cache[key] = p
	}
	return p
}

// limited is how expressions are read to look at them.
var limited = func() *conf.Config {
	cfg := conf.CreateNew()
	cfg.MaxNodes = maxNodes
	return cfg
}()

func (c *compiler) compile(src string, u use, may allowed) (_ *program, faults []fault) {
	// The parser and compiler of expressions are not ours and meet whatever
	// a file contains: a panic there is a fault of the file.
	defer func() {
		if r := recover(); r != nil {
			faults = append(faults, fault{msg: fmt.Sprintf("the expression cannot be compiled: %v", r)})
		}
	}()
	switch {
	case strings.TrimSpace(src) == "":
		return nil, []fault{{msg: "the expression is empty"}}
	case len(src) > maxExpr:
		return nil, []fault{{msg: fmt.Sprintf("the expression has %d bytes: at most %d are allowed", len(src), maxExpr), hint: "split the rule, or use a named list"}}
	}
	tree, err := parser.ParseWithConfig(src, limited)
	if err != nil {
		return nil, []fault{syntax(err, src)}
	}
	a := &analyser{may: may}
	a.walk(tree.Node, 0)
	if slices.ContainsFunc(a.faults, func(f fault) bool { return !f.warn }) {
		return nil, a.faults
	}

	p := &program{src: src, policy: a.policy, lineage: a.lineage, verdict: a.verdict}
	p.names, p.blank = mentioned(tree.Node), u == useText && blank(tree.Node)
	rw := &rewriter{tables: c.tables, key: u == useKey}
	code, err := c.machine(src, u == useMatch, rw)
	if err != nil {
		return nil, append(a.faults, typing(err))
	}
	p.code = code
	p.kind = code.Node().Type().Kind()
	switch {
	case u == useMatch:
		p.cond = derive(tree.Node)
		p.native = compileNative(tree.Node)
	case p.kind == reflect.String, p.kind == reflect.Bool, p.kind == reflect.Int, p.kind == reflect.Float64:
	case p.kind == reflect.Slice && u == useShown:
	default:
		return nil, append(a.faults, fault{msg: fmt.Sprintf("the expression gives %s: want a text, number or truth value", typeWord(code.Node().Type()))})
	}
	p.consts, p.isConst = constTexts(tree.Node)
	if u != useMatch {
		if p.text = plainText(tree.Node, u == useKey); p.text != nil {
			p.parts = partsOf(tree.Node, u == useKey)
			if u == useKey && ofKind(tree.Node) {
				p.kinds = 1
			}
		}
	}
	return p, a.faults
}

// machine compiles an expression for the machine, as expr.Compile does: that would
// find out anew for each expression what fields and functions there are, which is a
// good part of the work.
func (c *compiler) machine(src string, truth bool, rw *rewriter) (*vm.Program, error) {
	cfg := &c.texts
	if truth {
		cfg = &c.conds
	}
	if *cfg == nil {
		opts := []expr.Option{expr.Env(env{}), expr.MaxNodes(maxNodes)}
		if truth {
			opts = append(opts, expr.AsBool(), expr.WarnOnAny())
		}
		for _, name := range []string{"now", "date", "repeat", "fromJSON", "toJSON", "duration", "timezone"} {
			opts = append(opts, expr.DisableBuiltin(name))
		}
		*cfg = conf.CreateNew()
		for _, opt := range opts {
			opt(*cfg)
		}
		for name := range (*cfg).Disabled {
			delete((*cfg).Builtins, name)
		}
	}
	(*cfg).Visitors = []ast.Visitor{rw}
	tree, err := checker.ParseCheck(src, *cfg)
	if err != nil {
		return nil, err
	}
	if err := optimizer.Optimize(&tree.Node, *cfg); err != nil {
		if at, ok := errors.AsType[*exprfile.Error](err); ok {
			return nil, at.Bind(tree.Source)
		}
		return nil, err
	}
	return machine.Compile(tree, *cfg)
}

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a group of fields"
	case reflect.Func:
		return "a function"
	case reflect.Interface:
		return "something whose type is not known"
	default:
		return t.String()
	}
}

// constTexts lists the texts that an expression can give, when they are all
// constants.
func constTexts(n ast.Node) ([]string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return []string{n.Value}, true
	case *ast.ConditionalNode:
		a, ok := constTexts(n.Exp1)
		b, ok2 := constTexts(n.Exp2)
		return append(a, b...), ok && ok2
	}
	return nil, false
}

// blank says that an expression gives a written "" in some case, so that nothing
// is what its author wants to be shown then.
func blank(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value == ""
	case *ast.ConditionalNode:
		return blank(n.Exp1) || blank(n.Exp2)
	}
	return false
}

// syntax words a parser's error.
func syntax(err error, src string) fault {
	var fe *exprfile.Error
	if !errors.As(err, &fe) {
		return fault{msg: err.Error()}
	}
	msg, hint := fe.Message, ""
	switch {
	case strings.Contains(msg, "exceeds maximum allowed nodes"):
		msg, hint = fmt.Sprintf("the expression has more than %d parts", maxNodes), "split the rule, or use a named list"
	case strings.Contains(msg, `Operator("=")`):
		hint = "compare with =="
	case strings.HasPrefix(msg, "unexpected token Identifier("):
		word, _, _ := strings.Cut(strings.TrimPrefix(msg, "unexpected token Identifier(\""), "\"")
		if low := strings.ToLower(word); low != word && slices.Contains([]string{"and", "or", "not", "in", "contains", "matches", "startswith", "endswith"}, low) {
			hint = "operators have a spelling of their own: && || ! (or and, or, not), in, contains, matches, startsWith, endsWith"
		}
	case strings.HasPrefix(msg, "unexpected token EOF"):
		msg = "the expression ends too early"
	case strings.Contains(msg, "unknown function"), strings.Contains(msg, "unknown name"):
		if i := strings.LastIndexByte(msg, ' '); i > 0 {
			hint = DidYouMean(msg[i+1:], append(slices.Clone(fieldNames), builtins...))
		}
	}
	return fault{at: min(fe.From, utf8.RuneCountInString(src)), msg: msg, hint: hint}
}

// typing words a type checker's error.
func typing(err error) fault {
	var fe *exprfile.Error
	if errors.As(err, &fe) {
		hint := ""
		switch msg := fe.Message; {
		case !strings.Contains(msg, "mismatched types"):
		case strings.Contains(msg, "string") && strings.Contains(msg, "bool"):
			hint = `a truth value stands alone (actor.root, !actor.root); a text is compared with a text in quotes, a parameter by param_is("X", "true")`
		case strings.Contains(msg, "string") && (strings.Contains(msg, "int") || strings.Contains(msg, "float")):
			hint = `a text is compared with a text in quotes, a number with one without; the number in a parameter is param_num("X", -1)`
		}
		return fault{at: fe.From, msg: fe.Message, hint: hint}
	}
	return fault{msg: err.Error(), hint: "a condition must give true or false"}
}

// analyser checks a parsed expression against what rules may do, and finds
// every fault rather than the first.
type analyser struct {
	may     allowed
	faults  []fault
	policy  bool
	lineage bool
	verdict bool
}

func (a *analyser) fault(n ast.Node, hint, format string, args ...any) {
	a.faults = append(a.faults, fault{at: n.Location().From, msg: fmt.Sprintf(format, args...), hint: hint})
}

func (a *analyser) warn(n ast.Node, hint, format string, args ...any) {
	a.faults = append(a.faults, fault{at: n.Location().From, msg: fmt.Sprintf(format, args...), hint: hint, warn: true})
}

var namespaces = []string{"event", "actor", "source", "target", "policy", "trust", "lineage", "verdict"}

// path returns the dotted name of a field, if n is one.
func path(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.ChainNode:
		return path(n.Node)
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		base, ok := n.Node.(*ast.IdentifierNode)
		prop, ok2 := n.Property.(*ast.StringNode)
		if ok && ok2 {
			return base.Value + "." + prop.Value, true
		}
	}
	return "", false
}

func (a *analyser) walk(n ast.Node, predicates int) {
	switch n := n.(type) {
	case nil:
	case *ast.IdentifierNode:
		a.identifier(n)
	case *ast.MemberNode:
		if name, ok := path(n); ok {
			base := n.Node.(*ast.IdentifierNode)
			if !slices.Contains(namespaces, base.Value) {
				a.identifier(base)
				return
			}
			a.namespace(base, base.Value)
			if kind, known := fieldTypes[name]; !known || strings.Contains(name, "__") {
				a.fault(base, DidYouMean(name, fieldNames), "unknown field %q", name)
			} else if kind == reflect.Func {
				a.fault(base, "", "%s is a function: call it with (…)", name)
			}
			return
		}
		a.walk(n.Node, predicates)
		a.walk(n.Property, predicates)
	case *ast.ChainNode:
		a.walk(n.Node, predicates)
	case *ast.UnaryNode:
		a.walk(n.Node, predicates)
	case *ast.BinaryNode:
		a.binary(n)
		a.walk(n.Left, predicates)
		a.walk(n.Right, predicates)
	case *ast.SliceNode:
		a.walk(n.Node, predicates)
		a.walk(n.From, predicates)
		a.walk(n.To, predicates)
	case *ast.CallNode:
		a.call(n)
		for _, arg := range n.Arguments {
			a.walk(arg, predicates)
		}
	case *ast.BuiltinNode:
		if !slices.Contains(builtins, n.Name) {
			a.fault(n, DidYouMean(n.Name, builtins), "%s() is not allowed in rules", n.Name)
		}
		for _, arg := range n.Arguments {
			a.walk(arg, predicates)
		}
	case *ast.PredicateNode:
		if predicates > 0 {
			a.fault(n, "", "a predicate inside a predicate is not allowed: its cost grows with the square of the list")
		}
		a.walk(n.Node, predicates+1)
	case *ast.ConditionalNode:
		a.walk(n.Cond, predicates)
		a.walk(n.Exp1, predicates)
		a.walk(n.Exp2, predicates)
	case *ast.ArrayNode:
		for _, x := range n.Nodes {
			a.walk(x, predicates)
		}
	case *ast.VariableDeclaratorNode:
		a.fault(n, "write the value where it is used", "let is not allowed in rules")
	case *ast.SequenceNode:
		a.fault(n, "join conditions with &&", "; is not allowed in rules")
	case *ast.MapNode:
		a.fault(n, "", "a map is not allowed in rules")
	case *ast.PairNode:
	case *ast.NilNode:
		a.fault(n, `an absent text is ""; an absent number 0`, "no field is ever nil")
	}
}

func (a *analyser) identifier(n *ast.IdentifierNode) {
	kind, known := fieldTypes[n.Value]
	switch {
	case !known || strings.HasPrefix(n.Value, "__"):
		hint := DidYouMean(n.Value, append(slices.Clone(namespaces), fieldNames...))
		if hint == "" && strings.HasPrefix(n.Value, "event") {
			hint = `did you mean "event.…"?`
		}
		if slices.Contains(knownLists, n.Value) {
			hint = fmt.Sprintf("ask a list with one_of_list(%q, source.ip)", n.Value)
		}
		a.fault(n, hint, "unknown name %q", n.Value)
	case kind == reflect.Struct:
		a.fault(n, "", "%s is a group of fields, not a value: write %s.<field>", n.Value, n.Value)
	case kind == reflect.Func:
		a.fault(n, "", "%s is a function: call it with (…)", n.Value)
	}
}

func (a *analyser) namespace(n ast.Node, name string) {
	switch name {
	case "policy", "trust":
		a.policy = true
		switch {
		case !a.may.policy:
			a.fault(n, "", "policy facts cannot be read here: they are known only when the event is decided in order")
		case a.may.late:
			a.warn(n, "the match, and what the detector observes, can read them", "of a detector's verdict no policy fact is known: %s.* is empty or false here", name)
		}
	case "lineage":
		a.lineage = true
		if !a.may.policy {
			a.fault(n, "", "lineage cannot be read here: it is known only when the event is decided in order")
		}
	case "verdict":
		a.verdict = true
		if !a.may.verdict {
			a.fault(n, "", "verdict can be read only in the texts and severity of a rule with a detector")
		}
	}
}

func (a *analyser) call(n *ast.CallNode) {
	if name, ok := path(n.Callee); ok && name == "policy.adds" {
		a.addsPattern(n)
		return
	}
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		a.fault(n, "", "only functions can be called")
		return
	}
	kind, known := fieldTypes[id.Value]
	if !known || kind != reflect.Func {
		a.fault(id, DidYouMean(id.Value, append(slices.Clone(fieldNames), builtins...)), "unknown function %q", id.Value)
		return
	}
	a.arguments(n, id.Value)
}

// addsPattern looks at the one argument of policy.adds.
func (a *analyser) addsPattern(n *ast.CallNode) {
	a.namespace(n, "policy")
	if len(n.Arguments) != 1 {
		a.fault(n, `policy.adds("ram:*")`, "policy.adds needs one pattern of actions")
		return
	}
	if s, ok := n.Arguments[0].(*ast.StringNode); !ok || strings.Count(s.Value, ":") > 1 || s.Value == "" || !strings.ContainsAny(s.Value, ":*") {
		a.fault(n.Arguments[0], `policy.adds("ram:*")`, "the pattern of policy.adds must be a constant text like \"ram:*\"")
	}
}

// arguments looks at what a function is given, as far as it has to be constant.
func (a *analyser) arguments(n *ast.CallNode, fn string) {
	switch fn {
	case "in_cidr":
		a.networks(n)
	case "one_of_list", "has_list":
		if name, ok := a.first(n, fn, "list"); ok && !slices.Contains(knownLists, name) {
			hint := DidYouMean(name, knownLists)
			a.warn(n.Arguments[0], hint, "list %q has no meaning of its own: it works only where it is configured", name)
		}
	case "param", "has_param", "param_is":
		if name, ok := a.first(n, fn, "parameter"); ok && !knownParam(name) {
			a.warn(n.Arguments[0], DidYouMean(name, params), "parameter %q is not in the catalogue", name)
		}
	case "param_num":
		a.first(n, fn, "parameter")
		if len(n.Arguments) == 2 {
			if _, ok := number(n.Arguments[1]); !ok {
				a.fault(n.Arguments[1], "", "the default of param_num must be a constant number")
			}
		}
	case "resp", "extra", "field":
		a.first(n, fn, "path")
	case "contains_any":
		if len(n.Arguments) == 2 {
			lits, ok := literals(n.Arguments[1])
			if !ok || len(lits) == 0 {
				a.fault(n.Arguments[1], "", "the words of contains_any must be a list of constant texts")
			}
			for _, l := range lits {
				if l.Value == "" {
					a.fault(l, "", "every text contains an empty word")
				}
			}
		}
	case "param_any":
		a.first(n, fn, "prefix")
		if len(n.Arguments) == 3 {
			if _, ok := n.Arguments[1].(*ast.StringNode); !ok {
				a.fault(n.Arguments[1], "", "the suffix of param_any must be a constant text")
			}
			if _, ok := literals(n.Arguments[2]); !ok {
				a.fault(n.Arguments[2], "", "the values of param_any must be a list of constant texts")
			}
		}
	}
}

// first is the first argument of a function, which has to be a constant text.
func (a *analyser) first(n *ast.CallNode, fn, what string) (string, bool) {
	if len(n.Arguments) == 0 {
		return "", false
	}
	s, ok := n.Arguments[0].(*ast.StringNode)
	if _, element := n.Arguments[0].(*ast.PointerNode); element && fn != "param_num" && fn != "param_any" {
		return "", false // the element of a list: any(["A", "B"], param(#) == "x")
	}
	if !ok {
		a.fault(n.Arguments[0], inQuotes(n.Arguments[0]), "the %s of %s must be a constant text", what, fn)
		return "", false
	}
	return s.Value, true
}

// networks looks at what in_cidr compares an address with.
func (a *analyser) networks(n *ast.CallNode) {
	if len(n.Arguments) < 2 {
		a.fault(n, `in_cidr(source.ip, "10.0.0.0/8")`, "in_cidr needs an address and at least one network")
		return
	}
	for _, arg := range n.Arguments[1:] {
		s, ok := arg.(*ast.StringNode)
		if !ok {
			a.fault(arg, inQuotes(arg), "the network of in_cidr must be a constant text")
		} else if _, ok := parseNetwork(s.Value); !ok {
			a.fault(arg, `write "203.0.113.0/24" or a single address`, "%q is not a network", s.Value)
		}
	}
}

// inQuotes is the hint about a name that was meant as a text; "" for what has a
// sense without quotes, and for a list, which has a hint of its own.
func inQuotes(n ast.Node) string {
	if id, ok := n.(*ast.IdentifierNode); ok && !slices.Contains(knownLists, id.Value) {
		if _, known := fieldTypes[id.Value]; !known {
			return fmt.Sprintf("write %q", id.Value)
		}
	}
	return ""
}

// literals returns the texts of a constant text or list of them.
func literals(n ast.Node) ([]*ast.StringNode, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return []*ast.StringNode{n}, true
	case *ast.ArrayNode:
		out := make([]*ast.StringNode, 0, len(n.Nodes))
		for _, x := range n.Nodes {
			s, ok := x.(*ast.StringNode)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

func number(n ast.Node) (float64, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return float64(n.Value), true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.UnaryNode:
		if x, ok := number(n.Node); ok && n.Operator == "-" {
			return -x, true
		}
	}
	return 0, false
}

// binary checks an operator and the constants that a field is compared with.
func (a *analyser) binary(n *ast.BinaryNode) {
	switch n.Operator {
	case "..":
		a.fault(n, "write two comparisons: x >= 1 && x <= 3", "ranges are not allowed in rules")
		return
	case "matches":
		s, ok := n.Right.(*ast.StringNode)
		if !ok {
			a.fault(n.Right, "", "a pattern must be a constant text")
			return
		}
		if _, err := regexp.Compile(s.Value); err != nil {
			a.fault(n.Right, "", "the pattern is not valid: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return
	case "==", "!=", "in", "startsWith", "endsWith", "contains":
	default:
		return
	}
	name, ok := path(n.Left)
	values, lit := literals(n.Right)
	if !ok || !lit {
		if n.Operator != "==" && n.Operator != "!=" {
			return
		}
		if name, ok = path(n.Right); !ok {
			return
		}
		if values, lit = literals(n.Left); !lit {
			return
		}
	}
	if _, isText := fieldTypes[name]; !isText {
		return
	}
	whole := n.Operator == "==" || n.Operator == "!=" || n.Operator == "in"
	for _, v := range values {
		a.literal(name, v, n.Operator, whole)
	}
}

// literal checks one constant that a field is compared with.
func (a *analyser) literal(name string, v *ast.StringNode, op string, whole bool) {
	switch name {
	case "action":
		a.action(v, op, whole)
		return
	case "event.name":
		if whole && v.Value != "" {
			if spelling, ok := event.KnownEvent(v.Value); !ok {
				a.fault(v, DidYouMean(v.Value, event.KnownEvents()), "unknown event name %q", v.Value)
			} else if spelling != v.Value {
				a.warn(v, fmt.Sprintf("the cloud writes %q", spelling), "event name %q in another letter case", v.Value)
			}
		}
		return
	case "event.service":
		if whole && v.Value != "" && !slices.ContainsFunc(services, func(s string) bool { return strings.EqualFold(s, v.Value) }) {
			// There are more services than the catalogue knows.
			a.warn(v, DidYouMean(v.Value, services), "service %q is not in the catalogue", v.Value)
		}
		return
	}
	if name == "source.ip" {
		if strings.Contains(v.Value, "/") {
			a.fault(v, fmt.Sprintf("in_cidr(source.ip, %q)", v.Value), "source.ip is one address: it is never %q, and holds no network", v.Value)
		} else if whole && v.Value != "" && !isAddr(v.Value) {
			a.fault(v, "what is written there, such as a service's name, is source.text", "source.ip is an address or empty: it is never %q", v.Value)
		}
	}
	if !whole {
		return
	}
	if name == "source.country" && v.Value != "" && len(v.Value) != 2 {
		a.warn(v, "it has two letters, such as CN", "source.country is never %q", v.Value)
	}
	var words []string
	open := false
	switch name {
	case "event.type":
		words, open = eventTypes, true
	case "event.category":
		words, open = eventCategories, true
	case "actor.production", "target.production":
		words = productionWords
	case "policy.verdict":
		words = []string{"", "expands", "contracts", "changes", "equivalent", "unknown"}
	case "policy.severity":
		words = append([]string{""}, alert.Severities()...)
	default:
		f, ok := detectors.ClosedField(name)
		if !ok || fieldTypes[name] != reflect.String || f.Words[0] == "false" {
			if s := strings.TrimSpace(v.Value); s != v.Value && s != "" && name != "event.user_agent" && name != "event.error_message" {
				a.warn(v, fmt.Sprintf("write %q", s), "%q begins or ends with a space, and is compared with it: names, ids and codes have none there", v.Value)
			}
			return
		}
		words = f.Words
	}
	if slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, v.Value) }) {
		return
	}
	if open {
		a.warn(v, DidYouMean(v.Value, words), "%s is seldom %q", name, v.Value)
		return
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	hint := DidYouMean(v.Value, words)
	if hint == "" {
		hint = "it is one of " + strings.Join(quoted, ", ")
	}
	a.fault(v, hint, "%s is never %q", name, v.Value)
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (a *analyser) action(v *ast.StringNode, op string, whole bool) {
	low := strings.ToLower(v.Value)
	match := func(s string) bool {
		switch op {
		case "startsWith":
			return strings.HasPrefix(s, low)
		case "endsWith":
			return strings.HasSuffix(s, low)
		case "contains":
			return strings.Contains(s, low)
		default:
			return s == low
		}
	}
	if whole && low == "" || slices.ContainsFunc(actions, match) {
		return
	}
	hint := DidYouMean(v.Value, actions)
	if hint == "" {
		if act := event.EventNames(event.Action(low)); len(act) == 0 {
			if spelling, ok := event.KnownEvent(v.Value); ok {
				hint = fmt.Sprintf("%q is an event name: compare event.name", spelling)
			}
		}
	}
	if !whole {
		a.fault(v, hint, "no action %s %q", op, v.Value)
		return
	}
	a.fault(v, hint, "unknown action %q", v.Value)
}

var actions = func() []string {
	var out []string
	for _, a := range event.Actions() {
		out = append(out, string(a))
	}
	slices.Sort(out)
	return slices.Compact(out)
}()

var services = func() []string {
	var out []string
	for _, a := range event.Actions() {
		out = append(out, event.Services(a)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}()
