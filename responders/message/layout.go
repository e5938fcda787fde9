package message

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// Run is a piece of a value: Code is something that people may copy and that
// a platform shows in a fixed-width font where it can.
type Run struct {
	Text string
	Code bool
}

// Item is one fact; the facts of a field stand side by side.
type Item []Run

// Field is one of the six fields. No items: not known.
type Field struct {
	Label string
	Items []Item
}

// Message is a notice laid out.
type Message struct {
	Severity alert.Severity
	Word     string // the severity for people
	Title    string // severity, what, who, where
	Reason   string
	Policy   string // lines: what a change of permissions newly allows
	Fields   [6]Field
	State    []string // what people made of it and said; none while nobody did anything
	Actions  []string // one line each, with who and when
	Context  string   // the small print
	Thread   []string // what has grown
	// Next is what a person can do now from the command line; empty when
	// there is nothing to decide.
	Next []string
}

// Budgets in UTF-16 units.
const (
	maxValue   = 120 // one value inside a field
	maxReason  = 1_500
	maxLine    = 450 // one action line
	maxContext = 900
	maxAttack  = 6
	maxThread  = 280 // one line of the thread
)

// MaxActions is how many actions a message lists.
const MaxActions = 8

// One is s as one line of at most max units, inert in every chat.
func One(s string, max int) string { return text.SlackPlain(text.Line(s), max) }

// Lay lays a notice out; the title has at most maxTitle UTF-16 units.
func (w *Words) Lay(n responders.Notice, maxTitle int) Message {
	m := Message{
		Severity: n.Alert.Severity, Word: w.SeverityWord(n.Alert.Severity), Title: w.Title(n, maxTitle), Reason: text.SlackPlain(w.Reason(n.Alert), maxReason),
		Policy: w.Policy(n.Alert.Details), Fields: w.SixFields(n), State: w.StateLines(n), Context: w.Context(n.Alert), Next: w.next(n),
	}
	for i, v := range n.Actions {
		if i == MaxActions {
			m.Actions = append(m.Actions, fmt.Sprintf(w.More, len(n.Actions)-i))
			break
		}
		m.Actions = append(m.Actions, w.ActionLine(v))
	}
	for _, l := range w.ThreadLines(n.Thread) {
		if l = One(l, maxThread); l != "" {
			m.Thread = append(m.Thread, l)
		}
	}
	return m
}

// SeverityWord is the severity for people.
func (w *Words) SeverityWord(s alert.Severity) string {
	if word := w.Severity[s]; word != "" {
		return word
	}
	return strings.ToUpper(s.String())
}

// Title is "HIGH · New country for AccessKey · ci-deployer · prod (1234…7890)";
// when it is longer than max the middle gives way: severity, who and where stay.
func (w *Words) Title(n responders.Notice, max int) string {
	sev := w.SeverityWord(n.Alert.Severity)
	var tail []string
	if who := One(who(n.Alert.Actor), 40); who != "" {
		tail = append(tail, who)
	}
	if acct := AccountName(n); acct != "" {
		tail = append(tail, acct)
	}
	const sep = " · "
	end := ""
	if len(tail) > 0 {
		end = sep + strings.Join(tail, sep)
	}
	title, _ := n.Alert.Words(w.Lang == Chinese)
	what := One(title, max-text.LenUTF16(sev+sep+end))
	if what == "" {
		what = text.Dash
	}
	return text.CutUTF16(sev+sep+what+end, max)
}

// Reason is the alert's reason in this language, as it came.
func (w *Words) Reason(a alert.Alert) string {
	_, reason := a.Words(w.Lang == Chinese)
	return reason
}

// Ours says one of our own sentences in this language.
func (w *Words) Ours(s string) string {
	if w.Lang == Chinese {
		return responders.InChinese(s)
	}
	return s
}

// Failed tells the person who asked why something was not done.
func (w *Words) Failed(err error) string { return fmt.Sprintf(w.ClickFailed, w.Ours(err.Error())) }

