package slack

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Language is the language of a destination.
type Language = message.Language

// The languages.
const (
	English = message.English
	Chinese = message.Chinese
)

// Config is one Slack destination. It prints without its secrets.
type Config struct {
	// Name is the destination's name in the configuration.
	Name string
	// Token is the bot token (xoxb-…). Empty: webhook only.
	Token string
	// AppToken (xapp-…) switches the buttons on; they need a Listener.
	AppToken string
	// Channel is the channel's id, such as C0123456789; names cannot be read
	// back and may be renamed.
	Channel string
	// WebhookURL is where messages go when the token fails for good.
	WebhookURL string
	// Language is English when empty.
	Language Language
	// Zone is the time zone of times; the language's own when nil.
	Zone *time.Location
	// APIURL is the Web API, Slack's own when empty. HTTPS, or plaintext to
	// loopback alone.
	APIURL string
	// Timeout bounds each request (10 s when zero).
	Timeout time.Duration
	// Rate is messages per second (1 when zero) and Burst how many may go at
	// once after a pause (4 when zero).
	Rate  float64
	Burst int
	// MaxWait is how long a call may wait for its turn before it returns a
	// RetryAfterError instead (2 s when zero).
	MaxWait time.Duration
	// ThreadCap is the number of replies in a thread before the rest is only
	// counted (20 when zero).
	ThreadCap int
}

// DefaultAPIURL is Slack's Web API.
const DefaultAPIURL = "https://slack.com/api/"

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "slack"
	}
	if c.Language == "" {
		c.Language = English
	}
	if c.APIURL == "" {
		c.APIURL = DefaultAPIURL
	}
	if !strings.HasSuffix(c.APIURL, "/") {
		c.APIURL += "/"
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Rate <= 0 {
		c.Rate = 1
	}
	if c.Burst <= 0 {
		c.Burst = 4
	}
	if c.MaxWait <= 0 {
		c.MaxWait = 2 * time.Second
	}
	if c.ThreadCap <= 0 {
		c.ThreadCap = 20
	}
	return c
}

var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{6,}$`)

// Validate says everything that is wrong with c, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, f := range c.faults() {
		errs = append(errs, fmt.Errorf("slack destination %q: %s", c.Name, f.Message))
	}
	if c.Language != English && c.Language != Chinese {
		errs = append(errs, fmt.Errorf("slack destination %q: language %q: want en or zh", c.Name, c.Language))
	}
	return errors.Join(errs...)
}

// faults says what is wrong beyond what every destination has.
func (c Config) faults() []responders.Fault {
	c = c.withDefaults()
	var out []responders.Fault
	bad := func(field, format string, args ...any) {
		out = append(out, responders.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case c.Token == "" && c.WebhookURL == "":
		bad("token", "neither token nor webhook: create an app with the scope chat:write, install it, and give its bot token")
	case c.Token != "" && !strings.HasPrefix(c.Token, "xoxb-"):
		bad("token", "token is not a bot token: want the one that begins with xoxb-")
	}
	if c.Token != "" && !channelID.MatchString(c.Channel) {
		bad("channel", "channel %q: want the channel's id, such as C0123456789 (at the bottom of the channel's details), not its name", c.Channel)
	}
	if c.AppToken != "" {
		if !strings.HasPrefix(c.AppToken, "xapp-") {
			bad("app_token", "app_token is not an app-level token: want the one that begins with xapp-")
		}
		if c.Token == "" {
			bad("app_token", "app_token without token: buttons need a message that can be edited")
		}
	}
	if err := wire.CheckURL(c.APIURL); err != nil {
		bad("api_url", "api_url: %v", err)
	}
	if c.WebhookURL != "" {
		if err := wire.CheckURL(c.WebhookURL); err != nil {
			bad("webhook", "webhook: %v", err)
		}
	}
	return out
}

// String leaves the secrets out.
func (c Config) String() string {
	return fmt.Sprintf("slack %s channel=%s token=%s app_token=%s webhook_url=%s language=%s", c.Name, c.Channel,
		wire.Masked(c.Token), wire.Masked(c.AppToken), wire.Masked(c.WebhookURL), c.Language)
}

// GoString leaves the secrets out.
func (c Config) GoString() string { return c.String() }

// LogValue leaves the secrets out.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Config) words() *message.Words { return message.For(c.Language, c.Zone) }
