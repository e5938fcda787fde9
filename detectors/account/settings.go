package account

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
)

// setting is one preference of an account: how to tell which of two values
// holds more back.
type setting struct {
	name   string // the parameter
	what   string // in words
	whatZH string
	grave  bool // severity high when it becomes weaker
	// weaker compares two values: 1 when the second holds less back, -1 when
	// it holds more back, 0 when neither. ok is false for what is no value.
	weaker func(was, now string) (order int, ok bool)
	// strictest says that nothing can hold more back than this value, so
	// that it is no weakening whatever was before.
	strictest func(now string) bool
}

// truth makes a switch, which holds more back when it is on, or off.
func truth(strict bool) (func(was, now string) (int, bool), func(string) bool) {
	read := func(v string) (on, ok bool) {
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "1", "yes":
			return true, true
		case "false", "0", "no":
			return false, true
		}
		return false, false
	}
	return func(was, now string) (int, bool) {
			a, ok := read(was)
			b, ok2 := read(now)
			switch {
			case !ok || !ok2:
				return 0, false
			case a == b:
				return 0, true
			case b == strict:
				return -1, true
			}
			return 1, true
		}, func(now string) bool {
			on, ok := read(now)
			return ok && on == strict
		}
}

// number makes a number, of which more, or less, holds more back. Where
// unlimited is set, 0 stands for no limit at all.
func number(moreIsStricter, unlimited bool) (func(was, now string) (int, bool), func(string) bool) {
	read := func(v string) (float64, bool) {
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || n != n {
			return 0, false
		}
		if unlimited && n <= 0 {
			n = 1e18
		}
		if moreIsStricter {
			n = -n
		}
		return n, true
	}
	return func(was, now string) (int, bool) {
		a, ok := read(was)
		b, ok2 := read(now)
		switch {
		case !ok || !ok2:
			return 0, false
		case b > a:
			return 1, true
		case b < a:
			return -1, true
		}
		return 0, true
	}, func(string) bool { return false }
}

// words makes a choice, from the strictest on.
func words(order ...string) (func(was, now string) (int, bool), func(string) bool) {
	at := func(v string) int {
		return slices.IndexFunc(order, func(w string) bool { return strings.EqualFold(w, strings.TrimSpace(v)) })
	}
	return func(was, now string) (int, bool) {
		a, b := at(was), at(now)
		if a < 0 || b < 0 {
			return 0, false
		}
		return min(max(b-a, -1), 1), true
	}, func(now string) bool { return at(now) == 0 }
}

