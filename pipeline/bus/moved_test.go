package bus

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A server of its own that is started on the files of the embedded store has all of
// it (deploy/UPGRADING.md), also where the configuration does not say how many
// partitions that store was made with.
func TestEmbeddedStoreMovesToAServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	b := open(t, testConfig(dir))
	seq := mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: "1", Data: []byte("x")})
	parts := b.Partitions()
	b.Close()
	s := startExternal(t, func(o *server.Options) { o.StoreDir = filepath.Join(dir, "bus") })
	cfg := external(s.ClientURL())
	cfg.Partitions = 0
	b = open(t, cfg)
	if b.Embedded() || b.Partitions() != parts {
		t.Errorf("embedded %v, %d partitions, want %d", b.Embedded(), b.Partitions(), parts)
	}
	if m, err := b.Last(t.Context(), StreamEvents, "ev.0.aa"); err != nil || m.Seq != seq || string(m.Data) != "x" {
		t.Errorf("message %+v, %v", m, err)
	}
}
