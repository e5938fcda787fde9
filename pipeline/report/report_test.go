package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

var update = flag.Bool("update", false, "write the golden files anew")

func day(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// sample is a report with something in every part of it.
func sample() In {
	first, last := day("2026-11-18T00:00:00Z"), day("2026-11-25T02:56:40Z")
	runbook := alert.Runbook{EN: "Ask the user by another channel.\nIf they did not, block them:\n  aliyun ims UpdateLoginProfile --Status Inactive\n  aliyun ram ListUsers\nThen tell the team.", ZH: "通过其他渠道确认:\n  aliyun ims UpdateLoginProfile --Status Inactive"}
	as := []alert.Alert{
		{
			Schema: alert.Schema, ID: "a1", Rule: "signin.spray", RuleVersion: 2, Title: "Password spraying from 203.0.113.77", Reason: "203.0.113.77 failed to sign in as 5 users",
			Severity: alert.High, Outcome: "attempt", Time: day("2026-11-25T02:10:28Z"), FirstAt: day("2026-11-25T02:10:00Z"), LastAt: day("2026-11-25T02:10:28Z"), Count: 5,
			AccountID: "1000000000000001", Actor: alert.Actor{Type: "ram-user", ID: "user/1000000000000001/emre", Name: "emre"}, SourceIP: "203.0.113.77",
			Target: &alert.Target{Type: "user", ID: "user/1000000000000001/emre", Name: "emre"}, Attack: []string{"T1110.003"}, EventIDs: []string{"E-1", "E-2"},
			Details: map[string]any{"event": "AasSub:ConsoleSignin", "region": "cn-hangzhou", "distinct": map[string]any{"count": 5, "new_values": []any{"alice", "bob"}}, "user_agent": "Mozilla/5.0"}, Runbook: runbook,
		},
		{
			Schema: alert.Schema, ID: "a2", Rule: "policy.admin_attached", RuleVersion: 1, Title: "Administrator-equivalent permissions were attached to ci", Reason: "root attached AdministratorAccess to ci",
			Severity: alert.Critical, Outcome: "success", Time: day("2026-11-25T02:29:31Z"), FirstAt: day("2026-11-25T02:29:31Z"), LastAt: day("2026-11-25T02:29:31Z"), Count: 1,
			AccountID: "1000000000000001", Actor: alert.Actor{Type: "root-account", ID: "root/1000000000000001", Name: "root"}, SourceIP: "203.0.113.77",
			Target: &alert.Target{Type: "user", ID: "user/1000000000000001/ci", Name: "ci"}, Attack: []string{"T1098"}, EventIDs: []string{"E-3"},
			Details: map[string]any{"event": "Ram:AttachPolicyToUser", "policy": map[string]any{"before": "partly known", "known": true, "verdict": "expands", "notes": []any{"inferred"}, "diff": map[string]any{
				"schema": "trailwarden.policydiff/v1", "verdict": "expands", "severity": "critical", "summary": "user ci may now do everything", "summary_zh": "用户 ci 现可执行所有操作",
				"findings": []any{map[string]any{"severity": "critical", "sentence": "User ci may now do everything", "sentence_zh": "用户 ci 可执行所有操作", "actions": []any{"*"}, "resources": []any{"*"}, "paths": []any{"E1"}, "confirmed": true,
					"witness": map[string]any{"action": "ram:AttachPolicyToUser", "resource": "acs:ram:*:1000000000000001:user/example", "context": map[string]any{"acs:MFAPresent": "false", "acs:SourceIp": "198.51.100.1"}}}},
				"removed": []any{map[string]any{"severity": "info", "sentence": "User ci may no longer read", "actions": []any{"oss:GetObject"}, "resources": []any{"*"}, "witness": map[string]any{"action": "oss:GetObject"}}},
			}}}, Runbook: runbook,
		},
		{
			Schema: alert.Schema, ID: "a3", Rule: "ak.new_network", RuleVersion: 1, Title: "A key is used from a new network", Reason: "used from 203.0.113.140; in 30 days used only 198.51.100.0/24",
			Severity: alert.Medium, Outcome: "success", Time: day("2026-11-25T02:56:00Z"), FirstAt: day("2026-11-25T02:56:00Z"), LastAt: day("2026-11-25T02:56:00Z"), Count: 1,
			AccountID: "1000000000000001", Actor: alert.Actor{Type: "assumed-role", ID: "role/1000000000000001/deployer", Role: "deployer", Session: "build-17", AccessKeyID: "LTAI5tEXAMPLEalice00001"}, SourceIP: "203.0.113.140",
			EventIDs: []string{"E-4"}, Details: map[string]any{"baseline": map[string]any{"new": "203.0.113.0/24", "novelty": "network", "learned_days": 30, "observations": 912, "usual_total": 1,
				"usual": []any{map[string]any{"network": "198.51.100.0/24", "share": 0.97, "count": 880, "last_seen": "2026-11-24T20:00:00Z", "asn": "AS64500", "country": "NL"}}}},
		},
	}
	return In{
		Alerts: as,
		Stats: replay.Stats{Schema: replay.StatsSchema, Records: 2_533, Events: 2_520, Parked: 3, Duplicates: 10, Late: 1, BytesRead: 123_456, BytesDecoded: 1_911_000, Detections: 12, Alerts: 3,
			ByRule: map[string]int64{"signin.spray": 1, "policy.admin_attached": 1, "ak.new_network": 1, "signal.only": 9}, BySeverity: map[string]int64{"high": 1, "critical": 1, "medium": 1},
			FilesRead: 4, FilesPart: 1, FilesSkipped: 17, FilesIgnored: 12, Ignored: []string{"archive/README.md", "archive/old.zip"}, FilesFailed: []replay.FailedFile{{Path: "archive/bad.jsonl.gz", Error: "breaks off"}}, FirstEvent: &first, LastEvent: &last, Seconds: 1.25, PeakRSSBytes: 1 << 27,
			ByReason: map[event.Reason]int64{event.ReasonNotJSON: 2, event.ReasonTruncated: 1}, RuleErrors: 1},
		Scope: Scope{From: first, Entity: "", Sources: []string{"archive"}},
		Tool:  "v0.0.0-test", RuleSet: "0123456789abcdef",
		Rules: []Rule{{ID: "signin.spray"}, {ID: "policy.admin_attached"}, {ID: "ak.new_network"}, {ID: "signal.only"}, {ID: "quiet.one"}, {ID: "off.one", NotRun: Off}, {ID: "geo.one", NotRun: NoGeo}},
		Files: []File{{"archive/a.jsonl", 120_000, strings.Repeat("ab", 32)}, {"-", -1, ""}},
		Gaps:  []Gap{{"1000000000000001", "cn-hangzhou", day("2026-11-20T03:00:00Z"), day("2026-11-20T09:00:00Z")}}, Quiet: 12, GapsKnown: true, Hidden: 2,
	}
}

func write(t testing.TB, format string, in In) string {
	t.Helper()
	var b bytes.Buffer
	if err := Writer(format)(&b, in); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

// zipped is the one part of a page that depends on the version of the
// compressor: golden files hold its place, another test its content.
var zipped = regexp.MustCompile(`data:application/gzip;base64,[A-Za-z0-9+/=&#;]+"`)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs (run with -update when that is meant):\n%s", name, diff)
	}
}

