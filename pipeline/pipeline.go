package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// Config is the live loop of one process. Which parts run is decided by what
// is given: Ingest, NewEngine (detect), Readers (respond).
type Config struct {
	Bus *bus.Bus
	// Ingest makes an ingester.
	Ingest   bool
	Ingester IngesterConfig // Bus and Logger are filled in
	// Detect evaluates Partitions (all when nil) with NewEngine and
	// NewGrouper of Worker.
	Detect     bool
	Partitions []int
	Worker     WorkerConfig // Bus, Partition and Logger are filled in
	// Leases, when set, is how this process divides partitions and readers
	// with others on the same bus; nil takes all of them at once, as the one
	// process of an embedded store does.
	Leases *LeaseConfig
	// Readers get the alerts. Their names, and those in Worker.Readers that
	// run elsewhere, keep commit records from being removed.
	Readers []*AlertReader
	// HealthEvery is how often the store is looked at (default 2 s),
	// TickEvery how often ticks are considered (default 500 ms).
	HealthEvery, TickEvery time.Duration
	// HouseEvery is how often lost frames are looked for (default 30 s),
	// ReconcileEvery how often counts are compared with the sources (default
	// 5 min), Settle how long ago a span of time must have ended for that
	// (default 20 min: ActionTrail's own delay and ours).
	HouseEvery, ReconcileEvery, Settle time.Duration
	Logger                             *slog.Logger
}

// Pipeline owns an ingester, workers and readers.
type Pipeline struct {
	cfg      Config
	b        *bus.Bus
	log      *slog.Logger
	ingester *Ingester
	workers  []*Worker // of all partitions, without leases
	wcfg     WorkerConfig
	owner    *Owner            // of partitions, with leases
	readers  map[string]*Owner // of readers, with leases
	house    *Owner            // of the books, with leases
	origins  []source.Origin

	mu      sync.Mutex
	current map[int]*Worker // with leases: those that run
	ended   map[int]uint64  // last commit of those that have ended in order
	raised  map[string]bool // incidents that were reported
	reports []Report        // that are not stored yet
	books   map[string]Reconciliation

	reporting chan struct{}

	health  atomic.Pointer[bus.Health]
	started atomic.Bool
	closing chan struct{}
	once    sync.Once
	done    chan struct{}
}

// Stats is the condition of the whole loop.
type Stats struct {
	Ingest  IngestStats
	Workers []WorkerStats
	Readers []ReaderStats
	// Members is how many processes share the partitions; 1 without leases.
	Members int
	// Standby names the readers that another process runs.
	Standby []string
	// Books are what came of comparing counts with each source, by name.
	Books  []Reconciliation
	Store  bus.Health
	Parked map[string]uint64 // records in quarantine by reason; nil when unknown
}

