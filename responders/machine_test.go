package responders_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/trailwarden/trailwarden/responders"
)

var ctxb = context.Background()

func states(d ActionDetail) string {
	var s []string
	for _, h := range d.History {
		s = append(s, string(h.State))
	}
	return strings.Join(s, " ")
}

func TestAutoContainsAndUndoes(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	if d.State != Proposed {
		t.Fatalf("proposed: %s", d.State)
	}
	w.drive(m, time.Minute)
	d = w.want(m, d.ID, Done)
	if got := states(d); got != "proposed approved executing done" {
		t.Fatalf("history: %s", got)
	}
	if w.cloud.status(aliceAK) != "Inactive" || !d.Undoable || string(d.Prior) != `{"status":"Active"}` {
		t.Fatalf("key %s, undoable %v, prior %s", w.cloud.status(aliceAK), d.Undoable, d.Prior)
	}
	l, err := w.mem.History(ctxb, "ledger", "all")
	if err != nil || len(l) != 2 || !strings.Contains(string(l[0].Data), `"open":true`) || strings.Contains(string(l[1].Data), `"open":true`) {
		t.Fatalf("the ledger is not opened and closed: %d records, %v", len(l), err)
	}
	u, err := m.Undo(ctxb, d.ID[:8], "cli:dave")
	if err != nil || u.State != Undone || w.cloud.status(aliceAK) != "Active" {
		t.Fatalf("undo: %s, key %s, %v", u.State, w.cloud.status(aliceAK), err)
	}
	if _, err := m.Undo(ctxb, d.ID, "cli:dave"); !errors.Is(err, ErrNotAllowed) {
		t.Fatalf("undo twice: %v", err)
	}
	if w.cloud.effect("Execute", d.ID) != 1 || w.cloud.effect("Undo", d.ID) != 1 {
		t.Fatal("not exactly one change each way")
	}
	// The next alert on this key asks instead of acting: a person wanted it on.
	d2 := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID = "a2" })
	w.drive(m, time.Minute)
	if x := w.want(m, d2.ID, Proposed); !strings.Contains(x.Reason, "hands-off") || !x.NeedsPerson {
		t.Fatalf("%+v", x)
	}
}

func TestObserveChangesNothing(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Observe)
	w.drive(m, time.Minute)
	d = w.want(m, d.ID, Observed)
	if w.cloud.count("Execute") != 0 || w.cloud.count("Read") != 1 || !strings.Contains(d.Reason, "dry-run") {
		t.Fatalf("%v %q", w.cloud.calls, d.Reason)
	}
	// A dry-run finds out what a real run would meet.
	bad := w.propose(m, Observe, func(p *Proposal) { p.Action.Target.UserName = "bob" })
	w.drive(m, time.Minute)
	w.want(m, bad.ID, Refused)
}

func TestModeIsBounded(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		limit, ask, want Mode
	}{{"", Auto, Observe}, {Observe, Approve, Observe}, {Approve, Auto, Approve}, {Auto, "", Observe}, {Auto, "AUTO", Observe}} {
		m := w.machine(func(o *MachineOptions) { o.MaxMode = c.limit })
		d := w.propose(m, c.ask, func(p *Proposal) { p.Action.AlertID = fmt.Sprint(c) })
		if d.Action.Mode != c.want {
			t.Errorf("limit %q, asked %q: %s", c.limit, c.ask, d.Action.Mode)
		}
	}
	if w.cloud.count("Execute") != 0 {
		t.Fatal("something was done")
	}
}

// A stricter configuration holds for what was proposed before it, too.
func TestModeLoweredLater(t *testing.T) {
	for limit, want := range map[Mode]State{Observe: Refused, Approve: Proposed} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		w.cloud.nextGet = []fault{throttled}
		if _, err := m.Sweep(ctxb); err != nil {
			t.Fatal(err)
		}
		w.want(m, d.ID, Approved)
		m = w.machine(func(o *MachineOptions) { o.MaxMode = limit })
		w.drive(m, time.Minute)
		w.want(m, d.ID, want)
		if w.cloud.count("Execute") != 0 {
			t.Fatalf("%s: done all the same", limit)
		}
	}
}

// So does a playbook that may not act by itself any more, or is gone: a person decides
// about what it has asked for, wherever that stands.
func TestPlaybookWithdrawnLater(t *testing.T) {
	other := Playbook{Name: "other", Mode: Auto}
	for name, c := range map[string]struct {
		now  []Playbook
		want State
	}{
		"as it was": {[]Playbook{other, {Name: "leaked-key", Mode: Auto}}, Done},
		"observes":  {[]Playbook{other, {Name: "leaked-key", Mode: Observe}}, Proposed},
		"asks":      {[]Playbook{{Name: "leaked-key", Mode: Approve}, other}, Proposed},
		"gone":      {[]Playbook{other}, Proposed},
	} {
		for _, at := range []State{Proposed, Approved} {
			w := newWorld(t)
			m := w.machine()
			d := w.propose(m, Auto)
			if at == Approved {
				w.cloud.nextGet = []fault{throttled}
				if _, err := m.Sweep(ctxb); err != nil {
					t.Fatal(err)
				}
			}
			w.want(m, d.ID, at)
			m = w.machine(func(o *MachineOptions) { o.Playbooks = c.now })
			w.drive(m, time.Minute)
			if d = w.show(m, d.ID); d.State != c.want || d.NeedsPerson != (c.want == Proposed) {
				t.Fatalf("%s, %s: %s (%s), want %s", name, at, d.State, d.Reason, c.want)
			}
			if c.want == Done {
				continue
			}
			if w.cloud.count("Execute") != 0 {
				t.Fatalf("%s, %s: done all the same", name, at)
			}
			if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
				t.Fatal(err)
			}
			w.drive(m, time.Minute)
			w.want(m, d.ID, Done) // a person wants it
		}
	}
}

func TestApproval(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Approve, func(p *Proposal) { p.Approvals = 2; p.Action.Requester = "slack:UCAROL" })
	w.drive(m, time.Minute)
	w.want(m, d.ID, Proposed)
	refusals := 0
	no := func(by, hash, why string) {
		t.Helper()
		_, err := m.Approve(ctxb, d.ID, by, hash)
		if !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), why) {
			t.Fatalf("%s: %v", by, err)
		}
		refusals++
		w.want(m, d.ID, Proposed)
	}
	no("slack:UMALLORY", d.Hash, "not among")
	no("", d.Hash, "who asks")
	no("playbook", d.Hash, "who asks")
	no("cli:dave", "", "not the one that was shown")
	no("cli:dave", strings.Repeat("0", 64), "not the one that was shown")
	no("slack:UCAROL", d.Hash, "cannot approve it") // the requester
	no("carol", d.Hash, "cannot approve it")        // by another of her names
	no("alice", d.Hash, "very person")              // it is her key
	if x := w.propose(m, Approve, func(p *Proposal) { p.Action.Requester, p.Action.AlertID = "SLACK:uCarol", "other" }); x.ID != d.ID {
		if _, err := m.Approve(ctxb, x.ID, "carol", x.Hash); err == nil || !strings.Contains(err.Error(), "cannot approve it") {
			t.Fatalf("by her own name in other letters: %v", err)
		}
	} else {
		t.Fatal("not another action")
	}
	if x, err := m.Approve(ctxb, d.ID, "cli:dave", d.Hash); err != nil || x.State != Proposed || len(x.Approvals) != 1 {
		t.Fatalf("first of two: %+v %v", x, err)
	}
	no("dave", d.Hash, "already")
	if w.cloud.count("Execute") != 0 {
		t.Fatal("done before it was approved")
	}
	if got := w.show(m, d.ID).Clicks; len(got) != refusals {
		t.Fatalf("%d refused clicks recorded of %d", len(got), refusals)
	}
}

