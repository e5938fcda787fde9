package sequence

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

func config(within time.Duration, steps ...Step) Config {
	c := Defaults()
	c.Within, c.Steps = within, steps
	return c
}

func at(key, step, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: step, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

// run feeds "step@seconds" words and returns the reasons.
func run(t *testing.T, c Config, words string) []string {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d := New(c)
	var out []string
	for i, w := range strings.Fields(words) {
		step, rest, _ := strings.Cut(w, "@")
		var sec int
		id := fmt.Sprintf("e%02d", i)
		if n, _ := fmt.Sscanf(rest, "%d=%s", &sec, &id); n == 0 {
			t.Fatal(w)
		}
		for _, v := range d.Observe(at("k", step, id, time.Duration(sec)*time.Second), nil) {
			out = append(out, fmt.Sprintf("%s: %s", v.Reason, strings.Join(v.EventIDs, " ")))
		}
	}
	return out
}

func TestSequences(t *testing.T) {
	login := config(15*time.Minute, Step{Name: "fail", Count: 4}, Step{Name: "ok"})
	chain := config(time.Hour, Step{Name: "a", Within: 0}, Step{Name: "b", Within: time.Minute}, Step{Name: "c", Within: time.Minute})
	guarded := config(time.Hour, Step{Name: "off"}, Step{Name: "on", Absent: true}, Step{Name: "write"})
	two := config(10*time.Minute, Step{Name: "x", Count: 2}, Step{Name: "y"}, Step{Name: "z"})
	two.Require = 2
	for name, tt := range map[string]struct {
		cfg   Config
		words string
		want  []string
	}{
		"guessed":                 {login, "fail@0 fail@20 fail@40 fail@60 ok@90", []string{"fail ×4, then ok, in 90 seconds: e00 e01 e02 e03 e04"}},
		"three are not enough":    {login, "fail@0 fail@20 fail@40 ok@90", nil},
		"too slow":                {login, "fail@0 fail@20 fail@40 fail@60 ok@920", nil},
		"used up":                 {login, "fail@0 fail@1 fail@2 fail@3 ok@4 ok@5 fail@6 ok@7", []string{"fail ×4, then ok, in 4 seconds: e00 e01 e02 e03 e04"}},
		"newest failures":         {login, "fail@0 fail@1 fail@2 fail@3 fail@800 fail@801 ok@905", nil},
		"late failure completes":  {login, "fail@0 fail@1 fail@3 ok@4 fail@2", []string{"fail ×4, then ok, in 4 seconds: e00 e01 e04 e02 e03"}},
		"earlier b saves the gap": {chain, "a@0 b@50 b@100 c@105", []string{"a, then b, then c, in 105 seconds: e00 e01 e03"}},
		"gap too long":            {chain, "a@0 b@70 c@80", nil},
		"one event, two steps":    {chain, "a@0 b@1=x c@1=x", nil},
		"nothing between":         {guarded, "off@0 write@5", []string{"off, then write, in 5 seconds: e00 e01"}},
		"within a second":         {chain, "c@0 b@0 a@0", []string{"a, then b, then c, at the same moment: e00 e01 e02"}},
		"within a second, twice":  {guarded, "off@0 write@9 off@9", []string{"off, then write, in 9 seconds: e00 e01"}},
		"undone within a second":  {guarded, "write@0 on@0 off@0", nil},
		"the wrong way round":     {chain, "c@0 b@0 a@1", nil},
		"undone":                  {guarded, "off@0 on@3 write@5", nil},
		"undone and done again":   {guarded, "off@0 on@3 off@4 write@5", []string{"off, then write, in 1 second: e02 e03"}},
		"two of three":            {two, "z@0 x@10 x@20", []string{"x ×2 and z, in 20 seconds: e00 e01 e02"}},
		"one of three":            {two, "z@0 z@10 x@20", nil},
		"unknown step":            {login, "what@0 ok@1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, run(t, tt.cfg, tt.words)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Earlier versions kept the events of a second by their ids.
func TestRestoreAnotherOrder(t *testing.T) {
	c := config(time.Hour, Step{Name: "a"}, Step{Name: "b", Count: 2})
	d := New(c)
	d.Observe(at("k", "a", "e9", 0), nil)
	d.Observe(at("k", "b", "e1", 0), nil)
	e := d.table.Get(window.Bound("k"))
	slices.Reverse(e.State.events)
	restored := New(c)
	if err := restored.Restore(d.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if out := restored.Observe(at("k", "b", "e2", time.Minute), nil); len(out) > 1 || restored.Stats().Keys > 1 {
		t.Errorf("%+v", out)
	}
}

// oracle tries every way to choose the events that complete the steps.
func completes(c Config, events []seen, p int) bool {
	if c.Require > 0 {
		met, helps := 0, false
		for i, s := range c.Steps {
			n := 0
			for j := 0; j <= p; j++ {
				if events[j].step == i && events[p].At-events[j].At <= int64(c.Within) {
					n++
				}
			}
			if n >= s.count() {
				met++
				helps = helps || events[p].step == i
			}
		}
		return helps && met >= c.Require
	}
	var try func(step, from int, absent []int) bool
	start := int64(0)
	try = func(step, from int, absent []int) bool {
		if step == len(c.Steps) {
			return from == p && events[p].At-start <= int64(c.Within)
		}
		s := c.Steps[step]
		if s.Absent {
			return try(step+1, from, append(slices.Clone(absent), step))
		}
		for i := from + 1; i <= p; i++ {
			if events[i].step != step {
				continue
			}
			var of []seen // events of the step after the one before, up to i
			blocked := false
			for j := from + 1; j <= i; j++ {
				twin := from >= 0 && events[j].same(events[from])
				if events[j].step == step && !twin {
					of = append(of, events[j])
				}
				if slices.Contains(absent, events[j].step) && !twin && !events[j].same(events[i]) {
					blocked = true
				}
			}
			if len(of) < s.count() || blocked || from >= 0 && events[i].same(events[from]) {
				continue
			}
			since := of[len(of)-s.count()].At
			if from >= 0 {
				since = events[from].At
			} else {
				start = since
			}
			if s.Within > 0 && events[i].At-since > int64(s.Within) {
				continue
			}
			if try(step+1, i, nil) {
				return true
			}
		}
		return false
	}
	return try(0, -1, nil)
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config(time.Duration(rapid.IntRange(5, 30).Draw(t, "within")) * time.Second)
		n := rapid.IntRange(2, 4).Draw(t, "steps")
		for i := range n {
			s := Step{Name: string(rune('a' + i)), Count: rapid.IntRange(0, 3).Draw(t, "count")}
			if rapid.Bool().Draw(t, "bounded") {
				s.Within = time.Duration(rapid.IntRange(1, 5).Draw(t, "gap")) * time.Second
			}
			if i > 0 && i < n-1 && rapid.IntRange(0, 3).Draw(t, "absent") == 0 {
				s = Step{Name: s.Name, Absent: true}
			}
			c.Steps = append(c.Steps, s)
		}
		if rapid.IntRange(0, 3).Draw(t, "any") == 0 {
			for i := range c.Steps {
				c.Steps[i].Within, c.Steps[i].Absent = 0, false
			}
			c.Require = rapid.IntRange(1, n).Draw(t, "require")
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		d := New(c)
		kept := map[string][]seen{}
		over := map[string][]seen{} // later steps without a first one
		floor := window.Nanos(time.Time{})
		var clock time.Duration
		id := 0
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			switch rapid.IntRange(0, 11).Draw(t, "op") {
			case 0:
				snap := d.Snapshot()
				before := d.Stats()
				d = New(c)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) || d.Stats().Keys != before.Keys {
					t.Fatal("a restored state is another")
				}
			case 1:
				mark := clock - time.Duration(rapid.IntRange(0, 3).Draw(t, "lag"))*time.Second
				d.Advance(t0.Add(mark), nil)
				floor = max(floor, window.Nanos(t0.Add(mark))-int64(c.Within))
				for k, list := range kept {
					if len(list) > 0 && list[len(list)-1].At < floor {
						delete(kept, k)
					}
				}
			default:
				when, late := clock, rapid.IntRange(0, 4).Draw(t, "late") == 0
				if late {
					when -= time.Duration(rapid.IntRange(1, 12).Draw(t, "by")) * time.Second
				} else {
					clock += time.Duration(rapid.IntRange(0, 3).Draw(t, "step")) * time.Second
					when = clock
				}
				key := rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
				// An event may match two steps.
				id++
				first := rapid.IntRange(0, n-1).Draw(t, "what")
				steps := []int{first}
				if first+1 < n && rapid.IntRange(0, 3).Draw(t, "both") == 0 {
					steps = append(steps, first+1)
				}
				for _, step := range steps {
					ob := at(key, c.Steps[step].Name, fmt.Sprintf("e%03d", id), when)
					ob.Late = late
					got := d.Observe(ob, nil)
					want := false
					now := window.Nanos(ob.Time)
					list := kept[key]
					newest := now
					if len(list) > 0 {
						newest = max(newest, list[len(list)-1].At)
					}
					from := max(newest-int64(c.Within), floor)
					ev := seen{Mark: window.Mark{At: now, ID: ob.Event.ID}, step: step}
					if c.Require == 0 && step > 0 && !late && len(list) == 0 && now >= floor {
						over[key] = append(over[key], ev)
					} else if now >= from {
						list = slices.DeleteFunc(slices.Clone(list), func(s seen) bool { return s.At < from })
						list = append(list, ev)
						if c.Require == 0 && step == 0 {
							over[key] = slices.DeleteFunc(over[key], func(s seen) bool {
								taken := ev.before(s) && s.At >= floor && s.At-now <= int64(c.Within)
								if taken {
									list = append(list, s)
								}
								return taken
							})
						}
						slices.SortStableFunc(list, func(a, b seen) int {
							if a.before(b) {
								return -1
							}
							return 1
						})
						for p := slices.Index(list, ev); p < len(list); p++ {
							if completes(c, list, p) {
								want = true
								list = list[p+1:]
								break
							}
						}
						kept[key] = list
					}
					if want != (len(got) == 1) {
						t.Fatalf("event %d, step %d at %s: got %v, want %v\n%v", id, step, when, got, want, list)
					}
					if len(got) == 1 && (got[0].Last.Sub(got[0].First) > c.Within || got[0].Count != len(got[0].EventIDs)) {
						t.Fatalf("%+v", got[0])
					}
				}
			}
		}
	})
}

// The key is used before the record of its making comes: each use counts once,
// the last ones of all entities are remembered, and a snapshot keeps them.
func TestFirstStepComesLate(t *testing.T) {
	c := config(time.Hour, Step{Name: "made"}, Step{Name: "used"})
	late := func(key, id string, d time.Duration) detectors.Observation {
		o := at(key, "made", id, d)
		o.Late = true
		return o
	}
	d := New(c)
	for i := range 5 {
		if got := d.Observe(at("k", "used", fmt.Sprint("u", i), time.Duration(10+i)*time.Second), nil); len(got) != 0 {
			t.Fatalf("%v", got)
		}
	}
	again := New(c)
	if err := again.Restore(d.Snapshot()); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Detector{d, again} {
		if got := d.Observe(late("other", "m", 12*time.Second), nil); len(got) != 0 {
			t.Fatalf("of another key: %v", got)
		}
		got := d.Observe(late("k", "m1", 11500*time.Millisecond), nil)
		if len(got) != 1 || !slices.Equal(got[0].EventIDs, []string{"m1", "u2"}) {
			t.Fatalf("%+v", got)
		}
		// What came before it is still there for one that is earlier; u2 is not.
		if got := d.Observe(late("k", "m0", 5*time.Second), nil); len(got) != 1 || !slices.Equal(got[0].EventIDs, []string{"m0", "u0"}) {
			t.Fatalf("%+v", got)
		}
	}
	for i := range 3 * maxPassed {
		d.Observe(at(fmt.Sprint("x", i), "used", fmt.Sprint("v", i), time.Minute), nil)
	}
	if s := d.Stats(); len(d.passed.list) != maxPassed || s.Keys > 2 {
		t.Errorf("%d are remembered, %+v", len(d.passed.list), s)
	}
	if got := d.Observe(late(fmt.Sprint("x", 3*maxPassed-1), "n", 30*time.Second), nil); len(got) != 1 {
		t.Error("the last one is forgotten")
	}
	if got := d.Observe(late("x0", "o", 30*time.Second), nil); len(got) != 0 {
		t.Errorf("the first of many is remembered: %v", got)
	}
}

// A snapshot of the version before is read.
func TestRestoreVersionOne(t *testing.T) {
	c := config(time.Hour, Step{Name: "a"}, Step{Name: "b"})
	d := New(c)
	d.Observe(at("k", "a", "e1", 0), nil)
	two := d.Snapshot()
	one := append([]byte(magicOne), two[len(magic):len(two)-5]...) // without the count of none, and the checksum
	d = New(c)
	if err := d.Restore(snapshot.Reseal(append(one, 0, 0, 0, 0))); err != nil {
		t.Fatal(err)
	}
	if got := d.Observe(at("k", "b", "e2", time.Second), nil); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestBoundsAndMeasuredSize(t *testing.T) {
	c := config(time.Hour, Step{Name: "a"}, Step{Name: "b"})
	for _, n := range []int{1, 4} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(c)
		for i := range 4000 {
			for j := range n {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), "a", fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(i)*time.Millisecond), nil)
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
	c.MaxKeys, c.MaxEvents = 10, 8
	d := New(c)
	for i := range 1000 {
		d.Observe(at(fmt.Sprint("k", i%20), "a", fmt.Sprint(i), time.Duration(i)), nil)
		d.Observe(at("hot", "a", fmt.Sprint("h", i), time.Duration(i)), nil)
	}
	if s := d.Stats(); s.Keys != 10 || s.Evicted == 0 || len(d.table.Get("hot").State.events) != 8 {
		t.Errorf("%+v", s)
	}
}

func TestValidate(t *testing.T) {
	good := config(time.Minute, Step{Name: "a", Count: 2}, Step{Name: "n", Absent: true}, Step{Name: "b"})
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"within":         func(c *Config) { c.Within = 0 },
		"steps":          func(c *Config) { c.Steps = c.Steps[:1] },
		"steps.0.name":   func(c *Config) { c.Steps[0].Name = "" },
		"steps.1.name":   func(c *Config) { c.Steps[1].Name = "a" },
		"steps.0.count":  func(c *Config) { c.Steps[0].Count = -1 },
		"steps.2.within": func(c *Config) { c.Steps[2].Within = time.Hour },
		"steps.2.absent": func(c *Config) { c.Steps[2].Absent = true },
		"steps.1.absent": func(c *Config) { c.Require = 2 },
		"require":        func(c *Config) { c.Require = -1 },
		"max_events":     func(c *Config) { c.MaxEvents = 3 },
	} {
		c := good
		c.Steps = slices.Clone(good.Steps)
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	c := config(time.Minute, Step{Name: "a", Count: 2}, Step{Name: "b"})
	d := New(c)
	for i := range 12 {
		d.Observe(at(string(rune('a'+i%3)), "a", fmt.Sprint(i), time.Duration(i)*time.Second), nil)
	}
	f.Add(d.Snapshot())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(c)
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("a", "b", "y", time.Hour), nil)
			d.Advance(t0.Add(2*time.Hour), nil)
			if err := New(c).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
