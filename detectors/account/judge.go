package account

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// call is one event being judged.
type call struct {
	j       *Judge
	ev      *event.Event
	account string
	done    bool // the call took effect
	facts   detectors.PolicyFacts
	notes   []string
	scope   string // resource group; empty is the whole account
	own     rampolicy.Own
	before  string // version of the policy that was in force; "" when not known
	partly  bool   // what was there before is only partly known
	wide    bool   // many principals hold what changed

	bareUser string // one who gains, has keys and no second factor
	ownRole  string // a role that gains and that the caller may assume
	result   *rampolicy.Result
	power    *rampolicy.Power

	settings any // changed preferences, for the details
	old, new *rampolicy.Document
	kind     rampolicy.Kind
}

// Judge implements detectors.PolicyJudge. Events that change no permission
// give the zero facts.
func (j *Judge) Judge(ev *event.Event) detectors.PolicyFacts {
	c := &call{j: j, ev: ev, account: strings.Clone(ev.Recipient), done: ev.Outcome == event.Success}
	if c.account == "" {
		c.account = strings.Clone(ev.Actor.Account)
	}
	j.takeUp(c.account, ev)
	switch ev.Action {
	case event.ActIAMPolicyCreate:
		c.createPolicy()
	case event.ActIAMPolicyVersionCreate:
		c.locking(c.createVersion)
	case event.ActIAMPolicyVersionSetDefault:
		c.locking(c.setDefault)
	case event.ActIAMPolicyVersionDelete:
		c.deleteVersion()
	case event.ActIAMPolicyDelete:
		c.locking(c.deletePolicy)
	case event.ActIAMPolicyAttach:
		c.locking(c.attach)
	case event.ActIAMPolicyDetach:
		c.locking(c.detach)
	case event.ActIAMGroupCreate:
		c.create(kindGroup, c.name("GroupName", "GroupPrincipalName"))
	case event.ActIAMGroupUpdate:
		c.renameGroup()
	case event.ActIAMGroupDelete:
		c.remove(kindGroup, c.name("GroupName", "GroupPrincipalName"))
	case event.ActIAMGroupAddUser:
		c.addUser()
	case event.ActIAMGroupRemoveUser:
		c.removeUser()
	case event.ActIAMRoleCreate:
		c.createRole()
	case event.ActIAMRoleUpdate:
		c.updateRole()
	case event.ActIAMRoleDelete:
		c.remove(kindRole, c.name("RoleName"))
	case event.ActOrgControlPolicyCreate, event.ActOrgControlPolicyUpdate, event.ActOrgControlPolicyAttach, event.ActOrgControlPolicyDetach,
		event.ActOrgControlPolicyDelete, event.ActOrgControlPolicyDisable, event.ActOrgControlPolicyEnable:
		c.control()
	case event.ActSSOAccessConfigurationAddPolicy, event.ActSSOAccessConfigurationUpdateInline, event.ActSSOAccessConfigurationRemovePolicy,
		event.ActSSOAccessConfigurationCreate, event.ActSSOAssignmentCreate, event.ActSSOAccessConfigurationProvision:
		c.cloudSSO()
	case event.ActOrgAccountMove:
		c.moveAccount()
	case event.ActOrgAccountRemove:
		c.removeAccount()
	case event.ActOrgAccountCreate, event.ActOrgFolderCreate:
		c.placed()
	case event.ActIAMSecurityPreferenceSet, event.ActIAMPasswordPolicySet:
		c.preferences()
	case event.ActOSSBucketPolicy, event.ActOSSBucketPolicyDelete, event.ActOSSBucketAccessPointPolicy, event.ActKMSKeyPolicySet, event.ActKMSSecretPolicySet, event.ActSLSProjectPolicySet:
		c.resourcePolicy()
	case event.ActECSInstanceCreate, event.ActECSLaunchTemplateCreate, event.ActESSConfigurationCreate, event.ActECIContainerGroupCreate,
		event.ActFCFunctionCreate, event.ActFCFunctionUpdate, event.ActROSStackCreate, event.ActFNFFlowCreate,
		event.ActOOSExecutionStart, event.ActOOSTemplateCreate:
		c.passRole()
	case event.ActIAMUserCreate:
		c.newUser(c.name("UserName", "UserPrincipalName"))
	case event.ActIAMAccessKeyCreate, event.ActIAMAccessKeyUpdate, event.ActIAMAccessKeyDelete, event.ActIAMAccessKeyPurge,
		event.ActIAMMFABind, event.ActIAMMFAUnbind, event.ActIAMMFAVirtualDisable:
		c.signIn()
	case event.ActIAMAccessKeyPolicySet:
		c.keyNetworks()
	case event.ActIAMLoginProfileCreate, event.ActIAMLoginProfileUpdate, event.ActSSOPasswordReset, event.ActIAMVerificationSet:
		c.takeOver()
	case event.ActSTSAssumeRole:
		c.chain()
	case event.ActTrailCreate, event.ActTrailUpdate:
		c.delivers()
	case event.ActIAMUserUpdate:
		c.renameUser()
	case event.ActIAMUserDelete, event.ActIAMUserRestore:
		// What a user of that name has afterwards was not seen.
		c.forgetUser()
	}
	if c.account != "" {
		c.facts.Trail = c.j.get(kindTrail, "", ev.Target.Type+":"+ev.Target.Name) != nil
	}
	return c.finish()
}

