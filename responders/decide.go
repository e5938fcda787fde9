package responders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// ErrNotAllowed says that a request of a person was refused; the error's text
// says why. Such requests are recorded.
var ErrNotAllowed = errors.New("not allowed")

// ErrNoAction says that there is no action of that id.
var ErrNoAction = errors.New("no such action")

// ErrNoDestination says that no destination has that name.
var ErrNoDestination = errors.New("no such destination")

// ErrNoAlert says that there is no alert of that id.
var ErrNoAlert = errors.New("no such alert")

// ErrBadTriage says that a step with an alert makes no sense; the error's text
// says why.
var ErrBadTriage = errors.New("cannot do this")

// maxClicks bounds the refused requests kept for one action.
const maxClicks = 50

type clicks struct {
	Clicks  []Click `json:"clicks"`
	Dropped int     `json:"dropped,omitempty"` // older ones that are no longer listed
}

func (c *clicks) add(x Click) {
	c.Clicks = append(c.Clicks, x)
	if over := len(c.Clicks) - maxClicks; over > 0 {
		c.Clicks = slices.Clone(c.Clicks[over:])
		c.Dropped += over
	}
}

// refuseClick records a refused request and returns its error.
func (m *Machine) refuseClick(ctx context.Context, id, by, what, reason string) error {
	err := change(ctx, m.j, kindClick, id, func(c *clicks) bool {
		c.add(Click{At: m.now(), By: clip(by, 200), What: what, Reason: reason})
		return true
	})
	m.log.Warn("action: request refused", "action_id", id, "by", by, "what", what, "reason", reason)
	out := fmt.Errorf("%s action %s: %w: %s", what, short(id), ErrNotAllowed, reason)
	if err != nil {
		out = errors.Join(out, fmt.Errorf("the refusal could not be recorded: %w", err))
	}
	return out
}

// approver checks that a person may decide about an action, "" when so.
func (m *Machine) approver(by string, r *record) (Approver, string) {
	if by == "" || by == requesterPlaybook || by == machineName {
		return Approver{}, "it is not said who asks"
	}
	i := slices.IndexFunc(m.opts.Approvers, func(a Approver) bool { return a.is(by) })
	if i < 0 {
		return Approver{}, "not among respond.approvers"
	}
	a := m.opts.Approvers[i]
	t := r.Action.Target
	switch {
	case len(r.Approvers) > 0 && !slices.Contains(r.Approvers, a.Name):
		return a, "not an approver of this playbook"
	case len(a.Accounts) > 0 && !globAny(a.Accounts, t.AccountID):
		return a, "not an approver for this account"
	case t.UserName != "" && slices.ContainsFunc(a.IDs, func(id string) bool { return strings.EqualFold(id, "ram:"+t.AccountID+"/"+t.UserName) }):
		return a, "the action is about this very person"
	}
	return a, ""
}

// lapsed says why the approvals that an action has do not count any more: the
// configuration may have changed since, "" when they do.
func (m *Machine) lapsed(r *record) string {
	if !r.approvedByPerson() {
		return ""
	}
	people := map[string]bool{}
	for _, x := range r.Approvals {
		if a, no := m.approver(x.By, r); no == "" {
			people[a.Name] = true
		}
	}
	if len(people) >= r.Need {
		return ""
	}
	return fmt.Sprintf("of those who approved it %d still may, and %d are needed", len(people), r.Need)
}

// find resolves an id or an unambiguous beginning of at least 4 characters.
func (m *Machine) find(ctx context.Context, id string) (*record, uint64, error) {
	r, seq, err := m.loadID(ctx, id)
	if err != nil || seq > 0 {
		return r, seq, err
	}
	if len(id) < 4 {
		return nil, 0, fmt.Errorf("%w: %q", ErrNoAction, clip(id, 64))
	}
	ids, err := m.j.IDs(ctx, kindAction)
	if err != nil {
		return nil, 0, err
	}
	var match []string
	for _, x := range ids {
		if strings.HasPrefix(x, id) {
			match = append(match, x)
		}
	}
	switch len(match) {
	case 0:
		return nil, 0, fmt.Errorf("%w: %q", ErrNoAction, clip(id, 64))
	case 1:
		return m.load(ctx, match[0])
	}
	return nil, 0, fmt.Errorf("%w: %q is the beginning of %d ids: give more of it", ErrNoAction, id, len(match))
}

