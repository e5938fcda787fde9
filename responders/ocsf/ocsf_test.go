package ocsf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

func notifier(t testing.TB, path string) *Notifier {
	t.Helper()
	n, err := New(Spec{Common: responders.Common{Name: "lake"}, Path: path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestValidLines(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "pipeline", "report", "testdata", "ocsf-2004.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lake", "findings.jsonl")
	n := notifier(t, path)
	defer n.Close()
	for name, notice := range desttest.Notices() {
		ref, err := n.Post(t.Context(), notice)
		if err == nil {
			err = n.Update(t.Context(), ref, notice)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(lines) != 2*len(desttest.Notices()) {
		t.Fatalf("%d lines", len(lines))
	}
	for _, l := range lines {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(l))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%v", err)
		}
		if strings.ContainsAny(string(l), "\u202e\u200b\x1b") {
			t.Error("a character that acts on a terminal is not escaped")
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
}

// What a crash cut off is gone after the next start, what was whole stays, and
// Find knows the one from the other.
func TestCutAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "ocsf")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "f.jsonl")
		n := notifier(t, path)
		count := rapid.IntRange(1, 5).Draw(rt, "n")
		var ends []int64
		for i := range count {
			notice := desttest.Bare()
			notice.Alert.ID = fmt.Sprintf("%032x", i)
			if _, err := n.Post(t.Context(), notice); err != nil {
				rt.Fatal(err)
			}
			ends = append(ends, n.size)
		}
		n.Close()
		cut := rapid.Int64Range(0, ends[count-1]).Draw(rt, "cut")
		if err := os.Truncate(path, cut); err != nil {
			rt.Fatal(err)
		}
		n = notifier(t, path)
		defer n.Close()
		missing := []int{}
		for i := range count {
			_, ok, err := n.Find(t.Context(), fmt.Sprintf("%032x", i), time.Time{})
			if err != nil || ok != (ends[i] <= cut) {
				rt.Fatalf("finding %d of %v, cut at %d: found %v %v", i, ends, cut, ok, err)
			}
			if !ok {
				missing = append(missing, i)
			}
		}
		for _, i := range missing {
			notice := desttest.Bare()
			notice.Alert.ID = fmt.Sprintf("%032x", i)
			if _, err := n.Post(t.Context(), notice); err != nil {
				rt.Fatal(err)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil || bytes.Count(b, []byte("\n")) != count || b[len(b)-1] != '\n' {
			rt.Fatalf("%d lines of %d: %v", bytes.Count(b, []byte("\n")), count, err)
		}
	})
}

func TestTurnsOver(t *testing.T) {
	none, two := 0, 2
	for _, c := range []struct {
		keep  *int
		files int
		found map[int]bool
	}{
		// The newest is found, also in a file that was turned over; the oldest is gone.
		{&two, 3, map[int]bool{29: true, 27: true, 0: false}},
		{&none, 1, map[int]bool{29: true, 0: false}},
		{nil, 6, map[int]bool{29: true, 0: false}},
	} {
		path := filepath.Join(t.TempDir(), "f.jsonl")
		n, err := New(Spec{Common: responders.Common{Name: "lake"}, Path: path, Keep: c.keep}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		n.spec.MaxBytes = 2500
		for i := range 30 {
			notice := desttest.Bare()
			notice.Alert.ID = fmt.Sprintf("%032x", i)
			if _, err := n.Post(t.Context(), notice); err != nil {
				t.Fatal(err)
			}
		}
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) != c.files {
			t.Errorf("%d files kept: %v %v", c.files-1, files, err)
		}
		for _, f := range files {
			if st, err := os.Stat(f); err != nil || st.Size() > 2500 {
				t.Errorf("%s: %d bytes %v", f, st.Size(), err)
			}
		}
		for id, want := range c.found {
			if _, ok, err := n.Find(t.Context(), fmt.Sprintf("%032x", id), time.Time{}); err != nil || ok != want {
				t.Errorf("%d files kept, finding %d: %v %v", c.files-1, id, ok, err)
			}
		}
	}
}

// A file that something else moves, removes or cuts is begun again.
func TestOthersTurnIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.jsonl")
	n := notifier(t, path)
	defer n.Close()
	for _, x := range []struct {
		what string
		do   func() error
		both bool
	}{
		{"nothing", func() error { return nil }, true},
		{"moved", func() error { return os.Rename(path, path+".old") }, false},
		{"removed", func() error { return os.Remove(path) }, false},
		{"cut", func() error { return os.Truncate(path, 0) }, false},
		{"another in its place", func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) }, false},
	} {
		notice := desttest.Bare()
		if _, err := n.Post(t.Context(), notice); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.do(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Post(t.Context(), notice); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Size() == 0 || (st.Size() > before.Size()) != x.both || st.Size() != n.size {
			t.Errorf("%s: %v, it counts %d", x.what, err, n.size)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := notifier(t, filepath.Join(dir, "file", "f.jsonl"))
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	less, none := -1, 0
	for want, sp := range map[string]Spec{
		"": {Path: "f", Keep: &none}, "path": {}, "max_bytes": {Path: "f", MaxBytes: 10}, "keep": {Path: "f", Keep: &less},
	} {
		sp.Name = "lake"
		fs := sp.Check()
		if want == "" && len(fs) != 0 || want != "" && (len(fs) != 1 || fs[0].Field != want) {
			t.Errorf("%q: %v", want, fs)
		}
	}
}
