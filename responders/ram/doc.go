// Package ram changes what a compromised identity can do, through Alibaba
// Cloud's RAM, IMS, STS and ActionTrail: it fences a key or a user in, disables
// an AccessKey, blocks a console login, quarantines a user, cuts a role's
// sessions and narrows its trust, detaches a policy, sets a policy's default
// version, removes a user from a group, and switches a trail on. Each is a
// [responders.Executor] that reads before it acts, makes the call that sets an
// absolute state, reads back, and can restore what it read.
//
// It never deletes anything but the policies that it made itself, never
// creates a credential and never calls with an empty user name, which would
// hit the caller's own keys.
//
// The vendor's SDK has no contexts, no goroutine safety, no pause between
// retries, speaks plain HTTP by default, panics on odd answers and takes an
// empty answer for success. Everything here goes through [Client], which
// guards against all of that and says of every failure whether the call can
// have taken effect.
package ram
