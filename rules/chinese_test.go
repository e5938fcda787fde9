package rules_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/trailwarden/trailwarden/rules"
)

// sentence is two or more words of English in a row.
var sentence = regexp.MustCompile(`[A-Za-z]+(?:[ ,]+[a-z]{2,})+`)

// proper are words that Chinese text has in Latin letters, and names that the
// events of tests have in them.
var proper = regexp.MustCompile(`Bucket \S+|audit actiontrail_prod|(?:web|x) nginx|(?:www|x) example\.com`)

// Every shipped rule says everything that it says in English in Chinese, too,
// with what its detector and the judge of permissions add: no words of English
// are left in what the alerts of its own tests say.
func TestPackSpeaksChinese(t *testing.T) {
	set, err := rules.Load(rules.LoadOptions{Pack: true, Factories: factories, Judge: newJudge, Lineage: newLineage, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	all := rules.AlertsOfTests(t, set)
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(c rune) bool { return unicode.Is(unicode.Han, c) })
	}
	for _, in := range set.List() {
		if in.TitleZH == "" || in.ReasonZH == "" {
			t.Errorf("%s has no title_zh or no reason_zh", in.ID)
		}
		if len(all[in.ID]) == 0 {
			t.Errorf("%s: no alert of its tests to look at", in.ID)
		}
	}
	n := 0
	for _, id := range slices.Sorted(maps.Keys(all)) {
		for _, a := range all[id] {
			n++
			title, reason := a.Words(true)
			for _, s := range []string{title, reason} {
				if !han(s) {
					t.Errorf("%s: no Chinese in %q", id, s)
				}
				for _, left := range sentence.FindAllString(proper.ReplaceAllString(s, "·"), -1) {
					t.Errorf("%s: %q is left in %q", id, left, s)
				}
			}
			if en, why := a.Words(false); en != a.Title || why != a.Reason || han(en) || han(why) {
				t.Errorf("%s: the English texts are %q and %q", id, en, why)
			}
			if testing.Verbose() {
				t.Logf("%-32s %s\n%34s%s\n%34s%s", id, title, "", reason, "", a.Reason)
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d alerts were looked at", n)
	}
}
