package sls

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
)

// kind sorts requests by what the guards need to know.
type kind uint8

const (
	kindOther kind = iota
	kindPull
	kindCursor
	kindHeartbeat
	kindCheckpoint
	kindSaved // look-up of the saved checkpoints
)

// classify says what a request of the SDK is, and of which shard (-1 none).
func classify(r *http.Request) (kind, int) {
	q := r.URL.Query()
	i := strings.LastIndexByte(r.URL.Path, '/')
	last := r.URL.Path[i+1:]
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path[:max(i, 0)], "/shards"):
		id, err := strconv.Atoi(last)
		if err != nil {
			return kindOther, -1
		}
		if q.Get("type") == "logs" {
			return kindPull, id
		}
		return kindCursor, id
	case r.Method == http.MethodPost && q.Get("type") == "heartbeat":
		return kindHeartbeat, -1
	case r.Method == http.MethodPost && q.Get("type") == "checkpoint":
		return kindCheckpoint, -1
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path[:max(i, 0)], "/consumergroups"):
		return kindSaved, -1
	}
	return kindOther, -1
}

const (
	// maxPageRaw bounds what a page may claim to unpack to: the SDK allocates
	// what the header says, and panics, outside of any recover, when that is
	// impossible. 1000 groups of the documented 5 MB would be more, but the
	// service answers pages of some 10 MB.
	maxPageRaw = 256 << 20
	// maxBody bounds any answer as received.
	maxBody = 128 << 20

	pullTimeout  = 30 * time.Second
	quickTimeout = 10 * time.Second

	// fetchInterval is the SDK's DataFetchIntervalInMs: pages that took
	// longer are followed by the next pull at once, whatever their size.
	fetchInterval = 20 * time.Millisecond

	backoffMin, backoffMax = 200 * time.Millisecond, 10 * time.Second

	// longPoll is how long a pull of an idle shard is kept from the SDK, which
	// would sleep 500 ms on an empty page.
	longPoll = 2 * time.Second
	// idleEvery is how often the idle callback is called for an idle shard.
	idleEvery = 500 * time.Millisecond
)

// Codes of answers that no server gave.
const (
	codeStopping    = "ClientStopping"
	codeUnreachable = "ClientUnreachable"
	codeBadAnswer   = "ClientBadAnswer"
)

// transport is the RoundTripper between the SDK and the network; see the
// package comment. It reads every answer whole, so that bodies the SDK does
// not close leak nothing, and never returns an error: the SDK would retry
// those, and 5xx, for 90 s where nothing can stop it.
type transport struct {
	s    *Source
	base http.RoundTripper
	// reads ends when nothing more is to be read (no pulls, heartbeats or
	// look-ups), writes when not even checkpoints may leave.
	reads, writes context.Context
	w             *worker // nil for our own client
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	k, id := classify(req)
	gate := t.reads
	if k == kindCheckpoint {
		gate = t.writes
	}
	if gate.Err() != nil {
		return t.stopping(req, k), nil
	}
	if t.w == nil {
		timeout := quickTimeout
		if k == kindPull {
			timeout = pullTimeout
		}
		r, body, err := t.fetch(req, gate, timeout)
		resp := t.settle(req, k, gate, r, body, err)
		if k == kindPull && resp.StatusCode == http.StatusOK {
			if _, err := checkPage(resp, len(body)); err != nil {
				t.s.n.badAnswers.Add(1)
				return synthetic(req, codeBadAnswer, err.Error(), resp.Header.Get("X-Log-Requestid")), nil
			}
		}
		return resp, nil
	}
	switch k {
	case kindPull:
		t.w.warm()
		return t.pull(req, gate, t.s.shard(id)), nil
	case kindSaved:
		return t.saved(req, gate), nil
	case kindCursor:
		t.w.warm()
		return t.cursor(req, gate, t.s.shard(id)), nil
	case kindHeartbeat:
		return t.heartbeat(req, gate), nil
	case kindCheckpoint:
		return t.checkpoint(req, gate), nil
	}
	resp, body, err := t.fetch(req, gate, quickTimeout)
	return t.settle(req, k, gate, resp, body, err), nil
}

// fetch sends the request and reads the whole answer.
func (t *transport) fetch(req *http.Request, gate context.Context, timeout time.Duration) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), timeout)
	defer cancel()
	defer context.AfterFunc(gate, cancel)()
	if req.GetBody != nil { // a body that was read before must be whole again
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, err
		}
		req = req.Clone(ctx)
		req.Body = body
	} else {
		req = req.WithContext(ctx)
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	t.s.n.netBytes.Add(uint64(n))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("reading the answer: %w", err)
	case n > maxBody:
		return nil, nil, fmt.Errorf("the answer is larger than %d bytes", maxBody)
	}
	return resp, buf.Bytes(), nil
}

