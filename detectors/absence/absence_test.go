package absence

import (
	"bytes"
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) // a Monday

const day = 24 * time.Hour

// record is a record of about a kilobyte.
func record(id string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"eventId":%q,"eventTime":%q,"eventName":"DescribeInstances","serviceName":"Ecs","recipientAccountId":"1000000000000001",`+
		`"userIdentity":{"type":"ram-user","userName":"alice","accountId":"1000000000000001"},"userAgent":%q}`, id, at.Format(time.RFC3339), strings.Repeat("x", 700))
}

func at(t testing.TB, key, id string, d time.Duration) detectors.Observation {
	ev, err := event.Parse(record(id, t0.Add(d)))
	if err != nil {
		t.Fatal(err)
	}
	return detectors.Observation{Time: t0.Add(d), Key: key, Event: ev}
}

func bare(key, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestFixedGapOneVerdictPerSilence(t *testing.T) {
	c := Defaults()
	c.Gap, c.LearnCount = time.Hour, 2
	d := New(c)
	if got := d.Observe(at(t, "a", "1", 0), nil); len(got) != 0 {
		t.Fatal(got)
	}
	if got := d.Advance(t0.Add(5*time.Hour), nil); len(got) != 0 {
		t.Fatal("something was expected after one event", got)
	}
	d.Observe(at(t, "a", "2", 6*time.Hour), nil)
	// Only when the watermark has passed the limit, not when it is there.
	if got := d.Advance(t0.Add(7*time.Hour), nil); len(got) != 0 {
		t.Fatal("before the limit had passed:", got)
	}
	got := d.Advance(t0.Add(7*time.Hour+time.Second), nil)
	if len(got) != 1 {
		t.Fatal(got)
	}
	v := got[0]
	if want := "no events for more than 1 hour, the last on 2026-03-02 15:00 UTC"; v.Reason != want {
		t.Errorf("%q", v.Reason)
	}
	if !v.First.Equal(t0.Add(6*time.Hour)) || !v.Last.Equal(t0.Add(7*time.Hour)) || !slices.Equal(v.EventIDs, []string{"2"}) ||
		v.Event == nil || v.Event.ID != "2" || v.Event.Recipient != "1000000000000001" {
		t.Errorf("%+v", v)
	}
	if got := d.Advance(t0.Add(100*time.Hour), nil); len(got) != 0 {
		t.Error("a second verdict for one silence", got)
	}
	if got := d.Observe(at(t, "a", "3", 101*time.Hour), nil); len(got) != 0 {
		t.Error("coming back is a verdict", got)
	}
	if got := d.Advance(t0.Add(103*time.Hour), nil); len(got) != 1 {
		t.Error("not armed again", got)
	}
	// A silence that nobody was told of is noticed when it ends.
	d.Observe(at(t, "a", "4", 104*time.Hour), nil)
	if got := d.Observe(at(t, "a", "5", 106*time.Hour), nil); len(got) != 1 || got[0].EventIDs[0] != "4" {
		t.Error(got)
	}
	// A late event shows it too: the watermark had passed it.
	late := at(t, "a", "6", 108*time.Hour)
	late.Late = true
	if got := d.Observe(late, nil); len(got) != 1 || got[0].EventIDs[0] != "5" {
		t.Error(got)
	}
}

// office makes an account that is busy from 9 to 17 on workdays.
func office(t testing.TB, d *Detector, weeks int) (out []detectors.Verdict, end time.Duration) {
	for w := range weeks {
		for wd := range 5 {
			for m := range 8 * 12 {
				end = time.Duration(w*7+wd)*day + time.Duration(m)*5*time.Minute
				out = d.Advance(t0.Add(end), out)
				out = d.Observe(at(t, "acc", fmt.Sprint(end), end), out)
			}
		}
	}
	return out, end
}

func TestNightsAndWeekendsAreUsual(t *testing.T) {
	d := New(Defaults())
	got, end := office(t, d, 6)
	if len(got) != 0 {
		t.Fatalf("an office that sleeps is missed: %s", got[0].Reason)
	}
	// Friday evening plus twice a weekend.
	if got := d.Advance(t0.Add(end+4*day), nil); len(got) != 0 {
		t.Fatal(got)
	}
	got = d.Advance(t0.Add(end+5*day), nil)
	if len(got) != 1 {
		t.Fatal("a whole week of silence is not noticed")
	}
	if want := "no events for more than 5 days, the last on 2026-04-10 16:55 UTC; in 39 days and 2,880 events it was usually silent for 3 days at most"; got[0].Reason != want {
		t.Errorf("%q", got[0].Reason)
	}
}

func TestOneOutageIsNotUsual(t *testing.T) {
	c := Defaults()
	c.LearnFor = 2 * day
	d := New(c)
	var got []detectors.Verdict
	step := func(from, to time.Duration) {
		for x := from; x < to; x += 5 * time.Minute {
			got = d.Observe(at(t, "a", fmt.Sprint(x), x), got)
		}
	}
	step(0, 5*day)
	step(6*day, 7*day)
	if len(got) != 1 {
		t.Fatalf("%d verdicts for one outage of a day", len(got))
	}
	if got := d.Advance(t0.Add(7*day+70*time.Minute), nil); len(got) != 1 {
		t.Error("after one outage of a day, silence of an hour is no longer noticed")
	}
}

func TestBusyAccountHasFloor(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount = time.Hour, 10
	d := New(c)
	for i := range 8000 {
		d.Observe(bare("a", "e", time.Duration(i)*time.Second/2), nil)
	}
	if got := d.Advance(t0.Add(4000*time.Second+59*time.Minute), nil); len(got) != 0 {
		t.Error("before min_gap:", got)
	}
	if got := d.Advance(t0.Add(4000*time.Second+61*time.Minute), nil); len(got) != 1 || !strings.Contains(got[0].Reason, "usually silent for a second at most") {
		t.Error(got)
	}
}

// oracle keeps all that came of a key and works everything out again each
// time.
type oracle struct {
	cfg   Config
	keys  map[string]*past
	floor time.Duration
}

type past struct {
	times    []time.Duration // in the order in which they came
	inOrder  []time.Duration // those that were the newest when they came
	reported bool
}

func (o *oracle) limit(p *past) (limit time.Duration) {
	if len(p.times) < o.cfg.LearnCount {
		return 0
	}
	if o.cfg.Gap > 0 {
		return o.cfg.Gap
	}
	last := p.inOrder[len(p.inOrder)-1]
	if last-slices.Min(p.times[:p.before()]) < o.cfg.LearnFor {
		return 0
	}
	epoch := func(d time.Duration) int64 { return t0.Add(d).UnixNano() / int64(o.cfg.Remember) }
	count := map[uint8]int{}
	for i := 1; i < len(p.inOrder); i++ {
		if s := int64((p.inOrder[i] - p.inOrder[i-1]) / time.Second); s > 0 && epoch(last)-epoch(p.inOrder[i]) <= 1 {
			count[classOf(s)]++
		}
	}
	var gaps []int64
	sum := int64(0)
	for k, n := range count {
		for range n {
			gaps = append(gaps, longestOf(k))
			sum += longestOf(k)
		}
	}
	slices.SortFunc(gaps, func(a, b int64) int { return cmp.Compare(b, a) })
	usual, spent := int64(0), int64(0)
	for i, g := range gaps {
		spent += g
		if whole := i == len(gaps)-1 || gaps[i+1] != g; whole && i+1 >= o.cfg.Support && float64(spent) >= (1-o.cfg.Quantile)*float64(sum) {
			usual = g
			break
		}
	}
	return min(max(time.Duration(float64(usual)*1e9*o.cfg.Factor), o.cfg.MinGap), o.cfg.MaxGap)
}

// before is how many observations there were when the limit was last worked
// out: at the newest one.
func (p *past) before() int {
	last := p.inOrder[len(p.inOrder)-1]
	for i := len(p.times) - 1; i >= 0; i-- {
		if p.times[i] == last {
			return i + 1
		}
	}
	return 0
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.LearnCount = rapid.IntRange(1, 5).Draw(t, "learn_count")
		c.Support = rapid.IntRange(1, 3).Draw(t, "support")
		c.Quantile = rapid.SampledFrom([]float64{0.5, 0.9, 0.98, 1}).Draw(t, "quantile")
		c.Factor = rapid.SampledFrom([]float64{1, 2}).Draw(t, "factor")
		c.MinGap = time.Duration(rapid.IntRange(1, 20).Draw(t, "min_gap")) * time.Second
		c.MaxGap = c.MinGap + time.Duration(rapid.IntRange(0, 600).Draw(t, "max_gap"))*time.Second
		c.LearnFor = time.Duration(rapid.IntRange(0, 60).Draw(t, "learn_for")) * time.Second
		c.Remember = c.MaxGap + time.Duration(rapid.IntRange(0, 300).Draw(t, "remember"))*time.Second
		if rapid.Bool().Draw(t, "fixed") {
			c.Gap = time.Duration(rapid.IntRange(1, 60).Draw(t, "gap")) * time.Second
		}
		c.DropAfter = c.longest() + time.Duration(rapid.IntRange(1, 600).Draw(t, "drop_after"))*time.Second
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		d := New(c)
		o := &oracle{cfg: c, keys: map[string]*past{}, floor: -1000 * day}
		var clock time.Duration
		for i := range rapid.IntRange(0, 60).Draw(t, "n") {
			clock += time.Duration(rapid.SampledFrom([]int{0, 1, 2, 3, 5, 8, 20, 60, 200}).Draw(t, "step")) * time.Second
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
			case 1, 2:
				type miss struct {
					at  time.Duration
					key string
				}
				var want []miss
				for k, p := range o.keys {
					last := p.inOrder[len(p.inOrder)-1]
					if l := o.limitThen(p); l > 0 && !p.reported && last+l < clock {
						p.reported = true
						want = append(want, miss{last + l, k})
					}
					if last < clock-c.DropAfter {
						delete(o.keys, k)
					}
				}
				o.floor = max(o.floor, clock-c.DropAfter)
				slices.SortFunc(want, func(a, b miss) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
				got := d.Advance(t0.Add(clock), nil)
				if len(got) != len(want) {
					t.Fatalf("step %d at %s: got %v, want %v", i, clock, got, want)
				}
				for j := range got {
					if !got[j].Last.Equal(t0.Add(want[j].at)) || !strings.HasPrefix(got[j].EventIDs[0], want[j].key) {
						t.Fatalf("step %d at %s: got %v, want %v", i, clock, got, want)
					}
				}
			default:
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				when := clock
				late := rapid.IntRange(0, 5).Draw(t, "late") == 0
				if late {
					when -= time.Duration(rapid.IntRange(0, 40).Draw(t, "by")) * time.Second
				}
				ob := bare(key, fmt.Sprint(key, i), when)
				ob.Late = late
				want := false
				p := o.keys[key]
				switch {
				case when < o.floor:
				case p == nil:
					o.keys[key] = &past{times: []time.Duration{when}, inOrder: []time.Duration{when}}
				case when < p.inOrder[len(p.inOrder)-1]:
					p.times = append(p.times, when)
				default:
					l := o.limitThen(p)
					want = l > 0 && !p.reported && when-p.inOrder[len(p.inOrder)-1] > l
					p.times, p.inOrder, p.reported = append(p.times, when), append(p.inOrder, when), false
				}
				if got := d.Observe(ob, nil); want != (len(got) == 1) {
					t.Fatalf("step %d: %s at %s: got %v, want %v", i, key, when, got, want)
				}
			}
		}
	})
}

// limitThen is the limit as it stood when the newest observation came: late
// ones after it change the next.
func (o *oracle) limitThen(p *past) time.Duration {
	n := p.before()
	return o.limit(&past{times: p.times[:n], inOrder: p.inOrder})
}

func TestPropClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.Int64Range(1, 1<<30).Draw(t, "seconds")
		no := classOf(s)
		if l := longestOf(no); l < s || l > s+s/4 || classOf(l) != no || no < classes-1 && classOf(l+1) != no+1 {
			t.Fatalf("%d seconds are in class %d up to %d", s, no, l)
		}
	})
}

func TestOrderOfVerdictsAndEviction(t *testing.T) {
	c := Defaults()
	c.Gap, c.LearnCount, c.MaxKeys = time.Hour, 1, 3
	d := New(c)
	for i, k := range []string{"old", "c", "b", "a"} {
		d.Observe(at(t, k, k, time.Duration(i)*time.Second), nil)
	}
	if s := d.Stats(); s.Keys != 3 || s.Evicted != 1 {
		t.Errorf("%+v", s)
	}
	var got []string
	for _, v := range d.Advance(t0.Add(2*time.Hour), nil) {
		got = append(got, v.EventIDs[0])
	}
	if !slices.Equal(got, []string{"c", "b", "a"}) {
		t.Error(got)
	}
	d.Advance(t0.Add(c.DropAfter+3*time.Hour), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 || len(d.queue) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLargeRecordIsOutlined(t *testing.T) {
	raw := []byte(fmt.Sprintf(`{"eventId":"big","eventTime":"2026-03-02T09:00:00Z","eventName":"RunInstances","serviceName":"Ecs","recipientAccountId":"1000000000000001",`+
		`"userIdentity":{"type":"ram-user","userName":"alice","accountId":"1000000000000001"},"requestParameters":{"UserData":%q}}`, strings.Repeat("x", 2*MaxRecord)))
	ev, err := event.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := Defaults()
	c.Gap, c.LearnCount = time.Hour, 1
	d := New(c)
	d.Observe(detectors.Observation{Time: t0, Key: "k", Event: ev}, nil)
	if d.Stats().Bytes > MaxRecord {
		t.Error("the whole record is kept")
	}
	got := d.Advance(t0.Add(2*time.Hour), nil)
	if len(got) != 1 || got[0].Event == nil {
		t.Fatal(got)
	}
	if e := got[0].Event; e.ID != "big" || e.Actor.ID != ev.Actor.ID || e.Recipient != ev.Recipient || e.Name != ev.Name || !e.Time.Equal(ev.Time) {
		t.Errorf("%+v", e)
	}
}

func TestMeasuredSize(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := New(Defaults())
	const n = 1000
	for i := range n {
		for j := range 20 {
			d.Observe(at(t, fmt.Sprintf("%016d", i), fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i), time.Duration(j*j*j)*time.Second), nil)
		}
	}
	d.LetGo()
	runtime.GC()
	runtime.ReadMemStats(&after)
	s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
	t.Logf("%d bytes per entity by estimate, %d on the heap, %d in a snapshot", s.Bytes/s.Keys, heap/s.Keys, len(d.Snapshot())/s.Keys)
	if s.Keys != n || s.Bytes < heap*7/10 || s.Bytes > heap*2 {
		t.Errorf("%+v, %d bytes on the heap", s, heap)
	}
	runtime.KeepAlive(d)
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"gap":         func(c *Config) { c.Gap = -1 },
		"quantile":    func(c *Config) { c.Quantile = 1.1 },
		"factor":      func(c *Config) { c.Factor = 0.5 },
		"support":     func(c *Config) { c.Support = 0 },
		"min_gap":     func(c *Config) { c.MinGap = 0 },
		"max_gap":     func(c *Config) { c.MaxGap = time.Minute },
		"learn_for":   func(c *Config) { c.LearnFor = -1 },
		"learn_count": func(c *Config) { c.LearnCount = 0 },
		"remember":    func(c *Config) { c.Remember = time.Hour },
		"drop_after":  func(c *Config) { c.DropAfter = time.Hour },
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
	c.LearnFor, c.LearnCount = time.Second, 2
	return c
}

func FuzzRestore(f *testing.F) {
	d := New(fuzzConfig())
	for i := range 9 {
		d.Observe(at(f, fmt.Sprint(i%3), "e", time.Duration(i)*time.Minute), nil)
	}
	d.Advance(t0.Add(2*time.Hour), nil)
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(fuzzConfig())
			if err := d.Restore(body); err != nil {
				if d.Stats().Keys != 0 || len(d.queue) != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(bare("0", "y", 50*day), nil)
			d.Advance(t0.Add(51*day), nil)
			if err := New(fuzzConfig()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	for _, keys := range []int{10, 5000} {
		b.Run(fmt.Sprint(keys, " accounts"), func(b *testing.B) {
			d := New(Defaults())
			obs := make([]detectors.Observation, keys)
			for i := range obs {
				obs[i] = at(b, fmt.Sprintf("%016d", i), "e", 0)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				o := &obs[i%keys]
				o.Time = t0.Add(time.Duration(i) * 100 * time.Millisecond)
				d.Observe(*o, nil)
				i++
			}
		})
	}
}

func BenchmarkAdvance(b *testing.B) {
	d := New(Defaults())
	for i := range 5000 {
		for j := range 300 {
			d.Observe(bare(fmt.Sprint(i), "e", time.Duration(j)*2*time.Hour), nil)
		}
	}
	mark := t0.Add(600 * time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		d.Advance(mark, nil)
	}
}

// file is a record that was left.
type file []byte

func (f file) Reread(buf []byte, at int64, size int) []byte { return append(buf, f[at:][:size]...) }
func (f file) Changed(int64)                                { panic("changed") }

// TestLetGo: what was observed may be overwritten once the detector let go,
// and when it does so changes nothing.
func TestLetGo(t *testing.T) {
	run := func(every int, left bool) (string, []detectors.Verdict) {
		d := New(Defaults())
		var out []detectors.Verdict
		var lent [][]byte
		for i := range 400 {
			for _, key := range []string{"a", "b"} {
				raw := []byte(fmt.Sprintf(`{"eventId":"e%d%s","eventName":"GetUser","serviceName":"Ram","eventTime":%q}`, i, key, t0.Add(time.Duration(i)*time.Hour).Format(time.RFC3339)))
				ev, err := event.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				if left {
					b := ev.Brief()
					b.Leave(&event.Block{File: file(raw)}, 0)
					ev = new(event.Event)
					b.Outline(ev)
				}
				out = d.Observe(detectors.Observation{Time: ev.Time, Key: key, Event: ev}, out)
				if lent = append(lent, raw); len(lent) >= every {
					d.LetGo()
					for _, raw := range lent {
						for k := range raw {
							raw[k] = 'X'
						}
					}
					lent = lent[:0]
				}
			}
		}
		snap := string(d.Snapshot())
		return snap, d.Advance(t0.Add(2000*time.Hour), out)
	}
	snap, verdicts := run(1, false)
	if len(verdicts) != 2 || verdicts[0].Event == nil || verdicts[0].Event.ID != "e399a" || !slices.Equal(verdicts[0].EventIDs, []string{"e399a"}) {
		t.Fatalf("%+v", verdicts)
	}
	for _, every := range []int{2, 3, 7, 1000} {
		s, v := run(every, every%2 == 0)
		if s != snap || len(v) != 2 || v[0].Reason != verdicts[0].Reason || string(v[1].Event.Raw()) != string(verdicts[1].Event.Raw()) {
			t.Errorf("letting go every %d observations changes what is known: %+v", every, v)
		}
	}
}
