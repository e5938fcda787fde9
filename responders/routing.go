package responders

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders/route"
)

// Silence keeps alerts that match from being told for a while. They are
// evaluated, contained and counted all the same, and told afterwards if they
// still fire.
type Silence struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`
	Matchers []string  `json:"matchers"` // as route.ParseMatcher reads them; all must hold
	Author   string    `json:"author"`
	Comment  string    `json:"comment"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	// EndedBy is who ended it before its time.
	EndedBy string `json:"ended_by,omitempty"`
}

// Active says whether it is in force.
func (s Silence) Active(now time.Time) bool { return !now.Before(s.From) && now.Before(s.Until) }

// Limits of silences.
const (
	maxSilence  = 90 * 24 * time.Hour
	maxMatchers = 16
	maxSilences = 1000
	// firesFor is how long an incident is told late or again after its last
	// event: what is older is history.
	firesFor = 24 * time.Hour
	// holdStep bounds how long a held notice waits before it looks again.
	holdStep = time.Minute
)

// ErrBadSilence says that a silence makes no sense; the error's text says why.
var ErrBadSilence = errors.New("cannot silence")

type activeSilence struct {
	Silence
	matchers route.Matchers
}

// Mute adds a silence. Everybody who may ask may mute; it says who it was.
func (d *Dispatcher) Mute(ctx context.Context, author string, matchers []string, lasts time.Duration, comment string) (Silence, error) {
	author, comment = text.Cut(text.Line(author), maxOwner), text.Cut(text.Block(comment), maxNote)
	switch {
	case author == "":
		return Silence{}, fmt.Errorf("%w: it is not said who asks", ErrBadSilence)
	case comment == "":
		return Silence{}, fmt.Errorf("%w: say why (--comment)", ErrBadSilence)
	case lasts < time.Minute || lasts > maxSilence:
		return Silence{}, fmt.Errorf("%w: for %s: want 1m to 90d", ErrBadSilence, Duration(lasts))
	case len(matchers) == 0 || len(matchers) > maxMatchers:
		return Silence{}, fmt.Errorf("%w: %d matchers: want 1 to %d, such as rule=ak.created", ErrBadSilence, len(matchers), maxMatchers)
	}
	ms, err := route.ParseMatchers(matchers)
	if err != nil {
		return Silence{}, fmt.Errorf("%w: %w", ErrBadSilence, err)
	}
	if ms.Match(route.Labels{}) { // as in Alertmanager
		return Silence{}, fmt.Errorf("%w: %s would silence whatever says nothing of these labels: want at least one matcher that an absent label does not fulfil, such as rule=ak.created", ErrBadSilence, strings.Join(matchers, " "))
	}
	for _, m := range ms {
		if m.Label == "rule" && m.Op == "=" && strings.HasPrefix(m.Value, "self.") {
			return Silence{}, fmt.Errorf("%w: %s silences nothing: what the program says of itself, and a message about several incidents, is always told; mute the rule of one of them (trailwarden mute add rule=…)", ErrBadSilence, m)
		}
	}
	now := d.now()
	s := Silence{V: recordVersion, ID: strings.ToLower(rand.Text()[:12]), Matchers: matchers, Author: author, Comment: comment, From: now, Until: now.Add(lasts)}
	all, err := d.Silences(ctx)
	if err != nil {
		return Silence{}, err
	}
	if n := len(lists.Keep(all, func(x *Silence) bool { return x.Active(now) })); n >= maxSilences {
		return Silence{}, fmt.Errorf("%w: %d silences are in force; expire some", ErrBadSilence, n)
	}
	if _, err := appendJSON(ctx, d.j, kindSilence, s.ID, s, 0); err != nil {
		return Silence{}, err
	}
	d.log.Info("silence", "id", s.ID, "by", author, "matchers", ms, "until", s.Until)
	return s, d.loadSilences(ctx)
}

// Unmute ends a silence now.
func (d *Dispatcher) Unmute(ctx context.Context, id, by string) (Silence, error) {
	var after Silence
	now := d.now()
	err := change(ctx, d.j, kindSilence, journalID(id), func(s *Silence) bool {
		if s.ID != "" && s.Active(now) {
			s.Until, s.EndedBy = now, clip(by, maxOwner)
			after = *s
			return true
		}
		after = *s
		return false
	})
	switch {
	case err != nil:
		return Silence{}, err
	case after.ID == "":
		return Silence{}, fmt.Errorf("%w: there is no silence %q", ErrBadSilence, clip(id, 64))
	}
	return after, d.loadSilences(ctx)
}

