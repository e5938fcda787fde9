package chattest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// methods are called with s.mu held.
var methods map[string]func(*Server, *request) reply

func init() {
	methods = map[string]func(*Server, *request) reply{
		"auth.test":             (*Server).authTest,
		"chat.postMessage":      (*Server).postMessage,
		"chat.update":           (*Server).update,
		"chat.postEphemeral":    (*Server).postEphemeral,
		"chat.getPermalink":     (*Server).getPermalink,
		"conversations.open":    (*Server).openDirect,
		"conversations.history": (*Server).history,
		"conversations.replies": (*Server).replies,
		"apps.connections.open": (*Server).openConnection,
		"views.open":            (*Server).openView,
	}
}

// auth checks the bot token.
func (s *Server) auth(q *request) (reply, bool) {
	switch q.token {
	case "":
		return refuse("not_authed"), false
	case s.opt.BotToken:
		return reply{}, true
	case s.opt.AppToken:
		return refuse("not_allowed_token_type"), false
	}
	return refuse("invalid_auth"), false
}

// channel finds by id or name.
func (s *Server) channel(name string) *channel {
	if c := s.channels[name]; c != nil {
		return c
	}
	return s.channels[s.names[name]]
}

// stamp returns the next unique message stamp, seconds.microseconds.
func (s *Server) stamp() string {
	sec := s.opt.Clock().Unix()
	switch {
	case sec > s.lastSec:
		s.lastSec, s.lastMicro = sec, 100
	case s.lastMicro < 999_999:
		s.lastMicro++
	default:
		s.lastSec, s.lastMicro = s.lastSec+1, 0
	}
	return fmt.Sprintf("%d.%06d", s.lastSec, s.lastMicro)
}

func ok(fields map[string]any, e Entry) reply {
	fields["ok"] = true
	return reply{body: fields, entry: e}
}

func (s *Server) authTest(q *request) reply {
	if r, ok := s.auth(q); !ok {
		return r
	}
	r := ok(map[string]any{
		"url": "https://example.slack.com/", "team": "Example", "user": "trailwarden",
		"team_id": teamID, "user_id": botUser, "bot_id": botID,
	}, Entry{})
	r.header = http.Header{"X-Oauth-Scopes": {strings.Join(s.opt.Scopes, ",")}}
	return r
}

// scopes of the bot token, one of which a method needs.
var scopes = map[string][]string{
	"chat.postMessage": {"chat:write"}, "chat.update": {"chat:write"}, "chat.postEphemeral": {"chat:write"},
	"conversations.open":    {"im:write"},
	"conversations.history": {"channels:history", "groups:history", "im:history"}, "conversations.replies": {"channels:history", "groups:history", "im:history"},
}

// scoped refuses what the bot token's scopes do not allow.
func (s *Server) scoped(method string, do func(*Server, *request) reply) func(*Server, *request) reply {
	need := scopes[method]
	if need == nil || slices.ContainsFunc(need, func(n string) bool { return slices.Contains(s.opt.Scopes, n) }) {
		return do
	}
	return func(s *Server, q *request) reply {
		if r, ok := s.auth(q); !ok {
			return r
		}
		return reply{body: map[string]any{"ok": false, "error": "missing_scope", "needed": need[0], "provided": strings.Join(s.opt.Scopes, ",")},
			entry: Entry{Error: "missing_scope"}}
	}
}

// content reads and checks what a message says.
func (q *request) content() (Content, *reply) {
	c := Content{Text: q.get("text")}
	if v := q.get("blocks"); v != "" {
		c.Blocks = json.RawMessage(v)
	}
	if v := q.get("attachments"); v != "" {
		c.Attachments = json.RawMessage(v)
	}
	if err := Check(c.Text, c.Blocks, c.Attachments); err != nil {
		var le *LimitError
		errors.As(err, &le)
		r := refuse(le.Code, le.Messages...)
		return c, &r
	}
	if v := q.get("metadata"); v != "" {
		c.Metadata = new(Metadata)
		if err := json.Unmarshal([]byte(v), c.Metadata); err != nil || c.Metadata.EventType == "" || c.Metadata.EventPayload == nil {
			r := refuse("invalid_metadata_format")
			return c, &r
		}
	}
	if rs := []rune(c.Text); len(rs) > MaxText {
		c.Text = string(rs[:MaxText])
	}
	return c, nil
}

