package responders

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// recordVersion is written into every record; a record of a higher version is
// left alone, because acting on half-understood state is worse than not acting.
const recordVersion = 1

var errNewer = errors.New("written by a newer version of trailwarden")

// record is one entry in the history of an action. It holds the whole state,
// so that the newest entry is all that is needed to go on.
type record struct {
	V        int            `json:"v"`
	Action   Action         `json:"action"`
	Hash     string         `json:"hash"` // of Action: what approvals are bound to
	Describe string         `json:"describe,omitempty"`
	Origin   Origin         `json:"origin,omitempty"`
	Guards   GuardOverrides `json:"guards"`

	State  State     `json:"state"`
	At     time.Time `json:"at"` // of this entry
	By     string    `json:"by"` // who made this entry: "playbook", "machine" or a person
	Reason string    `json:"reason,omitempty"`
	Next   string    `json:"next,omitempty"`

	ProposedAt time.Time  `json:"proposed_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	Expires    Duration   `json:"expires"`
	Approvers  []string   `json:"approvers,omitempty"`
	Need       int        `json:"need"`
	Approvals  []Approval `json:"approvals,omitempty"`
	Escalated  bool       `json:"escalated,omitempty"` // auto, but a guard wants a person
	ApprovedBy string     `json:"approved_by,omitempty"`
	ApprovedAt time.Time  `json:"approved_at,omitzero"`

	Attempt  int             `json:"attempt,omitempty"` // executing entries
	Doubts   int             `json:"doubts,omitempty"`  // answers that were lost
	Deaths   int             `json:"deaths,omitempty"`  // of the process, in the middle of the call
	Retries  int             `json:"retries,omitempty"` // since the last change of state
	RetryAt  time.Time       `json:"retry_at,omitzero"`
	BegunAt  time.Time       `json:"begun_at,omitzero"` // of the first executing entry
	Owner    string          `json:"owner,omitempty"`   // process that calls the cloud
	Deadline time.Time       `json:"deadline,omitzero"` // of that call; nobody calls after it
	Prior    json.RawMessage `json:"prior,omitempty"`
	Result   *Result         `json:"result,omitempty"`
	DoneAt   time.Time       `json:"done_at,omitzero"`
	Paged    bool            `json:"paged,omitempty"`   // still in doubt when a person should know
	Checked  bool            `json:"checked,omitempty"` // observed: the cloud was looked at

	UndoBy     string    `json:"undo_by,omitempty"`
	UndoAt     time.Time `json:"undo_at,omitzero"`
	UndoDoubts int       `json:"undo_doubts,omitempty"`
	Undo       *Result   `json:"undo,omitempty"`

	// Seen is our own call as the trail tells of it, UndoSeen that of the
	// undo; Unseen says that it was waited for in vain.
	Seen     *Seen `json:"seen,omitempty"`
	UndoSeen *Seen `json:"undo_seen,omitempty"`
	Unseen   bool  `json:"unseen,omitempty"`

	Trace string `json:"trace,omitempty"` // of the alert, see pipeline/trace
}

// Seen is one of our own calls as it came back in the audit trail.
type Seen struct {
	EventID string    `json:"event_id"`
	At      time.Time `json:"at"`   // event time
	Read    time.Time `json:"read"` // when we read it
}

// awaited is the request whose event has not been seen yet, "" when none is
// waited for.
func (r *record) awaited() string {
	switch {
	case r.Unseen:
	case r.State == Done && r.Seen == nil && r.Result != nil && r.Result.Changed:
		return r.Result.RequestID
	case r.State == Undone && r.UndoSeen == nil && r.Undo != nil && r.Undo.Changed:
		return r.Undo.RequestID
	}
	return ""
}

// Approval is one person's yes.
type Approval struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Hash string    `json:"hash"`
}

func (r *record) approvedByPerson() bool {
	return r.ApprovedBy != "" && r.ApprovedBy != requesterPlaybook
}

// legal lists what may follow what. Everything else is a bug, and is refused
// before it is written.
var legal = map[State][]State{
	"":        {Proposed, Observed, Refused},
	Observed:  {Observed, Refused},
	Proposed:  {Proposed, Approved, Denied, Expired, Refused, Failed},
	Approved:  {Approved, Proposed, Executing, Done, Refused, Failed},
	Executing: {Done, Failed, Refused, InDoubt, Approved},
	InDoubt:   {InDoubt, Executing, Done, Failed, Refused},
	Done:      {Undoing, Done}, // done again: its own event was seen
	Undoing:   {Undoing, Undone, Done},
	Undone:    {Undone},
}

func mayFollow(from, to State) bool { return slices.Contains(legal[from], to) }

// settled says that nothing more happens by itself.
func (s State) settled() bool {
	switch s {
	case Done, Failed, Refused, Observed, Denied, Expired, Undone:
		return true
	}
	return false
}

// ActionID is the id of what an action does and of the alert that asked for
// it: 32 hex digits, the same whoever computes it.
func ActionID(a Action) string {
	target, err := json.Marshal(a.Target)
	if err != nil { // strings and maps of strings always encode
		panic(err)
	}
	h := sha256.New()
	for _, part := range []string{"trailwarden.action/v1", a.Kind, string(target), a.AlertID} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if a.Again > 0 {
		fmt.Fprintf(h, "again:%d", a.Again)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ActionHash is the hash of the exact action that approvals are bound to: 64
// hex digits over everything that a person is shown, evidence included.
func ActionHash(a Action) string {
	b, err := json.Marshal(a)
	if err != nil { // as above; Evidence.Time is a time that came from JSON
		return ""
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// targetID names a target in the journal: the key where there is one.
func targetID(t ActionTarget) string {
	parts := []string{"trailwarden.target/v1", t.AccountID}
	if t.AccessKeyID != "" {
		parts = append(parts, "key", strings.ToLower(t.AccessKeyID))
	} else {
		parts = append(parts, t.PrincipalType, strings.ToLower(t.UserName), strings.ToLower(t.RoleName))
		if p := paramsOf(t); p != "" && t.UserName+t.RoleName == "" {
			parts = append(parts, p)
		}
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // ids beyond 2^53 in alert details stay what they are
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("trailing data")
	}
	if r, ok := v.(*record); ok && r.V > recordVersion {
		return fmt.Errorf("version %d: %w", r.V, errNewer)
	}
	return nil
}

// ActionDetail is an action in full, for "action ls" and "action show".
type ActionDetail struct {
	ActionView
	Action     Action          `json:"action"`
	Hash       string          `json:"hash"` // to be given to Approve
	Next       string          `json:"next,omitempty"`
	ProposedAt time.Time       `json:"proposed_at"`
	ExpiresAt  time.Time       `json:"expires_at,omitzero"` // while proposed
	Need       int             `json:"need"`                // approvals needed
	Approvals  []Approval      `json:"approvals,omitempty"`
	Attempt    int             `json:"attempt"`
	Prior      json.RawMessage `json:"prior,omitempty"`
	Result     *Result         `json:"result,omitempty"`
	Undo       *Result         `json:"undo,omitempty"`
	UndoUntil  time.Time       `json:"undo_until,omitzero"`
	// Seen and UndoSeen are our own calls as the audit trail told of them;
	// Unseen says that it did not in time.
	Seen     *Seen `json:"seen,omitempty"`
	UndoSeen *Seen `json:"undo_seen,omitempty"`
	Unseen   bool  `json:"unseen,omitempty"`
	// NeedsPerson says that it waits for a person: an approval, or an outcome
	// that could not be found out.
	NeedsPerson bool `json:"needs_person,omitempty"`
	// Paged says that the outcome has been unknown for too long.
	Paged bool   `json:"paged,omitempty"`
	Seq   uint64 `json:"seq"`
	// History is filled by Show only.
	History []ActionStep `json:"history,omitempty"`
	// Clicks are requests that were refused; filled by Show only.
	Clicks []Click `json:"clicks,omitempty"`
}

// ActionStep is one entry in an action's history.
type ActionStep struct {
	State  State     `json:"state"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Click is a person's request that was refused.
type Click struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	What   string    `json:"what"` // approve, deny, undo
	Reason string    `json:"reason"`
}

