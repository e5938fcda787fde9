package cred

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestOIDC drives the chain's OIDC provider (RRSA) for real, in a process of
// its own: it speaks TLS to sts.aliyuncs.com, which a proxy leads to a server
// here with a certificate that only that process trusts.
func TestOIDC(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SSL_CERT_FILE is honoured on Linux only")
	}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sts"}, DNSNames: []string{"sts.aliyuncs.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	caFile := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	tokenFile := filepath.Join(dir, "token")
	must(t, os.WriteFile(tokenFile, []byte("EXAMPLE.oidc.token"), 0o600))

	forms := make(chan string, 4)
	sts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		forms <- r.Host + " " + r.Form.Get("Action") + " " + r.PostForm.Get("RoleArn") + " " + r.PostForm.Get("OIDCToken")
		fmt.Fprintf(w, `{"Credentials":{"AccessKeyId":"STS.EXAMPLEoidc","AccessKeySecret":%q,"SecurityToken":%q,"Expiration":%q}}`,
			testSecret, testToken, time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04:05Z"))
	}))
	sts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	sts.StartTLS()
	defer sts.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "sts.aliyuncs.com:443" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", sts.Listener.Addr().String())
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		down, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = up.Close()
			return
		}
		go func() { _, _ = io.Copy(up, buf); _ = up.Close() }()
		_, _ = io.Copy(down, up)
		_ = down.Close()
	}))
	defer proxy.Close()

	self, err := os.Executable()
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestOIDCChild$", "-test.v")
	cmd.Env = []string{
		"TRAILWARDEN_OIDC_CHILD=1", "HOME=" + dir, "SSL_CERT_FILE=" + caFile, "SSL_CERT_DIR=" + dir, "HTTPS_PROXY=" + proxy.URL,
		"ALIBABA_CLOUD_OIDC_TOKEN_FILE=" + tokenFile, "ALIBABA_CLOUD_OIDC_PROVIDER_ARN=acs:ram::1000000000000001:oidc-provider/ack",
		"ALIBABA_CLOUD_ROLE_ARN=acs:ram::1000000000000001:role/trailwarden-reader", "ALIBABA_CLOUD_ECS_METADATA_DISABLED=true",
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "key STS.EXAMPLEoidc from default/oidc_role_arn, token true") {
		t.Fatalf("%v\n%s", err, out)
	}
	select {
	case f := <-forms:
		if f != "sts.aliyuncs.com AssumeRoleWithOIDC acs:ram::1000000000000001:role/trailwarden-reader EXAMPLE.oidc.token" {
			t.Errorf("STS was asked: %s", f)
		}
	default:
		t.Error("STS was not asked")
	}
}

func TestOIDCChild(t *testing.T) {
	if os.Getenv("TRAILWARDEN_OIDC_CHILD") == "" {
		t.Skip("runs as a child of TestOIDC")
	}
	p, err := New(Config{})
	must(t, err)
	k := get(t, p)
	fmt.Printf("key %s from %s, token %v\n", k.id, k.provider, k.token == testToken)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
