package ram

import (
	"context"
	"fmt"
	"slices"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
)

// Inventory is what an account's identities may do, as RAM lists it. Nothing
// in it is from one moment: the listing takes as long as it takes.
type Inventory struct {
	Account  string
	Policies []PolicyText
	Holders  []Holder
	Roles    []RoleTrust
	// Missing says what could not be read, one entry for each kind of call;
	// Partial that a list was longer than is read.
	Missing []string
	Partial bool
}

// PolicyText is one version of a policy. Versions never change.
type PolicyText struct {
	System  bool
	Name    string
	Version string
	Text    string
	Default bool // the version in force
}

// Holder is a user, group or role with what is attached to it in the whole
// account. What is attached in a resource group is not listed here.
type Holder struct {
	Kind     string // user, group or role
	Name     string
	Attached []AttachedPolicy
	Links    []string // of a group its users, of a user its groups
}

// AttachedPolicy names a policy that somebody holds.
type AttachedPolicy struct {
	System bool
	Name   string
}

// RoleTrust is whom a role trusts.
type RoleTrust struct{ Role, Text string }

// maxInventory bounds the users, groups, roles and policies that are read, of
// each kind.
const maxInventory = 5000

// Inventory reads an account's policies, attachments, groups and trust. It
// changes nothing; it needs ram:List* and ram:Get*. A call that is refused is
// noted in Missing and the rest is read; any other error ends it. Errors are
// *Error.
func (c *Client) Inventory(ctx context.Context, account string) (Inventory, error) {
	inv := Inventory{Account: account}
	sc, err := c.in(ctx, account)
	if err != nil {
		return inv, err
	}
	l := &lister{c: c, sc: sc, inv: &inv, refused: map[string]bool{}}
	for _, f := range []func(context.Context) error{l.policies, l.groups, l.users, l.roles, l.systemPolicies} {
		if err := f(ctx); err != nil {
			return inv, err
		}
	}
	return inv, nil
}

// PolicyVersions reads all versions of one policy. Errors are *Error.
func (c *Client) PolicyVersions(ctx context.Context, account string, system bool, name string) ([]PolicyText, error) {
	sc, err := c.in(ctx, account)
	if err != nil {
		return nil, err
	}
	var inv Inventory
	l := &lister{c: c, sc: sc, inv: &inv, refused: map[string]bool{}}
	if system {
		err = l.systemPolicy(ctx, name)
	} else {
		err = l.versions(ctx, name)
	}
	if err == nil && len(inv.Missing) > 0 {
		return nil, fmt.Errorf("the policy %q cannot be read: %s is refused", clean(name, 80), inv.Missing[0])
	}
	return inv.Policies, err
}

type lister struct {
	c       *Client
	sc      scope
	inv     *Inventory
	refused map[string]bool
	system  []string // system policies that somebody holds
}

// call makes one read. ok is false when it was refused or what it asks about
// is gone meanwhile.
func (l *lister) call(ctx context.Context, action string, f func(*worker) error) (ok bool, err error) {
	if l.refused[action] {
		return false, nil
	}
	_, err = l.c.do(ctx, l.sc.as, op{product: "ram", action: action}, f)
	switch {
	case err == nil:
		return true, nil
	case absent(err, "User"), absent(err, "Role"), absent(err, "Group"), absent(err, "Policy"), absent(err, "Policy.Version"):
		return false, nil
	case Denied(err):
		l.refused[action] = true
		l.inv.Missing = append(l.inv.Missing, "ram:"+action)
		return false, nil
	}
	return false, err
}

// pages calls f for every page of a list until there are no more, or enough
// of them. f returns how many entries it got and where the next page begins.
func (l *lister) pages(ctx context.Context, action string, f func(w *worker, marker string) (n int, next string, err error)) error {
	marker, seen := "", 0
	for {
		var n int
		var next string
		ok, err := l.call(ctx, action, func(w *worker) (err error) {
			n, next, err = f(w, marker)
			return err
		})
		if err != nil || !ok || next == "" || next == marker {
			return err
		}
		if seen += n; seen >= maxInventory {
			l.inv.Partial = true
			return nil
		}
		marker = next
	}
}

