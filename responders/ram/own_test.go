package ram

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	ramapi "github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// Every kind that playbooks know has an executor and the other way round.
func TestEveryKindIsKnown(t *testing.T) {
	r := newRig(t)
	var got []string
	for _, e := range r.c.Executors() {
		got = append(got, e.Kind())
	}
	slices.Sort(got)
	if !slices.Equal(got, responders.Kinds()) {
		t.Fatalf("executors %v\nknown     %v", got, responders.Kinds())
	}
}

// A cut stops the sessions that are open, and ends by itself when they have
// ended.
func TestCutEndsByItself(t *testing.T) {
	start := time.Now()
	var later time.Duration // set between calls only
	r := newRig(t, func(o *ramtest.Options, c *Config) {
		o.Enforce, o.MaxSkew = true, 48*time.Hour
		o.Now = func() time.Time { return start.Add(later) }
		c.Now = func() time.Time { return start.Add(later) }
	})
	if err := r.cloud.Attach(acct, "System", "AdministratorAccess", "role", "trailwarden-responder"); err != nil {
		t.Fatal(err)
	}
	if err := r.cloud.Attach(acct, "System", "AdministratorAccess", "role", "ci"); err != nil {
		t.Fatal(err)
	}
	try := func() error {
		s := r.cloud.AddSession(acct, "ci", "stolen", 12*time.Hour)
		return r.callAs(t, s)
	}
	if err := try(); err != nil {
		t.Fatalf("before: %v", err)
	}
	a := action(responders.KindCutRoleSessions, aRoleNamed("ci"))
	e := r.exec(a.Kind)
	prior, err := e.Read(t.Context(), a)
	if err == nil {
		_, err = e.Execute(t.Context(), a, prior)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := try(); err == nil {
		t.Fatal("the session still works")
	}
	later = 30 * time.Minute
	if err := try(); err == nil {
		t.Fatal("the session works before it can have ended")
	}
	later = time.Hour + 3*time.Minute // beyond the role's MaxSessionDuration
	if err := try(); err != nil {
		t.Fatalf("the cut does not end: %v", err)
	}
	// The undo still takes away what is left of it.
	later = 0
	if _, err := e.Undo(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(r.cloud.State()), ownPrefix+"cut-") {
		t.Fatal("the undo leaves the policy")
	}
}

func (r *rig) callAs(t *testing.T, s ramtest.Credentials) error {
	t.Helper()
	cfg := r.c.cfg
	cfg.Credentials = credOf(s)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.listKeys(t.Context(), scope{acct, own{}}, "bob")
	return err
}

// A policy of our name that says something else is not used.
func TestForeignPolicyOfOurName(t *testing.T) {
	r := newRig(t)
	a := action(responders.KindCutRoleSessions, aRoleNamed("ci"))
	e := r.exec(a.Kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var s OwnPolicyState
	if err := json.Unmarshal(prior, &s); err != nil {
		t.Fatal(err)
	}
	r.cloud.AddPolicy(acct, s.PolicyName, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	before := r.cloud.State()
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) {
		t.Fatalf("%v, want refused", err)
	}
	sameState(t, before, r.cloud.State())
}

func TestNarrow(t *testing.T) {
	trust := func(principal string) string {
		return `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":` + principal + `}]}`
	}
	for _, c := range []struct{ name, doc, remove, want string }{
		{"one of two", trust(`{"RAM":["acs:ram::1:root","acs:ram::1000000000000002:root"]}`), "acs:ram::1000000000000002:root", trust(`{"RAM":["acs:ram::1:root"]}`)},
		{"all others", trust(`{"RAM":["acs:ram::` + acct + `:root","acs:ram::1000000000000002:root","*"]}`), "external", trust(`{"RAM":["acs:ram::` + acct + `:root"]}`)},
		{"text form", trust(`{"RAM":"*"}`), "external", strings.Replace(trust(`{"RAM":"*"}`), "Allow", "Deny", 1)},
		{"anybody", trust(`"*"`), "external", strings.Replace(trust(`"*"`), "Allow", "Deny", 1)},
		{"a service stays", trust(`{"Service":["ecs.aliyuncs.com"],"RAM":["acs:ram::2:root"]}`), "external", trust(`{"Service":["ecs.aliyuncs.com"]}`)},
		{"nobody left", trust(`{"RAM":["acs:ram::2:root"]}`), "external", strings.Replace(trust(`{"RAM":["acs:ram::2:root"]}`), "Allow", "Deny", 1)},
		{"not there", trust(`{"RAM":["acs:ram::2:root"]}`), "acs:ram::1000000000000003:root", ""},
	} {
		out, changed, err := narrow(c.doc, acct, removed(c.remove))
		if err != nil || changed != (c.want != "") || changed && !sameJSON(out, c.want) {
			t.Errorf("%s: %s %v %v\nwant %s", c.name, out, changed, err, c.want)
		}
		if !changed {
			continue
		}
		if _, again, err := narrow(out, acct, removed(c.remove)); err != nil || again {
			t.Errorf("%s: not settled: %v %v", c.name, again, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", `{"Statement":[]}`, `{"Statement":[1]}`, trust(`{"RAM":[1]}`), trust(`{"RAM":{}}`), trust(`null`)} {
		if _, _, err := narrow(bad, acct, []string{external}); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

// Narrowing takes access away and never gives any: no principal is allowed
// afterwards that was not before, and none of those that go stays.
func TestNarrowOnlyTakesAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.SampledFrom([]string{"acs:ram::1:root", "acs:ram::1:user/a", "acs:ram::2:root", "acs:ram::2:role/b", "*"})
		var list []any
		for range rapid.IntRange(1, 3).Draw(t, "statements") {
			list = append(list, map[string]any{"Effect": rapid.SampledFrom([]string{"Allow", "Deny", "allow"}).Draw(t, "effect"),
				"Action": "sts:AssumeRole", "Principal": map[string]any{"RAM": rapid.SliceOfN(one, 1, 4).Draw(t, "principals")}})
		}
		b, err := json.Marshal(map[string]any{"Version": "1", "Statement": list})
		if err != nil {
			t.Fatal(err)
		}
		remove := rapid.SliceOfN(rapid.SampledFrom([]string{external, "acs:ram::1:user/a", "acs:ram::2:root"}), 1, 2).Draw(t, "remove")
		out, changed, err := narrow(string(b), "1", remove)
		if err != nil {
			t.Fatal(err)
		}
		before, after := allowedIn(t, string(b)), allowedIn(t, out)
		for _, p := range after {
			gone := slices.Contains(remove, p) || slices.Contains(remove, external) && !strings.HasPrefix(p, "acs:ram::1:")
			if !slices.Contains(before, p) || gone {
				t.Fatalf("%s is let in by %s", p, out)
			}
		}
		if !changed && !sameJSON(out, string(b)) {
			t.Fatalf("said to be unchanged: %s", out)
		}
	})
}

func allowedIn(t *rapid.T, doc string) (out []string) {
	var d struct {
		Statement []struct {
			Effect    string
			Principal struct{ RAM []string }
		}
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Statement {
		if strings.EqualFold(s.Effect, "Allow") {
			out = append(out, s.Principal.RAM...)
		}
	}
	return out
}

func FuzzNarrow(f *testing.F) {
	f.Add(`{"Version":"1","Statement":[{"Effect":"Allow","Principal":{"RAM":["*"]}}]}`, "external")
	f.Add(`{"Statement":{"Effect":"Allow","Principal":"*"}}`, "external")
	f.Fuzz(func(t *testing.T, doc, remove string) {
		out, changed, err := narrow(doc, acct, removed(remove))
		if err != nil || !changed {
			return
		}
		if _, again, err := narrow(out, acct, removed(remove)); err != nil || again {
			t.Fatalf("%q: not settled: %v", out, err)
		}
	})
}

// The ladder names, for every kind, the exact call and the exact undo.
func TestLadder(t *testing.T) {
	ladder, err := Ladder()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, r := range ladder {
		kinds = append(kinds, r.Kind)
		if !strings.Contains(r.Does, "{") || !strings.Contains(r.Undo, "{") || len(r.Permissions) == 0 || r.Note == "" {
			t.Errorf("%+v", r)
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, responders.Kinds()) {
		t.Fatalf("%v", kinds)
	}
}

// How many calls each kind costs, the containment (read, act, read back) and
// its undo: the figures in DESIGN.md.
func TestCallsPerAction(t *testing.T) {
	want := map[string][2]int{
		responders.KindFenceKey: {9, 9}, responders.KindFenceUser: {6, 6}, responders.KindDisableAccessKey: {3, 3}, responders.KindBlockConsole: {8, 8},
		responders.KindQuarantineUser: {5, 3}, responders.KindCutRoleSessions: {7, 7}, responders.KindNarrowTrust: {5, 5}, responders.KindDetachPolicy: {6, 4},
		responders.KindSetPolicyVersion: {6, 4}, responders.KindRemoveFromGroup: {9, 6}, responders.KindStartTrail: {4, 4},
	}
	for _, a := range cases() {
		r := newRig(t)
		if _, err := r.c.Self(t.Context()); err != nil { // once for the process
			t.Fatal(err)
		}
		count := func() int {
			r.mu.Lock()
			defer r.mu.Unlock()
			n := len(r.seen)
			r.seen = nil
			return n
		}
		count()
		e := r.exec(a.Kind)
		prior, err := e.Read(t.Context(), a)
		if err == nil {
			_, err = e.Execute(t.Context(), a, prior)
		}
		if err != nil {
			t.Fatal(err)
		}
		do := count()
		if _, err := e.Undo(t.Context(), a, prior); err != nil {
			t.Fatal(err)
		}
		expect := want[a.Kind]
		if a.Kind == responders.KindDetachPolicy && a.Target.Params["group"] != "" || a.Kind == responders.KindSetPolicyVersion { // which a group holds
			expect[0] += 2 // who is in it, when it is looked at and when it is done
		}
		if a.Target.Params["policy_type"] == "Custom" {
			expect[1]++ // whether it says the same still
		}
		if got := [2]int{do, count()}; got != expect {
			t.Errorf("%s: %d calls and %d for the undo, DESIGN.md says %v", a.Kind, got[0], got[1], expect)
		}
	}
}

// A cut whose policy was made and could not be attached at once ends after the sessions
// that were opened meanwhile, too; and what is undone is known to be undone, whether
// or not the policy was there before.
func TestOwnPolicyThatWasNotAttachedAtOnce(t *testing.T) {
	for _, a := range []responders.Action{action(responders.KindCutRoleSessions, aRoleNamed("ci")), action(responders.KindFenceUser, with("allow", "198.51.100.0/24"))} {
		t.Run(a.Kind, func(t *testing.T) {
			start := time.Now()
			var later time.Duration // set between calls only
			r := newRig(t, func(o *ramtest.Options, c *Config) {
				o.MaxSkew = 48 * time.Hour
				o.Now = func() time.Time { return start.Add(later) }
				c.Now = func() time.Time { return start.Add(later) }
			})
			e, before := r.exec(a.Kind), r.cloud.State()
			for _, call := range []string{"AttachPolicyToRole", "AttachPolicyToUser"} {
				r.cloud.Inject(ramtest.Throttled(call, 1))
			}
			try := func() (json.RawMessage, error) {
				prior, err := e.Read(t.Context(), a)
				if err == nil {
					_, err = e.Execute(t.Context(), a, prior)
				}
				return prior, err
			}
			// Where no other try comes, the policy is there until somebody deletes it.
			if _, err := try(); !errors.Is(err, responders.ErrRetry) || !strings.Contains(err.Error(), "was made and is attached to nobody") {
				t.Fatalf("%v, want throttled", err)
			} else if zh := responders.InChinese(err.Error()); !strings.Contains(zh, "已创建但未绑定任何身份") {
				t.Error(zh)
			}
			later = 12 * time.Minute
			prior, err := try()
			if err != nil {
				t.Fatal(err)
			}
			var s OwnPolicyState
			if err := json.Unmarshal(prior, &s); err != nil {
				t.Fatal(err)
			}
			if a.Kind == responders.KindCutRoleSessions {
				if end := start.Add(later + time.Hour).UTC().Format(time.RFC3339); !strings.Contains(string(r.cloud.State()), s.Until) || s.Until < end {
					t.Errorf("the cut ends at %s, and a session may live until %s", s.Until, end)
				}
			}
			if res, err := e.Undo(t.Context(), a, prior); err != nil || !res.Changed {
				t.Errorf("undo: %+v %v", res, err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

// Between the read and the call somebody changes the role's trust. The whole document is
// written, so the change would be lost, and undo would not know of it either: it is
// read anew.
func TestTrustChangedInBetween(t *testing.T) {
	r := newRig(t)
	a := action(responders.KindNarrowTrust, aRoleNamed("open"), with("remove", "external"))
	e := r.exec(a.Kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	const carol = "acs:ram::" + acct + ":user/carol"
	change := func() {
		t.Helper()
		role, err := r.c.getRole(t.Context(), scope{acct, own{}}, "open")
		if err == nil {
			_, err = r.c.do(t.Context(), own{}, op{product: "ram", action: "UpdateRole", write: true}, func(w *worker) error {
				q := ramapi.CreateUpdateRoleRequest()
				q.RoleName, q.NewAssumeRolePolicyDocument = "open", strings.Replace(role.AssumeRolePolicyDocument, "acs:ram::"+acct+":user/bob", carol, 1)
				_, err := w.ram.updateRole(q)
				return err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	change()
	before := r.cloud.State()
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRetry) {
		t.Fatalf("%v, want it tried again", err)
	} else if zh := responders.InChinese(err.Error()); !strings.Contains(zh, "信任策略刚被他人修改") {
		t.Error(zh)
	}
	sameState(t, before, r.cloud.State())
	if prior, err = e.Read(t.Context(), a); err == nil {
		_, err = e.Execute(t.Context(), a, prior)
	}
	if err != nil || !strings.Contains(string(r.cloud.State()), carol) {
		t.Fatalf("what was put in meanwhile is lost, or %v", err)
	}
}
