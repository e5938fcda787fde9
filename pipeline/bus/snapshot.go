package bus

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/trailwarden/trailwarden/pipeline/failpoint"
)

// SnapshotSchema is the version of what a snapshot holds; a snapshot with a
// higher one is refused. What an older program wrote is migrated: 1 has neither
// ledger nor gaps, which begin anew then.
const SnapshotSchema = 2

// keptSnapshots of each partition. The older one is for when the newer one
// turns out to be damaged; EVENTS are kept from the older one on.
const keptSnapshots = 2

// chunkBytes of one snapshot message.
const chunkBytes = 512 << 10

// MaxSnapshot bounds the state of one partition, before compression.
const MaxSnapshot = 1 << 30

// Snapshot is the whole state of a partition at a commit.
type Snapshot struct {
	Partition int       `json:"partition"`
	Schema    int       `json:"schema"`
	Epoch     uint64    `json:"epoch"`
	Input     uint64    `json:"input"`  // stream sequence in EVENTS that the state includes
	Commit    uint64    `json:"commit"` // sequence of the commit it belongs to
	Rules     string    `json:"rules"`
	Made      time.Time `json:"made"`
	// Positions of all source shards the partition has met.
	Positions []ShardPosition `json:"positions"`
	Watermark time.Time       `json:"watermark,omitzero"`
	Stamp     time.Time       `json:"stamp,omitzero"`
	Counters  Counters        `json:"counters"`
	Ledger    []Ledger        `json:"ledger,omitempty"`
	Missing   []Gap           `json:"missing,omitempty"`
	// Accounts is the newest event time of each account, for people.
	Accounts map[string]time.Time `json:"accounts,omitempty"`
	// Engine and Grouper are the opaque states of the two.
	Engine, Grouper []byte `json:"-"`
}

// manifest is the message that makes a snapshot exist: it is published after
// all chunks, so a snapshot is there whole or not at all.
type manifest struct {
	Snapshot
	Gen     uint64 `json:"gen"`
	Chunks  int    `json:"chunks"`
	First   uint64 `json:"first"` // stream sequence of the first chunk
	Stored  int    `json:"stored"`
	Zipped  bool   `json:"zipped"`
	EngineN int    `json:"engine_bytes"`
	GroupN  int    `json:"grouper_bytes"`
	CRC     uint32 `json:"crc"` // of the stored bytes
}

// manifests is the message on snapm.<p>: the kept snapshots, newest first. One
// message, so that adding one and dropping the oldest is one write.
type manifests struct {
	Schema int        `json:"schema"`
	List   []manifest `json:"list"`
}

func snapSubject(p int, gen uint64) string { return fmt.Sprintf("snap.%d.%d", p, gen) }
func snapIndex(p int) string               { return fmt.Sprintf("snapm.%d", p) }

// Refused is a snapshot that could not be used, and why.
type Refused struct {
	Input  uint64
	Reason error
}

