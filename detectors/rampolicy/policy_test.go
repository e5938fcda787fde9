package rampolicy

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func stmt(parts string) string { return `{"Version":"1","Statement":[` + parts + `]}` }

const (
	admin   = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	ecsRead = `{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}`
)

func TestParseForms(t *testing.T) {
	d := parse(t, `{"version":1,"STATEMENT":{"effect":"allow","action":["ecs:A",7,true],"resource":"*","Condition":{"bool":{"acs:MFAPresent":true},"forallvalues:stringequals":{"k":["v"]}},"Sid":"x"}}`)
	s := d.Statements[0]
	if s.Deny || !slices.Equal(s.Actions, []string{"ecs:A", "7", "true"}) || s.Conditions[0].Operator != "Bool" || s.Conditions[0].Values[0] != "true" ||
		s.Conditions[1].Set != "ForAllValues" || s.Conditions[1].Operator != "StringEquals" || d.Doubtful {
		t.Errorf("%+v", d)
	}
	for text, want := range map[string]string{
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"a:b","NotResource":"x"}]}`:                      "NotResource",
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"a:b","Action":"c:d","Resource":"*"}]}`:          "twice",
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"a:b","NotPrincipal":{"RAM":"*"}}]}`:             "NotPrincipal",
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"a:b","Principal":{"AWS":"*"},"Resource":"*"}]}`: "not known",
		`{"Version":"1","Statement":[{"Effect":"Allow","Action":"*:*:*","Resource":"*"}]}`:                       "has not the form",
		`{"Version":"1","Statement":[{"Effect":"Deny","Action":["a:b"," ram:*"],"Resource":"*"}]}`:               "has not the form",
	} {
		d := parse(t, text)
		if !d.Doubtful || !strings.Contains(strings.Join(d.Notes, " "), want) {
			t.Errorf("%s: %+v", text, d.Notes)
		}
		if r := Diff(d, parse(t, stmt("")), Options{}); r.Verdict != Unknown && r.Verdict != Contracts || r.Verdict == Contracts {
			t.Errorf("a doubtful document: verdict %s", r.Verdict)
		}
	}
}

