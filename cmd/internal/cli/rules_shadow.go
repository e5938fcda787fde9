package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/durable"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// shadowVerdict is what the measure says of one rule in shadow.
type shadowVerdict struct {
	Rule    string             `json:"rule"`
	File    string             `json:"file"`
	Verdict string             `json:"verdict"` // ready, loud, early
	Days    float64            `json:"days"`    // measured
	Alerts  int                `json:"alerts"`
	PerDay  float64            `json:"alerts_per_day"`
	Worst   int                `json:"worst_day"`
	Budget  float64            `json:"budget_per_day"`
	Actors  []alert.NoiseActor `json:"top_actors"`
	Advice  []string           `json:"what_to_change"`
	noise   alert.Noise
}

// judgeShadow compares a measure with a budget.
func judgeShadow(in rules.Info, n alert.Noise, budget float64, minDays int) shadowVerdict {
	v := shadowVerdict{Rule: in.ID, File: in.File, Days: n.Span(), Alerts: n.Alerts, PerDay: n.PerDay(), Budget: budget, Actors: n.Actors, Advice: []string{}, noise: n}
	if v.Actors == nil {
		v.Actors = []alert.NoiseActor{}
	}
	for _, d := range n.Days {
		v.Worst = max(v.Worst, d.Alerts)
	}
	per := func(alerts int) string { return strconv.FormatFloat(float64(alerts)/max(v.Days, 1), 'f', 2, 64) }
	switch {
	case v.PerDay > budget:
		v.Verdict = "loud"
		left := n.Alerts
		for i, a := range n.Actors[:min(len(n.Actors), 3)] {
			left = max(left-a.Alerts, 0)
			who := "without " + text.Terminal(a.ID)
			if i > 0 {
				who = fmt.Sprintf("without the first %d of the actors", i+1)
			}
			v.Advice = append(v.Advice, fmt.Sprintf("%s: %s a day", who, per(left)))
			if float64(left)/max(v.Days, 1) <= budget {
				v.Advice = append(v.Advice, "that is within the budget: if it is no attack, an exception (rules/README.md) on actor.id is enough")
				break
			}
		}
		if float64(left)/max(v.Days, 1) > budget {
			v.Advice = append(v.Advice, "it is not a few actors: narrow the match, raise count or window of its detector, or widen dedup.window; rules explain RULE EVENT shows why one matched")
		}
	case v.Days < float64(minDays):
		v.Verdict = "early"
		v.Advice = append(v.Advice, fmt.Sprintf("measure on: %d days are asked for (--days)", minDays))
	default:
		v.Verdict = "ready"
		v.Advice = append(v.Advice, fmt.Sprintf("set status: on in %s (rules shadow --promote does it)", in.File))
	}
	return v
}

