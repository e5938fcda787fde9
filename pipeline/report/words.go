package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/phrase"
)

// lang is a language of reports.
type lang bool

const (
	english lang = false
	chinese lang = true
)

func langOf(s string) lang { return lang(s == "zh") }

func (l lang) tag() string {
	if l == chinese {
		return "zh-CN"
	}
	return "en"
}

// t says an English phrase, or its translation, with the arguments in their
// places.
func (l lang) t(phrase string, args ...any) string {
	if l == chinese {
		if s, ok := zh[phrase]; ok {
			phrase = s
		}
	}
	if len(args) == 0 {
		return phrase
	}
	return fmt.Sprintf(phrase, args...)
}

var givenZH = strings.NewReplacer(" on ", "，授予 ", " of ", "，属于 ")

// given says what was given to whom, or whose a key is, as trails name it.
func (l lang) given(s string) string {
	if l == chinese {
		return givenZH.Replace(s)
	}
	return s
}

// title and reason are those of an alert in the report's language.
func (l lang) title(a *alert.Alert) string  { t, _ := a.Words(l == chinese); return t }
func (l lang) reason(a *alert.Alert) string { _, r := a.Words(l == chinese); return r }

// ours says in this language what the details of an alert say in English.
func (l lang) ours(s string) string {
	if l == chinese {
		return book().Say(s)
	}
	return s
}

var book = sync.OnceValue(func() *phrase.Book { return phrase.New(slices.Concat(phrases, origins()), nil, nil) })

// phrases are the sentences of details that have no Chinese beside them: the
// notes of the judge of permissions, and where a key comes from.
var phrases = [][2]string{
	{"the policy is attached to nobody yet", "该策略尚未授予任何身份"},
	{"the version is stored and not in force", "该版本已存入，尚未生效"},
	{"the document allows more; whoever holds it may do all of that by other policies already", "策略内容有扩大，但持有者凭其他策略本已拥有这些权限"},
	{"held by %p, as far as was seen", "已知持有者：%s"},
	{"%p and %p", "%s、%s"},
	{"user %s", "用户 %s"}, {"group %s", "用户组 %s"}, {"role %s", "角色 %s"}, {"the root account", "主账号"},
	{"no attachment of the policy has been seen", "未见过该策略的授予"},
	{"it was last seen in force", "此前所见该版本处于生效状态"},
	{"the call also detaches the policy", "该调用同时解除了策略授予"},
	{"the grant is limited to resource group %s", "授权仅限资源组 %s"},
	{"the call was refused: nothing changed", "调用被拒绝，未造成变更"},
	{"what was there before is only partly known, so what was gained may be less", "此前的权限仅部分已知，实际新增可能更少"},
	{"the text of %s is inferred from what the vendor says it grants", "%s 的内容依据官方说明推断"},
	{"only the main part of the text of %s is known", "仅知道 %s 的主要内容"},
	{"the text of control policy %s is not known", "管控策略 %s 的内容未知"},
	{"the text of custom policy %s was never seen", "从未见过自定义策略 %s 的内容"},
	{"the text of custom policy %s cannot be read", "自定义策略 %s 的内容无法读取"},
	{"what system policy %s allows is not known here", "系统策略 %s 允许的操作未知"},
	{"%s cannot be read: %s", "无法读取 %s：%s"},
	{"+%s more known actions", "另有 %s 个已知操作"},
	{"%s (before: %s)", "%s（此前：%s）"}, {"%s (still allowed: %s)", "%s（仍允许：%s）"},
	{"%s days", "%s 天"}, {"%s day", "%s 天"}, {"%s hours", "%s 小时"}, {"%s hour", "%s 小时"}, {"%s minutes", "%s 分钟"}, {"%s minute", "%s 分钟"},
	{"%s seconds", "%s 秒"}, {"%s second", "%s 秒"},
}

// origins are the sentences about where an identity or a key comes from.
func origins() (out [][2]string) {
	for _, act := range [][3]string{
		{"the identity was created", "该身份由", "创建"}, {"the session was opened", "该会话由", "发起"}, {"the key was restored", "该密钥由", "恢复"},
		{"the key was made", "该密钥由", "创建"}, {"the password was set", "该密码由", "设置"},
	} {
		for _, who := range [][2]string{{"user %s", "用户 %s"}, {"role %s", "角色 %s"}, {"the root account", "主账号"}, {"%s", " %s"}} {
			for _, key := range [][2]string{{"", ""}, {" with AccessKey %s", " 使用 AccessKey %s"}} {
				for _, when := range [][2]string{{" at the same moment", " 在同一时刻"}, {" %p before", " 于 %s前"}} {
					out = append(out, [2]string{act[0] + " by " + who[0] + key[0] + when[0], act[1] + who[1] + key[1] + when[1] + act[2]})
				}
			}
		}
	}
	return out
}

