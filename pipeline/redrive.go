package pipeline

import (
	"context"
	"fmt"
	"strconv"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// redriveSource is the source name of records that come out of quarantine.
const redriveSource = "redrive"

// Redrive gives a parked record to detection again, after what kept it from
// being evaluated was mended, and removes it from quarantine. A record that
// still cannot be parsed stays parked and the reason is returned. When it is
// broken off in between, the record is evaluated and still parked; doing it
// again is harmless, as the engine drops by event id what it has seen.
func (in *Ingester) Redrive(ctx context.Context, p bus.Parked) error {
	if p.Cut {
		return fmt.Errorf("redrive %s: only the first %d of %d bytes are kept; fetch the record from the source again", p.ID, len(p.Raw), p.Size)
	}
	fault := error(nil)
	if err := event.Unwrap(p.Raw, func(one []byte) bool {
		_, fault = event.Parse(one)
		return fault == nil
	}); fault == nil {
		fault = err
	}
	if fault != nil {
		return fmt.Errorf("redrive %s: it still cannot be read: %w", p.ID, fault)
	}
	from, err := in.Position(ctx, redriveSource, 0)
	if err != nil {
		return fmt.Errorf("redrive %s: %w", p.ID, err)
	}
	n, _ := ordinal(from)
	err = in.Store(ctx, source.Page{Source: redriveSource, From: strconv.FormatInt(n, 10), To: strconv.FormatInt(n+1, 10), Records: [][]byte{p.Raw}})
	if err != nil {
		return fmt.Errorf("redrive %s: %w", p.ID, err)
	}
	if err := in.b.Unpark(ctx, p); err != nil {
		return fmt.Errorf("redrive %s: it is evaluated again, but still in quarantine: %w", p.ID, err)
	}
	return nil
}
