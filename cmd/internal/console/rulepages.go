package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// RuleFacts is one rule with what it did.
type RuleFacts struct {
	Rule
	Count index.RuleCount `json:"count"`
	Noise RuleNoise       `json:"noise"`
}

// RuleNoise is how loud a rule is: in the last seven days, or in shadow for as
// long as that was measured.
type RuleNoise struct {
	Days   float64 `json:"days"`
	PerDay float64 `json:"alerts_per_day"`
	Over   bool    `json:"over_budget"`
}

// noiseDays is what the noise of a rule that is on is measured over.
const noiseDays = 7

func noiseOf(r Rule, c index.RuleCount) RuleNoise {
	n := RuleNoise{Days: noiseDays, PerDay: float64(c.Week) / noiseDays}
	if r.Shadow != nil {
		n = RuleNoise{Days: r.Shadow.Span(), PerDay: r.Shadow.PerDay()}
	}
	n.Over = !r.Signal && n.PerDay > r.Budget
	return n
}

// RulesFacts is the screen Rules as JSON.
type RulesFacts struct {
	Rules []RuleFacts `json:"rules"` // by id
	// Silent are rules that are on and raised no alert in 90 days, as far as
	// alerts are held.
	Silent []string `json:"silent"`
	Events int      `json:"events"` // newest events that a condition can be tried on
	// Partitions of all there are, Of, in which this process has counted what
	// rules in shadow would have made, what exceptions withheld, errors and time.
	// The others are counted in the processes that evaluate them.
	Partitions int `json:"partitions"`
	Of         int `json:"of"`
}

type rulesView struct {
	page
	RulesFacts
	Lines  []ruleLine
	On     int
	Trial  *Trial
	Cond   string
	Filter string
	Partly string // where counts come from, when not from everywhere
	Sort   string // "" by id, "time" the dearest first
}

type ruleLine struct {
	RuleFacts
	Spark []sparkBar
	Rate  string // share of true positives among the judged
	Loud  string // alerts a day against the budget
	Took  string // what it takes, in words
	Share string // of the time of all rules
}

type sparkBar struct {
	X    int
	Y, H string
	Tip  string
}

// Trial is what a condition matched among the newest events.
type Trial struct {
	Condition string        `json:"condition"`
	Events    int           `json:"events"`
	Matches   []index.Event `json:"matches"`
	Error     string        `json:"error,omitempty"`
}

// partly says where counts come from that this process makes only of its own
// partitions; "" when these are all.
func (l lang) partly(f RulesFacts) string {
	switch {
	case f.Partitions >= f.Of:
		return ""
	case f.Partitions == 0:
		return l.t("This process evaluates nothing: what rules in shadow would raise, what exceptions withhold, errors and time are counted in the processes that do, and not shown here.")
	}
	return l.t("What rules in shadow would raise, what exceptions withhold, errors and time are counted here for %d of %d partitions; other processes have the rest.", f.Partitions, f.Of)
}

// trialEvents is how many of the newest events a condition is tried on.
const trialEvents = 100

func (q *ask) ruleFacts() RulesFacts {
	counts := q.s.o.Index.Rules(q.now)
	f := RulesFacts{Rules: []RuleFacts{}, Silent: []string{}}
	for _, r := range q.s.o.Backend.Rules(q.r.Context()) {
		c := counts[r.ID]
		f.Rules = append(f.Rules, RuleFacts{r, c, noiseOf(r, c)})
		if r.Status == "on" && !r.Signal && c.Quarter == 0 {
			f.Silent = append(f.Silent, r.ID)
		}
	}
	held, _, _, _ := q.s.o.Index.EventsHeld()
	f.Events = min(held, trialEvents)
	f.Partitions, f.Of = q.s.o.Backend.Measured(q.r.Context())
	return f
}

func (l lang) ruleLine(f RuleFacts, now time.Time) ruleLine {
	out := ruleLine{RuleFacts: f, Rate: text.Dash}
	if l == chinese && f.TitleZH != "" {
		out.Title = f.TitleZH
	}
	if judged := f.Count.True + f.Count.False + f.Count.Harmless; judged > 0 {
		out.Rate = fmt.Sprintf("%d%% (%d/%d)", f.Count.True*100/judged, f.Count.True, judged)
	}
	perDay, budget := strconv.FormatFloat(f.Noise.PerDay, 'f', 2, 64), strconv.FormatFloat(f.Budget, 'g', -1, 64)
	if f.Shadow != nil {
		out.Loud = l.t("in shadow %s alerts a day in %s days; worth at most %s a day", perDay, strconv.FormatFloat(f.Noise.Days, 'f', 1, 64), budget)
	} else {
		out.Loud = l.t("%s alerts a day in 7 days; worth at most %s a day", perDay, budget)
	}
	out.Share = text.Dash
	if f.Time != nil {
		out.Share = fmt.Sprintf("%.0f%%", 100*f.Time.Share)
		out.Took = l.took(*f.Time)
	}
	most := 1
	for _, n := range f.Count.Days {
		most = max(most, n)
	}
	for i, n := range f.Count.Days {
		if n > 0 {
			h := max(float64(n)/float64(most)*20, 2)
			out.Spark = append(out.Spark, sparkBar{X: i * 4, Y: fmt.Sprintf("%.1f", 20-h), H: fmt.Sprintf("%.1f", h),
				Tip: l.t("%s to %s: %s alerts", now.Add(-time.Duration(index.RuleDays-i)*24*time.Hour).Format("01-02 15:04Z"), now.Add(-time.Duration(index.RuleDays-1-i)*24*time.Hour).Format("01-02 15:04Z"), num(n))})
		}
	}
	return out
}

