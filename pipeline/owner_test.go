package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// Every piece has one owner, nobody has more than the share, and who is asked
// and in which order changes nothing.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfNDistinct(rapid.StringMatching(`m[0-9]{3}`), 1, 7, rapid.ID[string]).Draw(t, "members")
		count := rapid.IntRange(1, 64).Draw(t, "count")
		slices.Sort(members)
		got := assign(members, count)
		has := map[string]int{}
		for i, m := range got {
			if !slices.Contains(members, m) {
				t.Fatalf("piece %d belongs to %q", i, m)
			}
			has[m]++
		}
		for _, m := range members {
			if n, share := has[m], count/len(members); n != share && n != share+1 {
				t.Fatalf("%s has %d of %d, share is %d", m, n, count, share)
			}
		}
		shuffled := rapid.Permutation(members).Draw(t, "shuffled")
		if !slices.Equal(assign(shuffled, count), got) {
			t.Fatal("the order of the members matters")
		}
	})
}

func openURL(t testing.TB, url string, replicas int) *bus.Bus {
	t.Helper()
	b, err := bus.Open(context.Background(), bus.Config{URL: url, Partitions: partitions, Replicas: replicas, MaxBytes: 512 << 20, PublishTimeout: 2 * time.Second, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// fast is a lease that runs out while a test waits.
func fast(name string) LeaseConfig { return LeaseConfig{Name: name, TTL: 1500 * time.Millisecond} }

// member is an Owner whose work does nothing but be there.
type member struct {
	*Owner
	mu     sync.Mutex
	has    map[int]bool
	stop   context.CancelFunc
	ended  chan error
	during func(i int, leave <-chan struct{})
}

func join(t testing.TB, b *bus.Bus, name string, count int, all *holders) *member {
	t.Helper()
	m := &member{ended: make(chan error, 1)}
	m.Owner = NewOwner(OwnerConfig{LeaseConfig: fast(name), Bus: b, Kind: "x", Count: count, Logger: silent(), Work: func(ctx context.Context, i int, leave <-chan struct{}) error {
		all.begin(i, name)
		defer all.end(i, name)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-leave:
			return nil
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	done := make(chan struct{})
	go func() { defer close(done); m.ended <- m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

// holders watches that no piece has two workers.
type holders struct {
	mu    sync.Mutex
	now   map[int]string
	since map[int]time.Time
	twice []string
	gap   time.Duration // the longest time a piece was without a worker
	left  map[int]time.Time
}

func newHolders() *holders { return &holders{now: map[int]string{}, left: map[int]time.Time{}} }

func (h *holders) begin(i int, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.now[i]; other != "" {
		h.twice = append(h.twice, fmt.Sprintf("%d: %s and %s", i, other, name))
	}
	if at, ok := h.left[i]; ok {
		h.gap = max(h.gap, time.Since(at))
		delete(h.left, i)
	}
	h.now[i] = name
}

func (h *holders) end(i int, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now[i] == name {
		delete(h.now, i)
		h.left[i] = time.Now()
	}
}

func (h *holders) count() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for _, n := range h.now {
		out[n]++
	}
	return out
}

// atMost is a promised time. A machine that does much else keeps no times: what
// is promised is asked for with TRAILWARDEN_LONG, a minute more otherwise.
func atMost(d time.Duration) time.Duration {
	if long() {
		return d
	}
	return d + time.Minute
}

func TestOwnersShareAndHandOver(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	b := openURL(t, s.URL(), 1)
	all := newHolders()
	const count = 16
	a := join(t, b, "a", count, all)
	eventually(t, "one member has all", func() bool { return all.count()["a"] == count })
	join(t, b, "b", count, all)
	eventually(t, "two members have half each", func() bool { c := all.count(); return c["a"] == 8 && c["b"] == 8 })
	c := join(t, b, "c", count, all)
	eventually(t, "three members share", func() bool {
		n := all.count()
		return len(n) == 3 && n["a"]+n["b"]+n["c"] == count && max(n["a"], n["b"], n["c"]) <= 6
	})
	// A planned end gives everything back.
	a.Close()
	if err := <-a.ended; err != nil {
		t.Fatal(err)
	}
	a.ended <- nil
	eventually(t, "the others have taken over", func() bool { n := all.count(); return n["b"] == 8 && n["c"] == 8 })
	all.mu.Lock()
	t.Logf("longest time without a worker at planned hand-overs: %v", all.gap)
	if all.gap > atMost(time.Second) {
		t.Errorf("a piece was without a worker for %v", all.gap)
	}
	all.gap = 0
	all.mu.Unlock()
	// A member that stops as in a crash is replaced when its leases run out.
	c.stop()
	eventually(t, "the last one has all", func() bool { return all.count()["b"] == count })
	all.mu.Lock()
	defer all.mu.Unlock()
	if ttl := fast("").TTL; all.gap > ttl+atMost(500*time.Millisecond) {
		t.Errorf("take-over took %v, leases last %v", all.gap, ttl)
	}
	if len(all.twice) > 0 {
		t.Errorf("pieces with two workers: %v", all.twice)
	}
}

// A holder that cannot reach the server stops before others take over.
func TestOwnerStopsWhenItCannotRenew(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	wire := bustest.NewWire(t, strings.TrimPrefix(s.URL(), "nats://"))
	all := newHolders()
	a := join(t, openURL(t, "nats://"+wire.Addr(), 1), "a", 4, all)
	eventually(t, "it has all", func() bool { return all.count()["a"] == 4 })
	join(t, openURL(t, s.URL(), 1), "b", 4, all)
	eventually(t, "they share", func() bool { return all.count()["b"] == 2 })
	before := a.Stats().Lost // none, unless the machine was slow
	wire.Cut(true)
	eventually(t, "the other one has all", func() bool { return all.count()["b"] == 4 })
	eventually(t, "it counts two lost leases", func() bool { return a.Stats().Lost == before+2 })
	wire.Cut(false)
	eventually(t, "it is back and they share again", func() bool { n := all.count(); return n["a"] == 2 && n["b"] == 2 })
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.twice) > 0 {
		t.Errorf("pieces with two workers: %v", all.twice)
	}
}

// The environment that makes this test binary a replica of the live loop.
const (
	replicaURL  = "TRAILWARDEN_TEST_REPLICA"
	replicaName = "TRAILWARDEN_TEST_REPLICA_NAME"
	replicaTTL  = "TRAILWARDEN_TEST_REPLICA_TTL"
)

// replica detects and reads alerts until standard input ends; then it hands
// over. It says on standard output what it holds and which alerts it saw.
func replica() bool {
	url := os.Getenv(replicaURL)
	if url == "" {
		return false
	}
	if err := runReplica(url); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	return true
}

func runReplica(url string) error {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Config{URL: url, Partitions: partitions, Replicas: 1, MaxBytes: 512 << 20, Logger: silent()})
	if err != nil {
		return err
	}
	defer b.Close()
	ttl, err := time.ParseDuration(os.Getenv(replicaTTL))
	if err != nil {
		return err
	}
	p, err := New(Config{
		Bus: b, Detect: true, Logger: silent(), Leases: &LeaseConfig{Name: os.Getenv(replicaName), TTL: ttl},
		Worker: WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "r", CommitFrames: 4, CommitEvery: 5 * time.Millisecond, SnapshotFrames: 200},
		Readers: []*AlertReader{{Name: "respond", SaveEvery: 50 * time.Millisecond, Handle: func(_ context.Context, part int, _ uint64, as []alert.Alert) error {
			for _, a := range as {
				fmt.Println("alert", a.ID, a.Revision)
			}
			return nil
		}}},
	})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = p.Close(ctx)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	was := ""
	for {
		select {
		case err := <-done:
			fmt.Println("end")
			return err
		case <-tick.C:
			held := ""
			for _, w := range p.Stats(ctx).Workers {
				if w.State == "running" {
					held += fmt.Sprintf(" %d", w.Partition)
				}
			}
			if held != was {
				was = held
				fmt.Println("holds" + held)
			}
		}
	}
}

// process is a replica under the test's eyes.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	over  chan struct{}
	err   error
}

// fleet runs replicas and remembers what they said.
type fleet struct {
	t   testing.TB
	url string
	ttl time.Duration

	mu    sync.Mutex
	n     int
	holds map[string][]int
	seen  map[string]int
	pause map[int]time.Time
	worst time.Duration
	fault []string
}

func newFleet(t testing.TB, url string, ttl time.Duration) *fleet {
	return &fleet{t: t, url: url, ttl: ttl, holds: map[string][]int{}, seen: map[string]int{}, pause: map[int]time.Time{}}
}

func (f *fleet) start() *process {
	f.t.Helper()
	f.mu.Lock()
	f.n++
	p := &process{name: fmt.Sprintf("replica-%d", f.n), over: make(chan struct{})}
	f.mu.Unlock()
	p.cmd = exec.Command(os.Args[0], "-test.run=^$")
	p.cmd.Env = append(os.Environ(), replicaURL+"="+f.url, replicaName+"="+p.name, replicaTTL+"="+f.ttl.String())
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.stdin, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	go func() {
		defer close(p.over)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			f.say(p.name, sc.Text())
		}
		p.err = p.cmd.Wait()
		f.say(p.name, "holds")
	}()
	f.t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.over })
	return p
}

