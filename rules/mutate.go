package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/trailwarden/trailwarden/detectors"
)

// Mutant is a rule with one part of its condition left out, and whether a
// test of the rule notices. A part that no test notices is not tested.
type Mutant struct {
	Rule   string `json:"rule"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Part   string `json:"part"` // what was left out
	Killed bool   `json:"killed"`
}

// Mutate leaves out, one at a time, each part of each and and or in the
// conditions of the rules whose id one of the patterns matches (of all rules
// without patterns), and runs the rule's tests.
func Mutate(set *Set, patterns ...string) []Mutant {
	var out []Mutant
	for _, r := range set.all {
		if len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p string) bool { return globID(p, r.id()) }) {
			continue
		}
		if r.match != nil {
			out = append(out, set.mutate(r, r.match, r.doc.Match, func(c *rule, p *program) { c.match = p })...)
		}
		for i := range r.steps {
			out = append(out, set.mutate(r, r.steps[i].match, r.steps[i].src, func(c *rule, p *program) {
				c.steps = slices.Clone(c.steps)
				c.steps[i].match = p
			})...)
		}
	}
	return out
}

func (s *Set) mutate(r *rule, p *program, where text, put func(*rule, *program)) []Mutant {
	var out []Mutant
	for k := 0; ; k++ {
		tree, err := parser.Parse(p.src)
		if err != nil {
			return out
		}
		parts := &partLister{}
		parts.walk(&tree.Node)
		if k >= len(parts.parts) {
			return out
		}
		part := parts.parts[k]
		node := *part.node
		places := r.file.places(where.node)
		at := places[min(first(node), len(places)-1)]
		m := Mutant{Rule: r.id(), File: r.file.path, Line: at.line, Column: at.column, Part: node.String()}
		*part.node = &ast.BoolNode{Value: part.neutral}
		m.Killed = s.kills(r, tree.Node.String(), put)
		out = append(out, m)
	}
}

// kills says whether a test of the rule fails with another condition.
func (s *Set) kills(r *rule, src string, put func(*rule, *program)) bool {
	local := *s
	tables := *s.tables
	local.tables = &tables
	c := &compiler{tables: &tables, cache: make(map[string]*program)}
	p, _ := c.compile(src, useMatch, allowed{policy: true, verdict: true})
	if p == nil {
		return true // what is left is no condition: nobody could write it
	}
	mutant := *r
	put(&mutant, p)
	mutant.cond = mutant.condition()
	for i := range mutant.tests {
		if res := local.runTest(&mutant, &mutant.tests[i]); !res.Pass {
			return true
		}
	}
	return false
}

// condition joins what the index may know of a rule.
func (r *rule) condition() detectors.Cond {
	c := detectors.Const(true)
	if r.match != nil {
		c = r.match.cond
	}
	var any []detectors.Cond
	for _, s := range r.steps {
		any = append(any, s.match.cond)
	}
	if len(any) > 0 {
		c = detectors.And(c, detectors.Or(any...))
	}
	return c
}

// partLister collects the parts that and and or join, with the value that
// makes each of no effect.
type partLister struct {
	parts []struct {
		node    *ast.Node
		neutral bool
	}
}

func (l *partLister) walk(n *ast.Node) {
	switch x := (*n).(type) {
	case *ast.BinaryNode:
		word := joins(x)
		if word == "" {
			return
		}
		for _, side := range []*ast.Node{&x.Left, &x.Right} {
			if b, ok := (*side).(*ast.BinaryNode); !ok || joins(b) != word {
				l.parts = append(l.parts, struct {
					node    *ast.Node
					neutral bool
				}{side, word == "all of"})
			}
			l.walk(side)
		}
	case *ast.UnaryNode:
		l.walk(&x.Node)
	case *ast.ConditionalNode:
		l.walk(&x.Cond)
		l.walk(&x.Exp1)
		l.walk(&x.Exp2)
	}
}

// first is the place of the first character of an expression.
func first(n ast.Node) int {
	v := &firstPlace{at: n.Location().From}
	ast.Walk(&n, v)
	return v.at
}

type firstPlace struct{ at int }

// Visit implements ast.Visitor.
func (v *firstPlace) Visit(n *ast.Node) { v.at = min(v.at, (*n).Location().From) }
