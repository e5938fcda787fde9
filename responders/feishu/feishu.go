// Package feishu shows alerts in a Feishu or Lark chat by its custom robot, as
// cards made of plain text alone: nothing in an alert can link or mention.
//
// A robot only takes messages: they cannot be found again, edited or clicked.
// Changes that people must hear of come as further cards, and what waits for a
// decision is named with the command that takes it, or a link to the console.
// Requests are signed with the robot's secret.
//
// The platform takes 100 messages a minute, 5 a second, 30 KB each; the token
// bucket and the card stay below.
package feishu

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://open.feishu.cn/open-apis/bot/v2/hook/…, or open.larksuite.com), by reference"`
	Secret            responders.Secret `yaml:"secret" doc:"its signing secret, by reference; needed when signature verification is on"`
	Keyword           string            `yaml:"keyword" doc:"its keyword, when the security setting is keywords"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := append(s.Faults(), wire.CheckAddress("webhook", s.Webhook.Reveal())...)
	if text.Line(s.Keyword) != s.Keyword || len(s.Keyword) > 60 {
		out = append(out, responders.Fault{Field: "keyword", Message: "want one short word"})
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// At most 4 + 84 messages in any minute, of 100 allowed; the burst is below
// what five a second allow.
const (
	perSecond = 1.4
	burst     = 4
	maxTitle  = 150
	maxThread = 10
	// maxTexts is in UTF-16 units, of at most three bytes each (or two for
	// four): with the fields, below 30 KB.
	maxTexts = 5_000
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
		post: wire.NewPoster("feishu", s.Name, limiter(2*time.Second), s.CallTimeout()),
	}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Static says that messages cannot be edited.
func (n *Notifier) Static() {}

// Post sends a card.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: "sent"}, n.send(ctx, n.card(notice, true))
}

// Update sends a further card that says what changed.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	return n.send(ctx, n.card(notice, false))
}

// Find cannot: a robot does not read.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

var templates = map[alert.Severity]string{
	alert.Critical: "red", alert.High: "orange", alert.Medium: "yellow", alert.Low: "blue",
}

func plain(s string) map[string]any { return map[string]any{"tag": "plain_text", "content": s} }

func div(s string) map[string]any { return map[string]any{"tag": "div", "text": plain(s)} }

func (n *Notifier) card(notice responders.Notice, whole bool) map[string]any {
	m := n.w.Lay(notice, maxTitle)
	template := templates[m.Severity]
	if template == "" {
		template = "grey"
	}
	var elements []any
	room := maxTexts
	add := func(s string) {
		s = text.CutUTF16(s, room)
		if room -= text.LenUTF16(s); strings.TrimSpace(s) != "" {
			elements = append(elements, div(s))
		}
	}
	thread := strings.Join(m.Thread[:min(len(m.Thread), maxThread)], "\n")
	if whole {
		add(m.Reason)
		add(m.Policy)
		var fields []any
		for _, f := range m.Fields {
			fields = append(fields, map[string]any{"is_short": true, "text": plain(f.Label + "\n" + f.String())})
		}
		elements = append(elements, map[string]any{"tag": "div", "fields": fields})
	} else {
		add(thread)
	}
	add(strings.Join(append(m.Actions, m.Next...), "\n"))
	if whole {
		add(thread)
	}
	if notice.Link != "" {
		elements = append(elements, map[string]any{"tag": "action", "actions": []any{
			map[string]any{"tag": "button", "text": plain(n.w.Open), "type": "default", "url": notice.Link},
		}})
	}
	small := m.Context
	if k := n.spec.Keyword; k != "" {
		small += " · " + k
	}
	elements = append(elements, map[string]any{"tag": "note", "elements": []any{plain(small)}})
	return map[string]any{
		"config": map[string]any{"wide_screen_mode": true},
		"header": map[string]any{"template": template, "title": plain(m.Title)}, "elements": elements,
	}
}

func (n *Notifier) send(ctx context.Context, card map[string]any) error {
	body := map[string]any{"msg_type": "interactive", "card": card}
	if s := n.spec.Secret; s != "" {
		// The signature is that of nothing, keyed by "<seconds>\n<secret>".
		stamp := strconv.FormatInt(n.now().Unix(), 10)
		mac := hmac.New(sha256.New, []byte(stamp+"\n"+s.Reveal()))
		body["timestamp"], body["sign"] = stamp, base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	const method = "bot/hook"
	answer, err := n.post.JSON(ctx, method, n.spec.Webhook.Reveal(), nil, b)
	if err != nil {
		return err
	}
	var out struct {
		Code *int
		Msg  string
	}
	if json.Unmarshal(answer, &out) != nil || out.Code == nil {
		return n.post.NoSense(method)
	}
	code := strconv.Itoa(*out.Code)
	switch *out.Code {
	case 0:
		return nil
	case 11232:
		return n.post.Limited(method, code, time.Minute)
	}
	return n.post.Fail(method, nil, fmt.Errorf("refused with %s %s", code, text.Cut(text.Line(out.Msg), 100)), code, hints[*out.Code])
}

var hints = map[int]string{
	19021: "the signature does not fit: check secret and this host's clock",
	19022: "this host's address is not on the robot's list",
	19024: "the robot's security setting wants a keyword: set keyword",
	9499:  "the card is not accepted",
}

// Close releases idle connections.
func (n *Notifier) Close() { n.post.Close() }

func limiter(maxWait time.Duration) *wire.Limiter {
	return wire.NewLimiter(perSecond, burst, maxWait)
}
