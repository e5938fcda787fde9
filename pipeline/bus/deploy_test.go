package bus

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// The shipped server configuration, in a real server: TLS, users by nkey, and
// each role may do its work and nothing else.
func TestDeployedServerSettings(t *testing.T) {
	dir := t.TempDir()
	ca, pair := certificate(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seeds := map[string]string{}
	for _, role := range []string{"INGEST", "DETECT", "RESPOND", "ALL", "SYS"} {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		seeds[role] = filepath.Join(dir, role+".nk")
		if err := os.WriteFile(seeds[role], seed, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("NATS_"+role, public)
	}
	for k, v := range map[string]string{"NATS_NAME": "nats-1", "NATS_CERT": cert, "NATS_KEY": key, "NATS_CA": ca, "NATS_STORE": filepath.Join(dir, "store")} {
		t.Setenv(k, v)
	}
	o, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if !o.SyncAlways || len(o.Routes) != 3 || o.HTTPHost != "127.0.0.1" || !o.TLSVerify && o.TLSConfig == nil || o.SystemAccount != "SYS" {
		t.Errorf("sync %v, %d routes, monitoring on %q, system account %q", o.SyncAlways, len(o.Routes), o.HTTPHost, o.SystemAccount)
	}
	// One server of it, on free ports. Alone it has to have what the three have together.
	each := o.JetStreamMaxStore
	o.JetStreamMaxStore *= 3
	o.Host, o.Port, o.HTTPPort, o.Cluster, o.Routes, o.NoSigs, o.NoLog = "127.0.0.1", -1, 0, server.ClusterOpts{}, nil, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	port := o.Port
	if a, ok := s.Addr().(interface{ String() string }); ok {
		_, _ = fmt.Sscanf(a.String()[strings.LastIndexByte(a.String(), ':')+1:], "%d", &port)
	}
	url := fmt.Sprintf("tls://127.0.0.1:%d", port)

	cfg := external(url)
	cfg.CA = ca
	if b, err := Open(t.Context(), cfg); err == nil {
		b.Close()
		t.Error("a client without a key was let in")
	}
	cfg.CA, cfg.NKey = "", seeds["ALL"]
	if b, err := Open(t.Context(), cfg); err == nil {
		b.Close()
		t.Error("a server with an unknown certificate was trusted")
	}
	if nc, err := nats.Connect(strings.Replace(url, "tls://", "nats://", 1), nats.MaxReconnects(0)); err == nil && nc.TLSRequired() == false {
		nc.Close()
		t.Error("a connection without TLS was accepted")
	}
	first := open(t, func() Config {
		c := external(url)
		c.CA, c.NKey = ca, seeds["ALL"]
		return c
	}())
	// The journal makes this one, not the bus.
	if _, err := first.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"aud.log"}, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if account, err := first.JetStream().AccountInfo(t.Context()); err != nil || account.Limits.MaxStore < 3*each {
		t.Errorf("%v: the account may store %d bytes; three copies count, and each server has %d", err, account.Limits.MaxStore, each)
	}
	subjects := map[string]string{"aud.log": "AUDIT", "ev.0.aa": StreamEvents, "cm.0": StreamCommits, SelfSubject: StreamCommits, "snap.0.1": StreamSnap, "q.a.b.c": StreamQuar, "act.alert.x": StreamActions, "cur.r.0": StreamCommits}
	for role, may := range map[string]string{
		"INGEST": "ev.0.aa q.a.b.c cm.self", "DETECT": "cm.0 cm.self snap.0.1 q.a.b.c", "RESPOND": "act.alert.x aud.log cur.r.0 cm.self",
		"ALL": "ev.0.aa cm.0 cm.self snap.0.1 q.a.b.c act.alert.x aud.log cur.r.0",
	} {
		cfg := external(url)
		cfg.CA, cfg.NKey, cfg.PublishTimeout = ca, seeds[role], 500*time.Millisecond
		b := open(t, cfg) // makes, or finds, the streams
		if _, err := b.Leases(t.Context(), 10*time.Second); err != nil {
			t.Errorf("%s: leases: %v", role, err)
		}
		for subject, stream := range subjects {
			_, err := b.Publish(t.Context(), Publish{Stream: stream, Subject: subject, ID: role + subject, Data: []byte("x")})
			allowed := strings.Contains(" "+may+" ", " "+subject+" ")
			if allowed && err != nil {
				t.Errorf("%s cannot store on %s: %v", role, subject, err)
			}
			if !allowed {
				wantErr(t, err, ErrDenied, subject)
			}
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := b.JetStream().DeleteStream(soon, StreamEvents); err == nil {
			t.Errorf("%s deleted a stream", role)
		}
		cancel()
		b.Close()
	}
	b := open(t, func() Config {
		c := external(url)
		c.CA, c.NKey = ca, seeds["ALL"]
		return c
	}())
	r := b.NewReader(StreamEvents, 1, 4, "ev.>")
	defer r.Stop()
	if d, err := r.Next(t.Context()); err != nil || d.Subject != "ev.0.aa" {
		t.Errorf("reading: %+v, %v", d, err)
	}
	if err := b.PurgeSubject(t.Context(), StreamEvents, "ev.0.aa", 1<<40); err != nil {
		t.Errorf("making room: %v", err)
	}
}
