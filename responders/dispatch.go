package responders

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/trace"
	"github.com/trailwarden/trailwarden/responders/route"
)

// Destination is one place where people look, with its own queue.
type Destination struct {
	Notifier Notifier
	// MinSeverity is the least severe alert shown; Medium when zero.
	MinSeverity alert.Severity
	Rules       []string // rule ids or globs; empty is all
	// Gap is the least time between two calls; none when zero. Slack's
	// channels want one second.
	Gap time.Duration
	// StormAt is how many new incidents may wait before the rest of them is
	// put into one digest; 10 when zero, never when negative. The first alert
	// of each rule always goes by itself.
	StormAt int
	// DigestEvery is the least time between two digests; 30 s when zero.
	DigestEvery time.Duration
	// CatchUpAge is the age of an event beyond which its alert, below high,
	// is only digested: after a long stop people want the list, not the
	// flood. One hour when zero, never when negative.
	CatchUpAge time.Duration
	// Timeout bounds one call; 20 s when zero.
	Timeout time.Duration
}

// DispatcherOptions configures a Dispatcher. Journal and Machine are needed.
type DispatcherOptions struct {
	Journal      Journal
	Machine      *Machine
	Playbooks    []Playbook // merged and validated, in order of precedence
	Destinations []Destination
	// Accounts names accounts for people.
	Accounts map[string]string
	Units    Units // organisation units, for playbooks
	// Keys reads what is known of a key, for cards and fences; nil where the
	// cloud cannot be asked.
	Keys KeyInformer
	// Ask says who is asked whether it was them, and what an answer changes.
	Ask AskPolicy
	// Routes is the routing tree; nil sends every alert to every destination
	// whose own filter takes it.
	Routes *route.Tree
	// Link is where the console shows an alert; nil where there is none.
	Link func(alertID string) string
	// Raw is where the raw records of an alert are shown, "" for nowhere; nil
	// where there is no such place.
	Raw func(a *alert.Alert) string
	// ReactivationRules are the rules that tell of a credential being switched on
	// again, or of another containment being undone by hand; ak.reactivated,
	// ak.undo_containment and user.undo_containment when nil.
	ReactivationRules []string
	// Owner as in MachineOptions; the machine's when empty.
	Owner string
	// Tracer goes on with the traces of commit records; nil traces nothing.
	Tracer *trace.Tracer
	Now    func() time.Time // time.Now when nil
	Log    *slog.Logger
}

// Dispatcher takes alerts and sees to it that each is shown once at each
// destination, and that playbooks ask for their actions. What it is given is
// durable when Handle returns; the rest happens in Run.
//
// Every destination has its own goroutine and queue. The queue in memory is
// bounded and only an index: what does not fit is found again in the journal.
// A destination that is down delays nobody else.
type Dispatcher struct {
	opts    DispatcherOptions
	j       Journal
	m       *Machine
	now     func() time.Time
	log     *slog.Logger
	owner   string
	outlets []*outlet
	askers  []*outlet // one for each destination that can ask people

	mu      sync.Mutex
	cursors map[int]cursorState
	cards   chan cardRequest
	changes map[string]ActionDetail // by action id: to be looked at by the pager

	silences   []activeSilence
	silencesAt time.Time
	firing     *route.Firing // nil without routes

	waiting map[string]waitingFor // questions without an answer, by id
	askWake chan struct{}

	wake  chan struct{}
	ready bool
}

type cursorState struct {
	Seq uint64 `json:"seq"`
	rec uint64 // sequence of the journal record
}

// Rules of the alerts that trailwarden raises about itself.
const (
	RuleActionFailed  = "self.action_failed"
	RuleActionInDoubt = "self.action_in_doubt"
	RuleActionRefused = "self.action_refused"
	RuleActionUnseen  = "self.action_unseen"
	RuleUndelivered   = "self.notice_undelivered"
	RuleDigest        = "self.digest"
	RuleQuestion      = "self.question" // of the notice of a question; no alert has it
)

