package console

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
)

// One person's live pages take nobody else's place, and all together have a bound.
func TestLivePlaces(t *testing.T) {
	var s streams
	for i := range maxOwn {
		if !s.open("web:mallory") {
			t.Fatalf("refused after %d", i)
		}
	}
	if s.open("web:mallory") || !s.open("web:alice") {
		t.Error("one person has more than a share, or another none")
	}
	s.close("web:mallory")
	if !s.open("web:mallory") {
		t.Error("what was closed is not given back")
	}
	for s.open(time.Duration(s.all).String()) {
	}
	if s.all != maxStreams {
		t.Errorf("%d are open", s.all)
	}
	for by, n := range s.of {
		for range n {
			s.close(by)
		}
	}
	if s.all != 0 || len(s.of) != 0 {
		t.Errorf("%d stay open: %v", s.all, s.of)
	}
}

// Whoever opens connections and says nothing takes no more of them than there may be.
func TestConnections(t *testing.T) {
	w := newWorld(t)
	o := w.opts
	o.Index, o.Listen = index.New(index.Limits{}), "127.0.0.1:0"
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.most = 1
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := s.names.Load().base.Host
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.DialTimeout("tcp", at, patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	ask := func(c net.Conn) {
		if _, err := c.Write([]byte("GET /assets/console.css HTTP/1.1\r\nHost: " + at + "\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(_ net.Conn, r *bufio.Reader) error {
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	a, ra := dial()
	ask(a)
	if err := answer(a, ra); err != nil {
		t.Fatal(err)
	}
	b, rb := dial()
	defer b.Close()
	if _, err := rb.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("another one is kept beside it: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	w.await("that both are gone", func() bool { return s.conns.Load() == 0 })
	c, rc := dial()
	defer c.Close()
	ask(c)
	if err := answer(c, rc); err != nil {
		t.Errorf("with a place: %v", err)
	}
}
