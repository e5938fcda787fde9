package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Limits of a record. The stream refuses messages over 1 MiB; the rest of it
// is left for headers.
const (
	MaxData = 900 << 10 // bytes of one record
	maxID   = 128       // bytes of an id
	maxKind = 32        // bytes of a kind
)

// sum is the hash of one record. Lengths are part of it so that no two
// different records feed the same bytes.
type sum [sha256.Size]byte

func (s sum) String() string { return hex.EncodeToString(s[:]) }

func parseSum(text string) (sum, error) {
	var s sum
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return s, errors.New("not a hash")
	}
	copy(s[:], b)
	return s, nil
}

func link(prev sum, kind, id string, data []byte) sum {
	h := sha256.New()
	h.Write([]byte("trailwarden.journal/v1"))
	h.Write(prev[:])
	var n [8]byte
	for _, part := range [][]byte{[]byte(kind), []byte(id), data} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	var s sum
	h.Sum(s[:0])
	return s
}

// check says whether a history may be named so.
func check(kind, id string, data []byte) error {
	if kind == "" || len(kind) > maxKind {
		return fmt.Errorf("journal: kind %q: want 1 to %d bytes", kind, maxKind)
	}
	for _, c := range []byte(kind) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("journal: kind %q: want lower case letters, digits and hyphens", kind)
		}
	}
	if id == "" || len(id) > maxID {
		return fmt.Errorf("journal: %s id of %d bytes: want 1 to %d", kind, len(id), maxID)
	}
	if len(data) > MaxData {
		return fmt.Errorf("journal: %s record of %d bytes: the limit is %d", kind, len(data), MaxData)
	}
	return nil
}

const hexDigits = "0123456789abcdef"

// encodeID writes an id as one subject token. It is reversible, so that ids
// can be listed from subjects alone, and no input yields a subject separator
// or wildcard.
func encodeID(id string) string {
	var b strings.Builder
	for i := 0; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			b.WriteByte(c)
		default:
			b.WriteByte('_')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// decodeID is the inverse of encodeID; ok is false for what it never writes.
func decodeID(token string) (id string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '_' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	id = b.String()
	return id, encodeID(id) == token
}

// Report is what Verify found.
type Report struct {
	Histories int `json:"histories"` // (kind, id) pairs
	Records   int `json:"records"`
	// Trimmed counts histories whose oldest records went by the stream's
	// limits: what is left of them is verified, their beginning cannot be.
	Trimmed int     `json:"trimmed"`
	Breaks  []Break `json:"breaks,omitempty"` // at most MaxBreaks
	Broken  int     `json:"broken"`           // all breaks, also those beyond the list
}

// MaxBreaks bounds Report.Breaks.
const MaxBreaks = 100

// OK says that no record was changed, removed or inserted as far as can be seen.
func (r Report) OK() bool { return r.Broken == 0 }

// Break is one place where the chain does not hold.
type Break struct {
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Seq     uint64 `json:"seq"`
	Problem string `json:"problem"`
}

// verifier checks records that arrive in order of sequence.
type verifier struct {
	report Report
	last   map[string]sum
}

func (v *verifier) fail(kind, id string, seq uint64, problem string) {
	v.report.Broken++
	if len(v.report.Breaks) < MaxBreaks {
		v.report.Breaks = append(v.report.Breaks, Break{Kind: kind, ID: id, Seq: seq, Problem: problem})
	}
}

func (v *verifier) add(kind, id string, seq uint64, data []byte, prevText, sumText string) {
	if v.last == nil {
		v.last = map[string]sum{}
	}
	v.report.Records++
	key := kind + "." + encodeID(id)
	before, seen := v.last[key]
	if !seen {
		v.report.Histories++
	}
	prev, err := parseSum(prevText)
	if err != nil {
		v.fail(kind, id, seq, "no hash of the record before it")
		return
	}
	own, err := parseSum(sumText)
	if err != nil {
		v.fail(kind, id, seq, "no hash of its own")
		return
	}
	switch {
	case link(prev, kind, id, data) != own:
		v.fail(kind, id, seq, "the record was changed: its hash does not fit its content")
	case seen && prev != before:
		v.fail(kind, id, seq, "a record before this one was changed, removed or inserted")
	case !seen && prev != (sum{}):
		v.report.Trimmed++
	}
	// Go on from what the record says of itself, so that one break is
	// reported once and not for every record after it.
	v.last[key] = own
}
