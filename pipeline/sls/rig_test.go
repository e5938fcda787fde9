package sls

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/leaktest"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

func TestMain(m *testing.M) {
	// These tests wait for the SDK's sleeps, not for the processor: run many
	// at once, unless told otherwise.
	flag.Parse()
	fuzz := flag.Lookup("test.fuzz")
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue && (fuzz == nil || fuzz.Value.String() == "") {
		_ = flag.Set("test.parallel", "24")
	}
	os.Exit(leaktest.Run(m))
}

const (
	testKey    = "LTAI5tEXAMPLEreader00001"
	testSecret = "EXAMPLEsecretEXAMPLEsecret0001"
)

// memSink is a durable store in memory, and the oracle: it knows what was
// stored once in effect and what the position was at every moment.
type memSink struct {
	mu        sync.Mutex
	records   map[int][]string
	position  map[int]string
	stored    int // Store calls that were new
	repeated  int // Store calls of a span that was stored already
	gaps      []string
	source    string
	before    func(p source.Page) error // may fail or panic; outside the lock
	positions func(shard int) error
	changed   chan struct{}
	inStore   map[int]int
}

func newSink() *memSink {
	return &memSink{records: map[int][]string{}, position: map[int]string{}, changed: make(chan struct{}, 1), inStore: map[int]int{}}
}

func (m *memSink) Store(_ context.Context, p source.Page) error {
	m.mu.Lock()
	m.inStore[p.Shard]++
	concurrent := m.inStore[p.Shard] > 1
	before := m.before
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.inStore[p.Shard]--
		m.mu.Unlock()
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}()
	if concurrent {
		panic(fmt.Sprintf("two Store calls at once for shard %d", p.Shard))
	}
	if before != nil {
		if err := before(p); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.source = p.Source
	pos := m.position[p.Shard]
	if pos != "" && pos != p.From {
		have, _ := cursorValue(pos)
		from, _ := cursorValue(p.From)
		to, _ := cursorValue(p.To)
		if to <= have {
			m.repeated++
			return nil
		}
		if from > have {
			m.gaps = append(m.gaps, fmt.Sprintf("shard %d: from %d after %d", p.Shard, from, have))
		}
		if from < have { // partly stored: only the rest counts (one log per group in these tests)
			p.Records = p.Records[have-from:]
		}
	}
	for _, r := range p.Records {
		m.records[p.Shard] = append(m.records[p.Shard], string(r))
	}
	m.position[p.Shard] = p.To
	m.stored++
	return nil
}

func (m *memSink) Position(_ context.Context, _ string, shard int) (string, error) {
	m.mu.Lock()
	f := m.positions
	m.mu.Unlock()
	if f != nil {
		if err := f(shard); err != nil {
			return "", err
		}
	}
	return m.pos(shard), nil
}

func (m *memSink) pos(shard int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.position[shard]
}

func (m *memSink) setPos(shard int, c string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position[shard] = c
}

func (m *memSink) setBefore(f func(source.Page) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

func (m *memSink) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, r := range m.records {
		n += len(r)
	}
	return n
}

func (m *memSink) shard(id int) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records[id])
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// rig is an emulator, a sink and a source on it.
type rig struct {
	t    testing.TB
	srv  *slstest.Server
	sink *memSink
	src  *Source
	logs *syncBuffer

	mu     sync.Mutex
	alarms []Alarm
	ledger []string // checkpoints that were ahead of the sink
	cancel context.CancelFunc
	done   chan error
}

// newRig makes all but starts nothing. The journal checks the ledger: a
// consumer's checkpoint never passes what is stored.
func newRig(t testing.TB, so slstest.Options) *rig {
	r := &rig{t: t, sink: newSink(), logs: new(syncBuffer)}
	outer := so.Journal
	so.Journal = func(e slstest.Entry) {
		if e.Action == slstest.UpdateCheckpoint && e.Status == 200 && e.Consumer != "" {
			at, _ := cursorValue(e.Detail)
			have, ok := cursorValue(r.sink.pos(*e.Shard))
			if !ok || at > have {
				r.mu.Lock()
				r.ledger = append(r.ledger, fmt.Sprintf("shard %d: checkpoint %d, stored %d", *e.Shard, at, have))
				r.mu.Unlock()
			}
		}
		if outer != nil {
			outer(e)
		}
	}
	r.srv = slstest.New(so)
	t.Cleanup(r.srv.Close)
	return r
}

