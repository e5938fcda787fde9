package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/trailwarden/trailwarden/pipeline/durable"
)

// healSums writes the checksums that an end of the process left unwritten. The
// server replaces a stream's description and its checksum one after the other,
// each whole; a kill between them leaves a description without its checksum,
// which the server then takes for no stream at all. On a first start it is
// worse: the stream is made again over the description that is there, and its
// checksum is never written.
//
// A description that is not whole JSON of its own stream is left as it is, for
// Open to refuse. One that is gets its checksum, and what it says is compared
// with what must hold afterwards (verifyStream). The caller holds the lock of
// dir, and no server runs on it.
func healSums(dir string, log *slog.Logger) error {
	streams := filepath.Join(dir, "bus", server.JetStreamStoreDir, "$G", "streams")
	list, err := os.ReadDir(streams)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	for _, d := range list {
		if !d.IsDir() {
			continue
		}
		at := filepath.Join(streams, d.Name())
		text, err := os.ReadFile(filepath.Join(at, server.JetStreamMetaFile))
		if err != nil {
			continue // the server says what is wrong
		}
		var meta struct{ Name string }
		if json.Unmarshal(text, &meta) != nil || meta.Name != d.Name() {
			continue
		}
		key := sha256.Sum256([]byte(d.Name()))
		hash, err := highwayhash.NewDigest64(key[:])
		if err != nil {
			return fmt.Errorf("bus: %w", err)
		}
		_, _ = hash.Write(text) // a hash never fails
		want := hex.EncodeToString(hash.Sum(nil))
		name := filepath.Join(at, server.JetStreamMetaFileSum)
		have, err := os.ReadFile(name)
		if err == nil && string(have) == want {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("bus: %w", err)
		}
		log.Warn("the process ended while a stream's settings were written; their checksum is written now", "stream", d.Name())
		if err := replaceFile(name, []byte(want)); err != nil {
			return err
		}
	}
	return nil
}

// sweepProbes removes the empty files with which the server tries whether it can
// write, at its start and for each stream. A kill between their making and their
// removal leaves one for ever, and in the folder of accounts the server takes it
// for an account that it cannot find: it would call itself unhealthy from then on.
// The caller holds the lock of dir, and no server runs on it.
func sweepProbes(dir string, log *slog.Logger) error {
	root := filepath.Join(dir, "bus", server.JetStreamStoreDir)
	for _, pattern := range []string{"_test_*", "$G/streams/*/_test_*"} {
		list, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			return fmt.Errorf("bus: %w", err)
		}
		for _, rel := range list {
			name := filepath.Join(root, filepath.FromSlash(rel))
			info, err := os.Lstat(name)
			if err != nil || !info.Mode().IsRegular() || info.Size() != 0 {
				continue // not one of those
			}
			log.Debug("a file that the server tried to write when the process ended is removed", "file", name)
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("bus: %w", err)
			}
		}
	}
	return nil
}

// replaceFile writes a file whole or not at all, and has it on the disk.
func replaceFile(name string, data []byte) error {
	err := durable.Replace(name, data, 0o600)
	if err == nil {
		err = durable.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("bus: %s: %w", filepath.Base(name), err)
	}
	return nil
}
