package app

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/trailwarden/trailwarden"

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
	Module     *struct{ Path, Dir string }
	Standard   bool
}

// list runs go list on the module, dependencies included when deps is set.
func list(t *testing.T, deps bool) []pkg {
	t.Helper()
	args := []string{"list", "-json=ImportPath,Dir,GoFiles,Imports,Deps,Module,Standard"}
	if deps {
		args = append(args, "-deps")
	}
	cmd := exec.Command("go", append(args, module+"/...")...)
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
}

// Import directions, transitive imports included. A package matching from may
// reach no package matching any of never.
var directions = []struct {
	from, never, why string
}{
	{`^pipeline/event$`, `.`, "the event model is the leaf: everything depends on it"},
	{`^pipeline/source$`, `.`, "the page contract is a leaf"},
	{`^pipeline/failpoint$`, `.`, "the moments of a crash test are a leaf that everything may name"},
	{`^pipeline/trace$`, `.`, "what a trace is, and how it is carried, is a leaf"},
	{`^pipeline/lists$`, `.`, "how lists are sorted for readers is a leaf"},
	{`^pipeline/pause$`, `.`, "waiting is a leaf"},
	{`^pipeline/durable$`, `.`, "how a file gets onto the disk is a leaf"},
	{`^pipeline/leaktest$`, `.`, "how tests look for goroutines is a leaf"},
	{`^pipeline/raced$`, `.`, "how much of a test the race detector sees is a leaf"},
	{`^pipeline/phrase$`, `.`, "saying our own sentences in another language is a leaf: responders and reports have each their own"},
	{`^pipeline/snapshot$`, `.`, "how state becomes bytes is a leaf: the engine, its detectors and the grouper of alerts share it"},
	{`^pipeline/packed$`, `.`, "unpacking what is embedded is a leaf"},
	{`^pipeline/gunzip$`, `.`, "unpacking archives is a leaf"},
	{`^pipeline/text$`, `.`, "what makes hostile text safe to show is a leaf: chat, terminal and reports share it"},
	{`^pipeline/alert$`, `^(detectors|rules|responders|cmd|pipeline$|pipeline/(bus|sls|replay))`, "an alert knows neither who made it nor who handles it"},
	{`^detectors`, `^(rules|responders|cmd|pipeline$|pipeline/(bus|sls|replay|source))`, "detection is pure: no bus, no rules files, no responders"},
	{`^rules`, `^(responders|cmd|pipeline$|pipeline/(bus|sls|replay|source))`, "rules decide; they neither read sources nor act"},
	{`^pipeline/sls`, `^(detectors|rules|responders|cmd|pipeline$|pipeline/(bus|replay))`, "a source knows only the page it hands on"},
	{`^pipeline/bus$`, `^(detectors|rules|responders|cmd|pipeline$|pipeline/(sls|replay))`, "the bus stores; it does not decide"},
	{`^pipeline/replay$`, `^(responders|pipeline/(bus|sls)$)`, "a replay has no way to act, by construction"},
	{`^pipeline/ocsf$`, `^(detectors|rules|responders|cmd|pipeline$|pipeline/(bus|sls|replay|report))`, "a finding is made of an alert and of nothing else"},
	{`^pipeline/report$`, `^(responders|rules|cmd|pipeline$|pipeline/(bus|sls))`, "a report renders what a replay found and can do nothing else"},
	{`^pipeline$`, `^(responders|rules|cmd|pipeline/(sls|replay))`, "the loop knows no adapter"},
	{`^responders$`, `^(detectors|rules|cmd|pipeline$|pipeline/(bus|sls|replay)|responders/(ram|slack|journal|wire|robot|listen|message|dingtalk|feishu|wecom|webhook|pagerduty|email|syslog|ocsf|desttest))`, "responders see alerts, not how they were found"},
	{`^responders/(ram|slack|dingtalk|feishu|wecom|webhook|pagerduty|email|syslog|ocsf|wire|robot|listen|message|desttest)$`, `^(detectors|rules|cmd|pipeline$|pipeline/(bus|replay))`, "an effect knows its own service only"},
	{`^cmd/internal/console`, `^(cmd/internal/(app|cli|config)|detectors|rules|pipeline$|pipeline/(bus|sls|replay)|responders/(ram|slack))`, "the console shows facts and hands requests on; it reaches neither the cloud, nor the store, nor a chat"},
	{`^deploy$`, `.`, "files to set up with, and nothing else"},
	{`^cmd/internal/backup$`, `^(detectors|rules|responders|pipeline$|pipeline/(sls|replay)|cmd/internal/(app|cli|config))`, "a backup knows files and the store's lock"},
	{`^responders/(ramtest|chattest)$|^pipeline/slstest$`, `^(detectors|rules|cmd|responders$|pipeline$|pipeline/(bus|sls|replay))`, "emulators know the wire, not us"},
}