// A playbook may name its approvers, and an approver's accounts may be bounded: others
// neither approve nor deny, and who may does.
func TestWhoMayDecide(t *testing.T) {
	for name, c := range map[string]struct {
		approvers []Approver
		playbook  []string
		why       string
	}{
		"of the playbook": {[]Approver{{Name: "carol"}, {Name: "dave"}}, []string{"carol"}, "not an approver of this playbook"},
		"of the account":  {[]Approver{{Name: "carol", Accounts: []string{"2*", account}}, {Name: "dave", Accounts: []string{"2*"}}}, nil, "not an approver for this account"},
		"of the machine":  {[]Approver{{Name: "carol"}}, nil, "not among"},
	} {
		w := newWorld(t)
		m := w.machine(func(o *MachineOptions) { o.Approvers = c.approvers })
		d := w.propose(m, Approve, func(p *Proposal) { p.Approvers = c.playbook })
		if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: approved by dave: %v", name, err)
		}
		if _, err := m.Deny(ctxb, d.ID, "dave", "no"); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: denied by dave: %v", name, err)
		}
		if _, err := m.Approve(ctxb, d.ID, "machine", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "who asks") {
			t.Errorf("%s: approved by the machine: %v", name, err)
		}
		w.want(m, d.ID, Proposed)
		if _, err := m.Approve(ctxb, d.ID, "carol", d.Hash); err != nil {
			t.Errorf("%s: carol: %v", name, err)
		}
		w.drive(m, time.Minute)
		w.want(m, d.ID, Done)
		if _, err := m.Undo(ctxb, d.ID, "dave"); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: undone by dave: %v", name, err)
		}
		w.want(m, d.ID, Done)
	}
}

// Where nobody is named, whoever reaches the program's own socket may undo, and nobody else.
func TestUndoWithoutApprovers(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) { o.Approvers = nil })
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
	for _, by := range []string{"slack:UDAVE", "dave", "", "console:cli:dave"} {
		if _, err := m.Undo(ctxb, d.ID, by); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "command line") {
			t.Errorf("%q: %v", by, err)
		}
	}
	w.want(m, d.ID, Done)
	if x, err := m.Undo(ctxb, d.ID, "cli:dave"); err != nil || x.State != Undone {
		t.Errorf("%s, %v", x.State, err)
	}
}

// An action that was written over in the journal, under the hash of what was shown, is not
// the one that was shown.
func TestApproveWhatWasWrittenOver(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Approve)
	last, ok, err := w.mem.Last(ctxb, "action", d.ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	other := bytes.Replace(last.Data, []byte(aliceAK), []byte(bobAK), 1)
	if bytes.Equal(other, last.Data) {
		t.Fatal("nothing was changed")
	}
	if _, err := w.mem.Append(ctxb, "action", d.ID, other, last.Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "not the one that was shown") {
		t.Errorf("approved: %v", err)
	}
}

// A place in the ledger is taken once, kept by the same action, and given up with time.
func TestLedgerPlaces(t *testing.T) {
	now := t0
	a := Action{ID: "mine", Target: ActionTarget{AccountID: account, UserName: "alice"}}
	at := func(id string, age time.Duration, open, undo bool) Execution {
		return Execution{ActionID: id, At: now.Add(-age), Open: open, Undo: undo}
	}
	for name, c := range map[string]struct {
		list []Execution
		undo bool
		want []Execution
		took bool
	}{
		"new":                    {nil, false, []Execution{{ActionID: "mine", Target: a.Target, At: now, Open: true}}, true},
		"new undo":               {nil, true, []Execution{{ActionID: "mine", Target: a.Target, At: now, Open: true, Undo: true}}, true},
		"open already":           {[]Execution{at("mine", time.Hour, true, false)}, false, []Execution{at("mine", time.Hour, true, false)}, false},
		"tried anew":             {[]Execution{at("mine", time.Hour, false, false)}, false, []Execution{at("mine", time.Hour, true, false)}, true},
		"undone":                 {[]Execution{at("mine", time.Hour, false, false)}, true, []Execution{at("mine", time.Hour, true, false)}, true},
		"undone, and done anew":  {[]Execution{at("mine", time.Hour, false, true)}, false, []Execution{at("mine", 0, true, false)}, true},
		"undone once more":       {[]Execution{at("mine", time.Hour, false, true)}, true, []Execution{at("mine", time.Hour, true, true)}, true},
		"its own is never older": {[]Execution{at("mine", 99*time.Hour, false, false)}, true, []Execution{at("mine", 99*time.Hour, true, false)}, true},
		"others are": {[]Execution{at("old", 25*time.Hour+1, true, false), at("day", 25*time.Hour, true, false), at("mine", 0, false, false)}, false,
			[]Execution{at("day", 25*time.Hour, true, false), at("mine", 0, true, false)}, true},
	} {
		before := slices.Clone(c.list)
		got, took := OpenLedger(c.list, a, now, c.undo)
		if took != c.took || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %+v, want %v, %+v", name, took, got, c.took, c.want)
		}
		if !reflect.DeepEqual(c.list, before) {
			t.Errorf("%s: the list that was read is changed: %+v", name, c.list)
		}
	}
}

