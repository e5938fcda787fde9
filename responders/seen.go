package responders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// RuleOwnCall is the rule that tells of our own calls. Its alerts are not
// shown: they confirm what was done.
const RuleOwnCall = "self.own_call"

// seenFor is how long after an action its event is still waited for at all.
const seenFor = 24 * time.Hour

// wantsSeen says that the event of an action's call is still waited for.
func (m *Machine) wantsSeen(r *record) bool {
	return m.opts.ConfirmWithin > 0 && r.awaited() != "" && m.now().Sub(r.At) < seenFor
}

// seenID names a request in the journal. Ids are the cloud's and short; what
// is longer or stranger is hashed.
func seenID(request string) string { return journalID(request) }

// NoteOwnCall records that a call of ours came back in the audit trail, and
// has the action that it belongs to looked at. The event may come before the
// answer of the call has been recorded, and again.
func (m *Machine) NoteOwnCall(ctx context.Context, request, eventID string, at time.Time) error {
	if request == "" {
		return nil
	}
	_, err := appendJSON(ctx, m.j, kindSeen, seenID(request), Seen{EventID: clip(eventID, 200), At: at.UTC(), Read: m.now()}, 0)
	if err != nil && !errors.Is(err, ErrConflict) { // a conflict: it was noted before
		return err
	}
	m.mu.Lock()
	id := m.requests[request]
	m.mu.Unlock()
	if id != "" {
		m.poke(id)
	}
	return nil
}

// stepSeen looks whether the call of a finished action came back in the trail.
func (m *Machine) stepSeen(ctx context.Context, r *record, seq uint64) (time.Time, error) {
	if !m.wantsSeen(r) {
		return time.Time{}, nil
	}
	request, now := r.awaited(), m.now()
	var s Seen
	found, err := readLast(ctx, m.j, kindSeen, seenID(request), &s)
	if err != nil {
		return time.Time{}, err
	}
	until := r.At.Add(m.opts.ConfirmWithin)
	reason, next := r.Reason, r.Next
	switch {
	case found > 0:
		reason = withClause(reason, "its own event is in the audit trail")
	case now.Before(until):
		return earliest(until, now.Add(time.Minute)), nil // another process may read the event
	default:
		reason = withClause(reason, fmt.Sprintf("the audit trail did not show it within %s", m.opts.ConfirmWithin))
	}
	_, err = m.put(ctx, r, seq, r.State, machineName, func(n *record) {
		n.Reason, n.Next = reason, next
		switch {
		case found == 0:
			n.Unseen = true
		case r.State == Done:
			n.Seen = &s
		default:
			n.UndoSeen = &s
		}
	})
	m.mu.Lock()
	delete(m.requests, request)
	m.mu.Unlock()
	return time.Time{}, err
}

// ownCall takes an alert of RuleOwnCall.
func (d *Dispatcher) ownCall(ctx context.Context, a *alert.Alert) error {
	id := ""
	if len(a.EventIDs) > 0 {
		id = a.EventIDs[0]
	}
	if err := d.m.NoteOwnCall(ctx, called(a, "request_id"), id, a.Time); err != nil {
		return err
	}
	return d.foreign(ctx, a, id)
}

// RuleForeignCall is raised when the responder's identity made a call that no
// action asked for: somebody else has its credentials, or its name.
const RuleForeignCall = "self.foreign_call"

