// Package feishu shows alerts in a Feishu or Lark chat, as cards made of plain
// text alone: nothing in an alert can link or mention.
//
// With webhook it is the chat's custom robot, whose messages can be neither
// edited nor pressed; requests are signed with the robot's secret. With app_id
// it is an app: one card for each incident that is edited in place, replies
// under it, buttons that are heard of over a connection that the program opens
// itself, and questions to single persons. A message is sent with a uuid by
// which the platform recognises a repeat for an hour.
package feishu

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/robot"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://open.feishu.cn/open-apis/bot/v2/hook/…, or open.larksuite.com), by reference"`
	Secret            responders.Secret `yaml:"secret" doc:"its signing secret, by reference; needed when signature verification is on"`
	Keyword           string            `yaml:"keyword" doc:"its keyword, when the security setting is keywords"`
	AppID             string            `yaml:"app_id" doc:"instead of webhook: an app (cli_…), for cards with buttons that are edited in place"`
	AppSecret         responders.Secret `yaml:"app_secret" doc:"the app's secret, by reference"`
	ChatID            string            `yaml:"chat_id" doc:"the chat (oc_…) that the app's robot is in"`
	APIURL            string            `yaml:"api_url" doc:"of the app: https://open.feishu.cn (default) or https://open.larksuite.com"`
}

func (s Spec) access() robot.Access {
	return robot.Access{Webhook: s.Webhook, Secret: s.Secret, Keyword: s.Keyword}
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	if s.AppID == "" {
		return append(s.Faults(), s.access().Check()...)
	}
	out := s.Faults()
	bad := func(field, message string) { out = append(out, responders.Fault{Field: field, Message: message}) }
	if s.AppSecret == "" {
		bad("app_secret", "app_id needs app_secret")
	}
	if !chatID.MatchString(s.ChatID) {
		bad("chat_id", "want the chat's id, such as oc_a0553eda9014c201e6969b478895c230")
	}
	if s.Webhook != "" || s.Secret != "" || s.Keyword != "" {
		bad("webhook", "either webhook or app_id: a robot and an app are two destinations")
	}
	if s.APIURL != "" {
		out = append(out, wire.CheckAddress("api_url", s.APIURL)...)
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(*slog.Logger) (responders.Notifier, error) {
	if s.AppID != "" {
		return newApp(s)
	}
	return robot.New(platform, s, s.Common, s.access())
}

// Hear implements responders.Hearer.
func (s Spec) Hear(p responders.Presser, log *slog.Logger) (func(context.Context) error, error) {
	if s.AppID == "" {
		return nil, nil
	}
	return newListener(s, p, log).run, responders.JoinFaults(s.Check())
}

var (
	_ responders.Spec   = Spec{}
	_ responders.Hearer = Spec{}
)

const (
	maxTitle  = 150
	maxThread = 10
	// maxTexts is in UTF-16 units, of at most three bytes each (or two for
	// four): with the fields, below the 30 KB that are taken.
	maxTexts = 5_000
)

var platform = robot.Platform{
	Name: "feishu", Method: "bot/hook",
	PerSecond: 1.4, Burst: 4, PerMinute: 100, // and five a second
	Body: body, Sign: sign,
	Limited: map[int]time.Duration{11232: time.Minute},
	Hints: map[int]string{
		19021: "the signature does not fit: check secret and this host's clock",
		19022: "this host's address is not on the robot's list",
		19024: "the robot's security setting wants a keyword: set keyword",
		9499:  "the card is not accepted",
	},
}

// sign adds the signature to the body: that of nothing, keyed by
// "<seconds>\n<secret>".
func sign(address, secret string, body map[string]any, now time.Time) string {
	stamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(stamp+"\n"+secret))
	body["timestamp"], body["sign"] = stamp, base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return address
}

var templates = map[alert.Severity]string{
	alert.Critical: "red", alert.High: "orange", alert.Medium: "yellow", alert.Low: "blue",
}

func plain(s string) map[string]any { return map[string]any{"tag": "plain_text", "content": s} }

func div(s string) map[string]any { return map[string]any{"tag": "div", "text": plain(s)} }

func body(w *message.Words, notice responders.Notice, whole bool, keyword string) map[string]any {
	m := w.Lay(notice, maxTitle)
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
	add(strings.Join(m.State, "\n"))
	add(strings.Join(append(m.Actions, m.Next...), "\n"))
	if whole {
		add(thread)
	}
	if notice.Link != "" {
		elements = append(elements, map[string]any{"tag": "action", "actions": []any{
			map[string]any{"tag": "button", "text": plain(w.Open), "type": "default", "url": notice.Link},
		}})
	}
	small := m.Context
	if keyword != "" {
		small += " · " + keyword
	}
	elements = append(elements, map[string]any{"tag": "note", "elements": []any{plain(small)}})
	return map[string]any{"msg_type": "interactive", "card": map[string]any{
		"config": map[string]any{"wide_screen_mode": true},
		"header": map[string]any{"template": template, "title": plain(m.Title)}, "elements": elements,
	}}
}
