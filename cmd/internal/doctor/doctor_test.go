package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/explain"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

const (
	acct     = "1000000000000001"
	member   = "1000000000000002"
	project  = "audit-project"
	logstore = "actiontrail_main-trail"
	keyID    = "LTAI5tEXAMPLEreader0001"
	secret   = "EXAMPLEreaderSecret000000000001"
	rootKey  = "LTAI5tEXAMPLEroot000001"
	arn      = "acs:log:cn-hangzhou:" + acct + ":project/" + project
)

// natsAnswers starts a server without JetStream and configures it; what is asked about JetStream gets the answer, if there is one.
func natsAnswers(w *world, answer string) func(string) string {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, MaxPayload: 1 << 20, NoLog: true, NoSigs: true})
	check(w.t, err)
	s.Start()
	w.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		w.t.Fatal("the server does not start")
	}
	if answer != "" {
		nc, err := nats.Connect(s.ClientURL())
		check(w.t, err)
		w.t.Cleanup(nc.Close)
		_, err = nc.Subscribe("$JS.API.INFO", func(m *nats.Msg) { _ = m.Respond([]byte(answer)) })
		check(w.t, err)
		check(w.t, nc.Flush())
	}
	return func(c string) string { return c + "nats: {url: \"" + s.ClientURL() + "\"}\n" }
}

// world is a cloud in which all is well; tests break one thing of it.
type world struct {
	t    *testing.T
	dir  string
	sls  *slstest.Server
	ram  *ramtest.Server
	chat *chattest.Server
	// date, when set, is what the log service says the time is.
	date time.Time
	slsO slstest.Options
	chO  chattest.Options
	ramO ramtest.Options
	// trail is made unless its name is empty; events go into the logstore at
	// the ages given.
	trail  ramtest.Trail
	events map[string]time.Duration // account → age
	raw    []string
	// policy is the reader's, "" for none; Enforce is on when it is set.
	policy string
	edit   func(cfg string) string
	env    []string
	before func()
	files  map[string]string // beside the configuration
}

func record(account string, at time.Time) []byte {
	b, _ := json.Marshal(map[string]any{
		"eventId": "e-" + account + at.Format("150405"), "eventVersion": 1, "eventType": "ApiCall", "eventRW": "Read", "eventName": "DescribeInstances",
		"serviceName": "Ecs", "acsRegion": "cn-hangzhou", "eventSource": "ecs.aliyuncs.com", "eventTime": at.UTC().Format("2006-01-02T15:04:05Z"),
		"sourceIpAddress": "198.51.100.7", "recipientAccountId": account,
		"userIdentity": map[string]any{"type": "ram-user", "accountId": account, "principalId": "20EXAMPLE", "userName": "ci", "accessKeyId": "LTAI5tEXAMPLEci00000001"},
	})
	return b
}

// feishuApp adds an app as a destination.
func feishuApp(w *world, secret string) {
	w.edit = func(cfg string) string {
		return strings.Replace(cfg, "notify:\n", fmt.Sprintf("notify:\n  feishu:\n    - {name: fs, app_id: %s, app_secret: \"${file:fs}\", chat_id: %s, api_url: \"%s\"}\n",
			chattest.FeishuAppID, chattest.FeishuChat, w.chat.FeishuURL()), 1)
	}
	w.files = map[string]string{"fs": secret}
}

// dingtalkApp adds an app as a destination.
func dingtalkApp(w *world, secret string) {
	w.edit = func(cfg string) string {
		return strings.Replace(cfg, "notify:\n", fmt.Sprintf("notify:\n  dingtalk:\n    - {name: dd, client_id: %s, client_secret: \"${file:dd}\", card_template_id: %s, open_conversation_id: %s, corp_id: %s, api_url: \"%s\"}\n",
			chattest.DingTalkClientID, chattest.DingTalkTemplate, chattest.DingTalkGroup, chattest.DingTalkCorp, w.chat.DingTalkURL()), 1)
	}
	w.files = map[string]string{"dd": secret}
}

