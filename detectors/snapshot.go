package detectors

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// snapshotMagic names the encoding; a change of the encoding changes it. What
// an older program wrote is read as long as formats lists it.
const snapshotMagic = "TWENGINE5\n"

// formats are the encodings that Restore reads: 4 has no noise of rules in shadow, 3 no lineage, 2 does not say which shards had
// more to give, 1 does not say either what exceptions have withheld.
var formats = []string{"TWENGINE1\n", "TWENGINE2\n", "TWENGINE3\n", "TWENGINE4\n", snapshotMagic}

// Snapshot returns the whole state: duplicate horizon, watermark and shards,
// waiting events, every detector and the policy judge. It is deterministic
// and has a checksum. Detections that were not taken are not part of it: call
// Take first.
func (e *Engine) Snapshot() []byte {
	e.sweep()
	enc := snapshot.NewEncoder(snapshotMagic)
	enc.Time(e.now)
	enc.Time(e.mark)
	enc.Time(e.stepped)

	s := &e.stats
	for _, n := range []uint64{s.Events, s.Duplicates, s.Late, s.Spilled, s.Future, s.RuleErrors, s.Excepted, s.Detections, s.StateLost} {
		enc.Uint(n)
	}

	reasons := slices.Sorted(maps.Keys(e.excepted))
	enc.Uint(uint64(len(reasons)))
	for _, r := range reasons {
		enc.String(r)
		enc.Uint(e.excepted[r])
	}

	names := make([]string, 0, len(e.shards))
	for n := range e.shards {
		names = append(names, n)
	}
	sort.Strings(names)
	enc.Uint(uint64(len(names)))
	for _, n := range names {
		sh := e.shards[n]
		enc.String(n)
		enc.Time(sh.max)
		enc.Time(sh.active)
		enc.Bool(sh.idle)
		enc.Bool(sh.behind)
	}

	e.seen.snapshot(enc)

	waiting := e.pending.sorted()
	enc.Uint(uint64(len(waiting)))
	for i := range waiting {
		enc.Time(waiting[i].at)
		enc.Bytes(waiting[i].raw())
	}

	enc.Uint(uint64(len(e.rules)))
	for i := range e.rules {
		r := &e.rules[i]
		enc.String(r.ID)
		enc.Uint(e.counts[i].Matches)
		enc.Uint(e.counts[i].Errors)
		enc.Bool(e.dets[i] != nil)
		if e.dets[i] != nil {
			enc.String(r.State)
			enc.Bytes(e.dets[i].Snapshot())
		}
	}

	j, ok := e.cfg.Judge.(Snapshotter)
	enc.Bool(ok)
	if ok {
		enc.Bytes(j.Snapshot())
	}
	enc.Bool(e.lineage != nil)
	if e.lineage != nil {
		enc.Bytes(e.lineage.Snapshot())
	}
	quiet := 0
	for _, n := range e.noise {
		if n != nil {
			quiet++
		}
	}
	enc.Uint(uint64(quiet))
	for i, n := range e.noise {
		if n != nil {
			enc.String(e.rules[i].ID)
			enc.String(e.rules[i].Digest)
			n.snapshot(enc)
		}
	}
	return enc.Seal()
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
	d, err := snapshot.Open(data, formats...)
	if err != nil {
		return err
	}
	format := 1 + slices.Index(formats, d.Magic())
	e.now, e.mark, e.stepped = d.Time(), d.Time(), d.Time()
	e.restoreCounts(d, format)
	e.restoreShards(d, format)
	e.seen.restore(d)
	if err := e.restoreWaiting(d); err != nil {
		return err
	}
	number := make(map[string]int, len(e.rules))
	for i := range e.rules {
		number[e.rules[i].ID] = i
	}
	if err := e.restoreRules(d, number); err != nil {
		return err
	}
	if err := e.restoreMemory(d, format); err != nil {
		return err
	}
	if format >= 5 {
		e.restoreNoise(d, number)
	}
	return d.End()
}

func (e *Engine) restoreCounts(d *snapshot.Decoder, format int) {
	s := &e.stats
	for _, n := range []*uint64{&s.Events, &s.Duplicates, &s.Late, &s.Spilled, &s.Future, &s.RuleErrors, &s.Excepted, &s.Detections, &s.StateLost} {
		*n = d.Uint()
	}
	if format < 2 {
		return
	}
	for range d.Count(2) {
		if e.excepted == nil {
			e.excepted = make(map[string]uint64)
		}
		reason := d.String()
		e.excepted[reason] = d.Uint()
	}
}

func (e *Engine) restoreShards(d *snapshot.Decoder, format int) {
	for range d.Count(1) {
		name := d.String()
		sh := &shard{max: d.Time(), active: d.Time(), idle: d.Bool()}
		if format >= 3 && d.Bool() {
			sh.behind = true
			e.behind++
		}
		e.shards[name] = sh
	}
}

// restoreWaiting finds out again what the waiting events have to do: the rules
// may have changed. What rules without state said was said before.
func (e *Engine) restoreWaiting(d *snapshot.Decoder) error {
	eval := NewEvaluator(e.set)
	for range d.Count(1) {
		at, raw := d.Time(), d.Bytes()
		if d.Err() != nil {
			return nil // End says it
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
			e.pending.push(&pending{at: at, ev: ev, work: v.work, judge: v.judge, turn: v.turn, birth: v.birth})
		}
	}
	return nil
}

// restoreRules gives the rules, which number has by id, their counts and the
// state of their detectors. State of a rule that is gone, or whose detector is
// set differently now, is lost.
func (e *Engine) restoreRules(d *snapshot.Decoder, number map[string]int) error {
	for range d.Count(1) {
		id := d.String()
		matches, errors, has := d.Uint(), d.Uint(), d.Bool()
		var state string
		var snap []byte
		if has {
			state, snap = d.String(), d.Bytes()
		}
		if d.Err() != nil {
			return nil // End says it
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
	return nil
}

// restoreMemory restores what belongs to no rule: the judge's and the lineage.
func (e *Engine) restoreMemory(d *snapshot.Decoder, format int) error {
	if d.Bool() {
		snap := d.Bytes()
		if j, ok := e.cfg.Judge.(Snapshotter); ok && d.Err() == nil {
			if err := j.Restore(snap); err != nil {
				return fmt.Errorf("policy judge: %w", err)
			}
		}
	}
	if format >= 4 && d.Bool() {
		snap := d.Bytes()
		if e.lineage != nil && d.Err() == nil {
			return e.lineage.Restore(snap)
		}
	}
	return nil
}

func (e *Engine) restoreNoise(d *snapshot.Decoder, number map[string]int) {
	for range d.Count(4) {
		id, digest := d.String(), d.String()
		n := restoreNoise(d)
		// A rule that was changed is measured anew.
		if i, ok := number[id]; ok && e.noise[i] != nil && e.rules[i].Digest == digest && d.Err() == nil {
			e.noise[i] = n
		}
	}
}

func restoreOne(d Detector, data []byte) (err error) {
	defer guard(&err)
	return d.Restore(data)
}
