package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
)

// systemd is told READY once, the watchdog and the state again and again while
// the parts answer, and STOPPING at the end.
func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "tw") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000") // every 20 ms
	t.Setenv("WATCHDOG_PID", "")
	next := func() string {
		t.Helper()
		if err := ln.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := ln.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	answers := make(chan error, 100)
	stop := notify(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (admin.Status, error) {
		select {
		case err := <-answers:
			return admin.Status{}, err
		default:
			return admin.Status{Problems: []string{"blind\nWATCHDOG=trigger"}}, nil
		}
	})
	if got := next(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	for range 3 {
		if got := next(); got != "WATCHDOG=1\nSTATUS=blind WATCHDOG=trigger" {
			t.Errorf("%q", got)
		}
	}
	// A program that does not answer is silent, until it answers again.
	for range 5 {
		answers <- errors.New("no answer")
	}
	for len(answers) > 0 {
		time.Sleep(time.Millisecond)
	}
	if got := next(); !strings.HasPrefix(got, "WATCHDOG=1") {
		t.Errorf("%q", got)
	}
	stop()
	for {
		if got := next(); got == "STOPPING=1" {
			break
		}
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	notify(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (admin.Status, error) {
		t.Error("nobody asked")
		return admin.Status{}, nil
	})()
}
