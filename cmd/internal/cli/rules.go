package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// ruleFlags are the flags that say which rules are meant.
type ruleFlags struct {
	dirs   []string
	config string
	except []string
	lists  []string
	owners []string
	noPack bool
	strict bool
}

func (f *ruleFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.dirs, "rules", nil, "folder of further rule files, or one file (repeatable)")
	f.addShared(c)
}

// addShared adds the flags for what stands beside rules.
func (f *ruleFlags) addShared(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.except, "exceptions", nil, "folder of exception files, or one file (repeatable)")
	c.Flags().StringSliceVar(&f.lists, "lists", nil, "folder of named lists, or one file like tor_exits.txt (repeatable)")
	c.Flags().StringSliceVar(&f.owners, "owners", nil, "table of owners (.csv, .yaml), or a folder of them (repeatable)")
	c.Flags().BoolVar(&f.noPack, "no-pack", false, "without the shipped rules")
	addConfigFlag(c, &f.config)
}

// load compiles the rules. A configuration is read only when one is named or
// the default file is there, so that rule work needs none.
func (f *ruleFlags) load(e *env) (*rules.Set, error) {
	if os.Getenv("GOGC") == "" {
		// There is little memory yet, and collecting it every few MB takes a
		// fifth of the time.
		defer debug.SetGCPercent(debug.SetGCPercent(200))
	}
	r := app.Rules{Pack: !f.noPack, Dirs: f.dirs, Exceptions: f.except, ListDirs: f.lists, Owners: f.owners, AllowFewTests: !f.strict}
	if path := configPath(e, f.config); f.config != "" || exists(path) {
		cfg, err := loadConfig(e, f.config)
		if err != nil {
			return nil, err
		}
		r = app.RulesOf(cfg)
		r.Pack = r.Pack && !f.noPack
		r.Dirs = append(r.Dirs, f.dirs...)
		r.Exceptions = append(r.Exceptions, f.except...)
		r.ListDirs = append(r.ListDirs, f.lists...)
		r.Owners = append(r.Owners, f.owners...)
		r.AllowFewTests = !f.strict
	}
	set, err := r.Load()
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("the rules cannot be used:\n%w", err))
	}
	tellEmpty(e, set, "", false)
	return set, nil
}

// tellEmpty names the folders that nothing was found in: that of the rules by another
// name where it has one, and maybe no others.
//
//go:noinline
func tellEmpty(e *env, set *rules.Set, name string, only bool) {
	for _, dir := range set.Empty() {
		if dir.Key == "rules" {
			dir.Dir = cmp.Or(name, dir.Dir)
		} else if only {
			continue
		}
		fmt.Fprintln(e.err, text.Terminal(dir.String()))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func rulesCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "rules", Short: "List, show, check and test rules", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(rulesList(e), rulesShow(e), rulesNew(e), rulesLint(e), rulesTest(e), rulesMutate(e),
		rulesFields(e), rulesSchema(e), rulesExplain(e), rulesCoverage(e), rulesExceptions(e), rulesShadow(e), rulesExport(e),
		rulesBacktest(e), rulesDiff(e))
	return root
}

func rulesList(e *env) *cobra.Command {
	var f ruleFlags
	var out string
	var verbose bool
	c := &cobra.Command{Use: "list", Short: "List the rules", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		if err := checkOutput(out, "table", "json", "name"); err != nil {
			return err
		}
		set, err := f.load(e)
		if err != nil {
			return err
		}
		infos := set.List()
		switch out {
		case "json":
			return printJSON(e.out, infos)
		case "name":
			for _, r := range infos {
				fmt.Fprintln(e.out, r.ID)
			}
			return nil
		}
		head := table.Row{"rule", "v", "severity", "status", "needs", "att&ck", "title"}
		if verbose {
			head = append(head, "indexed by")
		}
		var rows []table.Row
		for _, r := range infos {
			sev := r.Severity
			if strings.ContainsAny(sev, " ?") {
				sev = "varies"
			}
			needs := r.Detector
			if needs == "" && r.Ordered {
				needs = "policy"
			}
			status := r.Status
			if r.Signal {
				status += " signal"
			}
			row := table.Row{r.ID, r.Version, sev, status, needs, strings.Join(r.Attack, " "), text.Cut(r.Title, 60)}
			if verbose {
				row = append(row, text.Cut(r.Index, 80))
			}
			rows = append(rows, row)
		}
		printTable(e, head, rows)
		fmt.Fprintf(e.err, "%s; next: trailwarden rules show <id>\n", plural(len(infos), "rule"))
		return nil
	}}
	f.add(c)
	addOutput(c, &out, "table, json, name")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "also how each rule is found by the dispatch index")
	return c
}

