package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/rules"
)

// EnvPrefix begins the name of every environment variable that overrides a
// value: TRAILWARDEN_DETECT_GRACE sets detect.grace.
const EnvPrefix = "TRAILWARDEN_"

// maxFile bounds the configuration file and every file it refers to.
const maxFile = 1 << 20

// Fault is one thing wrong with a configuration, with its place.
type Fault struct {
	File         string
	Line, Column int // 1-based; 0 when there is no place
	Field        string
	Message      string
	line         string // the source line, for the caret
}

func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	if f.line != "" {
		pad := strings.Map(func(r rune) rune {
			if r == '\t' {
				return r
			}
			return ' '
		}, f.line[:min(max(f.Column-1, 0), len(f.line))])
		fmt.Fprintf(&b, "\n  %s\n  %s^", f.line, pad)
	}
	return b.String()
}

// Load reads path, resolves references, lays the environment over it, fills
// in defaults and validates. The error joins every Fault found; nothing of a
// faulty configuration is returned. Secrets never appear in it.
func Load(path string, environ []string) (*Config, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, data, environ)
}

// stateLine is where a configuration names its state folder.
var stateLine = regexp.MustCompile(`(?m)^state_dir:.*`)

// StateDir is what Load says of state_dir, also where the rest cannot be used: who
// asks a running program has not its secrets in the environment, and wants to know
// why a changed configuration is refused. The error is that of Load.
func StateDir(path string, environ []string) (string, error) {
	c, err := Load(path, environ)
	if err == nil {
		return c.StateDir, nil
	}
	data, _ := readBounded(path) // the error of Load says so
	if line := stateLine.Find(data); line != nil {
		if c, only := Parse(path, line, environ); only == nil {
			return c.StateDir, nil
		}
	}
	return "", err
}

// unreadable says that there is no configuration to read, and how to come to one.
func unreadable(path string, err error) Fault {
	if errors.Is(err, fs.ErrNotExist) {
		return Fault{File: path, Message: "there is no such file: trailwarden init writes a configuration, --config or TRAILWARDEN_CONFIG names one, and trailwarden demo needs none"}
	}
	return Fault{File: path, Message: "cannot read the configuration: " + plain(err)}
}

// Parse is Load on bytes already read; path is used in messages and as the
// base of relative paths.
func Parse(path string, data []byte, environ []string) (*Config, error) {
	c, _, err := parse(path, data, environ)
	return c, err
}

func parse(path string, data []byte, environ []string) (*Config, *parser, error) {
	p := newParser(path, data, environ)
	root, err := p.tree(data)
	if err != nil {
		return nil, nil, p.yamlFaults(err)
	}
	if root.Kind != yaml.MappingNode {
		return nil, nil, p.fault(root, "", "the configuration must be a mapping of keys to values")
	}
	p.resolve(root, "")
	p.overlay(root)
	if len(p.faults) > 0 {
		return nil, nil, p.err()
	}
	c := defaults()
	if err := root.Load(c, yaml.WithKnownFields()); err != nil {
		return nil, nil, p.yamlFaults(err)
	}
	p.root = root
	p.paths(c)
	p.validate(c)
	if len(p.faults) > 0 {
		return nil, nil, p.err()
	}
	c.written = p.writtenSecrets(c)
	return c, p, nil
}

func newParser(path string, data []byte, environ []string) *parser {
	return &parser{file: path, lines: strings.Split(string(data), "\n"), env: envMap(environ), fromEnv: map[*yaml.Node]string{}, refs: map[*yaml.Node]string{}}
}

