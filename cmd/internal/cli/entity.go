package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

func entityCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "entity", Short: "What recorded events say about one user, role, key or address", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(entityShow(e))
	return root
}

func entityShow(e *env) *cobra.Command {
	var rf ruleFlags
	var hf historyFlags
	var out string
	c := &cobra.Command{Use: "show ENTITY SOURCE...", Short: "Show what one entity did, from where, what made it and what it made",
		Long: `entity show reads recorded events and shows everything that concerns one user,
role, AccessKey, address, network, account, request or event: when it was active, with which
keys and from which addresses, what it called, what made it and what it made, what
of that is open at the end of what was read, keys and logins first, and the alerts
about it. A policy, a group, an identity provider and an instance can be asked about,
too. It is named as alerts, the console or a policy name it: alice,
alice@example.onaliyun.com, acs:ram::1234567890123456:role/app, app:session, 10.0.0.0/8, an id.
SOURCE is what replay reads.`,
		Example: "  trailwarden entity show LTAI5tEXAMPLEkey0001 archive/",
		Args:    args(2, -1, "an entity, and at least one file or folder (or - for standard input)"),
		RunE: func(c *cobra.Command, a []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			if strings.TrimSpace(a[0]) == "" {
				return usagef("the entity is empty")
			}
			if err := replay.CheckEntity(a[0]); err != nil {
				return exit(exitUsage, err)
			}
			set, err := rf.load(e)
			if err != nil {
				return err
			}
			cfg, err := hf.config(e, set, time.Now())
			if err != nil {
				return err
			}
			paths, clean, err := hf.sources(c.Context(), e, rf.config, warmFrom(&cfg), cfg.To, a[1:])
			defer clean()
			if err != nil || hf.estimate {
				return err
			}
			cfg.Entity = a[0]
			res, runErr := replay.Run(c.Context(), paths, cfg)
			hf.done(e, &cfg)
			if runErr != nil && !errors.Is(runErr, context.Canceled) {
				res.Close()
				return exit(exitUsage, fmt.Errorf("entity show: %w%s", runErr, failures(res.Stats)))
			}
			defer res.Close()
			about := []alert.Alert{}
			for a, err := range res.Alerts() {
				if err != nil {
					return err
				}
				if res.Trail.Concerns(a) {
					about = append(about, *a)
				}
			}
			unwritten := flushed(e.out, func(w io.Writer) error {
				if out == "json" {
					return printJSON(w, struct {
						*replay.Trail
						Alerts []alert.Alert `json:"alerts"`
					}{res.Trail, about})
				}
				width := e.width(e.out)
				showTrail(w, res.Trail, 20, width)
				showSteps(w, res.Trail, about, 40, width)
				fmt.Fprintf(w, "\nalerts: %d\n", len(about))
				for i := range about {
					b := &about[i]
					head := fmt.Sprintf("  %s  %-8s  %s: ", stamp(b.Time), strings.ToUpper(b.Severity.String()), b.Rule)
					folded(w, head, told(b), width)
				}
				return nil
			})
			if !hf.quiet {
				fmt.Fprintf(e.err, "%s%s\n%s", filesRead(&res.Stats), parked(&res.Stats), ignored(&res.Stats)+parkedAt(&res.Stats))
				for _, l := range coverageLines(res.Coverage, 5) {
					fmt.Fprintln(e.err, l)
				}
			}
			if f := failures(res.Stats); f != "" {
				fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
			}
			if unwritten != nil {
				return hf.lost("the result", unwritten)
			}
			if runErr != nil {
				fmt.Fprintln(e.err, "interrupted: what is above covers only what was read until then; "+hf.hint())
				return exit(exitInterrupted, nil)
			}
			hf.finished(e)
			if !hf.quiet {
				nextSteps(e, res.Trail, a[1:])
			}
			if res.Trail.Events == 0 {
				remarkNobody(e, res.Trail)
				return exit(exitFindings, nil)
			}
			return nil
		}}
	rf.add(c)
	hf.add(c)
	addOutput(c, &out, "table, json")
	return c
}

// remarkNobody says what may be wrong with the question where no event is the answer.
func remarkNobody(e *env, t *replay.Trail) {
	if t.Events == 0 {
		fmt.Fprintf(e.err, "no event concerns %s; names are compared whole, without letter case; names of resources, sign-in names and networks (10.0.0.0/8) are understood\n", text.Terminal(t.Entity))
	}
}