// who is the shortest name that people know the actor by.
func who(a alert.Actor) string {
	for _, s := range []string{a.Name, a.Role, a.ID} {
		if s = text.Line(s); s != "" {
			return s
		}
	}
	return ""
}

// AccountName is "prod (1234…7890)".
func AccountName(n responders.Notice) string {
	id := One(text.MaskAccount(n.Alert.AccountID), 16)
	name := One(n.Account, 30)
	switch {
	case name == "":
		return id
	case id == "":
		return name
	}
	return name + " (" + id + ")"
}

// SixFields are who, key, from, when, did and where.
func (w *Words) SixFields(n responders.Notice) [6]Field {
	a := n.Alert
	items := [6][]Item{w.whoItems(a), w.keyItems(a), w.fromItems(a), w.whenItems(a), w.didItems(a), w.whereItems(n)}
	var out [6]Field
	for i, all := range items {
		out[i].Label = w.Fields[i]
		for _, it := range all {
			if len(it) > 0 {
				out[i].Items = append(out[i].Items, it)
			}
		}
	}
	return out
}

// code is a value to copy, or nothing when there is none.
func code(s string) Item {
	if s = text.Line(s); s == "" {
		return nil
	}
	return Item{{Text: text.CutUTF16(s, maxValue), Code: true}}
}

func plain(s string, max int) Item {
	if s = text.CutUTF16(text.Line(s), max); s == "" {
		return nil
	}
	return Item{{Text: s}}
}

// with puts words around an item, and is nothing when the item is.
func with(before string, it Item, after string) Item {
	if len(it) == 0 {
		return nil
	}
	var out Item
	if before != "" {
		out = append(out, Run{Text: before})
	}
	out = append(out, it...)
	if after != "" {
		out = append(out, Run{Text: after})
	}
	return out
}

func (w *Words) whoItems(a alert.Alert) []Item {
	name := code(who(a.Actor))
	if name == nil {
		return nil
	}
	typ := w.Types[a.Actor.Type]
	if typ == "" {
		typ = text.CutUTF16(text.Line(a.Actor.Type), 40)
	}
	if typ != "" {
		typ = " (" + typ + ")"
	}
	return []Item{with("", name, typ), with(w.Session+" ", code(a.Actor.Session), ""), w.ownerItem(a, "actor")}
}

// ownerItem says who answers for the actor or the target, where a table says so.
func (w *Words) ownerItem(a alert.Alert, who string) Item {
	owners, _ := a.Details["owners"].(map[string]any)
	of, _ := owners[who].(map[string]any)
	owner, team := detail(of, "owner"), detail(of, "team")
	if owner == "" {
		owner, team = team, ""
	}
	after := ""
	if team != "" {
		after = " (" + text.CutUTF16(team, 60) + ")"
	}
	if of["production"] == true {
		after += " · " + w.Production
	}
	if owner == "" && after != "" {
		return plain(w.Production, 40)
	}
	return with(w.Owner+" ", plain(owner, 80), after)
}

func (w *Words) keyItems(a alert.Alert) []Item {
	used, target := code(text.MaskKey(a.Actor.AccessKeyID)), Item(nil)
	if a.TargetKey != a.Actor.AccessKeyID {
		target = code(text.MaskKey(a.TargetKey))
		if used != nil {
			target = with(w.Target+" ", target, "")
		}
	}
	age := Item(nil)
	if d := detail(a.Details, "key_age_days"); d != "" {
		age = plain(fmt.Sprintf(w.DaysOld, text.CutUTF16(d, 12)), 60)
	}
	return []Item{used, target, age, w.madeItem(a), plain(w.MFA[detail(a.Details, "mfa")], 40)}
}

