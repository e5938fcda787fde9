package responders

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// MachineOptions configures a Machine. Journal is needed, the rest has defaults.
type MachineOptions struct {
	Journal   Journal
	Executors []Executor // one for each kind; none means that nothing is ever changed
	Guards    GuardConfig
	Units     Units // organisation units, for Guards.TwoPerson
	// Production says of a target whether it is production: "yes", "no", or
	// "unknown". Nil knows nothing. Called from several goroutines.
	Production func(ActionTarget) string
	// GuardList is what is asked before every action; DefaultGuards when nil.
	GuardList []Guard
	Approvers []Approver
	// MaxMode bounds every playbook; Observe when empty.
	MaxMode Mode
	// Playbooks are those in force, merged: what one asked for that may not act by itself
	// any more waits for people. Nil knows none, and takes each action's word.
	Playbooks []Playbook
	// Self tells who we are in the cloud. Without it every action is refused,
	// because it might hit our own key. It is called before each action and
	// should remember its answer.
	Self func(ctx context.Context) ([]Identity, error)
	// KnownKeys counts the AccessKeys of an account; needed only with
	// GuardConfig.KeyShare.
	KnownKeys func(ctx context.Context, account string) (int, error)
	// UndoFor is how long an action can be undone; 7 days when zero.
	UndoFor time.Duration
	// CallTimeout bounds one call of an executor; 30 s when zero. After it
	// (and a little more) another process may take the action over.
	CallTimeout time.Duration
	// ActWithin bounds the time from approval to effect, and from the first
	// try to the last; 15 minutes when zero. Later, a person decides.
	ActWithin time.Duration
	// ConfirmWithin is how long the event of a call of ours is waited for in
	// the audit trail, after which people are told that the trail does not show
	// it; zero waits for none.
	ConfirmWithin time.Duration
	// Owner names this process in records. A fixed name promises that no two
	// processes of that name ever live at once: then what a dead predecessor
	// left is taken up at once and not after its deadline. Random when empty.
	Owner string
	// Workers is how many actions are worked on at once by Run; 4 when zero.
	Workers int
	// Tracer goes on with the traces of alerts; nil traces nothing.
	Tracer *trace.Tracer
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// Machine carries actions through their states. Every state is durable in the
// journal before the effect that follows it; who appends first decides every
// race, also between processes. All methods may be called from several
// goroutines.
type Machine struct {
	opts   MachineOptions
	j      Journal
	now    func() time.Time
	log    *slog.Logger
	exec   map[string]Executor
	kinds  []string
	about  map[string]About
	guards []Guard

	mu       sync.Mutex
	index    map[string]*summary
	byAlert  map[string][]string
	busy     map[string]bool
	requests map[string]string // action by the request whose event is waited for
	wake     chan struct{}
	onChange func(ActionDetail)
	damaged  int
}

// summary is what is remembered of every action between steps.
type summary struct {
	alert  string
	state  State
	seq    uint64
	due    time.Time // zero: nothing to do by itself
	unseen bool      // its event was waited for in vain
	poked  bool      // somebody moved it while it was being worked on
	errs   int       // steps that failed in a row
}

// Constants of the machine that nobody has needed to configure.
const (
	takeOverAfter = 5 * time.Second  // beyond a deadline, for clocks that differ
	verifyDelay   = 2 * time.Second  // the cloud's read side follows its write side
	conflictPause = 2 * time.Second  // between looks at an action in the way
	tellWait      = time.Minute      // then the record says what it waits for
	pollEvery     = 5 * time.Second  // open actions: another process may have moved them
	doubtPause    = 10 * time.Minute // between reads once a person has been paged
	doubtEnd      = 24 * time.Hour   // then the outcome is given up as unknown
	maxRetries    = 12
	maxDeaths     = 6 // of the process in the middle of a call that was then read as not in force
	maxUndoDoubts = 3
	maxReason     = 600
	machineName   = "machine"
)

// NewMachine returns a machine that has read nothing yet; call Recover or Run.
func NewMachine(o MachineOptions) (*Machine, error) {
	if o.Journal == nil {
		return nil, errors.New("responders: a machine needs a journal: nothing may be done that is not recorded")
	}
	if err := errors.Join(o.Guards.Validate(), ValidateApprovers(o.Approvers)); err != nil {
		return nil, err
	}
	if !validMode(o.MaxMode) {
		return nil, fmt.Errorf("respond.mode: %q: want observe, approve or auto", o.MaxMode)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.UndoFor, 7*24*time.Hour)
	def(&o.CallTimeout, 30*time.Second)
	def(&o.ActWithin, 15*time.Minute)
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Owner == "" {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("responders: no randomness: %w", err)
		}
		o.Owner = hex.EncodeToString(b[:])
	}
	m := &Machine{
		opts: o, j: o.Journal, now: func() time.Time { return o.Now().UTC() }, log: o.Log, exec: map[string]Executor{}, guards: o.GuardList,
		index: map[string]*summary{}, byAlert: map[string][]string{}, busy: map[string]bool{}, requests: map[string]string{}, wake: make(chan struct{}, 1),
	}
	if m.guards == nil {
		m.guards = DefaultGuards()
	}
	for _, e := range o.Executors {
		if m.exec[e.Kind()] != nil {
			return nil, fmt.Errorf("responders: two executors of kind %q", e.Kind())
		}
		m.exec[e.Kind()] = e
		m.kinds = append(m.kinds, e.Kind())
	}
	slices.Sort(m.kinds)
	m.about = abouts(m.exec)
	return m, nil
}

// Kinds lists the kinds of action that can be done.
func (m *Machine) Kinds() []string { return slices.Clone(m.kinds) }

