package distinct

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// A sketch answers for a window what a plain HyperLogLog says that was made of
// the window's observations alone, and does not depend on their order.
func TestPropSketchOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type obs struct {
			value string
			at    int64
		}
		var all []obs
		for range rapid.IntRange(0, 300).Draw(t, "n") {
			all = append(all, obs{fmt.Sprint("v", rapid.IntRange(0, 100).Draw(t, "v")), int64(rapid.IntRange(0, 50).Draw(t, "at"))})
		}
		a, b := &sketch{}, &sketch{}
		for _, x := range all {
			a.add(x.value, x.at)
		}
		for _, x := range rapid.Permutation(all).Draw(t, "order") {
			b.add(x.value, x.at)
		}
		last := int64(0)
		for range 4 {
			from := last + int64(rapid.IntRange(0, 20).Draw(t, "from"))
			last = from // what is older is forgotten
			var counts [maxRank + 1]int
			high := map[int]int{}
			for _, x := range all {
				if x.at >= from {
					h := xxhash.Sum64String(x.value)
					rank := 1
					for rank < maxRank && h&(1<<(63-precision-(rank-1))) == 0 {
						rank++
					}
					reg := int(h / (1 << (64 - precision)))
					high[reg] = max(high[reg], rank)
				}
			}
			counts[0] = registers - len(high)
			for _, r := range high {
				counts[r]++
			}
			want := estimate(&counts)
			if got := a.since(from); got != want || b.since(from) != want {
				t.Fatalf("since %d: %d and %d in another order, want %d", from, got, b.since(from), want)
			}
			x, y := snapshot.NewEncoder(magic), snapshot.NewEncoder(magic)
			a.encode(x)
			b.encode(y)
			if !bytes.Equal(x.Seal(), y.Seal()) || a.marks != b.marks {
				t.Fatal("what is held depends on the order")
			}
		}
	})
}

// The same numbers on every machine, and near the truth.
func TestEstimate(t *testing.T) {
	// At 4.8 %, three standard deviations, whatever the values are.
	want := map[int]int{}
	sizes := []int{1, 10, 100, 1_000, 10_000, 100_000}
	if os.Getenv("TRAILWARDEN_LONG") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		s := &sketch{}
		for i := range n {
			s.add(fmt.Sprintf("user%07d", i), 1)
		}
		got := s.since(0)
		want[n] = got
		if math.Abs(float64(got-n)) > 0.048*float64(n)+0.5 {
			t.Errorf("%d for %d", got, n)
		}
	}
	t.Log(want)
	if want[100_000] != goldenEstimate {
		t.Errorf("100,000 values are %d here and %d elsewhere: a snapshot would say something else on another machine", want[100_000], goldenEstimate)
	}
}

// goldenEstimate is what 100,000 values of TestEstimate are estimated at.
const goldenEstimate = 100_146

func TestBeyondExact(t *testing.T) {
	c := config(15_000, time.Hour)
	c.MaxBytes = 64 << 20
	d := New(c)
	var got []detectors.Verdict
	see := func(from, to int, start time.Duration) {
		for i := from; i < to; i++ {
			got = d.Observe(at("k", fmt.Sprintf("v%06d", i), fmt.Sprint(i), start+time.Duration(i-from)*10*time.Millisecond), got)
			if i%9000 == 0 {
				snap := d.Snapshot()
				before := d.Stats()
				d = New(c)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) || d.Stats() != before {
					t.Fatalf("a restored state is another: %+v %+v", d.Stats(), before)
				}
			}
		}
	}
	see(0, 16_000, 0)
	if len(got) != 1 {
		t.Fatalf("%d verdicts", len(got))
	}
	for i, want := range []float64{15_000} {
		m := got[i].Details["distinct"].(map[string]any)
		if n := m["total"].(int); math.Abs(float64(n)-want) > 0.05*want || m["exact"] != false {
			t.Errorf("%q", got[i].Reason)
		}
	}
	s := &d.table.Get("k").State
	if s.n != 10_000 || s.sketch == nil {
		t.Errorf("%d values held", s.n)
	}
	// When what made room has left the window, it is exact again.
	got = nil
	see(50_000, 50_500, 3*time.Hour)
	if s = &d.table.Get("k").State; s.sketch != nil || s.n != 500 || s.episode {
		t.Errorf("%d values held", s.n)
	}
}

// Growth is told when it has doubled, past what is counted exactly too.
func TestGrowthBeyondExact(t *testing.T) {
	c := config(10, time.Hour)
	c.MaxValues = 50
	d := New(c)
	var got []detectors.Verdict
	for i := range 700 {
		for k := range 2 { // each value twice
			got = d.Observe(at("k", fmt.Sprint("v", i), fmt.Sprint(i, k), time.Duration(i)*time.Second), got)
		}
	}
	var totals []int
	for i, v := range got {
		m := v.Details["distinct"].(map[string]any)
		totals = append(totals, m["total"].(int))
		if exact := m["exact"].(bool); exact != (i < 3) {
			t.Errorf("%q", v.Reason)
		}
	}
	for i, want := range []float64{10, 20, 40, 80, 160, 320, 640} {
		if i >= len(totals) || math.Abs(float64(totals[i])-want) > 0.05*want {
			t.Fatalf("%v", totals)
		}
	}
}

// A snapshot of the encoding before, with values dropped, goes on.
func TestRestoreOlder(t *testing.T) {
	enc := snapshot.NewEncoder(magic1)
	enc.Int(0)
	enc.Uint(0)
	enc.Uint(1)
	enc.String("k")
	enc.Bool(true) // cut
	enc.Uint(2)
	for i, v := range []string{"a", "b"} {
		enc.String(v)
		enc.Int(window.Nanos(t0) + int64(i))
		enc.String("e")
		enc.Bool(true)
	}
	enc.Bool(true)
	enc.Int(window.Nanos(t0))
	for _, n := range []uint64{5, 5, 2} {
		enc.Uint(n)
	}
	enc.Int(window.Nanos(t0))
	enc.Int(window.Nanos(t0))
	d := New(config(2, time.Hour))
	if err := d.Restore(enc.Seal()); err != nil {
		t.Fatal(err)
	}
	if s := &d.table.Get("k").State; s.sketch == nil || !s.episode || s.n != 2 {
		t.Errorf("%+v", s)
	}
	if err := New(config(2, time.Hour)).Restore(d.Snapshot()); err != nil {
		t.Fatal(err)
	}
}
