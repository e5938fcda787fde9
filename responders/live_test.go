package responders_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// store is a real embedded server on a directory.
func store(t testing.TB, dir string) (j *journal.JetStream, stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "responders-test", JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, NoLog: true, SyncAlways: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.ReconnectBufSize(-1), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if j, err = journal.OpenJetStream(t.Context(), js, journal.Options{}); err != nil {
		t.Fatal(err)
	}
	return j, func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
	}
}

func liveProcess(t testing.TB, w *world, j Journal, c *chat) (*Dispatcher, *Machine, func()) {
	t.Helper()
	o := w.options()
	o.Journal, o.Owner = j, "one"
	m, err := NewMachine(o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDispatcher(DispatcherOptions{Journal: j, Machine: m, Playbooks: autoPlaybooks(), Destinations: []Destination{{Notifier: c}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return d, m, func() { cancel(); wg.Wait() }
}

// until polls a condition; the work goes on in goroutines with real timers.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for: %s", what)
}

// The whole way on the real journal, with a stop in the middle of the call to
// the cloud, and an undo by the next process.
func TestOnJetStream(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t)
	w.clock.fn = time.Now
	w.noOracle = true // the oracle reads the memory journal, which is not used here
	slack := w.chat("slack")
	w.cloud.slow = make(chan struct{})

	j, stopStore := store(t, dir)
	d, _, stop := liveProcess(t, w, j, slack)
	a := w.leaked("a1")
	if err := d.Handle(ctxb, 3, 41, []alert.Alert{a}); err != nil {
		t.Fatal(err)
	}
	var id string
	until(t, "executing", func() bool {
		_, l, err := d.Alert(ctxb, "a1")
		if err != nil || len(l) != 1 {
			return false
		}
		id = l[0].ID
		return l[0].State == Executing
	})
	stop()
	stopStore()

	close(w.cloud.slow)
	j, stopStore = store(t, dir)
	defer stopStore()
	d, m, stop := liveProcess(t, w, j, slack)
	defer stop()
	until(t, "done", func() bool {
		x, err := m.Show(ctxb, id)
		return err == nil && x.State == Done
	})
	if c, err := d.Cursor(ctxb, 3); err != nil || c != 41 {
		t.Fatalf("cursor %d %v", c, err)
	}
	if n := w.cloud.totalEffects("Execute"); n != 1 {
		t.Fatalf("%d effects", n)
	}
	if x, err := m.Undo(ctxb, id, "dave"); err != nil || x.State != Undone || w.cloud.status(aliceAK) != "Active" {
		t.Fatalf("%s %v", x.State, err)
	}
	until(t, "the message shows the undo", func() bool {
		ms := slack.of("a1")
		return len(ms) == 1 && len(ms[0].last.Actions) == 1 && ms[0].last.Actions[0].State == Undone
	})
	if r, err := j.Verify(ctxb); err != nil || !r.OK() || r.Records < 12 {
		t.Fatalf("%+v %v", r, err)
	}
}

// BenchmarkAlertToContained is the way from Handle to an inactive key on the
// real journal with fsync, without the cloud's own time.
func BenchmarkAlertToContained(b *testing.B) {
	j, stopStore := store(b, b.TempDir())
	defer stopStore()
	w := newWorld(b)
	w.clock.fn = time.Now
	w.noOracle = true
	d, m, stop := liveProcess(b, w, j, w.chat("slack"))
	defer stop()
	seq := uint64(0)
	for b.Loop() {
		b.StopTimer()
		seq++
		w.cloud.set(aliceAK, "Active")
		a := w.leaked(number(seq))
		b.StartTimer()
		if err := d.Handle(ctxb, 0, seq, []alert.Alert{a}); err != nil {
			b.Fatal(err)
		}
		for w.cloud.status(aliceAK) != "Inactive" {
			l, err := m.ForAlert(ctxb, a.ID)
			if err != nil || len(l) == 0 {
				b.Fatal(err)
			}
			if l[0].State == Proposed && l[0].NeedsPerson { // the cap: as a person would
				if _, err := m.Approve(ctxb, l[0].ID, "dave", l[0].Hash); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

func number(n uint64) string {
	s := []byte("0000000000")
	for i := len(s) - 1; n > 0; i-- {
		s[i] = byte('0' + n%10)
		n /= 10
	}
	return string(s)
}

// BenchmarkHandle is the cost of taking one new alert durably, with one
// destination and no action.
func BenchmarkHandle(b *testing.B) {
	for _, name := range []string{"memory", "jetstream"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.clock.fn = time.Now
			var j Journal = w.mem
			if name == "jetstream" {
				js, stop := store(b, b.TempDir())
				defer stop()
				j = js
			}
			m, err := NewMachine(MachineOptions{Journal: j})
			if err != nil {
				b.Fatal(err)
			}
			d, err := NewDispatcher(DispatcherOptions{Journal: j, Machine: m, Destinations: []Destination{{Notifier: w.chat("slack")}}})
			if err != nil {
				b.Fatal(err)
			}
			seq := uint64(0)
			for b.Loop() {
				seq++
				if err := d.Handle(ctxb, 0, seq, []alert.Alert{w.plain(number(seq), "r", alert.High)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
