package account

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// How a user can sign in is kept in an entry of its own: the ids of active
// AccessKeys are its links; used says that it is known whether there is a
// second factor, created that there is one.

func (e *entry) mfaKnown(has bool) { e.used, e.created = true, has }

// signIn learns of AccessKeys and second factors. Whoever has keys and no
// second factor is one stolen text away from what they may do.
func (c *call) signIn() {
	user := c.name("UserName", "UserPrincipalName")
	if user == "" && c.ev.Actor.Type == event.RAMUser && c.ev.Actor.Account == c.account {
		user = c.ev.Actor.Name // without a name these calls are about the caller
	}
	if len(user) > maxName {
		return
	}
	user = strings.Clone(user)
	key := strings.Clone(c.ev.Target.Key)
	if len(key) > maxName {
		return
	}
	switch c.ev.Action {
	case event.ActIAMAccessKeyCreate:
		c.activeKey(user, key, true)
	case event.ActIAMAccessKeyUpdate:
		switch {
		case strings.EqualFold(c.param("Status"), "Active"):
			c.activeKey(user, key, true)
		case strings.EqualFold(c.param("Status"), "Inactive"):
			c.keyGone(user, key, true)
		}
	case event.ActIAMAccessKeyDelete:
		e := c.j.get(kindSignIn, c.account, user)
		c.keyGone(user, key, e != nil && slices.Contains(e.links, key))
	case event.ActIAMAccessKeyPurge:
		c.activeKey(user, key, false)
	case event.ActIAMMFABind:
		c.takeOver()
		c.apply(kindSignIn, user, func(e *entry) { e.mfaKnown(true) })
	case event.ActIAMMFAUnbind, event.ActIAMMFAVirtualDisable:
		c.apply(kindSignIn, user, func(e *entry) { e.mfaKnown(false) })
	}
}

func (c *call) activeKey(user, key string, on bool) {
	if key == "" {
		return
	}
	c.apply(kindSignIn, user, func(e *entry) {
		if on {
			e.link(key)
		} else {
			e.unlink(key)
		}
	})
}

// keyGone notes that a user may not use a key any more, which was in force. When it
// is somebody else's and no other is known, the user has none: what rotates keys
// makes the new one first.
func (c *call) keyGone(user, key string, was bool) {
	c.activeKey(user, key, false)
	if e := c.j.get(kindSignIn, c.account, user); was && c.done && (e == nil || len(e.links) == 0) && !detectors.TargetsSelf(c.ev) {
		c.facts.LockedOut = 1
	}
}

// newUser notes a user that was made before our eyes: without keys and without
// a second factor.
func (c *call) newUser(name string) {
	c.create(kindUser, name)
	c.apply(kindSignIn, name, func(e *entry) {
		*e = entry{complete: true, changed: e.changed}
		e.mfaKnown(false)
	})
}

// takeOver judges that somebody else's sign-in is made, switched on or gets a
// new password, second factor, phone or mail: who knows or holds that may do what the user may. The
// severity of a password is less for whoever set those of others on three earlier
// days, which is a help desk's work, unless the user is known to be privileged.
func (c *call) takeOver() {
	t := &c.ev.Target
	if detectors.TargetsSelf(c.ev) {
		return
	}
	if a := c.ev.Action; (a == event.ActIAMVerificationSet || a == event.ActIAMMFABind) && c.firstFactor() {
		return
	}
	if t.Type == kindUser {
		p := c.reach(kindUser, t.Name)
		c.facts.AdminEquivalent, c.facts.Privileged = p.Admin, p.Privileged
	}
	if a := c.ev.Action; a != event.ActSSOPasswordReset && (a != event.ActIAMLoginProfileUpdate || c.param("Password") == "") {
		return
	}
	by, today := "reset "+c.ev.Actor.ID, c.ev.Time.UTC().Format(time.DateOnly)
	if e := c.j.get(kindResource, c.account, by); e != nil && !c.facts.Privileged {
		if days := len(e.links); days > 3 || days == 3 && e.links[2] != today {
			c.facts.Severity = "medium"
		}
	}
	c.apply(kindResource, by, func(e *entry) { e.link(today) })
}

// firstFactor says whether a user who was made before our eyes, and has no second
// factor yet, gets the first one, phone or mail: that is how people begin. What the
// same caller adds on that day belongs to it.
func (c *call) firstFactor() bool {
	user, by := c.name("UserName", "UserPrincipalName"), c.ev.Actor.ID+" "+c.ev.Time.UTC().Format(time.DateOnly)
	e := c.j.get(kindSignIn, c.account, user)
	first := e != nil && e.complete && e.used && !e.created && (e.inForce == "" || e.inForce == by)
	c.apply(kindSignIn, user, func(e *entry) { e.inForce = by[:min(len(by), maxName)] })
	return first
}

