package slstest

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// answer does the work of a routed request.
func (s *Server) answer(q *query, now time.Time) reply {
	switch q.call {
	case CreateProject, GetProject:
		return s.project(q)
	case PullLogs:
		return s.pull(q, now)
	case GetLogs:
		return s.getLogs(q)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch q.call {
	case ListLogStores:
		names := []string{}
		for _, ls := range s.logstores {
			if ls.project == q.project {
				names = append(names, ls.name)
			}
		}
		if len(names) == 0 {
			return noProject(q)
		}
		slices.Sort(names)
		return jsonReply(map[string]any{"count": len(names), "total": len(names), "logstores": names})
	case CreateLogStore:
		return s.createLogstore(q, now)
	}
	ls, e := s.find(q)
	if e != nil {
		return e.reply()
	}
	switch q.call {
	case GetLogStore:
		return jsonReply(map[string]any{"logstoreName": ls.name, "ttl": 7, "shardCount": len(ls.shards), "mode": "standard"})
	case DeleteLogStore:
		delete(s.logstores, ls.project+"/"+ls.name)
		return empty()
	case ListShards:
		return listShards(ls.shards)
	case GetHistograms:
		return s.histograms(q, ls)
	case PutLogs:
		return s.put(q, ls, now)
	case SplitShard:
		var key *big.Int
		if k := q.v.Get("key"); k != "" {
			var ok bool
			if key, ok = new(big.Int).SetString(k, 16); !ok {
				return errf(http.StatusBadRequest, "ParameterInvalid", "key is not hexadecimal").reply()
			}
		}
		children, err := ls.split(q.shard, key, s.base, now, &s.opts)
		if err != nil {
			return errf(http.StatusBadRequest, "ParameterInvalid", "%v", err).reply()
		}
		return listShards(append([]*shard{ls.shards[q.shard]}, children...))
	case MergeShards:
		merged, next, err := ls.merge(q.shard, s.base, now, &s.opts)
		if err != nil {
			return errf(http.StatusBadRequest, "ParameterInvalid", "%v", err).reply()
		}
		return listShards([]*shard{merged, ls.shards[q.shard], next})
	case GetCursor, GetCursorTime:
		return s.cursor(q, ls, now)
	}
	return s.consumerGroups(q, ls, now)
}

func noProject(q *query) reply {
	return errf(http.StatusNotFound, "ProjectNotExist", "the project %q does not exist", clip(q.project, 128)).reply()
}

// find returns the logstore of a request; s.mu is held.
func (s *Server) find(q *query) (*logstore, *apiError) {
	if ls := s.logstores[q.project+"/"+q.logstore]; ls != nil {
		return ls, nil
	}
	for _, ls := range s.logstores {
		if ls.project == q.project {
			return nil, errf(http.StatusNotFound, "LogStoreNotExist", "the logstore %q does not exist", clip(q.logstore, 128))
		}
	}
	return nil, errf(http.StatusNotFound, "ProjectNotExist", "the project %q does not exist", clip(q.project, 128))
}

func (s *Server) project(q *query) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.call == CreateProject {
		return empty() // a project exists once it has a logstore
	}
	for _, ls := range s.logstores {
		if ls.project == q.project {
			return jsonReply(map[string]any{"projectName": q.project, "status": "Normal", "region": s.opts.Region})
		}
	}
	return noProject(q)
}

func (s *Server) createLogstore(q *query, now time.Time) reply {
	var in struct {
		Name   string `json:"logstoreName"`
		Shards int    `json:"shardCount"`
	}
	if err := json.Unmarshal(q.body, &in); err != nil || in.Name == "" || strings.ContainsAny(in.Name, "/?#") {
		return errf(http.StatusBadRequest, "LogstoreInfoInvalid", "the body names no logstore").reply()
	}
	if in.Shards < 1 || in.Shards > 256 {
		return errf(http.StatusBadRequest, "LogstoreInfoInvalid", "shardCount must be 1 to 256").reply()
	}
	if s.logstores[q.project+"/"+in.Name] != nil {
		return errf(http.StatusBadRequest, "LogStoreAlreadyExist", "the logstore exists").reply()
	}
	s.addLogstore(q.project, in.Name, in.Shards, now)
	return empty()
}

