package window

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "the same moment", time.Millisecond: "less than a second", time.Second: "1 second", 80 * time.Second: "80 seconds",
		119 * time.Second: "2 minutes", 6 * time.Minute: "6 minutes", time.Hour: "1 hour", 90 * time.Minute: "90 minutes",
		41*24*time.Hour + time.Hour: "41 days", 24 * time.Hour: "1 day", -time.Minute: "1 minute", 1500 * time.Hour * 24: "1,500 days",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1204567: "1,204,567", -1000: "-1,000", -100: "-100"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}, "a, b, c and 2 others": {"a", "b", "c", "d", "e"}} {
		if got := List(words, 3); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Show("a\u202eb\n\x1b[0m" + strings.Repeat("x", 100)); strings.ContainsAny(got, "\u202e\n\x1b") || utf8.RuneCountInString(got) != shownRunes+1 {
		t.Errorf("%q", got)
	}
}

func TestPropBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringN(0, 400, -1).Draw(t, "a"), rapid.StringN(0, 400, -1).Draw(t, "b")
		x, y := Bound(a), Bound(b)
		if len(x) > MaxKey || (x == y) != (a == b) || len(a) <= MaxKey && x != a || !utf8.ValidString(x) {
			t.Fatalf("%q %q", x, y)
		}
	})
}

// TestPropTable compares a table with a slow list, small ones in all that they
// do, and larger ones for what happens where many keys lie side by side.
func TestPropTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys, steps := []string{"a", "bb", "ccc", "dddd", "e", "f", "g", "h"}, 60
		lim := Limits{Keys: rapid.IntRange(1, 6).Draw(t, "keys"), Bytes: rapid.IntRange(300, 2000).Draw(t, "bytes")}
		if rapid.IntRange(0, 3).Draw(t, "large") == 0 {
			keys, steps = nil, 600
			for i := range 300 {
				keys = append(keys, strconv.Itoa(i))
			}
			lim = Limits{Keys: rapid.IntRange(10, 290).Draw(t, "keys"), Bytes: 1 << 20}
		}
		tab := NewTable[int](lim)
		var order []string // least recently used first
		size := map[string]int{}
		evicted := uint64(0)
		hints := map[string]uint32{}
		for range rapid.IntRange(0, steps).Draw(t, "n") {
			k := rapid.SampledFrom(keys).Draw(t, "key")
			if rapid.IntRange(0, 5).Draw(t, "op") == 0 {
				if e := tab.Get(k); e != nil {
					tab.Remove(e)
					order = slices.DeleteFunc(order, func(x string) bool { return x == k })
				}
				continue
			}
			if rapid.Bool().Draw(t, "fetch") {
				hint := tab.Fetch(k)
				e := tab.At(hint)
				if (e != nil) != slices.Contains(order, k) || e != nil && e.Key != k || e != tab.Get(k) || (e == nil) != (hint == 0) {
					t.Fatalf("fetched %v, %d", e, hint)
				}
				hints[k] = hint
			}
			// What was said may have become wrong since, or be of another key.
			hint := hints[k]
			if rapid.IntRange(0, 9).Draw(t, "any hint") == 0 {
				hint = uint32(rapid.IntRange(0, 400).Draw(t, "hint"))
			}
			e, isNew := tab.TouchHint(k, hint)
			if isNew == slices.Contains(order, k) {
				t.Fatal("new or not?")
			}
			state := rapid.IntRange(0, 200).Draw(t, "size")
			tab.Resize(e, state, nil)
			order = append(slices.DeleteFunc(order, func(x string) bool { return x == k }), k)
			size[k] = EntryCost + len(k) + state
			for sum := 0; len(order) > 1; sum = 0 {
				for _, x := range order {
					sum += size[x]
				}
				if len(order) <= lim.Keys && sum <= lim.Bytes {
					break
				}
				order = order[1:]
				evicted++
			}
		}
		var have []string
		sum := 0
		for e := range tab.All() {
			have = append(have, e.Key)
			sum += size[e.Key]
		}
		if !slices.Equal(have, order) || tab.Bytes() != sum || tab.Len() != len(order) || tab.Evicted() != evicted {
			t.Fatalf("have %v of %d bytes, want %v of %d; evicted %d, want %d", have, tab.Bytes(), order, sum, tab.Evicted(), evicted)
		}
	})
}

func TestPropCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ints := rapid.SliceOf(rapid.Int64()).Draw(t, "ints")
		words := rapid.SliceOf(rapid.String()).Draw(t, "words")
		var marks []Mark
		for range rapid.IntRange(0, 9).Draw(t, "marks") {
			marks = Insert(marks, Mark{At: rapid.Int64Range(0, 1<<50).Draw(t, "at"), ID: rapid.StringN(0, 9, 9).Draw(t, "id")})
		}
		e := snapshot.NewEncoder("M1\n")
		e.Uint(uint64(len(ints)))
		for _, n := range ints {
			e.Int(n)
		}
		for _, w := range words {
			e.String(w)
			e.Bool(w != "")
		}
		PutMarks(e, marks)
		data := e.Seal()
		d, err := snapshot.Open(data, "M1\n")
		if err != nil {
			t.Fatal(err)
		}
		if d.Count(1) != len(ints) {
			t.Fatal("count")
		}
		for _, n := range ints {
			if d.Int() != n {
				t.Fatal("int")
			}
		}
		for _, w := range words {
			if d.String() != w || d.Bool() != (w != "") {
				t.Fatal("string")
			}
		}
		if got := GetMarks(d, 9); !slices.Equal(got, marks) || d.End() != nil {
			t.Fatal(got, d.Err())
		}
		// Any one bit changed is noticed.
		bad := slices.Clone(data)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := snapshot.Open(bad, "M1\n"); err == nil {
			t.Fatal("a damaged snapshot was opened")
		}
	})
}
