package ram

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/responders"
)

// errGone says that what was to be changed does not exist any more, which
// contains it too.
var errGone = errors.New("it does not exist (any more)")

// errMoved is errGone of what can be renamed, and lives on with all that it has:
// nothing is contained by that.
var errMoved = fmt.Errorf("%w, or has another name by now", errGone)

// moved is errMoved of a user or a group.
func moved(kind, name string) error { return fmt.Errorf("%s %s: %w", kind, name, errMoved) }

// change is one kind of change: a state that is read, and one call that sets
// it to an absolute value. S is that state; its JSON is the prior state that
// the machine keeps. All executors are made of one, so that all keep the same
// promises.
type change[S any] struct {
	c     *Client
	kind  string
	perms []string
	needs needs
	// check refuses parameters that make no sense; optional.
	check func(t *target) error
	// describe names the exact call that sets to.
	describe func(t target) string
	// back names the call that sets a prior state again.
	back func(t target, prior S) string
	// read returns the present state. errGone: nothing there to change.
	read func(ctx context.Context, sc scope, t target) (S, error)
	// veto says why the change must not be made although the target may be
	// acted on; optional. prior is what read returned; what since needs is noted in it.
	veto func(ctx context.Context, sc scope, t target, prior *S) error
	// since says what became of that on which the prior state rests, so that it
	// would not be the same if it were set again; optional.
	since func(ctx context.Context, sc scope, t target, prior S) error
	// born tells what only the very thing that is changed has and another one of its
	// name has not, an id or when it was made ("" when it is gone), and what to call
	// it; birth is where the prior state keeps that. Undo gives nothing to a
	// namesake. Optional, both.
	born  func(ctx context.Context, sc scope, t target, prior S) (what, id string, err error)
	birth func(s *S) *string
	// want is the state to come from prior, inForce whether it is there.
	want    func(t target, prior S) S
	inForce func(t target, s S) bool
	same    func(a, b S) bool
	// write makes the one call that leads from one state to the other.
	write func(ctx context.Context, sc scope, t target, from, to S) (requestID string, err error)
	// already says that a refusal of write means that to is there already.
	already func(err error) bool
	// owner says that a prior state is of this target.
	owner func(t target, s S) bool
	// words describes a state to people.
	words func(s S) string
	// set is the document that the configuration made of an action when its prior
	// state was read, which is what undo finds; optional.
	set func(s S) string
}

// executor carries a change out. It handles states without knowing their type:
// its methods, which are long, would be in the program once for each.
type executor struct {
	c        *Client
	kind     string
	perms    []string
	needs    needs
	check    func(t *target) error
	describe func(t target) string
	already  func(err error) bool
	// The rest is that of the change, on the same S in every place.
	parse     func(prior json.RawMessage) (any, error)
	back      func(t target, prior any) string
	read      func(ctx context.Context, sc scope, t target) (any, error)
	veto      func(ctx context.Context, sc scope, t target, prior any) (any, error) // prior with what it notes
	since     func(ctx context.Context, sc scope, t target, prior any) error
	born      func(ctx context.Context, sc scope, t target, prior any) (what, id string, err error)
	birth     func(s any) string
	withBirth func(s any, id string) any
	want      func(t target, prior any) any
	inForce   func(t target, s any) bool
	same      func(a, b any) bool
	write     func(ctx context.Context, sc scope, t target, from, to any) (requestID string, err error)
	owner     func(t target, s any) bool
	words     func(s any) string
	set       func(s any) string
}

