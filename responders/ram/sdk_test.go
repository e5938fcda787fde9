package ram

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// One mention of a product's own client brings a megabyte of calls that nobody
// makes into the program; see sdk.go.
func TestNoProductClients(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	product := regexp.MustCompile(`[^.\w](ram|ims|sts|actiontrail)\.(Client\b|NewClient)`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := product.Find(b); m != nil {
			t.Errorf("%s uses %s: add the call to sdk.go instead", f, m[1:])
		}
	}
}
