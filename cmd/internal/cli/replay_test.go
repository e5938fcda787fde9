package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
