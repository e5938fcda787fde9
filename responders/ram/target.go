package ram

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// Principal types as events name them.
const (
	typeUser = "ram-user"
	typeRole = "assumed-role"
	typeRoot = "root-account"
)

// target is an action's target after it was checked.
type target struct {
	id                       string // of the action
	account, user, role, key string
	params                   map[string]string
	set                      string // for undo: the document that was set, see change
}

// needs says what a kind of change is about.
type needs uint8

const (
	aUser needs = 1 << iota
	aKey
	aRole
	// aUserOrRole is whichever the principal type says.
	aUserOrRole = aUser | aRole
)

var (
	userChars   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	roleChars   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	groupChars  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	policyChars = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)
	keyChars    = regexp.MustCompile(`^[A-Za-z0-9]{16,64}$`)
	trailChars  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// checkTarget refuses every target that an API call could mistake for another:
// an empty name means the caller itself, the root user has no name, and a
// temporary or masked key id names nothing.
func checkTarget(a responders.Action, n needs) (target, error) {
	t := a.Target
	out := target{id: a.ID, account: t.AccountID, params: t.Params}
	if !digits(t.AccountID) {
		return out, refuse("the target's account %q is not an account id", clean(t.AccountID, 40))
	}
	user := strings.TrimSuffix(t.UserName, "@"+t.AccountID+".onaliyun.com")
	if n == 0 { // about no principal: a trail, a policy
		return out, nil
	}
	if t.PrincipalType == typeRoot || strings.EqualFold(user, "root") || strings.EqualFold(user, "<root>") || user != "" && user == t.AccountID {
		return out, refuse("this is the root account, whose keys and logins no role can change; page a person")
	}
	if n&aUser != 0 && (n != aUserOrRole || t.PrincipalType == typeUser) {
		switch {
		case t.PrincipalType != typeUser:
			return out, refuse("the target is of type %q and not a RAM user", clean(t.PrincipalType, 40))
		case user == "":
			return out, refuse("the target names no user, and a call with an empty user name acts on our own keys")
		case !userChars.MatchString(user):
			return out, refuse("%q is not a RAM user name of account %s", clean(t.UserName, 80), t.AccountID)
		}
		out.user = user
	} else if n&aRole != 0 {
		switch {
		case t.PrincipalType != typeRole:
			return out, refuse("the target is of type %q and neither a RAM user nor a role", clean(t.PrincipalType, 40))
		case !roleChars.MatchString(t.RoleName):
			return out, refuse("%q is not a role name", clean(t.RoleName, 80))
		case strings.HasPrefix(strings.ToLower(t.RoleName), "aliyunservicerole"):
			return out, refuse("%s is a role of Alibaba Cloud's own services", t.RoleName)
		}
		out.role = t.RoleName
	}
	if n&aKey != 0 {
		k := t.AccessKeyID
		switch {
		case k == "":
			return out, refuse("the target names no AccessKey")
		case strings.HasPrefix(strings.ToUpper(k), "STS."), strings.HasPrefix(strings.ToUpper(k), "TMP."):
			return out, refuse("%s is a temporary key, which cannot be switched off; act on who opened the session", clean(k, 12))
		case strings.Contains(k, "*"):
			return out, refuse("the AccessKey id is masked, so it cannot be told which one it is")
		case !keyChars.MatchString(k):
			return out, refuse("%q is not the id of an AccessKey", clean(k, 40))
		}
		out.key = k
	}
	return out, nil
}

// param is a parameter of the action that must fit a pattern.
func (t *target) param(name string, chars *regexp.Regexp) (string, error) {
	v := t.params[name]
	if !chars.MatchString(v) {
		return "", refuse("the action's parameter %s is %q, which is not a name", name, clean(v, 80))
	}
	return v, nil
}

// spared refuses what is protected by configuration and what we ourselves work with.
func (c *Client) spared(ctx context.Context, t target) error {
	p := c.cfg.Protected
	listed := func(patterns []string, name string) bool {
		return name != "" && (anyGlob(patterns, name) || anyGlob(patterns, t.account+"/"+name))
	}
	switch {
	case anyGlob(p.Accounts, t.account):
		return refuse("account %s is protected by configuration", t.account)
	case listed(p.Users, t.user):
		return refuse("user %s is protected by configuration", t.user)
	case listed(p.Roles, t.role):
		return refuse("role %s is protected by configuration", t.role)
	case t.key != "" && anyGlob(p.Keys, t.key):
		return refuse("AccessKey %s is protected by configuration", t.key)
	}
	ours, err := c.Self(ctx)
	if err != nil {
		return err
	}
	for _, s := range ours {
		here := s.AccountID == "" || s.AccountID == t.account
		switch {
		case t.key != "" && strings.EqualFold(s.AccessKeyID, t.key):
			return refuse("AccessKey %s is the one that trailwarden itself works with; page a person", t.key)
		case here && t.user != "" && strings.EqualFold(s.UserName, t.user):
			return refuse("user %s is the one that trailwarden itself works as; page a person", t.user)
		case here && t.role != "" && strings.EqualFold(s.RoleName, t.role):
			return refuse("role %s is the one that trailwarden itself works as; page a person", t.role)
		}
	}
	return nil
}

