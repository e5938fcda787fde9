package check

import (
	"strings"
	"testing"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
)

// TestGoReleaser reads the configuration as goreleaser does: strictly.
func TestGoReleaser(t *testing.T) {
	c, err := config.Load("../release/goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Builds) != 1 || len(c.NFPMs) != 1 || len(c.SBOMs) == 0 || len(c.Signs) == 0 {
		t.Errorf("builds, packages, SBOMs or signatures are missing: %+v", c)
	}
	if _, err := config.LoadReader(strings.NewReader("version: 2\nbuildz: []\n")); err == nil {
		t.Error("an unknown key was taken for good")
	}
}
