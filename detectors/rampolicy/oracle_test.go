package rampolicy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/raced"
)

// The oracle is a second evaluator, written from the rules and not from the
// code: documents as plain data, a recursive matcher, every request tried.

type oDoc []oStmt

type oStmt struct {
	deny, not  bool
	act, res   []string
	conditions []oCond
}

type oCond struct {
	op, key string
	values  []string
}

func oMatch(p, s string) bool {
	if p == "" {
		return s == ""
	}
	switch p[0] {
	case '*':
		return oMatch(p[1:], s) || s != "" && oMatch(p, s[1:])
	case '?':
		return s != "" && oMatch(p[1:], s[1:])
	}
	return s != "" && s[0] == p[0] && oMatch(p[1:], s[1:])
}

func oAny(ps []string, s string) bool {
	for _, p := range ps {
		if oMatch(p, s) {
			return true
		}
	}
	return false
}

// oContext maps a key to its value; "" is absent.
type oContext map[string]string

func (d oDoc) allows(act, res string, ctx oContext, absentNegated bool) bool {
	allow := false
	for _, s := range d {
		if oAny(s.act, act) == s.not || !oAny(s.res, res) {
			continue
		}
		holds := true
		for _, c := range s.conditions {
			v := ctx[c.key]
			neg := strings.Contains(c.op, "Not")
			if v == "" {
				holds = holds && neg && absentNegated
				continue
			}
			met := false
			for _, w := range c.values {
				switch c.op {
				case "StringEquals", "StringNotEquals":
					met = met || w == v
				case "StringLike", "StringNotLike":
					met = met || oMatch(w, v)
				}
			}
			holds = holds && met != neg
		}
		if holds && s.deny {
			return false
		}
		allow = allow || holds
	}
	return allow
}

func (d oDoc) json() string {
	list := []any{}
	for _, s := range d {
		m := map[string]any{"Effect": "Allow", "Resource": s.res}
		if s.deny {
			m["Effect"] = "Deny"
		}
		if s.not {
			m["NotAction"] = s.act
		} else {
			m["Action"] = s.act
		}
		cond := map[string]map[string]any{}
		for _, c := range s.conditions {
			if cond[c.op] == nil {
				cond[c.op] = map[string]any{}
			}
			cond[c.op][c.key] = c.values
		}
		if len(cond) > 0 {
			m["Condition"] = cond
		}
		list = append(list, m)
	}
	b, _ := json.Marshal(map[string]any{"Version": "1", "Statement": list})
	return string(b)
}

const letters = "abc"

// universe is every action s:n with up to two characters on each side, every
// resource of up to three, and two condition keys.
var universe = func() (u struct{ actions, resources, values []string }) {
	words := []string{""}
	for n := 0; n < len(words); n++ {
		if len(words[n]) < 3 {
			for _, l := range letters {
				words = append(words, words[n]+string(l))
			}
		}
	}
	u.resources = words
	for _, s := range words {
		for _, n := range words {
			if len(s) <= 2 && len(n) <= 2 {
				u.actions = append(u.actions, s+":"+n)
			}
		}
	}
	// One character that no pattern names stands for the rest.
	u.actions = append(u.actions, "z:z", "a:z", "z:a", "zz:", ":zz", "az:a", "a:az")
	u.resources = append(u.resources, "z", "az", "za", "zz", "aza")
	u.values = []string{"", "p", "q", "pq", "z"}
	return u
}()

func globs(t *rapid.T, colon bool) []string {
	glob := func(n int) string {
		var b strings.Builder
		for range rapid.IntRange(0, n).Draw(t, "len") {
			b.WriteString(rapid.SampledFrom([]string{"a", "b", "c", "*", "?", "a", "b"}).Draw(t, "sym"))
		}
		return b.String()
	}
	out := make([]string, rapid.IntRange(0, 3).Draw(t, "globs"))
	for i := range out {
		switch {
		case rapid.IntRange(0, 5).Draw(t, "star") == 0:
			out[i] = "*"
		case colon:
			out[i] = glob(2) + ":" + glob(2)
		default:
			out[i] = glob(3)
		}
	}
	return out
}

