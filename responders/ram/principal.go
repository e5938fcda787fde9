package ram

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// LoginState is the prior state of ram.block_console.
type LoginState struct {
	UserName              string `json:"user_name"`
	UPN                   string `json:"upn"`
	Status                string `json:"status"`
	MFABindRequired       bool   `json:"mfa_bind_required"`
	PasswordResetRequired bool   `json:"password_reset_required"`
	UserID                string `json:"user_id,omitempty"`
}

// blockConsole switches the console login of a user off; password and MFA
// device stay. Sessions that are open live on until they end by themselves.
func (c *Client) blockConsole() responders.Executor {
	return change[LoginState]{
		c: c, kind: "ram.block_console", needs: aUser,
		perms: []string{"ram:GetLoginProfile", "ram:GetUser", "ram:UpdateLoginProfile"},
		describe: func(t target) string {
			return fmt.Sprintf("ims UpdateLoginProfile{UserPrincipalName: %s@…, Status: Inactive}", t.user)
		},
		back: func(_ target, prior LoginState) string {
			return fmt.Sprintf("ims UpdateLoginProfile{UserPrincipalName: %s, Status: %s}", prior.UPN, prior.Status)
		},
		read: func(ctx context.Context, sc scope, t target) (LoginState, error) {
			upn, err := c.upn(ctx, sc, t.user)
			if err != nil {
				return LoginState{}, err
			}
			var resp *ims.GetLoginProfileResponse
			_, err = c.do(ctx, sc.as, op{product: "ims", action: "GetLoginProfile"}, func(w *worker) (err error) {
				r := ims.CreateGetLoginProfileRequest()
				r.UserPrincipalName = upn
				resp, err = w.ims.getLoginProfile(r)
				return err
			})
			switch {
			case absent(err, "User.LoginProfile"):
				return LoginState{}, fmt.Errorf("user %s has no console login: %w", t.user, errGone)
			case absent(err, "User"):
				return LoginState{}, moved("user", t.user)
			case err != nil:
				return LoginState{}, err
			}
			p := resp.LoginProfile
			if p.Status != active && p.Status != inactive {
				return LoginState{}, &Error{Action: "ims GetLoginProfile", Class: responders.ErrRetry, Detail: "the status is neither Active nor Inactive: " + clean(p.Status, 40)}
			}
			return LoginState{UserName: t.user, UPN: upn, Status: p.Status, MFABindRequired: p.MFABindRequired, PasswordResetRequired: p.PasswordResetRequired}, nil
		},
		born: func(ctx context.Context, sc scope, t target, _ LoginState) (string, string, error) {
			return c.holderBorn(ctx, sc, holder{"user", t.user})
		},
		birth: func(s *LoginState) *string { return &s.UserID },
		want: func(_ target, prior LoginState) LoginState {
			prior.Status = inactive
			return prior
		},
		inForce: func(_ target, s LoginState) bool { return s.Status == inactive },
		same:    equal[LoginState],
		write: func(ctx context.Context, sc scope, _ target, _, to LoginState) (string, error) {
			if to.UPN == "" {
				return "", refuse("a call without a user name is never made")
			}
			return c.do(ctx, sc.as, op{product: "ims", action: "UpdateLoginProfile", write: true}, func(w *worker) error {
				r := ims.CreateUpdateLoginProfileRequest()
				r.UserPrincipalName, r.Status = to.UPN, to.Status
				// Whether what is left out stays as it is is not documented.
				r.MFABindRequired = requests.NewBoolean(to.MFABindRequired)
				r.PasswordResetRequired = requests.NewBoolean(to.PasswordResetRequired)
				_, err := w.ims.updateLoginProfile(r)
				return err
			})
		},
		already: func(err error) bool { return absent(err, "User.LoginProfile") },
		owner:   func(t target, s LoginState) bool { return strings.EqualFold(s.UserName, t.user) },
		words:   func(s LoginState) string { return s.Status },
	}.executor()
}

// holder is who has a policy: a user, a role or a group.
type holder struct {
	kind, name string
}

