// Package doctor looks at everything that trailwarden depends on, with the
// real clients and without changing anything, and says of each thing whether
// it is well, and if not, what to do.
package doctor
