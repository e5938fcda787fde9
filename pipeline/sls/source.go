package sls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
	consumer "github.com/aliyun/aliyun-log-go-sdk/consumer"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

var (
	// ErrUnreachable marks errors of Check where the service did not answer.
	ErrUnreachable = errors.New("sls: the service is not reachable")

	errStopping = errors.New("sls: stopping")
)

// Alarm kinds.
const (
	// AlarmCursorExpired: a position is older than the logstore's retention;
	// the records between From and To were not read and cannot be any more.
	AlarmCursorExpired = "cursor-expired"
	// AlarmGroupMissing: the consumer group was deleted; it was made again
	// from our own positions.
	AlarmGroupMissing = "group-missing"
	// AlarmRebuilt: the worker did not recover by itself and was rebuilt.
	AlarmRebuilt = "worker-rebuilt"
	// AlarmCheckpointRefused: the server did not save a checkpoint.
	AlarmCheckpointRefused = "checkpoint-refused"
	// AlarmRealigned: reading had begun elsewhere than at the stored position
	// and was set right.
	AlarmRealigned = "realigned"
	// AlarmPanic: a panic inside the SDK's callbacks was caught.
	AlarmPanic = "panic"
	// AlarmAbandoned: a worker did not stop in time. It is cut off from the
	// network and does no harm.
	AlarmAbandoned = "worker-abandoned"
)

// Alarm is something an operator should hear of; it is also logged.
type Alarm struct {
	Kind     string
	Shard    int    // -1 when it is not about one
	From, To string // cursors, where they say something
	Message  string
}

// Options are the Source's connections to the rest of the program; all are
// optional.
type Options struct {
	Logger *slog.Logger // default slog.Default()
	// Credentials replaces Config.Credentials by a shared provider.
	Credentials *cred.Provider
	// Idle is called about twice a second for each held shard that has
	// nothing new, from the goroutine that reads it, never while Store is at
	// work on the same shard. now is the wall clock, UTC.
	Idle func(shard int, now time.Time)
	// Alarm is called at once for everything an operator should hear of. It
	// must not block for long.
	Alarm func(Alarm)

	wall func(time.Time) time.Time // of a reading of the clock, for tests
}

// Source reads a logstore. Make it with New, run it once with Run.
type Source struct {
	cfg  Config
	opts Options
	sink source.Sink
	end  endpoint
	cred *cred.Provider
	log  *slog.Logger
	base *http.Transport
	name string

	n     counters
	state atomic.Value // string
	slots chan struct{}
	ran   atomic.Bool
	// resolved is when it was last found out where every shard starts, unix
	// nanoseconds.
	resolved atomic.Int64
	// groupTimeout is the group's time-out where it may not be changed to ours,
	// else 0; nanoseconds.
	groupTimeout atomic.Int64
	// stood is when a shard last stood still (see failed), unix nanoseconds.
	stood atomic.Int64

	mu         sync.Mutex
	shards     map[int]*shardState
	hadGroup   bool // the consumer group existed, or was made by us
	lastHolder string
	trouble    Trouble
}

// New checks the configuration and makes a Source. It does not touch the
// network.
func New(cfg Config, sink source.Sink, opts Options) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	end, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &Source{
		cfg: cfg, opts: opts, sink: sink, end: end, cred: opts.Credentials, log: opts.Logger,
		name:  "sls/" + cfg.Project + "/" + cfg.Logstore,
		slots: make(chan struct{}, cfg.MaxFetches), shards: map[int]*shardState{},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.opts.wall == nil {
		s.opts.wall = func(t time.Time) time.Time { return t.Round(0) }
	}
	s.log = s.log.With("source", s.name)
	if s.cred == nil {
		if s.cred, err = cred.New(cfg.Credentials); err != nil {
			return nil, err
		}
	}
	s.state.Store("new")
	s.base = newBase(end, cfg)
	return s, nil
}

