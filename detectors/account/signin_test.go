package account

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSeverityRaised: each reason raises by one step, and is told in both
// languages; without it nothing is raised and nothing told.
func TestSeverityRaised(t *testing.T) {
	write := doc(`{"Effect":"Allow","Action":"oss:PutObject","Resource":"acs:oss:*:*:one-bucket/*"}`) // low by itself
	key := func(user, status string) step {
		return step{call: "Ram:UpdateAccessKey", user: "root", p: params{"UserName": user, "UserAccessKeyId": "LTAI5tEXAMPLE" + user, "Status": status}}
	}
	base := []step{
		{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "put", "PolicyDocument": write}},
		{call: "Ram:CreateUser", user: "root", p: params{"UserName": "bob"}},
		{call: "Ram:CreateGroup", user: "root", p: params{"GroupName": "ops"}},
	}
	attach := step{call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "bob", "PolicyName": "put", "PolicyType": "Custom"}}
	toGroup := step{call: "Ram:AttachPolicyToGroup", user: "root", p: params{"GroupName": "ops", "PolicyName": "put", "PolicyType": "Custom"}}
	join := step{call: "Ram:AddUserToGroup", user: "root", p: params{"GroupName": "ops", "UserName": "bob"}}
	toSelf := attach
	toSelf.user = "bob"
	wider := step{call: "Ram:CreatePolicyVersion", user: "root", p: params{"PolicyName": "put", "SetAsDefault": "true",
		"PolicyDocument": doc(`{"Effect":"Allow","Action":"oss:PutObject","Resource":["acs:oss:*:*:one-bucket/*","acs:oss:*:*:two/*"]}`)}}
	crowd := []step{toGroup}
	for i := range 11 {
		crowd = append(crowd, step{call: "Ram:AddUserToGroup", user: "root", p: params{"GroupName": "ops", "UserName": fmt.Sprint("u", i)}})
	}
	bind := step{call: "Ims:BindMFADevice", user: "root", p: params{"UserPrincipalName": "bob@acme.onaliyun.com"}}
	for name, c := range map[string]struct {
		story    []step
		severity string
		en, zh   string // in the reasons; "" for none
	}{
		"no key":                   {[]step{attach}, "low", "", ""},
		"key and no MFA":           {[]step{key("bob", "Active"), attach}, "medium", "user bob, who gains by it, has an active AccessKey and no MFA", "未绑定 MFA"},
		"key that is off":          {[]step{key("bob", "Active"), key("bob", "Inactive"), attach}, "low", "", ""},
		"key and MFA":              {[]step{key("bob", "Active"), bind, attach}, "low", "", ""},
		"MFA taken off":            {[]step{key("bob", "Active"), bind, {call: "Ims:UnbindMFADevice", user: "root", p: params{"UserPrincipalName": "bob@acme.onaliyun.com"}}, attach}, "medium", "no MFA", "未绑定 MFA"},
		"MFA not known":            {[]step{key("carol", "Active"), {call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "carol", "PolicyName": "put", "PolicyType": "Custom"}}}, "low", "", ""},
		"user who is gone":         {[]step{key("bob", "Active"), {call: "Ram:DeleteUser", user: "root", p: params{"UserName": "bob"}}, attach}, "low", "", ""},
		"user by another name":     {[]step{key("bob", "Active"), {call: "Ram:UpdateUser", user: "root", p: params{"UserName": "bob", "NewUserName": "rob"}}, {call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "rob", "PolicyName": "put", "PolicyType": "Custom"}}}, "medium", "user rob", "rob"},
		"member of the group":      {[]step{key("bob", "Active"), join, toGroup}, "medium", "user bob", "获益用户 bob"},
		"joining the group":        {[]step{key("bob", "Active"), toGroup, join}, "medium", "user bob", "获益用户 bob"},
		"holder of the policy":     {[]step{key("bob", "Active"), attach, wider}, "medium", "user bob", "获益用户 bob"},
		"to oneself":               {[]step{toSelf}, "medium", "the caller gains by it", "操作者本人"},
		"to many, through a group": {append(crowd, wider), "medium", "more than 10 identities", "超过 10 个"},
		"to a role that names the caller": {[]step{{call: "Ram:CreateRole", user: "root", p: params{"RoleName": "ci", "AssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::` + own + `:user/bob"}}`)}},
			{call: "Ram:AttachPolicyToRole", user: "bob", p: params{"RoleName": "ci", "PolicyName": "put", "PolicyType": "Custom"}}}, "medium", "may assume role ci", "可扮演获益角色 ci"},
		"to a role that the caller may not assume": {[]step{{call: "Ram:CreateRole", user: "root", p: params{"RoleName": "ci", "AssumeRolePolicyDocument": trustOwn}},
			{call: "Ram:AttachPolicyToRole", user: "bob", p: params{"RoleName": "ci", "PolicyName": "put", "PolicyType": "Custom"}}}, "low", "", ""},
		"to a role that the caller may assume": {[]step{{call: "Ram:CreateRole", user: "root", p: params{"RoleName": "ci", "AssumeRolePolicyDocument": trustOwn}},
			{call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "bob", "PolicyName": "AliyunSTSAssumeRoleAccess", "PolicyType": "System"}},
			{call: "Ram:AttachPolicyToRole", user: "bob", p: params{"RoleName": "ci", "PolicyName": "put", "PolicyType": "Custom"}}}, "medium", "may assume role ci", "可扮演获益角色 ci"},
		"to a role, by one who may do it all": {[]step{{call: "Ram:CreateRole", user: "root", p: params{"RoleName": "ci", "AssumeRolePolicyDocument": trustOwn}},
			{call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "bob", "PolicyName": "AdministratorAccess", "PolicyType": "System"}},
			{call: "Ram:AttachPolicyToRole", user: "bob", p: params{"RoleName": "ci", "PolicyName": "put", "PolicyType": "Custom"}}}, "low", "", ""},
		"key of the caller's own": {[]step{{call: "Ram:UpdateAccessKey", user: "bob", p: params{"UserAccessKeyId": "LTAI5tEXAMPLEbob", "Status": "Active"}}, attach}, "medium", "no MFA", "未绑定 MFA"},
		"only in a resource group": {[]step{{call: "ResourceManager:AttachPolicy", user: "root", p: params{"PrincipalName": "bob@acme.onaliyun.com", "PrincipalType": "IMSUser",
			"PolicyName": "put", "PolicyType": "Custom", "ResourceGroupId": "rg-1"}}}, "info", "one resource group alone", "单个资源组"},
	} {
		j := New(Config{})
		story := append(append([]step{}, base...), c.story...)
		for i, s := range story {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
			if i < len(story)-1 {
				continue
			}
			reasons := fmt.Sprint(f.Details["reasons"])
			if f.Severity != c.severity || (c.en == "") != (f.Details["reasons"] == nil) || !strings.Contains(reasons, c.en) || !strings.Contains(reasons, c.zh) {
				t.Errorf("%s: %s %s, %s", name, f.Verdict, f.Severity, reasons)
			}
			// A restart forgets nothing of it.
			again := New(Config{})
			if err := again.Restore(j.Snapshot()); err != nil || again.Stats().Keys != j.Stats().Keys {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestTakeOver: who sets the passwords of others on three earlier days does that
// for a living; what was refused, days that are the same, and one's own password
// make nobody a help desk, and an administrator's password stays grave. What is
// learned survives a restart.
func TestTakeOver(t *testing.T) {
	j := New(Config{})
	day := func(n float64) time.Duration { return time.Duration(n * float64(24*time.Hour)) }
	reset := func(by, user string, at time.Duration, failed bool) (severity string, admin bool) {
		f := j.Judge(made(t, "Ram:UpdateLoginProfile", by, at, params{"UserName": user, "Password": "****"}, failed, nil))
		return f.Severity, f.AdminEquivalent
	}
	j.Judge(made(t, "Ram:AttachPolicyToUser", "root", 0, params{"UserName": "boss", "PolicyName": "AdministratorAccess", "PolicyType": "System"}, false, nil))
	for i, at := range []float64{1, 1.01, 1.02, 2, 2.01, 3} {
		if s, _ := reset("desk", "bob", day(at), false); s != "" {
			t.Errorf("reset %d: severity %q after %v days", i, s, at)
		}
		reset("mallory", "bob", day(at), true)
		reset("carol", "carol", day(at), false)
	}
	again := New(Config{})
	if err := again.Restore(j.Snapshot()); err != nil {
		t.Fatal(err)
	}
	j = again
	for _, c := range []struct {
		by, user, severity string
		at                 float64
		admin              bool
	}{
		{"desk", "bob", "", 3.01, false}, {"desk", "bob", "medium", 4, false}, {"desk", "bob", "medium", 4.01, false}, {"desk", "boss", "", 5, true},
		{"mallory", "bob", "", 5, false}, {"carol", "bob", "", 5, false},
	} {
		if s, admin := reset(c.by, c.user, day(c.at), false); s != c.severity || admin != c.admin {
			t.Errorf("%s for %s after %v days: severity %q, administrator %v", c.by, c.user, c.at, s, admin)
		}
	}
}
