package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/trailwarden/trailwarden/pipeline/bus"
)

// LeaseConfig is how several processes divide the work between them. The zero
// value of each time is its default.
type LeaseConfig struct {
	// Name is this process, and no other one that runs now: a restarted
	// process needs another name.
	Name string
	// TTL is when the server forgets a lease that was not renewed (default
	// 10 s), Renew how often it is renewed (TTL·3/10), Stop when a holder
	// that cannot renew stops working (TTL·7/10, by the monotonic clock from
	// the beginning of the last renewal that succeeded), Take when others
	// take it for dead (TTL·3/4 after they saw the last renewal).
	TTL, Renew, Stop, Take time.Duration
}

func (c *LeaseConfig) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.TTL, 10*time.Second)
	set(&c.Renew, c.TTL*3/10)
	set(&c.Stop, c.TTL*7/10)
	set(&c.Take, c.TTL*3/4)
}

// OwnerConfig is one kind of work that is divided.
type OwnerConfig struct {
	LeaseConfig
	Bus *bus.Bus
	// Kind and the numbers 0 to Count-1 name the pieces: small letters,
	// digits, - and _.
	Kind  string
	Count int
	// Work does piece i. It returns nil soon after leave is closed, having
	// left everything in order for the next owner, and at once when ctx
	// ends. bus.ErrFenced means that somebody else has the piece; any other
	// error ends the Owner.
	Work   func(ctx context.Context, i int, leave <-chan struct{}) error
	Logger *slog.Logger
}

// Owner holds leases on its share of the pieces and runs Work on them. Members
// are who write a heartbeat; a piece belongs to the live member that scores
// highest for it, none having more than its share, rounded up. All members
// compute the same from the same heartbeats. A lease makes nothing safe: two
// who both believe in theirs are told apart by the fence of what they write.
type Owner struct {
	cfg  OwnerConfig
	log  *slog.Logger
	self string // heartbeat key of ours

	wake    chan struct{}
	closing chan struct{}
	once    sync.Once
	ops     sync.WaitGroup // requests on their way

	mu      sync.Mutex
	seen    map[string]sight
	synced  bool // our own heartbeat has come back: seen is what there is
	leaving bool
	left    bool // and the others have been told
	held    map[int]*holding
	taking  map[int]bool
	rest    map[int]time.Time // do not try before
	beat    uint64
	beatSeq uint64
	beatAt  time.Time // start of the last heartbeat that succeeded
	beating bool
	pause   time.Time // no heartbeat before: the last one failed
	stats   OwnerStats
}

// OwnerStats is an owner's condition.
type OwnerStats struct {
	Members int   // live, with this one
	Held    []int // pieces, ascending
	Taken   uint64
	Given   uint64 // handed over in order
	Lost    uint64 // not renewed in time, or taken by somebody else
}

// sight is a record and when it was seen, by the monotonic clock.
type sight struct {
	bus.Lease
	at time.Time
}

type holding struct {
	i       int
	seq     uint64
	beat    uint64
	pending bool      // the outcome of beat is not known
	tried   time.Time // start of the first try of beat
	pause   time.Time // no renewal before: the last one failed
	renewed time.Time // the same of the last one that succeeded
	busy    bool
	lost    bool
	cancel  context.CancelFunc
	timer   *time.Timer
	leave   chan struct{}
	leaving bool
	ended   bool
	err     error
}

// NewOwner returns an owner; Run starts it.
func NewOwner(cfg OwnerConfig) *Owner {
	cfg.defaults()
	if cfg.Logger == nil {
		cfg.Logger = cfg.Bus.Logger()
	}
	id := sha256.Sum256([]byte(cfg.Name))
	return &Owner{
		cfg: cfg, log: cfg.Logger.With("work", cfg.Kind), self: "m." + cfg.Kind + "." + hex.EncodeToString(id[:10]),
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
		seen: map[string]sight{}, held: map[int]*holding{}, taking: map[int]bool{}, rest: map[int]time.Time{},
	}
}

