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
	// What a group brings is there already, and stays so.
	j := New(Config{})
	for i, s := range []step{user, group, create(all), toGroup, join, attach} {
		f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
		if s.call == attach.call && f.Expands {
			t.Errorf("%s: %s", f.Verdict, f.Sentence)
		}
	}
}
