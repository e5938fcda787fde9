package index

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/responders"
)

var t0 = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func anAlert(n int, at time.Time) alert.Alert {
	return alert.Alert{ID: fmt.Sprintf("%032x", n), Rule: fmt.Sprintf("rule.%d", n%3), Title: fmt.Sprintf("Title %d", n), Severity: alert.Severity(1 + n%5), LastAt: at, FirstAt: at, Count: 1,
		Actor: alert.Actor{ID: fmt.Sprintf("user/1/u%d", n%4), Name: fmt.Sprintf("u%d", n%4)}}
}

// A digest, and a group, is a message about incidents that are in the list themselves.
func TestDigestIsNoIncident(t *testing.T) {
	x := New(Limits{})
	a, d, g := anAlert(1, t0), anAlert(2, t0), anAlert(3, t0)
	d.Rule, g.Rule = responders.RuleDigest, responders.RuleGroup
	for i, one := range []alert.Alert{a, d, g} {
		x.Apply(responders.Change{Alert: &one, Seq: uint64(i + 1)})
	}
	if l := x.List(Query{}); l.Total != 1 || l.Alerts[0].ID != a.ID {
		t.Errorf("%+v", l)
	}
}

// Replays are bounded, begin once, end once, and nobody changes another's.
func TestReplays(t *testing.T) {
	x := New(Limits{})
	id := func(n int) string { return fmt.Sprintf("%032x", n) }
	before, changed := x.Seq()
	x.SetReplay(admin.Replaying{ID: id(0), By: "cli:a", State: admin.ReplayReading}, t0)
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	if now, _ := x.Seq(); now[Replays] == before[Replays] || now[Alerts] != before[Alerts] {
		t.Errorf("%v, then %v", before, now)
	}
	x.SetReplay(admin.Replaying{ID: id(0), By: "cli:b", State: admin.ReplayDone}, t0)
	x.SetReplay(admin.Replaying{ID: id(0), By: "cli:a", State: admin.ReplayRunning, BytesRead: 5, BytesTotal: 10, Started: t0.Add(time.Hour)}, t0.Add(time.Second))
	if r := x.Replays(t0.Add(2 * time.Second)); len(r) != 1 || r[0].State != admin.ReplayRunning || !r[0].Started.Equal(t0) || r[0].Left(t0.Add(2*time.Second)) != 2*time.Second {
		t.Errorf("%+v", r)
	}
	if r := x.Replays(t0.Add(time.Hour)); r[0].State != admin.ReplayUnheard {
		t.Errorf("%+v", r)
	}
	x.SetReplay(admin.Replaying{ID: id(0), By: "cli:a", State: admin.ReplayFailed}, t0.Add(time.Second))
	x.SetReplay(admin.Replaying{ID: id(0), By: "cli:a", State: admin.ReplayRunning}, t0.Add(time.Second))
	if r := x.Replays(t0); r[0].State != admin.ReplayFailed {
		t.Errorf("over, and goes on: %+v", r)
	}
	// What runs is not pushed out by what is over.
	x.SetReplay(admin.Replaying{ID: id(1), State: admin.ReplayRunning}, t0)
	for n := range 3 * maxReplays {
		x.SetReplay(admin.Replaying{ID: id(n + 2), State: admin.ReplayDone}, t0.Add(time.Duration(n)*time.Second))
	}
	r := x.Replays(t0)
	if len(r) != maxReplays || r[0].ID != id(1) || r[1].ID != id(3*maxReplays+1) {
		t.Errorf("%d, first %+v and %+v", len(r), r[0], r[1])
	}
	// Nor is room made without end.
	for n := range 3 * maxReplays {
		x.SetReplay(admin.Replaying{ID: id(1000 + n), State: admin.ReplayRunning}, t0.Add(time.Duration(n)*time.Second))
	}
	if r := x.Replays(t0); len(r) != maxReplays {
		t.Errorf("%d", len(r))
	}
}

