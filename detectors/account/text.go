package account

import (
	"unique"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
)

// text is a document as it is kept: one copy for all that hold the same, told
// apart by identity. The zero value is the empty text.
type text struct{ h unique.Handle[string] }

func keep(s string) text {
	if s == "" {
		return text{}
	}
	return text{unique.Make(s)}
}

func (t text) String() string {
	if t == (text{}) {
		return ""
	}
	return t.h.Value()
}

// reading is what came of a text.
type reading struct {
	doc *rampolicy.Document
	err error
}

// maxReadings bounds the documents that are kept read. They are a cache of a
// pure function: nothing that is found depends on it.
const maxReadings = 256

// read parses a text, which most often has been read before.
func (j *Judge) read(t text) reading {
	if r, ok := j.readings[t]; ok {
		return r
	}
	var r reading
	r.doc, r.err = rampolicy.ParseEncoded(t.String())
	if len(j.readings) >= maxReadings {
		clear(j.readings)
	}
	j.readings[t] = r
	return r
}
