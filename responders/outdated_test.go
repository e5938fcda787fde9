package responders

import (
	"testing"
	"time"
)

// What is refused for its evidence is proposed again only by a playbook, only for
// better evidence, and not for ever; nothing else is.
func TestOutdated(t *testing.T) {
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	evidence := evidenceGuard{}.Name() + ": the call was refused"
	fresh := freshGuard{}.Name() + ": too old"
	base := func(reason string) (*record, Action) {
		old := &record{Reason: reason, Action: Action{Requester: requesterPlaybook, Evidence: Evidence{Outcome: "attempt", Time: at}}}
		old.State = Refused
		return old, Action{Requester: requesterPlaybook, Again: maxAgain - 1, Evidence: Evidence{Outcome: "success", Time: at.Add(time.Second)}}
	}
	for _, c := range []struct {
		name   string
		reason string
		edit   func(old *record, a *Action)
		want   bool
	}{
		{"it succeeded", evidence, func(*record, *Action) {}, true},
		{"it goes on", fresh, func(*record, *Action) {}, true},
		{"refused for another reason", capGuard{}.Name() + ": the cap is reached", func(*record, *Action) {}, false},
		{"not refused", evidence, func(old *record, _ *Action) { old.State = Denied }, false},
		{"asked for by a person", evidence, func(_ *record, a *Action) { a.Requester = "cli:ann" }, false},
		{"often enough", evidence, func(_ *record, a *Action) { a.Again = maxAgain }, false},
		{"refused again", evidence, func(_ *record, a *Action) { a.Evidence.Outcome = "attempt" }, false},
		{"succeeded before", evidence, func(old *record, _ *Action) { old.Action.Evidence.Outcome = "success" }, false},
		{"no later", fresh, func(_ *record, a *Action) { a.Evidence.Time = at }, false},
	} {
		old, a := base(c.reason)
		c.edit(old, &a)
		if got := outdated(old, a); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
