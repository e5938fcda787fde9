package ram

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// ownPrefix begins the name of every policy that we make; the shipped RAM
// policies let the responder make and delete no other.
const ownPrefix = "trailwarden-"

var ownChars = regexp.MustCompile(`^trailwarden-(cut|fence)-[0-9a-f]{16}$`)

// OwnPolicyState is the prior state of the kinds that attach a policy of
// their own making: ram.cut_role_sessions and ram.fence_user.
type OwnPolicyState struct {
	HolderKind string `json:"holder_kind"` // user or role
	Holder     string `json:"holder"`
	PolicyName string `json:"policy_name"`
	Exists     bool   `json:"exists"`
	Attached   bool   `json:"attached"`
	// Document is the policy's text, empty while it does not exist.
	Document string `json:"document,omitempty"`
	// Until is when a cut ends: when every session that is open now is over.
	Until string `json:"until,omitempty"`
	// Set is the text that a fence has.
	Set string `json:"set,omitempty"`
}

// ownPolicy is a change that makes a policy and attaches it, and whose undo
// detaches and deletes it. A policy that is attached to nobody has no effect,
// so the attachment is the one call that counts; a crash between the two
// leaves a text without effect, which the next try uses.
func (c *Client) ownPolicy(x change[OwnPolicyState], document func(t target, s OwnPolicyState) (string, error)) responders.Executor {
	name := func(t target) string { return ownName(x.kind, t.id) }
	text := func(t target, s OwnPolicyState) string {
		doc, err := document(t, s)
		if err != nil { // check has seen to it
			return ""
		}
		return doc
	}
	x.c = c
	x.read = func(ctx context.Context, sc scope, t target) (OwnPolicyState, error) {
		h := holderOf(target{user: t.user, role: t.role})
		at, err := c.readAttached(ctx, sc, h, "Custom", name(t))
		if err != nil {
			return OwnPolicyState{}, err
		}
		s := OwnPolicyState{HolderKind: h.kind, Holder: h.name, PolicyName: at.PolicyName, Attached: at.Attached}
		if h.kind == "user" {
			s.Set = text(t, s)
		}
		switch s.Document, err = c.policyDocument(ctx, sc, "Custom", s.PolicyName); {
		case absent(err, "Policy"):
			err = nil
		case err != nil:
			return s, err
		default:
			s.Exists = true
		}
		if h.kind == "role" {
			if s.Attached { // else it cuts nothing yet, and sessions have been opened since
				s.Until = cutUntil(s.Document)
			}
			if s.Until == "" {
				s.Until, err = c.sessionsEnd(ctx, sc, h.name)
			}
		}
		return s, err
	}
	x.want = func(t target, prior OwnPolicyState) OwnPolicyState {
		prior.Exists, prior.Attached, prior.Document = true, true, text(t, prior)
		return prior
	}
	x.inForce = func(t target, s OwnPolicyState) bool {
		return s.Attached && s.Exists && sameJSON(s.Document, text(t, s))
	}
	x.same = func(a, b OwnPolicyState) bool {
		if !a.Attached && !b.Attached { // without effect, whether the policy is there or not
			return a.HolderKind == b.HolderKind && a.Holder == b.Holder && a.PolicyName == b.PolicyName
		}
		a.Document, b.Document, a.Set, b.Set = canonicalJSON(a.Document), canonicalJSON(b.Document), "", ""
		return a == b
	}
	x.write = func(ctx context.Context, sc scope, _ target, _, to OwnPolicyState) (string, error) {
		if !ownChars.MatchString(to.PolicyName) {
			return "", refuse("%q is not a policy of ours", clean(to.PolicyName, 80))
		}
		p := PolicyState{HolderKind: to.HolderKind, Holder: to.Holder, PolicyType: "Custom", PolicyName: to.PolicyName, Attached: to.Attached}
		if !to.Attached {
			return c.unmakePolicy(ctx, sc, p)
		}
		return c.makePolicy(ctx, sc, p, to.Document)
	}
	x.already = func(err error) bool { return attachmentRepeats(err) }
	x.set = func(s OwnPolicyState) string { return s.Set }
	x.owner = func(t target, s OwnPolicyState) bool {
		h := holderOf(target{user: t.user, role: t.role})
		return s.HolderKind == h.kind && strings.EqualFold(s.Holder, h.name) && s.PolicyName == name(t)
	}
	x.words = func(s OwnPolicyState) string {
		if s.Attached {
			return "under the policy " + clean(s.Document, 200)
		}
		return "without the policy " + s.PolicyName
	}
	x.back = func(t target, s OwnPolicyState) string {
		kind := map[string]string{"user": "User", "role": "Role"}[s.HolderKind]
		return fmt.Sprintf("ram DetachPolicyFrom%s{PolicyType: Custom, PolicyName: %s, %sName: %s}, then ram DeletePolicy{PolicyName: %s}", kind, s.PolicyName, kind, s.Holder, s.PolicyName)
	}
	describe := x.describe
	x.describe = func(t target) string { return strings.ReplaceAll(describe(t), "POLICY", name(t)) }
	return x.executor()
}

