package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// beat is how often a live connection shows that it lives.
const beat = 15 * time.Second

// pace is the least time between two looks for changes.
const pace = 150 * time.Millisecond

// live tells a page by server-sent events that there is something new; the
// page then asks for itself again and keeps what did not change. What is sent
// is only that there was a change, and its id is the journal's sequence, which
// is the same over restarts (that of replays is not: another one is a change). So a connection that was cut misses nothing and
// shows nothing twice, whatever happened meanwhile.
func (q *ask) live() error {
	s := q.s
	if !s.streams.open(q.u.By) {
		q.w.Header().Set("Retry-After", "30")
		q.json(http.StatusServiceUnavailable, failure{"too many live pages are open", "internal"})
		return nil
	}
	defer s.streams.close(q.u.By)
	since := q.r.Header.Get("Last-Event-ID")
	if since == "" {
		since = q.r.URL.Query().Get("since")
	}
	known, ok := parseSeqs(since)
	if !ok {
		known, _ = s.o.Index.Seq()
	}
	c := http.NewResponseController(q.w)
	q.w.Header().Set("Content-Type", "text/event-stream")
	q.w.Header().Set("X-Accel-Buffering", "no")
	send := func(text string) error {
		// The server's own time-out is for pages; this goes on.
		_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if _, err := q.w.Write([]byte(text)); err != nil {
			return err
		}
		return c.Flush()
	}
	if send("retry: 500\n: "+strings.Repeat(" ", 256)+"\n\n") != nil {
		return nil
	}
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		now, changed := s.o.Index.Seq()
		for i, event := range []string{"alerts", "actions", "replays"} {
			if now[i] == known[i] {
				continue
			}
			known[i] = now[i]
			if send(fmt.Sprintf("id: %s\nevent: %s\ndata: %d\n\n", formatSeqs(known), event, now[i])) != nil {
				return nil
			}
		}
		select {
		case <-changed:
			// A storm of changes is one look at the page, not thousands.
			select {
			case <-time.After(pace):
			case <-q.r.Context().Done():
				return nil
			case <-s.closing:
				return nil
			}
		case <-t.C:
			if !q.u.until.IsZero() && !s.o.Now().Before(q.u.until) {
				return nil // the session is over
			}
			if send(": \n\n") != nil {
				return nil
			}
		case <-q.r.Context().Done():
			return nil
		case <-s.closing:
			return nil
		}
	}
}

func formatSeqs(s [3]uint64) string { return fmt.Sprintf("%d-%d-%d", s[0], s[1], s[2]) }

func parseSeqs(s string) (out [3]uint64, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != len(out) {
		return out, false
	}
	for i, p := range parts {
		var err error
		if out[i], err = strconv.ParseUint(p, 10, 64); err != nil {
			return out, false
		}
	}
	return out, true
}
