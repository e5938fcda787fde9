package ram

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

const kind = "ram.disable_access_key"

// ready is a rig that has read the prior state of alice's key.
func ready(t *testing.T, edit ...func(*ramtest.Options, *Config)) (*rig, responders.Executor, responders.Action, json.RawMessage) {
	t.Helper()
	r := newRig(t, edit...)
	a := action(kind)
	prior, err := r.exec(kind).Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return r, r.exec(kind), a, prior
}

func TestPriorStateOfAKey(t *testing.T) {
	_, _, _, prior := ready(t)
	var s KeyState
	if err := json.Unmarshal(prior, &s); err != nil {
		t.Fatal(err)
	}
	if s.UserName != "alice" || s.AccessKeyID != aliceKey || s.Status != "Active" || s.CreateDate == "" {
		t.Fatalf("%+v", s)
	}
}

func TestReadRefuses(t *testing.T) {
	tgt := func(f func(*responders.ActionTarget)) responders.Action { return action(kind, f) }
	for _, c := range []struct {
		name, want string
		a          responders.Action
		edit       func(*ramtest.Options, *Config)
	}{
		{name: "root principal", want: "root account", a: tgt(func(t *responders.ActionTarget) {
			t.PrincipalType, t.UserName, t.AccessKeyID = "root-account", "root", rootKey
		})},
		{name: "root by name", want: "root account", a: tgt(func(t *responders.ActionTarget) { t.UserName, t.AccessKeyID = "ROOT", rootKey })},
		{name: "root by display form", want: "root account", a: tgt(func(t *responders.ActionTarget) { t.UserName = "<root>" })},
		{name: "root by account id", want: "root account", a: tgt(func(t *responders.ActionTarget) { t.UserName = acct })},
		{name: "empty user", want: "names no user", a: tgt(func(t *responders.ActionTarget) { t.UserName = "" })},
		{name: "empty user before the domain", want: "names no user", a: tgt(func(t *responders.ActionTarget) { t.UserName = "@" + acct + ".onaliyun.com" })},
		{name: "user of another domain", want: "not a RAM user name", a: tgt(func(t *responders.ActionTarget) { t.UserName = "alice@" + other + ".onaliyun.com" })},
		{name: "user with a blank", want: "not a RAM user name", a: tgt(func(t *responders.ActionTarget) { t.UserName = "alice " })},
		{name: "user with a star", want: "not a RAM user name", a: tgt(func(t *responders.ActionTarget) { t.UserName = "ali*" })},
		{name: "user with a parameter in it", want: "not a RAM user name", a: tgt(func(t *responders.ActionTarget) { t.UserName = "alice&UserName=bob" })},
		{name: "role", want: "not a RAM user", a: tgt(func(t *responders.ActionTarget) { t.PrincipalType = "assumed-role" })},
		{name: "nobody", want: "not a RAM user", a: tgt(func(t *responders.ActionTarget) { t.PrincipalType = "" })},
		{name: "no key", want: "names no AccessKey", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = "" })},
		{name: "session key", want: "temporary key", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = "STS.EXAMPLE0000000001" })},
		{name: "console key", want: "temporary key", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = "tmp.EXAMPLE0000000001" })},
		{name: "masked key", want: "masked", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = "LTAI****************" })},
		{name: "no key id", want: "not the id of an AccessKey", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = "NULL" })},
		{name: "no account", want: "not an account id", a: tgt(func(t *responders.ActionTarget) { t.AccountID = "" })},
		{name: "another account", want: "configure a role to assume", a: tgt(func(t *responders.ActionTarget) { t.AccountID = other })},
		{name: "key of another user", want: `belongs to user "bob"`, a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = bobKey })},
		{name: "own user", want: "works as", a: tgt(func(t *responders.ActionTarget) { t.UserName = ownUser }), edit: asUser},
		{name: "own key under another name", want: "works with", a: tgt(func(t *responders.ActionTarget) { t.AccessKeyID = ownKey }), edit: asUser},
		{name: "protected user", want: "protected", a: action(kind), edit: func(_ *ramtest.Options, c *Config) { c.Protected.Users = []string{"break-glass", "ALI*"} }},
		{name: "protected user of this account", want: "protected", a: action(kind), edit: func(_ *ramtest.Options, c *Config) { c.Protected.Users = []string{acct + "/alice"} }},
		{name: "protected key", want: "protected", a: action(kind), edit: func(_ *ramtest.Options, c *Config) { c.Protected.Keys = []string{aliceKey} }},
		{name: "protected account", want: "protected", a: action(kind), edit: func(_ *ramtest.Options, c *Config) { c.Protected.Accounts = []string{"1000*"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var edits []func(*ramtest.Options, *Config)
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			r := newRig(t, edits...)
			before := r.cloud.State()
			e := r.exec(kind)
			_, err := e.Read(t.Context(), c.a)
			if !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("read: %v, want a refusal with %q", err, c.want)
			}
			// Whoever calls Execute all the same is refused as well: not by
			// the key's owner, which only Read asks for, but by all the rest.
			prior := mustJSON(t, KeyState{UserName: c.a.Target.UserName, AccessKeyID: c.a.Target.AccessKeyID, Status: "Active"})
			if _, err := e.Execute(t.Context(), c.a, prior); c.name != "key of another user" && !errors.Is(err, responders.ErrRefused) {
				t.Fatalf("execute: %v, want a refusal", err)
			}
			sameState(t, before, r.cloud.State())
			if c.name != "key of another user" && r.requests("ram UpdateAccessKey") != 0 {
				t.Fatal("a call was made")
			}
		})
	}
}

