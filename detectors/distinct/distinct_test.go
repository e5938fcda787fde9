package distinct

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
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

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func config(count int, w time.Duration) Config {
	c := Defaults()
	c.Count, c.Window = count, w
	return c
}

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestSpray(t *testing.T) {
	c := config(5, 10*time.Minute)
	c.Noun = "users"
	d := New(c)
	var got []detectors.Verdict
	for i := range 12 {
		got = d.Observe(at("203.0.113.9", fmt.Sprintf("user%d", i), fmt.Sprintf("e%02d", i), time.Duration(i)*30*time.Second), got)
		// The same user again adds an event and no value.
		got = d.Observe(at("203.0.113.9", fmt.Sprintf("user%d", i), fmt.Sprintf("f%02d", i), time.Duration(i)*30*time.Second+time.Second), got)
	}
	if len(got) != 2 {
		t.Fatalf("%d verdicts: %v", len(got), got)
	}
	if want := "5 different users in 2 minutes (user0, user1, user2, user3 and user4)"; got[0].Reason != want {
		t.Errorf("%q", got[0].Reason)
	}
	if want := "10 different users in 4 minutes, 5 new since the last report (user5, user6, user7, user8 and user9)"; got[1].Reason != want {
		t.Errorf("%q", got[1].Reason)
	}
	if want := []string{"f05", "f06", "f07", "f08", "e09"}; !slices.Equal(got[1].EventIDs, want) {
		t.Errorf("%v", got[1].EventIDs)
	}
}

// TestUnlessSuccess has a morning in an office, where everybody mistypes and
// gets in, and somebody there who tries the names of others.
func TestUnlessSuccess(t *testing.T) {
	c := config(3, time.Hour)
	c.UnlessSuccess = true
	d := New(c)
	n := 0
	see := func(user string, outcome event.Outcome) []detectors.Verdict {
		n++
		o := at("192.0.2.0/24", user, fmt.Sprint("e", n), time.Duration(n)*time.Minute)
		o.Event.Outcome = outcome
		return d.Observe(o, nil)
	}
	for i := range 8 {
		user := fmt.Sprint("user", i)
		if i%2 == 0 && len(see(user, event.Attempt)) > 0 || len(see(user, event.Success)) > 0 || i%2 == 1 && len(see(user, event.Attempt)) > 0 {
			t.Fatalf("%s mistyped and was told", user)
		}
	}
	see("eve", event.Attempt)
	see("mallory", event.Attempt)
	got := see("trent", event.Attempt)
	if len(got) != 1 || got[0].Reason != "3 different values in 2 minutes (eve, mallory and trent)" || got[0].Count != 3 {
		t.Errorf("%+v", got)
	}
}

// oracle keeps everything and works each answer out from the definition.
type oracle struct {
	cfg   Config
	all   map[string][]obs
	floor int64
	open  map[string]*episode
}

type obs struct {
	value string
	at    int64
	ok    bool // it succeeded
}

type episode struct {
	last     int64
	reported int
	known    map[string]bool // values told, while they stay in the window
}

// values returns the different values from a time on.
func (o *oracle) values(key string, from int64) map[string]bool {
	out := map[string]bool{}
	for _, x := range o.all[key] {
		if x.at >= from && !x.ok {
			out[x.value] = true
		}
	}
	return out
}

