package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

func detection(id string, at time.Time) Detection {
	return Detection{
		Rule: "r", RuleVersion: 1, Title: "t", Reason: "because of " + id, Severity: Medium, Time: at, FirstAt: at, AccountID: "1000000000000001",
		Actor: Actor{Type: "ram-user", ID: "user/1000000000000001/alice", Name: "alice"}, SourceIP: "203.0.113.10",
		EventIDs: []string{id}, Count: 1, Key: "r\x1fk", Window: time.Hour,
	}
}

// draw makes detections that differ in everything a detection can differ in.
func draw(r *rand.Rand, n int) []Detection {
	out := make([]Detection, n)
	for i := range out {
		d := detection(fmt.Sprintf("e%03d", r.IntN(n)), t0.Add(time.Duration(r.IntN(7200))*time.Second))
		d.Key = fmt.Sprint("k", r.IntN(3))
		d.Severity = Severity(1 + r.IntN(5))
		d.Outcome = event.Outcome(r.IntN(2))
		d.SourceIP = fmt.Sprintf("203.0.113.%d", r.IntN(40))
		d.Target = Target{Type: "user", ID: fmt.Sprint("user/1/", r.IntN(3)), Name: "x"}
		d.TargetKey = fmt.Sprint("LTAI5tEXAMPLE", r.IntN(2))
		d.RuleVersion = 1 + r.IntN(2)
		if r.IntN(3) == 0 {
			d.FirstAt = d.Time.Add(-time.Duration(r.IntN(600)) * time.Second)
			d.EventIDs = []string{fmt.Sprintf("e%03d", r.IntN(n)), d.EventIDs[0] + "x", d.EventIDs[0]}
			d.Count = 3 + r.IntN(100)
			d.Details = map[string]any{"n": r.IntN(3)}
		}
		out[i] = d
	}
	return out
}

func text(t testing.TB, alerts []Alert) string {
	t.Helper()
	var b strings.Builder
	for _, a := range alerts {
		line, err := MarshalStored(&a)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// The same detections in any order are the same alerts.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		ds := draw(r, rapid.IntRange(1, 200).Draw(rt, "n"))
		fold := func() string {
			g := NewGrouper(GrouperConfig{})
			for _, d := range ds {
				g.Add(d)
			}
			return text(t, g.All())
		}
		want := fold()
		for range 3 {
			r.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
			if got := fold(); got != want {
				rt.Fatalf("another order gives other alerts:\n%s", cmp.Diff(want, got))
			}
		}
	})
}

// A restart in the middle changes nothing.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2))
		ds := draw(r, rapid.IntRange(1, 100).Draw(rt, "n"))
		cut := rapid.IntRange(0, len(ds)).Draw(rt, "cut")
		whole, first, second := NewGrouper(GrouperConfig{}), NewGrouper(GrouperConfig{}), NewGrouper(GrouperConfig{})
		for i, d := range ds {
			whole.Add(d)
			if i < cut {
				first.Add(d)
			}
		}
		first.Advance(t0.Add(-time.Hour))
		snap := first.Snapshot()
		if err := second.Restore(snap); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(second.Snapshot(), snap) {
			rt.Fatal("a snapshot of a restored grouper differs")
		}
		for _, d := range ds[cut:] {
			second.Add(d)
		}
		if d := cmp.Diff(text(t, whole.All()), text(t, second.All())); d != "" {
			rt.Fatalf("alerts differ after a restart:\n%s", d)
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	g := NewGrouper(GrouperConfig{})
	for _, d := range draw(rand.New(rand.NewPCG(1, 1)), 30) {
		g.Add(d)
	}
	good := g.Snapshot()
	refused := func(name string, data []byte) {
		t.Helper()
		f := NewGrouper(GrouperConfig{})
		f.Add(detection("x", t0))
		if err := f.Restore(data); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if f.Len() != 0 {
			t.Errorf("%s left alerts behind", name)
		}
	}
	refused("nothing", nil)
	for i := 0; i < len(good); i += 13 {
		refused("a cut", good[:i])
		bad := bytes.Clone(good)
		bad[i] ^= 1
		refused("a flipped bit", bad)
	}
	seal := func(s string) []byte { return snapshot.NewEncoder(s).Seal() }
	refused("another version", seal("TWGROUP9\n{}"))
	refused("no JSON", seal("TWGROUP1\n{"))
	refused("an alert of another schema", seal(`TWGROUP1`+"\n"+`{"open":[{"alert":{"alert":{"schema":"x"}}}]}`))
}

