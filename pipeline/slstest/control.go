package slstest

import (
	"fmt"
	"slices"
	"time"
)

// AddLogstore makes another logstore (and so, if need be, its project). One
// that exists is replaced by an empty one.
func (s *Server) AddLogstore(project, name string, shards int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLogstore(project, name, shards, s.opts.Now())
}

func (s *Server) addLogstore(project, name string, shards int, now time.Time) {
	s.logstores[project+"/"+name] = newLogstore(project, name, max(shards, 1), s.base(), now, &s.opts)
}

// base is the first cursor of a new shard: far from all others, so that a
// cursor used on the wrong shard is noticed.
func (s *Server) base() int64 {
	s.nextBase += 1_000_000_000_000
	return s.nextBase
}

// main is the first logstore; s.mu is held.
func (s *Server) main() *logstore {
	ls := s.logstores[s.opts.Project+"/"+s.opts.Logstore]
	if ls == nil {
		panic("slstest: the logstore of Options was deleted")
	}
	return ls
}

func (s *Server) mainShard(id int) *shard {
	sh := s.main().shard(id)
	if sh == nil {
		panic(fmt.Sprintf("slstest: shard %d does not exist", id))
	}
	return sh
}

// Append stores records in a shard of the first logstore, received now, in
// groups of LogsPerGroup under Topic and Field. It returns the cursor after
// the last of them. The log time is the receive time.
func (s *Server) Append(shard int, records ...[]byte) (cursor string) {
	now := s.opts.Now()
	var groups []Group
	for chunk := range slices.Chunk(records, s.opts.LogsPerGroup) {
		g := Group{Topic: s.opts.Topic, Source: "actiontrail"}
		for _, r := range chunk {
			g.Logs = append(g.Logs, Log{Time: uint32(now.Unix()), Fields: []Field{{s.opts.Field, string(r)}}})
		}
		groups = append(groups, g)
	}
	return s.AppendLogs(shard, now, groups...)
}

// AppendLogs stores whole log groups in a shard of the first logstore as
// received at the given time (never before its predecessor's). It returns the
// cursor after the last of them.
func (s *Server) AppendLogs(shard int, received time.Time, groups ...Group) (cursor string) {
	frames := make([]frame, len(groups))
	for i, g := range groups {
		frames[i] = frame{data: g.appendFrame(nil), logs: len(g.Logs), received: received}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.mainShard(shard)
	sh.append(frames, s.opts.RetainGroups, s.opts.RetainBytes)
	return cursorText(sh.next())
}

// AppendRaw stores bytes as one log group without looking at them: a page
// that holds it decodes to whatever they mean, or to an error.
func (s *Server) AppendRaw(shard int, group []byte) (cursor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.mainShard(shard)
	sh.append([]frame{{data: group, received: s.opts.Now()}}, s.opts.RetainGroups, s.opts.RetainBytes)
	return cursorText(sh.next())
}

// Trim drops the n oldest groups of a shard, as the end of their retention
// would.
func (s *Server) Trim(shard, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mainShard(shard).trim(n)
}

// Bounds are the cursors of the oldest group and after the newest of a shard.
func (s *Server) Bounds(shard int) (begin, end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.mainShard(shard)
	return cursorText(sh.first), cursorText(sh.next())
}

// Split splits a shard in two and returns the ids of the children.
func (s *Server) Split(shard int) (a, b int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	children, err := s.main().split(shard, nil, s.base, s.opts.Now(), &s.opts)
	if err != nil {
		panic("slstest: " + err.Error())
	}
	return children[0].id, children[1].id
}

// Merge merges a shard with the one whose keys follow its own, and returns the id of
// the one that is made, and of that neighbour; ok is false where there is none, or
// the shard is closed.
func (s *Server) Merge(shard int) (merged, neighbour int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, n, err := s.main().merge(shard, s.base, s.opts.Now(), &s.opts)
	if err != nil {
		return 0, 0, false
	}
	return m.id, n.id, true
}

// Checkpoint is the saved checkpoint of a group, "" when there is none.
func (s *Server) Checkpoint(group string, shard int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.main().groups[group]; g != nil {
		return g.checkpoints[shard].cursor
	}
	return ""
}

// SetCheckpoint saves a checkpoint as an operator would; the group is made
// when it does not exist.
func (s *Server) SetCheckpoint(group string, shard int, cursor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ls := s.main()
	g := ls.groups[group]
	if g == nil {
		g = newGroup(group, time.Minute, false)
		ls.groups[group] = g
	}
	g.checkpoints[shard] = checkpoint{cursor: cursor, updated: s.opts.Now()}
}

// DeleteGroup deletes a consumer group behind its consumers' backs.
func (s *Server) DeleteGroup(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.main().groups, group)
}

// HasGroup says whether a consumer group exists.
func (s *Server) HasGroup(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.main().groups[group] != nil
}

// Evict removes a consumer from its group, as the server does with one that
// was silent for too long.
func (s *Server) Evict(group, consumer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.main().groups[group]; g != nil {
		g.evict(consumer)
	}
}

// Owner is the consumer that should hold a shard, "" when there is none.
func (s *Server) Owner(group string, shard int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.main().groups[group]; g != nil {
		return g.owner[shard]
	}
	return ""
}

// Consumers lists the live consumers of a group, by name.
func (s *Server) Consumers(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	if g := s.main().groups[group]; g != nil {
		g.evictSilent(s.opts.Now())
		for n := range g.consumers {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}
