package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// trailOrigin is a source over a trail: record i has position i and its log the
// time times[i].
type trailOrigin struct {
	mu    sync.Mutex
	all   [][]byte
	times []int64
	more  int   // logs that it says to hold besides, at extra
	extra int64 // their time
	first int   // what is before it has expired
	err   error // of Count
	rough bool  // the counts of single spans are not final
	asked int

	behind []int
	after  func() // at the end of Refetch
}

func (o *trailOrigin) Name() string       { return src }
func (o *trailOrigin) Behind() []int      { return o.behind }
func (o *trailOrigin) Settled() time.Time { return time.Now() }

func (o *trailOrigin) Refetch(_ context.Context, _ int, from, to string, take func(source.Page) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, _ := ordinal(from)
	b, _ := ordinal(to)
	o.asked++
	if o.after != nil {
		defer o.after()
	}
	for n := max(int(a), o.first); n < int(b); n += 50 {
		m := min(n+50, int(b))
		if err := take(source.Page{Source: src, From: cursor(n), To: cursor(m), Records: o.all[n:m], Times: o.times[n:m]}); err != nil {
			return err
		}
	}
	if int(a) < o.first {
		return fmt.Errorf("%w: expired", source.ErrGone)
	}
	return nil
}

func (o *trailOrigin) Count(_ context.Context, from, to time.Time) (n uint64, whole bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	in := func(at int64) bool { return at >= from.Unix() && at < to.Unix() }
	for _, at := range o.times {
		if in(at) {
			n++
		}
	}
	if in(o.extra) {
		n += uint64(o.more)
	}
	return n, !o.rough || to.Sub(from) > bus.TallySpan*time.Second, o.err
}

// reports are what was raised, by rule.
func reports(t testing.TB, b *bus.Bus) map[string][]alert.Alert {
	t.Helper()
	out := map[string][]alert.Alert{}
	_, commits := alertsAndCommits(t, b)
	for _, c := range commits {
		if c.Partition != selfPartition(b) {
			continue
		}
		for _, raw := range c.Alerts {
			a, err := alert.UnmarshalStored(raw)
			if err != nil {
				t.Fatal(err)
			}
			out[a.Rule] = append(out[a.Rule], a)
		}
	}
	return out
}

// drop removes a stored frame, as a damaged block does.
func drop(t testing.TB, b *bus.Bus, seq uint64) {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
}

