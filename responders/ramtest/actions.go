package ramtest

import (
	"encoding/json"
	"regexp"
	"strconv"
)

// action is one emulated call. run is called under Server.mu.
type action struct {
	run       func(*call) (map[string]any, *apiError)
	read      bool
	anonymous bool   // may come unsigned
	quota     int    // documented calls per second and account, 0 for none
	class     string // calls that share a quota
	// resource is what policies name, as a function of the parameters; both,
	// where a call is about two things, as documented for attachments.
	resource, also func(*call) string
}

func read(run func(*call) (map[string]any, *apiError), resource func(*call) string) action {
	return action{run: run, read: true, quota: 100, class: "read", resource: resource}
}

func write(run func(*call) (map[string]any, *apiError), quota int, resource func(*call) string) action {
	return action{run: run, quota: quota, resource: resource}
}

func attachment(run func(*call) (map[string]any, *apiError), resource func(*call) string) action {
	return action{run: run, quota: 10, resource: resource, also: onPolicy}
}

// listed is all calls. As a list it is data in the program, as a map it would be
// code that makes one.
var listed = []struct {
	api  API
	name string
	action
}{
	{RAM, "GetUser", read(ramGetUser, onUser)},
	{RAM, "ListUsers", read(ramListUsers, onAny("user"))},
	{RAM, "CreateUser", write(ramCreateUser, 20, onUser)},
	{RAM, "UpdateUser", write(ramUpdateUser, 20, onUser)},
	{RAM, "DeleteUser", write(ramDeleteUser, 20, onUser)},
	{RAM, "ListAccessKeys", read(listAccessKeys, onUser)},
	{RAM, "CreateAccessKey", write(createAccessKey, 20, onUser)},
	{RAM, "UpdateAccessKey", write(updateAccessKey, 20, onUser)},
	{RAM, "DeleteAccessKey", write(deleteAccessKey, 20, onUser)},
	{RAM, "GetAccessKeyLastUsed", read(getAccessKeyLastUsed, onUser)},
	{RAM, "GetLoginProfile", read(getLoginProfile, onUser)},
	{RAM, "CreateLoginProfile", write(createLoginProfile, 20, onUser)},
	{RAM, "UpdateLoginProfile", write(updateLoginProfile, 20, onUser)},
	{RAM, "DeleteLoginProfile", write(deleteLoginProfile, 20, onUser)},
	{RAM, "GetUserMFAInfo", read(getUserMFAInfo, onUser)},
	{RAM, "UnbindMFADevice", write(unbindMFADevice, 20, onUser)},

	{RAM, "ListPoliciesForUser", read(listPoliciesFor("user"), onUser)},
	{RAM, "ListPoliciesForGroup", read(listPoliciesFor("group"), onGroup)},
	{RAM, "ListPoliciesForRole", read(listPoliciesFor("role"), onRole)},
	{RAM, "ListEntitiesForPolicy", read(listEntitiesForPolicy, onPolicy)},
	{RAM, "AttachPolicyToUser", attachment(attachPolicy("user"), onUser)},
	{RAM, "AttachPolicyToGroup", attachment(attachPolicy("group"), onGroup)},
	{RAM, "AttachPolicyToRole", attachment(attachPolicy("role"), onRole)},
	{RAM, "DetachPolicyFromUser", attachment(detachPolicy("user"), onUser)},
	{RAM, "DetachPolicyFromGroup", attachment(detachPolicy("group"), onGroup)},
	{RAM, "DetachPolicyFromRole", attachment(detachPolicy("role"), onRole)},

	{RAM, "CreatePolicy", write(createPolicy, 20, onPolicy)},
	{RAM, "DeletePolicy", write(deletePolicy, 20, onPolicy)},
	{RAM, "GetPolicy", read(getPolicy, onPolicy)},
	{RAM, "ListPolicies", read(listPolicies, onAny("policy"))},
	{RAM, "ListPolicyVersions", read(listPolicyVersions, onPolicy)},
	{RAM, "GetPolicyVersion", read(getPolicyVersion, onPolicy)},
	{RAM, "CreatePolicyVersion", write(createPolicyVersion, 20, onPolicy)},
	{RAM, "SetDefaultPolicyVersion", write(setDefaultPolicyVersion, 20, onPolicy)},
	{RAM, "DeletePolicyVersion", write(deletePolicyVersion, 20, onPolicy)},

	{RAM, "CreateGroup", write(createGroup, 20, onGroup)},
	{RAM, "GetGroup", read(getGroup, onGroup)},
	{RAM, "ListGroups", read(listGroups, onAny("group"))},
	{RAM, "ListUsersForGroup", read(listUsersForGroup, onGroup)},
	{RAM, "ListGroupsForUser", read(listGroupsForUser, onUser)},
	{RAM, "AddUserToGroup", write(addUserToGroup, 20, onUser)},
	{RAM, "RemoveUserFromGroup", write(removeUserFromGroup, 20, onUser)},

	{RAM, "CreateRole", write(createRole, 20, onRole)},
	{RAM, "GetRole", read(getRole, onRole)},
	{RAM, "ListRoles", read(listRoles, onAny("role"))},
	{RAM, "UpdateRole", write(updateRole, 20, onRole)},
	{RAM, "DeleteRole", write(deleteRole, 20, onRole)},
	{IMS, "GetUser", read(imsGetUser, onUser)},
	{IMS, "ListUsers", read(imsListUsers, onAny("user"))},
	{IMS, "CreateUser", write(imsCreateUser, 20, onUser)},
	{IMS, "ListAccessKeys", read(listAccessKeys, onUser)},
	{IMS, "CreateAccessKey", write(createAccessKey, 20, onUser)},
	{IMS, "UpdateAccessKey", write(updateAccessKey, 20, onUser)},
	{IMS, "DeleteAccessKey", write(deleteAccessKey, 20, onUser)},
	{IMS, "GetAccessKeyLastUsed", read(getAccessKeyLastUsed, onUser)},
	{IMS, "GetLoginProfile", read(getLoginProfile, onUser)},
	{IMS, "CreateLoginProfile", write(createLoginProfile, 20, onUser)},
	{IMS, "UpdateLoginProfile", write(updateLoginProfile, 20, onUser)},
	{IMS, "DeleteLoginProfile", write(deleteLoginProfile, 20, onUser)},
	{IMS, "UnbindMFADevice", write(unbindMFADevice, 20, onUser)},
	{IMS, "ListGroupsForUser", read(listGroupsForUser, onUser)},
	{IMS, "AddUserToGroup", write(addUserToGroup, 20, onUser)},
	{IMS, "RemoveUserFromGroup", write(removeUserFromGroup, 20, onUser)},

	{IMS, "GetAccessKeyPolicy", read(getAccessKeyPolicy, onUser)},
	{IMS, "SetAccessKeyPolicy", write(setAccessKeyPolicy, 20, onUser)},
	{IMS, "GetSecurityPreference", read(getSecurityPreference, onAny("*"))},
	{IMS, "SetSecurityPreference", write(setSecurityPreference, 20, onAny("*"))},
	{IMS, "GetPasswordPolicy", read(getPasswordPolicy, onAny("*"))},

	{IMS, "ListAccessKeysInRecycleBin", read(listAccessKeysInRecycleBin, onAny("user"))},
	{IMS, "RestoreAccessKeyFromRecycleBin", write(restoreAccessKey, 20, onAny("user"))},
	{IMS, "DeleteAccessKeyInRecycleBin", write(purgeAccessKey, 20, onAny("user"))},
	{SAS, "DescribeAccesskeyLeakList", read(describeLeaks, onAny("*"))},
	{ResourceManager, "GetResourceDirectory", read(getResourceDirectory, onDirectory)},
	{ResourceManager, "ListControlPolicies", read(listControlPolicies, onDirectory)},
	{ResourceManager, "GetControlPolicy", read(getControlPolicy, onDirectory)},
	{ResourceManager, "ListTargetAttachmentsForControlPolicy", read(listTargetAttachments, onDirectory)},
	{ResourceManager, "ListFoldersForParent", read(listFoldersForParent, onDirectory)},
	{ResourceManager, "ListAccountsForParent", read(listAccountsForParent, onDirectory)},
	{ResourceManager, "ListPolicyAttachments", read(listPolicyAttachments, onAny("*"))},
	{STS, "AssumeRole", action{run: assumeRole, quota: 100, class: "sts", resource: func(c *call) string { return c.params["RoleArn"] }}},
	{STS, "AssumeRoleWithOIDC", action{run: assumeRoleWithOIDC, anonymous: true, resource: onAny("*")}},
	{STS, "GetCallerIdentity", action{run: getCallerIdentity, read: true, quota: 100, class: "sts"}}, // needs no permission here
	{ActionTrail, "CreateTrail", write(createTrail, 20, onTrail)},
	{ActionTrail, "UpdateTrail", write(updateTrail, 20, onTrail)},
	{ActionTrail, "DeleteTrail", write(deleteTrail, 20, onTrail)},
	{ActionTrail, "DescribeTrails", read(describeTrails, onTrail)},
	{ActionTrail, "GetTrailStatus", read(getTrailStatus, onTrail)},
	{ActionTrail, "LookupEvents", action{run: lookupEvents, read: true, quota: 2, class: "lookup", resource: onAny("*")}},
	{ActionTrail, "StartLogging", write(setLogging(true), 20, onTrail)},
	{ActionTrail, "StopLogging", write(setLogging(false), 20, onTrail)},

	{ActionTrail, "GetAccessKeyLastUsedIps", read(lastUsed("Ips", "Ip", func(u Use) string { return u.IP }), onAny("*"))},
	{ActionTrail, "GetAccessKeyLastUsedProducts", read(lastUsed("Products", "ServiceName", func(u Use) string { return u.Service }), onAny("*"))},
	{ActionTrail, "GetAccessKeyLastUsedEvents", read(lastUsed("Events", "EventName", func(u Use) string { return u.Event }), onAny("*"))},
}

