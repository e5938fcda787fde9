package window

import (
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// The event times that Nanos tells apart. What lies outside is put at the
// ends: a record may claim any year.
var (
	minTime = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Nanos is a time as nanoseconds since 1970.
func Nanos(t time.Time) int64 {
	switch {
	case t.Before(minTime):
		t = minTime
	case t.After(maxTime):
		t = maxTime
	}
	return t.UnixNano()
}

// Time is the inverse of Nanos.
func Time(n int64) time.Time { return time.Unix(0, n).UTC() }

// MaxID is the longest event id that is kept as it is, in bytes.
const MaxID = 96

// ID returns the id of an observation's event, without holding on to its
// record.
func ID(o *detectors.Observation) string {
	if o.Event == nil {
		return ""
	}
	return strings.Clone(BoundID(o.Event.ID))
}

// BoundID is an event id as it is kept, which may share the id's memory.
func BoundID(id string) string { return shorten(id, MaxID) }

// Mark is one event as evidence: when, and which.
type Mark struct {
	At int64 // Nanos
	ID string
}

// MarkCost is the size of a mark without its id's bytes.
const MarkCost = 24

// Before orders marks by time, then by id.
func (m Mark) Before(o Mark) bool { return m.At < o.At || m.At == o.At && m.ID < o.ID }

// Insert puts a mark into an ordered list, after those that are not later.
func Insert(list []Mark, m Mark) []Mark {
	i := len(list)
	for i > 0 && m.Before(list[i-1]) {
		i--
	}
	list = append(list, Mark{})
	copy(list[i+1:], list[i:])
	list[i] = m
	return list
}

// IDs returns the ids of the newest marks, oldest first, at most
// detectors.MaxEvidence, without empty ones.
func IDs(list []Mark) []string {
	if len(list) > detectors.MaxEvidence {
		list = list[len(list)-detectors.MaxEvidence:]
	}
	out := make([]string, 0, len(list))
	for i := range list {
		if list[i].ID != "" {
			out = append(out, list[i].ID)
		}
	}
	return out
}

// PutMarks writes an ordered list of marks.
func PutMarks(e *snapshot.Encoder, list []Mark) {
	e.Uint(uint64(len(list)))
	var last int64
	for i := range list {
		e.Int(list[i].At - last)
		e.String(list[i].ID)
		last = list[i].At
	}
}

// GetMarks reads what PutMarks wrote and checks that the list is in order and
// has at most max marks.
func GetMarks(d *snapshot.Decoder, max int) []Mark {
	n := d.CountTo(2, max)
	if n == 0 {
		return nil
	}
	out := make([]Mark, n)
	var last int64
	for i := range out {
		last += d.Int()
		out[i] = Mark{At: last, ID: d.String()}
		if d.Err() != nil {
			return nil
		}
		if len(out[i].ID) > MaxID || last < Nanos(minTime) || last > Nanos(maxTime) {
			d.Fail("an event that cannot have been kept")
			return nil
		}
		if i > 0 && out[i].Before(out[i-1]) {
			d.Fail("events out of order")
			return nil
		}
	}
	return out
}
