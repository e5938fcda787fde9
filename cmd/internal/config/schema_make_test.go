package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
	"github.com/trailwarden/trailwarden/responders"
)

var update = flag.Bool("update", false, "write the schema")

// The schema that is printed is the one that the types make.
func TestSchemaIsWritten(t *testing.T) {
	want, err := makeSchema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("schema.json"); err != nil || string(got) != string(want) {
		t.Errorf("schema.json is not what the types say (%v): go test -run TestSchemaIsWritten -update in this folder", err)
	}
	packedtest.Check(t, "schema.tar.zst", "schema.json", *update)
}

// orReference is the schema of what may be written as ${ENV} or ${file:…} too.
func orReference(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: `\$\{[^}]+\}`}}}
}

// makeSchema makes the JSON Schema (draft 2020-12) of the configuration, with every
// key's description.
func makeSchema() ([]byte, error) {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			switch t {
			case reflect.TypeFor[responders.Duration]():
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d|([0-9.]+(ns|us|µs|ms|s|m|h))+|0|.*\$\{[^}]+\}.*)$`, Examples: []any{"90s", "15m", "7d"}}
			case reflect.TypeFor[Secret]():
				return &jsonschema.Schema{Type: "string", Examples: []any{"${SLACK_BOT_TOKEN}", "${file:/run/secrets/token}"}}
			case reflect.TypeFor[alert.Severity]():
				return &jsonschema.Schema{Type: "string", Enum: []any{"info", "low", "medium", "high", "critical"}}
			}
			if t == reflect.TypeFor[[]Route]() {
				return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "object"}}
			}
			switch t.Kind() {
			case reflect.Bool:
				return orReference(&jsonschema.Schema{Type: "boolean"})
			case reflect.Int, reflect.Int64:
				return orReference(&jsonschema.Schema{Type: "integer"})
			case reflect.Float64:
				return orReference(&jsonschema.Schema{Type: "number"})
			}
			return nil
		}}
	s := r.Reflect(&Config{})
	s.Title = "trailwarden configuration"
	for _, k := range Keys() {
		at := s
		for _, part := range strings.Split(k.Path, ".") {
			part, each := strings.CutSuffix(part, "[]")
			next, ok := at.Properties.Get(part)
			if !ok {
				return nil, fmt.Errorf("the schema has no %s", k.Path)
			}
			if at = next; each {
				at = at.Items
			}
		}
		at.Description = k.Doc
		if k.Default != "" && (at.Type == "string" || at.AnyOf != nil) {
			at.Default = schemaDefault(k)
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

func schemaDefault(k Key) any {
	switch k.Type {
	case "true or false":
		return k.Default == "true"
	case "number":
		if n, err := strconv.ParseInt(k.Default, 10, 64); err == nil {
			return n
		}
	}
	return k.Default
}
