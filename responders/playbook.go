package responders

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Playbook maps alerts to ordered actions. Names are unique.
type Playbook struct {
	Name    string           `yaml:"name" json:"name" doc:"a built-in playbook named again inherits what is left out"`
	When    When             `yaml:"when" json:"when"`
	Mode    Mode             `yaml:"mode" json:"mode" doc:"observe (default), approve or auto"`
	Actions []PlaybookAction `yaml:"actions" json:"actions" doc:"in the order in which they are proposed"`
	Guards  GuardOverrides   `yaml:"guards" json:"guards" doc:"limits of this playbook where they differ from respond.guards"`
	// Approvers are names from respond.approvers; empty means each of them.
	Approvers []string `yaml:"approvers" json:"approvers" doc:"who may approve, by name; empty is every approver"`
	Approvals int      `yaml:"approvals" json:"approvals" doc:"distinct people needed (default 1)"`
	Expires   Duration `yaml:"expires" json:"expires" doc:"how long a proposal waits for an answer before nothing is done (default 30m)"`
}

// When says which alerts a playbook is for. Every part that is set must hold;
// a rule that names the playbook itself (its respond field) needs no Rules.
type When struct {
	Rules       []string       `yaml:"rules" json:"rules" doc:"rule ids or globs"`
	MinSeverity alert.Severity `yaml:"min_severity" json:"min_severity,omitzero" doc:"info, low, medium, high or critical"`
	Accounts    []string       `yaml:"accounts" json:"accounts" doc:"account ids or globs; empty is all"`
	// Units are organisation units (Config's units), with all that is below them.
	Units []string `yaml:"units" json:"units,omitempty" doc:"organisation units, as named under units; with accounts, either suffices"`
	// Labels are further facts of the alert; each label that is named must
	// have one of its globs.
	Labels map[string][]string `yaml:"labels" json:"labels,omitempty" doc:"facts of the alert to globs: actor, actor_type, attack, outcome, region, source_ip, event, target, target_type"`
}

// PlaybookAction is one step.
type PlaybookAction struct {
	Kind string `yaml:"kind" json:"kind" doc:"what to do, e.g. ram.disable_access_key"`
	// Key says whose AccessKey the alert offers up: the one that made the
	// call, or the one that the call was about.
	Key    KeyOf             `yaml:"key" json:"key" doc:"actor (default): the key that made the call; target: the key that the call was about"`
	Params map[string]string `yaml:"params" json:"params" doc:"settings of the action"`
	// Else is done instead when the alert or the cloud does not give what the
	// kind needs: no usual networks for a fence.
	Else string `yaml:"else" json:"else,omitempty" doc:"kind to do instead where this one has not what it needs (no usual networks for a fence)"`
	// RefusalIsEvidence accepts alerts on refused calls: only right where
	// being refused proves the matter, as with a key that is known to be leaked.
	RefusalIsEvidence bool `yaml:"refusal_is_evidence" json:"refusal_is_evidence" doc:"a refused call is evidence enough (a key already restricted as leaked)"`
}

// KeyOf chooses between the two keys that an alert can name.
type KeyOf string

// The two keys.
const (
	ActorKey  KeyOf = "actor"
	TargetKey KeyOf = "target"
)

// GuardOverrides are limits of one playbook. Zero means as in GuardConfig.
// Protection cannot be lifted here, only added to.
type GuardOverrides struct {
	Protected      Protected `yaml:"protected" json:"protected" doc:"protected besides those of respond.guards"`
	MaxEvidenceAge Duration  `yaml:"max_evidence_age" json:"max_evidence_age,omitzero" doc:"as in respond.guards, for this playbook"`
	PerHour        int       `yaml:"per_hour" json:"per_hour,omitempty" doc:"as in respond.guards, for this playbook"`
	PerAccountHour int       `yaml:"per_account_hour" json:"per_account_hour,omitempty" doc:"as in respond.guards, for this playbook"`
	PerAccountDay  int       `yaml:"per_account_day" json:"per_account_day,omitempty" doc:"as in respond.guards, for this playbook"`
	Shared         bool      `yaml:"shared" json:"shared,omitempty" doc:"mode auto may act on roles, groups and policies by itself; without it a person approves, since others depend on them"`
}

