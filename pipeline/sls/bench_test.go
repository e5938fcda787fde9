package sls

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// countSink stores nothing; it counts and tells.
type countSink struct {
	records atomic.Int64
	bytes   atomic.Int64
	page    func(source.Page)
}

func (c *countSink) Store(_ context.Context, p source.Page) error {
	for _, r := range p.Records {
		c.bytes.Add(int64(len(r)))
	}
	c.records.Add(int64(len(p.Records)))
	if c.page != nil {
		c.page(p)
	}
	return nil
}

func (c *countSink) Position(context.Context, string, int) (string, error) { return "", nil }

func runBench(b *testing.B, srv *slstest.Server, sink source.Sink, change func(*Config)) (stop func()) {
	r := &rig{t: b, srv: srv, sink: newSink()}
	cfg := r.config()
	cfg.Poll, cfg.CheckpointEvery = 0, 0 // the defaults
	if change != nil {
		change(&cfg)
	}
	src, err := New(cfg, sink, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// benchEvent is a 2 kB record of mixed entropy.
func benchEvent(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"eventId":"%032x","eventName":"AssumeRole","requestParameters":{`, i*2654435761)
	for k := 0; b.Len() < 2000; k++ {
		fmt.Fprintf(&b, `"Parameter%d":"%x",`, k, uint32(i*k)*2246822519)
	}
	b.WriteString(`"z":0}}`)
	return b.Bytes()
}

// BenchmarkThroughput reads a backlog: records per second from the emulator's
// HTTP to the sink, both in this process.
func BenchmarkThroughput(b *testing.B) {
	for _, tc := range []struct {
		name         string
		shards, logs int
		zstd         bool
		page         int
	}{
		{"1shard-1log", 1, 1, false, 200}, {"1shard-10logs", 1, 10, false, 200}, {"4shards-10logs", 4, 10, false, 200},
		{"1shard-10logs-zstd", 1, 10, true, 200}, {"1shard-10logs-page1000", 1, 10, false, 1000},
		{"1shard-1log-pages-of-96", 1, 1, false, 96},
	} {
		b.Run(tc.name, func(b *testing.B) {
			srv := slstest.New(slstest.Options{Shards: tc.shards, LogsPerGroup: tc.logs, MaxPageGroups: min(1000, tc.page)})
			defer srv.Close()
			each := 60_000
			if tc.page < 100 {
				each = 10_000
			}
			var recs [][]byte
			for i := range each / tc.shards {
				recs = append(recs, benchEvent(i%10_000))
			}
			var total, elapsed float64
			for range b.N {
				sink := new(countSink)
				for sh := range tc.shards {
					srv.Append(sh, recs...)
				}
				first := make(chan time.Time, 1)
				sink.page = func(source.Page) {
					select {
					case first <- time.Now():
					default:
					}
				}
				stop := runBench(b, srv, sink, func(c *Config) {
					c.Start = StartBegin
					c.PageGroups = 200
					if tc.page == 1000 {
						c.PageGroups = 1000
					}
					if tc.zstd {
						c.Compression = "zstd"
					}
				})
				began := <-first
				for sink.records.Load() < int64(each) {
					time.Sleep(time.Millisecond)
				}
				elapsed += time.Since(began).Seconds()
				total += float64(each)
				stop()
				for sh := range tc.shards {
					srv.Trim(sh, each)
				}
				srv.DeleteGroup("cg")
			}
			b.ReportMetric(total/elapsed, "records/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLatency measures from a record being readable to Store, for
// records that come one by one.
func BenchmarkLatency(b *testing.B) {
	srv := slstest.New(slstest.Options{})
	defer srv.Close()
	got := make(chan time.Time, 1)
	sink := &countSink{page: func(source.Page) { got <- time.Now() }}
	stop := runBench(b, srv, sink, nil)
	defer stop()
	srv.Append(0, benchEvent(0))
	<-got
	var lat []time.Duration
	for i := range max(b.N, 30) {
		// Not in step with the poll.
		time.Sleep(time.Duration(300+i*37%700) * time.Millisecond)
		began := time.Now()
		srv.Append(0, benchEvent(i))
		lat = append(lat, (<-got).Sub(began))
	}
	slices.Sort(lat)
	b.ReportMetric(float64(lat[len(lat)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(lat[len(lat)*95/100].Milliseconds()), "ms-p95")
	b.ReportMetric(float64(lat[len(lat)-1].Milliseconds()), "ms-max")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkExtract is the cost of turning a decoded page into records.
func BenchmarkExtract(b *testing.B) {
	sh := &shardState{}
	list := pageOf(200, benchEvent(1))
	b.SetBytes(200 * int64(len(benchEvent(1))))
	b.ReportAllocs()
	for b.Loop() {
		if rs, _ := sh.extract(list); len(rs) != 200 {
			b.Fatal(len(rs))
		}
	}
}
