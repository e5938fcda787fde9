package event

import "strings"

// resolveTarget finds what was acted on, by the action's line in the
// catalogue.
func (w *walk) resolveTarget(e *actionEntry) {
	ev := w.ev
	t := &ev.Target
	spec := &e.target
	account := ev.Actor.Account
	if account == "" {
		account = ev.Recipient
	}
	switch spec.kind {
	case targetSelf:
		w.targetSelf()
	case targetUser, targetUserOrSelf:
		w.targetUser(e, account)
	case targetAccount:
		*t = Target{Type: "account", Name: account}
		if account != "" {
			t.ID = w.put(false, "account/", account)
		}
	case targetPrincipal:
		w.targetPrincipal(account)
	case targetRole:
		w.setTarget("role", account, w.param("RoleName", "RamRoleName"))
	case targetRoleARN:
		if acct, name, ok := roleARN(w.param("RoleArn")); ok {
			w.setTarget("role", acct, name)
		}
	case targetGroup:
		w.setTarget("group", account, bareName(w.param("GroupName", "GroupPrincipalName", "UserGroupName")))
	case targetPolicy:
		w.setTarget("policy", account, w.param("PolicyName"))
	case targetObject:
		w.targetObject(spec, account)
	}
	switch {
	case spec.key != "":
		t.Key = w.param(spec.key)
	case spec.keyInReply != "":
		if t.Key, _ = ev.Response(spec.keyInReply); t.Key == "" || isNull(t.Key) {
			// The reply may be cut off; the key is a referenced resource too.
			t.Key = ""
			ev.Resources(func(typ, name string) bool {
				if strings.EqualFold(typ, "ACS::RAM::AccessKey") {
					t.Key = name
				}
				return t.Key == ""
			})
		}
	}
}

// param returns the first of the named parameters that is there and says
// something. The word "null" is a name like any other here: an absent
// parameter is left out or a JSON null, and a user may be called null.
func (w *walk) param(names ...string) string {
	for _, n := range names {
		if v, ok := w.ev.Param(n); ok && v != "" {
			return v
		}
	}
	return ""
}

// setTarget names a target. A masked name is shown but gets no id: it can be
// equal to nothing.
func (w *walk) setTarget(typ, account, name string) {
	if name == "" {
		w.ev.Target = Target{}
		return
	}
	t := Target{Type: typ, Name: name}
	kind := typ
	if typ == "sso-user" {
		kind = "sso" // as in Actor.ID
	}
	if !Masked(name) {
		t.ID = w.put(true, kind, "/", account, "/", name)
	}
	w.ev.Target = t
}

func (w *walk) targetSelf() {
	a := &w.ev.Actor
	typ := ""
	switch a.Type {
	case RootAccount:
		typ = "account"
	case RAMUser:
		typ = "user"
	case AssumedRole:
		typ = "role"
	case CloudSSOUser:
		typ = "sso-user"
	case SAMLUser, OIDCUser:
		typ = "federated-user"
	case System:
		typ = "service"
	}
	w.ev.Target = Target{Type: typ, ID: a.ID, Name: a.Name}
}

// targetUser resolves a RAM user. The service's own spelling of the name
// comes first, so that an extra parameter of the other spelling, which the
// service would ignore, cannot hide whom the call was about. Where no name
// means the caller, the own spelling is the only one read, for the same
// reason; the sign-in pages know none and only ever serve the person who is
// signed in.
func (w *walk) targetUser(e *actionEntry, account string) {
	ev := w.ev
	service := lookupService(ev.Service)
	if ev.Service == "" {
		service = serviceOfHost(ev.Source)
	}
	orSelf := e.target.kind == targetUserOrSelf
	var name string
	switch family := service.family; {
	case orSelf && family == familyIMS:
		name = w.param("UserPrincipalName")
	case orSelf && family == familyRAM:
		name = w.param("UserName")
	case orSelf && family == familyAasSub:
	case family == familyIMS:
		name = w.param("UserPrincipalName", "UserName")
	default:
		name = w.param("UserName", "UserPrincipalName")
	}
	if name == "" {
		// No action that may leave the name out has a UserId.
		if id := w.param("UserId"); id != "" && !orSelf {
			if id == ev.Actor.Principal {
				w.targetSelf()
				return
			}
			w.setTarget("user", account, w.put(false, "id:", id))
			w.ev.Target.Name = id
			return
		}
		if name, _ = ev.Response("User.UserPrincipalName"); name == "" {
			name, _ = ev.Response("User.UserName")
		}
	}
	if name == "" {
		// The API takes an empty name for the current user.
		if orSelf {
			w.targetSelf()
		}
		return
	}
	w.setTarget("user", account, bareName(name))
}

// targetPrincipal resolves ResourceManager's PrincipalName: a user's UPN,
// name@group.<domain> or name@role.<domain>. PrincipalType says the same.
func (w *walk) targetPrincipal(account string) {
	name := w.param("PrincipalName")
	bare, domain, _ := strings.Cut(name, "@")
	typ := "user"
	switch kind := w.param("PrincipalType"); {
	case strings.EqualFold(kind, "IMSGroup"):
		typ = "group"
	case strings.EqualFold(kind, "ServiceRole"):
		typ = "role"
	case strings.EqualFold(kind, "IMSUser"):
	case hasPrefixFold(domain, "group."):
		typ = "group"
	case hasPrefixFold(domain, "role."):
		typ = "role"
	}
	w.setTarget(typ, account, bare)
}

func (w *walk) targetObject(spec *targetSpec, account string) {
	name := w.param(spec.params...)
	if name == "" && spec.resource != "" {
		w.ev.Resources(func(typ, n string) bool {
			if i := strings.LastIndex(typ, ":"); strings.EqualFold(typ[i+1:], spec.resource) {
				name = n
			}
			return name == ""
		})
	}
	if spec.typ == "mfa" {
		// acs:ram::<account>:mfa/<name>
		if _, short, ok := strings.Cut(name, ":mfa/"); ok {
			name = short
		}
	}
	if spec.typ == "sso-user" && name != "" {
		// Directory users have both an id and a name; which parameter was
		// given decides, since the two can not be compared.
		if id := w.param("UserId"); id == name {
			w.setTarget(spec.typ, account, w.put(false, "id:", id))
			w.ev.Target.Name = id
			return
		}
		name = bareName(name)
	}
	w.setTarget(spec.typ, account, name)
}

// roleARN splits acs:ram::<account>:role/<name>.
func roleARN(arn string) (account, name string, ok bool) {
	rest, ok := cutPrefixFold(arn, "acs:ram:")
	if !ok {
		return "", "", false
	}
	_, rest, ok = strings.Cut(rest, ":") // the region, empty
	if !ok {
		return "", "", false
	}
	account, rest, ok = strings.Cut(rest, ":")
	if !ok {
		return "", "", false
	}
	name, ok = cutPrefixFold(rest, "role/")
	return account, name, ok && name != ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if hasPrefixFold(s, prefix) {
		return s[len(prefix):], true
	}
	return s, false
}
