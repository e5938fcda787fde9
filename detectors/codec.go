package detectors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// encoder and decoder are the parts of the snapshot's encoding: variable
// length integers, length-prefixed bytes, and a checksum over the whole.
type encoder struct{ b []byte }

func (e *encoder) uvarint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) varint(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) bytes(v []byte)   { e.uvarint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) string(v string)  { e.uvarint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) time(v time.Time) { e.bool(!v.IsZero()); e.varint(nanos(v)) }
func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

// seal appends the checksum.
func (e *encoder) seal() []byte {
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

type decoder struct {
	b   []byte
	err error
}

// unseal checks the checksum and the leading magic, and says which encoding it
// names.
func unseal(data []byte) (*decoder, int, error) {
	const magic = len(snapshotMagic)
	if len(data) < magic+4 {
		return nil, 0, errors.New("not a snapshot of this engine")
	}
	format, ok := formats[string(data[:magic])]
	if !ok {
		return nil, 0, errors.New("not a snapshot of this engine, or of a version it does not know")
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, 0, errors.New("the checksum does not match: the snapshot is damaged")
	}
	return &decoder{b: body[magic:]}, format, nil
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("the snapshot is cut")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("the snapshot is cut")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of things of at least size bytes each, so that a
// damaged number cannot ask for more memory than there are bytes.
func (d *decoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.b)/size) {
		d.fail("the snapshot is cut")
		return 0
	}
	return int(v)
}

// take returns the next n bytes, or n zero bytes after a fault.
func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("the snapshot is cut")
		return make([]byte, n)
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) bytes() []byte  { return d.take(d.count(1)) }
func (d *decoder) string() string { return string(d.bytes()) }
func (d *decoder) bool() bool     { return d.take(1)[0] != 0 }

func (d *decoder) time() time.Time {
	set, n := d.bool(), d.varint()
	if !set {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
