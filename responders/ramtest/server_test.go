package ramtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/responders/ramtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	acct     = "1000000000000001"
	adminKey = "LTAI5tEXAMPLEadmin00001"
	aliceKey = "LTAI5tEXAMPLEalice00001"
	rootKey  = "LTAI5tEXAMPLEroot000001"
)

func secret(id string) string { return "EXAMPLEsecretOf" + id }

// cloud is an emulator with an administrator, alice and a root key.
func cloud(t testing.TB, o ramtest.Options) *ramtest.Server {
	t.Helper()
	s := ramtest.New(o)
	t.Cleanup(s.Close)
	s.AddAccount(acct, "")
	for user, key := range map[string]string{"admin": adminKey, "alice": aliceKey, "": rootKey} {
		if err := s.AddKey(acct, user, ramtest.Key{ID: key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Attach(acct, "System", "AdministratorAccess", "user", "admin"); err != nil {
		t.Fatal(err)
	}
	return s
}

// client is the real SDK with its generic call: the wire form of the generated
// calls is the same, and the executors' tests use those.
type client struct {
	t testing.TB
	s *ramtest.Server
	c *sdk.Client
	u *url.URL
	h *http.Transport
}

func as(t testing.TB, s *ramtest.Server, id, secret, token string) *client {
	t.Helper()
	cfg := sdk.NewConfig()
	h := &http.Transport{}
	t.Cleanup(h.CloseIdleConnections)
	cfg.HttpTransport = h
	var p credentials.CredentialsProvider = credentials.NewStaticAKCredentialsProvider(id, secret)
	if token != "" {
		p = credentials.NewStaticSTSCredentialsProvider(id, secret, token)
	}
	c, err := sdk.NewClientWithOptions("cn-hangzhou", cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, s, c, u, h}
}

var versions = map[string]string{"Ram": "2015-05-01", "Ims": "2019-08-15", "Sts": "2015-04-01", "Actiontrail": "2020-07-06"}

// call answers the body, or the code of the error.
func (c *client) call(action string, kv ...string) (map[string]any, string) {
	c.t.Helper()
	api, name, _ := strings.Cut(action, ".")
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain, r.Version, r.Product, r.ApiName = "POST", "HTTP", c.u.Host, versions[api], api, name
	for i := 0; i < len(kv); i += 2 {
		r.QueryParams[kv[i]] = kv[i+1]
	}
	resp, err := c.c.ProcessCommonRequest(r)
	if err != nil {
		var se *sdkerrors.ServerError
		if errors.As(err, &se) {
			return nil, se.ErrorCode()
		}
		return nil, err.Error()
	}
	var m map[string]any
	if err := json.Unmarshal(resp.GetHttpContentBytes(), &m); err != nil {
		c.t.Fatalf("%s: %v", action, err)
	}
	return m, ""
}

func (c *client) ok(action string, kv ...string) map[string]any {
	c.t.Helper()
	m, code := c.call(action, kv...)
	if code != "" {
		c.t.Fatalf("%s %v: %s", action, kv, code)
	}
	return m
}

func (c *client) fails(want, action string, kv ...string) {
	c.t.Helper()
	if _, code := c.call(action, kv...); code != want {
		c.t.Errorf("%s %v: %q, want %q", action, kv, code, want)
	}
}

// at follows a path of keys and list indexes.
func at(t testing.TB, m any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m = m.(map[string]any)[k]
		case int:
			l := m.([]any)
			if k >= len(l) {
				t.Fatalf("%v: %d items", path, len(l))
			}
			m = l[k]
		}
	}
	return m
}

func admin(t testing.TB, s *ramtest.Server) *client { return as(t, s, adminKey, secret(adminKey), "") }

func TestCallerIsChecked(t *testing.T) {
	now := time.Now()
	s := cloud(t, ramtest.Options{Now: func() time.Time { return now }})
	for _, c := range []struct{ id, secret, token, want string }{
		{adminKey, secret(adminKey), "", ""},
		{adminKey, "EXAMPLEwrong", "", "SignatureDoesNotMatch"},
		{"LTAI5tEXAMPLEnobody0001", "EXAMPLEwrong", "", "InvalidAccessKeyId.NotFound"},
		{"STS.EXAMPLE1", "EXAMPLEwrong", "x", "InvalidAccessKeyId.NotFound"},
	} {
		if _, code := as(t, s, c.id, c.secret, c.token).call("Sts.GetCallerIdentity"); code != c.want {
			t.Errorf("%s: %q, want %q", c.id, code, c.want)
		}
	}
	s.SetKeyStatus(adminKey, ramtest.Inactive)
	admin(t, s).fails("InvalidAccessKeyId.Inactive", "Sts.GetCallerIdentity")
	s.SetKeyStatus(adminKey, ramtest.Active)

	cr := s.AddSession(acct, "ci", "job", time.Hour)
	if _, code := as(t, s, cr.AccessKeyID, cr.AccessKeySecret, cr.SecurityToken).call("Sts.GetCallerIdentity"); code != "" {
		t.Error(code)
	}
	if _, code := as(t, s, cr.AccessKeyID, cr.AccessKeySecret, "").call("Sts.GetCallerIdentity"); code != "MissingSecurityToken" {
		t.Error(code)
	}
	if _, code := as(t, s, cr.AccessKeyID, cr.AccessKeySecret, "other").call("Sts.GetCallerIdentity"); code != "InvalidSecurityToken.MismatchWithAccessKey" {
		t.Error(code)
	}
	short := s.AddSession(acct, "ci", "job", -time.Second)
	if _, code := as(t, s, short.AccessKeyID, short.AccessKeySecret, short.SecurityToken).call("Sts.GetCallerIdentity"); code != "InvalidSecurityToken.Expired" {
		t.Error(code)
	}
	for _, skew := range []time.Duration{16 * time.Minute, -16 * time.Minute} {
		now = time.Now().Add(skew)
		admin(t, s).fails("InvalidTimeStamp.Expired", "Sts.GetCallerIdentity")
	}
	for _, skew := range []time.Duration{14 * time.Minute, -14 * time.Minute} {
		now = time.Now().Add(skew)
		admin(t, s).ok("Sts.GetCallerIdentity")
	}
}

// A request that is seen twice is refused: its nonce was used.
func TestReplayedRequest(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	var seen []*http.Request
	spy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Clone(r.Context()))
		s.ServeHTTP(w, r)
	}))
	defer spy.Close()
	c.u, _ = url.Parse(spy.URL)
	c.ok("Ram.ListAccessKeys", "UserName", "alice")
	again := func(edit func(url.Values)) string {
		q := seen[0].URL.Query()
		edit(q)
		req := httptest.NewRequest(seen[0].Method, "/?"+q.Encode(), nil)
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		var m struct{ Code string }
		if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m.Code
	}
	if code := again(func(url.Values) {}); code != "SignatureNonceUsed" {
		t.Error(code)
	}
	if code := again(func(q url.Values) { q.Set("SignatureNonce", "another") }); code != "SignatureDoesNotMatch" {
		t.Error(code)
	}
	if code := again(func(q url.Values) { q.Set("UserName", "bob") }); code != "SignatureDoesNotMatch" {
		t.Error(code)
	}
	if code := again(func(q url.Values) { q.Add("UserName", "bob") }); code != "InvalidParameter" {
		t.Error(code)
	}
	if code := again(func(q url.Values) { q.Del("Signature") }); code != "MissingSignature" {
		t.Error(code)
	}
}

