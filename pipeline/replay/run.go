package replay

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// RunConfig is one replay. Only Rules must be given.
type RunConfig struct {
	// Rules are evaluated on every event.
	Rules detectors.RuleSet
	// Engine bounds the engine. Where Grace is zero it is 2 minutes: files
	// are less in order than a shard.
	Engine detectors.EngineConfig
	// From and To bound the events' time; To is exclusive. Events of Warm
	// before From are evaluated too, so that detectors know what is usual,
	// and what is found in them is left out.
	From, To time.Time
	Warm     time.Duration
	// Open says that nobody asked for To, which only keeps out events of bad
	// clocks: no hour is missing since it was not reached.
	Open bool
	// Entity is an actor, key, account, address, network, target, request or event
	// that the run is to write down about: Result.Trail. Everything is
	// evaluated all the same, since a detector that does not see the others
	// does not know what is unusual.
	Entity string
	// Workers decode and evaluate (default GOMAXPROCS). The result does not
	// depend on their number.
	Workers int
	Options Options
	// Prepare is called with the engine before the first event, for a state
	// learned earlier; Finish after the last, to keep what was learned.
	Prepare, Finish func(*detectors.Engine) error
	// Held is how many alerts are in memory at most (default DefaultHeld); the
	// others wait in a temporary file. The result does not depend on it.
	Held int
	// Resume, when not nil, lets an interrupted run go on.
	Resume *Resume
	// OnParked sees every record that is no event, OnProgress now and then how
	// far the run is; both from one goroutine, in an order that depends on the
	// input alone.
	OnParked   func(Parked)
	OnProgress func(Progress)
	// Now is read twice, to tell how long the run took (default time.Now).
	Now func() time.Time
}

// Result is what a run found.
type Result struct {
	Stats Stats
	// Coverage is which hours were read of each account and region.
	Coverage []Cover
	// Trail is what was seen of RunConfig.Entity; nil when none was given.
	Trail *Trail

	// Files are the inputs in the order they were found.
	Files []InputFile

	ticks  map[int64]int64
	alerts *sorter // of whole alerts
}

// InputFile is one input.
type InputFile struct {
	Path string
	// Size is bytes as stored; -1 when not known. SHA256 is in hex, of what was
	// read; empty when it was not read to its end, or not asked for.
	Size   int64
	SHA256 string
}

// Alerts yields the alerts by (time, rule, id), any number of times until
// Close. Only an error of the temporary file ends it early; it comes last, with
// no alert.
//
//go:noinline
func (r *Result) Alerts() iter.Seq2[*alert.Alert, error] {
	return func(yield func(*alert.Alert, error) bool) {
		if r.alerts == nil {
			return
		}
		some := make([]*alert.Part, 0, partsAtOnce)
		var alerts [partsAtOnce]*alert.Alert
		var errs [partsAtOnce]error
		// tell yields those of some, which are unpacked side by side.
		tell := func() (more bool) {
			sideBySide(len(some), func(i int) { alerts[i], errs[i] = some[i].Alert() })
			for i := range some {
				if errs[i] != nil {
					yield(nil, readError(errs[i]))
					return false
				}
				if !yield(alerts[i], nil) {
					return false
				}
			}
			some = some[:0]
			return true
		}
		for p, err := range r.alerts.all() {
			if err != nil {
				if tell() {
					yield(nil, err)
				}
				return
			}
			if some = append(some, p); len(some) == partsAtOnce && !tell() {
				return
			}
		}
		tell()
	}
}

// AllAlerts puts the alerts into one list, whatever room that takes.
func (r *Result) AllAlerts() ([]alert.Alert, error) {
	var out []alert.Alert
	for a, err := range r.Alerts() {
		if err != nil {
			return nil, err
		}
		out = append(out, *a)
	}
	return out, nil
}

// Close lets go of the alerts. It may be called again.
func (r *Result) Close() {
	if r.alerts != nil {
		r.alerts.close()
		r.alerts = nil
	}
}

