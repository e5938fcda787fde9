package ramtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

func (c *call) policyRef() (string, *apiError) {
	name, e := c.name("PolicyName", polChars, 128)
	if e != nil {
		return "", e
	}
	switch t := c.params["PolicyType"]; t {
	case "System", "Custom":
		return t + "/" + name, nil
	case "":
		return "", errf(400, "MissingPolicyType", "PolicyType is mandatory for this action.")
	}
	return "", errf(400, "InvalidParameter.PolicyType", "PolicyType must be System or Custom.")
}

func (c *call) policy() (*policy, *apiError) {
	ref, e := c.policyRef()
	if e != nil {
		return nil, e
	}
	p := c.acct.policies[ref]
	if p == nil {
		return nil, errf(404, "EntityNotExist.Policy", "The policy does not exist: %s.", c.params["PolicyName"])
	}
	return p, nil
}

// custom is for calls without a PolicyType: only custom policies change.
func (c *call) custom() (*policy, *apiError) {
	name, e := c.name("PolicyName", polChars, 128)
	if e != nil {
		return nil, e
	}
	p := c.acct.policies["Custom/"+name]
	if p == nil {
		return nil, errf(404, "EntityNotExist.Policy", "The policy does not exist: %s.", name)
	}
	return p, nil
}

func (c *call) holders(ref string) (users, groups, roles []string) {
	for n, u := range c.acct.users {
		if slices.Contains(u.policies, ref) {
			users = append(users, n)
		}
	}
	for n, g := range c.acct.groups {
		if slices.Contains(g.policies, ref) {
			groups = append(groups, n)
		}
	}
	for n, r := range c.acct.roles {
		if slices.Contains(r.policies, ref) {
			roles = append(roles, n)
		}
	}
	slices.Sort(users)
	slices.Sort(groups)
	slices.Sort(roles)
	return users, groups, roles
}

func (c *call) policyView(p *policy) map[string]any {
	u, g, r := c.holders(p.kind + "/" + p.name)
	return map[string]any{"PolicyName": p.name, "PolicyType": p.kind, "Description": p.description, "DefaultVersion": p.current,
		"CreateDate": stamp(p.created), "UpdateDate": stamp(p.updated), "AttachmentCount": len(u) + len(g) + len(r)}
}

func versionView(p *policy, v version, document bool) map[string]any {
	out := map[string]any{"VersionId": v.id, "IsDefaultVersion": v.id == p.current, "CreateDate": stamp(v.created)}
	if document {
		out["PolicyDocument"] = v.document
	}
	return out
}

func (p *policy) version(id string) *version {
	for i := range p.versions {
		if p.versions[i].id == id {
			return &p.versions[i]
		}
	}
	return nil
}

func createPolicy(c *call) (map[string]any, *apiError) {
	name, e := c.name("PolicyName", polChars, 128)
	if e != nil {
		return nil, e
	}
	if e := validDocument(c.params["PolicyDocument"], false); e != nil {
		return nil, e
	}
	if c.acct.policies["Custom/"+name] != nil || c.acct.policies["System/"+name] != nil {
		return nil, errf(409, "EntityAlreadyExists.Policy", "The policy already exists: %s.", name)
	}
	p := &policy{kind: "Custom", name: name, description: c.params["Description"], created: c.s.now(), updated: c.s.now(), current: "v1", next: 2,
		versions: []version{{"v1", c.params["PolicyDocument"], c.s.now()}}}
	c.acct.policies["Custom/"+name] = p
	return map[string]any{"Policy": c.policyView(p)}, nil
}

func deletePolicy(c *call) (map[string]any, *apiError) {
	p, e := c.custom()
	if e != nil {
		return nil, e
	}
	u, g, r := c.holders("Custom/" + p.name)
	switch {
	case len(u) > 0:
		return nil, errf(409, "DeleteConflict.Policy.User", "The policy is attached to users.")
	case len(g) > 0:
		return nil, errf(409, "DeleteConflict.Policy.Group", "The policy is attached to groups.")
	case len(r) > 0:
		return nil, errf(409, "DeleteConflict.Policy.Role", "The policy is attached to roles.")
	case len(p.versions) > 1:
		return nil, errf(409, "DeleteConflict.Policy.Version", "The policy has more versions than the default one.")
	}
	delete(c.acct.policies, "Custom/"+p.name)
	return nil, nil
}

func getPolicy(c *call) (map[string]any, *apiError) {
	p, e := c.policy()
	if e != nil {
		return nil, e
	}
	out := map[string]any{"Policy": c.policyView(p)}
	if v := p.version(p.current); v != nil {
		out["DefaultPolicyVersion"] = versionView(p, *v, true)
	}
	return out, nil
}

