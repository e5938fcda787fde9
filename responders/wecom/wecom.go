// Package wecom shows alerts in a WeCom (Enterprise WeChat) group by its robot.
//
// A robot only takes messages: they cannot be found again, edited or clicked.
// Changes that people must hear of come as further messages, and what waits
// for a decision is named with the command that takes it, or a link to the
// console. The key in the robot's address is its only secret.
//
// The platform takes 20 messages a minute and robot, and 2 048 bytes of text;
// a message is kept within that whatever the incident.
package wecom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…), by reference"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	return append(s.Faults(), wire.CheckAddress("webhook", s.Webhook.Reveal())...)
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// At most 5 + 14 messages in any minute, of 20 allowed.
const (
	perSecond = 14. / 60
	burst     = 5
	maxBytes  = 2_040
	maxTitle  = 120
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
	return &Notifier{
		spec: s, w: message.For(message.Language(s.Language), s.Location()),
		post: wire.NewPoster("wecom", s.Name, limiter(2*time.Second), s.CallTimeout()),
	}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Static says that messages cannot be edited.
func (n *Notifier) Static() {}

// Post sends a message.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	m := n.w.Lay(notice, maxTitle)
	return responders.MessageRef{ID: "sent"}, n.send(ctx, m.Markdown(n.layout(), notice.Link))
}

// Update sends a further message that says what changed.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	m := n.w.Lay(notice, maxTitle)
	return n.send(ctx, m.MarkdownUpdate(n.layout(), notice.Link))
}

// Find cannot: a robot does not read.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

func (n *Notifier) layout() message.Layout {
	return message.Layout{Break: "\n", Max: maxBytes, Link: n.w.Open}
}

func (n *Notifier) send(ctx context.Context, body string) error {
	b, err := json.Marshal(map[string]any{"msgtype": "markdown", "markdown": map[string]string{"content": body}})
	if err != nil {
		return err
	}
	const method = "webhook/send"
	answer, err := n.post.JSON(ctx, method, n.spec.Webhook.Reveal(), nil, b)
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
	case 45009:
		return n.post.Limited(method, code, time.Minute)
	case -1: // system busy
		return n.post.Fail(method, responders.ErrInDoubt, errors.New("system busy"), code, "")
	}
	hint := ""
	if *out.Errcode == 93000 {
		hint = "the key in the address is not known: copy the robot's address again"
	}
	return n.post.Fail(method, nil, fmt.Errorf("refused with %s %s", code, text.Cut(text.Line(out.Errmsg), 100)), code, hint)
}

// Close releases idle connections.
func (n *Notifier) Close() { n.post.Close() }

func limiter(maxWait time.Duration) *wire.Limiter {
	return wire.NewLimiter(perSecond, burst, maxWait)
}
