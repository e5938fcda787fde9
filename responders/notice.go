package responders

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// noticeState is where the showing of one alert at one destination stands.
type noticeState string

const (
	noticePending  noticeState = "pending"  // to be sent, at once or at RetryAt
	noticeStarted  noticeState = "started"  // the call may be on its way
	noticeSent     noticeState = "sent"     // Ref finds it; later revisions edit it
	noticeDead     noticeState = "dead"     // cannot be sent; Requeue tries again
	noticeDigested noticeState = "digested" // a digest carries it
	noticeDropped  noticeState = "dropped"  // held back until it no longer mattered
)

// notice is the newest record of one alert at one destination. It does not
// hold the alert, so that a scan over all notices stays cheap.
type notice struct {
	V        int            `json:"v"`
	Dest     string         `json:"dest"`
	Alert    string         `json:"alert"`
	Of       string         `json:"of,omitempty"` // of a question: the incident; Alert is the question's id
	Rule     string         `json:"rule"`
	Severity alert.Severity `json:"severity"`
	EventAt  time.Time      `json:"event_at"`
	State    noticeState    `json:"state"`
	At       time.Time      `json:"at"` // of this record
	Owner    string         `json:"owner,omitempty"`
	Deadline time.Time      `json:"deadline,omitzero"`
	Retries  int            `json:"retries,omitempty"` // certainly not sent
	Doubts   int            `json:"doubts,omitempty"`  // perhaps sent
	Alone    int            `json:"alone,omitempty"`   // attempts after doubts while others got through
	Repeat   bool           `json:"repeat,omitempty"`  // the next post may be a second one
	Reposted bool           `json:"reposted,omitempty"`
	RetryAt  time.Time      `json:"retry_at,omitzero"`
	Ref      MessageRef     `json:"ref"`
	Shown    shown          `json:"shown"`
	Edits    int            `json:"edits,omitempty"`
	Threads  int            `json:"threads,omitempty"` // lines put into the thread
	Reason   string         `json:"reason,omitempty"`
	Untold   bool           `json:"untold,omitempty"` // dead, and the others have not been told yet
	Digest   string         `json:"digest,omitempty"` // alert id of the digest
	// LeftDigest is the digest that it grew out of by getting worse.
	LeftDigest string `json:"left_digest,omitempty"`
	// Held is what keeps a pending notice back: a silence, an inhibition, a
	// time interval.
	Held string `json:"held,omitempty"`
	// Posted is when the message that Ref finds was sent; Reminders how often
	// it was told again because nobody took it up.
	Posted    time.Time `json:"posted,omitzero"`
	Reminders int       `json:"reminders,omitempty"`
	// Interval is the least time between two edits, of a group.
	Interval time.Duration `json:"interval,omitempty"`
	Trace    string        `json:"trace,omitempty"` // of the alert, see pipeline/trace
}

// shown says what a message was last made of.
type shown struct {
	Rev     int               `json:"rev"`
	Views   string            `json:"views"` // hash of the action views
	Actions map[string]uint64 `json:"actions,omitempty"`
	Facts   facts             `json:"facts"`
	Card    bool              `json:"card,omitempty"`   // the thread has the card
	Triage  uint64            `json:"triage,omitempty"` // sequence of the record of triage
	Told    time.Time         `json:"told,omitzero"`    // of the last step of it
	Asked   uint64            `json:"asked,omitempty"`  // sequence of the record of questions
	Heard   int               `json:"heard,omitempty"`  // steps of them
}

// facts are the parts of an alert whose change is worth a line in the thread.
type facts struct {
	Severity alert.Severity `json:"severity,omitzero"`
	Count    int            `json:"count,omitempty"`
	SourceIP string         `json:"source_ip,omitempty"`
	Key      string         `json:"key,omitempty"`
	Target   string         `json:"target,omitempty"`
	Reason   string         `json:"reason,omitempty"` // its hash: reasons are long
}

func factsOf(a alert.Alert) facts {
	f := facts{Severity: a.Severity, Count: a.Count, SourceIP: clip(a.SourceIP, 200), Key: clip(a.Actor.AccessKeyID, 200), Reason: hashJSON(a.Reason)}
	if a.Target != nil {
		f.Target = clip(a.Target.Name, 200)
	}
	return f
}

func (s shown) same(t shown) bool { return s.Rev == t.Rev && s.Views == t.Views }

// storedAlert is an alert with the fields that its public form leaves out.
type storedAlert struct {
	V         int         `json:"v"`
	Alert     alert.Alert `json:"alert"`
	TargetKey string      `json:"target_key,omitempty"`
	Playbook  string      `json:"playbook,omitempty"`
	TitleZH   string      `json:"title_zh,omitempty"`
	ReasonZH  string      `json:"reason_zh,omitempty"`
	Revision  int         `json:"revision"`
	SuccessAt time.Time   `json:"success_at,omitzero"`
	At        time.Time   `json:"at"` // when this revision reached us
	// Raised is the severity that people raised it to.
	Raised alert.Severity `json:"raised,omitzero"`
	// Others are the members of a group that it does not list.
	Others idSet `json:"others,omitempty"`
}

func (s storedAlert) severity() alert.Severity { return max(s.Alert.Severity, s.Raised) }

// maxStoredAlert bounds an alert in the journal; details that make it larger
// are left out, and the alert says so.
const maxStoredAlert = 256 << 10

func storeAlert(a alert.Alert, now time.Time) storedAlert {
	s := storedAlert{V: recordVersion, Alert: a, TargetKey: a.TargetKey, Playbook: a.Playbook, TitleZH: a.TitleZH, ReasonZH: a.ReasonZH, Revision: a.Revision, SuccessAt: a.SuccessAt, At: now}
	const keepIDs = 256
	if len(a.EventIDs) > keepIDs {
		s.Alert.EventIDs = slices.Clone(a.EventIDs[len(a.EventIDs)-keepIDs:])
	}
	if b, err := json.Marshal(s); err != nil || len(b) > maxStoredAlert {
		s.Alert.Details = map[string]any{"left_out": "the details are too large to be kept here; find them by the event ids"}
	}
	return s
}

func (s storedAlert) restore() alert.Alert {
	a := s.Alert
	a.TitleZH, a.ReasonZH = s.TitleZH, s.ReasonZH
	a.TargetKey, a.Playbook, a.Revision, a.SuccessAt = s.TargetKey, s.Playbook, s.Revision, s.SuccessAt
	a.Severity = s.severity()
	return a
}

// journalID makes an alert id fit the journal. Ours are hex; what is longer or
// stranger is hashed.
func journalID(id string) string {
	ok := id != "" && len(id) <= 60
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-'
	}
	if ok {
		return id
	}
	h := sha256.Sum256([]byte(id))
	return hex.EncodeToString(h[:16])
}

func noticeID(dest, alertID string) string { return dest + "/" + journalID(alertID) }

func hashJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}