// holderBorn tells a holder from another one of its name.
func (c *Client) holderBorn(ctx context.Context, sc scope, h holder) (what, id string, err error) {
	what = h.kind + " " + h.name
	switch h.kind {
	case "user":
		id, err = c.userID(ctx, sc, h.name)
	case "role":
		var r ram.Role
		r, err = c.getRole(ctx, sc, h.name)
		id = r.RoleId
	default:
		_, err = c.do(ctx, sc.as, op{product: "ram", action: "GetGroup"}, func(w *worker) error {
			r := ram.CreateGetGroupRequest()
			r.GroupName = h.name
			resp, err := w.ram.getGroup(r)
			if err == nil {
				id = resp.Group.CreateDate // not every answer has a GroupId
			}
			return err
		})
		if absent(err, "Group") {
			err = errGone
		}
	}
	if errors.Is(err, errGone) {
		return what, "", nil
	}
	return what, id, err
}

func holderOf(t target) holder {
	switch {
	case t.params["group"] != "":
		return holder{"group", t.params["group"]}
	case t.role != "":
		return holder{"role", t.role}
	}
	return holder{"user", t.user}
}

// PolicyState is the prior state of ram.quarantine_user and ram.detach_policy.
type PolicyState struct {
	HolderKind string `json:"holder_kind"` // user, role or group
	Holder     string `json:"holder"`
	PolicyType string `json:"policy_type"` // System or Custom
	PolicyName string `json:"policy_name"`
	Attached   bool   `json:"attached"`
	// Document is the hash of what a custom policy said when it was taken away.
	Document string `json:"document,omitempty"`
	HolderID string `json:"holder_id,omitempty"`
}

// call is what leads to this state.
func (s PolicyState) call() string {
	kind := map[string]string{"user": "User", "role": "Role", "group": "Group"}[s.HolderKind]
	verb := "DetachPolicyFrom"
	if s.Attached {
		verb = "AttachPolicyTo"
	}
	return fmt.Sprintf("%s%s{PolicyType: %s, PolicyName: %s, %sName: %s}", verb, kind, s.PolicyType, s.PolicyName, kind, s.Holder)
}

func (c *Client) readAttached(ctx context.Context, sc scope, h holder, kind, name string) (PolicyState, error) {
	s := PolicyState{HolderKind: h.kind, Holder: h.name, PolicyType: kind, PolicyName: name}
	var list []ram.Policy
	var err error
	switch h.kind {
	case "user":
		_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListPoliciesForUser"}, func(w *worker) error {
			r := ram.CreateListPoliciesForUserRequest()
			r.UserName = h.name
			resp, err := w.ram.listPoliciesForUser(r)
			if err == nil {
				list = resp.Policies.Policy
			}
			return err
		})
	case "role":
		_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListPoliciesForRole"}, func(w *worker) error {
			r := ram.CreateListPoliciesForRoleRequest()
			r.RoleName = h.name
			resp, err := w.ram.listPoliciesForRole(r)
			if err == nil {
				list = resp.Policies.Policy
			}
			return err
		})
	default:
		list, err = c.groupPolicies(ctx, sc, h.name)
	}
	switch {
	case absent(err, "User"), absent(err, "Group"):
		return s, moved(h.kind, h.name)
	case absent(err, "Role"):
		return s, fmt.Errorf("%s %s: %w", h.kind, h.name, errGone)
	case err != nil:
		return s, err
	}
	for _, p := range list {
		if p.PolicyName == name && p.PolicyType == kind {
			s.Attached = true
		}
	}
	return s, nil
}

func (c *Client) groupPolicies(ctx context.Context, sc scope, group string) (list []ram.Policy, err error) {
	_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListPoliciesForGroup"}, func(w *worker) error {
		r := ram.CreateListPoliciesForGroupRequest()
		r.GroupName = group
		resp, err := w.ram.listPoliciesForGroup(r)
		if err == nil {
			list = resp.Policies.Policy
		}
		return err
	})
	return list, err
}

