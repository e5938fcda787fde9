package event

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// MaxRecord is the largest record that Parse accepts, in bytes.
const MaxRecord = 5 << 20

// Reason says in one word why a record is not an event. Reasons are also the
// names under which records are parked in quarantine.
type Reason string

// The reasons.
const (
	ReasonEmpty     Reason = "empty"        // nothing but white space
	ReasonTooLarge  Reason = "too-large"    // more than MaxRecord bytes
	ReasonTooDeep   Reason = "too-deep"     // nested deeper than 64 levels
	ReasonBinary    Reason = "binary"       // not JSON, and not text either
	ReasonTruncated Reason = "truncated"    // the JSON ends inside a value
	ReasonNotJSON   Reason = "not-json"     // not JSON
	ReasonNotEvent  Reason = "not-an-event" // JSON, but not an audit record
	ReasonBadTime   Reason = "bad-time"     // eventTime is there and cannot be read
)

// Reasons lists all of them in a fixed order.
func Reasons() []Reason {
	return []Reason{ReasonEmpty, ReasonTooLarge, ReasonTooDeep, ReasonBinary, ReasonTruncated, ReasonNotJSON, ReasonNotEvent, ReasonBadTime}
}

// ParseError says why a record is not an event.
type ParseError struct {
	Reason Reason
	Offset int    // byte offset in the record where it showed
	Msg    string // one sentence without the record's own text
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("record is %s at byte %d: %s", e.Reason, e.Offset, e.Msg)
}

// Parser parses records into a reused Event. The zero value is ready. A
// Parser may be used by one goroutine at a time.
type Parser struct {
	w      walk
	memo   *memo
	quotes []uint32
}

// Parse parses one record into *ev, replacing all it held. The record must be
// the JSON object of one audit entry: containers go through Unwrap first.
//
// Strings of ev share memory with record and with ev's own buffer: they are
// valid until record changes or ev is parsed into again. Copies of ev share
// that fate; use Clone to keep one. On an error ev holds nothing useful. The
// error is always a *ParseError.
//
// Text policy: JSON strings that are not valid UTF-8 are accepted, and the
// offending bytes read as U+FFFD, as encoding/json does; Raw keeps the bytes.
// A record that is no JSON and holds a NUL or is not UTF-8 is "binary".
func (p *Parser) Parse(record []byte, ev *Event) error {
	buf := ev.subs.buf[:0]
	*ev = Event{}
	ev.subs.buf = buf
	w := &p.w
	if p.memo == nil {
		p.memo = new(memo)
	}
	*w = walk{} // and not made beside it, which would be copied
	w.b, w.ev, w.memo = record, ev, p.memo
	if w.quotes = quotesOf(p.quotes, record); w.quotes != nil {
		p.quotes = w.quotes
	}
	return w.parse()
}

// Parse parses one record into a new Event, as Parser.Parse does. The event
// shares the record's memory: the record must not change while it lives.
func Parse(record []byte) (*Event, error) {
	ev := new(Event)
	ev.subs.buf = make([]byte, 0, 192)
	w := walk{scanner: scanner{b: record}, ev: ev}
	if err := w.parse(); err != nil {
		return nil, err
	}
	return ev, nil
}

// Clone returns an event that shares no memory with e or its record.
func (e *Event) Clone() *Event {
	c, err := Parse([]byte(string(e.raw)))
	if err != nil {
		// Only an Event that was never parsed gets here.
		c = new(Event)
		*c = *e
	}
	c.Time = e.Time // which may be another than the record says
	return c
}

// Spoil writes over all of the event but its record: what it held, and the
// memory that its texts may be in. It is for tests that nothing refers to an
// event any more.
func (e *Event) Spoil() {
	buf := e.subs.buf[:cap(e.subs.buf)]
	for i := range buf {
		buf[i] = 'Z'
	}
	*e = Event{}
	e.subs.buf = buf[:0]
}

