package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

const (
	maxSpans     = 4096 // that wait to be sent
	spansAtOnce  = 512
	spansEvery   = 5 * time.Second
	traceTries   = 4 // of one request, over 7 s and what Retry-After asks for
	traceTimeout = 10 * time.Second
	traceWait    = 10 * time.Second // the longest pause that a collector may ask for
	traceEnd     = 5 * time.Second  // for the last spans, when the program ends
)

// spanSender sends spans to a collector in the background. What the collector
// does not take, and what there is no room for, is dropped and counted.
type spanSender struct {
	cfg      config.Traces
	resource []trace.Attr
	log      *slog.Logger
	http     *http.Client
	in       chan *trace.Ended
	end      chan struct{}
	once     sync.Once
	done     sync.WaitGroup

	failed     bool // the last time, so that it is said once
	sent, lost atomic.Uint64
}

// newSpanSender returns nil when nothing is to be traced. instance names this
// process.
func newSpanSender(c config.Traces, version, instance string, log *slog.Logger) *spanSender {
	if c.Endpoint == "" {
		return nil
	}
	s := &spanSender{cfg: c, log: log, in: make(chan *trace.Ended, maxSpans), end: make(chan struct{}),
		resource: []trace.Attr{trace.Str("service.name", "trailwarden"), trace.Str("service.version", version), trace.Str("service.instance.id", instance)},
		http: &http.Client{
			Timeout: traceTimeout,
			// A token goes to the collector that was named and to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	s.done.Go(s.run)
	return s
}

// tracer is nil when nothing is to be traced.
func (s *spanSender) tracer() *trace.Tracer {
	if s == nil {
		return nil
	}
	return trace.New(s.cfg.Sample, func(e *trace.Ended) {
		select {
		case s.in <- e:
		default:
			s.lost.Add(1)
		}
	})
}

// close sends what waits, for traceEnd at most.
func (s *spanSender) close() {
	if s == nil {
		return
	}
	s.once.Do(func() { close(s.end) })
	s.done.Wait()
}

func (s *spanSender) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.done.Go(func() { // bounds what is being sent when the program ends
		select {
		case <-s.end:
			_ = pause.For(ctx, traceEnd)
			cancel()
		case <-ctx.Done():
		}
	})
	tick := time.NewTicker(spansEvery)
	defer tick.Stop()
	var batch []*trace.Ended
	flush := func() {
		if len(batch) > 0 {
			s.upload(ctx, batch)
			batch = nil
		}
	}
	for {
		select {
		case e := <-s.in:
			if batch = append(batch, e); len(batch) >= spansAtOnce {
				flush()
			}
		case <-tick.C:
			flush()
		case <-s.end:
			for {
				select {
				case e := <-s.in:
					if batch = append(batch, e); len(batch) >= spansAtOnce {
						flush()
					}
					continue
				default:
				}
				flush()
				return
			}
		}
	}
}

func (s *spanSender) upload(ctx context.Context, spans []*trace.Ended) {
	err := s.send(ctx, trace.Encode(s.resource, spans))
	if err != nil {
		s.lost.Add(uint64(len(spans)))
		if !s.failed {
			s.log.Warn("spans are not taken by the collector of traces.endpoint, and are dropped until they are", "error", err)
		}
	} else {
		s.sent.Add(uint64(len(spans)))
		if s.failed {
			s.log.Info("spans are taken again")
		}
	}
	s.failed = err != nil
}

// errBusy is an answer after which the same request may be made again.
type errBusy struct {
	status string
	after  time.Duration
}

func (e *errBusy) Error() string { return "the collector answers " + e.status }

func (s *spanSender) send(ctx context.Context, body []byte) error {
	var last error
	wait := time.Second
	for try := range traceTries {
		if try > 0 {
			if pause.For(ctx, wait) != nil {
				return last
			}
			wait *= 2
		}
		err := s.post(ctx, body)
		var busy *errBusy
		if err == nil || !errors.As(err, &busy) {
			return err
		}
		wait, last = max(wait, min(busy.after, traceWait)), err
	}
	return last
}

func (s *spanSender) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Endpoint.Reveal(), bytes.NewReader(body))
	if err != nil {
		return errors.New("traces.endpoint is no URL") // the error would print it
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "trailwarden")
	if s.cfg.Authorization != "" {
		req.Header.Set("Authorization", s.cfg.Authorization.Reveal())
	}
	resp, err := s.http.Do(req)
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		return ue.Err // without the URL, which may hold a token
	} else if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 502 && resp.StatusCode <= 504:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &errBusy{resp.Status, time.Duration(min(max(after, 0), 3600)) * time.Second}
	}
	return fmt.Errorf("the collector answers %s", resp.Status)
}
