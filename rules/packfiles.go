package rules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
)

// packArchive is the folder pack, packed: as it is it would be a hundredth of
// the program. `go test ./rules -run TestPackIsPacked -update` makes it anew.
//
//go:embed pack.tar.gz
var packArchive []byte

var unpacked = sync.OnceValues(func() (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packArchive))
	if err != nil {
		return nil, fmt.Errorf("the shipped rules: %w", err)
	}
	out := map[string][]byte{}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the shipped rules: %w", err)
		}
		if out[h.Name], err = io.ReadAll(io.LimitReader(r, maxFile)); err != nil {
			return nil, fmt.Errorf("the shipped rules: %s: %w", h.Name, err)
		}
	}
})

// PackFiles are the shipped rule files by name, as they are read. The contents
// are not to be changed.
func PackFiles() (map[string][]byte, error) {
	files, err := unpacked()
	return maps.Clone(files), err
}