// New puts the parts together; Run starts them.
func New(cfg Config) (*Pipeline, error) {
	if cfg.Bus == nil {
		return nil, errors.New("pipeline: no bus")
	}
	if cfg.Logger == nil {
		cfg.Logger = cfg.Bus.Logger()
	}
	if cfg.HealthEvery <= 0 {
		cfg.HealthEvery = 2 * time.Second
	}
	if cfg.TickEvery <= 0 {
		cfg.TickEvery = 500 * time.Millisecond
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&cfg.HouseEvery, 30 * time.Second}, {&cfg.ReconcileEvery, 5 * time.Minute}, {&cfg.Settle, 20 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	p := &Pipeline{cfg: cfg, b: cfg.Bus, log: cfg.Logger, closing: make(chan struct{}), done: make(chan struct{}), current: map[int]*Worker{}, ended: map[int]uint64{},
		raised: map[string]bool{}, books: map[string]Reconciliation{}, reporting: make(chan struct{}, 1)}
	if cfg.Ingest {
		ic := cfg.Ingester
		ic.Bus, ic.Logger, ic.Behind, ic.Settled = cfg.Bus, cfg.Logger, p.behind, p.settled
		p.ingester = NewIngester(ic)
		if cfg.Leases != nil {
			p.house = NewOwner(OwnerConfig{LeaseConfig: *cfg.Leases, Bus: cfg.Bus, Kind: "h", Count: 1, Work: p.keepHouse, Logger: cfg.Logger})
		}
	}
	if cfg.Detect {
		if cfg.Worker.NewEngine == nil || cfg.Worker.NewGrouper == nil {
			return nil, errors.New("pipeline: detection needs NewEngine and NewGrouper")
		}
		names := append([]string(nil), cfg.Worker.Readers...)
		for _, r := range cfg.Readers {
			names = append(names, r.Name)
		}
		p.wcfg = cfg.Worker
		p.wcfg.Bus, p.wcfg.Logger, p.wcfg.Readers = cfg.Bus, cfg.Logger, names
		parts := cfg.Partitions
		if cfg.Leases != nil {
			if parts != nil {
				return nil, errors.New("pipeline: with leases nobody chooses partitions")
			}
			p.owner = NewOwner(OwnerConfig{LeaseConfig: *cfg.Leases, Bus: cfg.Bus, Kind: "p", Count: cfg.Bus.Partitions(), Work: p.work, Logger: cfg.Logger})
			parts = []int{}
		}
		if parts == nil {
			for i := range cfg.Bus.Partitions() {
				parts = append(parts, i)
			}
		}
		for _, part := range parts {
			if part < 0 || part >= cfg.Bus.Partitions() {
				return nil, fmt.Errorf("pipeline: partition %d of %d", part, cfg.Bus.Partitions())
			}
			wc := p.wcfg
			wc.Partition = part
			p.workers = append(p.workers, NewWorker(wc))
		}
	}
	for _, r := range cfg.Readers {
		if r.Bus == nil {
			r.Bus = cfg.Bus
		}
		if r.Logger == nil {
			r.Logger = cfg.Logger
		}
		if cfg.Leases != nil {
			if p.readers == nil {
				p.readers = map[string]*Owner{}
			}
			p.readers[r.Name] = NewOwner(OwnerConfig{LeaseConfig: *cfg.Leases, Bus: cfg.Bus, Kind: "r-" + r.Name, Count: 1, Logger: cfg.Logger,
				Work: func(ctx context.Context, _ int, leave <-chan struct{}) error {
					rctx, stop := context.WithCancel(ctx)
					defer stop()
					go func() {
						select {
						case <-leave:
							stop()
						case <-rctx.Done():
						}
					}()
					return r.Run(rctx)
				}})
		}
	}
	return p, nil
}

// work evaluates a partition for as long as we hold its lease.
func (p *Pipeline) work(ctx context.Context, part int, leave <-chan struct{}) error {
	p.mu.Lock()
	wc := p.wcfg
	wc.Partition = part
	w := NewWorker(wc)
	p.current[part] = w
	delete(p.ended, part)
	p.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-leave:
			if p.alone() {
				w.Drain() // nobody else would see to it now
			} else {
				w.HandOver()
			}
		case <-done:
		}
	}()
	err := w.Run(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.current, part)
	if err == nil {
		p.ended[part] = w.Stats().Commit
	}
	return err
}

// alone says that no other process evaluates partitions of this bus.
func (p *Pipeline) alone() bool { return p.owner.Stats().Members == 0 }

// running lists the workers of this process, by partition.
func (p *Pipeline) running() []*Worker {
	if p.owner == nil {
		return p.workers
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*Worker, 0, len(p.current))
	for _, part := range slices.Sorted(maps.Keys(p.current)) {
		out = append(out, p.current[part])
	}
	return out
}

// SetOrigins says which sources the pages come from. It is called before Run;
// sources need the Sink first.
func (p *Pipeline) SetOrigins(os []source.Origin) { p.origins = os }

// behind asks the source of a page. A source that is not one of the origins (a
// repair, a redrive, a test) has nothing more to give.
func (p *Pipeline) behind(name string) []int {
	for _, o := range p.origins {
		if o.Name() == name {
			return o.Behind()
		}
	}
	return nil
}

// settled is the least of the origins: a partition is fed by all of them.
func (p *Pipeline) settled() time.Time {
	at := time.Now()
	for _, o := range p.origins {
		if t := o.Settled(); t.Before(at) {
			at = t
		}
	}
	return at
}

