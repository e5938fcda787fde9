package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Suggestion is a test that would notice a part of a condition being left
// out.
type Suggestion struct {
	Mutant
	Test string `json:"test"` // the text for the rule's tests; empty when none was found
}

// Suggest looks for a test for each part of a condition whose absence no test
// notices: it changes one or two things in a test that the rule has. A part
// without one is either of no effect or needs a story that is not a small
// change of one there is. Each found test passes on the rule as it stands, so
// it must be read before it is believed. When ctx ends it returns what it has so far.
func Suggest(ctx context.Context, set *Set, patterns ...string) []Suggestion {
	var out []Suggestion
	for _, r := range set.matching(patterns) {
		b := newBench(r)
		b.ended = ctx.Err
		for _, m := range set.mutants(r) {
			if ctx.Err() != nil {
				return out
			}
			if m.killed() || slices.ContainsFunc(b.found, func(t *testDoc) bool { return m.fails(t) }) {
				continue
			}
			s := Suggestion{Mutant: m.Mutant}
			if t := b.search(set, &m); t != nil {
				s.Test = t.text
				b.found = append(b.found, t.doc)
				b.names[t.doc.Name.value] = true
			}
			out = append(out, s)
		}
	}
	return out
}

// fails says whether a test that the rule passes fails for the mutant.
func (m *mutant) fails(t *testDoc) bool { return !m.set.runTest(m.rule, t).Pass }

// bench holds what the search for tests of one rule starts from.
type bench struct {
	rule  *rule
	bases []map[string]any // its tests as plain values
	words vocabulary       // of all its conditions
	names map[string]bool
	found []*testDoc
	tries int // left for the part in hand
	ended func() error
}

// maxTries bounds the changed tests looked at for one part.
const maxTries = 6000

type candidate struct {
	doc  *testDoc
	text string
}

func newBench(r *rule) *bench {
	b := &bench{rule: r, names: map[string]bool{}}
	data := []byte(strings.Join(r.file.lines, "\n"))
	root := newFile(r.file.path, data).parse(data)
	if tests := child(root, "tests"); tests != nil {
		for _, t := range tests.Content {
			if m, ok := plainValue(t).(map[string]any); ok {
				b.bases = append(b.bases, m)
				b.names[fmt.Sprint(m["name"])] = true
			}
		}
	}
	var nodes []ast.Node
	add := func(p *program) {
		if p == nil {
			return
		}
		if tree, err := parser.Parse(p.src); err == nil {
			nodes = append(nodes, tree.Node)
		}
	}
	add(r.match)
	for _, s := range r.steps {
		add(s.match)
	}
	b.words = wordsIn(nodes...)
	return b
}

func (b *bench) search(set *Set, m *mutant) *candidate {
	b.tries = maxTries
	part := wordsIn(m.node)
	near := part.edits(true)
	if !m.or {
		near = append(near, b.words.edits(false)...)
		near = append(near, distant()...)
		for _, n := range b.words.names {
			near = append(near, callEdit("Elsewhere:"+n))
		}
		return b.try(set, m, near)
	}
	if c := b.try(set, m, near); c != nil {
		return c
	}
	// An alternative needs its event, and what it asks of it; an event of
	// another kind first, so that no other alternative holds.
	calls := part.calls()
	for _, name := range append(calls, b.words.calls()...) {
		for _, e := range part.edits(false) {
			if c := b.try(set, m, []edit{callEdit(name).and(e)}); c != nil {
				return c
			}
		}
	}
	own := part.edits(false)
	for _, one := range near {
		for _, two := range append(own, b.words.edits(false)...) {
			if c := b.try(set, m, []edit{one.and(two)}); c != nil {
				return c
			}
		}
	}
	return nil
}

func (b *bench) try(set *Set, m *mutant, edits []edit) *candidate {
	for _, e := range edits {
		for _, base := range b.bases {
			events, _ := base["events"].([]any)
			// One event, the last first (in a story it is the one that
			// counts), then all of them.
			for i := len(events) - 1; i >= -1; i-- {
				if i == -1 && len(events) < 2 {
					break
				}
				if b.tries--; b.tries < 0 || b.ended() != nil {
					return nil
				}
				changed := deepCopy(base)
				list := changed["events"].([]any)
				for j := range list {
					if ev, ok := list[j].(map[string]any); ok && (i == -1 || i == j) && e.event != nil {
						e.event(ev)
					}
				}
				if e.test != nil {
					e.test(changed)
				}
				if c := b.judge(set, m, base, changed, e.say); c != nil {
					return c
				}
			}
		}
	}
	return nil
}