func TestUnknownCalls(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	c.fails("InvalidAction.NotFound", "Ram.LaunchRocket")
	versions["X"] = "1999-01-01"
	c.fails("InvalidVersion", "X.GetUser")
	tls := cloud(t, ramtest.Options{RequireTLS: true})
	admin(t, tls).fails("InvalidProtocol.NeedSsl", "Sts.GetCallerIdentity")
}

// The documented trap: without a name the caller's own key is meant.
func TestEmptyNameIsTheCaller(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	for _, api := range []string{"Ram", "Ims"} {
		c := as(t, s, aliceKey, secret(aliceKey), "")
		if got := at(t, c.ok(api+".ListAccessKeys"), "AccessKeys", "AccessKey", 0, "AccessKeyId"); got != aliceKey {
			t.Fatalf("%v", got)
		}
		c.fails("EntityNotExist.User.AccessKey", api+".UpdateAccessKey", "UserAccessKeyId", adminKey, "Status", "Inactive")
		c.ok(api+".UpdateAccessKey", "UserAccessKeyId", aliceKey, "Status", "Inactive")
		if s.KeyStatus(aliceKey) != ramtest.Inactive {
			t.Fatal("not switched off")
		}
		c.fails("InvalidAccessKeyId.Inactive", "Sts.GetCallerIdentity")
		s.SetKeyStatus(aliceKey, ramtest.Active)

		// Root's own key, by root alone.
		as(t, s, rootKey, secret(rootKey), "").ok(api+".UpdateAccessKey", "UserAccessKeyId", rootKey, "Status", "Inactive")
		if s.KeyStatus(rootKey) != ramtest.Inactive {
			t.Fatal("not switched off")
		}
		s.SetKeyStatus(rootKey, ramtest.Active)
		admin(t, s).fails("EntityNotExist.User.AccessKey", api+".UpdateAccessKey", "UserAccessKeyId", rootKey, "Status", "Inactive")

		// A role has no keys.
		cr := s.AddSession(acct, "ci", "job", time.Hour)
		as(t, s, cr.AccessKeyID, cr.AccessKeySecret, cr.SecurityToken).fails("EntityNotExist.User", api+".UpdateAccessKey", "UserAccessKeyId", aliceKey, "Status", "Inactive")
	}
}

