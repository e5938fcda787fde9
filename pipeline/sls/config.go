package sls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
)

// Start is where a shard begins for which the sink has no position.
type Start string

const (
	// StartCheckpoint continues at the group's checkpoint, or at the
	// beginning where there is none. It is the default.
	StartCheckpoint Start = "checkpoint"
	// StartBegin starts at the oldest record the logstore still has, whatever
	// the group's checkpoint says.
	StartBegin Start = "begin"
	// StartTime starts at the records received at or after Config.StartTime,
	// whatever the group's checkpoint says.
	StartTime Start = "time"
	// StartEnd starts with what arrives from now on, where the group has no
	// checkpoint either: ignoring one would skip what arrived while we were
	// stopped.
	StartEnd Start = "end"
)

// Config says which logstore to read and how. Zero values mean the defaults
// written beside each field.
type Config struct {
	// Endpoint is https://<region>.log.aliyuncs.com (…-intranet… inside a
	// VPC). http:// is accepted for loopback only. Without a scheme the SDK
	// would use plain http: refused.
	Endpoint string
	Project  string
	Logstore string
	// Group is the consumer group, default "trailwarden"; Consumer this
	// process's name in it, unique per process, default the host name and
	// Instance. A stable name takes its shards over at once after a restart; two
	// processes of one name are given the same shards.
	Group, Consumer string
	// Instance tells the processes apart that share a sink, also those of one host;
	// empty where there is one.
	Instance string

	Start     Start
	StartTime time.Time

	Credentials cred.Config
	// Region selects signature version 4, which needs it; without it requests
	// are signed with version 1.
	Region string
	// Compression of pages: "lz4" (default) or "zstd".
	Compression string
	// RootCAs verifies the endpoint's certificate, default the system's.
	RootCAs *x509.CertPool

	// Heartbeat is the interval of the consumer group's heartbeat in whole
	// seconds, default 3 s; HeartbeatTimeout how long the server waits for a
	// silent consumer before its shards go to others, default 3 heartbeats.
	// Short, because the library stops its heartbeat before it drains and has
	// no call to leave the group: a peer waits this long for our shards, and
	// for its own next heartbeat. Both together stay below the grace of live
	// detection (15 s), or what a killed process had not read would be late.
	Heartbeat, HeartbeatTimeout time.Duration
	// PageGroups is how many log groups one pull asks for, 1 to 1000, default
	// 200. A full page is followed by the next pull at once, so this is the
	// step of a catch-up and the bound of a page in memory. 200 is where the
	// documented read limits of a shard meet (100 reads/s, 20 MB/s) for groups
	// of 1 kB: smaller pages would run into the first limit before the second,
	// larger ones only take more memory.
	PageGroups int
	// MaxFetches bounds concurrent pulls over all shards, default 8.
	MaxFetches int
	// Poll is how often an idle shard is asked for records, default 200 ms.
	// The SDK alone would ask every 500 ms.
	Poll time.Duration
	// CheckpointEvery is how often the group's checkpoint is moved, default
	// 1 s. It is a hint for others; the sink holds the truth.
	CheckpointEvery time.Duration
	// Watchdog is how long a held shard may go without a good pull, or the
	// consumer without a good heartbeat, before the worker is rebuilt; default
	// 60 s.
	Watchdog time.Duration
	// Drain is how long Run goes on after its context ended, to finish pages
	// and save checkpoints; default 6 s: with the heartbeat before it that is no
	// longer than the time-out after which others are given the shards.
	Drain time.Duration
}

var (
	// The SDK puts these names into paths without escaping them.
	nameRE     = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,126}[a-z0-9]$`)
	consumerRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$`)
	notName    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// withDefaults fills zero values.
func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Group == "" {
		c.Group = "trailwarden"
	}
	if c.Consumer == "" {
		host, err := os.Hostname()
		host = strings.Trim(notName.ReplaceAllString(host, "-"), "._-")
		if err != nil || host == "" {
			host = "trailwarden"
		}
		c.Consumer = host[:min(len(host), 100)]
		if c.Instance != "" {
			c.Consumer += "-" + c.Instance
		}
	}
	if c.Start == "" {
		c.Start = StartCheckpoint
	}
	if c.Compression == "" {
		c.Compression = "lz4"
	}
	def(&c.Heartbeat, failpoint.Heartbeat(3*time.Second))
	def(&c.HeartbeatTimeout, 3*c.Heartbeat)
	def(&c.Poll, 200*time.Millisecond)
	def(&c.CheckpointEvery, time.Second)
	def(&c.Watchdog, 60*time.Second)
	def(&c.Drain, 6*time.Second)
	if c.PageGroups == 0 {
		c.PageGroups = 200
	}
	if c.MaxFetches == 0 {
		c.MaxFetches = 8
	}
	return c
}

