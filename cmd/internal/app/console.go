package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console"
	"github.com/trailwarden/trailwarden/cmd/internal/console/evidence"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/rules"
)

// ruleErrors counts the evaluations that failed, by rule.
type ruleErrors struct {
	mu sync.Mutex
	by map[string]ruleError
}

type ruleError struct {
	n    int
	last string
	at   time.Time
}

func (r *ruleErrors) note(e detectors.RuleError, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]ruleError{}
	}
	x := r.by[e.Rule]
	r.by[e.Rule] = ruleError{x.n + 1, e.Error(), now}
}

func (r *ruleErrors) of(rule string) ruleError {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[rule]
}

// makeConsole puts the console together; Run serves and feeds it.
func (a *App) makeConsole() error {
	c := a.cfg.Console
	key, err := console.Key(a.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	var trusted []netip.Prefix
	for _, t := range c.Auth.Proxy.Trusted {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return fmt.Errorf("console.auth.proxy.trusted: %w", err)
		}
		trusted = append(trusted, p)
	}
	a.index = index.New(index.Limits{Events: c.Events})
	b := &consoleBackend{App: a}
	if b.evidence, err = evidence.Open(filepath.Join(a.cfg.StateDir, "evidence"), evidence.Limits{}); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	a.keeper = newKeeper(b.evidence, a.index, func(ctx context.Context, pos index.Pos) ([]byte, error) { return b.Record(ctx, pos) }, a.log)
	a.console, err = console.New(console.Options{
		Backend: b, Index: a.index, Listen: c.Listen, BaseURL: c.BaseURL, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key,
		Mode:  console.Mode(c.Auth.Mode),
		Proxy: console.ProxyAuth{UserHeader: c.Auth.Proxy.UserHeader, GroupsHeader: c.Auth.Proxy.GroupsHeader, Trusted: trusted},
		OIDC: console.OIDCAuth{Issuer: c.Auth.OIDC.Issuer, ClientID: c.Auth.OIDC.ClientID, ClientSecret: c.Auth.OIDC.ClientSecret.Reveal(),
			Scopes: c.Auth.OIDC.Scopes, UserClaim: c.Auth.OIDC.UserClaim, GroupsClaim: c.Auth.OIDC.GroupsClaim},
		Roles:    console.RoleMap{Viewer: c.Auth.Roles.Viewer, Analyst: c.Auth.Roles.Analyst, Approver: c.Auth.Roles.Approver},
		Accounts: a.cfg.Accounts, Raw: a.raw, Key: key, Version: a.version, Log: a.log,
	})
	return err
}

// ConsoleLink implements admin.Backend.
func (a *App) ConsoleLink(_ context.Context, by string) (admin.Link, error) {
	if a.console == nil {
		return admin.Link{}, fmt.Errorf("%w: this process serves no console (console: {enabled: true} in the configuration, role respond)", responders.ErrNotAllowed)
	}
	u, err := a.console.LoginURL(by)
	if err != nil {
		return admin.Link{}, fmt.Errorf("%w: %w", responders.ErrNotAllowed, err)
	}
	return admin.Link{URL: u}, nil
}

// ConsoleURL is where browsers find the console; "" without one.
func (a *App) ConsoleURL() string {
	if a.console == nil {
		return ""
	}
	return a.console.URL()
}

// feedFrames is how many of the newest frames are read at the start: enough
// for the events that the index keeps, without reading a store of gigabytes.
const feedFrames = 2000

// feedConsole keeps the index fresh until ctx ends. Whatever goes wrong, the
// pipeline does not notice.
func (a *App) feedConsole(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		apply := func(c responders.Change) {
			a.index.Apply(c)
			a.keeper.note(c)
		}
		if err := a.dispatcher.Follow(ctx, apply, a.index.CaughtUp); err != nil && ctx.Err() == nil {
			a.log.Error("the console no longer sees what is new; restart to mend it", "error", err)
		}
	})
	wg.Go(func() {
		if err := a.feedEvents(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the console no longer sees events; restart to mend it", "error", err)
		}
	})
	wg.Go(func() { a.keeper.run(ctx) })
	wg.Wait()
}

func (a *App) feedEvents(ctx context.Context) error {
	st, err := a.bus.State(ctx, bus.StreamEvents)
	if err != nil {
		return err
	}
	from := st.First
	if st.Last > feedFrames {
		from = max(from, st.Last-feedFrames)
	}
	r := a.bus.NewReader(bus.StreamEvents, from, 4, "ev.*.*")
	defer r.Stop()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		f, err := bus.DecodeFrame(m.Data)
		if err != nil || f.Kind != bus.Data {
			continue // the worker says what is wrong with it
		}
		for i, raw := range f.Records {
			if ev, err := event.Parse(raw); err == nil {
				a.index.AddEvent(ev, index.Pos{Seq: m.Seq, Index: i})
			}
		}
	}
}

// consoleBackend is the App as the console sees it.
type consoleBackend struct {
	*App
	evidence *evidence.Store

	mu     sync.Mutex
	status admin.Status
	asked  time.Time

	frames sync.Mutex
	seq    uint64
	frame  *bus.Frame
}

// statusFor is how long a status is good for: many pages ask for it.
const statusFor = time.Second

// Status implements console.Backend.
func (b *consoleBackend) Status(ctx context.Context) (admin.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.asked) < statusFor {
		return b.status, nil
	}
	s, err := b.App.Status(ctx)
	if err == nil {
		b.status, b.asked = s, time.Now()
	}
	return s, err
}

// Alert implements console.Backend.
func (b *consoleBackend) Alert(ctx context.Context, id string) (alert.Alert, error) {
	return b.dispatcher.Stored(ctx, id)
}

