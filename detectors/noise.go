package detectors

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// Bounds of what is measured of a rule in shadow.
const (
	noiseDays = 35
	noiseOpen = 4096 // alerts whose window is still open, told apart
)

// noise measures one rule. It is part of the engine's state.
type noise struct {
	since  time.Time
	alerts int
	days   map[int64]int // by days since 1970
	open   map[uint64]time.Time
	actors map[string]int
}

func newNoise() *noise {
	return &noise{days: map[int64]int{}, open: map[uint64]time.Time{}, actors: map[string]int{}}
}

func dayOf(t time.Time) int64 {
	s := t.Unix()
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return d
}

// add takes a detection that was not made.
func (n *noise) add(d *alert.Detection) {
	h := fnv.New64a()
	h.Write([]byte(alert.ID(d)))
	start, end := alert.Window(d)
	if _, known := n.open[h.Sum64()]; known {
		return
	}
	if len(n.open) < noiseOpen {
		n.open[h.Sum64()] = end
	}
	n.alerts++
	n.days[dayOf(start)]++
	who := cmp.Or(d.Actor.ID, d.Actor.Name, d.SourceIP, "(nobody)")
	if _, known := n.actors[who]; !known && len(n.actors) >= alert.MaxNoiseActors {
		// The least takes part under the new name (space saving).
		least := ""
		for id, c := range n.actors {
			if least == "" || c < n.actors[least] || c == n.actors[least] && id < least {
				least = id
			}
		}
		n.actors[who] = n.actors[least]
		delete(n.actors, least)
	}
	n.actors[strings.Clone(who)]++
}

// advance forgets what is long past.
func (n *noise) advance(mark time.Time) {
	if n.since.IsZero() {
		n.since = mark
	}
	for id, end := range n.open {
		if end.Add(24 * time.Hour).Before(mark) {
			delete(n.open, id)
		}
	}
	old := dayOf(mark) - noiseDays
	for d := range n.days {
		if d < old {
			delete(n.days, d)
		}
	}
}

func (n *noise) told(until time.Time) alert.Noise {
	out := alert.Noise{Since: n.since, Until: until, Alerts: n.alerts}
	for _, d := range slices.Sorted(maps.Keys(n.days)) {
		out.Days = append(out.Days, alert.NoiseDay{Day: time.Unix(d*86400, 0).UTC(), Alerts: n.days[d]})
	}
	for id, c := range n.actors {
		out.Actors = append(out.Actors, alert.NoiseActor{ID: id, Alerts: c})
	}
	alert.SortActors(out.Actors)
	return out
}

func (n *noise) snapshot(enc *snapshot.Encoder) {
	enc.Time(n.since)
	enc.Uint(uint64(n.alerts))
	enc.Uint(uint64(len(n.days)))
	for _, d := range slices.Sorted(maps.Keys(n.days)) {
		enc.Time(time.Unix(d*86400, 0))
		enc.Uint(uint64(n.days[d]))
	}
	enc.Uint(uint64(len(n.open)))
	for _, id := range slices.Sorted(maps.Keys(n.open)) {
		enc.Uint(id)
		enc.Time(n.open[id])
	}
	enc.Uint(uint64(len(n.actors)))
	for _, id := range slices.Sorted(maps.Keys(n.actors)) {
		enc.String(id)
		enc.Uint(uint64(n.actors[id]))
	}
}

func restoreNoise(d *snapshot.Decoder) *noise {
	n := newNoise()
	n.since = d.Time()
	n.alerts = int(d.Uint())
	for range d.Count(2) {
		day := dayOf(d.Time())
		n.days[day] = int(d.Uint())
	}
	for range d.Count(2) {
		id := d.Uint()
		n.open[id] = d.Time()
	}
	for range d.Count(2) {
		id := d.String()
		n.actors[id] = int(d.Uint())
	}
	return n
}
