package replay

import "github.com/trailwarden/trailwarden/detectors"

// unordered is a rule set of which only the rules without state can match:
// what is evaluated with it leaves no ordered work to the engine.
type unordered struct {
	detectors.RuleSet
	rules   []detectors.Rule // Policy unset: nothing is put off
	ordered []bool           // by rule number
}

func newUnordered(set detectors.RuleSet) *unordered {
	u := &unordered{RuleSet: set}
	for _, r := range set.Rules() {
		u.ordered = append(u.ordered, r.New != nil || r.Policy)
		r.Policy = false
		u.rules = append(u.rules, r)
	}
	return u
}

func (u *unordered) Rules() []detectors.Rule { return u.rules }

func (u *unordered) NewSession() detectors.Session {
	return unorderedSession{u.RuleSet.NewSession(), u.ordered}
}

type unorderedSession struct {
	detectors.Session
	ordered []bool
}

func (s unorderedSession) Match(rule int) (bool, error) {
	if s.ordered[rule] {
		return false, nil
	}
	return s.Session.Match(rule)
}
