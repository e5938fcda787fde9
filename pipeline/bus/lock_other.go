//go:build !(linux || darwin || freebsd)

package bus

import "errors"

func lockDir(string) (func(), error) {
	return nil, errors.New("bus: the embedded store needs flock, which this system does not have: use nats.url with an external server")
}

// LockState is nothing where folders have no locks.
func LockState(string) (release func(), err error) { return func() {}, nil }

func freeBytes(string) int64 { return -1 }
