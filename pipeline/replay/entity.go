package replay

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// entity is whom or what a run is asked about, in all the words that records may
// have for it. A nil one is nothing.
type entity struct {
	words []string     // lower case, none empty
	net   netip.Prefix // of a network, which is every address in it
}

// newEntity finds the words of what somebody wrote or pasted; nil when it is
// empty. Besides what alerts and records call it, that is
//
//   - a resource name, acs:ram::<account>:user/<name>, and so of a role, group,
//     policy or identity provider, and of a session
//     acs:sts::<account>:assumed-role/<role>/<session>;
//   - a user principal name, <name>@<account>.onaliyun.com or of another domain;
//   - kind and name, as in user/alice, and key/<id> and login/<id> as lineage
//     names them;
//   - <role>/<session>, as reports name a session;
//   - an address in any of its spellings, and a network, as in 10.0.0.0/8.
func newEntity(asked string) *entity {
	asked = strings.ToLower(strings.TrimSpace(asked))
	if asked == "" {
		return nil
	}
	e := &entity{words: []string{asked}}
	if e.net = network(asked); e.net.IsValid() {
		return e
	}
	add := func(w string) {
		if w != "" && !e.is(w) {
			e.words = append(e.words, w)
		}
	}
	if part := strings.SplitN(asked, ":", 5); len(part) == 5 && part[0] == "acs" {
		account, name := part[3], part[4]
		kind, name, _ := strings.Cut(name, "/")
		switch kind {
		case "user", "role", "group", "policy":
			add(event.ActorID(kind, account, name))
		case "saml-provider", "oidc-provider":
			add(event.ActorID("idp", account, name))
		case "assumed-role":
			add(strings.Replace(name, "/", ":", 1))
		case "root":
			add(event.RootID(account))
		}
		return e
	}
	if rest, ok := strings.CutPrefix(asked, "login/"); ok {
		add(rest)
	} else if kind, name, ok := strings.Cut(asked, "/"); ok && !strings.Contains(name, "/") {
		if kind == "user" || kind == "role" || kind == "key" {
			add(name)
		} else {
			add(kind + ":" + name)
		}
	}
	if name, domain, ok := strings.Cut(asked, "@"); ok && name != "" {
		if account, of, _ := strings.Cut(domain, "."); of == "onaliyun.com" && strings.Trim(account, "0123456789") == "" {
			add(event.ActorID("user", account, name))
		} else if of == "onaliyun.com" {
			add(name) // which account has that alias, records do not say
		}
	}
	if ip, err := netip.ParseAddr(asked); err == nil {
		add(ip.Unmap().String())
	}
	return e
}

