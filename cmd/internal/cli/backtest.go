package cli

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// verdictOf is what a back-test says of one rule.
type verdictOf struct {
	Rule       string        `json:"rule"`
	Title      string        `json:"title"`
	Shadow     bool          `json:"shadow,omitempty"`
	Detections int64         `json:"detections"`
	Alerts     int           `json:"alerts"`
	PerDay     float64       `json:"alerts_per_day"` // of the days that have events
	Budget     float64       `json:"budget_per_day,omitempty"`
	Over       bool          `json:"over_budget"`
	Errors     uint64        `json:"errors,omitempty"` // events it was not evaluated for
	Days       []int64       `json:"alerts_by_day"`    // from first_day on
	Actors     []countOf     `json:"top_actors"`
	Samples    []alert.Alert `json:"samples"`
}

type countOf struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// backtest is the whole of it. Its JSON form is what -o json prints.
type backtest struct {
	Schema   string      `json:"schema"`
	RuleSet  string      `json:"rule_set"`
	FirstDay string      `json:"first_day"`
	Days     int         `json:"days"`
	Active   int         `json:"days_with_events"`
	Events   int64       `json:"events"`
	Failed   int         `json:"files_not_read"`
	Rules    []verdictOf `json:"rules"`

	unsure string // why the budget may be kept without being kept; empty where it is sure, or there is none
}

// evaluated says that a test has something to go by: what is only learned from is
// nothing.
func evaluated(res *replay.Result, cfg *replay.RunConfig) bool {
	return res.Stats.Events > 0 && (cfg.Warm == 0 || res.Days(cfg.From) > 0)
}

// nothingEvaluated is said where it has not.
func nothingEvaluated(s *replay.Stats) string {
	line := "no event was evaluated, so nothing can be said: look at the source, and at --from and --to"
	if s.Filtered > 0 {
		line += fmt.Sprintf("; %s outside of these, of %s to %s", plural(s.Filtered, "record"), stamp(*s.FilteredFirst), stamp(*s.FilteredLast))
	}
	return line
}

// notRead is said where it does not know what some files held.
func notRead(s *replay.Stats) string {
	n := len(s.FilesFailed)
	return fmt.Sprintf("%s not read to the end, and what was in the rest is not known, the first: %s: %s", plural(n, "file"), s.FilesFailed[0].Path, s.FilesFailed[0].Error)
}

// unsure adds a case that fails, since the others do not say all; none for an
// empty reason.
func (s *junitSuite) unsure(class, why string) {
	if why != "" {
		s.Cases = append(s.Cases, junitCase{Class: class, Name: "events", Failure: &junitFailure{Message: text.Terminal(why)}})
	}
}

// unsureGitHub is the same as an annotation.
func unsureGitHub(w io.Writer, title, why string) error {
	if why == "" {
		return nil
	}
	_, err := io.WriteString(w, gitHubCommand("error", text.Terminal(why), "title", title))
	return err
}

const (
	backtestSchema  = "trailwarden.backtest/v1"
	backtestSamples = 3
	backtestActors  = 5
)

// backtestFlags is what one rules backtest is asked for.
type backtestFlags struct {
	rules        ruleFlags
	history      historyFlags
	out, outFile string
	only         []string
	budget       float64
	tested       bool // with a budget
	all          bool
}

func rulesBacktest(e *env) *cobra.Command {
	var bf backtestFlags
	c := &cobra.Command{Use: "backtest [flags] SOURCE...", Short: "What the rules would have said about recorded events, and how often",
		Long: `rules backtest replays history with every rule, rules in shadow included, and shows
for each what it would have said: alerts per day, who caused most of them, a few
samples. With --budget it is a test: a rule with more alerts per day on average
than that fails, and the exit code is 1; so it is where a file was not read to its
end, or no event was evaluated: JUnit and GitHub have a failure of its own for that.
The average is over the days that have events, without those of --warm. SOURCE is
what replay reads. What is interrupted goes on with --resume, to the same bytes.`,
		Example: "  trailwarden rules backtest --rules my-rules/ --only my.rule archive/\n  trailwarden rules backtest --budget 5 -o junit --out backtest.xml archive/",
		Args:    args(1, -1, "at least one file or folder (or - for standard input)"),
		RunE: func(c *cobra.Command, sources []string) error {
			if err := checkOutput(bf.out, "table", "json", "junit", "github"); err != nil {
				return err
			}
			bf.tested = c.Flags().Changed("budget")
			if err := canWrite(e, sources, bf.outFile); err != nil {
				return err
			}
			return bf.run(c.Context(), e, sources)
		}}
	bf.rules.add(c)
	bf.history.add(c)
	c.Flags().StringVarP(&bf.out, "output", "o", "table", "output: table, json, junit, github")
	c.Flags().StringVar(&bf.outFile, "out", "", "file for the output (default: standard output)")
	c.Flags().StringSliceVar(&bf.only, "only", nil, "show these rules only (repeatable); the others are evaluated all the same, since chains need them")
	c.Flags().Float64Var(&bf.budget, "budget", 0, "most alerts a day that a rule may make on average; 0 is none at all")
	c.Flags().BoolVar(&bf.all, "all", false, "also rules that said nothing")
	return c
}