// ownName names the policy of one action.
func ownName(kind, action string) string {
	word := "fence"
	if kind == responders.KindCutRoleSessions {
		word = "cut"
	}
	h := sha256.Sum256([]byte(kind + "\n" + action))
	return ownPrefix + word + "-" + hex.EncodeToString(h[:8])
}

// makePolicy creates the policy and attaches it.
func (c *Client) makePolicy(ctx context.Context, sc scope, p PolicyState, document string) (string, error) {
	create := func() error {
		_, err := c.do(ctx, sc.as, op{product: "ram", action: "CreatePolicy", write: true}, func(w *worker) error {
			r := ram.CreateCreatePolicyRequest()
			r.PolicyName, r.PolicyDocument, r.Description = p.PolicyName, document, "made by trailwarden to contain an incident; its undo deletes it"
			_, err := w.ram.createPolicy(r)
			return err
		})
		return err
	}
	err := create()
	if code(err) == "EntityAlreadyExists.Policy" {
		// Ours, from a try that ended in between, or somebody else's.
		var there string
		switch there, err = c.policyDocument(ctx, sc, "Custom", p.PolicyName); {
		case err != nil:
			return "", notSent(err)
		case sameJSON(there, document):
		case cutUntil(there) == "":
			return "", refuse("a policy %s is there already and says something else", p.PolicyName)
		default: // a cut that would end before the sessions opened since that try
			if err = c.deletePolicy(ctx, sc, p.PolicyName); err == nil {
				err = create()
			}
		}
	}
	switch {
	case errors.Is(err, responders.ErrInDoubt):
		// The policy alone has no effect, so the same may be tried again.
		return "", fmt.Errorf("%w: %w", plain{err}, responders.ErrRetry)
	case err != nil:
		return "", err
	}
	id, err := c.setAttached(ctx, sc, p)
	if err == nil || errors.Is(err, responders.ErrInDoubt) || attachmentRepeats(err) {
		return id, err
	}
	// What is tried again needs it. Where that is given up, the error is what is told of it.
	if errors.Is(err, responders.ErrRetry) || c.deletePolicy(ctx, sc, p.PolicyName) != nil {
		err = fmt.Errorf("%w; the policy %s was made and is attached to nobody", err, p.PolicyName)
	}
	return "", err
}

// unmakePolicy detaches the policy and deletes it.
func (c *Client) unmakePolicy(ctx context.Context, sc scope, p PolicyState) (string, error) {
	id, err := c.setAttached(ctx, sc, p)
	if err != nil && !attachmentRepeats(err) {
		return "", err
	}
	if err := c.deletePolicy(ctx, sc, p.PolicyName); err != nil {
		return "", fmt.Errorf("detached, but the policy %s, which is attached to nobody now, could not be deleted (%w): %w", p.PolicyName, plain{err}, responders.ErrInDoubt)
	}
	return id, nil
}

