package lists

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSortAsSlicesDoes(t *testing.T) {
	type row struct{ key, place int }
	rapid.Check(t, func(t *rapid.T) {
		var rows []row
		for i, k := range rapid.SliceOf(rapid.IntRange(0, 9)).Draw(t, "keys") {
			rows = append(rows, row{k, i})
		}
		byKey := func(a, b row) int { return cmp.Compare(a.key, b.key) }
		want := slices.Clone(rows)
		slices.SortStableFunc(want, byKey)
		Sort(rows, byKey)
		if !slices.Equal(rows, want) {
			t.Fatalf("%v, want %v", rows, want)
		}
	})
}

func TestKeepAsSlicesDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.SliceOf(rapid.IntRange(0, 9)).Draw(rt, "s")
		less := rapid.IntRange(0, 10).Draw(rt, "less")
		whole := slices.Clone(s)
		want := slices.DeleteFunc(slices.Clone(s), func(x int) bool { return x >= less })
		got := Keep(whole, func(x *int) bool { return *x < less })
		if !slices.Equal(got, want) {
			rt.Fatalf("%v of %v, want %v", got, s, want)
		}
		for _, x := range whole[len(got):] {
			if x != 0 {
				rt.Fatalf("what went is still there: %v", whole)
			}
		}
	})
}
