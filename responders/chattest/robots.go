package chattest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RobotPath is where the webhooks of other platforms are: /robot/dingtalk,
// /robot/feishu, /robot/wecom, each with the platform's own query parameters,
// /robot/pagerduty (Events API v2) and /robot/webhook, which takes anything.
const RobotPath = "/robot/"

// RobotMessage is one message that a robot took.
type RobotMessage struct {
	Type string          `json:"type"` // msgtype or msg_type
	Body json.RawMessage `json:"body"`
	// Header is the request's, without what every request has.
	Header http.Header `json:"-"`
}

// RobotMessages returns what the robot of a platform took, oldest first.
func (s *Server) RobotMessages(platform string) []RobotMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.robots[platform])
}

// robotHandlers are called with s.mu held.
var robotHandlers = map[string]func(*Server, *request) reply{
	"dingtalk":  (*Server).dingtalk,
	"feishu":    (*Server).feishu,
	"wecom":     (*Server).wecom,
	"pagerduty": (*Server).pagerduty,
	"webhook":   (*Server).collector,
}

// Limits of the robots as their documentation gives them.
const (
	dingtalkPerMinute = 20 // beyond: silent for ten minutes
	dingtalkSilence   = 10 * time.Minute
	feishuPerMinute   = 100
	feishuBody        = 30 << 10
	wecomPerMinute    = 20
	wecomText         = 2048 // bytes, of markdown too (the strictest reading)
	signatureAge      = time.Hour
)

// robotReply answers in the platform's shape; code 0 is success.
func robotReply(codeKey, textKey string, code int, text string, e Entry) reply {
	if code != 0 {
		e.Error = strconv.Itoa(code) + " " + text
	}
	return reply{body: map[string]any{codeKey: code, textKey: text}, entry: e}
}

func sign(key, message string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(message))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

func (s *Server) fresh(stamp time.Time) bool {
	age := s.opt.Clock().Sub(stamp)
	return age < signatureAge && age > -signatureAge
}

// dingtalk: the signature is in the query, made with the secret as key over
// "<milliseconds>\n<secret>".
func (s *Server) dingtalk(q *request) reply {
	var msg struct {
		Msgtype  string
		Text     struct{ Content string }
		Markdown struct{ Title, Text string }
	}
	_ = json.Unmarshal(q.raw, &msg)
	e := Entry{Text: firstLine(msg.Text.Content + msg.Markdown.Title)}
	answer := func(code int, text string) reply { return robotReply("errcode", "errmsg", code, text, e) }
	if secret := s.opt.RobotSecrets["dingtalk"]; secret != "" {
		stamp := q.query.Get("timestamp")
		ms, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || !s.fresh(time.UnixMilli(ms)) || !hmac.Equal([]byte(q.query.Get("sign")), []byte(sign(secret, stamp+"\n"+secret))) {
			return answer(310000, "sign not match")
		}
	}
	if q.query.Get("access_token") == "" {
		return answer(300005, "token is not exist")
	}
	if b := s.buckets["dingtalk/silence"]; b != nil && s.opt.Clock().Sub(b.last) < dingtalkSilence {
		return answer(130101, "send too fast, exceed 20 times per minute")
	}
	if _, ok := s.take("dingtalk", dingtalkPerMinute/60., dingtalkPerMinute); !ok {
		s.buckets["dingtalk/silence"] = &bucket{last: s.opt.Clock()}
		return answer(130101, "send too fast, exceed 20 times per minute")
	}
	switch {
	case msg.Msgtype == "":
		return answer(40035, "缺少参数 json")
	case msg.Msgtype == "markdown" && (msg.Markdown.Title == "" || msg.Markdown.Text == ""):
		return answer(43004, "markdown without title or text")
	case s.opt.RobotKeyword != "" && !strings.Contains(msg.Text.Content+msg.Markdown.Title+msg.Markdown.Text, s.opt.RobotKeyword):
		return answer(310000, "keywords not in content")
	}
	s.robots["dingtalk"] = append(s.robots["dingtalk"], RobotMessage{Type: msg.Msgtype, Body: q.raw})
	return answer(0, "ok")
}

// feishu: the signature is in the body, made with "<seconds>\n<secret>" as key
// over nothing.
func (s *Server) feishu(q *request) reply {
	var msg struct {
		Timestamp, Sign string
		MsgType         string `json:"msg_type"`
		Content         struct{ Text string }
	}
	_ = json.Unmarshal(q.raw, &msg)
	e := Entry{Text: firstLine(msg.Content.Text)}
	answer := func(code int, text string) reply { return robotReply("code", "msg", code, text, e) }
	if secret := s.opt.RobotSecrets["feishu"]; secret != "" {
		sec, err := strconv.ParseInt(msg.Timestamp, 10, 64)
		if err != nil || !s.fresh(time.Unix(sec, 0)) || !hmac.Equal([]byte(msg.Sign), []byte(sign(msg.Timestamp+"\n"+secret, ""))) {
			return answer(19021, "sign match fail or timestamp is not within one hour from current time")
		}
	}
	if _, ok := s.take("feishu", feishuPerMinute/60., 5); !ok {
		return answer(11232, "frequency limited psm")
	}
	switch {
	case msg.MsgType == "" || len(q.raw) > feishuBody:
		return answer(9499, "Bad Request")
	case msg.MsgType == "interactive" && !cardFits(q.raw):
		return answer(9499, "Bad Request: the card is not one")
	case s.opt.RobotKeyword != "" && !strings.Contains(string(q.raw), s.opt.RobotKeyword):
		return answer(19024, "Key Words Not Found")
	}
	s.robots["feishu"] = append(s.robots["feishu"], RobotMessage{Type: msg.MsgType, Body: q.raw})
	return answer(0, "success")
}