// walk is one parse: the scanner, and what has been read that does not go
// into the Event as it is.
type walk struct {
	scanner
	ev   *Event
	memo *memo // nil without a Parser

	time, recipient, global, address, errCode, errMessage, rw string
	identity, user, key, sessionMFA                           string
	signinMFA, rootMFA, ssoMFA                                string // mfaChecked, isMFAChecked, MFAAuthenticated
	playerUID, clientIP, sensitive                            string
	inner                                                     uint8 // marks of a platform-side log
	start                                                     int   // of the object in the record

	nowhere string // what nobody looks for goes here
}

// span is a value inside the record; zero when absent.
type span struct{ from, to int32 }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// subdocs are the spans of what is decoded on demand, and the event's own
// buffer for strings that the record does not contain as such.
type subdocs struct {
	params, paramJSON, response, extra, extraMisspelt, resources, insight, attributes span
	resourceType, resourceName                                                        string
	buf                                                                               []byte
}

func (w *walk) parse() error {
	b := w.b
	if len(b) > MaxRecord {
		return &ParseError{ReasonTooLarge, MaxRecord, fmt.Sprintf("%d bytes, the cap is %d", len(b), MaxRecord)}
	}
	i := skipSpace(b, 0)
	if i == len(b) {
		return &ParseError{ReasonEmpty, 0, "nothing but white space"}
	}
	start := i
	w.start = start
	if b[i] != '{' {
		if i = w.value(i, 0); i < 0 {
			return w.malformed()
		}
		if i = skipSpace(b, i); i < len(b) {
			w.fail(i)
			return w.malformed()
		}
		return &ParseError{ReasonNotEvent, start, "JSON, but not an object"}
	}
	i = w.object(i, 0, inRecord)
	if i < 0 {
		return w.malformed()
	}
	w.ev.raw = b[start:i:i]
	if i = skipSpace(b, i); i < len(b) {
		w.fail(i)
		return w.malformed()
	}
	return w.finish(start)
}

// malformed turns the scanner's fault into a ParseError.
func (w *walk) malformed() error {
	switch {
	case w.why == faultDepth:
		return &ParseError{ReasonTooDeep, w.at, fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	case w.why == faultEnd:
		return &ParseError{ReasonTruncated, w.at, "the text ends inside a value"}
	case !isText(w.b):
		return &ParseError{ReasonBinary, w.at, "neither JSON nor text"}
	}
	return &ParseError{ReasonNotJSON, w.at, "unexpected byte " + quoteByte(w.b[w.at])}
}

func isText(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return utf8.Valid(b)
}

func quoteByte(c byte) string { return fmt.Sprintf("0x%02x", c) }

// object walks the object at i, taking the members that level knows, and
// returns the index after it.
func (w *walk) object(i, depth int, lv level) int {
	depth++
	if depth > maxDepth {
		w.at, w.why = i, faultDepth
		return -1
	}
	b, known := w.b, &memberTables[lv]
	i++
	if i < len(b) && b[i] <= ' ' {
		i = skipSpace(b, i)
	}
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		var m *member
		var behind bool
		if i, m, behind = w.texts(i, lv, known); !behind {
			if m == nil && i >= 0 {
				i, m = w.keyed(i, lv, known)
			}
			if i >= 0 {
				i = w.member(m, i, depth)
			}
			if i < 0 {
				return -1
			}
		}
		if i < len(b) && b[i] == ',' {
			i++
			if i < len(b) && b[i] <= ' ' {
				i = skipSpace(b, i)
			}
			continue
		}
		var more bool
		if i, more = w.next(i, '}'); i < 0 || !more {
			return i
		}
	}
}

