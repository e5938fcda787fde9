package report

import (
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
)

func TestPageIsPacked(t *testing.T) {
	packedtest.Check(t, "page.tar.zst", "page/*", *update)
}
