package cred

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aliyun/credentials-go/credentials"
)

// Config says where credentials come from. The zero value is the official
// chain; static values, when given, are used instead of it. It prints itself
// masked in every form.
type Config struct {
	AccessKeyID, AccessKeySecret, SecurityToken string
}

const mask = "[redacted]"

// String is the configuration with secrets masked.
func (c Config) String() string {
	if c == (Config{}) {
		return "official chain"
	}
	return "static " + c.AccessKeyID
}

// GoString is String: %#v must not print secrets either.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String, for JSON and YAML output.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Validate says whether the static values are complete.
func (c Config) Validate() error {
	switch {
	case c == (Config{}):
		return nil
	case c.AccessKeyID == "":
		return errors.New("credentials: access_key_secret or security_token is given without access_key_id; give all, or none to use the official chain")
	case c.AccessKeySecret == "":
		return errors.New("credentials: access_key_id is given without access_key_secret; give both, or none to use the official chain")
	}
	return nil
}

const (
	// freshFor is how long an answer of the chain is used without asking it
	// again. The chain itself refreshes 180 s before a session expires.
	freshFor = 10 * time.Second
	// staleFor is how long the last good credentials are still given out
	// while a refresh fails. They had 180 s left when the first refresh was
	// tried, and the server is the judge anyway.
	staleFor = 150 * time.Second
	// Failed refreshes are repeated after retryMin, doubling to retryMax.
	retryMin, retryMax = time.Second, 30 * time.Second
)

// keys is one set of credentials.
type keys struct{ id, secret, token, provider string }

// Provider gives out credentials. Safe for concurrent use.
type Provider struct {
	static *keys
	chain  func() (getter, error) // makes a new chain
	now    func() time.Time

	// turn is held by the one caller that asks the chain: the vendor's
	// providers have no locks of their own.
	turn   chan struct{}
	cur    getter // under turn; nil until asked, and again after a total failure
	worked bool   // under turn: cur has answered once

	mu         sync.Mutex
	last       keys // last good
	freshUntil time.Time
	failedAt   time.Time // first failure since the last good, zero when fine
	failures   int
	retryAt    time.Time
	err        error
	stale      bool // Invalidate was called: make a new chain at the next Get
	staleSince time.Time
}

// getter is the part of the vendor's provider that is used.
type getter interface {
	GetCredential() (*credentials.CredentialModel, error)
}

// New checks the configuration. It does not ask for credentials: that is done
// by Get, and again as they expire.
func New(cfg Config) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := newProvider(func() (getter, error) { return credentials.NewCredential(nil) }, time.Now)
	if cfg != (Config{}) {
		p.static = &keys{cfg.AccessKeyID, cfg.AccessKeySecret, cfg.SecurityToken, "static"}
	}
	return p, nil
}

func newProvider(chain func() (getter, error), now func() time.Time) *Provider {
	return &Provider{chain: chain, now: now, turn: make(chan struct{}, 1)}
}

// Get returns valid credentials and the name of the provider they are from
// ("static", "default/env", "default/oidc_role_arn", "default/cli_profile/…",
// "default/ecs_ram_role", …). While a refresh fails it goes on returning the
// last good ones for a short time. Errors say what was tried and hold no
// secrets. It may block on the network until ctx ends.
func (p *Provider) Get(ctx context.Context) (accessKeyID, secret, token, provider string, err error) {
	if p.static != nil {
		k := *p.static
		return k.id, k.secret, k.token, k.provider, nil
	}
	k, ok, err := p.cached()
	if !ok {
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return "", "", "", "", fmt.Errorf("credentials: waiting for the provider: %w", context.Cause(ctx))
		}
		if k, ok, err = p.cached(); ok { // another caller was faster
			<-p.turn
		} else {
			// The vendor's providers know no context: the question goes on
			// by itself when the caller leaves.
			done := make(chan struct{})
			var asked keys
			var askErr error
			go func() {
				defer close(done)
				defer func() { <-p.turn }()
				asked, askErr = p.ask()
			}()
			select {
			case <-done:
				k, err = asked, askErr
			case <-ctx.Done():
				return "", "", "", "", fmt.Errorf("credentials: waiting for the provider: %w", context.Cause(ctx))
			}
		}
	}
	return k.id, k.secret, k.token, k.provider, err
}

