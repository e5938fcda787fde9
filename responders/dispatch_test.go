package responders_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	. "github.com/trailwarden/trailwarden/responders"
)

// chat is a platform with its messages, and the notifier that writes to it.
type chat struct {
	w    *world
	name string

	mu       sync.Mutex
	messages []*message
	calls    []call
	next     []fault // for the next posts
	nextEdit []fault
	nextFind []fault
	always   fault // for every call
	noFind   bool
	loses    string // the alert whose posts have no answer
}

type message struct {
	ref    string
	at     time.Time
	first  Notice
	last   Notice
	thread []string
}

type call struct {
	what  string
	alert string
	at    time.Time
}

const hang fault = "hang"

func (c *chat) Name() string { return c.name }

func (c *chat) begin(what, alertID string) error {
	if c.w.isDead() {
		return errDead
	}
	c.calls = append(c.calls, call{what, alertID, c.w.clock.Now()})
	return nil
}

func (c *chat) fail(ctx context.Context, f fault) (done bool, err error) {
	switch f {
	case none:
		return true, nil
	case dieBefore:
		c.w.die()
		return false, errDead
	case dieAfter:
		c.w.die()
		return true, errDead
	case lostBefore:
		return false, fmt.Errorf("time-out: %w", ErrInDoubt)
	case lostAfter:
		return true, fmt.Errorf("time-out: %w", ErrInDoubt)
	case throttled:
		return false, &RetryAfterError{After: 30 * time.Second, Err: errors.New("ratelimited")}
	case errBefore:
		return false, fmt.Errorf("503: %w", ErrRetry)
	case hang:
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return false, ctx.Err()
	case panicAfter:
		return true, errors.New("panic")
	}
	return false, errors.New("invalid_auth")
}

func (c *chat) pick(list *[]fault) fault {
	if c.always != none {
		return c.always
	}
	return pop(list)
}

func (c *chat) Post(ctx context.Context, n Notice) (MessageRef, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("post", n.Alert.ID); err != nil {
		return MessageRef{}, err
	}
	f := c.pick(&c.next)
	if n.Alert.ID == c.loses {
		f = lostBefore
	}
	done, err := c.fail(ctx, f)
	m := &message{ref: fmt.Sprintf("%s.%d", c.name, len(c.messages)), at: c.w.clock.Now(), first: n, last: n, thread: english.ThreadLines(n.Thread)}
	if done {
		c.messages = append(c.messages, m)
	}
	if f == panicAfter {
		panic("blocks too long")
	}
	return MessageRef{Channel: c.name, ID: m.ref}, err
}

func (c *chat) Update(ctx context.Context, ref MessageRef, n Notice) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("edit", n.Alert.ID); err != nil {
		return err
	}
	done, err := c.fail(ctx, c.pick(&c.nextEdit))
	if !done {
		return err
	}
	for _, m := range c.messages {
		if m.ref == ref.ID {
			m.last = n
			m.thread = append(m.thread, english.ThreadLines(n.Thread)...)
			return err
		}
	}
	return errors.New("message_not_found")
}

func (c *chat) Find(ctx context.Context, alertID string, since time.Time) (MessageRef, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("find", alertID); err != nil {
		return MessageRef{}, false, err
	}
	if c.noFind {
		return MessageRef{}, false, errors.ErrUnsupported
	}
	if _, err := c.fail(ctx, c.pick(&c.nextFind)); err != nil {
		return MessageRef{}, false, err
	}
	for _, m := range c.messages {
		if m.first.Alert.ID == alertID && !m.at.Before(since) {
			return MessageRef{Channel: c.name, ID: m.ref}, true, nil
		}
	}
	return MessageRef{}, false, nil
}

// all is a copy of the messages as they are now.
func (c *chat) all() []*message {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*message
	for _, m := range c.messages {
		x := *m
		x.thread = slices.Clone(m.thread)
		out = append(out, &x)
	}
	return out
}

// log is a copy of the calls so far.
func (c *chat) log() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

func (c *chat) of(alertID string) []*message {
	return slices.DeleteFunc(c.all(), func(m *message) bool { return m.first.Alert.ID != alertID })
}

func (c *chat) byRule(rule string) []*message {
	return slices.DeleteFunc(c.all(), func(m *message) bool { return m.first.Alert.Rule != rule })
}

func (c *chat) made(what string) []call {
	return slices.DeleteFunc(c.log(), func(x call) bool { return x.what != what })
}

func (c *chat) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// process is one life of the responder.
type process struct {
	*Dispatcher
	m    *Machine
	stop func()
}

func autoPlaybooks() []Playbook {
	return MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "leaked-key", Mode: Auto}})
}

func (w *world) start(dests []Destination, edit ...func(*DispatcherOptions)) *process {
	w.t.Helper()
	return w.startWith(dests, func(*MachineOptions) {}, edit...)
}

func (w *world) startWith(dests []Destination, machine func(*MachineOptions), edit ...func(*DispatcherOptions)) *process {
	w.t.Helper()
	mo := w.options()
	machine(&mo)
	m, err := NewMachine(mo)
	if err != nil {
		w.t.Fatal(err)
	}
	o := DispatcherOptions{
		Journal: w.journal(), Machine: m, Playbooks: autoPlaybooks(), Destinations: dests,
		Accounts: map[string]string{account: "prod"}, Now: w.clock.Now,
	}
	for _, f := range edit {
		f(&o)
	}
	d, err := NewDispatcher(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(ctx); err != nil && !w.isDead() {
			w.t.Error(err)
		}
	})
	return &process{d, m, func() { cancel(); wg.Wait() }}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.clock.fn = time.Now
		f(t, w)
	})
}

func (w *world) chat(name string) *chat { return &chat{w: w, name: name} }

func (w *world) leaked(id string) alert.Alert {
	return leakedAlert(id, aliceAK, "alice", w.clock.Now().Add(-time.Minute))
}

// plain is an alert that no playbook cares for.
func (w *world) plain(id, rule string, sev alert.Severity) alert.Alert {
	a := w.leaked(id)
	a.Rule, a.Severity, a.Outcome = rule, sev, "success"
	return a
}

func (p *process) give(t testing.TB, seq uint64, alerts ...alert.Alert) {
	t.Helper()
	if err := p.Handle(context.Background(), 0, seq, alerts); err != nil {
		t.Fatal(err)
	}
}