func (o *oracle) observe(key, val string, now int64, ok bool) (fresh []string, fires bool) {
	if now < o.floor {
		return nil, false
	}
	newest := now
	for _, x := range o.all[key] {
		if x.at >= o.floor {
			newest = max(newest, x.at)
		}
	}
	from := max(newest-int64(o.cfg.Window), o.floor)
	if now < from {
		return nil, false
	}
	same := func(x obs) bool { return x.value == val && x.at >= from }
	if !ok && slices.ContainsFunc(o.all[key], func(x obs) bool { return same(x) && x.ok }) {
		return nil, false
	}
	before := o.values(key, from)
	ep := o.open[key]
	if ep != nil {
		maps.DeleteFunc(ep.known, func(v string, _ bool) bool { return !before[v] })
		if 2*len(before) < o.cfg.Count {
			ep = nil
		}
	}
	if ok {
		// Its failures are forgiven, and those to come for as long as this one or
		// the last of them is in the window.
		for _, x := range o.all[key] {
			if same(x) {
				now = max(now, x.at)
			}
		}
		o.all[key] = append(slices.DeleteFunc(o.all[key], same), obs{value: val, at: now, ok: true})
		o.open[key] = ep
		return nil, false
	}
	o.all[key] = append(o.all[key], obs{value: val, at: now})
	have := o.values(key, from)
	told := map[string]bool{}
	if ep != nil {
		told = ep.known
	}
	for v := range have {
		if !told[v] {
			fresh = append(fresh, v)
		}
	}
	slices.Sort(fresh)
	full := len(have) >= o.cfg.Count
	switch {
	case ep != nil:
		fires = full && len(fresh) > 0 && (len(have) >= 2*ep.reported || newest-ep.last >= int64(o.cfg.Window))
	case full:
		ep = &episode{}
		fires = true
	}
	if fires {
		ep.last, ep.reported, ep.known = newest, len(have), have
	}
	o.open[key] = ep
	return fresh, fires
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := config(rapid.IntRange(2, 11).Draw(t, "count"), time.Duration(rapid.IntRange(1, 40).Draw(t, "window"))*time.Second)
		cfg.UnlessSuccess = rapid.Bool().Draw(t, "unless_success")
		d := New(cfg)
		o := &oracle{cfg: cfg, all: map[string][]obs{}, open: map[string]*episode{}, floor: window.Nanos(time.Time{})}
		hints := map[string]uint32{}
		var mark, clock time.Duration
		for i := range rapid.IntRange(0, 80).Draw(t, "n") {
			switch rapid.IntRange(0, 11).Draw(t, "op") {
			case 0:
				snap := d.Snapshot()
				bytesBefore := d.Stats().Bytes
				d = New(cfg)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) || d.Stats().Bytes != bytesBefore {
					t.Fatal("a restored state is another")
				}
			case 1:
				mark = max(mark, clock-time.Duration(rapid.IntRange(0, 5).Draw(t, "lag"))*time.Second)
				d.Advance(t0.Add(mark), nil)
				o.floor = max(o.floor, window.Nanos(t0.Add(mark))-int64(cfg.Window))
				for k, list := range o.all {
					if len(list) > 0 && slices.MaxFunc(list, func(a, b obs) int { return cmp.Compare(a.at, b.at) }).at < o.floor {
						delete(o.all, k)
						delete(o.open, k)
					}
				}
			default:
				when := clock
				if rapid.IntRange(0, 4).Draw(t, "late") == 0 {
					when -= time.Duration(rapid.IntRange(0, 20).Draw(t, "by")) * time.Second
				} else {
					clock += time.Duration(rapid.IntRange(0, 5).Draw(t, "step")) * time.Second
					when = clock
				}
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				val := rapid.SampledFrom([]string{"p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", "0", "1", "2"}).Draw(t, "value")
				ob := at(key, val, fmt.Sprintf("e%03d", i), when)
				ok := cfg.UnlessSuccess && rapid.IntRange(0, 3).Draw(t, "ok") == 0
				if cfg.UnlessSuccess && !ok {
					ob.Event.Outcome = event.Attempt
				}
				// A hint is of now, of before, or wrong.
				switch rapid.IntRange(0, 3).Draw(t, "hint") {
				case 0:
					hints[key] = d.Fetch(key)
					d.Warm(hints[key])
				case 1:
					hints[key] = uint32(rapid.IntRange(0, 5).Draw(t, "any"))
				}
				ob.Hint = hints[key]
				got := d.Observe(ob, nil)
				fresh, fires := o.observe(key, val, window.Nanos(t0.Add(when)), ok)
				if fires != (len(got) == 1) || len(got) > 1 {
					t.Fatalf("step %d: got %v, want %v", i, got, fires)
				}
				if fires {
					names := got[0].Details["distinct"].(map[string]any)["new_values"].([]any)
					var words []string
					for _, n := range names {
						words = append(words, n.(string))
					}
					slices.Sort(words)
					if !slices.Equal(words, fresh) {
						t.Fatalf("step %d: new values %v, want %v", i, words, fresh)
					}
				}
			}
		}
	})
}