// The list is what a plain map sorted at each question would give, whatever
// order alerts, growth and triage come in.
func TestListAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New(Limits{})
		type truth struct {
			a alert.Alert
			t responders.Triage
		}
		want := map[string]*truth{}
		at := func(id string) *truth {
			if want[id] == nil {
				want[id] = &truth{}
			}
			return want[id]
		}
		for seq := range rapid.IntRange(0, 60).Draw(t, "steps") {
			n := rapid.IntRange(0, 12).Draw(t, "n")
			a := anAlert(n, t0.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "at"))*time.Minute))
			if rapid.Bool().Draw(t, "alert") {
				a.Count = seq
				at(a.ID).a = a
				x.Apply(responders.Change{Seq: uint64(seq + 1), AlertID: a.ID, Alert: &a})
			} else {
				tr := responders.Triage{State: rapid.SampledFrom([]responders.TriageState{responders.TriageOpen, responders.TriageAcknowledged, responders.TriageClosed}).Draw(t, "state"), Owner: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "owner")}
				at(a.ID).t = tr
				x.Apply(responders.Change{Seq: uint64(seq + 1), AlertID: a.ID, Triage: &tr})
			}
		}
		q := Query{MinSeverity: alert.Severity(rapid.IntRange(0, 5).Draw(t, "sev")), State: rapid.SampledFrom([]responders.TriageState{"", Unclosed, responders.TriageOpen, responders.TriageClosed}).Draw(t, "qstate"),
			Owner: rapid.SampledFrom([]string{"", "a"}).Draw(t, "qowner"), Text: rapid.SampledFrom([]string{"", "TITLE 1", "u2"}).Draw(t, "text"), Offset: rapid.IntRange(0, 5).Draw(t, "offset"), Limit: rapid.IntRange(0, 5).Draw(t, "limit")}
		var rows []string
		for _, v := range want {
			if v.a.ID == "" {
				continue
			}
			s := v.t.State
			if s == "" {
				s = responders.TriageOpen
			}
			if v.a.Severity < q.MinSeverity || q.State == Unclosed && s == responders.TriageClosed || q.State != "" && q.State != Unclosed && q.State != s || q.Owner != "" && q.Owner != v.t.Owner {
				continue
			}
			if !strings.Contains(strings.ToLower(v.a.Title+"\x00"+v.a.Actor.Name+"\x00"+v.a.Actor.ID), strings.ToLower(q.Text)) {
				continue
			}
			rows = append(rows, fmt.Sprintf("%020d %s %d %s %s", 1<<40-v.a.LastAt.Unix(), v.a.ID, v.a.Count, s, v.t.Owner))
		}
		sort.Strings(rows)
		got := x.List(q)
		if got.Total != len(rows) {
			t.Fatalf("%+v: %d, want %d", q, got.Total, len(rows))
		}
		rows = rows[min(q.Offset, len(rows)):]
		if q.Limit > 0 {
			rows = rows[:min(q.Limit, len(rows))]
		}
		var have []string
		for _, a := range got.Alerts {
			have = append(have, fmt.Sprintf("%020d %s %d %s %s", 1<<40-a.LastAt.Unix(), a.ID, a.Count, a.State, a.Owner))
		}
		if !slices.Equal(have, rows) {
			t.Fatalf("%+v:\n got %v\nwant %v", q, have, rows)
		}
	})
}

