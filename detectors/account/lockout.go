package account

import (
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// maxLocked bounds how many users are looked at after one call: a few say
// enough, and each costs two analyses.
const maxLocked = 50

// locking judges a call by which many may lose what they have, as f does, and
// says how many users besides the caller were administrators before it and keep
// nothing of the kind. Behind a role that a SAML provider lets in are people, too.
// A reorganisation leaves people with power, by another group or policy; whoever
// locks others out does not.
func (c *call) locking(f func()) {
	var lost []string
	unseen, whose := "", kindGroup
	if c.done {
		for _, h := range c.concerned() {
			kind, name, _ := strings.Cut(h, " ")
			users := []string{name}
			if kind != kindUser {
				users = nil
				e := c.j.get(kind, c.account, name)
				if e != nil && kind == kindGroup {
					users = e.links
				}
				people := kind == kindGroup && (e == nil || !e.complete) || e != nil && strings.Contains(e.trust.String(), ":saml-provider/")
				if len(users) == 0 && people && c.reach(kind, name).Admin {
					unseen, whose = name, kind
				}
			}
			for _, u := range users {
				u = lastPart(u)
				if len(lost) < maxLocked && !slices.Contains(lost, u) && !c.self(kindUser, u) && c.reach(kindUser, u).Admin {
					lost = append(lost, u)
				}
			}
		}
	}
	f()
	lost = slices.DeleteFunc(lost, func(u string) bool { return c.powerful(kindUser, u) })
	switch en, zh := who(whose, unseen); {
	case len(lost) > 0:
		c.facts.LockedOut = len(lost)
		c.say(window.List(lost, 5)+" had an administrator's rights and are left with none", window.ListZH(lost, 5)+" 原为管理员，现已失去权限")
	case unseen != "" && !c.powerful(whose, unseen):
		c.facts.LockedOut = -1
		c.say(en+" had an administrator's rights and lost them; how many people that is was not seen", zh+" 原等同管理员，现已失去权限；涉及多少人未知")
	}
}

// concerned returns whose rights a call may change.
func (c *call) concerned() []string {
	switch c.ev.Action {
	case event.ActIAMPolicyDelete:
		if !isTrue(c.param("CascadingDelete")) {
			return nil // nobody has what the service deletes
		}
		fallthrough
	case event.ActIAMPolicyVersionCreate, event.ActIAMPolicyVersionSetDefault:
		return c.holders(c.param("PolicyName"))
	}
	kind, name := c.principal()
	c.readScope()
	a, typ := c.attachment()
	switch doc, _ := c.policy(a, typ); {
	case c.ev.Action == event.ActIAMPolicyAttach:
		if doc == nil || !doc.HasDeny() {
			return nil
		}
	case kind == kindUser:
		return nil // see stripped
	default:
		// What is taken away was there.
		c.apply(kind, name, func(e *entry) { e.attach(a) })
	}
	return []string{kind + " " + name}
}

// reach is how far somebody gets in the whole account. It is not inlined, for its
// size (DESIGN D23).
//
//go:noinline
func (c *call) reach(kind, name string) rampolicy.Power {
	return rampolicy.PowerOf(rampolicy.Merge(c.held(kind, name)...), c.account)
}

// powerful says whether somebody has a way to power in the whole account, or
// something that is not known.
func (c *call) powerful(kind, name string) bool {
	return len(c.holds(kind, name).missing) > 0 || c.reach(kind, name).Privileged
}
