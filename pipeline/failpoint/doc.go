// Package failpoint names the moments at which a crash test ends the process.
// In a program that is built without the tag "failpoint" Hit does nothing and
// costs nothing; no shipped program has the tag.
//
// With the tag, the variable FAILPOINT holds "name" or "name=n":
// the n-th time (default the first) that Hit is called with that name, the
// process ends itself with SIGKILL, as an outage would. HEARTBEAT replaces how often
// a process tells a consumer group that it lives, so that a test of several processes
// need not wait as long as people do.
package failpoint

// The names. Each is hit by TestKilledAtEveryPoint of cmd/internal/cli.
const (
	IngestPulled     = "ingest.pulled"     // a page was read, nothing of it is stored
	IngestFrame      = "ingest.frame"      // one of its frames is stored
	IngestStored     = "ingest.stored"     // all are, the source does not know
	SourceCheckpoint = "source.checkpoint" // the source knows
	WorkerEvaluated  = "worker.evaluated"  // a step is evaluated and not committed
	WorkerCommitted  = "worker.committed"  // it is committed, the process does not know
	SnapshotChunks   = "snapshot.chunks"   // a snapshot is written and not listed
	SnapshotSaved    = "snapshot.saved"    // it is listed, what it replaces is still there
	ReaderHanded     = "reader.handed"     // alerts are journalled, the reader's place is not
	DispatchSaved    = "dispatch.saved"    // an alert is journalled, its actions are not
	DispatchProposed = "dispatch.proposed" // its actions are, its notices are not
	NoticeStarted    = "notice.started"    // a message is announced in the journal and not sent
	NoticePosted     = "notice.posted"     // it is sent, the journal does not know
	ActionReserved   = "action.reserved"   // an action has its slot and no intent
	ActionExecuting  = "action.executing"  // its intent is durable, the call is not made
	ActionCalled     = "action.called"     // the call is made, the journal does not know
)

// Names lists all of them.
func Names() []string {
	return []string{
		IngestPulled, IngestFrame, IngestStored, SourceCheckpoint, WorkerEvaluated, WorkerCommitted, SnapshotChunks, SnapshotSaved,
		ReaderHanded, DispatchSaved, DispatchProposed, NoticeStarted, NoticePosted, ActionReserved, ActionExecuting, ActionCalled,
	}
}
