package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
)

// The environment that makes this test binary the process that is killed.
const (
	childDir  = "TRAILWARDEN_TEST_CHILD"
	childSeed = "TRAILWARDEN_TEST_SEED"
)

const killTrail = 12000

// child is the live loop over a trail: it stores pages from where the store
// says it is, with page boundaries of its own choice, evaluates, and reads the
// alerts. It says on standard output what is acknowledged, after it is.
func child() bool {
	dir := os.Getenv(childDir)
	if dir == "" {
		return false
	}
	if err := runChild(dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	return true
}

func runChild(dir string) error {
	ctx := context.Background()
	seed, _ := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	rng := rand.New(rand.NewPCG(seed, 1))
	b, err := bus.Open(ctx, bus.Config{Dir: dir, Partitions: partitions, MaxBytes: 256 << 20, Logger: silent()})
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := New(Config{
		Bus: b, Ingest: true, Detect: true, Logger: silent(), TickEvery: 20 * time.Millisecond,
		Ingester: IngesterConfig{TickAfter: 20 * time.Millisecond},
		Worker:   WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "r", CommitFrames: 4, CommitEvery: 5 * time.Millisecond, SnapshotFrames: 20},
		Readers: []*AlertReader{{Name: "respond", SaveEvery: 10 * time.Millisecond, Handle: func(_ context.Context, part int, _ uint64, as []alert.Alert) error {
			for _, a := range as {
				fmt.Println("alert", a.ID, a.Revision)
			}
			return nil
		}}},
	})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	all := trail(killTrail)
	for {
		pos, err := p.Sink().Position(ctx, src, 0)
		if err != nil {
			return err
		}
		from := 0
		if n, ok := ordinal(pos); ok {
			from = int(n)
		}
		fmt.Println("position", from)
		if from >= len(all) {
			break
		}
		if err := p.Sink().Store(ctx, page(all, from, min(from+1+rng.IntN(150), len(all)))); err != nil {
			return err
		}
	}
	if err := p.Close(ctx); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	fmt.Println("end")
	return nil
}

// Invariants 1 to 3: kill -9 at random points, any number of times; every
// acknowledged record is stored once, every stored one evaluated, and the
// alerts are those of a run that was left alone.
func TestKill(t *testing.T) {
	all := trail(killTrail)
	want := undisturbed(t, all)
	kills := 15
	if s := os.Getenv("TRAILWARDEN_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(childSeed); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("repeat with %s=%d", childSeed, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	acked, killed := 0, 0
	seen := map[string]int{}
	for n := 0; ; n++ {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childSeed, rng.Uint64()))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The point is counted in lines of progress, so that slow machines
		// are killed in the same places as fast ones, plus a moment within.
		lines, jitter := 1+rng.IntN(12), time.Duration(rng.IntN(3000))*time.Microsecond
		ended := false
		for sc := bufio.NewScanner(out); sc.Scan(); {
			word, rest, _ := strings.Cut(sc.Text(), " ")
			switch word {
			case "position":
				pos, err := strconv.Atoi(rest)
				if err != nil {
					t.Fatal(err)
				}
				if pos < acked {
					t.Errorf("run %d resumes at %d, but %d was acknowledged", n, pos, acked)
				}
				acked = pos
			case "alert":
				id, rev, _ := strings.Cut(rest, " ")
				k, _ := strconv.Atoi(rev)
				seen[id] = max(seen[id], k)
			case "end":
				ended = true
			case "error":
				t.Errorf("run %d: %s", n, rest)
			}
			if lines--; lines == 0 && killed < kills {
				killed++
				time.AfterFunc(jitter, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == -1) {
			t.Fatalf("run %d: %v", n, err)
		}
		if ended && err == nil {
			t.Logf("%d kills, %d starts", killed, n+1)
			break
		}
		if t.Failed() {
			return
		}
	}
	b := openBus(t, dir)
	if got := position(t, newIngester(b)); got != killTrail {
		t.Errorf("position %d at the end", got)
	}
	st, err := b.State(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	var events, dups uint64
	for _, s := range drainAll(t, b, nil) {
		events += s.Evaluated
		dups += s.Duplicates
		if s.Gaps != 0 || s.Rebuilt || s.Refused != 0 || s.Parked != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	if events != killTrail || dups != 0 {
		t.Errorf("%d events evaluated (and %d twice), want %d", events, dups, killTrail)
	}
	t.Logf("EVENTS holds %d frames, %d bytes", st.Msgs, st.Bytes)
	// Commit records that the reader has seen may be removed, so what is
	// still there is compared as a whole, and what was handed on by revision.
	got := alerts(t, b)
	for id, a := range got {
		if want[id] != a {
			t.Errorf("alert %s is\n%s\nwant\n%s", id, a, want[id])
		}
	}
	for id, raw := range want {
		a, err := alert.UnmarshalStored([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if seen[id] != a.Revision {
			t.Errorf("alert %s was handed on up to revision %d, want %d", id, seen[id], a.Revision)
		}
	}
	for id := range seen {
		if want[id] == "" {
			t.Errorf("alert %s was handed on and should not be", id)
		}
	}
}
