package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v4"
)

const good = `state_dir: /var/lib/trailwarden
accounts:
  "1000000000000001": prod
source:
  sls:
    - endpoint: https://cn-hangzhou.log.aliyuncs.com
      project: my-audit
      logstore: actiontrail_main
      start: end
detect: {grace: 3s, dedup_for: 2d}
notify:
  slack:
    - {name: soc, token: "${SLACK_BOT_TOKEN}", channel: C0123456789, min_severity: medium}
respond:
  mode: approve
  ram: {enabled: true}
  playbooks:
    - {name: leaked-key, mode: auto, actions: [{kind: ram.disable_access_key, refusal_is_evidence: true}]}
`

func TestLoad(t *testing.T) {
	c, err := Parse("c.yaml", []byte(good), []string{"SLACK_BOT_TOKEN=xoxb-EXAMPLE", "TRAILWARDEN_DETECT_GRACE=7s",
		"TRAILWARDEN_SOURCE_SLS_0_START=begin", "TRAILWARDEN_DETECT_DISABLE=user.created, policy.auth_churn", "TRAILWARDEN_RESPOND_RAM_ENABLED=false"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Detect.Grace.Std() != 7*time.Second || c.Detect.DedupFor.Std() != 48*time.Hour {
		t.Errorf("durations: %v %v", c.Detect.Grace, c.Detect.DedupFor)
	}
	if c.Source.SLS[0].Start != "begin" || c.Source.SLS[0].Project != "my-audit" {
		t.Errorf("environment laid over a list: %+v", c.Source.SLS[0])
	}
	if got := strings.Join(c.Detect.Disable, "|"); got != "user.created|policy.auth_churn" {
		t.Errorf("list from the environment: %q", got)
	}
	if c.Respond.RAM.Enabled {
		t.Error("boolean from the environment was not taken")
	}
	if c.Notify.Slack[0].Token.Reveal() != "xoxb-EXAMPLE" {
		t.Error("reference was not resolved")
	}
	if *c.Detect.Pack != true || c.HTTP.Listen != "127.0.0.1:8686" {
		t.Error("defaults are missing")
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for _, src := range []string{"", "\n", "# nothing\n", "{}"} {
		if c, err := Parse("c.yaml", []byte(src), nil); err != nil || c.StateDir != "trailwarden-data" {
			t.Errorf("%q: %v", src, err)
		}
	}
}

// Who asks a running program needs to know where it is, and not its secrets.
func TestStateDir(t *testing.T) {
	const secret = "notify: {slack: [{name: a, channel: C0123456789, token: \"${NO_SUCH}\"}]}\n"
	for _, tc := range []struct {
		name, src, env, want string
	}{
		{"all is there", "state_dir: /s\n", "", "/s"},
		{"a secret is not in the environment", "state_dir: /s\n" + secret, "", "/s"},
		{"last", secret + "state_dir: ${WHERE}/s\n", "WHERE=/v", "/v/s"},
		{"by the environment", secret + "state_dir: /s\n", "TRAILWARDEN_STATE_DIR=/e", "/e"},
		{"not named in a line of its own", "{state_dir: /s, detect: {grase: 2s}}\n", "", ""},
		{"a mistake elsewhere", "state_dir: /s\ndetect: {grase: 2s}\n", "", "/s"},
		{"not named", "state_dir: ${NOWHERE}\n", "", ""},
		{"not text", "state_dir: [a]\n", "", ""},
		{"no YAML", "state_dir: /s # here\n\t- x: [\n", "", "/s"},
		{"not in one line", "state_dir: >-\n  /s\n" + secret, "", ""},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(tc.src), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := StateDir(path, []string{tc.env}); got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
	}
	if _, err := StateDir(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("no file: %v", err)
	}
}

// Each fault is told with its place, what is wrong and what to do.
func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"key of another place", "respond:\n  route: {receiver: x}\n", "c.yaml:2:3: unknown key \"route\" here; it belongs elsewhere: see trailwarden config schema\n    route: {receiver: x}\n    ^"},
		{"unknown key", "detect:\n  grase: 2s\n", "c.yaml:2:3: unknown key \"grase\"; did you mean \"grace\"?\n    grase: 2s\n    ^"},
		{"no network", "detect:\n  lists:\n    office_networks:\n      - 203.0.113.0/24\n      - 203.0.113.0/33\n", "c.yaml:5:9: detect.lists.office_networks[1]: \"203.0.113.0/33\" is not a network: write 203.0.113.0/24"},
		{"wrong type", "nats:\n  partitions: many\n", "c.yaml:2:15: wrong kind of value (str), want a whole number"},
		{"wrong share", "traces: {sample: half}\n", "c.yaml:1:18: wrong kind of value (str), want a number"},
		{"no such variable", "notify: {slack: [{name: a, channel: C0123456789, token: \"${NO_SUCH}\"}]}\n", "the environment variable NO_SUCH is not set"},
		{"plain http", "source: {sls: [{endpoint: \"http://cn-hangzhou.log.aliyuncs.com\", project: aa, logstore: bb}]}\n", "plain http would send credentials in clear"},
		{"the same names in two regions", "source: {sls: [{endpoint: \"https://cn-hangzhou.log.aliyuncs.com\", project: aa, logstore: bb}, {endpoint: \"https://cn-beijing.log.aliyuncs.com\", project: aa, logstore: bb}]}\n",
			"source.sls[1].logstore: aa/bb is listed twice"},
		{"no scheme", "source: {sls: [{endpoint: cn-hangzhou.log.aliyuncs.com, project: aa, logstore: bb}]}\n", "write https://… in full"},
		{"bad severity", "notify: {slack: [{name: a, channel: C0123456789, token: xoxb-x, min_severity: loud}]}\n", "want info, low, medium, high or critical"},
		{"bad mode", "respond: {mode: yolo}\n", "want observe, approve or auto"},
		{"a playbook misspelt", "respond: {playbooks: [{name: leaked-keys, mode: auto}]}\n", "key: actor}; no built-in playbook has the name \"leaked-keys\"; did you mean \"leaked-key\"?"},
		{"no playbook of ours", "respond: {playbooks: [{name: something, mode: auto}]}\n", "no built-in playbook has the name \"something\"; leaked-key, "},
		{"public listener", "http: {listen: \"0.0.0.0:80\"}\n", "not a loopback address"},
		{"console on the network in plain", "console: {listen: \"0.0.0.0:8687\", auth: {mode: proxy, proxy: {user_header: X-User}}}\n", "plain http would show every alert"},
		{"console behind a proxy without https", "console: {listen: \"0.0.0.0:8687\", behind_proxy: true, auth: {mode: proxy, proxy: {user_header: X-User}}}\n", "needs the https address"},
		{"console for everybody by a local link", "console: {listen: \"0.0.0.0:8687\", tls: {cert: a, key: b}}\n", "local is for a loopback address"},
		{"console with half a certificate", "console: {tls: {cert: a}}\n", "needs both cert and key"},
		{"console by plain http elsewhere", "console: {base_url: \"http://console.example.com\"}\n", "plain http is for loopback only"},
		{"console without the proxy's header", "console: {auth: {mode: proxy}}\n", "names the header"},
		{"console with a proxy anywhere", "console: {auth: {mode: proxy, proxy: {user_header: X-User, trusted: [proxy]}}}\n", "not a network"},
		{"console with an unknown mode", "console: {auth: {mode: password}}\n", "want local, proxy or oidc"},
		{"console with half of OIDC", "console: {auth: {mode: oidc, oidc: {issuer: \"https://id.example.com\"}}}\n", "oidc needs it"},
		{"console with an odd role", "console: {auth: {roles: {approver: [alice]}}}\n", "want user:<name>, group:<name> or *"},
		{"traces without a path", "traces: {endpoint: \"http://127.0.0.1:4318\"}\n", "at /v1/traces"},
		{"traces to no URL", "traces: {endpoint: \"127.0.0.1:4318/v1/traces\"}\n", "not an http or https URL"},
		{"traces with a password", "traces: {endpoint: \"https://u:p@c.example.com/v1/traces\"}\n", "use traces.authorization"},
		{"traces with a token in an address in clear", "traces: {endpoint: \"http://c.example.com/v1/traces?key=x\"}\n", "its query, where a token may be, would be sent in plain text"},
		{"traces with a token in clear", "traces: {endpoint: \"http://c.example.com/v1/traces\", authorization: Bearer x}\n", "would be sent in plain text"},
		{"traces of nothing", "traces: {sample: 0}\n", "want more than 0"},
		{"one server of several in clear", "nats: {url: \"tls://a.example.com:4222, nats://b.example.com:4222\"}\n", "plain nats:// is for loopback only"},
		{"a server too many", "nats: {url: \"tls://a.example.com:4222,\"}\n", "several separated by commas"},
		{"password in URL", "nats: {url: \"tls://u:p@nats.example.com\"}\n", "must not carry a password"},
		{"not a mapping", "- a\n- b\n", "must be a mapping"},
		{"not YAML", "a: [1\n", "c.yaml:"},
		{"two documents", "a: 1\n---\nb: 2\n", "c.yaml"},
		{"half a key", "credentials: {access_key_id: a}\n", "belong together"},
		{"a key in the file", "credentials:\n  access_key_id: a\n  access_key_secret: EXAMPLEsecret\n", "c.yaml:3:22: credentials.access_key_secret: is written in the file, and so in every copy and backup of it; write ${ENV} or ${file:…}, or leave credentials out for the official chain\n    access_key_secret: ****\n"},
		{"the responder's key in the file", "respond: {ram: {credentials: {access_key_id: a, access_key_secret: EXAMPLEsecret, security_token: EXAMPLEtoken}}}\n", "respond.ram.credentials.security_token: is written in the file"},
		{"duplicate key", "log: {level: info}\nlog: {level: info}\n", "c.yaml:2"},
	} {
		_, err := Parse("c.yaml", []byte(tc.src), nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s:\n got %v\nwant it to contain %q", tc.name, err, tc.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := Parse("c.yaml", []byte("respond: {mode: yolo}\nhttp: {listen: nowhere}\nlog: {level: loud}\n"), nil)
	for _, want := range []string{"c.yaml:1", "c.yaml:2", "c.yaml:3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in: %v", want, err)
		}
	}
}