func (r *rig) config() Config {
	return Config{
		Endpoint: r.srv.URL(), Project: "trailwarden", Logstore: "actiontrail_main", Group: "cg", Consumer: "c1",
		Credentials: cred.Config{AccessKeyID: testKey, AccessKeySecret: testSecret},
		Heartbeat:   time.Second, HeartbeatTimeout: 15 * time.Second, // eviction only when a test asks for it, however loaded the machine
		Poll: 20 * time.Millisecond, CheckpointEvery: 20 * time.Millisecond,
		Watchdog: 20 * time.Second, Drain: 4 * time.Second,
	}
}

func (r *rig) options() Options {
	return Options{
		Logger: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Alarm: func(a Alarm) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.alarms = append(r.alarms, a)
		},
	}
}

// start runs a source with the configuration changed as told.
func (r *rig) start(change func(*Config, *Options)) *rig {
	r.t.Helper()
	cfg, opts := r.config(), r.options()
	if change != nil {
		change(&cfg, &opts)
	}
	src, err := New(cfg, r.sink, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.src = src
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	r.cancel, r.done = cancel, done
	go func() {
		defer close(ended)
		done <- src.Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			r.t.Error("Run did not return")
		}
	})
	return r
}

// stop ends the source and checks what must always hold.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatalf("Run did not return\n%s", r.logs)
	}
	r.done = nil
	r.check()
}

func (r *rig) check() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.ledger {
		r.t.Errorf("a checkpoint passed the stored position: %s", l)
	}
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	for _, g := range r.sink.gaps {
		r.t.Errorf("records were skipped: %s", g)
	}
}

func (r *rig) alarmed(kind string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.alarms, func(a Alarm) bool { return a.Kind == kind })
}

// told waits for an alarm: it comes right after what it is about is counted.
func (r *rig) told(kind string) {
	r.t.Helper()
	r.until("alarm "+kind, func() bool { return r.alarmed(kind) })
}

// until polls a condition; it fails the test with the log when it does not
// come true.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	eventually(r.t, what, cond, r.logs)
}

func eventually(t testing.TB, what string, cond func() bool, logs fmt.Stringer) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			text := logs.String()
			t.Fatalf("timed out waiting until %s\nlast log lines:\n%s", what, text[max(0, len(text)-8000):])
		}
		time.Sleep(2 * time.Millisecond) // poll interval, not a wait for an event
	}
}

func event(shard, i int) []byte {
	return fmt.Appendf(nil, `{"eventId":"e-%d-%06d","eventName":"CreateAccessKey"}`, shard, i)
}

// fill appends n records to a shard and returns what the sink must hold.
func (r *rig) fill(shard, from, n int) []string {
	var want []string
	var recs [][]byte
	for i := from; i < from+n; i++ {
		recs = append(recs, event(shard, i))
		want = append(want, string(event(shard, i)))
	}
	r.srv.Append(shard, recs...)
	return want
}

// holds waits until a shard's records are exactly the wanted ones, in order,
// each once.
func (r *rig) holds(shard int, want []string) {
	r.t.Helper()
	r.until(fmt.Sprintf("shard %d has %d records (has %d)", shard, len(want), len(r.sink.shard(shard))),
		func() bool { return len(r.sink.shard(shard)) >= len(want) })
	got := r.sink.shard(shard)
	if !slices.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		r.t.Errorf("shard %d: %d records, want %d; they differ from number %d on", shard, len(got), len(want), i)
	}
}

// caughtUp waits until the group's checkpoint is the end of the shard.
func (r *rig) caughtUp(shard int) {
	r.t.Helper()
	_, end := r.srv.Bounds(shard)
	r.until(fmt.Sprintf("the checkpoint of shard %d is at its end", shard), func() bool { return r.srv.Checkpoint("cg", shard) == end })
}

var errTest = errors.New("the store is full")

func contains(s fmt.Stringer, part string) bool { return strings.Contains(s.String(), part) }
