package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

func writeException(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const oneException = "id: known\nrules: [test.*]\nmatch: actor.name == \"alice\"\nowner: o\nreason: r\nexpires: 2026-06-30\n"

func TestExceptionWithholds(t *testing.T) {
	path := writeException(t, "known", oneException)
	with := load(t, LoadOptions{Exceptions: []string{path}}, rule1)
	without := load(t, LoadOptions{}, rule1)
	if with.Hash() == without.Hash() {
		t.Error("the hash of the rules does not know the exception")
	}
	if without.NewExcept() != nil {
		t.Error("without exceptions there is nothing to ask")
	}
	id := with.all[0].id()
	except := with.NewExcept()
	alice, bob := parse(t, nil), parse(t, map[string]any{"userIdentity": map[string]any{"type": "ram-user", "accountId": baseAccount, "userName": "bob"}})
	last := time.Date(2026, 6, 30, 23, 59, 59, 0, time.UTC)
	for _, x := range []struct {
		name string
		d    alert.Detection
		got  func(d *alert.Detection) (string, bool)
		want bool
	}{
		{"its subject, on the last day", alert.Detection{Rule: id, Time: last}, func(d *alert.Detection) (string, bool) { return except(alice, d) }, true},
		{"a day later", alert.Detection{Rule: id, Time: last.Add(time.Second)}, func(d *alert.Detection) (string, bool) { return except(alice, d) }, false},
		{"another actor", alert.Detection{Rule: id, Time: last}, func(d *alert.Detection) (string, bool) { return except(bob, d) }, false},
		{"another rule", alert.Detection{Rule: "other", Time: last}, func(d *alert.Detection) (string, bool) { return except(alice, d) }, false},
		{"no event", alert.Detection{Rule: id, Time: last}, func(d *alert.Detection) (string, bool) { return except(nil, d) }, false},
	} {
		reason, withhold := x.got(&x.d)
		if withhold != x.want || withhold && reason != ExceptedBy("known") {
			t.Errorf("%s: %q, %v", x.name, reason, withhold)
		}
	}
	if len(with.Expired(last)) != 0 || len(with.Expired(last.Add(time.Second))) != 1 {
		t.Error("expiry is not told on the day after the last")
	}
}

func TestExceptionFaults(t *testing.T) {
	for name, x := range map[string]struct{ text, want string }{
		"no expiry":   {strings.Replace(oneException, "expires: 2026-06-30\n", "", 1), `key "expires" is missing`},
		"no owner":    {strings.Replace(oneException, "owner: o\n", "", 1), `key "owner" is missing`},
		"bad day":     {strings.Replace(oneException, "2026-06-30", "soon", 1), "want a day"},
		"no rule":     {strings.Replace(oneException, "test.*", "nope.*", 1), `there is no rule "nope.*"`},
		"other name":  {strings.Replace(oneException, "id: known", "id: other", 1), "not the file's name"},
		"bad field":   {strings.Replace(oneException, "actor.name", "actor.nam", 1), "unknown field"},
		"policy fact": {strings.Replace(oneException, `actor.name == "alice"`, "policy.expands", 1), "policy facts cannot be read here"},
		"everything":  {strings.Replace(oneException, `actor.name == "alice"`, "1 == 1", 1), "looks at nothing"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "known.yaml"), []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(LoadOptions{Files: map[string][]byte{"test.rule.yaml": []byte(strings.Replace(string(rule1), "id: test.one", "id: test.rule", 1))}, Exceptions: []string{dir}, AllowFewTests: true})
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}
