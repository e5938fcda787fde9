package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Event types of the metadata that our messages carry.
const (
	metadataAlert  = "trailwarden_alert"  // payload: alert_id, revision
	metadataThread = "trailwarden_thread" // payload: alert_id, key
)

// webhookRef marks a MessageRef that a webhook took: it cannot be edited.
const webhookRef = "webhook:"

// editsPerMinute is Slack's tier 3, for chat.update and for reading back.
const editsPerMinute = 50

// historySlack is how much earlier than asked Find looks: clocks differ.
const historySlack = time.Minute

// Pages that reading back goes through at most, 200 messages each.
const (
	pageSize = 200
	maxPages = 25
)

// Notifier is a responders.Notifier for one Slack channel. It is safe for
// concurrent use.
type Notifier struct {
	cfg     Config
	log     *slog.Logger
	http    *http.Client
	hook    *http.Client
	api     *slackapi.Client // nil: webhook only
	posts   *wire.Limiter
	edits   *wire.Limiter
	reads   *wire.Limiter
	hooks   *wire.Limiter
	threads threads
	directs sync.Map               // user id → channel of direct messages
	self    atomic.Pointer[string] // our bot id, once known
	stats   counters
}

var _ responders.Notifier = (*Notifier)(nil)

// Stats counts what a Notifier did since it was made.
type Stats struct {
	Posts, Edits, Replies uint64
	Webhook               uint64 // messages that went to the webhook
	WebhookEdits          uint64 // edits not shown because the webhook took the message
	PlainText             uint64 // messages whose layout Slack refused, sent as text
	Limited               uint64 // 429 answers
	Found                 uint64 // messages found again after a lost answer
}

type counters struct {
	posts, edits, replies, webhook, webhookEdits, plainText, limited, found atomic.Uint64
}

// New returns a Notifier, or what is wrong with cfg. It does not connect. A
// nil log is silent.
func New(cfg Config, log *slog.Logger) (*Notifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{
		cfg: cfg, log: log.With("destination", cfg.Name), http: wire.NewClient(cfg.Timeout),
		posts: wire.NewLimiter(cfg.Rate, cfg.Burst, cfg.MaxWait), hooks: wire.NewLimiter(cfg.Rate, cfg.Burst, cfg.MaxWait),
		edits: wire.NewLimiter(editsPerMinute/60., editsPerMinute/2, cfg.MaxWait), reads: wire.NewLimiter(editsPerMinute/60., editsPerMinute/2, cfg.MaxWait),
	}
	n.hook = &http.Client{Transport: webhookTransport{n.http.Transport}, CheckRedirect: n.http.CheckRedirect}
	if cfg.Token != "" {
		n.api = slackapi.New(cfg.Token, slackapi.OptionAPIURL(cfg.APIURL), slackapi.OptionHTTPClient(n.http))
	}
	return n, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.cfg.Name }

// Stats returns the counters.
func (n *Notifier) Stats() Stats {
	c := &n.stats
	return Stats{
		Posts: c.posts.Load(), Edits: c.edits.Load(), Replies: c.replies.Load(), Webhook: c.webhook.Load(), WebhookEdits: c.webhookEdits.Load(),
		PlainText: c.plainText.Load(), Limited: c.limited.Load(), Found: c.found.Load(),
	}
}

// Close releases idle connections. Calls in flight are not cut.
func (n *Notifier) Close() { n.http.CloseIdleConnections() }

// call takes a turn, makes one request and classifies its failure.
func (n *Notifier) call(ctx context.Context, method string, l *wire.Limiter, f func(context.Context) error) error {
	if err := l.Take(ctx); err != nil {
		return &Error{Platform: "slack", Destination: n.cfg.Name, Method: method, Kind: err, Cause: errors.New("not sent: " + err.Error())}
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	err := f(ctx)
	if err == nil {
		return nil
	}
	e := classify(n.cfg.Name, method, err)
	var after *responders.RetryAfterError
	if errors.As(e, &after) {
		n.stats.limited.Add(1)
		l.Pause(after.After)
	}
	return e
}

// options are common to posts and edits: the text is literal, nothing unfurls.
func options(text string, metadata slackapi.SlackMetadata) []slackapi.MsgOption {
	return []slackapi.MsgOption{
		slackapi.MsgOptionText(text, false), slackapi.MsgOptionMetadata(metadata), slackapi.MsgOptionParse(false),
		slackapi.MsgOptionDisableMarkdown(), slackapi.MsgOptionDisableLinkUnfurl(), slackapi.MsgOptionDisableMediaUnfurl(),
	}
}

func alertMetadata(notice responders.Notice) slackapi.SlackMetadata {
	return slackapi.SlackMetadata{EventType: metadataAlert, EventPayload: map[string]any{
		"alert_id": notice.Alert.ID, "revision": notice.Alert.Revision,
	}}
}

func (n *Notifier) renderer() renderer {
	return renderer{w: n.cfg.words(), buttons: n.cfg.AppToken != "" && n.cfg.Token != ""}
}

// Post sends a new message. Lines of notice.Thread that cannot be sent after
// the message was are kept and go with the next Update; the message counts as
// sent.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	if n.api == nil {
		return n.postWebhook(ctx, notice)
	}
	ref, err := n.post(ctx, notice)
	var e *Error
	switch {
	case err == nil:
		n.stats.posts.Add(1)
		t := n.threads.fresh(ref)
		if err := n.grow(ctx, t, ref, notice, false); err != nil {
			n.log.Warn("thread of a new message is incomplete, the rest goes with the next update", "alert_id", notice.Alert.ID, "err", err)
		}
		return ref, nil
	case n.cfg.WebhookURL != "" && errors.As(err, &e) && e.Final():
		n.log.Error("the bot token does not work, using the webhook", "alert_id", notice.Alert.ID, "err", err)
		ref, hookErr := n.postWebhook(ctx, notice)
		if hookErr != nil {
			n.log.Error("the webhook does not work either", "alert_id", notice.Alert.ID, "err", hookErr)
		}
		return ref, hookErr
	}
	return responders.MessageRef{}, err
}

