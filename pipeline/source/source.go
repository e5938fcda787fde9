// Package source is the leaf between sources of records (SLS, files) and the
// ingester that makes them durable: a page goes one way, its acknowledgement
// the other.
package source

import (
	"context"
	"errors"
	"time"
)

// Page is what one read of one shard returned: records and the span of
// positions they cover. Records alias the reader's buffer and are valid until
// Store returns.
type Page struct {
	// Source names where the page is from, "sls/<project>/<logstore>".
	Source string
	Shard  int
	// From and To are the source's own positions: the page covers [From, To).
	From, To string
	// Records are raw audit records, one entry each.
	Records [][]byte
	// Times are, where the source knows them, the source's own times of the
	// records in unix seconds, one for each; 0 is a record that came in one log
	// with the record before it. They are what Origin.Count counts by.
	Times []int64
	// Received is when the page was read (ingest stamp), UTC.
	Received time.Time
}

// ErrGone: the source does not have what was asked for any more.
var ErrGone = errors.New("the source does not have it any more")

// ErrUncountable: the source cannot say how much it holds, and will not be able
// to until somebody changes its settings or our permissions.
var ErrUncountable = errors.New("the source cannot count")

// Origin is what the pipeline asks a source that pages come from. Its methods
// are safe for concurrent use.
type Origin interface {
	// Name is Page.Source of its pages.
	Name() string
	// Behind are the shards that have records which were not handed to Store
	// yet, or may have: after a start, while a backlog is read, and when they
	// were not at their ends for longer than a moment.
	Behind() []int
	// Settled is a time of which everything that the source held then was
	// stored. It stands still while a page is on its way or a shard that is read
	// here gives no answer, and is zero before that is known of all of them. Of
	// shards that another process reads, it is as long ago as it takes to find
	// that there is no such process any more.
	Settled() time.Time
	// Refetch reads what lies between two positions of a shard once more. It
	// stops at take's first error. ErrGone: not all of it is there any more.
	Refetch(ctx context.Context, shard int, from, to string, take func(Page) error) error
	// Count says how many logs the source holds whose own time lies in
	// [from, to), whole minutes. Not whole means: ask again later.
	// ErrUncountable: asking again does not help.
	Count(ctx context.Context, from, to time.Time) (n uint64, whole bool, err error)
}

// Sink takes pages. One call at a time per shard, several shards at once.
type Sink interface {
	// Store returns nil only when every record of the page is durable, or
	// parked with its reason. A page stored twice is stored once in effect.
	// An error means: try the same page again.
	Store(ctx context.Context, p Page) error
	// Position returns the To of the last durable page of a shard, "" when
	// there is none. It is the truth; the source's own checkpoint is a hint.
	Position(ctx context.Context, source string, shard int) (string, error)
}
