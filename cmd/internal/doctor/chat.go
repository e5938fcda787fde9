package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/responders/dingtalk"
	"github.com/trailwarden/trailwarden/responders/feishu"
	"github.com/trailwarden/trailwarden/responders/slack"
)

func (r *run) destinations(ctx context.Context) {
	for _, s := range r.cfg.Notify.Slack {
		r.slack(ctx, s)
	}
	for _, s := range r.cfg.Notify.Feishu {
		if s.AppID != "" { // a robot's address says nothing without sending
			r.feishu(ctx, s)
		}
	}
	for _, s := range r.cfg.Notify.DingTalk {
		if s.ClientID != "" { // as above
			r.dingtalk(ctx, s)
		}
	}
}

// asksPeople says that the configuration names people to be asked.
func (r *run) asksPeople() bool {
	return len(r.cfg.Respond.Ask.Owners) > 0 || len(r.cfg.Respond.Ask.People) > 0
}

func (r *run) feishu(ctx context.Context, s feishu.Spec) {
	group := "feishu " + s.Name
	ctx, cancel := r.within(ctx)
	defer cancel()
	const open = "open https (and for buttons wss) to open.feishu.cn or open.larksuite.com from here; api_url says which"
	buttons, err := feishu.Inspect(ctx, s, r.log)
	switch {
	case errors.Is(err, feishu.ErrRefused):
		r.bad(Fail, "TW407", group, "app", err.Error(), "copy app_id and app_secret of the app again (Credentials & Basic Info), and look whether api_url is the right platform")
		return
	case err != nil:
		r.down("TW409", group, "app", "no answer: "+err.Error(), open)
		return
	}
	r.ok(group, "app", "it may send; whether its robot is in the chat %s shows only notify test", s.ChatID)
	switch {
	case errors.Is(buttons, feishu.ErrRefused):
		r.bad(Fail, "TW408", group, "buttons", "they will not work: "+buttons.Error(), "let the app get callbacks by long connection (Events & Callbacks) and publish it")
	case buttons != nil:
		r.down("TW409", group, "buttons", buttons.Error(), open)
	default:
		r.ok(group, "buttons", "they are heard of by long connection")
	}
}

func (r *run) dingtalk(ctx context.Context, s dingtalk.Spec) {
	group := "dingtalk " + s.Name
	ctx, cancel := r.within(ctx)
	defer cancel()
	const open = "open https to api.dingtalk.com and wss to wss-open-connection.dingtalk.com from here"
	buttons, err := dingtalk.Inspect(ctx, s, r.log)
	switch {
	case errors.Is(err, dingtalk.ErrRefused):
		r.bad(Fail, "TW410", group, "app", err.Error(), "copy client_id and client_secret of the app again (Credentials and Basic Information)")
		return
	case err != nil:
		r.down("TW412", group, "app", "no answer: "+err.Error(), open)
		return
	}
	r.ok(group, "app", "it is accepted; whether its robot is in the group and the card template is drawn right shows only notify test")
	switch {
	case errors.Is(buttons, dingtalk.ErrRefused):
		r.bad(Fail, "TW411", group, "buttons", "they will not work: "+buttons.Error(), "let the app's robot receive by Stream mode, and publish the app's version")
	case buttons != nil:
		r.down("TW412", group, "buttons", buttons.Error(), open)
	default:
		r.ok(group, "buttons", "they are heard of in Stream mode")
	}
}

func (r *run) slack(ctx context.Context, s slack.Spec) {
	group := "slack " + s.Name
	n, err := slack.New(s.Config(), r.log)
	if err != nil {
		r.bad(Fail, "TW101", group, "configuration", err.Error(), "")
		return
	}
	defer n.Close()
	ctx, cancel := r.within(ctx)
	defer cancel()
	in, err := n.Inspect(ctx)
	var e *slack.Error
	switch {
	case errors.As(err, &e) && e.Code == "":
		r.down("TW405", group, "token", "Slack does not answer: "+err.Error(), "open https to slack.com from here")
		return
	case err != nil:
		r.bad(Fail, "TW401", group, "token", err.Error(), "copy the bot token (xoxb-…) of the installed app again")
		return
	case in.WebhookOnly:
		r.bad(Warn, "TW406", group, "webhook", "a webhook cannot be checked without sending, nor can its messages be edited or found again", "a bot token does all of that")
		return
	}
	r.ok(group, "token", "%s in %s", in.User, in.Team)
	for _, scope := range in.Missing {
		switch scope {
		case slack.ScopeWrite:
			r.bad(Fail, "TW402", group, "scopes", "the app lacks the scope "+scope+": no alert can be posted", "add it under OAuth & Permissions and install the app again")
		default:
			r.bad(Warn, "TW402", group, "scopes", "the app lacks the scope "+scope+": after a lost answer an alert may be posted twice", "add it (groups:history for a private channel) and install the app again")
		}
	}
	if r.asksPeople() && s.AppToken == "" {
		r.bad(Warn, "TW404", group, "questions", "respond.ask names owners, and without app_token nobody here can be asked", "give an app-level token (xapp-…) with connections:write")
	} else if r.asksPeople() && in.Scopes != nil {
		for _, x := range [][2]string{{slack.ScopeDirect, "nobody can be asked whether it was them"}, {slack.ScopeDirectHistory, "after a lost answer a person may be asked twice"}} {
			if scope := x[0]; !slices.Contains(in.Scopes, scope) {
				r.bad(Warn, "TW402", group, "scopes", "the app lacks the scope "+scope+": "+x[1], "add it under OAuth & Permissions and install the app again")
			}
		}
	}
	switch {
	case errors.As(in.Channel, &e) && e.Code == "missing_scope":
		// Said above; whether the channel is there cannot be seen.
	case errors.As(in.Channel, &e) && e.Code == "":
		r.down("TW405", group, "channel", in.Channel.Error(), "")
	case in.Channel != nil:
		r.bad(Fail, "TW403", group, "channel", fmt.Sprintf("%s: %v", s.Channel, in.Channel), "write the channel's id (C0…, in its details) and invite the app to it: /invite @"+in.User)
	case len(in.Missing) == 0:
		r.ok(group, "channel", "%s can be read, scopes are fine (%s)", s.Channel, strings.Join(in.Scopes, ", "))
	}
	switch {
	case in.Buttons != nil:
		r.bad(Fail, "TW404", group, "buttons", "they will not work: "+in.Buttons.Error(), "give an app-level token (xapp-…) with connections:write and switch Socket Mode on, or leave app_token out")
	case s.AppToken != "":
		r.ok(group, "buttons", "the app-level token works")
	}
}