func genDoc(t *rapid.T) oDoc {
	d := make(oDoc, rapid.IntRange(0, 3).Draw(t, "statements"))
	for i := range d {
		s := oStmt{
			deny: rapid.IntRange(0, 9).Draw(t, "deny") < 3,
			not:  rapid.IntRange(0, 19).Draw(t, "not") < 3,
			act:  globs(t, true), res: globs(t, false),
		}
		if rapid.IntRange(0, 9).Draw(t, "cond") < 4 {
			for _, key := range []string{"k:a", "k:b"} {
				if rapid.Bool().Draw(t, "has") {
					s.conditions = append(s.conditions, oCond{
						op:  rapid.SampledFrom([]string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike"}).Draw(t, "op"),
						key: key, values: rapid.SliceOfN(rapid.SampledFrom([]string{"p", "q", "p*", "?q", "*"}), 1, 2).Draw(t, "values"),
					})
				}
			}
		}
		d[i] = s
	}
	return d
}

// at returns the statements that match an action and a resource, so that each
// context costs little.
func (d oDoc) at(act, res string) oDoc {
	var out oDoc
	for _, s := range d {
		if oAny(s.act, act) != s.not && oAny(s.res, res) {
			s.act, s.res, s.not = []string{"*"}, []string{"*"}, false
			out = append(out, s)
		}
	}
	return out
}

// newer looks for a request that b allows and a refuses.
func newer(a, b oDoc, absentNegated bool) (string, bool) {
	for _, act := range universe.actions {
		for _, res := range universe.resources {
			y := b.at(act, res)
			if len(y) == 0 {
				continue
			}
			x := a.at(act, res)
			for _, p := range universe.values {
				for _, q := range universe.values {
					ctx := oContext{"k:a": p, "k:b": q}
					if y.allows(act, res, ctx, absentNegated) && !x.allows(act, res, ctx, absentNegated) {
						return fmt.Sprint(act, " on ", res, " with ", ctx), true
					}
				}
			}
		}
	}
	return "", false
}

func mustParse(t interface{ Fatal(...any) }, text string) *Document {
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err, text)
	}
	return d
}

func expandsVerdict(v Verdict) bool { return v == Expands || v == Changes }

// TestPropOracle compares the verdict with all requests of a small universe.
func TestPropOracle(t *testing.T) {
	raced.Checks(t, raced.Size(math.MaxInt, 25))
	rapid.Check(t, func(t *rapid.T) {
		a := genDoc(t)
		b := genDoc(t)
		if len(a) > 0 && rapid.Bool().Draw(t, "edit") {
			// Most real changes touch one statement.
			b = slices.Clone(a)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "which")] = append(genDoc(t), oStmt{act: []string{"a:*"}, res: []string{"*"}})[0]
		}
		old, new := mustParse(t, a.json()), mustParse(t, b.json())
		r := Diff(old, new, Options{})
		if r.Verdict == Unknown {
			t.Fatal("unknown in a small universe")
		}
		for _, absent := range []bool{false, true} {
			if q, ok := newer(a, b, absent); ok && !expandsVerdict(r.Verdict) {
				t.Fatalf("verdict %s, but newly allowed: %s\n%s\n%s", r.Verdict, q, a.json(), b.json())
			}
			if q, ok := newer(b, a, absent); ok && r.Verdict != Contracts && r.Verdict != Changes {
				t.Fatalf("verdict %s, but no longer allowed: %s\n%s\n%s", r.Verdict, q, a.json(), b.json())
			}
		}
		// Every witness is a request that the oracle agrees on.
		for dir, list := range [][]Finding{r.Findings, r.Removed} {
			from, to := a, b
			if dir == 1 {
				from, to = b, a
			}
			for _, f := range list {
				if !f.Confirmed {
					t.Fatalf("not confirmed: %+v\n%s\n%s", f, a.json(), b.json())
				}
				ok := false
				for _, absent := range []bool{false, true} {
					ctx := oContext(f.Witness.Context)
					ok = ok || to.allows(strings.ToLower(f.Witness.Action), f.Witness.Resource, ctx, absent) && !from.allows(strings.ToLower(f.Witness.Action), f.Witness.Resource, ctx, absent)
				}
				if !ok {
					t.Fatalf("no witness: %+v\n%s\n%s", f.Witness, a.json(), b.json())
				}
			}
		}
		if len(r.Findings) > 0 != expandsVerdict(r.Verdict) {
			t.Fatalf("verdict %s with %d findings", r.Verdict, len(r.Findings))
		}
		// The other way round it is the other way round.
		turned := map[Verdict]Verdict{Expands: Contracts, Contracts: Expands, Changes: Changes, Equivalent: Equivalent}
		if back := Diff(new, old, Options{}); back.Verdict != turned[r.Verdict] {
			t.Fatalf("%s forward, %s back", r.Verdict, back.Verdict)
		}
	})
}

// TestPropRewrites: what changes only the text changes nothing.
func TestPropRewrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDoc(t)
		e := slices.Clone(d)
		if len(e) > 1 && rapid.Bool().Draw(t, "swap") {
			e[0], e[len(e)-1] = e[len(e)-1], e[0]
		}
		for i := 0; i < len(e); i++ {
			s := e[i]
			s.act, s.res = slices.Clone(s.act), slices.Clone(s.res)
			if len(s.act) > 0 && rapid.Bool().Draw(t, "twice") {
				s.act = append(s.act, s.act[0])
			}
			for j := range s.act {
				if rapid.Bool().Draw(t, "upper") {
					s.act[j] = strings.ToUpper(s.act[j])
				}
			}
			slices.Reverse(s.res)
			if !s.not && len(s.act) > 1 && rapid.Bool().Draw(t, "split") {
				one := s
				one.act = s.act[:1]
				s.act = s.act[1:]
				e = slices.Insert(e, i, one)
				i++
			}
			e[i] = s
		}
		if len(e) > 0 && rapid.Bool().Draw(t, "again") {
			e = append(e, e[0])
		}
		r := Diff(mustParse(t, d.json()), mustParse(t, e.json()), Options{})
		if r.Verdict != Equivalent || len(r.Findings)+len(r.Removed) > 0 {
			t.Fatalf("%s\n%s\n%s", r.Verdict, d.json(), e.json())
		}
	})
}

