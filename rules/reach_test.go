package rules

import (
	"strings"
	"testing"
)

// Parts without an effect are named with their place; the shipped pack has none,
// and what only looks alike is left alone.
func TestUnreachableParts(t *testing.T) {
	for match, want := range map[string]string{
		`action == "iam.user.create" && action == "iam.user.delete"`:                                               ":9:34: action is never iam.user.delete here",
		`action == "iam.user.create" || (action == "iam.user.delete" && action == "iam.role.create")`:              ":9:66: action is never iam.role.create here",
		`action in ["iam.user.create", "iam.user.delete"] && (action == "iam.role.create" || event.region == "x")`: ":9:56: action is never iam.role.create here",
		`action == "iam.user.create" && action == "iam.user.create"`:                                               ":9:34: this part stands here twice",
		`action == "iam.user.create" && (outcome == "success" || outcome == "attempt")`:                            ":9:35: this is always true: outcome",
		`action == "iam.user.create" && !(actor.name == "a" && actor.name == "b")`:                                 ":9:57: actor.name is never b here",
		`action == "iam.user.create" && event.hour > 24`:                                                           ":9:34: event.hour is never so",
		`action == "iam.user.create" && event.weekday == 7`:                                                        ":9:34: event.weekday is never so",
		`action == "iam.user.create" && event.hour in [24, 30]`:                                                    ":9:34: event.hour is never so",
		`action == "iam.user.create" && event.weekday >= -1`:                                                       ":9:34: this is always true: every event.weekday",
		`action == "iam.user.create" && event.hour >= 22 && event.hour < 6`:                                        ":9:54: event.hour is never so here",
		`action == "iam.user.create" && (event.hour > 6 || event.hour < 22)`:                                       ":9:35: this is always true: every event.hour",
		`action == "iam.user.create" && (event.weekday != 0 || event.weekday != 6)`:                                ":9:35: this is always true: every event.weekday",
		// These are as they should be.
		`action == "iam.user.create" && (event.hour >= 22 || event.hour < 6)`:                             "",
		`action == "iam.user.create" && event.hour >= 0 && event.hour < 6 && event.weekday in [0, 6]`:     "",
		`action == "iam.user.create" && event.hour >= 0 && event.hour <= lineage.depth`:                   "",
		`action in ["iam.user.create", "iam.user.delete"] && (action == "iam.user.create" || actor.root)`: "",
		`action == "iam.user.create" && (actor.name == "a" || actor.name == "b")`:                         "",
		`action == "iam.user.create" && !(actor.name == "a") && actor.name == "b"`:                        "",
		`action == "iam.user.create" && (mfa == "yes" || mfa == "no")`:                                    "",
	} {
		set := load(t, LoadOptions{}, []byte(strings.Replace(string(makeRule("x.reach", match, "")), "reason: r\n", "reason: r\nattack: [T1098]\n", 1)))
		var got []string
		for _, w := range Lint(set) {
			if s := w.Error(); strings.Contains(s, "never") || strings.Contains(s, "twice") || strings.Contains(s, "always") {
				got = append(got, s)
			}
		}
		switch {
		case want == "" && len(got) > 0:
			t.Errorf("%s: %v", match, got)
		case want != "" && (len(got) != 1 || !strings.Contains(got[0], want)):
			t.Errorf("%s:\n%v\nwant %s", match, got, want)
		}
	}
}