// took says what a rule takes for one event.
func (l lang) took(r admin.RuleTime) string {
	micros := func(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e3, 'f', 2, 64) }
	share := fmt.Sprintf("%.1f%%", 100*r.Share)
	worst := micros(time.Duration(1e9 * max(r.Match.Worst, r.Order.Worst)))
	switch {
	case r.Order.Times == 0:
		return l.t("%s µs an event, at worst %s; %s of the time of all rules", micros(r.Match.Mean()), worst, share)
	case r.Match.Times == 0:
		return l.t("%s µs an event in event-time order, at worst %s; %s of the time of all rules", micros(r.Order.Mean()), worst, share)
	}
	return l.t("%s µs an event, and %s in event-time order, at worst %s; %s of the time of all rules", micros(r.Match.Mean()), micros(r.Order.Mean()), worst, share)
}

func (q *ask) rulesView(trial *Trial) (rulesView, RulesFacts) {
	f := q.ruleFacts()
	p := q.page(q.lang.t("Rules"))
	p.Nav = "rules"
	v := rulesView{page: p, RulesFacts: f, Trial: trial, Filter: q.r.URL.Query().Get("q"), Partly: q.lang.partly(f)}
	if trial != nil {
		v.Cond = trial.Condition
		v.Self = "/rules"
	}
	for _, r := range f.Rules {
		if r.Status == "on" {
			v.On++
		}
		if v.Filter != "" && !strings.Contains(strings.ToLower(r.ID+" "+r.Title+" "+r.TitleZH), strings.ToLower(v.Filter)) {
			continue
		}
		v.Lines = append(v.Lines, q.lang.ruleLine(r, q.now))
	}
	if v.Sort = q.r.URL.Query().Get("sort"); v.Sort == "time" {
		lists.Sort(v.Lines, func(a, b ruleLine) int {
			share := func(l ruleLine) float64 {
				if l.Time == nil {
					return -1
				}
				return l.Time.Share
			}
			return cmp.Or(cmp.Compare(share(b), share(a)), cmp.Compare(a.ID, b.ID))
		})
	}
	return v, f
}

func (q *ask) rulesPage() error {
	v, f := q.rulesView(nil)
	return q.reply("rules", v, f)
}

// try evaluates a condition on the newest events. It changes nothing; it is a
// request with a body because conditions are long and may hold names.
func (q *ask) try() error {
	b, err := q.body()
	if err != nil {
		return err
	}
	t := Trial{Condition: b["condition"], Matches: []index.Event{}}
	if len(t.Condition) > 8<<10 {
		return fmt.Errorf("%w: the condition is longer than 8 KiB", errBadRequest)
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), 10*time.Second)
	defer cancel()
	var events []index.Event
	var records [][]byte
	for _, ev := range q.s.o.Index.Newest(trialEvents) {
		raw, err := q.s.o.Backend.Record(ctx, ev.Pos)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		events, records = append(events, ev), append(records, raw)
	}
	t.Events = len(events)
	hits, err := q.s.o.Backend.Try(ctx, t.Condition, records)
	if err != nil {
		t.Error = text.Block(err.Error())
	}
	for _, i := range hits {
		t.Matches = append(t.Matches, events[i])
	}
	v, _ := q.rulesView(&t)
	return q.reply("rules", v, t)
}

type ruleView struct {
	page
	Line   ruleLine
	Partly string
	Alerts []row
	Total  int
}

func (q *ask) rulePage() error {
	id := q.r.PathValue("id")
	all := q.ruleFacts()
	for _, f := range all.Rules {
		if f.ID != id {
			continue
		}
		l := q.s.o.Index.List(index.Query{Rule: id, Limit: 50})
		p := q.page(id)
		p.Nav = "rules"
		v := ruleView{page: p, Line: q.lang.ruleLine(f, q.now), Partly: q.lang.partly(all), Total: l.Total}
		v.Alerts = q.rows(l.Alerts, &v.page)
		return q.reply("rule", v, f)
	}
	return fmt.Errorf("rule %q: %w", text.Cut(text.Line(id), 100), admin.ErrNotFound)
}
