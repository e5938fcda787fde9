package chattest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Content is what a message says at one time.
type Content struct {
	Text        string          `json:"text"`
	Blocks      json.RawMessage `json:"blocks,omitempty"`
	Attachments json.RawMessage `json:"attachments,omitempty"`
	Metadata    *Metadata       `json:"metadata,omitempty"`
}

// Metadata is a message's metadata.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// Message is one accepted message in its present state.
type Message struct {
	Channel  string `json:"channel"`
	TS       string `json:"ts"`
	ThreadTS string `json:"thread_ts,omitempty"`
	Webhook  bool   `json:"webhook,omitempty"`
	Content
	// Edits holds the earlier contents, oldest first.
	Edits []Content `json:"edits,omitempty"`
	// Replies is the thread, oldest first.
	Replies []Message `json:"replies,omitempty"`
	// Settings are the other form fields it was sent with (unfurl_links,
	// parse, mrkdwn, …).
	Settings map[string]string `json:"settings,omitempty"`
}

// Ephemeral is a message that one person saw.
type Ephemeral struct {
	Channel, User, ThreadTS, Text string
}

// Button is a button of a message.
type Button struct {
	ActionID, BlockID, Value, Text, Style string
	Confirm                               bool
	// Menu is the type of a menu ("static_select", "users_select",
	// "overflow"); empty for a button. Options are its values.
	Menu         string
	Options      []string
	inAttachment bool
}

type channel struct {
	id, name string
	messages []*Message // oldest first, replies included
	archived bool
	left     bool
}

func (c *channel) find(ts string) *Message {
	for _, m := range c.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// Messages returns the top-level messages of a channel (id or name), oldest
// first, with their threads. The webhook posts to the first channel by id.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(channel)
	if c == nil {
		return nil
	}
	var out []Message
	for _, m := range c.messages {
		if m.ThreadTS != "" {
			continue
		}
		top := m.copy()
		for _, r := range c.messages {
			if r.ThreadTS == m.TS {
				top.Replies = append(top.Replies, r.copy())
			}
		}
		out = append(out, top)
	}
	return out
}

func (m *Message) copy() Message {
	out := *m
	out.Edits = slices.Clone(m.Edits)
	return out
}

// Ephemerals returns what single persons were shown, oldest first.
func (s *Server) Ephemerals() []Ephemeral {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ephemeral)
}

// Views returns the views opened by views.open, oldest first.
func (s *Server) Views() []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.views)
}

// Remove deletes a message, as a person with the right to does.
func (s *Server) Remove(channel, ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channel(channel); c != nil {
		c.messages = slices.DeleteFunc(c.messages, func(m *Message) bool { return m.TS == ts })
	}
}

// Archive archives a channel; Leave takes the bot out of it.
func (s *Server) Archive(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channel(channel); c != nil {
		c.archived = true
	}
}

// Leave takes the bot out of a channel.
func (s *Server) Leave(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channel(channel); c != nil {
		c.left = true
	}
}

// Inject puts a message of another app into a channel and returns its ts.
func (s *Server) Inject(channel string, c Content) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channel(channel)
	if ch == nil {
		return ""
	}
	m := &Message{Channel: ch.id, TS: s.stamp(), Content: c, Settings: map[string]string{"foreign": "true"}}
	ch.messages = append(ch.messages, m)
	return m.TS
}

// Buttons lists the buttons of a content, in order.
func (c Content) Buttons() []Button {
	var out []Button
	c.eachBlock(func(b block, attached bool) {
		for _, e := range b.Elements {
			if e.Type == "static_select" || e.Type == "users_select" || e.Type == "overflow" {
				m := Button{ActionID: e.ActionID, BlockID: b.BlockID, Menu: e.Type, inAttachment: attached}
				for _, o := range e.Options {
					m.Options = append(m.Options, o.Value)
				}
				out = append(out, m)
			}
			if e.Type == "button" {
				btn := Button{ActionID: e.ActionID, BlockID: b.BlockID, Value: e.Value, Style: e.Style, Confirm: e.Confirm != nil, inAttachment: attached}
				if e.Label != nil && e.Label.Text != nil {
					btn.Text = *e.Label.Text
				}
				out = append(out, btn)
			}
		}
	})
	return out
}

// Lines returns the texts of a content's blocks in order, as a reader sees
// them from top to bottom (markup included), buttons in brackets.
func (c Content) Lines() []string {
	var out []string
	c.eachText(func(t *textObject) { out = append(out, *t.Text) })
	for _, b := range c.Buttons() {
		out = append(out, "["+b.Text+"]")
	}
	return out
}

// Live returns what Slack would turn into links, mentions or dates: every
// <…> of mrkdwn text and of the fallback text, and anything in plain text
// that looks like one.
func (c Content) Live() []string {
	out := markup.FindAllString(c.Text, -1)
	c.eachText(func(t *textObject) { out = append(out, markup.FindAllString(*t.Text, -1)...) })
	return out
}

var markup = regexp.MustCompile(`<[^>]*>?|>`)

type block struct {
	Type     string
	BlockID  string `json:"block_id"`
	Text     json.RawMessage
	Fields   []textObject
	Elements []element
}

func (c Content) eachBlock(f func(b block, attached bool)) {
	var top []block
	_ = json.Unmarshal(c.Blocks, &top)
	for _, b := range top {
		f(b, false)
	}
	var as []struct{ Blocks []block }
	_ = json.Unmarshal(c.Attachments, &as)
	for _, a := range as {
		for _, b := range a.Blocks {
			f(b, true)
		}
	}
}

func (c Content) eachText(f func(*textObject)) {
	c.eachBlock(func(b block, _ bool) {
		var t textObject
		if json.Unmarshal(b.Text, &t) == nil && t.Text != nil {
			f(&t)
		}
		for i := range b.Fields {
			if b.Fields[i].Text != nil {
				f(&b.Fields[i])
			}
		}
		for i := range b.Elements {
			if e := &b.Elements[i]; e.Text != nil && strings.HasSuffix(b.Type, "context") {
				f(&e.textObject)
			}
		}
	})
}
