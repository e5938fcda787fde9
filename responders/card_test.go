package responders_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

// keyFacts is a cloud that can be asked about keys.
type keyFacts struct {
	mu    sync.Mutex
	card  KeyCard
	nets  []KeyUse
	err   error
	asked int
}

func (k *keyFacts) KeyCard(context.Context, ActionTarget) (KeyCard, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.card, k.err
}

func (k *keyFacts) KeyNetworks(context.Context, ActionTarget) ([]KeyUse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.nets, k.err
}

func created(id, key, name, newKey string, at time.Time) alert.Alert {
	return alert.Alert{Schema: alert.Schema, ID: id, Rule: "ak.created", Signal: true, Severity: alert.Low, Outcome: "success", Time: at, LastAt: at, AccountID: account, Count: 1, Revision: 1,
		Actor: alert.Actor{Type: "ram-user", ID: "user/" + account + "/alice", Name: "alice", AccessKeyID: key}, Target: &alert.Target{Type: "user", ID: "user/" + account + "/" + name, Name: name},
		TargetKey: newKey, EventIDs: []string{"E-" + id}, Details: map[string]any{"call": map[string]any{"action": "iam.accesskey.create", "request_id": "R-" + id}}}
}

// The card of a leaked key comes into the thread once: services, networks,
// policies, what the key has made, and the steps that replace it.
func TestCardOfALeakedKey(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		facts := &keyFacts{card: KeyCard{Status: "Active", Services: []KeyUse{{"Ecs", t0}}, Networks: []KeyUse{{"198.51.100.7", t0}}, Policies: []string{"System/AdministratorAccess"}}}
		p := w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) { o.Keys = facts })
		// Long before, and a signal that is shown to nobody.
		p.give(t, 1, created("c1", aliceAK, "backup2", "LTAI5tEXAMPLEchild00001", w.clock.Now().Add(-time.Hour)))
		p.give(t, 2, created("c1", aliceAK, "backup2", "LTAI5tEXAMPLEchild00001", w.clock.Now().Add(-time.Hour))) // told twice
		other := created("c2", bobAK, "elsewhere", "", w.clock.Now())
		p.give(t, 3, other)
		p.give(t, 4, w.leaked("a1"))
		time.Sleep(2 * time.Minute)
		p.stop()
		p = w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) { o.Keys = facts })
		grown := w.leaked("a1")
		grown.Revision, grown.Count = 2, 5
		p.give(t, 5, grown)
		time.Sleep(2 * time.Minute)
		p.stop()
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" {
			t.Fatal("not contained")
		}
		m := slack.of("a1")
		if len(m) != 1 {
			t.Fatalf("%d messages", len(m))
		}
		thread := strings.Join(m[0].thread, "\n")
		for _, want := range []string{"last used services: Ecs", "last used from: 198.51.100.7", "policies: System/AdministratorAccess", "made by this key: iam.accesskey.create backup2 LTAI…001",
			"1. aliyun ram CreateAccessKey --UserName alice", "4. when nothing has missed it"} {
			if n := strings.Count(thread, want); n != 1 {
				t.Errorf("%q is in the thread %d times:\n%s", want, n, thread)
			}
		}
		if strings.Contains(thread, "elsewhere") {
			t.Error("another key's child is listed")
		}
		if facts.asked != 1 {
			t.Errorf("asked %d times", facts.asked)
		}
	})
}

// A cloud that does not answer costs no containment and no message.
func TestCardThatCannotBeMade(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) { o.Keys = &keyFacts{err: errors.New("no answer")} })
		defer p.stop()
		p.give(t, 1, w.leaked("a1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" || len(slack.of("a1")) != 1 {
			t.Fatal("not contained, or not told")
		}
	})
}

// fencer is the cloud as an executor of another kind.
type fencer struct{ *cloud }

func (fencer) Kind() string { return KindFenceKey }

