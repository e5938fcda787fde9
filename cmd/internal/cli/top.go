package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

func topCmd(e *env) *cobra.Command {
	var once bool
	every := 2 * time.Second
	c := operation(e, "top", "Watch the running program: rates, lag, newest alerts", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if every < 200*time.Millisecond {
			return usagef("--every %s: want at least 200ms", every)
		}
		screen := e.terminal(e.out) && !once
		var before *admin.Status
		var at time.Time
		for {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			now := time.Now()
			as, aerr := c.Alerts(ctx, 10) // a process without the role respond has none
			if aerr != nil {
				as = nil
			}
			since, from := now.Sub(s.Started), admin.Status{}
			if before != nil {
				since, from = now.Sub(at), *before
			}
			var b bytes.Buffer
			printTop(&b, s, from, since, as)
			if screen {
				fmt.Fprint(e.out, "\x1b[H\x1b[2J")
			}
			if _, err := io.Copy(e.out, &b); err != nil {
				return err
			}
			if once || !screen {
				return nil
			}
			before, at = &s, now
			if pause.For(ctx, every) != nil {
				return nil
			}
		}
	})
	c.Flags().BoolVar(&once, "once", false, "print once and end, as where the output is no terminal")
	c.Flags().DurationVar(&every, "every", every, "time between two looks")
	return c
}

// printTop writes one screen; rates are over since.
func printTop(w io.Writer, s, before admin.Status, since time.Duration, as []alert.Alert) {
	sum := func(s admin.Status) (evaluated, dup, late, lag uint64) {
		for _, p := range s.Partitions {
			evaluated, dup, late, lag = evaluated+p.Evaluated, dup+p.Duplicates, late+p.Late, lag+p.Lag
		}
		return
	}
	ev, dup, late, lag := sum(s)
	was, _, _, _ := sum(before)
	rate := 0.0
	if since > 0 && ev >= was {
		rate = float64(ev-was) / since.Seconds()
	}
	word := "ready"
	if !s.Ready {
		word = "NOT READY"
	}
	fmt.Fprintf(w, "trailwarden %s  %s  up since %s\n", s.Version, word, stamp(s.Started))
	fmt.Fprintf(w, "%.1f events/s  %d evaluated  %d repeats  %d late  %d frames to go  store %.0f %%\n", rate, ev, dup, late, lag, 100*s.Store.Fraction)
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  ! %s\n", text.Terminal(p))
	}
	fmt.Fprintln(w)
	var rows []table.Row
	for _, x := range s.Sources {
		rows = append(rows, table.Row{text.Terminal(x.Name), x.Records, fmt.Sprintf("%.0fs", x.BehindSeconds), stamp(x.LastPull)})
	}
	_ = table.Write(w, table.Row{"source", "records", "behind", "last pull"}, rows)
	if len(s.Destinations) > 0 {
		fmt.Fprintln(w)
		rows = nil
		for _, d := range s.Destinations {
			rows = append(rows, table.Row{text.Terminal(d.Name), d.Sent, d.Waiting, d.Dead})
		}
		_ = table.Write(w, table.Row{"destination", "sent", "waiting", "dead"}, rows)
	}
	fmt.Fprintln(w)
	printSlowest(w, s.Slowest)
	fmt.Fprintln(w, "newest alerts")
	if len(as) == 0 {
		fmt.Fprintln(w, "  none")
	}
	for _, a := range as {
		fmt.Fprintf(w, "  %s  %-8s %-28s %s\n", stamp(a.LastAt), a.Severity, text.Terminal(a.Rule), text.Cut(told(&a), 90))
	}
}