// Who approved and may not any more, or turns out to be one person with another who
// did, has not approved.
func TestApproversChangedSince(t *testing.T) {
	for name, c := range map[string]struct {
		approvers []Approver
		want      State
	}{
		"as they were": {nil, Done},
		"dave left":    {[]Approver{{Name: "carol"}, {Name: "erin"}}, Proposed},
		"one person":   {[]Approver{{Name: "carol", IDs: []string{"cli:dave", "slack:UCAROL"}}, {Name: "erin"}}, Proposed},
		"elsewhere":    {[]Approver{{Name: "carol"}, {Name: "dave", IDs: []string{"cli:dave"}, Accounts: []string{"2*"}}}, Proposed},
	} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Approve, func(p *Proposal) { p.Approvals = 2 })
		for _, by := range []string{"carol", "cli:dave"} {
			if _, err := m.Approve(ctxb, d.ID, by, d.Hash); err != nil {
				t.Fatal(err)
			}
		}
		m = w.machine(func(o *MachineOptions) { // the program is started anew before it acts
			if c.approvers != nil {
				o.Approvers = c.approvers
			}
		})
		w.drive(m, time.Minute)
		if got := w.want(m, d.ID, c.want); c.want == Proposed && (len(got.Approvals) != 0 || w.cloud.count("Execute") != 0) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestApproveOnce(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Approve)
	if _, err := m.Approve(ctxb, d.ID, "carol", d.Hash); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "approved already by carol") {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
	if _, err := m.Deny(ctxb, d.ID, "dave", "too late"); !errors.Is(err, ErrNotAllowed) {
		t.Fatal(err)
	}
}

func TestConcurrentClicksHaveOneOutcome(t *testing.T) {
	for round := range 20 {
		w := newWorld(t)
		m1, m2 := w.machine(), w.machine()
		d := w.propose(m1, Approve)
		var wg sync.WaitGroup
		results := make([]error, 6)
		for i := range results {
			m := []*Machine{m1, m2}[i%2]
			wg.Go(func() {
				if i%3 == 0 {
					_, results[i] = m.Deny(ctxb, d.ID, "dave", "no")
				} else {
					_, results[i] = m.Approve(ctxb, d.ID, "carol", d.Hash)
				}
			})
		}
		wg.Wait()
		wins := 0
		for _, err := range results {
			if err == nil {
				wins++
			} else if !errors.Is(err, ErrNotAllowed) {
				t.Fatal(err)
			}
		}
		if wins != 1 {
			t.Fatalf("round %d: %d clicks won", round, wins)
		}
		if err := m2.Recover(ctxb); err != nil {
			t.Fatal(err)
		}
		w.drive(m1, time.Minute)
		w.drive(m2, time.Minute)
		if s := w.show(m1, d.ID).State; s != Done && s != Denied {
			t.Fatalf("%s", s)
		}
	}
}

func TestDenyAndExpiry(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Approve)
	if _, err := m.Deny(ctxb, d.ID, "mallory", ""); !errors.Is(err, ErrNotAllowed) {
		t.Fatal(err)
	}
	if x, err := m.Deny(ctxb, d.ID, "dave", "known test"); err != nil || x.State != Denied || x.Reason != "known test" {
		t.Fatalf("%+v %v", x, err)
	}
	e := w.propose(m, Approve, func(p *Proposal) { p.Action.AlertID = "a2"; p.Expires = 10 * time.Minute })
	w.drive(m, 10*time.Minute-time.Second)
	w.want(m, e.ID, Proposed)
	w.clock.advance(2 * time.Second)
	if _, err := m.Approve(ctxb, e.ID, "dave", e.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "expired") {
		t.Fatalf("a click after the end, before the machine saw it: %v", err)
	}
	w.drive(m, time.Minute)
	w.want(m, e.ID, Expired)
	if w.cloud.count("Execute") != 0 {
		t.Fatal("something was done")
	}
}

// Every way in which a call can end, and where the action then stands.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name    string
		get     []fault
		next    []fault
		within  time.Duration
		want    State
		key     string
		effects int
		says    string
	}{
		{"plain", nil, nil, time.Minute, Done, "Inactive", 1, ""},
		{"throttled five times", nil, []fault{throttled, throttled, throttled, throttled, throttled}, 5 * time.Minute, Done, "Inactive", 1, ""},
		{"throttled for ever", nil, many(throttled, 100), time.Hour, Failed, "Active", 0, "given up"},
		{"answer lost, done", nil, []fault{lostAfter}, time.Minute, Done, "Inactive", 1, "found by reading"},
		{"answer lost, not done", nil, []fault{lostBefore}, time.Minute, Done, "Inactive", 1, ""},
		{"answer lost twice, not done", nil, []fault{lostBefore, lostBefore}, 5 * time.Minute, Failed, "Active", 0, "tried twice"},
		{"answer lost, not done, then done", nil, []fault{lostBefore, lostAfter}, 5 * time.Minute, Done, "Inactive", 1, ""},
		{"panic after the call", nil, []fault{panicAfter}, time.Minute, Done, "Inactive", 1, ""},
		{"no permission", nil, []fault{refusedBy}, time.Minute, Refused, "Active", 0, "NoPermission"},
		{"final error", nil, []fault{final}, time.Minute, Failed, "Active", 0, "EntityNotExist"},
		{"read throttled", []fault{throttled, throttled}, nil, time.Minute, Done, "Inactive", 1, ""},
		{"read fails for ever", many(lostBefore, 100), nil, time.Hour, Failed, "Active", 0, "given up"},
		{"read final error", []fault{final}, nil, time.Minute, Failed, "Active", 0, "nothing is done without"},
		{"read refused", []fault{refusedBy}, nil, time.Minute, Refused, "Active", 0, ""},
		{"read panics", []fault{panicAfter}, nil, time.Minute, Done, "Inactive", 1, ""},
		{"in doubt, then reading fails a while", []fault{none, throttled, final, lostAfter}, []fault{lostAfter}, 5 * time.Minute, Done, "Inactive", 1, ""},
		{"in doubt for a day", append([]fault{none}, many(final, 5000)...), []fault{lostAfter}, 26 * time.Hour, Failed, "Inactive", 1, "never became known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.machine()
			w.cloud.nextGet, w.cloud.next = c.get, c.next
			d := w.propose(m, Auto)
			w.drive(m, c.within)
			d = w.want(m, d.ID, c.want)
			if w.cloud.status(aliceAK) != c.key || w.cloud.effect("Execute", d.ID) != c.effects {
				t.Fatalf("key %s, %d effects", w.cloud.status(aliceAK), w.cloud.effect("Execute", d.ID))
			}
			if !strings.Contains(d.Reason, c.says) {
				t.Fatalf("reason %q", d.Reason)
			}
			if c.want == Failed && !strings.Contains(d.Reason, "page a person") {
				t.Fatalf("a failure without a next step: %q", d.Reason)
			}
			if c.want == Done && !d.Undoable {
				t.Fatal("cannot be undone")
			}
			h, err := w.mem.History(ctxb, "action", d.ID)
			if err != nil || len(h) > 250 {
				t.Fatalf("%d records: more than the stream keeps", len(h))
			}
		})
	}
}

func many(f fault, n int) []fault {
	out := make([]fault, n)
	for i := range out {
		out[i] = f
	}
	return out
}

func TestAlreadyDoneIsNotOurs(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	w.cloud.set(aliceAK, "Inactive")
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	d = w.want(m, d.ID, Done)
	if d.Undoable || w.cloud.count("Execute") != 0 {
		t.Fatal("what somebody else did is ours to undo")
	}
	if _, err := m.Undo(ctxb, d.ID, "dave"); !errors.Is(err, ErrNotAllowed) {
		t.Fatal(err)
	}
}

