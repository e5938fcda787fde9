package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

// operation makes a command that talks to the running program.
func operation(e *env, use, short string, a cobra.PositionalArgs, run func(ctx context.Context, c *admin.Client, args []string) error) *cobra.Command {
	var path, state string
	cmd := &cobra.Command{Use: use, Short: short, Args: a,
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := stateDir(e, path, state)
			if err != nil {
				return err
			}
			return operationError(run(c.Context(), admin.Dial(dir), args))
		}}
	addConfigFlag(cmd, &path)
	cmd.Flags().StringVar(&state, "state", "", "state folder of the running program (default: as the configuration says)")
	return cmd
}

// stateDir is --state, or what the configuration says.
func stateDir(e *env, path, state string) (string, error) {
	if state != "" {
		return state, nil
	}
	dir, err := config.StateDir(configPath(e, path), e.environ)
	if err != nil {
		return "", noStateDir(err)
	}
	return dir, nil
}

func noStateDir(err error) error {
	return exit(exitUsage, fmt.Errorf("the configuration, which names the state folder, cannot be used (or give --state):\n%w", err))
}

func operationError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, admin.ErrNotRunning):
		return exit(exitUnreachable, err)
	case errors.Is(err, admin.ErrNotAllowed):
		return exit(exitRefused, err)
	case errors.Is(err, admin.ErrNotFound), errors.Is(err, admin.ErrBadRequest):
		return exit(exitUsage, err)
	}
	var ee *exitError
	if errors.As(err, &ee) {
		return err
	}
	return exit(exitUnreachable, err)
}

func addOutput(c *cobra.Command, o *string, forms string) {
	c.Flags().StringVarP(o, "output", "o", "table", "output: "+forms)
}

// checkOutput refuses a form that the command does not have.
func checkOutput(out string, forms ...string) error {
	if slices.Contains(forms, out) {
		return nil
	}
	return usagef("output %q: want %s", out, strings.Join(forms, ", "))
}

// printJSON writes v over several lines, with nothing that could steer a
// terminal.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(alert.EscapeJSON(b.Bytes()))
	return err
}

// printTable writes rows that a terminal can show safely.
func printTable(e *env, header table.Row, rows []table.Row) {
	for _, r := range rows {
		for i, c := range r {
			if s, ok := c.(string); ok {
				r[i] = text.Terminal(s)
			}
		}
	}
	_ = table.Write(e.out, header, rows) // a pipe that was closed ends the program elsewhere
}

// printAccounts is printTable of rows whose second column is the account, which is
// left out where it is one for all of them.
func printAccounts(e *env, header table.Row, rows []table.Row) {
	const at = 1
	if !slices.ContainsFunc(rows, func(r table.Row) bool { return r[at] != rows[0][at] }) {
		header = slices.Delete(header, at, at+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], at, at+1)
		}
	}
	printTable(e, header, rows)
}

func short(id string) string { return id[:min(12, len(id))] }

//go:noinline
func stamp(t time.Time) string {
	if t.IsZero() {
		return text.Dash
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func alertsCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "alerts", Short: "Alerts of the running program", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var out string
	var limit int
	ls := operation(e, "ls", "List the newest alerts", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json", "jsonl"); err != nil {
			return err
		}
		as, err := c.Alerts(ctx, limit)
		if err != nil {
			return err
		}
		return writeAlerts(e, out, as)
	})
	addOutput(ls, &out, "table, json, jsonl")
	ls.Flags().IntVar(&limit, "limit", 50, "how many")
	var form string
	show := operation(e, "show ID", "Show one alert with its actions", args(1, 1, "the id of an alert"), func(ctx context.Context, c *admin.Client, a []string) error {
		if form == "" { // what reads a pipe has always got JSON
			if form = "json"; isTerminal(e.out) {
				form = "table"
			}
		}
		if err := checkOutput(form, "table", "json"); err != nil {
			return err
		}
		d, err := c.Alert(ctx, a[0])
		if err != nil {
			return err
		}
		if form == "json" {
			return printJSON(e.out, d)
		}
		printAlert(e, &d)
		return nil
	})
	show.Flags().StringVarP(&form, "output", "o", "", "output: table, json (default: table on a terminal, else json)")
	root.AddCommand(ls, show, askCmd(e), answerCmd(e), muteAlertCmd(e))
	triageCmds(e, root)
	return root
}