func (f *fleet) say(name, line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "holds":
		var parts []int
		for _, s := range strings.Fields(rest) {
			n, _ := strconv.Atoi(s)
			parts = append(parts, n)
		}
		f.holds[name] = parts
		// How long partitions are without a worker.
		for part := range partitions {
			owned := false
			for _, h := range f.holds {
				owned = owned || slices.Contains(h, part)
			}
			at, open := f.pause[part]
			switch {
			case owned && open:
				f.worst = max(f.worst, time.Since(at))
				delete(f.pause, part)
			case !owned && !open:
				f.pause[part] = time.Now()
			}
		}
	case "alert":
		id, rev, _ := strings.Cut(rest, " ")
		k, _ := strconv.Atoi(rev)
		f.seen[id] = max(f.seen[id], k)
	case "error":
		f.fault = append(f.fault, name+": "+rest)
	}
}

// owned says how many partitions have exactly one holder, and who holds how
// many.
func (f *fleet) owned() (total int, by map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by = map[string]int{}
	holders := map[int]int{}
	for n, h := range f.holds {
		if len(h) > 0 {
			by[n] = len(h)
		}
		for _, part := range h {
			holders[part]++
		}
	}
	for _, k := range holders {
		if k == 1 {
			total++
		}
	}
	return total, by
}

