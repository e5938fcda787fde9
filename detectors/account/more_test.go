package account

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
)

// tell runs a story and returns the facts of its last call.
func tell(t *testing.T, steps []step) (f detectors.PolicyFacts) {
	t.Helper()
	j := New(Config{})
	for i, s := range steps {
		f = j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
		if s.want != "" && strings.TrimSpace(flags(f)) != s.want {
			t.Errorf("step %d %s: %q, want %q\n%s", i, s.call, strings.TrimSpace(flags(f)), s.want, f.Sentence)
		}
		if !strings.Contains(f.Sentence, s.say) {
			t.Errorf("step %d: %q does not say %q", i, f.Sentence, s.say)
		}
		other := New(Config{})
		if err := other.Restore(j.Snapshot()); err != nil {
			t.Fatal(err)
		}
		j = other
	}
	return f
}

func scoped(policy, group string) params {
	return params{"PolicyType": "Custom", "PolicyName": policy, "PrincipalType": "IMSUser", "PrincipalName": "bob@" + own + ".onaliyun.com", "ResourceGroupId": group}
}

// TestScopes: what holds in a resource group is no reason to think that it
// held in the account.
func TestScopes(t *testing.T) {
	create := func(name, text string) step {
		return step{"Ram:CreatePolicy", "root", params{"PolicyName": name, "PolicyDocument": text}, false, "", ""}
	}
	user := step{"Ram:CreateUser", "root", params{"UserName": "bob"}, false, "", ""}
	tell(t, []step{user, create("big", all),
		{"ResourceManager:AttachPolicy", "root", scoped("big", "rg-1"), false, "known expands privileged expands", ""},
		{"ResourceManager:AttachPolicy", "root", scoped("big", own), false, "known expands admin expands", "everything"},
		{"ResourceManager:AttachPolicy", "root", scoped("big", "rg-2"), false, "known privileged equivalent", ""},
	})
	// The Deny of the account holds in the group too; there alone something
	// comes back when it goes.
	f := tell(t, []step{user, create("code", doc(`{"Effect":"Allow","Action":"ecs:RunCommand","Resource":"*"}`)), create("held", doc(`{"Effect":"Deny","Action":"ecs:RunCommand","Resource":"*"}`)),
		{"ResourceManager:AttachPolicy", "root", scoped("held", own), false, "known equivalent", ""},
		{"ResourceManager:AttachPolicy", "root", scoped("code", "rg-1"), false, "", ""},
		{"ResourceManager:DetachPolicy", "root", scoped("held", own), false, "known expands deny expands", ""},
	})
	if !f.Adds("ecs:Run*") || f.Adds("ram:*") {
		t.Error("what comes back is ecs:RunCommand")
	}
	// A Deny in a group does not hold anything back outside of it.
	tell(t, []step{user, create("code", doc(`{"Effect":"Allow","Action":"ecs:RunCommand","Resource":"*"}`)), create("held", doc(`{"Effect":"Deny","Action":"ecs:*","Resource":"*"}`)),
		{"ResourceManager:AttachPolicy", "root", scoped("held", "rg-1"), false, "known equivalent", ""},
		{"ResourceManager:AttachPolicy", "root", scoped("code", own), false, "known expands privileged expands", ""},
	})
}

// TestInferredTexts: a text that nobody read is no proof that something was
// allowed before.
func TestInferredTexts(t *testing.T) {
	attach := func(typ, name string) step {
		return step{"Ram:AttachPolicyToUser", "root", params{"PolicyType": typ, "PolicyName": name, "UserName": "bob"}, false, "", ""}
	}
	steps := []step{
		{"Ram:CreatePolicy", "root", params{"PolicyName": "read", "PolicyDocument": doc(`{"Effect":"Allow","Action":"oss:GetObject","Resource":"*"}`)}, false, "", ""},
		attach("System", "AliyunOSSFullAccess"), attach("Custom", "read"),
	}
	if f := tell(t, steps); !f.Expands {
		t.Error("AliyunOSSFullAccess' text is inferred:", f.Sentence)
	}
	// Read from a listing it counts.
	j := New(Config{})
	j.Offer(&Known{Account: own, From: t0.Add(-2 * time.Hour), Until: t0.Add(-time.Hour), Policies: []KnownPolicy{
		{System: true, Name: "AliyunOSSFullAccess", Version: "v1", Text: doc(`{"Effect":"Allow","Action":"oss:*","Resource":"*"}`), InForce: true}}})
	var f detectors.PolicyFacts
	for i, s := range steps {
		f = j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
	}
	if f.Expands || f.Verdict != "equivalent" {
		t.Error(f.Verdict, f.Sentence)
	}
}

