package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/bus/bustest"
)

// disk is a file system in a file, written around the page cache of the file
// system below it: a copy of the file is what a disk holds when the power goes.
type disk struct{ image, dir, dev string }

func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return text, err
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	d := &disk{image: filepath.Join(t.TempDir(), "disk.img")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(600<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := command("mkfs.ext4", "-q", d.image); err != nil {
		t.Skip(err)
	}
	d.mount(t)
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	var err error
	if d.dev, err = command("losetup", "--find", "--show", "--direct-io=on", d.image); err != nil {
		t.Skip(err)
	}
	dev, dir := d.dev, t.TempDir()
	t.Cleanup(func() { _, _ = command("losetup", "-d", dev) }) // busy until the file system is gone
	if _, err := command("mount", dev, dir); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if _, err := command("umount", "-l", dir); err != nil {
			t.Error(err)
		}
	})
	d.dir = dir
}

// afterPowerLoss is what the disk holds at this moment, mounted again.
func (d *disk) afterPowerLoss(t *testing.T) *disk {
	t.Helper()
	c := &disk{image: filepath.Join(t.TempDir(), "after.img")}
	if _, err := command("cp", "--sparse=always", d.image, c.image); err != nil {
		t.Fatal(err)
	}
	c.mount(t)
	return c
}

// life runs the child of the kill test on a folder until it has said so many
// positions (0: to its end), kills it and returns what was acknowledged.
func life(t *testing.T, dir string, positions int, seen map[string]int) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, childSeed+"=7")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := 0
	for sc := bufio.NewScanner(out); sc.Scan(); {
		word, rest, _ := strings.Cut(sc.Text(), " ")
		switch word {
		case "position":
			acked, _ = strconv.Atoi(rest)
			if said++; said == positions {
				_ = cmd.Process.Kill()
			}
		case "alert":
			id, rev, _ := strings.Cut(rest, " ")
			k, _ := strconv.Atoi(rev)
			seen[id] = max(seen[id], k)
		case "error":
			t.Errorf("the child failed: %s", rest)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !(positions > 0 && errors.As(err, &exit) && exit.ExitCode() == -1) {
		t.Fatal(err)
	}
	return acked
}

// The power goes: what is not on the disk is lost. Nothing acknowledged is, and
// the alerts are those of an undisturbed run. The control writes to a server
// that fsyncs now and then, and must lose what it acknowledged, or this test
// proves nothing.
func TestPowerLoss(t *testing.T) {
	want := undisturbed(t, trail(killTrail))
	runs := 2
	if long() {
		runs = 10
	}
	for run := range runs {
		d := newDisk(t)
		seen := map[string]int{}
		acked := life(t, filepath.Join(d.dir, "state"), 20+11*run, seen)
		after := d.afterPowerLoss(t)
		dir := filepath.Join(after.dir, "state")
		b := openBus(t, dir)
		at := position(t, newIngester(b))
		b.Close()
		if acked == 0 || at < acked {
			t.Errorf("run %d: %d records were acknowledged, %d are there after the power loss", run, acked, at)
		}
		life(t, dir, 0, seen)
		b = openBus(t, dir)
		var events, dups uint64
		for _, s := range drainAll(t, b, nil) {
			events += s.Evaluated
			dups += s.Duplicates
			if s.Gaps != 0 || s.Rebuilt || s.Refused != 0 || s.Parked != 0 {
				t.Errorf("stats %+v", s)
			}
		}
		if events != killTrail || dups != 0 {
			t.Errorf("%d events evaluated (%d twice), want %d", events, dups, killTrail)
		}
		for id, raw := range want {
			if a, err := alert.UnmarshalStored([]byte(raw)); err != nil || seen[id] != a.Revision {
				t.Errorf("alert %s was handed on up to revision %d, want %d (%v)", id, seen[id], a.Revision, err)
			}
		}
		if len(seen) != len(want) {
			t.Errorf("%d alerts, want %d", len(seen), len(want))
		}
		b.Close()
		t.Logf("run %d: %d acknowledged, %d on the disk", run, acked, at)
	}

	d := newDisk(t)
	s := bustest.Start(t, bustest.Options{Dirs: []string{filepath.Join(d.dir, "nats")}, NoSync: true})
	b := openURL(t, s.URL(), 1)
	all := trail(2000)
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent()})
	storeAll(t, in, all, 20)
	acked := position(t, in)
	s.Kill()
	b.Close()
	after := d.afterPowerLoss(t)
	s = bustest.Start(t, bustest.Options{Dirs: []string{filepath.Join(after.dir, "nats")}, NoSync: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	at := 0
	b, err := bus.Open(ctx, bus.Config{URL: s.URL(), Partitions: partitions, Replicas: 1, MaxBytes: 512 << 20, Logger: silent()})
	if err == nil {
		defer b.Close()
		at = position(t, newIngester(b))
	}
	t.Logf("control without fsync: %d acknowledged, %d on the disk (%v)", acked, at, err)
	if at >= acked {
		t.Errorf("the control lost nothing: the power loss is not one")
	}
}
