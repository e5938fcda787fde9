package event

// The quotes of a record are its strings' beginnings and ends, in turn: with a
// list of them a walk steps from string to string in place of looking for each
// end. An entry is the quote's place in the record times four, and flags about
// what lies between it and the quote before.
const (
	quoteAt    = 2 // an entry shifted right by this is the place
	quoteBack  = 1 // a backslash
	quoteOther = 2 // a byte that is not plain content: a control character, one
	// above 0x7f, or what a backslash escapes other than a quote or a backslash
)

// maxListed is the longest record whose quotes are listed, in bytes: the list
// has room for four times as much. Longer ones are walked byte by byte.
const maxListed = 64 << 10

// A kernel looks at blocks of quoteBlock bytes, and may write as many entries
// for each, whatever it holds.
const quoteBlock = 64

// carry is what one block says of the next: whether its first byte is escaped,
// and whether the next quote will have a backslash, or another byte that is not
// plain, before it. Each is 0 or 1.
type carry [3]uint64

// quotesOf lists the quotes of b that no backslash escapes, in the memory of
// list; nil when the processor cannot do it, or b is better served without.
func quotesOf(list []uint32, b []byte) []uint32 {
	if len(b) > maxListed || len(b) == 0 || !canList() {
		return nil
	}
	blocks, rest := len(b)/quoteBlock, len(b)%quoteBlock
	if need := len(b) + quoteBlock; cap(list) < need {
		list = make([]uint32, max(need, 4<<10))
	}
	list = list[:cap(list)]
	var c carry
	n := 0
	if blocks > 0 {
		n = listQuotes(&b[0], blocks, &list[0], 0, &c)
	}
	if rest > 0 {
		// Behind the end stand zeros, which are no quotes.
		var last [quoteBlock]byte
		copy(last[:], b[blocks*quoteBlock:])
		n += listQuotes(&last[0], 1, &list[n], uint64(blocks*quoteBlock)<<quoteAt, &c)
	}
	return list[:n]
}

// Quotes are the quotes of a text that no backslash escapes, for those who look for
// the ends of its strings. The zero value has none; it is not for several goroutines.
type Quotes struct{ list []uint32 }

// MaxQuotes is the longest text that Quotes lists, in bytes.
const MaxQuotes = maxListed

// List lists the quotes of b, which is no longer than MaxQuotes. It returns false
// where the processor cannot do that, and without a text.
func (q *Quotes) List(b []byte) bool {
	list := quotesOf(q.list, b)
	if list == nil {
		return false
	}
	q.list = list
	return true
}

// Len is how many there are.
func (q *Quotes) Len() int { return len(q.list) }

// At is the place of one of them in the text.
func (q *Quotes) At(n int) int { return int(q.list[n] >> quoteAt) }
