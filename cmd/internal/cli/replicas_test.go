//go:build unix

package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
)

// replicas are two whole processes on one consumer group and one external store.
type replicas struct {
	*rig
	t      *testing.T
	url    string
	books  *checkpoints
	shards int
	beat   time.Duration // three of them are the consumer group's time-out
	list   []*replica
	trail  trail
	fed    atomic.Int64
}

// replica is one of them, over all of its lives.
type replica struct {
	*child
	dir, web string
	link     *link
	alive    bool
}

// link is the way to the store of one replica, which can be cut.
type link struct {
	net.Listener
	to   string
	mu   sync.Mutex
	gone bool
	open []net.Conn
}

// newLink is a link to an address.
func newLink(t *testing.T, to string) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: ln, to: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.carry(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); l.cut(true); wg.Wait() })
	return l
}

// carry is one connection, unless the link is cut.
func (l *link) carry(c net.Conn) {
	defer c.Close()
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return
	}
	s, err := net.Dial("tcp", l.to)
	if err != nil {
		l.mu.Unlock()
		return
	}
	defer s.Close()
	l.open = append(l.open, c, s)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
	_, _ = io.Copy(c, s) // until one of them is closed
}

// cut ends what is open, and says whether anything may be opened again.
func (l *link) cut(gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open, l.gone = nil, gone
}

// checkpoints looks at every checkpoint that the log service takes: it never
// passes what is stored, and never goes back.
type checkpoints struct {
	b     *bus.Bus
	mu    sync.Mutex
	cloud *fakecloud.Cloud
	last  map[int]int64
	moved map[int]int
	wrong []string
}

// Write implements io.Writer for the cloud's journal.
func (c *checkpoints) Write(line []byte) (int, error) {
	var e struct {
		Service, Action, Consumer, Detail string
		Shard, Status                     int
	}
	if err := json.Unmarshal(line, &e); err != nil || e.Service != "sls" || e.Action != string(slstest.UpdateCheckpoint) || e.Status != http.StatusOK {
		return len(line), err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is in force now; another one may have come since.
	at := ordinal(c.cloud.SLS.Checkpoint("trailwarden", e.Shard))
	if before := c.last[e.Shard]; at < before {
		c.wrong = append(c.wrong, fmt.Sprintf("shard %d: the checkpoint moved back by %d, by %q", e.Shard, before-at, e.Consumer))
	}
	if at > c.last[e.Shard] {
		c.moved[e.Shard]++
	}
	c.last[e.Shard] = at
	src := c.cloud.Endpoints()
	in := pipeline.NewIngester(pipeline.IngesterConfig{Bus: c.b})
	pos, err := in.Position(context.Background(), "sls/"+src.Project+"/"+src.Logstore, e.Shard)
	if err != nil {
		return 0, err
	}
	if begin, _ := c.cloud.SLS.Bounds(e.Shard); pos == "" {
		pos = begin
	}
	if have := ordinal(pos); at > have {
		c.wrong = append(c.wrong, fmt.Sprintf("shard %d: the checkpoint is %d beyond what is stored, by %q", e.Shard, at-have, e.Consumer))
	}
	return len(line), nil
}

// moves counts how often the checkpoint of any shard went forward.
func (c *checkpoints) moves() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sum(c.moved)
}