// NewDispatcher returns a dispatcher that has read nothing yet. It takes over
// the machine's OnChange.
func NewDispatcher(o DispatcherOptions) (*Dispatcher, error) {
	if o.Journal == nil || o.Machine == nil {
		return nil, errors.New("responders: a dispatcher needs a journal and a machine")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Owner == "" {
		o.Owner = o.Machine.opts.Owner
	}
	if o.ReactivationRules == nil {
		o.ReactivationRules = []string{"ak.reactivated", "ak.undo_containment", "user.undo_containment"}
	}
	d := &Dispatcher{
		opts: o, j: o.Journal, m: o.Machine, now: func() time.Time { return o.Now().UTC() }, log: o.Log, owner: o.Owner,
		cursors: map[int]cursorState{}, changes: map[string]ActionDetail{}, wake: make(chan struct{}, 1), cards: make(chan cardRequest, cardQueue),
		waiting: map[string]waitingFor{}, askWake: make(chan struct{}, 1),
	}
	if err := JoinFaults(o.Ask.Faults()); err != nil {
		return nil, fmt.Errorf("responders: respond.ask: %w", err)
	}
	if o.Routes != nil {
		d.firing = o.Routes.NewFiring()
	}
	names := map[string]bool{}
	for i, dst := range o.Destinations {
		if dst.Notifier == nil {
			return nil, fmt.Errorf("responders: destinations[%d] has no notifier", i)
		}
		name := dst.Notifier.Name()
		if !validName(name) {
			return nil, fmt.Errorf("responders: destination %q: want 1 to 64 letters, digits, dots, hyphens or underscores", name)
		}
		if names[name] {
			return nil, fmt.Errorf("responders: two destinations are called %q", name)
		}
		names[name] = true
		d.outlets = append(d.outlets, newOutlet(d, dst))
	}
	for _, o := range d.outlets {
		if a, ok := o.dst.Notifier.(Asker); ok && !names[o.name+askSuffix] {
			x := newOutlet(d, Destination{Notifier: asking{a, o.name + askSuffix}, StormAt: -1, CatchUpAge: -1, Timeout: o.dst.Timeout})
			x.asks = true
			d.askers = append(d.askers, x)
		}
	}
	o.Machine.OnChange(d.actionChanged)
	return d, nil
}

// Handle takes the alerts of one commit of a partition. When it returns nil
// they are durable, as are the actions that playbooks ask for, and the caller
// may forget the commit; after an error the same call is made again and
// nothing is doubled. Calls for one partition come in order of seq.
func (d *Dispatcher) Handle(ctx context.Context, partition int, seq uint64, alerts []alert.Alert) error {
	return d.HandleFrom(ctx, Live, partition, seq, alerts)
}

// HandleFrom is Handle for alerts that may not be live: those are shown, and
// never acted on.
func (d *Dispatcher) HandleFrom(ctx context.Context, origin Origin, partition int, seq uint64, alerts []alert.Alert) error {
	cur, err := d.cursor(ctx, partition)
	if err != nil {
		return err
	}
	if seq != 0 && seq <= cur.Seq {
		return nil
	}
	for _, a := range newest(alerts) {
		if err := d.take(ctx, origin, a); err != nil {
			return fmt.Errorf("alert %s: %w", a.ID, err)
		}
	}
	return d.saveCursor(ctx, partition, seq)
}

// newest keeps the last revision of each alert, in order of first appearance.
func newest(alerts []alert.Alert) []alert.Alert {
	at := map[string]int{}
	var out []alert.Alert
	for _, a := range alerts {
		if i, ok := at[a.ID]; ok {
			if a.Revision >= out[i].Revision {
				out[i] = a
			}
			continue
		}
		at[a.ID] = len(out)
		out = append(out, a)
	}
	return out
}

// take stores one alert, asks for its actions, and creates its notices, in
// this order, so that the first message already shows what is being done.
func (d *Dispatcher) take(ctx context.Context, origin Origin, a alert.Alert) (err error) {
	ctx, span := d.opts.Tracer.Resume(ctx, trace.Of(ctx), "take alert", trace.Str("trailwarden.alert", a.ID),
		trace.Str("trailwarden.rule", a.Rule), trace.Str("trailwarden.severity", a.Severity.String()))
	defer func() { span.End(err) }()
	if a.Rule == RuleOwnCall {
		if origin != Live {
			return nil
		}
		return d.ownCall(ctx, &a)
	}
	if origin == Live {
		if err := d.noteChild(ctx, &a); err != nil {
			return err
		}
	}
	if a.Signal && a.Severity < alert.Medium {
		return nil // feeds chains; never shown, never acted on
	}
	a.ID = journalID(a.ID) // ours are hex; anything else would not survive the journal
	known, err := d.save(ctx, a)
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.DispatchSaved)
	if known.Revision > a.Revision {
		a = known
	}
	a.Severity = max(a.Severity, known.Severity) // as people have raised it
	if globAny(d.opts.ReactivationRules, a.Rule) && a.Outcome == "success" {
		if err := d.m.takenBack(ctx, &a); err != nil {
			return err
		}
	}
	if err := d.propose(ctx, origin, &a); err != nil {
		return err
	}
	failpoint.Hit(failpoint.DispatchProposed)
	if err := d.autoAsk(ctx, origin, &a); err != nil {
		return err
	}
	return d.show(ctx, a, "")
}

