package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// The environment that makes this test binary a worker that dies of a record.
const victimDir = "TRAILWARDEN_TEST_VICTIM"

// mortalEngine ends the process when it is given a certain record, as a stack
// overflow or a runtime failure would.
type mortalEngine struct{ Engine }

func (m mortalEngine) Apply(ev *event.Event, shard string) {
	if ev.Name == "Die" {
		os.Exit(66)
	}
	m.Engine.Apply(ev, shard)
}

// unlucky makes the victim one that is killed from outside, a moment after it
// has begun, while it is at the record; the record is harmless.
const unlucky = "TRAILWARDEN_TEST_UNLUCKY"

// slowEngine is at the record until the process is killed.
type slowEngine struct{ Engine }

func (s slowEngine) Apply(ev *event.Event, shard string) {
	if ev.Name == "Die" {
		select {}
	}
	s.Engine.Apply(ev, shard)
}

func victim() bool {
	dir := os.Getenv(victimDir)
	if dir == "" {
		return false
	}
	if err := runVictim(dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	return true
}

func runVictim(dir string) error {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Config{Dir: dir, Partitions: partitions, MaxBytes: 256 << 20, Logger: silent()})
	if err != nil {
		return err
	}
	defer b.Close()
	wc := WorkerConfig{NewGrouper: newGrouper, Rules: "r", SnapshotFrames: 15}
	if os.Getenv(unlucky) == "" {
		wc.NewEngine = func(p int) Engine { return mortalEngine{newFake(p)} }
		wc.lastAttemptAfter = time.Millisecond
	} else {
		wc.NewEngine = func(p int) Engine { return slowEngine{newFake(p)} }
		wc.lastAttemptAfter = time.Hour // on a busy machine the end may come late
	}
	p, err := New(Config{Bus: b, Detect: true, Logger: silent(), Worker: wc})
	if err != nil {
		return err
	}
	if os.Getenv(unlucky) != "" {
		go func() {
			for range time.Tick(time.Millisecond) {
				// Those that were asked to end before they were looked at are draining.
				if slices.ContainsFunc(p.Workers(), func(s WorkerStats) bool { return s.State == "running" || s.State == "draining" }) {
					break
				}
			}
			time.Sleep(150 * time.Millisecond)
			os.Exit(66)
		}()
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := p.Close(ctx); err != nil {
		return err
	}
	return <-done
}

// Records that end the process, in the middle of a history, two of them in one
// frame: after some starts each is parked, everything else is evaluated once,
// and the alerts are those of the same history without them.
func TestRecordsThatEndTheProcess(t *testing.T) {
	all := trail(3000)
	clean := make([][]byte, 0, len(all))
	deadly := []int{700, 1503, 1504, 2999}
	for _, i := range deadly {
		// One account, so that two are in one frame.
		all[i] = rec(i, account(5), "Die")
	}
	for _, r := range all {
		if !strings.Contains(string(r), `"Die"`) {
			clean = append(clean, r)
		}
	}
	// The alerts tell how much was evaluated before them, so they show any
	// record that was left out or repeated.
	want := undisturbed(t, clean)
	dir := t.TempDir()
	b := openBus(t, dir)
	storeAll(t, NewIngester(IngesterConfig{Bus: b, Logger: silent()}), all, 100)
	b.Close()
	starts := 0
	for ; ; starts++ {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err == nil {
			break
		}
		if !errors.As(err, &exit) || exit.ExitCode() != 66 {
			t.Fatalf("start %d: %v: %s", starts, err, out)
		}
		if starts > 30 {
			t.Fatal("it does not get over the records")
		}
	}
	t.Logf("%d records, %d ends of the process", len(deadly), starts)
	b = openBus(t, dir)
	parked := map[string]bool{}
	if err := b.EachParked(t.Context(), func(p bus.Parked) bool {
		parked[string(p.Raw)] = true
		if p.Reason != killReason {
			t.Errorf("parked as %s: %s", p.Reason, p.Raw)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, i := range deadly {
		if !parked[string(all[i])] {
			t.Errorf("record %d is not parked", i)
		}
	}
	if len(parked) != len(deadly) {
		t.Errorf("%d records are parked, want %d", len(parked), len(deadly))
	}
	sameAlerts(t, alerts(t, b), want)
	// The records are left out for ever, also when the state is rebuilt.
	var events, park uint64
	for _, s := range drainAll(t, b, func(c *WorkerConfig) { c.NewEngine = func(p int) Engine { return mortalEngine{newFake(p)} } }) {
		events += s.Evaluated
		park += s.Parked
	}
	if events != uint64(len(clean)) || park != uint64(len(deadly)) {
		t.Errorf("%d evaluated and %d parked, want %d and %d", events, park, len(clean), len(deadly))
	}
}

// A process that is killed soon after each start is at the same record each time
// once it goes by the marker of the one before; the record is not to blame.
func TestKilledAtTheSameRecord(t *testing.T) {
	all := trail(300)
	all[70] = rec(70, account(5), "Die")
	want := undisturbed(t, all)
	dir := t.TempDir()
	b := openBus(t, dir)
	storeAll(t, NewIngester(IngesterConfig{Bus: b, Logger: silent()}), all, 100)
	b.Close()
	for n := range 9 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir, unlucky+"=1")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 66 {
			t.Fatalf("start %d: %v: %s", n, err, out)
		}
	}
	b = openBus(t, dir)
	for _, s := range drainAll(t, b, nil) {
		if s.Parked != 0 || s.Gaps != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	sameAlerts(t, alerts(t, b), want)
}

// Ends that have another reason only slow the next start down: nothing is
// parked, and an orderly end is not counted.
func TestUncleanEndsParkNothing(t *testing.T) {
	b := openBus(t, t.TempDir())
	all := trail(400)
	want := undisturbed(t, all)
	for range 3 { // orderly, without any work
		w := NewWorker(workerConfig(b, 0))
		w.HandOver()
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.tries != 1 {
			t.Errorf("an orderly end counts: %d", w.tries)
		}
	}
	for i := range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		w := NewWorker(workerConfig(b, 0))
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		eventually(t, "it runs", func() bool { return w.Stats().State == "running" })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if w.tries != i+1 {
			t.Errorf("start %d counts %d", i+1, w.tries)
		}
	}
	storeAll(t, NewIngester(IngesterConfig{Bus: b, Logger: silent()}), all, 20)
	start := time.Now()
	for _, s := range drainAll(t, b, nil) {
		if s.Parked != 0 || s.Gaps != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	t.Logf("with care: %v", time.Since(start))
	sameAlerts(t, alerts(t, b), want)
}
