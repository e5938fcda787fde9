package baseline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
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

const day = 24 * time.Hour

func at(key, value, id string, d time.Duration) detectors.Observation {
	return detectors.Observation{Time: t0.Add(d), Key: key, Value: value, Event: &event.Event{ID: id, Time: t0.Add(d)}}
}

func TestUnfamiliarNetwork(t *testing.T) {
	d := New(Defaults())
	var got []detectors.Verdict
	for i := range 1204 {
		ip := "192.0.2.10|AS64500|NL"
		if i%4 == 3 {
			ip = fmt.Sprintf("203.0.113.%d|64501|NL", i%200)
		}
		got = d.Observe(at("user/1000000000000001/alice", ip, fmt.Sprint(i), time.Duration(i)*49*time.Minute), got)
	}
	got = d.Observe(at("user/1000000000000001/alice", "192.0.2.77|AS64500|NL", "other address", 41*day), got)
	got = d.Observe(at("user/1000000000000001/alice", "198.18.0.1|AS64500|NL", "known asn", 41*day), got)
	got = d.Observe(at("user/1000000000000001/alice", "Internal", "no address", 41*day), got)
	if len(got) != 0 {
		t.Fatalf("%v", got)
	}
	got = d.Observe(at("user/1000000000000001/alice", "198.51.100.7|AS64999|RU", "evil", 41*day), got)
	if len(got) != 1 {
		t.Fatal("no verdict for an unfamiliar network")
	}
	if want := "first call from 198.51.100.0/24 (AS64999, RU); in 41 days and 1,206 calls this user used only 192.0.2.0/24, 203.0.113.0/24 and 198.18.0.0/24"; got[0].Reason != want {
		t.Errorf("%q", got[0].Reason)
	}
	text, err := json.Marshal(got[0].Details)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"baseline":{"address":"198.51.100.7","asn":"AS64999","country":"RU","learned_days":41,"new":"198.51.100.0/24","novelty":"country","observations":1206,"usual":[` +
		`{"asn":"AS64500","count":904,"country":"NL","last_seen":"2026-04-11T09:00:00Z","network":"192.0.2.0/24","share":0.75},` +
		`{"asn":"AS64501","count":301,"country":"NL","last_seen":"2026-04-11T07:27:00Z","network":"203.0.113.0/24","share":0.25},` +
		`{"asn":"AS64500","count":1,"country":"NL","last_seen":"2026-04-11T09:00:00Z","network":"198.18.0.0/24","share":0.001}],"usual_total":3}}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	if again := d.Observe(at("user/1000000000000001/alice", "198.51.100.9|AS64999|RU", "again", 41*day+time.Second), nil); len(again) != 0 {
		t.Error("a network was new twice")
	}
}

// TestRoaming has people in hotels: where each week has new networks, one more
// is no news, until they have settled; a new country is news all the same, and
// failed sign-ins from many places make nobody a traveller.
func TestRoaming(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount, c.Roaming = 2*day, 5, 4
	d := New(c)
	see := func(value string, when time.Duration) bool {
		return len(d.Observe(at("user/1/alice", value, value, when), nil)) > 0
	}
	for i := range 20 {
		if see(fmt.Sprintf("198.18.%d.1||NL", i), time.Duration(i)*day) {
			t.Errorf("hotel %d is told", i)
		}
	}
	if see("203.0.113.7||NL", 20*day) {
		t.Error("one more of a traveller's networks is told")
	}
	if !see("203.0.114.7||BR", 20*day) {
		t.Error("a traveller's new country is not told")
	}
	for i := range 20 {
		see("198.18.0.1||NL", time.Duration(21+i)*day)
	}
	if !see("203.0.115.7||NL", 41*day) {
		t.Error("a new network of somebody who has settled is not told")
	}
	for i := range 20 {
		see("198.51.100.7", time.Duration(50+i)*day)
		o := at("user/1/alice", fmt.Sprintf("198.19.%d.1||NL", i), "failed", time.Duration(50+i)*day)
		o.Event.Outcome = event.Attempt
		if n := len(d.Observe(o, nil)); i > 10 && n != 1 {
			t.Errorf("attempt %d: %d verdicts", i, n)
		}
	}
}

