package rules

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a rule file.
const maxFile = 256 << 10

// maxFaults bounds the faults reported of one file.
const maxFaults = 100

// file is one rule file being read: its text for error positions, and every
// fault found in it.
type file struct {
	path  string
	lines []string
	errs  Errors
	limit int    // bytes; 0 is maxFile
	what  string // it holds, with its article; "" is a rule
}

func newFile(path string, data []byte) *file {
	text := strings.ReplaceAll(strings.ToValidUTF8(string(data), "\uFFFD"), "\r\n", "\n")
	return &file{path: path, lines: strings.Split(text, "\n")}
}

// at records a fault at a position. Every check of a rule file calls it: not inlined (DESIGN D23).
//
//go:noinline
func (f *file) at(line, column int, hint, format string, args ...any) {
	if len(f.errs) >= maxFaults {
		return // nobody reads more, and a hostile file could make millions
	}
	f.errs = append(f.errs, f.fault(line, column, hint, format, args...))
}

// also records faults that were found apart.
func (f *file) also(errs Errors) {
	f.errs = append(f.errs, errs[:min(len(errs), max(maxFaults-len(f.errs), 0))]...)
}

func (f *file) fault(line, column int, hint, format string, args ...any) *Error {
	e := &Error{File: f.path, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint}
	if line > 0 && line <= len(f.lines) {
		e.Source = f.lines[line-1]
	}
	return e
}

func (f *file) node(n *yaml.Node, hint, format string, args ...any) {
	f.at(n.Line, n.Column, hint, format, args...)
}

// parse reads the file into a tree of plain nodes: one document, no anchors,
// aliases, merge keys or tags, no key twice.
func (f *file) parse(data []byte) *yaml.Node {
	if limit := cmp.Or(f.limit, maxFile); len(data) > limit {
		f.at(0, 0, "", "the file has %d bytes: at most %d are read", len(data), limit)
		return nil
	}
	var doc yaml.Node
	loader, err := yaml.NewLoader(strings.NewReader(strings.Join(f.lines, "\n")))
	if err == nil {
		err = loader.Load(&doc)
	}
	what, start := f.what, ""
	if what == "" {
		what, start = "a rule", "start with `id:`; `trailwarden rules new` writes a template"
	}
	if errors.Is(err, io.EOF) {
		f.at(1, 1, start, "the file is empty")
		return nil
	}
	if err != nil {
		var le *yaml.LoadError
		if errors.As(err, &le) && le.Mark.Line > 0 {
			f.at(le.Mark.Line, max(le.Mark.Column, 1), "", "not valid YAML: %s", le.Message)
		} else if le != nil {
			f.at(0, 0, "", "not valid YAML: %s", le.Message)
		} else {
			f.at(0, 0, "", "not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		f.at(1, 1, start, "the file does not hold %s", what)
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		f.node(root, "", "%s is a mapping of keys, this is %s", what, kindOf(root))
		return nil
	}
	before := len(f.errs)
	f.plain(root, 0)
	var second yaml.Node
	if loader.Load(&second) == nil && !second.IsZero() {
		f.node(&second, "put it in a file of its own", "a second document: one %s a file", what[strings.IndexByte(what, ' ')+1:])
	}
	if len(f.errs) > before {
		return nil
	}
	return root
}

const maxDepth = 32

func (f *file) plain(n *yaml.Node, depth int) {
	switch {
	case depth > maxDepth:
		f.node(n, "", "nested more than %d deep", maxDepth)
		return
	case n.Kind == yaml.AliasNode:
		f.node(n, "write the value out", "aliases are not supported")
		return
	case n.Anchor != "":
		f.node(n, "write the value out", "anchors are not supported")
	case n.Style&yaml.TaggedStyle != 0:
		f.node(n, "leave the tag out", "tags are not supported")
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode {
				f.node(k, "", "a key must be a word, this is %s", kindOf(k))
				continue
			}
			if k.ShortTag() == "!!merge" {
				f.node(k, "write the keys out", "merge keys are not supported")
			}
			if line, twice := seen[k.Value]; twice {
				f.node(k, "", "key %q again: it stands on line %d already", k.Value, line)
			}
			seen[k.Value] = k.Line
		}
	}
	for _, c := range n.Content {
		f.plain(c, depth+1)
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return "empty"
		case "!!bool":
			return "a truth value"
		case "!!int", "!!float":
			return "a number"
		}
		return "text"
	default:
		return "something else"
	}
}

