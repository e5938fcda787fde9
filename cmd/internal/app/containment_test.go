package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
	"github.com/trailwarden/trailwarden/rules"
)

func readmeOfContainment(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "responders", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The configuration in responders/README.md is one that run would take, and
// every kind of action is in its table.
func TestContainmentREADME(t *testing.T) {
	text := readmeOfContainment(t)
	for _, k := range responders.Kinds() {
		if !strings.Contains(text, "| `"+k+"` |") {
			t.Errorf("%s is not in the table", k)
		}
	}
	_, block, ok := strings.Cut(text, "```yaml\n")
	block, _, ok2 := strings.Cut(block, "```")
	if !ok || !ok2 {
		t.Fatal("there is no configuration")
	}
	path := filepath.Join(t.TempDir(), "c.yaml")
	block += "nats: {url: \"nats://127.0.0.1:4222\"}\n" // another process reads
	if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(c); err != nil {
		t.Fatal(err)
	}
	if !c.Units.Has("prod") || len(c.Respond.Playbooks) != 4 || c.Respond.Playbooks[3].Actions[0].Else != responders.KindDisableAccessKey {
		t.Errorf("%+v", c.Respond.Playbooks)
	}
}

// A mistyped kind, unit or label is found before anything is started.
func TestPlaybooksAreChecked(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"respond: {ram: {enabled: true}, playbooks: [{name: p, when: {rules: [x]}, actions: [{kind: ram.disable_acess_key}]}]}", "does not exist"},
		{"respond: {playbooks: [{name: p, when: {rules: [x], units: [prod]}, actions: [{kind: ram.block_console}]}]}", "not among units"},
		{"respond: {playbooks: [{name: p, when: {rules: [x], labels: {colour: [red]}}, actions: [{kind: ram.block_console}]}]}", "no such label"},
		{"respond: {guards: {two_person: {units: [prod]}}}", "not among units"},
		{"units: {prod: [abc]}", "want an account id"},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(c.yaml+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path, nil)
		if err == nil {
			_, err = Check(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.yaml, err, c.want)
		}
	}
}

// Every built-in playbook is for rules that are in the pack, and observes.
func TestBuiltInPlaybooksFitTheirRules(t *testing.T) {
	set, err := Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, in := range set.List() {
		ids = append(ids, in.ID)
	}
	for _, p := range responders.DefaultPlaybooks() {
		for _, r := range p.When.Rules {
			if !slices.Contains(ids, r) {
				t.Errorf("playbook %s is for the rule %s, which is not in the pack", p.Name, r)
			}
		}
		if p.Mode != responders.Observe {
			t.Errorf("%s does more than observe", p.Name)
		}
	}
}

