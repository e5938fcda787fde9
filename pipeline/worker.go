package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/trace"
)

// WorkerConfig is how a partition is evaluated. Bus, NewEngine and NewGrouper
// are needed; the zero value of the rest is its default.
type WorkerConfig struct {
	Bus        *bus.Bus
	Partition  int
	NewEngine  func(partition int) Engine
	NewGrouper func() Grouper
	// Rules is the hash of the rule set in force.
	Rules string
	// Owner names this process in commit records. Epoch is the one a lease
	// was granted for; 0 takes the next.
	Owner string
	Epoch uint64
	// A step is committed after at most CommitFrames frames (default 64) or
	// CommitEvery (default 1 s); one with alerts when no further frame is at
	// hand, or after BatchFrames (default 16).
	CommitFrames, BatchFrames int
	CommitEvery               time.Duration
	// A snapshot is made every SnapshotFrames (default 4096) or when
	// SnapshotBytes of records were evaluated since (default 64 MiB).
	SnapshotFrames int
	SnapshotBytes  int64
	// Readers are the names of those who read COMMITS: records are kept
	// until all of them have seen them.
	Readers []string
	// Tracer goes on with the traces of pages; nil traces nothing.
	Tracer *trace.Tracer
	Logger *slog.Logger

	lastAttemptAfter time.Duration // for tests; see the constant
}

func (c *WorkerConfig) defaults() {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&c.CommitFrames, 64)
	set(&c.BatchFrames, 16)
	set(&c.SnapshotFrames, 4096)
	if c.CommitEvery <= 0 {
		c.CommitEvery = time.Second
	}
	if c.SnapshotBytes <= 0 {
		c.SnapshotBytes = 64 << 20
	}
	if c.lastAttemptAfter <= 0 {
		c.lastAttemptAfter = lastAttemptAfter
	}
	if c.Logger == nil {
		c.Logger = c.Bus.Logger()
	}
}

// purgeCommitsEvery is how many commits pass between looking for ones that
// nobody needs.
const purgeCommitsEvery = 256

// Worker evaluates one partition. Run is called once.
type Worker struct {
	cfg WorkerConfig
	b   *bus.Bus
	log *slog.Logger

	eng Engine
	grp Grouper

	epoch     uint64
	head      uint64      // sequence of the last commit of the chain
	last      *bus.Commit // what it says
	committed uint64      // input sequence up to which output is out
	input     uint64      // input sequence evaluated
	inputID   string      // message id of that frame
	shards    map[shardKey]*shardPos
	watermark time.Time
	stamp     time.Time
	ledger    map[string]*bus.Ledger
	missing   []bus.Gap
	base      bus.Counters // what the engine does not count itself
	quiet     bool         // re-evaluation: output is already out

	changed map[string]*alert.Alert
	order   []string
	frames  int // since the last commit
	batch   int // since the first changed alert
	oldest  time.Time

	// Traces, each empty without one: of the newest page evaluated, of what
	// the alerts of this step came of, and of its other pages.
	recent, cause string
	joined        []string

	sinceSnap      int
	sinceSnapBytes int64
	snapInput      uint64 // input of the last snapshot
	olderInput     uint64 // of the older kept one
	snapRules      string // hash of the rules that the last snapshot's state is of
	sinceCommits   int

	tries    int          // owners in a row without progress, this one included
	unclean  bool         // the chain does not end with a step or an orderly end
	careful  int          // frames still to be parsed and committed one by one
	oneByOne bool         // the next of them record by record
	skipped  []bus.Trying // what has ended the process
	doubt    *bus.Trying  // what a former owner was trying when it ended
	marked   bool         // the last record of the chain is our marker

	snapReq chan struct{}
	ruleReq chan Ruling // holds the newest that was asked for
	drain   chan struct{}
	once    sync.Once
	leave   chan struct{}
	leaving sync.Once

	mu    sync.Mutex
	stats WorkerStats
	lat   latencies
}

type shardKey struct {
	source string
	shard  int
}

type shardPos struct {
	bus.ShardPosition
	name  string // as the engine knows it
	dirty bool
}

