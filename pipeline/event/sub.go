package event

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
)

// The accessors below decode on demand and keep nothing, so that any number
// of goroutines may call them at once. Keys match without regard to letter
// case, but an exactly spelled key wins over one that differs in case: a
// caller can add parameters of his own spelling to a request. Among equal
// keys the last counts, as everywhere in JSON. Strings come decoded, numbers
// and booleans as written, objects and arrays as their JSON text; null is
// absent.

// Raw returns the record's JSON object. It must not be changed. Of an outline
// it may have to be read again: see Brief.Raw.
func (e *Event) Raw() []byte { return e.Record().Bytes() }

// Record is the record where it is. It is good for as long as what the event is
// an outline of, if it is one.
func (e *Event) Record() Record { return Record{e.raw, e.brief} }

// Param returns one request parameter, from requestParameters or, where that
// has no such key, from requestParameterJson. Either may be an object or JSON
// text in a string; what is not valid JSON holds no parameters. A name that
// is no key itself is tried as a dotted path.
func (e *Event) Param(name string) (string, bool) {
	if v, ok := e.in(e.subs.params, name); ok {
		return v, true
	}
	return e.in(e.subs.paramJSON, name)
}

// ParamsMention reports whether the request parameters may have a name that ends
// in word, of ASCII letters other than k and s (which have further spellings), in
// any case: word stands somewhere in their text, or an escape may hide it. Where it
// does not, no Param of such a name is there, which is found out without decoding.
func (e *Event) ParamsMention(word string) bool {
	return mentions(e.subs.params.of(e.raw), word) || mentions(e.subs.paramJSON.of(e.raw), word)
}

// HasParams reports whether the record carries any readable parameters.
func (e *Event) HasParams() bool {
	has := false
	e.EachParam(func(string, string) bool { has = true; return false })
	return has
}

// EachParam calls yield for every request parameter in the record's order
// until it returns false; null values are left out, and a key given again
// with another value is yielded again. Parameters of requestParameterJson
// that requestParameters has too are not repeated.
func (e *Event) EachParam(yield func(name, value string) bool) {
	goOn := true
	each := func(doc []byte, keep func(key string) bool) {
		members(doc, func(key string, from, to int) bool {
			if v, ok := scalar(doc[from:to]); ok && keep(key) {
				goOn = yield(key, v)
			}
			return goOn
		})
	}
	var again []byte
	if e.subs.paramJSON.to != 0 {
		again = e.object(e.subs.paramJSON)
	}
	if again == nil {
		each(e.object(e.subs.params), func(string) bool { return true })
		return
	}
	// A set, not a search per key: a hostile record may have a million keys.
	seen := map[string]bool{}
	each(e.object(e.subs.params), func(key string) bool { seen[strings.ToLower(key)] = true; return true })
	if goOn {
		each(again, func(key string) bool { return !seen[strings.ToLower(key)] })
	}
}

// Response returns a value of responseElements by its dotted path, for
// example "AccessKey.AccessKeyId". Array elements are numbered from 0.
func (e *Event) Response(path string) (string, bool) { return e.in(e.subs.response, path) }

// Extra returns a value of additionalEventData, under either of its
// spellings, by its dotted path.
func (e *Event) Extra(path string) (string, bool) {
	if v, ok := e.in(e.subs.extra, path); ok {
		return v, true
	}
	return e.in(e.subs.extraMisspelt, path)
}

// Field returns any value of the record by its dotted path from the top, for
// example "userIdentity.sessionContext.attributes.creationDate". Keys that
// contain dots themselves are matched whole. Sub-documents delivered as JSON
// text are entered.
func (e *Event) Field(path string) (string, bool) { return find(e.raw, path, 0) }

// Resources calls yield for every referenced resource with its type and name
// until it returns false: from referencedResources (an object of lists, or a
// list of objects), else from the joined lists resourceType and resourceName.
func (e *Event) Resources(yield func(typ, name string) bool) {
	doc := e.document(e.subs.resources)
	found, goOn := false, true
	emit := func(typ, name string) bool {
		found = true
		goOn = yield(typ, name)
		return goOn
	}
	switch {
	case len(doc) > 0 && doc[0] == '{':
		members(doc, func(typ string, from, to int) bool {
			if doc[from] != '[' {
				if name, ok := scalar(doc[from:to]); ok {
					return emit(typ, name)
				}
				return true
			}
			list := doc[from:to]
			elements(list, func(from, to int) bool {
				if name, ok := scalar(list[from:to]); ok {
					return emit(typ, name)
				}
				return true
			})
			return goOn
		})
	case len(doc) > 0 && doc[0] == '[':
		elements(doc, func(from, to int) bool {
			typ, _ := find(doc[from:to], "resourceType", 0)
			name, ok := find(doc[from:to], "resourceName", 0)
			if !ok {
				return true
			}
			return emit(typ, name)
		})
	}
	if found || e.subs.resourceName == "" || isNull(e.subs.resourceName) {
		return
	}
	// Types joined by ";", names of one type by ",", types by ";".
	types := strings.Split(e.subs.resourceType, ";")
	for i, names := range strings.Split(e.subs.resourceName, ";") {
		typ := ""
		if i < len(types) {
			typ = types[i]
		}
		for name := range strings.SplitSeq(names, ",") {
			if name != "" && !emit(typ, name) {
				return
			}
		}
	}
}

