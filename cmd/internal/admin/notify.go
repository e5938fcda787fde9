package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/trailwarden/trailwarden/responders"
)

// NotifyBackend is what the running program offers about who is told.
type NotifyBackend interface {
	Undelivered(ctx context.Context) ([]responders.Undelivered, error)
	Requeue(ctx context.Context, destination string) (int, error)
	Silences(ctx context.Context) ([]responders.Silence, error)
	Mute(ctx context.Context, by string, matchers []string, lasts time.Duration, comment string) (responders.Silence, error)
	Unmute(ctx context.Context, id, by string) (responders.Silence, error)
	// Ask has a person asked whether it was them, the owner when person is
	// empty; Answer writes down what they said.
	Ask(ctx context.Context, alertID, person, by string) (responders.Question, error)
	Answer(ctx context.Context, alertID, question, by string, yes bool) (responders.Question, error)
	Questions(ctx context.Context, alertID string) ([]responders.Question, error)
	// Triage says what a person makes of an alert, whose id may be a beginning;
	// TriageOf is how it stands.
	Triage(ctx context.Context, alertID string, q responders.TriageRequest) (responders.Triage, error)
	TriageOf(ctx context.Context, alertID string) (responders.Triage, error)
}

// Requeued says how many notices are tried again.
type Requeued struct {
	Count int `json:"count"`
}

func notifyRoutes(b NotifyBackend, get getter, post poster) {
	get("/v1/undelivered", func(r *http.Request) (any, error) {
		u, err := b.Undelivered(r.Context())
		if u == nil {
			u = []responders.Undelivered{}
		}
		return u, err
	})
	post("/v1/destinations/{name}/requeue", func(r *http.Request, _ change) (any, error) {
		n, err := b.Requeue(r.Context(), r.PathValue("name"))
		return Requeued{n}, err
	})
	post("/v1/alerts/{id}/questions", func(r *http.Request, c change) (any, error) {
		return b.Ask(r.Context(), r.PathValue("id"), c.Person, caller(r))
	})
	post("/v1/alerts/{id}/questions/{question}", func(r *http.Request, c change) (any, error) {
		if c.Yes == nil {
			return nil, badRequest("yes: want true or false")
		}
		return b.Answer(r.Context(), r.PathValue("id"), r.PathValue("question"), caller(r), *c.Yes)
	})
	post("/v1/alerts/{id}/triage", func(r *http.Request, c change) (any, error) {
		c.Triage.By = caller(r)
		return b.Triage(r.Context(), r.PathValue("id"), c.Triage)
	})
	get("/v1/silences", func(r *http.Request) (any, error) {
		s, err := b.Silences(r.Context())
		if s == nil {
			s = []responders.Silence{}
		}
		return s, err
	})
	post("/v1/silences", func(r *http.Request, c change) (any, error) {
		return b.Mute(r.Context(), caller(r), c.Matchers, c.For.Std(), c.Reason)
	})
	post("/v1/silences/{id}/expire", func(r *http.Request, _ change) (any, error) {
		return b.Unmute(r.Context(), r.PathValue("id"), caller(r))
	})
}

// Undelivered lists notices that were given up.
func (c *Client) Undelivered(ctx context.Context) ([]responders.Undelivered, error) {
	return get[[]responders.Undelivered](ctx, c, "/v1/undelivered")
}

// Requeue tries the notices of a destination again that were given up.
func (c *Client) Requeue(ctx context.Context, destination string) (Requeued, error) {
	return post[Requeued](ctx, c, "/v1/destinations/"+url.PathEscape(destination)+"/requeue", change{})
}

// Ask has a person asked about an alert, its owner when person is empty.
func (c *Client) Ask(ctx context.Context, alertID, person string) (responders.Question, error) {
	return post[responders.Question](ctx, c, "/v1/alerts/"+url.PathEscape(alertID)+"/questions", change{Person: person})
}

// Triage says what is made of an alert.
func (c *Client) Triage(ctx context.Context, alertID string, q responders.TriageRequest) (responders.Triage, error) {
	return post[responders.Triage](ctx, c, "/v1/alerts/"+url.PathEscape(alertID)+"/triage", change{Triage: q})
}

// Answer writes down what a person said who was asked.
func (c *Client) Answer(ctx context.Context, alertID, question string, yes bool) (responders.Question, error) {
	return post[responders.Question](ctx, c, "/v1/alerts/"+url.PathEscape(alertID)+"/questions/"+url.PathEscape(question), change{Yes: &yes})
}

// Silences lists silences, ended ones included.
func (c *Client) Silences(ctx context.Context) ([]responders.Silence, error) {
	return get[[]responders.Silence](ctx, c, "/v1/silences")
}

// Mute adds a silence.
func (c *Client) Mute(ctx context.Context, matchers []string, lasts time.Duration, comment string) (responders.Silence, error) {
	return post[responders.Silence](ctx, c, "/v1/silences", change{Matchers: matchers, For: responders.Duration(lasts), Reason: comment})
}

// Unmute ends a silence.
func (c *Client) Unmute(ctx context.Context, id string) (responders.Silence, error) {
	return post[responders.Silence](ctx, c, "/v1/silences/"+url.PathEscape(id)+"/expire", change{})
}
