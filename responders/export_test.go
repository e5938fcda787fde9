package responders

import (
	"context"
	"time"
)

// NextDue lets tests with a clock of their own go on to what happens next.
func (m *Machine) NextDue() time.Time { return m.nextDue() }

// Glob and MayFollow are tested on their own.
var (
	Glob      = glob
	MayFollow = mayFollow
	Backoff   = backoff
	InTheWay  = inTheWay
	CheckAll  = checkAll
)

// WithDefaults are the limits that hold for a playbook.
var WithDefaults = GuardConfig.withDefaults

// Plan is what a playbook asks for.
var Plan = Playbook.plan

// Applies says whether a playbook is for an alert.
var Applies = Playbook.applies

// JournalID and its limit are tested against hostile alert ids.
var JournalID = journalID

// SetMaxItems changes how many incidents wait in memory until restore is called.
func SetMaxItems(n int) (restore func()) {
	old := maxItems
	maxItems = n
	return func() { maxItems = old }
}

// SetMaxMembers changes what a group knows of its members until restore is called.
func SetMaxMembers(named, others int) (restore func()) {
	n, o := maxMembers, maxOthers
	maxMembers, maxOthers = named, others
	return func() { maxMembers, maxOthers = n, o }
}

// OpenLedger enters an action into a ledger, see ledger.open.
func OpenLedger(list []Execution, a Action, now time.Time, undo bool) ([]Execution, bool) {
	l := ledger{Executions: list}
	ok := l.open(a, now, undo)
	return l.Executions, ok
}

// Ledger is the record of what was begun, see ledger.
type Ledger struct{ l ledger }

// Begin enters an action, folds what is too much and closes the action.
func (l *Ledger) Begin(a Action, now time.Time) error {
	l.l.open(a, now, false)
	if err := l.l.fold(); err != nil {
		return err
	}
	for i := range l.l.Executions {
		l.l.Executions[i].Open = false
	}
	return nil
}

func (l *Ledger) MarshalJSON() ([]byte, error) { return l.l.MarshalJSON() }
func (l *Ledger) UnmarshalJSON(b []byte) error { return l.l.UnmarshalJSON(b) }

// Counts says how many counts there are.
func (l *Ledger) Counts() int { return len(l.l.Folded) }

// Env puts what was begun where guards look.
func (l *Ledger) Env(env *Env) { env.ledger, env.Executions = l.l, l.l.Executions }

// SetMaxLedger changes the bounds of a ledger until restore is called.
func SetMaxLedger(bytes, counts int) (restore func()) {
	b, c := maxLedger, maxFolded
	maxLedger, maxFolded = bytes, counts
	return func() { maxLedger, maxFolded = b, c }
}

// Settled is State.settled.
func (s State) Settled() bool { return s.settled() }

// NoteReactivation notes what an alert tells of a credential that was switched on again.
func (m *Machine) NoteReactivation(ctx context.Context, t ActionTarget, at time.Time, by string) error {
	return m.noteHands(ctx, HandsOn{At: at.UTC(), By: by, Target: t, SwitchedOn: at.UTC()})
}
