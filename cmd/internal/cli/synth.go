package cli

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/cmd/internal/synth"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

func synthCmd(e *env) *cobra.Command {
	c := &cobra.Command{Use: "synth", Short: "Make a trail: ordinary life, or an attack with known alerts", Args: noArgs,
		Example: `  trailwarden synth life --identities 500 --days 30 > life.jsonl
  trailwarden synth attack --list
  trailwarden synth attack ransom | trailwarden replay -`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(synthLife(e), synthAttack(e))
	return c
}

func synthLife(e *env) *cobra.Command {
	l := synth.Life{}
	var start string
	c := &cobra.Command{Use: "life", Short: "Ordinary life of many identities, without an attack, as records on stdout", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if l.Identities < 1 || l.Identities > 1_000_000 {
				return usagef("--identities %d: want 1 to 1000000", l.Identities)
			}
			if l.Days < 1 || l.Days > 3660 {
				return usagef("--days %d: want 1 to 3660", l.Days)
			}
			var err error
			if l.Start, err = time.Parse(time.DateOnly, start); err != nil {
				return usagef("--start %q: want a day like 2026-01-05", start)
			}
			l.Stop = func() bool { return c.Context().Err() != nil }
			n, err := synth.Write(e.out, l.Records)
			if err = cmp.Or(c.Context().Err(), err); err != nil {
				return err
			}
			fmt.Fprintf(e.err, "%s of %d identities over %s\n", plural(n, "record"), l.Identities, plural(l.Days, "day"))
			return nil
		}}
	c.Flags().IntVar(&l.Identities, "identities", 100, "people, machines and roles")
	c.Flags().IntVar(&l.Days, "days", 7, "days")
	c.Flags().Uint64Var(&l.Seed, "seed", 1, "which life: the same seed gives the same bytes")
	c.Flags().StringVar(&l.Account, "account", synth.DefaultAccount, "account id")
	c.Flags().StringVar(&start, "start", "2026-01-05", "first day")
	return c
}

func synthAttack(e *env) *cobra.Command {
	var list bool
	c := &cobra.Command{Use: "attack NAME|FILE.yaml", Short: "A shipped attack, or a story file of your own, as records on stdout",
		RunE: func(_ *cobra.Command, a []string) error {
			shipped, err := synth.Attacks()
			if err != nil {
				return err
			}
			if list {
				var rows []table.Row
				for _, s := range shipped {
					rows = append(rows, table.Row{s.Name, text.Cut(s.Title, 60), text.Cut(strings.Join(slices.Sorted(maps.Keys(s.Expect)), " "), 90)})
				}
				printTable(e, table.Row{"attack", "what happens", "rules that must tell it"}, rows)
				fmt.Fprintf(e.err, "%d attacks; next: trailwarden synth attack %s | trailwarden replay -\n", len(shipped), shipped[0].Name)
				return nil
			}
			if len(a) != 1 {
				return usagef("synth attack wants one name or story file; see: trailwarden synth attack --list")
			}
			story, err := findStory(a[0], shipped)
			if err != nil {
				return err
			}
			recs, err := synth.Tell(story)
			if err != nil {
				return exit(exitUsage, err)
			}
			n, err := synth.Write(e.out, slices.Values(recs))
			if err != nil {
				return err
			}
			fmt.Fprintf(e.err, "%s: %s\n", text.Terminal(story.Title), plural(n, "record"))
			for _, rule := range slices.Sorted(maps.Keys(story.Expect)) {
				fmt.Fprintf(e.err, "  must raise %d × %s\n", story.Expect[rule], text.Terminal(rule))
			}
			for _, name := range slices.Sorted(maps.Keys(story.Lists)) {
				fmt.Fprintf(e.err, "  needs the list %s: [%s]\n", text.Terminal(name), text.Terminal(strings.Join(story.Lists[name], ", ")))
			}
			return nil
		}}
	c.Flags().BoolVar(&list, "list", false, "list the shipped attacks")
	return c
}

func findStory(name string, shipped []synth.Attack) (*rules.Story, error) {
	var names []string
	for i := range shipped {
		if shipped[i].Name == name {
			return &shipped[i].Story, nil
		}
		names = append(names, shipped[i].Name)
	}
	if !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		hint := rules.DidYouMean(name, names)
		return nil, usagef("there is no attack %q; %s", name, cmp.Or(hint, "see: trailwarden synth attack --list"))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	s, err := rules.ReadStory(name, data)
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("the story cannot be used: %w", err))
	}
	return s, nil
}
