package rules

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// The limits of rendered texts, in characters.
const (
	maxValue  = 128
	maxTitle  = 200
	maxReason = 1200
)

// template is a text with {expressions} in it.
type template struct {
	parts   []part
	verdict bool // mentions the detector's verdict
	policy  bool
}

type part struct {
	text string
	code *program // nil for plain text
}

// template compiles a text. Braces in it are written {{ and }}.
func (c *compiler) template(f *file, t text, may allowed) *template {
	out := &template{}
	rs := []rune(t.value)
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			out.parts = append(out.parts, part{text: plain.String()})
			plain.Reset()
		}
	}
	ok := true
	bad := func(at int, hint, msg string) {
		where := f.places(t.node)
		p := where[min(at, len(where)-1)]
		f.at(p.line, p.column, hint, "%s", msg)
		ok = false
	}
	for i := 0; i < len(rs); i++ {
		switch {
		case rs[i] == '{' && i+1 < len(rs) && rs[i+1] == '{', rs[i] == '}' && i+1 < len(rs) && rs[i+1] == '}':
			plain.WriteRune(rs[i])
			i++
		case rs[i] == '}':
			bad(i, "write }} for a brace in the text", "a } without its {")
		case rs[i] == '{':
			end := closing(rs, i+1)
			if end < 0 {
				bad(i, "write {{ for a brace in the text", "a { without its }")
				i = len(rs)
				break
			}
			flush()
			src := string(rs[i+1 : end])
			p := c.expression(f, t, src, i+1, useText, may)
			if p == nil {
				ok = false
			} else {
				out.parts = append(out.parts, part{code: p})
				out.verdict = out.verdict || p.verdict
				out.policy = out.policy || p.policy
			}
			i = end
		default:
			plain.WriteRune(rs[i])
		}
	}
	flush()
	if !ok {
		return nil
	}
	return out
}

// plainly says that the text does not tell what the detector says.
func (t *template) plainly() bool {
	plain := true
	t.reads(func(name string) { plain = plain && name != "verdict.reason" })
	return plain
}

// reads calls back with the name of every field and function that the
// expressions mention.
func (t *template) reads(name func(string)) {
	if t == nil {
		return
	}
	for _, p := range t.parts {
		if p.code == nil {
			continue
		}
		for _, n := range p.code.names {
			name(n)
		}
	}
}

// mentioned are the names of the fields and functions that an expression mentions.
func mentioned(n ast.Node) (names []string) {
	ast.Walk(&n, visitor(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.MemberNode:
			if base, ok := n.Node.(*ast.IdentifierNode); ok {
				if member, ok := n.Property.(*ast.StringNode); ok {
					names = append(names, base.Value+"."+member.Value)
				}
			}
		case *ast.CallNode:
			if fn, ok := n.Callee.(*ast.IdentifierNode); ok && len(n.Arguments) > 0 {
				if arg, ok := n.Arguments[0].(*ast.StringNode); ok {
					names = append(names, fn.Value+"("+strconv.Quote(strings.ToLower(arg.Value))+")")
				}
			}
		}
	}))
	return names
}

// closing finds the brace that ends an expression, past texts in quotes.
func closing(rs []rune, from int) int {
	var quote rune
	for i := from; i < len(rs); i++ {
		switch r := rs[i]; {
		case quote != 0:
			if r == '\\' && quote != '`' {
				i++
			} else if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'' || r == '`':
			quote = r
		case r == '}':
			return i
		}
	}
	return -1
}

// render fills a template from the current event.
func (s *session) render(t *template, limit int) (string, error) {
	var b strings.Builder
	for i := range t.parts {
		p := &t.parts[i]
		if p.code == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := s.scalar(p.code)
		if err != nil {
			return "", err
		}
		if v = tame(v, maxValue); v == "" {
			if v = "unknown"; s.zh {
				v = "未知"
			}
		}
		b.WriteString(v)
	}
	return tame(b.String(), limit), nil
}

var spaces = strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ")

// tame makes a text from a record safe to show in one line: control and
// invisible characters become a visible mark, the length is bounded.
func tame(s string, limit int) string {
	if len(s) > 16*limit {
		s = s[:16*limit] // far more than limit characters can take
	}
	s = strings.TrimSpace(clean(spaces.Replace(s)))
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == limit {
			return s[:i] + "…"
		}
	}
	return s
}
