package report

import (
	"regexp"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// harmless is a name that can stand in a shell command as it is: names come
// from attackers, and commands are pasted.
var harmless = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

// fill puts what an alert is about in the places of a runbook's commands,
// where there is no doubt which is meant. What is in doubt, or could mean
// something to a shell, stays a place for a person to fill.
func fill(a *alert.Alert, bs []block) []block {
	target := func(kind string) string {
		if a.Target != nil && a.Target.Type == kind {
			return a.Target.Name
		}
		return ""
	}
	// A key that was made or changed is meant before the one that was used.
	key, owner := a.TargetKey, target("user")
	if key == "" && a.Actor.Type == "ram-user" {
		key, owner = a.Actor.AccessKeyID, a.Actor.Name
	}
	for i := range bs {
		if !bs[i].Command {
			continue
		}
		lines := strings.Split(bs[i].Text, "\n")
		for k, l := range lines {
			put := func(place, value string) {
				if harmless.MatchString(value) {
					l = strings.ReplaceAll(l, place, value)
				}
			}
			switch {
			case strings.Contains(l, "--UserAccessKeyId <id>"):
				if strings.HasPrefix(key, "LTAI") && harmless.MatchString(owner) && harmless.MatchString(key) {
					put("<id>", key)
					put("<user>", owner)
				}
			case strings.Contains(l, " DetachPolicyFromUser "), strings.Contains(l, " ListPoliciesForUser "), strings.Contains(l, " RemoveUserFromGroup "):
				put("<user>", target("user"))
			}
			put("<trail>", target("trail"))
			put("<bucket>", target("bucket"))
			if strings.Contains(l, "--RoleName <role>") {
				put("<role>", target("role"))
			}
			lines[k] = l
		}
		bs[i].Text = strings.Join(lines, "\n")
	}
	return bs
}