// In doubt and long ago, or with somebody's hand in it: never again by itself.
func TestDoubtDoesNotActLate(t *testing.T) {
	t.Run("late", func(t *testing.T) {
		w := newWorld(t)
		w.cloud.next = []fault{dieBefore}
		m := w.machine()
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		if !w.isDead() {
			t.Fatal("still alive")
		}
		w.revive()
		w.clock.advance(16 * time.Minute)
		m = w.machine()
		w.drive(m, time.Minute)
		if x := w.want(m, d.ID, Failed); !strings.Contains(x.Reason, "too late") {
			t.Fatal(x.Reason)
		}
		if w.cloud.status(aliceAK) != "Active" {
			t.Fatal("it acted late")
		}
	})
	for _, mode := range []Mode{Auto, Approve} {
		t.Run("switched on again/"+string(mode), func(t *testing.T) {
			w := newWorld(t)
			w.cloud.next = []fault{dieAfter}
			m := w.machine()
			d := w.propose(m, mode)
			if mode == Approve {
				if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
					t.Fatal(err)
				}
			}
			w.drive(m, time.Minute)
			w.revive()
			w.cloud.set(aliceAK, "Active")
			m = w.machine()
			w.clock.advance(time.Second)
			if err := m.NoteReactivation(ctxb, d.Action.Target, w.clock.Now(), "alice"); err != nil {
				t.Fatal(err)
			}
			w.drive(m, time.Minute)
			if x := w.want(m, d.ID, Failed); !strings.Contains(x.Reason, "took it back") {
				t.Fatal(x.Reason)
			}
			if w.cloud.status(aliceAK) != "Active" {
				t.Fatal("it acted against a person")
			}
		})
	}
}

func TestUndoEndings(t *testing.T) {
	done := func(t *testing.T) (*world, *Machine, ActionDetail) {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		return w, m, w.want(m, d.ID, Done)
	}
	t.Run("drift", func(t *testing.T) {
		w, m, d := done(t)
		w.cloud.set(aliceAK, "Active")
		x, err := m.Undo(ctxb, d.ID, "dave")
		if err != nil || x.State != Done || !strings.Contains(x.Reason, "not undone") {
			t.Fatalf("%+v %v", x.ActionView, err)
		}
		if w.cloud.count("Undo") != 0 {
			t.Fatal("overwritten")
		}
	})
	t.Run("answer lost", func(t *testing.T) {
		for _, f := range []fault{lostBefore, lostAfter, panicAfter, throttled} {
			w, m, d := done(t)
			w.cloud.next = []fault{f}
			if x, err := m.Undo(ctxb, d.ID, "dave"); err != nil || x.State != Undoing {
				t.Fatalf("%s: %s %v", f, x.State, err)
			}
			w.drive(m, 5*time.Minute)
			w.want(m, d.ID, Undone)
			if w.cloud.status(aliceAK) != "Active" || w.cloud.effect("Undo", d.ID) != 1 {
				t.Fatalf("%s: key %s, %d effects", f, w.cloud.status(aliceAK), w.cloud.effect("Undo", d.ID))
			}
		}
	})
	t.Run("never works", func(t *testing.T) {
		w, m, d := done(t)
		w.cloud.next = many(lostBefore, 50)
		if _, err := m.Undo(ctxb, d.ID, "dave"); err != nil {
			t.Fatal(err)
		}
		w.drive(m, time.Hour)
		x := w.want(m, d.ID, Done)
		if !strings.Contains(x.Reason, "undo was tried") || !x.Undoable {
			t.Fatalf("%+v", x.ActionView)
		}
	})
	t.Run("too old", func(t *testing.T) {
		w, m, d := done(t)
		w.clock.advance(7*24*time.Hour + time.Second)
		if _, err := m.Undo(ctxb, d.ID, "dave"); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "older than 7d") {
			t.Fatal(err)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		_, m, d := done(t)
		for _, by := range []string{"mallory", "", "alice"} {
			if _, err := m.Undo(ctxb, d.ID, by); !errors.Is(err, ErrNotAllowed) {
				t.Fatalf("%q: %v", by, err)
			}
		}
	})
	t.Run("while frozen", func(t *testing.T) {
		_, m, d := done(t)
		if err := m.Freeze(ctxb, "dave", "it runs wild"); err != nil {
			t.Fatal(err)
		}
		if x, err := m.Undo(ctxb, d.ID, "dave"); err != nil || x.State != Undone {
			t.Fatalf("%s %v", x.State, err)
		}
	})
}

func TestFreeze(t *testing.T) {
	w := newWorld(t)
	m, other := w.machine(), w.machine()
	if err := other.Freeze(ctxb, "dave", "drill"); err != nil {
		t.Fatal(err)
	}
	if err := m.Freeze(ctxb, "", "x"); !errors.Is(err, ErrNotAllowed) {
		t.Fatal(err)
	}
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	x := w.want(m, d.ID, Proposed)
	if !x.NeedsPerson || !strings.Contains(x.Reason, "frozen") || w.cloud.count("Execute") != 0 {
		t.Fatalf("%+v", x)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "frozen") {
		t.Fatal(err)
	}
	if err := m.Unfreeze(ctxb, "dave", "drill over"); err != nil {
		t.Fatal(err)
	}
	// The machine does not go on by itself: a person approves.
	w.drive(m, time.Minute)
	w.want(m, d.ID, Proposed)
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
	if f, err := m.Frozen(ctxb); err != nil || f.Frozen {
		t.Fatalf("%+v %v", f, err)
	}
}

// slowRead is a cloud that takes its time to be read.
type slowRead struct {
	*cloud
	during func()
}

func (s slowRead) Read(ctx context.Context, a Action) (json.RawMessage, error) {
	s.during()
	return s.cloud.Read(ctx, a)
}

// From when Freeze returns nothing is begun: not even what was being read.
func TestFreezeWhileTheCloudIsRead(t *testing.T) {
	w := newWorld(t)
	other := w.machine()
	m := w.machine(func(o *MachineOptions) {
		o.Executors = []Executor{slowRead{w.cloud, func() {
			if err := other.Freeze(ctxb, "dave", "now"); err != nil {
				t.Error(err)
			}
		}}}
	})
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	if x := w.want(m, d.ID, Proposed); !strings.Contains(x.Reason, "frozen") || w.cloud.count("Execute") != 0 {
		t.Fatalf("%s, %d calls", x.Reason, w.cloud.count("Execute"))
	}
}

