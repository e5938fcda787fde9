package report

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// In is what a report is made of. Only Alerts and Stats are expected; what
// else is absent is left out, or told as not known.
type In struct {
	// Alerts are sorted by (time, rule, id), as replay.Result has them. They
	// are not changed.
	Alerts []alert.Alert
	// Stream has them in place of Alerts, one at a time, for the formats of
	// Streams.
	Stream iter.Seq2[*alert.Alert, error]
	Stats  replay.Stats
	Scope  Scope
	// Tool is the version of the program, RuleSet the hash of the rules.
	Tool, RuleSet string
	// Rules are all that were loaded, in any order; those that could not run
	// say why.
	Rules []Rule
	// Files are the input files, in the order they were found.
	Files []File
	// Gaps are hours without any event in between, per account and region.
	// GapsKnown says that they were looked for, Sparse that an account has
	// events in too few hours to tell, Apart that a few of its events lie far from
	// the others, and the time between was not looked at.
	// Those in which other days have few events, too, are only counted.
	Gaps      []Gap
	Quiet     int
	GapsKnown bool
	Sparse    bool
	Apart     bool
	// Trail is what the run saw of Scope.Entity; nil when none was asked about.
	Trail *replay.Trail
	// Hidden is how many alerts the caller left out: signals, or below a
	// severity.
	Hidden int
	// Interrupted: the run was stopped before it had read everything.
	Interrupted bool
	// Lang is the language of HTML and Markdown: "zh", or English.
	Lang string
}

// each yields the alerts of Stream, or of Alerts.
func (in *In) each() iter.Seq2[*alert.Alert, error] {
	if in.Stream != nil {
		return in.Stream
	}
	return func(yield func(*alert.Alert, error) bool) {
		for i := range in.Alerts {
			if !yield(&in.Alerts[i], nil) {
				return
			}
		}
	}
}

// Scope is what was asked for.
type Scope struct {
	From, To time.Time // zero: no bound; To is exclusive
	Entity   string
	Sources  []string
}

// Rule is one loaded rule.
type Rule struct {
	ID    string
	Title string
	// NotRun says why the rule could not match anything in this run; empty
	// when it ran.
	NotRun Reason
}

// Reason is why a rule did not run.
type Reason string

// The reasons.
const (
	Off      Reason = "off"       // switched off
	Shadow   Reason = "shadow"    // evaluated, makes no alert
	NoGeo    Reason = "no geo"    // needs country or network data
	NoPolicy Reason = "no policy" // needs permission changes judged
)

// File is one input file.
type File struct {
	Path   string
	Size   int64  // bytes as stored; -1 when not known
	SHA256 string // in hex; empty when not computed
}

// Gap is a stretch of whole hours without an event.
type Gap struct {
	Account, Region string
	From, To        time.Time // To is exclusive
}

// Formats lists the names of the formats that Writer knows, sorted.
func Formats() []string { return []string{"csv", "html", "markdown", "ocsf", "timesketch"} }

// Streams says that a format needs to see every alert only once.
func Streams(format string) bool {
	return format == "csv" || format == "ocsf" || format == "timesketch"
}

// who names an actor in one short text, for tables and for grouping.
func who(a *alert.Alert) string {
	x := &a.Actor
	name := cmp.Or(x.Name, x.Role, x.ID, x.AccessKeyID)
	if x.Role != "" && x.Session != "" {
		return x.Role + "/" + x.Session
	}
	return name
}

// whoIn is who, for alerts that are told together: where actors of several accounts
// have one name, as every account has a root, with the account.
func whoIn(as []alert.Alert) func(*alert.Alert) string {
	of := func(a *alert.Alert) string {
		if _, rest, ok := strings.Cut(a.Actor.ID, "/"); ok { // kind/account/name
			account, _, _ := strings.Cut(rest, "/")
			return account
		}
		return a.AccountID
	}
	first, several := map[string]string{}, map[string]bool{}
	for i := range as {
		name, account := who(&as[i]), of(&as[i])
		if known, ok := first[name]; !ok {
			first[name] = account
		} else if known != account {
			several[name] = name != ""
		}
	}
	return func(a *alert.Alert) string {
		name := who(a)
		if several[name] {
			name += " (" + of(a) + ")"
		}
		return name
	}
}

// target names what it was done to.
func target(a *alert.Alert) string {
	if a.Target == nil {
		return ""
	}
	return cmp.Or(a.Target.Name, a.Target.ID)
}

// counts is how many alerts there are of each severity, by the severity.
func counts(as []alert.Alert) (n [alert.Critical + 1]int) {
	for i := range as {
		n[level(&as[i])]++
	}
	return n
}

// level is the severity within its bounds.
func level(a *alert.Alert) alert.Severity {
	return min(max(a.Severity, alert.Info), alert.Critical)
}

// firstSign is the earliest alert that is more than a remark.
func firstSign(as []alert.Alert) *alert.Alert {
	for _, least := range []alert.Severity{alert.Medium, alert.Info} {
		var first *alert.Alert
		for i := range as {
			a := &as[i]
			if level(a) >= least && !a.Signal && (first == nil || a.FirstAt.Before(first.FirstAt)) {
				first = a
			}
		}
		if first != nil {
			return first
		}
	}
	if len(as) > 0 {
		return &as[0]
	}
	return nil
}

