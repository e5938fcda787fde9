package ram

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders"
)

// Error is a call that failed. errors.Is finds the class that it belongs to:
// responders.ErrRetry (certainly without effect, may work later),
// responders.ErrInDoubt (may have taken effect), responders.ErrRefused
// (certainly without effect, and will not work later). It holds no secrets.
type Error struct {
	// Action is the product and call, such as "ram UpdateAccessKey".
	Action string
	// Code and Status are the cloud's answer, empty and 0 when there was none.
	Code      string
	Status    int
	RequestID string
	Detail    string
	Class     error
	After     time.Duration // the pause that the cloud asked for, 0 for none
	cause     error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Action + ": ")
	switch {
	case e.Code != "":
		fmt.Fprintf(&b, "%s (status %d)", e.Code, e.Status)
	case e.Status != 0:
		fmt.Fprintf(&b, "status %d", e.Status)
	default:
		b.WriteString("no answer")
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.RequestID != "" {
		b.WriteString(", request " + e.RequestID)
	}
	b.WriteString(": " + e.Class.Error())
	return b.String()
}

// Unwrap gives the class and, where there is one, the pause and the context's error.
func (e *Error) Unwrap() []error {
	out := []error{e.Class}
	if e.After > 0 && errors.Is(e.Class, responders.ErrRetry) {
		out = append(out, &responders.RetryAfterError{After: e.After, Err: responders.ErrRetry})
	}
	if e.cause != nil {
		out = append(out, e.cause)
	}
	return out
}

// code is the cloud's error code, "" for other errors.
func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// absent says that the cloud answered that the thing does not exist.
func absent(err error, what string) bool { return code(err) == "EntityNotExist."+what }

// ownCredentials says that it is us whom the cloud does not accept: codes that
// speak of the caller, never of the target.
func ownCredentials(o outcome) bool {
	switch {
	case strings.HasPrefix(o.code, "InvalidAccessKeyId"), strings.HasPrefix(o.code, "InvalidSecurityToken"),
		o.code == "MissingSecurityToken", o.code == "SignatureDoesNotMatch", o.code == "IncompleteSignature":
		return true
	case strings.HasPrefix(o.code, "Forbidden") && strings.Contains(o.message, "risk of leakage"):
		return true // the vendor's restrictive protection of a leaked key of ours
	}
	return false
}

// classify turns what happened on the wire into an error, nil for success.
// sdkErr is what the SDK (or a panic in it) said; it decides only where the
// wire was fine.
func classify(o op, w outcome, sdkErr error, secrets []string) error {
	e := &Error{Action: o.String(), Code: clean(w.code, 80), Status: w.status, RequestID: clean(w.requestID, 64), After: w.retryAfter}
	// doubt is the class of a failure after which a write may be in force.
	doubt := responders.ErrRetry
	if o.write {
		doubt = responders.ErrInDoubt
	}
	switch {
	case !w.answered && !w.sent:
		e.Class, e.Detail = responders.ErrRetry, "nothing was sent: "+reason(w.err, sdkErr, secrets)
		if errors.Is(w.err, errPlaintext) || errors.Is(w.err, errStrayHost) {
			e.Class = responders.ErrRefused
		}
		e.cause = contextErr(w.err, sdkErr)
	case !w.answered:
		e.Class, e.Detail = doubt, reason(w.err, sdkErr, secrets)
		if !o.write {
			e.cause = contextErr(w.err, sdkErr)
		}
	case w.status >= 200 && w.status < 300:
		switch {
		case !w.shaped:
			e.Class, e.Detail = doubt, "the answer is not one of the cloud's (it has no RequestId)"
		case sdkErr != nil:
			e.Class, e.Detail = doubt, "the answer could not be read: "+scrub(sdkErr.Error(), secrets)
		default:
			return nil
		}
	case w.shaped && (strings.HasPrefix(w.code, "Throttling") || w.status == 429):
		e.Class = responders.ErrRetry
	case w.code == "SignatureNonceUsed":
		// Something between us and the cloud sent the request twice: the
		// first may have worked.
		e.Class, e.Detail = doubt, "the cloud had seen this very request before"
	case w.status >= 500, !w.shaped, w.code == "":
		e.Class, e.Detail = doubt, scrub(w.message, secrets)
	case ownCredentials(w):
		e.Class = responders.ErrRefused
		e.Detail = "the cloud does not accept the responder's own credentials; check the role or key that respond.ram works with"
		if strings.HasPrefix(w.code, "Forbidden") {
			e.Detail = "the responder's own AccessKey is under Alibaba's protection of leaked keys; give it another, or better a role"
		}
	default:
		e.Class, e.Detail = responders.ErrRefused, scrub(w.message, secrets)
		if w.code == "NoPermission" || strings.HasPrefix(w.code, "Forbidden") {
			e.Detail += denied(w.denied, secrets)
			e.Detail += "; grant the responder's role " + o.permission() + ", or remove the Deny"
		}
	}
	return e
}

// denied renders the parts of AccessDeniedDetail that say what to do.
func denied(d map[string]any, secrets []string) string {
	var parts []string
	for _, k := range []string{"AuthAction", "NoPermissionType", "PolicyType", "AuthPrincipalType", "AuthPrincipalDisplayName"} {
		if s, ok := d[k].(string); ok && s != "" {
			parts = append(parts, k+" "+clean(s, 120))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	out := strings.Join(parts, ", ")
	for _, s := range secrets { // the words are the vendor's: long, but no keys
		if len(s) >= 6 {
			out = strings.ReplaceAll(out, s, "[redacted]")
		}
	}
	return " [" + out + "]"
}

// reason is the transport's error without the URL, which holds the signature
// and the session token.
func reason(err, sdkErr error, secrets []string) string {
	if err == nil {
		err = sdkErr
	}
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case err == nil:
		return "the SDK gave up"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "stopped while waiting for the answer"
	}
	return scrub(err.Error(), secrets)
}

func contextErr(errs ...error) error {
	for _, err := range errs {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return context.DeadlineExceeded
		case errors.Is(err, context.Canceled):
			return context.Canceled
		}
	}
	return nil
}

func scrub(s string, secrets []string) string {
	return cred.Scrub(clean(s, 400), slices.Clone(secrets)...)
}

// clean bounds foreign text and takes control characters out of it.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return ' '
		}
		return r
	}, s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// refuse is a target that must not be acted on.
func refuse(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, responders.ErrRefused)...)
}

// settled is a wanted state that is there already.
func settled(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, responders.ErrSettled)...)
}

func drift(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, responders.ErrDrift)...)
}
