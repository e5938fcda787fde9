package console

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// problems are what a status complains of, as it is formatted there, and in
// Chinese; {1} is the first argument. A test reads the formats out of the
// sources. A status is words for logs and terminals too, so it is English where
// it is made; that a page is in Chinese is known here only. General ones come
// last: the first that fits counts.
var problems = [][2]string{
	{"the %s refused since %s, the rules before stay in force: %s", "{1}自 {2} 起被拒绝,之前的规则继续生效:{3}"},
	{"rules in the files are", "文件中的规则"},
	{"configuration is", "配置文件"},
	{"the configuration was changed in %s; this counts when the program is started again", "配置在 {1} 处已更改;重新启动程序后才生效"},
	{"%s holds %d more logs between %s and %s than were evaluated", "{1} 在 {3} 至 {4} 之间比已评估的多 {2} 条日志"},
	{"%s: counts cannot be compared: %s", "{1}:无法核对数量:{2}"},
	{"%s: no good read since %s (%s); nothing is seen of it now", "{1}:自 {2} 起没有成功读取({3});目前看不到其中的任何内容"},
	{"partition %d is %s: %s", "分区 {1} 处于 {2}:{3}"},
	{"%d of %d events of the last hour came too late for rules that go by order; they were evaluated. A backlog, or detect.grace is too short for this trail",
		"最近一小时的 {2} 个事件中有 {1} 个到达过晚,已评估,但依赖顺序的规则无法按序处理:或是正在处理积压,或是 detect.grace 对该跟踪过短"},
	{"alerts raised since %s wait to be told and acted on, in %d commit records: the disk or the machine is too slow for them",
		"自 {1} 起产生的告警(提交记录 {2} 条)仍在等待通知与处置:磁盘或主机过慢,跟不上"},
	{"alerts wait for the responders: %s", "告警在等待响应进程:{1}"},
	{"alerts do not reach %s since %s, %d wait: %s", "自 {2} 起告警无法送达 {1},{3} 条待发:{4}"},
	{"%d notices to %s could not be delivered and were given up (trailwarden notify ls)", "发往 {2} 的 {1} 条通知未能送达,已放弃(trailwarden notify ls)"},
	{"the store is closed", "存储已关闭"},
	{"stream %s does not exist any more: somebody deleted it", "流 {1} 已不存在:有人将其删除"},
	{"the embedded server reports %q: it stores nothing until this process restarts; check the disk first", "内嵌服务器报告 {1}:重启此进程之前不会存储任何内容;请先检查磁盘"},
	{"the embedded server has not said for %s how it is: it waits for the disk, or for itself; check the disk", "内嵌服务器已 {1} 没有报告状态:它在等待磁盘或自身;请检查磁盘"},
	{"the disk of state_dir has room for %d MiB, others fill it: once it is full nothing is stored and the program ends; free space", "state_dir 所在磁盘仅剩 {1} MiB,被其他数据占用:写满后将无法存储,程序随之退出;请释放空间"},
	{"no connection to the server (%v)", "与服务器没有连接({1})"},
	{"the last %d attempts to store a message got no answer", "最近 {1} 次存储消息没有得到答复"},
	{"the server refuses us something: %s", "服务器拒绝了我们的请求:{1}"},
	{"QUAR is %.0f %% full: when it is full the oldest parked records are dropped; look at them and clear them", "QUAR 已用 {1}%:满后最早搁置的记录会被丢弃;请查看并清理"},
	{"%s is full (%.0f %% of %d MiB): %s", "{1} 已满({3} MiB 的 {2}%):{4}"},
	{"%s is %.0f %% full (of %d MiB): %s", "{1} 已用 {2}%(共 {3} MiB):{4}"},
	{"reading from the source stops until detection has caught up; the source keeps the rest", "停止从数据源读取,直到检测赶上;其余保留在数据源中"},
	{"detection stops until the responders have caught up", "检测停止,直到响应进程赶上"},
	{"notices and containment cannot be journalled and stop; raise nats.max_bytes", "通知与处置无法写入日志而停止;请调高 nats.max_bytes"},
	{"snapshots fail, so starts take longer and EVENTS is not cleared; raise nats.max_bytes", "快照失败,因此启动变慢且 EVENTS 不会清理;请调高 nats.max_bytes"},
	{"the oldest parked records are dropped", "最早搁置的记录会被丢弃"},
	{"nothing more is written into the audit log; raise nats.max_bytes", "审计日志不再写入新内容;请调高 nats.max_bytes"},
	{"the start", "启动"},
	{"others in the consumer group hold its shards, and what they read does not come to this store; next: a consumer_group of its own, or one nats.url for all",
		"消费组中的其他进程持有其分区,所读内容不进入本存储;请为本进程另设 consumer_group,或让所有进程共用一个 nats.url"},
	{"stream %s: %v", "流 {1}:{2}"},
}

var verb = regexp.MustCompile(`%(?:%|\.0f|[a-z])`)

// problemForms are the formats of problems as patterns of what they make.
var problemForms = sync.OnceValue(func() []*regexp.Regexp {
	out := make([]*regexp.Regexp, len(problems))
	for i, p := range problems {
		var b strings.Builder
		rest := p[0]
		for _, at := range verb.FindAllStringIndex(p[0], -1) {
			cut := len(p[0]) - len(rest)
			b.WriteString(regexp.QuoteMeta(rest[:at[0]-cut]))
			if p[0][at[0]:at[1]] == "%%" {
				b.WriteString("%")
			} else {
				b.WriteString("(.*?)")
			}
			rest = p[0][at[1]:]
		}
		out[i] = regexp.MustCompile(`(?s)^` + b.String() + regexp.QuoteMeta(rest) + `$`)
	}
	return out
})

// problem says a problem of a status in the page's language; what is not known
// stays as it is.
func (l lang) problem(s string) string {
	if s = text.Cut(shown(s), maxText); l != chinese {
		return s
	}
	return chineseProblem(s, 2)
}

func chineseProblem(s string, deep int) string {
	for i, form := range problemForms() {
		m := form.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		var pairs []string
		for n, arg := range m[1:] {
			if deep > 1 { // what it means that something is full is a sentence of its own
				arg = chineseProblem(arg, deep-1)
			}
			pairs = append(pairs, "{"+strconv.Itoa(n+1)+"}", arg)
		}
		return strings.NewReplacer(pairs...).Replace(problems[i][1])
	}
	return s
}
