package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Paths of files that are read begin at the folder of the configuration, in whatever
// folder the program is started; those of the environment, of what is written, and
// whole ones stay.
func TestPaths(t *testing.T) {
	const text = `state_dir: state
source: {sls: [{endpoint: "https://cn-hangzhou.log.aliyuncs.com", project: my-audit, logstore: actiontrail_main}]}
nats: {url: "tls://n:4222", creds: %creds, ca: tls/ca.pem, cert: tls/c.pem, key: /abs/c.key}
console: {enabled: true, tls: {cert: w.pem, key: w.key}}
detect: {rules: [mine, ../theirs], exceptions: [ex], list_dirs: [lists], owners: [o.csv], geo_country: c.mmdb, geo_asn: a.mmdb}
notify: {ocsf: [{name: siem, path: findings.jsonl}]}
`
	dir := filepath.Join("some", "where")
	c, err := Parse(filepath.Join(dir, "c.yaml"), []byte(strings.Replace(text, "%creds", "n.creds", 1)), []string{"TRAILWARDEN_DETECT_OWNERS=e.csv,f.csv", "TRAILWARDEN_NATS_CA=env.pem"})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		c.NATS.Creds: "some/where/n.creds", c.NATS.CA: "env.pem", c.NATS.Cert: "some/where/tls/c.pem", c.NATS.Key: "/abs/c.key",
		c.Console.TLS.Cert: "some/where/w.pem", c.Console.TLS.Key: "some/where/w.key",
		strings.Join(c.Detect.Rules, " "): "some/where/mine some/theirs", c.Detect.Exceptions[0]: "some/where/ex",
		c.Detect.ListDirs[0]: "some/where/lists", strings.Join(c.Detect.Owners, " "): "e.csv f.csv",
		c.Detect.GeoCountry: "some/where/c.mmdb", c.Detect.GeoASN: "some/where/a.mmdb",
		c.StateDir: "state", c.Notify.OCSF[0].Path: "findings.jsonl",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c, err = Parse(filepath.Join(dir, "c.yaml"), []byte(strings.Replace(text, "creds: %creds", "nkey: n.seed", 1)), nil)
	if err != nil || c.NATS.NKey != "some/where/n.seed" {
		t.Errorf("nkey: %+v, %v", c, err)
	}
}

// A key that holds a path is known to paths, or to be written.
func TestPathsAreAllKnown(t *testing.T) {
	known := []string{"state_dir", "notify.ocsf[].path", "nats.creds", "nats.nkey", "nats.ca", "nats.cert", "nats.key", "detect.rules", "detect.exceptions",
		"detect.list_dirs", "detect.owners", "detect.geo_country", "detect.geo_asn", "console.tls.cert", "console.tls.key"}
	no := []string{"respond.playbooks[].actions[].key", "detect.reload", "notify.ocsf[].keep", "notify.ocsf[].max_bytes"}
	for _, k := range Keys() {
		last := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
		doc := strings.ReplaceAll(k.Doc, "${file:…}", "")
		if slices.Contains(known, k.Path) || slices.Contains(no, k.Path) {
			continue
		}
		for _, w := range []string{" file", "file ", "folder", "(PEM)"} {
			if strings.Contains(doc, w) {
				t.Errorf("%s (%s) may be a path: say in paths.go what it is relative to", k.Path, k.Doc)
			}
		}
		if slices.Contains([]string{"path", "file", "dir", "cert", "key", "ca", "creds"}, last) {
			t.Errorf("%s may be a path: say in paths.go what it is relative to", k.Path)
		}
	}
}

// Who relied on the working directory is told, and not with "no such file".
func TestPathOfTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, d := range []string{"rules", "etc"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const text = `source: {sls: [{endpoint: "https://cn-hangzhou.log.aliyuncs.com", project: my-audit, logstore: actiontrail_main}]}
detect:
  rules:
    - rules
`
	_, err := Parse("etc/c.yaml", []byte(text), nil)
	if err == nil || !strings.Contains(err.Error(), "etc/c.yaml:4:7: detect.rules[0]: etc/rules is not there") || !strings.Contains(err.Error(), "working directory") {
		t.Errorf("%v", err)
	}
	if err := os.Mkdir("etc/rules", 0o700); err != nil {
		t.Fatal(err)
	}
	if c, err := Parse("etc/c.yaml", []byte(text), nil); err != nil || c.Detect.Rules[0] != "etc/rules" {
		t.Errorf("%+v, %v", c, err)
	}
}