// in looks a path up in a sub-document.
func (e *Event) in(s span, path string) (string, bool) {
	if s.to == 0 {
		return "", false
	}
	doc := s.of(e.raw)
	if doc[0] == '"' {
		// JSON text in a string: before decoding it, see whether the key can
		// be there at all. Written without escapes, it would stand in the
		// text as it is.
		// (A path with a dot may be a flattened key, "Targets.1".)
		if isAlnum(path) && !mentionsKey(doc, path) {
			return "", false
		}
		if doc = e.object(s); doc == nil {
			return "", false
		}
	}
	return find(doc, path, 0)
}

// document returns a sub-document's JSON, out of its string if it is in one;
// nil when there is none or it is not valid.
func (e *Event) document(s span) []byte {
	if s.to == 0 {
		return nil
	}
	return unquote(s.of(e.raw))
}

// object is document, for objects only.
func (e *Event) object(s span) []byte {
	if doc := e.document(s); len(doc) > 0 && doc[0] == '{' {
		return doc
	}
	return nil
}

// unquote returns v itself, or the JSON document inside the string v; nil if
// there is none.
func unquote(v []byte) []byte {
	if len(v) == 0 || v[0] != '"' {
		return v
	}
	if !mayHoldJSON(v[1 : len(v)-1]) {
		return nil
	}
	doc := bytesOf(textOf(v))
	i := skipSpace(doc, 0)
	if i == len(doc) || doc[i] != '{' && doc[i] != '[' || !valid(doc) {
		return nil
	}
	return doc[i:]
}

// mayHoldJSON reports whether the content of a string can be an object or an
// array, without decoding it: the bracket itself may be escaped.
func mayHoldJSON(content []byte) bool {
	i := skipSpace(content, 0)
	return i < len(content) && (content[i] == '{' || content[i] == '[' || content[i] == '\\')
}

// mentionsKey reports whether JSON text inside a string may have a member key
// equal to name: written without escapes it stands there as \"name\". It errs
// on the side of true.
func mentionsKey(text []byte, name string) bool {
	for i := 0; i < len(text); {
		// Jump from backslash to backslash, eight bytes at a time.
		if i+8 <= len(text) {
			x := binary.LittleEndian.Uint64(text[i:]) ^ lsb*'\\'
			m := (x - lsb) &^ x & msb
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		} else if text[i] != '\\' {
			i++
			continue
		}
		if i++; i >= len(text) {
			break
		}
		switch text[i] {
		case 'u':
			return true // any letter may hide behind an escape
		case '"':
			i++
			if end := i + len(name); end < len(text) && text[end] == '\\' && strings.EqualFold(view(text[i:end]), name) {
				return true
			}
		}
	}
	return false
}

// mentions reports whether word, in any case, may be in a text.
func mentions(text []byte, word string) bool {
	first := lsb * uint64(word[0]|' ')
	for i := 0; i+len(word) <= len(text); {
		if i+8 <= len(text) {
			// From first letter to first letter, eight bytes at a time.
			x := binary.LittleEndian.Uint64(text[i:]) | lsb*' ' ^ first
			m := (x - lsb) &^ x & msb
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		}
		if i+len(word) <= len(text) && strings.EqualFold(view(text[i:i+len(word)]), word) {
			return true
		}
		i++
	}
	return bytes.Contains(text, []byte(`\u`))
}

// find returns the value at a dotted path below the checked value v. At each
// object a key equal to the whole rest of the path is preferred, then keys
// that are a prefix of it up to a dot.
func find(v []byte, path string, depth int) (string, bool) {
	if v = unquote(v); len(v) == 0 || depth > maxDepth {
		return "", false
	}
	switch v[0] {
	case '{':
		exact, folded := -1, -1
		var exactTo, foldedTo int
		dotted := strings.IndexByte(path, '.') >= 0
		var through []step
		members(v, func(key string, from, to int) bool {
			switch {
			case len(key) == len(path):
				if key == path {
					exact, exactTo = from, to
				} else if strings.EqualFold(key, path) {
					folded, foldedTo = from, to
				}
			case dotted && len(key) < len(path) && path[len(key)] == '.' && strings.EqualFold(key, path[:len(key)]):
				through = append(through, step{key == path[:len(key)], len(key) + 1, from, to})
			}
			return true
		})
		if exact < 0 {
			exact, exactTo = folded, foldedTo
		}
		if exact >= 0 {
			return scalar(v[exact:exactTo])
		}
		for _, wantExact := range []bool{true, false} {
			for i := len(through) - 1; i >= 0; i-- {
				if s := through[i]; s.exact == wantExact {
					if r, ok := find(v[s.from:s.to], path[s.rest:], depth+1); ok {
						return r, true
					}
				}
			}
		}
	case '[':
		head, rest, more := strings.Cut(path, ".")
		n, err := strconv.Atoi(head)
		if err != nil || n < 0 {
			return "", false
		}
		var el []byte
		elements(v, func(from, to int) bool {
			if n == 0 {
				el = v[from:to]
			}
			n--
			return n >= 0
		})
		switch {
		case el == nil:
		case more:
			return find(el, rest, depth+1)
		default:
			return scalar(el)
		}
	}
	return "", false
}

type step struct {
	exact          bool
	rest, from, to int
}

// scalar returns a checked value as text; null is absent.
func scalar(v []byte) (string, bool) {
	if len(v) == 0 {
		return "", false
	}
	switch v[0] {
	case '"':
		return textOf(v), true
	case 'n':
		return "", false
	}
	return view(v), true
}
