package admin

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// SocketName is the socket's name in the state folder.
const SocketName = "admin.sock"

// Backend is what the running program offers.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Alerts(ctx context.Context, limit int) ([]alert.Alert, error)
	Alert(ctx context.Context, id string) (alert.Alert, []responders.ActionDetail, error)
	Card(ctx context.Context, alertID string) (responders.KeyCard, bool, error)
	Contain(ctx context.Context, alertID, kind, by string, params map[string]string) (responders.ActionDetail, error)
	Actions(ctx context.Context) ([]responders.ActionDetail, error)
	Action(ctx context.Context, id string) (responders.ActionDetail, error)
	Approve(ctx context.Context, id, by, hash string) (responders.ActionDetail, error)
	Deny(ctx context.Context, id, by, reason string) (responders.ActionDetail, error)
	Undo(ctx context.Context, id, by string) (responders.ActionDetail, error)
	Freeze(ctx context.Context, on bool, by, reason string) (responders.Freeze, error)
	Parked(ctx context.Context, limit int) ([]Parked, error)
	Redrive(ctx context.Context, reason string) (Redriven, error)
	NotifyBackend
	AuditLines(ctx context.Context, after uint64, limit int) ([]journal.AuditLine, error)
	AuditVerify(ctx context.Context, head string) (journal.AuditReport, error)
	AuditReplay(ctx context.Context, by string, r Replayed) error
	// Replaying takes how far a replay in another process has come.
	Replaying(ctx context.Context, r Replaying) error
	// RuleWork says what exceptions and rules in shadow did.
	RuleWork(ctx context.Context) (RuleWork, error)
	// ConsoleLink makes a link that signs a browser in to the console as by.
	ConsoleLink(ctx context.Context, by string) (Link, error)
	// Tap hands out records in the order in which they were stored: those of
	// the last frames, and with follow what is stored from then on, until ctx
	// ends or fn fails.
	Tap(ctx context.Context, frames int, follow bool, fn func(Tapped) error) error
}

// Link is where a browser finds the console, signed in.
type Link struct {
	URL string `json:"url"`
}

// Replayed is a replay that somebody made, for the audit log.
type Replayed struct {
	Inputs []string `json:"inputs"`
	Rules  string   `json:"rules"` // hash of the rule set
	Events uint64   `json:"events"`
	Alerts int      `json:"alerts"`
}

// AllFrames lets Tap begin with the first frame that is stored.
const AllFrames = math.MaxInt

// RuleWork is what exceptions withheld and what rules in shadow would have made,
// in the partitions of this process, since their state began.
type RuleWork struct {
	Pack string `json:"pack"`
	// Excepted counts withheld detections by reason ("exception <id>").
	Excepted map[string]uint64      `json:"excepted"`
	Shadow   map[string]alert.Noise `json:"shadow"`
	// Partitions are those counted here, of all there are.
	Partitions int `json:"partitions"`
	Of         int `json:"of"`
	// Times is what the rules took, the dearest first, since the program began.
	Times []RuleTime `json:"times"`
}

// RuleTime is what one rule took, of the events that were measured, one in
// pipeline.TimeEvery.
type RuleTime struct {
	Rule string `json:"rule"`
	// Match is when events arrive: the condition, and what the rule says where
	// it holds. Order is in event-time order: what its detector observes, or
	// the whole rule where it reads what a policy change means.
	Match Took `json:"match"`
	Order Took `json:"order"`
	// Share of the time of all rules.
	Share float64 `json:"share"`
}

// Took is how often a piece of work was measured, what it took in all, and the
// longest time.
type Took struct {
	Times   uint64  `json:"times"`
	Seconds float64 `json:"seconds"`
	Worst   float64 `json:"worst_seconds"`
}

// Mean is the average, 0 of nothing.
func (t Took) Mean() time.Duration {
	if t.Times == 0 {
		return 0
	}
	return time.Duration(math.Round(t.Seconds / float64(t.Times) * float64(time.Second)))
}

func (t Took) plus(o Took) Took {
	return Took{Times: t.Times + o.Times, Seconds: t.Seconds + o.Seconds, Worst: max(t.Worst, o.Worst)}
}

// JoinRuleTimes adds up what was measured in several places, works out the
// shares, and puts the dearest first.
func JoinRuleTimes(from ...[]RuleTime) []RuleTime {
	by, total := map[string]RuleTime{}, 0.0
	for _, list := range from {
		for _, r := range list {
			x := by[r.Rule]
			by[r.Rule] = RuleTime{Rule: r.Rule, Match: x.Match.plus(r.Match), Order: x.Order.plus(r.Order)}
			total += r.Match.Seconds + r.Order.Seconds
		}
	}
	out := make([]RuleTime, 0, len(by))
	for _, r := range by {
		if total > 0 {
			r.Share = (r.Match.Seconds + r.Order.Seconds) / total
		}
		out = append(out, r)
	}
	lists.Sort(out, func(a, b RuleTime) int { return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Rule, b.Rule)) })
	return out
}

// Tapped is one record as it was stored.
type Tapped struct {
	Partition int       `json:"partition"`
	Received  time.Time `json:"received"`
	Source    string    `json:"source"`
	Record    string    `json:"record"`
}

