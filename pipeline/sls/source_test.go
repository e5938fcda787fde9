package sls

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

func signed() slstest.Options {
	return slstest.Options{Credentials: []slstest.Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret}}, Region: "cn-hangzhou"}
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config, *Options)
	}{
		{"v1-lz4", nil},
		{"v4-zstd", func(c *Config, _ *Options) { c.Region, c.Compression = "cn-hangzhou", "zstd" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := signed()
			o.Shards = 3
			r := newRig(t, o)
			var want [3][]string
			for sh := range want {
				want[sh] = r.fill(sh, 0, 500)
			}
			r.start(tc.change)
			for sh := range want {
				r.holds(sh, want[sh])
			}
			for sh := range want { // and what comes later
				want[sh] = append(want[sh], r.fill(sh, 500, 3)...)
			}
			for sh := range want {
				r.holds(sh, want[sh])
				r.caughtUp(sh)
			}
			st := r.src.Stats()
			if st.State != "running" || st.Provider != "static" || st.Records != 1509 || st.Bytes == 0 || st.NetBytes == 0 ||
				st.LastPull.IsZero() || st.LastHeartbeat.IsZero() || st.Rebuilds != 0 || st.Panics != 0 || st.BadAnswers != 0 || st.Realigned != 0 {
				t.Errorf("stats %+v", st)
			}
			if len(st.Shards) != 3 || !st.Shards[1].Held || st.Shards[1].Records != 503 || st.Shards[1].Position != r.sink.pos(1) {
				t.Errorf("shard stats %+v", st.Shards)
			}
			if r.sink.repeated != 0 || r.sink.source != "sls/trailwarden/actiontrail_main" {
				t.Errorf("%d repeats, source %q", r.sink.repeated, r.sink.source)
			}
			r.stop()
			if st := r.src.Stats(); st.State != "stopped" {
				t.Errorf("state %q after Run", st.State)
			}
			if err := r.src.Run(context.Background()); err == nil {
				t.Error("a second Run was accepted")
			}
		})
	}
}

// A panic in the sink would end the program if it reached the SDK.
func TestPanicInStore(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 10)
	var n atomic.Int32
	r.sink.setBefore(func(source.Page) error {
		if n.Add(1) <= 2 {
			panic("bad sink")
		}
		return nil
	})
	r.start(nil)
	r.holds(0, want)
	r.stop()
	r.told(AlarmPanic)
	if st := r.src.Stats(); st.Panics != 2 {
		t.Errorf("%d panics counted, want 2 and an alarm", st.Panics)
	}
}

func TestPanicInIdleAndPosition(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	var idle, asked atomic.Int32
	r.sink.positions = func(int) error {
		if asked.Add(1) == 2 { // the first question is the resolver's
			panic("bad position")
		}
		return nil
	}
	r.start(func(_ *Config, o *Options) {
		o.Idle = func(int, time.Time) {
			if idle.Add(1)%2 == 1 {
				panic("bad idle")
			}
		}
	})
	r.until("idle was called often", func() bool { return idle.Load() > 4 })
	want := r.fill(0, 0, 3)
	r.holds(0, want)
	r.stop()
	if st := r.src.Stats(); st.Panics < 3 {
		t.Errorf("%d panics counted", st.Panics)
	}
}

type brokenTracker struct{}

func (brokenTracker) GetCheckPoint() string     { panic("tracker") }
func (brokenTracker) SaveCheckPoint(bool) error { panic("tracker") }
func (brokenTracker) GetCurrentCursor() string  { panic("tracker") }
func (brokenTracker) GetNextCursor() string     { panic("tracker") }
func (brokenTracker) GetShardId() int           { panic("tracker") }

// Neither callback may panic, and Shutdown may not fail: the SDK would call it
// for ever.
func TestCallbacksNeverPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	src, err := New(r.config(), r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(src)
	defer w.closeReads()
	defer w.closeWrites()
	defer w.endStore()
	p := &processor{s: src, w: w}
	if err := p.Shutdown(brokenTracker{}); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := p.Process(0, &sdk.LogGroupList{}, brokenTracker{}); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("Process: %v, want the panic as an error", err)
	}
	if n := src.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
}

// With the endpoint dead and a checkpoint pending the SDK's StopAndWait alone
// never returns.
func TestStopWithDeadEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.CheckpointEvery, c.Drain = time.Hour, 2*time.Second })
	r.holds(0, want)
	r.srv.SetDown(true)
	r.until("pulls fail", func() bool { return r.src.Stats().PullErrors > 2 })
	began := time.Now()
	r.stop()
	if d := time.Since(began); d > 40*time.Second {
		t.Errorf("stopping took %s", d)
	}
	if n := r.src.Stats().Abandoned; n != 0 {
		t.Errorf("%d workers abandoned", n)
	}
}

// An endpoint that accepts and never answers must not hold up the stop.
func TestStopWithHangingEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.start(func(c *Config, _ *Options) { c.Drain = 2 * time.Second })
	r.until("it reads", func() bool { return r.srv.Calls(slstest.PullLogs) > 0 })
	h := r.srv.Inject(slstest.Fault{Delay: time.Hour, Times: -1})
	r.until("pulls hang", func() bool { return h.Hits() > 0 })
	began := time.Now()
	r.stop()
	if d := time.Since(began); d > 40*time.Second {
		t.Errorf("stopping took %s", d)
	}
}

// A checkpoint that is refused at shutdown, with any code, must not keep the
// SDK flushing for ever; codes it only misspells not even until the deadline.
func TestStopWithRefusedFlush(t *testing.T) {
	t.Parallel()
	for code, drain := range map[string]time.Duration{"ShardNotExist": time.Minute, "ConsumerNotExist": time.Minute, "SomethingNew": 3 * time.Second} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			want := r.fill(0, 0, 5)
			r.start(func(c *Config, _ *Options) { c.CheckpointEvery, c.Drain = time.Hour, drain })
			r.holds(0, want)
			h := r.srv.Inject(slstest.Fault{Call: slstest.UpdateCheckpoint, Status: 400, Code: code, Times: -1})
			began := time.Now()
			r.stop()
			if d := time.Since(began); d > 40*time.Second || h.Hits() == 0 {
				t.Errorf("stopping took %s, %d checkpoints were refused", d, h.Hits())
			}
		})
	}
}

