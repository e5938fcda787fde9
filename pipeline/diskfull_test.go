package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
)

// smallDisk is a folder on a disk of its own.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a tmpfs: %v: %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting %s: %v: %s", dir, err, out)
		}
	})
	return dir
}

// stuck says that a server in this process will never end, and its goroutines with it.
var stuck atomic.Bool

// Somebody else fills the disk under the embedded store, past our own limits.
// The server stores nothing from then on, not even with room again: the pipeline
// ends with ErrFrozen, for a supervisor to start it again. When there is room,
// everything that was acknowledged is there, and the alerts are as if nothing had
// happened, but for one that the disk fills up, if there was time to tell.
func TestEmbeddedDiskFull(t *testing.T) {
	disk := smallDisk(t, "64m")
	dir := filepath.Join(disk, "store")
	all := trail(4000)
	want := undisturbed(t, all)
	attempt := time.Second
	config := func() bus.Config {
		return bus.Config{Dir: dir, Partitions: partitions, MaxBytes: bus.MinBudget, PublishTimeout: attempt, Logger: silent()}
	}
	open := func() *bus.Bus {
		b, err := bus.Open(t.Context(), config())
		if errors.Is(err, bus.ErrLocked) && !stuck.Swap(true) {
			t.Log("the server waits for itself (Bus.Close says why): what its end would leave is read from a copy")
			whole := t.TempDir()
			if err := os.CopyFS(whole, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			dir = whole
			b, err = bus.Open(t.Context(), config())
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	p, err := New(Config{
		Bus: b, Ingest: true, Detect: true, Logger: silent(), HealthEvery: 50 * time.Millisecond,
		Worker:  WorkerConfig{NewEngine: newFake, NewGrouper: newGrouper, Rules: "r", CommitFrames: 4, CommitEvery: 5 * time.Millisecond},
		Readers: []*AlertReader{{Name: "respond", Handle: func(context.Context, int, uint64, []alert.Alert) error { return nil }}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	acked, ballast := 0, []string{}
	for ended := false; !ended; {
		if acked >= 1000 { // what is freed meanwhile is filled too
			ballast = append(ballast, filepath.Join(disk, fmt.Sprintf("ballast%d", len(ballast))))
			fill(t, ballast[len(ballast)-1])
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := p.Sink().Store(ctx, page(all, acked, acked+100))
		cancel()
		if err == nil {
			if acked += 100; acked+100 > len(all) {
				t.Fatal("everything fits a full disk")
			}
			continue
		}
		// Before the disk is full, a machine that is busy elsewhere: again.
		if acked < 1000 && !errors.Is(err, bus.ErrUnknown) {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, bus.ErrFrozen) || acked < 1000 {
				t.Fatalf("it ended with %v after %d records, want ErrFrozen after 1000", err, acked)
			}
			t.Log(err)
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	b.Close()
	for _, name := range ballast {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	attempt = 0 // as in production: from here on everything is stored
	b = open()
	defer b.Close()
	in := newIngester(b)
	if got := position(t, in); got < acked {
		t.Errorf("resumes at %d, but %d was acknowledged", got, acked)
	}
	for from := position(t, in); from < len(all); from += 100 {
		if err := in.Store(t.Context(), page(all, from, min(from+100, len(all)))); err != nil {
			t.Fatal(err)
		}
	}
	var events, dups uint64
	for _, s := range drainAll(t, b, func(c *WorkerConfig) { c.Rules = "r" }) {
		events += s.Evaluated
		dups += s.Duplicates
		if s.Gaps != 0 || s.Refused != 0 || s.Parked != 0 {
			t.Errorf("stats %+v", s)
		}
	}
	if events != uint64(len(all)) || dups != 0 {
		t.Errorf("%d events evaluated (and %d twice), want %d", events, dups, len(all))
	}
	got := alerts(t, b)
	for id, a := range got { // told when health was looked at between the last file and the write that failed
		if strings.Contains(a, `"rule":"`+RuleStore+`"`) {
			t.Log(a)
			delete(got, id)
		}
	}
	sameAlerts(t, got, want)
}