// Close hands every piece over and ends Run.
func (o *Owner) Close() { o.once.Do(func() { close(o.closing) }) }

// Stats returns a copy. Safe from any goroutine.
func (o *Owner) Stats() OwnerStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Members = len(o.members(time.Now()))
	for i := range o.held {
		s.Held = append(s.Held, i)
	}
	slices.Sort(s.Held)
	return s
}

func (o *Owner) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Owner) key(i int) string { return o.cfg.Kind + "." + strconv.Itoa(i) }

// Run works until ctx ends (everything stops at once, leases run out), Close
// was called (nil, after the hand-over) or a piece failed.
func (o *Owner) Run(ctx context.Context) error {
	leases, err := o.cfg.Bus.Leases(ctx, o.cfg.TTL)
	if err != nil {
		return fmt.Errorf("ownership of %s: %w", o.cfg.Kind, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch, work sync.WaitGroup
	defer func() {
		cancel()
		work.Wait()
		watch.Wait()
		o.ops.Wait()
	}()
	failed := make(chan error, 1)
	watch.Go(func() {
		if err := leases.Watch(ctx, o.see); err != nil && ctx.Err() == nil {
			failed <- err
		}
	})
	poll := time.NewTicker(o.again())
	defer poll.Stop()
	closing := o.closing
	for {
		end, err := o.step(ctx, leases, &work)
		if err != nil || end {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("ownership of %s: %w", o.cfg.Kind, err)
		case <-closing:
			closing = nil
			o.mu.Lock()
			o.leaving = true
			o.mu.Unlock()
		case <-poll.C:
		case <-o.wake:
		}
	}
}

// see takes in a record of the bucket.
func (o *Owner) see(l bus.Lease) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if old, ok := o.seen[l.Key]; ok && old.Seq >= l.Seq {
		return
	}
	o.seen[l.Key] = sight{l, now}
	if l.Key == o.self && !o.synced {
		// What was there before us is as old as the server says.
		o.synced = true
		for k, s := range o.seen {
			s.at = s.at.Add(-max(0, min(l.Time.Sub(s.Time), o.cfg.TTL)))
			o.seen[k] = s
		}
	}
	o.kick()
}

// members are the live ones, sorted. Called with the lock.
func (o *Owner) members(now time.Time) []string {
	var out []string
	prefix := "m." + o.cfg.Kind + "."
	for k, s := range o.seen {
		if k != o.self && strings.HasPrefix(k, prefix) && s.Holder != "" {
			if now.Sub(s.at) < o.cfg.Take {
				out = append(out, k)
			} else if now.Sub(s.at) > 10*o.cfg.TTL {
				delete(o.seen, k)
			}
		}
	}
	if !o.leaving {
		out = append(out, o.self)
	}
	slices.Sort(out)
	return out
}

// assign gives every piece to a member: the one that scores highest for it,
// among those that have not had their share. Shares differ by one at most. It
// depends on nothing else.
func assign(members []string, count int) []string {
	out := make([]string, count)
	if len(members) == 0 {
		return out
	}
	share, more := count/len(members), count%len(members)
	has := map[string]int{}
	for i := range out {
		best, score := "", uint64(0)
		for _, m := range members {
			if has[m] > share || has[m] == share && more == 0 {
				continue
			}
			if s := xxhash.Sum64String(m + "\x00" + strconv.Itoa(i)); best == "" || s > score {
				best, score = m, s
			}
		}
		out[i] = best
		if has[best] == share {
			more--
		}
		has[best]++
	}
	return out
}

// step looks at everything once and starts what is due; nothing in it waits
// for the server. end says that nothing is left to do after Close.
func (o *Owner) step(ctx context.Context, leases *bus.Leases, work *sync.WaitGroup) (end bool, err error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	op := func(do func(context.Context)) {
		o.ops.Go(func() {
			do(ctx)
			o.kick()
		})
	}
	if !o.beating && !o.left && !now.Before(o.pause) && (o.leaving || o.beatAt.IsZero() || now.Sub(o.beatAt) >= o.cfg.Renew) {
		o.beating = true
		op(func(ctx context.Context) { o.heartbeat(ctx, leases) })
	}
	if !o.synced && !o.leaving {
		return false, nil
	}
	whose := assign(o.members(now), o.cfg.Count)
	for i := range o.cfg.Count {
		h := o.held[i]
		mine := whose[i] == o.self
		switch {
		case h == nil && mine && !o.leaving && !o.taking[i] && !now.Before(o.rest[i]):
			s, ok := o.seen[o.key(i)]
			if ok && s.Holder != "" && now.Sub(s.at) < o.cfg.Take {
				break
			}
			o.taking[i] = true
			op(func(ctx context.Context) { o.take(ctx, leases, work, i, s) })
		case h == nil:
		case h.ended:
			if h.busy && !h.lost {
				break // its outcome decides what to give back
			}
			delete(o.held, i)
			h.timer.Stop()
			h.cancel()
			if h.err != nil && !h.lost && !errors.Is(h.err, bus.ErrFenced) && ctx.Err() == nil {
				return false, fmt.Errorf("%s: %w", o.key(i), h.err)
			}
			if h.lost || errors.Is(h.err, bus.ErrFenced) {
				o.stats.Lost++
				o.rest[i] = now.Add(o.cfg.Renew / 3)
				o.log.Warn("another process has taken this over", "piece", i, "error", h.err)
			} else {
				o.stats.Given++
			}
			if !h.lost {
				o.ops.Go(func() { o.release(ctx, leases, h) })
			}
		default:
			if (o.leaving || !mine) && !h.leaving {
				h.leaving = true
				close(h.leave)
			}
			if !h.busy && !h.lost && !now.Before(h.pause) && (h.pending || now.Sub(h.renewed) >= o.cfg.Renew) {
				h.busy = true
				op(func(ctx context.Context) { o.renew(ctx, leases, h) })
			}
		}
	}
	return o.leaving && len(o.held) == 0 && len(o.taking) == 0 && o.left, nil
}

// again is how often everything is looked at, and after how long a request is
// repeated that failed: a store that is full refuses at once.
func (o *Owner) again() time.Duration { return max(o.cfg.Renew/12, 10*time.Millisecond) }

// tryFor bounds one request about a lease: the next one is due then anyway.
func (o *Owner) tryFor(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, o.cfg.Renew)
}

