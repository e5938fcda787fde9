package responders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// LastReader is a Journal that reads the newest record of a history without
// the others; ok is false when there is none.
type LastReader interface {
	Last(ctx context.Context, kind, id string) (e Entry, ok bool, err error)
}

// Scanner is a Journal that reads the newest record of every history of a
// kind in one pass. A history may be met more than once: the later call is
// the newer record. An error of yield ends the scan and is returned.
type Scanner interface {
	EachLast(ctx context.Context, kind string, yield func(id string, e Entry) error) error
}

// The kinds of histories in the journal.
const (
	kindAction   = "action"   // one for each action, id = Action.ID
	kindLedger   = "ledger"   // id "all": executions that count against caps, targets in work
	kindFreeze   = "freeze"   // id "all": the kill switch
	kindClick    = "click"    // id = Action.ID: requests of people that were refused
	kindHandsOn  = "handson"  // id = hash of a target: a person undid what we had done
	kindAlert    = "alert"    // id = alert id: the incident as last seen
	kindNotice   = "notice"   // id = destination/alert id: what was shown there
	kindDigest   = "digest"   // id = destination/digest id: the incidents that it carries
	kindCursor   = "cursor"   // id = partition: how far Handle has come
	kindTriage   = "triage"   // id = alert id: what people made of it
	kindNote     = "note"     // id = what it is about: the configuration, the rules, a replay
	kindSeen     = "seen"     // id = request id: a call of ours that came back in the trail
	kindLineage  = "lineage"  // id = hash of a key: what it has made
	kindResolved = "resolved" // id = of the action as the playbook words it: what it came to
	kindCard     = "card"     // id = alert id: what is known of the key that it is about
	kindAsk      = "ask"      // id = alert id: who was asked about it, and what they said
	kindSilence  = "silence"  // id = silence id
)

const onlyID = "all"

// readLast reads the newest record of a history into v. seq is 0 when there
// is none and v is untouched.
func readLast(ctx context.Context, j Journal, kind, id string, v any) (seq uint64, err error) {
	var e Entry
	if lr, ok := j.(LastReader); ok {
		found := false
		if e, found, err = lr.Last(ctx, kind, id); err != nil || !found {
			return 0, err
		}
	} else {
		h, err := j.History(ctx, kind, id)
		if err != nil || len(h) == 0 {
			return 0, err
		}
		e = h[len(h)-1]
	}
	if err := unmarshal(e.Data, v); err != nil {
		return 0, fmt.Errorf("journal record %s %s at %d: %w", kind, id, e.Seq, err)
	}
	return e.Seq, nil
}

// eachLast visits the newest record of every history of a kind.
func eachLast(ctx context.Context, j Journal, kind string, yield func(id string, e Entry) error) error {
	if s, ok := j.(Scanner); ok {
		return s.EachLast(ctx, kind, yield)
	}
	ids, err := j.IDs(ctx, kind)
	if err != nil {
		return err
	}
	for _, id := range ids {
		h, err := j.History(ctx, kind, id)
		if err != nil {
			return err
		}
		if len(h) > 0 {
			if err := yield(id, h[len(h)-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// newestOf reads the newest record of every history of a kind, by id. One that
// cannot be read is reported to bad and left out.
func newestOf[T any](ctx context.Context, j Journal, kind string, bad func(id string, e Entry, err error)) (map[string]T, error) {
	out := map[string]T{}
	err := eachLast(ctx, j, kind, func(id string, e Entry) error {
		var v T
		delete(out, id) // met again: this is the newer record
		if err := unmarshal(e.Data, &v); err != nil {
			bad(id, e, err)
			return nil
		}
		out[id] = v
		return nil
	})
	return out, err
}

func appendJSON(ctx context.Context, j Journal, kind, id string, v any, expect uint64) (uint64, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("journal record %s %s: %w", kind, id, err)
	}
	return j.Append(ctx, kind, id, data, expect)
}

// change reads a record, lets edit change it and appends the result, until no
// other writer comes between. edit returns false to leave things as they are.
func change[T any](ctx context.Context, j Journal, kind, id string, edit func(v *T) bool) error {
	for {
		var v T
		seq, err := readLast(ctx, j, kind, id, &v)
		if err != nil {
			return err
		}
		if !edit(&v) {
			return nil
		}
		_, err = appendJSON(ctx, j, kind, id, v, seq)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
