package rampolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// breadth says how much of an action's resources a finding is about.
func (t *teller) broad(action string, cells bitset) bool {
	for _, account := range t.accounts {
		for _, res := range anyResource(action, account) {
			if n := t.a.dims[dimResource].cellOf(res); n >= 0 && cells.has(n) {
				return true
			}
		}
	}
	return false
}

// everything says whether a finding is about actions that nobody has thought
// of yet, on resources nobody has thought of.
func (t *teller) everything(regions *[dimensions]region) bool {
	n := t.a.dims[dimAction].cellOf(arbitrary + ":" + arbitrary)
	m := t.a.dims[dimResource].cellOf("acs:" + arbitrary + ":*:" + arbitrary + ":" + arbitrary)
	return n >= 0 && m >= 0 && regions[dimAction].cells.has(n) && regions[dimResource].cells.has(m)
}

// severity applies the table: the worst of what the region holds.
func (t *teller) severity(f *Finding, g *group, regions *[dimensions]region, acts []int) Severity {
	switch t.opts.Kind {
	case Trust, Resource:
		return t.entrance(f, g, regions)
	case Control:
		return t.guardrail()
	}
	if t.everything(regions) && g.cause != causeCondition {
		return Critical
	}
	worst := t.granted(f, g, regions, acts)
	for _, id := range f.Paths {
		for _, p := range t.paths {
			if p.ID == id {
				worst = max(worst, p.Level)
			}
		}
	}
	if g.cause == causeDeny {
		worst = max(worst, Medium)
	}
	conditional := slices.ContainsFunc(g.reasons, func(i int) bool { return len(t.a.stmts[i].Conditions) > 0 })
	if conditional && t.privateOnly(g) && worst > Low {
		worst--
	}
	if worst == Low && t.impossible(regions) {
		return Info
	}
	return worst
}

// entrance is the severity of a finding about who is let in: by the trust of a
// role, or by the policy of a resource.
func (t *teller) entrance(f *Finding, g *group, regions *[dimensions]region) Severity {
	if n := t.a.dims[dimAction].cellOf("sts:AssumeRole"); t.opts.Kind == Trust && (n < 0 || !regions[dimAction].cells.has(n)) {
		return Low // it lets nobody in by itself
	}
	worst := Low
	for _, p := range t.reached(g, regions[dimPrincipal].cells) {
		s := Medium
		switch r := reachOf(p.Principal, t.opts.Account); {
		case r == reachPublic:
			s = Critical
		case r == reachForeign || r == reachService || r == reachOwn && t.opts.Kind == Trust || openFederation(p.of, p.Principal):
			s = High
		}
		worst = max(worst, s)
	}
	if losesMFA(f) {
		worst = max(worst, High)
	}
	if g.cause == causeCondition {
		worst = max(worst, Medium)
	}
	return worst
}

// guardrail is the severity of a control policy that permits more.
func (t *teller) guardrail() Severity {
	switch {
	case t.a.read.AllowList:
		return Medium // if it is one at all
	case len(t.new.Statements) == 0 || !t.new.HasDeny():
		return Critical
	}
	return High
}

// granted is the severity of what a holder gets to do. Where the same was
// allowed under another condition before, losing that is what counts, not the
// action.
func (t *teller) granted(f *Finding, g *group, regions *[dimensions]region, acts []int) Severity {
	if g.cause == causeCondition {
		if losesMFA(f) {
			return High
		}
		return Medium
	}
	worst := t.plain(regions)
	for _, i := range acts {
		act := &catalogue[i]
		if act.Class == ClassNone {
			continue
		}
		broad := t.broad(act.Name, regions[dimResource].cells)
		s := act.Class.severity(broad)
		switch {
		case act.Class == ClassPassRole && t.limitsService(g):
			s = Low
		case act.Class == ClassDestroy || act.Class == ClassExec:
			if s = Low; broad {
				s = Medium
			}
		}
		worst = max(worst, s)
	}
	return worst
}

// losesMFA says whether MFA is no longer required, and nothing is in its place.
func losesMFA(f *Finding) bool {
	mfa := slices.ContainsFunc(f.Conditions, func(c string) bool { return strings.HasPrefix(c, "MFA no longer required") })
	replaced := slices.ContainsFunc(f.Conditions, func(c string) bool { return strings.HasPrefix(c, "condition ") && strings.Contains(c, " added: ") })
	return mfa && !replaced
}

