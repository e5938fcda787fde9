package cred

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aliyun/credentials-go/credentials"
)

const (
	testKey    = "LTAI5tEXAMPLEreader00001"
	testSecret = "EXAMPLEsecretEXAMPLEsecret0001"
	testToken  = "EXAMPLEtokenEXAMPLEtokenEXAMPLEtoken+/=="
)

// cleanEnv keeps the machine's own credentials out of a test, and the test off
// the network: the chain would ask the metadata service.
func cleanEnv(t *testing.T) (home string) {
	home = t.TempDir()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "ALIBABA_CLOUD_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	for _, n := range []string{"ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_CREDENTIALS_URI"} {
		t.Setenv(n, "")
	}
	return home
}

func get(t *testing.T, p *Provider) keys {
	t.Helper()
	id, secret, token, name, err := p.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return keys{id, secret, token, name}
}

func TestStatic(t *testing.T) {
	p, err := New(Config{AccessKeyID: testKey, AccessKeySecret: testSecret, SecurityToken: testToken})
	if err != nil {
		t.Fatal(err)
	}
	if k := get(t, p); k != (keys{testKey, testSecret, testToken, "static"}) || p.ProviderName() != "static" {
		t.Errorf("got another key, provider %q", k.provider)
	}
	p.Invalidate()
	get(t, p)
	for _, c := range []Config{{AccessKeyID: testKey}, {AccessKeySecret: testSecret}, {SecurityToken: testToken}} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "or none to use the official chain") {
			t.Errorf("incomplete configuration gave %v", err)
		}
	}
}

func TestConfigIsMasked(t *testing.T) {
	c := Config{AccessKeyID: testKey, AccessKeySecret: testSecret, SecurityToken: testToken}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "cred", c, "in", struct{ C Config }{c})
	slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "cred", c, "in", struct{ C Config }{c})
	fmt.Fprintf(&buf, "%v %+v %#v %s %q", c, c, c, c, c)
	fmt.Fprintf(&buf, "%v %+v %#v", struct{ C Config }{c}, &struct{ C *Config }{&c}, []Config{c})
	b, err := json.Marshal(map[string]any{"c": c, "p": &c})
	if err != nil {
		t.Fatal(err)
	}
	buf.Write(b)
	if s := buf.String(); strings.Contains(s, testSecret) || strings.Contains(s, testToken) || !strings.Contains(s, "static "+testKey) {
		t.Errorf("printed as %s", s)
	}
}

func TestEnvironment(t *testing.T) {
	cleanEnv(t)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", testKey)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", testSecret)
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if p.ProviderName() != "" {
		t.Errorf("provider %q before the first use", p.ProviderName())
	}
	if k := get(t, p); k != (keys{testKey, testSecret, "", "default/env"}) || p.ProviderName() != "default/env" {
		t.Errorf("got provider %q", k.provider)
	}
}

