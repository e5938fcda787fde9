package responders

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span in configuration files: as Go writes them ("90s",
// "15m", "1h30m") or in whole days ("7d"). Never negative.
type Duration time.Duration

// Std returns it as the standard type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes it so that UnmarshalText reads it back.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if t := d.Std(); t >= day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	return d.Std().String()
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > 36500 {
			return fmt.Errorf("duration %q: want whole days up to 36500, such as 7d", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	t, err := time.ParseDuration(s)
	if err != nil || t < 0 {
		return fmt.Errorf("duration %q: want a span such as 90s, 15m, 1h30m or 7d", s)
	}
	*d = Duration(t)
	return nil
}

// or returns d, or the default when d is zero.
func (d Duration) or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d.Std()
}