// plain is the severity of the actions as such: writing on everything is
// medium, reading and writing on named resources is low.
func (t *teller) plain(regions *[dimensions]region) Severity {
	r := &regions[dimAction]
	reads := r.rest == "" || onlyReads(r.rest)
	for _, n := range r.names {
		reads = reads && onlyReads(n)
	}
	star := t.a.dims[dimResource].cellOf("acs:" + arbitrary + ":*:" + arbitrary + ":" + arbitrary)
	if !reads && star >= 0 && regions[dimResource].cells.has(star) {
		return Medium
	}
	return Low
}

// limitsService says whether the statements that allow PassRole say to which
// service.
func (t *teller) limitsService(g *group) bool {
	return len(g.reasons) > 0 && !slices.ContainsFunc(g.reasons, func(i int) bool {
		return !slices.ContainsFunc(t.a.stmts[i].Conditions, func(c Condition) bool {
			return strings.EqualFold(c.Key, "acs:Service") && !negated(c.Operator)
		})
	})
}

// privateOnly says whether all statements demand a source in a private
// network.
func (t *teller) privateOnly(g *group) bool {
	return len(g.reasons) > 0 && !slices.ContainsFunc(g.reasons, func(i int) bool {
		return !slices.ContainsFunc(t.a.stmts[i].Conditions, func(c Condition) bool {
			return c.Operator == "IpAddress" && len(c.Values) > 0 && !slices.ContainsFunc(c.Values, func(v string) bool {
				p, ok := network(v)
				return !ok || !p.Addr().IsPrivate() || p.Bits() < 8
			})
		})
	})
}

// impossible says whether no resource of the finding can belong to its
// actions, going by the ram-code of both.
func (t *teller) impossible(regions *[dimensions]region) bool {
	if regions[dimAction].rest != "" || regions[dimResource].rest != "" {
		return false
	}
	for _, act := range regions[dimAction].names {
		service, _, ok := strings.Cut(strings.ToLower(act), ":")
		if !ok || strings.ContainsAny(service, "*?") {
			return false
		}
		for _, res := range regions[dimResource].names {
			parts := strings.SplitN(strings.ToLower(res), ":", 3)
			if len(parts) < 3 || parts[0] != "acs" || strings.ContainsAny(parts[1], "*?") || parts[1] == service ||
				service == "sts" && parts[1] == "ram" || service == "ims" && parts[1] == "ram" || service == "ecs" && parts[1] == "vpc" || parts[1] == "" {
				return false
			}
		}
	}
	return len(regions[dimAction].names) > 0 && len(regions[dimResource].names) > 0
}

type reachedPrincipal struct {
	Principal
	of *Statement
}

// reached returns the principals of the allowing statements that the region
// is about.
func (t *teller) reached(g *group, cells bitset) []reachedPrincipal {
	var out []reachedPrincipal
	for _, i := range g.reasons {
		s := &t.a.stmts[i]
		if s.NotPrinc || s.AnyPrinc {
			out = append(out, reachedPrincipal{Principal{Value: "*"}, s.Statement})
			continue
		}
		for j, p := range s.Principals {
			if !t.a.covers(dimPrincipal, s.pats[dimPrincipal][j]).and(cells).empty() {
				out = append(out, reachedPrincipal{p, s.Statement})
			}
		}
	}
	return out
}

// The words for classes in sentences.
var (
	classWords = map[Class]string{ClassPermission: "identity control", ClassCredential: "credentials of others", ClassOrg: "organisation control",
		ClassAssume: "other roles", ClassPassRole: "passing roles", ClassExec: "running code", ClassAudit: "audit control", ClassSecret: "secrets",
		ClassExposure: "opening data to outsiders", ClassDestroy: "destruction"}
	classWordsZH = map[Class]string{ClassPermission: "身份权限管理", ClassCredential: "他人凭证", ClassOrg: "组织管控", ClassAssume: "扮演角色",
		ClassPassRole: "传递角色", ClassExec: "执行代码", ClassAudit: "审计控制", ClassSecret: "密钥与机密", ClassExposure: "对外开放数据", ClassDestroy: "破坏数据"}
)