// executor makes an executor of a change.
func (x change[S]) executor() responders.Executor {
	e := &executor{
		c: x.c, kind: x.kind, perms: x.perms, needs: x.needs, check: x.check, describe: x.describe, already: x.already,
		parse: func(prior json.RawMessage) (any, error) {
			var s S
			err := strictly(prior, &s)
			return s, err
		},
		back:    func(t target, prior any) string { return x.back(t, prior.(S)) },
		read:    func(ctx context.Context, sc scope, t target) (any, error) { return x.read(ctx, sc, t) },
		want:    func(t target, prior any) any { return x.want(t, prior.(S)) },
		inForce: func(t target, s any) bool { return x.inForce(t, s.(S)) },
		same:    func(a, b any) bool { return x.same(a.(S), b.(S)) },
		write: func(ctx context.Context, sc scope, t target, from, to any) (string, error) {
			return x.write(ctx, sc, t, from.(S), to.(S))
		},
		owner: func(t target, s any) bool { return x.owner(t, s.(S)) },
		words: func(s any) string { return x.words(s.(S)) },
	}
	if x.set != nil {
		e.set = func(s any) string { return x.set(s.(S)) }
	}
	if x.veto != nil {
		e.veto = func(ctx context.Context, sc scope, t target, prior any) (any, error) {
			s := prior.(S)
			err := x.veto(ctx, sc, t, &s)
			return s, err
		}
	}
	if x.since != nil {
		e.since = func(ctx context.Context, sc scope, t target, prior any) error { return x.since(ctx, sc, t, prior.(S)) }
	}
	if x.born != nil {
		e.born = func(ctx context.Context, sc scope, t target, prior any) (what, id string, err error) {
			return x.born(ctx, sc, t, prior.(S))
		}
	}
	if x.birth != nil {
		e.birth = func(s any) string {
			v := s.(S)
			return *x.birth(&v)
		}
		e.withBirth = func(s any, id string) any {
			v := s.(S)
			*x.birth(&v) = id
			return v
		}
	}
	return e
}

// Kind names the change, as in "ram.disable_access_key".
func (x *executor) Kind() string { return x.kind }

// Permissions lists the RAM actions needed, undo included.
func (x *executor) Permissions() []string { return append([]string(nil), x.perms...) }

// Describe says what Execute would call.
func (x *executor) Describe(a responders.Action) string {
	t, err := x.target(a)
	if err != nil {
		// Why it cannot be is the reason of the refusal, which stands beside it.
		return clean(x.kind+" "+cmp.Or(a.Target.AccessKeyID, a.Target.UserName, a.Target.RoleName), 300)
	}
	return clean(x.describe(t), 500) + " in account " + t.account
}

// Refusal implements responders.Refuser.
func (x *executor) Refusal(a responders.Action) error {
	_, err := x.target(a)
	return err
}

// DescribeUndo says what Undo would call.
func (x *executor) DescribeUndo(a responders.Action, prior json.RawMessage) string {
	t, err := x.target(a)
	if err != nil {
		return ""
	}
	s, err := x.decode(t, prior)
	if err != nil {
		return ""
	}
	return clean(x.back(t, s), 500) + " in account " + t.account
}

func (x *executor) target(a responders.Action) (target, error) {
	if a.Kind != x.kind {
		return target{}, refuse("an action of kind %q came to %s", clean(a.Kind, 60), x.kind)
	}
	n := x.needs
	if n == aUserOrRole && a.Target.Params["group"] != "" {
		n = 0 // it is about a group, whoever the actor was
	}
	t, err := checkTarget(a, n)
	if err == nil && x.check != nil {
		err = x.check(&t)
	}
	return t, err
}

// enter is how to reach the target's account, unless it may not be acted on.
func (c *Client) enter(ctx context.Context, t target) (scope, error) {
	sc, err := c.in(ctx, t.account)
	if err == nil {
		err = c.spared(ctx, t)
	}
	return sc, err
}

func (x *executor) decode(t target, prior json.RawMessage) (any, error) {
	s, err := x.parse(prior)
	if err != nil {
		return nil, err
	}
	if !x.owner(t, s) {
		return nil, refuse("the state before, as recorded, is of another target")
	}
	return s, nil
}

func strictly(prior json.RawMessage, s any) error {
	d := json.NewDecoder(bytes.NewReader(prior))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return refuse("the state before, as recorded, cannot be read (%v)", err)
	}
	return nil
}

func encode(s any) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // states are structs of strings and booleans
		return nil
	}
	return b
}

// Read returns the present state as JSON, or says why nothing is to be done.
func (x *executor) Read(ctx context.Context, a responders.Action) (json.RawMessage, error) {
	t, err := x.target(a)
	if err != nil {
		return nil, err
	}
	sc, err := x.c.enter(ctx, t)
	if err != nil {
		return nil, err
	}
	s, err := x.read(ctx, sc, t)
	switch {
	case errors.Is(err, errMoved):
		return nil, notFound(err)
	case errors.Is(err, errGone):
		return nil, settled("nothing to do, %w", err)
	case err != nil:
		return nil, err
	case x.inForce(t, s):
		return nil, settled("nothing to do, it is %s", x.words(s))
	}
	if x.veto != nil {
		if s, err = x.veto(ctx, sc, t, s); err != nil {
			return nil, err
		}
	}
	if x.born != nil {
		switch _, id, err := x.born(ctx, sc, t, s); {
		case err == nil:
			s = x.withBirth(s, id)
		case errors.Is(err, responders.ErrRetry):
			return nil, err
		}
		// Where it may not be read, containment goes on and undo goes by the name.
	}
	return encode(s), nil
}

