package console

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/trailwarden/trailwarden/responders"
)

// The file that is served knows every route, and every answer is as it promises.
func TestOpenAPI(t *testing.T) {
	want, err := makeOpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	known := map[string]bool{}
	for _, rt := range apiRoutes {
		known[rt.Pattern] = true
	}
	for _, p := range w.server.pattern {
		if !known[p] && !pagesOnly[p] {
			t.Errorf("%s is in no OpenAPI file", p)
		}
		delete(known, p)
	}
	for p := range known {
		t.Errorf("%s is promised and not served", p)
	}

	b := w.as("carol")
	if a := b.get("/openapi.json", ""); a.body != string(want) {
		t.Error("another file is served")
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	check := func(what, name, body string) {
		t.Helper()
		s, err := c.Compile("openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := validator.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v: %s", what, err, body)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range 3 {
		w.event(call("E00"+string(rune('0'+i)), "CreateAccessKey", "user-1", aliceKey, "203.0.113.7", t0))
	}
	w.raise(sample(1, t0))
	id := sample(1, t0).ID
	d := w.propose(id, "playbook", aliceKey, time.Hour)
	w.propose(id, "playbook", "LTAI5tEXAMPLEsecond0001", time.Hour)
	post := func(path string, kv ...string) string {
		f := url.Values{"csrf": {b.csrf()}}
		for i := 0; i+1 < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		a := b.post(path, f, "Accept", "application/json")
		if a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
		return a.body
	}
	check("triage", "Triage", post("/alerts/"+id+"/triage", "do", "note", "note", "hello"))
	check("try", "Trial", post("/rules/try", "condition", "CreateAccessKey"))
	check("approve", "ActionDetail", post("/actions/"+d.ID+"/approve", "hash", d.Hash))
	w.await("the outcome", func() bool {
		x, _ := w.machine.Show(t.Context(), d.ID)
		return x.State == responders.Done && x.Undoable
	})
	check("undo", "ActionDetail", post("/actions/"+d.ID+"/undo"))
	for path, name := range map[string]string{"/": "NowFacts", "/strip": "Status", "/alerts/" + id: "AlertFacts", "/entities/key?id=" + aliceKey: "EntityFacts", "/entities/ip?id=198.51.100.1": "EntityFacts", "/rules": "RulesFacts",
		"/rules/ak.created": "RuleFacts", "/actions": "ActionsFacts", "/actions/" + d.ID: "ActionDetail", "/session": "SessionFacts", "/alerts/nosuch": "failure"} {
		check(path, name, b.get(path, "application/json").body)
	}
}
