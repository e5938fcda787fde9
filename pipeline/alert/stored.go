package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// stored is an alert with the fields that its public form does not show.
type stored struct {
	Alert     Alert  `json:"alert"`
	TargetKey string `json:"target_key,omitempty"`
	Playbook  string `json:"playbook,omitempty"`
	TitleZH   string `json:"title_zh,omitempty"`
	ReasonZH  string `json:"reason_zh,omitempty"`
	Signal    bool   `json:"signal,omitempty"`
	Revision  int    `json:"revision"`
	// SuccessAt is left out where the alert's own time and outcome say it.
	SuccessAt time.Time `json:"success_at,omitzero"`
}

// MarshalStored encodes an alert with its internal fields, for the bus. The
// encoding is deterministic.
func MarshalStored(a *Alert) ([]byte, error) {
	s := stored{Alert: *a, TargetKey: a.TargetKey, Playbook: a.Playbook, TitleZH: a.TitleZH, ReasonZH: a.ReasonZH, Signal: a.Signal, Revision: a.Revision, SuccessAt: a.SuccessAt}
	if a.Outcome == "success" && a.SuccessAt.Equal(a.Time) {
		s.SuccessAt = time.Time{}
	}
	return json.Marshal(s)
}

// UnmarshalStored reads what MarshalStored wrote. Numbers in details come
// back as json.Number, so that nothing is rounded.
func UnmarshalStored(data []byte) (Alert, error) {
	var s stored
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&s); err != nil {
		return Alert{}, fmt.Errorf("stored alert: %w", err)
	}
	if s.Alert.Schema != Schema {
		return Alert{}, fmt.Errorf("stored alert: schema %q, want %q", s.Alert.Schema, Schema)
	}
	a := s.Alert
	a.TitleZH, a.ReasonZH = s.TitleZH, s.ReasonZH
	a.TargetKey, a.Playbook, a.Signal, a.Revision, a.SuccessAt = s.TargetKey, s.Playbook, s.Signal, s.Revision, s.SuccessAt
	if a.SuccessAt.IsZero() && a.Outcome == "success" {
		a.SuccessAt = a.Time
	}
	return a, nil
}

// snapshotMagic names the encoding; a change of the encoding changes it.
const snapshotMagic = "TWGROUP1\n"

type grouperState struct {
	Mark   time.Time    `json:"mark"`
	Closed uint64       `json:"closed"`
	Open   []groupState `json:"open"`
}

// Snapshot returns the whole state in a deterministic encoding with a
// checksum.
func (g *Grouper) Snapshot() []byte {
	st := grouperState{Mark: g.mark, Closed: g.closed}
	ids := make([]string, 0, len(g.open))
	for id := range g.open {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		a := g.open[id]
		s, err := a.state()
		if err != nil {
			// Details that JSON does not have (a broken detector): the
			// alert goes on without them.
			x := *a
			x.alert.Details = nil
			s, _ = x.state()
		}
		st.Open = append(st.Open, s)
	}
	body, _ := json.Marshal(st)
	enc := snapshot.NewEncoder(snapshotMagic)
	enc.Raw(body)
	return enc.Seal()
}

// Restore replaces the state by a snapshot. One that is damaged or of an
// unknown version is refused and leaves the grouper empty.
func (g *Grouper) Restore(data []byte) error {
	g.open, g.closed, g.mark = make(map[string]*group), 0, time.Time{}
	dec, err := snapshot.Open(data, snapshotMagic)
	if err != nil {
		return fmt.Errorf("restore alerts: %w", err)
	}
	var st grouperState
	if err := json.Unmarshal(dec.Rest(), &st); err != nil {
		return fmt.Errorf("restore alerts: %w", err)
	}
	open := make(map[string]*group, len(st.Open))
	for _, s := range st.Open {
		a, err := s.group()
		if err != nil {
			return fmt.Errorf("restore alerts: %w", err)
		}
		open[a.alert.ID] = a
	}
	g.open, g.closed, g.mark = open, st.Closed, st.Mark
	return nil
}
