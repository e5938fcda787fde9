package responders_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// However much was done, the ledger has its size, and what is folded weakens no
// guard: whatever the whole list would keep from passing does not pass.
func TestPropLedgerIsBounded(t *testing.T) {
	const size = 1500
	t.Cleanup(SetMaxLedger(size, 6))
	folded := 0
	rapid.Check(t, func(rt *rapid.T) {
		var l Ledger
		var all []Execution
		now := t0
		accounts := rapid.IntRange(1, 12).Draw(rt, "accounts")
		for i := range rapid.IntRange(1, 30).Draw(rt, "actions") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 20, 40, 70, 300}).Draw(rt, "minutes")) * time.Minute)
			a, env := fine()
			a.ID = fmt.Sprint("a", i)
			a.Target.AccountID = fmt.Sprint(1000000000000000 + rapid.IntRange(1, accounts).Draw(rt, "account"))
			a.Target.AccessKeyID = fmt.Sprint("LTAI5tEXAMPLE", rapid.IntRange(1, 40).Draw(rt, "key"))
			env.Now, env.Asked, a.Evidence.Time = now, now, now
			env.Config.PerHour, env.Config.PerAccountHour, env.Config.PerAccountDay = rapid.IntRange(1, 60).Draw(rt, "hour"), rapid.IntRange(1, 60).Draw(rt, "account hour"), rapid.IntRange(1, 60).Draw(rt, "day")
			env.Config.KeyShare, env.KnownKeys = 0.5, rapid.IntRange(1, 60).Draw(rt, "keys")
			env.Executions = all
			want, _ := judge(a, env)
			l.Env(env)
			if got, _ := judge(a, env); got.Decision == Pass && want.Decision != Pass {
				rt.Fatalf("action %d passes; all that was begun says %s: %s", i, want.Decision, want.Reason)
			}
			if err := l.Begin(a, now); err != nil {
				rt.Fatal(err)
			}
			all = append(all, Execution{ActionID: a.ID, Target: a.Target, At: now})
			b, err := json.Marshal(&l)
			if err != nil || len(b) > size {
				rt.Fatalf("%d bytes, %v", len(b), err)
			}
			folded = max(folded, l.Counts())
			var again Ledger
			if err := json.Unmarshal(b, &again); err != nil {
				rt.Fatal(err)
			}
			if c, err := json.Marshal(&again); err != nil || string(c) != string(b) {
				rt.Fatalf("read and written: %s, %v; was %s", c, err, b)
			}
			l = again
		}
	})
	if folded == 0 {
		t.Error("nothing was folded")
	}
}

// A ledger that an older version filled is read, and made small by the next action.
// What is written then older versions refuse.
func TestLedgerOfManyActions(t *testing.T) {
	w := newWorld(t)
	var old struct {
		Executions []Execution `json:"executions"`
	}
	for i := range 60 {
		old.Executions = append(old.Executions, Execution{ActionID: fmt.Sprintf("%032x", i), At: t0.Add(-time.Duration(i) * 5 * time.Minute),
			Target: ActionTarget{AccountID: fmt.Sprint(2000000000000000 + i%7), PrincipalType: "ram-user", UserName: fmt.Sprint("user", i, strings.Repeat("x", 14_000))}})
	}
	b, err := json.Marshal(old)
	if err == nil { // up to the last byte of a record
		old.Executions[0].Target.UserName += strings.Repeat("x", journal.MaxData-len(b))
		b, err = json.Marshal(old)
	}
	if err == nil {
		_, err = w.mem.Append(ctxb, "ledger", "all", b, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := w.machine()
	d := w.propose(m, Auto)
	w.drive(m, time.Minute)
	if x := w.want(m, d.ID, Proposed); !strings.Contains(x.Reason, "cap") {
		t.Fatal(x.Reason)
	}
	if _, err := m.Approve(ctxb, d.ID, "dave", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.drive(m, time.Minute)
	w.want(m, d.ID, Done)
	h, err := w.mem.History(ctxb, "ledger", "all")
	if err != nil || len(h) != 3 {
		t.Fatalf("%d records, %v", len(h), err)
	}
	for _, e := range h[1:] {
		if len(e.Data) > 256<<10 {
			t.Errorf("it has %d bytes", len(e.Data))
		}
		if err := json.Unmarshal(e.Data, &old); err == nil {
			t.Error("an older version reads it, without the counts")
		}
	}
	// What a newer version writes is refused as well.
	e := w.propose(m, Approve, func(p *Proposal) {
		p.Action.AlertID, p.Action.Target.UserName, p.Action.Target.AccessKeyID = "a2", "bob", bobAK
	})
	if _, err := w.mem.Append(ctxb, "ledger", "all", []byte(`{"v":3,"executions":"x"}`), h[2].Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Approve(ctxb, e.ID, "dave", e.Hash); err == nil {
		w.drive(m, time.Minute)
	} else if !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
	if w.cloud.keys[bobAK] != "Active" {
		t.Error("acted without the ledger")
	}
}
