package dingtalk

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

// What a card shows is the template's, which every team draws by hand from
// deploy/dingtalk/card.json; what its buttons say, and what a press of them
// carries, is ours: they are values of variables of the type "button group", so a
// template that is drawn wrong can hide a button and not change what it means.

// The template's variables.
const (
	varTitle    = "title"
	varReason   = "reason"
	varPolicy   = "policy"
	varFacts    = "facts"
	varStanding = "standing"
	varProposal = "proposal" // what the red button does, word for word
	varActions  = "actions"
	varNews     = "news"
	varSmall    = "small"
	varAct      = "buttons_act"
	varButtons  = "buttons"
	varMute     = "buttons_mute"
	varClose    = "buttons_close"
	varReply    = "reply" // private: for who pressed, alone
)

// variables are all of them, in the order of the card, by type.
var variables = []struct {
	name, typ string
	private   bool
}{
	{varTitle, "string", false}, {varReason, "string", false}, {varPolicy, "string", false}, {varFacts, "string", false},
	{varStanding, "string", false}, {varProposal, "string", false}, {varActions, "string", false}, {varNews, "string", false},
	{varAct, "buttonGroup", false}, {varButtons, "buttonGroup", false}, {varMute, "buttonGroup", false}, {varClose, "buttonGroup", false},
	{varReply, "string", true}, {varSmall, "string", false},
}

// maxValueBytes is of the value of one variable. The documentation says 1 KB.
const maxValueBytes = 1_000

const (
	maxTitle    = 120 // UTF-16 units
	maxReason   = 700
	maxProposal = 300
	maxLink     = 400 // bytes
)

// card is what a card shows.
type card struct {
	title                                                           string
	reason, policy, facts, standing, proposal, actions, news, small []string
	act, buttons, mute, shut, link                                  []button
}

// button is one element of a variable of the type "button group".
type button struct {
	Text   string `json:"text"`
	Color  string `json:"color"`
	Status string `json:"status"`
	Event  event  `json:"event"`
}

type event struct {
	Type   string      `json:"type"` // sendCardRequest or openLink
	Params eventParams `json:"params"`
}

type eventParams struct {
	ActionID string            `json:"actionId,omitempty"`
	Params   map[string]string `json:"params,omitempty"`
	URL      string            `json:"url,omitempty"`
}

// press makes a button that asks for something. It carries ids and no text of an
// event.
func press(label, color string, p responders.Press) button {
	params := map[string]string{"do": p.Do}
	for k, v := range map[string]string{"ref": p.Ref, "hash": p.Hash, "choice": p.Choice} {
		if v != "" {
			params[k] = text.CutUTF16(text.Line(v), 120)
		}
	}
	return button{Text: label, Color: color, Status: "normal", Event: event{Type: "sendCardRequest", Params: eventParams{ActionID: actionID(p.Do, p.Choice), Params: params}}}
}

// actionID names a button; a press says it together with its parameters.
func actionID(do, choice string) string {
	if choice == "" {
		return do
	}
	return do + "_" + choice
}

// vars are the values of the template's variables. What has not changed with an
// edit stays as it is.
func (c card) vars(whole bool) map[string]string {
	out := map[string]string{
		varTitle: fit([]string{c.title}), varReason: fit(c.reason), varPolicy: fit(c.policy), varFacts: share(c.facts), varStanding: fit(c.standing),
		varProposal: share(c.proposal), varActions: fit(c.actions), varSmall: fit(c.small), varAct: group(c.act), varButtons: group(append(c.buttons[:len(c.buttons):len(c.buttons)], c.link...)), varMute: group(c.mute), varClose: group(c.shut),
	}
	if whole || len(c.news) > 0 {
		out[varNews] = fit(c.news)
	}
	return out
}

// fit joins lines to a value of a variable, and marks what does not fit.
func fit(lines []string) string { return cut(strings.Join(lines, "\n"), maxValueBytes) }

// share is fit where no line may push another out: each has its part.
func share(lines []string) string {
	if len(strings.Join(lines, "\n")) <= maxValueBytes {
		return strings.Join(lines, "\n")
	}
	var out []string
	for _, l := range lines {
		out = append(out, cut(l, maxValueBytes/len(lines)-1))
	}
	return strings.Join(out, "\n")
}

// cut is s in at most max bytes, marked where it was cut.
func cut(s string, max int) string {
	const end = "…"
	if len(s) <= max {
		return s
	}
	s = s[:max-len(end)]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + end
}

// group is the value of a button group: as many buttons as fit.
func group(list []button) string {
	for {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if list == nil {
			list = []button{}
		}
		if e.Encode(list) != nil {
			return "[]" // strings alone: cannot be
		}
		if s := strings.TrimSpace(b.String()); len(s) <= maxValueBytes || len(list) == 0 {
			return s
		}
		list = list[:len(list)-1]
	}
}

