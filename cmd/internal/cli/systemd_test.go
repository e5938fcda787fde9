//go:build linux

package cli

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
)

// The program does with systemd what its unit counts on: it says when it is ready, feeds the watchdog, takes a credential from the folder that
// LoadCredential fills, is reloaded by the signal of ExecReload, and says that it stops. systemd is a socket here.
func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(filepath.Join(root(t), "deploy", "systemd", "trailwarden.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Type=notify", "WatchdogSec=60s", "ExecReload=/bin/kill -HUP $MAINPID", "RestartPreventExitStatus=2", "LoadCredential=slack-token:"} {
		if !strings.Contains(string(unit), "\n"+want) {
			t.Errorf("the unit has no %s, which this test is about", want)
		}
	}
	dir, err := os.MkdirTemp("", "tw") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: dir, Journal: &lockedBuffer{}, ChatRate: -1}, []string{accountA})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	path := filepath.Join(dir, "trailwarden.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The token from a credential, as in deploy/systemd/trailwarden.yaml.
	cred := filepath.Join(dir, "credentials", "slack-token")
	if err := os.Mkdir(filepath.Dir(cred), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "slack-token"), cred); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cred, 0o400); err != nil {
		t.Fatal(err)
	}
	const before = "${file:slack-token}"
	if !bytes.Contains(text, []byte(before)) {
		t.Fatalf("no %s in\n%s", before, text)
	}
	text = bytes.ReplaceAll(text, []byte(before), []byte("${file:"+cred+"}"))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}

	socket := filepath.Join(dir, "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	await := func(want string) {
		t.Helper()
		if err := ln.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for {
			n, err := ln.Read(b)
			if err != nil {
				t.Fatalf("systemd was not told %s: %v", want, err)
			}
			if strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
	var log lockedBuffer
	cmd := exec.Command(realBinary(t), "run", "--config", path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=300000", "CREDENTIALS_DIRECTORY=" + filepath.Dir(cred)}
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	await("READY=1")
	await("WATCHDOG=1\nSTATUS=ready")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await("WATCHDOG=1\nSTATUS=ready") // it lives on
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
