package message

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// Language is the language of a destination.
type Language string

// The languages.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// For returns the words of a language with times in zone; nil is the
// language's own: UTC for English, Beijing for Chinese. An unknown or empty
// language is English.
func For(lang Language, zone *time.Location) *Words {
	w := catalogue[lang]
	if w == nil {
		lang = English
		w = catalogue[lang]
	}
	out := *w
	out.Lang = lang
	if zone != nil {
		out.Zone, out.ZoneName = zone, zone.String()
	}
	return &out
}

// Words is everything a message says, in one language.
type Words struct {
	Lang     Language
	Severity map[alert.Severity]string
	Fields   [6]string // who, key, from, when, did, where
	// State is one line per action state; what and who follow.
	State map[responders.State]string
	Types map[string]string // actor types
	MFA   map[string]string

	Account, Session, Target, Rule, Incident, Runbook string
	Events, Span, More, Undo, Approve                 string // formats
	ThreadMore                                        string
	Example, Partly                                   string // of a change of permissions
	Attempt, Open                                     string
	DaysOld                                           string
	Zone                                              *time.Location
	ZoneName                                          string

	Triage                              map[responders.TriageState]string
	Verdict                             map[responders.TriageVerdict]string
	Owner, Assign, Mute, Reopen         string
	MuteHours                           [3]string // 1 h, 8 h, 7 days
	FalsePositive, Benign, TruePositive string

	Ack, Contain, UndoButton          string
	ContainTitle, UndoTitle, AreSure  string
	Yes, No                           string
	ClickFailed, ClickOK, Unavailable string
	Units                             [4]string // s, min, h, d

	// Sentences are what a thread says, by responders.Line.Say; the rest is
	// what stands between and in place of things.
	Sentences         map[string]string
	None, AndMore     string
	Comma, Semicolon  string
	Colon, AfterColon string
}

