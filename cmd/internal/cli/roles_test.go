package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// startNATS runs a server with a socket, as an operator would.
func startNATS(t *testing.T) string {
	t.Helper()
	url, _ := stoppableNATS(t)
	return url
}

func stoppableNATS(t *testing.T) (url string, stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		NoSigs: true, NoLog: true, JetStreamMaxStore: 2 << 30, JetStreamMaxMemory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return "nats://" + s.Addr().String(), func() { s.Shutdown(); s.WaitForShutdown() }
}

// A store that is away does not keep the status from being told.
func TestStatusWithoutStore(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	r := newRig(t, trail{})
	url, stop := stoppableNATS(t)
	_, state := startRole(t, bin, r.cloud.Config, url, "ingest")
	if !every(20*time.Millisecond, func() bool { s, err := admin.Dial(state).Status(context.Background()); return err == nil && s.Ready }) {
		t.Fatal("it does not start")
	}
	stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if !every(20*time.Millisecond, func() bool {
		s, err := admin.Dial(state).Status(ctx)
		return ctx.Err() != nil || err == nil && !s.Ready && strings.Contains(strings.Join(s.Problems, "; "), "no connection to the server")
	}) || ctx.Err() != nil {
		t.Error("the status does not say that the store is away")
	}
	// What would start it anew, which does not bring the store back, is told that it lives.
	for _, x := range []struct {
		flag string
		exit int
	}{{"--live=true", 0}, {"--live=false", exitFindings}} {
		c := exec.Command(bin, "status", x.flag, "--state", state)
		if _ = c.Run(); c.ProcessState.ExitCode() != x.exit {
			t.Errorf("status %s: %v, want %d", x.flag, c.ProcessState, x.exit)
		}
	}
}

// startRole runs one role against an external server, with a folder of its own.
func startRole(t *testing.T, bin, cfg, url, role string) (*child, string) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(bin, "run", "--config", cfg, "--role", role)
	// Lateness is not what is tested: a shard may wait for its new reader.
	cmd.Env = append(os.Environ(), "TRAILWARDEN_DETECT_GRACE=2m", "TRAILWARDEN_STATE_DIR="+state, "TRAILWARDEN_NATS_URL="+url,
		"TRAILWARDEN_NATS_REPLICAS=1", "TRAILWARDEN_NATS_PARTITIONS=8", "TRAILWARDEN_NATS_MAX_BYTES=536870912")
	var c *child
	t.Cleanup(func() { // after it has ended
		if t.Failed() && c != nil {
			t.Logf("%s:\n%s", role, tail(c.log.String()))
		}
	})
	c = start(t, cmd)
	return c, state
}

// Two processes that share a cluster do not share a state_dir: the second is turned
// away with a sentence that says who has it, and the first goes on. When the holder is
// killed the folder is free at once.
func TestOneProcessPerStateDir(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	r := newRig(t, trail{})
	url := startNATS(t)
	holder, state := startRole(t, bin, r.cloud.Config, url, "ingest")
	up := func() bool { _, err := admin.Dial(state).Status(context.Background()); return err == nil }
	if !every(20*time.Millisecond, up) {
		t.Fatal("it does not start")
	}
	second := func(role string) *exec.Cmd {
		c := exec.Command(bin, "run", "--config", r.cloud.Config, "--role", role)
		c.Env = append(slices.Clone(holder.cmd.Env), "TRAILWARDEN_LOG_LEVEL=warn")
		return c
	}
	turnedAway(t, second("respond"), state, holder)
	embedded := exec.Command(bin, "run", "--config", r.cloud.Config)
	embedded.Env = append(os.Environ(), "TRAILWARDEN_STATE_DIR="+state)
	turnedAway(t, embedded, state, holder)
	if !up() {
		t.Error("the first process suffered from the second")
	}
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-holder.done
	next := start(t, second("ingest"))
	if !every(20*time.Millisecond, up) {
		t.Errorf("the folder is not free after a kill\n%s", tail(next.log.String()))
	}
	next.stop(t)
}

// The roles apart, two of each, on one external server. While attacks arrive
// one process of each role goes: detection and response by SIGKILL, ingest in
// order. Each alert is told once, each leaked key is disabled by one call.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	tr := writeTrail(10*feedRate, time.Now().Truncate(time.Second), 1)
	want := tr.expected(t)
	r := newRig(t, tr)
	url := startNATS(t)
	roles := map[string][]*child{}
	states := map[string][]string{}
	for _, role := range []string{"ingest", "detect", "respond"} {
		for range 2 {
			c, state := startRole(t, bin, r.cloud.Config, url, role)
			roles[role], states[role] = append(roles[role], c), append(states[role], state)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ready := every(100*time.Millisecond, func() bool {
		parts := 0
		for _, dir := range states["detect"] {
			s, err := admin.Dial(dir).Status(ctx)
			if err != nil || len(s.Partitions) != 4 {
				return false
			}
			parts += len(s.Partitions)
		}
		return parts == 8
	})
	if !ready {
		t.Fatal("the two that detect do not share the partitions")
	}
	at := 0
	if _, err := r.cloud.Feed(ctx, func() ([]byte, error) {
		if at == len(tr.records) {
			return nil, nil
		}
		switch at {
		case len(tr.records) / 4:
			_ = roles["detect"][0].cmd.Process.Kill()
		case len(tr.records) / 3:
			// Whichever of the two is the one that reads alerts is killed
			// in half of the runs; the other has to do it all.
			_ = roles["respond"][0].cmd.Process.Kill()
		case len(tr.records) / 2:
			roles["ingest"][0].stop(t)
		}
		at++
		return tr.records[at-1], nil
	}, feedRate); err != nil {
		t.Fatal(err)
	}
	detect, respond := admin.Dial(states["detect"][1]), admin.Dial(states["respond"][1])
	start := time.Now()
	var got uint64
	settled := every(200*time.Millisecond, func() bool {
		told := r.told()
		for id := range want {
			if told[id] == 0 {
				return false
			}
		}
		for _, k := range tr.keys {
			if r.cloud.RAM.KeyStatus(k) != ramtest.Inactive {
				return false
			}
		}
		s, err := detect.Status(ctx)
		if err != nil {
			return false
		}
		got = accounted(s)
		q, err := respond.Status(ctx)
		if err != nil {
			return false
		}
		waiting := 0
		for _, d := range q.Destinations {
			waiting += d.Waiting
		}
		return waiting == 0 && got >= uint64(len(tr.records)+sum(r.changes(t)))
	})
	t.Logf("%d records, %d alerts, %d keys; settled %v after the last record", len(tr.records), len(want), len(tr.keys), time.Since(start).Round(time.Millisecond))
	if !settled {
		t.Errorf("it did not settle: %d records are accounted for", got)
	}
	told, changes := r.told(), r.changes(t)
	for id, w := range want {
		if told[id] != 1 {
			t.Errorf("alert %s (%s, %s) is %d messages in the chat, want 1", id, w.Rule, w.Reason, told[id])
		}
	}
	for id, n := range told {
		if _, ok := want[id]; !ok {
			t.Errorf("%d messages that an undisturbed run does not send: %s", n, id)
		}
	}
	for _, k := range tr.keys {
		if changes[k] != 1 {
			t.Errorf("key %s was changed by %d calls, want 1", k, changes[k])
		}
	}
	if w := uint64(len(tr.records) + sum(changes)); got != w {
		t.Errorf("%d records are accounted for, want %d", got, w)
	}
	for _, role := range []string{"ingest", "detect", "respond"} {
		roles[role][1].stop(t)
	}
}
