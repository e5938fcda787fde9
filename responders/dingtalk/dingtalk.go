// Package dingtalk shows alerts in a DingTalk group by its custom robot.
//
// A robot only takes messages: they cannot be found again, edited or clicked.
// Changes that people must hear of come as further messages, and what waits
// for a decision is named with the command that takes it, or a link to the
// console. Requests are signed with the robot's secret; where the robot asks
// for a keyword instead, the message carries it.
//
// More than 20 messages a minute would silence the robot for ten minutes; the
// token bucket stays below that in every minute, whatever the bursts.
package dingtalk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://oapi.dingtalk.com/robot/send?access_token=…), by reference"`
	Secret            responders.Secret `yaml:"secret" doc:"its signing secret (SEC…), by reference; needed when the robot's security setting is a signature"`
	Keyword           string            `yaml:"keyword" doc:"its keyword, when the security setting is keywords"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := append(s.Faults(), wire.CheckAddress("webhook", s.Webhook.Reveal())...)
	if s.Secret != "" && !strings.HasPrefix(s.Secret.Reveal(), "SEC") {
		out = append(out, responders.Fault{Field: "secret", Message: "is not a robot's signing secret: want the one that begins with SEC"})
	}
	if text.Line(s.Keyword) != s.Keyword || len(s.Keyword) > 60 {
		out = append(out, responders.Fault{Field: "keyword", Message: "want one short word"})
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// The platform allows 20 a minute. A bucket of burst b and rate r lets at most
// b + 60r through in any minute: 5 + 14.
const (
	perSecond = 14. / 60
	burst     = 5
	maxBytes  = 4_000
	maxTitle  = 150
)

// Notifier is a responders.Notifier. It is safe for concurrent use.
type Notifier struct {
	spec Spec
	w    *message.Words
	post *wire.Poster
	now  func() time.Time
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
	return &Notifier{
		spec: s, w: message.For(message.Language(s.Language), s.Location()), now: time.Now,
		post: wire.NewPoster("dingtalk", s.Name, limiter(2*time.Second), s.CallTimeout()),
	}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Static says that messages cannot be edited.
func (n *Notifier) Static() {}

// Post sends a message.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	m := n.w.Lay(notice, maxTitle)
	return responders.MessageRef{ID: "sent"}, n.send(ctx, m.Title, m.Markdown(n.layout(), notice.Link))
}

// Update sends a further message that says what changed.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	m := n.w.Lay(notice, maxTitle)
	return n.send(ctx, m.Title, m.MarkdownUpdate(n.layout(), notice.Link))
}

// Find cannot: a robot does not read.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

func (n *Notifier) layout() message.Layout {
	return message.Layout{Break: "\n\n", Max: maxBytes, Link: n.w.Open}
}

func (n *Notifier) send(ctx context.Context, title, body string) error {
	if k := n.spec.Keyword; k != "" && !strings.Contains(body, k) {
		body += "\n\n" + k
	}
	b, err := json.Marshal(map[string]any{"msgtype": "markdown", "markdown": map[string]string{"title": title, "text": body}})
	if err != nil {
		return err
	}
	const method = "robot/send"
	answer, err := n.post.JSON(ctx, method, n.address(), nil, b)
	if err != nil {
		return err
	}
	var out struct {
		Errcode *int
		Errmsg  string
	}
	if json.Unmarshal(answer, &out) != nil || out.Errcode == nil {
		return n.post.NoSense(method)
	}
	code := strconv.Itoa(*out.Errcode)
	switch *out.Errcode {
	case 0:
		return nil
	case 130101: // silenced
		return n.post.Limited(method, code, 10*time.Minute)
	case -1: // system busy
		return n.post.Fail(method, responders.ErrInDoubt, errors.New("system busy"), code, "")
	}
	return n.post.Fail(method, nil, fmt.Errorf("refused with %s %s", code, text.Cut(text.Line(out.Errmsg), 100)), code, hints[*out.Errcode])
}

var hints = map[int]string{
	310000: "the robot's security setting refuses it: check secret, keyword, or the addresses it allows, and this host's clock",
	300005: "the access_token in the address is not known: copy the robot's address again",
	400101: "the access_token in the address is not known: copy the robot's address again",
}

// address is the webhook with the signature of this moment: over
// "<milliseconds>\n<secret>", keyed by the secret.
func (n *Notifier) address() string {
	raw := n.spec.Webhook.Reveal()
	if n.spec.Secret == "" {
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return raw // checked when it was configured
	}
	stamp := strconv.FormatInt(n.now().UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(n.spec.Secret.Reveal()))
	mac.Write([]byte(stamp + "\n" + n.spec.Secret.Reveal()))
	q := u.Query()
	q.Set("timestamp", stamp)
	q.Set("sign", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	u.RawQuery = q.Encode()
	return u.String()
}

// Close releases idle connections.
func (n *Notifier) Close() { n.post.Close() }

func limiter(maxWait time.Duration) *wire.Limiter {
	return wire.NewLimiter(perSecond, burst, maxWait)
}