// judge makes a candidate of a changed test when rule and mutant differ on
// it.
func (b *bench) judge(set *Set, m *mutant, base, changed map[string]any, say string) *candidate {
	doc := b.read(changed)
	if doc == nil || !m.differs(doc) {
		return nil
	}
	one := set.only(b.rule, doc)
	two := m.set.only(m.rule, doc)
	var counts [2]int
	records, err := doc.records()
	if err != nil {
		return nil
	}
	for i, s := range []*Set{one, two} {
		var events []*event.Event
		for _, rec := range records {
			ev, err := event.Parse(rec)
			if err != nil {
				return nil
			}
			events = append(events, ev)
		}
		alerts, faults := s.replay(events)
		if len(faults) > 0 {
			return nil
		}
		counts[i] = len(alerts)
	}
	if m.or && (counts[0] == 0 || counts[0] <= counts[1]) || !m.or && (counts[0] != 0 || counts[1] == 0) {
		return nil
	}
	word := "but "
	if m.or {
		word = "also when "
	}
	name := fmt.Sprintf("%v, %s%s", base["name"], word, say)
	for n := 2; b.names[name]; n++ {
		name = fmt.Sprintf("%v, %s%s (%d)", base["name"], word, say, n)
	}
	changed["name"], changed["expect"] = name, map[string]any{"alerts": counts[0]}
	if doc = b.read(changed); doc == nil {
		return nil
	}
	return &candidate{doc: doc, text: printTest(changed)}
}

// differs says quickly whether the two conditions differ on an event of a
// test.
func (m *mutant) differs(t *testDoc) bool {
	once := *t
	once.Events = slices.Clone(t.Events)
	for i := range once.Events {
		once.Events[i].Repeat = min(once.Events[i].Repeat, 2) // copies are much alike
	}
	records, err := once.records()
	if err != nil {
		return false
	}
	s := newSession(m.set.with(t))
	for _, rec := range records {
		ev, err := event.Parse(rec)
		if err != nil {
			return false
		}
		if detectors.PolicyAction(ev.Action) && (m.was.policy || m.is.policy) {
			return true // depends on what came before
		}
		s.Begin(ev)
		was, err1 := s.holds(m.was)
		is, err2 := s.holds(m.is)
		if err1 == nil && err2 == nil && was != is {
			return true
		}
	}
	return false
}

// read decodes a test as the loader would.
func (b *bench) read(t map[string]any) *testDoc {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(printTest(t)), &n); err != nil || len(n.Content) != 1 || len(n.Content[0].Content) != 1 {
		return nil
	}
	f := newFile("suggestion", nil)
	var doc testDoc
	f.value(n.Content[0].Content[0], reflect.ValueOf(&doc).Elem(), "")
	if len(f.errs) > 0 || len(doc.Events) == 0 {
		return nil
	}
	return &doc
}

func deepCopy(m map[string]any) map[string]any { return copyValue(m).(map[string]any) }

func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = copyValue(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = copyValue(x)
		}
		return out
	}
	return v
}

// vocabulary is what conditions speak of.
type vocabulary struct {
	texts, params, extras, responses, lists, actions, names, services []string
	fields                                                            map[string][]string // field to the constants it is compared with
}

type wordLister struct{ v *vocabulary }

func wordsIn(nodes ...ast.Node) vocabulary {
	v := vocabulary{fields: map[string][]string{}}
	l := &wordLister{&v}
	for _, n := range nodes {
		for _, name := range fieldsIn(n) {
			if !strings.Contains(name, "(") {
				if _, known := v.fields[name]; !known {
					v.fields[name] = nil
				}
			}
		}
		ast.Walk(&n, l)
	}
	return v
}

func add(list *[]string, words ...string) {
	for _, w := range words {
		if !slices.Contains(*list, w) {
			*list = append(*list, w)
		}
	}
}

