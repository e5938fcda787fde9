package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	acct  = "1000000000000001"
	acct2 = "2000000000000002"
	uid   = "200000000000000017" // beyond 2^53
)

// record builds one record from a base and JSON overrides of its top-level
// keys; an override of "" drops the key.
func record(t testing.TB, overrides map[string]string) []byte {
	t.Helper()
	m := map[string]json.RawMessage{
		"eventId": []byte(`"E-1"`), "eventName": []byte(`"DescribeInstances"`), "serviceName": []byte(`"Ecs"`), "eventType": []byte(`"ApiCall"`),
		"eventTime": []byte(`"2026-01-05T08:15:42Z"`), "sourceIpAddress": []byte(`"203.0.113.7"`),
		"userIdentity": []byte(ramUser("alice")),
	}
	for k, v := range overrides {
		if v == "" {
			delete(m, k)
		} else {
			m[k] = []byte(v)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ramUser(name string) string {
	return fmt.Sprintf(`{"type":"ram-user","accountId":%q,"principalId":%q,"userName":%q}`, acct, uid, name)
}

const rootIdentity = `{"type":"root-account","accountId":"` + acct + `","principalId":"` + acct + `","userName":"boss@example.com"}`

func mustParse(t testing.TB, overrides map[string]string) *Event {
	t.Helper()
	ev, err := Parse(record(t, overrides))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestTopLevel(t *testing.T) {
	ev := mustParse(t, map[string]string{
		"eventRW": `"Write"`, "eventCategory": `"Management"`, "acsRegion": `"cn-hangzhou"`, "requestId": `"R-1"`, "apiVersion": `"2014-05-26"`,
		"userAgent": `"aliyuncli"`, "vpcId": `"vpc-1"`, "recipientAccountId": `"` + acct2 + `"`, "isGlobal": `"True"`, "eventAttributes": `{"SensitiveAction":"true"}`,
		"eventSource": `"ecs.aliyuncs.com"`, "eventVersion": `1`,
	})
	want := Event{ID: "E-1", Name: "DescribeInstances", NameFold: "describeinstances", Service: "Ecs", ServiceFold: "ecs", Type: "ApiCall",
		Time: time.Date(2026, 1, 5, 8, 15, 42, 0, time.UTC), RW: Write, Category: "Management", Region: "cn-hangzhou", RequestID: "R-1",
		APIVersion: "2014-05-26", UserAgent: "aliyuncli", VPCID: "vpc-1", Recipient: acct2, Global: true, Sensitive: true, Source: "ecs.aliyuncs.com",
		Address: Address{AddressPublic, netip.MustParseAddr("203.0.113.7"), "203.0.113.7"},
		Actor:   Actor{Type: RAMUser, Kind: Human, Account: acct, Principal: uid, Name: "alice", Display: "alice", ID: "user/" + acct + "/alice"}}
	got := *ev
	got.raw, got.subs = nil, subdocs{}
	want.raw, want.subs = nil, subdocs{}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if v, ok := ev.Field("eventVersion"); !ok || v != "1" {
		t.Errorf("eventVersion %q %v", v, ok)
	}
}

// TestKeyCase: product pages write top-level keys in PascalCase, collectors
// in lower case.
func TestKeyCase(t *testing.T) {
	plain := record(t, map[string]string{"requestParameters": `{"RegionId":"r"}`, "additionalEventData": `{"mfaChecked":"true"}`, "eventName": `"ConsoleSignin"`, "serviceName": `"AasSub"`})
	var m map[string]json.RawMessage
	if err := json.Unmarshal(plain, &m); err != nil {
		t.Fatal(err)
	}
	for _, recase := range []func(string) string{
		func(k string) string { return strings.ToUpper(k[:1]) + k[1:] }, strings.ToLower, strings.ToUpper,
	} {
		n := map[string]json.RawMessage{}
		for k, v := range m {
			n[recase(k)] = v
		}
		b, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if v, _ := ev.Param("regionid"); ev.Actor.ID != "user/"+acct+"/alice" || ev.MFA != Yes || v != "r" || ev.Time.IsZero() || ev.Action != ActSignInConsole {
			t.Errorf("%s: %+v", b, ev)
		}
	}
	// Escapes in keys are the same key.
	ev, err := Parse([]byte(`{"event\u004eame":"X","userIdentity":{"typ\u0065":"system"}}`))
	if err != nil || ev.Name != "X" || ev.Actor.Type != System {
		t.Errorf("%+v %v", ev, err)
	}
}

func TestErrors(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		in     string
		want   Reason
		offset int
	}{
		{"", ReasonEmpty, 0},
		{" \r\n\t", ReasonEmpty, 0},
		{"[]", ReasonNotEvent, 0},
		{"null", ReasonNotEvent, 0},
		{`"text"`, ReasonNotEvent, 0},
		{" 12", ReasonNotEvent, 1},
		{"{}", ReasonNotEvent, 0},
		{`{"eventId":"1"}`, ReasonNotEvent, 0},
		{`{"Events":[]}`, ReasonNotEvent, 0},
		{`{`, ReasonTruncated, 1},
		{`{"eventName":"x"`, ReasonTruncated, 16},
		{`{"eventName":"x","a":"b`, ReasonTruncated, 23},
		{`{"eventName":"x","a":tr`, ReasonTruncated, 23},
		{`{"eventName":"x","a":"\u12`, ReasonTruncated, 26},
		{`{"eventName":"x","a":-`, ReasonTruncated, 22},
		{`[1,2`, ReasonTruncated, 4},
		{`{"eventName":"x",}`, ReasonNotJSON, 17},
		{`{"eventName":"x"}}`, ReasonNotJSON, 17},
		{`{"eventName":"x"} {}`, ReasonNotJSON, 18},
		{`{"eventName":"x" "a":1}`, ReasonNotJSON, 17},
		{`{"eventName":"x","a":01}`, ReasonNotJSON, 22},
		{`{"eventName":"x","a":.5}`, ReasonNotJSON, 21},
		{`{"eventName":"x","a":"\x"}`, ReasonNotJSON, 23},
		{"{\"eventName\":\"x\ty\"}", ReasonNotJSON, 15},
		{`{'eventName':'x'}`, ReasonNotJSON, 1},
		{`<html>`, ReasonNotJSON, 0},
		{`2026-01-05 08:00:00 INFO something`, ReasonNotJSON, 4},
		{"\x1f\x8b\x08\x00\x00", ReasonBinary, 0},
		{"{\"eventName\":\"x\x00\"}", ReasonBinary, 15},
		{"\xff\xfe{", ReasonBinary, 0},
		{`{"eventName":"x","a":` + deep(63) + `}`, "", 0},
		{`{"eventName":"x","a":` + deep(64) + `}`, ReasonTooDeep, 84},
		{`{"a":` + strings.Repeat(`{"b":`, 70), ReasonTooDeep, 320},
		{deep(65), ReasonTooDeep, 64},
		{`{"eventName":"x","eventTime":"yesterday"}`, ReasonBadTime, 0},
		{`{"eventName":"x","eventTime":"2026-02-30T00:00:00Z"}`, ReasonBadTime, 0},
		{`{"eventName":"x","eventTime":1767600942}`, ReasonBadTime, 0},
		{`{"eventName":"x","pad":"` + strings.Repeat("x", MaxRecord) + `"}`, ReasonTooLarge, MaxRecord},
		{`{"EventID":"1","EventProduct":"ECS","EventName":"Restart","EventType":"ALIYUN_INITIATED_SERVICE","EmployeeID":"x"}`, ReasonNotEvent, 0},
		{`{"EventID":"1","EventProduct":"ECS","EventName":"Restart","EventType":"CUSTOMER_INITIATED_SUPPORT"}`, ReasonNotEvent, 0},
	} {
		ev, err := Parse([]byte(c.in))
		if c.want == "" {
			if err != nil {
				t.Errorf("%.60s: %v", c.in, err)
			}
			continue
		}
		var pe *ParseError
		if !errors.As(err, &pe) || ev != nil {
			t.Errorf("%.60s: event %v, error %v", c.in, ev, err)
			continue
		}
		if pe.Reason != c.want || pe.Offset != c.offset {
			t.Errorf("%.60s: %s at %d, want %s at %d", c.in, pe.Reason, pe.Offset, c.want, c.offset)
		}
		if !slices.Contains(Reasons(), pe.Reason) || !strings.Contains(pe.Error(), string(pe.Reason)) {
			t.Errorf("%v is not listed", pe)
		}
	}
}

// TestOutcome is the failure test of the reference, section 1.6.
func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		code, message string // JSON; "" is absent
		outcome       Outcome
		cleanCode     string
	}{
		{"", "", Success, ""},
		{`""`, `""`, Success, ""},
		{"", `"success"`, Success, ""},
		{"", `" Success "`, Success, ""},
		{`"null"`, `"NULL"`, Success, ""},
		{`null`, `null`, Success, ""},
		{`"\"\""`, "", Success, ""},
		{`"200"`, `"OK"`, Success, ""},
		{`200`, "", Success, ""},
		{`"\"NoPermission\""`, `"no"`, Attempt, "NoPermission"},
		{`"Forbidden.RAM"`, `"success"`, Attempt, "Forbidden.RAM"},
		{`"202"`, `"not buy user"`, Attempt, "202"},
		{`202`, "", Attempt, "202"},
		{"", `"Incorrect password."`, Attempt, ""},
		{`"success"`, `"something went wrong"`, Attempt, ""},
	} {
		ev := mustParse(t, map[string]string{"errorCode": c.code, "errorMessage": c.message})
		if ev.Outcome != c.outcome || ev.ErrorCode != c.cleanCode {
			t.Errorf("code %s message %s: %v %q", c.code, c.message, ev.Outcome, ev.ErrorCode)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		identity string
		more     map[string]string
		want     Actor
	}{
		{rootIdentity, nil, Actor{Type: RootAccount, Kind: Human, Name: "root", Display: "boss@example.com", ID: "root/" + acct, Account: acct, Principal: acct}},
		// Type missing: principal and account are one.
		{`{"accountId":"` + acct + `","principalId":"` + acct + `","userName":"x"}`, nil,
			Actor{Type: RootAccount, Kind: Human, Name: "root", Display: "x", ID: "root/" + acct, Account: acct, Principal: acct}},
		{`{"accountId":1000000000000001,"principalId":1000000000000001}`, nil,
			Actor{Type: RootAccount, Kind: Human, Name: "root", ID: "root/" + acct, Account: acct, Principal: acct}},
		// A RAM user may be named root, and may share its number in fixtures.
		{`{"type":"ram-user","accountId":"` + acct + `","principalId":"` + acct + `","userName":"root"}`, nil,
			Actor{Type: RAMUser, Kind: Human, Name: "root", Display: "root", ID: "user/" + acct + "/root", Account: acct, Principal: acct}},
		{`{"type":"RAM-User","accountId":"` + acct + `","principalId":` + uid + `,"userName":"Alice@` + acct + `.onaliyun.com"}`, nil,
			Actor{Type: RAMUser, Kind: Human, Name: "Alice", Display: "Alice@" + acct + ".onaliyun.com", ID: "user/" + acct + "/alice", Account: acct, Principal: uid}},
		// A masked name is no name: the number stands for it.
		{`{"type":"ram-user","accountId":"` + acct + `","principalId":"` + uid + `","userName":"***"}`, nil,
			Actor{Type: RAMUser, Kind: Human, Name: "***", Display: "***", ID: "user/" + acct + "/id:" + uid, Account: acct, Principal: uid}},
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:s1","userName":"Deployer:s1","accessKeyId":"STS.EXAMPLE1"}`,
			map[string]string{"requestParameters": `{"stsTokenPlayerUid":2000000000000002}`},
			Actor{Type: AssumedRole, Kind: Workload, Name: "Deployer", Display: "Deployer:s1", ID: "role/" + acct + "/deployer", Account: acct, Principal: "300:s1",
				Role: "Deployer", Session: "s1", CallerAccount: acct2, Key: "STS.EXAMPLE1", KeyKind: KeySTS}},
		// Its own account is no outside caller; a number in text is the same.
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:s1","userName":"Deployer:s1"}`,
			map[string]string{"requestParameterJson": `"{\"stsTokenPlayerUid\":` + acct + `}"`, "eventType": `"ConsoleOperation"`},
			Actor{Type: AssumedRole, Kind: Human, Name: "Deployer", Display: "Deployer:s1", ID: "role/" + acct + "/deployer", Account: acct, Principal: "300:s1", Role: "Deployer", Session: "s1"}},
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:s1","userName":"Deployer:s1"}`,
			map[string]string{"requestParameterJson": `"{\"stsTokenPlayerUid\":\"` + acct2 + `\"}"`, "requestParameters": `"{\"stsTokenPlayerUid\":\"` + acct2 + `\"}"`},
			Actor{Type: AssumedRole, Kind: Workload, Name: "Deployer", Display: "Deployer:s1", ID: "role/" + acct + "/deployer", Account: acct, Principal: "300:s1", Role: "Deployer", Session: "s1", CallerAccount: acct2}},
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:s1"}`, nil,
			Actor{Type: AssumedRole, Kind: Workload, ID: "role/" + acct + "/id:300", Account: acct, Principal: "300:s1", Session: "s1"}},
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:x","userName":"AliyunServiceRoleForEss:x"}`, nil,
			Actor{Type: AssumedRole, Kind: Service, Name: "AliyunServiceRoleForEss", Display: "AliyunServiceRoleForEss:x", ID: "role/" + acct + "/aliyunserviceroleforess",
				Account: acct, Principal: "300:x", Role: "AliyunServiceRoleForEss", Session: "x", ServiceLinked: true}},
		{`{"type":"saml-user","accountId":"` + acct + `","userName":"Alice@one.example"}`, nil,
			Actor{Type: SAMLUser, Kind: Human, Name: "Alice@one.example", Display: "Alice@one.example", ID: "saml/" + acct + "/alice@one.example", Account: acct}},
		{`{"type":"oidc-user","accountId":"` + acct + `","userName":"repo:acme/app"}`, nil,
			Actor{Type: OIDCUser, Kind: Workload, Name: "repo:acme/app", Display: "repo:acme/app", ID: "oidc/" + acct + "/repo:acme/app", Account: acct}},
		{`{"type":"cloudsso-user","accountId":"` + acct + `","userName":"Carol@corp.onaliyun.com"}`, nil,
			Actor{Type: CloudSSOUser, Kind: Human, Name: "Carol", Display: "Carol@corp.onaliyun.com", ID: "sso/" + acct + "/carol", Account: acct}},
		{`{"type":"system","userName":"ecs.aliyuncs.com"}`, map[string]string{"recipientAccountId": `"` + acct + `"`},
			Actor{Type: System, Kind: Service, Name: "ecs.aliyuncs.com", Display: "ecs.aliyuncs.com", ID: "service/ecs.aliyuncs.com"}},
		{`{"type":"system"}`, nil, Actor{Type: System, Kind: Service, ID: "service/ecs"}},
		{`{"type":"system"}`, map[string]string{"sourceIpAddress": `"rds.aliyuncs.com"`}, Actor{Type: System, Kind: Service, ID: "service/rds.aliyuncs.com"}},
		{`{"type":"alibaba-cloud-account","accountId":"` + acct + `","userName":"x"}`, nil,
			Actor{Type: CloudAccount, Kind: Human, Name: "x", Display: "x", ID: "account/" + acct + "/x", Account: acct}},
		{`{"type":"martian","accountId":"` + acct + `","userName":"x"}`, nil, Actor{Name: "x", Display: "x", ID: "unknown/" + acct + "/x", Account: acct}},
		{`{}`, nil, Actor{}},
		{`"{\"type\":\"ram-user\",\"accountId\":\"` + acct + `\",\"userName\":\"alice\"}"`, nil,
			Actor{Type: RAMUser, Kind: Human, Name: "alice", Display: "alice", ID: "user/" + acct + "/alice", Account: acct}},
		// Whoever acts through a service (a ROS stack, an OOS task) is still
		// themselves: the address alone makes nobody the cloud.
		{ramUser("alice"), map[string]string{"sourceIpAddress": `"ros.aliyuncs.com"`},
			Actor{Type: RAMUser, Kind: Workload, Name: "alice", Display: "alice", ID: "user/" + acct + "/alice", Account: acct, Principal: uid}},
		{rootIdentity, map[string]string{"sourceIpAddress": `"ros.aliyuncs.com"`, "userAgent": `"aliyuncli"`},
			Actor{Type: RootAccount, Kind: Workload, Name: "root", Display: "boss@example.com", ID: "root/" + acct, Account: acct, Principal: acct}},
		{`{"type":"assumed-role","accountId":"` + acct + `","principalId":"300:s1","userName":"Deployer:s1"}`,
			map[string]string{"sourceIpAddress": `"oos.aliyuncs.com"`, "eventType": `"ConsoleOperation"`},
			Actor{Type: AssumedRole, Kind: Workload, Name: "Deployer", Display: "Deployer:s1", ID: "role/" + acct + "/deployer", Account: acct, Principal: "300:s1", Role: "Deployer", Session: "s1"}},
		{`{"accountId":"` + acct + `","userName":"x"}`, map[string]string{"sourceIpAddress": `"ros.aliyuncs.com"`},
			Actor{Name: "x", Display: "x", ID: "unknown/" + acct + "/x", Account: acct}},
		// In an identity the word null is what shippers write for nothing.
		{`{"type":"ram-user","accountId":"` + acct + `","principalId":"` + uid + `","userName":"null"}`, nil,
			Actor{Type: RAMUser, Kind: Human, ID: "user/" + acct + "/id:" + uid, Account: acct, Principal: uid}},
	} {
		o := map[string]string{"userIdentity": c.identity}
		for k, v := range c.more {
			o[k] = v
		}
		if ev := mustParse(t, o); ev.Actor != c.want {
			t.Errorf("%s %v:\n got %+v\nwant %+v", c.identity, c.more, ev.Actor, c.want)
		}
	}
	if ev := mustParse(t, map[string]string{"userIdentity": ""}); ev.Actor != (Actor{}) || ev.Recipient != "" {
		t.Errorf("no identity: %+v", ev.Actor)
	}
	if got := ActorID("user", acct, "Alice@corp.onaliyun.com"); got != "user/"+acct+"/alice" {
		t.Error(got)
	}
	if got := RootID(acct); got != "root/"+acct {
		t.Error(got)
	}
}

