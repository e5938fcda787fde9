package detectors_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/lineage"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/rules"
)

// mixed is a set with a rule of every kind.
func mixed(t testing.TB) *rules.Set { return load(t, rules.LoadOptions{}, mixedFiles()) }

// kinfolk are those and one that asks where the actor comes from.
func kinfolk(t testing.TB) *rules.Set {
	files := mixedFiles()
	files["kin"] = ruleFile("kin", `actor.kind != "service"`, "dedup: {by: [lineage.root, lineage.sentence]}\ndetector: {type: counter, by: lineage.root, count: 3, window: 300s}\n")
	return load(t, rules.LoadOptions{Lineage: func() detectors.Lineage { return lineage.New(lineage.Config{}) }}, files)
}

// families lets carol be made by the others.
func families(items []item) []item {
	for i := range items {
		items[i].raw = bytes.ReplaceAll(items[i].raw, []byte("dave"), []byte("carol"))
	}
	return items
}

func mixedFiles() map[string][]byte {
	return map[string][]byte{
		"plain":  ruleFile("plain", `event.name == "CreateUser"`, ""),
		"burst":  ruleFile("burst", `outcome == "attempt"`, "detector: {type: counter, by: actor.id, count: 3, window: 60s}\n"),
		"silent": ruleFile("silent", `actor.kind != "service"`, "detector: {type: counter, by: event.account, absence: true, window: 120s}\n"),
		"policy": ruleFile("policy", `action == "iam.policy.attach" && policy.expands`, "dedup: {by: [event.id]}\n"),
		"shadow": ruleFile("shadow", `event.name == "CreateUser"`, "status: shadow\n"),
		"watch":  ruleFile("watch", `actor.id != ""`, "detector: {type: counter, by: actor.id, signals: {rules: ['*'], up_to: low}, count: 3, window: 90s}\n"),
		"loud":   ruleFile("loud", `actor.id != ""`, "detector: {type: counter, by: actor.id, signals: {rules: ['*'], up_to: info}, count: 1}\n"),
	}
}

type item struct {
	raw   []byte
	shard string
}

// drive runs records through an engine and returns the final alerts as JSON.
func drive(t testing.TB, set *rules.Set, cfg detectors.EngineConfig, items []item) (string, detectors.EngineStats) {
	t.Helper()
	e, eval, g := detectors.NewEngine(set, cfg), set.NewEvaluator(), alert.NewGrouper(alert.GrouperConfig{})
	for _, it := range items {
		apply(t, e, eval, it)
	}
	e.Close()
	for _, d := range e.Take() {
		g.Add(d)
	}
	return alerts(t, g), e.Stats()
}

func apply(t testing.TB, e *detectors.Engine, eval *detectors.Evaluator, it item) {
	t.Helper()
	x, err := event.Parse(it.raw)
	if err != nil {
		t.Fatal(err)
	}
	e.Apply(eval.Evaluate(x), it.shard)
}

func alerts(t testing.TB, g *alert.Grouper) string {
	t.Helper()
	var b strings.Builder
	for _, a := range g.All() {
		a.Revision = 0
		line, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// story draws records in event-time order, over several minutes and shards.
func story(r *rand.Rand, n int) []item {
	var out []item
	at := t0
	for i := range n {
		at = at.Add(time.Duration(r.IntN(20)) * time.Second)
		over := user([]string{"alice", "bob", "carol"}[r.IntN(3)])
		switch r.IntN(4) {
		case 0:
			over["eventName"], over["serviceName"] = "CreateUser", "Ram"
			over["requestParameters"] = map[string]any{"UserName": "dave"}
		case 1:
			over["errorCode"] = "NoPermission"
		case 2:
			over["eventName"], over["serviceName"] = "AttachPolicyToUser", "Ram"
			over["requestParameters"] = map[string]any{"UserName": "dave", "PolicyName": "P", "PolicyType": "Custom"}
		}
		out = append(out, item{rec(fmt.Sprintf("id-%04d", i), at, over), fmt.Sprintf("shard%d", r.IntN(3))})
	}
	return out
}

// The alerts do not depend on how events within the grace arrive.
func TestArrivalWithinGraceChangesNothing(t *testing.T) {
	set := kinfolk(t)
	const grace = 2 * time.Minute
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		items := families(story(r, rapid.IntRange(1, 60).Draw(rt, "n")))
		newConfig := func() detectors.EngineConfig {
			return detectors.EngineConfig{Grace: grace, Judge: &judge{}}
		}
		want, wantStats := drive(t, set, newConfig(), items)

		// Each event is delayed by less than the grace; a stable sort by
		// arrival gives the new order. Some are sent twice.
		type arrival struct {
			item
			at time.Time
		}
		var arrivals []arrival
		for _, it := range items {
			x, err := event.Parse(it.raw)
			if err != nil {
				rt.Fatal(err)
			}
			at := x.Time.Add(time.Duration(r.Int64N(int64(grace))))
			arrivals = append(arrivals, arrival{it, at})
			if r.IntN(5) == 0 {
				arrivals = append(arrivals, arrival{item{it.raw, "again"}, at.Add(time.Second)})
			}
		}
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })
		var shuffled []item
		for _, a := range arrivals {
			shuffled = append(shuffled, a.item)
		}
		got, stats := drive(t, set, newConfig(), shuffled)
		if got != want {
			rt.Fatalf("alerts differ (-in order +shuffled):\n%s", cmp.Diff(want, got))
		}
		if stats.Late != 0 || stats.Events != wantStats.Events || stats.Duplicates != uint64(len(shuffled)-len(items)) {
			rt.Fatalf("late %d, events %d of %d, duplicates %d of %d", stats.Late, stats.Events, wantStats.Events, stats.Duplicates, len(shuffled)-len(items))
		}
	})
}

