//go:build unix

package replay

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestSpecialFiles(t *testing.T) {
	dir := write(t, map[string]string{"d/a.json": array(recs("e", 0, 3))})
	d := filepath.Join(dir, "d")
	if err := os.Symlink(filepath.Join(d, "a.json"), filepath.Join(d, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(d, filepath.Join(d, "loop")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(d, "pipe.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	passed := filepath.Join(dir, "passed") // as a shell's <(command) is
	if err := os.Symlink(filepath.Join(d, "pipe.json"), passed); err != nil {
		t.Fatal(err)
	}
	res, _, _ := play(t, RunConfig{}, d, passed, filepath.Join(d, "link.json"), "/dev/null", filepath.Join(dir, "none.json"), filepath.Join(d, "loop"), filepath.Join(d, "a.json"))
	var got []string
	for _, f := range res.Stats.FilesFailed {
		got = append(got, filepath.Base(f.Path)+": "+f.Error)
	}
	want := []string{"link.json: not a regular file but a symbolic link: name the file it points to", "loop: not a regular file but a symbolic link: name the folder it points to", `pipe.json: not a regular file but a pipe: read it as standard input, with "-"`,
		`passed: not a regular file but a pipe: read it as standard input, with "-"`, "link.json: not a regular file but a symbolic link: name the file it points to", "null: not a regular file but a device", "none.json: no such file or directory",
		"loop: not a regular file but a symbolic link: name the file it points to"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if s := res.Stats; s.FilesFound() != int64(1+len(want)) || s.FilesWhole() != 1 || s.FilesIgnored != 0 {
		t.Errorf("%+v", s)
	}
	if s := res.Stats; s.Events != 3 || s.Duplicates != 0 || s.FilesRead != 1 {
		t.Errorf("%+v", s)
	}
	// What replaces a file after it was found is caught when it is opened.
	for _, name := range []string{"link.json", "pipe.json"} {
		in := input{path: filepath.Join(d, name)}
		o := Options{}.withDefaults()
		if f, err := in.open(context.Background(), &o, nil); err == nil {
			f.close()
			t.Errorf("%s was opened", name)
		}
	}
}
