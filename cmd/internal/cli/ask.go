package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/route"
)

// askCmd has the owner of an alert's identity asked in the chat.
func askCmd(e *env) *cobra.Command {
	var person string
	c := operation(e, "ask ALERT", "Ask the owner of the identity in the chat: was this you?", args(1, 1, "the id of an alert"), func(ctx context.Context, c *admin.Client, a []string) error {
		d, err := c.Alert(ctx, a[0])
		if err != nil {
			return err
		}
		q, err := c.Ask(ctx, d.Alert.ID, person)
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
		d, err := c.Alert(ctx, a[0])
		if err != nil {
			return err
		}
		qs := d.Questions
		if person != "" {
			qs = lists.Keep(qs, func(q *responders.Question) bool { return q.Person == person })
		}
		switch {
		case len(qs) == 0:
			return usagef("nobody was asked about this alert; ask with: trailwarden alerts ask %s", text.Terminal(a[0]))
		case len(qs) > 1:
			printQuestions(e, qs)
			return usagef("several people were asked: say whose answer it is with --person")
		}
		q, err := c.Answer(ctx, d.Alert.ID, qs[0].ID, yes)
		if err != nil {
			return err
		}
		printQuestions(e, []responders.Question{q})
		return nil
	})
	c.Flags().StringVar(&person, "person", "", "who said it, when several were asked")
	return c
}

// triageCmds adds what people make of an alert.
func triageCmds(e *env, root *cobra.Command) {
	for _, v := range []struct{ use, short, wants, do string }{
		{"ack ALERT", "Say that you look at an alert", "the id of an alert", responders.DoAcknowledge},
		{"assign ALERT PERSON", "Give an alert to a person", "the id of an alert, and a person", responders.DoAssign},
		{"close ALERT VERDICT", "Close an alert as true_positive, false_positive or benign", "the id of an alert, and true_positive, false_positive or benign", responders.DoClose},
		{"reopen ALERT", "Open an alert again", "the id of an alert", responders.DoReopen},
	} {
		var note string
		n := strings.Count(v.use, " ")
		c := operation(e, v.use, v.short, args(n, n, v.wants), func(ctx context.Context, c *admin.Client, a []string) error {
			a = append(a, "")
			t, err := c.Triage(ctx, a[0], responders.TriageRequest{Do: v.do, Owner: a[1], Verdict: responders.TriageVerdict(a[1]), Note: note})
			if err != nil {
				return err
			}
			fmt.Fprintln(e.out, stands(&t))
			return nil
		})
		c.Flags().StringVar(&note, "note", "", "what to remember of it")
		root.AddCommand(c)
	}
}

// stands says where an alert stands with people.
func stands(t *responders.Triage) string {
	line := string(t.State)
	if t.Verdict != "" {
		line += " as " + string(t.Verdict)
	}
	if t.Owner != "" {
		line += ", owner " + text.Terminal(t.Owner)
	}
	return line
}

// muteAlertCmd silences what a chat's Mute does: the alert's rule for its actor.
func muteAlertCmd(e *env) *cobra.Command {
	var lasts, comment string
	c := operation(e, "mute ALERT", "Silence the alert's rule for its actor; `mute add` takes any matchers", args(1, 1, "the id of an alert"), func(ctx context.Context, c *admin.Client, a []string) error {
		d, err := c.Alert(ctx, a[0])
		if err != nil {
			return err
		}
		return addMute(ctx, e, c, route.AlertMatchers(&d.Alert), lasts, cmp.Or(comment, "muted at incident "+d.Alert.ID))
	})
	muteFlags(c, &lasts, &comment, "why, for the record (default: the incident)")
	return c
}

func printQuestions(e *env, qs []responders.Question) {
	var rows []table.Row
	for _, q := range qs {
		rows = append(rows, table.Row{text.Cut(q.Person, 60), string(q.State), stamp(q.Since), stamp(q.Until), text.Cut(q.By, 40), text.Cut(q.Reason, 80)})
	}
	printTable(e, table.Row{"person", "state", "since", "until", "asked by", "reason"}, rows)
}