// Histogram counts the events in n stretches of equal length from the first to
// the last one.
func (r *Result) Histogram(n int) []int64 {
	if r.Stats.FirstEvent == nil {
		return make([]int64, n)
	}
	return histogram(maps.All(r.ticks), *r.Stats.FirstEvent, *r.Stats.LastEvent, n)
}

// Days is how many days of UTC have events at or after from; zero is all.
func (r *Result) Days(from time.Time) int {
	days := map[int64]struct{}{}
	for k, n := range r.ticks {
		if n > 0 && (from.IsZero() || k >= from.Unix()/tick) {
			days[k*tick/86400] = struct{}{}
		}
	}
	return len(days)
}

// ErrStopped is why a file was not read, or not to its end, in a run that was
// cancelled.
var ErrStopped = errors.New("the run was stopped")

// ErrNothing says that not one of the sources could be read.
var ErrNothing = errors.New("nothing could be read")

// Reader is a set of inputs, found but not yet read.
type Reader struct {
	inputs  []input
	skipped int64        // deliveries, by their names,
	times   [2]time.Time // the first and the last that these say
	ignored int64        // files of folders, by the ends of their names,
	odd     []string     // and the first few of them
	failed  []FileError
	opts    Options
	over    int64 // what archives unpacked to beyond MaxRatio
}

// Open finds the files at paths: files, folders (every wanted file below them,
// by name) and "-" for standard input. A path that cannot be read is no error
// here, it is in Failed; an error says that there is nothing to read at all.
func Open(paths []string, opts Options) (*Reader, error) {
	r := &Reader{opts: opts.withDefaults()}
	r.expand(paths)
	if len(r.inputs) == 0 {
		err := ErrNothing
		if len(r.failed) == 0 && r.skipped > 0 {
			err = fmt.Errorf("%w: the names of all %d deliveries are of other times or regions; they say %s to %s", ErrNothing, r.skipped,
				r.times[0].Format(time.RFC3339), r.times[1].Format(time.RFC3339))
		} else if len(r.failed) > 0 {
			err = fmt.Errorf("%w: %w", ErrNothing, r.failed[0])
		} else if len(paths) > 0 {
			err = fmt.Errorf("%w: no .json, .jsonl, .ndjson, .gz or .zst file in %s", ErrNothing, text.Line(strings.Join(paths, ", ")))
		}
		return r, err
	}
	return r, nil
}

// Paths lists the files to be read, in the order they were found.
func (r *Reader) Paths() []string {
	paths := make([]string, len(r.inputs))
	for i := range r.inputs {
		paths[i] = r.inputs[i].path
	}
	return paths
}

// Failed lists what was not read, or not to its end, so far.
func (r *Reader) Failed() []FileError { return slices.Clone(r.failed) }

// Records reads all inputs one after the other and yields every single record
// with the path it came from, whether it is an event or not. Records are valid
// during the iteration step only. What goes wrong with a file is in Failed.
func (r *Reader) Records(ctx context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		c := new(counters)
		for i := range r.inputs {
			in := &r.inputs[i]
			if ctx.Err() != nil || !r.file(ctx, in, c, yield) {
				return
			}
		}
	}
}

// file yields one input's records; false when yield said so.
func (r *Reader) file(ctx context.Context, in *input, c *counters, yield func(string, []byte) bool) bool {
	f, err := in.open(ctx, &r.opts, c)
	if err != nil {
		r.failed = append(r.failed, FileError{in.path, err})
		return true
	}
	defer f.close()
	s := newSplitter(f, &r.opts)
	var ch chunk
	goOn := true
	before := int64(0)
	for goOn {
		err := s.next(&ch)
		if over := f.bound.over(); (err == nil || errors.Is(err, io.EOF)) && over > before {
			r.over += over - before
			if before = over; r.over > r.opts.RatioFloor {
				err = errRatio(&r.opts)
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = cmp.Or(in.short(f), err)
			}
			if !errors.Is(err, io.EOF) {
				r.failed = append(r.failed, FileError{in.path, err})
			}
			return true
		}
		for raw := range ch.records() {
			_ = event.Unwrap(raw, func(rec []byte) bool { // what is wrong with a record is for its parser
				goOn = yield(in.path, rec)
				return goOn
			})
			if !goOn {
				break
			}
		}
	}
	return false
}

