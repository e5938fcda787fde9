package rampolicy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/raced"
)

// This file attacks the claim of the package in the direction that matters:
// that nothing which becomes allowed is missed. A second evaluator, written
// from the rules and sharing no code with the first, tries every request of a
// finite universe on both documents of random pairs. The pairs are made of
// what is hard: wildcards in the middle, NotAction, NotResource, letter case,
// every operator with its set forms and IfExists, Null, several statements,
// Deny against Allow, and edits of one place.

// dice is where a generator's choices come from: a seeded generator, or the
// bytes of a fuzzer.
type dice interface{ IntN(n int) int }

type byteDice struct{ b []byte }

func (d *byteDice) IntN(n int) int {
	if len(d.b) == 0 {
		return 0
	}
	v := int(d.b[0]) % n
	d.b = d.b[1:]
	return v
}

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

// chance is true n times of a hundred.
func chance(d dice, n int) bool { return d.IntN(100) < n }

type bStmt struct {
	deny, notAct, notRes, notPrinc bool
	act, res                       []string
	princ                          []bPrinc // in place of res
	cond                           []bCond
}

type bPrinc struct{ kind, value string }

type bCond struct {
	set, op, key string
	ifExists     bool
	values       []string
}

type bDoc []bStmt

func (d bDoc) clone() bDoc {
	out := slices.Clone(d)
	for i := range out {
		out[i].act, out[i].res, out[i].princ, out[i].cond = slices.Clone(out[i].act), slices.Clone(out[i].res), slices.Clone(out[i].princ), slices.Clone(out[i].cond)
		for j := range out[i].cond {
			out[i].cond[j].values = slices.Clone(out[i].cond[j].values)
		}
	}
	return out
}

// text writes the document; a key may stand under two operators, and twice
// under one, in different letter case, only where the document says so.
func (d bDoc) text() string {
	list := []any{}
	for _, s := range d {
		m := map[string]any{"Effect": "Allow"}
		if s.deny {
			m["Effect"] = "Deny"
		}
		m[map[bool]string{false: "Action", true: "NotAction"}[s.notAct]] = s.act
		if s.princ == nil {
			m[map[bool]string{false: "Resource", true: "NotResource"}[s.notRes]] = s.res
		} else {
			p := map[string][]string{}
			for _, x := range s.princ {
				p[x.kind] = append(p[x.kind], x.value)
			}
			m[map[bool]string{false: "Principal", true: "NotPrincipal"}[s.notPrinc]] = p
		}
		cond := map[string]map[string]any{}
		for _, c := range s.cond {
			op := c.op
			if c.ifExists {
				op += "IfExists"
			}
			if c.set != "" {
				op = c.set + ":" + op
			}
			if cond[op] == nil {
				cond[op] = map[string]any{}
			}
			cond[op][c.key] = c.values
		}
		if len(cond) > 0 {
			m["Condition"] = cond
		}
		list = append(list, m)
	}
	b, _ := json.Marshal(map[string]any{"Version": "1", "Statement": list})
	return string(b)
}

// ---- the universe

var (
	bActions    []string
	bResources  []string // at most 64
	bPrincipals = []string{"ram:1:user/a", "ram:1:user/b", "ram:1:role/a", "ram:2:user/a", "ram:2:role/z", "ram:3:user/z", "svc:log@", "svc:ecs@", "svc:log@2", "svc:log@3",
		"oidc:acs:ram::1:oidc-provider/a", "oidc:acs:ram::1:oidc-provider/b", "saml:acs:ram::1:saml-provider/a", "oidc:acs:ram::2:oidc-provider/a"}
	bPrincipalsOf = []bPrinc{{"RAM", "acs:ram::1:root"}, {"RAM", "acs:ram::1:user/a"}, {"RAM", "acs:ram::1:user/*"}, {"RAM", "acs:ram::*:root"}, {"RAM", "*"}, {"RAM", "acs:ram::2:root"},
		{"RAM", "acs:ram::?:role/a"}, {"RAM", "acs:ram::1:USER/a"}, {"Service", "log.x"}, {"Service", "2@log"}, {"Service", "log"}, {"Service", "ecs"}, {"Service", "*@log"}, {"Service", "*"},
		{"Federated", "acs:ram::1:oidc-provider/a"}, {"Federated", "acs:ram::1:oidc-provider/*"}, {"Federated", "acs:ram::1:saml-provider/a"}}
)

