package rampolicy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// walk adds the cells of the texts that begin with a root, of globs whose
// leads do. What a walk must not do is give a text as the witness of a cell
// that a literal takes out of it. It looks for another; where it finds none,
// the literals in question are walked too.
func (s *splitter) walk(root string, base bitset, sorted []int) bool {
	if s.actions && strings.Count(root, ":") > 1 {
		return true
	}
	literals := map[string]int{}
	var walked []int
	for _, i := range sorted {
		if g := &s.globs[i]; g.form != formLiteral {
			walked = append(walked, i)
		} else {
			literals[g.lead] = i
		}
	}
	for round := 0; ; round++ {
		if round == 3 {
			for _, i := range literals {
				walked = append(walked, i)
			}
			clear(literals)
		}
		slices.Sort(walked)
		cells, taken, ok := s.walkOnce(root, walked, literals)
		if !ok {
			return false
		}
		if len(taken) == 0 {
			for _, c := range cells {
				for i, w := range base {
					c.match[i] |= w
				}
				s.put(c.match, c.witness)
			}
			return true
		}
		for _, text := range taken {
			walked = append(walked, literals[text])
			delete(literals, text)
		}
	}
}

// walkOnce walks the subset construction of some of the globs together, from
// the end of the root. It branches only on characters that a live position can
// read, and on one that stands for the rest. Walking breadth first, the
// witness of a cell is a shortest one that is not in avoid. taken lists those
// texts of avoid that alone were found for a cell.
func (s *splitter) walkOnce(root string, walked []int, avoid map[string]int) (out []cell, taken []string, ok bool) {
	w := walker{splitter: s, root: root, avoid: avoid, match: newBitset(len(s.globs)),
		states: make([]walkState, 0, 64), lives: make([]uint32, 0, 256), seen: make(map[uint64]int32, 64)}
	at := uint32(utf8.RuneCountInString(root))
	var start []uint32
	for _, i := range walked {
		s.globs[i].split()
		start = append(start, uint32(i)<<16|at)
	}
	colons := byte(0)
	if s.actions {
		colons = byte(strings.Count(root, ":"))
	}
	first := w.closed(start)
	w.add(hashLive(first, colons), first, colons, -1, 0)
	for n := 0; n < len(w.states); n++ {
		if !w.expand(n) {
			return nil, nil, false
		}
	}
	for i := range w.open {
		if w.open[i] {
			taken = append(taken, w.out[i].witness)
		}
	}
	return w.out, taken, true
}

// walker is one walk of some globs together.
type walker struct {
	*splitter
	root  string
	avoid map[string]int

	states []walkState
	lives  []uint32         // glob<<16 | position, of all states
	seen   map[uint64]int32 // by hash, the last state that has it

	sets setIndex // of what the cells match
	out  []cell
	open []bool // by cell: its witness is to be avoided

	// What is used again at each step.
	scratch, next []uint32
	match         bitset
	chars, text   []rune
}

// walkState is the live positions after a text, and how it was come to.
type walkState struct {
	from, to uint32 // in lives
	parent   int32
	char     rune
	cell     int32 // -1 when the texts that end here are none
	before   int32 // the one before with the same hash, or -1
	colons   byte
}

// path is the text that leads to a state, and last behind it.
func (w *walker) path(n int, last ...rune) string {
	w.text = append(w.text[:0], last...)
	for i := n; w.states[i].parent >= 0; i = int(w.states[i].parent) {
		w.text = append(w.text, w.states[i].char)
	}
	slices.Reverse(w.text)
	return w.root + string(w.text)
}

// closed adds what follows stars and drops what stars cover. Positions come
// glob by glob and rising, and leave so.
//
// A position behind a star covers every earlier position of its glob: what
// "*b*c" matches, "*c" does too. Only the ones from the last star on are kept.
func (w *walker) closed(in []uint32) []uint32 {
	out := w.scratch[:0]
	for i := 0; i < len(in); {
		g := in[i] >> 16
		t := w.globs[g].toks
		from := len(out)
		for ; i < len(in) && in[i]>>16 == g; i++ {
			pos := int(in[i] & 0xffff)
			if n := len(out); n > from && out[n-1] == in[i] {
				// it followed a star already
			} else if pos < len(t) && t[pos].kind == '*' {
				out = append(out[:from], in[i])
			} else {
				out = append(out, in[i])
				continue
			}
			if pos < len(t) && t[pos].kind == '*' {
				out = append(out, in[i]+1)
			}
		}
	}
	w.scratch = out
	return out
}

