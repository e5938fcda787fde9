package text

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "alice", "alice"},
		{"empty", "", ""},
		{"blanks", "  a \t\n b  ", "a b"},
		{"escape sequence", "a\x1b[31mred\x1b]0;t\a", "a[31mred]0;t"},
		{"c1", "a\u009b31mb\u0085c", "a31mb c"},
		{"nul", "a\x00b", "ab"},
		{"bidi", "user\u202egpj.exe\u2066x\u2069", "usergpj.exex"},
		{"zero width", "ad\u200bm\u200din\ufeff\u2060", "admin"},
		{"tags", "a\U000e0041\U000e0042b", "ab"},
		{"variation selectors", "a\ufe0fb\U000e0100c", "abc"},
		{"fillers", "a\u3164\u115f\u034f\u2800b", "ab"},
		{"soft hyphen", "ad\u00admin", "admin"},
		{"separators", "a\u2028b\u2029c", "a b c"},
		{"other spaces", "a\u00a0\u3000b", "a b"},
		{"invalid", "a\xff\xfeb", "a\ufffd\ufffdb"},
		{"private", "a\ue000b", "a\ufffdb"},
		{"zalgo", "a" + strings.Repeat("\u0301", 50) + "b", "a" + strings.Repeat("\u0301", 4) + "b"},
		{"chinese", "运维，张三", "运维，张三"},
		{"emoji", "🦊 x", "🦊 x"},
	} {
		if got := Line(c.in); got != c.want {
			t.Errorf("%s: Line(%q) = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestBlock(t *testing.T) {
	if got, want := Block("\n a \r\n b\n\n\n\n c\x1b\u2028d \n"), "a\nb\n\nc\nd"; got != want {
		t.Errorf("Block = %q, want %q", got, want)
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"  a  b\n\n   ^ here\tx": "  a  b\n\n   ^ here\tx", "a\x1b[2Jb\u009b\u202ec\x00": "a[2Jbc", "a\r\nb\u2028c": "a\nb\nc", "\xff": "\ufffd", "张三": "张三",
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestLog: nothing printed is a command to the runner of a CI, and what only looks
// like one stays as it is.
func TestLog(t *testing.T) {
	for in, want := range map[string]string{
		"::error title=x::pwn":                    ": :error title=x::pwn",
		"a\n  ::stop-commands::t\n::endgroup::":   "a\n  : :stop-commands::t\n: :endgroup::",
		"x ##[error]pwn":                          "x # #[error]pwn",
		"###vso[task.setvariable variable=a;]b":   "## #vso[task.setvariable variable=a;]b",
		"##teamcity[buildProblem description='']": "# #teamcity[buildProblem description='']",
		"##[group]##[endgroup]":                   "# #[group]# #[endgroup]",
		"\u00a0::add-mask::x":                     "\u00a0: :add-mask::x",
		"#\u200b#[x]":                             "# #[x]",
		":\u202e:warning::x":                      ": :warning::x",
		"::1 and ::ffff:192.0.2.1, fe80::1":       "::1 and ::ffff:192.0.2.1, fe80::1",
		"acs:ram::1000000000000001:user/a::b":     "acs:ram::1000000000000001:user/a::b",
		"## Heading [link] a::b ##":               "## Heading [link] a::b ##",
		"":                                        "",
	} {
		if got := Log(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
		if got := Terminal(in); commands.MatchString(got) {
			t.Errorf("%q gives %q", in, got)
		}
	}
}

// commands is what runners obey, found in another way than by disarm.
var commands = regexp.MustCompile(`(?m)^\s*::[A-Za-z_.-][\w.-]*( .*)?::|##[\w.-]*\[`)

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"abcd", 1, "…"}, {"abcd", 0, ""}, {"abcd", -4, ""}, {"", 3, ""},
		{"你好世界", 3, "你好…"}, {"ab cd", 4, "ab…"},
		{"ae\u0301\u0301zz", 4, "a…"}, // the letter goes with its marks
		{"🦊🦊🦊", 3, "🦊🦊🦊"},
	} {
		if got := Cut(c.in, c.max); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
	if got := CutUTF16("🦊🦊🦊", 5); got != "🦊🦊…" {
		t.Errorf("CutUTF16 = %q", got)
	}
	if got := CutUTF16("🦊🦊🦊", 6); got != "🦊🦊🦊" {
		t.Errorf("CutUTF16 whole = %q", got)
	}
}

func TestMrkdwn(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"<!channel> hi", "&lt;!channel&gt; hi"},
		{"<@U123> <#C1> <http://evil.example|console>", "&lt;@U123&gt; &lt;#C1&gt; &lt;http[:]//evil.example|console&gt;"},
		{"@here @Channel @EVERYONE @bob @heretic", "＠here ＠Channel ＠EVERYONE @bob @heretic"},
		{"&lt;!here&gt;", "&amp;lt;!here&amp;gt;"},
		{"*b* _i_ a_b ~s~ `c`", "∗b∗ ＿i＿ a_b ∼s∼ ˋcˋ"},
		{"acs:ram::1:user/x", "acs꞉ram::1:user/x"},
		{"ram:CreateAccessKey", "ram:CreateAccessKey"},
		{"mailto:a@b.example MAILTO:x", "mailto[:]a@b.example MAILTO[:]x"},
		{"line\n> quote", "line &gt; quote"},
	} {
		if got := Mrkdwn(c.in, 300); got != c.want {
			t.Errorf("Mrkdwn(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
	}
	if got := Mrkdwn("a&&&&", 8); got != "a&amp;…" {
		t.Errorf("an entity was cut: %q", got)
	}
	if got := Mrkdwn("ab", 0); got != "" {
		t.Errorf("max 0: %q", got)
	}
}

func TestCode(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"", 10, Dash}, {"\u200b", 10, Dash}, {"a`b", 10, "`aˋb`"}, {"<!here>", 40, "`&lt;!here&gt;`"},
		{"abcdef", 6, "`abc…`"}, {"abc", 2, ""}, {"acs:ram::1", 40, "`acs:ram::1`"},
	} {
		if got := Code(c.in, c.max); got != c.want {
			t.Errorf("Code(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"alice@corp.example", "alice@corp.example"},
		{"@all @here @所有人 @allan", "＠all ＠here ＠所有人 @allan"},
		{"[x](http://evil.example) ![i](data:x)", "［x］(http［:］//evil.example) !［i］(data［:］x)"},
		{"WWW.evil.example", "WWW［.］evil.example"},
		{"*b* _i_ snake_case `c` ~s~ <b> &lt; a|b \\*", "∗b∗ ＿i＿ snake_case ˋcˋ ∼s∼ ‹b› ＆lt; a｜b ＼∗"},
		{"# h", "＃ h"}, {"- l", "‐ l"}, {"a\n# b", "a # b"}, {"", ""},
	} {
		if got := Markdown(c.in, 1000); got != c.want {
			t.Errorf("Markdown(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Markdown("abcdef", 4); got != "abc…" {
		t.Errorf("cut: %q", got)
	}
}

func TestSlackPlain(t *testing.T) {
	if got, want := SlackPlain("<!channel> @here\nhttps://e.example\x1b", 100), "‹!channel› ＠here\nhttps[:]//e.example"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCSV(t *testing.T) {
	for in, want := range map[string]string{
		"=1+1": "'=1+1", "+x": "'+x", "-x": "'-x", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'=1", "\u200b=1": "'=1",
		"a=1": "a=1", "": "", "＝1": "'＝1", "a\r\nb": "a b",
	} {
		if got := CSV(in); got != want {
			t.Errorf("CSV(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"LTAI5tEXAMPLEalice0Xy9": "LTAI…Xy9", "": "", "ab": "…", "abcdefgh": "…fgh", "STS.EXAMPLEabc": "STS.…abc",
		"LTAI***": "LTAI***", "LTAI\u202e5tEXAMPLEalice00001": "LTAI…001",
	} {
		if got := MaskKey(in); got != want {
			t.Errorf("MaskKey(%q) = %q, want %q", in, got, want)
		}
	}
	if got := MaskAccount("1000000000000001"); got != "1000…0001" {
		t.Errorf("MaskAccount = %q", got)
	}
}

func TestDefang(t *testing.T) {
	for in, want := range map[string]string{
		"see HTTP://x.example/a": "see HTTP[:]//x.example/a", "data: none": "data: none", "metadata:x": "metadata:x",
		"tel:123": "tel[:]123", "a:b": "a:b", "mailto:mailto:x": "mailto[:]mailto[:]x",
	} {
		if got := Defang(in); got != want {
			t.Errorf("Defang(%q) = %q, want %q", in, got, want)
		}
	}
}

var (
	live    = regexp.MustCompile(`[<>]|://`)
	notAmp  = regexp.MustCompile(`&(amp;|lt;|gt;)?`)
	mention = regexp.MustCompile(`(?i)@(here|channel|everyone|group)([^\pL\p{Nd}]|$)`)
)

// check holds what every output must be, whatever the input.
func check(t interface{ Fatalf(string, ...any) }, s string, max int) {
	visible := func(name, out string, breaks bool) {
		if !utf8.ValidString(out) {
			t.Fatalf("%s(%q): invalid UTF-8 %q", name, s, out)
		}
		for _, r := range out {
			if r == '\n' && breaks {
				continue
			}
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029 {
				t.Fatalf("%s(%q) = %q lets %U through", name, s, out, r)
			}
		}
	}
	line := Line(s)
	visible("Line", line, false)
	if Line(line) != line {
		t.Fatalf("Line is not stable: %q → %q → %q", s, line, Line(line))
	}
	block := Block(s)
	visible("Block", block, true)
	if Block(block) != block {
		t.Fatalf("Block is not stable: %q → %q → %q", s, block, Block(block))
	}
	visible("CSV", CSV(s), false)
	visible("Terminal", Terminal(s), false)
	for name, out := range map[string]string{"Log": Log(s), "Terminal": Terminal(s), "CSV": CSV(s)} {
		if commands.MatchString(out) {
			t.Fatalf("%s(%q) = %q is a command to a CI", name, s, out)
		}
	}
	if spaceless(Log(s)) != spaceless(Visible(s)) {
		t.Fatalf("Log(%q) = %q: more than blanks were added", s, Log(s))
	}
	if c := CSV(s); c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
		t.Fatalf("CSV(%q) = %q is a formula", s, c)
	}
	for name, out := range map[string]string{"Mrkdwn": Mrkdwn(s, max), "Code": Code(s, max)} {
		visible(name, out, false)
		if n := LenUTF16(out); n > max && out != Dash {
			t.Fatalf("%s(%q, %d) has %d units: %q", name, s, max, n, out)
		}
		for _, m := range notAmp.FindAllString(out, -1) {
			if m == "&" {
				t.Fatalf("%s(%q, %d) = %q: bare or cut entity", name, s, max, out)
			}
		}
		if strings.ContainsAny(out, "<>") {
			t.Fatalf("%s(%q) = %q: live markup", name, s, out)
		}
	}
	if out := Mrkdwn(s, max); live.MatchString(out) || mention.MatchString(out) || strings.ContainsAny(out, "*~`") {
		t.Fatalf("Mrkdwn(%q) = %q: live", s, out)
	}
	if out := Code(s, max); strings.Contains(out, "://") || strings.Count(out, "`") != 0 && (strings.Count(out, "`") != 2 || out[0] != '`' || out[len(out)-1] != '`') {
		t.Fatalf("Code(%q) = %q: leaves its span", s, out)
	}
	plain := SlackPlain(s, max)
	visible("SlackPlain", plain, true)
	if n := LenUTF16(plain); n > max || live.MatchString(plain) || mention.MatchString(plain) {
		t.Fatalf("SlackPlain(%q, %d) = %q (%d units)", s, max, plain, n)
	}
	md := Markdown(s, max)
	visible("Markdown", md, false)
	if LenUTF16(md) > max || live.MatchString(md) || mention.MatchString(md) || strings.ContainsAny(md, "*`~<>[]|&\\") {
		t.Fatalf("Markdown(%q, %d) = %q", s, max, md)
	}
	if out := Cut(s, max); utf8.RuneCountInString(out) > max {
		t.Fatalf("Cut(%q, %d) = %q", s, max, out)
	}
	if utf8.RuneCountInString(s) <= max && utf8.ValidString(s) && Cut(s, max) != s {
		t.Fatalf("Cut changed a short text %q", s)
	}
	if out := MaskKey(s); len([]rune(line)) > 7 && !strings.Contains(line, "***") && strings.Contains(out, line) {
		t.Fatalf("MaskKey(%q) shows all", s)
	}
}

func spaceless(s string) string { return strings.ReplaceAll(s, " ", "") }

func hostile(t *rapid.T, name string) string {
	parts := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"<!channel>", "<@U1>", "@here", "http://", "&lt;", "&", "`", "*", ":ram:", "\x1b[2J", "\u202e", "\u200d",
			"=1", "##", "vso[", "::", "error ", "stop-commands::", "\n", "\r\n", " ", "\xff", "🦊", "e\u0301\u0301\u0301\u0301\u0301", "\u2028", "mailto:", "运维"}),
		rapid.String(),
	), 0, 12).Draw(t, name)
	return strings.Join(parts, "")
}

// TestCutCalls: no cut makes a call of a longer word.
func TestCutCalls(t *testing.T) {
	for name, f := range map[string]func(string, int) string{"SlackPlain": SlackPlain, "Mrkdwn": Mrkdwn, "Markdown": Markdown} {
		const s = "see @hereford and @allison"
		for max := range len(s) + 1 {
			if got := f(s, max); strings.Contains(got, "@here…") || strings.Contains(got, "@all…") {
				t.Errorf("%s(%d) = %q", name, max, got)
			}
		}
		if got := f(s, 100); got != s {
			t.Errorf("%s = %q", name, got)
		}
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		check(t, hostile(t, "s"), rapid.IntRange(1, 60).Draw(t, "max"))
	})
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "alice", "<!channel>", "\u202e@here", "\x1b]8;;http://x\a", "a\u0301\u0301", "\xf0\x28", "=cmd|' /C calc'!A0", "\n>x\n", "`_*~:ram:", "a\n ::error x=y::z", "###vso[a]"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 1 || max > 1<<16 {
			max = 30
		}
		check(t, s, max)
	})
}
