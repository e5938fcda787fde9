// Package explain holds the pages on fault codes.
package explain

import (
	_ "embed"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/packed"
)

// archive is codes.md, packed: `go test ./cmd/internal/explain -update` makes it
// anew.
//
//go:embed codes.tar.zst
var archive []byte

var pages = sync.OnceValue(func() string {
	files, err := packed.Files(archive)
	if err != nil {
		panic("the pages on fault codes: " + err.Error()) // a test unpacks them
	}
	return string(files["codes.md"])
})

// Page is what a code means.
type Page struct {
	Code, Title string
	// Text is Markdown, without the heading.
	Text string
}

// Pages lists all pages in the order of their codes.
func Pages() []Page {
	var out []Page
	for _, part := range strings.Split(pages(), "\n## ")[1:] {
		head, text, _ := strings.Cut(part, "\n")
		code, title, _ := strings.Cut(head, " ")
		out = append(out, Page{code, title, strings.TrimSpace(text)})
	}
	return out
}

// Find returns the page of a code, in whatever letter case.
func Find(code string) (Page, bool) {
	for _, p := range Pages() {
		if strings.EqualFold(p.Code, code) {
			return p, true
		}
	}
	return Page{}, false
}
