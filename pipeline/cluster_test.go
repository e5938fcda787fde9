package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// openCluster waits until the cluster can keep three copies.
func openCluster(t testing.TB, url string) *bus.Bus {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		b, err := bus.Open(ctx, bus.Config{URL: url, Partitions: partitions, Replicas: 3, MaxBytes: 256 << 20, PublishTimeout: time.Second, Logger: silent()})
		cancel()
		if err == nil {
			t.Cleanup(b.Close)
			return b
		}
		last = err
		_ = pause.For(t.Context(), 100*time.Millisecond)
	}
	t.Fatal(last)
	return nil
}

// leader asks which server leads a stream.
func leader(t testing.TB, c *bustest.Cluster, stream string) int {
	t.Helper()
	nc, err := nats.Connect(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	i := -1
	eventually(t, "the stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		i, _ = c.Named(s.CachedInfo().Cluster.Leader)
		return i >= 0
	})
	return i
}

// clusterRun stores and evaluates a trail on a cluster while trouble happens,
// and compares what came of it with an undisturbed run: lost 0, doubled 0. away
// keeps the client from the first server.
func clusterRun(t *testing.T, o bustest.Options, n int, every time.Duration, away bool, trouble func(c *bustest.Cluster, b *bus.Bus, progress func() int)) {
	if testing.Short() {
		t.Skip("elections of three servers take their time")
	}
	all := trail(n)
	want := undisturbed(t, all)
	c := bustest.StartCluster(t, o)
	url := c.URL()
	if away {
		url = c.Servers[1].URL() + "," + c.Servers[2].URL()
	}
	b := openCluster(t, url)
	seen := make(chan map[string]alert.Alert, 1) // as a responder ends up with it
	seen <- map[string]alert.Alert{}
	p, err := New(Config{
		Bus: b, Detect: true, Logger: silent(),
		Worker: WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "r", CommitFrames: 4, CommitEvery: 5 * time.Millisecond, SnapshotFrames: 1 << 20},
		Readers: []*AlertReader{{Name: "respond", Handle: func(_ context.Context, _ int, _ uint64, as []alert.Alert) error {
			m := <-seen
			for _, a := range as {
				if a.Revision >= m[a.ID].Revision {
					m[a.ID] = a
				}
			}
			seen <- m
			return nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	feed, stop := context.WithCancel(ctx)
	defer stop()
	progress, wait := feeder(feed, b, all, every)
	trouble(c, b, progress)
	fed := make(chan error, 1)
	go func() { fed <- wait() }()
	for from, began, ended := progress(), time.Now(), false; !ended; {
		select {
		case err := <-fed:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		case <-time.After(100 * time.Millisecond):
			if now := progress(); now != from {
				from, began = now, time.Now()
			} else if time.Since(began) > patience {
				t.Fatalf("nothing was stored for %s: %d of %d; %+v", patience, from, n, b.Health(t.Context()))
			}
		}
	}
	handedOn := func() bool {
		m := <-seen
		defer func() { seen <- m }()
		for id, raw := range want {
			a, err := alert.UnmarshalStored([]byte(raw))
			if err != nil || m[id].Revision != a.Revision {
				return false
			}
		}
		return len(m) == len(want)
	}
	for start := time.Now(); !handedOn(); _ = pause.For(t.Context(), 10*time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("alerts are not handed on: %+v", p.Stats(t.Context()))
		}
	}
	end, cancelEnd := context.WithTimeout(ctx, patience)
	defer cancelEnd()
	if err := p.Close(end); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	st, err := b.State(t.Context(), bus.StreamEvents)
	t.Logf("EVENTS: %+v, %v; leader n%d", st, err, leader(t, c, bus.StreamEvents)+1)
	eachOnce(t, b, n)
	got := map[string]string{}
	for id, a := range <-seen {
		raw, err := alert.MarshalStored(&a)
		if err != nil {
			t.Fatal(err)
		}
		got[id] = string(raw)
	}
	sameAlerts(t, got, want)
	alerts(t, b) // checks the chain of commits
	var events, dups uint64
	for _, s := range p.Stats(t.Context()).Workers {
		events += s.Evaluated
		dups += s.Duplicates
		if s.Gaps != 0 || s.Parked != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	if events != uint64(n) || dups != 0 {
		t.Errorf("%d events evaluated (%d twice), want %d", events, dups, n)
	}
}

// moves waits until the feeder has come further, and says how long it took.
func moves(t testing.TB, progress func() int, by int) time.Duration {
	t.Helper()
	start, from := time.Now(), progress()
	for progress() < from+by {
		if time.Since(start) > patience {
			t.Fatalf("nothing was stored for %s, at record %d", patience, from)
		}
		if pause.For(t.Context(), 5*time.Millisecond) != nil {
			t.Fatal("the test ended")
		}
	}
	return time.Since(start)
}

// The leader of EVENTS is killed in mid-publish, then all three servers are.
func TestClusterKilled(t *testing.T) {
	clusterRun(t, bustest.Options{}, 3000, 5*time.Millisecond, false, func(c *bustest.Cluster, b *bus.Bus, progress func() int) {
		moves(t, progress, 200)
		i := leader(t, c, bus.StreamEvents)
		c.Servers[i].Kill()
		gap := moves(t, progress, 40)
		c.Servers[i].Start()
		moves(t, progress, 200)
		for _, s := range c.Servers {
			s.Kill()
		}
		for _, s := range c.Servers {
			s.Start()
		}
		t.Logf("storing stood still for %v after the leader was killed, for %v after all were", gap, moves(t, progress, 40))
	})
}

// A server is killed and comes back without its disk. It fetches what it lacks
// from the others, and is then one of the two that the streams live on.
func TestClusterDiskLost(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	clusterRun(t, bustest.Options{Dirs: dirs}, 4000, 25*time.Millisecond, false, func(c *bustest.Cluster, b *bus.Bus, progress func() int) {
		moves(t, progress, 200)
		i := leader(t, c, bus.StreamEvents)
		c.Servers[i].Kill()
		moves(t, progress, 40)
		list, err := os.ReadDir(dirs[i])
		if err != nil || len(list) == 0 {
			t.Fatalf("nothing is stored in %s: %v", dirs[i], err)
		}
		for _, e := range list {
			if err := os.RemoveAll(filepath.Join(dirs[i], e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		c.Servers[i].Start()
		began := time.Now()
		eventually(t, "the server has what it lacked", func() bool { return current(t, b, c.Servers[i].Name()) })
		t.Logf("it had after %v what it lacked; %d records were stored by then", time.Since(began), progress())
		next := leader(t, c, bus.StreamEvents)
		if next == i {
			next = (i + 1) % 3
		}
		c.Servers[next].Kill()
		if progress() < 3900 { // or all is stored by now, and is evaluated
			t.Logf("storing stood still for %v after another server was killed", moves(t, progress, 40))
		}
		c.Servers[next].Start()
	})
}

// current says whether a server has all of every stream.
func current(t testing.TB, b *bus.Bus, server string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	n := 0
	for _, name := range []string{bus.StreamEvents, bus.StreamCommits, bus.StreamSnap, bus.StreamQuar, bus.StreamActions} {
		s, err := b.JetStream().Stream(ctx, name)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		cl := s.CachedInfo().Cluster
		if cl.Leader == server {
			n++
			continue
		}
		for _, r := range cl.Replicas {
			if r.Name == server && r.Current && !r.Offline && r.Lag == 0 {
				n++
			}
		}
	}
	return n == 5
}

// The leader is cut off from the others. Where the client is with the majority,
// storing goes on under a new leader; where it is with the old one, it waits.
func TestClusterPartitioned(t *testing.T) {
	cases := []bool{true}
	if long() {
		cases = []bool{true, false}
	}
	for _, away := range cases {
		t.Run(fmt.Sprintf("away=%v", away), func(t *testing.T) {
			every := 5 * time.Millisecond
			if !away {
				every = 80 * time.Millisecond // or all is stored by the time
			}
			clusterRun(t, bustest.Options{}, 3000, every, away, func(c *bustest.Cluster, b *bus.Bus, progress func() int) {
				moves(t, progress, 200)
				moveLeader(t, c, bus.StreamEvents, 0)
				moves(t, progress, 40)
				c.Isolate(0, true)
				cut := time.Now()
				if away {
					t.Logf("storing stood still for %v after the leader was cut off", moves(t, progress, 200))
				} else {
					_ = pause.For(t.Context(), 8*time.Second) // longer than an election, with publishes on their way
				}
				c.Isolate(0, false)
				t.Logf("cut off for %v; storing went on %v after it was joined again", time.Since(cut).Round(time.Millisecond), moves(t, progress, 40))
			})
		})
	}
}

// A leader without its followers holds a fenced message back, and refuses the
// same one as long as it does. That is not the fence of another writer.
func TestClusterUndecided(t *testing.T) {
	if testing.Short() {
		t.Skip("elections of three servers take their time")
	}
	for _, id := range []string{"", "one"} {
		t.Run("id="+id, func(t *testing.T) {
			c := bustest.StartCluster(t, bustest.Options{})
			b := openCluster(t, c.URL())
			p := bus.Publish{Stream: bus.StreamCommits, Subject: bus.CommitSubject(0), Fenced: true, Data: []byte("one"), ID: id}
			first, err := b.Publish(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			moveLeader(t, c, bus.StreamCommits, 0)
			b = openCluster(t, c.Servers[0].URL())
			answers := overhear(t, c.Servers[0])
			c.Isolate(0, true)
			p.Expect, p.Data = first, []byte("two")
			if id != "" {
				p.ID = "two"
			}
			type outcome struct {
				seq uint64
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				for {
					seq, err := b.Publish(t.Context(), p)
					if !errors.Is(err, bus.ErrUnknown) {
						done <- outcome{seq, err}
						return
					}
				}
			}()
			for refused := false; !refused; {
				m, err := answers.NextMsg(30 * time.Second)
				if err != nil {
					t.Fatal(err)
				}
				s := string(m.Data)
				if refused = strings.Contains(s, `"stream":"COMMITS"`) && strings.Contains(s, `"error"`); refused {
					t.Log(s)
				}
			}
			c.Isolate(0, false)
			select {
			case o := <-done:
				if o.err != nil {
					t.Fatal(o.err)
				}
				m, err := b.Last(t.Context(), bus.StreamCommits, p.Subject)
				if err != nil || m.Seq != o.seq || string(m.Data) != "two" {
					t.Errorf("stored as %d; the last is %d %q, %v", o.seq, m.Seq, m.Data, err)
				}
				if st, err := b.State(t.Context(), bus.StreamCommits); err != nil || st.Msgs != 2 {
					t.Errorf("stored once: %+v, %v", st, err)
				}
			case <-time.After(time.Minute):
				t.Fatal("not stored a minute after the servers were joined again")
			}
		})
	}
}

// A leader that is cut off goes on answering from what it had. What it does not
// have is not taken for lost: with the other servers there again, it is there.
func TestClusterStaleLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("elections of three servers take their time")
	}
	c := bustest.StartCluster(t, bustest.Options{})
	most := openCluster(t, c.Servers[1].URL()+","+c.Servers[2].URL())
	alone := openCluster(t, c.Servers[0].URL())
	token := bus.ShardToken(src, 0)
	frame := func(part int, counter, prev uint64) uint64 {
		t.Helper()
		to := cursor(20 * int(counter)) // each page has a frame for both partitions
		f := &bus.Frame{
			Kind: bus.Data, Source: src, From: cursor(20 * int(counter-1)), To: to, Reach: to, Partition: part, Counter: counter, Page: counter, PrevSeq: prev, Received: time.Now(),
			Counts:  []bus.PartitionCount{{Partition: 0, After: counter, InPage: 1}, {Partition: 1, After: counter, InPage: 1}},
			Records: [][]byte{fmt.Appendf(nil, "%d of %d", counter, part)},
		}
		data, err := bus.EncodeFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		p := bus.Publish{Stream: bus.StreamEvents, Subject: bus.EventsSubject(part, token), ID: f.ID(data), Data: data, Fenced: true, Expect: prev}
		for {
			seq, err := most.Publish(t.Context(), p)
			if err == nil {
				return seq
			}
			if !errors.Is(err, bus.ErrUnknown) {
				t.Fatal(err)
			}
		}
	}
	second := frame(0, 2, frame(0, 1, 0))
	moveLeader(t, c, bus.StreamEvents, 0)
	answers := overhear(t, c.Servers[0])
	c.Isolate(0, true)
	type outcome struct {
		what string
		err  error
	}
	position, kept := make(chan outcome, 1), make(chan outcome, 1)
	go func() {
		pos, err := NewIngester(IngesterConfig{Bus: alone, Logger: silent()}).Position(t.Context(), src, 0)
		position <- outcome{pos, err}
	}()
	go func() {
		m, err := alone.Kept(t.Context(), bus.StreamEvents, bus.EventsSubject(1, token), second+1)
		kept <- outcome{m.ID, err}
	}()
	for told, end := 0, time.Now().Add(time.Minute); told < 11; { // more than one look of each
		m, err := answers.NextMsg(time.Until(end))
		if err != nil || len(position)+len(kept) > 0 {
			t.Fatalf("an absence was believed, or not looked at: %v", err)
		}
		if strings.Contains(string(m.Data), "no message found") {
			told++
		}
	}
	if at := frame(1, 1, 0); at != second+1 {
		t.Fatalf("stored as %d, want %d", at, second+1)
	}
	frame(1, 2, second+1)
	c.Isolate(0, false)
	for what, done := range map[string]chan outcome{"the position": position, "the message": kept} {
		select {
		case o := <-done:
			if o.err != nil || o.what == "" || done == position && o.what != cursor(40) {
				t.Errorf("%s: %q, %v", what, o.what, o.err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not known a minute after the servers were joined again", what)
		}
	}
}

// overhear gets what a server answers to anybody.
func overhear(t testing.TB, s *bustest.Server) *nats.Subscription {
	t.Helper()
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	answers, err := nc.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return answers
}

// moveLeader makes a server the leader of a stream, while it is written to.
func moveLeader(t testing.TB, c *bustest.Cluster, stream string, to int) {
	t.Helper()
	nc, err := nats.Connect(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	eventually(t, "the leader has moved", func() bool {
		if leader(t, c, stream) == to {
			return true
		}
		_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, c.Servers[to].Name()), time.Second)
		return false
	})
}

// long says that the longer versions of tests are wanted.
func long() bool { return os.Getenv("TRAILWARDEN_LONG") != "" }

// The disk of the leader of EVENTS is full: a small tmpfs and a ballast file.
func TestClusterDiskFull(t *testing.T) {
	var dirs []string
	for range 3 {
		dirs = append(dirs, smallDisk(t, "96m"))
	}
	clusterRun(t, bustest.Options{Dirs: dirs}, 6000, 25*time.Millisecond, false, func(c *bustest.Cluster, b *bus.Bus, progress func() int) {
		moves(t, progress, 200)
		i := leader(t, c, bus.StreamEvents)
		ballast := dirs[i] + "/ballast"
		fill(t, ballast)
		// Its lead is taken away, and storing goes on with two servers.
		t.Logf("storing stood still for %v when the disk of the leader was full; %q", moves(t, progress, 200), b.Health(t.Context()).Problems)
		if now := leader(t, c, bus.StreamEvents); now == i {
			t.Log("the same server leads again")
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		c.Servers[i].Kill()
		c.Servers[i].Start()
		moves(t, progress, 40)
	})
}

// fill writes until nothing fits.
func fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		buf := make([]byte, size)
		for {
			if _, err := f.Write(buf); err != nil {
				break
			}
		}
	}
	if st, err := f.Stat(); err == nil {
		t.Logf("ballast of %d bytes", st.Size())
	}
}