func TestLeakedKeyFromAlertToInactive(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.plain3 = true
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		began := time.Now()
		p.give(t, 1, w.leaked("a1"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" {
			t.Fatal("not contained")
		}
		ms := slack.of("a1")
		if len(ms) != 1 || len(slack.all()) != 1 {
			t.Fatalf("%d messages, %d in all", len(ms), len(slack.all()))
		}
		m := ms[0]
		if m.at.Sub(began) > time.Second {
			t.Fatalf("the message came after %s", m.at.Sub(began))
		}
		if len(m.first.Actions) != 1 || m.first.Account != "prod" {
			t.Fatalf("the first message does not show the action: %+v", m.first)
		}
		if v := m.last.Actions[0]; v.State != Done || !v.Undoable || !strings.Contains(v.Describe, aliceAK) {
			t.Fatalf("the message ends with %+v", v)
		}
		x, err := p.m.Undo(ctxb, m.last.Actions[0].ID, "dave")
		if err != nil || x.State != Undone {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		m = slack.of("a1")[0]
		if v := m.last.Actions[0]; v.State != Undone || v.By != "dave" || v.Undoable {
			t.Fatalf("after the undo it shows %+v", v)
		}
		if s := strings.Join(m.thread, "\n"); !strings.Contains(s, "undone by dave") {
			t.Fatalf("thread: %s", s)
		}
	})
}

func TestRepeatsEditOneMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		a := w.plain("a1", "root.login", alert.High)
		p.give(t, 1, a)
		synctest.Wait()
		const n = 10_000
		for i := 2; i <= n; i++ {
			a.Revision, a.Count, a.LastAt = i, i, a.LastAt.Add(time.Second)
			if i == 5000 {
				a.SourceIP = "198.51.100.9"
			}
			p.give(t, uint64(i), a)
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		ms := slack.of("a1")
		if len(ms) != 1 {
			t.Fatalf("%d messages", len(ms))
		}
		if ms[0].last.Alert.Count != n {
			t.Fatalf("the message ends at ×%d", ms[0].last.Alert.Count)
		}
		edits := len(slack.made("edit"))
		if edits == 0 || edits > 25 {
			t.Fatalf("%d edits for %d repeats", edits, n)
		}
		if s := strings.Join(ms[0].thread, "\n"); !strings.Contains(s, "new source address: 198.51.100.9") || len(ms[0].thread) > 60 {
			t.Fatalf("%d lines: %s", len(ms[0].thread), s)
		}
		t.Logf("%d equal alerts: 1 message, %d edits, %d thread lines", n, edits, len(ms[0].thread))
	})
}

func TestFilters(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		all, some, ops := w.chat("all"), w.chat("some"), w.chat("ops")
		p := w.start([]Destination{
			{Notifier: all, MinSeverity: alert.Info},
			{Notifier: some},
			{Notifier: ops, MinSeverity: alert.Low, Rules: []string{"trail.*"}},
		})
		defer p.stop()
		sig := w.plain("signal", "net.new", alert.Low)
		sig.Signal = true
		p.give(t, 1,
			sig,
			w.plain("low", "net.new", alert.Low),
			w.plain("high", "net.new", alert.High),
			w.plain("trail", "trail.stopped", alert.Critical),
		)
		time.Sleep(time.Minute)
		synctest.Wait()
		for c, want := range map[*chat][]string{all: {"high", "low", "trail"}, some: {"high", "trail"}, ops: {"trail"}} {
			var got []string
			for _, m := range c.all() {
				got = append(got, m.first.Alert.ID)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s shows %v, want %v", c.name, got, want)
			}
		}
	})
}

// An older revision that comes late does not take the message back.
func TestStaleRevision(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		a := w.plain("a1", "r", alert.High)
		a.Revision, a.Count = 3, 3
		p.give(t, 1, a)
		a.Revision, a.Count = 2, 2
		p.give(t, 2, a)
		time.Sleep(time.Hour)
		synctest.Wait()
		if ms := slack.of("a1"); len(ms) != 1 || ms[0].last.Alert.Count != 3 {
			t.Fatalf("%d messages, the last says ×%d", len(ms), ms[0].last.Alert.Count)
		}
	})
}

// A severity that rises over the threshold later brings the message then.
func TestSeverityRises(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack, MinSeverity: alert.High}})
		defer p.stop()
		a := w.plain("a1", "r", alert.Low)
		p.give(t, 1, a)
		synctest.Wait()
		a.Revision, a.Severity = 2, alert.High
		p.give(t, 2, a)
		synctest.Wait()
		if len(slack.of("a1")) != 1 {
			t.Fatalf("%d messages", len(slack.of("a1")))
		}
	})
}

// Every way in which a post can end leaves one message.
func TestPostOutcomes(t *testing.T) {
	for _, f := range []fault{lostBefore, lostAfter, throttled, errBefore, panicAfter, hang} {
		t.Run(string(f), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				slack.next = []fault{f, f}
				p := w.start([]Destination{{Notifier: slack}})
				defer p.stop()
				p.give(t, 1, w.plain("a1", "r", alert.High))
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if n := len(slack.of("a1")); n != 1 {
					t.Fatalf("%d messages; %v", n, slack.log())
				}
				if s := p.Stats()[0]; s.Waiting != 0 || s.Dead != 0 {
					t.Fatalf("%+v", s)
				}
			})
		})
	}
}

func TestLookingUpFails(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		slack.next = []fault{lostAfter}
		slack.nextFind = []fault{errBefore, lostBefore, throttled, final}
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		p.give(t, 1, w.plain("a1", "r", alert.High))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(slack.of("a1")); n != 1 || len(slack.made("post")) != 1 {
			t.Fatalf("%d messages; %v", n, slack.log())
		}
	})
}