// span is the time from the first to the last evidence of all alerts.
func span(as []alert.Alert) (from, to time.Time) {
	for i := range as {
		f := as[i].FirstAt
		if f.IsZero() || f.After(as[i].Time) {
			f = as[i].Time
		}
		if from.IsZero() || f.Before(from) {
			from = f
		}
		if as[i].Time.After(to) {
			to = as[i].Time
		}
	}
	return from, to
}

// worst returns the indices of the n worst alerts, the earliest first among
// equals, in the order of the input; and those of the rest.
func worst(as []alert.Alert, n int) (in, rest []int) {
	order := make([]int, len(as))
	for i := range order {
		order[i] = i
	}
	lists.Sort(order, func(a, b int) int { return cmp.Compare(level(&as[b]), level(&as[a])) })
	in, rest = order[:min(n, len(order))], order[min(n, len(order)):]
	slices.Sort(in)
	return in, rest
}

// fired is what one rule found.
type fired struct {
	ID, Title  string
	Detections int64
	Alerts     int
	Worst      alert.Severity
}

// rulesFired lists the rules that found something, the worst first.
func rulesFired(in *In) []fired {
	title := make(map[string]string, len(in.Rules))
	for _, r := range in.Rules {
		title[r.ID] = r.Title
	}
	byID := map[string]*fired{}
	get := func(id string) *fired {
		f := byID[id]
		if f == nil {
			f = &fired{ID: id, Title: title[id]}
			byID[id] = f
		}
		return f
	}
	for id, n := range in.Stats.ByRule {
		get(id).Detections = n
	}
	for i := range in.Alerts {
		f := get(in.Alerts[i].Rule)
		f.Alerts++
		f.Worst = max(f.Worst, level(&in.Alerts[i]))
	}
	out := make([]fired, 0, len(byID))
	for _, f := range byID {
		out = append(out, *f)
	}
	lists.Sort(out, func(a, b fired) int {
		return cmp.Or(cmp.Compare(b.Worst, a.Worst), cmp.Compare(b.Alerts, a.Alerts), strings.Compare(a.ID, b.ID))
	})
	return out
}

// rulesNotRun lists the rules that could not match, by reason and id.
func rulesNotRun(in *In) []Rule {
	var out []Rule
	for _, r := range in.Rules {
		if r.NotRun != "" {
			out = append(out, r)
		}
	}
	lists.Sort(out, func(a, b Rule) int {
		return cmp.Or(strings.Compare(string(a.NotRun), string(b.NotRun)), strings.Compare(a.ID, b.ID))
	})
	return out
}

// policyFacts is details.policy: a difference of policies, with what the judge
// knew around it; or such a difference alone. It is read from its JSON form, so
// that this package need not know who made it.
type policyFacts struct {
	policyDiff
	Before  string      `json:"before"`
	Diff    *policyDiff `json:"diff"`
	Reasons []struct {  // of a severity other than the diff's
		En string `json:"en"`
		Zh string `json:"zh"`
	} `json:"reasons"`
}

// diff is the difference itself, with all that was noted.
func (f *policyFacts) diff() *policyDiff {
	d := f.policyDiff
	if f.Diff != nil {
		d = *f.Diff
		d.Verdict = cmp.Or(d.Verdict, f.Verdict)
		for _, n := range f.Notes {
			if !slices.Contains(d.Notes, n) {
				d.Notes = append(d.Notes, n)
			}
		}
	}
	d.Before = f.Before
	return &d
}

// policyDiff is what a change of policy means.
type policyDiff struct {
	Before    string    `json:"-"` // how much of what was there before is known
	Verdict   string    `json:"verdict"`
	Severity  string    `json:"severity"`
	Summary   string    `json:"summary"`
	SummaryZH string    `json:"summary_zh"`
	Findings  []finding `json:"findings"`
	Removed   []finding `json:"removed"`
	Notes     []string  `json:"notes"`
}

type finding struct {
	Severity   string   `json:"severity"`
	Sentence   string   `json:"sentence"`
	SentenceZH string   `json:"sentence_zh"`
	Actions    []string `json:"actions"`
	Resources  []string `json:"resources"`
	Principals []string `json:"principals"`
	Conditions []string `json:"conditions"`
	Paths      []string `json:"paths"`
	Witness    struct {
		Action    string            `json:"action"`
		Resource  string            `json:"resource"`
		Principal string            `json:"principal"`
		Context   map[string]string `json:"context"`
	} `json:"witness"`
	Confirmed bool `json:"confirmed"`
}

// baseline is details.baseline.
type baseline struct {
	New          string  `json:"new"`
	Novelty      string  `json:"novelty"`
	LearnedDays  int64   `json:"learned_days"`
	Observations int64   `json:"observations"`
	UsualTotal   int     `json:"usual_total"`
	Usual        []usual `json:"usual"`
}

type usual struct {
	Network  string  `json:"network"`
	Value    string  `json:"value"`
	ASN      string  `json:"asn"`
	Country  string  `json:"country"`
	Share    float64 `json:"share"`
	Count    int64   `json:"count"`
	LastSeen string  `json:"last_seen"`
}

// read decodes details[key] into v; false when it is absent or of another
// shape.
func read(details map[string]any, key string, v any) bool {
	d, ok := details[key]
	if !ok {
		return false
	}
	b, err := json.Marshal(d)
	return err == nil && json.Unmarshal(b, v) == nil
}
