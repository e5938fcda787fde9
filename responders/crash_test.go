package responders_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	. "github.com/trailwarden/trailwarden/responders"
)

// script is a containment from the request to its undo, with the people in
// it. Every step can be repeated after a crash, as a redelivery or a person
// would.
func (w *world) script(m *Machine, mode Mode) (id string) {
	p := Proposal{Action: w.action(mode), Origin: Live}
	p.Action.Evidence.Time = t0 // the same evidence whenever it is redelivered
	for range 50 {
		if w.isDead() {
			return p.Action.ID
		}
		d, err := m.Propose(ctxb, p)
		if err != nil {
			w.clock.advance(time.Second)
			continue
		}
		w.drive(m, 3*time.Minute)
		if d, err = m.Show(ctxb, d.ID); err != nil {
			continue
		}
		switch d.State {
		case Proposed:
			_, _ = m.Approve(ctxb, d.ID, "dave", d.Hash)
		case Done:
			_, _ = m.Undo(ctxb, d.ID, "dave")
		case Undone:
			return d.ID
		}
	}
	return p.Action.ID
}

// check holds the invariants at the end of a script, however it went.
func (w *world) check(m *Machine, id, what string) {
	w.t.Helper()
	d := w.show(m, id)
	if d.State != Undone {
		w.t.Fatalf("%s: ends %s (%s): %s", what, d.State, d.Reason, states(d))
	}
	if n := w.cloud.effect("Execute", id); n != 1 {
		w.t.Fatalf("%s: executed %d times: %s", what, n, states(d))
	}
	if n := w.cloud.effect("Undo", id); n != 1 {
		w.t.Fatalf("%s: undone %d times: %s", what, n, states(d))
	}
	if s := w.cloud.status(aliceAK); s != "Active" {
		w.t.Fatalf("%s: the key is %s", what, s)
	}
	w.legal(id, what)
	if r, err := w.mem.Verify(ctxb); err != nil || !r.OK() {
		w.t.Fatalf("%s: journal: %+v %v", what, r, err)
	}
}

// legal says that every record follows from the one before, that every
// executing has an outcome, and that no second executing comes without the
// world having been read in between.
func (w *world) legal(id, what string) {
	w.t.Helper()
	h, err := w.mem.History(ctxb, "action", id)
	if err != nil {
		w.t.Fatal(err)
	}
	prev, open := State(""), false
	for _, e := range h {
		var r struct{ State State }
		if err := json.Unmarshal(e.Data, &r); err != nil {
			w.t.Fatal(err)
		}
		if !MayFollow(prev, r.State) {
			w.t.Fatalf("%s: %s follows %q", what, r.State, prev)
		}
		switch r.State {
		case Executing:
			if open {
				w.t.Fatalf("%s: executing on top of executing", what)
			}
			open = true
		case Done, Failed, Refused, InDoubt, Approved:
			open = false
		}
		prev = r.State
	}
	if open {
		w.t.Fatalf("%s: an executing without an outcome", what)
	}
}

// Death, or an error, at every single append, before or after it is stored,
// with and without the same owner coming back: the containment ends as if
// nothing had happened.
func TestCrashAtEveryAppend(t *testing.T) {
	for _, mode := range []Mode{Auto, Approve} {
		for _, f := range []fault{dieBefore, dieAfter, errBefore, errAfter} {
			for _, owner := range []string{"", "fixed"} {
				name := fmt.Sprintf("%s/%s/owner=%s", mode, f, owner)
				t.Run(name, func(t *testing.T) {
					for n := 1; ; n++ {
						if n > 100 {
							t.Fatal("never a run without a fault")
						}
						w := newWorld(t)
						hit := false
						w.onAppend = func(i int, _ string) fault {
							if i == n {
								hit = true
								return f
							}
							return none
						}
						edit := func(o *MachineOptions) { o.Owner = owner }
						m := w.machine(edit)
						id := w.script(m, mode)
						if w.isDead() {
							w.revive()
							m = w.machine(edit)
							id = w.script(m, mode)
						}
						w.check(m, id, fmt.Sprintf("%s at append %d", f, n))
						if !hit {
							if n < 8 {
								t.Fatalf("only %d appends: the arrows are not all there", n-1)
							}
							return
						}
					}
				})
			}
		}
	}
}

