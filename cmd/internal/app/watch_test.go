package app

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/sls"
)

func TestAlarmsBecomeReports(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for kind, rule := range map[string]string{
		sls.AlarmGroupMissing: pipeline.RuleTampered, sls.AlarmCursorExpired: pipeline.RuleLost,
		sls.AlarmRebuilt: "", sls.AlarmCheckpointRefused: "", sls.AlarmRealigned: "", sls.AlarmPanic: "", sls.AlarmAbandoned: "",
	} {
		r, yes := alarmed("sls/audit/trail", "trailwarden", sls.Alarm{Kind: kind, Shard: 2, From: "A", Message: "it is said here"}, now)
		if yes != (rule != "") || r.Rule != rule {
			t.Errorf("%s: report %q, want %q", kind, r.Rule, rule)
		}
		// Where the logstore was made again the group is missing, too: nobody knows yet
		// whether something is lost.
		if yes && (!strings.Contains(r.Reason, "sls/audit/trail") || r.Key == "" || r.Title == "" || strings.Contains(r.Reason, "nothing was left out")) {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

func TestSight(t *testing.T) {
	started := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return started.Add(d) }
	refused := func(code string, d time.Duration) sls.Trouble { return sls.Trouble{Code: code, At: at(d)} }
	for name, tc := range map[string]struct {
		st   sls.Stats
		now  time.Duration
		want string
	}{
		"reads":                      {sls.Stats{LastPull: at(time.Hour)}, time.Hour + time.Minute, ""},
		"just started":               {sls.Stats{}, 4 * time.Minute, ""},
		"never read":                 {sls.Stats{}, 5 * time.Minute, pipeline.RuleBlind},
		"silent":                     {sls.Stats{LastPull: at(time.Hour)}, time.Hour + 5*time.Minute, pipeline.RuleBlind},
		"refused for a moment":       {sls.Stats{LastPull: at(time.Hour), Trouble: refused("Unauthorized", time.Hour+time.Second)}, time.Hour + time.Minute, ""},
		"refused":                    {sls.Stats{LastPull: at(time.Hour), Trouble: refused("Unauthorized", time.Hour+time.Minute)}, time.Hour + 2*time.Minute, pipeline.RuleTampered},
		"the logstore is gone":       {sls.Stats{LastPull: at(time.Hour), Trouble: refused("LogStoreNotExist", time.Hour+time.Minute)}, time.Hour + 3*time.Minute, pipeline.RuleTampered},
		"fails":                      {sls.Stats{LastPull: at(time.Hour), Trouble: refused("InternalServerError", time.Hour+time.Minute)}, time.Hour + 2*time.Minute, ""},
		"fails for long":             {sls.Stats{LastPull: at(time.Hour), Trouble: refused("InternalServerError", time.Hour+time.Minute)}, time.Hour + 6*time.Minute, pipeline.RuleBlind},
		"the refusal was before":     {sls.Stats{LastPull: at(time.Hour), Trouble: refused("Unauthorized", time.Minute)}, time.Hour + 2*time.Minute, ""},
		"refused before it read":     {sls.Stats{Trouble: refused("AccessKeyIdNotFound", time.Second)}, 2 * time.Minute, pipeline.RuleTampered},
		"stale from an earlier life": {sls.Stats{LastPull: at(-time.Hour)}, time.Minute, ""},
		"others read all shards":     {sls.Stats{LastHeartbeat: at(10 * time.Minute), LastSight: at(10 * time.Minute), Standby: true}, 10 * time.Minute, ""},
		"given nothing, then silent": {sls.Stats{LastHeartbeat: at(10 * time.Minute), LastSight: at(10 * time.Minute), Standby: true}, 15 * time.Minute, pipeline.RuleBlind},
		"just given a shard":         {sls.Stats{LastPull: at(time.Minute), LastHeartbeat: at(time.Hour), LastSight: at(time.Hour)}, time.Hour + time.Minute, ""},
		"a shard is held, not read":  {sls.Stats{LastPull: at(time.Minute), LastHeartbeat: at(time.Hour), LastSight: at(time.Minute)}, time.Hour, pipeline.RuleBlind},
	} {
		if tc.st.LastSight.IsZero() {
			tc.st.LastSight = tc.st.LastPull
		}
		r, bad := sight("sls/audit/trail", tc.st, tc.st.LastSight, started, at(tc.now))
		if bad != (tc.want != "") || r.Rule != tc.want {
			t.Errorf("%s: report %q, want %q", name, r.Rule, tc.want)
		}
		// The same blindness is one incident.
		if later, _ := sight("sls/audit/trail", tc.st, tc.st.LastSight, started, at(tc.now+time.Minute)); bad && later.Key != r.Key {
			t.Errorf("%s: keys %q and %q", name, r.Key, later.Key)
		}
	}
}

func TestWhyBlind(t *testing.T) {
	seen := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for want, st := range map[string]sls.Stats{
		"running":                  {State: "running"},
		"running, ReadQuotaExceed": {State: "running", Trouble: sls.Trouble{Code: "ReadQuotaExceed"}},
		strangers:                  {State: "running", Standby: true, LastSight: seen.Add(time.Second), Trouble: sls.Trouble{Code: "ReadQuotaExceed"}},
	} {
		if got := whyBlind(st, seen); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// With a store of its own nobody else reads for this process, whatever the
// consumer group says.
func TestSeen(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	st := sls.Stats{LastPull: now.Add(-time.Hour), LastSight: now, Standby: true}
	if got := seen(st, false); !got.Equal(now) {
		t.Errorf("one of several: %s", got)
	}
	if got := seen(st, true); !got.Equal(st.LastPull) {
		t.Errorf("alone: %s", got)
	}
	if got := seen(sls.Stats{}, false); !got.IsZero() {
		t.Errorf("nothing was reached: %s", got)
	}
	// And people are told so, with what to do; not where the network is silent.
	for name, tc := range map[string]struct {
		seen  time.Time
		tells bool
	}{"alone": {seen(st, true), true}, "one of several, silent": {seen(st, false), false}} {
		r, bad := sight("sls/audit/trail", st, tc.seen, tc.seen, tc.seen.Add(time.Hour))
		if !bad || r.Rule != pipeline.RuleBlind || (r.Reason == "sls/audit/trail: "+strangers) != tc.tells || strings.Contains(r.ReasonZH, "consumer_group") != tc.tells {
			t.Errorf("%s: %v %q %q", name, bad, r.Reason, r.ReasonZH)
		}
	}
}

// TestForgetting tells of rules that forget entities once they do, and not of what a
// partition had forgotten when it was taken over.
func TestForgetting(t *testing.T) {
	worker := func(p int, state string, n uint64) pipeline.WorkerStats {
		return pipeline.WorkerStats{Partition: p, State: state, Evicted: map[string]uint64{"ak.new_source_ip": n}}
	}
	m := memory{}
	for i, look := range []struct {
		workers []pipeline.WorkerStats
		want    bool
	}{
		{[]pipeline.WorkerStats{worker(0, "running", 0)}, false},
		{[]pipeline.WorkerStats{worker(0, "running", 0), worker(1, "recovering", 0)}, false},
		{[]pipeline.WorkerStats{worker(0, "running", 0), worker(1, "running", 700)}, false},
		{[]pipeline.WorkerStats{worker(0, "running", 0), worker(1, "running", 701)}, true},
		{[]pipeline.WorkerStats{worker(0, "running", 0), worker(1, "running", 701)}, false},
		{[]pipeline.WorkerStats{worker(0, "running", 3), worker(1, "running", 701)}, true},
	} {
		if got := m.forgot(look.workers); got != look.want {
			t.Errorf("look %d: %v, want %v", i, got, look.want)
		}
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := forgetting([]pipeline.WorkerStats{worker(0, "running", 3), worker(1, "running", 701)}, now)
	for _, text := range []string{r.Reason, r.ReasonZH} {
		if !strings.Contains(text, "704") || !strings.Contains(text, "ak.new_source_ip 704") {
			t.Errorf("%q", text)
		}
	}
	if r.Rule != pipeline.RuleForgot || r.Key != forgetting(nil, now.Add(11*time.Hour)).Key || r.Key == forgetting(nil, now.Add(12*time.Hour)).Key {
		t.Errorf("%+v: it is told once a day", r)
	}
}

// What came late is told when it is one in twenty of an hour, and forgotten after it.
func TestLateness(t *testing.T) {
	var l lateness
	now := time.Unix(1_795_000_000, 0)
	look := func(state string, events, late uint64, want *came) {
		t.Helper()
		got := l.look([]pipeline.WorkerStats{{Partition: 3, State: state, Counters: bus.Counters{Evaluated: events, Late: late}}}, now)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	look("starting", 0, 0, nil)
	look("running", 9_000, 9_000, nil) // of who had it before
	look("running", 9_100, 9_019, nil) // a handful
	now = now.Add(30 * time.Minute)
	look("running", 9_500, 9_025, nil) // one in twenty, and not more
	look("running", 9_500, 9_026, &came{500, 26})
	look("running", 9_521, 9_026, nil)
	look("running", 9_521, 9_027, &came{521, 27})
	look("fenced", 0, 0, &came{521, 27})
	look("running", 20_000, 20_000, &came{521, 27}) // back, with what another did meanwhile
	look("running", 20_000, 20_020, &came{521, 47})
	now = now.Add(31 * time.Minute)
	look("running", 20_000, 20_020, &came{421, 28})
	now = now.Add(time.Hour)
	look("running", 20_000, 20_020, nil)
	if slow(pipeline.ReaderStats{}, now) || slow(pipeline.ReaderStats{At: now.Add(-time.Minute)}, now) || !slow(pipeline.ReaderStats{At: now.Add(-61 * time.Second)}, now) {
		t.Error("alerts that wait")
	}
}
