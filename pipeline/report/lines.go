package report

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// ocsfVersion is the version of the OCSF schema that OCSF follows.
const ocsfVersion = "1.9.0"

// ocsfEvent is a Detection Finding, as far as an alert can fill one.
type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	TypeUID      int            `json:"type_uid"`
	TypeName     string         `json:"type_name"`
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity"`
	StatusID     int            `json:"status_id"`
	Status       string         `json:"status"`
	IsAlert      bool           `json:"is_alert"`
	Time         int64          `json:"time"` // ms, as are all times
	StartTime    int64          `json:"start_time"`
	EndTime      int64          `json:"end_time"`
	Count        int            `json:"count"`
	Message      string         `json:"message"`
	Metadata     any            `json:"metadata"`
	Cloud        any            `json:"cloud"`
	FindingInfo  ocsfFinding    `json:"finding_info"`
	Evidences    []any          `json:"evidences,omitempty"`
	Resources    []any          `json:"resources,omitempty"`
	Remediation  any            `json:"remediation,omitempty"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

// ocsfFinding is its finding_info.
type ocsfFinding struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	Desc          string `json:"desc"`
	Analytic      any    `json:"analytic"`
	Attacks       []any  `json:"attacks,omitempty"`
	CreatedTime   int64  `json:"created_time"`
	FirstSeen     int64  `json:"first_seen_time"`
	LastSeen      int64  `json:"last_seen_time"`
	RelatedEvents []any  `json:"related_events,omitempty"`
	RelatedCount  int    `json:"related_events_count"`
}

// object is a JSON object whose empty values are left out.
func object(kv ...any) map[string]any {
	m := make(map[string]any, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		switch v := kv[i+1].(type) {
		case string:
			if v != "" {
				m[kv[i].(string)] = v
			}
		case map[string]any:
			if len(v) > 0 {
				m[kv[i].(string)] = v
			}
		default:
			m[kv[i].(string)] = v
		}
	}
	return m
}

// OCSF writes one Detection Finding (class 2004, with the cloud profile) per
// line for each alert. What OCSF has no field for is under unmapped.
func OCSF(w io.Writer, in In) error {
	metadata := object("version", ocsfVersion, "profiles", []string{"cloud"},
		"product", object("name", "trailwarden", "vendor_name", "trailwarden", "version", in.Tool))
	enc := encoder(w)
	for i := range in.Alerts {
		if err := enc.Encode(ocsf(&in.Alerts[i], metadata)); err != nil {
			return err
		}
	}
	return nil
}

func ocsf(a *alert.Alert, metadata any) *ocsfEvent {
	ms := time.Time.UnixMilli
	word := [...]string{"", "Informational", "Low", "Medium", "High", "Critical"}[level(a)]
	e := &ocsfEvent{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings", ClassUID: 2004, ClassName: "Detection Finding",
		TypeUID: 200401, TypeName: "Detection Finding: Create", SeverityID: int(level(a)), Severity: word, StatusID: 1, Status: "New",
		IsAlert: !a.Signal, Time: ms(a.Time), StartTime: ms(a.FirstAt), EndTime: ms(a.LastAt), Count: max(a.Count, 1), Message: a.Reason, Metadata: metadata,
		FindingInfo: ocsfFinding{
			UID: a.ID, Title: a.Title, Desc: a.Reason, CreatedTime: ms(a.Time), FirstSeen: ms(a.FirstAt), LastSeen: ms(a.LastAt), RelatedCount: max(a.Count, 1),
			Analytic: object("type_id", 1, "type", "Rule", "uid", a.Rule, "name", a.Rule, "version", strconv.Itoa(a.RuleVersion)),
		},
	}
	region, _ := a.Details["region"].(string)
	call, _ := a.Details["event"].(string)
	agent, _ := a.Details["user_agent"].(string)
	e.Cloud = object("provider", "Alibaba Cloud", "region", region, "account", object("uid", a.AccountID))
	for _, id := range a.Attack {
		if id == "" {
			continue
		}
		t := object("technique", object("uid", id))
		if parent, _, sub := strings.Cut(id, "."); sub && parent != "" {
			t = object("technique", object("uid", parent), "sub_technique", object("uid", id))
		}
		e.FindingInfo.Attacks = append(e.FindingInfo.Attacks, t)
	}
	for _, id := range a.EventIDs {
		if id == "" {
			continue
		}
		e.FindingInfo.RelatedEvents = append(e.FindingInfo.RelatedEvents, object("uid", id, "type", "ActionTrail"))
	}
	ev := map[string]any{}
	put := func(key string, v map[string]any) {
		if len(v) > 0 {
			ev[key] = v
		}
	}
	user := object("name", a.Actor.Name, "uid", a.Actor.ID, "credential_uid", a.Actor.AccessKeyID)
	if len(user) > 0 {
		if a.Actor.Name == "" && a.Actor.ID == "" {
			user["uid"] = a.Actor.AccessKeyID
		}
		user["type_id"] = 1
		switch a.Actor.Type {
		case "":
			user["type_id"] = 0
		case "root-account":
			user["type_id"] = 2
		case "system":
			user["type_id"] = 3
		}
		if a.Actor.Type != "" {
			user["type"] = a.Actor.Type
		}
	}
	put("actor", object("user", user, "session", object("uid", a.Actor.Session, "issuer", a.Actor.Role)))
	if a.SourceIP != "" {
		key := "name"
		if _, err := netip.ParseAddr(a.SourceIP); err == nil {
			key = "ip"
		}
		put("src_endpoint", object(key, a.SourceIP))
	}
	if call != "" {
		service, op, ok := strings.Cut(call, ":")
		if !ok || op == "" {
			service, op = "", call
		}
		put("api", object("operation", op, "service", object("name", service)))
	}
	if agent != "" {
		put("http_request", object("user_agent", agent))
	}
	if _, http := ev["http_request"]; len(ev) > 1 || len(ev) == 1 && !http { // the request alone is no evidence
		e.Evidences = []any{ev}
	}
	if t := a.Target; t != nil {
		if r := object("uid", t.ID, "name", t.Name, "type", t.Type); t.ID != "" || t.Name != "" {
			e.Resources = []any{r}
		}
	}
	if !a.Runbook.IsZero() {
		e.Remediation = object("desc", firstOf(a.Runbook.EN, a.Runbook.ZH))
	}
	e.Unmapped = object("outcome", a.Outcome, "details", a.Details)
	return e
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

func encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
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
	for i := range in.Alerts {
		a := &in.Alerts[i]
		s := sketch{
			Message: "[" + a.Severity.String() + "] " + firstOf(a.Reason, a.Title), Tag: []string{"trailwarden", a.Severity.String(), a.Rule},
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
