package ram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// policyFiles says which kinds of action a shipped policy is for.
var policyFiles = map[string][]string{
	"responder-disable-key.json": {"ram.disable_access_key"},
	"responder-contain.json":     {"ram.disable_access_key", "ram.fence_key", "ram.block_console", "ram.quarantine_user"},
	"responder-sessions.json":    {"ram.fence_user", "ram.cut_role_sessions", "ram.narrow_trust"},
	"responder-policies.json":    {"ram.detach_policy", "ram.set_default_policy_version", "ram.remove_from_group", "actiontrail.start_logging"},
}

func policyFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "ram", name))
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for word, v := range map[string]string{"ACCOUNT_ID": acct, "BREAK_GLASS_USER": "break-glass", "PIPELINE_USER": "pipeline"} {
		s = strings.ReplaceAll(s, word, v)
	}
	var small bytes.Buffer
	if err := json.Compact(&small, []byte(s)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if small.Len() > 2048 {
		t.Errorf("%s: %d bytes, RAM takes 2048", name, small.Len())
	}
	return small.String()
}

// The allowed actions of each file are exactly those that the code declares.
func TestPoliciesAllowWhatIsDeclared(t *testing.T) {
	r := newRig(t)
	covered := map[string]bool{}
	for file, kinds := range policyFiles {
		var doc struct {
			Statement []struct {
				Effect    string
				Action    any
				NotAction any
			}
		}
		if err := json.Unmarshal([]byte(policyFile(t, file)), &doc); err != nil {
			t.Fatal(file, err)
		}
		allowed := map[string]bool{}
		for _, st := range doc.Statement {
			if st.Effect != "Allow" {
				continue
			}
			switch a := st.Action.(type) {
			case string:
				allowed[a] = true
			case []any:
				for _, x := range a {
					allowed[x.(string)] = true
				}
			default:
				t.Fatalf("%s: an Allow without Action", file)
			}
		}
		declared := map[string]bool{}
		for _, k := range kinds {
			covered[k] = true
			perms := r.exec(k).Permissions()
			if !slices.IsSorted(perms) {
				t.Errorf("%s: permissions are not sorted", k)
			}
			for _, p := range perms {
				declared[p] = true
			}
		}
		if got, want := slices.Sorted(maps.Keys(allowed)), slices.Sorted(maps.Keys(declared)); !slices.Equal(got, want) {
			t.Errorf("%s allows\n %v\nand the code declares\n %v", file, got, want)
		}
	}
	for _, e := range r.c.Executors() {
		if !covered[e.Kind()] {
			t.Errorf("no policy file covers %s", e.Kind())
		}
	}
}

// Every kind works, undo included, under nothing but its policy, and the
// policy stops what it must stop.
func TestPoliciesAreEnough(t *testing.T) {
	for file, kinds := range policyFiles {
		t.Run(file, func(t *testing.T) {
			r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
			r.cloud.AddPolicy(acct, "responder", policyFile(t, file))
			if err := r.cloud.Attach(acct, "Custom", "responder", "role", "trailwarden-responder"); err != nil {
				t.Fatal(err)
			}
			before := r.cloud.State()
			n := 0
			for _, a := range cases() {
				e := r.exec(a.Kind)
				prior, err := e.Read(t.Context(), a)
				if file == "responder-policies.json" && a.Kind == "ram.quarantine_user" {
					continue // who may attach any policy may attach this one
				}
				if !slices.Contains(kinds, a.Kind) {
					if err == nil {
						_, err = e.Execute(t.Context(), a, prior)
					}
					if !errors.Is(err, responders.ErrRefused) {
						t.Errorf("%s is possible: %v", a.Kind, err)
					}
					continue
				}
				n++
				if err == nil {
					_, err = e.Execute(t.Context(), a, prior)
				}
				if err == nil {
					_, err = e.Undo(t.Context(), a, prior)
				}
				if err != nil {
					t.Errorf("%s: %v", a.Kind, err)
				}
			}
			if n < len(kinds) {
				t.Fatalf("%d of %d kinds tried", n, len(kinds))
			}
			sameState(t, before, r.cloud.State())

			// Protected users are out of reach even if our own lists are empty.
			for _, u := range []string{"break-glass", "pipeline"} {
				if err := r.cloud.AddKey(acct, u, ramtest.Key{ID: "LTAI5tEXAMPLE" + strings.ReplaceAll(u, "-", "") + "0001"}); err != nil {
					t.Fatal(err)
				}
				r.cloud.AddLogin(acct, u, ramtest.Active, true)
				r.cloud.AddGroup(acct, "admins", u)
				if err := r.cloud.Attach(acct, "System", "AdministratorAccess", "user", u); err != nil {
					t.Fatal(err)
				}
				before := r.cloud.State()
				for _, a := range cases() {
					if a.Target.UserName != "alice" || a.Target.Params["group"] != "" && a.Kind == "ram.detach_policy" || len(a.Target.Params) > 0 && a.Target.Params["trail"]+a.Target.Params["version_id"] != "" || !slices.Contains(kinds, a.Kind) {
						continue
					}
					a.Target.UserName, a.Target.AccessKeyID = u, "LTAI5tEXAMPLE"+strings.ReplaceAll(u, "-", "")+"0001"
					e := r.exec(a.Kind)
					prior, err := e.Read(t.Context(), a)
					if err == nil {
						_, err = e.Execute(t.Context(), a, prior)
					}
					if !errors.Is(err, responders.ErrRefused) || code(err) != "NoPermission" {
						t.Errorf("%s on %s: %v", a.Kind, u, err)
					}
				}
				sameState(t, before, r.cloud.State())
			}
		})
	}
}

