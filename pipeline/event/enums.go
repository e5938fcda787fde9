package event

import "fmt"

// Each closed set below has String, giving the word used in JSON, rules and
// metrics, and a Parse function that reads the word back.

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

func parseWord(words []string, kind, s string) (uint8, error) {
	for i, w := range words {
		if w == s {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("%s %q: want one of %q", kind, s, words)
}

// String returns "success" or "attempt".
func (o Outcome) String() string { return word(outcomeWords, "outcome", uint8(o)) }

// ParseOutcome reads the word of an Outcome.
func ParseOutcome(s string) (Outcome, error) {
	v, err := parseWord(outcomeWords, "outcome", s)
	return Outcome(v), err
}

// String returns "", "Read" or "Write".
func (r RW) String() string { return word(rwWords, "rw", uint8(r)) }

// ParseRW reads the word of an RW.
func ParseRW(s string) (RW, error) {
	v, err := parseWord(rwWords, "rw", s)
	return RW(v), err
}

// String returns "unknown", "yes" or "no".
func (t Tri) String() string { return word(triWords, "tri", uint8(t)) }

// ParseTri reads the word of a Tri.
func ParseTri(s string) (Tri, error) {
	v, err := parseWord(triWords, "tri", s)
	return Tri(v), err
}

// String returns the word as records write it, or "unknown".
func (t IdentityType) String() string { return word(identityWords, "identity", uint8(t)) }

// ParseIdentityType reads the word of an IdentityType.
func ParseIdentityType(s string) (IdentityType, error) {
	v, err := parseWord(identityWords, "identity type", s)
	return IdentityType(v), err
}

// String returns "unknown", "human", "workload" or "service".
func (k CallerKind) String() string { return word(callerWords, "caller", uint8(k)) }

// ParseCallerKind reads the word of a CallerKind.
func ParseCallerKind(s string) (CallerKind, error) {
	v, err := parseWord(callerWords, "caller kind", s)
	return CallerKind(v), err
}

// String returns the word of a KeyKind, "" when there is no key.
func (k KeyKind) String() string { return word(keyWords, "key", uint8(k)) }

// ParseKeyKind reads the word of a KeyKind.
func ParseKeyKind(s string) (KeyKind, error) {
	v, err := parseWord(keyWords, "key kind", s)
	return KeyKind(v), err
}

// String returns the word of an AddressKind.
func (k AddressKind) String() string { return word(addressWords, "address", uint8(k)) }

// ParseAddressKind reads the word of an AddressKind.
func ParseAddressKind(s string) (AddressKind, error) {
	v, err := parseWord(addressWords, "address kind", s)
	return AddressKind(v), err
}
