package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
)

var built, builtToFail struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// releaseFlags are how a release is built, see deploy/release/goreleaser.yaml.
var releaseFlags = []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"}

// sizeLimit is what the stripped program may weigh, in bytes. When it is
// reached: DESIGN.md, "The program's size", says how to find what to leave out.
const sizeLimit = 45_000_000

func TestProgramIsSmall(t *testing.T) {
	f, err := os.Stat(realBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB of %.0f", float64(f.Size())/1e6, float64(sizeLimit)/1e6)
	if f.Size() > sizeLimit {
		t.Errorf("the program has %d bytes, more than %d", f.Size(), sizeLimit)
	}
}

// realBinary builds the program once, as a release is built: without the race
// detector, which would make times say nothing.
func realBinary(t *testing.T) string {
	t.Helper()
	repo := root(t)
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "trailwarden-bin-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "trailwarden")
		cmd := exec.Command("go", append(slices.Clone(releaseFlags), "-o", built.path, "./cmd/trailwarden")...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// failingBinary builds the program with the moments at which it ends itself.
func failingBinary(t *testing.T) string {
	t.Helper()
	realBinary(t) // not two at once
	b := &builtToFail
	b.once.Do(func() {
		b.path = filepath.Join(built.dir, "trailwarden-failpoint")
		cmd := exec.Command("go", append(slices.Clone(releaseFlags), "-tags", "failpoint", "-o", b.path, "./cmd/trailwarden")...)
		cmd.Dir = root(t)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// needsRules skips a test of a story whose rules are not shipped.
func needsRules(t *testing.T, ids ...string) {
	t.Helper()
	have, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if !have[id] {
			t.Skipf("the rule %s is not shipped", id)
		}
	}
}

// demoRules are the rules without which the demo's story has no end.
var demoRules = []string{"ak.new_source_ip"}

// headlines are the five detections that the demo must show, by a rule of
// which each consists.
func headlines() map[string][]string {
	h := map[string][]string{
		"root login":             {"root.login_no_mfa", "root.console_login"},
		"second factor removed":  {"mfa.removed"},
		"AccessKey creation":     {"ak.created", "ak.created_for_other"},
		"unfamiliar source":      {"ak.new_source_ip"},
		"permissions, expanding": {"policy.admin_attached", "policy.expanded"},
	}
	if app.NewJudge() == nil {
		delete(h, "permissions, expanding") // no judge of policies is linked
	}
	return h
}

var took = regexp.MustCompile(`(?m)^  (\d+) s, no account, nothing sent anywhere$`)

// checkDemo says whether the printed story is complete.
func checkDemo(t *testing.T, out string) {
	t.Helper()
	for what, rules := range headlines() {
		shown := false
		for _, r := range rules {
			shown = shown || regexp.MustCompile(`(?m)^ +`+regexp.QuoteMeta(r)+` · `).MatchString(out)
		}
		if !shown {
			t.Errorf("no alert about: %s (%v)", what, rules)
		}
	}
	for _, want := range []string{"└─ CONTAINED ram UpdateAccessKey", "└─ UNDONE", "What happened", "1 key contained", "containment undone", "Next"} {
		if !strings.Contains(out, want) {
			t.Errorf("the story lacks %q", want)
		}
	}
	if strings.ContainsAny(out, "\x1b\r") {
		t.Error("escape codes where there is no terminal")
	}
	if strings.Contains(out, "[Y/n]") {
		t.Error("a prompt in a headless run")
	}
	m := took.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no end of the story:\n%s", out)
	}
	if s, err := strconv.Atoi(m[1]); err != nil || s >= 40 {
		t.Errorf("the story took %s s, want under 40", m[1])
	}
	if m := regexp.MustCompile(`the first after ([0-9.]+) s`).FindStringSubmatch(out); m == nil {
		t.Error("the time of the first alert is not told")
	} else if s, err := strconv.ParseFloat(m[1], 64); err != nil || s > 60 {
		t.Errorf("the first alert came after %s s, want 10 and, on a busy machine, 60 at most", m[1])
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

func TestDemoHeadless(t *testing.T) {
	t.Parallel()
	needsRules(t, demoRules...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tmp := t.TempDir()
	cmd := exec.CommandContext(ctx, realBinary(t), "demo", "--headless")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	checkDemo(t, out.String())
	if errs.Len() > 0 {
		t.Errorf("stderr: %s", errs.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

type block struct {
	lang, text string
	line       int
}

// blocks are the fenced blocks of a Markdown file.
func blocks(md string) []block {
	var out []block
	var cur *block
	for i, l := range strings.Split(md, "\n") {
		switch {
		case cur == nil && strings.HasPrefix(l, "```"):
			cur = &block{lang: strings.TrimSpace(l[3:]), line: i + 1}
		case cur != nil && strings.HasPrefix(l, "```"):
			out = append(out, *cur)
			cur = nil
		case cur != nil:
			cur.text += l + "\n"
		}
	}
	return out
}

// What the documentation tells people to type works, in its order, in a fresh
// copy, for somebody who has nothing: no home, no configuration, no
// credentials. What it shows as a configuration is one, and its links lead
// somewhere.
func TestReadme(t *testing.T) {
	for _, doc := range []struct {
		name            string
		shells, configs int // at least
	}{{"README.md", 5, 1}, {"README.zh.md", 2, 1}, {"cmd/TUTORIAL.md", 4, 0}} {
		t.Run(doc.name, func(t *testing.T) {
			t.Parallel()
			shells, configs := runDocument(t, doc.name)
			if shells < doc.shells || configs < doc.configs {
				t.Errorf("%d sh blocks and %d yaml blocks were found: are they still marked as such?", shells, configs)
			}
		})
	}
}

// newcomer is the environment of somebody who has just installed Go: an empty
// home, and nothing of ours. Only what was downloaded and built before is kept.
func newcomer(t *testing.T, tmp string) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS", "GONOSUMDB", "GOSUMDB", "GOTOOLCHAIN").Output()
	if err != nil {
		t.Fatal(err)
	}
	v := strings.Split(string(out), "\n")
	home := filepath.Join(tmp, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp, "LANG=C.UTF-8", "GOPATH=" + v[0], "GOMODCACHE=" + v[1], "GOCACHE=" + v[2],
		"GOPROXY=" + v[3], "GOFLAGS=" + v[4] + " -buildvcs=false", "GONOSUMDB=" + v[5], "GOSUMDB=" + v[6], "GOTOOLCHAIN=" + v[7]}
}

func runDocument(t *testing.T, name string) (shells, configs int) {
	t.Helper()
	repo := root(t)
	md, err := os.ReadFile(filepath.Join(repo, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	bin := realBinary(t)
	tmp, err := os.MkdirTemp("", "tw") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	dir := filepath.Join(tmp, "copy")
	copyTree(t, repo, dir)
	environ := newcomer(t, tmp)
	demo := regexp.MustCompile(`(?m)^go run \./cmd/trailwarden demo$`)
	said := "" // by the block before
	for _, b := range blocks(string(md)) {
		switch b.lang {
		case "sh":
			shells++
			script := strings.ReplaceAll(b.text, "/tmp/", tmp+"/")
			if demo.MatchString(script) {
				needs := true
				if have, err := shipped(); err == nil {
					for _, r := range demoRules {
						needs = needs && have[r]
					}
				}
				if !needs {
					t.Logf("%s:%d: the demo is not run: its rules are not shipped", name, b.line)
					script = demo.ReplaceAllString(script, "")
				}
				script = demo.ReplaceAllString(script, bin+" demo --headless")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			cmd := exec.CommandContext(ctx, "sh", "-euc", script)
			cmd.Dir = dir
			cmd.Env = environ
			cmd.WaitDelay = 10 * time.Second // what it started holds its output
			out, err := cmd.CombinedOutput()
			cancel()
			if err != nil {
				t.Errorf("%s:%d: %v\n%s\n%s", name, b.line, err, b.text, out)
			}
			said = strings.Join(strings.Fields(string(out)), " ")
		case "console": // what the block before says: lines may be broken elsewhere, and something may stand between an alert and its action
			for p := range strings.SplitSeq(strings.ReplaceAll(b.text, "└─", "\n\n"), "\n\n") {
				if want := strings.Join(strings.Fields(p), " "); said != "" && !strings.Contains(said, want) {
					t.Errorf("%s:%d: the program does not say\n%s\nIt says\n%s", name, b.line, want, said)
				}
			}
		case "yaml":
			configs++
			path := filepath.Join(tmp, fmt.Sprintf("block-%d.yaml", b.line))
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(bin, "config", "validate", "--config", path)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			for _, m := range regexp.MustCompile(`\$\{([A-Z0-9_]+)\}`).FindAllStringSubmatch(b.text, -1) {
				cmd.Env = append(cmd.Env, m[1]+"=xoxb-EXAMPLE")
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: not a valid configuration: %v\n%s", name, b.line, err, out)
			}
		}
	}
	return shells, configs
}

// The Chinese README has the sections, commands and configuration of the English one, in its order; comments are translated.
func TestReadmesAreInStep(t *testing.T) {
	read := func(name string) (headings int, out []string) {
		md, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks(string(md)) {
			text := regexp.MustCompile(`(?m)\s+# .*$|<[^>]*>`).ReplaceAllString(b.text, "")
			if b.lang == "sh" {
				b.lang = "" // what is the same is run once, from the English one
			}
			out = append(out, b.lang+"\n"+strings.ReplaceAll(text, "--lang zh ", ""))
		}
		return strings.Count(string(md), "\n## "), out
	}
	h, en := read("README.md")
	h2, zh := read("README.zh.md")
	if h != h2 {
		t.Errorf("%d sections in English, %d in Chinese", h, h2)
	}
	for i := range max(len(en), len(zh)) {
		var a, b string
		if i < len(en) {
			a = en[i]
		}
		if i < len(zh) {
			b = zh[i]
		}
		if a != b {
			t.Fatalf("block %d in English\n%s\nin Chinese\n%s", i+1, a, b)
		}
	}
}

// anchors are the names that headings get on GitHub.
func anchors(md string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(md, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for n := 0; ; n++ {
			id := name
			if n > 0 {
				id = fmt.Sprintf("%s-%d", name, n)
			}
			if !out[id] {
				out[id] = true
				break
			}
		}
	}
	return out
}

// Links within the repository lead somewhere, in every document: to a file that is there and a heading that it has. And every document can be
// reached from README.md.
func TestLinks(t *testing.T) {
	repo := root(t)
	n := 0
	links := map[string][]string{}
	for _, f := range documents(t) {
		md, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`).FindAllStringSubmatch(string(md), -1) {
			n++
			target := f
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(f), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", f, m[1])
				continue
			}
			links[f] = append(links[f], target)
			if m[2] == "" {
				continue
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			if !anchors(string(text))[m[2]] {
				t.Errorf("%s links to the heading #%s of %s, which it does not have", f, m[2], target)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d links were found", n)
	}
	reached := map[string]bool{}
	var follow func(string)
	follow = func(f string) {
		if !reached[f] {
			reached[f] = true
			for _, l := range links[f] {
				follow(l)
			}
		}
	}
	follow(filepath.Join(repo, "README.md"))
	for _, f := range documents(t) {
		if !reached[f] && filepath.Base(f) != "cheat.md" { // which the program prints
			t.Errorf("%s cannot be reached from README.md", f)
		}
	}
}

// copyTree copies what a clone would have.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	skip := map[string]bool{".git": true, "bin": true, ".tools": true, "node_modules": true}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir() && skip[rel]:
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
