package responders_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/trailwarden/trailwarden/responders"
)

// fine is an action and an environment that every guard lets pass.
func fine() (Action, *Env) {
	a := Action{
		Kind:     kind,
		Target:   ActionTarget{AccountID: account, PrincipalType: "ram-user", UserName: "alice", AccessKeyID: aliceAK},
		Evidence: Evidence{EventIDs: []string{"E1"}, Time: t0.Add(-time.Minute), Outcome: "success"},
	}
	return a, &Env{
		Now: t0, Asked: t0, Origin: Live, Kinds: []string{kind},
		Config: GuardConfig{MaxEvidenceAge: Duration(30 * time.Minute), PerHour: 10, PerAccountHour: 3, PerAccountDay: 10},
		Self:   []Identity{{AccountID: account, UserName: "warden", RoleName: "warden-role", AccessKeyID: "LTAI5tEXAMPLEwarden001"}},
	}
}

func judge(a Action, env *Env) (Verdict, string) {
	v := CheckAll(DefaultGuards(), a, env)
	if v.Decision == Pass {
		v.Guard = ""
	}
	return v, v.Guard
}

func TestGuardsLetPass(t *testing.T) {
	a, env := fine()
	if v, g := judge(a, env); v.Decision != Pass {
		t.Fatalf("%s: %s", g, v.Reason)
	}
}

