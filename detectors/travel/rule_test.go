package travel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/travel"
	"github.com/trailwarden/trailwarden/rules"
)

const rule = `
id: test.travel
version: 1
title: "{actor.name}"
description: For the test.
severity: high
runbook: {en: None., zh: 无。}
match: action == "signin.console"
detector: {type: travel, by: actor.id, value: source.place, together: ["CN HK SG"], ignore_asns: [AS64502], ignore_networks: ["192.0.2.0/24"]}
reason: "{actor.name} {verdict.reason}"
tests:
  - name: far
    geo: {"203.0.113.0/24": {country: CN, asn: 64500}, "198.51.100.0/24": {country: NL, asn: 64501}}
    events:
      - {event: "AasSub:ConsoleSignin", user: bob, key: ""}
      - {event: "AasSub:ConsoleSignin", user: bob, key: "", ip: 198.51.100.7, after: 40m}
    expect: {alerts: 1, reason_contains: "bob signed in from NL 40 minutes after CN, about 8,200 km", details: [travel]}
  - name: ignored
    geo: {"203.0.113.0/24": {country: CN, asn: 64500}, "198.51.100.0/24": {country: NL, asn: 64502}}
    events:
      - {event: "AasSub:ConsoleSignin", user: bob, key: ""}
      - {event: "AasSub:ConsoleSignin", user: bob, key: "", ip: 198.51.100.7, after: 40m}
    expect: {alerts: 0}
`

func load(text string) (*rules.Set, error) {
	return rules.Load(rules.LoadOptions{
		Files: map[string][]byte{"test.travel.yaml": []byte(text)}, Factories: map[string]detectors.Factory{"travel": travel.Factory}, Clock: time.Now,
	})
}

func TestInARule(t *testing.T) {
	set, err := load(rule)
	if err != nil {
		t.Fatal(err)
	}
	results := rules.Test(set)
	if len(results) != 2 {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		if !r.Pass {
			t.Errorf("%s: %s", r.Test, strings.Join(r.Failures, "; "))
		}
	}
	// A setting that cannot be used is reported where it stands.
	_, err = load(strings.Replace(rule, "AS64502]", "example]", 1))
	if err == nil || !strings.Contains(err.Error(), "test.travel.yaml:9:") || !strings.Contains(err.Error(), `ignore_asns.0: "example" is not the number of a network`) {
		t.Errorf("%v", err)
	}
}