// Sink is where sources store pages; nil without Ingest.
func (p *Pipeline) Sink() *Ingester { return p.ingester }

// Run works until ctx ends (everything stops as in a crash), Close was called
// (nil, after the drain), or a part cannot go on: bus.ErrFenced when, without
// leases, another process took a partition over, bus.ErrFrozen when the disk failed and only a
// restart helps. bus.ErrGone ends it only once the stream is there again.
func (p *Pipeline) Run(ctx context.Context) error {
	if !p.started.CompareAndSwap(false, true) {
		return errors.New("pipeline: Run is called once")
	}
	defer close(p.done)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) {
		if errors.Is(err, bus.ErrGone) {
			p.standStill(ctx)
		}
		cancel(err)
	}
	var workers, rest sync.WaitGroup
	for _, w := range p.workers {
		workers.Go(func() {
			if err := w.Run(ctx); err != nil && ctx.Err() == nil {
				p.log.Error("a partition stopped", "error", err)
				fail(err)
			}
		})
	}
	if p.owner != nil {
		workers.Go(func() {
			if err := p.owner.Run(ctx); err != nil && ctx.Err() == nil {
				p.log.Error("the partitions of this process stopped", "error", err)
				fail(err)
			}
		})
	}
	rctx, stopReaders := context.WithCancel(ctx)
	defer stopReaders()
	var readers sync.WaitGroup
	for _, r := range p.cfg.Readers {
		run := r.Run
		if o := p.readers[r.Name]; o != nil {
			run = o.Run
		}
		readers.Go(func() {
			if err := run(rctx); err != nil && ctx.Err() == nil && rctx.Err() == nil {
				p.log.Error("a reader of alerts stopped", "error", err)
				fail(err)
			}
		})
	}
	hctx, stopHouse := context.WithCancel(ctx)
	defer stopHouse()
	rest.Go(func() {
		if err := p.watch(hctx); err != nil {
			cancel(err)
		}
	})
	rest.Go(func() { p.report(hctx) })
	if p.ingester != nil {
		rest.Go(func() { p.tick(hctx) })
		if len(p.origins) > 0 {
			keep := func(ctx context.Context) error { return p.keepHouse(ctx, 0, nil) }
			if p.house != nil {
				keep = p.house.Run
			}
			rest.Go(func() {
				if err := keep(hctx); err != nil && hctx.Err() == nil {
					p.log.Error("nobody here compares counts any more", "error", err)
				}
			})
		}
	}

	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-p.closing:
		// Stop what comes in, let what is in come out, then stop the rest.
		if p.ingester != nil {
			p.ingester.Close()
		}
		for _, w := range p.workers {
			w.Drain()
		}
		if p.owner != nil {
			p.owner.Close()
		}
		workers.Wait()
		if derr := p.drainReaders(ctx); derr != nil && ctx.Err() == nil {
			p.log.Warn("readers did not reach the end; they go on at the next start", "error", derr)
		}
		for _, o := range p.readers {
			o.Close()
		}
		if p.readers != nil {
			readers.Wait() // what they hold is given back
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	stopReaders()
	stopHouse()
	if err != nil {
		cancel(err)
	}
	workers.Wait()
	readers.Wait()
	rest.Wait()
	return err
}

// standStill waits while a stream does not exist. What else the process does goes
// on, so that people are told and may answer; one that is started now refuses to
// begin. Once the stream is there again a start looks at everything anew.
func (p *Pipeline) standStill(ctx context.Context) {
	p.log.Error("a part of the store is gone: what needs it stands still until it is there again, then this process ends, to be started anew")
	t := time.NewTicker(p.cfg.HealthEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.closing:
			return
		case <-t.C:
		}
		if whole, err := p.b.Whole(ctx); err == nil && whole {
			return
		}
	}
}