func TestGuards(t *testing.T) {
	execs := func(n int, account string, age time.Duration) (out []Execution) {
		for i := range n {
			out = append(out, Execution{ActionID: fmt.Sprint(i), At: t0.Add(-age), Target: ActionTarget{AccountID: account, AccessKeyID: fmt.Sprint("k", i)}})
		}
		return out
	}
	for _, c := range []struct {
		name  string
		edit  func(a *Action, e *Env)
		guard string
		want  Decision
	}{
		{"replay", func(_ *Action, e *Env) { e.Origin = Replayed }, "origin", Refuse},
		{"backfill", func(_ *Action, e *Env) { e.Origin = Backfill }, "origin", Refuse},
		{"unknown origin", func(_ *Action, e *Env) { e.Origin = "" }, "origin", Refuse},
		{"no executor", func(_ *Action, e *Env) { e.Kinds = nil }, "kind", Refuse},
		{"kind not allowed", func(_ *Action, e *Env) { e.Config.Kinds = []string{"ram.other"} }, "kind", Refuse},
		{"kind allowed", func(_ *Action, e *Env) { e.Config.Kinds = []string{"ram.other", kind} }, "", Pass},
		{"root by type", func(a *Action, _ *Env) { a.Target.PrincipalType, a.Target.UserName = "root-account", "" }, "root", Refuse},
		{"root by name alone", func(a *Action, _ *Env) { a.Target.PrincipalType, a.Target.UserName = "", "Root" }, "root", Refuse},
		{"a RAM user named root", func(a *Action, _ *Env) { a.Target.UserName = "root" }, "", Pass},
		{"root as Alibaba writes it", func(a *Action, _ *Env) { a.Target.PrincipalType, a.Target.UserName = "", "<root>" }, "root", Refuse},
		{"empty user", func(a *Action, _ *Env) { a.Target.UserName = "" }, "target", Refuse},
		{"blank user", func(a *Action, _ *Env) { a.Target.UserName = " " }, "target", Refuse},
		{"glob for a user", func(a *Action, _ *Env) { a.Target.UserName = "*" }, "target", Refuse},
		{"user with a slash", func(a *Action, _ *Env) { a.Target.UserName = "ops/alice" }, "target", Refuse},
		{"user with a question mark", func(a *Action, _ *Env) { a.Target.UserName = "alic?" }, "target", Refuse},
		{"user with a control character", func(a *Action, _ *Env) { a.Target.UserName = "alice\x7f" }, "target", Refuse},
		{"no account", func(a *Action, _ *Env) { a.Target.AccountID = "" }, "target", Refuse},
		{"strange account", func(a *Action, _ *Env) { a.Target.AccountID = "acme" }, "target", Refuse},
		{"no type", func(a *Action, _ *Env) { a.Target.PrincipalType = "" }, "target", Refuse},
		{"role", func(a *Action, _ *Env) {
			a.Target.PrincipalType, a.Target.UserName, a.Target.RoleName = "assumed-role", "", "deployer"
		}, "target", Refuse},
		{"saml user", func(a *Action, _ *Env) { a.Target.PrincipalType = "saml-user" }, "target", Refuse},
		{"no key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "" }, "key", Refuse},
		{"session token", func(a *Action, _ *Env) { a.Target.AccessKeyID = "STS.EXAMPLEtoken000000001" }, "key", Refuse},
		{"session token, other case", func(a *Action, _ *Env) { a.Target.AccessKeyID = "sts.EXAMPLEtoken000000001" }, "key", Refuse},
		{"console session", func(a *Action, _ *Env) { a.Target.AccessKeyID = "TMP.EXAMPLEtoken000000001" }, "key", Refuse},
		{"masked key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAI5t***EXAMPLE" }, "key", Refuse},
		{"not a key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "NULL" }, "key", Refuse},
		{"key with a blank", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAI5tEXAMPLE 00000001" }, "key", Refuse},
		{"key that is too short", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAIEXAMPLE0001" }, "key", Refuse},
		{"shortest key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAIEXAMPLE00001" }, "", Pass},
		{"longest key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAI5tEXAMPLE" + strings.Repeat("0", 27) }, "", Pass},
		{"key that is too long", func(a *Action, _ *Env) { a.Target.AccessKeyID = "LTAI5tEXAMPLE" + strings.Repeat("0", 28) }, "key", Refuse},
		{"protected user", func(_ *Action, e *Env) { e.Config.Protected.Users = []string{"ALICE"} }, "protected", Refuse},
		{"protected glob", func(_ *Action, e *Env) { e.Config.Protected.Users = []string{"al*"} }, "protected", Refuse},
		{"protected in this account", func(_ *Action, e *Env) { e.Config.Protected.Users = []string{account + "/alice"} }, "protected", Refuse},
		{"protected by the name before @", func(a *Action, e *Env) {
			a.Target.UserName = "alice@" + account + ".onaliyun.com"
			e.Config.Protected.Users = []string{"alice"}
		}, "protected", Refuse},
		{"protected by the whole name", func(a *Action, e *Env) {
			a.Target.UserName = "alice@" + account + ".onaliyun.com"
			e.Config.Protected.Users = []string{"*@" + account + ".onaliyun.com"}
		}, "protected", Refuse},
		{"protected in another account", func(_ *Action, e *Env) { e.Config.Protected.Users = []string{"1000000000000002/alice"} }, "", Pass},
		{"everybody in another account is protected", func(_ *Action, e *Env) {
			e.Config.Protected.Users, e.Config.Protected.Roles = []string{"1000000000000002/*"}, []string{"*"}
		}, "", Pass},
		{"protected account", func(_ *Action, e *Env) { e.Config.Protected.Accounts = []string{account} }, "protected", Refuse},
		{"protected key", func(_ *Action, e *Env) { e.Config.Protected.Keys = []string{strings.ToLower(aliceAK)} }, "protected", Refuse},
		{"own key", func(a *Action, _ *Env) { a.Target.AccessKeyID = "ltai5texamplewarden001" }, "self", Refuse},
		{"own user", func(a *Action, _ *Env) { a.Target.UserName = "Warden" }, "self", Refuse},
		{"own user as UPN", func(a *Action, _ *Env) { a.Target.UserName = "warden@x.onaliyun.com" }, "self", Refuse},
		{"own user's name in another account", func(a *Action, e *Env) { a.Target.UserName, e.Self[0].AccountID = "warden", "1000000000000002" }, "", Pass},
		{"own key, account not known", func(a *Action, e *Env) {
			a.Target.AccessKeyID, e.Self[0].AccountID = "LTAI5tEXAMPLEwarden001", "1000000000000002"
		}, "self", Refuse},
		{"own user, account not known", func(a *Action, e *Env) { a.Target.UserName, e.Self[0].AccountID = "warden", "" }, "self", Refuse},
		{"own role's name in another account", func(a *Action, e *Env) {
			a.Kind, e.Kinds, e.Person = KindCutRoleSessions, Kinds(), true
			a.Target = ActionTarget{AccountID: account, PrincipalType: "assumed-role", RoleName: "warden-role"}
			e.Self[0].AccountID = "1000000000000002"
		}, "", Pass},
		{"of our own only the role is known", func(_ *Action, e *Env) { e.Self = []Identity{{AccountID: account, RoleName: "warden-role"}} }, "", Pass},
		{"of our own only the user is known", func(a *Action, e *Env) {
			a.Kind, e.Kinds, e.Person = KindCutRoleSessions, Kinds(), true
			a.Target = ActionTarget{AccountID: account, PrincipalType: "assumed-role", RoleName: "deployer"}
			e.Self = []Identity{{AccountID: account, UserName: "warden", AccessKeyID: "LTAI5tEXAMPLEwarden001"}}
		}, "", Pass},
		{"own identity unknown", func(_ *Action, e *Env) { e.Self = nil }, "self", Refuse},
		{"own identity unreadable", func(_ *Action, e *Env) { e.SelfErr = errors.New("STS is down") }, "self", Wait},
		{"no evidence", func(a *Action, _ *Env) { a.Evidence.EventIDs = nil }, "evidence", Refuse},
		{"refused call", func(a *Action, _ *Env) { a.Evidence.Outcome = "attempt" }, "evidence", Refuse},
		{"unknown outcome", func(a *Action, _ *Env) { a.Evidence.Outcome = "" }, "evidence", Refuse},
		{"unknown outcome, refusal is evidence", func(a *Action, _ *Env) { a.Evidence.Outcome, a.Evidence.RefusalIsEvidence = "?", true }, "evidence", Refuse},
		{"refusal as evidence", func(a *Action, _ *Env) { a.Evidence.Outcome, a.Evidence.RefusalIsEvidence = "attempt", true }, "", Pass},
		{"at the age limit", func(a *Action, _ *Env) { a.Evidence.Time = t0.Add(-30 * time.Minute) }, "", Pass},
		{"over the age limit", func(a *Action, _ *Env) { a.Evidence.Time = t0.Add(-30*time.Minute - time.Second) }, "fresh", Refuse},
		{"as far ahead as clocks differ", func(a *Action, _ *Env) { a.Evidence.Time = t0.Add(5 * time.Minute) }, "", Pass},
		{"from the future", func(a *Action, _ *Env) { a.Evidence.Time = t0.Add(6 * time.Minute) }, "fresh", Refuse},
		{"a little ahead", func(a *Action, _ *Env) { a.Evidence.Time = t0.Add(4 * time.Minute) }, "", Pass},
		{"no time", func(a *Action, _ *Env) { a.Evidence.Time = time.Time{} }, "fresh", Refuse},
		{"approved while it was fresh", func(a *Action, e *Env) { e.Person, e.Now = true, t0.Add(29*time.Minute) }, "", Pass},
		{"at the limit when asked", func(a *Action, e *Env) { e.Person, a.Evidence.Time = true, t0.Add(-30*time.Minute) }, "", Pass},
		{"nobody knows when it was asked", func(_ *Action, e *Env) { e.Person, e.Asked = true, time.Time{} }, "fresh", Refuse},
		{"a person asks about the future", func(a *Action, _ *Env) { a.Requester, a.Evidence.Time = "cli:dave", t0.Add(time.Hour) }, "fresh", Refuse},
		{"stale by now", func(_ *Action, e *Env) { e.Now = t0.Add(29*time.Minute + time.Second) }, "fresh", Refuse},
		{"stale when asked", func(a *Action, e *Env) { e.Person, a.Evidence.Time = true, t0.Add(-time.Hour) }, "fresh", Refuse},
		{"switched on again", func(_ *Action, e *Env) { e.HandsOn.At = t0 }, "hands-off", Ask},
		{"switched on again, person", func(_ *Action, e *Env) { e.HandsOn.At, e.Person = t0, true }, "", Pass},
		{"hands unreadable", func(_ *Action, e *Env) { e.HandsOnErr, e.Person = errors.New("x"), true }, "hands-off", Refuse},
		{"frozen", func(_ *Action, e *Env) { e.Freeze.Frozen = true }, "freeze", Ask},
		{"frozen, person", func(_ *Action, e *Env) { e.Freeze.Frozen, e.Person = true, true }, "freeze", Ask},
		{"freeze unreadable", func(_ *Action, e *Env) { e.FreezeErr = errors.New("x") }, "freeze", Refuse},
		{"another in work", func(_ *Action, e *Env) { e.InWork = []string{"0123456789abcdef"} }, "conflict", Wait},
		{"work unreadable", func(_ *Action, e *Env) { e.InWorkErr = errors.New("x") }, "conflict", Refuse},
		{"waits, and people are asked", func(_ *Action, e *Env) { e.SelfErr, e.Freeze.Frozen = errors.New("STS is down"), true }, "freeze", Ask},
		{"people are asked, and it waits", func(_ *Action, e *Env) { e.HandsOn.At, e.InWork = t0, []string{"x"} }, "hands-off", Ask},
		{"people are asked twice", func(_ *Action, e *Env) { e.HandsOn.At, e.Freeze.Frozen = t0, true }, "hands-off", Ask},
		{"waits twice", func(_ *Action, e *Env) { e.SelfErr, e.InWork = errors.New("STS is down"), []string{"x"} }, "self", Wait},
		{"asked, and refused", func(_ *Action, e *Env) { e.HandsOn.At, e.ExecutionsErr = t0, errors.New("x") }, "cap", Refuse},
		{"under the cap", func(_ *Action, e *Env) { e.Executions = execs(2, account, 0) }, "", Pass},
		{"account's hour", func(_ *Action, e *Env) { e.Executions = execs(3, account, 59*time.Minute) }, "cap", Ask},
		{"an hour ago", func(_ *Action, e *Env) { e.Executions = execs(3, account, time.Hour) }, "", Pass},
		{"all accounts' hour", func(_ *Action, e *Env) { e.Executions = execs(10, "1000000000000002", 0) }, "cap", Ask},
		{"account's day", func(_ *Action, e *Env) { e.Executions = execs(10, account, 23*time.Hour) }, "cap", Ask},
		{"under the cap of a day", func(_ *Action, e *Env) { e.Executions = execs(9, account, 23*time.Hour) }, "", Pass},
		{"a day ago", func(_ *Action, e *Env) { e.Executions = execs(10, account, 24*time.Hour) }, "", Pass},
		{"others' day", func(_ *Action, e *Env) { e.Executions = execs(50, "1000000000000002", 23*time.Hour) }, "", Pass},
		{"under all accounts' cap", func(_ *Action, e *Env) { e.Executions = execs(9, "1000000000000002", 0) }, "", Pass},
		{"undone lately", func(_ *Action, e *Env) {
			e.Executions = execs(50, account, 0)
			for i := range e.Executions {
				e.Executions[i].Undo = true
			}
		}, "", Pass},
		{"caps do not bind a person", func(_ *Action, e *Env) { e.Executions, e.Person = execs(50, account, 0), true }, "", Pass},
		{"executions unreadable, person", func(_ *Action, e *Env) { e.ExecutionsErr, e.Person = errors.New("x"), true }, "cap", Refuse},
		{"share", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, account, 0)
		}, "share", Ask},
		{"share that is not used up", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(1, account, 0)
		}, "", Pass},
		{"share of yesterday", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, account, 24*time.Hour)
		}, "", Pass},
		{"share, what has no key", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, account, 0)
			e.Executions[1].Target = ActionTarget{AccountID: account, UserName: "bob"}
		}, "", Pass},
		{"share is of keys", func(a *Action, e *Env) {
			e.Kinds, a.Kind, a.Target.AccessKeyID, e.Config.KeyShare = Kinds(), KindBlockConsole, "", 0.5
		}, "", Pass},
		{"share of another account", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, "1000000000000002", 0)
		}, "", Pass},
		{"share, the same key again", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, account, 0)
			e.Executions[1].Target.AccessKeyID = strings.ToLower(aliceAK)
		}, "", Pass},
		{"share, undone", func(_ *Action, e *Env) {
			e.Config.KeyShare, e.KnownKeys, e.Executions = 0.5, 4, execs(2, account, 0)
			e.Executions[1].Undo = true
		}, "", Pass},
		{"share does not bind a person", func(_ *Action, e *Env) { e.Config.KeyShare, e.Person = 0.5, true }, "", Pass},
		{"share of few is at least one", func(_ *Action, e *Env) { e.Config.KeyShare, e.KnownKeys = 0.1, 2 }, "", Pass},
		{"share of nobody knows", func(_ *Action, e *Env) { e.Config.KeyShare = 0.5 }, "share", Refuse},
		{"share unreadable", func(_ *Action, e *Env) { e.Config.KeyShare, e.KnownKeysErr = 0.5, errors.New("x") }, "share", Wait},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, env := fine()
			c.edit(&a, env)
			v, g := judge(a, env)
			if v.Decision != c.want || g != c.guard {
				t.Fatalf("%s by %q (%s), want %s by %q", v.Decision, g, v.Reason, c.want, c.guard)
			}
			if v.Decision != Pass && (v.Reason == "" || v.Next == "") {
				t.Fatalf("no reason or no next step: %+v", v)
			}
		})
	}
}