func TestKeyKinds(t *testing.T) {
	for key, want := range map[string]KeyKind{
		"": KeyNone, "NULL": KeyNone, "null": KeyNone, "LTAI5tEXAMPLEalice00001": KeyLongTerm, "LTAI********xfky": KeyLongTerm,
		"0wEXAMPLEzy7szva": KeyLongTerm, "STS.EXAMPLE0001": KeySTS, "sts.example": KeySTS, "STS.EXAMPLE****": KeySTS, "TMP.EXAMPLE0001": KeyTemporary,
		"****************": KeyMasked, "abc***": KeyMasked, "abc123.abc123": KeyOther, "0wEXAMPLEzy7szv": KeyOther,
	} {
		if got := KeyKindOf(key); got != want {
			t.Errorf("%q: %v, want %v", key, got, want)
		}
	}
	// The literal NULL is no key.
	ev := mustParse(t, map[string]string{"userIdentity": `{"type":"root-account","accountId":"` + acct + `","accessKeyId":"NULL"}`})
	if ev.Actor.Key != "" || ev.Actor.KeyKind != KeyNone || ev.Actor.Kind != Human {
		t.Errorf("%+v", ev.Actor)
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]struct {
		kind AddressKind
		ip   string
	}{
		"": {AddressAbsent, ""}, "null": {AddressAbsent, ""}, "203.0.113.9": {AddressPublic, "203.0.113.9"}, " 203.0.113.9 ": {AddressPublic, "203.0.113.9"},
		"::ffff:203.0.113.9": {AddressPublic, "203.0.113.9"}, "::ffff:cb00:7109": {AddressPublic, "203.0.113.9"},
		"2001:DB8:0:0:0:0:0:1": {AddressPublic, "2001:db8::1"}, "2001:db8::1": {AddressPublic, "2001:db8::1"}, "[2001:db8::1]": {AddressPublic, "2001:db8::1"},
		"203.0.113.9:443": {AddressPublic, "203.0.113.9"}, "[2001:db8::1]:443": {AddressPublic, "2001:db8::1"}, "fe80::1%eth0": {AddressPrivate, "fe80::1"},
		"10.1.2.3": {AddressPrivate, "10.1.2.3"}, "172.16.0.1": {AddressPrivate, "172.16.0.1"}, "192.168.1.1": {AddressPrivate, "192.168.1.1"},
		"127.0.0.1": {AddressPrivate, "127.0.0.1"}, "fd00::1": {AddressPrivate, "fd00::1"}, "169.254.1.1": {AddressPrivate, "169.254.1.1"},
		"11.168.3.4": {AddressCloudInternal, "11.168.3.4"}, "100.64.0.1": {AddressCloudInternal, "100.64.0.1"}, "100.127.255.255": {AddressCloudInternal, "100.127.255.255"},
		"100.128.0.1": {AddressPublic, "100.128.0.1"}, "0.0.0.0": {AddressOther, ""}, "::": {AddressOther, ""}, "224.0.0.1": {AddressOther, ""},
		"ecs.aliyuncs.com": {AddressService, ""}, "Audit.Log.Aliyuncs.com": {AddressService, ""}, "aliyuncs.com": {AddressOther, ""}, "evil-aliyuncs.com": {AddressOther, ""},
		"aliyuncs.com.evil.example": {AddressOther, ""}, "x y.aliyuncs.com": {AddressOther, ""},
		"Internal": {AddressInternal, ""}, "internal": {AddressInternal, ""}, "42.120.XX.XX": {AddressMasked, ""}, "1.2.3.***": {AddressMasked, ""},
		"100.**.***.69": {AddressMasked, ""}, "2409:8a20:****": {AddressMasked, ""}, "xyz": {AddressOther, ""}, "1.2.3": {AddressOther, ""}, "1.2.3.4, 5.6.7.8": {AddressOther, ""},
		"1.2.3.256": {AddressOther, ""}, strings.Repeat("1", 100): {AddressOther, ""},
	} {
		a := ParseAddress(in)
		ip := ""
		if a.IP.IsValid() {
			ip = a.IP.String()
		}
		if a.Kind != want.kind || ip != want.ip {
			t.Errorf("%q: %v %q, want %v %q", in, a.Kind, ip, want.kind, want.ip)
		}
		if a.IP.IsValid() != (a.Kind == AddressPublic || a.Kind == AddressPrivate || a.Kind == AddressCloudInternal) {
			t.Errorf("%q: kind %v with IP %v", in, a.Kind, a.IP)
		}
	}
	// Internal, with the browser's address in a parameter of the console.
	for params, want := range map[string]Address{
		`{"UserClientIp":"203.0.113.9"}`:       {AddressPublic, netip.MustParseAddr("203.0.113.9"), "203.0.113.9"},
		`{"UserClientIp":"100.**.***.69"}`:     {AddressMasked, netip.Addr{}, "100.**.***.69"},
		`{"UserClientIp":"nonsense"}`:          {AddressInternal, netip.Addr{}, "Internal"},
		`"{\"UserClientIp\":\"203.0.113.9\"}"`: {AddressPublic, netip.MustParseAddr("203.0.113.9"), "203.0.113.9"},
	} {
		if ev := mustParse(t, map[string]string{"sourceIpAddress": `"Internal"`, "requestParameters": params}); ev.Address != want {
			t.Errorf("%s: %+v", params, ev.Address)
		}
	}
	// The parameter counts for nothing where there is an address.
	if ev := mustParse(t, map[string]string{"requestParameters": `{"UserClientIp":"192.0.2.1"}`}); ev.Address.Text != "203.0.113.7" {
		t.Errorf("%+v", ev.Address)
	}
}