func (n *Notifier) post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	m := n.renderer().render(notice)
	base := options(m.text, alertMetadata(notice))
	ref, err := n.postMessage(ctx, append(base, slackapi.MsgOptionBlocks(m.blocks...), slackapi.MsgOptionAttachments(m.attachments...)))
	var e *Error
	if errors.As(err, &e) && layoutCodes[e.Code] {
		n.stats.plainText.Add(1)
		n.log.Error("Slack refuses the layout, sending the text alone", "alert_id", notice.Alert.ID, "err", err)
		ref, err = n.postMessage(ctx, base)
	}
	return ref, err
}

func (n *Notifier) postMessage(ctx context.Context, opts []slackapi.MsgOption) (ref responders.MessageRef, err error) {
	return n.postTo(ctx, n.cfg.Channel, opts)
}

func (n *Notifier) postTo(ctx context.Context, to string, opts []slackapi.MsgOption) (ref responders.MessageRef, err error) {
	err = n.call(ctx, "chat.postMessage", n.posts, func(ctx context.Context) error {
		channel, ts, err := n.api.PostMessageContext(ctx, to, opts...)
		if err == nil && (channel == "" || ts == "") {
			err = errNoSense
		}
		ref = responders.MessageRef{Channel: channel, ID: ts}
		return err
	})
	if err != nil {
		return responders.MessageRef{}, err
	}
	return ref, nil
}

func (n *Notifier) postWebhook(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	m := renderer{w: n.cfg.words(), inline: true}.render(notice)
	unfurl := false
	msg := &slackapi.WebhookMessage{
		Text: m.text, Blocks: &slackapi.Blocks{BlockSet: m.blocks}, Attachments: m.attachments,
		Parse: "none", UnfurlLinks: &unfurl, UnfurlMedia: &unfurl,
	}
	send := func(ctx context.Context) error {
		return slackapi.PostWebhookCustomHTTPContext(ctx, n.cfg.WebhookURL, n.hook, msg)
	}
	err := n.call(ctx, "webhook", n.hooks, send)
	var e *Error
	if errors.As(err, &e) && layoutCodes[e.Code] {
		n.stats.plainText.Add(1)
		msg.Blocks, msg.Attachments = nil, nil
		err = n.call(ctx, "webhook", n.hooks, send)
	}
	if err != nil {
		return responders.MessageRef{}, err
	}
	n.stats.webhook.Add(1)
	return responders.MessageRef{Channel: "webhook", ID: webhookRef + notice.Alert.ID}, nil
}

// Update edits the message and then adds what grew to its thread. It may be
// repeated after any error: the edit says the same again, and replies that
// are there already are not sent twice. A message that the webhook took stays
// as it is; that is counted and no error.
func (n *Notifier) Update(ctx context.Context, ref responders.MessageRef, notice responders.Notice) error {
	if strings.HasPrefix(ref.ID, webhookRef) {
		n.stats.webhookEdits.Add(1)
		return nil
	}
	if n.api == nil {
		return &Error{Platform: "slack", Destination: n.cfg.Name, Method: "chat.update", Cause: errors.New("no token to edit a message with")}
	}
	m := n.renderer().render(notice)
	base := options(m.text, alertMetadata(notice))
	err := n.edit(ctx, ref, append(base, slackapi.MsgOptionBlocks(m.blocks...), slackapi.MsgOptionAttachments(m.attachments...)))
	var e *Error
	if errors.As(err, &e) && layoutCodes[e.Code] {
		n.stats.plainText.Add(1)
		n.log.Error("Slack refuses the layout, editing to the text alone", "alert_id", notice.Alert.ID, "err", err)
		err = n.edit(ctx, ref, append(base, slackapi.MsgOptionBlocks(), slackapi.MsgOptionAttachments([]slackapi.Attachment{}...)))
	}
	if err != nil {
		return err
	}
	n.stats.edits.Add(1)
	return n.grow(ctx, n.threads.get(ref), ref, notice, true)
}

