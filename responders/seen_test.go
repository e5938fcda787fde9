package responders_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

func confirming(o *MachineOptions) { o.ConfirmWithin = 20 * time.Minute }

// A done action is confirmed by its own event: before or after the outcome is
// recorded, once, and over a restart.
func TestConfirmedByItsOwnEvent(t *testing.T) {
	for name, c := range map[string]struct{ early, restart bool }{
		"after the outcome": {}, "before the outcome": {early: true}, "after a restart": {restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := w.machine(confirming)
			note := func() {
				for range 2 { // events come again
					if err := m.NoteOwnCall(ctxb, "REQ-1", "E-OWN", w.clock.Now()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.early {
				note()
			}
			d := w.propose(m, Auto)
			w.drive(m, 10*time.Second)
			d = w.want(m, d.ID, Done)
			if !c.early && (d.Seen != nil || d.Unseen) {
				t.Fatalf("confirmed by nothing: %+v", d.Seen)
			}
			if c.restart {
				m = w.machine(confirming)
			}
			if !c.early {
				note()
			}
			w.drive(m, time.Hour)
			d = w.want(m, d.ID, Done)
			if d.Seen == nil || d.Seen.EventID != "E-OWN" || d.Unseen || !d.Undoable {
				t.Fatalf("%+v unseen %v undoable %v", d.Seen, d.Unseen, d.Undoable)
			}
			n := 0
			for _, r := range w.allRecords("action") {
				if r.State == Done {
					n++
				}
			}
			if n != 2 {
				t.Fatalf("%d records of done", n)
			}
		})
	}
}

// What never comes back is said, once, and undo stays possible; another
// request's event confirms nothing.
func TestNeverConfirmed(t *testing.T) {
	w := newWorld(t)
	m := w.machine(confirming)
	d := w.propose(m, Auto)
	w.drive(m, time.Second)
	if err := m.NoteOwnCall(ctxb, "REQ-2", "E-OTHER", w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.drive(m, 19*time.Minute)
	if d = w.want(m, d.ID, Done); d.Unseen || d.Seen != nil {
		t.Fatalf("too early: %v %v", d.Unseen, d.Seen)
	}
	w.drive(m, 3*time.Minute)
	if d = w.want(m, d.ID, Done); !d.Unseen || !d.Undoable {
		t.Fatalf("unseen %v, undoable %v", d.Unseen, d.Undoable)
	}
	if _, err := m.Undo(ctxb, d.ID, "dave"); err != nil {
		t.Fatal(err)
	}
	w.want(m, d.ID, Undone)
}

// An undo is confirmed, or missed, like the action.
func TestUndoIsConfirmed(t *testing.T) {
	for _, seen := range []bool{true, false} {
		w := newWorld(t)
		m := w.machine(confirming)
		if err := m.NoteOwnCall(ctxb, "REQ-1", "E-OWN", w.clock.Now()); err != nil { // of the action
			t.Fatal(err)
		}
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		w.cloud.request = "REQ-2"
		if _, err := m.Undo(ctxb, d.ID, "dave"); err != nil {
			t.Fatal(err)
		}
		if seen { // another process reads it
			if err := w.machine(confirming).NoteOwnCall(ctxb, "REQ-2", "E-UNDO", w.clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
		w.drive(m, time.Hour)
		if d = w.want(m, d.ID, Undone); d.Unseen == seen || (d.UndoSeen != nil) != seen {
			t.Errorf("unseen %v, seen %v; want it seen: %v", d.Unseen, d.UndoSeen, seen)
		}
		if d.By != "dave" {
			t.Errorf("undone by %s, want dave, who asked for it", d.By)
		}
	}
}

// Without ConfirmWithin nothing is waited for.
func TestConfirmationOff(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	d := w.propose(m, Auto)
	w.drive(m, 2*time.Hour)
	if d = w.want(m, d.ID, Done); d.Unseen {
		t.Fatal("waited")
	}
}

// The pipeline's alert on our own call confirms and is not shown; a replayed
// one confirms nothing; what stays away is told as an alert.
func TestOwnCallThroughTheDispatcher(t *testing.T) {
	own := func(w *world) alert.Alert {
		return alert.Alert{Schema: alert.Schema, ID: "own1", Rule: RuleOwnCall, Signal: true, Severity: alert.Info, Outcome: "success", Time: w.clock.Now(), LastAt: w.clock.Now(),
			EventIDs: []string{"E-OWN"}, Details: map[string]any{"call": map[string]any{"request_id": "REQ-1"}}, Revision: 1, Count: 1, AccountID: account}
	}
	for name, c := range map[string]struct {
		origin Origin
		told   int
	}{"live": {Live, 0}, "replayed": {Replayed, 1}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				p := w.startWith([]Destination{{Notifier: slack}}, confirming)
				defer p.stop()
				p.give(t, 1, w.leaked("a1"))
				time.Sleep(time.Minute)
				if err := p.Dispatcher.HandleFrom(ctxb, c.origin, 0, 2, []alert.Alert{own(w)}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				told := 0
				for _, m := range slack.all() {
					switch m.last.Alert.Rule {
					case RuleActionUnseen:
						told++
					case RuleOwnCall:
						t.Error("our own call was shown")
					}
				}
				if told != c.told {
					t.Fatalf("told %d times, want %d", told, c.told)
				}
			})
		})
	}
}

// A call of our identity that no action asked for is told; ours are not.
func TestForeignCall(t *testing.T) {
	own := func(w *world, id string) alert.Alert {
		return alert.Alert{Schema: alert.Schema, ID: id, Rule: RuleOwnCall, Signal: true, Severity: alert.Info, Outcome: "success", Time: w.clock.Now(), LastAt: w.clock.Now(),
			EventIDs: []string{"E-" + id}, Details: map[string]any{"event": "Ims:UpdateAccessKey", "call": map[string]any{"request_id": "R-" + id}}, Revision: 1, Count: 1, AccountID: account}
	}
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.startWith([]Destination{{Notifier: slack}}, confirming)
		defer p.stop()
		told := func() (n int) {
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, m := range slack.all() {
				if m.last.Alert.Rule == RuleForeignCall {
					n++
				}
			}
			return n
		}
		p.give(t, 1, own(w, "stranger"), own(w, "stranger"))
		if n := told(); n != 1 {
			t.Fatalf("told %d times of a stranger", n)
		}
		p.give(t, 2, w.leaked("a1"))
		time.Sleep(10 * time.Second)
		p.give(t, 3, own(w, "ours"))
		if n := told(); n != 1 {
			t.Fatalf("our own call is told: %d", n)
		}
		time.Sleep(3 * time.Hour)
		p.give(t, 4, own(w, "later"))
		if n := told(); n != 2 {
			t.Fatalf("told %d times of a stranger long after our action", n)
		}
		// The call that an action made is ours whatever time its record has.
		acts, err := p.m.List(ctxb, ListFilter{})
		if err != nil || len(acts) != 1 || acts[0].Result == nil || acts[0].Result.RequestID == "" {
			t.Fatalf("%+v %v", acts, err)
		}
		late := own(w, "late")
		late.Details["call"] = map[string]any{"request_id": acts[0].Result.RequestID}
		p.give(t, 5, late)
		if n := told(); n != 2 {
			t.Fatalf("our own call is told, late: %d", n)
		}
		// Of days in which nothing was read: the journal knows that nobody asked for it, and of
		// what was before it, it knows nothing.
		began := w.clock.Now()
		time.Sleep(3 * 24 * time.Hour)
		weekend, before := own(w, "weekend"), own(w, "before")
		weekend.Time, before.Time = began.Add(24*time.Hour), began.Add(-24*time.Hour)
		p.give(t, 6, weekend, before)
		if n := told(); n != 3 {
			t.Fatalf("told %d times of a stranger while nothing was read", n)
		}
	})
}