func rulesShow(e *env) *cobra.Command {
	var f ruleFlags
	var out string
	c := &cobra.Command{Use: "show RULE", Short: "Show one rule with its runbook", Args: args(1, 1, "the id of a rule"), RunE: func(_ *cobra.Command, a []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		set, err := f.load(e)
		if err != nil {
			return err
		}
		for _, r := range set.List() {
			if r.ID != a[0] {
				continue
			}
			if out == "json" {
				return printJSON(e.out, r)
			}
			fmt.Fprintf(e.out, "%s v%d  %s\n%s\n\n", r.ID, r.Version, r.Status, r.Title)
			if r.TitleZH != "" {
				fmt.Fprintf(e.out, "%s\n\n", r.TitleZH)
			}
			fmt.Fprintf(e.out, "%s\n\n", strings.TrimSpace(r.Description))
			fmt.Fprintf(e.out, "severity  %s\nATT&CK    %s\nmatch     %s\n", r.Severity, strings.Join(r.Attack, " "), strings.TrimSpace(r.Match))
			if r.Detector != "" {
				fmt.Fprintf(e.out, "detector  %s\n", r.Detector)
			}
			fmt.Fprintf(e.out, "reason    %s\n", r.Reason)
			if r.ReasonZH != "" {
				fmt.Fprintf(e.out, "          %s\n", r.ReasonZH)
			}
			fmt.Fprintf(e.out, "index     %s\ntests     %d\n", r.Index, r.Tests)
			if r.Runbook.EN != "" {
				fmt.Fprintf(e.out, "\nWhat to do now:\n%s\n", indent(r.Runbook.EN))
			}
			if r.Runbook.ZH != "" {
				fmt.Fprintf(e.out, "\n处置步骤:\n%s\n", indent(r.Runbook.ZH))
			}
			return nil
		}
		return usagef("no rule %q; see: trailwarden rules list", a[0])
	}}
	f.add(c)
	addOutput(c, &out, "table, json")
	return c
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}

func rulesLint(e *env) *cobra.Command {
	f := ruleFlags{strict: true}
	c := &cobra.Command{Use: "lint [FILE|DIR]...", Short: "Check rule files: every fault with its place, and which replace shipped ones", RunE: func(_ *cobra.Command, a []string) error {
		f.dirs = append(f.dirs, a...)
		set, err := f.load(e)
		if err != nil {
			return err
		}
		warnings := append(rules.Lint(set), set.Expired(time.Now())...)
		for _, w := range warnings {
			fmt.Fprintln(e.out, "warning:", w.Error())
		}
		for _, n := range set.Instead() {
			fmt.Fprintln(e.out, "note:", n.Error())
		}
		n := len(set.List())
		fmt.Fprintf(e.err, "%s %s fine, %s\n", plural(n, "rule"), isAre(n), plural(len(warnings), "warning"))
		return nil
	}}
	f.add(c)
	return c
}

