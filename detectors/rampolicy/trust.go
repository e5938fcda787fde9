package rampolicy

import (
	"slices"
	"strings"
)

// TrustFacts say who can get in through a trust or resource policy.
type TrustFacts struct {
	// Public: any Alibaba Cloud account, or anybody at all.
	Public bool
	// Outside is who is let in from outside of the account, in the order
	// written: the number of another account; <account>@<service> for a
	// service that acts for one; "*" for anybody; and, of bucket policies, a
	// number that is too long for an account: a user, of the own account or of
	// another.
	Outside []string
	// Federation are the identity providers of the own account that are let
	// in; OpenFederation are those whose every identity is: OIDC without a
	// condition on oidc:sub.
	Federation, OpenFederation []string
	// OwnAccount: every user and role of the own account that may call
	// sts:AssumeRole.
	OwnAccount bool
}

// AccountOf is the account of an entry of TrustFacts.Outside, "" where it is a
// user's number. Accounts have 16 digits, users 18.
func AccountOf(outsider string) string {
	account, _, service := strings.Cut(outsider, "@")
	if !service && len(account) > 17 && strings.Trim(account, "0123456789*") == "" {
		return ""
	}
	return account
}

// reach is what kind of principal an entry lets in.
type reach uint8

const (
	reachNamed   reach = iota // a user, role, provider or service of the own account
	reachOwn                  // the whole own account
	reachService              // a service for another account
	reachForeign              // another account or somebody in it
	reachPublic               // any account, anybody
)

// reachOf judges one entry. Without a known own account every account is
// taken for foreign, except that a masked number equal to the own is not
// possible to tell.
func reachOf(p Principal, own string) reach {
	v := p.Value
	if v == "*" {
		return reachPublic
	}
	foreign := func(account, name string) reach {
		switch {
		case strings.Trim(account, "*") == "":
			return reachPublic
		case account != own:
			return reachForeign
		case name == "root" || name == "*":
			return reachOwn
		}
		return reachNamed
	}
	switch p.Kind {
	case "Service":
		if account, _, ok := strings.Cut(v, "@"); ok && account != own {
			return reachService
		}
		return reachNamed
	case "Federated":
		if account, _, ok := ramARN(v); ok && account != own && own != "" {
			return reachForeign
		}
		return reachNamed
	}
	if account, name, ok := ramARN(v); ok {
		return foreign(account, name)
	}
	if rest, ok := strings.CutPrefix(v, "arn:sts::"); ok {
		account, name, _ := strings.Cut(rest, ":")
		return foreign(account, name)
	}
	if strings.Trim(v, "0123456789*") == "" && v != "" {
		// A number alone may also be a user of the own account.
		return foreign(v, "*")
	}
	return reachForeign
}

// TrustOf reads who is let in by the Allow statements of a document. It does
// not weigh Deny statements: what is refused to all of them is found by Diff.
func TrustOf(d *Document, account string) TrustFacts {
	var f TrustFacts
	if d == nil {
		return f
	}
	add := func(list *[]string, v string) {
		if !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
	for i := range d.Statements {
		s := &d.Statements[i]
		if s.Deny || s.AnyPrinc || len(s.Actions) == 0 && !s.NotAction {
			continue
		}
		if s.NotPrinc {
			f.Public = true
			continue
		}
		for _, p := range s.Principals {
			v := p.Value
			switch reachOf(p, account) {
			case reachPublic:
				f.Public = true
			case reachForeign:
				if a, _, ok := ramARN(v); ok {
					v = a
				} else if rest, ok := strings.CutPrefix(v, "arn:sts::"); ok {
					v, _, _ = strings.Cut(rest, ":")
				}
				add(&f.Outside, v)
			case reachService:
				add(&f.Outside, v)
			case reachOwn:
				f.OwnAccount = true
			default:
				if p.Kind == "Federated" {
					add(&f.Federation, v)
				}
			}
			if openFederation(s, p) {
				add(&f.OpenFederation, p.Value)
			}
		}
	}
	if f.Public {
		add(&f.Outside, "*")
	}
	return f
}

// openFederation says whether an OIDC provider's every identity is let in.
func openFederation(s *Statement, p Principal) bool {
	if p.Kind != "Federated" || !strings.Contains(strings.ToLower(p.Value), "oidc-provider/") && p.Value != "*" {
		return false
	}
	return !slices.ContainsFunc(s.Conditions, func(c Condition) bool {
		return strings.EqualFold(c.Key, "oidc:sub") && !negated(c.Operator) && c.Set != "ForAllValues" &&
			!slices.ContainsFunc(c.Values, func(v string) bool { return strings.HasSuffix(c.Operator, "Like") && strings.Trim(v, "*") == "" })
	})
}
