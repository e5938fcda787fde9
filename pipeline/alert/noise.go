package alert

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// MaxNoiseActors bounds the actors of a Noise.
const MaxNoiseActors = 16

// Noise is what a rule in shadow would have made of the events since Since:
// alerts, exceptions taken off, by the day (UTC) on which their window begins.
type Noise struct {
	Since  time.Time `json:"since,omitzero"` // event time
	Until  time.Time `json:"until,omitzero"`
	Alerts int       `json:"alerts"`
	// Days are those with alerts of the last 35, oldest first.
	Days []NoiseDay `json:"days,omitempty"`
	// Actors caused most of them, the most first; counts are at most too high by
	// what was displaced.
	Actors []NoiseActor `json:"actors,omitempty"`
}

// Span is how many days were measured.
func (n Noise) Span() float64 {
	if n.Since.IsZero() {
		return 0
	}
	return n.Until.Sub(n.Since).Hours() / 24
}

// PerDay is how many alerts there are a day. Less than a day is not stretched to
// one: it would make a burst of an hour look like a day of bursts.
func (n Noise) PerDay() float64 { return float64(n.Alerts) / max(n.Span(), 1) }

// NoiseDay is how many alerts one day had.
type NoiseDay struct {
	Day    time.Time `json:"day"`
	Alerts int       `json:"alerts"`
}

// NoiseActor is how many alerts are of one actor.
type NoiseActor struct {
	ID     string `json:"id"`
	Alerts int    `json:"alerts"`
}

// SortActors puts the one with most alerts first.
func SortActors(as []NoiseActor) {
	lists.Sort(as, func(a, b NoiseActor) int {
		return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), strings.Compare(a.ID, b.ID))
	})
}

// Join adds up the noise of one rule in several partitions.
func (n Noise) Join(m Noise) Noise {
	if n.Since.IsZero() || !m.Since.IsZero() && m.Since.Before(n.Since) {
		n.Since = m.Since
	}
	if m.Until.After(n.Until) {
		n.Until = m.Until
	}
	n.Alerts += m.Alerts
	days := map[time.Time]int{}
	for _, d := range append(slices.Clone(n.Days), m.Days...) {
		days[d.Day] += d.Alerts
	}
	n.Days = nil
	for d, alerts := range days {
		n.Days = append(n.Days, NoiseDay{d, alerts})
	}
	lists.Sort(n.Days, func(a, b NoiseDay) int { return a.Day.Compare(b.Day) })
	actors := map[string]int{}
	for _, a := range append(slices.Clone(n.Actors), m.Actors...) {
		actors[a.ID] += a.Alerts
	}
	n.Actors = nil
	for id, c := range actors {
		n.Actors = append(n.Actors, NoiseActor{id, c})
	}
	SortActors(n.Actors)
	n.Actors = n.Actors[:min(len(n.Actors), MaxNoiseActors)]
	return n
}
