package ramtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// The two states of AccessKeys and login profiles.
const (
	Active   = "Active"
	Inactive = "Inactive"
)

type account struct {
	id, alias string
	root      map[string]*key
	users     map[string]*user // by lower-case name: names fold
	groups    map[string]*group
	roles     map[string]*role
	policies  map[string]*policy // "Custom/name" and "System/name"
	trails    map[string]*trail
	idps      map[string]*idp
	bin       []*binned
	pref      preference
	grouped   []grouped
	dir       *directory // of a management account
	findings  []Leak
	master    string // of a member: its management account

	passwordLength int

	old      *account // state before the last change, while reads lag
	oldReads int
}

type key struct {
	id, secret, status string
	created, updated   time.Time
	lastUsed           time.Time
	lastService        string
	network            string // the network policy document, "" for none
	uses               map[Use]time.Time
	leaked             bool
}

type binned struct {
	key     *key
	userID  string
	deleted time.Time
}

type login struct {
	status           string
	mfa, reset       bool
	created, updated time.Time
}

type user struct {
	name, id, display string
	created, updated  time.Time
	keys              map[string]*key
	login             *login
	mfaSerial         string
	policies          []string // "Custom/name", sorted
}

type group struct {
	name, id, comments string
	created            time.Time
	members            []string // lower-case user names, sorted
	policies           []string
}

type role struct {
	name, id, description string
	trust                 string
	maxSession            int
	created, updated      time.Time
	policies              []string
}

type policy struct {
	kind, name, description string
	created, updated        time.Time
	versions                []version // oldest first
	current                 string
	next                    int
}

type version struct {
	id, document string
	created      time.Time
}

type trail struct {
	Trail
	created, started, stopped time.Time
}

type idp struct {
	name, issuer string
	tokens       []string
}

type preference struct {
	allowKeys, allowMFA, allowPassword, saveTicket, enforceMFA bool
	mfaOperation, masks                                        string
	hours                                                      int
}

type keyOwner struct {
	account string
	user    string // lower-case name, "" for the root user
}

type session struct {
	secret, token          string
	account, role, session string
	roleID                 string
	policy                 string
	expires                time.Time
}

func (ss *session) caller(id string) caller {
	return caller{account: ss.account, role: ss.role, session: ss, Caller: Caller{
		Type: "assumed-role", Account: ss.account, Name: ss.role, Session: ss.session, PrincipalID: ss.roleID + ":" + ss.session, AccessKeyID: id,
		ARN: "acs:ram::" + ss.account + ":assumed-role/" + strings.ToLower(ss.role) + "/" + ss.session,
	}}
}

// keyCaller runs under s.mu.
func (s *Server) keyCaller(o keyOwner, id string) caller {
	a := s.accounts[o.account]
	if o.user == "" {
		return caller{account: a.id, Caller: Caller{Type: "root-account", Account: a.id, Name: "root", PrincipalID: a.id, AccessKeyID: id, ARN: "acs:ram::" + a.id + ":root"}}
	}
	u := a.users[o.user]
	return caller{account: a.id, user: u, Caller: Caller{
		Type: "ram-user", Account: a.id, Name: u.name, PrincipalID: u.id, AccessKeyID: id, ARN: "acs:ram::" + a.id + ":user/" + u.name,
	}}
}

func fold(s string) string { return strings.ToLower(s) }

func (a *account) keysOf(user string) map[string]*key {
	if user == "" {
		return a.root
	}
	if u := a.users[user]; u != nil {
		return u.keys
	}
	return nil
}

func (a *account) domain() string {
	if a.alias != "" {
		return a.alias + ".onaliyun.com"
	}
	return a.id + ".onaliyun.com"
}

func (a *account) upn(u *user) string { return u.name + "@" + a.domain() }

// byUPN accepts the alias and the account id as domain.
func (a *account) byUPN(upn string) *user {
	name, domain, ok := strings.Cut(upn, "@")
	if !ok || !strings.EqualFold(domain, a.domain()) && domain != a.id+".onaliyun.com" {
		return nil
	}
	return a.users[fold(name)]
}

func (a *account) byID(id string) *user {
	for _, u := range a.users {
		if u.id == id {
			return u
		}
	}
	return nil
}