// A sink that never returns: Run says so and returns all the same.
func TestStopWithStuckSink(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.fill(0, 0, 5)
	release := make(chan struct{})
	var in atomic.Bool
	r.sink.setBefore(func(source.Page) error {
		in.Store(true)
		<-release
		return errTest
	})
	r.start(func(c *Config, _ *Options) { c.Drain = time.Second })
	r.until("the sink is stuck", in.Load)
	r.cancel()
	err := <-r.done
	r.done = nil
	if err == nil || !strings.Contains(err.Error(), "did not stop") {
		t.Errorf("Run returned %v", err)
	}
	r.told(AlarmAbandoned)
	if r.src.Stats().Abandoned != 1 {
		t.Error("the abandoned worker was not reported")
	}
	close(release)
	r.check()
}

// The page at work when stopping is finished, stored and checkpointed.
func TestStopFinishesThePage(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	in, release := make(chan struct{}), make(chan struct{})
	r.sink.setBefore(func(source.Page) error {
		close(in)
		<-release
		return nil
	})
	r.start(nil)
	<-in
	r.cancel()
	go func() {
		r.until("draining", func() bool { return r.src.Stats().State == "draining" })
		close(release)
	}()
	r.stop()
	r.holds(0, want)
	r.caughtUp(0)
}

// A failed page is tried again with growing pauses; its checkpoint is not
// saved, not at the stop either.
func TestFailedPageIsNotCheckpointed(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(nil)
	r.holds(0, want)
	r.caughtUp(0)
	at := r.srv.Checkpoint("cg", 0)
	var n atomic.Int32
	began := time.Now()
	r.sink.setBefore(func(source.Page) error { n.Add(1); return errTest })
	more := r.fill(0, 5, 5)
	r.until("it failed some times", func() bool { return n.Load() >= 4 })
	if d := time.Since(began); d < 700*time.Millisecond {
		t.Errorf("four tries in %s: no growing pause", d)
	}
	r.stop()
	if got := r.srv.Checkpoint("cg", 0); got != at {
		t.Errorf("checkpoint moved from %s to %s past a page that was never stored", at, got)
	}
	if r.src.Stats().StoreErrors < 3 {
		t.Errorf("store errors %d", r.src.Stats().StoreErrors)
	}
	r.sink.setBefore(nil)
	r.start(nil)
	r.holds(0, append(want, more...))
	r.stop()
}

// The SDK reports a refused checkpoint as saved. We count it, go on, and the
// next start trusts the sink.
func TestRefusedCheckpoint(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ConsumerNotExsit", "ConsumerNotExist", "ConsumerNotMatch", "ShardNotExsit", "ShardNotExist"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			want := r.fill(0, 0, 5)
			h := r.srv.Inject(slstest.Fault{Call: slstest.UpdateCheckpoint, Consumer: "c1", Status: 400, Code: code, Times: -1})
			r.start(nil)
			r.holds(0, want)
			r.until("the refusal is counted", func() bool { return r.src.Stats().CheckpointRefused > 0 })
			r.told(AlarmCheckpointRefused)
			// What the SDK does when it hears of a refusal changes a list that its
			// heartbeat reads without a lock, here while one is under way.
			h2 := r.srv.Inject(slstest.Fault{Call: slstest.HeartBeat, Delay: 300 * time.Millisecond, Times: -1})
			r.until("heartbeats are under way", func() bool { return h2.Hits() > 1 })
			h2.Remove()
			if contains(r.logs, "consumer has been removed or shard has been reassigned") || contains(r.logs, "shard does not exist") {
				t.Error("the SDK hears of the refusal")
			}
			want = append(want, r.fill(0, 5, 5)...)
			r.holds(0, want) // goes on
			r.stop()
			begin, end := r.srv.Bounds(0)
			if got := r.srv.Checkpoint("cg", 0); got != begin {
				t.Errorf("server's checkpoint is %s, want %s", got, begin)
			}
			h.Remove()
			r.start(nil)
			r.until("the next start writes the stored position", func() bool { return r.srv.Checkpoint("cg", 0) == end })
			want = append(want, r.fill(0, 10, 1)...)
			r.holds(0, want)
			if r.sink.repeated != 0 {
				t.Errorf("%d pages were read again", r.sink.repeated)
			}
			r.stop()
		})
	}
}

// Checkpoints that fail otherwise (5xx, no answer) are tried again.
func TestFailingCheckpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.srv.Inject(slstest.Fault{Call: slstest.UpdateCheckpoint, Consumer: "c1", Status: 500, Times: 4})
	r.srv.Inject(slstest.Fault{Call: slstest.UpdateCheckpoint, Consumer: "c1", DropAnswer: true, Times: 1})
	want := r.fill(0, 0, 5)
	r.start(nil)
	r.holds(0, want)
	r.caughtUp(0)
	if r.src.Stats().CheckpointFailures < 4 {
		t.Errorf("%d failures counted", r.src.Stats().CheckpointFailures)
	}
	r.stop()
}

func TestStartPositions(t *testing.T) {
	t.Parallel()
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, tc := range []struct {
		name       string
		start      Start
		checkpoint int // group's checkpoint at this record, -1 none
		position   int // sink's position, -1 none
		from       int // first record expected
	}{
		{"begin", StartBegin, -1, -1, 0},
		{"begin overrides the checkpoint", StartBegin, 6, -1, 0},
		{"end", StartEnd, -1, -1, 10},
		{"end keeps a checkpoint", StartEnd, 6, -1, 6},
		{"time", StartTime, -1, -1, 4},
		{"time overrides the checkpoint", StartTime, 6, -1, 4},
		{"checkpoint", StartCheckpoint, 6, -1, 6},
		{"no checkpoint", StartCheckpoint, -1, -1, 0},
		{"the sink wins over an older checkpoint", StartCheckpoint, 2, 7, 7},
		{"the sink wins over a newer checkpoint", StartCheckpoint, 9, 7, 7},
		{"the sink wins over begin", StartBegin, -1, 7, 7},
		{"the sink wins over end", StartEnd, 9, 3, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			at := []string{}
			begin, _ := r.srv.Bounds(0)
			at = append(at, begin)
			var all []string
			for i := range 10 {
				v := fmt.Sprintf(`{"i":%d}`, i)
				all = append(all, v)
				at = append(at, r.srv.AppendLogs(0, t0.Add(time.Duration(i)*time.Minute),
					slstest.Group{Logs: []slstest.Log{{Time: 1, Fields: []slstest.Field{{Key: "event", Value: v}}}}}))
			}
			if tc.checkpoint >= 0 {
				r.srv.SetCheckpoint("cg", 0, at[tc.checkpoint])
			}
			if tc.position >= 0 {
				r.sink.setPos(0, at[tc.position])
			}
			r.start(func(c *Config, _ *Options) {
				c.Start = tc.start
				if tc.start == StartTime {
					c.StartTime = t0.Add(4*time.Minute - 30*time.Second)
				}
			})
			r.until("it reads", func() bool { return r.src.Stats().LastPull.After(time.Time{}) })
			want := append(slices.Clone(all[tc.from:]), r.fill(0, 0, 1)...)
			r.holds(0, want)
			// A checkpoint that lies before what is stored is left where it is, and
			// what is stored is left out.
			realigned := uint64(0)
			if tc.checkpoint >= 0 && tc.checkpoint < tc.position {
				realigned = 1
			}
			if n := r.src.Stats().Realigned; n != realigned {
				t.Errorf("realigned %d times, want %d", n, realigned)
			}
			r.stop()
		})
	}
}

