package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/rules"
)

// Every part of every condition of the shipped rules is tested: leaving it out
// breaks a test. Parts that can have no effect of their own are listed in
// rules/testdata/no_effect.txt, each with the reason. The list is exact: nothing
// else is untested, and nothing is listed that is tested or gone. `trailwarden
// rules mutate --suggest` looks for the tests that are missing.
func TestEveryConditionIsTested(t *testing.T) {
	raced.Skip(t)
	path := filepath.Join(root(t), "rules", "testdata", "no_effect.txt")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 || f[2] == "" || listed[f[0]+"\t"+f[1]] {
			t.Fatalf("%s:%d: want rule, part and reason, each once", path, i+1)
		}
		listed[f[0]+"\t"+f[1]] = true
	}
	mutants := rules.Mutate(t.Context(), packWith(t, nil))
	for _, m := range mutants {
		key := m.Rule + "\t" + m.Part
		switch {
		case m.Killed:
		case listed[key]:
			delete(listed, key)
		default:
			t.Errorf("%s:%d:%d: no test notices without %s", m.File, m.Line, m.Column, m.Part)
		}
	}
	for key := range listed {
		t.Errorf("%s lists %q, which a test kills or which is gone", path, key)
	}
	if len(mutants) < 500 {
		t.Errorf("only %d parts were left out, one by one", len(mutants))
	}
}
