package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// loopbackOnly is the program "loopback": it brings the loopback interface of
// a fresh network namespace up, makes sure that nothing else is there, and
// becomes the program of its arguments.
func loopbackOnly() {
	if err := loUp(); err != nil {
		fmt.Fprintln(os.Stderr, "loopback: bringing lo up:", err)
		os.Exit(97)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loopback:", err)
		os.Exit(97)
	}
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			fmt.Fprintln(os.Stderr, "loopback: the namespace is not empty:", i.Name)
			os.Exit(97)
		}
	}
	// TEST-NET-1: no route may lead there.
	if c, err := net.DialTimeout("tcp", "192.0.2.1:443", time.Second); err == nil || !errors.Is(err, syscall.ENETUNREACH) {
		if err == nil {
			_ = c.Close()
		}
		fmt.Fprintln(os.Stderr, "loopback: the world can be reached:", err)
		os.Exit(97)
	}
	fmt.Fprintln(os.Stderr, "loopback: alone")
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "loopback:", err)
	os.Exit(97)
}

// loUp sets IFF_UP on lo.
func loUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var req struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); e != 0 {
		return e
	}
	return nil
}

// namespace makes cmd run in a network namespace of its own; as an ordinary
// user in a user namespace too.
func namespace(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// The demo needs no network beyond loopback: it succeeds where there is none.
func TestDemoNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	needsRules(t, demoRules...)
	probe := exec.Command("loopback", "true")
	namespace(probe)
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("network namespaces are not permitted here (needs root or unprivileged user namespaces): %v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "loopback", realBinary(t), "demo", "--headless")
	namespace(cmd)
	// Nothing that could lead out, such as a proxy, and nobody's credentials.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	if !strings.Contains(errs.String(), "loopback: alone") {
		t.Errorf("the namespace was not checked: %s", errs.String())
	}
	checkDemo(t, out.String())
}
