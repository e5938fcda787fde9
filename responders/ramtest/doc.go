// Package ramtest is an emulator of Alibaba Cloud's RAM (2015-05-01), IMS
// (2019-08-15), STS (2015-04-01) and ActionTrail (2020-07-06) APIs that speaks
// the real RPC wire form: signatures, timestamps and nonces are verified,
// temporary credentials are issued and checked, and the state of users, keys,
// login profiles, groups, roles, policies and trails changes as the calls say.
// Of ResourceManager (2020-03-31) the calls that list are there.
// The real SDK is meant to be its only client. It serves tests, the demo and
// anyone without a cloud account.
//
// What the vendor documents is followed; where behaviour is not documented,
// the choice is written beside the code. One documented trap is emulated on
// purpose: a call without a user name acts on the caller's own keys.
//
// Faults are scripted with [Server.Inject]: throttling, server errors, refused
// calls with an AccessDeniedDetail, garbage, delays, answers that are lost
// after the work was done, and reads that lag behind writes.
package ramtest
