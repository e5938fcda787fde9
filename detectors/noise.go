package detectors

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
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

func (n *noise) snapshot(enc *encoder) {
	enc.time(n.since)
	enc.uvarint(uint64(n.alerts))
	enc.uvarint(uint64(len(n.days)))
	for _, d := range slices.Sorted(maps.Keys(n.days)) {
		enc.time(time.Unix(d*86400, 0))
		enc.uvarint(uint64(n.days[d]))
	}
	enc.uvarint(uint64(len(n.open)))
	for _, id := range slices.Sorted(maps.Keys(n.open)) {
		enc.uvarint(id)
		enc.time(n.open[id])
	}
	enc.uvarint(uint64(len(n.actors)))
	for _, id := range slices.Sorted(maps.Keys(n.actors)) {
		enc.string(id)
		enc.uvarint(uint64(n.actors[id]))
	}
}

func restoreNoise(d *decoder) *noise {
	n := newNoise()
	n.since = d.time()
	n.alerts = int(d.uvarint())
	for range d.count(2) {
		day := dayOf(d.time())
		n.days[day] = int(d.uvarint())
	}
	for range d.count(2) {
		id := d.uvarint()
		n.open[id] = d.time()
	}
	for range d.count(2) {
		id := d.string()
		n.actors[id] = int(d.uvarint())
	}
	return n
}
