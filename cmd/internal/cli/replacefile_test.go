package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// A rule that somebody wrote is replaced whole or not at all: a full disk emptied it.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rule.yaml")
	holds := func(path, want string, mode os.FileMode) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != want || runtime.GOOS != "windows" && st.Mode() != mode {
			t.Errorf("%s is %q, mode %s", path, b, st.Mode())
		}
	}
	if err := replaceFile(file, []byte("one")); err != nil {
		t.Fatal(err)
	}
	holds(file, "one", 0o644)
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(file, []byte("two")); err != nil {
		t.Fatal(err)
	}
	holds(file, "two", 0o600)
	// Nothing can be written beside it.
	if err := os.Mkdir(file+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(file, []byte("three")); err == nil {
		t.Error("it says that it was written")
	}
	holds(file, "two", 0o600)
	if err := os.Remove(file + ".new"); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return // links want a right there
	}
	link := filepath.Join(dir, "link.yaml")
	if err := os.Symlink("rule.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("four")); err != nil {
		t.Fatal(err)
	}
	holds(file, "four", 0o600)
	if to, err := os.Readlink(link); err != nil || to != "rule.yaml" {
		t.Errorf("the link leads to %q: %v", to, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}
