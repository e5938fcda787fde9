package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/rules"
)

// defaults is the configuration of an empty file.
func defaults() *Config {
	yes := true
	return &Config{
		StateDir: "trailwarden-data",
		NATS:     NATS{MaxBytes: 8 << 30},
		Detect: Detect{Pack: &yes, Grace: responders.Duration(15 * time.Second), Reload: responders.Duration(5 * time.Second),
			DedupFor: responders.Duration(24 * time.Hour), DedupMax: 200_000},
		Respond: Respond{Mode: responders.Observe, Guards: responders.DefaultGuardConfig(), Undo: responders.Duration(30 * 24 * time.Hour), Confirm: responders.Duration(30 * time.Minute),
			RAM: RAM{Region: "cn-hangzhou"}},
		HTTP: HTTP{Listen: "127.0.0.1:8686"},
		Console: Console{Listen: "127.0.0.1:8687", Events: 100_000, Auth: ConsoleAuth{Mode: "local",
			Proxy: ConsoleProxy{Trusted: []string{"127.0.0.1/32", "::1/128"}}}},
		Traces: Traces{Sample: 1},
		Log:    Log{Level: "info"},
	}
}

// at finds the node of a path such as "source.sls[0].endpoint"; where the
// value is absent, the nearest parent that is there.
func (p *parser) at(path string) *yaml.Node {
	n := p.root
	for _, part := range strings.Split(path, ".") {
		key, idx, indexed := strings.Cut(strings.TrimSuffix(part, "]"), "[")
		if n.Kind != yaml.MappingNode {
			return n
		}
		found := false
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				n, found = n.Content[i+1], true
				break
			}
		}
		if !found {
			return n
		}
		if indexed {
			i, err := strconv.Atoi(idx)
			if err != nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
				return n
			}
			n = n.Content[i]
		}
	}
	return n
}

func (p *parser) bad(path, format string, args ...any) {
	p.faults = append(p.faults, p.fault(p.at(path), path, format, args...))
}

