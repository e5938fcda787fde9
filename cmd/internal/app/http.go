package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline"
)

// serveHTTP serves /livez, /readyz and /metrics on the configured loopback
// address. The function it returns stops it.
func (a *App) serveHTTP() (func(), error) {
	if a.cfg.HTTP.Listen == "" {
		return func() {}, nil
	}
	ln, err := net.Listen("tcp", a.cfg.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	addr := ln.Addr().String()
	a.web.Store(&addr)
	reg := a.registry()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		s, err := a.Status(r.Context())
		if err != nil || !s.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
		} else {
			fmt.Fprintln(w, "ready")
		}
		for _, p := range s.Problems {
			fmt.Fprintln(w, "-", p)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Close
	}()
	return func() {
		_ = srv.Close()
		<-done
	}, nil
}

// registry holds every metric there is.
func (a *App) registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{a})
	reg.MustRegister(a.meters.collectors()...)
	return reg
}

// collector reads the counters of the parts when it is asked.
type collector struct{ a *App }

type metric struct {
	*prometheus.Desc
	typ prometheus.ValueType
}

// counter and gauge stand in thirty places that run once; inlined they would be 5 kB.
//
//go:noinline
func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("trailwarden_"+name, help, labels, nil), prometheus.CounterValue}
}

//go:noinline
func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("trailwarden_"+name, help, labels, nil), prometheus.GaugeValue}
}

// summary is a sum and a count. Its type is of no matter to MustNewConstSummary.
func summary(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("trailwarden_"+name, help, labels, nil), prometheus.UntypedValue}
}

var (
	mBuild          = gauge("build_info", "Always 1; the version of the program and the hash of its rules.", "version", "rules")
	mRulesLoaded    = gauge("rules_loaded_timestamp_seconds", "When the rules in force were loaded.")
	mRulesReloads   = counter("rules_reloads_total", "Changes of the rules while running: taken, or refused because of an error.", "outcome")
	mRulesRefused   = gauge("rules_refused", "1 while the files hold rules, or a configuration, that are not used because of an error; the rules before stay in force.")
	mReady          = gauge("ready", "1 when the program sees everything and can write, as /readyz says.")
	mFrozen         = gauge("containment_frozen", "1 when the kill switch is on.")
	mSourceRecords  = counter("source_records_total", "Audit records read from a source.", "source")
	mSourcePull     = gauge("source_last_pull_timestamp_seconds", "When a source last answered a read; or, where others read all its shards, when the consumer group last said so.", "source")
	mSourceBehind   = gauge("source_behind_seconds", "How old the newest record of a source was when it was read; where reading stands still, how long ago that was is added.", "source")
	mSourceRebuilds = counter("source_rebuilds_total", "Consumers rebuilt because they no longer read.", "source")
	mSourceRefused  = counter("source_checkpoints_refused_total", "Checkpoints that the service refused.", "source")
	mAccountLast    = gauge("account_last_event_timestamp_seconds", "Event time of the newest event evaluated of an account.", "account")
	mEvents         = counter("events_evaluated_total", "Events evaluated.", "partition")
	mDuplicates     = counter("events_duplicate_total", "Repeated records that were recognised and left out.", "partition")
	mLate           = counter("events_late_total", "Events that came after the watermark.", "partition")
	mEvicted        = counter("entities_forgotten_total", "Entities that a rule forgot to stay within its max_keys and max_bytes.", "rule")
	mEventsParked   = counter("events_parked_total", "Records set aside because they could not be evaluated.", "partition")
	mDetections     = counter("detections_total", "Detections, before they are folded into alerts.", "partition")
	mLag            = gauge("partition_lag_frames", "Frames stored and not yet evaluated.", "partition")
	mPending        = gauge("partition_pending_events", "Events that wait for the watermark.", "partition")
	mCommit         = gauge("partition_commit_delay_seconds", "From the ingest of a frame to its commit, over the last ones.", "partition", "quantile")
	mWatermark      = gauge("partition_watermark_timestamp_seconds", "Event time before which everything is decided.", "partition")
	mParked         = gauge("records_parked", "Records in quarantine.", "reason")
	mNotices        = counter("notices_total", "Messages by what came of them: sent, edited, digested, retried, found (a lost answer whose message was there), dead.", "destination", "outcome")
	mNoticesWaiting = gauge("notices_waiting", "Messages and edits that wait.", "destination")
	mNoticesDead    = gauge("notices_dead", "Messages given up.", "destination")
	mActions        = gauge("actions", "Actions by state.", "state")
	mStoreFraction  = gauge("store_used_ratio", "Used part of a stream's limit.", "stream")
	mRuleTime       = summary("rule_evaluation_seconds", fmt.Sprintf("Time that one rule took for an event, measured for one event in %d of a partition: stage match when it arrives, order in event-time order (its detector).", pipeline.TimeEvery), "rule", "stage")
	mJudgement      = summary("policy_judgement_seconds", fmt.Sprintf("Time that it took to work out what a permission change means, measured for one event in %d of a partition.", pipeline.TimeEvery))
	mSpans          = counter("trace_spans_total", "Spans by what came of them: sent, or lost (the collector did not take them).", "outcome")
	allMetrics      = []metric{mBuild, mRulesLoaded, mRulesReloads, mRulesRefused, mReady, mFrozen, mSourceRecords, mSourcePull, mSourceBehind, mSourceRebuilds, mSourceRefused, mAccountLast,
		mEvents, mDuplicates, mLate, mEvicted, mEventsParked, mDetections, mLag, mPending, mCommit, mWatermark, mParked,
		mNotices, mNoticesWaiting, mNoticesDead, mActions, mStoreFraction, mRuleTime, mJudgement, mSpans}
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range allMetrics {
		ch <- m.Desc
	}
}

