package responders

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Press is one press of a button, in whichever chat. It is a request: who may do
// what it asks for is decided where it arrives.
type Press struct {
	By      string // who, as the chat's own servers say: "slack:U…", "dingtalk:…", "feishu:ou_…"
	Do      string // one of the Press constants
	AlertID string
	// Ref and Hash name what the button was for as the person saw it: an
	// action and its hash, or a question.
	Ref, Hash string
	// Choice is what was chosen in a menu, Person whom.
	Choice, Person string
	// Unclear says why what came could not be understood. Such a press asks for
	// nothing: it is refused and recorded, with what is known of it.
	Unclear string
}

// What a button can ask for. The words are part of messages that people press
// months later, so they stay.
const (
	PressAcknowledge = "acknowledge"
	PressApprove     = "approve"
	PressDeny        = "deny"
	PressUndo        = "undo"
	PressAssign      = "assign" // Person
	PressMute        = "mute"   // Choice: a duration
	PressClose       = "close"  // Choice: a verdict
	PressReopen      = "reopen"
	PressAsk         = "ask"
	PressYes         = "yes"
	PressNo          = "no"
	PressReplay      = "replay" // how to replay, in words: a chat cannot
	PressCopy        = "copy"   // the ids, to be copied
	PressLink        = "link"   // followed a link; nothing to do
)

// Hearer is a Spec whose destination hears of presses over a connection that it
// opens itself. Hear makes what listens until ctx ends; nil when the
// configuration has no buttons.
type Hearer interface {
	Hear(p Presser, log *slog.Logger) (run func(ctx context.Context) error, err error)
}

// Presser does what a press asks for. reply is shown to the person alone, as
// is err, both as plain text; empty shows nothing.
type Presser func(ctx context.Context, p Press) (reply string, err error)

// ErrUnclear says that a press could not be understood.
var ErrUnclear = errors.New("this press could not be understood, so nothing was done")

// unknownAlert is where refused presses are recorded that are about no incident
// of ours: one history, so that nobody can fill the journal with made-up ones.
const unknownAlert = "unknown"

// RefusePress records a press that was refused before anything could decide about it,
// for the audit log. Who is refused by the machine, or as the answer to a
// question, is recorded there.
func (d *Dispatcher) RefusePress(ctx context.Context, p Press, reason string) error {
	id := unknownAlert
	if _, ok, err := d.storedAlert(ctx, p.AlertID); err != nil {
		return err
	} else if ok {
		id = journalID(p.AlertID)
	}
	what := cmp.Or(clip(p.Do, 40), "press")
	err := change(ctx, d.j, kindClick, id, func(c *clicks) bool {
		c.add(Click{At: d.now(), By: clip(p.By, 200), What: what, Reason: clip(reason, maxReason)})
		return true
	})
	d.log.Warn("press refused", "alert_id", clip(p.AlertID, 64), "by", clip(p.By, 200), "what", what, "reason", clip(reason, maxReason))
	if err != nil {
		return fmt.Errorf("the refusal could not be recorded: %w", err)
	}
	return nil
}
