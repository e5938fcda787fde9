package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/bus"
)

// Who names a cluster where an embedded store is left is told that nothing moves.
func TestStoreLeftBehind(t *testing.T) {
	dir := t.TempDir()
	c, err := config.Parse("c.yaml", []byte("state_dir: "+dir+"\nnats: {url: \"nats://127.0.0.1:4222\"}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	says := func() bool { return strings.Contains(strings.Join(warnings(c, nil), "\n"), "not in that cluster") }
	if says() {
		t.Error("there is no store to leave behind")
	}
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "store", "trailwarden.json"), []byte(`{"layout": "`+bus.Layout+`", "partitions": 8}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if !says() {
		t.Error("the store left behind is not told of")
	}
	c.NATS.URL = ""
	if says() {
		t.Error("it is told of where it is in use")
	}
}
