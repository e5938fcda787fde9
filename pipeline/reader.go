package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// HandleAlerts takes the alerts of one commit record, in their order. It must
// be durable when it returns nil, and safe to repeat: after a crash, or when a
// partition is evaluated again, it sees the same alert ids with the same or
// later revisions. ctx carries the trace of the record, if it has one.
type HandleAlerts func(ctx context.Context, partition int, seq uint64, alerts []alert.Alert) error

// ReadAlerts hands every commit record with alerts to fn, in the order of the
// stream, beginning in each partition after the sequence in from (from the
// start where it has none). It follows new records until ctx ends; it returns
// ctx's error, fn's, or one of the bus. Records that cannot be read are logged
// and left out: their alerts are made again when the partition is evaluated from
// its snapshot, and the ids are the same.
func ReadAlerts(ctx context.Context, b *bus.Bus, from map[int]uint64, fn HandleAlerts) error {
	return readCommits(ctx, b, from, func(ctx context.Context, partition int, seq uint64, alerts []alert.Alert, _ bus.Delivery) error {
		if len(alerts) == 0 {
			return nil
		}
		return fn(ctx, partition, seq, alerts)
	})
}

// readCommits is ReadAlerts for all records, with what is known of each.
func readCommits(ctx context.Context, b *bus.Bus, from map[int]uint64, fn func(ctx context.Context, partition int, seq uint64, alerts []alert.Alert, d bus.Delivery) error) error {
	start := uint64(0)
	for p := range b.Partitions() {
		if s, ok := from[p]; !ok || s == 0 {
			start = 0
			break
		} else if start == 0 || s < start {
			start = s
		}
	}
	r := b.NewReader(bus.StreamCommits, start+1, 64, "cm.*")
	defer r.Stop()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return err
		}
		c, err := bus.DecodeCommit(d.Data)
		if err != nil {
			b.Logger().Error("a commit record cannot be read; its alerts are missing here", "seq", d.Seq, "subject", d.Subject, "error", err)
			continue
		}
		if d.Seq <= from[c.Partition] {
			continue
		}
		alerts := make([]alert.Alert, 0, len(c.Alerts))
		for _, raw := range c.Alerts {
			a, err := alert.UnmarshalStored(raw)
			if err != nil {
				b.Logger().Error("an alert in a commit record cannot be read", "seq", d.Seq, "error", err)
				continue
			}
			alerts = append(alerts, a)
		}
		if err := fn(trace.Continue(ctx, d.Trace), c.Partition, d.Seq, alerts, d); err != nil {
			return err
		}
	}
}

// AlertReader is a named reader of the alerts of all partitions that remembers
// how far it has got. One process at a time runs a name, and it runs it once at a
// time; with leases another one goes on when it ends. When COMMITS is full it
// removes what it has handled, so a bus has one name.
type AlertReader struct {
	Bus *bus.Bus
	// Name is under which the cursor is kept: small letters, digits, - and _.
	Name   string
	Handle HandleAlerts
	// Begin, when set, is called by every Run before anything is read: to
	// take over what another process has left. An error is tried again.
	Begin func(ctx context.Context) error
	// SaveEvery is the longest time between saving a cursor that has moved
	// (default 2 s). Records since the last save are handed out again after
	// a crash.
	SaveEvery time.Duration
	Logger    *slog.Logger

	mu    sync.Mutex
	stats ReaderStats
}

// ReaderStats is a reader's condition.
type ReaderStats struct {
	Name      string
	Alerts    uint64         // handed out since the start
	Lag       uint64         // commit records waiting
	At        time.Time      // when the record was stored that is handed out now; zero where none waits
	Seq       map[int]uint64 // last record handled, by partition
	LastError string         // of a record that is being tried again; empty when all is well
}

// Stats returns a copy. Safe from any goroutine.
func (a *AlertReader) Stats() ReaderStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Name, s.Seq = a.Name, maps.Clone(a.stats.Seq)
	return s
}

