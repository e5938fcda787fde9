package responders

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// outlet is one destination at work: a queue in memory over notices in the
// journal, and one goroutine that empties it.
type outlet struct {
	d      *Dispatcher
	dst    Destination
	name   string
	static bool // messages cannot be edited
	asks   bool // its messages are questions to single people

	mu         sync.Mutex
	items      map[string]*item // by alert id
	order      uint64
	overflow   bool // notices wait in the journal that memory has no room for
	paused     time.Time
	fails      int
	complained time.Time
	waits      time.Time // since when it has only asked to wait
	told       time.Time // the FailingSince that the others were told of
	nextCall   time.Time
	lastDigest time.Time
	firsts     map[string]time.Time // by rule: when one was last posted by itself
	stats      DestinationStats
	wake       chan struct{}
}

type item struct {
	alert    string
	rule     string
	severity alert.Severity
	nudge    bool // says only that something changed; what the notice is, its record says
	fresh    bool // never sent
	tried    bool // perhaps sent: before others are tried, and in no digest
	old      bool // too old to go by itself
	urgent   bool // people wait for it: an action moved, somebody took it up
	held     bool // kept back by a silence and its like
	idle     bool // shown as it is; due is when to tell of it again
	due      time.Time
	added    time.Time
	order    uint64 // its turn among equals, kept when it has to be tried again; 0: not given yet
}

// join takes in another item of the same alert, in whichever order they came.
// One that knows its notice stays what it is: a nudge must not turn what was
// never sent into an edit.
func (it *item) join(x item) {
	order, added := it.order, it.added
	if x.order != 0 && x.order < order {
		order, added = x.order, x.added
	}
	if it.nudge && !x.nudge {
		*it, x = x, *it
	}
	it.order, it.added = order, added
	worse := x.severity > it.severity
	if worse {
		it.severity = x.severity
		it.old = it.old && it.severity < alert.High
	}
	// One more repeat does not bring forward what has its time already.
	if (worse || x.urgent || it.idle) && x.due.Before(it.due) {
		it.due, it.idle = x.due, false
	}
	it.urgent = it.urgent || x.urgent
	it.tried = it.tried || x.tried
}

// changed is what comes in when an action of an alert moved, or people did
// something with it: the messages show it soon, wherever there are any.
func changed(alertID string) item { return item{alert: alertID, nudge: true, urgent: true} }

// turn is how soon an item's turn comes.
func (it *item) turn() alert.Severity {
	if it.urgent {
		return max(it.severity, alert.High)
	}
	return it.severity
}

const (
	maxDigest     = 500              // incidents in one digest
	digestTop     = 10               // of them described
	digestGather  = 2 * time.Second  // between the first old alert and its digest
	firstsFor     = 10 * time.Minute // a rule silent for so long goes by itself again
	findDelay     = 2 * time.Second  // before looking for a message whose answer was lost
	findBefore    = time.Minute      // clocks differ
	maxNoFind     = 3                // lost answers where nothing can be looked up, of a message alone
	doubtWait     = 2 * time.Minute  // at most, before the next attempt where each may be one message more
	tellAfter     = 5 * time.Minute  // of failing, before the others are told
	maxFindErrs   = 8
	maxThread     = 60 // lines in one thread
	maxThreadEdit = 10 // lines in one edit
	maxBackoff    = 5 * time.Minute
	raceDelay     = 100 * time.Millisecond // before a notice that another process is at
	maxPause      = 10 * time.Second       // of a destination that is down: people wait for what it has to say
)

// maxItems is how many incidents wait in memory for one destination; the rest
// waits in the journal. Only tests change it.
var maxItems = 10_000

func newOutlet(d *Dispatcher, dst Destination) *outlet {
	if dst.MinSeverity == 0 {
		dst.MinSeverity = alert.Medium
	}
	if dst.StormAt == 0 {
		dst.StormAt = 10
	}
	if dst.DigestEvery <= 0 {
		dst.DigestEvery = 30 * time.Second
	}
	if dst.CatchUpAge == 0 {
		dst.CatchUpAge = time.Hour
	}
	if dst.Timeout <= 0 {
		dst.Timeout = 20 * time.Second
	}
	_, static := dst.Notifier.(Static)
	return &outlet{
		static: static, d: d, dst: dst, name: dst.Notifier.Name(), items: map[string]*item{}, firsts: map[string]time.Time{},
		wake: make(chan struct{}, 1), stats: DestinationStats{Name: dst.Notifier.Name()},
	}
}

// wants says whether an alert is shown here at all.
func (o *outlet) wants(a *alert.Alert) bool {
	if a.Severity < o.dst.MinSeverity {
		return false
	}
	// What the tool says of itself is for everybody: a filter by rule must
	// not hide that a containment failed.
	return len(o.dst.Rules) == 0 || strings.HasPrefix(a.Rule, "self.") || globAny(o.dst.Rules, a.Rule)
}

func (o *outlet) item(n notice) item {
	now := o.d.now()
	return item{
		alert: n.Alert, rule: n.Rule, severity: n.Severity, due: n.RetryAt,
		// One that was begun is finished by itself, in no digest, however old.
		fresh: n.State == noticePending,
		tried: n.State == noticeStarted || n.State == noticePending && n.Repeat,
		old:   n.State == noticePending && o.dst.CatchUpAge > 0 && n.Severity < alert.High && n.Rule != RuleDigest && now.Sub(n.EventAt) > o.dst.CatchUpAge,
	}
}

