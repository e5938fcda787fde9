package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/rules"
)

const mergeBase = `# yaml-language-server: $schema=schema.json
id: a.b
version: 1
# how bad
severity: medium
match: >-
  event.name == "X" &&
  outcome == "success"
tests:
- {name: one}
`

func TestMergeRule(t *testing.T) {
	mine := strings.Replace(mergeBase, "severity: medium", "severity: high", 1)
	theirs := strings.Replace(strings.Replace(mergeBase, "version: 1", "version: 2", 1), `"X"`, `"Y"`, 1) + "references:\n- https://example.com\n"
	m := mergeRule("a.b.yaml", []byte(mergeBase), []byte(mine), []byte(theirs))
	want := strings.Replace(theirs, "severity: medium", "severity: high", 1)
	if m.What != "merged" || string(m.Data) != want {
		t.Errorf("%s:\n%s\nwant\n%s", m.What, m.Data, want)
	}
	clash := mergeRule("a.b.yaml", []byte(mergeBase), []byte(mine), []byte(strings.Replace(mergeBase, "severity: medium", "severity: low", 1)))
	if clash.What != "conflict" || !slices.Equal(clash.Conflicts, []string{"severity"}) || !strings.Contains(string(clash.Data), "severity: high\n# CONFLICT in severity: the shipped rule now says:\n# | # how bad\n# | severity: low\n") {
		t.Errorf("%+v\n%s", clash.Conflicts, clash.Data)
	}
}

// Cutting loses nothing, for every shipped rule.
func TestSectionsAreWhole(t *testing.T) {
	pack, err := rules.PackFiles()
	if err != nil || len(pack) < 100 {
		t.Fatal(len(pack), err)
	}
	for name, b := range pack {
		var all strings.Builder
		keys := 0
		for _, s := range sections(b) {
			all.WriteString(s.text)
			if s.key != "" {
				keys++
			}
		}
		if all.String() != string(b) || keys < 5 {
			t.Errorf("%s: %d keys, %d bytes of %d", name, keys, all.Len(), len(b))
		}
	}
}

func TestMergeLaws(t *testing.T) {
	doc := rapid.Custom(func(t *rapid.T) []byte {
		var b strings.Builder
		for _, k := range []string{"id", "match", "severity", "tests"} {
			if v := rapid.IntRange(0, 3).Draw(t, k); v > 0 {
				fmt.Fprintf(&b, "%s:\n  v: %d\n", k, v)
			}
		}
		return []byte(b.String())
	})
	rapid.Check(t, func(t *rapid.T) {
		base, a, b := doc.Draw(t, "base"), doc.Draw(t, "a"), doc.Draw(t, "b")
		if got := mergeRule("x", base, base, b); string(got.Data) != string(b) && string(base) != string(b) {
			t.Fatalf("nothing of mine: %q, want theirs %q", got.Data, b)
		}
		if got := mergeRule("x", base, a, base); string(got.Data) != string(a) {
			t.Fatalf("nothing of theirs: %q, want mine %q", got.Data, a)
		}
		if got := mergeRule("x", base, a, a); string(got.Data) != string(a) {
			t.Fatalf("the same of both: %q", got.Data)
		}
		// Both ways round, the same keys clash.
		x, y := mergeRule("x", base, a, b).Conflicts, mergeRule("x", base, b, a).Conflicts
		slices.Sort(x)
		slices.Sort(y)
		if !slices.Equal(x, y) {
			t.Fatalf("clashes %v and %v", x, y)
		}
	})
}
