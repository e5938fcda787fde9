package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// span is a record's place in a block.
type span struct {
	from, to int
	tooLarge bool // only the beginning of a record that is over the cap
}

// chunk is a block of input that holds whole records only.
type chunk struct {
	buf []byte
	// lines says that buf is text whose lines are records; otherwise recs
	// tells where they are.
	lines bool
	recs  []span
	// left is where the block is, and length how long, when it is not in buf: it is
	// yet to be read.
	left   event.Block
	length int
}

// splitter cuts a stream into chunks of whole records, of any length, in
// memory bounded by the block size and the largest record.
type splitter struct {
	r         io.Reader
	block     int
	maxRecord int
	plain     *plainFile // its blocks need not be read here; nil: they must be
	tail      []byte     // of a block that is not
	away      bool       // the last one was not, and r is further up

	at   int64  // in the input, where the next chunk begins
	rest []byte // what the last chunk left over
	err  error  // of r, once it came
	mode splitMode
	// In value mode: the array that elements are taken from, the object
	// around it, and the record that is being skipped.
	inArray bool
	around  bool // the array is a member of an object
	skip    *skipper
	skipEOL bool // the rest of an over-long line is being skipped
	started bool
	ends    ends
	// In long mode: the last byte of the first record's line that is no blank,
	// and that the line has ended.
	last  byte
	ended bool
}

type splitMode uint8

const (
	modeUnknown splitMode = iota
	modeLines
	modeValues
	modeLong // the first line is over the cap: how it ends tells lines from values
)

// sampleSize is how much of a record over the cap is kept to show.
const sampleSize = 4 << 10

var errUTF16 = errors.New("text is UTF-16: convert it to UTF-8")

func newSplitter(r io.Reader, o *Options) *splitter {
	return &splitter{r: r, block: o.BlockSize, maxRecord: o.MaxRecord}
}

// next fills c with the next records; c's buffer is used if it has room. It
// returns io.EOF when nothing is left and any other error after the records
// before it.
func (s *splitter) next(c *chunk) error {
	c.recs, c.lines, c.left = c.recs[:0], false, event.Block{}
	if s.apart(c) {
		return nil
	}
	if s.away {
		s.away = false
		if err := s.plain.moveTo(s.at); err != nil {
			return err
		}
	}
	// No more than a block at a time, however large the buffer has become:
	// where a chunk ends must depend on the input alone.
	buf := append(c.buf[:0], s.rest...)
	limit := max(s.block, len(s.rest))
	s.rest = s.rest[:0]
	for {
		for s.err == nil && len(buf) < limit {
			if len(buf) == cap(buf) {
				buf = roomier(buf, limit)
			}
			var n int
			n, s.err = s.r.Read(buf[len(buf):min(cap(buf), limit)])
			buf = buf[:len(buf)+n]
		}
		if !s.started && len(buf) > 0 {
			s.started = true
			n := len(buf)
			buf = bytes.TrimPrefix(buf, []byte("\xef\xbb\xbf"))
			s.at += int64(n - len(buf))
			if bytes.HasPrefix(buf, []byte("\xff\xfe")) || bytes.HasPrefix(buf, []byte("\xfe\xff")) {
				return errUTF16
			}
			if kind := packing(buf); kind != "" {
				return fmt.Errorf("%s archive inside an archive: unpack it once", kind)
			}
			if kind := foreign(buf); kind != "" {
				return fmt.Errorf("no events but %s", kind)
			}
		}
		if s.mode == modeUnknown {
			if s.mode = sniffMode(buf, s.err != nil, len(buf) > s.maxRecord); s.mode == modeLong {
				used := s.beginLong(c, buf)
				c.buf = buf
				s.keep(buf, used)
				return nil
			}
		}
		used := 0
		switch s.mode {
		case modeUnknown:
			used = space(buf, 0) // white space, or the beginning of a long line
		case modeLines:
			used = s.cutLines(c, buf)
		case modeValues:
			s.ends.begin(buf)
			used = s.cutValues(c, buf)
			s.ends.finish()
		case modeLong:
			if used = s.cutLong(buf); s.mode != modeLong {
				s.at += int64(used)
				buf = append(buf[:0], buf[used:]...)
				continue
			}
		}
		if c.lines || len(c.recs) > 0 || s.err != nil && used == 0 {
			c.buf = buf
			s.keep(buf, used)
			if c.lines {
				c.buf = buf[:used]
			}
			return s.finish(c)
		}
		// No whole record yet: drop what was white space or skipped, and
		// make room.
		if used > 0 {
			s.at += int64(used)
			buf = append(buf[:0], buf[used:]...)
		}
		if len(buf) == limit {
			limit *= 2
		}
	}
}

// leastBuffer is where a buffer begins: the files of a trail's delivery are small,
// and there are tens of thousands of them.
const leastBuffer = 64 << 10

