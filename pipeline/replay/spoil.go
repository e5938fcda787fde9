package replay

// overwrite writes over the memory of a batch that is given back, so that
// whoever still refers to it shows. Tests of this package do that, and every
// program that is built with the race detector, so that tests with real rules
// see it too.
func overwrite(b *batch) {
	fill(b.buf, 'X')
	fill(b.text, 'Y')
	fill(b.copies, 'W')
	for _, s := range b.slabs {
		for i := range s {
			s[i].Spoil()
		}
	}
	for _, s := range b.briefs {
		clear(s)
	}
}

func fill(b []byte, with byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = with
	}
}