func (w *world) run() *Report {
	t := w.t
	w.dir = t.TempDir()
	w.slsO.Project, w.slsO.Logstore, w.slsO.Shards = project, logstore, 2
	if w.slsO.Credentials == nil {
		w.slsO.Credentials = []slstest.Credential{{AccessKeyID: keyID, AccessKeySecret: secret}, {AccessKeyID: rootKey, AccessKeySecret: secret}}
	}
	w.sls = slstest.New(w.slsO)
	t.Cleanup(w.sls.Close)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !w.date.IsZero() {
			rw.Header().Set("Date", w.date.UTC().Format(http.TimeFormat))
		}
		w.sls.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	i := 0
	for _, a := range slices.Sorted(maps.Keys(w.events)) {
		w.sls.Append(i%2, record(a, time.Now().Add(-w.events[a])))
		i++
	}
	for _, r := range w.raw {
		w.sls.Append(0, []byte(r))
	}

	w.ramO.Enforce = w.policy != ""
	w.ram = ramtest.New(w.ramO)
	t.Cleanup(w.ram.Close)
	w.ram.AddAccount(acct, "")
	w.ram.AddAccount(member, "")
	w.ram.AddUser(acct, "reader")
	check(t, w.ram.AddKey(acct, "reader", ramtest.Key{ID: keyID, Secret: secret}))
	check(t, w.ram.AddKey(acct, "", ramtest.Key{ID: rootKey, Secret: secret}))
	if w.policy != "" {
		w.ram.AddPolicy(acct, "reader", w.policy)
		check(t, w.ram.Attach(acct, "Custom", "reader", "user", "reader"))
	}
	if w.trail.Name != "" {
		w.ram.AddTrail(acct, w.trail)
	}
	w.chat = chattest.New(w.chO)
	t.Cleanup(w.chat.Close)

	for name, v := range map[string]string{"id": keyID, "secret": secret, "token": chattest.DefaultBotToken, "app": chattest.DefaultAppToken} {
		check(t, os.WriteFile(filepath.Join(w.dir, name), []byte(v), 0o600))
	}
	for name, v := range w.files {
		check(t, os.WriteFile(filepath.Join(w.dir, name), []byte(v), 0o600))
	}
	cfg := fmt.Sprintf(`state_dir: %s
accounts: {"%s": prod}
credentials: {access_key_id: "${file:id}", access_key_secret: "${file:secret}"}
source:
  sls:
    - {endpoint: "%s", region: cn-hangzhou, project: %s, logstore: %s}
notify:
  slack:
    - {name: soc, token: "${file:token}", app_token: "${file:app}", channel: %s, api_url: "%s"}
respond:
  ram: {enabled: true, endpoint: "%s"}
http: {listen: ""}
detect: {pack: false}
`, filepath.Join(w.dir, "state"), acct, front.URL, project, logstore, chattest.DefaultChannel, w.chat.APIURL(), w.ram.URL())
	if w.edit != nil {
		cfg = w.edit(cfg)
	}
	path := filepath.Join(w.dir, "trailwarden.yaml")
	check(t, os.WriteFile(path, []byte(cfg), 0o600))
	c, err := config.Load(path, w.env)
	check(t, err)
	if w.before != nil {
		w.before()
	}
	r := Run(t.Context(), Options{Config: c, Path: path, Timeout: 40 * time.Second})
	if n := w.chat.Requests("chat.postMessage"); n != 0 {
		t.Errorf("doctor sent %d messages", n)
	}
	for _, call := range []slstest.Call{slstest.HeartBeat, slstest.CreateConsumerGroup, slstest.UpdateCheckpoint} {
		if n := w.sls.Calls(call); n != 0 {
			t.Errorf("doctor made %d calls of %s", n, call)
		}
	}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func well(t *testing.T) *world {
	return &world{t: t, events: map[string]time.Duration{acct: time.Minute},
		trail: ramtest.Trail{Name: "main-trail", SLSProjectARN: arn, Logging: true}}
}

// faults is "CODE group" of every check that is not well.
func faults(r *Report, s State) (out []string) {
	for _, c := range r.Checks {
		if c.State == s {
			out = append(out, c.Code+" "+strings.Fields(c.Group)[0])
		}
	}
	return out
}

func show(r *Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%s %s %s/%s: %s -> %s\n", c.State, c.Code, c.Group, c.Name, c.Detail, c.Remedy)
	}
	return b.String()
}

