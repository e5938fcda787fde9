package text

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Dash is what is shown where a fact is unknown.
const Dash = "—"

// ellipsis ends a text that was cut.
const ellipsis = "…"

// maxMarks is how many combining marks may stand on one letter. Real scripts
// use up to four; hundreds ("zalgo") paint over the lines around.
const maxMarks = 4

// kind is what becomes of a rune.
type kind uint8

const (
	keep kind = iota
	drop
	space   // becomes one space
	newline // becomes a line break in Block, a space in Line
	replace // becomes U+FFFD
)

func classify(r rune) kind {
	switch {
	case r >= 0x20 && r < 0x7f:
		return keep
	case r == '\n' || r == '\r' || r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029:
		return newline
	case r == '\t':
		return space
	case r < 0x20 || r >= 0x7f && r < 0xa0: // C0 with ESC, DEL, C1
		return drop
	case r == utf8.RuneError || unicode.Is(unicode.Co, r): // broken bytes, private glyphs
		return replace
	case unicode.Is(unicode.Cf, r), // bidi controls, zero-width, BOM, soft hyphen, tags
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), // fillers, U+034F
		unicode.Is(unicode.Variation_Selector, r),                 // can smuggle bytes
		r == 0x2800: // braille blank
		return drop
	case unicode.Is(unicode.Zs, r):
		return space
	}
	return keep
}

// Hidden says whether a rune shows nothing, or changes how others show:
// controls, escapes, direction overrides, zero-width, fillers, selectors,
// private glyphs, and every line break. A tab is not.
func Hidden(r rune) bool {
	k := classify(r)
	return k == drop || k == newline || k == replace && r != utf8.RuneError
}

// clean copies s without what is invisible. Runs of blanks become one space,
// blanks at the ends of lines go. Line breaks stay when breaks is set, at most
// two in a row; otherwise they are blanks.
func clean(s string, breaks bool) string {
	if isClean(s) {
		return s
	}
	var b strings.Builder
	b.Grow(min(len(s), 1<<16))
	var pendingSpace bool
	var pendingBreaks, marks int
	var last rune
	for _, r := range s {
		k := classify(r)
		if last == '\r' && r == '\n' { // one break, not two
			last = r
			continue
		}
		last = r
		switch k {
		case drop:
			continue
		case newline:
			if breaks {
				pendingBreaks++
				pendingSpace = false
			} else {
				pendingSpace = true
			}
			continue
		case space:
			pendingSpace = true
			continue
		case replace:
			r = utf8.RuneError
		case keep:
			if r == ' ' {
				pendingSpace = true
				continue
			}
		}
		if unicode.Is(unicode.M, r) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		if b.Len() > 0 {
			switch {
			case pendingBreaks > 0:
				b.WriteString("\n\n"[:min(pendingBreaks, 2)])
			case pendingSpace:
				b.WriteByte(' ')
			}
		}
		pendingBreaks, pendingSpace = 0, false
		b.WriteRune(r)
	}
	return b.String()
}

// isClean is the fast path: printable ASCII without double or outer blanks.
func isClean(s string) bool {
	blank := true // a leading blank is not clean
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c >= 0x7f {
			return false
		}
		if c == ' ' {
			if blank {
				return false
			}
			blank = true
		} else {
			blank = false
		}
	}
	return s == "" || !blank
}

// Line returns s as one line of visible text: no control or invisible
// characters, line breaks and runs of blanks as one space, nothing at the ends.
// Like Cut it stands in a hundred places, none of them on the way of an event, and
// is not inlined (DESIGN D23).
//
//go:noinline
func Line(s string) string { return clean(s, false) }

// Block is Line for text of several lines: line breaks ("\n") are kept, at
// most one empty line in a row.
func Block(s string) string { return clean(s, true) }

// Visible returns s without what cannot be seen, with blanks and line breaks as
// they are: for text that is laid out in lines, such as an error that points at
// a place.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || !Hidden(r):
			return r
		case classify(r) == newline && r != '\r':
			return '\n'
		}
		return -1
	}, s)
}

// Terminal returns s safe to print on a terminal or in a log line: Line, without
// what the runner of a CI that keeps the log would take for a command (Log).
func Terminal(s string) string { return disarm(Line(s)) }

