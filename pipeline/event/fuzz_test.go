package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var fuzzSeeds = []string{
	``, `{}`, `[]`, `{"eventName":"X"}`, `{"eventName":"X","errorCode":"\u0041\n","userIdentity":{"type":"ram-user","accountId":1,"userName":"a@b"}}`,
	`{"eventName":"CreateAccessKey","serviceName":"Ims","requestParameters":"{\"UserPrincipalName\":\"a@b\"}","responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLE"}}}`,
	`{"eventName":"ConsoleSignin","serviceName":"AasSub","additionalEventData":"{\"mfaChecked\":\"true\"}","sourceIpAddress":"::ffff:1.2.3.4"}`,
	`{"Events":[{"eventName":"X"},1]}`, `{"__topic__":"t","event":"{\"eventName\":\"X\"}"}`, `{"event.eventName":"X","event.userIdentity.type":"system"}`,
	`{"event_eventname":"X","event_useridentity_sessioncontext_attributes_mfaauthenticated":"true","event_requestparameters_a_b":"c"}`,
	`{"specversion":"1.0","data":{"eventName":"X"}}`, `{"eventName":"X","eventTime":"2026-01-05T08:15:42.5+08:00","n":-0.1e+5,"t":true,"f":false,"z":null}`,
	`{"eventCategory":"Insight","insightDetails":{"insightType":"IpInsight"}}`, "\xef\xbb\xbf[{\"eventName\":\"\xff\"}]",
	`{"eventName":"AssumeRole","serviceName":"Sts","requestParameters":{"RoleArn":"acs:ram::1:role/r"},"referencedResources":{"ACS::RAM::AccessKey":["STS.EXAMPLE"]}}`,
}

// view renders all that an event says, for comparison.
func render(e *Event) string {
	c := *e
	c.raw, c.subs = nil, subdocs{}
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", c)
	e.EachParam(func(k, v string) bool { fmt.Fprintf(&b, " %q=%q", k, v); return true })
	e.Resources(func(typ, n string) bool { fmt.Fprintf(&b, " %q:%q", typ, n); return true })
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Add(benchRecord)
	var p Parser
	reused := new(Event)
	f.Fuzz(func(t *testing.T, in []byte) {
		ev, err := Parse(in)
		rerr := p.Parse(in, reused)
		if (err == nil) != (rerr == nil) || err != nil && err.Error() != rerr.Error() {
			t.Fatalf("Parse %v, Parser.Parse %v", err, rerr)
		}
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) || !slices.Contains(Reasons(), pe.Reason) || pe.Offset < 0 || pe.Offset > len(in) {
				t.Fatalf("%#v", err)
			}
			notJSON := slices.Contains([]Reason{ReasonEmpty, ReasonBinary, ReasonTruncated, ReasonNotJSON}, pe.Reason)
			if json.Valid(in) == notJSON && pe.Reason != ReasonTooDeep && pe.Reason != ReasonTooLarge {
				t.Fatalf("%v, but encoding/json says %v", err, json.Valid(in))
			}
			return
		}
		if !json.Valid(in) {
			t.Fatal("accepted what encoding/json refuses")
		}
		if render(ev) != render(reused) {
			t.Fatalf("new and reused differ:\n%s\n%s", render(ev), render(reused))
		}
		again, err := Parse(slices.Clone(ev.Raw()))
		if err != nil || render(again) != render(ev) || string(again.Raw()) != string(ev.Raw()) {
			t.Fatalf("parse, Raw, parse is not stable: %v\n%s\n%s", err, render(ev), render(again))
		}
		if render(ev.Clone()) != render(ev) || ev.Clone().DedupKey() != ev.DedupKey() {
			t.Fatal("the clone differs")
		}
		for _, path := range []string{"a", "requestParameters.a.0.b", "userIdentity.sessionContext.attributes", "AccessKey.AccessKeyId", ".", "0", "eventName"} {
			ev.Param(path)
			ev.Response(path)
			ev.Extra(path)
			ev.Field(path)
		}
		if n, _ := ev.Field("eventName"); ev.Name != "" && n == "" && !strings.Contains(strings.ToLower(string(in)), `\u`) {
			t.Fatalf("eventName %q is not a field", ev.Name)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var got [][]byte
		err := Unwrap(in, func(r []byte) bool { got = append(got, r); return true })
		var pe *ParseError
		if err != nil && !errors.As(err, &pe) {
			t.Fatalf("%#v", err)
		}
		for _, r := range got {
			if _, err := Parse(r); err != nil && !errors.As(err, &pe) {
				t.Fatal(err)
			}
			// A record is no container: it is found where it was.
			if json.Valid(r) && len(got) == 1 {
				n := 0
				if err := Unwrap(r, func([]byte) bool { n++; return true }); err != nil || n > 1 && r[0] != '[' {
					t.Fatalf("%q unwraps to %d, %v", r, n, err)
				}
			}
		}
		// Stopping early stops.
		n := 0
		if Unwrap(in, func([]byte) bool { n++; return false }); n > 1 {
			t.Fatalf("went on %d times after false", n)
		}
		if len(got) == 0 && err == nil && json.Valid(in) {
			// Only an empty container holds nothing.
			if !strings.Contains(string(in), "[") {
				t.Fatalf("%q disappeared", in)
			}
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"", "Internal", "1.2.3.4", "::1", "42.120.XX.XX", "ecs.aliyuncs.com", "[::1]:80", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a := ParseAddress(s)
		if a.IP.IsValid() {
			if b := ParseAddress(a.IP.String()); b.IP != a.IP || b.Kind != a.Kind {
				t.Fatalf("%q: %+v, then %+v", s, a, b)
			}
		}
	})
}
