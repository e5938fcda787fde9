package ram

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// anyFault draws one misbehaviour of the write or of the reads around it.
func anyFault(t *rapid.T, write []string) ramtest.Fault {
	f := rapid.SampledFrom([]ramtest.Fault{
		{Status: 400, Code: "Throttling.User"}, {Status: 503}, {Status: 500, AfterWork: true}, {Status: 502, Body: "<html>"},
		{Status: 500, Body: `{"Code":500}`, ContentType: "application/json", AfterWork: true}, {Status: 200, RawBody: true}, {Status: 200, RawBody: true, AfterWork: true},
		{DropAnswer: true}, {Refuse: true}, {Truncate: true}, {Status: 403, Code: "NoPermission"}, {Status: 200, Body: "<html>"},
	}).Draw(t, "fault")
	f.Times = rapid.IntRange(1, 3).Draw(t, "times")
	if rapid.Bool().Draw(t, "on the write") {
		f.Action = rapid.SampledFrom(write).Draw(t, "which")
	}
	f.Skip = rapid.IntRange(0, 3).Draw(t, "skip")
	return f
}

var writes = map[string][]string{
	"ram.disable_access_key":         {"UpdateAccessKey"},
	"ram.fence_key":                  {"SetAccessKeyPolicy"},
	"ram.block_console":              {"UpdateLoginProfile"},
	"ram.quarantine_user":            {"AttachPolicyToUser", "DetachPolicyFromUser"},
	"ram.detach_policy":              {"AttachPolicyToUser", "DetachPolicyFromUser", "AttachPolicyToGroup", "DetachPolicyFromGroup", "AttachPolicyToRole", "DetachPolicyFromRole"},
	"ram.set_default_policy_version": {"SetDefaultPolicyVersion"},
	"ram.remove_from_group":          {"AddUserToGroup", "RemoveUserFromGroup"},
	"actiontrail.start_logging":      {"StartLogging", "StopLogging"},
	"ram.fence_user":                 {"CreatePolicy", "AttachPolicyToUser", "DetachPolicyFromUser", "DeletePolicy"},
	"ram.cut_role_sessions":          {"CreatePolicy", "AttachPolicyToRole", "DetachPolicyFromRole", "DeletePolicy"},
	"ram.narrow_trust":               {"UpdateRole"},
}

// inEffect is a state without policies of ours that are attached to nobody:
// what is left of a change that ended between its two calls.
func inEffect(t *rapid.T, state []byte) string {
	var all map[string]map[string]any
	if err := json.Unmarshal(state, &all); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		policies, _ := a["policies"].(map[string]any)
		for name := range policies {
			if strings.HasPrefix(name, "Custom/"+ownPrefix) && strings.Count(string(state), name) == 1 {
				delete(policies, name)
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Any sequence of Execute and Undo, with any faults: the state is always the
// one before or the one after and nothing else; a class never lies about
// which; and what is in doubt is told right by Verify.
func TestAnySequenceLeavesTheExpectedState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		start := time.Now() // of everything: no state differs by its stamps
		r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Now = func() time.Time { return start } })
		defer r.cloud.Close()
		a := rapid.SampledFrom(cases()).Draw(rt, "action")
		e := r.exec(a.Kind)
		off := inEffect(rt, r.cloud.State())
		prior, err := e.Read(t.Context(), a)
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := e.Execute(t.Context(), a, prior); err != nil {
			rt.Fatal(err)
		}
		on := inEffect(rt, r.cloud.State())
		if _, err := e.Undo(t.Context(), a, prior); err != nil {
			rt.Fatal(err)
		}
		if s := inEffect(rt, r.cloud.State()); s != off {
			rt.Fatal("undo did not restore the state")
		}

		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			before := inEffect(rt, r.cloud.State())
			r.cloud.ClearFaults()
			r.cloud.SetStaleReads(rapid.IntRange(0, 3).Draw(rt, "stale"))
			for range rapid.IntRange(0, 2).Draw(rt, "faults") {
				r.cloud.Inject(anyFault(rt, writes[a.Kind]))
			}
			undo := rapid.Bool().Draw(rt, "undo")
			want := on
			var res responders.Result
			var err error
			if undo {
				want = off
				res, err = e.Undo(t.Context(), a, prior)
			} else {
				res, err = e.Execute(t.Context(), a, prior)
			}
			after := inEffect(rt, r.cloud.State())
			if after != on && after != off {
				rt.Fatalf("a third state:\n%s", after)
			}
			switch {
			case err == nil:
				if after != want || !res.Changed || res.RequestID == "" {
					rt.Fatalf("success without effect: %+v", res)
				}
			case errors.Is(err, responders.ErrInDoubt):
				if after != before && after != want {
					rt.Fatal("in doubt, and neither before nor wanted")
				}
			case errors.Is(err, responders.ErrSettled):
				// Undo, told so by a read or by the write itself, means it.
				if after != want {
					rt.Fatalf("settled, and it is not so: %v", err)
				}
			case errors.Is(err, responders.ErrRetry), errors.Is(err, responders.ErrRefused), errors.Is(err, responders.ErrDrift):
				if after != before {
					rt.Fatalf("certainly without effect, and it had one: %v", err)
				}
			default:
				rt.Fatalf("an error without a class: %v", err)
			}
			if err != nil {
				r.noSecrets("the error", err.Error())
			}
			// The truth can be read once the cloud is well again.
			r.cloud.ClearFaults()
			r.cloud.SetStaleReads(0)
			in, _, err := e.Verify(t.Context(), a)
			if err != nil || in != (after == on) {
				rt.Fatalf("verify: %v %v, the truth is %v", in, err, after == on)
			}
		}
	})
}

// A machine in small that does what the real one does with each class ends in
// the wanted state with one effective change, whatever happens on the way.
func TestThrottledFiveTimesIsOneChange(t *testing.T) {
	r, e, a, prior := ready(t)
	h := r.cloud.Inject(ramtest.Throttled("UpdateAccessKey", 5))
	tries := 0
	for {
		tries++
		_, err := e.Execute(t.Context(), a, prior)
		if err == nil {
			break
		}
		if !errors.Is(err, responders.ErrRetry) || tries > 6 {
			t.Fatalf("try %d: %v", tries, err)
		}
	}
	if tries != 6 || h.Hits() != 5 {
		t.Fatalf("%d tries, %d throttled", tries, h.Hits())
	}
	done := 0
	for _, en := range r.entries("UpdateAccessKey") {
		if en.Done {
			done++
		}
	}
	if done != 1 {
		t.Fatalf("%d effective changes", done)
	}
}

func BenchmarkDisableAndUndo(b *testing.B) {
	s := ramtest.New(ramtest.Options{})
	defer s.Close()
	s.AddRole(acct, "trailwarden-responder", "")
	if err := s.AddKey(acct, "alice", ramtest.Key{ID: aliceKey}); err != nil {
		b.Fatal(err)
	}
	cred := s.AddSession(acct, "trailwarden-responder", RoleSessionName, time.Hour)
	c, err := New(Config{Endpoint: s.URL(), Credentials: func(context.Context) (string, string, string, error) {
		return cred.AccessKeyID, cred.AccessKeySecret, cred.SecurityToken, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	e, a := c.disableAccessKey(), action(kind)
	var prior json.RawMessage
	for b.Loop() {
		if prior, err = e.Read(b.Context(), a); err == nil {
			_, err = e.Execute(b.Context(), a, prior)
		}
		if err == nil {
			_, err = e.Undo(b.Context(), a, prior)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
