package ram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/responders"
)

const (
	active   = "Active"
	inactive = "Inactive"
)

// KeyState is the prior state of ram.disable_access_key.
type KeyState struct {
	UserName    string `json:"user_name"`
	AccessKeyID string `json:"access_key_id"`
	Status      string `json:"status"` // Active or Inactive
	CreateDate  string `json:"create_date,omitempty"`
}

// disableAccessKey switches an AccessKey of a RAM user off; undo switches it
// on again.
func (c *Client) disableAccessKey() responders.Executor {
	return change[KeyState]{
		c: c, kind: "ram.disable_access_key", needs: aUser | aKey,
		perms: []string{"ram:GetUser", "ram:ListAccessKeys", "ram:UpdateAccessKey"},
		describe: func(t target) string {
			return fmt.Sprintf("ram UpdateAccessKey{UserName: %s, UserAccessKeyId: %s, Status: Inactive}", t.user, t.key)
		},
		back: func(t target, prior KeyState) string {
			return fmt.Sprintf("ram UpdateAccessKey{UserName: %s, UserAccessKeyId: %s, Status: %s}", t.user, t.key, prior.Status)
		},
		read: c.readKey,
		want: func(_ target, prior KeyState) KeyState {
			prior.Status = inactive
			return prior
		},
		inForce: func(_ target, s KeyState) bool { return s.Status == inactive },
		same:    equal[KeyState],
		write: func(ctx context.Context, sc scope, t target, _, to KeyState) (string, error) {
			return c.updateKey(ctx, sc, t, to.Status)
		},
		already: func(err error) bool { return absent(err, "User.AccessKey") },
		owner: func(t target, s KeyState) bool {
			return strings.EqualFold(s.UserName, t.user) && s.AccessKeyID == t.key
		},
		words: func(s KeyState) string { return s.Status },
	}.executor()
}

func (c *Client) updateKey(ctx context.Context, sc scope, t target, status string) (string, error) {
	if t.user == "" || t.key == "" || status != active && status != inactive {
		// checkTarget has seen to this; the call would hit our own keys.
		return "", refuse("a call without a user name, a key or a status is never made")
	}
	return c.do(ctx, sc.as, op{product: "ram", action: "UpdateAccessKey", write: true}, func(w *worker) error {
		r := ram.CreateUpdateAccessKeyRequest()
		r.UserName, r.UserAccessKeyId, r.Status = t.user, t.key, status
		_, err := w.ram.updateAccessKey(r)
		return err
	})
}

