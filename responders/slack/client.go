package slack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// maxAnswer bounds what is read of an answer. A page of history of 200 messages with
// their blocks is well below it.
const maxAnswer = 8 << 20

var errTooLarge = fmt.Errorf("answer larger than %d MB", maxAnswer>>20)

// newHTTPClient returns the client for all requests of one destination: no
// redirects (they would carry the token elsewhere), bounded answers, and errors
// that say whether the request may have reached the other side. Time limits
// come from the context of each call: http.Client.Timeout would replace those
// errors by one that no longer says it.
func newHTTPClient(timeout time.Duration) *http.Client {
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

// sendError is a failed exchange.
type sendError struct {
	sent bool // the request may have been written, in part or whole
	err  error
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// webhookError is a webhook's refusal: a code as text instead of "ok".
type webhookError struct {
	status int
	code   string
}

func (e *webhookError) Error() string {
	return fmt.Sprintf("answer %d %q", e.status, e.code)
}

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
		return nil, &sendError{sent: sent.Load(), err: err}
	}
	resp.Body = &boundedBody{r: io.LimitReader(resp.Body, maxAnswer+1), c: resp.Body}
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
	if b.n += int64(n); b.n > maxAnswer {
		return 0, &sendError{sent: true, err: errTooLarge}
	}
	if err != nil && err != io.EOF {
		err = &sendError{sent: true, err: err}
	}
	return n, err
}

func (b *boundedBody) Close() error { return b.c.Close() }

// webhookTransport turns everything but "ok" into an error: slack-go looks at the
// status alone, and a portal's sign-in page has status 200 too.
type webhookTransport struct{ next http.RoundTripper }

func (t webhookTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		return resp, nil
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if body := strings.TrimSpace(string(head)); resp.StatusCode != http.StatusOK || body != "ok" {
		return nil, &webhookError{status: resp.StatusCode, code: text.Cut(text.Line(body), 80)}
	}
	resp.Body = io.NopCloser(bytes.NewReader(head))
	return resp, nil
}

// Error is a failure of a Slack call, without secrets. errors.Is and errors.As
// find what to do (responders.ErrInDoubt, responders.ErrRetry,
// *responders.RetryAfterError); neither means that it is final.
type Error struct {
	Destination string
	Method      string // "chat.postMessage", "webhook", …
	// Code is Slack's error code, empty when there was no such answer.
	Code string
	// Hint says what to do about it, when there is something.
	Hint string
	kind error // nil: final
	err  error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("slack %s: %s: %s", e.Destination, e.Method, e.err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// Final says that repeating the same request would not help.
func (e *Error) Final() bool { return e.kind == nil }

// defaultPause is how long to stay away after a 429 that does not say.
const defaultPause = 30 * time.Second

// maxPause bounds what a platform may ask for.
const maxPause = time.Hour

// hints for codes that a person has to act on.
var hints = map[string]string{
	"invalid_auth":       "the token is wrong: copy the bot token (xoxb-…) again",
	"not_authed":         "the token is empty",
	"account_inactive":   "the app was removed from the workspace: install it again",
	"token_revoked":      "the token was revoked: install the app again",
	"token_expired":      "the token expired: install the app again",
	"missing_scope":      "add the scope to the app and install it again",
	"channel_not_found":  "check the channel id, and for a private channel invite the app",
	"not_in_channel":     "invite the app to the channel",
	"is_archived":        "the channel is archived: name another one",
	"message_not_found":  "somebody deleted the message",
	"restricted_action":  "a workspace rule forbids it: ask an administrator",
	"ekm_access_denied":  "the workspace's key management forbids it",
	"access_denied":      "a workspace rule forbids it: ask an administrator",
	"team_access_denied": "a workspace rule forbids it: ask an administrator",
}

// inDoubtCodes: Slack says of them that the work may have been done.
var inDoubtCodes = map[string]bool{
	"internal_error": true, "fatal_error": true, "service_unavailable": true, "request_timeout": true, "accesslimited": true,
}

// retryCodes: certainly not done, and may work later.
var retryCodes = map[string]bool{"team_added_to_org": true, "ratelimited": true, "rate_limited": true, "message_limit_exceeded": true}

// layoutCodes: Slack does not like the blocks; the text alone may pass.
var layoutCodes = map[string]bool{
	"invalid_blocks": true, "invalid_blocks_format": true, "msg_blocks_too_long": true, "invalid_attachments": true,
	"too_many_attachments": true, "attachment_payload_limit_exceeded": true, "block_mismatch": true,
}

// errNoSense is an answer that is not what the method answers.
var errNoSense = errors.New("an answer that makes no sense")

// classify turns what slack-go returned into an *Error.
func classify(destination, method string, err error) *Error {
	out := &Error{Destination: destination, Method: method}
	var (
		limited *slackapi.RateLimitedError
		refused slackapi.SlackErrorResponse
		status  slackapi.StatusCodeError
		send    *sendError
		hook    *webhookError
		number  *strconv.NumError
	)
	switch {
	case errors.As(err, &limited):
		after := min(max(limited.RetryAfter, time.Second), maxPause)
		out.err = fmt.Errorf("too many requests, come back in %s", after)
		out.kind = &responders.RetryAfterError{After: after, Err: responders.ErrRetry}
	case errors.As(err, &refused):
		out.Code = text.Cut(text.Line(refused.Err), 80)
		out.err = errors.New(out.Code)
		out.Hint = hints[refused.Err]
		if refused.Needed != "" {
			out.Hint = "scope needed: " + text.Cut(text.Line(refused.Needed), 100)
		}
		if msgs := refused.ResponseMetadata.Messages; len(msgs) > 0 && out.Hint == "" {
			out.Hint = text.Cut(text.Line(strings.Join(msgs, "; ")), 200)
		}
		switch {
		case retryCodes[refused.Err]:
			out.kind = &responders.RetryAfterError{After: defaultPause, Err: responders.ErrRetry}
		case inDoubtCodes[refused.Err]:
			out.kind = responders.ErrInDoubt
		}
	case errors.As(err, &status):
		out.err = fmt.Errorf("HTTP status %d", status.Code)
		switch {
		case status.Code == http.StatusTooManyRequests:
			out.kind = &responders.RetryAfterError{After: defaultPause, Err: responders.ErrRetry}
		case status.Code >= 500, status.Code == http.StatusRequestTimeout:
			out.kind = responders.ErrInDoubt
		case status.Code >= 300 && status.Code < 400:
			out.Hint = "redirects are not followed: check the address"
		}
	case errors.As(err, &hook):
		out.Code, out.err = hook.code, hook
		if hook.status == http.StatusOK {
			out.kind = responders.ErrInDoubt // something between us and Slack answered
		}
	case errors.As(err, &send):
		out.err = redact(send.err)
		if send.sent {
			out.kind = responders.ErrInDoubt
		} else {
			out.kind = responders.ErrRetry
		}
	case errors.As(err, &number): // a Retry-After that is no number
		out.err = errors.New("too many requests")
		out.kind = &responders.RetryAfterError{After: defaultPause, Err: responders.ErrRetry}
	case isDecode(err), errors.Is(err, errNoSense):
		out.err = errNoSense // the request was taken by something
		out.kind = responders.ErrInDoubt
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// http.Client noticed before or after the transport did: not known.
		out.err, out.kind = redact(err), responders.ErrInDoubt
	default:
		out.err = redact(err)
	}
	return out
}

func isDecode(err error) bool {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &typ) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// redact drops the address, which is a secret for a webhook.
func redact(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return err
}