// One failed look-up at the start makes the SDK pull nothing for ever.
func TestFailingLookupsAtStart(t *testing.T) {
	t.Parallel()
	for _, f := range []slstest.Fault{
		{Call: slstest.ListShards, Status: 403, Code: "ProjectForbidden"},
		{Call: slstest.ListConsumerGroup, Status: 503, Code: "ServerBusy"},
		{Call: slstest.CreateConsumerGroup, Refuse: true},
		{Call: slstest.GetCheckpoint, Garbage: true},
		{Call: slstest.GetCursor, Status: 403, Code: "ReadQuotaExceed", Times: 2},
		{Call: slstest.GetCursor, Status: 200, Body: `{"cursor":""}`},
		{Call: slstest.UpdateCheckpoint, Status: 502, Body: "<html>bad gateway</html>"},
		{Call: slstest.UpdateCheckpoint, Status: 200, Body: " "}, // accepted, not saved
	} {
		t.Run(fmt.Sprintf("%s-%d", f.Call, f.Status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			h := r.srv.Inject(f)
			want := r.fill(0, 0, 5)
			r.start(nil)
			r.holds(0, want)
			r.stop()
			if h.Hits() == 0 || !contains(r.logs, "cannot start reading") {
				t.Errorf("%d hits, or the failure was not logged", h.Hits())
			}
		})
	}
}

// A position older than the retention: reading goes on at the beginning, and
// it is said how much was lost.
func TestExpiredPosition(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"sink", "checkpoint"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			begin, _ := r.srv.Bounds(0)
			want := r.fill(0, 0, 20)
			if where == "sink" {
				r.sink.setPos(0, begin)
			} else {
				r.srv.SetCheckpoint("cg", 0, begin)
			}
			r.srv.Trim(0, 12)
			r.start(nil)
			r.until("the rest is read", func() bool { return len(r.sink.shard(0)) >= 8 })
			if got := r.sink.shard(0); !slices.Equal(got, want[12:]) {
				t.Errorf("read %v", got)
			}
			r.caughtUp(0)
			r.sink.mu.Lock()
			r.sink.gaps = nil // this one was announced
			r.sink.mu.Unlock()
			r.stop()
			r.told(AlarmCursorExpired)
			if r.src.Stats().CursorResets != 1 || !contains(r.logs, "12 log groups were lost") {
				t.Errorf("the loss was not reported: %+v", r.src.Stats())
			}
		})
	}
}

// A logstore made anew has other cursors: a position beyond its end.
func TestPositionOfAnotherLogstore(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.sink.setPos(0, "OTIyMzM3MjAzNjg1NDc3NTgwNw==") // the largest cursor there is
	r.srv.SetCheckpoint("cg", 0, "OTIyMzM3MjAzNjg1NDc3NTgwNw==")
	r.start(nil)
	r.sink.setBefore(func(source.Page) error {
		r.sink.setPos(0, "") // how a sink takes up a logstore anew is its own affair
		r.sink.setBefore(nil)
		return nil
	})
	r.holds(0, want)
	r.stop()
	r.told(AlarmCursorExpired)
	if st := r.src.Stats(); st.CursorResets != 1 || st.Rebuilds != 0 || st.Realigned != 0 {
		t.Errorf("stats %+v", st)
	}
	if !contains(r.logs, "deleted and made again") {
		t.Error("nobody is told what happened")
	}
	// It may have fewer shards: the others are in no list.
	if !contains(r.logs, "of shards that it no longer has, too") {
		t.Error("nobody is told of what was lost with its other shards")
	}
}

// One of which all cursors are later, as they are where they count from when it was
// made: no number of lost log groups is made up.
func TestPositionOfAnEarlierLogstore(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	begin, _ := r.srv.Bounds(0)
	n, _ := cursorValue(begin)
	r.sink.setPos(0, base64.StdEncoding.EncodeToString(strconv.AppendInt(nil, n-2*mostLost, 10)))
	r.start(nil)
	r.until("it is read", func() bool { return len(r.sink.shard(0)) == len(want) })
	r.sink.mu.Lock()
	r.sink.gaps = nil // this one was announced
	r.sink.mu.Unlock()
	r.stop()
	r.told(AlarmCursorExpired)
	if !contains(r.logs, "deleted and made again") || contains(r.logs, "were lost to retention") {
		t.Error("something else is told than what happened")
	}
}

// The cursor expires while we lag behind: the SDK would get InvalidCursor for
// ever.
func TestCursorExpiresWhileReading(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	// No help from the watchdog: the refusal itself is the sign.
	r.start(func(c *Config, _ *Options) { c.PageGroups, c.Watchdog = 5, time.Hour })
	first := r.fill(0, 0, 5)
	r.holds(0, first)
	in, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.sink.setBefore(func(source.Page) error {
		once.Do(func() { close(in) })
		<-release
		return nil
	})
	r.fill(0, 5, 30)
	<-in // a page of up to 5 is at work
	r.srv.Trim(0, 25)
	close(release)
	last := string(event(0, 34))
	r.until("the newest record is read", func() bool { got := r.sink.shard(0); return len(got) > 0 && got[len(got)-1] == last })
	r.sink.mu.Lock()
	r.sink.gaps = nil // announced
	r.sink.mu.Unlock()
	r.stop()
	st := r.src.Stats()
	r.told(AlarmCursorExpired)
	r.told(AlarmRebuilt)
	if st.CursorResets == 0 || st.Rebuilds == 0 {
		t.Errorf("stats %+v", st)
	}
}

