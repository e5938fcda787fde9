package replay

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Parked is a record that is no event.
type Parked struct {
	Path   string
	Record int64 // its number in the file, from 1
	Reason event.Reason
	Offset int    // in the record, where it showed
	Raw    []byte // the record, cut to its first 4 KiB; valid during the call
	Err    error
}

// batch is a chunk on its way: cut by a reader, evaluated by a worker,
// applied in order.
type batch struct {
	chunk
	done chan struct{} // one value when a worker is done with it
	end  error         // set instead of content when the file has ended
	sum  [32]byte      // with end, of a file read whole: its SHA-256, where asked for
	size int64         // and how long it is, as stored
	over int64         // what the file unpacked to beyond MaxRatio, up to here

	results  []result
	parked   []parked
	notes    []note             // of events that concern the entity
	births   []*detectors.Birth // of all, where there is an entity
	turns    []*turn            // so
	records  int64              // found, whatever became of them
	filtered int64              // of these, not asked for,
	outside  [2]time.Time       // the first and the last time of them
	// Times as the file has them, filtered events included; zero for none.
	earliest time.Time // of the first event that has one
	latest   time.Time // of the last event
	lead     int       // results at the beginning that wait for a time

	slabs [][]event.Event // memory for events, used up to slab[used]
	slab  int
	used  int
	kept  int // results whose events the engine may keep
	// Most events that wait do so in brief: see event.Brief.
	briefs  [][]event.Brief // used up to briefs[shelf][onShelf]
	shelf   int
	onShelf int
	text    []byte // of their ids
	copies  []byte // of records that are in memory of others
	works   detectors.Arena

	// Of the goroutine that applies:
	home    *pool // where it goes when nothing refers to its memory
	lent    int   // events that the engine has not given back
	applied bool  // all of it was
}

// Release implements detectors.Holder: one of the batch's events is decided.
func (b *batch) Release() {
	if b.lent--; b.lent == 0 && b.applied {
		b.home.put(b)
	}
}

// pool is batches that nothing refers to. Their memory is large and has been
// touched: to use it again costs neither the kernel nor the collector
// anything.
type pool struct {
	mu   sync.Mutex
	free []*batch
	// Results are needed from evaluation until they are applied, the rest of
	// a batch until its events are decided: a few lists of results, which stay
	// in the processor's cache, serve all batches.
	lists [][]result
	pages hugePages
}

// maxFree is how many unused batches are kept, maxSpare the largest of their
// buffers.
const (
	maxFree  = 64
	maxSpare = 1 << 20
)

func (p *pool) get() *batch {
	p.pages.check()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return &batch{done: make(chan struct{}, 1), home: p}
	}
	b := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	return b
}

func (p *pool) put(b *batch) {
	b.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < maxFree {
		p.free = append(p.free, b)
	}
}

// list returns an empty list of results.
func (p *pool) list() []result {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.lists)
	if n == 0 {
		return nil
	}
	l := p.lists[n-1]
	p.lists[n-1] = nil
	p.lists = p.lists[:n-1]
	return l
}

// takeBack takes the results of a batch that is applied.
func (p *pool) takeBack(b *batch) {
	l := b.results
	b.results = nil
	if cap(l) == 0 {
		return
	}
	clear(l) // let go of what evaluation allocated
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lists) < maxFree {
		p.lists = append(p.lists, l[:0])
	}
}

// spoil is overwrite, in tests: nothing may refer to memory that is given back.
var spoil func(*batch)

type result struct {
	at time.Time // event time, or of the event before where there is none or it is a bad clock's
	v  detectors.Evaluated

	judged bool // whether it is ahead was looked at
	ahead  bool // its time is far ahead of its neighbours'
	raw    bool // it is not evaluated: an interrupted run did it
}

type parked struct {
	index int64 // in the batch, from 1
	err   *event.ParseError
	raw   []byte
}

// Few events of a block stay whole while they wait, most have a brief.
const (
	eventSlab = 8
	briefSlab = 64
)

