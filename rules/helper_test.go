package rules

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// rule1 is a good rule without state.
var rule1 = []byte(`id: test.created
version: 1
title: AccessKey for {target.name}
description: A key for another user.
severity: 'outcome == "success" ? "high" : "medium"'
attack: [T1098.001]
runbook: {en: ask, zh: 问}
match: action == "iam.accesskey.create" && actor.kind != "service" && !target.self
reason: "{actor.name} created an AccessKey for {target.name} from {source.text}"
tests:
  - name: another
    events: [{event: "Ims:CreateAccessKey", user: alice, params: {UserPrincipalName: "bob@1000000000000001.onaliyun.com"}}]
    expect: {alerts: 1, severity: high, target: bob, outcome: success}
  - name: oneself
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: alice}}]
    expect: {alerts: 0}
  - name: refused
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: bob}, error: NoPermission}]
    expect: {alerts: 1, outcome: attempt, severity: medium}
`)

// rule2 has a detector and reads the verdict.
var rule2 = []byte(`id: test.burst
version: 2
title: Many failures of {actor.name}
description: A burst.
severity: medium
attack: [T1110]
runbook: {en: ask, zh: 问}
match: outcome == "attempt" && actor.type == "ram-user"
detector: {type: counter, by: actor.id, count: 3, window: 10m}
reason: "{actor.name} failed {verdict.count} times in {verdict.span}"
tests:
  - name: three
    events: [{event: "Ecs:DescribeInstances", user: bob, error: Forbidden.RAM, repeat: 3, every: 1m}]
    expect: {alerts: 1, actor: bob, reason_contains: "bob failed 3 times in 2 minutes"}
  - name: two
    events: [{event: "Ecs:DescribeInstances", user: bob, error: Forbidden.RAM, repeat: 2}]
    expect: {alerts: 0}
  - name: too slow
    events: [{event: "Ecs:DescribeInstances", user: bob, error: Forbidden.RAM, repeat: 3, every: 6m}]
    expect: {alerts: 0}
`)

// counter is a small detector: count observations of one key within a
// window. It stands in for the real ones, which live in packages of their
// own.
type counter struct {
	count  int
	window time.Duration
	keys   map[string][]observed
}

type observed struct {
	at time.Time
	id string
}

var counterFactory detectors.Factory = func(s detectors.Settings) (func() detectors.Detector, error) {
	cfg := struct {
		Count  int           `yaml:"count" required:"true"`
		Window time.Duration `yaml:"window"`
		Steps  []struct {
			Name string `yaml:"name"`
		} `yaml:"steps"`
	}{Window: time.Hour}
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.Count < 1 {
		return nil, s.Errorf("count", "the count must be at least 1")
	}
	return func() detectors.Detector {
		return &counter{count: cfg.Count, window: cfg.Window, keys: map[string][]observed{}}
	}, nil
}

func (c *counter) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	key := o.Key
	if o.Value == "panic" {
		panic("asked for")
	}
	list := append(c.keys[key], observed{o.Time, strings.Clone(o.Event.ID)})
	sort.Slice(list, func(i, j int) bool {
		if !list[i].at.Equal(list[j].at) {
			return list[i].at.Before(list[j].at)
		}
		return list[i].id < list[j].id
	})
	for len(list) > 0 && list[len(list)-1].at.Sub(list[0].at) > c.window {
		list = list[1:]
	}
	if len(list) >= c.count {
		v := detectors.Verdict{Reason: fmt.Sprintf("%d events", len(list)), First: list[0].at, Last: list[len(list)-1].at, Count: len(list), Event: o.Event}
		for _, x := range list {
			v.EventIDs = append(v.EventIDs, x.id)
		}
		out = append(out, v)
		list = nil
	}
	c.keys[key] = list
	return out
}

func (c *counter) Advance(w time.Time, out []detectors.Verdict) []detectors.Verdict {
	for k, list := range c.keys {
		if len(list) == 0 || w.Sub(list[len(list)-1].at) > c.window {
			delete(c.keys, k)
		}
	}
	return out
}

func (c *counter) Snapshot() []byte {
	state := map[string][][2]string{}
	for k, list := range c.keys {
		for _, x := range list {
			state[k] = append(state[k], [2]string{x.at.Format(time.RFC3339Nano), x.id})
		}
	}
	b, err := json.Marshal(state)
	if err != nil {
		panic(err)
	}
	return binary.AppendUvarint(b, 1)
}

func (c *counter) Restore(data []byte) error {
	c.keys = map[string][]observed{}
	if len(data) == 0 || data[len(data)-1] != 1 {
		return errors.New("unknown version")
	}
	var state map[string][][2]string
	if err := json.Unmarshal(data[:len(data)-1], &state); err != nil {
		return err
	}
	for k, list := range state {
		for _, x := range list {
			at, err := time.Parse(time.RFC3339Nano, x[0])
			if err != nil {
				return err
			}
			c.keys[k] = append(c.keys[k], observed{at, x[1]})
		}
	}
	return nil
}

func (c *counter) Stats() detectors.Stats { return detectors.Stats{Keys: len(c.keys)} }

var testFactories = map[string]detectors.Factory{"counter": counterFactory}

// load compiles rules given as text; the file's name comes from the id.
func load(t testing.TB, opts LoadOptions, docs ...[]byte) *Set {
	t.Helper()
	if opts.Files == nil {
		opts.Files = map[string][]byte{}
	}
	for _, d := range docs {
		id, _, _ := strings.Cut(strings.TrimPrefix(string(d), "id: "), "\n")
		opts.Files["rules/"+id+".yaml"] = d
	}
	if opts.Factories == nil {
		opts.Factories = testFactories
	}
	opts.AllowFewTests = true
	set, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// rule makes a rule file from its id and further keys.
func makeRule(id, match, rest string) []byte {
	return []byte("id: " + id + "\nversion: 1\ntitle: t\ndescription: d\nseverity: low\nreason: r\nmatch: >-\n  " + match + "\n" + rest)
}

func parse(t testing.TB, over map[string]any) *event.Event {
	t.Helper()
	ev, err := event.Parse(record(over))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// AlertsOfTests are the alerts of every test of every rule of a set, by rule.
func AlertsOfTests(t testing.TB, set *Set) map[string][]alert.Alert {
	t.Helper()
	out := map[string][]alert.Alert{}
	for _, r := range set.all {
		for i := range r.tests() {
			records, err := r.tests()[i].records()
			if err != nil {
				t.Fatal(err)
			}
			var events []*event.Event
			for _, rec := range records {
				ev, err := event.Parse(rec)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, ev)
			}
			alerts, _ := set.only(r, &r.tests()[i]).replay(events)
			for _, a := range alerts {
				if a.Rule == r.id() {
					out[r.id()] = append(out[r.id()], a)
				}
			}
		}
	}
	return out
}
