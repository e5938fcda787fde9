package alert

import (
	"cmp"
	"regexp"
	"strings"
)

// harmless is a name that can stand in a shell's command as it is, without quotes:
// names come from attackers, and commands are pasted. identity is what an identity
// may be called beside that.
var (
	harmless = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)
	identity = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@:/-]{0,255}$`)
)

// entities are the places in "replay --entity" that only the program fills: who
// acted, by the key if it is one that lasts; the identity that acted; what it was
// done to.
var entities = regexp.MustCompile(`--entity <(actor|主体|identity|身份|target|目标)>`)

// Steps is the runbook for a reader: in Chinese where that is asked for and there is
// one, with what the alert is about in the places of its commands, which are the lines
// that begin with two spaces, or with aliyun (they come out indented). What is in doubt,
// or could mean something to a shell, stays a place for a person to fill; but for an
// entity that is not known, without which the command says nothing: that is left out.
func (a *Alert) Steps(chinese bool) string {
	s := a.Runbook.EN
	if chinese && a.Runbook.ZH != "" || s == "" {
		s = a.Runbook.ZH
	}
	lines := strings.Split(s, "\n")
	var out []string
	for i, l := range lines {
		if isCommand(l) {
			if l[0] != ' ' {
				l = "  " + l
			}
			l = a.fill(l)
			m := entities.FindStringSubmatch(l)
			if m != nil {
				who := a.entity(m[1])
				if !identity.MatchString(who) {
					if n := len(out) - 1; n >= 0 && !isCommand(out[n]) && (i+1 == len(lines) || !isCommand(lines[i+1])) {
						out = append(out[:n], announced(out[n])...)
					}
					continue
				}
				l = strings.ReplaceAll(l, m[0], "--entity "+who)
			}
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// isCommand also knows a runbook that has no words: YAML takes the indentation of all
// lines away where all have it.
func isCommand(line string) bool {
	return strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "aliyun ")
}

// announced is what is left of a line when the command that its last sentence
// announces is left out.
func announced(line string) []string {
	for _, end := range []string{". ", "。"} {
		if i := strings.LastIndex(line, end); i >= 0 {
			return []string{strings.TrimSpace(line[:i+len(end)])}
		}
	}
	return nil
}

// entity is what a place of entities means here; empty where it is not known.
func (a *Alert) entity(place string) string {
	switch place {
	case "target", "目标":
		switch {
		case a.Target == nil:
			return ""
		case a.Target.Type == "accesskey": // its id is in small letters
			return a.Target.Name
		}
		return a.Target.ID
	case "actor", "主体":
		if strings.HasPrefix(a.Actor.AccessKeyID, "LTAI") {
			return a.Actor.AccessKeyID
		}
	}
	return a.Actor.ID
}

// fill puts what the alert is about in the places of a command, where there is no
// doubt which is meant.
func (a *Alert) fill(l string) string {
	target := func(kind string) string {
		if a.Target != nil && a.Target.Type == kind {
			return a.Target.Name
		}
		return ""
	}
	put := func(place, value string) {
		if harmless.MatchString(value) {
			l = strings.ReplaceAll(l, place, value)
		}
	}
	switch {
	case strings.Contains(l, "--UserAccessKeyId <id>"):
		// A key that was made or changed is meant before the one that was used.
		key, owner := a.TargetKey, target("user")
		if key == "" && a.Actor.Type == "ram-user" {
			key, owner = a.Actor.AccessKeyID, a.Actor.Name
		}
		if strings.HasPrefix(key, "LTAI") && harmless.MatchString(owner) && harmless.MatchString(key) {
			put("<id>", key)
			put("<user>", owner)
		}
	case strings.Contains(l, " DetachPolicyFromUser "), strings.Contains(l, " ListPoliciesForUser "), strings.Contains(l, " RemoveUserFromGroup "):
		put("<user>", target("user"))
	}
	if strings.Contains(l, "--AccessKey <id>") && strings.HasPrefix(a.Actor.AccessKeyID, "LTAI") {
		put("<id>", a.Actor.AccessKeyID)
	}
	call, _ := a.Details["call"].(map[string]any)
	called := func(what string) string {
		s, _ := call[what].(string)
		return s
	}
	if strings.Contains(l, "--GroupName <group>") {
		put("<group>", called("group"))
	}
	// The vendor's policy and one's own may have one name; calls that do not tell which
	// are about one's own.
	if kind := "--PolicyType " + cmp.Or(called("policy_type"), "Custom"); strings.Contains(l, "--PolicyName <policy>") &&
		(!strings.Contains(l, "--PolicyType ") || strings.Contains(l, kind+" ")) {
		put("<policy>", called("policy_name"))
	}
	put("<trail>", target("trail"))
	put("<bucket>", target("bucket"))
	if strings.Contains(l, "--RoleName <role>") {
		put("<role>", target("role"))
	}
	return l
}