func TestGolden(t *testing.T) {
	for _, c := range []struct{ format, lang, file string }{
		{"html", "en", "report.en.html"}, {"html", "zh", "report.zh.html"}, {"markdown", "en", "report.en.md"}, {"markdown", "zh", "report.zh.md"},
		{"csv", "", "report.csv"}, {"ocsf", "", "report.ocsf.jsonl"}, {"timesketch", "", "report.timesketch.jsonl"},
	} {
		in := sample()
		in.Lang = c.lang
		got := zipped.ReplaceAllString(write(t, c.format, in), `data:application/gzip;base64,PACKED"`)
		got = regexp.MustCompile(`gzip(,|, )\d+ B`).ReplaceAllString(got, "gzip${1}N B")
		golden(t, c.file, got)
	}
}

func TestEmpty(t *testing.T) {
	for _, f := range Formats() {
		for _, l := range []string{"en", "zh", "fr"} {
			out := write(t, f, In{Lang: l})
			if f == "html" && (strings.Contains(out, `id="alerts"`) || !strings.Contains(out, "v3")) {
				t.Errorf("%s: an empty run is told as good news, or as alerts:\n%s", l, out)
			}
		}
	}
	ok := In{Stats: replay.Stats{Events: 5, Records: 5, FilesRead: 1}}
	if out := write(t, "html", ok); !strings.Contains(out, `class="verdict v0"`) || !strings.Contains(out, "No alerts in 5 events") {
		t.Error("a clean run is not told as one")
	}
	ok.Stats.FilesFailed = []replay.FailedFile{{Path: "x", Error: "y"}}
	if out := write(t, "html", ok); strings.Contains(out, `class="verdict v0"`) {
		t.Error("no alert in what was read, and not all was read: that is no all-clear")
	}
}