// setAttached makes the one call that attaches or detaches.
func (c *Client) setAttached(ctx context.Context, sc scope, s PolicyState) (string, error) {
	if s.Holder == "" || s.PolicyName == "" || s.PolicyType == "" {
		return "", refuse("a call without a name or a policy is never made")
	}
	action := "DetachPolicyFrom"
	if s.Attached {
		action = "AttachPolicyTo"
	}
	action += map[string]string{"user": "User", "role": "Role", "group": "Group"}[s.HolderKind]
	return c.do(ctx, sc.as, op{product: "ram", action: action, write: true}, func(w *worker) (err error) {
		switch action {
		case "AttachPolicyToUser":
			r := ram.CreateAttachPolicyToUserRequest()
			r.PolicyType, r.PolicyName, r.UserName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.attachPolicyToUser(r)
		case "AttachPolicyToRole":
			r := ram.CreateAttachPolicyToRoleRequest()
			r.PolicyType, r.PolicyName, r.RoleName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.attachPolicyToRole(r)
		case "AttachPolicyToGroup":
			r := ram.CreateAttachPolicyToGroupRequest()
			r.PolicyType, r.PolicyName, r.GroupName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.attachPolicyToGroup(r)
		case "DetachPolicyFromUser":
			r := ram.CreateDetachPolicyFromUserRequest()
			r.PolicyType, r.PolicyName, r.UserName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.detachPolicyFromUser(r)
		case "DetachPolicyFromRole":
			r := ram.CreateDetachPolicyFromRoleRequest()
			r.PolicyType, r.PolicyName, r.RoleName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.detachPolicyFromRole(r)
		case "DetachPolicyFromGroup":
			r := ram.CreateDetachPolicyFromGroupRequest()
			r.PolicyType, r.PolicyName, r.GroupName = s.PolicyType, s.PolicyName, s.Holder
			_, err = w.ram.detachPolicyFromGroup(r)
		default:
			return refuse("there is no call for a %q", s.HolderKind)
		}
		return err
	})
}

func attachmentRepeats(err error) bool {
	c := code(err)
	return strings.HasPrefix(c, "EntityAlreadyExists.") && strings.HasSuffix(c, ".Policy") ||
		c == "EntityNotExist.User.Policy" || c == "EntityNotExist.Role.Policy" || c == "EntityNotExist.Group.Policy"
}

// quarantineUser attaches the deny-all policy that was made at deployment:
// keys, console and sessions of the user are refused everything. Before that
// it reads the policy: somebody may have changed what it says.
func (c *Client) quarantineUser() responders.Executor {
	name := c.cfg.QuarantinePolicy
	return change[PolicyState]{
		c: c, kind: "ram.quarantine_user", needs: aUser,
		perms: []string{"ram:AttachPolicyToUser", "ram:DetachPolicyFromUser", "ram:GetPolicy", "ram:ListPoliciesForUser"},
		describe: func(t target) string {
			return fmt.Sprintf("ram AttachPolicyToUser{PolicyType: Custom, PolicyName: %s, UserName: %s}", name, t.user)
		},
		back: func(_ target, prior PolicyState) string { return "ram " + prior.call() },
		read: func(ctx context.Context, sc scope, t target) (PolicyState, error) {
			return c.readAttached(ctx, sc, holder{"user", t.user}, "Custom", name)
		},
		veto: func(ctx context.Context, sc scope, _ target, _ *PolicyState) error {
			doc, err := c.policyDocument(ctx, sc, "Custom", name)
			switch {
			case absent(err, "Policy"):
				return refuse("account %s has no policy %s; create it from deploy/ram/quarantine-deny-all.json", sc.account, name)
			case err != nil:
				return err
			case !deniesAll(doc):
				return refuse("policy %s does not deny everything any more; restore it from deploy/ram/quarantine-deny-all.json", name)
			}
			return nil
		},
		want:    func(_ target, prior PolicyState) PolicyState { prior.Attached = true; return prior },
		inForce: func(_ target, s PolicyState) bool { return s.Attached },
		same:    equal[PolicyState],
		write: func(ctx context.Context, sc scope, _ target, _, to PolicyState) (string, error) {
			return c.setAttached(ctx, sc, to)
		},
		already: attachmentRepeats,
		owner: func(t target, s PolicyState) bool {
			return s.HolderKind == "user" && strings.EqualFold(s.Holder, t.user) && s.PolicyType == "Custom" && s.PolicyName == name
		},
		words: attachedWords,
	}.executor()
}

func attachedWords(s PolicyState) string {
	if s.Attached {
		return "attached"
	}
	return "not attached"
}

