package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

func baselineCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "baseline", Short: "What is usual: learn it from history, look at it, compare it", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(baselineBuild(e), baselineShow(e), baselineDiff(e))
	return root
}

// writeBaseline keeps what was learned. Nothing is that where no event was
// evaluated: the file that is there, if any, is better.
func writeBaseline(e *env, path string, eng *detectors.Engine) error {
	if eng.Stats().Events == 0 {
		return nil
	}
	return toFile(e, path, func(w io.Writer) error { _, err := w.Write(eng.Snapshot()); return err })
}

func baselineBuild(e *env) *cobra.Command {
	var rf ruleFlags
	var hf historyFlags
	var file string
	c := &cobra.Command{Use: "build --out FILE SOURCE...", Short: "Learn from history and keep what was learned in a file",
		Long: `baseline build runs the engine over history, says nothing about what it finds,
and keeps the state of all detectors: which networks, services and hours are usual
for whom. replay, rules backtest and entity show begin with it when --baseline names
the file. A state fits the rules it was learned with; what does not fit any more is
left out, and said. Events of more than a day from now are of bad clocks and not
learned from.`,
		Example: "  trailwarden baseline build --out october.baseline archive/2026/10/\n  trailwarden replay --baseline october.baseline archive/2026/11/",
		Args:    args(1, -1, "at least one file or folder (or - for standard input)"),
		RunE: func(c *cobra.Command, sources []string) error {
			if file == "" {
				return usagef("--out says where to keep what was learned")
			}
			if err := canWrite(e, sources, file); err != nil {
				return err
			}
			set, err := rf.load(e)
			if err != nil {
				return err
			}
			cfg, err := hf.config(e, set, time.Now())
			if err != nil {
				return err
			}
			paths, clean, err := hf.sources(c.Context(), e, rf.config, warmFrom(&cfg), cfg.To, sources)
			defer clean()
			if err != nil || hf.estimate {
				return err
			}
			bounded := !cfg.To.IsZero()
			if !bounded {
				// One event of a bad clock at the end of a file would make all that
				// come after the baseline late.
				cfg.To, cfg.Open = hf.at.UTC().Round(0).Add(24*time.Hour), true
			}
			var unwritten error
			cfg.Finish = func(eng *detectors.Engine) error {
				unwritten = writeBaseline(e, file, eng)
				return nil
			}
			res, err := replay.Run(c.Context(), paths, cfg)
			res.Close()
			hf.done(e, &cfg)
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(e.err, "interrupted: nothing was written; "+hf.hint())
				return exit(exitInterrupted, nil)
			}
			if err != nil {
				return exit(exitUsage, fmt.Errorf("baseline build: %w%s", err, failures(res.Stats)))
			}
			if unwritten == nil {
				hf.finished(e)
			}
			if res.Stats.Events == 0 && hf.baseline == "" {
				return exit(exitFindings, errors.New(nothingEvaluated(&res.Stats)+"; nothing was written"+failures(res.Stats)))
			}
			if !hf.quiet {
				fmt.Fprintf(e.err, "learned from %s, %s\n", plural(res.Stats.Events, "event"), when(*orZero(res.Stats.FirstEvent), *orZero(res.Stats.LastEvent)))
				if n := res.Stats.Filtered; n > 0 && !bounded && cfg.From.IsZero() {
					fmt.Fprintf(e.err, "left out, since they are of more than a day from now: %s\n", plural(int(n), "event"))
				}
				for _, l := range coverageLines(res.Coverage, 5) {
					fmt.Fprintln(e.err, l)
				}
			}
			f := failures(res.Stats)
			if f != "" {
				fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
			}
			if unwritten == nil && f != "" {
				return exit(exitFindings, nil)
			}
			return hf.lost("what was learned", unwritten)
		}}
	rf.add(c)
	hf.add(c)
	c.Flags().StringVar(&file, "out", "", "file to write")
	return c
}

func orZero(t *time.Time) *time.Time {
	if t == nil {
		return new(time.Time)
	}
	return t
}

// learned is what one rule knows of one identity.
type learned struct {
	Rule string `json:"rule"`
	baseline.Profile
}

