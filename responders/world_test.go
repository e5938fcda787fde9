package responders_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	words "github.com/trailwarden/trailwarden/responders/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// english is how these tests read what threads say.
var english = words.For(words.English, nil)

const (
	account = "1000000000000001"
	aliceAK = "LTAI5tEXAMPLEalice00001"
	bobAK   = "LTAI5tEXAMPLEbob0000001"
	kind    = KindDisableAccessKey
)

var t0 = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)

// clock is a clock that only tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
	fn  func() time.Time // in a synctest bubble: its clock
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fn != nil {
		return c.fn().UTC()
	}
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// errDead is what a dead process gets from everything.
var errDead = errors.New("the process is dead")

// world is what outlives a process: the cloud, the journal, time.
type world struct {
	t     testing.TB
	clock *clock
	mem   *journal.Memory
	cloud *cloud

	mu       sync.Mutex
	dead     bool
	noOracle bool // do not look for the intent in the memory journal
	plain3   bool // the journal has the three needed methods only
	appends  int
	// onAppend decides what happens to the n-th append (from 1).
	onAppend func(n int, kind string) fault
}

func newWorld(t testing.TB) *world {
	c := &clock{now: t0}
	w := &world{t: t, clock: c, mem: &journal.Memory{Now: c.Now}}
	w.cloud = &cloud{w: w, keys: map[string]string{aliceAK: "Active", bobAK: "Active"}, owners: map[string]string{aliceAK: "alice", bobAK: "bob"}}
	return w
}

// fault is what goes wrong with one call.
type fault string

const (
	none       fault = ""
	dieBefore  fault = "die before"   // the process ends, nothing happened
	dieAfter   fault = "die after"    // it happened, then the process ends
	errBefore  fault = "error before" // nothing happened
	errAfter   fault = "error after"  // it happened, the answer says otherwise
	lostBefore fault = "lost before"  // in doubt, nothing happened
	lostAfter  fault = "lost after"   // in doubt, it happened
	panicAfter fault = "panic after"
	throttled  fault = "throttled"
	refusedBy  fault = "refused"
	final      fault = "final error"
)

func (w *world) die() { w.mu.Lock(); w.dead = true; w.mu.Unlock() }
func (w *world) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// revive is the start of a new process; faults of the journal end with the old one.
func (w *world) revive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead, w.onAppend = false, nil
}

// faulty is the world's journal as a process sees it.
type faulty struct{ w *world }

func (f faulty) Append(ctx context.Context, kind, id string, data []byte, expect uint64) (uint64, error) {
	f.w.mu.Lock()
	if f.w.dead {
		f.w.mu.Unlock()
		return 0, errDead
	}
	f.w.appends++
	what := none
	if f.w.onAppend != nil {
		what = f.w.onAppend(f.w.appends, kind)
	}
	f.w.mu.Unlock()
	switch what {
	case dieBefore:
		f.w.die()
		return 0, errDead
	case errBefore:
		return 0, errors.New("injected: not stored")
	}
	seq, err := f.w.mem.Append(ctx, kind, id, data, expect)
	switch what {
	case dieAfter:
		f.w.die()
		return 0, errDead
	case errAfter:
		return 0, errors.New("injected: answer lost")
	}
	return seq, err
}

func (f faulty) History(ctx context.Context, kind, id string) ([]Entry, error) {
	if f.w.isDead() {
		return nil, errDead
	}
	return f.w.mem.History(ctx, kind, id)
}

func (f faulty) IDs(ctx context.Context, kind string) ([]string, error) {
	if f.w.isDead() {
		return nil, errDead
	}
	return f.w.mem.IDs(ctx, kind)
}

// lasting is faulty with the short ways of reading; without it everything is
// read through the three methods that a journal must have.
type lasting struct{ faulty }

func (f lasting) Last(ctx context.Context, kind, id string) (Entry, bool, error) {
	if f.w.isDead() {
		return Entry{}, false, errDead
	}
	return f.w.mem.Last(ctx, kind, id)
}

func (f lasting) EachLast(ctx context.Context, kind string, yield func(string, Entry) error) error {
	if f.w.isDead() {
		return errDead
	}
	return f.w.mem.EachLast(ctx, kind, yield)
}

// cloud is the account with its keys, and the executor that changes them.
type cloud struct {
	w *world

	mu     sync.Mutex
	keys   map[string]string // status by key
	owners map[string]string
	calls  []string // "Read", "Execute", … in order
	// effects counts the changes that took hold, by action and method.
	effects map[string]int
	next    []fault // for the next calls of Execute and Undo
	nextGet []fault // for the next calls of Read and Verify
	slow    chan struct{}
	request string // id of the answers; REQ-1 when empty
}

type keyState struct {
	Status string `json:"status"`
}

