// Package message is what every destination says about an incident, before it
// is written in one platform's markup: title, reason, six fields in fixed
// order, the actions, the small print, in English or Chinese and in the
// reader's time zone.
//
// Every text that comes out is one line (Reason and Thread: lines) of visible
// characters without markup, links or mentions, see package text; a renderer
// still has to escape what its own platform takes for markup. Nothing here
// reads a clock: the same notice gives the same message.
//
// What a rule may tell beyond the fields of the alert, as scalars of its
// details: event ("ram:CreateAccessKey") or else action, region, country, asn,
// as_org, key_age_days, and mfa ("yes", "no"). What is absent is a dash.
package message
