// Package route decides which destination hears of which alert, when, and in
// whose company, with Alertmanager's words and, where they make sense for
// incidents, its defaults. It is a pure function of an alert, the
// configuration and a time that is passed in.
//
// The tree: an alert enters at the top and goes down into the first child
// whose matchers all match (into further ones too where continue is set); the
// deepest node decides, and children inherit what they do not say.
//
// What differs from Alertmanager, because an incident is not a metric: without
// group_by every incident is a message of its own, sent at once; there is
// no "resolved", so that an incident counts as firing for resolve_timeout
// after its last event, or until people close it; and a receiver that several
// nodes choose hears of it once, as the first of them says.
package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Defaults, Alertmanager's own except for the last.
const (
	DefaultGroupWait      = 30 * time.Second
	DefaultGroupInterval  = 5 * time.Minute
	DefaultRepeatInterval = 4 * time.Hour
	DefaultResolveTimeout = time.Hour
)

// Node is one node of the tree, as configured; absent values are inherited, but for
// matchers, continue and the time intervals, which are of the node alone.
type Node struct {
	Receiver            string
	Matchers            []string
	Continue            bool
	GroupBy             []string
	GroupWait           *time.Duration
	GroupInterval       *time.Duration
	RepeatInterval      *time.Duration
	MuteTimeIntervals   []string
	ActiveTimeIntervals []string
	Routes              []Node
}

// Inhibit mutes what matches Target while something that matches Source fires
// with the same values of Equal.
type Inhibit struct {
	Source, Target, Equal []string
}

// Config is all of it.
type Config struct {
	Route          Node
	Inhibit        []Inhibit
	Intervals      map[string][]Interval
	ResolveTimeout time.Duration
}

// Labels are what matchers and group_by look at.
type Labels map[string]string

// LabelNames lists every label that an alert has.
func LabelNames() []string {
	return []string{"account", "account_id", "actor", "actor_type", "country", "key", "lineage", "outcome", "owner", "production", "region", "rule", "severity", "source_ip", "target", "target_type", "team"}
}

// LabelsOf makes the labels of an alert; account is the name that people use.
func LabelsOf(a *alert.Alert, account string) Labels {
	l := Labels{
		"rule": a.Rule, "severity": a.Severity.String(), "outcome": a.Outcome, "account_id": a.AccountID, "account": account,
		"actor": a.Actor.Name, "actor_type": a.Actor.Type, "source_ip": a.SourceIP, "key": a.Actor.AccessKeyID,
	}
	if a.Target != nil {
		l["target"], l["target_type"] = a.Target.Name, a.Target.Type
		if a.Target.Name == "" {
			l["target"] = a.Target.ID
		}
	}
	for _, k := range []string{"region", "country"} {
		if s, ok := a.Details[k].(string); ok {
			l[k] = s
		}
	}
	// What one intruder does as several identities has one root; an alert that
	// does not tell it has its actor, which is the same where nothing was made.
	l["lineage"] = a.Actor.ID
	if m, ok := a.Details["lineage"].(map[string]any); ok {
		if s, ok := m["root"].(string); ok && s != "" {
			l["lineage"] = s
		}
	}
	// Who answers: for the target, since that is what has to be looked after, else
	// for the actor. Production is yes when either is.
	owners, _ := a.Details["owners"].(map[string]any)
	for _, who := range []string{"actor", "target"} {
		m, _ := owners[who].(map[string]any)
		for _, k := range []string{"owner", "team"} {
			if s, ok := m[k].(string); ok && s != "" {
				l[k] = s
			}
		}
		if p, ok := m["production"].(bool); ok && l["production"] != "yes" {
			l["production"] = map[bool]string{true: "yes", false: "no"}[p]
		}
	}
	return l
}

// Matcher is one condition on a label.
type Matcher struct {
	Label, Op, Value string
	re               *regexp.Regexp
}

