package rampolicy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Schema is the value of a result's schema field.
const Schema = "trailwarden.policydiff/v1"

// Verdict is what a change of policy does.
type Verdict string

// The verdicts. Unknown is to be handled as Expands.
const (
	Expands    Verdict = "expands"
	Contracts  Verdict = "contracts"
	Changes    Verdict = "changes" // expands and contracts
	Equivalent Verdict = "equivalent"
	Unknown    Verdict = "unknown"
)

// Options say what is known about the documents beside their text.
type Options struct {
	Kind Kind
	// Account is the account that the documents belong to; empty when not
	// known. It tells own from foreign principals.
	Account string
	// Own names what belongs to the holder, for escalation paths.
	Own Own
	// Who says in sentences who holds the documents, for example "user bob"
	// (default "whoever holds the policy"); WhoZH says it in Chinese.
	Who, WhoZH string
	// MaxFindings bounds each list of findings (default 20).
	MaxFindings int

	removed bool // tell what is taken away
}

// Result is a judged change. Its JSON form is a contract.
type Result struct {
	Schema    string    `json:"schema"`
	Verdict   Verdict   `json:"verdict"`
	Severity  Severity  `json:"severity"`
	Summary   string    `json:"summary"`
	SummaryZH string    `json:"summary_zh,omitempty"`
	Findings  []Finding `json:"findings"` // what is newly allowed, worst first
	Removed   []Finding `json:"removed"`  // what is no longer allowed
	Notes     []string  `json:"notes,omitempty"`
}

// Finding is one part of what changed.
type Finding struct {
	Severity   Severity `json:"severity"`
	Sentence   string   `json:"sentence"`
	SentenceZH string   `json:"sentence_zh,omitempty"`
	// Actions names what may be done: patterns of the documents where they
	// are covered whole, and actions of the catalogue as examples.
	Actions    []string `json:"actions"`
	Resources  []string `json:"resources"`
	Principals []string `json:"principals,omitempty"`
	// Conditions says what is still demanded and what no longer is.
	Conditions []string `json:"conditions,omitempty"`
	// Paths are the ids of escalation paths that the change completes.
	Paths   []string `json:"paths,omitempty"`
	Witness Witness  `json:"witness"`
	// Confirmed: the witness was evaluated again, with an independent
	// matcher, and new allows what old refuses.
	Confirmed bool `json:"confirmed"`

	short, shortZH string // the sentence without examples and reasons
	conditionZH    string // the first of Conditions in Chinese
}

// Witness is one concrete request that shows a finding.
type Witness struct {
	Action    string            `json:"action"`
	Resource  string            `json:"resource,omitempty"`
	Principal string            `json:"principal,omitempty"`
	Context   map[string]string `json:"context,omitempty"`
}