// Whoever has our credentials does not hide in the shadow of an action: while one
// is under way only the calls that it makes, about what it is about, are ours.
func TestForeignCallBesideAnAction(t *testing.T) {
	for name, c := range map[string]struct {
		event, user, key string
		call             map[string]any
		seen             bool // the trail has told of the action's own call already
		foreign          bool
	}{
		"its call":                       {event: "Ram:UpdateAccessKey", user: "alice", key: aliceAK},
		"spelt in another way":           {event: "ims:updateaccesskey", user: "ALICE", key: aliceAK},
		"by its principal name":          {event: "Ims:UpdateAccessKey", user: "alice@acme.onaliyun.com", key: aliceAK},
		"masked":                         {event: "Ram:UpdateAccessKey", user: "al**", key: "LTAI****"},
		"another call on the user":       {event: "Ram:AttachPolicyToUser", user: "alice", call: map[string]any{"policy_name": "AdministratorAccess"}, foreign: true},
		"the same call on another":       {event: "Ram:UpdateAccessKey", user: "mallory", key: "LTAI5tEXAMPLEmallory001", foreign: true},
		"the same on another key":        {event: "Ram:UpdateAccessKey", user: "alice", key: "LTAI5tEXAMPLEalice00009", foreign: true},
		"its call, once more":            {event: "Ram:UpdateAccessKey", user: "alice", key: aliceAK, seen: true, foreign: true},
		"a policy is deleted":            {event: "Ram:DeletePolicy", call: map[string]any{"policy_name": "guardrail"}, foreign: true},
		"the trail is stopped meanwhile": {event: "Actiontrail:StopLogging", call: map[string]any{"trail": "main"}, foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				p := w.startWith([]Destination{{Notifier: slack}}, confirming)
				defer p.stop()
				p.give(t, 1, w.leaked("a1"))
				time.Sleep(10 * time.Second)
				own := func(request string) alert.Alert {
					call := map[string]any{"request_id": request}
					maps.Copy(call, c.call)
					a := alert.Alert{Schema: alert.Schema, ID: "own-" + request, Rule: RuleOwnCall, Signal: true, Severity: alert.Info, Outcome: "success", Time: w.clock.Now(), LastAt: w.clock.Now(),
						EventIDs: []string{"E-" + request}, Details: map[string]any{"event": c.event, "call": call}, TargetKey: c.key, Revision: 1, Count: 1, AccountID: account}
					if c.user != "" {
						a.Target = &alert.Target{Type: "user", Name: c.user}
					}
					return a
				}
				if c.seen {
					p.give(t, 2, own("REQ-1"))
					time.Sleep(time.Minute)
				}
				p.give(t, 3, own("R-1"))
				time.Sleep(time.Minute)
				synctest.Wait()
				told := false
				for _, m := range slack.all() {
					told = told || m.last.Alert.Rule == RuleForeignCall
				}
				if told != c.foreign {
					t.Fatalf("told as foreign: %v, want %v", told, c.foreign)
				}
			})
		})
	}
}

