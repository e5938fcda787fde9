package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/route"
)

func notifyCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "notify", Short: "Destinations: try them, see what did not arrive, send it again", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}

	var path string
	test := &cobra.Command{Use: "test [NAME…]", Short: "Send a sample alert to the destinations named, or to all, as the configuration says",
		RunE: func(c *cobra.Command, names []string) error {
			cfg, err := loadConfig(e, path)
			if err != nil {
				return err
			}
			return notifyTest(c.Context(), e, cfg, names)
		}}
	addConfigFlag(test, &path)

	var out string
	ls := operation(e, "ls", "List notices that could not be delivered and were given up", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		us, err := c.Undelivered(ctx)
		if err != nil {
			return err
		}
		if out == "json" {
			return printJSON(e.out, us)
		}
		if len(us) == 0 {
			fmt.Fprintln(e.out, "everything was delivered")
			return nil
		}
		var rows []table.Row
		for _, u := range us {
			rows = append(rows, table.Row{u.Destination, short(u.AlertID), stamp(u.At), u.Severity, u.Rule, text.Cut(u.Reason, 90)})
		}
		printTable(e, table.Row{"destination", "alert", "at", "severity", "rule", "reason"}, rows)
		return nil
	})
	addOutput(ls, &out, "table, json")
	requeue := operation(e, "requeue NAME", "Try the given-up notices of a destination again, after the cause was mended", args(1, 1, "the name of a destination"), func(ctx context.Context, c *admin.Client, a []string) error {
		r, err := c.Requeue(ctx, a[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s %s tried again\n", plural(r.Count, "notice"), isAre(r.Count))
		return nil
	})
	root.AddCommand(test, ls, requeue)
	return root
}

// notifyTest sends the sample. It does what the running program does with an
// alert, except for the queue.
func notifyTest(ctx context.Context, e *env, cfg *config.Config, names []string) error {
	var known []string
	var todo []responders.Spec
	for _, p := range cfg.Notify.Destinations() {
		known = append(known, p.Spec.Base().Name)
		if len(names) == 0 || slices.Contains(names, p.Spec.Base().Name) {
			todo = append(todo, p.Spec)
		}
	}
	if len(known) == 0 {
		return usagef("notify has no destinations")
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return usagef("no destination is called %q; there are: %s", n, strings.Join(known, ", "))
		}
	}
	failed := 0
	for _, s := range todo {
		name := s.Base().Name
		took, err := sendSample(ctx, s)
		if err != nil {
			failed++
			fmt.Fprintf(e.out, "%s: NOT SENT: %s\n", name, text.Terminal(err.Error()))
			continue
		}
		fmt.Fprintf(e.out, "%s: sent in %d ms\n", name, took.Milliseconds())
	}
	if failed > 0 {
		return exit(exitUnreachable, fmt.Errorf("%d of %d destinations did not take the sample", failed, len(todo)))
	}
	return nil
}

func sendSample(ctx context.Context, s responders.Spec) (time.Duration, error) {
	d, err := responders.NewDestination(s, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	if c, ok := d.Notifier.(interface{ Close() }); ok {
		defer c.Close()
	}
	n := message.Test(time.Now())
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	start := time.Now()
	_, err = d.Notifier.Post(ctx, n)
	return time.Since(start), err
}

func muteFlags(c *cobra.Command, lasts, comment *string, why string) {
	c.Flags().StringVar(lasts, "for", "1h", "how long, such as 90m, 8h or 7d; at most 90d")
	c.Flags().StringVar(comment, "comment", "", why)
}

func addMute(ctx context.Context, e *env, c *admin.Client, matchers []string, lasts, comment string) error {
	var d responders.Duration
	if err := d.UnmarshalText([]byte(lasts)); err != nil {
		return usagef("--for: %w", err)
	}
	s, err := c.Mute(ctx, matchers, d.Std(), comment)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s until %s: alerts that match %s are evaluated and contained as before, but not told\n", s.ID, stamp(s.Until), text.Terminal(strings.Join(matchers, " ")))
	return nil
}

func muteCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "mute", Short: "Silences: keep alerts that match from being told for a while", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var lasts, comment string
	add := operation(e, "add MATCHER…", "Silence what matches all of them, such as rule=ak.created actor=ci-deployer", args(1, -1, "matchers such as rule=ak.created"), func(ctx context.Context, c *admin.Client, a []string) error {
		return addMute(ctx, e, c, a, lasts, comment)
	})
	muteFlags(add, &lasts, &comment, "why, for the record (needed)")
	var all bool
	var out string
	ls := operation(e, "ls", "List silences", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		ss, err := c.Silences(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		ss = lists.Keep(ss, func(s *responders.Silence) bool { return all || s.Active(now) })
		if out == "json" {
			return printJSON(e.out, ss)
		}
		if len(ss) == 0 {
			fmt.Fprintln(e.out, "nothing is muted")
			return nil
		}
		var rows []table.Row
		for _, s := range ss {
			rows = append(rows, table.Row{s.ID, stamp(s.Until), s.Author, strings.Join(s.Matchers, " "), text.Cut(s.Comment, 60)})
		}
		printTable(e, table.Row{"id", "until", "author", "matchers", "comment"}, rows)
		return nil
	})
	ls.Flags().BoolVar(&all, "all", false, "ended ones too")
	addOutput(ls, &out, "table, json")
	expire := operation(e, "expire ID", "End a silence now; what it held back and still fires is told", args(1, 1, "the id of a silence"), func(ctx context.Context, c *admin.Client, a []string) error {
		s, err := c.Unmute(ctx, a[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s ended\n", s.ID)
		return nil
	})
	root.AddCommand(add, ls, expire)
	return root
}

func routeCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "route", Short: "The routing tree: show it, and ask it who hears of an alert", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(routeTest(e), routeShow(e))
	return root
}

func routeShow(e *env) *cobra.Command {
	var path string
	c := &cobra.Command{Use: "show", Short: "Print the routing tree", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(e, path)
			if err != nil {
				return err
			}
			if cfg.Notify.Route == nil {
				fmt.Fprintln(e.out, "no route: every destination hears of everything that its own filter lets through")
				for _, p := range cfg.Notify.Destinations() {
					b := p.Spec.Base()
					fmt.Fprintf(e.out, "  %s  %s and above%s\n", b.Name, orMedium(b.MinSeverity), rulesOf(b.Rules))
				}
				return nil
			}
			printNode(e, *cfg.Notify.Route, "", "")
			return nil
		}}
	addConfigFlag(c, &path)
	return c
}