// Libraries that only one place may touch.
var libraries = []struct {
	lib, only, why string
}{
	{`^github.com/aliyun/aliyun-log-go-sdk`, `^(pipeline/sls|pipeline/slstest|cmd)`, "the SLS SDK sits behind one adapter"},
	{`^github.com/aliyun/alibaba-cloud-sdk-go`, `^(responders/ram|responders/ramtest|pipeline/sls|cmd)`, "the RAM SDK is at its end of support and sits behind one interface"},
	{`^github.com/slack-go/slack`, `^(responders/slack|responders/chattest|cmd)`, "Slack sits behind one notifier"},
	{`^github.com/open-dingtalk/dingtalk-stream-sdk-go`, `^$`, "what a test compares with, and no program links"},
	{`^github.com/nats-io/nats-server`, `^(pipeline/bus|pipeline$|responders/journal|cmd)`, "the server is started in one place"},
	{`^github.com/coreos/go-oidc`, `^cmd`, "signing people in is a matter of the console"},
	{`^github.com/expr-lang/expr`, `^(rules|cmd)`, "expressions are a matter of rules"},
}

func TestImportDirections(t *testing.T) {
	for _, p := range list(t, false) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, d := range directions {
			if !regexp.MustCompile(d.from).MatchString(from) {
				continue
			}
			never := regexp.MustCompile(d.never)
			for _, dep := range p.Deps {
				to, ours := strings.CutPrefix(dep, module+"/")
				if ours && to != from && !strings.HasPrefix(to, from+"/") && never.MatchString(to) {
					t.Errorf("%s reaches %s: %s", from, to, d.why)
				}
			}
		}
		for _, l := range libraries {
			if regexp.MustCompile(l.only).MatchString(from) {
				continue
			}
			for _, dep := range p.Deps {
				if regexp.MustCompile(l.lib).MatchString(dep) {
					t.Errorf("%s reaches %s: %s", from, dep, l.why)
				}
			}
		}
	}
}

// The detection path takes time as an argument.
func TestNoClockInDetection(t *testing.T) {
	clock := regexp.MustCompile(`\btime\.(Now|Since|Until|After|Tick|NewTimer|NewTicker|Sleep)\(`)
	random := regexp.MustCompile(`"math/rand`)
	for _, p := range list(t, false) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		if !regexp.MustCompile(`^(rules|detectors|pipeline/event|pipeline/alert)`).MatchString(from) {
			continue
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(b), "\n") {
				if (clock.MatchString(line) || random.MatchString(line)) && !strings.Contains(line, "nolint:forbidigo") {
					t.Errorf("%s/%s:%d reads a clock or draws a random number: %s", from, f, i+1, strings.TrimSpace(line))
				}
			}
		}
	}
}

// Every package says in its own comment what its one job is.
func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range list(t, false) {
		if len(p.GoFiles) == 0 {
			continue
		}
		said := false
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			said = said || file.Doc != nil && len(file.Doc.Text()) > 20
		}
		if !said {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// The top level is fixed.
func TestTopLevel(t *testing.T) {
	allowed := map[string]bool{"cmd": true, "detectors": true, "pipeline": true, "responders": true, "rules": true, "testdata": true, "deploy": true}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" && e.Name() != "dist" && !allowed[e.Name()] {
			t.Errorf("top-level folder %s is not part of the layout", e.Name())
		}
	}
}

// Only these licences are linked.
var licences = []struct{ name, mark string }{
	{"Apache-2.0", "Apache License"},
	{"MPL-2.0", "Mozilla Public License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD", "Redistribution and use in source and binary forms"},
	{"ISC", "Permission to use, copy, modify, and"},
	{"0BSD", "Zero-Clause BSD"},
	{"CC0", "CC0"},
}

func TestLicences(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, true) {
		if p.Standard || p.Module == nil || p.Module.Path == module || seen[p.Module.Path] {
			continue
		}
		seen[p.Module.Path] = true
		text := ""
		_ = filepath.WalkDir(p.Module.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path != p.Module.Dir && d.IsDir() {
				return fs.SkipDir
			}
			up := strings.ToUpper(d.Name())
			if strings.HasPrefix(up, "LICENSE") || strings.HasPrefix(up, "LICENCE") || strings.HasPrefix(up, "COPYING") {
				b, _ := os.ReadFile(path)
				text += string(b)
			}
			return nil
		})
		// A README that names the licence counts where there is no file.
		if text == "" {
			b, _ := os.ReadFile(filepath.Join(p.Module.Dir, "README.md"))
			text = string(b)
		}
		text = strings.Join(strings.Fields(text), " ")
		found := ""
		for _, l := range licences {
			if strings.Contains(text, l.mark) {
				found = l.name
				break
			}
		}
		if found == "" {
			t.Errorf("%s: no allowed licence found", p.Module.Path)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d modules were looked at", len(seen))
	}
}