// detachPolicy takes a policy from a user, a role or (parameter "group") a
// group. Parameters: policy_type (System or Custom) and policy_name. A policy
// that denies anything is not taken away: that would grant.
func (c *Client) detachPolicy() responders.Executor {
	return change[PolicyState]{
		c: c, kind: "ram.detach_policy", needs: aUserOrRole,
		perms: []string{"ram:AttachPolicyToGroup", "ram:AttachPolicyToRole", "ram:AttachPolicyToUser", "ram:DetachPolicyFromGroup",
			"ram:DetachPolicyFromRole", "ram:DetachPolicyFromUser", "ram:GetGroup", "ram:GetPolicy", "ram:GetRole", "ram:GetUser", "ram:ListPoliciesForGroup", "ram:ListPoliciesForRole", "ram:ListPoliciesForUser", "ram:ListUsersForGroup"},
		check: func(t *target) error {
			if t.params["group"] != "" {
				if _, err := t.param("group", groupChars); err != nil {
					return err
				}
			}
			if k := t.params["policy_type"]; k != "System" && k != "Custom" {
				return refuse("the action's parameter policy_type is %q; want System or Custom", clean(k, 40))
			}
			_, err := t.param("policy_name", policyChars)
			return err
		},
		describe: func(t target) string {
			h := holderOf(t)
			kind := map[string]string{"user": "User", "role": "Role", "group": "Group"}[h.kind]
			return fmt.Sprintf("ram DetachPolicyFrom%s{PolicyType: %s, PolicyName: %s, %sName: %s}", kind, t.params["policy_type"], t.params["policy_name"], kind, h.name)
		},
		back: func(_ target, prior PolicyState) string { return "ram " + prior.call() },
		read: func(ctx context.Context, sc scope, t target) (PolicyState, error) {
			return c.readAttached(ctx, sc, holderOf(t), t.params["policy_type"], t.params["policy_name"])
		},
		veto: func(ctx context.Context, sc scope, t target, prior *PolicyState) error {
			if prior.HolderKind == "group" {
				if err := c.sparedMembers(ctx, sc, t.account, prior.Holder); err != nil {
					return err
				}
			}
			doc, err := c.noDeny(ctx, sc, prior.PolicyType, prior.PolicyName)
			if err == nil && prior.PolicyType == "Custom" {
				prior.Document = digest(canonicalJSON(doc))
			}
			return err
		},
		// Who is let go for a policy is not given another one of its name.
		since: func(ctx context.Context, sc scope, _ target, prior PolicyState) error {
			if prior.Document == "" {
				return nil
			}
			doc, err := c.policyDocument(ctx, sc, prior.PolicyType, prior.PolicyName)
			switch {
			case absent(err, "Policy"):
				return drift("policy %s was deleted since", prior.PolicyName)
			case err == nil && digest(canonicalJSON(doc)) != prior.Document:
				return drift("policy %s says something else by now than when it was taken away", prior.PolicyName)
			}
			return err
		},
		born: func(ctx context.Context, sc scope, _ target, prior PolicyState) (string, string, error) {
			return c.holderBorn(ctx, sc, holder{prior.HolderKind, prior.Holder})
		},
		birth:   func(s *PolicyState) *string { return &s.HolderID },
		want:    func(_ target, prior PolicyState) PolicyState { prior.Attached = false; return prior },
		inForce: func(_ target, s PolicyState) bool { return !s.Attached },
		same:    func(a, b PolicyState) bool { a.Document, b.Document = "", ""; return a == b },
		write: func(ctx context.Context, sc scope, _ target, _, to PolicyState) (string, error) {
			return c.setAttached(ctx, sc, to)
		},
		already: attachmentRepeats,
		owner: func(t target, s PolicyState) bool {
			h := holderOf(t)
			return s.HolderKind == h.kind && strings.EqualFold(s.Holder, h.name) && s.PolicyType == t.params["policy_type"] && s.PolicyName == t.params["policy_name"]
		},
		words: attachedWords,
	}.executor()
}

