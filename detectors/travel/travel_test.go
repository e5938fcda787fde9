package travel

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

var t0 = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestImpossible(t *testing.T) {
	d := New(Defaults())
	d.Observe(at("user/1/bob", "203.0.113.10|64500|CN", "1", 0), nil)
	got := d.Observe(at("user/1/bob", "198.51.100.7|64501|NL", "2", 40*time.Minute), nil)
	if len(got) != 1 {
		t.Fatal(got)
	}
	if want := "signed in from NL 40 minutes after CN, about 8,200 km"; got[0].Reason != want {
		t.Errorf("%q", got[0].Reason)
	}
	text, err := json.Marshal(got[0].Details)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"travel":{"distance_km":8200,"from":{"address":"203.0.113.10","asn":"AS64500","country":"CN","event_id":"1","time":"2026-03-02T09:00:00Z"},` +
		`"least_speed_kmh":8100,"least_way_km":5400,"max_speed_kmh":900,"seconds":2400,"to":{"address":"198.51.100.7","asn":"AS64501","country":"NL","event_id":"2","time":"2026-03-02T09:40:00Z"}}}`
	if string(text) != want {
		t.Errorf("%s", text)
	}
	if v := got[0]; !v.First.Equal(t0) || !v.Last.Equal(t0.Add(40*time.Minute)) || !slices.Equal(v.EventIDs, []string{"1", "2"}) || v.Count != 2 {
		t.Errorf("%+v", v)
	}
	// Back and forth between the same two is one story.
	for i := range 30 {
		v := []string{"203.0.113.10|64500|CN", "198.51.100.7|64501|NL"}[i%2]
		if got := d.Observe(at("user/1/bob", v, "x", time.Hour+time.Duration(i)*8*time.Hour), nil); len(got) != 0 {
			t.Fatal("told again:", got)
		}
	}
	if got := d.Observe(at("user/1/bob", "192.0.2.1|64502|BR", "3", time.Hour+232*time.Hour), nil); len(got) != 1 || got[0].Reason != "signed in from NL at the same moment as from BR, about 9,000 km" {
		t.Error(got)
	}
}

func TestTolerated(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b   string
		after  time.Duration
		change func(*Config)
		want   bool
	}{
		"a flight":                     {"203.0.113.10|64500|CN", "198.51.100.7|64501|NL", 11 * time.Hour, nil, false},
		"too fast by a little":         {"203.0.113.10|64500|CN", "198.51.100.7|64501|NL", 5 * time.Hour, nil, true},
		"the same country":             {"203.0.113.10|64500|CN", "198.51.100.7|64501|cn", time.Minute, nil, false},
		"next door":                    {"203.0.113.10|64500|NL", "198.51.100.7|64501|DE", time.Minute, nil, false},
		"across a border of China":     {"203.0.113.10|64500|CN", "198.51.100.7|64501|HK", time.Minute, nil, false},
		"no country":                   {"203.0.113.10|64500|", "198.51.100.7|64501|NL", time.Minute, nil, false},
		"no geo data":                  {"203.0.113.10", "198.51.100.7", time.Minute, nil, false},
		"a code of no country":         {"203.0.113.10|64500|ZZ", "198.51.100.7|64501|NL", time.Minute, nil, false},
		"one network, two countries":   {"203.0.113.10|64500|CN", "198.51.100.7|AS64500|US", time.Minute, nil, false},
		"the same, judged":             {"203.0.113.10|64500|CN", "198.51.100.7|AS64500|US", time.Minute, func(c *Config) { c.SameASN = Judge }, true},
		"ignored network number":       {"203.0.113.10|64500|CN", "198.51.100.7|64501|US", time.Minute, func(c *Config) { c.IgnoreASNs = []string{"AS64501"} }, false},
		"ignored network":              {"203.0.113.10|64500|CN", "::ffff:198.51.100.7|64501|US", time.Minute, func(c *Config) { c.IgnoreNetworks = []string{"198.51.100.0/24"} }, false},
		"another is ignored":           {"203.0.113.10|64500|CN", "198.51.100.7|64501|US", time.Minute, func(c *Config) { c.IgnoreNetworks = []string{"198.51.100.8"} }, true},
		"countries that are together":  {"203.0.113.10|64500|CN", "198.51.100.7|64501|SG", time.Minute, func(c *Config) { c.MinDistance, c.Together = 0, []string{"CN/HK, SG"} }, false},
		"not together":                 {"203.0.113.10|64500|KR", "198.51.100.7|64501|SG", time.Minute, func(c *Config) { c.Together = []string{"CN HK SG"} }, true},
		"longer ago than within":       {"203.0.113.10|64500|CN", "198.51.100.7|64501|NL", 2 * time.Hour, func(c *Config) { c.Within = time.Hour }, false},
		"one observation of two asked": {"203.0.113.10|64500|CN", "198.51.100.7|64501|NL", time.Minute, func(c *Config) { c.MinObservations = 2 }, false},
		"without ASN and address":      {"||CN", "||NL", time.Minute, nil, true},
	} {
		c := Defaults()
		if tt.change != nil {
			tt.change(&c)
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		d := New(c)
		d.Observe(at("k", tt.a, "1", 0), nil)
		if got := d.Observe(at("k", tt.b, "2", tt.after), nil); tt.want != (len(got) == 1) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLateAndSupported(t *testing.T) {
	c := Defaults()
	c.MinObservations = 2
	d := New(c)
	d.Observe(at("k", "203.0.113.10|64500|CN", "1", 0), nil)
	d.Observe(at("k", "203.0.113.10|64500|CN", "2", 30*time.Hour), nil)
	d.Observe(at("k", "203.0.113.10|64500|CN", "3", 31*time.Hour), nil)
	d.Observe(at("k", "198.51.100.7|64501|NL", "4", 32*time.Hour), nil)
	// The second observation in NL is enough, and the first one counts for
	// the time between. What came a day before is not evidence.
	got := d.Observe(at("k", "198.51.100.7|64501|NL", "5", 45*time.Hour), nil)
	if len(got) != 1 || got[0].Reason != "signed in from NL 1 hour after CN, about 8,200 km" {
		t.Fatal(got)
	}

	d = New(Defaults())
	d.Observe(at("k", "198.51.100.7|64501|NL", "2", 2*time.Hour), nil)
	late := at("k", "203.0.113.10|64500|CN", "1", time.Hour)
	late.Late = true
	if got := d.Observe(late, nil); len(got) != 1 || got[0].Reason != "signed in from NL 1 hour after CN, about 8,200 km" || got[0].EventIDs[0] != "1" {
		t.Error(got)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b     string
		from, to int // known distances between well-known places, give or take
	}{
		{"NL", "CN", 7500, 8300}, {"US", "GB", 6200, 7400}, {"SG", "HK", 2400, 2700}, {"AU", "NZ", 2900, 3700},
		{"FJ", "WS", 800, 1400}, {"BR", "ZA", 7000, 7900}, {"CN", "CN", 0, 0}, {"CN", "ZZ", 0, 0}, {"", "CN", 0, 0},
	} {
		km, way := distance(tt.a, tt.b)
		back, _ := distance(tt.b, tt.a)
		if km < tt.from || km > tt.to || way > km || km != back {
			t.Errorf("%s to %s: %d km, back %d, way %d", tt.a, tt.b, km, back, way)
		}
	}
	if len(places) < 245 {
		t.Errorf("%d countries", len(places))
	}
	for c, s := range places {
		if s.lat < -90 || s.lat > 90 || s.lon < -180 || s.lon > 180 || s.radius <= 0 {
			t.Errorf("%s: %+v", c, s)
		}
	}
}

// oracle keeps every observation and works each answer out from the
// definition.
type oracle struct {
	cfg    Config
	seen   map[string][]visit
	told   map[string]time.Duration // key, a, b: when they last met
	newest map[string]time.Duration
	mark   time.Duration // watermark
}

type visit struct {
	at      time.Duration
	id      string
	country string
	asn     uint32
	now     time.Duration // the newest of the identity or the watermark, when it came
}

func (a visit) before(b visit) bool { return a.at < b.at || a.at == b.at && a.id < b.id }

// stay is the visits of a country since it was last forgotten, sorted.
func (o *oracle) stay(key, country string) (out []visit) {
	for _, v := range o.seen[key] {
		if len(out) > 0 && slices.MaxFunc(out, func(a, b visit) int { return int(a.at - b.at) }).at < v.now-o.cfg.Within {
			out = nil
		}
		if v.country == country {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b visit) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	return out
}

func (o *oracle) observe(key string, v visit) (pair string) {
	if n, ok := o.newest[key]; v.at < o.mark-o.cfg.Within || ok && v.at < n-o.cfg.Within {
		return ""
	} else if !ok || v.at > n {
		o.newest[key] = v.at
	}
	v.now = max(o.newest[key], o.mark)
	o.seen[key] = append(o.seen[key], v)
	here := o.stay(key, v.country)
	best, who := 0.0, ""
	if len(here) < o.cfg.MinObservations {
		return ""
	}
	countries := slices.Sorted(func(yield func(string) bool) {
		done := map[string]bool{v.country: true}
		for _, x := range o.seen[key] {
			if !done[x.country] {
				done[x.country] = true
				if !yield(x.country) {
					return
				}
			}
		}
	})
	for _, c := range countries {
		there := o.stay(key, c)
		if len(there) == 0 || len(there) < o.cfg.MinObservations {
			continue
		}
		_, way := distance(v.country, c)
		took, found := time.Duration(math.MaxInt64), false
		for _, h := range []visit{v, here[0], here[len(here)-1]} {
			for _, x := range []visit{there[0], there[len(there)-1]} {
				if h.asn != 0 && h.asn == x.asn {
					continue
				}
				took, found = min(took, (h.at-x.at).Abs()), true
			}
		}
		if !found || way <= o.cfg.MinDistance {
			continue
		}
		speed := math.Inf(1)
		if took > 0 {
			speed = float64(way) / took.Hours()
		}
		if speed > float64(o.cfg.MaxSpeed) && speed > best {
			best, who = speed, c
		}
	}
	if who == "" {
		return ""
	}
	a, b := min(who, v.country), max(who, v.country)
	id := key + a + b
	last, met := o.told[id]
	if met && last < v.now-max(o.cfg.RepeatAfter, o.cfg.Within) {
		met = false
	}
	if o.told[id] = max(v.at, last); !met {
		o.told[id] = v.at
		return a + b
	}
	return ""
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.Within = time.Duration(rapid.IntRange(1, 30).Draw(t, "within")) * time.Hour
		c.RepeatAfter = time.Duration(rapid.IntRange(0, 90).Draw(t, "repeat")) * time.Hour
		c.MinObservations = rapid.IntRange(1, 3).Draw(t, "min")
		c.MinDistance = rapid.SampledFrom([]int{0, 500, 5000}).Draw(t, "km")
		d := New(c)
		o := &oracle{cfg: c, seen: map[string][]visit{}, told: map[string]time.Duration{}, newest: map[string]time.Duration{}, mark: -1000 * day}
		var clock time.Duration
		for i := range rapid.IntRange(0, 60).Draw(t, "n") {
			clock += time.Duration(rapid.SampledFrom([]int{0, 1, 10, 60, 300, 1200}).Draw(t, "minutes")) * time.Minute
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
				o.mark = max(o.mark, clock)
			default:
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				v := visit{at: clock, id: fmt.Sprintf("e%03d", i)}
				v.country = rapid.SampledFrom([]string{"CN", "NL", "SG", "US", "BR"}).Draw(t, "country")
				v.asn = uint32(rapid.IntRange(0, 3).Draw(t, "asn"))
				late := rapid.IntRange(0, 4).Draw(t, "late") == 0
				if late {
					v.at -= time.Duration(rapid.IntRange(0, 40).Draw(t, "by")) * time.Hour
				}
				ob := at(key, fmt.Sprintf("192.0.2.1|%d|%s", v.asn, v.country), v.id, v.at)
				ob.Late = late
				got := d.Observe(ob, nil)
				want := o.observe(key, v)
				have := ""
				if len(got) == 1 {
					m := got[0].Details["travel"].(map[string]any)
					x, y := m["from"].(map[string]any)["country"].(string), m["to"].(map[string]any)["country"].(string)
					have = min(x, y) + max(x, y)
				}
				if have != want {
					t.Fatalf("step %d: %s %+v: got %q, want %q", i, key, v, have, want)
				}
			}
		}
	})
}

func TestBounds(t *testing.T) {
	c := Defaults()
	c.MaxKeys, c.MaxPlaces = 100, 3
	d := New(c)
	for i := range 300 {
		for j, cc := range []string{"CN", "NL", "SG", "US", "BR"} {
			d.Observe(at(fmt.Sprint(strings.Repeat("k", 1000), i), "192.0.2.1||"+cc, fmt.Sprint(j), time.Duration(i)*time.Second), nil)
		}
	}
	s := d.Stats()
	if s.Keys != 100 || s.Evicted != 200 || s.Trimmed != 2*300 {
		t.Errorf("%+v", s)
	}
	for e := range d.table.All() {
		if len(e.Key) > window.MaxKey || len(e.State.places) > 3 || len(e.State.meetings) > maxMeetings {
			t.Fatalf("%d bytes of key, %d places", len(e.Key), len(e.State.places))
		}
	}
	d.Advance(t0.Add(30*day), nil)
	if s := d.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMeasuredSize(t *testing.T) {
	for n, countries := range [][]string{{"CN"}, {"CN", "NL"}, {"CN", "NL", "SG", "US"}} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(Defaults())
		for i := range 4000 {
			for j := range 2 * len(countries) {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), "192.0.2.1|64500|"+countries[j%len(countries)], fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i*10+j), time.Duration(j)*12*time.Hour), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
		t.Logf("%d countries: %d bytes per identity by estimate, %d on the heap, %d in a snapshot", len(countries), s.Bytes/s.Keys, heap/s.Keys, len(d.Snapshot())/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("%d: the estimate of %d bytes is far from the %d measured", n, s.Bytes, heap)
		}
		runtime.KeepAlive(d)
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"max_speed":         func(c *Config) { c.MaxSpeed = 0 },
		"min_distance":      func(c *Config) { c.MinDistance = -1 },
		"within":            func(c *Config) { c.Within = 0 },
		"min_observations":  func(c *Config) { c.MinObservations = 0 },
		"repeat_after":      func(c *Config) { c.RepeatAfter = -1 },
		"ignore_asns.1":     func(c *Config) { c.IgnoreASNs = []string{"64500", "example"} },
		"ignore_networks.0": func(c *Config) { c.IgnoreNetworks = []string{"203.0.113.0/99"} },
		"together.0":        func(c *Config) { c.Together = []string{"CN"} },
		"together.1":        func(c *Config) { c.Together = []string{"CN HK", "CN SG"} },
		"together.2":        func(c *Config) { c.Together = []string{"CN HK", "US CA", "ZZ NL"} },
		"same_asn":          func(c *Config) { c.SameASN = "yes" },
		"phrase":            func(c *Config) { c.Phrase = "" },
		"max_places":        func(c *Config) { c.MaxPlaces = 1 },
		"max_bytes":         func(c *Config) { c.MaxBytes = 0 },
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
	for i, v := range []string{"192.0.2.1|1|CN", "2001:db8::1|2|NL", "||US", "192.0.2.1|1|CN"} {
		for k := range 3 {
			d.Observe(at(fmt.Sprint(k), v, "e", time.Duration(i)*time.Hour), nil)
		}
	}
	f.Add(d.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			d := New(Defaults())
			if err := d.Restore(body); err != nil {
				if s := d.Stats(); s.Keys != 0 || s.Evicted != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			d.Observe(at("0", "192.0.2.1|1|BR", "y", 3*time.Hour), nil)
			d.Advance(t0.Add(5*time.Hour), nil)
			if err := New(Defaults()).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzValue(f *testing.F) {
	f.Add("203.0.113.10|64500|NL")
	f.Add("::ffff:1.2.3.4%eth0|AS1|\xff\xff")
	f.Fuzz(func(t *testing.T, value string) {
		d := New(Defaults())
		d.Observe(at("k", "||NZ", "1", 0), nil)
		for _, v := range d.Observe(at("k", value, "2", time.Second), nil) {
			if len(v.Reason) > 200 {
				t.Fatal(v.Reason)
			}
		}
		if err := New(Defaults()).Restore(d.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	for name, values := range map[string][]string{
		"one country":   {"203.0.113.10|64500|CN"},
		"two countries": {"203.0.113.10|64500|CN", "198.51.100.7|64501|NL"},
	} {
		b.Run(name, func(b *testing.B) {
			d := New(Defaults())
			keys := make([]string, 1000)
			for i := range keys {
				keys[i] = fmt.Sprintf("user/1000000000000001/u%05d", i)
			}
			ev := &event.Event{ID: "3A5C1B2E-0000-4000-8000-000000000001"}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.Observe(detectors.Observation{Time: t0.Add(time.Duration(i) * time.Second), Key: keys[i%1000], Value: values[i/1000%len(values)], Event: ev}, nil)
				i++
			}
		})
	}
}
