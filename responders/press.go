package responders

import (
	"context"
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