func TestAllIsWell(t *testing.T) {
	r := well(t).run()
	if r.Worst() != OK && r.Worst() != Info {
		t.Errorf("want nothing to mend:\n%s", show(r))
	}
	if len(r.Accounts) != 1 || r.Accounts[0].ID != acct || r.Accounts[0].Name != "prod" || time.Since(r.Accounts[0].Newest) > 2*time.Hour {
		t.Errorf("accounts: %+v", r.Accounts)
	}
	for _, want := range []string{"from the configuration (static), key LTAI", "user reader of account " + acct + " (prod)", "runs, records all events of all regions", "trailwarden in Example"} {
		if !strings.Contains(show(r), want) {
			t.Errorf("want %q in:\n%s", want, show(r))
		}
	}
	if strings.Contains(show(r), secret) || strings.Contains(show(r), chattest.DefaultBotToken) {
		t.Error("a secret is in the report")
	}
}

// deploy/ram/doctor.json and the reads of the responder are all that doctor
// needs beside what reading needs.
func TestShippedPolicyIsEnough(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "ram", "doctor.json"))
	check(t, err)
	var doc struct {
		Version   string
		Statement []map[string]any
	}
	check(t, json.Unmarshal([]byte(strings.ReplaceAll(string(b), "ACCOUNT_ID", acct)), &doc))
	doc.Statement = append(doc.Statement, map[string]any{"Effect": "Allow", "Action": []string{"ram:GetUser", "ram:ListAccessKeys"}, "Resource": "acs:ram:*:" + acct + ":user/*"})
	b, err = json.Marshal(doc)
	check(t, err)
	w := well(t)
	w.policy = string(b)
	if r := w.run(); r.Worst() == Fail || r.Worst() == Warn {
		t.Errorf("%s", show(r))
	}
}

const allow = `{"Version":"1","Statement":[{"Effect":"Allow","Action":%s,"Resource":"*"}]}`

