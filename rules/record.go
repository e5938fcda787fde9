package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// The base that test events are laid over.
const (
	baseAccount = "1000000000000001"
	baseIP      = "203.0.113.10"
)

// baseTime is a Monday.
var baseTime = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

// testDoc is one test of a rule as written.
type testDoc struct {
	Name   text                `yaml:"name" required:"true" doc:"What the test shows."`
	Events []eventDoc          `yaml:"events" required:"true" doc:"Events in arrival order, abbreviated: each is laid over a base event."`
	Expect expectDoc           `yaml:"expect" required:"true" doc:"What must come of them."`
	Lists  map[string][]string `yaml:"lists" doc:"Named lists for this test."`
	Geo    map[string]geoDoc   `yaml:"geo" doc:"Where addresses are in this test: address or network to place."`
	Owners map[string]ownerDoc `yaml:"owners" doc:"Who answers for what in this test: id to owner, team, production."`
}

type geoDoc struct {
	Country string `yaml:"country" doc:"ISO code."`
	ASN     uint32 `yaml:"asn" doc:"Autonomous system number."`
	Org     string `yaml:"org" doc:"Organisation."`
}

// eventDoc is an abbreviated event.
type eventDoc struct {
	Event      text           `yaml:"event" doc:"Service:EventName."`
	User       *string        `yaml:"user" doc:"A RAM user by name (default alice)."`
	Root       bool           `yaml:"root" doc:"The root account, without a key unless key says one."`
	Role       string         `yaml:"role" doc:"An assumed role: role/session."`
	SAML       string         `yaml:"saml" doc:"A SAML user."`
	OIDC       string         `yaml:"oidc" doc:"An OIDC user."`
	SSO        string         `yaml:"sso" doc:"A CloudSSO user."`
	Service    string         `yaml:"service" doc:"The cloud itself (type system), by service domain."`
	Key        *string        `yaml:"key" doc:"AccessKey id of the caller; empty for a console call without one."`
	Account    string         `yaml:"account" doc:"Account of record and identity."`
	IP         *string        `yaml:"ip" doc:"sourceIpAddress; empty leaves it out."`
	UA         string         `yaml:"ua" doc:"userAgent."`
	Region     string         `yaml:"region" doc:"acsRegion."`
	RW         *string        `yaml:"rw" doc:"eventRW (default by the event's name)."`
	Type       string         `yaml:"type" doc:"eventType."`
	Category   string         `yaml:"category" doc:"eventCategory."`
	ID         string         `yaml:"id" doc:"eventId."`
	Time       string         `yaml:"time" doc:"eventTime, RFC 3339."`
	After      *time.Duration `yaml:"after" doc:"Time after the event before (default 1s); negative for events out of order."`
	Error      *yaml.Node     `yaml:"error" doc:"errorCode, or {code, message}."`
	Params     *yaml.Node     `yaml:"params" doc:"requestParameters."`
	ParamsJSON bool           `yaml:"params_json" doc:"Send the parameters as text in requestParameterJson, as the log service does."`
	Response   *yaml.Node     `yaml:"response" doc:"responseElements."`
	Extra      *yaml.Node     `yaml:"extra" doc:"additionalEventData."`
	Resources  *yaml.Node     `yaml:"resources" doc:"referencedResources: type to list of names."`
	MFA        *bool          `yaml:"mfa" doc:"The sign-in's own MFA flag."`
	SessionMFA *bool          `yaml:"session_mfa" doc:"The session's MFA flag."`
	Repeat     int            `yaml:"repeat" doc:"Number of copies; {n} in any text is the copy's number from 1."`
	Every      time.Duration  `yaml:"every" doc:"Time between copies (default 1s)."`
	Raw        *yaml.Node     `yaml:"raw" doc:"Keys of the record, laid over everything else; null takes a key away."`
}