// notFound refuses what has no such name any more.
func notFound(err error) error {
	return refuse("%v; look for UpdateUser and UpdateGroup in the trail, and act on what has the new name", err)
}

// equal compares states by what is changed.
func (x *executor) equal(a, b any) bool {
	if x.birth != nil {
		a, b = x.withBirth(a, ""), x.withBirth(b, "")
	}
	return x.same(a, b)
}

// namesake says why what is to be restored would go to another thing of the
// same name.
func (x *executor) namesake(ctx context.Context, sc scope, t target, before any) error {
	if x.born == nil || x.birth(before) == "" {
		return nil
	}
	what, id, err := x.born(ctx, sc, t, before)
	switch {
	case err == nil && id == "":
		return drift("%s was deleted since", what)
	case err == nil && id != x.birth(before):
		return drift("%s was deleted since, and what has its name now is another one; nothing is given to it", what)
	}
	return err
}

// Execute makes the change and reads it back.
func (x *executor) Execute(ctx context.Context, a responders.Action, prior json.RawMessage) (responders.Result, error) {
	t, err := x.target(a)
	if err != nil {
		return responders.Result{}, err
	}
	before, err := x.decode(t, prior)
	if err != nil {
		return responders.Result{}, err
	}
	if x.inForce(t, before) {
		return responders.Result{}, settled("nothing to do, it was %s", x.words(before))
	}
	sc, err := x.c.enter(ctx, t)
	if err != nil {
		return responders.Result{}, notSent(err)
	}
	if x.veto != nil {
		if before, err = x.veto(ctx, sc, t, before); err != nil {
			return responders.Result{}, notSent(err)
		}
	}
	id, err := x.write(ctx, sc, t, before, x.want(t, before))
	switch {
	case err != nil && x.already(err):
		return responders.Result{}, settled("nothing to do: %s", code(err))
	case err != nil:
		return responders.Result{}, err
	}
	after, ok, err := x.wait(ctx, sc, t, x.c.cfg.ReadBack, func(s any) bool { return x.inForce(t, s) })
	r := responders.Result{Changed: true, Prior: prior, RequestID: id}
	switch {
	case errors.Is(err, errGone):
		r.Note = "changed, and deleted by somebody right after"
		return r, nil
	case err != nil:
		return responders.Result{}, unread("it", id, err)
	case !ok:
		return responders.Result{}, unseen("it", id, x.c.cfg.ReadBack, x.words(after))
	}
	r.After = encode(after)
	return r, nil
}

// unread and unseen are the errors of a change that was accepted and does not
// show.
func unread(what, id string, err error) error {
	return fmt.Errorf("the cloud accepted %s (request %s), but it could not be read back (%w): %w", what, id, plain{err}, responders.ErrInDoubt)
}

func unseen(what, id string, long time.Duration, present string) error {
	return fmt.Errorf("the cloud accepted %s (request %s), but after %s it still reads %s: %w", what, id, long, present, responders.ErrInDoubt)
}

// notSent keeps the class of an error of a read that came before the write:
// whatever it was, the write did not happen.
func notSent(err error) error {
	if errors.Is(err, responders.ErrRetry) || errors.Is(err, responders.ErrRefused) || errors.Is(err, responders.ErrSettled) {
		return err
	}
	return fmt.Errorf("nothing was changed: %w: %w", err, responders.ErrRetry)
}

// plain shows an error and hides its class: a failed read after a write is
// neither a retry nor a refusal of the write.
type plain struct{ err error }

func (p plain) Error() string { return p.err.Error() }

// verifyFor is how long Verify and Undo give a lagging read.
const verifyFor = 2 * time.Second

// Verify reads whether the change is in force. A target that is gone counts as
// contained.
func (x *executor) Verify(ctx context.Context, a responders.Action) (bool, json.RawMessage, error) {
	t, err := x.target(a)
	if err != nil {
		return false, nil, err
	}
	sc, err := x.c.in(ctx, t.account)
	if err != nil {
		return false, nil, err
	}
	s, ok, err := x.wait(ctx, sc, t, verifyFor, func(s any) bool { return x.inForce(t, s) })
	switch {
	case errors.Is(err, errMoved):
		return false, nil, notFound(err)
	case errors.Is(err, errGone):
		return true, json.RawMessage(`{"gone":true}`), nil
	case err != nil:
		return false, nil, err
	}
	return ok, encode(s), nil
}

