package chattest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// RobotPath is where the robots' webhooks are: /robot/dingtalk, /robot/feishu,
// /robot/wecom, each with the platform's own query parameters.
const RobotPath = "/robot/"

// RobotMessage is one message that a robot took.
type RobotMessage struct {
	Type string          `json:"type"` // msgtype or msg_type
	Body json.RawMessage `json:"body"`
}

// RobotMessages returns what the robot of a platform took, oldest first.
func (s *Server) RobotMessages(platform string) []RobotMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.robots[platform])
}

// robotHandlers are called with s.mu held.
var robotHandlers = map[string]func(*Server, *request) reply{
	"dingtalk": (*Server).dingtalk,
	"feishu":   (*Server).feishu,
	"wecom":    (*Server).wecom,
}

// Limits of the robots as their documentation gives them.
const (
	dingtalkPerMinute = 20 // beyond: silent for ten minutes
	dingtalkSilence   = 10 * time.Minute
	feishuPerMinute   = 100
	feishuBody        = 30 << 10
	wecomPerMinute    = 20
	wecomText         = 2048 // bytes
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
	if msg.Msgtype == "" {
		return answer(40035, "缺少参数 json")
	}
	s.robots["dingtalk"] = append(s.robots["dingtalk"], RobotMessage{msg.Msgtype, q.raw})
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
	if msg.MsgType == "" || len(q.raw) > feishuBody {
		return answer(9499, "Bad Request")
	}
	s.robots["feishu"] = append(s.robots["feishu"], RobotMessage{msg.MsgType, q.raw})
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
	case len(msg.Text.Content) > wecomText:
		return answer(40058, "text exceed max length 2048")
	}
	s.robots["wecom"] = append(s.robots["wecom"], RobotMessage{msg.Msgtype, q.raw})
	return answer(0, "ok")
}
