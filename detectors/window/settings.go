package window

import (
	"errors"
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
)

// FieldError is a setting that cannot be used.
type FieldError struct {
	Key string // the key in the rule file
	Msg string
}

func (e *FieldError) Error() string { return e.Key + ": " + e.Msg }

// Bad makes a FieldError. Every check of every detector has one: not inlined (DESIGN D23).
//
//go:noinline
func Bad(key, format string, args ...any) error {
	return &FieldError{Key: key, Msg: fmt.Sprintf(format, args...)}
}

// Config is the settings of a detector: Validate returns a *FieldError for
// the first setting that cannot be used.
type Config interface{ Validate() error }

// Factory turns a detector's defaults and constructor into a factory for
// rules.
func Factory[C Config](defaults func() C, build func(C) detectors.Detector) detectors.Factory {
	return func(s detectors.Settings) (func() detectors.Detector, error) {
		c := defaults()
		if err := s.Decode(&c); err != nil {
			return nil, err
		}
		if err := c.Validate(); err != nil {
			var f *FieldError
			if errors.As(err, &f) {
				return nil, s.Errorf(f.Key, "%s: %s", f.Key, f.Msg)
			}
			return nil, err
		}
		return func() detectors.Detector { return build(c) }, nil
	}
}

// MaxWindow is the longest window a detector accepts.
const MaxWindow = 400 * 24 * time.Hour

// CheckWindow returns an error unless a window is over 0 and at most max.
func CheckWindow(key string, d, max time.Duration) error {
	if d <= 0 {
		return Bad(key, "must be a duration over 0, for example 10m")
	}
	if d > max {
		return Bad(key, "%s is longer than the most this detector keeps, %s", d, max)
	}
	return nil
}

// CheckRange returns an error unless min ≤ n ≤ max.
func CheckRange(key string, n, min, max int) error {
	if n < min || n > max {
		return Bad(key, "%d is not between %d and %d", n, min, max)
	}
	return nil
}

// CheckBounds checks max_keys and max_bytes.
func CheckBounds(keys, bytes int) error {
	if err := CheckRange("max_keys", keys, 1, 10_000_000); err != nil {
		return err
	}
	return CheckRange("max_bytes", bytes, 64<<10, 16<<30)
}
