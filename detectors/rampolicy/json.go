package rampolicy

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// node is a JSON value with the place where it stands.
type node struct {
	kind    byte // '{' '[' '"' '0' 't' 'f' 'n'
	at      int  // byte offset
	text    string
	members []member
	items   []node
}

type member struct {
	key string
	at  int
	val node
}

// ParseError says what in a policy document cannot be read, and where.
type ParseError struct {
	Line, Column int // from 1; 0 when the fault has no place
	Path         string
	Msg          string
}

func (e *ParseError) Error() string {
	var b strings.Builder
	b.WriteString("policy document")
	if e.Line > 0 {
		fmt.Fprintf(&b, ", line %d, column %d", e.Line, e.Column)
	}
	if e.Path != "" {
		fmt.Fprintf(&b, ", %s", e.Path)
	}
	return b.String() + ": " + e.Msg
}

// place turns an offset into a line and a column in characters.
func place(text string, at int) (line, column int) {
	at = min(at, len(text))
	head := text[:at]
	line = 1 + strings.Count(head, "\n")
	return line, 1 + utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:])
}

// maxDepth is more than any document needs: the document, its statements, a
// statement, its conditions, an operator, a list of values.
const maxDepth = 16

type reader struct {
	text  string
	i     int
	nodes int
}

// maxNodes bounds the memory of a parsed document.
const maxNodes = 20_000

func (r *reader) fail(at int, format string, args ...any) error {
	line, column := place(r.text, at)
	return &ParseError{Line: line, Column: column, Msg: fmt.Sprintf(format, args...)}
}

func (r *reader) space() {
	for r.i < len(r.text) {
		switch r.text[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func readJSON(text string) (node, error) {
	r := &reader{text: text}
	n, err := r.value(0)
	if err != nil {
		return node{}, err
	}
	if r.space(); r.i < len(text) {
		return node{}, r.fail(r.i, "more text follows the document")
	}
	return n, nil
}

func (r *reader) value(depth int) (node, error) {
	r.space()
	if r.i >= len(r.text) {
		return node{}, r.fail(r.i, "the document ends where a value should stand")
	}
	if depth > maxDepth {
		return node{}, r.fail(r.i, "nested deeper than %d levels", maxDepth)
	}
	if r.nodes++; r.nodes > maxNodes {
		return node{}, r.fail(r.i, "more than %d values", maxNodes)
	}
	at := r.i
	switch c := r.text[r.i]; c {
	case '{':
		r.i++
		n := node{kind: '{', at: at}
		for first := true; ; first = false {
			r.space()
			if r.i < len(r.text) && r.text[r.i] == '}' {
				if !first {
					return node{}, r.fail(r.i, "a comma stands before the closing brace")
				}
				r.i++
				return n, nil
			}
			m := member{at: r.i}
			key, err := r.str()
			if err != nil {
				return node{}, err
			}
			m.key = key
			if r.space(); r.i >= len(r.text) || r.text[r.i] != ':' {
				return node{}, r.fail(r.i, "want a colon after %q", clip(key))
			}
			r.i++
			if m.val, err = r.value(depth + 1); err != nil {
				return node{}, err
			}
			n.members = append(n.members, m)
			if end, err := r.next('}'); err != nil {
				return node{}, err
			} else if end {
				return n, nil
			}
		}
	case '[':
		r.i++
		n := node{kind: '[', at: at}
		for first := true; ; first = false {
			r.space()
			if r.i < len(r.text) && r.text[r.i] == ']' {
				if !first {
					return node{}, r.fail(r.i, "a comma stands before the closing bracket")
				}
				r.i++
				return n, nil
			}
			v, err := r.value(depth + 1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, v)
			if end, err := r.next(']'); err != nil {
				return node{}, err
			} else if end {
				return n, nil
			}
		}
	case '"':
		s, err := r.str()
		return node{kind: '"', at: at, text: s}, err
	default:
		end := r.i
		for end < len(r.text) && !strings.ContainsRune(" \t\r\n,:]}{[\"", rune(r.text[end])) {
			end++
		}
		word := r.text[r.i:end]
		if word == "" || !json.Valid([]byte(word)) {
			return node{}, r.fail(at, "%q is no JSON value", clip(word))
		}
		r.i = end
		kind := word[0]
		if kind != 't' && kind != 'f' && kind != 'n' {
			kind = '0'
		}
		return node{kind: kind, at: at, text: word}, nil
	}
}

// next reads a comma, or the closing character.
func (r *reader) next(closing byte) (end bool, err error) {
	r.space()
	if r.i >= len(r.text) {
		return false, r.fail(r.i, "the document ends inside of a list or object")
	}
	switch r.text[r.i] {
	case closing:
		r.i++
		return true, nil
	case ',':
		r.i++
		return false, nil
	}
	return false, r.fail(r.i, "want a comma or %q", closing)
}

func (r *reader) str() (string, error) {
	at := r.i
	if r.i >= len(r.text) || r.text[r.i] != '"' {
		return "", r.fail(at, "want a string in double quotes")
	}
	for r.i++; r.i < len(r.text); r.i++ {
		switch r.text[r.i] {
		case '\\':
			r.i++
		case '"':
			r.i++
			var s string
			if err := json.Unmarshal([]byte(r.text[at:r.i]), &s); err != nil {
				return "", r.fail(at, "the string cannot be read: a control character or a bad escape")
			}
			return s, nil
		}
	}
	return "", r.fail(at, "the string has no end")
}

// clip bounds a hostile text in a message.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= 60 {
		return s
	}
	return string([]rune(s)[:60]) + "…"
}

// kindWord names a JSON value in a message.
func (n *node) kindWord() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a truth value"
}
