package account

import (
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// apply changes what is known, unless the call failed. It stands in every act, so
// it is not inlined (DESIGN D23).
//
//go:noinline
func (c *call) apply(kind, name string, f func(*entry)) {
	if c.done && name != "" {
		c.j.change(kind, c.account, name, c.ev.Time, f)
	}
}

// create notes a principal that was made before our eyes: nothing is attached
// to it yet.
func (c *call) create(kind, name string) {
	c.apply(kind, name, func(e *entry) {
		*e = entry{complete: true, created: true, trust: e.trust, changed: e.changed}
	})
}

func (c *call) remove(kind, name string) {
	if !c.done || name == "" {
		return
	}
	if e := c.j.get(kind, c.account, name); e != nil && kind == kindGroup {
		for _, member := range slices.Clone(e.links) {
			c.j.change(kindUser, c.account, lastPart(member), c.ev.Time, func(u *entry) { u.unlink(event.ActorID(kindGroup, c.account, name)) })
		}
	}
	c.j.forget(kind, c.account, name, c.ev.Time)
}

func (c *call) renameGroup() {
	from, to := c.name("GroupName", "GroupPrincipalName"), c.name("NewGroupName", "NewGroupPrincipalName")
	old := c.j.get(kindGroup, c.account, from)
	if !c.done || old == nil || to == "" || strings.EqualFold(from, to) {
		return
	}
	moved := old.apart()
	before, after := event.ActorID(kindGroup, c.account, from), event.ActorID(kindGroup, c.account, to)
	for _, member := range moved.links {
		c.j.change(kindUser, c.account, lastPart(member), c.ev.Time, func(u *entry) { u.unlink(before); u.link(after) })
	}
	c.j.forget(kindGroup, c.account, from, c.ev.Time)
	c.apply(kindGroup, to, func(e *entry) { *e = moved })
}

// renameUser moves what is known of a user to the new name.
func (c *call) renameUser() {
	from, to := c.name("UserName", "UserPrincipalName"), c.name("NewUserName", "NewUserPrincipalName")
	old := c.j.get(kindUser, c.account, from)
	if !c.done || old == nil || to == "" || strings.EqualFold(from, to) {
		return
	}
	moved := old.apart()
	before, after := event.ActorID(kindUser, c.account, from), event.ActorID(kindUser, c.account, to)
	for _, group := range moved.links {
		c.j.change(kindGroup, c.account, lastPart(group), c.ev.Time, func(g *entry) { g.unlink(before); g.link(after) })
	}
	c.j.forget(kindUser, c.account, from, c.ev.Time)
	c.apply(kindUser, to, func(e *entry) { *e = moved })
	if e := c.j.get(kindSignIn, c.account, from); e != nil {
		ways := e.apart()
		c.j.forget(kindSignIn, c.account, from, c.ev.Time)
		c.apply(kindSignIn, to, func(e *entry) { *e = ways })
	}
}

// forgetUser drops what is known of a user, who may come back with all of it,
// some of it or none.
func (c *call) forgetUser() {
	name := c.name("UserName", "UserPrincipalName")
	if !c.done || name == "" {
		return
	}
	if e := c.j.get(kindUser, c.account, name); e != nil {
		for _, group := range slices.Clone(e.links) {
			c.j.change(kindGroup, c.account, lastPart(group), c.ev.Time, func(g *entry) { g.unlink(event.ActorID(kindUser, c.account, name)) })
		}
	}
	c.j.forget(kindUser, c.account, name, c.ev.Time)
	c.j.forget(kindSignIn, c.account, name, c.ev.Time)
}

func (c *call) createPolicy() {
	name, text := c.param("PolicyName"), c.text("PolicyDocument")
	doc := c.parse(keep(text), "the document")
	if doc == nil {
		c.unknown("a policy "+window.Show(name)+" was made whose document the event does not carry in readable form",
			"新建了策略 "+window.Show(name)+"，日志中没有可读的策略内容")
	} else {
		c.own.Policies = []string{name}
		c.diff(nil, doc, rampolicy.Options{Who: "whoever gets policy " + window.Show(name), WhoZH: "获得策略 " + window.Show(name) + " 的身份"})
		c.gain(doc, nil, nil)
	}
	c.facts.Staged = true
	c.note("the policy is attached to nobody yet")
	c.apply(kindPolicy, name, func(e *entry) {
		*e = entry{created: true, changed: e.changed}
		if len(text) <= rampolicy.MaxText && text != "" {
			e.put("v1", text)
			e.inForce = "v1"
		}
	})
}

func isTrue(v string) bool { return strings.EqualFold(v, "true") || v == "1" }

func (c *call) createVersion() {
	name, text := c.param("PolicyName"), c.text("PolicyDocument", "NewPolicyDocument")
	update := strings.EqualFold(c.ev.NameFold, "updatepolicyversion")
	inForce := isTrue(c.param("SetAsDefault"))
	e := c.j.get(kindPolicy, c.account, name)
	id, _ := c.ev.Response("PolicyVersion.VersionId")
	if update && id == "" {
		id = c.param("VersionId")
		inForce = e != nil && e.inForce != "" && e.inForce == id
	}
	if id == "" || len(id) > maxName {
		// Without a known version the number is a guess, but the text counts.
		id = (&entry{}).nextID()
		if e != nil {
			id = e.nextID()
		}
	}
	doc := c.parse(keep(text), "the document")
	var old *rampolicy.Document
	if e != nil && e.inForce != "" {
		old = c.parse(e.text(e.inForce), "the version before")
	}
	c.switched(name, old, doc, e)
	if e != nil && inForce && e.inForce != id {
		c.before = e.inForce
	}
	c.facts.Staged = !inForce
	if c.facts.Staged {
		c.note("the version is stored and not in force")
		c.facts.DenyRemoved = false
	}
	c.apply(kindPolicy, name, func(e *entry) {
		if text == "" || len(text) > rampolicy.MaxText {
			if inForce {
				e.inForce = ""
			}
			return
		}
		if inForce {
			// Rotation drops the oldest that is not in force now.
			e.put(id, text)
			e.inForce = strings.Clone(id)
			return
		}
		e.put(id, text)
	})
}

// switched judges that another text comes into force.
func (c *call) switched(name string, old, doc *rampolicy.Document, e *entry) {
	shown := window.Show(name)
	opts := rampolicy.Options{Who: "whoever holds policy " + shown, WhoZH: "策略 " + shown + " 的持有者"}
	c.own.Policies = []string{name}
	c.facts.Self = c.holdsPolicy(name)
	if c.facts.Self {
		opts.Who, opts.WhoZH = "whoever holds policy "+shown+", the caller too,", "策略 "+shown+" 的持有者(包括操作者本人)"
	}
	switch {
	case doc == nil:
		c.j.want(c.account, attachment{name: strings.ToLower(name), shown: name})
		c.unknown("policy "+shown+" changed to a text that was never seen", "策略 "+shown+" 已改为从未见过的内容")
	case old == nil:
		c.j.want(c.account, attachment{name: strings.ToLower(name), shown: name})
		// Compared with nothing, as if all of it were new.
		c.diff(nil, doc, opts)
		c.gain(doc, nil, nil)
		if c.facts.Expands {
			c.facts.Verdict = string(rampolicy.Unknown)
			c.more("; the version before was not seen, so some of it may not be new", "；未见过此前的版本，其中可能有并非新增的内容")
		}
		c.partly = true
	default:
		c.diff(old, doc, opts)
		c.gain(doc, nil, nil)
		if was := rampolicy.PowerOf(old, c.account); was.Admin {
			// It was one before: nothing is gained by staying one.
			c.facts.AdminEquivalent = c.facts.AdminEquivalent && c.facts.Expands
		}
		c.facts.DenyRemoved = denyRemoved(old, doc)
		if c.facts.Expands && !c.facts.DenyRemoved && c.nobodyGains(name, old, doc, e) {
			c.facts.Verdict, c.facts.Expands, c.facts.AdminEquivalent, c.facts.Privileged = string(rampolicy.Equivalent), false, false, false
			c.facts.Severity = rampolicy.Info.String()
			c.note("the document allows more; whoever holds it may do all of that by other policies already")
		}
	}
	held := c.holders(name)
	switch {
	case len(held) > 0:
		c.note("held by " + window.List(held, 5) + ", as far as was seen")
		if c.facts.Expands {
			c.reached(held)
		}
	case e != nil && e.created && !e.used && c.facts.Known:
		c.note("no attachment of the policy has been seen")
		if c.facts.Expands && !c.facts.Staged && c.j.table.Evicted() == 0 {
			c.facts.Severity = rampolicy.Low.String()
			c.more("; no attachment of the policy was seen", "；未见过该策略的授予记录")
		}
	}
}

// reached notes what is known of those who hold a policy: whether they are
// many, the members of groups counted, and whether one of them has keys and no
// second factor.
func (c *call) reached(held []string) {
	who := map[string]bool{}
	for _, w := range held {
		kind, name, _ := strings.Cut(w, " ")
		if c.bareUser == "" {
			c.bareUser = c.exposed(kind, name)
		}
		e := c.j.get(kindGroup, c.account, name)
		if kind != kindGroup || e == nil || len(e.links) == 0 {
			who[w] = true
			continue
		}
		for _, m := range e.links {
			who[kindUser+" "+lastPart(m)] = true
		}
	}
	c.wide = len(who) > manyHolders
}

// nobodyGains says whether it is certain that everybody who holds a policy may
// do already what its new text allows: everybody is known, and all of what
// they have.
func (c *call) nobodyGains(name string, old, doc *rampolicy.Document, e *entry) bool {
	if e == nil || !e.created || c.j.table.Evicted() > 0 || old.HasDeny() {
		return false
	}
	held := c.holders(name)
	for _, w := range held {
		kind, who, _ := strings.Cut(w, " ")
		h := c.holds(kind, who)
		if !h.complete || len(h.missing) > 0 {
			return false
		}
		for _, scope := range h.scopes() {
			had := h.in(scope, true)
			switch rampolicy.Compare(rampolicy.Merge(had...), rampolicy.Merge(append(had, doc)...), rampolicy.Identity) {
			case rampolicy.Expands, rampolicy.Changes, rampolicy.Unknown:
				return false
			}
		}
	}
	return len(held) > 0
}

// manyHolders is from how many on a change of a policy is one step graver.
const manyHolders = 10

// holders lists who is known to have a custom policy attached, in order. It
// looks at all that is known: new versions of policies are rare.
func (c *call) holders(policy string) []string {
	name := strings.ToLower(policy)
	var out []string
	for x := range c.j.table.All() {
		if !slices.ContainsFunc(x.State.attached, func(a attachment) bool { return !a.system && a.name == name }) {
			continue
		}
		kind, rest, _ := strings.Cut(x.Key, "/")
		account, who, _ := strings.Cut(rest, "/")
		if account == c.account && (kind == kindUser || kind == kindGroup || kind == kindRole) {
			out = append(out, kind+" "+window.Show(who))
		}
	}
	slices.Sort(out)
	return out
}

func (c *call) setDefault() {
	name, id := c.param("PolicyName"), c.param("VersionId")
	e := c.j.get(kindPolicy, c.account, name)
	var old, doc *rampolicy.Document
	if e != nil {
		doc = c.parse(e.text(id), "version "+window.Show(id))
		if e.inForce != "" {
			old = c.parse(e.text(e.inForce), "the version before")
		}
	}
	c.switched(name, old, doc, e)
	if e != nil && e.inForce != id {
		c.before = e.inForce
	}
	c.apply(kindPolicy, name, func(e *entry) { e.inForce = id })
}

func (c *call) deleteVersion() {
	name, id := c.param("PolicyName"), c.param("VersionId")
	e := c.j.get(kindPolicy, c.account, name)
	c.facts.Known, c.facts.Verdict = true, string(rampolicy.Equivalent)
	c.say("version "+window.Show(id)+" of policy "+window.Show(name)+" is gone; the version in force stays, as the service demands",
		"策略 "+window.Show(name)+" 的版本 "+window.Show(id)+" 已删除，当前生效版本不变")
	c.facts.Summary = "a stored version is gone"
	if e != nil && e.inForce == id && id != "" {
		// The service refuses that, unless the default moved unseen.
		c.note("it was last seen in force")
	}
	c.apply(kindPolicy, name, func(e *entry) {
		e.versions = slices.DeleteFunc(e.versions, func(v version) bool { return v.id == id })
		if e.inForce == id {
			e.inForce = ""
		}
	})
}

func (c *call) deletePolicy() {
	name := c.param("PolicyName")
	e := c.j.get(kindPolicy, c.account, name)
	c.facts.Known, c.facts.Verdict = true, string(rampolicy.Equivalent)
	c.say("policy "+window.Show(name)+" is gone; the service deletes only what is attached to nobody", "策略 "+window.Show(name)+" 已删除；只有未授予任何身份的策略才能删除")
	c.facts.Summary = "an unattached policy is gone"
	if isTrue(c.param("CascadingDelete")) && e != nil {
		c.note("the call also detaches the policy")
		if doc := c.parse(e.text(e.inForce), "its text"); doc != nil {
			c.diff(doc, nil, rampolicy.Options{Who: "whoever held policy " + window.Show(name), WhoZH: "策略 " + window.Show(name) + " 的原持有者"})
			c.facts.DenyRemoved = doc.HasDeny()
		}
	}
	if c.done {
		// Another policy of that name is another policy: nobody has it.
		for _, h := range c.holders(name) {
			kind, who, _ := strings.Cut(h, " ")
			c.apply(kind, who, func(e *entry) {
				e.attached = slices.DeleteFunc(e.attached, func(a attachment) bool { return !a.system && a.name == strings.ToLower(name) })
			})
		}
		c.j.forget(kindPolicy, c.account, name, c.ev.Time)
	}
}

// principal returns the kind and name of who the event is about.
//
//go:noinline
func (c *call) principal() (kind, name string) {
	switch t := &c.ev.Target; t.Type {
	case "user", "group", "role":
		if t.ID != "" && len(t.Name) <= maxName {
			return t.Type, strings.Clone(t.Name)
		}
	}
	return "", ""
}

//go:noinline
func (c *call) readScope() {
	if g := c.param("ResourceGroupId"); g != "" && g != c.account {
		c.scope = g
	}
}

func (c *call) attach() {
	c.readScope()
	kind, name := c.principal()
	a, typ := c.attachment()
	doc, why := c.policy(a, typ)
	c.facts.Self = c.self(kind, name)
	en, zh := who(kind, name)
	if name == "" {
		en, zh = "somebody", "某身份"
	}
	if doc == nil {
		c.unknown(en+" got policy "+window.Show(a.shown)+"; "+why.en, zh+" 获得策略 "+window.Show(a.shown)+"；"+why.zh)
	} else {
		// What is attached cannot be attached again: where it seems to be, it
		// was taken away unseen.
		h := c.holds(kind, name)
		if c.done {
			h = h.without(a)
		}
		c.partly = !h.complete || len(h.missing) > 0
		for _, m := range h.missing {
			c.note(m)
		}
		if a.system {
			c.holder(kind, name, "")
		} else {
			c.holder(kind, name, a.shown)
		}
		// Outside of its resource group a policy adds nothing; inside, and in
		// the account, it is added to what holds there.
		sure := rampolicy.Compare(rampolicy.Merge(h.in(c.scope, true)...), rampolicy.Merge(append(h.in(c.scope, true), doc)...), rampolicy.Identity)
		before := rampolicy.Merge(h.in(c.scope, sure == rampolicy.Expands || sure == rampolicy.Changes || sure == rampolicy.Unknown)...)
		c.diff(before, rampolicy.Merge(before, doc), rampolicy.Options{Who: en, WhoZH: zh})
		all := rampolicy.Merge(h.docs()...)
		c.gain(doc, all, rampolicy.Merge(all, doc))
	}
	c.bareUser = c.exposed(kind, name)
	if kind == kindRole && !c.facts.Self && c.mayAssume(name, doc) {
		c.ownRole = name
	}
	c.apply(kind, name, func(e *entry) { e.attach(a) })
	if !a.system {
		c.apply(kindPolicy, a.name, func(e *entry) { e.used = true })
	}
}

func (c *call) detach() {
	c.readScope()
	kind, name := c.principal()
	a, typ := c.attachment()
	doc, why := c.policy(a, typ)
	en, zh := who(kind, name)
	if doc == nil {
		c.unknown("policy "+window.Show(a.shown)+" was taken from "+en+"; "+why.en+", so whether it held a Deny is not known",
			"已解除 "+zh+" 的策略 "+window.Show(a.shown)+"；"+why.zh+"，其中是否含有 Deny 未知")
	} else {
		rest := c.holds(kind, name)
		rest = rest.without(a)
		c.partly = !rest.complete || len(rest.missing) > 0
		had := rest
		had.parts = append(slices.Clone(rest.parts), part{doc: doc, scope: c.scope, sure: true})
		scopes := []string{c.scope}
		if c.scope == "" {
			// A Deny of the account holds in every group.
			scopes = had.scopes()
		}
		in := widest(scopes, had, rest, false)
		after := rampolicy.Merge(rest.in(in, false)...)
		c.diff(rampolicy.Merge(had.in(in, false)...), after, rampolicy.Options{Who: en, WhoZH: zh})
		c.facts.DenyRemoved = denyRemoved(doc, rampolicy.Merge(rest.in(c.scope, false)...))
		if kind == kindUser && c.scope == "" {
			c.stripped(doc, &rest)
		}
		c.facts.Self = c.facts.Expands && c.self(kind, name)
		if c.facts.DenyRemoved {
			refused := denies(doc)
			c.say("policy "+window.Show(a.shown)+" with a Deny no longer holds for "+en+": "+refused.en, "含有 Deny 的策略 "+window.Show(a.shown)+" 不再对 "+zh+" 生效："+refused.zh)
			c.facts.Summary = "a Deny is no longer in force"
			c.facts.Severity = rampolicy.High.String()
		}
	}
	c.apply(kind, name, func(e *entry) { e.detach(a) })
}

// stripped notes that an administrator lost all that they are known to have had.
func (c *call) stripped(lost *rampolicy.Document, left *holding) {
	c.facts.AdminEquivalent = len(left.parts)+len(left.missing) == 0 && rampolicy.PowerOf(lost, c.account).Admin
}

// denies says what the Deny statements of a document held back.
func denies(d *rampolicy.Document) said {
	var words, zh []string
	for _, s := range d.Statements {
		if !s.Deny {
			continue
		}
		w, z := strings.Join(s.Actions[:min(len(s.Actions), 4)], ", "), strings.Join(s.Actions[:min(len(s.Actions), 4)], "、")
		if len(s.Actions) > 4 {
			w, z = w+" and more", z+" 等"
		}
		if s.NotAction {
			w, z = "everything but "+w, "除 "+z+" 以外的所有操作"
		}
		words, zh = append(words, window.Show(w)), append(zh, window.Show(z))
	}
	return said{"it refused " + window.List(words, 3), "原先拒绝 " + window.ListZH(zh, 3)}
}

// group returns the group that a membership event is about.
func (c *call) group() string {
	return c.name("GroupName", "GroupPrincipalName", "UserGroupName")
}

func (c *call) addUser() {
	kind, user := c.principal()
	if kind != kindUser {
		user = ""
	}
	group := c.group()
	en, zh := who(kindUser, user)
	h := c.holds(kindGroup, group)
	c.facts.Self = c.self(kindUser, user)
	switch {
	case len(h.parts) == 0 && !h.complete:
		c.unknown(en+" joined group "+window.Show(group)+"; which policies the group has was not seen", zh+" 加入用户组 "+window.Show(group)+"；未见过该用户组拥有的策略")
	default:
		// Nor can anybody join a group they are in.
		u := c.holds(kindUser, user)
		if c.done {
			u = c.holdsOutside(user, group)
		}
		c.partly = !h.complete || !u.complete || len(h.missing)+len(u.missing) > 0
		for _, m := range h.missing {
			c.note(m)
		}
		c.holder(kindUser, user, "")
		c.own.Groups = append(c.own.Groups, group)
		gained := holding{parts: slices.Clone(h.parts)}
		for i := range gained.parts {
			gained.parts[i].sure = true // in what is gained more is safer
		}
		both := holding{parts: append(slices.Clone(u.parts), gained.parts...)}
		in := widest(gained.scopes(), u, both, true)
		c.diff(rampolicy.Merge(u.in(in, true)...), rampolicy.Merge(both.in(in, true)...), rampolicy.Options{Who: en, WhoZH: zh})
		if in != "" {
			c.scope = in
		}
		before := rampolicy.Merge(u.docs()...)
		c.gain(rampolicy.Merge(h.docs()...), before, rampolicy.Merge(append(u.docs(), h.docs()...)...))
		if len(h.missing) > 0 {
			c.facts.Expands = true
		}
	}
	c.bareUser = c.exposed(kindUser, user)
	if user != "" && group != "" {
		c.apply(kindGroup, group, func(e *entry) { e.link(event.ActorID(kindUser, c.account, user)) })
		c.apply(kindUser, user, func(e *entry) { e.link(event.ActorID(kindGroup, c.account, group)) })
	}
}

func (c *call) removeUser() {
	_, user := c.principal()
	group := c.group()
	en, zh := who(kindUser, user)
	h := c.holds(kindGroup, group)
	c.facts.Known, c.facts.Verdict = true, string(rampolicy.Contracts)
	c.say(en+" left group "+window.Show(group), zh+" 退出用户组 "+window.Show(group))
	c.facts.Summary = "a group was left"
	lost := rampolicy.Merge(h.docs()...)
	left := c.holdsOutside(user, group)
	c.stripped(lost, &left)
	switch {
	case denyRemoved(lost, nil):
		c.facts.DenyRemoved, c.facts.Expands = true, true
		c.facts.Verdict, c.facts.Severity = string(rampolicy.Expands), rampolicy.High.String()
		c.facts.Self = c.self(kindUser, user)
		refused := denies(lost)
		c.say(en+" left group "+window.Show(group)+", whose policies hold a Deny: "+refused.en, zh+" 退出用户组 "+window.Show(group)+"，该组策略含有 Deny："+refused.zh)
		c.facts.Summary = "a Deny is no longer in force"
	case !h.complete || len(h.missing) > 0:
		// What is not known is handled as expanding, but people leave groups
		// all day.
		c.facts.Known, c.facts.Expands = false, c.done
		c.facts.Verdict, c.facts.Severity = string(rampolicy.Unknown), rampolicy.Low.String()
		c.more("; whether the group's policies hold a Deny is not known in full", "；该用户组的策略是否含有 Deny 未能全部得知")
	}
	if user != "" && group != "" {
		c.apply(kindGroup, group, func(e *entry) { e.unlink(event.ActorID(kindUser, c.account, user)) })
		c.apply(kindUser, user, func(e *entry) { e.unlink(event.ActorID(kindGroup, c.account, group)) })
	}
}

// trust judges that a role's trust becomes another.
func (c *call) trust(role string, old, doc *rampolicy.Document) {
	c.diff(old, doc, rampolicy.Options{Kind: rampolicy.Trust, Who: "somebody", WhoZH: "某身份"})
	c.say("role "+window.Show(role)+": "+c.facts.Sentence, "角色 "+window.Show(role)+"："+c.facts.SentenceZH)
	c.outsiders(old, doc)
	c.facts.Self = c.facts.Expands && c.admits(old, doc)
}

// admits says whether the new trust lets the actor in by name, and the old one
// does not.
func (c *call) admits(old, doc *rampolicy.Document) bool {
	a := &c.ev.Actor
	var canonical string
	switch a.Type {
	case event.RAMUser:
		canonical = "ram:" + c.account + ":user/" + a.Name
	case event.AssumedRole:
		canonical = "ram:" + c.account + ":role/" + a.Role
	default:
		return false
	}
	return c.named(doc, canonical) && !c.named(old, canonical)
}

func (c *call) createRole() {
	role, text := c.param("RoleName"), c.text("AssumeRolePolicyDocument")
	if text == "" {
		// A service-linked role: its trust is the vendor's.
		c.create(kindRole, role)
		return
	}
	if doc := c.parse(keep(text), "the trust policy"); doc == nil {
		c.unknown("role "+window.Show(role)+" was made with a trust policy that cannot be read", "新建了角色 "+window.Show(role)+"，其信任策略无法读取")
	} else {
		c.trust(role, nil, doc)
	}
	c.apply(kindRole, role, func(e *entry) {
		*e = entry{complete: true, created: true, changed: e.changed}
		if len(text) <= rampolicy.MaxText {
			e.trust = keep(text)
		}
	})
}

func (c *call) updateRole() {
	role, text := c.param("RoleName"), c.text("NewAssumeRolePolicyDocument", "AssumeRolePolicyDocument")
	if text == "" {
		c.facts.Known, c.facts.Verdict = true, string(rampolicy.Equivalent)
		c.say("role "+window.Show(role)+" changed; its trust did not", "角色 "+window.Show(role)+" 有变更，信任策略未变")
		c.facts.Summary = "the trust stays"
		return
	}
	doc := c.parse(keep(text), "the trust policy")
	if doc == nil {
		c.unknown("role "+window.Show(role)+" got a trust policy that cannot be read", "角色 "+window.Show(role)+" 设置了无法读取的信任策略")
	} else {
		var old *rampolicy.Document
		if e := c.j.get(kindRole, c.account, role); e != nil {
			old = c.parse(e.trust, "the trust before")
		}
		c.trust(role, old, doc)
		if old == nil {
			c.partly = true
			if c.facts.Expands {
				c.facts.Verdict = string(rampolicy.Unknown)
				c.more("; the trust before was not seen, so some of it may not be new", "；未见过此前的信任策略，其中可能有并非新增的内容")
			}
		}
		if c.result != nil && c.facts.Expands && c.reach(kindRole, role).Admin {
			c.facts.AdminEquivalent, c.facts.Privileged = true, true
			c.more("; the role is an administrator's", "；该角色等同管理员")
		}
	}
	c.apply(kindRole, role, func(e *entry) {
		e.trust = keep("")
		if len(text) <= rampolicy.MaxText {
			e.trust = keep(text)
		}
	})
}

// held returns the documents that a principal has in the whole account.
func (c *call) held(kind, name string) []*rampolicy.Document {
	h := c.holds(kind, name)
	return h.in("", false)
}

// passRole judges that a role is handed to code: a host, a container, a
// function, a stack.
func (c *call) passRole() {
	role := lastPart(detectors.RoleOf(c.ev))
	shown := window.Show(role)
	c.lend("role:", role, "what runs as role "+shown, "以角色 "+shown+" 运行的代码")
}

// chain judges that a role that is no administrator's becomes one that is.
func (c *call) chain() {
	t, a := &c.ev.Target, &c.ev.Actor
	if t.ID == event.ActorID(kindRole, c.account, t.Name) && !c.reach(kindRole, a.Role).Admin {
		en, zh := who(kindRole, a.Role)
		c.lend("chain:", t.Name, en, zh)
	}
}

// lend judges that the caller gets hold of a role. Only what may do everything is
// told, and for each caller and role once, since it goes on every day.
func (c *call) lend(how, role, en, zh string) {
	if role == "" || len(role) > maxName {
		return
	}
	docs := c.held(kindRole, role)
	if len(docs) == 0 {
		return
	}
	key := how + role + " " + c.ev.Actor.ID
	if c.ev.Actor.ID == "" || c.j.get(kindResource, c.account, key) != nil {
		return
	}
	doc := rampolicy.Merge(docs...)
	if !rampolicy.PowerOf(doc, c.account).Admin {
		return
	}
	c.diff(nil, doc, rampolicy.Options{Who: en, WhoZH: zh})
	c.gain(doc, nil, nil)
	c.apply(kindResource, key, func(e *entry) { e.complete = true })
}

func (c *call) control() {
	id := c.param("PolicyId", "ControlPolicyId")
	if id == "" {
		id, _ = c.ev.Response("ControlPolicy.PolicyId")
		if len(id) > maxName {
			id = ""
		}
	}
	shown := window.Show(id)
	e := c.j.get(kindControl, c.account, id)
	var old *rampolicy.Document
	if e != nil {
		old = c.parse(e.text(""), "the control policy")
	}
	opts := rampolicy.Options{Kind: rampolicy.Control}
	switch c.ev.Action {
	case event.ActOrgControlPolicyCreate:
		text := c.text("PolicyDocument")
		if doc := c.parse(keep(text), "the control policy"); doc != nil {
			c.diff(nil, doc, opts)
		} else {
			c.unknown("a control policy was made whose document the event does not carry in readable form", "新建了管控策略，日志中没有可读的策略内容")
		}
		c.facts.Staged = true
		c.apply(kindControl, id, func(e *entry) {
			e.created = true
			if text != "" && len(text) <= rampolicy.MaxText {
				e.put("", text)
			}
		})
	case event.ActOrgControlPolicyUpdate:
		text := c.text("NewPolicyDocument", "PolicyDocument")
		doc := c.parse(keep(text), "the control policy")
		switch {
		case text == "":
			c.facts.Known, c.facts.Verdict = true, string(rampolicy.Equivalent)
			c.say("control policy "+shown+" changed; its document did not", "管控策略 "+shown+" 有变更，策略内容未变")
			c.facts.Summary = "the document stays"
		case doc == nil || old == nil:
			c.unknown("control policy "+shown+" was rewritten; one of the two texts is not known, so it may hold back less", "管控策略 "+shown+" 被改写；前后内容之一未知，限制可能减弱")
		default:
			c.diff(old, doc, opts)
			c.facts.DenyRemoved = denyRemoved(old, doc)
		}
		if text != "" {
			c.apply(kindControl, id, func(e *entry) {
				e.versions = nil
				if len(text) <= rampolicy.MaxText {
					e.put("", text)
				}
			})
		}
	case event.ActOrgControlPolicyAttach, event.ActOrgControlPolicyEnable:
		c.facts.Known, c.facts.Verdict = true, string(rampolicy.Contracts)
		c.say("a guard rail was put in force", "一条管控策略已生效")
		c.facts.Summary = "a guard rail was added"
		if id != "" {
			c.say("control policy "+shown+" was put in force on "+window.Show(c.param("TargetId")), "管控策略 "+shown+" 已在 "+window.Show(c.param("TargetId"))+" 上生效")
			// Allow lists of one folder may add up.
			if docs, _ := c.guards(c.param("TargetId"), id); old != nil && old.HasAllow() && layered(append(docs, old)) {
				c.unknown(c.facts.Sentence+" beside others; "+allowLists, c.facts.SentenceZH+"，与其他管控策略并存；"+allowListsZH)
			}
		}
		c.attachControl(id, c.param("TargetId"), true)
	case event.ActOrgControlPolicyDisable:
		c.facts = c.weakened("all control policies of the directory were switched off", "资源目录的管控策略功能已整体关闭", rampolicy.Critical)
	default: // detach, delete
		if old == nil {
			c.unknown("control policy "+shown+" was taken out of force; its text was never seen", "管控策略 "+shown+" 不再生效；从未见过其内容")
			c.facts.Severity = rampolicy.High.String()
			break
		}
		if target := c.param("TargetId"); target != "" && c.ev.Action == event.ActOrgControlPolicyDetach {
			c.detachedControl(id, target, old)
		} else {
			c.deleteControl(id, old)
		}
	}
	if c.ev.Action == event.ActOrgControlPolicyDetach {
		c.attachControl(id, c.param("TargetId"), false)
	}
}

// weakened is the facts of a guard rail that is gone whatever it said.
func (c *call) weakened(sentence, zh string, s rampolicy.Severity) (f detectors.PolicyFacts) {
	f.Known, f.Verdict, f.Expands, f.DenyRemoved = true, string(rampolicy.Expands), true, true
	f.Sentence, f.SentenceZH, f.Summary, f.Severity = sentence, zh, "guard rails are off", s.String()
	return f
}

// cloudSSO judges grants through access configurations: policies that become
// roles in member accounts.
func (c *call) cloudSSO() {
	id := c.param("AccessConfigurationId")
	if id == "" {
		id, _ = c.ev.Response("AccessConfiguration.AccessConfigurationId")
		if len(id) > maxName {
			id = ""
		}
	}
	en := "whoever is assigned access configuration " + window.Show(id)
	zh := "被分配访问配置 " + window.Show(id) + " 的用户"
	opts := rampolicy.Options{Who: en, WhoZH: zh}
	h := c.holds(kindAccess, id)
	e := c.j.get(kindAccess, c.account, id)
	inline := func() *rampolicy.Document {
		if e == nil {
			return nil
		}
		return c.parse(e.text("inline"), "the inline policy")
	}()
	all := rampolicy.Merge(append(h.docs(), inline)...)
	switch c.ev.Action {
	case event.ActSSOAccessConfigurationCreate:
		c.create(kindAccess, id)
	case event.ActSSOAccessConfigurationRemovePolicy:
		name := c.param("PermissionPolicyName")
		c.partly = !h.complete || len(h.missing) > 0
		if strings.EqualFold(c.param("PermissionPolicyType"), "Inline") {
			c.diff(all, rampolicy.Merge(h.docs()...), opts)
			c.facts.DenyRemoved = denyRemoved(inline, rampolicy.Merge(h.docs()...))
			c.apply(kindAccess, id, func(e *entry) { e.versions = nil })
			return
		}
		a := attachment{system: true, name: strings.ToLower(name), shown: name}
		doc, why := c.policy(a, "system")
		rest := h.without(a)
		after := rampolicy.Merge(append(rest.docs(), inline)...)
		if doc == nil {
			c.unknown(en+" no longer has policy "+window.Show(name)+"; "+why.en+", so whether it held a Deny is not known",
				zh+" 不再拥有策略 "+window.Show(name)+"；"+why.zh+"，其中是否含有 Deny 未知")
			c.facts.Severity = rampolicy.Low.String() // the vendor's policies have none
		} else {
			c.diff(rampolicy.Merge(after, doc), after, opts)
			c.facts.DenyRemoved = denyRemoved(doc, after)
		}
		c.apply(kindAccess, id, func(e *entry) { e.detach(a) })
	case event.ActSSOAssignmentCreate, event.ActSSOAccessConfigurationProvision:
		if len(all.Statements) == 0 {
			c.unknown("access configuration "+window.Show(id)+" was granted; what it allows was not seen", "访问配置 "+window.Show(id)+" 已授予；未见过其允许的操作")
			return
		}
		c.partly = !h.complete || len(h.missing) > 0
		opts.Who, opts.WhoZH = "the assigned user", "被分配的用户"
		c.diff(nil, all, opts)
		c.gain(all, nil, nil)
	default:
		name, text := c.param("PermissionPolicyName"), c.text("NewInlinePolicyDocument", "InlinePolicyDocument")
		var doc *rampolicy.Document
		var why said
		before := all
		if text != "" {
			doc = c.parse(keep(text), "the inline policy")
			why = said{"the inline policy cannot be read", "内联策略无法读取"}
			before = rampolicy.Merge(h.docs()...)
			if inline != nil && !(c.done && c.ev.Action == event.ActSSOAccessConfigurationAddPolicy) {
				before = all // only what is there can be rewritten
			}
			c.apply(kindAccess, id, func(e *entry) {
				e.versions = nil
				if len(text) <= rampolicy.MaxText {
					e.put("inline", text)
				}
			})
		} else {
			a := attachment{system: true, name: strings.ToLower(name), shown: name}
			doc, why = c.policy(a, "system")
			if c.done {
				h = h.without(a) // what is there cannot be added
				before = rampolicy.Merge(append(h.docs(), inline)...)
			}
			c.apply(kindAccess, id, func(e *entry) { e.attach(a) })
		}
		if doc == nil {
			c.unknown(en+" got policy "+window.Show(name)+"; "+why.en, zh+" 获得策略 "+window.Show(name)+"；"+why.zh)
			return
		}
		c.partly = !h.complete || len(h.missing) > 0
		after := rampolicy.Merge(append(h.docs(), doc)...)
		if text == "" {
			after = rampolicy.Merge(append(h.docs(), inline, doc)...)
		}
		c.diff(before, after, opts)
		c.gain(doc, before, after)
	}
}