// OnChange sets what is called after every durable change of an action. It
// must not block and must be set before Run.
func (m *Machine) OnChange(fn func(ActionDetail)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onChange = fn
}

// Recover reads the journal and takes up what a previous process left
// unfinished; the work itself is done by Run or Sweep. A record that cannot
// be read is logged and left alone.
func (m *Machine) Recover(ctx context.Context) error {
	err := eachLast(ctx, m.j, kindAction, func(id string, e Entry) error {
		var r record
		if err := unmarshal(e.Data, &r); err != nil {
			m.log.Error("an action in the journal cannot be read and is left alone", "action_id", id, "seq", e.Seq, "err", err)
			m.mu.Lock()
			m.damaged++
			m.mu.Unlock()
			return nil
		}
		m.note(&r, e.Seq, m.now())
		return nil
	})
	if err != nil {
		return fmt.Errorf("recover actions: %w", err)
	}
	return nil
}

// note remembers the newest known state of an action and when to look at it.
func (m *Machine) note(r *record, seq uint64, due time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.index[r.Action.ID]
	if s == nil {
		s = &summary{alert: r.Action.AlertID}
		m.index[r.Action.ID] = s
		m.byAlert[s.alert] = append(m.byAlert[s.alert], r.Action.ID)
	}
	if seq < s.seq {
		return
	}
	s.seq, s.state, s.unseen = seq, r.State, r.Unseen
	s.due = due
	wait := m.wantsSeen(r)
	if wait {
		m.requests[r.awaited()] = r.Action.ID
	}
	if r.State.settled() && !m.wantsCheck(r) && !wait {
		s.due = time.Time{}
	}
	m.kick()
}

// wantsCheck says that a dry-run has not yet looked at the cloud.
func (m *Machine) wantsCheck(r *record) bool {
	return r.State == Observed && !r.Checked && m.exec[r.Action.Kind] != nil
}

func (m *Machine) kick() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// poke has an action looked at soon, also when a step of it is just ending.
func (m *Machine) poke(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.index[id]; s != nil {
		s.due, s.poked = m.now(), true
		m.kick()
	}
}

// claim takes an action for one step; false when somebody is at it.
func (m *Machine) claim(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[id] {
		return false
	}
	m.busy[id] = true
	return true
}

// load reads the newest record of an action; seq is 0 when there is none.
func (m *Machine) load(ctx context.Context, id string) (*record, uint64, error) {
	var r record
	seq, err := readLast(ctx, m.j, kindAction, id, &r)
	if err != nil {
		return nil, 0, fmt.Errorf("action %s: %w", short(id), err)
	}
	return &r, seq, nil
}

// put appends the next state of an action. r is changed only when that worked.
func (m *Machine) put(ctx context.Context, r *record, seq uint64, to State, by string, edit func(*record)) (uint64, error) {
	next := *r
	next.Approvals = slices.Clone(r.Approvals)
	next.State, next.By, next.At = to, by, m.now()
	next.Reason, next.Next = "", ""
	if to != r.State {
		next.RetryAt = time.Time{}
		trying := func(s State) bool { return s == Approved || s == Executing }
		if !trying(to) || !trying(r.State) { // a retry is approved, executing, approved, …: one count
			next.Retries = 0
		}
	}
	if edit != nil {
		edit(&next)
	}
	next.Reason = clip(next.Reason, maxReason)
	if !mayFollow(r.State, to) {
		return 0, fmt.Errorf("action %s: %s cannot follow %q: this is a bug; nothing was done", short(r.Action.ID), to, r.State)
	}
	got, err := appendJSON(ctx, m.j, kindAction, r.Action.ID, next, seq)
	if err != nil {
		return 0, err
	}
	from := r.State
	*r = next
	m.log.Info("action", "action_id", r.Action.ID, "kind", r.Action.Kind, "from", from, "state", to, "by", by, "reason", next.Reason)
	m.note(r, got, m.now())
	if m.wantsSeen(r) {
		m.poke(r.Action.ID) // finished for the step that did it, not for the wait that follows
	}
	m.mu.Lock()
	fn := m.onChange
	m.mu.Unlock()
	if fn != nil {
		fn(m.detail(r, got))
	}
	if to.settled() && (from == Approved || r.Attempt > 0) {
		m.release(ctx, r.Action.ID)
	}
	return got, nil
}

// Proposal is a request for an action.
type Proposal struct {
	Action    Action
	Origin    Origin
	Guards    GuardOverrides
	Approvers []string // names; empty is every approver
	Approvals int      // distinct people; 1 when zero
	Expires   time.Duration
}