// Alibaba's own roles are never touched, also by kinds that are about roles.
func TestServiceLinkedRole(t *testing.T) {
	a, env := fine()
	a.Kind, env.Kinds = "ram.deny_role", []string{"ram.deny_role"}
	a.Target = ActionTarget{AccountID: account, PrincipalType: "assumed-role", RoleName: "deployer"}
	if v, g := judge(a, env); v.Decision != Ask || g != "shared" {
		t.Fatalf("an ordinary role: %s by %s (%s)", v.Decision, g, v.Reason)
	}
	env.Person = true
	if v, _ := judge(a, env); v.Decision != Pass {
		t.Fatalf("an ordinary role, approved: %s", v.Reason)
	}
	for _, role := range []string{"AliyunServiceRoleForECS", "aliyunserviceroleforsls"} {
		a.Target.RoleName = role
		if _, g := judge(a, env); g != "protected" {
			t.Fatalf("%s: %q", role, g)
		}
	}
	a.Target.RoleName = "Warden-Role"
	if _, g := judge(a, env); g != "self" {
		t.Fatalf("our own role: %q", g)
	}
}

// The zero environment, where nothing is known, lets nothing pass.
func TestGuardsFailClosed(t *testing.T) {
	a, _ := fine()
	if v, _ := judge(a, &Env{}); v.Decision != Refuse {
		t.Fatal(v)
	}
	if v, _ := judge(Action{}, &Env{}); v.Decision != Refuse {
		t.Fatal(v)
	}
}

