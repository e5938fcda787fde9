package event

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// verdict is what the README of the samples says about one event.
type verdict struct {
	service, name string
	action        Action
	outcome       Outcome
	typ           IdentityType
	kind          CallerKind
	actor         string // Actor.ID
	key           KeyKind
	mfa           Tri
	address       AddressKind
	target        string // Target.ID
}

var sampleVerdicts = map[string][]verdict{
	"api-getaccesskeylastusedevents-describeinstances.json": {
		{"Ecs", "DescribeInstances", "", Success, RAMUser, Human, "user/@/alice", KeyNone, Unknown, AddressMasked, ""}},
	"api-lookupinsightevents-partial.json": {
		{"", "", "", Success, IdentityUnknown, CallerUnknown, "", KeyNone, Unknown, AddressAbsent, ""}},
	"cortex-flattened-sls-polardb-servicerole.json": {
		{"polardb", "DescribeDBClusters", "", Success, AssumedRole, Service, "role/@/aliyunserviceroleforslsaudit", KeyOther, Unknown, AddressService, ""}},
	"docs-config-createnetworkinterface-assumed-role.json": {
		{"Ecs", "CreateNetworkInterface", "", Success, AssumedRole, Workload, "role/@/aliyunstreamdefaultrole", KeySTS, No, AddressMasked, ""}},
	"docs-pvtz-addzonerecord-root-internal.json": {
		{"PrivateZone", "AddZoneRecord", "", Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, ""}},
	"docs-ram-deletegroup-ram-console.json": {
		{"Ram", "DeleteGroup", ActIAMGroupDelete, Success, RAMUser, Human, "user/@/alice", KeyNone, Yes, AddressPublic, "group/@/grp1"}},
	"docs-rm-createresourcegroup-root.json": {
		{"ResourceManager", "CreateResourceGroup", "", Success, RootAccount, Human, "root/@", KeyNone, No, AddressPublic, ""}},
	"help-286901-root-signin-no-mfa.json": {
		{"AasCustomer", "ConsoleSignin", ActSignInConsole, Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, "root/@"}},
	"help-286977-ram-signin-no-mfa.json": {
		{"AasSub", "ConsoleSignin", ActSignInConsole, Success, RAMUser, Human, "user/@/alice", KeyNone, No, AddressMasked, "user/@/alice"}},
	"help-286997-lookupevents-crossaccount-role.json": {
		{"Actiontrail", "LookupEvents", "", Success, AssumedRole, Workload, "role/@/custom-role-for-actiontrail", KeySTS, No, AddressMasked, ""}},
	"help-28821-ecs-stopinstance-root.json": {
		{"Ecs", "StopInstance", "", Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, ""}},
	"help-28823-slb-deleteloadbalancer-root-partial.json": {
		{"Slb", "DeleteLoadBalancer", "", Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, ""}},
	"help-28826-2016-updatetrail-ram-console.json": {
		{"Actiontrail", "UpdateTrail", ActTrailUpdate, Success, RAMUser, Human, "user/@/bob", KeyNone, Yes, AddressPublic, "trail/@/default"}},
	"help-28826-updatetrail-console-ipv6-partial.json": {
		{"", "UpdateTrail", ActTrailUpdate, Success, IdentityUnknown, CallerUnknown, "", KeyNone, No, AddressPublic, "trail//limantest"}},
	"help-289050-assumerole-partial.json": {
		{"Sts", "AssumeRole", ActSTSAssumeRole, Success, RAMUser, Human, "user/@/alice", KeyNone, No, AddressMasked, "role/@/custom-role-for-actiontrail"}},
	"help-289931-buypage-create-root-partial.json": {
		{"Ecs", "Create", "", Success, RootAccount, Human, "root/@", KeyNone, Unknown, AddressAbsent, ""}},
	"help-293590-oss-putbucket-root-internal.json": {
		{"Oss", "PutBucket", ActOSSBucketCreate, Success, RootAccount, Human, "root/@", KeyNone, Unknown, AddressInternal, "bucket/@/test-123"}},
	"help-addresspurification-root-ltai-pascalcase-partial.json": {
		{"", "ExtractPhone", "", Success, RootAccount, Workload, "root/@", KeyLongTerm, No, AddressAbsent, ""}},
	"help-eventbridge-deletedisk-system.json": {
		{"Ecs", "DeleteDisk", ActECSDiskDelete, Success, System, Service, "service/ecs.aliyuncs.com", KeyNone, Unknown, AddressService, ""}},
	"help-ims-createuser-root-console.json": {
		{"Ims", "CreateUser", ActIAMUserCreate, Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, "user/@/alice"}},
	"help-insights-ipinsight-partial.json": {
		{"", "", "", Success, IdentityUnknown, CallerUnknown, "", KeyNone, Unknown, AddressAbsent, ""}},
	"help-rds-restartdbinstance-root.json": {
		{"Rds", "RestartDBInstance", "", Success, RootAccount, Human, "root/@", KeyNone, No, AddressMasked, ""}},
	"help-rolesso-assumerolewithsaml-partial.json": {
		{"Sts", "AssumeRoleWithSAML", ActSTSAssumeRoleSAML, Success, SAMLUser, Human, "saml/@/alice@example.com", KeyNone, Unknown, AddressAbsent, "role/@/testrole"}},
	"mcp-lookupevents-oss-listuserregions-role.json": {
		{"Oss", "ListUserRegions", "", Success, AssumedRole, Human, "role/@/glochnali-cloud-contributor", KeySTS, No, AddressPublic, ""}},
	"sentinel-asim-auditevent.json": {
		{"Ecs", "RunInstances", ActECSInstanceCreate, Success, RAMUser, Human, "user/@/svc-user-1", KeyNone, Unknown, AddressPublic, "instance/@/i-bp1abcdef00001"},
		{"Oss", "GetBucketPolicy", "", Success, RAMUser, Human, "user/@/svc-user-4", KeyNone, Unknown, AddressPublic, ""},
		{"Rds", "CreateDBInstance", "", Success, RAMUser, Human, "user/@/svc-user-6", KeyNone, Unknown, AddressPublic, ""},
		{"Cloudfw", "DescribeVpcFirewallList", "", Attempt, RAMUser, Human, "user/@/svc-user-7", KeyNone, Unknown, AddressPublic, ""},
		{"Kms", "DescribeKey", "", Success, RAMUser, Human, "user/@/svc-user-8", KeyNone, Unknown, AddressPublic, ""}},
	"sentinel-asim-authentication.json": {
		{"", "ConsoleSignin", ActSignInConsole, Success, RootAccount, Human, "root/@", KeyNone, Unknown, AddressPublic, "root/@"},
		{"", "ConsoleSignin", ActSignInConsole, Attempt, RAMUser, Human, "user/@/alice", KeyNone, Unknown, AddressPublic, "user/@/alice"},
		{"", "ConsoleSignin", ActSignInConsole, Success, RAMUser, Human, "user/@/bob", KeyNone, Unknown, AddressPublic, "user/@/bob"},
		{"CloudSSO", "Login", ActSignInSSO, Success, CloudSSOUser, Human, "sso/@/carol", KeyNone, Unknown, AddressPublic, "sso/@/carol"},
		{"CloudSSO", "Login", ActSignInSSO, Attempt, CloudSSOUser, Human, "sso/@/dave", KeyNone, Unknown, AddressPublic, "sso/@/dave"}},
	"sentinel-asim-usermanagement.json": {
		{"Ims", "CreateUser", ActIAMUserCreate, Success, RootAccount, Human, "root/@", KeyNone, Unknown, AddressPublic, "user/@/new.hire"},
		{"Ims", "AddUserToGroup", ActIAMGroupAddUser, Success, RAMUser, Human, "user/@/admin2", KeyNone, Unknown, AddressPublic, "user/@/alice"},
		{"Ims", "UpdateLoginProfile", ActIAMLoginProfileUpdate, Success, RAMUser, Human, "user/@/admin3", KeyNone, Unknown, AddressPublic, "user/@/bob"},
		{"CloudSSO", "UpdateUserStatus", ActSSOUserUpdate, Success, RAMUser, Human, "user/@/admin5", KeyNone, Unknown, AddressPublic, "sso/@/id:u-abc123"},
		{"Ram", "CreateRole", ActIAMRoleCreate, Success, RAMUser, Human, "user/@/admin7", KeyNone, Unknown, AddressPublic, "role/@/ossreadonlyrole"},
		{"Ram", "AttachPolicyToRole", ActIAMPolicyAttach, Success, RootAccount, Human, "root/@", KeyNone, Unknown, AddressPublic, "role/@/ossreadonlyrole"}},
	"streamalert-attachpolicytouser-and-updatetrail.json": {
		{"Ram", "AttachPolicyToUser", ActIAMPolicyAttach, Success, RootAccount, Human, "root/@", KeyNone, No, AddressPublic, "user/@/tob_actiontrail"},
		{"Actiontrail", "UpdateTrail", ActTrailUpdate, Success, RAMUser, Human, "user/@/alice", KeyLongTerm, Unknown, AddressPublic, "trail/@/default"}},
	"streamalert-ram-signin-mfa-errormessage-success.json": {
		{"AasSub", "ConsoleSignin", ActSignInConsole, Success, RAMUser, Human, "user/@/dead_joke", KeyNone, Yes, AddressPublic, "user/@/dead_joke"}},
}

