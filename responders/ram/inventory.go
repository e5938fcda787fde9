package ram

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// Inventory is what an account's identities may do, as RAM lists it. Nothing
// in it is from one moment: the listing takes as long as it takes.
type Inventory struct {
	Account  string
	Policies []PolicyText
	Holders  []Holder
	Roles    []RoleTrust
	// Settings are the account's security preference and password policy, by
	// the names of the parameters that set them; a list is joined by commas.
	Settings map[string]string
	// Scoped says that Holders' attachments say in which resource group they
	// hold, and that those of groups are among them.
	Scoped bool
	// Directory is the resource directory that the account manages, nil when
	// it manages none or the directory could not be read whole.
	Directory *Directory
	// Missing says what could not be read, one entry for each kind of call;
	// Partial that a list was longer than is read.
	Missing []string
	Partial bool
}

// Whole says that all attachments, groups and texts were read: what is not
// here is not there. Settings, keys and the directory say it themselves.
func (i *Inventory) Whole() bool {
	return !i.Partial && !slices.ContainsFunc(i.Missing, func(m string) bool { return slices.Contains(attachmentReads, m) })
}

// attachmentReads are the calls without which attachments are not known in
// full. That of resource groups is not among them: what holds in one is no
// proof for the account.
var attachmentReads = []string{"ram:ListPolicies", "ram:ListPolicyVersions", "ram:GetPolicyVersion", "ram:GetPolicy", "ram:ListGroups", "ram:ListUsersForGroup",
	"ram:ListUsers", "ram:ListRoles", "ram:GetRole", "ram:ListPoliciesForUser", "ram:ListPoliciesForGroup", "ram:ListPoliciesForRole"}

// PolicyText is one version of a policy. Versions never change.
type PolicyText struct {
	System  bool
	Name    string
	Version string
	Text    string
	Default bool // the version in force
}

// Holder is a user, group or role with what is attached to it.
type Holder struct {
	Kind     string // user, group or role
	Name     string
	Attached []AttachedPolicy
	Links    []string // of a group its users, of a user its groups
	// Keys are a user's AccessKeys that are active, MFA whether it has a
	// second factor. KeysKnown and MFAKnown say that they were read.
	Keys                []string
	MFA                 bool
	KeysKnown, MFAKnown bool
}

// AttachedPolicy names a policy that somebody holds, in the whole account or
// in a resource group alone.
type AttachedPolicy struct {
	System bool
	Name   string
	Group  string
}

// Directory is a resource directory: where its folders and accounts lie, and
// its control policies.
type Directory struct {
	Root     string            // id of the root folder
	Parent   map[string]string // folder or account → the folder it lies in
	Policies []ControlPolicy
}

// ControlPolicy is a custom control policy and what it is attached to. Text is
// empty when it could not be read.
type ControlPolicy struct {
	ID      string
	Text    string
	Targets []string
}

// RoleTrust is whom a role trusts.
type RoleTrust struct{ Role, Text string }

// maxInventory bounds the users, groups, roles and policies that are read, of
// each kind.
const maxInventory = 5000

// Inventory reads an account's policies, attachments, groups, trust, keys,
// second factors and settings, and the resource directory that it manages. It
// changes nothing. A call that is refused is noted in Missing and the rest is
// read; any other error ends it. Errors are *Error.
func (c *Client) Inventory(ctx context.Context, account string) (Inventory, error) {
	inv := Inventory{Account: account}
	sc, err := c.in(ctx, account)
	if err != nil {
		return inv, err
	}
	l := &lister{c: c, sc: sc, inv: &inv, refused: map[string]bool{}}
	for _, f := range []func(context.Context) error{l.policies, l.groups, l.users, l.roles, l.scopes, l.systemPolicies, l.settings, l.directory} {
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

// call makes one read of RAM. ok is false when it was refused or what it asks
// about is gone meanwhile.
func (l *lister) call(ctx context.Context, action string, f func(*worker) error) (ok bool, err error) {
	return l.ask(ctx, op{product: "ram", action: action}, f)
}

// ask is call for any product.
func (l *lister) ask(ctx context.Context, o op, f func(*worker) error) (ok bool, err error) {
	if l.refused[o.String()] {
		return false, nil
	}
	_, err = l.c.do(ctx, l.sc.as, o, f)
	switch {
	case err == nil:
		return true, nil
	case absent(err, "User"), absent(err, "Role"), absent(err, "Group"), absent(err, "Policy"), absent(err, "Policy.Version"), absent(err, "User.MFADevice"),
		strings.HasPrefix(code(err), "EntityNotExists."): // of ResourceManager
		return false, nil
	case Denied(err), o.product == "resourcemanager" && !errors.Is(err, responders.ErrRetry) && ctx.Err() == nil:
		// What the directory answers to those who do not manage it is not
		// documented; whatever it is, the rest can be read without.
		l.refused[o.String()] = true
		l.inv.Missing = append(l.inv.Missing, o.permission())
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
		l.hold(a)
	}
	l.inv.Holders = append(l.inv.Holders, h)
	return nil
}

// hold notes that somebody holds a policy, whose text is wanted if it is the
// vendor's.
func (l *lister) hold(a AttachedPolicy) {
	if a.System && !slices.Contains(l.system, a.Name) && len(l.system) < 500 {
		l.system = append(l.system, a.Name)
	}
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
		h := Holder{Kind: "user", Name: n, Links: of[n]}
		if err := l.signIn(ctx, &h); err != nil {
			return err
		}
		if err := l.holder(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// signIn reads a user's keys and whether there is a second factor.
func (l *lister) signIn(ctx context.Context, h *Holder) (err error) {
	h.KeysKnown, err = l.call(ctx, "ListAccessKeys", func(w *worker) error {
		r := ram.CreateListAccessKeysRequest()
		r.UserName = h.Name
		resp, err := w.ram.listAccessKeys(r)
		if err != nil {
			return err
		}
		for _, k := range resp.AccessKeys.AccessKey {
			if k.Status == "Active" {
				h.Keys = append(h.Keys, k.AccessKeyId)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	o := op{product: "ram", action: "GetUserMFAInfo"}
	h.MFA, err = l.ask(ctx, o, func(w *worker) error {
		r := ram.CreateGetUserMFAInfoRequest()
		r.UserName = h.Name
		_, err := w.ram.getUserMFAInfo(r)
		return err
	})
	// That there is none is an error of the call's own.
	h.MFAKnown = err == nil && !l.refused[o.String()]
	return err
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
