package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// matcher says whether an event meets an expression.
type matcher func(*event.Event) bool

// newMatcher compiles an expression of the rules' language.
func newMatcher(expr string) (matcher, error) {
	if expr == "" {
		return func(*event.Event) bool { return true }, nil
	}
	text := map[string]string{"en": "-", "zh": "-"}
	doc, err := yaml.Dump(map[string]any{"id": "tap.match", "version": 1, "title": "tap", "description": "The expression given to tap.",
		"severity": "info", "attack": []string{"T1078"}, "runbook": text, "match": expr, "reason": "tap", "dedup": map[string]any{"by": []string{"event.account"}, "window": "1h"}})
	if err != nil {
		return nil, err
	}
	set, err := rules.Load(rules.LoadOptions{Files: map[string][]byte{"tap.match.yaml": doc}, AllowFewTests: true})
	if err != nil {
		var all rules.Errors
		if errors.As(err, &all) && len(all) > 0 {
			msg := strings.TrimPrefix(all[0].Message, "match: ")
			if all[0].Hint != "" {
				msg += "; " + all[0].Hint
			}
			return nil, usagef("--match: %s\nsee: trailwarden rules fields", msg)
		}
		return nil, usagef("--match: %w", err)
	}
	ev := set.NewEvaluator()
	return func(e *event.Event) bool {
		v := ev.Evaluate(e)
		return v.Matches() > 0
	}, nil
}

func tapCmd(e *env) *cobra.Command {
	var last int
	var limit int
	var nofollow bool
	var match, out string
	errEnough := errors.New("enough")
	c := operation(e, "tap", "Show events as they are stored, one on each line", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(out, "table", "jsonl"); err != nil {
			return err
		}
		if last < 0 || last > 10_000 {
			return usagef("--last %d: want 0 to 10000", last)
		}
		is, err := newMatcher(match)
		if err != nil {
			return err
		}
		shown := 0
		show := func(ev *event.Event, raw string) error {
			if out == "jsonl" {
				fmt.Fprintln(e.out, raw)
			} else {
				fmt.Fprintln(e.out, tapLine(ev))
			}
			if shown++; limit > 0 && shown >= limit {
				return errEnough
			}
			return nil
		}
		type kept struct {
			ev  *event.Event
			raw string
		}
		var ring []kept // of what was stored before, when only the newest are wanted
		each := func(t admin.Tapped) error {
			var failed error
			bad := event.Unwrap([]byte(t.Record), func(one []byte) bool {
				ev, err := event.Parse(one)
				if err != nil || !is(ev) {
					return true
				}
				raw := ""
				if out == "jsonl" {
					raw = oneJSONLine(one)
				}
				if nofollow && last > 0 {
					if ring = append(ring, kept{ev, raw}); len(ring) > last {
						ring = ring[1:]
					}
					return true
				}
				failed = show(ev, raw)
				return failed == nil
			})
			_ = bad // such records are parked, and counted there
			return failed
		}
		// Frames hold up to 256 records, and ticks none.
		frames := 1
		if last > 0 {
			frames = min(last*4+200, 10_000)
		}
		err = c.Tap(ctx, frames, !nofollow, each)
		if nofollow && err == nil && len(ring) < last && frames < 10_000 {
			// A quiet store holds more ticks than events.
			ring = nil
			err = c.Tap(ctx, 10_000, false, each)
		}
		for _, k := range ring {
			if err == nil {
				err = show(k.ev, k.raw)
			}
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err == nil && shown == 0 && nofollow {
			fmt.Fprintln(e.err, "no such event is stored now: the store keeps events only until they are in a snapshot")
		}
		return err
	})
	c.Long = `tap shows events while they are stored, before anything is decided about them. It reads
beside the pipeline and changes nothing.

  trailwarden tap --match 'event.service == "Ram" && outcome == "attempt"'
  trailwarden tap --last 100 --no-follow -o jsonl`
	f := c.Flags()
	f.StringVar(&match, "match", "", "only events that meet this expression of the rules' language (see: trailwarden rules fields)")
	f.IntVar(&last, "last", 0, "begin with about so many events that are stored already")
	f.BoolVar(&nofollow, "no-follow", false, "end with the newest event instead of waiting for more")
	f.IntVar(&limit, "limit", 0, "end after so many events")
	f.StringVarP(&out, "output", "o", "table", "output: table, jsonl")
	return c
}

// oneJSONLine is a record as one line that is safe to show and says the same.
func oneJSONLine(record []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, record) != nil {
		return text.Line(string(record))
	}
	return string(alert.EscapeJSON(b.Bytes()))
}

func tapLine(ev *event.Event) string {
	who := ev.Actor.Name
	if who == "" {
		who = ev.Actor.ID
	}
	what := ev.Name
	if ev.Target.Name != "" && ev.Target.Name != who {
		what += " " + ev.Target.Name
	}
	outcome := "success"
	if ev.Outcome == event.Attempt {
		outcome = "attempt"
		if ev.ErrorCode != "" {
			outcome += " (" + text.Cut(ev.ErrorCode, 30) + ")"
		}
	}
	field := func(v string, n int) string { return text.Terminal(text.Cut(v, n)) }
	return fmt.Sprintf("%s  %s  %-20s  %-10s  %-44s  from %-15s  %s", stamp(ev.Time), field(ev.Recipient, 20), field(who, 20), field(ev.Service, 10), field(what, 60), field(ev.Address.Text, 40), field(outcome, 50))
}
