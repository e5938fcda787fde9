// Package sls reads an ActionTrail logstore of Alibaba Cloud Log Service with
// the vendor's consumer library and hands its records, page by page, to a
// source.Sink.
//
// The library (aliyun-log-go-sdk, package consumer) has traps that lose data,
// stop for ever or end the program. Each is fenced off here, on three lines:
//
//   - The processor ([processor]) runs inside the library: it recovers its own
//     panics, stores a page, waits until it is durable and only then lets the
//     checkpoint move; the sink's position, not the checkpoint, is the truth.
//   - The transport ([transport]) stands between the library and the network:
//     it classifies every request, drains bodies, maps error codes the library
//     misreads, paces retries, keeps absurd answers from the library's decoder
//     and, when closing, answers everything itself so that stopping ends.
//   - The supervisor ([Source.Run]) decides where each shard starts, watches
//     the age of the last good pull and heartbeat, and builds a new worker when
//     one no longer recovers by itself, always saying so.
//
// Delivery is at least once; the sink makes a repeated page count once.
package sls