// TestUsersComeBack: a user of an old name has nothing of what the old one
// had.
func TestUsersComeBack(t *testing.T) {
	grant := step{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "bob"}, false, "known expands admin expands", ""}
	for _, between := range []step{
		{"Ram:DeleteUser", "root", params{"UserName": "bob"}, false, "", ""},
		{"Ram:CreateUser", "root", params{"UserName": "bob"}, false, "", ""},
		{"Ims:UpdateUser", "root", params{"UserPrincipalName": "bob@" + own + ".onaliyun.com", "NewUserPrincipalName": "rob@" + own + ".onaliyun.com"}, false, "", ""},
	} {
		tell(t, []step{grant, between, grant})
	}
	// The renamed one keeps it, so that the call is refused.
	again := grant
	again.failed = true
	again.p = params{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "rob"}
	again.want = "known admin equivalent"
	tell(t, []step{grant, {"Ims:UpdateUser", "root", params{"UserPrincipalName": "bob@" + own + ".onaliyun.com", "NewUserPrincipalName": "rob@" + own + ".onaliyun.com"}, false, "", ""}, again})
}

func TestPreferences(t *testing.T) {
	pref := func(want, say string, p params) step {
		return step{"Ims:SetSecurityPreference", "alice", p, false, want, say}
	}
	tell(t, []step{
		pref("expands unknown", "users making their own AccessKeys: true (AllowUserToManageAccessKeys), previous value not known", params{"AllowUserToManageAccessKeys": "true"}),
		pref("known contracts", "stronger now", params{"AllowUserToManageAccessKeys": "false"}),
		pref("known expands expands", "weaker now: users making their own AccessKeys: True, was false", params{"AllowUserToManageAccessKeys": "True"}),
		pref("known equivalent", "", params{"AllowUserToManageAccessKeys": "1"}),
		pref("known contracts", "", params{"MFAOperationForLogin": "mandatory"}),
		pref("known expands expands", "adaptive, was mandatory", params{"MFAOperationForLogin": "adaptive"}),
		pref("known expands changes", "independent, was adaptive", params{"MFAOperationForLogin": "independent", "AllowUserToManageAccessKeys": "false"}),
		pref("expands unknown", "", params{"LoginNetworkMasks": "198.51.100.0/24;203.0.113.0/25"}),
		pref("known contracts", "", params{"LoginNetworkMasks": "198.51.100.0/24"}),
		pref("known expands expands", "198.51.100.0/23, was 198.51.100.0/24", params{"LoginNetworkMasks": "198.51.100.0/23"}),
		pref("known expands expands", "nothing, was", params{"LoginNetworkMasks": ""}),
		pref("expands unknown", "", params{"VerificationTypes": `["sms","email"]`}),
		pref("known expands expands", "", params{"VerificationTypes": `["sms"]`}),
		pref("expands unknown", "", params{"LoginSessionDuration": "6"}),
		pref("known expands expands", "24, was 6", params{"LoginSessionDuration": "24"}),
		pref("", "", params{"DisplayLanguage": "zh"}),
	})
	pwd := func(want, say string, p params) step {
		return step{"Ram:SetPasswordPolicy", "alice", p, false, want, say}
	}
	tell(t, []step{
		pwd("expands unknown", "", params{"MinimumPasswordLength": "14", "MaxPasswordAge": "90", "RequireNumbers": "true"}),
		pwd("known equivalent", "", params{"MinimumPasswordLength": "14"}),
		pwd("known expands expands", "8, was 14", params{"MinimumPasswordLength": "8", "MaxPasswordAge": "90"}),
		pwd("known expands expands", "0, was 90", params{"MaxPasswordAge": "0"}),
		pwd("known contracts", "30, was 0", params{"MaxPasswordAge": "30"}),
		pwd("known expands expands", "false, was true", params{"RequireNumbers": "false"}),
	})
	f := tell(t, []step{pref("", "", params{"MFAOperationForLogin": "mandatory"}), {"Ims:SetSecurityPreference", "alice", params{"MFAOperationForLogin": "independent"}, true, "known expands", ""},
		pref("known equivalent", "", params{"MFAOperationForLogin": "mandatory"})})
	if f.Details["settings"] == nil {
		t.Error("the details do not list the settings")
	}
}