// Pulls fail in a way the SDK never recovers from: the watchdog rebuilds.
func TestWatchdogPull(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	h := r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Status: 400, Code: "ParameterInvalid", Times: -1})
	want := r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.Watchdog = 3 * time.Second })
	r.until("the worker is rebuilt and it is said why", func() bool {
		return r.src.Stats().Rebuilds > 0 && r.alarmed(AlarmRebuilt) && contains(r.logs, "no good pull for 3s from shard 0")
	})
	h.Remove()
	r.holds(0, want)
	r.stop()
}

func TestWatchdogHeartbeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.start(func(c *Config, _ *Options) { c.Watchdog = 3 * time.Second })
	r.until("a heartbeat", func() bool { return !r.src.Stats().LastHeartbeat.IsZero() })
	h := r.srv.Inject(slstest.Fault{Call: slstest.HeartBeat, Status: 500, Times: -1})
	r.until("the worker is rebuilt and it is said why", func() bool {
		return r.src.Stats().Rebuilds > 0 && contains(r.logs, "no good heartbeat for")
	})
	h.Remove()
	want := r.fill(0, 0, 5)
	r.holds(0, want)
	if r.src.Stats().HeartbeatErrors == 0 {
		t.Error("heartbeat errors were not counted")
	}
	r.stop()
}

// Back-pressure is not silence: a slow sink does not make the watchdog bark.
func TestSlowSinkIsNoReasonToRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	in, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.sink.setBefore(func(source.Page) error {
		once.Do(func() { close(in) })
		<-release
		return nil
	})
	r.start(func(c *Config, _ *Options) { c.Watchdog = 3 * time.Second })
	<-in
	beats := r.srv.Calls(slstest.HeartBeat)
	r.until("some heartbeats have passed", func() bool { return r.srv.Calls(slstest.HeartBeat) >= beats+6 })
	close(release)
	r.holds(0, want)
	r.stop()
	if contains(r.logs, "no good pull for") { // a machine that is slow for 3 s delays heartbeats, too
		t.Errorf("rebuilt %d times", r.src.Stats().Rebuilds)
	}
}

func TestGroupDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.Watchdog = time.Hour })
	r.holds(0, want)
	r.caughtUp(0)
	r.srv.DeleteGroup("cg")
	r.until("the group is there again", func() bool { return r.srv.HasGroup("cg") })
	want = append(want, r.fill(0, 5, 5)...)
	r.holds(0, want)
	r.told(AlarmGroupMissing)
	if r.src.Stats().GroupsRecreated != 1 {
		t.Errorf("stats %+v", r.src.Stats())
	}
	if r.sink.repeated != 0 {
		t.Errorf("%d pages were read again", r.sink.repeated)
	}
	r.stop()
}

// An evicted consumer stops at once and comes back; the SDK alone would go on
// reading beside the new owner for timeout + interval.
func TestEviction(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(nil)
	r.holds(0, want)
	r.until("it reports its shard", func() bool { return r.srv.Calls(slstest.HeartBeat) >= 2 })
	r.srv.Evict("cg", "c1")
	r.until("the eviction is noticed", func() bool { return r.src.Stats().Evictions > 0 })
	r.until("it is back", func() bool { return r.srv.Owner("cg", 0) == "c1" && r.src.Stats().Rebuilds == 1 })
	want = append(want, r.fill(0, 5, 5)...)
	r.holds(0, want)
	r.stop()
}

// Pages far below the SDK's thresholds: it would sleep 500 ms after each.
func TestSmallPagesAreNotThrottled(t *testing.T) {
	t.Parallel()
	o := signed()
	o.MaxPageGroups = 25
	r := newRig(t, o)
	want := r.fill(0, 0, 1000)
	var mu sync.Mutex
	var last time.Time
	soon := 0 // pages that came within that time after the one before
	r.sink.setBefore(func(source.Page) error {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < 450*time.Millisecond {
			soon++
		}
		last = time.Now()
		return nil
	})
	r.start(nil)
	r.holds(0, want)
	mu.Lock()
	if soon < 5 { // most of them, where the machine is not busy elsewhere
		t.Errorf("%d of 40 pages were read soon", soon)
	}
	mu.Unlock()
	r.stop()
	if p := r.src.Stats().Pages; p < 40 {
		t.Errorf("%d pages, want 40", p)
	}
}

// The SDK does not close the bodies of calls 2, 3 and 6: with anything in
// them each leaks a connection.
func TestNoLeakedConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	for _, c := range []slstest.Call{slstest.UpdateCheckpoint, slstest.CreateConsumerGroup, slstest.UpdateConsumerGroup} {
		r.srv.Inject(slstest.Fault{Call: c, ExtraBody: "{}", Times: -1})
	}
	r.start(func(c *Config, _ *Options) { c.CheckpointEvery = time.Millisecond })
	var want []string
	for i := range 25 {
		want = append(want, r.fill(0, i, 1)...)
		r.holds(0, want)
		r.caughtUp(0)
	}
	if n := r.srv.Calls(slstest.UpdateCheckpoint); n < 25 {
		t.Errorf("only %d checkpoints", n)
	}
	if accepted, open := r.srv.Connections(); accepted > 8 || open > 8 {
		t.Errorf("%d connections were opened, %d are open", accepted, open)
	}
	r.stop()
}

// Empty pages are no errors and nothing to store; the idle callback hears of
// them.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	o := signed()
	o.Shards = 2
	r := newRig(t, o)
	var mu sync.Mutex
	idle := map[int]int{}
	r.start(func(_ *Config, o *Options) {
		o.Idle = func(shard int, now time.Time) {
			mu.Lock()
			defer mu.Unlock()
			if now.Location() != time.UTC || time.Since(now) > time.Minute {
				t.Errorf("idle time %s", now)
			}
			idle[shard]++
		}
	})
	r.until("both shards were idle some times", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return idle[0] >= 5 && idle[1] >= 5
	})
	if r.sink.stored != 0 || r.src.Stats().StoreErrors != 0 || r.src.Stats().Rebuilds != 0 {
		t.Errorf("%d pages stored: %+v", r.sink.stored, r.src.Stats())
	}
	r.stop()
}

