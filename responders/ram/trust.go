package ram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// TrustState is the prior state of ram.narrow_trust. Trust is the document as
// the cloud gave it.
type TrustState struct {
	RoleName string `json:"role_name"`
	Trust    string `json:"trust"`
	RoleID   string `json:"role_id,omitempty"`
}

// external stands for every principal of another account, and for anybody.
const external = "external"

var principalChars = regexp.MustCompile(`^acs:ram::[0-9]{8,20}:(root|(user|role|assumed-role)/[A-Za-z0-9._@/*-]{1,160})$`)

// narrowTrust takes principals out of a role's trust document, so that they
// open no new session; those that are open live on (see cutRoleSessions). The
// parameter "remove" lists them, separated by commas: ARNs, or "external" for
// every other account and anybody. Undo sets the document that was there.
func (c *Client) narrowTrust() responders.Executor {
	return change[TrustState]{
		c: c, kind: responders.KindNarrowTrust, needs: aRole,
		perms: []string{"ram:GetRole", "ram:UpdateRole"},
		check: func(t *target) error {
			for _, p := range removed(t.params["remove"]) {
				if p != external && !principalChars.MatchString(p) {
					return refuse("the action's parameter remove holds %q, which is neither the ARN of a principal nor %q", clean(p, 80), external)
				}
			}
			if len(removed(t.params["remove"])) == 0 {
				return refuse("the action's parameter remove names nobody")
			}
			return nil
		},
		describe: func(t target) string {
			return fmt.Sprintf("ram UpdateRole{RoleName: %s, NewAssumeRolePolicyDocument: the present one without %s}", t.role, strings.Join(removed(t.params["remove"]), ", "))
		},
		back: func(t target, prior TrustState) string {
			return fmt.Sprintf("ram UpdateRole{RoleName: %s, NewAssumeRolePolicyDocument: %s}", t.role, prior.Trust)
		},
		read: func(ctx context.Context, sc scope, t target) (TrustState, error) {
			r, err := c.getRole(ctx, sc, t.role)
			if err != nil {
				return TrustState{}, err
			}
			if _, _, err := narrow(r.AssumeRolePolicyDocument, t.account, removed(t.params["remove"])); err != nil {
				return TrustState{}, refuse("the trust document of role %s cannot be read (%v)", t.role, err)
			}
			return TrustState{RoleName: t.role, Trust: r.AssumeRolePolicyDocument}, nil
		},
		born: func(ctx context.Context, sc scope, t target, _ TrustState) (string, string, error) {
			return c.holderBorn(ctx, sc, holder{"role", t.role})
		},
		birth: func(s *TrustState) *string { return &s.RoleID },
		want: func(t target, prior TrustState) TrustState {
			prior.Trust, _, _ = narrow(prior.Trust, t.account, removed(t.params["remove"])) // read has seen that it can be read
			return prior
		},
		inForce: func(t target, s TrustState) bool {
			_, changed, err := narrow(s.Trust, t.account, removed(t.params["remove"]))
			return err == nil && !changed
		},
		same: func(a, b TrustState) bool { return a.RoleName == b.RoleName && sameJSON(a.Trust, b.Trust) },
		write: func(ctx context.Context, sc scope, t target, from, to TrustState) (string, error) {
			if t.role == "" || to.Trust == "" {
				return "", refuse("a call without a role or a document is never made")
			}
			// The whole document is written, so that what another hand has put into it
			// meanwhile would be lost.
			switch r, err := c.getRole(ctx, sc, t.role); {
			case err != nil:
				return "", notSent(err)
			case !sameJSON(r.AssumeRolePolicyDocument, from.Trust):
				return "", &Error{Action: "ram UpdateRole", Class: responders.ErrRetry, Detail: "nothing was sent: the role's trust document was changed by another hand just now"}
			}
			return c.do(ctx, sc.as, op{product: "ram", action: "UpdateRole", write: true}, func(w *worker) error {
				r := ram.CreateUpdateRoleRequest()
				r.RoleName, r.NewAssumeRolePolicyDocument = t.role, to.Trust
				_, err := w.ram.updateRole(r)
				return err
			})
		},
		already: func(error) bool { return false },
		owner:   func(t target, s TrustState) bool { return strings.EqualFold(s.RoleName, t.role) },
		words:   func(s TrustState) string { return "trusting " + clean(canonicalJSON(s.Trust), 200) },
	}.executor()
}

func removed(list string) []string {
	var out []string
	for _, s := range strings.Split(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// narrow takes principals out of a trust document. A statement that would be
// left with nobody keeps them and becomes a Deny: a document has to name
// somebody, and without an Allow nobody gets in.
func narrow(doc, account string, remove []string) (out string, changed bool, err error) {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var root map[string]any
	if err := d.Decode(&root); err != nil {
		return "", false, err
	}
	var list []any
	switch st := root["Statement"].(type) {
	case []any:
		list = st
	case map[string]any:
		list = []any{st}
	}
	if len(list) == 0 {
		return "", false, errors.New("it has no statement")
	}
	goes := func(p string) bool {
		if slices.Contains(remove, p) {
			return true
		}
		rest, ok := strings.CutPrefix(p, "acs:ram::")
		owner, _, _ := strings.Cut(rest, ":")
		if !ok {
			owner = p
		}
		return slices.Contains(remove, external) && owner != account
	}
	for _, x := range list {
		st, ok := x.(map[string]any)
		if !ok {
			return "", false, errors.New("a statement is not an object")
		}
		effect, _ := st["Effect"].(string)
		if !strings.EqualFold(effect, "Allow") {
			continue
		}
		principal, ok := st["Principal"].(map[string]any)
		if !ok {
			if s, is := st["Principal"].(string); is && goes(s) {
				st["Effect"], changed = "Deny", true
				continue
			}
			if _, is := st["Principal"].(string); is {
				continue
			}
			return "", false, errors.New("a statement names no principal")
		}
		var keep, gone []any
		switch v := principal["RAM"].(type) {
		case nil:
		case string:
			if goes(v) {
				gone = []any{v}
			} else {
				keep = []any{v}
			}
		case []any:
			for _, p := range v {
				s, ok := p.(string)
				if !ok {
					return "", false, errors.New("a principal is not text")
				}
				if goes(s) {
					gone = append(gone, s)
				} else {
					keep = append(keep, s)
				}
			}
		default:
			return "", false, errors.New("the principals are neither text nor a list")
		}
		switch {
		case len(gone) == 0:
		case len(keep) > 0:
			principal["RAM"], changed = keep, true
		case len(principal) > 1: // services or federation stay
			delete(principal, "RAM")
			changed = true
		default:
			st["Effect"], changed = "Deny", true
		}
	}
	return string(encode(root)), changed, nil
}
