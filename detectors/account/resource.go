package account

import (
	"slices"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

var resourcesZH = map[string]string{"bucket": "Bucket", "access-point": "接入点", "key": "KMS 密钥", "secret": "凭据", "project": "日志项目"}

// resourcePolicy judges the policy of a bucket, key, secret or log project.
// Where a record carries the document is not known for OSS, so the parameters
// it may stand in are all looked at.
func (c *call) resourcePolicy() {
	t := &c.ev.Target
	if t.Name == "" || len(t.Name) > maxName {
		return
	}
	what := window.Show(t.Type + " " + t.Name)
	whatZH := what
	if zh := resourcesZH[t.Type]; zh != "" {
		whatZH = window.Show(zh + " " + t.Name)
	}
	key := t.Type + ":" + t.Name
	if t.Type == "access-point" {
		key = "" // an event may name the bucket alone, which has several
	}
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
			c.unknown("the policy of "+what+" is gone; its text was never seen, so whether it held a Deny is not known", whatZH+" 的授权策略已删除；从未见过其内容，是否含有 Deny 未知")
		default:
			c.diff(old, nil, rampolicy.Options{Kind: rampolicy.Resource, Who: "somebody", WhoZH: "某身份"})
			c.say("the policy of "+what+" is gone", whatZH+" 的授权策略已删除")
			if denyRemoved(old, nil) {
				c.facts.DenyRemoved, c.facts.Expands = true, true
				c.facts.Verdict, c.facts.Severity = string(rampolicy.Expands), rampolicy.High.String()
				refused := denies(old)
				c.more(" and with it a Deny: "+refused.en, "，其中含有 Deny："+refused.zh)
			}
		}
		c.apply(kindResource, key, func(e *entry) { e.complete, e.trust = true, text{} })
		return
	}
	body := c.text("Policy", "PolicyDocument", "policy", "body", "policyDocument", "bucketPolicy")
	doc := c.parse(keep(body), "the policy")
	if doc == nil {
		c.unknown("the policy of "+what+" was set to a text that the event does not carry in readable form", whatZH+" 的授权策略被改写，日志中没有可读的策略内容")
	} else {
		c.diff(old, doc, rampolicy.Options{Kind: rampolicy.Resource, Who: "somebody", WhoZH: "某身份"})
		c.say(what+": "+c.facts.Sentence, whatZH+"："+c.facts.SentenceZH)
		c.outsiders(old, doc)
		if seen {
			c.facts.DenyRemoved = denyRemoved(old, doc)
		} else if c.facts.Expands {
			c.partly = true
			c.facts.Verdict = string(rampolicy.Unknown)
			c.more("; the policy before was not seen, so some of it may not be new", "；未见过此前的策略，其中可能有并非新增的内容")
		}
	}
	c.apply(kindResource, key, func(e *entry) {
		e.trust, e.complete = text{}, false
		if len(body) <= rampolicy.MaxText {
			e.trust, e.complete = keep(body), body != ""
		}
	})
}

// delivers learns where a trail delivers, and says when that is another place
// than those known. Projects and buckets have names of their own in the whole
// cloud, and a trail may deliver to another account, so they are kept without one.
func (c *call) delivers() {
	trail := c.account + "/" + c.param("Name")
	c.account = ""
	for i, kind := range []string{"project:", "bucket:"} {
		store := lastPart(c.param([]string{"SlsProjectArn", "OssBucketName"}[i]))
		if store == "" {
			continue
		}
		known := func(e *entry) { e.complete = true }
		c.facts.Trail = c.facts.Trail || c.j.get(kindTrail, "", kind+trail) != nil && c.j.get(kindTrail, "", kind+store) == nil
		c.apply(kindTrail, kind+trail, known)
		c.apply(kindTrail, kind+store, known)
	}
}

// outsiders sets the facts of trust: who outside of the account is let in now.
func (c *call) outsiders(old, doc *rampolicy.Document) {
	if !c.facts.Expands {
		return
	}
	was, now := rampolicy.TrustOf(old, c.account), rampolicy.TrustOf(doc, c.account)
	f := &c.facts
	f.PublicTrust = now.Public && !was.Public
	f.FederatedTrust = len(besides(now.Federation, was.Federation)) > 0
	who, open := besides(now.Outside, was.Outside), len(besides(now.OpenFederation, was.OpenFederation)) > 0
	if len(who) == 0 && !open && c.result.Severity >= rampolicy.High {
		who = now.Outside // the same outsiders under fewer conditions
	}
	f.ExternalTrust = len(who) > 0 || open
	for _, x := range who {
		if account := rampolicy.AccountOf(x); account != "" {
			f.TrustAccounts = append(f.TrustAccounts, account)
		}
	}
	if doc.Doubtful && !f.ExternalTrust {
		f.ExternalTrust, open = true, true
		c.ambiguous()
	}
	if open {
		f.TrustAccounts = append(f.TrustAccounts, "*") // no account says who that is
	}
}

// besides is what one list has besides another.
func besides(list, other []string) []string {
	var out []string
	for _, x := range list {
		if !slices.Contains(other, x) {
			out = append(out, x)
		}
	}
	return out
}
