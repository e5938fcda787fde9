package responders

import (
	"slices"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/phrase"
)

// InChinese says in Chinese what guards, the machine and alerts about
// ourselves say in English. What they say is stored as they said it, so a
// record of any age reads in its reader's language. Names and numbers stay as
// they are, and so do the cloud's own error texts, save for the codes of which
// cloudCodes knows the sense. So does a sentence that is none of ours: a person's
// words, or those of a guard that is not in this package.
func InChinese(s string) string { return book().Say(s) }

var book = sync.OnceValue(func() *phrase.Book { return phrase.New(slices.Concat(phrases, cloudPhrases), joined, listed) })

// classes end the text of an error whose sentence says as much.
var classes = []string{": " + ErrRefused.Error(), ": " + ErrSettled.Error(), ": " + ErrDrift.Error()}

// joined takes apart what was joined from several sentences.
func joined(s string, say func(string) string) (string, bool) {
	for _, c := range classes {
		if head, ok := strings.CutSuffix(s, c); ok {
			if zh := say(head); zh != head {
				return zh, true
			}
		}
	}
	if head, next, ok := cutLast(s, "; next: "); ok {
		return join(say(head), "；下一步：", say(next)), true
	}
	if zh, ok := answered(s, say); ok {
		return zh, true
	}
	if name, rest, ok := strings.Cut(s, ": "); ok && guardsZH[name] != "" {
		if by, ok := strings.CutPrefix(rest, "not by itself: "); ok {
			return guardsZH[name] + "：不自动执行：" + say(by), true
		}
		return guardsZH[name] + "：" + say(rest), true
	}
	return "", false
}

func listed(s string, say func(string) string) (string, bool) {
	if head, tail, ok := cutLast(s, "; "); ok {
		if zh := say(tail); zh != tail {
			return join(say(head), "；", zh), true
		}
	}
	return "", false
}