func init() {
	words := func(alphabet string, most int) []string {
		out := []string{""}
		for n := 0; n < len(out); n++ {
			if len(out[n]) < most {
				for _, l := range alphabet {
					out = append(out, out[n]+string(l))
				}
			}
		}
		return out
	}
	for _, s := range words("ab", 2) {
		for _, n := range words("abz", 2) {
			bActions = append(bActions, s+":"+n)
		}
	}
	bActions = append(bActions, "z:z", "zz:a", "az:bz", "aza:b", "a:aza", "a:aba", "b:bab", "bab:a", "ab:aab")
	bResources = words("ab", 3)
	bResources = append(bResources, words("Az", 2)[1:]...)
	bResources = append(bResources, "aA", "Ab", "bA", "aBa", "aza", "azb", "bzb", "abab", "aabb", "zaz", "B", "aAz")
	if len(bResources) > 64 {
		panic("a row is 64 bits")
	}
}

// bValue is what a request has for a key: nil is absent.
type bValue []string

// bKeys are the condition keys, each with the operators that generators use
// with it, values for documents, and values of requests.
var bKeys = []struct {
	key    string
	set    bool
	ops    []string
	values []string
	have   []bValue
}{
	{"k:a", false, []string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
		[]string{"p", "q", "P", "p*", "*q", "?", "*", "", "pq"}, []bValue{nil, {""}, {"p"}, {"q"}, {"P"}, {"pq"}, {"pzq"}, {"z"}, {"PQ"}}},
	{"K:A", false, []string{"StringEquals", "StringNotLike"}, []string{"p", "q", "*q"}, []bValue{nil, {"p"}, {"q"}, {"zq"}, {"z"}}},
	{"k:n", false, []string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
		[]string{"1", "1.0", "2", "-1", "1.5", "x"}, []bValue{nil, {"-2"}, {"-1"}, {"0"}, {"1"}, {"1.25"}, {"1.5"}, {"1.7"}, {"2"}, {"3"}}},
	{"k:b", false, []string{"Bool", "Bool", "StringEquals", "StringLike"}, []string{"true", "false", "TRUE", "t*"}, []bValue{nil, {"true"}, {"false"}}},
	{"k:ip", false, []string{"IpAddress", "NotIpAddress"}, []string{"10.0.0.0/30", "10.0.0.0/31", "10.0.0.1", "10.0.0.2/31", "0.0.0.0/0", "10.0.X.0/24"},
		[]bValue{nil, {"10.0.0.0"}, {"10.0.0.1"}, {"10.0.0.2"}, {"10.0.0.3"}, {"10.0.0.4"}, {"9.255.255.255"}}},
	{"k:d", false, []string{"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
		[]string{"2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00", "2026-06-01T00:00:00Z", "2027-01-01", "soon"},
		[]bValue{nil, {"2025-01-01T00:00:00Z"}, {"2026-01-01T00:00:00Z"}, {"2026-03-01T00:00:00Z"}, {"2026-06-01T00:00:00Z"}, {"2026-08-01T00:00:00Z"}, {"2027-01-01T00:00:00Z"}, {"2028-01-01T00:00:00Z"}}},
	{"k:s", true, []string{"StringEquals", "StringNotEquals", "StringLike"}, []string{"p", "q", "p*", "*"}, []bValue{nil, {}, {"p"}, {"q"}, {"p", "q"}, {"z"}, {"pz", "z"}}},
}

// ---- the second evaluator

// bMatch is the textbook's recursion.
func bMatch(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return bMatch(p[1:], s) || s != "" && bMatch(p, s[1:])
	case s == "":
		return false
	}
	return (p[0] == '?' || p[0] == s[0]) && bMatch(p[1:], s[1:])
}