// apiAnswer is an error as the service writes it.
type apiAnswer struct {
	Code    string `json:"errorCode"`
	Message string `json:"errorMessage"`
}

// settle turns the outcome of fetch into an answer the SDK cannot misread:
// a good one as it is; anything else a 400 with the service's code, or one of
// ours. 400 is the status that makes the SDK neither retry by itself nor
// sleep: pacing is ours.
func (t *transport) settle(req *http.Request, k kind, gate context.Context, resp *http.Response, body []byte, err error) *http.Response {
	if err != nil {
		if gate.Err() != nil {
			return t.stopping(req, k)
		}
		return synthetic(req, codeUnreachable, describeNet(err), "")
	}
	if resp.StatusCode == http.StatusOK {
		resp.Body = io.NopCloser(bytes.NewReader(body))
		resp.ContentLength = int64(len(body))
		return resp
	}
	a := readError(resp, body)
	t.s.mu.Lock()
	t.s.trouble = Trouble{Code: a.Code, Message: a.Message, At: time.Now().UTC()}
	t.s.mu.Unlock()
	if resp.StatusCode == http.StatusUnauthorized {
		t.s.cred.Invalidate()
	}
	return synthetic(req, a.Code, fmt.Sprintf("HTTP %d: %s", resp.StatusCode, a.Message), resp.Header.Get("X-Log-Requestid"))
}

func readError(resp *http.Response, body []byte) apiAnswer {
	var a apiAnswer
	if json.Unmarshal(body, &a) != nil || a.Code == "" {
		a = apiAnswer{"HTTP" + strconv.Itoa(resp.StatusCode), "not an answer of the service: " + strings.TrimSpace(string(body[:min(len(body), 200)]))}
	}
	a.Message = cred.Scrub(a.Message)
	return a
}

// stopping is the answer to everything while closing.
func (t *transport) stopping(req *http.Request, k kind) *http.Response {
	if k == kindCheckpoint {
		return given(req)
	}
	return synthetic(req, codeStopping, "trailwarden is stopping", "")
}

// given is the answer to a checkpoint that was not saved and is not to be asked for
// again: to the SDK all is well. After most errors it would ask for ever. After a
// refusal it counts the checkpoint as saved as well, but takes the shard from its next
// heartbeat too, and that races with the heartbeat under way; the shard goes when the
// service's answer to a heartbeat says so.
func given(req *http.Request) *http.Response {
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: req}
}

func synthetic(req *http.Request, code, msg, requestID string) *http.Response {
	b, err := json.Marshal(apiAnswer{code, msg})
	if err != nil { // two strings always encode
		b = []byte(`{"errorCode":"` + codeBadAnswer + `","errorMessage":""}`)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if requestID != "" {
		h.Set("X-Log-Requestid", requestID)
	}
	return &http.Response{
		Status: "400 Bad Request", StatusCode: http.StatusBadRequest, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b)), Request: req,
	}
}

// codeOf is the code of an answer made by settle; "" when it is good.
func codeOf(resp *http.Response) (code string, a apiAnswer) {
	if resp.StatusCode == http.StatusOK {
		return "", a
	}
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		a.Code = codeBadAnswer
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return a.Code, a
}

// backOff waits out the back-off before attempt n (the first waits not at all).
// It ends early when the gate closes.
func backOff(gate context.Context, n int) {
	if n <= 0 {
		return
	}
	d := min(backoffMin<<min(n-1, 10), backoffMax)
	d = d*3/4 + rand.N(d/2) // ±25 %, so that shards do not come in step
	_ = pause.For(gate, d)
}