func rulesShadow(e *env) *cobra.Command {
	var rf ruleFlags
	var hf historyFlags
	var out, state string
	var budget float64
	var days int
	var promote bool
	var history []string
	c := &cobra.Command{Use: "shadow [RULE]...", Short: "Whether rules in shadow stay within their noise budget, and what to change",
		Long: `A rule with status: shadow is evaluated and counted and makes no alert. rules shadow says
how many alerts it would have made a day, after exceptions, and compares that with its
budget (the key budget of the rule, or --budget, or 1 a day): ready, loud, or early while it
was not measured for --days. Without --history it asks the running program; with --history it
replays recorded events, whatever replay reads. The exit code is 1 while a rule is too loud.`,
		Example: "  trailwarden rules shadow\n  trailwarden rules shadow --history archive/ my.rule\n  trailwarden rules shadow --promote my.rule",
		RunE: func(c *cobra.Command, only []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			set, err := rf.load(e)
			if err != nil {
				return err
			}
			infos := map[string]rules.Info{}
			var ids []string
			for _, in := range set.List() {
				if infos[in.ID] = in; in.Status == "shadow" && (len(only) == 0 || slices.Contains(only, in.ID)) {
					ids = append(ids, in.ID)
				}
			}
			for _, id := range only {
				if in, ok := infos[id]; !ok {
					return usagef("no rule %q; see: trailwarden rules list", id)
				} else if in.Status != "shadow" {
					return usagef("rule %q is %s, not in shadow", id, in.Status)
				}
			}
			if len(ids) == 0 {
				fmt.Fprintln(e.err, "no rule is in shadow (status: shadow)")
				return nil
			}
			var measured map[string]alert.Noise
			if len(history) > 0 {
				measured, err = shadowOfHistory(c.Context(), e, set, &rf, &hf, history)
			} else {
				measured, err = shadowOfRunning(c.Context(), e, &rf, state, promote)
			}
			if err != nil || hf.estimate {
				return err
			}
			var list []shadowVerdict
			for _, id := range ids {
				b := infos[id].NoiseBudget()
				if c.Flags().Changed("budget") {
					b = budget
				}
				list = append(list, judgeShadow(infos[id], measured[id], b, days))
			}
			write := func(w io.Writer) error { return printJSON(w, list) }
			if out == "table" {
				write = func(w io.Writer) error { return printShadow(w, list) }
			}
			if err := toFile(e, "", write); err != nil {
				if len(history) > 0 {
					err = hf.lost("the result", err)
				}
				return err
			}
			if promote {
				if err := promoteRules(e, list); err != nil {
					return err
				}
			}
			if len(history) > 0 {
				hf.finished(e)
			}
			return failIf(slices.ContainsFunc(list, func(v shadowVerdict) bool { return v.Verdict == "loud" }))
		}}
	rf.add(c)
	hf.add(c)
	addOutput(c, &out, "table, json")
	c.Flags().StringSliceVar(&history, "history", nil, "recorded events to measure on, instead of what the running program measured (repeatable)")
	c.Flags().Float64Var(&budget, "budget", rules.DefaultBudget, "most alerts a day on average, for rules of any budget")
	c.Flags().IntVar(&days, "days", 7, "how many days must have been measured before a rule is ready")
	c.Flags().BoolVar(&promote, "promote", false, "write status: on into the files of the rules that are ready")
	c.Flags().StringVar(&state, "state", "", "state folder of the running program (default: as the configuration says)")
	return c
}

// dial reaches the running program.
func (f *ruleFlags) dial(e *env, state string) (*admin.Client, error) {
	if state == "" {
		cfg, err := loadConfig(e, f.config)
		if err != nil {
			return nil, err
		}
		state = cfg.StateDir
	}
	return admin.Dial(state), nil
}

func shadowOfRunning(ctx context.Context, e *env, rf *ruleFlags, state string, promote bool) (map[string]alert.Noise, error) {
	c, err := rf.dial(e, state)
	if err != nil {
		return nil, fmt.Errorf("what the running program measured is asked of it; or give --history: %w", err)
	}
	w, err := c.RuleWork(ctx)
	if err != nil {
		return nil, operationError(err)
	}
	if partly(e, w) && promote {
		return nil, exit(exitRefused, errors.New("--promote: a part is no proof that a rule is quiet; measure with --history (the source jetstream: is what the running program has stored)"))
	}
	return w.Shadow, nil
}

// partly says, where it is so, that the program at hand has counted only in
// some of the partitions.
func partly(e *env, w admin.RuleWork) bool {
	if w.Partitions >= w.Of {
		return false
	}
	fmt.Fprintf(e.err, "counted in %d of %d partitions, those of this process; the others count where they are evaluated\n", w.Partitions, w.Of)
	return true
}

