package rules

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// The limits of rendered texts, in characters.
const (
	maxValue  = 128
	maxPolicy = 480 // of what a change of permissions means: cut short, it would not say why
	maxTitle  = 200
	maxReason = 1200
)

// template is a text with {expressions} in it.
type template struct {
	parts   []part
	verdict bool // mentions the detector's verdict
	policy  bool
	tame    bool // what stands between the expressions is safe to show
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
	out.tame = !slices.ContainsFunc(out.parts, func(p part) bool { return spelled(p.text) != p.text })
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
	out := s.line[:0]
	for i := range t.parts {
		p := &t.parts[i]
		if p.code == nil {
			out = append(out, p.text...)
			continue
		}
		v, err := s.shown(p.code)
		if err != nil {
			return "", err
		}
		if v == "" && !p.code.blank {
			if v = "unknown"; s.zh {
				v = "未知"
			}
		}
		out = append(out, v...)
	}
	s.line = out
	if t.tame && len(out) <= 16*limit { // values are tame, too
		return shorten(string(out), limit), nil
	}
	return tame(string(out), limit), nil
}

// shownValue is what an expression says of the event at hand, as people see it.
type shownValue struct {
	of   *program
	text string
}

// shown evaluates an expression of a text. What is the same in both languages
// is worked out once for all texts of a detection.
func (s *session) shown(p *program) (string, error) {
	for i := range s.values {
		if s.values[i].of == p {
			return s.values[i].text, nil
		}
	}
	v, err := s.scalar(p)
	if err != nil {
		return "", err
	}
	limit := maxValue
	if p.policy {
		limit = maxPolicy
	}
	space := p.blank && strings.HasPrefix(v, " ")
	if v = tame(v, limit); space && v != "" {
		v = " " + v // it goes on where the text stopped
	}
	if !p.verdict && !p.policy {
		s.values = append(s.values, shownValue{p, v})
	}
	return v, nil
}

// tame makes a text from a record safe to show in one line: control and
// invisible characters become a visible mark, the length is bounded.
func tame(s string, limit int) string {
	if len(s) > 16*limit {
		s = s[:16*limit] // far more than limit characters can take
	}
	if !plain(s) {
		s = spelled(s)
	}
	return shorten(s, limit)
}

// plain says that a text is of printable ASCII, of which nothing is hostile.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

var spaces = strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ")

// spelled is a text in one line without what is hostile in it.
func spelled(s string) string {
	if strings.ContainsAny(s, "\n\t") {
		s = spaces.Replace(s)
	}
	return clean(s)
}

// shorten takes blanks off the ends of a text, and then what is over limit
// characters.
func shorten(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) <= limit || utf8.RuneCountInString(s) <= limit {
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