func listShards(shards []*shard) reply {
	out := []map[string]any{}
	for _, sh := range shards {
		status := "readwrite"
		if sh.readonly {
			status = "readonly"
		}
		out = append(out, map[string]any{
			"shardID": sh.id, "status": status, "createTime": sh.created.Unix(),
			"inclusiveBeginKey": keyText(sh.begin), "exclusiveEndKey": keyText(sh.end),
		})
	}
	return jsonReply(out)
}

func (s *Server) noShard(id int) reply {
	return errf(http.StatusNotFound, "ShardNotExist", "shard %d does not exist", id).reply()
}

func (s *Server) cursor(q *query, ls *logstore, now time.Time) reply {
	sh := ls.shard(q.shard)
	if sh == nil {
		return s.noShard(q.shard)
	}
	if q.call == GetCursorTime {
		c, err := parseCursor(q.v.Get("cursor"))
		if err != nil || c < sh.first || c > sh.next() {
			return errf(http.StatusBadRequest, "InvalidCursor", "the cursor is not of this shard").reply()
		}
		t := now
		if i := c - sh.first; i < int64(len(sh.frames)) {
			t = sh.frames[i].received
		}
		return jsonReply(map[string]int64{"cursor_time": t.Unix()})
	}
	var c int64
	switch from := q.v.Get("from"); from {
	case "begin":
		c = sh.first
	case "end":
		c = sh.next()
	default:
		sec, err := strconv.ParseInt(from, 10, 64)
		if err != nil {
			return errf(http.StatusBadRequest, "ParameterInvalid", "from must be begin, end or unix seconds").reply()
		}
		c = sh.at(time.Unix(sec, 0))
	}
	q.detail = q.v.Get("from")
	return jsonReply(map[string]string{"cursor": cursorText(c)})
}

// pull answers one page. The frames are taken under the lock and put together
// outside it.
func (s *Server) pull(q *query, now time.Time) reply {
	encoding := ""
	for _, e := range strings.Split(q.header.Get("Accept-Encoding"), ",") {
		if e = strings.TrimSpace(e); e == "lz4" || e == "zstd" {
			encoding = e
			break
		}
	}
	count, err := strconv.Atoi(q.v.Get("count"))
	switch {
	case err != nil || count < 1 || count > 1000:
		return errf(http.StatusBadRequest, "ParameterInvalid", "count must be 1 to 1000").reply()
	case encoding == "":
		return errf(http.StatusBadRequest, "ParameterInvalid", "Accept-Encoding must be lz4 or zstd").reply()
	case q.v.Get("query") != "" || q.v.Get("processor") != "":
		return errf(http.StatusBadRequest, "ParameterInvalid", "this emulator does not evaluate SPL").reply()
	}

	s.mu.Lock()
	ls, e := s.find(q)
	if e != nil {
		s.mu.Unlock()
		return e.reply()
	}
	sh := ls.shard(q.shard)
	if sh == nil {
		s.mu.Unlock()
		return s.noShard(q.shard)
	}
	if sh.reads != nil && !sh.reads.AllowN(now, 1) {
		s.mu.Unlock()
		return errf(http.StatusForbidden, "ShardReadQuotaExceed", "Read QPS Exceed").reply()
	}
	from, err := parseCursor(q.v.Get("cursor"))
	to := sh.next()
	if err != nil || from < sh.first || from > to {
		s.mu.Unlock()
		return errf(http.StatusBadRequest, "InvalidCursor", "the cursor is not of this shard or has expired").reply()
	}
	if end := q.v.Get("end_cursor"); end != "" {
		c, err := parseCursor(end)
		if err != nil {
			s.mu.Unlock()
			return errf(http.StatusBadRequest, "InvalidCursor", "end_cursor is not a cursor").reply()
		}
		to = max(from, min(to, c))
	}
	limit := min(count, s.opts.MaxPageGroups, int(to-from))
	var frames []frame
	raw := 0
	for _, f := range sh.frames[from-sh.first:][:limit] {
		if len(frames) > 0 && raw+len(f.data) > s.opts.MaxPageBytes {
			break
		}
		frames = append(frames, f)
		raw += len(f.data)
	}
	if sh.readBytes != nil && raw > 0 && !sh.readBytes.AllowN(now, min(raw, sh.readBytes.Burst())) {
		s.mu.Unlock()
		return errf(http.StatusForbidden, "ShardReadQuotaExceed", "Outflow Quota Exceed").reply()
	}
	s.mu.Unlock()

	next := from + int64(len(frames))
	rep := reply{status: http.StatusOK, groups: len(frames), header: map[string]string{
		"Content-Type":      "application/x-protobuf",
		"X-Log-Cursor":      cursorText(next),
		"X-Log-Count":       strconv.Itoa(len(frames)),
		"X-Log-Bodyrawsize": strconv.Itoa(raw),
	}}
	if len(frames) > 0 {
		page := make([]byte, 0, raw)
		for _, f := range frames {
			page = append(page, f.data...)
		}
		rep.body = compress(encoding, page)
		rep.header["X-Log-Compresstype"] = encoding
		rep.header["X-Log-Read-Last-Cursor"] = strconv.FormatInt(next-1, 10)
		rep.header["X-Log-Cursor-Time"] = strconv.FormatInt(frames[len(frames)-1].received.Unix(), 10)
	}
	if next == to {
		rep.header["X-Log-End-Of-Cursor"] = "1"
	}
	return rep
}

