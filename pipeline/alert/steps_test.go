package alert

import (
	"testing"
)

// TestFill: commands name what the alert is about where that is certain, and
// never a name that a shell would act on.
func TestFill(t *testing.T) {
	user := func(name, key string) Actor {
		return Actor{Type: "ram-user", Name: name, AccessKeyID: key}
	}
	for _, c := range []struct {
		name    string
		a       Alert
		in, out string
	}{
		{"the key that was used", Alert{Actor: user("ci", "LTAI5tEXAMPLE1")}, "aliyun ram UpdateAccessKey --UserName <user> --UserAccessKeyId <id> --Status Inactive", "aliyun ram UpdateAccessKey --UserName ci --UserAccessKeyId LTAI5tEXAMPLE1 --Status Inactive"},
		{"the key that was made", Alert{Actor: user("mallory", "LTAI5tEXAMPLE1"), TargetKey: "LTAI5tEXAMPLE2", Target: &Target{Type: "user", Name: "bob"}}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName bob --UserAccessKeyId LTAI5tEXAMPLE2"},
		{"a session", Alert{Actor: Actor{Type: "assumed-role", Name: "r", AccessKeyID: "STS.EXAMPLE"}}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"whose key is not known", Alert{Actor: Actor{Type: "root-account"}, TargetKey: "LTAI5tEXAMPLE2"}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"a shell's words", Alert{Actor: user("a;reboot", "LTAI5tEXAMPLE1")}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"a flag", Alert{Target: &Target{Type: "trail", Name: "--help"}}, "aliyun actiontrail StartLogging --Name <trail>", "aliyun actiontrail StartLogging --Name <trail>"},
		{"a trail", Alert{Target: &Target{Type: "trail", Name: "prod-audit"}}, "aliyun actiontrail StartLogging --Name <trail>", "aliyun actiontrail StartLogging --Name prod-audit"},
		{"another kind", Alert{Target: &Target{Type: "user", Name: "bob"}}, "aliyun ossutil api get-bucket-policy --bucket <bucket>", "aliyun ossutil api get-bucket-policy --bucket <bucket>"},
		{"who it was given to", Alert{Actor: user("mallory", "LTAI5tEXAMPLE1"), Target: &Target{Type: "user", Name: "bob"}}, "aliyun ram DetachPolicyFromUser --PolicyName AdministratorAccess --UserName <user>", "aliyun ram DetachPolicyFromUser --PolicyName AdministratorAccess --UserName bob"},
		{"a group", Alert{Details: map[string]any{"call": map[string]any{"group": "admins"}}}, "aliyun ram ListPoliciesForGroup --GroupName <group>", "aliyun ram ListPoliciesForGroup --GroupName admins"},
		{"a policy", Alert{Details: map[string]any{"call": map[string]any{"policy_name": "tools", "policy_type": "System"}}}, "x --PolicyType System --PolicyName <policy>", "x --PolicyType System --PolicyName tools"},
		{"a policy of one's own", Alert{Details: map[string]any{"call": map[string]any{"policy_name": "tools"}}}, "x --PolicyType Custom --PolicyName <policy>", "x --PolicyType Custom --PolicyName tools"},
		{"a policy of another kind", Alert{Details: map[string]any{"call": map[string]any{"policy_name": "tools", "policy_type": "Custom"}}}, "x --PolicyType System --PolicyName <policy>", "x --PolicyType System --PolicyName <policy>"},
		{"whose use is asked for", Alert{Actor: user("ci", "LTAI5tEXAMPLE1")}, "aliyun actiontrail GetAccessKeyLastUsedIps --AccessKey <id>", "aliyun actiontrail GetAccessKeyLastUsedIps --AccessKey LTAI5tEXAMPLE1"},
		{"in doubt", Alert{Actor: user("mallory", ""), Target: &Target{Type: "user", Name: "bob"}}, "aliyun ims UpdateLoginProfile --UserPrincipalName <user>@<account>.onaliyun.com", "aliyun ims UpdateLoginProfile --UserPrincipalName <user>@<account>.onaliyun.com"},
	} {
		c.a.Runbook.EN = "Words about <trail> stay.\n  " + c.in
		if got, want := c.a.Steps(false), "Words about <trail> stay.\n  "+c.out; got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}

// TestCommandsAlone: a runbook without words has lost its indentation in YAML; its lines
// are commands all the same.
func TestCommandsAlone(t *testing.T) {
	a := Alert{Target: &Target{Type: "role", Name: "deployer"}, Runbook: Runbook{EN: "aliyun ram GetRole --RoleName <role>\naliyun ram ListPoliciesForRole --RoleName <role>\n"}}
	if got, want := a.Steps(false), "  aliyun ram GetRole --RoleName deployer\n  aliyun ram ListPoliciesForRole --RoleName deployer\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEntity: a command about an entity names it, or is left out with what announces
// it; another's places stay.
func TestEntity(t *testing.T) {
	role := Actor{Type: "assumed-role", ID: "role/1000000000000001/deployer", AccessKeyID: "STS.EXAMPLE"}
	evil := Actor{Type: "ram-user", ID: "user/1000000000000001/$(reboot)", AccessKeyID: "LTAI5tEXAMPLE1;reboot"}
	key := &Target{Type: "accesskey", ID: "accesskey/1000000000000001/ltai5texample1", Name: "LTAI5tEXAMPLE1"}
	const words, more = "Nothing by itself. See what it did:\n", "\nThen ask."
	for _, c := range []struct {
		name    string
		a       Alert
		in, out string
	}{
		{"a key", Alert{Actor: Actor{ID: "user/1/ci", AccessKeyID: "LTAI5tEXAMPLE1"}}, words + "  replay --entity <actor> <your archive>", words + "  replay --entity LTAI5tEXAMPLE1 <your archive>"},
		{"a session", Alert{Actor: role}, words + "  replay --entity <actor> x", words + "  replay --entity role/1000000000000001/deployer x"},
		{"an identity", Alert{Actor: Actor{ID: "user/1/ci", AccessKeyID: "LTAI5tEXAMPLE1"}}, "  replay --entity <identity> x", "  replay --entity user/1/ci x"},
		{"a key as target", Alert{Actor: evil, Target: key}, "  replay --entity <target> x", "  replay --entity LTAI5tEXAMPLE1 x"},
		{"a user as target", Alert{Target: &Target{Type: "user", ID: "user/1/bob", Name: "bob"}}, "  replay --entity <target> x", "  replay --entity user/1/bob x"},
		{"no target", Alert{Actor: role}, words + "  replay --entity <target> x" + more, "Nothing by itself." + more},
		{"nobody", Alert{SourceIP: "203.0.113.9"}, "See what it did:\n  replay --entity <actor> x", ""},
		{"a shell's words", Alert{Actor: evil}, words + "  replay --entity <actor> x", "Nothing by itself."},
		{"a shell's words, an identity", Alert{Actor: evil}, "  replay --entity <identity> x", ""},
		{"a flag", Alert{Actor: Actor{ID: "--config=x"}}, "  replay --entity <actor> x", ""},
		{"a line end", Alert{Actor: Actor{ID: "user/1/a\nreboot"}}, "  replay --entity <actor> x", ""},
		{"one of two commands", Alert{}, "If not theirs:\n  aliyun a\n  replay --entity <actor> x", "If not theirs:\n  aliyun a"},
		{"the first of two", Alert{}, "If not theirs:\n  replay --entity <actor> x\n  aliyun a", "If not theirs:\n  aliyun a"},
		{"another's place", Alert{Actor: role}, words + "  replay --entity <id> x", words + "  replay --entity <id> x"},
		{"words", Alert{Actor: role}, "Say --entity <actor> there.", "Say --entity <actor> there."},
	} {
		c.a.Runbook.EN = c.in
		if got := c.a.Steps(false); got != c.out {
			t.Errorf("%s: %q, want %q", c.name, got, c.out)
		}
	}
	a := Alert{Actor: role, Runbook: Runbook{EN: "English.", ZH: "单独出现无需处理。查看:\n  replay --entity <身份> x"}}
	if got := a.Steps(true); got != "单独出现无需处理。查看:\n  replay --entity role/1000000000000001/deployer x" {
		t.Error(got)
	}
	a.Actor = evil
	if got := a.Steps(true); got != "单独出现无需处理。" {
		t.Error(got)
	}
	a.Runbook.EN, a.Actor = "", role
	if a.Steps(false) != a.Steps(true) {
		t.Error("a runbook in one language is for all readers")
	}
}