func (c *cloud) Kind() string          { return kind }
func (c *cloud) Permissions() []string { return []string{"ram:ListAccessKeys", "ram:UpdateAccessKey"} }
func (c *cloud) Describe(a Action) string {
	return fmt.Sprintf("UpdateAccessKey %s of %s: Inactive", a.Target.AccessKeyID, a.Target.UserName)
}

// Refusal refuses what the parameter "impossible" asks for.
func (c *cloud) Refusal(a Action) error {
	if why := a.Target.Params["impossible"]; why != "" {
		return fmt.Errorf("%s: %w", why, ErrRefused)
	}
	return nil
}

func (c *cloud) status(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[key]
}

func (c *cloud) set(key, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[key] = status
}

func (c *cloud) count(call string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, x := range c.calls {
		if x == call {
			n++
		}
	}
	return n
}

func (c *cloud) log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// effect is how often a method of one action took hold.
func (c *cloud) effect(method, id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.effects[method+" "+id]
}

func (c *cloud) totalEffects(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for k, v := range c.effects {
		if strings.HasPrefix(k, method+" ") {
			n += v
		}
	}
	return n
}

func pop(list *[]fault) fault {
	if len(*list) == 0 {
		return none
	}
	f := (*list)[0]
	*list = (*list)[1:]
	return f
}