func TestMoveAccount(t *testing.T) {
	rd := func(call string, p params, want, say string) step {
		return step{"ResourceDirectoryMaster:" + call, "root", p, false, want, say}
	}
	tell(t, []step{
		rd("MoveAccount", params{"AccountId": "2000000000000002", "DestinationFolderId": "fd-a"}, "expands unknown", "where it was before was not seen"),
		rd("CreateControlPolicy", params{"PolicyId": "cp-1", "PolicyDocument": guard}, "", ""),
		rd("AttachControlPolicy", params{"PolicyId": "cp-1", "TargetId": "fd-a"}, "", ""),
		rd("MoveAccount", params{"AccountId": "2000000000000002", "DestinationFolderId": "fd-b"}, "known expands deny expands", "left guard rails behind: it refused actiontrail:StopLogging"),
		rd("AttachControlPolicy", params{"PolicyId": "cp-1", "TargetId": "fd-b"}, "", ""),
		rd("MoveAccount", params{"AccountId": "2000000000000002", "DestinationFolderId": "fd-a"}, "expands unknown", "not all guard rails of both places are known"),
	})
	// With the way to the root known on both sides, it can be said that
	// nothing is lost; and what another policy still refuses stays refused.
	j := New(Config{})
	at := t0
	judge := func(call string, p params, response map[string]any) detectors.PolicyFacts {
		at = at.Add(time.Minute)
		return j.Judge(made(t, "ResourceManager:"+call, "root", at.Sub(t0), p, false, response))
	}
	for _, f := range []string{"fd-a", "fd-b"} {
		judge("CreateFolder", params{"ParentFolderId": "r-root", "FolderName": f}, map[string]any{"Folder": map[string]any{"FolderId": f}})
	}
	judge("CreateControlPolicy", params{"PolicyId": "cp-1", "PolicyDocument": guard}, nil)
	judge("AttachControlPolicy", params{"PolicyId": "cp-1", "TargetId": "fd-a"}, nil)
	judge("CreateResourceAccount", params{"ParentFolderId": "fd-b"}, map[string]any{"Account": map[string]any{"AccountId": "2000000000000002"}})
	if f := judge("MoveAccount", params{"AccountId": "2000000000000002", "DestinationFolderId": "fd-a"}, nil); f.Verdict != "contracts" || f.Expands {
		t.Error(f.Verdict, f.Sentence)
	}
	// Down from the root nothing is left behind, whatever the folder; an account
	// that is made lies there unless it was said where.
	judge("CreateResourceAccount", params{"DisplayName": "new"}, map[string]any{"Account": map[string]any{"AccountId": "2000000000000003"}})
	if f := judge("MoveAccount", params{"AccountId": "2000000000000003", "DestinationFolderId": "fd-unseen"}, nil); f.Verdict != "equivalent" || f.Expands || !strings.Contains(f.Sentence, "from the root folder to fd-unseen") {
		t.Error(f.Verdict, f.Sentence)
	}
	if f := judge("MoveAccount", params{"AccountId": "2000000000000003", "DestinationFolderId": "fd-a"}, nil); !f.Expands {
		t.Error("from a folder that was not seen, it may have left something behind:", f.Verdict, f.Sentence)
	}
	judge("CreateControlPolicy", params{"PolicyId": "cp-2", "PolicyDocument": doc(`{"Effect":"Deny","Action":"actiontrail:*","Resource":"*"}`)}, nil)
	judge("AttachControlPolicy", params{"PolicyId": "cp-2", "TargetId": "r-root"}, nil)
	if f := judge("DetachControlPolicy", params{"PolicyId": "cp-1", "TargetId": "fd-a"}, nil); f.DenyRemoved || f.Verdict != "equivalent" {
		t.Error("the root's policy still refuses it:", f.Verdict, f.Sentence)
	}
	if f := judge("DetachControlPolicy", params{"PolicyId": "cp-2", "TargetId": "r-root"}, nil); !f.DenyRemoved {
		t.Error(f.Verdict, f.Sentence)
	}
}

