package responders

import (
	"regexp"
	"strings"
)

// failed is the error of a call of the cloud as package ram words it: the call, the
// code or what stands for one, what is said of it, the request, and its class.
var failed = regexp.MustCompile(`(?s)^([a-z]+ [A-Z][A-Za-z]*): (?:([A-Za-z][A-Za-z0-9.]*) \(status (\d+)\)|status (\d+)|no answer)(?:: (.*?))??(?:, request ([-A-Za-z0-9]+))?(?:: (?:refused|already so|outcome unknown|try again later|target changed since))?$`)

// cloudCodes says what the cloud's codes mean, the longer before what they begin with.
var cloudCodes = [][2]string{
	{"NoPermission", "没有权限"},
	{"Forbidden", "被禁止"},
	{"Throttling", "请求过于频繁，被限流"},
	{"EntityNotExist.User.AccessKey", "AccessKey 不存在"},
	{"EntityNotExist.User.LoginProfile", "用户未启用控制台登录"},
	{"EntityNotExist.User", "用户不存在"},
	{"EntityNotExist.Role", "角色不存在"},
	{"EntityNotExist.Group", "用户组不存在"},
	{"EntityNotExist.Policy", "权限策略不存在"},
	{"EntityNotExist", "对象不存在"},
	{"EntityAlreadyExist", "对象已存在"},
	{"LimitExceeded", "数量超出配额"},
	{"DeleteConflict", "对象仍被使用，无法删除"},
	{"ConcurrentModification", "对象正被他人修改"},
	{"InvalidAccessKeyId", "AccessKey 无效"},
	{"InvalidSecurityToken", "安全令牌无效或已过期"},
	{"MissingSecurityToken", "缺少安全令牌"},
	{"SignatureDoesNotMatch", "签名不匹配"},
	{"IncompleteSignature", "签名不完整"},
	{"SignatureNonceUsed", "重复的请求"},
	{"InvalidParameter", "参数无效"},
	{"MissingParameter", "缺少参数"},
	{"ServiceUnavailable", "服务暂不可用"},
	{"InternalError", "云端内部错误"},
}

// answered says in Chinese what a call of the cloud failed with. The code stays, since
// it is what is searched for; the cloud's own sentence goes where its code is known,
// for it says no more, and stays otherwise. What is ours in it is said in Chinese.
func answered(s string, say func(string) string) (string, bool) {
	m := failed.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	code, status, detail := m[2], m[3]+m[4], m[5]
	out := "没有应答"
	known := false
	switch {
	case code != "":
		out = code
		for _, c := range cloudCodes {
			if rest, ok := strings.CutPrefix(code, c[0]); ok && (rest == "" || rest[0] == '.' || rest == "s" || strings.HasPrefix(rest, "s.")) {
				out, known = c[1]+"："+code, true
				break
			}
		}
		out += "（状态码 " + status + "）"
	case status != "":
		out = "状态码 " + status
	}
	grant := ""
	if head, need, ok := strings.Cut(detail, "; grant the responder's role "); ok {
		grant = "；请为处置角色授予 " + strings.TrimSuffix(need, ", or remove the Deny") + "，或移除 Deny"
		detail = head
	}
	if zh := say(detail); zh != detail {
		detail = zh
	} else if known {
		// The parts that say which right was missing stand in brackets behind the sentence.
		i := strings.LastIndex(detail, " [")
		if i < 0 || !strings.HasSuffix(detail, "]") {
			i = len(detail)
		}
		detail = strings.TrimSpace(detail[i:])
	}
	if detail != "" {
		out += "：" + detail
	}
	out += grant
	if m[6] != "" {
		out += "，请求 ID " + m[6]
	}
	return m[1] + " 失败：" + out, true
}