var matcherForm = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$`)

// ParseMatcher reads "severity=high", `rule=~"ak\..*"`, "account != prod".
// Regular expressions match the whole value.
func ParseMatcher(s string) (Matcher, error) {
	f := matcherForm.FindStringSubmatch(s)
	if f == nil {
		return Matcher{}, fmt.Errorf("matcher %q: want label=value, label!=value, label=~regexp or label!~regexp", s)
	}
	m := Matcher{Label: f[1], Op: f[2], Value: f[3]}
	if !slices.Contains(LabelNames(), m.Label) {
		return Matcher{}, fmt.Errorf("matcher %q: there is no label %q; there are %s", s, m.Label, strings.Join(LabelNames(), ", "))
	}
	var err error
	if m.Value, err = unquote(m.Value); err != nil {
		return Matcher{}, fmt.Errorf("matcher %q: %w", s, err)
	}
	if m.Label == "severity" && (m.Op == "=" || m.Op == "!=") {
		if _, err := alert.ParseSeverity(m.Value); err != nil {
			return Matcher{}, fmt.Errorf("matcher %q: %w", s, err)
		}
	}
	if strings.HasSuffix(m.Op, "~") {
		re, err := regexp.Compile("^(?:" + m.Value + ")$")
		if err != nil {
			return Matcher{}, fmt.Errorf("matcher %q: %w", s, err)
		}
		m.re = re
	}
	return m, nil
}

// Matches says whether l fulfils m; an absent label is empty.
func (m Matcher) Matches(l Labels) bool {
	v := l[m.Label]
	switch m.Op {
	case "=":
		return v == m.Value
	case "!=":
		return v != m.Value
	case "=~":
		return m.re.MatchString(v)
	}
	return !m.re.MatchString(v)
}

// String writes the matcher so that ParseMatcher reads it again.
func (m Matcher) String() string { return m.Label + m.Op + `"` + quoter.Replace(m.Value) + `"` }

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// AlertMatchers fit the alert's rule in its account for its actor: the narrowest
// silence that is more than one incident.
func AlertMatchers(a *alert.Alert) []string {
	out := []string{"rule=" + a.Rule, "account_id=" + a.AccountID}
	if a.Actor.Name != "" {
		out = append(out, Matcher{Label: "actor", Op: "=", Value: a.Actor.Name}.String())
	}
	return out
}

// unquote takes a value out of its quotes, if it has any. In them \\, \" and \n stand
// for a backslash, a quote and a line break; any other backslash is itself.
func unquote(s string) (string, error) {
	in, quoted := strings.CutPrefix(s, `"`)
	if !quoted {
		if strings.Contains(s, `"`) {
			return "", errors.New("a quote inside of a value: put the whole value into quotes")
		}
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(in); i++ {
		switch c := in[i]; {
		case c == '"' && i == len(in)-1:
			return b.String(), nil
		case c == '"':
			return "", errors.New(`a quote inside of quotes: write \"`)
		case c == '\\' && i+1 < len(in) && strings.IndexByte(`\"n`, in[i+1]) >= 0:
			if i++; in[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(in[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is not closed")
}

// Matchers are conditions that must all hold.
type Matchers []Matcher

// ParseMatchers reads all of them. One text may hold several, with commas between
// them, in braces or not: {severity="high",rule=~"ak.*"}.
func ParseMatchers(list []string) (Matchers, error) {
	var out Matchers
	var errs []error
	for _, s := range list {
		for _, one := range split(s) {
			m, err := ParseMatcher(one)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = append(out, m)
		}
	}
	return out, errors.Join(errs...)
}

// split cuts at the commas outside of quotes; one after the last is allowed.
func split(s string) []string {
	s = strings.TrimSpace(s)
	if in, ok := strings.CutPrefix(s, "{"); ok && strings.HasSuffix(in, "}") {
		s = strings.TrimSuffix(in, "}")
	}
	var out []string
	from, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if quoted {
				i++
			}
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				out, from = append(out, s[from:i]), i+1
			}
		}
	}
	if rest := s[from:]; len(out) == 0 || strings.TrimSpace(rest) != "" {
		out = append(out, rest)
	}
	return out
}

// Match says whether all hold.
func (ms Matchers) Match(l Labels) bool {
	return !slices.ContainsFunc(ms, func(m Matcher) bool { return !m.Matches(l) })
}

// Delivery is what the tree decided for one receiver.
type Delivery struct {
	Receiver string
	Path     string // "route.routes[1].routes[0]"
	// GroupBy is empty for an incident by itself.
	GroupBy        []string
	GroupWait      time.Duration
	GroupInterval  time.Duration
	RepeatInterval time.Duration
	mute, active   []string
}

// Group is the identity of the group that l belongs to under d.
func (d Delivery) Group(l Labels) string {
	var b strings.Builder
	for _, k := range d.GroupBy {
		fmt.Fprintf(&b, "%s=%q,", k, l[k])
	}
	return strings.TrimSuffix(b.String(), ",")
}

type node struct {
	Delivery
	matchers Matchers
	cont     bool
	children []node
}

type inhibit struct {
	source, target Matchers
	equal          []string
}

// Tree is a compiled Config. It is safe for concurrent use.
type Tree struct {
	root      node
	inhibits  []inhibit
	intervals map[string][]Interval
	resolve   time.Duration
}

// compiler makes a Tree of a Config, and notes all that is wrong with it.
type compiler struct {
	receivers []string
	intervals map[string][]Interval
	errs      []error
}

func (c *compiler) bad(at, format string, args ...any) {
	c.errs = append(c.errs, &Fault{at, fmt.Sprintf(format, args...)})
}

// New compiles a Config; receivers are the destinations that exist. The error
// joins everything that is wrong, each beginning with its place.
func New(cfg Config, receivers []string) (*Tree, error) {
	t := &Tree{intervals: cfg.Intervals, resolve: cfg.ResolveTimeout}
	if t.resolve <= 0 {
		t.resolve = DefaultResolveTimeout
	}
	c := &compiler{receivers: receivers, intervals: cfg.Intervals}
	if len(cfg.Route.Matchers) > 0 || cfg.Route.Continue {
		c.bad("route", "the top of the tree takes every alert: it has no matchers and no continue")
	}
	if cfg.Route.Receiver == "" {
		c.bad("route.receiver", "the top of the tree needs a receiver")
	}
	if len(cfg.Route.MuteTimeIntervals)+len(cfg.Route.ActiveTimeIntervals) > 0 {
		c.bad("route", "the top of the tree has no time intervals")
	}
	t.root = c.node(cfg.Route, "route", Delivery{GroupWait: DefaultGroupWait, GroupInterval: DefaultGroupInterval, RepeatInterval: DefaultRepeatInterval})
	for i, r := range cfg.Inhibit {
		t.inhibits = append(t.inhibits, c.inhibit(r, fmt.Sprintf("inhibit_rules[%d]", i)))
	}
	return t, errors.Join(c.errs...)
}

// node compiles a node and its children; what it does not say is as in the one above.
func (c *compiler) node(n Node, at string, up Delivery) node {
	d := up
	d.Path = at
	if n.Receiver != "" {
		d.Receiver = n.Receiver
		if !slices.Contains(c.receivers, n.Receiver) {
			c.bad(at+".receiver", "no destination is called %q; there are %s", n.Receiver, strings.Join(c.receivers, ", "))
		}
	}
	if n.GroupBy != nil {
		d.GroupBy = nil
		for _, g := range n.GroupBy {
			switch {
			case g == "..." && len(n.GroupBy) == 1: // each incident by itself
			case !slices.Contains(LabelNames(), g):
				c.bad(at+".group_by", "there is no label %q; there are %s, or [...] for each incident by itself", g, strings.Join(LabelNames(), ", "))
			default:
				d.GroupBy = append(d.GroupBy, g)
			}
		}
	}
	for _, x := range []struct{ from, to *time.Duration }{
		{n.GroupWait, &d.GroupWait}, {n.GroupInterval, &d.GroupInterval}, {n.RepeatInterval, &d.RepeatInterval}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	if d.RepeatInterval < time.Minute {
		c.bad(at+".repeat_interval", "%s: want at least 1m", d.RepeatInterval)
	}
	d.mute, d.active = n.MuteTimeIntervals, n.ActiveTimeIntervals
	for _, name := range append(slices.Clone(n.MuteTimeIntervals), n.ActiveTimeIntervals...) {
		if c.intervals[name] == nil {
			c.bad(at, "no time interval is called %q", name)
		}
	}
	out := node{Delivery: d, cont: n.Continue, matchers: c.matchers(n.Matchers, at+".matchers")}
	for i, child := range n.Routes {
		out.children = append(out.children, c.node(child, fmt.Sprintf("%s.routes[%d]", at, i), d))
	}
	return out
}

func (c *compiler) matchers(texts []string, at string) Matchers {
	ms, err := ParseMatchers(texts)
	if err != nil {
		c.bad(at, "%v", err)
	}
	return ms
}

func (c *compiler) inhibit(r Inhibit, at string) inhibit {
	source, target := c.matchers(r.Source, at+".source_matchers"), c.matchers(r.Target, at+".target_matchers")
	if len(r.Source) == 0 || len(r.Target) == 0 {
		c.bad(at, "needs source_matchers and target_matchers")
	}
	for _, e := range r.Equal {
		if !slices.Contains(LabelNames(), e) {
			c.bad(at+".equal", "there is no label %q; there are %s", e, strings.Join(LabelNames(), ", "))
		}
	}
	return inhibit{source, target, r.Equal}
}

// Fault is one thing wrong, with its place.
type Fault struct{ At, Message string }

func (f *Fault) Error() string { return f.At + ": " + f.Message }

// Route says who hears of an alert with these labels, each receiver once, in
// the order of the tree.
func (t *Tree) Route(l Labels) []Delivery {
	var out []Delivery
	var walk func(n *node) bool
	walk = func(n *node) bool {
		if !n.matchers.Match(l) {
			return false
		}
		hit := false
		for i := range n.children {
			c := &n.children[i]
			if walk(c) {
				hit = true
				if !c.cont {
					break
				}
			}
		}
		if !hit && !slices.ContainsFunc(out, func(d Delivery) bool { return d.Receiver == n.Receiver }) {
			out = append(out, n.Delivery)
		}
		return true
	}
	walk(&t.root)
	return out
}

// Muted says which time interval holds a delivery back at a time, "" for
// none. Intervals begin and end at whole minutes.
func (t *Tree) Muted(d Delivery, at time.Time) string {
	within := func(name string) bool {
		return slices.ContainsFunc(t.intervals[name], func(i Interval) bool { return i.Contains(at) })
	}
	if i := slices.IndexFunc(d.mute, within); i >= 0 {
		return "time interval " + d.mute[i]
	}
	if len(d.active) > 0 && !slices.ContainsFunc(d.active, within) {
		return "outside of time interval " + strings.Join(d.active, ", ")
	}
	return ""
}

// MutedUntil is Muted with when that ends, if within eight days; it walks
// there minute by minute, and is for people who ask.
func (t *Tree) MutedUntil(d Delivery, now time.Time) (until time.Time, by string) {
	if by = t.Muted(d, now); by == "" {
		return time.Time{}, ""
	}
	at := now.Truncate(time.Minute)
	for range 8 * 24 * 60 {
		at = at.Add(time.Minute)
		if t.Muted(d, at) == "" {
			return at, by
		}
	}
	return at, by
}

// Firing remembers which alerts fire, as far as inhibition asks. Not safe for
// concurrent use.
type Firing struct {
	t  *Tree
	on map[string]sources // by rule and values of equal
}

// sources are, of those that fire, the one that does so longest, and the one among those
// that are no targets of the same rule.
type sources struct{ any, alone firing }

type firing struct {
	id    string
	until time.Time
}

// maxFiring bounds the memory; beyond it the soonest to end is forgotten.
const maxFiring = 10_000

// NewFiring returns an empty memory.
func (t *Tree) NewFiring() *Firing { return &Firing{t: t, on: map[string]sources{}} }

func (i inhibit) key(n int, l Labels) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", n)
	for _, e := range i.equal {
		fmt.Fprintf(&b, "\x00%s", l[e])
	}
	return b.String()
}

// Note takes an alert's labels and the time of its last event.
func (f *Firing) Note(id string, l Labels, last time.Time) {
	for n, i := range f.t.inhibits {
		if !i.source.Match(l) {
			continue
		}
		k, until := i.key(n, l), last.Add(f.t.resolve)
		x := f.on[k]
		if until.After(x.any.until) {
			x.any = firing{id, until}
		}
		if until.After(x.alone.until) && !i.target.Match(l) {
			x.alone = firing{id, until}
		}
		f.on[k] = x
	}
	for len(f.on) > maxFiring {
		soonest, at := "", time.Time{}
		for k, x := range f.on {
			if until := x.any.until; at.IsZero() || until.Before(at) || until.Equal(at) && k < soonest {
				soonest, at = k, until
			}
		}
		delete(f.on, soonest)
	}
}

// End forgets an alert: people closed it, so it inhibits nothing until it has
// another event.
func (f *Firing) End(id string) {
	for k, x := range f.on {
		if x.alone.id == id {
			x.alone = firing{}
		}
		if x.any.id == id {
			x.any = x.alone
		}
		if f.on[k] = x; x.any.id == "" {
			delete(f.on, k)
		}
	}
}

// Inhibits says whether an alert is inhibited at now, until when at the
// latest as things are, and by which alert. An alert that is both source and
// target is not inhibited by what is both as well, as in Alertmanager.
func (f *Firing) Inhibits(id string, l Labels, now time.Time) (until time.Time, by string) {
	for n, i := range f.t.inhibits {
		if !i.target.Match(l) {
			continue
		}
		x := f.on[i.key(n, l)].any
		if i.source.Match(l) {
			x = f.on[i.key(n, l)].alone
		}
		if x.id != "" && x.id != id && now.Before(x.until) && x.until.After(until) {
			until, by = x.until, "inhibited by "+x.id[:min(12, len(x.id))]
		}
	}
	return until, by
}
