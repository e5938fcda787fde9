// Package webhook posts alerts as signed JSON to an address of one's own.
//
// Every revision of an incident is one request: the body is a Payload, or an
// OCSF Detection Finding with format "ocsf". The headers are
//
//	Trailwarden-Delivery   the same for a repeat of the same request
//	Trailwarden-Timestamp  seconds since 1970 when it was sent
//	Trailwarden-Signature  v1=<hex of HMAC-SHA256(secret, timestamp + "." + body)>
//
// A receiver checks the signature and that the timestamp is a few minutes old
// at most, and ignores a delivery that it has seen: after an answer that was
// lost, or a 5xx, the same request is made again. Verify does the checking.
//
// The body holds the texts of events as they are: they are data, and whoever
// shows them has to escape them. Control and direction characters are written
// as JSON escapes.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/ocsf"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one address.
type Spec struct {
	responders.Common `yaml:",inline"`
	URL               responders.Secret `yaml:"url" doc:"https://…, by reference when it holds a secret"`
	Secret            responders.Secret `yaml:"secret" doc:"key of the signature, at least 16 characters, by reference"`
	Format            string            `yaml:"format" doc:"json (default) or ocsf"`
}

const minSecret = 16

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := append(s.Faults(), wire.CheckAddress("url", s.URL.Reveal())...)
	if len(s.Secret) < minSecret {
		out = append(out, responders.Fault{Field: "secret", Message: fmt.Sprintf("want at least %d characters: without a signature the receiver cannot know who sends", minSecret)})
	}
	if s.Format != "" && s.Format != "json" && s.Format != "ocsf" {
		out = append(out, responders.Fault{Field: "format", Message: fmt.Sprintf("%q: want json or ocsf", s.Format)})
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// Schema is the value of a payload's schema field.
const Schema = "trailwarden.notice/v1"

// Payload is the body of a request. Its form is a contract.
type Payload struct {
	Schema   string                  `json:"schema"`
	Event    string                  `json:"event"` // "opened" or "updated"
	Revision int                     `json:"revision"`
	Alert    alert.Alert             `json:"alert"`
	Account  string                  `json:"account,omitempty"`
	Actions  []responders.ActionView `json:"actions,omitempty"`
	// News is what changed since the last request, in the words of the
	// destination's language.
	News []string `json:"news,omitempty"`
	Link string   `json:"link,omitempty"`
}

// Notifier is a responders.Notifier. It is safe for concurrent use.
type Notifier struct {
	spec  Spec
	words *message.Words
	post  *wire.Poster
	now   func() time.Time
}

var (
	_ responders.Notifier = (*Notifier)(nil)
	_ responders.Spec     = Spec{}
)

// New returns a Notifier, or what is wrong with s. It does not connect.
func New(s Spec, _ *slog.Logger) (*Notifier, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	return &Notifier{spec: s, words: message.For(message.Language(s.Language), s.Location()), now: time.Now, post: wire.NewPoster("webhook", s.Name, wire.NewLimiter(10, 20, 2*time.Second), s.CallTimeout())}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Post sends the first revision.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: notice.Alert.ID}, n.send(ctx, notice, false)
}

// Update sends a later revision.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	return n.send(ctx, notice, true)
}

// Find cannot: nothing is read back. A repeat has the same delivery id, so
// that doubt is settled by the receiver and never comes back from here.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

func (n *Notifier) body(notice responders.Notice, update bool) ([]byte, error) {
	var v any
	if n.spec.Format == "ocsf" {
		v = ocsf.Of(&notice.Alert, "", update)
	} else {
		p := Payload{Schema: Schema, Event: "opened", Revision: notice.Alert.Revision, Alert: notice.Alert, Account: notice.Account, Actions: notice.Actions, News: n.words.ThreadLines(notice.Thread), Link: notice.Link}
		if update {
			p.Event = "updated"
		}
		v = p
	}
	var b bytes.Buffer
	if err := alert.WriteLine(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (n *Notifier) send(ctx context.Context, notice responders.Notice, update bool) error {
	body, err := n.body(notice, update)
	if err != nil {
		return err
	}
	stamp := strconv.FormatInt(n.now().Unix(), 10)
	sum := sha256.Sum256(body)
	head := http.Header{
		"Trailwarden-Delivery":  {notice.Alert.ID + "." + hex.EncodeToString(sum[:8])},
		"Trailwarden-Timestamp": {stamp},
		"Trailwarden-Signature": {"v1=" + sign(n.spec.Secret.Reveal(), stamp, body)},
	}
	_, err = n.post.JSON(ctx, "POST", n.spec.URL.Reveal(), head, body)
	return wire.Again(err)
}

func sign(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Verify checks a request as a receiver should: the signature of its body, and
// that it was sent at most maxAge before or after now.
func Verify(secret string, head http.Header, body []byte, now time.Time, maxAge time.Duration) error {
	stamp := head.Get("Trailwarden-Timestamp")
	sec, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errors.New("webhook: no timestamp")
	}
	if age := now.Sub(time.Unix(sec, 0)); age > maxAge || age < -maxAge {
		return fmt.Errorf("webhook: sent %s ago", age)
	}
	got, ok := strings.CutPrefix(head.Get("Trailwarden-Signature"), "v1=")
	if !ok || !hmac.Equal([]byte(got), []byte(sign(secret, stamp, body))) {
		return errors.New("webhook: the signature does not fit")
	}
	return nil
}

// Decode reads a Payload.
func Decode(body []byte) (Payload, error) {
	var p Payload
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("webhook: %w", err)
	}
	if p.Schema != Schema {
		return p, fmt.Errorf("webhook: schema %q, want %q", p.Schema, Schema)
	}
	return p, nil
}

// Close releases idle connections.
func (n *Notifier) Close() { n.post.Close() }