// network reads a network, of IPv4 also as IPv6 maps it; none where it is not one.
func network(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// CheckEntity says what is wrong with an entity that cannot be what it looks
// like: an address with a slash that is no network.
func CheckEntity(s string) error {
	s = strings.TrimSpace(s)
	ip, _, ok := strings.Cut(s, "/")
	if _, err := netip.ParseAddr(ip); ok && err == nil && !network(s).IsValid() {
		return fmt.Errorf("%q is no network: write an address, or 10.0.0.0/8 or 2001:db8::/32", text.Cut(text.Line(s), 80))
	}
	return nil
}

// is says that a word is the entity's, in letters of any case.
func (e *entity) is(word string) bool {
	if e == nil {
		return false
	}
	if e.net.IsValid() {
		ip, err := netip.ParseAddr(word)
		return err == nil && e.net.Contains(ip.Unmap())
	}
	for _, w := range e.words {
		if len(w) == len(word) && strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// concerns reports whether an event is about the entity: an id as alerts show
// it, a user or role name, an AccessKey id, a principal id, a role's id, an
// account or an address, as actor or as target; a policy or group that is given or
// taken away, the identity provider a session comes by; or the one event or request
// with that id.
func (e *entity) concerns(ev *event.Event) bool {
	t := &ev.Target
	for _, s := range [...]string{ev.Actor.Account, ev.Actor.CallerAccount, t.ID, t.Name, t.Key, ev.Recipient, ev.ID, ev.RequestID} {
		if e.is(s) {
			return true
		}
	}
	if kind, name := given(ev); name != "" && (e.is(name) || e.is(event.ActorID(kind, ev.Recipient, name))) {
		return true
	}
	return e.acted(ev)
}

// given is the policy or group that an event gives to its target, or takes from it, or
// the identity provider by which a session is opened.
func given(ev *event.Event) (kind, name string) {
	p := ""
	switch ev.Action {
	case event.ActIAMPolicyAttach, event.ActIAMPolicyDetach:
		kind, p = "policy", "PolicyName"
	case event.ActIAMGroupAddUser, event.ActIAMGroupRemoveUser:
		kind, p = "group", "GroupName"
	case event.ActSTSAssumeRoleSAML:
		kind, p = "idp", "SAMLProviderArn"
	case event.ActSTSAssumeRoleOIDC:
		kind, p = "idp", "OIDCProviderArn"
	default:
		return "", ""
	}
	name, _ = ev.Param(p)
	return kind, name[strings.LastIndexByte(name, '/')+1:]
}

// subject is what an event brings into being or ends, as lineage names it: a key, a
// login, what is given to whom, or the target itself.
func subject(ev *event.Event) string {
	t := &ev.Target
	switch ev.Action {
	case event.ActIAMAccessKeyCreate, event.ActIAMAccessKeyRestore, event.ActIAMAccessKeyUpdate, event.ActIAMAccessKeyDelete:
		if t.Key == "" {
			return ""
		}
		return detectors.KeyChild(t.Key)
	case event.ActIAMLoginProfileCreate, event.ActIAMLoginProfileUpdate, event.ActIAMLoginProfileDelete:
		return detectors.LoginChild(t.ID)
	case event.ActIAMMFABind, event.ActIAMMFAUnbind:
		return "mfa/" + t.ID
	case event.ActIAMPolicyAttach, event.ActIAMPolicyDetach, event.ActIAMGroupAddUser, event.ActIAMGroupRemoveUser:
		_, name := given(ev)
		return name + " on " + t.ID
	}
	return strings.Clone(t.ID)
}

// giftOf reads what an event makes or gives that cannot act by itself; nil when it does
// not. What can is in lineage.
func giftOf(ev *event.Event) *detectors.Birth {
	switch ev.Action {
	case event.ActIAMPolicyCreate, event.ActIAMPolicyAttach, event.ActIAMGroupAddUser, event.ActIAMSAMLProviderCreate, event.ActIAMOIDCProviderCreate, event.ActIAMMFABind:
		if child := subject(ev); child != "" && ev.Outcome == event.Success && ev.Actor.ID != "" {
			return &detectors.Birth{Child: child, Maker: strings.Clone(ev.Actor.ID), Key: strings.Clone(ev.Actor.Key), At: ev.Time, Event: strings.Clone(ev.ID), Action: ev.Action}
		}
	}
	return nil
}

// turn is an event that ends what there was or, as when a key is switched on again,
// brings it back.
type turn struct {
	child string // as lineage names it
	off   bool
	end   End
}

// turnOf reads what an event ends or brings back; nil when it does neither.
func turnOf(ev *event.Event) *turn {
	off := false
	switch act := string(ev.Action); {
	case ev.Outcome != event.Success:
		return nil
	case ev.Action == event.ActIAMAccessKeyUpdate || ev.Action == event.ActIAMLoginProfileUpdate:
		status, _ := ev.Param("Status")
		if off = strings.EqualFold(status, "Inactive"); !off && !strings.EqualFold(status, "Active") {
			return nil
		}
	case strings.HasPrefix(act, "iam.") && (strings.HasSuffix(act, ".delete") || strings.HasSuffix(act, ".detach") || strings.HasSuffix(act, ".remove_user") || strings.HasSuffix(act, ".unbind")):
		off = true
	default:
		return nil
	}
	return &turn{subject(ev), off, End{ev.Time, strings.Clone(ev.Actor.ID), strings.Clone(ev.ID)}}
}

// acted says that the entity is who acted, or the address or key it was done
// with, or the instance that a session is named after, as those of its role are.
func (e *entity) acted(ev *event.Event) bool {
	a := &ev.Actor
	for _, s := range [...]string{a.ID, a.Name, a.Display, a.Principal, a.Key, ev.Address.Text} {
		if e.is(s) {
			return true
		}
	}
	if id, _, session := strings.Cut(a.Principal, ":"); session && e.is(id) || strings.HasPrefix(a.Session, "i-") && e.is(a.Session) {
		return true
	}
	return ev.Address.IP.IsValid() && e.is(ev.Address.IP.String())
}
