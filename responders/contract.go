package responders

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Action is one requested change in the cloud. Its ID is a function of what
// it does and of the alert that asked for it, so that the same request made
// twice is one action.
type Action struct {
	ID       string       `json:"id"`
	Kind     string       `json:"kind"` // an Executor's Kind, e.g. "ram.disable_access_key"
	AlertID  string       `json:"alert_id,omitempty"`
	Rule     string       `json:"rule,omitempty"`
	Playbook string       `json:"playbook,omitempty"`
	Target   ActionTarget `json:"target"`
	Evidence Evidence     `json:"evidence"`
	Mode     Mode         `json:"mode"`
	// Requester is who asked: "playbook" or a person.
	Requester string `json:"requester"`
	// After is the action that comes before this one in its playbook; this
	// one is not begun while that is under way. Empty for none.
	After string `json:"after,omitempty"`
	// Again tells a person's request from earlier ones for the same that came to
	// nothing: 1, 2, …
	Again int `json:"again,omitempty"`
}

// ActionTarget names the principal or credential acted on. It never comes
// from a display name: the fields are those the cloud's API wants.
type ActionTarget struct {
	AccountID     string `json:"account_id"`
	PrincipalType string `json:"principal_type"` // "ram-user", "root-account", "assumed-role"
	UserName      string `json:"user_name,omitempty"`
	RoleName      string `json:"role_name,omitempty"`
	AccessKeyID   string `json:"access_key_id,omitempty"`
	// Params are what a kind needs besides: the policy to detach, the trail to
	// start. Each executor documents its own.
	Params map[string]string `json:"params,omitempty"`
}

// Evidence is why: what guards look at before anything is done.
type Evidence struct {
	EventIDs []string `json:"event_ids"`
	// Time is the event time of the last evidence.
	Time time.Time `json:"time"`
	// Outcome is "success" or "attempt". A refused call justifies nothing,
	// except where RefusalIsEvidence: a key that Alibaba already restricts
	// as leaked proves by being refused that somebody holds it.
	Outcome           string `json:"outcome"`
	RefusalIsEvidence bool   `json:"refusal_is_evidence,omitempty"`
}

// Mode is how far a playbook may go.
type Mode string

// The modes. Observe is the default: everything but the effect.
const (
	Observe Mode = "observe"
	Approve Mode = "approve"
	Auto    Mode = "auto"
)

// Result is what an executor found or did.
type Result struct {
	// Changed says that a call changed the cloud; false with a nil error
	// means that the wanted state was there already (Note says so).
	Changed bool   `json:"changed"`
	Note    string `json:"note,omitempty"`
	// Prior is the state before, enough for Undo to restore it exactly.
	Prior json.RawMessage `json:"prior,omitempty"`
	// After is what the read-back showed.
	After     json.RawMessage `json:"after,omitempty"`
	RequestID string          `json:"request_id,omitempty"`
}

// Executor is one kind of change in the cloud.
//
// The machine calls Read, journals what it returned as prior state together
// with the intent, then calls Execute, which makes the change and reads it
// back. After a crash or an unknown outcome it calls Verify, which only
// reads. Methods may be called from several goroutines; each call is bounded
// by ctx and by the executor's own time-out.
type Executor interface {
	Kind() string
	// Describe says in one line what Execute would do, naming the exact call.
	Describe(a Action) string
	// Permissions lists the RAM actions that Read, Execute, Verify and Undo need.
	Permissions() []string
	// Read returns the present state of the target. It returns ErrRefused
	// when the target must not be acted on (wrong owner, root key, empty
	// user name) and Settled when there is nothing left to do.
	Read(ctx context.Context, a Action) (prior json.RawMessage, err error)
	// Execute makes the change, reads back, and returns the outcome. An
	// error that IsInDoubt means that the call may have taken effect.
	Execute(ctx context.Context, a Action, prior json.RawMessage) (Result, error)
	// Verify reads whether the change is in force.
	Verify(ctx context.Context, a Action) (inForce bool, after json.RawMessage, err error)
	// Undo restores prior, unless the present state is no longer the one
	// that Execute left (drift): then it changes nothing and returns ErrDrift.
	Undo(ctx context.Context, a Action, prior json.RawMessage) (Result, error)
}

// UndoDescriber is an Executor that can name the call that Undo would make.
type UndoDescriber interface {
	DescribeUndo(a Action, prior json.RawMessage) string
}

// Refuser is an Executor that can say without a call that what an action asks
// for cannot be done, such as a fence around no network; nil when it may be.
type Refuser interface {
	Refusal(a Action) error
}

// Errors that executors classify their failures by, for errors.Is.
var (
	// ErrRefused: this must not be done; page a person. Never retried.
	ErrRefused = errors.New("refused")
	// ErrSettled: the wanted state is there already; nothing to do.
	ErrSettled = errors.New("already so")
	// ErrInDoubt: the call may or may not have taken effect; read before trying again.
	ErrInDoubt = errors.New("outcome unknown")
	// ErrRetry: it certainly did not take effect and may work later (throttled).
	ErrRetry = errors.New("try again later")
	// ErrDrift: someone changed the target since; undo would overwrite it.
	ErrDrift = errors.New("target changed since")
)

