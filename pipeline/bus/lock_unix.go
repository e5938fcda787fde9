//go:build linux || darwin || freebsd

package bus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockFile is our own lock: the server does not lock its store, and two
// servers on one store both acknowledge messages that the other overwrites.
const lockFile = "LOCK"

// lockDir makes dir private and takes its lock, which the kernel drops when
// the process ends in whatever way. The file stays; only the lock counts.
func lockDir(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("bus: store directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("bus: store directory %s must be private to this user: %w", dir, err)
	}
	release, holder, err := hold(dir)
	if holder != "" {
		return nil, fmt.Errorf("bus: %w: %s is held by %s: stop it, or give this one its own state_dir", ErrLocked, dir, holder)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: store lock: %w", err)
	}
	return release, nil
}

// LockState takes the folder of a process, also of one whose store is elsewhere,
// until release is called or the process ends in whatever way. The error wraps
// ErrStateLocked when another process has it; any other one says that this disk
// cannot tell.
func LockState(dir string) (release func(), err error) {
	release, holder, err := hold(dir)
	if holder != "" {
		return nil, fmt.Errorf("%w: %s is held by %s: its admin socket, its rules and its name in the consumer group are one process's: stop it, or give this one its own state_dir", ErrStateLocked, dir, holder)
	}
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	return release, nil
}

// hold takes the lock file in dir; holder says who has it, "" when nobody does.
func hold(dir string) (release func(), holder string, err error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, "", fmt.Errorf("locking %s: %w", path, err)
		}
		text, _ := io.ReadAll(io.LimitReader(f, 64))
		if pid := strings.TrimSpace(string(text)); pid != "" {
			return nil, "process " + pid, nil
		}
		return nil, "another process", nil
	}
	// The pid is only for the message above; a failure to write it is none
	// of the lock's business.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		_ = f.Close()
	}, "", nil
}

// freeBytes is what an ordinary user may still write on dir's disk.
func freeBytes(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1
	}
	free := uint64(st.Bavail) * uint64(st.Bsize) //nolint:unconvert // the types differ between systems
	if free > 1<<60 {
		return 1 << 60
	}
	return int64(free)
}