// Where nothing can be looked up, one more attempt at a time is made, marked
// as a possible repeat, and it ends.
func TestWebhookThatNeverAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hook, slack := w.chat("hook"), w.chat("slack")
		hook.noFind = true
		hook.next = []fault{lostAfter}
		p := w.start([]Destination{{Notifier: hook}, {Notifier: slack}})
		defer p.stop()
		p.give(t, 1, w.plain("a1", "r", alert.High))
		time.Sleep(time.Minute)
		synctest.Wait()
		ms := hook.of("a1")
		if len(ms) != 2 || len(ms[0].first.Thread) != 0 || !strings.Contains(strings.Join(english.ThreadLines(ms[1].first.Thread), " "), "possible repeat") {
			t.Fatalf("%d messages", len(ms))
		}
		// One message that is never answered, while others are, is given up.
		hook.set(func() { hook.loses = "a2" })
		p.give(t, 2, w.plain("a2", "r", alert.High))
		for i := range 20 {
			p.give(t, uint64(3+i), w.plain(fmt.Sprint("b", i), "r", alert.Medium))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if n := len(hook.made("post")); n > 2+20+10 || len(hook.all()) != 2+20 {
			t.Fatalf("%d posts, %d messages", n, len(hook.all()))
		}
		if told := slack.byRule(RuleUndelivered); len(told) != 1 || p.Stats()[0].Dead != 1 {
			t.Fatalf("told %d times, %+v", len(told), p.Stats()[0])
		}
	})
}

// A platform that gives no answer for hours, and cannot be read back, loses
// nothing: what waits comes when it answers again, few as a possible repeat.
func TestRobotDownForHours(t *testing.T) {
	for _, f := range []fault{lostBefore, hang, throttled} {
		t.Run(string(f), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				hook, slack := w.chat("hook"), w.chat("slack")
				hook.noFind, hook.always = true, f
				p := w.start([]Destination{{Notifier: robot{hook}}, {Notifier: slack, StormAt: -1}})
				defer p.stop()
				const n = 60
				for i := range n {
					p.give(t, uint64(i+1), w.plain(fmt.Sprint("a", i), fmt.Sprint("r", i%5), alert.High))
					time.Sleep(2 * time.Minute)
				}
				synctest.Wait()
				if calls := len(hook.log()); calls > 400 { // with the lookups
					t.Errorf("%d calls to a platform that is down", calls)
				}
				told := slack.byRule(RuleUndelivered)
				if len(told) != 1 || !strings.Contains(told[0].first.Alert.Reason, "nothing was accepted since") || p.Stats()[0].FailingSince.IsZero() {
					t.Errorf("told %d times, %+v", len(told), p.Stats()[0])
				}
				hook.set(func() { hook.always = none })
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				covered, repeats := 0, 0
				for _, m := range hook.all() {
					covered++
					if m.first.Alert.Rule == RuleDigest {
						covered += m.first.Alert.Count - 1
					}
					if strings.Contains(strings.Join(m.thread, " "), "possible repeat") {
						repeats++
					}
				}
				if s := p.Stats()[0]; covered != n || repeats > 10 || s.Dead != 0 || s.Waiting != 0 || !s.FailingSince.IsZero() {
					t.Errorf("%d of %d incidents, %d marked as repeats, %+v", covered, n, repeats, s)
				}
			})
		})
	}
}

// F1: a destination that asks for a pause gets it; others do not notice.
func TestRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack, other := w.chat("slack"), w.chat("other")
		slack.next = []fault{throttled}
		p := w.start([]Destination{{Notifier: slack}, {Notifier: other}})
		defer p.stop()
		began := time.Now()
		p.give(t, 1, w.plain("a1", "r1", alert.High), w.plain("a2", "r2", alert.Critical), w.plain("a3", "r3", alert.High))
		time.Sleep(time.Second)
		synctest.Wait()
		if len(other.all()) != 3 || len(slack.all()) != 0 || len(slack.log()) != 1 {
			t.Fatalf("after a second: %d and %d messages, %v", len(other.all()), len(slack.all()), slack.log())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(slack.all()) != 3 || slack.all()[0].first.Alert.ID != "a2" || slack.all()[1].first.Alert.ID != "a1" {
			t.Fatalf("%d messages, or out of order", len(slack.all()))
		}
		if at := slack.log()[1].at.Sub(began); at < 30*time.Second {
			t.Fatalf("called again after %s", at)
		}
	})
}

// A destination that hangs slows neither Handle nor the others.
func TestHungDestination(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		dead, live := w.chat("dead"), w.chat("live")
		dead.always = hang
		p := w.start([]Destination{{Notifier: dead}, {Notifier: live, StormAt: -1}})
		defer p.stop()
		began := time.Now()
		for i := range 200 {
			p.give(t, uint64(i+1), w.plain(fmt.Sprint("a", i), "r", alert.High))
		}
		synctest.Wait()
		if took := time.Since(began); took > 0 {
			t.Fatalf("virtual time passed: %s", took)
		}
		if len(live.all()) != 200 {
			t.Fatalf("%d messages", len(live.all()))
		}
		if c, err := p.Cursor(ctxb, 0); err != nil || c != 200 {
			t.Fatalf("cursor %d %v", c, err)
		}
	})
}

// F4: a destination that refuses for good: the others hear of it, and after
// the mending nothing is lost.
func TestDeadLetterAndRequeue(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		broken, other := w.chat("broken"), w.chat("other")
		broken.always = final
		p := w.start([]Destination{{Notifier: broken}, {Notifier: other}})
		defer p.stop()
		for i := range 5 {
			p.give(t, uint64(i+1), w.plain(fmt.Sprint("a", i), "r", alert.High))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Stats()[0]; s.Dead != 5 || s.LastErr == "" {
			t.Fatalf("%+v", s)
		}
		told := other.byRule(RuleUndelivered)
		if len(told) != 1 || !strings.Contains(told[0].first.Alert.Title, "broken") {
			t.Fatalf("%d alerts about it", len(told))
		}
		broken.set(func() { broken.always = none })
		n, err := p.Requeue(ctxb, "broken")
		if err != nil || n != 5 {
			t.Fatalf("%d %v", n, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(broken.all()) != 5 {
			t.Fatalf("%d messages after the mending", len(broken.all()))
		}
		if _, err := p.Requeue(ctxb, "nobody"); err == nil {
			t.Fatal("a destination that is not there")
		}
	})
}

// A message that was deleted is written anew, once.
func TestMessageGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		a := w.plain("a1", "r", alert.High)
		p.give(t, 1, a)
		synctest.Wait()
		slack.set(func() { slack.messages = nil })
		a.Revision, a.Count = 2, 2
		p.give(t, 2, a)
		time.Sleep(time.Minute)
		synctest.Wait()
		if ms := slack.of("a1"); len(ms) != 1 || ms[0].last.Alert.Count != 2 {
			t.Fatalf("%d messages", len(ms))
		}
	})
}