// roomier returns a full buffer with room to grow, up to limit.
func roomier(buf []byte, limit int) []byte {
	return append(make([]byte, 0, min(limit, max(leastBuffer, 2*cap(buf)))), buf...)
}

// keep puts aside what the next chunk begins with.
func (s *splitter) keep(buf []byte, used int) {
	s.rest = append(s.rest, buf[used:]...)
	s.at += int64(used)
}

// finish decides, once the input has ended, what becomes of the unfinished
// record at its end.
func (s *splitter) finish(c *chunk) error {
	if s.err == nil || c.lines || len(c.recs) > 0 {
		return nil // the end comes with the next call
	}
	rest := bytes.TrimSpace(s.rest)
	s.rest = s.rest[:0]
	if !errors.Is(s.err, io.EOF) {
		return s.err // of the archive; half a record is its consequence
	}
	if len(rest) > 0 {
		// A plain file that ends inside a record: the record is parked.
		c.buf = append(c.buf[:0], rest...)
		c.recs = append(c.recs, span{0, len(c.buf), false})
		return nil
	}
	if s.inArray || s.skip != nil {
		s.inArray, s.skip = false, nil
		return ErrTruncated
	}
	return io.EOF
}

// sniffMode tells lines of JSON from everything else by the beginning, which is
// all there is when last is set. It does not guess while the first line has no
// end: taken for loose values, one broken line would swallow all that follow.
// Where it may not wait for that end since the line is too long, it says so.
func sniffMode(b []byte, last, long bool) splitMode {
	i := space(b, 0)
	if i == len(b) {
		return modeUnknown
	}
	switch b[i] {
	case '[':
		return modeValues
	case '{':
		first, rest, ok := bytes.Cut(b[i:], []byte("\n"))
		if !ok {
			switch n, _ := listStart(b[i:]); {
			case n > 0 || last:
				return modeValues
			case long:
				return modeLong
			}
			return modeUnknown
		}
		first = bytes.TrimRight(first, " \t\r")
		if valueEnd(first, 0) == len(first) || endsInString(first) {
			// No line ends inside a string in JSON that was only laid out
			// over lines: this one is a record, if a broken one.
			return modeLines
		}
		j := space(rest, 0)
		switch {
		case goesOn(first[len(first)-1]):
			if j == len(rest) && !last && !long {
				return modeUnknown
			} else if j < len(rest) && !follows(first, rest[j]) {
				return modeLines
			}
			return modeValues
		case j < len(rest) && !continues(rest[j]):
			return modeLines
		case j == len(rest) && !last && long:
			return modeLong
		case j == len(rest) && !last:
			return modeUnknown
		}
		return modeValues
	}
	return modeLines
}

// goesOn says that no value of JSON ends with this byte; continues that one which
// did not end with its line may go on with it on the next. Without either, the line
// is a record that breaks off.
func goesOn(c byte) bool    { return c == '{' || c == '[' || c == ',' || c == ':' }
func continues(c byte) bool { return c == '}' || c == ']' || c == ',' || c == ':' }

// follows says that c may come after a line that does not end its value: in an
// object only a key does, but behind a colon.
func follows(line []byte, c byte) bool {
	last := line[len(line)-1]
	return last == ':' || c == '"' || last == '{' && c == '}' || !inObject(line)
}

// inObject says that what is open at the end of b, innermost, is an object.
func inObject(b []byte) bool {
	var open []byte
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			if i = stringEnd(b, i+1); i < 0 {
				return false
			}
		case '{', '[':
			open = append(open, b[i])
		case '}', ']':
			open = open[:max(0, len(open)-1)]
		}
	}
	return len(open) > 0 && open[len(open)-1] == '{'
}

// beginLong takes the first record of a first line that is over the cap.
func (s *splitter) beginLong(c *chunk, buf []byte) (used int) {
	i := space(buf, 0)
	end := valueEnd(buf, i)
	tooLarge := end < 0 || end-i > s.maxRecord
	c.recs = append(c.recs, span{i, end, tooLarge})
	if tooLarge {
		c.recs[0].to = min(i+sampleSize, len(buf))
	}
	if end < 0 {
		s.skip, end = new(skipper), i
	}
	return end + s.cutLong(buf[end:])
}

