package backup

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/bus"
)

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, s := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		b, err := os.ReadFile(p)
		if rel = filepath.ToSlash(rel); filepath.Base(rel) != "LOCK" {
			out[rel] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is restored is what was backed up, whatever it is.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base, err := os.MkdirTemp("", "tw-backup-")
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(base) }()
		files := map[string]string{"store/jetstream/x": "x"}
		for i, n := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b/c", "b/d.blk", "store/y", "store/z/w"}), 0, 5).Draw(rt, "names") {
			files[fmt.Sprintf("%s-%d", n, i)] = string(rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "data"))
		}
		dir := filepath.Join(base, "state")
		write(t, dir, files)
		var b bytes.Buffer
		m, err := Write(&b, dir, "v1")
		if err != nil {
			rt.Fatal(err)
		}
		to := filepath.Join(base, "restored")
		got, err := Read(bytes.NewReader(b.Bytes()), to)
		if err != nil {
			rt.Fatal(err)
		}
		if !maps.Equal(read(t, to), files) || !slices.Equal(got.Paths(), m.Paths()) || got.Bytes() != m.Bytes() || got.Version != "v1" {
			rt.Fatalf("restored %v of %v", got.Paths(), m.Paths())
		}
		st, err := os.Stat(to)
		if err != nil || st.Mode().Perm() != 0o700 {
			rt.Fatalf("%v %v", st.Mode(), err)
		}
	})
}