func TestProfiles(t *testing.T) {
	t.Run("cli", func(t *testing.T) {
		home := cleanEnv(t)
		write(t, filepath.Join(home, ".aliyun", "config.json"), `{"current":"main","profiles":[{"name":"main","mode":"AK","access_key_id":"`+testKey+`","access_key_secret":"`+testSecret+`"}]}`)
		p, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if k := get(t, p); k.id != testKey || k.secret != testSecret || !strings.HasPrefix(k.provider, "default/cli_profile") {
			t.Errorf("got %s from %q", k.id, k.provider)
		}
		// The file is rotated: seen after the server refused the old key.
		write(t, filepath.Join(home, ".aliyun", "config.json"), `{"current":"main","profiles":[{"name":"main","mode":"AK","access_key_id":"LTAI5tEXAMPLErotated0001","access_key_secret":"`+testSecret+`"}]}`)
		if k := get(t, p); k.id != testKey {
			t.Errorf("got %s without need", k.id)
		}
		p.Invalidate()
		if k := get(t, p); k.id != "LTAI5tEXAMPLErotated0001" {
			t.Errorf("got %s after Invalidate", k.id)
		}
	})
	t.Run("credentials file", func(t *testing.T) {
		home := cleanEnv(t)
		write(t, filepath.Join(home, ".alibabacloud", "credentials"), "[default]\ntype = access_key\naccess_key_id = "+testKey+"\naccess_key_secret = "+testSecret+"\n")
		p, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if k := get(t, p); k.id != testKey || !strings.HasPrefix(k.provider, "default/profile") {
			t.Errorf("got %s from %q", k.id, k.provider)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Temporary credentials are refreshed before they expire.
func TestRefresh(t *testing.T) {
	cleanEnv(t)
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Less than the chain's 180 s left: stale at once.
		fmt.Fprintf(w, `{"AccessKeyId":"STS.EXAMPLE%d","AccessKeySecret":%q,"SecurityToken":%q,"Expiration":%q}`,
			n.Add(1), testSecret, testToken, time.Now().UTC().Add(time.Minute).Format("2006-01-02T15:04:05Z"))
	}))
	defer srv.Close()
	t.Setenv("ALIBABA_CLOUD_CREDENTIALS_URI", srv.URL)
	clk := newClock()
	p := newProvider(func() (getter, error) { return credentials.NewCredential(nil) }, clk.Now)
	if k := get(t, p); k.id != "STS.EXAMPLE1" || k.token != testToken || k.provider != "default/credential_uri" && !strings.HasPrefix(k.provider, "default/") {
		t.Errorf("got %+v", k.id)
	}
	if k := get(t, p); k.id != "STS.EXAMPLE1" {
		t.Errorf("asked again at once: %s", k.id)
	}
	clk.Add(freshFor)
	if k := get(t, p); k.id != "STS.EXAMPLE2" {
		t.Errorf("not refreshed: %s", k.id)
	}
}

// The vendor's errors quote whole answers.
func TestErrorsHoldNoSecrets(t *testing.T) {
	cleanEnv(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId":"STS.EXAMPLE","AccessKeySecret":%q,"SecurityToken":%q}`, testSecret, testToken)
	}))
	defer srv.Close()
	t.Setenv("ALIBABA_CLOUD_CREDENTIALS_URI", srv.URL)
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, _, err = p.Get(context.Background())
	if err == nil || strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testToken) {
		t.Fatalf("error is %v", err)
	}
	if !strings.Contains(err.Error(), "ALIBABA_CLOUD_ACCESS_KEY_ID") || !strings.Contains(err.Error(), mask) {
		t.Errorf("error does not help: %v", err)
	}
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fake is a chain made of a function.
type fake func() (*credentials.CredentialModel, error)

func (f fake) GetCredential() (*credentials.CredentialModel, error) { return f() }

func model(id string) *credentials.CredentialModel {
	secret, name := testSecret, "fake"
	return &credentials.CredentialModel{AccessKeyId: &id, AccessKeySecret: &secret, ProviderName: &name}
}

// After a total failure a new chain is made: the vendor's remembers the last
// provider it tried and would ask only that one. Tries are spaced.
func TestNewChainAfterTotalFailure(t *testing.T) {
	clk := newClock()
	made, ok := 0, false
	p := newProvider(func() (getter, error) {
		made++
		works := ok
		return fake(func() (*credentials.CredentialModel, error) {
			if !works {
				return nil, errors.New("nothing here")
			}
			return model("a"), nil
		}), nil
	}, clk.Now)
	for range 5 {
		if _, _, _, _, err := p.Get(context.Background()); err == nil {
			t.Fatal("no error")
		}
	}
	if made != 1 {
		t.Errorf("asked %d times within the pause", made)
	}
	ok = true
	clk.Add(retryMin)
	get(t, p)
	if made != 2 {
		t.Errorf("%d chains made, want 2", made)
	}
}

// A failing refresh: the last good keys are given out for a while, from the
// same provider and never from another, then the error comes through.
func TestFailingRefresh(t *testing.T) {
	clk := newClock()
	made, fail, asked := 0, false, 0
	p := newProvider(func() (getter, error) {
		made++
		return fake(func() (*credentials.CredentialModel, error) {
			asked++
			if fail {
				return nil, errors.New("hiccup")
			}
			return model("a"), nil
		}), nil
	}, clk.Now)
	get(t, p)
	fail = true
	for clk.Add(freshFor); ; clk.Add(5 * time.Second) {
		_, _, _, _, err := p.Get(context.Background())
		if err != nil {
			break
		}
		if asked > 50 {
			t.Fatal("stale keys are given out for ever")
		}
	}
	if asked > 12 {
		t.Errorf("asked %d times within %s: no growing pause", asked, staleFor)
	}
	if made != 1 {
		t.Errorf("%d chains made: the identity could have changed", made)
	}
	fail = false
	clk.Add(retryMax)
	if k := get(t, p); k.id != "a" {
		t.Error("no recovery")
	}
}

func TestConcurrentUse(t *testing.T) {
	clk := newClock()
	var in, max atomic.Int32
	p := newProvider(func() (getter, error) {
		return fake(func() (*credentials.CredentialModel, error) {
			if n := in.Add(1); n > max.Load() {
				max.Store(n)
			}
			defer in.Add(-1)
			return model("a"), nil
		}), nil
	}, clk.Now)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				if id, _, _, _, err := p.Get(context.Background()); err != nil || id != "a" {
					t.Errorf("got %q, %v", id, err)
					return
				}
				if i == 0 {
					clk.Add(freshFor)
					p.Invalidate()
				}
			}
		})
	}
	wg.Wait()
	if max.Load() != 1 {
		t.Errorf("the vendor's provider was asked by %d at once", max.Load())
	}
}