// The fence around a key is drawn from its measured normal use, stays what it
// was for one alert, and gives way to disabling where it cannot be drawn.
func TestUsualFence(t *testing.T) {
	usual := func(nets ...string) map[string]any {
		var l []any
		for _, n := range nets {
			l = append(l, map[string]any{"network": n})
		}
		return map[string]any{"baseline": map[string]any{"usual": l}}
	}
	for name, c := range map[string]struct {
		details map[string]any
		facts   *keyFacts
		alt     string
		kind    string
		allow   string
		state   State
	}{
		"as the alert measured it": {details: usual("198.51.100.0/24", "192.0.2.0/24"), kind: KindFenceKey, allow: "192.0.2.0/24,198.51.100.0/24"},
		"as the cloud remembers it, without the intruder": {facts: &keyFacts{nets: []KeyUse{{"203.0.113.7", t0}, {"198.51.100.9", t0}, {"198.51.100.8", t0}}},
			kind: KindFenceKey, allow: "198.51.100.0/24"},
		"only the intruder is known":     {facts: &keyFacts{nets: []KeyUse{{"203.0.113.7", t0}}}, alt: kind, kind: kind},
		"a VPC would be shut out":        {facts: &keyFacts{nets: []KeyUse{{"10.0.0.7", t0}, {"198.51.100.9", t0}}}, alt: kind, kind: kind},
		"a service would be shut out":    {facts: &keyFacts{nets: []KeyUse{{"ecs.aliyuncs.com", t0}}}, alt: kind, kind: kind},
		"private in the baseline":        {details: usual("10.0.0.0/24"), alt: kind, kind: kind},
		"the cloud does not answer":      {facts: &keyFacts{err: errors.New("time-out")}, alt: kind, kind: kind},
		"nobody to ask, nothing instead": {kind: KindFenceKey, state: Refused},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				fence := func(o *MachineOptions) { o.Executors = append(o.Executors, fencer{w.cloud}) }
				p := w.startWith([]Destination{{Notifier: slack}}, fence, func(o *DispatcherOptions) {
					o.Playbooks = []Playbook{{Name: "leaked-key", When: When{Rules: []string{"ak.leaked_in_use"}}, Mode: Approve,
						Actions: []PlaybookAction{{Kind: KindFenceKey, Params: map[string]string{"allow": "usual"}, Else: c.alt, RefusalIsEvidence: true}}}}
					if c.facts != nil {
						o.Keys = c.facts
					}
				})
				defer p.stop()
				for rev := 1; rev <= 3; rev++ {
					a := w.leaked("a1")
					a.Revision, a.Details = rev, c.details
					p.give(t, uint64(rev), a)
					if c.facts != nil { // the world moves on; the action does not
						c.facts.mu.Lock()
						c.facts.nets = append(c.facts.nets, KeyUse{fmt.Sprintf("192.0.2.%d", rev), t0})
						c.facts.mu.Unlock()
					}
				}
				time.Sleep(time.Second)
				l, err := p.m.List(ctxb, ListFilter{})
				if err != nil || len(l) != 1 {
					t.Fatalf("%d actions, %v", len(l), err)
				}
				got := l[0]
				if got.Kind != c.kind || got.Action.Target.Params["allow"] != c.allow || c.state != "" && got.State != c.state {
					t.Fatalf("%s allow %q, %s: %s", got.Kind, got.Action.Target.Params["allow"], got.State, got.Reason)
				}
				if c.state == Refused && !strings.Contains(got.Reason, "usual networks are not known") {
					t.Fatal(got.Reason)
				}
			})
		})
	}
}