func TestMFA(t *testing.T) {
	session := func(mfa string) string {
		return strings.TrimSuffix(ramUser("alice"), "}") + `,"sessionContext":{"attributes":{"mfaAuthenticated":` + mfa + `}}}`
	}
	old := strings.TrimSuffix(ramUser("alice"), "}") + `,"sessionContext":{"sessionAttributes":{"mfaAuthenticated":"true"}}}`
	role := `{"type":"assumed-role","accountId":"` + acct + `","principalId":"3:s","userName":"r:s","sessionContext":{"attributes":{"mfaAuthenticated":"false"}}}`
	signin := func(svc string, more map[string]string) map[string]string {
		m := map[string]string{"eventName": `"ConsoleSignin"`, "serviceName": `"` + svc + `"`}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	for i, c := range []struct {
		in   map[string]string
		want Tri
	}{
		{nil, Unknown},
		{map[string]string{"userIdentity": session(`"true"`)}, Yes},
		{map[string]string{"userIdentity": session(`"false"`)}, No},
		{map[string]string{"userIdentity": session(`true`)}, Yes},
		{map[string]string{"userIdentity": session(`"maybe"`)}, Unknown},
		{map[string]string{"userIdentity": old}, Yes},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"false"}`}), No},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":true}`}), Yes},
		{signin("AasSub", map[string]string{"additionalEventData": `{"isMFAChecked":"True"}`}), Yes},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":0}`}), No},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"No"}`}), No},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"FALSE "}`}), No},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"1"}`}), Yes},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":" yes"}`}), Yes},
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"2"}`}), Unknown},
		{signin("AasCustomer", map[string]string{"additionalEventData": `{"isMFAChecked":"false"}`, "userIdentity": rootIdentity}), No},
		{signin("AasCustomer", map[string]string{"additionalEventData": `{"mfaChecked":"true"}`, "userIdentity": rootIdentity}), Yes},
		{signin("AasCustomer", map[string]string{"additionalEventData": `{"mfaChecked":"true","isMFAChecked":"false"}`, "userIdentity": rootIdentity}), No},
		{signin("AasCustomer", map[string]string{"addionalEventData": `{"isMFAChecked":"false"}`, "userIdentity": rootIdentity}), No},
		{signin("AasSub", map[string]string{"additionalEventData": `"{\"mfaChecked\":\"false\"}"`}), No},
		// The sign-in's own flag wins over the session.
		{signin("AasSub", map[string]string{"additionalEventData": `{"mfaChecked":"true"}`, "userIdentity": session(`"false"`)}), Yes},
		{signin("AasSub", nil), Unknown},
		{signin("AasSub", map[string]string{"userIdentity": session(`"false"`)}), No},
		{signin("AasSub", map[string]string{"userIdentity": role}), Unknown},
		{map[string]string{"eventName": `"Login"`, "serviceName": `"CloudSSO"`, "requestParameters": `{"MFAAuthenticated":"true"}`}, Yes},
		{map[string]string{"eventName": `"Login"`, "serviceName": `"CloudSSO"`, "requestParameterJson": `"{\"MFAAuthenticated\":false}"`}, No},
		{map[string]string{"eventName": `"Login"`, "serviceName": `"CloudSSO"`, "requestParameters": `{"LoginMethod":"saml"}`}, Unknown},
	} {
		if ev := mustParse(t, c.in); ev.MFA != c.want {
			t.Errorf("%d %v: %v, want %v", i, c.in, ev.MFA, c.want)
		}
	}
}

