package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// invoke runs one command in this process.
func invoke(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(context.Background(), args, &env{in: strings.NewReader(stdin), out: &o, err: &e})
	return code, o.String(), e.String()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicyDiff(t *testing.T) {
	read := file(t, "read.json", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`)
	same := file(t, "same.json", `{"Version":"1","Statement":[{"Effect":"Allow","Action":["ECS:describe*"],"Resource":["*"],"Condition":{}}]}`)
	admin := file(t, "admin.json", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	for _, tc := range []struct {
		name, old, now string
		code           int
		verdict        string
	}{
		{"expands", read, admin, exitFindings, "expands"},
		{"contracts", admin, read, exitOK, "contracts"},
		{"another spelling", read, same, exitOK, "equivalent"},
		{"from nothing", os.DevNull, read, exitFindings, "expands"},
	} {
		code, out, errs := invoke(t, "", "policy", "diff", "-o", "json", tc.old, tc.now)
		var r struct {
			Schema, Verdict string
			Findings        []struct {
				Witness   struct{ Action, Resource string }
				Confirmed bool
			}
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %v\n%s%s", tc.name, err, out, errs)
		}
		if code != tc.code || r.Verdict != tc.verdict || r.Schema != "trailwarden.policydiff/v1" {
			t.Errorf("%s: exit %d, %s; want %d, %s", tc.name, code, r.Verdict, tc.code, tc.verdict)
		}
		if r.Verdict == "expands" && (len(r.Findings) == 0 || !r.Findings[0].Confirmed || r.Findings[0].Witness.Action == "") {
			t.Errorf("%s: an expansion without a confirmed witness: %s", tc.name, out)
		}
	}
}

func TestPolicyText(t *testing.T) {
	code, out, _ := invoke(t, `{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:CreatePolicyVersion","Resource":"*"}]}`, "policy", "explain", "-")
	if code != exitOK || !strings.Contains(out, "E1") || !strings.Contains(out, "ram:CreatePolicyVersion") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	code, _, errs := invoke(t, "{\n \"Version\": \"1\",\n \"Statement\": [{\"Effect\": \"Allow\"}]\n}", "policy", "explain", "-")
	if code != exitUsage || !strings.Contains(errs, "-:3:16: statement 1: there is neither Action nor NotAction") || !strings.Contains(errs, "^") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := invoke(t, "", "policy", "diff", "no-such-file", "-"); code != exitUsage || !strings.Contains(errs, "no-such-file") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// A document that names a Principal is judged as what it is when nobody says
// what it is attached to: as an identity's, who is let in would not count.
func TestPolicyKindByForm(t *testing.T) {
	own := file(t, "own.json", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1000000000000001:root"}}]}`)
	// As editors of other systems write it, with a byte order mark.
	all := file(t, "all.json", "\ufeff"+`{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::*:root"}}]}`)
	bucket := file(t, "bucket.json", `{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:GetObject","Principal":["*"],"Resource":"acs:oss:*:*:b/*"}]}`)
	none := file(t, "none.json", `{"Version":"1","Statement":[]}`)
	for _, tc := range []struct {
		args      []string
		code      int
		out, errs string
	}{
		{[]string{"diff", own, all}, exitFindings, "Any Alibaba Cloud account", "--kind trust"},
		{[]string{"diff", all, none}, exitOK, "may no longer assume the role", "--kind trust"},
		{[]string{"diff", "--kind", "trust", own, all}, exitFindings, "Any Alibaba Cloud account", ""},
		{[]string{"explain", bucket}, exitOK, "Anybody (also anonymous)", "--kind resource"},
		{[]string{"explain", "--kind", "identity", bucket}, exitOK, "Whoever holds the policy", ""},
	} {
		code, out, errs := invoke(t, "", append([]string{"policy"}, tc.args...)...)
		if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(errs, tc.errs) || tc.errs == "" && errs != "" {
			t.Errorf("%v: exit %d\n%s%s", tc.args, code, out, errs)
		}
	}
}