// event returns the next free event; its address is stable. It is for the few that
// stay whole while they wait.
func (b *batch) event() *event.Event {
	if b.slab == len(b.slabs) {
		b.slabs = append(b.slabs, make([]event.Event, eventSlab))
	}
	ev := &b.slabs[b.slab][b.used]
	if b.used++; b.used == eventSlab {
		b.slab, b.used = b.slab+1, 0
	}
	return ev
}

// result returns the next free result, which is empty.
func (b *batch) result() *result {
	n := len(b.results)
	if n < cap(b.results) {
		b.results = b.results[:n+1] // it was cleared
	} else {
		b.results = append(b.results, result{})
	}
	return &b.results[n]
}

// copied returns a copy of a record in the batch's memory.
func (b *batch) copied(raw []byte) []byte {
	n := len(b.copies)
	if cap(b.copies)-n < len(raw) {
		b.copies, n = make([]byte, 0, max(copyChunk, len(raw))), 0 // events keep the old one alive
	}
	b.copies = append(b.copies, raw...)
	return b.copies[n:len(b.copies):len(b.copies)]
}

// whole returns an event of a worker's in the batch's memory; so is its record, if
// it is not yet.
func (b *batch) whole(p *event.Parser, of *event.Event) *event.Event {
	raw, ev := of.Raw(), b.event()
	if b.left.File != nil {
		raw = b.copied(raw)
	}
	_ = p.Parse(raw, ev) // it was an event before
	ev.Time = of.Time    // which may be another than the record says
	return ev
}

// copyChunk is room for the records of the few events of a block that stay whole.
const copyChunk = 32 << 10

// shorten replaces the event by its brief where that is enough. The recipient
// is the event's, in memory that lasts.
func (b *batch) shorten(v *detectors.Evaluated, recipient string) bool {
	if b.shelf == len(b.briefs) {
		b.briefs = append(b.briefs, make([]event.Brief, briefSlab))
	}
	br := &b.briefs[b.shelf][b.onShelf]
	*br = v.Event.Brief()
	if !v.Shorten(br) {
		return false
	}
	br.Recipient = recipient
	if n := len(b.text); cap(b.text)-n < len(br.ID) {
		b.text = make([]byte, 0, max(textChunk, len(br.ID))) // ids keep the old one alive
	}
	n := len(b.text)
	b.text = append(b.text, br.ID...)
	br.ID = unsafe.String(unsafe.SliceData(b.text[n:]), len(br.ID))
	if b.onShelf++; b.onShelf == briefSlab {
		b.shelf, b.onShelf = b.shelf+1, 0
	}
	return true
}

// textChunk is room for the ids of a block of events of a usual size.
const textChunk = 12 << 10

// reset makes the batch ready for the next chunk.
func (b *batch) reset() {
	if spoil != nil {
		spoil(b)
	}
	if p, ok := b.left.File.(*plainFile); ok {
		p.release()
	}
	b.left = event.Block{}
	clear(b.results) // of a batch that was not applied
	clear(b.notes)
	clear(b.births)
	clear(b.turns)
	b.births, b.turns = b.births[:0], b.turns[:0]
	b.results, b.parked, b.notes = b.results[:0], b.parked[:0], b.notes[:0]
	b.records, b.filtered, b.slab, b.used, b.kept, b.end = 0, 0, 0, 0, 0, nil
	b.earliest, b.latest, b.lead, b.over = time.Time{}, time.Time{}, 0, 0
	b.shelf, b.onShelf, b.text = 0, 0, b.text[:0]
	b.copies = b.copies[:0]
	b.works.Reset()
	b.lent, b.applied = 0, false
	if cap(b.buf) > maxSpare {
		b.buf = nil // of one very long record
	}
}

