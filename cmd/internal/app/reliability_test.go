package app

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/responders/chattest"
)

// The RELIABILITY section names tests that exist.
func TestReliabilityNamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## RELIABILITY\n")
	if !ok {
		t.Fatal("DESIGN.md has no RELIABILITY section")
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:Test|Benchmark)[A-Za-z0-9]+)`").FindAllStringSubmatch(section, -1) {
		named[m[1]] = true
	}
	if len(named) < 80 {
		t.Errorf("only %d tests are named", len(named))
	}
	fn := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)[A-Za-z0-9]+)\(`)
	err = filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range fn.FindAllStringSubmatch(string(b), -1) {
			delete(named, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range named {
		t.Errorf("DESIGN.md names %s, which does not exist", name)
	}
	// Every row of the table says something.
	for _, line := range strings.Split(section, "\n") {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "|") && (len(cells) != 4 || strings.TrimSpace(cells[2]) == "") {
			t.Errorf("row without a test or a reason: %s", line)
		}
	}
}

// Somebody deletes the consumer group: people are told, like of every alert, and
// reading goes on.
func TestReportsReachPeople(t *testing.T) {
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	a := runApp(t, ctx, cloud.Config, nil)
	until := func(what string, cond func() bool) {
		t.Helper()
		for !cond() {
			select {
			case <-ctx.Done():
				t.Fatalf("never: %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	until("it reads", func() bool { return cloud.SLS.HasGroup("trailwarden") && !a.sources[0].Stats().LastPull.IsZero() })
	cloud.SLS.DeleteGroup("trailwarden")
	until("the group is there again", func() bool { return cloud.SLS.HasGroup("trailwarden") })
	until("people are told", func() bool {
		for _, m := range cloud.Chat.Messages(chattest.DefaultChannel) {
			if strings.Contains(m.Text, "consumer group") {
				return true
			}
		}
		return false
	})
	alerts, err := a.Alerts(ctx, 10)
	if err != nil || len(alerts) != 1 || alerts[0].Rule != pipeline.RuleTampered || alerts[0].Runbook.EN == "" {
		t.Errorf("%+v, %v", alerts, err)
	}
}

// What waits for records that are being read, as after every start, is no problem.
func TestWaitingBooksAreNoProblem(t *testing.T) {
	for _, c := range []struct {
		books pipeline.Reconciliation
		want  string
	}{
		{pipeline.Reconciliation{Source: "sls/a/b"}, ""},
		{pipeline.Reconciliation{Source: "sls/a/b", Error: "records are still being read", Waits: true}, ""},
		{pipeline.Reconciliation{Source: "sls/a/b", Error: "no index"}, "sls/a/b: counts cannot be compared: no index"},
		{pipeline.Reconciliation{Source: "sls/a/b", Deficit: 3}, "sls/a/b holds 3 more logs between "},
	} {
		if got := booksProblem(c.books); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.books, got, c.want)
		}
	}
}
