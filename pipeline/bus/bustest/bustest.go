// Package bustest runs nats-servers as processes of their own, for tests that
// kill them: the test's own executable started again, so that nothing has to be
// installed. Its TestMain calls Main first.
package bustest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const environment = "TRAILWARDEN_TEST_NATS_SERVER"

// settings is what the child is told.
type settings struct {
	Name, Dir, Log string
	Client, Route  int
	Routes         []string
	NoSync         bool
	MaxStore       int64
}

// Main runs a server and never returns when this process was started to be one.
func Main() {
	text := os.Getenv(environment)
	if text == "" {
		return
	}
	var c settings
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Client, JetStream: true, StoreDir: c.Dir, SyncAlways: !c.NoSync,
		JetStreamMaxStore: c.MaxStore, JetStreamMaxMemory: 64 << 20, NoSigs: true, LogFile: c.Log,
	}
	if c.Route != 0 {
		// Nobody reaches the advertised address, so that servers know each
		// other only by the routes given, which can be cut.
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: c.Route, Advertise: "127.0.0.1:9", NoAdvertise: true}
		for _, r := range c.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.ConfigureLogger()
	// The parent holds the other end: no server outlives its test.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	s.Start()
	s.WaitForShutdown()
	os.Exit(0)
}

// Server is one server process.
type Server struct {
	c     settings
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
}

// Options of a server or a cluster.
type Options struct {
	// Dirs are the stores, one for each server; temporary ones when nil.
	Dirs []string
	// NoSync leaves fsync to the server's default interval.
	NoSync bool
}

// ports are free ones on which a server can be started, and started again. They lie
// below those from which the system gives others theirs: it would give one away
// while no server has it.
func ports(t testing.TB, n int) []int {
	t.Helper()
	var out []int
	for tries := 0; len(out) < n; tries++ {
		port := 10_000 + rand.IntN(22_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries > 1000 {
				t.Fatal(err)
			}
			continue // somebody's
		}
		defer l.Close()
		out = append(out, port)
	}
	return out
}

// Start runs one server without a cluster.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	return start(t, o, 0, settings{Name: "single", Client: ports(t, 1)[0]})
}

func start(t testing.TB, o Options, i int, c settings) *Server {
	t.Helper()
	if i < len(o.Dirs) {
		c.Dir = o.Dirs[i]
	} else {
		c.Dir = t.TempDir()
	}
	c.Log = filepath.Join(t.TempDir(), c.Name+".log")
	c.NoSync, c.MaxStore = o.NoSync, 2<<30
	s := &Server{c: c, t: t}
	s.Start()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", c.Name, s.tail(30))
		}
	})
	return s
}

func (s *Server) tail(n int) string {
	b, err := os.ReadFile(s.c.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Name is what clients see as the server's name.
func (s *Server) Name() string { return s.c.Name }

// URL is where clients connect.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.c.Client) }

// Kill ends the process at once (SIGKILL).
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it says that it was killed
	_ = s.stdin.Close()
	s.cmd = nil
}

// Start runs it (again) and waits until it accepts clients.
func (s *Server) Start() {
	s.t.Helper()
	text, err := json.Marshal(s.c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(os.Args[0], "-test.run=^$")
	s.cmd.Env = append(os.Environ(), environment+"="+string(text))
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // no event tells of a port that opens
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.c.Client))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("server %s does not start: %v\n%s", s.c.Name, err, s.tail(20))
		}
	}
}

// Cluster is three servers; between each two stands a wire that can be cut.
type Cluster struct {
	Servers []*Server
	wires   map[[2]int]*Wire
}

// StartCluster runs three servers with routes between them.
func StartCluster(t testing.TB, o Options) *Cluster {
	t.Helper()
	const n = 3
	p := ports(t, 2*n)
	c := &Cluster{wires: map[[2]int]*Wire{}}
	for i := range n {
		s := settings{Name: fmt.Sprintf("n%d", i+1), Client: p[i], Route: p[n+i]}
		for j := range n {
			if i == j {
				continue
			}
			w := NewWire(t, fmt.Sprintf("127.0.0.1:%d", p[n+j]))
			c.wires[[2]int{i, j}] = w
			s.Routes = append(s.Routes, w.Addr())
		}
		c.Servers = append(c.Servers, start(t, o, i, s))
	}
	return c
}

// URL names all servers.
func (c *Cluster) URL() string {
	var out []string
	for _, s := range c.Servers {
		out = append(out, s.URL())
	}
	return strings.Join(out, ",")
}

// Named returns the server with a name, and its number.
func (c *Cluster) Named(name string) (int, *Server) {
	for i, s := range c.Servers {
		if s.c.Name == name {
			return i, s
		}
	}
	return -1, nil
}

// Isolate cuts server i off from the others, or joins it again. Clients still
// reach it.
func (c *Cluster) Isolate(i int, cut bool) {
	for k, w := range c.wires {
		if k[0] == i || k[1] == i {
			w.Cut(cut)
		}
	}
}

// Wire is a TCP proxy that can be cut.
type Wire struct {
	l    net.Listener
	to   string
	off  atomic.Bool
	mu   sync.Mutex
	open []net.Conn
	wg   sync.WaitGroup
}

// NewWire listens on a loopback port and connects to an address.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{l: l, to: to}
	w.wg.Go(w.serve)
	t.Cleanup(func() {
		w.off.Store(true)
		_ = l.Close()
		w.drop()
		w.wg.Wait()
	})
	return w
}

// Addr is where it listens.
func (w *Wire) Addr() string { return w.l.Addr().String() }

// Cut ends every connection and lets none come up, until it is undone.
func (w *Wire) Cut(cut bool) {
	w.off.Store(cut)
	if cut {
		w.drop()
	}
}

func (w *Wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

func (w *Wire) serve() {
	for {
		in, err := w.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.to)
		w.mu.Lock()
		if err != nil || w.off.Load() {
			w.mu.Unlock()
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		w.open = append(w.open, in, out)
		w.mu.Unlock()
		pipe := func(a, b net.Conn) {
			_, _ = io.Copy(a, b)
			_ = a.Close()
			_ = b.Close()
		}
		w.wg.Go(func() { pipe(in, out) })
		w.wg.Go(func() { pipe(out, in) })
	}
}
