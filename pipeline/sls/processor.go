package sls

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
	consumer "github.com/aliyun/aliyun-log-go-sdk/consumer"

	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// processor is what the SDK calls with pages, one goroutine per shard.
//
// It does all of its work inside Process: the SDK's checkpoint tracker knows
// only "everything fetched so far", so that saving from anywhere else, or
// after the next fetch, would save a page that is not stored.
type processor struct {
	s *Source
	w *worker
}

// Process implements the SDK's Processor. A panic out of here would end the
// program: the SDK's own recover is one frame too deep.
func (p *processor) Process(shard int, list *sdk.LogGroupList, tracker consumer.CheckPointTracker) (rollback string, err error) {
	sh := p.s.shard(shard)
	defer func() {
		if r := recover(); r != nil {
			p.s.panicked(shard, r)
			rollback, err = "", fmt.Errorf("sls: panic while processing a page of shard %d: %v", shard, r)
			p.slow(sh)
		}
	}()
	if !sh.enter(p.w.store) {
		return "", errStopping
	}
	defer sh.leave()
	if p.w.reads.Err() != nil {
		// Closing: the page is not taken in, and with an error the SDK leaves
		// its checkpoint alone.
		return "", errStopping
	}
	rollback, err = p.page(sh, list, tracker)
	if err != nil {
		p.slow(sh)
		return rollback, err
	}
	sh.failures.Store(0)
	return rollback, nil
}

// slow makes the SDK's retry, every 50 ms for ever, a growing one.
func (p *processor) slow(sh *shardState) {
	backOff(p.w.reads, int(sh.failures.Add(1)))
}

// fullPage is the size of records from which a page may have been cut for its
// size: the service answers some 10 MB at most, in log groups of up to 5.
const fullPage = 4 << 20

// enter waits for the turn to process a page of the shard.
func (sh *shardState) enter(ctx context.Context) bool {
	select {
	case sh.turn <- struct{}{}:
		sh.busy.Store(true)
		return true
	case <-ctx.Done():
		return false
	}
}

func (sh *shardState) leave() {
	sh.lastGood.Store(time.Now().UnixNano())
	sh.busy.Store(false)
	<-sh.turn
}

func (p *processor) page(sh *shardState, list *sdk.LogGroupList, tracker consumer.CheckPointTracker) (rollback string, err error) {
	s := p.s
	now := time.Now()
	if n := sh.attempts.Swap(0); n > 1 {
		s.log.Info("sls: the shard is read again", "shard", sh.id, "failed_pulls", n-1)
	}
	sh.lastPull.Store(now.UnixNano())
	s.n.lastPull.Store(now.UnixNano())
	from, to := tracker.GetCurrentCursor(), tracker.GetNextCursor()
	if got, want := len(list.LogGroups), int(sh.groups.Load()); got != want {
		s.n.badAnswers.Add(1)
		s.log.Warn("sls: a page has not the number of groups it announced; fetching it again", "shard", sh.id, "groups", got, "announced", want)
		backOff(p.w.reads, 1)
		return from, nil
	}
	if !sh.aligned {
		to, err := p.align(sh, from)
		if err != nil {
			return "", err
		}
		sh.aligned, sh.lastSave = true, now
		if to != "" {
			sh.pending = true // until the checkpoint is there, too
			return to, nil
		}
	}
	if from == to {
		sh.atEnd()
		s.n.emptyPages.Add(1)
		p.save(sh, tracker, now)
		p.w.callIdle(sh, now)
		return "", nil
	}

	records, times := sh.extract(list)
	bytes := 0
	for _, r := range records {
		bytes += len(r)
	}
	err = s.sink.Store(p.w.store, source.Page{Source: s.name, Shard: sh.id, From: from, To: to, Records: records, Times: times, Received: sh.received()})
	clear(sh.recordBuf[:len(records)]) // a page's memory is not kept by its list
	if err != nil || sh.failures.Load() > 0 || time.Since(now) > stoodFor {
		s.failed(sh)
	}
	if err != nil {
		if p.w.store.Err() != nil {
			return "", errStopping
		}
		s.n.storeErrors.Add(1)
		s.log.Error("sls: a page could not be stored; trying it again", "shard", sh.id, "from", from, "to", to, "records", len(records), "err", err)
		return "", fmt.Errorf("sls: storing a page of shard %d: %w", sh.id, err)
	}
	sh.setPosition(to)
	// A page that is full, in number or in bytes, is followed by another one.
	if len(list.LogGroups) < s.cfg.PageGroups && bytes < fullPage {
		sh.atEnd()
	}
	sh.records.Add(uint64(len(records)))
	s.n.pages.Add(1)
	s.n.records.Add(uint64(len(records)))
	s.n.bytes.Add(uint64(bytes))
	sh.pending = true
	p.save(sh, tracker, time.Now())
	p.defeatThrottle(sh, list)
	return "", nil
}

