package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/responders"
)

var errNoResponders = fmt.Errorf("%w: this process does not play the role respond", responders.ErrNotAllowed)

// blindAfter is how long a source may go without a good pull before the
// program says that it is blind.
const blindAfter = time.Minute

// answerWithin bounds how long a status and the metrics wait for the store: less than
// probes (10 s) and Prometheus (10 s, unless told otherwise) wait for them.
const answerWithin = 5 * time.Second

// Status implements admin.Backend.
func (a *App) Status(ctx context.Context) (admin.Status, error) {
	// A store that does not answer is among the problems, not what they wait for.
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	ps := a.pipe.Stats(ctx)
	s := admin.Status{Version: a.version, Started: a.started, Rules: a.Rules().Len(), Pack: a.Rules().Stamp(), Parked: ps.Parked, Sources: []admin.SourceStatus{}, Partitions: []admin.PartitionStatus{}}
	a.book.mu.Lock()
	s.RulesLoaded = a.book.loaded
	if r := a.book.refused; r.err != nil {
		s.Refused = faultsOf(r.err, 20)
		what, _, _ := r.what()
		s.Problems = append(s.Problems, fmt.Sprintf("the %s refused since %s, the rules before stay in force: %s", what, since(r.at), s.Refused[0]))
	}
	if w := a.book.waiting; w != "" {
		s.Problems = append(s.Problems, fmt.Sprintf("the configuration was changed in %s; this counts when the program is started again", w))
	}
	a.book.mu.Unlock()
	s.Store.Embedded = a.bus.Embedded()
	for _, u := range ps.Store.Streams {
		s.Store.Bytes += u.Bytes
		s.Store.Fraction = max(s.Store.Fraction, u.Fraction())
	}
	s.Problems = append(s.Problems, ps.Store.Problems...)
	ready := ps.Store.OK
	for _, src := range a.sources {
		st := src.Stats()
		seen := seen(st, a.bus.Embedded())
		x := admin.SourceStatus{Name: src.Name(), Credentials: st.Provider, Records: st.Records, LastPull: st.LastPull, LastSight: seen,
			Standby: st.Standby && seen.Equal(st.LastSight), Rebuilds: st.Rebuilds}
		for _, sh := range st.Shards {
			x.BehindSeconds = max(x.BehindSeconds, sh.Behind.Seconds())
			x.Shards = append(x.Shards, admin.ShardStatus{Shard: sh.Shard, Held: sh.Held, LastPull: sh.LastPull, BehindSeconds: sh.Behind.Seconds(), Records: sh.Records})
		}
		for _, b := range ps.Books {
			if b.Source != src.Name() {
				continue
			}
			x.Counts = &admin.CountStatus{At: b.At, From: b.From, To: b.To, Held: b.Held, Done: b.Done, Deficit: b.Deficit, Error: b.Error}
			if wrong := booksProblem(b); wrong != "" {
				s.Problems = append(s.Problems, wrong)
			}
		}
		if seen.IsZero() || time.Since(seen) > blindAfter {
			ready = false
			s.Problems = append(s.Problems, fmt.Sprintf("%s: no good read since %s (%s); nothing is seen of it now", src.Name(), since(seen), whyBlind(st, seen)))
		}
		s.Sources = append(s.Sources, x)
	}
	for _, w := range ps.Workers {
		s.Partitions = append(s.Partitions, admin.PartitionStatus{Partition: w.Partition, Evaluated: w.Evaluated, Duplicates: w.Duplicates,
			Late: w.Late, Lag: w.Lag, Watermark: w.Watermark, Gaps: w.Gaps, Repaired: w.Repaired})
		for account, at := range w.Accounts {
			s.Accounts = append(s.Accounts, admin.AccountStatus{Account: account, Newest: at})
		}
		if w.State == "failed" || w.State == "fenced" {
			ready = false
			s.Problems = append(s.Problems, fmt.Sprintf("partition %d is %s: %s", w.Partition, w.State, w.LastCommitError))
		}
	}
	s.Evicted = evicted(ps.Workers)
	if c := a.late.Load(); c != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("%d of %d events of the last hour came too late for rules that go by order; they were evaluated. A backlog, or detect.grace is too short for this trail", c.late, c.events))
	}
	lists.Sort(s.Accounts, func(a, b admin.AccountStatus) int {
		return cmp.Or(a.Newest.Compare(b.Newest), strings.Compare(a.Account, b.Account))
	})
	for _, r := range ps.Readers {
		if r.LastError != "" {
			s.Problems = append(s.Problems, fmt.Sprintf("alerts wait for the responders: %s", r.LastError))
		} else if slow(r, time.Now()) {
			s.Problems = append(s.Problems, fmt.Sprintf("alerts raised since %s wait to be told and acted on, in %d commit records: the disk or the machine is too slow for them", since(r.At), r.Lag+1))
		}
	}
	if a.dispatcher != nil {
		s.Destinations = a.dispatcher.Stats()
		if err := a.audit.Err(); err != nil {
			s.Problems = append(s.Problems, err.Error())
		}
		s.Actions, _ = a.machine.Stats()
		if ps.Store.Connected {
			if f, err := a.machine.Frozen(ctx); err == nil {
				s.Frozen = f
			}
		}
		for _, d := range s.Destinations {
			if !d.FailingSince.IsZero() {
				s.Problems = append(s.Problems, fmt.Sprintf("alerts do not reach %s since %s, %d wait: %s", d.Name, since(d.FailingSince), d.Waiting, d.LastErr))
			}
			if d.Dead > 0 {
				s.Problems = append(s.Problems, fmt.Sprintf("%d notices to %s could not be delivered and were given up (trailwarden notify ls)", d.Dead, d.Name))
			}
		}
	}
	s.Slowest = a.meters.ruleTimes()
	s.Slowest = s.Slowest[:min(len(s.Slowest), slowest)]
	s.Ready = ready
	return s, nil
}