func (c *Client) listKeys(ctx context.Context, sc scope, user string) ([]ram.AccessKey, error) {
	var resp *ram.ListAccessKeysResponse
	_, err := c.do(ctx, sc.as, op{product: "ram", action: "ListAccessKeys"}, func(w *worker) (err error) {
		r := ram.CreateListAccessKeysRequest()
		r.UserName = user
		resp, err = w.ram.listAccessKeys(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp.AccessKeys.AccessKey, nil
}

// readKey finds the key among those of its owner. A key that is not shown may
// be too new, deleted, or another user's: the last is refused.
func (c *Client) readKey(ctx context.Context, sc scope, t target) (KeyState, error) {
	for n := 0; ; n++ {
		keys, err := c.listKeys(ctx, sc, t.user)
		if err != nil && !absent(err, "User") {
			return KeyState{}, err
		}
		for _, k := range keys {
			if k.AccessKeyId != t.key {
				continue
			}
			if k.Status != active && k.Status != inactive {
				return KeyState{}, &Error{Action: "ram ListAccessKeys", Class: responders.ErrRetry, Detail: "the status of the key is neither Active nor Inactive: " + clean(k.Status, 40)}
			}
			return KeyState{t.user, k.AccessKeyId, k.Status, k.CreateDate}, nil
		}
		if n == 2 || c.cfg.Sleep(ctx, backoff(n)) != nil {
			break
		}
	}
	owner, err := c.keyOwner(ctx, sc, t.key)
	switch {
	case err == nil && strings.EqualFold(owner, t.user):
		return KeyState{}, &Error{Action: "ram ListAccessKeys", Class: responders.ErrRetry, Detail: "the key exists but is not listed yet"}
	case err == nil:
		return KeyState{}, refuse("AccessKey %s belongs to user %q and not to %q", t.key, clean(owner, 80), t.user)
	case strings.HasPrefix(code(err), "EntityNotExist."):
		return KeyState{}, fmt.Errorf("AccessKey %s of user %s: %w", t.key, t.user, errGone)
	case errors.Is(err, responders.ErrRetry):
		return KeyState{}, err
	}
	return KeyState{}, refuse("ListAccessKeys of user %s does not show AccessKey %s: it was deleted or belongs to somebody else (%v)", t.user, t.key, err)
}

// keyOwner asks IMS whose key it is.
func (c *Client) keyOwner(ctx context.Context, sc scope, key string) (string, error) {
	var resp *ims.GetUserResponse
	_, err := c.do(ctx, sc.as, op{product: "ims", action: "GetUser"}, func(w *worker) (err error) {
		r := ims.CreateGetUserRequest()
		r.UserAccessKeyId = key
		resp, err = w.ims.getUser(r)
		return err
	})
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(resp.User.UserPrincipalName, "@")
	if name == "" {
		return "", &Error{Action: "ims GetUser", Class: responders.ErrRefused, Detail: "the answer names no user"}
	}
	return name, nil
}

// FenceState is the prior state of ram.fence_key. Policy is the document as
// the cloud gave it.
type FenceState struct {
	UserName    string `json:"user_name"`
	UPN         string `json:"upn"`
	AccessKeyID string `json:"access_key_id"`
	Policy      string `json:"policy"`
	Set         string `json:"set,omitempty"` // the document of the fence
}

// fenceKey lets a key be used from some networks only: the workload goes on,
// the thief does not. The action's parameter "allow" lists addresses and
// networks, separated by commas; without it the configured Fence is used.
// Undo sets the document that was there.
func (c *Client) fenceKey() responders.Executor {
	fence := func(t target) string {
		if t.set != "" {
			return t.set
		}
		return fenceDocument(t.params["allow"], c.cfg.Fence)
	}
	return change[FenceState]{
		c: c, kind: "ram.fence_key", needs: aUser | aKey,
		perms: []string{"ram:GetAccessKeyPolicy", "ram:GetUser", "ram:ListAccessKeys", "ram:SetAccessKeyPolicy"},
		check: func(t *target) error {
			if err := checkFence(t.params["allow"], c.cfg.Fence); err != nil {
				return refuse("the fence is not usable: %v", err)
			}
			return nil
		},
		describe: func(t target) string {
			return fmt.Sprintf("ims SetAccessKeyPolicy{UserPrincipalName: %s@…, UserAccessKeyId: %s, AccessKeyPolicy: %s}", t.user, t.key, fence(t))
		},
		back: func(t target, prior FenceState) string {
			return fmt.Sprintf("ims SetAccessKeyPolicy{UserPrincipalName: %s, UserAccessKeyId: %s, AccessKeyPolicy: %s}", prior.UPN, t.key, prior.Policy)
		},
		read: func(ctx context.Context, sc scope, t target) (FenceState, error) {
			if _, err := c.readKey(ctx, sc, t); err != nil { // the owner first
				return FenceState{}, err
			}
			upn, err := c.upn(ctx, sc, t.user)
			if err != nil {
				return FenceState{}, err
			}
			s := FenceState{UserName: t.user, UPN: upn, AccessKeyID: t.key, Set: fence(t)}
			s.Policy, err = c.networkPolicy(ctx, sc, upn, t.key)
			return s, err
		},
		want: func(t target, prior FenceState) FenceState {
			prior.Policy = fence(t)
			return prior
		},
		inForce: func(t target, s FenceState) bool { return canonical(s.Policy) == canonical(fence(t)) },
		same: func(a, b FenceState) bool {
			a.Policy, b.Policy, a.Set, b.Set = canonical(a.Policy), canonical(b.Policy), "", ""
			return a == b
		},
		write: func(ctx context.Context, sc scope, t target, _, to FenceState) (string, error) {
			if to.UPN == "" || t.key == "" || to.Policy == "" {
				return "", refuse("a call without a user name, a key or a document is never made")
			}
			return c.do(ctx, sc.as, op{product: "ims", action: "SetAccessKeyPolicy", write: true}, func(w *worker) error {
				_, err := common(w, c.at["ims"], "SetAccessKeyPolicy", map[string]string{
					"UserPrincipalName": to.UPN, "UserAccessKeyId": t.key, "AccessKeyPolicy": to.Policy})
				return err
			})
		},
		already: func(err error) bool { return absent(err, "User.AccessKey") },
		owner: func(t target, s FenceState) bool {
			return strings.EqualFold(s.UserName, t.user) && s.AccessKeyID == t.key
		},
		words: func(s FenceState) string {
			if n, err := parseNetwork(s.Policy); err == nil && n.Status != active {
				return "without a network policy in force"
			}
			return "under the network policy " + clean(s.Policy, 200)
		},
		set: func(s FenceState) string { return s.Set },
	}.executor()
}

func (c *Client) networkPolicy(ctx context.Context, sc scope, upn, key string) (string, error) {
	var body string
	_, err := c.do(ctx, sc.as, op{product: "ims", action: "GetAccessKeyPolicy"}, func(w *worker) (err error) {
		body, err = common(w, c.at["ims"], "GetAccessKeyPolicy", map[string]string{"UserPrincipalName": upn, "UserAccessKeyId": key})
		return err
	})
	if absent(err, "User.AccessKey") || absent(err, "User") {
		return "", errGone
	}
	if err != nil {
		return "", err
	}
	var a struct{ AccessKeyPolicy json.RawMessage }
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		return "", &Error{Action: "ims GetAccessKeyPolicy", Class: responders.ErrRetry, Detail: "the answer cannot be read"}
	}
	doc := string(a.AccessKeyPolicy)
	var text string
	if json.Unmarshal(a.AccessKeyPolicy, &text) == nil { // documented as text
		doc = text
	}
	if doc == "" || doc == "null" {
		doc = noNetwork
	}
	if _, err := parseNetwork(doc); err != nil {
		// It could not be restored, so it is not touched.
		return "", refuse("the network policy of AccessKey %s is of a form that is not known: %v", key, err)
	}
	return doc, nil
}

const noNetwork = `{"Version":1,"Status":"Inactive","Statements":[]}`

type network struct {
	Version    int                `json:"Version"`
	Status     string             `json:"Status"`
	Statements []networkStatement `json:"Statements"`
}

type networkStatement struct {
	Type   string   `json:"Type"`
	Value  string   `json:"Value,omitempty"`
	IPList []string `json:"IPList,omitempty"`
}

func parseNetwork(s string) (network, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	var n network
	if err := d.Decode(&n); err != nil {
		return n, err
	}
	if n.Status != active && n.Status != inactive {
		return n, fmt.Errorf("status %q", clean(n.Status, 40))
	}
	return n, nil
}

// canonical is a document in one form whatever the order of its lists.
func canonical(doc string) string {
	n, err := parseNetwork(doc)
	if err != nil {
		return doc
	}
	n.Version = 1
	for i := range n.Statements {
		slices.Sort(n.Statements[i].IPList)
	}
	lists.Sort(n.Statements, func(a, b networkStatement) int {
		return strings.Compare(a.Type+"\x00"+a.Value+"\x00"+strings.Join(a.IPList, ","), b.Type+"\x00"+b.Value+"\x00"+strings.Join(b.IPList, ","))
	})
	if len(n.Statements) == 0 {
		n.Statements = []networkStatement{}
	}
	return string(encode(n))
}

func fenceList(allow string, def []string) []string {
	if allow == "" {
		return def
	}
	var out []string
	for _, s := range strings.Split(allow, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// checkFence refuses a fence that fences nothing, and the empty one: what an
// active, empty list does is not documented.
func checkFence(allow string, def []string) error {
	list := fenceList(allow, def)
	if len(list) == 0 {
		return errors.New("no address is allowed; give the parameter allow: networks, or usual")
	}
	if len(list) > 50 {
		return errors.New("more than 50 entries")
	}
	for _, s := range list {
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return fmt.Errorf("%q is neither an address nor a network", clean(s, 60))
		case p.Masked() != p:
			return fmt.Errorf("%s has bits beyond its length; meant is perhaps %s", p, p.Masked())
		case p.Bits() < 8:
			return fmt.Errorf("%s is so wide that it fences nothing", p)
		}
	}
	return nil
}

func fenceDocument(allow string, def []string) string {
	list := slices.Clone(fenceList(allow, def))
	slices.Sort(list)
	return string(encode(network{1, active, []networkStatement{{Type: "ClassicWhiteList", IPList: slices.Compact(list)}}}))
}
