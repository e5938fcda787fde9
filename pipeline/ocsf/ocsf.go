// Package ocsf turns an alert into a Detection Finding of the Open
// Cybersecurity Schema Framework (class 2004, with the cloud profile), the
// same for replays and for live destinations.
package ocsf

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Version is the version of the OCSF schema.
const Version = "1.9.0"

// Finding is a Detection Finding, as far as an alert can fill one.
type Finding struct {
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
	FindingInfo  Info           `json:"finding_info"`
	Evidences    []any          `json:"evidences,omitempty"`
	Resources    []any          `json:"resources,omitempty"`
	Remediation  any            `json:"remediation,omitempty"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

// Info is its finding_info.
type Info struct {
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

// object is a JSON object whose empty values are left out. Inlined it would be 17 kB
// of the program.
//
//go:noinline
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

// Of makes the finding of an alert, told by a version of the tool; update
// says that it was told before and has changed.
func Of(a *alert.Alert, tool string, update bool) *Finding {
	metadata := object("version", Version, "profiles", []string{"cloud"},
		"product", object("name", "trailwarden", "vendor_name", "trailwarden", "version", tool))
	ms, sev := time.Time.UnixMilli, min(max(a.Severity, alert.Info), alert.Critical)
	word := [...]string{"", "Informational", "Low", "Medium", "High", "Critical"}[sev]
	e := &Finding{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings", ClassUID: 2004, ClassName: "Detection Finding",
		TypeUID: 200401, TypeName: "Detection Finding: Create", SeverityID: int(sev), Severity: word, StatusID: 1, Status: "New",
		IsAlert: !a.Signal, Time: ms(a.Time), StartTime: ms(a.FirstAt), EndTime: ms(a.LastAt), Count: max(a.Count, 1), Message: a.Reason, Metadata: metadata,
		FindingInfo: Info{
			UID: a.ID, Title: a.Title, Desc: a.Reason, CreatedTime: ms(a.Time), FirstSeen: ms(a.FirstAt), LastSeen: ms(a.LastAt), RelatedCount: max(a.Count, 1),
			Analytic: object("type_id", 1, "type", "Rule", "uid", a.Rule, "name", a.Rule, "version", strconv.Itoa(a.RuleVersion)),
		},
	}
	if update {
		e.ActivityID, e.ActivityName, e.TypeUID, e.TypeName = 2, "Update", 200402, "Detection Finding: Update"
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
		e.Remediation = object("desc", a.Steps(false))
	}
	e.Unmapped = object("outcome", a.Outcome, "details", a.Details)
	return e
}