// panicky is a guard with a bug.
type panicky struct{}

func (panicky) Name() string               { return "panicky" }
func (panicky) Check(Action, *Env) Verdict { panic("nil map") }

func TestGuardThatPanicsRefuses(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) { o.GuardList = append(DefaultGuards(), panicky{}) })
	d := w.propose(m, Auto)
	if d.State != Refused || !strings.Contains(d.Reason, "panicky") {
		t.Fatalf("%+v", d.ActionView)
	}
	w.drive(m, time.Minute)
	if w.cloud.count("Execute") != 0 {
		t.Fatal("done")
	}
}

// Whatever a refused action is, it is refused in every mode, and says why.
func TestRefusedWhateverTheMode(t *testing.T) {
	w := newWorld(t)
	for _, mode := range []Mode{Observe, Approve, Auto} {
		m := w.machine()
		d := w.propose(m, mode, func(p *Proposal) {
			p.Action.AlertID = string(mode)
			p.Action.Target = ActionTarget{AccountID: account, PrincipalType: "root-account", AccessKeyID: aliceAK}
		})
		if d.State != Refused || !strings.Contains(d.Reason, "page a person") || d.Undoable {
			t.Fatalf("%s: %+v", mode, d.ActionView)
		}
		if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) {
			t.Fatal(err)
		}
	}
	if len(w.cloud.calls) != 0 {
		t.Fatalf("the cloud was called about root: %v", w.cloud.calls)
	}
}

// The playbook's own limits hold, and what it protects is protected besides.
func TestPlaybookOverrides(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) { o.Guards.Protected.Users = []string{"bob"} })
	for name, c := range map[string]struct {
		edit func(p *Proposal)
		want string
	}{
		"age":       {func(p *Proposal) { p.Guards.MaxEvidenceAge = Duration(30 * time.Second) }, "fresh"},
		"protected": {func(p *Proposal) { p.Guards.Protected.Users = []string{"alice"} }, "protected"},
		"global stays": {func(p *Proposal) {
			p.Guards.Protected.Users = []string{"carol"}
			p.Action.Target.UserName, p.Action.Target.AccessKeyID = "bob", bobAK
		}, "protected"},
	} {
		d := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID = name }, c.edit)
		if d.State != Refused || !strings.HasPrefix(d.Reason, c.want) {
			t.Errorf("%s: %+v", name, d.ActionView)
		}
	}
}