// Propose records a request durably. The same request made again changes
// nothing and is not an error. What follows is done by Run: in mode auto the
// action, in mode approve the wait for people.
func (m *Machine) Propose(ctx context.Context, p Proposal) (ActionDetail, error) {
	a := p.Action
	a.ID = ActionID(a)
	a.Mode = a.Mode.bounded(m.opts.MaxMode)
	if a.Requester == "" {
		a.Requester = requesterPlaybook
	}
	if p.Expires <= 0 {
		p.Expires = defaultExpires
	}
	now := m.now()
	r := &record{
		V: recordVersion, Action: a, Hash: ActionHash(a), Origin: p.Origin, Guards: p.Guards,
		ProposedAt: now, Expires: Duration(min(p.Expires, maxExpires)), ExpiresAt: now.Add(min(p.Expires, maxExpires)),
		Approvers: p.Approvers, Need: max(p.Approvals, 1), Trace: trace.Of(ctx),
	}
	if m.opts.Guards.TwoPerson.needs(a, m.opts.Units, m.opts.Production) {
		r.Need = max(r.Need, 2)
	}
	var v Verdict
	for considered := false; !considered; {
		old, seq, err := m.load(ctx, a.ID)
		if err != nil {
			return ActionDetail{}, err
		}
		if seq > 0 && !outdated(old, a) {
			m.note(old, seq, now)
			return m.detail(old, seq), nil
		}
		if seq > 0 {
			a.Again++
			a.ID = ActionID(a)
			r.Action, r.Hash = a, ActionHash(a)
			if _, next, err := m.load(ctx, a.ID); err != nil {
				return ActionDetail{}, err
			} else if next > 0 {
				continue
			}
		}
		r.Describe = m.describe(a)
		if v, err = m.consider(ctx, r); err != nil {
			return ActionDetail{}, fmt.Errorf("propose action %s: %w", short(a.ID), err)
		}
		if seq > 0 && v.Decision == Refuse { // no better: the first refusal says it
			m.note(old, seq, now)
			return m.detail(old, seq), nil
		}
		considered = true
	}
	to, reason, next := Proposed, "", ""
	switch {
	case v.Decision == Refuse:
		to, reason, next = Refused, v.Guard+": "+v.Reason, v.Next
	case a.Mode == Observe:
		to, reason = Observed, "dry-run: nothing was changed"
		if m.exec[a.Kind] == nil {
			reason = "dry-run: nothing here can do this, and nothing was changed"
		}
		if v.Decision == Ask {
			reason += " (a person would be asked: " + v.Reason + ")"
		}
	}
	seq, err := m.put(ctx, r, 0, to, a.Requester, func(n *record) { n.Reason, n.Next = reason, next })
	if errors.Is(err, ErrConflict) { // another process proposed it in between
		old, seq, err := m.load(ctx, a.ID)
		if err != nil {
			return ActionDetail{}, err
		}
		return m.detail(old, seq), nil
	}
	if err != nil {
		return ActionDetail{}, fmt.Errorf("propose action %s: %w", short(a.ID), err)
	}
	return m.detail(r, seq), nil
}

// outdated says that a refusal was for its evidence, of which there is more by now: the
// call that was refused by the cloud at first has succeeded, or it goes on while what was
// known at first came too late. A refusal for anything else stands.
func outdated(old *record, a Action) bool {
	if old.State != Refused || a.Requester != requesterPlaybook || a.Again >= maxAgain {
		return false
	}
	guard, _, _ := strings.Cut(old.Reason, ": ")
	was, is := old.Action.Evidence, a.Evidence
	switch guard {
	case evidenceGuard{}.Name():
		return was.Outcome != "success" && is.Outcome == "success"
	case freshGuard{}.Name():
		return is.Time.After(was.Time)
	}
	return false
}

// consider asks the guards. A dry-run where nothing could act anyway is judged
// only by what does not depend on the cloud.
//
// A journal that cannot be read is an error and no verdict: it is asked again
// later, where a refusal would stand for ever.
func (m *Machine) consider(ctx context.Context, r *record) (Verdict, error) {
	env := m.gather(ctx, r)
	if err := env.journalErr(); err != nil {
		return Verdict{}, err
	}
	guards := m.guards
	if r.Action.Mode == Observe && m.exec[r.Action.Kind] == nil {
		guards = slices.DeleteFunc(slices.Clone(guards), func(g Guard) bool { return g.Name() == "kind" || g.Name() == "self" })
	}
	v := checkAll(guards, r.Action, env)
	if e, ok := m.exec[r.Action.Kind].(Refuser); ok && v.Decision != Refuse {
		if err := e.Refusal(r.Action); err != nil { // nobody is asked to approve what cannot be done
			v = refuse(strings.TrimSuffix(clip(err.Error(), maxReason), ": "+ErrRefused.Error()), nextByHand)
			v.Guard = targetGuard{}.Name()
		}
	}
	return v, nil
}

func (m *Machine) describe(a Action) (s string) {
	e := m.exec[a.Kind]
	if e == nil {
		s = a.Kind + " " + a.Target.AccessKeyID
		if who := a.Target.UserName + a.Target.RoleName; who != "" {
			s += " of " + who
		}
		for _, p := range slices.Sorted(maps.Keys(a.Target.Params)) {
			s += " " + p + "=" + clip(a.Target.Params[p], 200)
		}
		return clip(strings.Join(strings.Fields(s), " "), maxReason) + " in " + a.Target.AccountID
	}
	defer func() {
		if r := recover(); r != nil {
			s = a.Kind
		}
	}()
	return clip(e.Describe(a), maxReason)
}

// Sweep does everything that is due now, one action after another, and returns
// the number of actions looked at. Dispatcher.Run does this by itself; Sweep is
// for who wants to decide when.
func (m *Machine) Sweep(ctx context.Context) (int, error) {
	var errs []error
	n := 0
	for {
		id := m.take()
		if id == "" {
			return n, errors.Join(errs...)
		}
		n++
		if err := m.work(ctx, id); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			return n, errors.Join(append(errs, ctx.Err())...)
		}
	}
}

// claimSoon is claim for a person's request, which may meet the last moments
// of a step: the outcome is recorded a little before the step ends.
func (m *Machine) claimSoon(ctx context.Context, id string) bool {
	for range 200 {
		if m.claim(id) {
			return true
		}
		if pause.For(ctx, 25*time.Millisecond) != nil {
			return false
		}
	}
	return false
}

// take claims the action that has been due the longest, "" when none is.
func (m *Machine) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	best := ""
	var at time.Time
	for id, s := range m.index {
		if s.due.IsZero() || s.due.After(now) || m.busy[id] {
			continue
		}
		if best == "" || s.due.Before(at) || s.due.Equal(at) && id < best {
			best, at = id, s.due
		}
	}
	if best != "" {
		m.busy[best] = true
		m.index[best].poked = false
	}
	return best
}

