package detectors

import (
	"fmt"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Rule is what the engine needs to know of one compiled rule. What the rule
// says (its texts, its keys) comes from a Session.
type Rule struct {
	ID      string
	Version int
	// Digest identifies what the rule says, to the letter.
	Digest string
	// Shadow rules are evaluated and counted and make no detection.
	Shadow bool
	// Policy rules read policy facts: their match is decided in order.
	Policy bool
	// New makes the rule's detector; nil for a rule without state.
	New func() Detector
	// State identifies what the detector's state depends on: its type, its
	// settings and its keys. After a restart, state is taken over only where
	// it is the same.
	State string
	// Signals is set for a rule whose detector observes detections of other
	// rules; its match and keys are evaluated on their events.
	Signals *Signals
	// Cond is for the index.
	Cond Cond
}

// RuleSet is a compiled, immutable set of rules; safe for concurrent use. The
// number of a rule is its place in Rules.
type RuleSet interface {
	Rules() []Rule
	Index() *Index
	// NewSession returns what evaluates the rules' expressions, for use by
	// one goroutine.
	NewSession() Session
	// Hash identifies rules and settings; equal sets have equal hashes.
	Hash() string
}

// Excepter is a RuleSet with exceptions. NewExcept returns what withholds a
// detection and why, for use by one goroutine; nil when there is nothing to
// withhold. An engine asks it after EngineConfig.Except.
type Excepter interface {
	NewExcept() func(ev *event.Event, d *alert.Detection) (reason string, withhold bool)
}

// withExceptions adds a rule set's exceptions to those of the configuration.
func (c *EngineConfig) withExceptions(set RuleSet) {
	x, ok := set.(Excepter)
	if !ok {
		return
	}
	theirs, ours := x.NewExcept(), c.Except
	switch {
	case theirs == nil:
	case ours == nil:
		c.Except = theirs
	default:
		c.Except = func(ev *event.Event, d *alert.Detection) (string, bool) {
			if reason, withhold := ours(ev, d); withhold {
				return reason, true
			}
			return theirs(ev, d)
		}
	}
}

// Pair is one observation's key and value.
type Pair struct{ Key, Value string }

// Session evaluates expressions of a rule set on one event at a time.
type Session interface {
	// Begin makes ev the event that the other methods speak of, without
	// policy facts. A nil event has no fact at all.
	Begin(ev *event.Event)
	// SetPolicy adds policy facts to it, SetKin where its actor comes from.
	SetPolicy(facts PolicyFacts)
	SetKin(k Kin)
	// Match evaluates the rule's condition.
	Match(rule int) (bool, error)
	// Pairs appends the observations that the rule's detector is to make of
	// an event that matched. Keys and values do not share memory with the
	// event's record.
	Pairs(rule int, out []Pair) ([]Pair, error)
	// Detection says what the rule has to say: about the event of Begin, or
	// about the verdict of its detector on an observation. The pair is empty
	// for a verdict that came with the watermark.
	Detection(rule int, v *Verdict, on Pair) (alert.Detection, error)
}

// Leaver is a Session that can leave out of a condition what the index has
// proved already.
type Leaver interface {
	// MatchLeft is Match for an event of which the Index of the session's set
	// says that it may match: tests of which Cond.Single is true, and that all
	// must hold, need not be made again.
	MatchLeft(rule int) (bool, error)
	// MayMatch says of a rule that reads what is known only in event-time order,
	// for such an event, whether Match can be true then. One that is not judged
	// will have no policy facts.
	MayMatch(rule int, judged bool) bool
}

// Kinder is a Session that remembers what it finds out about all events of one
// kind: of one name and service in lower case, and one action.
type Kinder interface {
	// BeginKind is Begin for an event of which kind something may be kept, for the
	// session that is given it again with each such event.
	BeginKind(ev *event.Event, kept *[]string)
}

// RuleError says that a rule could not be evaluated for an event. Other rules
// are not affected.
type RuleError struct {
	Rule    string
	EventID string // empty when the error is not about one event
	Err     error
}

func (e RuleError) Error() string {
	if e.EventID == "" {
		return fmt.Sprintf("rule %s: %v", e.Rule, e.Err)
	}
	return fmt.Sprintf("rule %s not evaluated for event %s: %v", e.Rule, e.EventID, e.Err)
}

// Unwrap returns the cause.
func (e RuleError) Unwrap() error { return e.Err }

// PolicyAction says whether an act changes what somebody may do, gives away or
// takes a user's sign-in or key, or is about where a trail delivers, so that the
// policy judge has facts about it.
func PolicyAction(a event.Action) bool {
	s := string(a)
	switch {
	case strings.HasPrefix(s, "iam."):
		s = s[len("iam."):]
		return strings.HasPrefix(s, "policy.") || strings.HasPrefix(s, "policy_version.") ||
			strings.HasPrefix(s, "role.") || strings.HasPrefix(s, "group.") || strings.HasPrefix(s, "user.") ||
			strings.HasPrefix(s, "login_profile.") || s == "security_preference.set" || s == "password_policy.set" ||
			strings.HasPrefix(s, "accesskey") || s == "verification.set" || s == "mfa.bind"
	case strings.HasPrefix(s, "org.control_policy."), strings.HasPrefix(s, "org.account."), strings.HasPrefix(s, "org.folder."), strings.HasPrefix(s, "sso."):
		return true
	case strings.HasPrefix(s, "oss.bucket."), strings.HasPrefix(s, "sls.project"), strings.HasPrefix(s, "trail."), s == "kms.key_policy.set", s == "kms.secret_policy.set":
		return true
	}
	return passesRole(a) || a == event.ActSTSAssumeRole
}

// passesRole says whether an act hands a role to code: what runs there may do
// what the role may do. It stands in several places, so it is not inlined (DESIGN D23).
//
//go:noinline
func passesRole(a event.Action) bool {
	switch a {
	case event.ActECSInstanceCreate, event.ActECSLaunchTemplateCreate, event.ActESSConfigurationCreate, event.ActECIContainerGroupCreate,
		event.ActFCFunctionCreate, event.ActFCFunctionUpdate, event.ActROSStackCreate, event.ActFNFFlowCreate,
		event.ActOOSExecutionStart, event.ActOOSTemplateCreate:
		return true
	}
	return false
}

// RoleParams are the parameters that may name the role that is handed to code. All
// have the word role in their last name.
var RoleParams = []string{"RamRoleName", "RoleArn", "role", "body.role", "Parameters.OOSAssumeRole", "Content.RamRole", "TemplateContent.RamRole"}

// RoleOf is the role that a call hands to code, or "". A template of OOS may be
// written in YAML, where it stands on a line of its own.
func RoleOf(ev *event.Event) string {
	if !ev.ParamsMention("role") {
		return ""
	}
	for _, p := range RoleParams {
		if v, _ := ev.Param(p); v != "" && v != "null" {
			return v
		}
	}
	if ev.Action != event.ActOOSTemplateCreate && ev.Action != event.ActOOSExecutionStart {
		return ""
	}
	v, _ := ev.Param("Content")
	if v == "" {
		v, _ = ev.Param("TemplateContent")
	}
	_, v, _ = strings.Cut("\n"+v, "\nRamRole:")
	v, _, _ = strings.Cut(v, "\n")
	v, _, _ = strings.Cut(v, " #")
	return strings.Trim(v, " \t\r\"'")
}

// rarely says whether the judge need not see a call although its act may be
// judged: most that make hosts name no role, and most roles are assumed by no role.
func rarely(ev *event.Event) bool {
	return passesRole(ev.Action) && RoleOf(ev) == "" || ev.Action == event.ActSTSAssumeRole && ev.Actor.Type != event.AssumedRole
}

// judged says whether the policy judge must see an act: one that changes what
// somebody may do, or how a user signs in, which makes changes graver.
func judged(a event.Action) bool { return PolicyAction(a) || strings.HasPrefix(string(a), "iam.mfa.") }

// guard turns a panic in a rule or detector into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	}
}
