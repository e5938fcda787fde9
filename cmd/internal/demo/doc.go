// Package demo tells the first minute: a deterministic three-day trail of an
// invented company, thirty identities at their daily work and one intrusion,
// and the show that plays it through the fake cloud and the real pipeline.
package demo