// writeAlerts prints alerts in the form out; as lines of JSON they are the bytes
// that a replay writes.
func writeAlerts(e *env, out string, as []alert.Alert) error {
	switch out {
	case "json":
		return printJSON(e.out, as)
	case "jsonl":
		for i := range as {
			if err := alert.WriteLine(e.out, &as[i]); err != nil {
				return err
			}
		}
	default:
		printAlerts(e, as)
	}
	return nil
}

func printAlerts(e *env, as []alert.Alert) {
	var rows []table.Row
	for _, a := range as {
		rows = append(rows, table.Row{short(a.ID), a.AccountID, stamp(a.LastAt), a.Severity.String(), a.Rule, text.Cut(a.Actor.Name, 24), a.Count, text.Cut(told(&a), 90)})
	}
	printAccounts(e, table.Row{"id", "account", "last", "severity", "rule", "who", "n", "why"}, rows)
}

// printAlert says what an alert says, where it stands, and what to do, in the
// order in which people ask.
func printAlert(e *env, d *admin.AlertDetail) {
	a, w, width := &d.Alert, message.For(message.English, time.UTC), e.width(e.out)
	line := func(name, fact string) {
		if fact = text.Terminal(fact); fact != "" {
			folded(e.out, fmt.Sprintf("%-10s ", name), fact, width)
		}
	}
	joined := func(words ...string) (out string) {
		for _, s := range words {
			if s != "" {
				out += ", " + s
			}
		}
		return strings.TrimPrefix(out, ", ")
	}
	line("alert", a.ID)
	line("severity", strings.ToUpper(a.Severity.String()))
	line("title", a.Title)
	line("reason", told(a))
	for _, l := range strings.Split(w.PolicyIn(a.Details, 400, 2000), "\n") {
		line("changed", l)
	}
	when := stamp(a.FirstAt)
	if a.LastAt.After(a.FirstAt) {
		when += " to " + stamp(a.LastAt)
	}
	if a.Count > 1 {
		when += fmt.Sprintf(" ×%d", a.Count)
	}
	line("when", when)
	line("who", joined(a.Actor.Name, a.Actor.Type, a.Actor.ID))
	line("key", a.Actor.AccessKeyID)
	line("from", a.SourceIP)
	if t := a.Target; t != nil {
		line("target", joined(t.Name, t.Type, t.ID, a.TargetKey))
	} else {
		line("target", a.TargetKey)
	}
	line("account", a.AccountID)
	line("rule", joined(fmt.Sprintf("%s v%d", a.Rule, a.RuleVersion), strings.Join(a.Attack, " ")))
	line("events", fmt.Sprintf("%d: %s", len(a.EventIDs), strings.Join(a.EventIDs[:min(10, len(a.EventIDs))], " ")))
	if d.Card != nil {
		for _, l := range d.Card.Lines() {
			line("known", w.Line(l))
		}
	}
	line("state", stands(&d.Triage))
	for _, s := range d.Triage.Steps {
		line("·", joined(stamp(s.At), s.Do+by(s.By), s.Owner, string(s.Verdict), text.Line(s.Note)))
	}
	for i := range d.Questions {
		q := &d.Questions[i]
		line("asked", joined(stamp(q.Since), q.Person+": "+string(q.State), q.Reason))
	}
	for i := range d.Actions {
		x := &d.Actions[i]
		line("action", joined(short(x.ID), string(x.State), x.Describe))
		line("next", x.Next)
	}
	name := "do"
	for _, l := range strings.Split(a.Steps(false), "\n") {
		if strings.HasPrefix(l, "  ") { // a command stays in one piece, to be copied
			fmt.Fprintf(e.out, "%-10s   %s\n", name, text.Terminal(l))
		} else {
			line(name, l)
		}
		name = ""
	}
}

func actionCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "action", Short: "Containment: what was done, what waits, and taking it back", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(actionLs(e), actionShow(e), actionContain(e), actionApprove(e), actionDeny(e), actionUndo(e), kindsCmd(e),
		freezeCmd(e, true), freezeCmd(e, false))
	return root
}

func actionLs(e *env) *cobra.Command {
	var out string
	c := operation(e, "ls", "List actions, newest first", noArgs, func(ctx context.Context, client *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		as, err := client.Actions(ctx)
		if err != nil {
			return err
		}
		if out == "json" {
			return printJSON(e.out, as)
		}
		var rows []table.Row
		for _, a := range as {
			rows = append(rows, table.Row{short(a.ID), a.Action.Target.AccountID, stamp(a.At), string(a.State), a.Kind, text.Cut(actedOn(a.Action.Target), 30), text.MaskKey(a.Action.Target.AccessKeyID), a.Action.Rule, text.Cut(a.Reason, 70)})
		}
		printAccounts(e, table.Row{"id", "account", "since", "state", "kind", "target", "key", "rule", "reason"}, rows)
		return nil
	})
	addOutput(c, &out, "table, json")
	return c
}

func actionShow(e *env) *cobra.Command {
	var out string
	c := operation(e, "show ID", "Show one action: the exact call, its history, state before and after", args(1, 1, "the id of an action (its beginning is enough)"), func(ctx context.Context, client *admin.Client, a []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		d, err := client.Action(ctx, a[0])
		if err != nil {
			return err
		}
		if out == "json" {
			return printJSON(e.out, d)
		}
		printAction(e, d)
		return nil
	})
	addOutput(c, &out, "table, json")
	return c
}

