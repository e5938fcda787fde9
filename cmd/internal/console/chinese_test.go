package console

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

var englishWords = regexp.MustCompile(`\b[A-Za-z]+(?: [a-z]{2,}){2,}\b|\b(?:the|was|were|is|are|been|from|without|nobody|not|more|by) [a-z]{2,}\b`)

// Commands stand in the page as they are typed.
var typed = regexp.MustCompile(`trailwarden [a-z]+(?: [a-z-]+)*`)

// The pages in Chinese say titles, reasons and why an action was refused in
// Chinese, in the list, on the alert's page and under Actions; the JSON form is
// what it was.
func TestPagesInChinese(t *testing.T) {
	w := newWorld(t)
	a := sample(1, t0)
	a.Title, a.Reason, a.TitleZH, a.ReasonZH = "The root account makes changes", "the root account called ram:CreateUser", "主账号正在进行变更", "主账号 1 从 203.0.113.7 调用了 ram:CreateUser"
	a.Details, a.Runbook = nil, alert.Runbook{EN: "ask them", ZH: "请询问"}
	w.raise(a)
	d := w.propose(a.ID, "alice", aliceKey, time.Hour)
	b := w.as("carol")
	for name, path := range map[string]string{"list": "/?lang=zh", "alert": "/alerts/" + a.ID + "?lang=zh", "actions": "/actions?lang=zh", "action": "/actions/" + d.ID + "?lang=zh"} {
		r := b.get(path, "text/html")
		if r.status != 200 {
			t.Fatalf("%s: %d", name, r.status)
		}
		_, words := skeleton(t, r.body)
		tells := name == "list" || name == "alert" // the others show the action
		if tells && (!strings.Contains(words, a.TitleZH) || !strings.Contains(words, a.ReasonZH)) || strings.Contains(words, a.Title) {
			t.Errorf("%s: the alert is not told in Chinese:\n%s", name, words)
		}
		for _, left := range englishWords.FindAllString(typed.ReplaceAllString(words, "·"), -1) {
			t.Errorf("%s: %q is left", name, left)
		}
	}
	r := b.get("/alerts/"+a.ID, "application/json")
	if !strings.Contains(r.body, a.Title) || strings.Contains(r.body, a.TitleZH) {
		t.Errorf("the JSON form changed: %s", r.body)
	}
}

// Hostile text in the Chinese of an alert makes no other elements than a
// harmless one does.
func TestHostileTextInChinese(t *testing.T) {
	page := func(s string) (tags []string, words string) {
		w := newWorld(t)
		a := sample(1, t0)
		a.TitleZH, a.ReasonZH = "标题 "+s, "原因 "+s
		w.raise(a)
		return skeleton(t, w.as("carol").get("/?lang=zh", "text/html").body)
	}
	want, _ := page("harmless")
	for _, s := range hostile {
		s = strings.ToValidUTF8(s, "\ufffd")
		got, words := page(s)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q changes the page", cutTo(s))
		}
		if !strings.Contains(words, "标题") || strings.ContainsAny(words, "\u202e\u200b\x1b\x07\u2066") {
			t.Errorf("%q: the text is %q", cutTo(s), cutTo(words))
		}
	}
}

// What a change of permissions newly allows is told in words and to its end, as a chat tells it.
func TestAlertSaysWhatChanged(t *testing.T) {
	w := newWorld(t)
	b := w.as("carol")
	a := sample(1, t0)
	long := strings.Repeat("such as oss:PutBucketPolicy, ", 20)
	a.Details = map[string]any{"policy": map[string]any{"diff": map[string]any{"findings": []any{map[string]any{
		"sentence": "User bob may now do oss:* (" + long + ") on *; privilege escalation: can join any group (E7)", "sentence_zh": "用户 bob 现可执行 oss:*;可提权:加入任意用户组(E7)",
		"witness": map[string]any{"action": "oss:PutBucketPolicy", "resource": "acs:oss:*:1:b"}}}}}}
	w.raise(a)
	for lang, want := range map[string][]string{
		"en": {"What changed", "privilege escalation: can join any group (E7)", "example: oss:PutBucketPolicy, acs:oss:*:1:b"},
		"zh": {"变更内容", "可提权:加入任意用户组(E7)", "示例: oss:PutBucketPolicy"},
	} {
		page := b.get("/alerts/"+a.ID+"?lang="+lang, "text/html").body
		for _, s := range want {
			if !strings.Contains(page, s) {
				t.Errorf("%s: the page does not say %q", lang, s)
			}
		}
	}
	plain := sample(2, t0)
	w.raise(plain)
	if page := b.get("/alerts/"+plain.ID+"?lang=en", "text/html").body; strings.Contains(page, "What changed") {
		t.Error("an alert about something else says what changed")
	}
}

// The records that are kept here make room for newer ones; where else they are is
// said. What the program says of itself is of no rule that there is a page of.
func TestRecordsOutside(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Raw = func(a *alert.Alert) string {
			if strings.HasPrefix(a.Rule, "self.") {
				return ""
			}
			return "https://sls.example.com/search?from=1&id=" + a.ID
		}
	})
	a, own := sample(1, t0), sample(2, t0)
	own.Rule = "self.action_refused"
	w.raise(a)
	w.raise(own)
	b := w.as("carol")
	for lang, label := range map[string]string{"en": "Open in SLS", "zh": "在 SLS 中打开"} {
		want := `<a href="https://sls.example.com/search?from=1&amp;id=` + a.ID + `" rel="noreferrer">` + label + "</a>"
		if page := b.get("/alerts/"+a.ID+"?lang="+lang, "text/html").body; !strings.Contains(page, want) || !strings.Contains(page, `href="/rules/`+a.Rule) {
			t.Errorf("%s: the page has no link to the records, or to the rule", lang)
		}
		if page := b.get("/alerts/"+own.ID+"?lang="+lang, "text/html").body; strings.Contains(page, label) || strings.Contains(page, `href="/rules/self.`) {
			t.Errorf("%s: a link that leads nowhere", lang)
		}
	}
}
