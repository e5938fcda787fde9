package risk_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/risk"
	"github.com/trailwarden/trailwarden/rules"
)

const rule = `
id: test.risk
version: 1
title: "{actor.name}"
description: For the test.
severity: high
runbook: {en: None., zh: 无。}
detector:
  type: risk
  by: actor.id
  threshold: 50
  window: 24h
  steps:
    - {name: new key, weight: 30, match: action == "iam.accesskey.create"}
    - {name: new user, weight: 20, match: action == "iam.user.create"}
    - {name: refused, weight: 5, match: outcome == "attempt"}
reason: "{actor.name}: {verdict.reason}"
tests:
  - name: together
    events:
      - {event: "Ecs:DeleteInstance", user: bob, error: NoPermission, repeat: 20, every: 1m}
      - {event: "Ram:CreateUser", user: bob, params: {UserName: eve}}
      - {event: "Ram:CreateAccessKey", user: bob, params: {UserName: eve}, after: 5h}
    expect: {alerts: 1, actor: bob, reason_contains: "bob: risk 55 of 50 in 5 hours: new key (30), new user (20) and refused (5)", details: [risk]}
  - name: too little
    events:
      - {event: "Ecs:DeleteInstance", user: bob, error: NoPermission, repeat: 20, every: 1m}
      - {event: "Ram:CreateAccessKey", user: bob, params: {UserName: eve}, after: 5h}
    expect: {alerts: 0}
`

func load(text string) (*rules.Set, error) {
	return rules.Load(rules.LoadOptions{
		Files: map[string][]byte{"test.risk.yaml": []byte(text)}, Factories: map[string]detectors.Factory{"risk": risk.Factory}, Clock: time.Now,
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
	_, err = load(strings.Replace(rule, "weight: 20", "weight: 0", 1))
	if err == nil || !strings.Contains(err.Error(), "test.risk.yaml:15:") || !strings.Contains(err.Error(), `steps.1: the weight 0 of "new user"`) {
		t.Errorf("%v", err)
	}
}
