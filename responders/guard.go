package responders

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// GuardConfig is what may never be touched and how much may be done. The zero
// value is the default and the safe one.
type GuardConfig struct {
	Protected      Protected `yaml:"protected" json:"protected" doc:"never acted on, whatever the rules say"`
	Kinds          []string  `yaml:"kinds" json:"kinds" doc:"kinds of action that may be done; empty is every kind there is"`
	MaxEvidenceAge Duration  `yaml:"max_evidence_age" json:"max_evidence_age" doc:"older evidence never acts by itself (default 30m)"`
	// TwoPerson are accounts where no single person, and no playbook by
	// itself, decides.
	TwoPerson      TwoPerson `yaml:"two_person" json:"two_person,omitzero" doc:"production: two people approve every action there"`
	PerHour        int       `yaml:"per_hour" json:"per_hour" doc:"actions in an hour over all accounts, then a person decides (default 10)"`
	PerAccountHour int       `yaml:"per_account_hour" json:"per_account_hour" doc:"actions in an hour in one account, then a person decides (default 3)"`
	PerAccountDay  int       `yaml:"per_account_day" json:"per_account_day" doc:"actions in a day in one account, then a person decides (default 10)"`
	KeyShare       float64   `yaml:"key_share" json:"key_share" doc:"largest part of an account's AccessKeys acted on in a day, 0 to 1; 0 is no such limit"`

	shared bool // a playbook may act on what others use by itself
}

// TwoPerson says where two people have to approve. Playbooks in Except keep
// their mode: a fast lane that is trusted with production.
type TwoPerson struct {
	Accounts []string `yaml:"accounts" json:"accounts,omitempty" doc:"account ids or globs"`
	Units    []string `yaml:"units" json:"units,omitempty" doc:"organisation units"`
	// Production is safe where nothing is said: who is in no table counts.
	Production bool     `yaml:"production" json:"production,omitempty" doc:"also for identities that the tables detect.owners call production, or do not name"`
	Except     []string `yaml:"except" json:"except,omitempty" doc:"playbooks that may act alone there, by name"`
}

// needs says whether an action in an account needs two people.
func (t TwoPerson) needs(a Action, units Units, production func(ActionTarget) string) bool {
	if a.Requester == requesterPlaybook && slices.Contains(t.Except, a.Playbook) {
		return false
	}
	if t.Production && (production == nil || production(a.Target) != "no") {
		return true
	}
	return globAny(t.Accounts, a.Target.AccountID) || units.hold(t.Units, a.Target.AccountID)
}

// Protected lists who is never acted on. Entries are names or globs, letters
// fold; a user may be written as account/name to mean one account only.
type Protected struct {
	Users    []string `yaml:"users" json:"users" doc:"RAM user names or globs, or account/name"`
	Roles    []string `yaml:"roles" json:"roles" doc:"role names or globs, or account/name"`
	Accounts []string `yaml:"accounts" json:"accounts" doc:"whole accounts"`
	Keys     []string `yaml:"keys" json:"keys" doc:"AccessKey ids"`
}

func (p Protected) validate(at string) []error {
	var errs []error
	for _, l := range []struct {
		field string
		list  []string
	}{{"users", p.Users}, {"roles", p.Roles}, {"keys", p.Keys}} {
		for i, s := range l.list {
			if strings.TrimSpace(s) != s || s == "" {
				errs = append(errs, fmt.Errorf("%s.%s[%d]: %q: want a name or a glob without spaces around it", at, l.field, i, s))
			}
		}
	}
	for i, s := range p.Accounts {
		if !validAccountPattern(s) {
			errs = append(errs, fmt.Errorf("%s.accounts[%d]: %q: want an account id (digits) or a glob", at, i, s))
		}
	}
	return errs
}

func (p Protected) with(q Protected) Protected {
	return Protected{
		Users:    slices.Concat(p.Users, q.Users),
		Roles:    slices.Concat(p.Roles, q.Roles),
		Accounts: slices.Concat(p.Accounts, q.Accounts),
		Keys:     slices.Concat(p.Keys, q.Keys),
	}
}

