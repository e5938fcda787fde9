//go:build race

package rampolicy

const raceDetector = true
