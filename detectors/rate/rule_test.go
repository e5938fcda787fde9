package rate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/rate"
	"github.com/trailwarden/trailwarden/rules"
)

const rule = `
id: test.rate
version: 1
title: "{actor.name}"
description: For the test.
severity: high
runbook: {en: None., zh: 无。}
match: event.name == "DeleteObjects"
detector: {type: rate, by: actor.id, value: 'param("Count")', floor: 50, bin: 10m, learn_for: 2d, learn_hours: 10, noun: deletions}
reason: "{actor.name}: {verdict.reason}"
tests:
  - name: far more than usual
    events:
      - {event: "Oss:DeleteObjects", user: bob, params: {Count: "7"}, repeat: 60, every: 1h}
      - {event: "Oss:DeleteObjects", user: bob, params: {Count: "300"}, after: 1h}
    expect: {alerts: 1, count: 300, reason_contains: "bob: 300 deletions in 10 minutes; usually 7 in any hour (60 hours)", details: [rate]}
  - name: as usual
    events: [{event: "Oss:DeleteObjects", user: bob, params: {Count: "700"}, repeat: 80, every: 1h}]
    expect: {alerts: 0}
`

func load(text string) (*rules.Set, error) {
	return rules.Load(rules.LoadOptions{
		Files: map[string][]byte{"test.rate.yaml": []byte(text)}, Factories: map[string]detectors.Factory{"rate": rate.Factory}, Clock: time.Now,
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
	_, err = load(strings.Replace(rule, "bin: 10m", "bin: 7m", 1))
	if err == nil || !strings.Contains(err.Error(), "test.rate.yaml:9:") || !strings.Contains(err.Error(), "bin: 7m0s is not a part of an hour") {
		t.Errorf("%v", err)
	}
}
