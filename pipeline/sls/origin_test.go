package sls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// What lies between two positions is read again, by pages, with the times of its
// logs; what has expired is said, and the rest is read.
func TestRefetch(t *testing.T) {
	t.Parallel()
	so := signed()
	at := time.Now().Truncate(time.Second)
	so.Now = func() time.Time { return at }
	r := newRig(t, so)
	cfg, opts := r.config(), r.options()
	cfg.PageGroups = 7
	src, err := New(cfg, r.sink, opts)
	if err != nil {
		t.Fatal(err)
	}
	r.fill(0, 0, 20)
	from, _ := r.srv.Bounds(0)
	_, a := r.srv.Bounds(0)
	want := r.fill(0, 20, 30)
	_, b := r.srv.Bounds(0)
	r.fill(0, 50, 10)
	fetch := func(from, to string) (got []string, pages int, err error) {
		err = src.Refetch(t.Context(), 0, from, to, func(p source.Page) error {
			pages++
			if p.Source != src.Name() || p.Shard != 0 || len(p.Times) != len(p.Records) {
				t.Errorf("page %+v", p)
			}
			for i, rec := range p.Records {
				got = append(got, string(rec))
				if p.Times[i] != at.Unix() {
					t.Errorf("record %d is of %d, want %d", i, p.Times[i], at.Unix())
				}
			}
			return nil
		})
		return got, pages, err
	}
	got, pages, err := fetch(a, b)
	if err != nil || !slices.Equal(got, want) || pages != 5 {
		t.Errorf("%d records in %d pages, %v; want %d in 5", len(got), pages, err, len(want))
	}
	if got, _, err := fetch(a, a); err != nil || len(got) != 0 {
		t.Errorf("nothing between: %d records, %v", len(got), err)
	}
	r.srv.Trim(0, 25)
	got, _, err = fetch(from, b)
	if !errors.Is(err, source.ErrGone) || !slices.Equal(got, want[5:]) {
		t.Errorf("%d records, %v; want what is left and that the rest is gone", len(got), err)
	}
	if _, _, err := fetch("x", b); err == nil || errors.Is(err, source.ErrGone) {
		t.Errorf("no cursor: %v", err)
	}
	boom := fmt.Errorf("full")
	if err := src.Refetch(t.Context(), 0, a, b, func(source.Page) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("the taker's error is lost: %v", err)
	}
	// Absurd answers are errors, not crashes.
	for _, f := range []slstest.Fault{{Call: slstest.PullLogs, Garbage: true}, {Call: slstest.PullLogs, Truncate: true}, {Call: slstest.PullLogs, Status: 500, Code: "InternalServerError"}} {
		r.srv.Inject(f)
		if _, _, err := fetch(a, b); err == nil {
			t.Errorf("%+v was taken for a page", f)
		}
		r.srv.ClearFaults()
	}
}

// The service's own count of a span of time, and when it cannot give one.
func TestCount(t *testing.T) {
	t.Parallel()
	so := signed()
	so.Shards = 2
	start := time.Unix(1_800_000_000, 0)
	r := newRig(t, so)
	cfg, opts := r.config(), r.options()
	src, err := New(cfg, r.sink, opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		r.srv.AppendLogs(i%2, start, slstest.Group{Logs: []slstest.Log{{Time: uint32(start.Unix()) + uint32(i*60), Fields: []slstest.Field{{Key: "event", Value: "{}"}}}}})
	}
	n, whole, err := src.Count(t.Context(), start.Add(10*time.Minute), start.Add(30*time.Minute))
	if n != 20 || !whole || err != nil {
		t.Errorf("%d, %v, %v; want 20", n, whole, err)
	}
	r.srv.Inject(slstest.Fault{Call: slstest.GetHistograms, Status: 400, Code: "IndexConfigNotExist"})
	if _, _, err := src.Count(t.Context(), start, start.Add(time.Hour)); !errors.Is(err, source.ErrUncountable) {
		t.Errorf("without an index: %v", err)
	}
	r.srv.ClearFaults()
	r.srv.Inject(slstest.Fault{Call: slstest.GetHistograms, Status: 503, Code: "ServerBusy"})
	if _, _, err := src.Count(t.Context(), start, start.Add(time.Hour)); err == nil || errors.Is(err, source.ErrUncountable) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("busy: %v", err)
	}
}