// sentence tells the finding: who may now do what on what, when, and why.
func (t *teller) sentence(f *Finding, g *group, regions *[dimensions]region, examples, conditionsZH, principalsZH []string) {
	acts := regions[dimAction].words()
	what, whatZH := listOf(acts, 5), listZH(regions[dimAction].wordsZH(), 5)
	res, resZH := listOf(f.Resources, 3), listZH(regions[dimResource].wordsZH(), 3)
	if rest := regions[dimAction].rest; t.everything(regions) && len(regions[dimAction].names) == 0 && (rest == "*" || strings.HasPrefix(rest, "* (") && !t.opts.removed) ||
		t.everything(regions) && regions[dimAction].all {
		what, whatZH = "everything (* on *: administrator)", "所有操作(* 对 *,等同管理员)"
	} else if after, ok := strings.CutPrefix(rest, "* except "); ok {
		what, whatZH = "everything except "+after, "除 "+regions[dimAction].exceptZH+" 以外的所有操作"+regions[dimAction].beforeZH
		if names := regions[dimAction].names; len(names) > 0 {
			what += ", also " + listOf(names, 5)
			whatZH += ",以及 " + listZH(names, 5)
		}
	}
	short, shortZH := what, whatZH
	if what == "everything (* on *: administrator)" {
		examples = nil
	}
	var such, suchZH []string
	named := map[Class]bool{}
	for _, e := range examples[:min(len(examples), 6)] {
		class := ClassNone
		if i, ok := byLower[strings.ToLower(e)]; ok && i < len(catalogue) {
			class = catalogue[i].Class
		}
		w, z := e, e
		if class != ClassNone && !named[class] && len(examples) > 3 {
			named[class] = true
			w, z = e+" ["+classWords[class]+"]", e+" ["+classWordsZH[class]+"]"
		}
		such, suchZH = append(such, w), append(suchZH, z)
	}
	if len(such) > 0 {
		what += " (such as " + strings.Join(such, ", ") + ")"
		whatZH += "(如 " + strings.Join(suchZH, "、") + ")"
	}
	who, whoZH := t.opts.Who, t.opts.WhoZH
	if len(f.Principals) > 0 {
		who, whoZH = listOf(f.Principals, 4), listZH(principalsZH, 4)
	}
	now, nowZH := "may now", "现可"
	if t.opts.removed {
		now, nowZH = "may no longer", "不再可"
	}
	assume := t.a.dims[dimAction].cellOf("sts:AssumeRole")
	assumes := assume >= 0 && regions[dimAction].cells.has(assume)
	say := func(what, whatZH string) (en, zh string) {
		switch {
		case t.opts.Kind == Trust && !assumes:
			return who + " " + now + " do " + what + " with the role", whoZH + " " + nowZH + "对该角色执行 " + whatZH
		case t.opts.Kind == Trust:
			return who + " " + now + " assume the role", whoZH + " " + nowZH + "扮演该角色"
		case t.opts.Kind == Control && t.opts.removed:
			return what + " on " + res + " is newly held back", "新增限制:对 " + resZH + " 执行 " + whatZH
		case t.opts.Kind == Control:
			return what + " on " + res + " is no longer held back", "不再限制:对 " + resZH + " 执行 " + whatZH
		case strings.HasPrefix(what, "everything (* on *"):
			return who + " " + now + " do " + what, whoZH + " " + nowZH + "执行" + whatZH
		}
		return who + " " + now + " do " + what + " on " + res, whoZH + " " + nowZH + "对 " + resZH + " 执行 " + whatZH
	}
	f.short, f.shortZH = say(short, shortZH)
	f.short = capital(f.short)
	if len(conditionsZH) > 0 {
		f.conditionZH = conditionsZH[0]
	}
	var b, z strings.Builder
	en, zh := say(what, whatZH)
	b.WriteString(en)
	z.WriteString(zh)
	if len(f.Conditions) > 0 {
		fmt.Fprintf(&b, "; %s", strings.Join(f.Conditions, "; "))
		fmt.Fprintf(&z, ";%s", strings.Join(conditionsZH, ";"))
	}
	if !t.opts.removed {
		if because, zh := t.because(g, f); because != "" {
			fmt.Fprintf(&b, ", because %s", because)
			fmt.Fprintf(&z, ",因为%s", zh)
		}
	}
	if len(f.Paths) > 0 {
		var gives, zh []string
		for _, id := range f.Paths {
			for _, p := range t.paths {
				if p.ID == id {
					gives = append(gives, p.Gives+" ("+id+")")
					zh = append(zh, p.Zh+"("+id+")")
				}
			}
		}
		fmt.Fprintf(&b, "; privilege escalation: can %s", listOf(gives, 3))
		fmt.Fprintf(&z, ";可提权:%s", listZH(zh, 3))
	}
	f.Sentence, f.SentenceZH = capital(strings.TrimSpace(b.String())), z.String()
}

