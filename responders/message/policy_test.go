package message

import (
	"strings"
	"testing"
)

// TestPolicyLines: what a change of permissions newly allows stands in the
// message, bounded, in both languages, whatever it holds.
func TestPolicyLines(t *testing.T) {
	finding := func(sentence string) any {
		return map[string]any{"sentence": sentence, "sentence_zh": "某身份 " + sentence, "witness": map[string]any{"action": "ram:CreateUser", "resource": "acs:ram:*:1:user/x", "context": map[string]any{"k": "v"}}}
	}
	details := map[string]any{"policy": map[string]any{"before": "partly known", "reasons": []any{map[string]any{"en": "one step graver: no MFA", "zh": "上调一级:未绑定 MFA"}}, "diff": map[string]any{"findings": []any{
		finding("User bob may now do ram:*"), finding("<!channel> *bold* " + strings.Repeat("x", 5000)), finding("c"), finding("d"), finding("e"), "no finding"}}}}
	for lang, want := range map[Language][]string{
		English: {"+ User bob may now do ram:*", "example: ram:CreateUser, acs:ram:*:1:user/x", "and 3 more", "! one step graver: no MFA", "only partly known"},
		Chinese: {"+ 某身份 User bob", "示例:", "! 上调一级:未绑定 MFA", "仅部分已知"},
	} {
		out := For(lang, nil).Policy(details)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", lang, w, out)
			}
		}
		if len(out) > 3*maxPolicy {
			t.Errorf("%d bytes", len(out))
		}
	}
	settings := map[string]any{"policy": map[string]any{"settings": []any{
		map[string]any{"setting": "MFAOperationForLogin", "was": "mandatory", "now": "independent", "effect": "weaker"},
		map[string]any{"setting": "MaxPasswordAge", "now": "0", "effect": "unknown"}, map[string]any{"setting": "X", "effect": "same"}}}}
	if out := For(English, nil).Policy(settings); out != "+ MFAOperationForLogin: mandatory → independent\n+ MaxPasswordAge: ? → 0" {
		t.Errorf("%q", out)
	}
	for _, d := range []map[string]any{nil, {}, {"policy": 1}, {"policy": map[string]any{"diff": "x", "settings": 3}}, {"policy": map[string]any{"diff": map[string]any{"findings": map[string]any{}}}}} {
		if out := For(English, nil).Policy(d); out != "" {
			t.Errorf("%v gives %q", d, out)
		}
	}
}