// drainReaders waits until every reader has handled the last commit record.
func (p *Pipeline) drainReaders(ctx context.Context) error {
	want := map[int]uint64{}
	for _, w := range p.workers {
		s := w.Stats()
		want[s.Partition] = s.Commit
	}
	p.mu.Lock()
	maps.Copy(want, p.ended)
	p.mu.Unlock()
	var rest []*AlertReader
	for _, r := range p.cfg.Readers {
		if o := p.readers[r.Name]; o == nil || len(o.Stats().Held) > 0 {
			rest = append(rest, r)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		behind := false
		for _, r := range rest {
			seen := r.Stats().Seq
			for part, seq := range want {
				behind = behind || seen[part] < seq
			}
		}
		if !behind {
			return nil
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// Close drains: no more pages are taken, what is stored is evaluated, committed
// and handed on, a snapshot is made. Where other processes share the partitions,
// what waits is left to them and the partitions are handed over. It returns when Run has ended, or with
// ctx's error; Run's ctx is then the way to stop at once. A Pipeline that never
// ran is closed at once.
func (p *Pipeline) Close(ctx context.Context) error {
	p.once.Do(func() { close(p.closing) })
	if !p.started.Load() {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tick gives partitions that wait a clock.
func (p *Pipeline) tick(ctx context.Context) {
	t := time.NewTicker(p.cfg.TickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := p.ingester.TickAll(ctx, time.Now()); err != nil && ctx.Err() == nil {
				p.log.Debug("tick not written", "error", err)
			}
		}
	}
}

// purgeAt is how full EVENTS may become before workers are asked for snapshots
// so that frames can be removed.
const purgeAt = 0.5

// watch looks at the store: stops ingest before the limit bites, asks for
// snapshots before that, and ends the process when the store is frozen.
func (p *Pipeline) watch(ctx context.Context) error {
	t := time.NewTicker(p.cfg.HealthEvery)
	defer t.Stop()
	frozen := 0
	said := map[string]time.Time{}
	for {
		hctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		h := p.b.Health(hctx)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		p.health.Store(&h)
		for _, text := range h.Problems {
			if time.Since(said[text]) > time.Minute {
				said[text] = time.Now()
				p.log.Warn("the store needs attention", "problem", text)
			}
		}
		if len(said) > 100 {
			clear(said)
		}
		for _, u := range h.Streams {
			if u.Stream != bus.StreamEvents {
				continue
			}
			f := u.Fraction()
			if p.ingester != nil {
				// Leave a little between stopping and going on.
				held := p.ingester.hold.Load()
				p.ingester.hold.Store(f >= bus.FullAt || held && f >= bus.FullAt-0.05)
			}
			if f >= purgeAt || u.Refusing {
				for _, w := range p.running() {
					w.RequestSnapshot()
				}
			}
		}
		p.reportStore(&h)
		if h.Frozen {
			// Twice, so that a moment's unhealth is not taken for a freeze.
			if frozen++; frozen >= 2 {
				return fmt.Errorf("%w: %v", bus.ErrFrozen, h.Problems)
			}
		} else {
			frozen = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Workers is the condition of the partitions that this process has. It asks
// nobody.
func (p *Pipeline) Workers() []WorkerStats {
	var s []WorkerStats
	for _, w := range p.running() {
		s = append(s, w.Stats())
	}
	return s
}

// Stats returns the condition of every part. It asks the store for the
// quarantine counts and takes as long as that.
func (p *Pipeline) Stats(ctx context.Context) Stats {
	var s Stats
	if p.ingester != nil {
		s.Ingest = p.ingester.Stats()
	}
	s.Members = 1
	if p.owner != nil {
		s.Members = p.owner.Stats().Members
	}
	s.Workers = p.Workers()
	for _, r := range p.cfg.Readers {
		if o := p.readers[r.Name]; o != nil && len(o.Stats().Held) == 0 {
			s.Standby = append(s.Standby, r.Name)
			continue
		}
		s.Readers = append(s.Readers, r.Stats())
	}
	p.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(p.books)) {
		s.Books = append(s.Books, p.books[name])
	}
	p.mu.Unlock()
	if h := p.health.Load(); h != nil {
		s.Store = *h
	} else {
		s.Store = p.b.Health(ctx)
	}
	if s.Store.Connected { // else nobody answers, and whoever asks us would wait for it
		s.Parked, _ = p.b.ParkedCounts(ctx)
	}
	return s
}