// Validate reports everything that is wrong with the configuration, each
// problem with its remedy. It does not touch the network.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("sls: "+format, args...)) }
	if _, err := parseEndpoint(c.Endpoint); err != nil {
		errs = append(errs, err)
	}
	for _, n := range [][2]string{{"project", c.Project}, {"logstore", c.Logstore}, {"group", c.Group}} {
		if !nameRE.MatchString(n[1]) {
			bad("%s %q is not a valid name; use 2 to 128 of a-z, 0-9, - and _, beginning and ending with a letter or digit", n[0], n[1])
		}
	}
	if !consumerRE.MatchString(c.Consumer) {
		bad("consumer %q is not a valid name; use letters, digits, '.', '-' and '_'", c.Consumer)
	}
	switch c.Start {
	case StartCheckpoint, StartBegin, StartEnd:
		if !c.StartTime.IsZero() {
			bad("start_time is given but start is %q; set start: time", c.Start)
		}
	case StartTime:
		if c.StartTime.IsZero() {
			bad("start is \"time\" without start_time; give the receive time to start at")
		}
	default:
		bad("start %q is unknown; use checkpoint, begin, end or time", c.Start)
	}
	if c.Compression != "lz4" && c.Compression != "zstd" {
		bad("compression %q is unknown; use lz4 or zstd", c.Compression)
	}
	if c.PageGroups < 1 || c.PageGroups > 1000 {
		bad("page_groups is %d; the service allows 1 to 1000", c.PageGroups)
	}
	if c.MaxFetches < 1 {
		bad("max_fetches is %d; it must be at least 1", c.MaxFetches)
	}
	if c.Heartbeat < time.Second || c.Heartbeat%time.Second != 0 {
		bad("heartbeat is %s; use whole seconds, at least 1s", c.Heartbeat)
	}
	if c.HeartbeatTimeout <= c.Heartbeat || c.HeartbeatTimeout%time.Second != 0 {
		bad("heartbeat_timeout is %s; use whole seconds, more than the heartbeat of %s", c.HeartbeatTimeout, c.Heartbeat)
	}
	if c.Watchdog < 2*c.Heartbeat {
		bad("watchdog is %s; it must be at least twice the heartbeat of %s", c.Watchdog, c.Heartbeat)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
		min  time.Duration
	}{{"poll", c.Poll, 10 * time.Millisecond}, {"checkpoint_every", c.CheckpointEvery, time.Millisecond},
		{"watchdog", c.Watchdog, time.Second}, {"drain", c.Drain, time.Second}} {
		if d.v < d.min {
			bad("%s is %s; it must be at least %s", d.name, d.v, d.min)
		}
	}
	if err := c.Credentials.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endpoint is a checked endpoint.
type endpoint struct {
	url string // as the SDK wants it: scheme and host
	// dial is the host:port to connect to whatever name is asked for, because
	// the SDK puts the project before the host even when that is an address;
	// "" to connect by name.
	dial       string
	serverName string // for TLS, with dial
	loopback   bool
}

func parseEndpoint(s string) (endpoint, error) {
	bad := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("sls: endpoint "+format, args...)
	}
	if s == "" {
		return bad("is missing; give https://<region>.log.aliyuncs.com")
	}
	if !strings.Contains(s, "://") {
		return bad("%q has no scheme, and the SDK would then send everything in plain text; write https://%s", s, s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return bad("%q is not a URL; give https://<region>.log.aliyuncs.com", s)
	}
	if u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" {
		return bad("%q must be a scheme and a host, nothing more; give https://<region>.log.aliyuncs.com", u.Redacted())
	}
	e := endpoint{url: u.Scheme + "://" + u.Host}
	host, port := u.Hostname(), u.Port()
	addr, err := netip.ParseAddr(host)
	isAddr := err == nil
	e.loopback = host == "localhost" || isAddr && addr.IsLoopback()
	switch {
	case u.Scheme == "https":
		if port == "" {
			port = "443"
		}
	case u.Scheme == "http" && e.loopback:
		if port == "" {
			port = "80"
		}
	case u.Scheme == "http":
		return bad("%q would send audit records and signatures in plain text; write https://%s (http is for loopback only)", s, u.Host)
	default:
		return bad("%q has scheme %q; use https", s, u.Scheme)
	}
	if isAddr || e.loopback {
		e.dial, e.serverName = net.JoinHostPort(host, port), host
	}
	if isAddr && addr.Is6() {
		return bad("%q is an IPv6 address, and the SDK cannot build a host name from it; use a name or an IPv4 address", s)
	}
	return e, nil
}