// cutLong goes over the rest of the first line, and of the record that is being
// skipped, up to where it shows what the stream is: lines if the record ends with
// its line, or breaks off there (no line ends inside a string in JSON that was
// only laid out over lines, see also continues).
func (s *splitter) cutLong(buf []byte) (used int) {
	for used < len(buf) {
		if s.ended { // inside of the record
			if used += space(buf[used:], 0); used == len(buf) {
				return used
			}
			if s.mode = modeValues; !goesOn(s.last) && !continues(buf[used]) {
				s.mode, s.skip = modeLines, nil
			}
			return used
		}
		line, _, whole := bytes.Cut(buf[used:], []byte("\n"))
		if s.skip == nil {
			i := space(line, 0)
			switch {
			case i < len(line) && (line[i] == '{' || line[i] == '[' || line[i] == ','):
				s.mode = modeValues
				return used + i
			case i < len(line) || whole:
				s.mode = modeLines
				return used + i
			}
			return len(buf)
		}
		n, done := s.skip.walk(line)
		used += n
		switch {
		case done:
			s.skip = nil
			continue
		case whole && s.skip.inString:
			s.mode, s.skip = modeLines, nil
			return used + 1
		case whole:
			s.ended = true
			used++
		}
		if line = bytes.TrimRight(line, " \t\r"); len(line) > 0 {
			s.last = line[len(line)-1]
		}
	}
	return used
}

// endsInString reports that a string is open at the end of b.
func endsInString(b []byte) bool {
	for i := bytes.IndexByte(b, '"'); i >= 0 && i < len(b); {
		e := stringEnd(b, i+1)
		if e < 0 {
			return true
		}
		n := bytes.IndexByte(b[e+1:], '"')
		if n < 0 {
			return false
		}
		i = e + 1 + n
	}
	return false
}

// cutLines takes whole lines.
func (s *splitter) cutLines(c *chunk, buf []byte) (used int) {
	if s.skipEOL {
		n := bytes.IndexByte(buf, '\n')
		if n < 0 {
			return len(buf)
		}
		s.skipEOL = false
		return n + 1 // the lines after it come with the next round
	}
	if used = bytes.LastIndexByte(buf, '\n') + 1; used > 0 {
		c.lines = true
		return used
	}
	if s.err != nil {
		if len(bytes.TrimSpace(buf)) > 0 && errors.Is(s.err, io.EOF) {
			c.lines = true // the last line has no end
			return len(buf)
		}
		return 0
	}
	if len(buf) > s.maxRecord {
		c.recs = append(c.recs, span{0, min(sampleSize, len(buf)), true})
		s.skipEOL = true
		return len(buf)
	}
	return 0
}

// cutValues takes whole JSON values: the elements of arrays, and what stands
// on its own. It is lenient about commas; the records themselves are checked
// when they are parsed.
func (s *splitter) cutValues(c *chunk, buf []byte) (used int) {
	i := 0
	for {
		if s.skip != nil {
			n, done := s.skip.walk(buf[i:])
			i += n
			if !done {
				return i
			}
			s.skip = nil
		}
		for i < len(buf) && (buf[i] <= ' ' || buf[i] == ',' && s.inArray) {
			i++
		}
		if i == len(buf) {
			return i
		}
		switch ch := buf[i]; {
		case s.inArray && ch == ']':
			s.inArray = false
			i++
			if s.around {
				// Behind LookupEvents' list: skip to the end of its object.
				s.around = false
				s.skip = &skipper{depth: 1}
			}
		case !s.inArray && ch == '[':
			s.inArray = true
			i++
		case ch == '{' || ch == '[':
			if ch == '{' && !s.inArray {
				n, more := listStart(buf[i:])
				if more && s.err == nil && len(buf)-i < sniffSize {
					return i
				}
				if n > 0 {
					s.inArray, s.around = true, true
					i += n
					continue
				}
			}
			end := s.ends.of(i)
			if end < 0 {
				if len(buf)-i > s.maxRecord {
					c.recs = append(c.recs, span{i, i + min(sampleSize, len(buf)-i), true})
					s.skip = new(skipper)
					continue
				}
				return i
			}
			if end-i > s.maxRecord {
				c.recs = append(c.recs, span{i, min(end, i+sampleSize), true})
			} else {
				c.recs = append(c.recs, span{i, end, false})
			}
			i = end
		default:
			end := looseEnd(buf, i, s.inArray)
			if end < 0 {
				if s.err == nil && len(buf)-i <= s.maxRecord {
					return i
				}
				end = len(buf)
			}
			c.recs = append(c.recs, span{i, min(end, i+s.maxRecord), end-i > s.maxRecord})
			i = end
		}
	}
}

// looseEnd ends what is no object or array: with the line, or with the
// element inside an array. It returns -1 when that does not come.
func looseEnd(b []byte, i int, inArray bool) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case '\n':
			return i
		case ',', ']':
			if inArray {
				return i
			}
		case '"':
			if inArray {
				if i = stringEnd(b, i+1); i < 0 {
					return -1
				}
			}
		}
	}
	return -1
}

// sniffSize is how far into an object its list of events is looked for.
const sniffSize = 64 << 10