// madeItem says who made the key, login or session that acted, and with which
// key, where the alert knows it.
func (w *Words) madeItem(a alert.Alert) Item {
	lineage, _ := a.Details["lineage"].(map[string]any)
	chain, _ := lineage["chain"].([]any)
	if len(chain) == 0 {
		return nil
	}
	first, _ := chain[0].(map[string]any)
	by := detail(first, "by")
	if strings.HasPrefix(by, "root/") {
		by = "root" // what follows is the account, which is told elsewhere
	}
	by = by[strings.LastIndexByte(by, '/')+1:]
	after := ""
	if key := detail(first, "with_key"); key != "" {
		after = " (" + text.MaskKey(key) + ")"
	}
	return with(w.MadeBy+" ", plain(by, 80), after)
}

func (w *Words) fromItems(a alert.Alert) []Item {
	asn := detail(a.Details, "asn")
	if _, err := strconv.Atoi(asn); err == nil {
		asn = "AS" + asn
	}
	return []Item{code(a.SourceIP), plain(detail(a.Details, "country"), 40), plain(asn, 20), plain(detail(a.Details, "as_org"), 60)}
}

func (w *Words) whenItems(a alert.Alert) []Item {
	if a.Time.IsZero() {
		return nil
	}
	return []Item{plain(w.Stamp(a.Time), 60)}
}

func (w *Words) didItems(a alert.Alert) []Item {
	what := detail(a.Details, "event")
	if what == "" { // an alert about one of our own actions
		what = detail(a.Details, "kind")
	}
	out := code(what)
	if t := a.Target; t != nil {
		name := t.Name
		if name == "" {
			name = t.ID
		}
		if t.Type == "accesskey" {
			name = text.MaskKey(name)
		}
		before := "→ "
		if out != nil {
			before = " → "
		}
		typ := text.CutUTF16(text.Line(t.Type), 20)
		if word := w.Targets[t.Type]; word != "" {
			typ = word
		}
		if typ != "" {
			before += typ + " "
		}
		out = append(out, with(before, code(name), "")...)
	}
	if len(out) == 0 {
		return nil
	}
	after := ""
	if a.Count > 1 {
		after += " ×" + strconv.Itoa(a.Count)
	}
	if a.Outcome == "attempt" {
		after += " (" + w.Attempt + ")"
	}
	return []Item{with("", out, after), w.ownerItem(a, "target")}
}

func (w *Words) whereItems(n responders.Notice) []Item {
	return []Item{plain(detail(n.Alert.Details, "region"), 40), with(w.Account+" ", plain(AccountName(n), 60), "")}
}

// Policy says what a change of permissions newly allows, from details.policy:
// the worst findings with an example of each, and what is not known. It is
// empty for alerts about something else.
func (w *Words) Policy(details map[string]any) string {
	return w.PolicyIn(details, maxSentence, maxPolicy)
}

// PolicyIn is Policy where sentences, and all of it, may have other lengths in
// UTF-16 units than chats bear.
func (w *Words) PolicyIn(details map[string]any, sentences, all int) string {
	facts, _ := details["policy"].(map[string]any)
	diff, _ := facts["diff"].(map[string]any)
	list, _ := diff["findings"].([]any)
	zh := w.Lang == Chinese
	var lines []string
	for _, x := range list {
		f, _ := x.(map[string]any)
		sentence := detail(f, "sentence")
		if cn := detail(f, "sentence_zh"); zh && cn != "" {
			sentence = cn
		}
		if sentence == "" {
			continue
		}
		if len(lines) == maxFindings {
			lines = append(lines, fmt.Sprintf(w.More, len(list)-maxFindings))
			break
		}
		line := "+ " + One(sentence, sentences)
		witness, _ := f["witness"].(map[string]any)
		if act := detail(witness, "action"); act != "" {
			example := act
			for _, k := range []string{"resource", "principal"} {
				if v := detail(witness, k); v != "" {
					example += ", " + v
				}
			}
			line += "\n   " + w.Example + " " + One(example, 120)
		}
		lines = append(lines, line)
	}
	settings, _ := facts["settings"].([]any)
	for _, x := range settings {
		s, _ := x.(map[string]any)
		if e := detail(s, "effect"); (e == "weaker" || e == "unknown") && len(lines) < 2*maxFindings {
			was := detail(s, "was")
			if was == "" {
				was = "?"
			}
			lines = append(lines, "+ "+One(detail(s, "setting")+": "+was+" → "+detail(s, "now"), 160))
		}
	}
	reasons, _ := facts["reasons"].([]any)
	for i, x := range reasons {
		r, _ := x.(map[string]any)
		why := detail(r, "en")
		if cn := detail(r, "zh"); zh && cn != "" {
			why = cn
		}
		if why != "" && i < maxFindings && len(lines) > 0 {
			lines = append(lines, "! "+One(why, 160))
		}
	}
	if detail(facts, "before") == "partly known" && len(lines) > 0 {
		lines = append(lines, w.Partly)
	}
	return text.CutUTF16(strings.Join(lines, "\n"), all)
}