type expectDoc struct {
	Alerts         *int     `yaml:"alerts" required:"true" doc:"How many alerts there are."`
	Severity       string   `yaml:"severity" enum:"info,low,medium,high,critical" doc:"Of every alert."`
	Outcome        string   `yaml:"outcome" enum:"success,attempt" doc:"Of every alert."`
	Actor          *string  `yaml:"actor" doc:"Actor's name of every alert."`
	Target         *string  `yaml:"target" doc:"Target's name of every alert."`
	TargetKey      *string  `yaml:"target_key" doc:"AccessKey id acted on, of every alert."`
	SourceIP       *string  `yaml:"source_ip" doc:"Of every alert."`
	Count          *int     `yaml:"count" doc:"Events behind every alert."`
	TitleContains  []string `yaml:"title_contains" doc:"Texts in every title."`
	ReasonContains []string `yaml:"reason_contains" doc:"Texts in every reason."`
	ReasonLacks    []string `yaml:"reason_lacks" doc:"Texts in no reason."`
	Details        []string `yaml:"details" doc:"Keys that the details of every alert have."`
}

const maxTestEvents = 10_000

// checkTests finds what is wrong with tests before they are run.
func checkTests(f *file, tests []testDoc) {
	names := map[string]bool{}
	for i := range tests {
		t := &tests[i]
		if !t.Name.set() || t.Expect.Alerts == nil {
			continue // a missing key was reported
		}
		if names[t.Name.value] {
			f.node(t.Name.node, "", "two tests are named %q", t.Name.value)
		}
		names[t.Name.value] = true
		if *t.Expect.Alerts < 0 {
			f.node(t.Name.node, "", "test %q expects a negative number of alerts", t.Name.value)
		}
		if len(t.Events) == 0 {
			f.node(t.Name.node, "", "test %q has no events", t.Name.value)
		}
		if err := t.check(); err != nil {
			f.node(t.Name.node, "", "test %q: %s", t.Name.value, err)
		}
		table := &ownerTable{of: map[string]Ownership{}, at: map[string]string{}}
		for _, id := range slices.Sorted(maps.Keys(t.Owners)) {
			o := t.Owners[id]
			table.add(f, t.Name.node.Line, id, o.Owner.value, o.Team.value, o.Production.value, func(_, hint, format string, args ...any) {
				f.node(t.Name.node, hint, "test %q: owners: %s", t.Name.value, fmt.Sprintf(format, args...))
			})
		}
		for _, name := range slices.Sorted(maps.Keys(t.Lists)) {
			for _, e := range t.Lists[name] {
				if NoNetwork(e) {
					f.node(t.Name.node, "", "test %q: list %s: %q is not a network", t.Name.value, name, e)
				}
			}
		}
		for network := range t.Geo {
			if _, ok := parseNetwork(network); !ok {
				f.node(t.Name.node, "", "test %q: geo %q is not an address or network", t.Name.value, network)
			}
		}
	}
}

// records writes the events of a test as ActionTrail records, in arrival
// order.
func (t *testDoc) records() (out [][]byte, err error) {
	err = t.each(func(e *eventDoc, at time.Time, i, n int) error {
		rec, err := e.record(at, i, n)
		out = append(out, rec)
		return err
	})
	return out, err
}

// check says what records would refuse. The copies of an event differ in
// nothing that can be refused, so it writes one of each: rules are loaded far
// more often than they are tested.
func (t *testDoc) check() error {
	return t.each(func(e *eventDoc, at time.Time, i, n int) error {
		if n > 0 {
			return nil
		}
		_, err := e.record(at, i, n)
		return err
	})
}

