package message

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// sentences are what a thread says, by responders.Line.Say. A test holds both
// languages to the same places.
var sentences = map[Language]map[string]string{
	English: {
		responders.SayStillOpen:    "still open: nobody has acknowledged it since %s",
		responders.SayRepeat:       "possible repeat: an earlier attempt was never answered",
		responders.SaySeverity:     "severity %s → %s",
		responders.SaySource:       "new source address: %s",
		responders.SayKey:          "new AccessKey: %s",
		responders.SayTarget:       "new target: %s",
		responders.SayCount:        "×%s, last %s",
		responders.SayStep:         "%s by %s: %s",
		responders.SayStepWhy:      "%s by %s: %s (%s)",
		responders.SayAck:          "acknowledged by %s",
		responders.SayAssigned:     "assigned to %s by %s",
		responders.SayDisowned:     "assigned to nobody by %s",
		responders.SayClosed:       "closed by %s: %s",
		responders.SayReopened:     "reopened by %s",
		responders.SayNoted:        "note by %s:",
		responders.SayAsked:        "%s was asked “was this you?” by %s, until %s",
		responders.SayAnswerYes:    "%s says: yes, it was me",
		responders.SayAnswerNo:     "%s says: no, it was not me",
		responders.SaySilent:       "%s has not answered in time",
		responders.SayUnasked:      "%s could not be asked: %s",
		responders.SayWithdrawn:    "%s need not answer any more: the incident is closed",
		responders.SayHeardBy:      "written down by %s",
		responders.SayOwnWord:      "the answer comes from the owner of the very identity that made the calls: whoever holds that identity may hold the chat account too",
		responders.SayCardKey:      "key %s of %s",
		responders.SayCardStatus:   "status %s when read at %s",
		responders.SayCardCreated:  "created %s",
		responders.SayCardServices: "last used services: %s",
		responders.SayCardNetworks: "last used from: %s",
		responders.SayCardPolicies: "policies: %s",
		responders.SayCardGroups:   "groups: %s",
		responders.SayCardOthers:   "other keys of the user: %s",
		responders.SayCardMade:     "made by this key: %s",
		responders.SayCardMissing:  "could not be read: %s",
		responders.SayRotate:       "to replace it:",
		responders.SayRotateGive:   "2. give the new key to whatever used it",
		responders.SayRotateGiveTo: "2. give the new key to the workload (it called from %s)",
		responders.SayRotateOff:    "3. %s (already done when it is contained)",
		responders.SayRotateDelete: "4. when nothing has missed it for some days: %s",
	},
	Chinese: {
		responders.SayStillOpen:    "仍未处理：自 %s 起无人确认",
		responders.SayRepeat:       "可能重复：之前一次发送未收到应答",
		responders.SaySeverity:     "级别 %s → %s",
		responders.SaySource:       "新的来源地址：%s",
		responders.SayKey:          "新的 AccessKey：%s",
		responders.SayTarget:       "新的目标：%s",
		responders.SayCount:        "×%s，最近一次 %s",
		responders.SayStep:         "%s，由 %s：%s",
		responders.SayStepWhy:      "%s，由 %s：%s（%s）",
		responders.SayAck:          "%s 已确认",
		responders.SayAssigned:     "已指派给 %s，由 %s",
		responders.SayDisowned:     "%s 取消了指派",
		responders.SayClosed:       "%s 已关闭：%s",
		responders.SayReopened:     "%s 重新打开",
		responders.SayNoted:        "%s 备注：",
		responders.SayAsked:        "已向 %s 询问“是您本人操作吗？”，由 %s 发起，截止 %s",
		responders.SayAnswerYes:    "%s 回答：是我本人操作",
		responders.SayAnswerNo:     "%s 回答：不是我操作的",
		responders.SaySilent:       "%s 未在时限内回答",
		responders.SayUnasked:      "无法询问 %s：%s",
		responders.SayWithdrawn:    "事件已关闭，%s 无需再回答",
		responders.SayHeardBy:      "由 %s 代为记录",
		responders.SayOwnWord:      "回答者正是发起调用的身份的负责人：控制该身份的人可能同时控制其聊天账号",
		responders.SayCardKey:      "密钥 %s，属于 %s",
		responders.SayCardStatus:   "状态 %s（%s 读取）",
		responders.SayCardCreated:  "创建于 %s",
		responders.SayCardServices: "最近使用的服务：%s",
		responders.SayCardNetworks: "最近使用的来源：%s",
		responders.SayCardPolicies: "权限策略：%s",
		responders.SayCardGroups:   "用户组：%s",
		responders.SayCardOthers:   "该用户的其他密钥：%s",
		responders.SayCardMade:     "由此密钥创建：%s",
		responders.SayCardMissing:  "无法读取：%s",
		responders.SayRotate:       "轮换步骤：",
		responders.SayRotateGive:   "2. 将新密钥交给原使用方",
		responders.SayRotateGiveTo: "2. 将新密钥交给业务方（曾从 %s 调用）",
		responders.SayRotateOff:    "3. %s（已处置则无需再做）",
		responders.SayRotateDelete: "4. 观察数日无影响后：%s",
	},
}