// dates and addresses of the universe, by hand and not by a library.
var bDates = map[string]int{"2025-01-01T00:00:00Z": 0, "2026-01-01T00:00:00Z": 1, "2026-01-01T08:00:00+08:00": 1, "2026-03-01T00:00:00Z": 2, "2026-06-01T00:00:00Z": 3,
	"2026-08-01T00:00:00Z": 4, "2027-01-01": 5, "2027-01-01T00:00:00Z": 5, "2028-01-01T00:00:00Z": 6}

var bNumbers = map[string]int{"-2": -200, "-1": -100, "0": 0, "1": 100, "1.0": 100, "1.25": 125, "1.5": 150, "1.7": 170, "2": 200, "3": 300}

var bNets = map[string][]string{"10.0.0.0/30": {"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"}, "10.0.0.0/31": {"10.0.0.0", "10.0.0.1"}, "10.0.0.1": {"10.0.0.1"},
	"10.0.0.2/31": {"10.0.0.2", "10.0.0.3"}, "0.0.0.0/0": {"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "9.255.255.255"}}

func bOrder(op string, x, y int) bool {
	switch {
	case strings.HasSuffix(op, "LessThan"):
		return x < y
	case strings.HasSuffix(op, "LessThanEquals"):
		return x <= y
	case strings.HasSuffix(op, "GreaterThan"):
		return x > y
	case strings.HasSuffix(op, "GreaterThanEquals"):
		return x >= y
	}
	return x == y
}

// bMeets tests the positive form of an operator. A value of the document that
// is not of the operator's kind meets nothing: for such conditions RAM's way
// is not known, and the analyser has to be right under this one too.
func bMeets(op, have, want string) bool {
	switch {
	case strings.HasSuffix(op, "IgnoreCase"):
		return strings.EqualFold(have, want)
	case strings.HasSuffix(op, "Like"):
		return bMatch(want, have)
	case strings.HasPrefix(op, "String"):
		return have == want
	case op == "Bool":
		have = strings.ToLower(have)
		return (want == "true" || want == "TRUE") && have == "true" || want == "false" && have == "false"
	case strings.HasPrefix(op, "Numeric"):
		x, ok := bNumbers[have]
		y, ok2 := bNumbers[want]
		return ok && ok2 && bOrder(op, x, y)
	case strings.HasPrefix(op, "Date"):
		x, ok := bDates[have]
		y, ok2 := bDates[want]
		return ok && ok2 && bOrder(op, x, y)
	}
	return slices.Contains(bNets[want], have)
}

func (c *bCond) holds(v bValue, absentNegated bool) bool {
	if c.op == "Null" {
		return (v == nil) == (c.values[0] == "true")
	}
	neg := strings.Contains(c.op, "Not")
	one := func(have string) bool {
		met := false
		for _, w := range c.values {
			met = met || bMeets(c.op, have, w)
		}
		return met != neg
	}
	switch c.set {
	case "ForAllValues":
		return !slices.ContainsFunc(v, func(s string) bool { return !one(s) })
	case "ForAnyValue":
		return slices.ContainsFunc(v, one)
	}
	if len(v) == 0 {
		return c.ifExists && v == nil || neg && absentNegated
	}
	return one(v[0])
}

type bReading struct{ fold, absentNegated, apart bool }

var bReadings = []bReading{{}, {fold: true}, {absentNegated: true}, {fold: true, absentNegated: true},
	{apart: true}, {fold: true, apart: true}, {absentNegated: true, apart: true}, {true, true, true}}

// bSpans: a pattern without a colon matches nothing when a wildcard may not stand
// for one; only the lone star is every action.
func bSpans(p string) bool { return strings.Trim(p, "*") != "" && strings.Count(p, ":") == 0 }

func bFold(s string, fold bool) string {
	if fold {
		return strings.ToLower(s)
	}
	return s
}

func bPrincipal(p bPrinc) string {
	switch p.kind {
	case "RAM":
		if p.value == "*" {
			return "ram:*"
		}
		f := strings.SplitN(p.value, ":", 5)
		if f[4] == "root" {
			f[4] = "*"
		}
		return "ram:" + f[3] + ":" + f[4]
	case "Service":
		if p.value == "*" {
			return "svc:*"
		}
		account, service, ok := strings.Cut(p.value, "@")
		if !ok {
			account, service = "", p.value
		}
		return "svc:" + service + "@" + account
	}
	return map[bool]string{true: "oidc:", false: "saml:"}[strings.Contains(p.value, "oidc-")] + p.value
}

// matches says whether a statement matches one request; ctx by the key in
// lower case.
func (s *bStmt) matches(act, thing string, ctx map[string]bValue, r bReading) bool {
	in := func(list []string, v string, fold bool) bool {
		return slices.ContainsFunc(list, func(p string) bool { return bMatch(bFold(p, fold), bFold(v, fold)) })
	}
	acts := s.act
	if r.apart {
		acts = slices.DeleteFunc(slices.Clone(acts), bSpans)
	}
	if in(acts, act, true) == s.notAct {
		return false
	}
	if s.princ != nil {
		if slices.ContainsFunc(s.princ, func(p bPrinc) bool { return bMatch(bFold(bPrincipal(p), r.fold), bFold(thing, r.fold)) }) == s.notPrinc {
			return false
		}
	} else if in(s.res, thing, r.fold) == s.notRes {
		return false
	}
	return s.holds(ctx, r)
}

func (s *bStmt) holds(ctx map[string]bValue, r bReading) bool {
	for i := range s.cond {
		if !s.cond[i].holds(ctx[strings.ToLower(s.cond[i].key)], r.absentNegated) {
			return false
		}
	}
	return true
}

func (d bDoc) allows(act, thing string, ctx map[string]bValue, r bReading) bool {
	allow := false
	for i := range d {
		if d[i].matches(act, thing, ctx, r) {
			if d[i].deny {
				return false
			}
			allow = true
		}
	}
	return allow
}

// rows of a statement over the universe: bit j of row i says that it matches
// action i on thing j, conditions aside.
type bRows struct {
	acts   []bool
	things uint64
}

// What each pattern matches, found out once: of actions a []bool by pattern, of
// things an uint64 by bThings.
var bActsMemo, bThingsMemo sync.Map

type bThings struct {
	fold, princ bool
	pattern     string
}

func (s *bStmt) rows(fold, apart bool) bRows {
	r := bRows{acts: make([]bool, len(bActions))}
	for _, p := range s.act {
		if apart && bSpans(p) {
			continue
		}
		m, ok := bActsMemo.Load(p)
		if !ok {
			acts := make([]bool, len(bActions))
			for i, a := range bActions {
				acts[i] = bMatch(strings.ToLower(p), a)
			}
			m, _ = bActsMemo.LoadOrStore(p, acts)
		}
		for i, is := range m.([]bool) {
			r.acts[i] = r.acts[i] || is
		}
	}
	if s.notAct {
		for i := range r.acts {
			r.acts[i] = !r.acts[i]
		}
	}
	list, things := s.res, bResources
	if s.princ != nil {
		list, things = nil, bPrincipals
		for _, p := range s.princ {
			list = append(list, bPrincipal(p))
		}
	}
	for _, p := range list {
		k := bThings{fold, s.princ != nil, p}
		m, ok := bThingsMemo.Load(k)
		if !ok {
			var bits uint64
			for i, x := range things {
				if bMatch(bFold(p, fold), bFold(x, fold)) {
					bits |= 1 << i
				}
			}
			m, _ = bThingsMemo.LoadOrStore(k, bits)
		}
		r.things |= m.(uint64)
	}
	if s.notRes || s.notPrinc {
		r.things = ^r.things
	}
	if n := len(things); n < 64 {
		r.things &= 1<<n - 1
	}
	return r
}

// bNewer looks for a request of the universe that y allows and x refuses.
func bNewer(x, y bDoc) (string, bool) {
	have := map[string]int{} // key in lower case → bKeys
	for _, d := range []bDoc{x, y} {
		for _, s := range d {
			for _, c := range s.cond {
				if k := strings.ToLower(c.key); k == c.key {
					have[k] = slices.IndexFunc(bKeys, func(b struct {
						key    string
						set    bool
						ops    []string
						values []string
						have   []bValue
					}) bool {
						return b.key == k
					})
				} else if _, ok := have[k]; !ok {
					have[k] = 0
				}
			}
		}
	}
	keys := slices.Sorted(maps.Keys(have))
	contexts := []map[string]bValue{{}}
	for _, k := range keys {
		var more []map[string]bValue
		for _, ctx := range contexts {
			for _, v := range bKeys[have[k]].have {
				c := maps.Clone(ctx)
				c[k] = v
				more = append(more, c)
			}
		}
		contexts = more
	}
	all := append(slices.Clone(x), y...)
	for _, r := range []bReading{{}, {fold: true}, {apart: true}, {fold: true, apart: true}} {
		rows := make([]bRows, len(all))
		for i := range all {
			rows[i] = all[i].rows(r.fold, r.apart)
		}
		seen := map[uint32]bool{}
		for _, neg := range []bool{false, true} {
			for _, ctx := range contexts {
				var hold uint32
				for i := range all {
					if all[i].holds(ctx, bReading{fold: r.fold, absentNegated: neg}) {
						hold |= 1 << i
					}
				}
				if seen[hold] {
					continue
				}
				seen[hold] = true
				for a := range bActions {
					var allow, deny [2]uint64
					for i := range all {
						if hold>>i&1 == 0 || !rows[i].acts[a] {
							continue
						}
						side := 0
						if i >= len(x) {
							side = 1
						}
						if all[i].deny {
							deny[side] |= rows[i].things
						} else {
							allow[side] |= rows[i].things
						}
					}
					if fresh := allow[1] &^ deny[1] &^ (allow[0] &^ deny[0]); fresh != 0 {
						return fmt.Sprintf("%s, things %b, context %v, absent %v, %+v", bActions[a], fresh, ctx, neg, r), true
					}
				}
			}
		}
	}
	return "", false
}

// ---- the generators

func bGlob(d dice, most int, alphabet ...string) string {
	var b strings.Builder
	for range d.IntN(most + 1) {
		b.WriteString(pick(d, alphabet...))
	}
	return b.String()
}

func bAction(d dice) string {
	switch d.IntN(10) {
	case 0:
		return "*"
	case 1:
		return bGlob(d, 4, "a", "b", "*", "?", ":", "*")
	case 2:
		return pick(d, "a:*", "*:a", "*:*a*", "a*b:*", "*a:b*", "a:a*a", "?:?", "A:*", "a:B*", "*b*a*")
	}
	return bGlob(d, 2, "a", "b", "a", "A", "*", "?") + ":" + bGlob(d, 3, "a", "b", "a", "b", "B", "*", "?")
}

func bResource(d dice) string {
	if chance(d, 25) {
		return "*"
	}
	return bGlob(d, 4, "a", "b", "a", "b", "A", "*", "?", "B")
}

func bCondition(d dice, keys []int) bCond {
	k := &bKeys[keys[d.IntN(len(keys))]]
	c := bCond{op: pick(d, k.ops...), key: k.key}
	if k.set {
		c.set = pick(d, "ForAnyValue", "ForAllValues")
	}
	for range 1 + d.IntN(2) {
		c.values = append(c.values, pick(d, k.values...))
	}
	switch d.IntN(16) {
	case 0:
		c.ifExists = true
	case 1:
		c = bCond{op: "Null", key: k.key, values: []string{pick(d, "true", "false")}}
	case 2:
		c.set = pick(d, "ForAnyValue", "ForAllValues")
	case 3:
		if c.set == "" {
			c.values = []string{}
		}
	}
	return c
}

func bStatement(d dice, trust bool, keys []int) bStmt {
	s := bStmt{deny: chance(d, 30), notAct: chance(d, 12)}
	for range d.IntN(4) {
		s.act = append(s.act, bAction(d))
	}
	if s.act == nil {
		s.act = []string{}
	}
	if trust {
		s.notPrinc = chance(d, 3)
		s.princ = []bPrinc{}
		for range d.IntN(4) {
			s.princ = append(s.princ, pick(d, bPrincipalsOf...))
		}
	} else {
		s.notRes = chance(d, 4)
		s.res = []string{}
		for range d.IntN(4) {
			s.res = append(s.res, bResource(d))
		}
	}
	if chance(d, 45) {
		for range 1 + d.IntN(2) {
			s.add(bCondition(d, keys))
		}
	}
	return s
}

// add adds a condition unless one of its operator and key is there: twice the
// same key is a document of doubtful meaning.
func (s *bStmt) add(c bCond) {
	if !slices.ContainsFunc(s.cond, func(o bCond) bool {
		return o.set == c.set && o.op == c.op && o.ifExists == c.ifExists && strings.EqualFold(o.key, c.key)
	}) {
		s.cond = append(s.cond, c)
	}
}

// bEdit changes one place.
func bEdit(d dice, doc bDoc, trust bool, keys []int) bDoc {
	e := doc.clone()
	if len(e) == 0 || chance(d, 12) {
		return append(e, bStatement(d, trust, keys))
	}
	i := d.IntN(len(e))
	s := &e[i]
	switch d.IntN(13) {
	case 0:
		e = slices.Delete(e, i, i+1)
	case 1:
		e[i] = bStatement(d, trust, keys)
	case 2:
		s.act = append(s.act, bAction(d))
	case 3:
		if n := len(s.act); n > 0 {
			s.act[d.IntN(n)] = bAction(d)
		}
	case 4:
		if n := len(s.act); n > 0 {
			j := d.IntN(n)
			s.act = slices.Delete(s.act, j, j+1)
		}
	case 5:
		if trust {
			s.princ = append(s.princ, pick(d, bPrincipalsOf...))
		} else {
			s.res = append(s.res, bResource(d))
		}
	case 6:
		if n := len(s.res); n > 0 {
			s.res[d.IntN(n)] = bResource(d)
		}
	case 7:
		s.add(bCondition(d, keys))
	case 8:
		s.cond = nil
	case 9:
		if n := len(s.cond); n > 0 {
			j := d.IntN(n)
			k := bKeys[slices.IndexFunc(bKeys, func(b struct {
				key    string
				set    bool
				ops    []string
				values []string
				have   []bValue
			}) bool {
				return b.key == s.cond[j].key
			})]
			if s.cond[j].op != "Null" {
				s.cond[j].values = append(s.cond[j].values, pick(d, k.values...))
			}
		}
	case 10:
		s.deny = !s.deny
	case 11: // split
		if n := len(s.act); n > 1 && !s.notAct {
			other := *s
			other.act = s.act[n/2:]
			s.act = s.act[:n/2]
			e = append(e, other).clone()
		}
	case 12:
		s.notAct = !s.notAct
	}
	return e
}

func bPair(d dice) (x, y bDoc, kind Kind) {
	trust := chance(d, 15)
	keys := []int{d.IntN(len(bKeys)), d.IntN(len(bKeys))}
	for range d.IntN(4) {
		x = append(x, bStatement(d, trust, keys))
	}
	if chance(d, 30) {
		for range d.IntN(4) {
			y = append(y, bStatement(d, trust, keys))
		}
	} else {
		y = x
		for range 1 + d.IntN(2) {
			y = bEdit(d, y, trust, keys)
		}
	}
	if trust {
		return x, y, Trust
	}
	return x, y, Identity
}

// sharp says whether the document has nothing that cannot be evaluated.
func (d bDoc) sharp(t testing.TB) bool {
	doc := parse(t, d.text())
	return !doc.Doubtful && !slices.ContainsFunc(doc.Statements, func(s Statement) bool {
		return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.opaque() })
	})
}

