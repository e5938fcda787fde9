package rules

import (
	_ "embed"
	"fmt"
	"maps"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/packed"
)

// packArchive is the folder pack: as it is it would be a hundredth of the
// program. `go test ./rules -run TestPackIsPacked -update` makes it anew.
//
//go:embed pack.tar.zst
var packArchive []byte

var unpacked = sync.OnceValues(func() (map[string][]byte, error) {
	files, err := packed.Files(packArchive)
	if err != nil {
		return nil, fmt.Errorf("the shipped rules: %w", err)
	}
	return files, nil
})

// PackFiles are the shipped rule files by name, as they are read. The contents
// are not to be changed.
func PackFiles() (map[string][]byte, error) {
	files, err := unpacked()
	return maps.Clone(files), err
}