// keyNetworks judges that the networks change from which a key may be used, and
// remembers them. Only what is far from all networks known before is told: those of
// the key, and those that other keys of the account are bound to.
func (c *call) keyNetworks() {
	var p struct {
		Status     string
		Statements []struct{ IPList []string }
	}
	body := c.text("AccessKeyPolicy")
	name := c.ev.Target.Key
	if name == "" || len(name) > maxName || len(body) > rampolicy.MaxText || json.Unmarshal([]byte(body), &p) != nil {
		return
	}
	var now []string
	for _, s := range p.Statements {
		now = append(now, s.IPList...)
	}
	now = slices.DeleteFunc(now, func(n string) bool { return p.Status != "Active" || !network(n).IsValid() })
	var before, known []string
	name = "key networks " + name
	if e := c.j.get(kindResource, c.account, name); e != nil {
		before = slices.Clone(e.links)
	}
	if e := c.j.get(kindResource, c.account, "key networks"); e != nil && len(before) > 0 {
		known = e.links
	}
	var added []string
	for _, n := range now {
		if x := network(n); len(known) > 0 && !slices.ContainsFunc(known, func(old string) bool { return near(x, network(old)) }) {
			added = append(added, n)
			c.facts.Networks = append(c.facts.Networks, x.Addr().String())
		}
	}
	if len(added) > 0 {
		c.facts.Known, c.facts.Verdict, c.facts.Expands, c.facts.Summary = true, string(rampolicy.Expands), true, "a key may be used from elsewhere"
		c.say("it may be used from "+window.List(added, 3)+" too, far from "+window.List(before, 3), "新增允许来源 "+window.ListZH(added, 3)+"，与原有的 "+window.ListZH(before, 3)+" 相距甚远")
	}
	c.apply(kindResource, name, func(e *entry) { e.links = nil })
	for _, n := range now {
		link := func(e *entry) { e.link(n) }
		c.apply(kindResource, name, link)
		c.apply(kindResource, "key networks", link)
	}
}

// network reads an address or a network; one of everything is none.
func network(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, _ := netip.ParseAddr(s)
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen())
	}
	if p.Bits() < 4 {
		return netip.Prefix{}
	}
	return p.Masked()
}

// near says whether two networks share their first half: 16 bits of IPv4, 32 of
// IPv6's that are routed.
func near(a, b netip.Prefix) bool {
	bits := 16
	if a.Addr().Is6() {
		bits = 32
	}
	return netip.PrefixFrom(b.Addr(), min(bits, b.Bits())).Masked().Overlaps(a)
}

// bare says whether a user is known to have an active AccessKey and no second
// factor.
func (c *call) bare(user string) bool {
	e := c.j.get(kindSignIn, c.account, user)
	return e != nil && e.used && !e.created && len(e.links) > 0
}

// exposed returns a user, of a principal or a member of it, who is bare; ""
// when none is known.
func (c *call) exposed(kind, name string) string {
	switch kind {
	case kindUser:
		if c.bare(name) {
			return name
		}
	case kindGroup:
		if e := c.j.get(kindGroup, c.account, name); e != nil {
			members := slices.Clone(e.links)
			slices.Sort(members)
			for _, m := range members {
				if u := lastPart(m); c.bare(u) {
					return u
				}
			}
		}
	}
	return ""
}

// mayAssume says whether the caller can become a role and gains by what the
// role gets: whether the role's trust lets the caller in, by name or as anybody
// of the account who may assume it, and the caller may not do all of that
// already, as far as is known.
func (c *call) mayAssume(role string, gained *rampolicy.Document) bool {
	a := &c.ev.Actor
	kind, name := "", a.Name
	switch a.Type {
	case event.RAMUser:
		kind = kindUser
	case event.AssumedRole:
		kind, name = kindRole, a.Role
	}
	e := c.j.get(kindRole, c.account, role)
	if kind == "" || name == "" || e == nil || gained == nil {
		return false
	}
	trust := c.j.read(e.trust).doc
	if trust == nil {
		return false
	}
	fold := rampolicy.Reading{FoldResource: true}
	in := &rampolicy.Request{Action: "sts:AssumeRole", Principal: "ram:" + c.account + ":" + kind + "/" + name, Context: map[string]string{"acs:mfapresent": "true"}}
	if trust.Decide(in, fold) != rampolicy.Allowed {
		return false
	}
	h := c.holds(kind, name)
	may := rampolicy.Merge(h.docs()...)
	if !c.named(trust, in.Principal) {
		out := &rampolicy.Request{Action: "sts:AssumeRole", Resource: "acs:ram::" + c.account + ":role/" + role, Context: in.Context}
		other := *out
		other.Resource = "acs:ram:*:" + c.account + ":role/" + role
		if may.Decide(out, fold) != rampolicy.Allowed && may.Decide(&other, fold) != rampolicy.Allowed {
			return false
		}
	}
	switch rampolicy.Compare(may, rampolicy.Merge(may, gained), rampolicy.Identity) {
	case rampolicy.Expands, rampolicy.Changes, rampolicy.Unknown:
		return true
	}
	return false
}

// named says whether an Allow of a trust policy names a principal.
func (c *call) named(trust *rampolicy.Document, canonical string) bool {
	if trust == nil {
		return false
	}
	for _, s := range trust.Statements {
		for _, p := range s.Principals {
			if !s.Deny && strings.EqualFold(rampolicy.CanonicalPrincipal(p), canonical) {
				return true
			}
		}
	}
	return false
}

// reason is why a change is graver, or less grave, than what it allows.
type reason struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// raised returns why a change is one step graver than what it allows.
func (c *call) raised() []reason {
	var out []reason
	if c.facts.Self {
		out = append(out, reason{"one step graver: the caller gains by it", "严重程度上调一级:操作者本人因此获益"})
	}
	if c.ownRole != "" {
		r := window.Show(c.ownRole)
		out = append(out, reason{"one step graver: the caller may assume role " + r + ", which gains by it", "严重程度上调一级:操作者可扮演获益角色 " + r})
	}
	if c.bareUser != "" {
		u := window.Show(c.bareUser)
		out = append(out, reason{"one step graver: user " + u + ", who gains by it, has an active AccessKey and no MFA",
			"严重程度上调一级:获益用户 " + u + " 持有启用的 AccessKey 且未绑定 MFA"})
	}
	if c.wide {
		out = append(out, reason{"one step graver: more than 10 identities hold the policy", "严重程度上调一级:持有该策略的身份超过 10 个"})
	}
	return out
}
