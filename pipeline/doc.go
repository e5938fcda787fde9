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
// # Fencing and ownership
//
// A worker takes over a partition by appending a fence record with a higher epoch.
// From then on the former owner's next commit is refused (bus.ErrFenced), and it
// stops and drops its state. A lease decides who should try; the fence decides who
// may. Neither clock nor lease is trusted for correctness.
//
// An embedded store has one process, which owns everything at once. On a cluster
// (Config.Leases) every process writes a heartbeat into the bucket LEASE, and each
// computes from the live ones who owns what: the highest score of (member, piece)
// wins, shares differ by one at most. A lease lives 10 s, is renewed every 3 s, and
// its holder stops 7 s after it began the last renewal that succeeded; others take
// it 7.5 s after they saw it renewed. Handing over in order is: commit, snapshot,
// give the lease back. The last process to go evaluates what is stored first. The
// readers of alerts are owned the same way, as a whole: one process hands alerts
// on, another stands by and begins with what the journal says is unfinished.
//
// # Inputs that end the process
//
// A panic is its record's (parked, reason "panic"). A stack overflow or a runtime
// failure ends the process, and the same frame would end the next one. So a fence
// counts the owners in a row that have begun at its input and neither committed a
// step nor ended in order. After two of them, frames are parsed, evaluated and
// committed one by one; the first one record by record, with a marker in the chain
// before each record and all other workers of the process held back meanwhile. A
// record during which three owners have ended is parked (reason "ended-process") and
// named in all further commits until no snapshot lies before it, so that a
// re-evaluation leaves it out too. One such record costs five ends of the process
// when it is in the first frame, six elsewhere, and three more for each further one
// in the frame. Before the third attempt at a record a second passes, unmarked: a
// process that is killed from outside soon after each start, which is when it is at
// the record in doubt, costs only time.
//
// # The books
//
// Frames count the logs they stand for, workers keep a ledger of them, and the
// ingesting side compares it with the source's own count. Frames missing in the
// middle of a subject are read again from the source; those at its end are, too.
// What the program notices about itself is committed like an alert (Raise).
//
// # What is not survived
//
// DESIGN.md, section RELIABILITY, says so with every promise and its test. A
// server of a cluster whose disk is full stops storing without giving up the lead;
// after three messages without an answer its lead is taken away.
package pipeline