func TestResourcePolicies(t *testing.T) {
	bucket := func(principal string, extra string) string {
		return doc(`{"Effect":"Allow","Action":"oss:GetObject","Principal":[` + principal + `],"Resource":["acs:oss:*:` + own + `:photos/*"]` + extra + `}`)
	}
	put := func(text, want, say string) step {
		return step{"Oss:PutBucketPolicy", "alice", params{"bucketName": "photos", "policy": text}, false, want, say}
	}
	tell(t, []step{
		put(bucket(`"20000000000000021"`, ""), "known expands external unknown", "was not seen"),
		put(bucket(`"*"`, `,"Condition":{"IpAddress":{"acs:SourceIp":"198.51.100.0/24"}}`), "known expands external public changes", "anonymous"),
		put(bucket(`"*"`, ""), "known expands external expands", ""),
		put(bucket(`"*"`, ""), "known equivalent", ""),
		put("{", "expands unknown", ""),
		{"Oss:DeleteBucketPolicy", "alice", params{"bucketName": "photos"}, false, "expands unknown", "never seen"},
		put(doc(`{"Effect":"Deny","Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:photos/*"]}`), "", ""),
		{"Oss:DeleteBucketPolicy", "alice", params{"bucketName": "photos"}, false, "known expands deny expands", "with it a Deny"},
	})
	tell(t, []step{
		{"Kms:SetKeyPolicy", "alice", params{"KeyId": "key-1", "Policy": doc(`{"Effect":"Allow","Action":"kms:*","Principal":{"RAM":["acs:ram::` + own + `:*"]},"Resource":"*"}`)}, false, "", ""},
		{"Kms:SetKeyPolicy", "alice", params{"KeyId": "key-1", "Policy": doc(`{"Effect":"Allow","Action":"kms:*","Principal":{"RAM":["acs:ram::` + own + `:*","acs:ram::2000000000000009:user/x"]},"Resource":"*"}`)}, false, "known expands external expands", "2000000000000009"},
		{"Kms:SetSecretPolicy", "alice", params{"SecretName": "db", "Policy": doc(`{"Effect":"Allow","Action":"kms:GetSecretValue","Principal":{"RAM":["*"]},"Resource":"*"}`)}, false, "known expands external public unknown", ""},
	})
}

func TestAddsAndPaths(t *testing.T) {
	f := tell(t, []step{{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "System", "PolicyName": "AliyunRAMFullAccess", "UserName": "bob"}, false, "known expands admin expands", ""}})
	if !f.Adds("ram:*") || !f.Adds("*:createaccesskey") || f.Adds("ecs:*") || f.Adds("nothing") {
		t.Error("it adds ram:* and nothing else")
	}
	if len(f.Paths) < 5 || f.Details["paths"] == nil {
		t.Errorf("%v", f.Paths)
	}
	f = tell(t, []step{{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "Custom", "PolicyName": "unseen", "UserName": "bob"}, false, "expands unknown", ""}})
	if !f.Adds("ram:*") {
		t.Error("unknown is handled as expanding")
	}
}

