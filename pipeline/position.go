package pipeline

import (
	"encoding/base64"
	"strconv"
)

// ordinal reads a source position as a number, so that positions can be
// compared: SLS cursors are base64 of a decimal int64, one per log group; a
// plain decimal is accepted too. Other positions are opaque: they can be equal
// or not, and what depends on their order falls back on that.
func ordinal(position string) (int64, bool) {
	if n, err := strconv.ParseInt(position, 10, 64); err == nil {
		return n, true
	}
	b, err := base64.StdEncoding.DecodeString(position)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// order says how a relates to b: -1 before, 0 the same, 1 after; known is
// false when they are different and opaque.
func order(a, b string) (rel int, known bool) {
	if a == b {
		return 0, true
	}
	x, ok := ordinal(a)
	y, ok2 := ordinal(b)
	switch {
	case !ok || !ok2:
		return 0, false
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, true
}

// before and later are order where it is known.
func before(a, b string) bool { rel, ok := order(a, b); return ok && rel < 0 }
func later(a, b string) bool  { rel, ok := order(a, b); return ok && rel > 0 }
