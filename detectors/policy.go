package detectors

import "github.com/trailwarden/trailwarden/pipeline/event"

// PolicyFacts is what the meaning of a permission change is, in the words
// that rules read under `policy.`. The zero value says nothing is known.
type PolicyFacts struct {
	// Known says that the change could be judged. When false, Expands is set
	// (unknown is handled as expanding) and Sentence says what is missing;
	// the other facts say nothing.
	Known bool
	// Verdict is expands, contracts, changes (both), equivalent or unknown.
	Verdict string
	// Expands: somebody can do more than before.
	Expands bool
	// AdminEquivalent: the grant amounts to full control of the account. Of what is
	// taken from a user: it did, and it was all that the user is known to have had;
	// of a user's sign-in: the user has that much.
	AdminEquivalent bool
	// Privileged: less than that, but a known way to it or to much damage.
	Privileged bool
	// Staged: the document is stored but not in force yet.
	Staged bool
	// ExternalTrust and PublicTrust: a role can be assumed from another
	// account, or by anybody.
	ExternalTrust, PublicTrust bool
	// FederatedTrust: an identity provider of the own account is let in that
	// was not before.
	FederatedTrust bool
	// TrustAccounts are the other accounts that ExternalTrust is about, with
	// "*" for whoever no account names: anybody, and what any identity of a
	// provider is. It is empty where it may be a user of the own account.
	TrustAccounts []string
	// DenyRemoved: a Deny statement or a guard rail was in force and is not.
	DenyRemoved bool
	// Self: who gains is who acted.
	Self bool
	// Trail: the project or bucket is one that a trail delivers to; of a change
	// of a trail, that it delivered elsewhere before.
	Trail bool
	// LockedOut is how many users, besides the caller, a change leaves without rights
	// who were administrators, or without the AccessKey that was switched off
	// or deleted, when no other is known; -1 for a group of administrators whose
	// members were not seen.
	LockedOut int
	// Networks are addresses from which a key may be used now, far from all that
	// keys of the account were known to be bound to; of a network its first.
	Networks []string
	// Paths are the escalation paths, E1 to E33, that what is gained opens.
	Paths []string
	// Adds says whether the change newly allows, or for a refused call would
	// have, an action that a pattern covers. Nil stands for no.
	Adds func(pattern string) bool
	// Severity is the judge's proposal, one of the severity words, or "".
	Severity string
	// Sentence says what changed in one sentence; Summary in a few words.
	// SentenceZH is the sentence in Chinese.
	Sentence, Summary, SentenceZH string
	// Details goes under the alert's details as `policy`; JSON-encodable
	// and deterministic.
	Details map[string]any
}

// PolicyJudge turns policy events into facts. It keeps the account's policy
// history, so it is called once for each policy event (see PolicyAction) and each
// change of AccessKeys and second factors, for which it has no facts, in
// event-time order except for late ones, from one goroutine. A judge that
// also implements Snapshotter has its state kept in the engine's snapshot.
type PolicyJudge interface {
	Judge(ev *event.Event) PolicyFacts
}

// Snapshotter is state that survives a restart: the encoding is versioned
// and deterministic, and Restore refuses what it does not know.
type Snapshotter interface {
	Snapshot() []byte
	Restore(data []byte) error
}
