package replay

import (
	"encoding/json"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// StatsSchema is the value of a Stats' schema field.
const StatsSchema = "trailwarden.stats/v1"

// Stats is what a run read and found. Its JSON form is a contract.
//
// Records are events + duplicates + parked, plus those that a filter left out.
type Stats struct {
	Schema     string `json:"schema"`
	Records    int64  `json:"records"`
	Events     int64  `json:"events"`     // evaluated, each once
	Parked     int64  `json:"parked"`     // records that are no events
	Duplicates int64  `json:"duplicates"` // events met again
	// Late events came so far out of order that detectors could not put them
	// in their place, or their time is a bad clock's; they are among Events.
	Late         int64            `json:"late"`
	BytesRead    int64            `json:"bytes_read"`    // as stored, packed
	BytesDecoded int64            `json:"bytes_decoded"` // unpacked
	Detections   int64            `json:"detections"`
	Alerts       int64            `json:"alerts"`
	ByRule       map[string]int64 `json:"by_rule"`     // detections
	BySeverity   map[string]int64 `json:"by_severity"` // alerts
	FilesRead    int64            `json:"files_read"`
	FilesFailed  []FailedFile     `json:"files_failed"`
	FirstEvent   *time.Time       `json:"first_event"` // null when there was none
	LastEvent    *time.Time       `json:"last_event"`
	Seconds      float64          `json:"seconds"`
	PeakRSSBytes int64            `json:"peak_rss_bytes"`

	// Beyond the contract, left out when empty.
	// Early is how many of the late ones were decided before the grace was over,
	// since no more may wait: what is older than they are and comes later is late.
	Early    int64 `json:"decided_early,omitempty"`
	Filtered int64 `json:"filtered,omitempty"` // outside --from and --to
	// FilteredFirst and FilteredLast are the first and the last time of these, nil
	// where there are none.
	FilteredFirst *time.Time `json:"filtered_first,omitempty"`
	FilteredLast  *time.Time `json:"filtered_last,omitempty"`
	// FilesPart are those of FilesRead that are among FilesFailed too: they
	// were not read to their end.
	FilesPart int64 `json:"files_in_part,omitempty"`
	// FilesIgnored are files of folders whose names are of no form that is
	// read, Ignored the first few of them.
	FilesIgnored int64    `json:"files_ignored,omitempty"`
	Ignored      []string `json:"ignored,omitempty"`
	// FilesSkipped are deliveries not opened: their names are of other times
	// or regions.
	FilesSkipped int64                  `json:"files_skipped,omitempty"`
	ByReason     map[event.Reason]int64 `json:"parked_by_reason,omitempty"`
	// ParkedAt is where the first few of each reason are.
	ParkedAt   []ParkedRecord `json:"parked_at,omitempty"`
	RuleErrors int64          `json:"rule_errors,omitempty"`
	Excepted   int64          `json:"excepted,omitempty"` // detections withheld by an exception
	// ByException counts them by what withheld them.
	ByException map[string]int64 `json:"by_exception,omitempty"`
	// Evicted is how many entities each rule forgot to stay within its bounds
	// (max_keys, max_bytes): what came of them later was new to it.
	Evicted map[string]int64 `json:"evicted,omitempty"`
	// Set by who writes the statistics: Result has them too.
	Coverage []Cover `json:"coverage,omitempty"`
	Trail    *Trail  `json:"trail,omitempty"`
}

// FilesFound is how many files there were to read, those ignored and skipped
// left out.
func (s *Stats) FilesFound() int64 {
	return s.FilesRead + int64(len(s.FilesFailed)) - s.FilesPart
}

// FilesWhole is how many of them were read to their end.
func (s *Stats) FilesWhole() int64 { return s.FilesRead - s.FilesPart }

// filter counts n records that are not asked for, the first and the last of these
// times.
func (s *Stats) filter(n int64, first, last time.Time) {
	if n == 0 {
		return
	}
	s.Filtered += n
	if s.FilteredFirst == nil || first.Before(*s.FilteredFirst) {
		s.FilteredFirst = &first
	}
	if s.FilteredLast == nil || last.After(*s.FilteredLast) {
		s.FilteredLast = &last
	}
}

// FailedFile is a file that was not read, or not to its end.
type FailedFile struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// ParkedRecord is where a record is that is no event.
type ParkedRecord struct {
	Path   string       `json:"path"`
	Record int64        `json:"record"` // its number in the file, from 1
	Reason event.Reason `json:"reason"`
}

// parkedNamed is how many parked records of each reason are named.
const parkedNamed = 3

// JSON returns the statistics as one indented JSON object and a line end.
func (s *Stats) JSON() []byte {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		// Numbers, texts and times only: nothing here can fail to encode.
		return []byte("{}\n")
	}
	return append(alert.EscapeJSON(b), '\n')
}

// Progress is how far a run has come.
type Progress struct {
	BytesRead  int64 // as stored
	BytesTotal int64 // -1 when not known (standard input)
	Records    int64
	Detections int64
	EventTime  time.Time // of the events being applied
}
