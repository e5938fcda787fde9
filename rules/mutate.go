package rules

import (
	"context"
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
// without patterns), and runs the rule's tests. When ctx ends it returns what it
// has so far.
func Mutate(ctx context.Context, set *Set, patterns ...string) []Mutant {
	var out []Mutant
	for _, r := range set.matching(patterns) {
		for _, m := range set.mutants(r) {
			if ctx.Err() != nil {
				return out
			}
			m.Killed = m.killed()
			out = append(out, m.Mutant)
		}
	}
	return out
}

// matching lists the rules whose id one of the patterns matches, all without
// patterns.
func (s *Set) matching(patterns []string) []*rule {
	if len(patterns) == 0 {
		return s.all
	}
	var out []*rule
	for _, r := range s.all {
		if slices.ContainsFunc(patterns, func(p string) bool { return globID(p, r.id()) }) {
			out = append(out, r)
		}
	}
	return out
}

// mutant is a Mutant that can be run.
type mutant struct {
	Mutant
	set     *Set     // the rules' set with the mutant's constants
	rule    *rule    // nil when what is left is no condition
	was, is *program // the condition that was changed
	node    ast.Node // the part
	or      bool     // the part was one of several alternatives
}

// mutants makes every mutant of a rule.
func (s *Set) mutants(r *rule) []mutant {
	var out []mutant
	if r.match != nil {
		out = append(out, s.mutantsOf(r, r.match, r.doc.Match, func(c *rule, p *program) { c.match = p })...)
	}
	for i := range r.steps {
		out = append(out, s.mutantsOf(r, r.steps[i].match, r.steps[i].src, func(c *rule, p *program) {
			c.steps = slices.Clone(c.steps)
			c.steps[i].match = p
		})...)
	}
	return out
}

func (s *Set) mutantsOf(r *rule, p *program, where text, put func(*rule, *program)) []mutant {
	var out []mutant
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
		m := mutant{Mutant: Mutant{Rule: r.id(), File: r.file.path, Line: at.line, Column: at.column, Part: node.String()},
			was: p, node: node, or: !part.neutral}
		*part.node = &ast.BoolNode{Value: part.neutral}
		s.compileMutant(&m, r, tree.Node.String(), put)
		out = append(out, m)
	}
}

func (s *Set) compileMutant(m *mutant, r *rule, src string, put func(*rule, *program)) {
	local := *s
	tables := *s.tables
	local.tables = &tables
	c := &compiler{tables: &tables, cache: make(map[string]*program)}
	m.is, _ = c.compile(src, useMatch, allowed{policy: true, verdict: true})
	if m.is == nil {
		return // what is left is no condition: nobody could write it
	}
	changed := *r
	put(&changed, m.is)
	changed.cond = changed.condition()
	m.set, m.rule = &local, &changed
}

// killed says whether a test of the rule fails with the mutant's condition.
func (m *mutant) killed() bool {
	if m.rule == nil {
		return true
	}
	tests := m.rule.tests()
	for i := range tests {
		if res := m.set.runTest(m.rule, &tests[i]); !res.Pass {
			return true
		}
	}
	return false
}

// condition joins what the index may know of a rule.
func (r *rule) condition() detectors.Cond {
	if r.signals != nil {
		return detectors.Const(false) // never met by an event itself
	}
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