// Undo restores prior if what Execute left is still there.
func (x *executor) Undo(ctx context.Context, a responders.Action, prior json.RawMessage) (responders.Result, error) {
	t, err := x.target(a)
	if err != nil {
		return responders.Result{}, err
	}
	before, err := x.decode(t, prior)
	if err != nil {
		return responders.Result{}, err
	}
	if x.inForce(t, before) {
		return responders.Result{}, refuse("it was %s before already, so there is nothing of ours to undo", x.words(before))
	}
	if x.set != nil {
		t.set = x.set(before)
	}
	left := x.want(t, before)
	// Who is protected now was not when this was done; giving back what was
	// taken is right for them too, so only the account is checked.
	sc, err := x.c.in(ctx, t.account)
	if err != nil {
		return responders.Result{}, notSent(err)
	}
	present, ok, err := x.wait(ctx, sc, t, verifyFor, func(s any) bool { return x.equal(s, left) })
	switch {
	case errors.Is(err, errGone):
		return responders.Result{}, drift("it was deleted since, and cannot be given back")
	case err != nil:
		return responders.Result{}, notSent(err)
	case !ok && x.equal(present, before):
		return responders.Result{}, settled("nothing to undo, it is %s again", x.words(present))
	case !ok:
		return responders.Result{}, drift("somebody changed it since: it is %s, and we left it %s", x.words(present), x.words(left))
	}
	err = x.namesake(ctx, sc, t, before)
	if err == nil && x.since != nil {
		err = x.since(ctx, sc, t, before)
	}
	switch {
	case errors.Is(err, responders.ErrDrift):
		return responders.Result{}, err
	case err != nil:
		return responders.Result{}, notSent(err)
	}
	id, err := x.write(ctx, sc, t, left, before)
	switch {
	case err != nil && x.already(err):
		return responders.Result{}, settled("nothing to undo: %s", code(err))
	case err != nil:
		return responders.Result{}, err
	}
	after, ok, err := x.wait(ctx, sc, t, x.c.cfg.ReadBack, func(s any) bool { return x.equal(s, before) })
	switch {
	case errors.Is(err, errGone):
		return responders.Result{}, drift("it was deleted right after it was restored")
	case err != nil:
		return responders.Result{}, unread("the undo", id, err)
	case !ok:
		return responders.Result{}, unseen("the undo", id, x.c.cfg.ReadBack, x.words(after))
	}
	return responders.Result{Changed: true, Prior: encode(left), After: encode(after), RequestID: id}, nil
}

// wait reads until good, for at most long: what was just changed may not show
// at once. The last state read is returned either way.
func (x *executor) wait(ctx context.Context, sc scope, t target, long time.Duration, good func(any) bool) (s any, ok bool, err error) {
	ok, err = x.c.until(ctx, long, func() (ok bool, err error) {
		if s, err = x.read(ctx, sc, t); err == nil {
			ok = good(s)
		}
		return ok, err
	})
	return s, ok, err
}

// until asks again and again whether it is so, with pauses of at most long in all.
func (c *Client) until(ctx context.Context, long time.Duration, so func() (bool, error)) (bool, error) {
	var spent time.Duration
	for n := 0; ; n++ {
		if ok, err := so(); ok || err != nil {
			return ok, err
		}
		pause := min(backoff(n), time.Second)
		if spent += pause; spent > long {
			return false, nil
		}
		if dl, ok := ctx.Deadline(); ok && time.Until(dl) < pause+time.Second {
			return false, nil // the next read would not end in time
		}
		if c.cfg.Sleep(ctx, pause) != nil {
			return false, nil
		}
	}
}

func equal[S comparable](a, b S) bool { return a == b }

// Executors lists every kind of change, in a fixed order.
func (c *Client) Executors() []responders.Executor {
	return []responders.Executor{
		c.fenceKey(), c.fenceUser(), c.disableAccessKey(), c.blockConsole(), c.quarantineUser(),
		c.cutRoleSessions(), c.narrowTrust(), c.detachPolicy(), c.setDefaultPolicyVersion(), c.removeFromGroup(), c.startLogging(),
	}
}