// Approver is a person who may approve, deny and undo.
type Approver struct {
	Name string `yaml:"name" json:"name" doc:"the person, as playbooks name them"`
	// IDs are the forms in which the person appears, each with the place it
	// comes from: "slack:U0123", "cli:alice", "ram:1000000000000001/alice".
	IDs      []string `yaml:"ids" json:"ids" doc:"how the person appears: slack:U…, feishu:ou_…, dingtalk:<user id>, cli:<user>, ram:<account>/<user>"`
	Accounts []string `yaml:"accounts" json:"accounts" doc:"accounts that the person may decide for, ids or globs; empty is all"`
}

func (a Approver) is(by string) bool {
	return by != "" && (by == a.Name || slices.Contains(a.IDs, by))
}

// same says whether somebody may be this person: letters fold, since who signs in by a
// directory may write a name either way. It gives no right, it takes one.
func (a Approver) same(by string) bool {
	return by != "" && (strings.EqualFold(by, a.Name) || slices.ContainsFunc(a.IDs, func(id string) bool { return strings.EqualFold(id, by) }))
}

const (
	defaultExpires = 30 * time.Minute
	maxExpires     = 7 * 24 * time.Hour
)

// DefaultPlaybooks are the built-in ones, all in mode observe: nothing is
// changed until somebody says so.
func DefaultPlaybooks() []Playbook {
	one := func(name string, rules []string, steps ...PlaybookAction) Playbook {
		return Playbook{Name: name, When: When{Rules: rules}, Mode: Observe, Actions: steps}
	}
	// Who widens their own rights may also join a group or change a policy:
	// then no attachment can be taken back.
	granted := one("granted-admin", []string{"policy.admin_attached", "policy.self_grant"}, PlaybookAction{Kind: KindDetachPolicy, Key: TargetKey})
	granted.When.Labels = map[string][]string{"event": {"*:AttachPolicy*"}}
	return []Playbook{
		one("leaked-key", []string{"ak.leaked_in_use"}, PlaybookAction{Kind: KindDisableAccessKey, Key: ActorKey, RefusalIsEvidence: true}),
		one("found-key", []string{"ak.leak_finding"}, PlaybookAction{Kind: KindDisableAccessKey, Key: TargetKey}),
		one("reactivated-key", []string{"ak.reactivated", "ak.restored_from_bin"}, PlaybookAction{Kind: KindDisableAccessKey, Key: TargetKey}),
		one("new-key-for-other", []string{"ak.created_for_other"}, PlaybookAction{Kind: KindDisableAccessKey, Key: TargetKey}),
		one("new-key", []string{"ak.created"}, PlaybookAction{Kind: KindDisableAccessKey, Key: TargetKey}),
		one("suspicious-key", []string{"ak.new_source_ip"}, PlaybookAction{Kind: KindDisableAccessKey, Key: ActorKey}),
		one("new-console-login", []string{"login.profile_created", "login.reset_then_signin"}, PlaybookAction{Kind: KindBlockConsole, Key: TargetKey}),
		one("taken-over-user", []string{"user.created_then_admin", "chain.key_takeover"},
			PlaybookAction{Kind: KindBlockConsole, Key: TargetKey}, PlaybookAction{Kind: KindQuarantineUser, Key: TargetKey}),
		granted,
		one("widened-policy", []string{"policy.expanded"}, PlaybookAction{Kind: KindSetPolicyVersion}),
		one("joined-privileged-group", []string{"group.privileged_add"}, PlaybookAction{Kind: KindRemoveFromGroup, Key: TargetKey}),
		one("stolen-role", []string{"role.ecs_creds_off_cloud"}, PlaybookAction{Kind: KindCutRoleSessions, Key: ActorKey}),
		one("opened-role", []string{"role.trust_external"},
			PlaybookAction{Kind: KindNarrowTrust, Key: TargetKey, Params: map[string]string{"remove": "external"}},
			PlaybookAction{Kind: KindCutRoleSessions, Key: TargetKey}),
		one("stopped-trail", []string{"trail.stopped"}, PlaybookAction{Kind: KindStartTrail}),
	}
}