var catalogue = map[Language]*Words{
	English: {
		Severity: map[alert.Severity]string{alert.Info: "INFO", alert.Low: "LOW", alert.Medium: "MEDIUM", alert.High: "HIGH", alert.Critical: "CRITICAL"},
		Fields:   [6]string{"Who", "Key", "From", "When", "Did", "Where"},
		State: map[responders.State]string{
			responders.Proposed:  "⏳ waits for approval",
			responders.Approved:  "▶️ approved, about to be done",
			responders.Executing: "▶️ being done",
			responders.Done:      "✅ contained",
			responders.Failed:    "❌ not done",
			responders.InDoubt:   "❓ outcome unknown, being checked",
			responders.Refused:   "⛔ refused",
			responders.Observed:  "👁 would contain (observe mode, nothing was changed)",
			responders.Denied:    "🚫 denied",
			responders.Expired:   "⌛ nobody answered in time, nothing was changed",
			responders.Undoing:   "↩️ being undone",
			responders.Undone:    "↩️ undone, as before",
		},
		Types: map[string]string{
			"root-account": "root account", "ram-user": "RAM user", "assumed-role": "role", "saml-user": "SAML user", "oidc-user": "OIDC user",
			"cloudsso-user": "CloudSSO user", "alibaba-cloud-account": "cloud account", "system": "system",
		},
		MFA:     map[string]string{"yes": "MFA yes", "no": "no MFA"},
		Example: "example:", Partly: "What was there before is only partly known, so some of it may not be new.",
		Account: "acct", Session: "session", Target: "target", Rule: "rule", Incident: "incident", Runbook: "runbook",
		Events: "%s events in %s", Span: "1 event", More: "… and %d more", Undo: "undo: trailwarden action undo %s",
		Approve:    "trailwarden action approve %s",
		ThreadMore: "… and %d more updates, last %s", Attempt: "attempt", DaysOld: "%s d old",
		Zone: time.UTC, ZoneName: "UTC",
		Open:    "Open in the console",
		Triage:  map[responders.TriageState]string{responders.TriageOpen: "🔓 open", responders.TriageAcknowledged: "👀 somebody looks at it", responders.TriageClosed: "🏁 closed"},
		Verdict: map[responders.TriageVerdict]string{responders.TruePositive: "a true positive", responders.FalsePositive: "a false positive", responders.Benign: "happened, and was allowed"},
		Owner:   "owner", Assign: "Assign", Mute: "Mute", Reopen: "Reopen",
		MuteHours:     [3]string{"1 hour", "8 hours", "7 days"},
		FalsePositive: "Close: false positive", Benign: "Close: allowed", TruePositive: "Close: true positive",
		Ack: "Acknowledge", Contain: "Contain…", UndoButton: "Undo",
		ContainTitle: "Contain now?", UndoTitle: "Undo the containment?", AreSure: "This will be done:",
		Yes: "Yes, go on", No: "No",
		ClickFailed: "That did not work: %s", ClickOK: "Done.", Unavailable: "an internal error; use trailwarden action on the command line",
		Units:     [4]string{"%d s", "%d min", "%d h", "%d d"},
		Sentences: sentences[English], None: "none", AndMore: " and %d more", Comma: ", ", Semicolon: "; ", Colon: ":", AfterColon: " ",
	},
	Chinese: {
		Severity: map[alert.Severity]string{alert.Info: "提示", alert.Low: "低危", alert.Medium: "中危", alert.High: "高危", alert.Critical: "严重"},
		Fields:   [6]string{"身份", "密钥", "来源", "时间", "操作", "位置"},
		State: map[responders.State]string{
			responders.Proposed:  "⏳ 等待审批",
			responders.Approved:  "▶️ 已批准，即将执行",
			responders.Executing: "▶️ 正在执行",
			responders.Done:      "✅ 已处置",
			responders.Failed:    "❌ 未完成",
			responders.InDoubt:   "❓ 结果未知，正在核查",
			responders.Refused:   "⛔ 已拒绝执行",
			responders.Observed:  "👁 本应处置（观察模式，未做任何更改）",
			responders.Denied:    "🚫 审批未通过",
			responders.Expired:   "⌛ 审批超时，未做任何更改",
			responders.Undoing:   "↩️ 正在撤销",
			responders.Undone:    "↩️ 已撤销，恢复原状",
		},
		Types: map[string]string{
			"root-account": "主账号", "ram-user": "RAM 用户", "assumed-role": "角色", "saml-user": "SAML 用户", "oidc-user": "OIDC 用户",
			"cloudsso-user": "云 SSO 用户", "alibaba-cloud-account": "云账号", "system": "系统",
		},
		Example: "示例:", Partly: "此前的权限仅部分已知,其中可能有并非新增的内容。",
		MFA:     map[string]string{"yes": "已用 MFA", "no": "未用 MFA"},
		Account: "账号", Session: "会话", Target: "目标", Rule: "规则", Incident: "事件编号", Runbook: "处置手册",
		Events: "%s 个事件，历时 %s", Span: "1 个事件", More: "……另有 %d 项", Undo: "撤销：trailwarden action undo %s",
		Approve:    "trailwarden action approve %s",
		ThreadMore: "……另有 %d 条更新，最近 %s", Attempt: "未成功", DaysOld: "已用 %s 天",
		Zone: time.FixedZone("CST", 8*3600), ZoneName: "北京时间",
		Open:    "在控制台打开",
		Triage:  map[responders.TriageState]string{responders.TriageOpen: "🔓 未处理", responders.TriageAcknowledged: "👀 有人处理中", responders.TriageClosed: "🏁 已关闭"},
		Verdict: map[responders.TriageVerdict]string{responders.TruePositive: "确为攻击", responders.FalsePositive: "误报", responders.Benign: "确有其事，属授权操作"},
		Owner:   "负责人", Assign: "指派", Mute: "静默", Reopen: "重新打开",
		MuteHours:     [3]string{"1 小时", "8 小时", "7 天"},
		FalsePositive: "关闭：误报", Benign: "关闭：授权操作", TruePositive: "关闭：确为攻击",
		Ack: "确认", Contain: "处置…", UndoButton: "撤销处置",
		ContainTitle: "现在处置？", UndoTitle: "撤销处置？", AreSure: "将执行：",
		Yes: "确定", No: "取消",
		ClickFailed: "未能完成：%s", ClickOK: "已完成。", Unavailable: "内部错误；请在命令行使用 trailwarden action",
		Units:     [4]string{"%d 秒", "%d 分钟", "%d 小时", "%d 天"},
		Sentences: sentences[Chinese], None: "无", AndMore: "，另有 %d 项", Comma: "、", Semicolon: "；", Colon: "：",
	},
}

// Length is a length of time in its largest whole unit.
func (w *Words) Length(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf(w.Units[0], max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf(w.Units[1], int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf(w.Units[2], int(d.Hours()))
	}
	return fmt.Sprintf(w.Units[3], int(d.Hours()/24))
}