// TestTargets goes through every identity event of the reference, section 3.
func TestTargets(t *testing.T) {
	u := func(n string) Target {
		return Target{Type: "user", ID: "user/" + acct + "/" + strings.ToLower(n), Name: n}
	}
	upn := func(n string) string { return `{"UserPrincipalName":"` + n + `@` + acct + `.onaliyun.com"}` }
	withKey := func(tg Target, k string) Target { tg.Key = k; return tg }
	for _, c := range []struct {
		service, name, params, response string
		action                          Action
		want                            Target
	}{
		{"Ram", "CreateAccessKey", `{"UserName":"bob"}`, `{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEbob000001"}}`, ActIAMAccessKeyCreate, withKey(u("bob"), "LTAI5tEXAMPLEbob000001")},
		{"Ims", "CreateAccessKey", upn("bob"), `{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEbob000001"}}`, ActIAMAccessKeyCreate, withKey(u("bob"), "LTAI5tEXAMPLEbob000001")},
		{"Ims", "CreateAccessKey", `{}`, "", ActIAMAccessKeyCreate, u("Alice")},
		{"ram", "createaccesskey", `{"UserName":""}`, "", ActIAMAccessKeyCreate, u("Alice")},
		{"Ims", "UpdateAccessKey", `{"UserAccessKeyId":"LTAI5tEXAMPLEbob000001","Status":"Active","UserPrincipalName":"bob@x.onaliyun.com"}`, "", ActIAMAccessKeyUpdate, withKey(u("bob"), "LTAI5tEXAMPLEbob000001")},
		{"Ram", "UpdateAccessKey", `{"UserAccessKeyId":"LTAI5tEXAMPLEalice0001"}`, "", ActIAMAccessKeyUpdate, withKey(u("Alice"), "LTAI5tEXAMPLEalice0001")},
		{"Ram", "DeleteAccessKey", `{"UserAccessKeyId":"LTAI5tEXAMPLEbob000001","UserName":"bob"}`, "", ActIAMAccessKeyDelete, withKey(u("bob"), "LTAI5tEXAMPLEbob000001")},
		{"Ims", "SetAccessKeyPolicy", `{"UserAccessKeyId":"LTAI5tEXAMPLEbob000001","UserPrincipalName":"bob@x.onaliyun.com","AccessKeyPolicy":"{}"}`, "", ActIAMAccessKeyPolicySet, withKey(u("bob"), "LTAI5tEXAMPLEbob000001")},
		{"Ims", "SetAccessKeyPolicy", `{"UserAccessKeyId":"LTAI5tEXAMPLEalice0001"}`, "", ActIAMAccessKeyPolicySet, withKey(u("Alice"), "LTAI5tEXAMPLEalice0001")},
		{"Ims", "RestoreAccessKeyFromRecycleBin", `{"UserAccessKeyId":"LTAI5tEXAMPLEbob000001","UserId":"200000000000000099"}`, "", ActIAMAccessKeyRestore,
			Target{Type: "user", ID: "user/" + acct + "/id:200000000000000099", Name: "200000000000000099", Key: "LTAI5tEXAMPLEbob000001"}},
		{"Ims", "RestoreAccessKeyFromRecycleBin", `{"UserAccessKeyId":"LTAI5tEXAMPLEalice0001","UserId":"` + uid + `"}`, "", ActIAMAccessKeyRestore, withKey(u("Alice"), "LTAI5tEXAMPLEalice0001")},
		{"Ims", "CreateUser", `{"DisplayName":"x"}`, `{"User":{"UserPrincipalName":"bob@x.onaliyun.com"}}`, ActIAMUserCreate, u("bob")},
		{"Ram", "CreateUser", `{"UserName":"Bob"}`, "", ActIAMUserCreate, u("Bob")},
		{"Ims", "UpdateLoginProfile", upn("bob"), "", ActIAMLoginProfileUpdate, u("bob")},
		{"Ram", "CreateLoginProfile", `{"UserName":"bob"}`, "", ActIAMLoginProfileCreate, u("bob")},
		{"Ram", "UnbindMFADevice", `{"UserName":"bob"}`, "", ActIAMMFAUnbind, u("bob")},
		{"Ims", "UnbindMFADevice", upn("bob"), "", ActIAMMFAUnbind, u("bob")},
		{"AasSub", "BindMFADevice", `{}`, "", ActIAMMFABind, u("Alice")},
		{"Ims", "DisableVirtualMFA", upn("bob"), "", ActIAMMFAVirtualDisable, u("bob")},
		{"Ims", "DeletePasskey", `{"PasskeyId":"p1"}`, "", ActIAMPasskeyDelete, u("Alice")},
		{"Ims", "DeletePasskey", `{"PasskeyId":"p1","UserPrincipalName":"bob@x"}`, "", ActIAMPasskeyDelete, u("bob")},
		{"Ram", "DeleteVirtualMFADevice", `{"SerialNumber":"acs:ram::` + acct + `:mfa/device-1"}`, "", ActIAMMFAVirtualDelete, Target{Type: "mfa", ID: "mfa/" + acct + "/device-1", Name: "device-1"}},
		{"Ims", "UnbindVerification", upn("bob"), "", ActIAMVerificationUnbind, u("bob")},
		{"Ims", "SetVerificationInfo", upn("bob"), "", ActIAMVerificationSet, u("bob")},
		{"Ram", "SetSecurityPreference", `{}`, "", ActIAMSecurityPreferenceSet, Target{Type: "account", ID: "account/" + acct, Name: acct}},
		{"Ims", "SetPasswordPolicy", `{}`, "", ActIAMPasswordPolicySet, Target{Type: "account", ID: "account/" + acct, Name: acct}},
		{"Ims", "ChangePassword", `{}`, "", ActIAMPasswordChange, u("Alice")},
		{"Ram", "AttachPolicyToUser", `{"UserName":"alice","PolicyName":"AdministratorAccess"}`, "", ActIAMPolicyAttach, u("alice")},
		{"Ram", "AttachPolicyToGroup", `{"GroupName":"Admins"}`, "", ActIAMPolicyAttach, Target{Type: "group", ID: "group/" + acct + "/admins", Name: "Admins"}},
		{"Ram", "AttachPolicyToRole", `{"RoleName":"Ops"}`, "", ActIAMPolicyAttach, Target{Type: "role", ID: "role/" + acct + "/ops", Name: "Ops"}},
		{"ResourceManager", "AttachPolicy", `{"PrincipalName":"bob@` + acct + `.onaliyun.com","PrincipalType":"IMSUser"}`, "", ActIAMPolicyAttach, u("bob")},
		{"ResourceManager", "AttachPolicy", `{"PrincipalName":"Admins@group.` + acct + `.onaliyun.com","PrincipalType":"IMSGroup"}`, "", ActIAMPolicyAttach, Target{Type: "group", ID: "group/" + acct + "/admins", Name: "Admins"}},
		{"ResourceManager", "DetachPolicy", `{"PrincipalName":"Ops@role.` + acct + `.onaliyunservice.com","PrincipalType":"ServiceRole"}`, "", ActIAMPolicyDetach, Target{Type: "role", ID: "role/" + acct + "/ops", Name: "Ops"}},
		{"ResourceManager", "AttachPolicy", `{"PrincipalName":"Ops@role.` + acct + `.onaliyunservice.com"}`, "", ActIAMPolicyAttach, Target{Type: "role", ID: "role/" + acct + "/ops", Name: "Ops"}},
		{"ResourceManager", "AttachPolicy", `{"PrincipalName":"Admins@group.x"}`, "", ActIAMPolicyAttach, Target{Type: "group", ID: "group/" + acct + "/admins", Name: "Admins"}},
		{"Ram", "CreatePolicyVersion", `{"PolicyName":"P1"}`, "", ActIAMPolicyVersionCreate, Target{Type: "policy", ID: "policy/" + acct + "/p1", Name: "P1"}},
		{"ResourceManager", "SetDefaultPolicyVersion", `{"PolicyName":"P1"}`, "", ActIAMPolicyVersionSetDefault, Target{Type: "policy", ID: "policy/" + acct + "/p1", Name: "P1"}},
		{"Ram", "UpdateRole", `{"RoleName":"Ops"}`, "", ActIAMRoleUpdate, Target{Type: "role", ID: "role/" + acct + "/ops", Name: "Ops"}},
		{"Ram", "AddUserToGroup", `{"UserName":"bob","GroupName":"Admins"}`, "", ActIAMGroupAddUser, u("bob")},
		{"Ims", "AddUserToGroup", `{"UserPrincipalName":"bob@x","GroupPrincipalName":"Admins@group.x"}`, "", ActIAMGroupAddUser, u("bob")},
		{"Ims", "UpdateSAMLProvider", `{"SAMLProviderName":"okta"}`, "", ActIAMSAMLProviderUpdate, Target{Type: "idp", ID: "idp/" + acct + "/okta", Name: "okta"}},
		{"Ims", "AddFingerprintToOIDCProvider", `{"OIDCProviderName":"gh"}`, "", ActIAMOIDCProviderUpdate, Target{Type: "idp", ID: "idp/" + acct + "/gh", Name: "gh"}},
		{"Sts", "AssumeRole", `{"RoleArn":"acs:ram::` + acct2 + `:role/Deployer"}`, `{"credentials":{"accessKeyId":"STS.EXAMPLE9"}}`, ActSTSAssumeRole,
			Target{Type: "role", ID: "role/" + acct2 + "/deployer", Name: "Deployer", Key: "STS.EXAMPLE9"}},
		{"Sts", "AssumeRole", `{"RoleArn":"nonsense"}`, "", ActSTSAssumeRole, Target{}},
		{"CloudSSO", "DeleteMFADeviceForUser", `{"DirectoryId":"d-1","UserId":"u-1"}`, "", ActSSOMFADeviceDelete, Target{Type: "sso-user", ID: "sso/" + acct + "/id:u-1", Name: "u-1"}},
		{"CloudSSO", "CreateUser", `{"UserName":"carol@corp"}`, "", ActSSOUserCreate, Target{Type: "sso-user", ID: "sso/" + acct + "/carol", Name: "carol"}},
		{"CloudSSO", "UpdateMFAAuthenticationSettings", `{"DirectoryId":"d-1"}`, "", ActSSOMFAWeaken, Target{Type: "sso-directory", ID: "sso-directory/" + acct + "/d-1", Name: "d-1"}},
		{"ResourceDirectoryMaster", "DetachControlPolicy", `{"PolicyId":"cp-1"}`, "", ActOrgControlPolicyDetach, Target{Type: "control-policy", ID: "control-policy/" + acct + "/cp-1", Name: "cp-1"}},
		{"ResourceManager", "RemoveCloudAccount", `{"AccountId":"` + acct2 + `"}`, "", ActOrgAccountRemove, Target{Type: "member", ID: "member/" + acct + "/" + acct2, Name: acct2}},
		{"Actiontrail", "StopLogging", `{"Name":"main"}`, "", ActTrailStop, Target{Type: "trail", ID: "trail/" + acct + "/main", Name: "main"}},
		{"Log", "DeleteLogStore", `{"project":"p","logstore":"actiontrail_main"}`, "", ActSLSLogstoreDelete, Target{Type: "logstore", ID: "logstore/" + acct + "/actiontrail_main", Name: "actiontrail_main"}},
		{"Sls", "DeleteProject", `{"ProjectName":"p"}`, "", ActSLSProjectDelete, Target{Type: "project", ID: "project/" + acct + "/p", Name: "p"}},
		{"Kms", "ScheduleKeyDeletion", `{"KeyId":"k-1"}`, "", ActKMSKeyScheduleDeletion, Target{Type: "key", ID: "key/" + acct + "/k-1", Name: "k-1"}},
		{"aegis", "ModifyWebLockStatus", `{"Uuid":"h-1"}`, "", ActSASWebLockUpdate, Target{Type: "host", ID: "host/" + acct + "/h-1", Name: "h-1"}},
		{"RDS", "DeleteDBInstance", `{"DBInstanceId":"rm-1"}`, "", ActRDSInstanceDelete, Target{Type: "db", ID: "db/" + acct + "/rm-1", Name: "rm-1"}},
		// Hidden behind a masked name: shown, equal to nobody.
		{"Ram", "CreateAccessKey", `{"UserName":"***"}`, "", ActIAMAccessKeyCreate, Target{Type: "user", Name: "***"}},
		// The spelling that the service ignores cannot hide the one it reads.
		{"Ims", "CreateAccessKey", `{"UserName":"decoy","UserPrincipalName":"bob@x"}`, "", ActIAMAccessKeyCreate, u("bob")},
		{"Ram", "CreateAccessKey", `{"UserPrincipalName":"decoy@x","UserName":"bob"}`, "", ActIAMAccessKeyCreate, u("bob")},
		// Nor can it, nor an id, make a call about oneself one about another.
		{"Ram", "CreateAccessKey", `{"UserPrincipalName":"decoy@x"}`, "", ActIAMAccessKeyCreate, u("Alice")},
		{"Ims", "CreateAccessKey", `{"UserName":"decoy"}`, "", ActIAMAccessKeyCreate, u("Alice")},
		{"Ims", "UpdateAccessKey", `{"UserName":"decoy","UserAccessKeyId":"LTAI5tEXAMPLEalice0001"}`, "", ActIAMAccessKeyUpdate, withKey(u("Alice"), "LTAI5tEXAMPLEalice0001")},
		{"Ram", "UnbindMFADevice", `{"UserId":"200000000000000099"}`, "", ActIAMMFAUnbind, u("Alice")},
		{"AasSub", "BindMFADevice", `{"UserName":"decoy","UserPrincipalName":"decoy@x"}`, "", ActIAMMFABind, u("Alice")},
		// A user may be called null.
		{"Ram", "CreateAccessKey", `{"UserName":"null"}`, "", ActIAMAccessKeyCreate, u("null")},
		{"Ims", "CreateUser", `{}`, `{"User":{"UserPrincipalName":"Null"}}`, ActIAMUserCreate, u("Null")},
		{"Ims", "CreateAccessKey", `{"UserPrincipalName":null}`, "", ActIAMAccessKeyCreate, u("Alice")},
		// The same words of another service are another act.
		{"DataWorks", "DeleteProject", `{"ProjectName":"p"}`, "", "", Target{}},
		{"Alidns", "DeleteDomain", `{"DomainName":"example.com"}`, "", ActDNSDomainDelete, Target{Type: "domain", ID: "domain/" + acct + "/example.com", Name: "example.com"}},
	} {
		o := map[string]string{"serviceName": `"` + c.service + `"`, "eventName": `"` + c.name + `"`, "requestParameters": c.params, "responseElements": c.response,
			"userIdentity": ramUser("Alice")}
		check := func(how string) {
			t.Helper()
			ev := mustParse(t, o)
			if ev.Action != c.action || ev.Target != c.want {
				t.Errorf("%s %s:%s %s: action %q\n got %+v\nwant %+v", how, c.service, c.name, c.params, ev.Action, ev.Target, c.want)
			}
			if got := ActionOf(c.service, c.name); got != c.action {
				t.Errorf("ActionOf(%s, %s) = %q", c.service, c.name, got)
			}
		}
		check("object")
		quoted, err := json.Marshal(c.params)
		if err != nil {
			t.Fatal(err)
		}
		o["requestParameters"] = string(quoted)
		check("text")
		o["requestParameterJson"] = string(quoted)
		o["requestParameters"] = ""
		check("requestParameterJson")
		o["requestParameters"] = `{}`
		check("both")
	}
}

