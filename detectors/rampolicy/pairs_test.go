package rampolicy

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// ownPair is a line of testdata/pairs.jsonl: two lists of statements and what
// is to be found about the way from one to the other.
type ownPair struct {
	Name     string          `json:"name"`
	Corner   string          `json:"corner"` // what it covers
	Kind     string          `json:"kind"`
	Old      json.RawMessage `json:"old"`
	New      json.RawMessage `json:"new"`
	Verdict  Verdict         `json:"verdict"`
	Severity string          `json:"severity"`
	Paths    []string        `json:"paths"`
	Says     []string        `json:"says"` // somewhere in the result
}

func ownPairs(t testing.TB) []ownPair {
	f, err := os.Open("testdata/pairs.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []ownPair
	for s := bufio.NewScanner(f); s.Scan(); {
		var p ownPair
		if err := json.Unmarshal(s.Bytes(), &p); err != nil {
			t.Fatalf("line %d: %v", len(out)+1, err)
		}
		out = append(out, p)
	}
	return out
}

// corners are the known corner cases of policy semantics. Each has a pair.
// "attached twice at two scopes" is no matter of documents: see TestScopes of
// package account.
var corners = strings.Fields(`notaction-allow notaction-deny deny-loses-entry deny-gains-condition value-list-grows
	second-key-added equals-to-like star-across-colon question-mark overlap duplicate-actions action-case resource-case empty-actions
	empty-condition resource-star bucket-objects malformed-arn reordered split merged subsumed union-split union-merge
	impossible-combination documents-together deny-detached foreign-service oidc-sub-missing masked-value template not-resource no-resource
	no-principal mfa-dropped operators trust control bucket-public`)

func TestOwnPairs(t *testing.T) {
	pairs := ownPairs(t)
	if len(pairs) < 80 {
		t.Errorf("%d pairs", len(pairs))
	}
	covered := map[string]bool{}
	walked := map[string]bool{}
	turned := map[Verdict]Verdict{Expands: Contracts, Contracts: Expands, Changes: Changes, Equivalent: Equivalent}
	for _, p := range pairs {
		t.Run(p.Name, func(t *testing.T) {
			kind, err := ParseKind(p.Kind)
			if err != nil {
				t.Fatal(err)
			}
			old, now := parse(t, `{"Version":"1","Statement":`+string(p.Old)+`}`), parse(t, `{"Version":"1","Statement":`+string(p.New)+`}`)
			r := Diff(old, now, Options{Kind: kind, Account: "1000000000000001"})
			text, err := json.MarshalIndent(r, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != p.Verdict || r.Severity.String() != p.Severity {
				t.Errorf("%s, %s; want %s, %s\n%s", r.Verdict, r.Severity, p.Verdict, p.Severity, text)
			}
			if v := Compare(old, now, kind); v != r.Verdict {
				t.Errorf("alone the verdict is %s", v)
			}
			if back := Compare(now, old, kind); turned[p.Verdict] != "" && !slices.Contains([]Verdict{turned[p.Verdict], Unknown}, back) {
				t.Errorf("%s forward, %s back", p.Verdict, back)
			}
			all := string(text)
			for _, s := range p.Says {
				if !strings.Contains(all, s) {
					t.Errorf("does not say %q\n%s", s, text)
				}
			}
			for _, id := range p.Paths {
				if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return slices.Contains(f.Paths, id) }) {
					t.Errorf("does not find path %s\n%s", id, text)
				}
				// Where it was walkable before it is not told.
				if again := Diff(now, Merge(now, parse(t, stmt(`{"Effect":"Allow","Action":"x:y","Resource":"*"}`))), Options{Kind: kind, Account: "1000000000000001"}); slices.ContainsFunc(again.Findings, func(f Finding) bool { return len(f.Paths) > 0 }) {
					t.Errorf("a path that was open is told again: %+v", again.Findings)
				}
			}
			opaque := func(d *Document) bool {
				return slices.ContainsFunc(d.Statements, func(s Statement) bool {
					return slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.opaque() })
				})
			}
			for _, f := range append(slices.Clone(r.Findings), r.Removed...) {
				if f.Sentence == "" || f.SentenceZH == "" || !f.Confirmed && !opaque(old) && !opaque(now) {
					t.Errorf("%+v", f)
				}
			}
		})
		covered[p.Corner] = true
		for _, id := range p.Paths {
			walked[id] = true
		}
	}
	for _, c := range corners {
		if !covered[c] {
			t.Errorf("no pair for %s", c)
		}
	}
	for _, p := range paths {
		if !walked[p.ID] || !covered[p.ID] {
			t.Errorf("no pair that completes %s (%s)", p.ID, p.Gives)
		}
	}
	if len(paths) != 33 {
		t.Errorf("%d paths", len(paths))
	}
}