// work steps a claimed action and says when it is due again.
func (m *Machine) work(ctx context.Context, id string) error {
	defer func() {
		m.mu.Lock()
		delete(m.busy, id)
		m.mu.Unlock()
		m.kick()
	}()
	due, err := m.step(ctx, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.index[id]
	if s == nil {
		return err
	}
	if err != nil {
		s.errs++
		due = m.now().Add(backoff(id, s.errs, time.Second, 30*time.Second))
		m.log.Error("action: step failed and is tried again", "action_id", id, "err", err, "again_at", due)
	} else {
		s.errs = 0
	}
	if s.poked {
		due = m.now()
	}
	s.due = due
	return err
}

// loop carries actions on until ctx ends; it returns when every call that it
// made has ended.
func (m *Machine) loop(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, m.opts.Workers)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		id := m.take()
		if id != "" {
			wg.Go(func() {
				defer func() { <-slots }()
				_ = m.work(ctx, id) // logged and rescheduled there
			})
			continue
		}
		<-slots
		rest(ctx, m.wake, m.now(), m.nextDue())
		if ctx.Err() != nil {
			return nil
		}
	}
}

// rest waits until woken, due or the end of ctx. What has no due time is not
// due by itself.
func rest(ctx context.Context, wake <-chan struct{}, now, due time.Time) {
	var tick <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(due.Sub(now))
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-tick:
	}
}

// nextDue is when the next action is due that nobody is at; zero for none.
func (m *Machine) nextDue() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first time.Time
	for id, s := range m.index {
		if !s.due.IsZero() && !m.busy[id] && (first.IsZero() || s.due.Before(first)) {
			first = s.due
		}
	}
	return first
}

// step carries one action as far as it goes now. The caller holds it busy.
func (m *Machine) step(ctx context.Context, id string) (due time.Time, err error) {
	for range 32 { // each turn appends a record or returns; the bound is against a bug
		r, seq, err := m.load(ctx, id)
		if err != nil || seq == 0 {
			return time.Time{}, err
		}
		m.note(r, seq, m.now())
		again := false
		switch r.State {
		case Observed:
			again, due, err = m.stepObserved(ctx, r, seq)
		case Proposed:
			again, due, err = m.stepProposed(ctx, r, seq)
		case Approved:
			again, due, err = m.stepApproved(ctx, r, seq)
		case Executing:
			again, due, err = m.stepExecuting(ctx, r, seq)
		case InDoubt:
			again, due, err = m.stepInDoubt(ctx, r, seq)
		case Undoing:
			again, due, err = m.stepUndoing(ctx, r, seq)
		case Done, Undone:
			due, err = m.stepSeen(ctx, r, seq)
		default:
			return time.Time{}, nil
		}
		if errors.Is(err, ErrConflict) {
			continue // another process moved it: read what it is now
		}
		if err != nil || !again {
			return due, err
		}
	}
	return m.now().Add(time.Second), nil
}

func (m *Machine) stepObserved(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	if !m.wantsCheck(r) {
		return false, time.Time{}, nil
	}
	prior, err := m.read(ctx, r)
	to, reason, next := Observed, "dry-run: nothing was changed", ""
	switch {
	case err == nil:
	case errors.Is(err, ErrSettled):
		reason = "dry-run: nothing would be changed: " + err.Error()
	case errors.Is(err, ErrRefused):
		to, reason, next = Refused, err.Error(), nextByHand
	case ctx.Err() != nil:
		return false, m.now(), nil
	default:
		reason = "dry-run: nothing was changed, and the present state could not be read: " + err.Error()
	}
	_, err = m.put(ctx, r, seq, to, machineName, func(n *record) {
		n.Checked, n.Prior, n.Reason, n.Next = true, prior, reason, next
	})
	return false, time.Time{}, err
}

func (m *Machine) stepProposed(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	now := m.now()
	byItself := r.Action.Mode.bounded(m.opts.MaxMode) == Auto && !r.Escalated
	if !now.Before(r.ExpiresAt) {
		if byItself { // nobody was asked, so that it is no silence of people
			return false, time.Time{}, m.fail(ctx, r, seq, fmt.Sprintf("it could not be done within %s", r.Expires)+why(r.Reason))
		}
		_, err := m.put(ctx, r, seq, Expired, machineName, func(n *record) {
			n.Reason, n.Next = fmt.Sprintf("nobody answered within %s, so nothing was done", r.Expires), nextByHand
		})
		return false, time.Time{}, err
	}
	if !byItself {
		return false, earliest(r.ExpiresAt, now.Add(pollEvery)), nil
	}
	v, err := m.allowed(ctx, r)
	if err != nil {
		return false, time.Time{}, err
	}
	switch v.Decision {
	case Pass:
		_, err := m.put(ctx, r, seq, Approved, requesterPlaybook, func(n *record) {
			n.ApprovedBy, n.ApprovedAt = requesterPlaybook, now
		})
		return true, now, err
	case Wait:
		return m.waits(ctx, r, seq, v)
	case Ask:
		_, err := m.put(ctx, r, seq, Proposed, machineName, escalate(v, now))
		return true, now, err
	}
	v.Reason += why(r.Reason) // what it waited for until then
	_, err = m.put(ctx, r, seq, Refused, machineName, refusal(v))
	return false, time.Time{}, err
}

