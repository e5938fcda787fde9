package slstest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Credential is one AccessKey the emulator accepts. A SecurityToken makes it
// a temporary one: the token must then come with every request. Expires, when
// set, is when the server stops accepting it.
type Credential struct {
	AccessKeyID, AccessKeySecret, SecurityToken string
	Expires                                     time.Time
}

const (
	algorithmV4 = "SLS4-HMAC-SHA256"
	scopeEnd    = "aliyun_v4_request"
)

// authenticate verifies the signature of a request, version 1 or 4, by the
// published algorithm (not with the SDK's signer: both sides sharing one bug
// would prove nothing). It returns the access key id.
func (s *Server) authenticate(r *http.Request, body []byte, now time.Time) (string, *apiError) {
	auth := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(auth, "LOG "):
		id, sig, ok := strings.Cut(auth[len("LOG "):], ":")
		if !ok {
			return "", errf(http.StatusUnauthorized, "Unauthorized", "the Authorization header is malformed")
		}
		return id, s.authenticateV1(r, body, now, id, sig)
	case strings.HasPrefix(auth, algorithmV4+" "):
		return s.authenticateV4(r, body, now, auth[len(algorithmV4)+1:])
	case auth == "":
		return "", errf(http.StatusUnauthorized, "Unauthorized", "the Authorization header is missing")
	}
	return "", errf(http.StatusUnauthorized, "Unauthorized", "the Authorization header has an unknown scheme")
}

func (s *Server) credential(r *http.Request, id string, now time.Time) (Credential, *apiError) {
	s.mu.Lock()
	c, ok := s.credentials[id]
	s.mu.Unlock()
	token := r.Header.Get("x-acs-security-token")
	switch {
	case !ok:
		return c, errf(http.StatusUnauthorized, "Unauthorized", "AccessKeyId %q was not found", clip(id, 64))
	case c.SecurityToken != token:
		return c, errf(http.StatusUnauthorized, "Unauthorized", "the security token does not belong to the AccessKeyId")
	case !c.Expires.IsZero() && !now.Before(c.Expires):
		return c, errf(http.StatusUnauthorized, "Unauthorized", "the security token has expired")
	}
	return c, nil
}

func (s *Server) checkSkew(t, now time.Time) *apiError {
	if d := now.Sub(t); d > s.opts.MaxSkew || d < -s.opts.MaxSkew {
		return errf(http.StatusBadRequest, "RequestTimeExpired", "the request time %s differs from the server's by more than %s",
			t.UTC().Format(time.RFC3339), s.opts.MaxSkew)
	}
	return nil
}

func (s *Server) authenticateV1(r *http.Request, body []byte, now time.Time, id, signature string) *apiError {
	c, e := s.credential(r, id, now)
	if e != nil {
		return e
	}
	date := r.Header.Get("Date")
	t, err := time.Parse(time.RFC1123, date)
	if err != nil {
		return errf(http.StatusBadRequest, "InvalidDateFormat", "the Date header is not RFC 1123")
	}
	if e := s.checkSkew(t, now); e != nil {
		return e
	}
	sum := r.Header.Get("Content-MD5")
	if len(body) > 0 || sum != "" {
		if have := fmt.Sprintf("%X", md5.Sum(body)); sum != have {
			return errf(http.StatusBadRequest, "InvalidParameter", "Content-MD5 does not match the body")
		}
	}
	b := r.Method + "\n" + sum + "\n" + r.Header.Get("Content-Type") + "\n" + date + "\n"
	for _, h := range signedHeaders(r.Header, func(k string) bool { return strings.HasPrefix(k, "x-log-") || strings.HasPrefix(k, "x-acs-") }) {
		b += h[0] + ":" + strings.TrimSpace(h[1]) + "\n"
	}
	b += r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		q := r.URL.Query()
		sep := "?"
		for _, k := range sortedKeys(q) {
			b += sep
			for _, v := range q[k] {
				b += k + "=" + v
			}
			sep = "&"
		}
	}
	mac := hmac.New(sha1.New, []byte(c.AccessKeySecret))
	mac.Write([]byte(b))
	got, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return errf(http.StatusUnauthorized, "SignatureNotMatch", "the signature does not match the request")
	}
	return nil
}