func ordinal(cursor string) int64 {
	b, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// newReplicas starts two.
func newReplicas(t *testing.T, seconds, shards int, beat time.Duration) *replicas {
	t.Helper()
	start := time.Now().Truncate(time.Second)
	rs := &replicas{trail: writeTrail(seconds*feedRate, start, 1), rig: &rig{journal: &lockedBuffer{}}, t: t, url: startNATS(t), shards: shards, beat: beat}
	b, err := bus.Open(t.Context(), bus.Config{URL: rs.url, Replicas: 1, Partitions: 8, MaxBytes: 512 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	rs.books = &checkpoints{b: b, last: map[int]int64{}, moved: map[int]int{}}
	// It is as late as the newest record says: what the program changes is a record, too,
	// and where it is slow the trail may pause by then. Of the second that comes next, that
	// record would make all others late which come after the pause.
	if rs.cloud, err = fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), Journal: io.MultiWriter(rs.journal, rs.books), ChatRate: -1, Shards: shards,
		Now: func() time.Time { return start.Add(time.Duration(max(rs.fed.Load()-1, 0)) * time.Second / feedRate) }},
		[]string{accountA, accountB}); err != nil {
		t.Fatal(err)
	}
	rs.books.cloud = rs.cloud
	t.Cleanup(func() {
		if err := rs.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		dir, err := os.MkdirTemp("", "tw") // the path of a socket is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		p := &replica{dir: dir, web: freeAddress(t), link: newLink(t, strings.TrimPrefix(rs.url, "nats://"))}
		rs.start(p)
		rs.list = append(rs.list, p)
	}
	return rs
}

// freeAddress is a port that nobody listens on. It lies below those from which the
// system gives others theirs: it would give one away while the replica is not there.
func freeAddress(t *testing.T) string {
	t.Helper()
	for tries := 0; ; tries++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
		if tries > 1000 {
			t.Fatal(err)
		}
	}
}

// start begins another life of a replica.
func (rs *replicas) start(p *replica) {
	rs.t.Helper()
	c := &child{cmd: exec.Command(failingBinary(rs.t), "run", "--config", rs.cloud.Config), log: &lockedBuffer{}, done: make(chan struct{})}
	c.cmd.Env = append(p.env(), "HEARTBEAT="+rs.beat.String(), "TRAILWARDEN_DETECT_GRACE="+crashGrace.String(), "TRAILWARDEN_NATS_URL=nats://"+p.link.Addr().String(),
		"TRAILWARDEN_NATS_REPLICAS=1", "TRAILWARDEN_NATS_PARTITIONS=8", "TRAILWARDEN_NATS_MAX_BYTES=536870912")
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		rs.t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // ProcessState says how it ended
	}()
	p.child, p.alive = c, true
	rs.t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.done
		if rs.t.Failed() {
			rs.t.Logf("%s:\n%s", p.web, tail(c.log.String()))
		}
	})
}

func (p *replica) env() []string {
	return append(os.Environ(), "TRAILWARDEN_STATE_DIR="+p.dir, "TRAILWARDEN_HTTP_LISTEN="+p.web)
}

// kill ends it as an outage would.
func (p *replica) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	p.alive = false
}

// held are the shards that a replica reads, and whether it stands by.
func held(s admin.Status) (shards []int, standby bool) {
	for _, x := range s.Sources {
		standby = x.Standby
		for _, sh := range x.Shards {
			if sh.Held {
				shards = append(shards, sh.Shard)
			}
		}
	}
	return shards, standby
}

