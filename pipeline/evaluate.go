package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// A frame's way through a worker: read and parsed ahead, evaluated in its turn,
// with what cannot be evaluated set aside.

// item is a frame on its way from the stream, decoded and parsed.
type item struct {
	seq     uint64
	id      string
	trace   string // of the page
	pending uint64
	frame   *bus.Frame
	events  []event.Event
	faults  []error // per record, nil when parsed; nil slice when all are
	bytes   int
	err     error // the frame cannot be read, or reading cannot go on
	fatal   bool
	raw     []byte // of a frame that is not decoded, or cannot be
	lazy    bool   // decoded and parsed where it is evaluated
}

// read decodes and parses ahead of the evaluation. It is the stage that runs
// beside it; parsing takes most of the time.
//
// The first careful frames after committed, and those with a record that is to
// be skipped, are handed on as they are: parsing may be what ends the process.
func (w *Worker) read(ctx context.Context, from, committed uint64, careful int, skipped []bus.Trying, out chan<- item) {
	r := w.b.NewReader(bus.StreamEvents, from, 16, bus.EventsSubject(w.cfg.Partition, "*"))
	defer r.Stop()
	for {
		var it item
		d, err := r.Next(ctx)
		lazy := slices.ContainsFunc(skipped, func(t bus.Trying) bool { return t.Seq == d.Seq })
		if err == nil && d.Seq > committed && careful > 0 {
			careful--
			lazy = true
		}
		switch {
		case err != nil:
			it = item{err: err, fatal: true}
		case lazy:
			it = item{seq: d.Seq, id: d.ID, trace: d.Trace, pending: d.Pending, raw: d.Data, lazy: true}
		default:
			it = decodeItem(d)
		}
		select {
		case out <- it:
		case <-ctx.Done():
			return
		}
		if it.fatal {
			return
		}
	}
}

// evaluating is held for reading by every worker of the process while it
// parses or evaluates, and for writing by one that tries a frame record by
// record: when the process ends meanwhile, it is of that record, not of another
// partition's.
var evaluating sync.RWMutex

func decodeItem(d bus.Delivery) item {
	evaluating.RLock()
	defer evaluating.RUnlock()
	it := item{seq: d.Seq, id: d.ID, trace: d.Trace, pending: d.Pending}
	it.frame, it.err = bus.DecodeFrame(d.Data)
	if it.err != nil {
		it.raw = d.Data
		it.fatal = errors.Is(it.err, bus.ErrVersion)
		return it
	}
	it.events = make([]event.Event, len(it.frame.Records))
	var p event.Parser
	for i, rec := range it.frame.Records {
		it.bytes += len(rec)
		if err := parseOne(&p, rec, it.frame.Received, &it.events[i]); err != nil {
			if it.faults == nil {
				it.faults = make([]error, len(it.events))
			}
			it.faults[i] = err
		}
	}
	return it
}

// panicError is a panic made an error.
type panicError struct {
	value any
	stack string
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func parseOne(p *event.Parser, rec []byte, stamp time.Time, ev *event.Event) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{r, string(debug.Stack())}
		}
	}()
	if err := p.Parse(rec, ev); err != nil {
		return err
	}
	// A record that does not say when is taken to be of when it came: an
	// alert must not carry the year 1.
	if ev.Time.IsZero() {
		ev.Time = stamp
	}
	return nil
}

// evaluateAlone is evaluate, and commit where frames are taken one by one,
// beside the other workers or, to try records, without them.
func (w *Worker) evaluateAlone(ctx context.Context, it *item) error {
	if it.lazy && it.seq > w.committed && w.oneByOne {
		evaluating.Lock()
		defer evaluating.Unlock()
	} else {
		evaluating.RLock()
		defer evaluating.RUnlock()
	}
	if err := w.evaluateTraced(ctx, it); err != nil {
		return err
	}
	if it.lazy && !w.quiet {
		return w.commit(ctx)
	}
	return nil
}

// maxJoined bounds the traces that a step is linked with.
const maxJoined = 32

// evaluateTraced is evaluate, told to the trace of the frame. What has been
// evaluated before was told then.
func (w *Worker) evaluateTraced(ctx context.Context, it *item) error {
	if w.cfg.Tracer == nil || it.seq <= w.committed {
		return w.evaluate(ctx, it)
	}
	before := len(w.order)
	ctx, span := w.cfg.Tracer.Resume(ctx, it.trace, "evaluate frame", trace.Int("trailwarden.partition", w.cfg.Partition))
	err := w.evaluate(ctx, it)
	span.Set(trace.Int("trailwarden.records", len(it.events)), trace.Int("trailwarden.alerts", len(w.order)-before))
	span.End(err)
	if own := trace.Of(ctx); own != "" {
		w.recent = own
		if len(w.joined) < maxJoined {
			w.joined = append(w.joined, own)
		}
	}
	if w.cause == "" && len(w.order) > before {
		w.cause = w.recent // of the frame, or where a tick decided, of the last records
	}
	return err
}

