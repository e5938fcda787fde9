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