// A Deny is not replaced in silence by what only looks like it: letters that fold into others,
// further colons, blanks, and values of which there are none.
func TestDenyThatOnlyLooksLikeOne(t *testing.T) {
	old := parse(t, stmt(admin+`,{"Effect":"Deny","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"oss:*","Resource":"*","Condition":{"NotIpAddress":{"acs:SourceIp":["192.0.2.0/24"]}}}`))
	for name, deny := range map[string][2]string{
		"a Kelvin sign":          {`"kms:*"`, "\"\u212Ams:*\""},
		"a blank":                {`"kms:*"`, `"kms:* "`},
		"another colon":          {`"kms:*"`, `"kms:*:*"`},
		"no network":             {`["192.0.2.0/24"]`, `[]`},
		"all the same, repeated": {`"kms:*"`, `["kms:*","KMS:*"]`},
	} {
		text := stmt(admin + `,{"Effect":"Deny","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"oss:*","Resource":"*","Condition":{"NotIpAddress":{"acs:SourceIp":["192.0.2.0/24"]}}}`)
		v := Compare(old, parse(t, strings.Replace(text, deny[0], deny[1], 1)), Identity)
		if quiet := v == Equivalent || v == Contracts; quiet != (name == "all the same, repeated") {
			t.Errorf("%s: verdict %s", name, v)
		}
	}
	if v := Compare(parse(t, stmt(ecsRead)), parse(t, stmt(ecsRead+`,{"Effect":"Allow","Action":"*:*:*","Resource":"*"}`)), Identity); v != Unknown {
		t.Errorf("an Allow that may mean anything: verdict %s", v)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:   "line 1, column 1: the document ends",
		`{}`: "there is no Statement",
		`[]`: "this is a list",
		"{\n  \"Statement\": [\n    {\"Effect\": \"Maybe\"}]}":                                        `line 3, column 16, statement 1, Effect: want Allow or Deny, this is "Maybe"`,
		`{"Statement":[{"Effect":"Allow","Resource":"*"}]}`:                                           "neither Action nor NotAction",
		`{"Statement":[{"Action":"a:b","Resource":"*"}]}`:                                             "there is no Effect",
		`{"Statement":[{"Effect":"Allow","Action":"a","NotAction":"b","Resource":"*"}]}`:              "not both",
		`{"Statement":[{"Effect":"Allow","Action":{"a":1},"Resource":"*"}]}`:                          "want a string, this is an object",
		`{"Statement":[{"Effect":"Allow","Action":["a:b"],"Resource":"*","Condition":{"Bool":"x"}}]}`: "want an object of condition keys",
		`{"Statement":[],}`:              "a comma stands before",
		`{"Statement":[1,]}`:             "a comma stands before",
		`{"Statement":nul}`:              "is no JSON value",
		`{"Statement":[]} x`:             "more text follows",
		strings.Repeat("[", 100):         "nested deeper",
		strings.Repeat(" ", MaxText+1):   "more than the 16384",
		"{\"Statement\":[],\"\xff\":1":   "ends inside",
		`{"Statement":["` + "\n" + `"]}`: "cannot be read",
	} {
		_, err := Parse(text)
		var pe *ParseError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func TestParseEncoded(t *testing.T) {
	plain := stmt(ecsRead)
	quoted, _ := json.Marshal(plain)
	twice, _ := json.Marshal(string(quoted))
	percent := strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "*", "%2A", "[", "%5B", "]", "%5D", ":", "%3A", ",", "%2C").Replace(plain)
	for _, text := range []string{plain, "\n " + plain, string(quoted), string(twice), percent} {
		d, err := ParseEncoded(text)
		if err != nil || len(d.Statements) != 1 || d.Statements[0].Actions[0] != "ecs:Describe*" {
			t.Errorf("%.50s: %v", text, err)
		}
	}
	thrice, _ := json.Marshal(string(twice))
	if _, err := ParseEncoded(string(thrice)); err == nil {
		t.Error("decoded without end")
	}
}

// cases are the known corner cases, from old to new.
var cases = []struct {
	name, old, new string
	kind           Kind
	verdict        Verdict
	severity       Severity
}{
	{"NotAction instead of a list", stmt(`{"Effect":"Allow","Action":["bss:*"],"Resource":"*"}`), stmt(`{"Effect":"Allow","NotAction":["ram:*"],"Resource":"*"}`), Identity, Expands, Critical},
	{"NotAction Deny", stmt(admin + `,{"Effect":"Deny","NotAction":["ecs:*"],"Resource":"*"}`), stmt(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`), Identity, Equivalent, None},
	{"Deny list loses one", stmt(admin + `,{"Effect":"Deny","Action":["a:b","c:d"],"Resource":"*"}`), stmt(admin + `,{"Effect":"Deny","Action":["a:b"],"Resource":"*"}`), Identity, Expands, Medium},
	{"Deny gets a condition", stmt(admin + `,{"Effect":"Deny","Action":"actiontrail:*","Resource":"*"}`), stmt(admin + `,{"Effect":"Deny","Action":"actiontrail:*","Resource":"*","Condition":{"StringEquals":{"a:b":"c"}}}`), Identity, Expands, High},
	{"condition list grows", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k:x":["1"]}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k:x":["1","2"]}}}`), Identity, Expands, Medium},
	{"second key added", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k:x":["1"]}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k:x":["1"],"k:y":"2"}}}`), Identity, Contracts, None},
	{"Equals to Like with a star", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k:x":"p*"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringLike":{"k:x":"p*"}}}`), Identity, Expands, Medium},
	{"star across the colon", stmt(`{"Effect":"Allow","Action":"ram*","Resource":"*"}`), stmt(`{"Effect":"Allow","Action":"ram:*","Resource":"*"}`), Identity, Changes, Critical},
	{"question mark", stmt(`{"Effect":"Allow","Action":"a:Get?","Resource":"*"}`), stmt(`{"Effect":"Allow","Action":"a:Get*","Resource":"*"}`), Identity, Expands, Low},
	{"overlap", stmt(`{"Effect":"Allow","Action":"oss:Get*","Resource":"*"}`), stmt(`{"Effect":"Allow","Action":["oss:Get*","oss:*Object"],"Resource":"*"}`), Identity, Expands, Medium},
	{"empty list", stmt(`{"Effect":"Allow","Action":[],"Resource":"*"}`), stmt(""), Identity, Equivalent, None},
	{"empty condition", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*"}`), Identity, Equivalent, None},
	{"star or acs star", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"acs:*"}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*"}`), Identity, Expands, Low},
	{"bucket without its objects", stmt(`{"Effect":"Allow","Action":"oss:GetObject","Resource":"acs:oss:*:*:b"}`), stmt(`{"Effect":"Allow","Action":"oss:GetObject","Resource":["acs:oss:*:*:b","acs:oss:*:*:b/*"]}`), Identity, Expands, Low},
	{"malformed arn", stmt(`{"Effect":"Allow","Action":"ram:PassRole","Resource":"acs::ram::*"}`), stmt(`{"Effect":"Allow","Action":"ram:PassRole","Resource":"acs:ram::*"}`), Identity, Changes, Medium},
	{"subsumed", stmt(admin), stmt(admin + "," + ecsRead), Identity, Equivalent, None},
	{"union split", stmt(`{"Effect":"Allow","Action":["a:x","b:y"],"Resource":["r","s"]}`), stmt(`{"Effect":"Allow","Action":"a:x","Resource":"r"},{"Effect":"Allow","Action":"b:y","Resource":"s"}`), Identity, Contracts, None},
	{"impossible combination", stmt(`{"Effect":"Allow","Action":"ecs:Get","Resource":"acs:ecs:*:*:*"},{"Effect":"Allow","Action":"oss:Get","Resource":"acs:oss:*:*:*"}`), stmt(`{"Effect":"Allow","Action":["ecs:Get","oss:Get"],"Resource":["acs:ecs:*:*:*","acs:oss:*:*:*"]}`), Identity, Expands, Info},
	{"PassRole to one service", stmt(""), stmt(`{"Effect":"Allow","Action":"ram:PassRole","Resource":"*","Condition":{"StringEquals":{"acs:Service":"fc.aliyuncs.com"}}}`), Identity, Expands, Medium},
	{"PassRole to any", stmt(""), stmt(`{"Effect":"Allow","Action":"ram:PassRole","Resource":"*"}`), Identity, Expands, High},
	{"numbers", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"NumericLessThan":{"k:n":"1.30"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"NumericLessThanEquals":{"k:n":"1.3"}}}`), Identity, Expands, Medium},
	{"dates in two zones", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"DateLessThan":{"acs:CurrentTime":"2026-01-01T08:00:00+08:00"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"DateLessThan":{"acs:CurrentTime":"2026-01-01T00:00:00Z"}}}`), Identity, Equivalent, None},
	{"network narrowed", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":"192.0.2.0/24"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":["192.0.2.0/25","192.0.2.128/26"]}}}`), Identity, Contracts, None},
	{"network in halves", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":"192.0.2.0/24"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"IpAddress":{"acs:SourceIp":["192.0.2.0/25","192.0.2.128/25"]}}}`), Identity, Equivalent, None},
	{"unknown operator goes", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Fancy":{"k:x":"1"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*"}`), Identity, Expands, Medium},
	{"truth as text", stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Bool":{"acs:MFAPresent":"true"}}}`), stmt(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"acs:MFAPresent":"true"}}}`), Identity, Contracts, None},
	{"control: all gone", stmt(`{"Effect":"Deny","Action":"ram:*","Resource":"*"}`), stmt(""), Control, Expands, Critical},
	{"control: useless allow", stmt(`{"Effect":"Deny","Action":"ram:*","Resource":"*"}`), stmt(`{"Effect":"Deny","Action":"ram:*","Resource":"*"},` + admin), Control, Equivalent, None},
	{"trust: own service to foreign", stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"log.aliyuncs.com"}}`), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"2000000000000002@log.aliyuncs.com"}}`), Trust, Changes, High},
	{"trust: foreign account", stmt(""), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::2000000000000002:user/x"}}`), Trust, Expands, High},
	{"trust: own user", stmt(""), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1000000000000001:user/x"}}`), Trust, Expands, Medium},
	{"trust: anybody", stmt(""), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"*"}}`), Trust, Expands, Critical},
	{"trust: oidc without sub", stmt(""), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Federated":"acs:ram::1000000000000001:oidc-provider/p"},"Condition":{"StringEquals":{"oidc:aud":"a"}}}`), Trust, Expands, High},
	{"trust: source identity", stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ecs.aliyuncs.com"}}`), stmt(`{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity"],"Principal":{"Service":"ecs.aliyuncs.com"}}`), Trust, Expands, Low},
	{"trust: same text", stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1000000000000001:root"]}}`), stmt(`{"Effect":"Allow","Action":["sts:AssumeRole"],"Principal":{"RAM":"acs:ram::1000000000000001:root"}}`), Trust, Equivalent, None},
	{"trust: root covers user", stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1000000000000001:root"]}}`), stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1000000000000001:root","acs:ram::1000000000000001:user/a"]}}`), Trust, Equivalent, None},
}

func TestCornerCases(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := Diff(parse(t, c.old), parse(t, c.new), Options{Kind: c.kind, Account: "1000000000000001"})
			if r.Verdict != c.verdict || r.Severity != c.severity {
				text, _ := json.MarshalIndent(r, "", " ")
				t.Errorf("%s, %s; want %s, %s\n%s", r.Verdict, r.Severity, c.verdict, c.severity, text)
			}
			for _, f := range r.Findings {
				if f.Sentence == "" || f.SentenceZH == "" || !f.Confirmed && c.name != "unknown operator goes" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestWorstReadingCounts: what is harmless under one reading and not under
// another has the severity of the other.
func TestWorstReadingCounts(t *testing.T) {
	for name, texts := range map[string][2]string{
		"a Deny that needs a star across the colon": {
			stmt(`{"Effect":"Deny","Action":"ram*","Resource":"*"}`),
			stmt(`{"Effect":"Deny","Action":"ram*","Resource":"*"},{"Effect":"Allow","Action":["ram:*","ecs:DescribeZones"],"Resource":"*"}`)},
		"a Deny that needs folded names": {
			stmt(`{"Effect":"Allow","Action":"ram:*","Resource":"acs:ram:*"},{"Effect":"Deny","Action":"ram:*","Resource":"ACS:ram:*"}`),
			stmt(`{"Effect":"Allow","Action":"ram:*","Resource":"acs:ram:*"},{"Effect":"Allow","Action":"ecs:DescribeZones","Resource":"*"}`)},
	} {
		r := Diff(parse(t, texts[0]), parse(t, texts[1]), Options{})
		if r.Verdict != Expands || r.Severity < High || !r.Findings[0].Confirmed || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "readings") }) {
			t.Errorf("%s: %s %s %v\n%+v", name, r.Verdict, r.Severity, r.Notes, r.Findings)
		}
	}
}

// TestSentences: a sentence says what is demanded, no more and no less, and
// says it in Chinese in Chinese.
func TestSentences(t *testing.T) {
	cond := func(s string) string { return `,"Condition":{` + s + `}` }
	mfa, ip := `"Bool":{"acs:MFAPresent":"true"}`, `"IpAddress":{"acs:SourceIp":["10.0.0.0/8"]}`
	ecs := func(c string) string { return `{"Effect":"Allow","Action":"ecs:Start*","Resource":"*"` + c + `}` }
	for name, c := range map[string]struct {
		old, new string
		en, zh   []string
		not      []string
	}{
		"one statement without conditions is enough": {``, ecs("") + "," + ecs(cond(mfa)), []string{" on *, because statements 1 and 2 allow it"}, []string{",因为第 1、2 条语句允许"}, []string{"only when", "仅当"}},
		"either of two conditions is enough": {``, ecs(cond(mfa)) + "," + ecs(cond(ip)),
			[]string{"only when acs:MFAPresent is true, or when acs:SourceIp is in 10.0.0.0/8"}, []string{"仅限:当 acs:MFAPresent 为 true,或 当 acs:SourceIp 属于 10.0.0.0/8"}, nil},
		"both conditions of one statement are needed": {``, ecs(cond(mfa + "," + ip)),
			[]string{"only when acs:MFAPresent is true; only when acs:SourceIp is in 10.0.0.0/8"}, []string{"仅当 acs:MFAPresent 为 true;仅当 acs:SourceIp 属于 10.0.0.0/8"}, nil},
		"two conditions of one key": {``, ecs(cond(ip + `,"NotIpAddress":{"acs:SourceIp":"10.9.0.0/16"}`)),
			[]string{"is in 10.0.0.0/8", "is not in 10.9.0.0/16"}, []string{"属于 10.0.0.0/8", "不属于 10.9.0.0/16"}, nil},
		"a Deny that still stands": {``, ecs("") + `,{"Effect":"Deny","Action":"ecs:*","Resource":"*"` + cond(`"Bool":{"acs:SecureTransport":"false"}`) + `}`,
			[]string{"not when acs:SecureTransport is false"}, []string{"当 acs:SecureTransport 为 false 时除外"}, nil},
		"the condition was that there is no MFA": {ecs(cond(`"Bool":{"acs:MFAPresent":"false"}`)), ecs(""), []string{"condition acs:MFAPresent removed (was acs:MFAPresent is false)"}, []string{"已移除"}, []string{"MFA no longer required"}},
		"exceptions":                             {ecs(""), `{"Effect":"Allow","NotAction":["ram:*","sts:*"],"Resource":"*"}`, []string{"everything except ram:* and sts:* (before: ecs:Start*)"}, []string{"除 ram:*、sts:* 以外的所有操作(此前:ecs:Start*)"}, nil},
		"part of the resources":                  {`{"Effect":"Allow","Action":"oss:PutObject","Resource":"acs:oss:*:*:a/*"}`, `{"Effect":"Allow","Action":"oss:PutObject","Resource":"*"}`, []string{"on * (before: acs:oss:*:*:a/*)"}, []string{"对 *(此前:acs:oss:*:*:a/*)"}, nil},
	} {
		r := Diff(parse(t, stmt(c.old)), parse(t, stmt(c.new)), Options{})
		var en, zh string
		for _, f := range r.Findings {
			en, zh = en+f.Sentence+"\n", zh+f.SentenceZH+"\n"
		}
		for _, w := range c.en {
			if !strings.Contains(en, w) {
				t.Errorf("%s: no %q in\n%s", name, w, en)
			}
		}
		for _, w := range c.zh {
			if !strings.Contains(zh, w) {
				t.Errorf("%s: no %q in\n%s", name, w, zh)
			}
		}
		for _, w := range c.not {
			if strings.Contains(en+zh, w) {
				t.Errorf("%s: %q in\n%s%s", name, w, en, zh)
			}
		}
		// What is English belongs to the documents' language.
		for _, w := range []string{" is ", " and ", " or ", "before", "except", "when", "more", "part of"} {
			if strings.Contains(zh, w) {
				t.Errorf("%s: %q in\n%s", name, w, zh)
			}
		}
	}
}

func TestMergedDocumentsCoverEachOther(t *testing.T) {
	read, all := parse(t, stmt(ecsRead)), parse(t, stmt(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`))
	deny := parse(t, stmt(`{"Effect":"Deny","Action":"ecs:RunCommand","Resource":"*"}`))
	if v := Diff(Merge(all), Merge(all, read), Options{}).Verdict; v != Equivalent {
		t.Error(v)
	}
	r := Diff(Merge(all, deny), Merge(all), Options{})
	if r.Verdict != Expands || r.Findings[0].Actions[0] != "ecs:RunCommand" || !slices.Contains(r.Findings[0].Paths, "E15") && len(r.Findings[0].Paths) > 0 {
		t.Errorf("%+v", r)
	}
	if v := Diff(Merge(deny), Merge(), Options{}).Verdict; v != Equivalent {
		t.Errorf("a Deny that nothing stood against: %s", v)
	}
}

