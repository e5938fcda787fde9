package account

import (
	"strings"
	"testing"
	"time"
)

// TestOpenQuestionsOfEvents: what of the events is not settled (DESIGN.md, D11)
// is judged alike whichever way it comes, or said not to be known.
func TestOpenQuestionsOfEvents(t *testing.T) {
	admin := doc(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	bob := params{"UserName": "bob", "PolicyName": "p", "PolicyType": "Custom"}
	judge := func(steps ...step) (flags, sentence string, notes any) {
		j := New(Config{})
		for i, s := range steps {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, s.failed, nil))
			flags, sentence, notes = f.Verdict+" "+f.Severity, f.Sentence, f.Details["notes"]
		}
		return flags, sentence, notes
	}
	attach := step{call: "Ram:AttachPolicyToUser", user: "root", p: bob}
	// Encodings of documents in events, and both products.
	percent := strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "[", "%5B", "]", "%5D", ":", "%3A", ",", "%2C", "*", "%2A").Replace(admin)
	quoted := `"` + strings.ReplaceAll(admin, `"`, `\"`) + `"`
	for name, text := range map[string]string{"plain": admin, "percent-encoded": percent, "a string in a string": quoted} {
		for _, service := range []string{"Ram", "ResourceManager"} {
			got, sentence, _ := judge(step{call: service + ":CreatePolicy", user: "root", p: params{"PolicyName": "p", "PolicyDocument": text}}, attach)
			if got != "expands critical" {
				t.Errorf("%s, %s: %s, %s", name, service, got, sentence)
			}
		}
	}
	for name, text := range map[string]string{"cut": admin[:len(admin)-9], "cut behind a quote": quoted[:len(quoted)-9], "not there": ""} {
		if got, sentence, _ := judge(step{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "p", "PolicyDocument": text}}, attach); got != "unknown medium" {
			t.Errorf("%s: %s, %s", name, got, sentence)
		}
	}
	// AdministratorAccess is everything, also before: whoever has it gains
	// nothing. The inferred text of another policy is no such proof.
	system := func(name string) step {
		return step{call: "Ram:AttachPolicyToUser", user: "root", p: params{"UserName": "bob", "PolicyName": name, "PolicyType": "System"}}
	}
	user := step{call: "Ram:CreateUser", user: "root", p: params{"UserName": "bob"}}
	own := step{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "p", "PolicyDocument": doc(`{"Effect":"Allow","Action":"ram:*","Resource":"*"}`)}}
	if got, s, _ := judge(user, own, system("AdministratorAccess"), attach); !strings.HasPrefix(got, "equivalent") {
		t.Errorf("%s, %s", got, s)
	}
	if got, s, _ := judge(user, own, system("AliyunRAMFullAccess"), attach); got != "expands critical" {
		t.Errorf("%s, %s", got, s)
	}
	// A refused call is an attempt and changes nothing.
	trust := step{call: "Ram:CreateRole", user: "root", failed: true, p: params{"RoleName": "r", "AssumeRolePolicyDocument": doc(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"*"}}`)}}
	if got, _, notes := judge(trust); got != "expands critical" || !strings.Contains(strings.Join(texts(notes), " "), "nothing changed") {
		t.Errorf("%s, %v", got, notes)
	}
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, x := range list {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}

// TestOpenQuestionsOfControlPolicies: whether an Allow in a control policy
// binds is not settled, nor how several combine.
func TestOpenQuestionsOfControlPolicies(t *testing.T) {
	list := func(actions string) string {
		return doc(`{"Effect":"Allow","Action":[` + actions + `],"Resource":"*"}`)
	}
	guard := doc(`{"Effect":"Deny","Action":"actiontrail:*","Resource":"*"}`)
	create := func(id, text string) step {
		return step{call: "ResourceDirectoryMaster:CreateControlPolicy", user: "root", p: params{"PolicyId": id, "PolicyDocument": text}}
	}
	attach := func(id, target string) step {
		return step{call: "ResourceDirectoryMaster:AttachControlPolicy", user: "root", p: params{"PolicyId": id, "TargetId": target}}
	}
	detach := func(id, target string) step {
		s := attach(id, target)
		s.call = "ResourceDirectoryMaster:DetachControlPolicy"
		return s
	}
	move := func(to string) step {
		return step{call: "ResourceDirectoryMaster:MoveAccount", user: "root", p: params{"AccountId": "2000000000000002", "DestinationFolderId": to}}
	}
	update := func(id, text string) step {
		return step{call: "ResourceDirectoryMaster:UpdateControlPolicy", user: "root", p: params{"PolicyId": id, "NewPolicyDocument": text}}
	}
	for name, c := range map[string]struct {
		steps   []step
		expands bool
		verdict string
	}{
		"a list grows":                    {[]step{create("a", list(`"ecs:*"`)), update("a", list(`"ecs:*","ram:*"`))}, true, "expands"},
		"a list shrinks":                  {[]step{create("a", list(`"ecs:*","ram:*"`)), update("a", list(`"ecs:*"`))}, false, "contracts"},
		"the only list goes":              {[]step{create("a", list(`"ecs:*"`)), attach("a", "r-1"), detach("a", "r-1")}, true, "expands"},
		"one of two lists goes":           {[]step{create("a", list(`"ecs:*"`)), create("b", list(`"ecs:*"`)), attach("a", "r-1"), attach("b", "r-1"), detach("a", "r-1")}, true, "unknown"},
		"a second list comes":             {[]step{create("a", list(`"ecs:*"`)), create("b", list(`"rds:*"`)), attach("a", "r-1"), attach("b", "r-1")}, true, "unknown"},
		"a Deny comes":                    {[]step{create("a", list(`"ecs:*"`)), create("b", guard), attach("a", "r-1"), attach("b", "r-1")}, false, "contracts"},
		"an account leaves a list behind": {[]step{create("a", list(`"ecs:*"`)), attach("a", "r-1"), move("r-1"), move("r-2")}, true, "expands"},
		"an account leaves a Deny behind": {[]step{create("a", guard), attach("a", "r-1"), move("r-1"), move("r-2")}, true, "expands"},
		"an account takes a Deny along":   {[]step{create("a", guard), attach("a", "r-1"), attach("a", "r-2"), move("r-1"), move("r-2")}, false, "equivalent"},
	} {
		j := New(Config{})
		for i, s := range c.steps {
			f := j.Judge(made(t, s.call, s.user, time.Duration(i)*time.Minute, s.p, false, nil))
			if i == len(c.steps)-1 && (f.Expands != c.expands || f.Verdict != c.verdict) {
				t.Errorf("%s: %s, expands %v: %s", name, f.Verdict, f.Expands, f.Sentence)
			}
		}
	}
}