var contentFields = []string{"token", "channel", "text", "blocks", "attachments", "metadata", "ts", "thread_ts"}

func (q *request) settings() map[string]string {
	out := map[string]string{}
	for k := range q.values {
		if !slices.Contains(contentFields, k) {
			out[k] = q.get(k)
		}
	}
	return out
}

func (s *Server) target(q *request) (*channel, *reply) {
	c := s.channel(q.get("channel"))
	var r reply
	switch {
	case c == nil:
		r = refuse("channel_not_found")
	case c.left:
		r = refuse("not_in_channel")
	case c.archived:
		r = refuse("is_archived")
	default:
		return c, nil
	}
	return nil, &r
}

func (s *Server) postMessage(q *request) reply {
	e := Entry{Channel: q.get("channel"), Text: firstLine(q.get("text"))}
	with := func(r reply) reply { r.entry.Channel, r.entry.Text = e.Channel, e.Text; return r }
	if r, ok := s.auth(q); !ok {
		return with(r)
	}
	c, bad := s.target(q)
	if bad != nil {
		return with(*bad)
	}
	if wait, ok := s.take("post/"+c.id, s.opt.Rate, s.opt.Burst); !ok {
		return with(tooMany(wait))
	}
	content, bad := q.content()
	if bad != nil {
		return with(*bad)
	}
	m := &Message{Channel: c.id, TS: s.stamp(), Content: content, Settings: q.settings()}
	if parent := c.find(q.get("thread_ts")); parent != nil {
		m.ThreadTS = parent.TS // a reply to a deleted parent lands in the channel, as Slack does
		if parent.ThreadTS != "" {
			m.ThreadTS = parent.ThreadTS
		}
	}
	c.messages = append(c.messages, m)
	e.TS = m.TS
	return ok(map[string]any{"channel": c.id, "ts": m.TS, "message": c.wire(m, true)}, e)
}

func (s *Server) update(q *request) reply {
	e := Entry{Channel: q.get("channel"), TS: q.get("ts"), Text: firstLine(q.get("text"))}
	with := func(r reply) reply { r.entry.Channel, r.entry.TS, r.entry.Text = e.Channel, e.TS, e.Text; return r }
	if r, ok := s.auth(q); !ok {
		return with(r)
	}
	if r, ok := s.tier("chat.update", tier3); !ok {
		return with(r)
	}
	c := s.channels[q.get("channel")] // an id, never a name
	if c == nil {
		return with(refuse("channel_not_found"))
	}
	m := c.find(q.get("ts"))
	switch {
	case m == nil:
		return with(refuse("message_not_found"))
	case m.Webhook || m.Settings["foreign"] != "":
		return with(refuse("cant_update_message"))
	case c.archived:
		return with(refuse("is_archived"))
	}
	content, bad := q.content()
	if bad != nil {
		return with(*bad)
	}
	if content.Metadata == nil {
		content.Metadata = m.Metadata
	}
	m.Edits = append(m.Edits, m.Content)
	m.Content = content
	return ok(map[string]any{"channel": c.id, "ts": m.TS, "text": m.Text, "message": c.wire(m, true)}, e)
}

func (s *Server) postEphemeral(q *request) reply {
	e := Entry{Channel: q.get("channel"), Text: firstLine(q.get("text"))}
	if r, ok := s.auth(q); !ok {
		return r
	}
	if r, ok := s.tier("chat.postEphemeral", tier4); !ok {
		return r
	}
	c, bad := s.target(q)
	switch {
	case bad != nil:
		return *bad
	case q.get("user") == "":
		return refuse("user_not_in_channel")
	}
	content, bad := q.content()
	if bad != nil {
		return *bad
	}
	s.ephemeral = append(s.ephemeral, Ephemeral{Channel: c.id, User: q.get("user"), ThreadTS: q.get("thread_ts"), Text: content.Text})
	return ok(map[string]any{"message_ts": s.stamp()}, e)
}

