package account

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Config bounds a judge. The zero value of a field is its default.
type Config struct {
	MaxKeys  int // entries: policies, principals, roles' trust (default 200,000)
	MaxBytes int // estimated memory (default 128 MiB)
}

// The kinds of entries.
const (
	kindPolicy  = "policy"  // a custom policy
	kindUser    = "user"    // what is attached to a user, and the groups they are in
	kindGroup   = "group"   // what is attached to a group, and its members
	kindRole    = "role"    // what is attached to a role, and its trust
	kindControl = "control" // a control policy of the directory
	kindAccess  = "access"  // an access configuration of cloud SSO

	kindSystem   = "system"   // a policy of the vendor, from a listing
	kindSettings = "settings" // an account's preferences and password policy, as JSON in trust
	kindResource = "resource" // a bucket, key, secret or log project: its policy in trust
	kindTrail    = "trail"    // what a trail delivers to, and that a trail delivers to such
	kindTarget   = "target"   // a folder or account of the directory
	kindSignIn   = "signin"   // the active AccessKeys of a user, in links, and the second factor
)

// The most parts of one entry; of longer lists the oldest parts go, and the
// entry is no longer complete.
const (
	maxVersions    = 5
	maxAttachments = 60
	maxMembers     = 2000
	maxName        = 160
)

// entry is what is known of one object. Which fields are used depends on its
// kind.
type entry struct {
	// complete: the object was made, or listed, before our eyes, so what is
	// not here is not there.
	complete bool
	changed  int64 // event time of the newest change, window.Nanos
	created  bool  // a policy or role that was made before our eyes

	versions []version // of a policy or control policy (one, without id)
	inForce  string    // id of the default version; "" when not known
	used     bool      // an attachment of the policy was seen

	attached []attachment // of a principal or access configuration
	links    []string     // groups of a user, members of a group: actor ids
	trust    text         // of a role, or another document; empty when not known
}

type version struct {
	id   string
	text text
}

type attachment struct {
	system bool
	name   string // in lower case
	scope  string // resource group id; "" is the whole account
	shown  string // name as written
}

const entryCost = 110

func (e *entry) size() int {
	n := entryCost + len(e.trust.String()) + len(e.inForce)
	for _, v := range e.versions {
		n += 32 + len(v.id) + len(v.text.String())
	}
	for _, a := range e.attached {
		n += 56 + len(a.name) + len(a.scope) + len(a.shown)
	}
	for _, l := range e.links {
		n += 16 + len(l)
	}
	return n
}

// Judge implements detectors.PolicyJudge and detectors.Snapshotter.
type Judge struct {
	cfg   Config
	table *window.Table[entry]
	late  uint64

	readings map[text]reading
	in       inbox
}

var (
	_ detectors.PolicyJudge = (*Judge)(nil)
	_ detectors.Snapshotter = (*Judge)(nil)
)

// New returns a judge that knows nothing yet.
func New(cfg Config) *Judge {
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 200_000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 128 << 20
	}
	j := &Judge{cfg: cfg}
	j.reset()
	return j
}

func (j *Judge) reset() {
	j.table = window.NewTable[entry](window.Limits{Keys: j.cfg.MaxKeys, Bytes: j.cfg.MaxBytes})
	j.late = 0
	j.readings = map[text]reading{}
}

// Stats describes the memory: entries, estimated bytes, and entries evicted.
func (j *Judge) Stats() detectors.Stats {
	return detectors.Stats{Keys: j.table.Len(), Bytes: j.table.Bytes(), Evicted: j.table.Evicted()}
}

// Late is how many late changes were judged and not applied, because a newer
// change of the same object was.
func (j *Judge) Late() uint64 { return j.late }

func keyOf(kind, account, name string) string {
	return window.Bound(kind + "/" + account + "/" + strings.ToLower(name))
}

func (j *Judge) get(kind, account, name string) *entry {
	if e := j.table.Get(keyOf(kind, account, name)); e != nil {
		return &e.State
	}
	return nil
}

// change applies a change to an entry, unless it is older than the entry's
// newest one: then what is known of the entry is no longer complete.
func (j *Judge) change(kind, account, name string, at time.Time, f func(*entry)) {
	if name == "" || len(account) > maxName {
		return
	}
	e, _ := j.table.Touch(keyOf(kind, account, name))
	when := window.Nanos(at)
	if e.State.changed > when {
		e.State.complete = false
		j.late++
	} else {
		f(&e.State)
		e.State.changed = when
	}
	j.table.Resize(e, e.State.size(), nil)
}

func (j *Judge) forget(kind, account, name string, at time.Time) {
	if e := j.table.Get(keyOf(kind, account, name)); e != nil && e.State.changed <= window.Nanos(at) {
		j.table.Remove(e)
	}
}

// apart returns a copy that shares no list with the entry: where that stays, as when
// a newer change of it is known, what leaves the one would be blanked in the other.
func (e *entry) apart() entry {
	out := *e
	out.versions, out.attached, out.links = slices.Clone(e.versions), slices.Clone(e.attached), slices.Clone(e.links)
	return out
}

