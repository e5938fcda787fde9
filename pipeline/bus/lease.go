package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LeaseBucket is the KV bucket of leases and heartbeats; its stream and
// subjects are those that the nats tools expect of a bucket.
const (
	LeaseBucket = "LEASE"
	streamLease = "KV_" + LeaseBucket
	leasePrefix = "$KV." + LeaseBucket + "."
)

// Leases are short claims in a shared bucket: they keep two processes from
// doing the same work most of the time. They make nothing safe; the fence of
// what is written does. Safe for concurrent use.
type Leases struct {
	b   *Bus
	ttl time.Duration
}

// Lease is the newest record of one key.
type Lease struct {
	Key string
	Seq uint64
	// Holder is who wrote it; empty when it was given back.
	Holder string
	Time   time.Time // of the server that stored it
}

type leaseRecord struct {
	Holder string `json:"holder,omitempty"`
	// Beat makes every record of a holder another one, so that reading back
	// after a lost answer recognises it.
	Beat uint64 `json:"beat"`
}

// Leases opens the bucket, or makes it. ttl is when the server forgets what was
// not renewed; the first process decides it.
func (b *Bus) Leases(ctx context.Context, ttl time.Duration) (*Leases, error) {
	l := &Leases{b: b, ttl: ttl}
	err := b.retry(ctx, func(ctx context.Context) error {
		_, err := b.js.Stream(ctx, streamLease)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			// What the library makes for a bucket, without direct gets: a
			// follower would answer those with an older record.
			_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
				Name: streamLease, Description: "trailwarden: who works on what", Subjects: []string{leasePrefix + ">"},
				MaxMsgsPerSubject: 1, MaxAge: ttl, MaxBytes: 4 << 20, MaxMsgs: -1, MaxMsgSize: 1 << 10, MaxConsumers: -1, Duplicates: min(ttl, dedupWindow),
				Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas, AllowRollup: true, DenyDelete: true,
			})
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				err = nil // another process was first
			}
		}
		return err
	})
	return l, wrap("bus: the bucket of leases", err)
}

func leaseSubject(key string) string { return leasePrefix + key }

// Put writes holder (empty gives the key back) after the record with sequence
// expect, 0 when there is none. beat is another number each time, and the same
// when a Put of unknown outcome is repeated: then it succeeds if the first had.
// ErrFenced: somebody else has written, or the record has expired.
func (l *Leases) Put(ctx context.Context, key, holder string, beat, expect uint64) (uint64, error) {
	data, err := json.Marshal(leaseRecord{Holder: holder, Beat: beat})
	if err != nil {
		return 0, err
	}
	return l.b.Publish(ctx, Publish{Stream: streamLease, Subject: leaseSubject(key), Data: data, Fenced: true, Expect: expect})
}

// Get reads a key; ErrNotFound when nobody has written it within the TTL.
func (l *Leases) Get(ctx context.Context, key string) (Lease, error) {
	m, err := l.b.Last(ctx, streamLease, leaseSubject(key))
	if err != nil {
		return Lease{}, err
	}
	return parseLease(m), nil
}

// parseLease takes a record that is not ours for one that is held by whoever
// wrote it.
func parseLease(m Message) Lease {
	var r leaseRecord
	if err := json.Unmarshal(m.Data, &r); err != nil && len(m.Data) > 0 { // empty: deleted with other tools
		r.Holder = "unknown"
	}
	return Lease{Key: strings.TrimPrefix(m.Subject, leasePrefix), Seq: m.Seq, Holder: r.Holder, Time: m.Time}
}

// Watch hands every record to fn, beginning with the present ones, until ctx
// ends or the bucket cannot be read any more.
func (l *Leases) Watch(ctx context.Context, fn func(Lease)) error {
	r := l.b.NewReader(streamLease, 1, 256, leasePrefix+">")
	defer r.Stop()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("bus: watching leases: %w", err)
		}
		fn(parseLease(d.Message))
	}
}