func (c *Client) policyDocument(ctx context.Context, sc scope, kind, name string) (string, error) {
	var resp *ram.GetPolicyResponse
	_, err := c.do(ctx, sc.as, op{product: "ram", action: "GetPolicy"}, func(w *worker) (err error) {
		r := ram.CreateGetPolicyRequest()
		r.PolicyType, r.PolicyName = kind, name
		resp, err = w.ram.getPolicy(r)
		return err
	})
	if err != nil {
		return "", err
	}
	if resp.DefaultPolicyVersion.PolicyDocument == "" {
		return "", &Error{Action: "ram GetPolicy", Class: responders.ErrRetry, Detail: "the answer holds no document"}
	}
	return resp.DefaultPolicyVersion.PolicyDocument, nil
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// noDeny refuses a policy that denies anything, or that cannot be read; it returns
// the document.
func (c *Client) noDeny(ctx context.Context, sc scope, kind, name string) (doc string, err error) {
	if doc, err = c.policyDocument(ctx, sc, kind, name); err != nil {
		return "", err
	}
	st, err := statements(doc)
	if err != nil {
		return "", refuse("the document of policy %s cannot be read (%v), so it is not known what taking it away would do", name, err)
	}
	for _, s := range st {
		if !strings.EqualFold(s.Effect, "Allow") {
			return "", refuse("policy %s denies something, so taking it away would grant; do it by hand", name)
		}
	}
	return doc, nil
}

type statement struct {
	Effect    string          `json:"Effect"`
	Action    json.RawMessage `json:"Action"`
	Resource  json.RawMessage `json:"Resource"`
	NotAction json.RawMessage `json:"NotAction"`
	NotRes    json.RawMessage `json:"NotResource"`
	Condition json.RawMessage `json:"Condition"`
}

func statements(doc string) ([]statement, error) {
	var d struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return nil, err
	}
	var many []statement
	if err := json.Unmarshal(d.Statement, &many); err != nil {
		var one statement
		if json.Unmarshal(d.Statement, &one) != nil {
			return nil, err
		}
		many = []statement{one}
	}
	if len(many) == 0 {
		return nil, errors.New("it has no statement")
	}
	return many, nil
}

// deniesAll says that a document denies everything to everybody and allows
// nothing.
func deniesAll(doc string) bool {
	st, err := statements(doc)
	if err != nil {
		return false
	}
	all := false
	star := func(r json.RawMessage) bool {
		var s string
		if json.Unmarshal(r, &s) == nil {
			return s == "*"
		}
		var l []string
		return json.Unmarshal(r, &l) == nil && len(l) == 1 && l[0] == "*"
	}
	for _, s := range st {
		if !strings.EqualFold(s.Effect, "Deny") {
			return false
		}
		all = all || star(s.Action) && star(s.Resource) && (len(s.Condition) == 0 || string(s.Condition) == "null" || string(s.Condition) == "{}")
	}
	return all
}

// VersionState is the prior state of ram.set_default_policy_version.
type VersionState struct {
	PolicyName string `json:"policy_name"`
	VersionID  string `json:"version_id"`
	Made       string `json:"made,omitempty"` // when the version was
}

