package backup

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// What is no archive of ours leaves nothing behind, in the folder or beside it.
func FuzzRead(f *testing.F) {
	whole, err := unpackedArchive(archive(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(bytes.ReplaceAll(whole, []byte("store/"), []byte("../../")))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The fuzzer changes what is packed: a changed sum of gzip would end all of it.
		var b bytes.Buffer
		gz, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
		_, _ = gz.Write(data)
		_ = gz.Close()
		parent := t.TempDir()
		m, err := Read(&b, filepath.Join(parent, "in", "state"))
		if err != nil {
			if left, _ := filepath.Glob(filepath.Join(parent, "in", "*")); len(left) > 0 {
				t.Fatalf("left over: %v", left)
			}
		} else if left, _ := os.ReadDir(filepath.Join(parent, "in")); len(left) != 1 || len(m.Files) == 0 {
			t.Fatalf("%v of %+v", left, m)
		}
		if beside, _ := os.ReadDir(parent); len(beside) != 1 {
			t.Fatalf("beside it: %v", beside)
		}
	})
}

func unpackedArchive(packed []byte) ([]byte, error) {
	gz, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(gz)
	return b.Bytes(), err
}
