// Package packedtest holds archives that are embedded to the files that they were
// made of.
package packedtest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/packed"
)

// Check compares an archive with the files that match a pattern. With update it
// makes the archive anew.
func Check(t *testing.T, archive, pattern string, update bool) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files are called %s (%v)", pattern, err)
	}
	want := map[string][]byte{}
	for _, p := range paths {
		if want[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	if update {
		data, err := packed.Pack(want)
		if err == nil {
			err = os.WriteFile(archive, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	got, err := packed.Files(data)
	if err != nil {
		t.Fatal(err)
	}
	again := "go test -run " + t.Name() + " -update in this folder"
	for name, data := range want {
		if !bytes.Equal(got[name], data) {
			t.Errorf("%s was changed and not packed: %s", name, again)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is packed and is not in the folder: %s", name, again)
	}
}