// pull guards the pulls of a worker: an empty cursor never leaves, failures
// are spaced, absurd answers become errors, and an idle shard is asked
// several times before the SDK hears of it.
func (t *transport) pull(req *http.Request, gate context.Context, sh *shardState) *http.Response {
	cursor := req.URL.Query().Get("cursor")
	if cursor == "" {
		// The SDK lost its place and would ask for nothing for ever.
		t.w.trouble("the SDK pulls shard %d with an empty cursor", sh.id)
		return synthetic(req, codeBadAnswer, "empty cursor", "")
	}
	began := time.Now()
	sh.fetchStart.Store(began.UnixNano())
	// The request is of now, whenever it is sent: what the service confirms with its
	// answer is this reading of the clock, which may be set meanwhile, and what went by.
	clock := func() time.Time { return began.Add(time.Since(began)) }
	for {
		// The count falls to 0 only when a page reaches the processor: pages
		// that cannot be decoded count as failures too.
		backOff(gate, int(sh.attempts.Add(1))-1)
		if !t.s.slot(gate) {
			return t.stopping(req, kindPull)
		}
		asked := clock()
		r, body, err := t.fetch(req, gate, pullTimeout)
		t.s.release()
		resp := t.settle(req, kindPull, gate, r, body, err)
		if code, a := codeOf(resp); code != "" {
			if code == codeStopping {
				return resp
			}
			t.s.n.pullErrors.Add(1)
			t.s.failed(sh)
			if code == "InvalidCursor" {
				sh.mu.Lock()
				sh.invalid = cursor
				sh.mu.Unlock()
				t.w.trouble("the service refuses the cursor of shard %d (%s): it has expired", sh.id, a.Message)
			}
			return resp
		}
		groups, err := checkPage(resp, len(body))
		if err != nil {
			t.s.n.badAnswers.Add(1)
			t.s.n.pullErrors.Add(1)
			return synthetic(req, codeBadAnswer, err.Error(), resp.Header.Get("X-Log-Requestid"))
		}
		sh.groups.Store(int64(groups))
		now := clock()
		sh.mu.Lock()
		sh.asked.Store(asked.UnixNano())
		sh.pulled = asked
		sh.mu.Unlock()
		sh.took.Store(int64(now.Sub(asked)))
		sh.behind.Store(0)
		if sec, err := strconv.ParseInt(resp.Header.Get("X-Log-Cursor-Time"), 10, 64); err == nil && groups > 0 {
			sh.behind.Store(int64(max(0, now.Sub(time.Unix(sec, 0)))))
		}
		if groups > 0 || resp.Header.Get("X-Log-Cursor") != cursor || now.Sub(began) > longPoll || !t.w.idle(sh, now) {
			return resp
		}
		sh.attempts.Store(0)
		_ = pause.For(gate, t.s.cfg.Poll)
		if gate.Err() != nil {
			return t.stopping(req, kindPull)
		}
	}
}

