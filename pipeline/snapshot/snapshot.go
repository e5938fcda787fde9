// Package snapshot is how state becomes bytes and state again: a magic line that
// names the encoding, integers of variable length, texts behind their length,
// and a checksum over the whole. Writers that go through their state in one order
// write the same bytes for the same state.
package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encoder writes a snapshot. Its methods stand in hundreds of places of every
// detector: inlined they would be 60 kB of the program.
type Encoder struct{ b []byte }

// NewEncoder starts a snapshot.
func NewEncoder(magic string) *Encoder { return &Encoder{b: []byte(magic)} }

// Uint, Int, Bool and String append one value.
//
//go:noinline
func (e *Encoder) Uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

// Int appends a signed integer.
//
//go:noinline
func (e *Encoder) Int(v int64) { e.b = binary.AppendVarint(e.b, v) }

// Bool appends a truth value.
//
//go:noinline
func (e *Encoder) Bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

// String appends a string.
//
//go:noinline
func (e *Encoder) String(v string) { e.Uint(uint64(len(v))); e.b = append(e.b, v...) }

// Bytes appends bytes behind their number.
//
//go:noinline
func (e *Encoder) Bytes(v []byte) { e.Uint(uint64(len(v))); e.Raw(v) }

// Time appends a time, of which the zone is not kept and the zero time is.
//
//go:noinline
func (e *Encoder) Time(v time.Time) {
	e.Bool(!v.IsZero())
	if v.IsZero() {
		e.Int(0)
	} else {
		e.Int(v.UnixNano())
	}
}

// Raw appends bytes whose number the reader knows.
//
//go:noinline
func (e *Encoder) Raw(v []byte) { e.b = append(e.b, v...) }

// Seal appends the checksum and returns the snapshot.
func (e *Encoder) Seal() []byte {
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

// Decoder reads a snapshot. After the first fault every value is zero and Err
// says what was wrong.
type Decoder struct {
	b     []byte
	magic string
	err   error
}

// Open checks the checksum and the magic line, which may be any of several:
// Magic says which. What the decoder gives lies in data.
func Open(data []byte, magics ...string) (*Decoder, error) {
	for _, magic := range magics {
		if len(data) < len(magic)+4 || string(data[:len(magic)]) != magic {
			continue
		}
		body := data[:len(data)-4]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(body):]) {
			return nil, errors.New("the checksum does not match: the snapshot is damaged")
		}
		return &Decoder{b: body[len(magic):], magic: magic}, nil
	}
	return nil, fmt.Errorf("not a snapshot of this kind, or of a version it does not know: want %q", strings.Join(magics, ", "))
}

// Magic is the magic line.
func (d *Decoder) Magic() string { return d.magic }

// Fail records a fault; the first one is kept.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

const cut = "the snapshot is cut"

// Uint reads what Encoder.Uint wrote.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.Fail(cut)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// Int reads what Encoder.Int wrote.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.Fail(cut)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// Count reads a number of things of at least size bytes each, so that a
// damaged number cannot ask for more memory than there are bytes.
func (d *Decoder) Count(size int) int {
	v := d.Uint()
	if v > uint64(len(d.b)/size) {
		d.Fail(cut)
		return 0
	}
	return int(v)
}

// CountTo is Count where no more than most things are ever kept.
func (d *Decoder) CountTo(size, most int) int {
	n := d.Count(size)
	if n > most {
		d.Fail("a list of %d where at most %d are kept", n, most)
		return 0
	}
	return n
}

// Uint32 reads what Encoder.Uint wrote of a number of 32 bits.
func (d *Decoder) Uint32() uint32 {
	v := d.Uint()
	if v > math.MaxUint32 {
		d.Fail("a number is too large")
		return 0
	}
	return uint32(v)
}

// Raw reads n bytes; after a fault they are zero.
func (d *Decoder) Raw(n int) []byte {
	if n > len(d.b) {
		d.Fail(cut)
		return make([]byte, n)
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

// Bool reads what Encoder.Bool wrote.
func (d *Decoder) Bool() bool {
	switch d.Raw(1)[0] {
	case 0:
		return false
	case 1:
		return true
	}
	d.Fail("a truth value is neither 0 nor 1")
	return false
}

// String reads what Encoder.String wrote.
func (d *Decoder) String() string { return string(d.Raw(d.Count(1))) }

// StringTo is String where texts are cut to most bytes before they are kept.
func (d *Decoder) StringTo(most int) string {
	s := d.String()
	if len(s) > most {
		d.Fail("a text of %d bytes where at most %d are kept", len(s), most)
		return ""
	}
	return s
}

// Bytes reads what Encoder.Bytes wrote.
func (d *Decoder) Bytes() []byte { return d.Raw(d.Count(1)) }

// Time reads what Encoder.Time wrote, in UTC.
func (d *Decoder) Time() time.Time {
	set, n := d.Bool(), d.Int()
	if !set {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// Rest reads all that is left.
func (d *Decoder) Rest() []byte { return d.Raw(len(d.b)) }

// Err returns the first fault.
func (d *Decoder) Err() error { return d.err }

// End returns the first fault, or one when bytes are left.
func (d *Decoder) End() error {
	if d.err == nil && len(d.b) > 0 {
		d.Fail("%d bytes follow the snapshot", len(d.b))
	}
	return d.err
}

// Reseal puts a right checksum at the end of bytes that claim to be a
// snapshot, so that fuzz tests get past it. Fewer than 4 bytes stay as they
// are.
func Reseal(data []byte) []byte {
	if len(data) < 4 {
		return data
	}
	body := data[:len(data)-4]
	return binary.LittleEndian.AppendUint32(append([]byte(nil), body...), crc32.Checksum(body, castagnoli))
}