// Status is the state of a running program, as `trailwarden status` shows it.
type Status struct {
	Version    string            `json:"version"`
	Started    time.Time         `json:"started"`
	Ready      bool              `json:"ready"`
	Problems   []string          `json:"problems,omitempty"`
	Sources    []SourceStatus    `json:"sources"`
	Partitions []PartitionStatus `json:"partitions"`
	Parked     map[string]uint64 `json:"parked,omitempty"`
	Rules      int               `json:"rules"`
	// Pack is the rule set in force, as alerts name it; RulesLoaded since when.
	// Refused lists the faults of files that are not used for them.
	Pack         string                        `json:"pack,omitempty"`
	RulesLoaded  time.Time                     `json:"rules_loaded,omitzero"`
	Refused      []string                      `json:"rules_refused,omitempty"`
	Destinations []responders.DestinationStats `json:"destinations,omitempty"`
	Actions      map[responders.State]int      `json:"actions,omitempty"`
	Frozen       responders.Freeze             `json:"frozen,omitzero"`
	Store        StoreStatus                   `json:"store"`
	// Accounts is the newest event of each account, oldest first: who is silent
	// stands on top.
	Accounts []AccountStatus `json:"accounts,omitempty"`
	// Evicted is how many entities rules of this process forgot, since their state
	// began, to stay within max_keys and max_bytes.
	Evicted map[string]uint64 `json:"evicted,omitempty"`
	// Slowest are the rules of this process that take most of its time.
	Slowest []RuleTime `json:"slowest_rules,omitempty"`
}

// AccountStatus is how far the events of one account have come.
type AccountStatus struct {
	Account string    `json:"account"`
	Newest  time.Time `json:"newest"` // event time
}

// ShardStatus is one shard of a logstore.
type ShardStatus struct {
	Shard         int       `json:"shard"`
	Held          bool      `json:"held"` // read by this process
	LastPull      time.Time `json:"last_pull,omitzero"`
	BehindSeconds float64   `json:"behind_seconds,omitempty"`
	Records       uint64    `json:"records"`
}

// CountStatus compares what a source holds with what was evaluated, repeated or
// parked, in a span of the source's own time.
type CountStatus struct {
	At      time.Time `json:"at"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Held    uint64    `json:"held"`
	Done    uint64    `json:"done"`
	Deficit uint64    `json:"deficit"`
	Error   string    `json:"error,omitempty"` // why they could not be compared
}

// SourceStatus is one logstore.
type SourceStatus struct {
	Name        string    `json:"name"`
	Credentials string    `json:"credentials,omitempty"` // the provider's name
	Records     uint64    `json:"records"`
	LastPull    time.Time `json:"last_pull,omitzero"`
	// LastSight is LastPull, or when the consumer group last said that others
	// read all shards; Standby says that it is so.
	LastSight time.Time `json:"last_sight,omitzero"`
	Standby   bool      `json:"standby,omitempty"`
	// BehindSeconds is how old the newest record was when it was read and,
	// where reading stands still, how long that was ago.
	BehindSeconds float64 `json:"behind_seconds,omitempty"`
	Rebuilds      uint64  `json:"rebuilds,omitempty"`
	// Shards this process has read, and the last comparison of counts.
	Shards []ShardStatus `json:"shards,omitempty"`
	Counts *CountStatus  `json:"counts,omitempty"`
}

// Seen is when the source was last well; LastPull in the answer of a version
// that knew no LastSight.
func (s SourceStatus) Seen() time.Time {
	if s.LastSight.IsZero() {
		return s.LastPull
	}
	return s.LastSight
}

// PartitionStatus is one partition's worker.
type PartitionStatus struct {
	Partition  int       `json:"partition"`
	Evaluated  uint64    `json:"evaluated"`
	Duplicates uint64    `json:"duplicates"`
	Late       uint64    `json:"late"`
	Lag        uint64    `json:"lag"` // frames stored and not yet evaluated
	Watermark  time.Time `json:"watermark,omitzero"`
	// Gaps are frames that were lost from the store, Repaired how many of such
	// losses were made good from the source.
	Gaps     uint64 `json:"gaps,omitempty"`
	Repaired uint64 `json:"repaired,omitempty"`
}

// StoreStatus is the event store.
type StoreStatus struct {
	Embedded bool    `json:"embedded"`
	Bytes    uint64  `json:"bytes"`
	Fraction float64 `json:"fraction"` // of the fullest stream's limit
}

// Parked is one record that was not evaluated.
type Parked struct {
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
	Source string    `json:"source,omitempty"`
	At     time.Time `json:"at"`
	Size   int       `json:"size"`
}

// Redriven says what came of trying parked records again.
type Redriven struct {
	Tried int `json:"tried"`
	Back  int `json:"back"` // evaluated, no longer parked
	// Still says why the rest stays parked, one sentence for each, at most ten.
	Still []string `json:"still,omitempty"`
}

// AlertDetail is one alert with its actions.
type AlertDetail struct {
	Alert   alert.Alert               `json:"alert"`
	Actions []responders.ActionDetail `json:"actions,omitempty"`
	// Triage is what people made of it.
	Triage responders.Triage `json:"triage"`
	// Card is what is known of the key that the alert is about.
	Card *responders.KeyCard `json:"card,omitempty"`
	// Questions are those put to people about it.
	Questions []responders.Question `json:"questions,omitempty"`
}

// change is the body of the calls that change something.
type change struct {
	Hash   string `json:"hash,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Alert, Kind and Params ask for an action.
	Alert  string            `json:"alert,omitempty"`
	Kind   string            `json:"kind,omitempty"`
	Params map[string]string `json:"params,omitempty"`
	// Of a question.
	Person string `json:"person,omitempty"`
	Yes    *bool  `json:"yes,omitempty"`
	// Of a silence.
	Matchers []string            `json:"matchers,omitempty"`
	For      responders.Duration `json:"for,omitzero"`
	// Of triage.
	Triage responders.TriageRequest `json:"triage,omitzero"`
}

// apiError is the body of every failure.
type apiError struct {
	Error string `json:"error"`
	Kind  string `json:"kind"` // not_found, not_allowed, bad_request, internal
}
