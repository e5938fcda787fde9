package app

import (
	"log/slog"
	"path/filepath"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/sls"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// What New makes of the configuration, for commands that look at one part of a
// system without running it.

// BusConfig is how the event store is opened.
func BusConfig(c *config.Config, log *slog.Logger) bus.Config {
	return bus.Config{
		Dir: filepath.Join(c.StateDir, "store"), URL: c.NATS.URL, Creds: c.NATS.Creds, NKey: c.NATS.NKey,
		CA: c.NATS.CA, Cert: c.NATS.Cert, Key: c.NATS.Key, Replicas: c.NATS.Replicas,
		Partitions: c.NATS.Partitions, MaxBytes: c.NATS.MaxBytes, Name: "trailwarden", Logger: log,
	}
}

// SLSConfig is how one source reads.
func SLSConfig(s config.SLS) sls.Config { return slsConfig(s) }

// CredConfig says where credentials come from.
func CredConfig(c config.Credentials) cred.Config { return credOf(c) }

// ResponderCredentials are those that containment works with: its own, or the
// reader's.
func ResponderCredentials(c *config.Config) config.Credentials {
	if own := c.Respond.RAM.Credentials; own.AccessKeyID != "" {
		return own
	}
	return c.Credentials
}

// RAMConfig is how the responder reaches the cloud with the credentials of p.
func RAMConfig(c *config.Config, p *cred.Provider) ram.Config { return ramConfig(c, p) }
