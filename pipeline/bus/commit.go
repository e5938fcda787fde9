package bus

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Commit is one step of a partition worker: how far it has read, and the
// alerts that this step changed. The chain of commits of a partition is the
// truth about what was evaluated.
type Commit struct {
	Schema    int    `json:"schema"`
	Partition int    `json:"partition"`
	Epoch     uint64 `json:"epoch"` // grows with every change of owner
	Owner     string `json:"owner,omitempty"`
	// Prev is the stream sequence of the commit before it, 0 for the first.
	Prev uint64 `json:"prev"`
	// Input is the stream sequence in EVENTS up to which everything of the
	// partition is evaluated.
	Input uint64 `json:"input"`
	// InputID is the message id of that frame, so that a stream that lost its
	// end, or was made anew, is not taken for the one that was evaluated.
	InputID string `json:"input_id,omitempty"`
	// Fence marks the record with which an owner takes over: no step.
	Fence bool `json:"fence,omitempty"`
	// Part marks a record that carries only some alerts of a step that is
	// too large for one; Input is still the old one.
	Part bool `json:"part,omitempty"`
	// Tries is, in a fence and in a marker, how many owners in a row have begun
	// at Input, this one included, of which the others neither made a step
	// nor ended in order. 0 in a fence is an orderly end.
	Tries int `json:"tries,omitempty"`
	// Careful marks a step of a single frame, made because of that.
	Careful bool `json:"careful,omitempty"`
	// Trying is what is evaluated next. Found at the end of the chain it is
	// what was evaluated when the process died.
	Trying *Trying `json:"trying,omitempty"`
	// Skipped is what is never evaluated, because it ended the process. It is
	// carried along until no snapshot lies before it.
	Skipped []Trying `json:"skipped,omitempty"`
	// Positions are the source shards whose position this step moved.
	Positions []ShardPosition `json:"positions,omitempty"`
	// Ledger says, for each source, how many of its logs the partition is done
	// with. It is compared with what the source holds.
	Ledger []Ledger `json:"ledger,omitempty"`
	// Missing are frames that were lost and whose records have not been read
	// again yet.
	Missing []Gap `json:"missing,omitempty"`
	// Watermark is the event time before which everything is decided.
	Watermark time.Time `json:"watermark,omitzero"`
	Rules     string    `json:"rules,omitempty"` // hash of the rule set in force
	Counters  Counters  `json:"counters"`
	// Stamp is the ingest stamp of the last frame of the step.
	Stamp time.Time `json:"stamp,omitzero"`
	// Alerts are alerts in stored form, those that changed in this step.
	Alerts [][]byte `json:"-"`
}

// Ledger counts the logs of one source that a partition has evaluated, found to
// be repeated, or parked, by spans of the source's own time (see Tally).
type Ledger struct {
	Source string `json:"source"`
	// Since is the span in which counting began: later ones are counted whole.
	Since  int64            `json:"since"`
	Counts map[int64]uint64 `json:"counts"`
}

// LedgerSpans is how many past spans a ledger keeps.
const LedgerSpans = 36

// Gap is what was lost from the middle of a subject: somewhere between two
// positions of a source shard.
type Gap struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Shard  int    `json:"shard"`
	From   string `json:"from"`
	To     string `json:"to"`
	Frames uint64 `json:"frames"`
}

// MaxGaps is how many gaps of a partition are kept apart; beyond, the newest
// grows.
const MaxGaps = 64

// Trying names one record of a frame, or with a negative Index a stage that
// belongs to the frame as a whole.
type Trying struct {
	Seq   uint64 `json:"seq"`
	Index int    `json:"index"`
	// Attempt counts the owners that have tried it: one may have ended for
	// another reason.
	Attempt int `json:"attempt,omitempty"`
}

// ShardPosition is how far a partition has evaluated one source shard.
type ShardPosition struct {
	Source  string `json:"source"`
	Shard   int    `json:"shard"`
	From    string `json:"from"` // of the page of the last frame
	To      string `json:"to"`
	Counter uint64 `json:"counter"` // of the shard's frames in this partition
	// Seq is the sequence of the last frame. Frames from Span on may be
	// needed to recognise what an interrupted page has stored.
	Seq  uint64 `json:"seq"`
	Span uint64 `json:"span"`
}

