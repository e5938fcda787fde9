package slack

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// Action ids of the buttons; a Click carries one of them.
const (
	ActionAcknowledge = "tw_acknowledge"
	ActionContain     = "tw_contain"
	ActionUndo        = "tw_undo"
)

// Budgets in UTF-16 units, well below Slack's limits (header 150, section 3 000,
// field 2 000, all blocks 13 000): the sum of all of them stays under 12 400.
const (
	budgetHeader  = 150
	budgetText    = 1_000
	budgetReason  = 1_500
	budgetField   = 300
	budgetValue   = 120 // one value inside a field
	budgetAction  = 450 // one action line
	budgetPolicy  = 1_400
	budgetActions = 2_800
	budgetContext = 900
	budgetID      = 255
	budgetConfirm = 300
	maxActions    = 8
	maxAttack     = 6
)

var colours = map[alert.Severity]string{
	alert.Info: "#8a8f98", alert.Low: "#3b82f6", alert.Medium: "#eab308", alert.High: "#f97316", alert.Critical: "#dc2626",
}

// message is a rendered notice.
type message struct {
	text        string           // fallback: what the phone shows
	blocks      []slackapi.Block // the header
	attachments []slackapi.Attachment
}

// renderer renders notices for one destination. It is a pure function of its
// fields and the notice.
type renderer struct {
	w       *words
	buttons bool
	inline  bool // no threads here: the lines of Notice.Thread stand in the message
}

// render lays a notice out. The header stands in the blocks of the message, so
// that text is only the fallback; the rest stands in an attachment, which is
// the one thing in Slack that has a colour.
func (r renderer) render(n responders.Notice) message {
	title := r.title(n)
	var rest []slackapi.Block
	if reason := text.SlackPlain(n.Alert.Reason, budgetReason); reason != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(reason), nil, nil))
	}
	if lines := r.policy(n.Alert.Details); lines != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(lines), nil, nil))
	}
	rest = append(rest, slackapi.NewSectionBlock(nil, r.fields(n), nil))
	if lines := r.actions(n.Actions); lines != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(lines), nil, nil))
	}
	if r.inline && len(n.Thread) > 0 {
		_, lines := r.reply(n.Thread)
		rest = append(rest, lines...)
	}
	rest = append(rest, slackapi.NewContextBlock("", plain(r.context(n.Alert))))
	if r.buttons {
		rest = append(rest, slackapi.NewActionBlock("", r.buttonRow(n)...))
	}
	return message{
		text:   r.fallback(n, title),
		blocks: []slackapi.Block{slackapi.NewHeaderBlock(plain(title))},
		attachments: []slackapi.Attachment{{
			Color: colour(n.Alert.Severity), Fallback: text.Mrkdwn(title, budgetText), Blocks: slackapi.Blocks{BlockSet: rest},
		}},
	}
}

func colour(s alert.Severity) string {
	if c := colours[s]; c != "" {
		return c
	}
	return colours[alert.Info]
}

func plain(s string) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.PlainTextType, s, false, false)
}

// markdown is a mrkdwn object in which Slack looks for nothing but explicit markup.
func markdown(s string) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.MarkdownType, s, false, true)
}

func one(s string, max int) string { return text.SlackPlain(text.Line(s), max) }

// title is "HIGH · New country for AccessKey · ci-deployer · prod (1234…7890)";
// when it is too long the middle gives way: severity, who and where stay.
func (r renderer) title(n responders.Notice) string {
	a := n.Alert
	sev := r.w.severity[a.Severity]
	if sev == "" {
		sev = strings.ToUpper(a.Severity.String())
	}
	var tail []string
	if who := one(r.who(a.Actor), 40); who != "" {
		tail = append(tail, who)
	}
	if acct := r.accountName(n); acct != "" {
		tail = append(tail, acct)
	}
	const sep = " · "
	end := ""
	if len(tail) > 0 {
		end = sep + strings.Join(tail, sep)
	}
	what := one(a.Title, budgetHeader-text.LenUTF16(sev+sep+end))
	if what == "" {
		what = text.Dash
	}
	return text.CutUTF16(sev+sep+what+end, budgetHeader)
}

