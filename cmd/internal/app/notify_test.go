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

// listenNotify stands for systemd: the function it returns gives what was told next.
func listenNotify(t *testing.T) func() string {
	t.Helper()
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
	t.Cleanup(func() { _ = ln.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", "")
	// It always reads, as systemd does: a socket takes ten, and then the program waits.
	told := make(chan string, 10_000)
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := ln.Read(b)
			if err != nil {
				return
			}
			told <- string(b[:n])
		}
	}()
	return func() string {
		t.Helper()
		select {
		case s := <-told:
			return s
		case <-time.After(time.Minute):
			t.Fatal("nothing is told")
			return ""
		}
	}
}

// systemd is told READY once, the watchdog and the state again and again while
// the parts answer, and STOPPING at the end.
func TestNotify(t *testing.T) {
	next := listenNotify(t)
	t.Setenv("WATCHDOG_USEC", "60000") // every 20 ms
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

// What is wrong is not told for a third of the watchdog's time after it is over.
func TestNotifyTellsSoonThatItIsMended(t *testing.T) {
	next := listenNotify(t)
	t.Setenv("WATCHDOG_USEC", "3600000000") // every 20 minutes
	looked := 0
	stop := notify(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (admin.Status, error) {
		if looked++; looked == 1 {
			return admin.Status{Problems: []string{"blind"}}, nil
		}
		return admin.Status{}, nil
	})
	defer stop()
	for _, want := range []string{"READY=1", "WATCHDOG=1\nSTATUS=blind", "WATCHDOG=1\nSTATUS=ready"} {
		if got := next(); got != want {
			t.Errorf("%q, want %q", got, want)
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