func actionApprove(e *env) *cobra.Command {
	var yes, dry bool
	var hash string
	c := operation(e, "approve ID", "Approve exactly what `action show` shows", args(1, 1, "the id of an action"), func(ctx context.Context, client *admin.Client, a []string) error {
		d, err := client.Action(ctx, a[0])
		if err != nil {
			return err
		}
		if hash == "" {
			printAction(e, d)
			if err := confirm(ctx, e, yes, dry, "approve this"); err != nil {
				return err
			}
			hash = d.Hash
		}
		if d, err = client.Approve(ctx, d.ID, hash); err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s %s\n", short(d.ID), d.State)
		return nil
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would be approved and stop")
	c.Flags().StringVar(&hash, "hash", "", "approve only if the action still has this hash")
	return c
}

func actionDeny(e *env) *cobra.Command {
	var reason string
	c := operation(e, "deny ID", "Deny a proposed action", args(1, 1, "the id of an action"), func(ctx context.Context, client *admin.Client, a []string) error {
		d, err := client.Deny(ctx, a[0], reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s %s\n", short(d.ID), d.State)
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}

func actionUndo(e *env) *cobra.Command {
	var yes, dry bool
	c := operation(e, "undo ID", "Restore the state before an action", args(1, 1, "the id of an action"), func(ctx context.Context, client *admin.Client, a []string) error {
		d, err := client.Action(ctx, a[0])
		if err != nil {
			return err
		}
		printAction(e, d)
		if err := confirm(ctx, e, yes, dry, "undo this"); err != nil {
			return err
		}
		if d, err = client.Undo(ctx, d.ID); err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%s %s\n", short(d.ID), d.State)
		if d.State != responders.Undone {
			return exit(exitFindings, fmt.Errorf("not undone: %s", text.Terminal(d.Reason)))
		}
		return nil
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would be undone and stop")
	return c
}

func actionContain(e *env) *cobra.Command {
	var params []string
	c := operation(e, "contain ALERT KIND", "Ask for an action that no playbook asked for; another person approves it", args(2, 2, "the id of an alert and a kind of action (see `action kinds`)"), func(ctx context.Context, client *admin.Client, a []string) error {
		set := map[string]string{}
		for _, p := range params {
			k, v, ok := strings.Cut(p, "=")
			if !ok || k == "" {
				return usagef("--param %q: want name=value", p)
			}
			set[k] = v
		}
		d, err := client.Contain(ctx, a[0], a[1], set)
		if err != nil {
			return err
		}
		printAction(e, d)
		if d.State == responders.Refused {
			return exit(exitRefused, errors.New("refused: "+text.Terminal(d.Reason)))
		}
		return nil
	})
	c.Flags().StringArrayVar(&params, "param", nil, "name=value, as the kind wants; key=target acts on whom the call was about (repeatable)")
	return c
}

// freezeCmd sets the kill switch, or releases it.
func freezeCmd(e *env, on bool) *cobra.Command {
	use, short := "freeze", "Kill switch: no action is begun until unfreeze (undo stays possible)"
	if !on {
		use, short = "unfreeze", "Release the kill switch"
	}
	var why string
	c := operation(e, use, short, noArgs, func(ctx context.Context, client *admin.Client, _ []string) error {
		f, err := client.Freeze(ctx, on, why)
		if err != nil {
			return err
		}
		word := "released"
		if f.Frozen {
			word = "frozen"
		}
		fmt.Fprintf(e.out, "%s by %s\n", word, text.Terminal(f.By))
		return nil
	})
	c.Flags().StringVar(&why, "reason", "", "why, for the record")
	return c
}

// kindsCmd lists the ladder. It needs no running program and no account.
func kindsCmd(e *env) *cobra.Command {
	var out string
	c := &cobra.Command{Use: "kinds", Short: "The ladder of actions: the exact call, its undo, and the RAM permissions of each", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			ks, err := app.Kinds()
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(e.out, ks)
			}
			for i, k := range ks {
				if i > 0 {
					fmt.Fprintln(e.out)
				}
				fmt.Fprintln(e.out, k.Kind)
				fmt.Fprintf(e.out, "  does   %s\n  undo   %s\n  needs  %s\n", k.Does, k.Undo, strings.Join(k.Permissions, ", "))
				if len(k.Params) > 0 {
					fmt.Fprintf(e.out, "  params %s\n", strings.Join(k.Params, ", "))
				}
				if k.Note != "" {
					fmt.Fprintf(e.out, "  note   %s\n", k.Note)
				}
			}
			return nil
		}}
	addOutput(c, &out, "table, json")
	return c
}

// actedOn names what an action is about: "user alice", "trail audit"; "" where
// the alert named nothing.
func actedOn(t responders.ActionTarget) string {
	for _, n := range [][2]string{{"user", t.UserName}, {"role", t.RoleName}, {"group", t.Params["group"]}, {"policy", t.Params["policy_name"]}, {"trail", t.Params["trail"]}} {
		if n[1] != "" {
			return n[0] + " " + n[1]
		}
	}
	return ""
}

func printAction(e *env, d responders.ActionDetail) {
	t := d.Action.Target
	// A later record of the same state adds to it and is not who brought it about.
	entered := responders.ActionStep{At: d.At, By: d.By}
	for _, h := range slices.Backward(d.History) {
		if h.State != d.State {
			break
		}
		entered = h
	}
	e.line("action", d.ID)
	e.line("does", d.Describe)
	e.line("state", string(d.State)+" since "+stamp(entered.At)+by(entered.By))
	e.line("reason", d.Reason)
	e.line("next", d.Next)
	target := strings.TrimSpace(actedOn(t) + " of account " + t.AccountID)
	if t.AccessKeyID != "" {
		target += ", key " + t.AccessKeyID
	}
	e.line("target", target)
	e.line("because", fmt.Sprintf("rule %s, alert %s, %s, last %s", d.Action.Rule, short(d.Action.AlertID), plural(len(d.Action.Evidence.EventIDs), "event"), stamp(d.Action.Evidence.Time)))
	e.line("before", string(d.Prior))
	if d.Result != nil {
		e.line("after", string(d.Result.After))
	}
	if d.Undo != nil {
		e.line("restored", string(d.Undo.After))
	}
	seen := func(k string, s *responders.Seen) {
		if s != nil {
			e.line(k, fmt.Sprintf("in the trail at %s, event %s", stamp(s.At), s.EventID))
		}
	}
	seen("seen", d.Seen)
	seen("undo seen", d.UndoSeen)
	if d.Unseen {
		e.line("seen", "NOT in the trail")
	}
	if !d.UndoUntil.IsZero() {
		e.line("undo", "until "+stamp(d.UndoUntil)+": "+d.DescribeUndo)
	}
	for _, h := range d.History {
		e.line("·", fmt.Sprintf("%s  %-10s%s  %s", stamp(h.At), h.State, by(h.By), h.Reason))
	}
}

// line prints a fact under its name; what is empty is no fact.
func (e *env) line(name, fact string) {
	if fact != "" {
		fmt.Fprintf(e.out, "%-10s %s\n", name, text.Terminal(fact))
	}
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

// confirm asks on a terminal; elsewhere it needs yes.
func confirm(ctx context.Context, e *env, yes, dry bool, what string) error {
	if dry {
		return exit(exitOK, nil)
	}
	if yes {
		return nil
	}
	if !e.terminal(e.out) {
		return exit(exitRefused, errors.New("not a terminal: say --yes to "+what))
	}
	a, _ := newPrompt(ctx, e, e.err).ask(what + "? [y/N] ") // no answer is no
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if a = strings.ToLower(a); a != "y" && a != "yes" {
		return exit(exitRefused, errors.New("not done"))
	}
	return nil
}

func parkedCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "parked", Short: "Records that could not be evaluated", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var out string
	var limit int
	ls := operation(e, "ls", "List parked records with their reasons", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		ps, err := c.Parked(ctx, limit)
		if err != nil {
			return err
		}
		if out == "json" {
			return printJSON(e.out, ps)
		}
		if len(ps) == 0 {
			fmt.Fprintln(e.out, "nothing is parked")
			return nil
		}
		var rows []table.Row
		for _, p := range ps {
			rows = append(rows, table.Row{p.ID, stamp(p.At), p.Reason, p.Size, text.Cut(p.Source, 40), text.Cut(p.Detail, 70)})
		}
		printTable(e, table.Row{"id", "at", "reason", "bytes", "source", "detail"}, rows)
		return nil
	})
	addOutput(ls, &out, "table, json")
	ls.Flags().IntVar(&limit, "limit", 100, "how many")
	var reason string
	redrive := operation(e, "redrive", "Try parked records again, after what kept them from being read was mended", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		r, err := c.Redrive(ctx, reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out, "%d tried, %d evaluated, %d still parked\n", r.Tried, r.Back, r.Tried-r.Back)
		for _, s := range r.Still {
			fmt.Fprintf(e.out, "  %s\n", text.Terminal(s))
		}
		if r.Back < r.Tried {
			return exit(exitFindings, nil)
		}
		return nil
	})
	redrive.Flags().StringVar(&reason, "reason", "", "only those parked for this reason")
	root.AddCommand(ls, redrive)
	return root
}

func statusCmd(e *env) *cobra.Command {
	var out string
	var live bool
	cmd := operation(e, "status", "How the running program is doing", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if out == "json" {
			if err := printJSON(e.out, s); err != nil {
				return err
			}
		} else {
			printStatus(e, s)
		}
		if !s.Ready && !live {
			return exit(exitFindings, nil)
		}
		return nil
	})
	addOutput(cmd, &out, "table, json")
	cmd.Flags().BoolVar(&live, "live", false, "exit code 0 also where it runs and does not see everything: for probes that start it anew, which mends neither")
	return cmd
}

// printSlowest lists the rules that take most of the time; nothing when none was
// measured yet.
func printSlowest(w io.Writer, list []admin.RuleTime) {
	if len(list) == 0 {
		return
	}
	each := func(t admin.Took) string {
		if t.Times == 0 {
			return text.Dash
		}
		return t.Mean().Round(10 * time.Nanosecond).String()
	}
	var rows []table.Row
	for _, r := range list {
		rows = append(rows, table.Row{text.Terminal(r.Rule), fmt.Sprintf("%.0f%%", 100*r.Share), each(r.Match), each(r.Order), time.Duration(1e9 * max(r.Match.Worst, r.Order.Worst)).Round(100 * time.Nanosecond).String()})
	}
	_ = table.Write(w, table.Row{"dearest rule", "of rule time", "match", "in order", "worst"}, rows)
	fmt.Fprintln(w)
}

func printStatus(e *env, s admin.Status) {
	word := "ready"
	if !s.Ready {
		word = "NOT READY"
	}
	fmt.Fprintf(e.out, "trailwarden %s  %s  up since %s  %s, %s of %s\n", s.Version, word, stamp(s.Started), plural(s.Rules, "rule"), cmp.Or(s.Pack, text.Dash), stamp(s.RulesLoaded))
	for _, p := range s.Problems {
		fmt.Fprintf(e.out, "  ! %s\n", text.Terminal(p))
	}
	if s.Frozen.Frozen {
		fmt.Fprintf(e.out, "  ! containment is frozen by %s since %s: %s\n", text.Terminal(s.Frozen.By), stamp(s.Frozen.At), text.Terminal(s.Frozen.Reason))
	}
	var rows []table.Row
	for _, x := range s.Sources {
		behind := "unknown"
		if x.Standby {
			behind = "others read"
		} else if !x.LastPull.IsZero() {
			behind = fmt.Sprintf("%.0fs", x.BehindSeconds)
		}
		rows = append(rows, table.Row{x.Name, x.Records, stamp(x.LastPull), behind, x.Credentials, x.Rebuilds})
	}
	printTable(e, table.Row{"source", "records", "last pull", "behind", "credentials", "rebuilds"}, rows)
	for _, x := range s.Sources {
		if c := x.Counts; c != nil && c.Error == "" && !c.From.IsZero() {
			fmt.Fprintf(e.out, "counts: %s holds %s from %s to %s, %d accounted for\n", text.Terminal(x.Name), plural(c.Held, "log"), stamp(c.From), stamp(c.To), c.Done)
		}
		if len(x.Shards) < 2 {
			continue
		}
		rows = nil
		for _, sh := range x.Shards {
			held := "elsewhere"
			if sh.Held {
				held = "here"
			}
			rows = append(rows, table.Row{sh.Shard, held, sh.Records, stamp(sh.LastPull), fmt.Sprintf("%.0fs", sh.BehindSeconds)})
		}
		fmt.Fprintln(e.out)
		printTable(e, table.Row{"shard", "read", "records", "last pull", "behind"}, rows)
	}
	if len(s.Accounts) > 0 {
		const most = 10
		rows = nil
		for _, a := range s.Accounts[:min(len(s.Accounts), most)] {
			rows = append(rows, table.Row{a.Account, stamp(a.Newest)})
		}
		fmt.Fprintln(e.out)
		printTable(e, table.Row{"account", "newest event"}, rows)
		if n := len(s.Accounts) - most; n > 0 {
			fmt.Fprintf(e.out, "and %s with newer ones\n", plural(n, "account"))
		}
	}
	rows = nil
	for _, p := range s.Partitions {
		if p.Evaluated > 0 || p.Lag > 0 {
			rows = append(rows, table.Row{p.Partition, p.Evaluated, p.Duplicates, p.Late, p.Lag, stamp(p.Watermark)})
		}
	}
	fmt.Fprintln(e.out)
	printTable(e, table.Row{"partition", "evaluated", "duplicate", "late", "lag", "watermark"}, rows)
	fmt.Fprint(e.out, forgotten(s.Evicted))
	if len(s.Destinations) > 0 {
		rows = nil
		for _, d := range s.Destinations {
			rows = append(rows, table.Row{d.Name, d.Sent, d.Edited, d.Waiting, d.Dead, stamp(d.LastOK), text.Cut(d.LastErr, 60)})
		}
		fmt.Fprintln(e.out)
		printTable(e, table.Row{"destination", "sent", "edited", "waiting", "dead", "last ok", "last error"}, rows)
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Parked)) {
		fmt.Fprintf(e.out, "parked: %d %s (see: trailwarden parked ls)\n", s.Parked[reason], text.Terminal(reason))
	}
	fmt.Fprintln(e.out)
	printSlowest(e.out, s.Slowest)
	fmt.Fprintf(e.out, "store: %s, fullest stream at %.0f%%\n", size(s.Store.Bytes), 100*s.Store.Fraction)
}
