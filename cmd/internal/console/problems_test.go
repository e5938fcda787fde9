package console

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

var problemInSource = regexp.MustCompile(`(?:Problems = append\(s\.Problems, fmt\.Sprintf\(|\bproblem\([^"]*?|Problems: \[\]string\{|\bStream[A-Z][a-z]+: +)"((?:[^"\\]|\\.)*)"`)

// Every problem that a status can name is known in Chinese with all its
// arguments, in their places.
func TestProblemsInChinese(t *testing.T) {
	known := map[string]bool{}
	for _, p := range problems {
		known[p[0]] = true
	}
	found := 0
	for _, f := range []string{"../app/status.go", "../../../pipeline/bus/health.go"} {
		b, err := os.ReadFile(filepath.FromSlash(f))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range problemInSource.FindAllStringSubmatch(string(b), -1) {
			found++
			if !known[m[1]] {
				t.Errorf("%s: not in Chinese: %q", f, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d problems were found: the pattern is wrong", found)
	}
	for _, p := range problems {
		n, want := 0, []string{}
		s := verb.ReplaceAllStringFunc(p[0], func(v string) string {
			if v == "%%" {
				return "%"
			}
			n++
			want = append(want, fmt.Sprint("arg", n))
			return fmt.Sprint("arg", n)
		})
		got := chinese.problem(s)
		if !strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(unicode.Han, r) }) || strings.Contains(got, "{") {
			t.Errorf("%q: %q", s, got)
		}
		for i, w := range want {
			if strings.Count(got, w) != 1 || !strings.Contains(p[1], "{"+strconv.Itoa(i+1)+"}") {
				t.Errorf("%q: %q lacks %s", s, got, w)
			}
		}
		if english.problem(s) != s {
			t.Errorf("%q changed in English", s)
		}
	}
	if got := chinese.problem("EVENTS is full (97 % of 10 MiB): detection stops until the responders have caught up"); got != "EVENTS 已满(10 MiB 的 97%):检测停止,直到响应进程赶上" {
		t.Error(got)
	}
	// What app says of a source that others read for another store.
	b, err := os.ReadFile(filepath.FromSlash("../app/watch.go"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`strangers += "([^"]+)"`).FindSubmatch(b)
	if m == nil {
		t.Fatal("why a source is elsewhere is not found")
	}
	if got := chinese.problem("x: no good read since the start (" + string(m[1]) + "); nothing is seen of it now"); strings.Contains(got, "others") {
		t.Error(got)
	}
	if got := chinese.problem("something else"); got != "something else" {
		t.Error(got)
	}
}

// Whatever a problem holds, it is said in one go and bounded.
func TestProblemsOfStrangers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		for _, in := range []string{s, fmt.Sprintf("partition %d is %s: %s", 1, s, s), "{1}: no good read since {2} ({3}); nothing is seen of it now"} {
			if got := chinese.problem(in); len([]rune(got)) > 3*maxText || strings.ContainsFunc(got, unicode.IsControl) {
				t.Fatalf("%q: %q", in, got)
			}
		}
	})
}