// MergePlaybooks puts the configured playbooks before the built-in ones.
// Order is precedence: where two ask for the same action, the first decides
// about mode and guards. A configured playbook with a built-in's name replaces
// it and inherits what it leaves out of when and actions, so that
// {name: leaked-key, mode: auto} is enough.
func MergePlaybooks(builtin, configured []Playbook) []Playbook {
	out := make([]Playbook, 0, len(builtin)+len(configured))
	named := map[string]bool{}
	for _, p := range configured {
		named[p.Name] = true
		if i := slices.IndexFunc(builtin, func(b Playbook) bool { return b.Name == p.Name }); i >= 0 {
			if len(p.When.Rules) == 0 {
				p.When.Rules = builtin[i].When.Rules
				if p.When.Labels == nil {
					p.When.Labels = builtin[i].When.Labels
				}
			}
			if len(p.Actions) == 0 {
				p.Actions = builtin[i].Actions
			}
		}
		out = append(out, p)
	}
	for _, p := range builtin {
		if !named[p.Name] {
			out = append(out, p)
		}
	}
	return out
}

// ValidatePlaybooks checks merged playbooks against the approvers and, when
// kinds is not nil, against the kinds of action that exist. Each error names
// the field, as "playbooks[0].actions[1].kind: …"; all are returned, joined.
func ValidatePlaybooks(playbooks []Playbook, approvers []Approver, kinds []string) error {
	var errs []error
	names := map[string]int{}
	for i, p := range playbooks {
		at := fmt.Sprintf("playbooks[%d]", i)
		errs = append(errs, p.validate(at, approvers, kinds)...)
		if first, ok := names[p.Name]; ok && p.Name != "" {
			errs = append(errs, fmt.Errorf("%s.name: %q is playbooks[%d] already", at, p.Name, first))
		} else {
			names[p.Name] = i
		}
	}
	return errors.Join(errs...)
}

// Validate checks one playbook on its own; see ValidatePlaybooks.
func (p Playbook) Validate() error { return errors.Join(p.validate("playbook", nil, nil)...) }

func (p Playbook) validate(at string, approvers []Approver, kinds []string) []error {
	wrong := faults{at: at}
	if !validName(p.Name) {
		wrong.add(".name", "%q: want 1 to 64 letters, digits, dots, hyphens or underscores", p.Name)
	}
	if !validMode(p.Mode) {
		wrong.add(".mode", "%q: want observe, approve or auto", p.Mode)
	}
	for i, r := range p.When.Rules {
		if r == "" {
			wrong.add(fmt.Sprintf(".when.rules[%d]", i), "empty: want a rule id or a glob")
		}
	}
	for i, a := range p.When.Accounts {
		if !validAccountPattern(a) {
			wrong.add(fmt.Sprintf(".when.accounts[%d]", i), "%q: want an account id (digits) or a glob", a)
		}
	}
	if len(p.Actions) == 0 {
		wrong.add(".actions", "none: want at least one, e.g. {kind: %s, key: actor}", KindDisableAccessKey)
	}
	for i, a := range p.Actions {
		f := fmt.Sprintf(".actions[%d]", i)
		if a.Kind == "" {
			wrong.add(f+".kind", "empty: want a kind such as %s", KindDisableAccessKey)
		} else if kinds != nil && !slices.Contains(kinds, a.Kind) {
			wrong.add(f+".kind", "%q does not exist: want one of %s", a.Kind, strings.Join(kinds, ", "))
		}
		if a.Else != "" && kinds != nil && !slices.Contains(kinds, a.Else) {
			wrong.add(f+".else", "%q does not exist: want one of %s", a.Else, strings.Join(kinds, ", "))
		}
		if a.Key != "" && a.Key != ActorKey && a.Key != TargetKey {
			wrong.add(f+".key", "%q: want actor or target", a.Key)
		}
	}
	for i, u := range p.When.Units {
		if u == "" {
			wrong.add(fmt.Sprintf(".when.units[%d]", i), "empty: want the name of a unit")
		}
	}
	for _, l := range slices.Sorted(maps.Keys(p.When.Labels)) {
		if !slices.Contains(labelNames(), l) {
			wrong.add(".when.labels."+l, "no such label: want one of %s", strings.Join(labelNames(), ", "))
		}
	}
	wrong.errs = append(wrong.errs, p.Guards.Protected.validate(at+".guards.protected")...)
	for _, n := range []struct {
		field string
		n     int
	}{{"per_hour", p.Guards.PerHour}, {"per_account_hour", p.Guards.PerAccountHour}, {"per_account_day", p.Guards.PerAccountDay}} {
		if n.n < 0 {
			wrong.add(".guards."+n.field, "%d: want 1 or more, or leave it out", n.n)
		}
	}
	if p.Approvals < 0 || p.Approvals > 10 {
		wrong.add(".approvals", "%d: want 1 to 10", p.Approvals)
	}
	if p.Expires.Std() > maxExpires {
		wrong.add(".expires", "%s: want at most 7d", p.Expires)
	}
	if approvers != nil {
		for i, name := range p.Approvers {
			if !slices.ContainsFunc(approvers, func(a Approver) bool { return a.Name == name }) {
				wrong.add(fmt.Sprintf(".approvers[%d]", i), "%q is not among respond.approvers", name)
			}
		}
	}
	if p.Mode == Approve && approvers != nil {
		n := len(approvers)
		if len(p.Approvers) > 0 {
			n = len(p.Approvers)
		}
		if n < max(p.Approvals, 1) {
			wrong.add(".mode", "approve needs %d people but %d may approve: add them to respond.approvers", max(p.Approvals, 1), n)
		}
	}
	return wrong.errs
}

