package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

const inventoryAccount = "1000000000000001"

func policyEvent(t *testing.T, at time.Time, call string, params map[string]string) *event.Event {
	t.Helper()
	return serviceEvent(t, at, "Ram", call, params)
}

func serviceEvent(t *testing.T, at time.Time, service, call string, params map[string]string) *event.Event {
	t.Helper()
	data, err := json.Marshal(map[string]any{"eventId": call + at.String(), "eventName": call, "serviceName": service, "eventTime": at.UTC().Format(time.RFC3339), "eventVersion": "1",
		"recipientAccountId": inventoryAccount, "eventRW": "Write", "sourceIpAddress": "203.0.113.9", "requestParameters": params,
		"userIdentity": map[string]any{"type": "ram-user", "accountId": inventoryAccount, "userName": "root-admin", "principalId": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestInventoryReachesTheJudge reads an emulated account through the real SDK
// and judges changes that carry only names.
func TestInventoryReachesTheJudge(t *testing.T) {
	var mu sync.Mutex
	called := map[string]bool{}
	cloud := ramtest.New(ramtest.Options{Enforce: true, Journal: func(e ramtest.Entry) {
		mu.Lock()
		defer mu.Unlock()
		code := "ram"
		if e.API == ramtest.ResourceManager && e.Action != "ListPolicyAttachments" {
			code = "resourcemanager"
		}
		if e.API != ramtest.STS { // needs no permission
			called[code+":"+e.Action] = true
		}
	}})
	defer cloud.Close()
	cloud.AddAccount(inventoryAccount, "acme")
	for _, u := range []string{"bob", "carol", "reader"} {
		cloud.AddUser(inventoryAccount, u)
	}
	const key = "LTAI5tEXAMPLEreader0001"
	if err := cloud.AddKey(inventoryAccount, "reader", ramtest.Key{ID: key, Secret: "example-secret"}); err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("../../../deploy/ram/reader-permissions.json")
	if err != nil {
		t.Fatal(err)
	}
	cloud.AddPolicy(inventoryAccount, "reads-ram", string(shipped))
	cloud.AddPolicy(inventoryAccount, "ops", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	cloud.AddGroup(inventoryAccount, "operators", "bob")
	for _, a := range [][3]string{{"reads-ram", "user", "reader"}, {"ops", "group", "operators"}} {
		if err := cloud.Attach(inventoryAccount, "Custom", a[0], a[1], a[2]); err != nil {
			t.Fatal(err)
		}
	}
	// carol holds ops in one resource group alone; dave has a key and
	// no second factor; a guard rail holds for one folder.
	if err := cloud.AttachInGroup(inventoryAccount, "Custom", "ops", "user", "carol", "rg-1"); err != nil {
		t.Fatal(err)
	}
	if err := cloud.AddKey(inventoryAccount, "dave", ramtest.Key{ID: "LTAI5tEXAMPLEdave000001"}); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Attach(inventoryAccount, "System", "AliyunOSSReadOnlyAccess", "user", "dave"); err != nil {
		t.Fatal(err)
	}
	cloud.AddRole(inventoryAccount, "ci", "")
	cloud.AddDirectory(inventoryAccount, "r-1")
	cloud.AddFolder(inventoryAccount, "fd-guarded", "r-1")
	cloud.AddFolder(inventoryAccount, "fd-free", "r-1")
	cloud.AddMember(inventoryAccount, "2000000000000002", "fd-guarded")
	cloud.AddControlPolicy(inventoryAccount, "cp-1", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"actiontrail:*","Resource":"*"}]}`, "fd-guarded")
	provider, err := cred.New(cred.Config{AccessKeyID: key, AccessKeySecret: "example-secret"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Detect.RAM = config.DetectRAM{Enabled: true, Endpoint: cloud.URL()}
	js := newJudges()
	judge := js.add(0).(*account.Judge)
	r, client, err := inventoryOf(cfg, provider, js, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now := time.Now()
	r.now = func() time.Time { return now }
	r.readAll(t.Context())

	// What the shipped policy allows is what is called, no more and no less.
	var doc struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(shipped, &doc); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	used := slices.Sorted(maps.Keys(called))
	mu.Unlock()
	if granted := slices.Sorted(slices.Values(doc.Statement[0].Action)); !slices.Equal(granted, used) {
		t.Errorf("granted %v\nused    %v", granted, used)
	}

	join := func(at time.Time) detectors.PolicyFacts {
		return judge.Judge(policyEvent(t, at, "AddUserToGroup", map[string]string{"GroupName": "operators", "UserName": "carol"}))
	}
	// What happened before the reading is not judged by it.
	if f := join(now.Add(-time.Hour)); f.Known || f.Verdict != "unknown" {
		t.Errorf("before the listing: %s, %s", f.Verdict, f.Sentence)
	}
	if f := judge.Judge(policyEvent(t, now.Add(time.Hour), "AddUserToGroup", map[string]string{"GroupName": "operators", "UserName": "reader"})); !f.AdminEquivalent || f.Details["before"] != "known" {
		t.Errorf("%s, %s: %+v", f.Verdict, f.Sentence, f.Details)
	}
	later := now.Add(time.Hour)
	attachTo := func(user string) detectors.PolicyFacts {
		return judge.Judge(policyEvent(t, later, "AttachPolicyToUser", map[string]string{"PolicyType": "Custom", "PolicyName": "ops", "UserName": user}))
	}
	// What holds in a resource group is no proof for the account.
	if f := attachTo("carol"); f.Verdict != "expands" || !f.AdminEquivalent {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
	// Keys and no second factor make it graver, and the reason is told.
	f := judge.Judge(policyEvent(t, later, "AttachPolicyToUser", map[string]string{"PolicyType": "System", "PolicyName": "AliyunOSSFullAccess", "UserName": "dave"}))
	if reasons := fmt.Sprint(f.Details["reasons"]); !strings.Contains(reasons, "dave") || !strings.Contains(reasons, "no MFA") || !strings.Contains(reasons, "未绑定 MFA") || f.Details["before"] != "known" {
		t.Errorf("%s: %v", f.Severity, f.Details)
	}
	if f := judge.Judge(serviceEvent(t, later, "Ims", "SetSecurityPreference", map[string]string{"AllowUserToManageAccessKeys": "true"})); !f.Expands || !f.Known || !strings.Contains(f.Sentence, "was false") {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
	if f := judge.Judge(serviceEvent(t, later, "Ims", "SetPasswordPolicy", map[string]string{"MinimumPasswordLength": "8"})); !f.Expands || !strings.Contains(f.Sentence, "was 12") {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
	if f := judge.Judge(serviceEvent(t, later, "ResourceDirectoryMaster", "MoveAccount", map[string]string{"AccountId": "2000000000000002", "DestinationFolderId": "fd-free"})); !f.DenyRemoved || !strings.Contains(f.Sentence, "actiontrail:*") {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
	if f := judge.Judge(serviceEvent(t, later, "ResourceDirectoryMaster", "DetachControlPolicy", map[string]string{"PolicyId": "cp-1", "TargetId": "fd-guarded"})); !f.DenyRemoved || !f.Known {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}

	// A policy made meanwhile, unseen, is looked up when it is wanted.
	cloud.AddPolicy(inventoryAccount, "later", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`)
	attach := func(at time.Time, user string) detectors.PolicyFacts {
		return judge.Judge(policyEvent(t, at, "AttachPolicyToUser", map[string]string{"PolicyType": "Custom", "PolicyName": "later", "UserName": user}))
	}
	if f := attach(now.Add(2*time.Hour), "bob"); f.Known {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
	now = now.Add(3 * time.Hour)
	r.readWanted(t.Context())
	if f := attach(now.Add(time.Hour), "carol"); !f.AdminEquivalent {
		t.Errorf("%s, %s", f.Verdict, f.Sentence)
	}
}

// TestInventoryRunEnds: the reader reads once for new judges and ends with its
// context, whatever the cloud does.
func TestInventoryRunEnds(t *testing.T) {
	cloud := ramtest.New(ramtest.Options{})
	url := cloud.URL()
	cloud.Close() // nobody answers
	provider, err := cred.New(cred.Config{AccessKeyID: "LTAI5tEXAMPLEreader0001", AccessKeySecret: "example-secret"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Detect.RAM = config.DetectRAM{Enabled: true, Endpoint: url, Accounts: []string{inventoryAccount}}
	js := newJudges()
	js.add(0)
	r, client, err := inventoryOf(cfg, provider, js, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		r.run(ctx)
		close(done)
	}()
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the reader does not end")
	}
}
