package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/demo"
)

// The demo ends with a report that a replay makes of the same events, whatever the
// folder's own configuration says.
func TestDemoReport(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("trailwarden.yaml", []byte("nonsense: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var records strings.Builder
	for _, act := range demo.Write(time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)).Acts {
		for _, r := range act.Records {
			records.Write(r.JSON)
			records.WriteByte('\n')
		}
	}
	dir := t.TempDir()
	path, err := demoReport(t.Context(), dir, strings.NewReader(records.String()))
	if err != nil || path != filepath.Join(dir, "report.html") {
		t.Fatal(path, err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"trailwarden replay report", "The audit trail prod-audit was switched off", "ci-deployer"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the report is left: %v %v", left, err)
	}
	if _, err := demoReport(t.Context(), filepath.Join(dir, "report.html"), strings.NewReader("")); err == nil {
		t.Error("no folder, and no error")
	}
}
