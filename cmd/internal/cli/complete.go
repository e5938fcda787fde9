package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// completions teaches the shell what may follow: rules by their ids, alerts and
// actions of the running program, and the forms of output. What commands want
// is read from their usage, so that a new one needs nothing here.
func completions(e *env, c *cobra.Command) {
	for _, sub := range c.Commands() {
		completions(e, sub)
	}
	for _, name := range []string{"output", "format"} {
		if f := c.Flags().Lookup(name); f != nil {
			_, list, ok := strings.Cut(f.Usage, ": ")
			if !ok && strings.Contains(f.Usage, ",") {
				list, ok = f.Usage, true
			}
			if ok {
				words := formsOf(list)
				_ = c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
					return words, cobra.ShellCompDirectiveNoFileComp
				})
			}
		}
	}
	if c.HasSubCommands() || c.ValidArgsFunction != nil || c.ValidArgs != nil {
		return
	}
	verb, wants, _ := strings.Cut(c.Use, " ")
	first, _, _ := strings.Cut(strings.Trim(wants, "[]."), " ")
	first = strings.TrimRight(first, "].")
	parent := ""
	if p := c.Parent(); p != nil {
		parent = p.Name()
	}
	switch {
	case wants == "":
		c.ValidArgsFunction = cobra.NoFileCompletions
	case parent == "rules" && strings.HasPrefix(first, "RULE"):
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 && !strings.Contains(wants, "...") {
				return nil, cobra.ShellCompDirectiveDefault // a file, where one follows
			}
			return ruleIDs(c), cobra.ShellCompDirectiveNoFileComp
		}
	case parent == "alerts" && verb != "ls", parent == "action" && first == "ID":
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return liveIDs(e, c, parent), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// formsOf are the words of "table, json (with more) or csv".
func formsOf(list string) (out []string) {
	list = strings.ReplaceAll(list, " or ", ", ")
	for w := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' }) {
		w, _, _ = strings.Cut(strings.TrimSpace(w), " ")
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// ruleIDs are those of the shipped rules and of the folders named so far; files
// of rules are named by their ids.
func ruleIDs(c *cobra.Command) (out []string) {
	if no, err := c.Flags().GetBool("no-pack"); err != nil || !no {
		pack, err := rules.PackFiles()
		if err != nil {
			return nil
		}
		for name := range pack {
			out = append(out, strings.TrimSuffix(name, ".yaml"))
		}
	}
	dirs, err := c.Flags().GetStringSlice("rules")
	if err == nil {
		for _, d := range dirs {
			found, _ := filepath.Glob(filepath.Join(d, "*.yaml")) // a pattern that is none finds nothing
			if st, err := os.Stat(d); err == nil && st.Mode().IsRegular() {
				found = []string{d}
			}
			for _, f := range found {
				out = append(out, strings.TrimSuffix(filepath.Base(f), ".yaml"))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// liveIDs asks the running program; without one there is nothing to offer.
func liveIDs(e *env, c *cobra.Command, what string) (out []string) {
	flag := func(name string) string {
		s, err := c.Flags().GetString(name)
		if err != nil {
			return ""
		}
		return s
	}
	state, err := stateDir(e, flag("config"), flag("state"))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	client := admin.Dial(state)
	say := func(id string, about ...string) {
		out = append(out, short(id)+"\t"+text.Terminal(text.Cut(strings.Join(about, " "), 60)))
	}
	if what == "alerts" {
		as, err := client.Alerts(ctx, 50)
		if err != nil {
			return nil
		}
		for _, a := range as {
			say(a.ID, a.Severity.String(), a.Mark(false)+a.Title)
		}
		return out
	}
	as, err := client.Actions(ctx)
	if err != nil {
		return nil
	}
	for _, a := range as[:min(len(as), 50)] {
		say(a.ID, string(a.State), a.Kind)
	}
	return out
}