// records yields what the chunk holds, lines or values.
func (c *chunk) records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if c.lines {
			for line := range bytes.SplitSeq(c.buf, []byte("\n")) {
				if line = bytes.TrimSpace(line); len(line) > 0 && !yield(line) {
					return
				}
			}
		}
		for _, s := range c.recs {
			if !s.tooLarge && !yield(c.buf[s.from:s.to]) {
				return
			}
		}
	}
}

// run is a replay in progress. Everything but the channels, the pool and
// bytes belongs to the goroutine that applies.
type run struct {
	cfg   RunConfig
	opts  Options
	bytes counters
	jobs  chan *batch
	pool  pool
	left  plainFiles

	engine  *detectors.Engine
	before  detectors.EngineStats // counts that a restored state brought along
	grouper *alert.Grouper
	parts   sorter // of alerts, by id
	err     error  // of parts: the run is over
	stats   Stats
	total   int64
	first   time.Time
	last    time.Time
	steps   int
	over    int64 // what archives unpacked to beyond MaxRatio
	own     *worker
	plain   *detectors.Evaluator // of rules without state
	ahead   map[[16]byte]bool    // events far ahead of their file
	again   int64                // of these, met again
	cover   coverage
	trail   *Trail
	ticks   map[int64]int64 // events applied, by ticks since 1970
	now     int64           // the last tick counted,
	inNow   int64           // and how many of it are not in ticks yet
	files   []InputFile
	resume  *resume // nil: an interrupted run begins again
}

// warming says that events of a time are for learning only.
func (r *run) warming(at time.Time) bool { return r.cfg.Warm > 0 && at.Before(r.cfg.From) }

// put takes back a batch that is applied. Its memory is free when the engine
// has given back the events in it.
func (r *run) put(b *batch) {
	r.pool.takeBack(b)
	if b.applied = true; b.lent == 0 {
		r.pool.put(b)
	}
}

// Run replays the sources through the rules. The error is the context's, or
// that no source could be read, or of Prepare and Finish; what is wrong with
// single files and records is in the statistics. The result is the same for
// the same input, whatever the number of workers and processors.
func Run(ctx context.Context, paths []string, cfg RunConfig) (Result, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	res, err := once(ctx, paths, cfg, "")
	if errors.Is(err, ErrChanged) && !slices.Contains(paths, "-") {
		res.Close()
		return once(ctx, paths, cfg, err.Error())
	}
	return res, err
}

