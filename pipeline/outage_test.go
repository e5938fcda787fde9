package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/rules"
)

// chains is a rule about two steps.
func chains(t *testing.T) detectors.RuleSet {
	t.Helper()
	set, err := rules.Load(rules.LoadOptions{
		AllowFewTests: true,
		Factories:     map[string]detectors.Factory{"sequence": sequence.Factory},
		Files: map[string][]byte{"test.chain.yaml": []byte(`id: test.chain
version: 1
title: A user, then a key
description: A chain.
severity: high
attack: [T1098.001]
runbook: {en: ask, zh: ask}
match: outcome == "success"
detector:
  type: sequence
  by: event.account
  within: 30m
  steps:
    - {name: user, match: 'event.name == "CreateUser"'}
    - {name: key, match: 'event.name == "CreateAccessKey"'}
reason: "{verdict.reason}"
dedup: {by: [event.account], window: 24h}
`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// One event of a bad clock in a backlog does not make those that follow late.
func TestBadClockInABacklog(t *testing.T) {
	engines := DetectorEngines(chains(t), func(int) detectors.EngineConfig { return detectors.EngineConfig{Grace: 15 * time.Second} })
	b := openBus(t, t.TempDir())
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent()})
	pg := source.Page{Source: src, From: cursor(0), To: cursor(60), Received: epoch.Add(2 * time.Hour)}
	for i := range 60 {
		sec := i
		if i == 20 || i == 21 {
			sec = 3000 + i
		}
		pg.Records = append(pg.Records, rec(sec, account(1), "DescribeInstances"))
	}
	if err := in.Store(t.Context(), pg); err != nil {
		t.Fatal(err)
	}
	var late, events uint64
	for _, s := range drainAll(t, b, func(c *WorkerConfig) { c.NewEngine = engines }) {
		late, events = late+s.Late, events+s.Evaluated
	}
	if late != 0 || events != 60 {
		t.Errorf("%d of %d events are late", late, events)
	}
}

// What lies far ahead of those that follow is found, unless that may be where the
// events go on, or nearly nothing follows.
func TestAheadOfWhatFollows(t *testing.T) {
	for name, tc := range map[string]struct {
		n    int
		at   func(i int) int // minutes
		want []int
	}{
		"in order":            {40, func(i int) int { return i }, nil},
		"a pause":             {40, func(i int) int { return i / 20 * 600 }, nil},
		"one":                 {40, func(i int) int { return map[int]int{7: 600}[i] }, []int{7}},
		"the first":           {40, func(i int) int { return map[int]int{0: 600}[i] }, []int{0}},
		"three":               {40, func(i int) int { return map[int]int{7: 600, 9: 700, 11: 600}[i] }, []int{7, 9, 11}},
		"four are believed":   {40, func(i int) int { return map[int]int{7: 600, 9: 700, 11: 600, 12: 600}[i] }, []int{9}},
		"few follow":          {40, func(i int) int { return map[int]int{32: 600}[i] }, nil},
		"some follow":         {40, func(i int) int { return map[int]int{31: 600}[i] }, []int{31}},
		"not far":             {40, func(i int) int { return map[int]int{7: 5}[i] }, nil},
		"not much that parse": {40, func(i int) int { return map[int]int{7: 600, 8: -1, 9: -1, 10: -1}[i] }, nil},
	} {
		events := make([]event.Event, tc.n)
		for i := range events {
			if m := tc.at(i); m >= 0 {
				events[i].Time = epoch.Add(time.Duration(m) * time.Minute)
			}
		}
		var got []int
		for i, far := range ahead(events) {
			if far {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// A chain that lacks one step, or gets it late, is not found. Two shards are read
// by a program that dies in the middle of pages and of frames and is away for
// seconds or half an hour; every chain is found, as in one reading in order.
func TestChainsThroughOutages(t *testing.T) {
	engines := DetectorEngines(chains(t), func(int) detectors.EngineConfig {
		return detectors.EngineConfig{Grace: 8 * time.Second, IdleAfter: 2 * time.Second}
	})
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 11))
		type arrival struct {
			at  time.Time // of the event, which is readable at once
			raw []byte
		}
		const shards, n, full = 2, 240, 4
		var trail [shards][]arrival
		direct := map[int]Engine{}
		in := &Ingester{n: partitions}
		for i, sec := 0, 0; i < n; i++ {
			sec += 1 + rng.IntN(12)
			raw := rec(sec, account(i%3), []string{"CreateUser", "CreateAccessKey"}[i/3%2])
			s := rng.IntN(shards)
			trail[s] = append(trail[s], arrival{epoch.Add(time.Duration(sec) * time.Second), raw})
			groups, _, _ := in.split(&shardState{}, source.Page{Records: [][]byte{raw}})
			for p := range groups {
				if len(groups[p].records) == 0 {
					continue
				}
				if direct[p] == nil {
					direct[p] = engines(p)
				}
				it := decodeItem(frameOf(t, raw))
				direct[p].Apply(&it.events[0], src+"/0")
			}
		}
		want, grp := map[string]alert.Alert{}, newGrouper()
		for _, eng := range direct {
			eng.Tick(epoch.Add(time.Hour))
			eng.Tick(epoch.Add(48 * time.Hour))
			for _, d := range eng.Take() {
				if a := grp.Add(d); a != nil {
					want[a.ID] = *a
				}
			}
		}
		found := 0
		for _, a := range want {
			found += a.Count
		}
		if len(want) != 3 || found < n*9/10 {
			t.Fatalf("the trail is too tame: %d alerts, %d steps", len(want), found)
		}

		b := openBus(t, t.TempDir())
		now, lives, torn := epoch, 0, 0
		read := [shards]int{}
		for read[0] < len(trail[0]) || read[1] < len(trail[1]) {
			// A life. What the source knows begins anew.
			if lives++; lives > 1 {
				now = now.Add([]time.Duration{time.Second, 15 * time.Second, 30 * time.Second, 3 * time.Minute}[rng.IntN(4)])
			}
			var atEnd [shards]time.Time
			in := NewIngester(IngesterConfig{Bus: b, Logger: silent(), IdleTick: -1,
				Behind: func(string) (list []int) {
					for s, at := range atEnd {
						if now.Sub(at) > 1200*time.Millisecond {
							list = append(list, s)
						}
					}
					return list
				},
				Settled: func() time.Time {
					if atEnd[1].Before(atEnd[0]) {
						return atEnd[1]
					}
					return atEnd[0]
				}})
			in.born = now
			for steps := 1 + rng.IntN(12); steps > 0; steps-- {
				now = now.Add(time.Duration(100+rng.IntN(2500)) * time.Millisecond)
				s := rng.IntN(shards)
				pos, err := in.Position(t.Context(), src, s)
				if err != nil {
					t.Fatal(err)
				}
				from := number(t, pos)
				read[s] = from // also of a page whose answer was cut off
				to, asked := from, now
				for to < len(trail[s]) && to-from < full && !trail[s][to].at.After(asked) {
					to++
				}
				if to > from {
					pg := source.Page{Source: src, Shard: s, From: cursor(from), To: cursor(to), Received: now}
					for _, a := range trail[s][from:to] {
						pg.Records = append(pg.Records, a.raw)
					}
					ctx, cancel := context.WithCancel(t.Context())
					if rng.IntN(8) == 0 {
						ctx, cancel = context.WithTimeout(t.Context(), time.Duration(rng.IntN(2000))*time.Microsecond)
					}
					err := in.Store(ctx, pg)
					cancel()
					if err != nil {
						torn++
						break // it dies in the middle of the page
					}
					read[s] = to
				}
				if to-from < full {
					atEnd[s] = asked
				}
				if err := in.TickAll(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			}
			wc := workerConfig(b, rng.IntN(partitions))
			wc.NewEngine, wc.SnapshotFrames, wc.CommitFrames, wc.BatchFrames = engines, 1+rng.IntN(8), 1+rng.IntN(3), 1
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(15))*time.Millisecond)
			if err := NewWorker(wc).Run(ctx); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			cancel()
		}
		last := NewIngester(IngesterConfig{Bus: b, Logger: silent(), TickAfter: time.Millisecond})
		for s := range trail {
			if _, err := last.Position(t.Context(), src, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := last.TickAll(t.Context(), now.Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
		var late, pending uint64
		for _, s := range drainAll(t, b, func(c *WorkerConfig) { c.NewEngine = engines }) {
			late += s.Late
			pending += uint64(s.Pending)
		}
		got, _ := latest(t, b)
		t.Logf("seed %d: %d lives, %d ended in a page; %d late, %d pending", seed, lives, torn, late, pending)
		if late != 0 || pending != 0 {
			t.Errorf("seed %d: %d late, %d still wait", seed, late, pending)
		}
		for id, w := range want {
			if g := got[id]; text(t, g) != text(t, w) {
				t.Errorf("seed %d: chain of %d steps, want %d:\n%s\n%s", seed, g.Count, w.Count, text(t, g), text(t, w))
			}
		}
		if len(got) != len(want) {
			t.Errorf("seed %d: %d alerts, want %d", seed, len(got), len(want))
		}
		b.Close()
	}
}
