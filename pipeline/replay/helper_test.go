package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

func TestMain(m *testing.M) {
	// In every test, memory that is given back is overwritten: whoever still
	// refers to it shows.
	spoil = overwrite
	goleak.VerifyTestMain(m)
}

const acct = "1000000000000001"

var t0 = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

// rec writes a record of the given id, after so many seconds, with a name.
func rec(id string, sec int, name string) string {
	return fmt.Sprintf(`{"eventId":%q,"eventName":%q,"serviceName":"Ram","eventTime":%q,"recipientAccountId":%q,"sourceIpAddress":"203.0.113.%d",`+
		`"userIdentity":{"type":"ram-user","accountId":%q,"principalId":"200000000000000017","userName":"user%d"},"requestParameters":{"UserName":"x"}}`,
		id, name, t0.Add(time.Duration(sec)*time.Second).Format("2006-01-02T15:04:05Z"), acct, sec%250+1, acct, sec%7)
}

// recs writes n records, one a second, from sec on.
func recs(prefix string, sec, n int) []string {
	out := make([]string, n)
	for i := range out {
		name := "GetUser"
		if i%10 == 3 {
			name = "CreateUser"
		}
		out[i] = rec(fmt.Sprintf("%s-%05d", prefix, i), sec+i, name)
	}
	return out
}

func lines(r []string) string { return strings.Join(r, "\n") + "\n" }
func array(r []string) string { return "[" + strings.Join(r, ",") + "]" }

func packGzip(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func packZstd(t testing.TB, s string) string {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return string(z.EncodeAll([]byte(s), nil))
}

// write puts files into a new folder.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testSet has two rules: "user.created" without state on CreateUser, and
// "order", a detector that sees every event and, every so often, says in which
// order they came.
type testSet struct {
	rules []detectors.Rule
	index *detectors.Index
	order *orderDetector
}

func newTestSet() *testSet {
	s := &testSet{order: new(orderDetector)}
	s.rules = []detectors.Rule{
		{ID: "user.created", Version: 1, Cond: detectors.Named(detectors.ByName, "createuser")},
		{ID: "order", Version: 1, Cond: detectors.Any(), State: "order", New: func() detectors.Detector { return s.order }},
	}
	conds := make([]detectors.Cond, len(s.rules))
	for i := range s.rules {
		conds[i] = s.rules[i].Cond
	}
	s.index = detectors.NewIndex(conds)
	return s
}

func (s *testSet) Rules() []detectors.Rule       { return s.rules }
func (s *testSet) Index() *detectors.Index       { return s.index }
func (s *testSet) Hash() string                  { return "test" }
func (s *testSet) NewSession() detectors.Session { return &testSession{set: s} }

type testSession struct {
	set *testSet
	ev  *event.Event
}

func (s *testSession) Begin(ev *event.Event)           { s.ev = ev }
func (s *testSession) SetPolicy(detectors.PolicyFacts) {}

func (s *testSession) SetKin(detectors.Kin) {}
func (s *testSession) Match(rule int) (bool, error) {
	return rule == 1 || s.ev.NameFold == "createuser", nil
}
func (s *testSession) Pairs(_ int, out []detectors.Pair) ([]detectors.Pair, error) {
	return append(out, detectors.Pair{Key: "all", Value: strings.Clone(s.ev.ID)}), nil
}

func (s *testSession) Detection(rule int, v *detectors.Verdict, _ detectors.Pair) (alert.Detection, error) {
	d := alert.Detection{Rule: s.set.rules[rule].ID, RuleVersion: 1, Title: "t", Severity: alert.Low, Count: 1, Window: time.Hour}
	if v != nil {
		d.Reason, d.Time, d.FirstAt, d.EventIDs, d.Key, d.Severity = v.Reason, v.Last, v.First, v.EventIDs, v.Reason, alert.High
		return d, nil
	}
	d.Reason = "created " + strings.Clone(s.ev.Actor.ID)
	d.Time, d.FirstAt, d.EventIDs, d.Key = s.ev.Time, s.ev.Time, []string{strings.Clone(s.ev.ID)}, strings.Clone(s.ev.ID)
	return d, nil
}

// orderDetector keeps the ids of all observations.
type orderDetector struct {
	ids    []string
	forget bool
	n      int
	every  func(n int) // called at each observation
}

func (d *orderDetector) Observe(o detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	if string(o.Event.Raw()) == "" || o.Event.ID != o.Value {
		panic("the event changed while the engine held it")
	}
	if d.n++; d.every != nil {
		d.every(d.n)
	}
	if d.forget {
		return out
	}
	d.ids = append(d.ids, o.Value)
	if len(d.ids)%50 == 0 {
		out = append(out, detectors.Verdict{Reason: strings.Join(d.ids[len(d.ids)-50:], " "), First: o.Time, Last: o.Time, EventIDs: []string{o.Value}, Count: 50, Event: o.Event})
	}
	return out
}

func (d *orderDetector) Advance(_ time.Time, out []detectors.Verdict) []detectors.Verdict { return out }
func (d *orderDetector) Snapshot() []byte {
	b, err := json.Marshal(d.ids)
	if err != nil {
		panic(err)
	}
	return b
}
func (d *orderDetector) Restore(b []byte) error { return json.Unmarshal(b, &d.ids) }
func (d *orderDetector) Stats() detectors.Stats { return detectors.Stats{Keys: len(d.ids)} }

// found is a run's alerts.
func found(t testing.TB, res *Result) []alert.Alert {
	t.Helper()
	as, err := res.AllAlerts()
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(as)) != res.Stats.Alerts {
		t.Fatalf("%d alerts, %d counted", len(as), res.Stats.Alerts)
	}
	return as
}

// play runs sources and returns the result, the parked reasons and, per
// event in applied order, its id.
func play(t testing.TB, cfg RunConfig, paths ...string) (res Result, parked []string, order []string) {
	t.Helper()
	if cfg.Rules == nil {
		cfg.Rules = newTestSet()
	}
	cfg.OnParked = func(p Parked) {
		parked = append(parked, fmt.Sprintf("%s#%d %s", filepath.Base(p.Path), p.Record, p.Reason))
	}
	res, err := Run(context.Background(), paths, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res, parked, cfg.Rules.(*testSet).order.ids
}
