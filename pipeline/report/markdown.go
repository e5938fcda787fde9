package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// What a Markdown report holds at most.
const (
	maxToldMD = 50  // alerts told
	maxRowsMD = 200 // further alerts, one row each
)

// markup escapes everything that Markdown or HTML would act on.
var markup = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `(`, `\(`, `)`, `\)`, `#`, `\#`, `~`, `\~`, `|`, `\|`, `!`, `\!`, `$`, `\$`,
	`&`, `&amp;`, `<`, `&lt;`, `>`, `&gt;`,
	`://`, `:\/\/`, `www.`, `www\.`, `WWW.`, `WWW\.`, // no links of their own accord
	`@`, `＠`, // and nobody is called
)

// md returns s as inert Markdown text of one line. Marks at a line's start
// that would make a list are harmless: it never starts one.
func md(s string, max int) string { return markup.Replace(inert(s, max)) }

// mdCode returns s as a code span that also stands in a table.
func mdCode(s string, max int) string {
	s = strings.NewReplacer("`", "ˋ", "|", `\|`, "@", "＠").Replace(text.Log(strings.TrimSpace(inert(s, max))))
	if s == "" {
		return "—"
	}
	return "`" + s + "`"
}

// Markdown writes the report in short, for tickets and notes: the verdict,
// the scope, the 50 worst alerts with what to do, and a row for each of the
// next 200.
func Markdown(w io.Writer, in In) error {
	m := &markdown{b: bufio.NewWriter(w), l: langOf(in.Lang), in: &in}
	m.head()
	if in.Trail != nil {
		m.trail(in.Trail)
	}
	if incidents, _ := incidentsOf(m.l, in.Alerts); len(incidents) > 0 {
		m.incidents(incidents)
		m.entities(entitiesOf(in.Alerts))
	}
	told, rest := worst(in.Alerts, maxToldMD)
	m.alerts(told, rest)
	if len(rest) > 0 {
		m.table(rest)
	}
	m.rules()
	m.versions()
	return m.b.Flush()
}

// markdown writes the parts of a report, from its top to its end.
type markdown struct {
	b  *bufio.Writer
	l  lang
	in *In
}

// p prints; b keeps the first error. Half a report is calls of it: not inlined (DESIGN D23).
//
//go:noinline
func (m *markdown) p(format string, args ...any) { fmt.Fprintf(m.b, format, args...) }

// more ends a list that goes on for n more.
func (m *markdown) more(n int) { m.p("- %s\n", m.l.t("and %s more", num(int64(n)))) }

// moreRows says below a table that n more would follow.
func (m *markdown) moreRows(n int) {
	if n > 0 {
		m.p("\n%s\n", m.l.t("and %s more", num(int64(n))))
	}
}

// head is the verdict, and what was looked at.
func (m *markdown) head() {
	_, verdict, more := verdictOf(m.l, m.in)
	m.p("# %s\n\n**%s**\n", m.l.t("trailwarden replay report"), md(verdict, maxText))
	if more != "" {
		m.p("\n%s\n", md(more, maxText))
	}
	if c := caveat(m.l, m.in); c != "" {
		m.p("\n%s\n", md(c, maxText))
	}
	m.p("\n## %s\n\n", m.l.t("Scope and coverage"))
	for _, w := range warnings(m.l, m.in) {
		m.p("> ⚠ %s\n>\n", md(w, maxText))
	}
	m.p("\n")
	for _, kv := range scopeOf(m.l, m.in) {
		m.p("- %s: %s\n", kv.K, md(kv.V, maxText))
	}
	for i, f := range m.in.Stats.FilesFailed {
		if i == maxRowsMD {
			m.more(len(m.in.Stats.FilesFailed) - i)
			break
		}
		m.p("- %s: %s — %s\n", m.l.t("File"), mdCode(f.Path, maxLine), md(f.Error, maxLine))
	}
	for i, g := range m.in.Gaps {
		if i == maxRowsMD {
			m.more(len(m.in.Gaps) - i)
			break
		}
		m.p("- %s: %s %s, %s\n", m.l.t("Missing hours"), mdCode(g.Account, maxShort), mdCode(g.Region, maxShort), m.l.t("%s to %s", stamp(g.From), stamp(g.To)))
	}
}

