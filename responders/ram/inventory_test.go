package ram

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders/ramtest"
)

func TestInventory(t *testing.T) {
	r := newRig(t)
	for i := range 230 { // more than two pages
		r.cloud.AddUser(acct, fmt.Sprintf("many-%03d", i))
	}
	inv, err := r.c.Inventory(t.Context(), acct)
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Missing) > 0 || inv.Partial {
		t.Errorf("%v, partial %v", inv.Missing, inv.Partial)
	}
	policies := map[string]PolicyText{}
	for _, p := range inv.Policies {
		policies[fmt.Sprint(p.System, p.Name, p.Version)] = p
	}
	if p := policies["falsedeployv1"]; !strings.Contains(p.Text, "Statement") {
		t.Errorf("deploy v1: %+v", p)
	}
	if a, b := policies["falsedeployv1"], policies["falsedeployv2"]; a.Default == b.Default || a.Text == b.Text {
		t.Errorf("versions of deploy: %+v %+v", a, b)
	}
	users := 0
	for _, h := range inv.Holders {
		switch h.Kind + " " + h.Name {
		case "user alice":
			if !slices.Equal(h.Attached, []AttachedPolicy{{System: true, Name: "AdministratorAccess"}}) || !slices.Equal(h.Links, []string{"admins", "fenced"}) {
				t.Errorf("%+v", h)
			}
		case "group admins":
			if !slices.Equal(h.Attached, []AttachedPolicy{{Name: "deploy"}}) || !slices.Equal(h.Links, []string{"alice", "bob"}) {
				t.Errorf("%+v", h)
			}
		case "role ci":
			if !slices.Equal(h.Attached, []AttachedPolicy{{System: true, Name: "AliyunOSSFullAccess"}}) {
				t.Errorf("%+v", h)
			}
		}
		if strings.HasPrefix(h.Name, "many-") {
			users++
		}
	}
	if users != 230 {
		t.Errorf("%d of 230 users", users)
	}
	if i := slices.IndexFunc(inv.Roles, func(x RoleTrust) bool { return x.Role == "open" }); i < 0 || !strings.Contains(inv.Roles[i].Text, other) {
		t.Errorf("%+v", inv.Roles)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.log {
		if !strings.HasPrefix(e.Action, "Get") && !strings.HasPrefix(e.Action, "List") {
			t.Errorf("an inventory called %s", e.Action)
		}
	}
}

