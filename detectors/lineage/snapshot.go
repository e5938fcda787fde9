package lineage

import (
	"fmt"

	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

const magic = "TWLINEAGE1\n"

// Snapshot implements detectors.Snapshotter.
func (s *Store) Snapshot() []byte {
	enc := snapshot.NewEncoder(magic)
	enc.Int(s.floor)
	for _, t := range []*window.Table[birth]{s.lasting, s.sessions} {
		enc.Uint(t.Evicted())
		enc.Uint(uint64(t.Len()))
		for e := range t.All() {
			b := &e.State
			for _, w := range []string{e.Key, b.of, b.maker, b.key, b.action, b.event} {
				enc.String(w)
			}
			enc.Int(b.at)
		}
	}
	enc.Uint(s.makers.Evicted())
	enc.Uint(uint64(s.makers.Len()))
	for e := range s.makers.All() {
		enc.String(e.Key)
		enc.Uint(e.State.total)
		enc.Uint(uint64(len(e.State.newest)))
		for i := range e.State.newest {
			c := &e.State.newest[i]
			for _, w := range []string{c.name, c.of, c.action, c.event} {
				enc.String(w)
			}
			enc.Int(c.at)
		}
	}
	return enc.Seal()
}

// Restore implements detectors.Snapshotter.
func (s *Store) Restore(data []byte) error {
	s.reset()
	if err := s.restore(data); err != nil {
		s.reset()
		return fmt.Errorf("lineage: %w", err)
	}
	return nil
}

func (s *Store) restore(data []byte) error {
	dec, err := snapshot.Open(data, magic)
	if err != nil {
		return err
	}
	s.floor = dec.Int()
	for _, t := range []*window.Table[birth]{s.lasting, s.sessions} {
		evicted := dec.Uint()
		for range dec.Count(7) {
			key := dec.StringTo(window.MaxKey)
			b := birth{of: dec.StringTo(window.MaxKey), maker: dec.StringTo(window.MaxKey), key: dec.StringTo(window.MaxValue), action: dec.StringTo(window.MaxValue), event: dec.StringTo(window.MaxID), at: dec.Int()}
			if dec.Err() != nil {
				return dec.Err()
			}
			e, isNew := t.Touch(key)
			if !isNew {
				dec.Fail("two births of one child")
			}
			e.State = b
			t.Resize(e, b.size(), nil)
		}
		t.SetEvicted(t.Evicted() + evicted)
	}
	evicted := dec.Uint()
	for range dec.Count(3) {
		e, isNew := s.makers.Touch(dec.StringTo(window.MaxKey))
		if !isNew && dec.Err() == nil {
			dec.Fail("one maker twice")
		}
		e.State.total = dec.Uint()
		n := dec.Count(5)
		if n > maxChildren || uint64(n) > e.State.total || n == 0 {
			dec.Fail("%d children of one maker", n)
		}
		size := 0
		for range n {
			c := child{name: dec.StringTo(window.MaxKey), of: dec.StringTo(window.MaxKey), action: dec.StringTo(window.MaxValue), event: dec.StringTo(window.MaxID), at: dec.Int()}
			if dec.Err() != nil {
				return dec.Err()
			}
			if k := len(e.State.newest); k > 0 && e.State.newest[k-1].at > c.at {
				dec.Fail("children out of order")
			}
			e.State.newest = append(e.State.newest, c)
			size += c.size()
		}
		if dec.Err() != nil {
			return dec.Err()
		}
		s.makers.Resize(e, size, nil)
	}
	s.makers.SetEvicted(s.makers.Evicted() + evicted)
	return dec.End()
}