// metrics is where Collect puts what it read.
type metrics chan<- prometheus.Metric

func (ch metrics) put(m metric, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.Desc, m.typ, v, labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	put := metrics(ch).put
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	flag := map[bool]float64{true: 1}
	hash := c.a.Rules().Hash()
	put(mBuild, 1, c.a.version, hash[:min(12, len(hash))])
	c.a.book.mu.Lock()
	put(mRulesLoaded, float64(c.a.book.loaded.UnixMilli())/1000)
	put(mRulesReloads, float64(c.a.book.reloads), "taken")
	put(mRulesReloads, float64(c.a.book.refused.times), "refused")
	put(mRulesRefused, flag[c.a.book.refused.err != nil])
	c.a.book.mu.Unlock()
	if s, err := c.a.Status(ctx); err == nil {
		put(mReady, flag[s.Ready])
		put(mFrozen, flag[s.Frozen.Frozen])
	}
	if s := c.a.spans; s != nil {
		put(mSpans, float64(s.sent.Load()), "sent")
		put(mSpans, float64(s.lost.Load()), "lost")
	}
	spent := func(m metric, t admin.Took, labels ...string) {
		if t.Times > 0 {
			ch <- prometheus.MustNewConstSummary(m.Desc, t.Times, t.Seconds, nil, labels...)
		}
	}
	for _, r := range c.a.meters.ruleTimes() {
		spent(mRuleTime, r.Match, r.Rule, "match")
		spent(mRuleTime, r.Order, r.Rule, "order")
	}
	spent(mJudgement, took(&c.a.meters.judge))
	for account, at := range c.a.meters.lastEvents() {
		put(mAccountLast, float64(at.UnixMilli())/1000, account)
	}
	for _, s := range c.a.sources {
		st := s.Stats()
		behind := time.Duration(0)
		for _, sh := range st.Shards {
			behind = max(behind, sh.Behind)
		}
		put(mSourceBehind, behind.Seconds(), s.Name())
		put(mSourceRecords, float64(st.Records), s.Name())
		put(mSourceRebuilds, float64(st.Rebuilds), s.Name())
		put(mSourceRefused, float64(st.CheckpointRefused), s.Name())
		if seen := seen(st, c.a.bus.Embedded()); !seen.IsZero() {
			put(mSourcePull, float64(seen.UnixMilli())/1000, s.Name())
		}
	}
	ps := c.a.pipe.Stats(ctx)
	for rule, n := range evicted(ps.Workers) {
		put(mEvicted, float64(n), rule)
	}
	for _, w := range ps.Workers {
		p := fmt.Sprint(w.Partition)
		put(mEvents, float64(w.Evaluated), p)
		put(mDuplicates, float64(w.Duplicates), p)
		put(mLate, float64(w.Late), p)
		put(mEventsParked, float64(w.Parked), p)
		put(mDetections, float64(w.Detections), p)
		put(mLag, float64(w.Lag), p)
		put(mPending, float64(w.Pending), p)
		put(mCommit, w.CommitP50.Seconds(), p, "0.5")
		put(mCommit, w.CommitP99.Seconds(), p, "0.99")
		if !w.Watermark.IsZero() {
			put(mWatermark, float64(w.Watermark.UnixMilli())/1000, p)
		}
	}
	for reason, n := range ps.Parked {
		put(mParked, float64(n), reason)
	}
	for _, u := range ps.Store.Streams {
		put(mStoreFraction, u.Fraction(), u.Stream)
	}
	if c.a.dispatcher == nil {
		return
	}
	for _, d := range c.a.dispatcher.Stats() {
		for _, o := range []struct {
			outcome string
			n       int
		}{{"sent", d.Sent}, {"edited", d.Edited}, {"digested", d.Digested}, {"retried", d.Retried}, {"found", d.Found}, {"dead", d.Dead}} {
			put(mNotices, float64(o.n), d.Name, o.outcome)
		}
		put(mNoticesWaiting, float64(d.Waiting), d.Name)
		put(mNoticesDead, float64(d.Dead), d.Name)
	}
	states, _ := c.a.machine.Stats()
	for s, n := range states {
		put(mActions, float64(n), string(s))
	}
}