// keyed takes a key at i, however it is written, and returns the member that it
// names and the index behind it.
func (w *walk) keyed(i int, lv level, known *memberTable) (_ int, m *member) {
	b := w.b
	if i >= len(b) || b[i] != '"' {
		return w.fail(i), nil
	}
	from := i + 1
	e, fl := 0, uint8(0)
	if q, ok := w.listed(from); ok {
		e, fl = int(q>>quoteAt), uint8(q&quoteBack)
	} else if e, fl = w.walkStr(from); e < 0 {
		return -1, nil
	}
	if m = known.find(b, from, e); m == nil {
		// As a rule a parameter that nobody looks for.
		if m = &unknown; lv != inParams || fl&hasEscape != 0 {
			m = w.unusual(lv, b[from:e], fl)
		}
	}
	return e + 1, m
}

// member takes the value of a member whose key ends before i, and returns the
// index behind it.
func (w *walk) member(m *member, i, depth int) int {
	b := w.b
	if i+1 < len(b) && b[i] == ':' && b[i+1] > ' ' {
		i++
	} else if i = w.colon(i); i < 0 {
		return -1
	}
	if i >= len(b) {
		return w.fail(i)
	}
	from := i
	switch c := b[i]; {
	case c == '"':
		e, fl := 0, uint8(0)
		if q, ok := w.listed(i + 1); ok {
			e, fl = int(q>>quoteAt), uint8(q&quoteBack)
		} else if e, fl = w.walkStr(i + 1); e < 0 {
			return -1
		}
		i = e + 1
		if m.text.in != nowhere {
			*(*string)(w.reach(m.text)) = w.text(b[from+1:e], fl)
		} else if m.next != inNothing && m.next != inParams {
			w.embedded(b[from+1:e], fl, m.next)
		}
	case c == '{' && m.next != inNothing:
		if i = w.object(i, depth, m.next); i < 0 {
			return -1
		}
	default:
		if c == '{' || c == '[' {
			i = w.value(i, depth)
		} else {
			i = w.single(i)
		}
		if i < 0 {
			return -1
		}
		if m.text.in != nowhere {
			// Numbers and booleans are kept as text, digit by digit:
			// ids beyond 2^53 must not pass through a float.
			text := ""
			if c != 'n' && c != '{' && c != '[' {
				text = view(b[from:i])
			}
			*(*string)(w.reach(m.text)) = text
		}
	}
	if m.span.in != nowhere {
		*(*span)(w.reach(m.span)) = span{int32(from - w.start), int32(i - w.start)}
	}
	w.inner |= m.mark
	return i
}

// texts takes members of an object as long as they are plain: a key as usual, a
// text, or a number, true or false, which are kept as they are written, and no
// space between. Most of a record is such members, and what they cost is the
// instructions that they take: nothing here asks each time whether what it reads
// is still in the record. It returns
//
//   - the index behind the last one, where no other member stands right behind
//     it: behind is true;
//   - the index behind the next key, and its member, where its value is not plain;
//   - the index of the next member, and nil, where its key is not plain either;
//   - -1 where a value is none.
func (w *walk) texts(i int, lv level, known *memberTable) (_ int, m *member, behind bool) {
	k, n := w.quote, len(w.quotes)
	// A key is compared eight bytes at a time, from before its end and up to
	// sixteen behind its beginning.
	if len(w.b) < textsRoom || k >= n || int(w.quotes[k]>>quoteAt) != i || i < 8 {
		return i, nil, false
	}
	b, last := w.b, len(w.b)-textsRoom
	quotes := unsafe.Pointer(unsafe.SliceData(w.quotes))
	into := [2]unsafe.Pointer{nowhere: unsafe.Pointer(w), inEvent: unsafe.Pointer(w.ev)} // inWalk is even, too
	for k+4 <= n {
		key, value := *(*uint64)(unsafe.Add(quotes, 4*k)), *(*uint64)(unsafe.Add(quotes, 4*k+8)) // two quotes each
		end, to := int(key>>(32+quoteAt)), int(value>>(32+quoteAt))
		if to > last || (key|value)>>32&(quoteBack|quoteOther) != 0 {
			break
		}
		m = &unknown
		if size := uint64(end - i - 1); known.lengths>>(size&63)&1 != 0 {
			first, back := ends(b, i+1, end)
			if m = known.match(first, back, load8(b, i+9), size); m == &unknown && lv != inParams {
				break // it may be spelled in another way
			}
		}
		from, isText := end+3, load2(b, end+1) == ':'|'"'<<8
		if m.deep || !isText && !(b[end+1] == ':' && (b[end+2]-'0' < 10 || b[end+2] == 't' || b[end+2] == 'f')) {
			w.quote = k + 2
			return end + 1, m, false
		}
		if !isText {
			if from, to = end+2, w.single(end+2); to < 0 {
				return -1, nil, false
			}
		}
		text := unsafe.Add(into[m.text.in&1], m.text.offset) // a string: where it is, and its length
		*(*unsafe.Pointer)(text) = unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), from)
		*(*int)(unsafe.Add(text, unsafe.Sizeof(uintptr(0)))) = to - from
		if k += 2; isText {
			k += 2
			to++
		}
		if to > last || load2(b, to) != ','|'"'<<8 {
			w.quote = k
			return to, nil, true
		}
		i = to + 1
	}
	w.quote = k
	return i, nil, false
}

