package admin

import (
	"net"
	"strconv"
	"syscall"
)

// peer returns the user id at the other end of a Unix socket, "" when the
// kernel does not say.
func peer(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ""
	}
	var cred *syscall.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return ""
	}
	return strconv.FormatUint(uint64(cred.Uid), 10)
}