// once is a run; again says why it begins again although there is a state.
func once(ctx context.Context, paths []string, cfg RunConfig, again string) (Result, error) {
	begun := cfg.Now()
	set(&cfg.Workers, runtime.GOMAXPROCS(0))
	set(&cfg.Held, DefaultHeld)
	if cfg.Engine.Grace <= 0 {
		cfg.Engine.Grace = 2 * time.Minute
	}
	wanted := newFilter(&cfg)
	cfg.Options.From, cfg.Options.To = wanted.from, wanted.to
	reader, err := Open(paths, cfg.Options)
	r := &run{cfg: cfg, opts: cfg.Options.withDefaults(), grouper: alert.NewGrouper(alert.GrouperConfig{Max: math.MaxInt, Keep: math.MaxInt64}),
		parts: sorter{limit: cfg.Held, compare: byID}}
	defer r.parts.close()
	r.stats = Stats{Schema: StatsSchema, ByRule: map[string]int64{}, BySeverity: map[string]int64{}, FilesFailed: []FailedFile{}}
	r.ticks = map[int64]int64{}
	if wanted.entity != nil {
		r.trail = &Trail{Entity: strings.TrimSpace(cfg.Entity), ticks: map[int64]int64{}, ids: map[string]struct{}{},
			Identities: []Tally{}, Keys: []Tally{}, Addresses: []Tally{}, Regions: []Tally{}, Actions: []Tally{}, Targets: []Tally{}, Made: []Lineage{}, Steps: []Step{}}
	}
	failed := reader.Failed()
	r.stats.FilesSkipped, r.stats.FilesIgnored, r.stats.Ignored = reader.skipped, reader.ignored, reader.odd
	if err == nil {
		r.engine = detectors.NewEngine(cfg.Rules, cfg.Engine)
		if cfg.Prepare != nil {
			if err := cfg.Prepare(r.engine); err != nil {
				return Result{}, err
			}
		}
		r.before = r.engine.Stats()
		if cfg.Resume != nil {
			if r.resume, err = newResume(&cfg, reader.inputs, again); err == nil {
				defer r.resume.release()
				err = r.resume.open(&r.parts)
			}
			if err != nil {
				return Result{}, err
			}
		}
		var more []FileError
		more, err = r.replay(ctx, reader.inputs)
		failed = append(failed, more...)
		if err == nil && r.stats.FilesRead == 0 {
			err = fmt.Errorf("%w: %w", ErrNothing, failed[0])
		}
		if err == nil && cfg.Finish != nil {
			err = cfg.Finish(r.engine)
		}
	}
	for _, f := range failed {
		r.stats.FilesFailed = append(r.stats.FilesFailed, FailedFile{f.Path, f.Err.Error()})
	}
	res, sortErr := r.result(cfg.Now().Sub(begun))
	return res, cmp.Or(sortErr, err)
}

func (r *run) replay(ctx context.Context, inputs []input) (failed []FileError, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var workers, readers sync.WaitGroup
	var all []*worker
	r.jobs = make(chan *batch, r.cfg.Workers)
	for range r.cfg.Workers {
		w := r.worker()
		all = append(all, w)
		workers.Go(func() {
			for b := range r.jobs {
				w.process(b)
			}
		})
	}
	defer func() {
		cancel()
		readers.Wait()
		close(r.jobs)
		workers.Wait()
		r.left.close()
		for _, w := range append(all, r.own) {
			r.cover.merge(w.cover)
		}
	}()

	r.own, r.plain = r.worker(), detectors.NewEvaluator(newUnordered(r.cfg.Rules))
	streams := make([]*stream, len(inputs))
	for i := range inputs {
		streams[i] = &stream{in: inputs[i]}
		if inputs[i].size < 0 || r.total < 0 {
			r.total = -1
		} else {
			r.total += inputs[i].size
		}
	}
	// Of two copies of an event that differ, the first counts: which that is must
	// not depend on the order in which somebody named the files.
	sorted := slices.Clone(streams)
	lists.Sort(sorted, func(a, b *stream) int { return strings.Compare(a.in.path, b.in.path) })
	for i, st := range sorted {
		st.index = i
	}
	m := &merge{run: r, readers: &readers, depth: 3}
	if len(streams) == 1 {
		m.depth = 2*r.cfg.Workers + 2
	}
	peekAll(ctx, streams, r.opts, r.cfg.Workers)
	// A run that is stopped ends like any other: what was read is decided, and
	// what was not is named.
	stopped := m.all(ctx, streams)
	if r.resume != nil {
		r.err = cmp.Or(r.err, r.ended(stopped))
	}
	r.engine.Close()
	r.collect()
	stopped = cmp.Or(r.err, stopped)
	r.progress(r.last)
	for _, st := range streams {
		if st.plain != nil {
			if err := st.plain.trouble(); err != nil {
				st.fail(err)
			}
		}
		f := InputFile{Path: st.in.path, Size: st.in.size}
		if r.opts.Hash && st.ended && st.err == nil {
			f.Size, f.SHA256 = st.size, hex.EncodeToString(st.sum[:])
		}
		r.files = append(r.files, f)
		if st.opened {
			r.stats.FilesRead++
		}
		if st.opened && (st.err != nil || stopped != nil && !st.ended) {
			r.stats.FilesPart++
		}
		switch {
		case st.err != nil:
			failed = append(failed, FileError{st.in.path, st.err})
		case stopped != nil && !st.opened:
			failed = append(failed, FileError{st.in.path, fmt.Errorf("%w before it was read", ErrStopped)})
		case stopped != nil && !st.ended:
			failed = append(failed, FileError{st.in.path, fmt.Errorf("%w after %d of its records", ErrStopped, st.records)})
		}
	}
	return failed, stopped
}

