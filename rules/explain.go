package rules

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Explain says, part by part, why a rule did or did not match an event: each
// part of the condition with its value and the values of the fields in it.
// Policy facts are unknown here. An unknown rule gives an error.
func (s *Set) Explain(id string, ev *event.Event) ([]string, error) {
	for _, r := range s.all {
		if r.id() == id {
			return s.only(r, nil).explain(r, ev), nil
		}
	}
	known := make([]string, len(s.all))
	for i, r := range s.all {
		known[i] = r.id()
	}
	return nil, fmt.Errorf("there is no rule %q%s", id, orMeant(id, known))
}

func (s *Set) explain(r *rule, ev *event.Event) []string {
	sess := newSession(s)
	sess.Begin(ev)
	if j := s.newJudge(); j != nil && detectors.PolicyAction(ev.Action) {
		// A judge without history: what the event alone says.
		sess.SetPolicy(j.Judge(ev))
	}
	c := &compiler{tables: &tables{}, cache: make(map[string]*program)}
	var out []string
	if r.match != nil {
		out = append(out, s.parts(sess, c, "", r.match.src)...)
	}
	for _, st := range r.steps {
		out = append(out, s.parts(sess, c, "step "+st.name+": ", st.match.src)...)
	}
	return out
}

// parts evaluates the parts that and, or and not join.
func (s *Set) parts(sess *session, c *compiler, prefix, src string) []string {
	tree, err := parser.Parse(src)
	if err != nil {
		return nil
	}
	var out []string
	mark := func(v string) string {
		if v == "true" {
			return "✓ "
		}
		return "✗ "
	}
	var walk func(n ast.Node, depth int)
	walk = func(n ast.Node, depth int) {
		pad := prefix + strings.Repeat("  ", depth)
		value := s.value(sess, c, n.String(), useMatch)
		switch x := n.(type) {
		case *ast.BinaryNode:
			if word := joins(x); word != "" {
				out = append(out, pad+mark(value)+word)
				for _, part := range chain(n, word) {
					walk(part, depth+1)
				}
				return
			}
		case *ast.UnaryNode:
			if b, ok := x.Node.(*ast.BinaryNode); ok && joins(b) != "" && (x.Operator == "!" || x.Operator == "not") {
				out = append(out, pad+mark(value)+"not")
				walk(b, depth+1)
				return
			}
		}
		line := pad + mark(value) + n.String()
		if value != "true" && value != "false" {
			line += " is " + value
		}
		var fields []string
		for _, name := range fieldsIn(n) {
			fields = append(fields, name+" = "+s.value(sess, c, name, useShown))
		}
		if len(fields) > 0 {
			line += "  (" + strings.Join(fields, ", ") + ")"
		}
		out = append(out, clean(line))
	}
	walk(tree.Node, 0)
	return out
}

// joins words what a node joins its sides with, when it is and or or.
func joins(n *ast.BinaryNode) string {
	switch n.Operator {
	case "and", "&&":
		return "all of"
	case "or", "||":
		return "any of"
	}
	return ""
}

// chain lists the parts of a and b and c.
func chain(n ast.Node, word string) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && joins(b) == word {
		return append(chain(b.Left, word), chain(b.Right, word)...)
	}
	return []ast.Node{n}
}

// value evaluates a text on the session's event with a table of its own.
func (s *Set) value(sess *session, c *compiler, src string, u use) string {
	p, faults := c.compile(src, u, allowed{policy: true, verdict: true})
	if p == nil {
		if len(faults) > 0 {
			return "not known: " + faults[0].msg
		}
		return "not known"
	}
	// The part's constants are in the compiler's tables, not in the set's.
	local := *sess.set
	local.tables = c.tables
	old := sess.set
	sess.set = &local
	defer func() { sess.set = old }()
	out, err := sess.run(p.code)
	if err != nil {
		return "an error: " + firstLine(err.Error())
	}
	switch out := out.(type) {
	case string:
		return fmt.Sprintf("%q", tame(out, 80))
	case []string:
		return tame(fmt.Sprintf("%q", out), 200)
	}
	return fmt.Sprint(out)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// fieldsIn lists the fields and constant calls in an expression, each once.
func fieldsIn(n ast.Node) []string {
	v := &fieldLister{seen: map[string]bool{}}
	ast.Walk(&n, v)
	return v.out
}

type fieldLister struct {
	seen map[string]bool
	out  []string
}

// Visit implements ast.Visitor.
func (v *fieldLister) Visit(node *ast.Node) {
	var name string
	switch n := (*node).(type) {
	case *ast.MemberNode:
		name, _ = path(n)
	case *ast.IdentifierNode:
		if k, ok := fieldTypes[n.Value]; ok && k.String() == "string" {
			name = n.Value
		}
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			switch id.Value {
			case "param", "resp", "extra", "field", "resource":
				// One that asks for each element in turn has no value of its own.
				if text := n.String(); !strings.Contains(text, "(#") {
					name = text
				}
			}
		}
	}
	if name != "" && !v.seen[name] {
		v.seen[name] = true
		v.out = append(v.out, name)
	}
}
