package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
)

func TestNoRoom(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/x/part-1", Err: syscall.ENOSPC}
	for _, c := range []struct {
		h    historyFlags
		want string
	}{
		{historyFlags{}, "it does not fit into " + os.TempDir() + " (no space left on device): make room there, or name another folder with --cache or TMPDIR"},
		{historyFlags{cache: "kept", resume: "way"}, "it does not fit into kept (no space left on device): make room there, or name another folder with --cache"},
		{historyFlags{cache: filepath.Join("way", resumeSources), resume: "way"}, "it does not fit into way (no space left on device): make room there, or name another folder with --cache or --resume"},
	} {
		err := c.h.noRoom(fmt.Errorf("shard 0: %w", full))
		if err.Error() != c.want || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%+v: %v", c.h, err)
		}
	}
	if other := errors.New("other"); (&historyFlags{}).noRoom(other) != other || (&historyFlags{}).noRoom(nil) != nil {
		t.Error("what is no full disk became one")
	}
}

// A disk that is full while a service is copied, or a revision is unpacked: the
// folder is named and what to do.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	disk := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("mounting a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "umount", "-l", disk).CombinedOutput(); err != nil {
			t.Errorf("unmounting %s: %v: %s", disk, err, out)
		}
	})
	t.Setenv("TMPDIR", disk)
	const account = "1000000000000001"
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: filepath.Join(t.TempDir(), "fc"), ChatRate: -1, Shards: 1}, []string{account})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	}()
	noise := make([]byte, 60_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	yesterday := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	cloud.Append(fmt.Appendf(nil, `{"eventId":"e1","eventName":"GetUser","serviceName":"Ram","eventTime":%q,"recipientAccountId":%q,"userAgent":"%x"}`, yesterday.Add(time.Hour).Format(time.RFC3339), account, noise))
	cache := filepath.Join(disk, "kept")
	if err := os.Mkdir(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sls://trailwarden-demo/actiontrail_demo"}, "it does not fit into " + disk + " (no space left on device): make room there, or name another folder with --cache or TMPDIR\n"},
		{[]string{"--cache", cache, "sls://trailwarden-demo/actiontrail_demo"}, "it does not fit into " + cache + " (no space left on device): make room there, or name another folder with --cache; what was read is in " + cache},
		{[]string{"actiontrail://cn-hangzhou"}, "it does not fit into " + disk + " (no space left on device): make room there, or name another folder with --cache or TMPDIR\n"},
	} {
		var o, e bytes.Buffer
		code := Run(t.Context(), append([]string{"replay", "-q", "--config", cloud.Config, "--from", yesterday.Format(time.RFC3339)}, c.args...), &env{in: strings.NewReader(""), out: &o, err: &e})
		if code != exitUsage || o.Len() > 0 || !strings.Contains(e.String(), c.want) {
			t.Errorf("%v: %d: %s%s", c.args, code, o.String(), e.String())
		}
	}
	repo := t.TempDir()
	if err := os.WriteFile(filepath.Join(repo, "large.yaml"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "x"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("git: %v: %s", err, out)
		}
	}
	var o, e bytes.Buffer
	code := Run(t.Context(), []string{"rules", "diff", "--rules", repo, "HEAD..", "x.jsonl"}, &env{in: strings.NewReader(""), out: &o, err: &e})
	if want := "it does not fit into " + disk + " (no space left on device): make room there, or name another folder with TMPDIR"; code != exitUsage || !strings.Contains(e.String(), want) {
		t.Errorf("%d: %s%s", code, o.String(), e.String())
	}
}