// add queues an item, or joins it with the one that is there: the latest state
// is read when its turn comes, so there is never more than one for an alert.
func (o *outlet) add(it item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if have := o.items[it.alert]; have != nil {
		have.join(it)
	} else if it.idle && len(o.items) >= maxItems/4 {
		// No room to remember a reminder: it must never keep out what is new.
	} else if len(o.items) >= maxItems {
		o.overflow = true
		o.stats.Overflow++
	} else {
		if it.order == 0 {
			o.order++
			it.order, it.added = o.order, o.d.now()
		}
		o.items[it.alert] = &it
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// pick chooses what to do next: one item, several for a digest, or nothing
// until a time (zero: until something is added). What it returns is taken out
// of the queue.
func (o *outlet) pick(now time.Time) (one *item, digest []*item, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sooner := func(t time.Time) {
		if until.IsZero() || t.Before(until) {
			until = t
		}
	}
	if hold := later(o.paused, o.nextCall); now.Before(hold) {
		return nil, nil, hold
	}
	var fresh, olds, edits []*item
	for _, it := range o.items {
		if now.Before(it.due) {
			sooner(it.due)
			continue
		}
		switch {
		case it.tried:
			if one == nil || before(it, one) {
				one = it
			}
		case it.old:
			olds = append(olds, it)
		case it.fresh:
			fresh = append(fresh, it)
		default:
			edits = append(edits, it)
		}
	}
	first := func(list []*item, ok func(*item) bool) *item {
		var best *item
		for _, it := range list {
			if ok(it) && (best == nil || before(it, best)) {
				best = it
			}
		}
		return best
	}
	whichever := func(*item) bool { return true }
	mayDigest := o.lastDigest.Add(o.dst.DigestEvery)
	if one != nil {
		// First what became of it.
	} else if o.dst.StormAt >= 0 && len(fresh) > o.dst.StormAt {
		one = first(fresh, func(it *item) bool {
			at, seen := o.firsts[it.rule]
			return it.rule == RuleDigest || !seen || now.Sub(at) > firstsFor
		})
		if one == nil && !now.Before(mayDigest) {
			digest = fresh
		}
		if one == nil && digest == nil {
			sooner(mayDigest) // hold them; edits go on
		}
	} else {
		one = first(fresh, whichever)
	}
	if one == nil && digest == nil && len(olds) > 0 {
		ready := mayDigest
		for _, it := range olds {
			ready = later(ready, it.added.Add(digestGather))
		}
		// The newest addition must not put it off for ever.
		if len(olds) >= maxDigest {
			ready = mayDigest
		}
		if !now.Before(ready) {
			digest = olds
		} else {
			sooner(ready)
		}
	}
	if one == nil && digest == nil {
		one = first(edits, whichever)
	}
	if one != nil {
		delete(o.items, one.alert)
		return one, nil, time.Time{}
	}
	if digest != nil {
		sort.Slice(digest, func(i, k int) bool { return before(digest[i], digest[k]) })
		digest = digest[:min(len(digest), maxDigest)]
		for _, it := range digest {
			delete(o.items, it.alert)
		}
		return nil, digest, time.Time{}
	}
	return nil, nil, until
}

// before orders by urgency: the more severe, then who came first.
//
//go:noinline
func before(a, b *item) bool {
	if a.turn() != b.turn() {
		return a.turn() > b.turn()
	}
	return a.order < b.order
}

//go:noinline
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (o *outlet) run(ctx context.Context) {
	for ctx.Err() == nil {
		one, digest, until := o.pick(o.d.now())
		switch {
		case one != nil:
			o.work(ctx, one)
			continue
		case digest != nil:
			if err := o.digest(ctx, digest); err != nil && ctx.Err() == nil {
				o.d.log.Error("a digest could not be made and is tried again", "destination", o.name, "err", err)
				for _, it := range digest {
					it.due = o.d.now().Add(5 * time.Second)
					o.add(*it)
				}
			}
			continue
		}
		if o.refill(ctx) {
			continue
		}
		rest(ctx, o.wake, o.d.now(), until)
	}
}

// refill looks in the journal for what memory had no room for.
func (o *outlet) refill(ctx context.Context) bool {
	o.mu.Lock()
	need := o.overflow && len(o.items) < maxItems/2
	o.overflow = o.overflow && !need
	o.mu.Unlock()
	if !need {
		return false
	}
	err := eachLast(ctx, o.d.j, kindNotice, func(_ string, e Entry) error {
		var n notice
		if err := unmarshal(e.Data, &n); err != nil || n.Dest != o.name {
			return nil
		}
		switch n.State {
		case noticePending, noticeStarted:
			o.add(o.item(n))
		default:
			var s storedAlert
			of := cmp.Or(n.Of, n.Alert)
			if _, err := readLast(ctx, o.d.j, kindAlert, journalID(of), &s); err != nil {
				return err
			}
			_, seq, err := o.d.triage(ctx, of)
			if err != nil {
				return err
			}
			_, asked, err := o.d.questions(ctx, of)
			if err != nil {
				return err
			}
			if o.moved(n, standing{s.Revision, s.severity(), seq, asked}) {
				o.add(o.item(n))
			}
		}
		return nil
	})
	if err != nil {
		o.mu.Lock()
		o.overflow = true
		o.nextCall = o.d.now().Add(5 * time.Second)
		o.mu.Unlock()
		if ctx.Err() == nil {
			o.d.log.Error("waiting notices could not be read from the journal", "destination", o.name, "err", err)
		}
	}
	return err == nil
}

// standing is how far an incident has come.
type standing struct {
	rev         int
	severity    alert.Severity
	step, asked uint64 // sequences of the last records of triage and questions
}

// moved says whether there is more to do for a notice that was finished: its
// incident has gone on, or the others were not told that it was given up.
func (o *outlet) moved(n notice, s standing) bool {
	if n.State == noticeDead {
		return n.Untold
	}
	if o.asks {
		return n.State == noticeSent && s.asked > n.Shown.Asked
	}
	switch n.State {
	case noticeSent:
		return s.rev > n.Shown.Rev || s.step > n.Shown.Triage || s.asked > n.Shown.Asked || s.severity > n.Shown.Facts.Severity || o.d.m.newerThan(n.Alert, n.Shown.Actions)
	case noticeDropped:
		return s.rev > n.Shown.Rev || s.step > n.Shown.Triage || s.severity > n.Severity
	case noticeDigested:
		return s.severity > n.Severity
	}
	return false
}

// work does what one item needs now, and queues it again when more is to come.
func (o *outlet) work(ctx context.Context, it *item) {
	again, err := o.deliver(ctx, it)
	o.overdue(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return // the journal has it
		}
		if !errors.Is(err, ErrConflict) {
			o.d.log.Error("a notice could not be carried on and is tried again", "destination", o.name, "alert", it.alert, "err", err)
			it.due = o.d.now().Add(2 * time.Second)
		} else {
			it.due = o.d.now().Add(raceDelay) // another process is at it
		}
		o.add(*it)
		return
	}
	if !again.IsZero() {
		it.due = again
		o.add(*it)
	}
}

// deliver carries one notice as far as it goes now; again is when to come back.
func (o *outlet) deliver(ctx context.Context, it *item) (again time.Time, err error) {
	d := o.d
	var n notice
	seq, err := readLast(ctx, d.j, kindNotice, noticeID(o.name, it.alert), &n)
	if err != nil || seq == 0 {
		return time.Time{}, err // 0: not shown here
	}
	if it.idle = false; it.nudge {
		known := o.item(n)
		known.order, known.added = it.order, it.added
		*it = known
	}
	now := d.now()
	if now.Before(n.RetryAt) {
		return n.RetryAt, nil
	}
	switch n.State {
	case noticePending:
		return o.post(ctx, it, n, seq)
	case noticeStarted:
		if until := n.Deadline.Add(takeOverAfter); n.Owner != d.owner && now.Before(until) {
			return until, nil
		}
		return o.find(ctx, it, n, seq)
	case noticeSent:
		return o.edit(ctx, it, n, seq)
	case noticeDigested:
		a, err := o.alert(ctx, n.Alert)
		if err != nil || a.Severity <= n.Severity {
			return time.Time{}, err
		}
		// It grew worse than what the digest said of it.
		n.State, n.At, n.Severity, n.LeftDigest, n.Digest = noticePending, now, a.Severity, n.Digest, ""
		if _, err := o.put(ctx, n, seq); err != nil {
			return time.Time{}, err
		}
		*it = o.item(n)
		return now, nil
	case noticeDropped:
		a, err := o.alert(ctx, n.Alert)
		if err != nil {
			return time.Time{}, err
		}
		ok, _, err := o.tells(ctx, a)
		if err != nil || !ok && a.Severity <= n.Severity {
			return time.Time{}, err
		}
		// It went on, was reopened, or grew worse: what was dropped was the past.
		n.State, n.At, n.Severity, n.Held = noticePending, now, a.Severity, ""
		if _, err := o.put(ctx, n, seq); err != nil {
			return time.Time{}, err
		}
		*it = o.item(n)
		return now, nil
	case noticeDead:
		if n.Untold {
			return time.Time{}, o.tellDead(ctx, n, seq)
		}
	}
	return time.Time{}, nil
}

func (o *outlet) put(ctx context.Context, n notice, seq uint64) (uint64, error) {
	n.Reason = clip(n.Reason, maxReason)
	return appendJSON(ctx, o.d.j, kindNotice, noticeID(o.name, n.Alert), n, seq)
}

func (o *outlet) alert(ctx context.Context, id string) (alert.Alert, error) {
	var s storedAlert
	seq, err := readLast(ctx, o.d.j, kindAlert, journalID(id), &s)
	if err == nil && seq == 0 {
		err = fmt.Errorf("alert %s is not in the journal", id)
	}
	return s.restore(), err
}

// compose builds what is to be shown now.
func (o *outlet) compose(ctx context.Context, n notice) (Notice, shown, error) {
	a, err := o.alert(ctx, cmp.Or(n.Of, n.Alert))
	if err != nil {
		return Notice{}, shown{}, err
	}
	actions, err := o.d.m.ForAlert(ctx, a.ID)
	if err != nil {
		return Notice{}, shown{}, err
	}
	out := Notice{Alert: a, Account: o.d.opts.Accounts[a.AccountID], Copy: 2 * n.Reminders}
	if n.Reposted {
		out.Copy++
	}
	if o.d.opts.Link != nil {
		out.Link = o.d.opts.Link(a.ID)
	}
	if o.d.opts.Raw != nil {
		out.Raw = o.d.opts.Raw(&a)
	}
	s := shown{Rev: a.Revision, Actions: map[string]uint64{}, Facts: factsOf(a)}
	for _, x := range actions {
		out.Actions = append(out.Actions, x.ActionView)
		s.Actions[x.ID] = x.Seq
	}
	if out.Triage, s.Triage, err = o.d.triage(ctx, a.ID); err != nil {
		return Notice{}, shown{}, err
	}
	s.Told = out.Triage.At
	s.Views = hashJSON(out.Actions)
	if s.Triage > 0 {
		s.Views = hashJSON([]any{out.Actions, out.Triage})
	}
	if err := o.composeAsk(ctx, n, &out, &s); err != nil {
		return Notice{}, shown{}, err
	}
	if o.d.opts.Keys != nil {
		c, ok, err := o.d.Card(ctx, a.ID)
		if err != nil {
			return Notice{}, shown{}, err
		}
		if ok {
			out.Card, s.Card = &c, true
			s.Views += "+card"
		}
	}
	return out, s, nil
}

// composeAsk adds what was asked, and may be.
func (o *outlet) composeAsk(ctx context.Context, n notice, out *Notice, s *shown) error {
	qs, seq, err := o.d.questions(ctx, out.Alert.ID)
	if err != nil {
		return err
	}
	out.Questions, s.Asked, s.Heard = qs.List, seq, len(qs.Told)
	for i := range out.Questions {
		if out.Questions[i].ID == n.Alert {
			out.Question = &out.Questions[i]
		}
	}
	if o.asks {
		// Only the question itself is shown there, and whether it still counts.
		s.Views = hashJSON([]any{out.Question, out.Triage.State})
		return nil
	}
	people := o.d.opts.Ask.PeopleFor(&out.Alert)
	out.MayAsk = len(people) > 0 && o.d.asker(people[0]) != nil && !strings.HasPrefix(out.Alert.Rule, "self.") &&
		!slices.ContainsFunc(out.Questions, func(q Question) bool { return q.Person == people[0] })
	if s.Asked > 0 {
		s.Views = hashJSON([]any{s.Views, out.Questions})
	}
	return nil
}

// span tells the trace of the alert of a call to the destination.
func (o *outlet) span(ctx context.Context, n notice, name string) (context.Context, trace.Span) {
	return o.d.opts.Tracer.Resume(ctx, n.Trace, name, trace.Str("trailwarden.destination", o.name),
		trace.Str("trailwarden.alert", n.Alert), trace.Int("trailwarden.retries", n.Retries))
}

func (o *outlet) post(ctx context.Context, it *item, n notice, seq uint64) (time.Time, error) {
	d := o.d
	msg, s, err := o.compose(ctx, n)
	if err != nil {
		return time.Time{}, err
	}
	if o.asks {
		if msg.Question == nil || !msg.Question.open() {
			// Answered otherwise, or too late, before it could be sent.
			n.State, n.At, n.Reason = noticeDropped, d.now(), "no longer asked"
			_, err := o.put(ctx, n, seq)
			return time.Time{}, err
		}
	} else if again, held, err := o.hold(ctx, it, n, seq, msg.Alert); held || err != nil {
		return again, err
	}
	if n.Reminders > 0 {
		msg.Thread = append(msg.Thread, say(SayStillOpen, n.Posted.UTC()))
	}
	if n.Repeat {
		msg.Thread = append(msg.Thread, say(SayRepeat))
	}
	if msg.Card != nil {
		msg.Thread = append(msg.Thread, msg.Card.Lines()...)
	}
	now := d.now()
	if n.Doubts > 0 && o.condition().LastOK.After(n.At) {
		n.Alone++ // others got through since its last attempt: it is not the platform
	}
	n.State, n.At, n.Owner, n.Deadline, n.RetryAt, n.Shown, n.Held = noticeStarted, now, d.owner, now.Add(o.dst.Timeout), time.Time{}, s, ""
	if seq, err = o.put(ctx, n, seq); err != nil {
		return time.Time{}, err
	}
	failpoint.Hit(failpoint.NoticeStarted)
	var ref MessageRef
	_, span := o.span(ctx, n, "post notice")
	err = o.call(ctx, func(ctx context.Context) (err error) {
		if !d.now().Before(n.Deadline) {
			// We stood still before it left, and by now another process may send it.
			return fmt.Errorf("its time had passed before the call: %w", ErrRetry)
		}
		ref, err = o.dst.Notifier.Post(ctx, msg)
		return err
	})
	span.End(err)
	failpoint.Hit(failpoint.NoticePosted)
	octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	switch {
	case err == nil:
		o.ok(func(s *DestinationStats) { s.Sent++ })
		o.mu.Lock()
		o.firsts[n.Rule] = now
		o.mu.Unlock()
		return o.sent(octx, it, n, seq, ref)
	case inDoubt(err):
		o.failed(err)
		n.At, n.Doubts, n.Reason = d.now(), n.Doubts+1, "no answer: "+err.Error()
		n.RetryAt = d.now().Add(findDelay)
		it.tried = true
		o.mu.Lock()
		o.paused = later(o.paused, n.RetryAt) // first what became of it
		o.mu.Unlock()
		it.fresh = false
		_, perr := o.put(octx, n, seq)
		return n.RetryAt, perr
	case errors.Is(err, ErrRetry):
		n.State, n.At, n.Retries, n.Reason = noticePending, d.now(), n.Retries+1, err.Error()
		n.RetryAt = o.pause(err)
		_, perr := o.put(octx, n, seq)
		return n.RetryAt, perr
	}
	return time.Time{}, o.dead(octx, n, seq, err.Error())
}

// sent records success and comes back at once when things changed meanwhile.
func (o *outlet) sent(ctx context.Context, it *item, n notice, seq uint64, ref MessageRef) (time.Time, error) {
	n.State, n.At, n.Ref, n.Reason, n.Retries, n.RetryAt = noticeSent, o.d.now(), ref, "", 0, time.Time{}
	n.Posted = n.At
	it.fresh, it.old, it.urgent, it.tried, it.order = false, false, false, false, 0
	if _, err := o.put(ctx, n, seq); err != nil {
		return time.Time{}, err
	}
	return o.d.now(), nil // one more look costs a read, and misses nothing
}

// lookup reads the platform.
func (o *outlet) lookup(ctx context.Context, n notice, since time.Time) (MessageRef, bool, error) {
	finder, byNotice := o.dst.Notifier.(Finder)
	if !o.asks && !byNotice {
		return o.dst.Notifier.Find(ctx, n.Alert, since)
	}
	msg, _, err := o.compose(ctx, n)
	if err != nil {
		return MessageRef{}, false, err
	}
	if !o.asks {
		return finder.FindNotice(ctx, msg, since)
	}
	if msg.Question == nil {
		return MessageRef{}, false, errors.ErrUnsupported
	}
	return o.dst.Notifier.(asking).FindQuestion(ctx, msg, since)
}

// find reconciles a post whose answer was lost by reading the platform.
func (o *outlet) find(ctx context.Context, it *item, n notice, seq uint64) (time.Time, error) {
	d := o.d
	var ref MessageRef
	var found bool
	err := o.call(ctx, func(ctx context.Context) (err error) {
		ref, found, err = o.lookup(ctx, n, n.Deadline.Add(-o.dst.Timeout-findBefore))
		return err
	})
	if err != nil && ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	now := d.now()
	switch {
	case err == nil && found:
		o.ok(func(s *DestinationStats) { s.Found++ })
		return o.sent(ctx, it, n, seq, ref)
	case err == nil:
		it.fresh, it.tried = true, false
		n.State, n.At, n.RetryAt, n.Reason = noticePending, now, time.Time{}, "the platform does not have it"
		_, err := o.put(ctx, n, seq)
		return now, err
	case errors.Is(err, errors.ErrUnsupported):
		if n.Alone >= maxNoFind-1 {
			return time.Time{}, o.dead(ctx, n, seq, fmt.Sprintf("%d attempts had no answer, and the platform cannot be read back", n.Doubts))
		}
		n.State, n.At, n.Repeat, n.Reason = noticePending, now, true, "no answer, and the platform cannot be read back"
		// The platform may be down, or take messages and not say so: one attempt at a
		// time. Whoever else waits has the next turn, and shows which it is.
		o.mu.Lock()
		o.fails++
		o.paused = later(o.paused, now.Add(backoff(o.name, o.fails, time.Second, doubtWait)))
		n.RetryAt = o.paused.Add(time.Second)
		o.mu.Unlock()
		_, err := o.put(ctx, n, seq)
		return n.RetryAt, err
	}
	o.failed(err)
	if n.Retries++; n.Retries > maxFindErrs && !errors.Is(err, ErrRetry) && !inDoubt(err) {
		return time.Time{}, o.dead(ctx, n, seq, "no answer, and looking for the message failed: "+err.Error())
	}
	n.At, n.Reason = now, "looking for the message failed: "+err.Error()
	n.RetryAt = o.pause(err)
	_, perr := o.put(ctx, n, seq)
	return n.RetryAt, perr
}

// editGap spaces edits of one message: the first follow at once, a message
// that never rests is edited ever less often.
func editGap(edits int) time.Duration {
	switch {
	case edits < 10:
		return 3 * time.Second
	case edits < 50:
		return 30 * time.Second
	}
	return 5 * time.Minute
}

// worthTelling says whether a change deserves one more message where none can
// be edited: an action moved, the severity rose, the count grew tenfold, or a
// group has got another incident, which nothing else tells of.
func worthTelling(n notice, now shown) bool {
	was := n.Shown
	return was.Views != now.Views || now.Facts.Severity > was.Facts.Severity || now.Facts.Count >= 10*max(was.Facts.Count, 1) ||
		n.Rule == RuleGroup && now.Facts.Count > was.Facts.Count
}

func (o *outlet) edit(ctx context.Context, it *item, n notice, seq uint64) (time.Time, error) {
	d := o.d
	msg, s, err := o.compose(ctx, n)
	if err != nil {
		return time.Time{}, err
	}
	var due bool
	var next time.Time
	if !o.asks {
		if due, next, err = o.reminder(ctx, n, msg.Alert); err != nil {
			return time.Time{}, err
		}
	}
	if due {
		n.State, n.At, n.Ref, n.Reminders = noticePending, d.now(), MessageRef{}, n.Reminders+1
		if _, err := o.put(ctx, n, seq); err != nil {
			return time.Time{}, err
		}
		*it = o.item(n)
		it.fresh, it.old = false, false // neither the first of a storm nor in a digest
		o.count(func(s *DestinationStats) { s.Reminded++ })
		return d.now(), nil
	}
	if s.same(n.Shown) || o.static && !worthTelling(n, s) {
		it.idle, it.urgent = true, false
		return next, nil
	}
	if free := n.At.Add(n.Interval); n.Interval > 0 && s.Views == n.Shown.Views && d.now().Before(free) {
		return free, nil // a group grows at its own pace; what people do with it is shown at once
	}
	if free := n.At.Add(editGap(n.Edits)); s.Views == n.Shown.Views && s.Facts.Severity == n.Shown.Facts.Severity && d.now().Before(free) {
		return free, nil // actions and severity go at once, repeats in their time
	}
	if msg.Thread, err = o.thread(ctx, n, msg, s); err != nil {
		return time.Time{}, err
	}
	_, span := o.span(ctx, n, "edit notice")
	err = o.call(ctx, func(ctx context.Context) error { return o.dst.Notifier.Update(ctx, n.Ref, msg) })
	span.End(err)
	octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	switch {
	case err == nil:
		o.ok(func(s *DestinationStats) { s.Edited++ })
		n.At, n.Shown, n.Edits, n.Threads, n.Retries, n.RetryAt, n.Reason = d.now(), s, n.Edits+1, n.Threads+len(msg.Thread), 0, time.Time{}, ""
		it.idle, it.urgent = true, false
		_, perr := o.put(octx, n, seq)
		return next, perr
	case inDoubt(err), errors.Is(err, ErrRetry):
		// An edit says what is true now, so it can be made again.
		if ctx.Err() != nil {
			return time.Time{}, ctx.Err()
		}
		return o.pause(err), nil
	}
	o.failed(err)
	if n.Reposted {
		return time.Time{}, o.dead(octx, n, seq, "the message cannot be edited: "+err.Error())
	}
	// The message is gone. People must still hear what changed: once, as a
	// new message.
	n.State, n.At, n.Reposted, n.Ref, n.Reason = noticePending, d.now(), true, MessageRef{}, "the message cannot be edited: "+err.Error()
	if _, err := o.put(octx, n, seq); err != nil {
		return time.Time{}, err
	}
	*it = o.item(n)
	it.old = false
	return d.now(), nil
}

// thread lists what has grown since the message was last made, up to what it
// shows now: what comes between is told with the next edit, and not twice.
func (o *outlet) thread(ctx context.Context, n notice, msg Notice, now shown) ([]Line, error) {
	room := min(maxThread-n.Threads, maxThreadEdit)
	if room <= 0 || o.asks {
		return nil, nil
	}
	var out []Line
	if n.Shown.Rev > 0 && (msg.Alert.Revision > n.Shown.Rev || msg.Alert.Severity != n.Shown.Facts.Severity) {
		out = append(out, grown(n.Shown.Facts, msg.Alert)...)
	}
	if msg.Card != nil && !n.Shown.Card {
		out = append(out, msg.Card.Lines()...)
	}
	out = append(out, msg.Triage.told(n.Shown.Told)...)
	qs, _, err := o.d.questions(ctx, msg.Alert.ID)
	if err != nil {
		return nil, err
	}
	out = append(out, qs.asked(n.Shown.Heard, now.Heard)...)
	for _, v := range msg.Actions {
		h, err := o.d.j.History(ctx, kindAction, v.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, steps(h, n.Shown.Actions[v.ID], now.Actions[v.ID], v)...)
	}
	if len(out) > room {
		out = out[len(out)-room:] // the newest say where things stand
	}
	return out, nil
}

// steps tells what became of an action after the record that was shown last, up
// to the one that is shown now.
// States that only led to the next one are left out, unless a person made
// them: people want to know who said yes.
func steps(history []Entry, shown, upto uint64, v ActionView) []Line {
	var rs []record
	before := State("")
	for _, e := range history {
		var r record
		if unmarshal(e.Data, &r) != nil {
			continue
		}
		if e.Seq > upto {
			break
		}
		if e.Seq > shown && r.State != before {
			rs = append(rs, r)
		}
		before = r.State
	}
	var out []Line
	for i, r := range rs {
		own := r.By == requesterPlaybook || r.By == machineName
		if last := i == len(rs)-1; !last && own && r.Reason == "" {
			continue
		}
		describe := v.Describe
		if (r.State == Undoing || r.State == Undone) && v.DescribeUndo != "" {
			describe = v.DescribeUndo
		}
		l := say(SayStep, r.State, Ours(r.By), describe)
		if r.Reason != "" {
			l = say(SayStepWhy, r.State, Ours(r.By), describe, Ours(r.Reason))
		}
		out = append(out, l)
	}
	return out
}

// dead gives a notice up and tells the others. That they are to be told is in
// the same record: what comes between is done again (deliver).
func (o *outlet) dead(ctx context.Context, n notice, seq uint64, reason string) error {
	n.State, n.At, n.RetryAt, n.Reason = noticeDead, o.d.now(), time.Time{}, clip(reason, maxReason)
	n.Untold = o.asks || n.Rule != RuleUndelivered // or two dead destinations would tell each other for ever
	seq, err := o.put(ctx, n, seq)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.stats.Dead++
	o.stats.LastErr = n.Reason
	o.mu.Unlock()
	o.d.log.Error("a notice cannot be delivered; requeue it when the cause is mended", "destination", o.name, "alert", n.Alert, "reason", reason)
	if !n.Untold {
		return nil
	}
	return o.tellDead(ctx, n, seq)
}

// tellDead tells the others of a notice that was given up; it may be repeated.
func (o *outlet) tellDead(ctx context.Context, n notice, seq uint64) error {
	var err error
	if o.asks {
		// The next person is asked, and people see that this one was not.
		err = o.d.setQuestion(ctx, n.Of, n.Alert, Unasked, machineName, n.Reason)
	} else {
		err = o.d.raise(ctx, RuleUndelivered, o.name+"\n"+n.At.UTC().Format("2006-01-02T15"), "Alerts do not reach "+o.name,
			"a notice could not be delivered: "+n.Reason+"; next: mend it, then trailwarden notify requeue "+o.name, alert.Critical, nil, o.name)
	}
	if err != nil {
		return err
	}
	n.Untold = false
	_, err = o.put(ctx, n, seq)
	return err
}

// overdue tells the others of a destination that has failed for a while, once. What
// could not be told is told with the next attempt.
func (o *outlet) overdue(ctx context.Context) {
	st := o.condition()
	if o.asks || st.FailingSince.IsZero() || st.FailingSince.Equal(o.told) || o.d.now().Sub(st.FailingSince) < tellAfter {
		return
	}
	since := st.FailingSince.UTC().Format(time.RFC3339)
	if o.d.raise(ctx, RuleUndelivered, o.name+"\n"+since[:13], "Alerts do not reach "+o.name,
		"nothing was accepted since "+since+": "+st.LastErr+"; what waits is sent when it is mended", alert.Critical, nil, o.name) == nil {
		o.told = st.FailingSince
	}
}

// condition is what there is to say of the destination itself.
func (o *outlet) condition() DestinationStats {
	o.mu.Lock()
	s := o.stats
	o.mu.Unlock()
	return s
}

// pause stops the whole destination after an answer that concerns all of it
// (too many, or down), and returns until when.
func (o *outlet) pause(err error) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fails++
	o.stats.Retried++
	if !errors.Is(err, ErrTurn) || o.stats.LastErr == "" { // our own pace hides no failure
		o.stats.LastErr = clip(err.Error(), maxReason)
	}
	until := o.d.now().Add(backoff(o.name, o.fails, time.Second, maxPause))
	var ra *RetryAfterError
	if errors.As(err, &ra) && ra.After > 0 {
		until = o.d.now().Add(ra.After)
		if o.waits.IsZero() {
			o.waits = o.d.now()
		}
	}
	// To be asked to wait is no failure, unless it goes on and on.
	if ra == nil || o.d.now().Sub(o.waits) >= tellAfter {
		o.complain(err)
	}
	o.paused = later(o.paused, until)
	return o.paused
}

