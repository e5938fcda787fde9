package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/pipeline/alert"
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
role, AccessKey, address, account, request or event: when it was active, with which
keys and from which addresses, what it called, what made it and what it made, and
the alerts about it. SOURCE is what replay reads.`,
		Example: "  trailwarden entity show LTAI5tEXAMPLEkey0001 archive/",
		Args:    args(2, -1, "an entity, and at least one file or folder (or - for standard input)"),
		RunE: func(c *cobra.Command, a []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			if strings.TrimSpace(a[0]) == "" {
				return usagef("the entity is empty")
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
			if out == "json" {
				err = printJSON(e.out, struct {
					*replay.Trail
					Alerts []alert.Alert `json:"alerts"`
				}{res.Trail, about})
			} else {
				showTrail(e.out, res.Trail, 20)
				fmt.Fprintf(e.out, "\nalerts: %d\n", len(about))
				for i := range about {
					b := &about[i]
					fmt.Fprintf(e.out, "  %s  %-8s  %s: %s\n", stamp(b.Time), strings.ToUpper(b.Severity.String()), b.Rule, text.Terminal(b.Reason))
				}
			}
			if err != nil {
				return err
			}
			if !hf.quiet {
				fmt.Fprintf(e.err, "%s%s\n%s", filesRead(&res.Stats), parked(&res.Stats), ignored(&res.Stats))
				for _, l := range coverageLines(res.Coverage, 5) {
					fmt.Fprintln(e.err, l)
				}
			}
			if f := failures(res.Stats); f != "" {
				fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
			}
			if runErr != nil {
				fmt.Fprintln(e.err, "interrupted: what is above covers only what was read until then; "+hf.hint())
				return exit(exitInterrupted, nil)
			}
			hf.finished(e)
			if res.Trail.Events == 0 {
				fmt.Fprintf(e.err, "no event concerns %s; names are compared whole, without letter case\n", text.Terminal(a[0]))
				return exit(exitFindings, nil)
			}
			return nil
		}}
	rf.add(c)
	hf.add(c)
	addOutput(c, &out, "table, json")
	return c
}

// showTrail shows a trail, at most n words of each list. Every word can be
// asked about in turn.
func showTrail(w io.Writer, t *replay.Trail, n int) {
	fmt.Fprintf(w, "%s: %d events, %d by it, %d refused or failed", text.Terminal(t.Entity), t.Events, t.By, t.Attempts)
	if t.Events == 0 {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, ", from %s to %s\n", stamp(t.First), stamp(t.Last))
	fmt.Fprint(w, timeline(t.Histogram(t.First, t.Last, bars(t.First, t.Last)), t.First, t.Last, "events"))
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
			fmt.Fprintf(w, "  %-10s %7d  %s  %s\n", name, x.Count, text.Terminal(text.Cut(x.Word, 80)), when(x.First, x.Last))
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
		actor := m.Actor
		if m.WithKey != "" {
			actor += " with " + m.WithKey
		}
		fmt.Fprintf(w, "  %-10s %s  %s  %s → %s\n", name, stamp(m.Time), text.Terminal(actor), text.Terminal(m.Action), text.Terminal(what))
	}
}

func when(first, last time.Time) string {
	if last.Sub(first) < time.Second {
		return stamp(first)
	}
	return stamp(first) + " to " + stamp(last)
}
