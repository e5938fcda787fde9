// Package slstest is an emulator of Alibaba Cloud Log Service (SLS) that
// speaks the real wire protocol over HTTP: protobuf pages in lz4 or zstd,
// cursors, consumer groups with heartbeats, assignment and eviction,
// checkpoints, shards that split and merge, both request signatures, quotas and error codes.
// The real SDK is meant to be its only client. It serves tests, the demo and
// anyone without a cloud account.
//
// What the vendor documents is followed; where only behaviour seen through
// the SDK is known, the choice is written beside the code. Faults are
// scripted with [Server.Inject]: delays, error codes, answers that are lost
// after the work was done, garbage, wrong or missing headers.
package slstest
