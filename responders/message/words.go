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
	// TakenBack stands for the state of what was done and is no longer so.
	TakenBack string
	Types     map[string]string // actor types
	// Targets are types of targets; what is not there is said as it is.
	Targets map[string]string
	MFA     map[string]string

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
	Owner, Assign, Mute, Reopen, MadeBy string
	Production                          string
	MuteHours                           [3]string // 1 h, 8 h, 7 days
	FalsePositive, Benign, TruePositive string

	// Questions to people: Question is one line by state, of the person;
	// AskEnd what the person sees once it is over.
	Question                    map[responders.AskState]string
	Until, AskOwner, AskTitle   string
	AskIntro, AskSmall          string
	AskYes, AskNo               string
	AskEnd                      map[responders.AskState]string
	AskClosed                   string
	MenuReplay, MenuCopy, InSLS string
	ReplayTip, CopyTip          string // formats
	Deny, Close                 string
	Replies                     Replies

	Ack, Contain, UndoButton                   string
	ContainTitle, UndoTitle, AreSure           string
	Yes, No                                    string
	ClickFailed, ClickOK, Working, Unavailable string
	Units                                      [4]string // s, min, h, d

	// Sentences are what a thread says, by responders.Line.Say; the rest is
	// what stands between and in place of things.
	Sentences         map[string]string
	None, AndMore     string
	Comma, Semicolon  string
	Colon, AfterColon string
}

// Replies are what a person is told who pressed a button.
type Replies struct {
	NoLonger string
	Muted    string // until, what, id
	Asked    string // whom, until
	Test     string // a press on a message of notify test
	Again    string // where a chat cannot ask "are you sure?"
}

var catalogue = map[Language]*Words{English: &english, Chinese: &chinese}

