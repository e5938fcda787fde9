package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// MaxAnswer bounds what is read of an answer. A page of history of 200 messages with
// their blocks is well below it.
const MaxAnswer = 8 << 20

var errTooLarge = fmt.Errorf("answer larger than %d MB", MaxAnswer>>20)

// NewClient returns the client for all requests of one destination: no
// redirects (they would carry the token elsewhere), bounded answers, and errors
// that say whether the request may have reached the other side. Time limits
// come from the context of each call: http.Client.Timeout would replace those
// errors by one that no longer says it.
func NewClient(timeout time.Duration) *http.Client {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost = 4
	tr.TLSHandshakeTimeout = timeout
	tr.ResponseHeaderTimeout = timeout
	tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return &http.Client{
		Transport:     &transport{next: tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// SendError is a failed exchange.
type SendError struct {
	Sent bool // the request may have been written, in part or whole
	Err  error
}

func (e *SendError) Error() string { return e.Err.Error() }
func (e *SendError) Unwrap() error { return e.Err }

type transport struct{ next *http.Transport }

func (t *transport) CloseIdleConnections() { t.next.CloseIdleConnections() }

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	// From the moment a connection is handed over, bytes may be on the wire.
	var sent atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, &SendError{Sent: sent.Load(), Err: err}
	}
	resp.Body = &boundedBody{r: io.LimitReader(resp.Body, MaxAnswer+1), c: resp.Body}
	return resp, nil
}

// boundedBody fails instead of going on for ever, and marks read errors as
// coming after the request was sent.
type boundedBody struct {
	r io.Reader
	c io.Closer
	n int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > MaxAnswer {
		return 0, &SendError{Sent: true, Err: errTooLarge}
	}
	if err != nil && err != io.EOF {
		err = &SendError{Sent: true, Err: err}
	}
	return n, err
}

func (b *boundedBody) Close() error { return b.c.Close() }

// Redact drops the address, which is a secret for a webhook.
func Redact(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return err
}

// CheckURL wants HTTPS, or plaintext to loopback. The address itself may be a
// secret and is not in the error.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		return errors.New("not an address: want https://host/path")
	case u.User != nil:
		return errors.New("credentials in an address are not supported")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("plaintext to %s refused: use https (http is for loopback)", u.Hostname())
	}
	return fmt.Errorf("scheme %q: use https", u.Scheme)
}

func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func Masked(secret string) string {
	if secret == "" {
		return "-"
	}
	return "****"
}