// slowest is how many rules a status names.
const slowest = 5

//go:noinline
func since(t time.Time) string {
	if t.IsZero() {
		return "the start"
	}
	return t.UTC().Format(time.RFC3339)
}

// Alerts implements admin.Backend.
func (a *App) Alerts(ctx context.Context, limit int) ([]alert.Alert, error) {
	if a.dispatcher == nil {
		return nil, errNoResponders
	}
	all, err := a.dispatcher.Alerts(ctx, 0)
	if err != nil {
		return nil, err
	}
	all = lists.Keep(all, func(x *alert.Alert) bool { return !responders.OnlyMessage(x.Rule) })
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}

// Alert implements admin.Backend; id may be an unambiguous beginning.
func (a *App) Alert(ctx context.Context, id string) (alert.Alert, []responders.ActionDetail, error) {
	if a.dispatcher == nil {
		return alert.Alert{}, nil, errNoResponders
	}
	all, err := a.dispatcher.Alerts(ctx, 10_000)
	if err != nil {
		return alert.Alert{}, nil, err
	}
	full := ""
	for _, x := range all {
		if strings.HasPrefix(x.ID, id) {
			if full != "" && full != x.ID {
				return alert.Alert{}, nil, fmt.Errorf("more than one alert begins with %q (%w: give more of it)", id, admin.ErrNotFound)
			}
			full = x.ID
		}
	}
	if full == "" {
		return alert.Alert{}, nil, fmt.Errorf("alert %q: %w", id, admin.ErrNotFound)
	}
	return a.dispatcher.Alert(ctx, full)
}

// RuleWork implements admin.Backend.
func (a *App) RuleWork(ctx context.Context) (admin.RuleWork, error) {
	w := admin.RuleWork{Pack: a.Rules().Stamp(), Excepted: map[string]uint64{}, Shadow: map[string]alert.Noise{}, Of: a.bus.Partitions(), Times: a.meters.ruleTimes()}
	for _, s := range a.pipe.Stats(ctx).Workers {
		w.Partitions++
		for reason, n := range s.Excepted {
			w.Excepted[reason] += n
		}
		for rule, n := range s.Noise {
			w.Shadow[rule] = w.Shadow[rule].Join(n)
		}
	}
	return w, nil
}

