package responders

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Note is something about the program itself that the audit log keeps: a
// configuration that was loaded, rules that changed, history that was replayed.
type Note struct {
	V    int             `json:"v"`
	At   time.Time       `json:"at"`
	By   string          `json:"by"`
	What string          `json:"what"` // a few words
	Data json.RawMessage `json:"data,omitempty"`
}

// maxNoteData bounds what a note carries.
const maxNoteData = 64 << 10

// AddNote appends a note to the history of that name; what it is about is
// data, as JSON.
func (m *Machine) AddNote(ctx context.Context, name, by, what string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("note %s: %w", name, err)
	}
	if len(b) > maxNoteData {
		return fmt.Errorf("note %s: %d bytes, the limit is %d", name, len(b), maxNoteData)
	}
	return change(ctx, m.j, kindNote, name, func(n *Note) bool {
		*n = Note{V: recordVersion, At: m.now(), By: clip(by, 200), What: clip(what, maxReason), Data: b}
		return true
	})
}

// LastNote reads the newest note of a name; ok is false when there is none.
func (m *Machine) LastNote(ctx context.Context, name string) (n Note, ok bool, err error) {
	seq, err := readLast(ctx, m.j, kindNote, name, &n)
	return n, seq > 0, err
}