// deletePolicy removes a policy of ours. What fails in passing is repeated:
// by then the policy is attached to nobody, and a second call finds it gone.
func (c *Client) deletePolicy(ctx context.Context, sc scope, name string) error {
	for n := 0; ; n++ {
		_, err := c.do(ctx, sc.as, op{product: "ram", action: "DeletePolicy", write: true}, func(w *worker) error {
			r := ram.CreateDeletePolicyRequest()
			r.PolicyName = name
			_, err := w.ram.deletePolicy(r)
			return err
		})
		switch {
		case err == nil, absent(err, "Policy"):
			return nil
		case n >= readTries-1 || !errors.Is(err, responders.ErrRetry) && !errors.Is(err, responders.ErrInDoubt):
			return err
		}
		if c.cfg.Sleep(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// cutRoleSessions denies everything to a role until every session that is open
// now has ended by itself; then the denial is void. New sessions are denied
// too, since a policy cannot tell old ones from new.
func (c *Client) cutRoleSessions() responders.Executor {
	return c.ownPolicy(change[OwnPolicyState]{
		kind: responders.KindCutRoleSessions, needs: aRole,
		perms: []string{"ram:AttachPolicyToRole", "ram:CreatePolicy", "ram:DeletePolicy", "ram:DetachPolicyFromRole", "ram:GetPolicy", "ram:GetRole", "ram:ListPoliciesForRole"},
		describe: func(t target) string {
			return fmt.Sprintf("ram CreatePolicy{PolicyName: POLICY, PolicyDocument: Deny * on * until now + the role's MaxSessionDuration}, then ram AttachPolicyToRole{PolicyType: Custom, PolicyName: POLICY, RoleName: %s}", t.role)
		},
	}, func(_ target, s OwnPolicyState) (string, error) { return cutDocument(s.Until), nil })
}

func cutDocument(until string) string {
	return `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"acs:CurrentTime":"` + until + `"}}}]}`
}

// cutUntil reads the end of a cut from its document, "" when it is not one.
func cutUntil(doc string) string {
	var d struct {
		Statement []struct {
			Condition struct{ DateLessThan map[string]string }
		}
	}
	if json.Unmarshal([]byte(doc), &d) != nil || len(d.Statement) != 1 {
		return ""
	}
	until := d.Statement[0].Condition.DateLessThan["acs:CurrentTime"]
	if _, err := time.Parse(time.RFC3339, until); err != nil || !sameJSON(doc, cutDocument(until)) {
		return ""
	}
	return until
}

func (c *Client) getRole(ctx context.Context, sc scope, name string) (ram.Role, error) {
	var resp *ram.GetRoleResponse
	_, err := c.do(ctx, sc.as, op{product: "ram", action: "GetRole"}, func(w *worker) (err error) {
		r := ram.CreateGetRoleRequest()
		r.RoleName = name
		resp, err = w.ram.getRole(r)
		return err
	})
	switch {
	case absent(err, "Role"):
		return ram.Role{}, fmt.Errorf("role %s: %w", name, errGone)
	case err != nil:
		return ram.Role{}, err
	case !strings.EqualFold(resp.Role.RoleName, name):
		return ram.Role{}, &Error{Action: "ram GetRole", Class: responders.ErrRetry, Detail: "the answer is not about role " + name}
	}
	return resp.Role, nil
}

// sessionsEnd is when the last session of a role that is open now ends.
func (c *Client) sessionsEnd(ctx context.Context, sc scope, name string) (string, error) {
	r, err := c.getRole(ctx, sc, name)
	if err != nil {
		return "", err
	}
	life := time.Duration(r.MaxSessionDuration) * time.Second
	if life < time.Hour || life > 12*time.Hour {
		life = 12 * time.Hour // the longest there is
	}
	return c.now().Add(life + time.Minute).Truncate(time.Minute).Format(time.RFC3339), nil
}

func (c *Client) now() time.Time {
	if c.cfg.Now != nil {
		return c.cfg.Now().UTC()
	}
	return time.Now().UTC()
}

// fenceUser denies everything to a user that comes from elsewhere than the
// networks of the parameter "allow" or the configured fence: for a user with
// several keys, or a console login, where a fence around one key is not enough.
func (c *Client) fenceUser() responders.Executor {
	return c.ownPolicy(change[OwnPolicyState]{
		kind: responders.KindFenceUser, needs: aUser,
		perms: []string{"ram:AttachPolicyToUser", "ram:CreatePolicy", "ram:DeletePolicy", "ram:DetachPolicyFromUser", "ram:GetPolicy", "ram:ListPoliciesForUser"},
		check: func(t *target) error {
			if err := checkFence(t.params["allow"], c.cfg.Fence); err != nil {
				return refuse("the fence is not usable: %v", err)
			}
			return nil
		},
		describe: func(t target) string {
			return fmt.Sprintf("ram CreatePolicy{PolicyName: POLICY, PolicyDocument: %s}, then ram AttachPolicyToUser{PolicyType: Custom, PolicyName: POLICY, UserName: %s}", c.fencePolicy(t), t.user)
		},
	}, func(t target, _ OwnPolicyState) (string, error) { return c.fencePolicy(t), nil })
}

func (c *Client) fencePolicy(t target) string {
	if t.set != "" {
		return t.set
	}
	list := slices.Clone(fenceList(t.params["allow"], c.cfg.Fence))
	slices.Sort(list)
	return `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"acs:SourceIp":` + string(encode(slices.Compact(list))) + `}}}]}`
}

// canonicalJSON is a document without what does not matter in it: blanks and
// the order of keys. What is no JSON stays as it is.
func canonicalJSON(doc string) string {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return doc
	}
	return string(encode(v))
}

func sameJSON(a, b string) bool { return a != "" && canonicalJSON(a) == canonicalJSON(b) }
