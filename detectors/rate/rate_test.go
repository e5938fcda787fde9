package rate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
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

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) // a Monday

const day = 24 * time.Hour

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

// office lets an identity read 3 to 9 objects in 10 minutes, in office hours.
func office(d *Detector, key string, weeks int) (out []detectors.Verdict) {
	n := 0
	for w := range weeks {
		for wd := range 5 {
			for bin := range 8 * 6 {
				for i := range 3 + (bin*7+wd*5+w*3)%7 {
					n++
					out = d.Observe(at(key, "", fmt.Sprint(n), time.Duration(w*7+wd)*day+time.Duration(bin)*10*time.Minute+time.Duration(i)*time.Second), out)
				}
			}
		}
	}
	return out
}

func reads() Config {
	c := Defaults()
	c.Noun = "reads"
	return c
}

func TestBurst(t *testing.T) {
	d := New(reads())
	if got := office(d, "k", 4); len(got) != 0 {
		t.Fatal(got[0].Reason)
	}
	var got []detectors.Verdict
	start := 28*day + 2*time.Hour
	for i := range 412 {
		got = d.Observe(at("k", "", fmt.Sprintf("b%03d", i), start+time.Duration(i)*time.Second), got)
	}
	var reasons []string
	for _, v := range got {
		reasons = append(reasons, v.Reason)
	}
	want := []string{
		"100 reads in 10 minutes; usually 3–9 at this hour (12 hours)",
		"200 reads in 10 minutes; usually 3–9 at this hour (12 hours)",
		"400 reads in 10 minutes; usually 3–9 at this hour (12 hours)",
	}
	if !slices.Equal(reasons, want) {
		t.Errorf("%q", reasons)
	}
	v := got[0]
	if v.Count != 100 || len(v.EventIDs) != kept || v.EventIDs[kept-1] != "b099" || !v.First.Equal(t0.Add(start)) || !v.Last.Equal(t0.Add(start+99*time.Second)) {
		t.Errorf("%+v", v)
	}
	text, err := json.Marshal(v.Details)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"rate":{"bin_seconds":600,"count":100,"hours":12,"limit":41,"since":"2026-03-02T09:00:00Z","this_hour":true,"usual_high":9,"usual_low":3,"usual_median":6}}`; string(text) != want {
		t.Errorf("%s", text)
	}
	// At an hour in which it never worked, all hours speak.
	got = nil
	for i := range 150 {
		got = d.Observe(at("k", "", fmt.Sprint("n", i), 29*day+15*time.Hour+time.Duration(i)*time.Second), got)
	}
	if len(got) != 1 || !strings.Contains(got[0].Reason, "in any hour") {
		t.Error(got)
	}
}

func TestUsualHeavyWorkIsUsual(t *testing.T) {
	c := reads()
	d := New(c)
	var got []detectors.Verdict
	// A backup of 3,000 objects at 02:00 every day, and now and then an hour
	// later.
	for x := range 40 {
		start := time.Duration(x)*day + 17*time.Hour
		if x%5 == 4 {
			start += time.Hour
		}
		got = d.Observe(at("k", fmt.Sprint(2800+x*13%400), fmt.Sprint("b", x), start), got)
		for i := range 5 {
			got = d.Observe(at("k", "", fmt.Sprint(x, "-", i), start+time.Duration(i+2)*time.Hour), got)
		}
	}
	if len(got) != 0 {
		t.Errorf("%d verdicts, the first %s", len(got), got[0].Reason)
	}
	// The same at noon is unusual at that hour.
	if got := d.Observe(at("k", "3000", "noon", 40*day+5*time.Hour), nil); len(got) != 0 {
		t.Error("no hour near noon was ever active, so all hours speak, and they know the backup:", got[0].Reason)
	}
	if got := d.Observe(at("k", "30000", "noon", 40*day+6*time.Hour), nil); len(got) != 1 {
		t.Error("ten times the backup is not unusual")
	}
}

func TestRunOfBinsIsToldOnce(t *testing.T) {
	d := New(reads())
	office(d, "k", 4)
	n := 0
	for bin := range 12 {
		n += len(d.Observe(at("k", "300", fmt.Sprint(bin), 28*day+time.Duration(bin)*10*time.Minute), nil))
	}
	if n != 1 {
		t.Errorf("%d verdicts for one run of bins", n)
	}
	// A run ends with a bin in which nothing happens, or with a usual one.
	if got := d.Observe(at("k", "300", "later", 28*day+130*time.Minute), nil); len(got) != 1 {
		t.Error("a run after an empty bin is not told")
	}
	d.Observe(at("k", "3", "usual", 28*day+140*time.Minute), nil)
	if got := d.Observe(at("k", "300", "again", 28*day+150*time.Minute), nil); len(got) != 1 {
		t.Error("a run after a usual bin is not told")
	}
}

func TestLearnsFirst(t *testing.T) {
	c := reads()
	d := New(c)
	if got := d.Observe(at("new", "100000", "1", 0), nil); len(got) != 0 {
		t.Error(got)
	}
	// A late observation of a bin that has ended says nothing.
	office(d, "k", 4)
	d.Observe(at("k", "", "x", 28*day+time.Hour), nil)
	late := at("k", "100000", "late", 28*day)
	late.Late = true
	if got := d.Observe(late, nil); len(got) != 0 {
		t.Error(got)
	}
}

// oracle keeps every observation that counts and works each answer out from
// the definition.
type oracle struct {
	cfg  Config
	seen map[string][]seen
	told map[string]uint64 // the count told last of each key's run
	in   map[string]int64  // the bin in which that was, or the unusual one after it
}

type seen struct {
	at int64
	n  uint64
}

func (o *oracle) observe(key string, when time.Time, n uint64) bool {
	at := when.UnixNano()
	bin := func(x int64) int64 { return x / int64(o.cfg.Bin) }
	hour := func(x int64) int64 { return x / int64(time.Hour) }
	past := o.seen[key]
	if len(past) > 0 && bin(at) < bin(slices.MaxFunc(past, func(a, b seen) int { return int(a.at - b.at) }).at) {
		return false
	}
	first := at
	if len(past) > 0 {
		first = past[0].at
	}
	past = append(past, seen{at, n})
	o.seen[key] = past
	// The fullest bin of each active hour.
	bins := map[int64]uint64{}
	for _, s := range past {
		bins[bin(s.at)] += s.n
	}
	hours := map[int64]uint64{}
	for b, n := range bins {
		h := hour(b * int64(o.cfg.Bin))
		hours[h] = max(hours[h], n)
	}
	delete(hours, hour(at))
	count := bins[bin(at)]
	if len(hours) < o.cfg.LearnHours || hour(at)*int64(time.Hour)-first < int64(o.cfg.LearnFor) || count < uint64(o.cfg.Floor) {
		return false
	}
	byWeek := map[time.Duration][]int64{}
	for h := range hours {
		t := time.Unix(0, h*int64(time.Hour)).UTC()
		w := time.Duration(t.Weekday())*24 + time.Duration(t.Hour())
		byWeek[w] = append(byWeek[w], h)
	}
	var near, all []float64
	now := time.Unix(0, at).UTC()
	for w, list := range byWeek {
		slices.Sort(list)
		for _, h := range list[max(0, len(list)-Weeks):] {
			v := float64(largestOf(classOf(uint32(hours[h]))))
			all = append(all, v)
			for _, by := range []time.Duration{-time.Hour, 0, time.Hour} {
				if t := now.Add(by); time.Duration(t.Weekday())*24+time.Duration(t.Hour()) == w {
					near = append(near, v)
				}
			}
		}
	}
	pool := all
	if o.cfg.ByHour && len(near) >= o.cfg.MinHours {
		pool = near
	}
	slices.Sort(pool)
	median := pool[len(pool)/2]
	high := pool[len(pool)-1-(len(pool)-1)/10]
	var dist []float64
	for _, x := range pool {
		dist = append(dist, math.Abs(x-median))
	}
	slices.Sort(dist)
	limit := math.Floor(max(median+o.cfg.Deviations*1.4826*dist[len(dist)/2], o.cfg.Factor*high))
	if float64(count) <= limit {
		return false
	}
	run := o.told[key] > 0 && bin(at)-o.in[key] <= 1
	if o.in[key] = bin(at); run && count < 2*o.told[key] {
		return false
	}
	o.told[key] = count
	return true
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.Bin = rapid.SampledFrom([]time.Duration{10 * time.Minute, 30 * time.Minute, time.Hour}).Draw(t, "bin")
		c.Floor = rapid.IntRange(1, 30).Draw(t, "floor")
		c.Factor = rapid.SampledFrom([]float64{1, 2}).Draw(t, "factor")
		c.Deviations = rapid.SampledFrom([]float64{0, 3}).Draw(t, "deviations")
		c.LearnHours = rapid.IntRange(1, 6).Draw(t, "learn_hours")
		c.LearnFor = time.Duration(rapid.IntRange(0, 10).Draw(t, "learn_for")) * time.Hour
		c.MinHours = rapid.IntRange(1, 6).Draw(t, "min_hours")
		c.ByHour = rapid.Bool().Draw(t, "by_hour")
		c.DropAfter = time.Duration(rapid.IntRange(1, 20).Draw(t, "drop_after")) * day
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		d := New(c)
		floor := -1000 * day
		o := &oracle{cfg: c, seen: map[string][]seen{}, told: map[string]uint64{}, in: map[string]int64{}}
		var clock time.Duration
		for i := range rapid.IntRange(0, 120).Draw(t, "n") {
			clock += time.Duration(rapid.SampledFrom([]int{0, 0, 1, 7, 15, 60, 60, 1440, 7 * 1440}).Draw(t, "minutes")) * time.Minute
			if rapid.IntRange(0, 19).Draw(t, "op") == 0 {
				snap := d.Snapshot()
				d = New(c)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) {
					t.Fatal("a restored state is another")
				}
				d.Advance(t0.Add(clock), nil)
				floor = max(floor, clock-c.DropAfter)
				for k, past := range o.seen {
					if slices.MaxFunc(past, func(a, b seen) int { return int(a.at - b.at) }).at < t0.Add(floor).UnixNano() {
						delete(o.seen, k)
						delete(o.told, k)
					}
				}
				continue
			}
			when := clock
			if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
				when -= time.Duration(rapid.IntRange(0, 90).Draw(t, "by")) * time.Minute
			}
			key := rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "key")
			n := rapid.SampledFrom([]int{1, 1, 2, 5, 12, 40, 300}).Draw(t, "weight")
			ob := at(key, fmt.Sprint(n), fmt.Sprint("e", i), when)
			got := d.Observe(ob, nil)
			want := when >= floor && o.observe(key, ob.Time, uint64(n))
			if want != (len(got) == 1) {
				t.Fatalf("step %d: %d of %s at %s: got %v, want %v", i, n, key, when, got, want)
			}
		}
	})
}

func TestPropClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint32().Draw(t, "n")
		no := classOf(n)
		l := largestOf(no)
		if no >= classes || l < n || uint64(l) > uint64(n)+uint64(n)/4 || classOf(l) != no || l < math.MaxUint32 && classOf(l+1) != no+1 {
			t.Fatalf("%d is in class %d up to %d", n, no, l)
		}
	})
	for h, want := range map[int64]uint8{0: 3 * 24, 4 * 24: 0, -3 * 24: 0, -3*24 - 1: 167} {
		if got := hourOfWeek(h); got != want {
			t.Errorf("hour %d is hour %d of the week, want %d", h, got, want)
		}
	}
}

func TestBoundsAndWeights(t *testing.T) {
	c := reads()
	c.MaxKeys = 10
	d := New(c)
	for i := range 30 {
		d.Observe(at(fmt.Sprint(strings.Repeat("k", 1000), i), "4294967295", "e", time.Duration(i)*time.Second), nil)
		d.Observe(at(fmt.Sprint(strings.Repeat("k", 1000), i), "4294967295", "e", time.Duration(i)*time.Second), nil)
	}
	if s := d.Stats(); s.Keys != 10 || s.Evicted != 20 {
		t.Errorf("%+v", s)
	}
	for e := range d.table.All() {
		if len(e.Key) > window.MaxKey || e.State.count != math.MaxUint32 {
			t.Errorf("%d bytes of key, count %d", len(e.Key), e.State.count)
		}
	}
	for value, want := range map[string]uint32{"": 1, "7": 7, "0": 1, "-3": 1, "x": 1, "99999999999999999999": 1, "1.5": 1} {
		if got := weight(value); got != want {
			t.Errorf("%q counts %d times", value, got)
		}
	}
	d.Advance(t0.Add(100*day), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMeasuredSize(t *testing.T) {
	for _, hours := range []int{1, 40, 168} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(Defaults())
		for i := range 1000 {
			for h := range hours + 1 {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), "", "3A5C1B2E-0000-4000-8000-000000000001", time.Duration(h)*time.Hour), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
		t.Logf("%d hours of the week: %d bytes per identity by estimate, %d on the heap, %d in a snapshot", hours, s.Bytes/s.Keys, heap/s.Keys, len(d.Snapshot())/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 || heap/s.Keys > 2200 {
			t.Errorf("the estimate of %d bytes is far from the %d measured, or that is too much", s.Bytes, heap)
		}
		runtime.KeepAlive(d)
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"bin":         func(c *Config) { c.Bin = 7 * time.Minute },
		"floor":       func(c *Config) { c.Floor = 0 },
		"deviations":  func(c *Config) { c.Deviations = math.NaN() },
		"factor":      func(c *Config) { c.Factor = 0 },
		"min_hours":   func(c *Config) { c.MinHours = 0 },
		"learn_for":   func(c *Config) { c.LearnFor = -1 },
		"learn_hours": func(c *Config) { c.LearnHours = 0 },
		"drop_after":  func(c *Config) { c.DropAfter = day },
		"noun":        func(c *Config) { c.Noun = "" },
		"max_keys":    func(c *Config) { c.MaxKeys = 0 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func fuzzConfig() Config {
	c := Defaults()
	c.Floor, c.LearnFor, c.LearnHours, c.MinHours = 2, 0, 1, 1
	return c
}

func FuzzRestore(f *testing.F) {
	d := New(fuzzConfig())
	for i := range 40 {
		d.Observe(at(fmt.Sprint(i%3), fmt.Sprint(i), "e", time.Duration(i)*20*time.Minute), nil)
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(fuzzConfig())
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("0", "5", "y", 14*time.Hour), nil)
			d.Observe(at("0", "4000000000", "z", 15*time.Hour), nil)
			d.Advance(t0.Add(16*time.Hour), nil)
			if err := New(fuzzConfig()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	for name, step := range map[string]time.Duration{"quiet": time.Second, "over the floor": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			d := New(Defaults())
			office(d, "k", 8)
			o := at("k", "", "3A5C1B2E-0000-4000-8000-000000000001", 0)
			if name == "quiet" {
				o.Key = "other"
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				o.Time = t0.Add(56*day + time.Duration(i)*step*7)
				d.Observe(o, nil)
				i++
			}
		})
	}
}
