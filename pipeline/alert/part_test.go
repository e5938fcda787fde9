package alert

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Alerts that are taken apart, stored and joined in any order are the alerts
// of one grouper that saw everything.
func TestPropParts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 4))
		ds := draw(r, rapid.IntRange(1, 200).Draw(rt, "n"))
		whole, g := NewGrouper(GrouperConfig{}), NewGrouper(GrouperConfig{})
		var parts []*Part
		for i := range ds {
			whole.Add(ds[i])
			if g.Fold(&ds[i]); r.IntN(10) == 0 {
				parts = append(parts, g.Take()...)
			}
		}
		if parts = append(parts, g.Take()...); g.Len() != 0 {
			rt.Fatal("what was taken is still there")
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		by := map[string]*Part{}
		for _, p := range parts {
			if r.IntN(2) == 0 {
				data, err := json.Marshal(p)
				if err != nil {
					rt.Fatal(err)
				}
				p = new(Part)
				if err := json.Unmarshal(data, p); err != nil {
					rt.Fatal(err)
				}
			}
			if have := by[p.ID()]; have != nil {
				have.Join(p)
			} else {
				by[p.ID()] = p
			}
		}
		var got []Alert
		for _, p := range by {
			got = append(got, *p.Alert())
		}
		Sort(got)
		if d := cmp.Diff(text(t, whole.All()), text(t, got)); d != "" {
			rt.Fatalf("joined parts differ:\n%s", d)
		}
	})
}

// What is no part is refused and changes nothing.
func FuzzPart(f *testing.F) {
	g := NewGrouper(GrouperConfig{})
	d := detection("e", t0)
	g.Fold(&d)
	data, err := json.Marshal(g.Take()[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"alert":{},"evidence":[["x","y"]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := new(Part)
		if json.Unmarshal(data, p) != nil {
			if p.ID() != "" {
				t.Error("half a part")
			}
			return
		}
		if _, err := json.Marshal(p); err != nil {
			t.Error(err)
		}
	})
}