// routeFlags are what route test is asked.
type routeFlags struct {
	config, file, expect, at string
	while                    []string
}

func routeTest(e *env) *cobra.Command {
	var f routeFlags
	c := &cobra.Command{Use: "test [LABEL=VALUE…]", Short: "Say who would hear of an alert with these labels; nothing is started or sent",
		Long: "Say who would hear of an alert with these labels, or of the alerts in a file\n(JSON lines of replay or alerts ls). What fires meanwhile (--while, or in the file) inhibits.\n\nLabels: " + strings.Join(route.LabelNames(), ", ") + ".",
		RunE: func(_ *cobra.Command, a []string) error { return f.run(e, a) }}
	addConfigFlag(c, &f.config)
	c.Flags().StringVar(&f.file, "alerts", "", "file of alerts, JSON lines, instead of labels")
	c.Flags().StringVar(&f.expect, "expect", "", "fail (exit 1) unless exactly these receivers hear of it, comma-separated in the order of the tree")
	c.Flags().StringVar(&f.at, "at", "", "time of day to ask for, RFC 3339 (default now; with --alerts the time of each alert's last event)")
	c.Flags().StringArrayVar(&f.while, "while", nil, "labels of an alert that fires meanwhile, for inhibit_rules: severity=critical,account=prod; may be repeated")
	return c
}

func (f *routeFlags) run(e *env, labels []string) error {
	cfg, err := loadConfig(e, f.config)
	if err != nil {
		return err
	}
	now := time.Now()
	if f.at != "" {
		if now, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usagef("--at %q: want a time like 2026-11-20T03:00:00+08:00", f.at)
		}
	}
	ask, err := askedOf(cfg, labels, f.file, now)
	if err != nil {
		return err
	}
	tree, err := cfg.Notify.Tree()
	if err != nil {
		return err
	}
	firing := (*route.Firing)(nil)
	if tree != nil {
		firing = tree.NewFiring()
	}
	for i, w := range f.while {
		l, err := pairsOf(cfg, strings.Split(w, ","))
		switch {
		case err != nil:
			return err
		case tree == nil:
			return usagef("--while: there is no route, so nothing is inhibited")
		}
		firing.Note(fmt.Sprintf("--while %d", i+1), l, now)
	}
	wrong := false
	for _, x := range ask {
		when, inhibited := now, ""
		if f.file != "" && f.at == "" {
			when = x.last
		}
		if firing != nil {
			firing.Note(x.id, x.labels, x.last)
			if until, by := firing.Inhibits(x.id, x.labels, when); by != "" {
				inhibited = fmt.Sprintf("  held back, %s until %s", by, until.UTC().Format(time.RFC3339))
			}
		}
		got := strings.Join(printRoute(e, cfg, tree, x.labels, when, inhibited), ",")
		if f.expect != "" && got != f.expect {
			wrong = true
			fmt.Fprintf(e.err, "expected %s, got %s\n", f.expect, cmp.Or(got, "nobody"))
		}
	}
	if wrong {
		return exit(exitFindings, nil)
	}
	return nil
}

func orMedium(s string) string {
	if s == "" {
		return "medium"
	}
	return s
}

func rulesOf(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	return ", rules " + strings.Join(rules, " ")
}