// quarantining is an executor that attaches a policy to a user.
type quarantining struct{ *cloud }

func (quarantining) Kind() string { return KindQuarantineUser }
func (quarantining) Describe(a Action) string {
	return "ram AttachPolicyToUser{PolicyType: Custom, PolicyName: zz-quarantine-deny-all, UserName: " + a.Target.UserName + "}"
}

// networks is an executor that fences a key.
type networks struct{ *cloud }

func (networks) Kind() string { return KindFenceKey }
func (networks) Describe(a Action) string {
	return "ims SetAccessKeyPolicy{UserAccessKeyId: " + a.Target.AccessKeyID + "}"
}

// What was done and is undone by somebody's hand is no longer said to be in force: the
// incident's message says who took it back, people are told, and the next action on
// the target asks. What else was done stays.
func TestTakenBackByHand(t *testing.T) {
	for name, c := range map[string]struct {
		rule, event, policy, key string
		before                   bool // the hand came before the action
		want                     string
	}{
		"a key":                {"ak.reactivated", "Ram:UpdateAccessKey", "", aliceAK, false, KindDisableAccessKey},
		"a quarantine":         {"user.undo_containment", "Ram:DetachPolicyFromUser", "zz-quarantine-deny-all", "", false, KindQuarantineUser},
		"a fence":              {"user.undo_containment", "Ims:SetAccessKeyPolicy", "", aliceAK, false, KindFenceKey},
		"another key's fence":  {"user.undo_containment", "Ims:SetAccessKeyPolicy", "", bobAK, false, ""},
		"another policy":       {"user.undo_containment", "Ram:DetachPolicyFromUser", "zz-quarantine-mail", "", false, ""},
		"another key":          {"ak.reactivated", "Ram:UpdateAccessKey", "", bobAK, false, ""},
		"another call":         {"user.undo_containment", "Ims:UpdateLoginProfile", "", "", false, ""},
		"a hand before it":     {"ak.reactivated", "Ram:UpdateAccessKey", "", aliceAK, true, ""},
		"by the trail's clock": {"ak.reactivated", "Ram:UpdateAccessKey", "", aliceAK, true, KindDisableAccessKey},
		"a rule of other acts": {"policy.deny_removed", "Ram:DetachPolicyFromUser", "zz-quarantine-deny-all", "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				// Each has requests of its own: by its id a call is known again.
				fence := networks{&cloud{w: w, keys: map[string]string{aliceAK: "Active"}, owners: map[string]string{aliceAK: "alice"}, request: "REQ-2"}}
				quarantine := quarantining{&cloud{w: w, keys: map[string]string{"": "Active"}, owners: map[string]string{"": "alice"}, request: "REQ-3"}}
				p := w.startWith([]Destination{{Notifier: slack}}, func(o *MachineOptions) {
					o.Executors, o.ConfirmWithin = []Executor{w.cloud, quarantine, fence}, 20*time.Minute
				}, func(o *DispatcherOptions) {
					o.Playbooks = []Playbook{{Name: "both", When: When{Rules: []string{"ak.leaked_in_use"}}, Mode: Auto,
						Actions: []PlaybookAction{{Kind: kind, RefusalIsEvidence: true}, {Kind: KindQuarantineUser, RefusalIsEvidence: true}, {Kind: KindFenceKey, RefusalIsEvidence: true}}}}
				})
				defer p.stop()
				hand := w.plain("hand", c.rule, alert.High)
				p.give(t, 1, w.leaked("a1"))
				time.Sleep(time.Minute)
				if c.before && c.want != "" { // our own call, as the trail tells of it, was before that
					if err := p.m.NoteOwnCall(ctxb, "REQ-1", "E-OWN", w.clock.Now().Add(-2*time.Hour)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				hand.Actor.Name, hand.TargetKey, hand.Time = "mallory", c.key, w.clock.Now()
				hand.Target = &alert.Target{Type: "user", ID: "user/" + account + "/alice", Name: "alice"}
				hand.Details = map[string]any{"event": c.event, "call": map[string]any{"policy_name": c.policy}}
				if c.before {
					hand.Time = hand.Time.Add(-time.Hour)
				}
				p.give(t, 2, hand)
				time.Sleep(time.Minute)
				synctest.Wait()
				acts := slack.of("a1")[0].last.Actions
				if len(acts) != 3 {
					t.Fatalf("%+v", acts)
				}
				disabled := ""
				for _, x := range acts {
					if x.Kind == KindDisableAccessKey {
						disabled = x.ID
					}
					told := strings.HasPrefix(x.Reason, "no longer so: mallory took it back by")
					if told != (x.Kind == c.want) || x.State != Done || told && !strings.Contains(InChinese(x.Reason), "已不再如此") {
						t.Errorf("%s %s: %s", x.Kind, x.State, x.Reason)
					}
				}
				if told := slack.byRule(RuleActionRefused); (len(told) == 1) != (c.want != "") {
					t.Errorf("told %d times", len(told))
				}
				if c.want == KindFenceKey { // the key was not switched on: that it is off is our doing still
					if _, err := p.m.Undo(ctxb, disabled, "dave"); err != nil {
						t.Error(err)
					}
				}
				if c.want == "" {
					return
				}
				p.give(t, 3, w.leaked("a2"))
				time.Sleep(time.Minute)
				synctest.Wait()
				l, err := p.m.List(ctxb, ListFilter{AlertID: "a2"})
				if err != nil || !slices.ContainsFunc(l, func(d ActionDetail) bool {
					return d.Action.Kind == c.want && d.State == Proposed && strings.Contains(d.Reason, "hands-off")
				}) {
					t.Errorf("%+v %v", l, err)
				}
			})
		})
	}
}