// who is the shortest name that people know the actor by.
func (r renderer) who(a alert.Actor) string {
	for _, s := range []string{a.Name, a.Role, a.ID} {
		if s = text.Line(s); s != "" {
			return s
		}
	}
	return ""
}

// accountName is "prod (1234…7890)".
func (r renderer) accountName(n responders.Notice) string {
	id := one(text.MaskAccount(n.Alert.AccountID), 16)
	name := one(n.Account, 30)
	switch {
	case name == "":
		return id
	case id == "":
		return name
	}
	return name + " (" + id + ")"
}

func (r renderer) fallback(n responders.Notice, title string) string {
	out := text.Mrkdwn(title, 400)
	if reason := text.Mrkdwn(n.Alert.Reason, budgetText-3-text.LenUTF16(out)); reason != "" {
		out += " — " + reason
	}
	return out
}

// fields are six, in fixed order; what is not known is a dash.
func (r renderer) fields(n responders.Notice) []*slackapi.TextBlockObject {
	a := n.Alert
	values := [6]string{r.whoField(a), r.keyField(a), r.fromField(a), r.whenField(a), r.didField(a), r.whereField(n)}
	out := make([]*slackapi.TextBlockObject, len(values))
	for i, v := range values {
		if v == "" {
			v = text.Dash
		}
		out[i] = markdown("*" + r.w.fields[i] + "*\n" + v)
	}
	return out
}

// join puts escaped values side by side, as many as fit.
func join(values ...string) string {
	var b strings.Builder
	n := 0
	for _, v := range values {
		if v == "" || v == text.Dash {
			continue
		}
		l := text.LenUTF16(v) + 3
		if n+l > budgetField {
			break
		}
		if b.Len() > 0 {
			b.WriteString(" · ")
		}
		b.WriteString(v)
		n += l
	}
	return b.String()
}

func code(s string) string {
	if s = text.Code(s, budgetValue); s == text.Dash {
		return ""
	}
	return s
}

func (r renderer) whoField(a alert.Alert) string {
	out := code(r.who(a.Actor))
	if out == "" {
		return ""
	}
	typ := r.w.types[a.Actor.Type]
	if typ == "" {
		typ = text.Mrkdwn(a.Actor.Type, 40)
	}
	if typ != "" {
		out += " (" + typ + ")"
	}
	session := ""
	if s := code(a.Actor.Session); s != "" {
		session = r.w.session + " " + s
	}
	return join(out, session)
}

func (r renderer) keyField(a alert.Alert) string {
	used, target := code(text.MaskKey(a.Actor.AccessKeyID)), ""
	if a.TargetKey != a.Actor.AccessKeyID {
		target = code(text.MaskKey(a.TargetKey))
		if target != "" && used != "" {
			target = r.w.target + " " + target
		}
	}
	age := ""
	if d := detail(a.Details, "key_age_days"); d != "" {
		age = fmt.Sprintf(r.w.daysOld, text.Mrkdwn(d, 12))
	}
	return join(used, target, age, r.w.mfa[detail(a.Details, "mfa")])
}

func (r renderer) fromField(a alert.Alert) string {
	asn := detail(a.Details, "asn")
	if _, err := strconv.Atoi(asn); err == nil {
		asn = "AS" + asn
	}
	return join(code(a.SourceIP), text.Mrkdwn(detail(a.Details, "country"), 40), text.Mrkdwn(asn, 20), text.Mrkdwn(detail(a.Details, "as_org"), 60))
}

// whenField shows the reader's own time by Slack's date markup, which is the
// only markup in a message, made of digits alone; then the fixed zone.
func (r renderer) whenField(a alert.Alert) string {
	if a.Time.IsZero() {
		return ""
	}
	local := a.Time.In(r.w.zone)
	fixed := local.Format("2006-01-02 15:04:05") + " " + r.w.zoneName
	u := a.Time.Unix()
	if u < 0 || a.Time.Year() > 9999 {
		return fixed
	}
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s> · %s", u, fixed, local.Format("15:04:05")+" "+r.w.zoneName)
}

