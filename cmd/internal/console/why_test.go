package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
)

// What a stateful rule knew is said, one fact a line, with numbers as they are.
func TestKnew(t *testing.T) {
	var details map[string]any
	const in = `{"region": "cn-hangzhou", "distinct": {"count": 5, "total": 12345678, "new_values": ["alice", "bob"], "none": []},
		"sequence": {"steps": [{"name": "a", "count": 1}, {"name": "b", "count": 2}], "within_seconds": 86400}}`
	if err := json.Unmarshal([]byte(in), &details); err != nil {
		t.Fatal(err)
	}
	want := `sequence
  steps: a, count 1
  steps: b, count 2
  within_seconds = 86400
distinct
  count = 5
  new_values = alice, bob
  none = 
  total = 12345678`
	if got := strings.Join(knew(details), "\n"); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := knew(map[string]any{"region": "x", "distinct": "y"}); got != nil {
		t.Errorf("%q", got)
	}
}

// Each event of a sequence is told as the step that it is; the condition of any
// other rule once.
func TestExplained(t *testing.T) {
	ev := &index.Event{ID: "E1", At: t0, Service: "Ram", Name: "CreateUser"}
	steps := []string{"step made: ✗ all of", "step made:   ✓ x", "step made:   ✗ y", "step used: ✓ all of", "step used:   ✓ z", "step used:     ✗ w"}
	plain := []string{"✓ all of", "  ✓ x"}
	none := []string{"step made: ✗ x", "step used: ✗ y"}
	head := stamp(t0) + " Ram:CreateUser E1"
	for _, c := range []struct {
		lines []string
		first bool
		want  string
	}{
		{steps, true, head + "\n  used\n    ✓ all of\n      ✓ z\n        ✗ w"},
		{steps, false, head + "\n  used\n    ✓ all of\n      ✓ z\n        ✗ w"},
		{plain, true, head + "\n  ✓ all of\n    ✓ x"},
		{plain, false, ""},
		{none, true, head + "\n  step made: ✗ x\n  step used: ✗ y"},
		{none, false, ""},
		{nil, true, ""},
	} {
		if got := strings.Join(explained(ev, c.lines, c.first), "\n"); got != c.want {
			t.Errorf("%q, first %v: got\n%s", c.lines, c.first, got)
		}
	}
}