// Chats bear so much of a change, in UTF-16 units.
const (
	maxSentence = 320
	maxPolicy   = 1_400
)

// maxFindings is how many parts of a change are told; the alert has them all.
const maxFindings = 3

// detail is a scalar of the rule's details as one line of text, or "".
func detail(d map[string]any, key string) string {
	switch v := d[key].(type) {
	case string:
		return text.Line(v)
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case uint32:
		return strconv.FormatUint(uint64(v), 10)
	case json.Number:
		return text.Line(v.String())
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return ""
}

// ActionLine says where one action stands, who did it, and how to undo it.
func (w *Words) ActionLine(v responders.ActionView) string {
	state := w.State[v.State]
	if v.TakenBack() {
		state = w.TakenBack
	}
	if state == "" {
		state = One(string(v.State), 40)
	}
	what := One(v.Describe, 200)
	if (v.State == responders.Undoing || v.State == responders.Undone) && v.DescribeUndo != "" {
		what = One(v.DescribeUndo, 200)
	}
	if what == "" {
		what = One(v.Kind, 60)
	}
	out := state + ": " + what
	if reason := One(w.Ours(v.Reason), 160); reason != "" {
		out += " — " + reason
	}
	var by []string
	if who := One(w.Ours(v.By), 40); who != "" {
		by = append(by, who)
	}
	if !v.At.IsZero() {
		by = append(by, v.At.In(w.Zone).Format("15:04:05")+" "+w.ZoneName)
	}
	if len(by) > 0 {
		out += " (" + strings.Join(by, ", ") + ")"
	}
	if Undoable(v) {
		out += " · " + fmt.Sprintf(w.Undo, One(v.ID, 64))
	}
	return text.CutUTF16(out, maxLine)
}

// TriageLine says who looks at it, or what it turned out to be; empty while
// nobody did anything.
func (w *Words) TriageLine(t responders.Triage) string {
	if t.At.IsZero() {
		return ""
	}
	out := w.Triage[t.State]
	if v := w.Verdict[t.Verdict]; v != "" && t.State == responders.TriageClosed {
		out += ": " + v
	}
	if t.Owner != "" {
		out += " · " + w.Owner + " " + One(t.Owner, 60)
	}
	return out + " (" + One(t.By, 60) + ", " + w.Clock(t.At) + ")"
}

// StateLines says what people made of it, and what those who were asked said.
func (w *Words) StateLines(n responders.Notice) []string {
	var out []string
	if l := w.TriageLine(n.Triage); l != "" {
		out = append(out, l)
	}
	for _, q := range n.Questions {
		format := w.Question[q.State]
		if format == "" {
			continue
		}
		l := fmt.Sprintf(format, One(q.Person, 60))
		switch q.State {
		case responders.Asked:
			l += " (" + w.Until + " " + w.Clock(q.Until) + ")"
		case responders.Unasked:
			l += w.Colon + w.AfterColon + One(w.Ours(q.Reason), 120)
		case responders.SaidYes, responders.SaidNo:
			by := w.Clock(q.Since)
			if q.AnsweredBy != q.Person {
				by = fmt.Sprintf(w.Sentences[responders.SayHeardBy], One(q.AnsweredBy, 60)) + w.Comma + by
			}
			l += " (" + by + ")"
		}
		out = append(out, text.CutUTF16(l, maxLine))
	}
	return out
}

// AskStanding says what a person who was asked is told, and whether they may
// still say yes, and no.
func (w *Words) AskStanding(n responders.Notice) (end string, yes, no bool) {
	q := n.Question
	over := q.State == responders.Withdrawn || n.Triage.State == responders.TriageClosed && q.State != responders.SaidYes
	switch {
	case q.State == responders.SaidNo:
		return w.AskEnd[q.State], false, false
	case over:
		return w.AskClosed, false, false
	}
	return w.AskEnd[q.State], q.State != responders.SaidYes, true
}

// Undoable says whether an action can be undone now.
func Undoable(v responders.ActionView) bool { return v.Undoable && v.State == responders.Done }

// next names the commands for what waits for a decision.
func (w *Words) next(n responders.Notice) []string {
	var out []string
	for _, v := range n.Actions {
		if v.State == responders.Proposed && len(out) < 3 {
			out = append(out, fmt.Sprintf(w.Approve, One(v.ID, 64)))
		}
	}
	return out
}

// Context is the small print.
func (w *Words) Context(a alert.Alert) string {
	parts := []string{w.Rule + " " + One(a.Rule, 80) + " v" + strconv.Itoa(a.RuleVersion)}
	if len(a.Attack) > 0 {
		parts = append(parts, One(strings.Join(a.Attack[:min(len(a.Attack), maxAttack)], " "), 80))
	}
	if a.Count > 1 {
		parts = append(parts, fmt.Sprintf(w.Events, strconv.Itoa(a.Count), w.Length(a.LastAt.Sub(a.FirstAt))))
	} else {
		parts = append(parts, w.Span)
	}
	parts = append(parts, w.Incident+" "+One(a.ID, 64))
	// Up to the first command: a runbook that stops at "do this:" helps nobody.
	if line := One(inOne(a.Steps(w.Lang == Chinese)), 300); line != "" {
		parts = append(parts, w.Runbook+": "+line)
	}
	return text.CutUTF16(strings.Join(parts, " · "), maxContext)
}

// inOne puts a runbook on one line: a command, which is indented, ends where ; stands,
// as a shell reads it.
func inOne(steps string) string {
	var b strings.Builder
	command := false
	for _, l := range strings.Split(steps, "\n") {
		words := text.Line(l)
		if words == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(map[bool]string{true: "; ", false: " "}[command])
		}
		b.WriteString(words)
		command = strings.HasPrefix(l, "  ")
	}
	return b.String()
}