// trail is what one entity did.
func (m *markdown) trail(t *replay.Trail) {
	m.p("\n## %s: %s\n\n- %s: %s\n", m.l.t("Entity"), mdCode(t.Entity, maxLine), m.l.t("Events"), m.l.t("%s, %s by it, %s refused or failed", num(t.Events), num(t.By), num(t.Attempts)))
	if kin := kinOf(m.l, t); len(kin) > 0 {
		m.p("\n### %s\n\n", m.l.t("Who made whom"))
		for i := range kin[:min(len(kin), maxToldMD)] {
			k := &kin[i]
			m.p("- %s %s → %s %s\n", stamp(k.First), mdCode(strings.TrimSpace(k.Who+" "+k.Key), maxLine), mdCode(k.What, maxLine), mdCode(k.Whom, maxLine))
		}
	}
	if len(t.Open) > 0 {
		m.p("\n### %s\n\n", m.l.t("Still open at the end of what was read"))
		for i, o := range t.Open {
			if i == maxToldMD {
				m.more(len(t.Open) - i)
				break
			}
			m.p("- %s\n", mdCode(m.l.given(o), maxLine))
		}
	}
	if steps, more := stepsOf(m.in, maxToldMD); len(steps) > 0 {
		m.p("\n### %s\n\n%s\n\n| %s | %s | %s | %s | %s | %s | %s |\n|---|---|---|---|---|---|---:|\n", m.l.t("What was done, in order"), m.l.t("Calls that differ in nothing but time are one row."),
			m.l.t("First"), m.l.t("Who"), m.l.t("What"), m.l.t("Target"), m.l.t("Address"), m.l.t("Key"), m.l.t("Times"))
		for i := range steps {
			s := &steps[i]
			what := mdCode(s.What, maxShort)
			if s.Attempt {
				what += " (" + m.l.t("attempt") + ")"
			}
			m.p("| %s | %s | %s | %s | %s | %s | %s |\n", stamp(s.First), mdCode(s.Who, maxShort), what, mdCode(s.Whom, maxShort), mdCode(s.From, maxShort), mdCode(s.Key, maxShort), num(s.Count))
		}
		m.moreRows(more)
	}
}

// incidents are the alerts that belong together.
func (m *markdown) incidents(incidents []incident) {
	m.p("\n## %s\n\n%s\n\n| %s | %s | %s | %s | %s | %s |\n|---:|---|---|---|---|---:|\n", m.l.t("Incidents"), m.l.t("Alerts that share an actor, key, address or target within a day; an actor and a target, or an actor whom one of them tells the making of, within 30 days."),
		m.l.t("Number"), m.l.t("Worst"), m.l.t("What"), m.l.t("Who"), m.l.t("Addresses"), m.l.t("Alerts"))
	for i := range incidents[:min(len(incidents), maxToldMD)] {
		n := &incidents[i]
		m.p("| %s | %s | %s | %s | %s | %s |\n", num(int64(n.N)), m.l.severity(alert.Severity(n.Level)), md(n.Title, 200), md(n.Who, maxLine), mdCode(n.From, maxLine), num(int64(n.Alerts)))
	}
	m.moreRows(len(incidents) - maxToldMD)
}

// entities are whom the alerts are about.
func (m *markdown) entities(entities []entity) {
	m.p("\n## %s\n\n| %s | %s | %s | %s |\n|---|---|---|---:|\n", m.l.t("Entities"), m.l.t("Entity"), m.l.t("Role here"), m.l.t("Worst"), m.l.t("Alerts"))
	for i := range entities[:min(len(entities), maxToldMD)] {
		e := &entities[i]
		m.p("| %s | %s | %s | %s |\n", mdCode(e.Name, maxLine), m.l.t(e.Kind), m.l.severity(alert.Severity(e.Level)), num(int64(e.Alerts)))
	}
	m.moreRows(len(entities) - maxToldMD)
}

// alerts tells the worst in full.
func (m *markdown) alerts(told, rest []int) {
	if len(told) > 0 {
		m.p("\n## %s\n", m.l.t("Alerts"))
		if len(rest) > 0 {
			m.p("\n%s\n", m.l.t("The %s worst of %s alerts are told in full, in order of time; the others follow as a table.", num(int64(len(told))), num(int64(len(m.in.Alerts)))))
		}
	}
	ran := map[string]bool{}
	for _, i := range told {
		m.alert(newView(m.l, &m.in.Alerts[i], i), ran)
	}
}

