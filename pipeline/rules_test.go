package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// packed is the fake engine under rules of a name, which its detections carry.
type packed struct {
	*fakeEngine
	pack string
}

func (e packed) Take() []alert.Detection {
	out := e.fakeEngine.Take()
	for i := range out {
		out[i].Pack = e.pack
	}
	return out
}

func rulingOf(name string) Ruling {
	return Ruling{Rules: name, NewEngine: func(p int) Engine { return packed{newFake(p).(*fakeEngine), name} }}
}

// withPacks reads the alerts as people end up with them, the pack of each apart.
func withPacks(t *testing.T, b *bus.Bus) (plain, packs map[string]string) {
	t.Helper()
	plain, packs = map[string]string{}, map[string]string{}
	for id, raw := range alerts(t, b) {
		a, err := alert.UnmarshalStored([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		packs[id], a.Pack = a.Pack, ""
		back, err := alert.MarshalStored(&a)
		if err != nil {
			t.Fatal(err)
		}
		plain[id] = string(back)
	}
	return plain, packs
}

// A change of rules comes between two steps, keeps what the engine knows, and
// what was decided before is not decided again by the new ones after a crash.
func TestRulesChangeBetweenSteps(t *testing.T) {
	all := trail(5400) // an hour is an alert: the change comes with the second
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	p := event.Partition(account(1), partitions)
	mine := func(n int) (count uint64) {
		for i := range n {
			if event.Partition(account(i%13), partitions) == p {
				count++
			}
		}
		return count
	}
	cfg := workerConfig(b, p)
	cfg.NewEngine, cfg.Rules, cfg.SnapshotFrames = rulingOf("rules-1").NewEngine, "rules-1", 1<<20
	w := NewWorker(cfg)
	_, crash := running(t, w)
	storeAll(t, in, all[:3600], 300)
	eventually(t, "half is evaluated", func() bool { return w.Stats().Evaluated == mine(3600) })
	_, before := withPacks(t, b)
	w.SetRules(rulingOf("rules-0")) // overtaken, most likely
	w.SetRules(rulingOf("rules-2"))
	eventually(t, "the rules are changed", func() bool { return w.Stats().Rules == "rules-2" })
	if s := w.Stats(); s.Snapshots == 0 || s.SnapshotInput != s.Committed {
		t.Errorf("the state before the change is not stored: %+v", s)
	}
	for from := 3600; from < 5400; from += 300 {
		if err := in.Store(t.Context(), page(all, from, from+300)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the rest is evaluated", func() bool { return w.Stats().Evaluated == mine(5400) })
	crash()

	// The next start re-evaluates only what the new rules had decided.
	next := cfg
	next.NewEngine, next.Rules = rulingOf("rules-2").NewEngine, "rules-2"
	w = NewWorker(next)
	w.Drain()
	if err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Recovered == 0 || s.Recovered > 6 {
		t.Errorf("%d frames were evaluated again, of 6 after the change", s.Recovered)
	}
	drainAll(t, b, nil)
	got, packs := withPacks(t, b)
	sameAlerts(t, got, want)
	newer := 0
	for id, pack := range packs {
		switch {
		case before[id] != "" && before[id] != "rules-1", before[id] == "" && pack == "rules-1":
			t.Errorf("alert %s names %q, before the change %q", id, pack, before[id])
		case pack == "rules-2":
			newer++
		}
	}
	if newer == 0 {
		t.Error("no alert names the new rules")
	}
}

// Rules that change and workers that die at any point give the alerts of a run
// that was left alone, where the rules say the same.
func TestRulesChangeAnywhere(t *testing.T) {
	all := trail(2000)
	want := undisturbed(t, all)
	for seed := range 3 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(seed)))
			b := openBus(t, t.TempDir())
			in := newIngester(b)
			for from := 0; from < len(all); from += 100 {
				if err := in.Store(t.Context(), page(all, from, from+100)); err != nil {
					t.Fatal(err)
				}
				name := func() string { return fmt.Sprintf("rules-%d", rng.IntN(4)) }
				cfg := workerConfig(b, rng.IntN(partitions))
				first := rulingOf(name())
				cfg.Rules = first.Rules
				cfg.SnapshotFrames, cfg.CommitFrames, cfg.BatchFrames = 1+rng.IntN(50), 1+rng.IntN(5), 1+rng.IntN(5)
				ctx, cancel := context.WithCancel(t.Context())
				left := rng.IntN(150)
				var w *Worker
				// The changes come from inside the evaluation, where they are
				// the same in every run.
				var made func(r Ruling) func(int) Engine
				made = func(r Ruling) func(int) Engine {
					return func(p int) Engine {
						e := r.NewEngine(p).(packed)
						e.log = func(string) {
							left--
							switch {
							case left == 0:
								cancel()
							case left%40 == 20:
								next := rulingOf(name())
								w.SetRules(Ruling{Rules: next.Rules, NewEngine: made(next)})
							}
						}
						return e
					}
				}
				cfg.NewEngine = made(first)
				w = NewWorker(cfg)
				w.Drain()
				err := w.Run(ctx)
				cancel()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			stats := drainAll(t, b, nil)
			got, _ := withPacks(t, b)
			sameAlerts(t, got, want)
			for _, s := range stats {
				if s.Gaps != 0 || s.Rebuilt || s.Refused != 0 || s.Duplicates != 0 {
					t.Errorf("stats %+v", s)
				}
			}
		})
	}
}

// An engine that cannot take the state over does not get it: the old one goes on.
func TestRulesThatCannotTakeOver(t *testing.T) {
	all := trail(400)
	want := undisturbed(t, all)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	storeAll(t, in, all[:200], 50)
	cfg := workerConfig(b, event.Partition(account(1), partitions))
	w := NewWorker(cfg)
	result, _ := running(t, w)
	eventually(t, "something is evaluated", func() bool { return w.Stats().Evaluated > 0 })
	tried := make(chan struct{}, 2)
	w.SetRules(Ruling{Rules: "rules-2", NewEngine: func(p int) Engine {
		tried <- struct{}{}
		return refusing{newFake(p).(*fakeEngine)}
	}})
	<-tried
	for from := 200; from < 400; from += 50 {
		if err := in.Store(t.Context(), page(all, from, from+50)); err != nil {
			t.Fatal(err)
		}
	}
	w.Drain()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Rules != "rules-1" {
		t.Errorf("the rules are %q", s.Rules)
	}
	drainAll(t, b, nil)
	got, packs := withPacks(t, b)
	sameAlerts(t, got, want)
	for id, p := range packs {
		if p != "" {
			t.Errorf("alert %s is of rules %q", id, p)
		}
	}
}

// A pipeline gives new rules to what runs and to what is taken over later.
func TestPipelineSetRules(t *testing.T) {
	b := openBus(t, t.TempDir())
	p := newPipeline(t, b, nil)
	done, _ := start(t, p)
	p.SetRules(rulingOf("rules-2"))
	eventually(t, "every partition has the new rules", func() bool {
		ws := p.Stats(t.Context()).Workers
		return len(ws) == partitions && !slices.ContainsFunc(ws, func(s WorkerStats) bool { return s.Rules != "rules-2" })
	})
	if p.wcfg.Rules != "rules-2" {
		t.Error("partitions taken over later would have the old rules")
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
