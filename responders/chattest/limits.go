package chattest

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Slack's limits as this emulator enforces them. Lengths are UTF-16 units.
const (
	MaxBlocks        = 50
	MaxBlockText     = 13_000 // all blocks together; unpublished, 13 172 was measured to fail
	MaxSection       = 3_000
	MaxFields        = 10
	MaxField         = 2_000
	MaxHeader        = 150
	MaxContext       = 10
	MaxActions       = 25
	MaxMarkdown      = 12_000
	MaxButtonText    = 75
	MaxButtonValue   = 2_000
	MaxButtonURL     = 3_000
	MaxID            = 255
	MaxConfirmTitle  = 100
	MaxConfirmText   = 300
	MaxConfirmButton = 30
	MaxText          = 40_000
	MaxAttachments   = 100
)

// LimitError is a message that Slack would refuse.
type LimitError struct {
	Code     string   // "invalid_blocks", "msg_blocks_too_long", "no_text", …
	Messages []string // what and where
}

func (e *LimitError) Error() string { return e.Code + ": " + strings.Join(e.Messages, "; ") }

// Check says whether Slack would take a message of this text, blocks and
// attachments (JSON arrays as sent, empty when absent). The error is a *LimitError.
func Check(text string, blocks, attachments []byte) error {
	var c checker
	c.blocks("", blocks)
	if len(attachments) > 0 {
		var as []struct {
			Text, Fallback string
			Color          string
			Blocks         json.RawMessage
		}
		if err := json.Unmarshal(attachments, &as); err != nil {
			return &LimitError{"invalid_attachments", []string{err.Error()}}
		}
		if len(as) > MaxAttachments {
			return &LimitError{"too_many_attachments", []string{fmt.Sprint(len(as))}}
		}
		for i, a := range as {
			c.blocks(fmt.Sprintf("/attachments/%d", i), a.Blocks)
			if a.Text == "" && len(a.Blocks) == 0 && a.Fallback == "" {
				return &LimitError{"no_text", []string{fmt.Sprintf("attachment %d is empty", i)}}
			}
		}
	}
	switch {
	case len(c.bad) > 0:
		return &LimitError{"invalid_blocks", c.bad}
	case c.count > MaxBlocks:
		return &LimitError{"invalid_blocks", []string{fmt.Sprintf("%d blocks, at most %d", c.count, MaxBlocks)}}
	case c.total > MaxBlockText:
		return &LimitError{"msg_blocks_too_long", []string{fmt.Sprintf("%d characters in all blocks, at most %d", c.total, MaxBlockText)}}
	case text == "" && c.count == 0 && len(attachments) == 0:
		return &LimitError{"no_text", []string{"neither text nor blocks"}}
	}
	return nil
}

type checker struct {
	count, total int
	bad          []string
	ids          map[string]bool
}

// fail notes what Slack would refuse; not inlined (DESIGN D23).
//
//go:noinline
func (c *checker) fail(where, format string, args ...any) {
	c.bad = append(c.bad, fmt.Sprintf(format, args...)+" [json-pointer:"+where+"]")
}

type textObject struct {
	Type     string
	Text     *string
	Emoji    *bool
	Verbatim *bool
}

type option struct {
	Text  *textObject
	Value string
}

type element struct {
	textObject
	Value, URL, Style string
	ActionID          string `json:"action_id"`
	Label             *textObject
	Placeholder       *textObject
	Options           []option
	Confirm           *struct {
		Title, Text, Confirm, Deny *textObject
		Style                      string
	}
}

