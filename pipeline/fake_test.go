package pipeline

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

func TestMain(m *testing.M) {
	bustest.Main()
	if child() || replica() || victim() {
		return
	}
	code := m.Run()
	if code == 0 && !stuck.Load() {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const partitions = 4

var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openBus(t testing.TB, dir string) *bus.Bus {
	t.Helper()
	b, err := bus.Open(context.Background(), bus.Config{Dir: dir, Partitions: partitions, MaxBytes: 256 << 20, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// rec is a record of our own making: n tells events apart, account decides the
// partition. Every seventh alerts ("CreateAccessKey"); "Panic" makes the fake
// engine panic.
func rec(n int, account, name string) []byte {
	return fmt.Appendf(nil, `{"eventId":"e-%08d","eventName":%q,"eventType":"ApiCall","eventVersion":"1","eventTime":%q,"serviceName":"Ram","acsRegion":"cn-hangzhou","recipientAccountId":%q,"sourceIpAddress":"203.0.113.7","userIdentity":{"type":"ram-user","accountId":%q,"principalId":"20000000000000%04d","userName":"user%d","accessKeyId":"LTAI5tEXAMPLEuser%05d"},"requestParameters":{"UserName":"user%d"}}`,
		n, name, epoch.Add(time.Duration(n)*time.Second).Format(time.RFC3339), account, account, n%50, n%50, n%50, n%50)
}

func account(i int) string { return fmt.Sprintf("%016d", 1000000000000000+i) }

func trail(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		name := "DescribeInstances"
		if i%7 == 3 {
			name = "CreateAccessKey"
		}
		out[i] = rec(i, account(i%13), name)
	}
	return out
}

func cursor(n int) string { return base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(n))) }

func number(t testing.TB, c string) int {
	t.Helper()
	if c == "" {
		return 0
	}
	n, ok := ordinal(c)
	if !ok {
		t.Fatalf("position %q is no cursor", c)
	}
	return int(n)
}

const src = "sls/project/logstore"

// page is records [from, to) of a trail, one per cursor step.
func page(all [][]byte, from, to int) source.Page {
	return source.Page{Source: src, From: cursor(from), To: cursor(to), Records: all[from:to], Received: epoch.Add(time.Duration(to) * time.Second)}
}

// fakeEngine alerts on names; its state is a set of seen ids per user and a
// chain over everything applied, so that order and repetition show.
type fakeEngine struct {
	mu    sync.Mutex
	out   []alert.Detection
	state fakeState
	log   func(id string) // every application, for tests that watch it
}

type fakeState struct {
	Applied    uint64
	Duplicates uint64
	Mark       time.Time
	Now        time.Time
	Chain      uint64
	Seen       map[string]bool
}

func newFake(int) Engine { return &fakeEngine{state: fakeState{Seen: map[string]bool{}}} }

func (e *fakeEngine) Behind(string, []string, string) {}

func (e *fakeEngine) Ahead(bool) {}

func (e *fakeEngine) Tick(now time.Time) {
	if now.After(e.state.Now) {
		e.state.Now = now
	}
}

func (e *fakeEngine) Apply(ev *event.Event, shard string) {
	if ev.Name == "Panic" {
		panic("rule r1: index out of range")
	}
	if e.log != nil {
		e.log(ev.ID)
	}
	if e.state.Seen[ev.ID] {
		e.state.Duplicates++
		return
	}
	e.state.Seen[strings.Clone(ev.ID)] = true
	e.state.Applied++
	for _, c := range []byte(ev.ID) {
		e.state.Chain = e.state.Chain*1099511628211 + uint64(c)
	}
	if ev.Time.After(e.state.Mark) {
		e.state.Mark = ev.Time
	}
	if ev.Name != "CreateAccessKey" {
		return
	}
	e.out = append(e.out, alert.Detection{
		Rule: "iam-accesskey-created", RuleVersion: 1, Title: "AccessKey created", Reason: "user created an AccessKey",
		Severity: alert.High, Time: ev.Time, FirstAt: ev.Time, AccountID: strings.Clone(ev.Recipient),
		EventIDs: []string{strings.Clone(ev.ID)}, Count: 1, Key: strings.Clone(ev.Recipient), Window: time.Hour, Playbook: "disable-key",
		// How much was seen before it: an alert of a state that lost or
		// repeated something is another alert.
		Details: map[string]any{"before": e.state.Applied, "chain": strconv.FormatUint(e.state.Chain, 16)},
	})
}

func (e *fakeEngine) Take() []alert.Detection { out := e.out; e.out = nil; return out }
func (e *fakeEngine) Watermark() time.Time    { return e.state.Mark }
func (e *fakeEngine) Stats() EngineStats {
	return EngineStats{Events: e.state.Applied, Duplicates: e.state.Duplicates}
}
func (e *fakeEngine) Snapshot() []byte {
	b, err := json.Marshal(e.state)
	if err != nil {
		panic(err)
	}
	return b
}
func (e *fakeEngine) Restore(b []byte) error {
	e.state, e.out = fakeState{}, nil
	if err := json.Unmarshal(b, &e.state); err != nil {
		return err
	}
	if e.state.Seen == nil {
		e.state.Seen = map[string]bool{}
	}
	return nil
}

func newGrouper() Grouper { return alert.NewGrouper(alert.GrouperConfig{}) }

func workerConfig(b *bus.Bus, p int) WorkerConfig {
	return WorkerConfig{Bus: b, Partition: p, NewEngine: newFake, NewGrouper: newGrouper, Rules: "rules-1", Owner: "test", Logger: silent()}
}

// running starts a worker and returns how it ends.
func running(t testing.TB, w *Worker) (result chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result = make(chan error, 1)
	done := make(chan struct{})
	go func() { result <- w.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return result, stop
}

// drainAll evaluates everything stored with fresh workers, one per partition.
func drainAll(t testing.TB, b *bus.Bus, change func(*WorkerConfig)) []WorkerStats {
	t.Helper()
	out := make([]WorkerStats, b.Partitions())
	for p := range out {
		cfg := workerConfig(b, p)
		if change != nil {
			change(&cfg)
		}
		w := NewWorker(cfg)
		w.Drain()
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		out[p] = w.Stats()
	}
	return out
}

// alerts reads the alert set as a responder ends up with it: the newest
// revision of every id, encoded.
func alerts(t testing.TB, b *bus.Bus) map[string]string {
	t.Helper()
	set, _ := alertsAndCommits(t, b)
	return set
}

func alertsAndCommits(t testing.TB, b *bus.Bus) (map[string]string, []*bus.Commit) {
	t.Helper()
	got := map[string]alert.Alert{}
	var commits []*bus.Commit
	last, err := b.Last(t.Context(), bus.StreamCommits, "cm.*")
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		t.Fatal(err)
	}
	prev := map[int]uint64{}
	epochs := map[int]uint64{}
	inputs := map[int]uint64{}
	r := b.NewReader(bus.StreamCommits, 1, 64, "cm.*")
	defer r.Stop()
	for n := uint64(0); n < last.Seq; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		d, err := r.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		n = d.Seq
		c, err := bus.DecodeCommit(d.Data)
		if err != nil {
			t.Fatal(err)
		}
		// The chain: each names the one before, epochs and inputs never fall.
		if p, ok := prev[c.Partition]; ok && c.Prev != p {
			t.Errorf("commit %d of partition %d follows %d, the one before is %d", d.Seq, c.Partition, c.Prev, p)
		}
		if c.Epoch < epochs[c.Partition] || c.Input < inputs[c.Partition] {
			t.Errorf("commit %d of partition %d goes back: epoch %d, input %d", d.Seq, c.Partition, c.Epoch, c.Input)
		}
		prev[c.Partition], epochs[c.Partition], inputs[c.Partition] = d.Seq, c.Epoch, c.Input
		commits = append(commits, c)
		for _, raw := range c.Alerts {
			a, err := alert.UnmarshalStored(raw)
			if err != nil {
				t.Fatal(err)
			}
			if old, ok := got[a.ID]; !ok || a.Revision >= old.Revision {
				got[a.ID] = a
			}
		}
	}
	set := map[string]string{}
	for id, a := range got {
		b, err := alert.MarshalStored(&a)
		if err != nil {
			t.Fatal(err)
		}
		set[id] = string(b)
	}
	return set, commits
}

func sameAlerts(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if got[id] != want[id] {
			t.Errorf("alert %s is\n%s\nwant\n%s", id, got[id], want[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if want[id] == "" {
			t.Errorf("alert too many: %s", got[id])
		}
	}
}

// undisturbed is what a trail gives when nothing happens to it.
func undisturbed(t testing.TB, all [][]byte) map[string]string {
	t.Helper()
	b := openBus(t, t.TempDir())
	defer b.Close()
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent()})
	storeAll(t, in, all, 100)
	drainAll(t, b, nil)
	set := alerts(t, b)
	if len(set) == 0 {
		t.Fatal("the trail makes no alert")
	}
	return set
}

func storeAll(t testing.TB, in *Ingester, all [][]byte, step int) {
	t.Helper()
	for from := 0; from < len(all); from += step {
		if err := in.Store(t.Context(), page(all, from, min(from+step, len(all)))); err != nil {
			t.Fatal(err)
		}
	}
}

// stored lists event ids by partition in stream order.
func stored(t testing.TB, b *bus.Bus) (ids []string, frames []*bus.Frame) {
	t.Helper()
	return storedAt(t, b, "ev.>")
}

func storedAt(t testing.TB, b *bus.Bus, filter string) (ids []string, frames []*bus.Frame) {
	t.Helper()
	// What is pending for a reader is the opinion of one server of a cluster.
	last, err := b.Last(t.Context(), bus.StreamEvents, filter)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	r := b.NewReader(bus.StreamEvents, 1, 16, filter)
	defer r.Stop()
	for {
		d, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f, err := bus.DecodeFrame(d.Data)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
		for _, r := range f.Records {
			ev, err := event.Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, ev.ID)
		}
		if d.Seq >= last.Seq {
			return ids, frames
		}
	}
}

// eachOnce checks that records [0, n) are stored, each once.
func eachOnce(t testing.TB, b *bus.Bus, n int) {
	t.Helper()
	ids, frames := stored(t, b)
	count := map[string]int{}
	for _, id := range ids {
		count[id]++
	}
	for i := range n {
		id := fmt.Sprintf("e-%08d", i)
		if count[id] != 1 {
			t.Errorf("record %s is stored %d times", id, count[id])
		}
		delete(count, id)
	}
	if len(count) > 0 {
		t.Errorf("unexpected records: %v", count)
	}
	next := map[string]uint64{}
	for _, f := range frames {
		k := fmt.Sprint(f.Partition, f.Source, f.Shard)
		if f.Counter != next[k]+1 {
			t.Errorf("frame %d of partition %d follows %d", f.Counter, f.Partition, next[k])
		}
		next[k] = f.Counter
	}
}

// patience bounds every wait for something that must come: elections of servers
// that share a slow machine with much else may take most of it.
const patience = 2 * time.Minute

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if ok() {
			return
		}
		wait, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		<-wait.Done()
		cancel()
	}
	t.Fatal("never: " + what)
}

var errBoom = errors.New("boom")