// TestSelf: acting on oneself is equality of two ids, whatever the spelling.
func TestSelf(t *testing.T) {
	for _, actor := range []string{"alice", "Alice", "alice@" + acct + ".onaliyun.com"} {
		for service, params := range map[string]string{"Ram": `{"UserName":"alice"}`, "Ims": `{"UserPrincipalName":"ALICE@corp.onaliyun.com"}`} {
			ev := mustParse(t, map[string]string{"serviceName": `"` + service + `"`, "eventName": `"CreateAccessKey"`, "userIdentity": ramUser(actor), "requestParameters": params})
			if ev.Target.ID != ev.Actor.ID {
				t.Errorf("%s by %s: %q is not %q", params, actor, ev.Target.ID, ev.Actor.ID)
			}
		}
	}
	ev := mustParse(t, map[string]string{"serviceName": `"Ims"`, "eventName": `"CreateAccessKey"`, "userIdentity": rootIdentity, "requestParameters": `{"charset":"UTF-8"}`})
	if ev.Target.ID != ev.Actor.ID || ev.Target.Type != "account" {
		t.Errorf("root's own key: %+v", ev.Target)
	}
	for _, name := range []string{"MFAUnbind", "PasswordReset"} {
		ev := mustParse(t, map[string]string{"serviceName": `"AasCustomer"`, "eventName": `"` + name + `"`, "userIdentity": rootIdentity})
		if ev.Action == "" || ev.Target.ID != RootID(acct) {
			t.Errorf("%s: %q %+v", name, ev.Action, ev.Target)
		}
	}
}