// evaluate applies one frame.
func (w *Worker) evaluate(ctx context.Context, it *item) error {
	quiet := it.seq <= w.committed
	if w.quiet && !quiet {
		w.recovered()
	}
	// What is tried is written down before, where frames are taken one by one:
	// when the process ends here, it is of that.
	try := func(int) error { return nil }
	if it.lazy && !quiet && w.oneByOne {
		try = func(index int) error { return w.try(ctx, it.seq, index) }
	}
	switch {
	case w.skips(it.seq, tryDecode) || w.skips(it.seq, tryGroup):
		it.err = errKilled
	case it.lazy:
		if err := try(tryDecode); err != nil {
			return err
		}
		if it.frame, it.err = bus.DecodeFrame(it.raw); errors.Is(it.err, bus.ErrVersion) {
			return it.err
		} else if it.err == nil {
			it.events = make([]event.Event, len(it.frame.Records))
		}
	}
	var err error
	if it.err != nil {
		err = w.parkFrame(ctx, it, quiet)
	} else {
		err = w.evaluateRecords(ctx, it, quiet, try)
	}
	if err != nil {
		return err
	}
	w.passed(it, quiet)
	return nil
}

// parkFrame sets a frame aside that cannot be evaluated. The gap in the numbers
// shows with the next frame.
func (w *Worker) parkFrame(ctx context.Context, it *item, quiet bool) error {
	w.base.Parked++
	reason := "bad-frame"
	if errors.Is(it.err, errKilled) {
		reason = killReason
	}
	w.log.Error("a stored frame cannot be evaluated; its records are lost to detection here and still at the source", "seq", it.seq, "error", it.err)
	if quiet {
		return nil
	}
	return w.park(ctx, it, -1, reason, it.err, it.raw)
}

// evaluateRecords applies the records of a frame and sets those aside that
// cannot be.
func (w *Worker) evaluateRecords(ctx context.Context, it *item, quiet bool, try func(index int) error) error {
	name := w.chain(it).name
	if it.frame.Origin != "" {
		name = it.frame.Origin
	}
	w.guard(it, "tick", func() {
		w.eng.Behind(it.frame.Source, behindOf(it.frame), giving(it.frame))
		w.eng.Tick(it.frame.Received)
	})
	var parser event.Parser
	newest := map[string]time.Time{}
	var far []bool
	if !it.lazy { // what is parsed one by one has nothing behind it yet
		far = ahead(it.events)
	}
	for i := range it.events {
		err := error(nil)
		switch {
		case it.lazy && w.skips(it.seq, i):
			err = errKilled
		case it.lazy:
			if err := try(i); err != nil {
				return err
			}
			it.bytes += len(it.frame.Records[i])
			err = parseOne(&parser, it.frame.Records[i], it.frame.Received, &it.events[i])
		case it.faults != nil:
			err = it.faults[i]
		}
		if far != nil {
			w.eng.Ahead(far[i])
		}
		if err == nil {
			err = w.apply(&it.events[i], name)
		}
		if err != nil {
			if err := w.parkRecord(ctx, it, i, quiet, err); err != nil {
				return err
			}
			continue
		}
		ev := &it.events[i]
		at := ev.Time
		if at.After(it.frame.Received) {
			at = it.frame.Received // a bad clock; without this its account would never again be silent
		}
		if at.After(newest[ev.Recipient]) {
			newest[ev.Recipient] = at
		}
	}
	if err := try(tryGroup); err != nil {
		return err
	}
	w.guard(it, "grouping", w.group)
	if it.frame.Received.After(w.stamp) {
		w.stamp = it.frame.Received
	}
	w.book(it.frame)
	w.fresh(newest)
	return nil
}

// What lies further than aheadBy ahead of all but two of the events that follow it,
// aheadOf at most and aheadLeast at least, is looked at closer. The last events of a
// frame have too few behind them.
const (
	aheadBy             = 5 * time.Minute
	aheadOf, aheadLeast = 32, 8
)