func shadowOfHistory(ctx context.Context, e *env, set *rules.Set, rf *ruleFlags, hf *historyFlags, sources []string) (map[string]alert.Noise, error) {
	cfg, err := hf.config(e, set, time.Now())
	if err != nil {
		return nil, err
	}
	paths, clean, err := hf.sources(ctx, e, rf.config, warmFrom(&cfg), cfg.To, sources)
	defer clean()
	if err != nil || hf.estimate {
		return nil, err
	}
	cfg.Engine.IncludeShadow = true
	res, err := replay.Run(ctx, paths, cfg)
	hf.done(e, &cfg)
	if err != nil {
		res.Close()
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(e.err, "interrupted: nothing is measured; "+hf.hint())
			return nil, exit(exitInterrupted, nil)
		}
		return nil, exit(exitUsage, fmt.Errorf("rules shadow: %w%s", err, failures(res.Stats)))
	}
	defer res.Close()
	if f := failures(res.Stats); f != "" {
		fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
	}
	out := map[string]alert.Noise{}
	if res.Stats.FirstEvent == nil {
		return out, nil
	}
	shadow := map[string]bool{}
	for _, r := range set.Rules() {
		if r.Shadow {
			shadow[r.ID] = true
			out[r.ID] = alert.Noise{Since: *res.Stats.FirstEvent, Until: *res.Stats.LastEvent}
		}
	}
	for a, err := range res.Alerts() {
		if err != nil {
			return nil, exit(exitUsage, fmt.Errorf("rules shadow: %w", err))
		}
		if !shadow[a.Rule] {
			continue
		}
		who := a.Actor.ID
		if who == "" {
			who = a.SourceIP
		}
		out[a.Rule] = out[a.Rule].Join(alert.Noise{Alerts: 1, Days: []alert.NoiseDay{{Day: a.FirstAt.UTC().Truncate(24 * time.Hour), Alerts: 1}},
			Actors: []alert.NoiseActor{{ID: who, Alerts: 1}}})
	}
	return out, nil
}

func printShadow(w io.Writer, list []shadowVerdict) error {
	var rows []table.Row
	for _, v := range list {
		rows = append(rows, table.Row{v.Rule, v.Verdict, strconv.FormatFloat(v.PerDay, 'f', 2, 64), strconv.FormatFloat(v.Budget, 'g', -1, 64), v.Worst,
			strconv.FormatFloat(v.Days, 'f', 1, 64), v.Alerts})
	}
	err := table.Write(w, table.Row{"rule", "verdict", "a day", "budget", "worst day", "days", "alerts"}, rows)
	for _, v := range list {
		for _, a := range v.Advice {
			_, failed := fmt.Fprintf(w, "%s: %s\n", v.Rule, a)
			err = cmp.Or(err, failed)
		}
	}
	return err
}

var shadowLine = regexp.MustCompile(`(?m)^(status:[ \t]*)["']?shadow["']?([ \t]*(?:#.*)?)$`)

// promoteRules writes status: on into the files of rules that are ready. Every
// file is checked as a whole before it is replaced.
func promoteRules(e *env, list []shadowVerdict) error {
	for _, v := range list {
		if v.Verdict != "ready" {
			continue
		}
		old, err := os.ReadFile(v.File)
		if err != nil {
			return exit(exitUsage, fmt.Errorf("%s cannot be promoted: %w (a shipped rule is copied into a folder of your own first)", v.Rule, err))
		}
		if len(shadowLine.FindAll(old, 2)) != 1 {
			return exit(exitUsage, fmt.Errorf("%s: the line status: shadow is not found; set status: on by hand", v.File))
		}
		data := shadowLine.ReplaceAll(old, []byte("${1}on${2}"))
		if err := replaceFile(v.File, data); err != nil {
			return exit(exitUsage, fmt.Errorf("%s: %w", v.File, err))
		}
		fmt.Fprintf(e.err, "%s: status: on (a running program takes it by itself)\n", v.File)
	}
	return nil
}

// replaceFile puts a file on the disk before it takes the place of the one that is there,
// whose mode it has: after a power cut, or on a full disk, it is the one or the other.
func replaceFile(path string, data []byte) error {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	mode := os.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	return durable.Replace(path, data, mode)
}

// exceptionHits asks the running program, if there is one, what exceptions have
// withheld.
func exceptionHits(ctx context.Context, e *env, f *ruleFlags, state string) (map[string]uint64, error) {
	if state == "" && f.config == "" && !exists(configPath(e, f.config)) {
		return nil, nil
	}
	c, err := f.dial(e, state)
	if err != nil {
		return nil, err
	}
	w, err := c.RuleWork(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		return nil, nil
	}
	if err == nil {
		partly(e, w)
	}
	return w.Excepted, err
}
