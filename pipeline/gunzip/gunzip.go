package gunzip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// Errors of what is not as it should be. An archive that ends too early gives
// io.ErrUnexpectedEOF.
var (
	ErrHeader   = errors.New("there is no header where a member begins")
	ErrChecksum = errors.New("what came out is not what its checksum says")
	ErrCorrupt  = errors.New("its compressed data make no sense")
	errClosed   = errors.New("read after it was closed")
)

const (
	window   = 32 << 10 // how far back a match may lie
	maxMatch = 258      // bytes of the longest match
	word     = 8        // bytes that are moved at once
	room     = 128 << 10
	unpacked = window + room + maxMatch + word
	packed   = 64 << 10
	straight = 2 * window // what Read is given at least for it not to go through out
)

// Reader unpacks gzip archives. It is not for several goroutines.
type Reader struct {
	state
	symbols   symbolTable
	distances distanceTable
	in        [packed]byte
	out       [unpacked]byte
}

// state is what a Reader begins anew with. All pointers are in it, so that a
// collection looks at no more than that.
type state struct {
	src  io.Reader
	end  error               // of src
	err  error               // what Read says when all is given out
	next func(*Reader) error // what comes next in the input

	ip, ie int    // in[ip:ie] is not used yet
	bits   uint64 // of the input before ip, the next one lowest; above those that there are may be some of what follows
	have   uint   // how many there are

	to    []byte // out, or what Read was given
	r     int    // out[r:w] is unpacked and not given out
	w     int    // where in to it goes on
	limit int    // and how far, but for the rest of a match
	from  int    // where in to the member begins

	sum, size uint32 // of what came out of the member
	last      bool   // the block is the member's last
	left      int    // bytes of a stored block to come
}

// readers are kept for the next archive: one has 240 KB, and a folder of
// deliveries thousands of archives that are smaller than that.
var readers = sync.Pool{New: func() any { return new(Reader) }}

// NewReader reads the header of the first member of r. It reads r in pieces of
// its own, and beyond the archive. What comes behind a member is another member
// or an error. Close gives the reader's memory to the next one.
func NewReader(r io.Reader) (*Reader, error) {
	z := readers.Get().(*Reader)
	z.state = state{src: r, to: z.out[:]}
	if err := z.header(); err != nil {
		z.Close()
		return nil, err
	}
	return z, nil
}

// Close ends the use of a reader. It is called once, and nothing after it.
func (z *Reader) Close() {
	z.state = state{err: errClosed}
	readers.Put(z)
}

