package alert

import (
	"errors"
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
				was := p
				for range 1 + r.IntN(2) { // twice without a look at it, too
					data, err := p.Pack(nil)
					if err != nil {
						rt.Fatal(err)
					}
					if p, err = Unpack(data); err != nil {
						rt.Fatal(err)
					}
				}
				if p.ID() != was.ID() || p.Severity() != was.Severity() || p.Compare(was) != 0 {
					rt.Fatal("a packed part has another place")
				}
			}
			if have := by[p.ID()]; have != nil {
				if err := have.Join(p); err != nil {
					rt.Fatal(err)
				}
			} else {
				by[p.ID()] = p
			}
		}
		var got []Alert
		for _, p := range by {
			a, err := p.Alert()
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, *a)
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
	data, err := g.Take()[0].Pack(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte("\x01a\x01b\x00\x00\x01\x02{}{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Unpack(data)
		if err != nil {
			return
		}
		a, err := p.Alert()
		if err != nil {
			if _, again := p.Alert(); again == nil || !errors.Is(err, ErrPart) {
				t.Errorf("%v, then %v", err, again)
			}
			return
		}
		if a.ID != p.ID() || a.Severity != p.Severity() {
			t.Error("the head is of another")
		}
		if _, err := p.Pack(nil); err != nil {
			t.Error(err)
		}
	})
}