func TestNoveltyLevels(t *testing.T) {
	for _, tt := range []struct{ novelty, value, want string }{
		{LevelNetwork, "192.0.2.200", ""},
		{LevelNetwork, "198.51.100.1|AS64500|NL", "network"},
		{LevelNetwork, "198.51.100.1|AS64501|NL", "asn"},
		{LevelNetwork, "198.51.100.1", "network"},
		{LevelASN, "198.51.100.1|AS64500|DE", ""},
		{LevelASN, "198.51.100.1|AS64501|NL", "asn"},
		{LevelASN, "198.51.100.1|AS64501|DE", "country"},
		{LevelASN, "198.51.100.1||", "network"}, // ASN not known: the network decides
		{LevelASN, "198.51.100.1|AS0|", "network"},
		{LevelCountry, "198.51.100.1|AS64501|NL", ""},
		{LevelCountry, "198.51.100.1|AS64501|DE", "country"},
		{LevelCountry, "198.51.100.1|AS64501|", "asn"}, // country not known: as asn
		{LevelCountry, "198.51.100.1|AS64500|", ""},
		{LevelAddress, "192.0.2.1|AS64500|NL", ""},
		{LevelAddress, "192.0.2.2|AS64500|NL", "address"},
		{LevelAddress, "198.51.100.1|AS64500|NL", "network"},
		{LevelAddress, "::ffff:192.0.2.1|AS64500|NL", ""},
		{LevelNetwork, "2001:db8:1::1", "network"},
		{LevelNetwork, "ecs.aliyuncs.com", ""},
		{LevelNetwork, "0.0.0.0", ""},
		{LevelNetwork, "", ""},
	} {
		c := Defaults()
		c.Novelty, c.LearnFor, c.LearnCount = tt.novelty, 0, 1
		d := New(c)
		d.Observe(at("k", "192.0.2.1|AS64500|NL", "1", 0), nil)
		got := d.Observe(at("k", tt.value, "2", time.Second), nil)
		level := ""
		if len(got) > 0 {
			level = got[0].Details["baseline"].(map[string]any)["novelty"].(string)
		}
		if level != tt.want {
			t.Errorf("novelty %s, %s: %q, want %q", tt.novelty, tt.value, level, tt.want)
		}
	}
}

func TestGeoDatabaseAddedLater(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount = 0, 1
	d := New(c)
	d.Observe(at("k", "192.0.2.1", "1", 0), nil)
	got := d.Observe(at("k", "198.51.100.1|AS64500|NL", "2", time.Second), nil)
	if len(got) != 1 || got[0].Details["baseline"].(map[string]any)["novelty"] != "network" {
		t.Errorf("%v", got)
	}
}

