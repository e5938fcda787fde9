package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// The file that is served is the one that the types make.
func TestOpenAPIIsWritten(t *testing.T) {
	const file = "templates/openapi.json"
	want, err := makeOpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what the types say (%v): go test -run 'TestOpenAPIIsWritten|TestTemplatesArePacked' -update in this folder", file, err)
	}
}

// param is a query parameter.
type param struct{ Name, About string }

// route is one entry of the OpenAPI file. Facts is what a success answers.
type route struct {
	Pattern string
	About   string
	Query   []param
	Body    []param // all strings
	Facts   any
	Type    string // of an answer that is not JSON
}

var pageParam = param{"page", "from 1"}

var apiRoutes = []route{
	{Pattern: "GET /{$}", About: "Alerts, newest last event first, and how well we see.", Query: []param{{"severity", "at least info, low, medium, high or critical"}, {"state", "open, acknowledged, closed or all; without it what is not closed"},
		{"owner", "exactly"}, {"rule", "exactly"}, {"account", "exactly"}, {"q", "in title, reason, names, keys, addresses, rule and id"}, pageParam}, Facts: NowFacts{}},
	{Pattern: "GET /strip", About: "How well we see.", Facts: admin.Status{}},
	{Pattern: "GET /alerts/{id}", About: "One alert with its evidence, actions and triage; the id or its beginning.", Facts: AlertFacts{}},
	{Pattern: "POST /alerts/{id}/triage", About: "Say what was made of an alert. Role analyst.", Body: []param{{"do", "acknowledge, assign, close, reopen or note"}, {"owner", "for assign"}, {"verdict", "for close: true_positive, false_positive or benign"}, {"note", "what to remember"}}, Facts: responders.Triage{}},
	{Pattern: "POST /alerts/{id}/ask", About: "Have a person asked whether it was them. Role analyst.", Body: []param{{"person", "slack:U…; empty asks the owner as respond.ask.owners says"}}, Facts: responders.Question{}},
	{Pattern: "POST /alerts/{id}/answer", About: "Write down what a person said who was asked. Role analyst.", Body: []param{{"question", "its id"}, {"answer", "yes or no"}}, Facts: responders.Question{}},
	{Pattern: "POST /alerts/{id}/request", About: "Ask for one of the offers of an alert; somebody else has to approve it. Role analyst.", Body: []param{{"action", "id of the offer"}}, Facts: responders.ActionDetail{}},
	{Pattern: "GET /entities/{kind}", About: "What one identity, key or address did; kind is actor, key or ip.", Query: []param{{"id", "which; needed"}, {"from", "RFC 3339 or seconds since 1970"}, {"to", "the same"}, pageParam}, Facts: EntityFacts{}},
	{Pattern: "GET /rules", About: "Every rule with what it did and what it takes.", Query: []param{{"q", "of the page: in id or title"}, {"sort", "of the page: id or time"}}, Facts: RulesFacts{}},
	{Pattern: "GET /rules/{id}", About: "One rule with what it did.", Facts: RuleFacts{}},
	{Pattern: "POST /rules/try", About: "Evaluate a condition on the newest events. Role analyst.", Body: []param{{"condition", "as in a rule's match"}}, Facts: Trial{}},
	{Pattern: "GET /actions", About: "Actions that wait for a person, the log, and replays with their progress.", Query: []param{pageParam}, Facts: ActionsFacts{}},
	{Pattern: "GET /actions/{id}", About: "One action with its history.", Facts: responders.ActionDetail{}},
	{Pattern: "POST /actions/{id}/approve", About: "Approve exactly the action with this hash. Role approver; the action machine decides.", Body: []param{{"hash", "of the action as it was shown"}}, Facts: responders.ActionDetail{}},
	{Pattern: "POST /actions/{id}/deny", About: "Say no. Role approver.", Body: []param{{"reason", "for the record"}}, Facts: responders.ActionDetail{}},
	{Pattern: "POST /actions/{id}/undo", About: "Restore the state before. Role approver.", Facts: responders.ActionDetail{}},
	{Pattern: "GET /session", About: "Who asks, and the token for the header X-CSRF-Token.", Facts: SessionFacts{}},
	{Pattern: "GET /live", About: "Server-sent events: alerts, actions and replays, each saying only that something changed. Their ids resume.", Query: []param{{"since", "an id; Last-Event-ID comes first"}}, Type: "text/event-stream"},
	{Pattern: "GET /openapi.json", About: "This file.", Type: "application/json"},
}

