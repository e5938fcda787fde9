package bus

import (
	"github.com/nats-io/nats-server/v2/server"
)

// Layout is the version of the on-disk layout that this program writes. It
// refuses another one.
const Layout = layout

// ServerVersion is the version of the embedded NATS server.
const ServerVersion = server.VERSION

// StoreLayout is the layout of the store in dir, "" where there is none yet.
func StoreLayout(dir string) (string, error) {
	m, err := readMarker(dir)
	if err != nil || m == nil {
		return "", err
	}
	return m.Layout, nil
}

// Lock takes the store in dir, so that no program opens it until release is
// called. The error wraps ErrLocked when one has it.
func Lock(dir string) (release func(), err error) { return lockDir(dir) }
