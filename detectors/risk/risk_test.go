package risk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func config() Config {
	c := Defaults()
	c.Threshold = 60
	c.Weights = map[string]int{"new key": 30, "new country": 25, "denied": 10}
	return c
}

func TestCrossing(t *testing.T) {
	c := config()
	c.Repeat = 2
	d := New(c)
	var got []detectors.Verdict
	for i, v := range []string{"denied", "denied", "denied", "denied", "unheard of", "new country"} {
		got = d.Observe(at("k", v, fmt.Sprint("e", i), time.Duration(i)*time.Hour), got)
	}
	if len(got) != 0 {
		t.Fatalf("45 is told: %v", got)
	}
	got = d.Observe(at("k", "new key", "e6", 6*time.Hour), nil)
	if len(got) != 1 {
		t.Fatal("75 is not told")
	}
	v := got[0]
	if want := "risk 75 of 60 in 4 hours: new key (30), new country (25) and denied ×2 (20)"; v.Reason != want {
		t.Errorf("%q", v.Reason)
	}
	if !slices.Equal(v.EventIDs, []string{"e2", "e3", "e5", "e6"}) || v.Count != 4 || !v.First.Equal(t0.Add(2*time.Hour)) || !v.Last.Equal(t0.Add(6*time.Hour)) {
		t.Errorf("%+v", v)
	}
	text, err := json.Marshal(v.Details)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"risk":{"parts":[{"count":1,"last":"2026-03-02T15:00:00Z","signal":"new key","weight":30},` +
		`{"count":1,"last":"2026-03-02T14:00:00Z","signal":"new country","weight":25},` +
		`{"count":2,"last":"2026-03-02T12:00:00Z","signal":"denied","weight":20}],"parts_total":3,"sum":75,"threshold":60,"window_seconds":86400}}`
	if string(text) != want {
		t.Errorf("%s", text)
	}
	// More of the same is one story, until it doubles.
	for i := range 50 {
		if got := d.Observe(at("k", "denied", "x", 7*time.Hour+time.Duration(i)*time.Minute), nil); len(got) != 0 {
			t.Fatal(got)
		}
	}
	if got := d.Observe(at("k", "stolen disk:80", "y", 9*time.Hour), nil); len(got) != 1 || !strings.HasPrefix(got[0].Reason, "risk 155 of 60") {
		t.Error(got)
	}
	// Two days later it begins anew.
	d.Observe(at("k", "new key", "z1", 3*day), nil)
	if got := d.Observe(at("k", "new country:30", "z2", 3*day+time.Hour), nil); len(got) != 1 || got[0].Reason != "risk 60 of 60 in 1 hour: new key (30) and new country (30)" {
		t.Error(got)
	}
}

func TestValues(t *testing.T) {
	c := config()
	c.Steps = []Step{{Name: "step one", Weight: 7}}
	d := New(c)
	for value, want := range map[string]string{
		"denied": "denied 10", "denied:3": "denied 3", "step one": "step one 7", "12": "other signals 12", "Ram:CreateUser": "", "Ram:CreateUser:4": "Ram:CreateUser 4",
		"": "", "0": "", "-5": "", ":5": "", "x:-1": "", "x:": "", "9999999": "other signals 1000000",
	} {
		have := ""
		if s, ok := d.read(value); ok {
			have = fmt.Sprint(s.label, " ", s.weight)
		}
		if have != want {
			t.Errorf("%q: %q, want %q", value, have, want)
		}
	}
	c.Other = 2
	if s, ok := New(c).read("whatever"); !ok || s.weight != 2 || s.label != "whatever" {
		t.Error(s)
	}
}

func TestHostileLabel(t *testing.T) {
	c := config()
	c.Distinct = 1
	d := New(c)
	got := d.Observe(at("k", strings.Repeat("\x1b[31m\u202e", 1000)+":100", "1", 0), nil)
	if len(got) != 1 || strings.ContainsAny(got[0].Reason, "\x1b\u202e") || len(got[0].Reason) > 400 {
		t.Errorf("%v", got)
	}
	if s := d.Stats(); s.Bytes > 1000 {
		t.Errorf("%+v", s)
	}
}

// oracle keeps every observation and works each answer out from the
// definition.
type oracle struct {
	cfg   Config
	seen  map[string][]signal
	told  map[string]int
	floor int64
}

// counting is what counts of a key's signals from a time on, in order.
func (o *oracle) counting(key string, from int64) (out []signal) {
	all := slices.Clone(o.seen[key])
	slices.SortStableFunc(all, func(a, b signal) int {
		switch {
		case a.Before(b.Mark):
			return -1
		case b.Before(a.Mark):
			return 1
		}
		return 0
	})
	times := map[string]int{}
	for _, s := range slices.Backward(all) {
		if times[s.label]++; s.At >= from && times[s.label] <= o.cfg.Repeat {
			out = append([]signal{s}, out...)
		}
	}
	return out
}

func (o *oracle) observe(key, label string, weight int, m window.Mark) int {
	newest := m.At
	for _, s := range o.seen[key] {
		newest = max(newest, s.At)
	}
	from := max(newest-int64(o.cfg.Window), o.floor)
	if m.At < from {
		return 0
	}
	sum := func() (n int) {
		for _, s := range o.counting(key, from) {
			n += s.weight
		}
		return n
	}
	if 2*sum() <= o.cfg.Threshold {
		o.told[key] = 0
	}
	o.seen[key] = append(o.seen[key], signal{Mark: m, label: label, weight: weight})
	labels := map[string]bool{}
	for _, s := range o.counting(key, from) {
		labels[s.label] = true
	}
	if risk := sum(); risk >= o.cfg.Threshold && len(labels) >= o.cfg.Distinct && (o.told[key] == 0 || risk >= 2*o.told[key]) {
		o.told[key] = risk
		return risk
	}
	return 0
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.Threshold = rapid.IntRange(1, 30).Draw(t, "threshold")
		c.Window = time.Duration(rapid.IntRange(1, 20).Draw(t, "window")) * time.Second
		c.Repeat = rapid.IntRange(1, 4).Draw(t, "repeat")
		c.Distinct = rapid.IntRange(1, 3).Draw(t, "distinct")
		d := New(c)
		o := &oracle{cfg: c, seen: map[string][]signal{}, told: map[string]int{}, floor: window.Nanos(time.Time{})}
		var clock time.Duration
		for i := range rapid.IntRange(0, 80).Draw(t, "n") {
			clock += time.Duration(rapid.IntRange(0, 4).Draw(t, "step")) * time.Second
			switch rapid.IntRange(0, 9).Draw(t, "op") {
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
				o.floor = max(o.floor, window.Nanos(t0.Add(clock))-int64(c.Window))
				for k, list := range o.seen {
					if len(list) > 0 && slices.MaxFunc(list, func(a, b signal) int { return int(a.At - b.At) }).At < o.floor {
						delete(o.seen, k)
						delete(o.told, k)
					}
				}
			default:
				when := clock
				if rapid.IntRange(0, 4).Draw(t, "late") == 0 {
					when -= time.Duration(rapid.IntRange(0, 25).Draw(t, "by")) * time.Second
				}
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				label := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "label")
				weight := rapid.IntRange(1, 12).Draw(t, "weight")
				ob := at(key, fmt.Sprint(label, ":", weight), fmt.Sprintf("e%03d", i), when)
				got := d.Observe(ob, nil)
				want := o.observe(key, label, weight, window.Mark{At: window.Nanos(ob.Time), ID: ob.Event.ID})
				have := 0
				if len(got) == 1 {
					have = got[0].Details["risk"].(map[string]any)["sum"].(int)
				}
				if have != want {
					t.Fatalf("step %d: got %d, want %d", i, have, want)
				}
			}
		}
	})
}

func TestBounds(t *testing.T) {
	c := config()
	c.MaxKeys, c.MaxSignals = 50, 5
	d := New(c)
	for i := range 100 {
		for j := range 10 {
			d.Observe(at(fmt.Sprint(strings.Repeat("k", 1000), i), fmt.Sprintf("l%d:1", j), "e", time.Duration(i)*time.Second), nil)
		}
	}
	if s := d.Stats(); s.Keys != 50 || s.Evicted != 50 || s.Trimmed != 5*100 {
		t.Errorf("%+v", s)
	}
	d.Advance(t0.Add(10*day), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMeasuredSize(t *testing.T) {
	for _, n := range []int{1, 3, 10} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := config()
		for j := range n {
			c.Weights[fmt.Sprint("l", j)] = 1
		}
		d := New(c)
		for i := range 4000 {
			for j := range n {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprint("l", j), fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(i)*time.Second), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
		t.Logf("%d signals: %d bytes per identity by estimate, %d on the heap, %d in a snapshot", n, s.Bytes/s.Keys, heap/s.Keys, len(d.Snapshot())/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("the estimate of %d bytes is far from the %d measured", s.Bytes, heap)
		}
		runtime.KeepAlive(d)
	}
}

func TestValidate(t *testing.T) {
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"threshold":    func(c *Config) { c.Threshold = 0 },
		"window":       func(c *Config) { c.Window = 0 },
		"weights":      func(c *Config) { c.Weights["7"] = 1 },
		"steps.0":      func(c *Config) { c.Steps = []Step{{Name: "a"}} },
		"steps.1.name": func(c *Config) { c.Steps = []Step{{Name: "a", Weight: 1}, {Name: "denied", Weight: 1}} },
		"other":        func(c *Config) { c.Other = -1 },
		"repeat":       func(c *Config) { c.Repeat = 0 },
		"distinct":     func(c *Config) { c.Distinct = 0 },
		"max_signals":  func(c *Config) { c.MaxSignals, c.Distinct = 2, 3 },
		"max_keys":     func(c *Config) { c.MaxKeys = 0 },
	} {
		c := config()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	d := New(config())
	for i := range 12 {
		d.Observe(at(fmt.Sprint(i%3), fmt.Sprintf("l%d:%d", i%4, i), "e", time.Duration(i)*time.Minute), nil)
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(config())
			if err := d.Restore(body); err != nil {
				if s := d.Stats(); s.Keys != 0 || s.Evicted != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("0", "new key", "y", time.Hour), nil)
			d.Observe(at("0", "1000000", "z", time.Hour), nil)
			d.Advance(t0.Add(2*time.Hour), nil)
			if err := New(config()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	for _, labels := range []int{3, 60} {
		b.Run(fmt.Sprint(labels, " labels"), func(b *testing.B) {
			d := New(config())
			values := make([]string, labels)
			for i := range values {
				values[i] = fmt.Sprintf("l%d:1", i)
			}
			o := at("k", "", "3A5C1B2E-0000-4000-8000-000000000001", 0)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				o.Time, o.Value = t0.Add(time.Duration(i)*time.Second), values[i%labels]
				d.Observe(o, nil)
				i++
			}
		})
	}
}