func TestBounds(t *testing.T) {
	x := New(Limits{Alerts: 10, Actions: 10, Events: 100})
	for i := range 50 {
		a := anAlert(i, t0.Add(time.Duration(i)*time.Minute))
		x.Apply(responders.Change{Seq: uint64(i + 1), AlertID: a.ID, Alert: &a})
		d := responders.ActionDetail{ProposedAt: t0.Add(time.Duration(i) * time.Minute)}
		d.ID, d.Seq = fmt.Sprint(i), uint64(i+1)
		x.Apply(responders.Change{Seq: uint64(i + 1), Action: &d})
	}
	if held, dropped := x.Held(); held != 10 || dropped != 40 {
		t.Errorf("%d held, %d dropped", held, dropped)
	}
	if l := x.List(Query{}); l.Total != 10 || l.Alerts[0].ID != anAlert(49, t0).ID {
		t.Errorf("the newest are %+v", l.Alerts)
	}
	if a := x.Actions(); len(a) > 11 || a[0].ID != "49" {
		t.Errorf("%d actions, first %s", len(a), a[0].ID)
	}
	for i := range 1000 {
		x.AddEvent(anEvent(t, i, "u", "k", "203.0.113.7", "Get", true), Pos{Seq: uint64(i)})
	}
	if held, total, _, _ := x.EventsHeld(); held > 100 || held < 90 || total != 1000 {
		t.Errorf("%d of %d events held", held, total)
	}
	if n := x.Newest(3); len(n) != 3 || n[0].ID != "E000999" {
		t.Errorf("newest %+v", n)
	}
	// Old news comes again after a cut: nothing goes back.
	d := responders.ActionDetail{ProposedAt: t0.Add(49 * time.Minute)}
	d.ID, d.State = "49", responders.Expired
	x.Apply(responders.Change{Seq: 3, Action: &d})
	if a := x.Actions(); a[0].State == responders.Expired {
		t.Error("an older record replaced a newer one")
	}
}

// An event that comes from elsewhere looks as if it were held.
func TestEventOf(t *testing.T) {
	x := New(Limits{})
	for i, ev := range []*event.Event{anEvent(t, 0, "u", "k", "203.0.113.7", "CreateAccessKey", true), anEvent(t, 1, strings.Repeat("u", 2*maxWord), "k", "203.0.113.7", "Get", false)} {
		x.AddEvent(ev, Pos{})
		if got := EventOf(ev); got != x.Newest(1)[0] || got.ID == "" {
			t.Errorf("event %d: %+v, held as %+v", i, got, x.Newest(1)[0])
		}
	}
}

