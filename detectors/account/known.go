package account

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Known is what a caller read of an account, besides its events: a listing of
// what its identities may do. It is immutable once it is offered.
//
// From and Until say when the reading began and when it had ended for certain.
// A listing from today must not stand for yesterday: an event that attached
// what the listing shows would then seem to add nothing. So it is taken up
// with the first event later than Until, and only for objects that no event
// changed after From. Texts of versions never change and are taken up at once.
type Known struct {
	Account     string
	From, Until time.Time
	Policies    []KnownPolicy
	Holders     []KnownHolder
	Trust       map[string]string // role → trust policy
	// Settings are the account's preferences and password policy, by the names
	// of the parameters that set them. Nil when they were not read.
	Settings map[string]string
	// Scoped: what holds in resource groups alone is among the attachments.
	Scoped bool
	// Directory is the resource directory that the account manages, whole;
	// nil when it was not read.
	Directory *KnownDirectory
	// Complete: nothing of its kind was left out for lack of permission or
	// room.
	Complete bool
}

// KnownPolicy is one version of a policy.
type KnownPolicy struct {
	System        bool // a policy of the vendor
	Name, Version string
	Text          string
	InForce       bool
}

// KnownHolder is a principal with all that is attached to it.
type KnownHolder struct {
	Kind     string // user, group or role
	Name     string
	Attached []Attachment
	Links    []string // names of a group's users, of a user's groups
	// Keys are a user's active AccessKeys, MFA a second factor. KeysKnown and
	// MFAKnown say that they were read.
	Keys                []string
	MFA                 bool
	KeysKnown, MFAKnown bool
}

// KnownDirectory is a resource directory.
type KnownDirectory struct {
	Root   string            // id of the root folder
	Parent map[string]string // folder or account → the folder it lies in
	Guards []KnownGuard
}

// KnownGuard is a control policy and the folders and accounts it is attached
// to. An empty Text is not known.
type KnownGuard struct {
	ID, Text string
	Targets  []string
}

// Wanted is a policy whose text a judgement lacked.
type Wanted struct {
	Account string
	System  bool
	Name    string
}

// maxWanted bounds what is asked for between two calls of Wanted.
const maxWanted = 64

// inbox is what other goroutines leave for a judge, and what it asks for.
type inbox struct {
	mu      sync.Mutex
	offered []offer
	wanted  map[Wanted]bool
}

// offer is a listing that waits for its time.
type offer struct {
	*Known
	read bool // the texts were taken up
}

// Offer hands over what was read of an account. It may be called from any
// goroutine; it counts from the next event of the account on that is late
// enough. A newer offer for an account takes the place of an older one.
func (j *Judge) Offer(k *Known) {
	j.in.mu.Lock()
	defer j.in.mu.Unlock()
	if len(k.Holders) > 0 || len(k.Trust) > 0 || k.Settings != nil {
		j.in.offered = slices.DeleteFunc(j.in.offered, func(o offer) bool { return o.Account == k.Account && o.Until.Before(k.Until) })
	}
	j.in.offered = append(j.in.offered, offer{Known: k})
}

// Wanted returns the policies whose text was lacking since the last call, in
// order. It may be called from any goroutine.
func (j *Judge) Wanted() []Wanted {
	j.in.mu.Lock()
	defer j.in.mu.Unlock()
	out := make([]Wanted, 0, len(j.in.wanted))
	for w := range j.in.wanted {
		out = append(out, w)
	}
	j.in.wanted = nil
	lists.Sort(out, func(a, b Wanted) int {
		return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Name, b.Name), cmp.Compare(bit(a.System), bit(b.System)))
	})
	return out
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// want notes that a text is lacking.
func (j *Judge) want(account string, a attachment) {
	if a.shown == "" {
		return
	}
	j.in.mu.Lock()
	defer j.in.mu.Unlock()
	if j.in.wanted == nil {
		j.in.wanted = map[Wanted]bool{}
	}
	if len(j.in.wanted) < maxWanted {
		j.in.wanted[Wanted{Account: account, System: a.system, Name: strings.Clone(a.shown)}] = true
	}
}

// takeUp learns what was offered and may count for an event.
func (j *Judge) takeUp(account string, ev *event.Event) {
	j.in.mu.Lock()
	var now []*Known
	var later []offer
	for _, k := range j.in.offered {
		switch {
		case k.Account != account:
			later = append(later, k)
		case ev.Time.After(k.Until):
			now = append(now, k.Known)
		default:
			if !k.read {
				now = append(now, k.texts())
			}
			k.read = true
			later = append(later, k)
		}
	}
	j.in.offered = later
	j.in.mu.Unlock()
	for _, k := range now {
		j.learn(k)
	}
}

// texts returns the versions of custom policies alone, without saying which
// are in force.
func (k *Known) texts() *Known {
	out := &Known{Account: k.Account, From: k.From}
	for _, p := range k.Policies {
		if p.InForce = false; !p.System {
			out.Policies = append(out.Policies, p)
		}
	}
	return out
}