// Every phrase has its translation, and takes the same arguments in it.
func TestLanguages(t *testing.T) {
	used := map[string]bool{}
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(fset, f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch fun := call.Fun.(type) {
			case *ast.SelectorExpr:
				if x, ok := fun.X.(*ast.Ident); ok && (x.Name == "l" || x.Name == "out") {
					name = fun.Sel.Name
				}
			case *ast.Ident:
				name = fun.Name
			}
			if name != "t" && name != "n" && name != "add" {
				return true
			}
			args := call.Args
			if name == "add" && f == "html.go" {
				args = args[:min(len(args), 3)]
			}
			for _, a := range args {
				if lit, ok := a.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					used[s] = true
				}
			}
			return true
		})
	}
	for _, m := range regexp.MustCompile(`[{( ]t "((?:[^"])*)"`).FindAllStringSubmatch(sources().page, -1) {
		used[m[1]] = true
	}
	if len(used) < 100 {
		t.Fatalf("only %d phrases were found: the search is broken", len(used))
	}
	verb := regexp.MustCompile(`%(\[\d\])?0?\d?[sd]`)
	for s := range used {
		switch z, ok := zh[s]; {
		case !ok:
			t.Errorf("no Chinese for %q", s)
		case len(verb.FindAllString(s, -1)) != len(verb.FindAllString(z, -1)):
			t.Errorf("%q and %q take different arguments", s, z)
		}
	}
	for _, w := range append(alert.Severities(), "expands", "contracts", "changes", "equivalent", "unknown", "partly known", "not known") {
		used[w] = true
		if zh[w] == "" {
			t.Errorf("no Chinese for %q", w)
		}
	}
	for s := range zh {
		if !used[s] {
			t.Errorf("%q is translated and never said", s)
		}
	}
	// The page in Chinese has no English beyond what alerts and names say.
	in := sample()
	in.Lang = "zh"
	if out := write(t, "html", in); strings.Contains(out, "%!") || !strings.Contains(out, `lang="zh-CN"`) || !strings.Contains(out, "用户 ci 现可执行所有操作") {
		t.Error("the Chinese page is not what it should be")
	}
}

func TestDeterministic(t *testing.T) {
	in := many(raced.Size(600, 100), rand.New(rand.NewPCG(1, 2)))
	for _, f := range Formats() {
		want := write(t, f, in)
		for range 3 {
			other := in
			other.Stats.Seconds, other.Stats.PeakRSSBytes = rand.Float64(), rand.Int64() // how the run went
			if write(t, f, other) != want {
				t.Errorf("%s differs between two runs on the same input", f)
			}
		}
	}
}

// many makes n alerts of all kinds.
func many(n int, r *rand.Rand) In {
	in := sample()
	base := in.Alerts
	in.Alerts = make([]alert.Alert, n)
	hex := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return fmt.Sprintf("%x", b)
	}
	at := day("2026-08-01T00:00:00Z")
	for i := range in.Alerts {
		a := base[r.IntN(len(base))]
		at = at.Add(time.Duration(r.IntN(300)) * time.Second)
		a.ID, a.Time, a.LastAt, a.FirstAt = hex(16), at, at, at.Add(-time.Duration(r.IntN(100))*time.Second)
		a.Severity = alert.Severity(1 + r.IntN(5))
		a.Rule = "family.rule_" + strconv.Itoa(r.IntN(118))
		a.Actor.Name = "user-" + strconv.Itoa(r.IntN(400))
		a.SourceIP = fmt.Sprintf("203.0.%d.%d", r.IntN(20), r.IntN(256))
		a.EventIDs = nil
		for range 1 + r.IntN(5) {
			a.EventIDs = append(a.EventIDs, strings.ToUpper(hex(16)))
		}
		in.Alerts[i] = a
	}
	return in
}

