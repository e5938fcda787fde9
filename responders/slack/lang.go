package slack

import (
	"fmt"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// words is everything a message says, in one language.
type words struct {
	severity map[alert.Severity]string
	fields   [6]string // who, key, from, when, did, where
	// state is one line per action state; the verbs are: what, and the rest in
	// brackets is added by the renderer.
	state map[responders.State]string
	types map[string]string // actor types
	mfa   map[string]string

	account, session, target, rule, incident, runbook string
	events, span, more, undo                          string // formats
	threadMore                                        string
	attempt                                           string
	example, partly                                   string // of a change of permissions
	daysOld                                           string
	zone                                              *time.Location
	zoneName                                          string

	ack, contain, undoButton          string
	containTitle, undoTitle, areSure  string
	yes, no                           string
	clickFailed, clickOK, unavailable string
	units                             [4]string // s, min, h, d
}

var catalogue = map[Language]*words{
	English: {
		severity: map[alert.Severity]string{alert.Info: "INFO", alert.Low: "LOW", alert.Medium: "MEDIUM", alert.High: "HIGH", alert.Critical: "CRITICAL"},
		fields:   [6]string{"Who", "Key", "From", "When", "Did", "Where"},
		state: map[responders.State]string{
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
		types: map[string]string{
			"root-account": "root account", "ram-user": "RAM user", "assumed-role": "role", "saml-user": "SAML user", "oidc-user": "OIDC user",
			"cloudsso-user": "CloudSSO user", "alibaba-cloud-account": "cloud account", "system": "system",
		},
		mfa:     map[string]string{"yes": "MFA yes", "no": "no MFA"},
		example: "example:", partly: "What was there before is only partly known, so some of it may not be new.",
		account: "acct", session: "session", target: "target", rule: "rule", incident: "incident", runbook: "runbook",
		events: "%s events in %s", span: "1 event", more: "… and %d more", undo: "undo: trailwarden action undo %s",
		threadMore: "… and %d more updates, last %s", attempt: "attempt", daysOld: "%s d old",
		zone: time.UTC, zoneName: "UTC",
		ack: "Acknowledge", contain: "Contain…", undoButton: "Undo",
		containTitle: "Contain now?", undoTitle: "Undo the containment?", areSure: "This will be done:",
		yes: "Yes, go on", no: "No",
		clickFailed: "That did not work: %s", clickOK: "Done.", unavailable: "an internal error; use trailwarden action on the command line",
		units: [4]string{"%d s", "%d min", "%d h", "%d d"},
	},
	Chinese: {
		severity: map[alert.Severity]string{alert.Info: "提示", alert.Low: "低危", alert.Medium: "中危", alert.High: "高危", alert.Critical: "严重"},
		fields:   [6]string{"身份", "密钥", "来源", "时间", "操作", "位置"},
		state: map[responders.State]string{
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
		types: map[string]string{
			"root-account": "主账号", "ram-user": "RAM 用户", "assumed-role": "角色", "saml-user": "SAML 用户", "oidc-user": "OIDC 用户",
			"cloudsso-user": "云 SSO 用户", "alibaba-cloud-account": "云账号", "system": "系统",
		},
		example: "示例:", partly: "此前的权限仅部分已知,其中可能有并非新增的内容。",
		mfa:     map[string]string{"yes": "已用 MFA", "no": "未用 MFA"},
		account: "账号", session: "会话", target: "目标", rule: "规则", incident: "事件编号", runbook: "处置手册",
		events: "%s 个事件，历时 %s", span: "1 个事件", more: "……另有 %d 项", undo: "撤销：trailwarden action undo %s",
		threadMore: "……另有 %d 条更新，最近 %s", attempt: "未成功", daysOld: "已用 %s 天",
		zone: time.FixedZone("CST", 8*3600), zoneName: "北京时间",
		ack: "确认", contain: "处置…", undoButton: "撤销处置",
		containTitle: "现在处置？", undoTitle: "撤销处置？", areSure: "将执行：",
		yes: "确定", no: "取消",
		clickFailed: "未能完成：%s", clickOK: "已完成。", unavailable: "内部错误；请在命令行使用 trailwarden action",
		units: [4]string{"%d 秒", "%d 分钟", "%d 小时", "%d 天"},
	},
}

// span is a length of time in its largest whole unit.
func (w *words) duration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf(w.units[0], max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf(w.units[1], int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf(w.units[2], int(d.Hours()))
	}
	return fmt.Sprintf(w.units[3], int(d.Hours()/24))
}