// param returns the first of the named parameters that says something. What
// is longer than any name can be is nothing.
func (c *call) param(names ...string) string {
	for _, n := range names {
		if v, ok := c.ev.Param(n); ok && v != "" && v != "null" && len(v) <= maxName {
			return strings.Clone(v)
		}
	}
	return ""
}

// name is param for a name that may be written as name@domain.
func (c *call) name(names ...string) string {
	n, _, _ := strings.Cut(c.param(names...), "@")
	return n
}

func (c *call) text(names ...string) string {
	for _, n := range names {
		if v, ok := c.ev.Param(n); ok && v != "" && v != "null" {
			return strings.Clone(v)
		}
	}
	return ""
}

func (c *call) note(s string) {
	if s != "" && !slices.Contains(c.notes, s) {
		c.notes = append(c.notes, s)
	}
}

// said is one text in both languages.
type said struct{ en, zh string }

// say sets the sentence, in both languages; more adds to it. They are called in many
// places, so they are not inlined (DESIGN D23).
//
//go:noinline
func (c *call) say(en, zh string) { c.facts.Sentence, c.facts.SentenceZH = en, zh }

//go:noinline
func (c *call) more(en, zh string) { c.say(c.facts.Sentence+en, c.facts.SentenceZH+zh) }

// unknown ends a judgement that cannot be made: the change counts as
// expanding and is said not to be known.
func (c *call) unknown(sentence, zh string) {
	c.facts.Known, c.facts.Verdict, c.facts.Expands = false, string(rampolicy.Unknown), c.done
	c.say(sentence, zh)
	c.facts.Summary = "not known"
	c.facts.Severity = rampolicy.Medium.String()
}

// parse reads a document and says in a note what is wrong with it.
func (c *call) parse(t text, what string) *rampolicy.Document {
	if t == (text{}) {
		return nil
	}
	r := c.j.read(t)
	if r.err != nil {
		c.note(what + " cannot be read: " + window.Show(r.err.Error()))
		return nil
	}
	return r.doc
}

// policy finds the document of a policy by its type and name. doc is nil when
// it is not known; why says so.
func (c *call) policy(a attachment, typ string) (doc *rampolicy.Document, why said) {
	shown := window.Show(a.shown)
	if !a.system {
		e := c.j.get(kindPolicy, c.account, a.name)
		if e != nil && e.inForce != "" && e.text(e.inForce) != (text{}) {
			if doc = c.parse(e.text(e.inForce), "the text of "+shown); doc != nil {
				return doc, said{}
			}
			return nil, said{"the text of custom policy " + shown + " cannot be read", "自定义策略 " + shown + " 的内容无法读取"}
		}
		if typ != "" || e != nil {
			c.j.want(c.account, a)
			return nil, said{"the text of custom policy " + shown + " was never seen", "从未见过自定义策略 " + shown + " 的内容"}
		}
	}
	if e := c.j.get(kindSystem, "", a.name); e != nil {
		if doc = c.parse(e.text(e.inForce), "the text of "+shown); doc != nil {
			return doc, said{}
		}
	}
	if p, ok := rampolicy.System(a.name); ok {
		if p.Inferred {
			c.j.want(c.account, attachment{system: true, name: a.name, shown: p.Name})
			c.note("the text of " + p.Name + " is inferred from what the vendor says it grants")
		}
		if p.Partial {
			c.note("only the main part of the text of " + p.Name + " is known")
		}
		return p.Doc, said{}
	}
	c.j.want(c.account, attachment{system: true, name: a.name, shown: a.shown})
	return nil, said{"what system policy " + shown + " allows is not known here", "系统策略 " + shown + " 允许的操作未知"}
}