func TestUnknownVariableIsRefused(t *testing.T) {
	_, err := Parse("c.yaml", nil, []string{"TRAILWARDEN_DETECT_GRASE=2s"})
	if err == nil || !strings.Contains(err.Error(), "TRAILWARDEN_DETECT_GRASE") {
		t.Errorf("got %v", err)
	}
}

// A secret stays secret in every form in which a configuration can be shown,
// and in the errors about the line it stands on.
// What is wrong with a value is said of the variable that set it, and not of the
// file, in which it does not stand.
func TestFaultsOfTheEnvironment(t *testing.T) {
	const file = "respond: {mode: auto}\nnats: {max_bytes: 268435456}\n"
	for variable, want := range map[string]string{
		"TRAILWARDEN_RESPOND_MODE=yolo":                    `environment: TRAILWARDEN_RESPOND_MODE: "yolo": want observe, approve or auto`,
		"TRAILWARDEN_NATS_MAX_BYTES=1GiB":                  "environment: TRAILWARDEN_NATS_MAX_BYTES: wrong kind of value (str), want a whole number",
		"TRAILWARDEN_NATS_MAX_BYTES=1":                     "environment: TRAILWARDEN_NATS_MAX_BYTES: 1 bytes cannot hold",
		"TRAILWARDEN_DETECT_GRACE=soon":                    `environment: TRAILWARDEN_DETECT_GRACE: duration "soon": want a span`,
		"TRAILWARDEN_CONSOLE_AUTH_ROLES_VIEWER=user:a,bob": `environment: TRAILWARDEN_CONSOLE_AUTH_ROLES_VIEWER: "bob": want user:<name>`,
	} {
		if _, err := Parse("c.yaml", []byte(file), []string{variable}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant it to begin with %s", variable, err, want)
		}
	}
}

