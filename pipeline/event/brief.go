package event

import (
	"hash/maphash"
	"time"
)

// Brief is what has to be at hand of an event that only waits for its turn:
// when, which, and whether it took effect. The rest is in the record and is
// read again where it is needed, which is rare. A Brief is a tenth of an Event.
type Brief struct {
	ID, Recipient string
	Time          time.Time
	Outcome       Outcome
	raw           []byte
	left          *Block // where the record was left, nil when it is at hand,
	at, size      uint32 // where in it,
	sum           uint64 // and by what it is known again
}

// sumSeed makes sums that nobody can foresee who writes a file.
var sumSeed = maphash.MakeSeed()

// sumOf is what a record is known again by. As a text it is hashed at once, as
// bytes it would be in pieces of 128, three times as slow.
func sumOf(record []byte) uint64 { return maphash.Comparable(sumSeed, view(record)) }

// Block is a stretch of a file that records can be left in.
type Block struct {
	File Rereader
	At   int64 // in bytes from the file's beginning
}

// Rereader reads records again from where they came. Its methods are called
// from one goroutine.
type Rereader interface {
	// Reread appends size bytes to buf; none where that is not possible any more.
	Reread(buf []byte, at int64, size int) []byte
	// Changed tells that there are other bytes now.
	Changed(at int64)
}

// Brief returns the event's. It shares the memory that the event does.
func (e *Event) Brief() Brief {
	return Brief{ID: e.ID, Recipient: e.Recipient, Time: e.Time, Outcome: e.Outcome, raw: e.raw}
}

// Leave lets go of the record, which is so many bytes from the beginning of
// the block.
func (b *Brief) Leave(in *Block, at int) {
	b.left, b.at, b.size, b.sum, b.raw = in, uint32(at), uint32(len(b.raw)), sumOf(b.raw), nil
}

// Keep says where the record is from now on.
func (b *Brief) Keep(record []byte) { b.raw = record }

// again appends a record that was left, if it is still the same.
func (b *Brief) again(buf []byte) []byte {
	n, at := len(buf), b.left.At+int64(b.at)
	buf = b.left.File.Reread(buf, at, int(b.size))
	if len(buf) > n && sumOf(buf[n:]) != b.sum {
		b.left.File.Changed(at)
		buf = buf[:n]
	}
	return buf
}

// Event parses the record again, into memory that it shares with the record.
func (b *Brief) Event() *Event {
	ev, err := Parse(b.Raw())
	if err != nil {
		// Only a Brief of an Event that was never parsed gets here, and one
		// whose record is there no more.
		ev = &Event{ID: b.ID, Recipient: b.Recipient, Outcome: b.Outcome, raw: b.raw}
	}
	ev.Time = b.Time // which may be another than the record says
	return ev
}

// Outline makes *ev an event of which only the Brief's fields and the record
// are known. No other field of *ev is changed: use one that Outline alone
// writes to, and no longer than the Brief.
func (b *Brief) Outline(ev *Event) {
	ev.ID, ev.Recipient, ev.Time, ev.Outcome, ev.raw, ev.brief = b.ID, b.Recipient, b.Time, b.Outcome, b.raw, nil
	if b.left != nil {
		ev.brief = b
	}
}

// Outline is Brief.Outline of the event's.
func (e *Event) Outline(ev *Event) {
	ev.ID, ev.Recipient, ev.Time, ev.Outcome, ev.raw, ev.brief = e.ID, e.Recipient, e.Time, e.Outcome, e.raw, e.brief
}

// Raw returns the record's JSON object. It must not be changed. One that was
// left is read again: nil where it is there no more.
func (b *Brief) Raw() []byte {
	if b.left != nil {
		return b.again(nil)
	}
	return b.raw
}

// Record is a record at hand, or where it was left.
type Record struct {
	raw   []byte
	brief *Brief
}

// RecordOf is a record at hand.
func RecordOf(raw []byte) Record { return Record{raw: raw} }

// Len is its size in bytes.
func (r Record) Len() int {
	if r.brief != nil {
		return int(r.brief.size)
	}
	return len(r.raw)
}

// Append appends a copy of it to buf.
func (r Record) Append(buf []byte) []byte {
	if r.brief != nil {
		return r.brief.again(buf)
	}
	return append(buf, r.raw...)
}

// Bytes returns it, like Event.Raw.
func (r Record) Bytes() []byte {
	if r.brief != nil {
		return r.brief.Raw()
	}
	return r.raw
}