// Log is Visible for text that is printed as lines of a log which the runner of
// a CI reads: a blank stands inside of what it would take for a command to
// itself. These are "::name …::" at the beginning of a line (GitHub and those
// that follow it), and "##[…]", "##vso[…]" and "##teamcity[…]" anywhere (GitHub's
// old form, Azure Pipelines, TeamCity).
func Log(s string) string { return disarm(Visible(s)) }

// disarm breaks commands to the runners of CIs. The form that counts only at
// the beginning of a line is broken at the beginning of every word: what shows
// a text may begin a line there.
func disarm(s string) string {
	if !strings.Contains(s, "##") && !strings.Contains(s, "::") {
		return s
	}
	var b strings.Builder
	done := 0
	for i := 1; i < len(s); i++ {
		if c := s[i]; c != s[i-1] || c != '#' && c != ':' {
			continue
		}
		n := wordLen(s[i+1:])
		rest := s[i+1+n:]
		if s[i] == '#' && !strings.HasPrefix(rest, "[") ||
			s[i] == ':' && (n == 0 || s[i+1] >= '0' && s[i+1] <= '9' || !ends(rest) || !beginsWord(s[:i-1])) {
			continue
		}
		b.WriteString(s[done:i])
		b.WriteByte(' ')
		done = i
	}
	b.WriteString(s[done:])
	return b.String()
}

// ends says that the "::" which ends a command follows its name, at once or after
// properties.
func ends(rest string) bool {
	if strings.HasPrefix(rest, " ") {
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Contains(line, "::")
	}
	return strings.HasPrefix(rest, "::")
}

// beginsWord says that what follows before is the beginning of a word or line.
func beginsWord(before string) bool {
	r, n := utf8.DecodeLastRuneInString(before)
	return n == 0 || unicode.IsSpace(r)
}

// wordLen is how long the name of a command is with which s begins.
func wordLen(s string) int {
	for i, c := range []byte(s) {
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return i
		}
	}
	return len(s)
}

// CSV returns s as the content of one spreadsheet cell: one line, with an
// apostrophe before anything that a spreadsheet would take for a formula, and no
// command to a CI (Log). Quoting is left to encoding/csv.
func CSV(s string) string {
	s = disarm(Line(s))
	first, _ := utf8.DecodeRuneInString(s)
	switch first {
	case '=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠':
		return "'" + s
	}
	return s
}

// Cut shortens s to at most max runes, the last being an ellipsis when
// something was cut. A letter keeps the marks that stand on it or goes with
// them. A max below 1 gives "". Not inlined, as Line is not.
//
//go:noinline
func Cut(s string, max int) string {
	return cut(s, max, func(rune) int { return 1 })
}

// CutUTF16 is Cut counted in UTF-16 units, the strictest way in which a chat
// platform may count "characters": the result is within max either way.
//
//go:noinline
func CutUTF16(s string, max int) string {
	return cut(s, max, utf16.RuneLen)
}