// A person asks for another rung: another person approves it, not the one who
// asked, and the guards hold.
func TestContainByAPerson(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) { o.Playbooks = nil })
		defer p.stop()
		a := w.leaked("a1")
		a.Time = w.clock.Now().Add(-3 * time.Hour) // a person is not bound by the freshness of evidence
		p.give(t, 1, a)
		d, err := p.Contain(ctxb, a, kind, "cli:dave", nil)
		if err != nil || d.State != Proposed {
			t.Fatalf("%s %s %v", d.State, d.Reason, err)
		}
		if _, err := p.m.Approve(ctxb, d.ID, "cli:dave", d.Hash); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "who asks") {
			t.Fatalf("approved by who asked: %v", err)
		}
		if _, err := p.m.Approve(ctxb, d.ID, "slack:UCAROL", d.Hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" {
			t.Fatal("not contained")
		}
		for _, c := range []struct {
			kind, by string
			params   map[string]string
		}{{"ram.other", "cli:dave", nil}, {kind, "", nil}, {kind, "playbook", nil}, {kind, "cli:dave", map[string]string{"key": "both"}}} {
			if _, err := p.Contain(ctxb, a, c.kind, c.by, c.params); !errors.Is(err, ErrNotAllowed) {
				t.Errorf("%+v: %v", c, err)
			}
		}
	})
}

// What cannot be done, as its executor knows without a call, waits for nobody: it is
// refused when it is asked for, with the reason.
func TestImpossibleIsNotProposed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.start([]Destination{{Notifier: w.chat("slack")}}, func(o *DispatcherOptions) { o.Playbooks = nil })
		defer p.stop()
		a := w.leaked("a1")
		p.give(t, 1, a)
		time.Sleep(time.Second)
		d, err := p.Contain(ctxb, a, kind, "cli:dave", map[string]string{"impossible": "no address is allowed"})
		if err != nil || d.State != Refused || d.Reason != "target: no address is allowed; next: look at the alert and act by hand if it is real" {
			t.Fatalf("%s %q %v", d.State, d.Reason, err)
		}
		if d, err = p.Contain(ctxb, a, kind, "cli:dave", nil); err != nil || d.State != Proposed {
			t.Fatalf("%s %q %v", d.State, d.Reason, err)
		}
	})
}

// What a playbook only observed, or what came to nothing, can be asked for by a
// person; what waits or is in force is one request.
func TestContainAfterADryRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.start([]Destination{{Notifier: w.chat("slack")}}, func(o *DispatcherOptions) { o.Playbooks = DefaultPlaybooks() })
		defer p.stop()
		a := w.leaked("a1")
		p.give(t, 1, a)
		time.Sleep(time.Second)
		first, err := p.m.ForAlert(ctxb, "a1")
		if err != nil || len(first) != 1 || first[0].State != Observed {
			t.Fatalf("%+v %v", first, err)
		}
		if offers, err := p.Offers(ctxb, "a1"); err != nil || len(offers) != 1 || offers[0].ID == first[0].ID {
			t.Fatalf("%+v %v, want the key offered", offers, err)
		}
		d, err := p.Contain(ctxb, a, kind, "cli:dave", nil)
		if err != nil || d.State != Proposed || d.ID == first[0].ID {
			t.Fatalf("%s %s %v", d.State, d.Reason, err)
		}
		if again, err := p.Contain(ctxb, a, kind, "slack:UCAROL", nil); err != nil || again.ID != d.ID || again.Action.Requester != "cli:dave" {
			t.Fatalf("%+v %v, want the one that waits", again, err)
		}
		if offers, err := p.Offers(ctxb, "a1"); err != nil || len(offers) != 0 {
			t.Fatalf("%+v %v, want none while it waits", offers, err)
		}
		if _, err := p.m.Deny(ctxb, d.ID, "slack:UCAROL", "not now"); err != nil {
			t.Fatal(err)
		}
		next, err := p.Contain(ctxb, a, kind, "cli:dave", nil)
		if err != nil || next.State != Proposed || next.ID == d.ID {
			t.Fatalf("%s %v", next.State, err)
		}
		if _, err := p.m.Approve(ctxb, next.ID, "slack:UCAROL", next.Hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" || w.cloud.count("Execute") != 1 {
			t.Fatal("not contained once")
		}
		if done, err := p.Contain(ctxb, a, kind, "cli:dave", nil); err != nil || done.ID != next.ID {
			t.Fatalf("%+v %v, want what was done", done, err)
		}
	})
}