func cloneMap[V any](m map[string]*V, deep func(*V)) map[string]*V {
	out := make(map[string]*V, len(m))
	for k, v := range m {
		c := *v
		if deep != nil {
			deep(&c)
		}
		out[k] = &c
	}
	return out
}

// clone is a deep copy, for reads that lag.
func (a *account) clone() *account {
	c := *a
	c.old, c.oldReads = nil, 0
	c.root = cloneMap(a.root, nil)
	c.users = cloneMap(a.users, func(u *user) {
		u.keys = cloneMap(u.keys, nil)
		u.policies = slices.Clone(u.policies)
		if u.login != nil {
			l := *u.login
			u.login = &l
		}
	})
	c.groups = cloneMap(a.groups, func(g *group) { g.members, g.policies = slices.Clone(g.members), slices.Clone(g.policies) })
	c.roles = cloneMap(a.roles, func(r *role) { r.policies = slices.Clone(r.policies) })
	c.policies = cloneMap(a.policies, func(p *policy) { p.versions = slices.Clone(p.versions) })
	c.trails = cloneMap(a.trails, nil)
	c.idps = maps.Clone(a.idps)
	c.bin = slices.Clone(a.bin)
	return &c
}

// Documents of the vendor's policies that every account has. The first two
// names stand for what they say; the others are cut down to their service.
var systemPolicies = map[string]string{
	"AdministratorAccess":     `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	"ReadOnlyAccess":          `{"Version":"1","Statement":[{"Effect":"Allow","Action":["*:Describe*","*:List*","*:Get*"],"Resource":"*"}]}`,
	"AliyunRAMFullAccess":     `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`,
	"AliyunRAMReadOnlyAccess": `{"Version":"1","Statement":[{"Effect":"Allow","Action":["ram:Get*","ram:List*"],"Resource":"*"}]}`,
	"AliyunOSSFullAccess":     `{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:*","Resource":"*"}]}`,
	"AliyunOSSReadOnlyAccess": `{"Version":"1","Statement":[{"Effect":"Allow","Action":["oss:Get*","oss:List*"],"Resource":"*"}]}`,
}

func (s *Server) id(prefix string) string {
	s.nextID++
	return fmt.Sprintf("%s%017d", prefix, s.nextID)
}

func (s *Server) now() time.Time { return s.opts.Now().UTC().Truncate(time.Second) }

// acct finds or makes an account; under s.mu.
func (s *Server) acct(id string) *account {
	a := s.accounts[id]
	if a == nil {
		a = &account{
			id: id, root: map[string]*key{}, users: map[string]*user{}, groups: map[string]*group{}, roles: map[string]*role{},
			policies: map[string]*policy{}, trails: map[string]*trail{}, idps: map[string]*idp{},
			pref: preference{allowMFA: true, mfaOperation: "independent", hours: 6}, passwordLength: 12,
		}
		names := slices.Sorted(maps.Keys(systemPolicies))
		for _, n := range names {
			a.policies["System/"+n] = &policy{kind: "System", name: n, created: s.now(), updated: s.now(), current: "v1", next: 2,
				versions: []version{{"v1", systemPolicies[n], s.now()}}}
		}
		s.accounts[id] = a
	}
	return a
}

func (s *Server) user(acct, name string) *user {
	a := s.acct(acct)
	u := a.users[fold(name)]
	if u == nil {
		u = &user{name: name, id: s.id("2"), created: s.now(), updated: s.now(), keys: map[string]*key{}}
		a.users[fold(name)] = u
	}
	return u
}

func insert(list []string, v string) []string {
	i, found := slices.BinarySearch(list, v)
	if found {
		return list
	}
	return slices.Insert(list, i, v)
}

func remove(list []string, v string) []string {
	i, found := slices.BinarySearch(list, v)
	if !found {
		return list
	}
	return slices.Delete(list, i, i+1)
}

// Seeds. All of them make what they need (account, user) when it is missing,
// and are repeatable: what exists already is left as it is.

// AddAccount makes an account. alias, when given, is the domain of its user
// principal names: alice@alias.onaliyun.com.
func (s *Server) AddAccount(id, alias string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct(id).alias = alias
}

// AddUser makes a RAM user.
func (s *Server) AddUser(account, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user(account, name)
}

// Key is an AccessKey to seed.
type Key struct {
	ID     string
	Secret string // default: one made from the id
	Status string // default Active
	// Leaked is a key under Alibaba's restrictive protection: what it calls
	// in RAM and IMS is refused.
	Leaked bool
	// Created is when it was made, default now.
	Created time.Time
}

// AddKey gives an AccessKey to a user; an empty user is the account's root.
// It returns an error when another user has the id already: ids are unique.
func (s *Server) AddKey(account, userName string, k Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := keyOwner{account, fold(userName)}
	if was, taken := s.keys[k.ID]; taken {
		if was != o {
			return fmt.Errorf("ramtest: AccessKey %s belongs to user %q of account %s already", k.ID, was.user, was.account)
		}
		return nil
	}
	if k.ID == "" {
		return errors.New("ramtest: an AccessKey needs an id")
	}
	if k.Secret == "" {
		k.Secret = "EXAMPLEsecretOf" + k.ID
	}
	if k.Status == "" {
		k.Status = Active
	}
	keys := s.acct(account).root
	if userName != "" {
		keys = s.user(account, userName).keys
	}
	if k.Created.IsZero() {
		k.Created = s.now()
	}
	keys[k.ID] = &key{id: k.ID, secret: k.Secret, status: k.Status, leaked: k.Leaked, created: k.Created, updated: k.Created}
	s.keys[k.ID] = o
	return nil
}

// Use is one way in which a key was used, as ActionTrail remembers it.
type Use struct{ Service, Event, IP string }

// UseKey remembers a use of a key that exists, for the calls that tell of the
// last ones.
func (s *Server) UseKey(id string, u Use, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.keys[id]
	if !ok {
		return
	}
	k := s.accounts[o.account].keysOf(o.user)[id]
	if k.uses == nil {
		k.uses = map[Use]time.Time{}
	}
	if at.After(k.uses[u]) {
		k.uses[u] = at
	}
}

// KeyStatus is the present status of a key, "" when there is none.
func (s *Server) KeyStatus(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.keys[id]
	if !ok {
		return ""
	}
	return s.accounts[o.account].keysOf(o.user)[id].status
}

// SetKeyStatus changes a key behind everyone's back, as a person at the
// console does.
func (s *Server) SetKeyStatus(id, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.keys[id]; ok {
		s.accounts[o.account].keysOf(o.user)[id].status = status
	}
}

// RemoveKey deletes a key for good.
func (s *Server) RemoveKey(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.keys[id]; ok {
		delete(s.accounts[o.account].keysOf(o.user), id)
		delete(s.keys, id)
	}
}

// Remake puts another user, role, group, policy or trail in the place of one: of
// the same name and with all that it had, but made an hour later and with an id of
// its own. It reports whether there was one.
func (s *Server) Remake(account, kind, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	switch kind {
	case "user":
		if u := a.users[fold(name)]; u != nil {
			u.id, u.created = s.id("2"), u.created.Add(time.Hour)
			return true
		}
	case "role":
		if r := a.roles[fold(name)]; r != nil {
			r.id, r.created = s.id("3"), r.created.Add(time.Hour)
			return true
		}
	case "group":
		if g := a.groups[fold(name)]; g != nil {
			g.id, g.created = s.id("g-"), g.created.Add(time.Hour)
			return true
		}
	case "policy":
		if p := a.policies["Custom/"+name]; p != nil {
			p.created = p.created.Add(time.Hour)
			for i := range p.versions {
				p.versions[i].created = p.versions[i].created.Add(time.Hour)
			}
			return true
		}
	case "trail":
		if t := a.trails[name]; t != nil {
			t.created = t.created.Add(time.Hour)
			return true
		}
	}
	return false
}

// Rename gives a user or a group another name, as UpdateUser and UpdateGroup do: all
// that it has stays. It reports whether there was one.
func (s *Server) Rename(account, kind, name, to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	if kind == "group" {
		g := a.groups[fold(name)]
		if g == nil {
			return false
		}
		delete(a.groups, fold(name))
		g.name, a.groups[fold(to)] = to, g
		return true
	}
	u := a.users[fold(name)]
	if u == nil {
		return false
	}
	s.rename(a, u, to)
	return true
}

// rename moves a user, and what names it, to another name.
func (s *Server) rename(a *account, u *user, to string) {
	delete(a.users, fold(u.name))
	for _, g := range a.groups {
		if slices.Contains(g.members, fold(u.name)) {
			g.members = insert(remove(g.members, fold(u.name)), fold(to))
		}
	}
	for id := range u.keys {
		s.keys[id] = keyOwner{a.id, fold(to)}
	}
	u.name, a.users[fold(to)] = to, u
}

// AddLogin gives a user console access with the given status.
func (s *Server) AddLogin(account, userName, status string, mfaRequired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(account, userName)
	if u.login == nil {
		u.login = &login{status: status, mfa: mfaRequired, created: s.now(), updated: s.now()}
	}
}

// AddMFA binds a virtual MFA device to a user.
func (s *Server) AddMFA(account, userName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(account, userName)
	u.mfaSerial = "acs:ram::" + account + ":mfa/" + u.name
}

// AddGroup makes a group with members.
func (s *Server) AddGroup(account, name string, members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	g := a.groups[fold(name)]
	if g == nil {
		g = &group{name: name, id: s.id("g-"), created: s.now()}
		a.groups[fold(name)] = g
	}
	for _, m := range members {
		s.user(account, m)
		g.members = insert(g.members, fold(m))
	}
}

// AddRole makes a role. An empty trust document trusts the account itself.
func (s *Server) AddRole(account, name, trust string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role(s.acct(account), name, trust)
}

// role makes a role that is not there; under s.mu.
func (s *Server) role(a *account, name, trust string) {
	if a.roles[fold(name)] != nil {
		return
	}
	if trust == "" {
		trust = `{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"RAM":["acs:ram::` + a.id + `:root"]}}]}`
	}
	a.roles[fold(name)] = &role{name: name, id: s.id("3"), trust: trust, maxSession: 3600, created: s.now(), updated: s.now()}
}

// AddPolicy makes a custom policy; further documents become versions v2, v3 …
// and the last is the default one.
func (s *Server) AddPolicy(account, name string, documents ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	p := a.policies["Custom/"+name]
	if p == nil {
		p = &policy{kind: "Custom", name: name, created: s.now(), updated: s.now(), next: 1}
		a.policies["Custom/"+name] = p
	}
	for _, d := range documents {
		p.current = fmt.Sprintf("v%d", p.next)
		p.versions = append(p.versions, version{p.current, d, s.now()})
		p.next++
	}
}

// Attach attaches a policy ("System" or "Custom") to a "user", "group" or
// "role" that exists.
func (s *Server) Attach(account, policyType, policyName, kind, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	ref := policyType + "/" + policyName
	if a.policies[ref] == nil {
		return fmt.Errorf("ramtest: account %s has no policy %s", account, ref)
	}
	list := a.attached(kind, name)
	if list == nil {
		return fmt.Errorf("ramtest: account %s has no %s %q", account, kind, name)
	}
	*list = insert(*list, ref)
	return nil
}

func (a *account) attached(kind, name string) *[]string {
	switch kind {
	case "user":
		if u := a.users[fold(name)]; u != nil {
			return &u.policies
		}
	case "group":
		if g := a.groups[fold(name)]; g != nil {
			return &g.policies
		}
	case "role":
		if r := a.roles[fold(name)]; r != nil {
			return &r.policies
		}
	}
	return nil
}

// Trail is a trail to seed.
type Trail struct {
	Name, HomeRegion, SLSProjectARN, OSSBucket, EventRW, TrailRegion string
	Logging                                                          bool
}

// AddTrail makes a trail.
func (s *Server) AddTrail(account string, t Trail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	if a.trails[t.Name] != nil {
		return
	}
	if t.HomeRegion == "" {
		t.HomeRegion = "cn-hangzhou"
	}
	if t.EventRW == "" {
		t.EventRW = "All"
	}
	if t.TrailRegion == "" {
		t.TrailRegion = "All"
	}
	tr := &trail{Trail: t, created: s.now()}
	if t.Logging {
		tr.started = s.now()
	}
	a.trails[t.Name] = tr
}

// AddOIDCProvider makes an identity provider that vouches for tokens.
func (s *Server) AddOIDCProvider(account, name, issuer string, tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct(account).idps[name] = &idp{name, issuer, tokens}
}

// Credentials are what a caller signs with.
type Credentials struct {
	AccessKeyID, AccessKeySecret, SecurityToken string
	Expires                                     time.Time // zero for long-term keys
}

// AddSession opens a session of a role (made when missing), as an ECS or RRSA
// role has one.
func (s *Server) AddSession(account, roleName, sessionName string, lifetime time.Duration) Credentials {
	s.AddRole(account, roleName, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open(s.acct(account).roles[fold(roleName)], account, sessionName, "", lifetime)
}

// open runs under s.mu.
func (s *Server) open(r *role, account, name, policy string, lifetime time.Duration) Credentials {
	id := s.id("STS.EXAMPLE")
	ss := &session{
		secret: s.id("EXAMPLEsessionSecret"), token: s.id("EXAMPLEsecurityToken") + s.id("x"), account: account, role: r.name, roleID: r.id,
		session: name, policy: policy, expires: s.now().Add(lifetime),
	}
	s.sessions[id] = ss
	return Credentials{id, ss.secret, ss.token, ss.expires}
}

// State is everything that a client can change, as canonical JSON: equal
// states are equal bytes. Secrets and times of last change are left out, so
// that what was changed and restored is what it was.
func (s *Server) State() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{}
	for id, a := range s.accounts {
		out[id] = a.view()
	}
	b, _ := json.MarshalIndent(out, "", " ") // maps of strings, numbers and booleans
	return b
}

func (a *account) view() map[string]any {
	keys := func(m map[string]*key) map[string]any {
		out := map[string]any{}
		for id, k := range m {
			out[id] = map[string]any{"status": k.status, "created": stamp(k.created), "network": k.network, "leaked": k.leaked}
		}
		return out
	}
	users, groups, roles, policies, trails := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	for n, u := range a.users {
		v := map[string]any{"name": u.name, "id": u.id, "display": u.display, "keys": keys(u.keys), "policies": append([]string{}, u.policies...), "mfa": u.mfaSerial}
		if u.login != nil {
			v["login"] = map[string]any{"status": u.login.status, "mfa_required": u.login.mfa, "reset": u.login.reset}
		}
		users[n] = v
	}
	for n, g := range a.groups {
		groups[n] = map[string]any{"name": g.name, "id": g.id, "members": append([]string{}, g.members...), "policies": append([]string{}, g.policies...)}
	}
	for n, r := range a.roles {
		roles[n] = map[string]any{"name": r.name, "id": r.id, "trust": r.trust, "max_session": r.maxSession, "policies": append([]string{}, r.policies...)}
	}
	for n, p := range a.policies {
		if p.kind == "System" {
			continue
		}
		vs := []any{}
		for _, v := range p.versions {
			vs = append(vs, map[string]any{"id": v.id, "document": v.document})
		}
		policies[n] = map[string]any{"default": p.current, "versions": vs, "description": p.description}
	}
	for n, t := range a.trails {
		trails[n] = map[string]any{"logging": t.Logging, "home": t.HomeRegion, "sls": t.SLSProjectARN, "oss": t.OSSBucket, "rw": t.EventRW, "region": t.TrailRegion}
	}
	bin := []string{}
	for _, b := range a.bin {
		bin = append(bin, b.userID+"/"+b.key.id)
	}
	sort.Strings(bin)
	p := a.pref
	return map[string]any{
		"alias": a.alias, "root_keys": keys(a.root), "users": users, "groups": groups, "roles": roles, "policies": policies, "trails": trails, "recycle_bin": bin,
		"preference": map[string]any{"keys": p.allowKeys, "mfa": p.allowMFA, "password": p.allowPassword, "ticket": p.saveTicket, "enforce_mfa": p.enforceMFA,
			"mfa_operation": p.mfaOperation, "masks": p.masks, "hours": p.hours},
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
