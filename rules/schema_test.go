package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write golden files and the published schema")

func TestSchemaIsPublished(t *testing.T) {
	want := Schema()
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("schema.json is not what the document types say: run go test ./rules -run TestSchemaIsPublished -update")
	}
}

// The schema accepts what the loader accepts, so that an editor shows no
// fault in a good rule, and refuses unknown keys.
func TestSchemaAcceptsThePack(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rule.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("rule.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(data []byte) error {
		var n yaml.Node
		if err := yaml.Unmarshal(data, &n); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(plainValue(n.Content[0]))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	files, err := os.ReadDir("pack")
	if err != nil || len(files) == 0 {
		t.Fatal("no pack", err)
	}
	for _, f := range files {
		data, err := os.ReadFile("pack/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(data); err != nil {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	good := string(rule1)
	if err := validate([]byte(good)); err != nil {
		t.Error(err)
	}
	if err := validate([]byte(strings.Replace(good, "severity:", "severty:", 1))); err == nil {
		t.Error("an unknown key passes the schema")
	}
}
