package rules

import (
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
)

// The program has the rules packed; what is packed is what stands in the folder.
func TestPackIsPacked(t *testing.T) {
	packedtest.Check(t, "pack.tar.zst", "pack/*.yaml", *update)
}