// asUser makes the responder a RAM user with a long-term key.
func asUser(_ *ramtest.Options, c *Config) {
	c.Credentials = func(context.Context) (string, string, string, error) {
		return ownKey, "EXAMPLEsecretOf" + ownKey, "", nil
	}
}

func TestOwnRootKeyIsRefused(t *testing.T) {
	r := newRig(t, func(_ *ramtest.Options, c *Config) {
		c.Credentials = func(context.Context) (string, string, string, error) {
			return rootKey, "EXAMPLEsecretOf" + rootKey, "", nil
		}
	})
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), "root") {
		t.Fatal(err)
	}
}

// The trap itself: the emulator, like the cloud, takes a call without a user
// name for one about the caller's key. The executor must never make it.
func TestEmptyUserNameWouldHitOurOwnKey(t *testing.T) {
	r := newRig(t, asUser)
	sc, err := r.c.in(t.Context(), acct)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.updateKey(t.Context(), sc, target{account: acct, key: ownKey}, inactive); !errors.Is(err, responders.ErrRefused) {
		t.Fatalf("%v, want refused", err)
	}
	if r.requests("ram UpdateAccessKey") != 0 || r.cloud.KeyStatus(ownKey) != ramtest.Active {
		t.Fatal("the call was made")
	}
}

func TestSettled(t *testing.T) {
	r := newRig(t)
	e, a := r.exec(kind), action(kind)
	r.cloud.SetKeyStatus(aliceKey, ramtest.Inactive)
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrSettled) {
		t.Fatalf("inactive key: %v", err)
	}
	r.cloud.RemoveKey(aliceKey)
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrSettled) {
		t.Fatalf("deleted key: %v", err)
	}
	a.Target.UserName = "nobody"
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrSettled) {
		t.Fatalf("deleted user: %v", err)
	}
	if n := len(r.entries("UpdateAccessKey")); n != 0 {
		t.Fatalf("%d calls were made", n)
	}
	// Deleted between Read and Execute.
	prior := mustJSON(t, KeyState{UserName: "alice", AccessKeyID: aliceKey, Status: "Active"})
	if _, err := e.Execute(t.Context(), action(kind), prior); !errors.Is(err, responders.ErrSettled) {
		t.Fatalf("deleted in between: %v", err)
	}
}

// A key that was made a moment ago may not be listed yet; it must be found all
// the same, since a new key is what a playbook is often about.
func TestANewKeyThatIsNotListedYet(t *testing.T) {
	r := newRig(t)
	r.cloud.RemoveKey(aliceKey)
	fault := r.cloud.Inject(ramtest.Fault{Action: "ListAccessKeys", Times: 2, Status: 200, ContentType: "application/json",
		Body: `{"RequestId":"R","AccessKeys":{"AccessKey":[]}}`})
	if err := r.cloud.AddKey(acct, "alice", ramtest.Key{ID: aliceKey}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); err != nil || fault.Hits() != 2 {
		t.Fatalf("%v after %d empty lists", err, fault.Hits())
	}
	// Not listed for longer: it exists, so this is not "gone".
	r.cloud.ClearFaults()
	r.cloud.Inject(ramtest.Fault{Action: "ListAccessKeys", Times: -1, Status: 200, ContentType: "application/json", Body: `{"RequestId":"R","AccessKeys":{"AccessKey":[]}}`})
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); !errors.Is(err, responders.ErrRetry) {
		t.Fatalf("%v, want retry", err)
	}
}

func TestWriteFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  ramtest.Fault
		class  error
		effect bool // whether the key is Inactive in truth
		want   string
	}{
		{"throttled", ramtest.Throttled("UpdateAccessKey", 1), responders.ErrRetry, false, "Throttling.User"},
		{"throttled in all ways", ramtest.Fault{Action: "UpdateAccessKey", Status: 400, Code: "Throttling.Api"}, responders.ErrRetry, false, "Throttling.Api"},
		{"503 before the effect", ramtest.Unavailable("UpdateAccessKey", 1), responders.ErrInDoubt, false, "503"},
		{"500 after the effect", ramtest.Fault{Action: "UpdateAccessKey", Status: 500, AfterWork: true}, responders.ErrInDoubt, true, "InternalError"},
		{"html 502", ramtest.BadGateway("UpdateAccessKey"), responders.ErrInDoubt, false, "status 502"},
		{"html 502 after the effect", ramtest.Fault{Action: "UpdateAccessKey", Status: 502, Body: "<html>", AfterWork: true}, responders.ErrInDoubt, true, "status 502"},
		{"numeric code panics the SDK", ramtest.NumericCode("UpdateAccessKey"), responders.ErrInDoubt, false, "status 500"},
		{"numeric code with 400", ramtest.Fault{Action: "UpdateAccessKey", Status: 400, Body: `{"Code":400}`, ContentType: "application/json"}, responders.ErrInDoubt, false, "status 400"},
		{"denied by a proxy", ramtest.Fault{Action: "UpdateAccessKey", Status: 403, Body: "<html>blocked</html>"}, responders.ErrInDoubt, false, "status 403"},
		{"empty 200", ramtest.EmptyAnswer("UpdateAccessKey"), responders.ErrInDoubt, false, "no RequestId"},
		{"empty 200 after the effect", ramtest.Fault{Action: "UpdateAccessKey", Status: 200, RawBody: true, AfterWork: true}, responders.ErrInDoubt, true, "no RequestId"},
		{"html 200", ramtest.Fault{Action: "UpdateAccessKey", Status: 200, Body: "<html>login</html>"}, responders.ErrInDoubt, false, "no RequestId"},
		{"json 200 of something else", ramtest.Fault{Action: "UpdateAccessKey", Status: 200, Body: `[1,2]`, ContentType: "application/json"}, responders.ErrInDoubt, false, "no RequestId"},
		{"redirect", ramtest.Fault{Action: "UpdateAccessKey", Status: 307, Body: " ", Header: map[string]string{"Location": "https://attacker.invalid/"}}, responders.ErrInDoubt, false, "redirect"},
		{"dropped before the effect", ramtest.Fault{Action: "UpdateAccessKey", Refuse: true}, responders.ErrInDoubt, false, "no answer"},
		{"dropped after the effect", ramtest.LostAnswer("UpdateAccessKey"), responders.ErrInDoubt, true, "no answer"},
		{"cut off in the middle", ramtest.Fault{Action: "UpdateAccessKey", Truncate: true}, responders.ErrInDoubt, true, "broke off"},
		{"answer without end", ramtest.Fault{Action: "UpdateAccessKey", Status: 200, Body: strings.Repeat("x", maxAnswer+1)}, responders.ErrInDoubt, false, "larger than"},
		{"sent twice by somebody", ramtest.Fault{Action: "UpdateAccessKey", Status: 400, Code: "SignatureNonceUsed", AfterWork: true}, responders.ErrInDoubt, true, "SignatureNonceUsed"},
		{"no permission", ramtest.Forbidden("UpdateAccessKey"), responders.ErrRefused, false, "ram:UpdateAccessKey"},
		{"limit", ramtest.Fault{Action: "UpdateAccessKey", Status: 409, Code: "LimitExceeded.User.AccessKey"}, responders.ErrRefused, false, "LimitExceeded"},
		{"bad parameter", ramtest.Fault{Action: "UpdateAccessKey", Status: 400, Code: "InvalidParameter.UserName.InvalidChars"}, responders.ErrRefused, false, "InvalidParameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, e, a, prior := ready(t)
			before := r.cloud.State()
			r.cloud.Inject(c.fault)
			_, err := e.Execute(t.Context(), a, prior)
			if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %v with %q", err, c.class, c.want)
			}
			for _, x := range []error{responders.ErrRetry, responders.ErrInDoubt, responders.ErrRefused, responders.ErrSettled} {
				if errors.Is(err, x) && !errors.Is(x, c.class) {
					t.Fatalf("%v is %v as well", err, x)
				}
			}
			r.noSecrets("the error", err.Error())
			if n := r.requests("ram UpdateAccessKey"); n != 1 {
				t.Fatalf("the write was sent %d times", n)
			}
			r.cloud.ClearFaults()
			if got := r.cloud.KeyStatus(aliceKey) == ramtest.Inactive; got != c.effect {
				t.Fatalf("effect %v, want %v", got, c.effect)
			}
			// What the machine does in doubt: it reads, and the answer is right.
			in, after, err := e.Verify(t.Context(), a)
			if err != nil || in != c.effect {
				t.Fatalf("verify: %v %s %v, want %v", in, after, err, c.effect)
			}
			if !c.effect {
				sameState(t, before, r.cloud.State())
			}
			// And afterwards the work can be finished and taken back.
			if !in {
				if _, err := e.Execute(t.Context(), a, prior); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := e.Undo(t.Context(), a, prior); err != nil {
				t.Fatal(err)
			}
			sameState(t, before, r.cloud.State())
		})
	}
}