func TestKeys(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	made := at(t, c.ok("Ram.CreateAccessKey", "UserName", "alice"), "AccessKey").(map[string]any)
	id := made["AccessKeyId"].(string)
	if made["AccessKeySecret"] == "" || made["Status"] != "Active" || !strings.Contains(id, "EXAMPLE") {
		t.Fatalf("%v", made)
	}
	c.fails("LimitExceeded.User.AccessKey", "Ram.CreateAccessKey", "UserName", "alice")
	as(t, s, id, made["AccessKeySecret"].(string), "").ok("Sts.GetCallerIdentity")
	l := at(t, c.ok("Ram.ListAccessKeys", "UserName", "ALICE"), "AccessKeys", "AccessKey").([]any)
	if len(l) != 2 {
		t.Fatalf("%v", l)
	}
	c.fails("EntityNotExist.User", "Ram.ListAccessKeys", "UserName", "nobody")
	c.fails("InvalidParameter.UserName.InvalidChars", "Ram.ListAccessKeys", "UserName", "a b")
	c.fails("InvalidParameter.UserName.Length", "Ram.ListAccessKeys", "UserName", strings.Repeat("a", 65))
	c.fails("EntityNotExist.User.AccessKey", "Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", adminKey, "Status", "Inactive")
	c.fails("InvalidParameter.Status", "Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", id, "Status", "Off")
	c.fails("MissingUserAccessKeyId", "Ram.UpdateAccessKey", "UserName", "alice", "Status", "Inactive")
	// Setting a state twice is fine.
	for range 2 {
		c.ok("Ims.UpdateAccessKey", "UserPrincipalName", "alice@"+acct+".onaliyun.com", "UserAccessKeyId", id, "Status", "Inactive")
	}
	c.ok("Ram.GetAccessKeyLastUsed", "UserName", "alice", "UserAccessKeyId", id)

	// Whose key is it?
	u := at(t, c.ok("Ims.GetUser", "UserAccessKeyId", id), "User").(map[string]any)
	if u["UserPrincipalName"] != "alice@"+acct+".onaliyun.com" {
		t.Fatalf("%v", u)
	}
	c.ok("Ims.GetUser", "UserId", u["UserId"].(string))
	c.fails("EntityNotExist.User", "Ims.GetUser", "UserAccessKeyId", "LTAI5tEXAMPLEnobody0001")
	c.fails("EntityNotExist.User", "Ims.GetUser", "UserPrincipalName", "alice@elsewhere.onaliyun.com")
	c.fails("MissingUserName", "Ram.GetUser")

	// Deleted, restored, purged.
	before := s.State()
	c.ok("Ram.DeleteAccessKey", "UserName", "alice", "UserAccessKeyId", id)
	c.fails("EntityNotExist.User.AccessKey", "Ram.DeleteAccessKey", "UserName", "alice", "UserAccessKeyId", id)
	if got := at(t, c.ok("Ims.ListAccessKeysInRecycleBin", "UserId", u["UserId"].(string)), "AccessKeys", "AccessKey", 0, "AccessKeyId"); got != id {
		t.Fatalf("%v", got)
	}
	c.ok("Ims.RestoreAccessKeyFromRecycleBin", "UserId", u["UserId"].(string), "UserAccessKeyId", id)
	if !bytes.Equal(before, s.State()) {
		t.Fatal("restored to something else")
	}
	c.fails("EntityNotExist.User.AccessKey", "Ims.RestoreAccessKeyFromRecycleBin", "UserId", u["UserId"].(string), "UserAccessKeyId", id)
	c.ok("Ram.DeleteAccessKey", "UserName", "alice", "UserAccessKeyId", id)
	c.ok("Ims.DeleteAccessKeyInRecycleBin", "UserAccessKeyId", id)
	if s.KeyStatus(id) != "" {
		t.Fatal("still there")
	}
}

func TestUsersAndLogins(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	c.ok("Ram.CreateUser", "UserName", "carol", "DisplayName", "Carol")
	c.fails("EntityAlreadyExists.User", "Ram.CreateUser", "UserName", "Carol")
	c.ok("Ims.CreateUser", "UserPrincipalName", "dave@"+acct+".onaliyun.com")
	if n := len(at(t, c.ok("Ram.ListUsers", "MaxItems", "1000"), "Users", "User").([]any)); n != 4 {
		t.Fatalf("%d users", n)
	}
	first := c.ok("Ims.ListUsers", "MaxItems", "3")
	if first["IsTruncated"] != true || first["Marker"] == nil {
		t.Fatalf("%v", first)
	}
	if n := len(at(t, c.ok("Ims.ListUsers", "Marker", first["Marker"].(string)), "Users", "User").([]any)); n != 1 {
		t.Fatalf("%d users on the second page", n)
	}
	c.ok("Ram.UpdateUser", "UserName", "carol", "NewUserName", "caroline")
	c.fails("EntityNotExist.User", "Ram.GetUser", "UserName", "carol")

	c.fails("EntityNotExist.User.LoginProfile", "Ram.GetLoginProfile", "UserName", "caroline")
	c.fails("MissingPassword", "Ram.CreateLoginProfile", "UserName", "caroline")
	c.ok("Ram.CreateLoginProfile", "UserName", "caroline", "Password", "EXAMPLEpass-1", "MFABindRequired", "true")
	c.fails("EntityAlreadyExists.User.LoginProfile", "Ram.CreateLoginProfile", "UserName", "caroline", "Password", "EXAMPLEpass-1")
	if p := at(t, c.ok("Ram.GetLoginProfile", "UserName", "caroline"), "LoginProfile").(map[string]any); p["Status"] != nil || p["MFABindRequired"] != true {
		t.Fatalf("Ram's profile has no Status: %v", p)
	}
	upn := "caroline@" + acct + ".onaliyun.com"
	c.ok("Ims.UpdateLoginProfile", "UserPrincipalName", upn, "Status", "Inactive")
	if p := at(t, c.ok("Ims.GetLoginProfile", "UserPrincipalName", upn), "LoginProfile").(map[string]any); p["Status"] != "Inactive" || p["MFABindRequired"] != true {
		t.Fatalf("%v", p)
	}
	c.fails("InvalidParameter.Status", "Ims.UpdateLoginProfile", "UserPrincipalName", upn, "Status", "x")
	c.fails("InvalidParameter.MFABindRequired", "Ims.UpdateLoginProfile", "UserPrincipalName", upn, "MFABindRequired", "x")
	c.ok("Ram.DeleteLoginProfile", "UserName", "caroline")
	c.fails("EntityNotExist.User.LoginProfile", "Ram.DeleteLoginProfile", "UserName", "caroline")
	s.AddMFA(acct, "caroline")
	c.fails("DeleteConflict.User.MFADevice", "Ram.DeleteUser", "UserName", "caroline")
	c.ok("Ram.UnbindMFADevice", "UserName", "caroline")
	c.fails("EntityNotExist.User.MFADevice", "Ims.UnbindMFADevice", "UserPrincipalName", upn)
	c.ok("Ram.DeleteUser", "UserName", "caroline")
	c.fails("DeleteConflict.User.AccessKey", "Ram.DeleteUser", "UserName", "alice")

	if got := at(t, c.ok("Ims.SetSecurityPreference", "EnforceMFAForLogin", "true", "LoginNetworkMasks", "198.51.100.0/24", "LoginSessionDuration", "1"),
		"SecurityPreference", "LoginProfilePreference", "LoginNetworkMasks"); got != "198.51.100.0/24" {
		t.Fatalf("%v", got)
	}
	if at(t, c.ok("Ims.GetSecurityPreference"), "SecurityPreference", "LoginProfilePreference", "EnforceMFAForLogin") != true {
		t.Fatal("not kept")
	}
}