// The same with two deaths, at every pair of appends.
func TestCrashTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	for a := 1; a <= 14; a++ {
		for b := 1; b <= 14; b++ {
			w := newWorld(t)
			at := func(n int) func(int, string) fault {
				return func(i int, _ string) fault {
					if i == n {
						return []fault{dieBefore, dieAfter}[(a+b)%2]
					}
					return none
				}
			}
			w.onAppend = at(a)
			m := w.machine()
			id := w.script(m, Auto)
			if w.isDead() {
				w.revive()
				w.appends = 0
				w.onAppend = at(b)
				m = w.machine()
				id = w.script(m, Auto)
			}
			if w.isDead() {
				w.revive()
				m = w.machine()
				id = w.script(m, Auto)
			}
			w.check(m, id, fmt.Sprintf("dead at %d and %d", a, b))
		}
	}
}

// Death in the middle of every call to the cloud, before and after its effect.
func TestCrashInEveryCall(t *testing.T) {
	for _, f := range []fault{dieBefore, dieAfter} {
		for n := range 4 {
			for _, read := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/read=%v", f, n, read), func(t *testing.T) {
					w := newWorld(t)
					faults := append(make([]fault, n), f)
					if read {
						w.cloud.nextGet = faults
					} else {
						w.cloud.next = faults
					}
					m := w.machine()
					id := w.script(m, Auto)
					if w.isDead() {
						w.revive()
						m = w.machine()
						id = w.script(m, Auto)
					}
					w.check(m, id, "")
				})
			}
		}
	}
}

// Faults of cloud and journal together: every outcome of the call at every
// append around it.
func TestFaultsTogether(t *testing.T) {
	for _, c := range []fault{lostBefore, lostAfter, throttled, panicAfter, dieBefore, dieAfter} {
		for _, j := range []fault{dieBefore, dieAfter, errBefore, errAfter} {
			for n := 1; n <= 12; n++ {
				w := newWorld(t)
				w.cloud.next = []fault{c}
				w.onAppend = func(i int, _ string) fault {
					if i == n {
						return j
					}
					return none
				}
				m := w.machine()
				id := w.script(m, Auto)
				for w.isDead() {
					w.revive()
					m = w.machine()
					id = w.script(m, Auto)
				}
				// Two doubts about one call, a crash and a lost answer, may
				// end in a page instead of a third try; never in a second effect.
				d := w.show(m, id)
				if n := w.cloud.effect("Execute", id); n > 1 {
					t.Fatalf("%s, %s at %d: executed %d times", c, j, n, n)
				}
				if d.State == Failed {
					if w.cloud.status(aliceAK) != "Active" {
						t.Fatalf("%s, %s at %d: failed, and yet the key is off: %s", c, j, n, d.Reason)
					}
					w.legal(id, "")
					continue
				}
				w.check(m, id, fmt.Sprintf("%s, %s at %d", c, j, n))
			}
		}
	}
}

// A journal that is down altogether: nothing is done, and when it is back
// everything goes on.
func TestJournalDown(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	down := true
	w.onAppend = func(int, string) fault {
		if down {
			return errBefore
		}
		return none
	}
	if _, err := m.Propose(ctxb, Proposal{Action: w.action(Auto), Origin: Live}); err == nil {
		t.Fatal("proposed without a journal")
	}
	down = false
	d := w.propose(m, Auto)
	down = true
	w.drive(m, time.Minute)
	if w.cloud.count("Execute") > 0 {
		t.Fatal("executed without a journal")
	}
	down = false
	w.drive(m, 5*time.Minute)
	w.want(m, d.ID, Done)
}

