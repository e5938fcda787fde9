package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
)

// A session that made nothing is not in the lineage, but that it was is said: what
// was done with it belongs to who is asked about.
func TestSessionsWithoutOffspring(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 5, hour, 0, 0, 0, time.UTC) }
	session := func(n, hour int, maker, key string) *detectors.Birth {
		return &detectors.Birth{Child: fmt.Sprintf("key/STS.NEXAMPLE%d", n), Of: fmt.Sprintf("role/1/r%d", n), Maker: maker, Key: key, At: at(hour), Event: fmt.Sprint("e", n), Session: true}
	}
	tr := Trail{Entity: "LTAI5tEXAMPLE1", births: []*detectors.Birth{
		session(1, 1, "user/1/bob", "LTAI5tEXAMPLE1"),         // it begins the others
		session(9, 1, "user/1/bob", "LTAI5tEXAMPLE1"),         // its own, among what it did
		session(8, 1, "user/1/alice", "LTAI5tEXAMPLEanother"), // of another
	}}
	for n := range 7 {
		tr.births = append(tr.births, session(10+n, 2+n, "role/1/r1", "STS.NEXAMPLE1"))
	}
	tr.relate()
	var names []string
	for _, k := range tr.Offspring {
		names = append(names, k.Child)
	}
	if !slices.Equal(names, []string{"key/STS.NEXAMPLE1"}) {
		t.Errorf("it made %v", names)
	}
	if want := []string{"key/STS.NEXAMPLE16", "key/STS.NEXAMPLE15", "key/STS.NEXAMPLE14", "key/STS.NEXAMPLE13", "key/STS.NEXAMPLE12"}; tr.Sessions != 7 || !slices.Equal(tr.LastSessions, want) {
		t.Errorf("%d sessions, the latest %v", tr.Sessions, tr.LastSessions)
	}
}

// act writes a record of an act of a user on a target.
func act(id string, minute int, user, key, name, params, reply string) string {
	identity := fmt.Sprintf(`{"type":"ram-user","accountId":%q,"principalId":"1","userName":%q,"accessKeyId":%q}`, acct, user, key)
	if role, session, ok := strings.Cut(user, ":"); ok {
		identity = fmt.Sprintf(`{"type":"assumed-role","accountId":%q,"principalId":"3:%s","userName":"%s:%s","accessKeyId":%q}`, acct, session, role, session, key)
	}
	return fmt.Sprintf(`{"eventId":%q,"eventName":%q,"serviceName":"Ram","eventRW":"Write","eventTime":%q,"recipientAccountId":%q,"sourceIpAddress":"203.0.113.9","userIdentity":%s,"requestParameters":{%s},"responseElements":{%s}}`,
		id, name, t0.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339), acct, identity, params, reply)
}