// showTrail shows a trail, at most n words of each list. Every word can be
// asked about in turn.
func showTrail(w io.Writer, t *replay.Trail, n, width int) {
	fmt.Fprintf(w, "%s: %s, %d by it, %d refused or failed", text.Terminal(t.Entity), plural(int(t.Events), "event"), t.By, t.Attempts)
	if t.Events == 0 {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, ", from %s to %s\n", stamp(t.First), stamp(t.Last))
	fmt.Fprint(w, timeline(t.Histogram(t.First, t.Last, bars(t.First, t.Last)), t.First, t.Last, "events"))
	if h := t.Hours(); t.Last.Sub(t.First) >= 24*time.Hour {
		fmt.Fprintf(w, "  %s  by hour of the day\n  00          12        23Z\n", sparks(h[:]))
	}
	for _, l := range []struct {
		name string
		list []replay.Tally
	}{{"identities", t.Identities}, {"keys", t.Keys}, {"addresses", t.Addresses}, {"regions", t.Regions}, {"calls", t.Actions}, {"targets", t.Targets}} {
		for i, x := range l.list {
			if i == n {
				fmt.Fprintf(w, "  %-10s   and %d more\n", "", len(l.list)-n)
				break
			}
			name := l.name
			if i > 0 {
				name = ""
			}
			// The word is to be copied: where both do not fit, its times go.
			word, times := text.Cut(text.Terminal(x.Word), 80), "  "+when(x.First, x.Last)
			if width > 0 && 22+len([]rune(word))+len(times) > width {
				word, times = text.Cut(word, max(20, width-22)), ""
			}
			fmt.Fprintf(w, "  %-10s %7d  %s%s\n", name, x.Count, word, times)
		}
	}
	for i, m := range t.Made {
		if i == n {
			fmt.Fprintf(w, "  %-10s and %d more\n", "", len(t.Made)-n)
			break
		}
		name, what := "lineage", m.Target
		if i > 0 {
			name = ""
		}
		if m.Key != "" {
			what = strings.TrimSpace(what + " " + m.Key)
		}
		if m.Attempt {
			what += " (refused)"
		}
		what += ended(m.Ended)
		actor := m.Actor
		if m.WithKey != "" {
			actor += " with " + m.WithKey
		}
		folded(w, fmt.Sprintf("  %-10s ", name),
			fmt.Sprintf("%s  %s  %s → %s", stamp(m.Time), text.Terminal(actor), text.Terminal(strings.TrimSpace(m.Action+" "+m.Given)), text.Terminal(what)), width)
	}
	// What made it and what it made itself is above.
	for _, l := range []struct {
		name string
		kin  []replay.Kinship
	}{{"before", t.Origin}, {"after", t.Offspring}} {
		name := l.name
		for i := range l.kin {
			k := &l.kin[i]
			if k.Depth < 2 {
				continue
			}
			folded(w, fmt.Sprintf("  %-10s ", name), fmt.Sprintf("%s  %s made %s (%d steps away)", stamp(k.Time), maker(k), whatMade(k), k.Depth), width)
			name = ""
		}
	}
	name := "open"
	for i, o := range t.Open {
		if i == n {
			o = fmt.Sprintf("and %d more", len(t.Open)-n)
		}
		if fmt.Fprintf(w, "  %-10s %s\n", name, text.Cut(text.Terminal(o), 160)); i == n {
			break
		}
		name = ""
	}
	if t.Sessions > 0 {
		are := ": "
		if t.Sessions > len(t.LastSessions) {
			are = ", the latest "
		}
		names := mapped(t.LastSessions, func(s string) string { return strings.TrimPrefix(s, "key/") })
		folded(w, fmt.Sprintf("  %-10s ", "sessions"), plural(t.Sessions, "session")+" further away without offspring"+are+text.Terminal(strings.Join(names, ", ")), width)
	}
}

func ended(e *replay.End) string {
	if e == nil {
		return ""
	}
	return " (ended " + stamp(e.Time) + " by " + e.Actor + ")"
}

func maker(k *replay.Kinship) string {
	if k.WithKey != "" {
		return text.Terminal(k.Maker + " with " + k.WithKey)
	}
	return text.Terminal(k.Maker)
}

func whatMade(k *replay.Kinship) string {
	what := k.Child
	if k.Of != "" {
		what += " of " + k.Of
	}
	return text.Terminal(what + ended(k.Ended))
}