// run replays the sources, writes what the rules said and ends with the exit
// code of the test.
func (bf *backtestFlags) run(ctx context.Context, e *env, sources []string) error {
	set, err := bf.rules.load(e)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range set.Rules() {
		known[r.ID] = true
	}
	for _, id := range bf.only {
		if !known[id] {
			return usagef("--only: there is no rule %q, or it is off", id)
		}
	}
	cfg, err := bf.history.config(e, set, time.Now())
	if err != nil {
		return err
	}
	paths, clean, err := bf.history.sources(ctx, e, bf.rules.config, warmFrom(&cfg), cfg.To, sources)
	defer clean()
	if err != nil || bf.history.estimate {
		return err
	}
	cfg.Engine.IncludeShadow = true
	res, runErr := replay.Run(ctx, paths, cfg)
	bf.history.done(e, &cfg)
	if runErr != nil && !errors.Is(runErr, context.Canceled) {
		res.Close()
		return exit(exitUsage, fmt.Errorf("rules backtest: %w%s", runErr, failures(res.Stats)))
	}
	defer res.Close()
	interrupted := runErr != nil
	b, err := bf.sorted(&res, &cfg, interrupted)
	if err != nil {
		return err
	}
	b.RuleSet = set.Hash()
	titles, shadow := map[string]string{}, map[string]bool{}
	for _, in := range set.List() {
		titles[in.ID], shadow[in.ID] = in.Title, in.Status == "shadow"
	}
	b.fill(slices.Sorted(maps.Keys(known)), bf.only, titles, shadow, bf.all)
	write := map[string]func(io.Writer, *env, *backtest) error{"table": backtestTable, "json": func(w io.Writer, _ *env, b *backtest) error { return printJSON(w, b) },
		"junit": backtestJUnit, "github": backtestGitHub}[bf.out]
	unwritten := toFile(e, bf.outFile, func(w io.Writer) error { return write(w, e, b) })
	bf.tell(e, b, &res)
	if unwritten != nil {
		return bf.history.lost("the result", unwritten)
	}
	if interrupted {
		fmt.Fprintln(e.err, "interrupted: what is above covers only what was read until then; "+bf.history.hint())
		return exit(exitInterrupted, nil)
	}
	if !evaluated(&res, &cfg) {
		fmt.Fprintln(e.err, nothingEvaluated(&res.Stats))
	}
	bf.history.finished(e)
	if b.over() > 0 || b.unsure != "" {
		return exit(exitFindings, nil)
	}
	return nil
}

// sorted is what the rules said, by rule, and with a budget why that is not all
// they would have said.
func (bf *backtestFlags) sorted(res *replay.Result, cfg *replay.RunConfig, interrupted bool) (*backtest, error) {
	from := time.Time{}
	if cfg.Warm > 0 {
		from = cfg.From // what is before is only learned from
	}
	b, err := newBacktest(res, from, bf.budget, bf.tested)
	if err != nil || !bf.tested {
		return b, err
	}
	switch {
	case interrupted:
		b.unsure = "interrupted: only what was read until then is counted"
	case !evaluated(res, cfg):
		b.unsure = nothingEvaluated(&res.Stats)
	case len(res.Stats.FilesFailed) > 0:
		b.unsure = notRead(&res.Stats)
	}
	return b, nil
}

// tell says on standard error what was read and what came out.
func (bf *backtestFlags) tell(e *env, b *backtest, res *replay.Result) {
	if !bf.history.quiet {
		fmt.Fprintf(e.err, "%s of %s, %s that said something", plural(res.Stats.Events, "event"), b.days(), plural(b.spoke(), "rule"))
		if bf.tested {
			fmt.Fprintf(e.err, ", %d over the budget of %s a day", b.over(), strconv.FormatFloat(bf.budget, 'g', -1, 64))
		}
		fmt.Fprintf(e.err, "\n%s%s\n%s", filesRead(&res.Stats), parked(&res.Stats), ignored(&res.Stats)+parkedAt(&res.Stats))
		for _, l := range coverageLines(res.Coverage, 5) {
			fmt.Fprintln(e.err, l)
		}
	}
	remarkOrder(e, &res.Stats)
	if f := failures(res.Stats); f != "" {
		fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
	}
}

