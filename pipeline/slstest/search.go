package slstest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// maxTime bounds times in unix seconds: sums of two do not overflow.
const maxTime = 1 << 40

// hit is one log found by a search.
type hit struct {
	topic, source string
	log           Log
}

func (h hit) value(key string) (string, bool) {
	if key == "__topic__" {
		return h.topic, true
	}
	for _, f := range h.log.Fields {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// matcher is the small part of the query language the emulator knows: terms
// joined by "and", each a word found anywhere in a value, "key: text" found in
// that field, or "*". SQL and SPL are refused, not guessed at.
func matcher(query string) (func(hit) bool, *apiError) {
	query = strings.TrimSpace(query)
	if strings.Contains(query, "|") {
		return nil, errf(http.StatusBadRequest, "ParameterInvalid", "this emulator does not evaluate SQL or SPL")
	}
	if query == "" || query == "*" {
		return func(hit) bool { return true }, nil
	}
	var tests []func(hit) bool
	for _, term := range strings.Split(strings.ReplaceAll(query, " AND ", " and "), " and ") {
		term = strings.TrimSpace(term)
		unquote := func(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }
		if key, text, ok := strings.Cut(term, ":"); ok && !strings.HasPrefix(term, `"`) {
			key, text = strings.TrimSpace(key), unquote(text)
			tests = append(tests, func(h hit) bool {
				v, ok := h.value(key)
				return ok && strings.Contains(v, text)
			})
			continue
		}
		text := unquote(term)
		if text == "*" {
			continue
		}
		tests = append(tests, func(h hit) bool {
			return slices.ContainsFunc(h.log.Fields, func(f Field) bool { return strings.Contains(f.Value, text) })
		})
	}
	return func(h hit) bool {
		for _, t := range tests {
			if !t(h) {
				return false
			}
		}
		return true
	}, nil
}

// search collects the logs of a logstore with time in [from, to), by time.
// s.mu is held.
func search(ls *logstore, from, to int64, match func(hit) bool) []hit {
	var hits []hit
	for _, sh := range ls.shards {
		for _, f := range sh.frames {
			_, _, n := protowire.ConsumeTag(f.data)
			if n < 0 {
				continue // stored by AppendRaw: not searchable
			}
			body, n := protowire.ConsumeBytes(f.data[n:])
			g, err := parseGroup(body)
			if n < 0 || err != nil {
				continue
			}
			for _, l := range g.Logs {
				h := hit{topic: g.Topic, source: g.Source, log: l}
				if int64(l.Time) >= from && int64(l.Time) < to && match(h) {
					hits = append(hits, h)
				}
			}
		}
	}
	lists.Sort(hits, func(a, b hit) int { return int(int64(a.log.Time) - int64(b.log.Time)) })
	return hits
}

// getLogs answers GetLogsV3.
func (s *Server) getLogs(q *query) reply {
	var in struct {
		From, To     int64
		Topic, Query string
		Line, Offset int
		Reverse      bool
	}
	if err := json.Unmarshal(q.body, &in); err != nil {
		return errf(http.StatusBadRequest, "PostBodyInvalid", "the body is not JSON").reply()
	}
	if in.Line == 0 {
		in.Line = 100
	}
	switch {
	case in.From >= in.To:
		return errf(http.StatusBadRequest, "InvalidTimeRange", "from must be before to").reply()
	case in.Line < 0 || in.Line > 100:
		return errf(http.StatusBadRequest, "InvalidLine", "line must be 1 to 100").reply()
	case in.Offset < 0:
		return errf(http.StatusBadRequest, "InvalidOffset", "offset must not be negative").reply()
	}
	match, e := matcher(in.Query)
	if e != nil {
		return e.reply()
	}
	s.mu.Lock()
	ls, e := s.find(q)
	if e != nil {
		s.mu.Unlock()
		return e.reply()
	}
	hits := search(ls, in.From, in.To, match)
	s.mu.Unlock()
	if in.Topic != "" {
		hits = slices.DeleteFunc(hits, func(h hit) bool { return h.topic != in.Topic })
	}
	if in.Reverse {
		slices.Reverse(hits)
	}
	hits = hits[min(in.Offset, len(hits)):]
	hits = hits[:min(in.Line, len(hits))]
	data := []map[string]string{}
	for _, h := range hits {
		m := map[string]string{"__time__": strconv.FormatUint(uint64(h.log.Time), 10), "__source__": h.source}
		if h.topic != "" {
			m["__topic__"] = h.topic
		}
		for _, f := range h.log.Fields {
			m[f.Key] = f.Value
		}
		data = append(data, m)
	}
	rep := jsonReply(map[string]any{
		"meta": map[string]any{"progress": "Complete", "count": len(data), "hasSQL": false, "processedRows": len(data)},
		"data": data,
	})
	if rep.status != http.StatusOK {
		return rep
	}
	for _, enc := range strings.Split(q.header.Get("Accept-Encoding"), ",") {
		if enc = strings.TrimSpace(enc); enc == "lz4" || enc == "zstd" {
			rep.header["X-Log-Bodyrawsize"] = strconv.Itoa(len(rep.body))
			rep.header["X-Log-Compresstype"] = enc
			rep.body = compress(enc, rep.body)
			break
		}
	}
	return rep
}

// histograms answers GetHistograms; s.mu is held.
func (s *Server) histograms(q *query, ls *logstore) reply {
	from, err1 := strconv.ParseInt(q.v.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.v.Get("to"), 10, 64)
	if err1 != nil || err2 != nil || from < 0 || from >= to || to > maxTime {
		return errf(http.StatusBadRequest, "InvalidTimeRange", "from and to must be unix seconds, from before to").reply()
	}
	match, e := matcher(q.v.Get("query"))
	if e != nil {
		return e.reply()
	}
	const most = 100 // buckets
	step, err := strconv.ParseInt(q.v.Get("interval"), 10, 64)
	if err != nil || step <= 0 {
		step = 60
	}
	step = max(min(step, maxTime), (to-from+most-1)/most)
	type bucket struct {
		From     int64  `json:"from"`
		To       int64  `json:"to"`
		Count    int64  `json:"count"`
		Progress string `json:"progress"`
	}
	out := []bucket{}
	for t := from; t < to; t += step {
		out = append(out, bucket{From: t, To: min(t+step, to), Progress: "Complete"})
	}
	hits := search(ls, from, to, match)
	topic := q.v.Get("topic")
	total := 0
	for _, h := range hits {
		if topic == "" || h.topic == topic {
			out[(int64(h.log.Time)-from)/step].Count++
			total++
		}
	}
	rep := jsonReply(out)
	rep.header["X-Log-Progress"] = "Complete"
	rep.header["X-Log-Count"] = strconv.Itoa(total)
	return rep
}