// Stamp is a time in the reader's zone.
func (w *Words) Stamp(t time.Time) string {
	return t.In(w.Zone).Format("2006-01-02 15:04:05") + " " + w.ZoneName
}

// Clock is a time of day in the reader's zone.
func (w *Words) Clock(t time.Time) string { return t.In(w.Zone).Format("15:04") + " " + w.ZoneName }

// String is a field's value as plain text; a dash when it is not known.
func (f Field) String() string {
	return f.Join(func(r Run) string { return One(r.Text, maxValue) }, " · ")
}

// maxField bounds the value of one field, in UTF-16 units after escaping.
const maxField = 300

// Join writes a field's value with every run escaped for a platform: as many
// facts as fit.
func (f Field) Join(escape func(Run) string, sep string) string {
	var b strings.Builder
	n := 0
	for _, it := range f.Items {
		s := ""
		for _, r := range it {
			// Blanks at the ends part a run from its neighbours.
			t := strings.TrimSpace(r.Text)
			i := strings.Index(r.Text, t)
			s += r.Text[:i] + escape(Run{Text: t, Code: r.Code}) + r.Text[i+len(t):]
		}
		l := text.LenUTF16(s) + 3
		if strings.TrimSpace(s) == "" || n > 0 && n+l > maxField {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(sep)
		}
		b.WriteString(s)
		n += l
	}
	if b.Len() == 0 {
		return text.Dash
	}
	return b.String()
}
