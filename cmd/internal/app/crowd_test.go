package app

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/trailwarden/trailwarden/rules"
)

// TestCrowd: an alert that is about more than its last event shows of that only what
// it is about: who was tried last is not who tried, nor is the caller before a silence.
func TestCrowd(t *testing.T) {
	const many = `[{event: "Ram:CreateAccessKey", user: "user{n}", ip: 203.0.113.9, params: {UserName: victim}, repeat: 3, every: 30s}]`
	for i, c := range []struct{ detector, actor, ip, target string }{
		{"{type: distinct, by: source.ip, value: actor.name, count: 3, window: 10m}", "", "203.0.113.9", ""},
		{"{type: distinct, by: target.id, value: actor.id, count: 3, window: 10m}", "", "", "victim"},
		{"{type: distinct, by: 'source.ip + \"|\" + target.id', value: actor.id, count: 3, window: 10m}", "", "203.0.113.9", "victim"},
		{"{type: distinct, by: event.account, value: actor.id, count: 3, window: 10m}", "", "", ""},
		{"{type: distinct, by: actor.account, value: actor.id, count: 3, window: 10m}", "user3", "203.0.113.9", "victim"},
		{"{type: distinct, by: source.ip, value: event.id, count: 3, window: 10m}", "user3", "203.0.113.9", "victim"},
		{"{type: first_seen, kind: value, by: target.id, value: actor.id, learn_for: 1s, learn_count: 2}", "user3", "203.0.113.9", "victim"},
		{"{type: threshold, by: target.id, count: 3, window: 10m}", "", "", "victim"},
		{"{type: threshold, by: source.ip, count: 3, window: 10m}", "", "203.0.113.9", ""},
		{"{type: threshold, by: 'source.ip + \"|\" + actor.account', count: 3, window: 10m}", "user3", "203.0.113.9", "victim"},
		{"{type: threshold, by: event.account, count: 3, window: 10m}", "user3", "203.0.113.9", "victim"},
	} {
		doc := fmt.Sprintf(`id: test.crowd
version: 1
title: Many
description: An example.
severity: high
attack: [T1098.001]
runbook: {en: ask, zh: 问}
match: action == "iam.accesskey.create"
detector: %s
reason: "{verdict.reason}"
tests:
  - name: many
    events: %s
    expect: {alerts: 1, actor: %q, source_ip: %q, target: %q}
`, c.detector, many, c.actor, c.ip, c.target)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "test.crowd.yaml"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := Rules{Dirs: []string{dir}, AllowFewTests: true}.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules.Test(set) {
			for _, err := range r.Failures {
				t.Errorf("%d %s: %v", i, c.detector, err)
			}
		}
	}
}
