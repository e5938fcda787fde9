package rules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The program has the rules packed; what is packed is what stands in the folder.
func TestPackIsPacked(t *testing.T) {
	paths, err := filepath.Glob("pack/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no pack", err)
	}
	slices.Sort(paths)
	if *update {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteHeader(&tar.Header{Name: filepath.Base(p), Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("pack.tar.gz", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	files, err := PackFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(p); !bytes.Equal(files[name], data) {
			t.Errorf("%s was changed and not packed: go test ./rules -run TestPackIsPacked -update", p)
		}
		delete(files, filepath.Base(p))
	}
	for name := range files {
		t.Errorf("%s is packed and is not in the folder: go test ./rules -run TestPackIsPacked -update", name)
	}
}
