package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/responders"
)

// deployFile reads a file below deploy/.
func deployFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), "deploy", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// deployYAML reads a file below deploy/ into v.
func deployYAML(t *testing.T, name string, v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(deployFile(t, name)), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// plainJSON is v as encoding/json would have read it.
func plainJSON(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDeployFilesParse(t *testing.T) {
	dir := filepath.Join(root(t), "deploy")
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".json":
			n++
			if !json.Valid(b) {
				t.Errorf("%s is not JSON", rel)
			}
		case ".yaml":
			if strings.Contains(rel, "/templates/") {
				return nil // not YAML before Helm has been through it
			}
			n++
			dec := yaml.NewDecoder(bytes.NewReader(b))
			for {
				var v any
				if err := dec.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("%s: %v", rel, err)
					break
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 10 {
		t.Errorf("only %d YAML and JSON files found below deploy/", n)
	}
}

var (
	descName  = regexp.MustCompile(`fqName: "([^"]+)"`)
	descLabel = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	// A metric of ours in an expression, with its selector.
	selection = regexp.MustCompile(`\b(trailwarden_[a-z0-9_]+)(\{[^}]*\})?`)
	matcher   = regexp.MustCompile(`([a-zA-Z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
)

// metricLabels maps every metric that the program serves to its labels.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for desc := range described(t) {
		name, labels := descName.FindStringSubmatch(desc), descLabel.FindStringSubmatch(desc)
		if name == nil || labels == nil {
			t.Fatalf("cannot read %s", desc)
		}
		out[name[1]] = strings.Split(labels[1], ",")
	}
	return out
}

// described are the descriptions of all metrics of our own.
func described(t *testing.T) map[string]bool {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		(&collector{}).Describe(ch)
		for _, c := range newMeters().collectors() {
			c.Describe(ch)
		}
	}()
	out := map[string]bool{}
	for d := range ch {
		out[d.String()] = true
	}
	return out
}

// Names and units follow Prometheus' conventions, and every metric has a help text.
func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := newMeters()
	reg.MustRegister(m.collectors()...)
	m.ruleError(detectors.RuleError{Rule: "r"})
	m.raised([]alert.Alert{{ID: "1", Rule: "r", Severity: alert.High}, {ID: "1", Rule: "r", Severity: alert.High}, {ID: "2", Rule: "r", Severity: alert.High}})
	if got := testutil.ToFloat64(m.alerts.WithLabelValues("r", "high")); got != 2 {
		t.Errorf("%v alerts, want 2: one that grows is one", got)
	}
	faults, err := testutil.GatherAndLint(reg)
	if err != nil || len(faults) > 0 {
		t.Error(faults, err)
	}
	for name := range metricLabels(t) {
		if !regexp.MustCompile(`^trailwarden_[a-z_]+$`).MatchString(name) {
			t.Errorf("%s: want trailwarden_ and small letters", name)
		}
	}
	for _, x := range allMetrics {
		name := descName.FindStringSubmatch(x.String())[1]
		if (x.typ == prometheus.CounterValue) != strings.HasSuffix(name, "_total") {
			t.Errorf("%s: counters, and only they, end in _total", name)
		}
	}
}

// Accounts are bounded, and the newest time of each is kept.
func TestAccountsAreBounded(t *testing.T) {
	m := newMeters()
	at := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxAccounts {
		m.saw(fmt.Sprint(i), at)
	}
	m.saw("7", at.Add(time.Minute))
	m.saw("7", at)
	m.saw("", at)
	got := m.lastEvents()
	if len(got) != maxAccounts+1 || !got["7"].Equal(at.Add(time.Minute)) || got[otherAccounts].IsZero() {
		t.Errorf("%d accounts, 7 at %v", len(got), got["7"])
	}
}

// The metric of an account's newest event goes by the ingest clock where the
// event's own is ahead.
func TestBadClockIsNotFresh(t *testing.T) {
	m := newMeters()
	e := m.engines(func(int) pipeline.Engine { return noEngine{} })(0)
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	e.Tick(now)
	e.Apply(&event.Event{Recipient: "1", Time: now.AddDate(9, 0, 0)}, "s/0")
	e.Tick(now.Add(time.Hour))
	e.Apply(&event.Event{Recipient: "1", Time: now.Add(time.Minute)}, "s/0")
	if got := m.lastEvents()["1"]; !got.Equal(now.Add(time.Minute)) {
		t.Errorf("newest event at %v", got)
	}
}

type noEngine struct{ pipeline.Engine }

func (noEngine) Tick(time.Time)             {}
func (noEngine) Apply(*event.Event, string) {}

// checkExpr says what an expression asks for that the program does not serve,
// and returns the metrics it names.
func checkExpr(expr string, metrics map[string][]string) (used, faults []string) {
	states := map[string]bool{}
	for _, s := range []responders.State{responders.Proposed, responders.Approved, responders.Executing, responders.Done,
		responders.Failed, responders.InDoubt, responders.Refused, responders.Observed, responders.Denied, responders.Expired,
		responders.Undoing, responders.Undone} {
		states[string(s)] = true
	}
	for _, m := range selection.FindAllStringSubmatch(expr, -1) {
		name := m[1]
		if _, exact := metrics[name]; !exact {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		labels, ok := metrics[name]
		if !ok {
			faults = append(faults, "no such metric: "+m[1])
			continue
		}
		used = append(used, name)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "job" && l[1] != "instance" && !slices.Contains(labels, l[1]) {
				faults = append(faults, fmt.Sprintf("%s has no label %s", m[1], l[1]))
			}
			if l[1] == "state" {
				for v := range strings.SplitSeq(l[3], "|") {
					if !states[v] {
						faults = append(faults, fmt.Sprintf("no action is ever in state %q", v))
					}
				}
			}
		}
	}
	return used, faults
}

func TestDeployMetricsExist(t *testing.T) {
	metrics := metricLabels(t)
	// The check itself must be able to fail.
	for _, bad := range []string{`trailwarden_nonsense > 0`, `trailwarden_actions{colour="red"}`, `trailwarden_actions{state="finished"}`} {
		if _, faults := checkExpr(bad, metrics); len(faults) == 0 {
			t.Fatalf("%s was taken for good", bad)
		}
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	deployYAML(t, "prometheus/rules.yaml", &rules)
	tests := deployFile(t, "prometheus/rules_test.yaml") // which make packaging runs
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("rule %q: needs a name of its own, a severity, a summary and a description", r.Alert)
			}
			seen[r.Alert] = true
			if !strings.Contains(tests, `alertname="`+r.Alert+`"`) {
				t.Errorf("rule %s: prometheus/rules_test.yaml has no case in which it fires", r.Alert)
			}
			used, faults := checkExpr(r.Expr, metrics)
			for _, f := range faults {
				t.Errorf("rule %s: %s", r.Alert, f)
			}
			if len(used) == 0 && r.Alert != "TrailwardenDown" {
				t.Errorf("rule %s watches no metric of ours: %s", r.Alert, r.Expr)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no rules")
	}

	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, Y, W, H int }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal([]byte(deployFile(t, "grafana/overview.json")), &board); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	ids := map[int]bool{}
	check := func(where, expr string) {
		used, faults := checkExpr(expr, metrics)
		for _, f := range faults {
			t.Errorf("%s: %s", where, f)
		}
		for _, u := range used {
			shown[u] = true
		}
	}
	for _, p := range board.Panels {
		if ids[p.ID] || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: needs an id of its own, a query and a place in the 24 columns", p.Title)
		}
		ids[p.ID] = true
		for _, x := range p.Targets {
			check("panel "+p.Title, x.Expr)
		}
	}
	for _, v := range board.Templating.List {
		check("variable "+v.Name, v.Definition)
	}
	for file, want := range map[string]string{"grafana/overview.json": "%d * sum by (rule, stage)", "prometheus/rules.yaml": "%d * sum by (instance, rule)"} {
		if want = fmt.Sprintf(want, pipeline.TimeEvery); !strings.Contains(deployFile(t, file), want) {
			t.Errorf("%s works out the time of rules from another share of the events: want %s", file, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// parseConfig checks a configuration of deploy/ against the program, with the
// files that it refers to.
func parseConfig(t *testing.T, name, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	// What the platform puts into place, put here.
	text = strings.ReplaceAll(text, "/run/credentials/trailwarden.service/", "secrets/")
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"slack-token", "access-key-id", "access-key-secret"} {
		if err := os.WriteFile(filepath.Join(dir, "secrets", f), []byte("xoxb-EXAMPLE-"+f+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(dir, "trailwarden.yaml"), []byte(text), nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := c.Notify.Slack; len(got) != 1 || got[0].Token.Reveal() != "xoxb-EXAMPLE-slack-token" {
		t.Errorf("%s: the bot token does not come from its file", name)
	}
	if c.Respond.Mode != responders.Observe || c.Respond.RAM.Enabled {
		t.Errorf("%s: an example must not act on the cloud", name)
	}
	return c
}

func TestDeployConfigurations(t *testing.T) {
	for _, name := range []string{"systemd/trailwarden.yaml", "compose/trailwarden.yaml", "compose/trailwarden-nats.yaml"} {
		t.Run(name, func(t *testing.T) {
			text := deployFile(t, name)
			if c := parseConfig(t, name, text); c.StateDir != "/var/lib/trailwarden" {
				t.Errorf("state_dir is %s", c.StateDir)
			} else if strings.HasSuffix(name, "-nats.yaml") && strings.Count(c.NATS.URL, "tls://nats-") != 3 {
				t.Errorf("nats.url is %s: a start fails while the one server is down", c.NATS.URL)
			}
		})
	}
}

// What is commented out is an example too.
func TestDeployCommentedOut(t *testing.T) {
	const name = "systemd/trailwarden.yaml"
	off := regexp.MustCompile(`(?m)^(\s*)#(credentials:|  access_key|ram:)`)
	text := deployFile(t, name)
	if n := len(off.FindAllString(text, -1)); n != 4 {
		t.Fatalf("%d lines are commented out, this test knows 4", n)
	}
	text = off.ReplaceAllString(text, "$1$2")
	text = strings.ReplaceAll(text, "${file:/run/credentials/trailwarden.service/", "${")
	c, err := config.Parse(name, []byte(text), []string{"slack-token=xoxb-EXAMPLE", "access-key-id=b", "access-key-secret=c"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Credentials.AccessKeyID != "b" || c.Credentials.AccessKeySecret.Reveal() != "c" || !c.Respond.RAM.Enabled || c.Respond.RAM.AssumeRole == "" {
		t.Errorf("%+v %+v", c.Credentials, c.Respond.RAM)
	}
	unit := deployFile(t, "systemd/trailwarden.service")
	for _, f := range []string{"access-key-id", "access-key-secret"} {
		if !strings.Contains(unit, "#LoadCredential="+f+":/etc/trailwarden/"+f) {
			t.Errorf("the unit does not offer %s", f)
		}
	}
}

func TestDeployUnit(t *testing.T) {
	unit := map[string][]string{}
	for _, l := range strings.Split(deployFile(t, "systemd/trailwarden.service"), "\n") {
		if k, v, ok := strings.Cut(l, "="); ok && !strings.HasPrefix(l, "#") {
			unit[k] = append(unit[k], v)
		}
	}
	for k, want := range map[string]string{
		"Type": "notify", "NotifyAccess": "main", "WatchdogSec": "60s", "Restart": "always", "RestartPreventExitStatus": "2", "DynamicUser": "yes", "StateDirectory": "trailwarden", "StateDirectoryMode": "0700",
		"ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "NoNewPrivileges": "yes",
		"CapabilityBoundingSet": "", "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "ProtectKernelModules": "yes",
		"ProtectKernelTunables": "yes", "ProtectControlGroups": "yes", "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes",
		"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6", "SystemCallArchitectures": "native",
		"LoadCredential": "slack-token:/etc/trailwarden/slack-token",
		"ExecStart":      "/usr/local/bin/trailwarden run --config /etc/trailwarden/trailwarden.yaml",
	} {
		if got := unit[k]; len(got) != 1 || got[0] != want {
			t.Errorf("%s=%q, want %q", k, got, want)
		}
	}
	if !slices.Contains(unit["SystemCallFilter"], "@system-service") {
		t.Error("no SystemCallFilter=@system-service")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here: the unit was only read")
		return
	}
	// It wants the program to exist.
	dir := t.TempDir()
	text := strings.ReplaceAll(deployFile(t, "systemd/trailwarden.service"), "/usr/local/bin/trailwarden", "/bin/true")
	path := filepath.Join(dir, "trailwarden.service")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || strings.Contains(string(out), "trailwarden.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The release carries files that exist, builds as the container does, and signs
// what names everything else by its hash.
func TestDeployRelease(t *testing.T) {
	type file struct{ Src, Dst string }
	var r struct {
		Version int
		Builds  []struct {
			Main, Binary string
			Env, Flags   []string
			Ldflags      []string
			Goos, Goarch []string
		}
		Archives []struct{ Files []any }
		Nfpms    []struct {
			Bindir   string
			Contents []file
		}
		Sboms []struct{ Artifacts string }
		Signs []struct {
			Cmd, Artifacts string
			Args           []string
		}
		Before struct{ Hooks []string }
	}
	deployYAML(t, "release/goreleaser.yaml", &r)
	if r.Version != 2 || len(r.Builds) != 1 || r.Builds[0].Main != "./cmd/trailwarden" || !slices.Contains(r.Builds[0].Env, "CGO_ENABLED=0") || !slices.Contains(r.Builds[0].Flags, "-trimpath") || !slices.Contains(r.Builds[0].Flags, "-buildvcs=true") {
		t.Errorf("builds: %+v", r.Builds)
	}
	if len(r.Sboms) == 0 || len(r.Signs) != 1 || r.Signs[0].Cmd != "cosign" || r.Signs[0].Artifacts != "checksum" {
		t.Errorf("sboms %+v, signs %+v", r.Sboms, r.Signs)
	}
	if !strings.Contains(strings.Join(r.Before.Hooks, "\n"), "go run ./cmd/gendocs -reference dist-docs/reference -man dist-docs/man -completions dist-docs/completions") {
		t.Errorf("hooks: %v", r.Before.Hooks)
	}
	exists := func(src string) {
		t.Helper()
		if strings.HasPrefix(src, "dist-docs/") {
			return // made by the hook, which a test of cmd/gendocs runs
		}
		if found, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(src))); err != nil || len(found) == 0 {
			t.Errorf("%s is not there", src)
		}
	}
	for _, a := range r.Archives {
		for _, f := range a.Files {
			switch f := f.(type) {
			case string:
				exists(f)
			case map[string]any:
				exists(fmt.Sprint(f["src"]))
			default:
				t.Errorf("file %v", f)
			}
		}
	}
	unit := deployFile(t, "systemd/trailwarden.service")
	for _, p := range r.Nfpms {
		if !strings.Contains(unit, "ExecStart="+p.Bindir+"/trailwarden ") {
			t.Errorf("the packages put the program into %s, the unit starts another", p.Bindir)
		}
		for _, f := range p.Contents {
			exists(f.Src)
		}
	}
}

func TestDeployContainer(t *testing.T) {
	text := deployFile(t, "container/Containerfile")
	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	v := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	if v == nil {
		t.Fatal("go.mod names no Go version")
	}
	for _, want := range []string{"FROM golang:" + v[1] + " AS build", "CGO_ENABLED=0", "\nFROM scratch\n", "ca-certificates.crt", "\nUSER 65532:65532\n",
		"--cap-drop ALL", "--read-only", "no-new-privileges", `ENTRYPOINT ["/trailwarden"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	// The ignore file lets through every folder with a package that the binary links.
	ignore := strings.Split(deployFile(t, "container/Containerfile.dockerignore"), "\n")
	for _, p := range list(t, false) {
		rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if top, _, _ := strings.Cut(rel, "/"); top != "" && !slices.Contains(ignore, "!"+top) {
			t.Errorf("the build does not get %s", rel)
		}
	}
}

type composeService struct {
	Image       string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Profiles    []string
	Volumes     []string
	Command     []string
	DependsOn   map[string]any `yaml:"depends_on"`
}

func TestDeployCompose(t *testing.T) {
	var c struct {
		Services map[string]composeService
		Volumes  map[string]any
	}
	deployYAML(t, "compose/compose.yaml", &c)
	byProfile := map[string]int{}
	for name, s := range c.Services {
		for _, p := range s.Profiles {
			byProfile[p]++
		}
		if len(s.Profiles) == 0 {
			byProfile[""]++
		}
		if name != "certs" && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true")) {
			t.Errorf("%s is not confined", name)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, ".") {
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s: no volume %s", name, from)
				}
				continue
			}
			if from == "./secrets" {
				continue // the user's own
			}
			if _, err := os.Stat(filepath.Join(root(t), "deploy", "compose", filepath.FromSlash(from))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for d := range s.DependsOn {
			if _, ok := c.Services[d]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, d)
			}
		}
	}
	if want := map[string]int{"": 1, "fake-cloud": 2, "nats": 5}; !maps.Equal(byProfile, want) {
		t.Errorf("services by profile: %v, want %v", byProfile, want)
	}
}

// The server that we embed reads the cluster's configuration; its certificates
// are made at run time and are left out here.
func TestDeployNATS(t *testing.T) {
	text := deployFile(t, "compose/nats.conf")
	bare := regexp.MustCompile(`(?s)tls \{.*?\}`).ReplaceAllString(text, "")
	if strings.Count(text, "verify: true") != 2 {
		t.Error("clients and routes must both show a certificate")
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(bare), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_NAME", "nats-1")
	t.Setenv("NATS_ADVERTISE", "nats-1:4222")
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !o.SyncAlways || !o.JetStream || len(o.Routes) != 3 || o.ServerName != "nats-1" || o.Cluster.Name == "" {
		t.Errorf("sync %v, jetstream %v, %d routes, name %q", o.SyncAlways, o.JetStream, len(o.Routes), o.ServerName)
	}
}

func TestDeployChart(t *testing.T) {
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(deployFile(t, "helm/trailwarden/values.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("values.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("values.json")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	deployYAML(t, "helm/trailwarden/values.yaml", &values)
	if err := schema.Validate(plainJSON(t, values)); err != nil {
		t.Errorf("values.yaml does not follow its schema: %v", err)
	}
	known, _ := doc.(map[string]any)["properties"].(map[string]any)
	for k := range values {
		if _, ok := known[k]; !ok {
			t.Errorf("values.schema.json does not know %s", k)
		}
	}
	// What the program can be told, the chart lets through; state_dir and http are the chart's own.
	settable, _ := known["config"].(map[string]any)["properties"].(map[string]any)
	for f := range reflect.TypeFor[config.Config]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		if own := key == "state_dir" || key == "http"; (settable[key] == false) != own || settable[key] == nil {
			t.Errorf("values.schema.json: config.%s is %v", key, settable[key])
		}
	}
	bad := maps.Clone(values)
	bad["replica"] = 2
	if schema.Validate(plainJSON(t, bad)) == nil {
		t.Error("a misspelt value passes the schema")
	}

	text, err := yaml.Marshal(values["config"])
	if err != nil {
		t.Fatal(err)
	}
	parseConfig(t, "values.yaml: config", string(text))

	// The templates ask for values that exist.
	dir := filepath.Join(root(t), "deploy", "helm", "trailwarden", "templates")
	ref := regexp.MustCompile(`\.Values((?:\.[a-zA-Z]+)+)`)
	n := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range ref.FindAllStringSubmatch(string(b), -1) {
			n++
			var at any = values
			for k := range strings.SplitSeq(m[1][1:], ".") {
				sub, _ := at.(map[string]any)
				v, ok := sub[k]
				if !ok {
					t.Errorf("%s: .Values%s is not in values.yaml", d.Name(), m[1])
					break
				}
				at = v
			}
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d references, %v", n, err)
	}

	sts := deployFile(t, "helm/trailwarden/templates/statefulset.yaml")
	for _, want := range []string{"enableServiceLinks: false", "automountServiceAccountToken: false", "volumeClaimTemplates:", "readinessProbe:", "livenessProbe:"} {
		if !strings.Contains(sts, want) {
			t.Errorf("statefulset.yaml: no %q", want)
		}
	}
	// Why the links are off: what Kubernetes would set is refused.
	if _, err := config.Parse("x", nil, []string{"TRAILWARDEN_PORT=tcp://192.0.2.1:80"}); err == nil {
		t.Error("TRAILWARDEN_PORT is accepted now; the chart's comment is out of date")
	}
}

func TestDeployTerraform(t *testing.T) {
	main := deployFile(t, "terraform/main.tf")
	squeeze := regexp.MustCompile(` +`).ReplaceAllString(main, " ")
	for _, want := range []string{`event_rw = "All"`, `trail_region = "All"`, `role_name = local.reader_name`, `assume_role_policy_document = local.reader_trust`,
		`project_name = var.project_name`, `retention_period = var.retention_days`} {
		if !strings.Contains(squeeze, want) {
			t.Errorf("main.tf: no %s", want)
		}
	}
	if !strings.Contains(deployFile(t, "terraform/variables.tf"), "var.retention_days >= 90") {
		t.Error("retention under 90 days is possible")
	}
	// The files that it fills in, and the words that it fills.
	for _, m := range regexp.MustCompile(`"?([a-z-]+\.json)"?`).FindAllStringSubmatch(main, -1) {
		if !json.Valid([]byte(deployFile(t, "ram/"+m[1]))) {
			t.Errorf("ram/%s is not JSON", m[1])
		}
	}
	const users = `"acs:ram:*:ACCOUNT_ID:user/BREAK_GLASS_USER", "acs:ram:*:ACCOUNT_ID:user/PIPELINE_USER"`
	if !strings.Contains(main, strings.ReplaceAll(users, `"`, `\"`)) {
		t.Fatal("main.tf replaces another list of protected users than this test knows")
	}
	word := regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)+\b|\bPROJECT\b|\bLOGSTORE\b`)
	for name, fill := range map[string]*strings.Replacer{
		"reader.json":                strings.NewReplacer("ACCOUNT_ID", "1000000000000001", "PROJECT", "p", "LOGSTORE", "l"),
		"responder-disable-key.json": strings.NewReplacer(users, `"u"`, "ACCOUNT_ID", "1000000000000001"),
		"responder-contain.json":     strings.NewReplacer(users, `"u"`, "ACCOUNT_ID", "1000000000000001"),
	} {
		if left := word.FindString(fill.Replace(deployFile(t, "ram/"+name))); left != "" {
			t.Errorf("%s: %s stays in it", name, left)
		}
	}
}