func (m *Machine) loadID(ctx context.Context, id string) (*record, uint64, error) {
	if id == "" || len(id) > 64 {
		return nil, 0, fmt.Errorf("%w: %q", ErrNoAction, clip(id, 64))
	}
	return m.load(ctx, id)
}

// decide runs one request of a person against the newest record until no
// other writer comes between.
func (m *Machine) decide(ctx context.Context, id string, try func(r *record, seq uint64) (uint64, error)) (ActionDetail, error) {
	for {
		r, seq, err := m.find(ctx, id)
		if err != nil {
			return ActionDetail{}, err
		}
		seq, err = try(r, seq)
		if errors.Is(err, ErrConflict) {
			if err := ctx.Err(); err != nil {
				return ActionDetail{}, err
			}
			continue
		}
		if err != nil {
			return ActionDetail{}, err
		}
		m.poke(r.Action.ID)
		return m.detail(r, seq), nil
	}
}

// Approve records one person's yes to the exact action whose hash they were
// shown (ActionDetail.Hash). With enough of them the action is approved, and
// Run does it. It fails with ErrNotAllowed when the action no longer waits,
// has expired, was changed since, when the person may not approve, asked for
// it, or has approved already, and while everything is frozen.
func (m *Machine) Approve(ctx context.Context, id, by, hash string) (ActionDetail, error) {
	const what = "approve"
	return m.decide(ctx, id, func(r *record, seq uint64) (uint64, error) {
		id := r.Action.ID
		now := m.now()
		if r.State != Proposed {
			return 0, m.refuseClick(ctx, id, by, what, fmt.Sprintf("it is %s already%s", r.State, byWhom(r)))
		}
		if !now.Before(r.ExpiresAt) {
			return 0, m.refuseClick(ctx, id, by, what, fmt.Sprintf("it expired at %s", r.ExpiresAt.Format(time.RFC3339)))
		}
		if hash != r.Hash || ActionHash(r.Action) != r.Hash {
			return 0, m.refuseClick(ctx, id, by, what, "the action is not the one that was shown; look at it again")
		}
		a, no := m.approver(by, r)
		if no != "" {
			return 0, m.refuseClick(ctx, id, by, what, no)
		}
		if a.same(r.Action.Requester) {
			return 0, m.refuseClick(ctx, id, by, what, "who asks for an action cannot approve it")
		}
		if slices.ContainsFunc(r.Approvals, func(p Approval) bool { return a.same(p.By) }) {
			return 0, m.refuseClick(ctx, id, by, what, "this person has approved it already, and another one is needed")
		}
		var f Freeze
		if _, err := readLast(ctx, m.j, kindFreeze, onlyID, &f); err != nil {
			return 0, err
		}
		if f.Frozen {
			return 0, m.refuseClick(ctx, id, by, what, "all actions are frozen; unfreeze first")
		}
		to := Proposed
		if len(r.Approvals)+1 >= r.Need {
			to = Approved
		}
		return m.put(ctx, r, seq, to, by, func(n *record) {
			n.Approvals = append(n.Approvals, Approval{By: by, At: now, Hash: hash})
			if to == Approved {
				n.ApprovedBy, n.ApprovedAt = by, now
			} else {
				n.Reason = fmt.Sprintf("%d of %d approvals", len(n.Approvals), n.Need)
			}
		})
	})
}

func byWhom(r *record) string {
	if r.By == "" || r.By == machineName {
		return ""
	}
	return " by " + r.By + " at " + r.At.Format(time.RFC3339)
}

// Deny records a no; nothing is done. One is enough.
func (m *Machine) Deny(ctx context.Context, id, by, reason string) (ActionDetail, error) {
	const what = "deny"
	return m.decide(ctx, id, func(r *record, seq uint64) (uint64, error) {
		if r.State != Proposed {
			return 0, m.refuseClick(ctx, r.Action.ID, by, what, fmt.Sprintf("it is %s already%s", r.State, byWhom(r)))
		}
		if _, no := m.approver(by, r); no != "" {
			return 0, m.refuseClick(ctx, r.Action.ID, by, what, no)
		}
		return m.put(ctx, r, seq, Denied, by, func(n *record) { n.Reason = reason })
	})
}

