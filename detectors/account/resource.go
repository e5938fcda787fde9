package account

import (
	"slices"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// resourcePolicy judges the policy of a bucket, key, secret or log project.
// Where a record carries the document is not known for OSS, so the parameters
// it may stand in are all looked at.
func (c *call) resourcePolicy() {
	t := &c.ev.Target
	if t.Name == "" || len(t.Name) > maxName {
		return
	}
	what := window.Show(t.Type + " " + t.Name)
	key := t.Type + ":" + t.Name
	var old *rampolicy.Document
	seen := false
	if e := c.j.get(kindResource, c.account, key); e != nil {
		seen = e.complete
		old = c.parse(e.trust, "the policy before")
		if e.trust != (text{}) && old == nil {
			seen = false
		}
	}
	if c.ev.Action == event.ActOSSBucketPolicyDelete {
		switch {
		case !seen:
			c.unknown("the policy of " + what + " is gone; its text was never seen, so whether it held a Deny is not known")
		default:
			c.diff(old, nil, rampolicy.Options{Kind: rampolicy.Resource, Who: "somebody", WhoZH: "某身份"})
			c.facts.Sentence = "the policy of " + what + " is gone"
			if denyRemoved(old, nil) {
				c.facts.DenyRemoved, c.facts.Expands = true, true
				c.facts.Verdict, c.facts.Severity = string(rampolicy.Expands), rampolicy.High.String()
				c.facts.Sentence += " and with it a Deny: " + denies(old)
			}
		}
		c.apply(kindResource, key, func(e *entry) { e.complete, e.trust = true, text{} })
		return
	}
	body := c.text("Policy", "PolicyDocument", "policy", "body", "policyDocument", "bucketPolicy")
	doc := c.parse(keep(body), "the policy")
	if doc == nil {
		c.unknown("the policy of " + what + " was set to a text that the event does not carry in readable form")
	} else {
		c.diff(old, doc, rampolicy.Options{Kind: rampolicy.Resource, Who: "somebody", WhoZH: "某身份"})
		c.facts.Sentence = what + ": " + c.facts.Sentence
		c.outsiders(old, doc)
		if seen {
			c.facts.DenyRemoved = denyRemoved(old, doc)
		} else if c.facts.Expands {
			c.partly = true
			c.facts.Verdict = string(rampolicy.Unknown)
			c.facts.Sentence += "; the policy before was not seen, so some of it may not be new"
		}
	}
	c.apply(kindResource, key, func(e *entry) {
		e.trust, e.complete = text{}, false
		if len(body) <= rampolicy.MaxText {
			e.trust, e.complete = keep(body), body != ""
		}
	})
}

// outsiders sets the facts of trust: who outside of the account is let in now.
func (c *call) outsiders(old, doc *rampolicy.Document) {
	if !c.facts.Expands {
		return
	}
	was, now := rampolicy.TrustOf(old, c.account), rampolicy.TrustOf(doc, c.account)
	fresh := func(a, b []string) bool {
		return slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
	}
	c.facts.PublicTrust = now.Public && !was.Public
	c.facts.ExternalTrust = c.facts.PublicTrust || fresh(was.Accounts, now.Accounts) || fresh(was.Services, now.Services) || fresh(was.OpenFederation, now.OpenFederation) ||
		// The same outsiders under fewer conditions.
		now.External() && c.result.Severity >= rampolicy.High
}