// waits comes back to an action that a guard holds back, and says so in its record
// when that takes long: who looks at it has to know what it waits for.
func (m *Machine) waits(ctx context.Context, r *record, seq uint64, v Verdict) (bool, time.Time, error) {
	now, reason := m.now(), clip(v.Guard+": "+v.Reason, maxReason)
	due := now.Add(conflictPause)
	if now.Sub(r.At) < tellWait || r.Reason == reason { // once a minute, also where two guards take turns
		return false, due, nil
	}
	_, err := m.put(ctx, r, seq, r.State, machineName, func(n *record) { n.Reason, n.Next = reason, v.Next })
	return false, due, err
}

// escalate hands an action that a guard holds back to people.
func escalate(v Verdict, now time.Time) func(*record) {
	return func(n *record) {
		n.Escalated, n.Approvals, n.ApprovedBy, n.ApprovedAt = true, nil, "", time.Time{}
		n.ExpiresAt = now.Add(n.Expires.Std())
		n.Reason, n.Next = v.Guard+": not by itself: "+v.Reason, v.Next
		if v.Guard == (twoPersonGuard{}).Name() {
			n.Need = max(n.Need, 2)
		}
	}
}

func refusal(v Verdict) func(*record) {
	return func(n *record) { n.Reason, n.Next = v.Guard+": "+v.Reason, v.Next }
}

// stricter says whether the configuration, which may have changed since an action was
// approved, still lets it be done.
func (m *Machine) stricter(r *record) Verdict {
	switch r.Action.Mode.bounded(m.opts.MaxMode) {
	case Observe:
		return Verdict{Guard: "mode", Decision: Refuse, Reason: "respond.mode is observe now, so nothing is done", Next: nextByHand}
	case Approve:
		if !r.approvedByPerson() {
			return Verdict{Guard: "mode", Decision: Ask, Reason: "respond.mode is approve now"}
		}
	}
	if why := m.withdrawn(r); why != "" {
		return Verdict{Guard: "mode", Decision: Ask, Reason: why, Next: "approve or deny it"}
	}
	if r.approvedByPerson() && m.exec[r.Action.Kind] != nil && m.describe(r.Action) != r.Describe {
		return Verdict{Guard: "mode", Decision: Ask, Reason: "by the configuration of today it would do something else than what was approved", Next: "approve or deny it anew"}
	}
	if why := m.lapsed(r); why != "" {
		return Verdict{Guard: "approvers", Decision: Ask, Reason: why, Next: "approve or deny it anew"}
	}
	return Verdict{}
}

// allowed asks the configuration of today, and then the guards.
func (m *Machine) allowed(ctx context.Context, r *record) (Verdict, error) {
	if v := m.stricter(r); v.Decision != Pass {
		return v, nil
	}
	return m.consider(ctx, r)
}

// withdrawn says why a playbook may not do by itself what it asked for, "" when it may.
func (m *Machine) withdrawn(r *record) string {
	if m.opts.Playbooks == nil || r.Action.Requester != requesterPlaybook || r.approvedByPerson() {
		return ""
	}
	i := slices.IndexFunc(m.opts.Playbooks, func(p Playbook) bool { return p.Name == r.Action.Playbook })
	switch {
	case i < 0:
		return fmt.Sprintf("there is no playbook %s any more", r.Action.Playbook)
	case m.opts.Playbooks[i].Mode != Auto:
		return fmt.Sprintf("the playbook %s is not in mode auto any more", r.Action.Playbook)
	}
	return ""
}

func (m *Machine) stepApproved(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	now := m.now()
	if now.Before(r.RetryAt) {
		return false, r.RetryAt, nil
	}
	if now.Sub(r.ApprovedAt) > m.opts.ActWithin {
		return false, time.Time{}, m.fail(ctx, r, seq, fmt.Sprintf("it could not be done within %s of its approval", m.opts.ActWithin)+why(r.Reason))
	}
	v, err := m.allowed(ctx, r)
	if err != nil {
		return false, time.Time{}, err
	}
	switch v.Decision {
	case Refuse:
		_, err := m.put(ctx, r, seq, Refused, machineName, refusal(v))
		return false, time.Time{}, err
	case Ask:
		r.Describe = m.describe(r.Action) // what is asked for now
		_, err := m.put(ctx, r, seq, Proposed, machineName, escalate(v, now))
		return true, now, err
	case Wait:
		return m.waits(ctx, r, seq, v)
	}
	prior, err := m.read(ctx, r)
	switch {
	case err == nil:
	case errors.Is(err, ErrSettled):
		_, err := m.put(ctx, r, seq, Done, machineName, func(n *record) {
			n.Result, n.DoneAt = &Result{Note: err.Error()}, m.now()
			n.Reason = err.Error()
		})
		if err == nil {
			err = m.undoneMeanwhile(ctx, r, seq)
		}
		return false, time.Time{}, err
	case errors.Is(err, ErrRefused):
		_, err := m.put(ctx, r, seq, Refused, machineName, func(n *record) { n.Reason, n.Next = err.Error(), nextPage })
		return false, time.Time{}, err
	case ctx.Err() != nil:
		return false, now, nil // we are stopping; nothing was done
	case errors.Is(err, ErrRetry), errors.Is(err, ErrInDoubt), errors.Is(err, context.DeadlineExceeded):
		return m.retry(ctx, r, seq, err) // reading changes nothing, so it can always be repeated
	default:
		return false, time.Time{}, m.fail(ctx, r, seq, "the present state could not be read, and nothing is done without: "+err.Error())
	}
	return m.execute(ctx, r, seq, prior)
}

