package route

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

func TestMatchers(t *testing.T) {
	l := Labels{"rule": "ak.created", "severity": "high", "account": ""}
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"rule=ak.created", true}, {`rule = "ak.created"`, true}, {"rule=ak", false}, {`rule=~"ak"`, false}, {`rule=~"ak\..*"`, true}, {"rule!~ak.*", false},
		{"severity!=low", true}, {"account=", true}, {`account!=""`, false}, {"region=", true}, {`severity=~"high|critical"`, true},
	} {
		m, err := ParseMatcher(c.in)
		if err != nil || m.Matches(l) != c.want {
			t.Errorf("%s: %v %v", c.in, m, err)
		}
		again, err := ParseMatcher(m.String())
		if err != nil || again.Matches(l) != c.want {
			t.Errorf("%s: read again: %v", m, err)
		}
	}
	for in, want := range map[string]string{"rule": "want label=value", "colour=red": "no label", "severity=loud": "want info", `rule=~"("`: "missing", `rule="x`: "quote", "": "want label=value"} {
		if _, err := ParseMatcher(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestInheritance(t *testing.T) {
	minute := time.Minute
	tree, err := New(Config{Route: Node{Receiver: "a", GroupBy: []string{"rule", "account"}, Routes: []Node{
		{Matchers: []string{"severity=critical"}, GroupBy: []string{"..."}, RepeatInterval: &minute, Continue: true},
		{Receiver: "b", Matchers: []string{"account=prod"}, Routes: []Node{{Receiver: "c", Matchers: []string{"outcome=attempt"}, GroupWait: &minute}}},
	}}}, []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		l    Labels
		want string
	}{
		{Labels{}, "a route [rule account] 30s 5m0s 4h0m0s"},
		{Labels{"severity": "critical"}, "a route.routes[0] [] 30s 5m0s 1m0s"},
		{Labels{"account": "prod"}, "b route.routes[1] [rule account] 30s 5m0s 4h0m0s"},
		{Labels{"account": "prod", "outcome": "attempt"}, "c route.routes[1].routes[0] [rule account] 1m0s 5m0s 4h0m0s"},
		{Labels{"account": "prod", "severity": "critical"}, "a route.routes[0] [] 30s 5m0s 1m0s; b route.routes[1] [rule account] 30s 5m0s 4h0m0s"},
	} {
		var got []string
		for _, d := range tree.Route(c.l) {
			got = append(got, strings.Join([]string{d.Receiver, d.Path, "[" + strings.Join(d.GroupBy, " ") + "]", d.GroupWait.String(), d.GroupInterval.String(), d.RepeatInterval.String()}, " "))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%v:\n got %s\nwant %s", c.l, s, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	_, err := New(Config{
		Route:   Node{Matchers: []string{"rule=x"}, Routes: []Node{{Receiver: "z", Matchers: []string{"nope=1"}, GroupBy: []string{"size"}, MuteTimeIntervals: []string{"never"}}}},
		Inhibit: []Inhibit{{Equal: []string{"x"}}},
	}, []string{"a"})
	for _, want := range []string{
		"route: the top", "route.receiver: ", "route.routes[0].receiver: no destination", "route.routes[0].matchers: ", "route.routes[0].group_by: ",
		"route.routes[0]: no time interval", "inhibit_rules[0]: needs", "inhibit_rules[0].equal: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in:\n%v", want, err)
		}
	}
}

