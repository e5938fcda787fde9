package rampolicy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Match says whether a pattern with '*' (any run of characters, also none)
// and '?' (one character) matches the whole of a text. Letter case counts.
func Match(pattern, text string) bool {
	p, t := 0, 0
	star, mark := -1, 0
	for t < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, t
			p++
			continue
		}
		if p < len(pattern) {
			pr, pn := utf8.DecodeRuneInString(pattern[p:])
			tr, tn := utf8.DecodeRuneInString(text[t:])
			if pr == '?' || pr == tr && (pr != utf8.RuneError || pattern[p] == text[t]) {
				p, t = p+pn, t+tn
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, n := utf8.DecodeRuneInString(text[mark:])
		mark += n
		p, t = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// The forms of globs. Most of what real documents hold is literals and
// prefixes, whose cells need no search.
const (
	formLiteral = iota // one text
	formPrefix         // all that begins with the lead
	formAll            // every text
	formOther
	formNone // no text: what it matches is tried both ways (analysis.holes)
)

// glob is a pattern made ready to be matched and split.
type glob struct {
	form int
	lead string  // what stands before the first wildcard
	toks []token // nil until needed, but for formOther
}

// newGlob reads a pattern. A literal has no wildcards, and a folded one
// matches in either letter case.
func newGlob(text string, literal, fold bool) glob {
	if fold && strings.IndexFunc(text, func(r rune) bool { return unicode.SimpleFold(r) != r }) >= 0 {
		g := glob{form: formOther, toks: tokens(text, literal, true)}
		g.lead = leadOf(g.toks)
		return g
	}
	i := -1
	if !literal {
		i = strings.IndexAny(text, "*?")
	}
	if i < 0 {
		return glob{form: formLiteral, lead: text}
	}
	g := glob{form: formOther, lead: text[:i]}
	if strings.Trim(text[i:], "*") == "" {
		if g.form = formPrefix; i == 0 {
			g.form = formAll
		}
		return g
	}
	g.toks = tokens(text, false, false)
	return g
}

// match says whether the glob matches the whole of a text.
func (g *glob) match(text string) bool {
	switch g.form {
	case formLiteral:
		return text == g.lead
	case formPrefix:
		return strings.HasPrefix(text, g.lead)
	case formAll:
		return true
	case formNone:
		return false
	}
	return strings.HasPrefix(text, g.lead) && matchTokens(g.toks, text)
}

// split returns the elements of the glob.
func (g *glob) split() []token {
	if g.toks == nil {
		g.toks = tokens(g.lead, true, false)
		if g.form != formLiteral {
			g.toks = append(g.toks, token{kind: '*'})
		}
	}
	return g.toks
}

// token is one element of a glob.
type token struct {
	kind byte // 'l' a letter, 'f' a letter in either case, '?' any one, '*' any run
	r    rune
}

// leadOf returns the letters that a glob begins with.
func leadOf(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		if t.kind != 'l' {
			break
		}
		b.WriteRune(t.r)
	}
	return b.String()
}

// tokens splits a pattern; runs of '*' are one. A literal has no wildcards, and
// a folded one matches in either letter case.
func tokens(pattern string, literal, fold bool) []token {
	out := make([]token, 0, len(pattern))
	for _, r := range pattern {
		switch {
		case !literal && r == '*':
			if n := len(out); n == 0 || out[n-1].kind != '*' {
				out = append(out, token{kind: '*'})
			}
		case !literal && r == '?':
			out = append(out, token{kind: '?'})
		case fold && unicode.SimpleFold(r) != r:
			out = append(out, token{kind: 'f', r: foldRune(r)})
		default:
			out = append(out, token{kind: 'l', r: r})
		}
	}
	return out
}

// accepts says whether a token that is not '*' reads the character.
func (t token) accepts(r rune) bool {
	switch t.kind {
	case 'l':
		return t.r == r
	case 'f':
		return t.r == foldRune(r)
	}
	return true
}

// matchTokens is Match for a split pattern.
func matchTokens(g []token, text string) bool {
	p, t := 0, 0
	star, mark := -1, 0
	for t < len(text) {
		r, n := utf8.DecodeRuneInString(text[t:])
		switch {
		case p < len(g) && g[p].kind == '*':
			star, mark = p, t
			p++
		case p < len(g) && g[p].accepts(r):
			p, t = p+1, t+n
		case star < 0:
			return false
		default:
			_, n := utf8.DecodeRuneInString(text[mark:])
			mark += n
			p, t = star+1, mark
		}
	}
	for p < len(g) && g[p].kind == '*' {
		p++
	}
	return p == len(g)
}

// foldRune returns the same character for all that differ in letter case
// only: the least of them.
func foldRune(r rune) rune {
	least := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		least = min(least, o)
	}
	return least
}