// Two consumers share the shards; when one goes the other takes over. Every
// record counts once and none is missing.
func TestHandOver(t *testing.T) {
	t.Parallel()
	o := signed()
	o.Shards = 4
	a := newRig(t, o)
	b := &rig{t: t, srv: a.srv, sink: a.sink, logs: new(syncBuffer)}
	a.start(func(c *Config, _ *Options) { c.HeartbeatTimeout = 3 * time.Second })
	var want [4][]string
	add := func() {
		for sh := range want {
			want[sh] = append(want[sh], a.fill(sh, len(want[sh]), 20)...)
		}
	}
	add()
	for sh := range want {
		a.holds(sh, want[sh])
	}
	b.start(func(c *Config, _ *Options) { c.Consumer, c.HeartbeatTimeout = "c2", 3*time.Second })
	a.until("both hold two shards", func() bool {
		n := map[string]int{}
		for sh := range want {
			n[a.srv.Owner("cg", sh)]++
		}
		return n["c1"] == 2 && n["c2"] == 2
	})
	add()
	for sh := range want {
		a.holds(sh, want[sh])
	}
	b.until("the second reads its own", func() bool { add(); return b.src.Stats().Records > 0 })
	a.stop()
	add()
	for sh := range want {
		b.holds(sh, want[sh])
	}
	b.stop()
}

// A process that is given no shard is well as long as the group says so; one
// whose shards are only not given back yet is not.
func TestStandby(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	cfg := r.config()
	cfg.HeartbeatTimeout = 3 * time.Second
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var src *Source
	second := 0
	beat := func(n int, held ...int) {
		for range n {
			second++
			src.heartbeatGood(held, began.Add(time.Duration(second)*time.Second))
		}
	}
	sight := func(what string, standby bool, want int) {
		t.Helper()
		st := src.Stats()
		got := -1
		if !st.LastSight.IsZero() {
			got = int(st.LastSight.Sub(began) / time.Second)
		}
		if got != want || st.Standby != standby {
			t.Errorf("%s: sight %d, standby %v; want %d, %v", what, got, st.Standby, want, standby)
		}
	}
	var err error
	if src, err = New(cfg, r.sink, r.options()); err != nil {
		t.Fatal(err)
	}
	sight("nothing was reached", false, -1)
	beat(6)
	sight("given nothing for a moment", false, -1)
	beat(4)
	sight("given nothing", true, 10)
	beat(5, 0)
	sight("given a shard, not read", false, 10)
	pulled := began.Add(16 * time.Second)
	src.n.lastPull.Store(pulled.UnixNano())
	sight("read", false, 16)
	// Every minute it is made anew, given nothing at first, and never reads.
	for range 10 {
		second += 50
		beat(6)
		beat(5, 0)
	}
	sight("held and never read", false, 16)
	// So also where the group forgets it in between.
	beat(5)
	second += 4
	beat(5)
	sight("after a pause in the heartbeats", false, 16)
	beat(5)
	sight("others read", true, second)
}

// The checkpoint a shard was taken up from is behind what another consumer
// stored (its last save was lost), or was moved ahead by hand: the stored
// position counts.
func TestRealign(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"behind", "ahead"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			begin, _ := r.srv.Bounds(0)
			want := r.fill(0, 0, 10)
			_, end := r.srv.Bounds(0)
			wrong := begin
			if dir == "ahead" {
				wrong = end
			}
			mid, _ := cursorValue(begin)
			r.sink.setPos(0, encodeCursor(mid+5))
			// The moment between our start and the SDK's own look-up.
			h := r.srv.Inject(slstest.Fault{Call: slstest.GetCheckpoint, Skip: 2, Times: 1, Status: 200, ContentType: "application/json",
				Body: `[{"shard":0,"checkpoint":"` + wrong + `","updateTime":1,"consumer":"x"}]`})
			r.start(nil)
			r.holds(0, want[5:])
			r.stop()
			if h.Hits() != 1 {
				t.Fatal("the SDK did not see the wrong checkpoint")
			}
			if n := r.src.Stats().Realigned; n != 1 || r.alarmed(AlarmRealigned) != (dir == "ahead") || r.sink.repeated != 0 {
				t.Errorf("realigned %d times, %d repeats", n, r.sink.repeated)
			}
		})
	}
}

// A checkpoint that lies before what is stored follows it, though nothing new
// arrives.
func TestCheckpointFollowsWhatIsStored(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	begin, _ := r.srv.Bounds(0)
	r.fill(0, 0, 10)
	_, end := r.srv.Bounds(0)
	r.srv.SetCheckpoint("cg", 0, begin)
	r.sink.setPos(0, end)
	r.start(nil)
	r.caughtUp(0)
	r.stop()
	if r.sink.stored+r.sink.repeated != 0 || r.alarmed(AlarmRealigned) {
		t.Errorf("%d pages were stored, %d again", r.sink.stored, r.sink.repeated)
	}
}

// Another process reads the shard and comes further while this one finds out where
// it would start: it is not taken for a loss, and the checkpoint does not go back.
func TestOthersReadMeanwhile(t *testing.T) {
	t.Parallel()
	var r *rig
	var mu sync.Mutex
	n, back := 5, []string{}
	last := int64(0)
	on := func() { // what another process does
		mu.Lock()
		defer mu.Unlock()
		r.fill(0, n, 5)
		n += 5
		_, end := r.srv.Bounds(0)
		r.sink.setPos(0, end)
		r.srv.SetCheckpoint("cg", 0, end)
		last, _ = cursorValue(end)
	}
	o := signed()
	o.Journal = func(e slstest.Entry) {
		switch {
		case e.Action == slstest.UpdateCheckpoint && e.Status == 200:
			at, _ := cursorValue(e.Detail)
			mu.Lock()
			if at < last {
				back = append(back, fmt.Sprintf("%q wrote %d after %d", e.Consumer, at, last))
			}
			mu.Unlock()
		case e.Action == slstest.GetCursor:
			on()
		}
	}
	r = newRig(t, o)
	r.fill(0, 0, 5)
	_, end := r.srv.Bounds(0)
	at, _ := cursorValue(end)
	r.sink.setPos(0, end)
	r.srv.SetCheckpoint("cg", 0, encodeCursor(at-2))
	r.sink.positions = func(int) error { on(); return nil }
	r.start(nil)
	r.until("it reads", func() bool { return !r.src.Stats().LastPull.IsZero() })
	r.stop()
	mu.Lock()
	defer mu.Unlock()
	if len(back) > 0 {
		t.Errorf("the checkpoint went back: %q", back)
	}
	if r.alarmed(AlarmCursorExpired) || r.alarmed(AlarmRealigned) {
		t.Errorf("alarms: %+v", r.alarms)
	}
}