// The whole ladder, from records in SLS through rules, playbooks and guards to
// the cloud and back: each kind of action is asked for by an alert, done,
// confirmed by its own event, and undone; in the end the cloud is byte for
// byte what it was.
func TestLadderEndToEnd(t *testing.T) {
	const account = "1000000000000001"
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, []string{account})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	ram := cloud.RAM
	for _, u := range []string{"mallory", "bob", "carol", "eve", "frank"} {
		ram.AddUser(account, u)
	}
	const leaked = "LTAI5tEXAMPLEfrank00001"
	if err := ram.AddKey(account, "frank", ramtest.Key{ID: leaked}); err != nil {
		t.Fatal(err)
	}
	ram.AddLogin(account, "carol", ramtest.Active, true)
	ram.AddLogin(account, "eve", ramtest.Active, false)
	ram.AddGroup(account, "ops", "carol")
	const narrow, wide = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	ram.AddPolicy(account, "deploy", narrow, wide)
	ram.AddPolicy(account, "zz-quarantine-deny-all", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	const trust = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::2000000000000009:root","acs:ram::1000000000000001:root"]}}]}`
	ram.AddRole(account, "open", trust)
	ram.AddTrail(account, ramtest.Trail{Name: "audit", HomeRegion: "cn-hangzhou", EventRW: "All", TrailRegion: "All"})
	for _, h := range [][2]string{{"user", "bob"}, {"user", "eve"}, {"group", "ops"}} {
		if err := ram.Attach(account, "System", "AdministratorAccess", h[0], h[1]); err != nil {
			t.Fatal(err)
		}
	}
	before := string(ram.State())

	start := time.Now().Add(-10 * time.Minute).UTC()
	n := 0
	rec := func(user, key, service, name string, params map[string]string, more string) {
		n++
		p, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		cloud.Append(fmt.Appendf(nil, `{"eventId":"E-%d","requestId":"R-%d","eventVersion":1,"eventType":"ApiCall","eventCategory":"Management","eventRW":"Write","eventName":%q,"serviceName":%q,"eventSource":"ram.aliyuncs.com","eventTime":%q,"acsRegion":"cn-hangzhou","isGlobal":true,"sourceIpAddress":"203.0.113.9","userAgent":"x","recipientAccountId":%q,"userIdentity":{"type":"ram-user","accountId":%q,"principalId":"2%s","userName":%q,"accessKeyId":%q},"requestParameters":%s,"requestParameterJson":%q%s}`,
			n, n, name, service, start.Add(time.Duration(n)*20*time.Second).Format("2006-01-02T15:04:05Z"), account, account, user, user, key, p, p, more))
	}
	attacker := func(service, name string, params map[string]string, more string) {
		rec("mallory", "LTAI5tEXAMPLEmallory001", service, name, params, more)
	}
	attacker("Ram", "CreatePolicy", map[string]string{"PolicyName": "deploy", "PolicyDocument": narrow}, "")
	attacker("Ram", "AttachPolicyToGroup", map[string]string{"PolicyType": "System", "PolicyName": "AdministratorAccess", "GroupName": "ops"}, "")
	attacker("Ram", "AttachPolicyToUser", map[string]string{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "bob"}, "")
	attacker("Ram", "AddUserToGroup", map[string]string{"GroupName": "ops", "UserName": "carol"}, "")
	attacker("Ram", "CreatePolicyVersion", map[string]string{"PolicyName": "deploy", "PolicyDocument": wide, "SetAsDefault": "true"}, `,"responseElements":{"PolicyVersion":{"VersionId":"v2","IsDefaultVersion":true}}`)
	attacker("Ram", "CreateLoginProfile", map[string]string{"UserName": "carol", "Password": "****"}, "")
	attacker("Ram", "UpdateRole", map[string]string{"RoleName": "open", "NewAssumeRolePolicyDocument": trust}, "")
	attacker("Ram", "CreateUser", map[string]string{"UserName": "eve"}, "")
	attacker("Ram", "AttachPolicyToUser", map[string]string{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": "eve"}, "")
	attacker("Actiontrail", "StopLogging", map[string]string{"Name": "audit"}, "")
	rec("frank", leaked, "Ram", "ListUsers", nil, `,"errorCode":"Forbidden","errorMessage":"There is a risk of leakage of this AccessKey."`)

	ctx := context.Background()
	a := runApp(t, ctx, cloud.Config, func(cfg *config.Config) {
		cfg.Detect.Grace = responders.Duration(time.Second)
		cfg.Respond.Playbooks = nil
		for _, p := range responders.DefaultPlaybooks() {
			switch p.Name {
			case "leaked-key":
				fence := map[string]string{"allow": "198.51.100.0/24"}
				p.Actions = []responders.PlaybookAction{{Kind: responders.KindFenceKey, Params: fence, RefusalIsEvidence: true},
					{Kind: responders.KindFenceUser, Params: fence, RefusalIsEvidence: true}, {Kind: responders.KindDisableAccessKey, RefusalIsEvidence: true}}
			case "new-key", "new-key-for-other", "suspicious-key", "reactivated-key":
				continue
			}
			p.Mode, p.Guards.Shared = responders.Auto, true
			cfg.Respond.Playbooks = append(cfg.Respond.Playbooks, p)
		}
	})
	byKind := map[string]responders.ActionDetail{}
	var list []responders.ActionDetail
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); ; {
			var err error
			if list, err = a.Actions(ctx); err == nil {
				clear(byKind)
				for _, d := range list {
					if old, there := byKind[d.Kind]; !there || old.State != responders.Done || d.Seen != nil {
						byKind[d.Kind] = d
					}
				}
				if ok() {
					return
				}
			}
			if time.Now().After(end) {
				st, serr := a.Status(ctx)
				as, aerr := a.Alerts(ctx, 100)
				for _, x := range as {
					t.Logf("%s %v target %v call %v", x.Rule, x.Outcome, x.Target, x.Details["call"])
					if x.Rule == "policy.expanded" {
						pm, _ := x.Details["policy"].(map[string]any)
						t.Log(pm["previous_version"], pm["before"], pm["notes"])
					}
				}
				t.Logf("parked %v, problems %v, %v; %d alerts, %v", st.Parked, st.Problems, serr, len(as), aerr)
				for _, d := range list {
					t.Logf("%s %s: %s %s", d.Kind, d.State, d.Describe, d.Reason)
				}
				t.Fatalf("%s: not within 90 s", what)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	wait("each kind done and seen in the trail", func() bool {
		for _, k := range responders.Kinds() {
			if d := byKind[k]; d.State != responders.Done || d.Seen == nil {
				return false
			}
		}
		return true
	})
	if string(ram.State()) == before {
		t.Fatal("nothing changed")
	}
	ours := func() {
		t.Helper()
		as, err := a.Alerts(ctx, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range as {
			if x.Rule == responders.RuleForeignCall {
				t.Errorf("a call of an action is told as foreign: %s; %s", x.Title, x.Reason)
			}
		}
	}
	ours()
	// Everything that changed something is taken back, the last first. Our own
	// undo looks like the attack again; nobody's hand is forced by it.
	wait("no action under way", func() bool {
		return !slices.ContainsFunc(list, func(d responders.ActionDetail) bool {
			return d.State == responders.Approved || d.State == responders.Executing || d.State == responders.InDoubt
		})
	})
	// Last by when each was carried out: what is behind two of them, a group here, was
	// found by the later one as the earlier one had left it.
	began := map[string]time.Time{}
	for _, d := range list {
		full, err := a.Action(ctx, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range full.History {
			if h.State == responders.Executing {
				began[d.ID] = h.At
			}
		}
	}
	slices.SortFunc(list, func(x, y responders.ActionDetail) int { return began[y.ID].Compare(began[x.ID]) })
	// One of which a part was tried twice may have found things as they were before
	// another that began sooner: then it says so, and its turn comes after that one's.
	for left := slices.DeleteFunc(list, func(d responders.ActionDetail) bool { return !d.Undoable }); len(left) > 0; {
		var refused []responders.ActionDetail
		for _, d := range left {
			u, err := a.Undo(ctx, d.ID, "cli:test")
			switch {
			case err == nil && u.State == responders.Undone:
			case err == nil && strings.Contains(u.Reason, "undo that one first"):
				refused = append(refused, d)
				t.Logf("undo of %s: %s", d.Describe, u.Reason)
			default:
				t.Fatalf("undo of %s: %s %s %v", d.Describe, u.State, u.Reason, err)
			}
		}
		if len(refused) == len(left) {
			t.Fatalf("%d actions cannot be undone, in whatever order", len(refused))
		}
		left = refused
	}
	ours()
	if after := string(ram.State()); after != before {
		b, c := strings.Split(before, "\n"), strings.Split(after, "\n")
		for i := range min(len(b), len(c)) {
			if b[i] != c[i] {
				t.Fatalf("the state differs at line %d: %s, it was %s", i+1, c[i], b[i])
			}
		}
		t.Fatalf("the state has %d lines, it had %d", len(c), len(b))
	}
}

// Our own containment is not told like an attack; what our identity does
// besides, and what others do, is.
func TestOwnContainmentIsWithheld(t *testing.T) {
	fn := withheld(time.Time{}, []string{"warden-role", "user/1000000000000001/warden"})
	ev := func(edit func(*event.Event)) *event.Event {
		e := &event.Event{Name: "AttachPolicyToUser", Action: event.ActIAMPolicyAttach, Outcome: event.Success}
		e.Actor.ID, e.Actor.Name, e.Actor.Role = "role/1000000000000001/warden-role", "Warden-Role", "Warden-Role"
		edit(e)
		return e
	}
	for _, c := range []struct {
		name string
		rule string
		edit func(*event.Event)
		want bool
	}{
		{"our role", "policy.expanded", func(*event.Event) {}, true},
		{"our user", "policy.expanded", func(e *event.Event) {
			e.Actor.ID, e.Actor.Name, e.Actor.Role = "user/1000000000000001/warden", "warden", ""
		}, true},
		{"the rule that watches us", responders.RuleOwnCall, func(*event.Event) {}, false},
		{"something that no action does", "ak.created", func(e *event.Event) { e.Name = "CreateAccessKey" }, false},
		{"refused", "policy.expanded", func(e *event.Event) { e.Outcome = event.Attempt }, false},
		{"somebody else", "policy.expanded", func(e *event.Event) {
			e.Actor.ID, e.Actor.Name, e.Actor.Role = "user/1000000000000001/mallory", "mallory", ""
		}, false},
		{"our session name on another role", "policy.expanded", func(e *event.Event) {
			e.Actor.ID, e.Actor.Name, e.Actor.Role, e.Actor.Session = "role/1000000000000001/ci", "ci", "ci", "trailwarden-responder"
		}, false},
	} {
		why, got := fn(ev(c.edit), &alert.Detection{Rule: c.rule, Time: time.Now()})
		if got != c.want || got && why == "" {
			t.Errorf("%s: withheld %v (%s), want %v", c.name, got, why, c.want)
		}
	}
}

// Whoever has our credentials, or took our name in another account, is not hidden: all
// that is withheld is seen by the rule that tells of our calls. Other services have
// events of the same names.
func TestAllThatIsWithheldIsSeen(t *testing.T) {
	list := []string{"warden", "user/1000000000000001/spare"}
	set, err := rules.Load(rules.LoadOptions{Pack: true, Lists: map[string][]string{"own_principals": list}, Factories: factories, Judge: NewJudge, Lineage: NewLineage})
	if err != nil {
		t.Fatal(err)
	}
	if !tellsOwnCalls(set) {
		t.Fatal("nobody tells of our own calls")
	}
	watch := slices.IndexFunc(set.Rules(), func(r detectors.Rule) bool { return r.ID == responders.RuleOwnCall })
	fn, session, n := withheld(time.Time{}, list), set.NewSession(), 0
	for _, name := range []string{"SetAccessKeyPolicy", "CreatePolicy", "AttachPolicyToUser", "DetachPolicyFromUser", "DeletePolicy", "UpdateAccessKey", "UpdateLoginProfile",
		"AttachPolicyToRole", "DetachPolicyFromRole", "UpdateRole", "AttachPolicyToGroup", "DetachPolicyFromGroup", "SetDefaultPolicyVersion", "AddUserToGroup",
		"RemoveUserFromGroup", "StartLogging", "StopLogging", "CreateAccessKey"} {
		for _, service := range []string{"Ram", "Ims", "ResourceManager", "ResourceDirectory", "CloudSSO", "Kms", "Actiontrail", "Eiam", "Hbr", "Unheard"} {
			for _, user := range []string{"warden", "Warden", "spare", "\u017fpare", "mallory"} {
				ev, err := event.Parse(fmt.Appendf(nil, `{"eventId":"E1","eventVersion":"1","eventTime":"2026-11-25T10:00:00Z","eventName":%q,"serviceName":%q,"recipientAccountId":"1000000000000001","userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"2000","userName":%q}}`,
					name, service, user))
				if err != nil {
					t.Fatal(err)
				}
				_, kept := fn(ev, &alert.Detection{Rule: "some.rule", Time: ev.Time})
				session.Begin(ev)
				seen, err := session.Match(watch)
				if err != nil {
					t.Fatal(err)
				}
				if kept && !seen {
					t.Errorf("%s:%s by %s is withheld, and nobody is told of it", service, name, user)
				}
				if kept {
					n++
				}
			}
		}
	}
	if n < 50 { // all calls of Ram's, by each of our names
		t.Fatalf("%d calls are withheld", n)
	}
}

// Nothing acts on whom the trail is read as, also where the responder has credentials of
// its own: by the key, the user, and the role that reads RAM.
func TestReaderIsSpared(t *testing.T) {
	const acct, readerKey, responderKey = "1000000000000001", "LTAI5tEXAMPLEreader0001", "LTAI5tEXAMPLErespond001"
	cloud := ramtest.New(ramtest.Options{})
	defer cloud.Close()
	for user, key := range map[string]string{"reads": readerKey, "acts": responderKey} {
		cloud.AddUser(acct, user)
		if err := cloud.AddKey(acct, user, ramtest.Key{ID: key}); err != nil {
			t.Fatal(err)
		}
	}
	made := func(reader string) *responders.MachineOptions {
		c := &config.Config{}
		c.Credentials = config.Credentials{AccessKeyID: reader, AccessKeySecret: config.Secret("EXAMPLEsecretOf" + reader)}
		c.Detect.RAM.Enabled, c.Detect.RAM.AssumeRole = true, "acs:ram::{account}:role/lists"
		c.Respond.RAM = config.RAM{Enabled: true, Endpoint: cloud.URL(),
			Credentials: config.Credentials{AccessKeyID: responderKey, AccessKeySecret: "EXAMPLEsecretOf" + responderKey}}
		p, err := cred.New(credOf(c.Credentials))
		if err != nil {
			t.Fatal(err)
		}
		a := &App{cfg: c, reader: p}
		t.Cleanup(func() {
			for _, f := range a.closers {
				f()
			}
		})
		mo := &responders.MachineOptions{}
		if err := a.executors(mo); err != nil {
			t.Fatal(err)
		}
		return mo
	}
	mo := made(readerKey)
	slow := cloud.Inject(ramtest.Unavailable("GetCallerIdentity", -1))
	if ids, err := mo.Self(t.Context()); err == nil {
		t.Errorf("it is not known who we are, and it is said: %+v", ids)
	}
	slow.Remove()
	want := []responders.Identity{{AccountID: acct, UserName: "acts", AccessKeyID: responderKey}, {AccountID: acct, UserName: "reads", AccessKeyID: readerKey}, {RoleName: "lists"}}
	for range 2 {
		if ids, err := mo.Self(t.Context()); err != nil || !slices.Equal(ids, want) {
			t.Errorf("%+v %v, want %+v", ids, err, want)
		}
		cloud.Inject(ramtest.Unavailable("GetCallerIdentity", -1)) // it stays known
	}
	cloud.ClearFaults()
	i := slices.IndexFunc(mo.Executors, func(e responders.Executor) bool { return e.Kind() == responders.KindDisableAccessKey })
	act := responders.Action{Kind: responders.KindDisableAccessKey, Target: responders.ActionTarget{AccountID: acct, PrincipalType: "ram-user", UserName: "reads", AccessKeyID: readerKey}}
	if _, err := mo.Executors[i].Read(t.Context(), act); !errors.Is(err, responders.ErrRefused) {
		t.Errorf("the reader's own key may be switched off: %v", err)
	}
	// Whom the cloud refuses reads nothing, and does not stand in the way.
	const gone = "LTAI5tEXAMPLEgone000001"
	if ids, err := made(gone).Self(t.Context()); err != nil || !slices.Equal(ids, []responders.Identity{want[0], {AccessKeyID: gone}}) {
		t.Errorf("%+v %v", ids, err)
	}
}
