package admin

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// States of a replay.
const (
	ReplayReading     = "reading" // fetching what it will evaluate, from a logstore or the event history
	ReplayRunning     = "running"
	ReplayDone        = "done"
	ReplayFailed      = "failed"
	ReplayInterrupted = "interrupted"
	// ReplayUnheard: it said nothing for a while. Nobody says this of itself.
	ReplayUnheard = "unheard"
)

// Replaying is a replay in another process, as it tells of itself.
type Replaying struct {
	ID    string `json:"id"`           // its own choice, 16 to 64 hexadecimal digits
	By    string `json:"by,omitempty"` // the system user that runs it, as the kernel says
	State string `json:"state"`
	// Inputs are the files, folders and addresses that it reads, Rules the hash
	// of the rule set.
	Inputs  []string  `json:"inputs"`
	Rules   string    `json:"rules,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Seen    time.Time `json:"seen,omitzero"` // when it last told of itself
	// Bytes as they are stored; the total is -1 when not known.
	BytesRead  int64     `json:"bytes_read"`
	BytesTotal int64     `json:"bytes_total"`
	Records    int64     `json:"records"`
	Detections int64     `json:"detections"`
	EventTime  time.Time `json:"event_time,omitzero"` // how far it has come
	// Of one that is over.
	Events int64  `json:"events,omitempty"`
	Alerts int64  `json:"alerts,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Over says whether the replay will not go on.
func (r *Replaying) Over() bool { return r.State != ReplayReading && r.State != ReplayRunning }

// Part is the share that is read, 0 to 1, and whether that is known.
func (r *Replaying) Part() (float64, bool) {
	if r.BytesTotal <= 0 {
		return 0, false
	}
	return min(max(float64(r.BytesRead)/float64(r.BytesTotal), 0), 1), true
}

// Left is how long it takes yet at the pace so far; 0 when that cannot be said.
func (r *Replaying) Left(now time.Time) time.Duration {
	part, ok := r.Part()
	if !ok || part < 0.01 || r.State != ReplayRunning {
		return 0
	}
	return time.Duration(float64(now.Sub(r.Started)) * (1 - part) / part)
}

const (
	maxReplayInputs = 100
	maxReplayText   = 500 // characters
)

var replayID = regexp.MustCompile(`^[0-9a-f]{16,64}$`)

// check refuses what nobody sends, and bounds the rest.
func (r *Replaying) check() error {
	if !replayID.MatchString(r.ID) {
		return badRequest("id: want 16 to 64 hexadecimal digits")
	}
	switch r.State {
	case ReplayReading, ReplayRunning, ReplayDone, ReplayFailed, ReplayInterrupted:
	default:
		return badRequest("state: want reading, running, done, failed or interrupted")
	}
	r.Inputs = r.Inputs[:min(len(r.Inputs), maxReplayInputs)]
	for i, in := range r.Inputs {
		r.Inputs[i] = text.Cut(in, maxReplayText)
	}
	r.Rules, r.Error = text.Cut(r.Rules, maxReplayText), text.Cut(r.Error, maxReplayText)
	return nil
}

func replayRoute(mux *http.ServeMux, b Backend) {
	mux.HandleFunc("POST /v1/replays", func(w http.ResponseWriter, r *http.Request) {
		p, err := body[Replaying](w, r, 256<<10)
		if err == nil {
			err = p.check()
		}
		if err != nil {
			reply(w, nil, err)
			return
		}
		p.By = caller(r)
		reply(w, struct{}{}, b.Replaying(r.Context(), p))
	})
}

// Replaying tells the running program how far a replay has come.
func (c *Client) Replaying(ctx context.Context, r Replaying) error {
	var none struct{}
	return c.call(ctx, http.MethodPost, "/v1/replays", r, &none)
}
