package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// What asks gives up when the context ends, also while nobody answers; what
// was typed ahead is for the next question.
func TestPromptIsInterrupted(t *testing.T) {
	t.Parallel()
	in, keyboard := io.Pipe()
	defer keyboard.Close() // ends the read that is left behind
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	p := newPrompt(ctx, &env{in: in}, &out)
	typed := make(chan error, 1)
	go func() { _, err := keyboard.Write([]byte(" one \ntwo\n")); typed <- err }()
	for _, want := range []string{"one", "two"} {
		if got, err := p.ask("? "); got != want || err != nil {
			t.Errorf("the answer is %q, %v; want %q", got, err, want)
		}
	}
	if err := <-typed; err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { _, err := p.ask("? "); answered <- err }()
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("after the context: %v", err)
	}
	if out.String() != "? ? ? \n" {
		t.Errorf("it printed %q", out.String())
	}
}

func TestPromptWithoutAnybody(t *testing.T) {
	t.Parallel()
	p := newPrompt(t.Context(), &env{in: strings.NewReader("half")}, io.Discard)
	if got, err := p.ask("? "); got != "half" || !errors.Is(err, io.EOF) {
		t.Errorf("the answer is %q, %v", got, err)
	}
}

// A signal while a question waits ends the program, and nothing is written.
func TestQuestionIsInterruptedBySignal(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no signal can be sent to a process there")
	}
	dir := t.TempDir()
	cmd := exec.Command(realBinary(t), "init", "--ask", "--dir", dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	keyboard, err := cmd.StdinPipe() // held open: nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	question := make([]byte, len("Id of the"))
	if _, err := io.ReadFull(said, question); err != nil || string(question) != "Id of the" {
		t.Fatalf("it asks %q, %v", question, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, said); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code is what counts
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