// setDefaultPolicyVersion puts an older version of a custom policy in force
// again. Parameters: policy_name and version_id.
func (c *Client) setDefaultPolicyVersion() responders.Executor {
	return change[VersionState]{
		c: c, kind: "ram.set_default_policy_version",
		perms: []string{"ram:ListEntitiesForPolicy", "ram:ListPolicyVersions", "ram:ListUsersForGroup", "ram:SetDefaultPolicyVersion"},
		check: func(t *target) error {
			name, err := t.param("policy_name", policyChars)
			if err != nil {
				return err
			}
			if name == c.cfg.QuarantinePolicy {
				return refuse("policy %s is the quarantine itself", name)
			}
			_, err = t.param("version_id", versionChars)
			return err
		},
		describe: func(t target) string {
			return fmt.Sprintf("ram SetDefaultPolicyVersion{PolicyName: %s, VersionId: %s}", t.params["policy_name"], t.params["version_id"])
		},
		back: func(_ target, prior VersionState) string {
			return fmt.Sprintf("ram SetDefaultPolicyVersion{PolicyName: %s, VersionId: %s}", prior.PolicyName, prior.VersionID)
		},
		read: func(ctx context.Context, sc scope, t target) (VersionState, error) {
			s := VersionState{PolicyName: t.params["policy_name"]}
			versions, err := c.policyVersions(ctx, sc, s.PolicyName)
			switch {
			case absent(err, "Policy"):
				return s, fmt.Errorf("custom policy %s: %w", s.PolicyName, errGone)
			case err != nil:
				return s, err
			}
			known := false
			for _, v := range versions {
				known = known || v.VersionId == t.params["version_id"]
				if v.IsDefaultVersion {
					s.VersionID = v.VersionId
				}
			}
			switch {
			case s.VersionID == "":
				return s, &Error{Action: "ram ListPolicyVersions", Class: responders.ErrRetry, Detail: "no version is the default one"}
			case !known:
				return s, refuse("policy %s has no version %s any more; restore it from its document by hand", s.PolicyName, t.params["version_id"])
			}
			return s, nil
		},
		veto: func(ctx context.Context, sc scope, t target, prior *VersionState) error {
			return c.sparedHolders(ctx, sc, t.account, prior.PolicyName)
		},
		// A policy that was deleted and made again numbers its versions from v1 again.
		born: func(ctx context.Context, sc scope, _ target, prior VersionState) (string, string, error) {
			what := fmt.Sprintf("version %s of policy %s", prior.VersionID, prior.PolicyName)
			versions, err := c.policyVersions(ctx, sc, prior.PolicyName)
			if absent(err, "Policy") {
				err = nil
			}
			for _, v := range versions {
				if v.VersionId == prior.VersionID {
					return what, v.CreateDate, err
				}
			}
			return what, "", err
		},
		birth: func(s *VersionState) *string { return &s.Made },
		want: func(t target, prior VersionState) VersionState {
			prior.VersionID = t.params["version_id"]
			return prior
		},
		inForce: func(t target, s VersionState) bool { return s.VersionID == t.params["version_id"] },
		same:    equal[VersionState],
		write: func(ctx context.Context, sc scope, _ target, _, to VersionState) (string, error) {
			return c.do(ctx, sc.as, op{product: "ram", action: "SetDefaultPolicyVersion", write: true}, func(w *worker) error {
				r := ram.CreateSetDefaultPolicyVersionRequest()
				r.PolicyName, r.VersionId = to.PolicyName, to.VersionID
				_, err := w.ram.setDefaultPolicyVersion(r)
				return err
			})
		},
		already: func(error) bool { return false },
		owner: func(t target, s VersionState) bool {
			return s.PolicyName == t.params["policy_name"] && versionChars.MatchString(s.VersionID)
		},
		words: func(s VersionState) string { return "version " + clean(s.VersionID, 20) },
	}.executor()
}

func (c *Client) policyVersions(ctx context.Context, sc scope, policy string) (list []ram.PolicyVersion, err error) {
	_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListPolicyVersions"}, func(w *worker) error {
		r := ram.CreateListPolicyVersionsRequest()
		r.PolicyType, r.PolicyName = "Custom", policy
		resp, err := w.ram.listPolicyVersions(r)
		if err == nil {
			list = resp.PolicyVersions.PolicyVersion
		}
		return err
	})
	return list, err
}

// MemberState is the prior state of ram.remove_from_group.
type MemberState struct {
	UserName  string `json:"user_name"`
	GroupName string `json:"group_name"`
	Member    bool   `json:"member"`
	// Policies is the hash of the names of the group's policies when the user left it.
	Policies string `json:"policies,omitempty"`
	UserID   string `json:"user_id,omitempty"`
}

func policiesHash(list []ram.Policy) string {
	names := make([]string, 0, len(list))
	for _, p := range list {
		names = append(names, p.PolicyType+"/"+p.PolicyName)
	}
	slices.Sort(names)
	return digest(strings.Join(names, "\n"))
}