// What is missing does not hide of whom that cannot be said, in either language.
func TestMissingHours(t *testing.T) {
	gaps := sample().Gaps
	for name, c := range map[string]struct {
		gaps   []Gap
		quiet  int
		sparse bool
		want   map[string]string
	}{
		"none":        {nil, 0, false, map[string]string{"en": "none: no whole hour", "zh": "无:首尾"}},
		"but nights":  {nil, 12, false, map[string]string{"en": "none that has events on other days", "zh": "没有其他日期"}},
		"nights, too": {gaps, 12, false, map[string]string{"en": "12 stretches without any event, in which other days", "zh": "12 段时间没有任何事件,其他日期"}},
		"not known":   {nil, 0, true, map[string]string{"en": "not known: of an account", "zh": "无法判断:"}},
		"listed":      {gaps, 0, false, map[string]string{"en": "2026-11-20 03:00:00Z", "zh": "2026-11-20 03:00:00Z"}},
		"and perhaps": {gaps, 0, true, map[string]string{"en": "those listed, and perhaps more", "zh": "可能还有更多"}},
	} {
		for lang, want := range c.want {
			in := sample()
			in.Lang, in.Gaps, in.Quiet, in.Sparse = lang, c.gaps, c.quiet, c.sparse
			for _, format := range []string{"html", "markdown"} {
				if out := write(t, format, in); !strings.Contains(out, want) || c.sparse != strings.Contains(out, map[string]string{"en": "too few hours have events", "zh": "小时数太少"}[lang]) {
					t.Errorf("%s: the %s in %s does not say %q", name, format, lang, want)
				}
			}
		}
	}
}

// Where a few events lie far from the others, as those of a bad clock do, it is not said
// that every hour between the first and the last has events.
func TestMissingHoursApart(t *testing.T) {
	for lang, want := range map[string]string{"en": "a few events lie far from the others", "zh": "少数事件距其他事件很远"} {
		in := sample()
		in.Lang, in.Gaps, in.Apart = lang, nil, true
		if out := write(t, "markdown", in); !strings.Contains(out, want) {
			t.Errorf("%s: the report does not say %q", lang, want)
		}
	}
}

// The page opens from mail, however much there was.
func TestSize(t *testing.T) {
	raced.Skip(t)
	for _, c := range []struct {
		name string
		in   In
	}{{"ordinary", many(50_000, rand.New(rand.NewPCG(3, 4)))}, {"hostile", hostileMany(6_000)}} {
		begun := time.Now()
		out := write(t, "html", c.in)
		t.Logf("%s: %d alerts in %d bytes, %v", c.name, len(c.in.Alerts), len(out), time.Since(begun).Round(time.Millisecond))
		if len(out) >= 5_000_000 {
			t.Errorf("%s: %d bytes", c.name, len(out))
		}
		if !strings.Contains(out, "of "+num(int64(len(c.in.Alerts)))+" alerts are told in full") || !strings.Contains(out, "replay -o jsonl") {
			t.Errorf("%s: it is not said that something was left out", c.name)
		}
		if md := write(t, "markdown", c.in); len(md) > 1_000_000 {
			t.Errorf("%s: the short form has %d bytes", c.name, len(md))
		}
	}
}

