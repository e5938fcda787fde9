package rampolicy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxText is the longest document that is read, in bytes after decoding: RAM
// itself takes at most 6,144 characters.
const MaxText = 16 << 10

// Kind says what a document is attached to, which decides what its statements
// are about.
type Kind uint8

// The kinds of documents.
const (
	Identity Kind = iota // "identity": what a user, group or role may do
	Trust                // "trust": who may assume a role
	Resource             // "resource": who may use a bucket, key or project
	Control              // "control": a guard rail of the resource directory
)

var kindNames = [...]string{"identity", "trust", "resource", "control"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind reads one of the four words.
func ParseKind(word string) (Kind, error) {
	for i, n := range kindNames {
		if n == word {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("policy kind %q: want identity, trust, resource or control", word)
}

// Document is a policy in memory. It is immutable after Parse.
type Document struct {
	Version    string
	Statements []Statement
	// Notes says what in the text is not certain to mean what it was read
	// as: each is a sentence. Doubtful is set when one of them can change
	// what the document allows.
	Notes    []string
	Doubtful bool
	// Templated is set when a text holds "${": a template that is not filled
	// in, or a policy variable, of which RAM documents none. What it stands
	// for is not known, but it is the same wherever the same text stands.
	Templated bool

	length int               // of the text, in characters
	sum    [sha256.Size]byte // of the text; zero for documents not parsed from one
}

// equalText says whether two documents were read from the same text.
func (d *Document) equalText(o *Document) bool {
	return d == o || d.sum != [sha256.Size]byte{} && d.sum == o.sum
}

// tooLong notes that the cloud does not take a document of this length as what
// it is used as. The limits for trust and resource policies are not known.
func (d *Document) tooLong(k Kind) string {
	if limit := map[Kind]int{Identity: 6144, Control: 4096}[k]; limit > 0 && d.length > limit {
		return fmt.Sprintf("the document has %d characters; RAM takes at most %d", d.length, limit)
	}
	return ""
}

// KindOf says by its form what the first of documents that names a Principal
// is attached to: a role, or a bucket, key or project. A document without one
// is an identity's; a control policy looks the same.
func KindOf(docs ...*Document) Kind {
	for _, d := range docs {
		if d == nil {
			continue
		}
		for i := range d.Statements {
			switch s := &d.Statements[i]; {
			case s.AnyPrinc:
			case s.AnyResrc:
				return Trust
			default:
				return Resource
			}
		}
	}
	return Identity
}

// doubtfulAs says why a document does not fit what it is used as, or "".
func (d *Document) doubtfulAs(k Kind) string {
	for i := range d.Statements {
		switch s := &d.Statements[i]; {
		case s.AnyResrc && (k == Identity || k == Control):
			return fmt.Sprintf("statement %d has no Resource, which RAM demands here: it was read as every resource", s.Index)
		case s.AnyPrinc && (k == Trust || k == Resource):
			return fmt.Sprintf("statement %d has no Principal, which RAM demands here: it was read as everybody", s.Index)
		}
	}
	return ""
}

// Statement is one statement. Lists are as written; a single string is a list
// of one.
type Statement struct {
	Deny       bool
	Actions    []string
	NotAction  bool // Actions are the exceptions
	Resources  []string
	NotResrc   bool // Resources are the exceptions
	AnyResrc   bool // no Resource element: a trust policy
	Principals []Principal
	NotPrinc   bool // Principals are the exceptions
	AnyPrinc   bool // no Principal element: an identity policy
	Conditions []Condition
	// Index is the statement's place in its document, from 1.
	Index int

	lower []string // Actions in lower case, when they were worked out
}

// lowered returns the actions in lower case.
func (s *Statement) lowered() []string {
	if len(s.lower) == len(s.Actions) {
		return s.lower
	}
	return lowerAll(s.Actions)
}

func lowerAll(list []string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = strings.ToLower(v)
	}
	return out
}

// Principal is one entry of a Principal element.
type Principal struct {
	Kind  string // "RAM", "Service", "Federated", or "" for an entry of a plain list
	Value string
}

// Condition is one key of one operator: it holds when the request's value
// meets the operator with one of Values.
type Condition struct {
	Set      string // "", "ForAllValues" or "ForAnyValue"
	Operator string // in RAM's spelling where it is known
	Key      string // as written
	Values   []string

	nets []netip.Prefix // Values of an IP operator, read
}

// Parse reads a document of any form that RAM accepts and of some that it
// does not, where the meaning is clear: a single string for a list, bare
// numbers and truth values, any letter case in Effect, element names and
// operators. Errors are of type *ParseError.
func Parse(text string) (*Document, error) {
	if len(text) > MaxText {
		return nil, &ParseError{Msg: fmt.Sprintf("%d bytes, more than the %d that are read", len(text), MaxText)}
	}
	root, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	p := &parser{text: text, doc: &Document{length: utf8.RuneCountInString(text), sum: sha256.Sum256([]byte(text))}}
	if err := p.document(&root); err != nil {
		return nil, err
	}
	return p.doc, nil
}

// ParseEncoded is Parse for a document as events carry it: plain, as a JSON
// string inside a string, or percent-encoded; up to two of these at once.
func ParseEncoded(text string) (*Document, error) {
	if len(text) > 8*MaxText {
		return nil, &ParseError{Msg: fmt.Sprintf("%d bytes, more than the %d that are read", len(text), 8*MaxText)}
	}
	for range 2 {
		t := strings.TrimSpace(text)
		switch {
		case strings.HasPrefix(t, `"`):
			n, err := readJSON(t)
			if err != nil {
				return nil, err
			}
			text = n.text
		case strings.HasPrefix(t, "%"):
			// A plus stands for a blank in forms, and for itself elsewhere:
			// inside a policy only blanks between tokens are that common.
			plain, err := url.QueryUnescape(t)
			if err != nil {
				return nil, &ParseError{Msg: "the percent-encoding is broken: " + err.Error()}
			}
			text = plain
		default:
			return Parse(t)
		}
	}
	return Parse(strings.TrimSpace(text))
}

type parser struct {
	text string
	doc  *Document
}

func (p *parser) fail(n *node, path, format string, args ...any) error {
	line, column := place(p.text, n.at)
	return &ParseError{Line: line, Column: column, Path: path, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) doubt(format string, args ...any) {
	p.note(format, args...)
	p.doc.Doubtful = true
}

func (p *parser) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !slices.Contains(p.doc.Notes, s) {
		p.doc.Notes = append(p.doc.Notes, s)
	}
}

// duplicates marks a document whose meaning depends on which of two equal
// keys is taken. This one takes the last, as most readers do.
func (p *parser) duplicates(n *node, path string) {
	seen := map[string]bool{}
	for _, m := range n.members {
		k := strings.ToLower(m.key)
		if seen[k] {
			p.doubt("%s has %q twice: which one counts is not known", path, clip(m.key))
		}
		seen[k] = true
	}
}

func (p *parser) document(n *node) error {
	if n.kind != '{' {
		return p.fail(n, "", "a policy is a JSON object, this is %s", n.kindWord())
	}
	p.duplicates(n, "the document")
	var statements *node
	for i := range n.members {
		m := &n.members[i]
		switch strings.ToLower(m.key) {
		case "version":
			if m.val.kind != '"' && m.val.kind != '0' {
				return p.fail(&m.val, "Version", "want \"1\", this is %s", m.val.kindWord())
			}
			p.doc.Version = m.val.text
		case "statement":
			statements = &m.val
		default:
			p.note("the element %q is not known and was passed over", clip(m.key))
		}
	}
	if p.doc.Version != "1" {
		p.note("Version is %q; RAM takes only \"1\"", clip(p.doc.Version))
	}
	if statements == nil {
		return p.fail(n, "", "there is no Statement")
	}
	list := statements.items
	if statements.kind == '{' {
		list = []node{*statements}
	} else if statements.kind != '[' {
		return p.fail(statements, "Statement", "want a list of statements, this is %s", statements.kindWord())
	}
	for i := range list {
		if err := p.statement(&list[i], i+1); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) statement(n *node, index int) error {
	path := fmt.Sprintf("statement %d", index)
	if n.kind != '{' {
		return p.fail(n, path, "want an object, this is %s", n.kindWord())
	}
	p.duplicates(n, path)
	s := Statement{Index: index, AnyResrc: true, AnyPrinc: true}
	effect, actions := false, false
	for i := range n.members {
		m := &n.members[i]
		var err error
		switch strings.ToLower(m.key) {
		case "effect":
			switch {
			case m.val.kind == '"' && strings.EqualFold(m.val.text, "Allow"):
				s.Deny = false
			case m.val.kind == '"' && strings.EqualFold(m.val.text, "Deny"):
				s.Deny = true
			default:
				return p.fail(&m.val, path+", Effect", "want Allow or Deny, this is %q", clip(m.val.text))
			}
			effect = true
		case "action", "notaction":
			if actions && s.NotAction != strings.EqualFold(m.key, "notaction") {
				return p.fail(&m.val, path, "a statement has Action or NotAction, not both")
			}
			actions, s.NotAction = true, strings.EqualFold(m.key, "notaction")
			s.Actions, err = p.strings(&m.val, path+", "+m.key)
		case "resource", "notresource":
			if !s.AnyResrc && s.NotResrc != strings.EqualFold(m.key, "notresource") {
				return p.fail(&m.val, path, "a statement has Resource or NotResource, not both")
			}
			if s.NotResrc = strings.EqualFold(m.key, "notresource"); s.NotResrc {
				p.doubt("%s has NotResource, which RAM's present grammar does not: it was read as everything but the list", path)
			}
			s.AnyResrc = false
			s.Resources, err = p.strings(&m.val, path+", "+m.key)
		case "principal", "notprincipal":
			if s.NotPrinc = strings.EqualFold(m.key, "notprincipal"); s.NotPrinc {
				p.doubt("%s has NotPrincipal, which RAM's grammar does not: it was read as everybody but the list", path)
			}
			s.AnyPrinc = false
			s.Principals, err = p.principals(&m.val, path+", "+m.key)
		case "condition":
			s.Conditions, err = p.conditions(&m.val, path+", Condition")
		case "sid":
		default:
			p.note("%s: the element %q is not known and was passed over", path, clip(m.key))
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !effect:
		return p.fail(n, path, "there is no Effect")
	case !actions:
		return p.fail(n, path, "there is neither Action nor NotAction")
	}
	if s.AnyResrc && s.AnyPrinc {
		p.note("%s has no Resource, which RAM demands here: it was read as every resource", path)
	}
	if s.templated() {
		p.doc.Templated = true
		p.note("%s holds ${…}: what it stands for is not known", path)
	}
	s.lower = lowerAll(s.Actions)
	for _, a := range s.Actions {
		if strings.Count(a, ":") > 1 || strings.Trim(a, actionChars) != "" {
			p.doubt("%s has an action that has not the form of one: what it matches is not certain", path)
		}
	}
	p.doc.Statements = append(p.doc.Statements, s)
	return nil
}

// actionChars are those of the patterns of actions, and of placeholders. Whether blanks are taken off others, or a
// letter like one of these stands for it, is not known.
const actionChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:*?-_./${}"

// templated says whether a text of the statement holds "${".
func (s *Statement) templated() bool {
	has := func(v string) bool { return strings.Contains(v, "${") }
	return slices.ContainsFunc(s.Actions, has) || slices.ContainsFunc(s.Resources, has) ||
		slices.ContainsFunc(s.Principals, func(p Principal) bool { return has(p.Value) }) ||
		slices.ContainsFunc(s.Conditions, func(c Condition) bool { return c.templated() })
}

func (c *Condition) templated() bool {
	has := func(v string) bool { return strings.Contains(v, "${") }
	return has(c.Key) || slices.ContainsFunc(c.Values, has)
}

// scalar returns a string, number or truth value as text.
func (p *parser) scalar(n *node, path string) (string, error) {
	switch n.kind {
	case '"', '0', 't', 'f':
		return n.text, nil
	}
	return "", p.fail(n, path, "want a string, this is %s", n.kindWord())
}

// strings returns one string or a list of them.
func (p *parser) strings(n *node, path string) ([]string, error) {
	if n.kind != '[' {
		s, err := p.scalar(n, path)
		return []string{s}, err
	}
	out := make([]string, 0, len(n.items))
	for i := range n.items {
		s, err := p.scalar(&n.items[i], path)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *parser) principals(n *node, path string) ([]Principal, error) {
	if n.kind != '{' {
		list, err := p.strings(n, path)
		out := make([]Principal, len(list))
		for i, v := range list {
			out[i].Value = v
		}
		return out, err
	}
	p.duplicates(n, path)
	var out []Principal
	for i := range n.members {
		m := &n.members[i]
		kind := m.key
		for _, k := range []string{"RAM", "Service", "Federated"} {
			if strings.EqualFold(kind, k) {
				kind = k
			}
		}
		if kind != "RAM" && kind != "Service" && kind != "Federated" {
			p.doubt("%s has the kind %q, which is not known: whom it admits was not judged", path, clip(kind))
		}
		list, err := p.strings(&m.val, path+", "+clip(m.key))
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			out = append(out, Principal{Kind: kind, Value: v})
		}
	}
	return out, nil
}

// operators are all that RAM lists.
var operators = []string{
	"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
	"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals",
	"Bool", "IpAddress", "NotIpAddress",
}

func (p *parser) conditions(n *node, path string) ([]Condition, error) {
	if n.kind == 'n' {
		return nil, nil
	}
	if n.kind != '{' {
		return nil, p.fail(n, path, "want an object of operators, this is %s", n.kindWord())
	}
	p.duplicates(n, path)
	var out []Condition
	for i := range n.members {
		m := &n.members[i]
		c := Condition{Operator: m.key}
		if set, op, ok := strings.Cut(m.key, ":"); ok && (strings.EqualFold(set, "ForAllValues") || strings.EqualFold(set, "ForAnyValue")) {
			c.Operator = op
			if c.Set = "ForAnyValue"; strings.EqualFold(set, "ForAllValues") {
				c.Set = "ForAllValues"
			}
		}
		if i := slices.IndexFunc(operators, func(o string) bool { return strings.EqualFold(o, c.Operator) }); i >= 0 {
			c.Operator = operators[i]
		} else {
			p.note("%s: the operator %q is not known; both outcomes were considered", path, clip(c.Operator))
		}
		opPath := path + ", " + clip(m.key)
		if m.val.kind != '{' {
			return nil, p.fail(&m.val, opPath, "want an object of condition keys, this is %s", m.val.kindWord())
		}
		p.duplicates(&m.val, opPath)
		for j := range m.val.members {
			k := &m.val.members[j]
			values, err := p.strings(&k.val, opPath+", "+clip(k.key))
			if err != nil {
				return nil, err
			}
			c := c
			c.Key, c.Values = k.key, values
			c.prepare()
			out = append(out, c)
		}
	}
	return out, nil
}

// Merge returns one document that allows and refuses what the given ones do
// together, as policies attached to one identity do. Nil documents are left
// out.
func Merge(docs ...*Document) *Document {
	out := &Document{Version: "1"}
	for _, d := range docs {
		if d == nil {
			continue
		}
		out.Statements = append(out.Statements, d.Statements...)
		out.Doubtful, out.Templated = out.Doubtful || d.Doubtful, out.Templated || d.Templated
		for _, n := range d.Notes {
			if !slices.Contains(out.Notes, n) {
				out.Notes = append(out.Notes, n)
			}
		}
	}
	return out
}

// HasDeny says whether the document has a Deny statement that can match
// anything.
func (d *Document) HasDeny() bool {
	for i := range d.Statements {
		if s := &d.Statements[i]; s.Deny && (len(s.Actions) > 0 || s.NotAction) {
			return true
		}
	}
	return false
}
