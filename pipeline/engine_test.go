package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/threshold"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/rules"
)

// Real rules, one without state and one with: a live run that is broken off at
// any point gives the alerts that the engine gives when it is called directly.
func TestRealEngineLiveEqualsDirect(t *testing.T) {
	set, err := rules.Load(rules.LoadOptions{
		AllowFewTests: true,
		Factories:     map[string]detectors.Factory{"threshold": threshold.Factory},
		Files: map[string][]byte{
			"test.created.yaml": []byte(`id: test.created
version: 1
title: AccessKey for {target.name}
description: A key.
severity: high
attack: [T1098.001]
runbook: {en: ask, zh: ask}
match: action == "iam.accesskey.create"
reason: "{actor.name} created an AccessKey"
dedup: {by: [event.account, actor.id], window: 1h}
`),
			"test.burst.yaml": []byte(`id: test.burst
version: 1
title: Many calls of {actor.name}
description: A burst.
severity: medium
attack: [T1110]
runbook: {en: ask, zh: ask}
match: event.service == "ram" && event.name == "DescribeInstances"
detector: {type: threshold, by: actor.id, count: 3, window: 30m}
reason: "{actor.name} called {verdict.count} times"
`),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := func(int) detectors.EngineConfig { return detectors.EngineConfig{} }
	engines := DetectorEngines(set, cfg)

	// Arrival is a little out of order, and some records come twice.
	all := trail(3000)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := 0; i+8 <= len(all); i += 8 {
		rng.Shuffle(8, func(a, b int) { all[i+a], all[i+b] = all[i+b], all[i+a] })
	}
	for i := 100; i < len(all); i += 97 {
		all[i] = all[i-50]
	}

	want := map[string]alert.Alert{}
	in := &Ingester{n: partitions}
	groups, poison, _ := in.split(&shardState{}, source.Page{Records: all})
	if len(poison) > 0 {
		t.Fatal(poison[0].msg)
	}
	for p, g := range groups {
		recs := g.records
		eng, grp := engines(p), newGrouper()
		eng.Tick(epoch.Add(time.Hour))
		for _, r := range recs {
			it := decodeItem(frameOf(t, r))
			eng.Apply(&it.events[0], src+"/0")
		}
		eng.Tick(epoch.Add(24 * time.Hour))
		for _, d := range eng.Take() {
			if a := grp.Add(d); a != nil {
				want[a.ID] = *a
			}
		}
	}
	byRule := map[string]int{}
	for _, a := range want {
		byRule[a.Rule]++
	}
	if byRule["test.created"] == 0 || byRule["test.burst"] == 0 {
		t.Fatalf("alerts by rule: %v", byRule)
	}

	b := openBus(t, t.TempDir())
	ing := newIngester(b)
	real := func(c *WorkerConfig) {
		c.NewEngine, c.SnapshotFrames, c.CommitFrames, c.BatchFrames = engines, 4, 2, 1
	}
	for from := 0; from < len(all); {
		to := min(from+1+rng.IntN(150), len(all))
		pg := page(all, from, to)
		pg.Received = epoch.Add(time.Hour)
		if err := ing.Store(t.Context(), pg); err != nil {
			t.Fatal(err)
		}
		from = to
		wc := workerConfig(b, rng.IntN(partitions))
		real(&wc)
		w := NewWorker(wc)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(20))*time.Millisecond)
		if rng.IntN(2) == 0 {
			w.Drain()
		}
		if err := w.Run(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, bus.ErrUnknown) {
			t.Fatal(err)
		}
		cancel()
	}
	if err := ing.TickAll(t.Context(), epoch.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	var dups uint64
	for _, s := range drainAll(t, b, real) {
		dups += s.Duplicates
		if s.Gaps != 0 || s.Refused != 0 || s.Parked != 0 || s.Pending != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	if dups == 0 {
		t.Error("no duplicate was recognised")
	}
	got, _ := latest(t, b)
	if len(got) != len(want) {
		t.Errorf("%d alerts, want %d", len(got), len(want))
	}
	for id, a := range want {
		if g, w := text(t, got[id]), text(t, a); g != w {
			t.Errorf("alert %s is\n%s\nwant\n%s", id, g, w)
		}
	}
}

// text is an alert without the number of its changes, which depends on how the
// evaluation was cut.
func text(t testing.TB, a alert.Alert) string {
	t.Helper()
	a.Revision = 0
	if a.ID == "" {
		return "missing"
	}
	raw, err := alert.MarshalStored(&a)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func frameOf(t testing.TB, rec []byte) bus.Delivery {
	t.Helper()
	data, err := bus.EncodeFrame(&bus.Frame{Kind: bus.Data, Records: [][]byte{rec}, Received: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return bus.Delivery{Message: bus.Message{Seq: 1, Data: data}}
}
