package event

import "strings"

// put appends parts to the event's buffer and returns them as one string.
// Letters of parts after the first are lowered when fold is set.
func (w *walk) put(fold bool, parts ...string) string {
	buf := w.ev.subs.buf
	n := len(buf)
	for i, p := range parts {
		if fold && i > 0 {
			buf = appendLower(buf, p)
		} else {
			buf = append(buf, p...)
		}
	}
	w.ev.subs.buf = buf
	return view(buf[n:len(buf):len(buf)])
}

// id builds an identity's id, "<kind>/<account>/<name>" in lower case: RAM
// compares names without regard to case, and role sessions carry their
// role's name in lower case whatever the role is called.
func (w *walk) id(kind, account, name string) string {
	if account == "" {
		account = w.recipient
	}
	return w.put(true, kind, "/", account, "/", name)
}

// ActorID builds an id in the form of Actor.ID from its parts: kind is
// "user", "role", "group", "sso" or another word, account an account id, name
// a bare name or a UPN.
func ActorID(kind, account, name string) string {
	if kind == "user" || kind == "sso" {
		name = bareName(name)
	}
	return string(appendLower(append([]byte(kind), '/'), account+"/"+name))
}

// RootID builds the Actor.ID of an account's root identity.
func RootID(account string) string { return "root/" + account }

// bareName is the part of a user principal name before the @.
func bareName(s string) string {
	if i := strings.IndexByte(s, '@'); i > 0 {
		return s[:i]
	}
	return s
}

func identityType(s string) IdentityType {
	for i, w := range identityWords[1:] {
		if s == w {
			return IdentityType(i + 1)
		}
	}
	if len(s) > 24 || isLower(s) {
		return IdentityUnknown
	}
	var lower [24]byte
	return identityType(string(appendLower(lower[:0], s)))
}

// KeyKindOf says what sort of credential an access key id is.
func KeyKindOf(key string) KeyKind {
	switch {
	case strings.HasPrefix(key, "STS."): // nearly always
		return KeySTS
	case key == "" || isNull(key):
		return KeyNone
	case hasPrefixFold(key, "STS."):
		return KeySTS
	case hasPrefixFold(key, "TMP."):
		return KeyTemporary
	case strings.HasPrefix(key, "LTAI"):
		return KeyLongTerm
	case Masked(key):
		return KeyMasked
	case len(key) == 16 && isAlnum(key):
		return KeyLongTerm // ids of old keys carry no prefix
	}
	return KeyOther
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isAlnum(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]|0x20-'a' >= 26 && s[i]-'0' >= 10 {
			return false
		}
	}
	return true
}

// serviceRolePrefix begins the names of roles that only a service may assume.
const serviceRolePrefix = "aliyunservicerolefor"

func (w *walk) resolveActor() {
	ev := w.ev
	a := &ev.Actor
	user := w.user
	if isNull(user) {
		user = ""
	}
	a.Type = identityType(w.identity)
	role, session, isRole := user, "", false
	principal, principalSession := a.Principal, ""
	if a.Type == AssumedRole || a.Type == IdentityUnknown {
		role, session, isRole = strings.Cut(user, ":")
		var ok bool
		principal, principalSession, ok = strings.Cut(a.Principal, ":")
		isRole = isRole && ok && session == principalSession
	}
	if a.Type == IdentityUnknown {
		switch {
		case w.identity == "" && a.Principal != "" && a.Principal == a.Account:
			a.Type = RootAccount
		case isRole:
			// Collectors have mangled the type; only role sessions have
			// this form, since no user name may contain a colon.
			a.Type = AssumedRole
		}
	}
	if a.KeyKind = KeyKindOf(w.key); a.KeyKind != KeyNone {
		a.Key = w.key
	}
	a.SessionMFA = ParseTruth(w.sessionMFA)
	a.Display = user
	if a.Type != AssumedRole {
		a.Name = bareName(user)
	}

	account := a.Account
	if account == "" {
		account = w.recipient
	}
	switch a.Type {
	case RootAccount:
		a.Name = "root" // the record's own userName may be a mail address
		if account == "" {
			account = a.Principal // the same number for a root identity
		}
		if account != "" {
			a.ID = w.put(false, "root/", account)
		}
	case AssumedRole:
		a.Role, a.Session = role, session
		a.Name = a.Role
		if a.Session == "" {
			a.Session = principalSession
		}
		id := a.Role
		if id == "" || Masked(id) {
			if id = principal; id != "" {
				id = w.put(false, "id:", id)
			}
		}
		if id != "" {
			a.ID = w.id("role", account, id)
		}
		a.ServiceLinked = hasPrefixFold(role, serviceRolePrefix)
		if w.playerUID != "" && !isNull(w.playerUID) && w.playerUID != account {
			a.CallerAccount = w.playerUID
		}
	case RAMUser:
		a.ID = w.namedID("user", account, a.Name)
	case CloudSSOUser:
		a.ID = w.namedID("sso", account, a.Name)
	case SAMLUser:
		// A NameID is compared whole: alice@one.example is not
		// alice@two.example.
		a.Name = user
		a.ID = w.namedID("saml", account, user)
	case OIDCUser:
		a.Name = user
		a.ID = w.namedID("oidc", account, user)
	case CloudAccount:
		a.ID = w.namedID("account", account, a.Name)
	case System:
		// No account and no principal: the service's own domain is all
		// that tells one system identity from another.
		name := user
		if name == "" && ev.Address.Kind == AddressService {
			name = ev.Address.Text
		}
		if name == "" {
			name = ev.ServiceFold
		}
		if name != "" {
			a.ID = w.put(true, "service", "/", name)
		}
	default:
		a.ID = w.namedID("unknown", account, a.Name)
	}
}