// cached answers without asking the chain. ok is false when the chain should
// be asked.
func (p *Provider) cached() (k keys, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	switch {
	case p.stale:
		return keys{}, false, nil
	case now.Before(p.freshUntil):
		return p.last, true, nil
	case p.failedAt.IsZero():
		return keys{}, false, nil
	}
	k, err = p.failing(now)
	return k, now.Before(p.retryAt), err
}

// failing is what is given out while refreshes fail; p.mu is held.
func (p *Provider) failing(now time.Time) (keys, error) {
	if p.last != (keys{}) && now.Sub(p.failedAt) < staleFor {
		return p.last, nil
	}
	return keys{}, p.err
}

// ask asks the chain once; the caller holds turn.
func (p *Provider) ask() (keys, error) {
	p.mu.Lock()
	if p.stale {
		p.stale, p.cur = false, nil
	}
	secrets := []string{p.last.secret, p.last.token}
	p.mu.Unlock()

	k, err := p.fetch()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if err != nil {
		if p.failedAt.IsZero() {
			p.failedAt = now
		}
		p.freshUntil = time.Time{}
		p.retryAt = now.Add(min(retryMin<<min(p.failures, 5), retryMax))
		p.failures++
		p.err = fmt.Errorf("credentials: none found (environment, OIDC, aliyun profile, credentials file, ECS role and URI were tried): set ALIBABA_CLOUD_ACCESS_KEY_ID and "+
			"ALIBABA_CLOUD_ACCESS_KEY_SECRET, bind an RRSA or ECS role, or run `aliyun configure` (%s)", brief(Scrub(err.Error(), secrets...)))
		return p.failing(now)
	}
	p.last, p.freshUntil = k, now.Add(freshFor)
	p.failedAt, p.failures, p.retryAt, p.err = time.Time{}, 0, time.Time{}, nil
	return k, nil
}

func (p *Provider) fetch() (k keys, err error) {
	// The vendor's code follows pointers of the answer without looking.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the provider panicked: %v", r)
			p.cur = nil
		}
	}()
	if p.cur == nil {
		p.worked = false
		if p.cur, err = p.chain(); err != nil {
			p.cur = nil
			return keys{}, err
		}
	}
	m, err := p.cur.GetCredential()
	if err == nil && (m == nil || m.AccessKeyId == nil || m.AccessKeySecret == nil || *m.AccessKeyId == "" || *m.AccessKeySecret == "") {
		err = errors.New("the provider answered without a key")
	}
	if err != nil {
		// After a total failure the chain remembers the last provider it
		// tried and would ask only that one for ever: make a new one. A
		// provider that has worked before is kept: a hiccup must not switch
		// to another identity.
		if !p.worked {
			p.cur = nil
		}
		return keys{}, err
	}
	p.worked = true
	k = keys{id: *m.AccessKeyId, secret: *m.AccessKeySecret}
	if m.SecurityToken != nil {
		k.token = *m.SecurityToken
	}
	if m.ProviderName != nil {
		k.provider = *m.ProviderName
	}
	return k, nil
}

// Invalidate says that the server refused the credentials: the next Get reads
// the chain anew, so that a rotated file or variable is seen. Calls within
// five seconds of the last are ignored: the new ones may be refused as well.
func (p *Provider) Invalidate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.static != nil || !p.staleSince.IsZero() && now.Sub(p.staleSince) < 5*time.Second {
		return
	}
	p.stale, p.staleSince, p.freshUntil = true, now, time.Time{}
}

// ProviderName is the provider of the last good credentials, "" before the
// first.
func (p *Provider) ProviderName() string {
	if p.static != nil {
		return p.static.provider
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.provider
}

// brief cuts the middle of the chain's own account of what it tried, which
// repeats itself; the last provider's reason stands at its end.
func brief(s string) string {
	const head, tail = 60, 200
	if rs := []rune(s); len(rs) > head+tail {
		return string(rs[:head]) + " … " + string(rs[len(rs)-tail:])
	}
	return s
}