// sparedMembers refuses a group with somebody in it who is protected, or whom we
// ourselves work as: what is taken from the group is taken from them.
func (c *Client) sparedMembers(ctx context.Context, sc scope, account, group string) error {
	marker := ""
	for range 100 {
		var resp *ram.ListUsersForGroupResponse
		_, err := c.do(ctx, sc.as, op{product: "ram", action: "ListUsersForGroup"}, func(w *worker) (err error) {
			r := ram.CreateListUsersForGroupRequest()
			r.GroupName, r.Marker, r.MaxItems = group, marker, requests.NewInteger(pageSize)
			resp, err = w.ram.listUsersForGroup(r)
			return err
		})
		if err != nil {
			return err
		}
		for _, u := range resp.Users.User {
			if err := c.spared(ctx, target{account: account, user: u.UserName}); err != nil {
				return fmt.Errorf("group %s has a member who is spared: %w", group, err)
			}
		}
		if marker = more(resp.IsTruncated, resp.Marker); marker == "" {
			return nil
		}
	}
	return refuse("the list of the members of group %s does not end", group)
}

// sparedHolders refuses a policy that somebody holds who is protected, or as whom we
// ourselves work: another version of it would be theirs, too.
func (c *Client) sparedHolders(ctx context.Context, sc scope, account, policy string) error {
	var resp *ram.ListEntitiesForPolicyResponse
	_, err := c.do(ctx, sc.as, op{product: "ram", action: "ListEntitiesForPolicy"}, func(w *worker) (err error) {
		r := ram.CreateListEntitiesForPolicyRequest()
		r.PolicyType, r.PolicyName = "Custom", policy
		resp, err = w.ram.listEntitiesForPolicy(r)
		return err
	})
	if err != nil {
		return err
	}
	for _, u := range resp.Users.User {
		if err := c.spared(ctx, target{account: account, user: u.UserName}); err != nil {
			return fmt.Errorf("policy %s has a holder who is spared: %w", policy, err)
		}
	}
	for _, r := range resp.Roles.Role {
		if err := c.spared(ctx, target{account: account, role: r.RoleName}); err != nil {
			return fmt.Errorf("policy %s has a holder who is spared: %w", policy, err)
		}
	}
	for _, g := range resp.Groups.Group {
		if err := c.sparedMembers(ctx, sc, account, g.GroupName); err != nil {
			return fmt.Errorf("policy %s: %w", policy, err)
		}
	}
	return nil
}

// glob matches * and ? with letters folded, as the guards do.
func glob(pattern, text string) bool {
	p, t := strings.ToLower(pattern), strings.ToLower(text)
	star, mark, i, k := -1, 0, 0, 0
	for k < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, k
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[k]):
			i, k = i+1, k+1
		case star >= 0:
			mark++
			i, k = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}

func anyGlob(patterns []string, text string) bool {
	for _, p := range patterns {
		if glob(p, text) {
			return true
		}
	}
	return false
}

// upn finds the principal name that IMS wants. Its domain may be an alias of
// the account, so it is asked for and not made up.
func (c *Client) upn(ctx context.Context, sc scope, user string) (string, error) {
	id, err := c.userID(ctx, sc, user)
	if err != nil {
		return "", err
	}
	var byID *ims.GetUserResponse
	_, err = c.do(ctx, sc.as, op{product: "ims", action: "GetUser"}, func(w *worker) (err error) {
		r := ims.CreateGetUserRequest()
		r.UserId = id
		byID, err = w.ims.getUser(r)
		return err
	})
	if err != nil {
		return "", err
	}
	name, domain, _ := strings.Cut(byID.User.UserPrincipalName, "@")
	if !strings.EqualFold(name, user) || domain == "" {
		return "", refuse("IMS names user %s as %q", user, clean(byID.User.UserPrincipalName, 120))
	}
	return byID.User.UserPrincipalName, nil
}

// userID is the id that a user of this name has, and no other one ever had.
func (c *Client) userID(ctx context.Context, sc scope, user string) (string, error) {
	var resp *ram.GetUserResponse
	_, err := c.do(ctx, sc.as, op{product: "ram", action: "GetUser"}, func(w *worker) (err error) {
		r := ram.CreateGetUserRequest()
		r.UserName = user
		resp, err = w.ram.getUser(r)
		return err
	})
	switch {
	case absent(err, "User"):
		return "", moved("user", user)
	case err != nil:
		return "", err
	case resp.User.UserId == "" || !strings.EqualFold(resp.User.UserName, user):
		return "", &Error{Action: "ram GetUser", Class: responders.ErrRetry, Detail: "the answer is not about user " + user}
	}
	return resp.User.UserId, nil
}