// WorkerStats is a partition's condition.
type WorkerStats struct {
	Partition int
	State     string // "starting", "recovering", "running", "draining", "stopped", "fenced", "failed"
	Epoch     uint64
	Input     uint64 // last stream sequence evaluated
	Committed uint64 // last stream sequence committed
	Commit    uint64 // sequence of the last commit record
	Lag       uint64 // frames waiting
	Watermark time.Time
	Stamp     time.Time // ingest stamp of the last frame evaluated
	Pending   int       // events that wait for the watermark
	bus.Counters
	// Excepted are withheld detections by reason, Noise what rules in shadow
	// would have made, since the state began; Evicted entities that rules forgot to
	// stay within their bounds.
	Excepted      map[string]uint64
	Evicted       map[string]uint64
	Noise         map[string]alert.Noise
	Snapshots     uint64 // made since the start
	SnapshotInput uint64
	SnapshotBytes int
	Refused       uint64 // snapshots that could not be used
	Recovered     uint64 // frames evaluated again at the start
	Rebuilt       bool   // no snapshot was usable and the history was not whole
	Rules         string // hash of the rules that what comes next is evaluated by
	// Accounts is the newest event time of each account, of MaxAccounts at most;
	// where that lies ahead, when the event was read.
	Accounts        map[string]time.Time
	CommitP50       time.Duration
	CommitP99       time.Duration // from the frame's ingest stamp to its commit, over the last ones
	LastCommitError string
}

// NewWorker returns a worker; Run starts it.
func NewWorker(cfg WorkerConfig) *Worker {
	cfg.defaults()
	w := &Worker{cfg: cfg, b: cfg.Bus, log: cfg.Logger.With("partition", cfg.Partition), drain: make(chan struct{}), leave: make(chan struct{}), snapReq: make(chan struct{}, 1), ruleReq: make(chan Ruling, 1)}
	w.stats.Partition, w.stats.State, w.stats.Rules = cfg.Partition, "starting", cfg.Rules
	return w
}

// Stats returns a copy of the worker's condition. Safe from any goroutine.
func (w *Worker) Stats() WorkerStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Accounts = maps.Clone(w.stats.Accounts)
	s.CommitP50, s.CommitP99 = w.lat.quantiles()
	return s
}

func (w *Worker) note(f func(*WorkerStats)) {
	w.mu.Lock()
	f(&w.stats)
	w.mu.Unlock()
}

// Drain asks Run to evaluate what is stored now, commit, make a snapshot and
// return nil.
func (w *Worker) Drain() { w.once.Do(func() { close(w.drain) }) }

// HandOver asks Run to commit what is evaluated, make a snapshot and return
// nil, however much is waiting: somebody else goes on.
func (w *Worker) HandOver() { w.leaving.Do(func() { close(w.leave) }) }

// RequestSnapshot asks for a snapshot soon, to make room in EVENTS. A worker
// that stands still makes its two snapshots of one state then, so that
// everything evaluated can be removed: a full store must not wait for the
// events that it has no room for.
func (w *Worker) RequestSnapshot() {
	select {
	case w.snapReq <- struct{}{}:
	default:
	}
}

// Run evaluates the partition until ctx ends (it returns ctx's error and
// leaves everything as a crash would), Drain or HandOver was asked (nil), or another
// worker took over (bus.ErrFenced). The state is dropped in every case.
func (w *Worker) Run(ctx context.Context) (err error) {
	defer func() {
		state := "stopped"
		switch {
		case errors.Is(err, bus.ErrFenced):
			state = "fenced"
		case err != nil && ctx.Err() == nil:
			state = "failed"
		}
		w.note(func(s *WorkerStats) { s.State = state })
		if w.marked && state == "stopped" {
			// The end has nothing to do with the record that is marked.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := w.endClean(end); err != nil {
				w.log.Warn("a marker is left behind", "error", err)
			}
		}
		w.eng, w.grp, w.changed = nil, nil, nil
	}()
	if err := w.takeOver(ctx); err != nil {
		return fmt.Errorf("partition %d: taking over: %w", w.cfg.Partition, err)
	}
	if err := w.restore(ctx); err != nil {
		return fmt.Errorf("partition %d: restoring: %w", w.cfg.Partition, err)
	}
	if err := w.loop(ctx); err != nil {
		return fmt.Errorf("partition %d: %w", w.cfg.Partition, err)
	}
	return nil
}