func (e *entry) text(id string) text {
	for _, v := range e.versions {
		if v.id == id {
			return v.text
		}
	}
	return text{}
}

// put stores a version; of more than five the oldest that is not in force
// goes, as the service's own rotation does.
func (e *entry) put(id, body string) {
	for i := range e.versions {
		if e.versions[i].id == id {
			e.versions[i].text = keep(body)
			return
		}
	}
	if len(e.versions) >= maxVersions {
		i := slices.IndexFunc(e.versions, func(v version) bool { return v.id != e.inForce })
		e.versions = slices.Delete(e.versions, max(i, 0), max(i, 0)+1)
	}
	e.versions = append(e.versions, version{id: strings.Clone(id), text: keep(body)})
}

// nextID guesses the id of a new version where the response does not say:
// ids count on.
func (e *entry) nextID() string {
	top := 0
	for _, v := range e.versions {
		if n, err := strconv.Atoi(strings.TrimPrefix(v.id, "v")); err == nil {
			top = max(top, n)
		}
	}
	return "v" + strconv.Itoa(top+1)
}

func (e *entry) attach(a attachment) {
	if slices.ContainsFunc(e.attached, a.same) {
		return
	}
	if len(e.attached) >= maxAttachments {
		e.attached = slices.Delete(e.attached, 0, 1)
		e.complete = false
	}
	e.attached = append(e.attached, a)
}

func (e *entry) detach(a attachment) { e.attached = slices.DeleteFunc(e.attached, a.same) }

// id is equal for attachments that are the same.
func (a attachment) id() string {
	return strconv.FormatBool(a.system) + "/" + a.scope + "/" + a.name
}

func (a attachment) same(b attachment) bool {
	return a.system == b.system && a.name == b.name && a.scope == b.scope
}

func (e *entry) link(id string) {
	if slices.Contains(e.links, id) {
		return
	}
	if len(e.links) >= maxMembers {
		e.links = slices.Delete(e.links, 0, 1)
		e.complete = false
	}
	e.links = append(e.links, strings.Clone(id))
}

func (e *entry) unlink(id string) {
	e.links = slices.DeleteFunc(e.links, func(l string) bool { return l == id })
}

// Attachment names a policy that is attached to somebody.
type Attachment struct {
	System        bool   // one of the vendor's own policies
	Policy        string // its name
	ResourceGroup string // empty: the whole account
}

const magic = "TWACCOUNT1\n"

// Snapshot implements detectors.Snapshotter.
func (j *Judge) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Uint(j.late)
	enc.Uint(j.table.Evicted())
	enc.Uint(uint64(j.table.Len()))
	for x := range j.table.All() {
		e := &x.State
		enc.String(x.Key)
		for _, b := range []bool{e.complete, e.created, e.used} {
			enc.Bool(b)
		}
		enc.Int(e.changed)
		enc.Uint(uint64(len(e.versions)))
		for _, v := range e.versions {
			enc.String(v.id)
			enc.String(v.text.String())
		}
		enc.String(e.inForce)
		enc.Uint(uint64(len(e.attached)))
		for _, a := range e.attached {
			enc.Bool(a.system)
			enc.String(a.name)
			enc.String(a.scope)
			enc.String(a.shown)
		}
		enc.Uint(uint64(len(e.links)))
		for _, l := range e.links {
			enc.String(l)
		}
		enc.String(e.trust.String())
	}
	return enc.Seal()
}

// Restore implements detectors.Snapshotter. A refused snapshot leaves the
// judge empty.
func (j *Judge) Restore(data []byte) error {
	j.reset()
	if err := j.restore(data); err != nil {
		j.reset()
		return fmt.Errorf("policy history: %w", err)
	}
	return nil
}

func (j *Judge) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	j.late = dec.Uint()
	evicted := dec.Uint()
	for range dec.Count(10) {
		x, isNew := j.table.Touch(window.Bound(dec.String()))
		e := &x.State
		e.complete, e.created, e.used, e.changed = dec.Bool(), dec.Bool(), dec.Bool(), dec.Int()
		for range dec.CountTo(2, maxVersions) {
			e.versions = append(e.versions, version{id: dec.StringTo(maxName), text: keep(dec.StringTo(rampolicy.MaxText))})
		}
		e.inForce = dec.StringTo(maxName)
		for range dec.CountTo(4, maxAttachments) {
			e.attached = append(e.attached, attachment{system: dec.Bool(), name: dec.StringTo(maxName), scope: dec.StringTo(maxName), shown: dec.StringTo(maxName)})
		}
		for range dec.CountTo(1, maxMembers) {
			e.links = append(e.links, dec.StringTo(2*maxName))
		}
		e.trust = keep(dec.StringTo(rampolicy.MaxText))
		if dec.Err() == nil && !isNew {
			dec.Fail("two states of one object")
		}
		if dec.Err() != nil {
			break
		}
		j.table.Resize(x, e.size(), nil)
	}
	j.table.SetEvicted(j.table.Evicted() + evicted)
	return dec.End()
}