// takePause returns the longest pause since the last call.
func (f *fleet) takePause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.worst
	f.worst = 0
	return w
}

// end hands over and waits.
func (p *process) end(t testing.TB) {
	t.Helper()
	_ = p.stdin.Close()
	select {
	case <-p.over:
	case <-time.After(patience):
		t.Fatalf("%s does not end", p.name)
	}
	if p.err != nil {
		t.Fatalf("%s: %v", p.name, p.err)
	}
}

// feeder stores a trail slowly while other things happen, and what is left of it
// quickly once it is waited for.
func feeder(ctx context.Context, b *bus.Bus, all [][]byte, every time.Duration) (progress func() int, wait func() error) {
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent()})
	var mu sync.Mutex
	at, step := 0, 20
	done := make(chan error, 1)
	go func() {
		for {
			pos, err := in.Position(ctx, src, 0)
			if err != nil {
				if ctx.Err() != nil {
					done <- err
					return
				}
				continue
			}
			n, _ := ordinal(pos)
			mu.Lock()
			at = int(n)
			to := min(at+step, len(all))
			mu.Unlock()
			if int(n) >= len(all) {
				done <- nil
				return
			}
			if err := in.Store(ctx, page(all, int(n), to)); err != nil && !errors.Is(err, bus.ErrUnknown) && !errors.Is(err, bus.ErrFenced) {
				if pause.For(ctx, 50*time.Millisecond) != nil {
					done <- err
					return
				}
			}
			if pause.For(ctx, every) != nil {
				done <- ctx.Err()
				return
			}
		}
	}()
	progress = func() int { mu.Lock(); defer mu.Unlock(); return at }
	wait = func() error {
		mu.Lock()
		step = 200
		mu.Unlock()
		return <-done
	}
	return progress, wait
}

// check compares what came of it with an undisturbed run.
func (f *fleet) check(b *bus.Bus, want map[string]string, n int, ps []*process) {
	t := f.t
	t.Helper()
	eventually(t, "all alerts were handed on", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for id, raw := range want {
			a, err := alert.UnmarshalStored([]byte(raw))
			if err != nil || f.seen[id] != a.Revision {
				return false
			}
		}
		return true
	})
	for _, p := range ps {
		p.end(t)
	}
	f.mu.Lock()
	if len(f.seen) != len(want) {
		t.Errorf("%d alerts were handed on, want %d", len(f.seen), len(want))
	}
	if len(f.fault) > 0 {
		t.Errorf("replicas failed: %v", f.fault)
	}
	f.mu.Unlock()
	for id, a := range alerts(t, b) {
		if want[id] != a {
			t.Errorf("alert %s is\n%s\nwant\n%s", id, a, want[id])
		}
	}
	// State: one more owner finds what an undisturbed one would.
	var events, dups uint64
	for _, s := range drainAll(t, b, nil) {
		events += s.Evaluated
		dups += s.Duplicates
		if s.Gaps != 0 || s.Rebuilt || s.Refused != 0 || s.Parked != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	if events != uint64(n) || dups != 0 {
		t.Errorf("%d events evaluated (%d twice), want %d", events, dups, n)
	}
}

