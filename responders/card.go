package responders

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// KeyCard is what somebody who is called at night wants to know of a key: what
// it was last used for and from where, what it may do, what it has made, and
// how to replace it.
type KeyCard struct {
	AccountID   string    `json:"account_id"`
	UserName    string    `json:"user_name"`
	AccessKeyID string    `json:"access_key_id"`
	At          time.Time `json:"at"`
	Status      string    `json:"status,omitempty"`
	Created     string    `json:"created,omitempty"`
	Services    []KeyUse  `json:"services,omitempty"` // newest first
	Networks    []KeyUse  `json:"networks,omitempty"` // addresses, newest first
	Policies    []string  `json:"policies,omitempty"` // "System/AdministratorAccess"
	Groups      []string  `json:"groups,omitempty"`
	OtherKeys   []string  `json:"other_keys,omitempty"` // with their status
	// Children is what the key has made, as the alerts told it.
	Children []Child `json:"children,omitempty"`
	// Missing says what could not be read, and why.
	Missing []string `json:"missing,omitempty"`
}

// KeyUse is one thing that a key was used for.
type KeyUse struct {
	Name string    `json:"name"` // a service or an address
	At   time.Time `json:"at"`   // of the last use
}

// Child is something that a key made: a credential, an identity, a right.
type Child struct {
	What  string    `json:"what"` // the canonical act, such as iam.accesskey.create
	Name  string    `json:"name"` // of whom or what
	Key   string    `json:"key,omitempty"`
	At    time.Time `json:"at"`    // event time
	Event string    `json:"event"` // its id
}

// KeyInformer reads what a card needs from the cloud. Its methods only read.
type KeyInformer interface {
	// KeyCard reads everything; what cannot be read is listed in Missing.
	KeyCard(ctx context.Context, t ActionTarget) (KeyCard, error)
	// KeyNetworks lists the addresses that a key was used from.
	KeyNetworks(ctx context.Context, t ActionTarget) ([]KeyUse, error)
}

// KeyFinder is a KeyInformer that knows whose a key is: the user's name.
type KeyFinder interface {
	KeyOwner(ctx context.Context, t ActionTarget) (user string, err error)
}

const (
	maxChildren  = 50
	maxCardShown = 8
	cardTimeout  = 20 * time.Second
	cardQueue    = 256
)

// makes are the acts whose target is a child of the key that called.
var makes = []string{"iam.accesskey.create", "iam.user.create", "iam.login_profile.create", "iam.role.create", "iam.role.update",
	"iam.policy.create", "iam.policy.attach", "iam.group.add_user", "iam.saml_provider.create", "iam.oidc_provider.create", "iam.app_secret.create"}

type lineage struct {
	Children []Child `json:"children"`
	Dropped  int     `json:"dropped,omitempty"`
}

// lineageID names a key's children in the journal.
func lineageID(account, key string) string {
	return targetID(ActionTarget{AccountID: account, AccessKeyID: key})
}

// noteChild remembers what a key has made, from any alert or signal that
// tells of it: when the key turns out to be stolen, so is what it made.
func (d *Dispatcher) noteChild(ctx context.Context, a *alert.Alert) error {
	what := called(a, "action")
	if a.Outcome != "success" || a.Actor.AccessKeyID == "" || !slices.Contains(makes, what) || len(a.EventIDs) == 0 {
		return nil
	}
	c := Child{What: what, Name: text.Cut(text.Line(orEmpty(a.Target).Name), 200), Key: clip(a.TargetKey, 64), At: a.Time.UTC(), Event: clip(a.EventIDs[len(a.EventIDs)-1], 100)}
	if p := called(a, "policy_name"); p != "" {
		c.Name = strings.TrimSpace(text.Cut(p, 128) + " to " + c.Name)
	}
	return change(ctx, d.j, kindLineage, lineageID(a.AccountID, a.Actor.AccessKeyID), func(l *lineage) bool {
		for _, x := range l.Children {
			if x.Event == c.Event && x.What == c.What || x.What == c.What && x.Name == c.Name && x.Key == c.Key {
				return false // two rules told of it
			}
		}
		l.Children = append(l.Children, c)
		if over := len(l.Children) - maxChildren; over > 0 {
			l.Children = slices.Clone(l.Children[over:])
			l.Dropped += over
		}
		return true
	})
}

// wantsCard queues the making of a card for an alert that is about a key.
func (d *Dispatcher) wantsCard(a *alert.Alert, t ActionTarget) {
	if d.opts.Keys == nil || t.AccessKeyID == "" || t.UserName == "" {
		return
	}
	select {
	case d.cards <- cardRequest{a.ID, t}:
	default:
		d.log.Warn("too many cards are waiting; this one is left out", "alert_id", a.ID)
	}
}

type cardRequest struct {
	alert  string
	target ActionTarget
}

// makeCards works the queue until ctx ends. A card is a service to people: it
// never delays an action and is never worth failing for.
func (d *Dispatcher) makeCards(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-d.cards:
			if err := d.makeCard(ctx, q); err != nil && ctx.Err() == nil {
				d.log.Warn("no card could be made", "alert_id", q.alert, "err", err)
			}
		}
	}
}

