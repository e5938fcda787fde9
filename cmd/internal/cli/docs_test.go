package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/rules"
)

// Everything there is has its line in the reference, with words.
func TestReferenceIsWhole(t *testing.T) {
	pages := References()
	want := func(page, what string) {
		t.Helper()
		if !strings.Contains(pages[page], what) {
			t.Errorf("%s: no %q", page, what)
		}
	}
	for _, k := range config.Keys() {
		want("config", "`"+k.Path+"`")
	}
	for _, m := range app.Metrics() {
		want("metrics", "`"+m.Name+"`")
		if m.Help == "" {
			t.Errorf("%s has no help", m.Name)
		}
	}
	for _, f := range rules.Fields() {
		want("fields", "`"+f.Name+"`")
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "completion" || c.Name() == "help" {
			return
		}
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		if c.HasParent() && c.Runnable() && !c.HasAvailableSubCommands() {
			want("commands", "## "+c.CommandPath()+"\n")
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(Root())
}

// documents are the paths of all Markdown files of the repository that people read.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "bin" || path != root(t) && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			out = append(out, path)
		}
		return nil
	})
	if err != nil || len(out) < 12 {
		t.Fatalf("%d documents, %v", len(out), err)
	}
	return out
}

var (
	// A command as documents write it: a line of a block, after an indent of four, or in backticks.
	typed   = regexp.MustCompile("(?m)(?:^ {4}|^(?:sudo |! )*|\\| |`)(?:bin/|/|/usr/local/bin/)?trailwarden ([a-z][^`\\n|]*)")
	ofShell = regexp.MustCompile(`\s(?:2?>|#|&|&&|;).*`)
)

// What the documents tell people to type exists: command, subcommand and flags.
func TestDocumentedCommandsExist(t *testing.T) {
	cmds := Root()
	n, inCheat := 0, 0
	for _, path := range documents(t) {
		md, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root(t), path)
		code := false
		for i, l := range strings.Split(string(md), "\n") {
			if strings.HasPrefix(strings.TrimSpace(l), "```") {
				code = !code
				continue
			}
			for _, m := range typed.FindAllStringSubmatch(l, -1) {
				if !code && !strings.HasPrefix(m[0], "`") && !strings.HasPrefix(m[0], "    ") {
					continue // prose that begins with the name
				}
				line := ofShell.ReplaceAllString(strings.TrimSuffix(m[1], "\\"), "")
				c, rest, err := cmds.Find(strings.Fields(line))
				if err != nil || c == cmds {
					t.Errorf("%s:%d: trailwarden %s: no such command", rel, i+1, line)
					continue
				}
				if len(rest) > 0 && c.HasSubCommands() && !c.Runnable() {
					t.Errorf("%s:%d: trailwarden %s: %s has no %s", rel, i+1, line, c.Name(), rest[0])
				}
				n++
				if filepath.Base(path) == "cheat.md" {
					inCheat++
				}
				for _, w := range rest {
					if name, ok := strings.CutPrefix(w, "--"); ok {
						name, _, _ = strings.Cut(strings.TrimRight(name, ".,;:)]"), "=")
						if c.Flag(name) == nil && name != "help" && name != "" {
							t.Errorf("%s:%d: trailwarden %s: no flag --%s", rel, i+1, line, name)
						}
					}
				}
			}
		}
	}
	if n < 120 || inCheat < 25 {
		t.Errorf("only %d commands were found, %d of them in cheat.md", n, inCheat)
	}
}