// statuses asks every replica that is alive, in the order of the list.
func (rs *replicas) statuses() (out []admin.Status, ok bool) {
	for _, p := range rs.list {
		if !p.alive {
			continue
		}
		ctx, cancel := context.WithTimeout(rs.t.Context(), 10*time.Second)
		s, err := admin.Dial(p.dir).Status(ctx)
		cancel()
		if err != nil {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// divided waits until all who are alive are ready, each shard and each partition
// has one reader, and who has no shard stands by and says so.
func (rs *replicas) divided() {
	rs.t.Helper()
	what := ""
	if !every(50*time.Millisecond, func() bool {
		ss, ok := rs.statuses()
		if !ok {
			what = "not all answer"
			return false
		}
		var shards, parts []int
		for _, s := range ss {
			have, standby := held(s)
			if !s.Ready || standby != (len(have) == 0) || len(s.Partitions) != 8/len(ss) {
				what = fmt.Sprintf("ready %v, standby %v, shards %v, %d partitions, %q", s.Ready, standby, have, len(s.Partitions), s.Problems)
				return false
			}
			shards = append(shards, have...)
			for _, p := range s.Partitions {
				parts = append(parts, p.Partition)
			}
		}
		slices.Sort(parts)
		what = fmt.Sprintf("shards %v, partitions %v", shards, parts)
		return len(shards) == rs.shards && slices.Equal(parts, []int{0, 1, 2, 3, 4, 5, 6, 7})
	}) {
		rs.t.Fatalf("the work is not divided: %s", what)
	}
	for _, p := range rs.list {
		if p.alive {
			rs.says(p)
		}
	}
}

// says checks what people are told of a replica that is well.
func (rs *replicas) says(p *replica) {
	rs.t.Helper()
	resp, err := http.Get("http://" + p.web + "/readyz")
	if err != nil {
		rs.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		rs.t.Errorf("/readyz: %s %v\n%s", resp.Status, err, body)
	}
	cmd := exec.Command(failingBinary(rs.t), "status", "--config", rs.cloud.Config)
	cmd.Env = p.env()
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("  ready  ")) || bytes.Contains(out, []byte("  ! ")) {
		rs.t.Errorf("status: %v\n%s", err, out)
	}
	s, err := admin.Dial(p.dir).Status(rs.t.Context())
	if err != nil {
		rs.t.Fatal(err)
	}
	if shards, _ := held(s); (len(shards) == 0) != bytes.Contains(out, []byte("others read")) {
		rs.t.Errorf("it reads the shards %v, and status says\n%s", shards, out)
	}
}

// signal sends a signal.
func (p *replica) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// reader is the replica that reads the shard.
func (rs *replicas) reader(shard int) *replica {
	rs.t.Helper()
	for _, p := range rs.list {
		if !p.alive {
			continue
		}
		s, err := admin.Dial(p.dir).Status(rs.t.Context())
		if err != nil {
			rs.t.Fatal(err)
		}
		if have, _ := held(s); slices.Contains(have, shard) {
			return p
		}
	}
	rs.t.Fatalf("nobody reads shard %d", shard)
	return nil
}

// thrownOut says whether the consumer group has meanwhile thrown out one that is not p:
// a machine so slow that three heartbeats are missed gives its shard away.
func (rs *replicas) thrownOut(p *replica) bool {
	rs.t.Helper()
	for _, q := range rs.list {
		if q == p || !q.alive {
			continue
		}
		s, err := admin.Dial(q.dir).Status(rs.t.Context())
		if err != nil {
			rs.t.Fatal(err)
		}
		for _, x := range s.Sources {
			if x.Rebuilds > 0 {
				return true
			}
		}
	}
	return false
}

// feed lets the trail arrive up to a second of it.
func (rs *replicas) feed(upTo int) error {
	_, err := rs.cloud.Feed(rs.t.Context(), func() ([]byte, error) {
		at := int(rs.fed.Load())
		if at == len(rs.trail.records) || at == upTo*feedRate {
			return nil, nil
		}
		rs.fed.Add(1)
		return rs.trail.records[at], nil
	}, feedRate)
	return err
}

// settled waits until everything that must happen has happened, and compares it
// with what a replay of the records says.
func (rs *replicas) settled() {
	rs.t.Helper()
	tr := rs.trail
	tr.records = tr.records[:rs.fed.Load()]
	want := tr.expected(rs.t)
	var o outcome
	start := time.Now()
	ok := every(200*time.Millisecond, func() bool {
		ss, ok := rs.statuses()
		if !ok {
			return false
		}
		o.status = ss[0]
		for _, s := range ss[1:] {
			o.status.Partitions = append(o.status.Partitions, s.Partitions...)
			o.status.Destinations = append(o.status.Destinations, s.Destinations...)
		}
		if len(o.status.Partitions) != 8 {
			return false
		}
		for _, p := range rs.list {
			if !p.alive {
				continue
			}
			var err error
			if o.alerts, err = alertsOf(rs.t.Context(), admin.Dial(p.dir), rs.told()); err != nil {
				return false
			}
			if o.actions, err = admin.Dial(p.dir).Actions(rs.t.Context()); err != nil {
				return false
			}
		}
		return rs.done(rs.t, tr, want, o)
	})
	late := uint64(0)
	for _, p := range o.status.Partitions {
		late += p.Late
	}
	rs.t.Logf("%d records (%d late), %d alerts, %d keys; settled %v after the last record", len(tr.records), late, len(want), len(tr.keys), time.Since(start).Round(time.Millisecond))
	if !ok {
		rs.t.Errorf("it does not settle")
	}
	o.check(rs.t, rs.rig, tr, want)
	if late > 0 {
		rs.t.Errorf("%d events were late", late)
	}
	rs.books.mu.Lock()
	defer rs.books.mu.Unlock()
	for _, w := range rs.books.wrong {
		rs.t.Error(w)
	}
	rs.books.wrong = nil
}

// end asks all that are alive to end.
func (rs *replicas) end() {
	for _, p := range rs.list {
		if p.alive {
			p.stop(rs.t)
			p.alive = false
		}
	}
}

// Two whole processes on one consumer group and one external store, with one shard,
// so that one of them stands by, and with two. Who reads is killed, and comes back;
// is suspended for longer than the time-outs, and goes on while the other reads; is
// asked to end. Each event is evaluated and none is late, each alert is one message,
// each leaked key is disabled by one call, and no checkpoint passes what is stored
// or goes back.
func TestReplicas(t *testing.T) {
	t.Parallel()
	// Of two who both read, the one that is left must not decide before it has read
	// what the other one had not: so the time-out is longer than the quiet after
	// which what waits is decided.
	both := []*replicas{newReplicas(t, 15, 1, time.Second), newReplicas(t, 15, 2, 2*time.Second)}
	each := func(do func(*replicas)) {
		for _, rs := range both {
			do(rs)
		}
	}
	feed := func(upTo int) {
		t.Helper()
		errs := make([]error, len(both))
		var wg sync.WaitGroup
		for i, rs := range both {
			wg.Go(func() { errs[i] = rs.feed(upTo) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	readers := func() (out []*replica) {
		each(func(rs *replicas) { out = append(out, rs.reader(0)) })
		return out
	}
	step := func(what string) { t.Logf("%s: %s", time.Now().Format("04:05.0"), what) }
	each((*replicas).divided)

	feed(4)
	step("killed")
	gone := readers()
	for _, p := range gone {
		p.kill()
	}
	feed(5)
	each((*replicas).divided)
	feed(7)
	step("back")
	for i, rs := range both {
		rs.start(gone[i])
	}
	each((*replicas).divided)
	if both[0].reader(0) == gone[0] && !both[0].thrownOut(gone[0]) {
		t.Error("who comes back takes the one shard away")
	}

	feed(8)
	step("suspended")
	gone = readers()
	for _, p := range gone {
		p.signal(t, syscall.SIGSTOP)
		p.alive = false
	}
	feed(9)
	each((*replicas).divided)
	moves := []int{both[0].books.moves(), both[1].books.moves()}
	feed(11)
	for i, rs := range both {
		if !every(20*time.Millisecond, func() bool { return rs.books.moves() > moves[i] }) {
			t.Fatal("the checkpoints do not go on")
		}
	}
	step("goes on")
	for _, p := range gone {
		p.signal(t, syscall.SIGCONT)
		p.alive = true
	}
	feed(13)
	each((*replicas).divided)

	step("asked to end")
	for _, p := range readers() {
		p.stop(t)
		p.alive = false
	}
	feed(14)
	each((*replicas).divided)
	feed(15)
	step("settles")
	each((*replicas).settled)
	each((*replicas).end)
	step("ended")
}

// The store is away from two processes that read one shard each, from the second one
// for longer: who can store again first does not decide what the other has yet to
// store. None of it is late.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	rs := newReplicas(t, 23, 2, 2*time.Second)
	feed := func(upTo int) {
		t.Helper()
		if err := rs.feed(upTo); err != nil {
			t.Fatal(err)
		}
	}
	rs.divided()
	feed(3)
	first, second := rs.reader(0), rs.reader(1)
	first.link.cut(true)
	second.link.cut(true)
	feed(11)
	first.link.cut(false)
	feed(20)
	second.link.cut(false)
	feed(23)
	rs.settled()
	rs.end()
}