// heartbeat says that we live, or that we leave.
func (o *Owner) heartbeat(ctx context.Context, leases *bus.Leases) {
	start := time.Now()
	o.mu.Lock()
	holder, leaving := o.cfg.Name, o.leaving
	if leaving {
		holder = ""
	}
	o.beat++
	beat, expect := o.beat, o.beatSeq
	o.mu.Unlock()
	ctx, cancel := o.tryFor(ctx)
	defer cancel()
	seq, err := leases.Put(ctx, o.self, holder, beat, expect)
	if errors.Is(err, bus.ErrFenced) {
		// Expired, or a lost answer: only we write it, so what is there is ours.
		var l bus.Lease
		if l, err = leases.Get(ctx, o.self); err == nil || errors.Is(err, bus.ErrNotFound) {
			seq, err = leases.Put(ctx, o.self, holder, beat, l.Seq)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beating = false
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			o.log.Warn("no sign of life could be given", "error", err)
		}
		o.pause = time.Now().Add(o.again())
		return
	}
	o.beatSeq, o.beatAt, o.left = seq, start, leaving
}

// take claims a piece that seems to be free, and starts its work.
func (o *Owner) take(ctx context.Context, leases *bus.Leases, work *sync.WaitGroup, i int, s sight) {
	start := time.Now()
	tctx, cancel := o.tryFor(ctx)
	defer cancel()
	seq, err := leases.Put(tctx, o.key(i), o.cfg.Name, 1, s.Seq)
	if errors.Is(err, bus.ErrFenced) {
		l, gerr := leases.Get(tctx, o.key(i))
		switch {
		case errors.Is(gerr, bus.ErrNotFound):
			seq, err = leases.Put(tctx, o.key(i), o.cfg.Name, 1, 0)
		case gerr == nil && l.Holder == o.cfg.Name:
			// An earlier try had succeeded, nobody knows when.
			seq, err = leases.Put(tctx, o.key(i), o.cfg.Name, 2, l.Seq)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.taking, i)
	if err == nil && time.Since(start) < o.cfg.Stop && ctx.Err() == nil {
		wctx, cancel := context.WithCancel(ctx)
		h := &holding{i: i, seq: seq, beat: 2, renewed: start, cancel: cancel, leave: make(chan struct{})}
		h.timer = time.AfterFunc(o.cfg.Stop-time.Since(start), func() { o.lose(h, "it could not be renewed in time") })
		o.held[i] = h
		o.stats.Taken++
		o.log.Info("taken over", "piece", i)
		work.Go(func() {
			err := o.cfg.Work(wctx, i, h.leave)
			o.mu.Lock()
			h.ended, h.err = true, err
			o.mu.Unlock()
			o.kick()
		})
		return
	}
	o.rest[i] = time.Now().Add(o.cfg.Renew / 6)
	if err != nil && !errors.Is(err, bus.ErrFenced) && ctx.Err() == nil {
		o.log.Warn("a free piece could not be taken yet", "piece", i, "error", err)
	}
}

// lose stops the work at once.
func (o *Owner) lose(h *holding, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h.lost || h.ended {
		return
	}
	h.lost = true
	h.cancel()
	o.log.Warn("a lease is lost and its work stops", "piece", h.i, "why", why)
	o.kick()
}

func (o *Owner) renew(ctx context.Context, leases *bus.Leases, h *holding) {
	o.mu.Lock()
	if !h.pending {
		h.beat++
		h.pending, h.tried = true, time.Now()
	}
	beat, expect := h.beat, h.seq
	o.mu.Unlock()
	ctx, cancel := o.tryFor(ctx)
	defer cancel()
	seq, err := leases.Put(ctx, o.key(h.i), o.cfg.Name, beat, expect)
	o.mu.Lock()
	h.busy = false
	switch {
	case err == nil:
		h.seq, h.pending = seq, false
		// It counts from the first try: that one may have been stored, and
		// the others count from there.
		if left := o.cfg.Stop - time.Since(h.tried); !h.lost && !h.ended && left > 0 && h.timer.Stop() {
			h.renewed = h.tried
			h.timer.Reset(left)
		}
		o.mu.Unlock()
	case errors.Is(err, bus.ErrFenced):
		o.mu.Unlock()
		o.lose(h, "somebody else holds it, or it has expired")
	default:
		h.pause = time.Now().Add(o.again())
		o.mu.Unlock()
	}
}

// release gives a piece back, so that the next owner need not wait.
func (o *Owner) release(ctx context.Context, leases *bus.Leases, h *holding) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(o.cfg.Renew, 2*time.Second))
	defer cancel()
	_, err := leases.Put(ctx, o.key(h.i), "", h.beat+1, h.seq)
	if errors.Is(err, bus.ErrFenced) {
		// A renewal whose answer was lost, or somebody else by now.
		if l, gerr := leases.Get(ctx, o.key(h.i)); gerr != nil || l.Holder != o.cfg.Name {
			return
		} else if _, err = leases.Put(ctx, o.key(h.i), "", h.beat+1, l.Seq); errors.Is(err, bus.ErrFenced) {
			return
		}
	}
	if err != nil {
		o.log.Warn("a lease was not given back; it runs out by itself", "piece", h.i, "error", err)
	}
}