// pagesOnly are routes for browsers.
var pagesOnly = map[string]bool{"GET /login": true, "GET /login/callback": true, "POST /logout": true, "GET /assets/{name}": true, "GET /favicon.ico": true}

// makeOpenAPI makes the description of the JSON forms from the types that the
// handlers answer with, so that it cannot say anything else.
func makeOpenAPI() ([]byte, error) {
	names := map[reflect.Type]string{reflect.TypeFor[index.Alert](): "AlertLine", reflect.TypeFor[Evidence](): "AlertEvidence"}
	r := &jsonschema.Reflector{AllowAdditionalProperties: false, Namer: func(t reflect.Type) string { return names[t] }, Mapper: func(t reflect.Type) *jsonschema.Schema {
		switch t {
		case reflect.TypeFor[alert.Severity]():
			var words []any
			for _, s := range alert.Severities() {
				words = append(words, s)
			}
			return &jsonschema.Schema{Type: "string", Enum: words}
		case reflect.TypeFor[Role]():
			return &jsonschema.Schema{Type: "string", Enum: []any{"nobody", "viewer", "analyst", "approver"}}
		case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[map[string]any]():
			return &jsonschema.Schema{}
		case reflect.TypeFor[responders.Duration]():
			return &jsonschema.Schema{Type: "string"}
		case reflect.TypeFor[time.Time]():
			return &jsonschema.Schema{Type: "string", Format: "date-time"}
		}
		return nil
	}}
	schemas := map[string]any{}
	var fault error
	put := func(v any) string {
		b, err := json.Marshal(r.Reflect(v))
		var doc map[string]any
		if err == nil {
			err = json.Unmarshal(bytes.ReplaceAll(b, []byte("#/$defs/"), []byte("#/components/schemas/")), &doc)
		}
		if err != nil {
			fault = err
			return ""
		}
		for name, d := range doc["$defs"].(map[string]any) {
			if old, ok := schemas[name]; ok && !reflect.DeepEqual(old, d) {
				fault = fmt.Errorf("openapi: two types are called %s", name)
			}
			schemas[name] = d
		}
		return reflect.TypeOf(v).Name()
	}
	put(failure{})
	paths := map[string]any{}
	for _, rt := range apiRoutes {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		path = strings.TrimSuffix(path, "{$}")
		op := map[string]any{"summary": rt.About}
		var params []any
		for part := range strings.SplitSeq(path, "/") {
			if strings.HasPrefix(part, "{") {
				params = append(params, map[string]any{"name": strings.Trim(part, "{}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
		}
		for _, p := range rt.Query {
			params = append(params, map[string]any{"name": p.Name, "in": "query", "description": p.About, "schema": map[string]any{"type": "string"}})
		}
		if params != nil {
			op["parameters"] = params
		}
		if method == "POST" {
			props := map[string]any{}
			for _, p := range rt.Body {
				props[p.Name] = map[string]any{"type": "string", "description": p.About}
			}
			schema := map[string]any{"schema": map[string]any{"type": "object", "properties": props}}
			op["requestBody"] = map[string]any{"content": map[string]any{"application/json": schema, "application/x-www-form-urlencoded": schema}}
			op["security"] = []any{map[string]any{"session": []any{}, "csrf": []any{}}}
		}
		content := map[string]any{}
		if rt.Type != "" {
			content[rt.Type] = map[string]any{}
		} else {
			content["application/json"] = map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/" + put(rt.Facts)}}
		}
		op["responses"] = map[string]any{"200": map[string]any{"description": "done", "content": content},
			"default": map[string]any{"description": "not done", "content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/failure"}}}}}
		item, _ := paths[path].(map[string]any)
		if item == nil {
			item = map[string]any{}
			paths[path] = item
		}
		item[strings.ToLower(method)] = op
	}
	doc := map[string]any{"openapi": "3.1.0", "info": map[string]any{"title": "trailwarden console", "version": "1",
		"description": "The same facts as the pages, under the same routes, with Accept: application/json. Requests that change something carry X-CSRF-Token from /session. Texts in alerts and events are as they were recorded: strangers wrote them."},
		"paths": paths, "security": []any{map[string]any{"session": []any{}}},
		"components": map[string]any{"schemas": schemas, "securitySchemes": map[string]any{"session": map[string]any{"type": "apiKey", "in": "cookie", "name": sessionCookie},
			"csrf": map[string]any{"type": "apiKey", "in": "header", "name": "X-CSRF-Token"}}}}
	b, err := json.MarshalIndent(doc, "", " ")
	return append(b, '\n'), errors.Join(fault, err)
}