func (r renderer) didField(a alert.Alert) string {
	what := detail(a.Details, "event")
	if what == "" {
		what = detail(a.Details, "action")
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
		if name = code(name); name != "" {
			out = strings.TrimSpace(out + " → " + strings.TrimSpace(text.Mrkdwn(t.Type, 20)+" "+name))
		}
	}
	if out == "" {
		return ""
	}
	if a.Count > 1 {
		out += " ×" + strconv.Itoa(a.Count)
	}
	if a.Outcome == "attempt" {
		out += " (" + r.w.attempt + ")"
	}
	return out
}

func (r renderer) whereField(n responders.Notice) string {
	acct := ""
	if name := r.accountName(n); name != "" {
		acct = r.w.account + " " + text.Mrkdwn(name, 60)
	}
	return join(text.Mrkdwn(detail(n.Alert.Details, "region"), 40), acct)
}

// policy says what a change of permissions newly allows, from details.policy:
// the worst findings with an example of each, and what is not known. It is
// empty for alerts about something else.
func (r renderer) policy(details map[string]any) string {
	facts, _ := details["policy"].(map[string]any)
	diff, _ := facts["diff"].(map[string]any)
	list, _ := diff["findings"].([]any)
	zh := r.w == catalogue[Chinese]
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
			lines = append(lines, fmt.Sprintf(r.w.more, len(list)-maxFindings))
			break
		}
		line := "+ " + one(sentence, 320)
		w, _ := f["witness"].(map[string]any)
		if act := detail(w, "action"); act != "" {
			example := act
			for _, k := range []string{"resource", "principal"} {
				if v := detail(w, k); v != "" {
					example += ", " + v
				}
			}
			line += "\n   " + r.w.example + " " + one(example, 120)
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
			lines = append(lines, "+ "+one(detail(s, "setting")+": "+was+" → "+detail(s, "now"), 160))
		}
	}
	if detail(facts, "before") == "partly known" && len(lines) > 0 {
		lines = append(lines, r.w.partly)
	}
	return text.CutUTF16(strings.Join(lines, "\n"), budgetPolicy)
}

// maxFindings is how many parts of a change are told; the alert has them all.
const maxFindings = 3

// detail is a scalar of the rule's details as text, or "".
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