// execute takes the slot, records the intent and makes the call.
func (m *Machine) execute(ctx context.Context, r *record, seq uint64, prior json.RawMessage) (bool, time.Time, error) {
	v, err := m.reserve(ctx, r)
	if err != nil {
		return false, time.Time{}, err
	}
	if v.Decision != Pass {
		switch {
		case v.Decision == Wait:
			return false, m.now().Add(conflictPause), nil
		case r.State == InDoubt:
			return false, time.Time{}, m.fail(ctx, r, seq, "it was not in force, and it is not tried again: "+v.Reason)
		case v.Decision == Ask:
			_, err := m.put(ctx, r, seq, Proposed, machineName, escalate(v, m.now()))
			return true, m.now(), err
		}
		_, err := m.put(ctx, r, seq, Refused, machineName, refusal(v))
		return false, time.Time{}, err
	}
	failpoint.Hit(failpoint.ActionReserved)
	now, from := m.now(), r.State
	deadline := now.Add(m.opts.CallTimeout)
	seq, err = m.put(ctx, r, seq, Executing, machineName, func(n *record) {
		n.Attempt++
		n.Owner, n.Deadline, n.Prior = m.opts.Owner, deadline, prior
		if n.BegunAt.IsZero() {
			n.BegunAt = now
		}
	})
	if err != nil {
		return false, time.Time{}, err
	}
	// From here on the intent is durable. Whatever happens to this process,
	// the next look at the record starts by reading the cloud.
	failpoint.Hit(failpoint.ActionExecuting)
	// Who threw the kill switch after the last look and before the intent was told
	// that nothing is begun any more; whoever throws it later sees it under way.
	if frozen, err := m.Frozen(ctx); err != nil || frozen.Frozen {
		return m.notBegun(ctx, r, seq, from, err)
	}
	var res Result
	_, span := m.span(ctx, r, "execute action")
	err = m.call(ctx, deadline, func(ctx context.Context, e Executor) (err error) {
		res, err = e.Execute(ctx, r.Action, prior)
		return err
	}, r.Action.Kind)
	span.End(err)
	failpoint.Hit(failpoint.ActionCalled)

	// The outcome is recorded even when we are asked to stop.
	octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	switch {
	case err == nil:
		if res.Prior != nil {
			prior = res.Prior
		}
		_, err := m.put(octx, r, seq, Done, machineName, func(n *record) {
			n.Result, n.Prior, n.DoneAt, n.Reason = &res, prior, m.now(), res.Note
		})
		return false, time.Time{}, err
	case errors.Is(err, ErrSettled):
		_, perr := m.put(octx, r, seq, Done, machineName, func(n *record) {
			n.Result, n.DoneAt, n.Reason = &Result{Note: err.Error()}, m.now(), err.Error()
		})
		return false, time.Time{}, perr
	case inDoubt(err):
		_, perr := m.put(octx, r, seq, InDoubt, machineName, func(n *record) {
			n.Doubts++
			n.RetryAt = m.now().Add(verifyDelay)
			n.Reason, n.Next = "the answer was lost: "+err.Error(), "the present state is read before anything else"
		})
		return true, time.Time{}, perr
	case errors.Is(err, ErrRetry):
		return m.retry(octx, r, seq, err)
	case errors.Is(err, ErrRefused):
		_, perr := m.put(octx, r, seq, Refused, machineName, func(n *record) { n.Reason, n.Next = err.Error(), nextPage })
		return false, time.Time{}, perr
	}
	return false, time.Time{}, m.fail(octx, r, seq, err.Error())
}

// notBegun takes an intent back before its call: the kill switch was thrown, or could
// not be read. From approved, the next look asks a person; a second try is given up.
func (m *Machine) notBegun(ctx context.Context, r *record, seq uint64, from State, unread error) (bool, time.Time, error) {
	reason := "the kill switch was thrown right before the call"
	if unread != nil {
		reason = "the kill switch could not be read"
	}
	if from == InDoubt {
		return false, time.Time{}, m.fail(ctx, r, seq, "it was not in force, and it is not tried again: "+reason)
	}
	_, err := m.put(ctx, r, seq, Approved, machineName, func(n *record) {
		if n.Attempt--; n.Attempt == 0 {
			n.BegunAt = time.Time{}
		}
		n.RetryAt, n.Reason = m.now().Add(conflictPause), reason
	})
	return true, m.now(), err
}

// span tells the trace of the alert of a call to the cloud.
func (m *Machine) span(ctx context.Context, r *record, name string) (context.Context, trace.Span) {
	return m.opts.Tracer.Resume(ctx, r.Trace, name, trace.Str("trailwarden.action", r.Action.ID), trace.Str("trailwarden.kind", r.Action.Kind),
		trace.Str("trailwarden.alert", r.Action.AlertID), trace.Str("trailwarden.mode", string(r.Action.Mode)), trace.Int("trailwarden.attempt", r.Attempt))
}