var actions = func() map[API]map[string]action {
	all := make(map[API]map[string]action)
	for i := range listed {
		l := &listed[i]
		if all[l.api] == nil {
			all[l.api] = make(map[string]action)
		}
		all[l.api][l.name] = l.action
	}
	return all
}()

func onUser(c *call) string {
	name := c.userParam()
	if name == "" {
		if u, _ := c.target(); u != nil {
			name = u.name
		}
	}
	return "acs:ram:*:" + c.caller.account + ":user/" + name
}
func onGroup(c *call) string {
	return "acs:ram:*:" + c.caller.account + ":group/" + c.params["GroupName"]
}
func onRole(c *call) string { return "acs:ram:*:" + c.caller.account + ":role/" + c.params["RoleName"] }
func onPolicy(c *call) string {
	owner := c.caller.account
	if c.params["PolicyType"] == "System" {
		owner = "system"
	}
	return "acs:ram:*:" + owner + ":policy/" + c.params["PolicyName"]
}
func onTrail(c *call) string {
	return "acs:actiontrail:*:" + c.caller.account + ":trail/" + c.params["Name"]
}
func onAny(kind string) func(*call) string {
	return func(c *call) string {
		if kind == "*" {
			return "acs:ram:*:" + c.caller.account + ":*"
		}
		return "acs:ram:*:" + c.caller.account + ":" + kind + "/*"
	}
}