// actions is one line per action, in the order given.
func (r renderer) actions(views []responders.ActionView) string {
	var b strings.Builder
	n, shown := 0, 0
	for i, v := range views {
		if shown == maxActions {
			fmt.Fprintf(&b, r.w.more, len(views)-i)
			break
		}
		line := r.actionLine(v) + "\n"
		if n += text.LenUTF16(line); n > budgetActions {
			fmt.Fprintf(&b, r.w.more, len(views)-i)
			break
		}
		b.WriteString(line)
		shown++
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r renderer) actionLine(v responders.ActionView) string {
	state := r.w.state[v.State]
	if state == "" {
		state = one(string(v.State), 40)
	}
	what := one(v.Describe, 200)
	if (v.State == responders.Undoing || v.State == responders.Undone) && v.DescribeUndo != "" {
		what = one(v.DescribeUndo, 200)
	}
	if what == "" {
		what = one(v.Kind, 60)
	}
	out := state + ": " + what
	if reason := one(v.Reason, 160); reason != "" {
		out += " — " + reason
	}
	var by []string
	if who := one(v.By, 40); who != "" {
		by = append(by, who)
	}
	if !v.At.IsZero() {
		by = append(by, v.At.In(r.w.zone).Format("15:04:05")+" "+r.w.zoneName)
	}
	if len(by) > 0 {
		out += " (" + strings.Join(by, ", ") + ")"
	}
	if undoable(v) {
		out += " · " + fmt.Sprintf(r.w.undo, one(v.ID, 64))
	}
	return text.CutUTF16(out, budgetAction)
}

func undoable(v responders.ActionView) bool { return v.Undoable && v.State == responders.Done }

// context is the small print.
func (r renderer) context(a alert.Alert) string {
	parts := []string{r.w.rule + " " + one(a.Rule, 80) + " v" + strconv.Itoa(a.RuleVersion)}
	if len(a.Attack) > 0 {
		parts = append(parts, one(strings.Join(a.Attack[:min(len(a.Attack), maxAttack)], " "), 80))
	}
	if a.Count > 1 {
		parts = append(parts, fmt.Sprintf(r.w.events, strconv.Itoa(a.Count), r.w.duration(a.LastAt.Sub(a.FirstAt))))
	} else {
		parts = append(parts, r.w.span)
	}
	parts = append(parts, r.w.incident+" "+one(a.ID, 64))
	runbook := a.Runbook.EN
	if r.w == catalogue[Chinese] && a.Runbook.ZH != "" || runbook == "" {
		runbook = a.Runbook.ZH
	}
	// Up to the first command: a runbook that stops at "do this:" helps nobody.
	if line := one(strings.ReplaceAll(text.Block(runbook), "\n", " "), 300); line != "" {
		parts = append(parts, r.w.runbook+": "+line)
	}
	return text.CutUTF16(strings.Join(parts, " · "), budgetContext)
}

// buttonRow follows the state of the actions. A value is the alert's id and,
// where the button is for an action, that action's id and hash: a click counts
// for exactly what its dialog showed. It holds no text from an event.
func (r renderer) buttonRow(n responders.Notice) []slackapi.BlockElement {
	value := text.CutUTF16(text.Line(n.Alert.ID), budgetID)
	button := func(id, label string, v *responders.ActionView) *slackapi.ButtonBlockElement {
		value := value
		if v != nil {
			value += "|" + text.CutUTF16(text.Line(v.ID), 64) + "|" + text.CutUTF16(text.Line(v.ActionHash), 64)
		}
		return slackapi.NewButtonBlockElement(id, value, plain(label))
	}
	out := []slackapi.BlockElement{button(ActionAcknowledge, r.w.ack, nil)}
	what := func(v *responders.ActionView) string {
		if v.Describe == "" {
			return v.Kind + " "
		}
		return v.Describe + " "
	}
	var contain, undo *responders.ActionView
	for i := range n.Actions {
		v := &n.Actions[i]
		if contain == nil && v.State == responders.Proposed {
			contain = v
		}
		if undo == nil && undoable(*v) {
			undo = v
		}
	}
	if contain != nil {
		out = append(out, button(ActionContain, r.w.contain, contain).WithStyle(slackapi.StyleDanger).WithConfirm(r.confirm(r.w.containTitle, what(contain), slackapi.StyleDanger)))
	}
	if undo != nil {
		out = append(out, button(ActionUndo, r.w.undoButton, undo).WithConfirm(r.confirm(r.w.undoTitle, undoing(undo), "")))
	}
	return out
}

// undoing names the call that an undo makes, not the one it takes back.
func undoing(v *responders.ActionView) string {
	if v.DescribeUndo != "" {
		return v.DescribeUndo + " "
	}
	return "restore what was before: " + v.Describe + " "
}

// confirm shows the exact call before a click counts.
func (r renderer) confirm(title, what string, style slackapi.Style) *slackapi.ConfirmationBlockObject {
	return slackapi.NewConfirmationBlockObject(plain(title), plain(one(r.w.areSure+" "+what, budgetConfirm)), plain(r.w.yes), plain(r.w.no)).WithStyle(style)
}

// Replies: how many one call may add, and how much each holds.
const (
	maxReplies      = 3 // lines that come together share replies
	maxReplyLines   = 10
	budgetReplyLine = 280
)

// reply is the text of one reply in a thread, of one or several lines.
func (r renderer) reply(lines []string) (fallback string, blocks []slackapi.Block) {
	var shown string
	if len(lines) == 1 {
		shown = text.SlackPlain(lines[0], budgetReason)
	} else {
		var out []string
		for i, l := range lines {
			if i == maxReplyLines-1 && len(lines) > maxReplyLines {
				out = append(out, fmt.Sprintf(r.w.more, len(lines)-i))
				break
			}
			out = append(out, one(l, budgetReplyLine))
		}
		shown = strings.Join(out, "\n")
	}
	if strings.TrimSpace(shown) == "" {
		shown = text.Dash
	}
	return text.Mrkdwn(shown, budgetText), []slackapi.Block{slackapi.NewSectionBlock(plain(shown), nil, nil)}
}