func (s *Server) put(q *query, ls *logstore, now time.Time) reply {
	size, err := strconv.Atoi(q.header.Get("x-log-bodyrawsize"))
	if err != nil {
		return errf(http.StatusBadRequest, "InvalidBodyRawSize", "x-log-bodyrawsize is not a number").reply()
	}
	raw, err := decompress(q.header.Get("x-log-compresstype"), q.body, size)
	if err != nil {
		return errf(http.StatusBadRequest, "PostBodyUncompressError", "%v", err).reply()
	}
	g, err := parseGroup(raw)
	if err != nil {
		return errf(http.StatusBadRequest, "PostBodyInvalid", "%v", err).reply()
	}
	var key *big.Int
	if k := q.v.Get("key"); k != "" {
		var ok bool
		if key, ok = new(big.Int).SetString(k, 16); !ok || len(k) > 32 {
			return errf(http.StatusBadRequest, "ParameterInvalid", "key is not a 128-bit hexadecimal number").reply()
		}
	}
	sh := ls.route(key)
	if sh == nil {
		return errf(http.StatusBadRequest, "ShardNotExist", "no writable shard covers the key").reply()
	}
	if sh.writes != nil && !sh.writes.AllowN(now, 1) {
		return errf(http.StatusForbidden, "ShardWriteQuotaExceed", "Write QPS Exceed").reply()
	}
	if len(g.Logs) > 0 {
		sh.append([]frame{{data: g.appendFrame(nil), logs: len(g.Logs), received: now}}, s.opts.RetainGroups, s.opts.RetainBytes)
	}
	q.shard, q.hasShard = sh.id, true
	return empty()
}

func (s *Server) consumerGroups(q *query, ls *logstore, now time.Time) reply {
	switch q.call {
	case ListConsumerGroup:
		type item struct {
			Name    string `json:"name"`
			Timeout int    `json:"timeout"`
			Order   bool   `json:"order"`
		}
		out := []item{}
		for _, g := range ls.groups {
			out = append(out, item{g.name, int(g.timeout / time.Second), g.order})
		}
		lists.Sort(out, func(a, b item) int { return strings.Compare(a.Name, b.Name) })
		return jsonReply(out)
	case CreateConsumerGroup:
		var in struct {
			Name    string `json:"consumerGroup"`
			Timeout int    `json:"timeout"`
			Order   bool   `json:"order"`
		}
		if err := json.Unmarshal(q.body, &in); err != nil || in.Name == "" || in.Timeout <= 0 {
			return errf(http.StatusBadRequest, "ParameterInvalid", "the body needs consumerGroup and a positive timeout").reply()
		}
		q.group = in.Name
		if ls.groups[in.Name] != nil {
			return errf(http.StatusBadRequest, "ConsumerGroupAlreadyExist", "the consumer group exists").reply()
		}
		ls.groups[in.Name] = newGroup(in.Name, time.Duration(in.Timeout)*time.Second, in.Order)
		return empty()
	}
	g := ls.groups[q.group]
	if g == nil {
		return errf(http.StatusNotFound, "ConsumerGroupNotExist", "the consumer group %q does not exist", clip(q.group, 128)).reply()
	}
	switch q.call {
	case UpdateConsumerGroup:
		var in struct {
			Timeout *int  `json:"timeout"`
			Order   *bool `json:"order"`
		}
		if err := json.Unmarshal(q.body, &in); err != nil || in.Timeout != nil && *in.Timeout <= 0 {
			return errf(http.StatusBadRequest, "ParameterInvalid", "timeout must be positive").reply()
		}
		if in.Timeout != nil {
			g.timeout = time.Duration(*in.Timeout) * time.Second
		}
		if in.Order != nil {
			g.order = *in.Order
		}
		return empty()
	case DeleteConsumerGroup:
		delete(ls.groups, q.group)
		return empty()
	case HeartBeat:
		return s.heartbeat(q, ls, g, now)
	case GetCheckpoint:
		return s.checkpoints(q, ls, g)
	case UpdateCheckpoint:
		return s.updateCheckpoint(q, ls, g, now)
	}
	return errf(http.StatusNotFound, "NotSupported", "this emulator has no such call").reply()
}