// Nothing gets lost between the parts: every alert is told, in a row, folded,
// or counted as left out.
func TestEveryAlertIsSomewhere(t *testing.T) {
	raced.Skip(t)
	for _, n := range []int{1, 299, 300, 301, 4_300, 4_301, 9_000} {
		out := write(t, "html", many(n, rand.New(rand.NewPCG(5, uint64(n)))))
		full := strings.Count(out, `<details class="alert`)
		rows := strings.Count(out, "<tr data-s=")
		said := func(pattern string) int {
			m := regexp.MustCompile(pattern).FindStringSubmatch(out)
			if m == nil {
				return 0
			}
			k, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		each, folded, left := said(`([\d,]+) further alerts, one row each`), said(`([\d,]+) further alerts, folded`), said(`([\d,]+) alerts are in no table`)
		if full+each+folded+left != n {
			t.Errorf("%d alerts: %d in full, %d rows, %d folded, %d left out", n, full, each, folded, left)
		}
		if rows < each || full == 0 {
			t.Errorf("%d alerts: %d rows for %d", n, rows, each)
		}
	}
}

// unpack returns what the page's link to the raw alerts holds.
func unpack(t *testing.T, in In) []byte {
	t.Helper()
	m := zipped.FindString(write(t, "html", in))
	m = html.UnescapeString(strings.TrimSuffix(strings.TrimPrefix(m, "data:application/gzip;base64,"), `"`))
	b, err := base64.StdEncoding.DecodeString(m)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The link holds the alerts as jsonl writes them.
func TestRaw(t *testing.T) {
	in := sample()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	for i := range in.Alerts {
		if err := enc.Encode(&in.Alerts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want.String(), string(unpack(t, in))); diff != "" {
		t.Error(diff)
	}
}

// Of many alerts it holds the first.
func TestRawIsBounded(t *testing.T) {
	raced.Skip(t)
	big := unpack(t, many(15_000, rand.New(rand.NewPCG(7, 8))))
	if n := bytes.Count(big, []byte("\n")); n < 3_000 || n >= 15_000 {
		t.Errorf("%d of 15,000 raw alerts are in the page", n)
	}
}

// --- hostile text ---

var hostile = []string{
	`<img src=x onerror=alert(1)>`, `"><script>alert(1)</script>`, `' onmouseover='alert(1)`, `</style><script>alert(1)</script>`, `</title></svg><script>alert(1)</script>`,
	`{{.}} {{template "alert" .}}`, `javascript:alert(1)`, `=HYPERLINK("http://evil.example","x")`, `@SUM(1)`, "\t=1+1", "a\r\nb,c\n\"d", "-2+3", "＝1",
	"alice\u202egnp.exe", "zero\u200bwidth\ufeff", "\x1b[31mred\x1b[0m\x07", "\x00\x01\x7f\u0085", "family 👩‍👩‍👧 ❤️", "e" + strings.Repeat("\u0301", 500),
	strings.Repeat("A", 10_000), strings.Repeat("長", 10_000), strings.Repeat("<", 10_000), "\xff\xfe broken \xc3", "| a | b |", "`code`", "```\nfence", "[link](http://evil.example)", "![i](http://evil.example/x.png)",
	"@channel http://evil.example www.evil.example", "*bold* _it_ ~~s~~ # h", "<!-- c -->", "&lt;b&gt; &amp;", "]]>", "%s %d %!", "\u2028line\u2029sep", "مرحبا", "\U000e0041tag", "", ":", ".", "Ram:",
}

func hostileIn(s string) In {
	in := sample()
	in.Scope.Entity, in.Scope.Sources = s, []string{s}
	in.Tool, in.RuleSet = s, s
	in.Rules = append(in.Rules, Rule{ID: s, Title: s, NotRun: Reason(s)})
	in.Files = append(in.Files, File{s, 1, s})
	in.Gaps = append(in.Gaps, Gap{Account: s, Region: s, From: in.Scope.From, To: in.Scope.From})
	in.Stats.FilesFailed = append(in.Stats.FilesFailed, replay.FailedFile{Path: s, Error: s})
	in.Stats.ByRule = map[string]int64{s: 1}
	in.Stats.ByReason = map[event.Reason]int64{event.Reason(s): 1}
	in.Alerts = append(in.Alerts, alert.Alert{
		Schema: alert.Schema, ID: s, Rule: s, Title: s, Reason: s, Severity: alert.Critical, Outcome: s, Time: day("2026-11-25T03:00:00Z"), FirstAt: day("2026-11-25T02:00:00Z"), LastAt: day("2026-11-25T03:00:00Z"), Count: 2,
		AccountID: s, Actor: alert.Actor{Type: s, ID: s, Name: s, AccessKeyID: s, Role: s, Session: s}, SourceIP: s, Target: &alert.Target{Type: s, ID: s, Name: s}, Attack: []string{s}, EventIDs: []string{s},
		Details: map[string]any{s: s, "event": s, "region": s, "user_agent": s, "list": []any{s, map[string]any{s: s}}, "baseline": map[string]any{"new": s, "novelty": s, "usual": []any{map[string]any{"network": s, "last_seen": s, "asn": s}}},
			"policy": map[string]any{"verdict": s, "before": s, "summary": s, "notes": []any{s}, "findings": []any{map[string]any{"severity": s, "sentence": s, "actions": []any{s}, "conditions": []any{s}, "witness": map[string]any{"action": s, "resource": s, "principal": s, "context": map[string]any{s: s}}}}}},
		Runbook: alert.Runbook{EN: s + "\n  " + s, ZH: s},
	})
	return in
}

func hostileMany(n int) In {
	in := sample()
	in.Alerts = nil
	for i := range n {
		a := hostileIn(hostile[i%len(hostile)]).Alerts[3]
		a.Time = a.Time.Add(time.Duration(i) * time.Second)
		a.Actor.Name = strings.Repeat("<", 200) + strconv.Itoa(i)
		a.Actor.Role = ""
		a.SourceIP = strings.Repeat("&", 200) + strconv.Itoa(i)
		in.Alerts = append(in.Alerts, a)
	}
	return in
}

var (
	anyTag  = regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:[^>"]|"[^"]*")*)>`)
	anyAttr = regexp.MustCompile(`([a-zA-Z-]+)(?:="([^"]*)")?`)
)

// wellBehaved checks that a page has nothing in it but our own elements and
// attributes, loads nothing, and shows nothing that cannot be seen.
func wellBehaved(t *testing.T, page string) {
	t.Helper()
	style, script := "<style>"+sources().style+"</style>", "<script>"+sources().script+"</script>"
	if strings.Count(page, style) != 1 || strings.Count(page, script) != 1 {
		t.Fatal("style or script is not there once, as written: the policy would refuse it")
	}
	page = strings.Replace(strings.Replace(page, style, "", 1), script, "", 1)
	if strings.Contains(strings.ToLower(page), "<script") || strings.Contains(strings.ToLower(page), "<style") {
		t.Error("there is another script or style")
	}
	if !utf8.ValidString(page) {
		t.Error("the page is not UTF-8")
	}
	for _, r := range html.UnescapeString(page) {
		if r != '\n' && string(r) != leftMark && text.Hidden(r) {
			t.Errorf("an invisible character %U is in the page", r)
			break
		}
	}
	elements := " html head meta title link body h1 p small nav a main section h2 h3 ul li dl dt dd div table thead tbody tr th td figure figcaption span i svg g rect label input select option details summary time b pre header footer "
	attrs := " lang charset name content http-equiv rel href data-copy data-copied class id role aria-label aria-hidden viewBox preserveAspectRatio x y width height hidden type placeholder value checked data-t data-s data-v open datetime download tabindex "
	rest := anyTag.ReplaceAllStringFunc(page, func(tag string) string {
		m := anyTag.FindStringSubmatch(tag)
		if !strings.Contains(elements, " "+strings.ToLower(m[2])+" ") {
			t.Errorf("an element of somebody else: %.200s", tag)
		}
		for _, a := range anyAttr.FindAllStringSubmatch(m[3], -1) {
			if !strings.Contains(attrs, " "+a[1]+" ") {
				t.Errorf("an attribute of somebody else: %s in %.200s", a[1], tag)
			}
			if a[1] == "href" && !strings.HasPrefix(a[2], "#") && !strings.HasPrefix(a[2], "data:application/gzip;base64,") && a[2] != "data:," {
				t.Errorf("a link to elsewhere: %.200s", tag)
			}
		}
		return ""
	})
	if i := strings.IndexAny(strings.Replace(rest, "<!doctype html>", "", 1), "<>"); i >= 0 {
		t.Errorf("a loose bracket: %.100q", rest[max(0, i-40):])
	}
}

func TestHostileHTML(t *testing.T) {
	langs := []string{"en", "zh"}
	for _, s := range hostile {
		for _, l := range langs[:raced.Size(len(langs), 1)] {
			in := hostileIn(s)
			in.Lang = l
			page := write(t, "html", in)
			wellBehaved(t, page)
			if len(page) > 500_000 {
				t.Errorf("%.40q makes a page of %d bytes", s, len(page))
			}
		}
	}
	// What is hidden is told.
	page := write(t, "html", hostileIn("alice\u202egnp.exe"))
	if !strings.Contains(html.UnescapeString(page), "alice‹U+202E›gnp.exe") {
		t.Error("the direction override is not shown")
	}
}

func TestHostileMarkdown(t *testing.T) {
	for _, s := range hostile {
		out := write(t, "markdown", hostileIn(s))
		if len(out) > 300_000 {
			t.Errorf("%.40q makes %d bytes", s, len(out))
		}
		fence, code := false, regexp.MustCompile("`[^`\n]*`")
		for _, line := range strings.Split(out, "\n") {
			if strings.HasPrefix(line, "```") {
				fence = !fence
				continue
			}
			if fence {
				continue
			}
			line = code.ReplaceAllString(strings.ReplaceAll(line, "\\`", ""), "")
			line = strings.TrimLeft(line, "> ")
			for _, bad := range []string{"<", "http://", " www.", "@", "](", "`"} {
				if strings.Contains(line, bad) {
					t.Errorf("%.40q: %q is live in %.200q", s, bad, line)
				}
			}
		}
		if fence {
			t.Errorf("%.40q: a fence is left open", s)
		}
		for _, r := range out {
			if r != '\n' && string(r) != leftMark && text.Hidden(r) {
				t.Errorf("%.40q: an invisible character %U", s, r)
				break
			}
		}
	}
}

func TestHostileCSV(t *testing.T) {
	for _, s := range hostile {
		rows, err := csv.NewReader(strings.NewReader(write(t, "csv", hostileIn(s)))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 5 {
			t.Errorf("%.40q: %d rows", s, len(rows))
		}
		for _, row := range rows {
			for _, c := range row {
				if c != "" && strings.ContainsRune("=+-@|%＝＋－＠\t\r", []rune(c)[0]) || strings.ContainsAny(c, "\n\r") {
					t.Errorf("%.40q: cell %.60q", s, c)
				}
			}
		}
	}
}

// --- formats for machines ---

func ocsfSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join("testdata", "ocsf-2004.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, out string, want int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	for _, line := range lines {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Fatalf("%v\nin %.2000s", err, line)
		}
	}
}

func TestOCSFSchema(t *testing.T) {
	s := ocsfSchema(t)
	valid(t, s, write(t, "ocsf", sample()), 3)
	for _, h := range hostile {
		valid(t, s, write(t, "ocsf", hostileIn(h)), 4)
	}
	valid(t, s, write(t, "ocsf", In{Alerts: []alert.Alert{{ID: "bare", EventIDs: []string{}}, {ID: "key", Actor: alert.Actor{AccessKeyID: "LTAI5tEXAMPLEbob0000001"}}, {ID: "agent", Details: map[string]any{"user_agent": "x"}}}}), 3)
	// The schema is no formality.
	for from, to := range map[string]string{`"class_uid":2004`: `"class_uid":2005`, `"severity_id":4`: `"severity_id":9`, `"uid":"a1"`: `"id":"a1"`, `"provider":`: `"vendor":`, `"type_id":1,"uid":"signin.spray"`: `"uid":"signin.spray"`} {
		line, _, _ := strings.Cut(write(t, "ocsf", sample()), "\n")
		broken := strings.Replace(line, from, to, 1)
		if broken == line {
			t.Fatalf("%s is not in %s", from, line)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(broken))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("the schema takes %s", to)
		}
	}
}

