package slack

import (
	"context"
	"slices"
	"strings"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// Scopes that the bot token needs: the first to post, one of the others to
// recognise its own messages after a lost answer (channels:history in public
// channels, groups:history in private ones).
const (
	ScopeWrite          = "chat:write"
	ScopeHistory        = "channels:history"
	ScopePrivateHistory = "groups:history"
	// To ask people: to write to one alone, and to recognise that it was done.
	ScopeDirect        = "im:write"
	ScopeDirectHistory = "im:history"
)

// Inspection is what one look at the destination shows.
type Inspection struct {
	// WebhookOnly: nothing can be looked at without sending.
	WebhookOnly bool
	User, Team  string
	// Scopes are those of the bot token, nil where Slack did not say. Missing
	// are those of the above that lack.
	Scopes, Missing []string
	// Channel is the error of reading the channel's newest message, nil when
	// the bot sees it; Buttons the error of the app-level token, nil when it
	// works or when none is configured.
	Channel, Buttons error
}

// Inspect looks at the token, its scopes, the channel and the app-level token
// without sending a message. The error is that of the token itself, as for Post.
func (n *Notifier) Inspect(ctx context.Context) (Inspection, error) {
	var in Inspection
	if n.api == nil {
		in.WebhookOnly = true
		return in, nil
	}
	var who *slackapi.AuthTestResponse
	if err := n.call(ctx, "auth.test", n.reads, func(ctx context.Context) (err error) {
		who, err = n.api.AuthTestContext(ctx)
		return err
	}); err != nil {
		return in, err
	}
	in.User, in.Team = text.Line(who.User), text.Line(who.Team)
	for _, s := range strings.Split(who.Header.Get("X-Oauth-Scopes"), ",") {
		if s = text.Line(strings.TrimSpace(s)); s != "" {
			in.Scopes = append(in.Scopes, s)
		}
	}
	if in.Scopes != nil {
		if !slices.Contains(in.Scopes, ScopeWrite) {
			in.Missing = append(in.Missing, ScopeWrite)
		}
		if !slices.Contains(in.Scopes, ScopeHistory) && !slices.Contains(in.Scopes, ScopePrivateHistory) {
			in.Missing = append(in.Missing, ScopeHistory)
		}
	}
	in.Channel = n.call(ctx, "conversations.history", n.reads, func(ctx context.Context) error {
		_, err := n.api.GetConversationHistoryContext(ctx, &slackapi.GetConversationHistoryParameters{ChannelID: n.cfg.Channel, Limit: 1})
		return err
	})
	if n.cfg.AppToken != "" {
		api := slackapi.New(n.cfg.Token, slackapi.OptionAppLevelToken(n.cfg.AppToken), slackapi.OptionAPIURL(n.cfg.APIURL), slackapi.OptionHTTPClient(n.http))
		in.Buttons = n.call(ctx, "apps.connections.open", n.reads, func(ctx context.Context) error {
			_, _, err := api.StartSocketModeContext(ctx)
			return err
		})
	}
	return in, nil
}