// alert tells one. What there is to do is said once for each rule: ran has what was said.
func (m *markdown) alert(v *view, ran map[string]bool) {
	m.p("\n### %s: %s\n\n%s\n\n", m.l.severity(level(v.Alert)), md(v.Title, 200), md(v.Reason, maxText))
	m.p("- %s: %s\n- %s: %s\n", m.l.t("When"), v.When, m.l.t("Who"), mdCode(v.WhoAll, maxLine))
	if v.Actor.AccessKeyID != "" {
		m.p("- %s: %s\n", m.l.t("Key"), mdCode(v.Actor.AccessKeyID, maxLine))
	}
	if v.SourceIP != "" {
		m.p("- %s: %s\n", m.l.t("Address"), mdCode(v.SourceIP, maxLine))
	}
	if v.Target != "" {
		m.p("- %s: %s\n", m.l.t("Target"), mdCode(v.Target, maxLine))
	}
	if v.Attempt {
		m.p("- %s: %s\n", m.l.t("Outcome"), m.l.t("refused or failed: nothing was changed"))
	}
	m.p("- %s: %s\n", m.l.t("Rule"), mdCode(v.Rule, maxLine))
	for _, f := range v.News {
		m.p("- %s: %s\n", m.l.t("What it allows"), md(f.Sentence, maxText))
		if f.Witness.Action != "" {
			m.p("  - %s: %s\n", m.l.t("Witness"), mdCode(f.Witness.Action+" "+f.Witness.Resource, maxLine))
		}
	}
	if v.Baseline != nil {
		var names []string
		for _, u := range v.Baseline.Usual[:min(len(v.Baseline.Usual), maxListValues)] {
			names = append(names, u.Name()+" "+u.Percent())
		}
		if len(names) > 0 {
			m.p("- %s: %s\n", m.l.t("What was usual"), md(strings.Join(names, ", "), maxText))
		}
	}
	m.p("- %s: %s\n", m.l.t("Evidence"), mdCode(joined(v.Evidence), maxText))
	if steps := fmt.Sprint(v.Rule, v.Runbook); len(v.Runbook) > 0 && !ran[steps] {
		ran[steps] = true
		m.p("\n%s\n", m.l.t("What to do"))
		for _, x := range v.Runbook {
			if x.Command {
				m.p("\n```sh\n%s\n```\n", strings.ReplaceAll(x.Text, "```", "ˋˋˋ"))
			} else {
				m.p("\n%s\n", md(x.Text, maxBlock))
			}
		}
	}
}

// table has a row for each alert that is not told in full.
func (m *markdown) table(rest []int) {
	m.p("\n### %s\n\n| %s | %s | %s | %s | %s |\n|---|---|---|---|---|\n", m.l.t("More alerts"), m.l.t("Time"), m.l.t("Severity"), m.l.t("Rule"), m.l.t("Who"), m.l.t("Address"))
	who := whoIn(m.in.Alerts)
	for k, i := range rest {
		if k == maxRowsMD {
			m.p("\n%s\n", m.l.t("%s alerts are in no table for lack of room; they are in the counts and charts. All of them: replay -o jsonl.", num(int64(len(rest)-k))))
			break
		}
		a := &m.in.Alerts[i]
		m.p("| %s | %s | %s | %s | %s |\n", stamp(a.Time), m.l.severity(level(a)), mdCode(a.Rule, maxShort), mdCode(who(a), maxShort), mdCode(a.SourceIP, maxShort))
	}
}

// rules are those that fired, and those that could not run.
func (m *markdown) rules() {
	m.p("\n## %s\n\n| %s | %s | %s |\n|---|---:|---:|\n", m.l.t("Rules that fired"), m.l.t("Rule"), m.l.t("Detections"), m.l.t("Alerts"))
	for i, f := range rulesFired(m.in) {
		if i == maxRowsMD {
			break
		}
		m.p("| %s | %s | %s |\n", mdCode(f.ID, maxShort), num(f.Detections), num(int64(f.Alerts)))
	}
	if notRun := rulesNotRun(m.in); len(notRun) > 0 {
		m.p("\n## %s\n\n", m.l.t("Rules that could not run"))
		for i, r := range notRun {
			if i == maxRowsMD {
				m.more(len(notRun) - i)
				break
			}
			m.p("- %s: %s\n", mdCode(r.ID, maxShort), md(m.l.notRun(r.NotRun), maxLine))
		}
	}
}

// versions is what the report was made of.
func (m *markdown) versions() {
	m.p("\n## %s\n\n", m.l.t("Input and versions"))
	for _, kv := range versionsOf(m.l, m.in) {
		m.p("- %s: %s\n", kv.K, md(kv.V, maxLine))
	}
	for i, f := range m.in.Files {
		if i == maxRowsMD {
			m.more(len(m.in.Files) - i)
			break
		}
		hash := m.l.t("not computed")
		if f.SHA256 != "" {
			hash = mdCode(f.SHA256, maxLine)
		}
		m.p("- %s, %s, SHA-256 %s\n", mdCode(f.Path, maxLine), size(f.Size), hash)
	}
	m.p("\n%s\n", m.l.t("Same input and rules give the same report, byte for byte. Times are in UTC."))
}
