package config

import (
	_ "embed"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/packed"
	"github.com/trailwarden/trailwarden/responders"
)

// Key is one value that a configuration may hold.
type Key struct {
	// Path is dotted; [] stands for each entry of a list, * for each key of a
	// mapping.
	Path string
	// Type is what it wants, in words; Default what an empty file means, ""
	// for empty.
	Type, Default string
	// Doc says what it is for.
	Doc string
	// Env is the variable that sets it; 0 stands for the entry's number.
	Env string
}

// Keys lists every value in the order of the file.
func Keys() []Key {
	var out []Key
	var walk func(v reflect.Value, t reflect.Type, path, env string)
	walk = func(v reflect.Value, t reflect.Type, path, env string) {
		for i := range t.NumField() {
			f := t.Field(i)
			name := yamlKey(f)
			if inline(f) {
				fv := v
				if v.IsValid() {
					fv = v.Field(i)
				}
				walk(fv, f.Type, path, env)
				continue
			}
			if name == "" {
				continue
			}
			p, e, ft := join(path, name), env+"_"+strings.ToUpper(name), f.Type
			fv := v
			if v.IsValid() {
				fv = v.Field(i)
			}
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
				if fv.IsValid() {
					fv = fv.Elem() // not valid when nil
				}
			}
			switch {
			case isLeaf(ft):
				k := Key{Path: p, Type: words(ft), Doc: f.Tag.Get("doc"), Env: EnvPrefix + e[1:]}
				if ft.Kind() == reflect.Map || ft == reflect.TypeFor[[]Route]() {
					k.Env = ""
				}
				if fv.IsValid() && !fv.IsZero() {
					k.Default = fmt.Sprint(fv.Interface())
				}
				out = append(out, k)
			case ft.Kind() == reflect.Struct:
				walk(fv, ft, p, e)
			case ft.Kind() == reflect.Slice:
				walk(reflect.Value{}, ft.Elem(), p+"[]", e+"_0")
			}
		}
	}
	walk(reflect.ValueOf(*defaults()), reflect.TypeFor[Config](), "", "")
	return out
}

// isLeaf says that a type is written as one value or a list or mapping of them.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice:
		// A route holds routes: it is told as one value.
		return t.Elem().Kind() != reflect.Struct || t == reflect.TypeFor[[]Route]()
	}
	return true
}

func words(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[responders.Duration]():
		return "duration"
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[Route]():
		return "routes"
	case reflect.TypeFor[alert.Severity]():
		return "severity"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "number"
	case reflect.Float64:
		return "fraction"
	case reflect.Slice:
		return "list of " + words(t.Elem())
	case reflect.Map:
		return "mapping to " + words(t.Elem())
	}
	return "text"
}

// schema is schema.json, packed: `go test ./cmd/internal/config -run
// TestSchemaIsWritten -update` makes both anew.
//
//go:embed schema.tar.zst
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of the configuration, with every
// key's description. A test makes it from the types that the file is read into.
func Schema() ([]byte, error) {
	files, err := packed.Files(schema)
	return files["schema.json"], err
}

// Value is one value in force and where it comes from.
type Value struct {
	Path, Value, Origin string
}

// Default is the origin of what nobody set.
const Default = "default"

// Resolve is Load that also says where each value comes from, in the order of
// the file. Secrets are masked.
func Resolve(path string, environ []string) ([]Value, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	c, p, err := parse(path, data, environ)
	if err != nil {
		return nil, err
	}
	var out []Value
	p.each(c, func(at string, v reflect.Value, n *yaml.Node) {
		origin := p.origin(n)
		if origin == Default && v.IsZero() {
			return // empty, and nobody said so
		}
		out = append(out, Value{at, oneLine(v.Interface()), origin})
	})
	return out, nil
}

// each calls yield for every value of c with its path and, where it was written,
// its node.
func (p *parser) each(c *Config, yield func(at string, v reflect.Value, n *yaml.Node)) {
	var walk func(v reflect.Value, n *yaml.Node, path string)
	walk = func(v reflect.Value, n *yaml.Node, path string) {
		t := v.Type()
		for i := range t.NumField() {
			name := yamlKey(t.Field(i))
			if inline(t.Field(i)) {
				walk(v.Field(i), n, path)
				continue
			}
			if name == "" {
				continue
			}
			fv, at, child := v.Field(i), join(path, name), existing(n, name)
			if fv.Kind() == reflect.Pointer && !fv.IsNil() {
				fv = fv.Elem()
			}
			if fv.Kind() == reflect.Pointer && fv.Type().Elem().Kind() == reflect.Struct {
				continue // nobody wrote it
			}
			ft := fv.Type()
			switch {
			case ft.Kind() == reflect.Struct && !isLeaf(ft):
				walk(fv, child, at)
			case ft.Kind() == reflect.Slice && !isLeaf(ft):
				for j := range fv.Len() {
					var entry *yaml.Node
					if child != nil && child.Kind == yaml.SequenceNode && j < len(child.Content) {
						entry = child.Content[j]
					}
					walk(fv.Index(j), entry, at+"["+strconv.Itoa(j)+"]")
				}
			default:
				yield(at, fv, child)
			}
		}
	}
	walk(reflect.ValueOf(*c), p.root, "")
}

// oneLine writes a value as YAML on one line.
func oneLine(v any) string {
	b, err := yaml.Dump(v, yaml.WithFlowSimpleCollections(true))
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(strings.TrimSpace(string(b))), " ")
}

func existing(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// origin says where the value of n was written.
func (p *parser) origin(n *yaml.Node) string {
	if n == nil {
		return Default
	}
	if env := p.fromEnv[n]; env != "" {
		return "environment " + env
	}
	if n.Line == 0 {
		return Default
	}
	where := fmt.Sprintf("%s:%d", p.file, n.Line)
	if ref := p.refs[n]; ref != "" {
		where += " by " + ref
	}
	return where
}