// newBacktest sorts the alerts of a run by rule. A day is one of UTC; days are
// counted from the first event at or after from to the last, both included.
// Averages are over those that have events: neither a hole in the archive nor
// one record of a bad clock makes a noisy rule quiet. The error is of reading
// the alerts.
func newBacktest(res *replay.Result, from time.Time, budget float64, tested bool) (*backtest, error) {
	b := &backtest{Schema: backtestSchema, Events: res.Stats.Events, Failed: len(res.Stats.FilesFailed), Days: 1, Active: max(1, res.Days(from))}
	var first time.Time
	if res.Stats.FirstEvent != nil && !res.Stats.LastEvent.Before(from) {
		first = res.Stats.FirstEvent.UTC().Truncate(24 * time.Hour)
		if from = from.UTC().Truncate(24 * time.Hour); first.Before(from) {
			first = from
		}
		b.FirstDay = first.Format(time.DateOnly)
		b.Days = int(res.Stats.LastEvent.Sub(first)/(24*time.Hour)) + 1
	}
	by := map[string]*verdictOf{}
	actors := map[string]map[string]int{}
	get := func(id string) *verdictOf {
		v := by[id]
		if v == nil {
			v = &verdictOf{Rule: id, Budget: budget, Days: make([]int64, min(b.Days, maxDays)), Actors: []countOf{}, Samples: []alert.Alert{}}
			by[id], actors[id] = v, map[string]int{}
		}
		return v
	}
	for id, n := range res.Stats.ByRule {
		get(id).Detections = n
	}
	for a, err := range res.Alerts() {
		if err != nil {
			return nil, err
		}
		v := get(a.Rule)
		v.Alerts++
		if day := int(a.Time.Sub(first) / (24 * time.Hour)); day >= 0 && day < len(v.Days) {
			v.Days[day]++
		}
		actors[a.Rule][cmp.Or(a.Actor.ID, a.Actor.Name, a.SourceIP, "(nobody)")]++
		if len(v.Samples) < backtestSamples {
			v.Samples = append(v.Samples, *a)
		}
	}
	for id, v := range by {
		v.PerDay = float64(v.Alerts) / float64(b.Active)
		v.Over = tested && v.PerDay > budget
		for name, n := range actors[id] {
			v.Actors = append(v.Actors, countOf{name, n})
		}
		lists.Sort(v.Actors, func(a, b countOf) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name)) })
		v.Actors = v.Actors[:min(len(v.Actors), backtestActors)]
		b.Rules = append(b.Rules, *v)
	}
	return b, nil
}

// maxDays bounds the days told apart: twenty years, should a time be wrong.
const maxDays = 20 * 366

// fill adds rules that said nothing, and leaves out what was not asked for.
func (b *backtest) fill(ids, only []string, titles map[string]string, shadow map[string]bool, all bool) {
	for _, id := range ids {
		if (all || slices.Contains(only, id)) && !slices.ContainsFunc(b.Rules, func(v verdictOf) bool { return v.Rule == id }) {
			b.Rules = append(b.Rules, verdictOf{Rule: id, Days: make([]int64, min(b.Days, maxDays)), Actors: []countOf{}, Samples: []alert.Alert{}})
		}
	}
	if len(only) > 0 {
		b.Rules = lists.Keep(b.Rules, func(v *verdictOf) bool { return slices.Contains(only, v.Rule) })
	}
	for i := range b.Rules {
		b.Rules[i].Title, b.Rules[i].Shadow = titles[b.Rules[i].Rule], shadow[b.Rules[i].Rule]
	}
	lists.Sort(b.Rules, func(x, y verdictOf) int {
		return cmp.Or(cmp.Compare(y.Alerts, x.Alerts), strings.Compare(x.Rule, y.Rule))
	})
	if b.Rules == nil {
		b.Rules = []verdictOf{}
	}
}

// days says how many days there are, and of how many the averages are.
func (b *backtest) days() string {
	if b.Active == b.Days {
		return plural(b.Days, "day")
	}
	return fmt.Sprintf("%s, %d with events", plural(b.Days, "day"), b.Active)
}

