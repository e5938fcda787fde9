package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/pipeline/leaktest"
)

// The program "raced" is trailwarden in a process of its own: the test binary
// under another name, so that the race detector watches it.
func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){
		"raced":    func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())) },
		"loopback": loopbackOnly,
	})
}

// cleaned removes the built program when the tests have ended, and wants every
// goroutine to have ended too.
type cleaned struct{ m *testing.M }

func (c cleaned) Run() int {
	defer func() {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
	}()
	return leaktest.Run(c.m)
}

// patience bounds every wait; nothing normal comes near it.
const patience = 180 * time.Second

// every polls cond until it holds or patience ends.
func every(d time.Duration, cond func() bool) bool {
	end := time.Now().Add(patience)
	tick := time.NewTicker(d)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}

func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shipped are the ids of the rules that are shipped.
var shipped = sync.OnceValues(func() (map[string]bool, error) {
	set, err := app.Rules{Pack: true}.Load()
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, r := range set.List() {
		ids[r.ID] = true
	}
	return ids, nil
})

func TestScripts(t *testing.T) {
	repo, bin := root(t), filepath.Dir(realBinary(t))
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "scripts"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// "trailwarden" is the program as released, which starts ten times
			// as fast; "raced" is the same under the race detector.
			for i, v := range e.Vars {
				if path, ok := strings.CutPrefix(v, "PATH="); ok {
					e.Vars[i] = "PATH=" + bin + string(filepath.ListSeparator) + path
				}
			}
			e.Vars = append(e.Vars, "REPO="+repo, "SCENARIOS="+filepath.Join(repo, "testdata", "scenarios"), "TZ=UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    cmdExits,
			"waitfor":  cmdWaitfor,
			"value":    cmdValue,
			"match":    cmdMatch,
			"endpoint": cmdEndpoint,
			"keys":     cmdKeys,
			"count":    cmdCount,
			"pieces":   cmdPieces,
			"pack":     cmdPack,
			"bytes":    cmdBytes,
		},
	})
}

// exits CODE program args… runs a program that must end with the code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		code = ee.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// waitfor FILE REGEXP [N] waits until the file has N matches (default 1).
// waitfor -run REGEXP program args… waits until the program prints a match.
func cmdWaitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor FILE REGEXP [N] | waitfor -run REGEXP program [args...]")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var last string
	cond := func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		n := 1
		if len(args) > 2 {
			if n, err = strconv.Atoi(args[2]); err != nil {
				return false
			}
		}
		last = string(b)
		return len(re.FindAllIndex(b, -1)) >= n
	}
	if args[0] == "-run" {
		cond = func() bool {
			// Its exit code says less than what it prints.
			_ = ts.Exec(args[2], args[3:]...)
			last = ts.ReadFile("stdout") + ts.ReadFile("stderr")
			return re.MatchString(last)
		}
	}
	if !every(100*time.Millisecond, cond) {
		ts.Fatalf("no match of %s within %s in:\n%s", args[1], patience, last)
	}
}

