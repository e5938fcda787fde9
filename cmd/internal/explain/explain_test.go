package explain

import (
	"flag"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
)

var update = flag.Bool("update", false, "pack what is embedded anew")

func TestCodesArePacked(t *testing.T) {
	packedtest.Check(t, "codes.tar.zst", "codes.md", *update)
	if len(Pages()) < 20 {
		t.Errorf("%d pages", len(Pages()))
	}
	if p, ok := Find(Pages()[3].Code); !ok || p != Pages()[3] {
		t.Errorf("%+v", p)
	}
}