// A playbook's limits come before the configured ones, and those before the defaults.
func TestGuardDefaults(t *testing.T) {
	type limits struct {
		hour, accountHour, accountDay int
		age                           time.Duration
	}
	mine := GuardConfig{PerHour: 20, PerAccountHour: 6, PerAccountDay: 15, MaxEvidenceAge: Duration(10 * time.Minute)}
	theirs := GuardOverrides{PerHour: 1, PerAccountHour: 2, PerAccountDay: 4, MaxEvidenceAge: Duration(time.Hour)}
	for _, c := range []struct {
		config GuardConfig
		over   GuardOverrides
		want   limits
	}{
		{GuardConfig{}, GuardOverrides{}, limits{10, 3, 10, 30 * time.Minute}},
		{mine, GuardOverrides{}, limits{20, 6, 15, 10 * time.Minute}},
		{GuardConfig{}, theirs, limits{1, 2, 4, time.Hour}},
		{mine, theirs, limits{1, 2, 4, time.Hour}},
	} {
		got := WithDefaults(c.config, c.over)
		if l := (limits{got.PerHour, got.PerAccountHour, got.PerAccountDay, got.MaxEvidenceAge.Std()}); l != c.want {
			t.Errorf("%+v with %+v: %+v, want %+v", c.config, c.over, l, c.want)
		}
	}
}

// Of what looks alike to the guards people are told what it is, and what to do about it.
func TestGuardsSayWhatItIs(t *testing.T) {
	for says, edit := range map[string]func(*Action){
		"temporary token":   func(a *Action) { a.Target.AccessKeyID = "STS.EXAMPLEtoken000000001" },
		"console session":   func(a *Action) { a.Target.AccessKeyID = "TMP.EXAMPLEtoken000000001" },
		"masks":             func(a *Action) { a.Target.AccessKeyID = "LTAI5t***EXAMPLE" },
		"no key of its own": func(a *Action) { a.Target.PrincipalType, a.Target.RoleName = "assumed-role", "deployer" },
		"about a user":      func(a *Action) { a.Kind = KindCutRoleSessions },
		"ListPolicyVersions": func(a *Action) {
			a.Kind, a.Target = KindSetPolicyVersion, ActionTarget{AccountID: account, Params: map[string]string{"policy_name": "p"}}
		},
		"names the trail": func(a *Action) { a.Kind, a.Target = KindStartTrail, ActionTarget{AccountID: account} },
		"usual networks":  func(a *Action) { a.Kind, a.Target.Params = KindFenceKey, map[string]string{"allow": ""} },
	} {
		a, env := fine()
		env.Kinds = Kinds()
		edit(&a)
		if v, _ := judge(a, env); v.Decision != Refuse || !strings.Contains(v.Reason+"; "+v.Next, says) {
			t.Errorf("of %q: %s, %s; %s", says, v.Decision, v.Reason, v.Next)
		}
	}
}