// What is told of an actor's origin reaches expressions and details.
func TestKin(t *testing.T) {
	call := func(id string, after time.Duration, who, service, name string) item {
		over := user(who)
		over["serviceName"], over["eventName"], over["requestParameters"] = service, name, map[string]any{"UserName": "carol"}
		return item{rec(id, t0.Add(after), over), "s"}
	}
	items := []item{call("e1", 0, "alice", "Ram", "CreateUser"), call("e2", time.Minute, "carol", "Ram", "ListUsers"), call("e3", 2*time.Minute, "carol", "Ram", "ListRoles")}
	got, stats := drive(t, kinfolk(t), detectors.EngineConfig{}, items)
	if stats.Lineage.Keys != 1 {
		t.Errorf("%+v", stats.Lineage)
	}
	for _, want := range []string{`"rule":"kin"`, `the identity was created by user alice 2 minutes before`, `"root":"user/1000000000000001/alice"`, `"lineage":{"chain":[{"action":"iam.user.create"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// A restart anywhere changes nothing, and a snapshot is the same bytes when
// it is taken again.
func TestSnapshotAnywhere(t *testing.T) {
	set := kinfolk(t)
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2))
		items := families(story(r, rapid.IntRange(1, 50).Draw(rt, "n")))
		cut := rapid.IntRange(0, len(items)).Draw(rt, "cut")
		cfg := func() detectors.EngineConfig { return detectors.EngineConfig{Grace: 30 * time.Second, Judge: &judge{}} }
		want, wantStats := drive(t, set, cfg(), items)

		g := alert.NewGrouper(alert.GrouperConfig{})
		add := func(e *detectors.Engine) {
			for _, d := range e.Take() {
				g.Add(d)
			}
		}
		first, eval := detectors.NewEngine(set, cfg()), set.NewEvaluator()
		for _, it := range items[:cut] {
			apply(t, first, eval, it)
		}
		add(first)
		snap := first.Snapshot()
		second := detectors.NewEngine(set, cfg())
		if err := second.Restore(snap); err != nil {
			rt.Fatal(err)
		}
		if again := second.Snapshot(); !bytes.Equal(snap, again) {
			rt.Fatalf("snapshot of %d bytes, again %d bytes, differ", len(snap), len(again))
		}
		for _, it := range items[cut:] {
			apply(t, second, eval, it)
		}
		second.Close()
		add(second)
		if got := alerts(t, g); got != want {
			rt.Fatalf("alerts differ after a restart at %d of %d:\n%s", cut, len(items), cmp.Diff(want, got))
		}
		got := second.Stats()
		for _, s := range []*detectors.EngineStats{&got, &wantStats} {
			s.ByRule = nil
		}
		if d := cmp.Diff(wantStats, got); d != "" {
			rt.Fatalf("statistics differ after a restart:\n%s", d)
		}
	})
}

// A record that does not say when is given a time when it comes. It has that
// time after a restart too.
func TestRestoreKeepsTheTimeGiven(t *testing.T) {
	set := mixed(t)
	cfg := func() detectors.EngineConfig { return detectors.EngineConfig{Judge: &judge{}} }
	first := detectors.NewEngine(set, cfg())
	x := ev(t, "untimed", t0, map[string]any{"eventTime": nil, "serviceName": "Ram", "eventName": "AttachPolicyToUser",
		"requestParameters": map[string]any{"UserName": "dave", "PolicyName": "P", "PolicyType": "Custom"}})
	x.Time = t0
	first.Apply(set.NewEvaluator().Evaluate(x), "s")
	second := detectors.NewEngine(set, cfg())
	if err := second.Restore(first.Snapshot()); err != nil {
		t.Fatal(err)
	}
	first.Close()
	second.Close()
	want, got := first.Take(), second.Take()
	if len(want) == 0 || !want[0].Time.Equal(t0) {
		t.Fatalf("without a restart: %+v", want)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("detections differ after a restart:\n%s", d)
	}
}

func TestRestoreRefuses(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Judge: &judge{}}), set.NewEvaluator()
	for _, it := range story(rand.New(rand.NewPCG(1, 1)), 40) {
		apply(t, e, eval, it)
	}
	good := e.Snapshot()
	fresh := func() *detectors.Engine { return detectors.NewEngine(set, detectors.EngineConfig{Judge: &judge{}}) }
	refused := func(name string, data []byte) {
		t.Helper()
		f := fresh()
		if err := f.Restore(data); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if s := f.Stats(); s.Events != 0 || s.Pending != 0 || s.Remembered != 0 {
			t.Errorf("%s left state behind: %+v", name, s)
		}
	}
	refused("nothing", nil)
	for i := 0; i < len(good); i += 7 {
		refused(fmt.Sprintf("a cut at %d", i), good[:i])
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		refused(fmt.Sprintf("a flipped bit at %d", i), bad)
	}
	// Even with a right checksum, content that is not understood is refused
	// and never panics.
	reseal := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	body := good[:len(good)-4]
	refused("another version", reseal(bytes.Replace(body, []byte("TWENGINE5"), []byte("TWENGINE9"), 1)))
	for i := 12; i < len(body); i += 11 {
		refused("a short body", reseal(body[:i]))
		bad := bytes.Clone(body)
		bad[i] ^= 0xff
		fresh().Restore(reseal(bad)) // may be accepted: it must not panic
	}
	refused("more than the whole", reseal(append(bytes.Clone(body), 0)))
}

// A snapshot that an older program wrote is taken over whole: what follows is
// found as if this program had been there from the start. The file is of the
// first encoding and is never written again.
func TestRestoreOlderFormat(t *testing.T) {
	old, err := os.ReadFile("testdata/engine1.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	set := load(t, rules.LoadOptions{}, map[string][]byte{ // what there was then
		"plain":  ruleFile("plain", `event.name == "CreateUser"`, ""),
		"burst":  ruleFile("burst", `outcome == "attempt"`, "detector: {type: counter, by: actor.id, count: 3, window: 60s}\n"),
		"silent": ruleFile("silent", `actor.kind != "service"`, "detector: {type: counter, by: event.account, absence: true, window: 120s}\n"),
		"policy": ruleFile("policy", `action == "iam.policy.attach" && policy.expands`, "dedup: {by: [event.id]}\n"),
		"shadow": ruleFile("shadow", `event.name == "CreateUser"`, "status: shadow\n"),
	})
	cfg := func() detectors.EngineConfig { return detectors.EngineConfig{Judge: &judge{}} }
	items := story(rand.New(rand.NewPCG(1, 1)), 60)
	whole, eval := detectors.NewEngine(set, cfg()), set.NewEvaluator()
	for _, it := range items[:40] {
		apply(t, whole, eval, it)
	}
	whole.Take()
	migrated := detectors.NewEngine(set, cfg())
	if err := migrated.Restore(old); err != nil {
		t.Fatal(err)
	}
	if s := migrated.Stats(); s.StateLost != 0 {
		t.Errorf("the state of %d detectors was not taken over", s.StateLost)
	}
	// What rules in shadow would have made was not measured then.
	migrated.MeasureAnew()
	whole.MeasureAnew()
	if !bytes.Equal(migrated.Snapshot(), whole.Snapshot()) {
		t.Error("the state is not that of an engine that was there from the start")
	}
	for _, it := range items[40:] {
		apply(t, whole, eval, it)
		apply(t, migrated, eval, it)
	}
	whole.Close()
	migrated.Close()
	if d := cmp.Diff(whole.Take(), migrated.Take()); d != "" {
		t.Errorf("what follows differs (-there from the start +migrated):\n%s", d)
	}
}

// State of a rule whose detector is set differently starts anew; the others'
// state stays.
func TestRestoreAfterRuleChange(t *testing.T) {
	file := func(count int) map[string][]byte {
		return map[string][]byte{
			"a": ruleFile("a", `outcome == "attempt"`, fmt.Sprintf("detector: {type: counter, by: actor.id, count: %d}\n", count)),
			"b": ruleFile("b", `outcome == "attempt"`, "detector: {type: counter, by: actor.id, count: 3}\n"),
		}
	}
	one, two := load(t, rules.LoadOptions{}, file(3)), load(t, rules.LoadOptions{}, file(2))
	if one.Hash() == two.Hash() {
		t.Error("a changed rule has the same hash")
	}
	e, eval := detectors.NewEngine(one, detectors.EngineConfig{}), one.NewEvaluator()
	denied := map[string]any{"errorCode": "NoPermission"}
	for i := range 2 {
		e.Apply(eval.Evaluate(ev(t, fmt.Sprint(i), t0.Add(time.Duration(i)*time.Second), denied)), "s")
	}
	e.Tick(t0)
	e.Tick(t0.Add(time.Minute))
	next := detectors.NewEngine(two, detectors.EngineConfig{})
	if err := next.Restore(e.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if s := next.Stats(); s.StateLost != 1 || s.ByRule["b"].Detector.Keys != 1 || s.ByRule["a"].Detector.Keys != 0 {
		t.Errorf("after the change: %+v", s)
	}
	next.Apply(two.NewEvaluator().Evaluate(ev(t, "2", t0.Add(2*time.Minute), denied)), "s")
	next.Close()
	if got := next.Take(); len(got) != 1 || got[0].Rule != "b" || got[0].Count != 3 {
		t.Errorf("detections %+v", got)
	}
}

func TestDuplicates(t *testing.T) {
	set := load(t, rules.LoadOptions{}, map[string][]byte{"r": ruleFile("r", `true`, "")})
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{DedupHorizon: time.Hour, DedupMax: 100, Grace: time.Second}), set.NewEvaluator()
	send := func(id string, at time.Time, over map[string]any) int {
		e.Apply(eval.Evaluate(ev(t, id, at, over)), "s")
		return len(e.Take())
	}
	if send("a", t0, nil) != 1 || send("a", t0, nil) != 0 {
		t.Error("a repeated record counts twice")
	}
	if send("a", t0, map[string]any{"recipientAccountId": "1000000000000002"}) != 1 {
		t.Error("the same id in another account is another event")
	}
	if send("b", t0.Add(30*time.Minute), nil) != 1 || send("a", t0, nil) != 0 {
		t.Error("forgotten within the horizon")
	}
	if send("c", t0.Add(2*time.Hour), nil) != 1 || send("b", t0.Add(30*time.Minute), nil) != 1 {
		t.Error("remembered past the horizon")
	}
	if s := e.Stats(); s.Duplicates != 2 || s.Forgotten == 0 {
		t.Errorf("statistics %+v", s)
	}
	// The bound on entries holds, oldest first.
	for i := range 1000 {
		send(fmt.Sprintf("n%d", i), t0.Add(2*time.Hour+time.Duration(i)*time.Second), nil)
	}
	if n := e.Stats().Remembered; n > 100 {
		t.Errorf("%d remembered, at most 100 are allowed", n)
	}
	if send("n999", t0.Add(2*time.Hour+999*time.Second), nil) != 0 {
		t.Error("the newest was forgotten")
	}
}

func TestLateEvents(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: 10 * time.Second}), set.NewEvaluator()
	send := func(id string, at time.Time, over map[string]any) {
		e.Apply(eval.Evaluate(ev(t, id, at, over)), "s")
	}
	send("a", t0, nil)
	send("b", t0.Add(time.Hour), nil)
	send("late", t0.Add(time.Minute), map[string]any{"eventName": "CreateUser", "serviceName": "Ram"})
	for i := range 3 {
		send(fmt.Sprintf("d%d", i), t0.Add(2*time.Minute+time.Duration(i)), map[string]any{"errorCode": "NoPermission"})
	}
	got := e.Take()
	byRule := map[string]int{}
	for _, d := range got {
		byRule[d.Rule]++
		if d.Rule != "silent" && !d.Late {
			t.Errorf("%s is not marked late", d.Rule)
		}
	}
	if byRule["plain"] != 1 || byRule["burst"] != 1 {
		t.Errorf("late events were not evaluated: %v", byRule)
	}
	if s := e.Stats(); s.Late != 4 {
		t.Errorf("%d late, want 4", s.Late)
	}
}

func TestWatermarkWaitsForTheSlowestShard(t *testing.T) {
	set := mixed(t)
	cfg := detectors.EngineConfig{Grace: 10 * time.Second, IdleAfter: 30 * time.Second, MaxLag: time.Hour}
	e, eval := detectors.NewEngine(set, cfg), set.NewEvaluator()
	now := t0.Add(time.Minute)
	e.Tick(now)
	send := func(id string, at time.Time, shard string) {
		e.Apply(eval.Evaluate(ev(t, id, at, nil)), shard)
	}
	send("a", t0, "one")
	send("b", t0.Add(50*time.Second), "two")
	if w := e.Watermark(); !w.Equal(t0.Add(-10 * time.Second)) {
		t.Errorf("watermark %s: the slower shard is at %s", w, t0)
	}
	// Shard one falls silent; after a while it no longer holds.
	now = now.Add(20 * time.Second)
	e.Tick(now)
	send("c", t0.Add(55*time.Second), "two")
	now = now.Add(15 * time.Second)
	e.Tick(now)
	if w := e.Watermark(); !w.Equal(t0.Add(45 * time.Second)) {
		t.Errorf("watermark %s, want %s: shard one is idle", w, t0.Add(45*time.Second))
	}
	if n := e.Stats().Pending; n != 2 {
		t.Errorf("%d pending, want the two events after the watermark", n)
	}
	// When all are silent, everything is decided.
	now = now.Add(40 * time.Second)
	e.Tick(now)
	if s := e.Stats(); s.Pending != 0 {
		t.Errorf("%d pending though no shard sends", s.Pending)
	}
	// And with time, absences are noticed.
	if len(e.Take()) != 0 {
		t.Error("an absence before its time")
	}
	e.Tick(now.Add(2 * time.Hour))
	if got := e.Take(); len(got) != 1 || got[0].Rule != "silent" {
		t.Errorf("detections %v, want the absence", got)
	}
	// A clock that goes back changes nothing.
	w := e.Watermark()
	e.Tick(t0)
	if !e.Watermark().Equal(w) {
		t.Error("the watermark went back")
	}
}

// A source that starts with old records, or pauses among them, does not make
// them late: time does not run ahead of what was delivered.
// A backlog is read shard by shard, each at its own pace. While a shard is known
// to have more, its old events are not late, whatever the others bring.
func TestBacklogOfSeveralShardsIsNotLate(t *testing.T) {
	set := mixed(t)
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 5))
		items := story(r, rapid.IntRange(1, 60).Draw(rt, "n"))
		cfg := func() detectors.EngineConfig {
			return detectors.EngineConfig{Grace: time.Second, HoldFor: time.Hour, Judge: &judge{}}
		}
		want, wantStats := drive(t, set, cfg(), items)

		left := map[string][]item{}
		for _, it := range items {
			left[it.shard] = append(left[it.shard], it)
		}
		e, eval := detectors.NewEngine(set, cfg()), set.NewEvaluator()
		g := alert.NewGrouper(alert.GrouperConfig{})
		now := t0.Add(24 * time.Hour)
		ends := 3 // at most so often the program was down
		for len(left) > 0 {
			// A frame: part of one shard, stored with what the others have.
			names := slices.Sorted(maps.Keys(left))
			name := names[r.IntN(len(names))]
			k := 1 + r.IntN(len(left[name]))
			frame := left[name][:k]
			if left[name] = left[name][k:]; len(left[name]) == 0 {
				delete(left, name)
			}
			var behind []string
			for _, n := range slices.Sorted(maps.Keys(left)) {
				behind = append(behind, "sls/"+n)
			}
			now = now.Add(time.Duration(r.IntN(30)) * time.Second) // longer than a shard may be idle
			if r.IntN(4) == 0 && ends > 0 {
				now = now.Add(time.Duration(r.IntN(12)) * time.Hour) // longer than it may hold
				ends--
			}
			e.Behind("sls", behind, "sls/"+name)
			e.Tick(now)
			for _, it := range frame {
				apply(t, e, eval, item{it.raw, "sls/" + it.shard})
			}
			if r.IntN(4) == 0 {
				next := detectors.NewEngine(set, cfg())
				for _, d := range e.Take() {
					g.Add(d)
				}
				if err := next.Restore(e.Snapshot()); err != nil {
					rt.Fatal(err)
				}
				e = next
			}
		}
		e.Close()
		for _, d := range e.Take() {
			g.Add(d)
		}
		if got := alerts(t, g); got != want {
			rt.Fatalf("alerts differ (-in order +by shard):\n%s", cmp.Diff(want, got))
		}
		if s := e.Stats(); s.Late != 0 || s.Events != wantStats.Events {
			rt.Fatalf("%d late, %d events of %d", s.Late, s.Events, wantStats.Events)
		}
	})
}

// The minute for which a shard holds the others is one in which it could have
// given something: the program was down for longer, and when it comes back
// another shard is read first.
func TestBehindAfterAnOutage(t *testing.T) {
	set := mixed(t)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	const a, b = "sls/p/l/0", "sls/p/l/1"
	for _, before := range []bool{false, true} { // was it behind before?
		e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: time.Second, IdleAfter: 2 * time.Second, HoldFor: time.Minute}), set.NewEvaluator()
		frame := func(now int, shard, id string, when int, behind ...string) {
			e.Behind("sls/p/l", behind, shard)
			e.Tick(at(now))
			e.Apply(eval.Evaluate(ev(t, id, at(when), nil)), shard)
		}
		frame(10, b, "b1", 8)
		if before {
			frame(10, a, "a1", 9, b)
		} else {
			frame(10, a, "a1", 9)
		}
		frame(7200, a, "a2", 7000, b)
		frame(7201, a, "a3", 7199, b)
		frame(7202, b, "b2", 20, b)
		frame(7203, b, "b3", 7100)
		if s := e.Stats(); s.Late != 0 {
			t.Errorf("behind before %v: %d late", before, s.Late)
		}
	}
}

// The log service answers nothing while the program runs and ticks. What waits is
// decided, but time does not go on, and who comes back first does not make the
// other one late, which had no chance to give anything.
func TestBehindWhileNothingIsRead(t *testing.T) {
	set := mixed(t)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	const a, b = "sls/p/l/0", "sls/p/l/1"
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: time.Second, IdleAfter: 2 * time.Second}), set.NewEvaluator()
	frame := func(now int, shard, id string, when int, behind ...string) {
		e.Behind("sls/p/l", behind, shard)
		e.Tick(at(now))
		e.Apply(eval.Evaluate(ev(t, id, at(when), nil)), shard)
	}
	frame(10, a, "a1", 8)
	frame(10, b, "b1", 9)
	now := 12
	for ; now < 2*3600; now += 5 {
		e.Behind("sls/p/l", []string{a, b}, "")
		e.Tick(at(now))
	}
	if s := e.Stats(); s.Pending != 0 {
		t.Errorf("%d wait for the end of the outage", s.Pending)
	}
	if ds := e.Take(); len(ds) > 0 {
		t.Errorf("an absence where nothing was read: %+v", ds)
	}
	frame(now, a, "a2", 20, a, b)
	frame(now+1, a, "a3", now, a, b)
	frame(now+2, b, "b2", 15, b)
	frame(now+3, b, "b3", now)
	if s := e.Stats(); s.Late != 0 {
		t.Errorf("%d late", s.Late)
	}
	// One that gives nothing now holds nobody for long.
	e.Behind("sls/p/l", []string{b}, "")
	for end := now + 200; now < end; now += 5 {
		frame(now, a, fmt.Sprint("a", now), now, b)
	}
	if m := e.Watermark(); !m.Equal(at(now - 5 - 1)) {
		t.Errorf("the watermark is %v, want %v", m, at(now-5-1))
	}
	// One that gives nothing for days may be gone for good: silence is silence again.
	e.Take()
	for end := now + 25*3600; now < end; now += 15 {
		e.Behind("sls/p/l", []string{b}, "")
		e.Tick(at(now))
	}
	if ds := e.Take(); len(ds) != 1 || ds[0].Rule != "silent" {
		t.Errorf("detections %v, want the absence", ds)
	}
}

// A shard that gives nothing does not hold the others for ever, and one that
// has caught up without anything for us does not hold them at all.
func TestBehindEnds(t *testing.T) {
	set := mixed(t)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: time.Second, IdleAfter: 2 * time.Second, HoldFor: time.Minute}), set.NewEvaluator()
	step := func(now int, behind ...string) {
		e.Behind("sls/p/l", behind, "")
		e.Tick(at(now))
	}
	step(1000, "sls/p/l/0", "sls/p/l/1")
	e.Apply(eval.Evaluate(ev(t, "a", at(100), nil)), "sls/p/l/0")
	step(1010, "sls/p/l/0", "sls/p/l/1")
	if m := e.Watermark(); !m.IsZero() {
		t.Errorf("the watermark is %v while a shard has more to give", m)
	}
	for now := 1015; now <= 1065; now += 5 {
		step(now, "sls/p/l/0", "sls/p/l/1")
	}
	if m := e.Watermark(); m.Before(at(99)) {
		t.Errorf("the watermark is %v after a shard has given nothing for a minute", m)
	}
	e.Behind("sls/p/other", []string{"sls/p/other/7"}, "")
	e.Apply(eval.Evaluate(ev(t, "b", at(200), nil)), "sls/p/l/0")
	step(1066)
	if m := e.Watermark(); m.After(at(101)) {
		t.Errorf("the watermark is %v although a shard of another source has more to give", m)
	}
	e.Behind("sls/p/other", nil, "")
	e.Tick(at(1066).Add(time.Millisecond))
	if m := e.Watermark(); !m.Equal(at(199)) {
		t.Errorf("the watermark is %v when nothing holds it any more, want %v", m, at(199))
	}
	if s := e.Stats(); s.Late != 0 {
		t.Errorf("%d late", s.Late)
	}
}

// In a backlog one event of a bad clock, which is told by those that follow it, does
// not make these late. What its shard may have come to is believed.
func TestAhead(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: 10 * time.Second}), set.NewEvaluator()
	e.Tick(t0.Add(time.Hour))
	n := 0
	apply := func(far bool, at time.Duration) {
		n++
		e.Ahead(far)
		e.Apply(eval.Evaluate(ev(t, fmt.Sprint(n), t0.Add(at), nil)), "s")
	}
	apply(true, 0) // the first
	apply(true, 4*time.Minute)
	if m, want := e.Watermark(), t0.Add(4*time.Minute-10*time.Second); !m.Equal(want) {
		t.Errorf("the watermark is %v, want %v", m, want)
	}
	apply(true, 50*time.Minute)
	apply(true, 50*time.Minute)
	apply(false, 4*time.Minute+time.Second)
	apply(false, 5*time.Minute)
	if s := e.Stats(); s.Late != 0 || s.Future != 2 || s.Events != 6 {
		t.Errorf("%d late, %d of a bad clock, %d events", s.Late, s.Future, s.Events)
	}
	apply(false, 50*time.Minute) // nothing that follows says otherwise
	if m, want := e.Watermark(), t0.Add(50*time.Minute-10*time.Second); !m.Equal(want) {
		t.Errorf("the watermark is %v, want %v", m, want)
	}
	// Where the watermark is further than its shard it is not late, either.
	e.Ahead(true)
	e.Apply(eval.Evaluate(ev(t, "late", t0, nil)), "other")
	late := e.Stats().Late
	apply(true, 59*time.Minute)
	e.Ahead(true)
	e.Apply(eval.Evaluate(ev(t, "far", t0.Add(59*time.Minute), nil)), "other")
	if s := e.Stats(); s.Late != late || s.Pending == 0 {
		t.Errorf("%d late, want %d; %d wait", s.Late, late, s.Pending)
	}
}

func TestBacklogIsNotLate(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: 10 * time.Second}), set.NewEvaluator()
	now := t0.AddDate(0, 0, 7)
	e.Tick(now)
	for i := range 20 {
		e.Apply(eval.Evaluate(ev(t, fmt.Sprint(i), t0.Add(time.Duration(i)*time.Minute), nil)), "s")
		now = now.Add(time.Minute) // a pause longer than IdleAfter
		e.Tick(now)
	}
	if s := e.Stats(); s.Late != 0 || s.Pending != 0 {
		t.Errorf("%d late, %d pending of a backlog in order", s.Late, s.Pending)
	}
	e.Take()
	// Silence for hours is silence.
	e.Tick(now.Add(3 * time.Hour))
	if got := e.Take(); len(got) != 1 || got[0].Rule != "silent" {
		t.Errorf("detections %v, want the absence", got)
	}
}

func TestBadClockCannotMoveTheWatermark(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: 10 * time.Second}), set.NewEvaluator()
	e.Tick(t0)
	e.Apply(eval.Evaluate(ev(t, "future", t0.AddDate(73, 0, 0), nil)), "s")
	if w := e.Watermark(); w.After(t0.Add(5 * time.Minute)) {
		t.Errorf("watermark %s: one bad clock moved it past %s", w, t0.Add(5*time.Minute))
	}
	if s := e.Stats(); s.Future != 1 {
		t.Errorf("%d events with a bad clock, want 1", s.Future)
	}
	// Nor does it stay waiting for seventy years.
	e.Tick(t0.Add(10 * time.Minute))
	if n := e.Stats().Pending; n != 0 {
		t.Errorf("%d pending", n)
	}
}

func TestReorderBufferIsBounded(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: 24 * time.Hour, ReorderMax: 50}), set.NewEvaluator()
	for i := range 500 {
		e.Apply(eval.Evaluate(ev(t, fmt.Sprintf("%04d", i), t0.Add(time.Duration(i)*time.Millisecond), map[string]any{"errorCode": "NoPermission"})), "s")
		if n := e.Stats().Pending; n > 50 {
			t.Fatalf("%d wait, at most 50 are allowed", n)
		}
	}
	s := e.Stats()
	if s.Spilled != 450 || s.Late < s.Spilled {
		t.Errorf("spilled %d, late %d; want 450 decided early and counted", s.Spilled, s.Late)
	}
	e.Close()
	if got := e.Stats().ByRule["burst"].Matches; got != 166 {
		t.Errorf("%d bursts of 3 in 500 events, want 166", got)
	}
}

func TestCloseShardLetsTheOthersGoOn(t *testing.T) {
	set := mixed(t)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: time.Second}), set.NewEvaluator()
	e.Apply(eval.Evaluate(ev(t, "a", t0, nil)), "ended")
	e.Apply(eval.Evaluate(ev(t, "b", t0.Add(time.Minute), nil)), "live")
	e.CloseShard("ended")
	e.CloseShard("never seen")
	if w := e.Watermark(); !w.Equal(t0.Add(59 * time.Second)) {
		t.Errorf("watermark %s still waits for a shard that ended", w)
	}
}

// What detectors are to observe is asked for before: of events that wait, many at
// a time and through seconds of any size, each with its own key.
func TestDetectorsAreAskedBefore(t *testing.T) {
	set := load(t, rules.LoadOptions{}, map[string][]byte{
		"byname":    ruleFile("byname", `true`, "detector: {type: counter, by: actor.name, count: 1000}\n"),
		"byaccount": ruleFile("byaccount", `actor.name != "u7"`, "detector: {type: counter, by: event.account, count: 1000}\n"),
	})
	e := detectors.NewEngine(set, detectors.EngineConfig{OnRuleError: func(f detectors.RuleError) { t.Error(f) }})
	evaluator := set.NewEvaluator()
	n := 0
	for second, events := range []int{1, 31, 32, 33, 100, 1, 3} {
		for range events {
			n++
			e.Apply(evaluator.Evaluate(ev(t, fmt.Sprintf("e%04d", n*7919%1000), t0.Add(time.Duration(second)*time.Second), user(fmt.Sprintf("u%d", n%10)))), "s")
		}
	}
	e.Close()
	for rule, d := range e.Detectors() {
		c := d.(*counter)
		want := n
		if rule == "byaccount" {
			want -= n / 10 // u7's
		}
		seen := 0
		for key, list := range c.keys {
			seen += len(list)
			if rule == "byname" && len(list) != n/10 && len(list) != n/10+1 {
				t.Errorf("%s: %d of %s", rule, len(list), key)
			}
		}
		if seen != c.hinted || seen < want-1 || seen > want {
			t.Errorf("%s: %d events seen, %d of them asked for before, want %d", rule, seen, c.hinted, want)
		}
	}
}

// A rule that panics is counted and reported; the others go on.
func TestPanicsAreContained(t *testing.T) {
	set := load(t, rules.LoadOptions{}, map[string][]byte{
		"boom":   ruleFile("boom", `true`, "detector: {type: counter, by: actor.name, value: 'actor.name == \"boom\" ? \"boom\" : \"\"', count: 1}\n"),
		"fine":   ruleFile("fine", `true`, "detector: {type: counter, by: event.account, count: 1}\n"),
		"policy": ruleFile("policy", `action == "iam.policy.attach" && policy.known`, ""),
	})
	var faults []detectors.RuleError
	e := detectors.NewEngine(set, detectors.EngineConfig{Judge: &judge{}, OnRuleError: func(f detectors.RuleError) { faults = append(faults, f) }})
	over := user("boom")
	over["eventName"], over["serviceName"] = "AttachPolicyToUser", "Ram"
	e.Apply(set.NewEvaluator().Evaluate(ev(t, "x", t0, over)), "s")
	e.Close()
	got := e.Take()
	if len(got) != 1 || got[0].Rule != "fine" {
		t.Errorf("detections %v, want the rule beside the broken one", got)
	}
	if s := e.Stats(); s.RuleErrors != 2 || s.ByRule["boom"].Errors != 1 || len(faults) != 2 {
		t.Errorf("%d errors, hook told of %v", s.RuleErrors, faults)
	}
	for _, f := range faults {
		if f.EventID != "x" || !strings.Contains(f.Error(), "panic") || errors.Unwrap(f) == nil {
			t.Errorf("error %v", f)
		}
	}
}

func TestPolicyFactsInOrder(t *testing.T) {
	set := mixed(t)
	j := &judge{}
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Grace: time.Minute, Judge: j}), set.NewEvaluator()
	attach := map[string]any{"eventName": "AttachPolicyToUser", "serviceName": "Ram", "requestParameters": map[string]any{"UserName": "x", "PolicyName": "P"}}
	group := map[string]any{"eventName": "CreateGroup", "serviceName": "Ram", "requestParameters": map[string]any{"GroupName": "g"}}
	for _, x := range []struct {
		id   string
		at   int
		over map[string]any
	}{{"second", 20, attach}, {"first", 10, group}, {"third", 30, attach}, {"other", 15, nil}} {
		e.Apply(eval.Evaluate(ev(t, x.id, t0.Add(time.Duration(x.at)*time.Second), x.over)), "s")
	}
	e.Close()
	if want := []string{"first", "second", "third"}; !slices.Equal(j.seen, want) {
		t.Errorf("the judge saw %v, want %v: every policy act in order, and no other", j.seen, want)
	}
	var got []string
	for _, d := range e.Take() {
		if d.Rule == "policy" {
			got = append(got, fmt.Sprint(d.EventIDs, d.Details["policy"]))
		}
	}
	if want := []string{"[second] map[n:2]", "[third] map[n:3]"}; !slices.Equal(got, want) {
		t.Errorf("detections %v, want %v", got, want)
	}
	// Without a judge nothing is known, and nothing is claimed.
	e = detectors.NewEngine(set, detectors.EngineConfig{})
	e.Apply(eval.Evaluate(ev(t, "z", t0, attach)), "s")
	e.Close()
	for _, d := range e.Take() {
		if d.Rule == "policy" {
			t.Error("a policy rule matched without facts")
		}
	}
}

func TestShadowAndExceptions(t *testing.T) {
	set := mixed(t)
	create := map[string]any{"eventName": "CreateUser", "serviceName": "Ram"}
	run := func(cfg detectors.EngineConfig) ([]string, detectors.EngineStats) {
		e := detectors.NewEngine(set, cfg)
		e.Apply(set.NewEvaluator().Evaluate(ev(t, "x", t0, create)), "s")
		var got []string
		for _, d := range e.Take() {
			got = append(got, d.Rule)
		}
		return got, e.Stats()
	}
	got, s := run(detectors.EngineConfig{})
	if !slices.Equal(got, []string{"plain"}) || s.ByRule["shadow"].Matches != 1 || s.Detections != 1 {
		t.Errorf("%v, %+v: a shadow rule is counted and says nothing", got, s)
	}
	if got, _ = run(detectors.EngineConfig{IncludeShadow: true}); !slices.Equal(got, []string{"plain", "shadow"}) {
		t.Errorf("%v: backtests see shadow rules", got)
	}
	got, s = run(detectors.EngineConfig{Except: func(e *event.Event, d *alert.Detection) (string, bool) {
		return "known", d.Rule == "plain" && e.Actor.Name == "alice"
	}})
	if len(got) != 0 || s.Excepted != 1 {
		t.Errorf("%v, %+v: the exception was not applied or not counted", got, s)
	}
}

// A rule that observes others is told what they found, once, in the order of
// the events; not what is in shadow, withheld, too severe, or of its kind.
func TestSignals(t *testing.T) {
	set := mixed(t)
	items := func() (out []item) {
		for i := range 3 {
			r := rec(fmt.Sprintf("e%d", i), t0.Add(time.Duration(i)*10*time.Second), map[string]any{"serviceName": "Ram", "eventName": "CreateUser", "requestParameters": map[string]any{"UserName": "bob"}})
			out = append(out, item{r, "s"}, item{r, "s"})
		}
		return out
	}
	count := func(cfg detectors.EngineConfig) (n map[string]int, stats detectors.EngineStats) {
		n = map[string]int{}
		e, eval := detectors.NewEngine(set, cfg), set.NewEvaluator()
		for _, it := range items() {
			apply(t, e, eval, it)
		}
		e.Close()
		for _, d := range e.Take() {
			n[d.Rule]++
		}
		return n, e.Stats()
	}
	if n, _ := count(detectors.EngineConfig{}); n["plain"] != 3 || n["watch"] != 1 || n["loud"] != 0 || n["shadow"] != 0 {
		t.Errorf("got %v", n)
	}
	n, stats := count(detectors.EngineConfig{Except: func(_ *event.Event, d *alert.Detection) (string, bool) { return "why", d.Rule == "plain" }})
	if n["plain"] != 0 || n["watch"] != 0 || stats.ByReason["why"] != 3 {
		t.Errorf("withheld: got %v, %v", n, stats.ByReason)
	}
}

func FuzzRestore(f *testing.F) {
	set := mixed(f)
	e, eval := detectors.NewEngine(set, detectors.EngineConfig{Judge: &judge{}}), set.NewEvaluator()
	for _, it := range story(rand.New(rand.NewPCG(1, 1)), 5) {
		apply(f, e, eval, it)
	}
	good := e.Snapshot()
	magic := string(good[:len("TWENGINE0\n")])
	f.Add(good[len(magic) : len(good)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(magic), body...)
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
		e := detectors.NewEngine(set, detectors.EngineConfig{Judge: &judge{}, ReorderMax: 10})
		if e.Restore(data) != nil {
			return
		}
		// What was accepted can be worked with.
		e.Apply(eval.Evaluate(ev(t, "x", t0, nil)), "s")
		e.Tick(t0)
		e.Close()
		e.Take()
		e.Stats()
		e.Snapshot()
	})
}

// forgetful is a judge that has forgotten.
type forgetful struct{ judge }

func (*forgetful) Stats() detectors.Stats { return detectors.Stats{Evicted: 7} }

// What was forgotten for lack of room is told by whose it was, with what no rule has
// for itself, and without what an entity that stays has lost.
func TestEvicted(t *testing.T) {
	_, stats := drive(t, kinfolk(t), detectors.EngineConfig{Judge: &forgetful{}}, []item{{rec("e1", t0, user("alice")), "s"}})
	stats.Lineage.Evicted = 2
	stats.ByRule["a"] = detectors.RuleStats{Detector: detectors.Stats{Evicted: 3, Trimmed: 9}}
	stats.ByRule["b"] = detectors.RuleStats{Detector: detectors.Stats{Trimmed: 9}}
	want := map[string]uint64{"a": 3, detectors.LineageState: 2, detectors.PolicyState: 7}
	if d := cmp.Diff(want, stats.Evicted()); d != "" {
		t.Error(d)
	}
}