// Killed in the very call again and again, before it has any effect: that says
// nothing about the cloud, so it is done in the end, once. A process that dies
// of it every time stops, and a person hears of it.
func TestKilledInTheCallAgainAndAgain(t *testing.T) {
	for deaths, want := range map[int]State{1: Done, 5: Done, 9: Failed} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		for range deaths {
			w.cloud.mu.Lock()
			w.cloud.next = []fault{dieBefore}
			w.cloud.mu.Unlock()
			w.drive(m, time.Minute)
			if !w.isDead() {
				break
			}
			w.revive()
			m = w.machine()
		}
		w.cloud.mu.Lock()
		w.cloud.next = nil
		w.cloud.mu.Unlock()
		w.drive(m, 5*time.Minute)
		d = w.show(m, d.ID)
		if d.State != want {
			t.Fatalf("%d deaths: %s (%s), want %s", deaths, d.State, d.Reason, want)
		}
		if n := w.cloud.effect("Execute", d.ID); n > 1 || want == Done && n != 1 {
			t.Fatalf("%d deaths: %d effects", deaths, n)
		}
		w.legal(d.ID, "")
	}
}

// A stricter configuration holds for what the process was killed in, too: what never
// landed is not done by one that is started to only observe, nor once those who
// approved it may not any more.
func TestKilledInTheCallThenStricter(t *testing.T) {
	for name, c := range map[string]struct {
		mode   Mode
		by     []string
		strict func(*MachineOptions)
		want   State
	}{
		"as it was":             {Auto, nil, func(*MachineOptions) {}, Done},
		"observe":               {Auto, nil, func(o *MachineOptions) { o.MaxMode = Observe }, Failed},
		"approve, and nobody":   {Auto, nil, func(o *MachineOptions) { o.MaxMode = Approve }, Failed},
		"approve, and somebody": {Approve, []string{"cli:dave"}, func(o *MachineOptions) { o.MaxMode = Approve }, Done},
		"observe, approved":     {Approve, []string{"cli:dave"}, func(o *MachineOptions) { o.MaxMode = Observe }, Failed},
		"the approver left":     {Approve, []string{"cli:dave"}, func(o *MachineOptions) { o.Approvers = o.Approvers[:1] }, Failed},
	} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, c.mode)
		for _, by := range c.by {
			if _, err := m.Approve(ctxb, d.ID, by, d.Hash); err != nil {
				t.Fatal(err)
			}
		}
		w.cloud.next = []fault{dieBefore}
		w.drive(m, time.Minute)
		if !w.isDead() {
			t.Fatal("it lives")
		}
		w.revive()
		m = w.machine(c.strict)
		w.drive(m, 5*time.Minute)
		d = w.show(m, d.ID)
		if n := w.cloud.effect("Execute", d.ID); d.State != c.want || n != map[State]int{Done: 1}[c.want] {
			t.Errorf("%s: %s (%s), %d effects; want %s", name, d.State, d.Reason, n, c.want)
		}
	}
}

// So with an undo: who asked for it may not any more.
func TestKilledInTheUndoThenStricter(t *testing.T) {
	for name, c := range map[string]struct {
		strict func(*MachineOptions)
		want   State
	}{
		"as it was": {func(*MachineOptions) {}, Undone},
		"dave left": {func(o *MachineOptions) { o.Approvers = o.Approvers[:1] }, Done},
		"observe":   {func(o *MachineOptions) { o.MaxMode = Observe }, Undone}, // taking back stays possible
	} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		w.cloud.next = []fault{dieBefore}
		if _, err := m.Undo(ctxb, d.ID, "cli:dave"); err == nil || !w.isDead() {
			t.Fatalf("it lives: %v", err)
		}
		w.revive()
		m = w.machine(c.strict)
		w.drive(m, 5*time.Minute)
		d = w.show(m, d.ID)
		if n := w.cloud.effect("Undo", d.ID); d.State != c.want || n != map[State]int{Undone: 1}[c.want] {
			t.Errorf("%s: %s (%s), %d effects; want %s", name, d.State, d.Reason, n, c.want)
		}
		w.legal(d.ID, "")
	}
}
