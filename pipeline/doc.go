// Package pipeline is the live loop: pages of records become durable frames, a
// worker per partition evaluates them in order and commits the alerts, and
// readers hand the alerts to whoever responds.
//
//	source ─▶ Ingester ─▶ EVENTS ─▶ Worker (one per partition) ─▶ COMMITS ─▶ AlertReader ─▶ responders
//
// # What is ordered by what
//
// Frames of one source shard in one partition are in the order of the source.
// Frames of one partition are in the order of the stream, and that order, fixed
// when a frame is stored, is the order of evaluation for ever. Between
// partitions there is no order. Commit records of a partition form a chain: each
// names the one before it.
//
// # Positions
//
// Data and position are one message. Every frame of a page carries the page's
// span and, for each partition, how many frames of this shard it has received
// after the page and within it. The newest page is complete when every
// partition's last frame has reached its count; then the position is the page's
// To, otherwise its From. So a page in which a partition received nothing costs
// that partition nothing, no separate position record can disagree with the
// data, and frames that were lost at the end of a subject show as a count that
// is not reached. A page without any record for us is a Mark frame in one
// partition.
//
// # Nothing twice
//
// A source returns other page boundaries when it is asked again, so an interrupted
// page cannot be recognised by its id. When a page begins before what is stored
// (an interrupted page, a source that went back), the ingester walks back over the
// stored frames beyond the page's From, by their links, and leaves out the records
// it finds there, by hash and count. That is exact for any boundaries, needs no
// per-record position from the source, and errs towards storing: a record is left
// out only when the same bytes are stored. Worker and engine therefore never see a
// record twice because of us; what the source itself repeats, the engine drops by
// account and event id. Every subject is written with its expected last sequence,
// so a second ingester on the same shard is refused and has to look again.
//
// # State
//
// State is not written as deltas. The engine is deterministic: its state after a
// frame is a function of the frames up to it. A start loads the newest good
// snapshot, evaluates the frames between it and the committed input once more with
// output suppressed, and goes on. A delta would be a second encoding of every
// detector's change, and one that disagrees with the code is a fault nobody sees.
// The price is a start that evaluates up to one snapshot interval again, and EVENTS
// that are kept from the older of two snapshots on.
//
// # Fencing
//
// A worker takes over a partition by appending a fence record with a higher epoch.
// From then on the former owner's next commit is refused (bus.ErrFenced), and it
// stops and drops its state. A lease decides who should try; the fence decides who
// may. Neither clock nor lease is trusted for correctness.
package pipeline
