package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// webhookError is a webhook's refusal: a code as text instead of "ok".
type webhookError struct {
	status int
	code   string
}

func (e *webhookError) Error() string {
	return fmt.Sprintf("answer %d %q", e.status, e.code)
}

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
	out := &Error{Platform: "slack", Destination: destination, Method: method}
	var (
		limited *slackapi.RateLimitedError
		refused slackapi.SlackErrorResponse
		status  slackapi.StatusCodeError
		send    *wire.SendError
		hook    *webhookError
		number  *strconv.NumError
	)
	switch {
	case errors.As(err, &limited):
		after := min(max(limited.RetryAfter, time.Second), wire.MaxPause)
		out.Cause = fmt.Errorf("too many requests, come back in %s", after)
		out.Kind = &responders.RetryAfterError{After: after, Err: responders.ErrRetry}
	case errors.As(err, &refused):
		out.Code = text.Cut(text.Line(refused.Err), 80)
		out.Cause = errors.New(out.Code)
		out.Hint = hints[refused.Err]
		if refused.Needed != "" {
			out.Hint = "scope needed: " + text.Cut(text.Line(refused.Needed), 100)
		}
		if msgs := refused.ResponseMetadata.Messages; len(msgs) > 0 && out.Hint == "" {
			out.Hint = text.Cut(text.Line(strings.Join(msgs, "; ")), 200)
		}
		switch {
		case retryCodes[refused.Err]:
			out.Kind = &responders.RetryAfterError{After: wire.DefaultPause, Err: responders.ErrRetry}
		case inDoubtCodes[refused.Err]:
			out.Kind = responders.ErrInDoubt
		}
	case errors.As(err, &status):
		out.Cause = fmt.Errorf("HTTP status %d", status.Code)
		switch {
		case status.Code == http.StatusTooManyRequests:
			out.Kind = &responders.RetryAfterError{After: wire.DefaultPause, Err: responders.ErrRetry}
		case status.Code >= 500, status.Code == http.StatusRequestTimeout:
			out.Kind = responders.ErrInDoubt
		case status.Code >= 300 && status.Code < 400:
			out.Hint = "redirects are not followed: check the address"
		}
	case errors.As(err, &hook):
		out.Code, out.Cause = hook.code, hook
		if hook.status == http.StatusOK {
			out.Kind = responders.ErrInDoubt // something between us and Slack answered
		}
	case errors.As(err, &send):
		out.Cause = wire.Redact(send.Err)
		if send.Sent {
			out.Kind = responders.ErrInDoubt
		} else {
			out.Kind = responders.ErrRetry
		}
	case errors.As(err, &number): // a Retry-After that is no number
		out.Cause = errors.New("too many requests")
		out.Kind = &responders.RetryAfterError{After: wire.DefaultPause, Err: responders.ErrRetry}
	case isDecode(err), errors.Is(err, errNoSense):
		out.Cause = errNoSense // the request was taken by something
		out.Kind = responders.ErrInDoubt
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// http.Client noticed before or after the transport did: not known.
		out.Cause, out.Kind = wire.Redact(err), responders.ErrInDoubt
	default:
		out.Cause = wire.Redact(err)
	}
	return out
}

func isDecode(err error) bool {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &typ) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Error is a failure of a Slack call, see wire.Error.
type Error = wire.Error