// tree reads the file as it is written, and notes what of it may be shown.
func (p *parser) tree(data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if !blank(p.lines) {
		if err := yaml.Load(data, &doc); err != nil {
			return nil, err
		}
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
		root = root.Content[0]
	}
	if root.Kind == 0 || root.ShortTag() == "!!null" {
		*root = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	p.conceal(root)
	return root, nil
}

type parser struct {
	file  string
	lines []string
	// cut is, by line, after how many characters what must not be shown
	// begins; nil while it is not known what stands where.
	cut    map[int]int
	env    map[string]string
	root   *yaml.Node
	faults []Fault
	// fromEnv and refs say which variable set a node, and by which reference
	// its text came.
	fromEnv, refs map[*yaml.Node]string
	// vars are the variables that set something; what the i-th set is on line
	// -i-1, so that the decoder's errors tell it too.
	vars []string
}

func (p *parser) fault(n *yaml.Node, field, format string, args ...any) Fault {
	f := Fault{File: p.file, Field: field, Message: fmt.Sprintf(format, args...)}
	if k := p.variable(n); k != "" {
		f.File, f.Field = environment, k
	} else if n != nil && n.Line > 0 {
		f.Line, f.Column = n.Line, n.Column
		f.line = p.source(n.Line)
	}
	return f
}

// environment stands where a fault of the file has the file's name.
const environment = "environment"

// variable is the one that set n; "" where the file did.
func (p *parser) variable(n *yaml.Node) string {
	if n == nil || n.Line >= 0 {
		return ""
	}
	return p.vars[-n.Line-1]
}

func (p *parser) err() error {
	sort.SliceStable(p.faults, func(i, j int) bool {
		a, b := p.faults[i], p.faults[j]
		return cmp.Or(a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Message, b.Message)) < 0
	})
	errs := make([]error, len(p.faults))
	for i, f := range p.faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

var (
	unknownField = regexp.MustCompile(`^field (\S+) not found in type (\S+)`)
	wrongType    = regexp.MustCompile(`^cannot construct (\S+) (?:.* )?into (\S+)`)
)

// yamlFaults turns the decoder's errors into faults that say what to do.
func (p *parser) yamlFaults(err error) error {
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			p.yamlFault(e)
		}
	case errors.As(err, &one):
		p.yamlFault(one)
	default:
		p.faults = append(p.faults, Fault{File: p.file, Message: err.Error()})
	}
	return p.err()
}

func (p *parser) yamlFault(e *yaml.LoadError) {
	f := Fault{File: p.file, Line: e.Mark.Line, Column: e.Mark.Column, Message: e.Message, line: p.source(e.Mark.Line)}
	if k := p.variable(&yaml.Node{Line: e.Mark.Line}); k != "" {
		f = Fault{File: environment, Field: k, Message: e.Message}
	}
	if m := unknownField.FindStringSubmatch(e.Message); m != nil {
		f.Message = fmt.Sprintf("unknown key %q", m[1])
		if keys := allKeys(); slices.Contains(keys, m[1]) {
			f.Message += " here; it belongs elsewhere: see trailwarden config schema"
		} else if hint := rules.DidYouMean(m[1], keys); hint != "" {
			f.Message += "; " + hint
		}
	} else if m := wrongType.FindStringSubmatch(e.Message); m != nil {
		// The decoder quotes the value, which may be a secret: say only the types.
		kind, known := strings.CutPrefix(m[1], "!!")
		if !known {
			kind = "a tag of its own"
		}
		f.Message = fmt.Sprintf("wrong kind of value (%s), want %s", kind, typeWord(m[2]))
	} else if strings.HasPrefix(e.Message, "cannot construct") {
		f.Message = "a value is not of the kind that its tag says"
	} else if strings.HasPrefix(e.Message, "unknown anchor") {
		f.Message = "no such anchor; a value that begins with * must be quoted"
	} else if _, secret := p.cut[e.Mark.Line]; secret {
		f.Message = "cannot be read; more is not said, since a secret stands on this line"
	}
	p.faults = append(p.faults, f)
}

func typeWord(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasSuffix(goType, ".Secret"):
		return "text"
	case strings.HasPrefix(goType, "map"), strings.Contains(goType, "config."), strings.Contains(goType, "responders."), strings.HasSuffix(goType, ".Spec"):
		if strings.HasSuffix(goType, "Duration") {
			return `a duration such as "90s", "15m" or "7d"`
		}
		return "a mapping"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case strings.HasPrefix(goType, "bool"):
		return "true or false"
	}
	return "text"
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// resolve replaces ${ENV} and ${file:path} in scalar values below n.
func (p *parser) resolve(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.resolve(n.Content[i+1], join(path, n.Content[i].Value))
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			p.resolve(c, path+"["+strconv.Itoa(i)+"]")
		}
	case yaml.ScalarNode:
		if !strings.Contains(n.Value, "${") {
			return
		}
		plainStyle := n.Style == 0
		n.Value = reference.ReplaceAllStringFunc(n.Value, func(m string) string {
			name := m[2 : len(m)-1]
			p.refs[n] = m
			if file, ok := strings.CutPrefix(name, "file:"); ok {
				if !filepath.IsAbs(file) {
					file = filepath.Join(filepath.Dir(p.file), file)
				}
				b, err := readBounded(file)
				if err != nil {
					p.faults = append(p.faults, p.fault(n, path, "cannot read the file it refers to: %s", plain(err)))
				}
				return strings.TrimRight(string(b), "\r\n")
			}
			v, ok := p.env[name]
			if !ok {
				p.faults = append(p.faults, p.fault(n, path, "the environment variable %s is not set; set it or write the value by ${file:…}", name))
			}
			return v
		})
		if plainStyle {
			n.Tag = "" // let the resolved text decide whether it is a number
		}
	}
}

