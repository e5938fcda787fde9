package rules

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one fault in a rule file.
type Error struct {
	File    string // path as given
	Line    int    // from 1; 0 when the fault is about the file as a whole
	Column  int    // from 1, in characters
	Source  string // the line
	Message string // what is wrong
	Hint    string // what to do, for example `did you mean "event.name"?`
}

// Error prints the position, the message, and the line with a caret.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + tame(e.Message, 1000))
	if e.Hint != "" {
		b.WriteString("; " + tame(e.Hint, 1000))
	}
	if e.Line > 0 && e.Source != "" {
		line, col := excerpt(e.Source, e.Column)
		fmt.Fprintf(&b, "\n%5d | %s\n      | ", e.Line, clean(strings.ReplaceAll(line, "\t", " ")))
		n := 1
		for _, r := range line {
			if n >= col {
				break
			}
			b.WriteByte(' ')
			if wide(r) {
				b.WriteByte(' ')
			}
			n++
		}
		b.WriteByte('^')
	}
	return b.String()
}

// excerpt cuts a long line to what stands around the column, and returns the
// column in it.
func excerpt(line string, column int) (string, int) {
	const around = 100
	rs := []rune(line)
	if len(rs) <= 2*around {
		return line, column
	}
	from := min(max(0, column-around), len(rs))
	to := min(len(rs), from+2*around)
	out := string(rs[from:to])
	if to < len(rs) {
		out += "…"
	}
	if from > 0 {
		return "…" + out, column - from + 1
	}
	return out, column
}

// wide says whether a terminal shows r in two cells.
func wide(r rune) bool {
	return r >= 0x1100 && unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) ||
		r >= 0xff00 && r <= 0xff60 || r >= 0x3000 && r <= 0x303f
}

// clean keeps a terminal safe from what a file or record contains.
func clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexFunc(s, hostile) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if hostile(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// hostile runes change how the text around them is shown.
func hostile(r rune) bool {
	if r >= ' ' && r <= '~' || r >= 0x3000 && r < 0xa000 { // most of what there is
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// Errors is every fault that was found, in order of file and position.
type Errors []*Error

// Error prints all faults.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As access to each fault.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, x := range e {
		out[i] = x
	}
	return out
}

func (e Errors) sort() {
	sort.SliceStable(e, func(i, j int) bool {
		if e[i].File != e[j].File {
			return e[i].File < e[j].File
		}
		if e[i].Line != e[j].Line {
			return e[i].Line < e[j].Line
		}
		return e[i].Column < e[j].Column
	})
}

// DidYouMean proposes the known word closest to the one written ("did you mean
// \"x\"?"), for error messages of rules and of configuration; or nothing
// when none is close.
func DidYouMean(word string, known []string) string {
	best, limit := "", len([]rune(word))/3+1
	if limit > 4 {
		limit = 4
	}
	low := strings.ToLower(word)
	for _, k := range known {
		if d := distance(low, strings.ToLower(k), limit); d <= limit && (d < limit || best == "") {
			best, limit = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// orMeant is DidYouMean behind what was said, nothing without a suggestion.
func orMeant(word string, known []string) string {
	if hint := DidYouMean(word, known); hint != "" {
		return "; " + hint
	}
	return ""
}

// distance counts edits (a swap of neighbours is one) from a to b; more than
// limit is limit+1.
func distance(a, b string, limit int) int {
	if len(a) > 200 || len(b) > 200 || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
			low = min(low, cur[j])
		}
		if low > limit {
			return limit + 1
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