// learn takes up a listing. What an event changed later stays as it is.
func (j *Judge) learn(k *Known) {
	l := listing{j: j, k: k, at: window.Nanos(k.From)}
	l.policies()
	l.holders()
	l.signIns()
	if k.Settings != nil {
		l.update(kindSettings, k.Account, "account", false, func(e *entry) { e.set(k.Settings) })
	}
	if k.Directory != nil {
		l.directory()
	}
	l.trust()
}

// listing is one that a judge takes up.
type listing struct {
	j  *Judge
	k  *Known
	at int64 // when it was read
}

// update changes what is known of something, unless an event changed it later;
// with force in any case.
func (l *listing) update(kind, account, name string, force bool, f func(*entry)) {
	if name == "" || len(name) > maxName || len(account) > maxName {
		return
	}
	if e := l.j.get(kind, account, name); e != nil && e.changed > l.at && !force {
		return
	}
	e, _ := l.j.table.Touch(keyOf(kind, account, name))
	f(&e.State)
	if !force {
		e.State.changed = max(e.State.changed, l.at)
	}
	l.j.table.Resize(e, e.State.size(), nil)
}

func (l *listing) policies() {
	for _, p := range l.k.Policies {
		if p.Text == "" || len(p.Text) > rampolicy.MaxText || len(p.Version) > maxName {
			continue
		}
		kind, account := kindPolicy, l.k.Account
		if p.System {
			kind, account = kindSystem, ""
		}
		// A text is right whenever it was read; which one is in force is not.
		l.update(kind, account, p.Name, !p.InForce, func(e *entry) {
			if p.System {
				e.versions = nil
			}
			e.put(p.Version, p.Text)
			if p.InForce {
				e.inForce = strings.Clone(p.Version)
			}
		})
	}
}

// holders takes up what users, groups and roles have.
func (l *listing) holders() {
	for _, h := range l.k.Holders {
		if h.Kind != kindUser && h.Kind != kindGroup && h.Kind != kindRole {
			continue
		}
		l.update(h.Kind, l.k.Account, h.Name, false, func(e *entry) {
			// What holds in resource groups may not be in the listing.
			var kept []attachment
			for _, a := range e.attached {
				if a.scope != "" && !l.k.Scoped {
					kept = append(kept, a)
				}
			}
			e.complete, e.attached, e.links = l.k.Complete, nil, nil
			for _, a := range h.Attached {
				if len(a.Policy) <= maxName && len(a.ResourceGroup) <= maxName {
					e.attach(attachment{system: a.System, name: strings.ToLower(a.Policy), scope: a.ResourceGroup, shown: a.Policy})
				}
			}
			for _, a := range kept {
				e.attach(a)
			}
			other := map[string]string{kindUser: kindGroup, kindGroup: kindUser}[h.Kind]
			for _, name := range h.Links {
				if len(name) <= maxName {
					e.link(event.ActorID(other, l.k.Account, name))
				}
			}
		})
		for _, a := range h.Attached {
			if !a.System {
				l.update(kindPolicy, l.k.Account, a.Policy, false, func(e *entry) { e.used = true })
			}
		}
	}
}

// signIns takes up the keys and second factors of users.
func (l *listing) signIns() {
	for _, h := range l.k.Holders {
		if h.Kind != kindUser || !h.KeysKnown && !h.MFAKnown {
			continue
		}
		l.update(kindSignIn, l.k.Account, h.Name, false, func(e *entry) {
			if h.KeysKnown {
				e.complete, e.links = true, nil
				for _, id := range h.Keys {
					if len(id) <= maxName {
						e.link(id)
					}
				}
			}
			if h.MFAKnown {
				e.mfaKnown(h.MFA)
			}
		})
	}
}

// trust takes up who may assume which role.
func (l *listing) trust() {
	roles := make([]string, 0, len(l.k.Trust))
	for r := range l.k.Trust {
		roles = append(roles, r)
	}
	slices.Sort(roles)
	for _, r := range roles {
		if text := l.k.Trust[r]; len(text) <= rampolicy.MaxText {
			l.update(kindRole, l.k.Account, r, false, func(e *entry) { e.trust = keep(text) })
		}
	}
}

// directory takes up where folders and accounts lie, and what control policies
// are attached to them.
func (l *listing) directory() {
	d := l.k.Directory
	attached := map[string][]string{}
	for _, g := range d.Guards {
		if len(g.ID) > maxName {
			continue
		}
		for _, t := range g.Targets {
			attached[t] = append(attached[t], g.ID)
		}
		if g.Text != "" && len(g.Text) <= rampolicy.MaxText {
			l.update(kindControl, l.k.Account, g.ID, false, func(e *entry) {
				e.versions = nil
				e.put("", g.Text)
			})
		}
	}
	targets := make([]string, 0, len(d.Parent)+1)
	targets = append(targets, d.Root)
	for t := range d.Parent {
		targets = append(targets, t)
	}
	slices.Sort(targets)
	for _, t := range targets {
		if len(t) > maxName || len(d.Parent[t]) > maxName {
			continue
		}
		l.update(kindTarget, l.k.Account, t, false, func(e *entry) {
			e.complete, e.links, e.attached = true, nil, nil
			if p := d.Parent[t]; p != "" {
				e.links = []string{strings.Clone(p)}
			}
			for _, id := range attached[t] {
				e.attach(attachment{name: strings.ToLower(id), shown: strings.Clone(id)})
			}
		})
	}
}
