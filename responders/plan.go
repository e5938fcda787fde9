package responders

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Units names organisation units: each has accounts, ids or globs. A name
// with slashes is a unit within a unit: "prod/payments" is part of "prod".
type Units map[string][]string

// hold says whether an account is in one of the named units or below them.
func (u Units) hold(names []string, account string) bool {
	for unit, accounts := range u {
		if !globAny(accounts, account) {
			continue
		}
		for _, n := range names {
			if strings.EqualFold(n, unit) || hasPrefixFold(unit, n+"/") {
				return true
			}
		}
	}
	return false
}

// Has says whether a name means anything: a unit, or one above others.
func (u Units) Has(name string) bool {
	for unit := range u {
		if strings.EqualFold(name, unit) || hasPrefixFold(unit, name+"/") {
			return true
		}
	}
	return false
}

var labels = map[string]func(*alert.Alert) []string{
	"actor":       func(a *alert.Alert) []string { return []string{a.Actor.Name, a.Actor.ID} },
	"actor_type":  func(a *alert.Alert) []string { return []string{a.Actor.Type} },
	"attack":      func(a *alert.Alert) []string { return a.Attack },
	"event":       func(a *alert.Alert) []string { return []string{detail(a, "event")} },
	"outcome":     func(a *alert.Alert) []string { return []string{a.Outcome} },
	"region":      func(a *alert.Alert) []string { return []string{detail(a, "region")} },
	"source_ip":   func(a *alert.Alert) []string { return []string{a.SourceIP} },
	"target":      func(a *alert.Alert) []string { return []string{orEmpty(a.Target).Name, orEmpty(a.Target).ID} },
	"target_type": func(a *alert.Alert) []string { return []string{orEmpty(a.Target).Type} },
}

// labelNames lists the facts of an alert that playbooks can ask for, sorted.
func labelNames() []string { return slices.Sorted(maps.Keys(labels)) }

func label(a *alert.Alert, name string) []string {
	if f := labels[name]; f != nil {
		return f(a)
	}
	return nil
}

func orEmpty(t *alert.Target) alert.Target {
	if t == nil {
		return alert.Target{}
	}
	return *t
}

func detail(a *alert.Alert, name string) string {
	s, _ := a.Details[name].(string)
	return s
}

// called is a parameter of the call that the alert is about, as rules note it
// under details.call; "" when it is not there.
func called(a *alert.Alert, name string) string {
	m, _ := a.Details["call"].(map[string]any)
	s, _ := m[name].(string)
	return s
}

// previousVersion is the version of a policy that was in force before the
// call; the judge of permissions knows it.
func previousVersion(a *alert.Alert) string {
	m, _ := a.Details["policy"].(map[string]any)
	s, _ := m["previous_version"].(string)
	return s
}

// targets lists what one step of a playbook acts on, as the alert names it.
// Parameters that the playbook sets win over those of the alert.
func targets(step PlaybookAction, a *alert.Alert) []ActionTarget {
	about := kindAbout(step.Kind)
	var out []ActionTarget
	with := func(t ActionTarget, params ...string) {
		for i := 0; i+1 < len(params); i += 2 {
			if params[i+1] != "" {
				if t.Params == nil {
					t.Params = map[string]string{}
				}
				t.Params[params[i]] = params[i+1]
			}
		}
		if len(step.Params) > 0 {
			if t.Params == nil {
				t.Params = map[string]string{}
			}
			maps.Copy(t.Params, step.Params)
		}
		out = append(out, t)
	}
	plain := ActionTarget{AccountID: a.AccountID}
	switch {
	case step.Kind == KindStartTrail:
		with(plain, "trail", called(a, "trail"), "region", detail(a, "region"))
	case step.Kind == KindSetPolicyVersion:
		with(plain, "policy_name", called(a, "policy_name"), "version_id", previousVersion(a))
	case step.Kind == KindDetachPolicy:
		t := named(step.Key, a)
		group := called(a, "group")
		if group != "" {
			t = plain
		}
		t.AccessKeyID = ""
		with(t, "policy_type", called(a, "policy_type"), "policy_name", called(a, "policy_name"), "group", group)
	case step.Kind == KindRemoveFromGroup:
		t := named(step.Key, a)
		t.AccessKeyID = ""
		with(t, "group", called(a, "group"))
	case about&AboutKey == 0 && about&nobody != 0 && about&(AboutUser|AboutRole) == 0:
		with(plain)
	case about&AboutKey == 0:
		t := named(step.Key, a)
		if t.PrincipalType == "" {
			break // the alert is about nobody: a rule glob reached further than the playbook
		}
		t.AccessKeyID = "" // one identity is one target, whichever key was seen
		with(t)
	case step.Key == TargetKey:
		t := targetTarget(a)
		if t.AccessKeyID == "" && t.UserName == "" {
			break
		}
		with(t)
	default:
		t := actorTarget(a)
		with(t)
		// The same intruder may hold several keys of one user.
		for _, key := range seenKeys(a) {
			if key != t.AccessKeyID {
				more := t
				more.AccessKeyID = key
				with(more)
			}
		}
	}
	return out
}

func named(key KeyOf, a *alert.Alert) ActionTarget {
	if cmp.Or(key, ActorKey) == TargetKey {
		return targetTarget(a)
	}
	return actorTarget(a)
}
