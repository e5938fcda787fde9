package absence_test

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/absence"
	"github.com/trailwarden/trailwarden/rules"
)

const rule = `
id: test.absence
version: 1
title: "{actor.name}"
description: For the test.
severity: high
runbook: {en: None., zh: 无。}
match: event.name == "CreateBackup"
detector: {type: absence, by: event.account + "/" + actor.name, gap: 25h, learn_count: 2, noun: backups}
reason: "{actor.name} in {event.account} under {verdict.key}: {verdict.reason}"
tests:
  - name: the backup did not come, and the verdict comes with the watermark
    events:
      - {event: "Rds:CreateBackup", user: robot, repeat: 3, every: 24h}
      - {event: "Rds:CreateBackup", user: other, after: 30h}
    expect: {alerts: 1, actor: robot, reason_contains: ["robot in 1000000000000001 under 1000000000000001/robot: no backups for more than 25 hours, the last on 2026-01-07 10:00 UTC"], details: [absence]}
  - name: it came
    events:
      - {event: "Rds:CreateBackup", user: robot, repeat: 5, every: 25h}
      - {event: "Rds:CreateBackup", user: other, after: 20h}
    expect: {alerts: 0}
`

func load(text string) (*rules.Set, error) {
	return rules.Load(rules.LoadOptions{
		Files: map[string][]byte{"test.absence.yaml": []byte(text)}, Factories: map[string]detectors.Factory{"absence": absence.Factory}, Clock: time.Now,
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
	_, err = load(strings.Replace(rule, "gap: 25h", "gap: 900ms", 1))
	if err == nil || !strings.Contains(err.Error(), "test.absence.yaml:9:") || !strings.Contains(err.Error(), "gap: 900ms is shorter than a second") {
		t.Errorf("%v", err)
	}
}
