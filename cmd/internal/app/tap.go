package app

import (
	"context"
	"fmt"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/bus"
)

// Tap implements admin.Backend. It reads the stream beside the workers and
// moves no position of theirs.
func (a *App) Tap(ctx context.Context, frames int, follow bool, fn func(admin.Tapped) error) error {
	st, err := a.bus.State(ctx, bus.StreamEvents)
	if err != nil {
		return err
	}
	from := st.Last + 1
	if n := uint64(frames); frames > 0 {
		from = max(st.First, 1)
		if st.Last+1 > n {
			from = max(from, st.Last+1-n)
		}
	}
	if !follow && from > st.Last {
		return nil
	}
	r := a.bus.NewReader(bus.StreamEvents, from, 8)
	defer r.Stop()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		f, err := bus.DecodeFrame(m.Data)
		if err != nil {
			return fmt.Errorf("frame %d: %w", m.Seq, err)
		}
		for _, rec := range f.Records {
			if err := fn(admin.Tapped{Partition: f.Partition, Received: m.Time.UTC(), Source: f.Source, Record: string(rec)}); err != nil {
				return err
			}
		}
		if !follow && m.Seq >= st.Last {
			return nil
		}
	}
}
