package report

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/packed"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// archive is the files of the folder page, packed:
// `go test ./pipeline/report -run TestPageIsPacked -update` makes it anew.
//
//go:embed page.tar.zst
var archive []byte

// sources are the page's template, style and script.
var sources = sync.OnceValue(func() (s struct{ page, style, script string }) {
	files, err := packed.Files(archive)
	if err != nil {
		panic("the report's page: " + err.Error()) // a test unpacks it
	}
	s.page, s.style, s.script = string(files["page.html"]), string(files["style.css"]), string(files["script.js"])
	return s
})

// What the page holds at most, so that it opens from mail: under 5 MB in all.
const (
	maxFull       = 300       // alerts told in full
	maxFullBytes  = 1_500_000 // of HTML
	maxRows       = 4000      // further alerts, one row each
	maxRowBytes   = 900_000   // of HTML
	maxFolded     = 800       // rows of what remains, folded
	maxFoldBytes  = 300_000   // of HTML
	maxRaw        = 1_600_000 // bytes of base64
	maxUnpacked   = 64 << 20  // of JSON lines in it
	maxOpen       = 4         // of the alerts told in full, shown open
	maxListed     = 200       // files, gaps, rules
	maxEvidence   = 50        // ids of one alert
	maxIncidents  = 100
	maxEntities   = 100
	maxSteps      = 300
	maxFindings   = 20
	maxDetails    = 30
	maxActorBars  = 8
	maxListValues = 12
)