func (s *Server) authenticateV4(r *http.Request, body []byte, now time.Time, auth string) (string, *apiError) {
	cred, sig, ok := strings.Cut(auth, ",")
	cred, ok1 := strings.CutPrefix(cred, "Credential=")
	sig, ok2 := strings.CutPrefix(strings.TrimSpace(sig), "Signature=")
	parts := strings.Split(cred, "/")
	if !ok || !ok1 || !ok2 || len(parts) != 5 || parts[3] != "sls" || parts[4] != scopeEnd {
		return "", errf(http.StatusUnauthorized, "Unauthorized", "the Authorization header is malformed")
	}
	id, day, region := parts[0], parts[1], parts[2]
	c, e := s.credential(r, id, now)
	if e != nil {
		return id, e
	}
	if s.opts.Region != "" && region != s.opts.Region {
		return id, errf(http.StatusUnauthorized, "SignatureNotMatch", "the signature is for region %q, this is %q", clip(region, 64), s.opts.Region)
	}
	stamp := r.Header.Get("x-log-date")
	t, err := time.Parse("20060102T150405Z", stamp)
	if err != nil || !strings.HasPrefix(stamp, day) {
		return id, errf(http.StatusBadRequest, "InvalidDateFormat", "x-log-date is not of the form 20060102T150405Z, or not of the signed day")
	}
	if e := s.checkSkew(t, now); e != nil {
		return id, e
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("x-log-content-sha256") != hex.EncodeToString(sum[:]) {
		return id, errf(http.StatusBadRequest, "InvalidParameter", "x-log-content-sha256 does not match the body")
	}
	h := r.Header.Clone()
	h.Set("Host", r.Host)
	var b strings.Builder
	b.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n")
	q := r.URL.Query()
	for i, k := range sortedKeys(q) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(k)
		if v := q.Get(k); v != "" {
			b.WriteString("=" + strings.ReplaceAll(url.QueryEscape(v), "+", "%20"))
		}
	}
	b.WriteByte('\n')
	var names []string
	for _, kv := range signedHeaders(h, func(k string) bool {
		return k == "host" || k == "content-type" || strings.HasPrefix(k, "x-acs-") ||
			strings.HasPrefix(k, "x-log-") && !strings.HasPrefix(k, "x-log-meta-")
	}) {
		names = append(names, kv[0])
		b.WriteString(kv[0] + ":" + kv[1] + "\n")
	}
	b.WriteString("\n" + strings.Join(names, ";") + "\n" + hex.EncodeToString(sum[:]))
	request := sha256.Sum256([]byte(b.String()))
	toSign := algorithmV4 + "\n" + stamp + "\n" + day + "/" + region + "/sls/" + scopeEnd + "\n" + hex.EncodeToString(request[:])
	key := []byte("aliyun_v4" + c.AccessKeySecret)
	for _, part := range []string{day, region, "sls", scopeEnd} {
		key = hmacSHA256(key, part)
	}
	got, err := hex.DecodeString(sig)
	if err != nil || !hmac.Equal(got, hmacSHA256(key, toSign)) {
		return id, errf(http.StatusUnauthorized, "SignatureNotMatch", "the signature does not match the request")
	}
	return id, nil
}

func hmacSHA256(key []byte, data string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(data))
	return m.Sum(nil)
}

// signedHeaders returns the chosen headers as lower-case name and value, by name.
func signedHeaders(h http.Header, want func(string) bool) [][2]string {
	var out [][2]string
	for k, v := range h {
		if k = strings.ToLower(k); want(k) && len(v) > 0 {
			out = append(out, [2]string{k, v[0]})
		}
	}
	lists.Sort(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}

func sortedKeys(q url.Values) []string {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