// folded writes a line that goes on below its beginning where the terminal is
// narrow; width 0 is no terminal.
func folded(w io.Writer, head, s string, width int) {
	if width == 0 || len([]rune(head))+len([]rune(s)) <= width {
		fmt.Fprintf(w, "%s%s\n", head, s)
		return
	}
	// The first line has what fits behind its head.
	indent := strings.Repeat(" ", min(24, len([]rune(head))))
	lines := wrapWords(s, width-len([]rune(head)))
	fmt.Fprintf(w, "%s%s\n", head, lines[0])
	for _, l := range wrapWords(strings.Join(lines[1:], " "), width-len(indent)) {
		if l != "" {
			fmt.Fprintf(w, "%s%s\n", indent, l)
		}
	}
}

// showSteps shows what was done, in order, with the alerts where they belong:
// at most n steps.
func showSteps(w io.Writer, t *replay.Trail, about []alert.Alert, n, width int) {
	if len(t.Steps) == 0 {
		return
	}
	steps := t.Telling(n, about)
	type row struct {
		at   time.Time
		text string
	}
	var rows []row
	for i := range steps {
		s := &steps[i]
		line := "  " + text.Terminal(s.Actor) + "  " + text.Terminal(strings.TrimSpace(s.Action+" "+s.Given))
		if s.Attempt {
			line += " (refused)"
		}
		if s.Count > 1 {
			line += fmt.Sprintf(" ×%d", s.Count)
		}
		if s.Target != "" && s.Target != s.Actor {
			line += " → " + text.Terminal(s.Target)
		}
		if s.Key != "" {
			line += "  with " + text.Terminal(s.Key)
		}
		if s.Address != "" {
			line += "  from " + text.Terminal(s.Address)
		}
		if s.Count > 1 && s.Last.Sub(s.First) >= time.Second {
			line += "  until " + stamp(s.Last)
		}
		rows = append(rows, row{s.First, line})
	}
	for i := range about {
		b := &about[i]
		// Where it is complete: what it begins with may be of somebody else.
		line := "! " + strings.ToUpper(b.Severity.String()) + "  " + b.Rule
		if !b.FirstAt.IsZero() && b.FirstAt.Before(b.Time) {
			line += "  since " + stamp(b.FirstAt)
		}
		rows = append(rows, row{b.Time, line})
	}
	lists.Sort(rows, func(a, b row) int { return a.at.Compare(b.at) })
	fmt.Fprintln(w, "\nin order, calls that differ in nothing but time as one:")
	for _, r := range rows {
		folded(w, "  "+stamp(r.at)+" ", r.text, width)
	}
	if more := len(t.Steps) - len(steps); more > 0 {
		fmt.Fprintf(w, "  and %s more that say less: -o json\n", plural(more, "kind"))
	}
	if t.StepsCut > 0 {
		fmt.Fprintf(w, "  %s of more kinds than are kept\n", plural(int(t.StepsCut), "event"))
	}
}

// nextSteps says whom to ask about next: who made the entity, what it made,
// and where it came from least often.
func nextSteps(e *env, t *replay.Trail, sources []string) {
	var next []string
	add := func(name string) {
		if i := strings.LastIndex(name, " on "); i >= 0 {
			name = name[i+len(" on "):] // whom it was given to
		}
		for _, of := range []string{"key/", "login/"} {
			name = strings.TrimPrefix(name, of)
		}
		if whose := strings.TrimPrefix(name, "mfa/"); strings.HasPrefix(whose, "user/") || strings.HasPrefix(whose, "root/") {
			name = whose
		}
		if name != "" && !t.Is(name) && !t.Is(name[strings.LastIndexByte(name, '/')+1:]) && name != "(others)" && !slices.Contains(next, name) && len(next) < 3 {
			next = append(next, name)
		}
	}
	if len(t.Origin) > 0 {
		add(t.Origin[0].Maker)
	}
	for i := range t.Offspring {
		add(t.Offspring[i].Child)
	}
	for _, l := range [][]replay.Tally{t.Addresses, t.Keys, t.Identities} {
		for i := len(l) - 1; i >= 0; i-- {
			add(l[i].Word)
		}
	}
	for i, name := range next {
		if i == 0 {
			fmt.Fprint(e.err, "\nask next:\n")
		}
		fmt.Fprintf(e.err, "  trailwarden entity show %s %s\n", quoted(name), text.Terminal(strings.Join(mapped(sources, quoted), " ")))
	}
}

// quoted is a word as a shell takes it.
func quoted(s string) string {
	s = text.Terminal(s)
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func mapped(in []string, f func(string) string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = f(s)
	}
	return out
}

func when(first, last time.Time) string {
	if last.Sub(first) < time.Second {
		return stamp(first)
	}
	return stamp(first) + " to " + stamp(last)
}
