package ramtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

func (c *call) ramUser(u *user) map[string]any {
	return map[string]any{"UserId": u.id, "UserName": u.name, "DisplayName": u.display, "MobilePhone": "", "Email": "", "Comments": "",
		"CreateDate": stamp(u.created), "UpdateDate": stamp(u.updated), "LastLoginDate": ""}
}

func (c *call) imsUser(u *user) map[string]any {
	return map[string]any{"UserId": u.id, "UserPrincipalName": c.acct.upn(u), "DisplayName": u.display, "Status": "active", "ProvisionType": "Manual",
		"CreateDate": stamp(u.created), "UpdateDate": stamp(u.updated), "LastLoginDate": ""}
}

func ramGetUser(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	return map[string]any{"User": c.ramUser(u)}, nil
}

// imsGetUser finds a user by UserPrincipalName, UserId or UserAccessKeyId.
// Which code a key that nobody has gives is not documented; EntityNotExist.User
// is what the other two give.
func imsGetUser(c *call) (map[string]any, *apiError) {
	u, e := c.named()
	if e != nil {
		return nil, e
	}
	if id := c.params["UserId"]; u == nil && id != "" {
		if u = c.acct.byID(id); u == nil {
			return nil, errf(404, "EntityNotExist.User", "The user does not exist: %s.", id)
		}
	}
	if id := c.params["UserAccessKeyId"]; u == nil && id != "" {
		for _, n := range slices.Sorted(maps.Keys(c.acct.users)) {
			if c.acct.users[n].keys[id] != nil {
				u = c.acct.users[n]
			}
		}
		if u == nil {
			return nil, errf(404, "EntityNotExist.User", "No user has the AccessKey %s.", id)
		}
	}
	if u == nil {
		return nil, errf(400, "MissingUserPrincipalName", "UserPrincipalName is mandatory for this action.")
	}
	return map[string]any{"User": c.imsUser(u)}, nil
}

// page cuts a sorted list of names by Marker and MaxItems.
func (c *call) page(names []string) (part []string, more map[string]any, e *apiError) {
	limit := 100
	if v := c.params["MaxItems"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			return nil, nil, errf(400, "InvalidParameter.MaxItems", "MaxItems must be from 1 to 1000.")
		}
		limit = n
	}
	i, _ := slices.BinarySearch(names, c.params["Marker"])
	names = names[i:]
	more = map[string]any{"IsTruncated": false}
	if len(names) > limit {
		more = map[string]any{"IsTruncated": true, "Marker": names[limit]}
		names = names[:limit]
	}
	return names, more, nil
}

func (c *call) listUsers(view func(*user) map[string]any) (map[string]any, *apiError) {
	names, out, e := c.page(slices.Sorted(maps.Keys(c.acct.users)))
	if e != nil {
		return nil, e
	}
	var items []any
	for _, n := range names {
		items = append(items, view(c.acct.users[n]))
	}
	maps.Copy(out, list("Users", "User", items))
	return out, nil
}

func ramListUsers(c *call) (map[string]any, *apiError) { return c.listUsers(c.ramUser) }
func imsListUsers(c *call) (map[string]any, *apiError) { return c.listUsers(c.imsUser) }

func (c *call) newUser(name string) (*user, *apiError) {
	if c.acct.users[fold(name)] != nil {
		return nil, errf(409, "EntityAlreadyExists.User", "The user already exists: %s.", name)
	}
	u := c.s.user(c.acct.id, name)
	u.display = c.params["DisplayName"]
	return u, nil
}

func ramCreateUser(c *call) (map[string]any, *apiError) {
	name, e := c.name("UserName", nameChars, 64)
	if e != nil {
		return nil, e
	}
	u, e := c.newUser(name)
	if e != nil {
		return nil, e
	}
	return map[string]any{"User": c.ramUser(u)}, nil
}

func imsCreateUser(c *call) (map[string]any, *apiError) {
	name := c.userParam()
	if !nameChars.MatchString(name) || len(name) > 64 {
		return nil, errf(400, "InvalidParameter.UserPrincipalName.InvalidChars", "The user principal name is not valid.")
	}
	u, e := c.newUser(name)
	if e != nil {
		return nil, e
	}
	return map[string]any{"User": c.imsUser(u)}, nil
}