// The facts of a key can be read under responder-facts.json alone, beside the
// fence of the disable-only role.
func TestFactsPolicyIsEnough(t *testing.T) {
	r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
	for name, file := range map[string]string{"responder": "responder-disable-key.json", "facts": "responder-facts.json"} {
		r.cloud.AddPolicy(acct, name, policyFile(t, file))
		if err := r.cloud.Attach(acct, "Custom", name, "role", "trailwarden-responder"); err != nil {
			t.Fatal(err)
		}
	}
	var doc struct {
		Statement []struct{ Action []string }
	}
	if err := json.Unmarshal([]byte(policyFile(t, "responder-facts.json")), &doc); err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for _, st := range doc.Statement {
		allowed = append(allowed, st.Action...)
	}
	slices.Sort(allowed)
	if !slices.Equal(allowed, CardPermissions()) {
		t.Fatalf("the file allows %v, the code declares %v", allowed, CardPermissions())
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
	r.cloud.UseKey(aliceKey, ramtest.Use{Service: "Ecs", Event: "RunInstances", IP: "198.51.100.7"}, at)
	r.cloud.UseKey(aliceKey, ramtest.Use{Service: "Oss", Event: "GetObject", IP: "203.0.113.9"}, at.Add(time.Minute))
	before := r.cloud.State()
	asked := action(kind).Target
	want := asked.UserName
	asked.UserName, asked.PrincipalType = "", ""
	if user, err := r.c.KeyOwner(t.Context(), asked); err != nil || user != want {
		t.Errorf("the key is of %q, %v; want %q", user, err, want)
	}
	asked.AccessKeyID = "LTAI5tEXAMPLEnobody001"
	if user, err := r.c.KeyOwner(t.Context(), asked); err == nil {
		t.Errorf("a key that is not there is of %q", user)
	}
	card, err := r.c.KeyCard(t.Context(), action(kind).Target)
	if err != nil || len(card.Missing) > 0 {
		t.Fatalf("%+v %v", card.Missing, err)
	}
	if card.Status != "Active" || len(card.Policies) != 1 || card.Policies[0] != "System/AdministratorAccess" || len(card.Groups) != 2 {
		t.Fatalf("%+v", card)
	}
	if len(card.Networks) != 2 || card.Networks[0].Name != "203.0.113.9" || !card.Networks[1].At.Equal(at) || card.Services[0].Name != "Oss" {
		t.Fatalf("%+v %+v", card.Networks, card.Services)
	}
	sameState(t, before, r.cloud.State())

	// What cannot be read is said, and the rest is there.
	r.cloud.Inject(ramtest.Fault{Action: "GetAccessKeyLastUsedIps", Status: 403, Code: "NoPermission"})
	if card, err = r.c.KeyCard(t.Context(), action(kind).Target); err != nil || len(card.Missing) != 1 || len(card.Services) != 2 {
		t.Fatalf("%+v %v", card, err)
	}
	// Nothing is asked about what is no key of a user.
	for _, key := range []string{"STS.EXAMPLE", ""} {
		target := action(kind).Target
		target.AccessKeyID = key
		if _, err := r.c.KeyCard(t.Context(), target); !errors.Is(err, responders.ErrRefused) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// The disable-only role stays what it is even when somebody attaches more.
func TestDisableKeyPolicyIsAFence(t *testing.T) {
	r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
	r.cloud.AddPolicy(acct, "responder", policyFile(t, "responder-disable-key.json"))
	for _, p := range [][2]string{{"Custom", "responder"}, {"System", "AdministratorAccess"}} {
		if err := r.cloud.Attach(acct, p[0], p[1], "role", "trailwarden-responder"); err != nil {
			t.Fatal(err)
		}
	}
	before := r.cloud.State()
	for _, a := range cases() {
		if a.Kind == kind {
			continue
		}
		if _, err := r.exec(a.Kind).Read(t.Context(), a); !errors.Is(err, responders.ErrRefused) {
			t.Errorf("%s: %v", a.Kind, err)
		}
	}
	sameState(t, before, r.cloud.State())
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); err != nil {
		t.Fatal(err)
	}
}

// Containment contains: under enforced policies the attacker's key stops
// working, by each way that is meant to stop it.
func TestContainmentContains(t *testing.T) {
	for _, k := range []string{"ram.disable_access_key", "ram.quarantine_user", "ram.fence_key"} {
		t.Run(k, func(t *testing.T) {
			r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
			if err := r.cloud.Attach(acct, "System", "AdministratorAccess", "role", "trailwarden-responder"); err != nil {
				t.Fatal(err)
			}
			attacker := r.attacker(t)
			if err := attacker(); err != nil {
				t.Fatalf("before: %v", err)
			}
			a := action(k, with("allow", "198.51.100.7"))
			e := r.exec(k)
			prior, err := e.Read(t.Context(), a)
			if err == nil {
				_, err = e.Execute(t.Context(), a, prior)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := attacker(); err == nil {
				t.Fatal("the key still works")
			}
			if _, err := e.Undo(t.Context(), a, prior); err != nil {
				t.Fatal(err)
			}
			if err := attacker(); err != nil {
				t.Fatalf("after the undo: %v", err)
			}
		})
	}
}

// attacker makes a call with alice's key.
func (r *rig) attacker(t *testing.T) func() error {
	cfg := r.c.cfg
	cfg.Credentials = func(context.Context) (string, string, string, error) {
		return aliceKey, "EXAMPLEsecretOf" + aliceKey, "", nil
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		_, err := c.listKeys(t.Context(), scope{acct, own{}}, "bob")
		return err
	}
}

func TestQuarantineFileDeniesAll(t *testing.T) {
	if !deniesAll(policyFile(t, "quarantine-deny-all.json")) {
		t.Fatal("it does not")
	}
	for _, doc := range []string{
		``, `{}`, `{"Statement":[]}`,
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"},{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Deny","Action":"ram:*","Resource":"*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"acs:oss:*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Deny","NotAction":"oss:*","Resource":"*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":"198.51.100.1"}}}]}`,
	} {
		if deniesAll(doc) {
			t.Errorf("%s passes for a quarantine", doc)
		}
	}
	if !deniesAll(`{"Version":"1","Statement":{"Effect":"deny","Action":["*"],"Resource":["*"],"Condition":{}}}`) {
		t.Error("an equal form does not pass")
	}
}

func TestReaderPolicyReadsOnly(t *testing.T) {
	var doc struct {
		Statement []struct {
			Effect string
			Action []string
		}
	}
	if err := json.Unmarshal([]byte(policyFile(t, "reader.json")), &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range doc.Statement {
		if st.Effect != "Allow" {
			t.Fatalf("%+v", st)
		}
		got = append(got, st.Action...)
	}
	slices.Sort(got)
	want := []string{"log:ConsumerGroupHeartBeat", "log:ConsumerGroupUpdateCheckPoint", "log:CreateConsumerGroup", "log:GetConsumerGroupCheckPoint",
		"log:GetCursorOrData", "log:GetLogStoreHistogram", "log:ListConsumerGroup", "log:ListShards", "log:UpdateConsumerGroup"}
	if !slices.Equal(got, want) {
		t.Fatalf("allows %v, the consumer library and the count of what is behind call %v", got, want)
	}
}

// One program works with one role. Policies of several files on it take from each other
// what they need, by what each denies last; without these statements all kinds work.
func TestPoliciesOnOneRole(t *testing.T) {
	for name, whole := range map[string]bool{"as they are": true, "without their last statements": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *ramtest.Options, _ *Config) { o.Enforce = true })
			for _, file := range []string{"responder-contain.json", "responder-sessions.json", "responder-policies.json"} {
				var doc struct{ Version, Statement any }
				if err := json.Unmarshal([]byte(policyFile(t, file)), &doc); err != nil {
					t.Fatal(err)
				}
				list := doc.Statement.([]any)
				last := list[len(list)-1].(map[string]any)
				if last["Effect"] != "Deny" || last["Resource"] != "*" {
					t.Fatalf("%s does not end with what it denies everywhere: %v", file, last)
				}
				if !whole {
					doc.Statement = list[:len(list)-1]
				}
				b, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				policy := strings.TrimSuffix(file, ".json")
				r.cloud.AddPolicy(acct, policy, string(b))
				if err := r.cloud.Attach(acct, "Custom", policy, "role", "trailwarden-responder"); err != nil {
					t.Fatal(err)
				}
			}
			var refused []string
			for _, a := range cases() {
				if r.through(a) != nil {
					refused = append(refused, a.Kind)
				}
			}
			if whole && !slices.Contains(refused, responders.KindDisableAccessKey) || !whole && len(refused) > 0 {
				t.Errorf("refused: %v", refused)
			}
		})
	}
}
