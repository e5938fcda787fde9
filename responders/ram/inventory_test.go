package ram

import (
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
			if !slices.Equal(h.Attached, []AttachedPolicy{{true, "AdministratorAccess"}}) || !slices.Equal(h.Links, []string{"admins", "fenced"}) {
				t.Errorf("%+v", h)
			}
		case "group admins":
			if !slices.Equal(h.Attached, []AttachedPolicy{{false, "deploy"}}) || !slices.Equal(h.Links, []string{"alice", "bob"}) {
				t.Errorf("%+v", h)
			}
		case "role ci":
			if !slices.Equal(h.Attached, []AttachedPolicy{{true, "AliyunOSSFullAccess"}}) {
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
	if !slices.Equal(inv.Missing, []string{"ram:GetRole"}) || len(inv.Roles) > 0 || len(inv.Holders) == 0 {
		t.Errorf("missing %v, %d roles, %d holders", inv.Missing, len(inv.Roles), len(inv.Holders))
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
