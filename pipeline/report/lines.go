package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/ocsf"
)

// OCSF writes one Detection Finding (class 2004, with the cloud profile) per
// line for each alert. What OCSF has no field for is under unmapped.
func OCSF(w io.Writer, in In) error {
	enc := encoder(w)
	for a, err := range in.each() {
		if err != nil {
			return err
		}
		if err := enc.Encode(ocsf.Of(a, in.Tool, false)); err != nil {
			return err
		}
	}
	return nil
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

// encoder writes JSON that cannot steer a terminal, as alert.WriteLine does.
func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(escaped{w})
	enc.SetEscapeHTML(false)
	return enc
}

// escaped takes one whole JSON text at a time, which is how an encoder writes.
type escaped struct{ w io.Writer }

func (e escaped) Write(p []byte) (int, error) {
	if _, err := e.w.Write(alert.EscapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sketch is one event of a Timesketch timeline.
type sketch struct {
	Message       string   `json:"message"`
	Datetime      string   `json:"datetime"`
	Timestamp     int64    `json:"timestamp"` // µs
	TimestampDesc string   `json:"timestamp_desc"`
	Tag           []string `json:"tag"`
	DataType      string   `json:"data_type"`
	AlertID       string   `json:"alert_id"`
	Rule          string   `json:"rule"`
	Severity      string   `json:"severity"`
	Outcome       string   `json:"outcome"`
	Title         string   `json:"title"`
	Account       string   `json:"account_id,omitempty"`
	ActorType     string   `json:"actor_type,omitempty"`
	ActorID       string   `json:"actor_id,omitempty"`
	Actor         string   `json:"actor,omitempty"`
	Key           string   `json:"access_key_id,omitempty"`
	SourceIP      string   `json:"source_ip,omitempty"`
	TargetType    string   `json:"target_type,omitempty"`
	TargetID      string   `json:"target_id,omitempty"`
	Target        string   `json:"target,omitempty"`
	Event         string   `json:"event,omitempty"`
	Region        string   `json:"region,omitempty"`
	UserAgent     string   `json:"user_agent,omitempty"`
	Count         int      `json:"count"`
	Attack        []string `json:"attack,omitempty"`
	EventIDs      []string `json:"event_ids"`
}

// Timesketch writes JSON lines that Timesketch imports as they are: for each
// alert one event at its last evidence, and one at its first where that is
// another time.
func Timesketch(w io.Writer, in In) error {
	enc := encoder(w)
	for a, err := range in.each() {
		if err != nil {
			return err
		}
		s := sketch{
			Message: "[" + a.Severity.String() + "] " + a.Mark(false) + firstOf(a.Reason, a.Title), Tag: []string{"trailwarden", a.Severity.String(), a.Rule},
			DataType: "trailwarden:alert", AlertID: a.ID, Rule: a.Rule, Severity: a.Severity.String(), Outcome: a.Outcome, Title: a.Title, Account: a.AccountID,
			ActorType: a.Actor.Type, ActorID: a.Actor.ID, Actor: who(a), Key: a.Actor.AccessKeyID, SourceIP: a.SourceIP, Count: max(a.Count, 1), Attack: a.Attack, EventIDs: a.EventIDs,
		}
		if a.Target != nil {
			s.TargetType, s.TargetID, s.Target = a.Target.Type, a.Target.ID, a.Target.Name
		}
		s.Event, _ = a.Details["event"].(string)
		s.Region, _ = a.Details["region"].(string)
		s.UserAgent, _ = a.Details["user_agent"].(string)
		if s.EventIDs == nil {
			s.EventIDs = []string{}
		}
		times := []time.Time{a.Time}
		desc := []string{"Last evidence"}
		if !a.FirstAt.IsZero() && !a.FirstAt.Equal(a.Time) {
			times, desc = []time.Time{a.FirstAt, a.Time}, []string{"First evidence", "Last evidence"}
		}
		for k, t := range times {
			s.Datetime, s.Timestamp, s.TimestampDesc = t.UTC().Format("2006-01-02T15:04:05.000000-07:00"), t.UnixMicro(), desc[k]
			if err := enc.Encode(&s); err != nil {
				return err
			}
		}
	}
	return nil
}