// each calls fn for every event of a test with its time, its place and the
// number of its copy.
func (t *testDoc) each(fn func(e *eventDoc, at time.Time, i, n int) error) error {
	total := 0
	at := baseTime
	for i := range t.Events {
		e := &t.Events[i]
		step := time.Second
		if i == 0 {
			step = 0
		}
		if e.After != nil {
			step = *e.After
		}
		at = at.Add(step)
		if e.Time != "" {
			x, err := time.Parse(time.RFC3339, e.Time)
			if err != nil {
				return fmt.Errorf("event %d: time %q is not RFC 3339", i+1, e.Time)
			}
			at = x.UTC()
		}
		copies, every := max(e.Repeat, 1), e.Every
		if every == 0 {
			every = time.Second
		}
		if copies > maxTestEvents-total {
			return fmt.Errorf("more than %d events", maxTestEvents)
		}
		total += copies
		for n := range copies {
			if n > 0 {
				at = at.Add(every)
			}
			if err := fn(e, at, i, n); err != nil {
				return fmt.Errorf("event %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// record writes one copy of an event.
func (e *eventDoc) record(at time.Time, index, n int) ([]byte, error) {
	rec := map[string]any{}
	if e.Event.set() {
		service, name, ok := strings.Cut(e.Event.value, ":")
		if !ok {
			return nil, fmt.Errorf("event %q: want Service:EventName", e.Event.value)
		}
		rec["serviceName"], rec["eventName"] = service, name
	}
	account := baseAccount
	if e.Account != "" {
		account = e.Account
	}
	id := fmt.Sprintf("test-%04d-%05d", index+1, n+1)
	if e.ID != "" {
		id = e.ID
	}
	rec["eventId"], rec["requestId"] = id, id
	rec["eventTime"] = at.Format("2006-01-02T15:04:05Z")
	rec["recipientAccountId"] = account

	identity, err := e.identity(account)
	if err != nil {
		return nil, err
	}
	rec["userIdentity"] = identity

	switch {
	case e.IP != nil && *e.IP == "":
		rec["sourceIpAddress"] = nil
	case e.IP != nil:
		rec["sourceIpAddress"] = *e.IP
	case e.Service != "":
		rec["sourceIpAddress"] = e.Service
	}
	for k, v := range map[string]string{"userAgent": e.UA, "acsRegion": e.Region, "eventType": e.Type, "eventCategory": e.Category} {
		if v != "" {
			rec[k] = v
		}
	}
	if e.RW != nil {
		rec["eventRW"] = *e.RW
		if *e.RW == "" {
			rec["eventRW"] = nil
		}
	}
	if err := e.refusal(rec); err != nil {
		return nil, err
	}
	if e.Params != nil {
		if e.ParamsJSON {
			text, err := json.Marshal(plainValue(e.Params))
			if err != nil {
				return nil, err
			}
			rec["requestParameterJson"] = string(text)
		} else {
			rec["requestParameters"] = plainValue(e.Params)
		}
	}
	if e.Response != nil {
		rec["responseElements"] = plainValue(e.Response)
	}
	extra, err := e.additional()
	if err != nil {
		return nil, err
	}
	if len(extra) > 0 {
		rec["additionalEventData"] = extra
	}
	if e.Resources != nil {
		rec["referencedResources"] = plainValue(e.Resources)
	}
	if e.Raw != nil {
		m, ok := plainValue(e.Raw).(map[string]any)
		if !ok {
			return nil, fmt.Errorf("raw is a mapping")
		}
		maps.Copy(rec, m)
	}
	return bytes.ReplaceAll(record(rec), []byte("{n}"), []byte(strconv.Itoa(n+1))), nil
}

// identity is who called, of one kind at most.
func (e *eventDoc) identity(account string) (map[string]any, error) {
	who := 0
	for _, set := range []bool{e.User != nil, e.Root, e.Role != "", e.SAML != "", e.OIDC != "", e.SSO != "", e.Service != ""} {
		if set {
			who++
		}
	}
	if who > 1 {
		return nil, fmt.Errorf("more than one of user, root, role, saml, oidc, sso and service")
	}
	identity := map[string]any{"accountId": account}
	key := ""
	switch {
	case e.Root:
		identity["type"], identity["principalId"], identity["userName"] = "root-account", account, "root"
	case e.Role != "":
		role, session, ok := strings.Cut(e.Role, "/")
		if !ok {
			return nil, fmt.Errorf("role %q: want role/session", e.Role)
		}
		identity["type"], identity["principalId"], identity["userName"] = "assumed-role", digits(role)+":"+session, role+":"+session
		key = "STS.EXAMPLE" + role
	case e.SAML != "":
		identity["type"], identity["userName"] = "saml-user", e.SAML
	case e.OIDC != "":
		identity["type"], identity["userName"] = "oidc-user", e.OIDC
	case e.SSO != "":
		identity["type"], identity["userName"], identity["principalId"] = "cloudsso-user", e.SSO, "u-example-"+e.SSO
	case e.Service != "":
		identity = map[string]any{"type": "system", "userName": e.Service}
	default:
		name := "alice"
		if e.User != nil {
			name = *e.User
		}
		identity["type"], identity["principalId"], identity["userName"] = "ram-user", digits(name), name
		key = "LTAI5tEXAMPLE" + keep(name, 8) + "00001"
	}
	if e.Key != nil {
		key = *e.Key
	}
	if key != "" {
		identity["accessKeyId"] = key
	}
	if e.SessionMFA != nil {
		identity["sessionContext"] = map[string]any{"attributes": map[string]any{"mfaAuthenticated": strconv.FormatBool(*e.SessionMFA)}}
	}
	return identity, nil
}

// refusal says that the call was refused.
func (e *eventDoc) refusal(rec map[string]any) error {
	switch code := e.Error; {
	case code == nil:
	case code.Kind == yaml.ScalarNode:
		rec["errorCode"] = code.Value
		rec["errorMessage"] = "The call was refused."
	case code.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(code.Content); i += 2 {
			switch k := code.Content[i].Value; k {
			case "code":
				rec["errorCode"] = code.Content[i+1].Value
			case "message":
				rec["errorMessage"] = code.Content[i+1].Value
			default:
				return fmt.Errorf("error has code and message, not %q", k)
			}
		}
	default:
		return fmt.Errorf("error is a code, or {code, message}")
	}
	return nil
}

// additional is the event's additional data; where it says of a sign-in whether MFA was
// checked, a root account has another key than a user.
func (e *eventDoc) additional() (map[string]any, error) {
	extra := map[string]any{}
	if e.Extra != nil {
		m, ok := plainValue(e.Extra).(map[string]any)
		if !ok {
			return nil, fmt.Errorf("extra is a mapping")
		}
		extra = m
	}
	if e.MFA != nil {
		flag := "mfaChecked"
		if e.Root {
			flag = "isMFAChecked"
		}
		extra[flag] = strconv.FormatBool(*e.MFA)
	}
	return extra, nil
}

// record lays keys over the base event; nil takes a key away.
func record(over map[string]any) []byte {
	rec := map[string]any{
		"eventId": "test-0001-00001", "requestId": "test-0001-00001", "eventVersion": "1", "eventType": "ApiCall", "eventCategory": "Management",
		"eventTime": baseTime.Format("2006-01-02T15:04:05Z"), "serviceName": "Ram", "eventName": "GetUser", "acsRegion": "cn-hangzhou",
		"sourceIpAddress": baseIP, "userAgent": "AliyunConsole", "recipientAccountId": baseAccount,
		"userIdentity": map[string]any{
			"type": "ram-user", "accountId": baseAccount, "principalId": digits("alice"), "userName": "alice", "accessKeyId": "LTAI5tEXAMPLEalice00001",
		},
	}
	maps.Copy(rec, over)
	service, _ := rec["serviceName"].(string)
	name, _ := rec["eventName"].(string)
	if _, ok := over["eventRW"]; !ok {
		rec["eventRW"] = "Write"
		for _, verb := range []string{"Get", "List", "Describe", "Query", "Lookup", "Search", "Head"} {
			if strings.HasPrefix(name, verb) {
				rec["eventRW"] = "Read"
			}
		}
	}
	if _, ok := over["eventSource"]; !ok && service != "" {
		rec["eventSource"] = strings.ToLower(service) + ".aliyuncs.com"
	}
	maps.DeleteFunc(rec, func(_ string, v any) bool { return v == nil })
	out, err := json.Marshal(rec)
	if err != nil { // a number that JSON does not have
		out, _ = json.Marshal(map[string]any{"eventId": "unprintable", "eventName": "unprintable", "eventTime": rec["eventTime"]})
	}
	return out
}

// digits makes an 18-digit principal id out of a name.
func digits(name string) string {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return fmt.Sprintf("2%017d", h%100_000_000_000_000_000)
}

// keep returns the letters and digits of s, at most n.
func keep(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < n; i++ {
		if c := s[i]; c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		}
	}
	return b.String()
}