func (c *cloud) get(call string, a Action) (string, error) {
	if c.w.isDead() {
		return "", errDead
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	switch pop(&c.nextGet) {
	case dieBefore, dieAfter:
		c.w.die()
		return "", errDead
	case throttled:
		return "", fmt.Errorf("Throttling.User: %w", ErrRetry)
	case refusedBy:
		return "", fmt.Errorf("NoPermission: %w", ErrRefused)
	case final, errBefore, errAfter:
		return "", errors.New("MalformedAnswer")
	case lostBefore, lostAfter:
		return "", fmt.Errorf("connection reset: %w", ErrInDoubt)
	case panicAfter:
		panic("numeric code")
	}
	if c.owners[a.Target.AccessKeyID] != a.Target.UserName {
		return "", fmt.Errorf("the key is not %s's: %w", a.Target.UserName, ErrRefused)
	}
	return c.keys[a.Target.AccessKeyID], nil
}

func (c *cloud) Read(_ context.Context, a Action) (json.RawMessage, error) {
	s, err := c.get("Read", a)
	if err != nil {
		return nil, err
	}
	if s == "Inactive" {
		return nil, fmt.Errorf("the key is Inactive: %w", ErrSettled)
	}
	return json.Marshal(keyState{s})
}

func (c *cloud) Verify(_ context.Context, a Action) (bool, json.RawMessage, error) {
	s, err := c.get("Verify", a)
	if err != nil {
		return false, nil, err
	}
	after, err := json.Marshal(keyState{s})
	return s == "Inactive", after, err
}

func (c *cloud) Execute(ctx context.Context, a Action, prior json.RawMessage) (Result, error) {
	// The oracle of "intent before effect": whoever calls this must have made
	// the intent durable, with the prior state.
	c.wantIntent(a, Executing)
	return c.change(ctx, "Execute", a, "Inactive", prior)
}

func (c *cloud) Undo(ctx context.Context, a Action, prior json.RawMessage) (Result, error) {
	c.wantIntent(a, Undoing)
	var p keyState
	if err := json.Unmarshal(prior, &p); err != nil {
		return Result{}, err
	}
	if s := c.status(a.Target.AccessKeyID); s != "Inactive" {
		return Result{}, fmt.Errorf("the key is %s: %w", s, ErrDrift)
	}
	return c.change(ctx, "Undo", a, p.Status, prior)
}

func (c *cloud) wantIntent(a Action, want State) {
	if c.w.isDead() || c.w.noOracle {
		return
	}
	h, err := c.w.mem.History(context.Background(), "action", a.ID)
	if err != nil || len(h) == 0 {
		c.w.t.Errorf("a call without any record: %v", err)
		return
	}
	var r struct {
		State State
		Prior json.RawMessage
	}
	if err := json.Unmarshal(h[len(h)-1].Data, &r); err != nil {
		c.w.t.Error(err)
		return
	}
	if r.State != want || len(r.Prior) == 0 {
		c.w.t.Errorf("a call in state %s with prior %s; want %s and a prior", r.State, r.Prior, want)
	}
}

func (c *cloud) change(ctx context.Context, method string, a Action, status string, prior json.RawMessage) (Result, error) {
	if c.w.isDead() {
		return Result{}, errDead
	}
	if c.slow != nil {
		select {
		case <-c.slow:
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, method)
	hit := func() {
		c.keys[a.Target.AccessKeyID] = status
		if c.effects == nil {
			c.effects = map[string]int{}
		}
		c.effects[method+" "+a.ID]++
	}
	switch f := pop(&c.next); f {
	case none:
		hit()
		after, err := json.Marshal(keyState{status})
		return Result{Changed: true, Prior: prior, After: after, RequestID: cmp.Or(c.request, "REQ-1")}, err
	case dieBefore:
		c.w.die()
		return Result{}, errDead
	case dieAfter:
		hit()
		c.w.die()
		return Result{}, errDead
	case lostBefore, errBefore:
		return Result{}, fmt.Errorf("time-out: %w", ErrInDoubt)
	case lostAfter, errAfter:
		hit()
		return Result{}, fmt.Errorf("time-out: %w", ErrInDoubt)
	case panicAfter:
		hit()
		panic("index out of range")
	case throttled:
		return Result{}, &RetryAfterError{After: 3 * time.Second, Err: errors.New("Throttling.User")}
	case refusedBy:
		return Result{}, fmt.Errorf("NoPermission: %w", ErrRefused)
	default:
		return Result{}, errors.New("EntityNotExist.User")
	}
}

func (w *world) journal() Journal {
	if w.plain3 {
		return faulty{w}
	}
	return lasting{faulty{w}}
}

// options are what tests start from; edit before newMachine.
func (w *world) options() MachineOptions {
	return MachineOptions{
		Journal:   w.journal(),
		Executors: []Executor{w.cloud},
		MaxMode:   Auto,
		Self: func(context.Context) ([]Identity, error) {
			return []Identity{{AccountID: account, RoleName: "trailwarden-responder"}, {AccountID: account, UserName: "trailwarden-reader", AccessKeyID: "LTAI5tEXAMPLEreader0001"}}, nil
		},
		Approvers: []Approver{
			{Name: "carol", IDs: []string{"slack:UCAROL", "ram:" + account + "/carol"}},
			{Name: "dave", IDs: []string{"cli:dave"}},
			{Name: "alice", IDs: []string{"ram:" + account + "/alice"}},
		},
		Now: w.clock.Now,
	}
}

func (w *world) machine(edit ...func(*MachineOptions)) *Machine {
	w.t.Helper()
	o := w.options()
	for _, f := range edit {
		f(&o)
	}
	m, err := NewMachine(o)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := m.Recover(context.Background()); err != nil && !w.isDead() {
		w.t.Fatal(err)
	}
	return m
}

// action is the standard request: alice's key, leaked, just now.
func (w *world) action(mode Mode) Action {
	a := Action{
		Kind: kind, AlertID: "a1", Rule: "ak.leaked_in_use", Playbook: "leaked-key", Mode: mode,
		Target:   ActionTarget{AccountID: account, PrincipalType: "ram-user", UserName: "alice", AccessKeyID: aliceAK},
		Evidence: Evidence{EventIDs: []string{"E1"}, Time: w.clock.Now().Add(-time.Minute), Outcome: "success"},
	}
	a.ID = ActionID(a)
	return a
}

func (w *world) propose(m *Machine, mode Mode, edit ...func(*Proposal)) ActionDetail {
	w.t.Helper()
	p := Proposal{Action: w.action(mode), Origin: Live}
	for _, f := range edit {
		f(&p)
	}
	d, err := m.Propose(context.Background(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// drive sweeps and moves the clock on until everything is settled or waits
// for people, the process dies, or limit has passed.
func (w *world) drive(m *Machine, limit time.Duration) {
	w.t.Helper()
	end := w.clock.Now().Add(limit)
	for range 3000 {
		_, _ = m.Sweep(context.Background()) // errors are retried by the machine itself
		if w.isDead() {
			return
		}
		due := m.NextDue()
		if due.IsZero() {
			return
		}
		if due.After(end) {
			w.clock.advance(end.Sub(w.clock.Now()))
			return
		}
		w.clock.advance(max(due.Sub(w.clock.Now()), 0))
	}
	w.t.Fatal("the machine never comes to rest")
}

func (w *world) show(m *Machine, id string) ActionDetail {
	w.t.Helper()
	d, err := m.Show(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) want(m *Machine, id string, s State) ActionDetail {
	w.t.Helper()
	d := w.show(m, id)
	if d.State != s {
		w.t.Fatalf("state %s (%s), want %s; history %.300s", d.State, d.Reason, s, states(d))
	}
	return d
}

func leakedAlert(id string, key, user string, at time.Time) alert.Alert {
	return alert.Alert{
		Schema: alert.Schema, ID: id, Rule: "ak.leaked_in_use", RuleVersion: 1, Title: "A leaked key is in use", Reason: "Somebody holds the key",
		Severity: alert.Critical, Outcome: "attempt", Time: at, FirstAt: at, LastAt: at, Count: 1, AccountID: account,
		Actor:    alert.Actor{Type: "ram-user", ID: "user/" + account + "/" + user, Name: user, AccessKeyID: key},
		SourceIP: "203.0.113.7", EventIDs: []string{"E-" + id}, Revision: 1,
	}
}
