package rules

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// slowTame is what tame is, without a way around anything.
func slowTame(s string, limit int) string {
	if len(s) > 16*limit {
		s = s[:16*limit]
	}
	s = strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(s)
	s = strings.Map(func(r rune) rune {
		if slowHostile(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	rs := []rune(strings.TrimSpace(s))
	if len(rs) <= limit {
		return string(rs)
	}
	return string(rs[:limit-1]) + "…"
}

func slowHostile(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// anyText is text as it is and as it is not: words, Chinese, blanks, breaks,
// controls, direction marks, broken bytes.
func anyText() *rapid.Generator[string] {
	piece := rapid.OneOf(rapid.StringMatching(`[ -~]{0,20}`), rapid.String(),
		rapid.SampledFrom([]string{" ", "    ", "\r\n", "\r", "\n", "\t", "\x00", "\x7f", "\u202e", "\u2028", "\u3000", "策略", "“", "\xff", "\xe7\xad", "\u200b", "{{", "~", "é"}))
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "") })
}

func TestPropTame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, limit := anyText().Draw(t, "text"), rapid.IntRange(1, 40).Draw(t, "limit")
		if got, want := tame(s, limit), slowTame(s, limit); got != want {
			t.Fatalf("tame(%q, %d) = %q, want %q", s, limit, got, want)
		}
		if got := tame(s, limit); !utf8.ValidString(got) || strings.ContainsFunc(got, slowHostile) {
			t.Fatalf("tame(%q, %d) = %q", s, limit, got)
		}
	})
}

func TestHostileRunes(t *testing.T) {
	for r := rune(-1); r <= unicode.MaxRune+1; r++ {
		if hostile(r) != slowHostile(r) {
			t.Errorf("hostile(%U) is %v", r, hostile(r))
		}
	}
}

// A filled template is its values, made safe one by one and all together,
// whatever stands in the record and in the template.
func TestPropRender(t *testing.T) {
	c := &compiler{tables: &tables{}, cache: map[string]*program{}}
	rapid.Check(t, func(t *rapid.T) {
		var src, want strings.Builder
		ev, err := event.Parse(record(map[string]any{"userAgent": anyText().Draw(t, "agent"), "requestParameters": map[string]any{"UserName": anyText().Draw(t, "x")}}))
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(&Set{tables: c.tables})
		s.Begin(ev)
		s.env.Verdict.Reason = anyText().Draw(t, "reason")
		s.zh = rapid.Bool().Draw(t, "zh")
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			plain := strings.NewReplacer("{", "(", "}", ")").Replace(strings.ToValidUTF8(anyText().Draw(t, "plain"), ""))
			src.WriteString(plain)
			want.WriteString(plain)
			x := rapid.SampledFrom([]string{"event.user_agent", `param("UserName")`, "verdict.reason", `param("RegionId")`}).Draw(t, "expression")
			src.WriteString("{" + x + "}")
			v := map[string]string{"event.user_agent": ev.UserAgent, "verdict.reason": s.env.Verdict.Reason, `param("UserName")`: s.param("UserName")}[x]
			if v = slowTame(v, maxValue); v == "" {
				v = map[bool]string{false: "unknown", true: "未知"}[s.zh]
			}
			want.WriteString(v)
		}
		f := newFile("x.yaml", nil)
		tm := c.template(f, text{value: src.String()}, allowed{verdict: true})
		if tm == nil {
			t.Fatal(f.errs)
		}
		limit := rapid.SampledFrom([]int{1, 2, 5, 30, maxTitle, maxReason}).Draw(t, "limit")
		for range 2 { // the second time from what is remembered of the first
			if got, err := s.render(tm, limit); err != nil || got != slowTame(want.String(), limit) {
				t.Fatalf("render(%q, %d) = %q, %v; want %q", src.String(), limit, got, err, slowTame(want.String(), limit))
			}
		}
	})
}

// What was found out about an event has a native form in texts, which says the
// same as the machine, and nothing of the event before.
func TestNativeFindings(t *testing.T) {
	c := &compiler{tables: &tables{}, cache: map[string]*program{}}
	s := newSession(&Set{tables: c.tables})
	for _, src := range []string{"verdict.reason", "verdict.count", "policy.sentence", `outcome == "success" ? policy.sentence : verdict.reason`} {
		p, faults := c.compile(src, useText, allowed{policy: true, verdict: true})
		if p == nil || p.text == nil {
			t.Fatalf("%s has no native form: %v", src, faults)
		}
		for _, judged := range []bool{true, false} {
			s.Begin(parse(t, nil))
			if judged {
				s.SetPolicy(detectors.PolicyFacts{Sentence: "bob may do everything"})
				s.env.Verdict = envVerdict{Reason: "7 failures", Count: 7}
			}
			got := p.text(s)
			if want, err := s.slowScalar(p.code); err != nil || got != want {
				t.Errorf("%s is %q, on the machine %q, %v", src, got, want, err)
			}
			s.env.Verdict = envVerdict{} // as after a detection
		}
	}
}

// Where an expression itself says that there may be nothing, nothing is shown;
// an empty value of the record is not known. A sentence about permissions keeps
// its end.
func TestNothingToShow(t *testing.T) {
	c := &compiler{tables: &tables{}, cache: map[string]*program{}}
	s := newSession(&Set{tables: c.tables})
	long := strings.Repeat("x", maxValue) + " and so the reason"
	for src, want := range map[string]string{
		`a{policy.sentence != "" ? ": " + policy.sentence : ""}`:                           "a",
		`a{has_param("UserName") ? param("UserName") : has_param("GroupName") ? "y" : ""}`: "a",
		`a{param("UserName")}`:                              "aunknown",
		`a{outcome == "success" ? param("UserName") : "b"}`: "aunknown",
		`a{outcome == "success" ? " and b" : ""}c`:          "a and bc",
		`a{outcome == "success" ? " and b" : "x"}c`:         "aand bc",
		`{policy.summary}`:                                  long,
	} {
		f := newFile("x.yaml", nil)
		tm := c.template(f, text{value: src}, allowed{policy: true})
		if tm == nil {
			t.Fatal(f.errs)
		}
		s.Begin(parse(t, nil))
		s.SetPolicy(detectors.PolicyFacts{Summary: long})
		if got, err := s.render(tm, maxReason); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", src, got, err, want)
		}
	}
}
