package config

import (
	"slices"
	"testing"

	"github.com/trailwarden/trailwarden/responders"
)

// What counts from the start only is named, and nothing that is read again.
func TestChanged(t *testing.T) {
	parse := func() (*Config, error) {
		return Parse("c.yaml", []byte(good), []string{"SLACK_BOT_TOKEN=xoxb-EXAMPLE"})
	}
	was, err := parse()
	if err != nil {
		t.Fatal(err)
	}
	again, err := parse()
	if err != nil || Changed(was, again) != nil {
		t.Errorf("one file, read twice: %v %v", Changed(was, again), err)
	}
	for what, x := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"nothing":     {func(*Config) {}, nil},
		"a level":     {func(c *Config) { c.Log.Level = "debug" }, []string{"log"}},
		"a secret":    {func(c *Config) { c.Traces.Authorization = "Bearer x" }, []string{"traces"}},
		"a playbook":  {func(c *Config) { c.Respond.Playbooks = append(c.Respond.Playbooks, responders.Playbook{Name: "x"}) }, []string{"respond"}},
		"the grace":   {func(c *Config) { c.Detect.Grace++ }, []string{"detect.grace"}},
		"the account": {func(c *Config) { c.Detect.RAM.Enabled = !c.Detect.RAM.Enabled }, []string{"detect.ram"}},
		"rules": {func(c *Config) {
			c.Detect.Disable, c.Detect.GeoASN, c.Detect.Owners = []string{"x"}, "y", []string{"z"}
		}, nil},
	} {
		is := *was
		x.change(&is)
		if got := Changed(was, &is); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", what, got, x.want)
		}
	}
}
