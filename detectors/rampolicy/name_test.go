package rampolicy

import (
	"strings"
	"testing"
)

// What several patterns gain beside what was allowed before is told by these patterns,
// and not as a part of the one that is around them all.
func TestPartsByName(t *testing.T) {
	parse := func(actions string) *Document {
		t.Helper()
		d, err := Parse(`{"Version":"1","Statement":[{"Effect":"Allow","Action":[` + actions + `],"Resource":"*"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	old, wide := parse(`"ecs:Describe*","rds:Describe*","oss:List*","oss:GetObject"`), parse(`"ecs:Describe*","rds:*","oss:*"`)
	for want, s := range map[string]string{
		"may now do rds:* (before: rds:Describe*) and oss:* (before: oss:List* and oss:GetObject) on *": Diff(old, wide, Options{}).Summary,
		"rds:*(此前:rds:Describe*)": Diff(old, wide, Options{}).SummaryZH,
	} {
		if !strings.Contains(s, want) || strings.Contains(s, "a part of") || strings.Contains(s, "的一部分") {
			t.Errorf("%q does not say %q", s, want)
		}
	}
}

// What a document gains twice over is told by two findings, and neither says that
// the other was there before.
func TestNothingWasBefore(t *testing.T) {
	power, _ := System("PowerUserAccess")
	twice, err := Parse(`{"Version":"1","Statement":[{"Effect":"Allow","Action":["ecs:DescribeInstances"],"Resource":"*"},{"Effect":"Allow","Action":["ecs:StopInstance","*"],"Resource":"*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for want, d := range map[string]*Document{"everything except ram:*, ims:*": power.Doc, "may now do ecs:StopInstance and * on *": twice} {
		r := Diff(nil, d, Options{})
		for _, f := range r.Findings {
			if strings.Contains(f.Sentence, "(before: ") || strings.Contains(f.SentenceZH, "此前") {
				t.Errorf("nothing was there, and yet %q", f.Sentence)
			}
		}
		if !strings.Contains(r.Summary, want) {
			t.Errorf("%q does not say %q", r.Summary, want)
		}
	}
	if r := Diff(nil, parse(t, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["fc.aliyuncs.com"]}}]}`), Options{Kind: Trust, Account: "1000000000000001"}); !strings.HasPrefix(r.Summary, "fc.aliyuncs.com may") {
		t.Errorf("the name of a service is no word to begin with a capital letter: %q", r.Summary)
	}
}
