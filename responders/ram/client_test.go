package ram

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

func someCredentials(context.Context) (string, string, string, error) {
	return ownKey, "EXAMPLEsecretOf" + ownKey, "", nil
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		name, want string
		cfg        Config
	}{
		{"no credentials", "no credentials", Config{}},
		{"plain http", "loopback only", Config{Credentials: someCredentials, Endpoint: "http://ram.example.com"}},
		{"plain http to one product", "loopback only", Config{Credentials: someCredentials, Endpoints: map[string]string{"sts": "http://198.51.100.1"}}},
		{"plain http to a name that only looks local", "loopback only", Config{Credentials: someCredentials, Endpoint: "http://localhost.example.com"}},
		{"no scheme", "want https://host", Config{Credentials: someCredentials, Endpoint: "ram.aliyuncs.com"}},
		{"a path", "no path", Config{Credentials: someCredentials, Endpoint: "https://ram.aliyuncs.com/v1"}},
		{"a password", "no path, query or user", Config{Credentials: someCredentials, Endpoint: "https://u:EXAMPLEpass@ram.aliyuncs.com"}},
		{"unknown product", "want one of", Config{Credentials: someCredentials, Endpoints: map[string]string{"ecs": "https://x"}}},
		{"bad region", "region", Config{Credentials: someCredentials, Region: "cn hangzhou/"}},
		{"bad role", "want acs:ram", Config{Credentials: someCredentials, AssumeRole: "responder"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "EXAMPLEpass") {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

// What the client sends, where, and how: the documented default endpoints,
// always https, POST, without the header that tells the kind of credentials.
func TestDefaultEndpointsAndWireForm(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	hosts := map[string]bool{}
	cfg := r.c.cfg
	cfg.Endpoint, cfg.Region = "", "ap-southeast-1"
	cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		hosts[req.URL.Scheme+"://"+req.URL.Host] = true
		mu.Unlock()
		for k := range req.Header {
			if strings.EqualFold(k, "x-acs-credentials-provider") {
				t.Errorf("header %s is sent", k)
			}
		}
		if req.Method != "POST" {
			t.Errorf("%s %s", req.Method, req.Header.Get("x-acs-action"))
		}
		to := req.Clone(req.Context())
		to.URL.Scheme, to.URL.Host, to.Host = "http", strings.TrimPrefix(r.cloud.URL(), "http://"), ""
		return http.DefaultTransport.RoundTrip(to)
	})
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.c = c
	for _, a := range append(cases(), action("actiontrail.start_logging", with("trail", "main-trail"), with("region", "eu-central-1"))) {
		if err := r.through(a); err != nil {
			t.Fatal(a.Kind, err)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	want := []string{"https://ram.aliyuncs.com", "https://ims.aliyuncs.com", "https://sts.ap-southeast-1.aliyuncs.com",
		"https://actiontrail.ap-southeast-1.aliyuncs.com", "https://actiontrail.eu-central-1.aliyuncs.com"}
	for _, h := range want {
		if !hosts[h] {
			t.Errorf("%s was not called", h)
		}
		delete(hosts, h)
	}
	if len(hosts) > 0 {
		t.Errorf("called besides: %v", hosts)
	}
}

// The SDK would read the proxy settings itself, take NO_PROXY for regular
// expressions, and give up on what it cannot read.
func TestOddProxySettings(t *testing.T) {
	t.Setenv("NO_PROXY", "[::1,*.internal,(")
	t.Setenv("HTTP_PROXY", "http://bad proxy:port")
	t.Setenv("HTTPS_PROXY", "http://bad proxy:port")
	r := newRig(t)
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); err != nil {
		t.Fatal(err)
	}
}

// DEBUG=sdk makes the SDK print every request with its session token.
func TestDebugOutputOfTheSDKIsRefused(t *testing.T) {
	for v, bad := range map[string]bool{"sdk": true, "x,sdk": true, "sd": false, "": false, "1": false} {
		t.Setenv("DEBUG", v)
		_, err := New(Config{Credentials: someCredentials})
		if (err != nil) != bad {
			t.Errorf("DEBUG=%q: %v", v, err)
		}
	}
}

// The second barrier: even if the SDK built a plain request, it does not leave.
func TestPlaintextNeverLeaves(t *testing.T) {
	ex := &exchange{host: "ram.aliyuncs.com", base: roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("the request left")
		return nil, errors.New("no")
	})}
	for _, u := range []string{"http://ram.aliyuncs.com/", "https://attacker.example.com/"} {
		req, err := http.NewRequest("POST", u+"?AccessKeyId=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		ex.begin(t.Context())
		resp, err := ex.RoundTrip(req)
		if resp != nil {
			resp.Body.Close()
		}
		w := ex.end()
		if err == nil || w.sent {
			t.Fatal("sent")
		}
		if cl := classify(op{product: "ram", action: "UpdateAccessKey", write: true}, w, err, nil); !errors.Is(cl, responders.ErrRefused) {
			t.Fatalf("%v", cl)
		}
	}
}

func TestHTTPS(t *testing.T) {
	s := ramtest.New(ramtest.Options{RequireTLS: true})
	seed(t, s)
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the failed handshakes are meant
	srv.StartTLS()
	defer srv.Close()
	cred := s.AddSession(acct, "trailwarden-responder", RoleSessionName, time.Hour)
	cfg := Config{
		Endpoint: srv.URL,
		Credentials: func(context.Context) (string, string, string, error) {
			return cred.AccessKeyID, cred.AccessKeySecret, cred.SecurityToken, nil
		},
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	// A certificate that nobody vouches for: nothing is sent.
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Self(t.Context())
	if !errors.Is(err, responders.ErrRetry) || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("%v, want a certificate error", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	cfg.Transport = tr
	if c, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	e, a := c.disableAccessKey(), action(kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Execute(t.Context(), a, prior); err != nil || s.KeyStatus(aliceKey) != ramtest.Inactive {
		t.Fatal(err)
	}
}

func TestSelf(t *testing.T) {
	r := newRig(t)
	ids, err := r.c.Self(t.Context())
	if err != nil || len(ids) != 1 || ids[0] != (responders.Identity{AccountID: acct, RoleName: "trailwarden-responder"}) {
		t.Fatalf("%+v %v", ids, err)
	}
	for range 5 {
		if _, err := r.exec(kind).Read(t.Context(), action(kind)); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.cloud.Calls(ramtest.STS, "GetCallerIdentity"); n != 1 {
		t.Fatalf("asked %d times who we are, want once", n)
	}
	// The role's key rotates: still the same principal.
	r.mu.Lock()
	r.cred = r.cloud.AddSession(acct, "trailwarden-responder", RoleSessionName, time.Hour)
	r.mu.Unlock()
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); err != nil || r.cloud.Calls(ramtest.STS, "GetCallerIdentity") != 1 {
		t.Fatal(err)
	}
	u := newRig(t, asUser)
	ids, err = u.c.Self(t.Context())
	if err != nil || len(ids) != 1 || ids[0] != (responders.Identity{AccountID: acct, UserName: ownUser, AccessKeyID: ownKey}) {
		t.Fatalf("%+v %v", ids, err)
	}
}

// Without knowing who we are nothing is done: it might be our own key.
func TestUnknownSelf(t *testing.T) {
	r := newRig(t)
	h := r.cloud.Inject(ramtest.Fault{API: ramtest.STS, Times: -1, Status: 503})
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); !errors.Is(err, responders.ErrRetry) {
		t.Fatal(err)
	}
	prior := mustJSON(t, KeyState{UserName: "alice", AccessKeyID: aliceKey, Status: "Active"})
	if _, err := r.exec(kind).Execute(t.Context(), action(kind), prior); !errors.Is(err, responders.ErrRetry) || errors.Is(err, responders.ErrInDoubt) {
		t.Fatal(err)
	}
	h.Remove()
	r.cloud.Inject(ramtest.Fault{API: ramtest.STS, Times: -1, Status: 200, ContentType: "application/json", Body: `{"RequestId":"R","AccountId":"` + acct + `","Arn":"acs:ram::` + acct + `:user/"}`})
	if _, err := r.exec(kind).Read(t.Context(), action(kind)); !errors.Is(err, responders.ErrRefused) {
		t.Fatal(err)
	}
	if r.requests("ram UpdateAccessKey") != 0 {
		t.Fatal("a call was made")
	}
}

// Refused credentials are renewed once, reads and writes alike: a call that
// was refused for them had no effect.
func TestCredentialsAreRenewed(t *testing.T) {
	var good atomic.Bool
	var renewals atomic.Int32
	r, _, a, prior := ready(t)
	cfg := r.c.cfg
	inner := cfg.Credentials
	good.Store(true)
	cfg.Credentials = func(ctx context.Context) (string, string, string, error) {
		id, secret, token, err := inner(ctx)
		if !good.Load() {
			secret = "EXAMPLEwrongSecret000000000001"
		}
		return id, secret, token, err
	}
	cfg.Invalidate = func() {
		renewals.Add(1)
		good.Store(true)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.c = c
	e := r.exec(kind)
	if _, err := e.Read(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	good.Store(false)
	if _, err := e.Execute(t.Context(), a, prior); err != nil || renewals.Load() != 1 {
		t.Fatalf("%v after %d renewals", err, renewals.Load())
	}
	if es := r.entries("UpdateAccessKey"); len(es) != 2 || es[0].Code != "SignatureDoesNotMatch" || !es[1].Done {
		t.Fatalf("%+v", es)
	}
	// New ones are no better: refused, and nothing loops.
	c.cfg.Invalidate = func() { renewals.Add(1) }
	good.Store(false)
	_, err = e.Undo(t.Context(), a, prior)
	if !errors.Is(err, responders.ErrRefused) || renewals.Load() != 2 || !strings.Contains(err.Error(), "own credentials") {
		t.Fatalf("%v after %d renewals", err, renewals.Load())
	}
	// The server's text repeats the string to sign, which holds the token.
	if strings.Contains(err.Error(), "to sign") {
		t.Fatal(err)
	}
	r.noSecrets("the error", err.Error())
	good.Store(true)
}

func TestOwnKeyTrouble(t *testing.T) {
	r := newRig(t, asUser)
	e, a := r.exec(kind), action(kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	r.cloud.SetKeyStatus(ownKey, ramtest.Inactive)
	if _, err := e.Execute(t.Context(), a, prior); !errors.Is(err, responders.ErrRefused) || code(err) != "InvalidAccessKeyId.Inactive" {
		t.Fatal(err)
	}
	// Alibaba's protection of leaked keys strikes the responder's own key.
	leaked := newRig(t, func(_ *ramtest.Options, c *Config) {
		c.Credentials = func(context.Context) (string, string, string, error) {
			return "LTAI5tEXAMPLEleaked0001", "EXAMPLEsecretOfLTAI5tEXAMPLEleaked0001", "", nil
		}
	})
	if err := leaked.cloud.AddKey(acct, "responder", ramtest.Key{ID: "LTAI5tEXAMPLEleaked0001", Leaked: true}); err != nil {
		t.Fatal(err)
	}
	_, err = leaked.exec(kind).Read(t.Context(), a)
	if !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), "protection of leaked keys") {
		t.Fatal(err)
	}
	none := newRig(t, func(_ *ramtest.Options, c *Config) {
		c.Credentials = func(context.Context) (string, string, string, error) {
			return "", "", "", errors.New("no provider: SecurityToken=EXAMPLEverySecretToken0001")
		}
	})
	_, err = none.exec(kind).Read(t.Context(), a)
	if !errors.Is(err, responders.ErrRetry) || strings.Contains(err.Error(), "EXAMPLEverySecretToken") {
		t.Fatal(err)
	}
}

func TestAssumeRole(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	r := newRig(t, func(o *ramtest.Options, c *Config) {
		asUser(o, c)
		c.AssumeRole = "acs:ram::{account}:role/trailwarden-responder"
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	trust := `{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"RAM":["acs:ram::` + acct + `:user/` + ownUser + `"]}}]}`
	r.cloud.AddRole(other, "trailwarden-responder", trust)
	if err := r.cloud.AddKey(other, "alice", ramtest.Key{ID: "LTAI5tEXAMPLEother00001"}); err != nil {
		t.Fatal(err)
	}
	a := action(kind, func(t *responders.ActionTarget) { t.AccountID, t.AccessKeyID = other, "LTAI5tEXAMPLEother00001" })
	e := r.exec(kind)
	prior, err := e.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Execute(t.Context(), a, prior); err != nil {
		t.Fatal(err)
	}
	// The namesake in our own account is untouched.
	if r.cloud.KeyStatus("LTAI5tEXAMPLEother00001") != ramtest.Inactive || r.cloud.KeyStatus(aliceKey) != ramtest.Active {
		t.Fatal("the wrong key")
	}
	if n := r.cloud.Calls(ramtest.STS, "AssumeRole"); n != 1 {
		t.Fatalf("%d sessions were opened", n)
	}
	es := r.entries("UpdateAccessKey")
	if len(es) != 1 || es[0].Account != other || !strings.HasSuffix(es[0].Caller, "/"+RoleSessionName) {
		t.Fatalf("%+v", es)
	}
	// Our role there is ours: it is spared.
	b := action("ram.detach_policy", with("policy_type", "System"), with("policy_name", "AliyunOSSFullAccess"), func(t *responders.ActionTarget) {
		t.AccountID, t.PrincipalType, t.RoleName = other, "assumed-role", "trailwarden-responder"
	})
	if _, err := r.exec(b.Kind).Read(t.Context(), b); !errors.Is(err, responders.ErrRefused) || !strings.Contains(err.Error(), "works as") {
		t.Fatal(err)
	}
	// A session that the cloud does not accept any more is renewed.
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	r.c.scopes.m[other].ends = time.Now().Add(time.Hour) // as if our clock stood
	// The emulator's clock moved, so signatures would be too old: that is refused, not looped.
	if _, _, err := e.Verify(t.Context(), a); !errors.Is(err, responders.ErrRefused) {
		t.Fatal(err)
	}
	mu.Lock()
	now = now.Add(-2 * time.Hour)
	mu.Unlock()
	r.c.scopes.m[other].k.token = "EXAMPLEstaleToken"
	if in, _, err := e.Verify(t.Context(), a); err != nil || !in {
		t.Fatalf("%v %v", in, err)
	}
	if n := r.cloud.Calls(ramtest.STS, "AssumeRole"); n != 2 {
		t.Fatalf("%d sessions were opened, want 2", n)
	}
	// An account without our role.
	c := action(kind, func(t *responders.ActionTarget) { t.AccountID = "1000000000000003" })
	if _, err := e.Read(t.Context(), c); !errors.Is(err, responders.ErrRefused) || code(err) != "EntityNotExist.Role" {
		t.Fatal(err)
	}
}

// A renewal that fails does not stop work while the old session is valid.
func TestSessionOutlivesAFailedRenewal(t *testing.T) {
	r := newRig(t, func(o *ramtest.Options, c *Config) {
		asUser(o, c)
		c.AssumeRole = "acs:ram::{account}:role/trailwarden-responder"
	})
	a := action(kind)
	e := r.exec(kind)
	if _, err := e.Read(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	r.c.scopes.m[acct].ends = time.Now().Add(time.Minute)
	h := r.cloud.Inject(ramtest.Fault{Action: "AssumeRole", Times: -1, Status: 503})
	if _, err := e.Read(t.Context(), a); err != nil || h.Hits() == 0 {
		t.Fatalf("%v after %d failed renewals", err, h.Hits())
	}
	r.c.scopes.m[acct].ends = time.Now()
	if _, err := e.Read(t.Context(), a); !errors.Is(err, responders.ErrRetry) {
		t.Fatal(err)
	}
}

// Many goroutines on one client: the SDK's clients are not shared, so that the
// race detector has nothing to say, and at most Workers calls are on the way.
func TestConcurrentUse(t *testing.T) {
	var flying, most atomic.Int32
	r := newRig(t, func(_ *ramtest.Options, c *Config) {
		tr := &http.Transport{MaxIdleConnsPerHost: 8}
		t.Cleanup(tr.CloseIdleConnections)
		c.Workers = 3
		c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			n := flying.Add(1)
			defer flying.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return tr.RoundTrip(req)
		})
	})
	for i := range 20 {
		u := fmt.Sprintf("user%02d", i)
		if err := r.cloud.AddKey(acct, u, ramtest.Key{ID: fmt.Sprintf("LTAI5tEXAMPLEmany%06d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := r.cloud.State()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			a := action(kind, func(t *responders.ActionTarget) {
				t.UserName, t.AccessKeyID = fmt.Sprintf("user%02d", i), fmt.Sprintf("LTAI5tEXAMPLEmany%06d", i)
			})
			e := r.exec(kind)
			prior, err := e.Read(context.Background(), a)
			if err == nil {
				_, err = e.Execute(context.Background(), a, prior)
			}
			if err == nil {
				_, err = e.Undo(context.Background(), a, prior)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sameState(t, before, r.cloud.State())
	if most.Load() > 3 {
		t.Errorf("%d calls at the same time, want at most 3", most.Load())
	}
}

func TestWaitingForAWorkerEndsWithTheContext(t *testing.T) {
	r := newRig(t, func(_ *ramtest.Options, c *Config) { c.Workers = 1 })
	w := <-r.c.workers
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.c.Self(ctx); !errors.Is(err, responders.ErrRetry) {
		t.Fatal(err)
	}
	r.c.workers <- w
}

func TestObserve(t *testing.T) {
	r, e, a, prior := ready(t)
	r.cloud.Inject(ramtest.Throttled("UpdateAccessKey", 1))
	_, _ = e.Execute(t.Context(), a, prior)
	r.cloud.Inject(ramtest.LostAnswer("UpdateAccessKey"))
	_, _ = e.Execute(t.Context(), a, prior)
	want := []string{"sts GetCallerIdentity", "ram ListAccessKeys", "ram UpdateAccessKey Throttling.User", "ram UpdateAccessKey -"}
	if got := strings.Join(r.seen, "|"); got != strings.Join(want, "|") {
		t.Fatalf("%s", got)
	}
}

// Every kind of credentials error, hostile texts included: nothing of ours and
// no control character comes out.
func TestErrorsAreClean(t *testing.T) {
	r, e, a, prior := ready(t)
	for _, f := range []ramtest.Fault{
		{Status: 403, Code: "NoPermission", Message: "denied \x1b[31m\u202e<!channel>\n" + r.cred.SecurityToken + " " + r.cred.AccessKeySecret},
		{Status: 500, Code: "InternalError", Message: "SecurityToken=" + r.cred.SecurityToken + "&Signature=abcdefgh"},
		{Status: 409, Code: "LimitExceeded.X\r\nInjected: yes", Message: strings.Repeat("long ", 1000)},
		{DropAnswer: true},
	} {
		f.Action = "UpdateAccessKey"
		r.cloud.Inject(f)
		_, err := e.Execute(t.Context(), a, prior)
		if err == nil {
			t.Fatal("no error")
		}
		s := err.Error()
		r.noSecrets("the error", s)
		if strings.ContainsAny(s, "\x1b\n\r\u202e") || len(s) > 1500 {
			t.Errorf("%d bytes: %q", len(s), s)
		}
		r.cloud.SetKeyStatus(aliceKey, ramtest.Active)
	}
	// Nor does an executor print them.
	r.noSecrets("the executor", fmt.Sprintf("%v %s", e, prior))
}

// The SDK's transport errors hold the URL, and that the signature and token.
func TestReasonHidesTheURL(t *testing.T) {
	inner := &url.Error{Op: "Post", URL: "https://ram.aliyuncs.com/?SecurityToken=EXAMPLEtoken&Signature=EXAMPLEsig", Err: errors.New("connection reset")}
	if got := reason(nil, fmt.Errorf("sdk: %w", inner), nil); got != "connection reset" {
		t.Fatal(got)
	}
}

// The SDK's time-out for the whole exchange must be later than ours, which
// knows what was sent.
func TestTimeoutsOfTheSDKAreLater(t *testing.T) {
	c, err := New(Config{Credentials: someCredentials, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	w := <-c.workers
	for _, d := range []time.Duration{w.ram.GetReadTimeout(), w.ims.GetReadTimeout(), w.sts.GetReadTimeout(), w.trail.GetReadTimeout()} {
		if d <= time.Minute {
			t.Errorf("%s", d)
		}
	}
}

func TestParseARN(t *testing.T) {
	for arn, want := range map[string]Whoami{
		"acs:ram::1:root":                    {Account: "1", Root: true},
		"acs:ram::1:user/alice":              {Account: "1", User: "alice"},
		"acs:ram::1:assumed-role/ci/session": {Account: "1", Role: "ci"},
		"acs:ram::1:role/ci/session":         {Account: "1", Role: "ci"},
	} {
		if got, ok := parseARN(arn); !ok || got != want {
			t.Errorf("%s: %+v %v", arn, got, ok)
		}
	}
	for _, arn := range []string{"", "acs:ram::1", "acs:ram:::root", "acs:ram::x:root", "acs:ram::1:user/", "acs:ram::1:assumed-role/", "acs:ram::1:root/x", "arn:aws:iam::1:root"} {
		if got, ok := parseARN(arn); ok {
			t.Errorf("%q: %+v", arn, got)
		}
	}
}

// Whatever a peer answers, a call ends with a class, never with a panic, and a
// write is only ever a success when the answer is the cloud's.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"", "{}", `{"RequestId":"R"}`, `{"Code":500}`, `{"Code":null,"RequestId":7}`, `{"RequestId":"R","AccessDeniedDetail":"x"}`, "<html>", `[]`, `{"RequestId":"R","AccessKeys":{"AccessKey":[{"Status":{}}]}}`, "\xff\xfe"} {
		f.Add(200, s)
		f.Add(400, s)
		f.Add(503, s)
	}
	cfg := Config{Credentials: someCredentials, Endpoint: "http://127.0.0.1:1", Workers: 1, Sleep: func(context.Context, time.Duration) error { return errors.New("no") }}
	var status int
	var body string
	cfg.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		rec.WriteHeader(status)
		_, _ = rec.WriteString(body)
		return rec.Result(), nil
	})
	c, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, st int, b string) {
		if st < 200 || st > 599 {
			return
		}
		status, body = st, b
		_, err := c.updateKey(t.Context(), scope{acct, own{}}, target{account: acct, user: "alice", key: aliceKey}, inactive)
		if err == nil {
			var m struct {
				RequestID string `json:"RequestId"`
			}
			if st > 299 || json.Unmarshal([]byte(b), &m) != nil || m.RequestID == "" {
				t.Fatalf("%d %q is taken for success", st, b)
			}
			return
		}
		n := 0
		for _, x := range []error{responders.ErrRetry, responders.ErrInDoubt, responders.ErrRefused} {
			if errors.Is(err, x) {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d classes: %v", n, err)
		}
		if _, err := c.readKey(t.Context(), scope{acct, own{}}, target{account: acct, user: "alice", key: aliceKey}); err == nil && st > 299 {
			t.Fatalf("%d %q is taken for an answer", st, b)
		}
	})
}
