// Package fakecloud is a whole cloud on one loopback address: the emulators of
// SLS, of RAM, IMS, STS and ActionTrail, and of Slack, fed from recorded
// events, with a journal of every request and a configuration that points
// trailwarden at it.
package fakecloud
