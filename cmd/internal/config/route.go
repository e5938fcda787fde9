package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/route"
)

// Route is one node of the routing tree, in Alertmanager's words.
type Route struct {
	Receiver            string               `yaml:"receiver" doc:"name of a destination; inherited when absent"`
	Matchers            []string             `yaml:"matchers" doc:"such as severity=~\"high|critical\", or several in one {severity=\"high\",rule=~\"ak.*\"}; all must hold"`
	Continue            bool                 `yaml:"continue" doc:"look at the next siblings too"`
	GroupBy             []string             `yaml:"group_by" doc:"labels whose equal values put incidents into one message; absent or [...] is each incident by itself, at once"`
	GroupWait           *responders.Duration `yaml:"group_wait" doc:"how long the first of a group waits for others (default 30s)"`
	GroupInterval       *responders.Duration `yaml:"group_interval" doc:"least time between two changes of a group's message (default 5m)"`
	RepeatInterval      *responders.Duration `yaml:"repeat_interval" doc:"an incident that fires and that nobody acknowledged is told again after this (default 4h)"`
	MuteTimeIntervals   []string             `yaml:"mute_time_intervals" doc:"names of time_intervals during which nothing is sent; of this node alone, not of its children"`
	ActiveTimeIntervals []string             `yaml:"active_time_intervals" doc:"names of time_intervals outside of which nothing is sent; of this node alone"`
	Routes              []Route              `yaml:"routes" doc:"children, as route itself; the first that matches takes an alert"`
}

// InhibitRule mutes some alerts while others fire.
type InhibitRule struct {
	Source []string `yaml:"source_matchers" doc:"what mutes while it fires"`
	Target []string `yaml:"target_matchers" doc:"what is muted meanwhile"`
	Equal  []string `yaml:"equal" doc:"labels that must have the same value on both"`
}

// TimeIntervals is a named list of recurring times.
type TimeIntervals struct {
	Name  string     `yaml:"name" doc:"what routes call it"`
	Times []Interval `yaml:"time_intervals"`
}

// Interval is one recurring time.
type Interval struct {
	Times    []Times  `yaml:"times"`
	Weekdays []string `yaml:"weekdays" doc:"such as monday:friday"`
	Days     []string `yaml:"days_of_month" doc:"such as 1:5 or -1"`
	Months   []string `yaml:"months" doc:"such as january:march or 12"`
	Years    []string `yaml:"years" doc:"such as 2026 or 2026:2028"`
	Location string   `yaml:"location" doc:"time zone, default UTC"`
}

// Times is a part of a day.
type Times struct {
	Start string `yaml:"start_time" doc:"such as 09:00"`
	End   string `yaml:"end_time" doc:"such as 17:30; 24:00 is the end of the day"`
}

// Tree compiles the routing of a configuration; nil when there is none: every
// destination then hears of everything that its own filter lets through.
func (n *Notify) Tree() (*route.Tree, error) {
	if n.Route == nil {
		if len(n.InhibitRules) > 0 {
			return nil, &route.Fault{At: "inhibit_rules", Message: "belong to a route: write one, such as route: {receiver: soc}"}
		}
		return nil, nil
	}
	c := route.Config{Route: n.Route.node(), Intervals: map[string][]route.Interval{}, ResolveTimeout: n.ResolveTimeout.Std()}
	for _, r := range n.InhibitRules {
		c.Inhibit = append(c.Inhibit, route.Inhibit{Source: r.Source, Target: r.Target, Equal: r.Equal})
	}
	var errs []error
	for i, t := range n.TimeIntervals {
		at := fmt.Sprintf("time_intervals[%d]", i)
		switch {
		case t.Name == "":
			errs = append(errs, &route.Fault{At: at + ".name", Message: "needs a name"})
		case c.Intervals[t.Name] != nil:
			errs = append(errs, &route.Fault{At: at + ".name", Message: fmt.Sprintf("the name %q is taken", t.Name)})
		}
		c.Intervals[t.Name] = []route.Interval{}
		for k, x := range t.Times {
			v, err := x.interval()
			if err != nil {
				errs = append(errs, &route.Fault{At: fmt.Sprintf("%s.time_intervals[%d]", at, k), Message: err.Error()})
			}
			c.Intervals[t.Name] = append(c.Intervals[t.Name], v)
		}
	}
	var names []string
	for _, d := range n.Destinations() {
		names = append(names, d.Spec.Base().Name)
	}
	t, err := route.New(c, names)
	return t, errors.Join(append(errs, err)...)
}

func (r *Route) node() route.Node {
	std := func(d *responders.Duration) *time.Duration {
		if d == nil {
			return nil
		}
		v := d.Std()
		return &v
	}
	n := route.Node{
		Receiver: r.Receiver, Matchers: r.Matchers, Continue: r.Continue, GroupBy: r.GroupBy, GroupWait: std(r.GroupWait), GroupInterval: std(r.GroupInterval),
		RepeatInterval: std(r.RepeatInterval), MuteTimeIntervals: r.MuteTimeIntervals, ActiveTimeIntervals: r.ActiveTimeIntervals,
	}
	for i := range r.Routes {
		n.Routes = append(n.Routes, r.Routes[i].node())
	}
	return n
}

func (i Interval) interval() (route.Interval, error) {
	var out route.Interval
	var errs []error
	for _, t := range i.Times {
		c, err := route.ParseClock(t.Start, t.End)
		errs = append(errs, err)
		out.Times = append(out.Times, c)
	}
	for _, x := range []struct {
		from  []string
		to    *[]route.Range
		parse func(string) (route.Range, error)
	}{{i.Weekdays, &out.Weekdays, route.ParseWeekdays}, {i.Days, &out.Days, route.ParseDays}, {i.Months, &out.Months, route.ParseMonths}, {i.Years, &out.Years, route.ParseYears}} {
		for _, s := range x.from {
			r, err := x.parse(s)
			errs = append(errs, err)
			*x.to = append(*x.to, r)
		}
	}
	if i.Location != "" {
		loc, err := time.LoadLocation(i.Location)
		if err != nil {
			errs = append(errs, fmt.Errorf("location %q: want a name such as Asia/Shanghai", i.Location))
		}
		out.Location = loc
	}
	return out, errors.Join(errs...)
}

// routing reports what is wrong with the routing, each at its place.
func (p *parser) routing(n *Notify) {
	_, err := n.Tree()
	var walk func(error)
	walk = func(err error) {
		var f *route.Fault
		switch many, ok := err.(interface{ Unwrap() []error }); {
		case ok:
			for _, e := range many.Unwrap() {
				walk(e)
			}
		case errors.As(err, &f):
			p.bad("notify."+f.At, "%s", f.Message)
		}
	}
	if err != nil {
		walk(err)
	}
}
