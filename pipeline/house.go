package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

// repairSource is the source name of records that were read again.
const repairSource = "repair"

// house compares what was evaluated with what the sources hold, and reads again
// what the store has lost. It runs beside the ingester, in one process at a time.
//
// It learns from the last commit record of each partition, so it does not matter
// which process evaluates which.
type house struct {
	p       *Pipeline
	started time.Time
	// mended are gaps whose records were stored again; the workers have yet to
	// commit that.
	mended  map[string]bool
	suspect map[string]map[int64]int // by source: spans with a deficit, and in how many rounds
	told    map[string]bool          // source and span that were reported; nil until read from the store
	counted time.Time
}

// Reconciliation is what came of comparing counts with one source.
type Reconciliation struct {
	Source string
	At     time.Time // of the last comparison
	// From and To are the span of the source's own time that was compared; the
	// source held Held logs of it, of which Done were evaluated, found to be
	// repeated, or parked.
	From, To   time.Time
	Held, Done uint64
	Deficit    uint64 // in spans that hold more than was done
	Error      string // why it could not be compared
	Waits      bool   // for nothing but that: records are still being read or evaluated
}

// keepHouse runs until ctx ends or leave is closed.
func (p *Pipeline) keepHouse(ctx context.Context, _ int, leave <-chan struct{}) error {
	h := &house{p: p, started: time.Now(), mended: map[string]bool{}, suspect: map[string]map[int64]int{}}
	t := time.NewTicker(p.cfg.HouseEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-leave:
			return nil
		case <-t.C:
		}
		if err := h.round(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Warn("the books could not be looked at; tried again", "error", err)
		}
	}
}

