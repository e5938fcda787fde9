package slack

import (
	"fmt"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

// Action ids of the buttons.
const (
	ActionAcknowledge = "tw_acknowledge"
	ActionContain     = "tw_contain"
	ActionUndo        = "tw_undo"
	ActionAssign      = "tw_assign"
	ActionMute        = "tw_mute"
	ActionClose       = "tw_close"
	ActionReopen      = "tw_reopen"
	ActionDeny        = "tw_deny"
	ActionMore        = "tw_more" // a menu of responders.PressReplay, PressCopy and PressLink
	ActionAsk         = "tw_ask"
	ActionYes         = "tw_yes"
	ActionNo          = "tw_no"
)

// Budgets in UTF-16 units, well below Slack's limits (header 150, section 3 000,
// field 2 000, all blocks 13 000): the sum of all of them stays under 12 400.
const (
	budgetHeader  = 150
	budgetText    = 1_000
	budgetReason  = 1_500
	budgetValue   = 120 // one value inside a field
	budgetActions = 2_000
	budgetState   = 1_200
	budgetID      = 255
	budgetOption  = 120 // of 150, with the choice
	budgetConfirm = 300
)

var colours = map[alert.Severity]string{
	alert.Info: "#8a8f98", alert.Low: "#3b82f6", alert.Medium: "#eab308", alert.High: "#f97316", alert.Critical: "#dc2626",
}

// rendered is a notice as Slack takes it.
type rendered struct {
	text        string           // fallback: what the phone shows
	blocks      []slackapi.Block // the header
	attachments []slackapi.Attachment
}

// renderer renders notices for one destination. It is a pure function of its
// fields and the notice.
type renderer struct {
	w       *message.Words
	buttons bool
	inline  bool // no threads here: the lines of Notice.Thread stand in the message
}

// render lays a notice out. The header stands in the blocks of the message, so
// that text is only the fallback; the rest stands in an attachment, which is
// the one thing in Slack that has a colour.
func (r renderer) render(n responders.Notice) rendered {
	title := r.w.Title(n, budgetHeader)
	var rest []slackapi.Block
	if reason := text.SlackPlain(r.w.Reason(n.Alert), budgetReason); reason != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(reason), nil, nil))
	}
	if lines := r.w.Policy(n.Alert.Details); lines != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(lines), nil, nil))
	}
	rest = append(rest, slackapi.NewSectionBlock(nil, r.fields(n), nil))
	if lines := strings.Join(r.w.StateLines(n), "\n"); lines != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(text.CutUTF16(lines, budgetState)), nil, nil))
	}
	if lines := r.actions(n.Actions); lines != "" {
		rest = append(rest, slackapi.NewSectionBlock(plain(lines), nil, nil))
	}
	if r.inline && len(n.Thread) > 0 {
		_, lines := r.reply(r.w.ThreadLines(n.Thread))
		rest = append(rest, lines...)
	}
	rest = append(rest, slackapi.NewContextBlock("", plain(r.w.Context(n.Alert))))
	if r.buttons {
		rest = append(rest, slackapi.NewActionBlock(blockPrefix+text.CutUTF16(text.Line(n.Alert.ID), budgetOption), r.buttonRow(n)...))
	}
	return rendered{
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

func (r renderer) fallback(n responders.Notice, title string) string {
	out := text.Mrkdwn(title, 400)
	if reason := text.Mrkdwn(r.w.Reason(n.Alert), budgetText-3-text.LenUTF16(out)); reason != "" {
		out += " — " + reason
	}
	return out
}

// fields are six, in fixed order; what is not known is a dash.
func (r renderer) fields(n responders.Notice) []*slackapi.TextBlockObject {
	var out []*slackapi.TextBlockObject
	for i, f := range r.w.SixFields(n) {
		v := f.Join(escape, " · ")
		if i == whenField {
			v = r.when(n.Alert.Time)
		}
		out = append(out, markdown("*"+f.Label+"*\n"+v))
	}
	return out
}

const whenField = 3

// escape writes a run for mrkdwn.
func escape(r message.Run) string {
	if r.Code {
		return text.Code(r.Text, budgetValue)
	}
	return text.Mrkdwn(r.Text, budgetValue)
}

// when shows the reader's own time by Slack's date markup, which is the only
// markup in a message, made of digits alone; then the fixed zone.
func (r renderer) when(t time.Time) string {
	if t.IsZero() {
		return text.Dash
	}
	fixed, u := r.w.Stamp(t), t.Unix()
	if u < 0 || t.Year() > 9999 {
		return fixed
	}
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s> · %s", u, fixed, t.In(r.w.Zone).Format("15:04:05")+" "+r.w.ZoneName)
}

// actions is one line per action, in the order given.
func (r renderer) actions(views []responders.ActionView) string {
	var b strings.Builder
	n := 0
	for i, v := range views {
		line := r.w.ActionLine(v) + "\n"
		if n += text.LenUTF16(line); i == message.MaxActions || n > budgetActions {
			fmt.Fprintf(&b, r.w.More, len(views)-i)
			break
		}
		b.WriteString(line)
	}
	return strings.TrimRight(b.String(), "\n")
}

// muteChoices are the durations that the menu offers, see MuteHours.
var muteChoices = [3]string{"1h", "8h", "7d"}

// blockPrefix begins the id of the block of buttons; the alert's id follows,
// since choosing a person carries no value of ours.
const blockPrefix = "tw|"

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
	if n.Triage.State == responders.TriageClosed {
		out := []slackapi.BlockElement{button(ActionReopen, r.w.Reopen, nil)}
		for i := range n.Actions {
			if v := &n.Actions[i]; message.Undoable(*v) {
				return append(out, button(ActionUndo, r.w.UndoButton, v).WithConfirm(r.confirm(r.w.UndoTitle, r.undoing(v), "")))
			}
		}
		return out
	}
	var out []slackapi.BlockElement
	if n.Triage.State != responders.TriageAcknowledged {
		out = append(out, button(ActionAcknowledge, r.w.Ack, nil))
	}
	out = append(out, slackapi.NewOptionsSelectBlockElement(slackapi.OptTypeUser, plain(r.w.Assign), ActionAssign))
	if n.MayAsk {
		out = append(out, button(ActionAsk, r.w.AskOwner, nil))
	}
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
		if undo == nil && message.Undoable(*v) {
			undo = v
		}
	}
	if contain != nil {
		out = append(out, button(ActionContain, r.w.Contain, contain).WithStyle(slackapi.StyleDanger).WithConfirm(r.confirm(r.w.ContainTitle, what(contain), slackapi.StyleDanger)))
		out = append(out, button(ActionDeny, r.w.Deny, contain))
	}
	if undo != nil {
		out = append(out, button(ActionUndo, r.w.UndoButton, undo).WithConfirm(r.confirm(r.w.UndoTitle, r.undoing(undo), "")))
	}
	id := text.CutUTF16(text.Line(n.Alert.ID), budgetOption)
	option := func(choice, label string) *slackapi.OptionBlockObject {
		return slackapi.NewOptionBlockObject(id+"|"+choice, plain(label), nil)
	}
	if !strings.HasPrefix(n.Alert.Rule, "self.") {
		var hours []*slackapi.OptionBlockObject
		for i, d := range muteChoices {
			hours = append(hours, option(d, r.w.MuteHours[i]))
		}
		out = append(out, slackapi.NewOptionsSelectBlockElement(slackapi.OptTypeStatic, plain(r.w.Mute), ActionMute, hours...))
	}
	out = append(out, slackapi.NewOptionsSelectBlockElement(slackapi.OptTypeStatic, plain(r.w.Close), ActionClose,
		option(string(responders.FalsePositive), r.w.FalsePositive), option(string(responders.Benign), r.w.Benign), option(string(responders.TruePositive), r.w.TruePositive)))
	if strings.HasPrefix(n.Alert.Rule, "self.") {
		return out
	}
	more := []*slackapi.OptionBlockObject{option(responders.PressReplay, r.w.MenuReplay), option(responders.PressCopy, r.w.MenuCopy)}
	if n.Raw != "" && len(n.Raw) <= maxURL {
		raw := option(responders.PressLink, r.w.InSLS)
		raw.URL = n.Raw
		more = append(more, raw)
	}
	return append(out, slackapi.NewOverflowBlockElement(ActionMore, more...))
}

// maxURL is the longest address of an option.
const maxURL = 3_000

// undoing names the call that an undo makes, not the one it takes back.
func (r renderer) undoing(v *responders.ActionView) string {
	if v.DescribeUndo != "" {
		return v.DescribeUndo + " "
	}
	return r.w.Ours("restore what was before: "+v.Describe) + " "
}

// confirm shows the exact call before a click counts.
func (r renderer) confirm(title, what string, style slackapi.Style) *slackapi.ConfirmationBlockObject {
	return slackapi.NewConfirmationBlockObject(plain(title), plain(message.One(r.w.AreSure+" "+what, budgetConfirm)), plain(r.w.Yes), plain(r.w.No)).WithStyle(style)
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
				out = append(out, fmt.Sprintf(r.w.More, len(lines)-i))
				break
			}
			out = append(out, message.One(l, budgetReplyLine))
		}
		shown = strings.Join(out, "\n")
	}
	if strings.TrimSpace(shown) == "" {
		shown = text.Dash
	}
	return text.Mrkdwn(shown, budgetText), []slackapi.Block{slackapi.NewSectionBlock(plain(shown), nil, nil)}
}