func printNode(e *env, r config.Route, indent, receiver string) {
	if r.Receiver != "" {
		receiver = r.Receiver
	}
	what := "everything"
	if indent != "" {
		what = "{" + strings.Join(r.Matchers, ", ") + "}"
	}
	extra := ""
	if len(r.GroupBy) > 0 {
		extra += "  group_by " + text.Terminal(strings.Join(r.GroupBy, ","))
	}
	if len(r.MuteTimeIntervals) > 0 {
		extra += "  not during " + text.Terminal(strings.Join(r.MuteTimeIntervals, ","))
	}
	if len(r.ActiveTimeIntervals) > 0 {
		extra += "  only during " + text.Terminal(strings.Join(r.ActiveTimeIntervals, ","))
	}
	if r.Continue {
		extra += "  continue"
	}
	fmt.Fprintf(e.out, "%s%s → %s%s\n", indent, text.Terminal(what), text.Terminal(receiver), extra)
	for _, c := range r.Routes {
		printNode(e, c, indent+"  ", receiver)
	}
}

// asked is an alert that the tree is asked about.
type asked struct {
	id     string
	labels route.Labels
	last   time.Time
}

// pairsOf reads labels as people write them.
func pairsOf(cfg *config.Config, pairs []string) (route.Labels, error) {
	l := route.Labels{"severity": "medium", "outcome": "success"}
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || !slices.Contains(route.LabelNames(), k) {
			return nil, usagef("%q: want label=value; the labels are %s", p, strings.Join(route.LabelNames(), ", "))
		}
		if k == "severity" {
			if _, err := alert.ParseSeverity(v); err != nil {
				return nil, usagef("%w", err)
			}
		}
		if l[k] = v; k == "account_id" && l["account"] == "" {
			l["account"] = cfg.Accounts[v]
		}
	}
	return l, nil
}

// askedOf reads what to ask for, from the command line or from alerts.
func askedOf(cfg *config.Config, pairs []string, file string, now time.Time) ([]asked, error) {
	if file == "" {
		l, err := pairsOf(cfg, pairs)
		return []asked{{"this alert", l, now}}, err
	}
	if len(pairs) > 0 {
		return nil, usagef("labels or --alerts, not both")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	defer f.Close()
	var out []asked
	for dec := json.NewDecoder(f); dec.More(); {
		var a alert.Alert
		if err := dec.Decode(&a); err != nil {
			return nil, usagef("%s: alert %d cannot be read: %w", file, len(out)+1, err)
		}
		if a.Schema != alert.Schema {
			return nil, usagef("%s: alert %d has schema %q, want %q", file, len(out)+1, a.Schema, alert.Schema)
		}
		out = append(out, asked{a.ID, route.LabelsOf(&a, cfg.Accounts[a.AccountID]), a.LastAt})
	}
	if len(out) == 0 {
		return nil, usagef("%s holds no alerts", file)
	}
	return out, nil
}

// printRoute says who hears of an alert, and returns their names. tree is nil without
// routes; inhibited says what holds it back from everybody.
func printRoute(e *env, cfg *config.Config, tree *route.Tree, l route.Labels, now time.Time, inhibited string) []string {
	var shown []string
	for _, k := range route.LabelNames() {
		if l[k] != "" {
			shown = append(shown, k+"="+l[k])
		}
	}
	fmt.Fprintln(e.out, text.Terminal(strings.Join(shown, " ")))
	bases := map[string]responders.Common{}
	var got []string
	severity, _ := alert.ParseSeverity(l["severity"]) // was read from these words
	var order []string
	for _, p := range cfg.Notify.Destinations() {
		b := p.Spec.Base()
		bases[b.Name] = b
		order = append(order, b.Name)
	}
	takes := func(name string) (string, bool) {
		b := bases[name]
		least, err := alert.ParseSeverity(b.MinSeverity)
		if err != nil {
			least = alert.Medium
		}
		switch {
		case severity < least:
			return "its min_severity is " + least.String(), false
		case !responders.Takes(b.Rules, l["rule"]):
			return "its rules leave this one out", false
		}
		return "", true
	}
	say := func(name, path, how string) {
		if why, ok := takes(name); !ok {
			fmt.Fprintf(e.out, "  – %s does not: %s\n", name, why)
			return
		}
		got = append(got, name)
		fmt.Fprintf(e.out, "  → %s  %s%s\n", name, path, how)
	}
	if tree == nil {
		for _, name := range order {
			say(name, "(no route)", "")
		}
	} else {
		for _, d := range tree.Route(l) {
			how := "  at once, by itself"
			if len(d.GroupBy) > 0 {
				how = fmt.Sprintf("  grouped by %s, after %s, then every %s", strings.Join(d.GroupBy, ","), d.GroupWait, d.GroupInterval)
			}
			how += fmt.Sprintf("; again after %s unless acknowledged", d.RepeatInterval)
			if until, by := tree.MutedUntil(d, now); by != "" {
				how = fmt.Sprintf("  held back by %s until %s", by, until.UTC().Format(time.RFC3339))
			}
			if inhibited != "" {
				how = inhibited
			}
			say(d.Receiver, d.Path, how)
		}
	}
	if len(got) == 0 {
		fmt.Fprintln(e.out, "  nobody hears of it")
	}
	return got
}
