// Package source is the leaf between sources of records (SLS, files) and the
// ingester that makes them durable: a page goes one way, its acknowledgement
// the other.
package source

import (
	"context"
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
	// Received is when the page was read (ingest stamp), UTC.
	Received time.Time
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
