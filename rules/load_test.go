package rules

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"testing"
)

// The tests of a shipped rule are read when somebody asks for them: they are
// what they would be had they been read with the rule, and nothing else of the
// file is left out.
func TestShippedTests(t *testing.T) {
	files, err := PackFiles()
	if err != nil {
		t.Fatal(err)
	}
	parse := func(name, from string) *reading {
		r := &reading{path: name, data: files[name], from: from, done: make(chan struct{})}
		r.parse()
		if len(r.file.errs) > 0 || len(r.faulty) > 0 || r.root == nil {
			t.Fatal(name, r.file.errs, r.faulty)
		}
		return r
	}
	for name, data := range files {
		whole, shipped := parse(name, "files"), parse(name, "pack")
		if bytes.Count(data, []byte(testsKey)) != 1 || shipped.doc.Tests != nil {
			t.Errorf("%s: its tests are read each time", name)
		}
		if tests := shipped.tests(); len(tests) == 0 || !reflect.DeepEqual(tests, whole.tests()) {
			t.Errorf("%s: %d tests are not the %d of the file", name, len(tests), len(whole.tests()))
		}
		whole.doc.Tests = nil
		if !reflect.DeepEqual(shipped.doc, whole.doc) {
			t.Errorf("%s: without its tests it is another rule", name)
		}
	}
}

// What a load gives does not depend on how many cores take files apart.
func TestLoadOnAnyCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	good := map[string][]byte{}
	for i := range 40 {
		id := fmt.Sprintf("r%02d", i)
		good[id+".yaml"] = makeRule(id, fmt.Sprintf(`event.name == "GetUser" && contains_any(event.user_agent, ["a%d", "b"]) && param("Odd%d") == ""`, i, i), "")
	}
	var want string
	for _, n := range []int{1, 1, 2, 3, 8} {
		runtime.GOMAXPROCS(n)
		_, err := Load(LoadOptions{Dirs: []string{"testdata/errors"}, Factories: testFactories})
		if err == nil {
			t.Fatal("bad rules were loaded")
		}
		s, err2 := Load(LoadOptions{Files: good, AllowFewTests: true})
		if err2 != nil {
			t.Fatal(err2)
		}
		got := fmt.Sprint(err, s.Hash(), s.warns, s.List())
		for _, r := range s.rules {
			got += fmt.Sprint(r.match.slot, " ")
		}
		for _, w := range s.tables.words {
			got += fmt.Sprint(w.words)
		}
		if want == "" {
			want = got
		} else if got != want {
			t.Errorf("on %d cores:\n%s\nwant\n%s", n, got, want)
		}
	}
}
