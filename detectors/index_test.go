package detectors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/rules"
)

// condition draws a condition: everything the index reads, and things it does
// not, under and, or, not and ?:.
func condition(t *rapid.T, depth int) string {
	if depth > 0 && rapid.Bool().Draw(t, "deeper") {
		a := func() string { return condition(t, depth-1) }
		switch rapid.IntRange(0, 3).Draw(t, "op") {
		case 0:
			return "(" + a() + " && " + a() + ")"
		case 1:
			return "(" + a() + " || " + a() + ")"
		case 2:
			return "!(" + a() + ")"
		default:
			return "(" + a() + " ? " + a() + " : " + a() + ")"
		}
	}
	return rapid.SampledFrom([]string{
		`event.name == "CreateUser"`, `event.name != "createUser"`, `event.name in ["CreateAccessKey", "ListUsers"]`, `event.name not in ["ListUsers"]`,
		`event.name startsWith "list"`, `event.name matches "^(create|delete)"`, `event.name contains "KEY"`, `lower(event.name) == "createuser"`, `"CreateUser" == event.name`,
		`action == "iam.user.create"`, `action startsWith "iam."`, `action in ["iam.accesskey.create", "iam.user.create"]`, `action == ""`, `action != ""`,
		`event.service == "Ram"`, `event.service in ["ims", "Ecs"]`, `event.service endsWith "s"`,
		`actor.type == "root-account"`, `actor.type != "ram-user"`, `actor.root`, `actor.root == false`, `actor.kind in ["human", "workload"]`,
		`outcome == "success"`, `outcome == "attempt"`, `event.rw == "write"`, `mfa == "no"`, `event.sensitive`, `!event.sensitive`, `target.self`,
		`event.error_code != ""`, `event.error_code == ""`, `event.error_code == "nopermission"`, `event.error_code in ["", "Forbidden"]`, `target.type != "user"`, `target.type == "user"`, `target.type in ["", "user"]`,
		`actor.key == ""`, `actor.key != ""`, `actor.key_kind == "long-term"`, `source.kind == "public"`, `actor.session_mfa != "no"`,
		`param("UserName") == "bob"`, `has_param("UserName")`, `event.hour > 9`, `source.ip == "203.0.113.10"`, `actor.name == "alice"`, `true`, `false`,
		`in_cidr(source.ip, "203.0.113.0/24")`, `event.region == "CN-hangzhou"`, `event.insight_type == ""`, `actor.caller_account != "x"`,
		`event.error_code startsWith "no"`, `event.error_code contains "PERM"`, `actor.key startsWith "LTAI"`, `target.type endsWith "r"`, `event.error_code startsWith ""`,
		`one_of_list("office_networks", source.ip)`, `has_list("office_networks")`, `one_of_list("vpn_networks", source.ip)`, `has_list("vpn_networks")`, `!one_of_list("vpn_networks", source.ip)`,
	}).Draw(t, "leaf")
}

