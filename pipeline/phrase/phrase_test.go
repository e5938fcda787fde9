package phrase_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/phrase"
)

func book() *phrase.Book {
	return phrase.New([][2]string{
		{"it is done", "已完成"}, {"%s of %s", "%s/%s"}, {"%s of %s keys", "%s/%s 个密钥"}, {"again: %p", "再次：%s"},
	}, nil, nil)
}

func TestSay(t *testing.T) {
	for en, zh := range map[string]string{
		"it is done": "已完成", "3 of 7": "3/7", "3 of 7 keys": "3/7 个密钥", "again: it is done": "再次：已完成", "again: again: 1 of 2": "再次：再次：1/2",
		"it is done now": "it is done now", "": "", "again: unheard": "再次：unheard",
	} {
		if got := book().Say(en); got != zh {
			t.Errorf("%q: got %q, want %q", en, got, zh)
		}
	}
}

// A value comes through as it is, and no text makes it fail or run away.
func TestValuesStay(t *testing.T) {
	b := book()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.StringMatching(`[^o\n]{0,20}`).Draw(t, "value")
		if got, want := b.Say("again: "+v+" of 1"), "再次："+v+"/1"; v != "" && got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		if any := rapid.String().Draw(t, "any"); len(b.Say(any)) > 3*len(any)+64 {
			t.Fatalf("%q grows", any)
		}
	})
}