// newBase is the network side. An address is dialled as configured whatever
// name the SDK makes of it, and never through a proxy.
func newBase(end endpoint, cfg Config) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12}
	t.MaxIdleConnsPerHost = 32
	t.IdleConnTimeout = 55 * time.Second // the service's own is 60 s
	t.DisableCompression = true
	if end.dial != "" {
		d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, end.dial)
		}
		t.TLSClientConfig.ServerName = end.serverName
		t.Proxy = nil
	}
	return t
}

// Name is the source's name in pages and positions,
// "sls/<project>/<logstore>".
func (s *Source) Name() string { return s.name }

func (s *Source) slot(gate context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-gate.Done():
		return false
	}
}

func (s *Source) release() { <-s.slots }

func (s *Source) alarm(a Alarm) {
	s.log.Warn("sls: "+a.Message, "alarm", a.Kind)
	if s.opts.Alarm != nil {
		s.opts.Alarm(a)
	}
}

// sdkCredentials adapts the provider to the SDK, which asks before every
// request.
type sdkCredentials struct {
	s   *Source
	ctx context.Context
}

// GetCredentials implements the SDK's CredentialsProvider.
func (c sdkCredentials) GetCredentials() (sdk.Credentials, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	id, secret, token, provider, err := c.s.cred.Get(ctx)
	if err != nil {
		return sdk.Credentials{}, err
	}
	c.s.mu.Lock()
	before := c.s.lastHolder
	c.s.lastHolder = provider
	c.s.mu.Unlock()
	if before != provider {
		if before == "" {
			c.s.log.Info("sls: using credentials", "provider", provider)
		} else {
			c.s.log.Warn("sls: the credentials now come from another provider", "provider", provider, "before", before)
		}
	}
	return sdk.Credentials{AccessKeyID: id, AccessKeySecret: secret, SecurityToken: token}, nil
}

// client is our own plain client: everything it does ends with ctx.
func (s *Source) client(ctx context.Context) sdk.ClientInterface {
	c := sdk.CreateNormalInterfaceV2(s.end.url, sdkCredentials{s, ctx})
	c.SetUserAgent("trailwarden")
	c.SetHTTPClient(&http.Client{Transport: &transport{s: s, base: s.base, reads: ctx, writes: ctx}})
	c.SetRetryTimeout(quickTimeout) // the transport leaves it nothing to retry
	if s.cfg.Region != "" {
		c.SetAuthVersion(sdk.AuthV4)
		c.SetRegion(s.cfg.Region)
	}
	return c
}

// Check asks the service once whether the logstore can be read with these
// credentials. The error wraps ErrUnreachable when there was no answer.
func (s *Source) Check(ctx context.Context) error {
	_, err := s.client(ctx).ListShards(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return fmt.Errorf("sls: %s: listing the shards: %w", s.name, describe(err))
	}
	return nil
}

// Run reads until ctx ends, then finishes the pages at work within
// Config.Drain and returns nil. An error means that something did not stop in
// time; it is cut off from the network then. Failures of the service are not
// errors: Run logs them, raises alarms and tries on with growing pauses.
// A Source runs once.
func (s *Source) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("sls: Run was called twice on one Source")
	}
	defer s.base.CloseIdleConnections()
	defer s.state.Store("stopped")
	failures := 0
	for {
		s.state.Store("resolving")
		if err := s.resolveUntil(ctx); err != nil {
			return nil // ctx ended before anything ran
		}
		w := s.build()
		s.state.Store("running")
		began := time.Now()
		reason := s.watch(ctx, w)
		if reason == "" {
			s.state.Store("draining")
			s.log.Info("sls: stopping")
			if !s.stop(w) {
				return fmt.Errorf("sls: %s: the worker did not stop within %s; it is cut off from the network, records it had not stored will be read again", s.name, s.cfg.Drain)
			}
			return nil
		}
		s.state.Store("rebuilding")
		s.n.rebuilds.Add(1)
		s.alarm(Alarm{Kind: AlarmRebuilt, Shard: -1, Message: "rebuilding the worker: " + reason})
		s.stop(w)
		if time.Since(began) > 2*s.cfg.Watchdog {
			failures = 0
		}
		backOff(ctx, failures)
		failures++
	}
}

