package cli

import (
	"context"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/demo"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// One containment and its undo, with the process killed (kill -9) in every
// call to the cloud that changes something, before and after its effect, and
// while it reads: one effect each, nothing lost, the prior state restored, and
// an audit log that holds.
func TestKilledAtEveryStepOfAContainment(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	r := newRig(t, trail{})
	const key = "LTAI5tEXAMPLEcibuild001"
	var records [][]byte
	for _, rec := range demo.Leaked(time.Now()) {
		r.cloud.Seed(rec.JSON)
		records = append(records, rec.JSON)
	}
	before := r.cloud.RAM.State()
	client := admin.Dial(r.state)
	ctx := context.Background()

	// live runs the program until it is in the call that the fault holds
	// back, and kills it there.
	live := func(what string, f ramtest.Fault, then func(*child)) {
		t.Helper()
		f.Delay = time.Hour // ends when the client leaves
		h := r.cloud.RAM.Inject(f)
		c := startRun(t, bin, r.cloud.Config)
		if then != nil {
			then(c)
		}
		if !every(10*time.Millisecond, func() bool { return h.Hits() > 0 }) {
			t.Fatalf("%s: it never comes to that call\n%s", what, tail(c.log.String()))
		}
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-c.done
		r.cloud.RAM.ClearFaults()
	}
	action := func(c *child, state responders.State) responders.ActionDetail {
		t.Helper()
		var d responders.ActionDetail
		if !every(50*time.Millisecond, func() bool {
			ds, err := client.Actions(ctx)
			if err != nil {
				return false
			}
			for _, x := range ds {
				if x.Action.Target.AccessKeyID == key && x.Action.Rule == "ak.leaked_in_use" {
					d = x
				}
			}
			return d.State == state
		}) {
			t.Fatalf("the action is %s (%s), want %s\n%s", d.State, d.Reason, state, tail(c.log.String()))
		}
		return d
	}
	effects := func(what string, want int) {
		t.Helper()
		if n := r.changes(t)[key]; n != want {
			t.Fatalf("%s: the key was changed %d times, want %d", what, n, want)
		}
	}

	r.cloud.Append(records...)
	update := ramtest.Fault{Action: "UpdateAccessKey"}
	updated := ramtest.Fault{Action: "UpdateAccessKey", AfterWork: true}
	live("reading the state before", ramtest.Fault{Action: "ListAccessKeys"}, nil)
	effects("reading the state before", 0)
	live("the call, before its effect", update, nil)
	live("the call, after its effect", updated, nil)
	c := startRun(t, bin, r.cloud.Config)
	d := action(c, responders.Done)
	effects("after three deaths", 1)
	if s := r.cloud.RAM.KeyStatus(key); s != ramtest.Inactive {
		t.Fatalf("the key is %s", s)
	}
	c.stop(t)

	undo := func(c *child) {
		d := action(c, responders.Done)
		go func() { _, _ = client.Undo(ctx, d.ID) }() // the answer dies with the process
	}
	live("the undo, before its effect", update, undo)
	live("the undo, after its effect", updated, nil) // the intent is durable: it goes on by itself
	c = startRun(t, bin, r.cloud.Config)
	d = action(c, responders.Undone)
	effects("after five deaths", 2)
	var err error
	if got := r.cloud.RAM.State(); string(got) != string(before) {
		t.Errorf("the state is not the one before:\n%s\nwant\n%s", got, before)
	}
	var log journal.AuditReport
	if !every(100*time.Millisecond, func() (ok bool) {
		log, err = client.AuditVerify(ctx, "")
		return err == nil && log.OK() && log.Behind == 0 && log.Entries > 0
	}) {
		t.Errorf("the audit log: %+v %v", log, err)
	}
	// Every state is there, in an order that the machine allows.
	shown, err := client.Action(ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	var saw []responders.State
	for _, h := range shown.History {
		saw = append(saw, h.State)
	}
	for _, want := range []responders.State{responders.Proposed, responders.Approved, responders.Executing, responders.InDoubt, responders.Done, responders.Undoing, responders.Undone} {
		found := false
		for _, s := range saw {
			found = found || s == want
		}
		if !found {
			t.Errorf("no record of %s in %v", want, saw)
		}
	}
	c.stop(t)
}
