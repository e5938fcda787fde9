package evidence

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string, l Limits) *Store {
	t.Helper()
	s, err := Open(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is kept comes back byte for byte, from the same process and the next one,
// and the last word about an alert counts.
func TestPropKeep(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s, want := open(t, dir, Limits{}), map[string][][]byte{}
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			id := fmt.Sprintf("%032x", rapid.IntRange(0, 3).Draw(rt, "alert"))
			if rapid.Bool().Draw(rt, "again") {
				s = open(t, dir, Limits{})
			}
			records := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 1, MaxRecords+2).Draw(rt, "records")
			if err := s.Keep(id, records, t0); err != nil {
				rt.Fatal(err)
			}
			want[id] = records[:min(len(records), MaxRecords)]
			for id, records := range want {
				got, err := s.Records(id)
				if err != nil || !slices.EqualFunc(got, records, bytes.Equal) {
					rt.Fatalf("%s: %q, %v; want %q", id, got, err, records)
				}
			}
		}
	})
}

// The folder is bounded in bytes and in time; the oldest goes first.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{Bytes: 10_000, Age: 24 * time.Hour})
	noise := func(n int) []byte { // nothing that can be compressed
		b := make([]byte, 1000)
		_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
		return b
	}
	for i := range 40 {
		if err := s.Keep(fmt.Sprintf("a%02d", i), [][]byte{noise(i)}, t0.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := func() (names []string, size int64) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			names, size = append(names, e.Name()), size+info.Size()
		}
		return names, size
	}
	names, size := onDisk()
	if size > 10_000 || size < 7_000 || names[len(names)-1] != "a39" || !slices.IsSorted(names) || len(names) != len(s.files) || size != s.total {
		t.Errorf("%d bytes in %v; the store believes %d", size, names, s.total)
	}
	if err := s.Keep("later", [][]byte{noise(50)}, t0.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if names, _ := onDisk(); len(names) != 1 || names[0] != "later" {
		t.Errorf("two days later there are %v", names)
	}
	if err := s.Keep("long", [][]byte{make([]byte, MaxRecord+1), []byte("short")}, t0.Add(49*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Records("long"); err != nil || len(got) != 1 || string(got[0]) != "short" {
		t.Errorf("beside a record that is too long: %d, %v", len(got), err)
	}
}

// What an attacker or a crash left in the folder does no harm.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{})
	for _, id := range []string{"", "../x", "a/b", ".", "A", strings.Repeat("a", 65)} {
		if err := s.Keep(id, [][]byte{[]byte("x")}, t0); err == nil {
			t.Errorf("%q became a file", id)
		}
		if got, err := s.Records(id); got != nil || err != nil {
			t.Errorf("%q: %q, %v", id, got, err)
		}
	}
	if err := s.Keep("good", [][]byte{[]byte("x")}, t0); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"half.new": "x", "bad": "no archive", "cut": string(s.enc.EncodeAll([]byte{5, 'x'}, nil)),
		"bomb": string(s.enc.EncodeAll(make([]byte, 8*MaxRecords*MaxRecord), nil))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Limits{})
	for _, id := range []string{"bad", "cut", "bomb"} {
		if got, err := s.Records(id); err == nil {
			t.Errorf("%s: %q", id, got)
		}
		if err := s.Keep(id, [][]byte{[]byte("again")}, t0); err != nil {
			t.Error(err)
		}
	}
	for id, want := range map[string]string{"good": "x", "bad": "again", "cut": "again", "bomb": "again"} {
		if got, err := s.Records(id); err != nil || len(got) != 1 || string(got[0]) != want {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "half.new")); !os.IsNotExist(err) {
		t.Errorf("what was being written is still there: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "good")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Records("good"); got != nil || err != nil {
		t.Errorf("a file that is gone: %q, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	s := open(f, f.TempDir(), Limits{})
	f.Add(s.enc.EncodeAll([]byte("\x01x\x00\x02yz"), nil))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := s.decode(data)
		size := 0
		for _, r := range out {
			size += len(r)
		}
		if err != nil && out != nil || size > 2*MaxRecords*MaxRecord {
			t.Errorf("%d bytes, %v", size, err)
		}
	})
}
