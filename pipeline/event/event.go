package event

import (
	"net/netip"
	"time"
)

// Event is one parsed ActionTrail record. It is immutable after Parse and may
// be read by several goroutines. Strings may share memory with the record, so
// an Event keeps its record alive.
//
// Absent facts are zero values: an empty string is "not said", never "no".
type Event struct {
	// ID is eventId as written. Unique by documentation; overlapping trails
	// repeat it, so duplicates are recognised by (Recipient, ID).
	ID string
	// Name, Service and Type are eventName, serviceName and eventType as
	// written. Their letter case is not uniform in real data: compare
	// NameFold and ServiceFold, which are lower case.
	Name, Service, Type   string
	NameFold, ServiceFold string
	// Action is the canonical action ("iam.accesskey.create"): one name for
	// the same act done through twin services (Ram, Ims, ResourceManager;
	// AasSub, AasCustomer, CloudSSO). Empty when the act has none.
	Action Action
	// Time is when it happened (eventTime, UTC); zero when the record does
	// not say, never a made-up one.
	Time time.Time

	Source      string // eventSource: endpoint host
	Region      string // acsRegion
	RequestID   string
	RW          RW     // Read, Write or unknown
	Category    string // "Management", "Insight", "Data" in this spelling, or another word as written
	APIVersion  string
	UserAgent   string
	VPCID       string
	Recipient   string // recipientAccountId, else the identity's account
	Global      bool   // isGlobal
	Sensitive   bool   // eventAttributes.SensitiveAction: Alibaba's own mark
	InsightType string // insightDetails.insightType of an Insight event

	// ErrorCode and ErrorMessage are cleaned: the many ways of saying
	// "no error" ("", "null", "success", …) are empty here.
	ErrorCode, ErrorMessage string
	// Outcome is Success, or Attempt when the call was refused or failed:
	// an attempt changed nothing.
	Outcome Outcome

	Actor   Actor
	Address Address
	Target  Target
	// MFA says whether a second factor was checked, from whichever place the
	// record hides it (sign-in flags of either spelling, CloudSSO parameter,
	// session context).
	MFA Tri

	raw   []byte // the JSON object of the record itself
	brief *Brief // of an outline whose record was left where it is
	subs  subdocs
}

// Outcome says whether the call took effect.
type Outcome uint8

// The outcomes, with the words used in JSON and in rules.
const (
	Success Outcome = iota // "success"
	Attempt                // "attempt"
)

// RW is eventRW.
type RW uint8

// The values of eventRW.
const (
	RWUnknown RW = iota // ""
	Read                // "Read"
	Write               // "Write"
)

// Tri is a three-valued truth: real records often do not say.
type Tri uint8

// The values of Tri, with the words used in rules.
const (
	Unknown Tri = iota // "unknown"
	Yes                // "yes"
	No                 // "no"
)

// IdentityType is userIdentity.type.
type IdentityType uint8

// The identity types met in real records.
const (
	IdentityUnknown IdentityType = iota // "unknown"
	RootAccount                         // "root-account"
	RAMUser                             // "ram-user"
	AssumedRole                         // "assumed-role"
	SAMLUser                            // "saml-user"
	OIDCUser                            // "oidc-user"
	CloudSSOUser                        // "cloudsso-user"
	CloudAccount                        // "alibaba-cloud-account"
	System                              // "system"
)

// CallerKind sorts callers centrally, so that every rule excludes the cloud's
// own services in the same way.
type CallerKind uint8

// The caller kinds, with the words used in rules.
const (
	CallerUnknown CallerKind = iota // "unknown"
	Human                           // "human": console, SSO or a person's key
	Workload                        // "workload": role sessions, SDK callers, what acts through a service in a user's or role's name
	Service                         // "service": system identities and service-linked roles; never by the address alone, which a caller can choose
)

// KeyKind is what sort of credential id accessKeyId is.
type KeyKind uint8

// The key kinds, with the words used in rules.
const (
	KeyNone      KeyKind = iota // "": absent, or the literal NULL
	KeyLongTerm                 // "long-term": LTAI…, or an old bare 16-character id
	KeySTS                      // "sts": STS.…
	KeyTemporary                // "tmp": TMP.… of a root console session
	KeyMasked                   // "masked": contains ***, cannot be compared
	KeyOther                    // "other"
)

// Actor is who made the call.
type Actor struct {
	Type IdentityType
	Kind CallerKind
	// Account is the account the identity belongs to; for a role, the
	// account the role is in.
	Account string
	// Principal is principalId as written (18 digits, RoleID:Session, …).
	Principal string
	// Name is the user name in one form: the part before @ of a UPN, the
	// role name for a role, "root" for a root account whatever the record
	// calls it. Display is the name as written.
	Name, Display string
	// ID identifies the actor for state and for comparison with a target:
	// "root/<account>", "user/<account>/<name>", "role/<account>/<role>",
	// "sso/<account>/<name>", "saml/<account>/<name>", "service/<name>".
	// A role is its role, never its session or rotating key.
	ID string
	// Key is accessKeyId; empty when absent or NULL.
	Key     string
	KeyKind KeyKind
	// Role and Session are set for assumed roles. The session name is chosen
	// by the caller: never proof of identity.
	Role, Session string
	// CallerAccount is the account that assumed the role from outside
	// (stsTokenPlayerUid), empty when it is the role's own or not said.
	CallerAccount string
	// SessionMFA is sessionContext…mfaAuthenticated: how the session was
	// opened.
	SessionMFA Tri
	// ServiceLinked marks roles named AliyunServiceRoleFor….
	ServiceLinked bool
}

// AddressKind is what sourceIpAddress holds: often not an address.
type AddressKind uint8

// The address kinds, with the words used in rules.
const (
	AddressAbsent        AddressKind = iota // "absent"
	AddressPublic                           // "public"
	AddressPrivate                          // "private": RFC 1918, ULA, loopback, link-local
	AddressCloudInternal                    // "cloud-internal": 11.0.0.0/8, 100.64.0.0/10
	AddressService                          // "service": a service domain
	AddressInternal                         // "internal": the word Internal
	AddressMasked                           // "masked": 42.120.XX.XX, 1.2.3.***
	AddressOther                            // "other"
)

// Address is where the call came from.
type Address struct {
	Kind AddressKind
	// IP is the parsed address, IPv4-mapped forms unmapped; invalid unless
	// Kind is public, private or cloud-internal.
	IP netip.Addr
	// Text is sourceIpAddress as written (or UserClientIp where the record
	// says Internal and gives the true client there).
	Text string
}

// Target is what was acted on, where it is an identity or a named object.
type Target struct {
	Type string // "user", "role", "group", "policy", "accesskey", "trail", "account", …; "" when none
	// ID has the form of Actor.ID for identities, so that acting on oneself
	// is Target.ID == Actor.ID; for other objects "<type>/<account>/<name>".
	ID, Name string
	// Key is the AccessKey id acted on, where one is named in request or response.
	Key string
}
