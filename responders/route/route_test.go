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
	f.End("id")
	if len(f.on) != 0 {
		t.Errorf("%d fire after the end", len(f.on))
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

// What Alertmanager's own documentation and parser say of matchers in one text.
func TestMatchersInOneText(t *testing.T) {
	l := Labels{"rule": "ak.created", "severity": "high", "account": "prod", "actor": `CORP\alice "the admin", ops`}
	for _, c := range []struct {
		in   string
		n    int
		want bool
	}{
		{`{severity="high",rule=~"ak.*"}`, 2, true}, {`severity="high", account="dev"`, 2, false}, {`{ severity="high" , account="prod" , }`, 2, true},
		{`severity=high,account=prod`, 2, true}, {`rule=~"ak\\.(created|x{1,2})"`, 1, true}, {`rule=~"ak\..{1,9}"`, 1, true},
		{`actor="CORP\\alice \"the admin\", ops"`, 1, true}, {`actor=~"CORP\\\\alice.*"`, 1, true}, {`actor="CORP\alice \"the admin\", ops"`, 1, true}, {`actor="CORP\\alice"`, 1, false},
	} {
		ms, err := ParseMatchers([]string{c.in})
		if err != nil || len(ms) != c.n || ms.Match(l) != c.want {
			t.Errorf("%s: %v, %v, want %d and %t", c.in, ms, err, c.n, c.want)
		}
	}
	// What would never match is an error, and not a route that nothing takes.
	for in, want := range map[string]string{
		`severity="high" account="prod"`: "quote inside", `severity=high"`: "quote inside", `rule="a"b"`: "quote inside", `rule="a`: "not closed", `rule="a\"`: "not closed",
		`severity=high,`: "", `{severity=high`: "want label", `rule=a,,severity=high`: "want label", `{}`: "want label",
	} {
		if _, err := ParseMatchers([]string{in}); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// Whatever a value is, a matcher that is written is read again as itself.
func TestMatcherRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Matcher{Label: "actor", Op: rapid.SampledFrom([]string{"=", "!="}).Draw(t, "op"), Value: rapid.String().Draw(t, "value")}
		got, err := ParseMatchers([]string{m.String()})
		if err != nil || len(got) != 1 || got[0].Value != m.Value || got[0].Op != m.Op {
			t.Fatalf("%s: %+v, %v", m, got, err)
		}
	})
}

// Time intervals are of a node and not of its children: they would else be held
// back where nobody wrote so.
func TestIntervalsAreNotInherited(t *testing.T) {
	night, err := ParseClock("00:00", "06:00")
	if err != nil {
		t.Fatal(err)
	}
	year, err := ParseYears("2026:2027")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := New(Config{Route: Node{Receiver: "a", Routes: []Node{
		{Matchers: []string{"account=prod"}, MuteTimeIntervals: []string{"night"}, Routes: []Node{{Receiver: "b", Matchers: []string{"severity=critical"}}}},
	}}, Intervals: map[string][]Interval{"night": {{Times: []Clock{night}, Years: []Range{year}}}}}, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		l    Labels
		at   string
		want string
	}{
		{Labels{"account": "prod"}, "2026-11-20T03:00:00Z", "time interval night"},
		{Labels{"account": "prod"}, "2028-11-20T03:00:00Z", ""},
		{Labels{"account": "prod", "severity": "critical"}, "2026-11-20T03:00:00Z", ""},
		{Labels{}, "2026-11-20T03:00:00Z", ""},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Muted(tree.Route(c.l)[0], at); got != c.want {
			t.Errorf("%v at %s: %q, want %q", c.l, c.at, got, c.want)
		}
	}
	for _, bad := range []string{"0", "x", "2027:2026", "-1"} {
		if r, err := ParseYears(bad); err == nil {
			t.Errorf("year %s: %v", bad, r)
		}
	}
}

// Inhibition is what a slow reading of Alertmanager's words says: an alert that is a
// source and a target as well is not inhibited by what is both, and is by what is
// a source alone.
func TestInhibitionAgainstItsWords(t *testing.T) {
	start := time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		matchers := rapid.SliceOfN(rapid.SampledFrom([]string{"severity=critical", "severity=high", "severity!=low", `severity=~"high|low"`, "rule=a", "account!=dev"}), 1, 2)
		var rules []Inhibit
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			rules = append(rules, Inhibit{matchers.Draw(t, "source"), matchers.Draw(t, "target"), rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"actor", "account"}), 0, 2, rapid.ID).Draw(t, "equal")})
		}
		tree, err := New(Config{Route: Node{Receiver: "x"}, Inhibit: rules, ResolveTimeout: time.Hour}, []string{"x"})
		if err != nil {
			t.Fatal(err)
		}
		type incident struct {
			id   string
			l    Labels
			last time.Time
		}
		var all []incident
		f := tree.NewFiring()
		for i := range rapid.IntRange(0, 12).Draw(t, "incidents") {
			x := incident{string(rune('a' + i)), Labels{
				"severity": rapid.SampledFrom([]string{"critical", "high", "low"}).Draw(t, "severity"), "rule": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "rule"),
				"account": rapid.SampledFrom([]string{"prod", "dev", ""}).Draw(t, "account"), "actor": rapid.SampledFrom([]string{"alice", ""}).Draw(t, "actor"),
			}, start.Add(time.Duration(rapid.IntRange(0, 180).Draw(t, "minute")) * time.Minute)}
			all = append(all, x)
			f.Note(x.id, x.l, x.last)
		}
		now := start.Add(time.Duration(rapid.IntRange(0, 240).Draw(t, "now")) * time.Minute)
		compiled := map[string]Matchers{}
		match := func(list []string, l Labels) bool {
			k := strings.Join(list, "\n")
			ms, ok := compiled[k]
			if !ok {
				if ms, err = ParseMatchers(list); err != nil {
					t.Fatal(err)
				}
				compiled[k] = ms
			}
			return ms.Match(l)
		}
		for _, target := range all {
			want := time.Time{}
			for _, r := range rules {
				if !match(r.Target, target.l) {
					continue
				}
				both := match(r.Source, target.l)
				for _, source := range all {
					equal := !slices.ContainsFunc(r.Equal, func(k string) bool { return source.l[k] != target.l[k] })
					if until := source.last.Add(time.Hour); match(r.Source, source.l) && equal && now.Before(until) && !(both && match(r.Target, source.l)) && until.After(want) {
						want = until
					}
				}
			}
			if got, by := f.Inhibits(target.id, target.l, now); !got.Equal(want) || (by == "") != want.IsZero() {
				t.Fatalf("%s %v: until %s by %q, want %s\nrules %v\nall %v", target.id, target.l, got, by, want, rules, all)
			}
		}
	})
}

func FuzzMatchers(f *testing.F) {
	for _, s := range []string{`{severity="high",rule=~"ak.*"}`, `actor="a\\\"b"`, `rule=~"("`, `,`, `{`, "actor=\"\n\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := ParseMatchers([]string{s})
		if err != nil {
			return
		}
		for _, m := range ms {
			again, err := ParseMatcher(m.String())
			if err != nil || again.Value != m.Value {
				t.Fatalf("%q: %s: %+v, %v", s, m, again, err)
			}
		}
	})
}
