package ramtest

import (
	"strconv"
	"strings"
)

// unknownDocument is that of a policy which a call names, and nothing says what
// is in it.
const unknownDocument = `{"Version":"1","Statement":[]}`

// Relive does what a call of an account's trail had done: the parameters are those
// of the record, user who made it (empty: the account itself or a role), and nobody
// is asked whether they may. What the call names and is not there, since the trail
// begins after it was made, is made first: a user, a group, a role, a policy with an
// empty document, a trail that logs. It reports whether the call was done. Reads,
// what is not emulated, and what cannot be done again are not; nor is
// CreateAccessKey, whose key has its id already ([Server.AddKey]). OnChange is not
// called: who relives has the record.
func (s *Server) Relive(account, user string, api API, name string, params map[string]string) bool {
	if actions[api][name].run == nil && api == IMS {
		api = RAM // groups are of both, and made alike
	}
	do, known := actions[api][name]
	if !known || do.read || api == STS || name == "CreateAccessKey" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{s: s, api: api, action: name, params: params, acct: s.acct(account)}
	c.caller = caller{Caller: Caller{Type: "root-account", Account: account, Name: "root"}, account: account}
	if user != "" {
		c.caller.Type, c.caller.Name = "ram-user", s.user(account, user).name
	}
	c.provide()
	_, e := do.run(c)
	return e == nil
}

// provide makes what the call names and does not make itself; under s.mu.
func (c *call) provide() {
	a, now := c.acct, c.s.now()
	if n := c.userParam(); nameChars.MatchString(n) && c.action != "CreateUser" {
		u := c.s.user(a.id, n)
		c.params["UserName"], c.params["UserPrincipalName"] = u.name, a.upn(u)
		if u.login == nil && strings.HasSuffix(c.action, "LoginProfile") && c.action != "CreateLoginProfile" {
			u.login = &login{status: Active, created: now, updated: now}
		}
	}
	if c.params["Password"] == "" {
		c.params["Password"] = "EXAMPLE" // trails do not have it
	}
	if n := c.params["GroupName"]; nameChars.MatchString(n) && c.action != "CreateGroup" && a.groups[fold(n)] == nil {
		a.groups[fold(n)] = &group{name: n, id: c.s.id("g-"), created: now}
	}
	if n := c.params["RoleName"]; roleChars.MatchString(n) && c.action != "CreateRole" {
		c.s.role(a, n, "")
	}
	if n := c.params["PolicyName"]; polChars.MatchString(n) && c.action != "CreatePolicy" {
		kind := "Custom"
		if c.params["PolicyType"] == "System" {
			kind = "System"
		}
		p := a.policies[kind+"/"+n]
		if p == nil {
			p = &policy{kind: kind, name: n, created: now, updated: now, current: "v1", next: 2, versions: []version{{"v1", unknownDocument, now}}}
			a.policies[kind+"/"+n] = p
		}
		id := c.params["VersionId"]
		if v, err := strconv.Atoi(strings.TrimPrefix(id, "v")); err == nil && v >= p.next {
			p.versions = append(p.versions, version{id, unknownDocument, now})
			p.next = v + 1
		}
	}
	if n := c.params["Name"]; c.api == ActionTrail && trailChars.MatchString(n) && c.action != "CreateTrail" && a.trails[n] == nil {
		a.trails[n] = &trail{created: now, started: now, Trail: Trail{Name: n, HomeRegion: "cn-hangzhou", EventRW: "All", TrailRegion: "All", Logging: true}}
	}
}
