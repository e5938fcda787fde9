package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

var benchEpoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// benchRecord is call n of identity who: an ordinary one, at n/1000 s.
func benchRecord(n, who int) []byte {
	account := fmt.Sprintf("%016d", 1000000000000000+who%16)
	return fmt.Appendf(nil, `{"eventId":"e-%09d","eventName":"DescribeInstances","eventType":"ApiCall","eventVersion":"1","eventRW":"Read","eventTime":%q,"serviceName":"Ecs","acsRegion":"cn-hangzhou","recipientAccountId":%q,"sourceIpAddress":"47.%d.%d.7","userAgent":"sdk","userIdentity":{"type":"ram-user","accountId":%q,"principalId":"2%015d","userName":"user%d"}}`,
		n, benchEpoch.Add(time.Duration(n)*time.Millisecond).Format(time.RFC3339), account, who>>8&255, who&255, account, who, who)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRecovery is how long a partition needs to take over the memory of so
// many identities' networks: reading the snapshot from the store and restoring
// it. It also says what one identity takes in memory and in the snapshot. The
// shipped rules bound their identities; this rule does not. With -short only
// small states.
func BenchmarkRecovery(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bench.networks.yaml"), []byte(`id: bench.networks
version: 1
title: Network
description: d
severity: low
reason: "{actor.name}"
match: actor.kind != "service"
detector: {type: first_seen, by: actor.id, value: source.ip, learn_for: 2d, learn_count: 60, max_keys: 2000000, max_bytes: 4000000000}
`), 0o600); err != nil {
		b.Fatal(err)
	}
	set, err := Rules{Dirs: []string{dir}, AllowFewTests: true}.Load()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("identities=%d", n), func(b *testing.B) {
			if n > 100_000 && testing.Short() {
				b.Skip("takes a minute")
			}
			make := pipeline.DetectorEngines(set, func(int) detectors.EngineConfig {
				return detectors.EngineConfig{Judge: NewJudge(), Grace: time.Second, DedupMax: 100_000}
			})
			before := heap()
			eng := make(0)
			for i := range n {
				ev, err := event.Parse(benchRecord(i, i))
				if err != nil {
					b.Fatal(err)
				}
				eng.Apply(ev, "s/0")
				eng.Take()
			}
			after := heap()
			snap := eng.Snapshot()
			st, err := bus.Open(b.Context(), bus.Config{Dir: b.TempDir(), Partitions: 1, MaxBytes: 4 << 30, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer st.Close()
			began := time.Now()
			if _, err := st.SaveSnapshot(b.Context(), &bus.Snapshot{Engine: snap, Input: 1}); err != nil {
				b.Fatal(err)
			}
			saved := time.Since(began)
			runtime.KeepAlive(eng)
			b.ResetTimer()
			for b.Loop() {
				ok, _, err := st.LoadSnapshot(b.Context(), 0, func(s *bus.Snapshot) error { return make(0).Restore(s.Engine) })
				if !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/recovery")
			b.ReportMetric(float64(saved.Milliseconds()), "ms/save")
			b.ReportMetric(float64(after-before)/float64(n), "B/identity")
			b.ReportMetric(float64(len(snap))/float64(n), "snapshotB/identity")
		})
	}
}

// TestSoak sends TRAILWARDEN_SOAK events of a fixed number of identities through
// the embedded store and the whole pack, and wants memory and disk to stay where
// they were after the first part. It is for make soak.
func TestSoak(t *testing.T) {
	total, err := strconv.Atoi(os.Getenv("TRAILWARDEN_SOAK"))
	if err != nil || total < 1_000_000 {
		t.Skip("TRAILWARDEN_SOAK asks for it, with at least 1,000,000 events")
	}
	set, err := Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir(), Partitions: 8, MaxBytes: 1 << 30, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p, err := pipeline.New(pipeline.Config{Bus: b, Ingest: true, Detect: true, Logger: slog.New(slog.DiscardHandler), Worker: pipeline.WorkerConfig{
		NewEngine: pipeline.DetectorEngines(set, func(int) detectors.EngineConfig {
			return detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Second, DedupMax: 50_000}
		}),
		NewGrouper: func() pipeline.Grouper { return alert.NewGrouper(alert.GrouperConfig{}) }, Rules: set.Hash(),
		SnapshotFrames: 256, SnapshotBytes: 16 << 20,
	}, Readers: []*pipeline.AlertReader{{Name: "respond", Handle: func(context.Context, int, uint64, []alert.Alert) error { return nil }}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	const page, identities = 1000, 5000
	evaluated := func() (n uint64) {
		for _, w := range p.Stats(ctx).Workers {
			n += w.Evaluated
		}
		return n
	}
	began := time.Now()
	var first, last, disk uint64
	for n := 0; n < total; n += page {
		records := make([][]byte, page)
		for i := range records {
			records[i] = benchRecord(n+i, (n+i)%identities)
		}
		pg := source.Page{Source: "sls/p/l", From: fmt.Sprint(n), To: fmt.Sprint(n + page), Records: records, Received: benchEpoch.Add(time.Duration(n+page) * time.Millisecond)}
		for {
			if err := p.Sink().Store(ctx, pg); err == nil {
				break
			}
			select { // no room: the workers are behind
			case <-time.After(10 * time.Millisecond):
			case err := <-done:
				t.Fatal(err)
			}
		}
		if at := n + page; at%(total/10) == 0 {
			for evaluated() < uint64(at) { // as in normal life, nothing waits
				time.Sleep(10 * time.Millisecond)
			}
			last = heap()
			disk = 0
			for _, u := range b.Health(ctx).Streams {
				disk += u.Bytes
			}
			if at == total/10*3 {
				first = last
			}
			t.Logf("%10d events, %6.0f/s, heap %d MiB, store %d MiB", at, float64(at)/time.Since(began).Seconds(), last>>20, disk>>20)
		}
	}
	if last > first+first/5+16<<20 {
		t.Errorf("the heap grew from %d MiB to %d MiB", first>>20, last>>20)
	}
	end, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if err := p.Close(end); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
