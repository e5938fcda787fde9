package ram

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

const (
	acct     = "1000000000000001"
	other    = "1000000000000002"
	aliceKey = "LTAI5tEXAMPLEalice00001"
	bobKey   = "LTAI5tEXAMPLEbob0000001"
	rootKey  = "LTAI5tEXAMPLEroot000001"
	ownKey   = "LTAI5tEXAMPLEown0000001"
	ownUser  = "trailwarden"
)

// rig is an account in the emulator and a client in it. Nothing sleeps: pauses
// are recorded.
type rig struct {
	t     *testing.T
	cloud *ramtest.Server
	c     *Client
	cred  ramtest.Credentials

	mu     sync.Mutex
	pauses []time.Duration
	seen   []string // "ram UpdateAccessKey" + " " + code
	log    []ramtest.Entry
}

func newRig(t *testing.T, edit ...func(*ramtest.Options, *Config)) *rig {
	t.Helper()
	r := &rig{t: t}
	opts := ramtest.Options{Journal: func(e ramtest.Entry) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, e)
	}}
	cfg := Config{
		Credentials: func(context.Context) (string, string, string, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.cred.AccessKeyID, r.cred.AccessKeySecret, r.cred.SecurityToken, nil
		},
		Observe: func(action, code string, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen = append(r.seen, strings.TrimSpace(action+" "+code))
		},
		Sleep: func(ctx context.Context, d time.Duration) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.pauses = append(r.pauses, d)
			return ctx.Err()
		},
	}
	for _, f := range edit {
		f(&opts, &cfg)
	}
	r.cloud = ramtest.New(opts)
	t.Cleanup(r.cloud.Close)
	if cfg.Endpoint == "" {
		cfg.Endpoint = r.cloud.URL()
	}
	seed(t, r.cloud)
	r.cred = r.cloud.AddSession(acct, "trailwarden-responder", RoleSessionName, time.Hour)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r.c = c
	return r
}

