package responders

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// ledger is one record for the whole installation: what was begun lately and
// what is still open. One compare-and-swap on it decides caps and conflicts
// for all processes at once, where counting the histories of actions would
// let two processes both take the last place.
type ledger struct {
	Executions []Execution `json:"executions"`
}

// ledgerKeep is how long an entry stays: longer than the longest window and
// than the longest doubt.
const ledgerKeep = 25 * time.Hour

// reserve takes a place for an action, if the guards still let it pass: since
// they were asked the cloud was read, which takes its time, and somebody may
// have thrown the kill switch. The same action keeps its place, so that a step
// repeated after a crash is not counted twice.
func (m *Machine) reserve(ctx context.Context, r *record) (Verdict, error) {
	for {
		env := m.gather(ctx, r)
		if err := env.journalErr(); err != nil {
			return Verdict{}, err
		}
		if v := checkAll(m.guards, r.Action, env); v.Decision != Pass {
			return v, nil
		}
		if !env.ledger.open(r.Action, env.Now, false) {
			return Verdict{}, nil
		}
		_, err := appendJSON(ctx, m.j, kindLedger, onlyID, env.ledger, env.ledgerSeq)
		if !errors.Is(err, ErrConflict) {
			return Verdict{}, err
		}
		if err := ctx.Err(); err != nil {
			return Verdict{}, err
		}
	}
}

// open enters an action, or its undo, or opens its entry again; false when it
// is open already. An undo never counts against caps: not where the entry of
// the action is gone, and not beside it.
func (l *ledger) open(a Action, now time.Time, undo bool) bool {
	l.Executions = lists.Keep(slices.Clone(l.Executions), func(e *Execution) bool {
		return e.ActionID == a.ID || now.Sub(e.At) <= ledgerKeep
	})
	for i := range l.Executions {
		if e := &l.Executions[i]; e.ActionID == a.ID {
			if e.Open {
				return false
			}
			e.Open = true // At stays: an undo or a new try is not one more action
			if e.Undo && !undo {
				e.Undo, e.At = false, now
			}
			return true
		}
	}
	l.Executions = append(l.Executions, Execution{ActionID: a.ID, Target: a.Target, At: now, Open: true, Undo: undo})
	return true
}

// release closes an action's entry. When that fails the entry stays open and
// inWork looks at the action itself, so nothing is blocked.
func (m *Machine) release(ctx context.Context, id string) {
	err := change(ctx, m.j, kindLedger, onlyID, func(l *ledger) bool {
		for i := range l.Executions {
			if e := &l.Executions[i]; e.ActionID == id && e.Open {
				e.Open = false
				return true
			}
		}
		return false
	})
	if err != nil {
		m.log.Warn("the ledger still says that an action is open", "action_id", id, "err", err)
	}
}

// inWork lists other actions in the way of a whose effect is not settled.
func (m *Machine) inWork(ctx context.Context, a Action, others []Execution) ([]string, error) {
	var out []string
	for _, e := range others {
		if !e.Open || !inTheWay(e.Target, a.Target) {
			continue
		}
		r, seq, err := m.load(ctx, e.ActionID)
		if err != nil {
			return nil, err
		}
		if seq > 0 && !r.State.settled() && r.State != Proposed {
			out = append(out, e.ActionID)
		}
	}
	return out, nil
}
