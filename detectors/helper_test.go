package detectors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/rules"
)

var t0 = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

// rec writes a record; keys of over win.
func rec(id string, at time.Time, over map[string]any) []byte {
	r := map[string]any{
		"eventId": id, "requestId": id, "eventVersion": "1", "eventType": "ApiCall", "eventRW": "Write", "serviceName": "Ecs", "eventName": "RunInstances",
		"eventTime": at.UTC().Format("2006-01-02T15:04:05Z"), "acsRegion": "cn-hangzhou", "sourceIpAddress": "203.0.113.10", "recipientAccountId": "1000000000000001",
		"userIdentity": map[string]any{"type": "ram-user", "accountId": "1000000000000001", "principalId": "200000000000000001", "userName": "alice", "accessKeyId": "LTAI5tEXAMPLEalice00001"},
	}
	maps.Copy(r, over)
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return b
}

func ev(t testing.TB, id string, at time.Time, over map[string]any) *event.Event {
	t.Helper()
	e, err := event.Parse(rec(id, at, over))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func user(name string) map[string]any {
	return map[string]any{"userIdentity": map[string]any{"type": "ram-user", "accountId": "1000000000000001", "principalId": "2000", "userName": name}}
}

// ruleFile makes a rule from its condition and further keys.
func ruleFile(id, match, rest string) []byte {
	return []byte(fmt.Sprintf("id: %s\nversion: 1\ntitle: t\ndescription: d\nseverity: low\nreason: '{actor.name} {event.id}'\nmatch: |\n  %s\n%s", id, match, rest))
}

func load(t testing.TB, opts rules.LoadOptions, files map[string][]byte) *rules.Set {
	t.Helper()
	opts.Files = map[string][]byte{}
	for id, data := range files {
		opts.Files["t/"+id+".yaml"] = data
	}
	opts.Factories = map[string]detectors.Factory{"counter": counterFactory}
	opts.AllowFewTests = true
	set, err := rules.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// counter fires when it has seen count events of a key within a window; it
// fires again after as many more. It also says, at a watermark, which keys
// have been silent for the window, so that Advance is tested.
type counter struct {
	count   int
	window  time.Duration
	absence bool
	keys    map[string][]seenEvent
	hinted  int // observations that came with a hint
}

type seenEvent struct {
	At  time.Time
	ID  string
	Raw []byte
}

var counterFactory detectors.Factory = func(s detectors.Settings) (func() detectors.Detector, error) {
	cfg := struct {
		Count   int           `yaml:"count"`
		Window  time.Duration `yaml:"window"`
		Absence bool          `yaml:"absence"`
	}{Count: 3, Window: time.Hour}
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	return func() detectors.Detector {
		return &counter{count: cfg.Count, window: cfg.Window, absence: cfg.Absence, keys: map[string][]seenEvent{}}
	}, nil
}

// Fetch answers what only this key can have.
func (c *counter) Fetch(key string) uint32 {
	if key == "boom" {
		panic("a broken detector")
	}
	return 1 + crc32.ChecksumIEEE([]byte(key))/2
}

// Warm takes no other hint than what Fetch answered.
func (c *counter) Warm(hint uint32) {
	if hint == 0 {
		panic("a hint that says nothing")
	}
}

func (c *counter) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	if o.Hint != 0 {
		if c.hinted++; o.Hint != c.Fetch(o.Key) {
			panic("a hint of another key")
		}
	}
	if o.Value == "boom" {
		panic("a broken detector")
	}
	list := append(c.keys[o.Key], seenEvent{o.Time, o.Event.ID, o.Event.Raw()})
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j] // by ids within a second, as the snapshot of the first encoding has them
		return a.At.Before(b.At) || a.At.Equal(b.At) && a.ID < b.ID
	})
	for list[len(list)-1].At.Sub(list[0].At) > c.window {
		list = list[1:]
	}
	c.keys[o.Key] = list
	if !c.absence && len(list) >= c.count {
		v := detectors.Verdict{Reason: fmt.Sprintf("%d events", len(list)), First: list[0].At, Last: list[len(list)-1].At, Count: len(list), Event: o.Event}
		for _, x := range list {
			v.EventIDs = append(v.EventIDs, x.ID)
		}
		delete(c.keys, o.Key)
		out = append(out, v)
	}
	return out
}

func (c *counter) Advance(w time.Time, out []detectors.Verdict) []detectors.Verdict {
	for _, k := range slices.Sorted(maps.Keys(c.keys)) {
		list := c.keys[k]
		last := list[len(list)-1]
		if !w.After(last.At.Add(c.window)) {
			continue
		}
		delete(c.keys, k)
		if c.absence {
			e, err := event.Parse(last.Raw)
			if err != nil {
				panic(err)
			}
			out = append(out, detectors.Verdict{Reason: "silent", First: last.At, Last: last.At.Add(c.window), EventIDs: []string{last.ID}, Count: 1, Event: e})
		}
	}
	return out
}

func (c *counter) Snapshot() []byte {
	b, err := json.Marshal(c.keys)
	if err != nil {
		panic(err)
	}
	return append([]byte("1"), b...)
}

func (c *counter) Restore(data []byte) error {
	c.keys = map[string][]seenEvent{}
	if len(data) == 0 || data[0] != '1' {
		return errors.New("unknown version")
	}
	return json.Unmarshal(data[1:], &c.keys)
}

func (c *counter) Stats() detectors.Stats { return detectors.Stats{Keys: len(c.keys)} }

// judge says that every policy change it sees expands, and counts them in
// order.
type judge struct{ seen []string }

func (j *judge) Judge(e *event.Event) detectors.PolicyFacts {
	if strings.HasPrefix(string(e.Action), "iam.user.") {
		return detectors.PolicyFacts{} // no judge was asked about users when the oldest snapshot was made
	}
	j.seen = append(j.seen, e.ID)
	if e.Actor.Name == "boom" {
		panic("a broken judge")
	}
	return detectors.PolicyFacts{Known: true, Expands: true, Sentence: "more is allowed", Details: map[string]any{"n": len(j.seen)}}
}
func (j *judge) Snapshot() []byte { return []byte(strings.Join(j.seen, ",")) }
func (j *judge) Restore(b []byte) error {
	j.seen = nil
	if len(b) > 0 {
		j.seen = strings.Split(string(b), ",")
	}
	return nil
}
