package app

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of packages in DESIGN.md is what a reader opens first: every package
// of the program stands in it, and its imports are those of the code.
func TestTableOfPackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := func(s string) (out []string) {
		for _, m := range regexp.MustCompile("`([a-z/<>]+)`").FindAllStringSubmatch(s, -1) {
			out = append(out, m[1])
		}
		return out
	}
	rows, imports := map[string]string{}, map[string][]string{} // the row of a package, the imports of a row
	table, _, _ := strings.Cut(string(text), "## D1.")
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\| [^|]+ \\| ([^|]+) \\|$").FindAllStringSubmatch(table, -1) {
		for _, p := range named(m[1]) {
			rows[p] = m[1]
		}
		if m[2] != "everything" {
			imports[m[1]] = append(named(m[2]), "")
		}
	}
	_, rest, _ := strings.Cut(table, "Leaves that know nothing")
	leaves := named(rest)
	if len(rows) < 25 || len(leaves) < 10 {
		t.Fatalf("%d packages and %d leaves: the search is broken", len(rows), len(leaves))
	}
	// row is where a package stands: by its own name, as one of several, or with its parent.
	row := func(p string) string {
		for ; p != "."; p = path.Dir(p) {
			if r := cmp.Or(rows[p], rows[path.Dir(p)+"/<name>"]); r != "" {
				return r
			}
		}
		return ""
	}
	used := map[string]bool{} // row and what it names
	for _, p := range list(t, false) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if slices.Contains(leaves, name) || strings.HasSuffix(name, "test") && rows[name] == "" {
			continue
		}
		r := row(name)
		if r == "" && !strings.HasPrefix(name, "cmd/") {
			t.Errorf("%s stands in no row", name)
		}
		for _, i := range p.Imports {
			to, ours := strings.CutPrefix(i, module+"/")
			if !ours || slices.Contains(leaves, to) || row(to) == r || imports[r] == nil {
				continue
			}
			at := slices.IndexFunc(imports[r], func(n string) bool { return n == to || strings.HasSuffix(n, "<name>") && rows[n] == row(to) })
			if at < 0 {
				t.Errorf("%s imports %s, which its row does not say", name, to)
				continue
			}
			used[r+imports[r][at]] = true
		}
	}
	for r, is := range imports {
		for _, i := range is {
			if i != "" && !used[r+i] {
				t.Errorf("%s: nothing of it imports %s", r, i)
			}
		}
	}
}