func rulesTest(e *env) *cobra.Command {
	var f ruleFlags
	var out string
	var files []string
	var again, mutate bool
	c := &cobra.Command{Use: "test [RULE|GLOB]...", Short: "Run the tests that rules carry", RunE: func(c *cobra.Command, a []string) error {
		if err := checkOutput(out, "table", "text", "json", "junit", "github"); err != nil {
			return err
		}
		f.dirs = append(f.dirs, files...)
		once := func() error {
			set, err := f.load(e)
			if err != nil {
				return err
			}
			results := rules.Test(set, a...)
			if len(results) == 0 {
				return usagef("no rule matches %s; see: trailwarden rules list", strings.Join(a, " "))
			}
			err = printTests(e, out, results)
			if err == nil && mutate {
				err = printMutants(c.Context(), e, "table", set, a)
			}
			return err
		}
		if !again {
			return once()
		}
		if len(f.dirs) == 0 {
			return usagef("--watch needs --file or --rules: the shipped rules do not change")
		}
		watch(c.Context(), f.dirs, func() {
			if err := once(); err != nil && err.Error() != "" && c.Context().Err() == nil {
				fmt.Fprintln(e.err, err)
			}
			fmt.Fprintf(e.err, "watching %s; Ctrl-C ends\n", strings.Join(f.dirs, ", "))
		})
		return c.Context().Err()
	}}
	f.add(c)
	addOutput(c, &out, "table, json, junit, github")
	c.Flags().StringSliceVar(&files, "file", nil, "rule file under work (repeatable)")
	c.Flags().BoolVar(&again, "watch", false, "run again whenever a file changes")
	c.Flags().BoolVar(&mutate, "mutate", false, "when all pass, also check that each part of each condition is tested (see rules mutate)")
	return c
}

func rulesFields(e *env) *cobra.Command {
	var out string
	var seen []string
	var schema bool
	c := &cobra.Command{Use: "fields", Short: "The fields and functions that expressions may use", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		if schema {
			_, err := e.out.Write(rules.Schema())
			return err
		}
		if len(seen) > 0 {
			return printSeen(c.Context(), e, out, seen)
		}
		if out == "json" {
			return printJSON(e.out, rules.Fields())
		}
		var rows []table.Row
		for _, f := range rules.Fields() {
			doc := f.Doc
			if len(f.Words) > 0 {
				doc += " [" + strings.Join(f.Words, " ") + "]"
			}
			rows = append(rows, table.Row{f.Name, f.Type, text.Cut(doc, 110)})
		}
		printTable(e, table.Row{"field", "type", "what"}, rows)
		return nil
	}}
	addOutput(c, &out, "table, json")
	c.Flags().StringSliceVar(&seen, "seen", nil, "recorded events (files or folders): how often each field has a value in them")
	c.Flags().BoolVar(&schema, "schema", false, "the JSON Schema of rule files, as rules schema prints it")
	return c
}

func rulesExplain(e *env) *cobra.Command {
	var f ruleFlags
	c := &cobra.Command{Use: "explain RULE EVENT.json", Short: "Say part by part why a rule matches an event, or does not (EVENT may be -)",
		Args: args(2, 2, "the id of a rule and a file with one record"), RunE: func(_ *cobra.Command, a []string) error {
			set, err := f.load(e)
			if err != nil {
				return err
			}
			var b []byte
			if a[1] == "-" {
				b, err = io.ReadAll(io.LimitReader(e.in, event.MaxRecord+1))
			} else {
				b, err = os.ReadFile(a[1])
			}
			if err != nil {
				return exit(exitUsage, err)
			}
			var first error
			records := 0
			if err := event.Unwrap(b, func(one []byte) bool {
				records++
				ev, err := event.Parse(one)
				if err != nil {
					first = err
					return false
				}
				lines, err := set.Explain(a[0], ev)
				if err != nil {
					first = err
					return false
				}
				fmt.Fprintf(e.out, "%s %s:%s\n", text.Terminal(ev.ID), text.Terminal(ev.Service), text.Terminal(ev.Name))
				for _, l := range lines {
					fmt.Fprintf(e.out, "  %s\n", text.Log(l)) // the parts of a part stand further in
				}
				return true
			}); err != nil {
				return exit(exitUsage, err)
			}
			if first != nil {
				return exit(exitUsage, first)
			}
			if records == 0 {
				return usagef("there is no record in %s", a[1])
			}
			return nil
		}}
	f.add(c)
	return c
}