// What another process reads is settled as long ago as it takes to find that it is
// dead; a process that shares its sink with nobody knows of no others.
func TestSettledElsewhere(t *testing.T) {
	t.Parallel()
	for instance, ago := range map[string]time.Duration{"": 0, "a": 17 * time.Second} {
		r := newRig(t, signed())
		cfg := r.config() // 15 s and two heartbeats of one
		cfg.Instance = instance
		src, err := New(cfg, r.sink, r.options())
		if err != nil {
			t.Fatal(err)
		}
		is := func(what string, ago time.Duration) {
			t.Helper()
			if got := time.Since(src.Settled()); got < ago || got > ago+10*time.Second {
				t.Errorf("%q: %s: settled %v ago, want %v", instance, what, got, ago)
			}
		}
		begin := time.Now().Add(-time.Hour)
		src.resolved.Store(begin.UnixNano())
		src.shard(1)
		src.heartbeatGood(nil, begin)
		is("others read all", ago)
		src.heartbeatGood([]int{0}, begin)
		src.shard(0).settled.Store(time.Now().UnixNano())
		is("others read one", ago)
		src.heartbeatGood([]int{0, 1}, begin)
		src.shard(1).settled.Store(time.Now().Add(-5 * time.Minute).UnixNano())
		is("it was theirs and has not been read here", 5*time.Minute)
		src.shard(1).settled.Store(time.Now().UnixNano())
		is("all are read here", 0)
	}
}

// After a standstill those who read the other shards may have had it, too, and have
// yet to come back: for a while their shards are behind. It is none where a backlog
// is read, nor where nobody shares the sink.
func TestOthersAfterAStandstill(t *testing.T) {
	t.Parallel()
	for _, instance := range []string{"", "a"} {
		r := newRig(t, signed())
		cfg := r.config()
		cfg.Instance = instance
		src, err := New(cfg, r.sink, r.options())
		if err != nil {
			t.Fatal(err)
		}
		is := func(what string, want ...int) {
			t.Helper()
			if instance == "" {
				want = slices.DeleteFunc(want, func(id int) bool { return id > 0 })
			}
			if got := src.Behind(); !slices.Equal(got, want) {
				t.Errorf("%q: %s: the shards %v are behind, want %v", instance, what, got, want)
			}
		}
		src.resolved.Store(time.Now().Add(-time.Hour).UnixNano())
		src.shard(1)
		src.shard(2).settled.Store(1) // ours, long ago
		src.heartbeatGood([]int{0}, time.Now())
		sh := src.shard(0)
		src.failed(sh)
		is("a backlog", 0)
		sh.settled.Store(time.Now().Add(-stoodFor / 2).UnixNano())
		src.failed(sh)
		is("a moment", 0)
		sh.settled.Store(time.Now().Add(-time.Minute).UnixNano())
		is("nothing failed", 0)
		src.failed(sh)
		is("it stood still", 0, 1, 2)
		sh.settled.Store(time.Now().UnixNano())
		is("ours is at its end", 1, 2)
		src.stood.Add(-int64(othersBack))
		is("the others are back or lost")
	}
}

// How far reading is behind goes on while it stands still, and is nobody's who does
// not hold the shard.
func TestHowFarBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	src, err := New(r.config(), r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	sh := src.shard(0)
	is := func(what string, want time.Duration) {
		t.Helper()
		if got := src.Stats().Shards[0].Behind; got < want || got > want+10*time.Second {
			t.Errorf("%s: %s behind, want %s", what, got, want)
		}
	}
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).UnixNano() }
	src.heartbeatGood([]int{0}, time.Now())
	is("nothing was read", 0)
	sh.behind.Store(int64(time.Minute))
	sh.asked.Store(ago(0))
	is("a backlog is read", time.Minute)
	sh.asked.Store(ago(time.Hour))
	is("reading stands still", time.Hour+time.Minute)
	sh.settled.Store(ago(0))
	sh.behind.Store(0)
	is("at its end", 0)
	sh.settled.Store(ago(time.Hour))
	src.heartbeatGood(nil, time.Now())
	is("another has it", 0)
}

