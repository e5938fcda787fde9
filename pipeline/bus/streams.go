package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// The streams.
const (
	StreamEvents  = "EVENTS"
	StreamCommits = "COMMITS"
	StreamActions = "ACTIONS"
	StreamQuar    = "QUAR"
	StreamSnap    = "SNAP"
	// StreamAudit is made by the responders, from ACTIONS and half as large.
	StreamAudit = "AUDIT"
)

// Metadata of a stream. The layout is a contract between versions: a version
// that changes it must refuse or migrate the older one.
const (
	metaLayout     = "trailwarden.layout"
	metaPartitions = "trailwarden.partitions"
	layout         = "1"
)

// share is how the disk budget is divided, in hundredths. The rest is left to
// the server's own files and to what a purge has not yet given back.
var share = map[string]int64{StreamEvents: 45, StreamCommits: 15, StreamActions: 10, StreamQuar: 5, StreamSnap: 15}

// EVENTS comes last: where it exists, all of them were made.
var streamOrder = []string{StreamSnap, StreamQuar, StreamActions, StreamCommits, StreamEvents}

func streamConfigs(partitions, replicas int, budget int64) map[string]jetstream.StreamConfig {
	base := func(name, what string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name:        name,
			Description: what,
			Subjects:    subjects,
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    budget / 100 * share[name],
			MaxMsgSize:  maxPayload,
			MaxMsgs:     -1,
			MaxAge:      0,
			Duplicates:  dedupWindow,
			Replicas:    replicas,
			Metadata:    map[string]string{metaLayout: layout, metaPartitions: strconv.Itoa(partitions)},
		}
	}
	events := base(StreamEvents, "trailwarden: frames of audit records", "ev.*.*")
	commits := base(StreamCommits, "trailwarden: steps of the partition workers, cursors of their readers", "cm.*", "cur.*.*")
	commits.AllowRollup = true
	actions := base(StreamActions, "trailwarden: journal of notices and containment", "act.>")
	actions.DenyDelete = true
	actions.MaxAge = auditAge
	// Every record holds the whole state, so a history that is written for
	// years (caps, cursors) keeps its newest records and never fills up; the
	// audit log, which is made from this stream, keeps the rest.
	actions.MaxMsgsPerSubject = actionHistory
	quar := base(StreamQuar, "trailwarden: records that could not be evaluated", "q.*.*.*")
	// The one stream that drops its oldest: poison must not stop the rest.
	// Health reports it when it comes near.
	quar.Discard = jetstream.DiscardOld
	snap := base(StreamSnap, "trailwarden: snapshots of the partition workers", "snap.*.*", "snapm.*")
	return map[string]jetstream.StreamConfig{
		StreamEvents: events, StreamCommits: commits, StreamActions: actions, StreamQuar: quar, StreamSnap: snap,
	}
}

// marker is kept beside an embedded store and says what must be in it.
type marker struct {
	Layout     string    `json:"layout"`
	Partitions int       `json:"partitions"`
	Streams    []string  `json:"streams"`
	Made       time.Time `json:"made"`
}

const markerFile = "trailwarden.json"

func readMarker(dir string) (*marker, error) {
	b, err := os.ReadFile(filepath.Join(dir, markerFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	var m marker
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("bus: %s: %w: %w: restore the file, or remove it to let the streams speak for themselves", filepath.Join(dir, markerFile), ErrDamaged, err)
	}
	return &m, nil
}

func writeMarker(dir string, m marker) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, markerFile), append(b, '\n'))
}

// ensureStreams makes what a new store needs and verifies what an old one has.
// It returns the partition count that holds.
func (b *Bus) ensureStreams(ctx context.Context, mark *marker, budget int64) (int, error) {
	var have map[string]*jetstream.StreamInfo
	var partitions int
	for look := 0; ; look++ {
		var err error
		if have, err = b.lookUp(ctx); err != nil {
			return 0, err
		}
		if partitions, err = b.agreePartitions(have, mark); err != nil {
			return 0, err
		}
		if err = b.checkMissing(have, mark); err == nil {
			break
		}
		// On a cluster another process may be making them right now.
		if b.cfg.URL == "" || look == 3 {
			return 0, err
		}
		if err := pause.For(ctx, 300*time.Millisecond); err != nil {
			return 0, err
		}
	}
	want := streamConfigs(partitions, b.cfg.Replicas, budget)
	for _, name := range streamOrder {
		info := have[name]
		if info == nil {
			if err := b.createStream(ctx, want[name]); err != nil {
				return 0, wrap("bus: making stream "+name, err)
			}
			continue
		}
		update, err := verifyStream(info.Config, want[name])
		if err != nil {
			return 0, err
		}
		if !update {
			continue
		}
		if _, err := b.js.UpdateStream(ctx, want[name]); err != nil {
			// In a cluster only the installer may change streams.
			b.log.Warn("stream settings differ from the configuration and could not be updated",
				"stream", name, "error", err, "max_bytes", info.Config.MaxBytes, "want_max_bytes", want[name].MaxBytes)
		}
	}
	return partitions, nil
}

// createStream makes a stream. On a cluster an answer may be lost; who asks again
// is told that it is made.
func (b *Bus) createStream(ctx context.Context, c jetstream.StreamConfig) error {
	create := func(ctx context.Context) error { _, err := b.js.CreateStream(ctx, c); return err }
	if b.srv != nil {
		return create(ctx)
	}
	return b.retry(ctx, create)
}