// A consumer that was silent for too long and is not forgotten after all saves then
// what it had to keep to itself, though nothing new arrives.
func TestCheckpointIsSavedAfterSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(nil)
	r.caughtUp(0)
	h := r.srv.Inject(slstest.Fault{Call: slstest.HeartBeat, Refuse: true, Times: -1})
	failed := r.src.Stats().HeartbeatErrors
	r.until("a heartbeat fails", func() bool { return r.src.Stats().HeartbeatErrors > failed })
	r.src.n.lastHeartbeat.Store(time.Now().Add(-time.Minute).UnixNano()) // as if all had failed since then
	before := r.srv.Checkpoint("cg", 0)
	r.holds(0, append(want, r.fill(0, 5, 5)...))
	r.until("a checkpoint is withheld", func() bool { return r.src.Stats().CheckpointRefused > 0 })
	if at := r.srv.Checkpoint("cg", 0); at != before {
		t.Errorf("the checkpoint went from %s to %s", before, at)
	}
	h.Remove()
	r.caughtUp(0)
	r.stop()
}

// A consumer that the group has forgotten, or that was silent for so long that it
// must have, saves no checkpoint: others read its shards, and are further.
func TestForgottenConsumerSavesNothing(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent=%v", silent), func(t *testing.T) {
			t.Parallel()
			var r *rig
			var mu sync.Mutex
			var saved []slstest.Entry
			o := signed()
			o.Journal = func(e slstest.Entry) {
				if e.Action == slstest.UpdateCheckpoint && e.Consumer != "" {
					mu.Lock()
					defer mu.Unlock()
					saved = append(saved, e)
				}
			}
			r = newRig(t, o)
			want := r.fill(0, 0, 5)
			r.start(func(c *Config, _ *Options) {
				c.CheckpointEvery = time.Hour // it is saved only when the shard goes
				if silent {
					c.HeartbeatTimeout = 3 * time.Second
				}
			})
			r.holds(0, want)
			r.until("it reports its shard", func() bool { return r.srv.Calls(slstest.HeartBeat) >= 2 })
			if silent {
				// Longer than the time-out; the SDK lets go of the shard a heartbeat later.
				h := r.srv.Inject(slstest.Fault{Call: slstest.HeartBeat, Refuse: true, Times: -1})
				defer h.Remove()
			} else {
				r.srv.Evict("cg", "c1")
			}
			r.until("it lets the shard go", func() bool { return r.src.Stats().CheckpointRefused > 0 })
			mu.Lock()
			defer mu.Unlock()
			if len(saved) > 0 {
				t.Errorf("it saved %+v", saved)
			}
		})
	}
}

// A shard that comes from a split already holds records when we learn of it:
// it starts at its beginning, whatever the configured start.
func TestSplitStartsAtBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.Start = StartEnd })
	r.until("it reads", func() bool { return !r.src.Stats().LastPull.IsZero() })
	x, y := r.srv.Split(0)
	wx, wy := r.fill(x, 0, 5), r.fill(y, 0, 7)
	r.holds(x, wx)
	r.holds(y, wy)
	if got := r.sink.shard(0); len(got) != 0 {
		t.Errorf("the parent gave %d records from before the start", len(got))
	}
	r.stop()
}

// Shards split, and merge again, while records come in, under two processes of which
// one is killed in between: cut off, nothing of it reaches the service any more, and
// it is thrown out of the group. Each shard's records are stored once, in order.
func TestSplitAndMergeUnderLoad(t *testing.T) {
	t.Parallel()
	o := signed()
	o.Shards = 2
	a := newRig(t, o)
	b := &rig{t: t, srv: a.srv, sink: a.sink, logs: new(syncBuffer)}
	a.start(nil)
	b.start(func(c *Config, _ *Options) { c.Consumer = "c2" })
	want, open := map[int][]string{}, []int{0, 1}
	add := func() {
		for _, sh := range open {
			want[sh] = append(want[sh], a.fill(sh, len(want[sh]), 50)...)
		}
	}
	split := func() {
		add()
		x, y := a.srv.Split(open[0])
		open = append(open[1:], x, y)
		add()
	}
	merge := func() {
		add()
		for _, sh := range open {
			if m, n, ok := a.srv.Merge(sh); ok {
				open = append(slices.DeleteFunc(open, func(id int) bool { return id == sh || id == n }), m)
				add()
				return
			}
		}
		t.Fatalf("none of %v could be merged", open)
	}
	add()
	a.until("each has a shard", func() bool {
		x, y := a.srv.Owner("cg", 0), a.srv.Owner("cg", 1)
		return x != "" && y != "" && x != y
	})
	split()
	split()
	merge()
	a.until("what came of it is read by somebody", func() bool { return len(a.sink.shard(open[len(open)-1])) > 0 })
	a.srv.Inject(slstest.Fault{Consumer: "c1", Refuse: true, Times: -1}) // no checkpoint, no heartbeat
	a.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Delay: 50 * time.Millisecond, Times: 20})
	merge()
	split()
	a.cancel()
	a.srv.Evict("cg", "c1")
	merge()
	merge()
	if len(open) != 1 {
		t.Fatalf("open: %v", open)
	}
	for sh, w := range want {
		b.holds(sh, w)
	}
	b.caughtUp(open[0])
	b.stop()
	a.check()
}