// callsOf are the calls that each kind of action makes, its undo included.
var callsOf = map[string][]string{
	KindFenceKey:         {"SetAccessKeyPolicy"},
	KindFenceUser:        {"CreatePolicy", "AttachPolicyToUser", "DetachPolicyFromUser", "DeletePolicy"},
	KindDisableAccessKey: {"UpdateAccessKey"},
	KindBlockConsole:     {"UpdateLoginProfile"},
	KindQuarantineUser:   {"AttachPolicyToUser", "DetachPolicyFromUser"},
	KindCutRoleSessions:  {"CreatePolicy", "AttachPolicyToRole", "DetachPolicyFromRole", "DeletePolicy"},
	KindNarrowTrust:      {"UpdateRole"},
	KindDetachPolicy: {"AttachPolicyToUser", "AttachPolicyToRole", "AttachPolicyToGroup",
		"DetachPolicyFromUser", "DetachPolicyFromRole", "DetachPolicyFromGroup"},
	KindSetPolicyVersion: {"SetDefaultPolicyVersion"},
	KindRemoveFromGroup:  {"AddUserToGroup", "RemoveUserFromGroup"},
	KindStartTrail:       {"StartLogging", "StopLogging"},
}

// OwnEvent says whether an event of this name can be a call of an action. What
// our own identity does besides is told like anybody's.
func OwnEvent(name string) bool {
	for _, calls := range callsOf {
		if isCall(calls, name) {
			return true
		}
	}
	return false
}

func isCall(calls []string, name string) bool {
	return slices.ContainsFunc(calls, func(n string) bool { return strings.EqualFold(n, name) })
}

// likely says whether the call, of this name, that an alert tells of is one that an action makes: of
// its kind, and about what the action is about. Whoever has our credentials may bring
// about an action, to do something else in its shadow. What the alert does not say, or
// masks, is no difference.
func (d *ActionDetail) likely(a *alert.Alert, event string) bool {
	if calls, known := callsOf[d.Action.Kind]; known && event != "" && !isCall(calls, event) {
		return false
	}
	differs := func(said string, ours ...string) bool {
		said, _, _ = strings.Cut(said, "@")
		return said != "" && !strings.Contains(said, "*") && !slices.ContainsFunc(ours, func(name string) bool {
			name, _, _ = strings.Cut(name, "@")
			return strings.EqualFold(said, name)
		})
	}
	t, target := d.Action.Target, orEmpty(a.Target)
	if target.Type == "policy" && t.Params["policy_name"] == "" {
		target.Name = "" // one of our own making, see below
	}
	if differs(target.Name, t.UserName, t.RoleName, t.Params["group"], t.Params["policy_name"], t.Params["trail"]) ||
		t.AccessKeyID != "" && differs(a.TargetKey, t.AccessKeyID) {
		return false
	}
	for _, p := range []string{"policy_name", "policy_type", "group"} {
		if t.Params[p] != "" && differs(called(a, p), t.Params[p]) {
			return false
		}
	}
	// The quarantine and the policies that we make have their names from elsewhere.
	policy := called(a, "policy_name")
	return policy == "" || t.Params["policy_name"] != "" || strings.Contains(strings.ToLower(d.Describe), "policyname: "+strings.ToLower(policy)+",")
}

// told says that the trail has told already of every call of this name that an action
// made and had an answer to: another one is somebody else's. What an action
// does before and after the call that counts is not followed.
func (r *record) told(event string) bool {
	if isCall([]string{"CreatePolicy", "DeletePolicy"}, event) {
		return false
	}
	if r.UndoBy != "" {
		return r.UndoSeen != nil && r.UndoDoubts == 0
	}
	return r.Seen != nil && r.Doubts+r.Deaths == 0
}

