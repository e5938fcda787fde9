package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func quote(t testing.TB, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func unwrapAll(in string) (out []string, err error) {
	err = Unwrap([]byte(in), func(r []byte) bool { out = append(out, string(r)); return true })
	return out, err
}

func TestUnwrap(t *testing.T) {
	const one, two = `{"eventName":"One"}`, `{"eventId":"2","eventName":"Two"}`
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"plain":                                {one, []string{one}},
		"plain, spaces":                        {" \n" + one + "\n", []string{" \n" + one + "\n"}},
		"byte order mark":                      {"\xef\xbb\xbf" + one, []string{one}},
		"empty":                                {"", []string{""}},
		"text":                                 {"hello", []string{"hello"}},
		"array":                                {"[" + one + " , " + two + "]", []string{one, two}},
		"empty array":                          {"[ ]", nil},
		"array in array":                       {"[[" + one + "],[]]", []string{one}},
		"odd elements":                         {`[1,"x",null,` + one + `]`, []string{"1", `"x"`, "null", one}},
		"LookupEvents":                         {`{"RequestId":"R","NextToken":"t","Events":[` + one + "," + two + `],"StartTime":"x"}`, []string{one, two}},
		"LookupEvents none":                    {`{"RequestId":"R","Events":[]}`, nil},
		"SLS, text":                            {`{"__topic__":"actiontrail_audit_event","__time__":1,"event":` + quote(t, one) + `}`, []string{one}},
		"SLS, object":                          {`{"__topic__":"actiontrail_event","owner_id":"1","event":` + one + `}`, []string{one}},
		"SLS, broken text":                     {`{"__topic__":"x","event":"{\"eventName\":"}`, []string{`{"eventName":`}},
		"GetLogs":                              {`{"meta":{"count":2},"data":[{"event":` + quote(t, one) + `},{"event":` + two + `}]}`, []string{one, two}},
		"logs":                                 {`{"logs":[{"event":` + quote(t, one) + `}]}`, []string{one}},
		"CloudEvent":                           {`{"id":"1","source":"acs.ecs","specversion":"1.0","type":"ecs:ActionTrail:ApiCall","data":` + one + `}`, []string{one}},
		"CloudEvent, text":                     {`{"id":"1","specversion":"1.0","data":` + quote(t, one) + `}`, []string{one}},
		"event that says of itself what it is": {`{"event":{"x":1},"eventName":"X"}`, []string{`{"event":{"x":1},"eventName":"X"}`}},
		"record with a data member":            {`{"eventName":"X","data":{"y":1}}`, []string{`{"eventName":"X","data":{"y":1}}`}},
		"unknown object":                       {`{"a":1}`, []string{`{"a":1}`}},
		"event is no record":                   {`{"event":"login failed"}`, []string{`{"event":"login failed"}`}},
		"flat, dots": {`{"__topic__":"actiontrail_audit_event","event.eventName":"X","event.userIdentity.type":"ram-user","event.userIdentity.sessionContext.attributes.mfaAuthenticated":"true",` +
			`"event.requestParameters.Tag.1.Key":"k","event.additionalEventData.mfaChecked":"false","event.errorCode":"null","event.vpcId":""}`,
			[]string{`{"eventName":"X","userIdentity":{"type":"ram-user","sessionContext":{"attributes":{"mfaAuthenticated":"true"}}},"requestParameters":{"Tag.1.Key":"k"},"additionalEventData":{"mfaChecked":"false"}}`}},
		"flat, underscores": {`{"event":"null","event_eventname":"X","event_useridentity_type":"ram-user","event_requestparameters_name":"n","event_x_y":1}`,
			[]string{`{"eventname":"X","useridentity":{"type":"ram-user"},"requestparameters":{"name":"n"},"x_y":1}`}},
		"flat, whole parameters": {`{"event.eventName":"X","event.requestParameters.A":"1","event.requestParameterJson":` + quote(t, `{"A":"1","B":2}`) + `}`,
			[]string{`{"eventName":"X","requestParameters":{},"requestParameterJson":` + quote(t, `{"A":"1","B":2}`) + `}`}},
		"flat, nothing said": {`{"event_eventname":"null"}`, []string{`{"event_eventname":"null"}`}},
		"too many wraps":     {strings.Repeat("[", 9) + strings.Repeat("]", 9), []string{"[[[]]]"}},
	} {
		got, err := unwrapAll(c.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestUnwrapBroken(t *testing.T) {
	const one = `{"eventName":"One"}`
	for in, want := range map[string]Reason{
		"[" + one + `,{"eventName":"T`: ReasonTruncated,
		"[" + one + `,`:                ReasonTruncated,
		"[" + one + `,]`:               ReasonNotJSON,
		"[" + one + ` x]`:              ReasonNotJSON,
		// What stands behind a container was delivered too.
		"[" + one + "]" + one:                                             ReasonNotJSON,
		`{"Events":[` + one + `]}{"Events":[` + one + `]}`:                ReasonNotJSON,
		`{"event":` + one + `}{"event":` + one + `}`:                      ReasonNotJSON,
		`{"event":` + quote(t, one) + `} {"event":` + quote(t, one) + `}`: ReasonNotJSON,
		`{"event.eventName":"One"}{"event.eventName":"Two"}`:              ReasonNotJSON,
		`{"event":` + quote(t, "["+one+"]"+one) + `}`:                     ReasonNotJSON,
	} {
		got, err := unwrapAll(in)
		var pe *ParseError
		if !errors.As(err, &pe) || pe.Reason != want || len(got) != 1 || got[0] != one {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
	// An element that is broken inside says nothing of those behind it.
	got, err := unwrapAll(`{"data":[{"event":` + quote(t, "["+one+",{") + `},{"event":` + one + `}]}`)
	if err == nil || len(got) != 2 {
		t.Errorf("behind a broken element: %q %v", got, err)
	}
	n := 0
	if err := Unwrap([]byte("["+one+","+one+",bad"), func([]byte) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("stopped by the caller: %d %v", n, err)
	}
}

// TestShapesAgree: one act in every container gives one event.
func TestShapesAgree(t *testing.T) {
	plain := string(benchRecord)
	for name, in := range map[string]string{
		"array": "[" + plain + "]", "lookup": `{"Events":[` + plain + `]}`, "sls": `{"__topic__":"actiontrail_audit_event","event":` + quote(t, plain) + `}`,
		"cloudevent": `{"specversion":"1.0","data":` + plain + `}`,
	} {
		records, err := unwrapAll(in)
		if err != nil || len(records) != 1 {
			t.Fatalf("%s: %d records, %v", name, len(records), err)
		}
		ev, err := Parse([]byte(records[0]))
		if err != nil {
			t.Fatal(err)
		}
		if string(ev.Raw()) != plain {
			t.Errorf("%s: the record changed on the way", name)
		}
	}
}

// Parameters that arrive as JSON text have flattened keys too.
func TestFlattenedKeyInText(t *testing.T) {
	ev, err := Parse([]byte(`{"eventId":"1","eventName":"X","eventTime":"2026-01-05T10:00:00Z","requestParameterJson":"{\"Targets.1\":\"a\",\"Deep\":{\"B\":\"c\"}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"Targets.1": "a", "targets.1": "a", "Deep.B": "c"} {
		if got, ok := ev.Param(k); !ok || got != want {
			t.Errorf("%s: %q %v", k, got, ok)
		}
	}
}
