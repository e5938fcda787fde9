package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManAndCompletions(t *testing.T) {
	dir := t.TempDir()
	if err := run(filepath.Join(dir, "ref"), filepath.Join(dir, "man"), filepath.Join(dir, "comp")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"man/trailwarden-doctor.1": "explain CODE", "ref/config.md": "`detect.grace`", "ref/metrics.md": "`trailwarden_ready`", "man/trailwarden.1": "trailwarden demo", "comp/trailwarden.bash": "__start_trailwarden", "comp/_trailwarden": "#compdef trailwarden", "comp/trailwarden.fish": "complete -c trailwarden"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