// removeFromGroup takes a user out of a group (parameter "group"), unless the
// group denies its members something.
func (c *Client) removeFromGroup() responders.Executor {
	return change[MemberState]{
		c: c, kind: "ram.remove_from_group", needs: aUser,
		perms: []string{"ram:AddUserToGroup", "ram:GetGroup", "ram:GetPolicy", "ram:GetUser", "ram:ListGroupsForUser", "ram:ListPoliciesForGroup", "ram:RemoveUserFromGroup"},
		check: func(t *target) error {
			_, err := t.param("group", groupChars)
			return err
		},
		describe: func(t target) string {
			return fmt.Sprintf("ram RemoveUserFromGroup{GroupName: %s, UserName: %s}", t.params["group"], t.user)
		},
		back: func(_ target, prior MemberState) string {
			return fmt.Sprintf("ram AddUserToGroup{GroupName: %s, UserName: %s}", prior.GroupName, prior.UserName)
		},
		read: func(ctx context.Context, sc scope, t target) (MemberState, error) {
			s := MemberState{UserName: t.user, GroupName: t.params["group"]}
			var resp *ram.ListGroupsForUserResponse
			_, err := c.do(ctx, sc.as, op{product: "ram", action: "ListGroupsForUser"}, func(w *worker) (err error) {
				r := ram.CreateListGroupsForUserRequest()
				r.UserName = t.user
				resp, err = w.ram.listGroupsForUser(r)
				return err
			})
			switch {
			case absent(err, "User"):
				return s, moved("user", t.user)
			case err != nil:
				return s, err
			}
			for _, g := range resp.Groups.Group {
				s.Member = s.Member || strings.EqualFold(g.GroupName, s.GroupName)
			}
			if !s.Member { // of a group of this name; it may have another one
				if _, id, err := c.holderBorn(ctx, sc, holder{"group", s.GroupName}); err == nil && id == "" {
					return s, moved("group", s.GroupName)
				}
			}
			return s, nil
		},
		veto: func(ctx context.Context, sc scope, _ target, prior *MemberState) error {
			list, err := c.groupPolicies(ctx, sc, prior.GroupName)
			if err != nil {
				return err
			}
			for _, p := range list {
				if _, err := c.noDeny(ctx, sc, p.PolicyType, p.PolicyName); err != nil {
					return err
				}
			}
			prior.Policies = policiesHash(list)
			return nil
		},
		// Who has left a group is not put into another one of its name, nor into what it
		// has become.
		since: func(ctx context.Context, sc scope, _ target, prior MemberState) error {
			if prior.Policies == "" {
				return nil
			}
			list, err := c.groupPolicies(ctx, sc, prior.GroupName)
			switch {
			case absent(err, "Group"):
				return drift("group %s was deleted since", prior.GroupName)
			case err == nil && policiesHash(list) != prior.Policies:
				return drift("group %s has other policies by now than when the user was taken out; if another action changed them, undo that one first", prior.GroupName)
			}
			return err
		},
		born: func(ctx context.Context, sc scope, t target, _ MemberState) (string, string, error) {
			return c.holderBorn(ctx, sc, holder{"user", t.user})
		},
		birth:   func(s *MemberState) *string { return &s.UserID },
		want:    func(_ target, prior MemberState) MemberState { prior.Member = false; return prior },
		inForce: func(_ target, s MemberState) bool { return !s.Member },
		same:    func(a, b MemberState) bool { a.Policies, b.Policies = "", ""; return a == b },
		write: func(ctx context.Context, sc scope, t target, _, to MemberState) (string, error) {
			if t.user == "" {
				return "", refuse("a call without a user name is never made")
			}
			if to.Member {
				return c.do(ctx, sc.as, op{product: "ram", action: "AddUserToGroup", write: true}, func(w *worker) error {
					r := ram.CreateAddUserToGroupRequest()
					r.GroupName, r.UserName = to.GroupName, t.user
					_, err := w.ram.addUserToGroup(r)
					return err
				})
			}
			return c.do(ctx, sc.as, op{product: "ram", action: "RemoveUserFromGroup", write: true}, func(w *worker) error {
				r := ram.CreateRemoveUserFromGroupRequest()
				r.GroupName, r.UserName = to.GroupName, t.user
				_, err := w.ram.removeUserFromGroup(r)
				return err
			})
		},
		already: func(err error) bool {
			return absent(err, "User.Group") || code(err) == "EntityAlreadyExists.User.Group"
		},
		owner: func(t target, s MemberState) bool {
			return strings.EqualFold(s.UserName, t.user) && strings.EqualFold(s.GroupName, t.params["group"])
		},
		words: func(s MemberState) string {
			if s.Member {
				return "a member"
			}
			return "not a member"
		},
	}.executor()
}