func join(head, by, tail string) string {
	if head == "" {
		return tail
	}
	return head + by + tail
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// guardsZH names what speaks before a colon.
var guardsZH = map[string]string{
	"origin": "来源", "kind": "处置类型", "root": "主账号", "target": "对象", "key": "密钥", "protected": "受保护", "self": "自身", "evidence": "证据",
	"fresh": "时效", "hands-off": "人工干预", "freeze": "冻结", "two-person": "双人审批", "shared": "共用", "order": "顺序", "conflict": "冲突", "cap": "上限", "share": "占比",
	"approvers": "审批人", "mode": "模式",
}

// phrases are our sentences and their Chinese. %s is what stays as it is, %p a
// sentence of its own, in the same order in both; a test reads the sentences
// out of the sources and finds what is missing.
var phrases = [][2]string{
	{whyOpenAgain, "其中有事件尚未处理"},
	// next steps
	{"look at the alert and act by hand if it is real", "请查看告警，如属实请手动处置"},
	{"page a person", "请通知值班人员"},
	{"page a person: %p", "请通知值班人员：%s"},
	{"look at the alert and act by hand; report the failure", "请查看告警并手动处置，并反馈该故障"},
	{"enable respond.ram, or correct the playbook", "请启用 respond.ram，或修正剧本"},
	{"only the root user can disable or delete this key, in the RAM console", "只有主账号本人能在 RAM 控制台禁用或删除该密钥"},
	{"act on the user: disable the key, or quarantine the user", "请处置该用户：禁用密钥，或隔离用户"},
	{"find the owner of the key, then disable it by hand", "请查明密钥归属，再手动禁用"},
	{"disable the key of whoever assumed the role, or cut the role's sessions (%s)", "请禁用扮演该角色者的密钥，或切断角色会话（%s）"},
	{"cut the role's sessions (%s)", "请切断角色会话（%s）"},
	{"disable the key instead (%s)", "请改为禁用密钥（%s）"},
	{"look at the versions (aliyun ram ListPolicyVersions) and set the right one by hand", "请查看版本（aliyun ram ListPolicyVersions），再手动设置正确的版本"},
	{"disable the key of whoever opened the session, or deny the role", "请禁用会话发起者的密钥，或对该角色设置拒绝"},
	{"block the console login of the user", "请禁用该用户的控制台登录"},
	{"this principal is protected by configuration", "该身份受配置保护"},
	{"check the responder's credentials", "请检查处置身份的凭证"},
	{"our own credentials did something that a rule forbids", "本系统自身的凭证触发了规则"},
	{"watch the actor; nothing was changed", "请继续观察该身份；未造成任何变更"},
	{"check the clocks, and act by hand if it is real", "请检查时钟，如属实请手动处置"},
	{"look at what is true now and act by hand", "请核实当前状态并手动处置"},
	{"ask who did that, then approve or deny", "请查明是谁所为，再批准或拒绝"},
	{"trailwarden action unfreeze, then approve it", "先执行 trailwarden action unfreeze，再批准"},
	{"approve or deny it anew", "请重新批准或拒绝"}, {"approve or deny it", "请批准或拒绝"},
	{"have two approvers look at it", "请两名审批人共同核查"},
	{"see who uses it, then approve or deny", "请查明谁在使用，再批准或拒绝"},
	{"wait for it to end", "等待其结束"},
	{"many keys at once: see whether one cause is behind it, then approve or deny each", "短时间内涉及多个密钥：请查明是否同一原因，再逐一批准或拒绝"},
	{"the present state is read before anything else", "先读取当前状态，再决定后续"},
	{"it is read again", "将再次读取"},
	{"look at the state by hand; it is read again every %s", "请手动核实状态；系统每 %s 再读取一次"},
	{"it is not contained; do it by hand: %s", "尚未处置，请手动执行：%s"},
	{"look at the state by hand, then undo again", "请手动核实状态，再次撤销"},
	{"undo again, or by hand", "请再次撤销，或手动恢复"},
	{"somebody changed it since: look at what is there now, and change it by hand", "此后有人改动过：请核实现状并手动修改"},
	{"trailwarden status, then look at the trail", "先执行 trailwarden status，再检查审计跟踪"},
	{"rotate or narrow the responder's role, then look at what it did", "请轮换凭证或收窄处置角色的权限，再核查其操作"},
	{"mend it, then trailwarden notify requeue %s", "修复后执行 trailwarden notify requeue %s"},

	// guards
	{"the guard failed (%s), so nothing is done", "护栏检查出错（%s），因此不执行"},
	{"the alert comes from a %p, and the past is never acted on", "告警来自%s，不对过去的事件执行处置"},
	{"replay", "回放"}, {"backfill", "补录"},
	{"it is not known whether the alert is live", "无法确认告警是否实时"},
	{"nothing here can do %s", "当前没有可执行 %s 的组件"},
	{"%s is not among the allowed kinds (respond.guards.kinds)", "%s 不在允许的处置类型中（respond.guards.kinds）"},
	{"this is the root account, whose key no role can switch off", "这是主账号，任何角色都无法禁用其密钥"},
	{"the alert does not say which account this is", "告警未写明账号"},
	{"it is about a group, a policy or a trail, and names a principal besides", "处置对象是用户组、策略或跟踪，却又指定了身份"},
	{"this acts on a role, and the alert is about a user", "该处置针对角色，而告警涉及用户"},
	{"the alert names no user, and a call without a user name would hit our own key", "告警未写明用户，而不带用户名的调用会作用于本系统自己的密钥"},
	{"the user name holds characters that no RAM user name has", "用户名含有 RAM 用户名不可能出现的字符"},
	{"a role has no key of its own; its session tokens end by themselves", "角色没有自己的密钥，其会话令牌会自行过期"},
	{"this acts on a user, and the alert is about a role", "该处置针对用户，而告警涉及角色"},
	{"the alert names no role", "告警未写明角色"},
	{"the alert does not say whose key this is", "告警未写明密钥归属"},
	{"a principal of type %s has no key that could be switched off", "类型为 %s 的身份没有可禁用的密钥"},
	{"the key's usual networks are not known, so no fence can be drawn", "不知道该密钥的惯用网络，无法设置网络限制"},
	{"it is not known which version was in force before", "不知道此前生效的是哪个版本"},
	{"neither the alert nor the playbook names the %s", "告警和剧本都未写明 %s"},
	{"the alert names no AccessKey", "告警未写明 AccessKey"},
	{"this is a temporary token, which cannot be switched off", "这是临时令牌，无法禁用"},
	{"this is a console session, which has no key to switch off", "这是控制台会话，没有可禁用的密钥"},
	{"the record masks the AccessKey, so it cannot be told which one it is", "日志对 AccessKey 做了脱敏，无法确定是哪一个"},
	{"the AccessKey does not look like one that a user owns", "该 AccessKey 不像是用户所有的密钥"},
	{"this is a role of Alibaba Cloud's own services", "这是阿里云服务自身的角色"},
	{"the account is protected", "该账号受保护"},
	{"the user is protected", "该用户受保护"},
	{"the role is protected", "该角色受保护"},
	{"the AccessKey is protected", "该 AccessKey 受保护"},
	{"who we are in the cloud could not be found out, so this might be our own key", "无法查明本系统在云上的身份，这可能是自己的密钥"},
	{"who we are in the cloud is not known, so this might be our own key", "不清楚本系统在云上的身份，这可能是自己的密钥"},
	{"this is the identity that trailwarden itself works with", "这是 trailwarden 自身使用的身份"},
	{"the alert names no event as evidence", "告警没有可作为证据的事件"},
	{"the call was refused, so the act did not happen", "调用被拒绝，操作并未发生"},
	{"the alert does not say whether the act happened", "告警未写明操作是否发生"},
	{"the time of the evidence is not known", "证据的时间未知"},
	{"the evidence is from the future (%s)", "证据的时间在未来（%s）"},
	{"the evidence is %s old and the limit is %s", "证据已过去 %s，上限为 %s"},
	{"the evidence is %s old and the limit is %s (%p)", "证据已过去 %s，上限为 %s（%s）"},
	{"it could not be read whether a person has undone this before", "无法读取此前是否有人撤销过该处置"},
	{"somebody took back at %s what we had done to it", "本系统处置后，有人于 %s 将其撤销"},
	{"somebody switched it on again at %s after we had switched it off", "本系统禁用后，有人于 %s 重新启用"},
	{"the kill switch was thrown right before the call", "调用前一刻紧急停止开关被触发"},
	{"the kill switch could not be read", "无法读取紧急停止开关"},
	{"all actions are frozen since %s by %s", "所有处置自 %s 起被 %s 冻结"},
	{"two people have to approve what is done in this account (respond.guards.two_person)", "该账号的处置须经两人审批（respond.guards.two_person）"},
	{"others may depend on this role, group or policy", "该角色、用户组或策略可能有其他使用者"},
	{"it could not be read how the step before it ended", "无法读取上一步的结果"},
	{"there is no record of the step before it", "没有上一步的记录"},
	{"action %s comes first and is %p", "须先完成处置 %s，其状态为%s"},
	{"playbook", "剧本"}, {"machine", "系统"},
	{"info", "提示"}, {"low", "低危"}, {"medium", "中危"}, {"high", "高危"}, {"critical", "严重"},
	{"proposed", "待审批"}, {"approved", "已批准"}, {"executing", "执行中"}, {"in_doubt", "结果未知"}, {"undoing", "撤销中"},
	{"done", "已处置"}, {"failed", "失败"}, {"refused", "已拒绝执行"}, {"observed", "仅观察"}, {"denied", "审批未通过"}, {"expired", "审批超时"}, {"undone", "已撤销"},
	{"it could not be read whether another action on the same target is under way", "无法读取同一对象是否有其他处置正在进行"},
	{"action %s on the same target is under way", "同一对象的处置 %s 正在进行"},
	{"it could not be read how much was done lately", "无法读取近期执行了多少处置"},
	{"%s actions were done in the last hour and the cap is %s", "最近一小时已执行 %s 次处置，上限为 %s 次"},
	{"%s actions were done in this account in the last hour and the cap is %s", "该账号最近一小时已执行 %s 次处置，上限为 %s 次"},
	{"%s actions were done in this account in the last day and the cap is %s", "该账号最近一天已执行 %s 次处置，上限为 %s 次"},
	{"how many keys the account has could not be read, and a share of them is the limit", "无法读取该账号的密钥数量，而上限按其占比计算"},
	{"it is not known how many keys the account has, and a share of them is the limit", "不知道该账号的密钥数量，而上限按其占比计算"},
	{"this would be key %s of %s in the account within a day and the limit is %s", "这将是该账号一天内处置的第 %s 个密钥（共 %s 个），上限为 %s 个"},

	// the machine
	{"dry-run: %p", "演练：%s"},
	{"nothing was changed", "未做任何更改"},
	{"nothing here can do this, and nothing was changed", "当前没有可执行该处置的组件，未做任何更改"},
	{"%p (a person would be asked: %p)", "%s（需要人工审批：%s）"},
	{"nothing would be changed: %p", "不会有任何更改：%s"},
	{"nothing was changed, and the present state could not be read: %p", "未做任何更改，且无法读取当前状态：%s"},
	{"nobody answered within %s, so nothing was done", "%s 内无人答复，未执行任何操作"},
	{"there is no playbook %s any more", "剧本 %s 已不存在"},
	{"the playbook %s is not in mode auto any more", "剧本 %s 已不再是 auto 模式"},
	{"respond.mode is observe now, so nothing is done", "respond.mode 现为 observe，因此不执行"},
	{"of those who approved it %s still may, and %s are needed", "批准者中仍有权的为 %s 人，需要 %s 人"},
	{"by the configuration of today it would do something else than what was approved", "按现在的配置，将执行的操作与已批准的不同"},
	{"respond.mode is approve now", "respond.mode 现为 approve"},
	{"it could not be done within %s of its approval", "批准后 %s 内未能执行"},
	{"it could not be done within %s of its approval (%p)", "批准后 %s 内未能执行（%s）"},
	{"it could not be done within %s", "%s 内未能执行"},
	{"it could not be done within %s (%p)", "%s 内未能执行（%s）"},
	{"the present state could not be read, and nothing is done without: %p", "无法读取当前状态，因此不执行：%s"},
	{"it was not in force, and it is not tried again: %p", "处置未生效，不再重试：%s"},
	{"the answer was lost: %p", "未收到应答：%s"},
	{"given up after %s tries: %p", "重试 %s 次后放弃：%s"},
	{"tried again later: %p", "稍后重试：%s"},
	{"the process ended in the middle of the call", "进程在调用途中退出"},
	{"its outcome never became known: %p", "始终未能得知结果：%s"},
	{"the outcome is not known: %p", "结果未知：%s"},
	{"in force, found by reading after a lost answer", "已生效（未收到应答，经读取确认）"},
	{"the answer was lost, it is not in force, and after %s it is too late to try again by itself", "未收到应答且未生效，已过去 %s，不再自动重试"},
	{"it was tried twice and is not in force", "已尝试两次，仍未生效"},
	{"the process ended %s times in the middle of it, and it is not in force", "进程在执行途中退出 %s 次，处置未生效"},
	{"the answer was lost, and then somebody took it back", "未收到应答，随后被人撤销"},
	{"the answer was lost, and then somebody switched it on again", "未收到应答，随后有人重新启用"},
	{"the undo is not in force, and it is not tried again in the name of %s: %p", "撤销未生效，不再以 %s 的名义重试：%s"},
	{"the answer was lost, it is not in force, and it is not tried again: %p", "未收到应答且未生效，不再重试：%s"},
	{"the outcome of the undo is not known: %p", "撤销结果未知：%s"},
	{"the outcome of the undo could not be found out: %p", "无法查明撤销结果：%s"},
	{"no longer in force, found by reading after a lost answer", "已不再生效（未收到应答，经读取确认）"},
	{"no longer in force, found by reading after a lost answer (%p)", "已不再生效（未收到应答，经读取确认；%s）"},
	{"the undo was tried %s times and is not in force", "已尝试撤销 %s 次，仍未完成"},
	{"not undone: %p", "未能撤销：%s"},
	{"the undo has no answer yet: %p", "撤销尚未收到应答：%s"},
	{"%s of %s approvals", "已获 %s/%s 人批准"},
	{"no longer so: %s took it back by %s at %s; look at this alert anew", "已不再如此：%s 已通过 %s 将其撤销（%s）；请重新研判本告警"},
	{"no longer so: %s undid action %s, which had done it; look at this alert anew", "已不再如此：%s 撤销了当初执行它的处置 %s；请重新研判本告警"},
	{"its own event is in the audit trail", "操作审计中已出现该操作的事件"},
	{"the audit trail did not show it within %s", "%s 内操作审计未出现该操作的事件"},
	{"nothing to do: %p", "无需处置：%s"},
	{"changed, and deleted by somebody right after", "已更改，随后被他人删除"},

	{"restore what was before: %s", "恢复原状：%s"},

	// alerts about ourselves
	{"Containment failed: %s", "处置失败：%s"},
	{"Containment in doubt: %s", "处置结果未知：%s"},
	{"Not contained: %s", "未处置：%s"},
	{"The audit trail does not show what was done: %s", "操作审计中未出现已执行的处置：%s"},
	{"it was read back and is in force, but its own event never came: the trail may be broken or late, or the responder's identity is missing in the list own_principals", "处置经读取确认已生效，但始终未收到其事件：审计跟踪可能中断或延迟，或名单 own_principals 缺少处置身份"},
	{"The responder's identity made a call that no action asked for: %s", "处置身份发起了并非由处置触发的调用：%s"},
	{"%p, from %s; no action that makes this call was under way in account %s, so somebody else has trailwarden's credentials or uses its name", "%s，来自 %s；账号 %s 当时没有会发起该调用的处置，说明他人持有 trailwarden 的凭证或冒用其名称"},
	{"%s called %s on %s", "%s 调用了 %s，对象 %s"},
	{"Alerts do not reach %s", "告警无法送达 %s"},
	{"nothing was accepted since %s: %s; what waits is sent when it is mended", "自 %s 起未接受任何消息：%s；修复后将发送等待中的消息"},
	{"a notice could not be delivered: %s", "一条通知无法投递：%s"},
}
