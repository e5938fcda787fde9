package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// fillDisk makes files of a run with that name end in the middle, as on a disk that is
// full; an empty name is all.
func fillDisk(t *testing.T, name string) {
	was := putFile
	t.Cleanup(func() { putFile = was })
	putFile = func(f *os.File, data []byte) error {
		if name != "" && filepath.Base(f.Name()) != name {
			return was(f, data)
		}
		_ = was(f, data[:len(data)/2])
		return &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
}

// TestResumeFolder: a folder that cannot be used is refused before anything is read,
// with what to do, and nothing is left in it.
func TestResumeFolder(t *testing.T) {
	dir := write(t, map[string]string{"in/a.jsonl": lines(recs("e", 0, 5)), "file": "", "odd/trailwarden.resume.alerts/x": "", "kept/mine": "x"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		name, way, want string
		full            bool
		only            string // system
	}{
		{name: "a file", way: in("file"), want: "a file has that name; name a folder"},
		{name: "below a file", way: in("file/x/y"), want: "a file has that name; name a folder"},
		{name: "other things", way: in("odd"), want: "something else has the name of a file of the run"},
		{name: "full", way: in("kept"), full: true, want: "no space left on device): make room there, or name a folder elsewhere"},
		{name: "full and new", way: in("new"), full: true, want: "make room there"},
		{name: "read only", way: "/proc/self/fdinfo", want: "name a", only: "linux"}, // to the superuser too
		{name: "read only and new", way: "/proc/self/fdinfo/x", want: "name a", only: "linux"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.only != "" && c.only != runtime.GOOS {
				t.Skip("not on this system")
			}
			if c.full {
				fillDisk(t, "")
			}
			before, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
			_, began := Began(c.way, "", time.Now())
			read := false
			_, run := Run(t.Context(), []string{in("in")}, RunConfig{Rules: newTestSet(), Resume: &Resume{Dir: c.way}, OnProgress: func(p Progress) { read = true }})
			for _, err := range []error{began, run} {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "the state of the run cannot be kept there") {
					t.Errorf("%v", err)
				}
			}
			if after, _ := filepath.Glob(filepath.Join(dir, "*", "*")); read || fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("read: %v; before %v, after %v", read, before, after)
			}
			if _, err := os.Lstat(in("new")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a folder is left: %v", err)
			}
		})
	}
}

// TestResumeFull: a disk that is full when the run is under way takes nothing of
// its result, nor what was kept before.
func TestResumeFull(t *testing.T) {
	body := strings.Replace(created(300), "\n", "\nno event\n", 200)
	dir := write(t, map[string]string{"a.jsonl": body})
	way := filepath.Join(t.TempDir(), "way")
	run := func(stop int) (alerts string, s Stats, begun []Resumed, trouble []error) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		met := 0
		res, err := Run(ctx, []string{dir}, RunConfig{Rules: newTestSet(), Workers: 2, Options: Options{BlockSize: 2000}, OnParked: func(Parked) {
			if met++; met == stop {
				cancel()
			}
		}, Resume: &Resume{Dir: way, OnBegin: func(r Resumed) { begun = append(begun, r) }, OnTrouble: func(err error) { trouble = append(trouble, err) }}})
		if (err != nil) != (stop > 0) || err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		defer res.Close()
		return asLines(t, found(t, &res)), res.Stats, begun, trouble
	}
	state := func() []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(way, stateFile))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	_, first, _, trouble := run(40)
	if len(trouble) > 0 || first.Events == 0 {
		t.Fatalf("%v %+v", trouble, first)
	}
	kept := state()
	t.Run("full", func(t *testing.T) {
		fillDisk(t, stateFile+".new")
		got, s, begun, trouble := run(120)
		if len(trouble) != 1 || !strings.Contains(trouble[0].Error(), "make room there") || len(begun) != 1 || begun[0].Events != first.Events ||
			s.Events <= first.Events || int64(strings.Count(got, "\n")) != s.Alerts || s.Alerts != s.Detections {
			t.Errorf("%v %+v %+v", trouble, begun, s)
		}
	})
	if after := state(); !bytes.Equal(after, kept) {
		t.Error("what was kept is another")
	}
	if left, err := filepath.Glob(filepath.Join(way, "*.new")); err != nil || len(left) > 0 {
		t.Errorf("half a file is left: %v %v", left, err)
	}
	got, s, begun, trouble := run(0)
	if len(begun) != 1 || begun[0].Why != "" || begun[0].Events != first.Events || len(trouble) > 0 || s.Events != 300 {
		t.Errorf("%+v %v %+v", begun, trouble, s)
	}
	if err := Forget(way); err != nil {
		t.Error(err)
	}
	if want, _, _, _ := run(0); got != want {
		t.Errorf("gone on\n%s\nin one go\n%s", got, want)
	}
}

// TestSpillFull: what could not be written stays in memory, and half of it is not
// found in the file.
func TestSpillFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	open := func(flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	res, err := Run(t.Context(), []string{write(t, map[string]string{"a.jsonl": created(6)})}, RunConfig{Rules: newTestSet()})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	var parts []*alert.Part
	for p, err := range res.alerts.all() {
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	file := open(os.O_RDWR | os.O_CREATE)
	s := sorter{limit: 2, compare: byID, file: file, stays: true}
	for i, p := range parts {
		s.file = file
		if i == 3 { // nothing can be written
			s.file = open(os.O_RDONLY)
		}
		if err := s.add(p); (err != nil) != (i == 3) || err != nil && (!strings.Contains(err.Error(), "the folder of the run's state") || len(s.held) != 2) {
			t.Fatalf("%d: %v, %d held", i, err, len(s.held))
		}
	}
	n := 0
	for p, err := range s.all() {
		if err != nil || p.ID() == "" {
			t.Fatal(err)
		}
		n++
	}
	if n != len(parts) || n != 6 {
		t.Errorf("%d of %d", n, len(parts))
	}
}
