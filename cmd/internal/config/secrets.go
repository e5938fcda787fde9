package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

// What must not be shown of the file is known by type: wherever Config has a
// Secret, nothing of the value is, however it is written. Names only help
// where there is no type: with keys that are unknown, and in a file that is
// not YAML.

var secretType = reflect.TypeFor[Secret]()

// secretValue is the part of a line before what looks like a secret.
var secretValue = regexp.MustCompile(`(?i)(secret|token|webhook|password|routing_key|url)\w*["']?\s*:\s*`)

// firstKey is the key that a line begins with, behind what makes lists and
// mappings.
var firstKey = regexp.MustCompile(`^[\s?{\["'-]*(\w+)["']?\s*:`)

// source is what may be shown of a line of the file.
func (p *parser) source(line int) string {
	if line < 1 || line > len(p.lines) {
		return ""
	}
	l := strings.TrimRight(p.lines[line-1], "\r")
	if p.cut == nil {
		// Not YAML, so it is not known what is whose value: keys only.
		m := firstKey.FindStringSubmatchIndex(l)
		switch {
		case m == nil || !slices.Contains(allKeys(), l[m[2]:m[3]]):
			return ""
		case strings.TrimSpace(l[m[1]:]) != "":
			l = l[:m[1]] + " " + masked
		}
		return l
	}
	if n, ok := p.cut[line]; ok {
		l = string([]rune(l)[:min(n, utf8.RuneCountInString(l))]) + masked
	}
	if m := secretValue.FindStringIndex(l); m != nil {
		l = l[:m[1]] + masked
	}
	return l
}

// conceal notes in p.cut what of the file must not be shown.
func (p *parser) conceal(root *yaml.Node) {
	p.cut = map[int]int{}
	c := concealer{parser: p, behind: map[*yaml.Node]int{}, seen: map[typedNode]bool{}}
	c.number(root)
	c.walk(root, reflect.TypeFor[Config]())
}

// concealer hides values that are secret, or stand where a secret should.
type concealer struct {
	*parser
	order  []*yaml.Node       // as they are written
	behind map[*yaml.Node]int // the place in order of what follows a node and all in it
	seen   map[typedNode]bool
}

// typedNode is a node as a value of a type: an alias may make it two.
type typedNode struct {
	n *yaml.Node
	t reflect.Type
}

func (c *concealer) number(n *yaml.Node) {
	c.order = append(c.order, n)
	for _, m := range n.Content {
		c.number(m)
	}
	c.behind[n] = len(c.order)
}

// hideFrom leaves of a line what is before a column.
func (c *concealer) hideFrom(line, column int) {
	if old, ok := c.cut[line]; !ok || column < old {
		c.cut[line] = column
	}
}

// hide hides a value. Where it ends is not said: before whatever is written next.
func (c *concealer) hide(n *yaml.Node) {
	if n.Line < 1 {
		return
	}
	c.hideFrom(n.Line, n.Column-1)
	end := &yaml.Node{Line: len(c.lines) + 1, Column: 1}
	if i := c.behind[n]; i < len(c.order) {
		end = c.order[i]
	}
	for line := n.Line + 1; line < end.Line; line++ {
		c.hideFrom(line, 0)
	}
	if end.Line > n.Line && end.Line <= len(c.lines) {
		r := []rune(c.lines[end.Line-1])
		if before := r[:min(end.Column-1, len(r))]; strings.Trim(string(before), " \t-?{[") != "" {
			c.hideFrom(end.Line, 0) // the value's end stands before it
		}
	}
}

// walk hides what is secret in a value of a type.
func (c *concealer) walk(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if c.seen[typedNode{n, t}] {
		return
	}
	c.seen[typedNode{n, t}] = true
	switch {
	case t == secretType:
		c.hide(n)
		if n.Kind == yaml.AliasNode {
			c.hide(n.Alias)
		}
	case n.Kind == yaml.AliasNode:
		c.walk(n.Alias, t)
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, m := range n.Content {
			c.walk(m, t.Elem())
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 1; i < len(n.Content); i += 2 {
			c.walk(n.Content[i], t.Elem())
		}
	case n.Kind == yaml.MappingNode && (t.Kind() == reflect.Struct || !holdsSecret(t)):
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i].Value, n.Content[i+1]
			ft, own := fields(t)
			switch {
			case ft[k] != nil:
				c.walk(v, ft[k])
			case k == "<<" && v.Kind == yaml.SequenceNode:
				for _, m := range v.Content {
					c.walk(m, t)
				}
			case k == "<<":
				c.walk(v, t)
			case own || secretKey(k):
				c.walk(v, secretType) // a secret's key misspelt, or elsewhere
			default:
				c.walk(v, reflect.TypeFor[any]())
			}
		}
	case holdsSecret(t) && n.ShortTag() != "!!null":
		c.hide(n) // such as a token where the mapping with the token should be
	case n.Kind == yaml.SequenceNode:
		for _, m := range n.Content {
			c.walk(m, reflect.TypeFor[any]())
		}
	}
}

// fields are the types of a struct's keys, and whether one is a Secret.
func fields(t reflect.Type) (types map[string]reflect.Type, secret bool) {
	types = map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return types, false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if inline(f) {
			more, s := fields(f.Type)
			for k, ft := range more {
				types[k] = ft
			}
			secret = secret || s
		} else if k := yamlKey(f); k != "" {
			types[k] = f.Type
			secret = secret || f.Type == secretType
		}
	}
	return types, secret
}

// eachSecret calls f with the key of every Secret in t and below.
func eachSecret(t reflect.Type, f func(key string)) {
	seen := map[reflect.Type]bool{}
	var walk func(key string, t reflect.Type)
	walk = func(key string, t reflect.Type) {
		switch {
		case t == secretType:
			f(key)
		case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map:
			walk(key, t.Elem())
		case t.Kind() == reflect.Struct && !seen[t]:
			seen[t] = true
			ft, _ := fields(t)
			for k, x := range ft {
				walk(k, x)
			}
		}
	}
	walk("", t)
}

func holdsSecret(t reflect.Type) (yes bool) {
	eachSecret(t, func(string) { yes = true })
	return yes
}

// secretKey says that a key is called like one of a Secret.
func secretKey(key string) (yes bool) {
	eachSecret(reflect.TypeFor[Config](), func(k string) { yes = yes || strings.EqualFold(k, key) })
	return yes || secretValue.MatchString(key+":")
}

// Secrets are the values of a configuration that must not be shown.
func Secrets(c *Config) (out []string) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		if v.Type() == secretType {
			if v.Len() > 0 {
				out = append(out, v.Interface().(Secret).Reveal())
			}
			return
		}
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(v.MapIndex(k))
			}
		}
	}
	walk(reflect.ValueOf(c))
	return out
}

// Written names the secrets that stand in the file itself, and so in every copy and
// backup of it, each with its place. Addresses are left out: most of them are none.
func (c *Config) Written() []string { return c.written }

// writtenSecrets is what Written returns.
func (p *parser) writtenSecrets(c *Config) (out []string) {
	p.each(c, func(at string, v reflect.Value, n *yaml.Node) {
		if v.Type() != secretType || v.Len() == 0 || n == nil || !p.written(n) || strings.HasSuffix(at, "url") || strings.HasSuffix(at, ".endpoint") {
			return
		}
		out = append(out, p.origin(n)+": "+at)
	})
	return out
}
