package packed_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/packed"
)

func TestPropFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,12}\.[a-z]{1,4}`), rapid.SliceOf(rapid.Byte()), 0, 6).Draw(t, "files")
		archive, err := packed.Pack(files)
		if err != nil {
			t.Fatal(err)
		}
		got, err := packed.Files(archive)
		if err != nil || !maps.EqualFunc(got, files, bytes.Equal) {
			t.Fatalf("%v, %v; want %v", got, err, files)
		}
		again, _ := packed.Pack(maps.Clone(files))
		if !bytes.Equal(again, archive) {
			t.Fatal("the same files give other bytes")
		}
		// What is cut short or changed is no archive of these files.
		cut := archive[:rapid.IntRange(0, len(archive)-1).Draw(t, "cut")]
		if got, err := packed.Files(cut); err == nil && !maps.EqualFunc(got, files, bytes.Equal) {
			t.Fatalf("%d of %d bytes are %v", len(cut), len(archive), slices.Collect(maps.Keys(got)))
		}
	})
}

func TestTooLarge(t *testing.T) {
	archive, err := packed.Pack(map[string][]byte{"a": make([]byte, 2<<20)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Files(archive); err == nil {
		t.Error("a file of 2 MiB was unpacked")
	}
}
