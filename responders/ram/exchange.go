package ram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer bounds one answer. The largest real one, a page of 100 policies,
// is some 100 KB.
const maxAnswer = 4 << 20

// exchange is the RoundTripper under one SDK client. It carries the context
// that the SDK has no room for, and remembers what really happened on the
// wire, which the SDK's errors do not tell.
//
// It is used by one call at a time: begin, the call, end.
type exchange struct {
	base http.RoundTripper
	host string // the only host that may be called, host or host:port

	ctx context.Context
	out outcome
}

// outcome is what happened to one call.
type outcome struct {
	// sent says that a connection was there and bytes of the request may
	// have left: only then can the call have taken effect.
	sent bool
	// status and body are set when a whole answer arrived.
	status     int
	answered   bool
	requestID  string
	code       string // Code of an error answer, "" when the answer is not of that shape
	shaped     bool   // the answer is a JSON object with a RequestId
	message    string
	denied     map[string]any
	retryAfter time.Duration
	err        error // of the transport, cleaned of the URL
}

func (e *exchange) begin(ctx context.Context) { e.ctx, e.out = ctx, outcome{} }

func (e *exchange) end() outcome {
	o := e.out
	e.ctx, e.out = nil, outcome{}
	return o
}

// loopback says whether a host is this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

var (
	errPlaintext = errors.New("plain http to a host that is not loopback: the credentials would leave in clear")
	errRedirect  = errors.New("the answer is a redirect, which is not followed: a signed request goes to no other host")
	errTooLarge  = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	errStrayHost = errors.New("the SDK meant to call a host that is not the configured one")
)

// RoundTrip sends one request, bounded by the context of begin.
func (e *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := e.roundTrip(req)
	e.out.err = err
	return resp, err
}

func (e *exchange) roundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case e.ctx == nil:
		return nil, errors.New("a call outside of begin and end")
	case req.URL.Scheme != "https" && !loopback(req.URL.Host):
		return nil, errPlaintext
	case req.URL.Host != e.host:
		return nil, errStrayHost
	}
	var sent atomic.Bool // the transport's goroutines may still set it after RoundTrip returned
	ctx := httptrace.WithClientTrace(e.ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	req = req.Clone(ctx)
	delete(req.Header, "x-acs-credentials-provider") // says what kind of credentials we have; it is not signed
	req.Header.Del("X-Acs-Credentials-Provider")
	resp, err := e.base.RoundTrip(req)
	e.out.sent = sent.Load()
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %w", err)
	case len(body) > maxAnswer:
		return nil, errTooLarge
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, errRedirect
	}
	e.out.answered, e.out.status = true, resp.StatusCode
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.out.retryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	e.out.read(body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// read finds what every answer of the cloud has. Answers of proxies lack it.
func (o *outcome) read(body []byte) {
	var a struct {
		RequestID json.RawMessage `json:"RequestId"`
		Code      json.RawMessage
		Message   json.RawMessage
		Denied    map[string]any `json:"AccessDeniedDetail"`
	}
	if json.Unmarshal(body, &a) != nil {
		return
	}
	text := func(r json.RawMessage) string {
		var s string
		_ = json.Unmarshal(r, &s) // anything but a string stays empty
		return s
	}
	o.requestID, o.code, o.message, o.denied = text(a.RequestID), text(a.Code), text(a.Message), a.Denied
	o.shaped = o.requestID != ""
}