func anEvent(t testing.TB, n int, user, key, ip, name string, ok bool) *event.Event {
	t.Helper()
	m := map[string]any{"eventId": fmt.Sprintf("E%06d", n), "eventName": name, "serviceName": "Ram", "eventType": "ApiCall", "eventRW": "Write", "eventTime": t0.Add(time.Duration(n) * 7 * time.Second).Format(time.RFC3339),
		"sourceIpAddress": ip, "recipientAccountId": "1000000000000001", "userIdentity": map[string]any{"type": "ram-user", "accountId": "1000000000000001", "principalId": "2", "userName": user, "accessKeyId": key}}
	if !ok {
		m["errorCode"] = "NoPermission"
	}
	if name == "CreateAccessKey" {
		m["requestParameters"] = map[string]any{"UserName": "made"}
		m["responseElements"] = map[string]any{"AccessKey": map[string]any{"AccessKeyId": "LTAI5tEXAMPLEmade000001"}}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// Counts of an entity are what a plain count over all events gives.
func TestEntityAgainstOracle(t *testing.T) {
	users, keys, ips, names := []string{"alice", "bob", "chen"}, []string{"LTAI5tEXAMPLEa000000001", "LTAI5tEXAMPLEb000000001"}, []string{"203.0.113.7", "198.51.100.9", "2001:db8::1"}, []string{"ListUsers", "CreateUser", "GetUser"}
	rapid.Check(t, func(rt *rapid.T) {
		x := New(Limits{Events: 10_000})
		var all []*event.Event
		for i := range rapid.IntRange(0, 80).Draw(rt, "events") {
			ev := anEvent(t, i, rapid.SampledFrom(users).Draw(rt, "user"), rapid.SampledFrom(keys).Draw(rt, "key"), rapid.SampledFrom(ips).Draw(rt, "ip"), rapid.SampledFrom(names).Draw(rt, "name"), rapid.Bool().Draw(rt, "ok"))
			all = append(all, ev)
			x.AddEvent(ev, Pos{Seq: uint64(i)})
			if rapid.Bool().Draw(rt, "repeated") {
				x.AddEvent(ev, Pos{Seq: uint64(i)})
			}
		}
		kind := rapid.SampledFrom([]string{KindActor, KindKey, KindIP}).Draw(rt, "kind")
		id := map[string]string{KindActor: "user/1000000000000001/alice", KindKey: keys[0], KindIP: ips[0]}[kind]
		from, to := t0.Add(time.Duration(rapid.IntRange(0, 300).Draw(rt, "from"))*time.Second), t0.Add(time.Duration(rapid.IntRange(300, 600).Draw(rt, "to"))*time.Second)
		if rapid.Bool().Draw(rt, "whole") {
			from, to = time.Time{}, time.Time{}
		}
		total, count, refused := 0, 0, 0
		byIP, heat := map[string]int{}, [7][24]int{}
		for _, ev := range all {
			if map[string]string{KindActor: ev.Actor.ID, KindKey: ev.Actor.Key, KindIP: ev.Address.Text}[kind] != id {
				continue
			}
			total++
			if !from.IsZero() && (ev.Time.Before(from) || !ev.Time.Before(to)) {
				continue
			}
			count++
			byIP[ev.Address.Text]++
			heat[(int(ev.Time.Weekday())+6)%7][ev.Time.Hour()]++
			if ev.Outcome == event.Attempt {
				refused++
			}
		}
		e := x.Entity(kind, id, from, to, 0, 20)
		if e.Total != total || e.Count != count || e.Refused != refused || e.Heat != heat {
			rt.Fatalf("%s %s %s..%s: %d %d %d, want %d %d %d", kind, id, from, to, e.Total, e.Count, e.Refused, total, count, refused)
		}
		inBuckets := 0
		for _, b := range e.Buckets {
			inBuckets += b.OK + b.Refused
		}
		if inBuckets != count {
			rt.Fatalf("%d events in %d buckets of %d s, want %d (%s to %s)", inBuckets, len(e.Buckets), e.Step, count, from, to)
		}
		if len(e.Networks) != len(byIP) {
			rt.Fatalf("networks %v, want %v", e.Networks, byIP)
		}
		for _, s := range e.Networks {
			if byIP[s.Value] != s.Count || s.Last.Before(s.First) {
				rt.Fatalf("networks %v, want %v", e.Networks, byIP)
			}
		}
		if len(e.Events) != min(count, 20) {
			rt.Fatalf("%d events listed of %d", len(e.Events), count)
		}
		for i := 1; i < len(e.Events); i++ {
			if e.Events[i].At.After(e.Events[i-1].At) {
				rt.Fatal("events are not newest first")
			}
		}
	})
}

func TestLineage(t *testing.T) {
	x := New(Limits{})
	x.AddEvent(anEvent(t, 1, "mallory", "LTAI5tEXAMPLEroot000001", "203.0.113.7", "CreateAccessKey", true), Pos{})
	x.AddEvent(anEvent(t, 2, "made", "LTAI5tEXAMPLEmade000001", "203.0.113.9", "GetUser", true), Pos{})
	e := x.Entity(KindKey, "LTAI5tEXAMPLEmade000001", time.Time{}, time.Time{}, 0, 10)
	if len(e.Origin) != 1 || e.Origin[0].ByKey != "LTAI5tEXAMPLEroot000001" || e.Origin[0].Action != "iam.accesskey.create" {
		t.Errorf("where it comes from: %+v", e.Origin)
	}
	e = x.Entity(KindKey, "LTAI5tEXAMPLEroot000001", time.Time{}, time.Time{}, 0, 10)
	if len(e.Created) != 1 || e.Created[0].Key != "LTAI5tEXAMPLEmade000001" {
		t.Errorf("what it made: %+v", e.Created)
	}
}

func TestSimilarAndRules(t *testing.T) {
	x := New(Limits{})
	now := t0.Add(40 * 24 * time.Hour)
	for i := range 30 {
		a := anAlert(i, now.Add(-time.Duration(i)*36*time.Hour))
		x.Apply(responders.Change{Seq: uint64(i + 1), AlertID: a.ID, Alert: &a})
	}
	a, ok := x.Alert(anAlert(3, t0).ID)
	if !ok {
		t.Fatal("not found")
	}
	list, total := x.Similar(a, now.Add(-20*24*time.Hour), 3)
	if len(list) != 3 || total != 6 { // 0..13 days·1.5: same rule (n%3==0): 0,6,9,12; same actor (n%4==3): 7,11
		t.Errorf("%d of %d", len(list), total)
	}
	c := x.Rules(now)["rule.0"]
	if c.Day != 1 || c.Week != 2 || c.Quarter != 10 || !c.Last.Equal(now) || c.Days[RuleDays-1] != 1 {
		t.Errorf("%+v", c)
	}
	if _, ok := x.Alert("0000000"); ok {
		t.Error("an ambiguous beginning was taken")
	}
}

func BenchmarkEntity(b *testing.B) {
	x := New(Limits{})
	for i := range 50_000 {
		x.AddEvent(anEvent(b, i, fmt.Sprintf("u%d", i%50), "LTAI5tEXAMPLEa000000001", fmt.Sprintf("203.0.113.%d", i%200), "ListUsers", i%9 > 0), Pos{})
	}
	b.ReportAllocs()
	for b.Loop() {
		if e := x.Entity(KindKey, "LTAI5tEXAMPLEa000000001", time.Time{}, time.Time{}, 0, 100); e.Count != 50_000 {
			b.Fatal(e.Count)
		}
	}
}

func BenchmarkAddEvent(b *testing.B) {
	x := New(Limits{})
	evs := make([]*event.Event, 1000)
	for i := range evs {
		evs[i] = anEvent(b, i, fmt.Sprintf("u%d", i%50), "LTAI5tEXAMPLEa000000001", fmt.Sprintf("203.0.113.%d", i%200), "ListUsers", true)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		ev := *evs[n%len(evs)]
		ev.ID = fmt.Sprintf("%012d", n)
		x.AddEvent(&ev, Pos{})
		n++
	}
}

// What one event and one alert cost; the figures stand in Limits and DESIGN.md.
func TestSizes(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const events, alerts = 50_000, 2000
	x := New(Limits{Events: 10 * events})
	before := heap()
	for i := range events {
		ev := anEvent(t, i, fmt.Sprintf("user-%d", i%500), fmt.Sprintf("LTAI5tEXAMPLE%011d", i%700), fmt.Sprintf("203.0.%d.%d", i%8, i%250), fmt.Sprintf("Call%d", i%90), i%11 > 0)
		ev.ID = fmt.Sprintf("%08x-1111-2222-3333-%012x", i, i) // as long as real ones
		x.AddEvent(ev, Pos{Seq: uint64(i / 200), Index: i % 200})
	}
	mid := heap()
	for i := range alerts {
		a := anAlert(i, t0.Add(time.Duration(i)*time.Second))
		a.Title, a.Reason = fmt.Sprintf("AccessKey created for user-%d", i), strings.Repeat("a sentence about what happened ", 8)+fmt.Sprint(i)
		x.Apply(responders.Change{Seq: uint64(i + 1), AlertID: a.ID, Alert: &a})
	}
	after := heap()
	event, alert := int64(mid-before)/events, int64(after-mid)/alerts
	t.Logf("%d bytes an event, %d bytes an alert", event, alert)
	if event > 400 || alert > 4000 {
		t.Errorf("%d bytes an event, %d bytes an alert: more than is written", event, alert)
	}
	runtime.KeepAlive(x)
}
