package console

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is an OpenID Connect provider: discovery, keys, and a token endpoint
// that checks the code and PKCE.
type issuer struct {
	t   *testing.T
	srv *httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	codes  map[string]url.Values // code to the request that it answers
	claims map[string]any        // laid over the usual ones
	signer *rsa.PrivateKey       // another key than the published one
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"issuer": i.srv.URL, "authorization_endpoint": i.srv.URL + "/auth", "token_endpoint": i.srv.URL + "/token", "jwks_uri": i.srv.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		id, secret, _ := r.BasicAuth()
		q, ok := i.codes[r.PostFormValue("code")]
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if !ok || id != "trailwarden" || secret != "secretEXAMPLE" || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]string{"error": "invalid_grant"})
			return
		}
		delete(i.codes, r.PostFormValue("code"))
		claims := map[string]any{"iss": i.srv.URL, "aud": "trailwarden", "sub": "s1", "email": "carol@example.com", "email_verified": true, "groups": []string{"soc-leads"},
			"nonce": q.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		for k, v := range i.claims {
			claims[k] = v
		}
		body, _ := json.Marshal(claims)
		k := i.key
		if i.signer != nil {
			k = i.signer
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k, KeyID: "k1"}}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		sig, err := s.Sign(body)
		if err != nil {
			t.Error(err)
			return
		}
		tok, _ := sig.CompactSerialize()
		reply(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": tok})
	})
	i.srv = httptest.NewServer(mux)
	t.Cleanup(i.srv.Close)
	return i
}

// grant answers the request for a code as the provider's page would.
func (i *issuer) grant(location string) (code, state string) {
	i.t.Helper()
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, i.srv.URL+"/auth?") {
		i.t.Fatalf("sent to %q", location)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("state") == "" || !strings.Contains(q.Get("scope"), "openid") {
		i.t.Errorf("asked with %v", q)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	code = fmt.Sprintf("code-%d", len(i.codes)+1)
	i.codes[code] = q
	return code, q.Get("state")
}

func TestOIDC(t *testing.T) {
	i := newIssuer(t)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	w := newWorld(t, func(o *Options) {
		o.Mode, o.BaseURL = OIDC, ""
		o.OIDC = OIDCAuth{Issuer: i.srv.URL, ClientID: "trailwarden", ClientSecret: "secretEXAMPLE", Client: &http.Client{Transport: tr, Timeout: patience}}
		o.Roles = RoleMap{Viewer: []string{"*"}, Approver: []string{"group:soc-leads"}}
	})
	begin := func(b *browser) (code, state string) {
		t.Helper()
		c := *b.c
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := c.Get(w.base + "/login")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Fatalf("login: %s", resp.Status)
		}
		return i.grant(resp.Header.Get("Location"))
	}
	finish := func(b *browser, code, state string) answer {
		return b.get("/login/callback?"+url.Values{"code": {code}, "state": {state}}.Encode(), "text/html")
	}
	b := w.browser()
	if a := b.get("/", "text/html"); a.status != 401 || !strings.Contains(a.body, `href="/login"`) {
		t.Errorf("before signing in: %d", a.status)
	}
	code, state := begin(b)
	if a := finish(b, code, state); a.status != 200 {
		t.Fatalf("signing in: %d %s", a.status, a.body)
	}
	if a := b.get("/session", "application/json"); !strings.Contains(a.body, `"by":"web:carol@example.com"`) || !strings.Contains(a.body, `"role":"approver"`) {
		t.Errorf("who: %s", a.body)
	}
	if a := finish(b, code, state); a.status != 403 {
		t.Errorf("the same answer again: %d", a.status)
	}
	// Somebody else's answer in my browser, and mine in somebody else's.
	victim := w.browser()
	code, state = begin(w.browser())
	if a := finish(victim, code, state); a.status != 403 {
		t.Errorf("a sign-in that was not begun here: %d", a.status)
	}
	begin(victim)
	if a := finish(victim, code, state); a.status != 403 {
		t.Errorf("another one's state: %d", a.status)
	}
	if a := victim.get("/", "text/html"); a.status != 401 {
		t.Errorf("after all that: %d", a.status)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(){
		"another audience":     func() { i.claims = map[string]any{"aud": "somebody"} },
		"another issuer":       func() { i.claims = map[string]any{"iss": "https://evil.example"} },
		"another nonce":        func() { i.claims = map[string]any{"nonce": "x"} },
		"expired":              func() { i.claims = map[string]any{"exp": time.Now().Add(-time.Hour).Unix()} },
		"another key":          func() { i.signer = other },
		"no name":              func() { i.claims = map[string]any{"email": ""} },
		"an unverified name":   func() { i.claims = map[string]any{"email_verified": false} },
		"unverified, in text":  func() { i.claims = map[string]any{"email_verified": "false"} },
		"verified by a number": func() { i.claims = map[string]any{"email_verified": 0} },
		"a name that is text":  func() { i.claims = map[string]any{"email": "carol\u202e@example.com"} },
	} {
		i.mu.Lock()
		i.claims, i.signer = nil, nil
		edit()
		i.mu.Unlock()
		b := w.browser()
		code, state := begin(b)
		if a := finish(b, code, state); a.status != 403 || strings.Contains(a.body, "secretEXAMPLE") {
			t.Errorf("%s: %d", name, a.status)
		}
		if a := b.get("/", "text/html"); a.status != 401 {
			t.Errorf("%s: signed in all the same", name)
		}
	}
	i.mu.Lock()
	i.claims, i.signer = nil, nil
	i.mu.Unlock()
	b = w.browser()
	_, state = begin(b)
	if a := finish(b, "guess", state); a.status == 200 {
		t.Errorf("a guessed code: %d", a.status)
	}
	if a := b.get("/login/callback?error=access_denied&error_description=%3Cb%3Eno&state="+url.QueryEscape(state), "text/html"); a.status != 403 || strings.Contains(a.body, "<b>no") {
		t.Errorf("refused by the provider: %d", a.status)
	}
	// The provider is away: said, and nothing else stops.
	i.srv.Close()
	w.stop()
	w.start()
	if a := w.browser().get("/login", "text/html"); a.status != 500 || !strings.Contains(a.body, "cannot be used") {
		t.Errorf("without the provider: %d", a.status)
	}
}