func randomEvent(t *rapid.T, i int) *event.Event {
	pick := func(name string, of ...any) any { return rapid.SampledFrom(of).Draw(t, name) }
	over := map[string]any{
		"eventName":         pick("name", "CreateUser", "createuser", "CreateAccessKey", "ListUsers", "DescribeInstances", "ConsoleSignin", "Sonderbar", ""),
		"serviceName":       pick("service", "Ram", "RAM", "Ims", "Ecs", "AasCustomer", "Unheard", ""),
		"eventRW":           pick("rw", "Read", "Write", "", "Insert"),
		"errorCode":         pick("code", "", "NoPermission", "Forbidden", "null"),
		"sourceIpAddress":   pick("ip", "203.0.113.10", "10.1.2.3", "ecs.aliyuncs.com", "Internal", "", "2001:db8::1"),
		"requestParameters": pick("params", nil, map[string]any{"UserName": "bob"}, map[string]any{"UserName": "alice"}, `{"UserName":"bob"}`),
		"eventAttributes":   pick("attr", nil, map[string]any{"SensitiveAction": "true"}),
		"acsRegion":         pick("region", "cn-hangzhou", "CN-Hangzhou", "", "eu-central-1"),
		"eventCategory":     pick("category", "Management", "Insight", nil), // an Insight needs no name
	}
	identity := map[string]any{"accountId": "1000000000000001", "type": pick("type", "root-account", "ram-user", "assumed-role", "system", "whatever", ""), "principalId": pick("principal", "1000000000000001", "2000", "3000:s")}
	identity["userName"] = pick("user", "alice", "bob", "root", "role:s", "aliyunserviceroleforecs:s", "")
	identity["accessKeyId"] = pick("key", "", "LTAI5tEXAMPLEalice00001", "STS.EXAMPLE", "NULL", "TMP.EXAMPLE")
	over["userIdentity"] = identity
	e, err := event.Parse(rec(fmt.Sprintf("e%d", i), t0.Add(time.Duration(rapid.IntRange(-5, 50_000).Draw(t, "at"))*time.Second), over))
	if err != nil {
		// A record without any name is none; another event then.
		over["eventName"] = "CreateUser"
		if e, err = event.Parse(rec(fmt.Sprintf("e%d", i), t0, over)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// The index never leaves out a rule that matches: what an evaluator finds is
// what every rule evaluated on every event gives.
func TestIndexEqualsEveryRule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		files := map[string][]byte{}
		for i := range rapid.IntRange(1, 12).Draw(rt, "rules") {
			id := fmt.Sprintf("r%02d", i)
			files[id] = ruleFile(id, condition(rt, 3), "")
		}
		set := load(t, rules.LoadOptions{Lists: map[string][]string{"office_networks": {"203.0.113.0/24"}}}, files)
		eval, session := set.NewEvaluator(), set.NewSession()
		for i := range rapid.IntRange(1, 15).Draw(rt, "events") {
			e := randomEvent(rt, i)
			engine := detectors.NewEngine(set, detectors.EngineConfig{})
			engine.Apply(eval.Evaluate(e), "s")
			var got []string
			for _, d := range engine.Take() {
				got = append(got, d.Rule)
			}
			var want []string
			for n, r := range set.Rules() {
				session.Begin(e)
				ok, err := session.Match(n)
				if err != nil {
					rt.Fatal(err)
				}
				if ok {
					want = append(want, r.ID)
				}
			}
			if !slices.Equal(got, want) {
				var texts []string
				for _, id := range append(slices.Clone(got), want...) {
					texts = append(texts, string(files[id]))
				}
				rt.Fatalf("event %s\nby index   %v\nevery rule %v\n%s", e.Raw(), got, want, strings.Join(texts, "\n"))
			}
		}
	})
}

func TestIndexDescribes(t *testing.T) {
	files := map[string][]byte{}
	want := map[string]string{}
	for _, c := range []struct{ match, how string }{
		{`event.name == "CreateUser" && event.service == "Ram"`, "event.name = createuser"},
		{`event.service == "Ram"`, "event.service = ram"},
		{`action == "iam.user.create" || event.name == "Foo" || event.name == "Login"`, ""},
		{`event.name in ["CreateUser", "DeleteUser"] && event.name == "CreateUser"`, "event.name = createuser"},
		{`actor.type == "root-account" && event.rw == "Write"`, "any event; actor.type = root-account, event.rw = Write"},
		{`outcome == "attempt" || mfa == "no"`, "any event"},
		{`!(outcome == "attempt")`, "any event; outcome = success"},
		{`event.error_code != "" && actor.key == ""`, "any event; event.error_code present, actor.key absent"},
		{`false`, "no event"},
		{`action startsWith "iam.accesskey."`, "action = iam.accesskey.create|iam.accesskey.delete|iam.accesskey.restore|iam.accesskey.update"},
	} {
		if c.how == "" {
			continue
		}
		id := fmt.Sprintf("r%02d", len(files))
		files[id], want[id] = ruleFile(id, c.match, ""), c.how
	}
	set := load(t, rules.LoadOptions{}, files)
	for i, r := range set.Rules() {
		got := set.Index().Describe(i)
		if strings.HasPrefix(want[r.ID], "action = iam.accesskey.") {
			// The vocabulary may grow; the form is what counts.
			if !strings.HasPrefix(got, "action = iam.accesskey.create|iam.accesskey.delete") {
				t.Errorf("%s: %s", r.ID, got)
			}
			continue
		}
		if got != want[r.ID] {
			t.Errorf("%s: %q, want %q\n%s", r.ID, got, want[r.ID], files[r.ID])
		}
	}
}

// Strangers choose event names; the evaluator's memory must not grow with
// them.
func TestIndexMemoryIsBounded(t *testing.T) {
	set := load(t, rules.LoadOptions{}, map[string][]byte{"r": ruleFile("r", `event.name == "CreateUser"`, ""), "s": ruleFile("s", `outcome == "attempt"`, "")})
	eval := set.NewEvaluator()
	for i := range 20_000 {
		e := ev(t, "x", t0, map[string]any{"eventName": fmt.Sprintf("Made%dUp", i)})
		if v := eval.Evaluate(e); v.Matches() != 0 {
			t.Fatal("an unknown name matched")
		}
	}
	if n := detectors.KindsRemembered(eval); n > 8192 {
		t.Errorf("%d kinds remembered", n)
	}
	if v := eval.Evaluate(ev(t, "y", t0, map[string]any{"eventName": "CREATEUSER", "serviceName": "ram"})); v.Matches() != 1 {
		t.Error("a known name no longer matches")
	}
}