// openBaseline reads what the learning detectors of a baseline file know,
// sorted by identity and rule.
func openBaseline(path string, set *rules.Set) ([]learned, error) {
	b, err := readBaseline(path)
	if err != nil {
		return nil, err
	}
	eng := detectors.NewEngine(set, detectors.EngineConfig{})
	if err := eng.Restore(b); err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	var out []learned
	for rule, d := range eng.Detectors() {
		if d, ok := d.(*baseline.Detector); ok {
			for p := range d.Profiles() {
				out = append(out, learned{rule, p})
			}
		}
	}
	lists.Sort(out, func(a, b learned) int { return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Rule, b.Rule)) })
	return out, nil
}

func baselineShow(e *env) *cobra.Command {
	var rf ruleFlags
	var out, entity string
	c := &cobra.Command{Use: "show FILE", Short: "Show what a baseline file holds", Args: args(1, 1, "a file that baseline build wrote"),
		RunE: func(_ *cobra.Command, a []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			set, err := rf.load(e)
			if err != nil {
				return err
			}
			all, err := openBaseline(a[0], set)
			if err != nil {
				return err
			}
			if entity != "" {
				all = lists.Keep(all, func(l *learned) bool { return names(l.Key, entity) })
			}
			if out == "json" {
				return printJSON(e.out, append([]learned{}, all...))
			}
			last := ""
			for _, l := range all {
				if l.Key != last {
					fmt.Fprintf(e.out, "%s\n", text.Terminal(l.Key))
					last = l.Key
				}
				state := "learning"
				if l.Learned {
					state = "learned"
				}
				fmt.Fprintf(e.out, "  %-26s %s, %s, %s\n", l.Rule, state, plural(l.Observations, "observation"), when(l.FirstSeen, l.LastSeen))
				for i, u := range l.Usual {
					if i == 8 {
						fmt.Fprintf(e.out, "      and %d more\n", len(l.Usual)-i)
						break
					}
					fmt.Fprintf(e.out, "      %5.1f%%  %s\n", 100*u.Share, text.Terminal(u.Name))
				}
			}
			if len(all) == 0 {
				fmt.Fprintln(e.err, "nothing is known there")
				return exit(exitFindings, nil)
			}
			return nil
		}}
	rf.add(c)
	addOutput(c, &out, "table, json")
	c.Flags().StringVar(&entity, "entity", "", "only this identity: its id, or the name at its end")
	return c
}

// names says that a word is an identity's id, or the name that the id ends in.
func names(id, word string) bool {
	return strings.EqualFold(id, word) || len(id) > len(word) && strings.EqualFold(id[len(id)-len(word)-1:], "/"+word)
}

func baselineDiff(e *env) *cobra.Command {
	var rf ruleFlags
	c := &cobra.Command{Use: "diff OLD NEW", Short: "What is usual in one baseline file and not in the other", Args: args(2, 2, "two files that baseline build wrote"),
		Long: `baseline diff shows identities and usual networks or values that only one of two
baseline files has. The exit code is 1 when there are any.`,
		RunE: func(_ *cobra.Command, a []string) error {
			set, err := rf.load(e)
			if err != nil {
				return err
			}
			type at struct{ key, rule string }
			sides := [2]map[at][]string{}
			for i := range sides {
				all, err := openBaseline(a[i], set)
				if err != nil {
					return err
				}
				sides[i] = map[at][]string{}
				for _, l := range all {
					list := []string{}
					for _, u := range l.Usual {
						list = append(list, u.Name)
					}
					slices.Sort(list)
					sides[i][at{l.Key, l.Rule}] = list
				}
			}
			var lines []string
			for i, sign := range []string{"-", "+"} {
				for k, list := range sides[i] {
					other, ok := sides[1-i][k]
					if !ok {
						lines = append(lines, fmt.Sprintf("%s\x00%s %s  %s: %s", k.key, sign, k.key, k.rule, cmp.Or(strings.Join(list, ", "), "nothing usual yet")))
						continue
					}
					for _, v := range list {
						if !slices.Contains(other, v) {
							lines = append(lines, fmt.Sprintf("%s\x00%s %s  %s: %s", k.key, sign, k.key, k.rule, v))
						}
					}
				}
			}
			slices.Sort(lines)
			for _, l := range lines {
				_, l, _ = strings.Cut(l, "\x00")
				fmt.Fprintln(e.out, text.Terminal(l))
			}
			if len(lines) > 0 {
				return exit(exitFindings, nil)
			}
			fmt.Fprintln(e.err, "the same is usual in both")
			return nil
		}}
	rf.add(c)
	return c
}