// Counters are totals of a partition since its first event. They are part of
// the state: a restart does not reset them.
type Counters struct {
	Frames     uint64 `json:"frames"`
	Evaluated  uint64 `json:"evaluated"`
	Duplicates uint64 `json:"duplicates"`
	Late       uint64 `json:"late"`
	Parked     uint64 `json:"parked"`
	Detections uint64 `json:"detections"`
	Gaps       uint64 `json:"gaps"`               // frames known to be lost
	Repaired   uint64 `json:"repaired,omitempty"` // gaps whose records were read again
}

const (
	commitMagic   = "TWC"
	commitVersion = 1
	// CommitSchema is the value of Commit.Schema.
	CommitSchema = 1
	// MaxAlerts is how many alerts one commit record carries at most.
	MaxAlerts = 4096
	// MaxAlertBytes is how many bytes of alerts one record carries at most,
	// before compression. They usually shrink to a tenth.
	MaxAlertBytes = 4 << 20
)

// EncodeCommit writes a commit record; ErrTooLarge when its alerts do not fit.
func EncodeCommit(c *Commit) ([]byte, error) {
	c.Schema = CommitSchema
	head, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	total := 0
	for _, a := range c.Alerts {
		total += len(a)
	}
	if len(c.Alerts) > MaxAlerts || total > MaxAlertBytes {
		return nil, fmt.Errorf("commit: %w: %d alerts of %d bytes", ErrTooLarge, len(c.Alerts), total)
	}
	joined := make([]byte, 0, total)
	for _, a := range c.Alerts {
		joined = append(joined, a...)
	}
	body, zipped := deflate(joined)
	if len(head)+len(body) > MaxBody {
		return nil, fmt.Errorf("commit: %w: %d bytes", ErrTooLarge, len(head)+len(body))
	}
	b := make([]byte, 0, len(head)+len(body)+4*len(c.Alerts)+32)
	b = append(b, commitMagic...)
	flags := byte(0)
	if zipped {
		flags |= flagZstd
	}
	b = append(b, commitVersion, flags)
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = append(b, head...)
	b = binary.AppendUvarint(b, uint64(len(c.Alerts)))
	for _, a := range c.Alerts {
		b = binary.AppendUvarint(b, uint64(len(a)))
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// DecodeCommit reads what EncodeCommit wrote; ErrCorrupt or ErrVersion
// otherwise.
func DecodeCommit(data []byte) (*Commit, error) {
	const start = len(commitMagic) + 2
	if len(data) < start+4 || string(data[:len(commitMagic)]) != commitMagic {
		return nil, fmt.Errorf("commit: %w: no commit record", ErrCorrupt)
	}
	end := len(data) - 4
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return nil, fmt.Errorf("commit: %w: checksum", ErrCorrupt)
	}
	if v := data[3]; v != commitVersion {
		return nil, fmt.Errorf("commit: %w %d, this program reads %d", ErrVersion, v, commitVersion)
	}
	flags := data[4]
	cur := &cursor{b: data[start:end]}
	head := cur.bytes(math.MaxInt32)
	n := int(cur.uvarint(MaxAlerts))
	lens := make([]int, n)
	total := 0
	for i := range lens {
		lens[i] = int(cur.uvarint(MaxAlertBytes))
		if total += lens[i]; total > MaxAlertBytes {
			cur.bad = true
			break
		}
	}
	stored := cur.bytes(MaxBody)
	if cur.bad || len(cur.b) != 0 || flags > flagZstd {
		return nil, fmt.Errorf("commit: %w: malformed", ErrCorrupt)
	}
	c := &Commit{}
	if err := json.Unmarshal(head, c); err != nil {
		return nil, fmt.Errorf("commit: %w: head: %w", ErrCorrupt, err)
	}
	if c.Schema != CommitSchema {
		return nil, fmt.Errorf("commit: %w: schema %d, this program reads %d", ErrVersion, c.Schema, CommitSchema)
	}
	raw := stored
	if flags&flagZstd != 0 {
		var err error
		if raw, err = inflate(stored, total); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	} else if len(stored) != total {
		return nil, fmt.Errorf("commit: %w: body is %d bytes, want %d", ErrCorrupt, len(stored), total)
	}
	if n > 0 {
		c.Alerts = make([][]byte, n)
		for i, l := range lens {
			c.Alerts[i], raw = raw[:l:l], raw[l:]
		}
	}
	return c, nil
}

// ID is the message id of an encoded commit.
func (c *Commit) ID(encoded []byte) string {
	var out [24]byte
	binary.BigEndian.PutUint64(out[:8], c.Epoch)
	binary.BigEndian.PutUint64(out[8:16], c.Prev)
	binary.BigEndian.PutUint64(out[16:], xxhash.Sum64(encoded))
	return hex.EncodeToString(out[:])
}