// n is t for a count: one or many, with the count as first argument.
func (l lang) n(count int64, one, many string, args ...any) string {
	phrase := many
	if count == 1 {
		phrase = one
	}
	return l.t(phrase, append([]any{num(count)}, args...)...)
}

func (l lang) severity(s alert.Severity) string { return l.t(s.String()) }

// num writes a number with separators for thousands.
func num(n int64) string {
	s := strconv.FormatInt(n, 10)
	neg := n < 0
	if neg {
		s = s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		s = "-" + s
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "—"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// zh holds every phrase of the reports in Chinese. A test reads the phrases
// out of the sources and finds what is missing.
var zh = map[string]string{
	"info": "提示", "low": "低", "medium": "中", "high": "高", "critical": "严重",

	"trailwarden replay report":         "trailwarden 回放报告",
	"%s alert":                          "%s 条告警",
	"%s alerts":                         "%s 条告警",
	"%s %s":                             "%s 条%s",
	", ":                                "、",
	"between %s and %s":                 "时间介于 %s 与 %s 之间",
	"at %s":                             "时间为 %s",
	"first sign: %s (%s)":               "最早迹象:%s(%s)",
	"No alerts in %s events":            "%s 个事件中没有告警",
	"No alerts: no event was evaluated": "没有告警:没有任何事件被评估",
	"; ":                                ";",
	"%s of them only attempted":         "其中 %s 条仅为尝试",
	"nothing is known about what was not read, see below": "未读取的部分无从判断,见下文",

	"Scope and coverage": "范围与覆盖",
	"Sources":            "数据来源",
	"standard input":     "标准输入",
	"Time range":         "时间范围",
	"from %s":            "自 %s",
	"before %s":          "至 %s(不含)",
	"all":                "全部",
	"Entity":             "对象",
	"Events found":       "事件时间",
	"%s to %s":           "%s 至 %s",
	"Files read":         "已读文件",
	"Calls that differ in nothing but time are one row.":          "除时间外完全相同的调用合为一行。",
	"What one of them did: trailwarden entity show ENTITY SOURCE": "查看其中某个对象的操作：trailwarden entity show 对象 数据来源",
	"What was done, in order":                                     "按时间顺序的操作",
	"Addresses":                                                   "地址",
	"Still open at the end of what was read":                      "读取范围结束时仍然有效",
	"(ended %s by %s)":                                            "(已于 %s 由 %s 终止)",
	"%s in all":                                                   "共 %s 项",
	"incident %s":                                                 "事件组 %s",
	"Who made whom":                                               "创建关系",
	"Incidents":                                                   "事件组",
	"%s, %s by it, %s refused or failed":                          "%s 次，由其发起 %s 次，被拒绝或失败 %s 次",
	"Entities":                                                    "涉及对象",
	"Number":                                                      "编号",
	"Alerts that share an actor, key, address or target within a day; an actor and a target, or an actor whom one of them tells the making of, within 30 days.": "一天之内涉及相同主体、密钥、地址或目标的告警;30 天之内主体与目标均相同,或主体由其中某条告警所述的操作创建的告警。",
	"Role here":     "角色",
	"For":           "归属",
	"Keys":          "密钥",
	"Events":        "事件",
	"Made":          "创建了",
	"%s in part":    "%s 个只读到一部分",
	"%s not at all": "%s 个完全未读",
	"Not looked at": "未查看",
	"%s, hidden or not named like events: %s": "%s 个（隐藏，或文件名不像事件文件）：%s",
	"Not opened": "未打开",
	"%s delivery, by its name of another time or region":      "%s 个投递文件(文件名表明属于其他时间或地域)",
	"%s deliveries, by their names of other times or regions": "%s 个投递文件(文件名表明属于其他时间或地域)",
	"%s of %s": "%s / %s",
	"Records":  "记录",
	"%s (%s events evaluated, %s duplicates, %s parked, %s late)": "%s(评估事件 %s,重复 %s,搁置 %s,迟到 %s)",
	"%s outside the filter":      "过滤范围之外 %s",
	" (%s to %s)":                "(%s 至 %s)",
	"Parked, by reason":          "搁置原因",
	"Read":                       "读取量",
	"%s stored, %s unpacked":     "存储 %s,解压后 %s",
	"Missing hours":              "缺失时段",
	"Quiet hours":                "平静时段",
	"not looked for in this run": "本次运行未检查",
	"none among those that have events around them; a few events lie far from the others, and the time between was not looked at": "事件连续的时段内无缺失；少数事件距其他事件很远，其间的时段未检查",
	"none that has events on other days":                                "没有其他日期通常有事件的缺失时段",
	"%s stretch without any event, in which other days have few, too":   "%s 段时间没有任何事件,其他日期的同一时段也很少有事件",
	"%s stretches without any event, in which other days have few, too": "%s 段时间没有任何事件,其他日期的同一时段也很少有事件",
	"none: no whole hour without events between the first and the last": "无:首尾事件之间没有整小时无事件的时段",

	"not known: of an account too few hours have events to tell which are missing":                      "无法判断:某账号有事件的小时数太少",
	"those listed, and perhaps more: of an account too few hours have events to tell which are missing": "所列时段,可能还有更多:某账号有事件的小时数太少,无法判断",
	"Not shown": "未列出",
	"%s alert: a signal, or below the severity asked for":                        "%s 条告警:信号,或低于所要求的级别",
	"%s alerts: signals, or below the severity asked for":                        "%s 条告警:信号,或低于所要求的级别",
	"The run was interrupted: this report covers only what was read until then.": "运行被中断:本报告仅涵盖中断之前读取的内容。",
	"%s file was not read, or not to its end.":                                   "%s 个文件未读取或未读完。",
	"%s files were not read, or not to their end.":                               "%s 个文件未读取或未读完。",
	"%s record is no event and was not evaluated.":                               "%s 条记录不是事件,未被评估。",
	"%s records are no events and were not evaluated.":                           "%s 条记录不是事件,未被评估。",
	"%s rule error: the rule was not evaluated on that event.":                   "%s 次规则错误:该事件未按该规则评估。",
	"%s rule errors: those rules were not evaluated on those events.":            "%s 次规则错误:相应事件未按相应规则评估。",
	"%s rule could not match anything in this run, see Rules.":                   "%s 条规则在本次运行中无法匹配,见“规则”。",
	"%s rules could not match anything in this run, see Rules.":                  "%s 条规则在本次运行中无法匹配,见“规则”。",
	"%s stretch without any event, see Missing hours.":                           "%s 段时间没有任何事件,见“缺失时段”。",
	"%s stretches without any event, see Missing hours.":                         "%s 段时间没有任何事件,见“缺失时段”。",
	"File":        "文件",
	"Why":         "原因",
	"and %s more": "另有 %s 项",
	"Account":     "账号",
	"Region":      "地域",
	"From":        "起",
	"To":          "止",
	"Hours":       "小时",

	"Timeline": "时间线",
	"Alerts by time of their last evidence, one bar for %s (UTC).": "按最后证据时间统计的告警,每柱 %s(UTC)。",
	"All events of the run, with the time of the alerts marked:":   "本次运行的全部事件时段,标出告警所在时间:",
	"%d min":             "%d 分钟",
	"%d h":               "%d 小时",
	"%d d":               "%d 天",
	"By actor over time": "各主体随时间的活动",
	"Hour and weekday":   "小时与星期",
	"Alerts by hour of the day and weekday (UTC); busiest: %s.": "按小时与星期统计的告警(UTC);最多:%s。",
	"%s %02d:00–%02d:00, %s":                                    "%s %02d:00–%02d:00,%s",
	"Sun":                                                       "周日", "Mon": "周一", "Tue": "周二", "Wed": "周三", "Thu": "周四", "Fri": "周五", "Sat": "周六",
	"Top actors":    "主要主体",
	"Top addresses": "主要地址",
	"%s: %s":        "%s:%s",

	"Alerts": "告警",
	"In order of time. Open one for the evidence and what to do.":                                 "按时间排列。展开可见证据与处置办法。",
	"The %s worst of %s alerts are told in full, in order of time; the others follow as a table.": "%[2]s 条告警中最严重的 %[1]s 条完整列出(按时间),其余见其后的表格。",
	"attempt":                                "尝试",
	"Who":                                    "主体",
	"Key":                                    "密钥",
	"Role":                                   "角色",
	"Address":                                "来源地址",
	"When":                                   "时间",
	"%s to %s, %s events":                    "%s 至 %s,%s 个事件",
	"Target":                                 "目标",
	"Rule":                                   "规则",
	"version %s":                             "版本 %s",
	"ATT&CK":                                 "ATT&CK",
	"Outcome":                                "结果",
	"success":                                "成功",
	"refused or failed: nothing was changed": "被拒绝或失败:未造成变更",
	"What it allows":                         "权限变化",
	"expands":                                "扩大",
	"contracts":                              "缩小",
	"changes":                                "有扩大也有缩小",
	"equivalent":                             "等价",
	"unknown":                                "未知",
	"verdict: %s":                            "结论:%s",
	"unknown counts as expanding":            "未知按扩大处理",
	"What was held before: %s.":              "此前的权限:%s。",
	"partly known":                           "部分已知",
	"Removed":                                "移除",
	"Actions":                                "操作",
	"Resources":                              "资源",
	"Principals":                             "主体",
	"Conditions":                             "条件",
	"Escalation paths":                       "提权路径",
	"Witness":                                "例证",
	"%s on %s":                               "对 %[2]s 执行 %[1]s",
	"by %s":                                  "由 %s",
	"with %s":                                "上下文 %s",
	"confirmed by a second evaluation":       "已经二次求值确认",
	"not confirmed":                          "未确认",
	"What was usual":                         "以往的常态",
	"New: %s (%s)":                           "新出现:%s(%s)",
	"Learned in %s days from %s observations.": "由 %s 天、%s 次观察学得。",
	"Usual":     "常用",
	"Share":     "占比",
	"Times":     "次数",
	"Last seen": "最后出现",
	"nothing was used often enough to be usual": "没有任何一项使用得足够频繁",
	"Details":                   "详情",
	"Evidence":                  "证据",
	"What to do":                "处置办法",
	"Copy":                      "复制",
	"Copied":                    "已复制",
	"Filter":                    "筛选",
	"text in alerts and tables": "告警与表格中的文字",
	"Sort":                      "排序",
	"by time":                   "按时间",
	"worst first":               "最严重在前",
	"%s shown":                  "显示 %s 条",

	"More alerts":                      "其余告警",
	"%s further alerts, one row each.": "另外 %s 条告警,每条一行。",
	"%s further alerts, folded by severity, rule, actor and address.":                                              "另外 %s 条告警,按级别、规则、主体与地址合并。",
	"%s alerts are in no table for lack of room; they are in the counts and charts. All of them: replay -o jsonl.": "因篇幅所限,%s 条告警未列入任何表格,但已计入统计与图表。获取全部:replay -o jsonl。",
	"Time":     "时间",
	"Severity": "级别",
	"What":     "内容",
	"Count":    "数量",
	"First":    "首次",
	"Last":     "末次",

	"First evidence": "最早证据",
	"Last evidence":  "最晚证据",

	"Rules":                                 "规则",
	"Rules that fired":                      "触发的规则",
	"Detections":                            "检出",
	"Worst":                                 "最高级别",
	"no alert shown":                        "未列出告警",
	"none":                                  "无",
	"Rules that could not run":              "未能运行的规则",
	"%s rules ran and matched nothing.":     "%s 条规则已运行,未匹配。",
	"Which rules were loaded is not known.": "不知道加载了哪些规则。",
	"switched off":                          "已关闭",
	"shadow: counted, makes no alerts":      "影子模式:只计数,不告警",
	"needs country and network data, which was not given":        "需要国家与网络数据,本次未提供",
	"needs permission changes judged, which this run did not do": "需要判断权限变更,本次运行未进行",

	"Input and versions": "输入与版本",
	"Program":            "程序",
	"Rule set":           "规则集",
	"%s rules":           "%s 条规则",
	"not known":          "未知",
	"Input files":        "输入文件",
	"Bytes":              "字节",
	"SHA-256":            "SHA-256",
	"not computed":       "未计算",
	"Same input and rules give the same report, byte for byte. Times are in UTC.": "相同的输入与规则得到逐字节相同的报告。时间均为 UTC。",

	"Raw alerts": "原始告警",
	"Download %s alerts as JSON lines (gzip, %s)":                                                                                           "下载 %s 条告警(JSON 行,gzip,%s)",
	"The %s worst of %s alerts fit in here. All of them: replay -o jsonl.":                                                                  "此处容纳 %[2]s 条告警中最严重的 %[1]s 条。获取全部:replay -o jsonl。",
	"The link holds the data itself; nothing is fetched.":                                                                                   "链接自身即包含数据,不会访问网络。",
	"Names, addresses and texts in this report were written by whoever made the calls. Invisible characters are shown by their code point.": "报告中的名称、地址与文字由调用者写入;不可见字符以其码位显示。",
}

// notRun says why a rule did not run.
func (l lang) notRun(r Reason) string {
	switch r {
	case Off:
		return l.t("switched off")
	case Shadow:
		return l.t("shadow: counted, makes no alerts")
	case NoGeo:
		return l.t("needs country and network data, which was not given")
	case NoPolicy:
		return l.t("needs permission changes judged, which this run did not do")
	}
	return inert(string(r), maxLine)
}
