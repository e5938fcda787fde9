package cred

import (
	"os"
	"regexp"
	"strings"
	"unicode"
)

// Values after names that hold secrets, in JSON, in forms and in text.
var secretField = regexp.MustCompile(`(?i)("?(?:access_?key_?secret|security_?token|sts_?token|oidc_?token|password|signature|private_?key|secret)"?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|[^\s,;&}]+)`)

// Long runs without structure: keys and tokens are, words and paths are not.
var opaque = regexp.MustCompile(`[A-Za-z0-9+=_-]{28,}(?:/[A-Za-z0-9+=_-]+)*`)

// Names of the environment variables that the vendor's programs read.
var variable = regexp.MustCompile(`^ALIBABA_CLOUD(?:_[A-Z]+)+$`)

const scrubMax = 500

// Scrub makes a foreign error text safe to show: the given secrets, the
// secrets in the environment, values of secret fields and long opaque runs
// are masked, control characters removed and the length bounded.
func Scrub(s string, secrets ...string) string {
	for _, name := range []string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_OIDC_TOKEN"} {
		secrets = append(secrets, os.Getenv(name))
	}
	for _, v := range secrets {
		if len(v) >= 6 { // shorter ones would blank out ordinary words
			s = strings.ReplaceAll(s, v, mask)
		}
	}
	s = secretField.ReplaceAllString(s, "${1}"+mask)
	s = opaque.ReplaceAllStringFunc(s, func(run string) string {
		if variable.MatchString(run) { // what to set is no secret
			return run
		}
		return mask
	})
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) {
			return ' '
		}
		return r
	}, s)
	if len(s) > scrubMax {
		s = strings.ToValidUTF8(s[:scrubMax], "") + "…"
	}
	return s
}
