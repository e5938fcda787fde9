package app

import (
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/absence"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/detectors/distinct"
	"github.com/trailwarden/trailwarden/detectors/lastseen"
	"github.com/trailwarden/trailwarden/detectors/peer"
	"github.com/trailwarden/trailwarden/detectors/rate"
	"github.com/trailwarden/trailwarden/detectors/risk"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/detectors/threshold"
	"github.com/trailwarden/trailwarden/detectors/travel"
)

// factories are the detectors that rules may ask for, by their type word.
var factories = map[string]detectors.Factory{
	"threshold":  threshold.Factory,
	"distinct":   distinct.Factory,
	"first_seen": baseline.Factory,
	"sequence":   sequence.Factory,
	"last_seen":  lastseen.Factory,
	"absence":    absence.Factory,
	"travel":     travel.Factory,
	"rate":       rate.Factory,
	"risk":       risk.Factory,
	"peer":       peer.Factory,
}