// A standstill is noticed where pages cannot be had, and where they cannot be stored.
func TestStandstillIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.Instance = "a" })
	r.holds(0, want)
	sh := r.src.shard(0)
	ago := func() { sh.settled.Store(time.Now().Add(-time.Minute).UnixNano()) }
	if r.src.stood.Load() != 0 {
		t.Error("a standstill before there was one")
	}
	r.sink.mu.Lock()
	r.sink.before = func(source.Page) error { ago(); return errTest }
	r.sink.mu.Unlock()
	want = append(want, r.fill(0, 5, 1)...)
	r.until("the store is noticed", func() bool { return r.src.stood.Load() != 0 })
	r.sink.mu.Lock()
	r.sink.before = func(source.Page) error { ago(); r.src.stood.Store(0); return nil }
	r.sink.mu.Unlock()
	r.holds(0, want)
	r.until("so is that it is back", func() bool { return r.src.stood.Load() != 0 && len(r.src.Behind()) == 0 })

	failed := r.src.n.pullErrors.Load()
	r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Status: 500, Code: "InternalServerError", Times: -1})
	r.until("pulls fail", func() bool { return r.src.n.pullErrors.Load() > failed })
	r.src.stood.Store(0)
	ago()
	r.until("the service is noticed", func() bool { return r.src.stood.Load() != 0 })
	r.stop()
}

// By default the shards of a process that is killed are read by another one within
// the grace of live detection: the group's time-out, then the other's next heartbeat.
func TestTakenOverWithinTheGrace(t *testing.T) {
	t.Parallel()
	const grace, toBegin = 15 * time.Second, 2 * time.Second // config.Defaults; an answer and the first pull
	c := Config{}.withDefaults()
	if d := c.HeartbeatTimeout + c.Heartbeat + toBegin; d > grace {
		t.Errorf("shards of a killed process are read after up to %s, the grace is %s", d, grace)
	}
	if d := c.Heartbeat + c.Drain; d > c.HeartbeatTimeout {
		t.Errorf("a process that ends works on its shards %s after its last heartbeat, others have them after %s", d, c.HeartbeatTimeout)
	}
	if c.HeartbeatTimeout < 3*c.Heartbeat {
		t.Errorf("time-out %s: two heartbeats of %s that fail must not cost a process its shards", c.HeartbeatTimeout, c.Heartbeat)
	}
}

// A group that was made with another time-out (an older version's) gets ours. Where it
// may not be changed it is read all the same, and what others read is settled as long
// ago as its time-out says.
func TestGroupOfAnotherTimeout(t *testing.T) {
	t.Parallel()
	for _, may := range []bool{true, false} {
		r := newRig(t, signed())
		want := r.fill(0, 0, 5)
		src, err := New(r.config(), r.sink, r.options())
		if err != nil {
			t.Fatal(err)
		}
		c := src.client(t.Context())
		if err := c.CreateConsumerGroup("trailwarden", "actiontrail_main", sdk.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 40}); err != nil {
			t.Fatal(err)
		}
		if !may {
			r.srv.Inject(slstest.Fault{Call: slstest.UpdateConsumerGroup, Status: 403, Code: "Unauthorized", Times: -1})
		}
		r.start(func(c *Config, _ *Options) { c.Instance = "a" })
		r.holds(0, want)
		groups, err := c.ListConsumerGroup("trailwarden", "actiontrail_main")
		if err != nil || len(groups) != 1 {
			t.Fatalf("groups %v: %v", groups, err)
		}
		wantTimeout := 15
		if !may {
			wantTimeout = 40
		}
		if got := groups[0].Timeout; got != wantTimeout {
			t.Errorf("may be changed %v: the group's time-out is %d s, want %d", may, got, wantTimeout)
		}
		r.src.shard(7) // another process reads it, and has for a while
		r.src.resolved.Store(time.Now().Add(-time.Hour).UnixNano())
		ago := time.Since(r.src.Settled())
		if least := time.Duration(wantTimeout+2) * time.Second; ago < least || ago > least+10*time.Second {
			t.Errorf("may be changed %v: settled %s ago, want %s", may, ago, least)
		}
		if told := contains(r.logs, "log:UpdateConsumerGroup"); told == may {
			t.Errorf("may be changed %v: told of the permission: %v", may, told)
		}
		r.stop()
	}
}

