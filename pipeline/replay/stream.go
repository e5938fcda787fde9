package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// stream is one input being read: a reader goroutine cuts it into batches,
// which workers evaluate in any order and which come out of ready in order.
type stream struct {
	in    input
	index int       // among the inputs
	start time.Time // of its events, as far as its first block tells

	ready chan *batch // nil until it is started

	cur     *batch // being applied
	next    int    // in cur.results
	records int64
	turn    bool // it is written newest first
	begun   bool
	loaded  []result // of a file that was turned around
	err     error    // why it was not read, or not to its end
	opened  bool     // something was read of it
}

// maxReversed is how many events of a file that is written newest first are
// held to turn it around.
var maxReversed = 100_000 // a variable for its test

// pump reads the input and hands batches to workers and, in order, to ready.
func (r *run) pump(ctx context.Context, st *stream) {
	defer close(st.ready)
	end := func(err error) {
		b := r.get()
		b.end = err
		select {
		case st.ready <- b:
		case <-ctx.Done():
		}
	}
	f, err := st.in.open(ctx, &r.opts, &r.bytes)
	if err != nil {
		end(err)
		return
	}
	defer f.close()
	s := newSplitter(f, &r.opts)
	for {
		b := r.get()
		if err := s.next(&b.chunk); err != nil {
			r.put(b, true)
			end(err)
			return
		}
		select {
		case st.ready <- b:
		case <-ctx.Done():
			return
		}
		select {
		case r.jobs <- b:
		case <-ctx.Done():
			return
		}
	}
}

// load makes the next result of the stream current and returns its time; ok
// is false when the stream has ended.
func (r *run) load(ctx context.Context, st *stream) (at time.Time, ok bool, err error) {
	for {
		if len(st.loaded) > 0 {
			return st.loaded[0].at, true, nil
		}
		if st.cur != nil {
			if st.next < len(st.cur.results) {
				return st.cur.results[st.next].at, true, nil
			}
			r.put(st.cur, st.cur.kept == 0)
			st.cur = nil
		}
		b, err := r.fetch(ctx, st)
		if b == nil || err != nil {
			return time.Time{}, false, err
		}
		first := !st.begun
		st.cur, st.next, st.begun = b, 0, true
		if !first || !st.turn && (st.in.path != "-" || !descends(b.results)) {
			continue
		}
		if err := r.reverse(ctx, st); err != nil {
			return time.Time{}, false, err
		}
	}
}

// fetch takes the next evaluated batch of a stream and books its records; nil
// at the stream's end.
func (r *run) fetch(ctx context.Context, st *stream) (*batch, error) {
	var b *batch
	select {
	case b = <-st.ready:
	case <-ctx.Done():
	}
	if b == nil {
		return nil, ctx.Err()
	}
	if b.end != nil {
		if err := b.end; !errors.Is(err, io.EOF) {
			st.fail(err)
		} else {
			st.opened = true
		}
		r.put(b, true)
		if st.err == nil && st.in.want >= 0 && int64(st.in.want) != st.records {
			st.fail(fmt.Errorf("file %w: %d events by name, %d inside", ErrCount, st.in.want, st.records))
		}
		return nil, ctx.Err()
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	st.opened = true
	for i := range b.parked {
		p := &b.parked[i]
		r.park(Parked{Path: st.in.path, Record: st.records + p.index, Reason: p.err.Reason, Offset: p.err.Offset, Raw: p.raw, Err: p.err})
	}
	st.records += b.records
	r.stats.Records += b.records
	r.stats.Filtered += b.filtered
	return b, nil
}

func (st *stream) fail(err error) {
	if st.err == nil {
		st.err = err
	}
	if !errors.Is(err, ErrNotRegular) && st.records > 0 {
		st.opened = true
	}
}

// descends reports a sequence written newest first.
func descends(rs []result) bool {
	if len(rs) < 2 || !rs[0].at.After(rs[len(rs)-1].at) {
		return false
	}
	down, up := 0, 0
	for i := 1; i < len(rs); i++ {
		switch rs[i].at.Compare(rs[i-1].at) {
		case -1:
			down++
		case 1:
			up++
		}
	}
	return down > 2*up
}

// reverse reads the rest of a stream that is written newest first, up to a
// bound, and puts it in order of time.
func (r *run) reverse(ctx context.Context, st *stream) error {
	for b := st.cur; ; {
		st.loaded = append(st.loaded, b.results...)
		r.put(b, false) // all of its events are held
		if len(st.loaded) >= maxReversed {
			st.fail(fmt.Errorf("written newest first, and only the first %d events could be put in order: sort it by eventTime", len(st.loaded)))
			break
		}
		var err error
		if b, err = r.fetch(ctx, st); err != nil {
			return err
		} else if b == nil {
			break
		}
	}
	st.cur = nil
	slices.SortStableFunc(st.loaded, func(a, b result) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.v.Event.ID, b.v.Event.ID))
	})
	return nil
}

// take returns the current result and moves on.
func (st *stream) take() (res result) {
	if len(st.loaded) > 0 {
		res, st.loaded = st.loaded[0], st.loaded[1:]
		return res
	}
	res = st.cur.results[st.next]
	st.next++
	return res
}

// peek finds when a file's events begin, and whether it is written newest
// first, from its first block. Files of which that cannot be told begin at
// once.
func (st *stream) peek(ctx context.Context, o Options) {
	if st.in.path == "-" {
		return
	}
	f, err := st.in.open(ctx, &o, nil)
	if err != nil {
		return
	}
	defer f.close()
	o.BlockSize = 64 << 10
	s := newSplitter(f, &o)
	var c chunk
	if s.next(&c) != nil {
		return
	}
	var times []result
	var start time.Time
	var p event.Parser
	ev := new(event.Event)
	for raw := range c.records() {
		// What is wrong with a record shows when it is read in earnest.
		_ = event.Unwrap(raw, func(rec []byte) bool {
			if p.Parse(rec, ev) == nil && !ev.Time.IsZero() {
				times = append(times, result{at: ev.Time})
				if start.IsZero() || ev.Time.Before(start) {
					start = ev.Time
				}
			}
			return true
		})
	}
	if st.turn = descends(times); !st.turn || s.err != nil {
		st.start = start // otherwise the beginning is further down
	}
}

// peekAll peeks into all streams, several at a time.
func peekAll(ctx context.Context, streams []*stream, o Options, parallel int) {
	var wg sync.WaitGroup
	next := make(chan *stream)
	for range min(parallel, len(streams)) {
		wg.Go(func() {
			for st := range next {
				st.peek(ctx, o)
			}
		})
	}
	for _, st := range streams {
		next <- st
	}
	close(next)
	wg.Wait()
}
