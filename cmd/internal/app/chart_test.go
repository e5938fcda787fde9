package app

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
)

// renderChart renders the chart as helm template does: Helm's engine is
// text/template with sprig's functions and include, toYaml and fail. Missing
// values are an error here. set is laid over values.yaml. The objects come back
// by "Kind/name".
func renderChart(t *testing.T, set string) (map[string]map[string]any, error) {
	t.Helper()
	var chart, values, over map[string]any
	deployYAML(t, "helm/trailwarden/Chart.yaml", &chart)
	deployYAML(t, "helm/trailwarden/values.yaml", &values)
	if err := yaml.Unmarshal([]byte(set), &over); err != nil {
		t.Fatal(err)
	}
	tree := template.New("").Option("missingkey=error")
	fns := sprig.TxtFuncMap()
	delete(fns, "env") // as Helm does
	delete(fns, "expandenv")
	fns["toYaml"] = func(v any) (string, error) {
		b, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(b), "\n"), err
	}
	fns["include"] = func(name string, data any) (string, error) {
		var b bytes.Buffer
		err := tree.ExecuteTemplate(&b, name, data)
		return b.String(), err
	}
	tree.Funcs(fns)
	dir := filepath.Join(root(t), "deploy", "helm", "trailwarden", "templates")
	var names []string
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		names = append(names, d.Name())
		_, err = tree.New(d.Name()).Parse(string(b))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{
		"Values":  overlay(values, over),
		"Chart":   map[string]any{"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
		"Files":   chartFiles{t},
		"Release": map[string]any{"Name": "tw", "Namespace": "security", "Service": "Helm"},
	}
	objects := map[string]map[string]any{}
	for _, n := range names {
		var b bytes.Buffer
		if err := tree.ExecuteTemplate(&b, n, data); err != nil {
			return nil, err
		}
		if filepath.Ext(n) != ".yaml" {
			continue
		}
		var o map[string]any
		if err := yaml.Unmarshal(b.Bytes(), &o); err != nil {
			t.Fatalf("%s renders to what is not YAML: %v\n%s", n, err, &b)
		}
		if o == nil {
			continue // switched off
		}
		meta, _ := o["metadata"].(map[string]any)
		kind, _ := o["kind"].(string)
		name, _ := meta["name"].(string)
		if o["apiVersion"] == nil || kind == "" || name == "" || meta["labels"] == nil {
			t.Errorf("%s: no apiVersion, kind, name or labels", n)
		}
		objects[kind+"/"+name] = o
	}
	return objects, nil
}

// chartFiles are the files of the chart as templates get at them.
type chartFiles struct{ t *testing.T }

func (f chartFiles) Get(name string) string { return deployFile(f.t, "helm/trailwarden/"+name) }

// overlay lays b over a, as Helm does with values: mappings are joined.
func overlay(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	for k, v := range b {
		x, yes := out[k].(map[string]any)
		y, too := v.(map[string]any)
		if yes && too {
			out[k] = overlay(x, y)
		} else {
			out[k] = v
		}
	}
	return out
}

// in follows a path of keys and numbers.
func in(t *testing.T, v any, path ...any) any {
	t.Helper()
	for i, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p.(string)]
		case []any:
			if p.(int) >= len(x) {
				t.Errorf("%v is not there", path[:i+1])
				return nil
			}
			v = x[p.(int)]
		default:
			t.Errorf("%v is not there", path[:i+1])
			return nil
		}
	}
	return v
}