func listPolicies(c *call) (map[string]any, *apiError) {
	var refs []string
	for ref, p := range c.acct.policies {
		if t := c.params["PolicyType"]; t == "" || t == p.kind {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	refs, out, e := c.page(refs)
	if e != nil {
		return nil, e
	}
	var items []any
	for _, ref := range refs {
		items = append(items, c.policyView(c.acct.policies[ref]))
	}
	maps.Copy(out, list("Policies", "Policy", items))
	return out, nil
}

func listPolicyVersions(c *call) (map[string]any, *apiError) {
	p, e := c.policy()
	if e != nil {
		return nil, e
	}
	var items []any
	for _, v := range p.versions {
		items = append(items, versionView(p, v, true))
	}
	return list("PolicyVersions", "PolicyVersion", items), nil
}

func (c *call) versionParam(p *policy) (*version, *apiError) {
	if e := c.need("VersionId"); e != nil {
		return nil, e
	}
	v := p.version(c.params["VersionId"])
	if v == nil {
		return nil, errf(404, "EntityNotExist.Policy.Version", "The policy version does not exist: %s.", c.params["VersionId"])
	}
	return v, nil
}

func getPolicyVersion(c *call) (map[string]any, *apiError) {
	p, e := c.policy()
	if e != nil {
		return nil, e
	}
	v, e := c.versionParam(p)
	if e != nil {
		return nil, e
	}
	return map[string]any{"PolicyVersion": versionView(p, *v, true)}, nil
}

const maxVersions = 5

func createPolicyVersion(c *call) (map[string]any, *apiError) {
	p, e := c.custom()
	if e != nil {
		return nil, e
	}
	if e := validDocument(c.params["PolicyDocument"], false); e != nil {
		return nil, e
	}
	asDefault, e := c.boolean("SetAsDefault", false)
	if e != nil {
		return nil, e
	}
	drop := -1
	if len(p.versions) >= maxVersions {
		switch c.params["RotateStrategy"] {
		case "DeleteOldestNonDefaultVersionWhenLimitExceeded":
			drop = slices.IndexFunc(p.versions, func(v version) bool { return v.id != p.current })
		case "", "None":
		default:
			return nil, errf(400, "InvalidParameter.RotateStrategy", "RotateStrategy must be None or DeleteOldestNonDefaultVersionWhenLimitExceeded.")
		}
		if drop < 0 {
			return nil, errf(409, "LimitExceeded.Policy.Version", "The count of policy versions is beyond the current limits: %d.", maxVersions)
		}
		p.versions = slices.Delete(p.versions, drop, drop+1)
	}
	v := version{fmt.Sprintf("v%d", p.next), c.params["PolicyDocument"], c.s.now()}
	p.next++
	p.versions = append(p.versions, v)
	if asDefault {
		p.current = v.id
	}
	p.updated = c.s.now()
	return map[string]any{"PolicyVersion": versionView(p, v, true)}, nil
}

func setDefaultPolicyVersion(c *call) (map[string]any, *apiError) {
	p, e := c.custom()
	if e != nil {
		return nil, e
	}
	v, e := c.versionParam(p)
	if e != nil {
		return nil, e
	}
	p.current, p.updated = v.id, c.s.now()
	return nil, nil
}

func deletePolicyVersion(c *call) (map[string]any, *apiError) {
	p, e := c.custom()
	if e != nil {
		return nil, e
	}
	v, e := c.versionParam(p)
	if e != nil {
		return nil, e
	}
	if v.id == p.current {
		return nil, errf(409, "DeleteConflict.PolicyVersion.Default", "The default version cannot be deleted.")
	}
	id := v.id
	p.versions = lists.Keep(p.versions, func(v *version) bool { return v.id != id })
	return nil, nil
}

// Attachments.

var kindNames = map[string]string{"user": "User", "group": "Group", "role": "Role"}

func (c *call) holder(kind string) (*[]string, *apiError) {
	param := kindNames[kind] + "Name"
	if e := c.need(param); e != nil {
		return nil, e
	}
	at := c.acct.attached(kind, c.params[param])
	if at == nil {
		return nil, errf(404, "EntityNotExist."+kindNames[kind], "The %s does not exist: %s.", kind, c.params[param])
	}
	return at, nil
}

func listPoliciesFor(kind string) func(*call) (map[string]any, *apiError) {
	return func(c *call) (map[string]any, *apiError) {
		at, e := c.holder(kind)
		if e != nil {
			return nil, e
		}
		var items []any
		for _, ref := range *at {
			if p := c.acct.policies[ref]; p != nil {
				items = append(items, map[string]any{"PolicyName": p.name, "PolicyType": p.kind, "DefaultVersion": p.current, "Description": p.description, "AttachDate": stamp(p.updated)})
			}
		}
		return list("Policies", "Policy", items), nil
	}
}

func attachPolicy(kind string) func(*call) (map[string]any, *apiError) {
	return func(c *call) (map[string]any, *apiError) {
		p, e := c.policy()
		if e != nil {
			return nil, e
		}
		at, e := c.holder(kind)
		if e != nil {
			return nil, e
		}
		ref := p.kind + "/" + p.name
		if slices.Contains(*at, ref) {
			return nil, errf(409, "EntityAlreadyExists."+kindNames[kind]+".Policy", "The policy is attached already: %s.", p.name)
		}
		*at = insert(*at, ref)
		return nil, nil
	}
}

func detachPolicy(kind string) func(*call) (map[string]any, *apiError) {
	return func(c *call) (map[string]any, *apiError) {
		ref, e := c.policyRef()
		if e != nil {
			return nil, e
		}
		at, e := c.holder(kind)
		if e != nil {
			return nil, e
		}
		if !slices.Contains(*at, ref) {
			return nil, errf(404, "EntityNotExist."+kindNames[kind]+".Policy", "The policy is not attached: %s.", c.params["PolicyName"])
		}
		*at = remove(*at, ref)
		return nil, nil
	}
}

func listEntitiesForPolicy(c *call) (map[string]any, *apiError) {
	p, e := c.policy()
	if e != nil {
		return nil, e
	}
	users, groups, roles := c.holders(p.kind + "/" + p.name)
	var us, gs, rs []any
	for _, n := range users {
		us = append(us, map[string]any{"UserName": c.acct.users[n].name, "UserId": c.acct.users[n].id})
	}
	for _, n := range groups {
		gs = append(gs, map[string]any{"GroupName": c.acct.groups[n].name})
	}
	for _, n := range roles {
		rs = append(rs, map[string]any{"RoleName": c.acct.roles[n].name, "RoleId": c.acct.roles[n].id})
	}
	out := list("Users", "User", us)
	maps.Copy(out, list("Groups", "Group", gs))
	maps.Copy(out, list("Roles", "Role", rs))
	return out, nil
}

// Groups.

func groupView(g *group) map[string]any {
	return map[string]any{"GroupName": g.name, "GroupId": g.id, "Comments": g.comments, "CreateDate": stamp(g.created), "UpdateDate": stamp(g.created)}
}

func (c *call) group() (*group, *apiError) {
	name, e := c.name("GroupName", nameChars, 64)
	if e != nil {
		return nil, e
	}
	g := c.acct.groups[fold(name)]
	if g == nil {
		return nil, errf(404, "EntityNotExist.Group", "The group does not exist: %s.", name)
	}
	return g, nil
}

func createGroup(c *call) (map[string]any, *apiError) {
	name, e := c.name("GroupName", nameChars, 64)
	if e != nil {
		return nil, e
	}
	if c.acct.groups[fold(name)] != nil {
		return nil, errf(409, "EntityAlreadyExists.Group", "The group already exists: %s.", name)
	}
	g := &group{name: name, id: c.s.id("g-"), comments: c.params["Comments"], created: c.s.now()}
	c.acct.groups[fold(name)] = g
	return map[string]any{"Group": groupView(g)}, nil
}

func getGroup(c *call) (map[string]any, *apiError) {
	g, e := c.group()
	if e != nil {
		return nil, e
	}
	return map[string]any{"Group": groupView(g)}, nil
}

func listGroups(c *call) (map[string]any, *apiError) {
	names, out, e := c.page(slices.Sorted(maps.Keys(c.acct.groups)))
	if e != nil {
		return nil, e
	}
	var items []any
	for _, n := range names {
		items = append(items, groupView(c.acct.groups[n]))
	}
	maps.Copy(out, list("Groups", "Group", items))
	return out, nil
}

func listUsersForGroup(c *call) (map[string]any, *apiError) {
	g, e := c.group()
	if e != nil {
		return nil, e
	}
	names, out, e := c.page(g.members)
	if e != nil {
		return nil, e
	}
	var items []any
	for _, n := range names {
		u := c.acct.users[n]
		items = append(items, map[string]any{"UserName": u.name, "DisplayName": u.display})
	}
	maps.Copy(out, list("Users", "User", items))
	return out, nil
}

func listGroupsForUser(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	var items []any
	for _, n := range slices.Sorted(maps.Keys(c.acct.groups)) {
		if g := c.acct.groups[n]; slices.Contains(g.members, fold(u.name)) {
			items = append(items, map[string]any{"GroupName": g.name, "GroupId": g.id, "Comments": g.comments, "JoinDate": stamp(g.created)})
		}
	}
	return list("Groups", "Group", items), nil
}

func addUserToGroup(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	g, e := c.group()
	if e != nil {
		return nil, e
	}
	if slices.Contains(g.members, fold(u.name)) {
		return nil, errf(409, "EntityAlreadyExists.User.Group", "The user is in the group already.")
	}
	g.members = insert(g.members, fold(u.name))
	return nil, nil
}

func removeUserFromGroup(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	g, e := c.group()
	if e != nil {
		return nil, e
	}
	if !slices.Contains(g.members, fold(u.name)) {
		return nil, errf(404, "EntityNotExist.User.Group", "The user is not in the group.")
	}
	g.members = remove(g.members, fold(u.name))
	return nil, nil
}

// Roles.

func (c *call) roleView(r *role) map[string]any {
	return map[string]any{"RoleName": r.name, "RoleId": r.id, "Arn": "acs:ram::" + c.acct.id + ":role/" + fold(r.name), "Description": r.description,
		"AssumeRolePolicyDocument": r.trust, "MaxSessionDuration": r.maxSession, "CreateDate": stamp(r.created), "UpdateDate": stamp(r.updated)}
}

func (c *call) role() (*role, *apiError) {
	name, e := c.name("RoleName", roleChars, 64)
	if e != nil {
		return nil, e
	}
	r := c.acct.roles[fold(name)]
	if r == nil {
		return nil, errf(404, "EntityNotExist.Role", "The role does not exist: %s.", name)
	}
	return r, nil
}

func (c *call) sessionLimit(param string, def int) (int, *apiError) {
	v := c.params[param]
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 3600 || n > 43200 {
		return 0, errf(400, "InvalidParameter."+param, "%s must be from 3600 to 43200.", param)
	}
	return n, nil
}

func trustDocument(doc string) *apiError {
	if doc == "" || !jsonValid(doc) || !strings.Contains(doc, "Principal") {
		return errf(400, "InvalidParameter.AssumeRolePolicyDocument", "The trust policy is not valid.")
	}
	return nil
}

func createRole(c *call) (map[string]any, *apiError) {
	name, e := c.name("RoleName", roleChars, 64)
	if e != nil {
		return nil, e
	}
	if c.acct.roles[fold(name)] != nil {
		return nil, errf(409, "EntityAlreadyExists.Role", "The role already exists: %s.", name)
	}
	if e := trustDocument(c.params["AssumeRolePolicyDocument"]); e != nil {
		return nil, e
	}
	limit, e := c.sessionLimit("MaxSessionDuration", 3600)
	if e != nil {
		return nil, e
	}
	r := &role{name: name, id: c.s.id("3"), description: c.params["Description"], trust: c.params["AssumeRolePolicyDocument"], maxSession: limit, created: c.s.now(), updated: c.s.now()}
	c.acct.roles[fold(name)] = r
	return map[string]any{"Role": c.roleView(r)}, nil
}

func getRole(c *call) (map[string]any, *apiError) {
	r, e := c.role()
	if e != nil {
		return nil, e
	}
	return map[string]any{"Role": c.roleView(r)}, nil
}

func listRoles(c *call) (map[string]any, *apiError) {
	names, out, e := c.page(slices.Sorted(maps.Keys(c.acct.roles)))
	if e != nil {
		return nil, e
	}
	var items []any
	for _, n := range names {
		items = append(items, c.roleView(c.acct.roles[n]))
	}
	maps.Copy(out, list("Roles", "Role", items))
	return out, nil
}

func updateRole(c *call) (map[string]any, *apiError) {
	r, e := c.role()
	if e != nil {
		return nil, e
	}
	limit, e := c.sessionLimit("NewMaxSessionDuration", r.maxSession)
	if e != nil {
		return nil, e
	}
	trust := r.trust
	if v := c.params["NewAssumeRolePolicyDocument"]; v != "" {
		if e := trustDocument(v); e != nil {
			return nil, e
		}
		trust = v
	}
	if v := c.params["NewDescription"]; v != "" {
		r.description = v
	}
	r.trust, r.maxSession, r.updated = trust, limit, c.s.now()
	return map[string]any{"Role": c.roleView(r)}, nil
}

func deleteRole(c *call) (map[string]any, *apiError) {
	r, e := c.role()
	if e != nil {
		return nil, e
	}
	if len(r.policies) > 0 {
		return nil, errf(409, "DeleteConflict.Role.Policy", "The role still has policies.")
	}
	delete(c.acct.roles, fold(r.name))
	return nil, nil
}
