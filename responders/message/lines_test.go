package message

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// Every sentence exists in both languages with the same places, and none is
// left in English by mistake.
func TestSentencesInBothLanguages(t *testing.T) {
	en, zh := sentences[English], sentences[Chinese]
	if len(en) != len(zh) {
		t.Errorf("%d sentences in English, %d in Chinese", len(en), len(zh))
	}
	for say, e := range en {
		z := zh[say]
		if z == "" || z == e || !strings.ContainsFunc(z, func(r rune) bool { return r >= 0x4e00 && r <= 0x9fff }) && strings.ContainsFunc(strings.ReplaceAll(e, "%s", ""), func(r rune) bool { return r >= 'a' && r <= 'z' }) {
			t.Errorf("%s: %q is no Chinese for %q", say, z, e)
		}
		if a, b := strings.Count(e, "%s"), strings.Count(z, "%s"); a != b {
			t.Errorf("%s: %d places in English, %d in Chinese", say, a, b)
		}
	}
	for _, s := range []responders.State{responders.Proposed, responders.Approved, responders.Executing, responders.Done, responders.Failed, responders.InDoubt,
		responders.Refused, responders.Observed, responders.Denied, responders.Expired, responders.Undoing, responders.Undone} {
		if shortStates[s] == "" {
			t.Errorf("state %s has no Chinese", s)
		}
	}
}

func TestLines(t *testing.T) {
	at := time.Date(2026, 11, 20, 6, 2, 11, 0, time.UTC)
	line := func(say string, args ...any) responders.Line { return responders.Line{Say: say, Args: args} }
	noted := line(responders.SayClosed, "cli:dana", responders.Benign)
	noted.More = responders.Said("ticket 4711")
	card := responders.KeyCard{AccessKeyID: "LTAI5tEXAMPLEalice00001", UserName: "alice", At: at, Status: "Active", Policies: []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}}.Lines()
	for _, c := range []struct {
		l      responders.Line
		en, zh string
	}{
		{line(responders.SaySeverity, alert.High, alert.Critical), "severity high → critical", "级别 高危 → 严重"},
		{line(responders.SayCount, 12, at), "×12, last 2026-11-20 06:02:11 UTC", "×12，最近一次 2026-11-20 14:02:11 北京时间"},
		{line(responders.SayStep, responders.InDoubt, "machine", "UpdateAccessKey"), "in doubt by machine: UpdateAccessKey", "结果未知，由 machine：UpdateAccessKey"},
		{line(responders.SayStepWhy, responders.Refused, "machine", "UpdateAccessKey", "cap"), "refused by machine: UpdateAccessKey (cap)", "已拒绝执行，由 machine：UpdateAccessKey（cap）"},
		{noted, "closed by cli:dana: happened, and was allowed; ticket 4711", "cli:dana 已关闭：确有其事，属授权操作；ticket 4711"},
		{line(responders.SayCardMade, responders.List{}), "made by this key: none", "由此密钥创建：无"},
		{card[0], "key LTAI…001 of alice; status Active when read at 2026-11-20 06:02:11 UTC", "密钥 LTAI…001，属于 alice；状态 Active（2026-11-20 14:02:11 北京时间 读取）"},
		{card[3], "policies: a, b, c, d, e, f, g, h and 2 more; groups: none", "权限策略：a、b、c、d、e、f、g、h，另有 2 项；用户组：无"},
		{responders.Line{Say: responders.SayRotate, More: responders.Said("1. x", "2. y")}, "to replace it: 1. x; 2. y", "轮换步骤：1. x；2. y"},
		{line("of another version", "x", at), "x 2026-11-20 06:02:11 UTC", "x 2026-11-20 14:02:11 北京时间"},
		{responders.Line{}, "", ""},
	} {
		if got := For(English, nil).Line(c.l); got != c.en {
			t.Errorf("%q, want %q", got, c.en)
		}
		if got := For(Chinese, nil).Line(c.l); got != c.zh {
			t.Errorf("%q, want %q", got, c.zh)
		}
	}
}

// What was done and was taken away is no longer shown as contained.
func TestActionLineOfWhatWasTakenBack(t *testing.T) {
	v := responders.ActionView{Kind: responders.KindQuarantineUser, Describe: "quarantine", State: responders.Done, Reason: "no longer so: mallory took it back by DetachPolicyFromUser at 2026-11-27T08:00:00Z; look at this alert anew"}
	for lang, want := range map[Language]string{English: "⚠️ no longer contained: quarantine", Chinese: "⚠️ 处置已失效"} {
		if got := For(lang, nil).ActionLine(v); !strings.HasPrefix(got, want) || strings.Contains(got, "✅") {
			t.Errorf("%q", got)
		}
	}
	v.Reason = "its own event is in the audit trail"
	if got := For(English, nil).ActionLine(v); !strings.HasPrefix(got, "✅ contained") {
		t.Errorf("%q", got)
	}
}