// E11 of the machine's point of view: the process dies, or the answer is lost,
// after the call took effect.
func TestAnswerLostAfterSuccess(t *testing.T) {
	r, e, a, prior := ready(t)
	r.cloud.Inject(ramtest.LostAnswer("UpdateAccessKey"))
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrInDoubt) {
		t.Fatalf("%v, want in doubt", err)
	}
	entries := r.entries("UpdateAccessKey")
	if len(entries) != 1 || !entries[0].Done || entries[0].Status != 0 || entries[0].KeyStatus != "Inactive" || entries[0].User != "alice" || entries[0].Key != aliceKey {
		t.Fatalf("journal: %+v", entries)
	}
	in, after, err := e.Verify(t.Context(), a)
	if err != nil || !in || !strings.Contains(string(after), `"status":"Inactive"`) {
		t.Fatalf("verify: %v %s %v", in, after, err)
	}
}

func TestHangIsCutByTimeout(t *testing.T) {
	r, e, a, prior := ready(t, func(_ *ramtest.Options, c *Config) { c.Timeout = 50 * time.Millisecond })
	r.cloud.Inject(ramtest.Fault{Action: "UpdateAccessKey", Delay: time.Minute, AfterWork: true})
	_, err := e.Execute(t.Context(), a, prior)
	if !errors.Is(err, responders.ErrInDoubt) || !strings.Contains(err.Error(), "no answer in time") {
		t.Fatalf("%v, want in doubt", err)
	}
	r.noSecrets("the error", err.Error())
	if in, _, err := e.Verify(t.Context(), a); err != nil || !in {
		t.Fatalf("verify: %v %v", in, err)
	}
}

// The machine's context cuts a call short: what was sent is in doubt.
func TestContextCutsTheCall(t *testing.T) {
	r, e, a, prior := ready(t)
	h := r.cloud.Inject(ramtest.Fault{Action: "UpdateAccessKey", Delay: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := e.Execute(ctx, a, prior)
		done <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); h.Hits() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the call never came")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, responders.ErrInDoubt) {
		t.Fatalf("%v, want in doubt", err)
	}
	// Before anything was sent it is certain that nothing happened.
	if _, err := e.Execute(ctx, a, prior); !errors.Is(err, responders.ErrRetry) || errors.Is(err, responders.ErrInDoubt) {
		t.Fatalf("%v, want retry", err)
	}
}

