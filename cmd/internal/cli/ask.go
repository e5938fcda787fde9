package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// askCmd has the owner of an alert's identity asked in the chat.
func askCmd(e *env) *cobra.Command {
	var person string
	c := operation(e, "ask ALERT", "Ask the owner of the identity in the chat: was this you?", args(1, 1, "the id of an alert"), func(ctx context.Context, c *admin.Client, a []string) error {
		q, err := c.Ask(ctx, a[0], person)
		if err != nil {
			return err
		}
		printQuestions(e, []responders.Question{q})
		return nil
	})
	c.Flags().StringVar(&person, "person", "", "who is asked, such as slack:U0123456789 (default: as respond.ask.owners says)")
	return c
}

// answerCmd writes down what a person said who was asked, on the telephone or
// in the corridor.
func answerCmd(e *env) *cobra.Command {
	var person string
	c := operation(e, "answer ALERT yes|no", "Write down what a person said who was asked", args(2, 2, "the id of an alert, and yes or no"), func(ctx context.Context, c *admin.Client, a []string) error {
		yes := a[1] == "yes"
		if !yes && a[1] != "no" {
			return usagef("answer %q: want yes or no", a[1])
		}
		qs, err := c.Questions(ctx, a[0])
		if err != nil {
			return err
		}
		if person != "" {
			qs = slices.DeleteFunc(qs, func(q responders.Question) bool { return q.Person != person })
		}
		switch {
		case len(qs) == 0:
			return usagef("nobody was asked about this alert; ask with: trailwarden alerts ask %s", text.Terminal(a[0]))
		case len(qs) > 1:
			printQuestions(e, qs)
			return usagef("several people were asked: say whose answer it is with --person")
		}
		q, err := c.Answer(ctx, a[0], qs[0].ID, yes)
		if err != nil {
			return err
		}
		printQuestions(e, []responders.Question{q})
		return nil
	})
	c.Flags().StringVar(&person, "person", "", "who said it, when several were asked")
	return c
}

func printQuestions(e *env, qs []responders.Question) {
	var rows []table.Row
	for _, q := range qs {
		rows = append(rows, table.Row{text.Cut(q.Person, 60), string(q.State), stamp(q.Since), stamp(q.Until), text.Cut(q.By, 40), text.Cut(q.Reason, 80)})
	}
	printTable(e, table.Row{"person", "state", "since", "until", "asked by", "reason"}, rows)
}
