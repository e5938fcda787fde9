package ram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

func TestEveryKindExecutesAndUndoes(t *testing.T) {
	for _, a := range cases() {
		t.Run(a.Kind+"/"+a.Target.PrincipalType+a.Target.Params["group"], func(t *testing.T) {
			r := newRig(t)
			e := r.exec(a.Kind)
			ctx := t.Context()
			before := r.cloud.State()

			if in, _, err := e.Verify(ctx, a); err != nil || in {
				t.Fatalf("before: in force %v, %v", in, err)
			}
			prior, err := e.Read(ctx, a)
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			sameState(t, before, r.cloud.State())
			res, err := e.Execute(ctx, a, prior)
			if err != nil {
				t.Fatalf("execute: %v", err)
			}
			if !res.Changed || res.RequestID == "" || string(res.Prior) != string(prior) || len(res.After) == 0 {
				t.Fatalf("result: %+v", res)
			}
			if string(r.cloud.State()) == string(before) {
				t.Fatal("nothing changed")
			}
			if in, after, err := e.Verify(ctx, a); err != nil || !in || string(after) != string(res.After) {
				t.Fatalf("after: in force %v, %s, %v", in, after, err)
			}
			if _, err := e.Read(ctx, a); !errors.Is(err, responders.ErrSettled) {
				t.Fatalf("read again: %v, want settled", err)
			}
			undo, err := e.Undo(ctx, a, prior)
			if err != nil || !undo.Changed {
				t.Fatalf("undo: %+v, %v", undo, err)
			}
			sameState(t, before, r.cloud.State())
			if _, err := e.Undo(ctx, a, prior); !errors.Is(err, responders.ErrSettled) {
				t.Fatalf("undo again: %v, want settled", err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

// Reads that lag behind writes must not be taken for failure or for drift.
func TestEveryKindToleratesStaleReads(t *testing.T) {
	for _, a := range cases() {
		t.Run(a.Kind, func(t *testing.T) {
			r := newRig(t)
			r.cloud.SetStaleReads(6)
			e := r.exec(a.Kind)
			ctx := t.Context()
			before := r.cloud.State()
			prior, err := e.Read(ctx, a)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Execute(ctx, a, prior); err != nil {
				t.Fatalf("execute: %v", err)
			}
			if _, err := e.Undo(ctx, a, prior); err != nil {
				t.Fatalf("undo: %v", err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

func TestDescribeNamesTheCall(t *testing.T) {
	r := newRig(t)
	want := map[string]string{
		"ram.disable_access_key":         "ram UpdateAccessKey{UserName: alice, UserAccessKeyId: " + aliceKey + ", Status: Inactive} in account " + acct,
		"ram.fence_key":                  "SetAccessKeyPolicy{",
		"ram.fence_user":                 "then ram AttachPolicyToUser{PolicyType: Custom, PolicyName: trailwarden-fence-",
		"ram.cut_role_sessions":          "then ram AttachPolicyToRole{PolicyType: Custom, PolicyName: trailwarden-cut-",
		"ram.narrow_trust":               "ram UpdateRole{RoleName: open, NewAssumeRolePolicyDocument: the present one without ",
		"ram.block_console":              "UpdateLoginProfile{UserPrincipalName: alice@…, Status: Inactive}",
		"ram.quarantine_user":            "AttachPolicyToUser{PolicyType: Custom, PolicyName: zz-quarantine-deny-all, UserName: alice}",
		"ram.detach_policy":              "DetachPolicyFrom",
		"ram.set_default_policy_version": "SetDefaultPolicyVersion{PolicyName: deploy, VersionId: v1}",
		"ram.remove_from_group":          "RemoveUserFromGroup{GroupName: admins, UserName: alice}",
		"actiontrail.start_logging":      "StartLogging{Name: main-trail}",
	}
	for _, a := range cases() {
		if got := r.exec(a.Kind).Describe(a); !strings.Contains(got, want[a.Kind]) || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q in one line", a.Kind, got, want[a.Kind])
		}
	}
	bad := action("ram.disable_access_key", func(t *responders.ActionTarget) { t.UserName = "x\n\x1b[31m" })
	if got, want := r.exec(bad.Kind).Describe(bad), bad.Kind+" "+bad.Target.AccessKeyID; got != want || bad.Target.AccessKeyID == "" {
		t.Errorf("%q, want %q: why it is refused is told beside it", got, want)
	}
}

// A recorded state that is broken, or of another target, is never acted on.
func TestForeignPriorIsRefused(t *testing.T) {
	r := newRig(t)
	for _, a := range cases() {
		e := r.exec(a.Kind)
		prior, err := e.Read(t.Context(), a)
		if err != nil {
			t.Fatal(a.Kind, err)
		}
		var m map[string]any
		if err := json.Unmarshal(prior, &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"user_name", "holder", "policy_name", "name", "role_name"} {
			if _, ok := m[k]; ok {
				m[k] = "somebody-else"
			}
		}
		before := r.cloud.State()
		for _, p := range []json.RawMessage{mustJSON(t, m), nil, json.RawMessage(`{"x":1}`), json.RawMessage(`null`), json.RawMessage(`[`)} {
			if _, err := e.Execute(t.Context(), a, p); !errors.Is(err, responders.ErrRefused) {
				t.Errorf("%s execute on %s: %v, want refused", a.Kind, p, err)
			}
			if _, err := e.Undo(t.Context(), a, p); !errors.Is(err, responders.ErrRefused) {
				t.Errorf("%s undo to %s: %v, want refused", a.Kind, p, err)
			}
		}
		sameState(t, before, r.cloud.State())
	}
}

func TestWrongKindIsRefused(t *testing.T) {
	r := newRig(t)
	a := action("ram.block_console")
	if _, err := r.exec("ram.disable_access_key").Read(t.Context(), a); !errors.Is(err, responders.ErrRefused) {
		t.Fatal(err)
	}
}

func TestVetoes(t *testing.T) {
	r := newRig(t)
	r.cloud.AddPolicy(other, "unused", denyAll)
	hollow := newRig(t)
	hollow.cloud.AddPolicy(acct, "zz-quarantine-deny-all", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`)
	for _, c := range []struct {
		name string
		r    *rig
		a    responders.Action
		want string
	}{
		{"the quarantine policy was turned around", hollow, action("ram.quarantine_user"), "does not deny everything any more"},
		{"a guardrail is not detached", r, action("ram.detach_policy", with("policy_type", "Custom"), with("policy_name", "guardrail"), func(t *responders.ActionTarget) { t.UserName = "bob" }), "would grant"},
		{"a group that denies is not left", r, action("ram.remove_from_group", with("group", "fenced")), "would grant"},
		{"a version that is gone", r, action("ram.set_default_policy_version", with("policy_name", "deploy"), with("version_id", "v9")), "no version v9"},
		{"the quarantine is not loosened", r, action("ram.set_default_policy_version", with("policy_name", "zz-quarantine-deny-all"), with("version_id", "v1")), "quarantine itself"},
		{"a trail that is gone", r, action("actiontrail.start_logging", with("trail", "no-such-trail")), "made again by hand"},
		{"a fence around nothing", r, action("ram.fence_key"), "no address is allowed"},
		{"a fence around everything", r, action("ram.fence_key", with("allow", "0.0.0.0/0")), "fences nothing"},
		{"a fence that is none", r, action("ram.fence_key", with("allow", "198.51.100.1/24")), "bits beyond"},
		{"a role of Alibaba's", r, action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AliyunOSSFullAccess"), func(t *responders.ActionTarget) {
			t.PrincipalType, t.RoleName = "assumed-role", "AliyunServiceRoleForX"
		}), "own services"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.r.cloud.State()
			_, err := c.r.exec(c.a.Kind).Read(t.Context(), c.a)
			if !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want a refusal with %q", err, c.want)
			}
			// What the action itself says needs no call.
			if known := c.r.exec(c.a.Kind).(responders.Refuser).Refusal(c.a); strings.HasPrefix(c.name, "a fence ") && (known == nil || known.Error() != err.Error()) {
				t.Fatalf("%v beforehand, %v when it is read", known, err)
			}
			sameState(t, before, c.r.cloud.State())
		})
	}
	// What changed between Read and Execute is seen too.
	a := action("ram.quarantine_user")
	prior, err := r.exec(a.Kind).Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	r.cloud.AddPolicy(acct, "zz-quarantine-deny-all", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`)
	before := r.cloud.State()
	if _, err := r.exec(a.Kind).Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) {
		t.Fatal(err)
	}
	sameState(t, before, r.cloud.State())
}

// Undo of what somebody else changed since changes nothing.
func TestUndoSeesDrift(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	do := func(a responders.Action) json.RawMessage {
		t.Helper()
		prior, err := r.exec(a.Kind).Read(ctx, a)
		if err == nil {
			_, err = r.exec(a.Kind).Execute(ctx, a, prior)
		}
		if err != nil {
			t.Fatal(err)
		}
		return prior
	}
	// The default version is a third one by now.
	v := action("ram.set_default_policy_version", with("policy_name", "deploy"), with("version_id", "v1"))
	prior := do(v)
	r.cloud.AddPolicy(acct, "deploy", denyAll)
	before := r.cloud.State()
	if _, err := r.exec(v.Kind).Undo(ctx, v, prior); !errors.Is(err, responders.ErrDrift) {
		t.Fatalf("%v, want drift", err)
	}
	sameState(t, before, r.cloud.State())

	// What was taken away says something else by now: it would not be given back.
	r = newRig(t)
	d := action("ram.detach_policy", with("policy_type", "Custom"), with("policy_name", "deploy"), with("group", "admins"))
	prior = do(d)
	r.cloud.AddPolicy(acct, "deploy", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`)
	before = r.cloud.State()
	if _, err := r.exec(d.Kind).Undo(ctx, d, prior); !errors.Is(err, responders.ErrDrift) || !strings.Contains(err.Error(), "deploy says something else") {
		t.Fatalf("%v, want drift", err)
	}
	sameState(t, before, r.cloud.State())

	// The group that a user has left grants more by now.
	g := action("ram.remove_from_group", with("group", "admins"))
	prior = do(g)
	if err := r.cloud.Attach(acct, "System", "AliyunOSSFullAccess", "group", "admins"); err != nil {
		t.Fatal(err)
	}
	before = r.cloud.State()
	if _, err := r.exec(g.Kind).Undo(ctx, g, prior); !errors.Is(err, responders.ErrDrift) || !strings.Contains(err.Error(), "other policies") {
		t.Fatalf("%v, want drift", err)
	}
	sameState(t, before, r.cloud.State())

	// The key is gone.
	k := action("ram.disable_access_key")
	prior = do(k)
	r.cloud.RemoveKey(aliceKey)
	before = r.cloud.State()
	_, err := r.exec(k.Kind).Undo(ctx, k, prior)
	if !errors.Is(err, responders.ErrDrift) || !strings.Contains(err.Error(), "deleted") {
		t.Fatalf("%v, want drift with words", err)
	}
	sameState(t, before, r.cloud.State())
	if in, after, err := r.exec(k.Kind).Verify(ctx, k); err != nil || !in || !strings.Contains(string(after), "gone") {
		t.Fatalf("verify of a deleted key: %v %s %v", in, after, err)
	}
}

// A namesake, made after what the action was done to was deleted, gets nothing
// back, even one that looks the same in everything else. A state that was
// recorded before births were is restored by the name.
func TestUndoGivesNothingToANamesake(t *testing.T) {
	for _, c := range []struct {
		a                responders.Action
		kind, name, word string
	}{
		{action("ram.block_console"), "user", "alice", "user alice was deleted since"},
		{action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AdministratorAccess")), "user", "alice", "user alice was deleted since"},
		{action("ram.detach_policy", with("policy_type", "Custom"), with("policy_name", "deploy"), with("group", "admins")), "group", "admins", "group admins was deleted since"},
		{action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AliyunOSSFullAccess"), aRoleNamed("ci")), "role", "ci", "role ci was deleted since"},
		{action("ram.narrow_trust", aRoleNamed("open"), with("remove", "external")), "role", "open", "role open was deleted since"},
		{action("ram.set_default_policy_version", with("policy_name", "deploy"), with("version_id", "v1")), "policy", "deploy", "version v2 of policy deploy was deleted since"},
		{action("ram.remove_from_group", with("group", "admins")), "user", "alice", "user alice was deleted since"},
		{action("actiontrail.start_logging", with("trail", "main-trail")), "trail", "main-trail", "trail main-trail was deleted since"},
	} {
		t.Run(c.a.Kind+" of a "+c.kind, func(t *testing.T) {
			r := newRig(t)
			e := r.exec(c.a.Kind)
			prior, err := e.Read(t.Context(), c.a)
			if err == nil {
				_, err = e.Execute(t.Context(), c.a, prior)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !r.cloud.Remake(acct, c.kind, c.name) {
				t.Fatalf("no %s %s", c.kind, c.name)
			}
			before := r.cloud.State()
			if _, err := e.Undo(t.Context(), c.a, prior); !errors.Is(err, responders.ErrDrift) || !strings.Contains(err.Error(), c.word) {
				t.Fatalf("%v, want drift: %s", err, c.word)
			}
			sameState(t, before, r.cloud.State())

			old := map[string]any{}
			if err := json.Unmarshal(prior, &old); err != nil {
				t.Fatal(err)
			}
			n := len(old)
			for _, k := range []string{"user_id", "holder_id", "role_id", "made"} {
				delete(old, k)
			}
			if len(old) != n-1 {
				t.Fatalf("the prior state keeps no birth: %s", prior)
			}
			if res, err := e.Undo(t.Context(), c.a, mustJSON(t, old)); err != nil || !res.Changed {
				t.Fatalf("a state of an earlier version: %v %v", res, err)
			}
		})
	}
}

// Where the birth may not be read, containment goes on all the same; where it
// cannot be read for now, undo waits.
func TestBirthThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	a := action("ram.remove_from_group", with("group", "admins"))
	e := r.exec(a.Kind)
	f := r.cloud.Inject(ramtest.Fault{Action: "GetUser", Status: 403, Code: "NoPermission", Times: -1})
	prior, err := e.Read(t.Context(), a)
	if err != nil || f.Hits() == 0 || strings.Contains(string(prior), "user_id") {
		t.Fatalf("%s %v", prior, err)
	}
	f.Remove()
	if prior, err = e.Read(t.Context(), a); err != nil || !strings.Contains(string(prior), "user_id") {
		t.Fatalf("%s %v", prior, err)
	}
	if _, err := e.Execute(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
	for _, f := range []ramtest.Fault{{Status: 403, Code: "NoPermission"}, {Status: 503, Code: "ServiceUnavailable"}} {
		f.Action, f.Times = "GetUser", -1
		h := r.cloud.Inject(f)
		before := r.cloud.State()
		if _, err := e.Undo(t.Context(), a, prior); err == nil || errors.Is(err, responders.ErrDrift) || errors.Is(err, responders.ErrInDoubt) {
			t.Errorf("%s: %v", f.Code, err)
		}
		sameState(t, before, r.cloud.State())
		h.Remove()
	}
	if res, err := e.Undo(t.Context(), a, prior); err != nil || !res.Changed {
		t.Fatalf("%v %v", res, err)
	}
}

// Nothing is taken from a group with somebody in it who is protected, on the
// last page of its members too, or whom the responder works as.
func TestGroupWithAProtectedMember(t *testing.T) {
	a := action("ram.detach_policy", with("policy_type", "Custom"), with("policy_name", "deploy"), with("group", "admins"))
	protect := func(_ *ramtest.Options, c *Config) { c.Protected.Users = []string{"zz-break-*"} }
	r := newRig(t, protect)
	e := r.exec(a.Kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var crowd []string
	for i := range 250 {
		crowd = append(crowd, fmt.Sprintf("member%03d", i))
	}
	for _, u := range append(crowd, "zz-break-glass") {
		r.cloud.AddUser(acct, u)
	}
	r.cloud.AddGroup(acct, "admins", append(crowd, "zz-break-glass")...)
	before := r.cloud.State()
	const want = "group admins has a member who is spared: user zz-break-glass is protected by configuration"
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), want) {
		t.Errorf("read: %v", err)
	}
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), want) {
		t.Errorf("joined after it was read: %v", err)
	}
	sameState(t, before, r.cloud.State())
}

// Another version of a policy is everybody's who holds it: of a user, a role or a
// member of a group that is protected, too.
func TestPolicyOfAProtectedHolder(t *testing.T) {
	a := action("ram.set_default_policy_version", with("policy_name", "deploy"), with("version_id", "v1"))
	for name, c := range map[string]struct {
		kind, holder string
		want         string
	}{
		"a user":            {"user", "zz-break-glass", "policy deploy has a holder who is spared: user zz-break-glass is protected by configuration"},
		"a role":            {"role", "ci", "policy deploy has a holder who is spared: role ci is protected by configuration"},
		"a member of group": {"", "", "policy deploy: group admins has a member who is spared: user zz-break-glass is protected by configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *ramtest.Options, c *Config) {
				c.Protected.Users, c.Protected.Roles = []string{"zz-break-*"}, []string{"ci"}
			})
			e := r.exec(a.Kind)
			prior, err := e.Read(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			r.cloud.AddUser(acct, "zz-break-glass")
			if c.kind == "" {
				r.cloud.AddGroup(acct, "admins", "zz-break-glass")
			} else if err := r.cloud.Attach(acct, "Custom", "deploy", c.kind, c.holder); err != nil {
				t.Fatal(err)
			}
			before := r.cloud.State()
			if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read: %v", err)
			}
			if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("attached after it was read: %v", err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

// Whoever renames a user or a group keeps all that it has. That there is nothing of the
// old name is no containment, whether it is seen before the call, at it or when a lost
// answer is looked after. What was deleted is refused the same way: the cloud does not
// tell them apart.
func TestRenamedIsNotContained(t *testing.T) {
	for _, a := range cases() {
		kind, name := "user", a.Target.UserName
		if g := a.Target.Params["group"]; g != "" {
			kind, name = "group", g
		}
		if name == "" || a.Kind == "ram.set_default_policy_version" || a.Kind == "actiontrail.start_logging" {
			continue
		}
		t.Run(a.Kind+" of a "+kind, func(t *testing.T) {
			r := newRig(t)
			e := r.exec(a.Kind)
			prior, err := e.Read(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if !r.cloud.Rename(acct, kind, name, "innocent") {
				t.Fatalf("no %s %s", kind, name)
			}
			before := r.cloud.State()
			if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrRefused) {
				t.Errorf("read: %v, want refused", err)
			} else if zh := responders.InChinese(err.Error()); a.Target.AccessKeyID == "" && zh == err.Error() {
				t.Errorf("no Chinese: %v", err)
			}
			if res, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) {
				t.Errorf("execute: %+v, %v, want refused", res, err)
			}
			if in, after, err := e.Verify(t.Context(), a); !errors.Is(err, responders.ErrRefused) {
				t.Errorf("verify: %v %s %v, want refused", in, after, err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

// The networks of a fence may come from the configuration. Undo looks for those that were
// set, and not for those of today: it said that somebody else had changed them.
func TestFenceIsUndoneUnderAnotherConfiguration(t *testing.T) {
	for _, a := range []responders.Action{action(responders.KindFenceUser), action(responders.KindFenceKey)} {
		t.Run(a.Kind, func(t *testing.T) {
			r := newRig(t, func(_ *ramtest.Options, c *Config) { c.Fence = []string{"198.51.100.0/24"} })
			before := r.cloud.State()
			prior, err := r.exec(a.Kind).Read(t.Context(), a)
			if err == nil {
				_, err = r.exec(a.Kind).Execute(t.Context(), a, prior)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.c.cfg.Fence = []string{"203.0.113.0/24"}
			if res, err := r.exec(a.Kind).Undo(t.Context(), a, prior); err != nil || !res.Changed {
				t.Fatalf("%+v, %v", res, err)
			}
			sameState(t, before, r.cloud.State())

			old := map[string]any{} // as earlier versions recorded it
			if err := json.Unmarshal(prior, &old); err != nil {
				t.Fatal(err)
			}
			delete(old, "set")
			if _, err := r.exec(a.Kind).Execute(t.Context(), a, mustJSON(t, old)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.exec(a.Kind).Undo(t.Context(), a, mustJSON(t, old)); err != nil {
				t.Fatal(err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}