// sampleFacts are single facts that the README points out, by file and path.
var sampleFacts = []struct {
	file string
	got  func(*Event) string
	want string
}{
	{"help-286997-lookupevents-crossaccount-role.json", func(e *Event) string {
		return yesNo(e.Actor.CallerAccount != "" && e.Actor.CallerAccount != e.Actor.Account)
	}, "yes"},
	{"help-286997-lookupevents-crossaccount-role.json", func(e *Event) string { return e.Actor.Session }, "u1"},
	{"help-286997-lookupevents-crossaccount-role.json", func(e *Event) string { v, _ := e.Param("LookupAttribute.1.Value"); return v }, "Write"},
	{"help-289050-assumerole-partial.json", func(e *Event) string { return KeyKindOf(e.Target.Key).String() }, "sts"},
	{"help-rolesso-assumerolewithsaml-partial.json", func(e *Event) string { return KeyKindOf(e.Target.Key).String() }, "sts"},
	{"help-rolesso-assumerolewithsaml-partial.json", func(e *Event) string { v, _ := e.Response("SAMLAssertionInfo.Subject"); return v }, "Alice@example.com"},
	{"help-28826-updatetrail-console-ipv6-partial.json", func(e *Event) string { return e.Address.IP.String()[:5] }, "2409:"},
	{"help-28826-2016-updatetrail-ram-console.json", func(e *Event) string { return strconv.Itoa(len(e.Actor.Principal)) }, "18"},
	{"help-28826-2016-updatetrail-ram-console.json", func(e *Event) string { v, _ := e.Param("StartLogging"); return v }, "false"},
	{"help-28821-ecs-stopinstance-root.json", func(e *Event) string { v, _ := e.Param("ForceStop"); return v }, "false"},
	{"help-28823-slb-deleteloadbalancer-root-partial.json", func(e *Event) string { v, _ := e.Param("https"); return v }, "False"},
	{"docs-pvtz-addzonerecord-root-internal.json", func(e *Event) string { return e.Address.Text }, "100.**.***.69"},
	{"docs-config-createnetworkinterface-assumed-role.json", func(e *Event) string { v, _ := e.Param("Tag.1.Key"); return v }, "CreatedBy"},
	{"docs-config-createnetworkinterface-assumed-role.json", func(e *Event) string { v, _ := e.Field("__expanded"); return v }, "true"},
	{"help-eventbridge-deletedisk-system.json", func(e *Event) string { return yesNo(e.Sensitive) }, "yes"},
	{"help-289931-buypage-create-root-partial.json", func(e *Event) string {
		v, _ := e.Extra("orderIds")
		v, _ = e.Extra(v + ".articleConfig.vm_cpu")
		return v
	}, "4"},
	{"help-286901-root-signin-no-mfa.json", func(e *Event) string { v, _ := e.Extra("loginAccount"); return v }, "Alice"},
	{"help-286901-root-signin-no-mfa.json", func(e *Event) string { return yesNo(e.Global) }, "yes"},
	{"sentinel-asim-auditevent.json", func(e *Event) string { return yesNo(e.Global) }, "no"},
	{"api-lookupinsightevents-partial.json", func(e *Event) string { return e.Category }, "Insight"},
	{"api-lookupinsightevents-partial.json", func(e *Event) string {
		v, _ := e.Field("insightDetails.insightContext.attributions.0.insight.0.average")
		return v
	}, "3"},
	{"cortex-flattened-sls-polardb-servicerole.json", func(e *Event) string { return yesNo(e.Actor.ServiceLinked) }, "yes"},
	{"cortex-flattened-sls-polardb-servicerole.json", func(e *Event) string { return yesNo(e.HasParams()) }, "no"},
	{"mcp-lookupevents-oss-listuserregions-role.json", func(e *Event) string { return strconv.Itoa(len(e.Actor.Key)) }, "58"},
}

