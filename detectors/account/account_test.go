package account

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

const own = "1000000000000001"

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

type params map[string]string

// made builds an event: "Ram:CreatePolicy" by a user, after a time.
func made(t interface{ Fatal(...any) }, call, user string, after time.Duration, p params, failed bool, response map[string]any) *event.Event {
	service, name, _ := strings.Cut(call, ":")
	rec := map[string]any{
		"eventId": fmt.Sprint(call, after), "eventName": name, "serviceName": service, "eventTime": t0.Add(after).Format(time.RFC3339), "eventVersion": "1",
		"recipientAccountId": own, "eventRW": "Write", "sourceIpAddress": "203.0.113.9",
		"userIdentity":      map[string]any{"type": "ram-user", "accountId": own, "userName": user, "principalId": "2" + user},
		"requestParameters": p,
	}
	if user == "root" {
		rec["userIdentity"] = map[string]any{"type": "root-account", "accountId": own, "principalId": own}
	}
	if response != nil {
		rec["responseElements"] = response
	}
	if failed {
		rec["errorCode"], rec["errorMessage"] = "NoPermission", "You are not authorized"
	}
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.Parse(data)
	if err != nil {
		t.Fatal(err, string(data))
	}
	return ev
}

func doc(statements string) string { return `{"Version":"1","Statement":[` + statements + `]}` }

var (
	reads    = doc(`{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}`)
	all      = doc(`{"Effect":"Allow","Action":["*"],"Resource":["*"]}`)
	guard    = doc(`{"Effect":"Deny","Action":"actiontrail:StopLogging","Resource":"*"}`)
	trustOwn = doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::` + own + `:root"]}}`)
	trustNew = doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::2000000000000009:root"]}}`)
	trustAll = doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"*"}}`)
	trustEcs = doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["ecs.aliyuncs.com"]}}`)
)

// step is one call of a story and what is to be found about it: words of
// flags, space separated. Flags not named must not be set.
type step struct {
	call, user string
	p          params
	failed     bool
	want       string
	say        string // in the sentence
}

func flags(f detectors.PolicyFacts) string {
	var out []string
	for _, x := range []struct {
		on   bool
		word string
	}{
		{f.Known, "known"}, {f.Expands, "expands"}, {f.AdminEquivalent, "admin"}, {f.Privileged && !f.AdminEquivalent, "privileged"}, {f.Staged, "staged"},
		{f.ExternalTrust, "external"}, {f.PublicTrust, "public"}, {f.FederatedTrust, "federated"}, {f.DenyRemoved, "deny"}, {f.Self, "self"},
	} {
		if x.on {
			out = append(out, x.word)
		}
	}
	return strings.Join(append(out, f.Verdict), " ")
}

