package wire

import (
	"fmt"
	"time"
)

// Error is a failure of a call to a platform, without secrets. errors.Is and errors.As
// find what to do (responders.ErrInDoubt, responders.ErrRetry,
// *responders.RetryAfterError); neither means that it is final.
type Error struct {
	Platform    string // "slack", "dingtalk", …
	Destination string
	Method      string // "chat.postMessage", "webhook", …
	// Code is the platform's error code, empty when there was no such answer.
	Code string
	// Hint says what to do about it, when there is something.
	Hint string
	// Kind is one of the classes above; nil is final.
	Kind error
	// Cause is what happened, without secrets.
	Cause error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %s: %s", e.Platform, e.Destination, e.Method, e.Cause)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Cause}
	}
	return []error{e.Kind, e.Cause}
}

// Final says that repeating the same request would not help.
func (e *Error) Final() bool { return e.Kind == nil }

// DefaultPause is how long to stay away after a 429 that does not say.
const DefaultPause = 30 * time.Second

// MaxPause bounds what a platform may ask for.
const MaxPause = time.Hour
