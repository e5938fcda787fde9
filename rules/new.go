package rules

import (
	"fmt"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// New writes the file of a new rule about an event ("Ram:CreateUser" or a
// canonical action), with a hit, a near miss and a failed attempt that pass
// as they stand. The id must be a rule id.
func New(id, title, about string) ([]byte, error) {
	if !idPattern.MatchString(id) {
		return nil, fmt.Errorf("%q is not a rule id: lower case letters, digits, _ and dots", id)
	}
	match, call, err := subject(about)
	if err != nil {
		return nil, err
	}
	if title = strings.TrimSpace(title); title == "" {
		title = id
	}
	title = strings.NewReplacer("{", "{{", "}", "}}").Replace(tame(title, 120))
	_, name, _ := strings.Cut(call, ":")
	return fmt.Appendf(nil, `# yaml-language-server: $schema=schema.json
id: %[1]s
version: 1
title: %[2]q
# For chats, consoles and reports in Chinese, both or neither; without them the alert is told in English there:
# title_zh: …
# reason_zh: "{actor.name} 从 {source.text} 调用了 {event.service}:{event.name}"
description: Say what this finds and why it matters. Say which facts about the records are not certain.
severity: medium
attack: [T1098]
runbook:
  en: |
    Ask the caller's owner whether this was planned.
  zh: |
    向操作者的负责人确认是否为计划内操作。
match: >-
  %[3]s && outcome == "success" && actor.kind != "service"
reason: "{actor.name} called {event.service}:{event.name} from {source.text}"
dedup: {by: [event.account, actor.id, target.id], window: 1h}
tests:
  - name: it happened
    events: [{event: %[4]q, user: alice, params: {UserName: bob}}]
    expect: {alerts: 1, severity: medium, actor: alice, reason_contains: %[5]q}
  - name: another call
    events: [{event: "Sts:GetCallerIdentity", user: alice}]
    expect: {alerts: 0}
  - name: refused
    events: [{event: %[4]q, user: alice, params: {UserName: bob}, error: NoPermission}]
    expect: {alerts: 0}
  - name: the cloud's own service
    events: [{event: %[4]q, service: "ecs.aliyuncs.com", params: {UserName: bob}}]
    expect: {alerts: 0}
`, id, title, match, call, name), nil
}

// subject turns what a rule is about into its first condition and an event
// that meets it.
func subject(about string) (match, call string, err error) {
	low := strings.ToLower(about)
	for _, a := range actions {
		if a != low {
			continue
		}
		for _, n := range event.EventNames(event.Action(a)) {
			for _, s := range event.Services(event.Action(a)) {
				if event.ActionOf(s, n) == event.Action(a) {
					return fmt.Sprintf("action == %q", a), s + ":" + n, nil
				}
			}
		}
	}
	service, name, ok := strings.Cut(about, ":")
	if !ok {
		return "", "", fmt.Errorf("--about %q: want an action such as iam.user.create, or Service:EventName such as Ram:CreateUser%s", about, orMeant(about, actions))
	}
	spelling, known := event.KnownEvent(name)
	if !known {
		return "", "", fmt.Errorf("unknown event name %q%s", name, orMeant(name, event.KnownEvents()))
	}
	if a := event.ActionOf(service, spelling); a != "" {
		return fmt.Sprintf("action == %q", string(a)), service + ":" + spelling, nil
	}
	return fmt.Sprintf("event.service == %q && event.name == %q", service, spelling), service + ":" + spelling, nil
}
