package slack

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

// metadataQuestion is the event type of the metadata of a question; payload:
// question.
const metadataQuestion = "trailwarden_question"

var personID = regexp.MustCompile(`^slack:[UW][A-Z0-9]{2,30}$`)

var _ responders.Asker = (*Notifier)(nil)

// Reaches says whether a person can be asked here: slack:U…, where buttons
// work.
func (n *Notifier) Reaches(person string) bool {
	return n.api != nil && n.cfg.AppToken != "" && personID.MatchString(person)
}

// direct is the channel of direct messages with a person.
func (n *Notifier) direct(ctx context.Context, person string) (string, error) {
	if !n.Reaches(person) {
		return "", &Error{Platform: "slack", Destination: n.cfg.Name, Method: "conversations.open", Cause: errors.New("not a person of this workspace")}
	}
	user := strings.TrimPrefix(person, "slack:")
	if id, ok := n.directs.Load(user); ok {
		return id.(string), nil
	}
	var id string
	err := n.call(ctx, "conversations.open", n.reads, func(ctx context.Context) error {
		c, _, _, err := n.api.OpenConversationContext(ctx, &slackapi.OpenConversationParameters{Users: []string{user}})
		if err == nil && (c == nil || c.ID == "") {
			err = errNoSense
		}
		if err == nil {
			id = c.ID
		}
		return err
	})
	if err != nil {
		// Nothing was said yet, so that looking for it would be in vain.
		var e *Error
		if errors.As(err, &e) && errors.Is(e.Kind, responders.ErrInDoubt) {
			e.Kind = responders.ErrRetry
		}
		return "", err
	}
	n.directs.Store(user, id)
	return id, nil
}

// Ask sends the question of a notice to its person alone.
func (n *Notifier) Ask(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	if notice.Question == nil {
		return responders.MessageRef{}, errors.New("slack: a notice without a question")
	}
	channel, err := n.direct(ctx, notice.Question.Person)
	if err != nil {
		return responders.MessageRef{}, err
	}
	return n.postTo(ctx, channel, n.question(notice))
}

// UpdateQuestion shows what became of a question.
func (n *Notifier) UpdateQuestion(ctx context.Context, ref responders.MessageRef, notice responders.Notice) error {
	if notice.Question == nil {
		return errors.New("slack: a notice without a question")
	}
	return n.edit(ctx, ref, n.question(notice))
}

// FindQuestion looks for a question that was sent since.
func (n *Notifier) FindQuestion(ctx context.Context, notice responders.Notice, since time.Time) (responders.MessageRef, bool, error) {
	channel, err := n.direct(ctx, notice.Question.Person)
	if err != nil {
		return responders.MessageRef{}, false, unreadable(err)
	}
	return n.findIn(ctx, channel, metadataQuestion, "question", notice.Question.ID, since)
}

// question is the message of a question.
func (n *Notifier) question(notice responders.Notice) []slackapi.MsgOption {
	fallback, blocks := n.renderer().question(notice)
	meta := slackapi.SlackMetadata{EventType: metadataQuestion, EventPayload: map[string]any{"question": notice.Question.ID, "alert_id": notice.Alert.ID}}
	return append(options(fallback, meta), slackapi.MsgOptionBlocks(blocks...))
}

// question lays a question out. It says what was done and from where, and
// nothing about what the team does.
func (r renderer) question(n responders.Notice) (fallback string, blocks []slackapi.Block) {
	q := n.Question
	title := r.w.AskTitle
	if acct := message.AccountName(n); acct != "" {
		title += " · " + acct
	}
	fallback = text.Mrkdwn(r.w.AskTitle+" "+r.w.Reason(n.Alert), budgetText)
	blocks = []slackapi.Block{slackapi.NewHeaderBlock(plain(message.One(title, budgetHeader))), slackapi.NewSectionBlock(plain(r.w.AskIntro), nil, nil)}
	if reason := text.SlackPlain(r.w.Reason(n.Alert), budgetReason); reason != "" {
		blocks = append(blocks, slackapi.NewSectionBlock(plain(reason), nil, nil))
	}
	blocks = append(blocks, slackapi.NewSectionBlock(nil, r.fields(n), nil))
	end, yes, no := r.w.AskStanding(n)
	if end != "" {
		blocks = append(blocks, slackapi.NewSectionBlock(plain(end), nil, nil))
	}
	value := text.CutUTF16(text.Line(n.Alert.ID), budgetID) + "|" + text.CutUTF16(text.Line(q.ID), 64)
	button := func(id, label string) *slackapi.ButtonBlockElement {
		return slackapi.NewButtonBlockElement(id, value, plain(label))
	}
	var row []slackapi.BlockElement
	if yes {
		row = append(row, button(ActionYes, r.w.AskYes))
	}
	if no {
		row = append(row, button(ActionNo, r.w.AskNo).WithStyle(slackapi.StyleDanger))
	}
	if q.State == responders.Asked {
		blocks = append(blocks, slackapi.NewContextBlock("", plain(fmt.Sprintf(r.w.AskSmall, r.w.Clock(q.Until)))))
	}
	if len(row) > 0 {
		blocks = append(blocks, slackapi.NewActionBlock("", row...))
	}
	return fallback, blocks
}
