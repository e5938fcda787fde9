package event

// marks is what 64 bytes of a record hold, a bit for each byte, the first one
// lowest. With them a string's end is found by looking at a word or two in
// place of its bytes.
type marks struct {
	quote uint64 // a quote that no backslash escapes
	back  uint64 // a backslash
	// A byte that is not plain content: a control character, one above 0x7f,
	// or what a backslash escapes other than a quote or a backslash.
	other uint64
}

// maxMarked is the longest record that is marked, in bytes: the marks take
// three eighths as much again. Longer ones are walked byte by byte.
const maxMarked = 64 << 10

// mark fills m with the marks of b, using its memory again; nil when the
// processor cannot do it, or the length of b is better served without.
func mark(m []marks, b []byte) []marks {
	if len(b) > maxMarked || len(b) == 0 {
		return nil
	}
	full := len(b) / 64
	n := (len(b) + 63) / 64
	if cap(m) < n {
		m = make([]marks, n, n+n/2+32)
	}
	m = m[:n]
	next := uint64(0)
	if full > 0 {
		var ok bool
		if next, ok = markBlocks(&b[0], full, &m[0], 0); !ok {
			return nil
		}
	}
	if full < n {
		var rest [64]byte // what is behind the end is marked too and never looked at
		copy(rest[:], b[full*64:])
		if _, ok := markBlocks(&rest[0], 1, &m[full], next); !ok {
			return nil
		}
	}
	return m
}