// Whatever the service or a proxy answers to pulls, nothing is lost, nothing
// doubled, and the program lives.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]slstest.Fault{
		"cut":                {Truncate: true},
		"garbage":            {Garbage: true},
		"refused":            {Refuse: true},
		"dropped":            {DropAnswer: true},
		"429":                {Status: 429, Code: "TooManyRequests"},
		"403":                {Status: 403, Code: "ShardReadQuotaExceed"},
		"500":                {Status: 500, Code: "InternalServerError"},
		"502 html":           {Status: 502, Body: "<html>"},
		"200 html":           {Status: 200, Body: "<html>"},
		"302":                {Status: 302, SetHeaders: map[string]string{"Location": "http://127.0.0.1:1/"}, Code: "Moved"},
		"raw size +1":        {RawSizeDelta: 1},
		"raw size -1":        {RawSizeDelta: -1},
		"raw size 0":         {SetHeaders: map[string]string{"x-log-bodyrawsize": "0"}},
		"raw size negative":  {SetHeaders: map[string]string{"x-log-bodyrawsize": "-5"}},
		"raw size huge":      {SetHeaders: map[string]string{"x-log-bodyrawsize": "9000000000000000000"}},
		"raw size 200 GB":    {SetHeaders: map[string]string{"x-log-bodyrawsize": "200000000000"}},
		"raw size text":      {SetHeaders: map[string]string{"x-log-bodyrawsize": "many"}},
		"count wrong":        {SetHeaders: map[string]string{"x-log-count": "3"}},
		"count 0":            {SetHeaders: map[string]string{"x-log-count": "0"}},
		"count negative":     {SetHeaders: map[string]string{"x-log-count": "-1"}},
		"no cursor":          {DropHeaders: []string{"x-log-cursor"}},
		"empty cursor":       {SetHeaders: map[string]string{"x-log-cursor": ""}},
		"no count":           {DropHeaders: []string{"x-log-count"}},
		"no compresstype":    {DropHeaders: []string{"x-log-compresstype"}},
		"other compresstype": {SetHeaders: map[string]string{"x-log-compresstype": "gzip"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, signed())
			f.Call, f.Times = slstest.PullLogs, 2
			h := r.srv.Inject(f)
			want := r.fill(0, 0, 10)
			r.start(nil)
			r.holds(0, want)
			r.stop()
			if h.Hits() != 2 || r.sink.repeated != 0 {
				t.Errorf("%d hits, %d repeats", h.Hits(), r.sink.repeated)
			}
			// On connections that were used before, Go's client asks again by itself.
			again := name == "dropped" || name == "refused"
			if st := r.src.Stats(); st.PullErrors+st.BadAnswers == 0 && !again && !strings.HasPrefix(name, "garbage") && !strings.HasPrefix(name, "raw size") && !strings.HasSuffix(name, "compresstype") {
				t.Errorf("not counted: %+v", st)
			}
		})
	}
}

// During an outage pulls get rarer.
func TestBackoffGrows(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	h := r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Status: 429, Code: "TooManyRequests", Times: -1})
	want := r.fill(0, 0, 5)
	began := time.Now() // and not when the first is seen: this goroutine may wait for its turn
	r.start(nil)
	r.until("six pulls", func() bool { return h.Hits() >= 6 })
	if d := time.Since(began); d < 3*time.Second { // the SDK alone: 13 in 3 s
		t.Errorf("six pulls in %s", d)
	}
	h.Remove()
	r.holds(0, want)
	r.stop()
}

func TestRecordShapes(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	f := func(kv ...string) (out []slstest.Field) {
		for i := 0; i < len(kv); i += 2 {
			out = append(out, slstest.Field{Key: kv[i], Value: kv[i+1]})
		}
		return out
	}
	now := time.Now()
	r.srv.AppendLogs(0, now,
		slstest.Group{Topic: "actiontrail_audit_event", Logs: []slstest.Log{{Time: 1, Fields: f("event", `{"a":1}`)}, {Time: 1, Fields: f("event", `{"a":2}`)}}},
		slstest.Group{Topic: "actiontrail_event", Logs: []slstest.Log{{Time: 1, Fields: f("owner_id", "1000000000000001", "event", `{"a":3}`)}}},
		slstest.Group{Topic: "actiontrail_insight_event", Logs: []slstest.Log{{Time: 1, Fields: f("event", `{"insight":true}`)}}},
		slstest.Group{Topic: "t", Logs: []slstest.Log{{Time: 1, Fields: f("event.eventName", "X", "event.eventId", "1\"2\xff")}}},
		slstest.Group{Logs: []slstest.Log{{Time: 1, Fields: f("event", "", "other", "v")}}},
		slstest.Group{}, // an empty group
		slstest.Group{Topic: "t", Logs: []slstest.Log{{Time: 1}}},
		slstest.Group{Logs: []slstest.Log{{Time: 1, Fields: f("event", "not json \x00")}}},
	)
	r.start(nil)
	want := []string{
		`{"a":1}`, `{"a":2}`, `{"a":3}`, `{"insight":true}`,
		`{"event.eventName":"X","event.eventId":"1\"2\ufffd","__topic__":"t"}`,
		`{"event":"","other":"v"}`,
		`{"__topic__":"t"}`,
		"not json \x00",
	}
	r.holds(0, want)
	r.caughtUp(0)
	r.stop()
}

// A page of empty groups has no records but moves the position: the chain of
// pages has no hole.
func TestPageWithoutRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	r.srv.AppendLogs(0, time.Now(), slstest.Group{}, slstest.Group{})
	r.start(nil)
	r.caughtUp(0)
	if _, end := r.srv.Bounds(0); r.sink.pos(0) != end {
		t.Errorf("position %s, want %s", r.sink.pos(0), end)
	}
	r.stop()
}

func TestTLSEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	srv := httptest.NewTLSServer(r.srv)
	defer srv.Close()
	want := r.fill(0, 0, 5)
	cfg := r.config()
	cfg.Endpoint = srv.URL
	src, err := New(cfg, r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	r.until("an unknown certificate is told", func() bool {
		err := src.Check(context.Background())
		if !errors.Is(err, ErrUnreachable) {
			t.Fatalf("an unknown certificate gave %v", err)
		}
		return strings.Contains(err.Error(), "certificate") // or that no answer came in time
	})
	r.start(func(c *Config, _ *Options) {
		c.Endpoint = srv.URL
		c.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	})
	r.holds(0, want)
	r.stop()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	check := func(change func(*Config)) error {
		cfg := r.config()
		change(&cfg)
		src, err := New(cfg, r.sink, r.options())
		if err != nil {
			t.Fatal(err)
		}
		defer src.base.CloseIdleConnections()
		return src.Check(context.Background())
	}
	if err := check(func(*Config) {}); err != nil {
		t.Errorf("good configuration: %v", err)
	}
	for _, tc := range []struct {
		change      func(*Config)
		want        string
		unreachable bool
	}{
		{func(c *Config) { c.Project = "elsewhere" }, "ProjectNotExist", false},
		{func(c *Config) { c.Logstore = "nothing" }, "LogStoreNotExist", false},
		{func(c *Config) { c.Credentials.AccessKeyID = "LTAI5tEXAMPLEnobody00001" }, "Unauthorized", false},
		{func(c *Config) { c.Credentials.AccessKeySecret = "EXAMPLEwrongEXAMPLEwrong000001" }, "SignatureNotMatch", false},
		{func(c *Config) { c.Endpoint = "http://127.0.0.1:1" }, "refused", true},
	} {
		err := check(tc.change)
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrUnreachable) != tc.unreachable || strings.ContainsAny(err.Error(), "\n{") {
			t.Errorf("error %v, want one with %q in one line", err, tc.want)
		}
	}
}