// Three replicas under load: each is restarted in order, then one that holds
// partitions is killed. No alert is lost or another one, and the pauses are
// what they should be, with the times of production.
// refusals notes when a message was logged.
type refusals struct {
	slog.Handler
	mu sync.Mutex
	at []time.Time
}

func (r *refusals) Enabled(context.Context, slog.Level) bool { return true }
func (r *refusals) WithAttrs([]slog.Attr) slog.Handler       { return r }

func (r *refusals) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec.Message == "no sign of life could be given" {
		r.at = append(r.at, rec.Time)
	}
	return nil
}

func (r *refusals) all() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

// A store that refuses at once, as one without room does, is not asked again at
// once: that took a whole core, and filled the log.
func TestOwnerDoesNotHurry(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	b := openURL(t, s.URL(), 1)
	log := &refusals{Handler: slog.DiscardHandler}
	o := NewOwner(OwnerConfig{LeaseConfig: fast("a"), Bus: b, Kind: "x", Count: 2, Logger: slog.New(log), Work: func(ctx context.Context, _ int, leave <-chan struct{}) error {
		select {
		case <-ctx.Done():
		case <-leave:
		}
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	eventually(t, "it holds both", func() bool { return len(o.Stats().Held) == 2 })
	js := b.JetStream()
	st, err := js.Stream(ctx, "KV_"+bus.LeaseBucket)
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.MaxBytes, cfg.Discard = 1, jetstream.DiscardNew
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is refused five times", func() bool { return len(log.all()) >= 5 })
	cancel()
	<-ended
	at := log.all()
	for i := range at[1:] {
		if d := at[i+1].Sub(at[i]); d < o.again() {
			t.Fatalf("%d signs of life, one %s after the other", len(at), d)
		}
	}
}

func TestRollingRestartAndKilledOwner(t *testing.T) {
	if testing.Short() {
		t.Skip("leases of production take their time")
	}
	s := bustest.Start(t, bustest.Options{})
	b := openURL(t, s.URL(), 1)
	const n = 12000
	all := trail(n)
	want := undisturbed(t, all)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	progress, wait := feeder(ctx, b, all, 15*time.Millisecond)
	f := newFleet(t, s.URL(), 10*time.Second)
	var ps []*process
	for range 3 {
		ps = append(ps, f.start())
	}
	spread := func(k int) func() bool {
		return func() bool { total, by := f.owned(); return total == partitions && len(by) == k }
	}
	eventually(t, "three replicas share the partitions", spread(3))
	f.takePause()
	for i, p := range ps {
		p.end(t)
		eventually(t, "two replicas have all", spread(2))
		ps[i] = f.start()
		eventually(t, "three replicas share again", spread(3))
	}
	planned := f.takePause()
	// Nothing moves any more when one is killed.
	_, was := f.owned()
	still := time.Now()
	eventually(t, "the shares are settled", func() bool {
		if _, by := f.owned(); !maps.Equal(by, was) {
			was, still = by, time.Now()
		}
		return spread(3)() && time.Since(still) > time.Second
	})
	f.takePause()
	from := progress()
	dead := slices.IndexFunc(ps, func(p *process) bool { _, by := f.owned(); return by[p.name] > 0 })
	_ = ps[dead].cmd.Process.Kill()
	<-ps[dead].over
	eventually(t, "the others have taken over", spread(2))
	killed := f.takePause()
	t.Logf("longest pause of a partition: planned %v, owner killed %v; load went from record %d to %d meanwhile", planned, killed, from, progress())
	if planned > atMost(2*time.Second) {
		t.Errorf("a planned hand-over took %v", planned)
	}
	if killed > atMost(10*time.Second) || killed == 0 {
		t.Errorf("taking over from a dead owner took %v", killed)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is evaluated", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.seen) == len(want)
	})
	f.check(b, want, n, slices.Delete(ps, dead, dead+1))
}