// button reads the text of a button, which is an object where a text object has a string.
func (e *element) UnmarshalJSON(b []byte) error {
	var raw struct {
		Type, Value, URL, Style string
		ActionID                string `json:"action_id"`
		Text                    json.RawMessage
		Emoji, Verbatim         *bool
		Placeholder             *textObject
		Options                 []option
		Confirm                 *struct {
			Title, Text, Confirm, Deny *textObject
			Style                      string
		}
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	e.Type, e.Value, e.URL, e.Style, e.ActionID, e.Confirm = raw.Type, raw.Value, raw.URL, raw.Style, raw.ActionID, raw.Confirm
	e.Emoji, e.Verbatim = raw.Emoji, raw.Verbatim
	e.Placeholder, e.Options = raw.Placeholder, raw.Options
	if len(raw.Text) > 0 && raw.Text[0] == '{' {
		e.Label = new(textObject)
		return json.Unmarshal(raw.Text, e.Label)
	}
	if len(raw.Text) > 0 {
		return json.Unmarshal(raw.Text, &e.Text)
	}
	return nil
}

func (c *checker) blocks(base string, data []byte) {
	if len(data) == 0 || string(data) == "null" {
		return
	}
	var list []struct {
		Type     string
		BlockID  string `json:"block_id"`
		Text     json.RawMessage
		Fields   []textObject
		Elements []element
	}
	if err := json.Unmarshal(data, &list); err != nil {
		c.fail(base+"/blocks", "not a list of blocks: %v", err)
		return
	}
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	for i, b := range list {
		at := fmt.Sprintf("%s/blocks/%d", base, i)
		c.count++
		if b.BlockID != "" {
			if units(b.BlockID) > MaxID {
				c.fail(at+"/block_id", "must be no more than %d characters", MaxID)
			}
			if c.ids[b.BlockID] {
				c.fail(at+"/block_id", "block_id already exists")
			}
			c.ids[b.BlockID] = true
		}
		text := func(limit int, types string) {
			var t textObject
			if err := json.Unmarshal(b.Text, &t); err != nil {
				c.fail(at+"/text", "missing or not a text object")
				return
			}
			c.text(at+"/text", &t, limit, types)
		}
		switch b.Type {
		case "header":
			text(MaxHeader, "plain_text")
		case "section":
			if len(b.Text) == 0 && len(b.Fields) == 0 {
				c.fail(at, "section needs text or fields")
			}
			if len(b.Text) > 0 {
				text(MaxSection, "plain_text mrkdwn")
			}
			if len(b.Fields) > MaxFields {
				c.fail(at+"/fields", "no more than %d items allowed", MaxFields)
			}
			for j := range b.Fields {
				c.text(fmt.Sprintf("%s/fields/%d", at, j), &b.Fields[j], MaxField, "plain_text mrkdwn")
			}
		case "context":
			if n := len(b.Elements); n == 0 || n > MaxContext {
				c.fail(at+"/elements", "%d items, want 1 to %d", n, MaxContext)
			}
			for j := range b.Elements {
				c.text(fmt.Sprintf("%s/elements/%d", at, j), &b.Elements[j].textObject, MaxSection, "plain_text mrkdwn")
			}
		case "actions":
			if n := len(b.Elements); n == 0 || n > MaxActions {
				c.fail(at+"/elements", "%d items, want 1 to %d", n, MaxActions)
			}
			seen := map[string]bool{}
			for j := range b.Elements {
				e, where := &b.Elements[j], fmt.Sprintf("%s/elements/%d", at, j)
				if e.ActionID != "" && seen[e.ActionID] {
					c.fail(where+"/action_id", "action_id already exists")
				}
				seen[e.ActionID] = true
				c.button(where, e)
			}
		case "markdown":
			var t string
			if json.Unmarshal(b.Text, &t) != nil || t == "" || units(t) > MaxMarkdown {
				c.fail(at+"/text", "want 1 to %d characters", MaxMarkdown)
			}
			c.total += units(t)
		case "divider":
		default:
			c.fail(at+"/type", "unsupported type: %s", b.Type)
		}
	}
}

func (c *checker) text(where string, t *textObject, limit int, types string) {
	switch {
	case t == nil || t.Text == nil || *t.Text == "":
		c.fail(where, "text must be more than 0 characters")
		return
	case t.Type == "" || !strings.Contains(types, t.Type):
		c.fail(where+"/type", "want %s, not %q", strings.ReplaceAll(types, " ", " or "), t.Type)
	case t.Type == "mrkdwn" && t.Emoji != nil:
		c.fail(where+"/emoji", "not allowed with mrkdwn")
	case t.Type == "plain_text" && t.Verbatim != nil && *t.Verbatim:
		c.fail(where+"/verbatim", "not allowed with plain_text")
	}
	n := units(*t.Text)
	c.total += n
	if n > limit {
		c.fail(where+"/text", "must be no more than %d characters, not %d", limit, n)
	}
}

func (c *checker) button(where string, e *element) {
	if e.Type == "static_select" || e.Type == "users_select" || e.Type == "overflow" {
		c.menu(where, e)
		return
	}
	if e.Type != "button" {
		c.fail(where+"/type", "unsupported type: %s", e.Type)
		return
	}
	c.text(where+"/text", e.Label, MaxButtonText, "plain_text")
	if units(e.ActionID) > MaxID {
		c.fail(where+"/action_id", "must be no more than %d characters", MaxID)
	}
	if units(e.Value) > MaxButtonValue {
		c.fail(where+"/value", "must be no more than %d characters", MaxButtonValue)
	}
	if units(e.URL) > MaxButtonURL {
		c.fail(where+"/url", "must be no more than %d characters", MaxButtonURL)
	}
	if e.Style != "" && e.Style != "primary" && e.Style != "danger" {
		c.fail(where+"/style", "want primary or danger")
	}
	if k := e.Confirm; k != nil {
		c.text(where+"/confirm/title", k.Title, MaxConfirmTitle, "plain_text")
		c.text(where+"/confirm/text", k.Text, MaxConfirmText, "plain_text mrkdwn")
		c.text(where+"/confirm/confirm", k.Confirm, MaxConfirmButton, "plain_text")
		c.text(where+"/confirm/deny", k.Deny, MaxConfirmButton, "plain_text")
	}
}

// Limits of menus.
const (
	MaxOptions     = 100
	MaxOverflow    = 5
	MaxOptionText  = 75
	MaxOptionValue = 150
	MaxPlaceholder = 150
)

func (c *checker) menu(where string, e *element) {
	if units(e.ActionID) > MaxID {
		c.fail(where+"/action_id", "must be no more than %d characters", MaxID)
	}
	if e.Type != "overflow" {
		c.text(where+"/placeholder", e.Placeholder, MaxPlaceholder, "plain_text")
	}
	most := MaxOptions
	if e.Type == "overflow" {
		most = MaxOverflow
	}
	if n := len(e.Options); e.Type != "users_select" && (n == 0 || n > most) {
		c.fail(where+"/options", "%d items, want 1 to %d", n, most)
	}
	for i, o := range e.Options {
		c.text(fmt.Sprintf("%s/options/%d/text", where, i), o.Text, MaxOptionText, "plain_text")
		if n := units(o.Value); n == 0 || n > MaxOptionValue {
			c.fail(fmt.Sprintf("%s/options/%d/value", where, i), "must be 1 to %d characters", MaxOptionValue)
		}
	}
}

func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}