// save stores an alert if it is newer than what is known, and returns the
// newer of the two.
func (d *Dispatcher) save(ctx context.Context, a alert.Alert) (alert.Alert, error) {
	newer := a
	err := change(ctx, d.j, kindAlert, journalID(a.ID), func(s *storedAlert) bool {
		if s.V != 0 && s.Revision >= a.Revision {
			newer = s.restore()
			return false
		}
		raised := s.Raised
		*s = storeAlert(a, d.now())
		s.Raised = raised
		newer = a
		newer.Severity = s.severity()
		return true
	})
	return newer, err
}

// propose asks for the actions of every playbook that applies. Where two ask
// for the same, the first one's word holds.
func (d *Dispatcher) propose(ctx context.Context, origin Origin, a *alert.Alert) error {
	for _, p := range d.opts.Playbooks {
		if !p.applies(a, d.opts.Units) {
			continue
		}
		actions, err := d.resolve(ctx, p, a)
		if err != nil {
			return err
		}
		for _, act := range actions {
			if kindAbout(act.Kind)&AboutKey != 0 && origin == Live {
				d.wantsCard(a, act.Target)
			}
			_, err := d.m.Propose(ctx, Proposal{
				Action: act, Origin: origin, Guards: p.Guards, Approvers: p.Approvers, Approvals: p.Approvals, Expires: p.Expires.Std(),
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// show creates the notices of an alert where they are missing, and queues it
// everywhere. except names a destination to leave out.
func (d *Dispatcher) show(ctx context.Context, a alert.Alert, except string) error {
	d.noteFiring(&a)
	for _, o := range d.outlets {
		if o.name == except || !o.wants(&a) {
			continue
		}
		x, ok := d.route(&a, o.name)
		if !ok {
			continue
		}
		shown, wait := a, time.Duration(0)
		grouped, err := d.groupable(ctx, &a, o.name, x)
		if err != nil {
			return err
		}
		if grouped {
			if shown, err = d.group(ctx, &a, o.name, x); err != nil {
				return err
			}
			wait = x.GroupWait
		}
		if err := o.showOne(ctx, shown, wait, x.GroupInterval, grouped); err != nil {
			return err
		}
	}
	return nil
}

// groupable says whether an alert is told in its group's message: not when it
// is held back, when something is done about it, or when it has a message of
// its own already.
func (d *Dispatcher) groupable(ctx context.Context, a *alert.Alert, dest string, x route.Delivery) (bool, error) {
	if len(x.GroupBy) == 0 || strings.HasPrefix(a.Rule, "self.") {
		return false, nil
	}
	if _, by := d.held(ctx, a, dest); by != "" {
		return false, nil
	}
	actions, err := d.m.ForAlert(ctx, a.ID)
	if err != nil || len(actions) > 0 {
		return false, err
	}
	var n notice
	seq, err := readLast(ctx, d.j, kindNotice, noticeID(dest, a.ID), &n)
	return seq == 0, err
}

// showOne creates the notice of an alert here where it is missing, and queues it.
func (o *outlet) showOne(ctx context.Context, a alert.Alert, wait, interval time.Duration, grouped bool) error {
	d := o.d
	n := notice{
		V: recordVersion, Dest: o.name, Alert: a.ID, Rule: a.Rule, Severity: a.Severity, EventAt: a.LastAt.UTC(),
		State: noticePending, At: d.now(), Trace: trace.Of(ctx),
	}
	if grouped {
		n.Interval = interval
		if wait > 0 {
			n.RetryAt = d.now().Add(wait)
		}
	}
	_, err := appendJSON(ctx, d.j, kindNotice, noticeID(o.name, a.ID), n, 0)
	it := o.item(n)
	switch {
	case err == nil:
		o.add(it)
	case errors.Is(err, ErrConflict): // there already: sent, waiting, or on its way
		it.nudge, it.due = true, time.Time{}
		o.add(it)
	default:
		return err
	}
	return nil
}

// Cursor is the highest seq of a partition whose alerts are durable here; 0
// when none is. Commits up to it may be purged.
func (d *Dispatcher) Cursor(ctx context.Context, partition int) (uint64, error) {
	c, err := d.cursor(ctx, partition)
	return c.Seq, err
}

func (d *Dispatcher) cursor(ctx context.Context, partition int) (cursorState, error) {
	d.mu.Lock()
	c, ok := d.cursors[partition]
	d.mu.Unlock()
	if ok {
		return c, nil
	}
	c = cursorState{}
	rec, err := readLast(ctx, d.j, kindCursor, strconv.Itoa(partition), &c)
	if err != nil {
		return c, fmt.Errorf("responders: cursor of partition %d: %w", partition, err)
	}
	c.rec = rec
	d.mu.Lock()
	d.cursors[partition] = c
	d.mu.Unlock()
	return c, nil
}

func (d *Dispatcher) saveCursor(ctx context.Context, partition int, seq uint64) error {
	for {
		c, err := d.cursor(ctx, partition)
		if err != nil {
			return err
		}
		if seq <= c.Seq {
			return nil
		}
		rec, err := appendJSON(ctx, d.j, kindCursor, strconv.Itoa(partition), cursorState{Seq: seq}, c.rec)
		d.mu.Lock()
		if err == nil {
			d.cursors[partition] = cursorState{Seq: seq, rec: rec}
		} else {
			delete(d.cursors, partition) // read it again: another process, or a lost answer
		}
		d.mu.Unlock()
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("responders: cursor of partition %d: %w", partition, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// actionChanged is the machine's OnChange: it only remembers.
func (d *Dispatcher) actionChanged(a ActionDetail) {
	d.mu.Lock()
	if old, ok := d.changes[a.ID]; !ok || old.Seq < a.Seq {
		d.changes[a.ID] = a
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// page turns changes of actions into edits of messages and, where a person is
// needed now, into alerts of their own.
func (d *Dispatcher) page(ctx context.Context) error {
	d.mu.Lock()
	todo := make([]ActionDetail, 0, len(d.changes))
	for _, c := range d.changes {
		todo = append(todo, c)
	}
	d.mu.Unlock()
	sort.Slice(todo, func(i, k int) bool { return todo[i].Seq < todo[k].Seq })
	for _, c := range todo {
		if c.Action.AlertID != "" {
			for _, o := range d.outlets {
				o.add(changed(c.Action.AlertID))
			}
		}
		if err := d.raiseFor(ctx, c); err != nil {
			return err
		}
		d.mu.Lock()
		if d.changes[c.ID].Seq == c.Seq {
			delete(d.changes, c.ID)
		}
		d.mu.Unlock()
	}
	return nil
}

// raiseFor raises an alert of our own about an action that needs a person.
func (d *Dispatcher) raiseFor(ctx context.Context, c ActionDetail) error {
	switch {
	case c.State == Failed:
		return d.raise(ctx, RuleActionFailed, c.ID, "Containment failed: "+c.Describe, c.Reason, alert.Critical, &c, "")
	case c.Paged && c.State == InDoubt:
		return d.raise(ctx, RuleActionInDoubt, c.ID, "Containment in doubt: "+c.Describe, c.Reason, alert.Critical, &c, "")
	case c.Unseen:
		return d.raise(ctx, RuleActionUnseen, c.ID+string(c.State), "The audit trail does not show what was done: "+c.Describe,
			"it was read back and is in force, but its own event never came: the trail may be broken or late, or the responder's identity is missing in the list own_principals; next: trailwarden status, then look at the trail", alert.Medium, &c, "")
	case c.State == Done && strings.HasPrefix(c.Reason, noLongerSo):
		if t, err := d.TriageOf(ctx, c.Action.AlertID); err != nil || t.State == TriageClosed {
			return err
		}
		return d.raise(ctx, RuleActionRefused, c.ID+noLongerSo, "Not contained: "+c.Describe, c.Reason, alert.High, &c, "")
	case c.State == Refused && tellsRefusal(c):
		// One alert for one reason about one target, however many alerts ask.
		guard, _, _ := strings.Cut(c.Reason, ":")
		key := strings.Join([]string{c.Kind, targetID(c.Action.Target), guard, c.Action.AlertID}, "/")
		return d.raise(ctx, RuleActionRefused, key, "Not contained: "+c.Describe, c.Reason, alert.High, &c, "")
	}
	return nil
}

// tellsRefusal says whether people have to hear that an action was refused:
// they asked for it to be done, and something that happened is not contained.
// A dry-run, a past alert and a call that had no effect are no news, and a
// person who asked was answered at once.
func tellsRefusal(c ActionDetail) bool {
	guard, _, _ := strings.Cut(c.Reason, ":")
	return c.Action.Mode != Observe && c.Action.Requester == requesterPlaybook && guard != originGuard{}.Name() &&
		(guard != evidenceGuard{}.Name() || c.Action.Evidence.Outcome != "attempt")
}

// raise stores and shows an alert about ourselves, once for each key.
func (d *Dispatcher) raise(ctx context.Context, rule, key, title, reason string, sev alert.Severity, about *ActionDetail, except string) error {
	h := sha256.Sum256([]byte("trailwarden.self/v1\n" + rule + "\n" + key))
	now := d.now()
	a := alert.Alert{
		Schema: alert.Schema, ID: hex.EncodeToString(h[:16]), Rule: rule, RuleVersion: 1, Title: clip(title, 300), Reason: clip(reason, maxReason),
		Severity: sev, Outcome: "success", Time: now, FirstAt: now, LastAt: now, Count: 1, EventIDs: []string{}, Revision: 1,
		TitleZH: clip(InChinese(title), 300), ReasonZH: clip(InChinese(reason), maxReason),
	}
	if about != nil {
		a.AccountID = about.Action.Target.AccountID
		a.EventIDs = about.Action.Evidence.EventIDs
		if t := about.Action.Target; t.AccessKeyID != "" {
			a.Target = &alert.Target{Type: "accesskey", ID: t.AccessKeyID, Name: t.AccessKeyID}
		} else if name := cmp.Or(t.UserName, t.RoleName, t.Params["group"], t.Params["policy_name"], t.Params["trail"]); name != "" {
			a.Target = &alert.Target{Name: name}
		}
		a.Details = map[string]any{"action": about.ID, "kind": about.Action.Kind, "alert": about.Action.AlertID, "rule": about.Action.Rule}
	}
	if _, err := d.save(ctx, a); err != nil {
		return err
	}
	return d.show(ctx, a, except)
}

// Recover reads the journal: actions, notices that are not finished, messages
// that no longer show the present state. Run calls it when nobody has.
func (d *Dispatcher) Recover(ctx context.Context) error {
	if err := d.m.Recover(ctx); err != nil {
		return err
	}
	if err := d.loadSilences(ctx); err != nil {
		return err
	}
	stand, err := d.recoverStandings(ctx)
	if err != nil {
		return err
	}
	untold, err := d.recoverNotices(ctx, stand)
	if err != nil {
		return err
	}
	if err := d.recoverAsks(ctx); err != nil {
		return fmt.Errorf("recover questions: %w", err)
	}
	// What was given up or failed just before the end may not have been raised.
	for _, id := range slices.Sorted(maps.Keys(untold)) {
		var n notice
		seq, err := readLast(ctx, d.j, kindNotice, id, &n)
		if err == nil && n.Untold {
			err = untold[id].tellDead(ctx, n, seq)
		}
		if err != nil && !errors.Is(err, ErrConflict) { // another process is at it
			return fmt.Errorf("recover notices that were given up: %w", err)
		}
	}
	unraised, err := d.m.unraised(ctx)
	if err != nil {
		return fmt.Errorf("recover alerts about actions: %w", err)
	}
	for _, c := range unraised {
		if err := d.raiseFor(ctx, c); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.ready = true
	d.mu.Unlock()
	return nil
}

// recoverStandings tells how each incident stands by its journal id, and notes
// which of them fire.
func (d *Dispatcher) recoverStandings(ctx context.Context) (map[string]standing, error) {
	out := map[string]standing{}
	err := eachLast(ctx, d.j, kindAlert, func(id string, e Entry) error {
		var s struct {
			Revision int       `json:"revision"`
			At       time.Time `json:"at"`
			Alert    struct {
				Severity alert.Severity `json:"severity"`
			} `json:"alert"`
			Raised alert.Severity `json:"raised"`
		}
		if err := unmarshal(e.Data, &s); err != nil {
			d.log.Error("an alert in the journal cannot be read", "id", id, "seq", e.Seq, "err", err)
			return nil
		}
		out[id] = standing{rev: s.Revision, severity: max(s.Alert.Severity, s.Raised)}
		if now := d.now(); d.firing != nil && now.Sub(s.At) <= firesFor {
			var whole storedAlert
			if err := unmarshal(e.Data, &whole); err == nil {
				a := whole.restore()
				d.noteFiring(&a)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recover alerts: %w", err)
	}
	err = eachLast(ctx, d.j, kindTriage, func(id string, e Entry) error {
		s := out[id]
		s.step = e.Seq
		out[id] = s
		var t Triage
		if err := unmarshal(e.Data, &t); err == nil && t.State == TriageClosed {
			d.endFiring(id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recover triage: %w", err)
	}
	err = eachLast(ctx, d.j, kindAsk, func(id string, e Entry) error {
		s := out[id]
		s.asked = e.Seq
		out[id] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recover questions: %w", err)
	}
	return out, nil
}

// recoverNotices gives the outlets what they have to go on with. untold are the
// outlets of notices that were given up without the others hearing of it.
func (d *Dispatcher) recoverNotices(ctx context.Context, stand map[string]standing) (untold map[string]*outlet, err error) {
	byName := map[string]*outlet{}
	for _, o := range slices.Concat(d.outlets, d.askers) {
		byName[o.name] = o
	}
	open := map[string]bool{} // notices that still wait
	have := map[string]bool{} // notices of digests
	untold = map[string]*outlet{}
	err = eachLast(ctx, d.j, kindNotice, func(id string, e Entry) error {
		var n notice
		if err := unmarshal(e.Data, &n); err != nil {
			d.log.Error("a notice in the journal cannot be read", "id", id, "seq", e.Seq, "err", err)
			return nil
		}
		if n.Rule == RuleDigest {
			have[id] = true
		}
		delete(open, id)
		delete(untold, id)
		o := byName[n.Dest]
		if o == nil {
			return nil // the destination is no longer configured
		}
		switch n.State {
		case noticePending, noticeStarted:
			open[id] = true
			o.add(o.item(n))
		case noticeDead:
			if n.Untold {
				untold[id] = o
			}
		default:
			// One that may have to be told again is looked at, too.
			repeats := d.opts.Routes != nil && n.State == noticeSent && d.now().Sub(n.EventAt) <= firesFor
			if repeats || o.moved(n, stand[journalID(cmp.Or(n.Of, n.Alert))]) {
				o.add(o.item(n))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recover notices: %w", err)
	}
	if err := d.recoverDigests(ctx, byName, open, have); err != nil {
		return nil, fmt.Errorf("recover digests: %w", err)
	}
	return untold, nil
}

// Run recovers, then shows alerts and carries actions on until ctx ends. It
// returns when every call it made has ended; what is left over is in the
// journal.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	ready := d.ready
	d.mu.Unlock()
	if !ready {
		if err := d.Recover(ctx); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	for _, o := range slices.Concat(d.outlets, d.askers) {
		wg.Go(func() { o.run(ctx) })
	}
	wg.Go(func() { d.watchAsks(ctx) })
	wg.Go(func() { _ = d.m.loop(ctx) })
	wg.Go(func() { d.makeCards(ctx) })
	fails := 0
	for ctx.Err() == nil {
		err := d.page(ctx)
		now, again := d.now(), time.Time{}
		if err != nil && ctx.Err() == nil {
			fails++
			wait := backoff("page", fails, time.Second, 30*time.Second)
			d.log.Error("a change of an action could not be handed on and is tried again", "err", err, "again_in", wait)
			again = now.Add(wait)
		} else {
			fails = 0
		}
		rest(ctx, d.wake, now, again)
	}
	wg.Wait()
	return nil
}

// Requeue tries the notices of a destination again that were given up, after
// the cause is mended; it returns how many.
func (d *Dispatcher) Requeue(ctx context.Context, dest string) (int, error) {
	outlets := slices.Concat(d.outlets, d.askers)
	i := slices.IndexFunc(outlets, func(o *outlet) bool { return o.name == dest })
	if i < 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoDestination, clip(dest, 64))
	}
	type dead struct {
		n   notice
		seq uint64
	}
	var found []dead
	err := eachLast(ctx, d.j, kindNotice, func(_ string, e Entry) error {
		var n notice
		if err := unmarshal(e.Data, &n); err == nil && n.Dest == dest && n.State == noticeDead {
			found = append(found, dead{n, e.Seq})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	count := 0
	for _, f := range found {
		n := f.n
		n.State, n.At, n.Retries, n.Doubts, n.RetryAt, n.Reason, n.Reposted, n.Untold = noticePending, d.now(), 0, 0, time.Time{}, "", false, false
		if n.Ref != (MessageRef{}) {
			n.State = noticeSent
			n.Shown = shown{}
		}
		_, err := appendJSON(ctx, d.j, kindNotice, noticeID(n.Dest, n.Alert), n, f.seq)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return count, err
		}
		count++
		outlets[i].add(outlets[i].item(n))
	}
	return count, nil
}

// DestinationStats are counts since the start of the process.
type DestinationStats struct {
	Name     string    `json:"name"`
	Waiting  int       `json:"waiting"` // in memory, new and edits
	Sent     int       `json:"sent"`
	Edited   int       `json:"edited"`
	Digested int       `json:"digested"` // incidents that went into digests
	Retried  int       `json:"retried"`
	Found    int       `json:"found"` // lost answers whose message was there
	Dead     int       `json:"dead"`
	Held     int       `json:"held,omitempty"`     // kept back by a silence, an inhibition or a time interval
	Reminded int       `json:"reminded,omitempty"` // told again because nobody took it up
	Overflow int       `json:"overflow"`           // left to the journal because memory was full
	LastOK   time.Time `json:"last_ok,omitzero"`
	LastErr  string    `json:"last_error,omitempty"`
	// FailingSince is when calls began to fail, of a platform that only asks to wait
	// when it has done so for minutes; zero while all is well.
	FailingSince time.Time `json:"failing_since,omitzero"`
}

func (s *DestinationStats) idle() bool { return s.Sent+s.Retried+s.Found+s.Dead == 0 }

// Stats returns the counts of every destination, in configured order, and then
// those of the questions to people, as <destination>.ask, once there were any.
func (d *Dispatcher) Stats() []DestinationStats {
	out := make([]DestinationStats, 0, len(d.outlets))
	for _, o := range slices.Concat(d.outlets, d.askers) {
		o.mu.Lock()
		if o.asks && o.stats.idle() && len(o.items) == 0 {
			o.mu.Unlock()
			continue // nobody was asked: no news
		}
		s := o.stats
		for _, it := range o.items {
			if !it.idle {
				s.Waiting++
			}
		}
		o.mu.Unlock()
		out = append(out, s)
	}
	return out
}

// Alert returns an alert as last seen, with its actions.
func (d *Dispatcher) Alert(ctx context.Context, id string) (alert.Alert, []ActionDetail, error) {
	s, ok, err := d.storedAlert(ctx, id)
	if err != nil {
		return alert.Alert{}, nil, err
	}
	if !ok {
		return alert.Alert{}, nil, fmt.Errorf("%w: %q", ErrNoAlert, clip(id, 64))
	}
	actions, err := d.m.List(ctx, ListFilter{AlertID: s.Alert.ID})
	return s.restore(), actions, err
}

// Stored returns an alert as last seen; ErrNoAlert when there is none.
func (d *Dispatcher) Stored(ctx context.Context, id string) (alert.Alert, error) {
	s, ok, err := d.storedAlert(ctx, id)
	if err == nil && !ok {
		err = fmt.Errorf("%w: %q", ErrNoAlert, clip(id, 64))
	}
	return s.restore(), err
}

// Alerts returns the newest alerts by time of their last event.
func (d *Dispatcher) Alerts(ctx context.Context, limit int) ([]alert.Alert, error) {
	all, err := newestOf[storedAlert](ctx, d.j, kindAlert, d.unread(kindAlert))
	if err != nil {
		return nil, err
	}
	out := make([]alert.Alert, 0, len(all))
	for _, s := range all {
		out = append(out, s.restore())
	}
	sort.Slice(out, func(i, k int) bool {
		if !out[i].LastAt.Equal(out[k].LastAt) {
			return out[i].LastAt.After(out[k].LastAt)
		}
		return out[i].ID < out[k].ID
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// newerThan says whether an alert's actions have moved beyond what was shown.
func (m *Machine) newerThan(alertID string, shown map[string]uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.byAlert[alertID] {
		if s := m.index[id]; s != nil && s.seq > shown[id] {
			return true
		}
	}
	return false
}

// unraised returns the failed, refused and doubtful actions of the last day; raising
// an alert about one twice changes nothing.
func (m *Machine) unraised(ctx context.Context) ([]ActionDetail, error) {
	m.mu.Lock()
	var ids []string
	for id, s := range m.index {
		if s.state == Failed || s.state == InDoubt || s.state == Refused || s.unseen {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	slices.Sort(ids)
	var out []ActionDetail
	for _, id := range ids {
		r, seq, err := m.load(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case seq > 0 && m.now().Sub(r.At) <= 24*time.Hour:
			out = append(out, m.detail(r, seq))
		}
	}
	return out, nil
}