// anyAccount writes the event's account as @: published account ids stay out
// of this repository.
func anyAccount(ev *Event, id string) string {
	if ev.Actor.Account == "" {
		return id
	}
	return strings.ReplaceAll(id, ev.Actor.Account, "@")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// TestSamples holds the parser to every published event we know of.
func TestSamples(t *testing.T) {
	root := os.Getenv("TRAILWARDEN_SAMPLES")
	if root == "" {
		t.Skip("TRAILWARDEN_SAMPLES is not set: the published samples are not part of this repository")
	}
	files, err := filepath.Glob(filepath.Join(root, "real", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(sampleVerdicts) {
		t.Errorf("%d files, %d have verdicts", len(files), len(sampleVerdicts))
	}
	first := map[string]*Event{}
	events := 0
	for _, path := range files {
		file := filepath.Base(path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := sampleVerdicts[file]
		n := 0
		err = Unwrap(data, func(record []byte) bool {
			ev, err := Parse(record)
			if err != nil {
				t.Errorf("%s #%d: %v", file, n, err)
				return true
			}
			if first[file] == nil {
				first[file] = ev
			}
			got := verdict{ev.Service, ev.Name, ev.Action, ev.Outcome, ev.Actor.Type, ev.Actor.Kind, anyAccount(ev, ev.Actor.ID),
				ev.Actor.KeyKind, ev.MFA, ev.Address.Kind, anyAccount(ev, ev.Target.ID)}
			if n >= len(want) || got != want[n] {
				t.Errorf("%s #%d:\n got %+v\nwant %+v", file, n, got, want[min(n, len(want)-1)])
			}
			n++
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if n != len(want) {
			t.Errorf("%s: %d events, want %d", file, n, len(want))
		}
		events += n
	}
	if events != 43 {
		t.Errorf("%d events, the README counts 43", events)
	}
	for i, f := range sampleFacts {
		if ev := first[f.file]; ev == nil {
			t.Errorf("%s: no event", f.file)
		} else if got := f.got(ev); got != f.want {
			t.Errorf("fact %d, %s: %q, want %q", i, f.file, got, f.want)
		}
	}
}