// Diff says what the new document allows that the old one does not, and the
// other way round. A nil document allows nothing.
func Diff(old, new *Document, opts Options) Result {
	if opts.MaxFindings <= 0 {
		opts.MaxFindings = 20
	}
	if opts.Who == "" {
		opts.Who = "whoever holds the policy"
	}
	if opts.WhoZH == "" {
		opts.WhoZH = "该策略的持有者"
	}
	empty := &Document{Version: "1"}
	if old == nil {
		old = empty
	}
	if new == nil {
		new = empty
	}
	if old.equalText(new) {
		r := Result{Schema: Schema, Verdict: Equivalent, Findings: []Finding{}, Removed: []Finding{}, Notes: slices.Clone(new.Notes)}
		r.summarise(opts)
		return r
	}
	readings := analyses(old, new, opts.Kind)
	gained, gainedUnknown, split := direction(readings, old, new, opts)
	if gainedUnknown != "" && len(gained) == 0 {
		if q, _, ok := byExample(old, new, opts.Kind); ok {
			f := exampleFinding(q, &opts)
			f.Severity = max(f.Severity, guess(old, new, opts))
			gained = []Finding{f}
		}
	}
	back := opts
	back.removed = true
	for _, a := range readings {
		a.turn()
	}
	lost, lostUnknown, _ := direction(readings, new, old, back)
	for i := range lost {
		// What a change takes away is no threat.
		lost[i].Severity, lost[i].Paths = Info, nil
	}
	r := Result{Schema: Schema, Findings: gained, Removed: lost}
	for _, d := range []*Document{old, new} {
		for _, n := range d.Notes {
			if !slices.Contains(r.Notes, n) {
				r.Notes = append(r.Notes, n)
			}
		}
	}
	if split {
		r.Notes = append(r.Notes, "readings of the vendor's rules disagree on this change; the one that allows more was taken")
	}
	for _, d := range []*Document{old, new} {
		for _, why := range []string{d.doubtfulAs(opts.Kind), d.tooLong(opts.Kind)} {
			if why != "" && !slices.Contains(r.Notes, why) {
				r.Notes = append(r.Notes, why)
			}
		}
	}
	switch {
	case len(gained) > 0 && len(lost) > 0:
		r.Verdict = Changes
	case len(gained) > 0:
		r.Verdict = Expands
	case gainedUnknown != "" || doubtful(old, new, opts.Kind):
		r.Verdict = Unknown
	case len(lost) > 0:
		r.Verdict = Contracts
	case lostUnknown != "":
		// Proved not to expand; whether it takes anything away is not known.
		r.Verdict = Contracts
		r.Notes = append(r.Notes, "whether anything was taken away was not worked out: "+lostUnknown)
	default:
		r.Verdict = Equivalent
	}
	if gainedUnknown != "" {
		r.Notes = append(r.Notes, "not worked out in full: "+gainedUnknown)
	}
	for _, f := range r.Findings {
		r.Severity = max(r.Severity, f.Severity)
	}
	if r.Verdict == Unknown {
		r.Severity = max(r.Severity, Medium, guess(old, new, opts))
	}
	r.summarise(opts)
	if n := len(r.Findings); n > opts.MaxFindings {
		r.Notes = append(r.Notes, fmt.Sprintf("%d more findings are not listed", n-opts.MaxFindings))
		r.Findings = r.Findings[:opts.MaxFindings]
	}
	if len(r.Removed) > opts.MaxFindings {
		r.Removed = r.Removed[:opts.MaxFindings]
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if r.Removed == nil {
		r.Removed = []Finding{}
	}
	return r
}

// same says whether two documents are equal statement by statement.
func same(a, b *Document) bool {
	return slices.EqualFunc(a.Statements, b.Statements, func(x, y Statement) bool {
		return x.Deny == y.Deny && x.NotAction == y.NotAction && x.NotResrc == y.NotResrc && x.NotPrinc == y.NotPrinc &&
			x.AnyResrc == y.AnyResrc && x.AnyPrinc == y.AnyPrinc && slices.Equal(x.Actions, y.Actions) &&
			slices.Equal(x.Resources, y.Resources) && slices.Equal(x.Principals, y.Principals) &&
			slices.EqualFunc(x.Conditions, y.Conditions, func(c, d Condition) bool { return c.id() == d.id() })
	})
}

// readings returns the readings that can differ for these documents.
func readings(old, new *Document, kind Kind) []Reading {
	upper, neg, span := false, false, false
	for _, d := range []*Document{old, new} {
		for i := range d.Statements {
			s := &d.Statements[i]
			for _, list := range [][]string{s.Resources} {
				upper = upper || slices.ContainsFunc(list, hasUpper)
			}
			upper = upper || slices.ContainsFunc(s.Principals, func(p Principal) bool { return hasUpper(p.Value) })
			span = span || slices.ContainsFunc(s.Actions, spansColon)
			neg = neg || slices.ContainsFunc(s.Conditions, func(c Condition) bool { return negated(c.Operator) })
		}
	}
	out := []Reading{{}}
	if upper {
		out = append(out, Reading{FoldResource: true})
	}
	if span {
		for _, r := range slices.Clone(out) {
			r.ColonApart = true
			out = append(out, r)
		}
	}
	if neg {
		for _, r := range slices.Clone(out) {
			r.AbsentNegated = true
			out = append(out, r)
		}
	}
	if kind == Control && (old.HasAllow() || new.HasAllow()) {
		for _, r := range slices.Clone(out) {
			r.AllowList = true
			out = append(out, r)
		}
	}
	return out
}

func hasUpper(s string) bool { return strings.IndexFunc(s, unicode.IsUpper) >= 0 }

// direction finds what new allows and old does not. Of readings after the first
// under which something is, only what is worse than all before is added: they
// mostly tell the same again. split says that the readings disagree.
func direction(readings []*analysis, old, new *Document, opts Options) (out []Finding, unknown string, split bool) {
	yes, no := 0, 0
	told := map[toldCombo]bool{}
	work := &budget{left: maxWork}
	for _, a := range readings {
		a.work = work
		combos := a.search(false)
		if a.unknown != "" {
			unknown = a.unknown
		}
		sure := slices.DeleteFunc(combos, func(c combo) bool { return c.out.context == nil })
		if len(sure) == 0 {
			no++
			continue
		}
		yes++
		if len(readings) > 1 && (!a.unlike(sure, told) || yes > 1 && opts.removed) {
			continue
		}
		worst := None
		for _, f := range out {
			worst = max(worst, f.Severity)
		}
		for _, f := range a.findings(old, new, sure, opts) {
			if yes == 1 {
				out = append(out, f)
			} else if f.Severity > worst {
				out, split = append(out, f), true
			}
		}
	}
	lists.Sort(out, byWeight)
	return out, unknown, split || yes > 0 && no > 0
}

// unlike says whether some of the combinations are not among those that were
// told under a reading with the same cells, and adds them.
func (a *analysis) unlike(combos []combo, told map[toldCombo]bool) (fresh bool) {
	for _, c := range combos {
		t := toldCombo{a.dims, c.class}
		fresh = fresh || !told[t]
		told[t] = true
	}
	return fresh
}

// toldCombo is a combination of classes that expands under some reading.
type toldCombo struct {
	dims  [dimensions]*dimension
	class [dimensions]int
}

// byWeight puts the worst findings first.
func byWeight(x, y Finding) int {
	return cmp.Or(cmp.Compare(y.Severity, x.Severity), cmp.Compare(len(y.Paths), len(x.Paths)))
}

// Compare is the verdict of Diff alone, without a word of why: it stops at the
// first request that shows the answer.
func Compare(old, new *Document, kind Kind) Verdict {
	empty := &Document{Version: "1"}
	if old == nil {
		old = empty
	}
	if new == nil {
		new = empty
	}
	if old.equalText(new) {
		return Equivalent
	}
	readings := analyses(old, new, kind)
	look := func() (found, unknown bool) {
		work := &budget{left: maxWork}
		for _, a := range readings {
			a.work = work
			a.search(true)
			found, unknown = found || a.found, unknown || a.unknown != ""
			if found {
				break
			}
		}
		return found, unknown
	}
	gained, gainedUnknown := look()
	if !gained && gainedUnknown {
		_, _, gained = byExample(old, new, kind)
	}
	if !gained && (gainedUnknown || doubtful(old, new, kind)) {
		return Unknown
	}
	for _, a := range readings {
		a.turn()
	}
	lost, lostUnknown := look()
	switch {
	case gained && lost:
		return Changes
	case gained:
		return Expands
	case lost || lostUnknown:
		return Contracts
	}
	return Equivalent
}

// Adds says whether new allows an action that a pattern covers, like "ram:*",
// on something and under some condition under which old does not, or whether
// that could not be found out.
func Adds(old, new *Document, kind Kind, pattern string) bool {
	// Refusing all else leaves the question whether anything expands.
	only := Statement{Deny: true, Actions: []string{pattern}, NotAction: true, Resources: []string{"*"}, AnyPrinc: true}
	switch Compare(old, Merge(new, &Document{Version: "1", Statements: []Statement{only}}), kind) {
	case Expands, Changes, Unknown:
		return true
	}
	return false
}

// doubtful says whether the meaning of the documents is uncertain in a way
// that matters to whether new allows more.
func doubtful(old, new *Document, kind Kind) bool {
	if (old.Doubtful || new.Doubtful || old.doubtfulAs(kind) != "" || new.doubtfulAs(kind) != "") && !same(old, new) {
		return true
	}
	// Two ways to prove that nothing does, whatever is put in: the most that
	// new can allow is in the least that old did; or it is whether or not the
	// patterns with placeholders match.
	return (old.Templated || new.Templated) && newAnalysis(old, new, kind, Reading{}, nil).anySuspect() &&
		mayExpand(analyses(old.bounds(false), new.bounds(true), kind)) && mayExpand(withHoles(old, new, kind))
}

func withHoles(old, new *Document, kind Kind) []*analysis {
	var out []*analysis
	for _, read := range readings(old, new, kind) {
		out = append(out, newHoles(old, new, kind, read))
	}
	return out
}

// mayExpand says whether something expands in one of the readings, or whether
// that could not be found out: a verdict without words.
func mayExpand(readings []*analysis) bool {
	work := &budget{left: maxWork}
	for _, a := range readings {
		a.work = work
		if a.search(true); a.found || a.unknown != "" {
			return true
		}
	}
	return false
}

// maxGuess is how many patterns guess looks at. More than that only many
// policies together have, each made to be slow.
const maxGuess = 4000

// guess is the severity of a change that could not be analysed: of the worst
// action of the catalogue that new allows somewhere and old does not.
func guess(old, new *Document, opts Options) Severity {
	patterns := 0
	for _, d := range []*Document{old, new} {
		for i := range d.Statements {
			patterns += len(d.Statements[i].Actions) + len(d.Statements[i].Resources)
		}
	}
	if patterns > maxGuess {
		return Critical
	}
	worst := None
	account := opts.Account
	if account == "" {
		account = arbitrary
	}
	for _, act := range catalogue {
		for _, res := range anyResource(act.Name, account) {
			q := &Request{Action: act.Name, Resource: res, Context: map[string]string{}}
			if new.DecideAs(opts.Kind, q, Reading{}) == Allowed && old.DecideAs(opts.Kind, q, Reading{}) != Allowed {
				worst = max(worst, act.Class.severity(true))
			}
		}
	}
	return worst
}

// severity of being able to do an action of the class, on anything or on
// named resources.
func (c Class) severity(broad bool) Severity {
	switch {
	case c.atLeast(ClassOrg):
		if broad {
			return Critical
		}
		return High
	case c == ClassAssume, c == ClassSecret:
		if broad {
			return High
		}
		return Low
	case c == ClassPassRole, c == ClassAudit, c == ClassExposure:
		if broad || c != ClassPassRole {
			return High
		}
		return Medium
	}
	return Medium
}

// group is combinations that are told as one finding.
type group struct {
	cause   string
	reasons []int // statements of new that allow it
	before  []int // statements of old that stood against it or fell short
	actions []int // classes
	pairs   []combo
}

// findings groups what expands and tells it.
func (a *analysis) findings(old, new *Document, combos []combo, opts Options) []Finding {
	type part struct {
		cause           string
		reasons, before []int
		pairs           []combo
	}
	// By action class and cause first, then classes with equal parts together.
	parts := map[int]map[string]*part{}
	var order []int
	var buf []byte
	for _, c := range combos {
		cause, reasons, before := a.why(c)
		act := c.class[dimAction]
		if parts[act] == nil {
			parts[act] = map[string]*part{}
			order = append(order, act)
		}
		buf = append(buf[:0], cause...)
		for _, list := range [][]int{reasons, before} {
			buf = binary.AppendUvarint(buf, uint64(len(list)))
			for _, i := range list {
				buf = binary.AppendUvarint(buf, uint64(i))
			}
		}
		k := string(buf)
		if parts[act][k] == nil {
			parts[act][k] = &part{cause: cause, reasons: reasons, before: before}
		}
		parts[act][k].pairs = append(parts[act][k].pairs, c)
	}
	groups := map[string]*group{}
	var keys []string
	for _, act := range order {
		var names []string
		for k := range parts[act] {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			p := parts[act][k]
			buf = append(buf[:0], k...)
			for _, c := range p.pairs {
				buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(c.class[dimResource])), uint64(c.class[dimPrincipal]))
			}
			id := string(buf)
			g := groups[id]
			if g == nil {
				g = &group{cause: p.cause, reasons: p.reasons, before: p.before, pairs: p.pairs}
				groups[id] = g
				keys = append(keys, id)
			}
			g.actions = append(g.actions, act)
		}
	}
	t := &teller{a: a, old: old, new: new, opts: opts}
	t.load(combos)
	out := make([]Finding, 0, len(keys))
	for _, k := range keys {
		out = append(out, t.finding(groups[k]))
	}
	lists.Sort(out, byWeight)
	return out
}

