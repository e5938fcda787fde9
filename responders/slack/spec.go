package slack

import (
	"context"
	"log/slog"

	"github.com/trailwarden/trailwarden/responders"
)

// Spec is the configuration of one channel.
type Spec struct {
	responders.Common `yaml:",inline"`
	Token             responders.Secret `yaml:"token" doc:"bot token (xoxb-…), by reference"`
	AppToken          responders.Secret `yaml:"app_token" doc:"app-level token (xapp-…) for buttons by Socket Mode; optional"`
	Channel           string            `yaml:"channel" doc:"id of the channel (C0…); invite the app to it"`
	Webhook           responders.Secret `yaml:"webhook" doc:"incoming webhook used when the bot token fails; optional"`
	APIURL            string            `yaml:"api_url" doc:"only for tests and the fake cloud"`
}

var (
	_ responders.Spec   = Spec{}
	_ responders.Hearer = Spec{}
)

// Config is the Spec as New and NewListener take it.
func (s Spec) Config() Config {
	return Config{
		Name: s.Name, Token: s.Token.Reveal(), AppToken: s.AppToken.Reveal(), Channel: s.Channel, WebhookURL: s.Webhook.Reveal(),
		Language: Language(s.Language), Zone: s.Location(), APIURL: s.APIURL, Timeout: s.Timeout.Std(),
	}
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	return append(s.Faults(), s.Config().faults()...)
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s.Config(), log) }

// Hear implements responders.Hearer.
func (s Spec) Hear(p responders.Presser, log *slog.Logger) (func(context.Context) error, error) {
	if s.AppToken == "" {
		return nil, nil
	}
	l, err := NewListener(s.Config(), p, log)
	if err != nil {
		return nil, err
	}
	return l.Run, nil
}