func TestInventoryRefused(t *testing.T) {
	r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
	r.cloud.AddRole(acct, "reader", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::`+acct+`:root"}}]}`)
	r.cloud.AddPolicy(acct, "reads", `{"Version":"1","Statement":[{"Effect":"Allow","Action":["ram:List*","ram:GetPolicy*"],"Resource":"*"}]}`)
	if err := r.cloud.Attach(acct, "Custom", "reads", "role", "reader"); err != nil {
		t.Fatal(err)
	}
	r.cred = r.cloud.AddSession(acct, "reader", RoleSessionName, time.Hour)
	inv, err := r.c.Inventory(t.Context(), acct)
	if err != nil {
		t.Fatal(err)
	}
	missing := []string{"ram:GetUserMFAInfo", "ram:GetRole", "ram:GetSecurityPreference", "ram:GetPasswordPolicy", "resourcemanager:GetResourceDirectory"}
	if !slices.Equal(inv.Missing, missing) || inv.Settings != nil || inv.Directory != nil || !inv.Scoped || len(inv.Roles) > 0 || len(inv.Holders) == 0 {
		t.Errorf("missing %v, %d roles, %d holders", inv.Missing, len(inv.Roles), len(inv.Holders))
	}
}

// TestInventoryOfMore: keys, second factors, settings, resource groups and the
// directory, under the documented quotas, which throttle.
func TestInventoryOfMore(t *testing.T) {
	throttled := time.Now()
	r := newRig(t, func(o *ramtest.Options, c *Config) {
		o.Quotas, o.Now = true, func() time.Time { return throttled }
		c.Sleep = func(context.Context, time.Duration) error {
			throttled = throttled.Add(time.Second)
			return nil
		}
	})
	r.cloud.AddMFA(acct, "bob")
	const gone = "LTAI5tEXAMPLEgone000001"
	if err := r.cloud.AddKey(acct, "alice", ramtest.Key{ID: gone, Status: ramtest.Inactive}); err != nil {
		t.Fatal(err)
	}
	for i := range 130 { // more than one page
		if err := r.cloud.AttachInGroup(acct, "Custom", "deploy", "user", "bob", fmt.Sprintf("rg-%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r.cloud.AddDirectory(acct, "r-1")
	r.cloud.AddFolder(acct, "fd-outer", "r-1")
	r.cloud.AddFolder(acct, "fd-inner", "fd-outer")
	r.cloud.AddMember(acct, other, "fd-inner")
	for i := range 120 {
		r.cloud.AddFolder(acct, fmt.Sprintf("fd-%03d", i), "r-1")
	}
	r.cloud.AddControlPolicy(acct, "cp-guard", denyAll, "fd-outer", other)
	inv, err := r.c.Inventory(t.Context(), acct)
	if err != nil || len(inv.Missing) > 0 || inv.Partial {
		t.Fatal(err, inv.Missing, inv.Partial)
	}
	for _, h := range inv.Holders {
		switch h.Kind + " " + h.Name {
		case "user alice":
			if !slices.Equal(h.Keys, []string{aliceKey}) || h.MFA || !h.MFAKnown || !h.KeysKnown {
				t.Errorf("%+v", h)
			}
		case "user bob":
			if !h.MFA || len(h.Keys) != 1 || len(h.Attached) < 130 || h.Attached[len(h.Attached)-1] != (AttachedPolicy{Name: "deploy", Group: "rg-129"}) {
				t.Errorf("%+v", h)
			}
		}
	}
	if s := inv.Settings; !inv.Scoped || s["AllowUserToManageAccessKeys"] != "false" || s["MFAOperationForLogin"] != "independent" || s["LoginSessionDuration"] != "6" || s["MinimumPasswordLength"] != "12" || s["MaxPasswordAge"] != "90" {
		t.Errorf("%v", s)
	}
	d := inv.Directory
	if d == nil || d.Root != "r-1" || d.Parent["fd-inner"] != "fd-outer" || d.Parent[other] != "fd-inner" || len(d.Parent) != 123 ||
		len(d.Policies) != 1 || d.Policies[0].Text != denyAll || !slices.Equal(d.Policies[0].Targets, []string{other, "fd-outer"}) {
		t.Errorf("%+v", d)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.seen, func(s string) bool { return strings.Contains(s, "Throttling") }) {
		t.Error("nothing was throttled: the test does not show that throttling is borne")
	}
	for _, e := range r.log {
		if !strings.HasPrefix(e.Action, "Get") && !strings.HasPrefix(e.Action, "List") {
			t.Errorf("an inventory called %s", e.Action)
		}
	}
}

// TestInventoryOfMember: a member account manages no directory, and one whose
// calls about it are refused is read without.
func TestInventoryOfMember(t *testing.T) {
	r := newRig(t)
	r.cloud.AddDirectory(other, "r-9")
	r.cloud.AddMember(other, acct, "r-9")
	inv, err := r.c.Inventory(t.Context(), acct)
	if err != nil || inv.Directory != nil || len(inv.Missing) > 0 {
		t.Fatal(err, inv.Directory, inv.Missing)
	}
	r = newRig(t)
	r.cloud.AddDirectory(acct, "r-1")
	r.cloud.Inject(ramtest.Fault{API: ramtest.ResourceManager, Action: "ListControlPolicies", Times: -1, Status: 403, Code: "NoPermission.Something"})
	inv, err = r.c.Inventory(t.Context(), acct)
	if err != nil || inv.Directory != nil || !slices.Equal(inv.Missing, []string{"resourcemanager:ListControlPolicies"}) || len(inv.Holders) == 0 {
		t.Fatal(err, inv.Directory, inv.Missing)
	}
}

func TestPolicyVersions(t *testing.T) {
	r := newRig(t)
	list, err := r.c.PolicyVersions(t.Context(), acct, false, "deploy")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if list, err := r.c.PolicyVersions(t.Context(), acct, false, "no-such"); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	if list, err := r.c.PolicyVersions(t.Context(), acct, true, "AdministratorAccess"); err != nil || len(list) > 1 {
		t.Error(list, err)
	}
}