func (m *Machine) detail(r *record, seq uint64) ActionDetail {
	d := ActionDetail{
		ActionView: ActionView{
			ID: r.Action.ID, Kind: r.Action.Kind, Describe: r.Describe, State: r.State,
			Reason: r.Reason, By: r.By, At: r.At, Undoable: m.undoable(r) == "", ActionHash: r.Hash,
		},
		Action: r.Action, Hash: r.Hash, Next: r.Next, ProposedAt: r.ProposedAt, Need: r.Need, Approvals: r.Approvals,
		Attempt: r.Attempt, Prior: r.Prior, Result: r.Result, Undo: r.Undo, Paged: r.Paged, Seq: seq,
		Seen: r.Seen, UndoSeen: r.UndoSeen, Unseen: r.Unseen,
	}
	if r.State == Undone && r.UndoBy != "" { // what the trail showed of it since then was noted by the machine
		d.By = r.UndoBy
	}
	if e, ok := m.exec[r.Action.Kind].(UndoDescriber); ok && len(r.Prior) > 0 {
		d.DescribeUndo = clip(e.DescribeUndo(r.Action, r.Prior), maxReason)
	}
	if r.State == Proposed {
		d.ExpiresAt = r.ExpiresAt
		d.NeedsPerson = r.Action.Mode != Auto || r.Escalated
	}
	if r.State == Done && m.undoable(r) == "" {
		d.UndoUntil = r.DoneAt.Add(m.opts.UndoFor)
	}
	if r.Next != "" && r.State != Done {
		d.Reason = withNext(r.Reason, r.Next)
	}
	if r.Paged && !r.State.settled() {
		d.NeedsPerson = true
	}
	return d
}

// withNext is a reason with the next best step for people.
func withNext(reason, next string) string {
	if reason == "" {
		return next
	}
	return withClause(reason, "next: "+next)
}

// withClause is a reason with one more thing to say.
func withClause(reason, clause string) string {
	if reason == "" {
		return clause
	}
	return reason + "; " + clause
}

// undoable says why an action cannot be undone, "" when it can.
func (m *Machine) undoable(r *record) string {
	switch {
	case r.State != Done:
		return fmt.Sprintf("the action is %s, and only what is done can be undone", r.State)
	case r.Result == nil || !r.Result.Changed:
		return "the action changed nothing, so there is nothing to undo"
	case len(r.Prior) == 0:
		return "the state before was not recorded"
	case m.now().After(r.DoneAt.Add(m.opts.UndoFor)):
		return fmt.Sprintf("the action is older than %s", Duration(m.opts.UndoFor))
	case m.exec[r.Action.Kind] == nil:
		return fmt.Sprintf("nothing here can do %q", r.Action.Kind)
	}
	return ""
}

// clip bounds text that came from elsewhere, on a rune boundary. It stands in 71
// places: not inlined (DESIGN D23).
//
//go:noinline
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
