package detectors

// Settings is what a rule file says under `detector`, without the keys that
// the rule loader reads itself (type, by, value, and the match and by of
// steps).
type Settings interface {
	// Decode fills the struct that into points to, by its yaml tags. Fields
	// that the rule does not set keep the value they have, so defaults are
	// set before. Unknown keys and values of the wrong type are errors that
	// carry file, line, column and a suggestion. Supported field types:
	// string, bool, the integers, floats, time.Duration ("90s", "10m",
	// "14d"), slices, pointers, string-keyed maps and structs of these.
	Decode(into any) error
	// Errorf makes an error that points at the value of a key ("window",
	// "steps.1.count"), or at the whole detector when the key is not there.
	Errorf(key, format string, args ...any) error
}

// Factory checks the settings of one rule once, at load, and returns the
// function that makes an instance per partition. The function it returns must
// not fail and may be called from several goroutines.
type Factory func(Settings) (func() Detector, error)
