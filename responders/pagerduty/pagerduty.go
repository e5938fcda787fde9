// Package pagerduty opens and updates incidents by PagerDuty's Events API v2.
//
// The alert's id is the deduplication key: a repeat or a later revision goes
// into the same PagerDuty alert, so an answer that was lost is settled by
// sending again. Nothing is resolved from here: people close the incident there.
package pagerduty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// DefaultURL is where events go.
const DefaultURL = "https://events.pagerduty.com/v2/enqueue"

// Spec is the configuration of one service.
type Spec struct {
	responders.Common `yaml:",inline"`
	RoutingKey        responders.Secret `yaml:"routing_key" doc:"integration key of the service (Events API v2), by reference"`
	URL               string            `yaml:"url" doc:"default https://events.pagerduty.com/v2/enqueue; the EU region and tests have another"`
}

var routingKey = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := s.Faults()
	if !routingKey.MatchString(s.RoutingKey.Reveal()) {
		out = append(out, responders.Fault{Field: "routing_key", Message: "is not an integration key: want the 32 letters and digits of an Events API v2 integration"})
	}
	if s.URL != "" {
		out = append(out, wire.CheckAddress("url", s.URL)...)
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// Limits of an event.
const (
	maxSummary = 1024
	maxTitle   = 300
)

// Notifier is a responders.Notifier. It is safe for concurrent use.
type Notifier struct {
	spec Spec
	w    *message.Words
	post *wire.Poster
}

var (
	_ responders.Notifier = (*Notifier)(nil)
	_ responders.Static   = (*Notifier)(nil)
	_ responders.Spec     = Spec{}
)

// New returns a Notifier, or what is wrong with s. It does not connect.
func New(s Spec, _ *slog.Logger) (*Notifier, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	if s.URL == "" {
		s.URL = DefaultURL
	}
	return &Notifier{
		spec: s, w: message.For(message.Language(s.Language), s.Location()),
		post: wire.NewPoster("pagerduty", s.Name, wire.NewLimiter(2, 10, 2*time.Second), s.CallTimeout()),
	}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Static says that only what matters is sent again: each event may page.
func (n *Notifier) Static() {}

// Post opens the incident.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: notice.Alert.ID}, n.send(ctx, notice)
}

// Update sends the incident's present state under the same key.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	return n.send(ctx, notice)
}

// Find cannot, and need not: sending again is safe.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

var severities = map[alert.Severity]string{
	alert.Critical: "critical", alert.High: "error", alert.Medium: "warning", alert.Low: "info", alert.Info: "info",
}

func (n *Notifier) event(notice responders.Notice) map[string]any {
	m, a := n.w.Lay(notice, maxTitle), notice.Alert
	details := map[string]any{"reason": m.Reason, "rule": text.Line(a.Rule), "count": a.Count}
	for _, f := range m.Fields {
		details[f.Label] = f.String()
	}
	for key, lines := range map[string][]string{"actions": m.Actions, "next": m.Next, "news": m.Thread, "triage": m.State} {
		if len(lines) > 0 {
			details[key] = lines
		}
	}
	severity := severities[a.Severity]
	if severity == "" {
		severity = "warning"
	}
	out := map[string]any{
		"routing_key": n.spec.RoutingKey.Reveal(), "event_action": "trigger", "dedup_key": a.ID, "client": "trailwarden",
		"payload": map[string]any{
			"summary": text.CutUTF16(m.Title+" — "+text.Line(m.Reason), maxSummary), "source": source(notice), "severity": severity,
			"timestamp": a.LastAt.UTC().Format(time.RFC3339), "component": text.Cut(text.Line(a.Actor.Name), 200), "class": text.Cut(text.Line(a.Rule), 200), "custom_details": details,
		},
	}
	if notice.Link != "" {
		out["client_url"] = notice.Link
		out["links"] = []any{map[string]string{"href": notice.Link, "text": n.w.Open}}
	}
	return out
}

func source(n responders.Notice) string {
	if s := message.AccountName(n); s != "" {
		return s
	}
	return "trailwarden"
}

func (n *Notifier) send(ctx context.Context, notice responders.Notice) error {
	b, err := json.Marshal(n.event(notice))
	if err != nil {
		return err
	}
	const method = "enqueue"
	answer, err := n.post.JSON(ctx, method, n.spec.URL, nil, b)
	if err != nil {
		return wire.Again(err)
	}
	var out struct{ Status, Message string }
	if json.Unmarshal(answer, &out) != nil || out.Status == "" {
		return wire.Again(n.post.NoSense(method))
	}
	if out.Status != "success" {
		return n.post.Fail(method, nil, fmt.Errorf("refused: %s", text.Cut(text.Line(out.Status+" "+out.Message), 120)), "", "check routing_key")
	}
	return nil
}

// Close releases idle connections.
func (n *Notifier) Close() { n.post.Close() }
