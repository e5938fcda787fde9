package sls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/source"
)

var _ source.Origin = (*Source)(nil)

// staleAfter is how long after a shard was at its end it counts as being there,
// beside what asking it takes. An idle one is looked at every Config.Poll; one that
// is not, because the network or the disk stands still, has records that we do not
// know of.
const staleAfter = time.Second

// What stops a shard for longer than stoodFor, be it the store or the service, is
// taken to stop the readers of the others, too. They are back othersBack later: the
// longest back-off, a connection made again, and the first pages.
const stoodFor, othersBack = 5 * time.Second, 30 * time.Second

// failed is told when a page of the shard cannot be had or stored, when it can be
// stored again, and when that took long.
func (s *Source) failed(sh *shardState) {
	now := time.Now()
	// A shard that was never at its end reads a backlog, alone.
	if at := unixNano(&sh.settled); !at.IsZero() && now.Sub(at) > stoodFor {
		s.stood.Store(now.UnixNano())
	}
}

// Behind implements source.Origin. A shard that somebody else of the group reads
// is his to say; for as long as the service may take to find that its reader is
// gone, it counts as ours. So it does after a standstill: who can store again first
// does not know what others have yet to store.
func (s *Source) Behind() (shards []int) {
	now := time.Now()
	ours := s.ours()
	if s.cfg.Instance != "" && now.Sub(unixNano(&s.stood)) < othersBack {
		for _, sh := range s.allShards() {
			if !slices.Contains(ours, sh) {
				shards = append(shards, sh.id)
			}
		}
	}
	for _, sh := range ours {
		if s.stale(sh, now) {
			shards = append(shards, sh.id)
		}
	}
	slices.Sort(shards)
	return shards
}

// stale says that a shard was not at its end for a moment.
func (s *Source) stale(sh *shardState, now time.Time) bool {
	// A service that is slow to answer is seldom asked, and not behind for that:
	// what was settled is as old as one answer, and lasts for the next.
	usual := staleAfter + s.cfg.Poll + 2*time.Duration(sh.took.Load())
	return now.Sub(unixNano(&sh.settled)) > usual
}

// Settled implements source.Origin.
func (s *Source) Settled() time.Time {
	if s.resolved.Load() == 0 {
		return time.Time{}
	}
	at, ours := time.Now(), s.ours()
	if s.cfg.Instance != "" && len(ours) < len(s.allShards()) {
		// Others read the rest, or are dead: so long ago they were not, or we would
		// have what they had by now.
		at = at.Add(-s.timeout() - 2*s.cfg.Heartbeat)
	}
	for _, sh := range ours {
		if t := unixNano(&sh.settled); t.Before(at) {
			at = t
		}
	}
	return at
}

// ours are the shards that Behind and Settled are about: nil before it was found
// out where they start.
func (s *Source) ours() (list []*shardState) {
	at := unixNano(&s.resolved)
	if at.IsZero() {
		return nil
	}
	fresh := time.Since(at) < 2*s.timeout()
	for _, sh := range s.allShards() {
		sh.mu.Lock()
		held := sh.held
		sh.mu.Unlock()
		if held || fresh && sh.settled.Load() == 0 {
			list = append(list, sh)
		}
	}
	return list
}

// Refetch implements source.Origin. The consumer group does not hear of it.
func (s *Source) Refetch(ctx context.Context, shard int, from, to string, take func(source.Page) error) (err error) {
	defer func() {
		if r := recover(); r != nil { // the SDK's decoder
			err = fmt.Errorf("sls: %s: reading shard %d again: panic: %v", s.name, shard, r)
		}
	}()
	c := s.client(ctx)
	fail := func(what string, err error) error {
		var e *sdk.Error
		if errors.As(err, &e) && (e.Code == "InvalidCursor" || e.Code == "ShardNotExist" || e.Code == "LogStoreNotExist") {
			err = fmt.Errorf("%w: %w", source.ErrGone, describe(err))
		} else if !errors.Is(err, source.ErrGone) {
			err = describe(err)
		}
		return fmt.Errorf("sls: %s: reading shard %d again: %s: %w", s.name, shard, what, err)
	}
	begin, err := c.GetCursor(s.cfg.Project, s.cfg.Logstore, shard, "begin")
	if err != nil {
		return fail("looking up its beginning", err)
	}
	at, ok1 := cursorValue(from)
	end, ok2 := cursorValue(to)
	first, ok3 := cursorValue(begin)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("sls: %s: reading shard %d again: %q to %q are no cursors", s.name, shard, clip(from), clip(to))
	}
	var gone error
	if at < first {
		gone = fail("the beginning has expired", source.ErrGone)
		from, at = begin, first
	}
	sh := &shardState{id: shard} // its own buffers
	for at < end {
		list, meta, err := c.PullLogsWithQuery(&sdk.PullLogRequest{Project: s.cfg.Project, Logstore: s.cfg.Logstore, ShardID: shard,
			Cursor: from, EndCursor: to, LogGroupMaxCount: s.cfg.PageGroups})
		if err != nil {
			return fail("pulling", err)
		}
		next := meta.NextCursor
		n, ok := cursorValue(next)
		if !ok || n <= at {
			break // nothing more is there
		}
		records, times := sh.extract(list)
		if err := take(source.Page{Source: s.name, Shard: shard, From: from, To: next, Records: records, Times: times, Received: time.Now().UTC()}); err != nil {
			return err
		}
		from, at = next, n
	}
	return gone
}

// Count implements source.Origin: it needs an index on the logstore, which
// ActionTrail makes, and the permission log:GetLogStoreHistogram.
func (s *Source) Count(ctx context.Context, from, to time.Time) (n uint64, whole bool, err error) {
	defer func() {
		if r := recover(); r != nil { // the SDK takes a header for given
			n, whole, err = 0, false, fmt.Errorf("sls: %s: counting: panic: %v", s.name, r)
		}
	}()
	h, err := s.client(ctx).GetHistograms(s.cfg.Project, s.cfg.Logstore, "", from.Unix(), to.Unix(), "*")
	if err != nil {
		var e *sdk.Error
		known := errors.As(err, &e)
		err = describe(err)
		if known {
			switch e.Code {
			case "IndexConfigNotExist", "Unauthorized", "ParameterInvalid":
				err = fmt.Errorf("%w: %w", source.ErrUncountable, err)
			}
		}
		return 0, false, fmt.Errorf("sls: %s: counting: %w", s.name, err)
	}
	if h.Count < 0 {
		return 0, false, fmt.Errorf("sls: %s: counting: the service says %d", s.name, h.Count)
	}
	return uint64(h.Count), h.IsComplete(), nil
}
