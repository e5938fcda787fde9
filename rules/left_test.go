package rules

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever the index leaves out, proves and leaves to be evaluated, a rule
// matches an event when its condition, as a whole and on the expression machine,
// is true.
func TestPropEvaluatedIsTrue(t *testing.T) {
	leaves := []string{
		`event.name == "GetUser"`, `event.name != "getuser"`, `event.name in ["GetUser", "ListUsers"]`, `event.name startsWith "list"`, `event.service == "Ram"`,
		`event.service in ["Ims", "Sts"]`, `action == "iam.accesskey.create"`, `action startsWith "iam."`, `actor.type == "ram-user"`, `actor.type != "assumed-role"`,
		`actor.type in ["ram-user", "root-account"]`, `actor.root`, `actor.kind == "human"`, `actor.kind != "service"`, `actor.kind == "nobody"`,
		`actor.key_kind == "long-term"`, `event.rw in ["Read", "Write"]`, `event.rw == "Read"`, `outcome == "success"`, `outcome != "success"`, `mfa == "no"`,
		`event.sensitive`, `event.global == false`, `target.self`, `event.error_code == ""`, `event.error_code != ""`, `event.error_code startsWith "Forbidden"`,
		`actor.key != ""`, `target.type != ""`, `target.key == ""`, `source.kind == "public"`, `source.kind in ["private", "internal"]`, `source.network != ""`,
		`in_cidr(source.ip, "203.0.113.0/24")`, `one_of_list("office_networks", source.ip)`, `one_of_list("ci_keys", actor.key)`, `has_list("ci_keys")`,
		`has_list("office_networks")`, `param("UserName") == "alice"`, `has_param("UserName")`, `event.category != "Insight"`, `event.hour == 10`, `true`, `false`,
		`len(actor.name) > 3`, `actor.caller_account == ""`, `event.insight_type == ""`,
	}
	var condition func(depth int) *rapid.Generator[string]
	condition = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := 0
			if depth > 0 {
				kind = rapid.IntRange(0, 7).Draw(t, "kind")
			}
			part := func() string { return condition(depth-1).Draw(t, "part") }
			switch kind {
			case 1, 2, 3:
				return "(" + part() + ") && (" + part() + ")"
			case 4:
				return part() + " && " + part()
			case 5:
				return "(" + part() + " || " + part() + ")"
			case 6:
				return "!(" + part() + ")"
			case 7:
				return "((" + part() + ") ? (" + part() + ") : (" + part() + "))"
			}
			return rapid.SampledFrom(leaves).Draw(t, "leaf")
		})
	}
	records := rapid.Custom(func(t *rapid.T) map[string]any {
		one := func(name string, of ...any) any { return rapid.SampledFrom(of).Draw(t, name) }
		over := map[string]any{
			"eventName": one("name", "GetUser", "CreateAccessKey", "ListUsers", "listusers"), "serviceName": one("service", "Ram", "Ims", "Sts", "Ecs"),
			"eventRW": one("rw", "Read", "Write", nil), "errorCode": one("error", nil, "", "Forbidden.RAM", "NoPermission"),
			"sourceIpAddress": one("from", "203.0.113.7", "10.0.0.1", "Internal", "ecs.aliyuncs.com", nil), "isGlobal": one("global", true, false, nil),
			"eventCategory": one("category", "Management", "insight", nil),
			"userIdentity": map[string]any{"type": one("type", "ram-user", "root-account", "assumed-role", "system"), "accountId": baseAccount, "principalId": "2",
				"userName": one("user", "alice", "bob", "role:session", nil), "accessKeyId": one("key", "LTAIEXAMPLE", "STS.EXAMPLE", nil)},
		}
		if p := one("params", nil, map[string]any{"UserName": "alice"}, map[string]any{"UserName": "bob"}); p != nil {
			over["requestParameters"] = p
		}
		return over
	})
	loaded := 0
	rapid.Check(t, func(rt *rapid.T) {
		src := condition(3).Draw(rt, "condition")
		set, err := Load(LoadOptions{AllowFewTests: true, Lists: map[string][]string{"office_networks": {"203.0.113.0/24"}},
			Files: map[string][]byte{"rules/x.yaml": makeRule("x", src, "")}})
		if err != nil {
			return // a condition that can never hold is refused
		}
		loaded++
		eval, s := set.NewEvaluator(), newSession(set)
		for range 20 {
			ev := parse(t, records.Draw(rt, "record"))
			s.Begin(ev)
			want, err := s.truth(set.rules[0].match.code)
			if err != nil {
				rt.Fatalf("%s: %v", src, err)
			}
			v := eval.Evaluate(ev)
			if got := v.Matches() == 1; got != want {
				rt.Fatalf("%s of %s: evaluated as %t, on the machine %t", src, ev.Raw(), got, want)
			}
		}
	})
	if loaded < 10 {
		t.Errorf("%d conditions were loaded: the others were refused", loaded)
	}
}
