package event

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// The scanner walks JSON text once and checks the whole grammar of RFC 8259,
// accepting exactly what encoding/json accepts, except that nesting is capped
// at maxDepth. It decodes nothing: callers keep spans.
//
// Bytes that are not UTF-8 inside strings are accepted, as encoding/json
// does; they become U+FFFD when a string is decoded.

// maxDepth is how deep values may nest; the record itself is depth 1. One
// bit per level fits a word, so the walk needs no stack.
const maxDepth = 64

// fault says why a walk stopped.
type fault uint8

const (
	faultNone   fault = iota
	faultSyntax       // not JSON
	faultEnd          // the text ends inside a value
	faultDepth        // nested deeper than maxDepth
)

// scanner is a walk over b. After a method returned -1, why and at say what
// was wrong and where.
type scanner struct {
	b      []byte
	quotes []uint32 // of b, see quotesOf; nil when they are not listed
	quote  int      // the next of them that the walk comes to
	at     int
	why    fault
}

// fail records the fault at i and returns -1. At the end of the text every
// fault is faultEnd: what is there may be the start of a valid value.
func (s *scanner) fail(i int) int {
	s.at, s.why = i, faultSyntax
	if i >= len(s.b) {
		s.at, s.why = len(s.b), faultEnd
	}
	return -1
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

const (
	lsb = 0x0101010101010101
	msb = 0x8080808080808080
)

// Flags of a scanned string.
const (
	hasEscape = 1 // contains a backslash escape
	hasHigh   = 2 // contains bytes above 0x7f
)

// str scans a string whose first content byte is at i. It returns the index
// of the closing quote and what the content holds, or -1.
func (s *scanner) str(i int) (end int, flags uint8) {
	if q, ok := s.listed(i); ok {
		return int(q >> quoteAt), uint8(q & quoteBack)
	}
	return s.walkStr(i) // more than plain content and the simplest escapes
}

// listed returns the entry of the quote that closes the string, where the list
// says all of it. It is for where a call more would show.
func (s *scanner) listed(i int) (q uint32, ok bool) {
	if k := s.quote; k+1 < len(s.quotes) && int(s.quotes[k]>>quoteAt) == i-1 {
		s.quote = k + 2
		q = s.quotes[k+1]
		return q, q&quoteOther == 0
	}
	return 0, false
}

// walkStr is str by looking at the bytes.
func (s *scanner) walkStr(i int) (end int, flags uint8) {
	b := s.b
	var high uint64
	for {
		// Eight bytes at a time: mark quotes, backslashes and controls. With
		// one bit flipped, a quote comes right after the controls and a space
		// moves away, so that one comparison finds both. Only the lowest mark
		// is exact (a borrow may spill upwards), and only the lowest is used.
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			e := x ^ lsb*'\\'
			m := ((x^lsb*2-lsb*0x21)&^x | (e-lsb)&^e) & msb
			if m != 0 {
				n := bits.TrailingZeros64(m) >> 3
				high |= x & (1<<(n*8) - 1)
				i += n
				goto mark
			}
			high |= x
			i += 8
		}
		for i < len(b) {
			c := b[i]
			if c == '"' || c == '\\' || c < 0x20 {
				goto mark
			}
			high |= uint64(c)
			i++
		}
		return s.fail(len(b)), 0
	mark:
		switch b[i] {
		case '"':
			if high&msb != 0 {
				flags |= hasHigh
			}
			return i, flags
		case '\\':
			flags |= hasEscape
			if i+1 >= len(b) {
				return s.fail(len(b)), 0
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				for k := i + 2; k < i+6; k++ {
					if k >= len(b) || !isHex(b[k]) {
						return s.fail(k), 0
					}
				}
				i += 6
			default:
				return s.fail(i + 1), 0
			}
		default: // an unescaped control character
			return s.fail(i), 0
		}
	}
}

func isHex(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 6
}

// number scans a number that starts at i and returns the index after it.
func (s *scanner) number(i int) int {
	b := s.b
	if b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i]-'1' < 9:
		for i++; i < len(b) && b[i]-'0' < 10; i++ {
		}
	default:
		return s.fail(i)
	}
	if i < len(b) && b[i] == '.' {
		i++
		if i >= len(b) || b[i]-'0' >= 10 {
			return s.fail(i)
		}
		for i++; i < len(b) && b[i]-'0' < 10; i++ {
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= len(b) || b[i]-'0' >= 10 {
			return s.fail(i)
		}
		for i++; i < len(b) && b[i]-'0' < 10; i++ {
		}
	}
	return i
}

func (s *scanner) literal(i int, word string) int {
	for k := range len(word) {
		if i+k >= len(s.b) || s.b[i+k] != word[k] {
			return s.fail(i + k)
		}
	}
	return i + len(word)
}

