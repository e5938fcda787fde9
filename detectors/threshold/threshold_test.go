package threshold

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func config(count int, w time.Duration) Config {
	c := Defaults()
	c.Count, c.Window = count, w
	return c
}

func at(key, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestLeadingEdgeAndGrowth(t *testing.T) {
	c := config(5, 10*time.Minute)
	c.Noun = "failed sign-ins"
	d := New(c)
	var got []string
	var counts []int
	for i := range 30 {
		for _, v := range d.Observe(at("alice", fmt.Sprintf("e%02d", i), time.Duration(i)*20*time.Second), nil) {
			got = append(got, v.Reason)
			counts = append(counts, v.Count)
			if len(v.EventIDs) != v.Count {
				t.Errorf("%d ids for %d events", len(v.EventIDs), v.Count)
			}
		}
	}
	want := []string{
		"5 failed sign-ins in 80 seconds",
		"10 failed sign-ins in 3 minutes, 5 since the last report",
		"20 failed sign-ins in 6 minutes, 10 since the last report",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{5, 5, 10}, counts); diff != "" {
		t.Error(diff)
	}
}

// oracle keeps everything and works each answer out from the definition.
type oracle struct {
	cfg   Config
	all   map[string][]window.Mark
	floor int64
	open  map[string]*episode
}

type episode struct {
	first, lastReport int64
	total, reported   int
	fresh             []window.Mark
}

func (o *oracle) observe(key string, m window.Mark) (reason string, ids []string, count int) {
	if m.At < o.floor {
		return "", nil, 0
	}
	newest := m.At
	for _, x := range o.all[key] {
		if x.At >= o.floor {
			newest = max(newest, x.At)
		}
	}
	from := max(newest-int64(o.cfg.Window), o.floor)
	if m.At < from {
		return "", nil, 0
	}
	in := func() (out []window.Mark) {
		for _, x := range o.all[key] {
			if x.At >= from {
				out = append(out, x)
			}
		}
		slices.SortStableFunc(out, func(a, b window.Mark) int {
			if a.Before(b) {
				return -1
			}
			if b.Before(a) {
				return 1
			}
			return 0
		})
		// Only the newest Count are remembered as being in the window.
		if len(out) > o.cfg.Count {
			out = out[len(out)-o.cfg.Count:]
		}
		return out
	}
	ep := o.open[key]
	if ep != nil && len(in())*2 < o.cfg.Count {
		ep = nil
	}
	o.all[key] = append(o.all[key], m)
	now := in()
	full := len(now) >= o.cfg.Count
	last := now[len(now)-1].At
	switch {
	case ep != nil:
		ep.total++
		ep.fresh = append(ep.fresh, m)
		if full && (ep.total >= 2*ep.reported || newest-ep.lastReport >= int64(o.cfg.Window)) {
			slices.SortStableFunc(ep.fresh, func(a, b window.Mark) int {
				if a.Before(b) {
					return -1
				}
				return 1
			})
			count = len(ep.fresh)
			ids = window.IDs(ep.fresh)
			reason = fmt.Sprintf("%s events %s, %s since the last report", window.Count(ep.total), window.In(time.Duration(last-ep.first)), window.Count(count))
			ep.reported, ep.lastReport, ep.fresh = ep.total, newest, nil
		}
	case full:
		ep = &episode{first: now[0].At, total: len(now), reported: len(now), lastReport: newest}
		count, ids = len(now), window.IDs(now)
		reason = fmt.Sprintf("%d events %s", count, window.In(time.Duration(last-ep.first)))
	}
	o.open[key] = ep
	return reason, ids, count
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := config(rapid.IntRange(1, 6).Draw(t, "count"), time.Duration(rapid.IntRange(1, 20).Draw(t, "window"))*time.Second)
		d := New(cfg)
		o := &oracle{cfg: cfg, all: map[string][]window.Mark{}, open: map[string]*episode{}, floor: window.Nanos(time.Time{})}
		mark := time.Duration(0)
		clock := time.Duration(0)
		for i := range rapid.IntRange(0, 80).Draw(t, "n") {
			switch rapid.IntRange(0, 11).Draw(t, "op") {
			case 0:
				snap := d.Snapshot()
				d = New(cfg)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if again := d.Snapshot(); !bytes.Equal(snap, again) {
					t.Fatal("a restored state encodes differently")
				}
			case 1:
				mark = max(mark, clock-time.Duration(rapid.IntRange(0, 5).Draw(t, "lag"))*time.Second)
				if out := d.Advance(t0.Add(mark), nil); len(out) != 0 {
					t.Fatal("a verdict without an observation")
				}
				o.floor = max(o.floor, window.Nanos(t0.Add(mark))-int64(cfg.Window))
				for k, list := range o.all {
					if len(list) > 0 && slices.MaxFunc(list, func(a, b window.Mark) int { return int(a.At - b.At) }).At < o.floor {
						delete(o.all, k)
						delete(o.open, k)
					}
				}
			default:
				when := clock
				if rapid.IntRange(0, 4).Draw(t, "late") == 0 {
					when -= time.Duration(rapid.IntRange(0, 30).Draw(t, "by")) * time.Second
				} else {
					clock += time.Duration(rapid.IntRange(0, 6).Draw(t, "step")) * time.Second
					when = clock
				}
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				ob := at(key, fmt.Sprintf("e%03d", i), when)
				ob.Late = when < mark
				got := d.Observe(ob, nil)
				reason, ids, count := o.observe(key, window.Mark{At: window.Nanos(ob.Time), ID: ob.Event.ID})
				if (len(got) == 1) != (reason != "") || len(got) > 1 {
					t.Fatalf("step %d: got %v, want %q", i, got, reason)
				}
				if reason != "" && (got[0].Reason != reason || got[0].Count != count || !slices.Equal(got[0].EventIDs, ids)) {
					t.Fatalf("step %d: got %q %d %v, want %q %d %v", i, got[0].Reason, got[0].Count, got[0].EventIDs, reason, count, ids)
				}
			}
		}
	})
}