// Triage implements console.Backend.
func (b *consoleBackend) Triage(ctx context.Context, id string, q responders.TriageRequest) (responders.Triage, error) {
	return b.dispatcher.Triage(ctx, id, q)
}

// Offers implements console.Backend.
func (b *consoleBackend) Offers(ctx context.Context, alertID string) ([]responders.Offer, error) {
	return b.dispatcher.Offers(ctx, alertID)
}

// Request implements console.Backend.
func (b *consoleBackend) Request(ctx context.Context, alertID, actionID, by string) (responders.ActionDetail, error) {
	return b.dispatcher.Request(ctx, alertID, actionID, by)
}

// TriageOf implements console.Backend.
func (b *consoleBackend) TriageOf(ctx context.Context, id string) (responders.Triage, error) {
	return b.dispatcher.TriageOf(ctx, id)
}

// AuditTail implements console.Backend.
func (b *consoleBackend) AuditTail(ctx context.Context, n int) ([]journal.AuditEntry, error) {
	if b.audit == nil {
		return []journal.AuditEntry{}, nil
	}
	return b.audit.Tail(ctx, n)
}

// Rules implements console.Backend.
func (b *consoleBackend) Rules(ctx context.Context) []console.Rule {
	set := b.App.Rules()
	infos := set.List()
	work, _ := b.RuleWork(ctx) // never fails here
	times := make(map[string]*admin.RuleTime, len(work.Times))
	for i := range work.Times {
		times[work.Times[i].Rule] = &work.Times[i]
	}
	out := make([]console.Rule, len(infos))
	for i, r := range infos {
		e := b.ruleErr.of(r.ID)
		out[i] = console.Rule{ID: r.ID, Version: r.Version, Title: r.Title, TitleZH: r.TitleZH, Description: r.Description, Severity: r.Severity, Status: r.Status, Detector: r.Detector,
			Match: r.Match, Attack: r.Attack, File: r.File, Tests: r.Tests, Signal: r.Signal, Errors: e.n, LastError: e.last, ErrorAt: e.at,
			Budget: r.NoiseBudget(), Time: times[r.ID]}
		if n, ok := work.Shadow[r.ID]; ok {
			out[i].Shadow = &n
		}
		for _, x := range set.ExceptionsOf(r.ID) {
			out[i].Exceptions = append(out[i].Exceptions, console.RuleException{ID: x.ID, Owner: x.Owner, Reason: x.Reason, Expires: x.Expires,
				Withheld: work.Excepted[rules.ExceptedBy(x.ID)]})
		}
	}
	return out
}

// Measured implements console.Backend.
func (b *consoleBackend) Measured(ctx context.Context) (partitions, of int) {
	w, _ := b.RuleWork(ctx) // never fails here
	return w.Partitions, w.Of
}

// DraftException implements console.Backend.
func (b *consoleBackend) DraftException(a alert.Alert) string {
	return string(rules.DraftException(&a, time.Now()))
}

// Record implements console.Backend.
func (b *consoleBackend) Record(ctx context.Context, pos index.Pos) (json.RawMessage, error) {
	b.frames.Lock()
	defer b.frames.Unlock()
	if b.frame == nil || b.seq != pos.Seq {
		m, err := b.bus.At(ctx, bus.StreamEvents, pos.Seq)
		if errors.Is(err, bus.ErrNotFound) {
			return nil, console.ErrGone
		}
		if err != nil {
			return nil, err
		}
		f, err := bus.DecodeFrame(m.Data)
		if err != nil {
			return nil, err
		}
		b.frame, b.seq = f, pos.Seq
	}
	if pos.Index >= len(b.frame.Records) {
		return nil, console.ErrGone
	}
	return json.RawMessage(b.frame.Records[pos.Index]), nil
}

// Kept implements console.Backend.
func (b *consoleBackend) Kept(alertID string) ([][]byte, error) { return b.evidence.Records(alertID) }

// Explain implements console.Backend.
func (b *consoleBackend) Explain(rule string, record []byte) ([]string, error) {
	ev, err := event.Parse(record)
	if err != nil {
		return nil, err
	}
	return b.App.Rules().Explain(rule, ev)
}

// tryID is the id of a condition that is only tried.
const tryID = "console.trial"

// Try implements console.Backend: the condition is loaded as a rule of its
// own, with every check that rules go through.
func (b *consoleBackend) Try(ctx context.Context, condition string, records [][]byte) ([]int, error) {
	doc, err := yaml.Marshal(map[string]any{"id": tryID, "version": 1, "title": "trial", "description": "trial", "severity": "low", "reason": "trial", "match": condition,
		"runbook": map[string]string{"en": "none", "zh": "none"}})
	if err != nil {
		return nil, err
	}
	path := tryID + ".yaml"
	o := rules.LoadOptions{Files: map[string][]byte{path: doc}, Lists: b.App.Rules().Lists(), Factories: factories, Judge: NewJudge, Lineage: NewLineage, Clock: time.Now, AllowFewTests: true, Geo: b.App.Rules().Geo()}
	set, err := rules.Load(o)
	if err != nil {
		var all rules.Errors
		if errors.As(err, &all) {
			var say []string
			for _, e := range all {
				line := e.Message
				if e.Hint != "" {
					line += " (" + e.Hint + ")"
				}
				say = append(say, line)
			}
			return nil, errors.New(strings.Join(say, "\n"))
		}
		return nil, err
	}
	session := set.NewSession()
	var hits []int
	for i, raw := range records {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ev, err := event.Parse(raw)
		if err != nil {
			continue
		}
		session.Begin(ev)
		ok, err := session.Match(0)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", ev.ID, err)
		}
		if ok {
			hits = append(hits, i)
		}
	}
	return hits, nil
}