func (d *Dispatcher) makeCard(ctx context.Context, q cardRequest) error {
	var c KeyCard
	if seq, err := readLast(ctx, d.j, kindCard, journalID(q.alert), &c); err != nil || seq > 0 {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, cardTimeout)
	defer cancel()
	c, err := d.opts.Keys.KeyCard(cctx, q.target)
	if err != nil {
		return err
	}
	c.AccountID, c.UserName, c.AccessKeyID, c.At = q.target.AccountID, q.target.UserName, q.target.AccessKeyID, d.now()
	var l lineage
	if _, err := readLast(ctx, d.j, kindLineage, lineageID(c.AccountID, c.AccessKeyID), &l); err != nil {
		return err
	}
	c.Children = l.Children
	if _, err := appendJSON(ctx, d.j, kindCard, journalID(q.alert), c, 0); err != nil {
		if errors.Is(err, ErrConflict) {
			return nil
		}
		return err
	}
	for _, o := range d.outlets {
		o.add(changed(q.alert))
	}
	return nil
}

// Card returns the card of an alert; ok is false when it has none.
func (d *Dispatcher) Card(ctx context.Context, alertID string) (c KeyCard, ok bool, err error) {
	seq, err := readLast(ctx, d.j, kindCard, journalID(alertID), &c)
	return c, seq > 0, err
}

// Lines tells a card to people, a line for each matter.
func (c KeyCard) Lines() []Line {
	uses := func(us []KeyUse) []string {
		out := make([]string, len(us))
		for i, u := range us {
			out[i] = u.Name + " (" + u.At.UTC().Format("2006-01-02 15:04Z") + ")"
		}
		return out
	}
	head := say(SayCardKey, text.MaskKey(c.AccessKeyID), c.UserName)
	if c.Status != "" {
		head.More = append(head.More, say(SayCardStatus, c.Status, c.At))
	}
	if c.Created != "" {
		head.More = append(head.More, say(SayCardCreated, c.Created))
	}
	policies := say(SayCardPolicies, listOf(c.Policies))
	policies.More = []Line{say(SayCardGroups, listOf(c.Groups))}
	out := []Line{head, say(SayCardServices, listOf(uses(c.Services))), say(SayCardNetworks, listOf(uses(c.Networks))), policies}
	if len(c.OtherKeys) > 0 {
		out = append(out, say(SayCardOthers, listOf(c.OtherKeys)))
	}
	children := make([]string, len(c.Children))
	for i, x := range c.Children {
		children[i] = strings.TrimSpace(x.What + " " + x.Name + " " + text.MaskKey(x.Key))
	}
	out = append(out, say(SayCardMade, listOf(children)))
	if len(c.Missing) > 0 {
		out = append(out, say(SayCardMissing, listOf(c.Missing)))
	}
	return append(out, Line{Say: SayRotate, More: c.Rotation()})
}

func listOf(xs []string) List {
	if n := len(xs) - maxCardShown; n > 0 {
		return List{Items: xs[:maxCardShown], Left: n}
	}
	return List{Items: xs}
}

// Rotation lists the steps that replace the key, as commands where there are.
func (c KeyCard) Rotation() []Line {
	give := say(SayRotateGive)
	if len(c.Networks) > 0 {
		names := make([]string, min(len(c.Networks), 3))
		for i := range names {
			names[i] = c.Networks[i].Name
		}
		give = say(SayRotateGiveTo, List{Items: names})
	}
	key := " --UserName " + c.UserName + " --UserAccessKeyId " + c.AccessKeyID
	return []Line{
		Said("1. aliyun ram CreateAccessKey --UserName " + c.UserName)[0],
		give,
		say(SayRotateOff, "aliyun ram UpdateAccessKey"+key+" --Status Inactive"),
		say(SayRotateDelete, "aliyun ram DeleteAccessKey"+key),
	}
}

// ErrNoUsualNetworks says that a key's normal use gives no fence.
var ErrNoUsualNetworks = errors.New("its usual networks are not known")

// usualFence is the list of networks that a key is normally used from, for
// the parameter allow of a fence: as the alert's baseline measured it, else as
// the cloud remembers it, without what this very alert is about.
func (d *Dispatcher) usualFence(ctx context.Context, a *alert.Alert, t ActionTarget) (string, error) {
	if list := usualOf(a); len(list) > 0 {
		return strings.Join(list, ","), nil
	}
	if d.opts.Keys == nil {
		return "", ErrNoUsualNetworks
	}
	cctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	uses, err := d.opts.Keys.KeyNetworks(cctx, t)
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNoUsualNetworks, err)
	}
	bad := strangers(a)
	var out []string
	for _, u := range uses {
		addr, err := netip.ParseAddr(u.Name)
		if err != nil || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
			return "", fmt.Errorf("%w: it is used from %s too, which a list of public addresses would shut out", ErrNoUsualNetworks, text.Cut(u.Name, 60))
		}
		n := networkOf(addr)
		if !slices.Contains(bad, n) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return "", ErrNoUsualNetworks
	}
	slices.Sort(out)
	if len(out) > 40 {
		return "", fmt.Errorf("%w: it is used from %d networks", ErrNoUsualNetworks, len(out))
	}
	return strings.Join(out, ","), nil
}

