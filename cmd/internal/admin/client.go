package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// Errors of a Client, for errors.Is.
var (
	// ErrNotRunning: nobody listens on the socket.
	ErrNotRunning = errors.New("trailwarden is not running here")
	// ErrNotAllowed: the running program refused, by its rules.
	ErrNotAllowed = errors.New("not allowed")
	// ErrNotFound: there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrBadRequest: the running program does not understand what was asked.
	ErrBadRequest = errors.New("bad request")
)

// answer is a failure in the words of the running program, of one kind above.
type answer struct {
	kind error
	text string
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.kind }

// Client talks to the program whose state folder is dir.
type Client struct {
	dir  string
	http *http.Client
}

// Dial returns a client; it connects with the first call.
func Dial(dir string) *Client {
	path := filepath.Join(dir, SocketName)
	return &Client{dir, &http.Client{
		Timeout: 60 * time.Second, // an undo waits for the cloud
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}},
	}}
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://trailwarden"+path, r)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.dialError(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e apiError
		if json.Unmarshal(b, &e) != nil || e.Error == "" {
			return fmt.Errorf("the running program answered %s", resp.Status)
		}
		switch e.Kind {
		case "not_allowed":
			return &answer{ErrNotAllowed, e.Error}
		case "not_found":
			return &answer{ErrNotFound, e.Error}
		case "bad_request":
			return &answer{ErrBadRequest, e.Error}
		}
		return errors.New(e.Error)
	}
	return json.Unmarshal(b, into)
}

func (c *Client) dialError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: nobody listens on %s (start `trailwarden run`, or name the configuration of one that runs with --config)", ErrNotRunning, filepath.Join(c.dir, SocketName))
	}
	return err
}

func get[T any](ctx context.Context, c *Client, path string) (v T, err error) {
	err = c.call(ctx, http.MethodGet, path, nil, &v)
	return v, err
}

func post[T any](ctx context.Context, c *Client, path string, body change) (v T, err error) {
	err = c.call(ctx, http.MethodPost, path, body, &v)
	return v, err
}

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Alerts returns the newest alerts.
func (c *Client) Alerts(ctx context.Context, limit int) ([]alert.Alert, error) {
	return get[[]alert.Alert](ctx, c, "/v1/alerts?limit="+strconv.Itoa(limit))
}

// Alert returns one alert with its actions.
func (c *Client) Alert(ctx context.Context, id string) (AlertDetail, error) {
	return get[AlertDetail](ctx, c, "/v1/alerts/"+url.PathEscape(id))
}

// Actions returns the actions, newest first.
func (c *Client) Actions(ctx context.Context) ([]responders.ActionDetail, error) {
	return get[[]responders.ActionDetail](ctx, c, "/v1/actions")
}

// RuleWork says what exceptions and rules in shadow did.
func (c *Client) RuleWork(ctx context.Context) (RuleWork, error) {
	return get[RuleWork](ctx, c, "/v1/rules")
}

// Action returns one action; id may be an unambiguous beginning.
func (c *Client) Action(ctx context.Context, id string) (responders.ActionDetail, error) {
	return get[responders.ActionDetail](ctx, c, "/v1/actions/"+url.PathEscape(id))
}

// Contain asks for an action about an alert; somebody else has to approve it.
func (c *Client) Contain(ctx context.Context, alertID, kind string, params map[string]string) (responders.ActionDetail, error) {
	return post[responders.ActionDetail](ctx, c, "/v1/actions", change{Alert: alertID, Kind: kind, Params: params})
}

// Approve says yes to the action with the hash that the person was shown.
func (c *Client) Approve(ctx context.Context, id, hash string) (responders.ActionDetail, error) {
	return post[responders.ActionDetail](ctx, c, "/v1/actions/"+url.PathEscape(id)+"/approve", change{Hash: hash})
}

// Deny says no.
func (c *Client) Deny(ctx context.Context, id, reason string) (responders.ActionDetail, error) {
	return post[responders.ActionDetail](ctx, c, "/v1/actions/"+url.PathEscape(id)+"/deny", change{Reason: reason})
}

// Undo restores the state before an action.
func (c *Client) Undo(ctx context.Context, id string) (responders.ActionDetail, error) {
	return post[responders.ActionDetail](ctx, c, "/v1/actions/"+url.PathEscape(id)+"/undo", change{})
}

// Freeze throws or releases the kill switch.
func (c *Client) Freeze(ctx context.Context, on bool, reason string) (responders.Freeze, error) {
	path := "/v1/unfreeze"
	if on {
		path = "/v1/freeze"
	}
	return post[responders.Freeze](ctx, c, path, change{Reason: reason})
}

// Parked returns records that were not evaluated.
func (c *Client) Parked(ctx context.Context, limit int) ([]Parked, error) {
	return get[[]Parked](ctx, c, "/v1/parked?limit="+strconv.Itoa(limit))
}

// Redrive tries parked records of a reason again (all when empty).
func (c *Client) Redrive(ctx context.Context, reason string) (Redriven, error) {
	return post[Redriven](ctx, c, "/v1/parked/redrive", change{Reason: reason})
}

// AuditLines returns lines of the audit log after an entry number.
func (c *Client) AuditLines(ctx context.Context, after uint64, limit int) ([]journal.AuditLine, error) {
	return get[[]journal.AuditLine](ctx, c, fmt.Sprintf("/v1/audit?after=%d&limit=%d", after, limit))
}

// AuditVerify checks the audit log and the journal that it is made from.
func (c *Client) AuditVerify(ctx context.Context, head string) (journal.AuditReport, error) {
	return get[journal.AuditReport](ctx, c, "/v1/audit/verify?head="+url.QueryEscape(head))
}

// AuditReplay puts a replay into the audit log.
func (c *Client) AuditReplay(ctx context.Context, r Replayed) error {
	var none struct{}
	return c.call(ctx, http.MethodPost, "/v1/audit/replay", r, &none)
}

// ConsoleLink returns a link that signs a browser in to the console as whoever
// asks.
func (c *Client) ConsoleLink(ctx context.Context) (Link, error) {
	return post[Link](ctx, c, "/v1/console/link", change{})
}

// Tap hands out records as Backend.Tap does, until ctx ends or fn fails.
func (c *Client) Tap(ctx context.Context, frames int, follow bool, fn func(Tapped) error) error {
	q := url.Values{"limit": {strconv.Itoa(frames)}}
	if frames == AllFrames {
		q.Set("limit", "all")
	}
	if !follow {
		q.Set("follow", "no")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://trailwarden/v1/tap?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	stream := *c.http
	stream.Timeout = 0
	resp, err := stream.Do(req)
	if err != nil {
		return c.dialError(err)
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var line struct {
			Tapped
			apiError
		}
		if err := dec.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the running program went away: %w", err)
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		if err := fn(line.Tapped); err != nil {
			return err
		}
	}
}