const allowAll = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

func TestPolicies(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	c.ok("Ram.CreatePolicy", "PolicyName", "p", "PolicyDocument", allowAll)
	c.fails("EntityAlreadyExists.Policy", "Ram.CreatePolicy", "PolicyName", "p", "PolicyDocument", allowAll)
	c.fails("InvalidParameter.PolicyName.InvalidChars", "Ram.CreatePolicy", "PolicyName", "p_q", "PolicyDocument", allowAll)
	c.fails("InvalidParameter.PolicyDocument", "Ram.CreatePolicy", "PolicyName", "q", "PolicyDocument", `{"Version":"1"}`)
	c.fails("InvalidParameter.PolicyDocument.Length", "Ram.CreatePolicy", "PolicyName", "q", "PolicyDocument", strings.Repeat(" ", 2049))
	for i := 2; i <= 5; i++ {
		c.ok("Ram.CreatePolicyVersion", "PolicyName", "p", "PolicyDocument", allowAll)
	}
	c.fails("LimitExceeded.Policy.Version", "Ram.CreatePolicyVersion", "PolicyName", "p", "PolicyDocument", allowAll)
	// An attacker pushes the oldest version out: not the default, v1, but v2.
	v := at(t, c.ok("Ram.CreatePolicyVersion", "PolicyName", "p", "PolicyDocument", allowAll, "SetAsDefault", "true", "RotateStrategy", "DeleteOldestNonDefaultVersionWhenLimitExceeded"), "PolicyVersion").(map[string]any)
	if v["VersionId"] != "v6" || v["IsDefaultVersion"] != true {
		t.Fatalf("%v", v)
	}
	c.fails("EntityNotExist.Policy.Version", "Ram.GetPolicyVersion", "PolicyType", "Custom", "PolicyName", "p", "VersionId", "v2")
	c.ok("Ram.GetPolicyVersion", "PolicyType", "Custom", "PolicyName", "p", "VersionId", "v1")
	c.ok("Ram.SetDefaultPolicyVersion", "PolicyName", "p", "VersionId", "v1")
	c.fails("DeleteConflict.PolicyVersion.Default", "Ram.DeletePolicyVersion", "PolicyName", "p", "VersionId", "v1")
	c.ok("Ram.DeletePolicyVersion", "PolicyName", "p", "VersionId", "v6")
	if n := len(at(t, c.ok("Ram.ListPolicyVersions", "PolicyType", "Custom", "PolicyName", "p"), "PolicyVersions", "PolicyVersion").([]any)); n != 4 {
		t.Fatalf("%d versions", n)
	}
	if got := at(t, c.ok("Ram.GetPolicy", "PolicyType", "System", "PolicyName", "AdministratorAccess"), "DefaultPolicyVersion", "PolicyDocument"); got != allowAll {
		t.Fatalf("%v", got)
	}
	c.fails("EntityNotExist.Policy", "Ram.SetDefaultPolicyVersion", "PolicyName", "AdministratorAccess", "VersionId", "v1")

	c.ok("Ram.CreateGroup", "GroupName", "g")
	c.ok("Ram.CreateRole", "RoleName", "r", "AssumeRolePolicyDocument", `{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"RAM":["acs:ram::`+acct+`:root"]}}]}`)
	for kind, name := range map[string]string{"User": "alice", "Group": "g", "Role": "r"} {
		p := []string{"PolicyType", "Custom", "PolicyName", "p", kind + "Name", name}
		c.fails("EntityNotExist."+kind+".Policy", "Ram.DetachPolicyFrom"+kind, p...)
		c.ok("Ram.AttachPolicyTo"+kind, p...)
		c.fails("EntityAlreadyExists."+kind+".Policy", "Ram.AttachPolicyTo"+kind, p...)
		if got := at(t, c.ok("Ram.ListPoliciesFor"+kind, kind+"Name", name), "Policies", "Policy", 0, "PolicyName"); got != "p" {
			t.Fatalf("%v", got)
		}
		c.fails("DeleteConflict.Policy."+kind, "Ram.DeletePolicy", "PolicyName", "p")
		c.fails("EntityNotExist."+kind, "Ram.AttachPolicyTo"+kind, "PolicyType", "Custom", "PolicyName", "p", kind+"Name", "nobody")
		if got := at(t, c.ok("Ram.ListEntitiesForPolicy", "PolicyType", "Custom", "PolicyName", "p"), kind+"s", kind, 0, kind+"Name"); got != name {
			t.Fatalf("%v", got)
		}
		c.ok("Ram.DetachPolicyFrom"+kind, p...)
	}
	c.fails("EntityNotExist.Policy", "Ram.AttachPolicyToUser", "PolicyType", "Custom", "PolicyName", "nope", "UserName", "alice")

	c.ok("Ram.AddUserToGroup", "UserName", "alice", "GroupName", "g")
	c.fails("EntityAlreadyExists.User.Group", "Ims.AddUserToGroup", "UserPrincipalName", "alice@"+acct+".onaliyun.com", "GroupName", "g")
	if got := at(t, c.ok("Ram.ListGroupsForUser", "UserName", "alice"), "Groups", "Group", 0, "GroupName"); got != "g" {
		t.Fatalf("%v", got)
	}
	c.ok("Ram.RemoveUserFromGroup", "UserName", "alice", "GroupName", "g")
	c.fails("EntityNotExist.User.Group", "Ram.RemoveUserFromGroup", "UserName", "alice", "GroupName", "g")
	c.fails("EntityNotExist.Group", "Ram.AddUserToGroup", "UserName", "alice", "GroupName", "nope")

	if got := at(t, c.ok("Ram.UpdateRole", "RoleName", "r", "NewMaxSessionDuration", "7200"), "Role", "MaxSessionDuration"); got != 7200.0 {
		t.Fatalf("%v", got)
	}
	c.fails("InvalidParameter.NewMaxSessionDuration", "Ram.UpdateRole", "RoleName", "r", "NewMaxSessionDuration", "60")
	c.fails("EntityNotExist.Role", "Ram.GetRole", "RoleName", "nope")
}