// Silences lists all silences, the longest in force first.
func (d *Dispatcher) Silences(ctx context.Context) ([]Silence, error) {
	all, err := newestOf[Silence](ctx, d.j, kindSilence, d.unread(kindSilence))
	if err != nil {
		return nil, err
	}
	out := slices.Collect(maps.Values(all))
	lists.Sort(out, func(a, b Silence) int {
		if c := b.Until.Compare(a.Until); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// unread reports records of a kind that cannot be read.
func (d *Dispatcher) unread(kind string) func(id string, e Entry, err error) {
	return func(id string, e Entry, err error) {
		d.log.Error("a record in the journal cannot be read", "kind", kind, "id", id, "seq", e.Seq, "err", err)
	}
}

// loadSilences reads the silences in force and lets what waits look again.
func (d *Dispatcher) loadSilences(ctx context.Context) error {
	all, err := d.Silences(ctx)
	if err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	now := d.now()
	var active []activeSilence
	for _, s := range all {
		if ms, err := route.ParseMatchers(s.Matchers); err == nil && now.Before(s.Until) {
			active = append(active, activeSilence{s, ms})
		}
	}
	d.mu.Lock()
	d.silences, d.silencesAt = active, now
	d.mu.Unlock()
	for _, o := range d.outlets {
		o.release()
	}
	return nil
}

// route says how an alert goes to a destination; ok is false when it does not.
func (d *Dispatcher) route(a *alert.Alert, dest string) (route.Delivery, bool) {
	if d.opts.Routes == nil || a.Rule == RuleDigest {
		return route.Delivery{}, true
	}
	for _, x := range d.opts.Routes.Route(d.labels(a)) {
		if x.Receiver == dest {
			return x, true
		}
	}
	// What the tool says of itself must not be lost in a tree.
	return route.Delivery{}, strings.HasPrefix(a.Rule, "self.")
}

func (d *Dispatcher) labels(a *alert.Alert) route.Labels {
	return route.LabelsOf(a, d.opts.Accounts[a.AccountID])
}

// held says by what an alert is kept back at a destination now, "" when it is
// not, and until when it need not be looked at again.
func (d *Dispatcher) held(ctx context.Context, a *alert.Alert, dest string) (until time.Time, by string) {
	if strings.HasPrefix(a.Rule, "self.") {
		return time.Time{}, "" // nothing hides that a containment failed
	}
	now := d.now()
	d.mu.Lock()
	stale := now.Sub(d.silencesAt) > holdStep // another process may have muted
	d.mu.Unlock()
	if stale {
		if err := d.loadSilences(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("silences could not be read; those known before hold", "err", err)
		}
	}
	l := d.labels(a)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.silences {
		if s.Active(now) && s.matchers.Match(l) && s.Until.After(until) {
			until, by = s.Until, "silenced by "+s.Author+": "+s.Comment
		}
	}
	if by == "" && d.firing != nil {
		until, by = d.firing.Inhibits(a.ID, l, now)
	}
	if by == "" && d.opts.Routes != nil {
		if x, ok := d.route(a, dest); ok {
			until, by = now.Truncate(time.Minute).Add(time.Minute), d.opts.Routes.Muted(x, now)
		}
	}
	return until, by
}

// noteFiring remembers what inhibits others.
func (d *Dispatcher) noteFiring(a *alert.Alert) {
	if d.firing == nil {
		return
	}
	l := d.labels(a)
	d.mu.Lock()
	d.firing.Note(a.ID, l, a.LastAt)
	d.mu.Unlock()
}

// endFiring has a closed incident inhibit others no more.
func (d *Dispatcher) endFiring(id string) {
	if d.firing == nil {
		return
	}
	d.mu.Lock()
	d.firing.End(id)
	d.mu.Unlock()
	for _, o := range d.outlets {
		o.release()
	}
}

// hold keeps a pending notice back. What no longer fires when its time comes,
// or was closed meanwhile, is not told any more.
func (o *outlet) hold(ctx context.Context, it *item, n notice, seq uint64, a alert.Alert) (again time.Time, held bool, err error) {
	until, by := o.d.held(ctx, &a, o.name)
	now := o.d.now()
	if by = clip(by, maxReason); by != "" {
		next := until
		if step := now.Add(holdStep); next.After(step) {
			next = step
		}
		it.held = true
		if n.Held == by {
			return next, true, nil // said already
		}
		n.Held, n.At, n.Reason = by, now, by
		if _, err := o.put(ctx, n, seq); err != nil {
			return time.Time{}, true, err
		}
		o.count(func(s *DestinationStats) { s.Held++ })
		return next, true, nil
	}
	it.held = false
	if n.Held == "" {
		return time.Time{}, false, nil
	}
	ok, step, err := o.tells(ctx, a)
	if ok || err != nil {
		return time.Time{}, err != nil, err
	}
	n.State, n.At, n.Severity, n.Reason = noticeDropped, now, a.Severity, n.Held+"; no longer of interest when that ended"
	n.Shown = shown{Rev: a.Revision, Triage: step}
	_, err = o.put(ctx, n, seq)
	return time.Time{}, true, err
}

// tells says whether an incident is news still: it fires, and nobody has
// closed it. step is the sequence of the triage that says so.
func (o *outlet) tells(ctx context.Context, a alert.Alert) (ok bool, step uint64, err error) {
	t, step, err := o.d.triage(ctx, a.ID)
	return t.State != TriageClosed && o.d.now().Sub(a.LastAt) <= firesFor, step, err
}

func (o *outlet) count(f func(*DestinationStats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.stats)
}

// release lets what is held look again at once.
func (o *outlet) release() {
	o.mu.Lock()
	now := o.d.now()
	for _, it := range o.items {
		if it.held && it.due.After(now) {
			it.due = now
		}
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// reminder says whether a message that was sent is due to be told again: its
// incident still fires and nobody has taken it up.
func (o *outlet) reminder(ctx context.Context, n notice, a alert.Alert) (due bool, next time.Time, err error) {
	x, ok := o.d.route(&a, o.name)
	if !ok || x.RepeatInterval <= 0 || n.Posted.IsZero() || strings.HasPrefix(a.Rule, "self.") {
		return false, time.Time{}, nil
	}
	now := o.d.now()
	next = n.Posted.Add(x.RepeatInterval)
	if next.After(a.LastAt.Add(firesFor)) {
		return false, time.Time{}, nil
	}
	if now.Before(next) {
		return false, next, nil
	}
	t, err := o.d.TriageOf(ctx, a.ID)
	return err == nil && t.State == TriageOpen, time.Time{}, err
}

// RuleGroup is the rule of a group's message.
const RuleGroup = "self.group"

// OnlyMessage says whether an alert of a rule is but a message to one
// destination, a digest's or a group's: the incidents in it are alerts themselves.
func OnlyMessage(rule string) bool { return rule == RuleDigest || rule == RuleGroup }

// Members are the ids of the first incidents of a group, 500 at most; nil for
// any other alert.
func Members(a *alert.Alert) []string {
	if a.Rule != RuleGroup {
		return nil
	}
	return stringsOf(a.Details["members"])
}

// What a group knows of its members, so that each counts once. Only tests change it.
var (
	maxMembers = 500  // by name
	maxOthers  = 2000 // by hash, 16 KB; beyond these, every revision of one more counts
)

// idSet is a set of ids: eight bytes of the hash of each, in order.
type idSet []byte

const idSize = 8

// find says where an id is in the set, or belongs.
func (s idSet) find(id string) (at int, key []byte, ok bool) {
	h := sha256.Sum256([]byte(id))
	key = h[:idSize]
	at, ok = sort.Find(len(s)/idSize, func(i int) int { return bytes.Compare(key, s[i*idSize:(i+1)*idSize]) })
	return at * idSize, key, ok
}

func (s idSet) has(id string) bool {
	_, _, ok := s.find(id)
	return ok
}

func (s idSet) add(id string) idSet {
	at, key, ok := s.find(id)
	if ok {
		return s
	}
	return slices.Insert(s, at, key...)
}

// group puts an alert into its group's incident at one destination and
// returns that.
func (d *Dispatcher) group(ctx context.Context, a *alert.Alert, dest string, x route.Delivery) (alert.Alert, error) {
	l := d.labels(a)
	key := x.Group(l)
	// A group lasts for one repeat_interval of event time; what comes later is
	// told in a new message. So an id does not depend on when we run.
	window := a.FirstAt.UTC().Truncate(x.RepeatInterval)
	h := sha256.Sum256(fmt.Appendf(nil, "trailwarden.group/v1\n%s\n%s\n%s\n%s", dest, x.Path, key, window.Format(time.RFC3339)))
	id := hex.EncodeToString(h[:16])
	var g alert.Alert
	err := change(ctx, d.j, kindAlert, id, func(s *storedAlert) bool {
		fresh := s.V == 0
		g = s.restore()
		if fresh {
			g = alert.Alert{
				Schema: alert.Schema, ID: id, Rule: RuleGroup, RuleVersion: 1, Outcome: "success", Severity: a.Severity, Time: a.Time.UTC(), FirstAt: a.FirstAt.UTC(),
				LastAt: a.LastAt.UTC(), EventIDs: []string{}, AccountID: a.AccountID, Details: map[string]any{},
			}
		}
		members, others := stringsOf(g.Details["members"]), s.Others
		known := slices.Contains(members, a.ID) || others.has(a.ID)
		if known && a.Severity <= g.Severity && !a.LastAt.After(g.LastAt) {
			return false
		}
		if !known {
			g.Count++
			if len(members) < maxMembers {
				members = append(slices.Clone(members), a.ID)
			} else if len(others) < maxOthers*idSize {
				others = others.add(a.ID)
			}
		}
		top, topZH := stringsOf(g.Details["top"]), stringsOf(g.Details["top_zh"])
		if len(topZH) != len(top) {
			topZH = top // of a version without Chinese
		}
		if len(top) < digestTop && len(members) > len(top) {
			top = append(slices.Clone(top), fmt.Sprintf("%s · %s · %s", a.Severity, a.Mark(false)+clip(a.Title, 200), short(a.ID)))
			title, _ := a.Words(true)
			topZH = append(slices.Clone(topZH), fmt.Sprintf("%s · %s · %s", InChinese(a.Severity.String()), a.Mark(true)+clip(title, 200), short(a.ID)))
		}
		if l["account_id"] != g.AccountID {
			g.AccountID = ""
		}
		g.Severity = max(g.Severity, a.Severity)
		g.Time, g.LastAt, g.FirstAt = later(g.Time, a.Time.UTC()), later(g.LastAt, a.LastAt.UTC()), earlier(g.FirstAt, a.FirstAt.UTC())
		g.Revision++
		g.Title = fmt.Sprintf("%d incidents: %s", g.Count, clip(key, 200))
		if g.Count == 1 {
			g.Title = "1 incident: " + clip(key, 200)
		}
		g.TitleZH = fmt.Sprintf("%d 起事件：%s", g.Count, clip(key, 200))
		g.Reason, g.ReasonZH = strings.Join(top, "; "), strings.Join(topZH, "；")
		if left := g.Count - len(top); left > 0 {
			g.Reason += fmt.Sprintf("; and %d more (trailwarden alerts ls)", left)
			g.ReasonZH += fmt.Sprintf("；另有 %d 起（trailwarden alerts ls）", left)
		}
		g.Details = map[string]any{"members": members, "top": top, "top_zh": topZH, "group": key}
		*s = storeAlert(g, d.now())
		s.Others = others
		return true
	})
	if err == nil {
		err = d.openAgain(ctx, id, a.ID)
	}
	return g, err
}

// whyOpenAgain is the note of the step that reopens a group.
const whyOpenAgain = "an incident of it is open"

// openAgain reopens a group that people have taken up when it has an incident
// that nobody has: what one button answered for would hide what came later.
func (d *Dispatcher) openAgain(ctx context.Context, group, member string) error {
	g, err := d.TriageOf(ctx, group)
	if err != nil || g.State == TriageOpen {
		return err
	}
	if m, err := d.TriageOf(ctx, member); err != nil || m.State != TriageOpen {
		return err
	}
	_, err = d.triageOne(ctx, group, TriageRequest{By: machineName, Do: DoReopen, Note: whyOpenAgain})
	return err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// stringsOf reads a list of strings that was JSON.
func stringsOf(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		out := make([]string, 0, len(v))
		for _, x := range v {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// Undelivered is a notice that was given up.
type Undelivered struct {
	Destination string    `json:"destination"`
	AlertID     string    `json:"alert_id"`
	Rule        string    `json:"rule"`
	Severity    string    `json:"severity"`
	At          time.Time `json:"at"`
	Reason      string    `json:"reason"`
}

// Undelivered lists the notices that were given up, oldest first; Requeue
// tries them again.
func (d *Dispatcher) Undelivered(ctx context.Context) ([]Undelivered, error) {
	notices, err := newestOf[notice](ctx, d.j, kindNotice, d.unread(kindNotice))
	if err != nil {
		return nil, err
	}
	var out []Undelivered
	for _, n := range notices {
		if n.State == noticeDead {
			out = append(out, Undelivered{n.Dest, cmp.Or(n.Of, n.Alert), n.Rule, n.Severity.String(), n.At, n.Reason})
		}
	}
	lists.Sort(out, func(a, b Undelivered) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.Destination+a.AlertID, b.Destination+b.AlertID)
	})
	return out, nil
}
