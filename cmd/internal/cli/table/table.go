// Package table lays out rows in columns for a terminal. Wide characters take two
// cells; a column of numbers is set to the right. A library for it weighed half a
// megabyte of the program, for styles that are not used here.
package table

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// Row is a row's cells. The caller sees to it that text is safe to show.
type Row []any

const gap = "  "

// Write writes a heading in capitals and rows below it. Cells of several lines
// are joined by spaces.
func Write(w io.Writer, header Row, rows []Row) error {
	columns := len(header)
	for _, r := range rows {
		columns = max(columns, len(r))
	}
	width, number := make([]int, columns), make([]bool, columns)
	lines := make([][]string, 0, len(rows)+1)
	for n, r := range append([]Row{header}, rows...) {
		line := make([]string, columns)
		for i, c := range r {
			s := strings.Join(strings.FieldsFunc(fmt.Sprint(c), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
			if n == 0 {
				s = strings.Map(unicode.ToUpper, s)
			} else {
				number[i] = isNumber(c) && (n == 1 || number[i])
			}
			line[i], width[i] = s, max(width[i], cells(s))
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		var b strings.Builder
		for i, s := range line {
			pad := strings.Repeat(" ", width[i]-cells(s))
			if number[i] {
				s = pad + s
			} else {
				s += pad
			}
			if i > 0 {
				b.WriteString(gap)
			}
			b.WriteString(s)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// cells is how wide s is. It goes by characters: clusters of several (flags,
// families) would need tables of half a megabyte.
func cells(s string) (n int) {
	for _, r := range s {
		n += runewidth.RuneWidth(r)
	}
	return n
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return true
	}
	return false
}
