package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
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
	s = strings.NewReplacer("`", "ˋ", "|", `\|`, "@", "＠").Replace(strings.TrimSpace(inert(s, max)))
	if s == "" {
		return "—"
	}
	return "`" + s + "`"
}

// Markdown writes the report in short, for tickets and notes: the verdict,
// the scope, the 50 worst alerts with what to do, and a row for each of the
// next 200.
func Markdown(w io.Writer, in In) error {
	l := langOf(in.Lang)
	b := bufio.NewWriter(w)
	p := func(format string, args ...any) { fmt.Fprintf(b, format, args...) } // b keeps the first error
	_, verdict, more := verdictOf(l, &in)
	p("# %s\n\n**%s**\n", l.t("trailwarden replay report"), md(verdict, maxText))
	if more != "" {
		p("\n%s\n", md(more, maxText))
	}
	if c := caveat(l, &in); c != "" {
		p("\n%s\n", md(c, maxText))
	}
	p("\n## %s\n\n", l.t("Scope and coverage"))
	for _, w := range warnings(l, &in) {
		p("> ⚠ %s\n>\n", md(w, maxText))
	}
	p("\n")
	for _, kv := range scopeOf(l, &in) {
		p("- %s: %s\n", kv.K, md(kv.V, maxText))
	}
	for i, f := range in.Stats.FilesFailed {
		if i == maxRowsMD {
			p("- %s\n", l.t("and %s more", num(int64(len(in.Stats.FilesFailed)-i))))
			break
		}
		p("- %s: %s — %s\n", l.t("File"), mdCode(f.Path, maxLine), md(f.Error, maxLine))
	}
	for i, g := range in.Gaps {
		if i == maxRowsMD {
			p("- %s\n", l.t("and %s more", num(int64(len(in.Gaps)-i))))
			break
		}
		p("- %s: %s %s, %s\n", l.t("Missing hours"), mdCode(g.Account, maxShort), mdCode(g.Region, maxShort), l.t("%s to %s", stamp(g.From), stamp(g.To)))
	}
	if t := in.Trail; t != nil {
		p("\n## %s: %s\n\n- %s: %s\n", l.t("Entity"), mdCode(t.Entity, maxLine), l.t("Events"), l.t("%s, %s by it, %s refused or failed", num(t.Events), num(t.By), num(t.Attempts)))
		if kin := kinOf(t); len(kin) > 0 {
			p("\n### %s\n\n", l.t("Who made whom"))
			for i := range kin[:min(len(kin), maxToldMD)] {
				k := &kin[i]
				p("- %s %s → %s %s\n", stamp(k.First), mdCode(strings.TrimSpace(k.Who+" "+k.Key), maxLine), mdCode(k.What, maxLine), mdCode(k.Whom, maxLine))
			}
		}
		if steps, more := stepsOf(&in, maxToldMD); len(steps) > 0 {
			p("\n### %s\n\n%s\n\n| %s | %s | %s | %s | %s | %s | %s |\n|---|---|---|---|---|---|---:|\n", l.t("What was done, in order"), l.t("Calls that differ in nothing but time are one row."),
				l.t("First"), l.t("Who"), l.t("What"), l.t("Target"), l.t("Address"), l.t("Key"), l.t("Times"))
			for i := range steps {
				s := &steps[i]
				what := mdCode(s.What, maxShort)
				if s.Attempt {
					what += " (" + l.t("attempt") + ")"
				}
				p("| %s | %s | %s | %s | %s | %s | %s |\n", stamp(s.First), mdCode(s.Who, maxShort), what, mdCode(s.Whom, maxShort), mdCode(s.From, maxShort), mdCode(s.Key, maxShort), num(s.Count))
			}
			if more > 0 {
				p("\n%s\n", l.t("and %s more", num(int64(more))))
			}
		}
	}
	if incidents, _ := incidentsOf(l, in.Alerts); len(incidents) > 0 {
		p("\n## %s\n\n%s\n\n| %s | %s | %s | %s | %s | %s |\n|---:|---|---|---|---|---:|\n", l.t("Incidents"), l.t("Alerts that share an actor, key, address or target within a day."),
			l.t("Number"), l.t("Worst"), l.t("What"), l.t("Who"), l.t("Addresses"), l.t("Alerts"))
		for i := range incidents[:min(len(incidents), maxToldMD)] {
			n := &incidents[i]
			p("| %s | %s | %s | %s | %s | %s |\n", num(int64(n.N)), l.severity(alert.Severity(n.Level)), md(n.Title, 200), md(n.Who, maxLine), mdCode(n.From, maxLine), num(int64(n.Alerts)))
		}
		if more := len(incidents) - maxToldMD; more > 0 {
			p("\n%s\n", l.t("and %s more", num(int64(more))))
		}
		p("\n## %s\n\n| %s | %s | %s | %s |\n|---|---|---|---:|\n", l.t("Entities"), l.t("Entity"), l.t("Role here"), l.t("Worst"), l.t("Alerts"))
		entities := entitiesOf(in.Alerts)
		for i := range entities[:min(len(entities), maxToldMD)] {
			e := &entities[i]
			p("| %s | %s | %s | %s |\n", mdCode(e.Name, maxLine), l.t(e.Kind), l.severity(alert.Severity(e.Level)), num(int64(e.Alerts)))
		}
		if more := len(entities) - maxToldMD; more > 0 {
			p("\n%s\n", l.t("and %s more", num(int64(more))))
		}
	}
	told, rest := worst(in.Alerts, maxToldMD)
	if len(told) > 0 {
		p("\n## %s\n", l.t("Alerts"))
		if len(rest) > 0 {
			p("\n%s\n", l.t("The %s worst of %s alerts are told in full, in order of time; the others follow as a table.", num(int64(len(told))), num(int64(len(in.Alerts)))))
		}
	}
	ran := map[string]bool{}
	for _, i := range told {
		v := newView(l, &in.Alerts[i], i)
		p("\n### %s: %s\n\n%s\n\n", l.severity(level(v.Alert)), md(v.Title, 200), md(v.Reason, maxText))
		p("- %s: %s\n- %s: %s\n", l.t("When"), v.When, l.t("Who"), mdCode(v.WhoAll, maxLine))
		if v.Actor.AccessKeyID != "" {
			p("- %s: %s\n", l.t("Key"), mdCode(v.Actor.AccessKeyID, maxLine))
		}
		if v.SourceIP != "" {
			p("- %s: %s\n", l.t("Address"), mdCode(v.SourceIP, maxLine))
		}
		if v.Target != "" {
			p("- %s: %s\n", l.t("Target"), mdCode(v.Target, maxLine))
		}
		if v.Attempt {
			p("- %s: %s\n", l.t("Outcome"), l.t("refused or failed: nothing was changed"))
		}
		p("- %s: %s\n", l.t("Rule"), mdCode(v.Rule, maxLine))
		for _, f := range v.News {
			p("- %s: %s\n", l.t("What it allows"), md(f.Sentence, maxText))
			if f.Witness.Action != "" {
				p("  - %s: %s\n", l.t("Witness"), mdCode(f.Witness.Action+" "+f.Witness.Resource, maxLine))
			}
		}
		if v.Baseline != nil {
			var names []string
			for _, u := range v.Baseline.Usual[:min(len(v.Baseline.Usual), maxListValues)] {
				names = append(names, u.Name()+" "+u.Percent())
			}
			if len(names) > 0 {
				p("- %s: %s\n", l.t("What was usual"), md(strings.Join(names, ", "), maxText))
			}
		}
		p("- %s: %s\n", l.t("Evidence"), mdCode(joined(v.Evidence), maxText))
		if steps := fmt.Sprint(v.Rule, v.Runbook); len(v.Runbook) > 0 && !ran[steps] {
			ran[steps] = true
			p("\n%s\n", l.t("What to do"))
			for _, x := range v.Runbook {
				if x.Command {
					p("\n```sh\n%s\n```\n", strings.ReplaceAll(x.Text, "```", "ˋˋˋ"))
				} else {
					p("\n%s\n", md(x.Text, maxBlock))
				}
			}
		}
	}
	if len(rest) > 0 {
		p("\n### %s\n\n| %s | %s | %s | %s | %s |\n|---|---|---|---|---|\n", l.t("More alerts"), l.t("Time"), l.t("Severity"), l.t("Rule"), l.t("Who"), l.t("Address"))
		for k, i := range rest {
			if k == maxRowsMD {
				p("\n%s\n", l.t("%s alerts are in no table for lack of room; they are in the counts and charts. All of them: replay -o jsonl.", num(int64(len(rest)-k))))
				break
			}
			a := &in.Alerts[i]
			p("| %s | %s | %s | %s | %s |\n", stamp(a.Time), l.severity(level(a)), mdCode(a.Rule, maxShort), mdCode(who(a), maxShort), mdCode(a.SourceIP, maxShort))
		}
	}
	p("\n## %s\n\n| %s | %s | %s |\n|---|---:|---:|\n", l.t("Rules that fired"), l.t("Rule"), l.t("Detections"), l.t("Alerts"))
	for i, f := range rulesFired(&in) {
		if i == maxRowsMD {
			break
		}
		p("| %s | %s | %s |\n", mdCode(f.ID, maxShort), num(f.Detections), num(int64(f.Alerts)))
	}
	if notRun := rulesNotRun(&in); len(notRun) > 0 {
		p("\n## %s\n\n", l.t("Rules that could not run"))
		for i, r := range notRun {
			if i == maxRowsMD {
				p("- %s\n", l.t("and %s more", num(int64(len(notRun)-i))))
				break
			}
			p("- %s: %s\n", mdCode(r.ID, maxShort), md(l.notRun(r.NotRun), maxLine))
		}
	}
	p("\n## %s\n\n", l.t("Input and versions"))
	for _, kv := range versionsOf(l, &in) {
		p("- %s: %s\n", kv.K, md(kv.V, maxLine))
	}
	for i, f := range in.Files {
		if i == maxRowsMD {
			p("- %s\n", l.t("and %s more", num(int64(len(in.Files)-i))))
			break
		}
		hash := l.t("not computed")
		if f.SHA256 != "" {
			hash = mdCode(f.SHA256, maxLine)
		}
		p("- %s, %s, SHA-256 %s\n", mdCode(f.Path, maxLine), size(f.Size), hash)
	}
	p("\n%s\n", l.t("Same input and rules give the same report, byte for byte. Times are in UTC."))
	return b.Flush()
}
