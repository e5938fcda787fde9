package responders_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/trailwarden/trailwarden/responders"
)

// model is the action machine as anyone would write it on a napkin: it is
// asked only when everything has come to rest.
type model struct {
	state     State
	mode      Mode
	escalated bool
	need      int
	approved  map[string]bool
	asked     time.Time // when the present wait for people began
	evidence  time.Time
	done      time.Time
	key       string
	changed   bool // by us
	frozen    bool
	handsOn   bool
	effects   int
}

const (
	expiry   = 30 * time.Minute
	maxAge   = 30 * time.Minute
	undoTime = 7 * 24 * time.Hour
)

// run is what the machine does by itself at a time.
func (m *model) run(now time.Time) {
	if m.state == Proposed && !now.Before(m.asked.Add(expiry)) {
		m.state = Expired
	}
	if m.state == Proposed && m.mode == Auto && !m.escalated {
		switch {
		case now.Sub(m.evidence) > maxAge:
			m.state = Refused
		case m.frozen, m.handsOn:
			m.escalated, m.asked, m.approved = true, now, map[string]bool{}
		default:
			m.execute(now)
		}
	}
}

func (m *model) execute(now time.Time) {
	m.state, m.done = Done, now
	if m.key == "Active" {
		m.key, m.changed = "Inactive", true
		m.effects++
	}
}

func (m *model) propose(mode Mode, need int, now time.Time) {
	if m.state != "" {
		return
	}
	m.mode, m.need, m.asked, m.approved, m.evidence = mode, need, now, map[string]bool{}, now.Add(-time.Minute)
	m.state = Proposed
	if mode == Observe {
		m.state = Observed
	}
}

// approve returns whether the click counts.
func (m *model) approve(who string, rightHash bool, now time.Time) bool {
	if m.state != Proposed || !now.Before(m.asked.Add(expiry)) || !rightHash || m.frozen || m.approved[who] || who == "alice" || who == "mallory" {
		return false
	}
	m.approved[who] = true
	if len(m.approved) >= m.need {
		m.execute(now)
	}
	return true
}

func (m *model) undo(who string, now time.Time) bool {
	if m.state != Done || !m.changed || now.After(m.done.Add(undoTime)) || who == "alice" || who == "mallory" {
		return false
	}
	if m.key == "Inactive" {
		m.state, m.key, m.handsOn = Undone, "Active", true
	}
	return true // drift: allowed, and nothing changes
}

// TestMachineModel plays random stories of people, time, faults that heal,
// crashes and a changing cloud against the model.
func TestMachineModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		m := w.machine()
		x := &model{key: "Active"}
		var d ActionDetail
		rest := func() {
			w.drive(m, 50*time.Second) // enough for every fault below to heal
			for w.isDead() {
				w.revive()
				m = w.machine()
				w.drive(m, 50*time.Second)
			}
		}
		now := func() time.Time { return w.clock.Now() }
		people := rapid.SampledFrom([]string{"carol", "dave", "alice", "mallory"})
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			// A fault waits for the next call, whichever it is.
			w.cloud.mu.Lock()
			w.cloud.next, w.cloud.nextGet = nil, nil
			if f := rapid.SampledFrom([]fault{none, none, lostAfter, lostBefore, throttled, panicAfter, dieBefore, dieAfter}).Draw(rt, "fault"); f != none {
				w.cloud.next = []fault{f}
			}
			if f := rapid.SampledFrom([]fault{none, none, none, throttled, lostBefore, dieBefore}).Draw(rt, "read fault"); f != none {
				w.cloud.nextGet = []fault{f}
			}
			w.cloud.mu.Unlock()
			switch op := rapid.SampledFrom([]string{"propose", "approve", "approve", "deny", "undo", "freeze", "unfreeze", "wait", "long wait", "restart", "touch"}).Draw(rt, "op"); op {
			case "propose":
				mode := rapid.SampledFrom([]Mode{Observe, Approve, Auto}).Draw(rt, "mode")
				need := rapid.IntRange(1, 2).Draw(rt, "need")
				x.propose(mode, need, now())
				d = w.propose(m, mode, func(p *Proposal) { p.Approvals = need })
				x.run(now())
			case "approve":
				if x.state == "" {
					continue
				}
				who, right := people.Draw(rt, "who"), rapid.Bool().Draw(rt, "right hash")
				hash := d.Hash
				if !right {
					hash = "x" + hash
				}
				want := x.approve(who, right, now())
				_, err := m.Approve(ctxb, d.ID, who, hash)
				if (err == nil) != want || err != nil && !errors.Is(err, ErrNotAllowed) {
					rt.Fatalf("approve by %s: %v, want it to count: %v (state %s)", who, err, want, x.state)
				}
			case "deny":
				if x.state == "" {
					continue
				}
				who := people.Draw(rt, "who")
				want := x.state == Proposed && who != "alice" && who != "mallory"
				if want {
					x.state = Denied
				}
				if _, err := m.Deny(ctxb, d.ID, who, ""); (err == nil) != want {
					rt.Fatalf("deny by %s: %v, want %v", who, err, want)
				}
			case "undo":
				if x.state == "" {
					continue
				}
				who := people.Draw(rt, "who")
				want := x.undo(who, now())
				_, err := m.Undo(ctxb, d.ID, who)
				if w.isDead() {
					break // the answer is lost with the process; rest finds out
				}
				if (err == nil) != want {
					rt.Fatalf("undo by %s: %v, want %v (state %s)", who, err, want, x.state)
				}
			case "freeze", "unfreeze":
				x.frozen = op == "freeze"
				f := m.Unfreeze
				if x.frozen {
					f = m.Freeze
				}
				if err := f(ctxb, "dave", ""); err != nil {
					rt.Fatal(err)
				}
			case "wait":
				w.clock.advance(time.Duration(rapid.IntRange(1, 20).Draw(rt, "minutes")) * time.Minute)
			case "long wait":
				w.clock.advance(time.Duration(rapid.IntRange(1, 5).Draw(rt, "days")) * 24 * time.Hour)
			case "restart":
				m = w.machine()
			case "touch":
				// Somebody changes the key by hand, seen by nobody.
				x.key = rapid.SampledFrom([]string{"Active", "Inactive"}).Draw(rt, "status")
				w.cloud.set(aliceAK, x.key)
			}
			rest()
			x.run(now())
			if x.state == "" {
				continue
			}
			d = w.show(m, d.ID)
			if d.State != x.state {
				rt.Fatalf("state %s (%s), the model says %s; %s", d.State, d.Reason, x.state, states(d))
			}
			if s := w.cloud.status(aliceAK); s != x.key {
				rt.Fatalf("the key is %s, the model says %s; %s", s, x.key, states(d))
			}
			if n := w.cloud.effect("Execute", d.ID); n != x.effects {
				rt.Fatalf("%d effects, the model says %d; %s", n, x.effects, states(d))
			}
			w.legal(d.ID, "")
		}
		if r, err := w.mem.Verify(ctxb); err != nil || !r.OK() {
			rt.Fatalf("journal: %+v %v", r, err)
		}
	})
}