// asked says whether an action in the account made the call that an alert tells of, or
// one that makes such calls was under way at its time; and since when the journal knows
// of any action, zero when it knows of none. It reads the journal, so that actions of
// other processes count.
func (m *Machine) asked(ctx context.Context, a *alert.Alert) (ours bool, since time.Time, err error) {
	const slack = 10 * time.Minute // clocks differ, and a lost answer is found out later
	request, at := called(a, "request_id"), a.Time
	event := eventName(a)
	made := func(r *Result) bool { return r != nil && request != "" && r.RequestID == request }
	byID := map[string]bool{} // the last record of each action counts
	err = eachLast(ctx, m.j, kindAction, func(id string, e Entry) error {
		var r record
		if unmarshal(e.Data, &r) != nil {
			return nil // what cannot be read is told of where actions are listed
		}
		if since.IsZero() || r.ProposedAt.Before(since) {
			since = r.ProposedAt
		}
		if r.Action.Target.AccountID != a.AccountID {
			return nil
		}
		d := m.detail(&r, e.Seq)
		byID[id] = made(r.Result) || made(r.Undo) ||
			r.Attempt > 0 && at.After(r.ProposedAt.Add(-slack)) && at.Before(r.At.Add(slack)) && !r.told(event) && d.likely(a, event)
		return nil
	})
	for _, our := range byID {
		ours = ours || our
	}
	return ours, since, err
}

// eventName is the name of the call that an alert tells of, without its service.
func eventName(a *alert.Alert) string {
	event := detail(a, "event") // Service:Name
	return event[strings.LastIndexByte(event, ':')+1:]
}

// takenBack takes an alert that tells of somebody's hand in what was done: the next action
// on the target asks, and what was done says that it is no longer so.
func (m *Machine) takenBack(ctx context.Context, a *alert.Alert) error {
	t, event := targetTarget(a), eventName(a)
	if t.AccessKeyID+t.UserName+t.RoleName == "" {
		return nil // it does not say whose
	}
	hand := HandsOn{At: a.Time.UTC(), By: a.Actor.Name, Target: t}
	if t.AccessKeyID != "" && !strings.EqualFold(event, "SetAccessKeyPolicy") { // a key whose networks were changed was not switched on
		hand.SwitchedOn = hand.At
	}
	if err := m.noteHands(ctx, hand); err != nil || event == "" {
		return err
	}
	done, err := m.List(ctx, ListFilter{Account: a.AccountID, States: []State{Done}})
	for _, d := range done {
		if d.likely(a, event) {
			err = errors.Join(err, m.noLonger(ctx, d.ID, a.Time, fmt.Sprintf("no longer so: %s took it back by %s at %s; look at this alert anew",
				clip(a.Actor.Name, 64), event, a.Time.UTC().Format(time.RFC3339))))
		}
	}
	return err
}

// noLonger notes in an action that is done that its effect was taken away at a time.
func (m *Machine) noLonger(ctx context.Context, id string, at time.Time, reason string) error {
	for {
		r, seq, err := m.load(ctx, id)
		if err != nil || r.State != Done || strings.HasPrefix(r.Reason, noLongerSo) {
			return err
		}
		since := r.BegunAt
		if r.Seen != nil {
			since = r.Seen.At // by the clock that at is by
		} else if since.IsZero() {
			since = r.DoneAt
		}
		if at.Before(since) {
			return nil
		}
		_, err = m.put(ctx, r, seq, Done, machineName, func(n *record) { n.Reason = reason })
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// foreign raises an alert about a call of our identity that no action made.
func (d *Dispatcher) foreign(ctx context.Context, a *alert.Alert, event string) error {
	ours, since, err := d.m.asked(ctx, a)
	if err != nil || ours {
		return err
	}
	if d.now().Sub(a.Time) > seenFor && (since.IsZero() || a.Time.Before(since)) {
		return nil // of a time before this journal, perhaps
	}
	about := ActionDetail{Action: Action{AlertID: a.ID, Rule: a.Rule, Target: ActionTarget{AccountID: a.AccountID, UserName: orEmpty(a.Target).Name}, Evidence: Evidence{EventIDs: a.EventIDs}}}
	return d.raise(ctx, RuleForeignCall, event, "The responder's identity made a call that no action asked for: "+detail(a, "event"),
		fmt.Sprintf("%s, from %s; no action that makes this call was under way in account %s, so somebody else has trailwarden's credentials or uses its name; next: rotate or narrow the responder's role, then look at what it did", a.Reason, a.SourceIP, a.AccountID),
		alert.Critical, &about, "")
}