// Run reads until ctx ends, then saves its cursors and returns nil. A record
// that Handle refuses is tried again, with growing pauses, for as long as it
// takes: nothing is skipped.
func (a *AlertReader) Run(ctx context.Context) error {
	if a.SaveEvery <= 0 {
		a.SaveEvery = 2 * time.Second
	}
	log := a.Logger
	if log == nil {
		log = a.Bus.Logger()
	}
	log = log.With("reader", a.Name)
	if !a.begin(ctx, log) {
		return nil
	}
	from, err := a.cursors(ctx, log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reader %s: %w", a.Name, err)
	}
	a.note(func(s *ReaderStats) { s.Seq = maps.Clone(from) })
	saved := maps.Clone(from)
	save := func(ctx context.Context) {
		for p, s := range a.Stats().Seq {
			if saved[p] == s {
				continue
			}
			err := a.Bus.SaveCursor(ctx, a.Name, p, s)
			if errors.Is(err, bus.ErrBackpressure) && p != selfPartition(a.Bus) {
				// A full stream has no room for the cursor either, and the
				// workers wait for it to make any.
				if err = a.Bus.PurgeSubject(ctx, bus.StreamCommits, bus.CommitSubject(p), s); err == nil {
					err = a.Bus.SaveCursor(ctx, a.Name, p, s)
				}
			}
			if err != nil {
				log.Warn("cursor not saved; records may be handed out again", "partition", p, "error", err)
				continue
			}
			saved[p] = s
		}
	}
	// Saving has a goroutine of its own: the last records before a quiet
	// time must be saved too, or they are kept for ever.
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		t := time.NewTicker(a.SaveEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				save(ctx)
			case <-stop:
				return
			}
		}
	})
	err = readCommits(ctx, a.Bus, from, func(ctx context.Context, partition int, seq uint64, alerts []alert.Alert, d bus.Delivery) error {
		a.note(func(s *ReaderStats) { s.At, s.Lag = d.Time, d.Pending })
		if err := a.hand(ctx, log, partition, seq, alerts); err != nil {
			return err
		}
		a.note(func(s *ReaderStats) {
			s.Alerts += uint64(len(alerts))
			s.Seq[partition], s.Lag, s.LastError = seq, d.Pending, ""
			if d.Pending == 0 {
				s.At = time.Time{}
			}
		})
		return nil
	})
	close(stop)
	wg.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	save(end)
	a.note(func(s *ReaderStats) { s.At = time.Time{} })
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("reader %s: %w", a.Name, err)
}

// begin calls Begin until it works; false when ctx ended before.
func (a *AlertReader) begin(ctx context.Context, log *slog.Logger) bool {
	for wait := 100 * time.Millisecond; a.Begin != nil; wait = min(wait*2, 10*time.Second) {
		err := a.Begin(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		log.Warn("alerts cannot be read yet: what was left over could not be taken over", "error", err)
		if pause.For(ctx, wait) != nil {
			return false
		}
	}
	return true
}

// cursors are how far the reader has got in each partition, and in what the program
// says of itself.
func (a *AlertReader) cursors(ctx context.Context, log *slog.Logger) (map[int]uint64, error) {
	from := map[int]uint64{}
	for p := range selfPartition(a.Bus) + 1 {
		seq, err := a.Bus.LoadCursor(ctx, a.Name, p)
		if errors.Is(err, bus.ErrCorrupt) {
			log.Error("a cursor cannot be read; all kept records are handed out again", "partition", p, "error", err)
			seq, err = 0, nil
		}
		if err != nil {
			return nil, err
		}
		if seq > 0 {
			from[p] = seq
		}
	}
	return from, nil
}

// hand hands a record out until it is taken, or ctx ends.
func (a *AlertReader) hand(ctx context.Context, log *slog.Logger, partition int, seq uint64, alerts []alert.Alert) error {
	for wait := 100 * time.Millisecond; len(alerts) > 0; wait = min(wait*2, 10*time.Second) {
		err := a.Handle(ctx, partition, seq, alerts)
		if err == nil {
			failpoint.Hit(failpoint.ReaderHanded)
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Warn("alerts could not be handed on, trying again", "partition", partition, "seq", seq, "error", err)
		a.note(func(s *ReaderStats) { s.LastError = err.Error() })
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

func (a *AlertReader) note(f func(*ReaderStats)) {
	a.mu.Lock()
	f(&a.stats)
	a.mu.Unlock()
}