// Validate checks the limits; errors name the field.
func (c GuardConfig) Validate() error {
	errs := c.Protected.validate("guards.protected")
	for i, s := range c.TwoPerson.Accounts {
		if !validAccountPattern(s) {
			errs = append(errs, fmt.Errorf("guards.two_person.accounts[%d]: %q: want an account id (digits) or a glob", i, s))
		}
	}
	for _, n := range []struct {
		field string
		n     int
	}{{"per_hour", c.PerHour}, {"per_account_hour", c.PerAccountHour}, {"per_account_day", c.PerAccountDay}} {
		if n.n < 0 {
			errs = append(errs, fmt.Errorf("guards.%s: %d: want 1 or more, or leave it out for the default", n.field, n.n))
		}
	}
	if !(c.KeyShare >= 0 && c.KeyShare <= 1) {
		errs = append(errs, fmt.Errorf("guards.key_share: %v: want 0 to 1", c.KeyShare))
	}
	return errors.Join(errs...)
}

// DefaultGuardConfig is the limits that hold where nothing is configured.
func DefaultGuardConfig() GuardConfig { return GuardConfig{}.withDefaults(GuardOverrides{}) }

// withDefaults fills in the defaults and the overrides of a playbook.
func (c GuardConfig) withDefaults(o GuardOverrides) GuardConfig {
	pick := func(override, configured, def int) int {
		if override > 0 {
			return override
		}
		if configured > 0 {
			return configured
		}
		return def
	}
	c.Protected = c.Protected.with(o.Protected)
	c.PerHour = pick(o.PerHour, c.PerHour, 10)
	c.PerAccountHour = pick(o.PerAccountHour, c.PerAccountHour, 3)
	c.PerAccountDay = pick(o.PerAccountDay, c.PerAccountDay, 10)
	if o.MaxEvidenceAge > 0 {
		c.MaxEvidenceAge = o.MaxEvidenceAge
	}
	c.MaxEvidenceAge = Duration(c.MaxEvidenceAge.or(30 * time.Minute))
	c.shared = o.Shared
	return c
}

// Origin says where an alert came from. Only live ones may act.
type Origin string

// The origins. The empty one is unknown and never acts.
const (
	Live     Origin = "live"
	Replayed Origin = "replay"
	Backfill Origin = "backfill"
)

// Identity is a principal of our own: the responder's, the reader's.
type Identity struct {
	AccountID   string
	UserName    string // of a RAM user
	RoleName    string // of a role
	AccessKeyID string // of a long-term key
}

// Execution is one action that was begun, for the caps.
type Execution struct {
	ActionID string       `json:"action"`
	Target   ActionTarget `json:"target"`
	At       time.Time    `json:"at"`
	// Open says that its outcome is not known yet.
	Open bool `json:"open,omitempty"`
	// Undo says that only its undo was begun lately, which counts against no cap.
	Undo bool `json:"undo,omitempty"`
}

