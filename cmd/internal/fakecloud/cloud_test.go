package fakecloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/ram"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

const account = "1000000000000001"

type buffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	err error
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, o Options, accounts ...string) *Cloud {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c, err := Start(o, accounts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func listUsers(id, user, key, more string) []byte {
	return []byte(fmt.Sprintf(`{"eventId":%q,"eventName":"ListUsers","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","eventRW":"Read","recipientAccountId":%q,`+
		`"userIdentity":{"type":"ram-user","accountId":%q,"userName":%q,"accessKeyId":%q}%s}`, id, account, account, user, key, more))
}

func TestLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "example.com:0", "nonsense", "127.0.0.1", "127.0.0.1:notaport"} {
		c, err := Start(Options{Listen: listen, Dir: t.TempDir()}, nil)
		if err == nil {
			_ = c.Close()
			t.Errorf("listens on %q", listen)
		}
	}
	for _, listen := range []string{"", "127.0.0.1:0", "localhost:0", "127.0.0.2:0"} {
		c, err := Start(Options{Listen: listen, Dir: t.TempDir()}, nil)
		if err != nil {
			t.Errorf("%q: %v", listen, err)
			continue
		}
		if !strings.HasPrefix(c.Addr, "127.") && !strings.HasPrefix(c.Addr, "[::1]") {
			t.Errorf("%q became %s", listen, c.Addr)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The written configuration is valid, points at this cloud alone, and keeps
// its secrets in files of mode 0600 beside it.
func TestWrittenConfiguration(t *testing.T) {
	c := start(t, Options{}, account, "1000000000000002")
	cfg, err := config.Load(c.Config, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, url := range map[string]string{"source": cfg.Source.SLS[0].Endpoint, "ram": cfg.Respond.RAM.Endpoint, "slack": strings.TrimSuffix(cfg.Notify.Slack[0].APIURL, "/api/")} {
		if url != "http://"+c.Addr {
			t.Errorf("%s is at %s, want http://%s", what, url, c.Addr)
		}
	}
	if want := "acs:ram::{account}:role/trailwarden-responder"; cfg.Respond.RAM.AssumeRole != want {
		t.Errorf("acts in the other account as %q, want %q", cfg.Respond.RAM.AssumeRole, want)
	}
	if len(cfg.Accounts) != 2 || cfg.HTTP.Listen != "" {
		t.Errorf("accounts %v, http %q", cfg.Accounts, cfg.HTTP.Listen)
	}
	if cfg.NATS.MaxBytes > 512<<20 {
		t.Errorf("the store wants %d MiB of /tmp, which may be a part of the memory", cfg.NATS.MaxBytes>>20)
	}
	if cfg.StateDir != filepath.Join(filepath.Dir(c.Config), "state") {
		t.Errorf("state in %s", cfg.StateDir)
	}
	text, err := os.ReadFile(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{keySecret, chattest.DefaultBotToken, chattest.DefaultAppToken} {
		if bytes.Contains(text, []byte(s)) {
			t.Error("a secret is in the configuration itself")
		}
	}
	entries, err := os.ReadDir(filepath.Dir(c.Config))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	// With no account known, it is still valid.
	none := start(t, Options{})
	if cfg, err := config.Load(none.Config, nil); err != nil || len(cfg.Accounts) != 0 {
		t.Errorf("without accounts: %v", err)
	}
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c, err := Start(Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Config); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if _, err := http.Get("http://" + c.Addr + "/api/api.test"); err == nil {
		t.Error("it still serves")
	}
}

// What records name exists: users with their keys, and keys that were made.
func TestSeed(t *testing.T) {
	c := start(t, Options{}, account)
	for _, r := range [][]byte{
		listUsers("E-1", "alice", "LTAI5tEXAMPLEalice00001", ""),
		listUsers("E-2", "alice", "LTAI5tEXAMPLEalice00001", ""),
		listUsers("E-3", "mallory", "LTAI5tEXAMPLEalice00001", ""), // forged: the first owner keeps it
		listUsers("E-4", "bob", "STS.EXAMPLEbob", ""),
		[]byte(`{"eventId":"E-5","eventName":"CreateAccessKey","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","eventRW":"Write","recipientAccountId":"` + account +
			`","userIdentity":{"type":"ram-user","accountId":"` + account + `","userName":"alice"},"requestParameters":{"UserName":"carol"},"responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEcarol00001"}}}`),
		[]byte(`{"eventId":"E-6","eventName":"CreateAccessKey","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","eventRW":"Write","recipientAccountId":"` + account +
			`","errorCode":"NoPermission","userIdentity":{"type":"ram-user","accountId":"` + account + `","userName":"alice"},"requestParameters":{"UserName":"dave"},"responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEdave000001"}}}`),
		[]byte("not a record"), nil,
	} {
		c.Seed(r)
	}
	for key, want := range map[string]string{"LTAI5tEXAMPLEalice00001": ramtest.Active, "LTAI5tEXAMPLEcarol00001": ramtest.Active, "STS.EXAMPLEbob": "", "LTAI5tEXAMPLEdave000001": ""} {
		if got := c.RAM.KeyStatus(key); got != want {
			t.Errorf("key %s is %q, want %q", key, got, want)
		}
	}
}

// did is a record of a call of alice, who is of the account, that succeeded.
func did(service, name, params string) []byte {
	return fmt.Appendf(nil, `{"eventId":%q,"eventName":%q,"serviceName":%q,"eventTime":"2026-11-20T08:00:00Z","eventRW":"Write","recipientAccountId":%q,`+
		`"userIdentity":{"type":"ram-user","accountId":%[4]q,"userName":"alice","accessKeyId":"LTAI5tEXAMPLEalice00001"},"requestParameters":%[5]s}`, "E-"+name, name, service, account, params)
}

// What a trail says was done is done in the fake account, also to what was made
// before the trail begins, and in either product's names; what failed is not.
func TestRelive(t *testing.T) {
	c := start(t, Options{}, account)
	refused := bytes.Replace(did("Ram", "AttachPolicyToUser", `{"PolicyType":"System","PolicyName":"AdministratorAccess","UserName":"eve"}`), []byte(`"eventRW"`), []byte(`"errorCode":"NoPermission","eventRW"`), 1)
	records := [][]byte{
		did("Ram", "CreatePolicy", `{"PolicyName":"wide","PolicyDocument":"{\"Version\":\"1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"oss:*\",\"Resource\":\"*\"}]}"}`),
		did("Ram", "AttachPolicyToUser", `{"PolicyType":"Custom","PolicyName":"wide","UserName":"bob"}`),
		did("Ram", "CreatePolicyVersion", `{"PolicyName":"older","SetAsDefault":true,"PolicyDocument":"{\"Version\":\"1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}`),
		did("Ram", "AttachPolicyToRole", `{"PolicyType":"System","PolicyName":"AliyunExampleAccess","RoleName":"deployer"}`),
		did("Ims", "AddUserToGroup", `{"UserPrincipalName":"carol@`+account+`.onaliyun.com","GroupName":"admins"}`),
		did("Ims", "CreateGroup", `{"GroupName":"readers"}`),
		did("Ims", "CreateLoginProfile", `{"UserPrincipalName":"carol@example.onaliyun.com","Status":"Active","MFABindRequired":"false"}`),
		did("Ram", "CreateRole", `{"RoleName":"opened","AssumeRolePolicyDocument":"{\"Statement\":[{\"Action\":\"sts:AssumeRole\",\"Effect\":\"Allow\",\"Principal\":{\"RAM\":[\"acs:ram::1000000000000009:root\"]}}],\"Version\":\"1\"}"}`),
		did("Actiontrail", "StopLogging", `{"Name":"main-trail"}`),
		did("Ram", "UpdateAccessKey", `{"UserAccessKeyId":"LTAI5tEXAMPLEcarol00001","UserName":"carol","Status":"Inactive"}`),
		did("Ram", "DeleteUser", `{"UserName":"gone"}`),
		did("Ecs", "CreateUser", `{"UserName":"elsewhere"}`),
		refused,
		[]byte("not a record"),
	}
	if _, err := c.Feed(context.Background(), func() ([]byte, error) {
		if len(records) == 0 {
			return nil, nil
		}
		r := records[0]
		records = records[1:]
		return r, nil
	}, 0); err != nil {
		t.Fatal(err)
	}
	var state map[string]struct {
		Users map[string]struct {
			Policies []string
			Login    *struct{ Status string }
		}
		Groups map[string]struct{ Members []string }
		Roles  map[string]struct {
			Trust    string
			Policies []string
		}
		Policies map[string]struct {
			Default  string
			Versions []struct{ ID, Document string }
		}
		Trails map[string]struct{ Logging bool }
	}
	if err := json.Unmarshal(c.RAM.State(), &state); err != nil {
		t.Fatal(err)
	}
	got := state[account]
	if p := got.Users["bob"].Policies; !slices.Equal(p, []string{"Custom/wide"}) {
		t.Errorf("bob has %v", p)
	}
	if p := got.Policies["Custom/older"]; p.Default != "v2" || len(p.Versions) != 2 || !strings.Contains(p.Versions[1].Document, `"*"`) {
		t.Errorf("the policy of before is %+v", p)
	}
	if r := got.Roles["deployer"]; !slices.Equal(r.Policies, []string{"System/AliyunExampleAccess"}) {
		t.Errorf("the role of before is %+v", r)
	}
	if m := got.Groups["admins"].Members; !slices.Equal(m, []string{"carol"}) {
		t.Errorf("the group of before has %v", m)
	}
	if l := got.Users["carol"].Login; l == nil || l.Status != ramtest.Active {
		t.Errorf("carol's login is %v", l)
	}
	if p := got.Policies["Custom/zz-quarantine-deny-all"]; !strings.Contains(fmt.Sprint(p), "Deny") {
		t.Errorf("what a quarantine attaches is %+v", p)
	}
	if r := got.Roles["opened"]; !strings.Contains(r.Trust, "1000000000000009") {
		t.Errorf("the role that was made is %+v", r)
	}
	if tr, ok := got.Trails["main-trail"]; !ok || tr.Logging {
		t.Errorf("the trail that was stopped is %v, %v", tr, ok)
	}
	if _, ok := got.Groups["readers"]; !ok {
		t.Error("a group made by Ims is not there")
	}
	for _, not := range []string{"gone", "elsewhere", "eve"} {
		if _, ok := got.Users[not]; ok {
			t.Errorf("the account has %s", not)
		}
	}
	if got := c.RAM.KeyStatus("LTAI5tEXAMPLEcarol00001"); got != ramtest.Inactive {
		t.Errorf("carol's key is %q", got)
	}
}

func TestFeed(t *testing.T) {
	c := start(t, Options{}, account)
	n := 0
	next := func() ([]byte, error) {
		if n == 450 {
			return nil, nil
		}
		n++
		return listUsers(fmt.Sprintf("E-%d", n), "alice", "LTAI5tEXAMPLEalice00001", ""), nil
	}
	got, err := c.Feed(context.Background(), next, 0)
	if err != nil || got != 450 {
		t.Errorf("%d records, %v", got, err)
	}
	if c.RAM.KeyStatus("LTAI5tEXAMPLEalice00001") != ramtest.Active {
		t.Error("the user's key does not exist")
	}
	// A rate is kept: 20 at 100 a second take a fifth of a second or more.
	n, start := 430, time.Now()
	if got, err := c.Feed(context.Background(), next, 100); err != nil || got != 20 {
		t.Errorf("%d records, %v", got, err)
	}
	if d := time.Since(start); d < 190*time.Millisecond {
		t.Errorf("20 records at 100/s took %s", d)
	}
	// The end of the context ends it; what was taken is in the logstore.
	ctx, cancel := context.WithCancel(context.Background())
	n = 0
	got, err = c.Feed(ctx, func() ([]byte, error) {
		if n == 3 {
			cancel()
		}
		return next()
	}, 1000)
	if !errors.Is(err, context.Canceled) || got == 0 {
		t.Errorf("cancelled: %d records, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := c.Feed(context.Background(), func() ([]byte, error) { return nil, broken }, 0); !errors.Is(err, broken) {
		t.Errorf("a broken source: %v", err)
	}
}

func TestUpToNow(t *testing.T) {
	now := time.Date(2027, 3, 1, 0, 0, 30, 987654321, time.UTC)
	at := func(s string) []byte {
		return []byte(strings.NewReplacer("2026-01-01T00:00:00Z", s).Replace(`{"eventId":"E","eventTime":"2026-01-01T00:00:00Z","eventName":"ListUsers","serviceName":"Ram",` +
			`"additionalEventData":"{\"x\":\"2026-01-01T00:00:00Z\"}","odd":"2026-02-31T00:00:00Z","near":"2026-01-01T00:00:00.5Z"}`))
	}
	records := [][]byte{at("2026-02-27T10:00:00Z"), []byte("junk of 2026-02-28T00:00:00Z"), at("2026-02-28T23:59:50Z"), nil}
	if err := UpToNow(records, now); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{string(at("2027-02-27T10:00:40Z")), "junk of 2027-02-28T00:00:40Z", string(at("2027-03-01T00:00:30Z")), ""} {
		if string(records[i]) != want {
			t.Errorf("record %d: %s, want %s", i, records[i], want)
		}
	}
	if err := UpToNow(nil, now); err != nil {
		t.Errorf("no records: %v", err)
	}
	if err := UpToNow([][]byte{[]byte("junk")}, now); err == nil || !strings.Contains(err.Error(), "none of the 1 records is an event") {
		t.Errorf("no event: %v", err)
	}
}

func TestAccounts(t *testing.T) {
	other := bytes.ReplaceAll(listUsers("E-3", "x", "", ""), []byte(account), []byte("1000000000000002"))
	got := Accounts([][]byte{listUsers("E-1", "a", "", ""), other, listUsers("E-2", "b", "", ""), []byte("junk"), nil})
	if len(got) != 2 || got[0] != account || got[1] != "1000000000000002" {
		t.Errorf("%v, want the busiest first", got)
	}
	if got := Accounts(nil); len(got) != 0 {
		t.Errorf("no records: %v", got)
	}
}

// One address serves three services; each request is one line of the journal,
// and no secret is in it. A change made in the cloud comes back as a record.
func TestJournalAndEcho(t *testing.T) {
	j := &buffer{}
	c := start(t, Options{Journal: j, ChatRate: -1}, account)
	c.Seed(listUsers("E-1", "alice", "LTAI5tEXAMPLEalice00001", ""))
	ctx := context.Background()

	_, end := c.SLS.Bounds(0)
	_, end1 := c.SLS.Bounds(1)
	client, err := ram.New(ram.Config{Region: "cn-hangzhou", Endpoint: "http://" + c.Addr,
		Credentials: func(context.Context) (string, string, string, error) { return keyID, keySecret, "", nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Self(ctx); err != nil {
		t.Errorf("the identity services: %v", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Addr+chattest.APIPath+"chat.postMessage", strings.NewReader(url.Values{"channel": {chattest.DefaultChannel}, "text": {"hello"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+chattest.DefaultBotToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if ms := c.Chat.Messages(chattest.DefaultChannel); len(ms) != 1 || ms[0].Text != "hello" {
		t.Errorf("the chat has %v", ms)
	}
	// Nobody's signature: refused, and written down all the same.
	req, err = http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/logstores/"+logstore+"/shards", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Log-Apiversion", "0.6.0")
	req.Header.Set("Authorization", "LOG "+keyID+":EXAMPLEsignature")
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("an unsigned request got %s", resp.Status)
	}

	c.record(ramtest.Change{Time: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), API: "Ram", Action: "UpdateAccessKey", RequestID: "R-EXAMPLE-1",
		Params: map[string]string{"UserName": "alice", "Status": "Inactive"}, Caller: ramtest.Caller{Type: "ram-user", Account: account, Name: userName}})
	_, now := c.SLS.Bounds(0)
	_, now1 := c.SLS.Bounds(1)
	if now == end && now1 == end1 {
		t.Error("a change did not come back as a record")
	}

	services := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(j.String()), "\n") {
		var e struct{ Service, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time == "" {
			t.Errorf("line %q: %v", line, err)
		}
		services[e.Service]++
	}
	for _, s := range []string{"sls", "ram", "chat"} {
		if services[s] == 0 {
			t.Errorf("no line of %s in the journal: %v", s, services)
		}
	}
	for _, secret := range []string{keySecret, chattest.DefaultBotToken, chattest.DefaultAppToken, "EXAMPLEsignature", "Bearer"} {
		if strings.Contains(j.String(), secret) {
			t.Errorf("a secret is in the journal")
		}
	}
}

// A journal that cannot be written is told at the end, not lost.
func TestJournalFails(t *testing.T) {
	full := errors.New("disk full")
	c, err := Start(Options{Dir: t.TempDir(), Journal: &buffer{err: full}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+c.Addr+chattest.APIPath+"auth.test", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if err := c.Close(); !errors.Is(err, full) {
		t.Errorf("Close: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	c := start(t, Options{})
	b, err := json.Marshal(c.Endpoints())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"sls", "project", "logstore", "ram", "ims", "sts", "actiontrail", "slack", "slack_webhook", "slack_channel", "config"} {
		if m[k] == "" {
			t.Errorf("%s is missing", k)
		}
	}
}