// TestPropMonotone: more Allow or less Deny never contracts.
func TestPropMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDoc(t)
		e := slices.Clone(d)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			s := append(genDoc(t), oStmt{act: []string{"*"}, res: []string{"a"}})[0]
			s.deny = false
			e = append(e, s)
		case 1:
			e = slices.DeleteFunc(e, func(s oStmt) bool { return s.deny })
		case 2:
			for i := range e {
				if !e[i].deny {
					e[i].conditions = nil
				}
			}
		}
		if v := Diff(mustParse(t, d.json()), mustParse(t, e.json()), Options{}).Verdict; v != Expands && v != Equivalent {
			t.Fatalf("%s\n%s\n%s", v, d.json(), e.json())
		}
	})
}

// TestPropHoles: what is not said to expand does not, whatever is put in place
// of placeholders; and taking something away from a document with placeholders
// is seen to take it away.
func TestPropHoles(t *testing.T) {
	raced.Checks(t, raced.Size(math.MaxInt, 25))
	rapid.Check(t, func(t *rapid.T) {
		dig := func(d oDoc) oDoc {
			out := make(oDoc, len(d))
			for i, s := range d {
				s.act, s.res = slices.Clone(s.act), slices.Clone(s.res)
				for _, list := range [][]string{s.act, s.res} {
					for j := range list {
						switch rapid.IntRange(0, 5).Draw(t, "hole") {
						case 0:
							list[j] += "${x}"
						case 1:
							list[j] = "${y}" + list[j]
						}
					}
				}
				out[i] = s
			}
			return out
		}
		d := dig(genDoc(t))
		e, taken := slices.Clone(d), false
		switch rapid.IntRange(0, 3).Draw(t, "edit") {
		case 0:
			e = dig(genDoc(t))
		case 1:
			e = append(e, dig(genDoc(t))...)
		case 2:
			if len(e) > 0 {
				e, taken = e[1:], true
			}
		}
		r := Diff(mustParse(t, d.json()), mustParse(t, e.json()), Options{})
		if v := Compare(mustParse(t, d.json()), mustParse(t, e.json()), Identity); v != r.Verdict {
			t.Fatalf("Diff says %s, Compare %s", r.Verdict, v)
		}
		onlyAllows := !slices.ContainsFunc(d, func(s oStmt) bool { return s.deny })
		// It may be unknown when there are many placeholders.
		if taken && onlyAllows && expandsVerdict(r.Verdict) {
			t.Fatalf("taking a statement away: %s\n%s\n%s", r.Verdict, d.json(), e.json())
		}
		if r.Verdict != Contracts && r.Verdict != Equivalent {
			return
		}
		for _, in := range [][2]string{{"", ""}, {"*", "*"}, {"a", "b"}, {"b?", "*"}} {
			with := func(d oDoc) oDoc {
				out := make(oDoc, len(d))
				for i, s := range d {
					for _, list := range []*[]string{&s.act, &s.res} {
						*list = slices.Clone(*list)
						for j := range *list {
							(*list)[j] = strings.NewReplacer("${x}", in[0], "${y}", in[1]).Replace((*list)[j])
						}
					}
					out[i] = s
				}
				return out
			}
			if q, yes := newer(with(d), with(e), in[0] == ""); yes {
				t.Fatalf("%s with x, y = %q: %s\n%s\n%s", r.Verdict, in, q, d.json(), e.json())
			}
		}
	})
}

// TestPropMatch compares the matcher with the oracle's, and the cells with
// both: every text lies in the cell that the patterns say.
func TestPropMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pats := append(globs(t, false), globs(t, true)...)
		ready := make([]glob, len(pats))
		for i, p := range pats {
			ready[i] = newGlob(p, false, false)
		}
		cells, ok := globCells(ready, false, 10_000, &budget{left: maxWork})
		if !ok {
			t.Fatal("too many cells")
		}
		has := map[string]bool{}
		for _, c := range cells {
			k := ""
			for i, p := range pats {
				if c.match.has(i) != oMatch(p, c.witness) || c.match.has(i) != Match(p, c.witness) {
					t.Fatalf("%q and %q", p, c.witness)
				}
				k += fmt.Sprint(c.match.has(i))
			}
			has[k] = true
		}
		for _, s := range append(universe.resources, universe.actions...) {
			k := ""
			for _, p := range pats {
				if Match(p, s) != oMatch(p, s) {
					t.Fatalf("%q and %q", p, s)
				}
				k += fmt.Sprint(oMatch(p, s))
			}
			if !has[k] {
				t.Fatalf("no cell for %q in %q", s, pats)
			}
		}
	})
}