func TestPower(t *testing.T) {
	for _, c := range []struct {
		name, text        string
		admin, privileged bool
	}{
		{"everything", admin, true, true},
		{"everything, spelled otherwise", `{"Effect":"Allow","Action":["*:*"],"Resource":["acs:*:*:*:*"]}`, true, true},
		{"everything but two services", admin + `,{"Effect":"Deny","Action":["bss:*","efc:*"],"Resource":"*"}`, true, true},
		{"all of ram", `{"Effect":"Allow","Action":"ram:*","Resource":"*"}`, true, true},
		{"attach on users and policies", `{"Effect":"Allow","Action":"ram:Attach*User","Resource":["acs:ram:*:1000000000000001:user/*","acs:ram:*:system:policy/*"]}`, true, true},
		{"attach on users alone", `{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":"acs:ram:*:1000000000000001:user/*"}`, false, true},
		{"new versions of any policy", `{"Effect":"Allow","Action":"ram:CreatePolicyVersion","Resource":"acs:ram:*:*:policy/*"}`, true, true},
		{"keys of anybody", `{"Effect":"Allow","Action":"ram:CreateAccessKey","Resource":"*"}`, false, true},
		{"own keys", `{"Effect":"Allow","Action":"ram:*AccessKey*","Resource":"acs:ram:*:1000000000000001:user/alice"}`, false, false},
		{"all but ram", `{"Effect":"Allow","NotAction":["ram:*","ims:*"],"Resource":"*"}`, false, true},
		{"ram taken away again", admin + `,{"Effect":"Deny","Action":["ram:*","ims:*","sts:*","resourcemanager:*","cloudsso:*","actiontrail:*","log:*","kms:*","oss:*","resourcesharing:*","ecs:*","fc:*","ros:*","oos:*","cs:*","eci:*","ess:*","fnf:*","config:*","yundun-sas:*","vpc:*","tag:*","rds:*"],"Resource":"*"}`, false, false},
		{"reading", `{"Effect":"Allow","Action":["*:Get*","*:List*","*:Describe*"],"Resource":"*"}`, false, true}, // DescribeClusterUserKubeconfig is E21
		{"ecs reading", ecsRead, false, false},
		{"only sounds like it", `{"Effect":"Allow","Action":"administratoraccess:*","Resource":"*"}`, false, false},
		{"with MFA only", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"acs:MFAPresent":"true"}}}`, true, true},
		{"never", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"k:x":[]}}}`, false, false},
		{"a Deny alone", `{"Effect":"Deny","Action":"*","Resource":"*"}`, false, false},
	} {
		p := PowerOf(parse(t, stmt(c.text)), "1000000000000001")
		if p.Admin != c.admin || p.Privileged != c.privileged || !p.Known || (p.Why != "") != c.privileged {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestPowerOverOneself(t *testing.T) {
	const account = "1000000000000001"
	own := Own{Users: []string{"bob"}, Groups: []string{"dev"}, Policies: []string{"app"}}
	for text, path := range map[string]string{
		`{"Effect":"Allow","Action":"ram:CreatePolicyVersion","Resource":"acs:ram:*:1000000000000001:policy/app"}`:                                                "E1",
		`{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":["acs:ram:*:1000000000000001:user/bob","acs:ram:*:system:policy/*"]}`:                     "E3",
		`{"Effect":"Allow","Action":"ram:AttachPolicyToGroup","Resource":["acs:ram:*:1000000000000001:group/dev","acs:ram:*:system:policy/AdministratorAccess"]}`: "E4",
		`{"Effect":"Allow","Action":"ram:CreatePolicyVersion","Resource":"acs:ram:*:1000000000000001:policy/other"}`:                                              "",
		`{"Effect":"Allow","Action":"ram:AttachPolicyToUser","Resource":["acs:ram:*:1000000000000001:user/carol","acs:ram:*:system:policy/*"]}`:                   "",
		`{"Effect":"Allow","Action":"ram:CreateAccessKey","Resource":"acs:ram:*:1000000000000001:user/bob"}`:                                                      "",
	} {
		p := PowerOfHolder(parse(t, stmt(text)), account, own)
		if p.Admin != (path != "") || path != "" && !slices.Contains(p.Paths, path) {
			t.Errorf("%s: %+v", text, p)
		}
		if PowerOf(parse(t, stmt(text)), account).Admin {
			t.Errorf("%s: admin for anybody", text)
		}
	}
}

func TestSystemPolicies(t *testing.T) {
	want := map[string][2]bool{ // admin, privileged
		"AdministratorAccess": {true, true}, "AliyunRAMFullAccess": {true, true}, "PowerUserAccess": {false, true},
		"AliyunOSSReadOnlyAccess": {false, false}, "AliyunECSReadOnlyAccess": {false, false}, "AliyunRAMReadOnlyAccess": {false, false},
		"AliyunSTSAssumeRoleAccess": {false, true}, "AliyunActionTrailFullAccess": {false, true}, "AliyunFCFullAccess": {false, true},
	}
	for name, w := range want {
		p, ok := System(strings.ToUpper(name))
		if !ok || p.Name != name {
			t.Fatal(name)
		}
		if got := PowerOf(p.Doc, ""); got.Admin != w[0] || got.Privileged != w[1] {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, ok := System("AdministratorAccess2"); ok {
		t.Error("a name that is not known")
	}
	if p, _ := System("AdministratorAccess"); !p.Inferred {
		t.Error("AdministratorAccess' text was not seen by anybody here")
	}
	for _, known := range systemTable() {
		if p, ok := System(known.Name); !ok || len(p.Doc.Statements) == 0 || len(p.Doc.Statements[0].Actions) == 0 {
			t.Error(known.Name)
		}
	}
}

func TestTrust(t *testing.T) {
	f := TrustOf(parse(t, stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1000000000000001:root","acs:ram::2000000000000002:user/x","acs:ram::2000000000000002:root"],"Service":["ecs.aliyuncs.com","1000000000000001@log.aliyuncs.com","3000000000000003@log.aliyuncs.com"],"Federated":"acs:ram::1000000000000001:oidc-provider/p"}}`)), "1000000000000001")
	if f.Public || !f.OwnAccount || !slices.Equal(f.Outside, []string{"2000000000000002", "3000000000000003@log.aliyuncs.com"}) || len(f.Federation) != 1 || len(f.OpenFederation) != 1 {
		t.Errorf("%+v", f)
	}
	if f := TrustOf(parse(t, stmt(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::*:root"}}`)), ""); !f.Public {
		t.Errorf("%+v", f)
	}
	if f := TrustOf(parse(t, stmt(`{"Effect":"Deny","Action":"*","Principal":"*"}`)), ""); len(f.Outside) > 0 {
		t.Errorf("%+v", f)
	}
}

// TestSeverityText: each severity is read as it is written, and nothing else.
func TestSeverityText(t *testing.T) {
	for want := None; want <= Critical; want++ {
		b, err := want.MarshalText()
		got := Severity(99)
		if err != nil || got.UnmarshalText(b) != nil || got != want {
			t.Errorf("%q is read as %s: %v", b, got, err)
		}
	}
	bad := Critical + 1
	if got := bad.String(); got != "severity(6)" {
		t.Error(got)
	}
	if err := bad.UnmarshalText([]byte("severity(6)")); err == nil {
		t.Error("it is no severity")
	}
}

// TestAccountOf: a user's number is no account, also where it is a pattern; a service's
// name says whose it is.
func TestAccountOf(t *testing.T) {
	for outsider, want := range map[string]string{
		"2000000000000002":                      "2000000000000002",
		"200000000000000002":                    "",
		"20000000000000000*":                    "",
		"2000000000000002@log.aliyuncs.com":     "2000000000000002",
		"200000000000000002@log.aliyuncs.com":   "200000000000000002",
		"acs:ram::2000000000000002:role/worker": "acs:ram::2000000000000002:role/worker",
	} {
		if got := AccountOf(outsider); got != want {
			t.Errorf("%s: %q, want %q", outsider, got, want)
		}
	}
}

// TestBoundsOfHostileDocuments: documents made to be slow end with unknown,
// soon.
func TestBoundsOfHostileDocuments(t *testing.T) {
	var globs, conds []string
	for i := range 400 {
		globs = append(globs, `"*a*`+strings.Repeat("?", i%17)+`b*`+string(rune('a'+i%23))+`?*"`)
	}
	for i := range 24 {
		conds = append(conds, `"k:`+string(rune('a'+i))+`":["1","2","3"]`)
	}
	many := stmt(`{"Effect":"Allow","Action":[` + strings.Join(globs, ",") + `],"Resource":[` + strings.Join(globs[:200], ",") + `],"Condition":{"StringEquals":{` + strings.Join(conds, ",") + `}}}`)
	if len(many) > MaxText {
		t.Fatal(len(many))
	}
	a, b := parse(t, many), parse(t, strings.Replace(many, `"1","2"`, `"4","2"`, 1))
	r := Diff(a, b, Options{})
	if r.Verdict == Equivalent || r.Verdict == Contracts {
		t.Errorf("%s", r.Verdict)
	}
	if r.Verdict == Unknown && r.Severity < Medium {
		t.Errorf("unknown is handled as expanding, not as %s", r.Severity)
	}
}

// TestManyStatements: the cost of telling is bounded too.
func TestManyStatements(t *testing.T) {
	var parts, wide []string
	for i := range 150 {
		parts = append(parts, `{"Effect":"Allow","Action":"s`+strconv.Itoa(i)+`:*","Resource":"r`+strconv.Itoa(i)+`*"}`)
		wide = append(wide, `{"Effect":"Allow","Action":"*:A`+strconv.Itoa(i)+`*","Resource":"*/r`+strconv.Itoa(i)+`"}`)
	}
	for _, list := range [][]string{parts, wide} {
		text := stmt(strings.Join(list, ","))
		if len(text) > MaxText {
			t.Fatal(len(text))
		}
		r := Diff(nil, parse(t, text), Options{})
		if r.Verdict != Expands && r.Verdict != Unknown || len(r.Findings) > 20 {
			t.Errorf("%s with %d findings", r.Verdict, len(r.Findings))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add(c.old)
		f.Add(c.new)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseEncoded(text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatal("an endless message")
			}
			return
		}
		q := &Request{Action: "ram:CreateUser", Resource: "acs:ram:*:1:user/x", Context: map[string]string{}}
		d.Decide(q, Reading{})
	})
}

func FuzzDiff(f *testing.F) {
	for _, c := range cases {
		f.Add(c.old, c.new, uint8(c.kind))
	}
	f.Fuzz(func(t *testing.T, x, y string, kind uint8) {
		if len(x)+len(y) > 1500 {
			return
		}
		a, err := Parse(x)
		if err != nil {
			return
		}
		b, err := Parse(y)
		if err != nil {
			return
		}
		o := Options{Kind: Kind(kind % 4), Account: "1"}
		r := Diff(a, b, o)
		if r.Verdict == Unknown {
			return
		}
		if (len(r.Findings) > 0) != (r.Verdict == Expands || r.Verdict == Changes) {
			t.Fatalf("%s with %d findings", r.Verdict, len(r.Findings))
		}
		if s := Diff(a, a, o); s.Verdict != Equivalent {
			t.Fatalf("a document compared with itself: %s", s.Verdict)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	for _, c := range cases[:3] {
		x, y := parse(b, c.old), parse(b, c.new)
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				Diff(x, y, Options{})
			}
		})
	}
}