// faults collects what is wrong with what stands at a place of the configuration.
type faults struct {
	at   string
	errs []error
}

func (f *faults) add(field, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s%s: %s", f.at, field, fmt.Sprintf(format, args...)))
}

// ValidateApprovers checks the list of approvers; errors name the field.
func ValidateApprovers(approvers []Approver) error {
	var errs []error
	owner := map[string]int{}
	claim := func(i int, field, id string) {
		if first, ok := owner[id]; ok && first != i {
			errs = append(errs, fmt.Errorf("approvers[%d].%s: %q belongs to approvers[%d] already: one form is one person", i, field, id, first))
			return
		}
		owner[id] = i
	}
	for i, a := range approvers {
		switch a.Name {
		case "":
			errs = append(errs, fmt.Errorf("approvers[%d].name: empty", i))
		case requesterPlaybook:
			errs = append(errs, fmt.Errorf("approvers[%d].name: %q is taken by the playbooks themselves", i, a.Name))
		default:
			claim(i, "name", a.Name)
		}
		for k, id := range a.IDs {
			place, who, ok := strings.Cut(id, ":")
			if !ok || place == "" || who == "" {
				errs = append(errs, fmt.Errorf("approvers[%d].ids[%d]: %q: want place:name, such as slack:U0123 or cli:alice", i, k, id))
				continue
			}
			claim(i, fmt.Sprintf("ids[%d]", k), id)
		}
		for k, p := range a.Accounts {
			if !validAccountPattern(p) {
				errs = append(errs, fmt.Errorf("approvers[%d].accounts[%d]: %q: want an account id (digits) or a glob", i, k, p))
			}
		}
	}
	return errors.Join(errs...)
}

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func validMode(m Mode) bool { return m == "" || m == Observe || m == Approve || m == Auto }

func validAccountPattern(s string) bool {
	return s != "" && strings.Trim(s, "0123456789*?") == ""
}

// rank orders modes by how far they go.
func (m Mode) rank() int {
	switch m {
	case Auto:
		return 2
	case Approve:
		return 1
	}
	return 0 // observe, and anything unknown
}

// bounded is m, but no further than limit.
func (m Mode) bounded(limit Mode) Mode {
	if m.rank() > limit.rank() {
		m = limit
	}
	if m.rank() == 0 {
		return Observe
	}
	return m
}

// applies says whether the playbook is for this alert.
func (p Playbook) applies(a *alert.Alert, units Units) bool {
	if a.Playbook != p.Name && !globAny(p.When.Rules, a.Rule) {
		return false
	}
	if a.Severity < p.When.MinSeverity {
		return false
	}
	if len(p.When.Accounts)+len(p.When.Units) > 0 && !globAny(p.When.Accounts, a.AccountID) && !units.hold(p.When.Units, a.AccountID) {
		return false
	}
	for name, globs := range p.When.Labels {
		if !slices.ContainsFunc(label(a, name), func(v string) bool { return globAny(globs, v) }) {
			return false
		}
	}
	return true
}

const requesterPlaybook = "playbook"

// maxEvidence bounds the event ids kept with an action; an alert may fold thousands.
const maxEvidence = 32

// plan lists the actions that the playbook asks for, in order; each waits for
// the one before. What the alert does not name yields an action with an empty
// target, which the guards then refuse in words: silence would look like
// protection.
func (p Playbook) plan(a *alert.Alert) []Action {
	var out []Action
	for _, step := range p.Actions {
		for _, t := range targets(step, a) {
			out = append(out, p.request(step, a, t))
		}
	}
	for i := 1; i < len(out); i++ {
		out[i].After = out[i-1].ID
	}
	return out
}

