package ram

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"

	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/responders"
)

// RoleSessionName is the name of every role session that trailwarden opens.
// Our own calls come back as events; rules recognise them by it.
const RoleSessionName = "trailwarden-responder"

// Config says how the cloud is reached. Credentials is required.
type Config struct {
	// Region chooses the endpoints of STS and ActionTrail; RAM and IMS are
	// central. Default cn-hangzhou. A trail is called in Region unless the
	// action says otherwise.
	Region string
	// Endpoint is one base address for all products, such as
	// "http://127.0.0.1:8080", for emulators and private gateways. Plain http
	// is refused except to loopback.
	Endpoint string
	// Endpoints overrides single products: "ram", "ims", "sts", "actiontrail",
	// "resourcemanager", "sas".
	Endpoints map[string]string

	// Credentials gives the responder's own credentials. It is asked before
	// every call and must be safe for concurrent use.
	Credentials func(ctx context.Context) (id, secret, token string, err error)
	// Invalidate, when set, is told that the cloud did not accept them; the
	// call is then made once more with what Credentials says next.
	Invalidate func()
	// AssumeRole, when set, is the role that is assumed in an account before
	// anything is done there; {account} stands for the account id:
	// "acs:ram::{account}:role/trailwarden-responder". Without it only the
	// account of the credentials can be acted on.
	AssumeRole string

	// Timeout bounds one HTTP exchange, default 10 s.
	Timeout time.Duration
	// ReadBack is how long a change is waited for to show in what the cloud
	// reads back, default 8 s. What does not show is reported as in doubt.
	ReadBack time.Duration
	// Workers is how many calls may run at the same time, default 4. Each has
	// SDK clients of its own: they must not be shared.
	Workers int

	// Protected is never acted on. It is a second barrier below the guards.
	Protected responders.Protected
	// Others lists who else of ours is never acted on: the reader, where it is another
	// principal. An error forbids every action. Nil is nobody; called from several goroutines.
	Others func(ctx context.Context) ([]responders.Identity, error)
	// QuarantinePolicy is the custom policy that ram.quarantine_user attaches,
	// default "zz-quarantine-deny-all".
	QuarantinePolicy string
	// Fence is what ram.fence_key lets through when the action does not say:
	// addresses and networks.
	Fence []string

	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// Observe, when set, is told of every exchange: product and action as in
	// "ram UpdateAccessKey", the error code ("" for success, "-" when there
	// was no answer) and how long it took. Called from several goroutines.
	Observe func(action, code string, took time.Duration)
	// Transport replaces the HTTP transport, for tests.
	Transport http.RoundTripper
	// Sleep replaces waiting, for tests. It returns ctx's error when ctx ends.
	Sleep func(ctx context.Context, d time.Duration) error
}

var products = []string{"ram", "ims", "sts", "actiontrail", "resourcemanager", "sas"}

var regionOK = regexp.MustCompile(`^[a-z0-9-]+$`)

// endpoint is scheme and host of one product.
type endpoint struct{ scheme, host string }

func parseEndpoint(name, s string) (endpoint, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return endpoint{}, fmt.Errorf("%s endpoint %q: want https://host, or http://127.0.0.1:port for an emulator", name, s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return endpoint{}, fmt.Errorf("%s endpoint %q: want no path, query or user in it", name, u.Redacted())
	case u.Scheme == "http" && !loopback(u.Host):
		return endpoint{}, fmt.Errorf("%s endpoint %q: plain http is for loopback only, since it would send credentials in clear; use https", name, s)
	}
	return endpoint{u.Scheme, u.Host}, nil
}

func (c *Config) endpoints() (map[string]endpoint, error) {
	if c.Region == "" {
		c.Region = "cn-hangzhou"
	}
	if !regionOK.MatchString(c.Region) {
		return nil, fmt.Errorf("region %q: want a region id such as cn-hangzhou", c.Region)
	}
	out := map[string]endpoint{
		"ram": {"https", "ram.aliyuncs.com"}, "ims": {"https", "ims.aliyuncs.com"}, "resourcemanager": {"https", "resourcemanager.aliyuncs.com"},
		"sas": {"https", securityCenter(c.Region)},
		"sts": {"https", "sts." + c.Region + ".aliyuncs.com"}, "actiontrail": {"https", "actiontrail." + c.Region + ".aliyuncs.com"},
	}
	for _, p := range products {
		s := c.Endpoint
		if c.Endpoints[p] != "" {
			s = c.Endpoints[p]
		}
		if s == "" {
			continue
		}
		e, err := parseEndpoint(p, s)
		if err != nil {
			return nil, err
		}
		out[p] = e
	}
	for p := range c.Endpoints {
		if _, ok := out[p]; !ok {
			return nil, fmt.Errorf("endpoint for %q: want one of %s", p, strings.Join(products, ", "))
		}
	}
	return out, nil
}