// housekeeper is a pipeline of which only the books run.
func housekeeper(t testing.TB, b *bus.Bus, o source.Origin) (*Pipeline, *house) {
	t.Helper()
	p, err := New(Config{Bus: b, Ingest: true, Logger: silent(), Settle: time.Minute, ReconcileEvery: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	p.SetOrigins([]source.Origin{o})
	return p, &house{p: p, started: epoch.Add(-time.Hour), mended: map[string]bool{}, suspect: map[string]map[int64]int{}}
}

func timed(all [][]byte) *trailOrigin {
	o := &trailOrigin{all: all, times: make([]int64, len(all))}
	for i := range o.times {
		o.times[i] = epoch.Add(time.Duration(i) * time.Second).Unix()
	}
	return o
}

// Frames that vanish from the middle of a subject are read again from the
// source: in the end every record was evaluated, once.
func TestLostMiddleIsReadAgain(t *testing.T) {
	for _, expired := range []bool{false, true} {
		t.Run(fmt.Sprintf("expired=%v", expired), func(t *testing.T) {
			all := trail(900)
			want := undisturbed(t, all)
			o := timed(all)
			b := openBus(t, t.TempDir())
			p, h := housekeeper(t, b, o)
			for from := 0; from < len(all); from += 100 {
				pg := page(all, from, from+100)
				pg.Times = o.times[from : from+100]
				if err := p.Sink().Store(t.Context(), pg); err != nil {
					t.Fatal(err)
				}
			}
			_, frames := stored(t, b)
			lost, parts := 0, map[int]bool{}
			r := b.NewReader(bus.StreamEvents, 1, 16, "ev.>")
			defer r.Stop()
			for range frames {
				d, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				f, err := bus.DecodeFrame(d.Data)
				if err != nil {
					t.Fatal(err)
				}
				// One in the middle of each of two partitions, and two in a row.
				if f.Partition == 1 && (f.Counter == 3 || f.Counter == 4) || f.Partition == 2 && f.Counter == 6 {
					drop(t, b, d.Seq)
					lost += len(f.Records)
					parts[f.Partition] = true
				}
			}
			if len(parts) != 2 || lost == 0 {
				t.Fatalf("%d records of partitions %v are lost", lost, parts)
			}
			if expired {
				o.first = 250
			}
			before := drainAll(t, b, nil)
			gaps, evaluated := uint64(0), uint64(0)
			for _, s := range before {
				gaps += s.Gaps
				evaluated += s.Evaluated
			}
			if gaps != 3 || evaluated != uint64(len(all)-lost) {
				t.Fatalf("%d gaps, %d events evaluated, want 3 and %d", gaps, evaluated, len(all)-lost)
			}
			// Before a gap is closed it is told: what is broken off in between
			// is done and told again, and is one incident.
			o.after = func() { p.ingester.hold.Store(true) }
			if err := h.round(t.Context(), epoch); err == nil {
				t.Fatal("closed, and nothing could be stored")
			}
			if rs := reports(t, b); len(rs[RuleRepaired])+len(rs[RuleLost]) != 1 {
				t.Errorf("closed before it is told: %v", rs)
			}
			drainAll(t, b, nil)
			o.after, o.asked = nil, 0
			p.ingester.hold.Store(false)
			for range 3 { // the second round must not read again what the first has
				if err := h.round(t.Context(), epoch); err != nil {
					t.Fatal(err)
				}
				drainAll(t, b, nil)
			}
			if o.asked != 2 {
				t.Errorf("the source was asked %d times to read again, want 2: one for each gap", o.asked)
			}
			// Another process sees nothing left to do.
			_, other := housekeeper(t, b, o)
			if err := other.round(t.Context(), epoch); err != nil || o.asked != 2 {
				t.Errorf("%v; the source was asked %d times", err, o.asked)
			}
			evaluated, repaired, dups := 0, uint64(0), uint64(0)
			for _, s := range drainAll(t, b, nil) {
				evaluated += s.Evaluated
				repaired += s.Repaired
				dups += s.Duplicates
			}
			if repaired != 2 {
				t.Errorf("%d gaps are closed, want 2", repaired)
			}
			rs := reports(t, b)
			if expired {
				if len(rs[RuleLost]) == 0 || !strings.Contains(rs[RuleLost][0].Reason, "not evaluated") {
					t.Errorf("what is lost for good is not said: %v", rs)
				}
				return
			}
			if evaluated != uint64(len(all)) {
				t.Errorf("%d events evaluated, want %d", evaluated, len(all))
			}
			ids := map[string]bool{}
			for _, a := range rs[RuleRepaired] {
				ids[a.ID] = true
			}
			if len(ids) != 2 {
				t.Errorf("reports: %v", rs)
			}
			// The alert set, by what was found (the order of evaluation was another).
			got := alerts(t, b)
			for id := range want {
				if _, ok := got[id]; !ok {
					t.Errorf("alert %s is missing", id)
				}
			}
		})
	}
}

// Counts are compared with the source's: across restarts of workers, with
// repeated and broken records, nothing is missing; when the source holds more,
// it is said once, and only when it stays so.
func TestReconciliation(t *testing.T) {
	all := trail(5400) // one and a half hours
	all[1000] = []byte(`{"eventId":"broken`)
	all[2000] = rec(2000, account(3), "Panic")
	o := timed(all)
	b := openBus(t, t.TempDir())
	p, h := housekeeper(t, b, o)
	for from := 0; from < len(all); from += 450 {
		pg := page(all, from, from+450)
		pg.Times = o.times[from : from+450]
		if err := p.Sink().Store(t.Context(), pg); err != nil {
			t.Fatal(err)
		}
		if err := p.Sink().Store(t.Context(), pg); err != nil { // the source repeats itself
			t.Fatal(err)
		}
		drainAll(t, b, nil)
	}
	now := epoch.Add(5400 * time.Second)
	look := func() Reconciliation {
		t.Helper()
		now = now.Add(time.Second)
		if err := h.round(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		return p.books[src]
	}
	r := look()
	// Counting began within the first span; the last one has not settled.
	if r.Held != r.Done || r.Deficit != 0 || r.Error != "" || r.Held < 4000 {
		t.Errorf("nothing is missing, and the books say %+v", r)
	}
	if rs := reports(t, b); len(rs) != 0 {
		t.Errorf("reports: %v", rs)
	}
	o.more, o.extra = 3, epoch.Add(40*time.Minute).Unix()
	if r = look(); r.Deficit != 3 {
		t.Errorf("three logs are missing, and the books say %+v", r)
	}
	if rs := reports(t, b); len(rs) != 0 {
		t.Errorf("reported at once: %v", rs)
	}
	look()
	look()
	rs := reports(t, b)
	if len(rs[RuleDeficit]) != 1 || !strings.Contains(rs[RuleDeficit][0].Reason, "holds 3 more logs") {
		t.Errorf("reports: %v", rs)
	}
	// A deficit of one round only is nobody's.
	o.more, o.extra = 2, epoch.Add(60*time.Minute).Unix()
	look()
	o.more = 0
	look()
	o.more = 2
	look()
	if rs := reports(t, b); len(rs[RuleDeficit]) != 1 {
		t.Errorf("reports: %v", rs)
	}
	// What is still being read, or waits to be evaluated, is not missing. The
	// round in between does not count.
	quiet := func(why string) {
		t.Helper()
		for range 3 {
			if r = look(); r.Deficit != 0 || r.Error == "" || !r.Waits {
				t.Errorf("%s: %+v", why, r)
			}
		}
		if rs := reports(t, b); len(rs[RuleDeficit]) != 1 {
			t.Errorf("%s: reports: %v", why, rs)
		}
	}
	o.behind = []int{0}
	quiet("a shard is behind")
	o.behind = nil
	more := trail(5410)
	pg := page(more, 5400, 5410)
	pg.Times = timed(more).times[5400:]
	if err := p.Sink().Store(t.Context(), pg); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	quiet("frames wait")
	drainAll(t, b, nil)
	if r = look(); r.Deficit != 2 {
		t.Errorf("it is compared again: %+v", r)
	}
	// Who keeps the books next does not say the same again, and says what is new.
	_, next := housekeeper(t, b, o)
	for range 3 {
		now = now.Add(time.Second)
		if err := next.round(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if rs := reports(t, b); len(rs[RuleDeficit]) != 2 || !strings.Contains(rs[RuleDeficit][1].Reason, "holds 2 more logs") || rs[RuleDeficit][1].ID == rs[RuleDeficit][0].ID {
		t.Errorf("reports: %v", rs)
	}
	_, next = housekeeper(t, b, o)
	for range 3 {
		now = now.Add(time.Second)
		if err := next.round(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if rs := reports(t, b); len(rs[RuleDeficit]) != 2 {
		t.Errorf("said again after a restart: %v", rs)
	}
	o.err = fmt.Errorf("%w: no index", source.ErrUncountable)
	if r = look(); !strings.Contains(r.Error, "no index") {
		t.Errorf("%+v", r)
	}
	o.err, o.rough = nil, true
	if r = look(); r.Error != "the source has not finished counting" {
		t.Errorf("%+v", r)
	}
}

// What was read again is what a report says, also while other shards are stored.
func TestRepairCountsItsOwn(t *testing.T) {
	all := trail(200)
	b := openBus(t, t.TempDir())
	var in *Ingester
	in = NewIngester(IngesterConfig{Bus: b, Logger: silent(), Behind: func(source string) []int {
		if source == repairSource { // it is asked in the middle of a page
			pg := page(all, 100, 200)
			if pg.Shard = 1; in.Store(t.Context(), pg) != nil {
				t.Error("the other shard was not stored")
			}
		}
		return nil
	}})
	part := event.Partition(account(3), partitions)
	want := 0
	for i := range 100 {
		if event.Partition(account(i%13), partitions) == part {
			want++
		}
	}
	n, err := in.repair(t.Context(), part, bus.Gap{ID: "g", Source: src}, page(all, 0, 100), false)
	if err != nil || n != want || want == 0 {
		t.Errorf("%d records were read again, %v; want %d", n, err, want)
	}
	if got := in.Stats().Records; got != uint64(want)+100 {
		t.Errorf("%d records are stored in all, want %d", got, want+100)
	}
}

// The ledger is the same whether a partition was evaluated in one go or with
// restarts, snapshots and other owners, and does not grow.
func TestLedgerSurvivesRestarts(t *testing.T) {
	all := trail(600)
	times := make([]int64, len(all))
	for i := range times { // twenty hours
		times[i] = epoch.Add(time.Duration(i) * 2 * time.Minute).Unix()
	}
	ledger := func(restarts bool) map[string]map[int64]uint64 {
		b := openBus(t, t.TempDir())
		defer b.Close()
		in := newIngester(b)
		for from := 0; from < len(all); from += 20 {
			pg := page(all, from, from+20)
			pg.Times, pg.Received = times[from:from+20], time.Unix(times[from+19]+5, 0)
			if err := in.Store(t.Context(), pg); err != nil {
				t.Fatal(err)
			}
			if restarts {
				drainAll(t, b, func(c *WorkerConfig) { c.SnapshotFrames = 3 })
			}
		}
		drainAll(t, b, nil)
		h := &house{p: &Pipeline{b: b}}
		commits, err := h.commits(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]map[int64]uint64{}
		for _, c := range commits {
			for _, l := range c.Ledger {
				out[fmt.Sprint(c.Partition, l.Source, l.Since)] = l.Counts
				if len(l.Counts) > 2*bus.LedgerSpans {
					t.Errorf("partition %d keeps %d spans", c.Partition, len(l.Counts))
				}
			}
		}
		return out
	}
	once, often := ledger(false), ledger(true)
	if len(once) != partitions || !maps.EqualFunc(once, often, maps.Equal) {
		t.Errorf("in one go: %v\nwith restarts: %v", once, often)
	}
}

// A report comes to the readers like every alert, once, even when two processes
// raise it.
func TestRaise(t *testing.T) {
	b := openBus(t, t.TempDir())
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	r := Report{Rule: RuleTampered, Key: "k", Title: "t", Reason: "somebody did it", Severity: alert.Critical, At: at}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := Raise(t.Context(), b, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := reports(t, b)[RuleTampered]
	if len(got) == 0 || got[0].Severity != alert.Critical || !got[0].Time.Equal(at) {
		t.Fatalf("%+v", got)
	}
	if len(got) != 1 {
		t.Errorf("one incident is %d reports", len(got))
	}
	p, err := New(Config{Bus: b, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.Raise(r)
	}
	if len(p.reports) != 1 {
		t.Errorf("%d reports wait", len(p.reports))
	}
}

// A limit is reported before it bites, once a day for each level, and a stream
// that is gone at once.
func TestStoreIsReported(t *testing.T) {
	p, err := New(Config{Bus: openBus(t, t.TempDir()), Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	look := func(h bus.Health) (rules []string) {
		p.reports = nil
		for range 3 {
			p.reportStore(&h)
		}
		for _, r := range p.reports {
			rules = append(rules, fmt.Sprintf("%s %s %s", r.Rule, r.Severity, r.Reason))
		}
		return rules
	}
	if got := look(bus.Health{Streams: []bus.Usage{{Stream: bus.StreamEvents, Bytes: 70, Max: 100}}}); len(got) != 0 {
		t.Errorf("all is well: %q", got)
	}
	if got := look(bus.Health{Streams: []bus.Usage{{Stream: bus.StreamEvents, Bytes: 85 << 20, Max: 100 << 20}}}); len(got) != 1 || !strings.HasPrefix(got[0], RuleStore+" medium EVENTS holds 85 of 100 MiB") {
		t.Errorf("filling: %q", got)
	}
	if got := look(bus.Health{Streams: []bus.Usage{{Stream: bus.StreamEvents, Bytes: 96 << 20, Max: 100 << 20}}}); len(got) != 1 || !strings.HasPrefix(got[0], RuleStore+" high") {
		t.Errorf("full: %q", got)
	}
	if got := look(bus.Health{Free: 5 << 20}); len(got) != 1 || !strings.HasPrefix(got[0], RuleStore+" high the disk of state_dir has room for 5 MiB") {
		t.Errorf("the disk is nearly full: %q", got)
	}
	if got := look(bus.Health{Missing: []string{bus.StreamSnap}}); len(got) != 1 || !strings.HasPrefix(got[0], RuleTampered+" critical the stream SNAP does not exist") {
		t.Errorf("gone: %q", got)
	}
}

// A stream that is deleted under us is noticed.
func TestMissingStreamIsNoticed(t *testing.T) {
	b := openBus(t, t.TempDir())
	if err := b.JetStream().DeleteStream(t.Context(), bus.StreamSnap); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(t.Context()); h.OK || len(h.Missing) != 1 || h.Missing[0] != bus.StreamSnap {
		t.Errorf("%+v", h)
	}
}

// What cannot be read was set aside before its page's frames were lost: who reads the
// page again does not set it aside, nor count it, a second time.
func TestRepairParksNothingAgain(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(40)
	all[7] = []byte(`{"eventId":"broken`)
	pg := page(all, 0, 40)
	pg.Times = timed(all).times
	if err := in.Store(t.Context(), pg); err != nil {
		t.Fatal(err)
	}
	n, err := in.repair(t.Context(), 1, bus.Gap{ID: "g1", Source: src, Shard: pg.Shard}, pg, true)
	if err != nil || n == 0 {
		t.Fatalf("%d records: %v", n, err)
	}
	parked := 0
	if err := b.EachParked(t.Context(), func(bus.Parked) bool { parked++; return true }); err != nil {
		t.Fatal(err)
	}
	if s := in.Stats(); parked != 1 || s.Parked != 1 {
		t.Errorf("%d are set aside, stats %+v", parked, s)
	}
	counted := uint64(0)
	_, frames := stored(t, b)
	for _, f := range frames {
		for _, s := range f.Tally {
			counted += s.Count
		}
	}
	if want := uint64(len(all) + n); counted != want {
		t.Errorf("frames count %d logs, want %d", counted, want)
	}
}

// A stream was deleted. What else the process does goes on, so that people are told:
// one that is started refuses to begin. It ends when the stream is there again.
func TestStreamGone(t *testing.T) {
	b := openURL(t, bustest.Start(t, bustest.Options{}).URL(), 1)
	js := b.JetStream()
	s, err := js.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	told, calm := make(chan string, 10), make(chan bool, partitions+1)
	p := newPipeline(t, b, func(_ context.Context, _ int, _ uint64, alerts []alert.Alert) error {
		for _, a := range alerts {
			told <- a.Reason
		}
		return nil
	})
	p.log = slog.New(logged(func(r slog.Record) {
		if strings.Contains(r.Message, "stands still until it is there again") {
			calm <- true
		}
	}))
	done, _ := start(t, p)
	select {
	case <-calm:
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	}
	p.reportStore(&bus.Health{Missing: []string{bus.StreamEvents}}) // as watch does once it is sure
	select {
	case reason := <-told:
		if !strings.HasPrefix(reason, "the stream EVENTS does not exist any more") {
			t.Errorf("told: %s", reason)
		}
	case err := <-done:
		t.Fatalf("it ended before anybody was told: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, bus.ErrGone) || !errors.Is(err, bus.ErrDamaged) {
		t.Errorf("ended with %v", err)
	}
}

// logged is a handler of log records.
type logged func(slog.Record)

func (l logged) Enabled(context.Context, slog.Level) bool      { return true }
func (l logged) Handle(_ context.Context, r slog.Record) error { l(r); return nil }
func (l logged) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l logged) WithGroup(string) slog.Handler                 { return l }