// attachment reads which policy the event is about.
func (c *call) attachment() (a attachment, typ string) {
	name := c.param("PolicyName")
	typ = strings.ToLower(c.param("PolicyType"))
	a = attachment{name: strings.ToLower(name), shown: name, scope: c.scope, system: typ == "system"}
	if typ == "" {
		// The type may be missing: an own policy of that name wins.
		_, known := rampolicy.System(name)
		a.system = known && c.j.get(kindPolicy, c.account, name) == nil
	}
	return a, typ
}

// holding is what a principal has.
type holding struct {
	parts    []part
	complete bool     // nothing else can be attached
	missing  []string // attached policies whose text is not known
}

// part is one document of a holding.
type part struct {
	doc   *rampolicy.Document
	scope string // the resource group it holds in; empty is the whole account
	own   string // the policy, when it is attached to the principal itself
	// sure is unset when the text was inferred: it may allow more than the
	// policy does, so it is no reason to say that something was allowed
	// before, and still one to say that a Deny held something back.
	sure bool
}

// docs returns all documents.
func (h *holding) docs() []*rampolicy.Document {
	var out []*rampolicy.Document
	for _, p := range h.parts {
		out = append(out, p.doc)
	}
	return out
}

// in returns what holds in a resource group, or with "" in the rest of the
// account: a policy of a group holds nothing outside of it. With sure set,
// only what is certain is returned.
func (h *holding) in(scope string, sure bool) []*rampolicy.Document {
	var out []*rampolicy.Document
	for _, p := range h.parts {
		if (p.sure || !sure) && (p.scope == "" || p.scope == scope) {
			out = append(out, p.doc)
		}
	}
	return out
}

// scopes returns the resource groups in which something holds, "" first.
func (h *holding) scopes() []string {
	out := []string{""}
	for _, p := range h.parts {
		if !slices.Contains(out, p.scope) {
			out = append(out, p.scope)
		}
	}
	return out
}

// without returns the holding but for one attachment of the principal itself.
func (h *holding) without(a attachment) holding {
	out := *h
	out.parts = lists.Keep(slices.Clone(h.parts), func(p *part) bool { return p.own != a.id() })
	return out
}

// widest returns the scope in which a change from one holding to another
// expands, if it does in one. In the order of scopes the first counts; "",
// the whole account, comes first.
//
// RAM's texts disagree on whether a Deny in a resource group meets an Allow of
// the account. Here it does; where it would not, the same changes expand, in
// the group or in the account.
func widest(scopes []string, before, after holding, sure bool) string {
	for _, s := range scopes {
		switch rampolicy.Compare(rampolicy.Merge(before.in(s, sure)...), rampolicy.Merge(after.in(s, sure)...), rampolicy.Identity) {
		case rampolicy.Expands, rampolicy.Changes, rampolicy.Unknown:
			return s
		}
	}
	return scopes[0]
}

// holds collects the documents of a principal, for a user those of the groups
// too.
func (c *call) holds(kind, name string) holding { return c.holdsBut(kind, name, "") }

// holdsOutside is holds for a user, without what one group brings.
func (c *call) holdsOutside(user, group string) holding { return c.holdsBut(kindUser, user, group) }

func (c *call) holdsBut(kind, name, group string) holding {
	e := c.j.get(kind, c.account, name)
	if e == nil {
		return holding{}
	}
	h := holding{complete: e.complete}
	for _, a := range e.attached {
		typ := "custom"
		if a.system {
			typ = "system"
		}
		if d, why := c.policy(a, typ); d != nil {
			h.parts = append(h.parts, part{doc: d, scope: a.scope, own: a.id(), sure: c.certain(a, d)})
		} else {
			h.missing = append(h.missing, why.en)
		}
	}
	if kind == kindUser {
		for _, g := range e.links {
			if group != "" && strings.EqualFold(lastPart(g), group) {
				continue
			}
			more := c.holds(kindGroup, lastPart(g))
			for _, p := range more.parts {
				p.own = ""
				h.parts = append(h.parts, p)
			}
			h.missing = append(h.missing, more.missing...)
			h.complete = h.complete && more.complete
		}
	}
	return h
}