// overlay sets the values given as TRAILWARDEN_<PATH>. Lists of plain values
// are comma-separated; lists of mappings take an index (…_SLACK_0_CHANNEL).
func (p *parser) overlay(root *yaml.Node) {
	keys := make([]string, 0, len(p.env))
	for k := range p.env {
		if strings.HasPrefix(k, EnvPrefix) && !reserved[k] && !strings.HasPrefix(k, EnvPrefix+"TEST_") {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		n, err := set(root, reflect.TypeFor[Config](), strings.TrimPrefix(k, EnvPrefix), p.env[k])
		if err == nil {
			p.fromEnv[n] = k
			p.vars = append(p.vars, k)
			n.Line = -len(p.vars)
			for _, c := range n.Content {
				c.Line = n.Line
			}
		} else {
			p.faults = append(p.faults, Fault{File: environment, Field: k, Message: err.Error()})
		}
	}
}

// reserved variables steer the program or its tests and set no value; so do
// those that begin with TRAILWARDEN_TEST_.
var reserved = map[string]bool{
	"TRAILWARDEN_CONFIG":       true,
	"TRAILWARDEN_SAMPLES":      true,
	"TRAILWARDEN_LONG":         true,
	"TRAILWARDEN_BROWSER":      true,
	"TRAILWARDEN_SCREENSHOTS":  true,
	"TRAILWARDEN_OIDC_CHILD":   true,
	"TRAILWARDEN_KILLS":        true,
	"TRAILWARDEN_SOAK":         true,
	"TRAILWARDEN_PERF":         true,
	"TRAILWARDEN_REF":          true,
	"TRAILWARDEN_BENCH_EVENTS": true,
}

var errNoValue = fmt.Errorf("sets no known value; the names follow the keys of the file, such as %sDETECT_GRACE", EnvPrefix)

// set writes value at the path spelled by rest (upper case, parts joined by
// "_") below n, whose Go type is t.
func set(n *yaml.Node, t reflect.Type, rest, value string) (*yaml.Node, error) {
	switch {
	case t.Kind() == reflect.Pointer:
		return set(n, t.Elem(), rest, value)
	case t.Kind() == reflect.Struct:
		if n.Kind != yaml.MappingNode {
			*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		for i := range t.NumField() {
			key := yamlKey(t.Field(i))
			if inline(t.Field(i)) {
				if at, err := set(n, t.Field(i).Type, rest, value); !errors.Is(err, errNoValue) {
					return at, err
				}
				continue
			}
			if key == "" {
				continue
			}
			up := strings.ToUpper(key)
			if rest == up || strings.HasPrefix(rest, up+"_") {
				child := mapChild(n, key)
				return set(child, t.Field(i).Type, strings.TrimPrefix(strings.TrimPrefix(rest, up), "_"), value)
			}
		}
		return nil, errNoValue
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		idx, tail, _ := strings.Cut(rest, "_")
		i, err := strconv.Atoi(idx)
		if err != nil || i < 0 || i > 63 {
			return nil, errors.New("a list needs an index, such as …_SLACK_0_CHANNEL")
		}
		if n.Kind != yaml.SequenceNode {
			*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for len(n.Content) <= i {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
		}
		return set(n.Content[i], t.Elem(), tail, value)
	case rest != "":
		return nil, errors.New("goes deeper than the value it names")
	case t.Kind() == reflect.Slice:
		*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, v := range strings.Split(value, ",") {
			if v = strings.TrimSpace(v); v != "" {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: v})
			}
		}
	case t.Kind() == reflect.Map:
		return nil, errors.New("a mapping cannot be set from the environment; write it in the file")
	default:
		*n = yaml.Node{Kind: yaml.ScalarNode, Value: value}
		if t.Kind() == reflect.String {
			n.Tag = "!!str"
		}
	}
	return n, nil
}

func mapChild(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	child := &yaml.Node{}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, child)
	return child
}

// inline says that the fields of f stand beside it in the file.
func inline(f reflect.StructField) bool { return f.Tag.Get("yaml") == ",inline" }

func yamlKey(f reflect.StructField) string {
	k, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if k == "-" || !f.IsExported() {
		return ""
	}
	return k
}

// allKeys lists every key of the configuration, for suggestions.
var allKeys = sync.OnceValue(func() []string {
	seen := map[string]bool{}
	types := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || types[t] {
			return
		}
		types[t] = true
		for i := range t.NumField() {
			if k := yamlKey(t.Field(i)); k != "" || inline(t.Field(i)) {
				seen[k] = true
				walk(t.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	delete(seen, "") // of what stands inline
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
})

// blank says whether there is nothing but comments.
func blank(lines []string) bool {
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			return false
		}
	}
	return true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func envMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}

func readBounded(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return os.ReadFile(path)
}

// plain drops the operation and path that os errors repeat.
func plain(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}