func (b *Bus) lookUp(ctx context.Context) (map[string]*jetstream.StreamInfo, error) {
	have := map[string]*jetstream.StreamInfo{}
	for _, name := range streamOrder {
		err := b.retry(ctx, func(ctx context.Context) error {
			s, err := b.js.Stream(ctx, name)
			if err == nil {
				have[name] = s.CachedInfo()
			}
			return err
		})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, wrap("bus: looking up stream "+name, err)
		}
	}
	return have, nil
}

// agreePartitions finds the count in force. It never changes: state, frames
// and positions of one partition would meet accounts of another.
func (b *Bus) agreePartitions(have map[string]*jetstream.StreamInfo, mark *marker) (int, error) {
	stored, where := 0, ""
	note := func(n int, from string) error {
		if stored != 0 && stored != n {
			return fmt.Errorf("bus: %w: %s says %d partitions, %s says %d", ErrDamaged, where, stored, from, n)
		}
		stored, where = n, from
		return nil
	}
	for _, name := range streamOrder {
		info := have[name]
		if info == nil {
			continue
		}
		n, err := strconv.Atoi(info.Config.Metadata[metaPartitions])
		if err != nil || n < 1 || n > MaxPartitions {
			return 0, fmt.Errorf("bus: %w: stream %s exists but was not made by trailwarden (no partition count in its metadata): use another account or domain for it", ErrDrift, name)
		}
		if v := info.Config.Metadata[metaLayout]; v != layout {
			return 0, fmt.Errorf("bus: %w: stream %s has layout %q, this program knows %q: use the version that made it, or a new store", ErrDrift, name, v, layout)
		}
		if err := note(n, "stream "+name); err != nil {
			return 0, err
		}
	}
	if mark != nil {
		if err := note(mark.Partitions, markerFile); err != nil {
			return 0, err
		}
	}
	want := b.cfg.Partitions
	if stored == 0 {
		if want == 0 {
			want = b.cfg.defaultPartitions()
		}
		return want, nil
	}
	if want != 0 && want != stored {
		return 0, fmt.Errorf("bus: %w: nats.partitions is %d, but the store was made with %d and the count cannot change in place: set it back to %d, or start with an empty state_dir (or another cluster account) and let it read the history again from SLS",
			ErrDrift, want, stored, stored)
	}
	return stored, nil
}

// checkMissing refuses a store of which a part is gone: starting empty would
// lose alerts without a word.
func (b *Bus) checkMissing(have map[string]*jetstream.StreamInfo, mark *marker) error {
	var missing []string
	for _, name := range streamOrder {
		if have[name] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	used := have[StreamEvents] != nil
	for _, info := range have {
		used = used || info.State.LastSeq > 0
	}
	if mark != nil {
		used = true
	}
	if !used {
		return nil // new, or the first start was interrupted before EVENTS
	}
	slices.Sort(missing)
	list := strings.Join(missing, ", ")
	if b.cfg.Adopt {
		b.log.Error("streams were missing and are made again, as asked: what their files still hold is taken over, the rest is lost", "streams", list)
		return nil
	}
	return fmt.Errorf("bus: %w: the store has a history, but stream %s is missing (10059): restore it from a copy, or start once with `trailwarden run --adopt-missing-streams` to take over what is left; records are still in SLS within its retention",
		ErrDamaged, list)
}

// verifyStream compares what must hold for our promises; update says that
// something which may change has changed.
func verifyStream(have, want jetstream.StreamConfig) (update bool, err error) {
	var bad []string
	differ := func(what string, h, w any) {
		if fmt.Sprint(h) != fmt.Sprint(w) {
			bad = append(bad, fmt.Sprintf("%s is %v, want %v", what, h, w))
		}
	}
	hs, ws := slices.Clone(have.Subjects), slices.Clone(want.Subjects)
	slices.Sort(hs)
	slices.Sort(ws)
	differ("subjects", hs, ws)
	differ("retention", have.Retention, want.Retention)
	differ("storage", have.Storage, want.Storage)
	differ("discard", have.Discard, want.Discard)
	differ("max_age", have.MaxAge, want.MaxAge)
	differ("deny_delete", have.DenyDelete, want.DenyDelete)
	differ("deny_purge", have.DenyPurge, want.DenyPurge)
	differ("allow_rollup", have.AllowRollup, want.AllowRollup)
	differ("allow_direct", have.AllowDirect, want.AllowDirect)
	if want.DiscardNewPerSubject {
		differ("discard_new_per_subject", have.DiscardNewPerSubject, true)
	}
	differ("max_msgs_per_subject", max(have.MaxMsgsPerSubject, 0), max(want.MaxMsgsPerSubject, 0))
	differ("no_ack", have.NoAck, want.NoAck)
	differ("sealed", have.Sealed, false)
	differ("mirrored or sourced", have.Mirror != nil || len(have.Sources) > 0, false)
	if have.MaxMsgs > 0 {
		bad = append(bad, fmt.Sprintf("max_msgs is %d, want none", have.MaxMsgs))
	}
	if have.MaxMsgSize > 0 && have.MaxMsgSize < want.MaxMsgSize {
		bad = append(bad, fmt.Sprintf("max_msg_size is %d, want at least %d", have.MaxMsgSize, want.MaxMsgSize))
	}
	if len(bad) > 0 {
		return false, fmt.Errorf("bus: %w: stream %s: %s: somebody changed it, set it back", ErrDrift, have.Name, strings.Join(bad, "; "))
	}
	return have.MaxBytes != want.MaxBytes || have.DiscardNewPerSubject != want.DiscardNewPerSubject || have.Replicas != want.Replicas ||
		have.Duplicates != want.Duplicates || have.Description != want.Description, nil
}
