package ramtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// texts is a string or a list of strings.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("want a string or a list of strings")
	}
	*t = many
	return nil
}

type statement struct {
	Effect      string
	Action      texts
	NotAction   texts
	Resource    texts
	NotResource texts
	Principal   map[string]texts
	Condition   map[string]map[string]texts
}

type document struct {
	Version   string
	Statement []statement
}

func parseDocument(s string) (*document, error) {
	var d document
	if err := json.Unmarshal([]byte(s), &d); err != nil {
		return nil, err
	}
	if d.Version != "1" {
		return nil, errors.New(`the Version must be "1"`)
	}
	if len(d.Statement) == 0 {
		return nil, errors.New("there is no statement")
	}
	for i, st := range d.Statement {
		switch {
		case !strings.EqualFold(st.Effect, "Allow") && !strings.EqualFold(st.Effect, "Deny"):
			return nil, fmt.Errorf("statement %d: Effect must be Allow or Deny", i+1)
		case (len(st.Action) == 0) == (len(st.NotAction) == 0):
			return nil, fmt.Errorf("statement %d: give Action or NotAction", i+1)
		case (len(st.Resource) == 0) == (len(st.NotResource) == 0):
			return nil, fmt.Errorf("statement %d: give Resource or NotResource", i+1)
		}
	}
	return &d, nil
}

// glob matches * and ?.
func glob(p, t string) bool {
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

func anyGlob(list texts, s string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return glob(fold(p), fold(s)) })
}

// resourceMatch matches ARNs field by field for the region, where the request
// has a *, and as text otherwise.
func resourceMatch(list texts, arn string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		if p == "*" {
			return true
		}
		f, g := strings.SplitN(p, ":", 5), strings.SplitN(arn, ":", 5)
		if len(f) == 5 && len(g) == 5 {
			f[2] = "*"
			p = strings.Join(f, ":")
		}
		return glob(p, arn)
	})
}

// applies says whether a statement is about a request. A condition that is not
// understood makes an Allow not apply and a Deny apply: the emulator must not
// be more generous than the cloud.
func (st *statement) applies(c *call, action, resource string) bool {
	if len(st.Action) > 0 && !anyGlob(st.Action, action) || len(st.NotAction) > 0 && anyGlob(st.NotAction, action) {
		return false
	}
	if len(st.Resource) > 0 && !resourceMatch(st.Resource, resource) || len(st.NotResource) > 0 && resourceMatch(st.NotResource, resource) {
		return false
	}
	for op, keys := range st.Condition {
		for k, vals := range keys {
			holds, known := c.condition(op, k, vals)
			if !known {
				return strings.EqualFold(st.Effect, "Deny")
			}
			if !holds {
				return false
			}
		}
	}
	return true
}

func (c *call) condition(op, key string, vals texts) (holds, known bool) {
	switch {
	case strings.EqualFold(key, "acs:CurrentTime") && (op == "DateLessThan" || op == "DateGreaterThan"):
		for _, v := range vals {
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return false, false
			}
			if d := c.s.opts.Now().Compare(at); d < 0 && op == "DateLessThan" || d > 0 && op == "DateGreaterThan" {
				return true, true
			}
		}
		return false, true
	case strings.EqualFold(key, "acs:SourceIp") && (op == "IpAddress" || op == "NotIpAddress"):
		in := inNetworks(vals, sourceIP(c.r))
		return in == (op == "IpAddress"), true
	}
	return false, false
}

func inNetworks(list []string, addr string) bool {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list, func(s string) bool {
		if p, err := netip.ParsePrefix(s); err == nil {
			return p.Contains(a.Unmap())
		}
		b, err := netip.ParseAddr(s)
		return err == nil && b.Unmap() == a.Unmap()
	})
}

// verdict of the attached policies: explicit deny, allow, or neither.
func (c *call) verdict(docs []string, action, resource string) (allow, deny bool) {
	for _, s := range docs {
		d, err := parseDocument(s)
		if err != nil {
			continue
		}
		for i := range d.Statement {
			if st := &d.Statement[i]; st.applies(c, action, resource) {
				if strings.EqualFold(st.Effect, "Deny") {
					deny = true
				} else {
					allow = true
				}
			}
		}
	}
	return allow, deny
}

func (a *account) documents(refs []string) []string {
	var out []string
	for _, ref := range refs {
		if p := a.policies[ref]; p != nil {
			if v := p.version(p.current); v != nil {
				out = append(out, v.document)
			}
		}
	}
	return out
}