// J1: a storm of many alerts over many rules.
func TestStorm(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack, Gap: time.Second}})
		defer p.stop()
		const n, rules = 3000, 20
		began := time.Now()
		var batch []alert.Alert
		for i := range n {
			batch = append(batch, w.plain(fmt.Sprintf("storm-%d", i), fmt.Sprint("rule", i%rules), alert.High))
		}
		p.give(t, 1, batch...)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		posts := slack.made("post")
		for i := 1; i < len(posts); i++ {
			if gap := posts[i].at.Sub(posts[i-1].at); gap < time.Second {
				t.Fatalf("two posts within %s", gap)
			}
		}
		seen, covered := map[string]bool{}, 0
		for _, m := range slack.all() {
			if m.first.Alert.Rule == RuleDigest {
				covered += m.first.Alert.Count
			} else {
				seen[m.first.Alert.Rule] = true
				covered++
			}
		}
		if len(seen) != rules {
			t.Fatalf("%d rules of %d have a message of their own", len(seen), rules)
		}
		if covered != n {
			t.Fatalf("%d incidents are shown of %d", covered, n)
		}
		if len(slack.all()) > 60 {
			t.Fatalf("%d messages", len(slack.all()))
		}
		last := slack.all()[len(slack.all())-1].at.Sub(began)
		t.Logf("%d incidents, %d rules: %d messages (%d digests) in %s", n, rules, len(slack.all()), len(slack.byRule(RuleDigest)), last)
		// Calm again: an alert goes by itself at once.
		p.give(t, 2, w.plain("after", "rule0", alert.High))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(slack.of("after")) != 1 {
			t.Fatal("after the storm an alert does not go by itself")
		}
		// One that was only digested grows worse: now it goes by itself.
		var folded string
		for i := range n {
			if id := fmt.Sprintf("storm-%d", i); len(slack.of(id)) == 0 {
				folded = id
				break
			}
		}
		a := w.plain(folded, "rule1", alert.Critical)
		a.Revision = 2
		p.give(t, 3, a)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(slack.of(folded)) != 1 {
			t.Fatal("a digested incident that grew worse stays hidden")
		}
	})
}

// F5: down for two hours with thousands of alerts: none is lost, and what
// comes on return is a digest.
func TestDownForHours(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		slack.always = errBefore
		p := w.start([]Destination{{Notifier: slack, Gap: time.Second}})
		defer p.stop()
		const n = 2000
		for i := range n {
			p.give(t, uint64(i+1), w.plain(fmt.Sprint("a", i), fmt.Sprint("r", i%5), alert.High))
			time.Sleep(2 * time.Hour / n)
		}
		calls := len(slack.log())
		if calls > 1000 { // one every ten seconds, with jitter
			t.Fatalf("%d calls to a platform that is down", calls)
		}
		slack.set(func() { slack.always = none })
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		covered := 0
		for _, m := range slack.all() {
			if m.first.Alert.Rule == RuleDigest {
				covered += m.first.Alert.Count
			} else {
				covered++
			}
		}
		if covered != n || len(slack.all()) > 40 {
			t.Fatalf("%d of %d incidents in %d messages", covered, n, len(slack.all()))
		}
		t.Logf("down for 2 h, %d incidents: %d calls meanwhile, %d messages after", n, calls, len(slack.all()))
	})
}

// Row 23: after a long stop, old alerts come as a list; high ones by themselves.
func TestCatchUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		old := func(id string, sev alert.Severity) alert.Alert {
			a := w.plain(id, "r-"+id, sev)
			a.Time = w.clock.Now().Add(-5 * time.Hour)
			a.LastAt = a.Time
			return a
		}
		m1 := old("m1", alert.Medium)
		m1.Outcome = "attempt"
		p.give(t, 1, m1, old("m2", alert.Medium), old("h1", alert.High), w.plain("now", "r", alert.Medium))
		time.Sleep(time.Minute)
		synctest.Wait()
		d := slack.byRule(RuleDigest)
		if len(slack.all()) != 3 || len(d) != 1 || d[0].first.Alert.Count != 2 || !strings.Contains(d[0].first.Alert.Title, "older") {
			t.Fatalf("%d messages, %d digests", len(slack.all()), len(d))
		}
		if top := d[0].first.Alert.Details["top"]; strings.Count(fmt.Sprint(top), " · (attempt) ") != 1 {
			t.Errorf("the digest lists %v, one of which was only attempted", top)
		}
	})
}

// E9: what comes from a replay is shown, and never acted on.
func TestReplayNeverActs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		if err := p.HandleFrom(ctxb, Replayed, 0, 1, []alert.Alert{w.leaked("a1")}); err != nil {
			t.Fatal(err)
		}
		weekOld := w.leaked("a2")
		weekOld.Time = weekOld.Time.Add(-7 * 24 * time.Hour)
		p.give(t, 2, weekOld)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.cloud.log()) != 0 {
			t.Fatalf("calls: %v", w.cloud.log())
		}
		if len(slack.of("a1")) != 1 || slack.of("a1")[0].last.Actions[0].State != Refused {
			t.Fatal("not shown, or not refused")
		}
	})
}

// Row 34: a containment that fails is itself an alert with the next step.
func TestFailurePages(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		w.cloud.next = []fault{final}
		p := w.start([]Destination{{Notifier: slack, Rules: []string{"ak.*"}}})
		defer p.stop()
		p.give(t, 1, w.leaked("a1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		pages := slack.byRule(RuleActionFailed)
		if len(pages) != 1 || pages[0].first.Alert.Severity != alert.Critical || !strings.Contains(pages[0].first.Alert.Reason, "do it by hand") {
			t.Fatalf("%d pages", len(pages))
		}
		if v := slack.of("a1")[0].last.Actions[0]; v.State != Failed || !strings.Contains(v.Reason, "EntityNotExist") {
			t.Fatalf("%+v", v)
		}
	})
}

// A person switching the key on again is heard through the alerts themselves.
func TestReactivationIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.start(nil)
		defer p.stop()
		p.give(t, 1, w.leaked("a1"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" {
			t.Fatal("not contained")
		}
		w.cloud.set(aliceAK, "Active")
		r := w.plain("a2", "ak.reactivated", alert.Medium)
		r.TargetKey, r.Time = aliceAK, w.clock.Now()
		r.Target = &alert.Target{Type: "user", ID: "user/" + account + "/alice", Name: "alice"}
		p.give(t, 2, r)
		p.give(t, 3, w.leaked("a3"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Active" {
			t.Fatal("it acted against somebody's decision by itself")
		}
		l, err := p.m.List(ctxb, ListFilter{AlertID: "a3"})
		if err != nil || len(l) != 1 || l[0].State != Proposed || !l[0].NeedsPerson {
			t.Fatalf("%+v %v", l, err)
		}
	})
}