// The chart renders, in the forms that people use, to objects of Kubernetes that
// fit each other.
func TestDeployChartRenders(t *testing.T) {
	base := []string{"ConfigMap/tw", "NetworkPolicy/tw", "Pod/tw-test", "PodDisruptionBudget/tw", "Service/tw", "ServiceAccount/tw", "StatefulSet/tw"}
	const secret = "existingSecret: tw-secrets\n"
	for _, c := range []struct {
		name, set string
		want      []string
	}{
		{"as shipped, with its secret", secret, base},
		{"metrics", secret + "metrics: {enabled: true, serviceMonitor: {enabled: true, labels: {release: prom}}}\n", append(slices.Clone(base), "ServiceMonitor/tw")},
		{"alerts, a dashboard, a console for a team", secret + "metrics: {enabled: true, rules: {enabled: true}, dashboard: {enabled: true}}\nconsolePort: {enabled: true, from: [{podSelector: {}}]}\nconfig: {console: {enabled: true, listen: \"0.0.0.0:8687\", behind_proxy: true, base_url: \"https://tw.example.com\", auth: {mode: proxy, proxy: {user_header: X-Forwarded-User, trusted: [10.0.0.0/8]}}}}\n",
			append(slices.Clone(base), "PrometheusRule/tw", "ConfigMap/tw-dashboard")},
		{"bare", secret + "networkPolicy: {enabled: false}\npodDisruptionBudget: {enabled: false}\n", []string{"ConfigMap/tw", "Pod/tw-test", "Service/tw", "ServiceAccount/tw", "StatefulSet/tw"}},
		{"RRSA, a class, a registry", secret + "rrsa: {roleName: tw-reader}\nserviceAccount: {name: reader, annotations: {a: b}}\npersistence: {storageClassName: essd}\nimagePullSecrets: [{name: r}]\nnodeSelector: {x: y}\ntolerations: [{key: k, operator: Exists}]\naffinity: {nodeAffinity: {}}\n",
			[]string{"ConfigMap/tw", "NetworkPolicy/tw", "Pod/tw-test", "PodDisruptionBudget/tw", "Service/tw", "ServiceAccount/reader", "StatefulSet/tw"}},
		{"a cluster of its own", secret + "replicas: 3\nconfig: {nats: {url: \"tls://nats:4222\", replicas: 3}}\nnetworkPolicy: {extraEgress: [{ports: [{port: 4222, protocol: TCP}]}]}\n", base},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := renderChart(t, c.set)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(o)); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
				t.Errorf("%v, want %v", got, c.want)
			}
			sts := o["StatefulSet/tw"]
			pod := in(t, sts, "spec", "template", "spec")
			labels := in(t, sts, "spec", "template", "metadata", "labels").(map[string]any)
			for who, sel := range map[string]any{"StatefulSet": in(t, sts, "spec", "selector", "matchLabels"), "Service": in(t, o["Service/tw"], "spec", "selector")} {
				for k, v := range sel.(map[string]any) {
					if labels[k] != v {
						t.Errorf("%s selects %s=%v, the pod has %v", who, k, v, labels[k])
					}
				}
			}
			if _, ok := o["ServiceAccount/"+in(t, pod, "serviceAccountName").(string)]; !ok {
				t.Errorf("the pod's service account is not made")
			}
			// Every mount has its volume, and every container is closed.
			volumes := map[string]bool{"state": true}
			for _, v := range in(t, pod, "volumes").([]any) {
				volumes[in(t, v, "name").(string)] = true
			}
			for _, k := range in(t, pod, "containers").([]any) {
				for _, m := range in(t, k, "volumeMounts").([]any) {
					if n := in(t, m, "name").(string); !volumes[n] {
						t.Errorf("%v mounts %s, which is no volume", in(t, k, "name"), n)
					}
				}
				if s := in(t, k, "securityContext"); in(t, s, "readOnlyRootFilesystem") != true || in(t, s, "allowPrivilegeEscalation") != false {
					t.Errorf("%v: %v", in(t, k, "name"), s)
				}
			}
			if in(t, pod, "securityContext", "runAsNonRoot") != true || in(t, pod, "securityContext", "runAsUser") != 65532 {
				t.Errorf("%v", in(t, pod, "securityContext"))
			}
			// The program takes the configuration that the pod gets.
			text := in(t, o["ConfigMap/tw"], "data", "trailwarden.yaml").(string)
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
				t.Fatal(err)
			}
			for f, s := range map[string]string{"c.yaml": text, "secrets/slack-token": "xoxb-EXAMPLE"} {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(s), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := config.Load(filepath.Join(dir, "c.yaml"), nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if cfg.StateDir != "/var/lib/trailwarden/state" || cfg.HTTP.Listen != "127.0.0.1:8686" {
				t.Errorf("state %s, health %s", cfg.StateDir, cfg.HTTP.Listen)
			}
			if p := o["PrometheusRule/tw"]; p != nil {
				if n := len(in(t, p, "spec", "groups", 0, "rules").([]any)); n < 10 {
					t.Errorf("%d alerts", n)
				}
				if !strings.Contains(in(t, o["ConfigMap/tw-dashboard"], "data", "trailwarden.json").(string), `"panels"`) {
					t.Error("the dashboard is empty")
				}
				if in(t, pod, "containers", 0, "ports", 0, "name") != in(t, o["Service/tw"], "spec", "ports", 1, "targetPort") {
					t.Error("the Service does not reach the console")
				}
			}
			if m := o["ServiceMonitor/tw"]; m != nil && (in(t, m, "metadata", "labels", "release") != "prom" || in(t, m, "spec", "endpoints", 0, "port") != in(t, o["Service/tw"], "spec", "ports", 0, "name")) {
				t.Errorf("%v", m)
			}
		})
	}
}

// What cannot work is refused where it is written, with a reason.
func TestDeployChartRefuses(t *testing.T) {
	for set, want := range map[string]string{
		"existingSecret: s\nreplicas: 2\n":                                "config.nats.url",
		"existingSecret: s\nmetrics: {serviceMonitor: {enabled: true}}\n": "needs metrics.enabled",
		"existingSecret: s\nconsolePort: {enabled: true, from: [{podSelector: {}}]}\nconfig: {console: {enabled: true, listen: \"127.0.0.1:8687\"}}\n": "needs config.console",
		"replicas: 1\n": "name the Secret",
	} {
		if _, err := renderChart(t, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", set, err, want)
		}
	}
}
