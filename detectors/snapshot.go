package detectors

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// snapshotMagic names the encoding; a change of the encoding changes it. What
// an older program wrote is read as long as formats lists it.
const snapshotMagic = "TWENGINE5\n"

// formats are the encodings that Restore reads: 4 has no noise of rules in shadow, 3 no lineage, 2 does not say which shards had
// more to give, 1 does not say either what exceptions have withheld.
var formats = map[string]int{"TWENGINE1\n": 1, "TWENGINE2\n": 2, "TWENGINE3\n": 3, "TWENGINE4\n": 4, snapshotMagic: 5}

// Snapshot returns the whole state: duplicate horizon, watermark and shards,
// waiting events, every detector and the policy judge. It is deterministic
// and has a checksum. Detections that were not taken are not part of it: call
// Take first.
func (e *Engine) Snapshot() []byte {
	e.sweep()
	enc := &encoder{b: []byte(snapshotMagic)}
	enc.time(e.now)
	enc.time(e.mark)
	enc.time(e.stepped)

	s := &e.stats
	for _, n := range []uint64{s.Events, s.Duplicates, s.Late, s.Spilled, s.Future, s.RuleErrors, s.Excepted, s.Detections, s.StateLost} {
		enc.uvarint(n)
	}

	reasons := slices.Sorted(maps.Keys(e.excepted))
	enc.uvarint(uint64(len(reasons)))
	for _, r := range reasons {
		enc.string(r)
		enc.uvarint(e.excepted[r])
	}

	names := make([]string, 0, len(e.shards))
	for n := range e.shards {
		names = append(names, n)
	}
	sort.Strings(names)
	enc.uvarint(uint64(len(names)))
	for _, n := range names {
		sh := e.shards[n]
		enc.string(n)
		enc.time(sh.max)
		enc.time(sh.active)
		enc.bool(sh.idle)
		enc.bool(sh.behind)
	}

	e.seen.snapshot(enc)

	waiting := e.pending.sorted()
	enc.uvarint(uint64(len(waiting)))
	for i := range waiting {
		enc.time(waiting[i].at)
		enc.bytes(waiting[i].raw())
	}

	enc.uvarint(uint64(len(e.rules)))
	for i := range e.rules {
		r := &e.rules[i]
		enc.string(r.ID)
		enc.uvarint(e.counts[i].Matches)
		enc.uvarint(e.counts[i].Errors)
		enc.bool(e.dets[i] != nil)
		if e.dets[i] != nil {
			enc.string(r.State)
			enc.bytes(e.dets[i].Snapshot())
		}
	}

	j, ok := e.cfg.Judge.(Snapshotter)
	enc.bool(ok)
	if ok {
		enc.bytes(j.Snapshot())
	}
	enc.bool(e.lineage != nil)
	if e.lineage != nil {
		enc.bytes(e.lineage.Snapshot())
	}
	quiet := 0
	for _, n := range e.noise {
		if n != nil {
			quiet++
		}
	}
	enc.uvarint(uint64(quiet))
	for i, n := range e.noise {
		if n != nil {
			enc.string(e.rules[i].ID)
			enc.string(e.rules[i].Digest)
			n.snapshot(enc)
		}
	}
	return enc.seal()
}

// Restore replaces the state by a snapshot. A snapshot that is damaged or of
// an unknown version is refused and leaves the engine empty. State of rules
// that are gone or whose detector is set differently now is dropped and
// counted in Stats.StateLost.
func (e *Engine) Restore(data []byte) error {
	e.reset()
	if err := e.restore(data); err != nil {
		e.reset()
		return fmt.Errorf("restore detection state: %w", err)
	}
	return nil
}

func (e *Engine) restore(data []byte) error {
	d, format, err := unseal(data)
	if err != nil {
		return err
	}
	e.now, e.mark, e.stepped = d.time(), d.time(), d.time()
	s := &e.stats
	for _, n := range []*uint64{&s.Events, &s.Duplicates, &s.Late, &s.Spilled, &s.Future, &s.RuleErrors, &s.Excepted, &s.Detections, &s.StateLost} {
		*n = d.uvarint()
	}
	if format >= 2 {
		for range d.count(2) {
			if e.excepted == nil {
				e.excepted = make(map[string]uint64)
			}
			reason := d.string()
			e.excepted[reason] = d.uvarint()
		}
	}
	for range d.count(1) {
		name := d.string()
		sh := &shard{max: d.time(), active: d.time(), idle: d.bool()}
		if format >= 3 && d.bool() {
			sh.behind = true
			e.behind++
		}
		e.shards[name] = sh
	}
	e.seen.restore(d)

	// What the waiting events have to do is found out again: the rules may
	// have changed. What rules without state said was said before.
	eval := NewEvaluator(e.set)
	for range d.count(1) {
		at, raw := d.time(), d.bytes()
		if d.err != nil {
			break
		}
		ev, err := event.Parse(bytes.Clone(raw))
		if err != nil {
			return fmt.Errorf("waiting event: %w", err)
		}
		if ev.Time.IsZero() {
			ev.Time = at // as it was given one when it came
		}
		v := eval.Evaluate(ev)
		for i := range v.found {
			f := &v.found[i]
			if e.cfg.Except != nil {
				if _, withhold := e.cfg.Except(ev, &f.det); withhold {
					continue
				}
			}
			v.work = e.signalsOf(f.rule, ev, &f.det, v.work)
		}
		if v.Keeps() {
			e.pending.push(&pending{at: at, ev: ev, work: v.work, judge: v.judge, birth: v.birth})
		}
	}

	number := make(map[string]int, len(e.rules))
	for i := range e.rules {
		number[e.rules[i].ID] = i
	}
	for range d.count(1) {
		id := d.string()
		matches, errors, has := d.uvarint(), d.uvarint(), d.bool()
		var state string
		var snap []byte
		if has {
			state, snap = d.string(), d.bytes()
		}
		if d.err != nil {
			break
		}
		i, ok := number[id]
		if ok {
			e.counts[i].Matches, e.counts[i].Errors = matches, errors
		}
		if !has {
			continue
		}
		if !ok || e.dets[i] == nil || e.rules[i].State != state {
			e.stats.StateLost++
			continue
		}
		if err := restoreOne(e.dets[i], snap); err != nil {
			return fmt.Errorf("rule %s: %w", id, err)
		}
	}

	if d.bool() {
		snap := d.bytes()
		if j, ok := e.cfg.Judge.(Snapshotter); ok && d.err == nil {
			if err := j.Restore(snap); err != nil {
				return fmt.Errorf("policy judge: %w", err)
			}
		}
	}
	if format >= 4 && d.bool() {
		snap := d.bytes()
		if e.lineage != nil && d.err == nil {
			if err := e.lineage.Restore(snap); err != nil {
				return err
			}
		}
	}
	if format >= 5 {
		for range d.count(4) {
			id, digest := d.string(), d.string()
			n := restoreNoise(d)
			// A rule that was changed is measured anew.
			if i, ok := number[id]; ok && e.noise[i] != nil && e.rules[i].Digest == digest && d.err == nil {
				e.noise[i] = n
			}
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes follow the snapshot", len(d.b))
	}
	return d.err
}

func restoreOne(d Detector, data []byte) (err error) {
	defer guard(&err)
	return d.Restore(data)
}