// bCheck is one attack.
func bCheck(t testing.TB, x, y bDoc, kind Kind, full bool) (newly bool, v Verdict) {
	a, b := parse(t, x.text()), parse(t, y.text())
	o := Options{Kind: kind, Account: "1"}
	var r Result
	if full {
		r = Diff(a, b, o)
		if v = r.Verdict; v != Compare(a, b, kind) {
			t.Fatalf("Diff says %s, Compare %s\nold: %s\nnew: %s", v, Compare(a, b, kind), x.text(), y.text())
		}
	} else {
		v = Compare(a, b, kind)
	}
	q, newly := bNewer(x, y)
	if newly && v != Expands && v != Changes && v != Unknown {
		t.Fatalf("verdict %s, but this is newly allowed: %s\nold: %s\nnew: %s", v, q, x.text(), y.text())
	}
	for _, f := range r.Findings {
		if !f.Confirmed {
			if x.sharp(t) && y.sharp(t) {
				t.Fatalf("not confirmed: %+v\nold: %s\nnew: %s", f.Witness, x.text(), y.text())
			}
			continue
		}
		ctx := map[string]bValue{}
		for k, v := range f.Witness.Context {
			ctx[k] = bValue{v}
		}
		thing := f.Witness.Resource
		if kind == Trust {
			thing = f.Witness.Principal
		}
		if bKnownTo(f.Witness) && x.sharp(t) && y.sharp(t) && !slices.ContainsFunc(bReadings, func(r bReading) bool {
			act := strings.ToLower(f.Witness.Action)
			return y.allows(act, thing, ctx, r) && !x.allows(act, thing, ctx, r)
		}) {
			t.Fatalf("the witness shows nothing: %+v\nold: %s\nnew: %s", f.Witness, x.text(), y.text())
		}
	}
	return newly, v
}

