package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// collector is a responder that may fail and keeps what it took.
type collector struct {
	mu   sync.Mutex
	got  map[string]alert.Alert
	last map[int]uint64
	fail func() error
	t    testing.TB
}

func newCollector(t testing.TB) *collector {
	return &collector{got: map[string]alert.Alert{}, last: map[int]uint64{}, t: t}
}

func (c *collector) handle(_ context.Context, p int, seq uint64, as []alert.Alert) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return err
		}
	}
	if seq <= c.last[p] {
		c.t.Errorf("partition %d: record %d after %d", p, seq, c.last[p])
	}
	c.last[p] = seq
	for _, a := range as {
		if a.Revision >= c.got[a.ID].Revision {
			c.got[a.ID] = a
		}
	}
	return nil
}

func (c *collector) set() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for id, a := range c.got {
		raw, err := alert.MarshalStored(&a)
		if err != nil {
			c.t.Fatal(err)
		}
		out[id] = string(raw)
	}
	return out
}

func newPipeline(t testing.TB, b *bus.Bus, h HandleAlerts) *Pipeline {
	t.Helper()
	cfg := Config{
		Bus: b, Ingest: true, Detect: true, Logger: silent(), TickEvery: 10 * time.Millisecond, HealthEvery: 10 * time.Millisecond,
		Ingester: IngesterConfig{TickAfter: 20 * time.Millisecond},
		Worker:   WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "rules-1", Owner: "test"},
	}
	if h != nil {
		cfg.Readers = []*AlertReader{{Name: "respond", Handle: h, SaveEvery: 10 * time.Millisecond}}
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs a pipeline and returns what Run returns and how to crash it.
func start(t testing.TB, p *Pipeline) (done chan error, crash func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	end := make(chan struct{})
	go func() { done <- p.Run(ctx); close(end) }()
	crash = func() { cancel(); <-end }
	t.Cleanup(crash)
	return done, crash
}

// How fresh an account is goes by the ingest clock where an event's own is ahead:
// after one such event the account would never again be seen to be silent.
func TestBadClockIsNotFresh(t *testing.T) {
	p := newPipeline(t, openBus(t, t.TempDir()), nil)
	start(t, p)
	all := [][]byte{rec(0, account(0), "DescribeInstances"), rec(1_000_000, account(0), "DescribeInstances"), rec(1, account(1), "DescribeInstances")}
	pg := page(all, 0, len(all))
	if err := p.Sink().Store(t.Context(), pg); err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Time{}
	eventually(t, "both accounts are seen", func() bool {
		for _, w := range p.Stats(t.Context()).Workers {
			maps.Copy(got, w.Accounts)
		}
		return len(got) == 2
	})
	if a, b := got[account(0)], got[account(1)]; !a.Equal(pg.Received) || !b.Equal(epoch.Add(time.Second)) {
		t.Errorf("newest events at %v and %v, received at %v", a, b, pg.Received)
	}
}

func TestPipelineRunsAndDrains(t *testing.T) {
	all := trail(2000)
	want := undisturbed(t, all)
	dir := t.TempDir()
	c := newCollector(t)
	for half := range 2 {
		b := openBus(t, dir)
		p := newPipeline(t, b, c.handle)
		done, _ := start(t, p)
		var wg sync.WaitGroup
		// Several shards at once; one of them, the first, makes alerts.
		for shard := range 3 {
			wg.Go(func() {
				for from := half * 1000; from < (half+1)*1000; from += 50 {
					pg := page(all, from, from+50)
					if pg.Shard = shard; shard > 0 {
						pg.Records = nil
					}
					if err := p.Sink().Store(t.Context(), pg); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := p.Sink().Store(t.Context(), page(all, 0, 1)); !errors.Is(err, ErrStopping) {
			t.Errorf("a page after the end: %v", err)
		}
		s := p.Stats(t.Context())
		var events uint64
		for _, w := range s.Workers {
			events += w.Evaluated
			if w.State != "stopped" || w.Lag != 0 || w.Input != w.Committed || w.SnapshotInput != w.Input && w.Input > 0 {
				t.Errorf("worker %+v", w)
			}
		}
		if events != uint64(half+1)*1000 || s.Ingest.Records != 1000 || s.Ingest.Pages != 60 || !s.Store.OK || len(s.Readers) != 1 || s.Readers[0].Lag != 0 || s.Parked == nil {
			t.Errorf("%d events, stats %+v", events, s)
		}
		b.Close()
	}
	sameAlerts(t, c.set(), want)
}

// Runs that are broken off, with a responder that fails now and then, hand on
// what an undisturbed run does.
func TestPipelineCrashes(t *testing.T) {
	all := trail(2000)
	want := undisturbed(t, all)
	dir := t.TempDir()
	rng, moods := rand.New(rand.NewPCG(7, 7)), rand.New(rand.NewPCG(8, 8))
	got := newCollector(t)
	for done := false; !done; {
		b := openBus(t, dir)
		got.mu.Lock()
		got.last = map[int]uint64{} // since the last saved cursor
		got.fail = func() error {
			if moods.IntN(4) == 0 {
				return errBoom
			}
			return nil
		}
		got.mu.Unlock()
		p := newPipeline(t, b, got.handle)
		ended, crash := start(t, p)
		in := p.Sink()
		for range 1 + rng.IntN(6) {
			from := position(t, in)
			if from >= len(all) {
				done = true
				break
			}
			if err := in.Store(t.Context(), page(all, from, min(from+1+rng.IntN(200), len(all)))); err != nil {
				t.Fatal(err)
			}
		}
		if done {
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		} else {
			crash()
		}
		b.Close()
	}
	sameAlerts(t, got.set(), want)
}

// Ticks reach the engines when traffic pauses, without anybody asking.
func TestPipelineTicks(t *testing.T) {
	b := openBus(t, t.TempDir())
	p := newPipeline(t, b, nil)
	var last atomic.Int64
	p.workers = p.workers[:0]
	cfg := workerConfig(b, event.Partition(account(1), partitions))
	cfg.NewEngine = func(int) Engine { return &ticking{newFake(0).(*fakeEngine), &last} }
	p.workers = append(p.workers, NewWorker(cfg))
	start(t, p)
	at := time.Now().UTC()
	if err := p.Sink().Store(t.Context(), source.Page{Source: src, From: cursor(0), To: cursor(1), Records: [][]byte{rec(0, account(1), "X")}, Received: at}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a tick arrives", func() bool { return last.Load() >= at.Add(20*time.Millisecond).UnixNano() })
	eventually(t, "it is counted", func() bool { return p.Stats(t.Context()).Ingest.Ticks == 1 })
}

type ticking struct {
	*fakeEngine
	last *atomic.Int64
}

func (e *ticking) Tick(now time.Time) {
	e.fakeEngine.Tick(now)
	e.last.Store(now.UnixNano())
}

// A pipeline whose partition another one takes over ends with ErrFenced.
func TestPipelineIsFenced(t *testing.T) {
	b := openBus(t, t.TempDir())
	first := newPipeline(t, b, nil)
	done, _ := start(t, first)
	eventually(t, "the first one runs", func() bool {
		for _, w := range first.Stats(t.Context()).Workers {
			if w.State != "running" {
				return false
			}
		}
		return true
	})
	second := newPipeline(t, b, nil)
	start(t, second)
	eventually(t, "the second one runs", func() bool {
		for _, w := range second.Stats(t.Context()).Workers {
			if w.State != "running" {
				return false
			}
		}
		return true
	})
	if err := second.Sink().Store(t.Context(), page(trail(100), 0, 100)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, bus.ErrFenced) {
		t.Errorf("the first one ended with %v", err)
	}
}

// EVENTS fills up while detection stands still: ingest is refused before the
// limit, nothing is lost, and it goes on when detection does.
func TestBackPressure(t *testing.T) {
	b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir(), Partitions: partitions, MaxBytes: bus.MinBudget, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	p := newPipeline(t, b, nil)
	gate := make(chan struct{})
	for i, w := range p.workers {
		cfg := w.cfg
		cfg.NewEngine = func(p int) Engine { <-gate; return newFake(p) }
		p.workers[i] = NewWorker(cfg)
	}
	start(t, p)
	in := p.Sink()
	rng := rand.New(rand.NewPCG(1, 1))
	stored, refused := 0, 0
	pad := make([]byte, 400<<10)
	for j := range pad {
		pad[j] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rng.IntN(64)]
	}
	store := func(i int) error {
		r := rec(i, account(i), "X")
		r = append(append(append(r[:len(r)-1], `,"pad":"`...), pad...), `"}`...)
		return in.Store(t.Context(), source.Page{Source: src, From: cursor(i), To: cursor(i + 1), Records: [][]byte{r}})
	}
	eventually(t, "EVENTS is full", func() bool {
		err := store(stored)
		switch {
		case err == nil:
			stored++
		case errors.Is(err, bus.ErrBackpressure):
			refused++
		default:
			t.Fatal(err)
		}
		return refused > 3
	})
	eventually(t, "health says so", func() bool {
		s := p.Stats(t.Context())
		return len(s.Store.Problems) > 0 && s.Ingest.Refused > 0
	})
	close(gate)
	// Detection catches up; two snapshots later there is room again.
	eventually(t, "ingest goes on", func() bool {
		if err := store(stored); err != nil {
			if !errors.Is(err, bus.ErrBackpressure) {
				t.Fatal(err)
			}
			return false
		}
		stored++
		return true
	})
	for range 20 {
		eventually(t, "a further page is stored", func() bool { return store(stored) == nil })
		stored++
	}
	eventually(t, "all is evaluated", func() bool {
		var n uint64
		for _, w := range p.Stats(t.Context()).Workers {
			n += w.Evaluated
		}
		return n == uint64(stored)
	})
}

func TestNewRefuses(t *testing.T) {
	b := openBus(t, t.TempDir())
	for name, cfg := range map[string]Config{
		"no bus":       {},
		"no engine":    {Bus: b, Detect: true},
		"no partition": {Bus: b, Detect: true, Partitions: []int{partitions}, Worker: WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := newPipeline(t, b, nil)
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("closing what never ran: %v", err)
	}
}

// A reader goes on where its cursor is, and commit records that it has not
// seen are kept.
func TestReaderCursorKeepsCommits(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(3000)
	storeAll(t, in, all, 5) // many frames, many commits
	p := 1
	evaluate := func() {
		cfg := workerConfig(b, p)
		cfg.Readers, cfg.BatchFrames = []string{"respond"}, 1
		w := NewWorker(cfg)
		w.sinceCommits = purgeCommitsEvery - 5 // look early
		w.Drain()
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	evaluate()
	want, n := latest(t, b)
	if n < 50 {
		t.Fatalf("%d alerts only", n)
	}
	c := newCollector(t)
	reader := &AlertReader{Bus: b, Name: "respond", Handle: c.handle, SaveEvery: 5 * time.Millisecond, Logger: silent()}
	read := func(until func() bool) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- reader.Run(ctx) }()
		eventually(t, "the reader is through", until)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	through := func() bool { s := reader.Stats(); return s.Seq[p] > 0 && s.Lag == 0 }
	read(through)
	for id, a := range want {
		if !alert.Equal(&a, ptr(c.got[id])) {
			t.Errorf("alert %s differs", id)
		}
	}
	handed := reader.Stats().Alerts
	before, _ := b.State(t.Context(), bus.StreamCommits)
	if err := in.Store(t.Context(), page(trail(3100), 3000, 3100)); err != nil {
		t.Fatal(err)
	}
	evaluate()
	// What was seen may go now; the last record of the chain never does.
	cfg := workerConfig(b, p)
	cfg.Readers = []string{"respond"}
	w := NewWorker(cfg)
	w.Drain()
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.purgeCommits(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, _ := b.State(t.Context(), bus.StreamCommits)
	if after.Msgs >= before.Msgs {
		t.Errorf("%d records before, %d after", before.Msgs, after.Msgs)
	}
	reader = &AlertReader{Bus: b, Name: "respond", Handle: c.handle, SaveEvery: 5 * time.Millisecond, Logger: silent()}
	read(func() bool { s := reader.Stats(); return s.Alerts > 0 && s.Lag == 0 && s.Seq[p] == w.Stats().Commit })
	if again := reader.Stats().Alerts; again >= handed {
		t.Errorf("%d alerts handed on again of %d", again, handed)
	}
}

func ptr[T any](v T) *T { return &v }

func TestReaderRetriesAndReportsErrors(t *testing.T) {
	b := openBus(t, t.TempDir())
	storeAll(t, newIngester(b), trail(100), 50)
	drainAll(t, b, nil)
	c := newCollector(t)
	var tries atomic.Int64
	r := &AlertReader{Bus: b, Name: "respond", Handle: c.handle, Logger: silent()}
	c.fail = func() error {
		if r.Stats().At.IsZero() {
			t.Error("it does not show since when alerts wait")
		}
		if tries.Add(1) <= 2 {
			return errBoom
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	eventually(t, "the failure shows", func() bool { return r.Stats().LastError == errBoom.Error() || tries.Load() > 2 })
	eventually(t, "all are handed on", func() bool { return len(c.set()) == 13 && r.Stats().LastError == "" && r.Stats().At.IsZero() })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := ReadAlerts(t.Context(), b, nil, func(context.Context, int, uint64, []alert.Alert) error { return errBoom }); !errors.Is(err, errBoom) {
		t.Errorf("ReadAlerts hides the error: %v", err)
	}
	if err := (&AlertReader{Bus: b, Name: "Bad Name", Handle: c.handle}).Run(t.Context()); err == nil {
		t.Error("a bad reader name was accepted")
	}
}

// Answers of a cluster are lost with their connections again and again; the
// alerts are those of an undisturbed run.
func TestBadNetwork(t *testing.T) {
	all := trail(600)
	want := undisturbed(t, all)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true, JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	bad := startBadNetwork(t, s.Addr().String())
	open := func(addr string) *bus.Bus {
		b, err := bus.Open(t.Context(), bus.Config{URL: "nats://" + addr, Partitions: partitions, Replicas: 1, MaxBytes: 256 << 20, Logger: silent(), PublishTimeout: 150 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	b := open(bad.l.Addr().String())
	c := newCollector(t)
	p := newPipeline(t, b, c.handle)
	done, _ := start(t, p)
	in := p.Sink()
	for pos, n := 0, 0; pos < len(all); n++ {
		if n%3 == 0 {
			bad.lose.Store(1)
		}
		err := in.Store(t.Context(), page(all, pos, min(pos+20, len(all))))
		if err != nil && !errors.Is(err, bus.ErrUnknown) && !errors.Is(err, bus.ErrFenced) {
			t.Fatal(err)
		}
		pos = position(t, in)
	}
	if n := bad.lost.Load(); n < 5 {
		t.Errorf("only %d answers were lost", n)
	}
	bad.lose.Store(0)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	direct := open(s.Addr().String())
	eachOnce(t, direct, len(all))
	sameAlerts(t, c.set(), want)
	sameAlerts(t, alerts(t, direct), want)
}

type badNetwork struct {
	l    net.Listener
	lose atomic.Int64 // how many of the next answers are lost, each with its connection
	lost atomic.Int64
	mu   sync.Mutex
	open []net.Conn
	wg   sync.WaitGroup
}

func startBadNetwork(t testing.TB, to string) *badNetwork {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &badNetwork{l: l}
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			n.mu.Lock()
			n.open = append(n.open, c, s)
			n.mu.Unlock()
			n.wg.Go(func() { _, _ = io.Copy(s, c); s.Close() })
			n.wg.Go(func() {
				buf := make([]byte, 32<<10)
				for {
					k, err := s.Read(buf)
					if err == nil && n.lose.Load() > 0 && n.lose.Add(-1) >= 0 {
						n.lost.Add(1)
						err = io.EOF
					}
					if err == nil {
						_, err = c.Write(buf[:k])
					}
					if err != nil {
						c.Close()
						s.Close()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); n.cut(); n.wg.Wait() })
	return n
}

func (n *badNetwork) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		c.Close()
	}
	n.open = nil
}

// Events a second through store with fsync, worker and commit, and how long one
// page takes to its commit.
func BenchmarkStoreToCommit(b *testing.B) {
	record := func(n int) []byte {
		name := "DescribeInstances"
		if n%1000 == 3 {
			name = "CreateAccessKey"
		}
		r := rec(n, account(n%40), name)
		r = append(r[:len(r)-1], `,"additionalEventData":{`...)
		for k, x := 0, uint64(n+1)*88172645463325252; k < 35; k++ {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			if k > 0 {
				r = append(r, ',')
			}
			r = fmt.Appendf(r, `"Parameter%d":"value-%08x-%02d"`, k, uint32(x), k%7)
		}
		return append(r, `},"eventRW":"Read","eventCategory":"Management"}`...)
	}
	for _, size := range []int{256, 1024, 4096} {
		b.Run(fmt.Sprintf("throughput/page=%d", size), func(b *testing.B) {
			bs := openBench(b)
			applied := new(atomic.Int64)
			p := benchPipeline(b, bs, applied)
			start(b, p)
			const shards = 2
			pages := make([][][]byte, 8)
			n := 0
			for i := range pages {
				pages[i] = make([][]byte, size)
				for j := range pages[i] {
					pages[i][j] = record(n)
					n++
				}
			}
			raw := len(pages[0][0])
			b.SetBytes(int64(size * raw))
			b.ResetTimer()
			began := time.Now()
			var next atomic.Int64
			var wg sync.WaitGroup
			for shard := range shards {
				wg.Go(func() {
					for at := 0; ; at++ {
						if int(next.Add(1)) > b.N {
							return
						}
						err := p.Sink().Store(context.Background(), source.Page{Source: src, Shard: shard, From: cursor(at), To: cursor(at + 1), Records: pages[(at*shards+shard)%len(pages)]})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			for applied.Load() < int64(b.N*size) {
				time.Sleep(100 * time.Microsecond)
			}
			for _, w := range p.workers {
				for s := w.Stats(); s.Committed < s.Input; s = w.Stats() {
					time.Sleep(100 * time.Microsecond)
				}
			}
			b.ReportMetric(float64(b.N*size)/time.Since(began).Seconds(), "events/s")
			b.ReportMetric(float64(raw), "B/event")
		})
	}
	b.Run("latency", func(b *testing.B) {
		bs := openBench(b)
		p := benchPipeline(b, bs, new(atomic.Int64))
		start(b, p)
		part := event.Partition(account(3), partitions)
		b.ResetTimer()
		for i := range b.N {
			if err := p.Sink().Store(context.Background(), source.Page{Source: src, From: cursor(i), To: cursor(i + 1), Records: [][]byte{rec(i, account(3), "CreateAccessKey")}}); err != nil {
				b.Fatal(err)
			}
			for p.workers[part].Stats().Committed < uint64(i+1) {
				time.Sleep(20 * time.Microsecond)
			}
		}
		s := p.workers[part].Stats()
		b.ReportMetric(float64(s.CommitP50.Microseconds()), "p50-µs")
		b.ReportMetric(float64(s.CommitP99.Microseconds()), "p99-µs")
	})
}

func openBench(b *testing.B) *bus.Bus {
	b.Helper()
	bs, err := bus.Open(context.Background(), bus.Config{Dir: b.TempDir(), Partitions: partitions, MaxBytes: 4 << 30, Logger: silent()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bs.Close)
	return bs
}

func benchPipeline(b *testing.B, bs *bus.Bus, applied *atomic.Int64) *Pipeline {
	b.Helper()
	p, err := New(Config{Bus: bs, Ingest: true, Detect: true, Logger: silent(), Worker: WorkerConfig{
		NewEngine: func(int) Engine { return &trivial{applied: applied} }, NewGrouper: newGrouper, CommitEvery: 20 * time.Millisecond}})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// trivial costs next to nothing, so that the rest is measured.
type trivial struct {
	out     []alert.Detection
	events  uint64
	mark    time.Time
	applied *atomic.Int64
}

func (e *trivial) Behind(string, []string, string) {}
func (e *trivial) Ahead(bool)                      {}
func (e *trivial) Tick(time.Time)                  {}
func (e *trivial) Apply(ev *event.Event, _ string) {
	e.events++
	e.applied.Add(1)
	if ev.Time.After(e.mark) {
		e.mark = ev.Time
	}
	if ev.Name == "CreateAccessKey" {
		e.out = append(e.out, alert.Detection{Rule: "r", Severity: alert.High, Time: ev.Time, FirstAt: ev.Time, EventIDs: []string{ev.ID}, Count: 1, Key: ev.Recipient, Window: time.Minute})
	}
}
func (e *trivial) Take() []alert.Detection { out := e.out; e.out = nil; return out }
func (e *trivial) Watermark() time.Time    { return e.mark }
func (e *trivial) Snapshot() []byte        { return nil }
func (e *trivial) Restore([]byte) error    { return nil }
func (e *trivial) Stats() EngineStats      { return EngineStats{Events: e.events} }

// BenchmarkWorkers is the way from page to commit with so many partitions at
// work, embedded and on three servers (all on this machine).
func BenchmarkWorkers(b *testing.B) {
	const size = 1024
	for _, where := range []string{"embedded", "cluster"} {
		for _, n := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/workers=%d", where, n), func(b *testing.B) {
				var bs *bus.Bus
				if where == "cluster" {
					bs = openCluster(b, bustest.StartCluster(b, bustest.Options{}).URL())
				} else {
					bs = openBench(b)
				}
				applied := new(atomic.Int64)
				p := benchPipeline(b, bs, applied)
				start(b, p)
				// Accounts of n partitions only.
				var accounts []string
				seen := map[int]int{}
				for i := 0; len(accounts) < 4*n; i++ {
					part := event.Partition(account(i), partitions)
					if part < n && seen[part] < 4 {
						seen[part]++
						accounts = append(accounts, account(i))
					}
				}
				page := make([][]byte, size)
				for i := range page {
					page[i] = rec(i, accounts[i%len(accounts)], "DescribeInstances")
				}
				b.ResetTimer()
				began := time.Now()
				for at := range b.N {
					if err := p.Sink().Store(context.Background(), source.Page{Source: src, From: cursor(at), To: cursor(at + 1), Records: page}); err != nil {
						b.Fatal(err)
					}
				}
				for applied.Load() < int64(b.N*size) {
					time.Sleep(100 * time.Microsecond)
				}
				b.ReportMetric(float64(b.N*size)/time.Since(began).Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkHandOver is the time from asking one of two processes to end until
// the other works on all partitions.
func BenchmarkHandOver(b *testing.B) {
	bs := openBench(b)
	run := func(name string) *Pipeline {
		p, err := New(Config{Bus: bs, Detect: true, Logger: silent(), Leases: &LeaseConfig{Name: name},
			Worker: WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "r"}})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = p.Run(context.Background()) }()
		return p
	}
	all := func(p *Pipeline) bool {
		ws := p.Stats(context.Background()).Workers
		for _, w := range ws {
			if w.State != "running" {
				return false
			}
		}
		return len(ws) == partitions
	}
	wait := func(cond func() bool) {
		for !cond() {
			time.Sleep(time.Millisecond)
		}
	}
	old := run("p0")
	wait(func() bool { return all(old) })
	total := time.Duration(0)
	for i := range b.N {
		next := run(fmt.Sprintf("p%d", i+1))
		wait(func() bool { return len(next.Stats(context.Background()).Workers) == partitions/2 })
		began := time.Now()
		go func() { _ = old.Close(context.Background()) }()
		wait(func() bool { return all(next) })
		total += time.Since(began)
		old = next
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/hand-over")
	_ = old.Close(context.Background())
}

// A full COMMITS has no room for the cursor by which room is made: who comes
// back after hours must get it all going again.
func TestReaderComesBackToFullCommits(t *testing.T) {
	b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir(), Partitions: partitions, MaxBytes: bus.MinBudget, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	rng := rand.New(rand.NewPCG(1, 1))
	head := uint64(0)
	random := make([]byte, 500<<10)
	for i := range random {
		random[i] = byte('a' + rng.IntN(26))
	}
	publish := func(size int) error {
		pad := random[:size]
		c := &bus.Commit{Partition: 1, Part: true, Prev: head, Alerts: [][]byte{fmt.Appendf(nil, `{"pad":%q}`, pad)}}
		data, err := bus.EncodeCommit(c)
		if err != nil {
			t.Fatal(err)
		}
		seq, err := b.Publish(t.Context(), bus.Publish{Stream: bus.StreamCommits, Subject: bus.CommitSubject(1), ID: c.ID(data), Data: data, Fenced: true, Expect: head})
		if err == nil {
			head = seq
		}
		return err
	}
	for size := 400 << 10; size > 0; {
		if err := publish(size); errors.Is(err, bus.ErrBackpressure) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// What is left is too small for a commit, and then for a cursor.
	for i := 0; ; i++ {
		if err := b.SaveCursor(t.Context(), "f", i, 1); errors.Is(err, bus.ErrBackpressure) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	c := newCollector(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- (&AlertReader{Bus: b, Name: "respond", Handle: c.handle, SaveEvery: 5 * time.Millisecond, Logger: silent()}).Run(ctx)
	}()
	eventually(t, "how far it has read is stored", func() bool {
		seq, err := b.LoadCursor(t.Context(), "respond", 1)
		return err == nil && seq == head
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cfg := workerConfig(b, 1)
	cfg.Readers = []string{"respond"}
	w := NewWorker(cfg)
	w.head = head
	if err := w.purgeCommits(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := publish(400 << 10); err != nil {
		t.Errorf("detection cannot go on: %v", err)
	}
}