// ErrTurn, as the cause of a RetryAfterError, says that our own pace held the
// message back: the platform was not asked.
var ErrTurn = errors.New("waiting for the channel's turn")

// RetryAfterError carries the pause that a platform asked for. errors.Is ErrRetry.
type RetryAfterError struct {
	After time.Duration
	Err   error
}

func (e *RetryAfterError) Error() string   { return e.Err.Error() }
func (e *RetryAfterError) Unwrap() []error { return []error{e.Err, ErrRetry} }

// Notice is what a notifier shows a person: one incident in its present
// state. The same notice sent again with a higher revision edits the message.
type Notice struct {
	Alert alert.Alert
	// Actions is what was proposed, done or refused for this alert.
	Actions []ActionView
	// Account names the account for people ("prod"), when configured.
	Account string
	// Card is what is known of the key that the alert is about; nil until it
	// has been read, and for alerts that are about no key.
	Card *KeyCard
	// Thread is what has grown since the last revision, oldest first; each
	// line becomes a reply where the platform has threads.
	Thread []Line
	// Triage is what people made of it; zero while nobody did anything.
	Triage Triage
	// Questions are those put to people about it, oldest first; MayAsk says that
	// its owner is known and has not been asked.
	Questions []Question
	MayAsk    bool
	// Question is the one that this message asks; nil but for an Asker.
	Question *Question
	// Copy tells messages of one incident at one destination apart, where a
	// platform recognises a repeated request: it is the same for a repeat.
	Copy int
	// Link opens the incident in the console; empty when there is none.
	Link string
	// Raw opens the raw records of its events; empty when there is none.
	Raw string
}

// ActionView is an action's state as shown to people.
type ActionView struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Describe string    `json:"describe"`
	State    State     `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"`
	At       time.Time `json:"at"`
	Undoable bool      `json:"undoable"`
	// DescribeUndo names the call that undo makes, where the executor says.
	DescribeUndo string `json:"describe_undo,omitempty"`
	// ActionHash is the hash of the exact action; a click carries it back, so
	// that people approve what they were shown.
	ActionHash string `json:"-"`
}

// TakenBack says that what was done is no longer so: another incident's undo, or
// somebody's hand, took it away.
func (v *ActionView) TakenBack() bool {
	return v.State == Done && strings.HasPrefix(v.Reason, noLongerSo)
}

// MessageRef finds a sent message again. Opaque to everyone but its notifier.
type MessageRef struct {
	Channel string `json:"channel,omitempty"`
	ID      string `json:"id,omitempty"`
}

// Notifier shows alerts to people at one destination.
type Notifier interface {
	// Name is the destination's name in the configuration.
	Name() string
	// Post sends a new message and returns how to find it again. The error
	// says what to do: ErrInDoubt (it may have arrived: Find before sending
	// again), ErrRetry or *RetryAfterError (certainly not sent), anything
	// else is final.
	Post(ctx context.Context, n Notice) (MessageRef, error)
	// Update edits the message; final errors as for Post.
	Update(ctx context.Context, ref MessageRef, n Notice) error
	// Find looks for a message of this alert sent since; ok is false when
	// there is none, and err is errors.ErrUnsupported where the platform
	// cannot be read back.
	Find(ctx context.Context, alertID string, since time.Time) (ref MessageRef, ok bool, err error)
}

// Finder is a Notifier that finds a message by what it would say, where its
// incident alone does not name it: its copy, for one. Find is then not called.
type Finder interface {
	FindNotice(ctx context.Context, n Notice, since time.Time) (ref MessageRef, ok bool, err error)
}

// State is where an action stands.
type State string

// The states of an action. proposed → approved → executing → done; the rest
// are the ways out.
const (
	Proposed  State = "proposed"  // waits for approval
	Approved  State = "approved"  // by a person or by an auto playbook
	Executing State = "executing" // intent durable, call may be on its way
	Done      State = "done"      // in force, read back
	Failed    State = "failed"    // not done; reason says why
	InDoubt   State = "in_doubt"  // outcome unknown until read
	Refused   State = "refused"   // a guard or the executor forbade it
	Observed  State = "observed"  // dry-run: would have been done
	Denied    State = "denied"    // a person said no
	Expired   State = "expired"   // nobody answered: the safe side
	Undoing   State = "undoing"   // undo intent durable
	Undone    State = "undone"    // prior state restored, read back
)

// Journal is the append-only memory of what was asked and what came of it.
// Implementations are durable before they return (JetStream) or for tests (memory).
type Journal interface {
	// Append adds data to the history of (kind, id) if its last sequence is
	// still expect, 0 meaning no record yet; otherwise ErrConflict. The
	// returned sequence is the next expect.
	Append(ctx context.Context, kind, id string, data []byte, expect uint64) (seq uint64, err error)
	// History returns the records of (kind, id), oldest first.
	History(ctx context.Context, kind, id string) ([]Entry, error)
	// IDs lists the ids that have records of a kind, in no order.
	IDs(ctx context.Context, kind string) ([]string, error)
}

// Entry is one journal record.
type Entry struct {
	Seq  uint64
	Time time.Time // when it was stored
	Data []byte
}

// ErrConflict says that somebody else appended first.
var ErrConflict = errors.New("journal: another record came first")