func TestTimesketch(t *testing.T) {
	out := write(t, "timesketch", sample())
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 4 { // the first alert has two times
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		var m struct {
			Message, Datetime string
			Timestamp         int64
			Desc              string `json:"timestamp_desc"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, m.Datetime)
		if err != nil || at.UnixMicro() != m.Timestamp || m.Message == "" || m.Desc == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, h := range hostile {
		for line := range strings.Lines(write(t, "timesketch", hostileIn(h))) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%.40q: %.100q", h, line)
			}
		}
	}
}

// --- small parts ---

func TestInert(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain", 10, "plain"}, {"plain", 3, "pla…"}, {"", 5, ""}, {"a\nb\tc", 10, "a b c"}, {"a\u202eb", 20, "a‹U+202E›b"}, {"\x1b[0m", 20, "‹U+001B›[0m"},
		{"\xff", 5, "\ufffd"}, {"長長長", 2, "長長…"}, {"e\u0301\u0301\u0301\u0301\u0301\u0301", 20, "e\u0301\u0301\u0301\u0301"}, {"\U000e0041", 20, "‹U+E0041›"}, {"مر", 20, "\u200eمر\u200e"}, {"a\u200eb", 20, "a‹U+200E›b"},
	} {
		if got := inert(c.in, c.max); got != c.want {
			t.Errorf("inert(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
	if got := inertBlock("a\r\nb", 10); got != "a\nb" {
		t.Errorf("%q", got)
	}
}

func TestBlocks(t *testing.T) {
	got := blocks("Do this.\nAnd this:\n  cmd one\n  cmd two\n\nThen that.\n")
	want := []block{{false, "Do this. And this:"}, {true, "cmd one\ncmd two"}, {false, "Then that."}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestNum(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := num(n); got != want {
			t.Errorf("num(%d) = %s", n, got)
		}
	}
}

// The histogram counts every alert once, whatever the times.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for _, spread := range []int64{0, 1, 59, 3600, 86_400, 86_400 * 40, 86_400 * 3000, 200 * 365 * 86_400} {
		in := In{}
		start := r.Int64N(4_000_000_000) - 2_000_000_000
		for range 50 {
			at := time.Unix(start+r.Int64N(spread+1), 0).UTC()
			in.Alerts = append(in.Alerts, alert.Alert{Time: at, FirstAt: at, Severity: alert.Severity(1 + r.IntN(5))})
		}
		h := newHistogram(english, &in)
		total := 0
		for _, c := range h.Columns {
			for _, m := range regexp.MustCompile(`: (.*)$`).FindStringSubmatch(c.Tip)[1:] {
				for _, part := range strings.Split(m, ", ") {
					n, err := strconv.Atoi(strings.Fields(part)[0])
					if err != nil {
						t.Fatal(err)
					}
					total += n
				}
			}
		}
		if total != 50 {
			t.Errorf("spread %d: %d of 50 alerts are in the bars", spread, total)
		}
		if n := h.Width / barWidth; n > maxBars+2 {
			t.Errorf("spread %d: %d bars", spread, n)
		}
	}
}

func TestScriptIsSmall(t *testing.T) {
	if len(sources().script) > 2048 {
		t.Errorf("%d bytes of script", len(sources().script))
	}
	if regexp.MustCompile(`(?i)https?:|//[a-z]|fetch|XMLHttp|import|eval|innerHTML`).MatchString(sources().script) {
		t.Error("the script does more than it should")
	}
	if regexp.MustCompile(`(?i)url\(|@import|https?:`).MatchString(sources().style) {
		t.Error("the style loads something")
	}
}

func FuzzReport(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	schema := ocsfSchema(f)
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 500 {
			return // long ones are slow, and have their own tests
		}
		in := hostileIn(s)
		in.Alerts = in.Alerts[3:]
		wellBehaved(t, write(t, "html", in))
		write(t, "markdown", in)
		valid(t, schema, write(t, "ocsf", in), 1)
		if c := text.CSV(s); strings.ContainsFunc(c, func(r rune) bool { return unicode.IsControl(r) }) {
			t.Errorf("cell %q", c)
		}
		if n := utf8.RuneCountInString(inert(s, 20)); n > 20*(maxMarks+1)+12 {
			t.Errorf("%d runes", n)
		}
	})
}

func BenchmarkHTML(b *testing.B) {
	in := many(50_000, rand.New(rand.NewPCG(1, 1)))
	for b.Loop() {
		if err := HTML(io.Discard, in); err != nil {
			b.Fatal(err)
		}
	}
}
