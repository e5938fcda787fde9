package responders

import (
	"context"
	"errors"
	"fmt"
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
		reason = sentenceJoin(reason, "its own event is in the audit trail")
	case now.Before(until):
		return earliest(until, now.Add(time.Minute)), nil // another process may read the event
	default:
		reason = sentenceJoin(reason, fmt.Sprintf("the audit trail did not show it within %s", m.opts.ConfirmWithin))
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

func sentenceJoin(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// ownCall takes an alert of RuleOwnCall.
func (d *Dispatcher) ownCall(ctx context.Context, a *alert.Alert) error {
	id := ""
	if len(a.EventIDs) > 0 {
		id = a.EventIDs[0]
	}
	return d.m.NoteOwnCall(ctx, called(a, "request_id"), id, a.Time)
}
