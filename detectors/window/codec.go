package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encoder writes a snapshot: a magic line that names the encoding and its
// version, integers of variable length, length-prefixed strings, and a
// checksum over the whole.
type Encoder struct{ b []byte }

// NewEncoder starts a snapshot.
func NewEncoder(magic string) *Encoder { return &Encoder{b: []byte(magic)} }

// Uint, Int, Bool and String append one value.
func (e *Encoder) Uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

// Int appends a signed integer.
func (e *Encoder) Int(v int64) { e.b = binary.AppendVarint(e.b, v) }

// Bool appends a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

// String appends a string.
func (e *Encoder) String(v string) { e.Uint(uint64(len(v))); e.b = append(e.b, v...) }

// Raw appends bytes whose number the reader knows.
func (e *Encoder) Raw(v []byte) { e.b = append(e.b, v...) }

// Seal appends the checksum and returns the snapshot.
func (e *Encoder) Seal() []byte {
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

// Decoder reads a snapshot. After the first fault every value is zero and Err
// says what was wrong.
type Decoder struct {
	b   []byte
	err error
}

// Open checks the magic line and the checksum.
func Open(data []byte, magic string) (*Decoder, error) {
	if len(data) < len(magic)+4 || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("not a snapshot of this detector, or of a version it does not know: want %q", magic)
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, errors.New("the checksum does not match: the snapshot is damaged")
	}
	return &Decoder{b: body[len(magic):]}, nil
}

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
