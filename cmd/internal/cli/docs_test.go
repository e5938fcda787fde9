package cli

import (
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

// What cheat, the pages on codes and doctor's remedies tell people to type exists.
func TestCheatSheetIsTrue(t *testing.T) {
	root := Root()
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^ {4}trailwarden (.*)$`).FindAllStringSubmatch(cheat, -1) {
		words := strings.Fields(m[1])
		c, rest, err := root.Find(words)
		if err != nil || c == root {
			t.Errorf("trailwarden %s: no such command", m[1])
			continue
		}
		n++
		for _, w := range rest {
			if name, ok := strings.CutPrefix(w, "--"); ok {
				name, _, _ = strings.Cut(name, "=")
				if c.Flags().Lookup(name) == nil {
					t.Errorf("trailwarden %s: no flag --%s", m[1], name)
				}
			}
		}
	}
	if n < 25 {
		t.Errorf("only %d commands were found", n)
	}
}
