// Package dingtalk shows alerts in a DingTalk group.
//
// With webhook it is the group's custom robot, whose messages can be neither edited
// nor pressed. Requests are signed with the robot's secret; where the robot asks
// for a keyword instead, the message carries it. With client_id it is an app: one
// interactive card for each incident that is edited in place, buttons that are
// heard of over a connection that the program opens itself (Stream mode), and
// questions to single persons.
//
// What is known of the platform is its documentation as of 2026-08; what is inferred
// and could only be seen on a live organisation is in responders/destinations.md.
package dingtalk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/robot"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one robot, or of an app in one group.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://oapi.dingtalk.com/robot/send?access_token=…), by reference"`
	Secret            responders.Secret `yaml:"secret" doc:"its signing secret (SEC…), by reference; needed when the robot's security setting is a signature"`
	Keyword           string            `yaml:"keyword" doc:"its keyword, when the security setting is keywords"`

	ClientID           string            `yaml:"client_id" doc:"instead of webhook: an app (Client ID, the former AppKey), for cards with buttons that are edited in place"`
	ClientSecret       responders.Secret `yaml:"client_secret" doc:"the app's secret, by reference"`
	CardTemplateID     string            `yaml:"card_template_id" doc:"the published card template of the app (….schema), drawn from deploy/dingtalk/card.json"`
	OpenConversationID string            `yaml:"open_conversation_id" doc:"the group (cid…) that the app's robot is in"`
	CorpID             string            `yaml:"corp_id" doc:"the organisation (ding…): presses of members of others are refused, since user ids are unique in one organisation only"`
	RobotCode          string            `yaml:"robot_code" doc:"the robot's code; default client_id, which is right for an organisation's own app"`
	APIURL             string            `yaml:"api_url" doc:"of the app: https://api.dingtalk.com (default)"`
}

func (s Spec) access() robot.Access {
	return robot.Access{Webhook: s.Webhook, Secret: s.Secret, Keyword: s.Keyword}
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	if s.ClientID != "" {
		return s.checkApp()
	}
	out := append(s.Faults(), s.access().Check()...)
	if s.Secret != "" && !strings.HasPrefix(s.Secret.Reveal(), "SEC") {
		out = append(out, responders.Fault{Field: "secret", Message: "is not a robot's signing secret: want the one that begins with SEC"})
	}
	return out
}

// checkApp is Check of an app.
func (s Spec) checkApp() []responders.Fault {
	out := s.Faults()
	bad := func(field, message string) { out = append(out, responders.Fault{Field: field, Message: message}) }
	if s.ClientSecret == "" {
		bad("client_secret", "client_id needs client_secret")
	}
	if !templateID.MatchString(s.CardTemplateID) {
		bad("card_template_id", "want the id of the published template, such as 4d2f1c3a-0000-4000-8000-000000000000.schema")
	}
	if !chatID.MatchString(s.OpenConversationID) {
		bad("open_conversation_id", "want the group's id, such as cidEXAMPLE0000000000000==")
	}
	if !corpID.MatchString(s.CorpID) {
		bad("corp_id", "want the organisation's id (ding…), as the developer console shows it")
	}
	if s.Webhook != "" || s.Secret != "" || s.Keyword != "" {
		bad("webhook", "either webhook or client_id: a robot and an app are two destinations")
	}
	if s.APIURL != "" {
		out = append(out, wire.CheckAddress("api_url", s.APIURL)...)
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(*slog.Logger) (responders.Notifier, error) {
	if s.ClientID != "" {
		return newApp(s)
	}
	return robot.New(platform, s, s.Common, s.access())
}

// Hear implements responders.Hearer.
func (s Spec) Hear(p responders.Presser, log *slog.Logger) (func(context.Context) error, error) {
	if s.ClientID == "" {
		return nil, nil
	}
	return newListener(s, p, log).run, responders.JoinFaults(s.Check())
}

var (
	_ responders.Spec   = Spec{}
	_ responders.Hearer = Spec{}
)

const (
	robotBytes = 4_000
	robotTitle = 150
)

var platform = robot.Platform{
	Name: "dingtalk", Method: "robot/send",
	// More than 20 in a minute would silence the robot for ten.
	PerSecond: 14. / 60, Burst: 5, PerMinute: 20,
	Body: body, Sign: sign,
	Limited: map[int]time.Duration{130101: 10 * time.Minute},
	Busy:    map[int]bool{-1: true},
	Hints: map[int]string{
		310000: "the robot's security setting refuses it: check secret, keyword, or the addresses it allows, and this host's clock",
		300005: "the access_token in the address is not known: copy the robot's address again",
		400101: "the access_token in the address is not known: copy the robot's address again",
	},
}

func body(w *message.Words, n responders.Notice, whole bool, keyword string) map[string]any {
	m := w.Lay(n, robotTitle)
	said := m.Markdown(whole, message.Layout{Break: "\n\n", Max: robotBytes, Link: w.Open}, n.Link)
	if keyword != "" && !strings.Contains(said, keyword) {
		said += "\n\n" + keyword
	}
	return map[string]any{"msgtype": "markdown", "markdown": map[string]string{"title": m.Title, "text": said}}
}

// sign adds the signature of this moment to the address: over
// "<milliseconds>\n<secret>", keyed by the secret.
func sign(address, secret string, _ map[string]any, now time.Time) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // checked when it was configured
	}
	stamp := strconv.FormatInt(now.UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "\n" + secret))
	q := u.Query()
	q.Set("timestamp", stamp)
	q.Set("sign", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	u.RawQuery = q.Encode()
	return u.String()
}
