package alert

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWriteLine: what acts on a terminal or cannot be seen is escaped, and
// the meaning stays.
func TestWriteLine(t *testing.T) {
	bad := "\u007f\u0080\u009b\u009f\u061c\u200b\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff"
	a := Alert{Title: bad, Severity: Low, Actor: Actor{Name: "<é 你好 😀> & \\u009b"}, Details: map[string]any{bad: bad}}
	var b bytes.Buffer
	if err := WriteLine(&b, &a); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), bad) || !strings.Contains(b.String(), `"title":"\u007f\u0080\u009b\u009f\u061c\u200b\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff"`) ||
		!strings.Contains(b.String(), `"<é 你好 😀> & \\u009b"`) || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("%q", b.String())
	}
	var back Alert
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Title != a.Title || back.Actor != a.Actor || back.Details[bad] != bad {
		t.Errorf("%+v %v", back, err)
	}
	if err := WriteLine(&b, func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestEscapeJSONKeepsMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"#", "##", "vso", "[", "\\", "é", "]"}), 0, 9).Draw(t, "command"), "") + rapid.String().Draw(t, "s") + string(rapid.RuneFrom([]rune{0x7f, 0x85, 0x9b, 0x200e, 0x2028, 0x202e, 0x2067, 0xfeff, '\\', '"', 'a'}).Draw(t, "r"))
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		got := EscapeJSON(raw)
		if err := json.Unmarshal(got, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Fatalf("%q became %q: %v", s, back, err)
		}
		if regexp.MustCompile(`##[\w.-]*\[`).Match(got) {
			t.Fatalf("%q is a command to a CI", got)
		}
		for _, r := range string(got) {
			if hidden(r) {
				t.Fatalf("%U is left in %q", r, got)
			}
		}
	})
}
