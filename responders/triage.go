package responders

import (
	"context"
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// TriageState is where an alert stands with people. What an alert says about
// the events does not change by it.
type TriageState string

// The states of triage. An alert without a record is open.
const (
	TriageOpen         TriageState = "open"
	TriageAcknowledged TriageState = "acknowledged" // somebody looks at it
	TriageClosed       TriageState = "closed"
)

// TriageVerdict is what an alert turned out to be when it was closed.
type TriageVerdict string

// The verdicts.
const (
	TruePositive  TriageVerdict = "true_positive"
	FalsePositive TriageVerdict = "false_positive"
	Benign        TriageVerdict = "benign" // it happened, and it was allowed
)

// What a person may do with an alert.
const (
	DoAcknowledge = "acknowledge"
	DoAssign      = "assign"
	DoClose       = "close"
	DoReopen      = "reopen"
	DoNote        = "note"
)

// Triage is what people made of one alert.
type Triage struct {
	V       int           `json:"v"`
	State   TriageState   `json:"state"`
	Owner   string        `json:"owner,omitempty"` // who looks at it: a person's name in one of the forms of Approver.IDs, or free text
	Verdict TriageVerdict `json:"verdict,omitempty"`
	At      time.Time     `json:"at,omitzero"`
	By      string        `json:"by,omitempty"`
	// Steps is who did what, oldest first; of very many the newest are kept.
	Steps []TriageStep `json:"steps,omitempty"`
}

// TriageStep is one thing that a person did with an alert.
type TriageStep struct {
	At      time.Time     `json:"at"`
	By      string        `json:"by"`
	Do      string        `json:"do"`
	Owner   string        `json:"owner,omitempty"`
	Verdict TriageVerdict `json:"verdict,omitempty"`
	Note    string        `json:"note,omitempty"`
	Group   string        `json:"group,omitempty"` // the group's incident by whose message it was done
}

// TriageRequest asks for one step.
type TriageRequest struct {
	By      string        `json:"-"`               // who asks; no client says so itself
	Do      string        `json:"do,omitempty"`    // one of the Do constants
	Owner   string        `json:"owner,omitempty"` // for assign; empty takes the owner away
	Verdict TriageVerdict `json:"verdict,omitempty"`
	Note    string        `json:"note,omitempty"`

	group string // see TriageStep.Group
}

const (
	maxTriageSteps = 200
	maxNote        = 2000 // runes
	maxOwner       = 120  // runes
)

// Triage records what a person does with an alert and returns how it then
// stands. The same request made again by the same person changes nothing.
// What is done with a group's incident is done with each that is in it.
// Errors: ErrNoAlert, ErrNotAllowed (nobody asks), ErrBadTriage.
func (d *Dispatcher) Triage(ctx context.Context, alertID string, q TriageRequest) (Triage, error) {
	if q.By == "" || q.By == requesterPlaybook || q.By == machineName {
		return Triage{}, fmt.Errorf("alert %s: %w: it is not said who asks", clip(alertID, 64), ErrNotAllowed)
	}
	s, ok, err := d.storedAlert(ctx, alertID)
	if err != nil {
		return Triage{}, err
	} else if !ok {
		return Triage{}, fmt.Errorf("%w: %q", ErrNoAlert, clip(alertID, 64))
	}
	q.Note = text.Cut(text.Block(q.Note), maxNote)
	q.Owner = text.Cut(text.Line(q.Owner), maxOwner)
	if s.Alert.Rule == RuleGroup {
		err = d.triageMembers(ctx, alertID, &s, q)
	}
	var after Triage
	if err == nil {
		after, err = d.triageOne(ctx, alertID, q)
	}
	if err != nil {
		return Triage{}, fmt.Errorf("alert %s: %w", clip(alertID, 64), err)
	}
	d.log.Info("triage", "alert_id", alertID, "do", q.Do, "by", q.By, "state", string(after.State), "owner", after.Owner)
	return after, nil
}

// triageOne is Triage of one alert, whatever it is.
func (d *Dispatcher) triageOne(ctx context.Context, alertID string, q TriageRequest) (after Triage, err error) {
	var refused error
	err = change(ctx, d.j, kindTriage, journalID(alertID), func(t *Triage) bool {
		if t.State == "" {
			t.State = TriageOpen
		}
		changed := false
		if q.group == "" || t.concerns(q) {
			changed, refused = t.apply(q, d.now())
		}
		after = *t
		return changed && refused == nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return Triage{}, err
	}
	if after.State == TriageClosed {
		d.endFiring(journalID(alertID))
	}
	for _, o := range d.outlets { // the messages show it
		o.add(changed(alertID))
	}
	return after, nil
}

// triageMembers does with each incident of a group what is asked for the
// group, which comes last: asked again after a crash, the rest is done.
func (d *Dispatcher) triageMembers(ctx context.Context, group string, s *storedAlert, q TriageRequest) error {
	t, err := d.TriageOf(ctx, group)
	if err != nil {
		return err
	}
	if _, err := t.apply(q, d.now()); err != nil {
		return err
	}
	ids, err := d.members(ctx, s)
	if err != nil {
		return err
	}
	q.group = group
	for _, id := range ids {
		if _, err := d.triageOne(ctx, id, q); err != nil {
			return fmt.Errorf("its incident %s: %w", short(id), err)
		}
	}
	return nil
}

// members lists the incidents of a group.
func (d *Dispatcher) members(ctx context.Context, s *storedAlert) ([]string, error) {
	ids := Members(&s.Alert)
	if len(s.Others) == 0 {
		return ids, nil
	}
	all, err := d.j.IDs(ctx, kindAlert)
	for _, id := range all {
		if s.Others.has(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// concerns says whether what is asked for a group concerns this one of it: what
// was closed before stays as it was closed, and only what was closed with the
// group is reopened with it.
func (t *Triage) concerns(q TriageRequest) bool {
	switch q.Do {
	case DoNote:
		return true
	case DoReopen:
		by := "" // the group with which it was closed last
		for i := range t.Steps {
			if s := &t.Steps[i]; s.Do == DoClose {
				by = s.Group
			}
		}
		return t.State == TriageClosed && by == q.group
	}
	return t.State != TriageClosed
}

// apply makes one step; false when there is nothing to change.
func (t *Triage) apply(q TriageRequest, now time.Time) (bool, error) {
	before := *t
	switch q.Do {
	case DoAcknowledge:
		if t.State == TriageClosed {
			return false, fmt.Errorf("%w: it is closed; reopen it first", ErrBadTriage)
		}
		t.State = TriageAcknowledged
		if t.Owner == "" {
			t.Owner = q.By
		}
	case DoAssign:
		if t.State == TriageClosed {
			return false, fmt.Errorf("%w: it is closed; reopen it first", ErrBadTriage)
		}
		t.Owner = q.Owner
	case DoClose:
		switch q.Verdict {
		case TruePositive, FalsePositive, Benign:
		default:
			return false, fmt.Errorf("%w: verdict %q: want true_positive, false_positive or benign", ErrBadTriage, clip(string(q.Verdict), 40))
		}
		t.State, t.Verdict = TriageClosed, q.Verdict
	case DoReopen:
		t.State, t.Verdict = TriageOpen, ""
	case DoNote:
		if q.Note == "" {
			return false, fmt.Errorf("%w: the note is empty", ErrBadTriage)
		}
	default:
		return false, fmt.Errorf("%w: %q is nothing that can be done with an alert", ErrBadTriage, clip(q.Do, 40))
	}
	if q.Note == "" && t.State == before.State && t.Owner == before.Owner && t.Verdict == before.Verdict {
		return false, nil
	}
	t.V, t.At, t.By = recordVersion, now, q.By
	s := TriageStep{At: now, By: q.By, Do: q.Do, Verdict: t.Verdict, Note: q.Note, Group: q.group}
	if q.Do == DoAssign || t.Owner != before.Owner {
		s.Owner = t.Owner // also the same one as before: a step tells what was asked for
	}
	if n := len(t.Steps); q.Do == DoNote && n > 0 && t.Steps[n-1].Do == DoNote && t.Steps[n-1].By == q.By && t.Steps[n-1].Note == q.Note {
		return false, nil // the same form sent twice
	}
	t.Steps = append(t.Steps, s)
	if over := len(t.Steps) - maxTriageSteps; over > 0 {
		t.Steps = t.Steps[over:]
	}
	return true, nil
}

// TriageOf returns how an alert stands with people.
func (d *Dispatcher) TriageOf(ctx context.Context, alertID string) (Triage, error) {
	t, _, err := d.triage(ctx, alertID)
	return t, err
}

// triage is TriageOf with the sequence of the record; 0 when there is none.
func (d *Dispatcher) triage(ctx context.Context, alertID string) (Triage, uint64, error) {
	t := Triage{State: TriageOpen}
	seq, err := readLast(ctx, d.j, kindTriage, journalID(alertID), &t)
	return t, seq, err
}

func (d *Dispatcher) storedAlert(ctx context.Context, id string) (storedAlert, bool, error) {
	var s storedAlert
	seq, err := readLast(ctx, d.j, kindAlert, journalID(id), &s)
	return s, seq > 0, err
}