func TestGuardConfigValidate(t *testing.T) {
	for field, c := range map[string]GuardConfig{
		"guards.per_hour":               {PerHour: -1},
		"guards.per_account_day":        {PerAccountDay: -1},
		"guards.key_share":              {KeyShare: 1.5},
		"guards.key_share: -0.1":        {KeyShare: -0.1},
		"guards.protected.users[1]":     {Protected: Protected{Users: []string{"a", " b"}}},
		"guards.per_account_hour":       {PerAccountHour: -1},
		"guards.protected.accounts[0]":  {Protected: Protected{Accounts: []string{"prod"}}},
		"guards.protected.roles[0]":     {Protected: Protected{Roles: []string{""}}},
		"guards.protected.keys[0]":      {Protected: Protected{Keys: []string{" "}}},
		"guards.two_person.accounts[1]": {TwoPerson: TwoPerson{Accounts: []string{account, "prod"}}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (GuardConfig{KeyShare: 1, TwoPerson: TwoPerson{Accounts: []string{account}}, Protected: Protected{Accounts: []string{"1000*"}}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		p, s string
		want bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "anything", true}, {"a*", "A", true}, {"a*c", "abbbc", true},
		{"a*c", "abbbd", false}, {"?", "", false}, {"?", "x", true}, {"ak.*", "ak.created", true}, {"ak.*", "akx", false},
		{"*a*b*", "xxaxxbxx", true}, {"*a*b", "xxaxxbxx", false}, {"**", "x", true}, {"[a]", "a", false}, {"\\*", "*", false},
	} {
		if got := Glob(c.p, c.s); got != c.want {
			t.Errorf("%q on %q: %v", c.p, c.s, got)
		}
	}
	// Against an obvious, slow matcher.
	var slow func(p, s string) bool
	slow = func(p, s string) bool {
		if p == "" {
			return s == ""
		}
		if p[0] == '*' {
			return slow(p[1:], s) || s != "" && slow(p, s[1:])
		}
		return s != "" && (p[0] == '?' || p[0] == s[0]) && slow(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "p")
		s := rapid.StringMatching(`[ab]{0,10}`).Draw(t, "s")
		if Glob(p, s) != slow(p, s) {
			t.Fatalf("%q on %q: %v", p, s, Glob(p, s))
		}
	})
}

// The guards beyond keys: what is shared, production, order, and targets that
// are no principal.
func TestGuardsOfTheLadder(t *testing.T) {
	nobody := func(a *Action, kind string, params ...string) {
		a.Kind, a.Target = kind, ActionTarget{AccountID: account, Params: map[string]string{}}
		for i := 0; i+1 < len(params); i += 2 {
			a.Target.Params[params[i]] = params[i+1]
		}
	}
	role := func(a *Action, kind string) {
		a.Kind, a.Target = kind, ActionTarget{AccountID: account, PrincipalType: "assumed-role", RoleName: "deployer"}
	}
	for _, c := range []struct {
		name  string
		edit  func(a *Action, e *Env)
		guard string
		want  Decision
	}{
		{"trail", func(a *Action, _ *Env) { nobody(a, KindStartTrail, "trail", "audit") }, "", Pass},
		{"trail without a name", func(a *Action, _ *Env) { nobody(a, KindStartTrail) }, "target", Refuse},
		{"trail with a user", func(a *Action, _ *Env) {
			nobody(a, KindStartTrail, "trail", "audit")
			a.Target.UserName = "alice"
		}, "target", Refuse},
		{"trail with a role", func(a *Action, _ *Env) {
			nobody(a, KindStartTrail, "trail", "audit")
			a.Target.RoleName = "deployer"
		}, "target", Refuse},
		{"trail with a key", func(a *Action, _ *Env) {
			nobody(a, KindStartTrail, "trail", "audit")
			a.Target.AccessKeyID = aliceAK
		}, "target", Refuse},
		{"policy version", func(a *Action, _ *Env) { nobody(a, KindSetPolicyVersion, "policy_name", "p", "version_id", "v1") }, "shared", Ask},
		{"policy version, approved", func(a *Action, e *Env) {
			nobody(a, KindSetPolicyVersion, "policy_name", "p", "version_id", "v1")
			e.Person = true
		}, "", Pass},
		{"version before not known", func(a *Action, _ *Env) { nobody(a, KindSetPolicyVersion, "policy_name", "p") }, "target", Refuse},
		{"protected account holds for trails", func(a *Action, e *Env) {
			nobody(a, KindStartTrail, "trail", "audit")
			e.Config.Protected.Accounts = []string{account}
		}, "protected", Refuse},
		{"policy off a user", func(a *Action, _ *Env) {
			a.Kind, a.Target.Params = KindDetachPolicy, map[string]string{"policy_type": "System", "policy_name": "AdministratorAccess"}
		}, "", Pass},
		{"policy off a group", func(a *Action, _ *Env) {
			nobody(a, KindDetachPolicy, "policy_type", "System", "policy_name", "AdministratorAccess", "group", "ops")
		}, "shared", Ask},
		{"policy off a role", func(a *Action, _ *Env) {
			role(a, KindDetachPolicy)
			a.Target.Params = map[string]string{"policy_type": "System", "policy_name": "AdministratorAccess"}
		}, "shared", Ask},
		{"sessions", func(a *Action, _ *Env) { role(a, KindCutRoleSessions) }, "shared", Ask},
		{"sessions of no role", func(a *Action, _ *Env) {
			role(a, KindCutRoleSessions)
			a.Target.RoleName = ""
		}, "target", Refuse},
		{"sessions, the playbook may", func(a *Action, e *Env) {
			role(a, KindCutRoleSessions)
			e.Config = WithDefaults(GuardConfig{}, GuardOverrides{Shared: true})
		}, "", Pass},
		{"sessions of a protected role", func(a *Action, e *Env) {
			role(a, KindCutRoleSessions)
			e.Config.Protected.Roles = []string{"deploy*"}
		}, "protected", Refuse},
		{"sessions of a user", func(a *Action, _ *Env) { a.Kind = KindCutRoleSessions }, "target", Refuse},
		{"quarantine of a role", func(a *Action, _ *Env) { role(a, KindQuarantineUser) }, "target", Refuse},
		{"own role", func(a *Action, e *Env) {
			role(a, KindCutRoleSessions)
			a.Target.RoleName, e.Person = "WARDEN-role", true
		}, "self", Refuse},
		{"console needs no key", func(a *Action, _ *Env) { a.Kind, a.Target.AccessKeyID = KindBlockConsole, "" }, "", Pass},
		{"fence needs a key", func(a *Action, _ *Env) { a.Kind, a.Target.AccessKeyID = KindFenceKey, "" }, "key", Refuse},
		{"all keys are protected, and it is about none", func(a *Action, e *Env) {
			a.Kind, a.Target.AccessKeyID, e.Config.Protected.Keys = KindBlockConsole, "", []string{"*"}
		}, "", Pass},
		{"console with a token", func(a *Action, _ *Env) { a.Kind, a.Target.AccessKeyID = KindBlockConsole, "STS.EXAMPLEtoken000000001" }, "key", Refuse},
		{"fence", func(a *Action, _ *Env) {
			a.Kind, a.Target.Params = KindFenceKey, map[string]string{"allow": "203.0.113.0/24"}
		}, "", Pass},
		{"fence around nothing", func(a *Action, _ *Env) { a.Kind, a.Target.Params = KindFenceKey, map[string]string{"allow": ""} }, "target", Refuse},
		{"production", func(_ *Action, e *Env) { e.TwoPerson = true }, "two-person", Ask},
		{"production, one person", func(_ *Action, e *Env) { e.TwoPerson, e.Person, e.People = true, true, 1 }, "two-person", Ask},
		{"production, two people", func(_ *Action, e *Env) { e.TwoPerson, e.Person, e.People = true, true, 2 }, "", Pass},
		{"the step before is under way", func(a *Action, e *Env) { a.After, a.Mode, e.Before = "x", Auto, Executing }, "order", Wait},
		{"the step before is in doubt", func(a *Action, e *Env) { a.After, e.Person, e.Before = "x", true, InDoubt }, "order", Wait},
		{"the step before is about to begin", func(a *Action, e *Env) { a.After, a.Mode, e.Before = "x", Auto, Proposed }, "order", Wait},
		{"the step before is approved", func(a *Action, e *Env) { a.After, e.Before = "x", Approved }, "order", Wait},
		{"the step before is being undone", func(a *Action, e *Env) { a.After, e.Before = "x", Undoing }, "order", Wait},
		{"the step before waits for people", func(a *Action, e *Env) { a.After, a.Mode, e.Before = "x", Approve, Proposed }, "", Pass},
		{"the step before has yet to begin, and people want this one", func(a *Action, e *Env) { a.After, a.Mode, e.Before, e.Person = "x", Auto, Proposed, true }, "", Pass},
		{"no record of the step before", func(a *Action, _ *Env) { a.After = "x" }, "order", Refuse},
		{"the step before failed", func(a *Action, e *Env) { a.After, a.Mode, e.Before = "x", Auto, Failed }, "", Pass},
		{"the step before is unreadable", func(a *Action, e *Env) { a.After, e.BeforeErr = "x", errors.New("x") }, "order", Refuse},
		{"a person asks about what is old", func(a *Action, _ *Env) { a.Requester, a.Evidence.Time = "cli:dave", t0.Add(-48*time.Hour) }, "", Pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, env := fine()
			env.Kinds = Kinds()
			c.edit(&a, env)
			v, g := judge(a, env)
			if v.Decision != c.want || g != c.guard {
				t.Fatalf("%s by %q (%s), want %s by %q", v.Decision, g, v.Reason, c.want, c.guard)
			}
		})
	}
}