func ramUpdateUser(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	if v := c.params["NewUserName"]; v != "" && !nameChars.MatchString(v) {
		return nil, errf(400, "InvalidParameter.NewUserName.InvalidChars", "The characters of NewUserName are not allowed.")
	} else if v != "" && fold(v) != fold(u.name) {
		if c.acct.users[fold(v)] != nil {
			return nil, errf(409, "EntityAlreadyExists.User", "The user already exists: %s.", v)
		}
		c.s.rename(c.acct, u, v)
	}
	if v := c.params["NewDisplayName"]; v != "" {
		u.display = v
	}
	u.updated = c.s.now()
	return map[string]any{"User": c.ramUser(u)}, nil
}

func ramDeleteUser(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	switch {
	case len(u.keys) > 0:
		return nil, errf(409, "DeleteConflict.User.AccessKey", "The user still has AccessKeys.")
	case len(u.policies) > 0:
		return nil, errf(409, "DeleteConflict.User.Policy", "The user still has policies.")
	case u.mfaSerial != "":
		return nil, errf(409, "DeleteConflict.User.MFADevice", "The user still has an MFA device.")
	}
	for _, g := range c.acct.groups {
		if slices.Contains(g.members, fold(u.name)) {
			return nil, errf(409, "DeleteConflict.User.Group", "The user is still in a group.")
		}
	}
	delete(c.acct.users, fold(u.name))
	return nil, nil
}

// AccessKeys. An empty name is the caller: "account or RAM user" as documented
// for Ims and stated for Ram's CreateAccessKey.

func (c *call) keysOfTarget() (map[string]*key, *user, *apiError) {
	u, e := c.target()
	if e != nil {
		return nil, nil, e
	}
	if u == nil {
		return c.acct.root, nil, nil
	}
	return u.keys, u, nil
}

func (c *call) keyOfTarget() (*key, *apiError) {
	if e := c.need("UserAccessKeyId"); e != nil {
		return nil, e
	}
	keys, _, e := c.keysOfTarget()
	if e != nil {
		return nil, e
	}
	k := keys[c.params["UserAccessKeyId"]]
	if k == nil {
		return nil, errf(404, "EntityNotExist.User.AccessKey", "The AccessKey does not exist: %s.", c.params["UserAccessKeyId"])
	}
	return k, nil
}

