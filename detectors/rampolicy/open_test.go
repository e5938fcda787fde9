package rampolicy

import (
	"slices"
	"strings"
	"testing"
)

// TestOpenQuestions: what of RAM is not settled (DESIGN.md, D11) counts as
// expanding whenever one of the answers makes it so, and as nothing new only
// where none does.
func TestOpenQuestions(t *testing.T) {
	ecs := func(extra string) string { return `{"Effect":"Allow","Action":"ecs:*","Resource":"*"` + extra + `}` }
	deny := func(action, resource, extra string) string {
		return `{"Effect":"Deny","Action":"` + action + `","Resource":"` + resource + `"` + extra + `}`
	}
	cond := func(s string) string { return `,"Condition":{` + s + `}` }
	role := func(s string) string {
		return `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"acs:ram::1:role/` + s + `"}`
	}
	trust := func(s string) string {
		return `{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["` + s + `"]}}`
	}
	for name, c := range map[string]struct {
		kind     Kind
		old, new string
		want     Verdict
		severity Severity
		split    bool // the readings disagree, and it is said
	}{
		// Letter case of resources and principals.
		"case: widened if it counts":           {Identity, role("admin"), role("admin") + "," + role("Admin"), Expands, Low, true},
		"case: a Deny that loses one spelling": {Identity, role("a") + "," + deny("*", "acs:ram::1:role/A", ""), role("a"), Expands, Medium, true},
		"case: of principals":                  {Trust, trust("acs:ram::1:user/bob"), trust("acs:ram::1:user/Bob"), Changes, Medium, true},
		"case: under neither":                  {Identity, role("a*"), role("ab"), Contracts, None, false},
		"case: of the action it never counts":  {Identity, ecs(""), strings.Replace(ecs(""), "ecs:*", "ECS:*", 1), Equivalent, None, false},
		// A key that is absent, under a negated operator.
		"absent: a Deny that holds if it is":     {Identity, ecs("") + "," + deny("ecs:*", "*", cond(`"StringNotEquals":{"k:a":"x"}`)), ecs("") + "," + deny("ecs:*", "*", cond(`"StringNotLike":{"k:a":"*"}`)), Expands, High, false},
		"absent: an Allow that holds if it is":   {Identity, "", ecs(cond(`"StringNotLike":{"k:a":"*"}`)), Expands, High, true},
		"absent: a Deny for whoever has the key": {Identity, ecs("") + "," + deny("ecs:*", "*", cond(`"StringNotLike":{"k:a":"*"}`)), ecs(""), Expands, High, true},
		// Whether a star stands for the colon.
		"colon: a grant that needs it":   {Identity, "", strings.Replace(ecs(""), "ecs:*", "ecs*", 1), Expands, High, true},
		"colon: a Deny that needs it":    {Identity, ecs("") + "," + deny("ecs:*", "*", ""), ecs("") + "," + deny("ecs*", "*", ""), Expands, High, true},
		"colon: taking such a Deny away": {Identity, ecs("") + "," + deny("ec*", "*", ""), ecs(""), Expands, High, true},
		// Wildcards in trust are anybody.
		"trust: any account": {Trust, trust("acs:ram::1:root"), trust("acs:ram::1:root") + "," + trust("acs:ram::*:root"), Expands, Critical, false},
		"trust: a star":      {Trust, "", trust("*"), Expands, Critical, false},
		// Elements that the grammar does not have.
		"NotResource: more":      {Identity, ecs(""), `{"Effect":"Allow","Action":"*","NotResource":"acs:oss:*"}`, Changes, Critical, false},
		"NotResource: not more":  {Identity, ecs(""), `{"Effect":"Allow","Action":"ecs:*","NotResource":"acs:oss:*"}`, Unknown, Medium, false},
		"NotPrincipal: not more": {Trust, `{"Effect":"Allow","Action":"sts:AssumeRole","Principal":["*"]}`, `{"Effect":"Allow","Action":"sts:AssumeRole","NotPrincipal":{"RAM":["acs:ram::1:root"]}}`, Unknown, Medium, false},
		// What ims: grants still counts like what ram: grants.
		"ims":          {Identity, "", strings.Replace(ecs(""), "ecs:*", "ims:*", 1), Expands, Critical, false},
		"ims: reading": {Identity, "", strings.Replace(ecs(""), "ecs:*", "ims:List*", 1), Expands, Low, false},
		// An Allow in a control policy may bind.
		"allow list: grows":                          {Control, ecs(""), ecs("") + "," + strings.Replace(ecs(""), "ecs", "rds", 1), Expands, Medium, true},
		"allow list: goes":                           {Control, ecs(""), "", Expands, Medium, true},
		"allow list: shrinks":                        {Control, ecs("") + "," + strings.Replace(ecs(""), "ecs", "rds", 1), ecs(""), Contracts, None, false},
		"allow list: beside a Deny that goes":        {Control, ecs("") + "," + deny("ram:*", "*", ""), ecs(""), Expands, Critical, true},
		"allow list: everything, which binds nobody": {Control, deny("ram:*", "*", ""), deny("ram:*", "*", "") + "," + strings.Replace(ecs(""), "ecs:*", "*", 1), Equivalent, None, false},
	} {
		old, now := parse(t, stmt(c.old)), parse(t, stmt(c.new))
		r := Diff(old, now, Options{Kind: c.kind, Account: "1"})
		split := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "readings of the vendor's rules disagree") })
		if r.Verdict != c.want || r.Severity != c.severity || split != c.split {
			t.Errorf("%s: %s, %s, split %v; want %s, %s, %v\n%v", name, r.Verdict, r.Severity, split, c.want, c.severity, c.split, r.Findings)
		}
		if v := Compare(old, now, c.kind); v != r.Verdict {
			t.Errorf("%s: Compare says %s, Diff %s", name, v, r.Verdict)
		}
		for _, f := range r.Findings {
			if !f.Confirmed {
				t.Errorf("%s: not confirmed: %+v", name, f.Witness)
			}
		}
	}
	// A passed role wants ram:PassRole; assuming it is a path of its own.
	for actions, paths := range map[string][2]string{
		`"ram:PassRole","ecs:RunInstances"`:   {"E13", "E30"},
		`"sts:AssumeRole","ecs:RunInstances"`: {"E30", "E13"},
	} {
		p := PowerOf(parse(t, stmt(`{"Effect":"Allow","Action":[`+actions+`],"Resource":"*"}`)), "1")
		if !slices.Contains(p.Paths, paths[0]) || slices.Contains(p.Paths, paths[1]) {
			t.Errorf("%s: %v", actions, p.Paths)
		}
	}
}