func TestContextEndsTheWait(t *testing.T) {
	release := make(chan struct{})
	p := newProvider(func() (getter, error) {
		return fake(func() (*credentials.CredentialModel, error) { <-release; return model("a"), nil }), nil
	}, time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 2 { // the one who asks, and one who waits for it
		if _, _, _, _, err := p.Get(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	if k := get(t, p); k.id != "a" {
		t.Error("the provider is stuck")
	}
}

func TestPanicAndEmptyAnswers(t *testing.T) {
	empty := ""
	for name, f := range map[string]fake{
		"panic": func() (*credentials.CredentialModel, error) { var p *int; return nil, fmt.Errorf("%d", *p) },
		"nil":   func() (*credentials.CredentialModel, error) { return nil, nil },
		"empty": func() (*credentials.CredentialModel, error) {
			return &credentials.CredentialModel{AccessKeyId: &empty, AccessKeySecret: &empty}, nil
		},
	} {
		p := newProvider(func() (getter, error) { return f, nil }, time.Now)
		if _, _, _, _, err := p.Get(context.Background()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p := newProvider(func() (getter, error) { return nil, errors.New("cannot be made") }, time.Now)
	if _, _, _, _, err := p.Get(context.Background()); err == nil || !strings.Contains(err.Error(), "cannot be made") {
		t.Errorf("got %v", err)
	}
}

func TestScrub(t *testing.T) {
	for in, keep := range map[string]string{
		`{"AccessKeyId":"LTAI5tEXAMPLE","AccessKeySecret":"short1"}`: "AccessKeyId",
		"access_key_secret = short1, x":                              ", x",
		"SecurityToken=short1&y=1":                                   "&y=1",
		"the value " + testToken + " of it":                          "of it",
		"Signature: short1\nnext":                                    "next",
		`"Password": "with \" short1 quote" end`:                     "end",
	} {
		got := Scrub(in)
		if strings.Contains(got, "short1") || strings.Contains(got, testToken) || !strings.Contains(got, keep) || strings.Contains(got, "\n") {
			t.Errorf("%q became %q", in, got)
		}
	}
	if got := Scrub("dial tcp 127.0.0.1:1: connect: connection refused"); got != "dial tcp 127.0.0.1:1: connect: connection refused" {
		t.Errorf("harmless text became %q", got)
	}
	if got := Scrub("open /var/run/secrets/ack.alibabacloud.com/rrsa-tokens/token: no such file"); !strings.Contains(got, "rrsa-tokens/token") {
		t.Errorf("a path became %q", got)
	}
	if got := Scrub("set ALIBABA_CLOUD_ACCESS_KEY_SECRET and x"); got != "set ALIBABA_CLOUD_ACCESS_KEY_SECRET and x" {
		t.Errorf("the name of a variable became %q", got)
	}
	if got := Scrub("ALIBABA_CLOUD_ACCESS_KEY_SECRET=short1 ALIBABA_CLOUD_abcdefghijklmnopqrstuvwx"); strings.Contains(got, "short1") || strings.Contains(got, "abcdef") {
		t.Errorf("beside the name of a variable is left %q", got)
	}
	if got := Scrub(strings.Repeat("é x", 1000)); len(got) > scrubMax+4 {
		t.Errorf("%d bytes long", len(got))
	}
	if got := Scrub("my hunter22 here", "hunter22"); got != "my "+mask+" here" {
		t.Errorf("given secret: %q", got)
	}
}

func FuzzScrub(f *testing.F) {
	f.Add(`{"AccessKeySecret":"`, `"}`, "s3cr3tvalue")
	f.Add("token ", "", "abcdefgh")
	f.Fuzz(func(t *testing.T, before, after, secret string) {
		if len(secret) < 6 || strings.Contains(mask, secret) || strings.Contains(mask+"…", secret) {
			return
		}
		got := Scrub(before+secret+after, secret)
		if strings.ContainsAny(got, "\n\x1b\x00") {
			t.Fatalf("control characters in %q", got)
		}
		// Masking may join what stood around a secret into another one only
		// if the surroundings are the secret itself; that is not a leak of it.
		if strings.Contains(got, secret) && !strings.Contains(strings.ReplaceAll(before+secret+after, secret, mask), secret) &&
			!strings.Contains(Scrub(before+" "+after), secret) {
			t.Fatalf("%q is in %q", secret, got)
		}
	})
}