// because names the statement behind the finding.
func (t *teller) because(g *group, f *Finding) (en, zh string) {
	// "statement 1", "statements 1 and 3"; s is the ending of a verb.
	number := func(list []int) (en, zh, s string) {
		var out []string
		for _, i := range list {
			if n := t.a.stmts[i].Index; n > 0 && !slices.Contains(out, strconv.Itoa(n)) {
				out = append(out, strconv.Itoa(n))
			}
		}
		switch len(out) {
		case 0:
			return "", "", ""
		case 1:
			return "statement " + out[0], "第 " + out[0] + " 条", "s"
		}
		return "statements " + listOf(out, 3), "第 " + listZH(out, 3) + " 条", ""
	}
	switch g.cause {
	case causeDeny:
		n, cn, s := number(g.before)
		is := map[string]string{"s": "is", "": "are"}[s]
		if !t.new.HasDeny() {
			return "the Deny of old " + n + " " + is + " gone", "旧策略" + cn + " Deny 已移除"
		}
		if last := t.lostLast(g, f); last != "" {
			return "the Deny of old " + n + " lost " + last + ", the last entry of the Deny list", "旧策略" + cn + " Deny 列表移除了最后一项 " + last
		}
		return "the Deny of old " + n + " no longer cover" + s + " it", "旧策略" + cn + " Deny 不再覆盖"
	case causeCondition:
		n, cn, _ := number(g.before)
		return "the conditions of old " + n + " no longer apply", "旧策略" + cn + "的条件不再适用"
	}
	if n, cn, s := number(g.reasons); n != "" {
		return n + " allow" + s + " it", cn + "语句允许"
	}
	return "", ""
}

// lostLast returns the entry that a Deny lost, when it is its last one: such
// an edit is easily overlooked.
func (t *teller) lostLast(g *group, f *Finding) string {
	if len(g.before) != 1 {
		return ""
	}
	s := &t.a.stmts[g.before[0]]
	if n := len(s.Actions); n > 1 && !s.NotAction && len(f.Actions) == 1 && strings.EqualFold(f.Actions[0], s.Actions[n-1]) {
		return s.Actions[n-1]
	}
	return ""
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' || strings.ContainsAny(strings.SplitN(s, " ", 2)[0], ":.") {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

// summarise says the whole in a few words.
func (r *Result) summarise(opts Options) {
	subject := map[Kind]string{Identity: "permissions", Trust: "trust", Resource: "access", Control: "the guard rail"}[opts.Kind]
	zh := map[Kind]string{Identity: "权限", Trust: "信任范围", Resource: "访问范围", Control: "管控策略"}[opts.Kind]
	switch r.Verdict {
	case Equivalent:
		r.Summary, r.SummaryZH = "nothing changes: both documents allow the same", "无变化:两份策略允许的操作相同"
		return
	case Unknown:
		r.Summary, r.SummaryZH = "it could not be worked out whether this allows more; handle it as if it does", "无法判定是否扩大权限,请按扩大处理"
		return
	case Contracts:
		r.Summary, r.SummaryZH = subject+" shrink: nothing new is allowed", zh+"收缩:没有新增允许的操作"
		switch opts.Kind {
		case Control: // it is what is allowed that shrinks
			r.Summary, r.SummaryZH = subject+" tightens: nothing new is allowed", zh+"收紧:没有新增允许的操作"
		case Trust, Resource:
			r.Summary = strings.Replace(r.Summary, " shrink:", " shrinks:", 1)
		}
		return
	}
	top := r.Findings[0]
	r.Summary, r.SummaryZH = top.short, top.shortZH
	if len(top.Conditions) > 0 {
		r.Summary += "; " + top.Conditions[0]
		r.SummaryZH += ";" + top.conditionZH
	}
	// Whoever may do everything needs no path to it; and a path's number says
	// nothing to a reader, so the worst one is told in words.
	if p, ok := pathByID(top.Paths); ok && !strings.Contains(top.short, "everything") {
		r.Summary += "; so the holder can " + p.Gives + " (" + listOf(top.Paths, 3) + ")"
		r.SummaryZH += ";由此" + p.Zh + "(" + listZH(top.Paths, 3) + ")"
	}
	if n := len(r.Findings) - 1; n > 0 {
		r.Summary += fmt.Sprintf(" (and %d more)", n)
		r.SummaryZH += fmt.Sprintf("(另有 %d 项)", n)
	}
	if r.Verdict == Changes {
		r.Summary += "; other things are no longer allowed"
		r.SummaryZH += ";同时收回了其他操作"
	}
}
