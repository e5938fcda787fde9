package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// meters are what no part counts by itself. Labels are bounded: rules are those
// loaded, and accounts beyond maxAccounts share one.
type meters struct {
	evaluation prometheus.Histogram
	alerts     *prometheus.CounterVec
	ruleErrors *prometheus.CounterVec
	began      time.Time
	judge      detectors.Spent // what permission changes took to understand

	ruleMu sync.Mutex
	rules  map[string]*detectors.RuleTime // of the rules in force

	mu       sync.Mutex
	accounts map[string]time.Time // newest event time
	seen     map[string]bool      // ids of alerts that were counted
	order    []string             // of seen, oldest first
}

const (
	maxAccounts   = 1000
	otherAccounts = "other"
	// sampled is every how many events one is timed: two looks at the clock
	// cost as much as a rule.
	sampled = 16
	// maxSeen is how many alert ids are remembered, to count an alert once
	// however often it grows.
	maxSeen = 20_000
)

func newMeters() *meters {
	return &meters{
		began: time.Now(),
		evaluation: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "trailwarden_event_evaluation_seconds",
			Help: "Time that all rules take for one event, of every 16th event.", Buckets: []float64{2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1}}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "trailwarden_alerts_total",
			Help: "Alerts raised since the start of the program, by rule."}, []string{"rule", "severity"}),
		ruleErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "trailwarden_rule_errors_total",
			Help: "Events for which a rule could not be evaluated."}, []string{"rule"}),
		accounts: map[string]time.Time{}, seen: map[string]bool{}, rules: map[string]*detectors.RuleTime{},
	}
}

func (m *meters) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.evaluation, m.alerts, m.ruleErrors}
}

// clock is the time since the program began, as a clock that only grows.
func (m *meters) clock() int64 { return int64(time.Since(m.began)) }

// timer measures the rules of set from now on. What rules took that it still has
// is added to; others are forgotten, so that there are never more than rules.
func (m *meters) timer(set detectors.RuleSet) *detectors.Timer {
	m.ruleMu.Lock()
	defer m.ruleMu.Unlock()
	was := m.rules
	m.rules = map[string]*detectors.RuleTime{}
	return detectors.NewTimer(set, m.clock, func(rule string) *detectors.RuleTime {
		t := was[rule]
		if t == nil {
			t = &detectors.RuleTime{}
		}
		m.rules[rule] = t
		return t
	}, &m.judge)
}

// ruleTimes is what each rule that was measured took.
func (m *meters) ruleTimes() []admin.RuleTime {
	m.ruleMu.Lock()
	defer m.ruleMu.Unlock()
	out := make([]admin.RuleTime, 0, len(m.rules))
	for id, t := range m.rules {
		if r := (admin.RuleTime{Rule: id, Match: took(&t.Match), Order: took(&t.Order)}); r.Match.Times+r.Order.Times > 0 {
			out = append(out, r)
		}
	}
	return admin.JoinRuleTimes(out)
}

func took(s *detectors.Spent) admin.Took {
	n, total, worst := s.Read()
	return admin.Took{Times: n, Seconds: total.Seconds(), Worst: worst.Seconds()}
}

func (m *meters) ruleError(e detectors.RuleError) { m.ruleErrors.WithLabelValues(e.Rule).Inc() }

// saw notes that an event of account was evaluated.
func (m *meters) saw(account string, at time.Time) {
	if account == "" || at.IsZero() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.accounts[account]; !known && len(m.accounts) >= maxAccounts {
		account = otherAccounts
	}
	if at.After(m.accounts[account]) {
		m.accounts[account] = at
	}
}

// lastEvents is the newest event time of each account.
func (m *meters) lastEvents() map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]time.Time, len(m.accounts))
	for k, v := range m.accounts {
		out[k] = v
	}
	return out
}

// raised counts the alerts that were not there before.
func (m *meters) raised(as []alert.Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range as {
		if m.seen[a.ID] {
			continue
		}
		if len(m.order) >= maxSeen {
			delete(m.seen, m.order[0])
			m.order = m.order[1:]
		}
		m.seen[a.ID], m.order = true, append(m.order, a.ID)
		m.alerts.WithLabelValues(a.Rule, a.Severity.String()).Inc()
	}
}

// counting is handle that counts what it was given, once it is durable.
func (m *meters) counting(handle pipeline.HandleAlerts) pipeline.HandleAlerts {
	return func(ctx context.Context, partition int, seq uint64, as []alert.Alert) error {
		err := handle(ctx, partition, seq, as)
		if err == nil {
			m.raised(as)
		}
		return err
	}
}

// engines are the engines of make, timed.
func (m *meters) engines(make func(partition int) pipeline.Engine) func(partition int) pipeline.Engine {
	return func(p int) pipeline.Engine { return &timedEngine{Engine: make(p), m: m} }
}

// timedEngine changes nothing of what the engine decides.
type timedEngine struct {
	pipeline.Engine
	m *meters
	n uint
	// The account of the last event, which most often is that of the next too:
	// the lock is taken when it changes or time has moved on.
	account string
	newest  time.Time
	now     time.Time // ingest clock: what lies ahead of it is a bad clock's
}

func (e *timedEngine) Tick(now time.Time) {
	e.now = now
	e.Engine.Tick(now)
}

func (e *timedEngine) Apply(ev *event.Event, shard string) {
	account, at := ev.Recipient, ev.Time // the engine may reuse the event
	if !e.now.IsZero() && at.After(e.now) {
		at = e.now
	}
	if e.n++; e.n%sampled == 0 {
		began := time.Now()
		e.Engine.Apply(ev, shard)
		e.m.evaluation.Observe(time.Since(began).Seconds())
	} else {
		e.Engine.Apply(ev, shard)
	}
	if account != e.account || at.Sub(e.newest) >= time.Second {
		e.m.saw(account, at)
		e.account, e.newest = account, at
	}
}
