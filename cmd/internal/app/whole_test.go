package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// make whole runs every test that does less under the race detector, and no other.
func TestWhole(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	listed := func(pattern string) []string {
		m := regexp.MustCompile(pattern).FindSubmatch(makefile)
		if m == nil {
			t.Fatalf("the Makefile has nothing like %s", pattern)
		}
		out := strings.Fields(string(m[1]))
		slices.Sort(out)
		return out
	}
	tests, dirs := listed(`(?m)^WHOLE_TESTS := (.*)$`), listed(`(?m)^WHOLE_PACKAGES := (.*)$`)

	var wantTests, wantDirs []string
	err = filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			less := false
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					x, ok := s.X.(*ast.Ident)
					less = less || ok && x.Name == "raced" && (s.Sel.Name == "Size" || s.Sel.Name == "Skip")
				}
				return true
			})
			if less {
				rel, err := filepath.Rel(root(t), filepath.Dir(path))
				if err != nil {
					return err
				}
				wantTests, wantDirs = append(wantTests, f.Name.Name), append(wantDirs, "./"+filepath.ToSlash(rel))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(wantTests)
	slices.Sort(wantDirs)
	if diff := cmp.Diff(wantTests, tests); diff != "" {
		t.Errorf("WHOLE_TESTS of the Makefile (+) and the tests that ask package raced (-):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Compact(wantDirs), dirs); diff != "" {
		t.Errorf("WHOLE_PACKAGES of the Makefile (+) and where those tests are (-):\n%s", diff)
	}
}