var (
	accountID = regexp.MustCompile(`^[0-9]{8,20}$`)
	slsName   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{1,62}$`)
)

// validate says what is wrong with values that are each of their type.
func (p *parser) validate(c *Config) {
	if c.StateDir == "" {
		p.bad("state_dir", "must not be empty: the event store needs a folder")
	}
	p.accounts(c)
	p.credentials("credentials", c.Credentials)
	p.credentials("respond.ram.credentials", c.Respond.RAM.Credentials)
	seen := map[string]bool{}
	for i, s := range c.Source.SLS {
		at := fmt.Sprintf("source.sls[%d].", i)
		p.logstore(at, s)
		// Whatever the endpoint: positions are kept by these names, and those of two
		// logstores would be taken for each other's.
		id := s.Project + "/" + s.Logstore
		if seen[id] {
			p.bad(at+"logstore", "%s is listed twice: how far it is read is kept by these names; the one of another region needs a program with a state_dir of its own", id)
		}
		seen[id] = true
	}
	p.nats(c.NATS)
	p.detect(c.Detect)
	p.notify(&c.Notify)
	p.respond(c.Respond)
	p.http(c.HTTP)
	p.console(c.Console)
	p.traces(c.Traces)
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		p.bad("log.level", "%q: want debug, info, warn or error", c.Log.Level)
	}
	switch c.Log.Format {
	case "", "text", "json":
	default:
		p.bad("log.format", "%q: want text or json", c.Log.Format)
	}
}

// accounts checks the names of accounts, and units wherever they are named.
func (p *parser) accounts(c *Config) {
	for id := range c.Accounts {
		if !accountID.MatchString(id) {
			p.bad("accounts", "%q is not an account id (digits only; quote it, so that YAML keeps it as text)", id)
		}
	}
	for unit, accounts := range c.Units {
		for i, a := range accounts {
			if a == "" || strings.Trim(a, "0123456789*?") != "" {
				p.bad("units."+unit, "entry %d, %q: want an account id (digits; quote it) or a glob", i, a)
			}
		}
		if unit == "" || len(accounts) == 0 {
			p.bad("units", "unit %q is empty", unit)
		}
	}
	for i, u := range c.Respond.Guards.TwoPerson.Units {
		if !c.Units.Has(u) {
			p.bad(fmt.Sprintf("respond.guards.two_person.units[%d]", i), "%q is not among units", u)
		}
	}
	for i, pb := range c.Respond.Playbooks {
		for k, u := range pb.When.Units {
			if !c.Units.Has(u) {
				p.bad(fmt.Sprintf("respond.playbooks[%d].when.units[%d]", i, k), "%q is not among units", u)
			}
		}
	}
}

// logstore checks one source; at is where it stands.
func (p *parser) logstore(at string, s SLS) {
	p.endpoint(at+"endpoint", s.Endpoint, true)
	for field, v := range map[string]string{"project": s.Project, "logstore": s.Logstore, "consumer_group": s.Group} {
		if !slsName.MatchString(v) && (field != "consumer_group" || v != "") {
			p.bad(at+field, "%q is not a name of SLS: lower-case letters, digits, - and _, 2 to 63 of them", v)
		}
	}
	if s.AuthV4 && s.Region == "" {
		p.bad(at+"region", "signature version 4 needs the region, such as cn-hangzhou")
	}
	switch s.Start {
	case "", "checkpoint", "begin", "end":
	default:
		if _, err := time.Parse(time.RFC3339, s.Start); err != nil {
			p.bad(at+"start", "%q: want checkpoint, begin, end or a time like 2026-11-20T00:00:00Z", s.Start)
		}
	}
}

func (p *parser) detect(c Detect) {
	if c.DedupMax < 1000 {
		p.bad("detect.dedup_max", "%d is too few to recognise repeats; at least 1000", c.DedupMax)
	}
	if c.LearnUntil != "" {
		if _, err := time.Parse(time.RFC3339, c.LearnUntil); err != nil {
			p.bad("detect.learn_until", "%q: want a time like 2026-11-20T00:00:00Z", c.LearnUntil)
		}
	}
	for list, entries := range c.Lists {
		if list == "" || len(entries) == 0 {
			p.bad("detect.lists", "list %q is empty", list)
		}
		for i, e := range entries {
			if rules.NoNetwork(e) {
				p.bad(fmt.Sprintf("detect.lists.%s[%d]", list, i), `%q is not a network: write 203.0.113.0/24 or 2001:db8::/32`, e)
			}
		}
	}
}

func (p *parser) respond(c Respond) {
	switch c.Mode {
	case responders.Observe, responders.Approve, responders.Auto:
	default:
		p.bad("respond.mode", "%q: want observe, approve or auto", c.Mode)
	}
	p.endpoint("respond.ram.endpoint", c.RAM.Endpoint, false)
	// A built-in playbook named again inherits what is left out.
	merged := responders.MergePlaybooks(responders.DefaultPlaybooks(), c.Playbooks)
	for i, pb := range merged[:len(c.Playbooks)] {
		if err := pb.Validate(); err != nil {
			if len(pb.Actions) == 0 {
				names := []string{}
				for _, b := range merged[len(c.Playbooks):] {
					names = append(names, b.Name)
				}
				err = fmt.Errorf("%w; no built-in playbook has the name %q; %s", err, pb.Name, cmp.Or(rules.DidYouMean(pb.Name, names), strings.Join(names, ", ")))
			}
			p.bad(fmt.Sprintf("respond.playbooks[%d]", i), "%v", err)
		}
	}
	for _, f := range c.Ask.Faults() {
		p.bad("respond.ask."+f.Field, "%s", f.Message)
	}
	if err := c.Guards.Validate(); err != nil {
		p.bad("respond.guards", "%v", err)
	}
}

func (p *parser) http(c HTTP) {
	if c.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		p.bad("http.listen", "%q is not host:port", c.Listen)
	} else if !loopback(host) {
		p.bad("http.listen", "%q is not a loopback address; health and metrics are served to this host only (put a proxy with TLS in front)", c.Listen)
	}
}

func (p *parser) traces(c Traces) {
	if c.Sample <= 0 || c.Sample > 1 {
		p.bad("traces.sample", "%v: want more than 0 and at most 1 (to trace nothing, leave traces.endpoint empty)", c.Sample)
	}
	if c.Endpoint == "" {
		return
	}
	u, err := url.Parse(c.Endpoint.Reveal())
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		p.bad("traces.endpoint", "not an http or https URL; want one such as http://127.0.0.1:4318/v1/traces")
	case u.Path == "" || u.Path == "/":
		p.bad("traces.endpoint", "the URL has no path; OTLP/HTTP receivers take traces at /v1/traces")
	case u.User != nil:
		p.bad("traces.endpoint", "the URL carries a password; use traces.authorization")
	case u.RawQuery != "" && u.Scheme != "https" && !loopback(u.Hostname()):
		p.bad("traces.endpoint", "its query, where a token may be, would be sent in plain text; use https, or a collector on this host")
	case c.Authorization != "" && u.Scheme != "https" && !loopback(u.Hostname()):
		p.bad("traces.authorization", "would be sent in plain text; use https, or a collector on this host")
	}
}

func (p *parser) console(c Console) {
	host, port, err := net.SplitHostPort(c.Listen)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		p.bad("console.listen", "%q is not host:port", c.Listen)
		return
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		p.bad("console.tls", "a certificate needs both cert and key")
	}
	if c.Events < 1000 || c.Events > 10_000_000 {
		p.bad("console.events", "%d: want 1000 to 10000000", c.Events)
	}
	base, err := url.Parse(c.BaseURL)
	secure := err == nil && base.Scheme == "https"
	if c.BaseURL != "" {
		switch {
		case err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Path != "" && base.Path != "/":
			p.bad("console.base_url", "want https://host[:port] and nothing more")
		case !secure && (base.Scheme != "http" || !loopback(base.Hostname())):
			p.bad("console.base_url", "plain http is for loopback only; use https")
		}
	}
	switch c.Auth.Mode {
	case "local":
		if !loopback(host) {
			p.bad("console.auth.mode", "local is for a loopback address; on %q use proxy or oidc", c.Listen)
		}
	case "proxy":
		if !headerName.MatchString(c.Auth.Proxy.UserHeader) {
			p.bad("console.auth.proxy.user_header", "names the header in which the proxy says who asks, such as X-Forwarded-User")
		}
		if h := c.Auth.Proxy.GroupsHeader; h != "" && !headerName.MatchString(h) {
			p.bad("console.auth.proxy.groups_header", "%q is not a header's name", h)
		}
		if len(c.Auth.Proxy.Trusted) == 0 {
			p.bad("console.auth.proxy.trusted", "names the networks of the proxy, such as 10.0.0.5/32")
		}
		for i, t := range c.Auth.Proxy.Trusted {
			if _, err := netip.ParsePrefix(t); err != nil {
				p.bad(fmt.Sprintf("console.auth.proxy.trusted[%d]", i), "%q is not a network such as 10.0.0.5/32", t)
			}
		}
	case "oidc":
		p.endpoint("console.auth.oidc.issuer", c.Auth.OIDC.Issuer, true)
		if c.Auth.OIDC.ClientID == "" {
			p.bad("console.auth.oidc.client_id", "is missing")
		}
		if c.BaseURL == "" {
			p.bad("console.base_url", "oidc needs it: the sign-in service sends people back there")
		}
	default:
		p.bad("console.auth.mode", "%q: want local, proxy or oidc", c.Auth.Mode)
	}
	for word, list := range map[string][]string{"viewer": c.Auth.Roles.Viewer, "analyst": c.Auth.Roles.Analyst, "approver": c.Auth.Roles.Approver} {
		for i, e := range list {
			kind, name, _ := strings.Cut(e, ":")
			if e != "*" && (kind != "user" && kind != "group" || name == "") {
				p.bad(fmt.Sprintf("console.auth.roles.%s[%d]", word, i), "%q: want user:<name>, group:<name> or *", e)
			}
		}
	}
	if !loopback(host) && c.TLS.Cert == "" {
		switch {
		case !c.BehindProxy:
			p.bad("console.listen", "%q is not a loopback address, and plain http would show every alert and session to the network: give tls.cert and tls.key, or behind_proxy with a proxy that speaks TLS", c.Listen)
		case !secure:
			p.bad("console.base_url", "behind_proxy needs the https address at which the proxy serves")
		}
	}
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

func (p *parser) notify(n *Notify) {
	p.routing(n)
	names := map[string]string{}
	for _, d := range n.Destinations() {
		for _, f := range d.Spec.Check() {
			if at := d.Path + "." + f.Field; p.at(at).Value != masked { // as config show prints it
				p.bad(at, "%s", f.Message)
			}
		}
		name := d.Spec.Base().Name
		if other := names[name]; name != "" && other != "" {
			p.bad(d.Path+".name", "the name %q is taken by %s", name, other)
		}
		names[name] = d.Path
	}
}

func (p *parser) credentials(at string, c Credentials) {
	if (c.AccessKeyID == "") != (c.AccessKeySecret == "") {
		p.bad(at, "access_key_id and access_key_secret belong together, as ${ENV} or ${file:…}; leave both out for the official chain")
	}
	for field, v := range map[string]Secret{".access_key_secret": c.AccessKeySecret, ".security_token": c.SecurityToken} {
		if n := p.at(at + field); v != "" && p.written(n) {
			p.bad(at+field, "is written in the file, and so in every copy and backup of it; write ${ENV} or ${file:…}, or leave credentials out for the official chain")
		}
	}
}

// written says whether the value of n stands in the file itself.
func (p *parser) written(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && p.refs[n] == "" && p.fromEnv[n] == "" && n.Value != masked // as config show prints it
}

func (p *parser) nats(n NATS) {
	for _, one := range strings.Split(n.URL, ",") { // servers of one cluster, as the client takes them
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case n.URL == "": // embedded
		case err != nil || u.Host == "":
			p.bad("nats.url", "not a URL such as tls://nats.example.com:4222, or several separated by commas")
		case u.User != nil:
			p.bad("nats.url", "must not carry a password; use nats.creds or nats.nkey")
		case u.Scheme == "nats" && !loopback(u.Hostname()) && n.CA == "" && n.Cert == "":
			p.bad("nats.url", "plain nats:// is for loopback only; use tls://")
		case u.Scheme != "nats" && u.Scheme != "tls":
			p.bad("nats.url", "scheme %q: want tls:// (or nats:// to loopback)", u.Scheme)
		}
	}
	if (n.Cert == "") != (n.Key == "") {
		p.bad("nats.cert", "a client certificate needs both cert and key")
	}
	if n.Replicas != 0 && n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5 {
		p.bad("nats.replicas", "%d: want 1, 3 or 5", n.Replicas)
	}
	if n.Partitions < 0 || n.Partitions > 256 {
		p.bad("nats.partitions", "%d: want 1 to 256", n.Partitions)
	}
	if n.MaxBytes < 64<<20 {
		p.bad("nats.max_bytes", "%d bytes cannot hold a useful backlog; at least 67108864 (64 MiB)", n.MaxBytes)
	}
}

// endpoint checks a URL that is called with credentials: https, or http to
// loopback. An empty one is fine unless it is needed.
func (p *parser) endpoint(path, raw string, needed bool) {
	if raw == "" {
		if needed {
			p.bad(path, "is missing; write https://… in full")
		}
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" && u.Opaque == "":
		p.bad(path, "is not a URL; write https://… in full (without a scheme the SDK would use plain http)")
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		p.bad(path, "plain http would send credentials in clear; use https (http is for loopback only)")
	default:
		p.bad(path, "scheme %q: want https", u.Scheme)
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