// Every failure mode has its code, its sentence and its remedy, and nothing
// else turns red with it.
func TestFaults(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(cfg string) string {
			if !strings.Contains(cfg, old) {
				panic("the configuration has no " + old)
			}
			return strings.Replace(cfg, old, new, 1)
		}
	}
	denied := func(call slstest.Call, permission string) func(*world) {
		return func(w *world) {
			w.before = func() {
				w.sls.Inject(slstest.Fault{Call: call, Times: -1, Status: 403, Code: "Unauthorized", Message: "denied by sts or ram, action: " + permission})
			}
		}
	}
	for _, tc := range []struct {
		name string
		edit func(*world)
		fail []string
		warn []string
		say  []string
	}{
		{"no trail, empty", func(w *world) { w.trail.Name, w.events = "", nil }, []string{"TW307 source", "TW312 trail"}, nil, []string{"the logstore is empty", "no trail of account " + acct + " (prod) delivers to project", "records All events of all regions"}},
		{"no trail of ours", func(w *world) { w.trail.Name = "" }, nil, []string{"TW312 trail"}, []string{"belongs to another account"}},
		{"trail not All", func(w *world) { w.trail.EventRW = "Write" }, []string{"TW314 trail"}, nil, []string{"records Write events only", "--EventRW All"}},
		{"trail of one region", func(w *world) { w.trail.TrailRegion = "cn-hangzhou" }, []string{"TW315 trail"}, nil, []string{"the region cn-hangzhou only"}},
		{"trail stopped", func(w *world) { w.trail.Logging = false }, []string{"TW313 trail"}, nil, []string{"it is stopped", "StartLogging --Name main-trail"}},
		{"trail elsewhere", func(w *world) { w.trail.Name = "other-trail" }, nil, []string{"TW318 trail"}, []string{"delivers to actiontrail_other-trail"}},
		{"trails may not be listed", func(w *world) { w.policy = fmt.Sprintf(allow, `["ram:GetUser","ram:ListAccessKeys"]`) }, nil, []string{"TW311 trail"}, []string{"actiontrail:DescribeTrails", "deploy/ram/doctor.json"}},
		{"trail status may not be asked", func(w *world) {
			w.policy = fmt.Sprintf(allow, `["ram:GetUser","ram:ListAccessKeys","actiontrail:DescribeTrails"]`)
		}, nil, []string{"TW311 trail"}, []string{"actiontrail:GetTrailStatus"}},
		{"wrong region by the trail", func(w *world) {
			w.trail.SLSProjectARN = "acs:log:cn-shanghai:" + acct + ":project/audit-elsewhere"
			w.edit = replace("project: "+project, "project: audit-elsewhere")
		}, []string{"TW304 source", "TW312 trail"}, nil, []string{"there is no project audit-elsewhere in cn-hangzhou", "use endpoint https://cn-shanghai.log.aliyuncs.com"}},
		{"wrong logstore", func(w *world) { w.edit = replace("logstore: "+logstore, "logstore: actiontrail_wrong") }, []string{"TW305 source"}, []string{"TW318 trail"}, []string{"has no logstore actiontrail_wrong", "a trail delivers to actiontrail_main-trail: write that"}},
		{"empty logstore", func(w *world) { w.events = nil }, []string{"TW307 source"}, nil, []string{"the logstore is empty"}},
		{"old events", func(w *world) { w.events[acct] = 30 * time.Hour }, []string{"TW308 source"}, nil, []string{"the newest event is 30 h old"}},
		{"oldish events", func(w *world) { w.events[acct] = 3 * time.Hour }, nil, []string{"TW308 source"}, []string{"the newest event is 3 h old"}},
		{"old events, and one of a bad clock", func(w *world) {
			w.events[acct], w.raw = 30*time.Hour, []string{string(record(acct, time.Now().Add(1000*time.Hour)))}
		}, []string{"TW308 source"}, nil, []string{"the newest event is 30 h old"}},
		{"a bad clock alone", func(w *world) { w.events[acct] = -1000 * time.Hour }, nil, []string{"TW308 source"}, []string{"all of the newest 1 records are of the future", "(prod): all events in the future"}},
		{"a silent account", func(w *world) { w.edit = replace(`"`+acct+`": prod`, `"`+acct+`": prod, "`+member+`": dev`) }, nil, []string{"TW309 accounts"}, []string{member + " (dev): none of the newest records"}},
		{"other records", func(w *world) { w.events, w.raw = nil, []string{"GET / HTTP/1.1", "{}"} }, []string{"TW310 source"}, nil, []string{"none of the newest 2 records is an ActionTrail event"}},
		{"some other records", func(w *world) { w.raw = []string{"GET / HTTP/1.1"} }, nil, []string{"TW310 source"}, []string{"will be parked"}},
		{"clock far ahead", func(w *world) { w.date = time.Now().Add(-time.Hour) }, []string{"TW302 source"}, nil, []string{"ahead", "timedatectl"}},
		{"clock behind", func(w *world) { w.date = time.Now().Add(5 * time.Minute) }, nil, []string{"TW302 source"}, []string{"behind"}},
		{"the service refuses our clock", func(w *world) { w.slsO.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } }, []string{"TW302 source"}, nil, []string{"the service refuses our clock"}},
		{"may not list shards", denied(slstest.ListShards, "log:ListShards"), []string{"TW303 source"}, nil, []string{"user reader lacks the permission log:ListShards", "acs:log:*:" + acct + ":project/" + project + "/logstore/" + logstore}},
		{"may not list groups", denied(slstest.ListConsumerGroup, "log:ListConsumerGroup"), []string{"TW303 source"}, nil, []string{"lacks the permission log:ListConsumerGroup"}},
		{"may not pull", denied(slstest.PullLogs, "log:GetCursorOrData"), []string{"TW303 source"}, nil, []string{"lacks the permission log:GetCursorOrData"}},
		{"may not count", denied(slstest.GetHistograms, "log:GetLogStoreHistogram"), nil, []string{"TW319 source"}, []string{"a deficit is not noticed"}},
		{"SLS refuses the key", func(w *world) {
			w.slsO.Credentials = []slstest.Credential{{AccessKeyID: keyID, AccessKeySecret: "EXAMPLEanotherSecret00000000001"}}
		}, []string{"TW306 source"}, nil, []string{"SignatureNotMatch"}},
		{"SLS down", func(w *world) {
			w.edit = func(cfg string) string {
				i := strings.Index(cfg, `endpoint: "http://`)
				j := i + strings.Index(cfg[i:], ",")
				return cfg[:i] + `endpoint: "` + nobody(w.t) + `"` + cfg[j:]
			}
		}, []string{"TW301 source"}, nil, []string{"does not answer", "-intranet"}},
		{"no key", func(w *world) { w.before = func() { w.ram.RemoveKey(keyID) } }, []string{"TW204 credentials", "TW601 containment"}, nil, []string{"the key is deleted"}},
		{"STS down", func(w *world) {
			w.before = func() { w.ram.Inject(ramtest.Fault{Action: "GetCallerIdentity", Times: -1, Refuse: true}) }
		}, []string{"TW203 credentials", "TW601 containment"}, nil, []string{"STS does not answer"}},
		{"root", func(w *world) {
			w.before = func() {}
			w.edit = func(cfg string) string {
				check(w.t, os.WriteFile(filepath.Join(w.dir, "id"), []byte(rootKey), 0o600))
				return cfg
			}
		}, []string{"TW602 containment"}, []string{"TW202 credentials"}, []string{"root account " + acct}},
		{"responder may not read", func(w *world) {
			w.policy = fmt.Sprintf(allow, `["actiontrail:*","ram:GetUser"]`)
		}, []string{"TW604 containment"}, nil, []string{"the responder lacks ram:ListAccessKeys"}},
		{"role does not exist", func(w *world) {
			w.edit = replace("ram: {enabled: true,", `ram: {enabled: true, assume_role: "acs:ram::{account}:role/trailwarden-responder",`)
		}, []string{"TW603 containment"}, nil, []string{"role/trailwarden-responder must exist and trust user reader of account " + acct}},
		{"slack token", func(w *world) { w.chO.BotToken = "xoxb-EXAMPLE-rotated" }, []string{"TW401 slack"}, nil, []string{"invalid_auth"}},
		{"slack cannot write", func(w *world) { w.chO.Scopes = []string{"channels:history"} }, []string{"TW402 slack"}, nil, []string{"lacks the scope chat:write: no alert can be posted"}},
		{"slack cannot ask", func(w *world) {
			w.edit = replace("respond:\n", "respond:\n  ask: {owners: [{identity: \"*\", people: [slack:U0EXAMPLE1]}]}\n")
			w.chO.Scopes = []string{"chat:write", "channels:history", "im:history"}
		}, nil, []string{"TW402 slack"}, []string{"lacks the scope im:write: nobody can be asked"}},
		{"slack cannot read", func(w *world) { w.chO.Scopes = []string{"chat:write"} }, nil, []string{"TW402 slack"}, []string{"posted twice"}},
		{"slack channel", func(w *world) { w.chO.Channels = map[string]string{"C0EXAMPLE77": "x"} }, []string{"TW403 slack"}, nil, []string{"channel_not_found", "/invite @trailwarden"}},
		{"slack buttons", func(w *world) { w.chO.AppToken = "xapp-EXAMPLE-rotated" }, []string{"TW404 slack"}, nil, []string{"connections:write"}},
		{"slack down", func(w *world) {
			w.before = func() {
				for range 8 {
					w.chat.Script("auth.test", chattest.Cut())
				}
			}
		}, []string{"TW405 slack"}, nil, []string{"Slack does not answer"}},
		{"feishu app", func(w *world) { feishuApp(w, "EXAMPLErotatedEXAMPLE") }, []string{"TW407 feishu"}, nil, []string{"app_id or app_secret is wrong"}},
		{"feishu buttons", func(w *world) {
			feishuApp(w, chattest.FeishuAppSecret)
			w.before = func() { w.chat.Script("feishu.endpoint", chattest.Garbage(`{"code":514,"msg":"no long connection"}`)) }
		}, []string{"TW408 feishu"}, nil, []string{"refused with 514", "it may send"}},
		{"feishu down", func(w *world) {
			feishuApp(w, chattest.FeishuAppSecret)
			w.before = func() {
				for range 8 {
					w.chat.Script("feishu.token", chattest.Cut())
				}
			}
		}, []string{"TW409 feishu"}, nil, []string{"no answer"}},
		{"feishu app works", func(w *world) { feishuApp(w, chattest.FeishuAppSecret) }, nil, nil, []string{"heard of by long connection"}},
		{"dingtalk app", func(w *world) { dingtalkApp(w, "EXAMPLErotatedEXAMPLE") }, []string{"TW410 dingtalk"}, nil, []string{"client_id or client_secret is wrong"}},
		{"dingtalk buttons", func(w *world) {
			dingtalkApp(w, chattest.DingTalkClientSecret)
			w.before = func() {
				w.chat.Script("dingtalk.open", chattest.Fault{Status: 403, Body: `{"code":"Forbidden.AccessDenied.Stream","message":"no stream"}`})
			}
		}, []string{"TW411 dingtalk"}, nil, []string{"refused with Forbidden.AccessDenied.Stream", "it is accepted"}},
		{"dingtalk down", func(w *world) {
			dingtalkApp(w, chattest.DingTalkClientSecret)
			w.before = func() {
				for range 8 {
					w.chat.Script("dingtalk.token", chattest.Cut())
				}
			}
		}, []string{"TW412 dingtalk"}, nil, []string{"no answer"}},
		{"dingtalk app works", func(w *world) { dingtalkApp(w, chattest.DingTalkClientSecret) }, nil, nil, []string{"heard of in Stream mode"}},
		{"webhook only, and in the file itself", func(w *world) {
			w.edit = replace(`token: "${file:token}", app_token: "${file:app}", channel: `+chattest.DefaultChannel, `webhook: "https://hooks.example.com/EXAMPLE"`)
		}, nil, []string{"TW102 configuration", "TW406 slack"}, []string{"stands in the file", "cannot be checked without sending"}},
		{"no room", func(w *world) {
			w.edit = func(c string) string { return c + "nats: {max_bytes: 4000000000000000000}\n" }
		}, []string{"TW501 store"}, nil, []string{"has room for", "lower nats.max_bytes"}},
		{"state_dir open to all", func(w *world) {
			w.before = func() {
				check(w.t, os.Mkdir(filepath.Join(w.dir, "state"), 0o755))
				check(w.t, os.Chmod(filepath.Join(w.dir, "state"), 0o755))
			}
		}, []string{"TW502 store"}, nil, []string{"open to others (mode 0755)"}},
		{"state_dir is a file", func(w *world) {
			w.before = func() { check(w.t, os.WriteFile(filepath.Join(w.dir, "state"), nil, 0o600)) }
		}, []string{"TW502 store"}, nil, []string{"is not a folder"}},
		{"nats down", func(w *world) {
			w.edit = func(c string) string {
				return c + "nats: {url: \"" + strings.Replace(nobody(w.t), "http", "nats", 1) + "\"}\n"
			}
		}, []string{"TW503 store"}, nil, []string{"connecting to nats.url"}},
		{"nats without a leader", func(w *world) {
			// What a server of three answers while the other two are down.
			w.edit = natsAnswers(w, `{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`)
		}, []string{"TW504 store"}, nil, []string{"choose a leader"}},
		{"nats without JetStream", func(w *world) { w.edit = natsAnswers(w, "") }, []string{"TW504 store"}, nil, []string{"switch it on"}},
		{"rules", func(w *world) {
			w.edit = func(c string) string {
				check(w.t, os.Mkdir(filepath.Join(w.dir, "rules"), 0o700))
				check(w.t, os.WriteFile(filepath.Join(w.dir, "rules", "x.yaml"), []byte("id: x\n"), 0o600))
				return strings.Replace(c, "{pack: false}", "{pack: false, rules: ["+filepath.Join(w.dir, "rules")+"]}", 1)
			}
		}, []string{"TW103 configuration"}, nil, []string{"x.yaml"}},
		{"nobody is told", func(w *world) {
			w.edit = func(c string) string {
				i, j := strings.Index(c, "notify:"), strings.Index(c, "respond:")
				return c[:i] + c[j:]
			}
		}, nil, []string{"TW102 configuration"}, []string{"nobody is told"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := well(t)
			tc.edit(w)
			r := w.run()
			if got := faults(r, Fail); !slices.Equal(got, tc.fail) {
				t.Errorf("red: %v, want %v\n%s", got, tc.fail, show(r))
			}
			if got := faults(r, Warn); !slices.Equal(got, tc.warn) {
				t.Errorf("yellow: %v, want %v\n%s", got, tc.warn, show(r))
			}
			for _, want := range tc.say {
				if !strings.Contains(show(r), want) {
					t.Errorf("want %q in:\n%s", want, show(r))
				}
			}
			if strings.Contains(show(r), secret) || strings.Contains(show(r), chattest.DefaultBotToken) {
				t.Error("a secret is in the report")
			}
		})
	}
}

