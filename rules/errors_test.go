package rules

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every fault of every file, at once, with its place and a proposal.
func TestErrorsGolden(t *testing.T) {
	set, err := Load(LoadOptions{Dirs: []string{"testdata/errors"}, Factories: testFactories})
	if err == nil || set != nil {
		t.Fatal("bad rules were loaded")
	}
	got := err.Error() + "\n"
	const golden = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err2 := os.ReadFile(golden)
	if err2 != nil {
		t.Fatal(err2)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("error texts differ (-want +got):\n%s", d)
	}
	var one *Error
	if !errors.As(err, &one) || one.File == "" {
		t.Error("the error does not unwrap to its faults")
	}
	if strings.ContainsAny(got, "\x1b\x00") {
		t.Error("control characters of a file reach the terminal")
	}
	var all Errors
	errors.As(err, &all)
	for _, e := range all {
		if strings.Contains(e.File, "good.one") {
			t.Errorf("a good rule has a fault: %v", e)
		}
	}
}

// Files made to hurt are refused in reasonable time and memory.
func TestHostileFiles(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	for name, data := range map[string]string{
		"deep lists":      "id: " + deep,
		"deep mappings":   strings.Repeat("{a: ", 60_000),
		"deep expression": string(makeRule("x", strings.Repeat("!", 4000)+"true", "")),
		"long expression": string(makeRule("x", "true"+strings.Repeat(" && true", 2000), "")),
		"many parts":      string(makeRule("x", "true"+strings.Repeat(" && true", 400), "")),
		"large pattern":   string(makeRule("x", `event.name matches "((a{100}){100}){100}"`, "")),
		"large":           strings.Repeat("# comment\n", 30_000),
		"aliases":         "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
		"a million keys":  strings.Repeat("a: 1\n", 50_000),
		"many events":     string(makeRule("x", "true", "tests:\n  - {name: a, events: [{event: \"Ram:GetUser\", repeat: 2000000000}], expect: {alerts: 1}}\n")),
	} {
		_, err := Load(LoadOptions{Files: map[string][]byte{"x.yaml": []byte(data)}, AllowFewTests: true})
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if n := len(err.Error()); n > 64<<10 {
			t.Errorf("%s: an error of %d bytes", name, n)
		}
	}
}