func TestForgetting(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount = 0, 1
	// Active for 100 days without the second network: it is forgotten.
	d := New(c)
	d.Observe(at("k", "192.0.2.1", "1", 0), nil)
	d.Observe(at("k", "198.51.100.1", "2", 0), nil)
	for i := range 100 {
		d.Observe(at("k", "192.0.2.1", "x", time.Duration(i)*day), nil)
	}
	if got := d.Observe(at("k", "198.51.100.1", "3", 100*day), nil); len(got) != 1 {
		t.Error("a network unused for 100 days is still usual")
	}
	// Silent for 100 days: it comes back to what it knows.
	d = New(c)
	d.Observe(at("k", "192.0.2.1", "1", 0), nil)
	d.Advance(t0.Add(100*day), nil)
	if got := d.Observe(at("k", "192.0.2.9", "2", 100*day), nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := d.Observe(at("k", "203.0.113.1", "3", 100*day), nil); len(got) != 1 {
		t.Error("a dormant identity woke up elsewhere unnoticed")
	}
	// Silent for longer than drop_after: it is gone.
	d.Advance(t0.Add(1000*day), nil)
	if d.Stats().Keys != 0 {
		t.Error("an identity is kept for ever")
	}
}

func TestSupportAndLateAndValues(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount, c.Support = 0, 3, 3
	d := New(c)
	for i := range 3 {
		d.Observe(at("k", "192.0.2.1", fmt.Sprint(i), time.Duration(i)), nil)
	}
	n := 0
	for i := range 6 {
		n += len(d.Observe(at("k", "198.51.100.1", fmt.Sprint(i), time.Minute), nil))
	}
	if n != 3 {
		t.Errorf("%d verdicts with support 3", n)
	}
	late := at("k", "203.0.113.1", "late", time.Minute)
	late.Late = true
	if got := d.Observe(late, nil); len(got) != 1 {
		t.Error("a new network in a late observation was missed")
	}

	c = Defaults()
	c.Kind, c.LearnFor, c.LearnCount, c.Phrase = KindValue, 0, 2, "first call to"
	d = New(c)
	d.Observe(at("user/1/a", "ecs", "1", 0), nil)
	d.Observe(at("user/1/a", "oss", "2", 0), nil)
	got := d.Observe(at("user/1/a", "kms\x1b[31m", "3", 2*day), nil)
	if len(got) != 1 || got[0].Reason != "first call to kms\uFFFD[31m; in 2 days and 2 calls this user used only ecs and oss" {
		t.Errorf("%v", got)
	}
}

// oracle keeps every observation and works each answer out from the
// definition, for kind network with novelty network.
type oracle struct {
	cfg Config
	all map[string][]sighting
}

// TestManyNetworksAreNotRoaming has a key that is used from ten networks from its
// first day on, and from no other for a week: an eleventh is news.
func TestManyNetworksAreNotRoaming(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount, c.Roaming = 2*day, 5, 6
	d := New(c)
	for hour := range 7 * 24 {
		value := fmt.Sprintf("198.18.%d.1||NL", hour%10)
		if n := len(d.Observe(at("user/1/deploy", value, value, time.Duration(hour)*time.Hour), nil)); n != 0 {
			t.Errorf("hour %d: %d verdicts", hour, n)
		}
	}
	if n := len(d.Observe(at("user/1/deploy", "203.0.113.7||NL", "new", 7*day), nil)); n != 1 {
		t.Errorf("%d verdicts on a network that is new after a week, want 1", n)
	}
}

type sighting struct {
	net  netip.Prefix
	at   int64
	late bool
}

func (o *oracle) observe(key string, a netip.Addr, when int64, late bool) bool {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	net, _ := a.Prefix(bits)
	past := o.all[key]
	o.all[key] = append(past, sighting{net, when, late})
	if len(past) == 0 {
		return false
	}
	first := past[0].at
	for _, s := range past {
		first = min(first, s.at)
	}
	// Replay what was kept: a network goes when the identity was active for
	// ForgetAfter without it, and by age of last use when there are too many.
	type kept struct {
		net         netip.Prefix
		first, last int64
		count       int
	}
	var have []kept
	forget := func(now int64) {
		have = slices.DeleteFunc(have, func(k kept) bool { return k.last < now-int64(o.cfg.ForgetAfter/time.Second) })
	}
	last := past[0].at
	for _, s := range past {
		forget(last)
		i := slices.IndexFunc(have, func(k kept) bool { return k.net == s.net })
		if i < 0 {
			if len(have) == o.cfg.MaxValues {
				old := 0
				for j := range have {
					if have[j].last < have[old].last {
						old = j
					}
				}
				have = slices.Delete(have, old, old+1)
			}
			have = append(have, kept{net: s.net, first: s.at, last: s.at})
			i = len(have) - 1
		}
		have[i].count++
		have[i].first, have[i].last = min(have[i].first, s.at), max(have[i].last, s.at)
		last = max(last, s.at)
	}
	forget(last)
	i := slices.IndexFunc(have, func(k kept) bool { return k.net == net && k.count >= o.cfg.Support })
	from := max(when-14*86_400, first)
	newOnes, ofLate := 0, 0
	for _, k := range have {
		if k.first >= from {
			newOnes++
		}
		if float64(k.first) >= float64(from)/2+float64(when)/2 {
			ofLate++
		}
	}
	if o.cfg.Roaming > 0 && newOnes >= o.cfg.Roaming && 3*ofLate >= o.cfg.Roaming {
		return false
	}
	return i < 0 && when-first >= int64(o.cfg.LearnFor/time.Second) && len(past) >= o.cfg.LearnCount
}

func TestPropOracle(t *testing.T) {
	addrs := []string{"192.0.2.1", "192.0.2.2", "198.51.100.1", "203.0.113.5", "10.0.0.1", "2001:db8::1", "2001:db8:0:5::1", "2001:db8:9::1"}
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		c.Novelty = LevelNetwork
		c.LearnFor = time.Duration(rapid.IntRange(0, 5).Draw(t, "learn_for")) * day
		c.LearnCount = rapid.IntRange(1, 5).Draw(t, "learn_count")
		c.ForgetAfter = time.Duration(rapid.IntRange(2, 12).Draw(t, "forget")) * day
		c.Support = rapid.IntRange(1, 2).Draw(t, "support")
		c.MaxValues = rapid.IntRange(1, 4).Draw(t, "max")
		c.Roaming = rapid.IntRange(0, c.MaxValues).Draw(t, "roaming")
		d := New(c)
		o := &oracle{cfg: c, all: map[string][]sighting{}}
		hints := map[string]uint32{}
		var clock time.Duration
		for i := range rapid.IntRange(0, 60).Draw(t, "n") {
			if rapid.IntRange(0, 9).Draw(t, "op") == 0 {
				snap := d.Snapshot()
				before := d.Stats()
				d = New(c)
				if err := d.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, d.Snapshot()) || d.Stats().Keys != before.Keys || d.Stats().Evicted != before.Evicted || d.Stats().Trimmed != before.Trimmed {
					t.Fatal("a restored state is another")
				}
				d.Advance(t0.Add(clock), nil)
				continue
			}
			clock += time.Duration(rapid.IntRange(0, 48).Draw(t, "hours")) * time.Hour
			when, late := clock, rapid.IntRange(0, 5).Draw(t, "late") == 0
			if late {
				when -= time.Duration(rapid.IntRange(1, 72).Draw(t, "by")) * time.Hour
			}
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			a := rapid.SampledFrom(addrs).Draw(t, "addr")
			ob := at(key, a, fmt.Sprint(i), when)
			ob.Late = late
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
			if want := o.observe(key, netip.MustParseAddr(a), ob.Time.Unix(), late); want != (len(got) == 1) {
				t.Fatalf("step %d: %s at %s: got %v, want %v", i, a, when, got, want)
			}
		}
	})
}

