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
// nothing of the kind. A reorganisation leaves people with power, by another
// group or policy; whoever locks others out does not.
func (c *call) locking(f func()) {
	var lost []string
	unseen := ""
	if c.done {
		for _, h := range c.concerned() {
			kind, name, _ := strings.Cut(h, " ")
			users := []string{name}
			if kind == kindGroup {
				users = nil
				e := c.j.get(kind, c.account, name)
				if e != nil {
					users = e.links
				}
				if len(users) == 0 && (e == nil || !e.complete) && c.reach(kind, name).Admin {
					unseen = name
				}
			}
			for _, u := range users {
				u = lastPart(u)
				if kind != kindRole && len(lost) < maxLocked && !slices.Contains(lost, u) && !c.self(kindUser, u) && c.reach(kindUser, u).Admin {
					lost = append(lost, u)
				}
			}
		}
	}
	f()
	lost = slices.DeleteFunc(lost, func(u string) bool { return c.powerful(kindUser, u) })
	switch shown := window.Show(unseen); {
	case len(lost) > 0:
		c.facts.LockedOut = len(lost)
		c.say(window.List(lost, 5)+" had an administrator's rights and are left with none", window.ListZH(lost, 5)+" 原为管理员，现已失去权限")
	case unseen != "" && !c.powerful(kindGroup, unseen):
		c.facts.LockedOut = -1
		c.say("the members of group "+shown+", who were not seen, had an administrator's rights by it and are left without them", "用户组 "+shown+" 的成员（名单未见过）原因此等同管理员，现已失去权限")
	}
}

// concerned returns whose rights a call may change.
func (c *call) concerned() []string {
	if a := c.ev.Action; a != event.ActIAMPolicyAttach && a != event.ActIAMPolicyDetach {
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
	case kind != kindGroup:
		return nil // one user; see stripped
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
