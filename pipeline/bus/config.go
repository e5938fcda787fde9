package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of what is configured.
const (
	MaxPartitions  = 256
	MinBudget      = 32 << 20
	defaultBudget  = 10 << 30
	maxPayload     = 1 << 20
	maxMemoryStore = 64 << 20
	dedupWindow    = 2 * time.Minute
	auditAge       = 400 * 24 * time.Hour
	publishTimeout = 5 * time.Second
	actionHistory  = 256
)

// Config says where the store is. The zero value is not usable: Dir or URL is
// needed.
type Config struct {
	// Dir is the embedded server's store, made with mode 0700. It holds the
	// audit trail. Ignored with URL.
	Dir string
	// URL is a cluster, "tls://a:4222,tls://b:4222"; empty means embedded.
	URL string
	// Creds, NKey, CA, Cert and Key are files for the cluster.
	Creds, NKey, CA, Cert, Key string
	// Replicas of every stream; 0 is 1 embedded and 3 on a cluster.
	Replicas int
	// Partitions is fixed when the streams are made; 0 takes what the
	// streams say, or 8 embedded and 16 on a cluster for new ones.
	Partitions int
	// MaxBytes is the disk budget of all streams together; 0 is 10 GiB, or
	// less where the disk has less. Must be at least MinBudget.
	MaxBytes int64
	// Adopt makes streams that are missing from a store with history again,
	// taking over what data files there are, instead of refusing to start.
	// For an operator who has read the refusal.
	Adopt bool
	// Name of the client towards a cluster, for its logs.
	Name string
	// PublishTimeout is how long one attempt waits; 0 is 5 s.
	PublishTimeout time.Duration
	// Logger takes the server's and our own lines; nil is slog.Default.
	Logger *slog.Logger

	connectWithin time.Duration // 0 is the constant
}

// connectWithin is how long a start waits for nats.url: for a server, and then for
// JetStream. Beyond that a supervisor's own record of restarts tells more.
const connectWithin = 2 * time.Minute

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PublishTimeout <= 0 {
		c.PublishTimeout = publishTimeout
	}
	if c.connectWithin <= 0 {
		c.connectWithin = connectWithin
	}
	if c.Name == "" {
		c.Name = "trailwarden"
	}
	switch {
	case c.URL == "" && c.Dir == "":
		return c, errors.New("bus: neither a store directory nor a URL is given")
	case c.Partitions < 0 || c.Partitions > MaxPartitions:
		return c, fmt.Errorf("bus: partitions is %d: want 1 to %d", c.Partitions, MaxPartitions)
	case c.MaxBytes != 0 && c.MaxBytes < MinBudget:
		return c, fmt.Errorf("bus: max_bytes is %d: want at least %d (%d MiB)", c.MaxBytes, MinBudget, MinBudget>>20)
	case c.Replicas < 0 || c.Replicas > 5:
		return c, fmt.Errorf("bus: replicas is %d: want 1 to 5", c.Replicas)
	case c.URL == "" && c.Replicas > 1:
		return c, fmt.Errorf("bus: replicas is %d, but the embedded server is one server: set nats.url or replicas: 1", c.Replicas)
	case (c.Cert == "") != (c.Key == ""):
		return c, errors.New("bus: a client certificate needs both cert and key")
	case c.Creds != "" && c.NKey != "":
		return c, errors.New("bus: creds and nkey are both given: want one")
	}
	if c.Replicas == 0 {
		c.Replicas = 1
		if c.URL != "" {
			c.Replicas = 3
		}
	}
	return c, nil
}

// defaultPartitions is for new streams.
func (c Config) defaultPartitions() int {
	if c.URL == "" {
		return 8
	}
	return 16
}

// budgetSteps are the defaults by what the disk has; steps, so that the
// default does not move with every restart.
var budgetSteps = []int64{defaultBudget, 5 << 30, 2 << 30, 1 << 30, 512 << 20, 256 << 20}

// budget decides the disk budget. room is free space plus what the store
// holds already; negative means not known.
func (c Config) budget(room int64) (int64, error) {
	if c.MaxBytes > 0 {
		if room >= 0 && c.MaxBytes > room/10*9 {
			return 0, fmt.Errorf("bus: max_bytes is %d MiB, but %s has room for %d MiB: a full disk freezes the store, so lower nats.max_bytes to at most 90 %% of that or free space",
				c.MaxBytes>>20, c.Dir, room>>20)
		}
		return c.MaxBytes, nil
	}
	if room < 0 {
		return defaultBudget, nil
	}
	for _, b := range budgetSteps {
		if b <= room/10*7 {
			return b, nil
		}
	}
	return 0, fmt.Errorf("bus: %s has room for %d MiB only: free space, or set nats.max_bytes (at least %d MiB)", c.Dir, room>>20, MinBudget>>20)
}

// clientOptions are the settings of jetstream.md: fail fast instead of
// buffering, reconnect for ever.
//
// denied is told of subjects that this client may not use: the server says so
// apart from the request, which only times out.
func (c Config) clientOptions(denied func(error)) []nats.Option {
	return []nats.Option{
		nats.Name(c.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.NoEcho(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.Logger.Warn("bus connection lost, reconnecting", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.Logger.Info("bus connection is back", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.Logger.Warn("bus connection reports", "error", err)
			if errors.Is(err, nats.ErrPermissionViolation) {
				denied(err)
			}
		}),
	}
}

// inProcessOptions leads to the embedded server, which answers unless the machine is
// busy elsewhere: the client's own two seconds are for servers of which others exist.
func (c Config) inProcessOptions(s nats.InProcessConnProvider, denied func(error)) []nats.Option {
	return append(c.clientOptions(denied), nats.InProcessServer(s), nats.Timeout(startWithin))
}

// externalOptions adds identity and TLS. A server that is not on this machine
// is spoken to over TLS or not at all.
func (c Config) externalOptions(denied func(error)) ([]nats.Option, error) {
	// A busy machine takes its time to greet, but one that is gone is known by
	// its silence to the first packet.
	opts := append(c.clientOptions(denied), nats.SetCustomDialer(&net.Dialer{Timeout: 2 * time.Second}), nats.Timeout(10*time.Second))
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("bus: nkey file %s: %w", c.NKey, err)
		}
		opts = append(opts, o)
	}
	secure := c.CA != "" || c.Cert != ""
	for _, one := range strings.Split(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			return nil, errors.New("bus: nats.url: want nats://host:port or tls://host:port, several separated by commas")
		}
		switch u.Scheme {
		case "tls":
			secure = true
		case "nats":
			secure = secure || !loopback(u.Hostname())
		default:
			return nil, fmt.Errorf("bus: nats.url: scheme %q: want nats or tls", u.Scheme)
		}
		if u.User != nil {
			return nil, errors.New("bus: nats.url holds a user or password: use a creds or nkey file, which stays out of logs")
		}
	}
	if !secure {
		return opts, nil
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("bus: CA file: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("bus: CA file %s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("bus: client certificate: %w", err)
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	return append(opts, nats.Secure(tc)), nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