// over counts the rules over the budget.
func (b *backtest) over() int {
	n := 0
	for _, v := range b.Rules {
		if v.Over {
			n++
		}
	}
	return n
}

func (b *backtest) spoke() (n int) {
	for _, v := range b.Rules {
		if v.Alerts > 0 {
			n++
		}
	}
	return n
}

// fold makes at most n bars of days, each of the same number of days.
func fold(days []int64, n int) []int64 {
	per := (len(days) + n - 1) / n
	if per <= 1 {
		return days
	}
	var out []int64
	for chunk := range slices.Chunk(days, per) {
		sum := int64(0)
		for _, d := range chunk {
			sum += d
		}
		out = append(out, sum)
	}
	return out
}

func backtestTable(w io.Writer, e *env, b *backtest) error {
	if len(b.Rules) == 0 {
		_, err := fmt.Fprintln(w, "no rule said anything")
		return err
	}
	var rows []table.Row
	for _, v := range b.Rules {
		note := ""
		switch {
		case v.Over:
			note = "OVER BUDGET"
		case v.Shadow:
			note = "shadow"
		}
		top := ""
		if len(v.Actors) > 0 {
			top = fmt.Sprintf("%s (%d)", text.Cut(v.Actors[0].Name, 44), v.Actors[0].Count)
		}
		rows = append(rows, table.Row{v.Rule, v.Alerts, fmt.Sprintf("%.2f", v.PerDay), sparks(fold(v.Days, 31)), top, note})
	}
	printTable(&env{in: e.in, out: w, err: e.err, environ: e.environ}, table.Row{"rule", "alerts", "a day", "by day", "most by", ""}, rows)
	for _, v := range b.Rules {
		if len(v.Samples) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", v.Rule)
		for i := range v.Samples {
			fmt.Fprintf(w, "  %s  %s\n", stamp(v.Samples[i].Time), told(&v.Samples[i]))
		}
		if more := v.Alerts - len(v.Samples); more > 0 {
			fmt.Fprintf(w, "  and %d more: trailwarden replay -o jsonl, rule %s\n", more, v.Rule)
		}
	}
	return nil
}

func writeJUnit(w io.Writer, s *junitSuite) error {
	s.Tests = len(s.Cases)
	for _, c := range s.Cases {
		if c.Failure != nil {
			s.Failures++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func backtestJUnit(w io.Writer, _ *env, b *backtest) error {
	s := &junitSuite{Name: "trailwarden rules backtest"}
	for _, v := range b.Rules {
		c := junitCase{Class: "backtest", Name: v.Rule, Out: fmt.Sprintf("%s in %s, %.2f a day", plural(v.Alerts, "alert"), b.days(), v.PerDay)}
		if v.Over {
			var lines []string
			for i := range v.Samples {
				lines = append(lines, stamp(v.Samples[i].Time)+"  "+told(&v.Samples[i]))
			}
			c.Failure = &junitFailure{fmt.Sprintf("%.2f alerts a day, the budget is %g", v.PerDay, v.Budget), strings.Join(lines, "\n")}
		}
		s.Cases = append(s.Cases, c)
	}
	s.unsure("backtest", b.unsure)
	return writeJUnit(w, s)
}

// gitHubCommand is a workflow command, an annotation: neither its message nor the
// properties (name, value, …) end it, begin another or hold one of the old form.
func gitHubCommand(level, msg string, properties ...string) string {
	esc := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	prop := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var props []string
	for p := range slices.Chunk(properties, 2) {
		props = append(props, p[0]+"="+prop.Replace(text.Terminal(p[1])))
	}
	return fmt.Sprintf("::%s %s::%s\n", level, strings.Join(props, ","), esc.Replace(text.Log(msg)))
}

func backtestGitHub(w io.Writer, _ *env, b *backtest) error {
	if err := unsureGitHub(w, "rules backtest", b.unsure); err != nil {
		return err
	}
	for _, v := range b.Rules {
		level, more := "notice", ""
		if v.Over {
			level, more = "error", fmt.Sprintf(", over the budget of %g", v.Budget)
		}
		msg := fmt.Sprintf("%s in %s, %.2f a day%s", plural(v.Alerts, "alert"), b.days(), v.PerDay, more)
		if len(v.Samples) > 0 {
			msg += "; for example: " + told(&v.Samples[0])
		}
		if _, err := io.WriteString(w, gitHubCommand(level, text.Terminal(msg), "title", v.Rule)); err != nil {
			return err
		}
	}
	return nil
}
