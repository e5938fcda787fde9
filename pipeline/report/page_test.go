package report

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
)

func TestPageIsPacked(t *testing.T) {
	packedtest.Check(t, "page.tar.zst", "page/*", *update)
}

// TestNumbersOnPaper: on paper, where cells are narrow and break anywhere, a number of
// three digits stays one number, and a time one line.
func TestNumbersOnPaper(t *testing.T) {
	_, paper, _ := strings.Cut(write(t, "html", In{}), "@media print")
	if !strings.Contains(paper, ".wide .num,.wide .when{white-space:nowrap}") {
		t.Error("numbers and times break on paper")
	}
}