// value walks the value at i, which is not a space, and returns the index
// after it. depth is the nesting of its surroundings.
func (s *scanner) value(i, depth int) int {
	b := s.b
	var objects uint64 // one bit per open level: set for an object
	open := 0
	for {
		// A value starts at i.
		if i >= len(b) {
			return s.fail(i)
		}
		switch c := b[i]; c {
		case '"':
			e, _ := s.str(i + 1)
			if e < 0 {
				return -1
			}
			i = e + 1
		case '{', '[':
			open++
			if depth+open > maxDepth {
				s.at, s.why = i, faultDepth
				return -1
			}
			i = skipSpace(b, i+1)
			if c == '{' {
				objects = objects<<1 | 1
				if i < len(b) && b[i] == '}' {
					break // falls to the closing below with i at '}'
				}
				if i = s.key(i); i < 0 {
					return -1
				}
				continue
			}
			objects <<= 1
			if i < len(b) && b[i] == ']' {
				break
			}
			continue
		default:
			i = s.single(i)
		}
		if i < 0 {
			return -1
		}
		// A value ended before i, or an empty container closes at i.
		for {
			if open == 0 {
				return i
			}
			if i < len(b) && b[i] <= ' ' {
				i = skipSpace(b, i)
			}
			if i >= len(b) {
				return s.fail(i)
			}
			c := b[i]
			if c == ',' {
				i++
				if i < len(b) && b[i] <= ' ' {
					i = skipSpace(b, i)
				}
				if objects&1 != 0 {
					if i = s.key(i); i < 0 {
						return -1
					}
				}
				break
			}
			if c != '}' && c != ']' || (c == '}') != (objects&1 != 0) {
				return s.fail(i)
			}
			objects >>= 1
			open--
			i++
		}
	}
}

// single walks a value at i that is a number, true, false or null.
func (s *scanner) single(i int) int {
	b := s.b
	switch c := b[i]; c {
	case 't':
		if i+4 <= len(b) && string(b[i:i+4]) == "true" {
			return i + 4
		}
		return s.literal(i, "true")
	case 'f':
		if i+5 <= len(b) && string(b[i:i+5]) == "false" {
			return i + 5
		}
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	default:
		if c-'0' < 10 && i+1 < len(b) && (b[i+1] == ',' || b[i+1] == '}') {
			return i + 1
		}
		if c != '-' && c-'0' >= 10 {
			return s.fail(i)
		}
		return s.number(i)
	}
}

// key walks a member's key and colon at i and returns the index of its value.
func (s *scanner) key(i int) int {
	if i >= len(s.b) || s.b[i] != '"' {
		return s.fail(i)
	}
	e, _ := s.str(i + 1)
	if e < 0 {
		return -1
	}
	return s.colon(e + 1)
}

// colon walks the colon at i and returns the index of the value after it.
func (s *scanner) colon(i int) int {
	b := s.b
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if i >= len(b) || b[i] != ':' {
		return s.fail(i)
	}
	i++
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	return i
}

// next is called after a member or element that ended before i, inside a
// container closed by end. It returns the index of what follows the comma, or
// the index after the closing bracket with more false.
func (s *scanner) next(i int, end byte) (_ int, more bool) {
	b := s.b
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if i >= len(b) {
		return s.fail(i), false
	}
	switch b[i] {
	case ',':
		i++
		if i < len(b) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		return i, true
	case end:
		return i + 1, false
	}
	return s.fail(i), false
}

// view makes a string that shares b's memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is the reverse of view; the result must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// appendUnescaped appends the decoded content of a JSON string that was
// scanned before. Invalid UTF-8 and lone surrogates become U+FFFD.
func appendUnescaped(dst, src []byte, flags uint8) []byte {
	if flags&hasHigh != 0 && !utf8.Valid(src) {
		return appendRepaired(dst, src)
	}
	// The result is never longer than src. Eight bytes are copied at a time,
	// up to eight more than count, so room for those is made first.
	o := len(dst)
	dst = slices.Grow(dst, len(src)+8)
	out := dst[:cap(dst)]
	i := 0
	for i < len(src) {
		if i+8 <= len(src) {
			x := binary.LittleEndian.Uint64(src[i:])
			binary.LittleEndian.PutUint64(out[o:], x)
			x ^= lsb * '\\'
			m := (x - lsb) &^ x & msb
			if m == 0 {
				i += 8
				o += 8
				continue
			}
			n := bits.TrailingZeros64(m) >> 3
			i += n
			o += n
		} else if src[i] != '\\' {
			out[o] = src[i]
			i++
			o++
			continue
		}
		if i+1 >= len(src) {
			break
		}
		c := src[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, n := unescapeRune(src[i:])
			i += n
			o += utf8.EncodeRune(out[o:], r)
			continue
		}
		out[o] = c
		o++
	}
	return dst[:o]
}