// safe makes lines inert, whichever component of a template shows them: text or
// markdown.
func safe(max int, lines ...string) []string {
	var out []string
	for _, l := range lines {
		for _, l := range strings.Split(l, "\n") {
			if l = text.Markdown(l, max); l != "" {
				out = append(out, l)
			}
		}
	}
	return out
}

// body is what all cards have.
func (a *App) body(n responders.Notice, m message.Message) card {
	c := card{title: text.Markdown(m.Title, maxTitle), reason: safe(maxReason, m.Reason), policy: safe(320, m.Policy), standing: safe(250, m.State...), small: safe(300, m.Context)}
	for _, f := range m.Fields {
		c.facts = append(c.facts, safe(250, f.Label+a.words.Colon+a.words.AfterColon+f.String())...)
	}
	if n.Link != "" && len(n.Link) <= maxLink {
		c.link = append(c.link, button{Text: a.words.Open, Color: "gray", Status: "normal", Event: event{Type: "openLink", Params: eventParams{URL: n.Link}}})
	}
	return c
}

// card is an incident with its buttons.
func (a *App) card(n responders.Notice) card {
	w := a.words
	m := w.Lay(n, maxTitle)
	c := a.body(n, m)
	c.actions, c.news = safe(300, append(m.Actions, m.Next...)...), safe(280, m.Thread...)
	about := func(do string, v *responders.ActionView) responders.Press {
		return responders.Press{Do: do, Ref: v.ID, Hash: v.ActionHash}
	}
	var waits, done *responders.ActionView
	for i := range n.Actions {
		v := &n.Actions[i]
		if waits == nil && v.State == responders.Proposed {
			waits = v
		}
		if done == nil && message.Undoable(*v) {
			done = v
		}
	}
	offer := func(label, what string) {
		c.proposal = append(c.proposal, safe(maxProposal, label+w.Colon+w.AfterColon+message.One(what, maxProposal))...)
	}
	if n.Triage.State == responders.TriageClosed {
		c.buttons = append(c.buttons, press(w.Reopen, "gray", responders.Press{Do: responders.PressReopen}))
	} else {
		if n.Triage.State != responders.TriageAcknowledged {
			c.buttons = append(c.buttons, press(w.Ack, "blue", responders.Press{Do: responders.PressAcknowledge}))
		}
		if n.MayAsk {
			c.buttons = append(c.buttons, press(w.AskOwner, "gray", responders.Press{Do: responders.PressAsk}))
		}
		if waits != nil {
			c.act = append(c.act, press(w.Contain, "red", about(responders.PressApprove, waits)), press(w.Deny, "gray", about(responders.PressDeny, waits)))
			offer(w.Contain, waits.Describe)
		}
		if !strings.HasPrefix(n.Alert.Rule, "self.") {
			for i, lasts := range muteFor {
				c.mute = append(c.mute, press(w.Mute+" "+w.MuteHours[i], "gray", responders.Press{Do: responders.PressMute, Choice: lasts}))
			}
		}
		labels := [...]string{w.FalsePositive, w.Benign, w.TruePositive}
		for i, v := range verdicts {
			c.shut = append(c.shut, press(w.Close+w.Colon+w.AfterColon+labels[i], "gray", responders.Press{Do: responders.PressClose, Choice: string(v)}))
		}
	}
	if done != nil {
		what := done.DescribeUndo
		if what == "" {
			what = done.Describe
		}
		c.act = append(c.act, press(w.UndoButton, "gray", about(responders.PressUndo, done)))
		offer(w.UndoButton, what)
	}
	return c
}

// What the menus of other chats offer.
var (
	muteFor  = [3]string{"1h", "8h", "7d"}
	verdicts = [3]responders.TriageVerdict{responders.FalsePositive, responders.Benign, responders.TruePositive}
)

// question is the card of a question.
func (a *App) question(n responders.Notice) card {
	w, q := a.words, n.Question
	m := w.Lay(n, maxTitle)
	n.Link = "" // whom it is put to has no business in the console
	c := a.body(n, m)
	title := w.AskTitle
	if acct := message.AccountName(n); acct != "" {
		title += " · " + acct
	}
	c.title, c.reason, c.policy, c.small = text.Markdown(title, maxTitle), append(safe(300, w.AskIntro), safe(400, m.Reason)...), nil, nil
	end, open, no := w.AskStanding(n)
	c.standing = safe(300, end)
	about := func(do string) responders.Press { return responders.Press{Do: do, Ref: q.ID} }
	if open {
		c.act = append(c.act, press(w.AskYes, "gray", about(responders.PressYes)))
	}
	if no {
		c.act = append(c.act, press(w.AskNo, "red", about(responders.PressNo)))
	}
	if q.State == responders.Asked {
		c.small = safe(400, fmt.Sprintf(w.AskSmall, w.Clock(q.Until)))
	}
	return c
}
