package responders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// ledger is one record for the whole installation: what was begun lately and
// what is still open. One compare-and-swap on it decides caps and conflicts
// for all processes at once, where counting the histories of actions would
// let two processes both take the last place.
//
// What it holds is bounded: beyond maxLedger bytes what is closed becomes counts
// (DESIGN D7).
type ledger struct {
	Executions []Execution
	Folded     []folded
}

// folded counts actions of an account that were begun within an hour and are closed.
type folded struct {
	// AccountID is empty for a count that holds for every account.
	AccountID string    `json:"account_id,omitempty"`
	At        time.Time `json:"at"` // of the youngest
	N         int       `json:"n"`
}

// ledgerForm is a ledger as JSON. Without counts it is a list of executions. Where
// there are some, executions is no list, so that a version which knows the first form
// only takes it for damaged and lets nothing pass.
type ledgerForm struct {
	V          int             `json:"v,omitempty"`
	Executions json.RawMessage `json:"executions"`
	Newest     []Execution     `json:"newest,omitempty"`
	Folded     []folded        `json:"folded,omitempty"`
}

const foldedVersion = 2

// MarshalJSON implements json.Marshaler.
func (l ledger) MarshalJSON() (_ []byte, err error) {
	f := ledgerForm{V: foldedVersion, Executions: json.RawMessage(`"see newest and folded"`), Newest: l.Executions, Folded: l.Folded}
	if len(l.Folded) == 0 {
		f = ledgerForm{}
		if f.Executions, err = json.Marshal(l.Executions); err != nil {
			return nil, err
		}
	}
	return json.Marshal(f)
}

// UnmarshalJSON implements json.Unmarshaler. It takes both forms.
func (l *ledger) UnmarshalJSON(b []byte) error {
	var f ledgerForm
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f.V > foldedVersion {
		return fmt.Errorf("version %d: %w", f.V, errNewer)
	}
	*l = ledger{f.Newest, f.Folded}
	if f.V == foldedVersion || f.Executions == nil {
		return nil
	}
	return json.Unmarshal(f.Executions, &l.Executions)
}

// A ledger beyond maxLedger bytes is folded to three quarters of that; counts beyond
// maxFolded become such of every account. The stream keeps some hundred ledgers.
var (
	maxLedger = 256 << 10
	maxFolded = 1000
)

// fold makes counts of what is closed until the ledger has its size. What is open is
// left; there is as much of it as is worked on at once.
func (l *ledger) fold() error {
	b, err := json.Marshal(l)
	if err != nil || len(b) <= maxLedger {
		return err
	}
	counts := l.Folded
	for len(b) > maxLedger/4*3 {
		closed := 0
		for i := range l.Executions {
			if !l.Executions[i].Open {
				closed++
			}
		}
		if closed == 0 {
			return nil
		}
		// In the order in which they were begun, but for some that were done anew.
		l.Executions = lists.Keep(l.Executions, func(e *Execution) bool {
			if e.Open || closed <= 0 {
				return true
			}
			if closed -= 2; !e.Undo { // an undo counts for nothing
				counts = count(counts, folded{e.Target.AccountID, e.At, 1})
			}
			return false
		})
		if len(counts) > maxFolded {
			var all []folded
			for _, f := range counts {
				f.AccountID = ""
				all = count(all, f)
			}
			counts = all
		}
		l.Folded = counts
		if b, err = json.Marshal(l); err != nil {
			return err
		}
	}
	return nil
}

// count adds to the count of the same account and hour.
func count(to []folded, f folded) []folded {
	for i := range to {
		if x := &to[i]; x.AccountID == f.AccountID && x.At.Truncate(time.Hour).Equal(f.At.Truncate(time.Hour)) {
			if x.N += f.N; f.At.After(x.At) {
				x.At = f.At
			}
			return to
		}
	}
	return append(to, f)
}

// begun counts the folded actions that may have been begun within so long before now:
// those of one account, and those of all.
func (l *ledger) begun(account string, now time.Time, within time.Duration) (mine, all int) {
	for _, f := range l.Folded {
		if now.Sub(f.At) >= within {
			continue
		}
		all += f.N
		if f.AccountID == "" || f.AccountID == account {
			mine += f.N
		}
	}
	return mine, all
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
		_, err := m.appendLedger(ctx, env)
		if !errors.Is(err, ErrConflict) {
			return Verdict{}, err
		}
		if err := ctx.Err(); err != nil {
			return Verdict{}, err
		}
	}
}

// appendLedger stores the ledger that env was read with and an action entered into.
func (m *Machine) appendLedger(ctx context.Context, env *Env) (uint64, error) {
	if err := env.ledger.fold(); err != nil {
		return 0, err
	}
	return appendJSON(ctx, m.j, kindLedger, onlyID, env.ledger, env.ledgerSeq)
}

// open enters an action, or its undo, or opens its entry again; false when it
// is open already. An undo never counts against caps: not where the entry of
// the action is gone, and not beside it.
func (l *ledger) open(a Action, now time.Time, undo bool) bool {
	l.Executions = lists.Keep(slices.Clone(l.Executions), func(e *Execution) bool {
		return e.ActionID == a.ID || now.Sub(e.At) <= ledgerKeep
	})
	l.Folded = lists.Keep(slices.Clone(l.Folded), func(f *folded) bool { return now.Sub(f.At) <= ledgerKeep })
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