// certain says whether the text of a policy is what the policy is. What
// AdministratorAccess grants is published, even if its text was not read.
func (c *call) certain(a attachment, d *rampolicy.Document) bool {
	p, ok := rampolicy.System(a.name)
	return !a.system || !ok || p.Doc != d || !p.Inferred || a.name == "administratoraccess"
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// who names a principal in sentences.
func who(kind, name string) (en, zh string) {
	n := window.Show(name)
	switch kind {
	case kindUser:
		return "user " + n, "用户 " + n
	case kindGroup:
		return "members of group " + n, "用户组 " + n + " 的成员"
	case kindRole:
		return "role " + n, "角色 " + n
	}
	return n, n
}

// self says whether the actor is, or belongs to, a principal.
func (c *call) self(kind, name string) bool {
	actor := c.ev.Actor.ID
	if actor == "" || name == "" {
		return false
	}
	if actor == event.ActorID(kind, c.account, name) {
		return true
	}
	if kind == kindGroup {
		if e := c.j.get(kindGroup, c.account, name); e != nil && slices.Contains(e.links, actor) {
			return true
		}
	}
	return false
}

// holdsPolicy says whether a custom policy is attached to the actor.
func (c *call) holdsPolicy(name string) bool {
	a := &c.ev.Actor
	kind := ""
	switch a.Type {
	case event.RAMUser:
		kind = kindUser
	case event.AssumedRole:
		kind = kindRole
	default:
		return false
	}
	has := func(e *entry) bool {
		return e != nil && slices.ContainsFunc(e.attached, func(x attachment) bool { return !x.system && x.name == strings.ToLower(name) })
	}
	e := c.j.get(kind, c.account, a.Name)
	if has(e) {
		return true
	}
	if e != nil && kind == kindUser {
		for _, g := range e.links {
			if has(c.j.get(kindGroup, c.account, lastPart(g))) {
				return true
			}
		}
	}
	return false
}

// diff judges a change of documents and fills the facts with it.
func (c *call) diff(old, new *rampolicy.Document, opts rampolicy.Options) {
	c.old, c.new, c.kind = old, new, opts.Kind
	opts.Account, opts.MaxFindings = c.account, 5
	opts.Own = c.own
	r := rampolicy.Diff(old, new, opts)
	c.result = &r
	// The summary goes on after a colon or a comma.
	if w := opts.Who; w != "" && len(r.Summary) >= len(w) && strings.EqualFold(r.Summary[:len(w)], w) {
		r.Summary = w + r.Summary[len(w):]
	}
	f := &c.facts
	f.Known, f.Verdict = true, string(r.Verdict)
	switch r.Verdict {
	case rampolicy.Expands, rampolicy.Changes:
		f.Expands = true
	case rampolicy.Unknown:
		f.Known, f.Expands = false, true
	}
	c.say(r.Summary, r.SummaryZH)
	f.Summary = r.Summary
	f.Severity = r.Severity.String()
}

// holder sets what belongs to a principal, with one more policy attached: a
// right to rewrite just that policy is as good as any right.
func (c *call) holder(kind, name, policy string) {
	add := func(e *entry) {
		if e == nil {
			return
		}
		for _, a := range e.attached {
			if !a.system {
				c.own.Policies = append(c.own.Policies, a.shown)
			}
		}
	}
	if policy != "" {
		c.own.Policies = append(c.own.Policies, policy)
	}
	e := c.j.get(kind, c.account, name)
	add(e)
	switch kind {
	case kindUser:
		c.own.Users = []string{name}
		if e != nil {
			for _, g := range e.links {
				c.own.Groups = append(c.own.Groups, lastPart(g))
				add(c.j.get(kindGroup, c.account, lastPart(g)))
			}
		}
	case kindGroup:
		c.own.Groups = []string{name}
	}
}

// gain notes how far the documents go that somebody gains.
func (c *call) gain(doc, before, after *rampolicy.Document) {
	p := rampolicy.PowerOfHolder(doc, c.account, c.own)
	if !p.Admin && after != nil {
		// Two harmless policies can make a whole that is not.
		if whole := rampolicy.PowerOfHolder(after, c.account, c.own); whole.Admin && !rampolicy.PowerOfHolder(before, c.account, c.own).Admin {
			p = whole
		}
	}
	c.power = &p
	c.facts.AdminEquivalent, c.facts.Privileged = p.Admin, p.Privileged
	if c.scope != "" && p.Admin {
		// Inside one resource group only.
		c.facts.AdminEquivalent = false
	}
	if p.Admin {
		c.facts.Summary = p.Why
	}
	if doc != nil && doc.Doubtful {
		// The reading that is wrong may be the one that shows little.
		c.facts.Privileged = true
		if w := c.facts.Severity; w == rampolicy.Low.String() || w == rampolicy.Info.String() {
			c.facts.Severity = rampolicy.Medium.String()
		}
		c.ambiguous()
	}
}

// ambiguous says of a text that it can be read in several ways.
func (c *call) ambiguous() {
	c.more("; the text can be read in more than one way, so it may allow more than that", "；该内容存在多种读法，实际允许的可能更多")
}

// denyRemoved says whether Deny statements of old refuse something that those
// of new do not.
func denyRemoved(old, new *rampolicy.Document) bool {
	if old == nil || !old.HasDeny() {
		return false
	}
	only := func(d *rampolicy.Document) *rampolicy.Document {
		out := &rampolicy.Document{Version: "1"}
		if d != nil {
			for _, s := range d.Statements {
				if s.Deny {
					out.Statements = append(out.Statements, s)
				}
			}
		}
		return out
	}
	switch rampolicy.Diff(only(old), only(new), rampolicy.Options{Kind: rampolicy.Control}).Verdict {
	case rampolicy.Expands, rampolicy.Changes, rampolicy.Unknown:
		return true
	}
	return false
}

// finish adds what holds for all changes: failed calls expand nothing, and
// the details.
func (c *call) finish() detectors.PolicyFacts {
	f := &c.facts
	if f.Verdict == "" && f.Sentence == "" {
		return *f
	}
	severity := func(step int) {
		words := []string{"info", "low", "medium", "high", "critical"}
		if i := slices.Index(words, f.Severity); i >= 0 {
			f.Severity = words[min(max(i+step, 0), len(words)-1)]
		}
	}
	var reasons []reason
	if f.Expands {
		if reasons = c.raised(); len(reasons) > 0 {
			severity(1)
		}
	}
	if c.scope != "" {
		severity(-1)
		reasons = append(reasons, reason{"one step less grave: it holds in one resource group alone", "严重程度下调一级:仅在单个资源组内生效"})
		c.note("the grant is limited to resource group " + window.Show(c.scope))
		if f.Expands {
			c.more("; in resource group "+window.Show(c.scope)+" alone", "；仅限资源组 "+window.Show(c.scope))
		}
	}
	f.Adds = c.adds(f.Expands && !f.Known)
	if f.Staged {
		f.Expands, reasons = false, nil
		f.Severity = "info"
	}
	if !c.done {
		f.Expands, f.DenyRemoved = false, false
		c.note("the call was refused: nothing changed")
		c.say("refused; it would have meant: "+f.Sentence, "已被拒绝；若成功则："+f.SentenceZH)
		reasons = nil
	}
	if f.Severity == rampolicy.None.String() {
		f.Severity = ""
	}
	if c.partly {
		c.note("what was there before is only partly known, so what was gained may be less")
	}
	f.Details = map[string]any{"verdict": f.Verdict, "before": "known", "known": f.Known}
	if c.partly {
		f.Details["before"] = "partly known"
	}
	if !f.Known {
		f.Details["before"] = "not known"
	}
	if c.before != "" && c.done {
		f.Details["previous_version"] = c.before
	}
	if c.result != nil {
		f.Details["diff"] = plainResult(c.result)
	}
	if c.power != nil && len(c.power.Paths) > 0 {
		f.Details["paths"] = plainTexts(c.power.Paths)
		f.Paths = slices.Clone(c.power.Paths)
	}
	if c.settings != nil {
		f.Details["settings"] = c.settings
	}
	for _, x := range []struct {
		name string
		is   bool
	}{{"staged", f.Staged}, {"self", f.Self}, {"deny_removed", f.DenyRemoved}, {"external_trust", f.ExternalTrust}, {"admin_equivalent", f.AdminEquivalent}} {
		if x.is {
			f.Details[x.name] = true
		}
	}
	f.Details["summary"] = f.Sentence
	if c.scope != "" {
		f.Details["resource_group"] = c.scope
	}
	if len(reasons) > 0 {
		f.Details["reasons"] = generic(reasons)
	}
	if len(c.notes) > 0 {
		f.Details["notes"] = plainTexts(c.notes)
	}
	return *f
}

// adds answers whether the change newly allows an action that a pattern
// covers. blind is the answer where nothing is known of the change.
func (c *call) adds(blind bool) func(string) bool {
	old, now, kind := c.old, c.new, c.kind
	if c.result == nil {
		return func(string) bool { return blind }
	}
	return func(pattern string) bool { return rampolicy.Adds(old, now, kind, pattern) }
}

// generic turns a value into what JSON would read back, so that details are
// plain maps and lists wherever they travel.
func generic(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	if json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}
