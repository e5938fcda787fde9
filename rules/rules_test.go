package rules

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

func TestRulesTestThemselves(t *testing.T) {
	set := load(t, LoadOptions{Clock: time.Now}, rule1, rule2)
	results := Test(set)
	if len(results) != 6 {
		t.Fatalf("%d results, want 6", len(results))
	}
	for _, r := range results {
		if !r.Pass {
			t.Errorf("%s %q: %s\n%s", r.Rule, r.Test, r.Failures, strings.Join(r.Why, "\n"))
		}
	}
	if got := Test(set, "test.b*"); len(got) != 3 {
		t.Errorf("%d results for a pattern, want 3", len(got))
	}
}

// A failing test says what there was and why each event did not match.
func TestFailingTestExplains(t *testing.T) {
	set := load(t, LoadOptions{}, []byte(strings.Replace(string(rule1), "expect: {alerts: 0}", "expect: {alerts: 1}", 1)))
	var failed []TestResult
	for _, r := range Test(set) {
		if !r.Pass {
			failed = append(failed, r)
		}
	}
	if len(failed) != 1 || failed[0].Test != "oneself" || failed[0].Line != 14 {
		t.Fatalf("failed: %+v", failed)
	}
	why := strings.Join(failed[0].Why, "\n")
	for _, want := range []string{`✗ all of`, `✓ action == "iam.accesskey.create"`, `✗ !target.self  (target.self = true)`} {
		if !strings.Contains(why, want) {
			t.Errorf("explanation lacks %q:\n%s", want, why)
		}
	}
	if !slices.Contains(failed[0].Failures, "0 alerts, want 1") {
		t.Errorf("failures %q", failed[0].Failures)
	}
}

func TestExpectationsAreChecked(t *testing.T) {
	base := string(rule1)
	for _, bad := range []string{
		"alerts: 1, severity: low", "alerts: 1, outcome: attempt", "alerts: 1, actor: bob", "alerts: 1, target: alice", "alerts: 1, source_ip: 198.51.100.1",
		"alerts: 1, count: 2", "alerts: 1, title_contains: xyz", "alerts: 1, reason_contains: [bob, xyz]", "alerts: 1, reason_lacks: bob", "alerts: 1, details: [policy]", "alerts: 2", "alerts: 1, target_key: x",
	} {
		set := load(t, LoadOptions{}, []byte(strings.Replace(base, "alerts: 1, severity: high, target: bob, outcome: success", bad, 1)))
		if r := Test(set)[0]; r.Pass {
			t.Errorf("{%s} passed", bad)
		}
	}
}