// SaveSnapshot stores a snapshot durably and drops all but the newest two. It
// returns the input sequence of the older kept one: frames up to it are not
// needed any more. ErrFenced means that another owner has saved in between.
func (b *Bus) SaveSnapshot(ctx context.Context, s *Snapshot) (older uint64, err error) {
	list, at, err := b.manifests(ctx, s.Partition)
	if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
		return 0, err
	}
	if s.Commit > 0 {
		// Who stood still since that commit would put an old state in the place of
		// newer ones, for which the frames after it may be gone. The list was read
		// before: what another owner saves from now on changes it.
		if m, err := b.Last(ctx, StreamCommits, CommitSubject(s.Partition)); err != nil {
			return 0, err
		} else if m.Seq != s.Commit {
			return 0, fmt.Errorf("snapshot of partition %d: %w: it belongs to commit %d, the last one is %d", s.Partition, ErrFenced, s.Commit, m.Seq)
		}
	}
	s.Schema = SnapshotSchema
	raw := make([]byte, 0, len(s.Engine)+len(s.Grouper))
	raw = append(append(raw, s.Engine...), s.Grouper...)
	if len(raw) > MaxSnapshot {
		return 0, fmt.Errorf("snapshot of partition %d: %w: %d bytes", s.Partition, ErrTooLarge, len(raw))
	}
	stored, zipped := deflate(raw)
	// A generation never comes back, not even that of a snapshot whose
	// chunks were written and whose manifest was not.
	m := manifest{Snapshot: *s, Gen: at + 1, Stored: len(stored), Zipped: zipped, EngineN: len(s.Engine), GroupN: len(s.Grouper), CRC: crc32.Checksum(stored, castagnoli)}
	for _, k := range list {
		m.Gen = max(m.Gen, k.Gen+1)
	}
	if err := b.putChunks(ctx, &m, stored); err != nil {
		return 0, err
	}
	failpoint.Hit(failpoint.SnapshotChunks)
	next := manifests{Schema: SnapshotSchema, List: []manifest{m}}
	for _, k := range list {
		if len(next.List) < keptSnapshots && k.Input <= s.Input {
			next.List = append(next.List, k)
		}
	}
	data, err := json.Marshal(next)
	if err != nil {
		return 0, fmt.Errorf("snapshot of partition %d: %w", s.Partition, err)
	}
	sum := xxhash.Sum64(data)
	data = append(data, fmt.Sprintf("\n%016x", sum)...)
	if _, err := b.Publish(ctx, Publish{Stream: StreamSnap, Subject: snapIndex(s.Partition), Data: data, Fenced: true, Expect: at,
		ID: fmt.Sprintf("m.%d.%d.%016x", s.Partition, m.Gen, sum)}); err != nil {
		return 0, fmt.Errorf("snapshot of partition %d: %w", s.Partition, err)
	}
	// The new one exists from here on; what follows only gives back room.
	b.dropSnapshots(ctx, s.Partition, list, next.List)
	if at > 0 {
		if err := b.PurgeSubject(ctx, StreamSnap, snapIndex(s.Partition), at+1); err != nil {
			b.log.Warn("an old snapshot list could not be removed", "partition", s.Partition, "error", err)
		}
	}
	if len(next.List) < keptSnapshots {
		return 0, nil
	}
	return next.List[len(next.List)-1].Input, nil
}

// putChunks stores a snapshot's bytes, and notes in the manifest where they are.
func (b *Bus) putChunks(ctx context.Context, m *manifest, stored []byte) error {
	subject := snapSubject(m.Partition, m.Gen)
	if err := b.PurgeAll(ctx, StreamSnap, subject); err != nil {
		return err
	}
	for off, n := 0, 0; off == 0 || off < len(stored); n++ {
		chunk := stored[off:min(off+chunkBytes, len(stored))]
		seq, err := b.Publish(ctx, Publish{Stream: StreamSnap, Subject: subject, Data: chunk,
			ID: fmt.Sprintf("%d.%d.%d.%d.%x", m.Partition, m.Epoch, m.Gen, n, xxhash.Sum64(chunk))})
		if err != nil {
			if errors.Is(err, ErrBackpressure) {
				// What there was room for is in the way of smaller ones.
				if perr := b.PurgeAll(ctx, StreamSnap, subject); perr != nil {
					b.log.Warn("a part of a snapshot could not be removed", "partition", m.Partition, "error", perr)
				}
			}
			return fmt.Errorf("snapshot of partition %d: %w", m.Partition, err)
		}
		if n == 0 {
			m.First = seq
		}
		m.Chunks = n + 1
		off += max(len(chunk), 1)
	}
	return nil
}

// dropSnapshots removes the bytes of those that are kept no more.
func (b *Bus) dropSnapshots(ctx context.Context, partition int, list, kept []manifest) {
	for _, k := range list {
		if slices.ContainsFunc(kept, func(m manifest) bool { return m.Gen == k.Gen }) {
			continue
		}
		if err := b.PurgeAll(ctx, StreamSnap, snapSubject(partition, k.Gen)); err != nil {
			b.log.Warn("an old snapshot could not be removed", "partition", partition, "error", err)
		}
	}
}

// PurgeAll removes every message of a subject.
func (b *Bus) PurgeAll(ctx context.Context, stream, subject string) error {
	m, err := b.Last(ctx, stream, subject)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.PurgeSubject(ctx, stream, subject, m.Seq+1)
}

