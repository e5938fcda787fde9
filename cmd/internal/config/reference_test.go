package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.Doc == "" {
			t.Errorf("%s has no doc tag", k.Path)
		}
		if seen[k.Path] {
			t.Errorf("%s is listed twice", k.Path)
		}
		seen[k.Path] = true
	}
	for _, want := range []string{"detect.grace", "source.sls[].endpoint", "respond.playbooks[].actions[].kind", "notify.slack[].token"} {
		if !seen[want] {
			t.Errorf("%s is missing", want)
		}
	}
}

// The variable that the reference names sets the value.
func TestKeysNameTheirVariables(t *testing.T) {
	for _, k := range Keys() {
		if k.Env == "" || strings.Count(k.Env, "_0_") > 1 {
			continue
		}
		// Whether the value makes sense is not the question, only whether the
		// name is known.
		_, err := Parse("c.yaml", nil, []string{k.Env + "=1"})
		for _, no := range []string{errNoValue.Error(), "a list needs an index", "goes deeper than the value", "a mapping cannot be set"} {
			if err != nil && strings.Contains(err.Error(), no) {
				t.Errorf("%s: %v", k.Path, err)
			}
		}
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, src string) error {
	t.Helper()
	var v any
	if err := yaml.Load([]byte(src), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// What an editor accepts by the schema is what the program accepts, as far as a
// schema can say.
func TestSchema(t *testing.T) {
	s := compiled(t)
	if err := validate(t, s, good); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "deploy", "*", "trailwarden*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, string(b)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, src := range []string{"detect: {grase: 2s}\n", "detect: {grace: 2}\n", "detect: {grace: soon}\n", "nats: {partitions: many}\n", "respond: {ram: {enabled: maybe}}\n", "source: []\n"} {
		if validate(t, s, src) == nil {
			t.Errorf("the schema takes %q", src)
		}
		if _, err := Parse("c.yaml", []byte(src), nil); err == nil {
			t.Errorf("the program takes %q", src)
		}
	}
	for _, src := range []string{"nats:\n  partitions: ${N}\n", "respond:\n  ram:\n    enabled: ${ON}\n", "detect: {grace: \"${G}\"}\n"} {
		if err := validate(t, s, src); err != nil {
			t.Errorf("%q: %v", src, err)
		}
		if _, err := Parse("c.yaml", []byte(src), []string{"N=4", "ON=true", "G=3s"}); err != nil {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(filepath.Join(dir, "tok"), []byte("xoxb-EXAMPLE-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := "detect: {grace: 3s}\nnotify:\n  slack:\n    - {name: soc, channel: C1, token: \"${file:tok}\"}\nnats:\n  partitions: ${N}\n"
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	vs, err := Resolve(path, []string{"N=4", "TRAILWARDEN_DETECT_DEDUP_FOR=2d", "TRAILWARDEN_NOTIFY_SLACK_0_CHANNEL=C0123456789", "TRAILWARDEN_DETECT_DISABLE=user.created,role.chaining"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range vs {
		if strings.Contains(v.Value, "hush") {
			t.Error("a secret is shown")
		}
		got[v.Path] = v.Value + " | " + strings.ReplaceAll(v.Origin, path, "FILE")
	}
	for k, want := range map[string]string{
		"detect.grace": "3s | FILE:1", "detect.dedup_for": "2d | environment TRAILWARDEN_DETECT_DEDUP_FOR", "detect.dedup_max": "200000 | default",
		"detect.disable": "[user.created, role.chaining] | environment TRAILWARDEN_DETECT_DISABLE", "detect.pack": "true | default",
		"notify.slack[0].channel": "C0123456789 | environment TRAILWARDEN_NOTIFY_SLACK_0_CHANNEL", "notify.slack[0].name": "soc | FILE:4",
		"nats.partitions": "4 | FILE:6 by ${N}", "respond.mode": "observe | default",
	} {
		if got[k] != want {
			t.Errorf("%s: %q, want %q", k, got[k], want)
		}
	}
	if tok := got["notify.slack[0].token"]; !strings.Contains(tok, "****") || !strings.Contains(tok, "${file:tok}") {
		t.Errorf("token: %q", tok)
	}
	if _, ok := got["nats.url"]; ok {
		t.Error("what is empty and unset is not shown")
	}
	if _, err := Resolve(path, nil); err == nil || !strings.Contains(fmt.Sprint(err), "N is not set") {
		t.Errorf("got %v", err)
	}
}