// Whatever goes wrong, no secret is logged or returned.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	const token = "EXAMPLEtokenEXAMPLEtokenEXAMPLEtoken+/=="
	var text strings.Builder
	for _, f := range []slstest.Fault{
		{Call: slstest.ListShards, Refuse: true, Times: 2},
		{Call: slstest.ListShards, Status: 401, Code: "Unauthorized", Message: "token " + token + " secret=" + testSecret, Times: 2},
		{Call: slstest.PullLogs, Status: 502, Body: "<html>" + token + "</html>", Times: 2},
		{Call: slstest.HeartBeat, Status: 400, Code: "SignatureNotMatch", Message: `{"AccessKeySecret":"` + testSecret + `"}`, Times: 1},
	} {
		r := newRig(t, slstest.Options{Credentials: []slstest.Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret, SecurityToken: token}}})
		h := r.srv.Inject(f)
		r.fill(0, 0, 2)
		r.start(func(c *Config, o *Options) {
			c.Credentials.SecurityToken = token
			o.Logger.Info("config", "config", fmt.Sprintf("%v %+v %#v", *c, *c, *c), "cred", c.Credentials)
		})
		r.until("it struck", func() bool { return h.Hits() > 0 && r.sink.count() == 2 })
		r.stop()
		text.WriteString(r.logs.String())
		for _, a := range r.alarms {
			text.WriteString(a.Message)
		}
	}
	for _, secret := range []string{testSecret, token} {
		if i := strings.Index(text.String(), secret); i >= 0 {
			s := text.String()
			t.Errorf("a secret was logged: …%s…", s[max(0, i-200):i])
		}
	}
}

// The server stops accepting the key; the chain, which read its file once,
// reads it again.
func TestRotation(t *testing.T) {
	home := t.TempDir()
	for _, n := range []string{"ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SECURITY_TOKEN", "CREDENTIALS_URI", "OIDC_TOKEN_FILE", "PROFILE"} {
		t.Setenv("ALIBABA_CLOUD_"+n, "")
	}
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	t.Setenv("HOME", home)
	profile := func(id, secret string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, ".aliyun"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"current":"p","profiles":[{"name":"p","mode":"AK","access_key_id":%q,"access_key_secret":%q}]}`, id, secret)
		if err := os.WriteFile(filepath.Join(home, ".aliyun", "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	profile(testKey, testSecret)
	r := newRig(t, signed())
	want := r.fill(0, 0, 5)
	r.start(func(c *Config, _ *Options) { c.Credentials = cred.Config{} })
	r.holds(0, want)
	if p := r.src.Stats().Provider; !strings.HasPrefix(p, "default/cli_profile") {
		t.Errorf("provider %q", p)
	}
	const newKey, newSecret = "LTAI5tEXAMPLErotated0001", "EXAMPLEotherEXAMPLEother000001"
	profile(newKey, newSecret)
	r.srv.SetCredentials(slstest.Credential{AccessKeyID: newKey, AccessKeySecret: newSecret})
	want = append(want, r.fill(0, 5, 5)...)
	r.holds(0, want)
	r.stop()
	if r.src.Stats().PullErrors == 0 {
		t.Error("the old key was never refused")
	}
}

func TestSDKLoggerLevels(t *testing.T) {
	var buf syncBuffer
	log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelInfo}))
	quiet := false
	l := sdkLogger{log: log, quiet: func() bool { return quiet }}
	_ = l.Log("level", "info", "msg", "chatter")
	_ = l.Log("level", "warn", "msg", "odd\nline", "error", &sdk.Error{HTTPCode: 400, Code: "InvalidCursor", Message: "m"}, "dangling")
	quiet = true
	_ = l.Log("level", "error", "msg", "closing")
	got := buf.String()
	if strings.Contains(got, "chatter") || strings.Contains(got, "closing") || strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, "level=WARN") || !strings.Contains(got, "InvalidCursor: m") {
		t.Errorf("logged %q", got)
	}
}

// The host's clock is set back: the SDK would send no heartbeat, and take up no shard,
// until it is again what it was.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, signed())
	var back atomic.Int64
	want := r.fill(0, 0, 5)
	r.start(func(_ *Config, o *Options) {
		began := time.Now()
		o.wall = func(now time.Time) time.Time {
			if now.Sub(began) > time.Duration(back.Load()) && back.Load() > 0 {
				return now.Round(0).Add(-time.Hour)
			}
			return now.Round(0)
		}
		r.sink.setBefore(func(source.Page) error {
			back.CompareAndSwap(0, int64(time.Since(began)))
			return nil
		})
	})
	r.holds(0, want)
	r.told(AlarmRebuilt)
	want = append(want, r.fill(0, 5, 5)...)
	r.holds(0, want)
	r.stop()
	if st := r.src.Stats(); st.Rebuilds != 1 || !contains(r.logs, "the clock of this host was set back by 1h0m0s") {
		t.Errorf("stats %+v", st)
	}
}

// What was noted before lies ahead of the clock then: no page waits for it, and what
// is judged by its age is.
func TestMarksAfterClockSetBack(t *testing.T) {
	r := newRig(t, signed())
	src, err := New(r.config(), r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ahead := now.Add(time.Hour).UnixNano()
	sh := src.shard(0)
	for _, m := range []*atomic.Int64{&sh.settled, &sh.lastGood, &src.n.lastHeartbeat, &sh.fetchStart} {
		m.Store(ahead)
	}
	sh.pulled = now.Add(-time.Minute)
	sh.asked.Store(now.AddDate(-1, 0, 0).UnixNano()) // then the clock was set a year ahead
	if at := sh.received(); at.Sub(now.AddDate(-1, 0, 0)) < time.Minute || at.Sub(now.AddDate(-1, 0, 0)) > time.Hour {
		t.Errorf("a page was received at %v", at)
	}
	src.notLater(now)
	if !src.stale(sh, now.Add(time.Minute)) || sh.lastGood.Load() > now.UnixNano() || src.n.lastHeartbeat.Load() > now.UnixNano() || src.stood.Load() != 0 {
		t.Error("times to come are kept")
	}
	p := &processor{s: src, w: newWorker(src)}
	done := make(chan struct{})
	go func() { defer close(done); p.defeatThrottle(sh, pageOf(1, event(0, 0))) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("a page waits until the clock is again what it was")
	}
	p.w.closeReads()
	<-done
}