// request is the action that one step asks for.
func (p Playbook) request(step PlaybookAction, a *alert.Alert, t ActionTarget) Action {
	ids := a.EventIDs
	if len(ids) > maxEvidence {
		ids = ids[len(ids)-maxEvidence:]
	}
	act := Action{
		Kind: step.Kind, AlertID: a.ID, Rule: a.Rule, Playbook: p.Name, Target: t,
		Evidence: Evidence{EventIDs: slices.Clone(ids), Time: a.Time.UTC(), Outcome: a.Outcome, RefusalIsEvidence: step.RefusalIsEvidence},
		Mode:     p.Mode, Requester: requesterPlaybook,
	}
	if a.Outcome == "success" && !a.SuccessAt.IsZero() && !step.RefusalIsEvidence {
		act.Evidence.Time = a.SuccessAt.UTC() // what was refused later is no evidence
	}
	act.ID = ActionID(act)
	return act
}

// seenKeys lists the further keys of the actor that the alert was raised on,
// as the grouper notes them.
func seenKeys(a *alert.Alert) []string {
	seen, _ := a.Details["seen"].(map[string]any)
	var out []string
	switch list := seen["access_key_id"].(type) {
	case []any:
		for _, v := range list {
			if s, ok := v.(string); ok && s != "" {
				out = append(out, s)
			}
		}
	case []string:
		out = append(out, list...)
	}
	if len(out) > maxSeenKeys {
		out = out[:maxSeenKeys]
	}
	return out
}

// maxSeenKeys bounds the keys that one alert can ask to be disabled.
const maxSeenKeys = 5

func actorTarget(a *alert.Alert) ActionTarget {
	t := principal(a.Actor.ID, a.AccountID)
	if t.PrincipalType == "" {
		t.PrincipalType, t.UserName = a.Actor.Type, a.Actor.Name
		if a.Actor.Type == typeRole {
			t.UserName, t.RoleName = "", a.Actor.Role
		}
	}
	// Ids fold letter case; the name is as the cloud wrote it.
	if strings.EqualFold(t.UserName, a.Actor.Name) {
		t.UserName = a.Actor.Name
	}
	if strings.EqualFold(t.RoleName, a.Actor.Role) {
		t.RoleName = a.Actor.Role
	}
	if a.Actor.Type == typeRoot {
		t.PrincipalType = typeRoot
	}
	t.AccessKeyID = a.Actor.AccessKeyID
	return t
}

func targetTarget(a *alert.Alert) ActionTarget {
	t := ActionTarget{AccountID: a.AccountID, AccessKeyID: a.TargetKey}
	if a.Target == nil {
		return t
	}
	if p := principal(a.Target.ID, a.AccountID); p.PrincipalType != "" {
		p.AccessKeyID = a.TargetKey
		if strings.EqualFold(p.UserName, a.Target.Name) {
			p.UserName = a.Target.Name
		}
		if strings.EqualFold(p.RoleName, a.Target.Name) {
			p.RoleName = a.Target.Name
		}
		return p
	}
	switch a.Target.Type {
	case "user":
		t.PrincipalType, t.UserName = typeUser, a.Target.Name
	case "root", typeRoot:
		t.PrincipalType = typeRoot
	}
	return t
}

// The principal types that actions tell apart.
const (
	typeUser = "ram-user"
	typeRoot = "root-account"
	typeRole = "assumed-role"
)

// principal reads the identity form of events ("user/<account>/<name>").
// PrincipalType stays empty for any other text.
func principal(id, account string) ActionTarget {
	kind, rest, ok := strings.Cut(id, "/")
	if !ok {
		return ActionTarget{AccountID: account}
	}
	owner, name, _ := strings.Cut(rest, "/")
	if owner == "" {
		return ActionTarget{AccountID: account}
	}
	switch kind {
	case "user":
		return ActionTarget{AccountID: owner, PrincipalType: typeUser, UserName: name}
	case "role":
		return ActionTarget{AccountID: owner, PrincipalType: typeRole, RoleName: name}
	case "root":
		return ActionTarget{AccountID: owner, PrincipalType: typeRoot}
	}
	return ActionTarget{AccountID: account}
}