// complainEvery is the pause between two log lines about a destination that
// goes on failing.
const complainEvery = 5 * time.Minute

// complain notes that the destination fails and says so in the log, at first
// and now and then. o.mu is held.
func (o *outlet) complain(err error) {
	now := o.d.now()
	if o.stats.FailingSince.IsZero() {
		o.stats.FailingSince = now
	} else if now.Sub(o.complained) < complainEvery {
		return
	}
	o.complained = now
	o.d.log.Warn("alerts do not reach a destination; they wait and are tried again", "destination", o.name, "since", o.stats.FailingSince, "reason", clip(err.Error(), maxReason))
}

func (o *outlet) ok(count func(*DestinationStats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.stats.FailingSince.IsZero() {
		o.d.log.Info("alerts reach a destination again", "destination", o.name, "since", o.stats.FailingSince)
		o.stats.FailingSince = time.Time{}
	}
	o.fails, o.waits = 0, time.Time{}
	o.stats.LastOK, o.stats.LastErr = o.d.now(), ""
	count(&o.stats)
}

func (o *outlet) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.LastErr = clip(err.Error(), maxReason)
	if !errors.As(err, new(*RetryAfterError)) {
		o.complain(err)
	}
}

// call runs one method of the notifier, bounded in time, paced, and safe from
// panics.
func (o *outlet) call(ctx context.Context, fn func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.dst.Timeout)
	defer cancel()
	defer func() {
		if o.dst.Gap > 0 {
			o.mu.Lock()
			o.nextCall = o.d.now().Add(o.dst.Gap)
			o.mu.Unlock()
		}
		if p := recover(); p != nil {
			err = fmt.Errorf("the notifier of %s panicked: %v: %w", o.name, p, ErrInDoubt)
		}
	}()
	return fn(ctx)
}

