//go:build unix

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A terminal that is closed ends a replay as Ctrl-C does, with what was found
// until then; under nohup it goes on.
func TestHangup(t *testing.T) {
	t.Parallel()
	// Tests that are themselves run under nohup would hand it down.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	event := `{"eventId":"E-EXAMPLE-1","eventName":"GetUser","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","recipientAccountId":"1000000000000001"}` + "\n"
	for _, c := range []struct {
		nohup bool
		code  int
		told  string
	}{{false, exitInterrupted, "the run was stopped"}, {true, exitOK, `"files_failed": []`}} {
		dir := t.TempDir()
		stats := filepath.Join(dir, "stats.json")
		args := []string{"-c", `exec "$@"`, "sh", realBinary(t), "replay", "-o", "jsonl", "--stats", stats, "-"}
		if c.nohup {
			args[1] = `trap "" HUP; ` + args[1]
		}
		cmd := exec.Command("sh", args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		var said bytes.Buffer
		cmd.Stderr = &said
		feed, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// More than a pipe holds: when it is written, the program reads.
		_, err = feed.Write([]byte(strings.Repeat(event, 20_000)))
		if err == nil {
			err = cmd.Process.Signal(syscall.SIGHUP)
		}
		if c.nohup {
			_ = feed.Close() // when it is gone already, its exit code says so
		}
		_ = cmd.Wait() // so does that
		_ = feed.Close()
		if code := cmd.ProcessState.ExitCode(); err != nil || code != c.code {
			t.Fatalf("nohup %t: %v, exit code %d, want %d\n%s", c.nohup, err, code, c.code, said.String())
		}
		if b, err := os.ReadFile(stats); err != nil || !strings.Contains(string(b), c.told) {
			t.Errorf("nohup %t: %v\n%s", c.nohup, err, b)
		}
	}
}