func TestCursorAndRedelivery(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		a := w.plain("a1", "r", alert.High)
		p.give(t, 7, a)
		p.give(t, 7, a)
		p.give(t, 3, w.plain("never", "r", alert.High)) // behind the cursor: was handled
		synctest.Wait()
		if len(slack.all()) != 1 {
			t.Fatalf("%d messages", len(slack.all()))
		}
		fail := true
		w.onAppend = func(_ int, kind string) fault {
			if fail && kind == "notice" {
				return errBefore
			}
			return none
		}
		if err := p.Handle(ctxb, 0, 8, []alert.Alert{w.plain("a2", "r", alert.High)}); err == nil {
			t.Fatal("durable without a journal")
		}
		if c, _ := p.Cursor(ctxb, 0); c != 7 {
			t.Fatalf("cursor %d after a failure", c)
		}
		fail = false
		p.give(t, 8, w.plain("a2", "r", alert.High))
		if c, _ := p.Cursor(ctxb, 1); c != 0 {
			t.Fatalf("another partition: %d", c)
		}
		synctest.Wait()
		p.stop()
		p = w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		if c, err := p.Cursor(ctxb, 0); err != nil || c != 8 {
			t.Fatalf("cursor %d %v after a restart", c, err)
		}
		synctest.Wait()
		if len(slack.all()) != 2 {
			t.Fatalf("%d messages", len(slack.all()))
		}
	})
}

// A10: death or an error at every append, and in every call, of the whole way
// from an alert to the message and the contained key: one message, showing
// the end, one containment.
func TestDispatchCrashEverywhere(t *testing.T) {
	story := func(t *testing.T, w *world, slack *chat) *process {
		var p *process
		give := func(seq uint64, a alert.Alert) {
			for range 20 {
				if p == nil || w.isDead() {
					if p != nil {
						p.stop()
						w.revive()
					}
					p = w.start([]Destination{{Notifier: slack}})
					synctest.Wait()
				}
				if err := p.Handle(ctxb, 0, seq, []alert.Alert{a}); err == nil {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatal("the alert is never taken")
		}
		a := w.leaked("a1")
		give(1, a)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		a.Revision, a.Count = 2, 2
		give(2, a)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if w.isDead() {
			p.stop()
			w.revive()
			p = w.start([]Destination{{Notifier: slack}})
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}
		return p
	}
	check := func(t *testing.T, w *world, slack *chat, p *process, what string) {
		t.Helper()
		ms := slack.of("a1")
		if len(ms) != 1 || len(slack.all()) != 1 {
			t.Fatalf("%s: %d messages, %d in all: %v", what, len(ms), len(slack.all()), slack.log())
		}
		last := ms[0].last
		if last.Alert.Count != 2 || len(last.Actions) != 1 || last.Actions[0].State != Done {
			t.Fatalf("%s: the message ends with ×%d, %+v", what, last.Alert.Count, last.Actions)
		}
		if n := w.cloud.totalEffects("Execute"); n != 1 || w.cloud.status(aliceAK) != "Inactive" {
			t.Fatalf("%s: %d effects", what, n)
		}
		w.legal(last.Actions[0].ID, what)
		if c, err := p.Cursor(ctxb, 0); err != nil || c != 2 {
			t.Fatalf("%s: cursor %d %v", what, c, err)
		}
		if s := p.Stats()[0]; s.Waiting != 0 {
			t.Fatalf("%s: %d still wait", what, s.Waiting)
		}
		if r, err := w.mem.Verify(ctxb); err != nil || !r.OK() {
			t.Fatalf("%s: %+v %v", what, r, err)
		}
	}
	for _, f := range []fault{dieBefore, dieAfter, errBefore, errAfter} {
		t.Run(string(f), func(t *testing.T) {
			for n := 1; n < 60; n++ {
				hit := false
				bubble(t, func(t *testing.T, w *world) {
					slack := w.chat("slack")
					w.onAppend = func(i int, _ string) fault {
						if i == n {
							hit = true
							return f
						}
						return none
					}
					p := story(t, w, slack)
					defer p.stop()
					check(t, w, slack, p, fmt.Sprintf("append %d", n))
				})
				if !hit {
					if n < 15 {
						t.Fatalf("only %d appends", n-1)
					}
					return
				}
			}
			t.Fatal("never a run without a fault")
		})
	}
	for _, f := range []fault{dieBefore, dieAfter, lostBefore, lostAfter} {
		t.Run("chat "+string(f), func(t *testing.T) {
			for n := range 3 {
				for _, what := range []string{"post", "edit"} {
					bubble(t, func(t *testing.T, w *world) {
						slack := w.chat("slack")
						list := append(make([]fault, n), f)
						if what == "post" {
							slack.next = list
						} else {
							slack.nextEdit = list
						}
						p := story(t, w, slack)
						defer p.stop()
						check(t, w, slack, p, fmt.Sprintf("%s %d", what, n))
					})
				}
			}
		})
	}
}

// Death at every append of a digest: every incident is shown, and a digest
// carries each folded one exactly once.
func TestDigestCrashEverywhere(t *testing.T) {
	for _, f := range []fault{dieBefore, dieAfter} {
		for n := 1; ; n++ {
			hit := false
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				dest := []Destination{{Notifier: slack, StormAt: 2, Gap: time.Second}}
				p := w.start(dest)
				const alerts = 8
				var batch []alert.Alert
				for i := range alerts {
					batch = append(batch, w.plain(fmt.Sprint("a", i), "r", alert.High))
				}
				slack.set(func() { slack.always = errBefore })
				p.give(t, 1, batch...)
				time.Sleep(time.Second)
				synctest.Wait()
				slack.set(func() { slack.always = none })
				w.mu.Lock()
				w.appends = 0
				w.onAppend = func(i int, _ string) fault {
					if i == n {
						hit = true
						return f
					}
					return none
				}
				w.mu.Unlock()
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if w.isDead() {
					p.stop()
					w.revive()
					p = w.start(dest)
					time.Sleep(5 * time.Minute)
					synctest.Wait()
				}
				defer p.stop()
				covered := 0
				for _, m := range slack.all() {
					if m.first.Alert.Rule == RuleDigest {
						covered += m.first.Alert.Count
					} else {
						covered++
					}
				}
				if covered != alerts {
					t.Fatalf("%s at %d: %d incidents shown of %d; %v", f, n, covered, alerts, slack.log())
				}
			})
			if t.Failed() {
				return
			}
			if !hit {
				if n < 8 {
					t.Fatalf("only %d appends", n-1)
				}
				break
			}
		}
	}
}

