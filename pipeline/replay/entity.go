package replay

import (
	"net/netip"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// entity is whom or what a run is asked about, in all the words that records may
// have for it. A nil one is nothing.
type entity struct {
	words []string // lower case, none empty
}

// newEntity finds the words of what somebody wrote or pasted; nil when it is
// empty. Besides what alerts and records call it, that is
//
//   - a resource name, acs:ram::<account>:user/<name> or role/<name>, and of a
//     session acs:sts::<account>:assumed-role/<role>/<session>;
//   - a user principal name, <name>@<account>.onaliyun.com or of another domain;
//   - kind and name, as in user/alice, and key/<id> and login/<id> as lineage
//     names them;
//   - an address in any of its spellings.
func newEntity(asked string) *entity {
	asked = strings.ToLower(strings.TrimSpace(asked))
	if asked == "" {
		return nil
	}
	e := &entity{words: []string{asked}}
	add := func(w string) {
		if w != "" && !e.is(w) {
			e.words = append(e.words, w)
		}
	}
	if part := strings.SplitN(asked, ":", 5); len(part) == 5 && part[0] == "acs" {
		account, name := part[3], part[4]
		kind, name, _ := strings.Cut(name, "/")
		switch kind {
		case "user", "role":
			add(event.ActorID(kind, account, name))
		case "assumed-role":
			add(strings.Replace(name, "/", ":", 1))
		case "root":
			add(event.RootID(account))
		}
		return e
	}
	if rest, ok := strings.CutPrefix(asked, "login/"); ok {
		add(rest)
	} else if kind, name, ok := strings.Cut(asked, "/"); ok && !strings.Contains(name, "/") && (kind == "user" || kind == "role" || kind == "key") {
		add(name)
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

// is says that a word is the entity's, in letters of any case.
func (e *entity) is(word string) bool {
	if e == nil {
		return false
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
// account or an address, as actor or as target; or the one event or request
// with that id.
func (e *entity) concerns(ev *event.Event) bool {
	t := &ev.Target
	for _, s := range [...]string{ev.Actor.Account, ev.Actor.CallerAccount, t.ID, t.Name, t.Key, ev.Recipient, ev.ID, ev.RequestID} {
		if e.is(s) {
			return true
		}
	}
	return e.acted(ev)
}

// acted says that the entity is who acted, or the address or key it was done
// with.
func (e *entity) acted(ev *event.Event) bool {
	a := &ev.Actor
	for _, s := range [...]string{a.ID, a.Name, a.Display, a.Principal, a.Key, ev.Address.Text} {
		if e.is(s) {
			return true
		}
	}
	if id, _, session := strings.Cut(a.Principal, ":"); session && e.is(id) {
		return true
	}
	return ev.Address.IP.IsValid() && e.is(ev.Address.IP.String())
}
