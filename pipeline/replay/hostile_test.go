package replay

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// TestNothingIsSilent: whatever is not read of a folder is told: by name and
// reason where it looks like events, by name where it does not.
func TestNothingIsSilent(t *testing.T) {
	var tarred, zipped bytes.Buffer
	tw := tar.NewWriter(&tarred)
	body := lines(recs("e", 0, 20))
	if err := tw.WriteHeader(&tar.Header{Name: "a.jsonl", Size: int64(len(body)), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(&zipped)
	w, err := zw.Create("a.jsonl")
	if err == nil {
		_, err = w.Write([]byte(body))
	}
	if err != nil || tw.Close() != nil || zw.Close() != nil {
		t.Fatal(err)
	}
	whole := packGzip(t, body)
	dir := write(t, map[string]string{"good.jsonl": body, "README.md": "x", "old.zip": zipped.String(), "all.tar.gz": packGzip(t, tarred.String()), ".hidden.zip": "x", ".part.jsonl.gz": "x", ".git/a.json": "x",
		"zip.json": zipped.String(), "tar.jsonl.gz": packGzip(t, tarred.String()), "xz.jsonl": "\xfd7zXZ\x00\x00", "cut.jsonl.gz": whole[:len(whole)*2/3], "empty.jsonl": ""})
	res, _, _ := play(t, RunConfig{}, dir)
	s := res.Stats
	want := []string{"cut.jsonl.gz: gzip archive breaks off", "tar.jsonl.gz: no events but a tar archive: unpack it, and name the folder",
		"xz.jsonl: no events but an xz archive: unpack it", "zip.json: no events but a zip archive: unpack it, and name the folder"}
	var got, odd []string
	for _, f := range s.FilesFailed {
		got = append(got, filepath.Base(f.Path)+": "+f.Error)
	}
	for _, p := range s.Ignored {
		odd = append(odd, filepath.Base(p))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !slices.Equal(odd, []string{".git", ".part.jsonl.gz", "README.md", "all.tar.gz", "old.zip"}) || s.FilesIgnored != 5 {
		t.Errorf("ignored %q, %d", odd, s.FilesIgnored)
	}
	if s.FilesFound() != 6 || s.FilesWhole() != 2 || s.FilesPart != 1 {
		t.Errorf("%d of %d whole, %d in part", s.FilesWhole(), s.FilesFound(), s.FilesPart)
	}
}

// Of the records that are no events, the first few of each reason are named.
func TestParkedAreNamed(t *testing.T) {
	good := lines(recs("e", 0, 2))
	dir := write(t, map[string]string{"a.jsonl": good + strings.Repeat("no\n", 5) + good, "b.jsonl": good + "{}\n"})
	a, b := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")
	res, _, _ := play(t, RunConfig{}, dir)
	want := []ParkedRecord{{a, 3, event.ReasonNotJSON}, {a, 4, event.ReasonNotJSON}, {a, 5, event.ReasonNotJSON}, {b, 3, event.ReasonNotEvent}}
	if got := res.Stats.ParkedAt; !slices.Equal(got, want) || res.Stats.Parked != 6 {
		t.Errorf("got  %+v of %d\nwant %+v", got, res.Stats.Parked, want)
	}
}

// TestHostileRecords: records made to hurt cost one place in the count each;
// what stands around them is read.
func TestHostileRecords(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000)
	long := `{"a":"` + strings.Repeat("a", 9<<20) + `"}`
	body := strings.Join([]string{rec("a", 0, "GetUser"), deep, rec("b", 1, "GetUser"), long, rec("c", 2, "GetUser"), "\x00\x00\x00", "[[[[[[", rec("d", 3, "GetUser"),
		strings.Replace(rec("e", 4, "GetUser"), "user4", "us\xff\xfeer", 1), strings.Replace(rec("f", 5, "GetUser"), `"eventName"`, `"eventName":"Other","eventName"`, 1), rec("g", 6, "GetUser")[:60]}, "\n")
	res, parked, order := play(t, RunConfig{Options: Options{BlockSize: 64 << 10}}, filepath.Join(write(t, map[string]string{"a.jsonl": body}), "a.jsonl"))
	if want := "[a b c d e f]"; fmt.Sprint(order) != want {
		t.Errorf("read %v, want %s", order, want)
	}
	if len(parked) != 5 || res.Stats.Parked != 5 || len(res.Stats.ByReason) < 3 {
		t.Errorf("parked %q, %v", parked, res.Stats.ByReason)
	}
}

// TestUnreadableAndGone: a file that may not be read, and one that is gone
// when its turn comes, are named.
func TestUnreadableAndGone(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": lines(recs("e", 0, 500)), "secret.jsonl": lines(recs("f", 0, 5)), "z.jsonl": lines(recs("g", 10_000, 5))})
	secret, gone := filepath.Join(dir, "secret.jsonl"), filepath.Join(dir, "z.jsonl")
	if err := os.Chmod(secret, 0); err != nil {
		t.Fatal(err)
	}
	in, err := Open([]string{dir}, Options{})
	if err != nil || len(in.Paths()) != 3 {
		t.Fatal(err, in.Paths())
	}
	_ = os.Remove(gone)
	n := 0
	for range in.Records(t.Context()) {
		n++
	}
	failed := in.Failed()
	if n < 500 || len(failed) == 0 || !strings.Contains(failed[len(failed)-1].Error(), "z.jsonl: no such file") && runtime.GOOS != "windows" {
		t.Errorf("%d records, %v", n, failed)
	}
	if os.Getuid() > 0 && (len(failed) != 2 || !strings.Contains(failed[0].Error(), "secret.jsonl: permission denied")) {
		t.Errorf("%v", failed)
	}
}

// TestNoName: a name that is empty is not the folder where we are.
func TestNoName(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": lines(recs("e", 0, 5))})
	t.Chdir(dir)
	if _, err := Open([]string{""}, Options{}); !errors.Is(err, ErrNothing) {
		t.Errorf("%v", err)
	}
	res, _, _ := play(t, RunConfig{}, "a.jsonl", "")
	if s := res.Stats; s.Records != 5 || len(s.FilesFailed) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestShrunk: a file that is cut after it was found, at a line's end or to
// nothing, was not read whole.
func TestShrunk(t *testing.T) {
	for name, pack := range map[string]func(testing.TB, string) string{"plain": func(_ testing.TB, s string) string { return s }, "gzip": packGzip, "zstd": packZstd} {
		r := recs("e", 0, 20)
		whole := pack(t, lines(r[:10]))
		for _, left := range []int{0, len(whole)} {
			dir := write(t, map[string]string{"a": whole + pack(t, lines(r[10:])), "b": lines(recs("f", 0, 1))})
			path := filepath.Join(dir, "a")
			cfg := RunConfig{Rules: newTestSet(), Prepare: func(*detectors.Engine) error { return os.Truncate(path, int64(left)) }, Options: Options{Hash: true}}
			res, _, _ := play(t, cfg, path, filepath.Join(dir, "b"))
			if s := res.Stats; len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "file breaks off: it had") || s.FilesPart != int64(min(left, 1)) {
				t.Errorf("%s, %d bytes left: %+v", name, left, s)
			}
			if res.Files[0].SHA256 != "" {
				t.Errorf("%s: the hash of half a file", name)
			}
			dir = write(t, map[string]string{"a.jsonl": whole + pack(t, lines(r[10:]))})
			in, err := Open([]string{dir}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dir, "a.jsonl"), int64(left)); err != nil {
				t.Fatal(err)
			}
			for range in.Records(t.Context()) {
			}
			if failed := in.Failed(); len(failed) != 1 || !errors.Is(failed[0], ErrTruncated) {
				t.Errorf("%s, %d bytes left, records: %v", name, left, failed)
			}
		}
	}
}

// TestSkippableFrame: an archive that begins with a frame to be skipped, as
// parallel packers write, is unpacked.
func TestSkippableFrame(t *testing.T) {
	skip := "\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
	dir := write(t, map[string]string{"a.zst": skip + packZstd(t, lines(recs("e", 0, 5))) + skip + packZstd(t, lines(recs("e", 5, 5)))})
	res, parked, _ := play(t, RunConfig{}, dir)
	if s := res.Stats; s.Records != 10 || len(parked) != 0 || len(s.FilesFailed) != 0 {
		t.Errorf("%v %+v", parked, s)
	}
}

// TestHashes: the hash of an input is that of the bytes that were read, of
// every form, and there is none for what was not read to its end.
func TestHashes(t *testing.T) {
	body := lines(recs("e", 0, 3000))
	whole := packGzip(t, body)
	files := map[string]string{"a.jsonl": body, "b.json": array(recs("f", 0, 50)) + " \n", "c.jsonl.gz": whole + packGzip(t, rec("g", 0, "GetUser")), "d.jsonl.zst": packZstd(t, body),
		"e.jsonl": "", "f.jsonl.gz": whole[:len(whole)/2], "g.jsonl": lines(reversed(recs("h", 0, 50)))}
	dir := write(t, files)
	for _, workers := range []int{1, 3} {
		res, _, _ := play(t, RunConfig{Workers: workers, Options: Options{Hash: true, BlockSize: 3000, Stdin: strings.NewReader(body)}}, dir, "-")
		if len(res.Files) != len(files)+1 {
			t.Fatalf("%d files", len(res.Files))
		}
		for _, f := range res.Files {
			data, ok := files[filepath.Base(f.Path)]
			if f.Path == "-" {
				data, ok = body, true
			}
			sum := sha256.Sum256([]byte(data))
			want, size := hex.EncodeToString(sum[:]), int64(len(data))
			if filepath.Base(f.Path) == "f.jsonl.gz" {
				want = ""
			}
			if !ok || f.SHA256 != want || f.Size != size {
				t.Errorf("%s: %d bytes, %q; want %d, %q", f.Path, f.Size, f.SHA256, size, want)
			}
		}
	}
	if res, _, _ := play(t, RunConfig{}, dir); res.Files[0].SHA256 != "" {
		t.Error("a hash that nobody asked for")
	}
}

func reversed(r []string) []string { slices.Reverse(r); return r }