// In mode observe nobody gets anything done.
func TestContainIsBoundByTheMode(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.startWith(nil, func(o *MachineOptions) { o.MaxMode = Observe })
		defer p.stop()
		time.Sleep(time.Second)
		if _, err := p.Contain(ctxb, w.leaked("a1"), kind, "cli:dave", nil); !errors.Is(err, ErrNotAllowed) {
			t.Fatal(err)
		}
	})
}

// finder is a cloud that knows whose key it is.
type finder struct {
	*keyFacts

	user string
	lost error
	n    int
}

func (f *finder) KeyOwner(context.Context, ActionTarget) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.user, f.lost
}

// A finding names a key and nobody. Whose key it is the cloud says, once; where it
// does not, nothing is done, and people hear why.
func TestFindingOfALeakedKey(t *testing.T) {
	found := func(w *world) alert.Alert {
		a := w.leaked("a1")
		a.Rule, a.Outcome, a.Actor, a.Playbook = "ak.leak_finding", "success", alert.Actor{}, "found-key"
		a.TargetKey, a.Target = aliceAK, &alert.Target{Type: "accesskey", ID: aliceAK, Name: aliceAK}
		return a
	}
	auto := func(o *DispatcherOptions) {
		o.Playbooks = MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "found-key", Mode: Auto}})
	}
	t.Run("found", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			slack, keys := w.chat("slack"), &finder{keyFacts: &keyFacts{}, user: "alice"}
			edit := func(o *DispatcherOptions) { auto(o); o.Keys = keys }
			p := w.start([]Destination{{Notifier: slack}}, edit)
			p.give(t, 1, found(w))
			after(time.Minute)
			p.stop()
			p = w.start([]Destination{{Notifier: slack}}, edit)
			defer p.stop()
			again := found(w)
			again.Revision, again.Count = 2, 2
			p.give(t, 2, again)
			after(time.Minute)
			if w.cloud.status(aliceAK) != "Inactive" {
				t.Error("not contained")
			}
			if as := slack.of("a1")[0].last.Actions; len(as) != 1 || as[0].State != Done || !strings.Contains(as[0].Describe, "alice") {
				t.Errorf("%+v", as)
			}
			if keys.n != 1 {
				t.Errorf("the cloud was asked %d times", keys.n)
			}
		})
	})
	// Who takes a key from the recycle bin names its owner by an id.
	t.Run("an owner known by an id", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			slack, keys := w.chat("slack"), &finder{keyFacts: &keyFacts{}, user: "alice"}
			p := w.start([]Destination{{Notifier: slack}}, auto, func(o *DispatcherOptions) { o.Keys = keys })
			defer p.stop()
			a := found(w)
			a.Target = &alert.Target{Type: "user", ID: "user/" + account + "/id:200000000000000001", Name: "200000000000000001"}
			p.give(t, 1, a)
			after(time.Minute)
			if w.cloud.status(aliceAK) != "Inactive" {
				t.Errorf("not contained: %+v", slack.of("a1")[0].last.Actions)
			}
		})
	})
	for name, keys := range map[string]KeyInformer{"not found": &finder{keyFacts: &keyFacts{}, lost: errors.New("EntityNotExist.User")}, "nobody to ask": &keyFacts{}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				p := w.start([]Destination{{Notifier: slack}}, auto, func(o *DispatcherOptions) { o.Keys = keys })
				defer p.stop()
				p.give(t, 1, found(w))
				after(time.Minute)
				if w.cloud.count("Execute") != 0 || len(slack.byRule(RuleActionRefused)) != 1 {
					t.Errorf("%d calls, %d refusals told", w.cloud.count("Execute"), len(slack.byRule(RuleActionRefused)))
				}
			})
		})
	}
}