// Read gives out what is unpacked. What came before damage is given out before
// its error is.
func (z *Reader) Read(p []byte) (int, error) {
	for z.r == z.w {
		if z.err != nil {
			return 0, z.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if len(p) >= straight {
			z.slide(room)
			z.unpack(z.w + window)
			n := copy(p, z.out[z.r:z.w])
			if z.r = z.w; n >= window && z.err == nil {
				n = z.onward(p, n)
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		z.slide(window + room)
		z.unpack(window + room)
	}
	n := copy(p, z.out[z.r:z.w])
	z.r += n
	return n, nil
}

// onward unpacks straight into p behind its first n bytes, which are what was
// unpacked last and all that matches see, and returns how much of p is full.
func (z *Reader) onward(p []byte, n int) int {
	z.to, z.from, z.w = p, max(0, z.from-(z.w-n)), n
	z.unpack(len(p) - maxMatch - word)
	n = z.w
	copy(z.out[:window], p[n-window:n])
	z.to, z.from, z.r, z.w = z.out[:], max(0, z.from-(n-window)), window, window
	return n
}

// unpack goes on up to limit, or to where there is something to give out and more
// input would have to be waited for.
func (z *Reader) unpack(limit int) {
	z.limit = limit
	for begin := z.w; z.err == nil && z.w < limit && (z.w == begin || z.ie-z.ip >= reach); {
		at := z.w
		z.err = z.next(z)
		z.sum = crc32.Update(z.sum, crc32.IEEETable, z.to[at:z.w])
		z.size += uint32(z.w - at) // of the size, too, the archive has 32 bits
	}
}

// slide makes room in out, where all is given out, if it is used up to most:
// matches still see the last window.
func (z *Reader) slide(most int) {
	if z.w < most {
		return
	}
	by := z.w - window
	copy(z.out[:], z.out[by:z.w])
	z.r, z.w, z.from = window, window, max(0, z.from-by)
}

// fill reads more input, and keeps what bits may give back.
func (z *Reader) fill() {
	keep := max(0, z.ip-word)
	z.ip, z.ie = z.ip-keep, copy(z.in[:], z.in[keep:z.ie])
	for had := z.ie; z.ie == had && z.end == nil; {
		var n int
		n, z.end = z.src.Read(z.in[z.ie:])
		z.ie += n
	}
}

// need sees to it that there are n bits, no more than 32.
func (z *Reader) need(n uint) error {
	for z.have < n {
		if z.ip == z.ie {
			if z.fill(); z.ip == z.ie {
				return z.ended()
			}
		}
		z.bits |= uint64(z.in[z.ip]) << z.have
		z.ip++
		z.have += 8
	}
	return nil
}

// ended is the error that more input is needed than there is.
func (z *Reader) ended() error {
	if errors.Is(z.end, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return z.end
}

// take is the next n bits, of which there are as many.
func (z *Reader) take(n uint) int {
	v := z.bits & (1<<n - 1)
	z.bits >>= n
	z.have -= n
	return int(v)
}

// whole leaves what is left of a byte that was begun, and gives back those that
// were not.
func (z *Reader) whole() {
	z.ip -= int(z.have / 8)
	z.bits, z.have = 0, 0
}

// octets is the next n bytes of the input, no more than 16.
func (z *Reader) octets(n int) ([]byte, error) {
	for z.ie-z.ip < n {
		if had := z.ie - z.ip; had < n {
			if z.fill(); z.ie-z.ip == had {
				return nil, z.ended()
			}
		}
	}
	b := z.in[z.ip : z.ip+n]
	z.ip += n
	return b, nil
}

// header reads the header of a member, RFC 1952 section 2.3, or finds the end
// of the archive.
func (z *Reader) header() error {
	if z.ip == z.ie {
		if z.fill(); z.ip == z.ie {
			return z.end // io.EOF, too
		}
	}
	const (
		hasSum = 1 << (iota + 1)
		hasExtra
		hasName
		hasComment
	)
	sum := uint32(0)
	read := func(n int) ([]byte, error) {
		b, err := z.octets(n)
		sum = crc32.Update(sum, crc32.IEEETable, b)
		return b, err
	}
	text := func() error {
		for {
			if b, err := read(1); err != nil || b[0] == 0 {
				return err
			}
		}
	}
	b, err := read(10)
	if err != nil {
		return err
	}
	if b[0] != 0x1f || b[1] != 0x8b || b[2] != 8 {
		return ErrHeader
	}
	has := b[3]
	if has&hasExtra != 0 {
		b, err := read(2)
		if err != nil {
			return err
		}
		for range binary.LittleEndian.Uint16(b) {
			if _, err := read(1); err != nil {
				return err
			}
		}
	}
	if has&hasName != 0 {
		if err := text(); err != nil {
			return err
		}
	}
	if has&hasComment != 0 {
		if err := text(); err != nil {
			return err
		}
	}
	if has&hasSum != 0 {
		want := uint16(sum)
		if b, err := z.octets(2); err != nil {
			return err
		} else if binary.LittleEndian.Uint16(b) != want {
			return ErrHeader
		}
	}
	z.sum, z.size, z.from = 0, 0, z.w
	z.next = (*Reader).block
	return nil
}

// trailer compares what came out with what the archive says of it.
func (z *Reader) trailer() error {
	z.whole()
	b, err := z.octets(8)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != z.sum || binary.LittleEndian.Uint32(b[4:]) != z.size {
		return ErrChecksum
	}
	z.next = (*Reader).header
	return nil
}

// block reads the header of a block, RFC 1951 section 3.2.3.
func (z *Reader) block() error {
	if z.last {
		z.last = false
		return z.trailer()
	}
	if err := z.need(3); err != nil {
		return err
	}
	z.last = z.take(1) == 1
	switch z.take(2) {
	case 0:
		return z.stored()
	case 1:
		z.fixed()
	case 2:
		return z.dynamic()
	default:
		return corrupt("a block of a kind that there is not")
	}
	return nil
}

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

// stored reads the size of a block that is not compressed.
func (z *Reader) stored() error {
	z.whole()
	b, err := z.octets(4)
	if err != nil {
		return err
	}
	n := binary.LittleEndian.Uint16(b)
	if n != ^binary.LittleEndian.Uint16(b[2:]) {
		return corrupt("the size of a stored block is said in two ways")
	}
	z.left, z.next = int(n), (*Reader).copied
	return nil
}

// copied moves what it can of a stored block.
func (z *Reader) copied() error {
	if z.left == 0 {
		z.next = (*Reader).block
		return nil
	}
	if z.ip == z.ie {
		if z.fill(); z.ip == z.ie {
			return z.ended()
		}
	}
	n := copy(z.to[z.w:z.limit+maxMatch], z.in[z.ip:min(z.ie, z.ip+z.left)])
	z.ip, z.w, z.left = z.ip+n, z.w+n, z.left-n
	return nil
}

// fixed has the codes that need no telling, RFC 1951 section 3.2.6.
func (z *Reader) fixed() {
	var code [288]uint8
	copy(code[:], bytes.Repeat([]byte{8}, 144))
	copy(code[144:], bytes.Repeat([]byte{9}, 112))
	copy(code[256:], bytes.Repeat([]byte{7}, 24))
	copy(code[280:], bytes.Repeat([]byte{8}, 8))
	build(z.symbols[:], symbolBits, code[:], symbol)
	build(z.distances[:], distanceBits, bytes.Repeat([]byte{5}, 32), distance)
	z.next = (*Reader).codes
}

// dynamic reads the codes of a block, RFC 1951 section 3.2.7.
func (z *Reader) dynamic() error {
	if err := z.need(14); err != nil {
		return err
	}
	symbols, apart, n := z.take(5)+257, z.take(5)+1, z.take(4)+4
	if symbols > 286 || apart > len(distances) {
		return corrupt("codes for more than there is")
	}
	const bitsOfLengths = 7
	var lengthCode [19]uint8
	for _, s := range []uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:n] {
		if err := z.need(3); err != nil {
			return err
		}
		lengthCode[s] = uint8(z.take(3))
	}
	var table [1 << bitsOfLengths]entry
	if !build(table[:], bitsOfLengths, lengthCode[:], func(s int) entry { return entry(s) << 16 }) {
		return corrupt("the codes of the codes are no set")
	}
	var code [286 + 30]uint8
	for i := 0; i < symbols+apart; {
		e, err := z.look(table[:], bitsOfLengths)
		if err != nil {
			return err
		}
		s := uint8(e >> 16)
		if s < 16 {
			code[i] = s
			i++
			continue
		}
		var again uint8
		more, least := uint(2), 3
		switch s {
		case 16:
			if i == 0 {
				return corrupt("the first code is as the one before")
			}
			again = code[i-1]
		case 17:
			more = 3
		case 18:
			more, least = 7, 11
		}
		if err := z.need(more); err != nil {
			return err
		}
		times := z.take(more) + least
		if i+times > symbols+apart {
			return corrupt("more codes than there are to be")
		}
		for range times {
			code[i] = again
			i++
		}
	}
	if !build(z.symbols[:], symbolBits, code[:symbols], symbol) || !build(z.distances[:], distanceBits, code[symbols:symbols+apart], distance) {
		return corrupt("its codes are no set")
	}
	z.next = (*Reader).codes
	return nil
}

// look takes the next code, which may be the last thing that the input holds.
func (z *Reader) look(table []entry, first uint) (entry, error) {
	for {
		e := table[z.bits&(1<<first-1)]
		n := uint(e >> 8 & 15)
		if e&kinds == special {
			e = table[second(e, z.bits>>first)]
			n = first + uint(e>>8&15)
		}
		if n <= z.have {
			if e&kinds == invalid {
				if z.have > 0 {
					return 0, corrupt("a code that there is not")
				}
			} else {
				z.take(n)
				return e, nil
			}
		}
		if err := z.need(z.have + 1); err != nil {
			return 0, err
		}
	}
}

// rest is what an entry that look has taken stands for: its least and the bits
// that follow.
func (z *Reader) rest(e entry) (int, error) {
	extra := uint(e&0xff) - uint(e>>8&15)
	if err := z.need(extra); err != nil {
		return 0, err
	}
	return int(e>>16) + z.take(extra), nil
}

// codes unpacks what it can of a compressed block: up to the limit, until the block
// ends, or there is something to give out and more input would have to be waited
// for.
func (z *Reader) codes() error {
	for at := z.w; z.w < z.limit; {
		if z.ie-z.ip < reach && z.end == nil {
			if z.w > at {
				return nil
			}
			z.fill()
		}
		if z.ie-z.ip >= reach {
			if ended, err := z.fast(); ended || err != nil {
				return err
			}
			continue
		}
		if err := z.one(); err != nil || z.next == nil {
			z.next = (*Reader).block
			return err
		}
	}
	return nil
}

// one unpacks a byte or a match, or finds the end of the block and sets next to
// nil.
func (z *Reader) one() error {
	e, err := z.look(z.symbols[:], symbolBits)
	if err != nil {
		return err
	}
	if e&literal != 0 {
		z.to[z.w] = byte(e >> 16)
		z.w++
		return nil
	}
	if e&kinds == final {
		z.next = nil
		return nil
	}
	length, err := z.rest(e)
	if err != nil {
		return err
	}
	if e, err = z.look(z.distances[:], distanceBits); err != nil {
		return err
	}
	back, err := z.rest(e)
	if err != nil {
		return err
	}
	if back > z.w-z.from {
		return errBack
	}
	for range length {
		z.to[z.w] = z.to[z.w-back]
		z.w++
	}
	return nil
}

var (
	errBack = corrupt("a match with what was before the beginning")
	errCode = corrupt("a code that there is not")
)

// reach is how much input an iteration of fast may look at.
const reach = 24

// fast is one, over and over, where there is input enough for it not to ask each
// time, and sets next when the block ends. Three bytes, or two and a match, take
// 30 bits, and the 56 that there are after a refill are enough for them and the
// length, and the next 56 for the distance.
//
// The entry that comes next is loaded before a match is copied, so that the
// processor waits for both at once.
func (z *Reader) fast() (ended bool, err error) {
	in, out, limit := z.in[:z.ie], z.to, z.limit
	symbols, distances := &z.symbols, &z.distances
	w := z.w
	ip, bits, have := refill(in, z.ip, z.bits, z.have)
	e := symbols[bits&(1<<symbolBits-1)]
	for ip+reach <= len(in) && w < limit {
		if e&literal != 0 {
			out[w] = byte(e >> 16)
			w++
			bits, have = drop(bits, have, e)
			e = symbols[bits&(1<<symbolBits-1)]
			if e&literal != 0 {
				out[w] = byte(e >> 16)
				w++
				bits, have = drop(bits, have, e)
				e = symbols[bits&(1<<symbolBits-1)]
				if e&literal != 0 {
					out[w] = byte(e >> 16)
					w++
					bits, have = drop(bits, have, e)
					ip, bits, have = refill(in, ip, bits, have)
					e = symbols[bits&(1<<symbolBits-1)]
					continue
				}
			}
		}
		if e&special != 0 {
			if e&kinds == special {
				bits, have = bits>>symbolBits, have-symbolBits
				e = symbols[second(e, bits)%uint64(len(symbols))]
				if e&literal != 0 {
					out[w] = byte(e >> 16)
					w++
					bits, have = drop(bits, have, e)
					ip, bits, have = refill(in, ip, bits, have)
					e = symbols[bits&(1<<symbolBits-1)]
					continue
				}
			}
			if e&kinds == final {
				bits, have = drop(bits, have, e)
				ended, z.next = true, (*Reader).block
				break
			}
			if e&special != 0 {
				err = errCode
				break
			}
		}
		length := number(e, bits)
		bits, have = drop(bits, have, e)
		ip, bits, have = refill(in, ip, bits, have)
		d := distances[bits&(1<<distanceBits-1)]
		if d&special != 0 {
			if d&kinds == special {
				bits, have = bits>>distanceBits, have-distanceBits
				d = distances[second(d, bits)%uint64(len(distances))]
			}
			if d&special != 0 {
				err = errCode
				break
			}
		}
		back := number(d, bits)
		bits, have = drop(bits, have, d)
		if back > w-z.from {
			err = errBack
			break
		}
		ip, bits, have = refill(in, ip, bits, have)
		e = symbols[bits&(1<<symbolBits-1)]
		end := w + length
		switch from := w - back; {
		case back >= length && length > 4*word:
			copy(out[w:end], out[from:])
		case back >= word: // up to seven bytes more, which nobody has seen yet
			for ; w < end; w, from = w+word, from+word {
				binary.LittleEndian.PutUint64(out[w:], binary.LittleEndian.Uint64(out[from:]))
			}
		default:
			for ; w < end; w, from = w+1, from+1 {
				out[w] = out[from]
			}
		}
		w = end
	}
	z.ip, z.w, z.have, z.bits = ip, w, have, bits
	return ended, err
}

// refill is bits with all of the next bytes that find room whole, 56 at least:
// it reads eight and counts those. What it has of one more is read again, and is
// the same.
func refill(in []byte, ip int, bits uint64, have uint) (int, uint64, uint) {
	return ip + int(63-have)>>3, bits | binary.LittleEndian.Uint64(in[ip:])<<(have&63), have | 56
}

// drop is bits without those of an entry.
func drop(bits uint64, have uint, e entry) (uint64, uint) {
	return bits >> (e & 63), have - uint(e&63)
}

// number is the length or the distance of an entry with the bits that it is in.
func number(e entry, bits uint64) int {
	return int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
}

// second is where the second look goes.
func second(e entry, bits uint64) uint64 {
	return uint64(e>>16) + bits&(1<<(e>>8&15)-1)
}
