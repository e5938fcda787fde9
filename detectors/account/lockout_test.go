package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
)

// TestTaken: what the last call of each story takes from people, or gives to whom it
// should not, also when the judge was restarted before it.
func TestTaken(t *testing.T) {
	admin := params{"PolicyType": "System", "PolicyName": "AdministratorAccess"}
	with := func(p params, more ...string) params {
		out := params{}
		for k, v := range p {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	call := func(name, user string, p params) step { return step{call: name, user: user, p: p} }
	group := []step{call("Ram:AttachPolicyToGroup", "root", with(admin, "GroupName", "ops"))}
	for i := range 60 {
		group = append(group, call("Ram:AddUserToGroup", "root", params{"GroupName": "ops", "UserName": fmt.Sprint("u", i)}))
	}
	detach := call("Ram:DetachPolicyFromGroup", "u1", with(admin, "GroupName", "ops"))
	keeps := call("Ram:AttachPolicyToUser", "root", params{"PolicyType": "System", "PolicyName": "AliyunECSFullAccess", "UserName": "u0"})
	little := call("Ram:AttachPolicyToUser", "root", params{"PolicyType": "System", "PolicyName": "AliyunOSSReadOnlyAccess", "UserName": "u0"})
	unread := call("Ram:AttachPolicyToUser", "root", params{"PolicyType": "Custom", "PolicyName": "older", "UserName": "u0"})
	networks := func(list string) step {
		return call("Ims:SetAccessKeyPolicy", "root", params{"UserAccessKeyId": "LTAI5tEXAMPLEbob", "AccessKeyPolicy": `{"Status":"Active","Statements":[{"IPList":[` + list + `]}]}`})
	}
	off := call("Ram:UpdateAccessKey", "root", params{"UserName": "bob", "UserAccessKeyId": "LTAI5tEXAMPLEbob", "Status": "Inactive"})
	verify := call("Ims:SetVerificationInfo", "root", params{"UserPrincipalName": "bob@acme.onaliyun.com"})
	boss := call("Ram:AttachPolicyToUser", "root", with(admin, "UserName", "bob"))
	taken := func(f detectors.PolicyFacts) string {
		return strings.TrimSpace(fmt.Sprint(f.LockedOut, " ", f.Networks, " ", f.Privileged))
	}
	for name, c := range map[string]struct {
		story []step
		want  string
	}{
		"many administrators":         {append(group[:61:61], detach), "50 [] false"},
		"two, one of whom calls":      {append(group[:3:3], detach), "1 [] false"},
		"one keeps a way to power":    {append(group[:4:4], keeps, detach), "1 [] false"},
		"one keeps something":         {append(group[:4:4], little, detach), "2 [] false"},
		"what one keeps is not known": {append(group[:4:4], unread, detach), "1 [] false"},
		"a group never seen":          {[]step{detach}, "-1 [] false"},
		"in one resource group":       {append(group[:4:4], call("ResourceManager:DetachPolicy", "root", with(admin, "PrincipalType", "IMSGroup", "PrincipalName", "ops@group.acme.onaliyun.com", "ResourceGroupId", "rg-1"))), "0 [] false"},
		"a role of single sign-on": {[]step{call("Ram:CreateRole", "root", params{"RoleName": "sso", "AssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Federated":"acs:ram::` + own + `:saml-provider/corp"}}`)}),
			call("Ram:AttachPolicyToRole", "root", with(admin, "RoleName", "sso")), call("Ram:DetachPolicyFromRole", "root", with(admin, "RoleName", "sso"))}, "-1 [] false"},
		"a role of one's own": {[]step{call("Ram:CreateRole", "root", params{"RoleName": "ci", "AssumeRolePolicyDocument": trustOwn}),
			call("Ram:AttachPolicyToRole", "root", with(admin, "RoleName", "ci")), call("Ram:DetachPolicyFromRole", "root", with(admin, "RoleName", "ci"))}, "0 [] false"},
		"an administrator's factor":                      {[]step{boss, call("Ims:BindMFADevice", "root", params{"UserPrincipalName": "bob@acme.onaliyun.com"})}, "0 [] true"},
		"the second of a new one, another day or caller": {[]step{call("Ram:CreateUser", "root", params{"UserName": "bob"}), boss, verify, call("Ims:SetVerificationInfo", "mallory", verify.p)}, "0 [] true"},
		"a key":                            {[]step{off}, "1 [] false"},
		"one of two keys":                  {[]step{call("Ram:UpdateAccessKey", "root", params{"UserName": "bob", "UserAccessKeyId": "LTAI5tEXAMPLEnew", "Status": "Active"}), off}, "0 [] false"},
		"a key that is off is deleted":     {[]step{off, call("Ram:DeleteAccessKey", "root", params{"UserName": "bob", "UserAccessKeyId": "LTAI5tEXAMPLEbob"})}, "0 [] false"},
		"one's own key":                    {[]step{call("Ram:UpdateAccessKey", "bob", params{"UserAccessKeyId": "LTAI5tEXAMPLEbob", "Status": "Inactive"})}, "0 [] false"},
		"a far address":                    {[]step{networks(`"198.51.100.7"`), networks(`"198.51.100.7","203.0.113.9/32","::ffff:198.51.1.1","junk"`)}, "0 [203.0.113.9] false"},
		"everything is not a far one":      {[]step{networks(`"198.51.100.7"`), networks(`"0.0.0.0/0"`)}, "0 [] false"},
		"a wide network around":            {[]step{networks(`"198.51.100.7"`), networks(`"198.0.0.0/8"`)}, "0 [] false"},
		"far in IPv6":                      {[]step{networks(`"2001:db8::/48"`), networks(`"2001:db8:1::1","2001:db9::1"`)}, "0 [2001:db9::1] false"},
		"an administrator's phone":         {[]step{boss, verify}, "0 [] true"},
		"the first of a new one":           {[]step{call("Ram:CreateUser", "root", params{"UserName": "bob"}), boss, verify}, "0 [] false"},
		"the second of a new one":          {[]step{call("Ram:CreateUser", "root", params{"UserName": "bob"}), boss, verify, verify}, "0 [] false"},
		"the first, beside another factor": {[]step{call("Ram:CreateUser", "root", params{"UserName": "bob"}), boss, call("Ims:BindMFADevice", "bob", params{"UserPrincipalName": "bob@acme.onaliyun.com"}), verify}, "0 [] true"},
	} {
		j := New(Config{})
		for i, s := range c.story {
			ev := made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, false, nil)
			if i == len(c.story)-1 {
				again := New(Config{})
				if err := again.Restore(j.Snapshot()); err != nil {
					t.Fatal(err)
				}
				j = again
				refused := made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, true, nil)
				if f := j.Judge(refused); f.LockedOut != 0 {
					t.Errorf("%s: a refused call took something: %+v", name, f)
				}
				if got := taken(j.Judge(ev)); got != c.want {
					t.Errorf("%s: %s, want %s", name, got, c.want)
				}
				continue
			}
			j.Judge(ev)
		}
	}
}

// TestLateRename: a group that is renamed late, where a newer change is known, stays
// under both names, and what leaves the one stays in the other.
func TestLateRename(t *testing.T) {
	j := New(Config{})
	admin := params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "GroupName": "one"}
	j.Judge(made(t, "Ram:AttachPolicyToGroup", "root", 2*time.Minute, admin, false, nil))
	j.Judge(made(t, "Ram:UpdateGroup", "root", time.Minute, params{"GroupName": "one", "NewGroupName": "two"}, false, nil))
	admin["GroupName"] = "two"
	j.Judge(made(t, "Ram:DetachPolicyFromGroup", "root", 3*time.Minute, admin, false, nil))
	if f := j.Judge(made(t, "Ram:AddUserToGroup", "root", 4*time.Minute, params{"GroupName": "one", "UserName": "bob"}, false, nil)); !f.AdminEquivalent {
		t.Errorf("%+v", f)
	}
}