// digestRecord is the intent of a digest: durable before any incident is
// marked as carried by it, so that none is lost between the two.
type digestRecord struct {
	V       int         `json:"v"`
	Dest    string      `json:"dest"`
	Alert   storedAlert `json:"alert"`
	Members []string    `json:"members"` // alert ids
}

// digested is what a digest tells of one incident.
type digested struct {
	*item
	alert alert.Alert
}

// digest folds waiting incidents into one message.
func (o *outlet) digest(ctx context.Context, items []*item) error {
	list, caught, err := o.foldable(ctx, items)
	if err != nil || len(list) == 0 {
		return err
	}
	if len(list) < len(items) && len(list) <= o.dst.StormAt && !caught {
		// What is kept back made the storm: the rest goes by itself.
		for _, f := range list {
			o.add(*f.item)
		}
		return nil
	}
	now := o.d.now()
	a := digestOf(o.name, list, caught, now)
	rec := digestRecord{V: recordVersion, Dest: o.name, Alert: storeAlert(a, now)}
	for _, f := range list {
		rec.Members = append(rec.Members, f.item.alert)
	}
	if _, err := appendJSON(ctx, o.d.j, kindDigest, noticeID(o.name, a.ID), rec, 0); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	o.mu.Lock()
	o.lastDigest = now
	o.mu.Unlock()
	return o.finishDigest(ctx, rec)
}

