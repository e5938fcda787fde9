package account

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
)

// TestPropStore drives a small judge with every kind of event and with
// listings: its bounds hold, a restart at any place changes nothing that is
// said afterwards, what is said is a pure function of the events, and a
// refused call teaches nothing.
func TestPropStore(t *testing.T) {
	docs := []string{reads, all, guard, doc(`{"Effect":"Allow","Action":"ram:*","Resource":"*"},{"Effect":"Deny","Action":"ram:CreateUser","Resource":"*"}`), "{", ""}
	trusts := []string{trustOwn, trustNew, trustAll, "x"}
	rapid.Check(t, func(t *rapid.T) {
		limits := Config{MaxKeys: rapid.IntRange(3, 30).Draw(t, "keys"), MaxBytes: rapid.IntRange(2000, 40_000).Draw(t, "bytes")}
		j, twin := New(limits), New(limits)
		name := func(what string) string { return what + rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, what) }
		pick := func(list []string) string { return rapid.SampledFrom(list).Draw(t, "text") }
		scope := func() string { return rapid.SampledFrom([]string{own, "rg-1", "rg-2", ""}).Draw(t, "scope") }
		on := []string{"true", "false", ""}
		calls := []func() (string, params){
			func() (string, params) {
				return "Ram:CreatePolicy", params{"PolicyName": name("p"), "PolicyDocument": pick(docs)}
			},
			func() (string, params) {
				return "Ram:CreatePolicyVersion", params{"PolicyName": name("p"), "PolicyDocument": pick(docs), "SetAsDefault": pick(on)}
			},
			func() (string, params) {
				return "Ram:SetDefaultPolicyVersion", params{"PolicyName": name("p"), "VersionId": name("v")}
			},
			func() (string, params) {
				return "Ram:DeletePolicyVersion", params{"PolicyName": name("p"), "VersionId": name("v")}
			},
			func() (string, params) { return "Ram:DeletePolicy", params{"PolicyName": name("p")} },
			func() (string, params) {
				return pick([]string{"ResourceManager:AttachPolicy", "ResourceManager:DetachPolicy"}), params{"PolicyType": pick([]string{"Custom", "System"}), "PolicyName": pick([]string{"p1", "p2", "AdministratorAccess", "AliyunECSFullAccess"}),
					"PrincipalType": "IMSUser", "PrincipalName": name("u") + "@x.onaliyun.com", "ResourceGroupId": scope()}
			},
			func() (string, params) {
				return pick([]string{"Ram:AttachPolicyToGroup", "Ram:DetachPolicyFromGroup"}), params{"PolicyType": "Custom", "PolicyName": name("p"), "GroupName": name("g")}
			},
			func() (string, params) {
				return pick([]string{"Ram:AddUserToGroup", "Ram:RemoveUserFromGroup"}), params{"UserName": name("u"), "GroupName": name("g")}
			},
			func() (string, params) {
				return pick([]string{"Ram:CreateUser", "Ram:DeleteUser"}), params{"UserName": name("u")}
			},
			func() (string, params) {
				return "Ram:UpdateUser", params{"UserName": name("u"), "NewUserName": name("u")}
			},
			func() (string, params) {
				return pick([]string{"Ram:CreateGroup", "Ram:DeleteGroup"}), params{"GroupName": name("g")}
			},
			func() (string, params) {
				return "Ram:UpdateGroup", params{"GroupName": name("g"), "NewGroupName": name("g")}
			},
			func() (string, params) {
				return "Ram:CreateRole", params{"RoleName": name("r"), "AssumeRolePolicyDocument": pick(trusts)}
			},
			func() (string, params) {
				return "Ram:UpdateRole", params{"RoleName": name("r"), "NewAssumeRolePolicyDocument": pick(trusts)}
			},
			func() (string, params) { return "Ram:DeleteRole", params{"RoleName": name("r")} },
			func() (string, params) {
				return "Ims:SetSecurityPreference", params{"AllowUserToManageAccessKeys": pick(on), "LoginNetworkMasks": pick([]string{"", "198.51.100.0/24", "0.0.0.0/0", "x"})}
			},
			func() (string, params) {
				return "Ram:SetPasswordPolicy", params{"MinimumPasswordLength": pick([]string{"8", "14", "x"}), "MaxPasswordAge": pick([]string{"0", "90"})}
			},
			func() (string, params) {
				return "ResourceManager:CreateControlPolicy", params{"PolicyId": name("c"), "PolicyDocument": pick(docs)}
			},
			func() (string, params) {
				return pick([]string{"ResourceManager:AttachControlPolicy", "ResourceManager:DetachControlPolicy"}), params{"PolicyId": name("c"), "TargetId": name("f")}
			},
			func() (string, params) {
				return "ResourceManager:UpdateControlPolicy", params{"PolicyId": name("c"), "NewPolicyDocument": pick(docs)}
			},
			func() (string, params) {
				return "ResourceManager:MoveAccount", params{"AccountId": name("2"), "DestinationFolderId": name("f")}
			},
			func() (string, params) {
				return "Kms:SetKeyPolicy", params{"KeyId": name("k"), "Policy": pick(append(trusts, docs...))}
			},
			func() (string, params) { return "Oss:DeleteBucketPolicy", params{"bucketName": name("b")} },
		}
		verdicts := map[string]bool{"": true, "expands": true, "contracts": true, "changes": true, "equivalent": true, "unknown": true}
		at := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			call, p := rapid.SampledFrom(calls).Draw(t, "call")()
			at += time.Duration(rapid.IntRange(-30, 120).Draw(t, "seconds")) * time.Second
			failed := rapid.IntRange(0, 5).Draw(t, "failed") == 0
			if rapid.IntRange(0, 9).Draw(t, "offer") == 0 {
				from := t0.Add(at + time.Duration(rapid.IntRange(-100, 100).Draw(t, "from"))*time.Second)
				k := &Known{Account: own, From: from, Until: from.Add(time.Minute), Complete: rapid.Bool().Draw(t, "complete"),
					Policies: []KnownPolicy{{Name: name("p"), Version: name("v"), Text: pick(docs), InForce: rapid.Bool().Draw(t, "force")}},
					Holders:  []KnownHolder{{Kind: "user", Name: name("u"), Attached: []Attachment{{Policy: name("p")}}, Links: []string{name("g")}}},
					Trust:    map[string]string{name("r"): pick(trusts)}}
				j.Offer(k)
				twin.Offer(k)
			}
			ev := made(t, call, "alice", at, p, failed, nil)
			waiting := len(j.in.offered)
			before := j.Snapshot()
			f, g := j.Judge(ev), twin.Judge(ev)
			f.Adds, g.Adds = nil, nil
			if !reflect.DeepEqual(f, g) {
				t.Fatalf("%s: two judges disagree\n%+v\n%+v", call, f, g)
			}
			if f.Expands && failed {
				t.Fatalf("%s: a refused call expands", call)
			}
			if failed && waiting == 0 && !bytes.Equal(before, j.Snapshot()) {
				t.Fatalf("%s: a refused call changed what is known", call)
			}
			if !verdicts[f.Verdict] || f.Verdict != "" && f.Sentence == "" || f.Verdict == "unknown" && !failed && !f.Staged && !f.Expands && call != "Ram:RemoveUserFromGroup" {
				t.Fatalf("%s: %+v", call, f)
			}
			if _, err := json.Marshal(f.Details); err != nil {
				t.Fatal(err)
			}
			s := j.Stats()
			if s.Keys > limits.MaxKeys || s.Bytes > max(limits.MaxBytes, rampolicy.MaxText*(maxVersions+2)) {
				t.Fatalf("%d entries, %d bytes with limits %+v", s.Keys, s.Bytes, limits)
			}
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				snap := j.Snapshot()
				other := New(limits)
				if err := other.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(other.Snapshot(), snap) {
					t.Fatal("a restored judge is another")
				}
				other.in.offered = j.in.offered
				j = other
			}
		}
	})
}
