package account

import (
	"testing"
	"time"
)

// TestOpenQuestionsGroupScopes tries every holding of an Allow and a Deny, in the account
// and in a resource group, and every change of one of the four, against both
// orders in which RAM may read attachments: a Deny of the group refuses what
// the account allows, or attachments of the group are read only where the
// account says nothing. Whatever becomes allowed under either, anywhere, must
// be said to expand, and nothing else.
func TestOpenQuestionsGroupScopes(t *testing.T) {
	allow, deny := doc(`{"Effect":"Allow","Action":"x:a","Resource":"*"}`), doc(`{"Effect":"Deny","Action":"x:a","Resource":"*"}`)
	type attachment struct {
		policy string
		group  bool
	}
	all := []attachment{{"allows", false}, {"denies", false}, {"allows", true}, {"denies", true}}
	// may says whether the request is allowed inside of the group or outside.
	may := func(held [4]bool, inside, groupAfter bool) bool {
		allowed, denied := held[0], held[1]
		if inside && (!groupAfter || !allowed && !denied) {
			allowed, denied = allowed || held[2], denied || held[3]
		}
		return allowed && !denied
	}
	call := func(j *Judge, name string, a attachment, minute int) (bool, string) {
		p := params{"PolicyName": a.policy, "PolicyType": "Custom", "PrincipalType": "IMSUser", "PrincipalName": "bob@acme.onaliyun.com", "ResourceGroupId": own}
		if a.group {
			p["ResourceGroupId"] = "rg-1"
		}
		f := j.Judge(made(t, "ResourceManager:"+name, "root", time.Duration(minute)*time.Minute, p, false, nil))
		return f.Expands, f.Verdict + ": " + f.Sentence
	}
	for n := range 16 {
		for change := range all {
			j := New(Config{})
			minute := 0
			for _, s := range []step{
				{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "allows", "PolicyDocument": allow}},
				{call: "Ram:CreatePolicy", user: "root", p: params{"PolicyName": "denies", "PolicyDocument": deny}},
				{call: "Ram:CreateUser", user: "root", p: params{"UserName": "bob"}},
			} {
				j.Judge(made(t, s.call, s.user, time.Duration(minute)*time.Minute, s.p, false, nil))
				minute++
			}
			var held [4]bool
			for i, a := range all {
				if held[i] = n>>i&1 == 1; held[i] {
					call(j, "AttachPolicy", a, minute)
					minute++
				}
			}
			after := held
			after[change] = !after[change]
			name := "DetachPolicy"
			if after[change] {
				name = "AttachPolicy"
			}
			expands, words := call(j, name, all[change], minute)
			newly := false
			for _, inside := range []bool{false, true} {
				for _, order := range []bool{false, true} {
					newly = newly || may(after, inside, order) && !may(held, inside, order)
				}
			}
			if newly && !expands {
				t.Errorf("holding %v, %s of %+v newly allows something; %s", held, name, all[change], words)
			}
			if expands && !newly {
				t.Errorf("holding %v, %s of %+v allows nothing new; %s", held, name, all[change], words)
			}
		}
	}
}
