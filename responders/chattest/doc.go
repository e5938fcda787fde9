// Package chattest emulates chat platforms over their real wire protocols, for
// tests, demos and people without a workspace.
//
// The Slack side serves the Web API methods that trailwarden uses
// (auth.test, chat.postMessage, chat.update, chat.postEphemeral,
// chat.getPermalink, conversations.history, conversations.replies,
// apps.connections.open, views.open), the WebSocket of Socket Mode and an
// incoming webhook. It is meant to be stricter than the real thing: message
// limits, per-channel and per-method rates, tokens, unknown channels and
// unknown messages are refused with Slack's own error codes. What Slack counts
// as "characters" is not published; here it is UTF-16 units, the strictest
// reading.
//
// The robots of DingTalk, Feishu and WeCom (signed webhooks that only take
// messages), PagerDuty and a webhook that takes anything are served below
// /robot/ by the same Server. SMTP and Syslog are servers of their own.
//
// An app of Feishu's and one of DingTalk's are served below /feishu and /dingtalk:
// tokens, cards with their limits, and the connection over which presses come.
//
// Script makes a method fail in every way a network has: error codes, 429,
// 5xx, answers that hang, garbage, and answers dropped after the work was done.
// Everything accepted is kept with its edit history (Messages), everything
// received goes to Options.Journal.
//
// A Server is an http.Handler; URL starts a listener of its own on loopback.
// All methods may be called from several goroutines.
package chattest