func TestFolding(t *testing.T) {
	g := NewGrouper(GrouperConfig{})
	a := g.Add(detection("a", t0.Add(10*time.Minute)))
	if a.Revision != 1 || a.Count != 1 || a.Schema != Schema || a.Outcome != "success" || len(a.ID) != 32 || a.Target != nil {
		t.Errorf("first: %+v", a)
	}
	d := detection("b", t0.Add(5*time.Minute))
	d.Severity, d.SourceIP = High, "198.51.100.9"
	b := g.Add(d)
	if b.ID != a.ID || b.Revision != 2 || b.Count != 2 || b.Severity != High || b.Reason != "because of b" {
		t.Errorf("second: %+v", b)
	}
	if !b.FirstAt.Equal(t0.Add(5*time.Minute)) || !b.LastAt.Equal(t0.Add(10*time.Minute)) || !b.Time.Equal(b.LastAt) {
		t.Errorf("times %s to %s, %s", b.FirstAt, b.LastAt, b.Time)
	}
	if !slices.Equal(b.EventIDs, []string{"b", "a"}) {
		t.Errorf("evidence %v, want in order of time", b.EventIDs)
	}
	seen, _ := b.Details["seen"].(map[string]any)
	if d := cmp.Diff([]string{"198.51.100.9", "203.0.113.10"}, seen["source_ip"]); d != "" || len(seen) != 1 {
		t.Errorf("values seen: %v", seen)
	}
	if a.Revision != 1 || a.Details != nil {
		t.Error("an alert that was returned changed later")
	}
	// A success matters more than an attempt of the same severity.
	d = detection("c", t0)
	d.Severity, d.Outcome = High, event.Attempt
	if c := g.Add(d); c.Outcome != "success" || c.Reason != "because of b" {
		t.Errorf("an attempt took the words of a success: %+v", c)
	}
	// Another window, key or rule is another alert.
	ids := map[string]bool{a.ID: true}
	for _, change := range []func(*Detection){
		func(d *Detection) { d.Time = t0.Add(time.Hour) }, func(d *Detection) { d.Time = t0.Add(-time.Nanosecond) },
		func(d *Detection) { d.Key = "other" }, func(d *Detection) { d.Rule = "other" }, func(d *Detection) { d.Window = 30 * time.Minute },
		func(d *Detection) { d.Time = time.Unix(-5, 0) },
	} {
		d := detection("x", t0.Add(10*time.Minute))
		change(&d)
		if x := g.Add(d); ids[x.ID] {
			t.Errorf("%+v fell into an alert it does not belong to", d)
		} else {
			ids[x.ID] = true
		}
	}
}

func TestBounds(t *testing.T) {
	g := NewGrouper(GrouperConfig{Max: 10, Keep: time.Hour})
	for i := range 300 {
		d := detection(fmt.Sprintf("e%03d", i), t0.Add(time.Duration(i)*time.Second))
		d.SourceIP = fmt.Sprintf("203.0.113.%03d", i)
		d.Window = 24 * time.Hour
		g.Add(d)
	}
	a := g.All()[0]
	if len(a.EventIDs) != MaxEvidence || a.EventIDs[0] != "e000" || a.Count != 300 {
		t.Errorf("%d events of %d", len(a.EventIDs), a.Count)
	}
	if n := len(a.Details["seen"].(map[string]any)["source_ip"].([]string)); n != maxSeen {
		t.Errorf("%d addresses, at most %d", n, maxSeen)
	}
	for i := range 100 {
		d := detection("x", t0)
		d.Key = fmt.Sprint(i)
		if g.Add(d); g.Len() > 10 {
			t.Fatalf("%d alerts are open, at most 10", g.Len())
		}
	}
	closed := g.Closed()
	if closed < 90 {
		t.Errorf("%d closed: what is dropped must be counted", closed)
	}
	// The watermark closes what is over, not before its time.
	g = NewGrouper(GrouperConfig{Keep: time.Hour})
	g.Add(detection("x", t0))
	g.Advance(t0.Add(2 * time.Hour))
	if g.Len() != 1 {
		t.Error("closed too early")
	}
	g.Advance(t0.Add(2*time.Hour + time.Second))
	if g.Len() != 0 || g.Closed() != 1 {
		t.Error("not closed")
	}
	g.Advance(t0) // back: nothing happens
}

func TestStored(t *testing.T) {
	d := detection("a", t0)
	d.TargetKey, d.Playbook, d.Signal = "LTAI5tEXAMPLEbob0000001", "disable-key", true
	d.Details = map[string]any{"policy": map[string]any{"n": json.Number("12345678901234567890")}}
	d.Target, d.Attack, d.Runbook = Target{Type: "user", ID: "u", Name: "n"}, []string{"T1098"}, Runbook{EN: "ask", ZH: "问"}
	a := NewGrouper(GrouperConfig{}).Add(d)
	b, err := MarshalStored(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalStored(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*a, got); d != "" {
		t.Errorf("stored and read again:\n%s", d)
	}
	for _, bad := range []string{"", "{", `{"alert":{}}`, `{"alert":{"schema":"trailwarden.alert/v2"}}`} {
		if _, err := UnmarshalStored([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestSort(t *testing.T) {
	a := []Alert{{ID: "2", Rule: "a", Time: t0}, {ID: "1", Rule: "b", Time: t0}, {ID: "1", Rule: "a", Time: t0}, {ID: "9", Rule: "z", Time: t0.Add(-1)}}
	Sort(a)
	var got []string
	for _, x := range a {
		got = append(got, x.Rule+x.ID)
	}
	if want := []string{"z9", "a1", "a2", "b1"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func FuzzRestore(f *testing.F) {
	g := NewGrouper(GrouperConfig{})
	for _, d := range draw(rand.New(rand.NewPCG(1, 1)), 5) {
		g.Add(d)
	}
	f.Add(g.Snapshot()[len(snapshotMagic):])
	f.Fuzz(func(t *testing.T, body []byte) {
		enc := snapshot.NewEncoder(snapshotMagic)
		enc.Raw(body)
		g := NewGrouper(GrouperConfig{})
		if g.Restore(enc.Seal()) == nil {
			g.Add(detection("x", t0))
			g.All()
			g.Snapshot()
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	ds := draw(rand.New(rand.NewPCG(1, 1)), 1000)
	g := NewGrouper(GrouperConfig{})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		g.Add(ds[i])
		if i++; i == len(ds) {
			i = 0
		}
	}
}
