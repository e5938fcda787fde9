package check

import (
	"maps"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// TestCompose is docker compose config, for every set of profiles that the file
// knows.
func TestCompose(t *testing.T) {
	for profile, want := range map[string][]string{
		"":           {"trailwarden"},
		"fake-cloud": {"fakecloud", "trailwarden", "trial"},
		"nats":       {"certs", "clustered", "nats-1", "nats-2", "nats-3", "trailwarden"},
		"*":          {"certs", "clustered", "fakecloud", "nats-1", "nats-2", "nats-3", "trailwarden", "trial"},
	} {
		opts, err := cli.NewProjectOptions([]string{"../compose/compose.yaml"}, cli.WithProfiles([]string{profile}), cli.WithConsistency(true))
		if err != nil {
			t.Fatal(err)
		}
		p, err := opts.LoadProject(t.Context())
		if err != nil {
			t.Errorf("profile %q: %v", profile, err)
			continue
		}
		if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, want) {
			t.Errorf("profile %q starts %v, want %v", profile, got, want)
		}
	}
}