// A shard is behind from the start until it was read to its end once, and
// everything is settled up to the last time that all of them were at their ends.
func TestBehind(t *testing.T) {
	t.Parallel()
	so := signed()
	so.Shards = 2
	r := newRig(t, so)
	hold := make(chan struct{})
	r.sink.before = func(p source.Page) error {
		if p.Shard == 1 {
			select {
			case <-hold:
			default:
				return errTest
			}
		}
		return nil
	}
	want := [][]string{r.fill(0, 0, 5), r.fill(1, 0, 5)}
	cfg, opts := r.config(), r.options()
	src, err := New(cfg, r.sink, opts)
	if err != nil {
		t.Fatal(err)
	}
	if at := src.Settled(); len(src.Behind()) != 0 || !at.IsZero() {
		t.Errorf("known before anything was asked: settled %v", at)
	}
	r.start(nil)
	is := func(want ...int) func() bool {
		return func() bool {
			return r.src.resolved.Load() != 0 && slices.Equal(r.src.Behind(), want)
		}
	}
	r.holds(0, want[0])
	r.until("only the shard that is not read is behind", is(1))
	if at := r.src.Settled(); at.Unix() > 0 {
		t.Errorf("settled %v, while a shard was not read to its end yet", at)
	}
	close(hold)
	r.holds(1, want[1])
	r.until("nothing is behind", is())
	now := time.Now()
	r.until("the clock goes on", func() bool { return r.src.Settled().After(now) })

	// A page that is on its way to the store holds the clock, and before
	// long its shard counts as behind.
	stuck, entered := make(chan struct{}), make(chan struct{})
	r.sink.mu.Lock()
	r.sink.before = func(p source.Page) error {
		if p.Shard == 1 {
			close(entered)
			<-stuck
		}
		return nil
	}
	r.sink.mu.Unlock()
	wrote := time.Now()
	r.fill(1, 5, 1)
	<-entered
	held, now := unixNano(&r.src.shard(1).settled), time.Now()
	r.until("the other shard is asked again", func() bool { return unixNano(&r.src.shard(0).settled).After(now) })
	if at := r.src.Settled(); !at.Equal(held) {
		t.Errorf("the clock went from %v to %v while a page was not stored", held, at)
	}
	r.until("it may have more by now", is(1))
	r.sink.mu.Lock()
	r.sink.before = nil
	r.sink.mu.Unlock()
	close(stuck)
	r.until("the clock goes on", func() bool { return r.src.Settled().After(wrote) && r.src.Settled().After(held) })
	r.until("nothing is behind again", is())
	r.stop()
}

// A service that takes its time for every answer is not behind for that.
func TestSlowServiceIsNotBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.start(nil)
	r.holds(0, r.fill(0, 0, 3))
	r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Delay: 2 * staleAfter, Times: -1})
	r.until("at its end, long ago", func() bool {
		sh := r.src.shard(0)
		return len(r.src.Behind()) == 0 && sh.settled.Load() != 0 && time.Since(unixNano(&sh.settled)) > staleAfter+r.src.cfg.Poll
	})
	r.stop()
}

// What the service refuses is said until it answers well again.
func TestRefusalIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(nil)
	r.holds(0, want)
	r.srv.SetCredentials(slstest.Credential{AccessKeyID: "LTAI5tEXAMPLEother00001", AccessKeySecret: testSecret})
	r.until("the refusal is said", func() bool { f := r.src.Stats().Trouble; return f.Denied() && f.Message != "" })
	r.srv.SetCredentials(slstest.Credential{AccessKeyID: testKey, AccessKeySecret: testSecret})
	want = append(want, r.fill(0, 5, 5)...)
	r.holds(0, want)
	r.until("it is forgotten", func() bool { return r.src.Stats().Trouble.Code == "" })
	r.stop()
}