// securityCenter is where Security Center is called: its accounts in mainland
// China are kept in one place, all others in another.
func securityCenter(region string) string {
	if strings.HasPrefix(region, "cn-") && region != "cn-hongkong" {
		return "tds.cn-shanghai.aliyuncs.com"
	}
	return "tds.ap-southeast-1.aliyuncs.com"
}

// Client calls the cloud. Safe for concurrent use.
type Client struct {
	cfg     Config
	at      map[string]endpoint
	base    http.RoundTripper
	owned   *http.Transport // nil when Config gave one
	workers chan *worker

	self   self
	scopes scopes
}

// New checks the configuration and makes a client. It calls nothing.
func New(cfg Config) (*Client, error) {
	at, err := cfg.endpoints()
	if err != nil {
		return nil, fmt.Errorf("respond.ram: %w", err)
	}
	if cfg.Credentials == nil {
		return nil, errors.New("respond.ram: no credentials are configured")
	}
	if slices.Contains(strings.Split(os.Getenv("DEBUG"), ","), "sdk") {
		return nil, errors.New("respond.ram: DEBUG=sdk is set, with which the SDK prints every request and the session token in it; unset it")
	}
	if r := cfg.AssumeRole; r != "" {
		if _, _, ok := roleARN(strings.ReplaceAll(r, "{account}", "1")); !ok {
			return nil, fmt.Errorf("respond.ram: role to assume %q: want acs:ram::{account}:role/NAME", r)
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.ReadBack <= 0 {
		cfg.ReadBack = 8 * time.Second
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	if cfg.QuarantinePolicy == "" {
		cfg.QuarantinePolicy = "zz-quarantine-deny-all"
	}
	if cfg.Sleep == nil {
		cfg.Sleep = pause.For
	}
	c := &Client{cfg: cfg, at: at, base: cfg.Transport, workers: make(chan *worker, cfg.Workers)}
	c.scopes.m = map[string]*session{}
	if c.base == nil {
		c.owned = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: cfg.Timeout,
			MaxIdleConnsPerHost:   cfg.Workers,
			IdleConnTimeout:       60 * time.Second,
			ForceAttemptHTTP2:     true,
		}
		c.base = c.owned
	}
	for range cfg.Workers {
		w, err := c.newWorker()
		if err != nil {
			return nil, fmt.Errorf("respond.ram: %w", err)
		}
		c.workers <- w
	}
	return c, nil
}

// Close drops idle connections. Calls that run are not cut short.
func (c *Client) Close() {
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
}

// keys are the credentials of one call.
type keys struct{ id, secret, token string }

func (k keys) secrets() []string { return []string{k.secret, k.token} }

// worker is one set of SDK clients, used by one call at a time.
type worker struct {
	ram   *ramClient
	ims   *imsClient
	sts   *stsClient
	trail *trailClient
	dir   *dirClient
	sas   *sasClient
	ex    map[string]*exchange
	keys  keys
}

// GetCredentials is the SDK's way to ask; it answers what the call brought.
func (w *worker) GetCredentials() (*credentials.Credentials, error) {
	return &credentials.Credentials{AccessKeyId: w.keys.id, AccessKeySecret: w.keys.secret, SecurityToken: w.keys.token}, nil
}

// GetProviderName is sent as a header, which exchange removes.
func (w *worker) GetProviderName() string { return "" }

func (c *Client) newWorker() (*worker, error) {
	w := &worker{ram: &ramClient{}, ims: &imsClient{}, sts: &stsClient{}, trail: &trailClient{}, dir: &dirClient{}, sas: &sasClient{}, ex: map[string]*exchange{}}
	for p, s := range map[string]*sdk.Client{"ram": &w.ram.Client, "ims": &w.ims.Client, "sts": &w.sts.Client, "actiontrail": &w.trail.Client, "resourcemanager": &w.dir.Client, "sas": &w.sas.Client} {
		at := c.at[p]
		ex := &exchange{base: c.base, host: at.host}
		cfg := sdk.NewConfig()
		cfg.Scheme = strings.ToUpper(at.scheme)
		cfg.AutoRetry, cfg.MaxRetryTime = false, 0
		cfg.Transport = ex
		// Not NewClientWithOptions of the product: it writes package variables
		// without a lock, and the endpoint is known.
		if err := s.InitWithOptions(c.cfg.Region, cfg, credentials.CredentialsProvider(w)); err != nil {
			return nil, err
		}
		s.Domain = at.host
		s.SetCloseTrace(true) // a tracer would be given the URL with the token
		// The SDK's own time-out must not strike before ours: the exchange's
		// context bounds the call.
		s.SetReadTimeout(10 * c.cfg.Timeout)
		// Proxies are the transport's business. The SDK would compile the
		// entries of NO_PROXY as regular expressions and give up on a bad one.
		s.SetNoProxy("^$")
		s.SetHttpProxy("http://proxy.invalid")
		s.SetHttpsProxy("http://proxy.invalid")
		w.ex[p] = ex
	}
	return w, nil
}

// op is one kind of call.
type op struct {
	product, action string
	write           bool
	// host, when set, is called instead of the configured one: a trail is
	// switched in its home region.
	host string
}

func (o op) String() string { return o.product + " " + o.action }

func (o op) permission() string {
	if o.product == "ims" || o.action == "ListPolicyAttachments" { // of ResourceManager, with RAM's permission
		return "ram:" + o.action
	}
	if o.product == "sas" { // under the code of the product that it was
		return "yundun-aegis:" + o.action
	}
	return o.product + ":" + o.action
}

const (
	readTries = 5
	baseWait  = 200 * time.Millisecond
	maxWait   = 5 * time.Second
)

// backoff is the n-th pause (from 0): doubling, with half of it by chance so
// that many callers do not come back together.
func backoff(n int) time.Duration {
	d := min(baseWait<<min(n, 10), maxWait)
	return d/2 + rand.N(d/2+1)
}

// do makes one call as who. A read that failed in passing is repeated, within
// ctx; a write never is, except with new credentials after ours were refused,
// which certainly had no effect. It returns the cloud's request id.
func (c *Client) do(ctx context.Context, who identity, o op, call func(*worker) error) (string, error) {
	renewed := false
	for n := 0; ; n++ {
		id, own, err := c.once(ctx, who, o, call)
		switch {
		case err == nil:
			return id, nil
		case own && !renewed && who.renew(c):
			renewed = true
			continue
		case o.write || n >= readTries-1 || !errors.Is(err, responders.ErrRetry) || ctx.Err() != nil:
			return "", err
		}
		pause := backoff(n)
		var ra *responders.RetryAfterError
		if errors.As(err, &ra) {
			pause = max(pause, ra.After)
		}
		if dl, ok := ctx.Deadline(); ok && time.Until(dl) < pause {
			return "", err // it would be too late
		}
		if c.cfg.Sleep(ctx, pause) != nil {
			return "", err
		}
	}
}

// once makes one exchange. own says that the cloud did not accept our credentials.
func (c *Client) once(ctx context.Context, who identity, o op, call func(*worker) error) (id string, own bool, err error) {
	k, err := who.keys(ctx, c)
	if err != nil {
		return "", false, err
	}
	var w *worker
	select {
	case w = <-c.workers:
	case <-ctx.Done():
		return "", false, &Error{Action: o.String(), Class: responders.ErrRetry, Detail: "nothing was sent: stopped while waiting for a free client", cause: ctx.Err()}
	}
	defer func() { c.workers <- w }()

	cctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ex := w.ex[o.product]
	w.keys = k
	if o.host != "" {
		was := ex.host
		ex.host, w.trail.Domain = o.host, o.host
		defer func() { ex.host, w.trail.Domain = was, was }()
	}
	ex.begin(cctx)
	start := time.Now()
	sdkErr := protect(func() error { return call(w) })
	wire := ex.end()
	w.keys = keys{}
	err = classify(o, wire, sdkErr, k.secrets())
	if c.cfg.Observe != nil {
		seen := wire.code
		if !wire.answered {
			seen = "-"
		}
		c.cfg.Observe(o.String(), seen, time.Since(start))
	}
	return clean(wire.requestID, 64), err != nil && wire.answered && ownCredentials(wire), err
}

// protect turns a panic of the SDK into an error: an answer whose Code is a
// number is enough for one.
func protect(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the SDK panicked: %v", p)
		}
	}()
	return fn()
}

// common is a call that the SDK has no generated code for.
func common(w *worker, at endpoint, action string, params map[string]string) (string, error) {
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain = "POST", at.scheme, at.host
	r.Version, r.Product, r.ApiName = "2019-08-15", "Ims", action
	for k, v := range params {
		r.QueryParams[k] = v
	}
	resp, err := w.ims.ProcessCommonRequest(r)
	if err != nil {
		return "", err
	}
	return resp.GetHttpContentString(), nil
}