const denyAll = `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

func seed(t *testing.T, s *ramtest.Server) {
	t.Helper()
	s.AddAccount(acct, "acme")
	s.AddUser(acct, "alice")
	s.AddUser(acct, "bob")
	for user, key := range map[string]string{"alice": aliceKey, "bob": bobKey, "": rootKey, ownUser: ownKey} {
		if err := s.AddKey(acct, user, ramtest.Key{ID: key}); err != nil {
			t.Fatal(err)
		}
	}
	s.AddLogin(acct, "alice", ramtest.Active, true)
	s.AddGroup(acct, "admins", "alice", "bob")
	s.AddGroup(acct, "fenced", "alice")
	s.AddPolicy(acct, "zz-quarantine-deny-all", denyAll)
	s.AddPolicy(acct, "deploy", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"}]}`,
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	s.AddPolicy(acct, "guardrail", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"oss:Delete*","Resource":"*"}]}`)
	s.AddRole(acct, "ci", "")
	s.AddRole(acct, "open", `{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"RAM": ["acs:ram::`+other+`:root", "acs:ram::`+acct+`:user/bob"]}}, {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}]}`)
	for _, a := range [][4]string{{"System", "AdministratorAccess", "user", "alice"}, {"Custom", "deploy", "group", "admins"},
		{"Custom", "guardrail", "group", "fenced"}, {"Custom", "guardrail", "user", "bob"}, {"System", "AliyunOSSFullAccess", "role", "ci"}} {
		if err := s.Attach(acct, a[0], a[1], a[2], a[3]); err != nil {
			t.Fatal(err)
		}
	}
	s.AddTrail(acct, ramtest.Trail{Name: "main-trail", SLSProjectARN: "acs:log:cn-hangzhou:" + acct + ":project/audit"})
}

func credOf(s ramtest.Credentials) func(context.Context) (string, string, string, error) {
	return func(context.Context) (string, string, string, error) {
		return s.AccessKeyID, s.AccessKeySecret, s.SecurityToken, nil
	}
}

func (r *rig) exec(kind string) responders.Executor {
	r.t.Helper()
	for _, e := range r.c.Executors() {
		if e.Kind() == kind {
			return e
		}
	}
	r.t.Fatalf("no executor of kind %s", kind)
	return nil
}

// through reads, does and undoes an action, and says what did not go.
func (r *rig) through(a responders.Action) error {
	r.t.Helper()
	e := r.exec(a.Kind)
	prior, err := e.Read(r.t.Context(), a)
	if err == nil {
		_, err = e.Execute(r.t.Context(), a, prior)
	}
	if err == nil {
		_, err = e.Undo(r.t.Context(), a, prior)
	}
	return err
}

func (r *rig) entries(action string) []ramtest.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []ramtest.Entry
	for _, e := range r.log {
		if e.Action == action {
			out = append(out, e)
		}
	}
	return out
}

func (r *rig) slept() (n int, sum time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pauses {
		sum += p
	}
	return len(r.pauses), sum
}

// requests counts what reached the wire for an action, whatever came of it.
func (r *rig) requests(action string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, s := range r.seen {
		if s == action || strings.HasPrefix(s, action+" ") {
			n++
		}
	}
	return n
}

func action(kind string, edit ...func(*responders.ActionTarget)) responders.Action {
	t := responders.ActionTarget{AccountID: acct, PrincipalType: "ram-user", UserName: "alice", AccessKeyID: aliceKey}
	for _, f := range edit {
		f(&t)
	}
	return responders.Action{ID: "act-1", Kind: kind, Target: t, Mode: responders.Auto, Requester: "playbook"}
}

func with(k, v string) func(*responders.ActionTarget) {
	return func(t *responders.ActionTarget) {
		m := map[string]string{k: v}
		for a, b := range t.Params {
			m[a] = b
		}
		t.Params = m
	}
}

// cases is one action of every kind that has something to do in the seeded account.
func cases() []responders.Action {
	return []responders.Action{
		action("ram.disable_access_key"),
		action("ram.fence_key", with("allow", "198.51.100.0/24, 203.0.113.7")),
		action("ram.fence_user", with("allow", "198.51.100.0/24")),
		action("ram.block_console"),
		action("ram.quarantine_user"),
		action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AdministratorAccess")),
		action("ram.detach_policy", with("policy_type", "Custom"), with("policy_name", "deploy"), with("group", "admins")),
		action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AliyunOSSFullAccess"), func(t *responders.ActionTarget) {
			t.PrincipalType, t.UserName, t.RoleName = "assumed-role", "", "ci"
		}),
		action("ram.cut_role_sessions", aRoleNamed("ci")),
		action("ram.narrow_trust", aRoleNamed("open"), with("remove", "external")),
		action("ram.narrow_trust", aRoleNamed("open"), with("remove", "acs:ram::"+acct+":user/bob")),
		action("ram.set_default_policy_version", with("policy_name", "deploy"), with("version_id", "v1")),
		action("ram.remove_from_group", with("group", "admins")),
		action("actiontrail.start_logging", with("trail", "main-trail")),
	}
}

func aRoleNamed(name string) func(*responders.ActionTarget) {
	return func(t *responders.ActionTarget) {
		t.PrincipalType, t.UserName, t.RoleName, t.AccessKeyID = "assumed-role", "", name, ""
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noSecrets fails when text holds what the rig signs with.
func (r *rig) noSecrets(what, text string) {
	r.t.Helper()
	for _, s := range []string{r.cred.AccessKeySecret, r.cred.SecurityToken, "SignatureNonce="} {
		if s != "" && strings.Contains(text, s) {
			r.t.Errorf("%s holds a secret: %s", what, strings.ReplaceAll(text, s, "<SECRET>"))
		}
	}
}

func sameState(t *testing.T, want, got []byte) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			t.Fatalf("state differs at line %d:\n want %s\n got  %s", i+1, w[i], g[i])
		}
	}
	t.Fatalf("state differs in length: want %d lines, got %d", len(w), len(g))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