// TestOpen: what was made is open until it is deleted, switched off or taken away, and
// again when it is switched on again; keys and logins stand first. A refused call ends
// nothing, and what ended before it was made is another one.
func TestOpen(t *testing.T) {
	const key1, key2, key3 = "LTAI5tEXAMPLEeve0000001", "LTAI5tEXAMPLEeve0000002", "LTAI5tEXAMPLEbob0000003"
	made := func(id string) string { return fmt.Sprintf(`"AccessKey":{"AccessKeyId":%q}`, id) }
	refused := strings.Replace(act("13", 13, "mona", "", "DeleteRole", `"RoleName":"helper"`, ""), `"requestParameters"`, `"errorCode":"NoPermission","requestParameters"`, 1)
	r := []string{
		act("00", 0, "mona", "", "DetachPolicyFromUser", `"UserName":"eve","PolicyName":"AdministratorAccess","PolicyType":"System"`, ""),
		act("01", 1, "mallory", "", "CreateUser", `"UserName":"eve"`, ""),
		act("02", 2, "mallory", "", "CreateAccessKey", `"UserName":"eve"`, made(key1)),
		act("03", 3, "mallory", "", "AttachPolicyToUser", `"UserName":"eve","PolicyName":"AdministratorAccess","PolicyType":"System"`, ""),
		act("04", 4, "mallory", "", "AddUserToGroup", `"UserName":"eve","GroupName":"admins"`, ""),
		act("05", 5, "eve", key1, "CreateRole", `"RoleName":"helper"`, ""),
		strings.Replace(act("06", 6, "eve", key1, "CreateOIDCProvider", `"OIDCProviderName":"hub"`, ""), `"Ram"`, `"Ims"`, 1),
		act("07", 7, "eve", key1, "CreateAccessKey", `"UserName":"bob"`, made(key3)),
		act("08", 8, "eve", key1, "CreateLoginProfile", `"UserName":"robot"`, ""),
		act("09", 9, "eve", key1, "CreateAccessKey", `"UserName":"eve"`, made(key2)),
		act("10", 10, "mona", "", "UpdateAccessKey", `"UserName":"eve","UserAccessKeyId":"`+key1+`","Status":"Inactive"`, ""),
		act("11", 11, "mona", "", "UpdateAccessKey", `"UserName":"eve","UserAccessKeyId":"`+key2+`","Status":"Inactive"`, ""),
		act("12", 12, "mona", "", "UpdateAccessKey", `"UserName":"eve","UserAccessKeyId":"`+key2+`","Status":"Active"`, ""),
		refused,
		act("14", 14, "mona", "", "RemoveUserFromGroup", `"UserName":"eve","GroupName":"admins"`, ""),
		act("15", 15, "mona", "", "DeleteLoginProfile", `"UserName":"robot"`, ""),
		act("17", 17, "later", "LTAI5tEXAMPLElater00001", "CreateRole", `"RoleName":"of-later"`, ""),
		act("16", 16, "app:i-abc", "STS.EXAMPLE1", "CreateUser", `"UserName":"later"`, ""),
	}
	dir := write(t, map[string]string{"a.jsonl": lines(r)})
	of := func(kind, name string) string { return kind + "/" + acct + "/" + name }
	for entity, want := range map[string][]string{
		"eve": {"key/" + key3 + " of " + of("user", "bob"), "key/" + key2 + " of " + of("user", "eve"), of("idp", "hub"), "AdministratorAccess on " + of("user", "eve"), of("role", "helper"), of("user", "eve")},
		// By what mallory made.
		"mallory":   {"key/" + key3 + " of " + of("user", "bob"), "key/" + key2 + " of " + of("user", "eve"), of("idp", "hub"), "AdministratorAccess on " + of("user", "eve"), of("role", "helper"), of("user", "eve")},
		"bob":       {"key/" + key3 + " of " + of("user", "bob")},
		"robot":     nil,
		"i-abc":     {of("role", "of-later"), of("user", "later")}, // the sessions of an instance are called like it
		"app:i-abc": {of("role", "of-later"), of("user", "later")}, // what a session made, and what that made
		// Who has a policy, or is in a group, was given it.
		"AdministratorAccess": {"AdministratorAccess on " + of("user", "eve")},
		"admins":              nil,
		"acs:ram::" + acct + ":oidc-provider/hub": {of("idp", "hub")},
	} {
		res, _, _ := play(t, RunConfig{Entity: entity}, dir)
		if !slices.Equal(res.Trail.Open, want) || res.Trail.Events == 0 {
			t.Errorf("%s: %d events, open %q, want %q", entity, res.Trail.Events, res.Trail.Open, want)
		}
		for _, m := range res.Trail.Made {
			switch m.EventID {
			case "02":
				if m.Ended == nil || m.Ended.EventID != "10" || m.Ended.Actor != of("user", "mona") || !m.Ended.Time.Equal(t0.Add(10*time.Minute)) {
					t.Errorf("%s: the first key ended %+v", entity, m.Ended)
				}
			case "03", "04":
				if want := map[string]string{"03": "AdministratorAccess", "04": "admins"}[m.EventID]; m.Given != want || (m.Ended != nil) != (m.EventID == "04") {
					t.Errorf("%s: %+v", entity, m)
				}
			}
		}
	}
	res, _, _ := play(t, RunConfig{Entity: "mallory"}, dir)
	if k := res.Trail.Offspring; len(k) == 0 || k[len(k)-1].Ended == nil && !slices.ContainsFunc(k, func(k Kinship) bool { return k.Ended != nil && k.Ended.EventID == "15" }) {
		t.Errorf("a login that ended: %+v", k)
	}
}

// TestProviderAsEntity: who came by an identity provider is found by its name.
func TestProviderAsEntity(t *testing.T) {
	r := []string{
		act("1", 1, "eve", "", "CreateSAMLProvider", `"SAMLProviderName":"sso2"`, ""),
		strings.Replace(act("2", 2, "x", "", "AssumeRoleWithSAML", `"RoleArn":"acs:ram::`+acct+`:role/support","SAMLProviderArn":"acs:ram::`+acct+`:saml-provider/sso2"`, `"Credentials":{"AccessKeyId":"STS.EXAMPLE2"}`), `"serviceName":"Ram"`, `"serviceName":"Sts"`, 1),
		strings.Replace(act("3", 3, "x", "", "AssumeRoleWithSAML", `"RoleArn":"acs:ram::`+acct+`:role/support","SAMLProviderArn":"acs:ram::`+acct+`:saml-provider/sso"`, `"Credentials":{"AccessKeyId":"STS.EXAMPLE3"}`), `"serviceName":"Ram"`, `"serviceName":"Sts"`, 1),
	}
	dir := write(t, map[string]string{"a.jsonl": lines(r)})
	for _, entity := range []string{"sso2", "idp/" + acct + "/SSO2", "acs:ram::" + acct + ":saml-provider/sso2"} {
		res, _, _ := play(t, RunConfig{Entity: entity}, dir)
		tr := res.Trail
		if tr.Events != 2 || len(tr.Made) != 2 || tr.Made[1].Given != "sso2" || tr.Made[1].Key != "STS.EXAMPLE2" || !slices.Equal(tr.Open, []string{"idp/" + acct + "/sso2"}) {
			t.Errorf("%s: %+v", entity, tr)
		}
	}
}