// foldable are the incidents that nothing keeps back; the others go back into the
// queue. caught says that all of them are old ones, caught up after a stop.
func (o *outlet) foldable(ctx context.Context, items []*item) (list []digested, caught bool, err error) {
	caught = true
	for _, it := range items {
		var n notice
		seq, err := readLast(ctx, o.d.j, kindNotice, noticeID(o.name, it.alert), &n)
		if err != nil {
			return nil, false, err
		}
		if n.State != noticePending {
			// Another process sent it, or began to: it has its own message.
			it.fresh, it.old = false, false
			o.add(*it)
			continue
		}
		a, err := o.alert(ctx, it.alert)
		if err != nil {
			return nil, false, err
		}
		again, held, err := o.hold(ctx, it, n, seq, a)
		if errors.Is(err, ErrConflict) {
			again, held, err = o.d.now().Add(raceDelay), true, nil // another process is at it
		}
		if err != nil {
			return nil, false, err
		}
		if held {
			if !again.IsZero() {
				it.due = again
				o.add(*it)
			}
			continue
		}
		list = append(list, digested{it, a})
		caught = caught && it.old
	}
	return list, caught, nil
}

// digestOf is the alert that stands for others. The same incidents make the same one.
func digestOf(dest string, list []digested, caught bool, now time.Time) alert.Alert {
	ids := make([]string, 0, len(list))
	rules := map[string]int{}
	top := []any{}
	worst := alert.Info
	for _, f := range list {
		a := &f.alert
		ids = append(ids, f.item.alert)
		rules[f.rule]++
		worst = max(worst, f.severity)
		if len(top) < digestTop {
			top = append(top, fmt.Sprintf("%s · %s · %s · %s", a.Severity, a.Mark(false)+clip(a.Title, 200), a.LastAt.UTC().Format(time.RFC3339), short(a.ID)))
		}
	}
	slices.Sort(ids)
	h := sha256.Sum256([]byte("trailwarden.digest/v1\n" + dest + "\n" + strings.Join(ids, "\n")))
	parts, partsZH := mostFirst(rules)
	a := alert.Alert{
		Schema: alert.Schema, ID: hex.EncodeToString(h[:16]), Rule: RuleDigest, RuleVersion: 1,
		Title:    fmt.Sprintf("%d more incidents", len(ids)),
		Reason:   strings.Join(parts, ", ") + ": too many at once to show each; all are kept (trailwarden alerts ls)",
		TitleZH:  fmt.Sprintf("另有 %d 起事件", len(ids)),
		ReasonZH: strings.Join(partsZH, "、") + "：数量过多，不逐一显示；均已保留（trailwarden alerts ls）",
		Severity: worst, Outcome: "success", Time: now, FirstAt: now, LastAt: now, Count: len(ids), EventIDs: []string{}, Revision: 1,
		Details: map[string]any{"top": top, "left_out": len(ids) - len(top)},
	}
	if caught {
		a.Title = fmt.Sprintf("%d older incidents", len(ids))
		a.Reason = strings.Join(parts, ", ") + ": caught up after a stop; all are kept (trailwarden alerts ls)"
		a.TitleZH = fmt.Sprintf("%d 起较早的事件", len(ids))
		a.ReasonZH = strings.Join(partsZH, "、") + "：停机后补收；均已保留（trailwarden alerts ls）"
	}
	return a
}