func TestMeasuredSize(t *testing.T) {
	for _, n := range []int{1, 3, 8, 16} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := New(Defaults())
		for i := range 4000 {
			for j := range 2 * n {
				d.Observe(at(fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprintf("10.%d.%d.1|AS64500|NL", i%200, j%n), "e", time.Duration(i+j)*time.Second), nil)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		s, heap := d.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
		t.Logf("%d networks: %d bytes per identity by estimate, %d on the heap, %d in a snapshot", n, s.Bytes/s.Keys, heap/s.Keys, len(d.Snapshot())/s.Keys)
		if s.Bytes < heap*7/10 || s.Bytes > heap*2 {
			t.Errorf("the estimate of %d bytes is far from the %d measured", s.Bytes, heap)
		}
		if n == 3 && heap/s.Keys > 600 {
			t.Errorf("%d bytes for a typical identity", heap/s.Keys)
		}
	}
}

func TestBounds(t *testing.T) {
	c := Defaults()
	c.MaxKeys, c.MaxBytes, c.MaxValues = 100, 64<<10, 4
	d := New(c)
	for i := range 500 {
		for j := range 6 {
			d.Observe(at(fmt.Sprint("user/1/u", i), fmt.Sprintf("10.0.%d.1", j), "e", time.Duration(i)*time.Second), nil)
		}
	}
	s := d.Stats()
	if s.Keys > 100 || s.Bytes > 64<<10 || s.Evicted != 400 || s.Trimmed != 2*500 {
		t.Errorf("%+v", s)
	}
	p, ok := d.Profile("user/1/u499")
	if !ok || len(p.Usual) != 4 || p.Observations != 6 || p.Learned {
		t.Errorf("%+v", p)
	}
	if _, ok := d.Profile("user/1/u0"); ok {
		t.Error("the least recently seen identity was kept")
	}
}

func TestRestoreRefuses(t *testing.T) {
	c := Defaults()
	d := New(c)
	d.Observe(at("k", "192.0.2.1", "1", 0), nil)
	snap := d.Snapshot()
	c.Kind = KindValue
	other := New(c)
	if err := other.Restore(snap); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Error(err)
	}
	if err := New(Defaults()).Restore([]byte("TWBASELINE9\n....")); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
	snap[len(snap)/2] ^= 1
	if err := New(Defaults()).Restore(snap); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"kind":         func(c *Config) { c.Kind = "ip" },
		"learn":        func(c *Config) { c.Learn = "some" },
		"learn_for":    func(c *Config) { c.LearnFor = -1 },
		"learn_count":  func(c *Config) { c.LearnFor, c.LearnCount = 0, 0 },
		"forget_after": func(c *Config) { c.ForgetAfter = 0 },
		"drop_after":   func(c *Config) { c.DropAfter = 0 },
		"support":      func(c *Config) { c.Support = 0 },
		"novelty":      func(c *Config) { c.Novelty = "continent" },
		"max_values":   func(c *Config) { c.MaxValues = 0 },
		"noun":         func(c *Config) { c.Noun = "" },
		"roaming":      func(c *Config) { c.Roaming = c.MaxValues + 1 },
		"max_keys":     func(c *Config) { c.MaxKeys = 0 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
	c := Defaults()
	c.Kind, c.Roaming = KindValue, 4
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "roaming:") {
		t.Errorf("values roam: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	c := Defaults()
	d := New(c)
	for i := range 12 {
		d.Observe(at(string(rune('a'+i%2)), fmt.Sprintf("10.0.%d.1|AS64500|NL", i), fmt.Sprint(i), time.Duration(i)*time.Second), nil)
	}
	d.Observe(at("six", "2001:db8::1", "x", time.Second), nil)
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
			d.Observe(at("a", "192.0.2.1", "y", 500*day), nil)
			d.Advance(t0.Add(501*day), nil)
			if err := New(c).Restore(d.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzValue(f *testing.F) {
	f.Add("203.0.113.7|AS64500|NL")
	f.Add("fe80::1%eth0|x|yy")
	f.Fuzz(func(t *testing.T, v string) {
		c := Defaults()
		c.LearnFor, c.LearnCount = 0, 1
		d := New(c)
		d.Observe(at("k", "192.0.2.1", "1", 0), nil)
		for _, got := range d.Observe(at("k", v, "2", 1), nil) {
			if _, err := json.Marshal(got.Details); err != nil {
				t.Fatal(err)
			}
		}
		if err := New(c).Restore(d.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

// A refused call from a new network is told, and does not make the network
// usual for the successful calls that follow.
func TestAttemptsDoNotTeach(t *testing.T) {
	c := Defaults()
	c.LearnFor, c.LearnCount, c.Novelty = 0, 3, LevelNetwork
	d := New(c)
	for i := range 5 {
		d.Observe(at("k", "198.51.100.1", fmt.Sprint(i), time.Duration(i)*time.Hour), nil)
	}
	stranger := at("nobody", "203.0.113.9", "x", time.Hour)
	se := *stranger.Event
	se.Outcome = event.Attempt
	stranger.Event = &se
	d.Observe(stranger, nil)
	if err := New(c).Restore(d.Snapshot()); err != nil {
		t.Fatalf("an identity that only failed spoils the snapshot: %v", err)
	}
	refused := at("k", "203.0.113.9", "refused", 6*time.Hour)
	e := *refused.Event
	e.Outcome = event.Attempt
	refused.Event = &e
	if got := d.Observe(refused, nil); len(got) != 1 {
		t.Fatalf("%d verdicts on the refused call", len(got))
	}
	if got := d.Observe(at("k", "203.0.113.9", "worked", 7*time.Hour), nil); len(got) != 1 {
		t.Error("the refused call made the network usual")
	}
	if got := d.Observe(at("k", "203.0.113.9", "again", 8*time.Hour), nil); len(got) != 0 {
		t.Error("a network that was used is told again")
	}
}

// The table counts what the identities hold, of both kinds, however it came and
// went, although most observations change nothing and do not tell it.
func TestPropSizeIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Defaults()
		if rapid.Bool().Draw(t, "values") {
			c.Kind = KindValue
		}
		c.ForgetAfter = time.Duration(rapid.IntRange(2, 12).Draw(t, "forget")) * day
		c.DropAfter = c.ForgetAfter + day
		c.MaxValues = rapid.IntRange(1, 4).Draw(t, "max")
		c.MaxKeys = rapid.IntRange(1, 4).Draw(t, "keys")
		d := New(c)
		var clock time.Duration
		for i := range rapid.IntRange(0, 60).Draw(t, "n") {
			clock += time.Duration(rapid.IntRange(0, 60).Draw(t, "hours")) * time.Hour
			ob := at(rapid.SampledFrom([]string{"a", "bb", "ccc"}).Draw(t, "key"), rapid.SampledFrom([]string{"192.0.2.1", "198.51.100.1", "203.0.113.5", "10.0.0.1", "2001:db8::1"}).Draw(t, "value"), fmt.Sprint(i), clock)
			if rapid.IntRange(0, 3).Draw(t, "attempt") == 0 {
				ob.Event.Outcome = event.Attempt
			}
			d.Observe(ob, nil)
			if rapid.IntRange(0, 5).Draw(t, "advance") == 0 {
				d.Advance(t0.Add(clock), nil)
			}
			sum := 0
			for e := range d.table.All() {
				sum += window.EntryCost + len(e.Key) + e.State.size(&c)
			}
			if d.Stats().Bytes != sum {
				t.Fatalf("step %d: %d bytes counted, want %d", i, d.Stats().Bytes, sum)
			}
		}
	})
}