func archive(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"store/a": strings.Repeat("a", 300), "store/b": "b"})
	var b bytes.Buffer
	if _, err := Write(&b, dir, "v1"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A cut or changed archive restores nothing.
func TestDamage(t *testing.T) {
	good := archive(t)
	base := t.TempDir()
	try := func(name string, data []byte) {
		t.Helper()
		to := filepath.Join(base, "to")
		_, err := Read(bytes.NewReader(data), to)
		if err == nil {
			// The trailer of gzip covers all but padding: what is read must be right.
			if got := read(t, to); len(got) != 2 || got["store/b"] != "b" {
				t.Errorf("%s: restored %v", name, got)
			}
			_ = os.RemoveAll(to)
			return
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: something was left behind", name)
		}
		if left, _ := filepath.Glob(filepath.Join(base, ".trailwarden-restore-*")); len(left) > 0 {
			t.Errorf("%s: %v", name, left)
		}
	}
	for n := range len(good) {
		if n%17 == 0 {
			try(fmt.Sprintf("cut at %d", n), good[:n])
		}
		if n%13 == 0 {
			changed := bytes.Clone(good)
			changed[n] ^= 0x10
			try(fmt.Sprintf("changed at %d", n), changed)
		}
	}
	for n := 0; n < len(good); n += 50 {
		if _, err := Read(bytes.NewReader(good[:n]), filepath.Join(base, "cut")); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	make := func(f func(*tar.Writer)) []byte {
		var b bytes.Buffer
		gz := gzip.NewWriter(&b)
		tw := tar.NewWriter(gz)
		f(tw)
		_, _ = tw.Close(), gz.Close()
		return b.Bytes()
	}
	file := func(tw *tar.Writer, name, data string, typ byte) {
		if typ != tar.TypeReg {
			data = ""
		}
		_ = tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), Typeflag: typ, Linkname: "/etc/passwd"})
		_, _ = tw.Write([]byte(data))
	}
	for name, data := range map[string][]byte{
		"outside":  make(func(tw *tar.Writer) { file(tw, "../evil", "x", tar.TypeReg) }),
		"absolute": make(func(tw *tar.Writer) { file(tw, "/evil", "x", tar.TypeReg) }),
		"link":     make(func(tw *tar.Writer) { file(tw, "store/a", "", tar.TypeSymlink) }),
		"twice":    make(func(tw *tar.Writer) { file(tw, "a", "x", tar.TypeReg); file(tw, "a", "y", tar.TypeReg) }),
		"no list":  make(func(tw *tar.Writer) { file(tw, "a", "x", tar.TypeReg) }),
		"more than the list": make(func(tw *tar.Writer) {
			file(tw, "a", "x", tar.TypeReg)
			file(tw, manifestName, `{"format":1,"files":[]}`, tar.TypeReg)
		}),
		"after its end": make(func(tw *tar.Writer) {
			file(tw, manifestName, `{"format":1,"files":[]}`, tar.TypeReg)
			file(tw, "a", "x", tar.TypeReg)
		}),
		"no archive": []byte("hello"),
	} {
		base := t.TempDir()
		if _, err := Read(bytes.NewReader(data), filepath.Join(base, "to")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(base); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
	newer := make(func(tw *tar.Writer) { file(tw, manifestName, `{"format":2,"files":[]}`, tar.TypeReg) })
	if _, err := Read(bytes.NewReader(newer), filepath.Join(t.TempDir(), "to")); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
}

// An archive that packs zeros fills no disk.
func TestBomb(t *testing.T) {
	old := plainBytes
	plainBytes = 1 << 20
	defer func() { plainBytes = old }()
	const size = 512 << 20 // nobody waits for the end of it
	pr, pw := io.Pipe()
	go func() {
		gz := gzip.NewWriter(pw)
		tw := tar.NewWriter(gz)
		err := tw.WriteHeader(&tar.Header{Name: "store/zeros", Mode: 0o600, Size: size})
		zeros := make([]byte, 1<<20)
		for n := 0; err == nil && n < size; n += len(zeros) {
			_, err = tw.Write(zeros)
		}
		pw.CloseWithError(cmp.Or(err, io.EOF))
	}()
	parent := t.TempDir()
	_, err := Read(pr, filepath.Join(parent, "state"))
	_ = pr.Close() // ends who writes
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "times its size") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	if _, err := Write(&bytes.Buffer{}, dir, "v"); err == nil {
		t.Error("a folder without a store was taken")
	}
	write(t, dir, map[string]string{"store/a": "a"})
	release, err := bus.Lock(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(&bytes.Buffer{}, dir, "v"); !errors.Is(err, bus.ErrLocked) {
		t.Errorf("while it runs: %v", err)
	}
	release()
	if _, err := Read(bytes.NewReader(archive(t)), dir); !errors.Is(err, ErrExists) {
		t.Errorf("over something: %v", err)
	}
}

// A state folder that is a link, as systemd's DynamicUser makes it, is backed up and
// restored through it; a link inside, which would be left out, is refused.
func TestLinks(t *testing.T) {
	base := t.TempDir()
	private, dir := filepath.Join(base, "private", "trailwarden"), filepath.Join(base, "trailwarden")
	files := map[string]string{"store/a": "a", "rules/b": "b"}
	write(t, private, files)
	if err := os.Symlink("private/trailwarden", dir); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if m, err := Write(&b, dir, "v1"); err != nil || len(m.Files) != len(files) {
		t.Fatalf("%v %v", m.Paths(), err)
	}
	if _, err := Read(bytes.NewReader(b.Bytes()), dir); !errors.Is(err, ErrExists) {
		t.Errorf("over what the link leads to: %v", err)
	}
	for _, empty := range []bool{false, true} {
		if err := os.Rename(private, private+fmt.Sprint(empty)); err != nil {
			t.Fatal(err)
		}
		if empty {
			if err := os.Mkdir(private, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Read(bytes.NewReader(b.Bytes()), dir); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Lstat(dir); err != nil || st.Mode()&os.ModeSymlink == 0 || !maps.Equal(read(t, private), files) {
			t.Errorf("restored beside the link: %v %v %v", st.Mode(), err, read(t, private))
		}
	}
	if err := os.Symlink("a", filepath.Join(private, "store", "c")); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(&bytes.Buffer{}, dir, "v1"); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("a link inside: %v", err)
	}
}

// An archive of nothing is not taken for a state.
func TestNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := Write(&b, dir, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&b, filepath.Join(dir, "to")); !errors.Is(err, ErrDamaged) {
		t.Errorf("it was restored: %v", err)
	}
}

func TestInside(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{"state/store/a": "a", "states/b": "b"})
	if err := os.Symlink(filepath.Join(top, "state", "store"), filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(top, "state"))
	for file, want := range map[string]bool{
		"b.tar.gz": true, "store/b.tar.gz": true, "../link/b.tar.gz": true, "../state/b.tar.gz": true,
		"../b.tar.gz": false, "../states/b.tar.gz": false, filepath.Join(top, "b.tar.gz"): false,
	} {
		for _, dir := range []string{".", filepath.Join(top, "state")} {
			if got := Inside(dir, file); got != want {
				t.Errorf("%s in %s: %v", file, dir, got)
			}
		}
	}
	if Inside(".", "nowhere/b.tar.gz") || Inside("nowhere", "b.tar.gz") {
		t.Error("a folder that is not there holds something")
	}
}
