package console

import (
	"fmt"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// lang is a language of the pages.
type lang bool

const (
	english lang = false
	chinese lang = true
)

func langFrom(code string) lang { return lang(code == "zh") }

func (l lang) code() string {
	if l == chinese {
		return "zh"
	}
	return "en"
}

func (l lang) tag() string {
	if l == chinese {
		return "zh-CN"
	}
	return "en"
}

// t says an English phrase, or its translation, with the arguments in their
// places. Words of closed sets come as they are in JSON; those that do not read
// well have a line in en.
func (l lang) t(phrase string, args ...any) string {
	if l == chinese {
		if s, ok := zh[phrase]; ok {
			phrase = s
		}
	} else if s, ok := en[phrase]; ok {
		phrase = s
	}
	if len(args) == 0 {
		return phrase
	}
	return fmt.Sprintf(phrase, args...)
}

// known says a key, or else the word that it was made of, which may be anybody's.
func (l lang) known(key, word string) string {
	words := en
	if l == chinese {
		words = zh
	}
	if s, ok := words[key]; ok {
		return s
	}
	return text.Cut(shown(word), maxText)
}

// ours says a sentence of guards and of the machine in this language.
func (l lang) ours(s string) string {
	if l == chinese {
		return responders.InChinese(s)
	}
	return s
}

// en words what is a key and no phrase.
var en = map[string]string{
	"audit handson":    "by hand",
	"failed not_found": "Not found", "failed forbidden": "Not allowed", "failed bad_request": "Not understood", "failed internal": "This did not work",
	"after not_found": "Nothing is at this address, or it is no longer kept.", "after forbidden": "Nothing was changed. What is missing:",
	"after bad_request": "Nothing was changed. Go back and correct it:", "after internal": "This is a fault of the program or of what it depends on; its log says more. Load the page again to see what holds.",
	"replay reading": "reading", "replay running": "running", "replay done": "done", "replay failed": "failed", "replay interrupted": "interrupted", "replay unheard": "no longer heard of",
	"true_positive": "true positive", "false_positive": "false positive",
	"action proposed": "waits for approval", "action approved": "approved", "action executing": "being done", "action done": "done", "action failed": "failed",
	"action in_doubt": "outcome unknown", "action refused": "refused", "action observed": "only observed", "action denied": "denied", "action expired": "expired",
	"action undoing": "being undone", "action undone": "undone",
	"did acknowledge": "acknowledged", "did assign": "assigned", "did close": "closed", "did reopen": "reopened", "did note": "noted",
	"said asked": "was asked", "said yes": "said yes", "said no": "said no", "said silent": "has not answered in time", "said unasked": "could not be asked", "said withdrawn": "need not answer any more",
	"tried to approve": "tried to approve", "tried to deny": "tried to deny", "tried to undo": "tried to undo",
	"kind actor": "identity", "kind key": "AccessKey", "kind ip": "address",
}

// zh holds every phrase of the pages in Chinese. A test reads the phrases out
// of the templates and sources and finds what is missing.
var zh = map[string]string{
	"info": "提示", "low": "低", "medium": "中", "high": "高", "critical": "严重",
	"open": "未处理", "acknowledged": "已确认", "closed": "已关闭", "all": "全部",
	"true_positive": "真实告警", "false_positive": "误报", "benign": "属实但无害",
	"nobody": "无", "viewer": "查看者", "analyst": "分析员", "approver": "审批人",
	"on": "启用", "shadow": "影子", "off": "关闭",
	"observe": "观察", "approve": "审批", "auto": "自动",
	"playbook": "剧本", "machine": "系统",
	"action proposed": "等待审批", "action approved": "已批准", "action executing": "执行中", "action done": "已执行", "action failed": "失败",
	"action in_doubt": "结果未知", "action refused": "被禁止", "action observed": "仅观察", "action denied": "已拒绝", "action expired": "已过期",
	"action undoing": "撤销中", "action undone": "已撤销",
	"did acknowledge": "确认", "did assign": "指派", "did close": "关闭", "did reopen": "重新打开", "did note": "备注",
	"tried to approve": "尝试批准", "tried to deny": "尝试拒绝", "tried to undo": "尝试撤销",
	"kind actor": "身份", "kind key": "AccessKey", "kind ip": "地址",

	"Skip to the content": "跳到内容", "Screens": "页面", "Now": "现况", "Rules": "规则", "Actions": "操作", "Action": "操作", "Entity": "对象",
	"Sign out": "退出", "Sign in": "登录", "Signed in": "已登录", "Go on": "继续", "Error": "错误",
	"Times are in UTC.": "时间均为 UTC。", "The same as JSON": "同样内容的 JSON", "Keys": "密钥", "Keyboard": "按键",
	"down, up": "下、上", "acknowledge": "确认", "back to the list": "返回列表", "search": "搜索", "these keys": "显示按键",
	"Are we blind?": "是否存在盲区", "Seeing everything": "一切可见", "Not everything is seen": "并非一切可见",
	"read %s ago": "%s前读取", "%d s behind": "落后 %d 秒", "no source in this process": "此进程没有数据来源",
	"%s frames wait": "%s 帧待评估", "%s notices wait": "%s 条通知待发", "%s undelivered": "%s 条未送达", "%s records parked": "%s 条记录搁置", "%s rules": "%s 条规则",
	"Actions are frozen by %s": "操作已被 %s 冻结",
	"attempt":                  "尝试", "Acknowledge": "确认", "Acknowledge: %s": "确认:%s",
	"account": "账号", "asked by": "请求者", "its alert": "对应告警", "%s ago": "%s前", "by": "由", "approved by": "批准人",
	"%d of %d approvals": "%d/%d 人批准", "expires": "到期", "expired: nothing is done": "已过期:不会执行", "in %s": "还有 %s",
	"Approve": "批准", "Approve: %s": "批准:%s", "reason": "理由", "Deny": "拒绝", "Deny: %s": "拒绝:%s",
	"Who asks for an action cannot approve it.": "提出请求的人不能批准自己的请求。", "Deciding needs the role approver.": "决定需要审批人角色。",
	"Undo": "撤销", "Undo: %s": "撤销:%s", "until": "截至",
	"Pages": "分页", "newer": "较新", "older": "较旧", "page %d of %d": "第 %d 页,共 %d 页",
	"value": "值", "events": "事件", "first": "首次", "last": "末次", "Events": "事件", "time": "时间", "call": "调用", "who": "主体", "key": "密钥", "from": "来源", "target": "目标", "result": "结果",
	"refused": "被拒绝", "done": "成功", "act": "行为",
	"The journal is still being read; the list is not complete yet.": "日志仍在读取,列表尚不完整。",
	"Nothing is open.": "没有未处理的告警。", "severity": "级别", "from %s": "%s及以上", "state": "状态", "not closed": "未关闭", "Show": "显示", "reset": "重置", "mine": "我的",
	"%s alerts": "%s 条告警", "%s older ones are not listed here": "另有 %s 条较早的未列出", "No alert matches.": "没有符合的告警。",
	"Who": "主体", "Key": "密钥", "From": "来源", "When": "时间", "Target": "目标", "Where": "账号",
	"attempt: nothing was changed": "尝试:未造成变更", "it happened": "已发生",
	"Triage": "处置", "owner": "负责人", "Assign": "指派", "verdict": "结论", "note": "备注", "Close": "关闭", "Reopen": "重新打开", "Add": "添加",
	"Was this you?": "是您本人操作吗?", "Nobody was asked.": "尚未询问任何人。", "said asked": "已询问", "said yes": "回答:是", "said no": "回答:不是", "said silent": "未在时限内回答", "said unasked": "无法询问", "said withdrawn": "无需再回答",
	"%s said yes": "%s 回答:是", "%s said no": "%s 回答:不是", "written down by": "记录人", "person": "人员", "the owner": "负责人", "Ask": "询问",
	"A yes is worth as much as the account that says it: whoever took over the identity may hold that, too.": "回答“是”的可信度取决于回答者的账号:盗用该身份的人可能同时控制该账号。",
	"Containment": "遏制", "No action was asked for.": "没有请求任何操作。", "What to do": "处置办法", "What changed": "变更内容", "Evidence": "证据", "Why it fired": "触发原因",
	"no longer held here": "此处不再保留", "event id": "事件 ID", "%d more event ids are in the JSON form": "另有 %d 个事件 ID 见 JSON", "Details": "详情",
	"Similar alerts": "类似告警", "Incidents in this message": "此消息包含的事件", "What is done here is done with each of them.": "此处的操作会应用到其中每一起事件。", "Similar in 90 days": "90 天内的类似告警", "None is known.": "没有已知的。", "Look further": "继续调查",
	"On the command line, over your own history (it cannot act):": "在命令行中针对自己的历史(无法执行操作):",
	"First seen": "首次出现", "Last seen": "最后出现", "Refused": "被拒绝", "Done to it": "针对它的事件", "Alerts": "告警", "No event of it is held here.": "此处没有它的事件。",
	"Known are the events since %s, as far as this process keeps them.": "已知 %s 以来的事件,以此进程保留的为限。", "For more:": "更多:",
	"Activity": "活动", "last hour": "最近 1 小时", "last 24 h": "最近 24 小时", "last 7 d": "最近 7 天", "drag to zoom, double click for all": "拖动可放大,双击显示全部",
	"%s events from %s to %s": "%s 个事件,%s 至 %s", "alerts": "告警", "Hour and weekday (UTC)": "小时与星期(UTC)",
	"%s: %s done, %s refused": "%s:成功 %s,被拒绝 %s", "%s %02d:00 UTC: %s events": "%s %02d:00 UTC:%s 个事件", "time (UTC)": "时间(UTC)",
	"Mon": "周一", "Tue": "周二", "Wed": "周三", "Thu": "周四", "Fri": "周五", "Sat": "周六", "Sun": "周日",
	"Networks": "网络", "Services": "服务", "Calls": "调用", "Identities": "身份", "Errors": "错误码", "What it created": "它创建的", "Where it comes from, and what was done to it": "它的来历及针对它的操作",
	"%d of %d are on.": "共 %[2]d 条,启用 %[1]d 条。", "Counts are of alerts, as far as they are held.": "计数以保留的告警为限。",
	"Try a condition": "试用条件", "A condition as in a rule's match, on the newest %d events": "与规则 match 相同的条件,作用于最新 %d 个事件", "Try": "试用", "Trying needs the role analyst.": "试用需要分析员角色。",
	"%d of %d events match.": "%[2]d 个事件中匹配 %[1]d 个。", "Rules without an alert in 90 days": "90 天内没有告警的规则",
	"rule": "规则", "last alert": "最近告警", "24 h": "24 小时", "7 d": "7 天", "90 d": "90 天", "30 days": "30 天", "true positives": "真实告警率", "errors": "错误", "tests": "测试",
	"Severity": "级别", "Version": "版本", "24 h, 7 d, 90 d": "24 小时、7 天、90 天", "True positives": "真实告警率", "Tests": "测试", "Noise budget": "噪声预算",
	"in shadow %s alerts a day in %s days; worth at most %s a day": "影子状态下每天 %s 条告警(%s 天);预算每天至多 %s 条", "%s alerts a day in 7 days; worth at most %s a day": "7 天内每天 %s 条告警;预算每天至多 %s 条",
	"loud": "过多", "It is no attack: the draft of an exception": "并非攻击:例外草稿", "For a file named by its id, ending in .yaml, in a folder of detect.exceptions. It is refused until it has an owner and a reason.": "以 id 命名(.yaml),保存到 detect.exceptions 目录。填写 owner 与 reason 之前会被拒绝。", "Exceptions": "例外", "until %s": "有效至 %s", "expired on %s": "已于 %s 到期", "%s withheld": "已抑制 %s 次",
	"%s evaluations failed since the start; the last: %s": "启动以来 %s 次评估失败;最近一次:%s", "Condition": "条件", "detector": "检测器", "all of them": "全部",
	"alerts per day, 30 days": "每日告警,30 天", "%s to %s: %s alerts": "%s 至 %s:%s 条告警",
	"of rule time": "占规则耗时", "Time": "耗时", "Share of the time that all rules take. Choose to put the dearest first, or by id again.": "占全部规则耗时的比例。点击按耗时从高到低排列,再次点击按 id 排列。",
	"%s µs an event, at worst %s; %s of the time of all rules": "每个事件 %s µs,最长 %s;占全部规则耗时的 %s", "%s µs an event in event-time order, at worst %s; %s of the time of all rules": "按事件时间顺序每个事件 %s µs,最长 %s;占全部规则耗时的 %s",
	"%s µs an event, and %s in event-time order, at worst %s; %s of the time of all rules": "每个事件 %s µs,按事件时间顺序另 %s µs,最长 %s;占全部规则耗时的 %s",
	"Actions and replays": "操作与回放", "Replays": "回放", "Part that is read": "已读取的部分", "about %s left": "约剩 %s", "%s events, %s alerts, in %s": "%s 个事件,%s 条告警,用时 %s",
	"%s records, %s detections": "%s 条记录,%s 次命中", "up to %s": "至 %s", "None is known since this process began. One that is to be seen here says where:": "此进程启动以来没有已知的回放。要在此显示,请指明:",
	"replay reading": "读取中", "replay running": "运行中", "replay done": "完成", "replay failed": "失败", "replay interrupted": "已中断", "replay unheard": "失去联系",
	"audit action": "操作", "audit alert": "告警", "audit ask": "询问", "audit click": "点击", "audit freeze": "冻结", "audit handson": "人工处理", "audit note": "备注", "audit silence": "静默", "audit triage": "处置", "audit gap": "缺口",
	"This process evaluates nothing: what rules in shadow would raise, what exceptions withhold, errors and time are counted in the processes that do, and not shown here.": "此进程不评估事件:影子规则会产生的告警、例外抑制的次数、错误与耗时由评估事件的进程计数,此处不显示。",
	"What rules in shadow would raise, what exceptions withhold, errors and time are counted here for %d of %d partitions; other processes have the rest.":                  "影子规则会产生的告警、例外抑制的次数、错误与耗时在此仅统计 %d 个分区(共 %d 个);其余在其他进程中。",
	"failed not_found": "未找到", "failed forbidden": "不允许", "failed bad_request": "无法理解", "failed internal": "操作未成功",
	"after not_found": "此地址没有内容,或内容已不再保留。", "after forbidden": "未作任何更改。缺少的是:",
	"after bad_request": "未作任何更改。请返回并更正:", "after internal": "这是程序或其依赖的故障,详见日志。请重新加载页面查看实际状态。",
	"The proxy in front of this console does not say who you are. Sign in there, then load this page again.": "前置代理未说明您的身份。请先在代理处登录,然后重新加载此页。",
	"Waiting for a person": "等待人工", "Nothing waits.": "没有等待项。", "Log": "记录", "Nothing was done yet.": "尚无操作。",
	"Ask for containment…": "请求遏制…", "Somebody else has to approve it. The exact call is what you see here.": "须由他人批准。确切的调用即此处所示。", "Ask for: %s": "请求:%s", "Ask for it": "请求",
	"Audit log, the newest entries": "审计日志,最新条目", "Audit log": "审计日志", "what about": "对象", "what": "内容", "Notices are left out. All of it, and whether it is whole:": "未列出通知。全部内容及完整性:",
	"Every step is in the journal, chained by hashes; replays run on the command line and cannot act.": "每一步都在以哈希相连的日志中;回放在命令行运行,无法执行操作。",
	"Kind": "种类", "Account": "账号", "User": "用户", "Role": "角色", "Mode": "模式", "Steps": "步骤", "Refused requests": "被拒绝的请求",
	"State before": "之前的状态", "State after, read back": "之后读回的状态", "what approvals are bound to": "批准所绑定的内容",
	"Sign in with your organisation's account": "使用组织账号登录", "On the machine where trailwarden runs, this command makes a link that signs you in:": "在运行 trailwarden 的机器上,用以下命令生成登录链接:",
	"%d s": "%d 秒", "%d min": "%d 分钟", "%d h": "%d 小时", "%d d": "%d 天",
}