func TestMaxValues(t *testing.T) {
	c := config(3, time.Hour)
	c.MaxValues = 10
	d := New(c)
	var got []detectors.Verdict
	for i := range 100 {
		got = d.Observe(at("k", fmt.Sprintf("v%03d", i), fmt.Sprint(i), time.Duration(i)*time.Second), got)
	}
	for i := range 20 {
		got = d.Observe(at("k", fmt.Sprintf("v%03d", 100+i), fmt.Sprint(i), time.Duration(i)*time.Second+2*time.Hour), got)
	}
	if n := d.table.Get("k").State.n; n != 10 {
		t.Errorf("%d values kept", n)
	}
	for _, v := range got {
		if strings.Contains(v.Reason, "about") == v.Details["distinct"].(map[string]any)["exact"].(bool) {
			t.Errorf("%q", v.Reason)
		}
	}
}

func TestMeasuredSize(t *testing.T) {
	build := func(values int) (stats detectors.Stats, heap int) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(config(20, time.Hour))
		for i := range 4000 {
			for j := range values {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprintf("Ecs:DescribeInstance%05d", j), fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(i)*time.Millisecond), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		stats = d.Stats()
		return stats, int(after.HeapAlloc) - int(before.HeapAlloc)
	}
	for _, n := range []int{2, 6, 12} {
		s, heap := build(n)
		t.Logf("%d values: %d bytes per entity by estimate, %d on the heap", n, s.Bytes/s.Keys, heap/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("the estimate of %d bytes is far from the %d measured", s.Bytes, heap)
		}
	}
}

func TestByteBudget(t *testing.T) {
	c := config(20, time.Hour)
	c.MaxBytes = 64 << 10
	d := New(c)
	for i := range 3000 {
		d.Observe(at(fmt.Sprint("k", i), "v", fmt.Sprint(i), 0), nil)
		if s := d.Stats(); s.Bytes > c.MaxBytes {
			t.Fatalf("%d bytes held", s.Bytes)
		}
	}
	if s := d.Stats(); s.Evicted == 0 || s.Keys+int(s.Evicted) != 3000 {
		t.Errorf("%+v", s)
	}
}

func TestValidate(t *testing.T) {
	c := config(5, time.Minute)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.MaxValues = 4 // less than count
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "max_values:") {
		t.Error(err)
	}
	if err := config(1, time.Minute).Validate(); err == nil || !strings.HasPrefix(err.Error(), "count:") {
		t.Error(err)
	}
	if err := config(5, 0).Validate(); err == nil || !strings.HasPrefix(err.Error(), "window:") {
		t.Error(err)
	}
}

func FuzzRestore(f *testing.F) {
	cfg := config(3, time.Minute)
	cfg.MaxValues = 4 // so that there is a sketch
	d := New(cfg)
	for i := range 12 {
		d.Observe(at(string(rune('a'+i%2)), fmt.Sprint("v", i), fmt.Sprint(i), time.Duration(i)*time.Second), nil)
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(cfg)
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("a", "x", "y", time.Hour), nil)
			d.Advance(t0.Add(2*time.Hour), nil)
			if err := New(cfg).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Values are found, and only those that are there, whether few of them are looked
// through or many are indexed; against a map.
func TestPropFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New(config(2, time.Hour))
		s := &state{}
		s.init()
		held := map[string]*value{}
		most := rapid.SampledFrom([]int{5, 12, 40, 200}).Draw(t, "most")
		for i := range rapid.IntRange(0, 400).Draw(t, "steps") {
			text := fmt.Sprint("v", rapid.IntRange(0, most).Draw(t, "value"))
			v := s.find(text)
			if v != held[text] {
				t.Fatalf("%s: found %v, want %v", text, v, held[text])
			}
			switch {
			case v == nil:
				v = d.value()
				v.text, v.at = text, int64(i)
				s.add(v)
				held[text] = v
			case rapid.Bool().Draw(t, "remove"):
				d.remove(s, v)
				delete(held, text)
			}
			if s.n != len(held) || s.index != nil && s.n > len(s.index) || s.index == nil && s.n > few {
				t.Fatalf("%d values, want %d; %d in the index", s.n, len(held), len(s.index))
			}
		}
		for text, v := range held {
			if s.find(text) != v {
				t.Fatalf("%s is lost", text)
			}
		}
	})
}
