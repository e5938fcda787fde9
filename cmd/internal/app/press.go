package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/route"
)

// presser does what buttons ask for, answering in a destination's language.
// Who may do what is decided by the machine and the dispatcher.
func (a *App) presser(c responders.Common) responders.Presser {
	w := message.For(message.Language(c.Language), c.Location())
	return func(ctx context.Context, p responders.Press) (string, error) {
		reply, err := a.press(ctx, p, w)
		switch {
		case errors.Is(err, responders.ErrNoAlert) && message.IsTest(p.AlertID):
			return w.Replies.Test, nil
		case errors.Is(err, responders.ErrUnclear), errors.Is(err, responders.ErrNoAlert):
			err = errors.Join(err, a.dispatcher.RefusePress(ctx, p, err.Error()))
		}
		return reply, err
	}
}

func (a *App) press(ctx context.Context, p responders.Press, w *message.Words) (string, error) {
	if p.Unclear != "" {
		return "", fmt.Errorf("%w (%s)", responders.ErrUnclear, p.Unclear)
	}
	switch p.Do {
	case responders.PressApprove, responders.PressDeny, responders.PressUndo:
		return a.pressAction(ctx, p, w)
	case responders.PressAsk:
		q, err := a.dispatcher.Ask(ctx, p.AlertID, responders.AskRequest{By: p.By, Person: p.Person})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf(w.Replies.Asked, q.Person, w.Stamp(q.Until)), nil
	case responders.PressYes, responders.PressNo:
		_, err := a.dispatcher.Answer(ctx, p.AlertID, p.Ref, p.By, p.Do == responders.PressYes)
		return "", err // the message itself says it
	case responders.PressMute:
		return a.pressMute(ctx, p, w)
	case responders.PressReplay, responders.PressCopy:
		x, err := a.dispatcher.Stored(ctx, p.AlertID)
		if err != nil {
			return "", err
		}
		if p.Do == responders.PressCopy {
			return fmt.Sprintf(w.CopyTip, x.ID, x.Rule, strings.Join(x.EventIDs[:min(len(x.EventIDs), 10)], " ")), nil
		}
		return fmt.Sprintf(w.ReplayTip, replayCommand(&x, a.logstore())), nil
	case responders.PressLink:
		return "", nil
	}
	q := responders.TriageRequest{By: p.By}
	switch p.Do {
	case responders.PressAcknowledge:
		q.Do = responders.DoAcknowledge
	case responders.PressReopen:
		q.Do = responders.DoReopen
	case responders.PressAssign:
		q.Do, q.Owner = responders.DoAssign, p.Person
	case responders.PressClose:
		q.Do, q.Verdict = responders.DoClose, responders.TriageVerdict(p.Choice)
	default:
		return "", fmt.Errorf("%w (unknown button %q)", responders.ErrUnclear, text.Cut(text.Line(p.Do), 40))
	}
	t, err := a.dispatcher.Triage(ctx, p.AlertID, q)
	if err != nil {
		return "", err
	}
	return w.TriageLine(t), nil
}

// pressAction is a decision about exactly the action that the button was for.
func (a *App) pressAction(ctx context.Context, p responders.Press, w *message.Words) (string, error) {
	actions, err := a.machine.ForAlert(ctx, p.AlertID)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(actions, func(d responders.ActionDetail) bool { return d.ID == p.Ref })
	if i < 0 {
		if _, err := a.dispatcher.Stored(ctx, p.AlertID); err != nil {
			return "", err
		}
		return w.Replies.NoLonger, a.dispatcher.RefusePress(ctx, p, "the incident has no such action")
	}
	d := actions[i]
	// What it is now is for the machine to say, which also records who asked
	// for what is no longer possible.
	switch p.Do {
	case responders.PressApprove:
		d, err = a.machine.Approve(ctx, d.ID, p.By, p.Hash)
	case responders.PressDeny:
		d, err = a.machine.Deny(ctx, d.ID, p.By, "")
	case responders.PressUndo:
		d, err = a.machine.Undo(ctx, d.ID, p.By)
	}
	if err != nil {
		return "", err
	}
	return w.ActionLine(d.ActionView), nil
}

