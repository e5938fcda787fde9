package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Inspection is what one look at the store shows. Sizes are bytes.
type Inspection struct {
	Embedded bool
	// Of the embedded store: what may still be written on its disk (-1 where
	// the system does not say), what the store takes now, and the budget that
	// Open would give it.
	Free, Used, Budget int64
	// Held says that a running process has the store.
	Held bool
	// Of a cluster: who answered, and whether our streams are there.
	Server, Version, Cluster string
	Streams                  int
	Replicas                 int
	MaxPayload               int64
}

// Inspect looks at the store without opening it: it takes no lock that it does
// not give back, makes no stream, and writes nothing but, in a new state
// folder, the empty store folder. cfg is what Open would be given. The error is
// what Open would stop at.
func Inspect(ctx context.Context, cfg Config) (Inspection, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Inspection{}, err
	}
	if cfg.URL == "" {
		return inspectEmbedded(cfg)
	}
	var in Inspection
	opts, err := cfg.externalOptions(func(error) {})
	if err != nil {
		return in, err
	}
	// Open goes on trying for ever; a look does not.
	nc, err := nats.Connect(cfg.URL, append(opts, nats.RetryOnFailedConnect(false), nats.MaxReconnects(0))...)
	if err != nil {
		return in, fmt.Errorf("bus: connecting to nats.url: %w", err)
	}
	defer nc.Close()
	in.Server, in.Version, in.Cluster, in.MaxPayload = nc.ConnectedServerName(), nc.ConnectedServerVersion(), nc.ConnectedClusterName(), nc.MaxPayload()
	if in.MaxPayload < maxPayload {
		return in, fmt.Errorf("bus: %w: max_payload of %s is %d bytes, frames need %d: raise max_payload on every server of the cluster", ErrTooLarge, in.Server, in.MaxPayload, maxPayload)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return in, fmt.Errorf("bus: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
			return in, fmt.Errorf("bus: JetStream does not answer: %w: switch it on for this account (jetstream: enabled)", err)
		}
		return in, fmt.Errorf("bus: JetStream does not answer: %w: of its servers most must be up, and just started they first choose a leader", err)
	}
	for _, name := range streamOrder {
		s, err := js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			continue
		case err != nil:
			return in, fmt.Errorf("bus: stream %s: %w", name, err)
		}
		in.Streams++
		in.Replicas = max(in.Replicas, s.CachedInfo().Config.Replicas)
	}
	return in, nil
}

func inspectEmbedded(cfg Config) (Inspection, error) {
	in := Inspection{Embedded: true}
	// The disk is that of the nearest folder that exists.
	dir := cfg.Dir
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	in.Free, in.Used = freeBytes(dir), diskUse(cfg.Dir)
	if dir == cfg.Dir {
		release, err := lockDir(cfg.Dir)
		switch {
		case errors.Is(err, ErrLocked):
			in.Held = true
		case err != nil:
			return in, err
		default:
			release()
		}
	}
	room := in.Free
	if room >= 0 {
		room += in.Used
	}
	var err error
	if in.Budget, err = cfg.budget(room); err != nil {
		return in, err
	}
	_, err = readMarker(cfg.Dir)
	return in, err
}