// Freeze is the state of the kill switch.
type Freeze struct {
	Frozen bool      `json:"frozen"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// HandsOn is a person's undoing of something we had done to a target.
type HandsOn struct {
	At     time.Time `json:"at"` // event time
	By     string    `json:"by,omitempty"`
	Target ActionTarget
	// SwitchedOn is when the audit trail last told of it, zero for never: an undo
	// of ours is no such thing.
	SwitchedOn time.Time `json:"switched_on,omitzero"`
}

// Env is what guards look at. The facts that had to be read carry the error of
// reading them: a guard whose fact is missing refuses.
type Env struct {
	Now    time.Time
	Origin Origin
	// Asked is when the action was proposed.
	Asked time.Time
	// About is what this action is about; what its kind is about by default
	// when zero.
	About About
	// People is how many different people have approved it.
	People int
	// TwoPerson says that the account wants two of them.
	TwoPerson bool
	// Before is the state of the action that this one comes after, empty when
	// there is none.
	Before    State
	BeforeErr error
	// Person is set when people approved this exact action: what limits
	// automatic action only does not apply.
	Person bool
	Config GuardConfig // defaults and overrides applied
	Kinds  []string    // kinds that have an executor

	Self    []Identity
	SelfErr error

	Freeze    Freeze
	FreezeErr error

	Executions    []Execution // of the last day, other actions only
	ExecutionsErr error

	// InWork are other actions whose effect on the same target is not
	// settled.
	InWork    []string
	InWorkErr error

	HandsOn    HandsOn // zero when nobody did
	HandsOnErr error

	// KnownKeys counts the account's AccessKeys; asked for only when a share
	// is configured.
	KnownKeys    int
	KnownKeysErr error

	beforeAsks bool // the one before waits for people
	ledger     ledger
	ledgerSeq  uint64
}

// journalErr is the first error of reading facts from the journal.
func (env *Env) journalErr() error {
	return cmp.Or(env.FreezeErr, env.HandsOnErr, env.ExecutionsErr, env.InWorkErr, env.BeforeErr)
}

func (env *Env) about(a Action) About {
	if env.About != 0 {
		return env.About
	}
	return kindAbout(a.Kind).of(a)
}

// Verdict is a guard's answer. The zero value lets the action pass.
type Verdict struct {
	Guard    string // name of the guard that speaks
	Decision Decision
	Reason   string // one sentence: why not
	Next     string // the next best step for a person
}

// Decision is how a verdict ends.
type Decision uint8

// The decisions.
const (
	Pass   Decision = iota
	Refuse          // this must not be done
	Ask             // not by itself: a person has to approve
	Wait            // not now: ask again in a moment
)

func (d Decision) String() string {
	return [...]string{"pass", "refuse", "ask", "wait"}[min(d, Wait)]
}

// Guard may forbid an action. Check is pure: it looks at the action and the
// environment only, and is called before a proposal is shown and again right
// before the effect.
type Guard interface {
	Name() string
	Check(a Action, env *Env) Verdict
}

// DefaultGuards are all guards, in the order in which they speak: what can
// never be right first, what may change with time last.
func DefaultGuards() []Guard {
	return []Guard{
		originGuard{}, kindGuard{}, rootGuard{}, targetGuard{}, keyGuard{}, protectedGuard{}, selfGuard{},
		evidenceGuard{}, freshGuard{}, handsOnGuard{}, freezeGuard{}, twoPersonGuard{}, sharedGuard{}, orderGuard{}, conflictGuard{}, capGuard{}, shareGuard{},
	}
}

// checkAll asks the guards in order; the first that does not pass decides,
// except that a refusal wins over an ask or a wait. A guard that panics refuses.
func checkAll(guards []Guard, a Action, env *Env) Verdict {
	var out Verdict
	for _, g := range guards {
		v := checkOne(g, a, env)
		if v.Decision == Pass {
			continue
		}
		if v.Guard == "" {
			v.Guard = g.Name()
		}
		if v.Decision == Refuse {
			return v
		}
		if out.Decision == Pass || out.Decision == Wait && v.Decision == Ask {
			out = v
		}
	}
	return out
}

func checkOne(g Guard, a Action, env *Env) (v Verdict) {
	defer func() {
		if r := recover(); r != nil {
			v = refuse(fmt.Sprintf("the guard failed (%v), so nothing is done", r), "look at the alert and act by hand; report the failure")
		}
	}()
	return g.Check(a, env)
}

func refuse(reason, next string) Verdict {
	return Verdict{Decision: Refuse, Reason: reason, Next: next}
}
func ask(reason, next string) Verdict { return Verdict{Decision: Ask, Reason: reason, Next: next} }

const (
	nextByHand = "look at the alert and act by hand if it is real"
	nextPage   = "page a person"
)

type originGuard struct{}

func (originGuard) Name() string { return "origin" }
func (originGuard) Check(_ Action, env *Env) Verdict {
	switch env.Origin {
	case Live:
		return Verdict{}
	case Replayed, Backfill:
		return refuse(fmt.Sprintf("the alert comes from a %s, and the past is never acted on", env.Origin), nextByHand)
	}
	return refuse("it is not known whether the alert is live", nextByHand)
}

type kindGuard struct{}

func (kindGuard) Name() string { return "kind" }
func (kindGuard) Check(a Action, env *Env) Verdict {
	if !slices.Contains(env.Kinds, a.Kind) {
		return refuse(fmt.Sprintf("nothing here can do %q", a.Kind), "enable respond.ram, or correct the playbook")
	}
	if len(env.Config.Kinds) > 0 && !slices.Contains(env.Config.Kinds, a.Kind) {
		return refuse(fmt.Sprintf("%s is not among the allowed kinds (respond.guards.kinds)", a.Kind), nextByHand)
	}
	return Verdict{}
}

type rootGuard struct{}

func (rootGuard) Name() string { return "root" }
func (rootGuard) Check(a Action, env *Env) Verdict {
	t := a.Target
	if env.about(a)&nobody != 0 {
		return Verdict{} // it is about no principal
	}
	// A RAM user may be named root; only where nobody says what the principal
	// is does the name decide.
	if t.PrincipalType == typeRoot || t.PrincipalType == "" && isRootName(t.UserName) {
		return refuse("this is the root account, whose key no role can switch off",
			nextPage+": only the root user can disable or delete this key, in the RAM console")
	}
	return Verdict{}
}

func isRootName(s string) bool {
	return strings.EqualFold(s, "root") || strings.EqualFold(s, "<root>")
}

type targetGuard struct{}

func (targetGuard) Name() string { return "target" }
func (targetGuard) Check(a Action, env *Env) Verdict {
	t := a.Target
	if t.AccountID == "" || strings.Trim(t.AccountID, "0123456789") != "" {
		return refuse("the alert does not say which account this is", nextByHand)
	}
	about := env.about(a)
	if about&nobody != 0 {
		if t.UserName != "" || t.RoleName != "" || t.AccessKeyID != "" {
			return refuse("it is about a group, a policy or a trail, and names a principal besides", nextByHand)
		}
		return missing(a)
	}
	switch t.PrincipalType {
	case typeUser:
		if about&AboutUser == 0 {
			return refuse("this acts on a role, and the alert is about a user", "act on the user: disable the key, or quarantine the user")
		}
		if t.UserName == "" {
			return refuse("the alert names no user, and a call without a user name would hit our own key",
				"find the owner of the key, then disable it by hand")
		}
		if strings.ContainsFunc(t.UserName, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '*' || r == '?' }) {
			return refuse("the user name holds characters that no RAM user name has", nextByHand)
		}
	case typeRole:
		if about&AboutKey != 0 {
			return refuse("a role has no key of its own; its session tokens end by themselves",
				"disable the key of whoever assumed the role, or cut the role's sessions ("+KindCutRoleSessions+")")
		}
		if about&AboutRole == 0 {
			return refuse("this acts on a user, and the alert is about a role", "cut the role's sessions ("+KindCutRoleSessions+")")
		}
		if t.RoleName == "" {
			return refuse("the alert names no role", nextByHand)
		}
	case "":
		return refuse("the alert does not say whose key this is", "find the owner of the key, then disable it by hand")
	default:
		return refuse(fmt.Sprintf("a principal of type %s has no key that could be switched off", t.PrincipalType), nextByHand)
	}
	return missing(a)
}

// wanted are the parameters that a kind cannot do without.
var wanted = map[string][]string{
	KindDetachPolicy: {"policy_type", "policy_name"}, KindSetPolicyVersion: {"policy_name", "version_id"},
	KindRemoveFromGroup: {"group"}, KindStartTrail: {"trail"}, KindNarrowTrust: {"remove"},
}

func missing(a Action) Verdict {
	if v, set := a.Target.Params["allow"]; set && v == "" {
		return refuse("the key's usual networks are not known, so no fence can be drawn", "disable the key instead ("+KindDisableAccessKey+")")
	}
	for _, p := range wanted[a.Kind] {
		if a.Target.Params[p] != "" {
			continue
		}
		if p == "version_id" {
			return refuse("it is not known which version was in force before", "look at the versions (aliyun ram ListPolicyVersions) and set the right one by hand")
		}
		return refuse("neither the alert nor the playbook names the "+strings.ReplaceAll(p, "_", " "), nextByHand)
	}
	return Verdict{}
}

// needsKey says whether an action is about one AccessKey.
func needsKey(kind string) bool { return strings.Contains(kind, "access_key") }

type keyGuard struct{}

func (keyGuard) Name() string { return "key" }
func (keyGuard) Check(a Action, env *Env) Verdict {
	k := a.Target.AccessKeyID
	switch {
	case k == "" && env.about(a)&AboutKey == 0:
		return Verdict{}
	case k == "":
		return refuse("the alert names no AccessKey", nextByHand)
	case hasPrefixFold(k, "STS."):
		return refuse("this is a temporary token, which cannot be switched off",
			"disable the key of whoever opened the session, or deny the role")
	case hasPrefixFold(k, "TMP."):
		return refuse("this is a console session, which has no key to switch off", "block the console login of the user")
	case strings.Contains(k, "*"):
		return refuse("the record masks the AccessKey, so it cannot be told which one it is", nextByHand)
	case strings.Trim(k, keyAlphabet) != "" || len(k) < 16 || len(k) > 40:
		return refuse("the AccessKey does not look like one that a user owns", nextByHand)
	}
	return Verdict{}
}

const keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

type protectedGuard struct{}

func (protectedGuard) Name() string { return "protected" }
func (protectedGuard) Check(a Action, env *Env) Verdict {
	t, p := a.Target, env.Config.Protected
	const next = nextPage + ": this principal is protected by configuration"
	// A user written as name@… in one place and as name in another is the
	// same user.
	user, _, _ := strings.Cut(t.UserName, "@")
	matches := func(list []string, name string) bool {
		return name != "" && (globAny(list, name) || globAny(list, t.AccountID+"/"+name))
	}
	switch {
	case hasPrefixFold(t.RoleName, "AliyunServiceRole"):
		return refuse("this is a role of Alibaba Cloud's own services", nextPage)
	case globAny(p.Accounts, t.AccountID):
		return refuse("the account is protected", next)
	case matches(p.Users, user) || matches(p.Users, t.UserName):
		return refuse("the user is protected", next)
	case matches(p.Roles, t.RoleName):
		return refuse("the role is protected", next)
	case t.AccessKeyID != "" && globAny(p.Keys, t.AccessKeyID):
		return refuse("the AccessKey is protected", next)
	}
	return Verdict{}
}

type selfGuard struct{}

func (selfGuard) Name() string { return "self" }
func (selfGuard) Check(a Action, env *Env) Verdict {
	if env.SelfErr != nil {
		return Verdict{Decision: Wait, Reason: "who we are in the cloud could not be found out, so this might be our own key", Next: "check the responder's credentials"}
	}
	if len(env.Self) == 0 {
		return refuse("who we are in the cloud is not known, so this might be our own key", "check the responder's credentials")
	}
	t := a.Target
	user, _, _ := strings.Cut(t.UserName, "@")
	for _, s := range env.Self {
		same := s.AccountID == "" || s.AccountID == t.AccountID
		if s.AccessKeyID != "" && strings.EqualFold(s.AccessKeyID, t.AccessKeyID) ||
			same && s.UserName != "" && strings.EqualFold(s.UserName, user) ||
			same && s.RoleName != "" && strings.EqualFold(s.RoleName, t.RoleName) {
			return refuse("this is the identity that trailwarden itself works with", nextPage+": our own credentials did something that a rule forbids")
		}
	}
	return Verdict{}
}

type evidenceGuard struct{}

func (evidenceGuard) Name() string { return "evidence" }
func (evidenceGuard) Check(a Action, _ *Env) Verdict {
	switch {
	case len(a.Evidence.EventIDs) == 0:
		return refuse("the alert names no event as evidence", nextByHand)
	case a.Evidence.Outcome == "success", a.Evidence.RefusalIsEvidence && a.Evidence.Outcome == "attempt":
		return Verdict{}
	case a.Evidence.Outcome == "attempt":
		return refuse("the call was refused, so the act did not happen", "watch the actor; nothing was changed")
	}
	return refuse("the alert does not say whether the act happened", nextByHand)
}

type freshGuard struct{}

func (freshGuard) Name() string { return "fresh" }
func (freshGuard) Check(a Action, env *Env) Verdict {
	const ahead = 5 * time.Minute // clocks differ; more is a forged or broken time
	at, now, limit := a.Evidence.Time, env.Now, env.Config.MaxEvidenceAge.Std()
	if env.Person {
		// People saw how old it was when they were asked, and how long they
		// had is bounded by the expiry of the proposal.
		now = env.Asked
	}
	switch {
	case at.IsZero() || now.IsZero():
		return refuse("the time of the evidence is not known", nextByHand)
	case at.After(now.Add(ahead)):
		return refuse(fmt.Sprintf("the evidence is from the future (%s)", at.UTC().Format(time.RFC3339)), "check the clocks, and act by hand if it is real")
	case a.Requester != "" && a.Requester != requesterPlaybook:
		return Verdict{} // a person asked for it, looking at it now; another one approves
	case now.Sub(at) > limit:
		return refuse(fmt.Sprintf("the evidence is %s old and the limit is %s", now.Sub(at).Truncate(time.Second), limit), "look at what is true now and act by hand")
	}
	return Verdict{}
}

type handsOnGuard struct{}

func (handsOnGuard) Name() string { return "hands-off" }
func (handsOnGuard) Check(a Action, env *Env) Verdict {
	if env.HandsOnErr != nil {
		return refuse("it could not be read whether a person has undone this before", nextByHand)
	}
	if env.Person || env.HandsOn.At.IsZero() {
		return Verdict{}
	}
	return ask(fmt.Sprintf("somebody took back at %s what we had done to it", env.HandsOn.At.UTC().Format(time.RFC3339)),
		"ask who did that, then approve or deny")
}

type freezeGuard struct{}

func (freezeGuard) Name() string { return "freeze" }
func (freezeGuard) Check(_ Action, env *Env) Verdict {
	if env.FreezeErr != nil {
		return refuse("the kill switch could not be read", nextByHand)
	}
	if env.Freeze.Frozen {
		return ask(fmt.Sprintf("all actions are frozen since %s by %s", env.Freeze.At.UTC().Format(time.RFC3339), env.Freeze.By),
			"trailwarden action unfreeze, then approve it")
	}
	return Verdict{}
}

type twoPersonGuard struct{}

func (twoPersonGuard) Name() string { return "two-person" }
func (twoPersonGuard) Check(_ Action, env *Env) Verdict {
	if !env.TwoPerson || env.People >= 2 {
		return Verdict{}
	}
	return ask("two people have to approve what is done in this account (respond.guards.two_person)", "have two approvers look at it")
}

type sharedGuard struct{}

func (sharedGuard) Name() string { return "shared" }
func (sharedGuard) Check(a Action, env *Env) Verdict {
	if env.Person || env.Config.shared || env.about(a)&shared == 0 || a.Kind == KindDetachPolicy && a.Target.PrincipalType == typeUser {
		return Verdict{}
	}
	return ask("others may depend on this role, group or policy", "see who uses it, then approve or deny")
}

type orderGuard struct{}

func (orderGuard) Name() string { return "order" }
func (orderGuard) Check(a Action, env *Env) Verdict {
	switch {
	case a.After == "":
		return Verdict{}
	case env.BeforeErr != nil:
		return refuse("it could not be read how the step before it ended", nextByHand)
	case env.Before == "":
		return refuse("there is no record of the step before it", nextByHand)
	case env.Before == Approved, env.Before == Executing, env.Before == InDoubt, env.Before == Undoing,
		env.Before == Proposed && !env.Person && a.Mode == Auto && !env.beforeAsks:
		return Verdict{Decision: Wait, Reason: fmt.Sprintf("action %s comes first and is %s", short(a.After), env.Before), Next: "wait for it to end"}
	}
	return Verdict{} // it ended somehow, or waits for people: each step stands for itself
}

type conflictGuard struct{}

func (conflictGuard) Name() string { return "conflict" }
func (conflictGuard) Check(_ Action, env *Env) Verdict {
	if env.InWorkErr != nil {
		return refuse("it could not be read whether another action on the same target is under way", nextByHand)
	}
	if len(env.InWork) > 0 {
		return Verdict{Decision: Wait, Reason: fmt.Sprintf("action %s on the same target is under way", short(env.InWork[0])), Next: "wait for it to end"}
	}
	return Verdict{}
}

// sameTarget says whether two actions could get in each other's way: the same
// key, or the same principal where one of them is not about a single key.
func sameTarget(a, b ActionTarget) bool {
	if a.AccountID != b.AccountID {
		return false
	}
	if a.AccessKeyID != "" && b.AccessKeyID != "" {
		return strings.EqualFold(a.AccessKeyID, b.AccessKeyID)
	}
	if a.PrincipalType == "" && b.PrincipalType == "" && a.UserName+a.RoleName+b.UserName+b.RoleName == "" {
		return paramsOf(a) == paramsOf(b)
	}
	return strings.EqualFold(a.UserName, b.UserName) && strings.EqualFold(a.RoleName, b.RoleName)
}

// inTheWay says whether the effect of one action could change what the other
// finds or restores: the same target, or the same group or policy behind two
// targets. Somebody is taken out of a group that is about to lose a policy: done at
// once, each would record a state that undoing the other never comes back to.
func inTheWay(a, b ActionTarget) bool {
	if sameTarget(a, b) {
		return true
	}
	if a.AccountID != b.AccountID {
		return false
	}
	group := a.Params["group"]
	policy := ownPolicy(a)
	return group != "" && strings.EqualFold(group, b.Params["group"]) || policy != "" && policy == ownPolicy(b)
}

// ownPolicy is the name of the account's own policy that a target is about. The
// policies of the cloud are the same for everybody and never change by our hand.
func ownPolicy(t ActionTarget) string {
	if strings.EqualFold(t.Params["policy_type"], "System") {
		return ""
	}
	return t.Params["policy_name"]
}

// paramsOf names a target that is no principal: the group, the policy or the
// trail. What is to become of it is not part of the name.
func paramsOf(t ActionTarget) string {
	if g := t.Params["group"]; g != "" {
		return "group/" + strings.ToLower(g)
	}
	if p := t.Params["policy_name"]; p != "" {
		return "policy/" + p
	}
	if p := t.Params["trail"]; p != "" {
		return "trail/" + p
	}
	return ""
}

type capGuard struct{}

func (capGuard) Name() string { return "cap" }
func (capGuard) Check(a Action, env *Env) Verdict {
	if env.ExecutionsErr != nil {
		return refuse("it could not be read how much was done lately", nextByHand)
	}
	if env.Person {
		return Verdict{} // the caps stop the machine, so that a person decides
	}
	accountHour, hour := env.ledger.begun(a.Target.AccountID, env.Now, time.Hour)
	accountDay, _ := env.ledger.begun(a.Target.AccountID, env.Now, 24*time.Hour)
	for _, e := range env.Executions {
		age := env.Now.Sub(e.At)
		if e.Undo || age >= 24*time.Hour {
			continue
		}
		mine := e.Target.AccountID == a.Target.AccountID
		if mine {
			accountDay++
		}
		if age < time.Hour {
			hour++
			if mine {
				accountHour++
			}
		}
	}
	c := env.Config
	const next = "many keys at once: see whether one cause is behind it, then approve or deny each"
	switch {
	case hour >= c.PerHour:
		return ask(fmt.Sprintf("%d actions were done in the last hour and the cap is %d", hour, c.PerHour), next)
	case accountHour >= c.PerAccountHour:
		return ask(fmt.Sprintf("%d actions were done in this account in the last hour and the cap is %d", accountHour, c.PerAccountHour), next)
	case accountDay >= c.PerAccountDay:
		return ask(fmt.Sprintf("%d actions were done in this account in the last day and the cap is %d", accountDay, c.PerAccountDay), next)
	}
	return Verdict{}
}

type shareGuard struct{}

func (shareGuard) Name() string { return "share" }
func (shareGuard) Check(a Action, env *Env) Verdict {
	c := env.Config
	if c.KeyShare <= 0 || env.Person || env.about(a)&AboutKey == 0 {
		return Verdict{}
	}
	if env.KnownKeysErr != nil {
		return Verdict{Decision: Wait, Reason: "how many keys the account has could not be read, and a share of them is the limit", Next: nextByHand}
	}
	if env.ExecutionsErr != nil || env.KnownKeys <= 0 {
		return refuse("it is not known how many keys the account has, and a share of them is the limit", nextByHand)
	}
	keys := map[string]bool{strings.ToLower(a.Target.AccessKeyID): true}
	for _, e := range env.Executions {
		if !e.Undo && e.Target.AccountID == a.Target.AccountID && e.Target.AccessKeyID != "" && env.Now.Sub(e.At) < 24*time.Hour {
			keys[strings.ToLower(e.Target.AccessKeyID)] = true
		}
	}
	limit := max(1, int(c.KeyShare*float64(env.KnownKeys)))
	before, _ := env.ledger.begun(a.Target.AccountID, env.Now, 24*time.Hour) // each may have been another key
	if n := len(keys) + before; n > limit {
		return ask(fmt.Sprintf("this would be key %d of %d in the account within a day and the limit is %d", n, env.KnownKeys, limit),
			"many keys at once: see whether one cause is behind it, then approve or deny each")
	}
	return Verdict{}
}

// short is the beginning of an id, enough for a person to tell it from others.
func short(id string) string { return id[:min(len(id), 12)] }

// gather reads the facts that guards need.
func (m *Machine) gather(ctx context.Context, r *record) *Env {
	env := &Env{
		Now: m.now(), Origin: r.Origin, Asked: r.ProposedAt, Person: r.approvedByPerson(),
		Config: m.opts.Guards.withDefaults(r.Guards), Kinds: m.kinds,
	}
	about, ok := m.about[r.Action.Kind]
	if !ok {
		about = kindAbout(r.Action.Kind)
	}
	env.About = about.of(r.Action)
	env.TwoPerson = m.opts.Guards.TwoPerson.needs(r.Action, m.opts.Units, m.opts.Production)
	if env.People = len(r.Approvals); r.approvedByPerson() {
		env.People = max(env.People, 1)
	}
	if r.Action.After != "" {
		var before record
		if _, env.BeforeErr = readLast(ctx, m.j, kindAction, r.Action.After, &before); env.BeforeErr == nil {
			env.Before = before.State
			env.beforeAsks = before.Escalated || before.Action.Mode.bounded(m.opts.MaxMode) != Auto
		}
	}
	if m.opts.Self != nil {
		env.Self, env.SelfErr = m.opts.Self(ctx)
	}
	_, env.FreezeErr = readLast(ctx, m.j, kindFreeze, onlyID, &env.Freeze)
	_, env.HandsOnErr = readLast(ctx, m.j, kindHandsOn, targetID(r.Action.Target), &env.HandsOn)
	env.ledgerSeq, env.ExecutionsErr = readLast(ctx, m.j, kindLedger, onlyID, &env.ledger)
	env.InWorkErr = env.ExecutionsErr
	for _, e := range env.ledger.Executions {
		if e.ActionID != r.Action.ID {
			env.Executions = append(env.Executions, e)
		}
	}
	if env.InWorkErr == nil {
		env.InWork, env.InWorkErr = m.inWork(ctx, r.Action, env.Executions)
	}
	if env.Config.KeyShare > 0 {
		env.KnownKeysErr = errors.New("not available")
		if m.opts.KnownKeys != nil {
			env.KnownKeys, env.KnownKeysErr = m.opts.KnownKeys(ctx, r.Action.Target.AccountID)
		}
	}
	return env
}