// align compares where the SDK reads with the sink's position when a shard
// has come to us: the checkpoint it started from may be stale (another
// consumer stored more, or its save was refused) or may have been moved. It
// returns the cursor to go to, "" when all is well.
func (p *processor) align(sh *shardState, from string) (string, error) {
	s := p.s
	pos, err := s.sink.Position(p.w.store, s.name, sh.id)
	if err != nil {
		if p.w.store.Err() != nil {
			return "", errStopping
		}
		return "", fmt.Errorf("sls: asking for the stored position of shard %d: %w", sh.id, err)
	}
	sh.mu.Lock()
	if pos == "" || pos == sh.givenUp {
		pos = sh.position // where we decided to start
	}
	sh.mu.Unlock()
	if pos == "" || pos == from {
		return "", nil
	}
	at, ok1 := cursorValue(from)
	want, ok2 := cursorValue(pos)
	if !ok1 || !ok2 {
		return "", nil
	}
	s.n.realigned.Add(1)
	msg := fmt.Sprintf("shard %d was taken up %d log groups before the stored position; skipping what is stored", sh.id, want-at)
	if at > want {
		msg = fmt.Sprintf("shard %d was taken up %d log groups after the stored position; going back", sh.id, at-want)
		s.alarm(Alarm{Kind: AlarmRealigned, Shard: sh.id, From: from, To: pos, Message: msg})
	} else {
		s.log.Info("sls: " + msg)
	}
	return pos, nil
}

// save lets the checkpoint follow the stored position, at most once per
// CheckpointEvery. A failure is no reason to stop: the sink has the position.
func (p *processor) save(sh *shardState, tracker consumer.CheckPointTracker, now time.Time) {
	if !sh.pending {
		return
	}
	due := now.Sub(sh.lastSave) >= p.s.cfg.CheckpointEvery
	if due {
		sh.lastSave = now
		if p.w.forgotten() {
			// It stays pending: where the group knows us again in time, it is saved then.
			p.s.n.refused.Add(1)
			return
		}
	}
	if err := tracker.SaveCheckPoint(due); err != nil {
		p.s.log.Warn("sls: the checkpoint could not be saved; it is tried again", "shard", sh.id, "err", text(err))
		return
	}
	if due {
		failpoint.Hit(failpoint.SourceCheckpoint)
		sh.pending = false
	}
}

// defeatThrottle makes a small page take at least fetchInterval: the SDK
// sleeps up to 500 ms after a page under 100 groups and 1 MiB, but not when
// fetching and processing took longer than its interval. With 96-group pages
// the difference is 200 against some 4,000 groups/s.
func (p *processor) defeatThrottle(sh *shardState, list *sdk.LogGroupList) {
	if len(list.LogGroups) >= p.s.cfg.PageGroups {
		return // full: the SDK does not sleep
	}
	const margin = 2 * time.Millisecond // the SDK's clock starts before ours, by as much as its own steps take
	if d := fetchInterval + margin - time.Since(unixNano(&sh.fetchStart)); d > 0 {
		_ = pause.For(p.w.reads, min(d, fetchInterval+margin)) // the clock may have been set back
	}
}

// idle is asked by the transport when a pull found nothing: may the shard be
// polled without telling the SDK? It also gives the idle callback its turn.
func (w *worker) idle(sh *shardState, now time.Time) bool {
	if !sh.enter(w.reads) {
		return false
	}
	defer sh.leave()
	if !sh.aligned || sh.pending && now.Sub(sh.lastSave) >= w.s.cfg.CheckpointEvery {
		return false // Process has something to do
	}
	sh.atEnd()
	sh.lastPull.Store(now.UnixNano())
	w.s.n.lastPull.Store(now.UnixNano())
	if now.Sub(sh.lastIdle) >= idleEvery {
		w.callIdle(sh, now)
	}
	return true
}

func (w *worker) callIdle(sh *shardState, now time.Time) {
	sh.lastIdle = now
	if w.s.opts.Idle == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			w.s.panicked(sh.id, r)
		}
	}()
	w.s.opts.Idle(sh.id, now.UTC())
}

// Shutdown implements the SDK's Processor; it is called when the shard leaves
// this worker. It saves nothing (that would save what was fetched, not what
// was stored) and never fails (the SDK would call it for ever).
func (p *processor) Shutdown(tracker consumer.CheckPointTracker) error {
	defer func() {
		if r := recover(); r != nil {
			p.s.panicked(-1, r)
		}
	}()
	sh := p.s.shard(tracker.GetShardId())
	if sh.enter(p.w.store) {
		sh.aligned, sh.pending = false, false
		sh.failures.Store(0)
		sh.leave()
	}
	return nil
}

func (s *Source) panicked(shard int, r any) {
	s.n.panics.Add(1)
	s.log.Error("sls: panic", "shard", shard, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	s.alarm(Alarm{Kind: AlarmPanic, Shard: shard, Message: fmt.Sprintf("a panic was caught in the processing of shard %d: %v", shard, r)})
}