// load2 reads two bytes, which must be there.
func load2(b []byte, i int) uint16 {
	return binary.LittleEndian.Uint16((*[2]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))[:])
}

// textsRoom is how much of the record has to be behind a text for texts.
const textsRoom = 24

// text decodes a string's content; what has to be unescaped goes into the
// event's buffer.
func (w *walk) text(content []byte, flags uint8) string {
	if flags == 0 || flags == hasHigh && utf8.Valid(content) {
		return view(content)
	}
	buf := w.ev.subs.buf
	n := len(buf)
	buf = appendUnescaped(buf, content, flags)
	w.ev.subs.buf = buf
	return view(buf[n:len(buf):len(buf)])
}

// embedded reads a sub-document that a shipper delivered as JSON text in a
// string. What is no JSON object is left alone.
func (w *walk) embedded(content []byte, flags uint8, lv level) {
	if !mayHoldJSON(content) {
		return
	}
	doc := bytesOf(w.text(content, flags))
	if i := skipSpace(doc, 0); i == len(doc) || doc[i] != '{' || !valid(doc) {
		return
	}
	outer := w.scanner
	w.scanner = scanner{b: doc}
	w.object(skipSpace(doc, 0), 0, lv)
	w.scanner = outer
}

// appendLower appends b with ASCII letters in lower case.
func appendLower[T []byte | string](dst []byte, b T) []byte {
	n := len(dst)
	dst = append(dst, b...)
	i := n
	for ; i+8 <= len(dst); i += 8 {
		lower8(dst[i:])
	}
	switch {
	case i == len(dst):
	case i > n: // some are lowered once more, which changes nothing
		lower8(dst[len(dst)-8:])
	default:
		for ; i < len(dst); i++ {
			if c := dst[i]; c-'A' < 26 {
				dst[i] = c | 0x20
			}
		}
	}
	return dst
}

// lower8 lowers the first eight bytes of b.
func lower8(b []byte) {
	// Of bytes below 0x80, those that reach the high bit when what is missing
	// from A is added, but not when what is missing from the byte behind Z is.
	x := binary.LittleEndian.Uint64(b)
	low := x &^ msb
	upper := (low + lsb*(0x80-'A')) &^ (low + lsb*(0x80-'Z'-1)) &^ x & msb
	binary.LittleEndian.PutUint64(b, x|upper>>2)
}

// isLower reports that lower-casing would change nothing.
func isLower(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'A' < 26 {
			return false
		}
	}
	return true
}

// lower returns s in lower case, from the event's buffer if need be.
func (w *walk) lower(s string) string {
	if isLower(s) {
		return s
	}
	n := len(w.ev.subs.buf)
	w.ev.subs.buf = appendLower(w.ev.subs.buf, s)
	return view(w.ev.subs.buf[n:])
}