// What another process switched off, and a person switched on again, is not
// switched off once more by this one.
func TestHandsOffBetweenProcesses(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	other := w.machine()
	d := w.propose(other, Auto)
	w.drive(other, time.Minute)
	w.want(other, d.ID, Done)
	w.cloud.set(aliceAK, "Active")
	if err := m.NoteReactivation(ctxb, d.Action.Target, w.clock.Now(), "alice"); err != nil {
		t.Fatal(err)
	}
	again := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID = "a2" })
	w.drive(m, time.Minute)
	if x := w.want(m, again.ID, Proposed); !strings.HasPrefix(x.Reason, "hands-off") {
		t.Fatal(x.Reason)
	}
}

// The caps hold over restarts and over processes, to the last place.
func TestCaps(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		key := fmt.Sprintf("LTAI5tEXAMPLEmany%04d", i)
		w.cloud.keys[key], w.cloud.owners[key] = "Active", fmt.Sprint("user", i)
	}
	ask := func(m *Machine, i int) ActionDetail {
		return w.propose(m, Auto, func(p *Proposal) {
			p.Action.AlertID = fmt.Sprint("alert", i)
			p.Action.Target.AccessKeyID, p.Action.Target.UserName = fmt.Sprintf("LTAI5tEXAMPLEmany%04d", i), fmt.Sprint("user", i)
		})
	}
	m1, m2 := w.machine(), w.machine()
	var first ActionDetail
	for i := range 50 {
		d := ask([]*Machine{m1, m2}[i%2], i)
		if i == 0 {
			first = d
		}
	}
	var wg sync.WaitGroup
	for _, m := range []*Machine{m1, m2} {
		wg.Go(func() {
			if _, err := m.Sweep(ctxb); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.cloud.totalEffects("Execute"); n != 3 {
		t.Fatalf("%d keys, the cap is 3", n)
	}
	waiting, err := m1.List(ctxb, ListFilter{States: []State{Proposed}})
	if err != nil || len(waiting) != 47 || !waiting[0].NeedsPerson || !strings.Contains(waiting[0].Reason, "cap") {
		t.Fatalf("%d wait: %v", len(waiting), err)
	}
	// A new process counts what the old ones did.
	m3 := w.machine()
	ask(m3, 51)
	w.drive(m3, time.Minute)
	if n := w.cloud.totalEffects("Execute"); n != 3 {
		t.Fatalf("%d keys after a restart", n)
	}
	// A person may go on where the machine stops; undoing gives no place back.
	if _, err := m3.Approve(ctxb, waiting[0].ID, "dave", waiting[0].Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m3, 10*time.Second)
	w.want(m3, waiting[0].ID, Done)
	done := w.show(m3, first.ID)
	if done.State == Done {
		if _, err := m3.Undo(ctxb, done.ID, "dave"); err != nil {
			t.Fatal(err)
		}
	}
	ask(m3, 52)
	w.drive(m3, 10*time.Second)
	if n := w.cloud.totalEffects("Execute"); n != 4 {
		t.Fatalf("%d keys", n)
	}
	// After an hour there is room again, up to the cap of the day.
	w.clock.advance(time.Hour)
	ask(m3, 53)
	w.drive(m3, 10*time.Second)
	if n := w.cloud.totalEffects("Execute"); n != 5 {
		t.Fatalf("%d keys an hour later", n)
	}
}

// Undoing days later, when the ledger has forgotten the actions, takes no place
// from what has to be contained now.
func TestUndoTakesNoPlace(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) {
		o.Guards.PerAccountHour, o.Guards.KeyShare = 3, 0.5
		o.KnownKeys = func(context.Context, string) (int, error) { return 10, nil }
	})
	var done []string
	for i := range 5 {
		key, user := fmt.Sprintf("LTAI5tEXAMPLEmany%04d", i), fmt.Sprint("user", i)
		w.cloud.keys[key], w.cloud.owners[key] = "Active", user
		d := w.propose(m, Auto, func(p *Proposal) { p.Action.Target.UserName, p.Action.Target.AccessKeyID = user, key })
		w.drive(m, time.Minute)
		done = append(done, w.want(m, d.ID, Done).ID)
		w.clock.advance(2 * time.Hour)
	}
	w.clock.advance(48 * time.Hour)
	for _, id := range done {
		if x, err := m.Undo(ctxb, id, "cli:dave"); err != nil || x.State != Undone {
			t.Fatal(x.State, err)
		}
	}
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
}

func TestKeyShare(t *testing.T) {
	w := newWorld(t)
	known, kerr := 8, error(nil)
	m := w.machine(func(o *MachineOptions) {
		o.Guards.KeyShare = 0.2 // of 8: one
		o.KnownKeys = func(context.Context, string) (int, error) { return known, kerr }
	})
	a := w.propose(m, Auto)
	w.drive(m, time.Minute)
	w.want(m, a.ID, Done)
	bob := func(p *Proposal) {
		p.Action.AlertID, p.Action.Target.UserName, p.Action.Target.AccessKeyID = "a2", "bob", bobAK
	}
	b := w.propose(m, Auto, bob)
	w.drive(m, time.Minute)
	if x := w.want(m, b.ID, Proposed); !strings.Contains(x.Reason, "share") {
		t.Fatal(x.Reason)
	}
	kerr = errors.New("ListUsers: down")
	c := w.propose(m, Auto, bob, func(p *Proposal) { p.Action.AlertID = "a3"; p.Action.Evidence.Time = w.clock.Now() })
	w.drive(m, time.Minute)
	w.want(m, c.ID, Proposed) // waits for the fact
	w.drive(m, time.Hour)
	w.want(m, c.ID, Failed) // and ends on the safe side
	m = w.machine(func(o *MachineOptions) { o.Guards.KeyShare = 0.5 })
	d := w.propose(m, Auto, bob, func(p *Proposal) { p.Action.AlertID = "a4"; p.Action.Evidence.Time = w.clock.Now() })
	w.drive(m, time.Hour)
	w.want(m, d.ID, Failed) // nobody can count
	if w.cloud.status(bobAK) != "Active" {
		t.Fatal("done all the same")
	}
}

// Two alerts about one key: the second waits for the first and then finds
// nothing left to do.
func TestConflictWaits(t *testing.T) {
	w := newWorld(t)
	w.cloud.slow = make(chan struct{})
	m1, m2 := w.machine(), w.machine()
	a := w.propose(m1, Auto)
	b := w.propose(m2, Auto, func(p *Proposal) { p.Action.AlertID, p.Action.Rule = "a2", "ak.new_source_ip" })
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = m1.Sweep(ctxb) })
	for w.show(m2, a.ID).State != Executing {
		time.Sleep(time.Millisecond) // polls; the other goroutine gets there by itself
	}
	if _, err := m2.Sweep(ctxb); err != nil {
		t.Fatal(err)
	}
	if x := w.show(m2, b.ID); x.State.Settled() {
		t.Fatalf("did not wait: %s", x.State)
	}
	close(w.cloud.slow)
	wg.Wait()
	w.want(m1, a.ID, Done)
	w.drive(m2, time.Minute)
	w.want(m2, b.ID, Done)
	if n := w.cloud.totalEffects("Execute"); n != 1 {
		t.Fatalf("%d effects", n)
	}
}

