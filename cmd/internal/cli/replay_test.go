package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// TestToFileSpecial: a device or a pipe named as the output stays what it is.
func TestToFileSpecial(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := makePipe(pipe); err != nil {
		t.Skip(err)
	}
	got := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(pipe)
		if err != nil {
			b = []byte(err.Error())
		}
		got <- string(b)
	}()
	write := func(w io.Writer) error { _, err := io.WriteString(w, "alerts\n"); return err }
	if err := toFile(&env{}, pipe, write); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "alerts\n" {
		t.Errorf("the pipe gave %q", s)
	}
	if st, err := os.Lstat(pipe); err != nil || st.Mode().IsRegular() {
		t.Errorf("%v %v: the pipe was replaced", st, err)
	}
	if err := toFile(&env{}, t.TempDir(), write); err == nil || !strings.Contains(err.Error(), "cannot write") {
		t.Errorf("a folder: %v", err)
	}
}

// TestFullDiskOnce: that the disk is full is said once, though writing and emptying
// the buffer both failed of it.
func TestFullDiskOnce(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	err := toFile(&env{}, "/dev/full", func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err })
	if err == nil || strings.Count(err.Error(), "no space") != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q", err)
	}
}

// TestNoOrder: files behind each other in a pipe are in no order, which keeps much
// from detectors; and a name that nothing has is told as that. Both are said.
func TestNoOrder(t *testing.T) {
	var in strings.Builder
	for i := range 20 { // the second half is a day older
		fmt.Fprintf(&in, `{"eventId":"E-EXAMPLE-%d","eventName":"ListUsers","serviceName":"Ram","eventTime":"2026-11-%02dT08:%02d:00Z","recipientAccountId":"1000000000000001"}`+"\n", i, 21-i/10, i)
	}
	for _, args := range [][]string{{"replay", "--entity", "nobody", "-"}, {"rules", "backtest", "-"}} {
		var errs bytes.Buffer
		if code := Run(t.Context(), args, &env{in: strings.NewReader(in.String()), out: io.Discard, err: &errs}); code != 0 {
			t.Errorf("%q: exit %d", args, code)
		}
		if !strings.Contains(errs.String(), "\n10 of 20 events came too late behind newer ones") {
			t.Errorf("%q: %s", args, &errs)
		}
		if args[0] == "replay" && !strings.Contains(errs.String(), "no event concerns nobody;") {
			t.Errorf("%q: %s", args, &errs)
		}
	}
}

// TestErrorsCannotSteer: names of files come from strangers too; in an error they
// neither steer a terminal nor begin a line, which a CI would take for a command.
func TestErrorsCannotSteer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a\x1b[2J\u009b\u202e\n::error::b")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip(err) // no such names here
	}
	bad := filepath.Join(dir, "c\n::error::d\x07.jsonl.gz")
	if err := os.WriteFile(bad, []byte("\x1f\x8bxx"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "none")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"replay", bad}, {"replay", filepath.Join(dir, "gone")}, {"replay", empty}, {"replay", dir}, {"rules", "backtest", bad}, {"rules", "diff", "pack", "pack", bad},
		{"entity", "show", "x", bad}, {"baseline", "build", "--out", filepath.Join(dir, "b"), bad}, {"replay", "--from", "\x1b[2J", bad}, {"replay", "-o", "\x1b[2J", bad},
		{"replay", "--baseline", filepath.Join(dir, "b"), bad}, {"replay", "--\x1b[2J"}, {"rules", "lint", bad},
	} {
		var errs bytes.Buffer
		code := Run(t.Context(), args, &env{in: strings.NewReader(""), out: io.Discard, err: &errs})
		if code != exitUsage && code != exitFindings {
			t.Errorf("%q: exit %d", args, code)
		}
		for line := range strings.SplitSeq(errs.String(), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "::") && args[0] != "rules" {
				t.Errorf("%q: a line is\n%s", args, line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && text.Hidden(r) }) {
				t.Errorf("%q: %q", args, line)
			}
		}
		if errs.Len() == 0 {
			t.Errorf("%q: nothing is said", args)
		}
	}
}

// TestNoBaseline: a file of another kind named as a baseline is told as that, in
// words of the user's.
func TestNoBaseline(t *testing.T) {
	dir := t.TempDir()
	events, base := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b")
	if err := os.WriteFile(events, []byte(`{"eventId":"E-EXAMPLE-1","eventName":"ListUsers","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","recipientAccountId":"1000000000000001"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"baseline", "build", "--out", base, events}, {"replay", "--baseline", base, events}, {"replay", "--baseline", events, events}, {"baseline", "show", events}} {
		var errs bytes.Buffer
		code := Run(t.Context(), args, &env{in: strings.NewReader(""), out: io.Discard, err: &errs})
		bad := args[len(args)-1] == events && args[len(args)-2] != base
		if (code == exitUsage) != bad || strings.Contains(errs.String(), "no file that baseline build wrote") != bad {
			t.Errorf("%q: exit %d, %s", args, code, &errs)
		}
	}
}
