package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

func rulesNew(e *env) *cobra.Command {
	var title, about, dir string
	var replace bool
	c := &cobra.Command{Use: "new ID", Short: "Write the file of a new rule, with tests that pass as they stand",
		Example: `  trailwarden rules new corp.user_created --about Ram:CreateUser --title "A user was created by hand"`,
		Args:    args(1, 1, "the id of the new rule, such as corp.user_created"), RunE: func(_ *cobra.Command, a []string) error {
			b, err := rules.New(a[0], title, about)
			if err != nil {
				return exit(exitUsage, err)
			}
			if pack, err := rules.PackFiles(); err != nil {
				return err
			} else if pack[a[0]+".yaml"] != nil && !replace {
				return usagef("%s is the id of a shipped rule, and the new one would stand in its place: take another id, or say --replace; see: trailwarden rules show %s", a[0], a[0])
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return exit(exitUsage, err)
			}
			// The schema beside it lets an editor complete and check the keys.
			if err := create(filepath.Join(dir, "schema.json"), rules.Schema()); err != nil && !errors.Is(err, fs.ErrExist) {
				return exit(exitUsage, err)
			}
			path := filepath.Join(dir, a[0]+".yaml")
			if err := create(path, b); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return usagef("%s is there already", path)
				}
				return exit(exitUsage, err)
			}
			fmt.Fprintln(e.out, path)
			fmt.Fprintf(e.err, "next: trailwarden rules test --no-pack --file %s --watch\n", path)
			return nil
		}}
	c.Flags().StringVar(&title, "title", "", "what happened, short")
	c.Flags().StringVar(&about, "about", "", "the call it is about: Service:EventName, or an action such as iam.user.create (required)")
	c.Flags().StringVar(&dir, "dir", ".", "folder for the file")
	c.Flags().BoolVar(&replace, "replace", false, "the id of a shipped rule is meant: the new rule stands in its place")
	return c
}

// create writes a file that is not there yet.
func create(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func rulesSchema(e *env) *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON Schema of rule files, for editors", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := e.out.Write(rules.Schema())
			return err
		}}
}

func rulesMutate(e *env) *cobra.Command {
	var f ruleFlags
	var out string
	var files []string
	var suggest bool
	c := &cobra.Command{Use: "mutate [RULE|GLOB]...", Short: "Leave out each part of each condition: a test must notice",
		Long: `Leave out each part of each condition, one at a time, and run the rule's tests. A part
that can go without a failing test is not tested, or has no effect. With --suggest, a test
that would notice is looked for: it passes on the rule as it stands, so read it before you
believe it. With a test that fails on a rule as it stands, nothing is left out and the exit
code is 1.`,
		RunE: func(c *cobra.Command, a []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			f.dirs = append(f.dirs, files...)
			set, err := f.load(e)
			if err != nil {
				return err
			}
			tests := rules.Test(set, a...)
			if len(tests) == 0 {
				return usagef("no rule with tests matches %s; see: trailwarden rules list", strings.Join(a, " "))
			}
			// A test that fails in any case notices nothing.
			if slices.ContainsFunc(tests, func(t rules.TestResult) bool { return !t.Pass }) {
				err := printTests(&env{in: e.in, out: e.err, err: e.err, environ: e.environ}, "table", tests)
				fmt.Fprintln(e.err, "nothing was left out: the tests have to pass on the rules as they stand; see: trailwarden rules test")
				return err
			}
			if suggest {
				found := rules.Suggest(c.Context(), set, a...)
				if err := c.Context().Err(); err != nil {
					return err
				}
				if out == "json" {
					return cmp.Or(printJSON(e.out, found), failIf(len(found) > 0))
				}
				for _, s := range found {
					fmt.Fprintf(e.out, "# %s:%d:%d: %s\n", s.File, s.Line, s.Column, text.Terminal(s.Part))
					if s.Test == "" {
						fmt.Fprintln(e.out, "# no small change of a test notices; does the part have an effect?")
					}
					fmt.Fprint(e.out, s.Test)
				}
				return failIf(len(found) > 0)
			}
			return printMutants(c.Context(), e, out, set, a)
		}}
	f.add(c)
	addOutput(c, &out, "table, json")
	c.Flags().StringSliceVar(&files, "file", nil, "rule file under work (repeatable)")
	c.Flags().BoolVar(&suggest, "suggest", false, "look for the tests that are missing")
	return c
}