func (h *house) round(ctx context.Context, now time.Time) error {
	commits, err := h.commits(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range commits {
		for _, g := range c.Missing {
			if err := h.repair(ctx, c.Partition, g); err != nil {
				errs = append(errs, fmt.Errorf("gap %s: %w", g.ID, err))
			}
		}
	}
	if now.Sub(h.counted) >= h.p.cfg.ReconcileEvery {
		h.counted = now
		lags, err := h.lags(ctx, commits, now)
		if err == nil {
			err = h.remember(ctx)
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, o := range h.p.origins {
			h.reconcile(ctx, o, commits, lags, now)
		}
	}
	return errors.Join(errs...)
}

// lags says whether a partition has frames that have waited since the comparison
// before this one: what they hold is not missing.
func (h *house) lags(ctx context.Context, commits []*bus.Commit, now time.Time) (bool, error) {
	for part := range h.p.b.Partitions() {
		m, err := h.p.b.Last(ctx, bus.StreamEvents, bus.EventsSubject(part, "*"))
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(commits, func(c *bus.Commit) bool { return c.Partition == part })
		if i < 0 || m.Seq > commits[i].Input && now.Sub(commits[i].Stamp) > h.p.cfg.ReconcileEvery {
			return true, nil
		}
	}
	return false, nil
}

// remember reads which deficits were reported before, by whoever kept the books
// then: the same is not said again, and what is new is.
func (h *house) remember(ctx context.Context) error {
	if h.told != nil {
		return nil
	}
	told := map[string]bool{}
	last, err := h.p.b.Last(ctx, bus.StreamCommits, bus.SelfSubject)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	// The last one may be removed meanwhile: nothing would come then.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := h.p.b.NewReader(bus.StreamCommits, 1, 64, bus.SelfSubject)
	defer r.Stop()
	for at := uint64(0); at < last.Seq; {
		d, err := r.Next(ctx)
		if err != nil {
			return err
		}
		at = d.Seq
		c, err := bus.DecodeCommit(d.Data)
		if err != nil {
			h.p.log.Error("a report cannot be read", "seq", d.Seq, "error", err)
			continue
		}
		for _, raw := range c.Alerts {
			a, err := alert.UnmarshalStored(raw)
			if err != nil || a.Rule != RuleDeficit {
				continue
			}
			spans, _ := a.Details["spans"].([]any)
			for _, s := range spans {
				if at, err := time.Parse(time.RFC3339, fmt.Sprint(s)); err == nil {
					told[spanKey(fmt.Sprint(a.Details["source"]), spanOf(at))] = true
				}
			}
		}
	}
	h.told = told
	return nil
}

// spanTime is when a span of the ledger begins.
func spanTime(span int64) time.Time { return time.Unix(span*bus.TallySpan, 0).UTC() }

func spanKey(source string, span int64) string { return source + "/" + strconv.FormatInt(span, 10) }

// commits are the last record of each partition that has one.
func (h *house) commits(ctx context.Context) ([]*bus.Commit, error) {
	var out []*bus.Commit
	for part := range h.p.b.Partitions() {
		m, err := h.p.b.Last(ctx, bus.StreamCommits, bus.CommitSubject(part))
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := bus.DecodeCommit(m.Data)
		if err != nil {
			return nil, fmt.Errorf("commit %d of partition %d: %w", m.Seq, part, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// repair reads what a gap spans from the source again and gives the partition's
// records to it once more. What the partition had is dropped by event id.
func (h *house) repair(ctx context.Context, part int, g bus.Gap) error {
	if h.mended[g.ID] {
		return nil
	}
	i := slices.IndexFunc(h.p.origins, func(o source.Origin) bool { return o.Name() == g.Source })
	if i < 0 {
		return nil // another process reads that source, or nobody does any more
	}
	in := h.p.ingester
	records := 0
	err := h.p.origins[i].Refetch(ctx, g.Shard, g.From, g.To, func(page source.Page) error {
		n, err := in.repair(ctx, part, g, page, false)
		records += n
		return err
	})
	gone := errors.Is(err, source.ErrGone)
	if err != nil && !gone {
		return err
	}
	whereZH := fmt.Sprintf("%s 分区 %d 的 %d 帧（存储分区 %d，位置 %s 至 %s）", g.Source, g.Shard, g.Frames, part, g.From, g.To)
	where := fmt.Sprintf("%d frames of %s shard %d (partition %d, between positions %s and %s)", g.Frames, g.Source, g.Shard, part, g.From, g.To)
	details := map[string]any{"source": g.Source, "shard": g.Shard, "from": g.From, "to": g.To, "frames": g.Frames, "records_read_again": records}
	r := Report{Rule: RuleRepaired, Key: g.ID, Severity: alert.Medium, At: time.Now(), Title: "Stored records were lost and read again", Details: details,
		TitleZH: "丢失的存储记录已重新读取", ReasonZH: fmt.Sprintf("存储中缺少 %s；已从来源重新读取并评估 %d 条记录：请检查磁盘", whereZH, records),
		Reason: fmt.Sprintf("%s were missing from the store; %d records were read again from the source and evaluated: look at the disk", where, records)}
	if gone {
		r.Rule, r.Severity, r.Title = RuleLost, alert.High, "Stored records were lost and cannot be read again"
		r.Reason = fmt.Sprintf("%s are missing from the store, and the source has not kept all of it: %d records were read again, the rest was not evaluated", where, records)
		r.TitleZH = "存储记录丢失且无法重新读取"
		r.ReasonZH = fmt.Sprintf("存储中缺少 %s，来源也未保留全部：已重新读取 %d 条记录，其余未经评估", whereZH, records)
	}
	// Told first: once the gap is closed nobody would come back to it. The last
	// frame closes it.
	if err := h.p.tell(ctx, r); err != nil {
		return err
	}
	if _, err := in.repair(ctx, part, g, source.Page{}, true); err != nil {
		return err
	}
	h.mended[g.ID] = true
	return nil
}

// repair stores the records of a page that belong to one partition, for the
// second time, and says how many.
func (in *Ingester) repair(ctx context.Context, part int, g bus.Gap, page source.Page, last bool) (int, error) {
	in.gate.RLock()
	defer in.gate.RUnlock()
	if in.closed {
		return 0, ErrStopping
	}
	if in.hold.Load() {
		return 0, fmt.Errorf("EVENTS is nearly full: %w", bus.ErrBackpressure)
	}
	s := in.shard(repairSource, part)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		if err := in.recoverShard(ctx, s); err != nil {
			return 0, err
		}
	}
	at, _ := ordinal(s.position)
	page.Source, page.Shard = repairSource, part
	page.From, page.To = strconv.FormatInt(at, 10), strconv.FormatInt(at+1, 10)
	rep := &repair{origin: shardName(g.Source, g.Shard), partition: part}
	if last {
		rep.gap = g.ID
	}
	n, err := in.storeLocked(ctx, s, page, rep)
	if err != nil {
		s.known = false
	}
	return n, err
}

// reconcile compares counts with one source. While a backlog is read or evaluated
// nothing is compared: what waits is not missing.
func (h *house) reconcile(ctx context.Context, o source.Origin, commits []*bus.Commit, lags bool, now time.Time) {
	r := Reconciliation{Source: o.Name(), At: now.UTC()}
	defer func() { h.p.note(r) }()
	if behind := o.Behind(); len(behind) > 0 || lags {
		delete(h.suspect, r.Source)
		r.Error, r.Waits = "records are still being read or evaluated", true
		return
	}
	since, done := h.counts(commits, r.Source)
	// Up to the span that has ended long enough ago, for which nothing is still
	// on its way. A ledger forgets its oldest spans as it goes.
	end := spanOf(now.Add(-h.p.cfg.Settle))
	first := max(since+1, spanOf(now)-bus.LedgerSpans+4)
	if first >= end {
		return
	}
	r.From, r.To = spanTime(first), spanTime(end)
	short, err := r.compare(ctx, o, done, first, end)
	if err == nil {
		err = h.tellDeficit(ctx, r.Source, short, now)
	}
	if err != nil {
		r.Error = err.Error()
	}
}

// counts are the logs of a source that were evaluated, by span, and the span in which
// counting began: with the first record of any partition, or with us.
func (h *house) counts(commits []*bus.Commit, source string) (since int64, done map[int64]uint64) {
	since, done = spanOf(h.started), map[int64]uint64{}
	for _, c := range commits {
		for _, l := range c.Ledger {
			if l.Source != source {
				continue
			}
			since = min(since, l.Since)
			for span, n := range l.Counts {
				done[span] += n
			}
		}
	}
	return since, done
}

// compare asks the source how much it holds of the spans from first to end, which is
// outside, and returns by how much which of them fall short.
func (r *Reconciliation) compare(ctx context.Context, o source.Origin, done map[int64]uint64, first, end int64) (short map[int64]uint64, err error) {
	count := func(from, to int64) (uint64, error) {
		n, whole, err := o.Count(ctx, spanTime(from), spanTime(to))
		if err == nil && !whole {
			err = errors.New("the source has not finished counting")
		}
		return n, err
	}
	for span := first; span < end; span++ {
		r.Done += done[span]
	}
	if r.Held, err = count(first, end); err != nil || r.Held == r.Done {
		return nil, err
	}
	short = map[int64]uint64{}
	for span := first; span < end; span++ {
		n, err := count(span, span+1)
		if err != nil {
			return nil, err
		}
		if n > done[span] {
			short[span] = n - done[span]
			r.Deficit += short[span]
		}
	}
	return short, nil
}

// tellDeficit tells people of the spans that fall short, each once. A deficit counts when
// two rounds in a row see it: the source's own count may be late too, and what was
// stored at the first of them is evaluated at the second.
func (h *house) tellDeficit(ctx context.Context, name string, short map[int64]uint64, now time.Time) error {
	seen, rounds := h.suspect[name], map[int64]int{}
	h.suspect[name] = rounds
	var sure []int64
	var spans []string // remember reads them
	missing := uint64(0)
	for _, span := range slices.Sorted(maps.Keys(short)) {
		rounds[span] = seen[span] + 1
		if rounds[span] >= 2 && !h.told[spanKey(name, span)] {
			sure, spans = append(sure, span), append(spans, spanTime(span).Format(time.RFC3339))
			missing += short[span]
		}
	}
	if len(sure) == 0 {
		return nil
	}
	from, to := spanTime(sure[0]), spanTime(sure[len(sure)-1]+1)
	between := []any{name, from.Format(time.RFC3339), to.Format(time.RFC3339), missing}
	err := h.p.tell(ctx, Report{
		Rule: RuleDeficit, Key: fmt.Sprintf("%s/%d", name, sure[0]), Severity: alert.High, At: now,
		Title: "Records of the trail were not evaluated", TitleZH: "审计跟踪中有记录未经评估",
		ReasonZH: fmt.Sprintf("%s 在 %s 至 %s 之间的日志比此处评估的多 %d 条：这些日志未经检测", between...),
		Reason:   fmt.Sprintf("%[1]s holds %[4]d more logs from %[2]s to %[3]s than were evaluated here: detection did not see them", between...),
		Details:  map[string]any{"source": name, "missing": missing, "from": from, "to": to, "spans": spans},
		Runbook: alert.Runbook{
			EN: "Look at `trailwarden status` (is something behind, parked or failing?). Search the time span with `trailwarden replay sls://PROJECT/LOGSTORE --from … --to …`, which reads it again without changing anything.",
			ZH: "先看 `trailwarden status`(是否有积压、隔离或失败)。再用 `trailwarden replay sls://PROJECT/LOGSTORE --from … --to …` 重查该时间段,它只读不改。",
		},
	})
	if err != nil {
		return err // the next round tries again
	}
	for _, span := range sure {
		h.told[spanKey(name, span)] = true
	}
	return nil
}

// note keeps the newest comparison of each source.
func (p *Pipeline) note(r Reconciliation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.books[r.Source] = r
}
