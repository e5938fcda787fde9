package account

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
)

// fill gives every field, those that come to be as well, a value of any kind.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z<&*:/ ]{1,8}`), rapid.SampledFrom([]string{"策略", "\xff\xfe", "\xfe\xff", "a\xe7\xad", "\u2028", "\x00"})).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "truth"))
	case reflect.Uint8, reflect.Int:
		n := rapid.IntRange(0, 5).Draw(t, "number")
		if v.CanInt() {
			v.SetInt(int64(n))
		} else {
			v.SetUint(uint64(n))
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, "length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(t, v.Index(i))
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 2).Draw(t, "size"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(t, key)
				fill(t, value)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(t, v.Field(i))
			}
		}
	default:
		t.Fatalf("no value of %s is made here", v.Type())
	}
}

func TestPropPlainResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r rampolicy.Result
		fill(t, reflect.ValueOf(&r).Elem())
		if d := cmp.Diff(generic(&r), any(plainResult(&r))); d != "" {
			t.Fatalf("%+v is not what JSON makes of it:\n%s", r, d)
		}
		list := r.Notes
		if d := cmp.Diff(generic(list), plainTexts(list)); d != "" {
			t.Fatal(d)
		}
	})
}
