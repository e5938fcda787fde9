package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// Names come from attackers: nothing of a trail can move a terminal's cursor,
// start a line of its own, or run in a shell that it is pasted into.
func TestHostileTrail(t *testing.T) {
	evil := "\x1b[31mroot\r\n2026-11-20 ok \u202e; $(rm -rf x) `y` 'z'"
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	words := []replay.Tally{{Word: evil, Count: 2, First: at, Last: at}}
	tr := &replay.Trail{Entity: evil, Events: 2, By: 1, First: at, Last: at.Add(48 * time.Hour), Identities: words, Keys: words, Addresses: words, Regions: words, Actions: words, Targets: words,
		Made:   []replay.Lineage{{Time: at, Actor: evil, WithKey: evil, Action: evil, Target: evil, Key: evil, Given: evil, Ended: &replay.End{Time: at, Actor: evil}}},
		Open:   []string{evil},
		Steps:  []replay.Step{{First: at, Last: at, Count: 2, Actor: evil, Key: evil, Action: evil, Given: evil, Target: evil + "x", Address: evil, Attempt: true}},
		Origin: []replay.Kinship{{Depth: 2, Child: evil, Of: evil, Maker: evil + "m", WithKey: evil, Time: at, Ended: &replay.End{Time: at, Actor: evil}}}}
	for _, width := range []int{0, 40, 90} {
		var out, err bytes.Buffer
		e := &env{out: &out, err: &err}
		showTrail(&out, tr, 20, width)
		showSteps(&out, tr, []alert.Alert{{Rule: "r", FirstAt: at, Severity: alert.High}}, 20, width)
		nextSteps(e, tr, []string{"it's here"})
		for _, s := range []string{out.String(), err.String()} {
			if strings.ContainsAny(s, "\x1b\r\u202e") {
				t.Errorf("width %d: %q", width, s)
			}
		}
		if lines := strings.Split(out.String(), "\n"); width > 0 {
			for _, l := range lines {
				if strings.HasPrefix(l, "2026-11-20 ok") {
					t.Errorf("a line of its own: %q", l)
				}
			}
		}
		if !strings.Contains(err.String(), `'it'\''s here'`) {
			t.Errorf("%q", err.String())
		}
		for _, l := range strings.Split(err.String(), "\n") {
			// Outside quotes there is nothing that a shell acts on.
			bare := true
			for _, part := range strings.Split(strings.ReplaceAll(l, `'\''`, ""), "'") {
				if bare && strings.ContainsAny(part, "$`;&|<>") {
					t.Errorf("%q", l)
				}
				bare = !bare
			}
		}
	}
}

// What to ask next is a name that something is found by, whatever was given or made.
func TestNextSteps(t *testing.T) {
	for child, want := range map[string]string{
		"AdministratorAccess on user/1000000000000001/ci": "user/1000000000000001/ci", "key/LTAI5tEXAMPLEkey0001": "LTAI5tEXAMPLEkey0001", "login/user/1000000000000001/bob": "user/1000000000000001/bob",
		"mfa/user/1000000000000001/bob": "user/1000000000000001/bob", "mfa/1000000000000001/device": "mfa/1000000000000001/device", "policy/1000000000000001/p": "policy/1000000000000001/p",
	} {
		var said bytes.Buffer
		nextSteps(&env{err: &said}, &replay.Trail{Entity: "root", Offspring: []replay.Kinship{{Child: child}}}, []string{"x"})
		if got := "\nask next:\n  trailwarden entity show " + want + " x\n"; said.String() != got {
			t.Errorf("%s: %q, want %q", child, said.String(), got)
		}
	}
}

// What was made says when it ended, what was given which policy it was, and what is
// open stands by itself, no more of it than asked for.
func TestTrailOpen(t *testing.T) {
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	end := &replay.End{Time: at.Add(time.Hour), Actor: "user/1/mona"}
	tr := &replay.Trail{Entity: "eve", Events: 2, First: at, Last: at,
		Made: []replay.Lineage{{Time: at, Actor: "user/1/eve", Action: "Ram:AttachPolicyToUser", Given: "AdministratorAccess", Target: "user/1/x"},
			{Time: at, Actor: "user/1/eve", Action: "Ram:CreateAccessKey", Target: "user/1/x", Key: "K1", Ended: end}},
		Offspring: []replay.Kinship{{Depth: 2, Child: "key/K2", Of: "user/1/y", Maker: "user/1/x", Time: at, Ended: end}},
		Open:      []string{"key/K3 of user/1/x", "AdministratorAccess on user/1/x", "user/1/x"}}
	var out bytes.Buffer
	showTrail(&out, tr, 2, 0)
	for _, want := range []string{
		"Ram:AttachPolicyToUser AdministratorAccess → user/1/x\n",
		"Ram:CreateAccessKey → user/1/x K1 (ended 2026-11-20 09:00:00Z by user/1/mona)\n",
		"user/1/x made key/K2 of user/1/y (ended 2026-11-20 09:00:00Z by user/1/mona) (2 steps away)\n",
		"  open       key/K3 of user/1/x\n             AdministratorAccess on user/1/x\n             and 1 more\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
