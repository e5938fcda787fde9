package sls

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
)

// resolve decides for every shard where reading starts and writes that as its
// checkpoint, unless there is one that will do; the SDK's consumer then starts from
// it. The SDK's own start options are not used: it ignores a failed look-up of a
// time and never recovers from an expired checkpoint.
func (s *Source) resolve(ctx context.Context) error {
	c := s.client(ctx)
	project, store, group := s.cfg.Project, s.cfg.Logstore, s.cfg.Group
	shards, err := c.ListShards(project, store)
	if err != nil {
		return fmt.Errorf("listing the shards: %w", describe(err))
	}
	if len(shards) == 0 {
		return errors.New("the logstore has no shards")
	}
	if err := s.ensureGroup(c); err != nil {
		return err
	}
	saved, err := s.savedCheckpoints(c)
	if err != nil {
		return err
	}
	written := map[int]string{}
	for _, shard := range shards {
		sh := s.shard(shard.ShardID)
		cursor, begin, err := s.startOf(ctx, c, sh, saved[sh.id])
		if err != nil {
			return fmt.Errorf("shard %d: %w", sh.id, err)
		}
		if !between(begin, saved[sh.id], cursor) {
			// No consumer is named: the service demands force then.
			if err := c.UpdateCheckpoint(project, store, group, "", sh.id, cursor, true); err != nil {
				return fmt.Errorf("shard %d: writing its start as checkpoint: %w", sh.id, describe(err))
			}
			written[sh.id] = cursor
		}
		sh.setPosition(cursor)
	}
	s.resolved.Store(time.Now().UnixNano())
	if len(written) == 0 {
		return nil
	}
	// The SDK starts from what the server has, so look at that.
	saved, err = s.savedCheckpoints(c)
	if err != nil {
		return err
	}
	for id, cursor := range written {
		// A consumer of the group that reads the shard now may have moved it
		// on meanwhile; behind our start it must not be.
		have, ok1 := cursorValue(saved[id])
		want, ok2 := cursorValue(cursor)
		if saved[id] != cursor && (!ok1 || !ok2 || have < want) {
			return fmt.Errorf("shard %d: the checkpoint %s was accepted but the server has %q", id, cursor, clip(saved[id]))
		}
	}
	return nil
}

// ensureGroup makes the consumer group, or sets its time-out right: the SDK
// does both as well but only logs a failure.
func (s *Source) ensureGroup(c sdk.ClientInterface) error {
	want := sdk.ConsumerGroup{ConsumerGroupName: s.cfg.Group, Timeout: int(s.cfg.HeartbeatTimeout / time.Second)}
	groups, err := c.ListConsumerGroup(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return fmt.Errorf("listing the consumer groups: %w", describe(err))
	}
	for _, g := range groups {
		if g.ConsumerGroupName != want.ConsumerGroupName {
			continue
		}
		s.hadGroup = true
		s.groupTimeout.Store(0)
		if *g == want {
			return nil
		}
		err := c.UpdateConsumerGroup(s.cfg.Project, s.cfg.Logstore, want)
		var e *sdk.Error
		switch {
		case err == nil:
		case errors.As(err, &e) && (Trouble{Code: e.Code}).Denied() && g.Timeout > int(s.cfg.Heartbeat/time.Second):
			// A time-out that is not ours is no reason to read nothing.
			s.groupTimeout.Store(int64(time.Duration(g.Timeout) * time.Second))
			s.log.Warn("sls: the time-out of the consumer group may not be changed, it stays; allow log:UpdateConsumerGroup, or shards of a process that is killed wait that long",
				"group", s.cfg.Group, "timeout_seconds", g.Timeout, "wanted_seconds", want.Timeout, "err", describe(err))
		default:
			return fmt.Errorf("updating the consumer group: %w", describe(err))
		}
		return nil
	}
	err = c.CreateConsumerGroup(s.cfg.Project, s.cfg.Logstore, want)
	var e *sdk.Error
	if err != nil && (!errors.As(err, &e) || e.Code != "ConsumerGroupAlreadyExist") {
		return fmt.Errorf("creating the consumer group: %w", describe(err))
	}
	if s.hadGroup {
		s.n.groups.Add(1)
		s.alarm(Alarm{Kind: AlarmGroupMissing, Shard: -1,
			Message: fmt.Sprintf("the consumer group %s had been deleted; it was made again, and reading goes on from the stored positions", s.cfg.Group)})
	}
	s.hadGroup = true
	return nil
}

// timeout is how long the group waits for a silent consumer: as configured, but
// for a group that may not be changed.
func (s *Source) timeout() time.Duration {
	if d := s.groupTimeout.Load(); d > 0 {
		return time.Duration(d)
	}
	return s.cfg.HeartbeatTimeout
}

