package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/rules"
)

// Every part of every condition of the shipped rules is tested: leaving it out
// breaks a test. Parts that can have no effect of their own are listed in
// rules/testdata/no_effect.txt, each with the reason. With TRAILWARDEN_LONG
// (make mutants) the list is exact: nothing else is untested, and nothing is
// listed that is tested or gone. Otherwise nine parts of ten must be tested,
// so that a rule being written does not stop everybody.
func TestEveryConditionIsTested(t *testing.T) {
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
	report := t.Logf
	if os.Getenv("TRAILWARDEN_LONG") != "" {
		report = t.Errorf
	}
	mutants := rules.Mutate(packWith(t, nil))
	alive := 0
	for _, m := range mutants {
		key := m.Rule + "\t" + m.Part
		switch {
		case m.Killed:
		case listed[key]:
			delete(listed, key)
			alive++
		default:
			alive++
			report("%s:%d:%d: no test notices without %s", m.File, m.Line, m.Column, m.Part)
		}
	}
	for key := range listed {
		report("%s lists %q, which a test kills or which is gone", path, key)
	}
	if len(mutants) < 500 || alive > len(mutants)/10 {
		t.Errorf("%d parts, %d of them not tested: want at most a tenth", len(mutants), alive)
	}
	t.Logf("%d parts, %d of them not tested", len(mutants), alive)
}
