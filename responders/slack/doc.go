// Package slack shows alerts in a Slack channel and hears the clicks on them.
//
// Notifier keeps one message per incident: Post sends it, Update edits it,
// what grows (evidence, state changes) becomes replies in its thread, at most
// Config.ThreadCap of them and then one reply that counts the rest. Messages
// carry the alert id as metadata, so that Find recognises one whose answer was
// lost. When the bot token fails for good and a webhook is configured, the
// message goes there: it can then be neither found nor edited.
//
// Listener is Socket Mode: an outbound connection on which Slack delivers
// clicks, so that no inbound endpoint is needed. It acknowledges, removes
// duplicates and hands each click to a callback. It decides nothing: who may
// approve what is the callback's business.
//
// # What it promises
//
// Errors say what is known, see responders.Notifier: a request that did not
// leave or was refused with "later" is ErrRetry; one that left without a clear
// answer is ErrInDoubt; the rest is final. Nothing is retried inside, except
// that a message whose layout Slack refuses is sent once more as plain text.
// The rate is at most one message a second and channel with a short burst;
// instead of sleeping long, a call returns *responders.RetryAfterError.
//
// Everything shown passes package text; free text goes into plain_text
// objects, values into code spans, and link parsing and unfurling are off: text
// in an alert cannot mention, link or format. Messages are within Slack's
// limits whatever the input. Tokens and webhook addresses appear in no error,
// log line or message.
//
// # What a rule may tell
//
// Beyond the fields of the alert, these scalars of its details are shown:
// event ("ram:CreateAccessKey") or else action, region, country, asn, as_org,
// key_age_days, and mfa ("yes", "no"). What is absent is a dash.
//
// # Scopes
//
// Bot: chat:write and, for Find, channels:history (groups:history for a
// private channel); to ask people "was this you?", im:write, and im:history to
// recognise a question whose answer was lost. App-level token, for buttons only: connections:write.
package slack