// A stop in the middle of the call leaves its doubt on record, not only the intent.
func TestStopRecordsDoubt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.cloud.slow = make(chan struct{})
		p := w.start(nil)
		p.give(t, 1, w.leaked("a1"))
		synctest.Wait()
		p.stop()
		l, err := w.machine().List(ctxb, ListFilter{})
		if err != nil || len(l) != 1 || l[0].State != InDoubt {
			t.Fatalf("%+v %v", l, err)
		}
	})
}

// What an action became just before the end is shown by the next process.
func TestActionChangeIsShownAfterCrash(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		w.cloud.slow = make(chan struct{})
		slack.nextEdit = many(dieBefore, 1)
		dest := []Destination{{Notifier: slack}}
		p := w.start(dest)
		p.give(t, 1, w.leaked("a1"))
		synctest.Wait() // posted; the edits that follow kill the process
		close(w.cloud.slow)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !w.isDead() {
			t.Fatal("still alive")
		}
		p.stop()
		w.revive()
		p = w.start(dest)
		defer p.stop()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if ms := slack.of("a1"); len(ms) != 1 || ms[0].last.Actions[0].State != Done {
			t.Fatalf("%d messages", len(ms))
		}
	})
}

// A failure that was recorded but not yet raised is raised by the next process.
func TestFailureIsRaisedAfterCrash(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		w.cloud.next = []fault{final}
		alerts := 0
		w.onAppend = func(_ int, kind string) fault {
			if kind == "alert" {
				if alerts++; alerts == 2 {
					return dieBefore
				}
			}
			return none
		}
		dest := []Destination{{Notifier: slack}}
		p := w.start(dest)
		// The process may die before the call returns: then nobody gets its answer.
		if err := p.Handle(context.Background(), 0, 1, []alert.Alert{w.leaked("a1")}); err != nil && !w.isDead() {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !w.isDead() {
			t.Fatal("still alive")
		}
		p.stop()
		w.revive()
		p = w.start(dest)
		defer p.stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(slack.byRule(RuleActionFailed)); n != 1 {
			t.Fatalf("%d pages", n)
		}
	})
}

// That a notice was given up is told once, also when the journal fails or the
// process dies before it is.
func TestGivenUpIsToldAfterFailure(t *testing.T) {
	for _, f := range []fault{errBefore, errAfter, dieBefore, dieAfter} {
		for _, kind := range []string{"alert", "notice"} { // of what is told, and that it is told to the other
			t.Run(string(f)+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					soc, ops := w.chat("soc"), w.chat("ops")
					soc.next = []fault{final}
					dest := []Destination{{Notifier: soc}, {Notifier: ops, Rules: []string{"nothing"}}}
					p := w.start(dest)
					defer func() { p.stop() }()
					after(time.Second)
					told, failed := false, false
					w.mu.Lock()
					w.onAppend = func(_ int, k string) fault {
						told = told || k == "alert" && len(soc.made("post")) > 0
						if failed || !told && kind == "notice" || k != kind || len(soc.made("post")) == 0 {
							return none
						}
						failed = true
						return f
					}
					w.mu.Unlock()
					// The process may die before the call returns.
					if err := p.Handle(ctxb, 0, 1, []alert.Alert{w.plain("a1", "x.y", alert.High)}); err != nil && !w.isDead() {
						t.Fatal(err)
					}
					after(time.Minute)
					if !failed {
						t.Fatal("nothing failed")
					}
					if w.isDead() {
						p.stop()
						w.revive()
						after(2 * time.Hour)
						p = w.start(dest)
					}
					after(2 * time.Hour)
					if n := len(ops.byRule(RuleUndelivered)); n != 1 || len(ops.made("post")) != 1 {
						t.Errorf("told %d times, %d posts", n, len(ops.made("post")))
					}
					if n := len(soc.made("post")); n != 1 {
						t.Errorf("%d posts of what was given up", n)
					}
				})
			})
		}
	}
}

// What memory has no room for waits in the journal and is shown all the same.
func TestQueueOverflow(t *testing.T) {
	defer SetMaxItems(10)()
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		slack.always = errBefore
		p := w.start([]Destination{{Notifier: slack, StormAt: -1}})
		defer p.stop()
		const n = 100
		for i := range n {
			p.give(t, uint64(i+1), w.plain(fmt.Sprint("a", i), "r", alert.High))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Stats()[0]; s.Waiting > 10 || s.Overflow == 0 {
			t.Fatalf("%+v", s)
		}
		slack.set(func() { slack.always = none })
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(slack.all()) != n {
			t.Fatalf("%d messages of %d", len(slack.all()), n)
		}
	})
}

// An incident that grew worse than its digest, and then met a restart, is
// still shown by itself.
func TestLeftDigestSurvivesRestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		dest := []Destination{{Notifier: slack, StormAt: 1, Gap: time.Second}}
		p := w.start(dest)
		a, seq := digested(t, w, p, slack)
		slack.set(func() { slack.always = errBefore })
		a.Revision, a.Severity = 2, alert.Critical
		p.give(t, seq+1, a)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.stop()
		slack.set(func() { slack.always = none })
		p = w.start(dest)
		defer p.stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(slack.of(a.ID)) != 1 {
			t.Fatal("it went back into the digest")
		}
	})
}

// digested gives alerts until one of them is in a digest and has no message of its
// own, and returns it and how many times alerts were given. Whether a digest is made
// of some depends on how many wait when the outlet looks.
func digested(t *testing.T, w *world, p *process, slack *chat) (alert.Alert, uint64) {
	t.Helper()
	for seq := range uint64(50) {
		var batch []alert.Alert
		for i := range 6 {
			batch = append(batch, w.plain(fmt.Sprint("a", seq, "-", i), "r", alert.High))
		}
		p.give(t, seq+1, batch...)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if i := slices.IndexFunc(batch, func(a alert.Alert) bool { return len(slack.of(a.ID)) == 0 }); i >= 0 {
			return batch[i], seq + 1
		}
	}
	t.Fatal("nothing was digested")
	return alert.Alert{}, 0
}