func TestExpressions(t *testing.T) {
	over := map[string]any{
		"eventName": "createuser", "serviceName": "RAM", "errorCode": "Forbidden.RAM", "eventType": "apicall", "acsRegion": "CN-Hangzhou", "userAgent": "Kali Linux curl/8",
		"requestParameters":   map[string]any{"UserName": "Bob", "MFABindRequired": false, "Off": "FALSE ", "Zero": 0, "On": " Yes", "MaxPasswordAge": 90, "Permissions.1.SourceCidrIp": "0.0.0.0/0", "Deep": map[string]any{"A": 1}},
		"responseElements":    map[string]any{"User": map[string]any{"UserId": "2001"}},
		"additionalEventData": map[string]any{"loginType": "sso"},
		"referencedResources": map[string]any{"ACS::RAM::User": []string{"bob"}},
		"sourceIpAddress":     "203.0.113.77",
	}
	for expr, want := range map[string]bool{
		`event.name == "CreateUser"`:                                true,
		`event.name != "CREATEUSER"`:                                false,
		`"CreateUser" == event.name`:                                true,
		`event.name in ["DeleteUser", "CreateUser"]`:                true,
		`event.name not in ["CreateUser"]`:                          false,
		`event.name startsWith "Create"`:                            true,
		`event.name endsWith "USER"`:                                true,
		`event.name contains "teUs"`:                                true,
		`event.name matches "^Create(User|Group)$"`:                 true,
		`event.name == event.name`:                                  true,
		`event.name == param("UserName")`:                           false,
		`event.service == "Ram"`:                                    true,
		`event.service in ["ram"]`:                                  true,
		`event.error_code == "forbidden.ram"`:                       true,
		`event.error_code startsWith "Forbidden"`:                   true,
		`event.error_code in ["NoPermission", "Forbidden.RAM"]`:     true,
		`event.type == "ApiCall"`:                                   true,
		`event.region == "cn-HANGZHOU"`:                             true,
		`event.rw == "write"`:                                       true,
		`outcome == "ATTEMPT"`:                                      true,
		`action == "IAM.user.create"`:                               true,
		`action startsWith "iam.user."`:                             true,
		`param("UserName") == "Bob"`:                                true,
		`param("username") == "Bob"`:                                true,
		`param("UserName") != "Bob"`:                                false,
		`param("UserName") in ["x", "Bob"]`:                         true,
		`param("Nothing") == ""`:                                    true,
		`param("UserName") == "bob"`:                                false,
		`param_is("UserName", "bob")`:                               true,
		`param_is("MFABindRequired", "False")`:                      true,
		`param_is("MFABindRequired", "true")`:                       false,
		`param_is("Off", "false")`:                                  true,
		`param_is("Zero", "false")`:                                 true,
		`param_is("Zero", "0")`:                                     true,
		`param_is("Zero", "no")`:                                    false, // only true and false have spellings
		`param_is("On", "true")`:                                    true,
		`param_is("On", "false")`:                                   false,
		`param_is("Nothing", "false")`:                              false,
		`has_param("UserName") && !has_param("Nothing")`:            true,
		`param_num("MaxPasswordAge", -1) == 90`:                     true,
		`param_num("Nothing", -1) < 0`:                              true,
		`param_num("UserName", 7) == 7`:                             true,
		`params_contain("0.0.0.0/0")`:                               true,
		`params_contain("10.0.0.0")`:                                false,
		`param_any("permissions.", ".sourcecidrip", ["0.0.0.0/0"])`: true,
		`param_any("Permissions.", ".PortRange", ["0.0.0.0/0"])`:    false,
		`resp("User.UserId") == "2001"`:                             true,
		`extra("LoginType") == "sso"`:                               true,
		`field("userIdentity.userName") == "alice"`:                 true,
		`resource("ACS::RAM::User") == "bob"`:                       true,
		`resource("ACS::ECS::Disk") == ""`:                          true,
		`in_cidr(source.ip, "203.0.113.0/24")`:                      true,
		`in_cidr(source.ip, "198.51.100.0/24", "203.0.113.77")`:     true,
		`!in_cidr(source.ip, "198.51.100.0/24", "2001:db8::/32")`:   true,
		`in_cidr("not an address", "0.0.0.0/0")`:                    false,
		`source.network == "203.0.113.0/24"`:                        true,
		`source.country == "NL" && source.asn == 64500`:             true,
		`source.place == "203.0.113.77|64500|NL"`:                   true,
		`one_of_list("office_networks", source.ip)`:                 true,
		`one_of_list("breakglass_users", actor.name)`:               true,
		`one_of_list("vpn_networks", source.ip)`:                    false,
		`has_list("office_networks") && !has_list("vpn_networks")`:  true,
		`contains_any(event.user_agent, ["pacu", "KALI"])`:          true,
		`contains_any(event.user_agent, ["pacu"])`:                  false,
		`any(["pacu", "kali"], lower(event.user_agent) contains #)`: true,
		`any(["Kali"], lower(event.user_agent) contains #)`:         false,
		`any(["UserName", "Name"], param(#) == "Bob")`:              true,
		`event.hour == 10 && event.weekday == 1`:                    true,
		`actor.type == "ram-user" && actor.kind != "service"`:       true,
		`actor.root`:                 false,
		`target.self ? false : true`: true,
		`not any(["x"], event.source contains #) && all(["a", "l"], actor.name contains #) && none(["q"], actor.name contains #)`: true,
		`lower(event.name) == "createuser" && lower(event.region) startsWith "cn-h" && lower(event.name) != "CreateUser"`:         true,
		`event.sensitive == false && (actor.root != true)`:                                                                        true,
		`event.hour > 9.5 && event.weekday >= 1 && event.hour < 11 && event.hour <= 10`:                                           true,
		`len(param("Deep")) > 0`: true,
		`policy.known`:           false,
		`policy.verdict == ""`:   true,
	} {
		set := load(t, LoadOptions{
			Lists: map[string][]string{"office_networks": {"203.0.113.0/24"}, "breakglass_users": {"Alice"}, "vpn_networks": {}},
			Geo:   newTestGeo(map[string]geoDoc{"203.0.113.0/24": {Country: "NL", ASN: 64500}}),
		}, makeRule("x", expr, ""))
		s := set.NewSession()
		s.Begin(parse(t, over))
		got, err := s.Match(0)
		if slow, err := s.(*session).truth(set.rules[0].match.code); err != nil || slow != got {
			t.Errorf("%s is %t, on the machine %t, %v", expr, got, slow, err)
		}
		if n := set.rules[0].match.native; !n.whole && !strings.Contains(expr, "policy") && !strings.Contains(expr, "len(") && !strings.Contains(expr, "event.name == ") && !strings.Contains(expr, "not an address") {
			t.Errorf("%s has no native form", expr)
		}
		if err != nil || got != want {
			t.Errorf("%s is %t, %v; want %t", expr, got, err, want)
		}
		// No event at all must not be harder than any other.
		s.Begin(nil)
		if _, err := s.Match(0); err != nil {
			t.Errorf("%s without an event: %v", expr, err)
		}
	}
}

// Texts come out safe, whatever the record holds.
func TestTemplates(t *testing.T) {
	set := load(t, LoadOptions{}, []byte("id: x\nversion: 1\ntitle: '{{{actor.name}}} {event.name} {event.hour} {actor.root}'\ndescription: d\nseverity: low\n"+
		"reason: \"{actor.name} at {source.ip} {'a}b'} {event.name == 'getuser' ? 'same' : 'other'}\"\nmatch: 'true'\n"))
	for _, c := range []struct{ user, ip, title, reason string }{
		{"alice", "203.0.113.1", "{alice} GetUser 10 false", "alice at 203.0.113.1 a}b same"},
		{"a\x1b[31m\u202eb\nc", "ecs.aliyuncs.com", "{a\uFFFD[31m\uFFFDb c} GetUser 10 false", "a\uFFFD[31m\uFFFDb c at unknown a}b same"},
		{strings.Repeat("长", 500), "", "{" + strings.Repeat("长", 127) + "…} GetUser 10 false", strings.Repeat("长", 127) + "… at unknown a}b same"},
	} {
		e := detectors.NewEngine(set, detectors.EngineConfig{})
		e.Apply(set.NewEvaluator().Evaluate(parse(t, map[string]any{"sourceIpAddress": c.ip,
			"userIdentity": map[string]any{"type": "ram-user", "accountId": baseAccount, "principalId": "2", "userName": c.user}})), "s")
		got := e.Take()
		if len(got) != 1 || got[0].Title != c.title || got[0].Reason != c.reason {
			t.Errorf("%q %q\nwant %q %q", got[0].Title, got[0].Reason, c.title, c.reason)
		}
	}
}