// text is a scalar of a rule file with its place, for expressions and
// templates.
type text struct {
	value string
	node  *yaml.Node
}

func (t text) set() bool { return t.node != nil }

var (
	textType     = reflect.TypeFor[text]()
	nodeType     = reflect.TypeFor[*yaml.Node]()
	durationType = reflect.TypeFor[time.Duration]()
)

func (f *file) value(n *yaml.Node, v reflect.Value, enum string) {
	t := v.Type()
	switch t {
	case textType:
		if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
			hint := ""
			if n.Kind == yaml.SequenceNode {
				hint = `one text; several parts of an expression are joined: actor.id + "|" + source.ip`
			}
			f.node(n, hint, "want text, this is %s", kindOf(n))
			return
		}
		f.word(n, enum)
		v.Set(reflect.ValueOf(text{value: n.Value, node: n}))
		return
	case nodeType:
		v.Set(reflect.ValueOf(n))
		return
	case durationType:
		d, err := ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			f.node(n, `write "90s", "10m", "24h" or "14d"`, "want a duration, this is %s", quoteOr(n))
			return
		}
		v.SetInt(int64(d))
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		p := reflect.New(t.Elem())
		f.value(n, p.Elem(), enum)
		v.Set(p)
	case reflect.Struct:
		f.structure(n, v)
	case reflect.Slice:
		list := []*yaml.Node{n} // one value may stand for a list of one
		if n.Kind == yaml.SequenceNode {
			list = n.Content
		} else if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || t.Elem().Kind() == reflect.Struct && t.Elem() != textType {
			f.node(n, "", "want a list, this is %s", kindOf(n))
			return
		}
		out := reflect.MakeSlice(t, len(list), len(list))
		for i, c := range list {
			f.value(c, out.Index(i), enum)
		}
		v.Set(out)
	case reflect.Map:
		if n.Kind != yaml.MappingNode || t.Key().Kind() != reflect.String {
			f.node(n, "", "want a mapping, this is %s", kindOf(n))
			return
		}
		out := reflect.MakeMap(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			c := reflect.New(t.Elem()).Elem()
			f.value(n.Content[i+1], c, enum)
			out.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(t.Key()), c)
		}
		v.Set(out)
	case reflect.Interface:
		v.Set(reflect.ValueOf(plainValue(n)))
	default:
		f.scalar(n, v, enum)
	}
}

func (f *file) scalar(n *yaml.Node, v reflect.Value, enum string) {
	if n.Kind != yaml.ScalarNode {
		f.node(n, "", "want %s, this is %s", nameOf(v.Type()), kindOf(n))
		return
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		if n.ShortTag() == "!!null" {
			err = strconv.ErrSyntax
			break
		}
		f.word(n, enum)
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		if b, err = strconv.ParseBool(n.Value); err == nil && n.ShortTag() == "!!bool" {
			v.SetBool(b)
		} else {
			err = strconv.ErrSyntax
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		if i, err = strconv.ParseInt(n.Value, 10, v.Type().Bits()); err == nil {
			v.SetInt(i)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var u uint64
		if u, err = strconv.ParseUint(n.Value, 10, v.Type().Bits()); err == nil {
			v.SetUint(u)
		}
	case reflect.Float32, reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(n.Value, 64); err == nil {
			v.SetFloat(x)
		}
	default:
		err = fmt.Errorf("settings of type %s are not supported", v.Type())
	}
	if err != nil {
		f.node(n, "", "want %s, this is %s", nameOf(v.Type()), quoteOr(n))
	}
}

func (f *file) word(n *yaml.Node, enum string) {
	if enum == "" {
		return
	}
	words := strings.Split(enum, ",")
	if !slices.Contains(words, n.Value) {
		f.node(n, DidYouMean(n.Value, words), "%q is none of %s", n.Value, strings.Join(words, ", "))
	}
}

func quoteOr(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		return strconv.Quote(n.Value)
	}
	return kindOf(n)
}

func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// structure decodes a mapping into a struct.
func (f *file) structure(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		f.node(n, "", "want a mapping, this is %s", kindOf(n))
		return
	}
	keys := structKeysOf(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		j, ok := keys.fields[key.Value]
		if !ok {
			known := slices.Sorted(maps.Keys(keys.fields))
			hint := DidYouMean(key.Value, known)
			if hint == "" {
				hint = "known keys: " + strings.Join(known, ", ")
			}
			f.node(key, hint, "unknown key %q", key.Value)
			continue
		}
		field := v.Type().FieldByIndex(j)
		if val.Kind == yaml.ScalarNode && val.ShortTag() == "!!null" && field.Type != nodeType && field.Type.Kind() != reflect.Interface {
			f.node(key, "give it a value or leave the key out", "key %q has no value", key.Value)
			continue
		}
		f.value(val, v.FieldByIndex(j), field.Tag.Get("enum"))
	}
	for _, name := range keys.required {
		if child(n, name) == nil {
			f.node(n, "", "key %q is missing", name)
		}
	}
}