func (n *Notifier) edit(ctx context.Context, ref responders.MessageRef, opts []slackapi.MsgOption) error {
	return n.call(ctx, "chat.update", n.edits, func(ctx context.Context) error {
		_, ts, _, err := n.api.UpdateMessageContext(ctx, ref.Channel, ref.ID, opts...)
		if err == nil && ts == "" {
			err = errNoSense
		}
		return err
	})
}

// Find looks for our message of this alert in the channel's history from a
// minute before since. Of several it returns the oldest, so that all edits go
// to one. Where the history cannot be read (no token, no scope, not in the
// channel) the error is errors.ErrUnsupported.
func (n *Notifier) Find(ctx context.Context, alertID string, since time.Time) (responders.MessageRef, bool, error) {
	if n.api == nil {
		return responders.MessageRef{}, false, fmt.Errorf("slack %s: a webhook cannot be read back: %w", n.cfg.Name, errors.ErrUnsupported)
	}
	return n.findIn(ctx, n.cfg.Channel, metadataAlert, "alert_id", alertID, since)
}

func (n *Notifier) findIn(ctx context.Context, channel, event, key, value string, since time.Time) (responders.MessageRef, bool, error) {
	self, err := n.whoami(ctx)
	if err != nil {
		return responders.MessageRef{}, false, unreadable(err)
	}
	var found responders.MessageRef
	params := &slackapi.GetConversationHistoryParameters{
		ChannelID: channel, Oldest: stamp(since.Add(-historySlack)), Inclusive: true, Limit: pageSize, IncludeAllMetadata: true,
	}
	for range maxPages {
		var page *slackapi.GetConversationHistoryResponse
		err := n.call(ctx, "conversations.history", n.reads, func(ctx context.Context) (err error) {
			page, err = n.api.GetConversationHistoryContext(ctx, params)
			if err == nil && !page.Ok {
				err = errNoSense
			}
			return err
		})
		if err != nil {
			return responders.MessageRef{}, false, unreadable(err)
		}
		for _, m := range page.Messages { // newest first: the last hit is the oldest
			if m.BotID == self && m.Metadata.EventType == event && payload(m.Metadata, key) == value {
				found = responders.MessageRef{Channel: channel, ID: m.Timestamp}
			}
		}
		params.Cursor = page.ResponseMetaData.NextCursor
		if params.Cursor == "" {
			break
		}
	}
	if found.ID == "" {
		return responders.MessageRef{}, false, nil
	}
	n.stats.found.Add(1)
	return found, true, nil
}

// unreadable: a read that fails for good will not tell us later either.
func unreadable(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Final() {
		return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return err
}

// whoami is our bot id: metadata alone could come from any app in the channel.
func (n *Notifier) whoami(ctx context.Context) (string, error) {
	if id := n.self.Load(); id != nil {
		return *id, nil
	}
	var id string
	err := n.call(ctx, "auth.test", n.reads, func(ctx context.Context) error {
		who, err := n.api.AuthTestContext(ctx)
		if err == nil && who.BotID == "" {
			err = errNoSense
		}
		if err == nil {
			id = who.BotID
		}
		return err
	})
	if err != nil {
		return "", err
	}
	n.self.Store(&id)
	return id, nil
}

func payload(m slackapi.SlackMetadata, key string) string {
	s, _ := m.EventPayload[key].(string)
	return s
}

// stamp is a time as Slack writes it.
func stamp(t time.Time) string {
	if t.Unix() < 0 {
		return "0"
	}
	return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000)
}

// threads remembers the threads of recent messages. What it forgets is read
// back from Slack when needed.
type threads struct {
	mu    sync.Mutex
	byRef map[responders.MessageRef]*thread
	order []responders.MessageRef // oldest first
}

// maxThreads bounds the memory: some 300 bytes each, plus 40 per reply.
const maxThreads = 2000

func (ts *threads) get(ref responders.MessageRef) *thread {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.byRef[ref]; t != nil {
		return t
	}
	if ts.byRef == nil {
		ts.byRef = map[responders.MessageRef]*thread{}
	}
	if len(ts.order) >= maxThreads {
		delete(ts.byRef, ts.order[0])
		ts.order = ts.order[1:]
	}
	t := &thread{}
	ts.byRef[ref] = t
	ts.order = append(ts.order, ref)
	return t
}

// fresh is the thread of a message that was just sent: known to be empty.
func (ts *threads) fresh(ref responders.MessageRef) *thread {
	t := ts.get(ref)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.seen = true, map[string]bool{}
	return t
}
