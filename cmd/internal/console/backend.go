package console

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// Backend is what the running program offers, beside what the index holds.
// Methods may be called from several goroutines. Errors are told apart by
// admin.ErrNotFound, responders.ErrNoAlert, ErrNoAction, ErrNotAllowed,
// ErrBadTriage and ErrBadAsk; the rest is a failure of ours.
type Backend interface {
	Status(ctx context.Context) (admin.Status, error)
	Alert(ctx context.Context, id string) (alert.Alert, error)
	TriageOf(ctx context.Context, id string) (responders.Triage, error)
	Triage(ctx context.Context, id string, q responders.TriageRequest) (responders.Triage, error)
	// Questions lists who was asked about an alert whether it was them; Ask has
	// somebody asked, the owner when person is empty; Answer writes down what
	// they said.
	Questions(ctx context.Context, alertID string) ([]responders.Question, error)
	Ask(ctx context.Context, alertID, person, by string) (responders.Question, error)
	Answer(ctx context.Context, alertID, question, by string, yes bool) (responders.Question, error)
	// Offers lists the actions that can be asked for about an alert, Request
	// asks for one; somebody else has to approve it.
	Offers(ctx context.Context, alertID string) ([]responders.Offer, error)
	Request(ctx context.Context, alertID, actionID, by string) (responders.ActionDetail, error)
	Action(ctx context.Context, id string) (responders.ActionDetail, error)
	Approve(ctx context.Context, id, by, hash string) (responders.ActionDetail, error)
	Deny(ctx context.Context, id, by, reason string) (responders.ActionDetail, error)
	Undo(ctx context.Context, id, by string) (responders.ActionDetail, error)
	// AuditTail returns the last n entries of the audit log, the newest first.
	AuditTail(ctx context.Context, n int) ([]journal.AuditEntry, error)
	// Rules lists every loaded rule by id, those that are off too.
	Rules(ctx context.Context) []Rule
	// Measured is in how many partitions, of how many, this process has counted
	// what rules in shadow, exceptions and time are about.
	Measured(ctx context.Context) (partitions, of int)
	// Record reads a raw record from the event stream; ErrGone when it is no
	// longer kept there.
	Record(ctx context.Context, pos index.Pos) (json.RawMessage, error)
	// Kept returns the records of an alert's evidence that were kept for it; nil
	// when none were.
	Kept(alertID string) ([][]byte, error)
	// Explain says, part by part, why a rule did or did not match a record.
	Explain(rule string, record []byte) ([]string, error)
	// DraftException is an exception file for what an alert found, which its
	// owner has still to put a name to; "" when it names nobody.
	DraftException(a alert.Alert) string
	// Try evaluates a condition on records and returns the indexes of those
	// that match. An error is what is wrong with the condition.
	Try(ctx context.Context, condition string, records [][]byte) ([]int, error)
}

// ErrGone says that a record is no longer in the event stream.
var ErrGone = errors.New("no longer kept")

// Rule is what is known of a loaded rule.
type Rule struct {
	ID          string    `json:"id"`
	Version     int       `json:"version"`
	Title       string    `json:"title"`
	TitleZH     string    `json:"-"`
	Description string    `json:"description,omitempty"`
	Severity    string    `json:"severity"`
	Status      string    `json:"status"` // on, shadow, off
	Detector    string    `json:"detector,omitempty"`
	Match       string    `json:"match,omitempty"`
	Attack      []string  `json:"attack,omitempty"`
	File        string    `json:"file,omitempty"`
	Tests       int       `json:"tests"`
	Signal      bool      `json:"signal,omitempty"`
	Errors      int       `json:"errors"` // evaluations that failed since the start
	LastError   string    `json:"last_error,omitempty"`
	ErrorAt     time.Time `json:"error_at,omitzero"`
	Budget      float64   `json:"budget_per_day"` // alerts a day that it is worth
	// Shadow is what a rule in shadow would have made, as far as this process
	// has measured it.
	Shadow *alert.Noise `json:"shadow,omitempty"`
	// Time is what it took, where it was measured.
	Time *admin.RuleTime `json:"time,omitempty"`
	// Exceptions are those about the rule, expired ones too.
	Exceptions []RuleException `json:"exceptions,omitempty"`
}

// RuleException is an exception and what it withheld of all rules in this process.
type RuleException struct {
	ID       string    `json:"id"`
	Owner    string    `json:"owner"`
	Reason   string    `json:"reason"`
	Expires  time.Time `json:"expires"`
	Withheld uint64    `json:"withheld"`
}
