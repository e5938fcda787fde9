package rules

import (
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/trailwarden/trailwarden/detectors"
)

// reach warns of parts of a condition that can have no effect: they contradict
// what has to hold beside them, stand there twice, or are always true.
func (l *linter) reach(t text) {
	tree, err := parser.Parse(t.value)
	if err != nil {
		return // it was compiled
	}
	c := &reacher{l: l, t: t}
	c.walk(tree.Node, map[string][]string{})
}

type reacher struct {
	l     *linter
	t     text
	where []place
}

func (c *reacher) warn(n ast.Node, hint, format string, args ...any) {
	if c.where == nil {
		c.where = c.l.r.file.places(c.t.node)
	}
	from := n.Location().From
	ast.Walk(&n, visitor(func(x ast.Node) { from = min(from, x.Location().From) }))
	p := c.where[min(from, len(c.where)-1)]
	c.l.out = append(c.l.out, c.l.r.file.fault(p.line, p.column, hint, format, args...))
}

type visitor func(ast.Node)

// Visit implements ast.Visitor.
func (v visitor) Visit(n *ast.Node) { v(*n) }

// oneOf reads a part that says of a field which of some words it is.
func oneOf(n ast.Node) (field string, words []string, ok bool) {
	b, isBinary := n.(*ast.BinaryNode)
	if !isBinary || b.Operator != "==" && b.Operator != "in" {
		return "", nil, false
	}
	field, ok = path(b.Left)
	lits, ok2 := literals(b.Right)
	if !ok || !ok2 {
		return "", nil, false
	}
	for _, x := range lits {
		words = append(words, strings.ToLower(x.Value))
	}
	return field, words, true
}

// walk looks at a condition that counts only where every field in known is one of
// its words.
func (c *reacher) walk(n ast.Node, known map[string][]string) {
	switch x := n.(type) {
	case *ast.ChainNode:
		c.walk(x.Node, known)
	case *ast.UnaryNode:
		c.walk(x.Node, map[string][]string{})
	case *ast.BinaryNode:
		word := joins(x)
		if word == "" {
			c.time(x)
			if field, words, ok := oneOf(x); ok && known[field] != nil && !overlap(words, known[field]) {
				c.warn(x, "", "%s is never %s here: beside it, it has to be %s", field, strings.Join(words, " or "), strings.Join(known[field], " or "))
			}
			return
		}
		parts := chain(x, word)
		c.twice(parts)
		c.times(x, parts, word == "all of")
		if word == "all of" {
			inner := maps.Clone(known)
			for _, p := range parts {
				field, words, ok := oneOf(p)
				if !ok {
					continue
				}
				if inner[field] == nil {
					inner[field] = words
					continue
				}
				both := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !slices.Contains(inner[field], w) })
				if len(both) == 0 {
					c.warn(p, "did you mean or?", "%s is never %s here: beside it, it has to be %s", field, strings.Join(words, " or "), strings.Join(inner[field], " or "))
					return
				}
				inner[field] = both
			}
			for _, p := range parts {
				if _, _, ok := oneOf(p); !ok {
					c.walk(p, inner)
				}
			}
			return
		}
		c.always(x, parts)
		for _, p := range parts {
			c.walk(p, known)
		}
	}
}

func (c *reacher) twice(parts []ast.Node) {
	seen := map[string]bool{}
	for _, p := range parts {
		text := p.String()
		if seen[text] {
			c.warn(p, "leave it out", "this part stands here twice")
		}
		seen[text] = true
	}
}

// always finds alternatives that leave out no word of a field.
func (c *reacher) always(n ast.Node, parts []ast.Node) {
	said := map[string][]string{}
	for _, p := range parts {
		if field, words, ok := oneOf(p); ok {
			said[field] = append(said[field], words...)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(said)) {
		f, ok := detectors.ClosedField(field)
		if !ok || f.Words[0] == "false" || fieldTypes[field].String() != "string" {
			continue
		}
		if !slices.ContainsFunc(f.Words, func(w string) bool { return !slices.Contains(said[field], strings.ToLower(w)) }) {
			c.warn(n, "leave it out", "this is always true: %s is one of these words in every event", field)
		}
	}
}

// clock are the fields that are one of a few numbers, with a bit for each number
// that there is, from -1 (no time) on.
var clock = map[string]uint32{"event.hour": 1<<25 - 1, "event.weekday": 1<<8 - 1}

// when reads a part that compares the hour or the day of the week with numbers:
// for which of them it holds.
func when(n ast.Node) (field string, held uint32, ok bool) {
	b, isBinary := n.(*ast.BinaryNode)
	if !isBinary {
		return "", 0, false
	}
	field, _ = path(b.Left)
	for i := range bits.Len32(clock[field]) {
		holds, known := compares(float64(i-1), b.Operator, b.Right)
		if !known {
			return "", 0, false
		}
		if holds {
			held |= 1 << i
		}
		ok = true
	}
	return field, held, ok
}

// compares says whether x compares with the numbers of n; known is false where it
// can not be said.
func compares(x float64, operator string, n ast.Node) (holds, known bool) {
	if list, ok := n.(*ast.ArrayNode); ok && operator == "in" {
		for _, e := range list.Nodes {
			same, ok := compares(x, "==", e)
			if !ok {
				return false, false
			}
			holds = holds || same
		}
		return holds, true
	}
	y, ok := number(n)
	if !ok {
		return false, false
	}
	switch operator {
	case "==":
		return x == y, true
	case "!=":
		return x != y, true
	case "<":
		return x < y, true
	case "<=":
		return x <= y, true
	case ">":
		return x > y, true
	case ">=":
		return x >= y, true
	}
	return false, false
}

// time looks at one comparison of the hour or the day of the week.
func (c *reacher) time(n ast.Node) {
	switch field, held, ok := when(n); {
	case !ok:
	case held == 0:
		c.warn(n, "event.hour is 0 to 23 and event.weekday 0 to 6, in UTC", "%s is never so", field)
	case held == clock[field]:
		c.warn(n, "leave it out", "this is always true: every %s is so", field)
	}
}

// times looks at several, of which all have to hold or any: a night is before
// midnight or after it, and never both.
func (c *reacher) times(n ast.Node, parts []ast.Node, all bool) {
	said := map[string]uint32{}
	for _, p := range parts {
		field, held, ok := when(p)
		if !ok || held == 0 || held == clock[field] {
			continue // said of the part itself
		}
		had, more := said[field]
		switch {
		case !more:
		case all:
			if held &= had; held == 0 {
				c.warn(p, "did you mean or?", "%s is never so here: no number is left by what stands beside it", field)
				return
			}
		default:
			if held |= had; held == clock[field] {
				c.warn(n, "did you mean and?", "this is always true: every %s is one of these", field)
				return
			}
		}
		said[field] = held
	}
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
