package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

func TestWorkersCommitAlerts(t *testing.T) {
	all := trail(1000)
	b := openBus(t, t.TempDir())
	storeAll(t, newIngester(b), all, 100)
	stats := drainAll(t, b, nil)
	set, commits := alertsAndCommits(t, b)
	// One alert per account and hour, as the grouper folds them.
	n := 0
	for i := range all {
		if i%7 == 3 {
			n++
		}
	}
	var detections, evaluated uint64
	for _, s := range stats {
		detections += s.Detections
		evaluated += s.Evaluated
		if s.State != "stopped" || s.Lag != 0 || s.Committed != s.Input || s.Gaps != 0 || s.Snapshots != 1 {
			t.Errorf("stats %+v", s)
		}
	}
	if int(detections) != n || evaluated != 1000 || len(set) != 13 {
		t.Errorf("%d detections of %d, %d events, %d alerts", detections, n, evaluated, len(set))
	}
	var last *bus.Commit
	for _, c := range commits {
		if c.Partition == 0 {
			last = c
		}
	}
	if last.Rules != "rules-1" || last.Owner != "test" || len(last.Positions) != 1 || number(t, last.Positions[0].To) != 1000 || last.Watermark.IsZero() || last.Counters != stats[0].Counters {
		t.Errorf("last commit %+v", last)
	}
	sameAlerts(t, set, undisturbed(t, all))
}