// openDirect is conversations.open for one user: the same channel each time.
func (s *Server) openDirect(q *request) reply {
	if r, ok := s.auth(q); !ok {
		return r
	}
	if r, ok := s.tier("conversations.open", tier3); !ok {
		return r
	}
	user := q.get("users")
	if s.opt.Users != nil && !slices.Contains(s.opt.Users, user) || len(user) < 2 || user[0] != 'U' && user[0] != 'W' || strings.Contains(user, ",") {
		return refuse("user_not_found")
	}
	id := "D" + user[1:]
	if s.channels[id] == nil {
		s.channels[id] = &channel{id: id, name: "dm-" + strings.ToLower(user)}
	}
	return ok(map[string]any{"channel": map[string]any{"id": id}}, Entry{Channel: id})
}

func (s *Server) getPermalink(q *request) reply {
	if r, ok := s.auth(q); !ok {
		return r
	}
	c := s.channels[q.get("channel")]
	if c == nil {
		return refuse("channel_not_found")
	}
	m := c.find(q.get("message_ts"))
	if m == nil {
		return refuse("message_not_found")
	}
	return ok(map[string]any{
		"channel":   c.id,
		"permalink": "https://example.slack.com/archives/" + c.id + "/p" + strings.ReplaceAll(m.TS, ".", ""),
	}, Entry{Channel: c.id, TS: m.TS})
}

// page cuts list (already in answer order) by oldest, latest, cursor and limit.
func (q *request) page(list []*Message) (out []*Message, next string, err error) {
	limit, _ := strconv.Atoi(q.get("limit"))
	if limit <= 0 || limit > 999 {
		limit = 100
	}
	inclusive := q.flag("inclusive")
	in := func(ts string) bool {
		if o := q.get("oldest"); o != "" && (stampLess(ts, o) || !inclusive && !stampLess(o, ts)) {
			return false
		}
		if l := q.get("latest"); l != "" && (stampLess(l, ts) || !inclusive && !stampLess(ts, l)) {
			return false
		}
		return true
	}
	list = slices.DeleteFunc(slices.Clone(list), func(m *Message) bool { return !in(m.TS) })
	if cur := q.get("cursor"); cur != "" {
		raw, err := base64.StdEncoding.DecodeString(cur)
		at := slices.IndexFunc(list, func(m *Message) bool { return "ts:"+m.TS == string(raw) })
		if err != nil || at < 0 {
			return nil, "", errors.New("invalid_cursor")
		}
		list = list[at:]
	}
	if len(list) > limit {
		return list[:limit], base64.StdEncoding.EncodeToString([]byte("ts:" + list[limit].TS)), nil
	}
	return list, "", nil
}

// stampLess compares stamps as numbers; "1700000000" is "1700000000.000000".
func stampLess(a, b string) bool {
	split := func(s string) (int64, int64) {
		sec, frac, _ := strings.Cut(s, ".")
		x, _ := strconv.ParseInt(sec, 10, 64)
		y, _ := strconv.ParseInt((frac + "000000")[:6], 10, 64)
		return x, y
	}
	as, af := split(a)
	bs, bf := split(b)
	return as < bs || as == bs && af < bf
}

func (s *Server) history(q *request) reply {
	return s.list(q, "conversations.history", func(c *channel) ([]*Message, string) {
		var tops []*Message
		for _, m := range slices.Backward(c.messages) {
			if m.ThreadTS == "" {
				tops = append(tops, m)
			}
		}
		return tops, ""
	})
}

func (s *Server) replies(q *request) reply {
	return s.list(q, "conversations.replies", func(c *channel) ([]*Message, string) {
		parent := c.find(q.get("ts"))
		if parent == nil {
			return nil, "thread_not_found"
		}
		thread := []*Message{parent}
		for _, m := range c.messages {
			if m.ThreadTS == parent.TS {
				thread = append(thread, m)
			}
		}
		return thread, ""
	})
}

func (s *Server) list(q *request, method string, pick func(*channel) ([]*Message, string)) reply {
	if r, ok := s.auth(q); !ok {
		return r
	}
	if r, ok := s.tier(method, tier3); !ok {
		return r
	}
	c := s.channels[q.get("channel")] // an id, never a name
	switch {
	case c == nil:
		return refuse("channel_not_found")
	case c.left:
		return refuse("not_in_channel")
	}
	if need := map[byte]string{'D': "im:history", 'G': "groups:history"}[c.id[0]]; need != "" && !slices.Contains(s.opt.Scopes, need) {
		return reply{body: map[string]any{"ok": false, "error": "missing_scope", "needed": need, "provided": strings.Join(s.opt.Scopes, ",")},
			entry: Entry{Error: "missing_scope"}}
	}
	all, code := pick(c)
	if code != "" {
		return refuse(code)
	}
	page, next, err := q.page(all)
	if err != nil {
		return refuse(err.Error())
	}
	list := make([]any, 0, len(page))
	for _, m := range page {
		list = append(list, c.wire(m, q.flag("include_all_metadata")))
	}
	return ok(map[string]any{
		"messages": list, "has_more": next != "",
		"response_metadata": map[string]any{"next_cursor": next},
	}, Entry{Channel: c.id})
}