func (c *call) authorize(do action) *apiError {
	if do.resource == nil { // needs no permission
		return nil
	}
	code := "ram" // Ims is authorised under the code of Ram
	if c.api == STS || c.api == ActionTrail || c.api == ResourceManager && c.action != "ListPolicyAttachments" {
		code = strings.ToLower(string(c.api))
	}
	if c.api == SAS {
		code = "yundun-aegis" // the code of the product that it was
	}
	act, resources := code+":"+c.action, []string{do.resource(c)}
	if do.also != nil {
		resources = append(resources, do.also(c))
	}
	var docs []string
	deniedBy, kind := "ImplicitDeny", "RAMUser"
	switch c.caller.Type {
	case "root-account":
		return nil // policies do not bind root
	case "ram-user":
		u := c.acct.users[fold(c.caller.Name)]
		if u == nil {
			return errf(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
		}
		docs = c.acct.documents(u.policies)
		for _, g := range c.acct.groups {
			if slices.Contains(g.members, fold(u.name)) {
				docs = append(docs, c.acct.documents(g.policies)...)
			}
		}
		if k := u.keys[c.caller.AccessKeyID]; k != nil && k.network != "" {
			if p, err := parseNetwork(k.network); err == nil && p.Status == Active && !p.admits(sourceIP(c.r)) {
				// The code of this refusal is not documented.
				return &apiError{status: 403, code: "NoPermission", message: "The network policy of the AccessKey does not allow the source address."}
			}
		}
	default:
		kind = "AssumedRoleUser"
		r := c.acct.roles[fold(c.caller.role)]
		if r == nil {
			return errf(403, "NoPermission", noPermission)
		}
		docs = c.acct.documents(r.policies)
	}
	allow, deny := true, false
	for _, res := range resources {
		a, d := c.verdict(docs, act, res)
		allow, deny = allow && a, deny || d
		if s := c.caller.session; s != nil && s.policy != "" {
			a, d := c.verdict([]string{s.policy}, act, res)
			allow, deny = allow && a, deny || d
		}
	}
	if allow && !deny {
		return nil
	}
	if deny {
		deniedBy = "ExplicitDeny"
	}
	return &apiError{status: 403, code: "NoPermission", message: noPermission, denied: &AccessDenied{
		AuthAction: act, AuthPrincipalType: kind, AuthPrincipalOwnerID: c.caller.account, AuthPrincipalDisplayName: c.caller.PrincipalID,
		NoPermissionType: deniedBy, PolicyType: "AccountLevelIdentityBasedPolicy",
	}}
}

// trusts says whether a role's trust policy names the caller, or its account
// as a whole.
func trusts(doc, kind string, who caller) bool {
	var d document
	if json.Unmarshal([]byte(doc), &d) != nil {
		return false
	}
	ok := false
	for _, st := range d.Statement {
		if !anyGlob(st.Action, "sts:AssumeRole") {
			continue
		}
		hit := slices.ContainsFunc(st.Principal[kind], func(p string) bool {
			return p == "*" || strings.EqualFold(p, who.ARN) || kind == "RAM" && p == "acs:ram::"+who.account+":root" ||
				who.role != "" && strings.EqualFold(p, "acs:ram::"+who.account+":role/"+who.role)
		})
		if hit && strings.EqualFold(st.Effect, "Deny") {
			return false
		}
		ok = ok || hit && strings.EqualFold(st.Effect, "Allow")
	}
	return ok
}

type network struct {
	Version    int
	Status     string
	Statements []struct {
		Type   string
		Value  string
		IPList []string
	}
}

func parseNetwork(s string) (*network, error) {
	var n network
	if err := json.Unmarshal([]byte(s), &n); err != nil {
		return nil, err
	}
	if n.Version != 0 && n.Version != 1 || n.Status != Active && n.Status != Inactive {
		return nil, errors.New("want Version 1 and Status Active or Inactive")
	}
	for _, st := range n.Statements {
		if st.Type != "ClassicWhiteList" && st.Type != "VPCWhiteList" {
			return nil, fmt.Errorf("type %q is not known", st.Type)
		}
		for _, ip := range st.IPList {
			if _, err := netip.ParseAddr(ip); err != nil {
				if _, err := netip.ParsePrefix(ip); err != nil {
					return nil, fmt.Errorf("%q is not an address or network", ip)
				}
			}
		}
	}
	return &n, nil
}

func (n *network) admits(addr string) bool {
	for _, st := range n.Statements {
		if st.Type == "ClassicWhiteList" && inNetworks(st.IPList, addr) {
			return true
		}
	}
	return false
}