var (
	nameChars  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	roleChars  = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	polChars   = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	sessionOK  = regexp.MustCompile(`^[A-Za-z0-9.@_-]{2,64}$`)
	trailChars = regexp.MustCompile(`^[a-z][a-z0-9_-]{5,35}$`)
)

func (c *call) need(names ...string) *apiError {
	for _, n := range names {
		if c.params[n] == "" {
			return errf(400, "Missing"+n, "%s is mandatory for this action.", n)
		}
	}
	return nil
}

func (c *call) name(param string, chars *regexp.Regexp, longest int) (string, *apiError) {
	v := c.params[param]
	switch {
	case v == "":
		return "", errf(400, "Missing"+param, "%s is mandatory for this action.", param)
	case len(v) > longest:
		return "", errf(400, "InvalidParameter."+param+".Length", "The length of %s is beyond the limit of %d.", param, longest)
	case !chars.MatchString(v):
		return "", errf(400, "InvalidParameter."+param+".InvalidChars", "The characters of %s are not allowed.", param)
	}
	return v, nil
}

func (c *call) boolean(param string, def bool) (bool, *apiError) {
	v := c.params[param]
	if v == "" {
		return def, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errf(400, "InvalidParameter."+param, "%s must be true or false.", param)
	}
	return b, nil
}

// named is the user that the call names, by UserName (Ram) or
// UserPrincipalName (Ims); nil when it names none.
func (c *call) named() (*user, *apiError) {
	if c.api == IMS {
		upn := c.params["UserPrincipalName"]
		if upn == "" {
			return nil, nil
		}
		u := c.acct.byUPN(upn)
		if u == nil {
			return nil, errf(404, "EntityNotExist.User", "The user does not exist: %s.", upn)
		}
		return u, nil
	}
	if c.params["UserName"] == "" {
		return nil, nil
	}
	name, e := c.name("UserName", nameChars, 64)
	if e != nil {
		return nil, e
	}
	u := c.acct.users[fold(name)]
	if u == nil {
		return nil, errf(404, "EntityNotExist.User", "The user does not exist: %s.", name)
	}
	return u, nil
}

// target is the named user or, as documented for the calls about AccessKeys,
// the caller itself when none is named. A nil user without an error is the
// caller being root; a role has no keys.
func (c *call) target() (*user, *apiError) {
	u, e := c.named()
	if u != nil || e != nil {
		return u, e
	}
	switch c.caller.Type {
	case "ram-user":
		return c.acct.users[fold(c.caller.Name)], nil
	case "root-account":
		return nil, nil
	}
	return nil, errf(404, "EntityNotExist.User", "The caller is a role and no user is named.")
}

// mustUser is for calls that have no default user.
func (c *call) mustUser() (*user, *apiError) {
	u, e := c.named()
	if e == nil && u == nil {
		param := "UserName"
		if c.api == IMS {
			param = "UserPrincipalName"
		}
		return nil, errf(400, "Missing"+param, "%s is mandatory for this action.", param)
	}
	return u, e
}

func list(outer, inner string, items []any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{outer: map[string]any{inner: items}}
}

func validDocument(doc string, trust bool) *apiError {
	if len(doc) > 2048 && !trust {
		return errf(400, "InvalidParameter.PolicyDocument.Length", "The policy document is beyond the limit of 2048 characters.")
	}
	if _, err := parseDocument(doc); err != nil {
		return errf(400, "InvalidParameter.PolicyDocument", "The policy document is not valid: %v.", err)
	}
	return nil
}

func jsonValid(s string) bool { return json.Valid([]byte(s)) }