// namedID builds the id of a named identity; without a comparable name the
// principal id stands for it, and without that there is no id.
func (w *walk) namedID(kind, account, name string) string {
	if name == "" || Masked(name) {
		p := w.ev.Actor.Principal
		if p == "" || isNull(p) {
			return ""
		}
		return w.put(true, kind, "/", account, "/id:", p)
	}
	return w.id(kind, account, name)
}

// resolveMFA finds whether a second factor was checked. A sign-in has its own
// flag; for everything else the session tells how it was opened.
func (w *walk) resolveMFA() {
	ev := w.ev
	a := &ev.Actor
	ev.MFA = a.SessionMFA
	signIn := ev.IsSignIn()
	if !signIn && w.signinMFA == "" && w.rootMFA == "" {
		return // nearly always
	}
	sub, root, sso := ParseTruth(w.signinMFA), ParseTruth(w.rootMFA), ParseTruth(w.ssoMFA)
	if !signIn {
		if ev.MFA == Unknown {
			ev.MFA = firstKnown(sub, root)
		}
		return
	}
	// Each service has its own spelling of the flag; copies and other
	// services may carry either.
	flag := firstKnown(sub, root)
	if a.Type == RootAccount {
		flag = firstKnown(root, sub)
	}
	if flag = firstKnown(flag, sso); flag != Unknown {
		ev.MFA = flag
		return
	}
	if a.SessionMFA == No && a.Type != RootAccount && a.Type != RAMUser {
		// For federated and role sign-ins "false" in the session only says
		// that this account's own device was not asked for.
		ev.MFA = Unknown
	}
}

func firstKnown(a, b Tri) Tri {
	if a != Unknown {
		return a
	}
	return b
}

// IsSignIn reports whether the event is a person signing in: to the console
// or through CloudSSO.
func (e *Event) IsSignIn() bool {
	return e.Action == ActSignInConsole || e.Action == ActSignInSSO || e.NameFold == "consolesignin"
}

// ParseTruth reads the many spellings of a boolean, without letter case and
// surrounding space: true, yes and 1 are Yes; false, no and 0 are No; anything
// else is Unknown.
func ParseTruth(s string) Tri {
	switch s {
	case "":
		return Unknown
	case "true":
		return Yes
	case "false":
		return No
	}
	s = strings.TrimSpace(s)
	switch {
	case s == "1", strings.EqualFold(s, "true"), strings.EqualFold(s, "yes"):
		return Yes
	case s == "0", strings.EqualFold(s, "false"), strings.EqualFold(s, "no"):
		return No
	}
	return Unknown
}

// resolveKind sorts the caller. Service is decided by facts that a caller
// cannot choose: the identity's type and a role name that only the cloud can
// assume. A service address is none of them: whoever acts through a stack, a
// template or a task of a service leaves the service's address with their own
// identity. Human and Workload also look at the user agent, which anyone can
// forge: they are for display and baselines, never for an exemption.
func (w *walk) resolveKind() {
	ev := w.ev
	a := &ev.Actor
	switch {
	case a.Type == System, a.ServiceLinked:
		a.Kind = Service
		return
	case ev.IsSignIn():
		a.Kind = Human
		return
	}
	interactive := isInteractiveType(ev.Type) || w.isPersonsAgent(ev.UserAgent)
	viaService := ev.Address.Kind == AddressService
	switch a.Type {
	case SAMLUser, CloudSSOUser, CloudAccount:
		a.Kind = Human
	case OIDCUser:
		a.Kind = Workload
	case RootAccount, RAMUser:
		a.Kind = Human
		if viaService || a.KeyKind != KeyNone && !interactive {
			a.Kind = Workload
		}
	case AssumedRole:
		a.Kind = Workload
		if interactive && !viaService {
			a.Kind = Human
		}
	}
}

// isInteractiveType recognises what consoles do.
func isInteractiveType(eventType string) bool {
	return strings.EqualFold(eventType, "ConsoleOperation") || strings.EqualFold(eventType, "ConsoleCall")
}

// isPersonsAgent recognises consoles, browsers and command lines.
func isPersonsAgent(agent string) bool {
	for _, prefix := range []string{"Mozilla/", "AliyunConsole", "aliyuncli", "Aliyun-CLI", "ossutil"} {
		if hasPrefixFold(agent, prefix) {
			return true
		}
	}
	return strings.Contains(agent, ".console.aliyun.com") || strings.HasSuffix(agent, "-console") || strings.HasSuffix(agent, ".console.alibabacloud.com")
}