// Visit implements ast.Visitor.
func (l *wordLister) Visit(node *ast.Node) {
	v := l.v
	switch n := (*node).(type) {
	case *ast.StringNode:
		add(&v.texts, n.Value)
	case *ast.IntegerNode:
		add(&v.texts, fmt.Sprint(n.Value), fmt.Sprint(n.Value+1), fmt.Sprint(n.Value-1))
	case *ast.BinaryNode:
		name, ok := path(n.Left)
		lits, lit := literals(n.Right)
		if !ok || !lit {
			return
		}
		for _, s := range lits {
			w := v.fields[name]
			add(&w, s.Value)
			v.fields[name] = w
			switch name {
			case "action":
				add(&v.actions, s.Value)
			case "event.name":
				add(&v.names, s.Value)
			case "event.service":
				add(&v.services, s.Value)
			}
		}
	case *ast.BuiltinNode:
		// any(["A", "B"], param(#) == "x"): the list names parameters.
		if len(n.Arguments) == 2 {
			if lits, ok := literals(n.Arguments[0]); ok && strings.Contains(n.Arguments[1].String(), "param") {
				for _, s := range lits {
					add(&v.params, s.Value)
				}
			}
		}
	case *ast.CallNode:
		id, ok := n.Callee.(*ast.IdentifierNode)
		if !ok || len(n.Arguments) == 0 {
			return
		}
		s, ok := n.Arguments[0].(*ast.StringNode)
		if !ok {
			return
		}
		switch id.Value {
		case "param", "has_param", "param_is", "param_num":
			add(&v.params, s.Value)
		case "params_contain":
			add(&v.params, "Text")
		case "param_any":
			suffix := ""
			if x, ok := n.Arguments[1].(*ast.StringNode); ok {
				suffix = x.Value
			}
			add(&v.params, s.Value+"1"+suffix)
		case "extra":
			add(&v.extras, s.Value)
		case "resp":
			add(&v.responses, s.Value)
		case "one_of_list", "has_list":
			add(&v.lists, s.Value)
		}
	}
}

// calls lists Service:Name of what is spoken of.
func (v *vocabulary) calls() []string {
	var out []string
	for _, w := range v.actions {
		for _, a := range actions {
			if a != w && !(strings.HasSuffix(w, ".") && strings.HasPrefix(a, w)) {
				continue
			}
			out = append(out, callsOf(a)...)
		}
	}
	for _, n := range v.names {
		if len(v.services) == 0 {
			out = append(out, "Ram:"+n)
		}
		for _, s := range v.services {
			out = append(out, s+":"+n)
		}
	}
	return out
}

func callsOf(action string) []string {
	var out []string
	for _, n := range event.EventNames(event.Action(action)) {
		for _, s := range event.Services(event.Action(action)) {
			if event.ActionOf(s, n) == event.Action(action) {
				out = append(out, s+":"+n)
				break
			}
		}
	}
	return out
}

var plainWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)

// printTest writes a test as a rule file does.
func printTest(t map[string]any) string {
	var b strings.Builder
	order := keysOf(reflect.TypeFor[eventDoc]())
	events, _ := t["events"].([]any)
	fmt.Fprintf(&b, "  - name: %s\n", scalarText(fmt.Sprint(t["name"])))
	if len(events) == 1 {
		fmt.Fprintf(&b, "    events: %s\n", flow(events, order))
	} else {
		b.WriteString("    events:\n")
		for _, e := range events {
			fmt.Fprintf(&b, "      - %s\n", flow(e, order))
		}
	}
	for _, key := range []string{"lists", "geo", "expect"} {
		if v, ok := t[key]; ok {
			fmt.Fprintf(&b, "    %s: %s\n", key, flow(v, keysOf(reflect.TypeFor[expectDoc]())))
		}
	}
	return b.String()
}

func keysOf(t reflect.Type) []string {
	var out []string
	for _, f := range reflect.VisibleFields(t) {
		out = append(out, f.Tag.Get("yaml"))
	}
	return out
}

// flow writes a value on one line; keys in the given order, then by name.
func flow(v any, order []string) string {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		rank := func(k string) int {
			if i := slices.Index(order, k); i >= 0 {
				return i
			}
			return len(order)
		}
		sort.SliceStable(keys, func(i, j int) bool { return rank(keys[i]) < rank(keys[j]) })
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = scalarText(k) + ": " + flow(v[k], nil)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = flow(x, order)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return scalarText(v)
	case nil:
		return "null"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// scalarText writes a text so that YAML reads it as that text.
func scalarText(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
	default:
		if plainWord.MatchString(s) {
			return s
		}
	}
	// Go's escapes are YAML's, once there are no bytes that are no text; what
	// does not print (U+0085 is a line break to YAML) is always escaped.
	return strconv.Quote(strings.ToValidUTF8(s, "\uFFFD"))
}
