package rampolicy

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Request is one question to a policy: may this principal do this?
type Request struct {
	Action   string // "ecs:RunInstances"
	Resource string // "acs:ecs:cn-hangzhou:1000000000000001:instance/i-example"
	// Principal is in the form of CanonicalPrincipal, for trust and resource
	// policies: "ram:<account>:user/<name>", "svc:<service>@<account>", …
	Principal string
	// Context holds the values of condition keys, by key in lower case. A key
	// that is not there is absent.
	Context map[string]string
	// Assumed says how conditions turn out that cannot be evaluated, by
	// Condition.id. Those that are not there
	// do not hold.
	Assumed map[string]bool
}

// Reading settles what RAM's documentation leaves open.
type Reading struct {
	// FoldResource: resources and principals are compared without letter
	// case.
	FoldResource bool
	// AbsentNegated: a negated operator holds when its key is absent.
	AbsentNegated bool
	// ColonApart: no wildcard of an action stands for the colon, so a pattern
	// without one, like "ecs*", matches nothing; "*" alone still is every
	// action.
	ColonApart bool
	// AllowList: an Allow of a control policy binds, so that of what
	// FullAliyunAccess allows only what the Allow statements cover is left.
	AllowList bool
}

// spansColon says whether a pattern of actions matches only if a wildcard may
// stand for the colon.
func spansColon(pattern string) bool {
	return !strings.Contains(pattern, ":") && strings.Trim(pattern, "*") != ""
}

// Effect is what a policy says about a request.
type Effect uint8

// The effects.
const (
	NotMentioned Effect = iota // neither allowed nor refused
	Allowed
	Refused
)

// Decide evaluates a request by the rules of one policy class: a matching
// Deny refuses, else a matching Allow allows.
func (d *Document) Decide(q *Request, read Reading) Effect {
	out := NotMentioned
	for i := range d.Statements {
		s := &d.Statements[i]
		if (s.Deny || out == NotMentioned) && s.matches(q, read) {
			if s.Deny {
				return Refused
			}
			out = Allowed
		}
	}
	return out
}

// DecideAs is Decide for a document as what it is. Beside a control policy
// stands FullAliyunAccess, which cannot be detached.
func (d *Document) DecideAs(kind Kind, q *Request, read Reading) Effect {
	e := d.Decide(q, read)
	if kind == Control && e == NotMentioned && !(read.AllowList && d.HasAllow()) {
		return Allowed
	}
	return e
}

// HasAllow says whether the document has an Allow statement.
func (d *Document) HasAllow() bool {
	return slices.ContainsFunc(d.Statements, func(s Statement) bool { return !s.Deny })
}

func (s *Statement) matches(q *Request, read Reading) bool {
	fold := func(t string) string {
		if read.FoldResource {
			return strings.ToLower(t)
		}
		return t
	}
	action := q.Action
	if hasUpper(action) {
		action = strings.ToLower(action)
	}
	if slices.ContainsFunc(s.lowered(), func(p string) bool {
		return Match(p, action) && !(read.ColonApart && spansColon(p))
	}) == s.NotAction {
		return false
	}
	if !s.AnyResrc && slices.ContainsFunc(s.Resources, func(p string) bool { return Match(fold(p), fold(q.Resource)) }) == s.NotResrc {
		return false
	}
	if !s.AnyPrinc && slices.ContainsFunc(s.Principals, func(p Principal) bool { return Match(fold(CanonicalPrincipal(p)), fold(q.Principal)) }) == s.NotPrinc {
		return false
	}
	for i := range s.Conditions {
		if !s.Conditions[i].holds(q, read) {
			return false
		}
	}
	return true
}

// Text names a condition: operator, key and values in a fixed order.
func (c *Condition) Text() string {
	values := slices.Clone(c.Values)
	slices.Sort(values)
	set := ""
	if c.Set != "" {
		set = c.Set + ":"
	}
	return set + c.Operator + " " + strings.ToLower(c.Key) + " [" + strings.Join(slices.Compact(values), ", ") + "]"
}

// id is equal for conditions that are equal but for the order and repetition
// of their values, and for no others: unlike Text, whose separators a value
// may hold.
func (c *Condition) id() string {
	values := slices.Clone(c.Values)
	slices.Sort(values)
	return fmt.Sprintf("%q %q %q %q", c.Set, c.Operator, strings.ToLower(c.Key), slices.Compact(values))
}

// opaque says whether the condition cannot be evaluated from its key's value.
func (c *Condition) opaque() bool {
	if c.Set != "" || !slices.Contains(operators, c.Operator) || len(c.Values) == 0 && negated(c.Operator) {
		// Also StringEqualsIfExists and its like, whose first letters alone
		// would put them into a family; and what is in none of no values, which
		// holds always or never.
		return true
	}
	switch family(c.Operator) {
	case famString:
		return false
	case famBool:
		return !slices.ContainsFunc(c.Values, isBool) && len(c.Values) > 0 || slices.ContainsFunc(c.Values, func(v string) bool { return !isBool(v) })
	case famNumeric:
		return slices.ContainsFunc(c.Values, func(v string) bool { _, ok := number(v); return !ok })
	case famDate:
		return slices.ContainsFunc(c.Values, func(v string) bool { _, ok := date(v); return !ok })
	case famIP:
		return slices.ContainsFunc(c.Values, func(v string) bool { _, ok := network(v); return !ok })
	}
	return true
}

func (c *Condition) holds(q *Request, read Reading) bool {
	if c.opaque() {
		return q.Assumed[c.id()]
	}
	value, present := q.Context[strings.ToLower(c.Key)]
	return c.test(value, present, read)
}

