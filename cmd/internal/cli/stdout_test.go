package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// noRoom takes nothing.
type noRoom struct{ err error }

func (n noRoom) Write([]byte) (int, error) { return 0, n.err }

// What is not written is not done: no command ends well that lost its output.
func TestLostOutput(t *testing.T) {
	t.Parallel()
	repo := root(t)
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte(`{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	events := filepath.Join(repo, "testdata", "scenarios", "leaked-key")
	full := errors.New("no space left on device")
	for _, c := range []string{
		"", "version", "help replay", "rules", "completion bash", "cheat", "reference config", "explain TW101",
		"rules list", "rules list -o json", "rules list -o name", "rules show ak.created", "rules test ak.created", "rules fields", "rules schema",
		"rules export ak.created", "rules coverage", "rules mutate ak.created", "rules exceptions",
		"policy explain " + policy, "policy diff " + policy + " " + policy, "entity show ci-build " + events,
		"replay " + events, "rules backtest " + events, "synth attack --list",
	} {
		for _, want := range []struct {
			err  error
			code int
			said int
		}{{full, exitUsage, 1}, {syscall.EPIPE, exitOK, 0}} {
			var said bytes.Buffer
			code := Run(t.Context(), strings.Fields(c), &env{in: strings.NewReader(""), out: noRoom{want.err}, err: &said})
			if want.err == full && code != want.code || strings.Count(said.String(), full.Error()) != want.said {
				t.Errorf("%s, %v: exit code %d\n%s", c, want.err, code, said.String())
			}
		}
	}
}

// The same of the real program, and a reader that has enough is no fault.
func TestLostOutputOfTheProgram(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full: ", err)
	}
	defer full.Close()
	var said bytes.Buffer
	cmd := exec.Command(realBinary(t), "rules", "list")
	cmd.Stdout, cmd.Stderr = full, &said
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(said.String(), "no space left") {
		t.Errorf("on a full disk: %v\n%s", err, said.String())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	said.Reset()
	cmd = exec.Command(realBinary(t), "rules", "list")
	cmd.Stdout, cmd.Stderr = w, &said
	if err := cmd.Run(); cmd.ProcessState.ExitCode() == exitUsage || strings.Contains(said.String(), "pipe") {
		t.Errorf("into a closed pipe: %v\n%s", err, said.String())
	}
}

func TestRememberedFault(t *testing.T) {
	t.Parallel()
	r := &remembered{w: io.Discard}
	fmt.Fprint(r, "x")
	if err := r.lost(); err != nil {
		t.Error(err)
	}
	for _, w := range []io.Writer{noRoom{io.ErrShortWrite}, noRoom{io.ErrNoProgress}, io.Discard} {
		r.w = w
		fmt.Fprint(r, "x")
	}
	if err := r.lost(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("the first fault is %v", err)
	}
}
