package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// ownedRule speaks of what the tables say.
const ownedRule = `id: test.owned
version: 1
title: Key for {target.name}
description: A key of production.
severity: 'target.production == "no" ? "low" : "high"'
attack: [T1098.001]
runbook: {en: ask, zh: 问}
match: action == "iam.accesskey.create" && target.production != "no" && actor.team != "platform"
reason: "{actor.name} ({actor.owner}) made a key for {target.name} of {target.team}"
tests:
  - name: production
    owners: {"user/1000000000000001/bob": {owner: bob@example.com, team: payments, production: true}, "1000000000000001": {production: false, owner: cloud team}}
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: bob}}]
    expect: {alerts: 1, severity: high, reason_contains: ["(cloud team)", "of payments"], details: [owners]}
  - name: nothing is known
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: bob}}]
    expect: {alerts: 1, reason_contains: "(unknown)"}
  - name: the account is none
    owners: {"1000000000000001": {production: false}}
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: bob}}]
    expect: {alerts: 0}
  - name: the team that may, by name without letter case
    owners: {Alice: {team: platform}}
    events: [{event: "Ram:CreateAccessKey", user: alice, params: {UserName: bob}}]
    expect: {alerts: 0}
`

func writeAll(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOwnersInRules(t *testing.T) {
	set := load(t, LoadOptions{Files: map[string][]byte{"test.owned.yaml": []byte(ownedRule)}})
	for _, r := range Test(set) {
		if !r.Pass {
			t.Errorf("%s: %v %v", r.Test, r.Failures, r.Why)
		}
	}
	// A word that production never is.
	wrong := strings.Replace(ownedRule, `target.production != "no"`, `target.production != "prod"`, 1)
	if _, err := Load(testOptions(LoadOptions{Files: map[string][]byte{"test.owned.yaml": []byte(wrong)}})); err == nil || !strings.Contains(err.Error(), `"prod"`) {
		t.Errorf("a word that does not exist: %v", err)
	}
}

// Tables of both kinds say the same, the more particular entry counts, and the
// hash of the set goes with what they say.
func TestOwnerTables(t *testing.T) {
	csv := writeAll(t, map[string]string{"people.csv": "\ufeffID,owner,team,production\nuser/1000000000000001/bob, bob@example.com,payments,yes\n1000000000000001,,cloud,no\n# left out\n"})
	yaml := writeAll(t, map[string]string{"a/people.yaml": "user/1000000000000001/bob: {owner: bob@example.com, team: payments, production: true, note: since May}\n", "b/accounts.yml": "\"1000000000000001\":\n  team: cloud\n  production: false\n",
		".git/x.yaml": "not: [read]"})
	var hashes []string
	for _, dir := range []string{csv, yaml} {
		set := load(t, LoadOptions{Files: map[string][]byte{"test.owned.yaml": []byte(ownedRule)}, Owners: []string{dir}})
		hashes = append(hashes, set.Hash())
		o := set.Owners()
		if got := o.Of("user/1000000000000001/bob", "1000000000000001"); got != (Ownership{Owner: "bob@example.com", Team: "payments", Production: event.Yes}) {
			t.Errorf("%s: bob is %+v", dir, got)
		}
		if got := o.Of("", "user/1000000000000001/carol", "1000000000000001"); got != (Ownership{Team: "cloud", Production: event.No}) {
			t.Errorf("%s: carol is %+v", dir, got)
		}
		if got := o.Of("USER/1000000000000001/BOB"); got.Team != "payments" {
			t.Errorf("%s: letter case counts: %+v", dir, got)
		}
		if got := o.Of("1000000000000002"); !got.IsZero() {
			t.Errorf("%s: a stranger is %+v", dir, got)
		}
	}
	none := load(t, LoadOptions{Files: map[string][]byte{"test.owned.yaml": []byte(ownedRule)}})
	if none.Hash() == hashes[0] || none.Owners().Len() != 0 || !none.Owners().Of("x").IsZero() {
		t.Error("a set without tables is like one with")
	}
}

func TestOwnerFaults(t *testing.T) {
	for name, c := range map[string]struct{ file, content, want string }{
		"no id column":   {"x.csv", "owner,team\na,b\n", "x.csv:1:1: the table has no column id"},
		"unknown column": {"x.csv", "id,ownr\na,b\n", `x.csv:1:4: there is no column "ownr"; did you mean "owner"?`},
		"twice":          {"x.csv", "id,id\n", `x.csv:1:4: column "id" again`},
		"empty":          {"x.csv", "", "x.csv:1:1: the table has no head"},
		"count":          {"x.csv", "id,owner\na,b,c\nd,e\n", "x.csv:2:1: not valid CSV: wrong number of fields"},
		"quote":          {"x.csv", "id,owner\na,\"b\n", "x.csv:2:"},
		"same id":        {"x.csv", "id,owner\nAlice,b\nalice,c\n", `x.csv:3:1: "alice" stands in`},
		"production":     {"x.csv", "id,production\na,maybe\n", `x.csv:2:3: "maybe" does not say whether it is production`},
		"nothing":        {"x.csv", "id,owner\na,\n", `x.csv:2:1: nothing is said of "a"`},
		"pattern":        {"x.csv", "id,owner\nuser/*,b\n", "x.csv:2:1: patterns are not supported"},
		"hidden":         {"x.csv", "id,owner\na\u202eb,c\n", "x.csv:2:1: the id holds characters"},
		"list":           {"x.yaml", "- a\n", "x.yaml:1:1:"},
		"scalar":         {"x.yaml", "a: b\n", "x.yaml:1:4: want a mapping"},
		"unknown key":    {"x.yaml", "a: {ownr: b}\n", `x.yaml:1:5:`},
		"yaml word":      {"x.yaml", "a: {owner: b, production: perhaps}\n", `x.yaml:1:27: "perhaps" does not say`},
		"yaml twice":     {"x.yaml", "a: {owner: b}\na: {owner: c}\n", `x.yaml:2:1: key "a" again`},
		"other file":     {"x.txt", "a", "x.txt: a table of owners is a .csv or .yaml file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeAll(t, map[string]string{c.file: c.content})
			_, err := Load(testOptions(LoadOptions{Files: map[string][]byte{"test.created.yaml": rule1}, Owners: []string{filepath.Join(dir, c.file)}}))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := Load(testOptions(LoadOptions{Files: map[string][]byte{"test.created.yaml": rule1}, Owners: []string{"no/such/folder"}})); err == nil {
		t.Error("a table that is not there")
	}
}

func TestListFiles(t *testing.T) {
	dir := writeAll(t, map[string]string{"tor_exits.txt": "# from the project\n198.51.100.7\n  2001:db8::/32  # a network\nname#1\n\n", "readme.md": "not a list", ".hidden.txt": "no"})
	set := load(t, LoadOptions{Files: map[string][]byte{"test.created.yaml": rule1}, ListDirs: []string{dir}, Lists: map[string][]string{"tor_exits": {"203.0.113.1"}}})
	if got := fmt.Sprint(set.Lists()); got != "map[tor_exits:[203.0.113.1 198.51.100.7 2001:db8::/32 name#1]]" {
		t.Errorf("lists %s", got)
	}
	for content, want := range map[string]string{
		"a\n 203.0.113.0/240\n": `tor_exits.txt:2:2: "203.0.113.0/240" is not a network`,
		"a, b\n":                "tor_exits.txt:1:1: one entry a line",
		"a\u200bb\n":            "tor_exits.txt:1:1: the entry holds characters",
		"\xff\xfe\n":            "tor_exits.txt: the file is not UTF-8",
	} {
		dir := writeAll(t, map[string]string{"tor_exits.txt": content})
		if _, err := Load(testOptions(LoadOptions{Files: map[string][]byte{"test.created.yaml": rule1}, ListDirs: []string{dir}})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", content, err, want)
		}
	}
	twice := writeAll(t, map[string]string{"a/x.txt": "1.2.3.4", "b/x.txt": "1.2.3.5", "c/Not-A-Name.txt": "y"})
	if _, err := Load(testOptions(LoadOptions{Files: map[string][]byte{"test.created.yaml": rule1}, ListDirs: []string{twice}})); err == nil || !strings.Contains(err.Error(), "stands in") || !strings.Contains(err.Error(), "not the name of a list") {
		t.Errorf("twice: %v", err)
	}
}

// Whatever a table holds, reading it ends, and what it says is what it holds.
func TestOwnerTableProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,8}(/[0-9]{1,4})?`), 1, 20, rapid.ID).Draw(t, "ids")
		var b strings.Builder
		b.WriteString("id,owner,team,production\n")
		want := map[string]Ownership{}
		for _, id := range ids {
			o := Ownership{Owner: rapid.StringMatching(`[a-z]{1,6}`).Draw(t, "owner"), Team: rapid.StringMatching(`[a-z]{0,6}`).Draw(t, "team"),
				Production: rapid.SampledFrom([]event.Tri{event.Unknown, event.Yes, event.No}).Draw(t, "production")}
			word := map[event.Tri]string{event.Yes: "true", event.No: "no"}[o.Production]
			fmt.Fprintf(&b, "%s,%s,%s,%s\n", id, o.Owner, o.Team, word)
			want[id] = o
		}
		table := &ownerTable{of: map[string]Ownership{}, at: map[string]string{}}
		f := newFile("x.csv", []byte(b.String()))
		table.csv(f, []byte(b.String()))
		if len(f.errs) > 0 {
			t.Fatal(f.errs)
		}
		for id, o := range want {
			if table.of[id] != o {
				t.Fatalf("%s is %+v, want %+v", id, table.of[id], o)
			}
		}
	})
}

func FuzzOwnerTables(f *testing.F) {
	f.Add("id,owner\na,b\n", true)
	f.Add("a: {owner: b}\n", false)
	f.Fuzz(func(t *testing.T, content string, csv bool) {
		table := &ownerTable{of: map[string]Ownership{}, at: map[string]string{}}
		file := newFile("x", []byte(content))
		if csv {
			table.csv(file, []byte(content))
		} else {
			table.yaml(file, []byte(content))
		}
		for id, o := range table.of {
			if o.IsZero() || strings.TrimSpace(id) == "" || strings.IndexFunc(id+o.Owner+o.Team, hostile) >= 0 {
				t.Errorf("%q is %+v", id, o)
			}
		}
	})
}

func testOptions(o LoadOptions) LoadOptions {
	o.Factories, o.AllowFewTests = testFactories, true
	return o
}