func (s *Source) savedCheckpoints(c sdk.ClientInterface) (map[int]string, error) {
	list, err := c.GetCheckpoint(s.cfg.Project, s.cfg.Logstore, s.cfg.Group)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoints: %w", describe(err))
	}
	saved := map[int]string{}
	for _, cp := range list {
		if cp != nil {
			saved[cp.ShardID] = cp.CheckPoint
		}
	}
	return saved, nil
}

// mostLost is more log groups than a shard takes in three weeks: who lacks more
// looks at another logstore.
const mostLost = 1_000_000_000

// startOf is the cursor a shard starts at: the sink's position, else the one
// this process was at, else what the configuration says. A cursor that the
// shard does not have any more (or never had: a logstore made anew) becomes
// the beginning, loudly. begin is the shard's first cursor.
//
// Another process may be reading the shard: what is looked up first must not be
// further than what is looked up last, or its progress would look like a loss.
func (s *Source) startOf(ctx context.Context, c sdk.ClientInterface, sh *shardState, saved string) (cursor, begin string, err error) {
	look := func(from string) (string, error) {
		cursor, err := c.GetCursor(s.cfg.Project, s.cfg.Logstore, sh.id, from)
		if err != nil {
			return "", fmt.Errorf("looking up the cursor of %q: %w", from, describe(err))
		}
		if cursor == "" {
			return "", fmt.Errorf("looking up the cursor of %q: the service gave an empty one", from)
		}
		return cursor, nil
	}
	pos, err := s.sink.Position(ctx, s.name, sh.id)
	if err != nil {
		return "", "", fmt.Errorf("asking for the stored position: %w", err)
	}
	if begin, err = look("begin"); err != nil {
		return "", "", err
	}
	end, err := look("end")
	if err != nil {
		return "", "", err
	}
	sh.mu.Lock()
	memory, invalid, givenUp := sh.position, sh.invalid, sh.givenUp
	sh.mu.Unlock()

	why := ""
	switch {
	case pos != "" && pos != givenUp:
		cursor, why = pos, "stored position"
	case memory != "":
		cursor, why = memory, "position of this process"
	default:
		switch s.cfg.Start {
		case StartBegin:
			cursor = begin
		case StartTime:
			if cursor, err = look(strconv.FormatInt(s.cfg.StartTime.Unix(), 10)); err != nil {
				return "", "", err
			}
		case StartEnd:
			if cursor = saved; cursor == "" {
				cursor = end
			}
		default:
			if cursor = saved; cursor == "" {
				cursor = begin
			}
		}
		why = "start: " + string(s.cfg.Start)
	}

	sh.settled.Store(0) // the first pull says whether it is at its end
	at, ok := cursorValue(cursor)
	first, ok1 := cursorValue(begin)
	last, ok2 := cursorValue(end)
	lost := cursor == invalid
	if ok && ok1 && ok2 {
		lost = at < first || at > last
	}
	if lost {
		s.n.resets.Add(1)
		msg := fmt.Sprintf("the position of shard %d (%s) is not in the logstore any more; reading goes on at its beginning", sh.id, why)
		switch {
		case !ok || !ok1 || !ok2:
		case at > last, first-at > mostLost:
			// Shards that it does not have any more are listed by nobody: it is said here.
			msg += ": it was deleted and made again, it seems, and what was not read of the old one is lost, of shards that it no longer has, too"
		case at < first:
			msg += fmt.Sprintf(": %d log groups were lost to retention", first-at)
		}
		s.alarm(Alarm{Kind: AlarmCursorExpired, Shard: sh.id, From: cursor, To: begin, Message: msg})
		cursor = begin
		sh.mu.Lock()
		sh.givenUp = pos
		sh.mu.Unlock()
	}
	sh.mu.Lock()
	sh.invalid = ""
	sh.mu.Unlock()
	s.log.Info("sls: shard starts", "shard", sh.id, "cursor", cursor, "why", why, "checkpoint", saved)
	return cursor, begin, nil
}

// between says that a saved checkpoint is one to begin from: nothing is lost, and
// what is stored beyond it is left out (align). It is not written over then. Another
// process may be reading the shard and may have moved it on since we looked: ours
// would move it back.
func between(begin, saved, cursor string) bool {
	if saved == cursor {
		return true
	}
	first, ok1 := cursorValue(begin)
	at, ok2 := cursorValue(saved)
	last, ok3 := cursorValue(cursor)
	return ok1 && ok2 && ok3 && first <= at && at <= last
}
