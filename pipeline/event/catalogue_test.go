package event

import (
	"bytes"
	"compress/gzip"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "pack the catalogue anew")

// The program has the catalogue packed; what is packed is what stands in the files.
func TestCatalogueIsPacked(t *testing.T) {
	wantActions, err := os.ReadFile("actions.txt")
	if err != nil {
		t.Fatal(err)
	}
	wantEvents, err := os.ReadFile("events.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]byte{wantActions, []byte(betweenTexts), wantEvents} {
			if _, err := z.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		packedTexts = b.Bytes()
		if err := os.WriteFile("catalogue.gz", packedTexts, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if actions, events := catalogueTexts(); actions != string(wantActions) || events != string(wantEvents) {
		t.Error("actions.txt or events.txt was changed and not packed: go test ./pipeline/event -run TestCatalogueIsPacked -update")
	}
}
