package account

import (
	"testing"
	"time"
)

// TestComesBack: what was taken away unseen, or with a policy that was deleted,
// is gained when it comes back, though it looks as if it had been there.
func TestComesBack(t *testing.T) {
	user := step{call: "Ram:CreateUser", user: "root", p: params{"UserName": "bob"}}
	create := func(text string) step {
		return step{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "p", "PolicyDocument": text}}
	}
	attach := step{call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "bob", "PolicyName": "p", "PolicyType": "Custom"}}
	group := step{call: "Ram:CreateGroup", user: "root", p: params{"GroupName": "ops"}}
	toGroup := step{call: "Ram:AttachPolicyToGroup", user: "root", p: params{"GroupName": "ops", "PolicyName": "p", "PolicyType": "Custom"}}
	join := step{call: "Ram:AddUserToGroup", user: "root", p: params{"GroupName": "ops", "UserName": "bob"}}
	for name, steps := range map[string][]step{
		"another policy of the name": {user, create(reads), attach, {call: "Ram:DeletePolicy", user: "root", p: params{"PolicyName": "p", "CascadingDelete": "true"}}, create(all), attach},
		"detached unseen":            {user, create(all), attach, attach},
		"left unseen":                {user, group, create(all), toGroup, join, join},
		"through a group as well":    {user, group, create(reads), toGroup, join, {call: "Ram:DeletePolicy", user: "root", p: params{"PolicyName": "p", "CascadingDelete": "true"}}, create(all), toGroup},
	} {
		j := New(Config{})
		for i, s := range steps {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
			if i == len(steps)-1 && (!f.Expands || !f.AdminEquivalent || f.Severity != "critical") {
				t.Errorf("%s: %s %s: %s", name, f.Verdict, f.Severity, f.Sentence)
			}
		}
	}
	// Cloud SSO: an inline policy that was taken off, and managed ones.
	sso := func(call string, p params) step {
		p["AccessConfigurationId"] = "ac-1"
		return step{call: "CloudSSO:" + call, user: "root", p: p}
	}
	made1 := sso("CreateAccessConfiguration", params{"AccessConfigurationName": "dev"})
	inline := sso("AddPermissionPolicyToAccessConfiguration", params{"PermissionPolicyType": "Inline", "PermissionPolicyName": "i", "InlinePolicyDocument": all})
	noInline := sso("RemovePermissionPolicyFromAccessConfiguration", params{"PermissionPolicyType": "Inline", "PermissionPolicyName": "i"})
	system := sso("AddPermissionPolicyToAccessConfiguration", params{"PermissionPolicyType": "System", "PermissionPolicyName": "AdministratorAccess"})
	refuses := sso("UpdateInlinePolicyForAccessConfiguration", params{"NewInlinePolicyDocument": guard})
	for name, c := range map[string]struct {
		steps   []step
		expands bool
		deny    bool
	}{
		"inline again":         {[]step{made1, inline, noInline, inline}, true, false},
		"inline, unseen":       {[]step{made1, inline, inline}, true, false},
		"managed again":        {[]step{made1, system, system}, true, false},
		"an inline Deny goes":  {[]step{made1, system, refuses, noInline}, true, true},
		"an inline grant goes": {[]step{made1, inline, noInline}, false, false},
	} {
		j := New(Config{})
		for i, s := range c.steps {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
			if i == len(c.steps)-1 && (f.Expands != c.expands || f.DenyRemoved != c.deny) {
				t.Errorf("%s: %s, expands %v, deny %v: %s", name, f.Verdict, f.Expands, f.DenyRemoved, f.Sentence)
			}
		}
	}
	// An account that leaves the directory leaves its guard rails.
	org := func(call string, p params) step {
		return step{call: "ResourceDirectoryMaster:" + call, user: "root", p: p}
	}
	for want, steps := range map[string][]step{
		"expands critical": {org("CreateControlPolicy", params{"PolicyId": "cp", "PolicyDocument": guard}), org("AttachControlPolicy", params{"PolicyId": "cp", "TargetId": "r-1"}),
			org("MoveAccount", params{"AccountId": "2000000000000002", "DestinationFolderId": "r-1"}), org("RemoveCloudAccount", params{"AccountId": "2000000000000002"})},
		"unknown medium": {org("RemoveCloudAccount", params{"AccountId": "2000000000000002"})},
	} {
		j := New(Config{})
		for i, s := range steps {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
			if got := f.Verdict + " " + f.Severity; i == len(steps)-1 && (got != want || !f.Expands) {
				t.Errorf("%s: %s", got, f.Sentence)
			}
		}
	}
	// What a group brings is there already, and stays so.
	j := New(Config{})
	for i, s := range []step{user, group, create(all), toGroup, join, attach} {
		f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
		if s.call == attach.call && f.Expands {
			t.Errorf("%s: %s", f.Verdict, f.Sentence)
		}
	}
}