// Two people in production: a playbook does not act alone, one yes is not
// enough, the requester's does not count, and the exempted fast lane goes on.
func TestTwoPeopleForProduction(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) {
		o.Units = Units{"prod/payments": {account}}
		o.Guards.TwoPerson = TwoPerson{Units: []string{"prod"}, Accounts: []string{"*777"}, Except: []string{"fast"}}
		o.Approvers[2].IDs = nil // alice may approve what is about others; this is about herself
	})
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	d = w.want(m, d.ID, Proposed)
	if d.Need != 2 || !strings.Contains(d.Reason, "two people") {
		t.Fatalf("need %d: %s", d.Need, d.Reason)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Proposed)
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); !errors.Is(err, ErrNotAllowed) {
		t.Fatalf("one person twice: %v", err)
	}
	if _, err := m.Approve(ctxb, d.ID, "slack:UCAROL", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)

	fast := w.propose(m, Auto, func(p *Proposal) {
		p.Action.Playbook, p.Action.AlertID = "fast", "a2"
		p.Action.Target.UserName, p.Action.Target.AccessKeyID = "bob", bobAK
	})
	w.drive(m, time.Minute)
	w.want(m, fast.ID, Done)

	// The lane is the playbook's, not that of a person who asks for the same.
	asked := w.propose(m, Approve, func(p *Proposal) {
		p.Action.Playbook, p.Action.AlertID, p.Action.Requester = "fast", "a3", "cli:dave"
	})
	if asked.Need != 2 {
		t.Errorf("what a person asks for needs %d", asked.Need)
	}
	named := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID, p.Action.Target.AccountID = "a4", "1000000000000777" })
	if named.Need != 2 {
		t.Errorf("an account of the list needs %d", named.Need)
	}
	other := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID, p.Action.Target.AccountID = "a5", "1000000000000778" })
	if other.Need != 1 {
		t.Errorf("an account that is in no list needs %d", other.Need)
	}
}

// With production: true the tables of owners decide: who is in none counts as
// production, and who is known to be no production is one person's business.
func TestProductionByTable(t *testing.T) {
	for word, need := range map[string]int{"yes": 2, "unknown": 2, "no": 1, "without tables": 2} {
		w := newWorld(t)
		m := w.machine(func(o *MachineOptions) {
			o.Guards.TwoPerson = TwoPerson{Production: true, Except: []string{"fast"}}
			if word != "without tables" {
				o.Production = func(target ActionTarget) string {
					if target.UserName == "" || target.AccountID != account {
						t.Errorf("asked of %+v", target)
					}
					return word
				}
			}
		})
		d := w.propose(m, Auto)
		w.drive(m, time.Minute)
		want := Proposed
		if need == 1 {
			want = Done
		}
		if d = w.want(m, d.ID, want); d.Need != need {
			t.Errorf("%s: %d people are needed, want %d", word, d.Need, need)
		}
		fast := w.propose(m, Auto, func(p *Proposal) {
			p.Action.Playbook, p.Action.AlertID = "fast", "a2"
			p.Action.Target.UserName, p.Action.Target.AccessKeyID = "bob", bobAK
		})
		w.drive(m, time.Minute)
		w.want(m, fast.ID, Done)
	}
}

// Steps of a playbook are done in order, and the one after a failed one too.
func TestStepsInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	first := w.propose(m, Auto)
	second := w.propose(m, Auto, func(p *Proposal) {
		p.Action.AlertID, p.Action.After = "a2", first.ID
		p.Action.Target.UserName, p.Action.Target.AccessKeyID = "bob", bobAK
	})
	w.cloud.next = []fault{lostBefore}
	w.drive(m, 5*time.Minute)
	w.want(m, first.ID, Done)
	w.want(m, second.ID, Done)
	lost := w.propose(m, Auto, func(p *Proposal) { p.Action.AlertID, p.Action.After = "a3", "nowhere" })
	if x := w.want(m, lost.ID, Refused); !strings.HasPrefix(x.Reason, "order") {
		t.Error(x.Reason)
	}
	var order []string
	for _, e := range w.allRecords("action") {
		if e.State == Executing {
			order = append(order, e.Action.ID)
		}
	}
	if len(order) < 2 || order[len(order)-1] != second.ID || order[0] != first.ID {
		t.Fatalf("order %v, first %s", order, first.ID)
	}
	for i, id := range order[:len(order)-1] {
		if id == second.ID {
			t.Fatalf("the second step was begun at %d, before the first had ended: %v", i, order)
		}
	}
}

