package event

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A member is found by its key alone, whatever stands around it, and near
// spellings are not.
func TestPropMembers(t *testing.T) {
	var keys []string
	for lv := range memberTables {
		for i := range memberTables[lv].known {
			keys = append(keys, memberTables[lv].known[i].key)
		}
	}
	near := rapid.Custom(func(t *rapid.T) string {
		k := []byte(rapid.SampledFrom(keys).Draw(t, "key"))
		switch i := rapid.IntRange(0, len(k)-1).Draw(t, "at"); rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			k[i] = rapid.Byte().Draw(t, "byte")
		case 1:
			k = append(k[:i], k[i+1:]...)
		case 2:
			k = append(k[:i], append([]byte{'x'}, k[i:]...)...)
		case 3:
			k = append(k, k[:i]...)
		}
		return string(k)
	})
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(near, rapid.SampledFrom(keys), rapid.StringN(0, 30, 40)).Draw(t, "key")
		around := rapid.StringN(0, 20, 30)
		before, behind := around.Draw(t, "before"), around.Draw(t, "behind")
		table := &memberTables[rapid.IntRange(0, len(memberTables)-1).Draw(t, "level")]
		b := []byte(before + key + behind)
		if got, want := table.find(b, len(before), len(before)+len(key)), table.named(key); got != want {
			t.Fatalf("%q in %q: %v, want %v", key, b, got, want)
		}
	})
	for lv := range memberTables {
		for i := range memberTables[lv].known {
			m := &memberTables[lv].known[i]
			b := strings.Repeat("x", 10) + m.key + strings.Repeat("y", 20)
			if got := memberTables[lv].find([]byte(b), 10, 10+len(m.key)); got != m {
				t.Errorf("%s of level %d is not found where it stands", m.key, lv)
			}
		}
	}
}