// TestOffers: a listing stands for the time after it, never for the time
// before.
func TestOffers(t *testing.T) {
	known := &Known{Account: own, From: t0.Add(10 * time.Minute), Until: t0.Add(20 * time.Minute), Complete: true,
		Policies: []KnownPolicy{{Name: "base", Version: "v2", Text: all, InForce: true}, {Name: "base", Version: "v1", Text: reads}},
		Holders: []KnownHolder{
			{Kind: "user", Name: "bob", Attached: []Attachment{{Policy: "base"}}, Links: []string{"ops"}},
			{Kind: "user", Name: "carol"},
			{Kind: "group", Name: "ops", Attached: []Attachment{{System: true, Policy: "AdministratorAccess"}}, Links: []string{"bob"}},
			{Kind: "robot", Name: "x"},
		},
		Trust: map[string]string{"deploy": trustOwn}}
	attach := func(user string) params {
		return params{"PolicyType": "Custom", "PolicyName": "base", "UserName": user}
	}
	j := New(Config{})
	j.Offer(known)
	at := func(minute int, call string, p params) detectors.PolicyFacts {
		return j.Judge(made(t, call, "root", time.Duration(minute)*time.Minute, p, false, nil))
	}
	// Before the listing: it shows the attachment, and that is no proof that
	// it was there. The text of a version can be read all the same.
	if f := at(5, "Ram:AttachPolicyToUser", attach("bob")); !f.Expands || f.Verdict != "unknown" {
		t.Error(f.Verdict, f.Sentence)
	}
	if f := at(6, "Ram:SetDefaultPolicyVersion", params{"PolicyName": "base", "VersionId": "v2"}); !f.AdminEquivalent || !f.Expands {
		t.Error("the text of v2 was read:", f.Verdict, f.Sentence)
	}
	// An event during the listing is stronger than the listing.
	if f := at(15, "Ram:DetachPolicyFromUser", params{"PolicyType": "Custom", "PolicyName": "base", "UserName": "carol"}); f.Expands {
		t.Error(f.Sentence)
	}
	// After it.
	if f := at(30, "Ram:AttachPolicyToUser", attach("bob")); f.Expands || f.Verdict != "equivalent" || f.Details["before"] != "known" {
		t.Error("bob holds it already:", f.Verdict, f.Sentence)
	}
	if f := at(31, "Ram:AddUserToGroup", params{"GroupName": "ops", "UserName": "dave"}); !f.AdminEquivalent || !f.Expands {
		t.Error(f.Verdict, f.Sentence)
	}
	if f := at(32, "Ram:UpdateRole", params{"RoleName": "deploy", "NewAssumeRolePolicyDocument": trustOwn}); f.Verdict != "equivalent" {
		t.Error(f.Verdict, f.Sentence)
	}
	if f := at(33, "Ram:AttachPolicyToUser", attach("carol")); !f.Expands || !f.AdminEquivalent {
		t.Error("carol's entry was changed by an event during the listing:", f.Verdict, f.Sentence)
	}
}

func TestWanted(t *testing.T) {
	j := New(Config{})
	j.Judge(made(t, "Ram:AttachPolicyToUser", "root", 0, params{"PolicyType": "Custom", "PolicyName": "Unseen", "UserName": "bob"}, false, nil))
	j.Judge(made(t, "Ram:AttachPolicyToUser", "root", time.Minute, params{"PolicyType": "System", "PolicyName": "AliyunXFullAccess", "UserName": "bob"}, false, nil))
	got := j.Wanted()
	want := []Wanted{{own, true, "AliyunXFullAccess"}, {own, false, "Unseen"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] || len(j.Wanted()) != 0 {
		t.Errorf("%v", got)
	}
	for i := range 3 * maxWanted {
		j.Judge(made(t, "Ram:AttachPolicyToUser", "root", time.Hour+time.Duration(i)*time.Second, params{"PolicyType": "Custom", "PolicyName": "p" + strings.Repeat("x", i%150), "UserName": "bob"}, false, nil))
	}
	if n := len(j.Wanted()); n > maxWanted {
		t.Errorf("%d wanted", n)
	}
	// What was asked for counts from the next event on.
	j.Offer(&Known{Account: own, From: t0.Add(2 * time.Hour), Until: t0.Add(3 * time.Hour), Policies: []KnownPolicy{{Name: "Unseen", Version: "v1", Text: all, InForce: true}}})
	if f := j.Judge(made(t, "Ram:AttachPolicyToUser", "root", 4*time.Hour, params{"PolicyType": "Custom", "PolicyName": "Unseen", "UserName": "carol"}, false, nil)); !f.AdminEquivalent {
		t.Error(f.Verdict, f.Sentence)
	}
}

// TestHolders: a new version says who has it, and counts for more when many
// do.
func TestHolders(t *testing.T) {
	version := step{"Ram:CreatePolicyVersion", "root", params{"PolicyName": "app", "SetAsDefault": "true", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`)}, false, "", ""}
	steps := []step{{"Ram:CreatePolicy", "root", params{"PolicyName": "app", "PolicyDocument": reads}, false, "", ""}}
	for i := range manyHolders + 1 {
		steps = append(steps, step{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "Custom", "PolicyName": "App", "UserName": "u" + string(rune('a'+i))}, false, "", ""})
	}
	few, many := tell(t, append(steps[:3:3], version)), tell(t, append(steps, version))
	if notes := strings.Join(notesOf(few), " "); !strings.Contains(notes, "held by user ua and user ub") {
		t.Error(notes)
	}
	if few.Severity != "high" || many.Severity != "critical" {
		t.Errorf("%s for two, %s for many", few.Severity, many.Severity)
	}
}

func notesOf(f detectors.PolicyFacts) []string {
	list, _ := f.Details["notes"].([]any)
	out := make([]string, 0, len(list))
	for _, n := range list {
		s, _ := n.(string)
		out = append(out, s)
	}
	return out
}

// TestEffectiveGrants: a text that allows more gives nobody anything who has
// it all by another policy, if everybody is known.
func TestEffectiveGrants(t *testing.T) {
	create := func(call string, p params) step { return step{"Ram:" + call, "root", p, false, "", ""} }
	attach := func(user, typ, policy string) step {
		return create("AttachPolicyToUser", params{"PolicyType": typ, "PolicyName": policy, "UserName": user})
	}
	wider := create("CreatePolicyVersion", params{"PolicyName": "app", "SetAsDefault": "true", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`)})
	steps := []step{create("CreateUser", params{"UserName": "bob"}), create("CreatePolicy", params{"PolicyName": "app", "PolicyDocument": reads}),
		attach("bob", "Custom", "app"), attach("bob", "System", "AdministratorAccess")}
	wider.want = "known equivalent"
	if f := tell(t, append(steps[:4:4], wider)); !strings.Contains(strings.Join(notesOf(f), " "), "by other policies already") {
		t.Error(notesOf(f))
	}
	// A second holder gains; so may one of whom not all is known; and so may
	// whoever holds a policy that is older than the stream.
	wider.want = "known expands privileged expands"
	tell(t, append(steps[:4:4], create("CreateUser", params{"UserName": "carol"}), attach("carol", "Custom", "app"), wider))
	tell(t, append(steps[:4:4], attach("dave", "Custom", "app"), wider))
	tell(t, append(steps[1:4:4], wider))
	tell(t, append(steps[:1:1], create("CreatePolicyVersion", params{"PolicyName": "app", "SetAsDefault": "true", "PolicyDocument": reads}), steps[2], steps[3], wider))
}

