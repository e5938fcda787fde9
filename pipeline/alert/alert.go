package alert

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Severity is a closed set, ordered.
type Severity uint8

// The severities.
const (
	Info Severity = iota + 1
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"", "info", "low", "medium", "high", "critical"}

// Severities lists the words in order.
func Severities() []string { return severityNames[1:] }

// String is the word; no event pays for its not being inlined (DESIGN D23).
//
//go:noinline
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity reads one of the five words.
func ParseSeverity(word string) (Severity, error) {
	for i, n := range severityNames {
		if i > 0 && n == word {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("severity %q: want info, low, medium, high or critical", word)
}

// MarshalText and UnmarshalText use the five words.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads one of the five words.
func (s *Severity) UnmarshalText(b []byte) error {
	v, err := ParseSeverity(string(b))
	*s = v
	return err
}

// Actor is who did it, as the alert shows it. Absent facts stay empty.
type Actor struct {
	Type        string `json:"type,omitempty"`
	ID          string `json:"id,omitempty"`
	Name        string `json:"name,omitempty"`
	AccessKeyID string `json:"access_key_id,omitempty"`
	Role        string `json:"role,omitempty"`
	Session     string `json:"session,omitempty"`
}

// Target is what it was done to.
type Target struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// Runbook is what to do now, in the languages the rule has.
type Runbook struct {
	EN string `json:"en,omitempty"`
	ZH string `json:"zh,omitempty"`
}

// IsZero lets encoding/json leave an empty runbook out.
func (r Runbook) IsZero() bool { return r == Runbook{} }

// Detection is the statement that one rule matched. Immutable.
type Detection struct {
	Rule        string
	RuleVersion int
	Pack        string // version and hash of the rule set that said it
	Title       string
	Reason      string // one sentence a person understands; no trailing markup
	// TitleZH and ReasonZH are the same in Chinese; empty when the rule has
	// no Chinese.
	TitleZH, ReasonZH string
	Severity          Severity
	Outcome           event.Outcome
	Time              time.Time // event time of the last evidence
	FirstAt           time.Time // of the first evidence; equals Time for a stateless rule
	AccountID         string
	Actor             Actor
	SourceIP          string
	Target            Target
	TargetKey         string // AccessKey id acted on, when there is one
	Attack            []string
	EventIDs          []string // evidence, at least one, ordered by (time, id)
	Count             int      // events that this detection stands for, ≥ len(EventIDs)
	Details           map[string]any
	Runbook           Runbook
	// Key is what makes detections the same alert, built by the rule's dedup
	// fields; Window is how long detections with one Key fold together.
	Key    string
	Window time.Duration
	// Playbook names the response, empty when the rule asks for none.
	Playbook string
	// Signal marks info and low rules that feed chains and never page alone.
	Signal bool
	// Late marks detections on events older than the watermark's grace.
	Late bool
}

// Schema is the value of an alert's schema field.
const Schema = "trailwarden.alert/v1"

// Alert is the unit people and playbooks handle. Its JSON form is a contract.
type Alert struct {
	Schema      string         `json:"schema"`
	ID          string         `json:"id"`
	Rule        string         `json:"rule"`
	RuleVersion int            `json:"rule_version"`
	Pack        string         `json:"pack,omitempty"` // of the detection that gave the words; rules may change while an alert grows
	Title       string         `json:"title"`
	Reason      string         `json:"reason"`
	Severity    Severity       `json:"severity"`
	Outcome     string         `json:"outcome"`
	Time        time.Time      `json:"time"`
	FirstAt     time.Time      `json:"first_at"`
	LastAt      time.Time      `json:"last_at"`
	Count       int            `json:"count"`
	AccountID   string         `json:"account_id,omitempty"`
	Actor       Actor          `json:"actor"`
	SourceIP    string         `json:"source_ip,omitempty"`
	Target      *Target        `json:"target,omitempty"`
	Attack      []string       `json:"attack,omitempty"`
	EventIDs    []string       `json:"event_ids"`
	Details     map[string]any `json:"details,omitempty"`
	Runbook     Runbook        `json:"runbook,omitzero"`

	// What the pipeline needs and the contract does not show.

	// TitleZH and ReasonZH are Title and Reason in Chinese; empty when the
	// rule has no Chinese. Read them by Words.
	TitleZH   string `json:"-"`
	ReasonZH  string `json:"-"`
	TargetKey string `json:"-"`
	Playbook  string `json:"-"`
	Signal    bool   `json:"-"`
	// SuccessAt is the time of the last evidence of what succeeded, zero while all
	// was refused: what was refused later makes it no newer.
	SuccessAt time.Time `json:"-"`
	// Revision counts the changes of this alert, from 1; a responder posts
	// revision 1 and edits on later ones.
	Revision int `json:"-"`
}

// Mark goes before the title or the reason wherever alerts are listed: it says
// that what they tell was only attempted. It is empty where it happened.
func (a *Alert) Mark(chinese bool) string {
	switch {
	case a.Outcome != "attempt":
		return ""
	case chinese:
		return "（尝试）"
	}
	return "(attempt) "
}

// Words are the title and the reason for a reader: in Chinese where that is
// asked for and the rule has both, else in English.
func (a *Alert) Words(chinese bool) (title, reason string) {
	if chinese && a.TitleZH != "" && a.ReasonZH != "" {
		return a.TitleZH, a.ReasonZH
	}
	return a.Title, a.Reason
}