// inDoubt says that a call may have taken effect. A call that was cut short
// by time or by our own end belongs here whatever the executor called it,
// unless it says that certainly nothing happened.
func inDoubt(err error) bool {
	if errors.Is(err, ErrInDoubt) {
		return true
	}
	if errors.Is(err, ErrRetry) || errors.Is(err, ErrRefused) {
		return false
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// retry goes back to approved for another try later, within bounds.
func (m *Machine) retry(ctx context.Context, r *record, seq uint64, cause error) (bool, time.Time, error) {
	n := r.Retries + 1
	pause := backoff(r.Action.ID, n, 500*time.Millisecond, time.Minute)
	var ra *RetryAfterError
	if errors.As(cause, &ra) && ra.After > pause {
		pause = ra.After
	}
	at := m.now().Add(pause)
	if n > maxRetries || at.Sub(r.ApprovedAt) > m.opts.ActWithin {
		return false, time.Time{}, m.fail(ctx, r, seq, fmt.Sprintf("given up after %d tries: %v", n, cause))
	}
	_, err := m.put(ctx, r, seq, Approved, machineName, func(x *record) {
		x.Retries, x.RetryAt, x.Reason = n, at, "tried again later: "+cause.Error()
	})
	return false, at, err
}

func (m *Machine) fail(ctx context.Context, r *record, seq uint64, reason string) error {
	_, err := m.put(ctx, r, seq, Failed, machineName, func(n *record) {
		n.Reason, n.Next = reason, nextPage+": it is not contained; do it by hand: "+r.Describe
	})
	return err
}

func why(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// stepExecuting meets a record whose author is not at work on it in this
// process: dead, or alive elsewhere until its deadline.
func (m *Machine) stepExecuting(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	if until := r.Deadline.Add(takeOverAfter); r.Owner != m.opts.Owner && m.now().Before(until) {
		return false, until, nil
	}
	_, err := m.put(ctx, r, seq, InDoubt, machineName, func(n *record) {
		n.Deaths++ // says nothing about the cloud, unlike an answer that was lost
		n.Reason, n.Next = "the process ended in the middle of the call", "the present state is read before anything else"
	})
	return true, time.Time{}, err
}

func (m *Machine) stepInDoubt(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	now := m.now()
	if now.Before(r.RetryAt) {
		return false, r.RetryAt, nil
	}
	inForce, after, err := m.verify(ctx, r)
	if ctx.Err() != nil && err != nil {
		return false, now, nil
	}
	age := now.Sub(r.BegunAt)
	if err != nil {
		if age > doubtEnd {
			return false, time.Time{}, m.fail(ctx, r, seq, "its outcome never became known: "+err.Error())
		}
		n := r.Retries + 1
		at := now.Add(backoff(r.Action.ID, n, time.Second, time.Minute))
		page := r.Paged || age > m.opts.ActWithin || errors.Is(err, ErrRefused)
		if page {
			at = now.Add(doubtPause)
		}
		_, err := m.put(ctx, r, seq, InDoubt, machineName, func(x *record) {
			x.Retries, x.RetryAt, x.Paged = n, at, page
			x.Reason, x.Next = "the outcome is not known: "+err.Error(), "it is read again"
			if page {
				x.Next = nextPage + ": look at the state by hand; it is read again every " + Duration(doubtPause).String()
			}
		})
		return false, at, err
	}
	if inForce {
		_, err := m.put(ctx, r, seq, Done, machineName, func(n *record) {
			// Prior was read as not in force right before the call, so the
			// change is ours as far as anyone can tell, and undo may restore it.
			n.Result = &Result{Changed: true, Note: "in force, found by reading after a lost answer", Prior: r.Prior, After: after}
			n.DoneAt, n.Reason = m.now(), n.Result.Note
		})
		return false, time.Time{}, err
	}
	// It never landed, or somebody undid it. Once more, if it is still young
	// and nobody's hand is in it; twice in doubt is for a person.
	switch {
	case age > m.opts.ActWithin:
		return false, time.Time{}, m.fail(ctx, r, seq, fmt.Sprintf("the answer was lost, it is not in force, and after %s it is too late to try again by itself", age.Truncate(time.Second)))
	case r.Doubts >= 2:
		return false, time.Time{}, m.fail(ctx, r, seq, "it was tried twice and is not in force")
	case r.Deaths >= maxDeaths:
		return false, time.Time{}, m.fail(ctx, r, seq, fmt.Sprintf("the process ended %d times in the middle of it, and it is not in force", r.Deaths))
	}
	var hand HandsOn
	if _, err := readLast(ctx, m.j, kindHandsOn, targetID(r.Action.Target), &hand); err != nil {
		return false, time.Time{}, err
	}
	if hand.At.After(r.BegunAt) {
		return false, time.Time{}, m.fail(ctx, r, seq, "the answer was lost, and then somebody took it back")
	}
	v, err := m.allowed(ctx, r)
	if err != nil {
		return false, time.Time{}, err
	}
	switch v.Decision {
	case Wait:
		return false, now.Add(conflictPause), nil
	case Refuse, Ask:
		return false, time.Time{}, m.fail(ctx, r, seq, "the answer was lost, it is not in force, and it is not tried again: "+v.Reason)
	}
	prior, err := m.read(ctx, r)
	switch {
	case err == nil:
		return m.execute(ctx, r, seq, prior)
	case errors.Is(err, ErrSettled):
		return false, now.Add(verifyDelay), nil // it took effect just now: the next look says so
	case errors.Is(err, ErrRefused):
		return false, time.Time{}, m.fail(ctx, r, seq, err.Error())
	}
	return false, now.Add(verifyDelay), nil
}

func (m *Machine) stepUndoing(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	now := m.now()
	if now.Before(r.RetryAt) {
		return false, r.RetryAt, nil
	}
	if until := r.Deadline.Add(takeOverAfter); r.Owner != m.opts.Owner && now.Before(until) {
		return false, until, nil
	}
	inForce, after, err := m.verify(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return false, now, nil
		}
		if n := r.Retries + 1; n <= maxRetries && !errors.Is(err, ErrRefused) {
			at := now.Add(backoff(r.Action.ID, n, time.Second, time.Minute))
			_, perr := m.put(ctx, r, seq, Undoing, machineName, func(x *record) {
				x.Retries, x.RetryAt, x.Owner = n, at, m.opts.Owner
				x.Reason = "the outcome of the undo is not known: " + err.Error()
			})
			return false, at, perr
		}
		_, perr := m.put(ctx, r, seq, Done, machineName, func(n *record) {
			n.Reason, n.Next = "the outcome of the undo could not be found out: "+err.Error(), "look at the state by hand, then undo again"
		})
		return false, time.Time{}, perr
	}
	if !inForce {
		left := r.Reason // why there was no answer; it may tell of what is left over
		_, err := m.put(ctx, r, seq, Undone, machineName, func(n *record) {
			n.Undo = &Result{Changed: true, Note: "no longer in force, found by reading after a lost answer", After: after}
			n.Undo.Note += why(left)
			n.Reason = n.Undo.Note
		})
		m.handsOff(ctx, r)
		return false, time.Time{}, err
	}
	reason := ""
	if no := m.mayNotUndo(r.UndoBy, r); no != "" {
		reason = fmt.Sprintf("the undo is not in force, and it is not tried again in the name of %s: %s", r.UndoBy, no)
	} else if r.UndoDoubts >= maxUndoDoubts {
		reason = fmt.Sprintf("the undo was tried %d times and is not in force", r.UndoDoubts)
	}
	if reason != "" {
		_, err := m.put(ctx, r, seq, Done, machineName, func(n *record) { n.Reason, n.Next = reason, "undo again, or by hand" })
		return false, time.Time{}, err
	}
	return m.undo(ctx, r, seq)
}

// handsOff notes that a person wanted the target as it was, so that the next
// alert about it asks instead of acting. Best effort: the cloud's own record
// of the change says the same a little later.
func (m *Machine) handsOff(ctx context.Context, r *record) {
	if err := m.noteHands(ctx, HandsOn{At: m.now(), By: r.UndoBy, Target: r.Action.Target}); err != nil {
		m.log.Warn("an undo could not be noted for later actions", "action_id", r.Action.ID, "err", err)
	}
	m.tellThoseWhoRely(ctx, r)
}

// undo records the intent and makes the call. r is done or undoing.
func (m *Machine) undo(ctx context.Context, r *record, seq uint64) (bool, time.Time, error) {
	deadline := m.now().Add(m.opts.CallTimeout)
	by := r.UndoBy
	seq, err := m.put(ctx, r, seq, Undoing, by, func(n *record) {
		n.Owner, n.Deadline, n.RetryAt = m.opts.Owner, deadline, time.Time{}
		n.UndoDoubts++
	})
	if err != nil {
		return false, time.Time{}, err
	}
	var res Result
	_, span := m.span(ctx, r, "undo action")
	err = m.call(ctx, deadline, func(ctx context.Context, e Executor) (err error) {
		res, err = e.Undo(ctx, r.Action, r.Prior)
		return err
	}, r.Action.Kind)
	span.End(err)
	octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	back := func(reason, next string) (bool, time.Time, error) {
		_, err := m.put(octx, r, seq, Done, machineName, func(n *record) { n.Reason, n.Next = reason, next })
		return false, time.Time{}, err
	}
	switch {
	case err == nil, errors.Is(err, ErrSettled):
		if err != nil {
			res.Note = err.Error()
		}
		_, err := m.put(octx, r, seq, Undone, by, func(n *record) { n.Undo, n.Reason = &res, res.Note })
		m.handsOff(octx, r)
		return false, time.Time{}, err
	case errors.Is(err, ErrDrift):
		return back("not undone: "+err.Error(), "somebody changed it since: look at what is there now, and change it by hand")
	case inDoubt(err), errors.Is(err, ErrRetry):
		at := m.now().Add(backoff(r.Action.ID, r.UndoDoubts, verifyDelay, 30*time.Second))
		var ra *RetryAfterError
		if errors.As(err, &ra) {
			at = m.now().Add(max(ra.After, verifyDelay))
		}
		_, perr := m.put(octx, r, seq, Undoing, machineName, func(n *record) {
			n.RetryAt, n.Reason = at, "the undo has no answer yet: "+err.Error()
		})
		return false, at, perr
	}
	return back("not undone: "+err.Error(), "undo again, or by hand")
}

// call runs one method of an executor, bounded in time and safe from panics:
// a panic may have come after the request went out, so it leaves doubt.
func (m *Machine) call(ctx context.Context, deadline time.Time, fn func(context.Context, Executor) error, kind string) (err error) {
	e := m.exec[kind]
	if e == nil {
		return fmt.Errorf("nothing here can do %q: %w", kind, ErrRefused)
	}
	left := deadline.Sub(m.now())
	if left <= 0 {
		return fmt.Errorf("its time had passed before the call: %w", ErrInDoubt)
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the executor of %s panicked: %v: %w", kind, p, ErrInDoubt)
		}
	}()
	return fn(ctx, e)
}

func (m *Machine) read(ctx context.Context, r *record) (prior json.RawMessage, err error) {
	err = m.call(ctx, m.now().Add(m.opts.CallTimeout), func(ctx context.Context, e Executor) (err error) {
		prior, err = e.Read(ctx, r.Action)
		return err
	}, r.Action.Kind)
	return prior, err
}

func (m *Machine) verify(ctx context.Context, r *record) (inForce bool, after json.RawMessage, err error) {
	err = m.call(ctx, m.now().Add(m.opts.CallTimeout), func(ctx context.Context, e Executor) (err error) {
		inForce, after, err = e.Verify(ctx, r.Action)
		return err
	}, r.Action.Kind)
	return inForce, after, err
}

// backoff doubles from base to limit, spread by ±20 % so that many actions
// that failed together do not come back together. The spread is a function of
// id and n, to keep tests exact.
func backoff(id string, n int, base, limit time.Duration) time.Duration {
	d := limit
	if n < 20 && base<<(max(n, 1)-1) < limit {
		d = base << (max(n, 1) - 1)
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", id, n)
	return d + time.Duration(int64(d)*(int64(h.Sum32()%401)-200)/1000)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