// Undo restores the state before an action, for as long as UndoFor says. It
// makes the call before it returns: the state is then undone, done (with the
// reason: somebody changed the target since, and nothing was overwritten) or
// undoing (the answer was lost; Run finds out). Who may undo is who may
// approve; with no approvers configured, whoever is named. A freeze does not
// stop an undo.
func (m *Machine) Undo(ctx context.Context, id, by string) (ActionDetail, error) {
	const what = "undo"
	var seq uint64
	r, _, err := m.find(ctx, id)
	if err != nil {
		return ActionDetail{}, err
	}
	id = r.Action.ID
	if !m.claimSoon(ctx, id) {
		return ActionDetail{}, m.refuseClick(ctx, id, by, what, "it is being worked on; try again")
	}
	defer func() {
		m.mu.Lock()
		delete(m.busy, id)
		m.mu.Unlock()
		m.kick()
	}()
	if r, seq, err = m.load(ctx, id); err != nil {
		return ActionDetail{}, err
	}
	if no := m.undoable(r); no != "" {
		return ActionDetail{}, m.refuseClick(ctx, id, by, what, no)
	}
	if no := m.mayNotUndo(by, r); no != "" {
		return ActionDetail{}, m.refuseClick(ctx, id, by, what, no)
	}
	again, _, err := m.since(ctx, r)
	switch {
	case err != nil:
		return ActionDetail{}, err
	case again != "":
		return ActionDetail{}, m.refuseClick(ctx, id, by, what, fmt.Sprintf("action %s did the same since, so what is there now is its doing; undo that one", short(again)))
	}
	for {
		env := m.gather(ctx, r)
		if err := env.journalErr(); err != nil {
			return ActionDetail{}, err
		}
		if on := env.HandsOn.SwitchedOn; r.Action.Kind == KindDisableAccessKey && on.After(r.DoneAt) {
			return ActionDetail{}, m.refuseClick(ctx, id, by, what, fmt.Sprintf("somebody switched it on again at %s, so what is there now is not our doing; change it by hand", on.Format(time.RFC3339)))
		}
		if v := checkOne(conflictGuard{}, r.Action, env); v.Decision != Pass {
			return ActionDetail{}, m.refuseClick(ctx, id, by, what, v.Reason)
		}
		if !env.ledger.open(r.Action, env.Now, true) {
			break
		}
		if _, err := m.appendLedger(ctx, env); err == nil {
			break
		} else if !errors.Is(err, ErrConflict) {
			return ActionDetail{}, err
		}
	}
	r.UndoBy, r.UndoAt, r.UndoDoubts = by, m.now(), 0
	_, due, err := m.undo(ctx, r, seq)
	if errors.Is(err, ErrConflict) {
		return ActionDetail{}, m.refuseClick(ctx, id, by, what, "somebody else was first; look at it again")
	}
	if err != nil {
		return ActionDetail{}, err
	}
	r, seq, err = m.load(ctx, id)
	if err != nil {
		return ActionDetail{}, err
	}
	if due.IsZero() {
		due = m.now() // its own event is waited for, where that is wanted
	}
	m.note(r, seq, due)
	return m.detail(r, seq), nil
}

// mayNotUndo says why a person may not undo an action, "" when they may.
func (m *Machine) mayNotUndo(by string, r *record) string {
	if len(m.opts.Approvers) > 0 {
		_, no := m.approver(by, r)
		return no
	}
	if !strings.HasPrefix(by, "cli:") {
		// Without a list of people, only whoever can reach the program's own
		// socket counts; anybody may sit in a channel.
		return "no approvers are configured; undo on the command line (trailwarden action undo " + short(r.Action.ID) + ")"
	}
	return ""
}