func TestNothingListens(t *testing.T) {
	r, e, a, prior := ready(t)
	r.cloud.Close()
	r.c.Close() // an idle connection that breaks leaves doubt; without one there is none
	_, err := e.Execute(t.Context(), a, prior)
	if !errors.Is(err, responders.ErrRetry) || errors.Is(err, responders.ErrInDoubt) || !strings.Contains(err.Error(), "nothing was sent") {
		t.Fatalf("%v, want retry: nothing was sent", err)
	}
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrRetry) {
		t.Fatalf("%v, want retry", err)
	}
}

// Reads are repeated with growing pauses, and only within bounds.
func TestReadFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault ramtest.Fault
	}{
		{"throttled", ramtest.Throttled("ListAccessKeys", 4)},
		{"503", ramtest.Unavailable("ListAccessKeys", 4)},
		{"html 502", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Status: 502, Body: "<html>"}},
		{"numeric code", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Status: 500, Body: `{"Code":500}`, ContentType: "application/json"}},
		{"empty 200", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Status: 200, RawBody: true}},
		{"garbage 200", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Status: 200, Body: `{"RequestId":"R","AccessKeys":7}`}},
		{"cut off", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Truncate: true}},
		{"dropped", ramtest.Fault{Action: "ListAccessKeys", Times: 4, Refuse: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			e, a := r.exec(kind), action(kind)
			r.cloud.Inject(c.fault)
			if _, err := e.Read(t.Context(), a); err != nil {
				t.Fatalf("four failures then fine: %v", err)
			}
			n, sum := r.slept()
			if n != 4 || sum < 1500*time.Millisecond || sum > 15*time.Second {
				t.Fatalf("%d pauses of %s altogether", n, sum)
			}
			for i := 1; i < len(r.pauses); i++ {
				if r.pauses[i] < r.pauses[i-1]/2 {
					t.Fatalf("pauses do not grow: %v", r.pauses)
				}
			}
			c.fault.Times = -1
			r.cloud.ClearFaults()
			h := r.cloud.Inject(c.fault)
			_, err := e.Read(t.Context(), a)
			if !errors.Is(err, responders.ErrRetry) {
				t.Fatalf("%v, want retry", err)
			}
			r.noSecrets("the error", err.Error())
			if h.Hits() != readTries {
				t.Fatalf("%d tries, want %d", h.Hits(), readTries)
			}
			// E10: nothing is done without a read, and a failed read-back
			// after the write is doubt.
			prior := mustJSON(t, KeyState{UserName: "alice", AccessKeyID: aliceKey, Status: "Active"})
			if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrInDoubt) || errors.Is(err, responders.ErrRetry) {
				t.Fatalf("%v, want in doubt", err)
			}
		})
	}
}

func TestReadBackThatNeverShows(t *testing.T) {
	r, e, a, prior := ready(t)
	r.cloud.SetStaleReads(1000)
	_, err := e.Execute(t.Context(), a, prior)
	if !errors.Is(err, responders.ErrInDoubt) || !strings.Contains(err.Error(), "still reads Active") {
		t.Fatalf("%v, want in doubt", err)
	}
	if _, sum := r.slept(); sum > r.c.cfg.ReadBack {
		t.Fatalf("waited %s, the bound is %s", sum, r.c.cfg.ReadBack)
	}
	if n := r.requests("ram UpdateAccessKey"); n != 1 {
		t.Fatalf("sent %d times", n)
	}
}

// The pause that the platform asks for is passed on.
func TestRetryAfter(t *testing.T) {
	r, e, a, prior := ready(t)
	f := ramtest.Throttled("UpdateAccessKey", 1)
	f.Header = map[string]string{"Retry-After": "7"}
	r.cloud.Inject(f)
	_, err := e.Execute(t.Context(), a, prior)
	var ra *responders.RetryAfterError
	if !errors.As(err, &ra) || ra.After != 7*time.Second || !errors.Is(err, responders.ErrRetry) {
		t.Fatalf("%v", err)
	}
}