func hashLive(live []uint32, colons byte) uint64 {
	h := uint64(colons) + uint64(len(live))<<8
	for _, v := range live {
		h = (h ^ uint64(v)) * 0x9e3779b97f4a7c15
		h ^= h >> 32
	}
	return h
}

// find looks for the state with these live positions.
func (w *walker) find(h uint64, live []uint32, colons byte) (int32, bool) {
	n, ok := w.seen[h]
	for ok && n >= 0 {
		x := &w.states[n]
		if x.colons == colons && slices.Equal(w.lives[x.from:x.to], live) {
			return n, true
		}
		n = x.before
	}
	return 0, false
}

// add adds a state, and the cell of the text that leads to it.
func (w *walker) add(h uint64, live []uint32, colons byte, parent int32, char rune) {
	before, known := w.seen[h]
	if !known {
		before = -1
	}
	w.seen[h] = int32(len(w.states))
	from := uint32(len(w.lives))
	w.lives = append(w.lives, live...)
	w.states = append(w.states, walkState{from: from, to: uint32(len(w.lives)), parent: parent, char: char, cell: -1, before: before, colons: colons})
	if w.actions && colons != 1 {
		return
	}
	clear(w.match)
	for _, v := range live {
		if g := v >> 16; int(v&0xffff) == len(w.globs[g].toks) {
			w.match.set(int(g))
		}
	}
	n := w.sets.find(w.match)
	fresh := n < 0
	if fresh {
		n = w.sets.add(w.slab.clone(w.match))
	}
	last := len(w.states) - 1
	w.states[last].cell = int32(n)
	if fresh {
		text := w.path(last)
		_, bad := w.avoid[text]
		w.out = append(w.out, cell{match: w.sets.sets[n], witness: text})
		w.open = append(w.open, bad)
	} else if w.open[n] {
		w.witness(n, w.path(last))
	}
}

// witness gives a cell a text in place of one to be avoided.
func (w *walker) witness(cell int, text string) {
	if _, bad := w.avoid[text]; !bad {
		w.out[cell].witness, w.open[cell] = text, false
	}
}

// expand follows every character that matters after a state; false where that
// is more than may be spent.
func (w *walker) expand(n int) bool {
	from := w.states[n]
	for _, c := range w.branches(n) {
		colons := from.colons
		if w.actions && c == ':' {
			if colons++; colons > 1 {
				continue
			}
		}
		live := w.lives[from.from:from.to]
		// A thousand live globs at each of many states are as bad as
		// many states.
		if !w.work.spend(len(live) + 8) {
			return false
		}
		to := w.closed(w.after(live, c))
		h := hashLive(to, colons)
		if m, ok := w.find(h, to, colons); ok {
			if i := w.states[m].cell; i >= 0 && w.open[i] {
				w.witness(int(i), w.path(n, c))
			}
			continue
		}
		if w.limit--; w.limit < 0 {
			return false
		}
		w.add(h, to, colons, int32(n), c)
	}
	return true
}

// branches are the characters that a live position of a state can read, and
// one that stands for the rest.
func (w *walker) branches(n int) []rune {
	chars := w.chars[:0]
	for _, v := range w.lives[w.states[n].from:w.states[n].to] {
		g, pos := v>>16, int(v&0xffff)
		if pos == len(w.globs[g].toks) {
			continue
		}
		switch t := w.globs[g].toks[pos]; t.kind {
		case 'l':
			chars = append(chars, t.r)
		case 'f':
			chars = append(chars, t.r)
			for o := unicode.SimpleFold(t.r); o != t.r; o = unicode.SimpleFold(o) {
				chars = append(chars, o)
			}
		}
	}
	if w.actions {
		chars = append(chars, ':')
	}
	slices.Sort(chars)
	w.chars = append(slices.Compact(chars), w.rest)
	return w.chars
}

// after are the positions that read c.
func (w *walker) after(live []uint32, c rune) []uint32 {
	next := w.next[:0]
	for _, v := range live {
		g, pos := v>>16, int(v&0xffff)
		if pos == len(w.globs[g].toks) {
			continue
		}
		if t := w.globs[g].toks[pos]; t.kind == '*' {
			next = append(next, v)
		} else if t.accepts(c) {
			next = append(next, v+1)
		}
	}
	w.next = next
	return next
}
