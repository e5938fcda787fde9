package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/doctor"
)

// Who runs already is not told to start.
func TestVerdictSaysWhatNext(t *testing.T) {
	runs := doctor.Check{Group: "program", Name: "running", State: doctor.OK}
	for want, checks := range map[string][]doctor.Check{
		"all is well. Next: trailwarden run --config c.yaml":              {{Group: "program", Name: "running", State: doctor.Info}},
		"all is well. Next: trailwarden top --config c.yaml":              {runs},
		"nothing is red, 1 yellow. Next: trailwarden top --config c.yaml": {{Group: "store", State: doctor.Warn}, runs},
		"1 red, 0 yellow. More about one: trailwarden explain TW201":      {{Group: "credentials", State: doctor.Fail, Code: "TW201"}, runs},
	} {
		var out bytes.Buffer
		printVerdict(&env{out: &out}, &doctor.Report{Config: "c.yaml", Checks: checks})
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