// TestServiceFromHost: records without serviceName are placed by their host.
func TestServiceFromHost(t *testing.T) {
	for source, want := range map[string]Action{
		"ims-share.aliyuncs.com": ActIAMUserCreate, "ram.aliyuncs.com": ActIAMUserCreate, "cloudsso.aliyuncs.com": ActSSOUserCreate, "example.com": "", "": "",
	} {
		ev := mustParse(t, map[string]string{"serviceName": "", "eventName": `"CreateUser"`, "eventSource": `"` + source + `"`, "requestParameters": `{"UserName":"bob"}`})
		if ev.Action != want {
			t.Errorf("%q: %q", source, ev.Action)
		}
	}
	ev := mustParse(t, map[string]string{"serviceName": "", "eventName": `"ConsoleSignin"`, "eventSource": `"http://account.aliyun.com/login/login_aliyun.htm"`})
	if ev.Action != ActSignInConsole {
		t.Error(ev.Action)
	}
	// One line in the catalogue only: the name says it all.
	if ev := mustParse(t, map[string]string{"serviceName": "", "eventName": `"StopLogging"`}); ev.Action != ActTrailStop {
		t.Error(ev.Action)
	}
}

func TestParams(t *testing.T) {
	ev := mustParse(t, map[string]string{"requestParameters": `{"A":"text","n":123456789012345678901,"b":false,"z":null,"o":{"x":[1,{"y":"deep"}]},"Tag.1.Key":"k",
		"esc":"a\"b\\c\u00e9\ud83d\ude00","dup":1,"dup":2,"Case":"exact","case":"other","js":"{\"in\":{\"side\":\"yes\"}}","e":""}`})
	for path, want := range map[string]string{
		"A": "text", "a": "text", "n": "123456789012345678901", "b": "false", "o": `{"x":[1,{"y":"deep"}]}`, "o.x.1.y": "deep", "o.x.0": "1", "o.X": `[1,{"y":"deep"}]`,
		"Tag.1.Key": "k", "tag.1.key": "k", "esc": "a\"b\\cé😀", "dup": "2", "Case": "exact", "case": "other", "CASE": "other", "js.in.side": "yes", "js": `{"in":{"side":"yes"}}`, "e": "",
	} {
		if got, ok := ev.Param(path); !ok || got != want {
			t.Errorf("%s: %q %v, want %q", path, got, ok, want)
		}
		if got, ok := ev.Field("requestParameters." + path); !ok || got != want {
			t.Errorf("Field %s: %q %v, want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"z", "none", "o.x.2", "o.x.-1", "o.x.y", "A.b", "", "Tag", "o.", "."} {
		if got, ok := ev.Param(path); ok {
			t.Errorf("%q: %q", path, got)
		}
	}
	var keys []string
	ev.EachParam(func(k, v string) bool { keys = append(keys, k+"="+v); return k != "b" })
	if got := strings.Join(keys, " "); got != "A=text n=123456789012345678901 b=false" {
		t.Error(got)
	}
}

func TestParamSources(t *testing.T) {
	type m = map[string]string
	for i, c := range []struct {
		in   m
		want string // EachParam
	}{
		{m{}, ""},
		{m{"requestParameters": `{"A":"1"}`}, "A=1"},
		{m{"requestParameters": `"{\"A\":\"1\"}"`}, "A=1"},
		{m{"requestParameterJson": `"{\"A\":1,\"B\":null}"`}, "A=1"},
		{m{"requestParameterJson": `{"A":1}`}, "A=1"},
		{m{"requestParameters": `{}`, "requestParameterJson": `"{\"A\":1}"`}, "A=1"},
		{m{"requestParameters": `{"A":"1"}`, "requestParameterJson": `"{\"a\":2,\"B\":3}"`}, "A=1 B=3"},
		{m{"requestParameters": `"not json"`, "requestParameterJson": `"{\"A\":1}"`}, "A=1"},
		{m{"requestParameterJson": `"{\"A\":abc123}"`}, ""},
		{m{"requestParameters": `"null"`, "requestParameterJson": `""`}, ""},
		{m{"requestParameters": `[1]`, "requestParameterJson": `7`}, ""},
		{m{"requestParameterJson": `"{\"\\u0041\":1}"`}, "A=1"},
		{m{"requestParameterJson": `"\u007b\"A\":1}"`}, "A=1"},
	} {
		ev := mustParse(t, c.in)
		var got []string
		ev.EachParam(func(k, v string) bool { got = append(got, k+"="+v); return true })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%d: %v, want %q", i, got, c.want)
		}
		v, ok := ev.Param("a")
		if want := strings.HasPrefix(c.want, "A=1"); ok != want || ok && v != "1" {
			t.Errorf("%d: Param %q %v", i, v, ok)
		}
		if ev.HasParams() != (c.want != "") {
			t.Errorf("%d: HasParams", i)
		}
	}
}

func TestResources(t *testing.T) {
	type m = map[string]string
	for i, c := range []struct {
		in   m
		want string
	}{
		{m{}, ""},
		{m{"referencedResources": `{"ACS::RAM::User":["a","b"],"Policy":["p"]}`}, "ACS::RAM::User=a ACS::RAM::User=b Policy=p"},
		{m{"referencedResources": `[{"resourceType":"T","resourceName":"n"},{"resourceType":"U"}]`}, "T=n"},
		{m{"referencedResources": `{"T":"n"}`}, "T=n"},
		{m{"referencedResources": `"{\"T\":[\"n\"]}"`}, "T=n"},
		{m{"resourceType": `"T;U"`, "resourceName": `"a,b;c"`}, "T=a T=b U=c"},
		{m{"referencedResources": `{}`, "resourceType": `"T"`, "resourceName": `"a"`}, "T=a"},
		{m{"referencedResources": `{"T":["x"]}`, "resourceType": `"T"`, "resourceName": `"x"`}, "T=x"},
		{m{"resourceType": `"T"`, "resourceName": `""`}, ""},
		{m{"resourceType": `"null"`, "resourceName": `"null"`}, ""},
	} {
		ev := mustParse(t, c.in)
		var got []string
		ev.Resources(func(typ, name string) bool { got = append(got, typ+"="+name); return true })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%d: %v, want %q", i, got, c.want)
		}
		n := 0
		ev.Resources(func(string, string) bool { n++; return false })
		if want := min(1, len(got)); n != want {
			t.Errorf("%d: asked to stop, went on to %d", i, n)
		}
	}
}