// since finds, of the actions that were to do the same after one that is done, who did
// it again and who found it done. The present state alone does not tell: what was
// undone by hand and done again looks the same, and is not ours to take back.
func (m *Machine) since(ctx context.Context, r *record) (again string, rely []string, err error) {
	if r.Action.Kind == KindFenceUser || r.Action.Kind == KindCutRoleSessions {
		return "", nil, nil // each has a policy of its own
	}
	err = eachLast(ctx, m.j, kindAction, func(id string, e Entry) error {
		var x record
		if unmarshal(e.Data, &x) != nil || id == r.Action.ID || x.State != Done || x.Result == nil || !x.DoneAt.After(r.DoneAt) {
			return nil
		}
		switch same := sameDeed(x.Action, r.Action); {
		case same && x.Result.Changed:
			again = id
		case same:
			rely = append(rely, id)
		}
		return nil
	})
	return again, rely, err
}

// sameDeed says whether two actions do the same, whichever alerts asked for it.
func sameDeed(a, b Action) bool {
	a.AlertID, a.Again = b.AlertID, b.Again
	return ActionID(a) == b.ID
}

// undoneMeanwhile notes in an action that found done what it was to do that this has been
// undone since the record of it at seq: what was read may have been of before, and
// who undid it did not know of this one yet.
func (m *Machine) undoneMeanwhile(ctx context.Context, r *record, seq uint64) error {
	undone := ""
	err := eachLast(ctx, m.j, kindAction, func(id string, e Entry) error {
		var x record
		if e.Seq > seq && unmarshal(e.Data, &x) == nil && x.State == Undone && id != r.Action.ID && sameDeed(x.Action, r.Action) {
			undone = undoneBy(&x)
		}
		return nil
	})
	if err != nil || undone == "" {
		return err
	}
	return m.noLonger(ctx, r.Action.ID, m.now(), undone)
}

// noLongerSo begins the reason of an action whose effect another one's undo, or somebody's
// hand, took away.
const noLongerSo = "no longer so: "

// undoneBy is that of those who rely on an action that was undone.
func undoneBy(r *record) string {
	return fmt.Sprintf("no longer so: %s undid action %s, which had done it; look at this alert anew", r.UndoBy, short(r.Action.ID))
}

// tellThoseWhoRely notes in the actions that found done what they were to do that it
// is no longer so: their incidents are not contained any more. Best effort.
func (m *Machine) tellThoseWhoRely(ctx context.Context, r *record) {
	_, rely, err := m.since(ctx, r)
	for _, id := range rely {
		err = errors.Join(err, m.noLonger(ctx, id, m.now(), undoneBy(r)))
	}
	if err != nil {
		m.log.Warn("an undo could not be noted where others rely on what was done", "action_id", r.Action.ID, "err", err)
	}
}

// Freeze throws the kill switch: from when it returns no action is begun, in
// any process, until Unfreeze. What has been approved waits for a new
// approval. Undo stays possible.
func (m *Machine) Freeze(ctx context.Context, by, reason string) error {
	return m.setFreeze(ctx, Freeze{Frozen: true, By: by, Reason: reason})
}

// Unfreeze releases the kill switch.
func (m *Machine) Unfreeze(ctx context.Context, by, reason string) error {
	return m.setFreeze(ctx, Freeze{By: by, Reason: reason})
}

func (m *Machine) setFreeze(ctx context.Context, f Freeze) error {
	if f.By == "" {
		return fmt.Errorf("freeze: %w: it is not said who asks", ErrNotAllowed)
	}
	f.At, f.Reason = m.now(), clip(f.Reason, maxReason)
	err := change(ctx, m.j, kindFreeze, onlyID, func(v *Freeze) bool {
		same := v.Frozen == f.Frozen
		*v = f
		return !same
	})
	if err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	m.log.Warn("kill switch", "frozen", f.Frozen, "by", f.By, "reason", f.Reason)
	return nil
}

// Frozen reads the kill switch.
func (m *Machine) Frozen(ctx context.Context) (Freeze, error) {
	var f Freeze
	_, err := readLast(ctx, m.j, kindFreeze, onlyID, &f)
	return f, err
}

