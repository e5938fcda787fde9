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

// Behind implements source.Origin. A shard that somebody else of the group reads
// is his to say; for as long as the service may take to find that its reader is
// gone, it counts as ours.
func (s *Source) Behind() (shards []int, known bool) {
	at := unixNano(&s.resolved)
	if at.IsZero() {
		return nil, false
	}
	fresh := time.Since(at) < 2*s.cfg.HeartbeatTimeout
	for _, sh := range s.allShards() {
		sh.mu.Lock()
		held := sh.held
		sh.mu.Unlock()
		if !sh.caughtUp.Load() && (held || fresh) {
			shards = append(shards, sh.id)
		}
	}
	slices.Sort(shards)
	return shards, true
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
