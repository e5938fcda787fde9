//go:build !linux

package admin

import "net"

// peer is not known here; the socket's mode still limits who can connect.
func peer(net.Conn) string { return "" }
