package rampolicy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hostile documents are made to be slow: each is as long as is read.
func hostile() map[string][2]string {
	quoted := func(n int, f func(i int) string) string {
		var out []string
		for i, size := 0, 0; i < n && size < MaxText-900; i++ {
			q := fmt.Sprintf("%q", f(i))
			size += len(q) + 1
			out = append(out, q)
		}
		return strings.Join(out, ",")
	}
	letter := func(i int) string { return string(rune('a' + i%26)) }
	allow := func(actions, resources, condition string) string {
		return `{"Effect":"Allow","Action":[` + actions + `],"Resource":[` + resources + `]` + condition + `}`
	}
	star := `"*"`
	stars := func(i int) string { return "*" + letter(i) + "*" + letter(i*7+3) + "*" }
	starName := func(i int) string { return "*:*" + letter(i) + "*" + letter(i*7+3) + "*" }
	long := func(i int) string { return strings.Repeat("*a?", 40) + letter(i) }
	var values, keys, nets, split []string
	for i := range 700 {
		values = append(values, fmt.Sprintf("%q", "*"+letter(i)+"*"+letter(i/26)+"*"))
		nets = append(nets, fmt.Sprintf("%q", fmt.Sprintf("10.%d.%d.0/24", i/200, i%200)))
	}
	for i := range 120 {
		keys = append(keys, fmt.Sprintf(`"k:%d":["v1","v2"]`, i))
	}
	for i := range 150 {
		split = append(split, `{"Effect":"`+[]string{"Allow", "Deny"}[i%2]+`","Action":"*:*`+letter(i)+letter(i*3)+`*","Resource":"*`+letter(i*5)+`*"}`)
	}
	cond := func(list string) string { return `,"Condition":{"StringEquals":{` + list + `}}` }
	return map[string][2]string{
		"stars in actions":       {stmt(allow(quoted(400, stars), star, "")), stmt(allow(quoted(401, stars)+`,"zz:zz"`, star, ""))},
		"stars in names":         {stmt(allow(quoted(400, starName), star, "")), stmt(allow(quoted(399, starName)+`,"zz:zz"`, star, ""))},
		"stars in resources":     {stmt(allow(star, quoted(400, stars), "")), stmt(allow(star, quoted(400, stars)+`,"zz"`, ""))},
		"stars in both":          {stmt(allow(quoted(150, starName), quoted(150, stars), "")), stmt(allow(quoted(150, starName)+`,"q:q"`, quoted(150, stars), ""))},
		"long globs":             {stmt(allow(quoted(100, long), star, "")), stmt(allow(quoted(99, long), star, ""))},
		"many keys":              {stmt(allow(star, star, cond(strings.Join(keys, ",")))), stmt(allow(star, star, cond(strings.Join(keys[:119], ","))))},
		"many keys in Deny":      {stmt(admin + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotLike":{` + strings.Join(keys, ",") + `}}}`), stmt(admin + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotLike":{` + strings.Join(keys[1:], ",") + `}}}`)},
		"many patterns of a key": {stmt(allow(star, star, `,"Condition":{"StringLike":{"k:a":[`+strings.Join(values[:600], ",")+`]}}`)), stmt(allow(star, star, `,"Condition":{"StringLike":{"k:a":[`+strings.Join(values[1:600], ",")+`]}}`))},
		"many networks":          {stmt(allow(star, star, `,"Condition":{"IpAddress":{"acs:SourceIp":[`+strings.Join(nets, ",")+`]}}`)), stmt(allow(star, star, `,"Condition":{"IpAddress":{"acs:SourceIp":[`+strings.Join(nets[1:], ",")+`]}}`))},
		"many statements":        {stmt(strings.Join(split, ",")), stmt(strings.Join(split[3:], ","))},
		"many literals":          {stmt(allow(quoted(1500, func(i int) string { return fmt.Sprintf("s%d:a", i) }), star, "")), stmt(allow(quoted(1500, func(i int) string { return fmt.Sprintf("s%d:b", i) })+`,"*:A*"`, star, ""))},
		"mixed families of a key": {stmt(allow(star, star, `,"Condition":{"StringLike":{"k:a":["1*"]},"NumericLessThan":{"k:a":"5"}}`)),
			stmt(allow(star, star, `,"Condition":{"StringLike":{"k:a":["1*"]},"NumericLessThan":{"k:a":"6"}}`))},
	}
}

// TestHostile: documents made to be slow end, in bounded work, and never with
// an answer that says less than they do. The budget is of steps and not of
// time, so the answer is the same on every machine.
func TestHostile(t *testing.T) {
	for name, pair := range hostile() {
		t.Run(name, func(t *testing.T) {
			for _, text := range pair {
				if len(text) > MaxText {
					t.Fatalf("%d bytes", len(text))
				}
			}
			a, b := parse(t, pair[0]), parse(t, pair[1])
			start := time.Now()
			r := Diff(a, b, Options{})
			took := time.Since(start)
			start = time.Now()
			v := Compare(a, b, Identity)
			t.Logf("%s %s in %s, verdict alone %s in %s; %v", r.Verdict, r.Severity, took, v, time.Since(start), r.Notes)
			if v != r.Verdict {
				t.Errorf("Diff says %s, Compare %s", r.Verdict, v)
			}
			if expands := map[string]bool{"stars in actions": true, "stars in names": true, "stars in resources": true, "many keys": true, "many keys in Deny": true, "many literals": true,
				"mixed families of a key": true, "stars in both": true}; expands[name] && r.Verdict != Expands && r.Verdict != Changes && r.Verdict != Unknown {
				t.Errorf("verdict %s", r.Verdict)
			}
			if r.Verdict == Unknown && r.Severity < Medium {
				t.Errorf("unknown is handled as expanding, not as %s", r.Severity)
			}
		})
	}
}

// TestHostileTogether: many policies of one identity, each made to be slow, are
// no way around the bounds, and what is not known of them counts as the worst.
func TestHostileTogether(t *testing.T) {
	var docs []*Document
	for i := range 12 {
		var actions []string
		for j := range 700 {
			actions = append(actions, fmt.Sprintf("%q", fmt.Sprintf("zz:*%dq%d*?", i, j)))
		}
		docs = append(docs, parse(t, stmt(`{"Effect":"Allow","Action":[`+strings.Join(actions, ",")+`],"Resource":"*"}`)))
	}
	all := Merge(docs...)
	p := PowerOf(all, "1")
	if p.Known || !p.Privileged {
		t.Errorf("%+v", p)
	}
	if p := PowerOf(Merge(append(docs, parse(t, stmt(admin)))...), "1"); !p.Admin || !p.Everything {
		t.Errorf("%+v", p)
	}
	r := Diff(Merge(docs[1:]...), all, Options{})
	if r.Verdict != Expands && r.Verdict != Changes && r.Verdict != Unknown || r.Verdict == Unknown && r.Severity != Critical {
		t.Errorf("%s %s", r.Verdict, r.Severity)
	}
}

// BenchmarkHostile is the worst that a document can do.
func BenchmarkHostile(b *testing.B) {
	for name, pair := range hostile() {
		x, y := parse(b, pair[0]), parse(b, pair[1])
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				Diff(x, y, Options{})
			}
		})
	}
}

// TestEqualTexts: equal documents are answered from their hashes, however
// tangled or doubtful they are.
func TestEqualTexts(t *testing.T) {
	for name, pair := range hostile() {
		r := Diff(parse(t, pair[0]), parse(t, pair[0]), Options{})
		if r.Verdict != Equivalent || r.Findings == nil || r.Removed == nil || Compare(parse(t, pair[1]), parse(t, pair[1]), Identity) != Equivalent {
			t.Errorf("%s: %s", name, r.Verdict)
		}
	}
	twice := `{"Version":"1","Statement":[{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}]}`
	if v := Compare(parse(t, twice), parse(t, twice), Identity); v != Equivalent {
		t.Error(v)
	}
	// A merged document has no text, and is compared by what it says.
	a, b := parse(t, stmt(ecsRead)), parse(t, stmt(admin))
	if v := Compare(Merge(a), Merge(b), Identity); v != Expands {
		t.Error(v)
	}
}
