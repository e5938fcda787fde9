package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// Whatever changed is taken by the audit log, which does not go on before the start is
// noted; and what was not kept is no change.
func TestNotesFit(t *testing.T) {
	m, err := responders.NewMachine(responders.MachineOptions{Journal: journal.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	note := func(what string, data any) {
		t.Helper()
		if err := m.AddNote(t.Context(), noteRules, "test", what, data); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	hashes := func(n int, prefix string) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("%s.rule_with_a_name_%04d", prefix, i)] = "0123456789ab"
		}
		return out
	}
	for _, n := range []int{3, 700, 1400, 5000} {
		for _, before := range []int{3, 700, 1400, 5000} {
			old, r := noteOfRules("old", hashes(before, "mine")), noteOfRules("new", hashes(n, "ours"))
			r.since(old)
			what := fmt.Sprintf("%d rules after %d others", n, before)
			note(what, r)
			switch listed := len(r.Added) + len(r.Removed) + len(r.Changed); {
			case r.Count != n:
				t.Errorf("%s: counted as %d", what, r.Count)
			case (n == 5000 || before == 5000) && listed > 0:
				t.Errorf("%s: %d are listed, and of the one or the other it is not known what it was", what, listed)
			case n == 3 && before == 3 && listed != 6:
				t.Errorf("%s: %d are listed", what, listed)
			case n == 700 && before == 700 && (len(r.Removed) < 100 || !strings.HasSuffix(r.Added[len(r.Added)-1], " more")):
				t.Errorf("%s: %d are removed, and of those added the last is %s", what, len(r.Removed), r.Added[len(r.Added)-1])
			}
		}
	}
	line := func(n int, of string) []byte {
		return []byte("detect:\n  disable: [" + strings.Repeat(of+", ", n) + "]\n")
	}
	for _, n := range []int{1, 4000, 40000} {
		old, c := noteOfConfig("v", line(n, "a")), noteOfConfig("v", line(4000, "b"))
		c.since(old)
		what := fmt.Sprintf("a line of %d words before", n)
		note(what, c)
		if n == 40000 && len(c.Added)+len(c.Removed) > 0 || n == 1 && (len(c.Removed) != 1 || len(c.Added) != 1) {
			t.Errorf("%s: %d lines added, %d removed", what, len(c.Added), len(c.Removed))
		}
	}
}
