package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/event"
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

// TestPackIsWhole: no field is forgotten, whatever is added to an alert later.
func TestPackIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &group{}
		n := 0
		var fill func(v reflect.Value)
		fill = func(v reflect.Value) {
			n++
			switch x := v.Addr().Interface().(type) {
			case *time.Time:
				*x = time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
				return
			case *Severity:
				*x = Severity(rapid.IntRange(1, int(Critical)).Draw(t, "severity"))
				return
			case *event.Outcome:
				*x = event.Attempt
				return
			case *map[string]any:
				*x = map[string]any{"a": rapid.String().Draw(t, "a"), "b": []any{json.Number("12345678901234567890"), nil, true}}
				return
			}
			switch v.Kind() {
			case reflect.Struct:
				for i := range v.NumField() {
					f := v.Field(i)
					fill(reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem())
				}
			case reflect.String:
				v.SetString(string(rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "text")))
			case reflect.Int, reflect.Int64:
				v.SetInt(rapid.Int64().Draw(t, "number"))
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Pointer:
				v.Set(reflect.New(v.Type().Elem()))
				fill(v.Elem())
			case reflect.Slice:
				v.Set(reflect.MakeSlice(v.Type(), 2, 2))
				fill(v.Index(0))
				fill(v.Index(1))
			case reflect.Map:
				v.Set(reflect.MakeMap(v.Type()))
				for range 2 {
					k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
					fill(k)
					fill(e)
					v.SetMapIndex(k, e)
				}
			default:
				t.Fatalf("a field of kind %s: extend the test", v.Kind())
			}
		}
		fill(reflect.ValueOf(a).Elem())
		a.alert.Schema = Schema
		a.alert.EventIDs = nil // made of the evidence
		data, err := appendGroup(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		u := unpacker{rest: string(data)}
		got, err := u.group()
		if err != nil {
			t.Fatal(err)
		}
		if a.lead.details != nil || n < 50 {
			t.Fatal(n)
		}
		if !reflect.DeepEqual(a, got) {
			t.Fatalf("packed\n%+v\nunpacked\n%+v", a, got)
		}
		if u = (unpacker{rest: string(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")])}); !u.refused() {
			t.Fatal("what was cut was taken")
		}
	})
}

func (u *unpacker) refused() bool { _, err := u.group(); return errors.Is(err, ErrPart) }

func BenchmarkPart(b *testing.B) {
	g := NewGrouper(GrouperConfig{})
	for i := range 5 {
		d := detection(fmt.Sprint("e", i), t0)
		d.Details = map[string]any{"baseline": map[string]any{"known": []string{"203.0.113.0/24", "198.51.100.0/24"}, "days": 41, "events": 12345}, "record": strings.Repeat("x", 1000)}
		g.Fold(&d)
	}
	p := g.Take()[0]
	var data []byte
	for b.Loop() {
		var err error
		if data, err = p.Pack(data[:0]); err != nil {
			b.Fatal(err)
		}
		q, err := Unpack(data)
		if err == nil {
			_, err = q.Alert()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data)), "bytes")
}
