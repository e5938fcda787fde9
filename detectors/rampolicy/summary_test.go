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