// mostFirst tells how many incidents each rule has, in English and in Chinese.
func mostFirst(rules map[string]int) (parts, partsZH []string) {
	names := make([]string, 0, len(rules))
	for r := range rules {
		names = append(names, r)
	}
	sort.Slice(names, func(i, k int) bool {
		if rules[names[i]] != rules[names[k]] {
			return rules[names[i]] > rules[names[k]]
		}
		return names[i] < names[k]
	})
	for i, r := range names {
		if i == digestTop {
			return append(parts, fmt.Sprintf("%d more rules", len(names)-i)), append(partsZH, fmt.Sprintf("另有 %d 条规则", len(names)-i))
		}
		part := fmt.Sprintf("%d × %s", rules[r], r)
		parts, partsZH = append(parts, part), append(partsZH, part)
	}
	return parts, partsZH
}

// finishDigest makes the digest's own notice, then marks its members. It may
// be repeated.
func (o *outlet) finishDigest(ctx context.Context, rec digestRecord) error {
	d := o.d
	a := rec.Alert.restore()
	if _, err := d.save(ctx, a); err != nil {
		return err
	}
	n := notice{V: recordVersion, Dest: o.name, Alert: a.ID, Rule: RuleDigest, Severity: a.Severity, EventAt: a.LastAt, State: noticePending, At: d.now()}
	if _, err := appendJSON(ctx, d.j, kindNotice, noticeID(o.name, a.ID), n, 0); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	for _, id := range rec.Members {
		var m notice
		seq, err := readLast(ctx, d.j, kindNotice, noticeID(o.name, id), &m)
		if err != nil {
			return err
		}
		if seq == 0 || m.State != noticePending || m.LeftDigest == a.ID {
			continue
		}
		m.State, m.At, m.Digest, m.RetryAt, m.Held = noticeDigested, d.now(), a.ID, time.Time{}, ""
		if _, err := o.put(ctx, m, seq); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
		o.mu.Lock()
		o.stats.Digested++
		o.mu.Unlock()
	}
	o.add(o.item(n))
	return nil
}

// recoverDigests finishes what was begun: digests without a notice, and
// incidents that wait although a digest carries them.
func (d *Dispatcher) recoverDigests(ctx context.Context, byName map[string]*outlet, open, have map[string]bool) error {
	var todo []digestRecord
	err := eachLast(ctx, d.j, kindDigest, func(id string, e Entry) error {
		var r digestRecord
		if err := unmarshal(e.Data, &r); err != nil {
			d.log.Error("a digest in the journal cannot be read", "id", id, "seq", e.Seq, "err", err)
			return nil
		}
		if byName[r.Dest] == nil {
			return nil
		}
		if !have[id] || slices.ContainsFunc(r.Members, func(m string) bool { return open[noticeID(r.Dest, m)] }) {
			todo = append(todo, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range todo {
		if err := byName[r.Dest].finishDigest(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