// Whatever the tree and the alert: somebody hears of it, nobody twice, and
// the answer is a slow walk's.
func TestEveryAlertArrives(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		var draw func(depth int) Node
		draw = func(depth int) Node {
			n := Node{Receiver: rapid.SampledFrom(append([]string{""}, names...)).Draw(t, "receiver"), Continue: rapid.Bool().Draw(t, "continue")}
			n.Matchers = rapid.SliceOfN(rapid.SampledFrom([]string{"severity=high", "severity!=high", "rule=~\"a.*\"", "account=prod", "actor!~x.*"}), 0, 2).Draw(t, "matchers")
			if depth > 0 {
				for range rapid.IntRange(0, 3).Draw(t, "children") {
					n.Routes = append(n.Routes, draw(depth-1))
				}
			}
			return n
		}
		top := draw(3)
		top.Receiver, top.Matchers, top.Continue = "a", nil, false
		tree, err := New(Config{Route: top}, names)
		if err != nil {
			t.Fatal(err)
		}
		l := Labels{
			"severity": rapid.SampledFrom([]string{"high", "low"}).Draw(t, "severity"), "rule": rapid.SampledFrom([]string{"ab", "b"}).Draw(t, "rule"),
			"account": rapid.SampledFrom([]string{"prod", "dev"}).Draw(t, "account"), "actor": rapid.SampledFrom([]string{"x1", "y"}).Draw(t, "actor"),
		}
		var got []string
		for _, d := range tree.Route(l) {
			got = append(got, d.Receiver)
		}
		var slow func(n Node, up string) []string
		slow = func(n Node, up string) []string {
			if n.Receiver != "" {
				up = n.Receiver
			}
			var out []string
			for _, c := range n.Routes {
				ms, err := ParseMatchers(c.Matchers)
				if err != nil {
					t.Fatal(err)
				}
				if !ms.Match(l) {
					continue
				}
				out = append(out, slow(c, up)...)
				if !c.Continue {
					break
				}
			}
			if out == nil {
				out = []string{up}
			}
			return out
		}
		var want []string
		for _, r := range slow(top, "") {
			if !slices.Contains(want, r) {
				want = append(want, r)
			}
		}
		if len(got) == 0 || !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestIntervals(t *testing.T) {
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	must := func(r Range, err error) Range {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	c, err := ParseClock("09:00", "18:00")
	if err != nil {
		t.Fatal(err)
	}
	work := Interval{Times: []Clock{c}, Weekdays: []Range{must(ParseWeekdays("monday:friday"))}, Location: shanghai}
	last := Interval{Days: []Range{must(ParseDays("-2:-1"))}, Months: []Range{must(ParseMonths("february")), must(ParseMonths("11:12"))}}
	for _, x := range []struct {
		at   string
		i    Interval
		want bool
	}{
		{"2026-11-20T01:00:00Z", work, true}, {"2026-11-20T00:59:59Z", work, false}, {"2026-11-20T10:00:00Z", work, false}, {"2026-11-21T02:00:00Z", work, false},
		{"2026-02-28T12:00:00Z", last, true}, {"2026-02-26T12:00:00Z", last, false}, {"2026-11-30T12:00:00Z", last, true}, {"2026-10-31T12:00:00Z", last, false},
	} {
		at, _ := time.Parse(time.RFC3339, x.at)
		if x.i.Contains(at) != x.want {
			t.Errorf("%s: %v, want %v", x.at, !x.want, x.want)
		}
	}
	tree, err := New(Config{Route: Node{Receiver: "a", Routes: []Node{{ActiveTimeIntervals: []string{"work"}}}}, Intervals: map[string][]Interval{"work": {work}}}, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	saturday, _ := time.Parse(time.RFC3339, "2026-11-21T12:34:56Z")
	until, by := tree.MutedUntil(tree.Route(Labels{})[0], saturday)
	if by == "" || until.Format(time.RFC3339) != "2026-11-23T01:00:00Z" {
		t.Errorf("held until %s by %q", until, by)
	}
	for _, bad := range []string{"9:00", "24:01", "x", "12:60"} {
		if _, err := ParseClock("00:00", bad); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
	if _, err := ParseClock("22:00", "06:00"); err == nil {
		t.Error("a night in one piece accepted")
	}
	for _, f := range []func() (Range, error){func() (Range, error) { return ParseWeekdays("friday:monday") }, func() (Range, error) { return ParseWeekdays("1") }, func() (Range, error) { return ParseDays("0") }, func() (Range, error) { return ParseMonths("13") }} {
		if r, err := f(); err == nil {
			t.Errorf("%v accepted", r)
		}
	}
}

func TestFiringIsBounded(t *testing.T) {
	tree, err := New(Config{Route: Node{Receiver: "a"}, Inhibit: []Inhibit{{Source: []string{"severity=critical"}, Target: []string{"severity!=critical"}, Equal: []string{"actor"}}}}, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	f, at := tree.NewFiring(), time.Unix(1e9, 0)
	for i := range maxFiring + 20 {
		f.Note("id", Labels{"severity": "critical", "actor": string(rune(i + 0x4e00))}, at.Add(time.Duration(i)*time.Second))
	}
	if len(f.on) != maxFiring {
		t.Errorf("%d", len(f.on))
	}
	newest := Labels{"severity": "low", "actor": string(rune(maxFiring + 19 + 0x4e00))}
	if _, by := f.Inhibits("other", newest, at); by == "" {
		t.Error("the newest is forgotten")
	}
	if _, by := f.Inhibits("other", Labels{"severity": "critical", "actor": newest["actor"]}, at); by != "" {
		t.Error("a source is inhibited by its like")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"rule=x", `rule=~"("`, "severity!=high", "09:00", "monday:friday", "-3:-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMatcher(s); err == nil {
			m.Matches(LabelsOf(&alert.Alert{Rule: s}, s))
		}
		_, _ = ParseClock(s, "24:00")
		_, _ = ParseWeekdays(s)
		_, _ = ParseDays(s)
		_, _ = ParseMonths(s)
	})
}

// Labels say who answers: the target's owner before the actor's; production when
// either is.
func TestOwnerLabels(t *testing.T) {
	of := func(details map[string]any) Labels { return LabelsOf(&alert.Alert{Details: details}, "") }
	l := of(map[string]any{"owners": map[string]any{
		"actor":  map[string]any{"owner": "a", "team": "x", "production": true},
		"target": map[string]any{"owner": "b", "production": false},
	}})
	if l["owner"] != "b" || l["team"] != "x" || l["production"] != "yes" {
		t.Errorf("labels %v", l)
	}
	if l = of(map[string]any{"owners": map[string]any{"target": map[string]any{"production": false}}}); l["owner"] != "" || l["production"] != "no" {
		t.Errorf("labels %v", l)
	}
	if l = of(nil); l["owner"]+l["team"]+l["production"] != "" {
		t.Errorf("labels without tables %v", l)
	}
	for name := range l {
		if !slices.Contains(LabelNames(), name) {
			t.Errorf("label %s is not listed", name)
		}
	}
}
