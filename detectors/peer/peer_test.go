package peer

import (
	"bytes"
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

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func robots(t *testing.T, d *Detector, n int) {
	t.Helper()
	for day := range 10 {
		for i := range n {
			for _, what := range []string{"ecs read", "oss read", "cr write"} {
				for k := range 2 {
					if got := d.Observe(at(fmt.Sprint("user/1/robot", i), "ci|"+what, "x", time.Duration(day)*24*time.Hour+time.Duration(k)*time.Hour), nil); len(got) > 0 {
						t.Fatalf("everyday work is told: %q", got[0].Reason)
					}
				}
			}
		}
	}
}

func TestOneOfTwelve(t *testing.T) {
	d := New(Defaults())
	robots(t, d, 12)
	now := 10 * 24 * time.Hour
	// An administrator does everything; nobody is like that.
	for i := range 200 {
		d.Observe(at("user/1/admin", fmt.Sprint("ci|service", i%50), "x", time.Duration(i)*time.Hour), nil)
	}
	d.Observe(at("user/1/admin", "ci|ram write", "x", now), nil)
	got := d.Observe(at("user/1/robot3", "ci|ram write", "e1", now), nil)
	if len(got) != 1 {
		t.Fatalf("%d verdicts", len(got))
	}
	if want := "first ram write, which none of its 11 peers has done in 90 days (robot0, robot1, robot10 and 8 others)"; got[0].Reason != want {
		t.Errorf("%q, want %q", got[0].Reason, want)
	}
	if !slices.Equal(got[0].EventIDs, []string{"e1"}) || got[0].Details["peer"].(map[string]any)["group"] != "ci" {
		t.Errorf("%+v", got[0])
	}
	if again := d.Observe(at("user/1/robot3", "ci|ram write", "e2", now+time.Hour), nil); len(again) > 0 {
		t.Error("told twice")
	}
	if second := d.Observe(at("user/1/robot4", "ci|ram write", "e3", now+time.Hour), nil); len(second) > 0 {
		t.Error("a peer had done it")
	}
	if other := d.Observe(at("user/1/robot5", "elsewhere|kms write", "e4", now), nil); len(other) > 0 {
		t.Error("alone in a group")
	}
}

func TestSmallGroup(t *testing.T) {
	d := New(Defaults())
	robots(t, d, 5) // four peers each
	if got := d.Observe(at("user/1/robot3", "ci|ram write", "e1", 10*24*time.Hour), nil); len(got) > 0 {
		t.Errorf("%q in a group of five", got[0].Reason)
	}
}

// oracle keeps everything and works each answer out from the definition.
type oracle struct {
	cfg   Config
	all   map[string][]obs // by group and member
	floor int64
}

type obs struct {
	what string
	at   int64
}

func (o *oracle) does(list []obs, at int64) map[string]bool {
	out := map[string]bool{}
	for _, x := range list {
		// What was done later counts too, for an event that came late.
		if x.at >= at-int64(o.cfg.ForgetAfter) {
			out[x.what] = true
		}
	}
	return out
}

func (o *oracle) established(list []obs, at int64) bool {
	if len(list) < o.cfg.LearnCount {
		return false
	}
	first := list[0].at
	for _, x := range list {
		first = min(first, x.at)
	}
	return at-first >= int64(o.cfg.LearnFor)
}

func (o *oracle) observe(group, member, what string, at int64) (peers int, fires bool) {
	if at < o.floor {
		return 0, false
	}
	me := o.all[group+"|"+member]
	mine := o.does(me, at)
	o.all[group+"|"+member] = append(me, obs{what, at})
	if mine[what] || o.cfg.Overlap > 0 && !o.established(me, at) {
		return 0, false
	}
	done := 0
	for name, list := range o.all {
		g, who, _ := strings.Cut(name, "|")
		if g != group || who == member || !o.established(list, at) {
			continue
		}
		theirs := o.does(list, at)
		union, both := map[string]bool{}, 0
		for v := range mine {
			union[v] = true
			if theirs[v] {
				both++
			}
		}
		for v := range theirs {
			union[v] = true
		}
		if o.cfg.Overlap > 0 && (both == 0 || float64(both) < o.cfg.Overlap*float64(len(union))) {
			continue
		}
		peers++
		if theirs[what] {
			done++
		}
	}
	return peers, peers >= o.cfg.MinPeers && done <= o.cfg.Rare
}

func TestPropOracle(t *testing.T) {
	fired := 0
	rapid.Check(t, func(t *rapid.T) {
		cfg := Defaults()
		cfg.MinPeers = 3
		cfg.Overlap = rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(t, "overlap")
		cfg.Rare = rapid.IntRange(0, 1).Draw(t, "rare")
		cfg.LearnCount = rapid.IntRange(1, 3).Draw(t, "count")
		cfg.LearnFor = time.Duration(rapid.IntRange(0, 5).Draw(t, "for")) * time.Second
		cfg.ForgetAfter = time.Duration(rapid.IntRange(20, 100).Draw(t, "forget")) * time.Second
		d := New(cfg)
		o := &oracle{cfg: cfg, all: map[string][]obs{}, floor: window.Nanos(time.Time{})}
		var clock time.Duration
		for i := range rapid.IntRange(0, 120).Draw(t, "n") {
			switch rapid.IntRange(0, 19).Draw(t, "op") {
			case 0:
				snap, before := d.Snapshot(), d.Stats()
				d = New(cfg)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) || d.Stats() != before {
					t.Fatalf("a restored state is another: %+v, %+v", before, d.Stats())
				}
			case 1:
				d.Advance(t0.Add(clock), nil)
				o.floor = max(o.floor, window.Nanos(t0.Add(clock))-int64(cfg.ForgetAfter))
				for _, g := range []string{"g", "h"} {
					newest := window.Nanos(time.Time{})
					for k, list := range o.all {
						if strings.HasPrefix(k, g+"|") {
							for _, x := range list {
								newest = max(newest, x.at)
							}
						}
					}
					if newest < o.floor { // nothing of the group counts any more
						for k := range o.all {
							if strings.HasPrefix(k, g+"|") {
								delete(o.all, k)
							}
						}
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
				group := rapid.SampledFrom([]string{"g", "g", "g", "h"}).Draw(t, "group")
				who := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "who")
				what := rapid.SampledFrom([]string{"p", "p", "q", "q", "r", "s"}).Draw(t, "what")
				got := d.Observe(at(who, group+"|"+what, fmt.Sprint(i), when), nil)
				peers, fires := o.observe(group, who, what, window.Nanos(t0.Add(when)))
				if fires != (len(got) == 1) || len(got) > 1 {
					t.Fatalf("step %d, %s does %s in %s: got %v, want %v of %d peers", i, who, what, group, got, fires, peers)
				}
				if fires {
					fired++
					if n := got[0].Details["peer"].(map[string]any)["peers"]; n != peers {
						t.Fatalf("step %d: %d peers, want %d", i, n, peers)
					}
				}
			}
		}
	})
	if fired == 0 {
		t.Error("nothing was ever unusual: the test proves nothing")
	}
}

func TestBounds(t *testing.T) {
	c := Defaults()
	c.MaxMembers, c.MaxValues, c.MaxBytes = 10, 4, 64<<10
	d := New(c)
	for i := range 5000 {
		d.Observe(at(fmt.Sprint("user/1/u", i%97), fmt.Sprintf("g%d|what%d", i%61, i%53), "x", time.Duration(i)*time.Second), nil)
		if s := d.Stats(); s.Bytes > c.MaxBytes {
			t.Fatalf("%d bytes held", s.Bytes)
		}
	}
	for e := range d.table.All() {
		if n := len(e.State.members); n > 10 {
			t.Errorf("%d members", n)
		}
		for _, m := range e.State.members {
			if len(m.deeds) > 4 {
				t.Errorf("%d things", len(m.deeds))
			}
		}
	}
	if d.Stats().Evicted == 0 {
		t.Error("nothing was counted")
	}
	d.Advance(t0.Add(400*24*time.Hour), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMeasuredSize(t *testing.T) {
	build := func(things int) (stats detectors.Stats, heap int) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(Defaults())
		for i := range 10_000 {
			for j := range things {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprintf("g%d|service%d write", i/200, j), "x", time.Duration(i)*time.Millisecond), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		return d.Stats(), int(after.HeapAlloc) - int(before.HeapAlloc)
	}
	for _, n := range []int{3, 10} {
		s, heap := build(n)
		t.Logf("%d things: %d bytes a member by estimate, %d on the heap", n, s.Bytes/10_000, heap/10_000)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("the estimate of %d bytes is far from the %d measured", s.Bytes, heap)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"min_peers": func(c *Config) { c.MinPeers = 2 }, "overlap": func(c *Config) { c.Overlap = 1.5 }, "rare": func(c *Config) { c.Rare = 5 },
		"learn_for": func(c *Config) { c.LearnFor = c.ForgetAfter }, "learn_count": func(c *Config) { c.LearnCount = 0 },
		"forget_after": func(c *Config) { c.ForgetAfter = 0 }, "max_members": func(c *Config) { c.MaxMembers = 5 }, "max_values": func(c *Config) { c.MaxValues = 1 },
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
	for i := range 30 {
		d.Observe(at(fmt.Sprint("u", i%4), fmt.Sprintf("g%d|w%d", i%2, i%5), "x", time.Duration(i)*time.Second), nil)
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(Defaults())
			if err := d.Restore(body); err != nil {
				if d.Stats() != (detectors.Stats{}) {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("u1", "g0|x", "y", time.Hour), nil)
			d.Advance(t0.Add(2*time.Hour), nil)
			if err := New(Defaults()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
