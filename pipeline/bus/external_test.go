package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// startExternal runs a server with a socket, as a cluster's would.
func startExternal(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true, JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 64 << 20}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// proxy stands between client and server; deaf swallows what the server says.
type proxy struct {
	l    net.Listener
	to   string
	deaf atomic.Bool
	mu   sync.Mutex
	open []net.Conn
	wg   sync.WaitGroup
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, c, s)
			p.mu.Unlock()
			p.wg.Go(func() { _, _ = io.Copy(s, c); s.Close() })
			p.wg.Go(func() {
				buf := make([]byte, 32<<10)
				for {
					n, err := s.Read(buf)
					if err == nil && !p.deaf.Load() {
						_, err = c.Write(buf[:n])
					}
					if err != nil {
						c.Close()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

func external(url string) Config {
	return Config{URL: url, Partitions: 4, Replicas: 1, MaxBytes: 256 << 20, Logger: quiet(), PublishTimeout: 200 * time.Millisecond}
}

// The acknowledgement is lost after the message was stored. The message is
// sent again and is there once, whether the server still knows its id or not.
func TestLostAcknowledgement(t *testing.T) {
	s := startExternal(t, nil)
	p := startProxy(t, s.Addr().String())
	b := open(t, external("nats://"+p.l.Addr().String()))
	direct := open(t, external("nats://"+s.Addr().String()))
	for i, id := range []string{"with-id", ""} {
		subject := fmt.Sprintf("cm.%d", i)
		p.deaf.Store(true)
		// It hears again when the message has been stored, which only the
		// other connection can see, and one attempt has run out.
		stored := make(chan struct{})
		go func() {
			defer close(stored)
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				if _, err := direct.Last(t.Context(), StreamCommits, subject); err == nil && b.silent.Load() > 0 {
					break
				}
			}
			p.deaf.Store(false)
			p.cut() // what was swallowed does not come again
		}()
		seq, err := b.Publish(t.Context(), Publish{Stream: StreamCommits, Subject: subject, ID: id, Data: []byte("record"), Fenced: true})
		<-stored
		if err != nil {
			t.Fatal(err)
		}
		m, err := direct.Last(t.Context(), StreamCommits, subject)
		if err != nil || m.Seq != seq {
			t.Errorf("published at %d, stored at %d, %v", seq, m.Seq, err)
		}
	}
	if st, err := direct.State(t.Context(), StreamCommits); err != nil || st.Msgs != 2 {
		t.Errorf("%d messages, %v", st.Msgs, err)
	}
}

// With no answer at all the outcome is unknown, and says so.
func TestUnknownOutcome(t *testing.T) {
	s := startExternal(t, nil)
	p := startProxy(t, s.Addr().String())
	b := open(t, external("nats://"+p.l.Addr().String()))
	b.cfg.PublishTimeout = 20 * time.Millisecond
	p.deaf.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	_, err := b.Publish(ctx, Publish{Stream: StreamCommits, Subject: "cm.0", ID: "a", Data: []byte("x"), Fenced: true})
	wantErr(t, err, ErrUnknown)
	if h := b.Health(ctx); h.OK || len(h.Problems) == 0 {
		t.Errorf("health %+v", h)
	}
}

func TestReaderSurvivesAReconnect(t *testing.T) {
	s := startExternal(t, nil)
	p := startProxy(t, s.Addr().String())
	b := open(t, external("nats://"+p.l.Addr().String()))
	direct := open(t, external("nats://"+s.Addr().String()))
	r := b.NewReader(StreamEvents, 1, 4, "ev.0.*")
	defer r.Stop()
	for i := range 30 {
		mustPublish(t, direct, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: fmt.Sprint(i), Data: []byte{byte(i)}})
		if i%10 == 5 {
			p.cut()
		}
		d, err := r.Next(t.Context())
		if err != nil || d.Seq != uint64(i+1) || d.Data[0] != byte(i) {
			t.Fatalf("message %d: %+v, %v", i, d, err)
		}
	}
}

// A stream that is limited to small payloads is refused at the door.
func TestSmallPayloadIsRefused(t *testing.T) {
	s := startExternal(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	_, err := Open(t.Context(), external("nats://"+s.Addr().String()))
	wantErr(t, err, ErrTooLarge, "max_payload", "65536")
}

func TestForeignStreamIsRefused(t *testing.T) {
	s := startExternal(t, nil)
	b := open(t, external("nats://"+s.Addr().String()))
	js, err := b.js.Stream(t.Context(), StreamQuar)
	if err != nil {
		t.Fatal(err)
	}
	c := js.CachedInfo().Config
	c.Metadata = nil
	if _, err := b.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), external("nats://"+s.Addr().String()))
	wantErr(t, err, ErrDrift, "QUAR", "not made by trailwarden")
}

func TestTLS(t *testing.T) {
	ca, pair := certificate(t)
	s := startExternal(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	})
	cfg := external("tls://" + s.Addr().String())
	cfg.CA = ca
	b := open(t, cfg)
	if b.nc.TLSRequired() == false || b.Embedded() {
		t.Error("the connection is not protected")
	}
	cfg.CA = ""
	if b, err := Open(t.Context(), cfg); err == nil {
		b.Close()
		t.Error("a certificate of an unknown authority was accepted")
	}
	// A server elsewhere that does not speak TLS is refused, not spoken to.
	opts, err := Config{URL: "nats://nats.example.com:4222", Logger: quiet()}.externalOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Config{URL: "nats://127.0.0.1:4222", Logger: quiet()}.externalOptions(nil)
	if err != nil || len(opts) != len(plain)+1 {
		t.Errorf("%d options for a remote server, %d for this machine, %v", len(opts), len(plain), err)
	}
}

