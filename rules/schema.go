package rules

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Schema is the JSON Schema of rule files, for editors:
//
//	# yaml-language-server: $schema=…/schema.json
//
// It is made from the document types; a test holds the published file,
// schema.json, to it.
func Schema() []byte {
	root := objectSchema(reflect.TypeFor[document]())
	props := root["properties"].(map[string]any)
	props["detector"] = map[string]any{
		"type": "object", "description": describe(reflect.TypeFor[document](), "detector"),
		"properties": map[string]any{
			"type":  map[string]any{"type": "string", "description": "Word of the detector: threshold, distinct, first_seen, sequence, …"},
			"by":    map[string]any{"type": "string", "description": "Expression: what the state belongs to."},
			"value": map[string]any{"type": "string", "description": "Expression: what is counted or remembered."},
			"steps": map[string]any{"type": "array", "items": map[string]any{
				"type": "object", "required": []string{"name", "match"},
				"properties": map[string]any{
					"name":    map[string]any{"type": "string"},
					"name_zh": map[string]any{"type": "string", "description": "The name in Chinese."},
					"match":   map[string]any{"type": "string", "description": "Expression: which events are this step."},
					"by":      map[string]any{"type": "string", "description": "Expression: the key of this step, when it differs."},
				},
			}},
		},
		"required": []string{"type"},
	}
	props["id"].(map[string]any)["pattern"] = idPattern.String()
	props["version"].(map[string]any)["minimum"] = 1
	props["attack"].(map[string]any)["items"].(map[string]any)["pattern"] = attackPattern.String()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "trailwarden rule"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic("rules: schema: " + err.Error()) // only plain maps and texts are in it
	}
	return b.Bytes()
}

func describe(t reflect.Type, key string) string {
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("yaml") == key {
			return f.Tag.Get("doc")
		}
	}
	return ""
}

func objectSchema(t reflect.Type) map[string]any {
	props := map[string]any{}
	var required []string
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		s := typeSchema(f.Type)
		if d := f.Tag.Get("doc"); d != "" {
			s["description"] = d
		}
		if e := f.Tag.Get("enum"); e != "" {
			s["enum"] = strings.Split(e, ",")
		}
		props[name] = s
		if f.Tag.Get("required") != "" {
			required = append(required, name)
		}
	}
	out := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if required != nil {
		out["required"] = required
	}
	return out
}

func typeSchema(t reflect.Type) map[string]any {
	switch t {
	case textType:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	case nodeType:
		return map[string]any{}
	case durationType:
		return map[string]any{"type": "string", "pattern": `^-?([0-9.]+d|([0-9.]+(ns|us|µs|ms|s|m|h))+)$`}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.Struct:
		return objectSchema(t)
	case reflect.Slice:
		item := typeSchema(t.Elem())
		if t.Elem().Kind() == reflect.String || t.Elem() == textType {
			// One value may stand for a list of one.
			return map[string]any{"type": []string{"array", "string"}, "items": item}
		}
		return map[string]any{"type": "array", "items": item}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	default:
		return map[string]any{"type": "integer"}
	}
}