// pages are the parsed templates, one for each language.
var pages = sync.OnceValue(func() [2]*template.Template {
	var out [2]*template.Template
	for i, l := range []lang{english, chinese} {
		out[i] = template.Must(template.New("page").Funcs(template.FuncMap{
			"t":     func(s string, args ...any) string { return l.t(s, args...) },
			"sev":   func(n int) string { return l.severity(alert.Severity(n)) },
			"num":   func(n any) string { return num(toInt(n)) },
			"short": func(s string) string { return inert(s, maxShort) },
			"given": l.given,
			"line":  func(s string) string { return inert(s, maxLine) },
			"text":  func(s string) string { return inert(s, maxText) },
			"join":  joined,
			"int":   func(s alert.Severity) int { return int(s) },
			"verdict": func(s string) string {
				if _, ok := zh[s]; ok {
					return l.t(s)
				}
				return inert(s, maxShort)
			},
			"severities": func() []int { return []int{5, 4, 3, 2, 1} },
			"stamp":      stamp,
			"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		}).Parse(sources().page))
	}
	return out
})

func toInt(n any) int64 {
	switch v := n.(type) {
	case int:
		return int64(v)
	case int64:
		return v
	}
	return 0
}

// HTML writes one self-contained file. It fetches nothing, and a policy
// inside it forbids it to. Above 300 alerts the worst are told in full and the
// others follow in tables; the file stays under 5 MB.
func HTML(w io.Writer, in In) error {
	l := langOf(in.Lang)
	t := pages()[0]
	if l == chinese {
		t = pages()[1]
	}
	p, err := newPage(l, t, &in)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return t.Execute(w, p)
}

type pair struct{ K, V string }

type page struct {
	Lang             string
	Head, Script     template.HTML
	Level            int // of the verdict; 0 is none
	Verdict, More    string
	Caveat           string
	Warnings         []string
	Scope            []pair
	Failed           []replay.FailedFile
	FailedMore       int
	Gaps             []Gap
	GapsMore         int
	HasAlerts        bool
	Histogram        histogram
	Heat             heat
	Actors, Addrs    []bar
	Incidents        []incident
	IncidentsMore    int
	Entities         []entity
	EntitiesMore     int
	Trail            *replay.Trail
	Steps, Kin       []trailRow
	StepsMore        int
	Intro            string
	Full             template.HTML
	Rows             template.HTML
	RowsNote         string
	Folded           template.HTML
	FoldedNote, Left string
	Fired            []fired
	FiredMore        int
	NotRun           []pair
	NotRunMore       int
	Quiet            int
	RulesKnown       bool
	Versions         []pair
	Files            []File
	FilesMore        int
	Raw              template.URL
	RawText, RawNote string
}

func newPage(l lang, t *template.Template, in *In) (*page, error) {
	p := &page{Lang: l.tag(), HasAlerts: len(in.Alerts) > 0}
	p.Head, p.Script = head(l)
	p.verdict(l, in)
	p.scope(l, in)
	if p.HasAlerts {
		p.Histogram, p.Heat = newHistogram(l, in), newHeat(l, in.Alerts)
		p.Actors = rank(l, in.Alerts, whoIn(in.Alerts), maxActorBars)
		p.Addrs = rank(l, in.Alerts, func(a *alert.Alert) string { return a.SourceIP }, maxActorBars)
		incidents, of := incidentsOf(l, in.Alerts)
		n := min(len(incidents), maxIncidents)
		p.Incidents, p.IncidentsMore = incidents[:n], len(incidents)-n
		entities := entitiesOf(in.Alerts)
		n = min(len(entities), maxEntities)
		p.Entities, p.EntitiesMore = entities[:n], len(entities)-n
		if err := p.alerts(l, t, in, of); err != nil {
			return nil, err
		}
		if err := p.raw(l, in); err != nil {
			return nil, err
		}
	}
	if p.Trail = in.Trail; p.Trail != nil {
		p.Steps, p.StepsMore = stepsOf(in, maxSteps)
		p.Kin = kinOf(l, p.Trail)
	}
	p.rules(l, in)
	p.versions(l, in)
	return p, nil
}

// head returns what belongs into the head, and the script. The policy names
// both by their hash: nothing else in the page can run or be fetched.
func head(l lang) (template.HTML, template.HTML) {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	csp := "default-src 'none'; style-src " + hash(sources().style) + "; script-src " + hash(sources().script) + "; img-src data:; base-uri 'none'; form-action 'none'"
	return template.HTML(`<meta http-equiv="Content-Security-Policy" content="` + csp + `">` + "\n<style>" + sources().style + "</style>"),
		template.HTML("<script>" + sources().script + "</script>")
}

// verdictOf is what a reader should know if they read nothing else: how many
// of what, and when it began.
func verdictOf(l lang, in *In) (worst alert.Severity, line, more string) {
	n := counts(in.Alerts)
	for s := alert.Critical; s >= alert.Info && worst == 0; s-- {
		if n[s] > 0 {
			worst = s
		}
	}
	switch {
	case len(in.Alerts) > 0:
		from, to := span(in.Alerts)
		when := l.t("between %s and %s", stamp(from), until(from, to))
		if from.Equal(to) {
			when = l.t("at %s", stamp(from))
		}
		line, more = severityList(l, n), when
		if f := firstSign(in.Alerts); f != nil {
			more += l.t("; ") + l.t("first sign: %s (%s)", inert(l.title(f), 160), stamp(f.FirstAt))
		}
	case in.Stats.Events == 0:
		line = l.t("No alerts: no event was evaluated")
	default:
		line = l.t("No alerts in %s events", num(in.Stats.Events))
		if s := in.Stats; s.FirstEvent != nil && s.LastEvent != nil {
			more = l.t("between %s and %s", stamp(*s.FirstEvent), until(*s.FirstEvent, *s.LastEvent))
		}
	}
	return worst, line, more
}

// until writes the end of a span, without the day when it is the same.
func until(from, to time.Time) string {
	const day = "2006-01-02"
	if from.UTC().Format(day) == to.UTC().Format(day) {
		return to.UTC().Format("15:04:05Z")
	}
	return stamp(to)
}

// caveat is what belongs right under the verdict.
func caveat(l lang, in *In) string {
	attempts := 0
	for i := range in.Alerts {
		if in.Alerts[i].Outcome == "attempt" {
			attempts++
		}
	}
	var parts []string
	if attempts > 0 {
		parts = append(parts, l.t("%s of them only attempted", num(int64(attempts))))
	}
	if len(in.Stats.FilesFailed) > 0 || in.Interrupted || in.Stats.Parked > 0 {
		parts = append(parts, l.t("nothing is known about what was not read, see below"))
	}
	return strings.Join(parts, l.t("; "))
}

func (p *page) verdict(l lang, in *In) {
	worst, line, more := verdictOf(l, in)
	p.Level, p.Verdict, p.More, p.Caveat = int(worst), line, more, caveat(l, in)
	if worst == 0 && (len(in.Stats.FilesFailed) > 0 || in.Interrupted || in.Stats.Events == 0) {
		p.Level = int(alert.Medium) // no alert and not everything read is no good news
	}
}

// warnings lists what makes the result less than complete.
func warnings(l lang, in *In) []string {
	s := &in.Stats
	var out []string
	add := func(n int64, one, many string) {
		if n > 0 {
			out = append(out, l.n(n, one, many))
		}
	}
	if in.Interrupted {
		out = append(out, l.t("The run was interrupted: this report covers only what was read until then."))
	}
	add(int64(len(s.FilesFailed)), "%s file was not read, or not to its end.", "%s files were not read, or not to their end.")
	add(s.Parked, "%s record is no event and was not evaluated.", "%s records are no events and were not evaluated.")
	add(s.RuleErrors, "%s rule error: the rule was not evaluated on that event.", "%s rule errors: those rules were not evaluated on those events.")
	blind := int64(0)
	for _, r := range in.Rules {
		if r.NotRun == NoGeo || r.NotRun == NoPolicy {
			blind++
		}
	}
	add(blind, "%s rule could not match anything in this run, see Rules.", "%s rules could not match anything in this run, see Rules.")
	add(int64(len(in.Gaps)), "%s stretch without any event, see Missing hours.", "%s stretches without any event, see Missing hours.")
	return out
}

// facts is a list of names and values in one language; what is empty is no fact.
type facts struct {
	l    lang
	rows []pair
}

func (f *facts) add(name, value string) {
	if value != "" {
		f.rows = append(f.rows, pair{f.l.t(name), value})
	}
}

// scopeOf lists what was asked for and what was read.
func scopeOf(l lang, in *In) []pair {
	s := &in.Stats
	out := facts{l: l}
	if n := len(in.Scope.Sources); n > 0 {
		shown := make([]string, 0, maxListValues)
		for _, src := range in.Scope.Sources[:min(n, maxListValues)] {
			if src == "-" {
				src = l.t("standard input")
			}
			shown = append(shown, inert(src, maxLine))
		}
		if n > maxListValues {
			shown = append(shown, l.t("and %s more", num(int64(n-maxListValues))))
		}
		out.add("Sources", strings.Join(shown, l.t(", ")))
	}
	var bounds []string
	if !in.Scope.From.IsZero() {
		bounds = append(bounds, l.t("from %s", stamp(in.Scope.From)))
	}
	if !in.Scope.To.IsZero() {
		bounds = append(bounds, l.t("before %s", stamp(in.Scope.To)))
	}
	if len(bounds) == 0 {
		bounds = []string{l.t("all")}
	}
	out.add("Time range", strings.Join(bounds, l.t(", ")))
	entity := l.t("all")
	if in.Scope.Entity != "" {
		entity = inert(in.Scope.Entity, maxLine)
	}
	out.add("Entity", entity)
	if s.FirstEvent != nil && s.LastEvent != nil {
		out.add("Events found", l.t("%s to %s", stamp(*s.FirstEvent), stamp(*s.LastEvent)))
	}
	out.add("Files read", filesRead(l, s))
	out.add("Not looked at", notLookedAt(l, s))
	if s.FilesSkipped > 0 {
		out.add("Not opened", l.n(s.FilesSkipped, "%s delivery, by its name of another time or region", "%s deliveries, by their names of other times or regions"))
	}
	records := l.t("%s (%s events evaluated, %s duplicates, %s parked, %s late)", num(s.Records), num(s.Events), num(s.Duplicates), num(s.Parked), num(s.Late))
	if s.Filtered > 0 {
		records += l.t(", ") + l.t("%s outside the filter", num(s.Filtered))
		if s.FilteredFirst != nil {
			records += l.t(" (%s to %s)", stamp(*s.FilteredFirst), stamp(*s.FilteredLast))
		}
	}
	out.add("Records", records)
	if len(s.ByReason) > 0 {
		var reasons []string
		for r, n := range s.ByReason {
			reasons = append(reasons, l.t("%s: %s", inert(string(r), maxShort), num(n)))
		}
		sort.Strings(reasons)
		out.add("Parked, by reason", strings.Join(reasons, l.t(", ")))
	}
	out.add("Read", l.t("%s stored, %s unpacked", size(s.BytesRead), size(s.BytesDecoded)))
	out.add("Missing hours", missingHours(l, in))
	if in.Quiet > 0 {
		out.add("Quiet hours", l.n(int64(in.Quiet), "%s stretch without any event, in which other days have few, too", "%s stretches without any event, in which other days have few, too"))
	}
	if in.Hidden > 0 {
		out.add("Not shown", l.n(int64(in.Hidden), "%s alert: a signal, or below the severity asked for", "%s alerts: signals, or below the severity asked for"))
	}
	return out.rows
}

// notLookedAt names the files that are in no form that is read.
func notLookedAt(l lang, s *replay.Stats) string {
	if s.FilesIgnored == 0 {
		return ""
	}
	names := slices.Clone(s.Ignored)
	for i := range names {
		names[i] = inert(names[i], maxLine)
	}
	more := ""
	if n := s.FilesIgnored - int64(len(names)); n > 0 {
		more = l.t(", ") + l.t("and %s more", num(n))
	}
	return l.t("%s, hidden or not named like events: %s", num(s.FilesIgnored), strings.Join(names, l.t(", "))+more)
}

// missingHours says what is known of them; nothing where they are listed.
func missingHours(l lang, in *In) string {
	switch {
	case len(in.Gaps) > 0 && in.Sparse:
		return l.t("those listed, and perhaps more: of an account too few hours have events to tell which are missing")
	case len(in.Gaps) > 0:
		return ""
	case in.GapsKnown && in.Apart && !in.Sparse:
		return l.t("none among those that have events around them; a few events lie far from the others, and the time between was not looked at")
	case in.GapsKnown && in.Sparse:
		return l.t("not known: of an account too few hours have events to tell which are missing")
	case in.Quiet > 0:
		return l.t("none that has events on other days")
	case in.GapsKnown:
		return l.t("none: no whole hour without events between the first and the last")
	}
	return l.t("not looked for in this run")
}

// filesRead says how many files were read, and how many of them not well.
func filesRead(l lang, s *replay.Stats) string {
	out := l.t("%s of %s", num(s.FilesWhole()), num(s.FilesFound()))
	if part := s.FilesPart; part > 0 {
		out += l.t(", ") + l.t("%s in part", num(part))
	}
	if none := int64(len(s.FilesFailed)) - s.FilesPart; none > 0 {
		out += l.t(", ") + l.t("%s not at all", num(none))
	}
	return out
}

// size says bytes in the unit that suits.
func size(n int64) string {
	switch {
	case n < 0:
		return "—"
	case n < 10_000:
		return num(n) + " B"
	case n < 10_000_000:
		return num(n/1000) + " kB"
	}
	return num(n/1_000_000) + " MB"
}

func (p *page) scope(l lang, in *In) {
	p.Warnings, p.Scope = warnings(l, in), scopeOf(l, in)
	n := min(len(in.Stats.FilesFailed), maxListed)
	p.Failed, p.FailedMore = in.Stats.FilesFailed[:n], len(in.Stats.FilesFailed)-n
	n = min(len(in.Gaps), maxListed)
	p.Gaps, p.GapsMore = in.Gaps[:n], len(in.Gaps)-n
}

// Hours is how long the gap is.
func (g Gap) Hours() int64 { return int64(g.To.Sub(g.From) / time.Hour) }

// view is an alert as the page tells it.
type view struct {
	*alert.Alert
	// Title and Reason are in the report's language.
	Title    string
	Reason   string
	Seq      int
	Level    int
	Open     bool
	Attempt  bool
	Who      string
	Target   string
	WhoAll   string
	When     string
	Policy   *policyDiff
	News     []finding
	Gone     []finding
	Baseline *baseline
	Details  []pair
	Evidence []string
	MoreIDs  int
	Runbook  []block
	Incident int // its number; 0 where there are no numbers
}

// block is a part of a runbook: words, or commands to copy.
type block struct {
	Command bool
	Text    string
}

// blocks tells commands, which are indented, from words.
func blocks(s string) []block {
	var out []block
	for _, line := range strings.Split(strings.TrimRight(inertBlock(s, maxBlock), "\n "), "\n") {
		cmd := strings.HasPrefix(line, "  ")
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case len(out) > 0 && out[len(out)-1].Command == cmd && !cmd:
			out[len(out)-1].Text += " " + line
		case len(out) > 0 && out[len(out)-1].Command == cmd:
			out[len(out)-1].Text += "\n" + line
		default:
			out = append(out, block{cmd, line})
		}
	}
	return out
}

func newView(l lang, a *alert.Alert, seq int) *view {
	v := &view{Alert: a, Title: l.title(a), Reason: l.reason(a), Seq: seq, Level: int(level(a)), Attempt: a.Outcome == "attempt", Who: who(a), Target: target(a)}
	v.WhoAll = inert(who(a), maxLine)
	if a.Actor.Type != "" {
		v.WhoAll += " (" + inert(a.Actor.Type, maxShort) + ")"
	}
	v.When = stamp(a.Time)
	if !a.FirstAt.IsZero() && !a.FirstAt.Equal(a.Time) {
		v.When = l.t("%s to %s, %s events", stamp(a.FirstAt), until(a.FirstAt, a.LastAt), num(int64(a.Count)))
	}
	var f policyFacts
	known := map[string]bool{}
	if read(a.Details, "policy", &f) {
		if d := f.diff(); d.Verdict != "" || d.Summary != "" || len(d.Findings) > 0 {
			v.Policy, known["policy"] = d, true
			if d.Before == "known" {
				d.Before = "" // goes without saying
			}
			if l == chinese && d.Summary != d.SummaryZH {
				d.Summary = d.SummaryZH // without one the reason says it
			}
			for i := range d.Notes {
				d.Notes[i] = l.ours(d.Notes[i])
			}
			for _, r := range f.Reasons {
				if l == chinese {
					r.En = firstOf(r.Zh, r.En)
				}
				d.Notes = append(d.Notes, r.En)
			}
			v.News, v.Gone = findings(l, d.Findings), findings(l, d.Removed)
		}
	}
	var b baseline
	if read(a.Details, "baseline", &b) && b.New != "" {
		v.Baseline, known["baseline"] = &b, true
	}
	v.Details = details(a.Details, known)
	for i := range v.Details {
		v.Details[i].V = l.ours(v.Details[i].V)
	}
	n := min(len(a.EventIDs), maxEvidence)
	v.Evidence, v.MoreIDs = a.EventIDs[:n], len(a.EventIDs)-n
	if text := a.Steps(l == chinese); text != "" {
		v.Runbook = blocks(text)
	}
	return v
}

func findings(l lang, fs []finding) []finding {
	fs = slices.Clone(fs[:min(len(fs), maxFindings)])
	for i := range fs {
		fs[i].Actions = slices.Clone(fs[i].Actions)
		for k := range fs[i].Actions {
			fs[i].Actions[k] = l.ours(fs[i].Actions[k])
		}
		if l == chinese && fs[i].SentenceZH != "" {
			fs[i].Sentence = fs[i].SentenceZH
		}
	}
	return fs
}

// Context says the conditions under which the witness holds, by key.
func (f finding) Context() string {
	keys := make([]string, 0, len(f.Witness.Context))
	for k := range f.Witness.Context {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	parts := make([]string, 0, len(keys))
	for _, k := range keys[:min(len(keys), maxListValues)] {
		parts = append(parts, inert(k, maxShort)+" = "+inert(f.Witness.Context[k], maxShort))
	}
	return strings.Join(parts, ", ")
}

// Level is the finding's severity; 1 when it is none of the words.
func (f finding) Level() int {
	s, err := alert.ParseSeverity(f.Severity)
	if err != nil {
		s = alert.Info
	}
	return int(s)
}

// List joins the first of some values.
func (f finding) List(values []string) string { return joined(values) }

func joined(values []string) string {
	shown := make([]string, 0, maxListValues+1)
	for _, v := range values[:min(len(values), maxListValues)] {
		shown = append(shown, inert(v, 120))
	}
	if n := len(values) - maxListValues; n > 0 {
		shown = append(shown, fmt.Sprintf("… +%d", n))
	}
	return strings.Join(shown, ", ")
}

// Name is the usual place or value.
func (u usual) Name() string {
	s := inert(cmp.Or(u.Network, u.Value), maxLine)
	for _, x := range []string{u.ASN, u.Country} {
		if x != "" {
			s += " " + inert(x, maxShort)
		}
	}
	return s
}

// Percent is its share.
func (u usual) Percent() string { return fmt.Sprintf("%.0f %%", u.Share*100) }

// details flattens what a rule adds, by key: "distinct.count" and so on.
func details(d map[string]any, skip map[string]bool) []pair {
	var out []pair
	var walk func(key string, v any, depth int)
	walk = func(key string, v any, depth int) {
		switch x := v.(type) {
		case map[string]any:
			if depth < 4 {
				keys := make([]string, 0, len(x))
				for k := range x {
					keys = append(keys, k)
				}
				sort.Strings(keys)
				for _, k := range keys {
					sub := k
					if key != "" {
						sub = key + "." + k
					}
					if key != "" || !skip[k] {
						walk(sub, x[k], depth+1)
					}
				}
				return
			}
		case []any:
			vals := make([]string, len(x))
			for i := range x {
				vals[i] = scalar(x[i])
			}
			out = append(out, pair{inert(key, maxShort), joined(vals)})
			return
		}
		if s := scalar(v); s != "" {
			out = append(out, pair{inert(key, maxShort), inert(s, maxLine)})
		}
	}
	// The JSON form has no types of ours in it.
	b, err := json.Marshal(d)
	if err != nil {
		return nil
	}
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(&m) != nil {
		return nil
	}
	walk("", m, 0)
	return out[:min(len(out), maxDetails)]
}

func scalar(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// budget collects pieces of HTML up to a number of bytes.
type budget struct {
	t    *template.Template
	buf  bytes.Buffer
	one  bytes.Buffer
	left int
}

// add renders one piece; false when it no longer fits.
func (b *budget) add(name string, v any) (bool, error) {
	b.one.Reset()
	if err := b.t.ExecuteTemplate(&b.one, name, v); err != nil {
		return false, err
	}
	if b.one.Len() > b.left {
		b.left = 0 // no smaller one may slip in behind it
		return false, nil
	}
	b.left -= b.one.Len()
	b.buf.Write(b.one.Bytes())
	return true, nil
}

// html is what was collected; html/template made it, so it is safe.
func (b *budget) html() template.HTML { return template.HTML(b.buf.String()) }

type foldKey struct {
	level           alert.Severity
	rule, who, addr string
}

type foldRow struct {
	Level           int
	Rule, Who, Addr string
	N               int
	First, Last     time.Time
}

// alerts tells all of them: the worst in full, the others as rows, what has no room there
// folded, and of the rest how many there are.
func (p *page) alerts(l lang, t *template.Template, in *In, of []int) error {
	rest, err := p.inFull(l, t, in.Alerts, of)
	if err != nil {
		return err
	}
	who := whoIn(in.Alerts)
	if rest, err = p.inRows(l, t, in.Alerts, rest, who); err != nil || len(rest) == 0 {
		return err
	}
	return p.inFolds(l, t, in.Alerts, rest, who)
}

// inFull tells the worst alerts, as many as there is room for, and gives the rest.
func (p *page) inFull(l lang, t *template.Template, all []alert.Alert, of []int) (rest []int, err error) {
	// Of too many, the worst: what does not fit in full is rendered worst
	// first too, so that the budget is spent on those.
	full, rest := worst(all, maxFull)
	open := 0
	pieces := make(map[int][]byte, len(full))
	order := slices.Clone(full)
	lists.Sort(order, func(a, b int) int { return cmp.Compare(level(&all[b]), level(&all[a])) })
	b := budget{t: t, left: maxFullBytes}
	for k, i := range order {
		v := newView(l, &all[i], i)
		v.Incident = of[i]
		if open < maxOpen && (level(&all[i]) == alert.Critical || k == 0) {
			v.Open = true
			open++
		}
		b.buf.Reset()
		ok, err := b.add("alert", v)
		if err != nil {
			return nil, err
		}
		if !ok {
			rest = append(slices.Clone(order[k:]), rest...)
			break
		}
		pieces[i] = bytes.Clone(b.buf.Bytes())
	}
	var told bytes.Buffer
	for _, i := range full {
		told.Write(pieces[i])
	}
	p.Full = template.HTML(told.String())
	n := len(pieces)
	p.Intro = l.t("In order of time. Open one for the evidence and what to do.")
	if len(rest) > 0 {
		p.Intro = l.t("The %s worst of %s alerts are told in full, in order of time; the others follow as a table.", num(int64(n)), num(int64(len(all))))
	}
	return rest, nil
}

// inRows gives the first of the alerts one row each, and gives the rest.
func (p *page) inRows(l lang, t *template.Template, all []alert.Alert, rest []int, who func(*alert.Alert) string) ([]int, error) {
	b := budget{t: t, left: maxRowBytes}
	rows := 0
	for _, i := range rest[:min(len(rest), maxRows)] {
		ok, err := b.add("row", newRow(l, &all[i], who(&all[i])))
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		rows++
	}
	p.Rows = b.html()
	p.RowsNote = l.t("%s further alerts, one row each.", num(int64(rows)))
	return rest[rows:], nil
}

// folds puts alerts of one severity, rule, actor and address together, the worst first.
func folds(all []alert.Alert, rest []int, who func(*alert.Alert) string) []*foldRow {
	byKey := map[foldKey]*foldRow{}
	var list []*foldRow
	for _, i := range rest {
		a := &all[i]
		k := foldKey{level(a), a.Rule, who(a), a.SourceIP}
		f := byKey[k]
		if f == nil {
			f = &foldRow{Level: int(k.level), Rule: k.rule, Who: k.who, Addr: k.addr, First: a.FirstAt, Last: a.Time}
			byKey[k] = f
			list = append(list, f)
		}
		f.N++
		if a.FirstAt.Before(f.First) {
			f.First = a.FirstAt
		}
		if a.Time.After(f.Last) {
			f.Last = a.Time
		}
	}
	lists.Sort(list, func(a, b *foldRow) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(b.N, a.N))
	})
	return list
}

func (p *page) inFolds(l lang, t *template.Template, all []alert.Alert, rest []int, who func(*alert.Alert) string) error {
	list := folds(all, rest, who)
	b := budget{t: t, left: maxFoldBytes}
	folded := 0
	for _, f := range list[:min(len(list), maxFolded)] {
		ok, err := b.add("fold", f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		folded += f.N
	}
	p.Folded = b.html()
	p.FoldedNote = l.t("%s further alerts, folded by severity, rule, actor and address.", num(int64(folded)))
	if left := len(rest) - folded; left > 0 {
		p.Left = l.t("%s alerts are in no table for lack of room; they are in the counts and charts. All of them: replay -o jsonl.", num(int64(left)))
	}
	return nil
}

// tableRow is an alert in one row.
type tableRow struct {
	Time      time.Time
	Level     int
	What, Who string
	SourceIP  string
	Attempt   bool
	Count     int
}

func newRow(l lang, a *alert.Alert, who string) tableRow {
	return tableRow{a.Time, int(level(a)), firstOf(l.title(a), a.Rule), who, a.SourceIP, a.Outcome == "attempt", a.Count}
}

// raw packs the alerts as JSON lines into a link that holds them, as many of
// the worst as there is room for.
func (p *page) raw(l lang, in *In) error {
	as := in.Alerts
	n := len(as)
	var packed []byte
	for n > 0 {
		idx, _ := worst(as, n)
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		lines := &counter{w: z}
		enc := encoder(lines)
		// Written until it is clearly too much.
		k := 0
		for ; k < n && buf.Len() < maxRaw && lines.n <= maxUnpacked; k++ {
			if err := enc.Encode(&as[idx[k]]); err != nil {
				return err
			}
		}
		if err := z.Close(); err != nil {
			return err
		}
		packed = buf.Bytes()
		got := base64.StdEncoding.EncodedLen(len(packed))
		over := max(float64(got)/maxRaw, float64(lines.n)/maxUnpacked)
		if over <= 1 && k == n {
			break
		}
		// As many as fit by the average so far, with some room.
		n = min(n-1, int(float64(k)/over*0.95))
	}
	if n == 0 {
		return nil
	}
	p.Raw = template.URL("data:application/gzip;base64," + base64.StdEncoding.EncodeToString(packed))
	p.RawText = l.t("Download %s alerts as JSON lines (gzip, %s)", num(int64(n)), size(int64(len(packed))))
	if n < len(as) {
		p.RawNote = l.t("The %s worst of %s alerts fit in here. All of them: replay -o jsonl.", num(int64(n)), num(int64(len(as))))
	}
	return nil
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.w.Write(b)
}

func (p *page) rules(l lang, in *In) {
	all := rulesFired(in)
	n := min(len(all), maxListed)
	p.Fired, p.FiredMore = all[:n], len(all)-n
	notRun := rulesNotRun(in)
	n = min(len(notRun), maxListed)
	for _, r := range notRun[:n] {
		p.NotRun = append(p.NotRun, pair{inert(r.ID, maxLine), l.notRun(r.NotRun)})
	}
	p.NotRunMore = len(notRun) - n
	p.RulesKnown = len(in.Rules) > 0
	found := map[string]bool{}
	for _, f := range all {
		found[f.ID] = true
	}
	for _, r := range in.Rules {
		if r.NotRun == "" && !found[r.ID] {
			p.Quiet++
		}
	}
}

func (p *page) versions(l lang, in *In) {
	p.Versions = versionsOf(l, in)
	n := min(len(in.Files), maxListed)
	p.Files, p.FilesMore = in.Files[:n], len(in.Files)-n
}

func versionsOf(l lang, in *In) []pair {
	orUnknown := func(s string) string {
		if s == "" {
			return l.t("not known")
		}
		return inert(s, maxLine)
	}
	set := orUnknown(in.RuleSet)
	if len(in.Rules) > 0 {
		set += l.t(", ") + l.t("%s rules", num(int64(len(in.Rules))))
	}
	return []pair{{l.t("Program"), "trailwarden " + orUnknown(in.Tool)}, {l.t("Rule set"), set}}
}