func (b *Bus) manifests(ctx context.Context, partition int) ([]manifest, uint64, error) {
	m, err := b.Last(ctx, StreamSnap, snapIndex(partition))
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	n := len(m.Data) - 17
	if n < 0 || m.Data[n] != '\n' {
		return nil, m.Seq, fmt.Errorf("snapshot list of partition %d: %w", partition, ErrCorrupt)
	}
	want, err := hex.DecodeString(string(m.Data[n+1:]))
	if err != nil || fmt.Sprintf("%x", want) != fmt.Sprintf("%016x", xxhash.Sum64(m.Data[:n])) {
		return nil, m.Seq, fmt.Errorf("snapshot list of partition %d: %w: checksum", partition, ErrCorrupt)
	}
	var l manifests
	if err := json.Unmarshal(m.Data[:n], &l); err != nil {
		return nil, m.Seq, fmt.Errorf("snapshot list of partition %d: %w: %w", partition, ErrCorrupt, err)
	}
	if l.Schema > SnapshotSchema {
		return nil, m.Seq, fmt.Errorf("snapshot list of partition %d: %w: schema %d, this program reads %d", partition, ErrVersion, l.Schema, SnapshotSchema)
	}
	return l.List, m.Seq, nil
}

// LoadSnapshot calls use with the newest snapshot that verifies, then with the
// older one if use refuses it, and so on; use restores the state. What was not
// usable is listed with its reason, to be told loudly. ok is false when none
// was usable: the state has to be rebuilt.
func (b *Bus) LoadSnapshot(ctx context.Context, partition int, use func(*Snapshot) error) (ok bool, refused []Refused, err error) {
	list, _, err := b.manifests(ctx, partition)
	if err != nil {
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
			return false, []Refused{{Reason: err}}, nil
		}
		return false, nil, err
	}
	for i := range list {
		s, err := b.readSnapshot(ctx, &list[i])
		if err == nil {
			err = use(s)
		}
		if err == nil {
			return true, refused, nil
		}
		if ctx.Err() != nil {
			return false, refused, ctx.Err()
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown) {
			return false, refused, err
		}
		refused = append(refused, Refused{Input: list[i].Input, Reason: err})
	}
	return false, refused, nil
}

func (b *Bus) readSnapshot(ctx context.Context, m *manifest) (*Snapshot, error) {
	what := func(err error) error {
		return fmt.Errorf("snapshot of partition %d at input %d: %w", m.Partition, m.Input, err)
	}
	switch {
	case m.Schema > SnapshotSchema:
		return nil, what(fmt.Errorf("%w: schema %d, this program reads %d", ErrVersion, m.Schema, SnapshotSchema))
	case m.Stored < 0 || m.Stored > MaxSnapshot || m.EngineN < 0 || m.GroupN < 0 || m.EngineN+m.GroupN > MaxSnapshot || m.Chunks < 1 || m.Chunks > MaxSnapshot/chunkBytes+1:
		return nil, what(fmt.Errorf("%w: sizes", ErrCorrupt))
	}
	stored := make([]byte, 0, min(m.Stored, 64<<20))
	last, err := b.Last(ctx, StreamSnap, snapSubject(m.Partition, m.Gen))
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("%w: its chunks are gone", ErrCorrupt)
		}
		return nil, what(err)
	}
	r := b.NewReader(StreamSnap, m.First, 4, snapSubject(m.Partition, m.Gen))
	defer r.Stop()
	for n := 0; n < m.Chunks; n++ {
		if r.next > last.Seq {
			return nil, what(fmt.Errorf("%w: %d of %d chunks", ErrCorrupt, n, m.Chunks))
		}
		d, err := r.Next(ctx)
		if err != nil {
			return nil, what(err)
		}
		if stored = append(stored, d.Data...); len(stored) > m.Stored {
			return nil, what(fmt.Errorf("%w: longer than its manifest says", ErrCorrupt))
		}
	}
	if len(stored) != m.Stored || crc32.Checksum(stored, castagnoli) != m.CRC {
		return nil, what(fmt.Errorf("%w: checksum", ErrCorrupt))
	}
	raw := stored
	if m.Zipped {
		if raw, err = inflate(stored, m.EngineN+m.GroupN); err != nil {
			return nil, what(err)
		}
	}
	if len(raw) != m.EngineN+m.GroupN {
		return nil, what(fmt.Errorf("%w: %d bytes, want %d", ErrCorrupt, len(raw), m.EngineN+m.GroupN))
	}
	s := m.Snapshot
	s.Engine, s.Grouper = raw[:m.EngineN:m.EngineN], raw[m.EngineN:]
	return &s, nil
}
