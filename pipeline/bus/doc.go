// Package bus is the durable memory of the pipeline on JetStream: it starts
// the embedded server (or reaches a cluster), owns the streams and what they
// promise, and speaks the records that live in them.
//
//	EVENTS   ev.<p>.<s>            frames: up to 256 records of one partition and one source shard
//	COMMITS  cm.<p>  cur.<name>.<p>  one record per step of a partition worker; readers' cursors
//	ACTIONS  act.<kind>.<id>       the journal of notices and containment
//	QUAR     q.<reason>.<p>.<id>   records that could not be evaluated, with their raw bytes
//	SNAP     snap.<p>.<g>  snapm.<p>  snapshots in chunks, and their manifests
//
// <p> is the partition number and <s> a hash of source and shard: a subject
// never holds text that came from an event or a name.
//
// # What an acknowledgement means
//
// The embedded server runs with SyncAlways: a publish that returned is on the
// disk. That costs one fsync per message, which is why a message is a frame and
// never one event. An external cluster must be configured with
// sync_interval: always; nothing here can check that.
//
// # Who may write
//
// Every subject with an order (ev, cm, snapm) is written with the expected last
// sequence of that subject. A writer that lost its place gets [ErrFenced] and has
// to read again; so no subject ever holds a duplicate or a branch, without any
// time-limited deduplication window. A time-out is not a failure: [Bus.Publish]
// resends the same message and, when in doubt, reads back the last one.
//
// # Reading
//
// Readers go by stream sequence from a position they keep themselves. Consumer
// acknowledgements are never used: in a single-replica stream they are not
// durable. EVENTS, COMMITS and SNAP are without direct get, so every read is
// answered by the stream's leader.
package bus