// wire is a message as the API shows it.
func (c *channel) wire(m *Message, metadata bool) map[string]any {
	out := map[string]any{"type": "message", "user": botUser, "bot_id": botID, "app_id": appID, "team": teamID, "text": m.Text, "ts": m.TS}
	if m.Settings["foreign"] != "" {
		out["user"], out["bot_id"], out["app_id"] = "U0EXAMPLE99", "B0EXAMPLE99", "A0EXAMPLE99"
	}
	if m.Webhook {
		out["subtype"], out["bot_id"] = "bot_message", "B0EXAMPLE02"
	}
	if m.ThreadTS != "" {
		out["thread_ts"], out["parent_user_id"] = m.ThreadTS, botUser
	}
	replies := 0
	for _, r := range c.messages {
		if r.ThreadTS == m.TS {
			replies++
		}
	}
	if replies > 0 {
		out["thread_ts"], out["reply_count"] = m.TS, replies
	}
	if len(m.Blocks) > 0 {
		out["blocks"] = m.Blocks
	}
	if len(m.Attachments) > 0 {
		out["attachments"] = m.Attachments
	}
	if len(m.Edits) > 0 {
		out["edited"] = map[string]any{"user": botUser, "ts": m.TS}
	}
	if metadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	return out
}

// firstChannel is the first configured channel by id.
func (s *Server) firstChannel() string {
	return slices.Min(append(slices.Collect(maps.Keys(s.opt.Channels)), "\U0010ffff"))
}

// webhook takes an incoming-webhook message for the first channel by id.
func (s *Server) webhook(q *request) reply {
	text := func(status int, body string) reply {
		r := reply{status: status, body: body}
		if status != http.StatusOK {
			r.entry.Error = body
		}
		return r
	}
	c := s.channels[s.firstChannel()]
	if c == nil || c.archived {
		return text(http.StatusGone, "channel_is_archived")
	}
	var msg struct {
		Text        string
		Blocks      json.RawMessage
		Attachments json.RawMessage
	}
	if err := json.Unmarshal(q.raw, &msg); err != nil {
		return text(http.StatusBadRequest, "invalid_payload")
	}
	if wait, ok := s.take("webhook", s.opt.Rate, s.opt.Burst); !ok {
		r := tooMany(wait)
		r.entry.Channel, r.entry.Text = c.id, firstLine(msg.Text)
		return r
	}
	if err := Check(msg.Text, msg.Blocks, msg.Attachments); err != nil {
		var le *LimitError
		errors.As(err, &le)
		return text(http.StatusBadRequest, le.Code)
	}
	m := &Message{Channel: c.id, TS: s.stamp(), Webhook: true, Content: Content{Text: msg.Text, Blocks: msg.Blocks, Attachments: msg.Attachments}}
	c.messages = append(c.messages, m)
	r := text(http.StatusOK, "ok")
	r.entry = Entry{Channel: c.id, TS: m.TS, Text: firstLine(msg.Text)}
	return r
}

func (s *Server) openView(q *request) reply {
	if r, ok := s.auth(q); !ok {
		return r
	}
	var trigger string
	_ = json.Unmarshal(q.json["trigger_id"], &trigger)
	view := q.json["view"]
	switch {
	case trigger == "" || len(view) == 0:
		return refuse("invalid_arguments")
	case !s.triggers[trigger]:
		return refuse("invalid_trigger_id")
	}
	delete(s.triggers, trigger) // one use
	s.views = append(s.views, view)
	return ok(map[string]any{"view": map[string]any{"id": fmt.Sprintf("V0EXAMPLE%02d", len(s.views)), "type": "modal"}}, Entry{})
}