// worker parses and evaluates batches. One per goroutine.
type worker struct {
	eval      *detectors.Evaluator
	parser    event.Parser
	filter    filter
	maxRecord int
	cover     *coverage

	b     *batch
	buf   []byte  // a block whose records are left in the file,
	at    uintptr // and where it is
	last  time.Time
	ahead [parsedAhead]parsed
	n     int               // of these are to be evaluated
	slot  *event.Event      // of the batch, and not used yet
	one   func([]byte) bool // w.record, bound once

	skipping *atomic.Bool // what is read was evaluated before; nil: never
}

// parsedAhead is how many events are parsed before the first of them is evaluated:
// what does the one and what does the other is too much for the cache that a small
// processor has for code, which then was read twice for each event.
const parsedAhead = 8

// parsed is an event that is to be evaluated.
type parsed struct {
	ev        event.Event
	recipient string // as the event's, in memory that lasts
	result    int    // its number in the batch
}

func newWorker(set detectors.RuleSet, f filter, maxRecord int) *worker {
	w := &worker{eval: detectors.NewEvaluator(set), filter: f, maxRecord: maxRecord, cover: new(coverage)}
	w.one = w.record
	return w
}

func (w *worker) process(b *batch) {
	w.b, w.last, w.slot = b, time.Time{}, nil
	if b.results == nil {
		b.results = b.home.list()
	}
	if b.lines {
		buf := b.buf
		if b.left.File != nil {
			buf = w.read(b)
		}
		for len(buf) > 0 {
			line := buf
			if n := bytes.IndexByte(buf, '\n'); n >= 0 {
				line, buf = buf[:n], buf[n+1:]
			} else {
				buf = nil
			}
			// As a rule nothing stands around a record.
			if n := len(line); n > 0 && line[0] == '{' && line[n-1] == '}' {
				w.delivered(line)
			} else if line = bytes.TrimRight(line, " \t\r"); len(bytes.TrimLeft(line, " \t")) > 0 {
				w.delivered(line)
			}
		}
	}
	for _, s := range b.recs {
		raw := b.buf[s.from:s.to]
		if s.tooLarge {
			b.records++
			w.park(&event.ParseError{Reason: event.ReasonTooLarge, Msg: "larger than the cap for one record"}, raw)
			continue
		}
		w.delivered(raw)
	}
	w.evaluate()
	if b.left.File == nil {
		w.detach()
	} else if spoil != nil {
		fill(w.buf, 'X')
	}
	b.done <- struct{}{}
}

// read reads a block that is still in the file. It stays in the processor's
// cache, and is overwritten by the next one.
func (w *worker) read(b *batch) []byte {
	if cap(w.buf) < b.length {
		w.buf = make([]byte, b.length, b.length+b.length/8) // blocks differ by a record or two
	}
	buf := w.buf[:b.length]
	n, err := b.left.File.(*plainFile).fill(buf, b.left.At)
	if err != nil { // fetch tells it
		n = bytes.LastIndexByte(buf[:n], '\n') + 1
	}
	w.at = uintptr(unsafe.Pointer(unsafe.SliceData(buf)))
	return buf[:n]
}

// place is where in the block that was read a record is; -1 when it is not in
// there, because it stood in a text or another packing.
func (w *worker) place(raw []byte) int {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(raw))) - w.at
	if at >= uintptr(w.b.length) {
		return -1
	}
	return int(at)
}

// delivered takes what the source delivered as one: a record, or a container
// of records.
func (w *worker) delivered(raw []byte) {
	if len(raw) > w.maxRecord {
		w.b.records++
		w.park(&event.ParseError{Reason: event.ReasonTooLarge, Msg: "larger than the cap for one record"}, raw)
		return
	}
	if err := event.Unwrap(raw, w.one); err != nil {
		w.b.records++
		w.park(err, raw)
	}
}

