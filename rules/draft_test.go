package rules

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// A draft, once somebody has put a name to it, withholds exactly what it is
// about, whatever the actor is called.
func TestDraftException(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	plain, set := parse(t, nil), load(t, LoadOptions{}, rule1)
	id := string(rule1[len("id: "):strings.IndexByte(string(rule1), '\n')])
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{`a" || true || "`, "{x}", "\x00\x1b[31m", "\u202e", "a: [b", "%s", "\u2028"})).Draw(rt, "name")
		ip := rapid.SampledFrom([]string{"", "203.0.113.9", "2001:db8::1", "ecs.aliyuncs.com"}).Draw(rt, "address")
		ev := parse(t, map[string]any{"sourceIpAddress": ip, "userIdentity": map[string]any{"type": "ram-user", "accountId": baseAccount, "principalId": "2000", "userName": name}})
		sess := newSession(set)
		sess.Begin(ev)
		var found alert.Detection
		sess.who(&found, ev)
		a := &alert.Alert{ID: "0123456789abcdef", Rule: id, Actor: found.Actor, SourceIP: found.SourceIP}
		draft := DraftException(a, now)
		if a.Actor.ID == "" && net.ParseIP(a.SourceIP) == nil {
			if draft != nil {
				rt.Fatalf("a draft about nobody: %s", draft)
			}
			return
		}
		path := filepath.Join(dir, id+"_0123456789ab.yaml")
		opts := LoadOptions{Factories: testFactories, AllowFewTests: true, Exceptions: []string{path}, Files: map[string][]byte{"rules/" + id + ".yaml": rule1}}
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				rt.Fatal(err)
			}
		}
		write(string(draft))
		var faults Errors
		if _, err := Load(opts); !errors.As(err, &faults) || len(faults) != 2 || !strings.Contains(err.Error(), "empty") {
			rt.Fatalf("without owner and reason: %v\n%s", err, draft)
		}
		write(strings.Replace(strings.Replace(string(draft), `owner: ""`, "owner: o", 1), `reason: ""`, "reason: r", 1))
		set, err := Load(opts)
		if err != nil {
			rt.Fatalf("%v\n%s", err, draft)
		}
		except := set.NewExcept()
		d := &alert.Detection{Rule: id, Time: now.AddDate(0, 0, draftDays)}
		if _, ok := except(ev, d); !ok {
			rt.Fatalf("what it is about is not withheld:\n%s", draft)
		}
		if _, ok := except(plain, d); ok {
			rt.Fatalf("somebody else is withheld:\n%s", draft)
		}
	})
}