// So is one that grew worse right before we ended, with nothing of it said yet.
func TestWorseThanItsDigestWhileStopped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		dest := []Destination{{Notifier: slack, StormAt: 1}}
		p := w.start(dest)
		a, seq := digested(t, w, p, slack)
		p.stop()
		a.Revision, a.Severity = 2, alert.Critical
		w.deaf(t).give(t, seq+1, a)
		p = w.start(dest)
		defer p.stop()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(slack.of(a.ID)) != 1 {
			t.Fatal("that it is critical is told nowhere")
		}
	})
}

// Two processes that both know of everything show each alert once.
func TestTwoDispatchers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		dest := []Destination{{Notifier: slack, StormAt: -1}}
		p1 := w.start(dest)
		defer p1.stop()
		p2 := w.start(dest)
		defer p2.stop()
		for i := range 30 {
			a := w.plain(fmt.Sprint("a", i), "r", alert.High)
			var wg sync.WaitGroup
			for k, p := range []*process{p1, p2} {
				wg.Go(func() {
					if err := p.Handle(ctxb, k, uint64(i+1), []alert.Alert{a}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(slack.all()) != 30 {
			t.Fatalf("%d messages", len(slack.all()))
		}
	})
}

// standstill is a journal on which a process stands still for a minute, once, after
// a message was announced and before it is sent.
type standstill struct {
	Journal
	once sync.Once
}

func (s *standstill) Append(ctx context.Context, kind, id string, data []byte, expect uint64) (uint64, error) {
	seq, err := s.Journal.Append(ctx, kind, id, data, expect)
	if kind == "notice" && bytes.Contains(data, []byte(`"state":"started"`)) {
		s.once.Do(func() { time.Sleep(time.Minute) })
	}
	return seq, err
}

// A process stands still (suspended, or its machine moved) between announcing a
// message and sending it, and another one sends it: it is sent once.
func TestStandstillBeforeTheCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		dest := []Destination{{Notifier: slack, StormAt: -1}}
		p1 := w.start(dest, func(o *DispatcherOptions) { o.Journal = &standstill{Journal: o.Journal} })
		defer p1.stop()
		p1.give(t, 1, w.plain("a1", "r", alert.High))
		time.Sleep(time.Second)
		p2 := w.start(dest)
		defer p2.stop()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := len(slack.all()); n != 1 {
			t.Fatalf("%d messages", n)
		}
	})
}

// An approval in one process is acted on by another that holds the proposal.
func TestApprovalInAnotherProcess(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) {
			o.Playbooks = MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "leaked-key", Mode: Approve}})
		})
		defer p.stop()
		p.give(t, 1, w.leaked("a1"))
		time.Sleep(time.Second)
		cli := w.machine() // the command line, for one click
		l, err := cli.List(ctxb, ListFilter{States: []State{Proposed}})
		if err != nil || len(l) != 1 {
			t.Fatalf("%d %v", len(l), err)
		}
		if _, err := cli.Approve(ctxb, l[0].ID, "dave", l[0].Hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if w.cloud.status(aliceAK) != "Inactive" || slack.of("a1")[0].last.Actions[0].State != Done {
			t.Fatalf("key %s, shown %s", w.cloud.status(aliceAK), slack.of("a1")[0].last.Actions[0].State)
		}
	})
}

func TestHostileAlert(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		slack := w.chat("slack")
		p := w.start([]Destination{{Notifier: slack}})
		defer p.stop()
		nasty := "x\x00\xff<!channel>.*> \u202e" + strings.Repeat("A", 5000)
		a := w.leaked(nasty)
		a.Actor.Name, a.Actor.ID, a.Title, a.Actor.AccessKeyID = nasty, "user/"+account+"/"+nasty, nasty, nasty
		a.Details = map[string]any{"big": strings.Repeat("B", 1<<20), "id": json.Number("12345678901234567890")}
		p.give(t, 1, a)
		time.Sleep(time.Minute)
		synctest.Wait()
		// The alert, and that nothing is done about it.
		if n := len(slack.all()); n != 2 {
			t.Fatalf("%d messages", n)
		}
		if len(w.cloud.log()) != 0 {
			t.Fatal("acted on it")
		}
		for _, id := range []string{nasty, "", strings.Repeat("a", 61), "a/b", "a.b"} {
			if j := JournalID(id); len(j) > 60 || strings.ContainsAny(j, "/. *>") || j == "" {
				t.Errorf("%.20q becomes %q", id, j)
			}
		}
	})
}

func TestNewDispatcherRefuses(t *testing.T) {
	w := newWorld(t)
	m := w.machine()
	for name, o := range map[string]DispatcherOptions{
		"journal":  {Machine: m},
		"machine":  {Journal: faulty{w}},
		"notifier": {Machine: m, Journal: faulty{w}, Destinations: []Destination{{}}},
		"twice":    {Machine: m, Journal: faulty{w}, Destinations: []Destination{{Notifier: w.chat("a")}, {Notifier: w.chat("a")}}},
		"name":     {Machine: m, Journal: faulty{w}, Destinations: []Destination{{Notifier: w.chat("a/b")}}},
	} {
		if _, err := NewDispatcher(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A refused action is an alert of its own, once, with the reason and the next
// best step; a dry-run and a call without effect are not.
func TestRefusalIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		mode Mode
		edit func(a *alert.Alert)
		told int
	}{
		"a role's token":    {Auto, func(a *alert.Alert) { a.Actor.AccessKeyID = "STS.EXAMPLEtoken000000001" }, 1},
		"the root account":  {Approve, func(a *alert.Alert) { a.Actor.Type, a.Actor.ID = "root-account", "root/"+account }, 1},
		"only observed":     {Observe, func(a *alert.Alert) { a.Actor.AccessKeyID = "STS.EXAMPLEtoken000000001" }, 0},
		"nothing to refuse": {Auto, func(*alert.Alert) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				p := w.start([]Destination{{Notifier: slack}}, func(o *DispatcherOptions) {
					o.Playbooks = MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "leaked-key", Mode: c.mode}})
				})
				a := w.leaked("a1")
				c.edit(&a)
				p.give(t, 1, a)
				time.Sleep(time.Minute)
				p.stop()
				p = w.start([]Destination{{Notifier: slack}}) // and once more after a restart
				defer p.stop()
				time.Sleep(time.Minute)
				synctest.Wait()
				var told []alert.Alert
				for _, m := range slack.all() {
					if m.last.Alert.Rule == RuleActionRefused {
						told = append(told, m.last.Alert)
					}
				}
				if len(told) != c.told {
					t.Fatalf("told %d times", len(told))
				}
				if c.told > 0 && (!strings.Contains(told[0].Reason, "next: ") || told[0].Severity != alert.High || told[0].Details["alert"] != "a1") {
					t.Fatalf("%+v", told[0])
				}
			})
		})
	}
}

