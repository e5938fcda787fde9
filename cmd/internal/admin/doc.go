// Package admin is how the command line reaches a running trailwarden: a small
// JSON API on a Unix socket in the state folder. No port is opened; the file
// system decides who may connect, and the kernel says who did.
package admin
