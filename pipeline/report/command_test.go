package report

import (
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// TestFill: commands name what the alert is about where that is certain, and
// never a name that a shell would act on.
func TestFill(t *testing.T) {
	user := func(name, key string) alert.Actor {
		return alert.Actor{Type: "ram-user", Name: name, AccessKeyID: key}
	}
	for _, c := range []struct {
		name    string
		a       alert.Alert
		in, out string
	}{
		{"the key that was used", alert.Alert{Actor: user("ci", "LTAI5tEXAMPLE1")}, "aliyun ram UpdateAccessKey --UserName <user> --UserAccessKeyId <id> --Status Inactive", "aliyun ram UpdateAccessKey --UserName ci --UserAccessKeyId LTAI5tEXAMPLE1 --Status Inactive"},
		{"the key that was made", alert.Alert{Actor: user("mallory", "LTAI5tEXAMPLE1"), TargetKey: "LTAI5tEXAMPLE2", Target: &alert.Target{Type: "user", Name: "bob"}}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName bob --UserAccessKeyId LTAI5tEXAMPLE2"},
		{"a session", alert.Alert{Actor: alert.Actor{Type: "assumed-role", Name: "r", AccessKeyID: "STS.EXAMPLE"}}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"whose key is not known", alert.Alert{Actor: alert.Actor{Type: "root-account"}, TargetKey: "LTAI5tEXAMPLE2"}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"a shell's words", alert.Alert{Actor: user("a;reboot", "LTAI5tEXAMPLE1")}, "x --UserName <user> --UserAccessKeyId <id>", "x --UserName <user> --UserAccessKeyId <id>"},
		{"a flag", alert.Alert{Target: &alert.Target{Type: "trail", Name: "--help"}}, "aliyun actiontrail StartLogging --Name <trail>", "aliyun actiontrail StartLogging --Name <trail>"},
		{"a trail", alert.Alert{Target: &alert.Target{Type: "trail", Name: "prod-audit"}}, "aliyun actiontrail StartLogging --Name <trail>", "aliyun actiontrail StartLogging --Name prod-audit"},
		{"another kind", alert.Alert{Target: &alert.Target{Type: "user", Name: "bob"}}, "aliyun ossutil api get-bucket-policy --bucket <bucket>", "aliyun ossutil api get-bucket-policy --bucket <bucket>"},
		{"who it was given to", alert.Alert{Actor: user("mallory", "LTAI5tEXAMPLE1"), Target: &alert.Target{Type: "user", Name: "bob"}}, "aliyun ram DetachPolicyFromUser --PolicyName AdministratorAccess --UserName <user>", "aliyun ram DetachPolicyFromUser --PolicyName AdministratorAccess --UserName bob"},
		{"in doubt", alert.Alert{Actor: user("mallory", ""), Target: &alert.Target{Type: "user", Name: "bob"}}, "aliyun ims UpdateLoginProfile --UserPrincipalName <user>@<account>.onaliyun.com", "aliyun ims UpdateLoginProfile --UserPrincipalName <user>@<account>.onaliyun.com"},
	} {
		got := fill(&c.a, []block{{Text: "Words about <trail> stay."}, {Command: true, Text: c.in}})
		if got[1].Text != c.out || got[0].Text != "Words about <trail> stay." {
			t.Errorf("%s: %q, want %q", c.name, got[1].Text, c.out)
		}
	}
}