// pressMute silences the rule for the actor of an alert: the narrowest that a
// menu can offer.
func (a *App) pressMute(ctx context.Context, p responders.Press, w *message.Words) (string, error) {
	var lasts responders.Duration
	if err := lasts.UnmarshalText([]byte(p.Choice)); err != nil {
		return "", err
	}
	x, err := a.dispatcher.Stored(ctx, p.AlertID)
	if err != nil {
		return "", err
	}
	matchers := route.AlertMatchers(&x)
	s, err := a.dispatcher.Mute(ctx, p.By, matchers, lasts.Std(), "muted from the message of incident "+x.ID)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(w.Replies.Muted, w.Stamp(s.Until), strings.Join(matchers, " "), s.ID), nil
}

// logstore is the one that alerts come from, for links and commands; nil when
// there are several, since an alert does not say which.
func (a *App) logstore() *config.SLS {
	if len(a.cfg.Source.SLS) != 1 {
		return nil
	}
	return &a.cfg.Source.SLS[0]
}

// replayCommand looks at everything that the actor of an alert did from an hour
// before to an hour after. People paste it, so that names are quoted.
func replayCommand(x *alert.Alert, s *config.SLS) string {
	source := "<files>"
	if s != nil {
		source = "sls://" + s.Project + "/" + s.Logstore
	}
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	out := "trailwarden replay --from " + at(x.FirstAt.Add(-time.Hour)) + " --to " + at(x.LastAt.Add(time.Hour))
	for _, name := range []string{x.Actor.Name, x.Actor.Role, x.SourceIP} {
		if name = text.Line(name); name != "" {
			return out + " --entity " + shellQuote(name) + " " + source
		}
	}
	return out + " " + source
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@:/-]*$`)

// shellQuote makes one word of s for a shell, whatever it holds.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// eventID is what the ids of records look like; nothing else goes into a query.
var eventID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

const slsConsole = "https://sls.console.aliyun.com"

// rawLink is where the console of SLS shows the raw records of an alert; "" where
// the logstore is not known. The address holds ids and times, and no text of
// an event.
func rawLink(s *config.SLS) func(*alert.Alert) string {
	return func(x *alert.Alert) string {
		var ids []string
		for _, id := range x.EventIDs[:min(len(x.EventIDs), 10)] {
			if eventID.MatchString(id) {
				ids = append(ids, `"`+id+`"`)
			}
		}
		if len(ids) == 0 || strings.HasPrefix(x.Rule, "self.") {
			return ""
		}
		// ActionTrail delivers minutes after the event, and SLS searches by when
		// it got a record.
		q := url.Values{"encode": {"base64"}, "queryString": {base64.StdEncoding.EncodeToString([]byte(strings.Join(ids, " or ")))}, "queryTimeType": {"99"},
			"startTime": {strconv.FormatInt(x.FirstAt.Add(-10*time.Minute).Unix(), 10)}, "endTime": {strconv.FormatInt(x.LastAt.Add(time.Hour).Unix(), 10)}}
		return slsConsole + "/lognext/project/" + url.PathEscape(s.Project) + "/logsearch/" + url.PathEscape(s.Logstore) + "?" + q.Encode()
	}
}

var errNobodyAsks = errors.New("this process asks nobody: it has not the role respond")

// Ask implements admin.Backend.
func (a *App) Ask(ctx context.Context, alertID, person, by string) (responders.Question, error) {
	if a.dispatcher == nil {
		return responders.Question{}, errNobodyAsks
	}
	return a.dispatcher.Ask(ctx, alertID, responders.AskRequest{By: by, Person: person})
}

// Triage implements admin.Backend.
func (a *App) Triage(ctx context.Context, alertID string, q responders.TriageRequest) (responders.Triage, error) {
	x, _, err := a.Alert(ctx, alertID)
	if err != nil {
		return responders.Triage{}, err
	}
	return a.dispatcher.Triage(ctx, x.ID, q)
}

// TriageOf implements admin.Backend.
func (a *App) TriageOf(ctx context.Context, alertID string) (responders.Triage, error) {
	if a.dispatcher == nil {
		return responders.Triage{}, errNoResponders
	}
	return a.dispatcher.TriageOf(ctx, alertID)
}

// Answer implements admin.Backend.
func (a *App) Answer(ctx context.Context, alertID, question, by string, yes bool) (responders.Question, error) {
	if a.dispatcher == nil {
		return responders.Question{}, errNobodyAsks
	}
	return a.dispatcher.Answer(ctx, alertID, question, by, yes)
}

// Questions implements admin.Backend.
func (a *App) Questions(ctx context.Context, alertID string) ([]responders.Question, error) {
	if a.dispatcher == nil {
		return nil, errNobodyAsks
	}
	return a.dispatcher.Questions(ctx, alertID)
}