// A key comes by reference or from the environment, and by an alias of such a value.
func TestKeysByReference(t *testing.T) {
	env := []string{"KEY=EXAMPLEsecret"}
	for _, src := range []string{
		"credentials: {access_key_id: a, access_key_secret: \"${KEY}\"}\n",
		"respond: {ram: {credentials: {access_key_id: a, access_key_secret: &k \"${KEY}\"}}}\ncredentials: {access_key_id: a, access_key_secret: *k}\n",
		"respond: {ram: {credentials: &c {access_key_id: a, access_key_secret: \"${KEY}\"}}}\ncredentials: *c\n",
		"respond: {ram: {credentials: &c {access_key_id: a, access_key_secret: \"${KEY}\"}}}\ncredentials: {<<: *c}\n",
		"credentials: {access_key_id: a, access_key_secret: \"****\"}\n",
	} {
		if _, err := Parse("c.yaml", []byte(src), env); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
	if _, err := Parse("c.yaml", []byte("credentials: {access_key_id: a}\n"), []string{"TRAILWARDEN_CREDENTIALS_ACCESS_KEY_SECRET=EXAMPLEsecret"}); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "xoxb-verysecretEXAMPLE"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tok"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse(filepath.Join(dir, "c.yaml"), []byte("notify: {slack: [{name: a, channel: C0123456789, token: \"${file:tok}\"}]}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Notify.Slack[0].Token.Reveal() != secret {
		t.Fatal("reference to a file was not read")
	}
	j, _ := json.Marshal(c)
	y, _ := yaml.Dump(c)
	shown := fmt.Sprintf("%v %+v %#v %s %s", c.Notify, c.Notify, c.Notify.Slack[0].Token, j, y)
	_, err1 := Parse("c.yaml", []byte("notify: {slack: [{name: a, channel: C0123456789, token: {x: "+secret+"}}]}\n"), nil)
	_, err2 := Parse("c.yaml", []byte("notify:\n  slack:\n    - name: a\n      webhook: http://hooks.example.com/"+secret+"\n"), nil)
	_, err3 := Parse("c.yaml", []byte("notify:\n  slack:\n    - tokn: "+secret+"\n"), nil)
	for _, s := range []string{shown, fmt.Sprint(err1), fmt.Sprint(err2)} {
		if strings.Contains(s, secret) {
			t.Errorf("secret shown in: %s", s)
		}
	}
	if err3 == nil {
		t.Error("misspelt key was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("${FOO}: ${file:/dev/null}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("c.yaml", data, []string{"FOO=bar"})
		if (c == nil) == (err == nil) {
			t.Fatal("want either a configuration or an error")
		}
	})
}
