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