// listStart finds the list of events of a LookupEvents answer, so that answers
// joined to one of any length are streamed: it returns the index after the
// list's bracket, 0 when the object is none, and more when what is there does
// not tell yet.
func listStart(b []byte) (n int, more bool) {
	i := space(b, 1)
	for {
		if i >= len(b) {
			return 0, true
		}
		if b[i] != '"' {
			return 0, false
		}
		e := stringEnd(b, i+1)
		if e < 0 {
			return 0, true
		}
		key := string(b[i+1 : e])
		if i = space(b, e+1); i >= len(b) {
			return 0, true
		}
		if b[i] != ':' {
			return 0, false
		}
		if i = space(b, i+1); i >= len(b) {
			return 0, true
		}
		if strings.EqualFold(key, "Events") {
			if b[i] == '[' {
				return i + 1, false
			}
			return 0, false
		}
		// Only the short values that stand around the list may come first.
		if b[i] == '{' || b[i] == '[' || !answerKey(key) {
			return 0, false
		}
		if i = valueEnd(b, i); i < 0 {
			return 0, true
		}
		if i = space(b, i); i < len(b) && b[i] == ',' {
			i = space(b, i+1)
		}
	}
}

func answerKey(key string) bool {
	for _, k := range []string{"RequestId", "NextToken", "StartTime", "EndTime", "HttpStatusCode", "Success"} {
		if strings.EqualFold(key, k) {
			return true
		}
	}
	return false
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

const (
	lsb = 0x0101010101010101
	msb = 0x8080808080808080
)

// stringEnd returns the index of the quote that ends the string whose first
// content byte is at i, or -1.
func stringEnd(b []byte, i int) int {
	for i < len(b) {
		if i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			q, e := x^lsb*'"', x^lsb*'\\'
			m := ((q-lsb)&^q | (e-lsb)&^e) & msb
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		}
		switch b[i] {
		case '"':
			return i
		case '\\':
			i++
		}
		i++
	}
	return -1
}

// valueEnd returns the index after the value at i, by its brackets and
// quotes alone, or -1 when it does not end in b.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		e := stringEnd(b, i+1)
		if e < 0 {
			return -1
		}
		return e + 1
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = stringEnd(b, i+1); i < 0 {
					return -1
				}
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	}
	for i < len(b) {
		switch b[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t':
			return i
		}
		i++
	}
	return -1
}

// ends finds the ends of the objects and arrays of a text, one behind the other, as
// valueEnd does, in a list of the text's quotes where there can be one: strings are
// most of a record.
type ends struct {
	buf      []byte
	quotes   *event.Quotes // of buf[from:to]
	from, to int
	next     int // of the quotes; those before it have been passed
}

func (e *ends) begin(buf []byte) {
	e.buf, e.from, e.to = buf, 0, 0
	e.quotes = listed.Get().(*event.Quotes)
}

func (e *ends) finish() {
	listed.Put(e.quotes)
	e.buf, e.quotes = nil, nil
}

// listed is for the next text: a list has 256 KB, and there are thousands of files.
var listed = sync.Pool{New: func() any { return new(event.Quotes) }}

// of is valueEnd(buf, i), of an object or array that lies behind those asked for
// before.
func (e *ends) of(i int) int {
	if i < e.to {
		if end := e.within(i); end > 0 {
			return end
		}
	}
	if i > e.from || e.to == 0 {
		e.from, e.to, e.next = i, min(len(e.buf), i+event.MaxQuotes), 0
		if !e.quotes.List(e.buf[e.from:e.to]) {
			e.to = e.from
		} else if end := e.within(i); end > 0 {
			return end
		}
	}
	return valueEnd(e.buf, i)
}

// within returns 0 where the value does not end in what is listed, or a backslash
// stands outside of strings, where it escapes nothing.
func (e *ends) within(i int) int {
	n, depth := e.next, 0
	for n < e.quotes.Len() && e.from+e.quotes.At(n) < i {
		n++
	}
	for {
		stop := e.to
		if n < e.quotes.Len() {
			stop = e.from + e.quotes.At(n)
		}
		for ; i < stop; i++ {
			switch e.buf[i] {
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					e.next = n
					return i + 1
				}
			case '\\':
				return 0
			}
		}
		if n+1 >= e.quotes.Len() {
			return 0
		}
		i = e.from + e.quotes.At(n+1) + 1
		n += 2
	}
}

// skipper walks over a value that is not kept, across blocks.
type skipper struct {
	depth         int
	inString, esc bool
}

// walk returns how many bytes of b belong to the value, and whether it ended.
func (k *skipper) walk(b []byte) (n int, done bool) {
	for i, c := range b {
		switch {
		case k.esc:
			k.esc = false
		case k.inString:
			switch c {
			case '\\':
				k.esc = true
			case '"':
				k.inString = false
			}
		case c == '"':
			k.inString = true
		case c == '{' || c == '[':
			k.depth++
		case c == '}' || c == ']':
			if k.depth--; k.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(b), false
}