func (r *run) worker() *worker {
	w := newWorker(r.cfg.Rules, newFilter(&r.cfg), r.opts.MaxRecord)
	if r.cfg.Resume == nil && r.cfg.Prepare == nil && r.cfg.Finish == nil {
		w.eval.Passing() // no other process is told of these records
	}
	if r.resume != nil {
		w.skipping = &r.resume.skipping
	}
	return w
}

// maxAheadKept bounds how many events ahead of their file are remembered to
// tell them when they are met again.
const maxAheadKept = 100_000

// apply gives one event to the engine, unless an interrupted run did.
func (r *run) apply(res *result, from *batch) {
	skipped := false
	if r.resume != nil {
		if skipped, r.err = r.skip(res); r.err != nil {
			return
		}
		if res.raw && !skipped && !res.ahead {
			r.evaluated(res, from)
		}
	}
	if res.ahead {
		r.applyAhead(res, skipped)
		return
	}
	at := res.v.Time()
	if t := at; !t.IsZero() {
		if r.first.IsZero() || t.Before(r.first) {
			r.first = t
		}
		if t.After(r.last) {
			r.last = t
		}
	}
	if n := at.Unix() / tick; n != r.now {
		r.ticks[r.now] += r.inNow
		r.now, r.inNow = n, 0
	}
	r.inNow++
	if !skipped {
		if b, ok := res.v.Hold.(*batch); ok {
			b.lent++
		}
		r.engine.ApplyAt(&res.v, "replay")
	}
	r.step(at)
}

// applyAhead gives the engine an event whose time is a bad clock's: to the
// rules without state, at the time where its file is.
func (r *run) applyAhead(res *result, skipped bool) {
	v := r.plain.Evaluate(res.v.Whole()) // nothing that the engine keeps
	key := v.Event.DedupKey()
	if r.ahead[key] {
		r.again++
		return
	}
	if r.ahead == nil {
		r.ahead = map[[16]byte]bool{}
	}
	if len(r.ahead) < maxAheadKept {
		r.ahead[key] = true
	}
	r.stats.Late++
	if !skipped {
		claimed := v.Event.Time
		v.Event.Time = res.at
		r.engine.Apply(v, "replay")
		v.Event.Time = claimed
	}
	r.step(res.at)
}

// keepSteps is after how many events a run tells how far it is, and looks whether its
// state is to be kept; a variable for tests.
var keepSteps = 64 * 1024

func (r *run) step(at time.Time) {
	if r.steps++; r.steps%1024 == 0 {
		r.collect()
		if r.steps%keepSteps == 0 {
			r.progress(at)
			if r.resume != nil && r.resume.keepNow() && r.err == nil {
				r.err = r.keep(at)
			}
		}
	}
}

func (r *run) progress(at time.Time) {
	if r.cfg.OnProgress != nil {
		r.cfg.OnProgress(Progress{BytesRead: r.bytes.read.Load(), BytesTotal: r.total, Records: r.stats.Records, Detections: r.stats.Detections, EventTime: at})
	}
}