// The causes of an expansion.
const (
	causeAllow     = "allow"     // nothing in old allowed it
	causeDeny      = "deny"      // a Deny of old refused it
	causeCondition = "condition" // old allowed it under a condition
)

// why finds the statements behind one combination, in its context.
func (a *analysis) why(c combo) (cause string, reasons, before []int) {
	q := &Request{Context: c.out.context, Assumed: c.out.assumed}
	holds := func(s *statement) bool {
		for j := range s.Conditions {
			if !s.Conditions[j].holds(q, a.read) {
				return false
			}
		}
		return true
	}
	var denies, short []int
	allowed := false
	c.match.each(func(i int) {
		s := &a.stmts[i]
		switch {
		case s.isNew && !s.Deny && holds(s):
			reasons = append(reasons, i)
		case !s.isNew && s.Deny && holds(s):
			denies = append(denies, i)
		case !s.isNew && !s.Deny && holds(s):
			allowed = true
		case !s.isNew && !s.Deny:
			short = append(short, i)
		}
	})
	reasons = a.otherReasons(c, reasons)
	switch {
	case len(denies) > 0 && allowed:
		return causeDeny, reasons, denies
	case len(short) > 0:
		return causeCondition, reasons, short
	}
	return causeAllow, reasons, denies
}

// otherReasons adds the statements that newly allow what a combination is
// about in other contexts than the one that was found: either of two conditions
// may be enough.
func (a *analysis) otherReasons(c combo, reasons []int) []int {
	c.match.each(func(i int) {
		s := &a.stmts[i]
		if !s.isNew || s.Deny || len(s.Conditions) == 0 || slices.Contains(reasons, i) {
			return
		}
		found := false
		a.contexts(c.match, nil, func(q *Request) bool {
			for j := range s.Conditions {
				if !s.Conditions[j].holds(q, a.read) {
					return false
				}
			}
			found = a.allows(c.match, q, true) && !a.allows(c.match, q, false)
			return found
		})
		if found {
			reasons = append(reasons, i)
		}
	})
	slices.Sort(reasons)
	return reasons
}

// Explain tells what a document allows by itself: a diff against nothing.
func Explain(d *Document, opts Options) Result {
	var old *Document
	if opts.Kind == Control {
		// A control policy takes away; what it takes is told as removed.
		return Diff(&Document{Version: "1"}, d, opts)
	}
	r := Diff(old, d, opts)
	if r.Verdict == Equivalent {
		r.Summary, r.SummaryZH = "it allows nothing", "不允许任何操作"
	}
	return r
}