// record takes one record.
func (w *worker) record(raw []byte) bool {
	b := w.b
	b.records++
	p := &w.ahead[w.n]
	ev := &p.ev
	skipping := w.skipping != nil && w.skipping.Load()
	if skipping { // all of it may be evaluated later
		if w.slot == nil {
			w.slot = b.event()
		}
		ev = w.slot
	}
	if err := w.parser.Parse(raw, ev); err != nil {
		w.park(err, raw)
		return true
	}
	if ev.Time.IsZero() {
		if w.last.IsZero() {
			// Its time is not in this block: see run.pull.
			b.result().v.Event = b.whole(&w.parser, ev)
			b.lead++
			return true
		}
		ev.Time = w.last
	}
	if w.last = ev.Time; b.earliest.IsZero() {
		b.earliest = w.last
	}
	b.latest = w.last
	if !w.filter.wants(ev) {
		if b.filtered++; b.filtered == 1 || w.last.Before(b.outside[0]) {
			b.outside[0] = w.last
		}
		if b.filtered == 1 || w.last.After(b.outside[1]) {
			b.outside[1] = w.last
		}
		return true
	}
	p.recipient = w.cover.add(ev)
	if w.filter.entity != nil {
		if w.filter.entity.concerns(ev) {
			b.notes = append(b.notes, noteOf(ev, w.filter.entity))
		}
		if birth := detectors.BirthOf(ev); birth != nil {
			b.births = append(b.births, birth)
		}
		if gift := giftOf(ev); gift != nil {
			b.births = append(b.births, gift)
		}
		if turn := turnOf(ev); turn != nil {
			b.turns = append(b.turns, turn)
		}
	}
	p.result = len(b.results)
	res := b.result()
	res.at = ev.Time
	if skipping {
		res.v.Event, res.raw, w.slot = ev, true, nil
		return true
	}
	if w.n++; w.n == parsedAhead {
		w.evaluate()
	}
	return true
}

// evaluate evaluates what was parsed.
func (w *worker) evaluate() {
	b := w.b
	for i := range w.ahead[:w.n] {
		p := &w.ahead[i]
		res := &b.results[p.result]
		w.eval.EvaluateIn(&res.v, &p.ev, &b.works)
		if res.v.Keeps() {
			b.kept++
			res.v.Hold = b
		}
		switch {
		case !b.shorten(&res.v, p.recipient):
			res.v.Event = b.whole(&w.parser, &p.ev)
		case b.left.File != nil:
			w.leave(res.v.Brief)
		}
	}
	w.n = 0
	if spoil != nil {
		for i := range w.ahead {
			w.ahead[i].ev.Spoil()
		}
	}
}

// leave lets go of a record that is in the file, which as a rule it is as it was
// read.
func (w *worker) leave(br *event.Brief) {
	if at := w.place(br.Raw()); at >= 0 {
		br.Leave(&w.b.left, at)
	} else {
		br.Keep(w.b.copied(br.Raw()))
	}
}

func (w *worker) park(err error, raw []byte) {
	var pe *event.ParseError
	if !errors.As(err, &pe) {
		pe = &event.ParseError{Reason: event.ReasonNotJSON, Msg: err.Error()}
	}
	raw = raw[:min(len(raw), sampleSize)]
	if w.b.left.File != nil {
		raw = bytes.Clone(raw)
	}
	w.b.parked = append(w.b.parked, parked{w.b.records, pe, raw})
}

// detach copies the few events that the engine may keep out of the batch's
// memory: one event must not hold a whole block while it waits.
func (w *worker) detach() {
	b := w.b
	if b.kept == 0 || b.kept*4 >= len(b.results) {
		return
	}
	for i := range b.results {
		if v := &b.results[i].v; v.Keeps() {
			v.Own()
		}
	}
	b.kept = 0
}

// filter is what a run leaves out, and the entity that it writes down about.
type filter struct {
	from, to time.Time // zero: no bound; to is exclusive
	entity   *entity   // nil: none
}

func newFilter(cfg *RunConfig) filter {
	f := filter{cfg.From, cfg.To, newEntity(cfg.Entity)}
	if !f.from.IsZero() {
		f.from = f.from.Add(-cfg.Warm)
	}
	return f
}

func (f *filter) wants(ev *event.Event) bool {
	return (f.from.IsZero() || !ev.Time.Before(f.from)) && (f.to.IsZero() || ev.Time.Before(f.to))
}