// collect folds the engine's new detections into alerts.
func (r *run) collect() {
	ds := r.engine.Take()
	for i := range ds {
		d := &ds[i]
		if r.warming(d.Time) {
			continue
		}
		r.stats.Detections++
		r.stats.ByRule[d.Rule]++
		if r.grouper.Fold(d); r.grouper.Len() >= r.cfg.Held && r.err == nil {
			r.parts.held = append(r.parts.held, r.grouper.Take()...)
			r.err = r.parts.spill()
		}
	}
	r.engine.Reuse(ds)
}

func (r *run) park(p Parked) {
	r.stats.Parked++
	if r.stats.ByReason == nil {
		r.stats.ByReason = map[event.Reason]int64{}
	}
	if r.stats.ByReason[p.Reason]++; r.stats.ByReason[p.Reason] <= parkedNamed {
		r.stats.ParkedAt = append(r.stats.ParkedAt, ParkedRecord{p.Path, p.Record, p.Reason})
	}
	if r.cfg.OnParked != nil {
		r.cfg.OnParked(p)
	}
}

// result is what was found. The error is that alerts cannot be put in order;
// then there are none.
func (r *run) result(took time.Duration) (Result, error) {
	r.ticks[r.now] += r.inNow
	r.inNow = 0
	to := r.cfg.To
	if r.cfg.Open {
		to = time.Time{}
	}
	res := Result{Stats: r.stats, Coverage: r.cover.covers(r.cfg.From, to), Trail: r.trail, Files: r.files, ticks: r.ticks}
	if r.trail != nil {
		r.trail.finish()
	}
	s := &res.Stats
	err := r.err
	if err == nil {
		r.parts.held = append(r.parts.held, r.grouper.Take()...)
		err = r.order(&res)
	}
	if r.engine != nil {
		es := r.engine.Stats()
		s.Events, s.Duplicates = int64(es.Events-r.before.Events), int64(es.Duplicates-r.before.Duplicates)+r.again
		s.Early = int64(es.Spilled - r.before.Spilled)
		s.Late, s.RuleErrors, s.Excepted = s.Late+int64(es.Late-r.before.Late), int64(es.RuleErrors-r.before.RuleErrors), int64(es.Excepted-r.before.Excepted)
		s.ByException = more(es.ByReason, r.before.ByReason)
		s.Evicted = more(es.Evicted(), r.before.Evicted())
	}
	s.BytesRead, s.BytesDecoded = r.bytes.read.Load(), r.bytes.decoded.Load()
	if !r.first.IsZero() {
		s.FirstEvent, s.LastEvent = &r.first, &r.last
	}
	s.Seconds = took.Seconds()
	s.PeakRSSBytes = peakRSS()
	return res, err
}

// more is what counts are beyond those of before; nil where they are the same.
func more(now, before map[string]uint64) map[string]int64 {
	var m map[string]int64
	for k, n := range now {
		if old := before[k]; n > old {
			if m == nil {
				m = make(map[string]int64)
			}
			m[k] = int64(n - old)
		}
	}
	return m
}

// order counts the alerts and puts them in the order of the output.
func (r *run) order(res *Result) error {
	res.alerts = &sorter{limit: r.cfg.Held, compare: (*alert.Part).Compare}
	for p, err := range join(r.parts.all()) {
		if err == nil {
			err = res.alerts.add(p)
		}
		if err != nil {
			res.Close()
			return err
		}
		res.Stats.Alerts++
		res.Stats.BySeverity[p.Severity().String()]++
	}
	return nil
}

// merge applies the streams' events in the order of (time, input), as far as
// the streams themselves are in order.
type merge struct {
	run     *run
	readers *sync.WaitGroup
	unread  []*stream // not yet open, by (start, index)
	heads   headHeap  // open, with a current event
	depth   int       // batches of one stream that may be under way
	windows int64     // of the archives among heads
}