// TestReadingsAreACache: nothing that is found depends on what was read
// before.
func TestReadingsAreACache(t *testing.T) {
	steps := []step{
		{"Ram:CreatePolicy", "root", params{"PolicyName": "code", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ecs:RunCommand","Resource":"*"}`)}, false, "", ""},
		{"Ram:CreatePolicy", "root", params{"PolicyName": "held", "PolicyDocument": doc(`{"Effect":"Deny","Action":"ecs:RunCommand","Resource":"*"}`)}, false, "", ""},
		{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "Custom", "PolicyName": "code", "UserName": "bob"}, false, "", ""},
		{"Ram:AttachPolicyToUser", "root", params{"PolicyType": "Custom", "PolicyName": "held", "UserName": "bob"}, false, "", ""},
		{"Ram:CreateGroup", "root", params{"GroupName": "g"}, false, "", ""},
		{"Ram:AttachPolicyToGroup", "root", params{"PolicyType": "Custom", "PolicyName": "held", "GroupName": "g"}, false, "", ""},
		{"ResourceManager:CreateControlPolicy", "root", params{"PolicyId": "cp-1", "PolicyDocument": guard}, false, "", ""},
		{"ResourceManager:AttachControlPolicy", "root", params{"PolicyId": "cp-1", "TargetId": "fd-1"}, false, "", ""},
		{"ResourceManager:DetachControlPolicy", "root", params{"PolicyId": "cp-1", "TargetId": "fd-1"}, false, "known expands deny expands", ""},
		{"Ram:DetachPolicyFromUser", "root", params{"PolicyType": "Custom", "PolicyName": "held", "UserName": "bob"}, false, "known expands deny expands", ""},
	}
	j := New(Config{})
	for i, s := range steps {
		// A cache that is full is emptied by the next reading.
		for n := range maxReadings - 1 {
			j.readings[keep("filler "+strings.Repeat("x", n))] = reading{}
		}
		f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, false, nil))
		if s.want != "" && strings.TrimSpace(flags(f)) != s.want {
			t.Errorf("step %d: %q, want %q", i, strings.TrimSpace(flags(f)), s.want)
		}
	}
}