func networkOf(a netip.Addr) string {
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// usualOf reads the usual networks from the details of a first-seen alert.
func usualOf(a *alert.Alert) []string {
	b, _ := a.Details["baseline"].(map[string]any)
	list, _ := b["usual"].([]any)
	var out []string
	for _, x := range list {
		m, _ := x.(map[string]any)
		s, _ := m["network"].(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			continue
		}
		if p.Addr().IsPrivate() {
			return nil // a list of public addresses would shut it out
		}
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// strangers are the networks that the alert itself is about.
func strangers(a *alert.Alert) []string {
	var out []string
	add := func(s string) {
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, networkOf(addr))
		}
	}
	add(a.SourceIP)
	seen, _ := a.Details["seen"].(map[string]any)
	switch list := seen["source_ip"].(type) {
	case []any:
		for _, v := range list {
			if s, ok := v.(string); ok {
				add(s)
			}
		}
	case []string:
		for _, s := range list {
			add(s)
		}
	}
	return out
}

// allowUsual is the value of a fence's parameter allow that stands for the
// networks that the key is normally used from.
const allowUsual = "usual"

// resolve fills in what a step leaves to the facts: the usual networks of a
// fence. Where they are not known the step's Else is asked for instead.
func (d *Dispatcher) resolve(ctx context.Context, p Playbook, a *alert.Alert) ([]Action, error) {
	actions := p.plan(a)
	prev := ""
	for i := range actions {
		act := &actions[i]
		if err := d.findOwner(ctx, act); err != nil {
			return nil, err
		}
		if act.Target.Params["allow"] == allowUsual {
			r, err := d.remembered(ctx, ActionID(*act), func() resolution {
				if list, err := d.usualFence(ctx, a, act.Target); err == nil {
					return resolution{Kind: act.Kind, Allow: list}
				} else if alt := p.elseOf(act.Kind); alt != "" {
					return resolution{Kind: alt, Why: err.Error()}
				}
				return resolution{Kind: act.Kind} // the guards say that it is missing
			})
			if err != nil {
				return nil, err
			}
			if act.Kind = r.Kind; r.Why == "" {
				act.Target.Params["allow"] = r.Allow
			} else if delete(act.Target.Params, "allow"); len(act.Target.Params) == 0 {
				act.Target.Params = nil
			}
		}
		act.ID, act.After = "", prev
		act.ID = ActionID(*act)
		prev = act.ID
	}
	return actions, nil
}

// findOwner asks the cloud whose key it is where the alert says only which
// key: a finding of a leaked key. What was found is kept. Without an owner the
// action is refused, and says so.
func (d *Dispatcher) findOwner(ctx context.Context, act *Action) error {
	f, ok := d.opts.Keys.(KeyFinder)
	t := act.Target
	named := t.UserName != "" && !strings.HasPrefix(t.UserName, "id:") // who restores a key from the bin gives its owner's id
	if !ok || kindAbout(act.Kind)&AboutKey == 0 || t.AccessKeyID == "" || named || t.PrincipalType == typeRoot {
		return nil
	}
	var r resolution
	id := ActionID(*act)
	seq, err := readLast(ctx, d.j, kindResolved, id, &r)
	if err != nil {
		return err
	}
	if seq == 0 {
		cctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if r.User, err = f.KeyOwner(cctx, act.Target); err != nil {
			d.log.Warn("whose key it is cannot be found out", "key", text.MaskKey(act.Target.AccessKeyID), "err", err)
			return nil // not kept: it may be known when the alert comes again
		}
		if _, err = appendJSON(ctx, d.j, kindResolved, id, r, 0); errors.Is(err, ErrConflict) {
			_, err = readLast(ctx, d.j, kindResolved, id, &r)
		}
		if err != nil {
			return err
		}
	}
	act.Target.UserName, act.Target.PrincipalType = r.User, typeUser
	return nil
}

// resolution is what a step came to for one alert. It is kept, so that the
// same alert, met again after a restart or grown, asks for the same action.
type resolution struct {
	Kind  string `json:"kind"`
	Allow string `json:"allow,omitempty"`
	Why   string `json:"why,omitempty"` // why another kind was taken
	User  string `json:"user,omitempty"`
}

func (d *Dispatcher) remembered(ctx context.Context, id string, find func() resolution) (resolution, error) {
	var r resolution
	if seq, err := readLast(ctx, d.j, kindResolved, id, &r); err != nil || seq > 0 {
		return r, err
	}
	r = find()
	_, err := appendJSON(ctx, d.j, kindResolved, id, r, 0)
	if errors.Is(err, ErrConflict) {
		_, err = readLast(ctx, d.j, kindResolved, id, &r)
	}
	return r, err
}

func (p Playbook) elseOf(kind string) string {
	for _, s := range p.Actions {
		if s.Kind == kind {
			return s.Else
		}
	}
	return ""
}