// networks makes a list of networks that sign-in is limited to; an empty one
// is no limit. Which of two lists is wider is asked of the policy analyser.
func networks() (func(was, now string) (int, bool), func(string) bool) {
	doc := func(v string) (*rampolicy.Document, bool) {
		masks := strings.FieldsFunc(v, func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
		if len(masks) == 0 {
			masks = []string{"0.0.0.0/0", "::/0"}
		}
		text, err := json.Marshal(map[string]any{"Version": "1", "Statement": []any{map[string]any{"Effect": "Allow", "Action": "console:signin", "Resource": "*",
			"Condition": map[string]any{"IpAddress": map[string]any{"acs:SourceIp": masks}}}}})
		if err != nil {
			return nil, false
		}
		d, err := rampolicy.Parse(string(text))
		return d, err == nil
	}
	return func(was, now string) (int, bool) {
		a, ok := doc(was)
		b, ok2 := doc(now)
		if !ok || !ok2 {
			return 0, false
		}
		switch rampolicy.Compare(a, b, rampolicy.Identity) {
		case rampolicy.Equivalent:
			return 0, true
		case rampolicy.Contracts:
			return -1, true
		case rampolicy.Unknown:
			return 0, false
		}
		return 1, true
	}, func(string) bool { return false }
}

// list makes a set of choices, of which losing one holds less back.
func list() (func(was, now string) (int, bool), func(string) bool) {
	read := func(v string) []string {
		return strings.FieldsFunc(strings.ToLower(v), func(r rune) bool { return strings.ContainsRune(`;,[]" `, r) })
	}
	return func(was, now string) (int, bool) {
		a, b := read(was), read(now)
		lost := slices.ContainsFunc(a, func(x string) bool { return !slices.Contains(b, x) })
		more := slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
		switch {
		case lost:
			return 1, true
		case more:
			return -1, true
		}
		return 0, true
	}, func(string) bool { return false }
}

func set(name, what, zh string, grave bool, weaker func(was, now string) (int, bool), strictest func(string) bool) setting {
	return setting{name: name, what: what, whatZH: zh, grave: grave, weaker: weaker, strictest: strictest}
}

// settings are the parameters of SetSecurityPreference and SetPasswordPolicy
// that hold something back. What is not here (display names, passkeys beside
// passwords) is passed over.
var settings = func() []setting {
	on := func(name, what, zh string, grave bool) setting {
		w, s := truth(true)
		return set(name, what, zh, grave, w, s)
	}
	off := func(name, what, zh string, grave bool) setting {
		w, s := truth(false)
		return set(name, what, zh, grave, w, s)
	}
	more := func(name, what, zh string) setting {
		w, s := number(true, false)
		return set(name, what, zh, false, w, s)
	}
	less := func(name, what, zh string, unlimited bool) setting {
		w, s := number(false, unlimited)
		return set(name, what, zh, false, w, s)
	}
	choice := func(name, what, zh string, grave bool, order ...string) setting {
		w, s := words(order...)
		return set(name, what, zh, grave, w, s)
	}
	nw, ns := networks()
	lw, ls := list()
	return []setting{
		choice("MFAOperationForLogin", "the second factor at sign-in", "登录时的多因素认证", true, "mandatory", "adaptive", "independent"),
		on("EnforceMFAForLogin", "a second factor for everybody at sign-in", "登录强制多因素认证", true),
		choice("OperationForRiskLogin", "the check of risky sign-ins", "风险登录校验", true, "enforceVerify", "autonomous"),
		off("EnableSaveMFATicket", "remembering the second factor for a week", "多因素认证记住 7 天", true),
		set("VerificationTypes", "the kinds of second factor", "二次校验方式", false, lw, ls),
		off("AllowUserToManageAccessKeys", "users making their own AccessKeys", "允许用户自行管理 AccessKey", true),
		off("AllowUserToManageMFADevices", "users changing their own second factor", "允许用户自行管理 MFA 设备", false),
		off("AllowUserToManagePublicKeys", "users managing their own public keys", "允许用户自行管理公钥", false),
		set("LoginNetworkMasks", "the networks that may sign in", "允许登录的网段", true, nw, ns),
		less("LoginSessionDuration", "hours that a sign-in lasts", "登录会话有效小时数", false),
		less("MaxIdleDaysForUsers", "days until idle users are disabled", "用户闲置禁用天数", true),
		less("MaxIdleDaysForAccessKeys", "days until idle AccessKeys are disabled", "AccessKey 闲置禁用天数", true),

		more("MinimumPasswordLength", "the least length of a password", "密码最小长度"),
		more("MinimumPasswordDifferentCharacter", "the least number of different characters", "密码最少不同字符数"),
		on("RequireLowercaseCharacters", "lower-case letters in passwords", "密码需含小写字母", false),
		on("RequireUppercaseCharacters", "upper-case letters in passwords", "密码需含大写字母", false),
		on("RequireNumbers", "digits in passwords", "密码需含数字", false),
		on("RequireSymbols", "symbols in passwords", "密码需含符号", false),
		on("PasswordNotContainUserName", "no user name in passwords", "密码不得含用户名", false),
		on("HardExpiry", "no sign-in with an expired password", "密码过期后禁止登录", false),
		on("HardExpire", "no sign-in with an expired password", "密码过期后禁止登录", false),
		less("MaxPasswordAge", "days until a password expires (0: never)", "密码有效天数(0 为永不过期)", true),
		more("PasswordReusePrevention", "old passwords that are remembered", "密码历史检查次数"),
		less("MaxLoginAttemps", "wrong passwords until a pause (0: any number)", "密码重试次数限制(0 为不限)", true),
		less("MaxLoginAttempts", "wrong passwords until a pause (0: any number)", "密码重试次数限制(0 为不限)", true),
	}
}()

// maxSetting is the longest value that is kept.
const maxSetting = 1024

// known reads the settings of an account that were seen.
func (e *entry) known() map[string]string {
	out := map[string]string{}
	if t := e.trust.String(); t != "" {
		// What is kept was written below; what cannot be read is not known.
		_ = json.Unmarshal([]byte(t), &out)
	}
	return out
}

// saids is a list of texts in both languages.
type saids struct{ en, zh []string }

func (s *saids) add(en, zh string) { s.en, s.zh = append(s.en, en), append(s.zh, zh) }

func (s *saids) join() said {
	return said{strings.Join(s.en, "; "), strings.Join(s.zh, "；")}
}

// preferences judges a change of account-wide settings: what became weaker.
func (c *call) preferences() {
	was := map[string]string{}
	if e := c.j.get(kindSettings, c.account, "account"); e != nil {
		was = e.known()
	}
	now := map[string]string{}
	type change struct {
		Setting string `json:"setting"`
		What    string `json:"what"`
		Was     string `json:"was,omitempty"`
		Now     string `json:"now"`
		Effect  string `json:"effect"` // weaker, stronger, same or unknown
	}
	var changes []change
	var weaker, unknown, stronger saids
	grave := false
	for _, s := range settings {
		v, ok := c.ev.Param(s.name)
		if !ok || v == "null" || len(v) > maxSetting {
			continue
		}
		now[s.name] = strings.Clone(v)
		old, seen := was[s.name]
		ch := change{Setting: s.name, What: s.what, Was: old, Now: v, Effect: "unknown"}
		shown, shownZH := window.Show(v), window.Show(v)
		if v == "" {
			shown, shownZH = "nothing", "空"
		}
		order, known := 0, false
		if seen {
			order, known = s.weaker(old, v)
		}
		before, beforeZH := window.Show(old), window.Show(old)
		if old == "" {
			before, beforeZH = "nothing", "空"
		}
		switch {
		case known && order > 0:
			ch.Effect, grave = "weaker", grave || s.grave
			weaker.add(fmt.Sprintf("%s: %s, was %s (%s)", s.what, shown, before, s.name), fmt.Sprintf("%s：%s，原为 %s（%s）", s.whatZH, shownZH, beforeZH, s.name))
		case known && order < 0:
			ch.Effect = "stronger"
			stronger.add(fmt.Sprintf("%s: %s, was %s (%s)", s.what, shown, before, s.name), fmt.Sprintf("%s：%s，原为 %s（%s）", s.whatZH, shownZH, beforeZH, s.name))
		case known:
			ch.Effect = "same"
		case s.strictest(v):
			ch.Effect = "stronger"
			stronger.add(fmt.Sprintf("%s: %s (%s)", s.what, shown, s.name), fmt.Sprintf("%s：%s（%s）", s.whatZH, shownZH, s.name))
		default:
			unknown.add(fmt.Sprintf("%s: %s (%s), previous value not known", s.what, shown, s.name), fmt.Sprintf("%s：%s（%s），原值未知", s.whatZH, shownZH, s.name))
		}
		changes = append(changes, ch)
	}
	if len(changes) == 0 {
		return // nothing of it holds anybody back
	}
	f := &c.facts
	f.Known = true
	severity := rampolicy.None
	switch {
	case len(weaker.en) > 0:
		f.Verdict, f.Expands = string(rampolicy.Expands), true
		if len(stronger.en) > 0 {
			f.Verdict = string(rampolicy.Changes)
		}
		severity = rampolicy.Medium
		if grave {
			severity = rampolicy.High
		}
		c.say("weaker now: "+weaker.join().en, "已减弱："+weaker.join().zh)
		if len(unknown.en) > 0 {
			c.more("; also set: "+unknown.join().en, "；另有设置："+unknown.join().zh)
		}
		f.Summary = "account settings became weaker"
	case len(unknown.en) > 0:
		f.Known, f.Verdict, f.Expands = false, string(rampolicy.Unknown), true
		severity = rampolicy.Medium
		c.say("set: "+unknown.join().en, "已设置："+unknown.join().zh)
		f.Summary = "account settings changed, previous value not known"
	case len(stronger.en) > 0:
		f.Verdict = string(rampolicy.Contracts)
		c.say("stronger now: "+stronger.join().en, "已加强："+stronger.join().zh)
		f.Summary = "account settings became stronger"
	default:
		f.Verdict = string(rampolicy.Equivalent)
		c.say("the settings are as they were", "设置无变化")
		f.Summary = "nothing changes"
	}
	f.Severity = severity.String()
	c.settings = generic(changes)
	c.apply(kindSettings, "account", func(e *entry) { e.set(now) })
}

// set keeps the values of settings that are known here.
func (e *entry) set(values map[string]string) {
	all := e.known()
	for _, s := range settings {
		if v, ok := values[s.name]; ok && len(v) <= maxSetting {
			all[s.name] = v
		}
	}
	if b, err := json.Marshal(all); err == nil && len(b) <= rampolicy.MaxText {
		e.trust = keep(string(b))
	}
}