func TestBounds(t *testing.T) {
	c := config(10, time.Hour)
	c.MaxKeys = 1000
	d := New(c)
	for i := range 5000 {
		for j := range 3 {
			d.Observe(at(fmt.Sprintf("user/1000000000000001/u%d", i), fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(i)*time.Second), nil)
		}
	}
	s := d.Stats()
	if s.Keys > 1000 || s.Evicted == 0 {
		t.Fatalf("%+v", s)
	}
	// The oldest went first.
	if d.table.Get("user/1000000000000001/u4999") == nil || d.table.Get("user/1000000000000001/u0") != nil {
		t.Error("the wrong entities were evicted")
	}
	// A hostile key costs no more than a bounded one.
	d.Observe(at(strings.Repeat("ключ", 1<<16), "x", 6000*time.Second), nil)
	for e := range d.table.All() {
		if len(e.Key) > window.MaxKey {
			t.Fatal("a key of", len(e.Key), "bytes is kept")
		}
	}
}

func TestMeasuredSize(t *testing.T) {
	for _, n := range []int{1, 3, 9} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(config(10, time.Hour))
		for i := range 4000 {
			for j := range n {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(i)*time.Millisecond), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
		t.Logf("%d events: %d bytes per entity by estimate, %d on the heap", n, s.Bytes/s.Keys, heap/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("the estimate of %d bytes is far from the %d measured", s.Bytes, heap)
		}
	}
}

func TestValidate(t *testing.T) {
	for key, c := range map[string]Config{
		"count":     config(0, time.Minute),
		"window":    config(3, 0),
		"max_keys":  func() Config { c := config(3, time.Minute); c.MaxKeys = 0; return c }(),
		"max_bytes": func() Config { c := config(3, time.Minute); c.MaxBytes = 1; return c }(),
		"noun":      func() Config { c := config(3, time.Minute); c.Noun = ""; return c }(),
	} {
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := config(3, time.Minute).Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzRestore(f *testing.F) {
	d := New(config(3, time.Minute))
	for i := range 12 {
		d.Observe(at(string(rune('a'+i%2)), fmt.Sprint(i), time.Duration(i)*time.Second), nil)
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(config(3, time.Minute))
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("a", "x", time.Hour), nil)
			d.Advance(t0.Add(2*time.Hour), nil)
			if err := New(config(3, time.Minute)).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
