package rampolicy

import (
	"strings"
	"testing"
)

// Both languages say on what condition, and a document is not compared with one
// that nobody gave.
func TestSummary(t *testing.T) {
	doc := func(effect, action, condition string) *Document {
		return mustParse(t, `{"Version":"1","Statement":[{"Effect":"`+effect+`","Action":"`+action+`","Resource":"*"`+condition+`}]}`)
	}
	const onlyECS = `,"Condition":{"StringEquals":{"acs:Service":"ecs.aliyuncs.com"}}`
	for name, c := range map[string]struct {
		r      Result
		en, zh string
	}{
		"condition":          {Diff(nil, doc("Allow", "ram:PassRole", onlyECS), Options{}), "only when acs:Service is ecs.aliyuncs.com", "仅当 acs:Service 为 ecs.aliyuncs.com"},
		"nothing allowed":    {Explain(doc("Deny", "ecs:*", ""), Options{}), "it allows nothing", "不允许任何操作"},
		"guard rail tighter": {Explain(doc("Deny", "ecs:*", ""), Options{Kind: Control}), "the guard rail tightens: nothing new is allowed", "管控策略收紧:没有新增允许的操作"},
		"the same":           {Diff(doc("Allow", "ecs:*", ""), doc("Allow", "ecs:*", ""), Options{}), "both documents allow the same", "两份策略允许的操作相同"},
	} {
		if !strings.Contains(c.r.Summary, c.en) || !strings.Contains(c.r.SummaryZH, c.zh) {
			t.Errorf("%s: %q, %q", name, c.r.Summary, c.r.SummaryZH)
		}
	}
}

// What is taken away is told forwards: what stays is no "before", and a
// condition that is new was not dropped.
func TestRemovedIsToldForwards(t *testing.T) {
	const some = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`
	const all = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"}]}`
	const fromOffice = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":"192.0.2.0/24"}}}]}`
	const admin = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	const ecsAlone = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"ecs:*","Resource":"*"}]}`
	const denied = `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"},{"Effect":"Deny","Action":"ecs:*","Resource":"*","Condition":{"Bool":{"acs:SecureTransport":"false"}}}]}`
	for _, tc := range []struct{ name, old, now, en, zh string }{
		{"actions", all, some, "ecs:* (still allowed: ecs:Describe*)", "ecs:*(仍允许:ecs:Describe*)"},
		{"a condition", all, fromOffice, "on *; now only when acs:SourceIp is in 192.0.2.0/24", "现仅当 acs:SourceIp 属于 192.0.2.0/24"},
		{"what was conditional", fromOffice, some, "; before only when acs:SourceIp is in 192.0.2.0/24", "此前仅限:当 acs:SourceIp 属于 192.0.2.0/24"},
		{"a Deny", all, denied, "; now denied when acs:SecureTransport is false", "当 acs:SecureTransport 为 false 时现予拒绝"},
		{"no administrator any more", admin, ecsAlone, "may no longer do * (still allowed: ecs:*)", "*(仍允许:ecs:*)"},
	} {
		r := Diff(mustParse(t, tc.old), mustParse(t, tc.now), Options{})
		if len(r.Removed) == 0 {
			t.Fatalf("%s: nothing was taken away", tc.name)
		}
		f := r.Removed[0]
		if !strings.Contains(f.Sentence, tc.en) || !strings.Contains(f.SentenceZH, tc.zh) {
			t.Errorf("%s:\n%s\n%s\nwant %q and %q", tc.name, f.Sentence, f.SentenceZH, tc.en, tc.zh)
		}
	}
}