// wecom: no signature; the key in the query is the secret.
func (s *Server) wecom(q *request) reply {
	var msg struct {
		Msgtype  string
		Text     struct{ Content string }
		Markdown struct{ Content string }
	}
	_ = json.Unmarshal(q.raw, &msg)
	e := Entry{Text: firstLine(msg.Text.Content + msg.Markdown.Content)}
	answer := func(code int, text string) reply { return robotReply("errcode", "errmsg", code, text, e) }
	if q.query.Get("key") == "" {
		return answer(93000, "invalid webhook url")
	}
	if _, ok := s.take("wecom", wecomPerMinute/60., wecomPerMinute); !ok {
		return answer(45009, "api freq out of limit")
	}
	switch {
	case msg.Msgtype == "":
		return answer(40008, "invalid message type")
	case msg.Text.Content == "" && msg.Markdown.Content == "":
		return answer(44004, "empty content")
	case len(msg.Text.Content) > wecomText || len(msg.Markdown.Content) > wecomText:
		return answer(40058, "text exceed max length 2048")
	}
	s.robots["wecom"] = append(s.robots["wecom"], RobotMessage{Type: msg.Msgtype, Body: q.raw})
	return answer(0, "ok")
}

// cardFits says whether a Feishu card has a title and only elements that
// exist, none of them empty.
func cardFits(raw []byte) bool {
	type text struct{ Tag, Content string }
	var m struct {
		Card struct {
			Header   struct{ Title text }
			Elements []struct {
				Tag      string
				Text     *text
				Fields   []struct{ Text text }
				Elements []text
				Actions  []struct {
					Tag, URL string
					Text     text
				}
			}
		}
	}
	if json.Unmarshal(raw, &m) != nil || m.Card.Header.Title.Content == "" || len(m.Card.Elements) == 0 {
		return false
	}
	ok := func(t text) bool { return (t.Tag == "plain_text" || t.Tag == "lark_md") && t.Content != "" }
	for _, e := range m.Card.Elements {
		switch e.Tag {
		case "div":
			if e.Text == nil && len(e.Fields) == 0 || e.Text != nil && !ok(*e.Text) {
				return false
			}
			for _, f := range e.Fields {
				if !ok(f.Text) {
					return false
				}
			}
		case "note":
			if len(e.Elements) == 0 || !ok(e.Elements[0]) {
				return false
			}
		case "action":
			for _, a := range e.Actions {
				if a.Tag != "button" || !ok(a.Text) {
					return false
				}
			}
		case "hr":
		default:
			return false
		}
	}
	return true
}

// PagerDuty's limits.
const (
	pagerdutySummary = 1024
	pagerdutyKey     = 255
	pagerdutyBody    = 512 << 10
)

// pagerduty: 202 for an event, 400 with what is wrong, 429 beyond the rate.
// Events of one key are one message, whose body is the newest.
func (s *Server) pagerduty(q *request) reply {
	var e struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		DedupKey    string `json:"dedup_key"`
		Payload     *struct{ Summary, Source, Severity string }
	}
	bad := func(why string) reply {
		return reply{status: http.StatusBadRequest, body: map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string{why}}, entry: Entry{Error: why}}
	}
	switch {
	case json.Unmarshal(q.raw, &e) != nil || len(q.raw) > pagerdutyBody:
		return bad("not an event, or too large")
	case len(e.RoutingKey) != 32:
		return bad("'routing_key' is invalid")
	case e.EventAction != "trigger" && e.EventAction != "acknowledge" && e.EventAction != "resolve":
		return bad("'event_action' is invalid")
	case len(e.DedupKey) > pagerdutyKey || e.DedupKey == "":
		return bad("'dedup_key' is too long, or missing")
	case e.EventAction == "trigger" && (e.Payload == nil || e.Payload.Summary == "" || e.Payload.Source == "" || units(e.Payload.Summary) > pagerdutySummary):
		return bad("'payload' needs a source, and a summary of at most 1024 characters")
	case e.EventAction == "trigger" && !slices.Contains([]string{"critical", "error", "warning", "info"}, e.Payload.Severity):
		return bad("'payload.severity' is invalid")
	}
	if wait, ok := s.take("pagerduty", 2, 120); !ok {
		return tooMany(wait)
	}
	m := RobotMessage{Type: e.DedupKey, Body: q.raw}
	if i := slices.IndexFunc(s.robots["pagerduty"], func(m RobotMessage) bool { return m.Type == e.DedupKey }); i >= 0 {
		s.robots["pagerduty"][i] = m
	} else {
		s.robots["pagerduty"] = append(s.robots["pagerduty"], m)
	}
	text := ""
	if e.Payload != nil {
		text = firstLine(e.Payload.Summary)
	}
	return reply{status: http.StatusAccepted, body: map[string]any{"status": "success", "message": "Event processed", "dedup_key": e.DedupKey}, entry: Entry{TS: e.DedupKey, Text: text}}
}

// collector takes what comes.
func (s *Server) collector(q *request) reply {
	s.robots["webhook"] = append(s.robots["webhook"], RobotMessage{Type: "json", Body: q.raw, Header: q.header})
	return reply{body: map[string]any{"ok": true}}
}