// A step does not wait for one that waits for people, whether the playbook asks them or a
// guard does.
func TestStepAfterOneThatAsks(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(o *MachineOptions) {
		o.Guards.TwoPerson = TwoPerson{Accounts: []string{account}, Except: []string{"fast"}}
	})
	for i, mode := range []Mode{Approve, Auto} {
		first := w.propose(m, mode, func(p *Proposal) { p.Action.AlertID = fmt.Sprint("first", i) })
		w.drive(m, time.Minute)
		w.want(m, first.ID, Proposed)
		second := w.propose(m, Auto, func(p *Proposal) {
			p.Action.Playbook, p.Action.AlertID, p.Action.After = "fast", fmt.Sprint("second", i), first.ID
			p.Action.Target.UserName, p.Action.Target.AccessKeyID = "bob", bobAK
		})
		w.drive(m, time.Minute)
		w.want(m, second.ID, Done)
	}
}

type stepRecord struct {
	State  State
	Action Action
	seq    uint64
}

// allRecords lists every record of a kind in order of sequence.
func (w *world) allRecords(kind string) []stepRecord {
	w.t.Helper()
	ids, err := w.mem.IDs(ctxb, kind)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []stepRecord
	for _, id := range ids {
		h, err := w.mem.History(ctxb, kind, id)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range h {
			r := stepRecord{seq: e.Seq}
			if err := json.Unmarshal(e.Data, &r); err != nil {
				w.t.Fatal(err)
			}
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b stepRecord) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

func TestInTheWay(t *testing.T) {
	at := func(account, user, key string, params ...string) ActionTarget {
		x := ActionTarget{AccountID: account, AccessKeyID: key, UserName: user}
		if user != "" {
			x.PrincipalType = "ram-user"
		}
		for i := 0; i < len(params); i += 2 {
			if x.Params == nil {
				x.Params = map[string]string{}
			}
			x.Params[params[i]] = params[i+1]
		}
		return x
	}
	const one, two = "1000000000000001", "1000000000000002"
	role := func(name string) ActionTarget {
		return ActionTarget{AccountID: one, PrincipalType: "assumed-role", RoleName: name}
	}
	ops := at(one, "", "", "group", "ops", "policy_type", "System", "policy_name", "AdministratorAccess")
	version := at(one, "", "", "policy_name", "deploy", "version_id", "v1")
	for _, c := range []struct {
		name string
		a, b ActionTarget
		want bool
	}{
		{"one key", at(one, "bob", "LTAI5tEXAMPLEbob0000001"), at(one, "bob", "ltai5texamplebob0000001"), true},
		{"two keys of one user", at(one, "bob", "LTAI5tEXAMPLEbob0000001"), at(one, "bob", "LTAI5tEXAMPLEbob0000002"), false},
		{"a user and the user's key", at(one, "bob", ""), at(one, "bob", "LTAI5tEXAMPLEbob0000001"), true},
		{"two users", at(one, "bob", ""), at(one, "eve", ""), false},
		{"one key, and the account is not the same", at(one, "bob", "LTAI5tEXAMPLEbob0000001"), at(two, "bob", "LTAI5tEXAMPLEbob0000001"), false},
		{"one role", role("deployer"), role("Deployer"), true},
		{"two roles", role("deployer"), role("auditor"), false},
		{"a role and a user of its name", role("bob"), at(one, "bob", ""), false},
		{"one group", ops, at(one, "", "", "group", "OPS", "policy_type", "System", "policy_name", "AliyunRAMFullAccess"), true},
		{"two groups with one policy of the cloud", ops, at(one, "", "", "group", "dev", "policy_type", "System", "policy_name", "AdministratorAccess"), false},
		{"one policy", version, at(one, "", "", "policy_name", "deploy", "version_id", "v2"), true},
		{"two policies", version, at(one, "", "", "policy_name", "deploy2", "version_id", "v1"), false},
		{"one trail", at(one, "", "", "trail", "audit"), at(one, "", "", "trail", "audit"), true},
		{"two trails", at(one, "", "", "trail", "audit"), at(one, "", "", "trail", "audit2"), false},
		{"a trail and a policy", at(one, "", "", "trail", "deploy"), version, false},
		{"a trail and a user", at(one, "", "", "trail", "audit"), at(one, "bob", ""), false},
		{"a member and a policy of the group", at(one, "carol", "", "group", "OPS"), ops, true},
		{"a member and another group's policy", at(one, "carol", "", "group", "dev"), ops, false},
		{"two members of one group", at(one, "carol", "", "group", "ops"), at(one, "dave", "", "group", "ops"), true},
		{"the group of another account", at(two, "carol", "", "group", "ops"), ops, false},
		{"an own policy's version and its holder", version, at(one, "bob", "", "policy_type", "Custom", "policy_name", "deploy"), true},
		{"another own policy", version, at(one, "bob", "", "policy_type", "Custom", "policy_name", "deploy2"), false},
		{"the cloud's policy of the same name", version, at(one, "bob", "", "policy_type", "System", "policy_name", "deploy"), false},
		{"the cloud's policy of two users", at(one, "bob", "", "policy_type", "System", "policy_name", "AdministratorAccess"), at(one, "eve", "", "policy_type", "System", "policy_name", "AdministratorAccess"), false},
	} {
		if InTheWay(c.a, c.b) != c.want || InTheWay(c.b, c.a) != c.want {
			t.Errorf("%s: want %v", c.name, c.want)
		}
	}
}
