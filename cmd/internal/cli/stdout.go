package cli

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// remembered is standard output that keeps its first fault, so that no command
// has to look after each line whether it was written.
type remembered struct {
	w io.Writer

	mu    sync.Mutex
	first error
}

func (r *remembered) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.first == nil {
			r.first = err
		}
	}
	return n, err
}

// lost is why something of the output is not there. A reader that had enough
// (head) has lost nothing.
func (r *remembered) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.first, syscall.EPIPE) || errors.Is(r.first, io.ErrClosedPipe) {
		return nil
	}
	return r.first
}

// fileOf is the file that w writes to.
func fileOf(w io.Writer) (*os.File, bool) {
	if r, ok := w.(*remembered); ok {
		w = r.w
	}
	f, ok := w.(*os.File)
	return f, ok
}