// shortStates name the states of an action inside a sentence.
var shortStates = map[responders.State]string{
	responders.Proposed: "待审批", responders.Approved: "已批准", responders.Executing: "执行中", responders.Done: "已处置",
	responders.Failed: "失败", responders.InDoubt: "结果未知", responders.Refused: "已拒绝执行", responders.Observed: "仅观察",
	responders.Denied: "审批未通过", responders.Expired: "审批超时", responders.Undoing: "撤销中", responders.Undone: "已撤销",
}

// Line says a line in this language. Its text is as it came: whoever shows it
// makes it safe.
func (w *Words) Line(l responders.Line) string {
	args := make([]any, len(l.Args))
	for i, a := range l.Args {
		args[i] = w.arg(a)
	}
	var out string
	format, known := w.Sentences[l.Say]
	switch {
	case l.Say == "" || !known: // another version's sentence: its facts are better than nothing
		parts := make([]string, len(args))
		for i := range args {
			parts[i], _ = args[i].(string)
		}
		out = strings.Join(parts, " ")
	default:
		out = fmt.Sprintf(format, args...)
	}
	for i, m := range l.More {
		sep := w.Semicolon
		if i == 0 && strings.HasSuffix(out, w.Colon) {
			sep = w.AfterColon
		}
		out += sep + w.Line(m)
	}
	return out
}

// ThreadLines says what has grown.
func (w *Words) ThreadLines(ls []responders.Line) []string {
	out := make([]string, 0, len(ls))
	for _, l := range ls {
		out = append(out, w.Line(l))
	}
	return out
}

func (w *Words) arg(a any) string {
	switch a := a.(type) {
	case string:
		return a
	case responders.Ours:
		return w.Ours(string(a))
	case responders.Both:
		if w.Lang == Chinese {
			return a.ZH
		}
		return a.EN
	case int:
		return strconv.Itoa(a)
	case time.Time:
		return w.Stamp(a)
	case alert.Severity:
		return strings.ToLower(w.SeverityWord(a))
	case responders.State:
		if s := shortStates[a]; s != "" && w.Lang == Chinese {
			return s
		}
		return strings.ReplaceAll(string(a), "_", " ")
	case responders.TriageVerdict:
		if s := w.Verdict[a]; s != "" {
			return s
		}
		return string(a)
	case responders.List:
		if len(a.Items) == 0 {
			return w.None
		}
		out := strings.Join(a.Items, w.Comma)
		if a.Left > 0 {
			out += fmt.Sprintf(w.AndMore, a.Left)
		}
		return out
	}
	return text.Dash
}