// fits says that another stream may be open beside the open ones. It depends
// on the input alone: what is being read ahead does not count.
func (m *merge) fits(st *stream) bool {
	return len(m.heads) == 0 || len(m.heads) < m.run.opts.MaxOpen && m.windows+st.in.window <= m.run.opts.MaxDecoders
}

// prefetch begins to read the next streams, as far as there is room.
func (m *merge) prefetch(ctx context.Context, n int) {
	room := m.run.opts.MaxDecoders - m.windows
	for _, st := range m.unread[:min(n, len(m.unread))] {
		if room -= st.in.window; room < 0 {
			return
		}
		m.start(ctx, st)
	}
}

type head struct {
	at time.Time
	st *stream
}

func (m *merge) all(ctx context.Context, streams []*stream) error {
	m.unread = slices.Clone(streams)
	lists.Sort(m.unread, func(a, b *stream) int { return cmp.Or(a.start.Compare(b.start), cmp.Compare(a.index, b.index)) })
	// While one file is applied, the next ones are being read.
	prefetch := max(2, m.run.cfg.Workers)
	for {
		// Open every stream that may begin before the first open one goes
		// on; when too many are open, the rest waits for one to end.
		for len(m.unread) > 0 && m.fits(m.unread[0]) && (len(m.heads) == 0 || !m.unread[0].start.After(m.heads[0].at)) {
			st := m.unread[0]
			m.unread = m.unread[1:]
			m.start(ctx, st)
			m.windows += st.in.window
			m.prefetch(ctx, prefetch)
			if err := m.push(ctx, st); err != nil {
				return err
			}
		}
		if len(m.heads) == 0 {
			if len(m.unread) == 0 {
				return ctx.Err()
			}
			continue
		}
		// Apply from the first stream until another one is first.
		st := m.heads[0].st
		until, bounded := m.bound()
		for {
			res, from := st.take()
			if m.run.apply(res, from); m.run.err != nil {
				return m.run.err
			}
			at, ok, err := m.run.load(ctx, st)
			if err != nil {
				return err
			}
			if !ok {
				heap.Pop(&m.heads)
				m.windows -= st.in.window
				break
			}
			if bounded && (at.After(until.at) || at.Equal(until.at) && st.index > until.st.index) {
				m.heads[0].at = at
				heap.Fix(&m.heads, 0)
				break
			}
		}
	}
}

// bound returns what comes after the first stream: the second open one, or
// the next to be opened.
func (m *merge) bound() (h head, ok bool) {
	for i := 1; i <= 2 && i < len(m.heads); i++ {
		if !ok || m.heads[i].before(h) {
			h, ok = m.heads[i], true
		}
	}
	if len(m.unread) > 0 && m.fits(m.unread[0]) {
		if u := (head{m.unread[0].start, m.unread[0]}); !ok || u.before(h) {
			h, ok = u, true
		}
	}
	return h, ok
}

// start begins to read a stream; to start it again is nothing.
func (m *merge) start(ctx context.Context, st *stream) {
	if st.ready != nil {
		return
	}
	ctx, st.stop = context.WithCancel(ctx)
	st.ready = make(chan *batch, m.depth)
	m.readers.Go(func() {
		defer st.stop()
		m.run.pump(ctx, st)
	})
}

func (m *merge) push(ctx context.Context, st *stream) error {
	at, ok, err := m.run.load(ctx, st)
	if err != nil {
		return err
	}
	if !ok {
		m.windows -= st.in.window
		return nil
	}
	heap.Push(&m.heads, head{at, st})
	return nil
}

func (h head) before(o head) bool {
	if c := h.at.Compare(o.at); c != 0 {
		return c < 0
	}
	return h.st.index < o.st.index
}

type headHeap []head

func (h headHeap) Len() int           { return len(h) }
func (h headHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h headHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *headHeap) Push(x any)        { *h = append(*h, x.(head)) }
func (h *headHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