func printMutants(ctx context.Context, e *env, out string, set *rules.Set, patterns []string) error {
	mutants := rules.Mutate(ctx, set, patterns...)
	if err := ctx.Err(); err != nil {
		return err
	}
	if out == "json" {
		return cmp.Or(printJSON(e.out, mutants), failIf(slices.ContainsFunc(mutants, func(m rules.Mutant) bool { return !m.Killed })))
	}
	alive := 0
	for _, m := range mutants {
		if !m.Killed {
			alive++
			fmt.Fprintf(e.out, "%s:%d:%d: no test notices without %s\n", m.File, m.Line, m.Column, text.Terminal(m.Part))
		}
	}
	fmt.Fprintf(e.out, "%s, %d not tested\n", plural(len(mutants), "part"), alive)
	if alive > 0 {
		fmt.Fprintln(e.err, "next: trailwarden rules mutate --suggest with the same flags")
	}
	return failIf(alive > 0)
}

func failIf(bad bool) error {
	if bad {
		return exit(exitFindings, nil)
	}
	return nil
}

func rulesCoverage(e *env) *cobra.Command {
	var f ruleFlags
	var out string
	c := &cobra.Command{Use: "coverage", Short: "What the rules cover: ATT&CK techniques, or CIS Alibaba Cloud 2.10 to 2.22 with evidence",
		Example: `  trailwarden rules coverage -o navigator > layer.json
  trailwarden rules coverage -o cis`,
		Args: noArgs, RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(out, "table", "json", "navigator", "cis", "cis-json"); err != nil {
				return err
			}
			set, err := f.load(e)
			if err != nil {
				return err
			}
			switch out {
			case "json":
				return printJSON(e.out, rules.Techniques(set))
			case "navigator":
				return printJSON(e.out, rules.NavigatorLayer(set))
			case "cis", "cis-json":
				controls := rules.Controls(set)
				open := 0
				var rows []table.Row
				for _, c := range controls {
					if !c.Met {
						open++
					}
					for i, r := range c.Rules {
						id, about, met := c.ID, c.About, "met"
						if c.Part {
							met = "met in part: not every change"
						}
						if !c.Met {
							met = "OPEN: " + c.Reason
						}
						if i > 0 {
							id, about, met = "", "", ""
						}
						rows = append(rows, table.Row{id, about, r.Rule, r.Version, r.Status, fmt.Sprintf("%d/%d", r.Passed, r.Passed+r.Failed), met})
					}
				}
				if out == "cis-json" {
					return cmp.Or(printJSON(e.out, controls), failIf(open > 0))
				}
				printTable(e, table.Row{"cis", "alerts on", "rule", "v", "status", "tests", "evidence"}, rows)
				fmt.Fprintf(e.err, "%s, %d open; rule set %s\n", plural(len(controls), "control"), open, set.Hash())
				return failIf(open > 0)
			}
			var rows []table.Row
			list := rules.Techniques(set)
			for _, t := range list {
				rows = append(rows, table.Row{t.ID, len(t.Rules), len(t.Quiet), text.Cut(strings.Join(t.Rules, " "), 100)})
			}
			printTable(e, table.Row{"att&ck", "rules", "signals", "ids"}, rows)
			fmt.Fprintf(e.err, "%d techniques and tactics; next: trailwarden rules coverage -o navigator > layer.json\n", len(list))
			return nil
		}}
	f.add(c)
	addOutput(c, &out, "table, json, navigator, cis, cis-json")
	return c
}

// printTests writes test results in one of the forms that people and build
// systems read.
func printTests(e *env, out string, results []rules.TestResult) error {
	failed := 0
	for _, r := range results {
		if !r.Pass {
			failed++
		}
	}
	switch out {
	case "json":
		if err := printJSON(e.out, results); err != nil {
			return err
		}
	case "junit":
		if err := printJUnit(e, results, failed); err != nil {
			return err
		}
	default:
		for _, r := range results {
			if r.Pass {
				continue
			}
			if out == "github" {
				msg := strings.Join(append(append([]string{r.Rule + ": " + text.Line(r.Test)}, r.Failures...), r.Why...), "\n")
				fmt.Fprint(e.out, gitHubCommand("error", msg, "file", r.File, "line", strconv.Itoa(r.Line), "title", "rule "+r.Rule))
				continue
			}
			fmt.Fprintf(e.out, "FAIL %s: %s\n     %s:%d\n", r.Rule, text.Terminal(r.Test), text.Terminal(r.File), r.Line)
			for _, m := range append(r.Failures, r.Why...) {
				for l := range strings.SplitSeq(text.Log(m), "\n") {
					fmt.Fprintf(e.out, "     %s\n", l)
				}
			}
		}
		fmt.Fprintf(e.out, "%d passed, %d failed\n", len(results)-failed, failed)
	}
	return failIf(failed > 0)
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Body    string `xml:",chardata"`
}