func TestInsight(t *testing.T) {
	for _, in := range []string{
		`{"eventId":"1","eventCategory":"Insight","eventTime":"2026-01-05T08:00:00Z","insightDetails":{"insightType":"IpInsight"}}`,
		`{"eventId":"1","eventType":"ActionTrailInsight","insightDetails":{"insightType":"IpInsight"}}`,
		`{"eventId":"1","insightDetails":"{\"insightType\":\"IpInsight\"}"}`,
	} {
		ev, err := Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if ev.Name != "" || ev.Category != "Insight" || ev.InsightType != "IpInsight" {
			t.Errorf("%s: %+v", in, ev)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-05T08:15:42Z": "2026-01-05T08:15:42Z", "2020-12-01T11:54:59.366+0000": "2020-12-01T11:54:59.366Z", "2020-12-01T19:54:59+08:00": "2020-12-01T11:54:59Z",
		"2020-12-01T11:54:59.1-0130": "2020-12-01T13:24:59.1Z", "2024-02-29T00:00:00Z": "2024-02-29T00:00:00Z", "2026-01-05 08:15:42Z": "2026-01-05T08:15:42Z",
		"2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z", "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
	} {
		got, ok := parseTime(in)
		if !ok || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v %v, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-05T24:00:00Z", "2026-01-05T08:15:42", "2026-01-05T08:15:42.Z", "2026-01-05T08:15:42+8",
		"2026-01-05T08:15:42 08:00", "2026-01-05T08:15:42x0800", "20260105T081542Z0000", "2026-01-05T08:15:42Zjunk", "0000-01-01T00:00:00Z",
		// Of years that JSON cannot write, in UTC.
		"9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"} {
		if got, ok := parseTime(in); ok {
			t.Errorf("%s: %v", in, got)
		}
	}
	if ev := mustParse(t, map[string]string{"eventTime": ""}); !ev.Time.IsZero() {
		t.Error(ev.Time)
	}
}

func TestInvalidUTF8(t *testing.T) {
	ev, err := Parse([]byte("{\"eventName\":\"X\",\"userAgent\":\"a\xffb\",\"requestParameters\":{\"p\":\"\xc3\"},\"userIdentity\":{\"userName\":\"\\ud800x\"}}"))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := ev.Param("p")
	if ev.UserAgent != "a\ufffdb" || p != "\ufffd" || ev.Actor.Display != "\ufffdx" {
		t.Errorf("%q %q %q", ev.UserAgent, p, ev.Actor.Display)
	}
	if !strings.Contains(string(ev.Raw()), "\xff") {
		t.Error("Raw does not keep the bytes")
	}
}

func TestReuse(t *testing.T) {
	var p Parser
	ev := new(Event)
	if err := p.Parse(record(t, map[string]string{"errorCode": `"X\u0041"`, "recipientAccountId": `"` + acct2 + `"`, "requestParameters": `{"a":1}`}), ev); err != nil {
		t.Fatal(err)
	}
	clone := ev.Clone()
	if err := p.Parse([]byte(`{"eventName":"Y"}`), ev); err != nil {
		t.Fatal(err)
	}
	if ev.ErrorCode != "" || ev.Recipient != "" || ev.HasParams() || ev.Actor != (Actor{}) || ev.Outcome != Success {
		t.Errorf("left over: %+v", ev)
	}
	if clone.ErrorCode != "XA" || clone.Recipient != acct2 || !clone.HasParams() || clone.Actor.ID != "user/"+acct+"/alice" {
		t.Errorf("clone: %+v", clone)
	}
	if (&Event{ID: "x"}).Clone().ID != "x" {
		t.Error("an Event that was made by hand is copied as it is")
	}
}

func TestAllocations(t *testing.T) {
	var p Parser
	ev := new(Event)
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Parse(benchRecord, ev); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("reused: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(benchRecord); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("new: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { ev.Param("RegionId"); ev.Param("NotThere"); ev.Response("requestid") }); n != 0 {
		t.Errorf("accessors: %v allocations", n)
	}
}

// TestConcurrentReads is for the race detector: nothing is cached.
func TestConcurrentReads(t *testing.T) {
	ev, err := Parse(benchRecord)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				v, _ := ev.Param("tag.1.value")
				f, _ := ev.Field("requestParameterJson.PageSize")
				if v != "payments" || f != "50" {
					t.Errorf("%q %q", v, f)
				}
				ev.EachParam(func(string, string) bool { return true })
				ev.Resources(func(string, string) bool { return true })
				ev.DedupKey()
				ev.Clone()
			}
		})
	}
	wg.Wait()
}