// Two responders take one action (I3): one executes.
func TestTwoRespondersOneAction(t *testing.T) {
	for range 50 {
		w := newWorld(t)
		ms := []*Machine{w.machine(), w.machine(), w.machine()}
		d := w.propose(ms[0], Auto)
		for _, m := range ms[1:] {
			w.propose(m, Auto) // the same request, redelivered to others
		}
		var wg sync.WaitGroup
		for _, m := range ms {
			wg.Go(func() { _, _ = m.Sweep(ctxb) })
		}
		wg.Wait()
		w.drive(ms[1], time.Minute)
		x := w.want(ms[1], d.ID, Done)
		if n := w.cloud.count("Execute"); n != 1 || strings.Count(states(x), "executing") != 1 {
			t.Fatalf("%d calls; %s", n, states(x))
		}
	}
}

// An action is whatever its id says: the same request is one action.
func TestProposeIsIdempotent(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	a := w.propose(m, Approve)
	n := w.appends
	b := w.propose(m, Auto) // a later revision with another mode changes nothing
	if a.ID != b.ID || b.Action.Mode != Approve || w.appends != n {
		t.Fatalf("%s %s %s", a.ID, b.ID, b.Action.Mode)
	}
	if len(a.ID) != 32 || strings.Trim(a.ID, "0123456789abcdef") != "" {
		t.Fatal(a.ID)
	}
	// The id depends on each part, and parts do not run into each other.
	ids := map[string]string{}
	for name, edit := range map[string]func(*Action){
		"same":    func(*Action) {},
		"kind":    func(x *Action) { x.Kind += "a" },
		"account": func(x *Action) { x.Target.AccountID = "1000000000000002" },
		"user":    func(x *Action) { x.Target.UserName = "alicia" },
		"key":     func(x *Action) { x.Target.AccessKeyID = bobAK },
		"alert":   func(x *Action) { x.AlertID = "a2" },
		"shift":   func(x *Action) { x.Kind, x.AlertID = x.Kind+"a", "1" },
	} {
		x := w.action(Auto)
		edit(&x)
		id := ActionID(x)
		if other, ok := ids[id]; ok {
			t.Fatalf("%s and %s have one id", name, other)
		}
		ids[id] = name
	}
	x, y := w.action(Auto), w.action(Auto)
	y.Evidence.EventIDs = append(y.Evidence.EventIDs, "E2")
	if ActionHash(x) == ActionHash(y) {
		t.Fatal("the hash does not cover the evidence")
	}
}

func TestShowAndFind(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Approve)
	if x, err := m.Show(ctxb, d.ID[:6]); err != nil || x.ID != d.ID {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "abc", "zzzzzz", strings.Repeat("z", 200), "*", ">", "../.."} {
		if _, err := m.Show(ctxb, bad); !errors.Is(err, ErrNoAction) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := m.Approve(ctxb, bad, "dave", "x"); !errors.Is(err, ErrNoAction) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if l, err := m.List(ctxb, ListFilter{Account: "1000000000000009"}); err != nil || len(l) != 0 {
		t.Fatal(l, err)
	}
	if l, err := m.List(ctxb, ListFilter{AlertID: "a1", States: []State{Proposed}, Limit: 1}); err != nil || len(l) != 1 {
		t.Fatal(l, err)
	}
}

// A record of a newer version, or one that is broken, is left alone, and does
// not stop the others.
func TestUnreadableRecordIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	h, err := w.mem.History(ctxb, "action", d.ID)
	if err != nil {
		t.Fatal(err)
	}
	var x map[string]any
	if err := json.Unmarshal(h[0].Data, &x); err != nil {
		t.Fatal(err)
	}
	x["v"] = 99
	newer, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.mem.Append(ctxb, "action", d.ID, newer, h[0].Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := w.mem.Append(ctxb, "action", "broken", []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	m = w.machine()
	ok := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID = "a2" })
	w.drive(m, time.Minute)
	w.want(m, ok.ID, Done)
	if _, damaged := m.Stats(); damaged != 2 {
		t.Fatalf("%d damaged", damaged)
	}
	if w.cloud.effect("Execute", d.ID) != 0 {
		t.Fatal("acted on a record that it does not understand")
	}
}

