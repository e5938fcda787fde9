package check

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

const chartDir = "../helm/trailwarden"

// forms are the ways of setting the chart that people use.
var forms = []struct{ name, values string }{
	{"as shipped, with its secret", "existingSecret: s"},
	{"everything on", `existingSecret: s
metrics: {enabled: true, serviceMonitor: {enabled: true, labels: {release: prom}}, rules: {enabled: true, labels: {release: prom}}, dashboard: {enabled: true}}
consolePort: {enabled: true, from: [{podSelector: {}}]}
rrsa: {roleName: tw-reader}
serviceAccount: {name: reader, annotations: {a: b}}
persistence: {storageClassName: essd}
imagePullSecrets: [{name: r}]
nodeSelector: {disk: fast}
tolerations: [{key: k, operator: Exists}]
affinity: {nodeAffinity: {}}
config:
  units: {shop: ["1000000000000001"]}
  console: {enabled: true, listen: "0.0.0.0:8687", behind_proxy: true}
  traces: {endpoint: "http://127.0.0.1:4318/v1/traces"}`},
	{"everything off", "existingSecret: s\nnetworkPolicy: {enabled: false}\npodDisruptionBudget: {enabled: false}"},
	{"three on a cluster of NATS", `existingSecret: s
replicas: 3
config: {nats: {url: "tls://nats:4222", replicas: 3}}
networkPolicy: {extraEgress: [{ports: [{port: 4222, protocol: TCP}]}]}`},
}

// kubeVersions are the oldest and the newest that the chart claims to run on.
var kubeVersions = []string{"v1.25.0", "v1.35.0"}

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestHelmLint is helm lint --strict.
func TestHelmLint(t *testing.T) {
	for _, f := range forms {
		for _, m := range lint.All(chartDir, values(t, f.values), "security", true).Messages {
			// A chart without an icon is told as information, for the sake of catalogues.
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", f.name, m)
			}
		}
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "Chart.yaml"), []byte("name: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lint.All(broken, nil, "security", true).HighestSeverity < support.ErrorSev {
		t.Error("a broken chart was taken for good")
	}
}

// render is helm template.
func render(t *testing.T, c *chart.Chart, set map[string]any, kube string) (map[string]string, error) {
	t.Helper()
	caps := chartutil.DefaultCapabilities.Copy()
	v, err := chartutil.ParseKubeVersion(kube)
	if err != nil {
		t.Fatal(err)
	}
	caps.KubeVersion = *v
	if !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, caps.KubeVersion.String()) {
		t.Fatalf("the chart says it does not run on %s", kube)
	}
	// Checks the values against values.schema.json too.
	vals, err := chartutil.ToRenderValues(c, set, chartutil.ReleaseOptions{Name: "tw", Namespace: "security", Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, vals)
	for name := range files {
		if filepath.Ext(name) != ".yaml" {
			delete(files, name) // NOTES.txt is for people
		}
	}
	return files, err
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHelmTemplate renders with Helm's own engine, and reads every object with
// Kubernetes' own types: a field that is unknown, twice there or of another type
// is a fault.
func TestHelmTemplate(t *testing.T) {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, types, types, json.SerializerOptions{Yaml: true, Strict: true})
	if _, _, err := strict.Decode([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {portz: []}\n"), nil, nil); err == nil {
		t.Fatal("a Service with an unknown field was taken for good")
	}
	c := load(t)
	kinds := map[string]bool{}
	for _, f := range forms {
		for _, kube := range kubeVersions {
			files, err := render(t, c, values(t, f.values), kube)
			if err != nil {
				t.Errorf("%s, Kubernetes %s: %v", f.name, kube, err)
				continue
			}
			hooks, objects, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
			if err != nil {
				t.Errorf("%s: %v", f.name, err)
				continue
			}
			if len(hooks) != 1 || len(hooks[0].Events) != 1 || hooks[0].Events[0] != "test" {
				t.Errorf("%s: want one hook, for helm test: %v", f.name, hooks)
			}
			text := ""
			for _, h := range hooks {
				text += h.Manifest + "\n---\n"
			}
			for _, o := range objects {
				text += o.Content + "\n---\n"
			}
			docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
			for {
				doc, err := docs.Read()
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if len(bytes.TrimSpace(doc)) == 0 {
					continue
				}
				_, gvk, err := strict.Decode(doc, nil, nil)
				if err != nil {
					t.Errorf("%s, Kubernetes %s: %v\n%s", f.name, kube, err, doc)
					continue
				}
				kinds[gvk.Kind] = true
			}
		}
	}
	for _, k := range []string{"ConfigMap", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet"} {
		if !kinds[k] {
			t.Errorf("no form has a %s", k)
		}
	}
}

// TestHelmRefuses holds what cannot work to be refused by Helm, in words.
func TestHelmRefuses(t *testing.T) {
	c := load(t)
	for set, want := range map[string]string{
		"existingSecret: s\nreplicas: 2":                                                                                "config.nats.url",
		"existingSecret: s\nmetrics: {serviceMonitor: {enabled: true}}":                                                 "needs metrics.enabled",
		"existingSecret: s\nconsolePort: {enabled: true}":                                                               "needs config.console",
		"existingSecret: s\nconsolePort: {enabled: true}\nconfig: {console: {enabled: true, listen: \"0.0.0.0:8687\"}}": "from is empty",
		"replicas: 1":                         "name the Secret",
		"existingSecret: s\nreplica: 1":       "replica",
		"existingSecret: s\nreplicas: many":   "replicas",
		"existingSecret: s\nconfig: {x: {}}":  "config",
		"existingSecret: s\nimage: {tag: 17}": "tag",
	} {
		if _, err := render(t, c, values(t, set), kubeVersions[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", set, err, want)
		}
	}
}