// Actions implements admin.Backend.
func (a *App) Actions(ctx context.Context) ([]responders.ActionDetail, error) {
	if a.machine == nil {
		return nil, errNoResponders
	}
	return a.machine.List(ctx, responders.ListFilter{})
}

// Action implements admin.Backend.
func (a *App) Action(ctx context.Context, id string) (responders.ActionDetail, error) {
	if a.machine == nil {
		return responders.ActionDetail{}, errNoResponders
	}
	return a.machine.Show(ctx, id)
}

// Approve implements admin.Backend.
func (a *App) Approve(ctx context.Context, id, by, hash string) (responders.ActionDetail, error) {
	if a.machine == nil {
		return responders.ActionDetail{}, errNoResponders
	}
	return a.machine.Approve(ctx, id, by, hash)
}

// Deny implements admin.Backend.
func (a *App) Deny(ctx context.Context, id, by, reason string) (responders.ActionDetail, error) {
	if a.machine == nil {
		return responders.ActionDetail{}, errNoResponders
	}
	return a.machine.Deny(ctx, id, by, reason)
}

// Undo implements admin.Backend.
func (a *App) Undo(ctx context.Context, id, by string) (responders.ActionDetail, error) {
	if a.machine == nil {
		return responders.ActionDetail{}, errNoResponders
	}
	d, err := a.machine.Show(ctx, id) // resolves a beginning
	if err != nil {
		return d, err
	}
	return a.machine.Undo(ctx, d.ID, by)
}

// Freeze implements admin.Backend.
func (a *App) Freeze(ctx context.Context, on bool, by, reason string) (responders.Freeze, error) {
	if a.machine == nil {
		return responders.Freeze{}, errNoResponders
	}
	do := a.machine.Unfreeze
	if on {
		do = a.machine.Freeze
	}
	if err := do(ctx, by, reason); err != nil {
		return responders.Freeze{}, err
	}
	return a.machine.Frozen(ctx)
}

// Parked implements admin.Backend.
func (a *App) Parked(ctx context.Context, limit int) ([]admin.Parked, error) {
	var out []admin.Parked
	err := a.bus.EachParked(ctx, func(p bus.Parked) bool {
		out = append(out, admin.Parked{ID: p.ID, Reason: p.Reason, Detail: p.Message, Source: p.Source, At: p.Received, Size: p.Size})
		return len(out) < limit
	})
	return out, err
}

// Redrive implements admin.Backend.
func (a *App) Redrive(ctx context.Context, reason string) (admin.Redriven, error) {
	var out admin.Redriven
	sink := a.pipe.Sink()
	if sink == nil {
		return out, fmt.Errorf("%w: this process does not play the role ingest", responders.ErrNotAllowed)
	}
	// The list first: redriving takes records out of what is being read.
	var todo []bus.Parked
	if err := a.bus.EachParked(ctx, func(p bus.Parked) bool {
		if reason == "" || p.Reason == reason {
			todo = append(todo, p)
		}
		return true
	}); err != nil {
		return out, err
	}
	for _, p := range todo {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		out.Tried++
		if err := sink.Redrive(ctx, p); err == nil {
			out.Back++
		} else if len(out.Still) < 10 {
			out.Still = append(out.Still, err.Error())
		}
	}
	return out, nil
}

// booksProblem says what is wrong with the counts of a source. That they wait for
// records that are being read, as after every start, is nothing wrong.
func booksProblem(b pipeline.Reconciliation) string {
	switch {
	case b.Deficit > 0:
		return fmt.Sprintf("%s holds %d more logs between %s and %s than were evaluated", b.Source, b.Deficit, since(b.From), since(b.To))
	case b.Error != "" && !b.Waits:
		return fmt.Sprintf("%s: counts cannot be compared: %s", b.Source, b.Error)
	}
	return ""
}