// unescapeRune decodes what follows a backslash and a u, and says how long it
// is; a surrogate pair counts as one.
func unescapeRune(src []byte) (r rune, n int) {
	if r = hex4(src); r < 0 {
		return utf8.RuneError, min(4, len(src))
	}
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(src) >= 10 && src[4] == '\\' && src[5] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(src[6:])); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return utf8.RuneError, 4
}

// appendRepaired is appendUnescaped for content that is not valid UTF-8.
func appendRepaired(dst, src []byte) []byte {
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		if r == utf8.RuneError && n == 1 {
			dst = utf8.AppendRune(dst, utf8.RuneError)
			src = src[1:]
			continue
		}
		// The longest valid stretch; an escape is all ASCII, so it never
		// spans two.
		for n < len(src) {
			r, k := utf8.DecodeRune(src[n:])
			if r == utf8.RuneError && k == 1 {
				break
			}
			n += k
		}
		dst = appendUnescaped(dst, src[:n], 0)
		src = src[n:]
	}
	return dst
}

// hex4 reads four hex digits, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			r = r<<4 | rune(c-'0')
		case c|0x20-'a' < 6:
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

// text returns the decoded string of a scanned content. It shares memory
// with content when nothing has to be decoded.
func text(content []byte, flags uint8) string {
	if flags == 0 || flags == hasHigh && utf8.Valid(content) {
		return view(content)
	}
	return view(appendUnescaped(make([]byte, 0, len(content)+8), content, flags))
}

// textOf returns the decoded string of a checked string value, quotes and all.
func textOf(v []byte) string {
	content := v[1 : len(v)-1]
	if bytes.IndexByte(content, '\\') < 0 {
		return text(content, hasHigh)
	}
	return text(content, hasEscape|hasHigh)
}

// The functions below walk spans that a scanner has checked already; they
// are cheaper because they need not check again.

// strEnd returns the index of the closing quote of the string whose first
// content byte is at i, and what the content holds; -1 where there is none.
func strEnd(b []byte, i int) (end int, flags uint8) {
	var high uint64
	for i+8 <= len(b) {
		// As in walkStr, but no control stands in what was checked.
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^lsb*'"', x^lsb*'\\'
		m := ((q-lsb)&^q | (e-lsb)&^e) & msb
		if m == 0 {
			high |= x
			i += 8
			continue
		}
		n := bits.TrailingZeros64(m) >> 3
		high |= x & (1<<(n*8) - 1)
		if i += n; b[i] == '"' {
			return i, flags | high8(high)
		}
		flags |= hasEscape
		i += 2 // what is escaped is one byte, and digits behind a u
	}
	for ; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			return i, flags | high8(high)
		case '\\':
			flags |= hasEscape
			i++
		default:
			high |= uint64(c)
		}
	}
	return -1, 0
}

// high8 is the flag of bytes above 0x7f, if there are any among these.
func high8(bytes uint64) uint8 {
	if bytes&msb != 0 {
		return hasHigh
	}
	return 0
}

// skipChecked returns the index after the checked value at i.
func skipChecked(b []byte, i int) int {
	switch b[i] {
	case '"':
		e, _ := strEnd(b, i+1)
		return e + 1
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				i, _ = strEnd(b, i+1)
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(b)
	default:
		for i < len(b) {
			switch b[i] {
			case ',', '}', ']', ' ', '\n', '\r', '\t':
				return i
			}
			i++
		}
		return i
	}
}

// members calls yield for each member of the checked object b: the key as
// decoded text, the index of the value's first byte and the index after it.
func members(b []byte, yield func(key string, from, to int) bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return
	}
	i = skipSpace(b, i+1)
	for i < len(b) && b[i] == '"' {
		e, fl := strEnd(b, i+1)
		if e < 0 {
			return
		}
		key := text(b[i+1:e], fl)
		v := skipSpace(b, e+1)  // ':'
		v = skipSpace(b, v+1)   // value
		to := skipChecked(b, v) // after it
		if !yield(key, v, to) {
			return
		}
		i = skipSpace(b, to)
		if i >= len(b) || b[i] != ',' {
			return
		}
		i = skipSpace(b, i+1)
	}
}

// elements calls yield for each element of the checked array b.
func elements(b []byte, yield func(from, to int) bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return
	}
	i = skipSpace(b, i+1)
	for i < len(b) && b[i] != ']' {
		to := skipChecked(b, i)
		if !yield(i, to) {
			return
		}
		i = skipSpace(b, to)
		if i >= len(b) || b[i] != ',' {
			return
		}
		i = skipSpace(b, i+1)
	}
}

// valid reports whether b is one JSON value within the depth cap.
func valid(b []byte) bool {
	s := scanner{b: b}
	i := s.value(skipSpace(b, 0), 0)
	return i >= 0 && skipSpace(b, i) == len(b)
}