// The families of operators.
const (
	famUnknown = iota
	famString
	famBool
	famNumeric
	famDate
	famIP
)

func family(op string) int {
	switch {
	case strings.HasPrefix(op, "String"):
		return famString
	case strings.HasPrefix(op, "Numeric"):
		return famNumeric
	case strings.HasPrefix(op, "Date"):
		return famDate
	case op == "Bool":
		return famBool
	case op == "IpAddress" || op == "NotIpAddress":
		return famIP
	}
	return famUnknown
}

// negated operators hold when no value is met.
func negated(op string) bool { return strings.Contains(op, "Not") }

// test evaluates a condition that is not opaque.
func (c *Condition) test(value string, present bool, read Reading) bool {
	if !present {
		return negated(c.Operator) && read.AbsentNegated
	}
	met := false
	if len(c.nets) > 0 {
		a, err := netip.ParseAddr(value)
		a = a.Unmap()
		met = err == nil && slices.ContainsFunc(c.nets, func(n netip.Prefix) bool { return n.Contains(a) })
	} else {
		met = slices.ContainsFunc(c.Values, func(want string) bool { return compare(c.Operator, value, want) })
	}
	return met != negated(c.Operator)
}

// prepare reads the networks of a condition once. It is called before anybody
// else sees the condition.
func (c *Condition) prepare() {
	if family(c.Operator) != famIP || c.opaque() {
		return
	}
	for _, v := range c.Values {
		n, _ := network(v)
		c.nets = append(c.nets, n)
	}
}

// compare tests one value by the positive form of the operator.
func compare(op, have, want string) bool {
	switch op {
	case "StringEquals", "StringNotEquals":
		return have == want
	case "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase":
		return strings.Map(foldRune, have) == strings.Map(foldRune, want)
	case "StringLike", "StringNotLike":
		return Match(want, have)
	case "Bool":
		return isBool(have) && strings.EqualFold(have, want)
	case "IpAddress", "NotIpAddress":
		a, err := netip.ParseAddr(have)
		n, ok := network(want)
		return err == nil && ok && n.Contains(a.Unmap())
	}
	var order int
	if strings.HasPrefix(op, "Numeric") {
		a, ok := number(have)
		b, ok2 := number(want)
		if !ok || !ok2 {
			return false
		}
		order = a.Cmp(b)
	} else {
		a, ok := date(have)
		b, ok2 := date(want)
		if !ok || !ok2 {
			return false
		}
		order = a.Compare(b)
	}
	switch strings.TrimPrefix(strings.TrimPrefix(op, "Numeric"), "Date") {
	case "Equals", "NotEquals":
		return order == 0
	case "LessThan":
		return order < 0
	case "LessThanEquals":
		return order <= 0
	case "GreaterThan":
		return order > 0
	case "GreaterThanEquals":
		return order >= 0
	}
	return false
}

func isBool(v string) bool { return strings.EqualFold(v, "true") || strings.EqualFold(v, "false") }

// number reads a decimal number exactly. Exponents are refused: a few bytes
// of them could cost gigabytes.
func number(v string) (*big.Rat, bool) {
	if len(v) == 0 || len(v) > 40 || strings.Trim(v, "0123456789.-") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(v)
}

var dateForms = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}

// date reads a time; without a zone it is taken as UTC.
func date(v string) (time.Time, bool) {
	for _, f := range dateForms {
		if t, err := time.Parse(f, v); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// network reads an address or a CIDR.
func network(v string) (netip.Prefix, bool) {
	v = strings.TrimSpace(v)
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// CanonicalPrincipal writes a principal as one string, with '*' and '?' as
// wildcards:
//
//	ram:<account>:user/<name>, ram:<account>:role/<name>   root is ram:<account>:*
//	svc:<service>@<account>    the account is empty for the own one
//	saml:<provider arn>, oidc:<provider arn>
//	uid:<number>, sts:<number>:<role>/<session>            of bucket policies
//	anonymous                  matched only by "*" of bucket policies
func CanonicalPrincipal(p Principal) string {
	v := p.Value
	switch p.Kind {
	case "RAM", "":
		if v == "*" {
			if p.Kind == "" {
				return "*"
			}
			return "ram:*"
		}
		if account, name, ok := ramARN(v); ok {
			if name == "root" {
				name = "*"
			}
			return "ram:" + account + ":" + name
		}
		if rest, ok := strings.CutPrefix(v, "arn:sts::"); ok {
			if uid, name, ok := strings.Cut(rest, ":assumed-role/"); ok {
				return "sts:" + uid + ":" + name
			}
		}
		if p.Kind == "" && v != "" && strings.Trim(v, "0123456789") == "" {
			return "uid:" + v
		}
	case "Service":
		if account, service, ok := strings.Cut(v, "@"); ok {
			return "svc:" + service + "@" + account
		}
		if v == "*" {
			return "svc:*"
		}
		return "svc:" + v + "@"
	case "Federated":
		if v == "*" {
			return "fed:*"
		}
		if _, name, ok := ramARN(v); ok {
			switch {
			case strings.HasPrefix(name, "saml-provider/"):
				return "saml:" + v
			case strings.HasPrefix(name, "oidc-provider/"):
				return "oidc:" + v
			}
		}
		return "fed:" + v
	}
	return "other:" + p.Kind + ":" + v
}

// ramARN splits acs:ram:<region>:<account>:<name>.
func ramARN(v string) (account, name string, ok bool) {
	parts := strings.SplitN(v, ":", 5)
	if len(parts) != 5 || !strings.EqualFold(parts[0], "acs") || !strings.EqualFold(parts[1], "ram") {
		return "", "", false
	}
	return parts[3], parts[4], true
}
