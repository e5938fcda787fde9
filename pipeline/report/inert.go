package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// What a text may at most be long, in runes.
const (
	maxShort = 60   // in a table
	maxLine  = 400  // a name, an id
	maxText  = 1500 // a sentence
	maxBlock = 6000 // a runbook
)

// maxMarks is how many combining marks may stand on one letter. Real scripts
// use up to four; hundreds paint over the lines around.
const maxMarks = 4

// rightToLeft are the scripts whose letters turn the order of what stands
// around them.
var rightToLeft = []*unicode.RangeTable{unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Samaritan, unicode.Mandaic, unicode.Adlam,
	unicode.Mende_Kikakui, unicode.Hanifi_Rohingya, unicode.Old_South_Arabian, unicode.Imperial_Aramaic, unicode.Phoenician, unicode.Lydian, unicode.Avestan,
	unicode.Inscriptional_Parthian, unicode.Inscriptional_Pahlavi, unicode.Psalter_Pahlavi, unicode.Old_Turkic, unicode.Old_Hungarian, unicode.Old_North_Arabian,
	unicode.Nabataean, unicode.Palmyrene, unicode.Hatran, unicode.Cypriot, unicode.Meroitic_Hieroglyphs, unicode.Meroitic_Cursive, unicode.Kharoshthi, unicode.Manichaean,
	unicode.Sogdian, unicode.Old_Sogdian, unicode.Chorasmian, unicode.Elymaic, unicode.Yezidi, unicode.Old_Uyghur}

// leftMark is the only invisible character in a report: it stands around text
// with letters that run from right to left, so that a date behind a name stays
// a date.
const leftMark = "\u200e"

// inert returns s as at most max runes of one line that can be seen. Line
// breaks and tabs are spaces. What is invisible is told by its code point, as
// in ‹U+202E›: two names that differ must not look the same. A cut text ends
// in an ellipsis. Not inlined in all the places that show something (DESIGN D23).
//
//go:noinline
func inert(s string, max int) string { return show(s, max, false) }

// inertBlock is inert with line breaks kept.
func inertBlock(s string, max int) string { return show(s, max, true) }

func show(s string, max int, breaks bool) string {
	if plain(s) && len(s) <= max {
		return s
	}
	var b strings.Builder
	n, marks, rtl := 0, 0, false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if n >= max {
			b.WriteString("…")
			break
		}
		if unicode.Is(unicode.M, r) && !unicode.Is(unicode.Variation_Selector, r) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		switch {
		case r == '\n' && breaks:
			b.WriteByte('\n')
		case r == '\n' || r == '\t' || r == '\r' || r == 0x2028 || r == 0x2029:
			if r != '\r' || !breaks {
				b.WriteByte(' ')
			}
		case text.Hidden(r):
			code := fmt.Sprintf("‹U+%04X›", r)
			b.WriteString(code)
			n += utf8.RuneCountInString(code) - 1
		default:
			rtl = rtl || r >= 0x590 && unicode.In(r, rightToLeft...)
			b.WriteRune(r) // broken bytes are U+FFFD
		}
		n++
	}
	if rtl {
		return leftMark + b.String() + leftMark
	}
	return b.String()
}

// plain is the fast path: printable ASCII.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
