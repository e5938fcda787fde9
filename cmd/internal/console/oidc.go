package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// OIDCAuth is sign-in by an OpenID Connect provider: authorization code with
// PKCE.
type OIDCAuth struct {
	Issuer, ClientID, ClientSecret string
	Scopes                         []string // beside openid; profile and email when empty
	UserClaim                      string   // "email" when empty
	GroupsClaim                    string   // "groups" when empty
	// Client makes the calls; a client with a time-out when nil.
	Client *http.Client
}

// provider finds the issuer's endpoints when they are first needed, so that
// the program starts while the issuer is away.
type provider struct {
	o        OIDCAuth
	redirect string

	mu     sync.Mutex
	config *oauth2.Config
	verify *oidc.IDTokenVerifier
}

func (p *provider) client(ctx context.Context) context.Context {
	c := p.o.Client
	if c == nil {
		c = &http.Client{Timeout: 15 * time.Second}
	}
	return oidc.ClientContext(ctx, c)
}

func (p *provider) find(ctx context.Context) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config != nil {
		return p.config, p.verify, nil
	}
	// The provider keeps the context for the life of its keys.
	op, err := oidc.NewProvider(p.client(context.WithoutCancel(ctx)), p.o.Issuer)
	if err != nil {
		return nil, nil, fmt.Errorf("the sign-in service %s cannot be used: %w", p.o.Issuer, err)
	}
	scopes := p.o.Scopes
	if len(scopes) == 0 {
		scopes = []string{"profile", "email"}
	}
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	p.config = &oauth2.Config{ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret, Endpoint: op.Endpoint(), RedirectURL: p.redirect, Scopes: scopes}
	p.verify = op.Verifier(&oidc.Config{ClientID: p.o.ClientID})
	return p.config, p.verify, nil
}

// flow is one sign-in under way, in a cookie of the browser that began it.
type flow struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Until    time.Time `json:"u"`
}

const flowCookie = "trailwarden_signin"

func (p *provider) begin(w http.ResponseWriter, r *http.Request, k *keeper) error {
	c, _, err := p.find(r.Context())
	if err != nil {
		return err
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Until: k.now().Add(10 * time.Minute).UTC()}
	// Lax, because the answer comes by a link from the provider's page.
	k.setCookie(w, flowCookie, k.seal("flow", f), http.SameSiteLaxMode, 10*time.Minute)
	http.Redirect(w, r, c.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), http.StatusFound)
	return nil
}

// finish checks the provider's answer and says who signed in.
func (p *provider) finish(w http.ResponseWriter, r *http.Request, k *keeper) (session, error) {
	var f flow
	sealed := k.cookie(r, flowCookie)
	k.setCookie(w, flowCookie, "", http.SameSiteLaxMode, 0)
	q := r.URL.Query()
	if !k.open("flow", sealed, &f) || !k.now().Before(f.Until) || q.Get("state") == "" || q.Get("state") != f.State {
		return session{}, fmt.Errorf("%w: this sign-in was not begun here, or too long ago; begin again", errForbidden)
	}
	if e := q.Get("error"); e != "" {
		return session{}, fmt.Errorf("%w: the sign-in service refused: %s", errForbidden, text.Cut(text.Line(e+" "+q.Get("error_description")), 300))
	}
	c, verify, err := p.find(r.Context())
	if err != nil {
		return session{}, err
	}
	ctx := p.client(r.Context())
	tok, err := c.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		// The library's error may hold the answer's body; it goes to the log only.
		return session{}, &hiddenError{errors.New("the sign-in service did not accept the code"), err}
	}
	raw, _ := tok.Extra("id_token").(string)
	id, err := verify.Verify(ctx, raw)
	if err != nil {
		return session{}, &hiddenError{fmt.Errorf("%w: the sign-in service's token is not valid", errForbidden), err}
	}
	if id.Nonce != f.Nonce {
		return session{}, fmt.Errorf("%w: the token belongs to another sign-in", errForbidden)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return session{}, &hiddenError{fmt.Errorf("%w: the token cannot be read", errForbidden), err}
	}
	claim := p.o.UserClaim
	if claim == "" {
		claim = "email"
	}
	name, _ := claims[claim].(string)
	if name == "" || len(name) > 200 || name != text.Line(name) {
		return session{}, fmt.Errorf("%w: the token has no usable claim %q", errForbidden, claim)
	}
	// Some providers write it as text. One that does not know the claim leaves it out.
	verified := claims["email_verified"]
	if word, _ := verified.(string); claim == "email" && verified != nil && verified != true && !strings.EqualFold(word, "true") {
		return session{}, fmt.Errorf("%w: the address %s is not verified", errForbidden, name)
	}
	s := session{Mode: OIDC, By: "web:" + name, Name: name}
	gc := p.o.GroupsClaim
	if gc == "" {
		gc = "groups"
	}
	if list, ok := claims[gc].([]any); ok {
		for _, g := range list {
			if g, ok := g.(string); ok && len(s.Groups) < maxGroups && len(g) <= 200 {
				s.Groups = append(s.Groups, g)
			}
		}
	}
	return s, nil
}

// hiddenError shows people one error and keeps another for the log.
type hiddenError struct{ shown, cause error }

func (e *hiddenError) Error() string   { return e.shown.Error() }
func (e *hiddenError) Unwrap() []error { return []error{e.shown, e.cause} }
