package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateReports = flag.Bool("update-reports", false, "write the golden reports anew")

// stable takes out of a report what changes with every rule and every build:
// versions, the hash and the number of the rules, what the compressor makes,
// and the page's own style and script, which other tests read.
var stable = []struct {
	of *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`(?s)<style>.*?</style>`), "<style></style>"},
	{regexp.MustCompile(`(?s)<script>.*?</script>`), "<script></script>"},
	{regexp.MustCompile(`sha256-[A-Za-z0-9+/=&#;]+`), "sha256-HASH"},
	{regexp.MustCompile(`data:application/gzip;base64,[A-Za-z0-9+/=&#;]+`), "data:application/gzip;base64,PACKED"},
	{regexp.MustCompile(`gzip(,|, |，)[0-9,.]+ k?B`), "gzip${1}N B"},
	{regexp.MustCompile(`trailwarden [^<\n ]+(</dd>|\n- (Rule set|规则集))`), "trailwarden VERSION$1"},
	{regexp.MustCompile(`("version":")[^"]*("},"profiles")`), "${1}VERSION$2"},
	{regexp.MustCompile(`20\d\d\.\d\d\+[0-9a-f]+`), "PACK"},
	{regexp.MustCompile(`\b[0-9a-f]{16}(, |、)\d+ (rules|条规则)`), "RULES${1}N $2"},
	{regexp.MustCompile(`\d+ rules ran and matched nothing`), "N rules ran and matched nothing"},
	{regexp.MustCompile(`\d+ 条规则已运行`), "N 条规则已运行"},
}

// TestGoldenReports: one scenario in every form, from its events to the file.
// A change of the words, the columns or the order of a report shows here.
func TestGoldenReports(t *testing.T) {
	scenario := filepath.ToSlash(filepath.Join("..", "..", "..", "testdata", "scenarios", "backdoor-admin"))
	for name, args := range map[string]string{
		"en.html": "-o html", "zh.html": "-o html --lang zh", "entity.html": "-o html --entity sync-job", "en.md": "-o markdown", "zh.md": "-o markdown --lang zh", "entity.md": "-o markdown --entity sync-job",
		"alerts.csv": "-o csv", "alerts.jsonl": "-o jsonl", "ocsf.jsonl": "-o ocsf", "timesketch.jsonl": "-o timesketch", "table.txt": "-o table",
	} {
		t.Run(name, func(t *testing.T) {
			var out, err bytes.Buffer
			if code := Main(append([]string{"replay", "-q", scenario}, strings.Fields(args)...), strings.NewReader(""), &out, &err, nil); code != 0 {
				t.Fatalf("exit %d: %s", code, err.String())
			}
			got := out.String()
			for _, s := range stable {
				got = s.of.ReplaceAllString(got, s.to)
			}
			path := filepath.Join("testdata", "reports", name)
			if *updateReports {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(path)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s differs (run with -update-reports when that is meant):\n%s", name, diff)
			}
		})
	}
}