func TestDedupKeys(t *testing.T) {
	key := func(dedup string, over map[string]any) string {
		set := load(t, LoadOptions{}, makeRule("x", "true", dedup))
		e := detectors.NewEngine(set, detectors.EngineConfig{})
		e.Apply(set.NewEvaluator().Evaluate(parse(t, over)), "s")
		return e.Take()[0].Key
	}
	a, b := key("", nil), key("", map[string]any{"eventId": "other", "eventName": "ListUsers"})
	if a != b {
		t.Errorf("default keys %q and %q: same actor, same target", a, b)
	}
	if c := key("", map[string]any{"recipientAccountId": "1000000000000002"}); c == a {
		t.Error("another account has the same key")
	}
	by := "dedup: {by: [event.name, event.service], window: 5m}\n"
	if x, y := key(by, map[string]any{"eventName": "GETUSER"}), key(by, map[string]any{"eventName": "GetUser"}); x != y || x != "x\x1fgetuser\x1fram" {
		t.Errorf("keys %q and %q: letter case must not matter", x, y)
	}
	// A value cannot pretend to be two.
	if x := key("dedup: {by: [event.user_agent, event.vpc]}\n", map[string]any{"userAgent": "a\x1fb"}); strings.Count(x, "\x1f") != 2 {
		t.Errorf("key %q", x)
	}
}

func TestSeverityExpressionThatGoesWrong(t *testing.T) {
	set := load(t, LoadOptions{}, []byte("id: x\nversion: 1\ntitle: t\ndescription: d\nseverity: actor.name\nreason: r\nmatch: 'true'\n"))
	e := detectors.NewEngine(set, detectors.EngineConfig{})
	e.Apply(set.NewEvaluator().Evaluate(parse(t, nil)), "s")
	if got := e.Take(); len(got) != 1 || got[0].Severity.String() != "high" {
		t.Errorf("%v: a severity that is no word must not lose the alert", got)
	}
}