func TestDedupKey(t *testing.T) {
	a := mustParse(t, nil)
	seen := map[[16]byte]string{}
	for name, o := range map[string]map[string]string{
		"same id, other account": {"recipientAccountId": `"` + acct2 + `"`}, "other id": {"eventId": `"E-2"`}, "no id": {"eventId": ""},
		"no id, other bytes": {"eventId": "", "eventName": `"X"`},
	} {
		k := mustParse(t, o).DedupKey()
		if other, ok := seen[k]; ok || k == a.DedupKey() {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
	// The same act through two trails, one of which repeats the account.
	if b := mustParse(t, map[string]string{"recipientAccountId": `"` + acct + `"`, "eventName": `"Other"`}); b.DedupKey() != a.DedupKey() {
		t.Error("the key depends on more than account and id")
	}
	for _, id := range []string{"", "E-1", "7F3C2A90-1B2D-5E4F-8A6B-0C1D2E3F4A5B"} {
		h := fnv.New128a()
		h.Write([]byte(acct + "\x00" + id))
		if got := begun(acct).add(id).sum(); string(got[:]) != string(h.Sum(nil)) {
			t.Errorf("%q: %x is not FNV-1a", id, got)
		}
	}
}

// A Keyer says what the event says, whatever accounts it has met before.
func TestKeyer(t *testing.T) {
	var k Keyer
	ev := &Event{raw: []byte("{}")}
	for i := range 3 {
		for n := range 500 {
			ev.ID, ev.Recipient = "E-"+strconv.Itoa(n%7), strconv.Itoa(n*1234567)
			switch n % 50 {
			case 10:
				ev.ID = ""
			case 20:
				ev.Recipient = ""
			case 30:
				ev.Recipient = strings.Repeat("9", maxMemo+n)
			}
			if got, want := k.DedupKey(ev), ev.DedupKey(); got != want {
				t.Fatalf("round %d: account %q, id %q: %x, want %x", i, ev.Recipient, ev.ID, got, want)
			}
		}
	}
}

// Passing keys are equal where keys are, whichever Keyer made them.
func TestPassingKeys(t *testing.T) {
	keyers := [2]Keyer{{Passing: true}, {Passing: true}}
	want, got := map[[16]byte]int{}, map[[16]byte]int{}
	ev := &Event{raw: []byte("{}")}
	for n := range 2000 {
		ev.ID, ev.Recipient = "E-"+strconv.Itoa(n%70), strconv.Itoa(n%30*1234567)
		switch n % 50 {
		case 10:
			ev.ID = ""
		case 20:
			ev.Recipient = ""
		case 30:
			ev.Recipient = strings.Repeat("9", maxMemo+n%3)
		}
		a, b := want[ev.DedupKey()], got[keyers[n%2].DedupKey(ev)]
		if a != b {
			t.Fatalf("account %q, id %q: like that of event %d, by passing keys like that of %d", ev.Recipient, ev.ID, a, b)
		}
		want[ev.DedupKey()], got[keyers[n%2].DedupKey(ev)] = n+1, n+1
	}
	if len(want) != len(got) {
		t.Fatalf("%d keys, %d passing ones", len(want), len(got))
	}
}

func TestPartition(t *testing.T) {
	if Partition("x", 0) != 0 || Partition("x", 1) != 0 || Partition("", -3) != 0 {
		t.Error("one partition is partition 0")
	}
	counts := make([]int, 8)
	for i := range 8000 {
		counts[Partition(fmt.Sprintf("10000000%08d", i), 8)]++
	}
	for p, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("partition %d has %d of 8000", p, n)
		}
	}
	h := fnv.New32a()
	h.Write([]byte(acct))
	if got := Partition(acct, 1<<30); got != int(h.Sum32()%(1<<30)) {
		t.Errorf("%d is not FNV-1a", got)
	}
}

func TestWords(t *testing.T) {
	check := func(words []string, str func(uint8) string) {
		t.Helper()
		seen := map[string]bool{}
		for i, want := range words {
			if got := str(uint8(i)); got != want || seen[got] {
				t.Errorf("%d is %q, want %q, once", i, got, want)
			}
			seen[want] = true
		}
		for _, i := range []uint8{uint8(len(words)), 200} {
			if w := str(i); !strings.Contains(w, strconv.Itoa(int(i))) {
				t.Errorf("%d is %q", i, w)
			}
		}
	}
	check(outcomeWords, func(i uint8) string { return Outcome(i).String() })
	check(rwWords, func(i uint8) string { return RW(i).String() })
	check(triWords, func(i uint8) string { return Tri(i).String() })
	check(identityWords, func(i uint8) string { return IdentityType(i).String() })
	check(callerWords, func(i uint8) string { return CallerKind(i).String() })
	check(keyWords, func(i uint8) string { return KeyKind(i).String() })
	check(addressWords, func(i uint8) string { return AddressKind(i).String() })
}

func TestCatalogue(t *testing.T) {
	// The constants and the table name the same actions in the same order.
	var inTable []Action
	for _, e := range catalogue.entries {
		if !slices.Contains(inTable, e.action) {
			inTable = append(inTable, e.action)
		}
		for _, n := range e.names {
			if spelling, ok := KnownEvent(strings.ToUpper(n)); !ok || !strings.EqualFold(spelling, n) {
				t.Errorf("%s is not known", n)
			}
			for _, f := range e.families {
				for _, svc := range catalogue.aliases[f] {
					if ActionOf(svc, n) == "" {
						t.Errorf("%s:%s has no action", svc, n)
					}
				}
			}
		}
	}
	if !slices.Equal(inTable, Actions()) {
		t.Errorf("constants and actions.txt differ:\n%v\n%v", inTable, Actions())
	}
	for _, a := range Actions() {
		if len(EventNames(a)) == 0 || len(Services(a)) == 0 {
			t.Errorf("%s has no events or services", a)
		}
	}
	if got := EventNames(ActIAMPolicyAttach); !slices.Equal(got, []string{"AttachPolicyToUser", "AttachPolicyToGroup", "AttachPolicyToRole", "AttachPolicy"}) {
		t.Error(got)
	}
	if s, ok := KnownEvent("lookUPevents"); !ok || s != "LookupEvents" {
		t.Errorf("%q %v", s, ok)
	}
	for _, n := range []string{"", "CreateAccesKey", "\xff", strings.Repeat("x", 500)} {
		if s, ok := KnownEvent(n); ok {
			t.Errorf("%q is known as %q", n, s)
		}
	}
	if names := KnownEvents(); !slices.IsSorted(names) || len(names) < 1000 {
		t.Errorf("%d names", len(names))
	}
	for text, why := range map[string]string{
		"a | nosuch | X | user": "unknown family", "f = s\nf = t": "once", "f = s\ng = s": "two families", "f = s\na | f | X": "columns", "f = s\na | f | X | what": "unknown target",
	} {
		if _, err := parseCatalog(text, ""); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestHostileSize: the work grows with the size of a record, not with its
// square. The time-out of the test run is the bound.
func TestHostileSize(t *testing.T) {
	var params, flat strings.Builder
	params.WriteString(`{"a":1`)
	flat.WriteString(`{"event.eventName":"X"`)
	for i := range 100_000 {
		fmt.Fprintf(&params, `,"k%d":""`, i)
		fmt.Fprintf(&flat, `,"event.k%d":1`, i)
	}
	params.WriteString("}")
	flat.WriteString("}")
	text, err := json.Marshal(params.String())
	if err != nil {
		t.Fatal(err)
	}
	ev := mustParse(t, map[string]string{"requestParameters": params.String(), "requestParameterJson": string(text)})
	n := 0
	ev.EachParam(func(string, string) bool { n++; return true })
	if n != 100_001 {
		t.Errorf("%d parameters", n)
	}
	records, err := unwrapAll(flat.String())
	if err != nil || len(records) != 1 || len(records[0]) < 900_000 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func ExampleParse() {
	ev, err := Parse([]byte(`{"eventId":"E-1","eventName":"CreateAccessKey","serviceName":"Ims","eventTime":"2026-01-05T08:15:42Z","sourceIpAddress":"::ffff:203.0.113.9",
		"userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"200000000000000017","userName":"alice"},
		"requestParameters":"{\"UserPrincipalName\":\"Bob@1000000000000001.onaliyun.com\"}","responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEbob000001"}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ev.Action, ev.Outcome, ev.Address.IP)
	fmt.Println(ev.Actor.ID, "→", ev.Target.ID, ev.Target.Key)
	// Output:
	// iam.accesskey.create success 203.0.113.9
	// user/1000000000000001/alice → user/1000000000000001/bob LTAI5tEXAMPLEbob000001
}