func TestStories(t *testing.T) {
	for name, steps := range map[string][]step{
		"the vendor's administrator": {
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "bob"}, false, "known expands admin expands", "user bob may now do everything (* on *: administrator)"},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "System", "PolicyName": "AliyunOSSReadOnlyAccess", "UserName": "bob"}, false, "known equivalent", "both documents allow the same"},
		},
		"a harmless custom policy of that name": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "AdministratorAccess", "PolicyDocument": reads}, false, "known staged expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "AdministratorAccess", "UserName": "bob"}, false, "known expands expands", "ecs:Describe*"},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyName": "AdministratorAccess", "UserName": "carol"}, false, "known expands expands", "user carol"},
		},
		"everything under a harmless name": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "read-only-helper", "PolicyDocument": all}, false, "known admin staged expands", ""},
			{"Ram:AttachPolicyToRole", "alice", params{"PolicyType": "Custom", "PolicyName": "read-only-helper", "RoleName": "web"}, false, "known expands admin expands", "role web"},
		},
		"two halves make a whole": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "a", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":"acs:ram:*:*:user/*"}`)}, false, "known privileged staged expands", ""},
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "b", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":"acs:ram:*:*:policy/*"}`)}, false, "known privileged staged expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "b", "UserName": "bob"}, false, "known expands privileged expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "a", "UserName": "bob"}, false, "known expands admin expands", "E3"},
		},
		"through ResourceManager, percent-encoded, to a group": {
			{"ResourceManager:CreatePolicy", "alice", params{"PolicyName": "x", "PolicyDocument": strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D", "*", "%2A").Replace(all)}, false, "known admin staged expands", ""},
			{"ResourceManager:AttachPolicy", "alice", params{"PolicyType": "Custom", "PolicyName": "x", "PrincipalType": "IMSGroup", "PrincipalName": "ops@group." + own + ".onaliyun.com", "ResourceGroupId": own}, false, "known expands admin expands", "members of group ops"},
			{"Ims:AddUserToGroup", "alice", params{"GroupName": "ops", "UserPrincipalName": "alice@" + own + ".onaliyun.com"}, false, "known expands admin self expands", "user alice"},
			{"ResourceManager:AttachPolicy", "alice", params{"PolicyType": "System", "PolicyName": "AliyunRAMFullAccess", "PrincipalType": "IMSGroup", "PrincipalName": "ops@group." + own + ".onaliyun.com", "ResourceGroupId": own}, false, "known admin self equivalent", ""},
		},
		"a right over just the own policy": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "Deploy", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ram:CreatePolicyVersion","Resource":"acs:ram:*:` + own + `:policy/Deploy"}`)}, false, "known admin staged expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "Deploy", "UserName": "bob"}, false, "known expands admin expands", "E1"},
		},
		"one resource group": {
			{"ResourceManager:AttachPolicy", "alice", params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "PrincipalType": "IMSUser", "PrincipalName": "bob@" + own + ".onaliyun.com", "ResourceGroupId": "rg-example"}, false, "known expands privileged expands", "; in resource group rg-example alone"},
		},
		"versions": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "app", "PolicyDocument": reads}, false, "known staged expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "app", "UserName": "alice"}, false, "known expands self expands", ""},
			{"Ram:CreatePolicyVersion", "alice", params{"PolicyName": "app", "PolicyDocument": all}, false, "known admin staged self expands", ""},
			{"Ram:SetDefaultPolicyVersion", "alice", params{"PolicyName": "app", "VersionId": "v2"}, true, "known admin self expands", ""},
			{"Ram:SetDefaultPolicyVersion", "alice", params{"PolicyName": "app", "VersionId": "v2"}, false, "known expands admin self expands", "the caller too"},
			{"Ram:SetDefaultPolicyVersion", "alice", params{"PolicyName": "app", "VersionId": "v1"}, false, "known self contracts", ""},
			{"Ram:SetDefaultPolicyVersion", "alice", params{"PolicyName": "app", "VersionId": "v7"}, false, "expands self unknown", "never seen"},
			{"Ram:CreatePolicyVersion", "alice", params{"PolicyName": "app", "PolicyDocument": reads, "SetAsDefault": "true"}, false, "known expands self unknown", "was not seen"},
			{"Ram:DeletePolicyVersion", "alice", params{"PolicyName": "app", "VersionId": "v1"}, false, "known equivalent", ""},
		},
		"a version that forgets a Deny": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "app", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"},{"Effect":"Deny","Action":"ecs:RunCommand","Resource":"*"}`)}, false, "known privileged staged expands", ""},
			{"Ram:CreatePolicyVersion", "alice", params{"PolicyName": "app", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`), "SetAsDefault": "True"}, false, "known expands privileged deny expands", "ecs:RunCommand"},
		},
		"a version of a policy that nobody has": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "app", "PolicyDocument": reads}, false, "known staged expands", ""},
			{"Ram:CreatePolicyVersion", "alice", params{"PolicyName": "app", "PolicyDocument": all, "SetAsDefault": "true"}, false, "known expands admin expands", "no attachment of the policy was seen"},
		},
		"an unknown policy": {
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "old", "UserName": "alice"}, false, "expands self unknown", "custom policy old was never seen"},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "System", "PolicyName": "AliyunSomethingFullAccess", "UserName": "bob"}, false, "expands unknown", "not known here"},
			{"Ram:DetachPolicyFromUser", "alice", params{"PolicyType": "Custom", "PolicyName": "old", "UserName": "alice"}, false, "expands unknown", "whether it held a Deny is not known"},
			{"Ram:AddUserToGroup", "alice", params{"GroupName": "old-group", "UserName": "alice"}, false, "expands self unknown", "was not seen"},
		},
		"a Deny detached": {
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "no-trail-off", "PolicyDocument": guard}, false, "known staged equivalent", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "System", "PolicyName": "AliyunActionTrailFullAccess", "UserName": "alice"}, false, "known expands privileged self expands", ""},
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "Custom", "PolicyName": "no-trail-off", "UserName": "alice"}, false, "known self contracts", ""},
			{"Ram:DetachPolicyFromUser", "alice", params{"PolicyType": "Custom", "PolicyName": "no-trail-off", "UserName": "alice"}, true, "known self expands", ""},
			{"Ram:DetachPolicyFromUser", "alice", params{"PolicyType": "Custom", "PolicyName": "no-trail-off", "UserName": "alice"}, false, "known expands deny self expands", "it refused actiontrail:StopLogging"},
			{"Ram:DetachPolicyFromUser", "alice", params{"PolicyType": "System", "PolicyName": "AliyunActionTrailFullAccess", "UserName": "alice"}, false, "known contracts", ""},
		},
		"a Deny by group": {
			{"Ram:CreateGroup", "alice", params{"GroupName": "held"}, false, "", ""},
			{"Ram:CreatePolicy", "alice", params{"PolicyName": "g", "PolicyDocument": guard}, false, "known staged equivalent", ""},
			{"Ram:AttachPolicyToGroup", "alice", params{"PolicyType": "Custom", "PolicyName": "g", "GroupName": "held"}, false, "known equivalent", ""},
			{"Ram:AddUserToGroup", "alice", params{"GroupName": "held", "UserName": "bob"}, false, "known equivalent", ""},
			{"Ram:RemoveUserFromGroup", "bob", params{"GroupName": "held", "UserName": "bob"}, false, "known expands deny self expands", "hold a Deny"},
		},
		"trust": {
			{"Ram:CreateRole", "alice", params{"RoleName": "deploy", "AssumeRolePolicyDocument": trustOwn}, false, "known expands expands", ""},
			{"Ram:UpdateRole", "alice", params{"RoleName": "deploy", "NewAssumeRolePolicyDocument": trustNew}, true, "known external changes", ""},
			{"Ram:UpdateRole", "alice", params{"RoleName": "deploy", "NewAssumeRolePolicyDocument": trustNew}, false, "known expands external changes", "2000000000000009"},
			{"Ram:UpdateRole", "alice", params{"RoleName": "deploy", "NewAssumeRolePolicyDocument": trustNew}, false, "known equivalent", ""},
			{"Ram:UpdateRole", "alice", params{"RoleName": "deploy", "NewMaxSessionDuration": "7200"}, false, "known equivalent", "its trust did not"},
			{"Ram:UpdateRole", "alice", params{"RoleName": "deploy", "NewAssumeRolePolicyDocument": trustAll}, false, "known expands external public expands", "Any Alibaba Cloud account"},
			{"Ram:CreateRole", "alice", params{"RoleName": "node", "AssumeRolePolicyDocument": trustEcs}, false, "known expands expands", ""},
			{"Ram:UpdateRole", "alice", params{"RoleName": "node", "NewAssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::` + own + `:user/alice"}}`)}, false, "known expands self changes", ""},
			{"Ram:UpdateRole", "alice", params{"RoleName": "elder", "NewAssumeRolePolicyDocument": trustNew}, false, "known expands external unknown", "was not seen"},
			{"Ram:UpdateRole", "alice", params{"RoleName": "node", "NewAssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Federated":"acs:ram::` + own + `:saml-provider/corp"}}`)}, false, "known expands federated changes", "saml-provider/corp"},
			{"Ram:UpdateRole", "alice", params{"RoleName": "node", "NewAssumeRolePolicyDocument": "{"}, false, "expands unknown", "cannot be read"},
		},
		"guard rails": {
			{"ResourceDirectoryMaster:CreateControlPolicy", "root", params{"PolicyId": "cp-1", "PolicyDocument": guard}, false, "known staged contracts", ""},
			{"ResourceDirectoryMaster:AttachControlPolicy", "root", params{"PolicyId": "cp-1", "TargetId": "fd-1"}, false, "known contracts", "fd-1"},
			{"ResourceDirectoryMaster:UpdateControlPolicy", "root", params{"PolicyId": "cp-1", "NewPolicyDocument": doc(`{"Effect":"Deny","Action":"actiontrail:*","Resource":"*"}`)}, false, "known contracts", ""},
			{"ResourceDirectoryMaster:UpdateControlPolicy", "root", params{"PolicyId": "cp-1", "NewPolicyDocument": guard}, false, "known expands deny expands", ""},
			{"ResourceManager:DetachControlPolicy", "root", params{"PolicyId": "cp-1", "TargetId": "fd-1"}, false, "known expands deny expands", "actiontrail:StopLogging"},
			{"ResourceManager:DetachControlPolicy", "root", params{"PolicyId": "cp-9", "TargetId": "fd-1"}, false, "expands unknown", "never seen"},
			{"ResourceDirectoryMaster:DisableControlPolicy", "root", params{}, false, "known expands deny expands", "switched off"},
			{"ResourceDirectoryMaster:DisableControlPolicy", "root", params{}, true, "known expands", ""},
		},
		"cloud SSO": {
			{"CloudSSO:CreateAccessConfiguration", "root", params{"AccessConfigurationId": "ac-1"}, false, "", ""},
			{"CloudSSO:UpdateInlinePolicyForAccessConfiguration", "root", params{"AccessConfigurationId": "ac-1", "NewInlinePolicyDocument": reads}, false, "known expands expands", ""},
			{"CloudSSO:AddPermissionPolicyToAccessConfiguration", "root", params{"AccessConfigurationId": "ac-1", "PermissionPolicyType": "System", "PermissionPolicyName": "AdministratorAccess"}, false, "known expands admin expands", ""},
			{"CloudSSO:CreateAccessAssignment", "root", params{"AccessConfigurationId": "ac-1", "PrincipalId": "u-1"}, false, "known expands admin expands", ""},
			{"CloudSSO:CreateAccessAssignment", "root", params{"AccessConfigurationId": "ac-2", "PrincipalId": "u-1"}, false, "expands unknown", "not seen"},
		},
		"refused": {
			{"Ram:AttachPolicyToUser", "alice", params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "alice"}, true, "known admin self expands", "refused; it would have meant: user alice may now do everything"},
		},
		"a renamed group keeps its policies": {
			{"Ram:CreateGroup", "alice", params{"GroupName": "dev"}, false, "", ""},
			{"Ram:AttachPolicyToGroup", "alice", params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "GroupName": "dev"}, false, "known expands admin expands", ""},
			{"Ram:UpdateGroup", "alice", params{"GroupName": "dev", "NewGroupName": "harmless"}, false, "", ""},
			{"Ram:AddUserToGroup", "alice", params{"GroupName": "harmless", "UserName": "bob"}, false, "known expands admin expands", ""},
		},
		"not a change of permissions": {
			{"Ram:CreateAccessKey", "alice", params{"UserName": "bob"}, false, "", ""},
			{"Ram:CreateServiceLinkedRole", "alice", params{"RoleName": "AliyunServiceRoleForX"}, false, "", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := New(Config{})
			for i, s := range steps {
				before := j.Snapshot()
				f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
				if got := flags(f); strings.TrimSpace(got) != s.want {
					t.Errorf("step %d %s: %q, want %q\n%s", i, s.call, got, s.want, f.Sentence)
				}
				if !strings.Contains(f.Sentence, s.say) {
					t.Errorf("step %d: %q does not say %q", i, f.Sentence, s.say)
				}
				if s.want != "" && (f.Sentence == "" || f.Summary == "" || f.Details == nil) {
					t.Errorf("step %d says nothing: %+v", i, f)
				}
				if _, err := json.Marshal(f.Details); err != nil {
					t.Error(err)
				}
				if s.failed && !bytes.Equal(before, j.Snapshot()) {
					t.Errorf("step %d: a failed call changed what is known", i)
				}
				// A restart between two events makes no difference.
				other := New(Config{})
				if err := other.Restore(j.Snapshot()); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(other.Snapshot(), j.Snapshot()) {
					t.Fatal("a restored history is another")
				}
				j = other
			}
		})
	}
}

func TestResponsesNameTheVersion(t *testing.T) {
	j := New(Config{})
	j.Judge(made(t, "Ram:CreatePolicyVersion", "alice", 0, params{"PolicyName": "app", "PolicyDocument": all}, false, map[string]any{"PolicyVersion": map[string]any{"VersionId": "v8"}}))
	f := j.Judge(made(t, "Ram:SetDefaultPolicyVersion", "alice", time.Minute, params{"PolicyName": "app", "VersionId": "v8"}, false, nil))
	if got := flags(f); got != "known expands admin unknown" {
		t.Errorf("%s: %s", got, f.Sentence)
	}
}

func TestLateChangesDoNotOverwrite(t *testing.T) {
	j := New(Config{})
	j.Judge(made(t, "Ram:CreatePolicy", "a", 0, params{"PolicyName": "app", "PolicyDocument": reads}, false, nil))
	j.Judge(made(t, "Ram:CreatePolicyVersion", "a", time.Hour, params{"PolicyName": "app", "PolicyDocument": all, "SetAsDefault": "true"}, false, nil))
	j.Judge(made(t, "Ram:CreatePolicyVersion", "a", time.Minute, params{"PolicyName": "app", "PolicyDocument": reads, "SetAsDefault": "true"}, false, nil))
	f := j.Judge(made(t, "Ram:AttachPolicyToUser", "a", 2*time.Hour, params{"PolicyName": "app", "PolicyType": "Custom", "UserName": "b"}, false, nil))
	if !f.AdminEquivalent || j.Late() != 1 {
		t.Errorf("%+v, %d late", f, j.Late())
	}
}

func TestSelfRaisesSeverity(t *testing.T) {
	severity := func(target string) string {
		return New(Config{}).Judge(made(t, "Ram:AttachPolicyToUser", "alice", 0, params{"PolicyName": "AliyunECSReadOnlyAccess", "PolicyType": "System", "UserName": target}, false, nil)).Severity
	}
	if a, b := severity("bob"), severity("alice"); a != "low" || b != "medium" {
		t.Errorf("%s for another, %s for oneself", a, b)
	}
}

// TestPropModel compares attachments and memberships with a plain model.
func TestPropModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := New(Config{})
		type fact struct{ kind, who, what string }
		model := map[fact]bool{}
		admins := func(user string) bool {
			if model[fact{"user", user, "big"}] {
				return true
			}
			for _, g := range []string{"g", "h"} {
				if model[fact{"in", user, g}] && model[fact{"group", g, "big"}] {
					return true
				}
			}
			return false
		}
		j.Judge(made(t, "Ram:CreatePolicy", "root", 0, params{"PolicyName": "big", "PolicyDocument": all}, false, nil))
		j.Judge(made(t, "Ram:CreatePolicy", "root", 0, params{"PolicyName": "small", "PolicyDocument": reads}, false, nil))
		for _, g := range []string{"g", "h"} {
			j.Judge(made(t, "Ram:CreateGroup", "root", 0, params{"GroupName": g}, false, nil))
		}
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			user := rapid.SampledFrom([]string{"u", "v"}).Draw(t, "user")
			group := rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group")
			policy := rapid.SampledFrom([]string{"big", "small"}).Draw(t, "policy")
			failed := rapid.IntRange(0, 4).Draw(t, "failed") == 0
			on := rapid.Bool().Draw(t, "on")
			at := time.Duration(i+1) * time.Second
			was := admins(user)
			var f detectors.PolicyFacts
			op := rapid.IntRange(0, 2).Draw(t, "op")
			// What is there cannot be put there again.
			fresh := []fact{{"user", user, policy}, {"group", group, policy}, {"in", user, group}}[op]
			failed = failed || on && model[fresh]
			switch op {
			case 0:
				call := map[bool]string{true: "Ram:AttachPolicyToUser", false: "Ram:DetachPolicyFromUser"}[on]
				f = j.Judge(made(t, call, "root", at, params{"PolicyType": "Custom", "PolicyName": policy, "UserName": user}, failed, nil))
				if !failed {
					model[fact{"user", user, policy}] = on
				}
			case 1:
				call := map[bool]string{true: "Ram:AttachPolicyToGroup", false: "Ram:DetachPolicyFromGroup"}[on]
				f = j.Judge(made(t, call, "root", at, params{"PolicyType": "Custom", "PolicyName": policy, "GroupName": group}, failed, nil))
				if !failed {
					model[fact{"group", group, policy}] = on
				}
			case 2:
				call := map[bool]string{true: "Ram:AddUserToGroup", false: "Ram:RemoveUserFromGroup"}[on]
				f = j.Judge(made(t, call, "root", at, params{"GroupName": group, "UserName": user}, failed, nil))
				if !failed {
					model[fact{"in", user, group}] = on
				}
			}
			if failed && f.Expands {
				t.Fatal("a failed call expands")
			}
			if is := admins(user); op != 1 && !failed && is && !was && (!f.Expands || !f.AdminEquivalent) {
				t.Fatalf("step %d: %s became administrator: %+v", i, user, f)
			}
			if !on && f.Expands {
				t.Fatalf("step %d: taking away expands: %+v", i, f)
			}
			if op != 1 && was && on && f.Expands {
				t.Fatalf("step %d: an administrator got more: %s", i, f.Sentence)
			}
			for _, who := range []struct{ kind, name string }{{"user", "u"}, {"user", "v"}, {"group", "g"}, {"group", "h"}} {
				var have, want []string
				if e := j.get(who.kind, own, who.name); e != nil {
					for _, a := range e.attached {
						have = append(have, a.name)
					}
				}
				for _, p := range []string{"big", "small"} {
					if model[fact{who.kind, who.name, p}] {
						want = append(want, p)
					}
				}
				slices.Sort(have)
				if !slices.Equal(have, want) {
					t.Fatalf("step %d: %s %s has %v, want %v", i, who.kind, who.name, have, want)
				}
			}
		}
	})
}

func TestBoundsAndMeasuredSize(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	j := New(Config{MaxKeys: 4000})
	for i := range 5000 {
		user := fmt.Sprintf("user-%05d", i)
		at := time.Duration(i) * time.Second
		for _, p := range []string{"AliyunOSSReadOnlyAccess", "AliyunECSReadOnlyAccess"} {
			j.change(kindUser, own, user, t0.Add(at), func(e *entry) { e.attach(attachment{system: true, name: strings.ToLower(p), shown: strings.Clone(p)}) })
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	s, heap := j.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
	t.Logf("%d bytes per principal by estimate, %d on the heap", s.Bytes/s.Keys, heap/s.Keys)
	if s.Keys != 4000 || s.Evicted != 1000 || s.Bytes < heap*7/10 || s.Bytes > heap*2 {
		t.Errorf("%+v, %d on the heap", s, heap)
	}
	// What was evicted is unknown, not absent.
	f := j.Judge(made(t, "Ram:AttachPolicyToUser", "root", 10*time.Hour, params{"PolicyType": "System", "PolicyName": "AliyunOSSReadOnlyAccess", "UserName": "user-00000"}, false, nil))
	if f.Details["before"] != "partly known" {
		t.Errorf("%+v", f.Details)
	}
	// One hostile object is bounded too.
	for i := range 500 {
		j.Judge(made(t, "Ram:AttachPolicyToUser", "root", 11*time.Hour+time.Duration(i), params{"PolicyType": "System", "PolicyName": fmt.Sprint("Aliyun", i), "UserName": "x"}, false, nil))
	}
	if e := j.get(kindUser, own, "x"); len(e.attached) > maxAttachments || e.complete {
		t.Errorf("%d attachments", len(e.attached))
	}
}

func FuzzRestore(f *testing.F) {
	j := New(Config{})
	for i, s := range []step{
		{call: "Ram:CreatePolicy", p: params{"PolicyName": "app", "PolicyDocument": reads}},
		{call: "Ram:CreateGroup", p: params{"GroupName": "g"}},
		{call: "Ram:AttachPolicyToGroup", p: params{"PolicyType": "Custom", "PolicyName": "app", "GroupName": "g"}},
		{call: "Ram:AddUserToGroup", p: params{"GroupName": "g", "UserName": "bob"}},
		{call: "Ram:CreateRole", p: params{"RoleName": "r", "AssumeRolePolicyDocument": trustOwn}},
	} {
		j.Judge(made(f, s.call, "alice", time.Duration(i)*time.Second, s.p, false, nil))
	}
	f.Add(j.Snapshot())
	f.Add([]byte(magic))
	join := made(f, "Ram:AddUserToGroup", "alice", time.Hour, params{"GroupName": "g", "UserName": "carol"}, false, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			j := New(Config{})
			if err := j.Restore(body); err != nil {
				if j.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			j.Judge(join)
			if err := New(Config{}).Restore(j.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzDocument: whatever stands where a document should, the judge answers.
func FuzzDocument(f *testing.F) {
	for _, d := range []string{reads, all, guard, trustAll, "", "{", `"` + `{}` + `"`, "%7B"} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, text string) {
		j := New(Config{})
		for i, call := range []string{"Ram:CreatePolicy", "Ram:CreateRole", "ResourceManager:UpdateControlPolicy", "Ram:CreatePolicyVersion", "Ram:AttachPolicyToUser"} {
			p := params{"PolicyName": "p", "RoleName": "r", "PolicyId": "c", "UserName": "bob", "PolicyType": "Custom", "SetAsDefault": "true", "PolicyDocument": text, "AssumeRolePolicyDocument": text, "NewPolicyDocument": text}
			fct := j.Judge(made(t, call, "alice", time.Duration(i)*time.Second, p, false, nil))
			if _, err := json.Marshal(fct.Details); err != nil {
				t.Fatal(err)
			}
		}
		if err := New(Config{}).Restore(j.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

// Whom a trust or a policy lets in from outside is said by account: what
// stands elsewhere in the document, as a resource that names the own account,
// says nothing of it.
func TestOutsidersByAccount(t *testing.T) {
	bucket := func(principal string) params {
		return params{"bucketName": "b", "policy": doc(`{"Effect":"Allow","Action":"oss:GetObject","Principal":["` + principal + `"],"Resource":"acs:oss:*:` + own + `:b/*"}`)}
	}
	role := func(principal string) params {
		return params{"RoleName": "r", "NewAssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{` + principal + `}}`)}
	}
	for _, x := range []struct {
		call    string
		p       params
		want    string
		outside bool
	}{
		{"Oss:PutBucketPolicy", bucket("2000000000000009"), "2000000000000009", true},
		{"Oss:PutBucketPolicy", bucket("arn:sts::2000000000000009:assumed-role/x/*"), "2000000000000009", true},
		{"Oss:PutBucketPolicy", bucket("200000000000000001"), "", true}, // a user, of whom is not known
		{"Oss:PutBucketPolicy", bucket("arn:sts::" + own + ":assumed-role/x/*"), "", false},
		{"Oss:PutBucketPolicy", bucket("*"), "*", true},
		{"Ram:UpdateRole", role(`"RAM":["acs:ram::` + own + `:root","acs:ram::2000000000000009:user/x"]`), "2000000000000009", true},
		{"Ram:UpdateRole", role(`"Service":"2000000000000009@log.aliyuncs.com"`), "2000000000000009", true},
		{"Ram:UpdateRole", role(`"Federated":"acs:ram::` + own + `:oidc-provider/p"`), "*", true},
		{"Ram:UpdateRole", role(`"Federated":"acs:ram::` + own + `:saml-provider/p"`), "", false},
	} {
		f := New(Config{}).Judge(made(t, x.call, "alice", 0, x.p, false, nil))
		if got := strings.Join(f.TrustAccounts, " "); got != x.want || f.ExternalTrust != x.outside {
			t.Errorf("%v: %q, external %v; want %q, %v", x.p, got, f.ExternalTrust, x.want, x.outside)
		}
	}
	// Who was let in before is not new.
	j := New(Config{})
	j.Judge(made(t, "Ram:UpdateRole", "alice", 0, role(`"RAM":["acs:ram::2000000000000009:root"]`), false, nil))
	f := j.Judge(made(t, "Ram:UpdateRole", "alice", time.Hour, role(`"RAM":["acs:ram::2000000000000009:root","acs:ram::3000000000000003:root"]`), false, nil))
	if got := strings.Join(f.TrustAccounts, " "); got != "3000000000000003" {
		t.Errorf("new are %q", got)
	}
}