func listAccessKeys(c *call) (map[string]any, *apiError) {
	keys, _, e := c.keysOfTarget()
	if e != nil {
		return nil, e
	}
	ids := slices.SortedFunc(maps.Keys(keys), func(a, b string) int {
		if d := keys[a].created.Compare(keys[b].created); d != 0 {
			return d
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	var items []any
	for _, id := range ids {
		k := keys[id]
		v := map[string]any{"AccessKeyId": k.id, "Status": k.status, "CreateDate": stamp(k.created)}
		if c.api == IMS {
			v["UpdateDate"] = stamp(k.updated)
		}
		items = append(items, v)
	}
	return list("AccessKeys", "AccessKey", items), nil
}

func createAccessKey(c *call) (map[string]any, *apiError) {
	keys, u, e := c.keysOfTarget()
	if e != nil {
		return nil, e
	}
	if len(keys) >= 2 {
		return nil, errf(409, "LimitExceeded.User.AccessKey", "The count of AccessKeys of the user is beyond the current limits: 2.")
	}
	c.s.nextID++
	k := &key{id: fmt.Sprintf("LTAI5tEXAMPLEnew%08d", c.s.nextID), secret: fmt.Sprintf("EXAMPLEsecretOfNewKey%09d", c.s.nextID), status: Active, created: c.s.now(), updated: c.s.now()}
	keys[k.id] = k
	o := keyOwner{account: c.acct.id}
	if u != nil {
		o.user = fold(u.name)
	}
	c.s.keys[k.id] = o
	return map[string]any{"AccessKey": map[string]any{"AccessKeyId": k.id, "AccessKeySecret": k.secret, "Status": k.status, "CreateDate": stamp(k.created)}}, nil
}

func updateAccessKey(c *call) (map[string]any, *apiError) {
	if s := c.params["Status"]; s != Active && s != Inactive {
		return nil, errf(400, "InvalidParameter.Status", "Status must be Active or Inactive.")
	}
	k, e := c.keyOfTarget()
	if e != nil {
		return nil, e
	}
	k.status, k.updated = c.params["Status"], c.s.now()
	return nil, nil
}

func deleteAccessKey(c *call) (map[string]any, *apiError) {
	k, e := c.keyOfTarget()
	if e != nil {
		return nil, e
	}
	keys, u, _ := c.keysOfTarget()
	delete(keys, k.id)
	delete(c.s.keys, k.id)
	if u != nil {
		c.acct.bin = append(c.acct.bin, &binned{key: k, userID: u.id, deleted: c.s.now()})
	}
	return nil, nil
}

func getAccessKeyLastUsed(c *call) (map[string]any, *apiError) {
	k, e := c.keyOfTarget()
	if e != nil {
		return nil, e
	}
	v := map[string]any{"LastUsedDate": stamp(k.lastUsed)}
	if c.api == IMS {
		v["ServiceName"] = k.lastService
	}
	return map[string]any{"AccessKeyLastUsed": v}, nil
}

func listAccessKeysInRecycleBin(c *call) (map[string]any, *apiError) {
	var items []any
	for _, b := range c.acct.bin {
		if id := c.params["UserId"]; id == "" || id == b.userID {
			items = append(items, map[string]any{"AccessKeyId": b.key.id, "UserId": b.userID, "DeleteDate": stamp(b.deleted), "CreateDate": stamp(b.key.created)})
		}
	}
	return list("AccessKeys", "AccessKey", items), nil
}

func (c *call) binned() (int, *apiError) {
	if e := c.need("UserAccessKeyId"); e != nil {
		return 0, e
	}
	for i, b := range c.acct.bin {
		if b.key.id == c.params["UserAccessKeyId"] && (c.params["UserId"] == "" || c.params["UserId"] == b.userID) {
			return i, nil
		}
	}
	return 0, errf(404, "EntityNotExist.User.AccessKey", "The AccessKey is not in the recycle bin.")
}

// restoreAccessKey gives the key back with the status it had; which status
// the cloud gives is not documented.
func restoreAccessKey(c *call) (map[string]any, *apiError) {
	i, e := c.binned()
	if e != nil {
		return nil, e
	}
	b := c.acct.bin[i]
	u := c.acct.byID(b.userID)
	if u == nil {
		return nil, errf(404, "EntityNotExist.User", "The user does not exist: %s.", b.userID)
	}
	if len(u.keys) >= 2 {
		return nil, errf(409, "LimitExceeded.User.AccessKey", "The count of AccessKeys of the user is beyond the current limits: 2.")
	}
	c.acct.bin = slices.Delete(c.acct.bin, i, i+1)
	u.keys[b.key.id] = b.key
	c.s.keys[b.key.id] = keyOwner{c.acct.id, fold(u.name)}
	return nil, nil
}

func purgeAccessKey(c *call) (map[string]any, *apiError) {
	i, e := c.binned()
	if e != nil {
		return nil, e
	}
	c.acct.bin = slices.Delete(c.acct.bin, i, i+1)
	return nil, nil
}

// Login profiles. Ram's have no Status.

func (c *call) loginView(u *user) map[string]any {
	l := u.login
	if c.api == IMS {
		return map[string]any{"LoginProfile": map[string]any{"UserPrincipalName": c.acct.upn(u), "Status": l.status, "MFABindRequired": l.mfa,
			"PasswordResetRequired": l.reset, "CreateDate": stamp(l.created), "UpdateDate": stamp(l.updated)}}
	}
	return map[string]any{"LoginProfile": map[string]any{"UserName": u.name, "MFABindRequired": l.mfa, "PasswordResetRequired": l.reset, "CreateDate": stamp(l.created)}}
}

func (c *call) withLogin() (*user, *apiError) {
	u, e := c.mustUser()
	if e == nil && u.login == nil {
		e = errf(404, "EntityNotExist.User.LoginProfile", "The user has no login profile: %s.", u.name)
	}
	return u, e
}

func getLoginProfile(c *call) (map[string]any, *apiError) {
	u, e := c.withLogin()
	if e != nil {
		return nil, e
	}
	return c.loginView(u), nil
}

func (c *call) setLogin(u *user) *apiError {
	l := *u.login
	var e *apiError
	if l.mfa, e = c.boolean("MFABindRequired", l.mfa); e != nil {
		return e
	}
	if l.reset, e = c.boolean("PasswordResetRequired", l.reset); e != nil {
		return e
	}
	if s := c.params["Status"]; c.api == IMS && s != "" {
		if s != Active && s != Inactive {
			return errf(400, "InvalidParameter.Status", "Status must be Active or Inactive.")
		}
		l.status = s
	}
	l.updated = c.s.now()
	u.login = &l
	return nil
}

func createLoginProfile(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	if u.login != nil {
		return nil, errf(409, "EntityAlreadyExists.User.LoginProfile", "The user has a login profile already: %s.", u.name)
	}
	if random, _ := c.boolean("GenerateRandomPassword", false); c.params["Password"] == "" && !random {
		return nil, errf(400, "MissingPassword", "Password is mandatory for this action.")
	}
	u.login = &login{status: Active, created: c.s.now()}
	if e := c.setLogin(u); e != nil {
		u.login = nil
		return nil, e
	}
	return c.loginView(u), nil
}

func updateLoginProfile(c *call) (map[string]any, *apiError) {
	u, e := c.withLogin()
	if e == nil {
		e = c.setLogin(u)
	}
	if e != nil {
		return nil, e
	}
	if c.api == RAM {
		return nil, nil
	}
	return c.loginView(u), nil
}

func deleteLoginProfile(c *call) (map[string]any, *apiError) {
	u, e := c.withLogin()
	if e != nil {
		return nil, e
	}
	u.login = nil
	return nil, nil
}

func getUserMFAInfo(c *call) (map[string]any, *apiError) {
	u, e := c.mustUser()
	if e != nil {
		return nil, e
	}
	if u.mfaSerial == "" {
		return nil, errf(404, "EntityNotExist.User.MFADevice", "The user has no MFA device: %s.", u.name)
	}
	return map[string]any{"MFADevice": map[string]any{"SerialNumber": u.mfaSerial, "Type": "VMFA"}}, nil
}

func unbindMFADevice(c *call) (map[string]any, *apiError) {
	out, e := getUserMFAInfo(c)
	if e != nil {
		return nil, e
	}
	u, _ := c.mustUser()
	u.mfaSerial = ""
	return out, nil
}

// Network policies of AccessKeys. The reply of GetAccessKeyPolicy is a document
// in text form; a key without one has an inactive, empty one.

const noNetworkPolicy = `{"Version":1,"Status":"Inactive","Statements":[]}`

func (c *call) keyByIMS() (*key, *apiError) {
	if e := c.need("UserAccessKeyId"); e != nil {
		return nil, e
	}
	return c.keyOfTarget()
}

func getAccessKeyPolicy(c *call) (map[string]any, *apiError) {
	k, e := c.keyByIMS()
	if e != nil {
		return nil, e
	}
	doc := k.network
	if doc == "" {
		doc = noNetworkPolicy
	}
	return map[string]any{"AccessKeyPolicy": doc, "AccessKeyId": k.id}, nil
}

func setAccessKeyPolicy(c *call) (map[string]any, *apiError) {
	k, e := c.keyByIMS()
	if e != nil {
		return nil, e
	}
	doc := c.params["AccessKeyPolicy"]
	p, err := parseNetwork(doc)
	if err != nil {
		return nil, errf(400, "InvalidParameter.AccessKeyPolicy", "The network policy is not valid: %v.", err)
	}
	if p.Status == Inactive && len(p.Statements) == 0 {
		doc = "" // there is no call to delete one: this is how
	}
	k.network, k.updated = doc, c.s.now()
	return nil, nil
}

func (c *call) preferenceView() map[string]any {
	p := c.acct.pref
	return map[string]any{"SecurityPreference": map[string]any{
		"AccessKeyPreference": map[string]any{"AllowUserToManageAccessKeys": p.allowKeys},
		"MFAPreference":       map[string]any{"AllowUserToManageMFADevices": p.allowMFA},
		"LoginProfilePreference": map[string]any{"MFAOperationForLogin": p.mfaOperation, "EnforceMFAForLogin": p.enforceMFA, "LoginNetworkMasks": p.masks,
			"LoginSessionDuration": p.hours, "EnableSaveMFATicket": p.saveTicket, "AllowUserToChangePassword": p.allowPassword, "OperationForRiskLogin": "autonomous"},
	}}
}

func getSecurityPreference(c *call) (map[string]any, *apiError) { return c.preferenceView(), nil }

func setSecurityPreference(c *call) (map[string]any, *apiError) {
	p := c.acct.pref
	for name, at := range map[string]*bool{"AllowUserToManageAccessKeys": &p.allowKeys, "AllowUserToManageMFADevices": &p.allowMFA,
		"AllowUserToChangePassword": &p.allowPassword, "EnableSaveMFATicket": &p.saveTicket, "EnforceMFAForLogin": &p.enforceMFA} {
		v, e := c.boolean(name, *at)
		if e != nil {
			return nil, e
		}
		*at = v
	}
	if v := c.params["MFAOperationForLogin"]; v != "" {
		p.mfaOperation = v
	}
	if v, given := c.params["LoginNetworkMasks"]; given {
		p.masks = v
	}
	if v := c.params["LoginSessionDuration"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 24 {
			return nil, errf(400, "InvalidParameter.LoginSessionDuration", "LoginSessionDuration must be from 1 to 24.")
		}
		p.hours = n
	}
	c.acct.pref = p
	return c.preferenceView(), nil
}
