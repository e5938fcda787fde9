package event

import "fmt"

// Each closed set below has String, giving the word used in JSON, rules and
// metrics.

var (
	outcomeWords  = []string{"success", "attempt"}
	rwWords       = []string{"", "Read", "Write"}
	triWords      = []string{"unknown", "yes", "no"}
	identityWords = []string{"unknown", "root-account", "ram-user", "assumed-role", "saml-user", "oidc-user", "cloudsso-user", "alibaba-cloud-account", "system"}
	callerWords   = []string{"unknown", "human", "workload", "service"}
	keyWords      = []string{"", "long-term", "sts", "tmp", "masked", "other"}
	addressWords  = []string{"absent", "public", "private", "cloud-internal", "service", "internal", "masked", "other"}
)

func word(words []string, kind string, v uint8) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("%s(%d)", kind, v)
}

// String returns "success" or "attempt".
func (o Outcome) String() string { return word(outcomeWords, "outcome", uint8(o)) }

// String returns "", "Read" or "Write".
func (r RW) String() string { return word(rwWords, "rw", uint8(r)) }

// String returns "unknown", "yes" or "no".
func (t Tri) String() string { return word(triWords, "tri", uint8(t)) }

// String returns the word as records write it, or "unknown".
func (t IdentityType) String() string { return word(identityWords, "identity", uint8(t)) }

// String returns "unknown", "human", "workload" or "service".
func (k CallerKind) String() string { return word(callerWords, "caller", uint8(k)) }

// String returns the word of a KeyKind, "" when there is no key.
func (k KeyKind) String() string { return word(keyWords, "key", uint8(k)) }

// String returns the word of an AddressKind.
func (k AddressKind) String() string { return word(addressWords, "address", uint8(k)) }