// takeOver reads the end of the commit chain and appends a fence record: from
// then on nobody else can append.
func (w *Worker) takeOver(ctx context.Context) error {
	subject := bus.CommitSubject(w.cfg.Partition)
	for {
		m, err := w.b.Last(ctx, bus.StreamCommits, subject)
		switch {
		case errors.Is(err, bus.ErrNotFound):
			w.last, w.head = &bus.Commit{}, 0
		case err != nil:
			return err
		default:
			if w.last, err = w.readCommit(ctx, m); err != nil {
				return err
			}
			w.head = m.Seq
		}
		w.epoch = w.cfg.Epoch
		if w.epoch == 0 {
			w.epoch = w.last.Epoch + 1
		}
		if w.epoch <= w.last.Epoch {
			return fmt.Errorf("epoch %d is over, %q holds epoch %d: %w", w.epoch, w.last.Owner, w.last.Epoch, bus.ErrFenced)
		}
		prior := w.suspect()
		w.tries = prior + 1
		err = w.append(ctx, w.still(&bus.Commit{Fence: true, Tries: w.tries, Trying: w.doubt}))
		if err == nil {
			w.unclean = true
			if prior >= carefulAfter {
				w.careful, w.oneByOne = w.cfg.CommitFrames+carefulFrames, true
				// Nobody is troubled with it when nothing waited: the ends had
				// another reason.
				level := slog.LevelWarn
				m, err := w.b.Last(ctx, bus.StreamEvents, bus.EventsSubject(w.cfg.Partition, "*"))
				if errors.Is(err, bus.ErrNotFound) || err == nil && m.Seq <= w.last.Input {
					level = slog.LevelDebug
				}
				w.log.Log(ctx, level, "several starts in a row have come no further than this; frames are evaluated one by one to find the one that ends the process", "starts", prior, "input", w.last.Input)
			}
			break
		}
		// Somebody appended between the look and the fence. With an epoch
		// of our own choice, look again.
		if !errors.Is(err, bus.ErrFenced) || w.cfg.Epoch != 0 {
			return err
		}
	}
	w.committed = w.last.Input
	w.note(func(s *WorkerStats) { s.Epoch, s.Commit, s.Committed = w.epoch, w.head, w.committed })
	return nil
}

// carefulAfter is after how many unclean ends at the same input frames are
// taken one by one, the first of them record by record. carefulFrames are more
// than can have been read ahead. A record during which maxAttempts owners in a
// row have ended is left out; before the last attempt lastAttemptAfter passes.
const (
	carefulAfter     = 2
	carefulFrames    = 32
	maxAttempts      = 3
	lastAttemptAfter = time.Second
)

// What a marker says besides the number of a record: the frame is about to be
// decoded, or what its records have led to is about to be grouped. Both belong
// to the frame as a whole.
const (
	tryDecode = -1
	tryGroup  = -2
)

// stage orders them.
func stage(index int) int {
	if index == tryGroup {
		return math.MaxInt
	}
	return index
}

// suspect looks at the end of the chain for what the former owner died of: it
// returns how many ends in a row were unclean at this input, and adds the record
// that was being tried to those that are skipped.
func (w *Worker) suspect() (prior int) {
	w.skipped, w.doubt = w.last.Skipped, w.last.Trying
	if w.last.Tries > 0 && w.last.Tries%10 == 0 {
		w.doubt = nil // it has not come that far again: begin anew
	}
	if t := w.doubt; t != nil && t.Attempt >= maxAttempts {
		w.skipped = append(slices.Clone(w.skipped), bus.Trying{Seq: t.Seq, Index: t.Index})
		w.doubt = nil
		w.log.Error("a record has ended the process and is left out and parked", "seq", t.Seq, "index", t.Index)
	}
	switch {
	case w.last.Fence || w.last.Trying != nil:
		return w.last.Tries
	case w.last.Careful:
		return carefulAfter + 1
	}
	return 0
}

// still fills in a record that moves nothing.
func (w *Worker) still(c *bus.Commit) *bus.Commit {
	c.Input, c.InputID, c.Watermark, c.Stamp, c.Counters = w.last.Input, w.last.InputID, w.last.Watermark, w.last.Stamp, w.last.Counters
	c.Ledger, c.Missing = w.last.Ledger, w.last.Missing
	return c
}

// try says which record is evaluated next, durably, before it is. What the
// former owner got past needs no marker: the fewer there are, the less likely it
// is that an end for another reason meets the one in doubt. The caller holds
// evaluating for writing.
func (w *Worker) try(ctx context.Context, seq uint64, index int) error {
	t := &bus.Trying{Seq: seq, Index: index, Attempt: 1}
	if d := w.doubt; d != nil && d.Seq == seq {
		if stage(index) < stage(d.Index) {
			return nil
		}
		if index == d.Index {
			t.Attempt = d.Attempt + 1
		}
	}
	if t.Attempt == maxAttempts {
		if err := w.apart(ctx); err != nil {
			return err
		}
	}
	// Before the answer, because a marker whose answer did not come may be there.
	w.marked = true
	return w.append(ctx, w.still(&bus.Commit{Part: true, Tries: w.tries, Trying: t}))
}

