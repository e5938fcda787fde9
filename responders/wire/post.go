package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// maxReply bounds what Poster reads of an answer.
const maxReply = 64 << 10

// Poster makes the requests of one destination: each takes its turn at the
// limiter, is bounded in time, and fails with an *Error that says what is
// known. It is safe for concurrent use.
type Poster struct {
	Platform, Destination string
	Limit                 *Limiter
	Timeout               time.Duration
	client                *http.Client
}

// NewPoster returns a Poster with a client of its own.
func NewPoster(platform, destination string, limit *Limiter, timeout time.Duration) *Poster {
	return &Poster{Platform: platform, Destination: destination, Limit: limit, Timeout: timeout, client: NewClient(timeout)}
}

// Fail makes an error of this destination. A nil kind is final.
func (p *Poster) Fail(method string, kind, cause error, code, hint string) *Error {
	return &Error{Platform: p.Platform, Destination: p.Destination, Method: method, Code: code, Hint: hint, Kind: kind, Cause: cause}
}

// Limited is the failure after which the platform wants to be left alone: the
// whole destination pauses.
func (p *Poster) Limited(method, code string, after time.Duration) *Error {
	after = min(max(after, time.Second), MaxPause)
	p.Limit.Pause(after)
	return p.Fail(method, &responders.RetryAfterError{After: after, Err: responders.ErrRetry}, fmt.Errorf("too many requests, come back in %s", after), code, "")
}

// NoSense is the failure of an answer that is not what the method answers:
// something took the request.
func (p *Poster) NoSense(method string) *Error {
	return p.Fail(method, responders.ErrInDoubt, errors.New("an answer that makes no sense"), "", "")
}

// JSON posts body and returns the answer of a 2xx status.
func (p *Poster) JSON(ctx context.Context, method, address string, header http.Header, body []byte) ([]byte, error) {
	answer, _, err := p.Send(ctx, http.MethodPost, method, address, header, body)
	return answer, err
}

// Send is JSON with another verb. Of a status that is not 2xx it returns what
// was answered too, since some platforms say there what is wrong.
func (p *Poster) Send(ctx context.Context, verb, method, address string, header http.Header, body []byte) (answer []byte, status int, err error) {
	if err := p.Limit.Take(ctx); err != nil {
		return nil, 0, p.Fail(method, err, errors.New("not sent: "+err.Error()), "", "")
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, verb, address, bytes.NewReader(body))
	if err != nil {
		return nil, 0, p.Fail(method, nil, errors.New("the address cannot be used"), "", "")
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "trailwarden")
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, 0, p.transport(method, err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	status = resp.StatusCode
	if err != nil {
		return nil, status, p.transport(method, err)
	}
	if status/100 == 2 {
		return answer, status, nil
	}
	code := strconv.Itoa(status)
	cause := fmt.Errorf("HTTP status %d", status)
	switch {
	case status == http.StatusTooManyRequests:
		after := DefaultPause
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			after = time.Duration(s) * time.Second
		}
		return answer, status, p.Limited(method, code, after)
	case status >= 500, status == http.StatusRequestTimeout:
		return answer, status, p.Fail(method, responders.ErrInDoubt, cause, code, "")
	case status >= 300 && status < 400:
		return answer, status, p.Fail(method, nil, cause, code, "redirects are not followed: check the address")
	}
	return answer, status, p.Fail(method, nil, cause, code, text.Cut(text.Line(string(answer)), 120))
}

// transport classifies an exchange that ended without an answer.
func (p *Poster) transport(method string, err error) *Error {
	var send *SendError
	if errors.As(err, &send) {
		kind := responders.ErrRetry
		if send.Sent {
			kind = responders.ErrInDoubt
		}
		return p.Fail(method, kind, Redact(send.Err), "", "")
	}
	return p.Fail(method, responders.ErrInDoubt, Redact(err), "", "")
}

// Close releases idle connections.
func (p *Poster) Close() { p.client.CloseIdleConnections() }

// Again turns doubt into "try again", for platforms that recognise a repeat.
func Again(err error) error {
	var e *Error
	if errors.As(err, &e) && errors.Is(err, responders.ErrInDoubt) {
		out := *e
		out.Kind = responders.ErrRetry
		return &out
	}
	return err
}

// CheckAddress is CheckURL as a fault of a configuration, where the address is
// needed.
func CheckAddress(field, address string) []responders.Fault {
	if address == "" {
		return []responders.Fault{{Field: field, Message: "is missing; write https://… in full"}}
	}
	if err := CheckURL(address); err != nil {
		return []responders.Fault{{Field: field, Message: err.Error()}}
	}
	return nil
}