// noteHands notes somebody's hand in what we had done to a target, if we had: no action
// touches it by itself any more, and a lost answer is not tried again. It may have
// been the attacker; that is for a person to tell.
func (m *Machine) noteHands(ctx context.Context, now HandsOn) error {
	t := now.Target
	// The journal is asked, since another process may have done it.
	done, err := m.List(ctx, ListFilter{Account: t.AccountID, States: []State{Executing, InDoubt, Done, Undoing, Undone}})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(done, func(d ActionDetail) bool { return sameTarget(d.Action.Target, t) }) {
		return nil
	}
	return change(ctx, m.j, kindHandsOn, targetID(t), func(h *HandsOn) bool {
		later, on := now.At.After(h.At), now.SwitchedOn.After(h.SwitchedOn)
		if later {
			h.At, h.By, h.Target = now.At, now.By, t
		}
		if on {
			h.SwitchedOn = now.SwitchedOn
		}
		return later || on
	})
}

// ListFilter narrows List. The zero value lists everything.
type ListFilter struct {
	States  []State
	AlertID string
	Account string
	// Limit is the most that is returned, the newest first; 0 is no limit.
	Limit int
}

// List returns actions, newest proposal first. It reads the journal, so that
// actions of other processes are there too.
func (m *Machine) List(ctx context.Context, f ListFilter) ([]ActionDetail, error) {
	byID := map[string]ActionDetail{}
	err := eachLast(ctx, m.j, kindAction, func(id string, e Entry) error {
		var r record
		if err := unmarshal(e.Data, &r); err != nil {
			m.log.Error("an action in the journal cannot be read", "action_id", id, "seq", e.Seq, "err", err)
			return nil
		}
		delete(byID, id)
		if len(f.States) > 0 && !slices.Contains(f.States, r.State) ||
			f.AlertID != "" && f.AlertID != r.Action.AlertID ||
			f.Account != "" && f.Account != r.Action.Target.AccountID {
			return nil
		}
		byID[id] = m.detail(&r, e.Seq)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	out := make([]ActionDetail, 0, len(byID))
	for _, d := range byID {
		out = append(out, d)
	}
	sort.Slice(out, func(i, k int) bool {
		if !out[i].ProposedAt.Equal(out[k].ProposedAt) {
			return out[i].ProposedAt.After(out[k].ProposedAt)
		}
		return out[i].ID < out[k].ID
	})
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

// Show returns one action with its history. The id may be an unambiguous
// beginning.
func (m *Machine) Show(ctx context.Context, id string) (ActionDetail, error) {
	r, seq, err := m.find(ctx, id)
	if err != nil {
		return ActionDetail{}, err
	}
	d := m.detail(r, seq)
	h, err := m.j.History(ctx, kindAction, r.Action.ID)
	if err != nil {
		return ActionDetail{}, fmt.Errorf("action %s: %w", short(r.Action.ID), err)
	}
	for _, e := range h {
		var x record
		if err := unmarshal(e.Data, &x); err != nil {
			return ActionDetail{}, fmt.Errorf("action %s at %d: %w", short(r.Action.ID), e.Seq, err)
		}
		d.History = append(d.History, ActionStep{State: x.State, At: x.At, By: x.By, Reason: x.Reason})
	}
	var c clicks
	if _, err := readLast(ctx, m.j, kindClick, r.Action.ID, &c); err != nil {
		return ActionDetail{}, err
	}
	d.Clicks = c.Clicks
	return d, nil
}

// ForAlert returns the actions that this process knows for an alert, in the
// order in which they were proposed.
func (m *Machine) ForAlert(ctx context.Context, alertID string) ([]ActionDetail, error) {
	m.mu.Lock()
	ids := slices.Clone(m.byAlert[alertID])
	m.mu.Unlock()
	out := make([]ActionDetail, 0, len(ids))
	for _, id := range ids {
		r, seq, err := m.load(ctx, id)
		if err != nil {
			return nil, err
		}
		if seq > 0 {
			out = append(out, m.detail(r, seq))
		}
	}
	sort.SliceStable(out, func(i, k int) bool {
		if !out[i].ProposedAt.Equal(out[k].ProposedAt) {
			return out[i].ProposedAt.Before(out[k].ProposedAt)
		}
		return out[i].ID < out[k].ID
	})
	return out, nil
}

// Stats counts the actions that this process knows by state, and the records
// that could not be read.
func (m *Machine) Stats() (byState map[State]int, damaged int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	byState = map[State]int{}
	for _, s := range m.index {
		byState[s.state]++
	}
	return byState, m.damaged
}
