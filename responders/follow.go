package responders

import (
	"context"
	"errors"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Follower is a Journal that can be followed: Follow calls yield with the
// newest record of every history of the kinds, then with each new record as
// it is stored, by whichever process, until ctx ends. A record may be met more
// than once; a later call of one history is never the older one. caughtUp is
// called once when everything stored before the start has been met. An error
// of yield ends it and is returned.
type Follower interface {
	Follow(ctx context.Context, kinds []string, yield func(kind, id string, e Entry) error, caughtUp func()) error
}

// Change is one record of the journal for those who look on: exactly one of
// Alert, Action, Triage and Questions is set.
type Change struct {
	Seq     uint64 // grows; the same over restarts
	AlertID string
	Alert   *alert.Alert
	Action  *ActionDetail
	Triage  *Triage
	// Questions are those put to people about the alert, with their answers.
	Questions []Question
}

// Follow reports the present state of every alert, action, triage and question and then
// every change, those of other processes too, until ctx ends. It needs a
// journal that can be followed. See Follower for what it promises.
func (d *Dispatcher) Follow(ctx context.Context, yield func(Change), caughtUp func()) error {
	f, ok := d.j.(Follower)
	if !ok {
		return errors.New("responders: this journal cannot be followed")
	}
	return f.Follow(ctx, []string{kindAlert, kindAction, kindTriage, kindAsk}, func(kind, id string, e Entry) error {
		c := Change{Seq: e.Seq, AlertID: id}
		var err error
		switch kind {
		case kindAlert:
			var s storedAlert
			if err = unmarshal(e.Data, &s); err == nil {
				a := s.restore()
				c.Alert, c.AlertID = &a, a.ID
			}
		case kindAction:
			var r record
			if err = unmarshal(e.Data, &r); err == nil {
				x := d.m.detail(&r, e.Seq)
				c.Action, c.AlertID = &x, r.Action.AlertID
			}
		case kindTriage:
			var t Triage
			if err = unmarshal(e.Data, &t); err == nil {
				c.Triage = &t
			}
		case kindAsk:
			var qs questions
			if err = unmarshal(e.Data, &qs); err == nil {
				c.Questions = qs.List
			}
		}
		if err != nil {
			d.log.Error("a record in the journal cannot be read", "kind", kind, "id", id, "seq", e.Seq, "err", err)
			return nil
		}
		yield(c)
		return nil
	}, caughtUp)
}
