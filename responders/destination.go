package responders

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Secret is a value that is never printed.
type Secret string

const masked = "****"

// String, GoString and MarshalText print a mask, or nothing when empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString masks the %#v form.
func (s Secret) GoString() string { return s.String() }

// MarshalText masks every encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML masks YAML.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Reveal returns the secret for the service it belongs to.
func (s Secret) Reveal() string { return string(s) }

// Common is what every destination's configuration has.
type Common struct {
	Name        string   `yaml:"name" doc:"what routes, status and notify call it; letters, digits, . - _"`
	MinSeverity string   `yaml:"min_severity" doc:"info, low, medium (default), high or critical"`
	Rules       []string `yaml:"rules" doc:"rule ids or globs; empty is all"`
	Language    string   `yaml:"language" doc:"en (default) or zh"`
	Timezone    string   `yaml:"timezone" doc:"zone of times, such as Asia/Shanghai; default UTC for en, Beijing for zh"`
	CatchUp     Duration `yaml:"catch_up" doc:"after a long stop, alerts below high on events older than this are only listed in a digest (default 1h)"`
	Timeout     Duration `yaml:"timeout" doc:"of one call (default 10s)"`
}

// Base returns c itself: what embeds a Common has half of a Spec.
func (c Common) Base() Common { return c }

// Location is the reader's time zone; nil is the language's own.
func (c Common) Location() *time.Location {
	if c.Timezone == "" {
		return nil
	}
	z, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return nil // Faults has said so
	}
	return z
}

// CallTimeout is the configured time limit of one call, or its default.
func (c Common) CallTimeout() time.Duration {
	if c.Timeout <= 0 {
		return 10 * time.Second
	}
	return c.Timeout.Std()
}

// Faults says what is wrong with the common part.
func (c Common) Faults() []Fault {
	var out []Fault
	bad := func(field, format string, args ...any) { out = append(out, Fault{field, fmt.Sprintf(format, args...)}) }
	switch {
	case c.Name == "":
		bad("name", "a destination needs a name")
	case !validName(c.Name):
		bad("name", "%q: want 1 to 64 letters, digits, dots, hyphens or underscores", c.Name)
	}
	if c.MinSeverity != "" {
		if _, err := alert.ParseSeverity(c.MinSeverity); err != nil {
			bad("min_severity", "%v", err)
		}
	}
	if c.Language != "" && c.Language != "en" && c.Language != "zh" {
		bad("language", "%q: want en or zh", c.Language)
	}
	if c.Timezone != "" {
		if _, err := time.LoadLocation(c.Timezone); err != nil {
			bad("timezone", "%q: want a name such as Asia/Shanghai or UTC", c.Timezone)
		}
	}
	return out
}

// Fault is one thing wrong with a destination's configuration.
type Fault struct {
	Field   string // the key
	Message string // without the value where that may be a secret
}

func (f Fault) Error() string { return f.Field + ": " + f.Message }

// JoinFaults is nil when there are none.
func JoinFaults(fs []Fault) error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// Spec is the configuration of one destination, and all that a kind of
// destination has to bring: its package defines a type with this, and the
// configuration's notify section a list of them.
type Spec interface {
	Base() Common
	// Check says everything that is wrong, the common part included. It calls
	// nobody.
	Check() []Fault
	// Notifier makes the destination. It does not connect. A nil log is silent.
	Notifier(log *slog.Logger) (Notifier, error)
}

// Static is a Notifier whose messages cannot be edited. Update is then called
// only for what people must hear: a worse severity, an action's new state, a
// count that grew tenfold; it sends a further message, which says what changed.
type Static interface {
	Static()
}

// Takes says whether a destination with this list of rules is told of one.
func Takes(rules []string, rule string) bool { return len(rules) == 0 || globAny(rules, rule) }

// NewDestination makes the destination of a Spec with its settings.
func NewDestination(s Spec, log *slog.Logger) (Destination, error) {
	c := s.Base()
	n, err := s.Notifier(log)
	if err != nil {
		return Destination{}, err
	}
	d := Destination{Notifier: n, Rules: c.Rules, CatchUpAge: c.CatchUp.Std(), Timeout: c.CallTimeout() + 10*time.Second}
	if c.MinSeverity != "" {
		if d.MinSeverity, err = alert.ParseSeverity(c.MinSeverity); err != nil {
			return d, err
		}
	}
	return d, nil
}