func more(truncated bool, marker string) string {
	if truncated {
		return marker
	}
	return ""
}

const pageSize = 100

func (l *lister) policies(ctx context.Context) error {
	var names []string
	if err := l.pages(ctx, "ListPolicies", func(w *worker, marker string) (int, string, error) {
		r := ram.CreateListPoliciesRequest()
		r.PolicyType, r.Marker, r.MaxItems = "Custom", marker, requests.NewInteger(pageSize)
		resp, err := w.ram.listPolicies(r)
		if err != nil {
			return 0, "", err
		}
		for _, p := range resp.Policies.Policy {
			names = append(names, p.PolicyName)
		}
		return len(resp.Policies.Policy), more(resp.IsTruncated, resp.Marker), nil
	}); err != nil {
		return err
	}
	for _, n := range names {
		if err := l.versions(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) versions(ctx context.Context, name string) error {
	var list []ram.PolicyVersion
	if _, err := l.call(ctx, "ListPolicyVersions", func(w *worker) error {
		r := ram.CreateListPolicyVersionsRequest()
		r.PolicyType, r.PolicyName = "Custom", name
		resp, err := w.ram.listPolicyVersions(r)
		if err == nil {
			list = resp.PolicyVersions.PolicyVersion
		}
		return err
	}); err != nil {
		return err
	}
	for _, v := range list {
		if _, err := l.call(ctx, "GetPolicyVersion", func(w *worker) error {
			r := ram.CreateGetPolicyVersionRequest()
			r.PolicyType, r.PolicyName, r.VersionId = "Custom", name, v.VersionId
			resp, err := w.ram.getPolicyVersion(r)
			if err == nil {
				p := resp.PolicyVersion
				l.inv.Policies = append(l.inv.Policies, PolicyText{Name: name, Version: p.VersionId, Text: p.PolicyDocument, Default: p.IsDefaultVersion})
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) systemPolicies(ctx context.Context) error {
	for _, n := range l.system {
		if err := l.systemPolicy(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) systemPolicy(ctx context.Context, name string) error {
	_, err := l.call(ctx, "GetPolicy", func(w *worker) error {
		r := ram.CreateGetPolicyRequest()
		r.PolicyType, r.PolicyName = "System", name
		resp, err := w.ram.getPolicy(r)
		if err == nil && resp.DefaultPolicyVersion.PolicyDocument != "" {
			p := resp.DefaultPolicyVersion
			l.inv.Policies = append(l.inv.Policies, PolicyText{System: true, Name: name, Version: p.VersionId, Text: p.PolicyDocument, Default: true})
		}
		return err
	})
	return err
}

// holder reads what somebody holds and keeps it, unless that was refused.
func (l *lister) holder(ctx context.Context, h Holder) error {
	var list []ram.Policy
	action := map[string]string{"user": "ListPoliciesForUser", "group": "ListPoliciesForGroup", "role": "ListPoliciesForRole"}[h.Kind]
	ok, err := l.call(ctx, action, func(w *worker) error {
		switch h.Kind {
		case "user":
			r := ram.CreateListPoliciesForUserRequest()
			r.UserName = h.Name
			resp, err := w.ram.listPoliciesForUser(r)
			if err == nil {
				list = resp.Policies.Policy
			}
			return err
		case "role":
			r := ram.CreateListPoliciesForRoleRequest()
			r.RoleName = h.Name
			resp, err := w.ram.listPoliciesForRole(r)
			if err == nil {
				list = resp.Policies.Policy
			}
			return err
		}
		r := ram.CreateListPoliciesForGroupRequest()
		r.GroupName = h.Name
		resp, err := w.ram.listPoliciesForGroup(r)
		if err == nil {
			list = resp.Policies.Policy
		}
		return err
	})
	if err != nil || !ok {
		return err
	}
	for _, p := range list {
		a := AttachedPolicy{System: p.PolicyType == "System", Name: p.PolicyName}
		h.Attached = append(h.Attached, a)
		if a.System && !slices.Contains(l.system, a.Name) && len(l.system) < 500 {
			l.system = append(l.system, a.Name)
		}
	}
	l.inv.Holders = append(l.inv.Holders, h)
	return nil
}

func (l *lister) groups(ctx context.Context) error {
	var names []string
	if err := l.pages(ctx, "ListGroups", func(w *worker, marker string) (int, string, error) {
		r := ram.CreateListGroupsRequest()
		r.Marker, r.MaxItems = marker, requests.NewInteger(pageSize)
		resp, err := w.ram.listGroups(r)
		if err != nil {
			return 0, "", err
		}
		for _, g := range resp.Groups.Group {
			names = append(names, g.GroupName)
		}
		return len(resp.Groups.Group), more(resp.IsTruncated, resp.Marker), nil
	}); err != nil {
		return err
	}
	for _, n := range names {
		h := Holder{Kind: "group", Name: n}
		if err := l.pages(ctx, "ListUsersForGroup", func(w *worker, marker string) (int, string, error) {
			r := ram.CreateListUsersForGroupRequest()
			r.GroupName, r.Marker, r.MaxItems = n, marker, requests.NewInteger(pageSize)
			resp, err := w.ram.listUsersForGroup(r)
			if err != nil {
				return 0, "", err
			}
			for _, u := range resp.Users.User {
				h.Links = append(h.Links, u.UserName)
			}
			return len(resp.Users.User), more(resp.IsTruncated, resp.Marker), nil
		}); err != nil {
			return err
		}
		if err := l.holder(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) users(ctx context.Context) error {
	of := map[string][]string{} // groups of a user, from the groups' lists
	for _, h := range l.inv.Holders {
		for _, u := range h.Links {
			of[u] = append(of[u], h.Name)
		}
	}
	var names []string
	if err := l.pages(ctx, "ListUsers", func(w *worker, marker string) (int, string, error) {
		r := ram.CreateListUsersRequest()
		r.Marker, r.MaxItems = marker, requests.NewInteger(pageSize)
		resp, err := w.ram.listUsers(r)
		if err != nil {
			return 0, "", err
		}
		for _, u := range resp.Users.User {
			names = append(names, u.UserName)
		}
		return len(resp.Users.User), more(resp.IsTruncated, resp.Marker), nil
	}); err != nil {
		return err
	}
	for _, n := range names {
		if err := l.holder(ctx, Holder{Kind: "user", Name: n, Links: of[n]}); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) roles(ctx context.Context) error {
	var names []string
	if err := l.pages(ctx, "ListRoles", func(w *worker, marker string) (int, string, error) {
		r := ram.CreateListRolesRequest()
		r.Marker, r.MaxItems = marker, requests.NewInteger(pageSize)
		resp, err := w.ram.listRoles(r)
		if err != nil {
			return 0, "", err
		}
		for _, x := range resp.Roles.Role {
			names = append(names, x.RoleName)
		}
		return len(resp.Roles.Role), more(resp.IsTruncated, resp.Marker), nil
	}); err != nil {
		return err
	}
	for _, n := range names {
		if _, err := l.call(ctx, "GetRole", func(w *worker) error {
			r := ram.CreateGetRoleRequest()
			r.RoleName = n
			resp, err := w.ram.getRole(r)
			if err == nil {
				l.inv.Roles = append(l.inv.Roles, RoleTrust{Role: n, Text: resp.Role.AssumeRolePolicyDocument})
			}
			return err
		}); err != nil {
			return err
		}
		if err := l.holder(ctx, Holder{Kind: "role", Name: n}); err != nil {
			return err
		}
	}
	return nil
}