// endpoint NAME FILE sets a variable to the first address of a fake cloud in
// the file.
func cmdEndpoint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: endpoint NAME FILE")
	}
	found := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`).FindString(ts.ReadFile(args[1]))
	if found == "" {
		ts.Fatalf("%s names no address", args[1])
	}
	ts.Setenv(args[0], found)
}

// value NAME FILE path sets a variable to a value of a JSON file.
func cmdValue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: value NAME FILE dotted.path")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
	for _, part := range strings.Split(args[2], ".") {
		switch x := v.(type) {
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: nothing at %q", args[2], part)
			}
			v = x[i]
		case map[string]any:
			v = x[part]
		default:
			ts.Fatalf("%s: nothing at %q", args[2], part)
		}
	}
	if v == nil {
		ts.Fatalf("%s is not there", args[2])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// match NAME FILE REGEXP sets a variable to the first group of the first match.
func cmdMatch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: match NAME FILE REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile(args[1]))
	if len(m) < 2 {
		ts.Fatalf("no match of %s", args[2])
	}
	ts.Setenv(args[0], m[1])
}

// keys FILE name=kind… says that the JSON object has these keys and no
// others; a name with a "?" may be absent. Kinds: s n a o z (text, number,
// list, mapping, anything).
func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keys FILE name=kind...")
	}
	var obj map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &obj))
	for _, a := range args[1:] {
		name, kind, _ := strings.Cut(a, "=")
		name, optional := strings.CutSuffix(name, "?")
		v, there := obj[name]
		delete(obj, name)
		if !there {
			if !optional {
				ts.Fatalf("%s is missing", name)
			}
			continue
		}
		got := "z"
		switch v.(type) {
		case string:
			got = "s"
		case float64:
			got = "n"
		case []any:
			got = "a"
		case map[string]any:
			got = "o"
		}
		if kind != "z" && kind != got {
			ts.Fatalf("%s is %s (%v), want %s", name, got, v, kind)
		}
	}
	for k := range obj {
		ts.Fatalf("unexpected key %s", k)
	}
}

// count N REGEXP FILE says that the file has exactly N matches.
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: count N REGEXP FILE")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	if got := len(re.FindAllString(ts.ReadFile(args[2]), -1)); got != n {
		ts.Fatalf("%d matches of %s, want %d", got, args[1], n)
	}
}

// pieces SOURCE N DIR cuts the lines of a file (which may be .gz) into N
// files, the odd ones packed.
func cmdPieces(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pieces SOURCE N DIR")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	lines := bytes.SplitAfter(plainBytes(ts, args[0]), []byte("\n"))
	ts.Check(os.MkdirAll(ts.MkAbs(args[2]), 0o755))
	per := (len(lines) + n - 1) / n
	for i := range n {
		part := bytes.Join(lines[min(i*per, len(lines)):min((i+1)*per, len(lines))], nil)
		name := filepath.Join(ts.MkAbs(args[2]), fmt.Sprintf("part-%02d.jsonl", i))
		if i%2 == 1 {
			name, part = name+".gz", packed(ts, part)
		}
		ts.Check(os.WriteFile(name, part, 0o644))
	}
}

// pack SOURCE TARGET compresses with gzip; a number before cuts the result
// short by so many bytes.
func cmdPack(ts *testscript.TestScript, neg bool, args []string) {
	short := 0
	if len(args) == 3 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		short, args = n, args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack [CUT] SOURCE TARGET")
	}
	b := packed(ts, plainBytes(ts, args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:len(b)-short], 0o644))
}

// bytes FILE allows only printable text: no control character but the line
// end, nothing that turns the writing direction, no invalid UTF-8.
func cmdBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bytes FILE")
	}
	s := ts.ReadFile(args[0])
	if !utf8.ValidString(s) {
		ts.Fatalf("%s is not UTF-8", args[0])
	}
	for i, r := range s {
		switch {
		case r == '\n':
		case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
			ts.Fatalf("%U at byte %d of %s", r, i, args[0])
		}
	}
}

func plainBytes(ts *testscript.TestScript, path string) []byte {
	b, err := os.ReadFile(ts.MkAbs(path))
	ts.Check(err)
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		ts.Check(err)
		b, err = io.ReadAll(z)
		ts.Check(err)
	}
	return b
}

func packed(ts *testscript.TestScript, b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	ts.Check(errors.Join(err, z.Close()))
	return out.Bytes()
}

// Each command of the program has a script that runs it, so that none is
// added without a test.
func TestEveryCommandHasAScript(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "scripts", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	var missing []string
	for _, c := range leaves(newRoot(&env{out: io.Discard, err: io.Discard, in: strings.NewReader("")})) {
		if !regexp.MustCompile(`(?m)^[^#]*\b` + regexp.QuoteMeta(c) + `\b`).MatchString(all.String()) {
			missing = append(missing, c)
		}
	}
	sort.Strings(missing)
	if missing = slices.Compact(missing); len(missing) > 0 {
		t.Errorf("no script runs: %s", strings.Join(missing, ", "))
	}
}

// What people and their scripts rely on is there, by the name they know: the
// commands of the design's contracts.
func TestCommandsOfTheContract(t *testing.T) {
	have := leaves(newRoot(&env{out: io.Discard, err: io.Discard, in: strings.NewReader("")}))
	for _, c := range []string{"demo", "run", "fakecloud", "replay", "baseline build|show|diff",
		"rules list|show|new|lint|test|fields|diff|backtest|coverage|export", "policy diff|explain",
		"alerts ls|show|ack|close|mute", "action ls|show|approve|deny|undo", "parked ls|redrive", "entity show",
		"doctor", "init", "status", "tap", "top", "check", "audit verify|export", "notify test", "config show|schema|validate", "version"} {
		name, verbs, _ := strings.Cut(c, " ")
		for v := range strings.SplitSeq(verbs, "|") {
			if want := strings.TrimSpace("trailwarden " + name + " " + v); !slices.Contains(have, want) {
				t.Errorf("there is no %q", want)
			}
		}
	}
}

// leaves lists the commands that do something, as people write them.
func leaves(c *cobra.Command) []string {
	if !c.HasSubCommands() {
		return []string{c.CommandPath()}
	}
	var out []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() && s.Name() != "help" {
			out = append(out, leaves(s)...)
		}
	}
	return out
}
