package lastseen

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func at(key, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestAwakened(t *testing.T) {
	d := New(Defaults())
	for _, step := range []struct {
		at   time.Duration
		want string
	}{
		{0, ""}, {time.Hour, ""}, {30 * day, ""}, {120 * day, "first call after 90 days of silence (last one on 2026-03-31, 3 calls seen since 2026-03-01)"},
		{121 * day, ""}, {200 * day, ""},
	} {
		got := d.Observe(at("LTAI5tEXAMPLEkey00000001", "e", step.at), nil)
		if (len(got) == 1) != (step.want != "") || len(got) == 1 && got[0].Reason != step.want {
			t.Errorf("at %s: %v", step.at, got)
		}
	}
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.Idle = time.Duration(rapid.IntRange(1, 10).Draw(t, "idle")) * day
		c.DropAfter = c.Idle + time.Duration(rapid.IntRange(0, 20).Draw(t, "drop"))*day
		d := New(c)
		seen := map[string][]time.Duration{}
		hints := map[string]uint32{}
		var clock, floor time.Duration = 0, -1 << 62
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			switch rapid.IntRange(0, 8).Draw(t, "op") {
			case 0:
				snap := d.Snapshot()
				d = New(c)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) {
					t.Fatal("a restored state is another")
				}
			case 1:
				d.Advance(t0.Add(clock), nil)
				floor = max(floor, clock-c.DropAfter)
			default:
				clock += time.Duration(rapid.IntRange(0, 15).Draw(t, "days")) * day
				when, late := clock, rapid.IntRange(0, 5).Draw(t, "late") == 0
				if late {
					when -= time.Duration(rapid.IntRange(1, 10).Draw(t, "by")) * day
				}
				key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
				o := at(key, "e", when)
				o.Late = late
				// A hint is of now, of before, or wrong.
				switch rapid.IntRange(0, 3).Draw(t, "hint") {
				case 0:
					hints[key] = d.Fetch(key)
					d.Warm(hints[key])
				case 1:
					hints[key] = uint32(rapid.IntRange(0, 5).Draw(t, "any"))
				}
				o.Hint = hints[key]
				got := d.Observe(o, nil)
				want := false
				last := time.Duration(-1 << 62)
				for _, s := range seen[key] {
					last = max(last, s)
				}
				if last < floor {
					seen[key], last = nil, -1<<62
				}
				if when >= floor {
					want = len(seen[key]) > 0 && when-last >= c.Idle
					seen[key] = append(seen[key], when)
				}
				if want != (len(got) == 1) {
					t.Fatalf("%s at %s: got %v, want %v", key, when, got, want)
				}
			}
		}
	})
}

func TestBoundsAndMeasuredSize(t *testing.T) {
	c := Defaults()
	c.MaxKeys = 4000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := New(c)
	for i := range 5000 {
		d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), "e", time.Duration(i)*time.Second), nil)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
	t.Logf("%d bytes per entity by estimate, %d on the heap", s.Bytes/s.Keys, heap/s.Keys)
	if s.Keys != 4000 || s.Evicted != 1000 || s.Bytes < heap*7/10 || s.Bytes > heap*2 {
		t.Errorf("%+v, %d bytes on the heap", s, heap)
	}
	d.Advance(t0.Add(10000*day), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v after ten thousand days", s)
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"idle":       func(c *Config) { c.Idle = 0 },
		"drop_after": func(c *Config) { c.DropAfter = time.Hour },
		"noun":       func(c *Config) { c.Noun = "" },
		"max_keys":   func(c *Config) { c.MaxKeys = -1 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	d := New(Defaults())
	for i := range 5 {
		d.Observe(at(fmt.Sprint(i%3), "e", time.Duration(i)*day), nil)
	}
	f.Add(d.Snapshot())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(Defaults())
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("0", "y", 500*day), nil)
			d.Advance(t0.Add(501*day), nil)
			if err := New(Defaults()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