func TestLoadOptions(t *testing.T) {
	lint := func(opts LoadOptions) error {
		opts.Factories = testFactories
		opts.AllowFewTests = true
		_, err := Load(opts)
		return err
	}
	if err := lint(LoadOptions{Files: map[string][]byte{"a/x.yaml": makeRule("x", "true", "")}, Disable: []string{"y"}}); err == nil || !strings.Contains(err.Error(), `no rule "y"`) {
		t.Errorf("an unknown id to disable: %v", err)
	}
	if err := lint(LoadOptions{Lists: map[string][]string{"office_networks": {"203.0.113.0/24", "10.0.0.0/33", "a/b"}}}); err == nil || !strings.Contains(err.Error(), `list office_networks: "10.0.0.0/33" is not a network`) || strings.Contains(err.Error(), "a/b") {
		t.Errorf("a network that is none: %v", err)
	}
	if err := lint(LoadOptions{Dirs: []string{"testdata/absent"}}); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a folder that is not there: %v", err)
	}
	set := load(t, LoadOptions{Disable: []string{"x.*"}}, makeRule("x.a", "true", ""), makeRule("x.b", "true", ""), makeRule("y", "true", "status: off\n"), makeRule("z", "true", "status: shadow\n"))
	if set.Len() != 1 || len(set.List()) != 4 {
		t.Errorf("%d rules run of %d", set.Len(), len(set.List()))
	}
	for _, in := range set.List() {
		want := map[string]string{"x.a": "off", "x.b": "off", "y": "off", "z": "shadow"}[in.ID]
		if in.Status != want {
			t.Errorf("%s is %s, want %s", in.ID, in.Status, want)
		}
	}
	again := load(t, LoadOptions{Disable: []string{"x.*"}}, makeRule("x.a", "true", ""), makeRule("x.b", "true", ""), makeRule("y", "true", "status: off\n"), makeRule("z", "true", "status: shadow\n"))
	if set.Hash() != again.Hash() {
		t.Error("the same rules have two hashes")
	}
	for name, other := range map[string]*Set{
		"a changed rule": load(t, LoadOptions{}, makeRule("z", "false", "")),
		"a list":         load(t, LoadOptions{Lists: map[string][]string{"a": {"b"}}}, makeRule("z", "true", "")),
		"plain":          load(t, LoadOptions{}, makeRule("z", "true", "")),
	} {
		if other.Hash() == set.Hash() {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

// The pack's files have at least three tests; folders need one.
func TestTooFewTests(t *testing.T) {
	_, err := Load(LoadOptions{Files: map[string][]byte{"x.yaml": makeRule("x", "true", "")}})
	if err == nil || !strings.Contains(err.Error(), "at least 1") {
		t.Errorf("no tests at all: %v", err)
	}
}

// An expression that takes long is refused where a clock is given.
func TestSlowExpressionIsRefused(t *testing.T) {
	// Reading each of two samples is timed twenty times before any expression.
	const reading = 2 * 20 * 2
	try := func(read, expr time.Duration) error {
		now, calls := time.Unix(0, 0), 0
		clock := func() time.Time {
			if calls++; calls <= reading {
				now = now.Add(read)
			} else {
				now = now.Add(expr)
			}
			return now
		}
		_, err := Load(LoadOptions{Files: map[string][]byte{"x.yaml": makeRule("x", "true", "")}, AllowFewTests: true, Clock: clock})
		return err
	}
	if err := try(time.Microsecond, 2*time.Millisecond); err == nil || !strings.Contains(err.Error(), "more than 1ms") {
		t.Errorf("slow: %v", err)
	}
	// The same time is in order on a machine where reading is slow too.
	if err := try(time.Millisecond, 2*time.Millisecond); err != nil {
		t.Errorf("a slow machine: %v", err)
	}
	if err := try(time.Millisecond, 21*time.Millisecond); err == nil || !strings.Contains(err.Error(), "more than 20ms") {
		t.Errorf("slow on a slow machine: %v", err)
	}
}

func TestLint(t *testing.T) {
	set := load(t, LoadOptions{},
		makeRule("a", `event.name == "CreateAccessKey" && param("UsrName") == "x"`, ""),
		makeRule("b", `outcome == "success" && outcome == "attempt"`, "attack: [T1098]\n"),
		makeRule("c", `outcome == "success"`, "detector: {type: counter, by: actor.key, count: 1}\n"),
		makeRule("d", `policy.expands && event.name == "RunInstances"`, ""),
		makeRule("e", `one_of_list("offce_networks", source.ip) || event.service == "Nirgendwo"`, ""),
		makeRule("f", `event.region in ["cn-hangzhou ", "cn-beijing"] || actor.name == " alice" || event.user_agent == "aliyun " || event.region startsWith "cn "`, ""),
		makeRule("g", `source.country == "China" || source.country in ["CN", "nl", ""] && source.country startsWith "C"`, ""),
		makeRule("h", `event.name == "CreateUser"`, `tests:
  - {name: hit, events: [{event: "Ram:CreateUser"}, {event: "Ram:Get{n}"}, {event: "Own:Heartbeat"}], expect: {alerts: 1}}
  - {name: miss, events: [{event: "Ram:CreateUsr"}], expect: {alerts: 0}}
`),
		makeRule("i", `policy.expands`, "detector: {type: counter, by: actor.id + policy.verdict, count: 1}\ndedup: {by: [actor.id, trust.public]}\n"),
		rule1, rule2,
	)
	var all []string
	for _, w := range Lint(set) {
		first, _, _ := strings.Cut(w.Error(), "\n")
		all = append(all, first)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{
		`a.yaml:8:17: CreateAccessKey is one of several names`, `compare action with "iam.accesskey.create"`, `parameter "UsrName" is not in the catalogue; did you mean "UserName"?`,
		`rules/a.yaml:1:5: no ATT&CK id`, `rules/a.yaml:1:5: 0 tests`, `rules/b.yaml:7:8: no event can match`, `temporary keys change with every session`,
		`rules/d.yaml:7:8: policy facts exist only`, `list "offce_networks" has no meaning of its own: it works only where it is configured; did you mean "office_networks"?`, `service "Nirgendwo"`,
		`"cn-hangzhou " begins or ends with a space, and is compared with it`, `" alice" begins or ends with a space`,
		`source.country is never "China"; it has two letters, such as CN`,
		`rules/i.yaml:10:24: of a detector's verdict no policy fact is known: trust.* is empty or false here`,
		`rules/h.yaml:11:35: test "miss": unknown event name "CreateUsr"; did you mean "CreateUser"?`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lint lacks %q", want)
		}
	}
	if strings.Count(text, "no policy fact is known") != 1 {
		t.Error("a match and a detector's key may read policy facts")
	}
	if strings.Count(text, "source.country is never") != 1 {
		t.Error("a country that there is is never met")
	}
	if strings.Count(text, "unknown event name") != 1 {
		t.Error("a call that is made up may be in a test")
	}
	if strings.Count(text, "begins or ends with a space") != 2 {
		t.Error("a program's name may have a space, and so may a part of a name")
	}
	if strings.Contains(text, "test.created") || strings.Contains(text, "test.burst") {
		t.Errorf("lint complains about good rules:\n%s", text)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// A new rule's file loads, and its tests pass, whatever it is about.
func TestNew(t *testing.T) {
	for _, about := range []string{"Ram:CreateUser", "iam.accesskey.create", "Ecs:RunInstances", "trail.stop"} {
		doc, err := New("my.rule", "Something {happened} \"twice\"", about)
		if err != nil {
			t.Fatal(err)
		}
		set := load(t, LoadOptions{}, []byte(strings.TrimPrefix(string(doc), "# yaml-language-server: $schema=schema.json\n")))
		for _, r := range Test(set) {
			if !r.Pass {
				t.Errorf("%s, %s: %v\n%s", about, r.Test, r.Failures, strings.Join(r.Why, "\n"))
			}
		}
		for _, w := range Lint(set) {
			t.Errorf("%s: %v", about, w)
		}
	}
	for _, bad := range [][2]string{{"Bad Id", "Ram:CreateUser"}, {"ok", "Ram:CreatUser"}, {"ok", "nothing"}, {"ok", ""}} {
		if _, err := New(bad[0], "t", bad[1]); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

// A part of a condition that no test notices is found.
func TestMutate(t *testing.T) {
	set := load(t, LoadOptions{}, rule1, rule2)
	want := map[string]bool{
		`action == "iam.accesskey.create"`: false, `actor.kind != "service"`: false, `!target.self`: true, `outcome == "attempt"`: false, `actor.type == "ram-user"`: false,
	}
	mutants := Mutate(t.Context(), set)
	if len(mutants) != len(want) {
		t.Errorf("%d mutants, want %d", len(mutants), len(want))
	}
	for _, m := range mutants {
		if killed, ok := want[m.Part]; !ok || m.Killed != killed {
			t.Errorf("%+v", m)
		}
		if m.Part == "!target.self" && (m.Line != 8 || m.Column != 71) {
			t.Errorf("place %d:%d", m.Line, m.Column)
		}
	}
	// With a test for it, the mutant dies.
	more := append(slices.Clone(rule1), []byte("  - {name: another act, events: [{event: \"Ram:CreateUser\", params: {UserName: bob}}], expect: {alerts: 0}}\n")...)
	for _, m := range Mutate(t.Context(), load(t, LoadOptions{}, more), "test.*") {
		if strings.HasPrefix(m.Part, "action") && !m.Killed {
			t.Errorf("%+v survives its test", m)
		}
	}
}

// Both end when they are asked to.
func TestMutateEnds(t *testing.T) {
	set := load(t, LoadOptions{}, rule1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, s := Mutate(ctx, set), Suggest(ctx, set); len(m)+len(s) != 0 {
		t.Errorf("%d mutants and %d suggestions after the end", len(m), len(s))
	}
	r := set.all[0]
	b := newBench(r)
	b.ended = ctx.Err
	for _, m := range set.mutants(r) {
		b.search(set, &m)
		if b.tries < maxTries-1 {
			t.Errorf("%d tries after the end for %s", maxTries-b.tries, m.Part)
		}
	}
}

// What Suggest finds passes on the rule and kills the mutant it was found
// for; what it does not find is of no effect here.
func TestSuggest(t *testing.T) {
	set := load(t, LoadOptions{}, rule1)
	with := slices.Clone(rule1)
	for _, s := range Suggest(t.Context(), set) {
		if s.Test == "" {
			t.Errorf("nothing found for %s", s.Part)
		}
		with = append(with, s.Test...)
	}
	better := load(t, LoadOptions{}, with)
	for _, r := range Test(better) {
		if !r.Pass {
			t.Errorf("%s: %v", r.Test, r.Failures)
		}
	}
	for _, m := range Mutate(t.Context(), better) {
		if !m.Killed {
			t.Errorf("%s survives", m.Part)
		}
	}
	if left := Suggest(t.Context(), better); len(left) != 0 {
		t.Errorf("suggestions for a rule whose parts are all tested: %v", left)
	}
}

// A text of a test is read back as it was.
func TestPrintTest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if strings.ContainsFunc(text, func(r rune) bool { return r == 0xFFFD }) {
			t.Skip("not text")
		}
		in := map[string]any{"name": "n", "events": []any{map[string]any{"params": map[string]any{"K": text}}}, "expect": map[string]any{"alerts": 1}}
		doc := (&bench{}).read(in)
		if doc == nil {
			t.Fatalf("not read: %s", printTest(in))
		}
		got, ok := plainValue(doc.Events[0].Params).(map[string]any)
		if !ok || got["K"] != text {
			t.Fatalf("%q came back as %q", text, got["K"])
		}
	})
}

func TestFields(t *testing.T) {
	fields := Fields()
	byName := map[string]Field{}
	for _, f := range fields {
		if f.Doc == "" || f.Example == "" || f.Type == "" {
			t.Errorf("%s has no doc, type or example", f.Name)
		}
		if strings.Contains(f.Name, "__") {
			t.Errorf("%s is internal", f.Name)
		}
		byName[f.Name] = f
	}
	if w := byName["actor.type"].Words; !slices.Contains(w, "root-account") {
		t.Errorf("words of actor.type: %v", w)
	}
	// Every example of a function compiles.
	for _, f := range fields {
		if f.Type != "function" {
			continue
		}
		c := &compiler{tables: &tables{}, cache: map[string]*program{}}
		if p, faults := c.compile(f.Example, useText, allowed{policy: true}); p == nil {
			t.Errorf("example %s: %v", f.Example, faults)
		}
	}
}

// Rules that do not match cost no allocation. Where a condition needs the
// expression machine, that copies each field that it loads, and no more.
func TestNoAllocationForRulesThatDoNotMatch(t *testing.T) {
	ev := parse(t, map[string]any{"eventName": "AttachPolicyToUser", "requestParameters": map[string]any{"PolicyName": "ReadOnly", "UserName": "bob"}})
	other := parse(t, map[string]any{"eventName": "ListUsers"})
	count := func(n int, ev *event.Event, matches ...string) float64 {
		t.Helper()
		var docs [][]byte
		for i := range n {
			docs = append(docs, makeRule(fmt.Sprintf("r%03d", i), matches[i%len(matches)], ""))
		}
		eval := load(t, LoadOptions{}, docs...).NewEvaluator()
		if v := eval.Evaluate(ev); v.Matches() > 0 {
			t.Fatal("a rule matches")
		}
		return testing.AllocsPerRun(200, func() { eval.Evaluate(ev) })
	}
	usual := []string{
		`action == "iam.policy.attach" && param("PolicyName") in ["AdministratorAccess", "Other"]`,
		`action == "iam.policy.attach" && actor.name == "nobody" && event.user_agent contains "x"`,
		`event.name == "AttachPolicyToUser" && (event.region startsWith "us-" || event.hour > 22)`,
		`event.service == "Ram" && event.rw == "Write" && actor.id endsWith "/mallory"`,
		`event.name startsWith "Attach" && contains_any(event.user_agent, ["pacu", "kali"])`,
	}
	if got := count(100, other, usual...); got != 0 {
		t.Errorf("%v allocations for an event that no rule is about", got)
	}
	if got := count(100, ev, usual...); got != 0 {
		t.Errorf("%v allocations for 100 rules that do not match", got)
	}
	machine := `len(event.user_agent) > 1000 && event.service == "Ram"`
	if one, hundred := count(1, ev, machine), count(100, ev, machine); one > 1 || hundred > 100 {
		t.Errorf("%v allocations for one condition on the machine, %v for 100; want one for each field", one, hundred)
	}
}

// Keys and texts that are one field have a native form, which says the same
// as the machine.
func TestNativeTexts(t *testing.T) {
	ev := parse(t, map[string]any{"eventName": "CreateUser", "serviceName": "RAM", "errorCode": "Forbidden.RAM", "eventType": "apicall", "acsRegion": "CN-Hangzhou",
		"requestParameters": map[string]any{"UserName": "Bob"}, "additionalEventData": map[string]any{"loginType": "sso"}})
	exprs := []string{`param("UserName")`, `resp("x")`, `extra("loginType")`, `field("eventId")`, `resource("x")`, `lower(param("UserName"))`, `lower(event.name)`, `lower(event.service)`, `lower(event.error_code)`,
		`actor.id + "|" + source.network`, `lower(event.service) + ":" + lower(event.name)`, `event.name + event.service + event.error_code`, `"a" + (event.name + "b")`, `lower(event.service) + (event.rw == "Write" ? " write" : " read")`, `source.asn != 0 ? "AS" + string(source.asn) : event.name`, `"x"`,
		`event.hour < 6 ? "night" : event.hour < 12 ? string(event.hour) : event.service + param("UserName")`,
		`(event.weekday in [0, 6] ? "weekend " : "workday ") + (event.hour in [10] ? "ten" : "other")`, `event.weekday in [1] && event.hour not in [] ? "Monday" : ""`}
	for _, f := range Fields() {
		if f.Type == "string" && !strings.HasPrefix(f.Name, "policy.") && !strings.HasPrefix(f.Name, "verdict.") {
			exprs = append(exprs, f.Name)
		}
	}
	foreign := parse(t, map[string]any{"eventName": "CREATEİÜser", "serviceName": "Ärm", "sourceIpAddress": "2001:db8::1"})
	for i, u := range []use{useKey, useText, useKey} {
		if i == 2 {
			ev = foreign
		}
		for _, src := range exprs {
			c := &compiler{tables: &tables{}, cache: map[string]*program{}}
			p, faults := c.compile(src, u, allowed{policy: true})
			if p == nil {
				t.Fatal(src, faults)
			}
			s := newSession(&Set{tables: c.tables})
			s.Begin(ev)
			s.SetKin(detectors.Kin{Known: true, By: "user/1/a", ByKey: "LTAI5tEXAMPLEalice00001", Root: "user/1/r", Action: event.ActIAMUserCreate, Sentence: "so"})
			want, err := s.slowScalar(p.code)
			if err != nil {
				t.Fatal(err)
			}
			if p.text == nil {
				t.Errorf("%s has no native form", src)
			} else if got := p.text(s); got != want {
				t.Errorf("%s as %d is %q natively and %q on the machine", src, u, got, want)
			}
			for range 2 {
				if got, err := s.word(p); got != want || err != nil {
					t.Errorf("%s as %d is the word %q (%v) natively and %q on the machine", src, u, got, err, want)
				}
			}
		}
	}
}

// A sentence of the judge is in Chinese where only the Chinese text has it, too.
func TestChineseSentence(t *testing.T) {
	rule := makeRule("x", `action == "iam.policy.attach" && policy.expands`, "title_zh: t\nreason_zh: \"{policy.sentence}。\"\n")
	rule = bytes.Replace(rule, []byte("reason: r"), []byte("reason: \"{actor.root ? policy.sentence : actor.name}\""), 1)
	set := load(t, LoadOptions{}, rule)
	s := newSession(set)
	for range 2 {
		s.Begin(parse(t, map[string]any{"eventName": "AttachPolicyToUser"}))
		s.SetPolicy(detectors.PolicyFacts{Expands: true, Sentence: "bob may do more", SentenceZH: "bob 权限扩大"})
		if ok, err := s.Match(0); !ok || err != nil {
			t.Fatal(ok, err)
		}
		d, err := s.Detection(0, nil, detectors.Pair{})
		if want := "bob 权限扩大。"; err != nil || d.ReasonZH != want {
			t.Fatalf("%q, %v; want %q", d.ReasonZH, err, want)
		}
	}
}

// What is remembered of a kind of event is what each event of it says.
func TestWordsOfAKind(t *testing.T) {
	var kinds [][]*event.Event
	for _, k := range [][]map[string]any{
		{{"eventName": "CreateUser", "serviceName": "Ram", "eventRW": "Write"}, {"eventName": "CREATEUSER", "serviceName": "RAM", "eventRW": "Read"}, {"eventName": "createuser", "serviceName": "ram", "eventRW": "x",
			"userIdentity": map[string]any{"type": "ram-user", "userName": "bob", "accountId": "1000000000000002"}, "sourceIpAddress": "203.0.113.9", "acsRegion": "cn-beijing"}},
		{{"eventName": "CREATEİÜser", "serviceName": "Ärm", "eventRW": "Read"}, {"eventName": "createİÜSER", "serviceName": "Ärm", "eventRW": "Write"}},
	} {
		var evs []*event.Event
		for _, o := range k {
			ev := parse(t, o)
			if len(evs) > 0 && (ev.NameFold != evs[0].NameFold || ev.ServiceFold != evs[0].ServiceFold || ev.Action != evs[0].Action) {
				t.Fatalf("%v is of another kind", o)
			}
			evs = append(evs, ev)
		}
		kinds = append(kinds, evs)
	}
	exprs := []string{`lower(event.service) + ":" + lower(event.name)`, `lower(event.service) + (event.rw == "Write" ? " write" : " read")`, `event.name`, `action`, `event.rw`, `lower(event.name)`, `event.service + action`,
		`event.service + ":" + actor.id`, `event.name + source.network`, `param("UserName") + event.name`, `event.name + event.region`, `(event.name == "CreateUser" ? "a" : "b") + outcome`, `event.service + event.user_agent`}
	kept := 0
	for _, src := range exprs {
		c := &compiler{tables: &tables{}, cache: map[string]*program{}}
		p, faults := c.compile(src, useKey, allowed{})
		if p == nil {
			t.Fatal(src, faults)
		}
		kept += p.kinds
		s := newSession(&Set{tables: c.tables})
		for _, evs := range kinds {
			var words []string
			for range 2 {
				for _, ev := range evs {
					s.Begin(ev)
					want, err := s.word(p)
					s.BeginKind(ev, &words)
					got, err2 := s.word(p)
					if err != nil || err2 != nil || got != want {
						t.Errorf("%s of %s is %q (%v), of its kind %q (%v)", src, ev.Name, want, err, got, err2)
					}
				}
			}
		}
	}
	if kept != 7 {
		t.Errorf("%d of the texts are remembered, want 7", kept)
	}
}

// Evaluators of one set work side by side.
func TestEvaluatorsInParallel(t *testing.T) {
	set := load(t, LoadOptions{}, rule1, rule2)
	done := make(chan int)
	for range 4 {
		go func() {
			eval, n := set.NewEvaluator(), 0
			for range 200 {
				ev, err := event.Parse(record(map[string]any{"eventName": "CreateAccessKey", "requestParameters": map[string]any{"UserName": "bob"}}))
				if err == nil {
					v := eval.Evaluate(ev)
					n += v.Matches()
				}
			}
			done <- n
		}()
	}
	for range 4 {
		if n := <-done; n != 200 {
			t.Errorf("%d matches, want 200", n)
		}
	}
}

// Whatever conditions are joined, the native form and the machine agree.
func TestNativeEqualsMachine(t *testing.T) {
	leaves := []string{
		`event.name == "CreateUser"`, `event.name matches "^(create|get)"`, `event.service in ["Ram", "ims"]`, `event.error_code != ""`, `event.error_code in ["", "nopermission"]`,
		`action startsWith "iam."`, `actor.root`, `target.self`, `actor.kind == "human"`, `source.kind != "public"`, `in_cidr(source.ip, "203.0.113.0/25", "2001:db8::/32")`,
		`param("UserName") in ["bob", "alice"]`, `param("UserName") == ""`, `param_is("username", "BOB")`, `param_is("N", "true")`, `param_is("N", "false")`, `has_param("UserName")`, `param_num("N", 5) > 4`, `params_contain("o")`,
		`contains_any(event.user_agent, ["Console", "x"])`, `any(["x", "console"], lower(event.user_agent) contains #)`, `any(["UserName", "N"], param(#) == "bob")`, `len(actor.name) > 3`,
		`policy.known`, `policy.expands`, `!policy.admin_equivalent`, `policy.privileged == true`, `policy.staged`, `policy.external_trust`, `policy.public_trust`, `policy.deny_removed`, `policy.self`, `policy.trail`,
		`lineage.root == "user/1/bob"`, `lineage.known`, `trust.external`, `trust.public`, `trust.federated`, `event.region == "CN-hangzhou"`, `event.type == "apicall"`, `one_of_list("office_networks", source.ip)`, `one_of_list("own_principals", actor.name)`, `mfa != "yes"`, `event.hour in [9, 10]`, `event.weekday in [0, 6]`, `event.weekday not in [1.0, 2]`, `source.asn in []`, `len(split(param("UserName"), "o")) > 1`, `len(split(event.name, "e")) == 2`, `len(split(lower(event.name), "e")) < 4`, `len(split(event.name, "")) > 3`, `true`,
	}
	lists := map[string][]string{"office_networks": {"203.0.113.0/24"}, "own_principals": {"ALICE"}}
	rapid.Check(t, func(rt *rapid.T) {
		var draw func(depth int) string
		draw = func(depth int) string {
			leaf := rapid.SampledFrom(leaves)
			if depth == 0 {
				return leaf.Draw(rt, "leaf")
			}
			a, b := draw(depth-1), draw(depth-1)
			return rapid.SampledFrom([]string{"(" + a + " && " + b + ")", "(" + a + " || " + b + ")", "!(" + a + ")", "(" + a + " ? " + b + " : " + leaf.Draw(rt, "else") + ")"}).Draw(rt, "op")
		}
		src := draw(rapid.IntRange(0, 3).Draw(rt, "depth"))
		set := load(t, LoadOptions{Lists: lists}, makeRule("x", src, ""))
		s := newSession(set)
		for range 5 {
			pick := func(of ...any) any { return rapid.SampledFrom(of).Draw(rt, "value") }
			ev := parse(t, map[string]any{
				"eventName": pick("CreateUser", "GETUSER", "RunInstances"), "serviceName": pick("Ram", "IMS", "Ecs", ""), "errorCode": pick("", "NoPermission", "X"),
				"sourceIpAddress": pick("203.0.113.5", "203.0.113.200", "10.0.0.1", "ecs.aliyuncs.com", "2001:db8::1", nil), "acsRegion": pick("cn-hangzhou", "CN-Hangzhou", nil),
				"requestParameters": pick(nil, map[string]any{"UserName": "bob"}, map[string]any{"UserName": "alice", "N": "3"}, map[string]any{"N": "x"}, map[string]any{"N": 0}, map[string]any{"N": " TRUE"}), "userAgent": pick("AliyunConsole", "curl", nil),
				"eventType": pick("ApiCall", "APICALL", "Other"),
			})
			s.Begin(ev)
			if rapid.Bool().Draw(rt, "filled") {
				s.fill()
			}
			judged := rapid.Bool().Draw(rt, "judged")
			may := s.MayMatch(0, judged)
			if judged {
				yes := func() bool { return rapid.Bool().Draw(rt, "fact") }
				s.SetPolicy(detectors.PolicyFacts{Known: yes(), Expands: yes(), AdminEquivalent: yes(), Privileged: yes(), Staged: yes(), ExternalTrust: yes(),
					PublicTrust: yes(), FederatedTrust: yes(), DenyRemoved: yes(), Self: yes(), Trail: yes()})
			}
			if rapid.Bool().Draw(rt, "kin") {
				s.SetKin(detectors.Kin{Known: true, Root: "user/1/" + rapid.SampledFrom([]string{"bob", "eve"}).Draw(rt, "root")})
			}
			fast, err1 := s.Match(0)
			if fast && !may {
				rt.Fatalf("%s matches, and was not to be able to for\n%s", src, ev.Raw())
			}
			slow, err2 := s.truth(set.rules[0].match.code)
			if err1 != nil || err2 != nil || fast != slow {
				rt.Fatalf("%s is %t (%v) natively and %t (%v) on the machine for\n%s", src, fast, err1, slow, err2, ev.Raw())
			}
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add(rule1)
	f.Add(rule2)
	f.Add(makeRule("x", `any([1], any([2], true)) || event.name in ["a"]`, ""))
	f.Add([]byte("id: [a, {b: c}]\nversion: {}\n? x\n: y\ndetector: {type: counter, steps: [1, {name: a, match: 'true'}], by: x}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("id: x\ntitle: '{'\nreason: '{a{b}c}'\nmatch: \"\\u0000\\x41\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Load(LoadOptions{Files: map[string][]byte{"x.yaml": data}, Factories: testFactories})
		if (set == nil) == (err == nil) {
			t.Fatal("neither a set nor an error, or both")
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an empty error")
			}
			return
		}
		Lint(set)
		Test(set)
	})
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{`event.name == "x"`, `a ? b : c`, `param("x") in [1]`, `let x = 1; x`, `in_cidr(source.ip, "::/0")`, `#`, `not (actor.root and (1 == 1))`, `"a" matches "("`, `policy.known`, `-1 .. 2`} {
		f.Add(s)
	}
	ev, err := event.Parse(record(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c := &compiler{tables: &tables{}, cache: map[string]*program{}}
		p, faults := c.compile(src, useMatch, allowed{policy: true})
		if p == nil {
			if len(faults) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		s := newSession(&Set{tables: c.tables})
		s.Begin(ev)
		got, err := s.truth(p.code)
		if err != nil {
			return
		}
		if fast, err := s.holds(p); err != nil || fast != got {
			t.Fatalf("%q is %t on the machine and %t (%v) natively", src, got, fast, err)
		}
		// What is derived for the index is never stronger than the expression.
		if got && !p.cond.Possible(ev.NameFold, string(ev.Action), ev.ServiceFold) {
			t.Fatalf("%q is true for an event that the index leaves out", src)
		}
	})
}

// A record that does not say when it happened has no hour: nothing is
// invented for it.
func TestNoTimeNoHour(t *testing.T) {
	for _, src := range []string{`event.hour == -1 && event.weekday == -1`, `string(event.hour) + "/" + string(event.weekday) == "-1/-1"`} {
		set := load(t, LoadOptions{}, makeRule("x", src, ""))
		s := set.NewSession()
		s.Begin(parse(t, map[string]any{"eventTime": nil}))
		if got, err := s.Match(0); err != nil || !got {
			t.Errorf("%s is %t, %v", src, got, err)
		}
	}
}

// An explanation shows lists, and asks for no value of what is evaluated for each
// element of one; the parts of a part stand further in.
func TestExplanationShowsLists(t *testing.T) {
	set := load(t, LoadOptions{}, makeRule("x.lists", `action == "iam.role.update" && (trust.public || any(trust.accounts, # != "1" && param(#) == "")) && len(policy.paths) == 0`, ""))
	ev, err := event.Parse([]byte(`{"eventId":"e1","eventName":"UpdateRole","serviceName":"Ram","eventTime":"2026-01-05T10:00:00Z","recipientAccountId":"1000000000000001",
		"userIdentity":{"type":"ram-user","accountId":"1000000000000001","userName":"alice"},
		"requestParameters":{"RoleName":"deployer","NewAssumeRolePolicyDocument":"{\"Version\":\"1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"sts:AssumeRole\",\"Principal\":{\"RAM\":[\"acs:ram::1999999999999999:root\"]}}]}"}}`))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := set.Explain("x.lists", ev)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{"\n  ✗ any of\n    ✗ trust.public", "(trust.accounts = [])", "(policy.paths = [])"} {
		if !strings.Contains(got, want) {
			t.Errorf("explanation lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "not known") {
		t.Errorf("something is not known:\n%s", got)
	}
}

// What a person writes by mistake is refused with what was meant.
func TestMistakesAreAnswered(t *testing.T) {
	const is = `action == "iam.user.create" && `
	for _, c := range []struct{ match, detector, want string }{
		{`action == "iam.user.create" AND mfa == "no"`, "", `:8:31: unexpected token Identifier("AND"); operators have`},
		{is + `source.ip == "10.0.0.0/8"`, "", `source.ip is one address: it is never "10.0.0.0/8", and holds no network; in_cidr(source.ip, "10.0.0.0/8")`},
		{is + `source.ip in ["203.0.113.7", "10.0.0.0/8"]`, "", `in_cidr(source.ip, "10.0.0.0/8")`},
		{is + `source.ip == "ecs.aliyuncs.com"`, "", "such as a service's name, is source.text"},
		{is + `source.ip in office_networks`, "", `unknown name "office_networks"; ask a list with one_of_list("office_networks", source.ip)`},
		{is + `in_cidr(source.ip, office_networks)`, "", `one_of_list("office_networks", source.ip)`},
		{is + `param(UserName) == "bob"`, "", `the parameter of param must be a constant text; write "UserName"`},
		{is + `param("MaxPasswordAge") > 90`, "", `param_num("X", -1)`},
		{is + `mfa == false`, "", "a truth value stands alone"},
		{is + `actor.root == "true"`, "", "a truth value stands alone"},
		{is + `actor.root`, "detector: {type: distinct, by: source.ip, count: 3, window: 10m}", `the detector distinct needs "value": what is counted or remembered; for example value: source.ip`},
		{is + `actor.root`, "detector: {type: distinct, by: [actor.id, source.ip], value: event.id, count: 3, window: 10m}", `want text, this is a list; one text; several parts of an expression are joined`},
		// These are as they should be.
		{is + `(source.ip == "" || source.ip == "203.0.113.7" || source.ip startsWith "10.")`, "", ""},
		{is + `actor.root`, "detector: {type: distinct, by: source.ip, value: actor.id, count: 3, window: 10m}", ""},
	} {
		doc := string(makeRule("x.mistake", c.match, ""))
		if c.detector != "" {
			doc = strings.Replace(doc, "reason: r\n", c.detector+"\nreason: r\n", 1)
		}
		_, err := Load(LoadOptions{Files: map[string][]byte{"rules/x.mistake.yaml": []byte(doc)}, Factories: map[string]detectors.Factory{"distinct": counterFactory}, AllowFewTests: true})
		switch got := fmt.Sprint(err); {
		case c.want == "" && err != nil:
			t.Errorf("%s %s: %v", c.match, c.detector, err)
		case !strings.Contains(got, c.want) && c.want != "":
			t.Errorf("%s %s:\n%s\nwant %s", c.match, c.detector, got, c.want)
		case strings.Contains(got, "needs \"by\""):
			t.Errorf("%s %s: by is there:\n%s", c.match, c.detector, got)
		}
	}
}