// nobody is an address where nothing listens.
func nobody(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

// Nothing is called: the contradiction is in the configuration.
func TestRegionsDisagree(t *testing.T) {
	got := regionsDisagree(config.SLS{Endpoint: "https://cn-shanghai-intranet.log.aliyuncs.com", Region: "cn-hangzhou"})
	if want := "the endpoint is in cn-shanghai and region says cn-hangzhou"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, s := range []config.SLS{{Endpoint: "https://cn-shanghai.log.aliyuncs.com", Region: "cn-shanghai"}, {Endpoint: "https://cn-shanghai.log.aliyuncs.com"}, {Endpoint: "http://127.0.0.1:1", Region: "cn-hangzhou"}} {
		if got := regionsDisagree(s); got != "" {
			t.Errorf("%+v: %q", s, got)
		}
	}
}

func TestRegion(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://cn-hangzhou.log.aliyuncs.com": "cn-hangzhou", "https://cn-hangzhou-intranet.log.aliyuncs.com": "cn-hangzhou",
		"https://ap-southeast-1.log.aliyuncs.com/": "ap-southeast-1", "http://127.0.0.1:8080": "from-config", "https://sls.example.com": "from-config",
	} {
		if got := regionOf(config.SLS{Endpoint: endpoint, Region: "from-config"}); got != want {
			t.Errorf("%s: %q, want %q", endpoint, got, want)
		}
	}
}

// Every code that a check can have is written in the source and has a page,
// and no page is about nothing.
func TestEveryCodeHasAPage(t *testing.T) {
	used := map[string]bool{}
	for _, f := range []string{"doctor.go", "cloud.go", "chat.go"} {
		b, err := os.ReadFile(f)
		check(t, err)
		for _, w := range strings.FieldsFunc(string(b), func(r rune) bool { return r == '"' || r == ' ' }) {
			if len(w) == 5 && strings.HasPrefix(w, "TW") {
				used[w] = true
			}
		}
	}
	paged := map[string]bool{}
	for _, p := range explain.Pages() {
		paged[p.Code] = true
		if p.Title == "" || !strings.Contains(p.Text, "**Do.**") {
			t.Errorf("%s: a page has a title and says what to do", p.Code)
		}
	}
	if !maps.Equal(used, paged) {
		t.Errorf("codes used %v\npages     %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(paged)))
	}
}