// resolveUntil decides where every shard starts, trying until it works.
func (s *Source) resolveUntil(ctx context.Context) error {
	for n := 0; ; n++ {
		err := s.resolve(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Error("sls: cannot start reading; trying again", "err", err, "attempt", n+1)
		backOff(ctx, n+1)
	}
}

// worker is one run of the SDK's consumer.
type worker struct {
	s   *Source
	sdk *consumer.ConsumerWorker
	// The gates of transport, and store, which ends a Store that takes
	// longer than the drain.
	reads, writes, store              context.Context
	closeReads, closeWrites, endStore context.CancelFunc

	troubled chan string // first reason why this worker must go
	evicted  atomic.Bool // others have its shards
	lines    atomic.Uint64

	// See transport.saved.
	first    chan struct{}
	warmed   chan struct{}
	warmOnce sync.Once
}

func newWorker(s *Source) *worker {
	w := &worker{s: s, troubled: make(chan string, 1), first: make(chan struct{}, 1), warmed: make(chan struct{})}
	w.reads, w.closeReads = context.WithCancel(context.Background())
	w.writes, w.closeWrites = context.WithCancel(context.Background())
	w.store, w.endStore = context.WithCancel(context.Background())
	return w
}

// trouble says that this worker will not recover by itself.
func (w *worker) trouble(format string, args ...any) {
	select {
	case w.troubled <- fmt.Sprintf(format, args...):
	default:
	}
}

func (s *Source) build() *worker {
	w := newWorker(s)
	compress := sdk.Compress_LZ4
	if s.cfg.Compression == "zstd" {
		compress = sdk.Compress_ZSTD
	}
	cfg := consumer.LogHubConfig{
		Endpoint: s.end.url, Project: s.cfg.Project, Logstore: s.cfg.Logstore,
		ConsumerGroupName: s.cfg.Group, ConsumerName: s.cfg.Consumer,
		CredentialsProvider: sdkCredentials{s, w.writes},
		// Only for shards that have no checkpoint when they come to us: those
		// of a split. Anything but BEGIN would lose what they already hold.
		CursorPosition:            consumer.BEGIN_CURSOR,
		HeartbeatIntervalInSecond: int(s.cfg.Heartbeat / time.Second),
		HeartbeatTimeoutInSecond:  int(s.cfg.HeartbeatTimeout / time.Second),
		DataFetchIntervalInMs:     fetchInterval.Milliseconds(),
		MaxFetchLogGroupCount:     s.cfg.PageGroups,
		// Checkpoints move only when the processor says so.
		AutoCommitDisabled: true,
		// The SDK's slots are held while a shard waits for records (see
		// transport.pull); ours bound the real fetches.
		MaxIoWorkers:          1 << 16,
		CompressType:          compress,
		HTTPClient:            &http.Client{Transport: &transport{s: s, base: s.base, reads: w.reads, writes: w.writes, w: w}},
		Logger:                sdkLogger{log: s.log, quiet: func() bool { return w.reads.Err() != nil }, lines: &w.lines},
		DisableRuntimeMetrics: true,
	}
	if s.cfg.Region != "" {
		cfg.AuthVersion, cfg.Region = sdk.AuthV4, s.cfg.Region
	}
	for _, sh := range s.allShards() {
		sh.mu.Lock()
		sh.held = false
		sh.mu.Unlock()
		sh.attempts.Store(0)
		sh.cursorFails.Store(0)
	}
	w.sdk = consumer.InitConsumerWorkerWithProcessor(cfg, &processor{s: s, w: w})
	w.sdk.Start()
	return w
}

// heartbeatGood notes a good heartbeat and what the server wants us to hold.
func (s *Source) heartbeatGood(held []int, at time.Time) {
	now := at.UnixNano()
	last := s.n.lastHeartbeat.Swap(now)
	// A while without shards begins anew after a pause in the heartbeats: the
	// group has forgotten us, and gives us back later what was ours.
	switch since := s.n.idleSince.Load(); {
	case len(held) > 0:
		s.n.idleSince.Store(0)
	case since == 0 || now-last > int64(s.timeout()):
		s.n.idleSince.Store(now)
	case now-since >= 2*int64(s.timeout()):
		s.n.lastIdle.Store(now)
	}
	want := make(map[int]bool, len(held))
	for _, id := range held {
		want[id] = true
		s.shard(id)
	}
	for _, sh := range s.allShards() {
		sh.mu.Lock()
		if want[sh.id] && !sh.held {
			sh.lastGood.Store(now) // the watchdog's time runs from here
		}
		sh.held = want[sh.id]
		sh.mu.Unlock()
	}
}

// setBack is by how much the host's clock must have been set back between two looks
// to be noticed; a leap second is less.
const setBack = 2 * time.Second

// notLater moves what is noted of times that the clock has yet to reach.
func (s *Source) notLater(now time.Time) {
	marks := []*atomic.Int64{&s.resolved, &s.stood, &s.n.lastPull, &s.n.lastHeartbeat, &s.n.idleSince, &s.n.lastIdle}
	for _, sh := range s.allShards() {
		marks = append(marks, &sh.lastGood, &sh.lastPull, &sh.asked, &sh.settled)
	}
	for _, m := range marks {
		m.Store(min(m.Load(), now.UnixNano()))
	}
}

// watch waits until ctx ends ("") or the worker must be rebuilt (why).
func (s *Source) watch(ctx context.Context, w *worker) string {
	began := time.Now()
	before := began
	tick := time.NewTicker(min(time.Second, s.cfg.Watchdog/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case why := <-w.troubled:
			if ctx.Err() != nil {
				return ""
			}
			return why
		case <-tick.C:
		}
		now := time.Now()
		// The SDK's pauses end when the clock is again what it was, those between heartbeats
		// too; until then others are given our shards, and those of a split are read by nobody.
		back := now.Sub(before) - s.opts.wall(now).Sub(s.opts.wall(before))
		if before = now; back > setBack {
			s.notLater(now)
			return fmt.Sprintf("the clock of this host was set back by %s", back.Round(time.Second))
		}
		last := unixNano(&s.n.lastHeartbeat)
		if last.Before(began) {
			last = began
		}
		if age := now.Sub(last); age > s.cfg.Watchdog {
			return fmt.Sprintf("no good heartbeat for %s", age.Round(time.Second))
		}
		var silent []string
		for _, sh := range s.allShards() {
			sh.mu.Lock()
			held := sh.held
			sh.mu.Unlock()
			// A page at work in the sink is back-pressure, not silence.
			if held && !sh.busy.Load() && now.Sub(unixNano(&sh.lastGood)) > s.cfg.Watchdog {
				silent = append(silent, fmt.Sprint(sh.id))
			}
		}
		if len(silent) > 0 {
			return fmt.Sprintf("no good pull for %s from shard %s", s.cfg.Watchdog, strings.Join(silent, ", "))
		}
	}
}

// stop ends a worker: first nothing more is read, pages at work are finished
// and checkpoints saved; at the deadline everything is cut off. It says
// whether the worker ended. Calling the SDK's StopAndWait alone may never
// return.
func (s *Source) stop(w *worker) bool {
	w.closeReads()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.sdk.StopAndWait()
	}()
	defer func() { w.closeWrites(); w.endStore() }()
	deadline := time.NewTimer(s.cfg.Drain)
	defer deadline.Stop()
	select {
	case <-done:
		return true
	case <-deadline.C:
	}
	w.closeWrites()
	w.endStore()
	// What is left are the SDK's own sleeps: up to 3 s where it asks for a
	// checkpoint at its start.
	last := time.NewTimer(5 * time.Second)
	defer last.Stop()
	select {
	case <-done:
		return true
	case <-last.C:
	}
	s.n.abandoned.Add(1)
	s.alarm(Alarm{Kind: AlarmAbandoned, Shard: -1, Message: "a worker did not stop in time and was cut off from the network"})
	return false
}