func printJUnit(e *env, results []rules.TestResult, failed int) error {
	s := junitSuite{Name: "trailwarden rules", Tests: len(results), Failures: failed}
	for _, r := range results {
		c := junitCase{Class: r.Rule, Name: text.Terminal(r.Test), File: text.Terminal(r.File), Line: r.Line}
		if !r.Pass {
			c.Failure = &junitFailure{Message: text.Log(strings.Join(r.Failures, "; ")), Body: text.Log(strings.Join(append(r.Failures, r.Why...), "\n"))}
		}
		s.Cases = append(s.Cases, c)
	}
	b, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out, "%s%s\n", xml.Header, b)
	return err
}

// watchEvery is how often watched files are looked at.
const watchEvery = 300 * time.Millisecond

// watch calls run now and whenever one of the files changes, until ctx ends.
func watch(ctx context.Context, paths []string, run func()) {
	last := app.FileState(paths...)
	run()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := app.FileState(paths...); now != last {
			last = now
			run()
		}
	}
}

// printSeen tells how often each field has a value in recorded events.
func printSeen(ctx context.Context, e *env, out string, paths []string) error {
	set, err := app.Rules{}.Load()
	if err != nil {
		return err
	}
	in, err := replay.Open(paths, replay.Options{})
	if err != nil {
		return exit(exitUsage, err)
	}
	p, bad := rules.NewPresence(set), 0
	for _, rec := range in.Records(ctx) {
		ev, err := event.Parse(bytes.Clone(rec))
		if err != nil {
			bad++
			continue
		}
		p.Add(ev)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, f := range in.Failed() {
		fmt.Fprintln(e.err, "not read:", text.Terminal(f.Error()))
	}
	fields := p.Fields()
	if out == "json" {
		err := alert.WriteLine(e.out, map[string]any{"events": p.Events(), "not_read": bad, "fields": fields})
		return cmp.Or(err, failIf(p.Events() == 0))
	}
	var rows []table.Row
	for _, f := range fields {
		rows = append(rows, table.Row{f.Name, fmt.Sprintf("%.1f %%", 100*f.Share), text.Cut(strings.Join(f.Values, ", "), 90)})
	}
	printTable(e, table.Row{"field", "present", "commonest values"}, rows)
	fmt.Fprintf(e.err, "%s, %d not read\n", plural(p.Events(), "event"), bad)
	return failIf(p.Events() == 0)
}

func rulesExceptions(e *env) *cobra.Command {
	var f ruleFlags
	var out, state string
	c := &cobra.Command{Use: "exceptions", Short: "List the exceptions: who says what is no attack, until when, and what each has withheld", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			set, err := f.load(e)
			if err != nil {
				return err
			}
			list := set.Exceptions()
			hits, err := exceptionHits(c.Context(), e, &f, state)
			if err != nil {
				return operationError(err)
			}
			if hits != nil {
				for i := range list {
					n := hits[rules.ExceptedBy(list[i].ID)]
					list[i].Withheld = &n
				}
			}
			if out == "json" {
				return printJSON(e.out, list)
			}
			var rows []table.Row
			for _, x := range list {
				until := x.Expires.UTC().Format("2006-01-02 15:04Z")
				if !time.Now().Before(x.Expires) {
					until += " EXPIRED"
				}
				withheld := text.Dash
				if x.Withheld != nil {
					withheld = fmt.Sprint(*x.Withheld)
				}
				rows = append(rows, table.Row{x.ID, text.Cut(strings.Join(x.Rules, " "), 50), x.Owner, until, withheld, text.Cut(x.Reason, 60)})
			}
			printTable(e, table.Row{"exception", "rules", "owner", "expires", "withheld", "reason"}, rows)
			if hits == nil {
				fmt.Fprintf(e.err, "%s; no running program to ask what each has withheld (trailwarden replay counts for history)\n", plural(len(list), "exception"))
			} else {
				fmt.Fprintf(e.err, "%s; withheld counts detections of the running program since its state began\n", plural(len(list), "exception"))
			}
			return nil
		}}
	f.add(c)
	addOutput(c, &out, "table, json")
	c.Flags().StringVar(&state, "state", "", "state folder of the running program (default: as the configuration says)")
	return c
}