func (s *Server) heartbeat(q *query, ls *logstore, g *group, now time.Time) reply {
	var holds []int
	if err := json.Unmarshal(q.body, &holds); err != nil || q.consumer == "" {
		return errf(http.StatusBadRequest, "ParameterInvalid", "a heartbeat needs a consumer and a list of shards").reply()
	}
	q.detail = string(q.body)
	shards, ok := g.heartbeat(ls, q.consumer, holds, now)
	if !ok {
		return errf(http.StatusBadRequest, "NotExistConsumerWithBody", "the consumer %q is not in the group but reports shards", clip(q.consumer, 128)).reply()
	}
	return jsonReply(shards)
}

func (s *Server) checkpoints(q *query, ls *logstore, g *group) reply {
	type item struct {
		Shard      int    `json:"shard"`
		Checkpoint string `json:"checkpoint"`
		UpdateTime int64  `json:"updateTime"`
		Consumer   string `json:"consumer"`
	}
	only := -1
	if v := q.v.Get("shard"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return errf(http.StatusBadRequest, "ParameterInvalid", "shard is not a number").reply()
		}
		only = n
	}
	out := []item{}
	for _, sh := range ls.shards {
		if only >= 0 && sh.id != only {
			continue
		}
		c := g.checkpoints[sh.id]
		it := item{Shard: sh.id, Checkpoint: c.cursor, Consumer: c.consumer}
		if !c.updated.IsZero() {
			it.UpdateTime = c.updated.UnixMicro()
		}
		out = append(out, it)
	}
	return jsonReply(out)
}

func (s *Server) updateCheckpoint(q *query, ls *logstore, g *group, now time.Time) reply {
	var in struct {
		Shard      *int   `json:"shard"`
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(q.body, &in); err != nil || in.Shard == nil {
		return errf(http.StatusBadRequest, "ParameterInvalid", "the body needs shard and checkpoint").reply()
	}
	q.shard, q.hasShard, q.detail = *in.Shard, true, in.Checkpoint
	force := q.v.Get("forceSuccess") == "true"
	spell := func(correct, misspelt string) string {
		if s.opts.CorrectSpelling {
			return correct
		}
		return misspelt
	}
	if _, err := base64.StdEncoding.DecodeString(in.Checkpoint); err != nil || in.Checkpoint == "" {
		return errf(http.StatusBadRequest, "InvalidShardCheckPoint", "the checkpoint is not base64").reply()
	}
	if ls.shard(*in.Shard) == nil {
		return errf(http.StatusNotFound, spell("ShardNotExist", "ShardNotExsit"), "shard %d does not exist", *in.Shard).reply()
	}
	g.evictSilent(now)
	m := g.consumers[q.consumer]
	holds := m != nil && (g.owner[*in.Shard] == q.consumer || slices.Contains(m.reported, *in.Shard))
	switch {
	case q.consumer == "" && !force:
		return errf(http.StatusBadRequest, "ParameterInvalid", "forceSuccess must be true when no consumer is named").reply()
	case q.consumer != "" && !force && m == nil:
		return errf(http.StatusBadRequest, spell("ConsumerNotExist", "ConsumerNotExsit"), "the consumer %q is not in the group", clip(q.consumer, 128)).reply()
	case q.consumer != "" && !holds && (!force || s.opts.RefuseStale):
		return errf(http.StatusBadRequest, "ConsumerNotMatch", "shard %d is held by another consumer", *in.Shard).reply()
	}
	g.checkpoints[*in.Shard] = checkpoint{cursor: in.Checkpoint, updated: now, consumer: q.consumer}
	return empty()
}
