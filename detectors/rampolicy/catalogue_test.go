package rampolicy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPropLower(t *testing.T) {
	names := rapid.SampledFrom(known)
	rapid.Check(t, func(t *rapid.T) {
		n := names.Draw(t, "action").name
		for _, text := range []string{n, strings.ToUpper(n), strings.ToLower(n), n + rapid.String().Draw(t, "more"), rapid.String().Draw(t, "text")} {
			if got, want := lower(text), strings.ToLower(text); got != want {
				t.Fatalf("lower(%q) = %q, want %q", text, got, want)
			}
		}
	})
}