// bKnownTo says whether the second evaluator has the witness' values of
// numbers, dates and addresses in its tables.
func bKnownTo(w Witness) bool {
	for _, k := range []string{"k:n", "k:d", "k:ip"} {
		if v, ok := w.Context[k]; ok {
			_, n := bNumbers[v]
			_, d := bDates[v]
			if !n && !d && !slices.Contains(bNets["0.0.0.0/0"], v) {
				return false
			}
		}
	}
	return true
}

// TestBruteForce tries 200,000 pairs, and 2,000,000 with TRAILWARDEN_LONG=1.
// Under the race detector it tries a fiftieth.
func TestBruteForce(t *testing.T) {
	n := raced.Size(200_000, 4_000)
	switch {
	case os.Getenv("TRAILWARDEN_LONG") != "":
		n = 2_000_000
	case testing.Short():
		n = 4_000
	}
	// In parts, so that all cores have some; the same pairs on any machine.
	const parts = 16
	counts := [parts]map[string]int{}
	t.Run("part", func(t *testing.T) {
		for p := range parts {
			t.Run(strconv.Itoa(p), func(t *testing.T) {
				t.Parallel()
				d := rand.New(rand.NewPCG(20, uint64(p)))
				counts[p] = map[string]int{}
				for i := range n / parts {
					x, y, kind := bPair(d)
					newly, v := bCheck(t, x, y, kind, i%25 == 0)
					counts[p][string(v)]++
					if newly {
						counts[p]["newly allowed"]++
					}
				}
			})
		}
	})
	count := map[string]int{}
	for _, c := range counts {
		for k, n := range c {
			count[k] += n
		}
	}
	t.Logf("%d pairs: %v", n, count)
	// A generator that makes nothing of interest proves nothing.
	if count["newly allowed"] < n/10 || count[string(Equivalent)]+count[string(Contracts)] < n/10 {
		t.Errorf("the pairs are of one kind: %v", count)
	}
}

// FuzzBruteForce lets a fuzzer choose.
func FuzzBruteForce(f *testing.F) {
	f.Add([]byte("\x10\x01\x02\x03abcdefghijklmnopqrstuvwxyz"))
	f.Add([]byte{99, 1, 2, 3, 1, 50, 50, 2, 9, 1, 1, 2, 2, 1, 50, 0, 1, 2, 80, 70, 60, 50, 40, 30, 20, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y, kind := bPair(&byteDice{b})
		bCheck(t, x, y, kind, true)
	})
}