func certificate(t *testing.T) (caFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestPermissionDeniedIsNamed(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startExternal(t, func(o *server.Options) {
		o.Nkeys = []*server.NkeyUser{{Nkey: public, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"cm.>"}, Allow: []string{">"}}}}}
	})
	if b, err := Open(t.Context(), external("nats://"+s.Addr().String())); err == nil {
		b.Close()
		t.Fatal("a client without credentials was let in")
	}
	cfg := external("nats://" + s.Addr().String())
	cfg.NKey = file
	b := open(t, cfg)
	_, err = b.Publish(t.Context(), Publish{Stream: StreamCommits, Subject: "cm.0", ID: "a", Data: []byte("x")})
	wantErr(t, err, ErrDenied, "cm.0")
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: "a", Data: []byte("x")})
	if h := b.Health(t.Context()); h.OK || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "cm.0") {
		t.Errorf("health %+v", h)
	}
}

// A stream that a cluster does not know for a moment was not deleted: a start of
// several processes on a new cluster was told to people as tampering. One that
// stays away was.
func TestMissingForAMoment(t *testing.T) {
	b := open(t, external("nats://"+startExternal(t, nil).Addr().String()))
	if err := b.js.DeleteStream(t.Context(), StreamSnap); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(t.Context()); h.OK || len(h.Problems) != 1 || len(h.Missing) != 0 {
		t.Errorf("at the first look: %+v", h)
	}
	long := time.Now().Add(-absentFor)
	b.absent.Store(StreamSnap, long)
	if h := b.Health(t.Context()); !slices.Equal(h.Missing, []string{StreamSnap}) {
		t.Errorf("after %s: %+v", absentFor, h)
	}
	// It is there again, and what was counted is forgotten.
	if _, err := b.js.CreateStream(t.Context(), streamConfigs(b.Partitions(), 1, 1<<30)[StreamSnap]); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(t.Context()); !h.OK {
		t.Errorf("made again: %+v", h)
	}
	if err := b.js.DeleteStream(t.Context(), StreamSnap); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(t.Context()); h.OK || len(h.Missing) != 0 {
		t.Errorf("gone a second time: %+v", h)
	}
}