// LenUTF16 is the length of s in UTF-16 units; invalid bytes count one each.
func LenUTF16(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

func cut(s string, max int, width func(rune) int) string {
	if max < 1 {
		return ""
	}
	n, end := 0, 0 // end: where the cut would be, before the ellipsis
	for i, r := range s {
		if n <= max-1 && !unicode.Is(unicode.M, r) {
			end = i
		}
		if n += width(r); n > max {
			return strings.TrimRight(s[:end], " \n") + ellipsis
		}
	}
	return s
}

// SlackPlain returns s for a Slack plain_text object of at most max
// characters (UTF-16 units), line breaks kept. plain_text has no markup; angle
// brackets still become ‹ ›, @here and its like lose their at sign and links
// are defanged, so that the text stays inert if it is ever rendered by
// something that does know markup.
func SlackPlain(s string, max int) string {
	s = Defang(Block(s))
	if strings.ContainsAny(s, "<>@") {
		rs := []rune(s)
		for i, r := range rs {
			switch {
			case r == '<':
				rs[i] = '‹'
			case r == '>':
				rs[i] = '›'
			case r == '@' && broadcastAhead(rs[i+1:]):
				rs[i] = '＠'
			}
		}
		s = string(rs)
	}
	return uncalled(CutUTF16(s, max))
}

// Mrkdwn returns s as one line for a Slack mrkdwn text of at most max
// characters after escaping: & < > are entities (no <!channel>, no <@user>, no
// <link|label>), @here and its like lose their at sign, links are defanged,
// and formatting and emoji characters are replaced by look-alikes. An entity
// is never cut in half. Show values that people copy with Code instead.
func Mrkdwn(s string, max int) string {
	s = Defang(Line(s))
	rs := []rune(s)
	var b strings.Builder
	at := func(i int) rune {
		if i < 0 || i >= len(rs) {
			return ' '
		}
		return rs[i]
	}
	f := fitter{max: max, b: &b}
	for i, r := range rs {
		switch r {
		case '&':
			f.add("&amp;")
		case '<':
			f.add("&lt;")
		case '>':
			f.add("&gt;")
		case '*':
			f.add("∗")
		case '~':
			f.add("∼")
		case '`':
			f.add("ˋ")
		case '_': // only where it could open or close italics
			if wordRune(at(i-1)) && wordRune(at(i+1)) {
				f.add("_")
			} else {
				f.add("＿")
			}
		case ':': // :ram: is an emoji, and acs:ram::… contains it
			if emojiAhead(rs[i+1:]) {
				f.add("꞉")
			} else {
				f.add(":")
			}
		case '@':
			if broadcastAhead(rs[i+1:]) {
				f.add("＠")
			} else {
				f.add("@")
			}
		default:
			f.add(string(r))
		}
	}
	return uncalled(f.done())
}

// Code returns s as a Slack mrkdwn code span of at most max characters after
// escaping, the backticks included: text that people may copy, in which Slack
// makes no emoji and no formatting; links are defanged all the same. Unknown
// ("") is Dash, unquoted.
func Code(s string, max int) string {
	s = Defang(Line(s))
	if s == "" {
		return Dash
	}
	if max < 3 {
		return ""
	}
	var b strings.Builder
	f := fitter{max: max - 2, b: &b}
	for _, r := range s {
		switch r {
		case '&':
			f.add("&amp;")
		case '<':
			f.add("&lt;")
		case '>':
			f.add("&gt;")
		case '`':
			f.add("ˋ")
		default:
			f.add(string(r))
		}
	}
	return "`" + f.done() + "`"
}

// Markdown returns s as one line of at most max characters (UTF-16 units) for
// the markdown of chats whose escapes are not documented: every character that
// could open a link, an image, a mention, formatting, a table or an entity
// becomes a look-alike, and links are defanged.
func Markdown(s string, max int) string {
	rs := []rune(Defang(Line(s)))
	for i, r := range rs {
		if r == '@' && broadcastAhead(rs[i+1:]) {
			rs[i] = '＠'
		}
		if like, ok := lookAlike[r]; ok {
			// An underscore inside a word, and the brackets that defang a link,
			// mean nothing to markdown.
			if r == '_' && i > 0 && i+1 < len(rs) && wordRune(rs[i-1]) && wordRune(rs[i+1]) {
				continue
			}
			rs[i] = like
		}
	}
	if len(rs) > 0 {
		if like, ok := lineStart[rs[0]]; ok {
			rs[0] = like
		}
	}
	return uncalled(CutUTF16(string(rs), max))
}

var lookAlike = map[rune]rune{
	'*': '∗', '_': '＿', '`': 'ˋ', '~': '∼', '<': '‹', '>': '›', '[': '［', ']': '］', '|': '｜', '\\': '＼', '&': '＆',
}

// lineStart is what makes a list, a heading or a rule where a line begins.
var lineStart = map[rune]rune{'-': '‐', '+': '＋', '#': '＃', '=': '＝'}

func defangWWW(s string) string {
	at := func(i int) bool { return i+4 <= len(s) && strings.EqualFold(s[i:i+4], "www.") }
	i := 0
	for i < len(s) && !at(i) {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		if at(i) {
			b.WriteString(s[i : i+3])
			b.WriteString("[.]")
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// fitter appends indivisible pieces up to max UTF-16 units.
type fitter struct {
	max, n int
	end    int // bytes of b that leave room for the ellipsis
	over   bool
	b      *strings.Builder
}

func (f *fitter) add(piece string) {
	if f.over {
		return
	}
	if f.n <= f.max-1 {
		f.end = f.b.Len()
	}
	if f.n += LenUTF16(piece); f.n > f.max {
		f.over = true
		return
	}
	f.b.WriteString(piece)
}

func (f *fitter) done() string {
	switch {
	case !f.over:
		return f.b.String()
	case f.max < 1:
		return ""
	}
	return strings.TrimRight(f.b.String()[:f.end], " ") + ellipsis
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// emojiAhead says that rs goes on like the inside and end of an emoji name.
func emojiAhead(rs []rune) bool {
	for i, r := range rs {
		switch {
		case r == ':':
			// No emoji has a name of two digits, and 06:02:11 is a time.
			return i > 0 && !(i <= 2 && digits(rs[:i]))
		case i > 64:
			return false
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '+', r == '-', r == '\'', r >= 0x80:
		default:
			return false
		}
	}
	return false
}

func digits(rs []rune) bool {
	return !slices.ContainsFunc(rs, func(r rune) bool { return r < '0' || r > '9' })
}

// broadcasts call everybody: in Slack, and in DingTalk, Feishu and WeCom.
var broadcasts = []string{"here", "channel", "everyone", "group", "all"}

// uncalled takes the at sign from a call that only cutting has made one: of
// "@hereford" the first five letters.
func uncalled(s string) string {
	if !strings.HasSuffix(s, ellipsis) || !strings.Contains(s, "@") {
		return s
	}
	rs := []rune(s)
	for i, r := range rs {
		if r == '@' && broadcastAhead(rs[i+1:]) {
			rs[i] = '＠'
		}
	}
	return string(rs)
}

func broadcastAhead(rs []rune) bool {
	for _, w := range broadcasts {
		if len(rs) >= len(w) && strings.EqualFold(string(rs[:len(w)]), w) && (len(rs) == len(w) || !wordRune(rs[len(w)])) {
			return true
		}
	}
	return len(rs) >= 3 && string(rs[:3]) == "所有人"
}

// Defang writes the addresses in s so that nothing makes a link of them and a
// person still reads them: "https://x" becomes "https[:]//x", "mailto:" and
// "tel:" likewise, "www.x" becomes "www[.]x".
func Defang(s string) string {
	s = defangWWW(s)
	if !strings.Contains(s, ":") {
		return s
	}
	s = strings.ReplaceAll(s, "://", "[:]//")
	for _, scheme := range [...]string{"mailto", "tel", "javascript", "data"} {
		s = defangScheme(s, scheme)
	}
	return s
}

func defangScheme(s, scheme string) string {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], ':')
		if i < 0 {
			return s
		}
		i += from
		from = i + 1
		if start := i - len(scheme); start >= 0 && strings.EqualFold(s[start:i], scheme) &&
			(start == 0 || !wordByte(s[start-1])) && i+1 < len(s) && s[i+1] != ' ' {
			s = s[:i] + "[:]" + s[i+1:]
			from = i + 3
		}
	}
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// MaskKey shortens an AccessKey id for display: "LTAI…Xy9". Ids too short to
// keep anything hidden are shown as "…" with their last three characters; ""
// stays "". Masked ids of the record ("LTAI***") keep their own form.
func MaskKey(id string) string {
	id = Line(id)
	if strings.Contains(id, "***") {
		return Cut(id, 24)
	}
	return mask(id, 4, 3)
}

// MaskAccount shortens an account id for display: "1234…7890".
func MaskAccount(id string) string { return mask(Line(id), 4, 4) }

func mask(id string, head, tail int) string {
	rs := []rune(id)
	switch {
	case len(rs) == 0:
		return ""
	case len(rs) <= tail:
		return ellipsis
	case len(rs) < head+tail+4:
		return ellipsis + string(rs[len(rs)-tail:])
	}
	return string(rs[:head]) + ellipsis + string(rs[len(rs)-tail:])
}