// The sentences of the executors (package ram) and of refused requests, and
// their Chinese; read as phrases is. What the cloud itself answered: answered.
var cloudPhrases = [][2]string{
	// a person's request
	{"approve action %s: not allowed: %p", "不能批准处置 %s：%s"},
	{"deny action %s: not allowed: %p", "不能否决处置 %s：%s"},
	{"undo action %s: not allowed: %p", "不能撤销处置 %s：%s"},
	{"contain: not allowed: %p", "不能处置：%s"},
	{"alert %s: not allowed: %p", "不能处理告警 %s：%s"},
	{"ask about %s: not allowed: %p", "不能就 %s 询问：%s"},
	{"it is not said who asks", "未写明请求者"},
	{"not among respond.approvers", "不在 respond.approvers 之列"},
	{"not an approver of this playbook", "不是该剧本的审批人"},
	{"not an approver for this account", "不是该账号的审批人"},
	{"the action is about this very person", "该处置针对的正是本人"},
	{"it is %p already", "其状态已为%s"},
	{"it is %p already by %s at %s", "其状态已为%s（%s 于 %s）"},
	{"it expired at %s", "已于 %s 过期"},
	{"the action is not the one that was shown; look at it again", "该处置与所展示的不同，请重新查看"},
	{"who asks for an action cannot approve it", "发起处置者不能批准该处置"},
	{"this person has approved it already, and another one is needed", "此人已批准过，还需要另一人批准"},
	{"all actions are frozen; unfreeze first", "所有处置均已冻结，请先解除冻结"},
	{"it is being worked on; try again", "正在处理，请重试"},
	{"no approvers are configured; undo on the command line (%s)", "未配置审批人，请在命令行撤销（%s）"},
	{"action %s did the same since, so what is there now is its doing; undo that one", "处置 %s 此后又执行了同样的操作，现状由它造成；请撤销那一次处置"},
	{"somebody switched it on again at %s, so what is there now is not our doing; change it by hand", "有人于 %s 重新启用过，现状并非本系统造成；请手动修改"},
	{"somebody else was first; look at it again", "已有他人先行操作，请重新查看"},
	{"the action is %p, and only what is done can be undone", "该处置的状态为%s，只有已完成的处置才能撤销"},
	{"the action changed nothing, so there is nothing to undo", "该处置未做任何更改，无需撤销"},
	{"the state before was not recorded", "未记录之前的状态"},
	{"the action is older than %s", "该处置已超过 %s"},
	{"respond.mode is observe, so nothing is done", "respond.mode 为 observe，因此不执行"},
	{"the alert names nobody whom %s could be done to", "告警未写明可执行 %s 的对象"},
	{"nothing here can do %s; want one of %s", "当前没有可执行 %s 的组件，可选：%s"},
	{"key is %s; want actor or target", "key 为 %s，应为 actor 或 target"},
	{"the incident has no such action", "该事件没有这项处置"},
	{"no such alert: %s", "没有这条告警：%s"},
	{"no such action: %s", "没有这项处置：%s"},
	{"no such action that can be asked for about this alert: %s (asked for already, or not possible here)", "该告警不能请求这项处置：%s（已请求过，或此处不可行）"},
	{"no such action: %s is the beginning of %s ids: give more of it", "没有这项处置：%s 是 %s 个 ID 的开头，请多给几位"},
	{"cannot do this: %p", "无法执行：%s"},
	{"verdict %s: want true_positive, false_positive or benign", "结论为 %s，应为 true_positive、false_positive 或 benign"},
	{"it is closed; reopen it first", "事件已关闭，请先重新打开"},
	{"the note is empty", "备注为空"},
	{"%s is nothing that can be done with an alert", "%s 不是可对告警执行的操作"},
	{"cannot ask: %p", "无法询问：%s"},
	{"nobody is named as the owner of %s; add them to respond.ask.owners, or name the person", "未指定 %s 的负责人；请在 respond.ask.owners 中添加，或指明人员"},
	{"the incident is about trailwarden itself", "该事件涉及 trailwarden 自身"},
	{"no destination can ask %s; a Slack destination with app_token asks slack:U…", "没有可询问 %s 的渠道；配置了 app_token 的 Slack 渠道可询问 slack:U…"},
	{"the incident is closed; reopen it first", "事件已关闭，请先重新打开"},
	{"%s people were asked already", "已询问过 %s 人"},
	{"%s has %s questions waiting already", "%s 已有 %s 个待答问题"},
	{"there is no such question about incident %s", "事件 %s 没有这个问题"},
	{"this press could not be understood, so nothing was done", "无法识别这次点击，未执行任何操作"},
	{"this press could not be understood, so nothing was done (%s)", "无法识别这次点击，未执行任何操作（%s）"},

	// executors: what is there, and what was
	{"nothing was changed: %p", "未做任何更改：%s"},
	{"nothing to do, it is %p", "无需处置：现为%s"},
	{"nothing to do, it was %p", "无需处置：此前已为%s"},
	{"nothing to do, %p", "无需处置：%s"},
	{"nothing to undo: %s", "无需撤销：%s"},
	{"nothing to undo, it is %p again", "无需撤销：已恢复为%s"},
	{"it does not exist (any more)", "对象已不存在"},
	{"%s: it does not exist (any more)", "%s 已不存在"},
	{"user %s has no console login: it does not exist (any more)", "用户 %s 没有控制台登录"},
	{"detached, but the policy %s, which is attached to nobody now, could not be deleted (%p): outcome unknown", "已解除绑定，但未能删除已无绑定的策略 %s（%s）"},
	{"%s: it does not exist (any more), or has another name by now", "%s 已不存在，或已改名"},
	{"%p; look for UpdateUser and UpdateGroup in the trail, and act on what has the new name", "%s；请在审计日志中查找 UpdateUser 和 UpdateGroup，并对新名称执行处置"},
	{"it was %p before already, so there is nothing of ours to undo", "处置前已为%s，没有可由本系统撤销的更改"},
	{"it was deleted since, and cannot be given back", "此后已被删除，无法恢复"},
	{"%s was deleted since", "%s 此后已被删除"},
	{"%s was deleted since, and what has its name now is another one; nothing is given to it", "%s 此后已被删除，现在同名的是另一个对象，不向其恢复任何权限"},
	{"somebody changed it since: it is %p, and we left it %p", "此后有人改动过：现为%s，本系统处置后为%s"},
	{"it was deleted right after it was restored", "恢复后随即被删除"},
	{"policy %s was deleted since", "策略 %s 此后已被删除"},
	{"policy %s says something else by now than when it was taken away", "策略 %s 的内容与移除时已不同"},
	{"group %s was deleted since", "用户组 %s 此后已被删除"},
	{"group %s has other policies by now than when the user was taken out; if another action changed them, undo that one first", "用户组 %s 的策略与移出用户时已不同；如由其他处置更改，请先撤销该处置"},
	{"attached", "已授权"}, {"not attached", "未授权"}, {"a member", "组成员"}, {"not a member", "非组成员"}, {"logging", "记录中"}, {"stopped", "已停止"},
	{"Active", "启用（Active）"}, {"Inactive", "禁用（Inactive）"}, {"version %s", "版本 %s"},

	// executors: what they refuse
	{"an action of kind %s came to %s", "类型为 %s 的处置被交给了 %s"},
	{"the state before, as recorded, cannot be read (%s)", "无法读取记录的先前状态（%s）"},
	{"the state before, as recorded, is of another target", "记录的先前状态属于另一对象"},
	{"the role to assume, %s, is not in account %s", "要扮演的角色 %s 不在账号 %s 中"},
	{"the responder works with the key of the root account, which may do everything and cannot be limited; give it a role", "处置身份使用的是主账号密钥，权限无法限制；请改用角色"},
	{"the target is in account %s and the responder's credentials are of account %s; configure a role to assume there", "对象在账号 %s，而处置身份的凭证属于账号 %s；请配置可扮演的角色"},
	{"a call without a user name, a key or a status is never made", "不会发出缺少用户名、密钥或状态的调用"},
	{"a call without a user name, a key or a document is never made", "不会发出缺少用户名、密钥或文档的调用"},
	{"a call without a user name is never made", "不会发出缺少用户名的调用"},
	{"a call without a name or a policy is never made", "不会发出缺少名称或策略的调用"},
	{"a call without a role or a document is never made", "不会发出缺少角色或文档的调用"},
	{"there is no call for a %s", "没有针对 %s 的调用"},
	{"AccessKey %s belongs to user %s and not to %s", "AccessKey %s 属于用户 %s，而不是 %s"},
	{"ListAccessKeys of user %s does not show AccessKey %s: it was deleted or belongs to somebody else (%s)", "用户 %s 的 ListAccessKeys 中没有 AccessKey %s：已被删除或属于他人（%s）"},
	{"the fence is not usable: %s", "网络限制不可用：%s"},
	{"the network policy of AccessKey %s is of a form that is not known: %s", "AccessKey %s 的网络策略格式未知：%s"},
	{"%s is no region", "%s 不是地域"},
	{"%s is not a policy of ours", "%s 不是本系统的策略"},
	{"a policy %s is there already and says something else", "已存在策略 %s 且内容不同"},
	{"account %s has no policy %s; create it from deploy/ram/quarantine-deny-all.json", "账号 %s 没有策略 %s；请用 deploy/ram/quarantine-deny-all.json 创建"},
	{"policy %s does not deny everything any more; restore it from deploy/ram/quarantine-deny-all.json", "策略 %s 已不再拒绝全部操作；请用 deploy/ram/quarantine-deny-all.json 恢复"},
	{"the action's parameter policy_type is %s; want System or Custom", "处置参数 policy_type 为 %s，应为 System 或 Custom"},
	{"the document of policy %s cannot be read (%s), so it is not known what taking it away would do", "无法读取策略 %s 的文档（%s），不知道移除后的影响"},
	{"policy %s denies something, so taking it away would grant; do it by hand", "策略 %s 含有拒绝语句，移除会放开权限；请手动处理"},
	{"the policy %s was made and is attached to nobody", "策略 %s 已创建但未绑定任何身份"},
	{"policy %s is the quarantine itself", "策略 %s 就是隔离策略本身"},
	{"policy %s has no version %s any more; restore it from its document by hand", "策略 %s 已没有版本 %s；请用其文档手动恢复"},
	{"the target's account %s is not an account id", "对象的账号 %s 不是账号 ID"},
	{"this is the root account, whose keys and logins no role can change; page a person", "这是主账号，任何角色都无法更改其密钥和登录；请通知值班人员"},
	{"the target is of type %s and not a RAM user", "对象类型为 %s，不是 RAM 用户"},
	{"the target is of type %s and neither a RAM user nor a role", "对象类型为 %s，既不是 RAM 用户也不是角色"},
	{"the target names no user, and a call with an empty user name acts on our own keys", "对象未写明用户，而用户名为空的调用会作用于本系统自己的密钥"},
	{"%s is not a RAM user name of account %s", "%s 不是账号 %s 的 RAM 用户名"},
	{"%s is not a role name", "%s 不是角色名"},
	{"%s is a role of Alibaba Cloud's own services", "%s 是阿里云服务自身的角色"},
	{"the target names no AccessKey", "对象未写明 AccessKey"},
	{"%s is a temporary key, which cannot be switched off; act on who opened the session", "%s 是临时密钥，无法禁用；请处置会话发起者"},
	{"the AccessKey id is masked, so it cannot be told which one it is", "AccessKey ID 已脱敏，无法确定是哪一个"},
	{"%s is not the id of an AccessKey", "%s 不是 AccessKey ID"},
	{"the action's parameter %s is %s, which is not a name", "处置参数 %s 为 %s，不是名称"},
	{"group %s has a member who is spared: %p", "用户组 %s 有受保护的成员：%s"},
	{"the list of the members of group %s does not end", "用户组 %s 的成员列表没有结尾"},
	{"account %s is protected by configuration", "账号 %s 受配置保护"},
	{"user %s is protected by configuration", "用户 %s 受配置保护"},
	{"role %s is protected by configuration", "角色 %s 受配置保护"},
	{"AccessKey %s is protected by configuration", "AccessKey %s 受配置保护"},
	{"AccessKey %s is the one that trailwarden itself works with; page a person", "AccessKey %s 是本系统自身使用的密钥；请通知值班人员"},
	{"user %s is the one that trailwarden itself works as; page a person", "用户 %s 是本系统自身的身份；请通知值班人员"},
	{"role %s is the one that trailwarden itself works as; page a person", "角色 %s 是本系统自身的身份；请通知值班人员"},
	{"IMS names user %s as %s", "IMS 中用户 %s 的名称为 %s"},
	{"the action's parameter region is %s, which is not a region", "处置参数 region 为 %s，不是地域"},
	{"trail %s does not exist any more; it has to be made again by hand", "跟踪 %s 已不存在，需要手动重建"},
	{"the action's parameter remove holds %s, which is neither the ARN of a principal nor %s", "处置参数 remove 含有 %s，既不是身份的 ARN 也不是 %s"},
	{"the action's parameter remove names nobody", "处置参数 remove 未写明任何人"},
	{"the trust document of role %s cannot be read (%s)", "无法读取角色 %s 的信任策略（%s）"},

	// what became of a call
	{"nothing was sent: %p", "请求未发出：%s"},
	{"the role's trust document was changed by another hand just now", "角色的信任策略刚被他人修改"},
	{"no answer in time", "未按时应答"},
	{"stopped while waiting for the answer", "等待应答时停止"},
	{"the SDK gave up", "SDK 已放弃"},
	{"the answer is not one of the cloud's (it has no RequestId)", "应答并非来自云端（没有 RequestId）"},
	{"the answer could not be read: %s", "无法读取应答：%s"},
	{"the cloud had seen this very request before", "云端此前已收到过同一请求"},
	{"the cloud does not accept the responder's own credentials; check the role or key that respond.ram works with", "云端不接受处置身份自身的凭证；请检查 respond.ram 使用的角色或密钥"},
	{"the responder's own AccessKey is under Alibaba's protection of leaked keys; give it another, or better a role", "处置身份自身的 AccessKey 已被阿里云按泄露密钥限制；请更换密钥，最好改用角色"},
}
