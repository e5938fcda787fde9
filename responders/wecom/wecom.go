// Package wecom shows alerts in a WeCom (Enterprise WeChat) group by its robot.
// The key in the robot's address is its only secret.
package wecom

import (
	"log/slog"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/robot"
)

// Spec is the configuration of one robot.
type Spec struct {
	responders.Common `yaml:",inline"`
	Webhook           responders.Secret `yaml:"webhook" doc:"the robot's address (https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…), by reference"`
}

func (s Spec) access() robot.Access { return robot.Access{Webhook: s.Webhook} }

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault { return append(s.Faults(), s.access().Check()...) }

// Notifier implements responders.Spec.
func (s Spec) Notifier(*slog.Logger) (responders.Notifier, error) {
	return robot.New(platform, s, s.Common, s.access())
}

var _ responders.Spec = Spec{}

// A message is kept within 2 048 bytes whatever the incident.
const (
	maxBytes = 2_040
	maxTitle = 120
)

var platform = robot.Platform{
	Name: "wecom", Method: "webhook/send",
	PerSecond: 14. / 60, Burst: 5, PerMinute: 20,
	Body:    body,
	Limited: map[int]time.Duration{45009: time.Minute},
	Busy:    map[int]bool{-1: true},
	Hints:   map[int]string{93000: "the key in the address is not known: copy the robot's address again"},
}

func body(w *message.Words, n responders.Notice, whole bool, _ string) map[string]any {
	said := w.Lay(n, maxTitle).Markdown(whole, message.Layout{Break: "\n", Max: maxBytes, Link: w.Open}, n.Link)
	return map[string]any{"msgtype": "markdown", "markdown": map[string]string{"content": said}}
}