// ahead finds the events whose times lie far ahead of those around them; nil when
// there are none.
func ahead(events []event.Event) (far []bool) {
	var high time.Time
	for i := range events {
		at, rest := events[i].Time, events[i+1:]
		near := 3
		if at.After(high.Add(aheadBy)) && len(rest) >= aheadLeast {
			near = 0
			for k := range rest[:min(aheadOf, len(rest))] {
				// One without a time could not be parsed.
				if t := rest[k].Time; t.IsZero() || !at.After(t.Add(aheadBy)) {
					near++
				}
			}
		}
		if near <= 2 {
			if far == nil {
				far = make([]bool, len(events))
			}
			far[i] = true
		} else if at.After(high) {
			high = at
		}
	}
	return far
}

// parkRecord sets one record aside that could not be evaluated.
func (w *Worker) parkRecord(ctx context.Context, it *item, index int, quiet bool, cause error) error {
	w.base.Parked++
	reason, _ := reasonOf(cause)
	if pe := (*panicError)(nil); errors.As(cause, &pe) {
		reason = "panic"
	} else if errors.Is(cause, errKilled) {
		reason = killReason
	}
	w.log.Error("an event could not be evaluated and is parked", "seq", it.seq, "index", index, "reason", reason, "error", cause)
	if quiet {
		return nil
	}
	return w.park(ctx, it, index, reason, cause, it.frame.Records[index])
}

// passed goes on behind a frame.
func (w *Worker) passed(it *item, quiet bool) {
	w.input, w.inputID = it.seq, it.id
	w.base.Frames++
	w.sinceSnap++
	w.sinceSnapBytes += int64(it.bytes)
	if quiet {
		w.changed, w.order = map[string]*alert.Alert{}, nil
		w.note(func(s *WorkerStats) { s.Recovered++; s.Input = w.input })
		if w.input >= w.committed {
			w.recovered()
		}
		return
	}
	w.frames++
	if len(w.order) > 0 {
		w.batch++
	}
	if w.oldest.IsZero() && it.frame != nil {
		w.oldest = it.frame.Received
	}
	w.note(func(s *WorkerStats) { s.Input, s.Lag = w.input, it.pending })
}

// killReason is the quarantine name of what ended the process.
const killReason = "ended-process"

var errKilled = errors.New("the process ended while this was evaluated, after it had ended here before")

func (w *Worker) skips(seq uint64, index int) bool {
	return slices.Contains(w.skipped, bus.Trying{Seq: seq, Index: index})
}

// recovered ends the re-evaluation: from here on output counts.
func (w *Worker) recovered() {
	w.quiet = false
	for _, p := range w.shards {
		p.dirty = false
	}
	counters, es := w.counters()
	w.note(func(s *WorkerStats) {
		s.State, s.Watermark, s.Stamp, s.Counters, s.Pending = "running", w.watermark, w.stamp, counters, es.Pending
	})
}

// apply evaluates one event. A panic is that event's, and the same events make
// it panic again in a re-evaluation, so state stays a function of the input.
func (w *Worker) apply(ev *event.Event, shard string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{r, string(debug.Stack())}
		}
	}()
	w.eng.Apply(ev, shard)
	return nil
}

// guard keeps a panic that belongs to no event from ending the partition.
func (w *Worker) guard(it *item, what string, do func()) {
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("panic outside of an event", "in", what, "seq", it.seq, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	do()
}

// park puts a record into quarantine; it is durable before the step commits.
func (w *Worker) park(ctx context.Context, it *item, index int, reason string, cause error, raw []byte) error {
	p := bus.Parked{Reason: reason, Partition: w.cfg.Partition, Message: cause.Error(), Raw: raw}
	var pe *panicError
	if errors.As(cause, &pe) {
		p.Stack = pe.stack
	}
	if f := it.frame; f != nil {
		p.Source, p.Shard, p.From, p.To, p.Received = f.Source, f.Shard, f.From, f.To, f.Received
	} else {
		p.Source, p.Shard = bus.StreamEvents, 0
		p.From = strconv.FormatUint(it.seq, 10)
	}
	wait := 100 * time.Millisecond
	for {
		_, err := w.b.Park(ctx, p)
		if err == nil || ctx.Err() != nil || errors.Is(err, bus.ErrClosed) {
			return err
		}
		if errors.Is(err, bus.ErrTooLarge) {
			w.log.Error("a parked record does not fit and is dropped", "seq", it.seq, "index", index, "error", err)
			return nil
		}
		w.log.Warn("record not parked yet, trying again", "error", err)
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(wait*2, 5*time.Second)
	}
}