func TestNewMachineRefuses(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*MachineOptions){
		"journal":   func(o *MachineOptions) { o.Journal = nil },
		"mode":      func(o *MachineOptions) { o.MaxMode = "yes" },
		"executors": func(o *MachineOptions) { o.Executors = []Executor{w.cloud, w.cloud} },
		"guards":    func(o *MachineOptions) { o.Guards.KeyShare = 2 },
		"approvers": func(o *MachineOptions) { o.Approvers = []Approver{{Name: "playbook"}} },
	} {
		o := w.options()
		edit(&o)
		if _, err := NewMachine(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// hooked is a journal that lets a test step in between a read or an append and
// what comes after it.
type hooked struct {
	lasting
	beforeAppend func(kind string)
	afterLast    func(kind string)
}

func (h *hooked) Append(ctx context.Context, kind, id string, data []byte, expect uint64) (uint64, error) {
	if h.beforeAppend != nil {
		h.beforeAppend(kind)
	}
	return h.lasting.Append(ctx, kind, id, data, expect)
}

func (h *hooked) Last(ctx context.Context, kind, id string) (Entry, bool, error) {
	e, ok, err := h.lasting.Last(ctx, kind, id)
	if h.afterLast != nil {
		h.afterLast(kind)
	}
	return e, ok, err
}

// The last place under a cap is taken once, however the two interleave.
func TestCapIsExactBetweenProcesses(t *testing.T) {
	w := newWorld(t)
	one := func(o *MachineOptions) { o.Guards.PerAccountHour = 1 }
	other := w.machine(one)
	h := &hooked{lasting: lasting{faulty{w}}}
	m := w.machine(one, func(o *MachineOptions) { o.Journal = h })
	mine := w.propose(m, Auto)
	theirs := w.propose(other, Auto, func(p *Proposal) {
		p.Action.AlertID, p.Action.Target.UserName, p.Action.Target.AccessKeyID = "a2", "bob", bobAK
	})
	h.beforeAppend = func(kind string) {
		if kind == "ledger" {
			h.beforeAppend = nil
			if _, err := other.Sweep(ctxb); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := m.Sweep(ctxb); err != nil {
		t.Fatal(err)
	}
	w.want(m, theirs.ID, Done)
	if x := w.want(m, mine.ID, Proposed); !strings.Contains(x.Reason, "cap") {
		t.Fatal(x.Reason)
	}
}

// A click that comes while the machine is looking at the very action is
// followed at once, not at the next poll.
func TestClickDuringStep(t *testing.T) {
	w := newWorld(t)
	h := &hooked{lasting: lasting{faulty{w}}}
	m := w.machine(func(o *MachineOptions) { o.Journal = h })
	d := w.propose(m, Approve)
	h.afterLast = func(kind string) {
		if kind == "action" {
			h.afterLast = nil
			if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := m.Sweep(ctxb); err != nil {
		t.Fatal(err)
	}
	w.want(m, d.ID, Done)
}

// What became protected after the approval is not touched.
func TestProtectedLater(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	w.cloud.nextGet = []fault{throttled}
	if _, err := m.Sweep(ctxb); err != nil {
		t.Fatal(err)
	}
	w.want(m, d.ID, Approved)
	m = w.machine(func(o *MachineOptions) { o.Guards.Protected.Users = []string{"ali*"} })
	w.drive(m, time.Minute)
	if x := w.want(m, d.ID, Refused); !strings.HasPrefix(x.Reason, "protected") || w.cloud.count("Execute") != 0 {
		t.Fatal(x.Reason)
	}
}

// A refusal for want of evidence stands until there is evidence: a call that was
// refused at first succeeds, or what came too late goes on now.
func TestRefusalForItsEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		first, then func(w *world, a *Action)
		want        State
	}{
		"an attempt, then the act": {
			func(_ *world, a *Action) { a.Evidence.Outcome = "attempt" },
			func(_ *world, a *Action) { a.Evidence.Outcome = "success" }, Done,
		},
		"an attempt, and another": {
			func(_ *world, a *Action) { a.Evidence.Outcome = "attempt" },
			func(w *world, a *Action) { a.Evidence.Outcome, a.Evidence.Time = "attempt", w.clock.Now() }, Refused,
		},
		"late, then going on": {
			func(w *world, a *Action) { a.Evidence.Time = w.clock.Now().Add(-2 * time.Hour) },
			func(*world, *Action) {}, Done,
		},
		"late, and later": {
			func(w *world, a *Action) { a.Evidence.Time = w.clock.Now().Add(-2 * time.Hour) },
			func(w *world, a *Action) { a.Evidence.Time = w.clock.Now().Add(-time.Hour) }, Refused,
		},
		"a temporary key": {
			func(_ *world, a *Action) {
				a.Target.AccessKeyID, a.Evidence.Outcome = "STS.EXAMPLEtoken00001", "attempt"
			},
			func(_ *world, a *Action) { a.Target.AccessKeyID = "STS.EXAMPLEtoken00001" }, Refused,
		},
	} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto, func(p *Proposal) { c.first(w, &p.Action) })
		w.want(m, d.ID, Refused)
		again := w.propose(m, Auto, func(p *Proposal) { c.then(w, &p.Action) })
		if (again.ID == d.ID) != (c.want == Refused) {
			t.Errorf("%s: %s is %s (%s)", name, again.ID, again.State, again.Reason)
			continue
		}
		w.drive(m, time.Minute)
		w.want(m, again.ID, c.want)
		w.want(m, d.ID, Refused)
		for range 2 { // the same alert met again changes nothing
			if x := w.propose(m, Auto, func(p *Proposal) { c.then(w, &p.Action) }); x.ID != again.ID {
				t.Errorf("%s: yet another action: %+v", name, x)
			}
		}
	}
}

// What was done, undone by hand and done again looks like the first time. It is not
// the first action's to take back.
func TestUndoTakesBackNothingLater(t *testing.T) {
	first := func(t *testing.T) (*world, *Machine, ActionDetail) {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		return w, m, w.want(m, d.ID, Done)
	}
	again := func(w *world, m *Machine) ActionDetail {
		d := w.propose(m, Approve, func(p *Proposal) { p.Action.AlertID = "a2" })
		if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
			t.Fatal(err)
		}
		w.drive(m, time.Minute)
		return w.want(m, d.ID, Done)
	}
	t.Run("a later action", func(t *testing.T) {
		w, m, d := first(t)
		w.cloud.set(aliceAK, "Active")
		w.clock.advance(time.Hour)
		d2 := again(w, m)
		if _, err := m.Undo(ctxb, d.ID, "dave"); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), d2.ID[:12]) || w.cloud.status(aliceAK) != "Inactive" {
			t.Fatalf("key %s, %v", w.cloud.status(aliceAK), err)
		}
		if x, err := m.Undo(ctxb, d2.ID, "dave"); err != nil || x.State != Undone || w.cloud.status(aliceAK) != "Active" {
			t.Fatalf("%s %v", x.State, err)
		}
	})
	t.Run("a later hand", func(t *testing.T) {
		w, m, d := first(t)
		w.clock.advance(time.Hour)
		if err := m.NoteReactivation(ctxb, d.Action.Target, w.clock.Now(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Hour) // and off again, by somebody's hand: the key is Inactive
		if _, err := m.Undo(ctxb, d.ID, "dave"); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "by hand") || w.cloud.status(aliceAK) != "Inactive" {
			t.Fatalf("key %s, %v", w.cloud.status(aliceAK), err)
		}
	})
	t.Run("an earlier hand", func(t *testing.T) {
		w, m, d := first(t)
		w.cloud.set(aliceAK, "Active")
		w.clock.advance(time.Hour)
		if err := m.NoteReactivation(ctxb, d.Action.Target, w.clock.Now(), "alice"); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Hour)
		d2 := again(w, m)
		if x, err := m.Undo(ctxb, d2.ID, "dave"); err != nil || x.State != Undone {
			t.Fatalf("%s %v", x.State, err)
		}
	})
	t.Run("who relies on it is told", func(t *testing.T) {
		w, m, d := first(t)
		w.clock.advance(time.Hour)
		d2 := again(w, m)
		if d2.Result.Changed {
			t.Fatal("it changed what was so already")
		}
		if x, err := m.Undo(ctxb, d.ID, "dave"); err != nil || x.State != Undone {
			t.Fatalf("%s %v", x.State, err)
		}
		if d2 = w.want(m, d2.ID, Done); !strings.Contains(d2.Reason, "no longer so: dave undid action "+d.ID[:12]) {
			t.Fatal(d2.Reason)
		}
	})
}

