package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// What the shell is offered.
func TestCompletions(t *testing.T) {
	offer := func(args ...string) []string {
		var out, errw bytes.Buffer
		Main(append([]string{"__complete"}, args...), strings.NewReader(""), &out, &errw, []string{})
		var words []string
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			words = append(words, word)
		}
		return words
	}
	for line, want := range map[string][]string{
		"status -o |":      {"table", "json", ":4"},
		"check --format |": {"text", "json", "nagios", "prometheus", ":4"},
		"version |":        {":4"},
		"alerts show |":    {":4"}, // nobody runs
	} {
		if d := cmp.Diff(want, offer(strings.Split(strings.ReplaceAll(line, "|", ""), " ")...)); d != "" {
			t.Errorf("%s (-want +got):\n%s", line, d)
		}
	}
	for _, args := range [][]string{{"rules", "show", "ak.cre"}, {"rules", "test", "ak.created", "ak.cre"}} {
		if got := offer(args...); !slices.Contains(got, "ak.created_for_other") {
			t.Errorf("%v: %v", args, got)
		}
	}
	if got := offer("rules", "explain", "ak.created", ""); !slices.Equal(got, []string{":0"}) {
		t.Errorf("a file is wanted: %v", got)
	}
	if got := offer("rules", "show", "--no-pack", ""); slices.Contains(got, "ak.created") {
		t.Errorf("without the pack: %v", got)
	}
}

type alerting struct{ admin.Backend }

func (alerting) Alerts(context.Context, int) ([]alert.Alert, error) {
	return []alert.Alert{{ID: "a1b2c3", Severity: alert.High, Title: "A key was made"}}, nil
}

// The program answers over its socket wherever it stores.
func TestCompletionsOfAClusterProgram(t *testing.T) {
	state := listen(t, alerting{})
	conf := filepath.Join(t.TempDir(), "trailwarden.yaml")
	if err := os.WriteFile(conf, []byte("state_dir: "+state+"\nnats:\n  url: nats://127.0.0.1:4222\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errw bytes.Buffer
	Main([]string{"__complete", "alerts", "show", "--config", conf, ""}, strings.NewReader(""), &out, &errw, []string{})
	if !strings.Contains(out.String(), "A key was made") {
		t.Errorf("%s%s", &out, &errw)
	}
}

func TestWhatIsNotWanted(t *testing.T) {
	for line, want := range map[string]string{
		"version z":           `version takes flags and no argument, and was given "z"`,
		"upgrade chekc":       `unknown command "chekc" for "trailwarden upgrade"; did you mean "check"?`,
		"ruls":                `did you mean "rules"?`,
		"upgrade pack a b":    "upgrade pack wants one folder",
		"restore a --from b":  "two archives: a and --from b",
		"restore":             "trailwarden restore FILE",
		"version \x1b[31mred": "[31mred",
	} {
		var out bytes.Buffer
		code := Main(strings.Split(line, " "), strings.NewReader(""), &out, &out, []string{})
		if code != exitUsage || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: %d %q, want %q", line, code, out.String(), want)
		}
	}
}