// checkPage looks at the headers of a page before the SDK believes them.
func checkPage(resp *http.Response, bodyLen int) (groups int, err error) {
	num := func(name string, limit int) int {
		n, e := strconv.Atoi(resp.Header.Get(name))
		if e != nil || n < 0 || n > limit {
			err = errors.Join(err, fmt.Errorf("header %s is %q", strings.ToLower(name), clip(resp.Header.Get(name))))
			return 0
		}
		return n
	}
	groups = num("X-Log-Count", 1<<20)
	raw := num("X-Log-Bodyrawsize", maxPageRaw)
	if resp.Header.Get("X-Log-Cursor") == "" {
		err = errors.Join(err, errors.New("header x-log-cursor is missing"))
	}
	if err == nil && (raw == 0) != (groups == 0) || raw == 0 && bodyLen > 0 {
		// The SDK would take it for an empty page and go on after it.
		err = errors.Join(err, fmt.Errorf("a page of %d groups, %d bytes raw and %d on the wire", groups, raw, bodyLen))
	}
	if err != nil {
		return 0, fmt.Errorf("bad page: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return groups, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// saved is the look-up every shard begins with. The SDK's client fills in its
// time-outs at the first pull, without a lock, so that shards that begin
// together race: only one at a time gets past here until that has happened.
func (t *transport) saved(req *http.Request, gate context.Context) *http.Response {
	const patience = 3 * time.Second // the first shard may be taken from us before it pulls
	timer := time.NewTimer(patience)
	defer timer.Stop()
	first := false
	select {
	case <-t.w.warmed:
	case t.w.first <- struct{}{}:
		first = true
	case <-timer.C:
	case <-gate.Done():
		return t.stopping(req, kindSaved)
	}
	r, body, err := t.fetch(req, gate, quickTimeout)
	resp := t.settle(req, kindSaved, gate, r, body, err)
	if code, _ := codeOf(resp); code != "" && first {
		<-t.w.first // it will ask again; so may others
	}
	return resp
}

// warm says that the SDK's client has filled in its time-outs.
func (w *worker) warm() { w.warmOnce.Do(func() { close(w.warmed) }) }

// cursor guards the look-ups of a worker.
func (t *transport) cursor(req *http.Request, gate context.Context, sh *shardState) *http.Response {
	backOff(gate, int(sh.cursorFails.Load()))
	r, body, err := t.fetch(req, gate, quickTimeout)
	resp := t.settle(req, kindCursor, gate, r, body, err)
	if code, _ := codeOf(resp); code != "" {
		sh.cursorFails.Add(1)
	} else {
		sh.cursorFails.Store(0)
	}
	return resp
}

// heartbeat watches the heartbeats of a worker.
func (t *transport) heartbeat(req *http.Request, gate context.Context) *http.Response {
	asked := time.Now() // the service counts from then, at the earliest
	// The SDK's worker takes a shard that went from the list that its heartbeat writes
	// to the log when the answer has come, without a lock, and logs that it did. Having
	// seen that line orders the two, however long the answer takes.
	defer t.w.lines.Load()
	r, body, err := t.fetch(req, gate, min(t.s.cfg.Heartbeat, quickTimeout))
	resp := t.settle(req, kindHeartbeat, gate, r, body, err)
	code, a := codeOf(resp)
	switch code {
	case "":
		var held []int
		if json.Unmarshal(body, &held) != nil {
			t.s.n.badAnswers.Add(1)
			t.s.n.heartbeatErrors.Add(1)
			return synthetic(req, codeBadAnswer, "the answer to a heartbeat is not a list of shards", "")
		}
		t.s.heartbeatGood(held, asked)
	case codeStopping:
	default:
		t.s.n.heartbeatErrors.Add(1)
		switch code {
		case "NotExistConsumerWithBody":
			// The SDK would go on reading for timeout + interval while the
			// new owner reads as well.
			t.s.n.evictions.Add(1)
			t.w.evicted.Store(true)
			t.w.trouble("the service has removed this consumer from the group (%s)", a.Message)
		case "ConsumerGroupNotExist":
			t.w.trouble("the consumer group %s no longer exists", t.s.cfg.Group)
		}
	}
	return resp
}

// forgotten says that the service has given our shards to another process, which may
// be further, or may have by now: the SDK sends checkpoints with force, and ours would
// move its one back.
func (w *worker) forgotten() bool {
	return w.evicted.Load() || time.Since(unixNano(&w.s.n.lastHeartbeat)) >= w.s.timeout()
}

// checkpoint watches the checkpoints of a worker and keeps from the SDK what the
// service refuses for good.
func (t *transport) checkpoint(req *http.Request, gate context.Context) *http.Response {
	var in struct {
		Shard      int    `json:"shard"`
		Checkpoint string `json:"checkpoint"`
	}
	if req.GetBody != nil {
		if b, err := req.GetBody(); err == nil {
			_ = json.NewDecoder(b).Decode(&in) // only for messages
		}
	}
	if t.w.forgotten() {
		// The SDK's own, as the shard goes (for others see processor.save).
		t.s.n.refused.Add(1)
		return given(req)
	}
	r, body, err := t.fetch(req, gate, quickTimeout)
	resp := t.settle(req, kindCheckpoint, gate, r, body, err)
	code, a := codeOf(resp)
	switch code {
	case "":
		t.s.n.checkpoints.Add(1)
	case "ConsumerNotExsit", "ConsumerNotExist", "ConsumerNotMatch", "ShardNotExsit", "ShardNotExist", "ConsumerGroupNotExist":
		if gate.Err() != nil {
			return given(req)
		}
		t.s.n.refused.Add(1)
		t.s.alarm(Alarm{Kind: AlarmCheckpointRefused, Shard: in.Shard, To: in.Checkpoint,
			Message: fmt.Sprintf("the service refused the checkpoint of shard %d: %s (%s); nothing is lost, the stored position counts", in.Shard, code, a.Message)})
		if code == "ConsumerGroupNotExist" {
			t.w.trouble("the consumer group %s no longer exists", t.s.cfg.Group)
		}
		return given(req)
	case codeStopping:
	default:
		t.s.n.checkpointFailures.Add(1)
	}
	return resp
}

// describeNet is a network error in one line without secrets.
func describeNet(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "no answer in time"
	}
	return cred.Scrub(err.Error())
}

// describe is an error of the SDK in one line; its own are JSON over several.
func describe(err error) error {
	var e *sdk.Error
	if !errors.As(err, &e) {
		return errors.New(cred.Scrub(err.Error()))
	}
	msg := fmt.Sprintf("%s: %s", e.Code, cred.Scrub(e.Message))
	if e.RequestID != "" {
		msg += " [request " + clip(e.RequestID) + "]"
	}
	switch e.Code {
	case codeUnreachable:
		return fmt.Errorf("%w: %s", ErrUnreachable, cred.Scrub(e.Message))
	case codeStopping:
		return errStopping
	}
	return errors.New(msg)
}

// cursorValue is the number in a cursor. The encoding (base64 of a decimal)
// is what the SDK itself computes with; ok is false when it is something else,
// and then cursors are not compared.
func cursorValue(c string) (n int64, ok bool) {
	b, err := base64.StdEncoding.DecodeString(c)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}