// Freeze promises that nothing is begun when it returns: also where it comes between
// the last look at it and the intent.
func TestFreezeRightBeforeTheCall(t *testing.T) {
	for _, before := range []string{"ledger", "action"} {
		w := newWorld(t)
		m := w.machine()
		d := w.propose(m, Auto)
		switcher, err := NewMachine(MachineOptions{Journal: w.mem, Now: w.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		reserved, thrown := false, false
		w.onAppend = func(_ int, kind string) fault {
			if (kind == before && (before == "ledger" || reserved)) && !thrown {
				thrown = true
				if err := switcher.Freeze(ctxb, "cli:dave", "it runs wild"); err != nil {
					t.Fatal(err)
				}
			}
			reserved = reserved || kind == "ledger"
			return none
		}
		w.drive(m, time.Minute)
		d = w.want(m, d.ID, Proposed)
		if !thrown || w.cloud.count("Execute") != 0 || w.cloud.status(aliceAK) != "Active" || d.Attempt != 0 || !strings.Contains(d.Reason, "freeze") {
			t.Fatalf("before the record of %s: thrown %v, %d calls, %d attempts: %s", before, thrown, w.cloud.count("Execute"), d.Attempt, d.Reason)
		}
		if err := switcher.Unfreeze(ctxb, "cli:dave", "over"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
			t.Fatal(err)
		}
		w.drive(m, time.Minute)
		w.want(m, d.ID, Done)
	}
}

// The same before a second try: what was in doubt is not in force, and is given up.
func TestFreezeRightBeforeTheSecondTry(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	switcher, err := NewMachine(MachineOptions{Journal: w.mem, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.cloud.next = []fault{lostBefore}
	records := 0
	w.onAppend = func(_ int, kind string) fault {
		if kind == "action" {
			if records++; records == 4 { // approved, executing, in doubt, executing
				if err := switcher.Freeze(ctxb, "cli:dave", "it runs wild"); err != nil {
					t.Fatal(err)
				}
			}
		}
		return none
	}
	w.drive(m, 5*time.Minute)
	d = w.want(m, d.ID, Failed)
	if w.cloud.count("Execute") != 1 || w.cloud.status(aliceAK) != "Active" || !strings.Contains(d.Reason, "not tried again: the kill switch was thrown") {
		t.Errorf("%d calls: %s", w.cloud.count("Execute"), d.Reason)
	}
}

// blinded is a journal in which the kill switch cannot be read while it is asked to.
type blinded struct {
	faulty
	is *bool
}

func (b blinded) History(ctx context.Context, kind, id string) ([]Entry, error) {
	if *b.is && kind == "freeze" {
		return nil, errors.New("injected: not read")
	}
	return b.faulty.History(ctx, kind, id)
}

// A kill switch that cannot be read right before the call counts as thrown: the call
// waits until it can.
func TestFreezeUnreadRightBeforeTheCall(t *testing.T) {
	w := newWorld(t)
	blind := false
	m := w.machine(func(o *MachineOptions) { o.Journal = blinded{faulty{w}, &blind} })
	d := w.propose(m, Auto)
	reserved, meant, waited := false, false, false
	w.onAppend = func(_ int, kind string) fault {
		switch {
		case kind == "action" && reserved && !meant: // the intent
			meant, blind = true, true
		case kind == "action" && blind: // it is taken back
			waited, blind = w.cloud.count("Execute") == 0, false
		}
		reserved = reserved || kind == "ledger"
		return none
	}
	w.drive(m, 5*time.Minute)
	if d = w.want(m, d.ID, Done); !meant || !waited || d.Attempt != 1 || w.cloud.count("Execute") != 1 {
		t.Errorf("meant %v, waited %v, %d attempts, %d calls", meant, waited, d.Attempt, w.cloud.count("Execute"))
	}
	// Its time counts from the call that was made: how long an answer is waited for, and
	// whose hand came later, go by it.
	h, err := w.mem.History(ctxb, "action", d.ID)
	if err != nil {
		t.Fatal(err)
	}
	var begun []time.Time
	for _, e := range h {
		var r struct {
			State   State     `json:"state"`
			BegunAt time.Time `json:"begun_at"`
		}
		if err := json.Unmarshal(e.Data, &r); err != nil {
			t.Fatal(err)
		}
		if r.State == Executing {
			begun = append(begun, r.BegunAt)
		}
	}
	if len(begun) != 2 || !begun[1].After(begun[0]) {
		t.Errorf("begun at %v", begun)
	}
}

// What approvers saw is what is done. The networks of a fence, for one, come from the
// configuration, and are no part of the action.
func TestApprovedUnderAnotherConfiguration(t *testing.T) {
	w := newWorld(t)
	configured := func(to string) func(*MachineOptions) {
		return func(o *MachineOptions) { o.Executors = []Executor{fencing{w.cloud, to}} }
	}
	m := w.machine(configured("198.51.100.0/24"))
	d := w.propose(m, Approve)
	m = w.machine(configured("203.0.113.0/24"))
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil { // on the message that was there
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	x := w.want(m, d.ID, Proposed)
	if w.cloud.count("Execute") != 0 || !strings.Contains(x.Describe, "203.0.113.0/24") || !strings.Contains(x.Reason, "something else than what was approved") || !x.NeedsPerson {
		t.Fatalf("calls %v, %+v", w.cloud.log(), x)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", x.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
}

// fencing is an executor that does what its configuration says.
type fencing struct {
	*cloud
	to string
}

func (f fencing) Describe(a Action) string { return f.cloud.Describe(a) + " but from " + f.to }

// That an undo was found by reading does not hide what its call said: a part of it may
// be left over.
func TestUndoFoundByReadingSaysWhatItMet(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	w.cloud.next = []fault{lostAfter}
	if _, err := m.Undo(ctxb, d.ID, "dave"); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	if x := w.want(m, d.ID, Undone); !strings.Contains(x.Reason, "(the undo has no answer yet: time-out") || !strings.Contains(InChinese(x.Reason), "撤销尚未收到应答") {
		t.Fatalf("%s\n%s", x.Reason, InChinese(x.Reason))
	}
}

// Two incidents want the same key off. The second one reads that it is, while another
// process undoes what the first one did: it does not go on to say that it is contained.
func TestFoundDoneWhileItIsUndone(t *testing.T) {
	w := newWorld(t)
	one := w.machine()
	a := w.propose(one, Auto)
	w.drive(one, time.Minute)
	w.want(one, a.ID, Done)
	two := w.machine(func(o *MachineOptions) {
		o.Executors = []Executor{reading{w.cloud, func() {
			if d, err := one.Undo(ctxb, a.ID, "dave"); err != nil || d.State != Undone {
				t.Errorf("%+v %v", d, err)
			}
		}}}
	})
	b := w.propose(two, Auto, func(p *Proposal) { p.Action.AlertID = "a2" })
	w.drive(two, time.Minute)
	x := w.want(two, b.ID, Done)
	if w.cloud.status(aliceAK) != "Active" || !strings.HasPrefix(x.Reason, "no longer so: dave undid action "+a.ID[:12]) {
		t.Fatalf("the key is %s, and the action says %q", w.cloud.status(aliceAK), x.Reason)
	}
}

// reading is an executor in whose Read, after the cloud's answer, something happens.
type reading struct {
	*cloud
	then func()
}

func (r reading) Read(ctx context.Context, a Action) (json.RawMessage, error) {
	prior, err := r.cloud.Read(ctx, a)
	r.then()
	return prior, err
}