// structKeys are the keys of the mapping that a struct is written as.
type structKeys struct {
	fields   map[string][]int // by name, those of embedded structs included
	required []string         // in the order of the struct
}

var structs sync.Map // of reflect.Type to structKeys: a pack has thousands of mappings and a dozen types

func structKeysOf(t reflect.Type) structKeys {
	if k, ok := structs.Load(t); ok {
		return k.(structKeys)
	}
	k := structKeys{fields: map[string][]int{}}
	for _, field := range reflect.VisibleFields(t) {
		name := strings.Split(field.Tag.Get("yaml"), ",")[0]
		if field.Tag.Get("required") != "" {
			k.required = append(k.required, name)
		}
		if !field.IsExported() || field.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		k.fields[name] = field.Index
	}
	structs.Store(t, k)
	return k
}

// child returns the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// plainValue turns a node into the value that encoding/json would print.
func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			s[i] = plainValue(c)
		}
		return s
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		b, err := strconv.ParseBool(n.Value)
		if err == nil {
			return b
		}
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	case "!!float":
		if x, err := strconv.ParseFloat(n.Value, 64); err == nil && x-x == 0 {
			return x
		}
	}
	return n.Value
}

// ParseDuration reads a duration as rule files write it: Go's form, or whole
// or fractional days ("14d"). A sign is allowed.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		x, err := strconv.ParseFloat(days, 64)
		if err != nil || x != x || x > 36500 || x < -36500 {
			return 0, fmt.Errorf("duration %q: want a number of days like 14d", s)
		}
		return time.Duration(x * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`duration %q: want "90s", "10m", "24h" or "14d"`, s)
	}
	return d, nil
}

// places maps the characters of a scalar's value to where they stand in the
// file, whatever style it is written in: the characters that are not spaces
// stand there in the same order. The result has one more entry than the value
// has characters, for the end.
func (f *file) places(n *yaml.Node) []place {
	value := []rune(n.Value)
	out := make([]place, 0, len(value)+1)
	line, col := n.Line, n.Column // of the next character of the file
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		line, col = n.Line+1, 1 // after the line with | or >
	} else if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		col++
	}
	var src []rune
	if line >= 1 && line <= len(f.lines) {
		src = []rune(f.lines[line-1])
	}
	last := place{line: n.Line, column: n.Column}
	// find moves past the next r, or stays where it is when there is none:
	// the character was written as an escape.
	find := func(r rune) bool {
		l, c, from := line, col, src
		for {
			for ; c <= len(from); c++ {
				if from[c-1] == r {
					line, col, src = l, c+1, from
					return true
				}
			}
			if l++; l > len(f.lines) {
				return false
			}
			c, from = 1, []rune(f.lines[l-1])
		}
	}
	for _, r := range value {
		switch {
		case unicode.IsSpace(r):
			out = append(out, place{line: line, column: col})
		case find(r):
			last = place{line: line, column: col - 1}
			out = append(out, last)
		default:
			out = append(out, last)
		}
	}
	return append(out, place{line: last.line, column: last.column + 1})
}

type place struct{ line, column int }