func TestDeniedDetail(t *testing.T) {
	r, e, a, prior := ready(t)
	f := ramtest.Forbidden("UpdateAccessKey")
	f.Denied.PolicyType, f.Denied.NoPermissionType = "ControlPolicy", "ExplicitDeny"
	r.cloud.Inject(f)
	_, err := e.Execute(t.Context(), a, prior)
	for _, want := range []string{"NoPermission", "ExplicitDeny", "ControlPolicy", "grant the responder's role ram:UpdateAccessKey"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

func TestUndoOfAKey(t *testing.T) {
	r, e, a, prior := ready(t)
	undo := func() error {
		_, err := e.Undo(t.Context(), a, prior)
		return err
	}
	if err := undo(); !errors.Is(err, responders.ErrSettled) {
		t.Fatalf("nothing was done: %v", err)
	}
	if _, err := e.Execute(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
	// Throttled, then lost: each is told apart, and the write is not repeated.
	r.cloud.Inject(ramtest.Throttled("UpdateAccessKey", 1))
	if err := undo(); !errors.Is(err, responders.ErrRetry) {
		t.Fatal(err)
	}
	r.cloud.Inject(ramtest.LostAnswer("UpdateAccessKey"))
	if err := undo(); !errors.Is(err, responders.ErrInDoubt) {
		t.Fatal(err)
	}
	if in, _, err := e.Verify(t.Context(), a); err != nil || in {
		t.Fatalf("verify: %v %v", in, err)
	}
	if err := undo(); !errors.Is(err, responders.ErrSettled) {
		t.Fatal(err)
	}
	// A key that was inactive before we came is not switched on.
	was := mustJSON(t, KeyState{UserName: "alice", AccessKeyID: aliceKey, Status: "Inactive"})
	r.cloud.SetKeyStatus(aliceKey, ramtest.Inactive)
	if _, err := e.Undo(t.Context(), a, was); !errors.Is(err, responders.ErrRefused) || r.cloud.KeyStatus(aliceKey) != ramtest.Inactive {
		t.Fatalf("%v", err)
	}
	// A key of the same id that is another key.
	made := mustJSON(t, KeyState{UserName: "alice", AccessKeyID: aliceKey, Status: "Active", CreateDate: "2001-01-01T00:00:00Z"})
	if _, err := e.Undo(t.Context(), a, made); !errors.Is(err, responders.ErrDrift) || r.cloud.KeyStatus(aliceKey) != ramtest.Inactive {
		t.Fatalf("%v", err)
	}
}

// A read that lags must not make an undo believe that there is nothing to undo.
func TestUndoRightAfterTheChange(t *testing.T) {
	r, e, a, prior := ready(t)
	r.cloud.SetStaleReads(2)
	sc, err := r.c.in(t.Context(), acct)
	if err == nil {
		_, err = r.c.updateKey(t.Context(), sc, target{account: acct, user: "alice", key: aliceKey}, inactive)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Undo(t.Context(), a, prior); err != nil || r.cloud.KeyStatus(aliceKey) != ramtest.Active {
		t.Fatalf("%v, the key is %s", err, r.cloud.KeyStatus(aliceKey))
	}
	if _, err := r.c.updateKey(t.Context(), sc, target{account: acct, user: "alice", key: aliceKey}, inactive); err != nil {
		t.Fatal(err)
	}
	if in, _, err := e.Verify(t.Context(), a); err != nil || !in {
		t.Fatalf("verify: %v %v", in, err)
	}
}

// A protected user can be given back what was taken before it was protected.
func TestUndoOfAProtectedUser(t *testing.T) {
	r, e, a, prior := ready(t)
	if _, err := e.Execute(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
	r.c.cfg.Protected.Users = []string{"alice"}
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) {
		t.Fatal(err)
	}
	if _, err := e.Undo(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
}

func TestUserPrincipalNameIsTheSameUser(t *testing.T) {
	r := newRig(t)
	a := action(kind, func(t *responders.ActionTarget) { t.UserName = "alice@" + acct + ".onaliyun.com" })
	prior, err := r.exec(kind).Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.exec(kind).Execute(t.Context(), a, prior); err != nil || r.cloud.KeyStatus(aliceKey) != ramtest.Inactive {
		t.Fatal(err)
	}
}

// Without credentials the cloud is not asked, so it cannot have failed to answer.
func TestNoCredentials(t *testing.T) {
	c, err := New(Config{Endpoint: "http://127.0.0.1:1", Workers: 1, Credentials: func(context.Context) (string, string, string, error) {
		return "", "", "", errors.New("set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Caller(t.Context())
	if !errors.Is(err, responders.ErrRetry) || Unreachable(err) || !strings.Contains(err.Error(), "ALIBABA_CLOUD_ACCESS_KEY_SECRET") {
		t.Errorf("%v, unreachable %v", err, Unreachable(err))
	}
}
