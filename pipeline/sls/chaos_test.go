package sls

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// TestChaos runs random faults of every kind against every call, the store
// included, with evictions, deleted groups, outages, splits, merges, checkpoints moved
// by others and restarts between. Whatever happened, at the end every record
// counts exactly once, in order, and no checkpoint ever passed the store.
func TestChaos(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			o := signed()
			o.Shards, o.CorrectSpelling, o.RefuseStale = 3, seed%2 == 0, seed%3 == 0
			o.MaxPageGroups = 40
			r := newRig(t, o)
			want := map[int][]string{}
			open := []int{0, 1, 2}
			add := func(n int) {
				sh := open[rnd.IntN(len(open))]
				want[sh] = append(want[sh], r.fill(sh, len(want[sh]), n)...)
			}
			start := func() {
				r.start(func(c *Config, _ *Options) {
					c.Watchdog = 3 * time.Second
					c.Start = []Start{StartBegin, StartCheckpoint}[rnd.IntN(2)]
					c.Compression = []string{"lz4", "zstd"}[rnd.IntN(2)]
				})
			}
			calls := []slstest.Call{slstest.PullLogs, slstest.PullLogs, slstest.PullLogs, slstest.HeartBeat, slstest.UpdateCheckpoint,
				slstest.UpdateCheckpoint, slstest.GetCheckpoint, slstest.GetCursor, slstest.ListShards, slstest.ListConsumerGroup}
			faults := []slstest.Fault{
				{Refuse: true}, {DropAnswer: true}, {Truncate: true}, {Garbage: true}, {Status: 503, Code: "ServerBusy"},
				{Status: 500, AfterWork: true}, {Status: 401, Code: "Unauthorized"}, {Status: 403, Code: "ShardReadQuotaExceed"},
				{Status: 400, Code: "ConsumerNotMatch"}, {Status: 400, Code: "ShardNotExist"}, {Status: 502, Body: "<html>"},
				{Delay: 300 * time.Millisecond}, {RawSizeDelta: 7}, {DropHeaders: []string{"x-log-cursor"}}, {ExtraBody: "x"},
			}
			start()
			for range 40 {
				add(rnd.IntN(120))
				switch n := rnd.IntN(24); {
				case n < 14:
					f := faults[rnd.IntN(len(faults))]
					f.Call, f.Times = calls[rnd.IntN(len(calls))], 1+rnd.IntN(3)
					r.srv.Inject(f)
				case n < 17:
					left := 1 + rnd.IntN(3)
					panics := rnd.IntN(2) == 0
					r.sink.setBefore(func(source.Page) error {
						r.sink.mu.Lock()
						left--
						fail := left >= 0
						r.sink.mu.Unlock()
						if fail && panics {
							panic("chaos")
						}
						if fail {
							return errTest
						}
						return nil
					})
				case n < 18:
					r.srv.Evict("cg", "c1")
				case n < 19:
					r.srv.DeleteGroup("cg")
				case n < 20:
					if len(open) < 6 {
						i := rnd.IntN(len(open))
						a, b := r.srv.Split(open[i])
						open = append(append(open[:i:i], open[i+1:]...), a, b)
					} else if sh := open[rnd.IntN(len(open))]; true {
						if m, n, ok := r.srv.Merge(sh); ok {
							open = append(slices.DeleteFunc(open, func(id int) bool { return id == sh || id == n }), m)
						}
					}
				case n < 21:
					sh := open[rnd.IntN(len(open))]
					begin, end := r.srv.Bounds(sh)
					// Where nothing is stored yet the checkpoint is an order,
					// not a mistake.
					if to := []string{begin, end}[rnd.IntN(2)]; r.sink.pos(sh) != "" {
						r.srv.SetCheckpoint("cg", sh, to)
					}
				case n < 22:
					r.srv.SetDown(true)
					time.AfterFunc(time.Duration(rnd.IntN(1500))*time.Millisecond, func() { r.srv.SetDown(false) })
				default:
					r.stop()
					start()
				}
				for end := time.Now().Add(time.Duration(rnd.IntN(250)) * time.Millisecond); time.Now().Before(end); {
					time.Sleep(5 * time.Millisecond) // the schedule's own pace
				}
			}
			r.srv.SetDown(false)
			r.srv.ClearFaults()
			for sh, w := range want {
				r.holds(sh, w)
			}
			r.stop()
			t.Logf("%+v", r.src.Stats())
		})
	}
}