// Two incidents asked for the same, and one of them takes it back: the other is
// told that it is not contained any more, unless it is closed.
func TestWhoReliesOnWhatIsUndoneIsTold(t *testing.T) {
	for _, closed := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			slack := w.chat("slack")
			p := w.start([]Destination{{Notifier: slack}})
			defer p.stop()
			p.give(t, 1, w.leaked("a1"))
			time.Sleep(time.Minute)
			p.give(t, 2, w.leaked("a2"))
			time.Sleep(time.Minute)
			if closed {
				if _, err := p.Triage(ctxb, "a2", TriageRequest{Do: DoClose, By: "cli:dave", Verdict: Benign}); err != nil {
					t.Fatal(err)
				}
			}
			acts, err := p.m.ForAlert(ctxb, "a1")
			if err != nil || len(acts) != 1 {
				t.Fatal(acts, err)
			}
			if _, err := p.m.Undo(ctxb, acts[0].ID, "dave"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			told := slack.byRule(RuleActionRefused)
			if want := map[bool]int{false: 1}[closed]; len(told) != want {
				t.Fatalf("closed %v: told %d times, want %d", closed, len(told), want)
			}
			if !closed && !strings.Contains(told[0].last.Alert.Reason, "no longer so: dave undid action") {
				t.Fatal(told[0].last.Alert.Reason)
			}
		})
	}
}

// A refused attempt in the same incident makes the act that it is about no newer: what
// was too old to act on by itself stays so, until the act is done again.
func TestRefusedAttemptIsNoFreshEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		old, last event.Outcome
		together  bool // in one commit
		want      string
	}{
		"an act, then an attempt":  {event.Success, event.Attempt, false, "Active"},
		"both at once":             {event.Success, event.Attempt, true, "Active"},
		"an act, and once more":    {event.Success, event.Success, false, "Inactive"},
		"an attempt, then the act": {event.Attempt, event.Success, false, "Inactive"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.start(nil, func(o *DispatcherOptions) {
					o.Playbooks = MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "suspicious-key", Mode: Auto}})
				})
				defer p.stop()
				g := alert.NewGrouper(alert.GrouperConfig{})
				for i, o := range []event.Outcome{c.old, c.last} {
					at := w.clock.Now().Add([]time.Duration{-2 * time.Hour, -time.Minute}[i])
					a := w.leaked("a1")
					x := g.Add(alert.Detection{
						Rule: "ak.new_source_ip", Severity: alert.High, Outcome: o, Time: at, FirstAt: at, AccountID: account,
						Actor: a.Actor, EventIDs: []string{fmt.Sprint("E", i)}, Count: 1, Key: "k", Window: 365 * 24 * time.Hour,
					})
					if i == 1 || !c.together {
						p.give(t, uint64(i+1), *x)
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := w.cloud.status(aliceAK); got != c.want {
					l, err := p.m.List(ctxb, ListFilter{})
					t.Fatalf("the key is %s, want %s: %+v %v", got, c.want, l, err)
				}
			})
		})
	}
}

// What was to act by itself and is held back asks nobody. Its record says what it
// waits for, and people are paged when it comes to nothing: it was "nobody
// answered", and no alert.
func TestHeldBackIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		fresh, expires time.Duration
		down           bool // the process, all the time
		rule           string
		want           State
		says, sagt     string
	}{
		"until it expires":         {time.Hour, 30 * time.Minute, false, RuleActionFailed, Failed, "could not be done within 30m0s (self: who we are in the cloud could not be found out", "30m0s 内未能执行（自身：无法查明本系统在云上的身份"},
		"until it is too old":      {30 * time.Minute, time.Hour, false, RuleActionRefused, Refused, "s (self: who we are in the cloud could not be found out", "（自身：无法查明本系统在云上的身份"},
		"while the program is off": {time.Hour, 30 * time.Minute, true, RuleActionFailed, Failed, "could not be done within 30m0s", "30m0s 内未能执行"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				slack := w.chat("slack")
				blind := func(o *MachineOptions) {
					o.Self = func(context.Context) ([]Identity, error) { return nil, errors.New("sts does not answer") }
				}
				books := func(o *DispatcherOptions) {
					o.Playbooks = MergePlaybooks(DefaultPlaybooks(), []Playbook{{Name: "leaked-key", Mode: Auto, Expires: Duration(c.expires), Guards: GuardOverrides{MaxEvidenceAge: Duration(c.fresh)}}})
				}
				p := w.startWith([]Destination{{Notifier: slack}}, blind, books)
				p.give(t, 1, w.leaked("a1"))
				time.Sleep(10 * time.Second)
				if c.down {
					p.stop()
				} else {
					time.Sleep(time.Minute)
					synctest.Wait()
					if v := slack.of("a1")[0].last.Actions[0]; v.State != Proposed || !strings.Contains(v.Reason, "who we are") || !strings.Contains(v.Reason, "credentials") {
						t.Errorf("after a minute: %+v", v)
					}
				}
				time.Sleep(45 * time.Minute)
				if c.down {
					p = w.start([]Destination{{Notifier: slack}}, books)
					time.Sleep(time.Minute)
				}
				defer p.stop()
				synctest.Wait()
				v, pages := slack.of("a1")[0].last.Actions[0], slack.byRule(c.rule)
				if v.State != c.want || !strings.Contains(v.Reason, c.says) || !strings.Contains(InChinese(v.Reason), c.sagt) {
					t.Errorf("%+v\n%s", v, InChinese(v.Reason))
				}
				if len(pages) != 1 || !strings.Contains(pages[0].first.Alert.Reason, "by hand") || w.cloud.count("Execute") != 0 {
					t.Errorf("%d pages, calls %v", len(pages), w.cloud.log())
				}
			})
		})
	}
}