// Idle partitions cost nothing: no commit without frames, none per frame
// without alerts.
func TestCommitsAreFew(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	for i := range 300 {
		p := source.Page{Source: src, From: cursor(i), To: cursor(i + 1), Records: [][]byte{rec(i, account(1), "DescribeInstances")}, Received: epoch}
		if err := in.Store(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	drainAll(t, b, func(c *WorkerConfig) { c.CommitEvery = time.Hour })
	_, commits := alertsAndCommits(t, b)
	byPartition := map[int]int{}
	for _, c := range commits {
		byPartition[c.Partition]++
	}
	busy := event.Partition(account(1), partitions)
	for p, n := range byPartition {
		want := 2 // the fence and the orderly end
		if p == busy {
			want = 1 + 300/64 + 1
		}
		if n != want {
			t.Errorf("partition %d has %d commits, want %d", p, n, want)
		}
	}
}

// An alert is committed when its frame is evaluated, with no timer in between.
func TestAlertsAreCommittedAtOnce(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	p := event.Partition(account(1), partitions)
	cfg := workerConfig(b, p)
	cfg.CommitEvery = time.Hour
	w := NewWorker(cfg)
	running(t, w)
	if err := in.Store(t.Context(), source.Page{Source: src, From: cursor(0), To: cursor(1), Records: [][]byte{rec(3, account(1), "CreateAccessKey")}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := errors.New("got it")
	err := ReadAlerts(ctx, b, nil, func(_ context.Context, part int, seq uint64, as []alert.Alert) error {
		if part != p || seq == 0 || len(as) != 1 || as[0].Rule != "iam-accesskey-created" || as[0].Playbook != "disable-key" || as[0].Revision != 1 {
			t.Errorf("partition %d, seq %d, alerts %+v", part, seq, as)
		}
		return got
	})
	if !errors.Is(err, got) {
		t.Fatal(err)
	}
	eventually(t, "the statistics say so", func() bool { s := w.Stats(); return s.CommitP50 > 0 && s.State == "running" && s.Committed == s.Input })
}

// Workers that die at any point and are started again give the alerts of one
// that did not, whatever snapshots there are.
func TestRestartsDoNotChangeAlerts(t *testing.T) {
	all := trail(3000)
	want := undisturbed(t, all)
	for _, every := range []int{1, 3, 1000} {
		t.Run(fmt.Sprintf("snapshot every %d", every), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(every)))
			b := openBus(t, t.TempDir())
			in := newIngester(b)
			for from := 0; from < len(all); {
				to := min(from+1+rng.IntN(120), len(all))
				if err := in.Store(t.Context(), page(all, from, to)); err != nil {
					t.Fatal(err)
				}
				from = to
				if rng.IntN(3) > 0 {
					continue
				}
				cfg := workerConfig(b, rng.IntN(partitions))
				cfg.SnapshotFrames, cfg.CommitFrames, cfg.BatchFrames = every, 1+rng.IntN(5), 1+rng.IntN(5)
				inner := cfg.NewEngine
				ctx, cancel := context.WithCancel(t.Context())
				left := int64(rng.IntN(200))
				cfg.NewEngine = func(p int) Engine {
					e := inner(p).(*fakeEngine)
					e.log = func(string) {
						if left--; left == 0 {
							cancel()
						}
					}
					return e
				}
				w := NewWorker(cfg)
				if rng.IntN(2) == 0 {
					w.Drain()
				} else {
					left = 1 + left/4
				}
				done := make(chan error, 1)
				go func() { done <- w.Run(ctx) }()
				eventually(t, "the worker ends or is through", func() bool {
					select {
					case err := <-done:
						done <- err
						return true
					default:
						s := w.Stats()
						return s.State == "running" && s.Lag == 0
					}
				})
				cancel()
				if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			stats := drainAll(t, b, func(c *WorkerConfig) { c.SnapshotFrames = every })
			sameAlerts(t, alerts(t, b), want)
			for _, s := range stats {
				if s.Gaps != 0 || s.Rebuilt || s.Refused != 0 || s.Duplicates != 0 {
					t.Errorf("stats %+v", s)
				}
			}
			more := trail(len(all) + 200)
			for from := len(all); from < len(more); from += 100 {
				if err := in.Store(t.Context(), page(more, from, from+100)); err != nil {
					t.Fatal(err)
				}
				drainAll(t, b, nil)
			}
			st, err := b.State(t.Context(), bus.StreamEvents)
			if err != nil {
				t.Fatal(err)
			}
			if st.Msgs > 2*partitions {
				t.Errorf("%d frames are kept although all but the last are in two snapshots", st.Msgs)
			}
			if got := position(t, newIngester(b)); got != len(more) {
				t.Errorf("position %d after frames were removed", got)
			}
		})
	}
}

// The former owner of a partition cannot commit, stops, and what it evaluated
// has no effect.
func TestFence(t *testing.T) {
	all := trail(400)
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	if err := in.Store(t.Context(), page(all, 0, 200)); err != nil {
		t.Fatal(err)
	}
	p := 1
	first := NewWorker(workerConfig(b, p))
	end, _ := running(t, first)
	eventually(t, "the first worker is through", func() bool { s := first.Stats(); return s.Committed > 0 && s.Lag == 0 })
	cfg := workerConfig(b, p)
	cfg.Owner = "second"
	second := NewWorker(cfg)
	running(t, second)
	eventually(t, "the second worker runs", func() bool { return second.Stats().State == "running" })
	if err := in.Store(t.Context(), page(all, 200, 400)); err != nil {
		t.Fatal(err)
	}
	if err := <-end; !errors.Is(err, bus.ErrFenced) {
		t.Fatalf("the first worker ended with %v", err)
	}
	if s := first.Stats(); s.State != "fenced" {
		t.Errorf("state %q", s.State)
	}
	eventually(t, "the second worker is through", func() bool {
		last, err := b.Last(t.Context(), bus.StreamEvents, fmt.Sprintf("ev.%d.*", p))
		return err == nil && second.Stats().Committed == last.Seq
	})
	// With an epoch that is over, nobody takes over.
	cfg.Epoch = second.Stats().Epoch
	bounded, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := NewWorker(cfg).Run(bounded); !errors.Is(err, bus.ErrFenced) {
		t.Errorf("a worker with an old epoch ended with %v", err)
	}
	if _, epochs := first.Stats().Epoch, second.Stats().Epoch; epochs != 2 {
		t.Errorf("epoch %d", epochs)
	}
	cfg.Epoch = 0
	for q := range partitions {
		if q != p {
			w := NewWorker(workerConfig(b, q))
			w.Drain()
			if err := w.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	sameAlerts(t, alerts(t, b), want)
}

// Many workers fight for one partition all the time.
func TestContestedPartition(t *testing.T) {
	all := trail(600)
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	ctx, cancel := context.WithCancel(t.Context())
	var fights atomic.Int64
	done := make(chan struct{})
	for k := range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				cfg := workerConfig(b, 2)
				cfg.Owner, cfg.SnapshotFrames, cfg.CommitFrames = fmt.Sprint("w", k), 5, 1
				err := NewWorker(cfg).Run(ctx)
				if err != nil && !errors.Is(err, bus.ErrFenced) && ctx.Err() == nil {
					t.Error(err)
				}
				fights.Add(1)
			}
		}()
	}
	for from := 0; from < len(all); from += 10 {
		if err := in.Store(t.Context(), page(all, from, from+10)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the partition changed hands", func() bool { return fights.Load() > 5 })
	cancel()
	for range 3 {
		<-done
	}
	drainAll(t, b, nil)
	sameAlerts(t, alerts(t, b), want)
}

func TestPanicIsParked(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(50)
	all[20] = rec(20, account(1), "Panic")
	if err := in.Store(t.Context(), page(all, 0, 50)); err != nil {
		t.Fatal(err)
	}
	p := event.Partition(account(1), partitions)
	for range 2 { // a second evaluation parks nothing more
		cfg := workerConfig(b, p)
		w := NewWorker(cfg)
		w.Drain()
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Recovered == 0 && s.Parked != 1 {
			t.Errorf("stats %+v", s)
		}
	}
	var got []bus.Parked
	if err := b.EachParked(t.Context(), func(p bus.Parked) bool { got = append(got, p); return true }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Reason != "panic" || !strings.Contains(got[0].Message, "rule r1: index out of range") ||
		!strings.Contains(got[0].Stack, "fakeEngine") || string(got[0].Raw) != string(all[20]) || got[0].Partition != p {
		t.Fatalf("parked %+v", got)
	}
	if ids, _ := stored(t, b); len(ids) != 50 {
		t.Error("the frame is not whole")
	}
}

// damage changes the snapshots of a partition through the store.
func damage(t *testing.T, b *bus.Bus, p int, both bool) {
	t.Helper()
	js, err := b.JetStream().Stream(t.Context(), bus.StreamSnap)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.State(t.Context(), bus.StreamSnap)
	if err != nil {
		t.Fatal(err)
	}
	for seq, hit := st.Last, 0; seq >= st.First && (both || hit < 1); seq-- {
		m, err := b.At(t.Context(), bus.StreamSnap, seq)
		if err == nil && strings.HasPrefix(m.Subject, fmt.Sprintf("snap.%d.", p)) {
			if err := js.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
			hit++
		}
	}
}

func TestSnapshotDamage(t *testing.T) {
	all := trail(1200)
	want := undisturbed(t, all)
	for _, tc := range []struct {
		name    string
		both    bool
		refused uint64
		rebuilt bool
	}{
		{"newer", false, 1, false},
		{"both", true, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := openBus(t, t.TempDir())
			in := newIngester(b)
			for from := 0; from < 900; from += 30 {
				if err := in.Store(t.Context(), page(all, from, from+30)); err != nil {
					t.Fatal(err)
				}
				if from%300 == 270 {
					drainAll(t, b, nil)
				}
			}
			// Three snapshots were made, two are kept; nothing before the
			// older one is left but each shard's last page.
			damage(t, b, 1, tc.both)
			if err := in.Store(t.Context(), page(all, 900, 1200)); err != nil {
				t.Fatal(err)
			}
			stats := drainAll(t, b, nil)
			if s := stats[1]; s.Refused != tc.refused || s.Rebuilt != tc.rebuilt || s.Recovered == 0 {
				t.Errorf("stats %+v", s)
			}
			if stats[0].Refused != 0 || stats[0].Recovered != 0 {
				t.Errorf("another partition was touched: %+v", stats[0])
			}
			if !tc.rebuilt {
				sameAlerts(t, alerts(t, b), want)
			}
		})
	}
}

// Without any snapshot, and with all frames, the state is rebuilt whole.
func TestRebuildFromFrames(t *testing.T) {
	all := trail(600)
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	if err := in.Store(t.Context(), page(all, 0, 300)); err != nil {
		t.Fatal(err)
	}
	drainAll(t, b, nil)
	for p := range partitions {
		damage(t, b, p, true)
	}
	if err := in.Store(t.Context(), page(all, 300, 600)); err != nil {
		t.Fatal(err)
	}
	for _, s := range drainAll(t, b, nil) {
		if s.Refused != 1 || s.Rebuilt || s.Recovered == 0 {
			t.Errorf("stats %+v", s)
		}
	}
	sameAlerts(t, alerts(t, b), want)
}

// An engine that refuses a state (another version) gets the older one or
// starts over.
func TestEngineRefusesState(t *testing.T) {
	all := trail(300)
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	storeAll(t, in, all, 100)
	drainAll(t, b, nil)
	stats := drainAll(t, b, func(c *WorkerConfig) {
		c.NewEngine = func(int) Engine { return refusing{newFake(0).(*fakeEngine)} }
	})
	for _, s := range stats {
		if s.Refused != 1 || s.Recovered == 0 {
			t.Errorf("stats %+v", s)
		}
	}
	sameAlerts(t, alerts(t, b), want)
}

type refusing struct{ *fakeEngine }

func (refusing) Restore([]byte) error { return errBoom }

// A frame that was lost or damaged in the store is counted and named, and the
// rest goes on.
func TestLostAndDamagedFrames(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(400)
	storeAll(t, in, all, 100)
	js, err := b.JetStream().Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	r := b.NewReader(bus.StreamEvents, 1, 4, "ev.3.*")
	defer r.Stop()
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteMsg(t.Context(), d.Seq); err != nil {
		t.Fatal(err)
	}
	last, err := b.Last(t.Context(), bus.StreamEvents, "ev.3.*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Publish{Stream: bus.StreamEvents, Subject: last.Subject, Data: []byte("TWF no frame")}); err != nil {
		t.Fatal(err)
	}
	stats := drainAll(t, b, nil)
	if s := stats[3]; s.Gaps != 1 || s.Parked != 1 || s.State != "stopped" {
		t.Errorf("stats %+v", s)
	}
	if stats[0].Gaps != 0 {
		t.Errorf("stats %+v", stats[0])
	}
	if counts, _ := b.ParkedCounts(t.Context()); counts["bad-frame"] != 1 {
		t.Errorf("parked %v", counts)
	}
	// The ingester goes on behind the damaged frame.
	in = newIngester(b)
	if got := position(t, in); got != 400 {
		t.Fatal(got)
	}
	if err := in.Store(t.Context(), page(trail(500), 400, 500)); err != nil {
		t.Fatal(err)
	}
	if s := drainAll(t, b, nil)[3]; s.Gaps != 2 || s.Evaluated == 0 {
		t.Errorf("stats %+v", s)
	}
}

// A step with more alerts than a record holds is committed in several, and a
// crash between them doubles nothing.
func TestLargeSteps(t *testing.T) {
	alerts := make([][]byte, 9)
	for i := range alerts {
		alerts[i] = make([]byte, 1<<20)
	}
	parts := cutAlerts(alerts)
	n := 0
	for _, p := range parts {
		n += len(p)
		if len(p) > 4 {
			t.Errorf("%d MiB in one part", len(p))
		}
	}
	if n != 9 || len(cutAlerts(nil)) != 1 {
		t.Errorf("%d alerts after cutting", n)
	}

	b := openBus(t, t.TempDir())
	in := newIngester(b)
	records := make([][]byte, 256)
	for i := range records {
		records[i] = rec(i, account(1), "CreateAccessKey")
	}
	if err := in.Store(t.Context(), source.Page{Source: src, From: cursor(0), To: cursor(1), Records: records, Received: epoch}); err != nil {
		t.Fatal(err)
	}
	p := event.Partition(account(1), partitions)
	cfg := workerConfig(b, p)
	cfg.NewEngine = func(int) Engine { return &wordy{fakeEngine: newFake(0).(*fakeEngine)} }
	w := NewWorker(cfg)
	w.Drain()
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	set, commits := alertsAndCommits(t, b)
	if len(set) != 256 {
		t.Errorf("%d alerts", len(set))
	}
	split := 0
	for _, c := range commits {
		if c.Part {
			split++
			if c.Input != 0 {
				t.Errorf("a part moves the input to %d", c.Input)
			}
		}
	}
	if split < 2 {
		t.Errorf("%d parts for 256 alerts of 10 KiB that do not compress", split)
	}
}

// wordy makes an alert of each event, with details that do not compress.
type wordy struct {
	*fakeEngine
	rng *rand.Rand
}

func (w *wordy) Take() []alert.Detection {
	if w.rng == nil {
		w.rng = rand.New(rand.NewPCG(1, 2))
	}
	out := w.fakeEngine.Take()
	for i := range out {
		out[i].Key = out[i].EventIDs[0]
		var s strings.Builder
		for range 10 << 10 {
			s.WriteByte(byte('!' + w.rng.IntN(90)))
		}
		out[i].Details = map[string]any{"text": s.String()}
	}
	return out
}

func TestHugeAlertLosesItsDetailsOnly(t *testing.T) {
	w := &Worker{log: silent()}
	a := &alert.Alert{Schema: alert.Schema, ID: "x", Rule: "r", Severity: alert.High, Revision: 3, Details: map[string]any{"big": strings.Repeat("a", 1<<20)}}
	for _, details := range []map[string]any{a.Details, {"f": func() {}}} {
		a.Details = details
		raw, err := w.storeAlert(a)
		if err != nil || len(raw) > maxStoredAlert {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		got, err := alert.UnmarshalStored(raw)
		if err != nil || got.ID != "x" || got.Revision != 3 || got.Details["omitted"] == nil {
			t.Errorf("%+v %v", got, err)
		}
	}
}

// The store lost its newest frames after they were committed. They come again
// with numbers used before, are evaluated, and known events are dropped.
func TestStoreLostItsEnd(t *testing.T) {
	dir := t.TempDir()
	b := openBus(t, dir)
	in := newIngester(b)
	all := trail(400)
	storeAll(t, in, all, 100)
	drainAll(t, b, nil)
	before := alerts(t, b)
	b.Close()
	// EVENTS is made anew and gets half of it.
	b, err := bus.Open(t.Context(), bus.Config{Dir: dir, MaxBytes: 256 << 20, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.JetStream().DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b, err = bus.Open(t.Context(), bus.Config{Dir: dir, MaxBytes: 256 << 20, Logger: silent(), Adopt: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	in = newIngester(b)
	if got := position(t, in); got != 0 {
		t.Fatal(got)
	}
	more := trail(500)
	storeAll(t, in, more, 50)
	stats := drainAll(t, b, nil)
	set, _ := latest(t, b)
	var evaluated, dup uint64
	for _, s := range stats {
		evaluated += s.Evaluated
		dup += s.Duplicates
		if s.Gaps == 0 {
			t.Errorf("the loss is not counted: %+v", s)
		}
	}
	if evaluated != 500 || dup != 400 {
		t.Errorf("%d events evaluated, %d recognised", evaluated, dup)
	}
	for id := range before {
		if set[id].ID == "" {
			t.Errorf("alert %s is gone", id)
		}
	}
}

// latest reads the alerts without checking the chain.
func latest(t testing.TB, b *bus.Bus) (map[string]alert.Alert, int) {
	t.Helper()
	st, err := b.State(t.Context(), bus.StreamCommits)
	if err != nil {
		t.Fatal(err)
	}
	got, n := map[string]alert.Alert{}, 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := readCommits(ctx, b, nil, func(_ context.Context, _ int, seq uint64, as []alert.Alert, d bus.Delivery) error {
		for _, a := range as {
			n++
			if a.Revision >= got[a.ID].Revision {
				got[a.ID] = a
			}
		}
		if d.Pending == 0 || seq >= st.Last {
			return errBoom
		}
		return nil
	}); !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	return got, n
}

// A shard that is silent while frames are removed, with a page that was
// interrupted, keeps its position, and what it stored of the page is still
// recognised; also when smaller pages have begun to finish it.
func TestSilentShardKeepsItsPlace(t *testing.T) {
	// Marks go where the interrupted page has stored a frame.
	silentShard := 1
	for int(bus.ShardToken(src, silentShard)[0])%partitions != 0 {
		silentShard++
	}
	for _, finished := range []int{100, 130} {
		t.Run(fmt.Sprint("finished to ", finished), func(t *testing.T) {
			b := openBus(t, t.TempDir())
			in := newIngester(b)
			all := trail(600)
			at := func(from, to int) source.Page {
				p := page(all, from, to)
				p.Shard = silentShard
				return p
			}
			if err := in.Store(t.Context(), at(0, 100)); err != nil {
				t.Fatal(err)
			}
			interrupted(t, in, at(100, 200), 2)
			for i := 100; i < finished; i++ {
				if err := in.Store(t.Context(), at(i, i+1)); err != nil {
					t.Fatal(err)
				}
			}
			for from := 0; from < 400; from += 100 {
				if err := in.Store(t.Context(), page(all, from, from+100)); err != nil {
					t.Fatal(err)
				}
				drainAll(t, b, nil)
			}
			st, err := b.State(t.Context(), bus.StreamEvents)
			if err != nil || int(st.Last-st.Msgs) < partitions {
				t.Fatalf("%+v: nothing was removed (%v)", st, err)
			}
			in = newIngester(b)
			if pos, err := in.Position(t.Context(), src, silentShard); err != nil || number(t, pos) != finished {
				t.Fatalf("position %q, %v", pos, err)
			}
			if err := in.Store(t.Context(), at(finished, 250)); err != nil {
				t.Fatal(err)
			}
			if s := in.Stats(); int(s.Records+s.Repeated) != 250-finished || s.Repeated == 0 {
				t.Errorf("stats %+v", s)
			}
			var events, dups uint64
			for _, s := range drainAll(t, b, nil) {
				events += s.Evaluated
				dups += s.Duplicates
				if s.Gaps != 0 {
					t.Errorf("stats %+v", s)
				}
			}
			// Ids of the silent shard are those of the other one, too.
			if events != 400 || dups != 250 {
				t.Errorf("%d events, %d repeated", events, dups)
			}
		})
	}
}