// apart lets time pass before the attempt that decides, with the other workers
// going on. Who comes this far is at the record at once after each start, so a
// process that is killed from outside soon after every start would be killed at an
// innocent record three times. So it is killed here, where nothing is marked yet;
// what the record ends, it still ends.
func (w *Worker) apart(ctx context.Context) error {
	evaluating.Unlock()
	defer evaluating.Lock()
	select {
	case <-time.After(w.cfg.lastAttemptAfter):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endClean tells the next owner that this one did not die.
func (w *Worker) endClean(ctx context.Context) error {
	if !w.unclean {
		return nil
	}
	err := w.append(ctx, w.still(&bus.Commit{Fence: true}))
	if errors.Is(err, bus.ErrFenced) {
		// Our own marker may be what is in the way: it was stored, and the
		// answer came too late to be heard.
		m, rerr := w.b.Last(ctx, bus.StreamCommits, bus.CommitSubject(w.cfg.Partition))
		if rerr != nil {
			return errors.Join(err, rerr)
		}
		if c, derr := bus.DecodeCommit(m.Data); derr != nil || c.Epoch != w.epoch || c.Owner != w.cfg.Owner {
			return err
		}
		w.head = m.Seq
		err = w.append(ctx, w.still(&bus.Commit{Fence: true}))
	}
	if err != nil {
		return err
	}
	w.unclean, w.marked = false, false
	return nil
}

// readCommit decodes the last commit, or finds the last one that can be.
func (w *Worker) readCommit(ctx context.Context, m bus.Message) (*bus.Commit, error) {
	c, err := bus.DecodeCommit(m.Data)
	if err == nil {
		return c, nil
	}
	if errors.Is(err, bus.ErrVersion) {
		return nil, fmt.Errorf("commit %d: %w: start the newer version again", m.Seq, err)
	}
	w.log.Error("the last commit record cannot be read; going back to the one before", "seq", m.Seq, "error", err)
	r := w.b.NewReader(bus.StreamCommits, 1, 64, bus.CommitSubject(w.cfg.Partition))
	defer r.Stop()
	c = &bus.Commit{}
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if g, err := bus.DecodeCommit(d.Data); err == nil {
			c = g
		}
		if d.Seq >= m.Seq {
			// The unreadable one may have had the next epoch.
			c.Epoch++
			return c, nil
		}
	}
}

// append writes a commit record at the end of the chain, for as long as it
// takes: an unknown outcome is tried again with the same bytes, a full stream
// is waited for. It fails when fenced or when ctx ends.
func (w *Worker) append(ctx context.Context, c *bus.Commit) error {
	c.Partition, c.Epoch, c.Owner, c.Prev, c.Rules = w.cfg.Partition, w.epoch, w.cfg.Owner, w.head, w.cfg.Rules
	c.Skipped = w.skipped
	data, err := bus.EncodeCommit(c)
	if err != nil {
		return err
	}
	wait := 100 * time.Millisecond
	for {
		seq, err := w.b.Publish(ctx, bus.Publish{
			Stream: bus.StreamCommits, Subject: bus.CommitSubject(w.cfg.Partition),
			ID: c.ID(data), Data: data, Fenced: true, Expect: w.head,
		})
		if err == nil {
			w.head = seq
			w.note(func(s *WorkerStats) { s.Commit, s.LastCommitError = seq, "" })
			return nil
		}
		if errors.Is(err, bus.ErrFenced) || errors.Is(err, bus.ErrClosed) || errors.Is(err, bus.ErrDamaged) || ctx.Err() != nil {
			return err
		}
		w.note(func(s *WorkerStats) { s.LastCommitError = err.Error() })
		w.log.Warn("commit not stored yet, trying again", "error", err, "wait", wait)
		if errors.Is(err, bus.ErrBackpressure) {
			if perr := w.purgeCommits(ctx); perr != nil && ctx.Err() == nil {
				w.log.Warn("old commit records could not be removed", "error", perr)
			}
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(wait*2, 5*time.Second)
	}
}

// restore loads the newest usable snapshot, or begins with nothing.
func (w *Worker) restore(ctx context.Context) error {
	w.note(func(s *WorkerStats) { s.State = "recovering" })
	strange, err := w.strangeStream(ctx)
	if err != nil {
		return err
	}
	if strange {
		// Sequence numbers mean nothing any more. Everything that is stored
		// is applied to the state as new; the engine drops by event id what
		// it has seen, and alerts keep their ids.
		w.log.Error("EVENTS does not hold the frame that was committed last: the store has lost its end or was made anew; all stored frames are evaluated again",
			"committed", w.committed)
		w.committed, w.skipped = 0, nil
	}
	ok, refused, err := w.b.LoadSnapshot(ctx, w.cfg.Partition, func(s *bus.Snapshot) error {
		if s.Input > w.last.Input {
			return fmt.Errorf("it includes input %d, the last commit only %d: %w", s.Input, w.last.Input, bus.ErrDamaged)
		}
		w.reset()
		if err := w.eng.Restore(s.Engine); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		if err := w.grp.Restore(s.Grouper); err != nil {
			return fmt.Errorf("grouper: %w", err)
		}
		if s.Rules != w.cfg.Rules {
			w.log.Info("the rules have changed since the snapshot; detectors whose settings are the same keep their state", "snapshot", s.Rules, "now", w.cfg.Rules)
		}
		w.input, w.watermark, w.stamp, w.snapInput = s.Input, s.Watermark, s.Stamp, s.Input
		w.snapRules = s.Rules
		if strange {
			w.input, w.snapInput = 0, 0
		}
		w.base = s.Counters
		// What the engine counts itself is in its own state.
		w.base.Evaluated, w.base.Duplicates, w.base.Late = 0, 0, 0
		w.missing = s.Missing
		w.fresh(s.Accounts)
		for i := range s.Ledger {
			w.ledger[s.Ledger[i].Source] = &s.Ledger[i]
		}
		for _, p := range s.Positions {
			w.shards[shardKey{p.Source, p.Shard}] = &shardPos{ShardPosition: p, name: shardName(p.Source, p.Shard)}
		}
		return nil
	})
	for _, r := range refused {
		w.log.Error("a snapshot cannot be used", "input", r.Input, "reason", r.Reason)
		w.note(func(s *WorkerStats) { s.Refused++ })
	}
	if err != nil {
		return err
	}
	if !ok {
		w.reset()
		if w.last.Input > 0 {
			w.log.Warn("no usable snapshot: the state is rebuilt from the stored frames", "committed", w.last.Input)
		}
	}
	if strange {
		w.base.Gaps++
	}
	w.quiet = w.input < w.committed
	counters, es := w.counters()
	w.note(func(s *WorkerStats) {
		s.Input, s.SnapshotInput, s.Watermark, s.Stamp, s.Counters, s.Pending = w.input, w.snapInput, w.watermark, w.stamp, counters, es.Pending
		s.Excepted, s.Noise, s.Evicted = es.Excepted, es.Noise, es.Evicted
	})
	return nil
}

// strangeStream says whether EVENTS is another stream than the one that the
// last commit is about. The frame it names is always kept: frames are removed
// only below what two later snapshots include.
func (w *Worker) strangeStream(ctx context.Context) (bool, error) {
	if w.committed == 0 {
		return false, nil
	}
	m, err := w.b.Kept(ctx, bus.StreamEvents, bus.EventsSubject(w.cfg.Partition, "*"), w.committed)
	if errors.Is(err, bus.ErrNotFound) {
		return true, nil
	}
	return err == nil && m.ID != w.last.InputID, err
}

// reset begins with nothing.
func (w *Worker) reset() {
	w.eng, w.grp = w.cfg.NewEngine(w.cfg.Partition), w.cfg.NewGrouper()
	w.shards = map[shardKey]*shardPos{}
	w.changed, w.order = map[string]*alert.Alert{}, nil
	w.ledger, w.missing = map[string]*bus.Ledger{}, nil
	w.input, w.watermark, w.stamp, w.base = 0, time.Time{}, time.Time{}, bus.Counters{}
}

func shardName(src string, shard int) string { return src + "/" + strconv.Itoa(shard) }

// loop evaluates and commits.
func (w *Worker) loop(ctx context.Context) error {
	rctx, cancel := context.WithCancel(ctx)
	items := make(chan item, 4)
	var wg sync.WaitGroup
	from, committed, careful, skipped := w.input+1, w.committed, w.careful, w.skipped
	wg.Go(func() { w.read(rctx, from, committed, careful, skipped, items) })
	defer wg.Wait()
	defer cancel()
	if !w.quiet {
		w.note(func(s *WorkerStats) { s.State = "running" })
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	drain := w.drain
	target, draining := uint64(0), false
	for {
		if draining && w.input >= target {
			// Still quiet means that committed frames are not there any
			// more; there is nothing to wait for.
			return w.finish(ctx)
		}
		select {
		case <-w.leave:
			if w.quiet {
				return w.endClean(ctx) // nothing is new
			}
			return w.finish(ctx)
		default:
		}
		if !w.quiet && !draining {
			select {
			case r := <-w.ruleReq:
				if err := w.adopt(ctx, r); err != nil {
					return err
				}
			default:
			}
		}
		var it item
		got := false
		if len(w.order) > 0 {
			// Alerts wait: take only what is at hand.
			select {
			case it = <-items:
				got = true
			default:
				if err := w.commit(ctx); err != nil {
					return err
				}
				continue
			}
		}
		if !got {
			select {
			case it = <-items:
			case <-timer.C:
				if err := w.commit(ctx); err != nil {
					return err
				}
				continue
			case <-w.snapReq:
				if err := w.makeRoom(ctx); err != nil {
					return err
				}
				continue
			case r := <-w.rulings(draining):
				if err := w.adopt(ctx, r); err != nil {
					return err
				}
				continue
			case <-w.leave:
				continue // seen at the top
			case <-drain:
				m, err := w.b.Last(ctx, bus.StreamEvents, bus.EventsSubject(w.cfg.Partition, "*"))
				if err != nil && !errors.Is(err, bus.ErrNotFound) {
					return err
				}
				drain, target, draining = nil, m.Seq, true
				w.note(func(s *WorkerStats) { s.State = "draining" })
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if it.fatal {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return it.err
		}
		if err := w.evaluateAlone(ctx, &it); err != nil {
			return err
		}
		if w.quiet || it.lazy {
			continue
		}
		if w.frames == 1 {
			timer.Reset(w.cfg.CommitEvery)
		}
		if w.frames >= w.cfg.CommitFrames || len(w.order) > 0 && w.batch >= w.cfg.BatchFrames {
			if err := w.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// group folds what the engine found.
func (w *Worker) group() {
	for _, d := range w.eng.Take() {
		w.base.Detections++
		a := w.grp.Add(d)
		if a == nil {
			continue
		}
		if _, ok := w.changed[a.ID]; !ok {
			w.order = append(w.order, a.ID)
		}
		w.changed[a.ID] = a
	}
	if m := w.eng.Watermark(); m.After(w.watermark) {
		w.watermark = m
		w.grp.Advance(m)
	}
}

// chain follows the numbering of the frame's shard. The stream's own order and
// the expected sequence of every publish mean that a frame is never there
// twice; a number that is missing is data that was lost.
func (w *Worker) chain(it *item) *shardPos {
	f := it.frame
	k := shardKey{f.Source, f.Shard}
	p := w.shards[k]
	if p == nil {
		p = &shardPos{ShardPosition: bus.ShardPosition{Source: f.Source, Shard: f.Shard}, name: shardName(f.Source, f.Shard)}
		w.shards[k] = p
		if f.Counter > 1 {
			// Frames before it were purged, and no snapshot holds what they
			// left behind.
			w.log.Error("the state is rebuilt from a history that is not whole: what detectors had learned before is lost", "source", f.Source, "shard", f.Shard, "first_frame", f.Counter)
			w.base.Gaps++
			w.note(func(s *WorkerStats) { s.Rebuilt = true })
		}
	} else if f.Counter > p.Counter+1 {
		lost := f.Counter - p.Counter - 1
		w.base.Gaps += lost
		w.log.Error("frames are missing from the store; their records are to be read again from the source", "source", f.Source, "shard", f.Shard, "frames", lost, "after", p.To, "before", f.From)
		w.miss(bus.Gap{ID: fmt.Sprintf("%d/%s/%d", w.cfg.Partition, bus.ShardToken(f.Source, f.Shard), f.Counter), Source: f.Source, Shard: f.Shard, From: p.From, To: f.To, Frames: lost})
	} else if f.Counter <= p.Counter {
		w.log.Error("frames are numbered again: the store had lost its end", "source", f.Source, "shard", f.Shard, "was", p.Counter, "is", f.Counter)
	}
	if p.Span == 0 || p.From != f.From && !later(f.Reach, f.To) {
		p.Span = it.seq
	}
	p.Counter, p.From, p.To, p.Seq, p.dirty = f.Counter, f.From, f.To, it.seq, true
	return p
}

// counters joins what the engine counts with what the worker counts.
func (w *Worker) counters() (bus.Counters, EngineStats) {
	c, s := w.base, w.eng.Stats()
	c.Evaluated, c.Duplicates, c.Late = s.Events, s.Duplicates, s.Late
	return c, s
}

// commit appends the step: in one record, or in several of which the last one
// moves the input. Alerts of a step that was cut short are written again by
// whoever evaluates it next, with the same ids.
func (w *Worker) commit(ctx context.Context) error {
	if w.frames == 0 && len(w.order) == 0 {
		return nil
	}
	failpoint.Hit(failpoint.WorkerEvaluated)
	counters, es := w.counters()
	var alerts [][]byte
	for _, id := range w.order {
		b, err := w.storeAlert(w.changed[id])
		if err != nil {
			return err
		}
		alerts = append(alerts, b)
	}
	// A step made with care is still one that may have been cut short by the
	// next frame: only the last of them says that all is well.
	careful := w.careful > 1
	if w.careful > 0 {
		w.careful--
	}
	w.oneByOne = false
	c := &bus.Commit{Input: w.input, InputID: w.inputID, Watermark: w.watermark, Stamp: w.stamp, Counters: counters, Positions: w.moved(), Careful: careful,
		Ledger: w.ledgers(), Missing: slices.Clone(w.missing)}
	if err := w.appendTraced(ctx, c, alerts); err != nil {
		return err
	}
	failpoint.Hit(failpoint.WorkerCommitted)
	w.last, w.committed, w.unclean, w.marked = c, w.input, careful, false
	now := time.Now()
	w.note(func(s *WorkerStats) {
		s.Committed, s.Watermark, s.Stamp, s.Counters, s.Pending = w.committed, w.watermark, w.stamp, counters, es.Pending
		s.Excepted, s.Noise, s.Evicted = es.Excepted, es.Noise, es.Evicted
		if !w.oldest.IsZero() {
			w.lat.add(now.Sub(w.oldest))
		}
	})
	w.changed, w.order = map[string]*alert.Alert{}, nil
	w.frames, w.batch, w.oldest = 0, 0, time.Time{}
	w.cause, w.joined = "", w.joined[:0]
	for _, p := range w.shards {
		p.dirty = false
	}
	if w.sinceCommits++; w.sinceCommits >= purgeCommitsEvery {
		w.sinceCommits = 0
		if err := w.purgeCommits(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			w.log.Warn("old commit records could not be removed", "error", err)
		}
	}
	if w.sinceSnap >= w.cfg.SnapshotFrames || w.sinceSnapBytes >= w.cfg.SnapshotBytes {
		return w.snapshot(ctx)
	}
	return nil
}

// appendTraced appends a step with its alerts. The record carries the trace of
// what they came of.
func (w *Worker) appendTraced(ctx context.Context, c *bus.Commit, alerts [][]byte) (err error) {
	ctx, span := w.cfg.Tracer.Resume(ctx, w.cause, "commit step",
		trace.Int("trailwarden.partition", w.cfg.Partition), trace.Int("trailwarden.frames", w.frames), trace.Int("trailwarden.alerts", len(alerts)))
	defer func() { span.End(err) }()
	for _, t := range w.joined {
		if t != w.cause {
			span.Link(t)
		}
	}
	parts := cutAlerts(alerts)
	for _, part := range parts[:len(parts)-1] {
		if err := w.appendCut(ctx, w.still(&bus.Commit{Part: true}), part); err != nil {
			return err
		}
	}
	return w.appendCut(ctx, c, parts[len(parts)-1])
}

// appendCut appends c with alerts, in halves when they do not fit even
// compressed. All but the last half go as parts.
func (w *Worker) appendCut(ctx context.Context, c *bus.Commit, alerts [][]byte) error {
	c.Alerts = alerts
	err := w.append(ctx, c)
	if !errors.Is(err, bus.ErrTooLarge) || len(alerts) < 2 {
		return err
	}
	half := len(alerts) / 2
	if err := w.appendCut(ctx, w.still(&bus.Commit{Part: true}), alerts[:half]); err != nil {
		return err
	}
	return w.appendCut(ctx, c, alerts[half:])
}

// cutAlerts divides alerts by what one record may carry; there is always one
// part.
func cutAlerts(alerts [][]byte) [][][]byte {
	var out [][][]byte
	size, from := 0, 0
	for i, a := range alerts {
		if i > from && (size+len(a) > bus.MaxAlertBytes || i-from >= bus.MaxAlerts) {
			out = append(out, alerts[from:i])
			size, from = 0, i
		}
		size += len(a)
	}
	return append(out, alerts[from:])
}

// maxStoredAlert is what one alert may take before its details are left out;
// it fits a record whatever compression does.
const maxStoredAlert = 512 << 10

func (w *Worker) storeAlert(a *alert.Alert) ([]byte, error) {
	b, err := alert.MarshalStored(a)
	if err == nil && len(b) <= maxStoredAlert {
		return b, nil
	}
	// Details that cannot be written must not stop the alert.
	short := *a
	short.Details = map[string]any{"omitted": "the details do not fit or cannot be encoded"}
	w.log.Error("details of an alert are left out", "alert", a.ID, "rule", a.Rule, "bytes", len(b), "error", err)
	return alert.MarshalStored(&short)
}

// moved lists the positions that changed since the last commit.
func (w *Worker) moved() []bus.ShardPosition {
	var out []bus.ShardPosition
	for _, p := range w.shards {
		if p.dirty {
			out = append(out, p.ShardPosition)
		}
	}
	sortPositions(out)
	return out
}

func sortPositions(ps []bus.ShardPosition) {
	lists.Sort(ps, func(a, b bus.ShardPosition) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Shard, b.Shard))
	})
}

// snapshot saves the state, which is exactly what the last commit covers, and
// removes the frames that neither kept snapshot needs. A failure costs a
// longer start, not more; only a fence ends the worker.
func (w *Worker) snapshot(ctx context.Context) error {
	_, err := w.saveState(ctx, w.eng.Snapshot())
	return err
}

// saveState is snapshot with the engine's state at hand; it says whether the
// snapshot is stored.
func (w *Worker) saveState(ctx context.Context, engine []byte) (stored bool, err error) {
	w.sinceSnap, w.sinceSnapBytes = 0, 0
	counters, _ := w.counters()
	s := &bus.Snapshot{
		Partition: w.cfg.Partition, Epoch: w.epoch, Input: w.input, Commit: w.head, Rules: w.cfg.Rules, Made: time.Now().UTC(),
		Watermark: w.watermark, Stamp: w.stamp, Counters: counters, Engine: engine, Grouper: w.grp.Snapshot(),
		Ledger: w.ledgers(), Missing: slices.Clone(w.missing), Accounts: w.Stats().Accounts,
	}
	for _, p := range w.shards {
		s.Positions = append(s.Positions, p.ShardPosition)
	}
	sortPositions(s.Positions)
	older, err := w.b.SaveSnapshot(ctx, s)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, bus.ErrFenced) || errors.Is(err, bus.ErrClosed) {
			return false, err
		}
		w.log.Error("no snapshot could be made; the next start takes longer", "error", err)
		return false, nil
	}
	failpoint.Hit(failpoint.SnapshotSaved)
	w.snapInput, w.olderInput, w.snapRules = s.Input, older, s.Rules
	w.skipped = slices.DeleteFunc(slices.Clone(w.skipped), func(t bus.Trying) bool { return t.Seq <= older })
	w.note(func(st *WorkerStats) {
		st.Snapshots++
		st.SnapshotInput, st.SnapshotBytes = s.Input, len(s.Engine)+len(s.Grouper)
	})
	if older == 0 {
		return true, nil
	}
	for _, p := range s.Positions {
		// The last page of every shard stays: it holds the position, and
		// what an interrupted page has stored so far.
		floor := min(older+1, p.Span)
		if err := w.b.PurgeSubject(ctx, bus.StreamEvents, bus.EventsSubject(w.cfg.Partition, bus.ShardToken(p.Source, p.Shard)), floor); err != nil {
			if ctx.Err() != nil {
				return true, err
			}
			w.log.Warn("old frames could not be removed", "error", err)
			break
		}
	}
	return true, nil
}

// makeRoom answers RequestSnapshot.
func (w *Worker) makeRoom(ctx context.Context) error {
	if w.quiet || w.input == 0 {
		return nil
	}
	if err := w.commit(ctx); err != nil {
		return err
	}
	if w.olderInput >= w.input {
		return nil // nothing to gain
	}
	return w.snapshot(ctx)
}

// purgeCommits removes commit records that every reader has seen, never the
// last one.
func (w *Worker) purgeCommits(ctx context.Context) error {
	floor := w.head
	for _, name := range w.cfg.Readers {
		seen, err := w.b.LoadCursor(ctx, name, w.cfg.Partition)
		if err != nil {
			return err
		}
		floor = min(floor, seen+1)
	}
	return w.b.PurgeSubject(ctx, bus.StreamCommits, bus.CommitSubject(w.cfg.Partition), floor)
}

// finish is the clean end: commit, snapshot, so that the next start has
// nothing to do.
func (w *Worker) finish(ctx context.Context) error {
	if err := w.commit(ctx); err != nil {
		return err
	}
	if err := w.endClean(ctx); err != nil {
		return err
	}
	if w.input == w.snapInput {
		return nil
	}
	return w.snapshot(ctx)
}

// latencies keeps the last ones for quantiles.
type latencies struct {
	ring [512]time.Duration
	n    int
}

func (l *latencies) add(d time.Duration) {
	l.ring[l.n%len(l.ring)] = d
	l.n++
}

func (l *latencies) quantiles() (p50, p99 time.Duration) {
	k := min(l.n, len(l.ring))
	if k == 0 {
		return 0, 0
	}
	s := slices.Clone(l.ring[:k])
	slices.Sort(s)
	return s[k/2], s[k*99/100]
}