func TestSessions(t *testing.T) {
	s := cloud(t, ramtest.Options{Enforce: true})
	c := admin(t, s)
	role := "acs:ram::" + acct + ":role/ops"
	s.AddRole(acct, "ops", `{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"RAM":["acs:ram::`+acct+`:user/admin"],"Federated":["acs:ram::`+acct+`:oidc-provider/ack"]}}]}`)
	if err := s.Attach(acct, "System", "AliyunRAMReadOnlyAccess", "role", "ops"); err != nil {
		t.Fatal(err)
	}
	c.fails("EntityNotExist.Role", "Sts.AssumeRole", "RoleArn", "acs:ram::"+acct+":role/nope", "RoleSessionName", "job")
	c.fails("InvalidParameter.RoleArn", "Sts.AssumeRole", "RoleArn", "nope", "RoleSessionName", "job")
	c.fails("InvalidParameter.RoleSessionName", "Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "a b")
	c.fails("InvalidParameter.DurationSeconds", "Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "job", "DurationSeconds", "7200")
	as(t, s, rootKey, secret(rootKey), "").fails("NoPermission", "Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "job")
	as(t, s, aliceKey, secret(aliceKey), "").fails("NoPermission", "Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "job")

	open := func(m map[string]any) *client {
		k := at(t, m, "Credentials").(map[string]any)
		if _, err := time.Parse("2006-01-02T15:04:05Z", k["Expiration"].(string)); err != nil {
			t.Fatal(err)
		}
		return as(t, s, k["AccessKeyId"].(string), k["AccessKeySecret"].(string), k["SecurityToken"].(string))
	}
	r := open(c.ok("Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "job", "DurationSeconds", "900"))
	if got := at(t, r.ok("Sts.GetCallerIdentity"), "Arn"); got != "acs:ram::"+acct+":assumed-role/ops/job" {
		t.Fatalf("%v", got)
	}
	r.ok("Ram.ListAccessKeys", "UserName", "alice")
	r.fails("NoPermission", "Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive")
	// A session's policy narrows what the role may do.
	n := open(c.ok("Sts.AssumeRole", "RoleArn", role, "RoleSessionName", "job", "Policy", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:GetUser","Resource":"*"}]}`))
	n.ok("Ram.GetUser", "UserName", "alice")
	n.fails("NoPermission", "Ram.ListAccessKeys", "UserName", "alice")
	// A deny on the role ends open sessions, old and new.
	s.AddPolicy(acct, "deny", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	if err := s.Attach(acct, "Custom", "deny", "role", "ops"); err != nil {
		t.Fatal(err)
	}
	r.fails("NoPermission", "Ram.ListAccessKeys", "UserName", "alice")

	// OIDC, unsigned.
	s.AddOIDCProvider(acct, "ack", "https://oidc.example.com", "EXAMPLEoidcToken")
	oidc := func(token, provider string) (int, string) {
		q := url.Values{"Action": {"AssumeRoleWithOIDC"}, "Version": {"2015-04-01"}, "Format": {"JSON"}, "Timestamp": {time.Now().UTC().Format(time.RFC3339)}, "SignatureNonce": {"n"}}
		f := url.Values{"RoleArn": {role}, "OIDCProviderArn": {provider}, "OIDCToken": {token}, "RoleSessionName": {"pod"}, "DurationSeconds": {"3600"}}
		resp, err := http.PostForm(s.URL()+"/?"+q.Encode(), f)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	defer http.DefaultClient.CloseIdleConnections()
	provider := "acs:ram::" + acct + ":oidc-provider/ack"
	if st, b := oidc("EXAMPLEoidcToken", provider); st != 200 || !strings.Contains(b, `"SecurityToken"`) {
		t.Fatalf("%d %s", st, b)
	}
	if st, b := oidc("EXAMPLEother", provider); st != 400 || !strings.Contains(b, "AuthenticationFail.OIDCToken.Invalid") {
		t.Fatalf("%d %s", st, b)
	}
	if st, b := oidc("EXAMPLEoidcToken", provider+"x"); st != 404 || !strings.Contains(b, "EntityNotExist.OIDCProvider") {
		t.Fatalf("%d %s", st, b)
	}
}

func TestTrails(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	c.fails("TrailNotFoundException", "Actiontrail.GetTrailStatus", "Name", "audit-trail")
	c.ok("Actiontrail.CreateTrail", "Name", "audit-trail", "SlsProjectArn", "acs:log:cn-hangzhou:"+acct+":project/p")
	status := func() any { return c.ok("Actiontrail.GetTrailStatus", "Name", "audit-trail")["IsLogging"] }
	if status() != false {
		t.Fatal("a trail made through the API starts stopped")
	}
	for range 2 {
		c.ok("Actiontrail.StartLogging", "Name", "audit-trail")
	}
	if status() != true {
		t.Fatal("not started")
	}
	if got := at(t, c.ok("Actiontrail.DescribeTrails"), "TrailList", 0, "Status"); got != "Enable" {
		t.Fatalf("%v", got)
	}
	c.ok("Actiontrail.UpdateTrail", "Name", "audit-trail", "EventRW", "Read")
	c.ok("Actiontrail.StopLogging", "Name", "audit-trail")
	if status() != false {
		t.Fatal("not stopped")
	}
	c.ok("Actiontrail.DeleteTrail", "Name", "audit-trail")
	c.fails("TrailNotFoundException", "Actiontrail.StartLogging", "Name", "audit-trail")
}

func TestEnforcement(t *testing.T) {
	s := cloud(t, ramtest.Options{Enforce: true})
	a := as(t, s, aliceKey, secret(aliceKey), "")
	a.ok("Sts.GetCallerIdentity") // needs no permission
	a.fails("NoPermission", "Ram.ListUsers")
	s.AddGroup(acct, "g", "alice")
	if err := s.Attach(acct, "System", "AliyunRAMReadOnlyAccess", "group", "g"); err != nil {
		t.Fatal(err)
	}
	a.ok("Ram.ListUsers")
	a.fails("NoPermission", "Ram.CreateUser", "UserName", "x")
	// Ims is authorised under the code of Ram.
	a.ok("Ims.ListUsers")

	// An attachment needs both resources.
	s.AddPolicy(acct, "one", allowAll)
	s.AddPolicy(acct, "narrow", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":["acs:ram:*:`+acct+`:user/*","acs:ram:*:`+acct+`:policy/one"]}]}`)
	if err := s.Attach(acct, "Custom", "narrow", "user", "alice"); err != nil {
		t.Fatal(err)
	}
	a.fails("NoPermission", "Ram.AttachPolicyToUser", "PolicyType", "System", "PolicyName", "AdministratorAccess", "UserName", "alice")
	a.ok("Ram.AttachPolicyToUser", "PolicyType", "Custom", "PolicyName", "one", "UserName", "alice")

	// A time window, as for the self-ending quarantine of sessions.
	s.AddPolicy(acct, "until", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"acs:CurrentTime":"2001-01-01T00:00:00Z"}}}]}`)
	if err := s.Attach(acct, "Custom", "until", "user", "alice"); err != nil {
		t.Fatal(err)
	}
	a.ok("Ram.ListUsers")
	s.AddPolicy(acct, "until", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"acs:CurrentTime":"2999-01-01T00:00:00Z"}}}]}`)
	a.fails("NoPermission", "Ram.ListUsers")
	s.AddPolicy(acct, "until", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"acs:SomethingNew":"x"}}}]}`)
	a.fails("NoPermission", "Ram.ListUsers") // not understood: the Deny holds

	// Root is bound by no policy; a leaked key is bound by Alibaba.
	as(t, s, rootKey, secret(rootKey), "").ok("Ram.ListUsers")
	if err := s.AddKey(acct, "admin", ramtest.Key{ID: "LTAI5tEXAMPLEleaked0001", Leaked: true}); err != nil {
		t.Fatal(err)
	}
	as(t, s, "LTAI5tEXAMPLEleaked0001", secret("LTAI5tEXAMPLEleaked0001"), "").fails("Forbidden", "Ram.ListUsers")
}

func TestNetworkPolicy(t *testing.T) {
	s := cloud(t, ramtest.Options{Enforce: true})
	c, id := admin(t, s), []string{"UserPrincipalName", "admin@" + acct + ".onaliyun.com", "UserAccessKeyId", adminKey}
	set := func(doc string) []string { return append(append([]string{}, id...), "AccessKeyPolicy", doc) }
	before := s.State()
	none := c.ok("Ims.GetAccessKeyPolicy", id...)["AccessKeyPolicy"].(string)
	c.fails("InvalidParameter.AccessKeyPolicy", "Ims.SetAccessKeyPolicy", set(`{"Version":1,"Status":"Active","Statements":[{"Type":"ClassicWhiteList","IPList":["nonsense"]}]}`)...)
	c.ok("Ims.SetAccessKeyPolicy", set(`{"Version":1,"Status":"Active","Statements":[{"Type":"ClassicWhiteList","IPList":["127.0.0.0/8"]}]}`)...)
	c.ok("Ims.GetAccessKeyPolicy", id...)
	c.ok("Ims.SetAccessKeyPolicy", set(none)...)
	if !bytes.Equal(before, s.State()) {
		t.Fatal("setting what was read is not the state before")
	}
	c.ok("Ims.SetAccessKeyPolicy", set(`{"Version":1,"Status":"Active","Statements":[{"Type":"ClassicWhiteList","IPList":["198.51.100.7"]}]}`)...)
	c.fails("NoPermission", "Ims.GetAccessKeyPolicy", id...)
}

func TestQuotas(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	s := cloud(t, ramtest.Options{Quotas: true, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	c := admin(t, s)
	p := []string{"PolicyType", "System", "PolicyName", "ReadOnlyAccess", "UserName", "alice"}
	for i := range 5 {
		c.ok("Ram.AttachPolicyToUser", p...)
		c.ok("Ram.DetachPolicyFromUser", p...)
		_ = i
	}
	for range 5 {
		_, _ = c.call("Ram.AttachPolicyToUser", p...)
	}
	c.fails("Throttling.User", "Ram.AttachPolicyToUser", p...)
	c.ok("Ram.ListPoliciesForUser", "UserName", "alice") // another quota
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	c.ok("Ram.DetachPolicyFromUser", p...)
}

func TestStaleReads(t *testing.T) {
	s := cloud(t, ramtest.Options{StaleReads: 2})
	c := admin(t, s)
	c.ok("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive")
	var got []any
	for range 3 {
		got = append(got, at(t, c.ok("Ram.ListAccessKeys", "UserName", "alice"), "AccessKeys", "AccessKey", 0, "Status"))
	}
	if fmt.Sprint(got) != "[Active Active Inactive]" || s.KeyStatus(aliceKey) != ramtest.Inactive {
		t.Fatalf("%v", got)
	}
	as(t, s, aliceKey, secret(aliceKey), "").fails("InvalidAccessKeyId.Inactive", "Sts.GetCallerIdentity")
}

func TestFaults(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	list := func() string {
		_, code := c.call("Ram.ListAccessKeys", "UserName", "alice")
		return code
	}
	h := s.Inject(ramtest.Fault{API: ramtest.RAM, Action: "ListAccessKeys", User: "ALICE", Skip: 1, Times: 2, Status: 400, Code: "Throttling.User"})
	got := []string{list(), list(), list(), list()}
	if strings.Join(got, "|") != "|Throttling.User|Throttling.User|" || h.Hits() != 2 {
		t.Fatalf("%v, %d hits", got, h.Hits())
	}
	other := s.Inject(ramtest.Fault{User: "bob", Times: -1, Status: 500})
	if list() != "" || other.Hits() != 0 {
		t.Fatal("a fault for somebody else struck")
	}
	s.ClearFaults()
	for name, f := range map[string]ramtest.Fault{
		"ServiceUnavailable": ramtest.Unavailable("", 1), "NoPermission": ramtest.Forbidden("ListAccessKeys"), "": ramtest.BadGateway(""),
	} {
		h := s.Inject(f)
		if code := list(); code != name || h.Hits() != 1 {
			t.Errorf("%q: %q after %d hits", name, code, h.Hits())
		}
		h.Remove()
	}
	// The SDK panics on a numeric code; this is why it is emulated.
	s.Inject(ramtest.NumericCode(""))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the SDK does not panic any more: the guard may go")
			}
		}()
		list()
	}()
	// The work is done, the answer is not seen.
	for i, f := range []ramtest.Fault{ramtest.LostAnswer("UpdateAccessKey"), {Action: "UpdateAccessKey", Truncate: true}, {Action: "UpdateAccessKey", AfterWork: true, Status: 502, Body: "x"}} {
		s.SetKeyStatus(aliceKey, ramtest.Active)
		s.Inject(f)
		if _, code := c.call("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive"); i < 2 && code == "" || s.KeyStatus(aliceKey) != ramtest.Inactive {
			t.Errorf("fault %d: %q, %s", i, code, s.KeyStatus(aliceKey))
		}
	}
	s.SetKeyStatus(aliceKey, ramtest.Active)
	s.Inject(ramtest.Fault{Action: "UpdateAccessKey", Refuse: true})
	if _, code := c.call("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive"); code == "" || s.KeyStatus(aliceKey) != ramtest.Active {
		t.Errorf("refused: %q, %s", code, s.KeyStatus(aliceKey))
	}
}

func TestCloseEndsDelays(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	c := admin(t, s)
	h := s.Inject(ramtest.Fault{Delay: time.Hour})
	done := make(chan string, 1)
	go func() {
		_, code := c.call("Ram.ListUsers")
		done <- code
	}()
	for deadline := time.Now().Add(10 * time.Second); h.Hits() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the call never came")
		}
	}
	s.Close()
	select {
	case code := <-done:
		if code == "" {
			t.Fatal("an answer came")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call hangs")
	}
}

// What the journal and the hook show, and what they keep to themselves.
func TestJournalAndChanges(t *testing.T) {
	var mu sync.Mutex
	var log []ramtest.Entry
	var changes []ramtest.Change
	s := cloud(t, ramtest.Options{
		Journal:  func(e ramtest.Entry) { mu.Lock(); defer mu.Unlock(); log = append(log, e) },
		OnChange: func(c ramtest.Change) { mu.Lock(); defer mu.Unlock(); changes = append(changes, c) },
	})
	c := admin(t, s)
	c.ok("Ram.ListAccessKeys", "UserName", "alice")
	c.ok("Ram.CreateLoginProfile", "UserName", "alice", "Password", "EXAMPLEpass-word-1")
	c.ok("Ram.CreateAccessKey", "UserName", "alice")
	c.fails("EntityNotExist.User", "Ram.UpdateAccessKey", "UserName", "nobody", "UserAccessKeyId", aliceKey, "Status", "Inactive")
	s.Inject(ramtest.LostAnswer("UpdateAccessKey"))
	_, _ = c.call("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive")
	cr := s.AddSession(acct, "ci", "job", time.Hour)
	as(t, s, cr.AccessKeyID, cr.AccessKeySecret, cr.SecurityToken).ok("Ims.UpdateAccessKey", "UserPrincipalName", "alice@"+acct+".onaliyun.com", "UserAccessKeyId", aliceKey, "Status", "Active")

	mu.Lock()
	defer mu.Unlock()
	all, err := json.Marshal([]any{log, changes})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{secret(adminKey), "EXAMPLEpass-word-1", "EXAMPLEsecretOfNewKey", cr.AccessKeySecret, cr.SecurityToken} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q is shown", secret)
		}
	}
	if len(log) != 6 || len(changes) != 4 {
		t.Fatalf("%d entries, %d changes", len(log), len(changes))
	}
	if e := log[4]; e.Action != "UpdateAccessKey" || e.User != "alice" || e.Key != aliceKey || e.KeyStatus != "Inactive" || e.Status != 0 || !e.Done || e.AccessKeyID != adminKey || e.Account != acct {
		t.Errorf("%+v", e)
	}
	if e := log[3]; e.Code != "EntityNotExist.User" || e.Status != 404 || e.Done {
		t.Errorf("%+v", e)
	}
	if ch := changes[1]; ch.Action != "CreateAccessKey" || ch.Caller.Type != "ram-user" || ch.Caller.Name != "admin" || !bytes.Contains(ch.Response, []byte(`"AccessKeyId"`)) || ch.Params["UserName"] != "alice" || ch.SourceIP != "127.0.0.1" {
		t.Errorf("%+v", ch)
	}
	if ch := changes[3]; ch.API != ramtest.IMS || ch.Caller.Type != "assumed-role" || ch.Caller.Name != "ci" || ch.Caller.Session != "job" || ch.Params["Status"] != "Active" {
		t.Errorf("%+v", ch)
	}
}

func TestSeedsAreRepeatable(t *testing.T) {
	s := cloud(t, ramtest.Options{})
	s.AddLogin(acct, "alice", ramtest.Active, true)
	s.AddTrail(acct, ramtest.Trail{Name: "audit-trail"})
	before := s.State()
	s.AddUser(acct, "Alice")
	s.AddLogin(acct, "alice", ramtest.Inactive, false)
	s.AddTrail(acct, ramtest.Trail{Name: "audit-trail", Logging: true})
	if err := s.AddKey(acct, "alice", ramtest.Key{ID: aliceKey, Status: ramtest.Inactive}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, s.State()) {
		t.Fatal("a repeated seed changed something")
	}
	if err := s.AddKey(acct, "bob", ramtest.Key{ID: aliceKey}); err == nil {
		t.Fatal("an id that two users have")
	}
	if err := s.Attach(acct, "Custom", "nope", "user", "alice"); err == nil {
		t.Fatal("a policy that is not there")
	}
}

func TestConcurrentCalls(t *testing.T) {
	s := cloud(t, ramtest.Options{StaleReads: 3, Enforce: true, Quotas: false})
	before := s.State()
	var wg sync.WaitGroup
	for range 8 {
		c := admin(t, s)
		wg.Go(func() {
			for range 10 {
				c.call("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Inactive")
				c.call("Ram.ListAccessKeys", "UserName", "alice")
				c.call("Ram.UpdateAccessKey", "UserName", "alice", "UserAccessKeyId", aliceKey, "Status", "Active")
				s.State()
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(before, s.State()) {
		t.Fatal("the state is another")
	}
	if n := s.Calls(ramtest.RAM, "UpdateAccessKey"); n != 160 {
		t.Fatalf("%d calls", n)
	}
}

// No request, however odd, panics or gets anything done without a signature.
func FuzzRequest(f *testing.F) {
	s := cloud(f, ramtest.Options{Enforce: true, Quotas: true})
	s.AddOIDCProvider(acct, "ack", "https://oidc.example.com", "EXAMPLEoidcToken")
	before := s.State()
	f.Add("POST", "Action=UpdateAccessKey&Version=2015-05-01", "")
	f.Add("POST", "Action=AssumeRoleWithOIDC&Version=2015-04-01", "RoleArn=acs:ram::1000000000000001:role/x&OIDCToken=x&OIDCProviderArn=y&RoleSessionName=zz")
	f.Add("GET", "Action=GetCallerIdentity&Version=2015-04-01&AccessKeyId=STS.x&Signature=x&SignatureNonce=x&Timestamp=x&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0", "%zz")
	f.Fuzz(func(t *testing.T, method, query, body string) {
		if method != "GET" && method != "POST" {
			method = "POST"
		}
		req := httptest.NewRequest(method, "http://127.0.0.1/", strings.NewReader(body))
		req.URL.RawQuery = query
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		if rec.Code < 400 || !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if !bytes.Equal(before, s.State()) {
			t.Fatal("an unsigned request changed something")
		}
	})
}

func TestActionsAreListed(t *testing.T) {
	for api, n := range map[ramtest.API]int{ramtest.RAM: 40, ramtest.IMS: 18, ramtest.STS: 3, ramtest.ActionTrail: 7} {
		if got := len(ramtest.Actions(api)); got < n {
			t.Errorf("%s: %d actions, want at least %d", api, got, n)
		}
	}
}
