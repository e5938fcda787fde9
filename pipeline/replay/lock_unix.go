//go:build linux || darwin || freebsd

package replay

import (
	"errors"
	"os"
	"syscall"
)

// lockDir takes the lock of a folder, which the kernel drops when the process
// ends in whatever way. Where the file system has no locks, nothing is locked.
func lockDir(dir string) (release func(), err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		_ = f.Close() // nothing was done with it
		return nil, ErrBusy
	}
	return func() { _ = f.Close() }, nil // closing drops the lock
}
