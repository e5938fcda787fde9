package absence

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// outline is a small record of an event: who, where, what and when.
func outline(raw []byte, at time.Time) []byte {
	ev, err := event.Parse(raw)
	if err != nil {
		return nil
	}
	ev.Time = at
	text := func(s string) string {
		if len(s) > window.MaxKey {
			return ""
		}
		return s
	}
	who := map[string]any{}
	for key, v := range map[string]string{"type": ev.Actor.Type.String(), "accountId": ev.Actor.Account, "userName": ev.Actor.Name, "principalId": ev.Actor.Principal, "accessKeyId": ev.Actor.Key} {
		if v = text(v); v != "" {
			who[key] = v
		}
	}
	rec := map[string]any{"userIdentity": who, "eventTime": ev.Time.UTC().Format(time.RFC3339Nano)}
	for key, v := range map[string]string{
		"eventId": ev.ID, "eventName": ev.Name, "serviceName": ev.Service, "acsRegion": ev.Region, "recipientAccountId": ev.Recipient,
		"eventRW": ev.RW.String(), "eventType": ev.Type, "sourceIpAddress": ev.Address.Text, "errorCode": ev.ErrorCode,
	} {
		if v = text(v); v != "" {
			rec[key] = v
		}
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil // strings and maps of them always have a JSON form
	}
	return b
}

const magic = "TWABSENCE1\n"

// Snapshot implements detectors.Detector.
func (d *Detector) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(d.floor)
	enc.Int(d.mark)
	enc.Uint(d.table.Evicted())
	enc.Uint(uint64(d.table.Len()))
	for e := range d.table.All() {
		s := &e.State
		enc.String(e.Key)
		enc.Int(s.first)
		enc.Int(s.last - s.first)
		enc.Uint(s.seen)
		enc.Int(s.epoch)
		enc.Int(s.limit)
		enc.Int(s.usual)
		enc.Bool(s.stale)
		enc.Bool(s.reported)
		enc.String(s.id)
		enc.String(string(s.record.Bytes()))
		enc.Uint(uint64(len(s.classes)))
		for _, c := range s.classes {
			enc.Uint(uint64(c.no))
			enc.Uint(uint64(c.n))
			enc.Uint(uint64(c.before))
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Detector.
func (d *Detector) Restore(data []byte) error {
	d.reset()
	if err := d.restore(data); err != nil {
		d.reset()
		return fmt.Errorf("absence: %w", err)
	}
	return nil
}

func (d *Detector) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	d.floor, d.mark = dec.Int(), dec.Int()
	evicted := dec.Uint()
	low, high := window.Nanos(time.Time{}), window.Nanos(time.Unix(1<<40, 0))
	longest := int64(d.cfg.longest())
	for range dec.Count(12) {
		e, isNew := d.table.Touch(window.Bound(dec.String()))
		if !isNew && dec.Err() == nil {
			dec.Fail("two states of one key")
		}
		s := &e.State
		first, age := dec.Int(), dec.Int()
		s.seen, s.epoch, s.limit, s.usual = dec.Uint(), dec.Int(), dec.Int(), dec.Int()
		s.stale, s.reported = dec.Bool(), dec.Bool()
		s.id, s.record = dec.String(), event.RecordOf([]byte(dec.String()))
		if first < low || first > high || age < 0 || age > high-first || s.seen == 0 || s.limit < 0 || s.limit > longest || s.usual < 0 || s.reported && s.limit == 0 {
			dec.Fail("an entity that cannot be")
		}
		s.first, s.last = first, first+age
		if s.epoch < d.epoch(low) || s.epoch > d.epoch(s.last) {
			dec.Fail("silences of a time that cannot be")
		}
		if s.record.Len() > MaxRecord || len(s.id) > window.MaxID {
			dec.Fail("a last event that is too large")
		}
		n := dec.Count(3)
		if n > classes {
			dec.Fail("more classes of silences than there are")
		}
		if dec.Err() != nil {
			break
		}
		if s.record.Len() > 0 {
			if _, err := event.Parse(s.record.Append(nil)); err != nil {
				return fmt.Errorf("the last event of a key: %w", err)
			}
		}
		for range n {
			no, count, before := dec.Uint(), dec.Uint(), dec.Uint()
			if no >= classes || count+before == 0 || max(count, before) > math.MaxUint32 || len(s.classes) > 0 && no <= uint64(s.classes[len(s.classes)-1].no) {
				dec.Fail("a class of silences that cannot be")
				break
			}
			s.classes = append(s.classes, class{no: uint8(no), n: uint32(count), before: uint32(before)})
		}
		if dec.Err() != nil {
			break
		}
		d.enqueue(e)
		d.table.Resize(e, s.size(), d.drop)
	}
	d.table.SetEvicted(d.table.Evicted() + evicted)
	return dec.End()
}
