// Package dingtalk shows alerts in a DingTalk group by its custom robot.
// Requests are signed with the robot's secret; where the robot asks for a
// keyword instead, the message carries it.
package dingtalk

import (
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
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://oapi.dingtalk.com/robot/send?access_token=…), by reference"`
	Secret            responders.Secret `yaml:"secret" doc:"its signing secret (SEC…), by reference; needed when the robot's security setting is a signature"`
	Keyword           string            `yaml:"keyword" doc:"its keyword, when the security setting is keywords"`
}

func (s Spec) access() robot.Access {
	return robot.Access{Webhook: s.Webhook, Secret: s.Secret, Keyword: s.Keyword}
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := append(s.Faults(), s.access().Check()...)
	if s.Secret != "" && !strings.HasPrefix(s.Secret.Reveal(), "SEC") {
		out = append(out, responders.Fault{Field: "secret", Message: "is not a robot's signing secret: want the one that begins with SEC"})
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(*slog.Logger) (responders.Notifier, error) {
	return robot.New(platform, s, s.Common, s.access())
}

var _ responders.Spec = Spec{}

const (
	maxBytes = 4_000
	maxTitle = 150
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
	m := w.Lay(n, maxTitle)
	said := m.Markdown(whole, message.Layout{Break: "\n\n", Max: maxBytes, Link: w.Open}, n.Link)
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