// A variable of its own for each language: what is text in it is then data of the
// program, and in a map it would be code that puts it there.
var (
	english = Words{
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
		TakenBack: "⚠️ no longer contained",
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
		Open:       "Open in the console",
		Triage:     map[responders.TriageState]string{responders.TriageOpen: "🔓 open", responders.TriageAcknowledged: "👀 somebody looks at it", responders.TriageClosed: "🏁 closed"},
		Verdict:    map[responders.TriageVerdict]string{responders.TruePositive: "a true positive", responders.FalsePositive: "a false positive", responders.Benign: "happened, and was allowed"},
		Production: "production",
		MadeBy:     "made by",
		Owner:      "owner", Assign: "Assign", Mute: "Mute", Reopen: "Reopen",
		MuteHours:     [3]string{"1 hour", "8 hours", "7 days"},
		FalsePositive: "False positive", Benign: "Allowed", TruePositive: "True positive",
		Question: map[responders.AskState]string{
			responders.Asked:   "❓ %s was asked “was this you?”",
			responders.SaidYes: "🙋 %s says: yes, it was me",
			responders.SaidNo:  "🚨 %s says: no, it was not me",
			responders.Silent:  "🔇 %s has not answered in time",
			responders.Unasked: "✉️ %s could not be asked",
		},
		Until: "until", AskOwner: "Ask owner", AskTitle: "Was this you?",
		AskIntro: "Calls were made under the name of an identity that you answer for. Did you, or somebody or something that you know of, do this?",
		AskSmall: "Your answer goes to the security team and into the log. A yes stops nobody from looking. Answer from a device that you trust: whoever took over the identity may hope that you say yes. Please answer by %s.",
		AskYes:   "Yes, it was me", AskNo: "No, it was not",
		AskEnd: map[responders.AskState]string{
			responders.SaidYes: "You answered: yes. Thank you. If you are no longer sure, say no now.",
			responders.SaidNo:  "You answered: no. Thank you: the security team has been told.",
			responders.Silent:  "The time to answer is over and others were told. Your answer still helps.",
			responders.Unasked: "The time to answer is over and others were told. Your answer still helps.",
		},
		AskClosed:  "This is settled; no answer is needed any more.",
		MenuReplay: "Replay ±1 h", MenuCopy: "Copy id", InSLS: "Open in SLS",
		ReplayTip: "To see everything that this identity did from an hour before to an hour after, run where trailwarden can read the trail:\n%s",
		Deny:      "Deny", Close: "Close",
		Replies: Replies{
			NoLonger: "This is not to be decided any more; look at the message again.",
			Muted:    "Muted until %s: %s. It is contained and counted as before. To end it: trailwarden mute expire %s",
			Asked:    "%s is asked, until %s.",
			Test:     "Heard. This is a test message: there is nothing to decide about it.",
			Again:    "Nothing was done yet. Press the same button again within a minute to go on; what it will do stands on the card.",
		},
		CopyTip: "Incident %s\nRule %s\nEvents: %s",
		Ack:     "Acknowledge", Contain: "Contain…", UndoButton: "Undo",
		ContainTitle: "Contain now?", UndoTitle: "Undo the containment?", AreSure: "This will be done:",
		Yes: "Yes, go on", No: "No",
		ClickFailed: "That did not work: %s", ClickOK: "Done.", Working: "It is being done; the message will say how it ended.", Unavailable: "an internal error; use trailwarden action on the command line",
		Units:     [4]string{"%d s", "%d min", "%d h", "%d d"},
		Sentences: sentences[English], None: "none", AndMore: " and %d more", Comma: ", ", Semicolon: "; ", Colon: ":", AfterColon: " ",
	}
	chinese = Words{
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
		TakenBack: "⚠️ 处置已失效",
		Types: map[string]string{
			"root-account": "主账号", "ram-user": "RAM 用户", "assumed-role": "角色", "saml-user": "SAML 用户", "oidc-user": "OIDC 用户",
			"cloudsso-user": "云 SSO 用户", "alibaba-cloud-account": "云账号", "system": "系统",
		},
		Targets: map[string]string{
			"user": "用户", "role": "角色", "group": "用户组", "policy": "权限策略", "accesskey": "AccessKey", "account": "账号", "bucket": "Bucket", "trail": "跟踪", "key": "KMS 密钥",
			"secret": "凭据", "instance": "实例", "image": "镜像", "snapshot": "快照", "db": "数据库", "cluster": "集群", "function": "函数", "project": "日志项目", "logstore": "日志库",
			"mfa": "MFA 设备", "idp": "身份提供商", "sso-user": "云 SSO 用户", "sso-directory": "云 SSO 目录", "member": "成员账号", "control-policy": "管控策略", "folder": "资源夹",
			"host": "主机", "domain": "域名",
		},
		Example: "示例:", Partly: "此前的权限仅部分已知,其中可能有并非新增的内容。",
		MFA:     map[string]string{"yes": "已用 MFA", "no": "未用 MFA"},
		Account: "账号", Session: "会话", Target: "目标", Rule: "规则", Incident: "事件编号", Runbook: "处置手册",
		Events: "%s 个事件，历时 %s", Span: "1 个事件", More: "……另有 %d 项", Undo: "撤销：trailwarden action undo %s",
		Approve:    "trailwarden action approve %s",
		ThreadMore: "……另有 %d 条更新，最近 %s", Attempt: "未成功", DaysOld: "已用 %s 天",
		Zone: time.FixedZone("CST", 8*3600), ZoneName: "北京时间",
		Open:       "在控制台打开",
		Triage:     map[responders.TriageState]string{responders.TriageOpen: "🔓 未处理", responders.TriageAcknowledged: "👀 有人处理中", responders.TriageClosed: "🏁 已关闭"},
		Verdict:    map[responders.TriageVerdict]string{responders.TruePositive: "确为攻击", responders.FalsePositive: "误报", responders.Benign: "确有其事，属授权操作"},
		Production: "生产环境",
		MadeBy:     "创建者",
		Owner:      "负责人", Assign: "指派", Mute: "静默", Reopen: "重新打开",
		MuteHours:     [3]string{"1 小时", "8 小时", "7 天"},
		FalsePositive: "误报", Benign: "授权操作", TruePositive: "确为攻击",
		Question: map[responders.AskState]string{
			responders.Asked:   "❓ 已询问 %s：“是您本人操作吗？”",
			responders.SaidYes: "🙋 %s 回答：是我本人操作",
			responders.SaidNo:  "🚨 %s 回答：不是我操作的",
			responders.Silent:  "🔇 %s 未在时限内回答",
			responders.Unasked: "✉️ 无法询问 %s",
		},
		Until: "截止", AskOwner: "询问负责人", AskTitle: "是您本人操作吗？",
		AskIntro: "有人以您负责的身份发起了调用。这是您本人，或您知晓的人员或程序所为吗？",
		AskSmall: "您的回答会发送给安全团队并记入日志。回答“是”不会阻止任何人继续核查。请在可信设备上回答：盗用该身份的人可能正希望您回答“是”。请在 %s 前回答。",
		AskYes:   "是，是我操作的", AskNo: "不是我操作的",
		AskEnd: map[responders.AskState]string{
			responders.SaidYes: "您已回答：是。谢谢。若不再确定，请现在改答“不是”。",
			responders.SaidNo:  "您已回答：不是。谢谢，已通知安全团队。",
			responders.Silent:  "回答时限已过，已通知其他人。您的回答仍有帮助。",
			responders.Unasked: "回答时限已过，已通知其他人。您的回答仍有帮助。",
		},
		AskClosed:  "该事件已处理完毕，无需再回答。",
		MenuReplay: "回放前后 1 小时", MenuCopy: "复制编号", InSLS: "在 SLS 中打开",
		ReplayTip: "要查看该身份前后一小时内的全部操作，请在可读取跟踪数据的机器上运行：\n%s",
		Deny:      "不批准", Close: "关闭",
		Replies: Replies{
			NoLonger: "此项已无需决定，请重新查看消息。",
			Muted:    "已静默至 %s：%s。处置和计数照常进行。提前结束：trailwarden mute expire %s",
			Asked:    "已询问 %s，截止 %s。",
			Test:     "已收到点击。这是一条测试消息，没有需要决定的事项。",
			Again:    "尚未执行。请在一分钟内再次点击同一按钮以继续；将执行的操作见卡片。",
		},
		CopyTip: "事件 %s\n规则 %s\n日志事件：%s",
		Ack:     "确认", Contain: "处置…", UndoButton: "撤销处置",
		ContainTitle: "现在处置？", UndoTitle: "撤销处置？", AreSure: "将执行：",
		Yes: "确定", No: "取消",
		ClickFailed: "未能完成：%s", ClickOK: "已完成。", Working: "正在执行，结果会显示在消息中。", Unavailable: "内部错误；请在命令行使用 trailwarden action",
		Units:     [4]string{"%d 秒", "%d 分钟", "%d 小时", "%d 天"},
		Sentences: sentences[Chinese], None: "无", AndMore: "，另有 %d 项", Comma: "、", Semicolon: "；", Colon: "：",
	}
)

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
