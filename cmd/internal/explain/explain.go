// Package explain holds the pages on fault codes.
package explain

import (
	_ "embed"
	"strings"
)

//go:embed codes.md
var pages string

// Page is what a code means.
type Page struct {
	Code, Title string
	// Text is Markdown, without the heading.
	Text string
}

// Pages lists all pages in the order of their codes.
func Pages() []Page {
	var out []Page
	for _, part := range strings.Split(pages, "\n## ")[1:] {
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
